"""Who looks at the workers of a running tree: their number, their memory, and jobs past their deadlines.

It reads the load board, and ``/proc`` where there is a memory limit, and asks the tree to act. While nothing waits, no
job is slow and none is to be killed, a look every 50 ms is all that it costs.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from typing import Final, Protocol, assert_never

from workers.elastic import Elastic, ElasticPolicy, Grow, LetGo, Seen, is_taken
from workers.jobs import Peer
from workers.loads import LoadBoard
from workers.supervision import Life, SeatView

PAST_DEADLINE: Final = "its job was past its deadline"
"""The reason that is told of a worker that was killed because its job was."""

_PRESSING_S: Final = 0.02
"""How often to look while a job is to be killed at some moment."""

_MEASURE_S: Final = 0.1
"""How often to look at the memory in use, where there is a limit."""

_PAGE: Final = os.sysconf("SC_PAGE_SIZE")
_UP: Final = (Life.UP, Life.LEAVING)


class Tree(Protocol):
    """What of a `ProcessTree` an overseer needs."""

    def views(self) -> list[SeatView]: ...

    def pid_of(self, peer: Peer) -> int | None: ...

    def grow(self, role: str) -> None: ...

    def retire(self, peer: Peer) -> None: ...

    def kill(self, peer: Peer, reason: str) -> None: ...


class Overseer:
    """Looks after the workers of one role.

    Args:
        tree: the tree.
        role: the name of the role.
        count: how many workers there always are.
        most: how many there may be.
        board: the load board.
        policy: when workers come and go.
        memory_limit_bytes: of resident memory; a worker that exceeds it at two looks in a row, in the middle of the
            same job, is killed. One whose job ends meanwhile sees to its end itself, and loses nothing. None for no
            limit.
        clock: tells CLOCK_MONOTONIC seconds.
    """

    def __init__(
        self,
        tree: Tree,
        role: str,
        count: int,
        most: int,
        board: LoadBoard,
        *,
        policy: ElasticPolicy,
        memory_limit_bytes: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._tree = tree
        self._role = role
        self._board = board
        self._policy = policy
        self._elastic = Elastic(policy, count, most) if most > count else None
        self._memory_limit = memory_limit_bytes
        self._rests = self._elastic is None and memory_limit_bytes is None
        """Whether there is nothing to do as long as no job is to be killed and no other worker is wanted."""
        self._slots: list[int] = []
        """Those of the workers that were there at the last look."""
        self._measured_at = 0.0
        self._fat: dict[Peer, int] = {}
        """Who exceeded the limit at the last look, and how many jobs it had ended by then."""
        self._clock = clock

    def look(self) -> float:
        """Look once and act; after how many seconds to look again."""
        if self._rests and not self._board.anybody_to_kill():
            # The attendant shares its processors with those who work, and what it does comes in between their jobs.
            slow = self._slow_workers()
            if not self._is_wanted(slow):
                return self._policy.look_s if slow else self._policy.rest_s
        now = self._clock()
        views = [view for view in self._tree.views() if view.seat.role == self._role and view.life is not Life.VACANT]
        pause_s = self._kill_late(now, views)
        # One that was found too large is looked at again at the next opportunity.
        if self._memory_limit is not None and (self._fat or now >= self._measured_at + _MEASURE_S):
            self._measured_at = now
            self._kill_fat(self._memory_limit, views)
        if self._elastic is not None:
            pause_s = min(pause_s, self._resize(self._elastic, now, views))
        return pause_s

    def _is_wanted(self, slow: int) -> bool:
        """Whether one more worker may be wanted, when so many of those that there are have slow jobs."""
        if self._elastic is None:
            return False
        return self._board.anybody_waits() or is_taken(slow, len(self._slots), self._policy.quick_share)

    def _slow_workers(self) -> int:
        """How many of the workers have slow jobs; nobody wants to know where no other can be started."""
        if self._elastic is None:
            return 0
        return sum(load.expected_s > self._policy.slow_s for load in self._board.loads_of(self._slots).values())

    def _kill_late(self, now: float, views: Sequence[SeatView]) -> float:
        pause_s = self._policy.rest_s
        for view in views:
            kill_at = self._board.kill_at(view.seat.slot)
            if kill_at == 0.0 or view.life not in _UP:
                continue
            pause_s = min(pause_s, _PRESSING_S)
            if now >= kill_at:
                self._tree.kill(view.peer, PAST_DEADLINE)
        return pause_s

    def _kill_fat(self, limit_bytes: int, views: Sequence[SeatView]) -> None:
        suspects, self._fat = self._fat, {}
        for view in views:
            if not self._is_fat(view, limit_bytes):
                continue
            done = self._fat[view.peer] = self._board.done_by(view.seat.slot)
            if suspects.get(view.peer) == done:
                self._tree.kill(view.peer, over_limit(limit_bytes))

    def _is_fat(self, view: SeatView, limit_bytes: int) -> bool:
        """Whether a worker runs a job and exceeds the limit."""
        pid = self._tree.pid_of(view.peer)
        if pid is None or view.life not in _UP or not self._board.running(view.seat.slot):
            return False
        try:
            return resident_bytes(pid) > limit_bytes
        except OSError:  # it has just died
            return False

    def _resize(self, elastic: Elastic, now: float, views: Sequence[SeatView]) -> float:
        waiting = sum(self._board.waiting())
        seen = [self._see(view) for view in views]
        for decision in elastic.look(now, waiting, seen):
            match decision:
                case Grow():
                    self._tree.grow(self._role)
                case LetGo(peer):
                    self._tree.retire(peer)
                case _:
                    assert_never(decision)
        self._slots = [view.seat.slot for view in views]
        settled = all(view.life is Life.UP and not view.seat.spare for view in views)
        self._rests = self._memory_limit is None and settled and not waiting
        return elastic.pause_s(waiting + sum(worker.slow for worker in seen))

    def _see(self, view: SeatView) -> Seen:
        slot = view.seat.slot
        if view.life is not Life.UP:
            return Seen(view.peer, view.seat.spare, False, False, 0)
        load = self._board.load(slot)
        occupied, slow = self._board.running(slot) or load.outstanding > 0, load.expected_s > self._policy.slow_s
        return Seen(view.peer, view.seat.spare, True, occupied, self._board.done_by(slot), slow)


def resident_bytes(pid: int | str = "self") -> int:
    """The resident memory of a process.

    Raises:
        OSError: there is no such process.
    """
    with open(f"/proc/{pid}/statm", "rb") as statm:
        return int(statm.read().split()[1]) * _PAGE


def over_limit(limit_bytes: int) -> str:
    """What to say of a worker that uses too much."""
    return f"over its memory limit of {limit_bytes / 2**20:.0f} MiB"
