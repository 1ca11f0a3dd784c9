"""layby's own `WorkerPool`, from asyncio and from ordinary code.

Each call is a job of its own. What the pool has to send to one process in one turn of its loop may share a frame; its
caller has no part in that, and no chunk size.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from pools_peers.adapter import WORKERS, AsyncPeer, Done, SyncPeer, tell
from workers import Client, WorkerPool

HANDLERS = "pools_peers.layby_jobs"


class LaybyAsync(AsyncPeer):
    """Args: transport; max_workers: elastic up to so many; idempotent: the job of the row of the killed worker is."""

    def __init__(
        self, folder: Path, *, transport: str, max_workers: int | None = None, idempotent: bool = False
    ) -> None:
        super().__init__(folder)
        self._idempotent = idempotent
        settings: dict[str, Any] = {"transport": transport, "max_workers": max_workers}
        self._make: Callable[[], Any] = lambda: WorkerPool(WORKERS, HANDLERS, **settings)

    async def open(self) -> None:
        self.owner = self._make()
        self.pool = await self.owner.__aenter__()

    async def call(self, job: str, arg: Any) -> Any:
        return await self.pool.submit(job, arg)

    def kill_job(self) -> str:
        return "mark_again" if self._idempotent else "mark"

    def ways(self) -> dict[str, Callable[[Iterable[Any], int], Awaitable[list[Any]]]]:
        return {"submit": self.stream, "map": self.map}

    async def map(self, args: Iterable[Any], in_flight: int) -> list[Any]:
        return [answer async for answer in self.pool.map("echo", args, in_flight=in_flight, ordered=False)]

    def about(self) -> dict[str, Any]:
        return {"counters": self.pool.stats().counters}

    async def close(self) -> None:
        await self.owner.__aexit__(None, None, None)


class LaybyJoined(LaybyAsync):
    """A process that joined another's pool. One way to stream is enough: several origins have to do the same."""

    def __init__(self, folder: Path, address: str) -> None:
        AsyncPeer.__init__(self, folder)
        self._make = lambda: Client(address)

    def ways(self) -> dict[str, Callable[[Iterable[Any], int], Awaitable[list[Any]]]]:
        return {"map": self.map}


class LaybySync(SyncPeer):
    def __init__(self, folder: Path, *, transport: str) -> None:
        super().__init__(folder)
        self._transport: Any = transport

    def open(self) -> None:
        self.owner = WorkerPool(WORKERS, HANDLERS, transport=self._transport)
        self.pool = self.owner.__enter__()

    def call(self, job: str, arg: Any) -> Any:
        return self.pool.call(job, arg)

    def submit(self, job: str, arg: Any, done: Done) -> None:
        self.pool.submit(job, arg).add_done_callback(tell(done))

    def ways(self) -> dict[str, Callable[[Iterable[Any], int], Iterator[Any]]]:
        return {"submit": self.stream, "map": self.map}

    def map(self, args: Iterable[Any], in_flight: int) -> Iterator[Any]:
        return self.pool.map("echo", args, in_flight=in_flight)

    def about(self) -> dict[str, Any]:
        return {"counters": self.pool.stats().counters}

    def close(self) -> None:
        self.owner.__exit__(None, None, None)
