"""ipyparallel: a local cluster of two engines behind its load-balanced view."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import ipyparallel

from pools_peers.adapter import WORKERS, FuturesPeer


class IPyParallel(FuturesPeer):
    def open(self) -> None:
        self.cluster = ipyparallel.Cluster(n=WORKERS, controller_ip="127.0.0.1", log_level=logging.ERROR)
        self.client = self.cluster.start_and_connect_sync(activate=False)
        self.pool = self.client.load_balanced_view()

    def submit_future(self, function: Callable[[Any], Any], arg: Any) -> Future[Any]:
        future: Future[Any] = self.pool.apply_async(function, arg)
        return future

    def close(self) -> None:
        self.client.close()
        self.cluster.stop_cluster_sync()
