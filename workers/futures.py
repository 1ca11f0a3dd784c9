"""Jobs as futures of `concurrent.futures`, for code without an event loop and for code written for executors."""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from typing import Any, Protocol, TypeVar

from workers.jobs import Cancelled, Job, Outcome, Rejected
from workers.session import Session

Result = TypeVar("Result")


class Backend(Protocol):
    """Where a future's job is: in a session that some thread or loop drives. Any thread may call it."""

    @property
    def session(self) -> Session:
        """The place in the pool. To be touched from `run` and `post` only, but for what never changes."""

    def run(self, action: Callable[[], Result]) -> Result:
        """Do something to the session, and wait until it is done."""

    def post(self, action: Callable[[], object]) -> None:
        """Do something to the session, now or soon, in the order of the calls."""

    def may_block(self) -> None:
        """Raise RuntimeError where a wait for a future would be for ever, because this thread has to settle it."""

    def sent(self) -> None:
        """From `run` or `post`: say that a job was submitted for which nobody waits here."""

    def tell(self, callback: Callable[[], None]) -> None:
        """From `run`, `post` or a turn: call back where a callback may do what it likes."""


class JobFuture(Future[Any]):
    """A job that was submitted, as a future: `concurrent.futures.wait` and ``as_completed`` take it as well.

    ``result(timeout)`` gives what the handler returned, or raises what it raised, or the `JobError` that tells how else
    it ended. ``cancel()`` ends the job whether it runs or not.

    Example::

        future = pool.submit("resize", path="a.png", timeout_s=2.0)
        thumbnail = future.result()
    """

    def __init__(self, backend: Backend, on_progress: Callable[[float, str], None] | None = None) -> None:
        super().__init__()
        self._backend = backend
        self._on_progress = on_progress
        self._outcome: Outcome | None = None
        self._news: queue.SimpleQueue[tuple[float, str] | None] | None = None
        self.job: Job | None = None

    @property
    def id(self) -> str:
        """The job's name, e.g. ``guest-1.1.17``; the same as `job_id` gives within the handler."""
        return str(self.job.id) if self.job is not None else "?"

    def outcome(self, timeout: float | None = None) -> Outcome:
        """Wait until it has ended, and say how.

        Args:
            timeout: at most so many seconds.

        Raises:
            TimeoutError: it has not ended by then.

        Example::

            if isinstance(future.outcome(), WorkerLost):
                log.error("its worker died")
        """
        with suppress(CancelledError):
            self.exception(timeout)
        return Cancelled("cancelled") if self._outcome is None else self._backend.session.outcome(self._outcome)

    def was_rejected(self, reason: str) -> bool:
        """Whether it was Rejected for that very reason."""
        return isinstance(self._outcome, Rejected) and self._outcome.reason == reason

    def progress(self) -> Iterator[tuple[float, str]]:
        """What the job tells of its progress, from now until it has ended: fraction and text.

        Example::

            for fraction, text in future.progress():
                print(f"{fraction:.0%} {text}")
        """
        news = self._news = queue.SimpleQueue()
        self.add_done_callback(lambda _: news.put(None))
        while (one := news.get()) is not None:
            yield one

    def cancel(self) -> bool:
        """End the job. One that waits never runs; an ``async`` handler is cancelled; a plain one that runs is told.

        Returns:
            False when it has ended already.
        """
        if self._backend.run(self.withdraw):
            super().cancel()
        return self.cancelled()

    def withdraw(self) -> bool:
        """From the session's own thread or loop: end the job, but leave the future to learn of it."""
        return self.job is not None and self._backend.session.node.cancel(self.job.id, "cancelled")

    # -- what the pool calls ------------------------------------------------------------------------------------------

    def settled(self, job: Job, outcome: Outcome) -> None:
        """The job has its outcome."""
        self._outcome = outcome
        self._backend.tell(self._set)

    def progressed(self, fraction: float, text: str) -> None:
        """The job told how far it is."""
        if self._news is not None:
            self._news.put((fraction, text))
        if self._on_progress is not None:
            on_progress = self._on_progress
            self._backend.tell(lambda: on_progress(fraction, text))

    def _set(self) -> None:
        assert self._outcome is not None
        if not self.set_running_or_notify_cancel():
            return
        try:
            value = self._backend.session.value(self._outcome)
        except Exception as error:
            self.set_exception(error)
        else:
            self.set_result(value)
