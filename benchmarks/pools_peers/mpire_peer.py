"""mpire.WorkerPool, kept alive between calls."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from mpire import WorkerPool

from pools_peers import jobs
from pools_peers.adapter import WORKERS, Done, SyncPeer


class Mpire(SyncPeer):
    def open(self) -> None:
        self.pool = WorkerPool(n_jobs=WORKERS, keep_alive=True)

    def call(self, job: str, arg: Any) -> Any:
        return self.pool.apply(getattr(jobs, job), (arg,))

    def submit(self, job: str, arg: Any, done: Done) -> None:
        self.pool.apply_async(
            getattr(jobs, job), (arg,), callback=lambda value: done(value, None), error_callback=lambda e: done(None, e)
        )

    def ways(self) -> dict[str, Callable[[Iterable[Any], int], Iterator[Any]]]:
        return {"apply_async": self.stream, "imap_unordered": self.imap}

    def imap(self, args: Iterable[Any], in_flight: int) -> Iterator[Any]:
        yield from self.pool.imap_unordered(jobs.echo, args, chunk_size=1, max_tasks_active=in_flight)

    def close(self) -> None:
        self.pool.terminate()
