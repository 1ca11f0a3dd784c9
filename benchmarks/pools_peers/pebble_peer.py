"""pebble.ProcessPool."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from pebble import ProcessPool

from pools_peers.adapter import WORKERS, FuturesPeer


class Pebble(FuturesPeer):
    def open(self) -> None:
        self.pool = ProcessPool(max_workers=WORKERS)

    def submit_future(self, function: Callable[[Any], Any], arg: Any) -> Future[Any]:
        future: Future[Any] = self.pool.schedule(function, args=(arg,))
        return future

    def close(self) -> None:
        self.pool.stop()
        self.pool.join()
