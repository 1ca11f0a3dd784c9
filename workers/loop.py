"""The attendant's loop: descriptors, timers and signals, and nothing that a fork would break.

Signal handlers only enqueue: the interpreter's C handler writes the signal's number into a socket pair, and the loop
takes it from there. Callbacks run in the loop, one after the other.
"""

from __future__ import annotations

import selectors
import signal
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from types import FrameType
from typing import Any, Protocol, TypeAlias

from msgspec import Struct

READ = selectors.EVENT_READ
WRITE = selectors.EVENT_WRITE

OnEvents: TypeAlias = Callable[[int], None]
"""Gets the mask of what is possible now, READ or WRITE or both."""


class HasFileno(Protocol):
    def fileno(self) -> int: ...


OnTime: TypeAlias = Callable[[], float | None]
"""Gives the seconds until it is to be called again, or None for as many as before."""


class _Timer(Struct, eq=False):
    interval_s: float
    callback: OnTime
    due: float


class Loop:
    """One selector with what belongs to it.

    Readers, timers and signals may be given before `open`. One thread runs it; only `post_signal` may be called by
    others.
    """

    def __init__(self) -> None:
        self._readers: dict[int, Callable[[], None]] = {}
        self._timers: list[_Timer] = []
        self._selector: selectors.BaseSelector | None = None
        self._wake: tuple[socket.socket, socket.socket] | None = None
        self._posted_early: list[int] = []
        """Signals posted before there was a socket to post them to."""
        self._on_signal: Mapping[int, Callable[[], None]] = {}
        self._old_handlers: dict[int, Any] = {}
        self._old_wakeup = -1

    # Life.

    def open(self, on_signal: Mapping[int, Callable[[], None]]) -> None:
        """Begin; from now on the given signals call back from the loop. In the main thread only."""
        self._on_signal = on_signal
        self._selector = selectors.DefaultSelector()
        reading, writing = self._wake = socket.socketpair()
        reading.setblocking(False)
        writing.setblocking(False)
        self._selector.register(reading, READ, self._on_wake)
        for fd, callback in self._readers.items():
            self._register_reader(fd, callback)
        self._old_wakeup = signal.set_wakeup_fd(writing.fileno(), warn_on_full_buffer=False)
        for number in on_signal:
            self._old_handlers[number] = signal.signal(number, _only_wake)
        for number in self._posted_early:
            self.post_signal(number)

    def close(self) -> None:
        """Give the signals back to who had them, and close what `open` opened."""
        signal.set_wakeup_fd(self._old_wakeup)
        for number, handler in self._old_handlers.items():
            signal.signal(number, handler)
        self.close_in_child()
        self._wake = self._selector = None

    def close_in_child(self) -> None:
        """Close the descriptors in a process that was forked from this loop's, and touch nothing else.

        Unregistering anything there would go through the epoll descriptor, which both processes share, and take the
        parent's registrations away.
        """
        for sock in self._wake or ():
            sock.close()
        if self._selector is not None:
            self._selector.close()

    def turn(self, deadline: float | None) -> None:
        """Wait until something can be done, at most until `deadline` (CLOCK_MONOTONIC), and do it."""
        deadlines = [timer.due for timer in self._timers] + ([] if deadline is None else [deadline])
        timeout_s = max(0.0, min(deadlines) - time.monotonic()) if deadlines else None
        for key, events in self._of().select(timeout_s):
            key.data(events)
        now = time.monotonic()
        for timer in [timer for timer in self._timers if timer.due <= now]:
            timer.due = now + timer.interval_s  # in case that it raises
            timer.interval_s = timer.callback() or timer.interval_s
            timer.due = now + timer.interval_s

    # What it watches.

    def watch(self, file: HasFileno | int, events: int, callback: OnEvents) -> None:
        self._of().register(file, events, callback)

    def change(self, file: HasFileno | int, events: int, callback: OnEvents) -> None:
        self._of().modify(file, events, callback)

    def unwatch(self, file: HasFileno | int) -> None:
        """Callbacks of events that the current turn has already seen may still come."""
        self._of().unregister(file)

    def add_reader(self, fd: int, callback: Callable[[], None]) -> None:
        """Call back whenever `fd` is readable (level-triggered).

        Raises:
            ValueError: it has a callback already.
        """
        if fd in self._readers:
            raise ValueError(f"descriptor {fd} is watched already")
        self._readers[fd] = callback
        if self._selector is not None:
            self._register_reader(fd, callback)

    def remove_reader(self, fd: int) -> bool:
        """Undo `add_reader`, at once. False when there was none."""
        if self._readers.pop(fd, None) is None:
            return False
        if self._selector is not None:
            self._selector.unregister(fd)
        return True

    def add_timer(self, interval_s: float, callback: OnTime) -> None:
        """Call back every `interval_s` seconds, or as the callback says; a late turn calls once, not several times."""
        self._timers.append(_Timer(interval_s, callback, time.monotonic() + interval_s))

    def post_signal(self, number: int) -> None:
        """Act as if the process had got this signal. Never blocks; may be called by any thread and before `open`."""
        if self._wake is None:
            self._posted_early.append(number)
            return
        with suppress(BlockingIOError):  # thousands of signals wait already
            self._wake[1].send(bytes([number]))

    def _of(self) -> selectors.BaseSelector:
        assert self._selector is not None, "the loop is not open"
        return self._selector

    def _register_reader(self, fd: int, callback: Callable[[], None]) -> None:
        self._of().register(fd, READ, partial(self._on_reader, fd, callback))

    def _on_reader(self, fd: int, callback: Callable[[], None], events: int) -> None:
        if self._readers.get(fd) is callback:  # else removed by an earlier callback of this turn
            callback()

    def _on_wake(self, events: int) -> None:
        assert self._wake is not None
        for number in self._wake[0].recv(4096):
            # Others have Python handlers of their own, which the interpreter calls.
            if number in self._on_signal:
                self._on_signal[number]()


def _only_wake(number: int, frame: FrameType | None) -> None:
    """The wake-up socket has the number already; the loop acts on it."""
