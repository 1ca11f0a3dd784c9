"""The interface behind which every peer stands.

A job goes by its name in `jobs.py` and takes one argument. An adapter says nothing about how results are measured: it
opens a pool of two workers, hands in one job at a time, and may add faster ways to keep many jobs in flight, as long
as each call stays a message of its own.
"""

from __future__ import annotations

import asyncio
import threading
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterable, Iterator
from concurrent.futures import Future
from pathlib import Path
from queue import SimpleQueue
from typing import Any, TypeAlias

from pools_peers import jobs

WORKERS = 2

Done: TypeAlias = Callable[[Any, BaseException | None], None]
"""Told a job's value, or its error; from any thread, once."""


class SyncPeer(ABC):
    """A pool used from ordinary code."""

    #: rows that it cannot do or that are not asked of it
    skips: frozenset[str] = frozenset()

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @abstractmethod
    def open(self) -> None:
        """Start two workers; they need not be up when it returns."""

    @abstractmethod
    def call(self, job: str, arg: Any) -> Any:
        """Run one job and wait for it. Raises what the job or the pool raised."""

    @abstractmethod
    def submit(self, job: str, arg: Any, done: Done) -> None:
        """Hand in one job without waiting. May raise where the pool is broken."""

    @abstractmethod
    def close(self) -> None:
        """End it with all its processes."""

    def kill_job(self) -> str:
        """Which job the row of the killed worker runs."""
        return "mark"

    def ways(self) -> dict[str, Callable[[Iterable[Any], int], Iterator[Any]]]:
        """Its own ways to keep ``in_flight`` echo jobs going, by name; the fastest is what counts."""
        return {"submit": self.stream}

    def stream(self, args: Iterable[Any], in_flight: int) -> Iterator[Any]:
        """`submit`, held to ``in_flight``. Yields each answer, checked to be the argument of its own job."""
        answers: SimpleQueue[Any] = SimpleQueue()
        waiting = 0
        for arg in args:
            self.submit("echo", arg, _into(answers, arg))
            waiting += 1
            if waiting == in_flight:
                yield _checked(*answers.get())
                waiting -= 1
        for _ in range(waiting):
            yield _checked(*answers.get())

    def about(self) -> dict[str, Any]:
        """What else it can tell at the end, for the JSON file."""
        return {}


class AsyncPeer(ABC):
    """A pool used from an asyncio loop."""

    skips: frozenset[str] = frozenset()

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @abstractmethod
    async def open(self) -> None:
        """Start two workers; they need not be up when it returns."""

    @abstractmethod
    async def call(self, job: str, arg: Any) -> Any:
        """Run one job. Raises what the job or the pool raised."""

    @abstractmethod
    async def close(self) -> None:
        """End it with all its processes."""

    def kill_job(self) -> str:
        return "mark"

    def ways(self) -> dict[str, Callable[[Iterable[Any], int], Awaitable[list[Any]]]]:
        """As with `SyncPeer`, but a way gives all answers at its end."""
        return {"call": self.stream}

    async def stream(self, args: Iterable[Any], in_flight: int) -> list[Any]:
        """``in_flight`` coroutines that each call and call again."""
        rest = iter(args)
        answers: list[Any] = []

        async def caller() -> None:
            for arg in rest:
                answers.append(_checked(arg, await self.call("echo", arg), None))

        async with asyncio.TaskGroup() as group:
            for _ in range(in_flight):
                group.create_task(caller())
        return answers

    def about(self) -> dict[str, Any]:
        return {}


class Wrong(Exception):
    """An answer that is not the argument of its own job."""


def _into(answers: SimpleQueue[Any], arg: Any) -> Done:
    return lambda value, error: answers.put((arg, value, error))


def _checked(arg: Any, value: Any, error: BaseException | None) -> Any:
    if error is not None:
        raise error
    if value != arg:
        raise Wrong(f"asked with {arg!r}, answered {value!r}")
    return value


def tell(done: Done) -> Callable[[Future[Any]], None]:
    """`done` as the callback of a `concurrent.futures` future."""

    def settled(future: Future[Any]) -> None:
        if future.cancelled():
            done(None, RuntimeError("cancelled"))
            return
        error = future.exception()
        done(None if error else future.result(), error)

    return settled


def gated(args: Iterable[Any], gate: threading.Semaphore) -> Iterator[Any]:
    """An iterable that a feeding thread can take no further than the semaphore lets it."""
    for arg in args:
        gate.acquire()
        yield arg


class FuturesPeer(SyncPeer):
    """A peer whose `submit(function, argument)` gives a `concurrent.futures` future."""

    pool: Any

    def submit_future(self, function: Callable[[Any], Any], arg: Any) -> Future[Any]:
        future: Future[Any] = self.pool.submit(function, arg)
        return future

    def call(self, job: str, arg: Any) -> Any:
        return self.submit_future(getattr(jobs, job), arg).result()

    def submit(self, job: str, arg: Any, done: Done) -> None:
        self.submit_future(getattr(jobs, job), arg).add_done_callback(tell(done))
