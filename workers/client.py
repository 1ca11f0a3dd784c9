"""Joining a running pool from another process of the same user."""

from __future__ import annotations

import os
import time
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from workers.batches import OnTimeout
from workers.errors import PoolBroken
from workers.joining import CannotJoin, Membership, join
from workers.plain import PlainPool
from workers.policy import Policy
from workers.session import Session
from workers.sync import SyncPool
from workers.targets import published

if TYPE_CHECKING:
    from workers.asynchronous import AsyncPool

_LOOK_S = 0.005


class Client:
    """A pool that runs already. ``async with`` gives an `AsyncPool`, ``with`` a `SyncPool`, `open` a `PlainPool`.

    Several processes can share one pool in this way; each has its own queue, and the pool's workers serve all of them.

    Args:
        address: the pool's folder, as `AsyncPool.address` gives it.
        timeout_s: the deadline of this process's jobs in seconds, unless a handler or a submission says otherwise; None
            for none.
        on_timeout: what happens to a worker that runs a job past its deadline, unless a submission says otherwise.
        policy: which worker a job of this process goes to, see `workers.policy`; None for the least loaded.
        join_timeout_s: how long joining may take, in seconds.

    Raises:
        PoolBroken: on entering: there is no such pool, it is full or closing, or it belongs to another user.

    Example::

        with Client("/run/user/1000/layby-pool-7f3a") as pool:
            print(pool.call("resize", path="a.png", timeout_s=2.0))
    """

    def __init__(
        self,
        address: str | os.PathLike[str],
        *,
        timeout_s: float | None = None,
        on_timeout: OnTimeout = "abandon",
        policy: Policy | None = None,
        join_timeout_s: float = 5.0,
    ) -> None:
        self._address = Path(address)
        self._join_timeout_s = join_timeout_s
        self._on_timeout: OnTimeout = on_timeout
        self._options: dict[str, Any] = {"default_s": timeout_s, "policy": policy}
        self._pool: AsyncPool | SyncPool | None = None

    async def __aenter__(self) -> AsyncPool:
        from asyncio import to_thread

        from workers.asynchronous import AsyncPool

        membership, description = await to_thread(enter, self._address, self._join_timeout_s)
        session = Session(membership, description, **self._options)
        self._pool = pool = AsyncPool(session, self._on_timeout)
        return pool

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._close()

    def __enter__(self) -> SyncPool:
        session = Session(*enter(self._address, self._join_timeout_s), shared=True, **self._options)
        self._pool = pool = SyncPool(session, self._on_timeout)
        return pool

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._close()

    def _close(self) -> None:
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.close()

    def open(self) -> PlainPool:
        """Join for a loop of one's own. Close what this gives.

        Raises:
            PoolBroken: there is no such pool, it is full or closing, or it belongs to another user.

        Example::

            pool = Client(address).open()
        """
        return PlainPool(Session(*enter(self._address, self._join_timeout_s), **self._options), self._on_timeout)


def enter(address: Path, timeout_s: float) -> tuple[Membership, bytes]:
    """Join, and read what the pool's owner has published of it, which may be about to.

    Raises:
        PoolBroken: that cannot be done, or not in so many seconds.
    """
    ends_at = time.monotonic() + timeout_s
    try:
        membership = join(address, timeout_s)
    except CannotJoin as problem:
        raise PoolBroken(str(problem)) from None
    while (description := published(address)) is None:
        if time.monotonic() >= ends_at:
            membership.close()
            raise PoolBroken(f"{address}: the pool is not ready")
        time.sleep(_LOOK_S)
    return membership, description
