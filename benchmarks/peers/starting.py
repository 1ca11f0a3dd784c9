"""How long a server takes from its start to its first answer."""

from __future__ import annotations

import contextlib
import select
import socket
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any, Final

from peers.effort import READY_S, Effort
from peers.servers import Entry, Site
from runtime.traffic.offer import Plan, template
from runtime.traffic.server import Server, ServerError, free_port

_ASK_EVERY_S: Final = 0.005


def measure(entry: Entry, effort: Effort) -> dict[str, Any]:
    """Start and stop a server several times; the first start is not counted, since it reads its files from the disk.

    Raises:
        ServerError: it did not start.
    """
    times_s = [_one(entry, effort.processes) for _ in range(effort.starts + 1)][1:]
    return {"start_s": statistics.median(times_s), "slowest_start_s": max(times_s), "starts": len(times_s)}


def _one(entry: Entry, processes: int) -> float:
    with tempfile.TemporaryDirectory(prefix="peer") as folder:
        site = Site("stateful", free_port(), free_port(), processes, Path(folder))
        begun_s = time.monotonic()
        with entry.start(site) as server, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
            asking.connect((server.host, site.port))
            _wait_answer(server, asking, begun_s + READY_S)
            return time.monotonic() - begun_s


def _wait_answer(server: Server, asking: socket.socket, until_s: float) -> None:
    plan = Plan(server.host, server.port, 1, 1, "service", "service", 0, 0, "start")
    request = template(plan, "service", *asking.getsockname())
    number = 0
    while time.monotonic() < until_s:
        server.check_alive()
        number += 1
        with contextlib.suppress(OSError):  # nobody listens yet
            asking.send(request.numbered(number))
            if select.select([asking], [], [], _ASK_EVERY_S)[0] and asking.recv(65_535).startswith(b"SIP/2.0 200"):
                return
        time.sleep(_ASK_EVERY_S)
    raise ServerError(f"no answer within {READY_S:.0f} s of the start")
