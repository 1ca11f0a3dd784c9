"""anyio.to_process on the asyncio backend, held to two processes by its limiter."""

from __future__ import annotations

from typing import Any

import anyio
import anyio.to_process

from pools_peers import jobs
from pools_peers.adapter import WORKERS, AsyncPeer


class AnyIO(AsyncPeer):
    async def open(self) -> None:
        self.limiter = anyio.CapacityLimiter(WORKERS)

    async def call(self, job: str, arg: Any) -> Any:
        return await anyio.to_process.run_sync(getattr(jobs, job), arg, limiter=self.limiter)

    async def close(self) -> None:
        """Its processes end with the loop."""
