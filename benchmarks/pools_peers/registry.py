"""Everybody who takes part, by the name in the tables. Nothing is imported here: who is missing is found out later."""

from __future__ import annotations

import importlib
from dataclasses import dataclass, field
from typing import Any

LATENCY = ("sequential", "pipelined-100", "pipelined-1000", "regular", "random")
ALL = (*LATENCY, "kill", "cost")


@dataclass(frozen=True)
class Entry:
    """One line of the tables.

    Args:
        name: what it is called there.
        adapter: ``module:class`` within this package.
        kind: ``layby``, ``peer`` or ``limit``.
        rows: which rows it is asked.
        settings: further arguments of its adapter.
        stdlib: needs nothing installed.
    """

    name: str
    adapter: str
    kind: str = "peer"
    rows: tuple[str, ...] = ALL
    settings: dict[str, Any] = field(default_factory=dict)
    stdlib: bool = False

    def load(self) -> Any:
        """The adapter's class. Raises ImportError where the peer is not installed."""
        module, _, name = self.adapter.partition(":")
        return getattr(importlib.import_module(f"pools_peers.{module}"), name)


def _layby() -> list[Entry]:
    entries = []
    for transport in ("unix", "zmq"):
        settings = {"transport": transport}
        entries.append(Entry(f"layby-async-{transport}", "layby_peer:LaybyAsync", "layby", settings=settings))
        entries.append(Entry(f"layby-sync-{transport}", "layby_peer:LaybySync", "layby", settings=settings))
        elastic = {**settings, "max_workers": 4}
        mixed = ("regular", "random")
        entries.append(Entry(f"layby-elastic-{transport}", "layby_peer:LaybyAsync", "layby-extra", mixed, elastic))
        again = {**settings, "idempotent": True}
        entries.append(Entry(f"layby-idempotent-{transport}", "layby_peer:LaybyAsync", "layby-extra", ("kill",), again))
        for origins in (1, 2):
            several = {**settings, "origins": origins}
            name = f"layby-{transport}-{origins}-origin{'s' * (origins > 1)}"
            entries.append(Entry(name, "layby_origins:LaybyOrigins", "origins", LATENCY, several))
    return entries


ENTRIES: dict[str, Entry] = {
    entry.name: entry
    for entry in [
        *_layby(),
        Entry("ProcessPoolExecutor", "stdlib:Executor", stdlib=True),
        Entry("ProcessPoolExecutor-asyncio", "stdlib:ExecutorInLoop", stdlib=True),
        Entry("multiprocessing.Pool", "stdlib:Pool", stdlib=True),
        Entry("loky", "loky_peer:Loky"),
        Entry("pebble", "pebble_peer:Pebble"),
        Entry("anyio", "anyio_peer:AnyIO"),
        Entry("aiomultiprocess", "aiomultiprocess_peer:AioMultiprocess"),
        Entry("mpire", "mpire_peer:Mpire"),
        Entry("ipyparallel", "ipyparallel_peer:IPyParallel"),
        Entry("dask", "dask_peer:Dask"),
        Entry("dask-asyncio", "dask_peer:DaskInLoop"),
        Entry("ray-actors", "ray_peer:RayActors"),
        Entry("ray-tasks", "ray_peer:RayTasks"),
        Entry("parsl", "parsl_peer:Parsl"),
        Entry("executorlib", "executorlib_peer:ExecutorLib"),
        Entry("bare-pyzmq-echo", "limits:ZmqEcho", "limit", ("sequential", "pipelined-100", "pipelined-1000")),
        Entry("bare-unix-echo", "limits:UnixEcho", "limit", ("sequential",)),
        Entry("bare-pipe-echo", "limits:PipeEcho", "limit", ("sequential",)),
    ]
}

ZMQ_ECHO = "bare-pyzmq-echo"
LAYBY = [entry.name for entry in ENTRIES.values() if entry.kind == "layby"]
