"""Dask distributed: LocalCluster of two processes of one thread each, from ordinary code and from asyncio."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from distributed import Client, LocalCluster, as_completed

from pools_peers import jobs
from pools_peers.adapter import WORKERS, AsyncPeer, Done, SyncPeer


def _cluster(folder: Path, *, asynchronous: bool) -> LocalCluster:
    return LocalCluster(
        n_workers=WORKERS,
        threads_per_worker=1,
        processes=True,
        host="127.0.0.1",
        dashboard_address=None,
        silence_logs=logging.CRITICAL,
        local_directory=str(folder),
        asynchronous=asynchronous,
    )


class Dask(SyncPeer):
    def open(self) -> None:
        self.cluster = _cluster(self.folder, asynchronous=False)
        self.client = Client(self.cluster)
        self.held: set[Any] = set()

    def call(self, job: str, arg: Any) -> Any:
        return self.client.submit(getattr(jobs, job), arg, pure=False).result()

    def submit(self, job: str, arg: Any, done: Done) -> None:
        future = self.client.submit(getattr(jobs, job), arg, pure=False)
        self.held.add(future)  # a future that nobody holds is cancelled

        def settled(ended: Any) -> None:
            self.held.discard(ended)
            try:
                done(ended.result(), None)
            except Exception as error:  # whatever it is, the row counts it
                done(None, error)

        future.add_done_callback(settled)

    def ways(self) -> dict[str, Callable[[Iterable[Any], int], Iterator[Any]]]:
        return {"submit": self.stream, "as_completed": self.completed}

    def completed(self, args: Iterable[Any], in_flight: int) -> Iterator[Any]:
        rest = iter(args)

        def ask(arg: Any) -> Any:
            return self.client.submit(jobs.echo, arg, pure=False)

        first = [ask(arg) for _, arg in zip(range(in_flight), rest, strict=False)]
        results = as_completed(first, with_results=True)
        first.clear()
        for _, answer in results:
            yield answer
            for arg in rest:
                results.add(ask(arg))
                break

    def close(self) -> None:
        self.client.close()
        self.cluster.close()


class DaskInLoop(AsyncPeer):
    async def open(self) -> None:
        self.cluster = await _cluster(self.folder, asynchronous=True)
        self.client = await Client(self.cluster, asynchronous=True)

    async def call(self, job: str, arg: Any) -> Any:
        return await self.client.submit(getattr(jobs, job), arg, pure=False)

    async def close(self) -> None:
        await self.client.close()
        await self.cluster.close()
