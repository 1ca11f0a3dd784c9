"""What requests that need no command notice of those that run one of 50 ms, called in the two ways."""

from __future__ import annotations

import secrets
from typing import Any, Final

from peers.effort import Effort, started
from peers.requests import offer, wait_idle
from peers.servers import Entry
from runtime.traffic.offer import Plan
from runtime.traffic.server import Server

_SHARE: Final = 0.05
_SEED: Final = 20
_UNIT: Final = 10_000


def measure(entry: Entry, effort: Effort) -> dict[str, Any]:
    """Start a server and offer it the same load twice: with commands that block, and with asynchronous ones.

    Raises:
        ServerError: the server did not start, or is gone at the end.
        LoadError: the load could not be offered.
    """
    with started(entry, "slow", effort.processes) as (_, server):
        _one(server, "async", effort.slow_per_s, effort.warm_up_s)
        blocking = _one(server, "mi", effort.slow_per_s, effort.slow_s)
        wait_idle(server)
        before_s = server.cpu_s()
        parked = _one(server, "async", effort.slow_per_s, effort.slow_s)
        used_s = server.cpu_s() - before_s
        server.check_alive()
    return {
        "fast_p50_ms": parked["p50_ms"],
        "fast_p99_ms": parked["p99_ms"],
        "slow_p50_ms": parked["slow_p50_ms"],
        "slow_p99_ms": parked["slow_p99_ms"],
        "blocking_fast_p99_ms": blocking["p99_ms"],
        "blocking_slow_p99_ms": blocking["slow_p99_ms"],
        "cpu_s": used_s * _UNIT / (effort.slow_per_s * effort.slow_s),
        "failed": parked["failed"],
        "blocking_failed": blocking["failed"],
        "retransmitted": parked["retransmitted"],
        "lag_ms": max(parked["lag_ms"], blocking["lag_ms"]),
    }


def _one(server: Server, flavour: str, per_s: int, seconds: float) -> dict[str, Any]:
    run = f"{flavour}-{secrets.token_hex(4)}"
    return offer(Plan(server.host, server.port, per_s, seconds, "fast", flavour, _SHARE, _SEED, run))
