"""Ray on one node: two actors, or plain tasks on two CPUs."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import ray

from pools_peers import jobs
from pools_peers.adapter import WORKERS, Done, SyncPeer, tell


class _Ray(SyncPeer):
    def open(self) -> None:
        ray.init(
            num_cpus=WORKERS,
            include_dashboard=False,
            log_to_driver=False,
            logging_level="ERROR",
            _node_ip_address="127.0.0.1",
            _temp_dir=str(Path(self.folder) / "r"),
            object_store_memory=100 * 1024 * 1024,
        )
        self.start()

    def start(self) -> None:
        raise NotImplementedError

    def ask(self, job: str, arg: Any) -> Any:
        raise NotImplementedError

    def call(self, job: str, arg: Any) -> Any:
        return ray.get(self.ask(job, arg))

    def submit(self, job: str, arg: Any, done: Done) -> None:
        self.ask(job, arg).future().add_done_callback(tell(done))

    def ways(self) -> dict[str, Callable[[Iterable[Any], int], Iterator[Any]]]:
        return {"future": self.stream, "oldest first": self.oldest_first}

    def oldest_first(self, args: Iterable[Any], in_flight: int) -> Iterator[Any]:
        asked: deque[Any] = deque()
        for arg in args:
            asked.append(self.ask("echo", arg))
            if len(asked) == in_flight:
                yield ray.get(asked.popleft())
        while asked:
            yield ray.get(asked.popleft())

    def close(self) -> None:
        ray.shutdown()


class _Runner:
    def run(self, job: str, arg: Any) -> Any:
        return getattr(jobs, job)(arg)


class RayActors(_Ray):
    def start(self) -> None:
        self.actors = itertools.cycle([ray.remote(_Runner).options(num_cpus=1).remote() for _ in range(WORKERS)])

    def ask(self, job: str, arg: Any) -> Any:
        return next(self.actors).run.remote(job, arg)


class RayTasks(_Ray):
    def start(self) -> None:
        self.tasks = {job: ray.remote(getattr(jobs, job)) for job in ("echo", "slow", "mark", "pid")}

    def ask(self, job: str, arg: Any) -> Any:
        return self.tasks[job].remote(arg)
