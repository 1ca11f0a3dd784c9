"""One job in the hands of whoever submitted it from an event loop."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable, Generator
from typing import Any

from workers.jobs import Cancelled, Job, Outcome, Rejected, Returned
from workers.session import Session

log = logging.getLogger("layby.workers")

_MOST_PROGRESS = 64
"""So much news of one job is kept for who reads slowly; of more, the oldest is left out."""


class JobHandle:
    """A job that was submitted. It runs whether or not anybody awaits it.

    ``await handle`` gives what the handler returned, or raises what it raised, or the `JobError` that tells how else it
    ended. When the only task that awaits it is cancelled, the job is cancelled.

    Example::

        handle = pool.submit("resize", path="a.png", timeout_s=2.0)
        async for fraction, text in handle.progress():
            print(f"{fraction:.0%} {text}")
        thumbnail = await handle
    """

    __slots__ = (
        "_asked",
        "_awaited",
        "_callbacks",
        "_heard",
        "_news",
        "_on_progress",
        "_outcome",
        "_session",
        "_waiters",
        "job",
    )

    def __init__(self, session: Session, on_progress: Callable[[float, str], None] | None = None) -> None:
        self._session = session
        self._on_progress = on_progress
        self.job: Job | None = None
        self._outcome: Outcome | None = None
        self._waiters: list[asyncio.Future[None]] | None = None
        self._callbacks: list[Callable[[JobHandle], None]] | None = None
        # The newest of what the job told, and where it is kept for somebody who reads it.
        self._news: tuple[float, str] | None = None
        self._heard: deque[tuple[float, str]] | None = None
        self._awaited = 0
        self._asked = False

    # -- what the pool calls ------------------------------------------------------------------------------------------

    def settled(self, job: Job, outcome: Outcome) -> None:
        """The job has its outcome."""
        self._outcome = outcome
        if self._waiters is not None:
            self._wake()
        if self._callbacks is not None:
            callbacks, self._callbacks = self._callbacks, None
            for callback in callbacks:
                callback(self)
        if self._session.room_waiters:
            self._session.on_room()

    def progressed(self, fraction: float, text: str) -> None:
        """The job told how far it is."""
        self._news = (fraction, text)
        if self._heard is not None:
            self._heard.append(self._news)
            self._wake()
        if self._on_progress is not None:
            self._on_progress(fraction, text)

    def _wake(self) -> None:
        waiters, self._waiters = self._waiters, None
        for waiter in waiters or ():
            if not waiter.done():
                waiter.set_result(None)

    # -- what its owner asks ------------------------------------------------------------------------------------------

    @property
    def id(self) -> str:
        """The job's name, e.g. ``guest-1.1.17``; the same as `job_id` gives within the handler."""
        assert self.job is not None
        return str(self.job.id)

    def done(self) -> bool:
        """Whether it has ended, in whatever way."""
        return self._outcome is not None

    def result(self) -> Any:
        """What ``await`` gives, without waiting.

        Raises:
            asyncio.InvalidStateError: it has not ended.
            Exception: what the handler raised, or a `JobError`.
        """
        self._asked = True
        if self._outcome is None:
            raise asyncio.InvalidStateError(f"job {self.id} has not ended")
        return self._session.value(self._outcome)

    def exception(self) -> Exception | None:
        """What ``await`` raises, without raising it; None for a job that returned.

        Raises:
            asyncio.InvalidStateError: it has not ended.
        """
        try:
            self.result()
        except asyncio.InvalidStateError:
            raise
        except Exception as error:
            return error
        return None

    def was_rejected(self, reason: str) -> bool:
        """Whether it was Rejected for that very reason."""
        rejected = isinstance(self._outcome, Rejected) and self._outcome.reason == reason
        self._asked = self._asked or rejected
        return rejected

    async def outcome(self) -> Outcome:
        """How it ended, as a value: `Returned`, `Failed`, `WorkerLost`, `TimedOut`, `Cancelled` or `Rejected`.

        Example::

            match await handle.outcome():
                case WorkerLost(worker):
                    log.error("%s died", worker)
        """
        self._asked = True
        while self._outcome is None:
            await self._wait()
        return self._session.outcome(self._outcome)

    def __await__(self) -> Generator[Any, None, Any]:
        while self._outcome is None:
            yield from self._wait().__await__()
        return self.result()

    async def _wait(self) -> None:
        """Wait until it has ended or told something."""
        if self._awaited == 0 and self.job is not None:
            self._session.node.hurry(self.job)
        waiter = asyncio.get_running_loop().create_future()
        if self._waiters is None:
            self._waiters = []
        self._waiters.append(waiter)
        self._awaited += 1
        try:
            await waiter
        except asyncio.CancelledError:
            if self._awaited == 1 and self._outcome is None:
                self.cancel("its caller was cancelled")
            raise
        finally:
            self._awaited -= 1

    async def progress(self) -> AsyncIterator[tuple[float, str]]:
        """What the job tells of its progress, from the newest so far until it has ended: fraction and text.

        Example::

            async for fraction, text in handle.progress():
                print(f"{fraction:.0%} {text}")
        """
        if self._heard is None:
            self._heard = deque([self._news] if self._news else [], _MOST_PROGRESS)
        while True:
            while self._heard:
                yield self._heard.popleft()
            if self._outcome is not None:
                return
            await self._wait()

    def cancel(self, reason: str = "cancelled") -> bool:
        """End the job. One that waits never runs; an ``async`` handler is cancelled; a plain one that runs is told.

        Returns:
            False when it has ended already.
        """
        self._asked = True
        return self.job is not None and self._outcome is None and self._session.node.cancel(self.job.id, reason)

    def add_done_callback(self, callback: Callable[[JobHandle], None]) -> None:
        """Call back when it has ended, in the loop's thread; at once if it has."""
        if self._outcome is not None:
            callback(self)
        elif self._callbacks is None:
            self._callbacks = [callback]
        else:
            self._callbacks.append(callback)

    def __repr__(self) -> str:
        state = "pending" if self._outcome is None else type(self._outcome).__name__
        return f"<JobHandle {self.job.id if self.job else '?'} {state}>"

    def __del__(self) -> None:
        outcome = self._outcome
        if outcome is not None and not self._asked and not isinstance(outcome, Returned | Cancelled):
            log.warning("nobody asked how job %s ended: %s", self.id, self._session.error(outcome))
