"""How latencies spread: percentiles of what was measured, and how milliseconds are written. No I/O."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Spread:
    """How latencies spread, in milliseconds."""

    count: int
    p50_ms: float
    p95_ms: float
    p99_ms: float
    max_ms: float


def percentile(ordered: Sequence[float], share: float) -> float:
    """The nearest-rank percentile: the smallest value with at least `share` of all values at or below it.

    Args:
        ordered: values, ascending; at least one.
        share: above 0, up to 1.

    Raises:
        ValueError: no values, or a share out of its range.
    """
    return ordered[rank(len(ordered), share) - 1]


def rank(count: int, share: float) -> int:
    """At which place, from 1, the nearest-rank percentile of so many values stands.

    Raises:
        ValueError: no values, or a share out of its range.
    """
    if count < 1 or not 0 < share <= 1:
        raise ValueError("a percentile needs values, and a share above 0 and up to 1")
    # The rounding takes back what 0.07 * 100 = 7.000000000000001 would add: a whole rank.
    return max(1, math.ceil(round(share * count, 9)))


def spread(latencies_s: Sequence[float]) -> Spread | None:
    """The spread of latencies given in seconds and in any order; None when there are none."""
    if not latencies_s:
        return None
    ordered = sorted(latencies_s)
    p50, p95, p99 = (1000 * percentile(ordered, share) for share in (0.50, 0.95, 0.99))
    return Spread(len(ordered), p50, p95, p99, 1000 * ordered[-1])


def milliseconds(value: float) -> str:
    """A number of milliseconds with three significant digits or so: ``0.213``, ``4.71``, ``71.6``, ``1204``."""
    decimals = 3 if value < 1 else 2 if value < 10 else 1 if value < 100 else 0
    return f"{value:.{decimals}f}"
