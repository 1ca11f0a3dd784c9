"""What a request and what a call cost a server: CPU seconds over a load, less what was used before it."""

from __future__ import annotations

import contextlib
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from runtime.traffic.server import free_port
from sip_peers import sipp
from sip_peers.cpu import tree_cpu
from sip_peers.scripts import Job
from sip_peers.servers import Entry, Site

UNIT: Final[dict[Job, int]] = {"options": 10_000, "calls": 1_000}
"""For how many requests, and calls, the CPU seconds are given."""


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is offered.

    Args:
        options_per_s, calls_per_s: the rates.
        seconds: for how long each.
        warm_up_s: how long the same load runs before, unmeasured.
        order_calls: how many calls the order of 180 and 200 is looked at in.
        processes: SIP processes of each server.
    """

    options_per_s: int = 1_000
    calls_per_s: int = 300
    seconds: float = 20.0
    warm_up_s: float = 1.0
    order_calls: int = 5_000
    processes: int = 4

    def per_s(self, job: Job) -> int:
        """The rate of one job."""
        return self.options_per_s if job == "options" else self.calls_per_s


QUICK: Final = Effort(options_per_s=500, calls_per_s=100, seconds=2.0, warm_up_s=0.2, order_calls=300)


@dataclass(frozen=True, slots=True)
class Cost:
    """What one load cost.

    Args:
        cpu_s: CPU seconds of all the server's processes, for as many as `UNIT` says.
        told: what sipp counted.
    """

    cpu_s: float
    told: sipp.Told


def measure(entry: Entry, job: Job, effort: Effort) -> Cost:
    """Start a server, offer it one job's load, and stop it.

    Raises:
        ServerError: the server did not start.
        sipp.SippError: the load could not be offered.
        RuntimeError: processes of the server died under it.
    """
    scenario = sipp.OPTIONS if job == "options" else sipp.CALLER
    per_s = effort.per_s(job)
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sip")))
        site = Site(job, free_port(), free_port(), effort.processes, folder)
        server = stack.enter_context(entry.start(site))
        server.wait_ready()
        if job == "calls":
            stack.enter_context(sipp.callee(folder, site.uas_port))
        sipp.send(folder, scenario, site.port, max(1, round(per_s * effort.warm_up_s)), per_s)
        before = tree_cpu(server.pid)
        calls = round(per_s * effort.seconds)
        told = sipp.send(folder, scenario, site.port, calls, per_s)
        used_s = tree_cpu(server.pid).since(before)
        server.check_alive()
    return Cost(used_s * UNIT[job] / calls, told)
