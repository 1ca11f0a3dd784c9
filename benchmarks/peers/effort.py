"""How much is offered, and how a server is started for it."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from peers.servers import Entry, Job, Site
from runtime.traffic.server import Server, free_port

READY_S: Final = 60.0
"""Longer than any server takes, on a machine that has much else to do as well."""


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is offered.

    Args:
        processes: SIP processes of each server.
        warm_up_s: how long a load runs before it is measured.
        window: how many requests are outstanding at saturation.
        saturation_s: for how long.
        steady_per_s, steady_s: the steady load of the same requests; 0 seconds leave it out.
        slow_per_s, slow_s: the load of which one request in twenty runs a command of 50 ms.
        calls_s: how long each load of calls lasts.
        order_calls, order_per_s: in how many calls the order of 180 and 200 is looked at, and how many are begun each
            second.
        starts: how often a server is started for the time that it takes.
        parked: how many requests are parked at the same time, one figure after the other.
    """

    processes: int = 4
    warm_up_s: float = 1.0
    window: int = 16
    saturation_s: float = 3.0
    steady_per_s: int = 1_000
    steady_s: float = 5.0
    slow_per_s: int = 1_000
    slow_s: float = 20.0
    calls_s: float = 20.0
    order_calls: int = 5_000
    order_per_s: int = 300
    starts: int = 3
    parked: tuple[int, ...] = (100, 1_000, 10_000, 100_000)


QUICK: Final = Effort(
    warm_up_s=0.3,
    saturation_s=1.0,
    steady_s=0.0,
    slow_s=3.0,
    calls_s=3.0,
    order_calls=300,
    order_per_s=300,
    starts=1,
    parked=(100, 2_000),
)


@contextlib.contextmanager
def started(entry: Entry, job: Job, processes: int) -> Iterator[tuple[Site, Server]]:
    """A server that does one job and answers, until the end of the block.

    Raises:
        ServerError: it did not start.
    """
    with tempfile.TemporaryDirectory(prefix="peer") as folder:
        site = Site(job, free_port(), free_port(), processes, Path(folder))
        with entry.start(site) as server:
            server.wait_ready(READY_S)
            yield site, server
