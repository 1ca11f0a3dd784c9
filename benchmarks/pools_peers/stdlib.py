"""The standard library's own: ProcessPoolExecutor and multiprocessing.Pool, both with their defaults (fork)."""

from __future__ import annotations

import asyncio
import multiprocessing
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import Any

from pools_peers import jobs
from pools_peers.adapter import WORKERS, AsyncPeer, Done, FuturesPeer, SyncPeer, gated


class Executor(FuturesPeer):
    def open(self) -> None:
        self.pool = ProcessPoolExecutor(WORKERS)

    def close(self) -> None:
        self.pool.shutdown(cancel_futures=True)


class ExecutorInLoop(AsyncPeer):
    async def open(self) -> None:
        self.pool = ProcessPoolExecutor(WORKERS)
        self.loop = asyncio.get_running_loop()

    async def call(self, job: str, arg: Any) -> Any:
        return await self.loop.run_in_executor(self.pool, getattr(jobs, job), arg)

    async def close(self) -> None:
        self.pool.shutdown(cancel_futures=True)


class Pool(SyncPeer):
    def open(self) -> None:
        self.pool = multiprocessing.Pool(WORKERS)

    def call(self, job: str, arg: Any) -> Any:
        return self.pool.apply(getattr(jobs, job), (arg,))

    def submit(self, job: str, arg: Any, done: Done) -> None:
        self.pool.apply_async(
            getattr(jobs, job), (arg,), callback=lambda value: done(value, None), error_callback=lambda e: done(None, e)
        )

    def ways(self) -> dict[str, Callable[[Iterable[Any], int], Iterator[Any]]]:
        return {"apply_async": self.stream, "imap_unordered": self.imap}

    def imap(self, args: Iterable[Any], in_flight: int) -> Iterator[Any]:
        gate = threading.Semaphore(in_flight)
        for answer in self.pool.imap_unordered(jobs.echo, gated(args, gate), chunksize=1):
            gate.release()
            yield answer

    def chunked(self, args: list[Any]) -> list[Any]:
        """For information: many calls in one message."""
        return self.pool.map(jobs.echo, args)

    def close(self) -> None:
        self.pool.terminate()
        self.pool.join()
