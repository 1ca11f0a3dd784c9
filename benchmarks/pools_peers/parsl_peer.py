"""Parsl's HighThroughputExecutor on this machine, two workers, scaling off."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import parsl
from parsl.config import Config
from parsl.executors import HighThroughputExecutor
from parsl.providers import LocalProvider

from pools_peers import jobs
from pools_peers.adapter import WORKERS, FuturesPeer


class Parsl(FuturesPeer):
    def open(self) -> None:
        logging.getLogger("parsl").setLevel(logging.CRITICAL)
        executor = HighThroughputExecutor(
            label="htex",
            address="127.0.0.1",
            loopback_address="127.0.0.1",
            max_workers_per_node=WORKERS,
            cores_per_worker=0.5,
            heartbeat_period=1,  # how often it looks for dead workers; its default of 30 s would count as hanging
            heartbeat_threshold=10,
            provider=LocalProvider(init_blocks=1, min_blocks=1, max_blocks=1),
        )
        config = Config(
            executors=[executor],
            strategy="none",
            usage_tracking=0,
            initialize_logging=False,
            run_dir=str(self.folder / "parsl"),
        )
        self.pool = parsl.load(config)
        self.apps = {
            job: parsl.python_app(getattr(jobs, job), data_flow_kernel=self.pool)
            for job in ("echo", "slow", "mark", "pid")
        }

    def submit_future(self, function: Callable[[Any], Any], arg: Any) -> Future[Any]:
        future: Future[Any] = self.apps[function.__name__](arg)
        return future

    def close(self) -> None:
        self.pool.cleanup()
        parsl.clear()
