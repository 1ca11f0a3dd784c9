"""A measurement that nobody made, for what shows one."""

from __future__ import annotations

from typing import Any

from runtime.bench.plan import Asked, Cell, cells
from runtime.bench.results import FORMAT, CellResult, CellRun, Document, Knee, Machine, Moment, Point, Saturation
from runtime.bench.statistics import Histogram, Latency, latency_of

ASKED = Asked(flavours=("none", "mi", "async"), runs=2)
MACHINE = Machine("A <CPU> & more", 2, 7.8, "Linux 6.1", "3.11.2", "layby 0.1.0", False, 0.1)


def latency(p99_ms: float, count: int = 100) -> Latency:
    """So many latencies that are alike."""
    histogram = Histogram()
    histogram.record([p99_ms / 1000] * count)
    found = latency_of(histogram)
    assert found is not None
    return found


def point(rate: float = 250.0, fast_ms: float = 0.2, slow_ms: float | None = None, **changes: Any) -> Point:
    """A load that held, with what is told otherwise."""
    plain: dict[str, Any] = {
        "rate_per_s": rate,
        "seconds": 2.0,
        "offered": 500,
        "good": 500,
        "in_time": 500,
        "refused": 0,
        "lost": 0,
        "statuses": {200: 500},
        "retransmitted": 0,
        "duplicates": 0,
        "send_errors": 0,
        "window_s": 2.0,
        "cpu_s": 0.1,
        "lag_p99_ms": 0.05,
        "lag_max_ms": 0.2,
        "real_time": True,
        "fast": latency(fast_ms),
        "slow": None if slow_ms is None else latency(slow_ms),
        "timeline": [Moment(0.25, rate, rate, fast_ms, fast_ms), Moment(0.5, rate, rate, None, None)],
    }
    return Point(**{**plain, **changes})


def document(scale: float = 1.0, asked: Asked = ASKED, **changes: Any) -> Document:
    """A measurement whose latencies and costs are `scale` times the usual ones."""
    results = [CellResult(cell, [_run(cell, scale, drift) for drift in (1.0, 1.02)]) for cell in cells(asked)]
    plain = {"machine": MACHINE, "asked": asked, "cells": results, "interrupted": False, "failure": "", "seconds": 60.0}
    return Document(**{"format": FORMAT, "made": "2025-01-01T00:00:00+00:00", **plain, **changes})


def _run(cell: Cell, scale: float, drift: float) -> CellRun:
    slow_ms = 51.0 if cell.share else None
    fast_ms = {"none": 0.2, "mi": 40.0}.get(cell.flavour, 0.3) * scale * drift
    points = [point(rate, fast_ms, slow_ms, cpu_s=0.1 * scale * drift) for rate in (250.0, 500.0)]
    broken = point(1000.0, 100 * fast_ms, slow_ms, verdict="over", why="p99 20.0 ms, above 2.00")
    return CellRun([*points, broken], Knee(500.0, 1000.0, "server"), Saturation(900.0, "own"))
