"""What a proxied call costs a server: CPU seconds over a load, less what was used before it."""

from __future__ import annotations

import dataclasses
from typing import Any, Final

from peers import sipp
from peers.effort import Effort, started
from peers.requests import wait_idle
from peers.servers import Entry

_UNIT: Final = 1_000


def measure(entry: Entry, per_s: int, effort: Effort) -> dict[str, Any]:
    """Start a server, put calls through it at one rate, and stop it.

    Raises:
        ServerError: the server did not start, or is gone at the end.
        SippError: the load could not be offered.
    """
    with started(entry, "calls", effort.processes) as (site, server), sipp.callee(site.folder, site.uas_port):
        sipp.send(site.folder, site.port, max(1, round(per_s * effort.warm_up_s)), per_s)
        wait_idle(server)
        before_s = server.cpu_s()
        calls = round(per_s * effort.calls_s)
        told = sipp.send(site.folder, site.port, calls, per_s)
        used_s = server.cpu_s() - before_s
        server.check_alive()
    return {"cpu_s": used_s * _UNIT / calls, "calls": calls, **dataclasses.asdict(told)}
