"""A session driven for many threads, without a loop of theirs.

**Who takes the turns.** One thread at a time leads: it waits for the session's descriptors, without the lock, and takes
the turns, under it. A thread that waits for its own job leads itself if nobody does, so a call costs no hand-over
between threads. Everybody else is served by the background thread, which leads while jobs are pending that nobody
leads for, and sleeps otherwise. With a hand-over to a thread and back, a call took half as long again.

What other code is to be told (futures, with their callbacks) is told by the background thread and outside the lock, so
such code may do what it likes, submit included.
"""

from __future__ import annotations

import logging
import os
import select
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from math import inf
from typing import TypeVar

from workers.errors import WrongProcess
from workers.jobs import Job, Outcome
from workers.session import Session
from workers.spinning import Spin

log = logging.getLogger("layby.workers")

Result = TypeVar("Result")

_BATCH = 32
"""After so many submissions in a row the submitting thread sends them itself: whoever leads may not get the
interpreter's lock for 5 ms."""


class Waiting:
    """One thread's wait for one end."""

    __slots__ = ("bell", "deadline", "outcome")

    def __init__(self) -> None:
        self.outcome: Outcome | None = None
        self.bell: threading.Lock | None = None
        """Locked while its thread waits and another one leads."""

    def settled(self, job: Job, outcome: Outcome) -> None:
        """The job has its outcome."""
        self.outcome = outcome
        if self.bell is not None:
            self.bell.release()
            self.bell = None


class Driver:
    """The turns of one session.

    Args:
        session: made with ``shared``; not to be touched from now on but under ``lock``.
    """

    def __init__(self, session: Session) -> None:
        self.session = session
        self.lock = threading.RLock()
        self._led = False
        """Whether a thread leads."""
        self._led_until = inf
        """When the leading thread takes its next turn at the latest (CLOCK_MONOTONIC seconds)."""
        self._unsent = 0
        """Jobs submitted since the last turn."""
        self._told = False
        """Whether the thread that leads, or is to lead, has been told of them."""
        self._ended: deque[Callable[[], None]] = deque()
        self._closed = False
        # One for the thread that leads, one for the background thread while another one leads or nobody has to.
        self._leader_bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._thread_bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._bells: tuple[int, ...] = (self._leader_bell, self._thread_bell)
        """Those that are open."""
        self._node_fd, self._link_fd = session.files
        self._poll = _poller(self._node_fd, self._link_fd, self._leader_bell)
        self._spin = Spin(session.settings.limits.spin_s)
        self._thread = threading.Thread(target=self._run, name=f"layby-{session.node.me}", daemon=True)
        self._thread.start()

    # -- for those who submit -----------------------------------------------------------------------------------------

    def run(self, action: Callable[[], Result]) -> Result:
        """Do something to the session, under the lock."""
        with self.lock:
            return action()

    def post(self, action: Callable[[], object]) -> None:
        """Do something to the session, under the lock."""
        with self.lock:
            action()

    def may_block(self) -> None:
        """Raise RuntimeError in the background thread, which would wait for itself."""
        if threading.current_thread() is self._thread:
            raise RuntimeError("a callback of a future must not wait for other jobs of its pool")

    def sent(self) -> None:
        """Say, under the lock, that a job was submitted for which nobody waits: it leaves soon, with others."""
        self._unsent += 1
        if self._unsent >= _BATCH or not (self._led or self._told):
            self.turn()
        if not self._told:
            self._told = True
            _ring(self._leader_bell if self._led else self._thread_bell)

    def turn(self) -> None:
        """Take a turn, under the lock: what was submitted leaves."""
        self._unsent = 0
        self.session.on_deadline(time.monotonic())

    def wait(self, waiting: Waiting, give_up: Callable[[], object]) -> None:
        """Wait until it has its outcome. Not under the lock.

        Args:
            waiting: told by a job that was submitted.
            give_up: called under the lock if this thread is interrupted (by Ctrl-C).

        Raises:
            KeyboardInterrupt: this thread is interrupted.
        """
        try:
            while waiting.outcome is None:
                with self.lock:
                    self.turn()
                    deadline = self.session.next_deadline()
                    leads = not self._led
                    if leads:
                        self._led, self._told = True, False
                    elif waiting.outcome is None:
                        bell = waiting.bell = threading.Lock()
                        bell.acquire()
                        if deadline is not None and deadline < self._led_until:
                            _ring(self._leader_bell)
                    else:
                        return
                if leads:
                    self._lead(lambda: waiting.outcome is not None)
                else:
                    bell.acquire()
        except BaseException:
            with self.lock:
                waiting.bell = None
                give_up()
                self._wake_thread()
            raise

    def tell(self, callback: Callable[[], None]) -> None:
        """Have the background thread call back, outside the lock. To be said under the lock."""
        self._ended.append(callback)
        if not self._led:
            _ring(self._thread_bell)

    # -- leading ------------------------------------------------------------------------------------------------------

    def _lead(self, is_over: Callable[[], bool]) -> None:
        """Take turns until it is over; then let another thread lead if one has to."""
        try:
            while not self._closed and not is_over():
                self._turn_when_due()
                if self._ended:
                    if threading.current_thread() is self._thread:
                        self._tell_all()
                    else:
                        _ring(self._thread_bell)
        finally:
            with self.lock:
                self._led, self._led_until = False, inf
                if self._closed:
                    self._close_bells()
                else:
                    self._wake_thread()

    def _wake_thread(self) -> None:
        if not self._led and threading.current_thread() is not self._thread and self.session.node.pending():
            _ring(self._thread_bell)

    def _turn_when_due(self) -> None:
        with self.lock:
            deadline = self.session.next_deadline()
            self._led_until = inf if deadline is None else deadline
        timeout_s = None if deadline is None else max(0.0, deadline - time.monotonic())
        events = self._spin.wait(self._poll, timeout_s)
        with self.lock:
            try:
                self._take_turn([fd for fd, _ in events])
            except BaseException:
                # Ctrl-C in the middle of a turn: what it has left half done is unknown, so nobody may rely on it.
                self.session.give_up("Ctrl-C came in the middle of the pool's work; make or join another one")
                raise

    def _take_turn(self, ready: list[int]) -> None:
        self._unsent, self._told = 0, False
        session, now = self.session, time.monotonic()
        if self._leader_bell in ready:
            _hush(self._leader_bell)
        if self._link_fd in ready:
            self._hear()
        if self._node_fd in ready and not session.is_closed:
            session.node.on_readable(now)
        else:
            session.on_deadline(now)

    def _hear(self) -> None:
        session = self.session
        session.hear()
        session.on_deadline(time.monotonic())
        if session.link.closed:
            self._poll = _poller(self._leader_bell)  # an ended link stays readable for ever

    # -- the background thread ----------------------------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            self._tell_all()
            with self.lock:
                if self._closed:
                    return
                leads = not self._led and self.session.node.pending() > 0 and not self.session.link.closed
                # What was told before was told to a thread that slept; it has heard it now.
                self._told = False
                if leads:
                    self._led = True
            if leads:
                self._lead(lambda: not self.session.node.pending())
            else:
                self._sleep()

    def _sleep(self) -> None:
        """Until something has to be led or told, or the attendant says something."""
        # The link as well while another thread leads: it may stop to without anything pending, and nobody would hear.
        fds = [self._thread_bell] if self.session.link.closed else [self._thread_bell, self._link_fd]
        for fd, _ in _poller(*fds).poll():
            if fd == self._thread_bell:
                _hush(fd)
            else:
                with self.lock:
                    if not self._closed:
                        self._hear()
                        if self._led:  # by one that may have missed it, and knows nothing of what is due now
                            _ring(self._leader_bell)

    def _tell_all(self) -> None:
        while self._ended:
            callback = self._ended.popleft()
            try:
                callback()
            except Exception:
                log.exception("a callback raised when told of the end of a job")

    # -- the end ------------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Leave the pool, tell everybody, and end the background thread. In a forked child, only let go."""
        if isinstance(self.session.refusal, WrongProcess):
            return  # the lock may be held by a thread that does not exist here
        with self.lock:
            if self._closed:
                return
            self.session.close()
            self._closed = True
            _ring(self._thread_bell)
            _ring(self._leader_bell)
        if self._thread.is_alive() and threading.current_thread() is not self._thread:
            self._thread.join()
        self._tell_all()
        with self.lock:
            if not self._led:
                self._close_bells()

    def _close_bells(self) -> None:
        # By whoever is the last to need them, which is either `close` or the thread that leads meanwhile.
        bells, self._bells = self._bells, ()
        for bell in bells:
            os.close(bell)


def _poller(*fds: int) -> select.poll:
    # poll, not select: a descriptor's number may be beyond select's 1,024.
    poller = select.poll()
    for fd in fds:
        poller.register(fd, select.POLLIN)
    return poller


def _ring(fd: int) -> None:
    os.eventfd_write(fd, 1)


def _hush(fd: int) -> None:
    with suppress(BlockingIOError):
        os.eventfd_read(fd)
