"""What a request costs a server: at a steady rate, and with as many as the server can take.

Saturation is a window: so many requests are outstanding and never more. The CPU time is that of all of the server's
processes over the load, with what it has still to do when the last answer is out, such as commands that were launched.
"""

from __future__ import annotations

import secrets
import time
from array import array
from typing import Any, Final

from peers.closed_loop import Generator, Load
from peers.effort import Effort, started
from peers.servers import Entry, Job
from runtime.traffic import generator as open_loop
from runtime.traffic.offer import Ended, Plan, Progress
from runtime.traffic.server import Server, ServerError
from runtime.traffic.spread import spread

_UNIT: Final = 10_000
_LOOK_S: Final = 0.05
_IDLE_SHARE: Final = 0.2
_SETTLED_WITHIN_S: Final = 30.0
IN_VAIN: Final = "launched in vain"
"""What scripts log of a launched command that was refused."""


def measure(entry: Entry, job: Job, effort: Effort) -> dict[str, Any]:
    """Start a server, offer it one kind of request, and stop it.

    Raises:
        ServerError: the server did not start, or is gone at the end.
        GeneratorError, LoadError: the load could not be offered.
    """
    with Generator() as generator, started(entry, job, effort.processes) as (site, server):
        generator.offer(Load(server.host, site.port, "service", effort.window, effort.warm_up_s))
        wait_idle(server)
        found = _steady(server, effort) if effort.steady_s else {}
        found |= _saturated(server, generator, effort)
        server.check_alive()
        found["in_vain"] = server.log().count(IN_VAIN)
    return found


def _saturated(server: Server, generator: Generator, effort: Effort) -> dict[str, Any]:
    before_s, begun_s = server.cpu_s(), time.monotonic()
    told = generator.offer(Load(server.host, server.port, "service", effort.window, effort.saturation_s))
    # What is launched goes on when all is answered; the rate is that at which it is done.
    trailing_s = wait_idle(server)
    used_s, taken_s = server.cpu_s() - before_s, time.monotonic() - begun_s
    return {
        "cpu_s": used_s * _UNIT / max(1, told.answered),
        "rate_per_s": told.answered / (told.seconds + trailing_s),
        "p50_ms": told.p50_ms,
        "p99_ms": told.p99_ms,
        "requests": told.answered,
        "failed": told.refused + told.lost,
        "retransmitted": told.retransmitted,
        "cpus": used_s / taken_s,
        "generator_busy": told.busy,
        "generator_limited": told.is_limited,
    }


def wait_idle(server: Server) -> float:
    """Wait until the server does nothing more; for how long it went on.

    Raises:
        ServerError: it does not come to rest.
    """
    begun_s, before_s = time.monotonic(), server.cpu_s()
    while (now_s := time.monotonic()) < begun_s + _SETTLED_WITHIN_S:
        time.sleep(_LOOK_S)
        after_s = server.cpu_s()
        if after_s - before_s < _IDLE_SHARE * _LOOK_S:
            return now_s - begun_s
        before_s = after_s
    raise ServerError(f"the server is still busy {_SETTLED_WITHIN_S:.0f} s after the load")


def _steady(server: Server, effort: Effort) -> dict[str, Any]:
    plan = Plan(server.host, server.port, effort.steady_per_s, effort.steady_s, "service", "service", 0, 0, _run())
    before_s = server.cpu_s()
    told = offer(plan)
    used_s = server.cpu_s() - before_s
    found = {f"steady_{key}": value for key, value in told.items() if key in ("p50_ms", "p99_ms", "failed", "lag_ms")}
    return {"steady_cpu_s": used_s * _UNIT / plan.count, **found}


def offer(plan: Plan) -> dict[str, Any]:
    """Offer an open-loop load; the latencies of its fast and slow requests, and what failed.

    Raises:
        LoadError: the generator failed.
    """
    fast_s, slow_s = array("d"), array("d")
    for frame in open_loop.offer(plan):
        match frame:
            case Progress():
                fast_s.extend(frame.fast_s)
                slow_s.extend(frame.slow_s)
            case Ended():
                ended = frame
    refused = ended.counts.answered - ended.counts.statuses.get(200, 0)
    return {
        **_latencies("", fast_s),
        **_latencies("slow_", slow_s),
        "failed": ended.lost + refused,
        "retransmitted": ended.counts.retransmitted,
        "lag_ms": 1000 * ended.lag_p99_s,
    }


def _latencies(prefix: str, latencies_s: array[float]) -> dict[str, float]:
    found = spread(latencies_s)
    return {} if found is None else {f"{prefix}p50_ms": found.p50_ms, f"{prefix}p99_ms": found.p99_ms}


def _run() -> str:
    return secrets.token_hex(4)
