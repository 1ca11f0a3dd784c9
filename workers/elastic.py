"""How many workers a pool needs: when one more is started, and which is let go.

Whoever watches the pool looks at it now and then and tells what it sees; the answer is what to do about it.

**One more** is started while jobs wait and every worker is occupied, but for those that slow jobs leave to quick ones:
a handler that blocks costs no CPU while it sleeps, so another process is worth its memory. Not for a backlog that the
workers there are work off sooner than ``worth_s`` at the rate just seen: many quick jobs in flight always wait a
little, and more processes than cores would only be in each other's way. This pressure must last from one look to the
next.

One more is started, too, as soon as slow jobs have all the workers that they may have: the next slow one would wait
for as long as a slow job takes, and a worker takes as long to come as such a job takes to end. 50 jobs of 50 ms a
second, which come at random, find all of 4 workers taken one time in four: their p99 is 101 ms with 4, and 51 with the
8 to 10 that it comes to in this way.

At most one worker comes at a time, and none while one is still on its way in or out. So workers come one per look at
most, and never in a storm.

**One is let go** when the pool could have done without it for ``idle_s``. Not when that very worker was idle for so
long: which worker gets a little traffic is a matter of chance. What counts is how many were
occupied *at once*: `_last_needed` keeps, for each number of workers, when more than so many were last needed. The
newest go first, and only those beyond ``count`` that are idle now.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import inf
from typing import TypeAlias

from msgspec import Struct

from workers.jobs import Peer
from workers.policy import DEFAULT_LIMITS, reserved, slow_s


class ElasticPolicy(Struct, frozen=True):
    """When to start and when to let go. Times in seconds.

    Args:
        idle_s: how long a worker must have been superfluous before it is let go.
        worth_s: a backlog that is worked off sooner is left to the workers that there are.
        look_s: how often to look while jobs wait, or a worker has slow ones.
        rest_s: how often to look else.
        quick_share: the share of the workers that slow jobs leave free, see `workers.policy.Limits`.
        slow_s: a worker that is expected to be occupied for longer has slow jobs, see `workers.policy.slow_s`.
    """

    idle_s: float = 10.0
    worth_s: float = 0.1
    look_s: float = 0.02
    rest_s: float = 0.05
    quick_share: float | None = None
    slow_s: float = slow_s(DEFAULT_LIMITS)


class Seen(Struct, frozen=True):
    """One worker at one look.

    Args:
        peer: the worker.
        spare: whether it is one of those beyond ``count``, which may be let go.
        settled: whether it is up; False while it comes, waits for its restart, or leaves.
        occupied: whether it has anything to do.
        done: how many jobs it has ended in this life.
        slow: whether what it has to do takes long.
    """

    peer: Peer
    spare: bool
    settled: bool
    occupied: bool
    done: int
    slow: bool = False


class Grow(Struct, frozen=True):
    """Start one more."""


class LetGo(Struct, frozen=True):
    """Have this one finish and leave."""

    peer: Peer


Decision: TypeAlias = Grow | LetGo


def is_taken(slow: int, workers: int, quick_share: float | None) -> bool:
    """Whether slow jobs have all of so many workers that they may have, so that the next one would wait."""
    return 0 < slow >= workers - reserved(workers, quick_share)


class Elastic:
    """The size of one pool.

    Args:
        policy: when.
        count: how many workers there always are.
        most: how many there may be.

    Raises:
        ValueError: ``most`` is less than ``count``.
    """

    def __init__(self, policy: ElasticPolicy, count: int, most: int) -> None:
        if most < count:
            raise ValueError(f"at most {most} workers, and never fewer than {count}")
        self._policy = policy
        self._count = count
        self._most = most
        self._last_needed = [-inf] * most
        """When more than so many workers were last needed, by that number. Never rises along the list."""
        self._done: dict[Peer, int] = {}
        """What each worker had done at the last look."""
        self._looked_at = -inf
        self._pressed = False
        """Whether jobs waited and all were occupied at the last look."""

    def look(self, now: float, waiting: int, workers: Sequence[Seen]) -> list[Decision]:
        """Decide.

        Args:
            now: CLOCK_MONOTONIC seconds.
            waiting: how many jobs wait, at all origins together.
            workers: every worker that there is or is to be, oldest first.
        """
        rate = self._rate(now, workers)
        up = [worker for worker in workers if worker.settled]
        occupied = sum(worker.occupied for worker in up)
        left_free = reserved(len(up), self._policy.quick_share)
        pressed = waiting > 0 and occupied + left_free >= len(up) and waiting >= rate * self._policy.worth_s
        taken = is_taken(sum(worker.slow for worker in up), len(up), self._policy.quick_share)
        self._note_need(now, occupied + (left_free if occupied else 0) + (pressed or taken))
        was_pressed, self._pressed = self._pressed, pressed
        if len(up) < len(workers):
            return []
        if pressed or taken:
            return [Grow()] if (was_pressed or taken) and len(up) < self._most else []
        return self._let_go(now, up)

    def pause_s(self, pressing: int) -> float:
        """How long to wait with the next look, given how many jobs wait and how many workers have slow ones."""
        return self._policy.look_s if pressing else self._policy.rest_s

    def check(self) -> None:
        """Assert every invariant of this machine."""
        assert all(one >= other for one, other in pairwise(self._last_needed))
        assert len(self._last_needed) == self._most
        assert len(self._done) <= self._most

    def _rate(self, now: float, workers: Sequence[Seen]) -> float:
        """Jobs ended per second since the last look; a worker that was not there then counts from its start."""
        ended = sum(max(0, worker.done - self._done.get(worker.peer, 0)) for worker in workers)
        elapsed_s, self._looked_at = now - self._looked_at, now
        self._done = {worker.peer: worker.done for worker in workers}
        return ended / elapsed_s if elapsed_s > 0.0 else 0.0

    def _note_need(self, now: float, needed: int) -> None:
        for number in range(min(needed, self._most)):
            self._last_needed[number] = now

    def _let_go(self, now: float, up: Sequence[Seen]) -> list[Decision]:
        if self._last_needed[0] == -inf:  # nothing was ever asked for: count from here
            self._last_needed = [now] * self._most
        enough = sum(needed_at > now - self._policy.idle_s for needed_at in self._last_needed)
        superfluous = len(up) - max(self._count, enough)
        idle = [worker.peer for worker in reversed(up) if worker.spare and not worker.occupied]
        return [LetGo(peer) for peer in idle[: max(0, superfluous)]]
