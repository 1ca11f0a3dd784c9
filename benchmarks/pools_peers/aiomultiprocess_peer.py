"""aiomultiprocess.Pool; its jobs are coroutines, which block as everybody's do."""

from __future__ import annotations

from typing import Any

import aiomultiprocess

from pools_peers import jobs
from pools_peers.adapter import WORKERS, AsyncPeer


class AioMultiprocess(AsyncPeer):
    async def open(self) -> None:
        self.pool = aiomultiprocess.Pool(WORKERS)

    async def call(self, job: str, arg: Any) -> Any:
        return await self.pool.apply(getattr(jobs, f"{job}_async"), (arg,))

    async def close(self) -> None:
        self.pool.terminate()
        await self.pool.join()
