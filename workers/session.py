"""A process's place in a running pool, whatever loop it lives in: what both kinds of client and the pool build on.

A session is single-threaded like the `Node` in it. Whoever drives it waits for its two descriptors (`Session.files`),
or for the one that stands for both (`Session.fileno`).
"""

from __future__ import annotations

import os
import select
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from workers import calls
from workers.control import AttendantGone
from workers.current import NO_LIMIT_S
from workers.errors import NoSuchJob, PoolBroken, WrongProcess, error_of
from workers.jobs import Cancelled, Failed, Job, Kind, Outcome, Peer, Returned
from workers.joining import Membership
from workers.node import Node
from workers.packing import Raised, codec_named
from workers.policy import Policy, least_expected
from workers.stats import PoolStats, WorkerStats, pid_of
from workers.targets import Target, Targets
from workers.tree_events import Drain, PeerDown, PeerUp

Settled = Callable[[Job, Outcome], None]

QUEUE_FULL = "queue is full"
"""The dispatcher's reason for a job that was one too many."""

_LONGEST_WAIT_S = 3600.0
_PAST = 1e-9

_SHUTDOWN = "shutdown"
"""What a node gives as the reason when it is closed."""


class Session:
    """A place in a pool.

    Args:
        membership: as `workers.joining.join` gave it.
        description: what can be called there, as `workers.calls.published` gives it.
        default_s: the deadline, in seconds, of jobs that have none of their own.
        shared: whether several threads submit (never at once).
        policy: which worker a job goes to; None for the least loaded.

    Attributes:
        node: this process's node.
        refusal: why nothing can be submitted, or None.
        on_broken: called once when the pool is gone, after everything pending is settled.
        room_waiters: how many wait for room; whoever settles a job then calls ``on_room``.
    """

    def __init__(
        self,
        membership: Membership,
        description: bytes,
        *,
        default_s: float | None = None,
        shared: bool = False,
        policy: Policy | None = None,
    ) -> None:
        settings = membership.settings
        self.settings = settings
        self.board = membership.board
        self.link = membership.link
        self.codec = codec_named(settings.codec, shared)
        self.refusal: PoolBroken | None = None
        self.on_broken: Callable[[], None] = _nothing
        self.room_waiters = 0
        self.on_room: Callable[[], None] = _nothing
        self._membership = membership
        self._targets = Targets(description, allow_imports=self.allow_imports, codec=self.codec)
        self._default_s = default_s
        self._epoll: select.epoll | None = None
        self._workers: dict[int, Peer] = {}
        self._pids: dict[Peer, int | None] = {}
        self._broken = False
        self._closed = False
        self.node = Node(
            membership.peer,
            membership.slot,
            settings.folder,
            membership.board,
            executes=False,
            handlers={},
            limits=settings.limits,
            transport=settings.transport,
            policy=policy or least_expected,
        )
        _sessions.add(self)
        self.link.ready()

    @property
    def address(self) -> Path:
        """Where the pool is."""
        return self.settings.folder

    # -- what can be called -------------------------------------------------------------------------------------------

    @property
    def is_closed(self) -> bool:
        """Whether it was left."""
        return self._closed

    def target(self, what: str | Callable[..., Any]) -> Target:
        """Where a call goes.

        Raises:
            PoolBroken: the pool is gone.
            NoSuchJob: no handler has that name.
            NotImportable: the function has no import path, or the pool runs no functions by import path.
        """
        if self.refusal is not None:
            raise self.refused(self.refusal)
        return self._targets.of(what)

    def chunk_target(self, function: Callable[..., Any], size: int) -> Target:
        """Where calls go that run a function over so many rows of arguments; raises as `target`."""
        self.target(function)
        return self._targets.chunk_of(function, size)

    @property
    def allow_imports(self) -> bool:
        """Whether functions run by import path."""
        return calls.ANY_FUNCTION in self.settings.handlers

    def limit_s(self, target: Target, timeout_s: float | None) -> float:
        """The deadline of a job: the submission's, or the handler's, or the pool's, or none. In seconds from now."""
        for limit_s in (timeout_s, target.timeout_s, self._default_s):
            if limit_s is not None:
                return NO_LIMIT_S if limit_s > NO_LIMIT_S else limit_s
        return NO_LIMIT_S

    # -- submitting ---------------------------------------------------------------------------------------------------

    def room(self) -> int:
        """How many more jobs may wait, here and in the whole pool."""
        limits, waiting = self.settings.limits, self.board.waiting()
        return min(limits.max_queued - waiting[self._membership.slot], limits.max_pool_queued - sum(waiting))

    def kind(self, target: Target, priority: int, kill: bool) -> Kind:
        """What the jobs of one target have in common.

        Raises:
            ValueError: the priority does not fit 32 bits.
        """
        return self.node.kind(target.handler, target.label, idempotent=target.idempotent, priority=priority, kill=kill)

    def pack(self, target: Target, what: Any, args: Sequence[Any], kwargs: Mapping[str, Any] | None) -> bytes:
        """Write a call down.

        Raises:
            NotEncodable: an argument cannot be sent.
        """
        payload = self.codec.pack_call((what, *args) if target.applied else args, kwargs)
        return target.prefix + payload if target.prefix else payload

    def packer(self, target: Target, what: Any, unpack: bool) -> Callable[[Any], bytes]:
        """What writes down the calls of one target with one item each; with ``unpack`` an item is all arguments."""
        if unpack:

            def pack_all(item: Any) -> bytes:
                args, kwargs = ((), item) if isinstance(item, Mapping) else (item, None)
                return self.pack(target, what, args, kwargs)

            return pack_all
        if target.applied or target.prefix:
            return lambda item: self.pack(target, what, (item,), None)
        pack_call = self.codec.pack_call
        return lambda item: pack_call((item,), None)

    def submit(
        self,
        target: Target,
        payload: bytes,
        settled: Settled,
        *,
        timeout_s: float | None = None,
        priority: int = 0,
        kill: bool = False,
        on_progress: Callable[[float, str], None] | None = None,
    ) -> Job:
        """Hand in a job; ``settled`` is told its end in a later turn, whatever happens.

        Raises:
            PoolBroken: the pool is gone.
            ValueError: the time limit or the priority is none.
        """
        if self.refusal is not None:
            raise self.refused(self.refusal)
        kind = self.kind(target, priority, kill)
        return self.node.submit_kind(kind, payload, self.limit_s(target, timeout_s), settled, False, on_progress)

    # -- results ------------------------------------------------------------------------------------------------------

    def value(self, outcome: Outcome) -> Any:
        """What a job returned.

        Raises:
            Exception: what its handler raised, or the `JobError` that tells how else it ended.
        """
        if isinstance(outcome, Returned):
            value = self.codec.unpack_result(outcome.payload)
            if type(value) is Raised:
                raise value.error() or error_of(_failed(value, outcome))
            return value
        raise self.error(outcome)

    def outcome(self, outcome: Outcome) -> Outcome:
        """The outcome as a caller is to see it: with pickle, what a handler raised arrives as a payload."""
        if isinstance(outcome, Returned) and self.codec.name == "pickle":
            value = self.codec.unpack_result(outcome.payload)
            if type(value) is Raised:
                return _failed(value, outcome)
        return outcome

    def error(self, outcome: Outcome) -> Exception:
        """The exception for an outcome that is no result."""
        assert not isinstance(outcome, Returned)
        if self._broken and self.refusal is not None and isinstance(outcome, Cancelled) and outcome.reason == _SHUTDOWN:
            return self.refused(self.refusal)
        if isinstance(outcome, Failed) and outcome.kind == "UnknownHandler":
            return NoSuchJob(f"the workers have no handler {outcome.message!r}")
        return error_of(outcome)

    # -- turns --------------------------------------------------------------------------------------------------------

    @property
    def files(self) -> tuple[int, int]:
        """The descriptors to wait for: the node's and the link's."""
        return self.node.fileno(), self.link.fileno()

    def fileno(self) -> int:
        """One descriptor for both."""
        if self._epoll is None:
            self._epoll = select.epoll()
            for fd in self.files:
                self._epoll.register(fd, select.EPOLLIN)
        return self._epoll.fileno()

    def on_readable(self, now: float) -> None:
        """Take a turn, because `fileno` was readable. ``now`` in CLOCK_MONOTONIC seconds."""
        if self._closed:
            return
        self.hear()
        if not self._closed:
            self.node.on_readable(now)

    def on_deadline(self, now: float) -> None:
        """Take a turn, because `next_deadline` has come. ``now`` in CLOCK_MONOTONIC seconds."""
        if not self._closed:
            self.node.on_deadline(now)

    def next_deadline(self) -> float | None:
        """When to call `on_deadline` (CLOCK_MONOTONIC seconds), or None; in the past when there is more to do now."""
        deadline = None if self._closed else self.node.next_deadline()
        # A job without a deadline has one in some years, which is more than poll() can be told.
        # And 0.0, which is what a node says for "at once", is false where somebody asks for None in a hurry.
        return None if deadline is None else min(deadline or _PAST, time.monotonic() + _LONGEST_WAIT_S)

    def hear(self) -> None:
        """Read what the attendant says."""
        for told in self.link.receive():
            match told:
                case PeerUp(peer, slot, executes):
                    if executes:
                        self._workers[slot] = peer
                    self.node.peer_up(peer, slot, executes)
                case PeerDown(peer, reason):
                    self._workers = {slot: other for slot, other in self._workers.items() if other != peer}
                    self.node.peer_down(peer, reason)
                case Drain():
                    self.refuse(PoolBroken("the pool is closing; make or join another one"))
                case AttendantGone():
                    self._break()
                case _:
                    pass  # nobody tells a guest anything else

    @staticmethod
    def refused(why: PoolBroken) -> PoolBroken:
        """A fresh one each time: an exception gathers the tracebacks of all who raise it."""
        return type(why)(*why.args)

    # -- the end ------------------------------------------------------------------------------------------------------

    def close_door(self) -> None:
        """Take no more jobs, because the pool is being left."""
        self.refuse(PoolBroken("the pool is closed here; make or join another one"))

    def refuse(self, why: PoolBroken) -> None:
        """Take no more jobs."""
        if self.refusal is None:
            self.refusal = why
            self.node.drain(str(why))

    def _break(self) -> None:
        """The attendant is dead, and with it, by the kernel's doing, every worker."""
        self.give_up("the pool's attendant died, and its workers with it; make or join another pool")

    def give_up(self, why: str) -> None:
        """The pool is of no use any more: everything pending is settled."""
        if self._closed:
            return
        if self.refusal is None:
            self.refusal = PoolBroken(why)
        self._broken = True
        for peer in self._workers.values():
            self.node.peer_down(peer, why)
        self.close()
        self.on_broken()

    def close(self) -> None:
        """Leave the pool: what is pending is settled as Cancelled. In a process that was forked, only let go."""
        if self._closed:
            return
        self._closed = True
        if self.refusal is None:
            self.close_door()
        if not isinstance(self.refusal, WrongProcess):
            self.node.close()
        if self._epoll is not None:
            self._epoll.close()
        self._membership.close()

    # -- to look at ---------------------------------------------------------------------------------------------------

    def stats(self) -> PoolStats:
        """The pool at this moment."""
        loads = {} if self._closed else {slot: self.board.load(slot) for slot in self._workers}
        workers = [
            WorkerStats(
                self._workers[slot].name,
                self._workers[slot].incarnation,
                self._pid_of(self._workers[slot]),
                "draining" if load.draining else "running" if self.board.running(slot) else "idle",
                load.outstanding,
                load.expected_s,
                self.board.done_by(slot),
            )
            for slot, load in sorted(loads.items())
        ]
        waiting = 0 if self._closed else sum(self.board.waiting())
        return PoolStats(workers, waiting, self.node.pending(), dict(self.node.counters))

    def _pid_of(self, peer: Peer) -> int | None:
        if self._pids.get(peer) is None:
            self._pids = {one: pid for one, pid in self._pids.items() if one in self._workers.values()}
            self._pids[peer] = pid_of(self.address, peer)
        return self._pids[peer]


def _nothing() -> None:
    pass


def _failed(raised: Raised, outcome: Returned) -> Failed:
    return Failed(raised.kind, raised.message, outcome.worker, outcome.elapsed_s, raised.trace)


# Every session of this process, so that a child finds those that it cannot use. (Asking for the process's number at
# every submission would cost a system call.)
_sessions: weakref.WeakSet[Session] = weakref.WeakSet()


def _after_fork() -> None:
    for session in _sessions:
        session.refusal = WrongProcess(
            f"this pool object belongs to process {os.getppid()}, from which this one was forked; join the pool here "
            f"with Client({str(session.address)!r})"
        )


os.register_at_fork(after_in_child=_after_fork)
