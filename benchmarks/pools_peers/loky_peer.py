"""loky: its own executor, not the reusable one, so that each opening is a new pool."""

from __future__ import annotations

from loky import ProcessPoolExecutor

from pools_peers.adapter import WORKERS, FuturesPeer


class Loky(FuturesPeer):
    def open(self) -> None:
        self.pool = ProcessPoolExecutor(WORKERS)

    def close(self) -> None:
        self.pool.shutdown(kill_workers=True)
