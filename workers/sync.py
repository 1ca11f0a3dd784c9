"""A running pool, without an event loop: what ``with`` a `WorkerPool` or a `Client` gives."""

from __future__ import annotations

import concurrent.futures
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from workers.batches import Batch, Call, OnTimeout, What, is_kill, parts_of
from workers.driving import Driver, Waiting
from workers.executor import PoolExecutor
from workers.futures import JobFuture
from workers.jobs import Job, Outcome
from workers.session import QUEUE_FULL, Session
from workers.stats import PoolStats

_ROOM_POLL_S = 0.002


class SyncPool:
    """A running pool. Any thread may use it, several at once.

    Args:
        session: the place in the pool, made with ``shared``.
        on_timeout: what happens to a worker that runs a job past its deadline, unless a submission says otherwise.
    """

    def __init__(self, session: Session, on_timeout: OnTimeout) -> None:
        self._session = session
        self._kill = is_kill(on_timeout)
        self._driver = Driver(session)

    @property
    def address(self) -> Path:
        """The pool's folder, by which a `Client` joins it.

        Example::

            subprocess.Popen([sys.executable, "-m", "myapp.web", str(pool.address)])
        """
        return self._session.address

    # -- one job --------------------------------------------------------------------------------------------------

    def call(
        self,
        what: What,
        /,
        *args: Any,
        timeout_s: float | None = None,
        priority: int = 0,
        on_timeout: OnTimeout | None = None,
        **kwargs: Any,
    ) -> Any:
        """Run a job and wait for it. When the wait is interrupted (Ctrl-C), the job is cancelled.

        Args:
            what: the name of a handler, or a function where the pool allows imports.
            *args: its positional arguments.
            timeout_s: its deadline, in seconds from now; by default the handler's, else the pool's.
            priority: higher goes first among the jobs that wait in this process.
            on_timeout: ``"kill"`` its worker if it is still running it a little after its deadline, or ``"abandon"``
                it, so that it ends for nobody. By default the pool's.
            **kwargs: its keyword arguments. For those called like a parameter of this method use `submit_call`.

        Returns:
            What the handler returned.

        Raises:
            Exception: what the handler raised, or a `JobError`.
            NotEncodable: an argument cannot be sent.
            NoSuchJob, NotImportable: there is nothing of that name to run.
            PoolBroken: the pool is gone.
            ValueError: the time limit is not finite, or the priority does not fit 32 bits.

        Example::

            thumbnail = pool.call("resize", path="a.png", timeout_s=2.0)
        """
        session, driver, waiting = self._session, self._driver, Waiting()
        target = session.target(what)
        payload = session.pack(target, what, args, kwargs)
        kill = self._kill if on_timeout is None else is_kill(on_timeout)
        with driver.lock:
            job = session.submit(target, payload, waiting.settled, timeout_s=timeout_s, priority=priority, kill=kill)
        driver.wait(waiting, lambda: session.node.cancel(job.id, "its caller was interrupted"))
        assert waiting.outcome is not None
        return session.value(waiting.outcome)

    def submit(
        self,
        what: What,
        /,
        *args: Any,
        timeout_s: float | None = None,
        priority: int = 0,
        on_timeout: OnTimeout | None = None,
        on_progress: Callable[[float, str], None] | None = None,
        **kwargs: Any,
    ) -> JobFuture:
        """Hand in a job.

        Args:
            on_progress: called in the pool's background thread with what the handler tells: a fraction and a text.
            others: as in `call`.

        Returns:
            The job. When queues are full, or the pool is closing, its ``result()`` raises `JobRejected`.

        Raises:
            as `call`, but for what becomes of the job.

        Example::

            future = pool.submit("resize", path="a.png", timeout_s=2.0)
            thumbnail = future.result()
        """
        return self.submit_call(
            what,
            args,
            kwargs,
            timeout_s=timeout_s,
            priority=priority,
            on_timeout=on_timeout,
            on_progress=on_progress,
        )

    def submit_call(
        self,
        what: What,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        *,
        timeout_s: float | None = None,
        priority: int = 0,
        on_timeout: OnTimeout | None = None,
        on_progress: Callable[[float, str], None] | None = None,
    ) -> JobFuture:
        """The same as `submit` with the arguments apart, for handlers that have a parameter called e.g. ``timeout_s``.

        Example::

            pool.submit_call("ping", ["example.org"], {"timeout_s": 1.0}, timeout_s=5.0)
        """
        session = self._session
        target = session.target(what)
        payload = session.pack(target, what, args, kwargs)
        future = JobFuture(self._driver, on_progress)
        with self._driver.lock:
            future.job = session.submit(
                target,
                payload,
                future.settled,
                timeout_s=timeout_s,
                priority=priority,
                kill=self._kill if on_timeout is None else is_kill(on_timeout),
                on_progress=future.progressed,
            )
            self._driver.sent()
        return future

    def submit_wait(self, what: What, /, *args: Any, wait_s: float | None = None, **options: Any) -> JobFuture:
        """Wait until there is room among the waiting jobs, then `submit`; takes the same arguments.

        Args:
            wait_s: at most so many seconds.

        Raises:
            TimeoutError: there was no room by then.
            Others: as `submit`.

        Example::

            for path in uploads:
                pool.submit_wait("resize", path=path)
        """
        ends_at = None if wait_s is None else time.monotonic() + wait_s
        while True:
            if self._session.refusal is not None or self._driver.run(self._session.room) > 0:
                future = self.submit(what, *args, **options)
                self._driver.run(self._driver.turn)  # in which it is accepted, or somebody was quicker
                self._driver.run(self._driver.turn)
                if not future.was_rejected(QUEUE_FULL):
                    return future
            if ends_at is not None and time.monotonic() >= ends_at:
                raise TimeoutError(f"no room in the pool within {wait_s:g} s")
            time.sleep(_ROOM_POLL_S)

    def cancel(self, future: JobFuture) -> bool:
        """End a job, see `JobFuture.cancel`. False when it has ended already.

        Example::

            pool.cancel(future)
        """
        return future.cancel()

    # -- many jobs ------------------------------------------------------------------------------------------------

    def map(
        self,
        what: What,
        items: Iterable[Any],
        *,
        in_flight: int = 1000,
        timeout_s: float | None = None,
        priority: int = 0,
        on_timeout: OnTimeout | None = None,
        unpack: bool = False,
        return_outcomes: bool = False,
    ) -> Iterator[Any]:
        """Run a handler over many items, which are taken as there is room for them; the results in their order.

        The first job that does not return raises at its place, and what is still under way is cancelled; so it is when
        the loop is left early.

        Args:
            what: the name of a handler, or a function.
            items: its argument for each job, of any number.
            in_flight: how many jobs are under way at most.
            timeout_s: each job's deadline, in seconds from its submission.
            priority: of each job.
            on_timeout: as in `call`.
            unpack: an item is a sequence of positional arguments or a mapping of named ones.
            return_outcomes: give outcomes, and go on whatever becomes of a job.

        Raises:
            ValueError: ``in_flight`` is less than 1.
            Others: as `call`.

        Example::

            total = sum(pool.map("measure", paths, in_flight=200))
        """
        if in_flight < 1:
            raise ValueError(f"in_flight={in_flight}: at least 1")
        session = self._session
        target = session.target(what)
        pack = session.packer(target, what, unpack)
        kill = self._kill if on_timeout is None else is_kill(on_timeout)
        most = min(in_flight, session.settings.limits.max_queued)

        def submit(item: Any) -> _Place:
            place = _Place()
            payload = pack(item)
            place.job = session.submit(
                target, payload, place.settled, timeout_s=timeout_s, priority=priority, kill=kill
            )
            return place

        return self._stream(iter(items), submit, most, session.outcome if return_outcomes else session.value)

    def _stream(
        self, items: Iterator[Any], submit: Callable[[Any], _Place], most: int, read: Callable[[Outcome], Any]
    ) -> Iterator[Any]:
        driver = self._driver
        places: deque[_Place] = deque()
        is_at_end = False
        try:
            while True:
                batch = [] if is_at_end else _take(items, most - len(places))
                is_at_end = is_at_end or len(places) + len(batch) < most
                with driver.lock:
                    for item in batch:
                        places.append(submit(item))
                if not places:
                    return
                driver.wait(places[0], _nothing)
                while places and (outcome := places[0].outcome) is not None:
                    places.popleft()
                    yield read(outcome)
        finally:
            with driver.lock:
                for place in places:
                    self._session.node.cancel(place.job.id, "nobody reads the results any more")

    def as_completed(self, futures: Iterable[JobFuture | Call], timeout_s: float | None = None) -> Iterator[JobFuture]:
        """The jobs in the order in which they end.

        Args:
            futures: jobs; or calls as in `gather`, which are submitted first.
            timeout_s: the deadline of what is submitted here, in seconds.

        Raises:
            as `submit`.

        Example::

            for future in pool.as_completed([pool.submit("resize", path=path) for path in paths]):
                print(future.id, future.exception() or "done")
        """
        jobs = [
            one if isinstance(one, JobFuture) else self.submit_call(*parts_of(one), timeout_s=timeout_s)
            for one in futures
        ]
        return concurrent.futures.as_completed(jobs)  # type: ignore[return-value]  # it gives what it was given

    def gather(
        self,
        calls: Iterable[Call],
        *,
        timeout_s: float | None = None,
        priority: int = 0,
        on_timeout: OnTimeout | None = None,
        return_outcomes: bool = False,
    ) -> list[Any]:
        """Several jobs at once with one wait for all of them.

        Args:
            calls: each the name of a handler (or a function), alone or in a tuple with its arguments: a mapping, a
                sequence, or a sequence and a mapping.
            timeout_s: their deadline, in seconds from now.
            priority: of each job.
            on_timeout: as in `call`.
            return_outcomes: give outcomes, and wait for all of them whatever becomes of some.

        Returns:
            The results in the order of the calls.

        Raises:
            Exception: what the first that did not return raises; the others are cancelled.
            Others: as `call`.

        Example::

            small, large = pool.gather([("resize", {"width": 64}), ("resize", {"width": 640})], timeout_s=2.0)
        """
        session, driver, waiting = self._session, self._driver, Waiting()
        kill = self._kill if on_timeout is None else is_kill(on_timeout)
        batch = Batch(session, fail_early=not return_outcomes)
        packed = []
        for call in calls:
            what, args, kwargs = parts_of(call)
            target = session.target(what)
            packed.append((target, session.pack(target, what, args, kwargs)))
        if packed:
            batch.on_done = waiting.settled
            with driver.lock:
                batch.submit(packed, timeout_s=timeout_s, priority=priority, kill=kill)
            driver.wait(waiting, batch.cancel)
            driver.run(batch.cancel)
        return batch.outcomes() if return_outcomes else batch.values()

    # -- the pool -------------------------------------------------------------------------------------------------

    def executor(
        self, *, timeout_s: float | None = None, priority: int = 0, on_timeout: OnTimeout | None = None
    ) -> PoolExecutor:
        """This pool as a `concurrent.futures.Executor`.

        Args:
            timeout_s: the deadline of each of its jobs, in seconds.
            priority: of each of its jobs.
            on_timeout: as in `call`.

        Raises:
            NotImportable: the pool runs no functions by import path.

        Example::

            with pool.executor() as executor:
                squares = list(executor.map(square, range(10)))
        """
        kill = self._kill if on_timeout is None else is_kill(on_timeout)
        return PoolExecutor(self._driver, timeout_s=timeout_s, priority=priority, kill=kill)

    def stats(self) -> PoolStats:
        """The pool at this moment: its workers, what waits, and what became of this process's jobs.

        Example::

            busy = sum(worker.state == "running" for worker in pool.stats().workers)
        """
        return self._driver.run(self._session.stats)

    # -- the end --------------------------------------------------------------------------------------------------

    def drain(self, within_s: float) -> None:
        """Take no more jobs, and wait for those that were accepted, at most so many seconds."""
        session, ends_at = self._session, time.monotonic() + within_s
        self._driver.run(session.close_door)
        while session.node.pending() and time.monotonic() < ends_at:
            time.sleep(0.001)

    def close(self) -> None:
        """Leave the pool. What is pending is settled as Cancelled."""
        self._driver.close()


class _Place(Waiting):
    """One job's place in the order of a stream."""

    __slots__ = ("job",)
    job: Job


def _take(items: Iterator[Any], most: int) -> list[Any]:
    taken = []
    for _ in range(most):
        try:
            taken.append(next(items))
        except StopIteration:
            break
    return taken


def _nothing() -> None:
    pass
