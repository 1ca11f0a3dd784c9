"""A running pool, from a loop of one's own: descriptor, deadline, turn. What `Client.open` gives."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from workers.batches import OnTimeout, What, is_kill
from workers.jobs import Job, JobId, Outcome
from workers.session import Session
from workers.stats import PoolStats


class PlainPool:
    """A running pool. To be used in one thread.

    Wait for `fileno` to be readable, at most until `next_deadline`; then call `on_readable`, or else `on_deadline`::

        while True:
            deadline = pool.next_deadline()
            timeout_s = None if deadline is None else max(0.0, deadline - time.monotonic())
            if select.select([pool], [], [], timeout_s)[0]:
                pool.on_readable(time.monotonic())
            else:
                pool.on_deadline(time.monotonic())

    Args:
        session: the place in the pool.
        on_timeout: what happens to a worker that runs a job past its deadline, unless a submission says otherwise.
    """

    def __init__(self, session: Session, on_timeout: OnTimeout) -> None:
        self._session = session
        self._kill = is_kill(on_timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    @property
    def address(self) -> Path:
        """The pool's folder."""
        return self._session.address

    def fileno(self) -> int:
        """The descriptor to wait for; ready when it is readable. Heed `next_deadline` as well, after every call."""
        return self._session.fileno()

    def on_readable(self, now: float) -> None:
        """Take a turn, because `fileno` was readable. ``now`` in CLOCK_MONOTONIC seconds (``time.monotonic()``)."""
        self._session.on_readable(now)

    def on_deadline(self, now: float) -> None:
        """Take a turn, because `next_deadline` has come. ``now`` in CLOCK_MONOTONIC seconds."""
        self._session.on_deadline(now)

    def next_deadline(self) -> float | None:
        """When to call `on_deadline` (CLOCK_MONOTONIC seconds), or None; in the past when there is more to do now."""
        return self._session.next_deadline()

    def submit(
        self,
        what: What,
        /,
        *args: Any,
        settled: Callable[[JobId, Outcome], None],
        timeout_s: float | None = None,
        priority: int = 0,
        on_timeout: OnTimeout | None = None,
        on_progress: Callable[[float, str], None] | None = None,
        **kwargs: Any,
    ) -> JobId:
        """Hand in a job. It leaves with the next turn, so ask `next_deadline` again.

        Args:
            what: the name of a handler, or a function where the pool allows imports.
            *args: its positional arguments.
            settled: told once how it ended, from a later turn; `value` makes a result of the outcome.
            timeout_s: its deadline, in seconds from now; by default the handler's, else the pool's.
            priority: higher goes first among the jobs that wait in this process.
            on_timeout: ``"kill"`` its worker if it is still running it a little after its deadline, or ``"abandon"``.
            on_progress: told what the handler tells: a fraction and a text.
            **kwargs: its keyword arguments.

        Returns:
            The job's name, for `cancel`.

        Raises:
            NotEncodable: an argument cannot be sent.
            NoSuchJob, NotImportable: there is nothing of that name to run.
            PoolBroken: the pool is gone.
            ValueError: the time limit is not finite, or the priority does not fit 32 bits.

        Example::

            pool.submit("resize", path="a.png", timeout_s=2.0, settled=lambda job, outcome: print(outcome))
        """
        session = self._session
        target = session.target(what)

        def told(job: Job, outcome: Outcome) -> None:
            settled(job.id, session.outcome(outcome))

        job = session.submit(
            target,
            session.pack(target, what, args, kwargs),
            told,
            timeout_s=timeout_s,
            priority=priority,
            kill=self._kill if on_timeout is None else is_kill(on_timeout),
            on_progress=on_progress,
        )
        return job.id

    def value(self, outcome: Outcome) -> Any:
        """What a job returned.

        Raises:
            Exception: what its handler raised, or the `JobError` that tells how else it ended.
        """
        return self._session.value(outcome)

    def cancel(self, job: JobId, reason: str = "cancelled") -> bool:
        """End a job; ``settled`` is told in a later turn. False when it has ended already."""
        return self._session.node.cancel(job, reason)

    def pending(self) -> int:
        """How many jobs are not settled."""
        return self._session.node.pending()

    def stats(self) -> PoolStats:
        """The pool at this moment: its workers, what waits, and what became of this process's jobs."""
        return self._session.stats()

    def close(self) -> None:
        """Leave the pool. What is pending is settled as Cancelled, from within this call."""
        self._session.close()
