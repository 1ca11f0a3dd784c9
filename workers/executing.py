"""What a pool's worker does from its birth to its end.

Without ``async`` handlers there is no asyncio: a plain loop waits for the inbox and the attendant's link. With them
the worker lives in uvloop, or asyncio where that is not installed.

**Leaving.** A worker that is spent or retired marks itself on the board as draining and paused, so that nobody sends
it anything more, finishes what it has in hand, and leaves when nobody has anything on it. One that is told that the
whole pool drains leaves when nothing waits anywhere either. In both cases it must have been so for `_QUIET_S`. An
origin that had read the board just before looks again before it sends (`workers.origin`). At the limit it leaves as it
is: `Node.close` answers what is left.

**Failing to start.** In the first lives of a pool a worker that cannot load its handlers, or whose initialiser raises,
ends the pool, and `AttendantProcess.wait_ready` raises its words. In a later life the pool works already, and what
works shall not die of a database that is away for a minute: it is tried again, at growing distances of up to 5 s, and
ends the pool only as a crash storm, which is counted while not a single worker is up.
"""

from __future__ import annotations

import importlib
import logging
import os
import select
import time
from collections.abc import Callable, Mapping
from math import inf
from typing import TYPE_CHECKING, Final, TypeAlias, assert_never

from msgspec import Struct
from msgspec.structs import replace

from workers.birth import Child
from workers.control import AttendantGone, Tell
from workers.loads import LoadBoard
from workers.node import AT_ONCE, Node
from workers.overseer import over_limit, resident_bytes
from workers.spinning import Spin
from workers.terms import BootFailure, PoolSettings
from workers.tree_events import GUEST, Drain, ExitCode, PeerDown, PeerUp, Retire
from workers.worker import Handler

if TYPE_CHECKING:
    import asyncio

log = logging.getLogger("layby.process")

_QUIET_S: Final = 0.005
_LOOK_S: Final = 0.001
"""How often one that wants to leave looks whether it may."""

_MEASURE_S: Final = 0.02
"""The least time between two looks at the memory in use; one costs some 10 µs."""


Handlers: TypeAlias = tuple[Mapping[str, Handler], bool]
"""What may be run, by name, and whether any of it has to be awaited."""


class Station(Struct, frozen=True):
    """What all workers of a pool have in common.

    Args:
        settings: what the creator settled.
        board: the load board.
        handlers: what may be run, loaded before the fork.
        awaits: whether any of it has to be awaited.
    """

    settings: PoolSettings
    board: LoadBoard
    handlers: Mapping[str, Handler]
    awaits: bool


def load_calls(settings: PoolSettings) -> Handlers:
    """The handlers of a pool by their names, as its creator asked for them."""
    from workers import calls

    handlers = calls.load(settings)
    return handlers, calls.any_async(handlers)


def work(child: Child, station: Station) -> int:
    """Be a worker; the exit code.

    Raises:
        BootFailure: the initialiser raised, or the worker is over its memory limit before its first job.
    """
    settings = station.settings
    # What a handler raises is its caller's business, who gets it with the traceback; the pool's stderr is the caller's.
    logging.getLogger("layby.workers.failures").setLevel(logging.CRITICAL)
    _initialize(settings)
    _check_memory(settings)
    node = Node(
        child.peer,
        child.slot,
        settings.folder,
        station.board,
        executes=True,
        handlers=station.handlers,
        limits=replace(settings.limits, kill_grace_s=settings.kill_grace_s),
        transport=settings.transport,
    )
    worker = PoolWorker(child, station, node)
    try:
        child.control.ready()
        if station.awaits:
            worker.run_in_asyncio()
        else:
            worker.run()
    finally:
        node.close()
    return worker.exit_code


class PoolWorker:
    """One worker: its node, its link, and when it is to leave.

    Args:
        child: who it is.
        station: what it shares with the others.
        node: its place in the pool.
    """

    def __init__(self, child: Child, station: Station, node: Node) -> None:
        self._control = child.control
        self._slot = child.slot
        self._board = station.board
        self._node = node
        self._max_jobs = station.settings.max_jobs_per_worker or inf
        self._memory_limit = station.settings.memory_limit_bytes or inf
        self._drain_s = station.settings.drain_s
        self._spin = Spin(station.settings.limits.spin_s)
        self._is_limited = min(self._max_jobs, self._memory_limit) < inf
        self._measured_at = 0.0
        self._leave_by: float | None = None
        """When to leave at the latest; None until there is a reason to."""
        self._with_all = False
        """Whether it leaves because the whole pool does."""
        self._quiet_since: float | None = None
        self._over = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self.exit_code = ExitCode.STOPPED

    # Without asyncio: the hot path.

    def run(self) -> None:
        """Serve until it is time to leave."""
        node, control_fd = self._node, self._control.fileno()
        poller = select.poll()
        poller.register(node.fileno(), select.POLLIN)
        poller.register(control_fd, select.POLLIN)
        next_deadline, monotonic = node.next_deadline, time.monotonic
        wait = self._spin.wait
        on_readable, on_deadline = node.on_readable, node.on_deadline
        while not self._over:
            deadline = next_deadline()
            if self._leave_by is not None or self._is_limited:
                deadline = self._consider(deadline, monotonic())
            if deadline is None:
                events = wait(poller, None)
            else:
                events = wait(poller, 0.0 if deadline == AT_ONCE else max(0.0, deadline - monotonic()))
            if not events:
                on_deadline(monotonic())
                continue
            for fd, _ in events:
                if fd == control_fd:
                    self._hear_attendant()
                else:
                    on_readable(monotonic())

    # With asyncio.

    def run_in_asyncio(self) -> None:
        """The same, in a loop that awaits what handlers give back."""
        loop = self._loop = _new_loop()
        loop.add_reader(self._control.fileno(), self._hear_attendant)
        # Who has no limit need not look after every turn before the attendant says that it is to leave.
        self._node.attach(loop, self._considered_deadline if self._is_limited else None)
        try:
            loop.run_forever()
        finally:
            self._node.detach()
            loop.close()

    def _considered_deadline(self) -> float | None:
        """Asked after every turn: as `run` does before it waits, so that a limit is heeded as promptly."""
        assert self._loop is not None
        deadline = self._consider(self._node.next_deadline(), time.monotonic())
        if self._over:
            self._loop.stop()
        return deadline

    # What the attendant says.

    def _hear_attendant(self) -> None:
        node = self._node
        for told in self._control.receive():
            match told:
                case PeerUp(peer, slot, executes):
                    node.peer_up(peer, slot, executes)
                case PeerDown(peer, reason):
                    node.peer_down(peer, reason)
                case Drain(ends_at):
                    self._leave(ends_at, "the pool is shutting down", with_all=True)
                case Retire(ends_at):  # model: end_or_retire
                    self._leave(ends_at, "this worker retires", with_all=False)
                case Tell():
                    pass
                case AttendantGone():
                    # The kernel kills the workers with it; where it does not, nothing can be served without it.
                    os._exit(ExitCode.CRASHED)
                case _:
                    assert_never(told)
        if self._loop is not None and self._leave_by is not None:
            node.attach(self._loop, self._considered_deadline)  # which makes a turn, too

    # Leaving.

    def _leave(self, by: float, reason: str, *, with_all: bool) -> None:  # model: begin_to_leave
        self._leave_by = by if self._leave_by is None else min(by, self._leave_by)
        self._with_all = with_all
        self._node.drain(reason)
        if not with_all:
            # Draining alone would still get it jobs where every other worker drains too, or there is no other.
            self._board.pause(self._slot, True)

    def _consider(self, deadline: float | None, now: float) -> float | None:
        """Leave if it is time; else when to look again at the latest, or `deadline` if that is sooner."""
        look_at = self._end_if_spent(now) if self._leave_by is None else None
        if self._leave_by is None:
            return _sooner(deadline, look_at)
        if now >= self._leave_by or self._is_quiet(now):
            self._over = True
            return AT_ONCE
        return _sooner(deadline, now + _LOOK_S)

    def _is_quiet(self, now: float) -> bool:  # model: count_next
        """Whether nobody has had anything for this worker for a while."""
        busy = self._node.pending() or self._board.load(self._slot).outstanding
        if busy or (self._with_all and any(self._board.waiting())):
            self._quiet_since = None
            return False
        if self._quiet_since is None:
            self._quiet_since = now
        has_guests = any(peer.name.startswith(GUEST) for peer in self._node.peers())
        return now - self._quiet_since >= _QUIET_S or (self._with_all and not has_guests)

    def _end_if_spent(self, now: float) -> float | None:  # model: end_or_retire
        """When to look again even if there is no turn before; None when nothing was left to be looked at."""
        reason = ""
        executed = self._node.counters["executed"]
        if executed >= self._max_jobs:
            reason = f"it served its {executed} jobs"
        elif self._memory_limit < inf:
            if now < self._measured_at + _MEASURE_S:
                return self._measured_at + _MEASURE_S
            self._measured_at = now
            if resident_bytes() > self._memory_limit:
                reason = over_limit(int(self._memory_limit))
        if reason:
            self.exit_code = ExitCode.SPENT
            self._control.last_words(reason)
            self._leave(now + self._drain_s, reason, with_all=False)
        return None


def _sooner(one: float | None, other: float | None) -> float | None:
    if one is None or other is None:
        return other if one is None else one
    return min(one, other)


def _new_loop() -> asyncio.AbstractEventLoop:
    import asyncio

    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop


def _initialize(settings: PoolSettings) -> None:
    if settings.initializer is None:
        return
    module, _, name = settings.initializer.partition(":")
    try:
        initializer: Callable[..., object] = getattr(importlib.import_module(module), name)
        initializer(*settings.initargs)
    except Exception as error:
        log.error("the initialiser raised", exc_info=error)
        raise BootFailure(f"initializer {settings.initializer}: {type(error).__name__}: {error}") from error


def _check_memory(settings: PoolSettings) -> None:
    limit = settings.memory_limit_bytes
    if limit is not None and resident_bytes() > limit:
        used = resident_bytes() / 2**20
        raise BootFailure(
            f"a worker takes {used:.0f} MiB before its first job, and its limit is {limit / 2**20:.0f} MiB"
        )
