"""Who waits in this process, and until when.

Invariant 1 (a waiter is told exactly once) is one ``dict.pop`` in `Suspensions.settle`: answer, loss, timeout,
cancel and shutdown all pass through it, and only the first gets the waiter. Invariant 4 (by its deadline, whatever
else dies) is `Suspensions.expired`, which needs nobody else's word.

Jobs stand here by their serials alone: these are unique within one incarnation of an origin, what speaks of another
origin's jobs never gets here, and an int hashes ten times faster than a `JobId`.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from typing import Generic, TypeVar

from workers.jobs import Outcome

Waiter = TypeVar("Waiter")

_SLACK = 64
"""How many dead heap entries are always allowed, so that a small table is not rebuilt again and again."""


class Suspensions(Generic[Waiter]):
    """The waiters of one origin, by the serial of their job."""

    def __init__(self) -> None:
        self._waiters: dict[int, Waiter] = {}
        # (deadline, serial); settled jobs stay until they surface or until they outnumber the living.
        self._deadlines: list[tuple[float, int]] = []

    def __len__(self) -> int:
        return len(self._waiters)

    def __contains__(self, serial: int) -> bool:
        return serial in self._waiters

    def suspend(self, serial: int, waiter: Waiter, deadline: float) -> None:
        """Let ``waiter`` wait for the job until ``deadline`` (CLOCK_MONOTONIC seconds).

        Raises:
            ValueError: somebody waits for it already.
        """
        if serial in self._waiters:
            raise ValueError(f"job {serial} is waited for already")
        self._waiters[serial] = waiter
        heapq.heappush(self._deadlines, (deadline, serial))

    def waiter(self, serial: int) -> Waiter | None:
        """Who waits for the job, who goes on waiting; None once it is settled."""
        return self._waiters.get(serial)

    def settle(self, outcomes: Iterable[tuple[int, Outcome]]) -> list[tuple[Waiter, Outcome]]:  # model: settle
        """Give out the waiters of jobs that have ended, each once, with their outcomes.

        Those that are settled already, or were never waited for, are left out.
        """
        pop = self._waiters.pop
        settled = [(waiter, outcome) for serial, outcome in outcomes if (waiter := pop(serial, None)) is not None]
        if len(self._deadlines) > 2 * len(self._waiters) + _SLACK:
            self._rebuild()
        return settled

    def expired(self, now: float) -> list[int]:
        """Name the jobs whose deadline has come, earliest first.

        They stay suspended until they are settled, and are not named again: whoever asks settles them all.
        """
        due = []
        while self._deadlines and self._deadlines[0][0] <= now:
            _, serial = heapq.heappop(self._deadlines)
            if serial in self._waiters:
                due.append(serial)
        return due

    def next_deadline(self) -> float | None:
        """When `expired` next has something to say; None while nobody waits."""
        while self._deadlines and self._deadlines[0][1] not in self._waiters:
            heapq.heappop(self._deadlines)
        return self._deadlines[0][0] if self._deadlines else None

    def serials(self) -> list[int]:
        """Everything that is waited for, oldest first."""
        return list(self._waiters)

    def check(self) -> None:
        """Assert that no waiter lacks a deadline and that the dead do not pile up.

        Jobs that `expired` named must have been settled before.
        """
        assert self._waiters.keys() <= {serial for _, serial in self._deadlines}, "a waiter without a deadline"
        assert len(self._deadlines) <= 2 * len(self._waiters) + _SLACK, "settled jobs pile up"

    def _rebuild(self) -> None:
        self._deadlines = [entry for entry in self._deadlines if entry[1] in self._waiters]
        heapq.heapify(self._deadlines)
