"""A pool as a `concurrent.futures.Executor`, for `loop.run_in_executor` and for code written for ProcessPoolExecutor.

What is different from ProcessPoolExecutor: a worker that dies takes its one job with it, whose future raises `JobLost`
(a `BrokenExecutor`), and the executor goes on; arguments and results go by msgpack unless the pool was made with
``codec="pickle"``; shutting the executor down leaves the pool as it is.
"""

from __future__ import annotations

import inspect
import itertools
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from concurrent.futures import wait as wait_for_all
from typing import Any

from workers.errors import NotImportable
from workers.futures import Backend, JobFuture
from workers.jobs import Job, Outcome, Rejected
from workers.packing import codec_named
from workers.session import QUEUE_FULL
from workers.targets import Target

_MOST_UNDER_WAY = 1000
"""So many of an executor's jobs are in the pool; the others wait in the executor, which has no bound."""

_RETRY_S = 0.005


class PoolExecutor(Executor):
    """What `executor` of a pool gives. Any thread may use it.

    Args:
        backend: who drives the session.
        timeout_s: each job's deadline, in seconds from when it enters the pool.
        priority: of each job.
        kill: whether workers that are still running a job after its deadline are killed.

    Raises:
        NotImportable: the pool runs no functions by import path.
    """

    def __init__(self, backend: Backend, *, timeout_s: float | None, priority: int, kill: bool) -> None:
        session = backend.session
        if not session.allow_imports:
            raise NotImportable(
                "an executor runs any function by its import path; make the pool with allow_imports=True"
            )
        self._backend = backend
        self._options: dict[str, Any] = {"timeout_s": timeout_s, "priority": priority, "kill": kill}
        self._codec = codec_named(session.settings.codec, shared=True)
        self._most = min(_MOST_UNDER_WAY, session.settings.limits.max_queued)
        self._lock = threading.Lock()
        self._is_shut = False
        self._backlog: deque[_ExecutorFuture] = deque()
        self._under_way: set[_ExecutorFuture] = set()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> JobFuture:
        """Schedule a call.

        Raises:
            NotEncodable: an argument cannot be sent.
            NotImportable: the function cannot be found by an import path, e.g. because it is a lambda.
            PoolBroken: the pool is gone.
            RuntimeError: the executor was shut down.

        Example::

            future = executor.submit(pow, 2, 10)
        """
        target = self._backend.session.target(fn)
        return self._enter(target, self._codec.pack_call((fn, *args) if target.applied else args, kwargs))

    def map(
        self, fn: Callable[..., Any], *iterables: Iterable[Any], timeout: float | None = None, chunksize: int = 1
    ) -> Iterator[Any]:
        """Like the builtin ``map``, with the calls run by the pool.

        Args:
            fn: the function.
            *iterables: its arguments; read to the end at once.
            timeout: how many seconds after this call a result may come at the latest.
            chunksize: how many calls make one job.

        Raises:
            TimeoutError: while iterating, when a result is not there in time.
            ValueError: ``chunksize`` is less than 1.
            Others: as `submit`; while iterating, what a call raised.

        Example::

            sizes = list(executor.map(measure, paths, chunksize=100))
        """
        if chunksize < 1:
            raise ValueError("chunksize must be >= 1.")
        if chunksize == 1 or inspect.iscoroutinefunction(fn):
            return super().map(fn, *iterables, timeout=timeout)
        target = self._backend.session.chunk_target(fn, chunksize)
        whole = zip(*iterables)  # noqa: B905 - as the builtin map: it ends with the shortest
        ends_at = None if timeout is None else time.monotonic() + timeout
        futures = deque(self._enter(target, self._codec.pack_call(rows, None)) for rows in _chunks(whole, chunksize))
        return itertools.chain.from_iterable(_results(futures, ends_at))

    def _enter(self, target: Target, packed: bytes) -> JobFuture:
        future = _ExecutorFuture(self, self._backend, target, target.prefix + packed)
        with self._lock:
            if self._is_shut:
                raise RuntimeError("cannot schedule new futures after shutdown")
            self._backlog.append(future)
        self._backend.post(self._feed)
        return future

    def _feed(self) -> None:
        """Hand in what there is room for, from the session's own thread or loop."""
        session = self._backend.session
        while self._backlog and len(self._under_way) < self._most:
            future = self._backlog.popleft()
            if not future.is_wanted():
                continue
            self._under_way.add(future)
            if session.refusal is not None:
                future.refused(session.refused(session.refusal))
                continue
            future.job = session.submit(future.target, future.payload, future.settled, **self._options)
            self._backend.sent()

    def _ended(self, future: _ExecutorFuture, outcome: Outcome) -> bool:
        """From a turn: whether the future is to be told. One that found the pool full goes back."""
        self._under_way.discard(future)
        if isinstance(outcome, Rejected) and outcome.reason == QUEUE_FULL:
            future.job = None
            self._backlog.appendleft(future)
            # Others fill the pool, and nobody tells when they have left.
            retry = threading.Timer(_RETRY_S, self._backend.post, [self._feed])
            retry.daemon = True
            retry.start()
            return False
        if self._backlog:
            self._feed()
        return True

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more calls. The pool goes on.

        Args:
            wait: return when all calls have ended.
            cancel_futures: cancel those that no worker has begun.

        Raises:
            RuntimeError: it would wait for the event loop that it is called from.

        Example::

            with pool.executor() as executor:   # waits at the end of the block
                ...
        """
        with self._lock:
            self._is_shut = True
        left = self._backend.run(lambda: [*self._backlog, *self._under_way])
        if cancel_futures:
            for future in left:
                future.cancel()
        left = [future for future in left if not future.done()]
        if wait and left:
            self._backend.may_block()
            wait_for_all(left)


class _ExecutorFuture(JobFuture):
    """A future as executors give it: one that a worker has begun is not cancelled any more."""

    def __init__(self, executor: PoolExecutor, backend: Backend, target: Target, payload: bytes) -> None:
        super().__init__(backend)
        self._executor = executor
        self.target = target
        self.payload = payload

    def is_wanted(self) -> bool:
        """Whether it is to enter the pool; one that was cancelled is not."""
        return not self.cancelled()

    def settled(self, job: Job, outcome: Outcome) -> None:
        if self._executor._ended(self, outcome):
            super().settled(job, outcome)

    def refused(self, error: Exception) -> None:
        """The pool is gone before it has entered it."""
        self._executor._under_way.discard(self)
        self._backend.tell(lambda: self._fail(error))

    def _fail(self, error: Exception) -> None:
        if self.set_running_or_notify_cancel():
            self.set_exception(error)

    def cancel(self) -> bool:
        """Cancel it if no worker has it yet; False if one has, or when it has ended."""
        if not self.done():
            self._backend.run(self._cancel_here)
        return self.cancelled()

    def _cancel_here(self) -> None:
        if self.job is None:
            if Future.cancel(self):
                self.set_running_or_notify_cancel()
        elif self._is_waiting() and self.withdraw():
            Future.cancel(self)

    def _is_waiting(self) -> bool:
        assert self.job is not None
        name = self.job.id
        return any(view.id == name and view.state == "queued" for view in self._backend.session.node.jobs())

    def running(self) -> bool:
        """Whether a worker has it."""
        return not self.done() and self._backend.run(lambda: self.job is not None and not self._is_waiting())


def _chunks(rows: Iterator[tuple[Any, ...]], size: int) -> Iterator[list[tuple[Any, ...]]]:
    while chunk := list(itertools.islice(rows, size)):
        yield chunk


def _results(futures: deque[JobFuture], ends_at: float | None) -> Iterator[list[Any]]:
    try:
        while futures:
            # Popped first, so that a result is not kept alive by the queue that it was taken from.
            future = futures.popleft()
            yield future.result(None if ends_at is None else ends_at - time.monotonic())
    finally:
        for future in futures:
            future.cancel()
