"""A running pool, from an event loop: what ``async with`` a `WorkerPool` or a `Client` gives."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from workers.batches import Batch, Call, OnTimeout, What, is_kill, parts_of
from workers.bridging import LoopBackend
from workers.executor import PoolExecutor
from workers.handles import JobHandle
from workers.session import QUEUE_FULL, Session
from workers.stats import PoolStats
from workers.streams import ROOM_POLL_S, Stream


class AsyncPool:
    """A running pool. To be used in the loop (asyncio or uvloop) and the thread that it was entered in.

    Args:
        session: the place in the pool.
        on_timeout: what happens to a worker that runs a job past its deadline, unless a submission says otherwise.
    """

    def __init__(self, session: Session, on_timeout: OnTimeout) -> None:
        self._session = session
        self._kill = is_kill(on_timeout)
        self._loop = asyncio.get_running_loop()
        self._room: deque[asyncio.Future[None]] = deque()
        self._one_at_a_time = asyncio.Lock()
        session.on_room = self._make_room
        session.on_broken = self._on_broken
        self._link_fd = session.link.fileno()
        self._loop.add_reader(self._link_fd, session.hear)
        session.node.attach(self._loop)

    @property
    def address(self) -> Path:
        """The pool's folder, by which a `Client` joins it.

        Example::

            subprocess.Popen([sys.executable, "-m", "myapp.web", str(pool.address)])
        """
        return self._session.address

    # -- one job --------------------------------------------------------------------------------------------------

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
    ) -> JobHandle:
        """Hand in a job. It runs whether or not its handle is awaited.

        Args:
            what: the name of a handler, or a function where the pool allows imports.
            *args: its positional arguments.
            timeout_s: its deadline, in seconds from now; by default the handler's, else the pool's.
            priority: higher goes first among the jobs that wait in this process.
            on_timeout: ``"kill"`` its worker if it is still running it a little after its deadline, or ``"abandon"``
                it, so that it ends for nobody. By default the pool's.
            on_progress: called in the loop with what the handler tells: a fraction and a text.
            **kwargs: its keyword arguments. For those called like a parameter of this method use `submit_call`.

        Returns:
            The job. When queues are full, or the pool is closing, awaiting it raises `JobRejected`.

        Raises:
            NotEncodable: an argument cannot be sent.
            NoSuchJob, NotImportable: there is nothing of that name to run.
            PoolBroken: the pool is gone.
            ValueError: the time limit is not finite, or the priority does not fit 32 bits.

        Example::

            thumbnail = await pool.submit("resize", path="a.png", timeout_s=2.0)
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
    ) -> JobHandle:
        """The same as `submit` with the arguments apart, for handlers that have a parameter called e.g. ``timeout_s``.

        Example::

            pool.submit_call("ping", ["example.org"], {"timeout_s": 1.0}, timeout_s=5.0)
        """
        session = self._session
        target = session.target(what)
        payload = session.pack(target, what, args, kwargs)
        handle = JobHandle(session, on_progress)
        handle.job = session.submit(
            target,
            payload,
            handle.settled,
            timeout_s=timeout_s,
            priority=priority,
            kill=self._kill if on_timeout is None else is_kill(on_timeout),
            on_progress=handle.progressed,
        )
        return handle

    async def submit_wait(self, what: What, /, *args: Any, **options: Any) -> JobHandle:
        """Wait until there is room among the waiting jobs, then `submit`; takes the same arguments.

        Those who wait are served in their order. It can wait for as long as the pool is full: put an
        ``asyncio.timeout`` around it where that is too long.

        Raises:
            PoolBroken: the pool is gone, or goes while this waits.
            Others: as `submit`.

        Example::

            async for path in uploads:
                await pool.submit_wait("resize", path=path)
        """
        async with self._one_at_a_time:
            while True:
                while self._session.refusal is None and self._session.room() <= 0:
                    await self._wait_for_room()
                handle = self.submit(what, *args, **options)
                await asyncio.sleep(0)  # the turn in which it is accepted, or another process was quicker
                if not handle.was_rejected(QUEUE_FULL):
                    return handle

    async def _wait_for_room(self) -> None:
        room = self._loop.create_future()
        self._room.append(room)
        self._session.room_waiters += 1
        try:
            # Nobody tells of room that other processes make.
            await asyncio.wait_for(room, ROOM_POLL_S)
        except TimeoutError:
            pass
        finally:
            self._session.room_waiters -= 1
            if room in self._room:
                self._room.remove(room)

    def _make_room(self) -> None:
        if self._room and not self._room[0].done():
            self._room.popleft().set_result(None)

    def cancel(self, handle: JobHandle, reason: str = "cancelled") -> bool:
        """End a job, see `JobHandle.cancel`. False when it has ended already.

        Example::

            pool.cancel(handle, "the user left the page")
        """
        return handle.cancel(reason)

    # -- many jobs ------------------------------------------------------------------------------------------------

    def map(
        self,
        what: What,
        items: Iterable[Any] | AsyncIterable[Any],
        *,
        in_flight: int = 1000,
        timeout_s: float | None = None,
        priority: int = 0,
        on_timeout: OnTimeout | None = None,
        ordered: bool = True,
        unpack: bool = False,
        return_outcomes: bool = False,
    ) -> AsyncGenerator[Any, None]:
        """Run a handler over many items, which are taken as there is room for them.

        The first job that does not return raises at its place, and what is still under way is cancelled; so it is when
        the loop is left early.

        Args:
            what: the name of a handler, or a function.
            items: its argument for each job; an iterable or an async one, of any length.
            in_flight: how many jobs are under way at most.
            timeout_s: each job's deadline, in seconds from its submission.
            priority: of each job.
            on_timeout: as in `submit`.
            ordered: give the results in the items' order, else in the order in which they come.
            unpack: an item is a sequence of positional arguments or a mapping of named ones.
            return_outcomes: give outcomes, and go on whatever becomes of a job.

        Raises:
            ValueError: ``in_flight`` is less than 1.
            Others: as `submit`.

        Example::

            async for size in pool.map("measure", paths, in_flight=200):
                total += size
        """
        session = self._session
        target = session.target(what)
        stream = Stream(
            session,
            target,
            session.packer(target, what, unpack),
            session.outcome if return_outcomes else session.value,
            in_flight=in_flight,
            timeout_s=timeout_s,
            priority=priority,
            kill=self._kill if on_timeout is None else is_kill(on_timeout),
        )
        return stream.in_order(items) if ordered else stream.as_they_end(items)

    async def as_completed(
        self, handles: Iterable[JobHandle | Call], timeout_s: float | None = None
    ) -> AsyncIterator[JobHandle]:
        """The jobs in the order in which they end.

        Args:
            handles: jobs; or calls as in `gather`, which are submitted first.
            timeout_s: the deadline of what is submitted here, in seconds.

        Raises:
            as `submit`.

        Example::

            async for handle in pool.as_completed([pool.submit("resize", path=path) for path in paths]):
                print(handle.id, handle.exception() or "done")
        """
        ended: deque[JobHandle] = deque()
        waiter: asyncio.Future[None] | None = None

        def on_done(handle: JobHandle) -> None:
            ended.append(handle)
            if waiter is not None and not waiter.done():
                waiter.set_result(None)

        left = 0
        for one in handles:
            handle = one if isinstance(one, JobHandle) else self.submit_call(*parts_of(one), timeout_s=timeout_s)
            handle.add_done_callback(on_done)
            left += 1
        while left:
            while ended:
                left -= 1
                yield ended.popleft()
            if left:
                waiter = self._loop.create_future()
                await waiter

    async def gather(
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
            on_timeout: as in `submit`.
            return_outcomes: give outcomes, and wait for all of them whatever becomes of some.

        Returns:
            The results in the order of the calls.

        Raises:
            Exception: what the first that did not return raises; the others are cancelled.
            Others: as `submit`.

        Example::

            small, large = await pool.gather([("resize", {"width": 64}), ("resize", {"width": 640})], timeout_s=2.0)
        """
        session = self._session
        kill = self._kill if on_timeout is None else is_kill(on_timeout)
        batch = Batch(session, fail_early=not return_outcomes)
        packed = []
        for call in calls:
            what, args, kwargs = parts_of(call)
            target = session.target(what)
            packed.append((target, session.pack(target, what, args, kwargs)))
        batch.submit(packed, timeout_s=timeout_s, priority=priority, kill=kill)
        done = self._loop.create_future()
        batch.on_done = lambda *_: None if done.done() else done.set_result(None)
        try:
            if not batch.is_done:
                await done
        finally:
            batch.cancel()
        return batch.outcomes() if return_outcomes else batch.values()

    # -- the pool -------------------------------------------------------------------------------------------------

    def executor(
        self, *, timeout_s: float | None = None, priority: int = 0, on_timeout: OnTimeout | None = None
    ) -> PoolExecutor:
        """This pool as a `concurrent.futures.Executor`, for ``loop.run_in_executor`` and for other threads.

        Its futures are settled in this loop, so do not wait for one in the loop's own thread with ``result()``.

        Args:
            timeout_s: the deadline of each of its jobs, in seconds.
            priority: of each of its jobs.
            on_timeout: as in `submit`.

        Raises:
            NotImportable: the pool runs no functions by import path.

        Example::

            value = await asyncio.get_running_loop().run_in_executor(pool.executor(), pow, 2, 10)
        """
        kill = self._kill if on_timeout is None else is_kill(on_timeout)
        return PoolExecutor(LoopBackend(self._session, self._loop), timeout_s=timeout_s, priority=priority, kill=kill)

    def stats(self) -> PoolStats:
        """The pool at this moment: its workers, what waits, and what became of this process's jobs.

        Example::

            busy = sum(worker.state == "running" for worker in pool.stats().workers)
        """
        return self._session.stats()

    # -- the end --------------------------------------------------------------------------------------------------

    async def drain(self, within_s: float) -> None:
        """Take no more jobs, and wait for those that were accepted, at most so many seconds."""
        session = self._session
        session.close_door()
        ends_at = time.monotonic() + within_s
        while session.node.pending() and time.monotonic() < ends_at:
            await asyncio.sleep(0.001)

    def close(self) -> None:
        """Leave the pool. What is pending is settled as Cancelled."""
        self._forget_link()
        self._session.close()

    def _on_broken(self) -> None:
        self._forget_link()
        while self._room:
            self._room.popleft().cancel()

    def _forget_link(self) -> None:
        if self._link_fd >= 0 and not self._loop.is_closed():
            self._loop.remove_reader(self._link_fd)
        self._link_fd = -1
