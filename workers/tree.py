"""The process tree: forks, reaps, restarts, drains. It performs what `supervision` decides.

The attendant has one thread of its own, one `selectors` loop, and neither asyncio nor ZeroMQ: it forks at any time,
and neither of those survives a fork. It learns of a death from the process's pidfd (about 2 ms after it), of signals
from the wake-up descriptor (handlers only enqueue), and never waits for a process: see `control`.

**What the owner may rely on at a death**, in this order: everything that the process had still told is handed to
`on_tell`; `on_event(Died)`, when the process is reaped, nobody else was told and nothing runs in its slot, so that
is where to clear its rows in shared memory; ``PeerDown`` goes to the others; `on_event(Restarting)`; the fork;
`on_event(Started)`. The replacement is announced only when it said ready.

**What the owner should do before `run`**: make the shared memory and bind the sockets that all processes share, and
call ``gc.freeze()``, so that no collection in a child touches, and thereby copies, what was loaded before the fork.
Threads are the owner's risk: a lock that another thread holds at a fork stays locked in the child.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
import warnings
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from types import MappingProxyType
from typing import Final, assert_never

import setproctitle
from msgspec import Struct

from workers.birth import Birth, Child, live
from workers.control import AttendantEnd, ControlLink, LastWords, ReadySaid, Said, Tell, encode, pair
from workers.door import Door
from workers.elastic import ElasticPolicy
from workers.jobs import Peer
from workers.links import WatchedLink
from workers.loads import LoadBoard
from workers.loop import READ, Loop, OnTime
from workers.overseer import Overseer
from workers.policy import Limits, slow_s
from workers.reaping import is_dead, open_pidfd, reap
from workers.steps import ATTENDANT, Step, after, before, enter
from workers.supervision import Phase, RestartPolicy, SeatView, Supervisor, seats_of
from workers.terms import BootFailure
from workers.tree_events import (
    Admit,
    Announce,
    Begin,
    Condemned,
    Dismiss,
    Effect,
    Ended,
    Event,
    Fork,
    Forked,
    ForkFailed,
    GrowAsked,
    Kill,
    Refuse,
    Report,
    RetireAsked,
    SaidReady,
    Seat,
    Stimulus,
    StopAsked,
    Tick,
)

__all__ = ["BootFailure", "Child", "ProcessRow", "ProcessTree", "RestartPolicy", "Role"]

log = logging.getLogger("layby.attendant")

_STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


class Role(Struct, frozen=True):
    """Processes that do the same.

    Args:
        name: e.g. ``sip``; the processes are ``sip-1``, ``sip-2`` and so on.
        count: how many.
        main: runs in each of them; its result is the exit code. To leave because nothing can work, raise `BootFailure`.
        first_slot: the slot of the first; the others follow.
        executes: whether they run ordinary jobs; passed on in ``PeerUp``.
        max_count: up to how many, where the owner asks for more with `ProcessTree.grow`; None for ``count``.
    """

    name: str
    count: int
    main: Callable[[Child], int]
    first_slot: int
    executes: bool
    max_count: int | None = None

    @property
    def most(self) -> int:
        """How many places there are."""
        return self.count if self.max_count is None else max(self.count, self.max_count)


class ProcessRow(Struct, frozen=True):
    """A line of `ps`. ``pid`` and ``started_at`` (seconds of the epoch) are None while there is no process.

    ``state`` is forking, starting, up, waiting (for its restart), draining or vacant.
    """

    peer: Peer
    slot: int
    pid: int | None
    role: str
    started_at: float | None
    restarts: int
    state: str


class _Process(Struct, eq=False):
    peer: Peer
    pid: int
    pidfd: int | None
    """None where the system has none; SIGCHLD then says that somebody died."""
    end: AttendantEnd
    started_at: float
    link: WatchedLink | None = None
    """Its end in the loop; None only while it is being born."""
    words: str = ""
    """Why it ends, in its own words."""
    condemned: bool = False
    """Killed because it does not read; nothing more is sent."""
    gone: bool = False
    """Reaped. The loop may still hand out events from before."""


class ProcessTree:
    """All processes below the attendant.

    Args:
        roles: who runs; they are forked in this order.
        policy: when to restart and when to give up.
        title: shown by `ps`, e.g. ``layby: sip-1``.
        drain_s: how long processes may take to finish what they accepted once the tree is asked to stop.
        on_event: told what happens to processes, in the attendant; see the order above. It may call `tell`, `stop`
            and `table`. An exception from it is a bug of the owner and ends the tree.
        on_tell: told what a process said with `ControlLink.tell`.
        prepare: runs in every new process before its role, e.g. to give it its logging.
        signals: further signals of the attendant, e.g. SIGHUP, each with what to call from the loop.
        stop_signals: those that ask the tree to stop.
        door: where processes that were not forked here may come in, or None. Closed at the end.

    Raises:
        ValueError: no roles, or two processes with one name or slot.
    """

    def __init__(
        self,
        roles: Sequence[Role],
        *,
        policy: RestartPolicy | None = None,
        title: str = "layby",
        drain_s: float = 5.0,
        on_event: Callable[[Event], None],
        on_tell: Callable[[Peer, str, bytes], None],
        prepare: Callable[[Child], None] | None = None,
        signals: Mapping[int, Callable[[], None]] = MappingProxyType({}),
        stop_signals: Sequence[int] = _STOP_SIGNALS,
        door: Door | None = None,
    ) -> None:
        seats = seats_of((role.name, role.count, role.most, role.first_slot, role.executes) for role in roles)
        self._supervisor = Supervisor(seats, policy or RestartPolicy(), drain_s, door.slots if door else ())
        self._door = door
        self._stop_signals = stop_signals
        self._roles = roles
        self._mains = {role.name: role.main for role in roles}
        self._title = title
        self._on_event = on_event
        self._on_tell = on_tell
        self._prepare = prepare
        self._signals = dict(signals)
        self._processes: dict[str, _Process] = {}
        """Every process that is forked and not reaped, by name: a name has one life at a time."""
        self._stimuli: deque[Stimulus] = deque()
        self._feeding = False
        """Whether `_feed` is on the stack: what happens meanwhile waits its turn, so effects keep their order."""
        self._loop = Loop()

    # For the owner.

    def run(self) -> int:
        """Fork everybody and supervise until somebody asks to stop, or until giving up; then drain.

        Returns:
            The exit code for the attendant, an `ExitCode`.

        Raises:
            RuntimeError: not called in the main thread, where signals are handled and whose life the children share.
        """
        if threading.current_thread() is not threading.main_thread():
            raise RuntimeError("a process tree runs in the main thread")
        enter(ATTENDANT)
        setproctitle.setproctitle(f"{self._title}: {ATTENDANT}")
        self._loop.open(self._signal_table())
        try:
            if self._door is not None:
                self._door.open(self._loop, self._feed, self._on_tell)
            self._feed(Begin(time.monotonic()))
            while (code := self._supervisor.exit_code) is None:
                self._loop.turn(self._supervisor.next_deadline())
                self._feed(Tick(time.monotonic()))
            return int(code)
        finally:
            self._close()

    def stop(self) -> None:
        """Ask to stop, as SIGTERM does; a second time means at once. May be called by any thread."""
        self._loop.post_signal(signal.SIGTERM)

    def drain(self, within_s: float) -> None:
        """Ask to stop, and give processes so many seconds to finish. From the loop only: timers, readers, events."""
        self._feed(StopAsked(time.monotonic(), within_s))

    def grow(self, role: str) -> None:
        """Start one more process of that role, if it has a vacant place. From the loop only."""
        self._feed(GrowAsked(role, time.monotonic()))

    def retire(self, peer: Peer) -> None:
        """Have a process above its role's count finish and leave. From the loop only."""
        self._feed(RetireAsked(peer, time.monotonic()))

    def kill(self, peer: Peer, reason: str) -> None:
        """Kill a process for a reason that is no crash of its own; it is replaced at once. From the loop only."""
        self._feed(Condemned(peer, reason, time.monotonic()))

    def oversee(
        self,
        role: str,
        board: LoadBoard,
        *,
        limits: Limits,
        idle_s: float = 10.0,
        memory_limit_bytes: int | None = None,
    ) -> None:
        """Look after the workers of a role by the load board, from now on: start more of them, up to the role's
        ``max_count``, and retire those that were not needed for ``idle_s`` seconds, as `workers.elastic` says; kill
        one whose job is past its deadline, or that exceeds the memory limit in the middle of a job.

        Args:
            role: their role's name.
            board: the load board.
            limits: what they say is slow, and how many workers slow jobs leave free.
            idle_s: how long one is kept that is not needed.
            memory_limit_bytes: see `Overseer`.
        """
        (found,) = (one for one in self._roles if one.name == role)
        policy = ElasticPolicy(idle_s=idle_s, quick_share=limits.quick_share, slow_s=slow_s(limits))
        overseer = Overseer(
            self, role, found.count, found.most, board, policy=policy, memory_limit_bytes=memory_limit_bytes
        )
        self.add_timer(policy.rest_s, overseer.look)

    def views(self) -> list[SeatView]:
        """Every place as the supervisor has it, in slot order."""
        return self._supervisor.views()

    def pid_of(self, peer: Peer) -> int | None:
        """The pid of a process of this tree; None when it is gone, or a guest."""
        process = self._living(peer)
        return process.pid if process else None

    def tell(self, topic: str, body: bytes, to: Peer | None = None) -> bool:
        """Send a word to one process, or to all of the tree's own. False where nobody is there to hear it.

        Raises:
            TooLong: see `control`.
        """
        frame = encode(Tell(topic, body))
        heard = [process for process in list(self._processes.values()) if to is None or process.peer == to]
        for process in heard:
            self._send(process, frame)
        return bool(heard)

    def table(self) -> list[ProcessRow]:
        """Every place of the tree, in slot order."""
        draining = self._supervisor.phase in {Phase.DRAINING, Phase.KILLING}
        rows = []
        for view in self._supervisor.views():
            process = self._processes.get(view.seat.name)
            state = "draining" if draining and process else view.life.value
            pid, started_at = (process.pid, process.started_at) if process else (None, None)
            restarts = max(0, view.peer.incarnation - 1)
            rows.append(ProcessRow(view.peer, view.seat.slot, pid, view.seat.role, started_at, restarts, state))
        return rows

    def add_reader(self, fd: int, callback: Callable[[], None]) -> None:
        """Call back whenever `fd` is readable (level-triggered). The descriptor stays the owner's, in children too.

        Raises:
            ValueError: it is watched already.
        """
        self._loop.add_reader(fd, callback)

    def remove_reader(self, fd: int) -> bool:
        """Undo `add_reader`, before the descriptor is closed. False when it was not watched."""
        return self._loop.remove_reader(fd)

    def add_timer(self, interval_s: float, callback: OnTime) -> None:
        """Call back every `interval_s` seconds, or as the callback says; not more often when the loop was late."""
        self._loop.add_timer(interval_s, callback)

    # Performing.

    def _signal_table(self) -> dict[int, Callable[[], None]]:
        # SIGCHLD always, though it says something new only where there are no pidfds: if our parent ignored it, it is
        # ignored for us too, and then the kernel reaps children before their status can be read.
        stop: dict[int, Callable[[], None]] = dict.fromkeys(self._stop_signals, self._on_stop_signal)
        return {**self._signals, **stop, signal.SIGCHLD: self._find_dead}

    def _on_stop_signal(self) -> None:
        self._feed(StopAsked(time.monotonic()))

    def _find_dead(self) -> None:
        for process in list(self._processes.values()):
            if process.pidfd is None and is_dead(process.pid):
                self._on_death(process, READ)

    def _feed(self, stimulus: Stimulus) -> None:
        self._stimuli.append(stimulus)
        if self._feeding:
            return
        self._feeding = True
        try:
            while self._stimuli:
                for effect in self._supervisor.handle(self._stimuli.popleft()):
                    self._perform(effect)
        finally:
            self._feeding = False

    def _perform(self, effect: Effect) -> None:
        match effect:
            case Fork(seat, peer):
                self._fork(seat, peer)
            case Announce(to, word):  # model: announce
                self._announce(to, encode(word))
            case Kill(peer):
                process = self._living(peer)
                if process is not None:
                    os.kill(process.pid, signal.SIGKILL)  # not reaped, so the pid is still its own
            case Admit(ticket, peer, slot):
                self._of_door().admit(ticket, peer, slot)
            case Refuse(ticket, reason):
                self._of_door().refuse(ticket, reason)
            case Dismiss(peer):
                self._of_door().dismiss(peer)
            case Report(event):
                self._on_event(event)
            case _:
                assert_never(effect)

    def _of_door(self) -> Door:
        assert self._door is not None, "guests without a door"
        return self._door

    @after(Step.PEER_TOLD)
    def _announce(self, to: Peer, frame: bytes) -> None:  # model: tell
        process = self._living(to)
        if process is not None:
            self._send(process, frame)
        elif self._door is not None:
            self._door.send(to, frame)

    def _living(self, peer: Peer) -> _Process | None:
        process = self._processes.get(peer.name)
        return process if process is not None and process.peer == peer else None

    # Births.

    @before(Step.FORK_DUE)
    def _fork(self, seat: Seat, peer: Peer) -> None:
        try:
            ours, theirs = pair()
        except OSError as problem:
            self._feed(ForkFailed(peer, str(problem), time.monotonic()))
            return
        try:
            process = self._fork_process(seat, peer, ours, theirs)
        except OSError as problem:
            ours.close()
            self._feed(ForkFailed(peer, str(problem), time.monotonic()))
            return
        finally:
            theirs.close()
        self._processes[seat.name] = process
        process.link = WatchedLink(self._loop, ours, partial(self._hear, process), _nothing)
        if process.pidfd is not None:
            self._loop.watch(process.pidfd, READ, partial(self._on_death, process))
        self._feed(Forked(peer, process.pid, time.monotonic()))
        if process.pidfd is None:
            # It may have died before it was in the table, and its SIGCHLD would have found nobody.
            self._loop.post_signal(signal.SIGCHLD)

    @after(Step.FORKED)
    def _fork_process(self, seat: Seat, peer: Peer, ours: AttendantEnd, theirs: ControlLink) -> _Process:
        attendant_pid = os.getpid()
        _flush_streams()  # else the child would write it a second time
        # Blocked, so that no signal reaches the child while it still has the attendant's handlers and descriptors.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            pid = _fork_quietly()
            if pid == 0:
                live(
                    Birth(
                        Child(peer, seat.slot, seat.role, theirs),
                        self._mains[seat.role],
                        self._prepare,
                        self._title,
                        attendant_pid,
                        partial(self._release_in_child, ours),
                        mask,
                        self._signal_table(),
                    )
                )
            return _Process(peer, pid, open_pidfd(pid), ours, time.time())
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    def _release_in_child(self, ours: AttendantEnd) -> None:
        """Close, in a new process, what the attendant has open for itself."""
        self._loop.close_in_child()
        ours.close()
        if self._door is not None:
            self._door.close_in_child()
        for process in self._processes.values():
            process.end.close()
            if process.pidfd is not None:
                os.close(process.pidfd)

    # Life.

    def _send(self, process: _Process, frame: bytes) -> None:
        if process.condemned or process.link is None:
            return
        if not process.link.send(frame):
            process.condemned = True
            log.error("%s (pid %d) does not read what it is told; killing it", process.peer, process.pid)
            os.kill(process.pid, signal.SIGKILL)

    @before(Step.PROCESS_HEARD)
    def _hear(self, process: _Process, word: Said) -> None:
        match word:
            case ReadySaid():
                self._feed(SaidReady(process.peer, time.monotonic()))
            case LastWords(reason):
                process.words = reason
            case Tell(topic, body):
                self._on_tell(process.peer, topic, body)
            case _:
                assert_never(word)

    # Deaths.

    @before(Step.DEATH_SEEN)
    def _on_death(self, process: _Process, events: int) -> None:
        if process.gone:
            return
        # Before it is reaped: as long as it is a zombie nobody else can get its pid.
        if process.link is not None:
            process.link.hear_last_words()
        status = reap(process.pid)
        self._forget(process)
        self._feed(Ended(process.peer, status, time.monotonic(), process.words))

    @before(Step.REAPED)
    def _forget(self, process: _Process) -> None:
        process.gone = True
        if process.link is not None:
            process.link.close()
        if process.pidfd is not None:
            self._loop.unwatch(process.pidfd)
            os.close(process.pidfd)
        del self._processes[process.peer.name]

    def _close(self) -> None:
        """Leave nothing behind; after an exception there may be processes left."""
        for process in list(self._processes.values()):
            os.kill(process.pid, signal.SIGKILL)
            reap(process.pid)
            self._forget(process)
        if self._door is not None:
            self._door.close()
        self._loop.close()


def _fork_quietly() -> int:
    with warnings.catch_warnings():
        # From 3.12 on a fork with threads around is warned of. That is thought through where the threads are started
        # (the receiver of the log), and the warning would otherwise be an exception under -W error.
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()


def _nothing() -> None:
    """The end of a process's link says nothing that its pidfd does not say better."""


def _flush_streams() -> None:
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):
            stream.flush()
