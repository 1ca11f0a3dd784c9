"""Who waits in this process, and until when.

Invariant 1 (a waiter is told exactly once) is one ``dict.pop`` in `Suspensions.settle`: answer, loss, timeout,
cancel and shutdown all pass through it, and only the first gets the waiter. Invariant 4 (by its deadline, whatever
else dies) is `Suspensions.expired`, which needs nobody else's word.
"""

from __future__ import annotations

import heapq
from typing import Generic, TypeVar

from workers.jobs import JobId, Peer

Waiter = TypeVar("Waiter")

_SLACK = 64
"""How many dead heap entries are always allowed, so that a small table is not rebuilt again and again."""


class Suspensions(Generic[Waiter]):
    """The waiters of one origin, by job.

    Args:
        origin: this process. Jobs of another origin, or of another incarnation of it, have no waiter here.
    """

    def __init__(self, origin: Peer) -> None:
        self._origin = origin
        # Keyed by serial alone: a serial is unique within one incarnation, and an int hashes ten times faster
        # than a JobId. The origin is compared in `settle`.
        self._waiters: dict[int, Waiter] = {}
        # (deadline, serial); settled jobs stay until they surface or until they outnumber the living.
        self._deadlines: list[tuple[float, int]] = []

    def __len__(self) -> int:
        return len(self._waiters)

    def __contains__(self, job: JobId) -> bool:
        return job.origin == self._origin and job.serial in self._waiters

    def suspend(self, job: JobId, waiter: Waiter, deadline: float) -> None:
        """Let ``waiter`` wait for ``job`` until ``deadline`` (CLOCK_MONOTONIC seconds).

        Raises:
            ValueError: the job is another process's, or somebody waits for it already.
        """
        if job.origin != self._origin:
            raise ValueError(f"{job} is not a job of {self._origin}")
        if job.serial in self._waiters:
            raise ValueError(f"{job} is waited for already")
        self._waiters[job.serial] = waiter
        heapq.heappush(self._deadlines, (deadline, job.serial))

    def settle(self, job: JobId) -> Waiter | None:
        """Give out the job's waiter, once. None for a job that is settled, unknown, or of another life."""
        origin = job.origin
        if origin is not self._origin and origin != self._origin:
            return None
        waiter = self._waiters.pop(job.serial, None)
        if len(self._deadlines) > 2 * len(self._waiters) + _SLACK:
            self._rebuild()
        return waiter

    def expired(self, now: float) -> list[JobId]:
        """Name the jobs whose deadline has come, earliest first.

        They stay suspended until they are settled, and are not named again: whoever asks settles them all.
        """
        due = []
        while self._deadlines and self._deadlines[0][0] <= now:
            _, serial = heapq.heappop(self._deadlines)
            if serial in self._waiters:
                due.append(JobId(self._origin, serial))
        return due

    def next_deadline(self) -> float | None:
        """When `expired` next has something to say; None while nobody waits."""
        while self._deadlines and self._deadlines[0][1] not in self._waiters:
            heapq.heappop(self._deadlines)
        return self._deadlines[0][0] if self._deadlines else None

    def jobs(self) -> list[JobId]:
        """Everything that is waited for, oldest first."""
        return [JobId(self._origin, serial) for serial in self._waiters]

    def check(self) -> None:
        """Assert that no waiter lacks a deadline and that the dead do not pile up.

        Jobs that `expired` named must have been settled before.
        """
        assert self._waiters.keys() <= {serial for _, serial in self._deadlines}, "a waiter without a deadline"
        assert len(self._deadlines) <= 2 * len(self._waiters) + _SLACK, "settled jobs pile up"

    def _rebuild(self) -> None:
        self._deadlines = [entry for entry in self._deadlines if entry[1] in self._waiters]
        heapq.heapify(self._deadlines)
