"""Where the knee is: how a load is judged, and which rate is offered next. No I/O.

The rate grows by a factor of two from one load to the next until one is over the limits. Then the gap between the
highest rate that held and the lowest that did not is halved, on a logarithmic scale, until the two are a tenth to
either side of their middle. A load that is over its limits though it was answered in time, or whose generator was too
late to say, is offered a second time: one hiccup of a machine that has other things to do is no knee.
"""

from __future__ import annotations

import math
from typing import Final, assert_never

from msgspec import Struct
from msgspec.structs import replace

from runtime.bench.results import Knee, Limit, Point, Verdict
from runtime.traffic.spread import milliseconds

STEP: Final = 2.0
WITHIN: Final = 1.2
"""The two rates that the knee lies between differ by no more: their middle is a tenth from either."""
IN_TIME: Final = 0.98
"""Of what is offered so much must be answered in time."""
FEW: Final = 16
"""So many calls may wait when a load ends; if more do, and more than the rest of `IN_TIME`, the queue would have gone
on to grow: loads are short, and latencies have not yet told."""
FACTOR: Final = 10.0
"""Where the user names no limit, the p99 may grow so much from what it is at the lowest rate."""
_LAG_SHARE: Final = 0.5
_LAG_MS: Final = 1.0
_FLOOR: Final = 64.0


class Limits(Struct, frozen=True):
    """What is too much.

    Args:
        p99_ms: of the fast requests, or of all where all are slow; None until the lowest rate was measured.
    """

    p99_ms: float | None


def p99_ms(point: Point) -> float | None:
    """The p99 that is judged: of the fast requests, or of the slow ones where there are no others."""
    judged = point.fast or point.slow
    return judged.p99_ms if judged else None


def limits_after(first: Point, slo_ms: float | None) -> Limits:
    """The limits, once the lowest rate was measured."""
    if slo_ms is not None:
        return Limits(slo_ms)
    found = p99_ms(first)
    return Limits(None if found is None else FACTOR * found)


def judged(point: Point, limits: Limits) -> Point:
    """The point with its verdict.

    Where it is over the limits and the generator was late itself, by half of the limit or of what was measured, the
    verdict is on the generator: the server was not offered what the rate says.
    """
    why = _over(point, limits)
    if not why:
        return replace(point, verdict="within", why="")
    found, lag_ms = p99_ms(point) or math.inf, point.lag_p99_ms
    late = lag_ms > _LAG_MS and lag_ms >= _LAG_SHARE * min(found, limits.p99_ms or math.inf)
    if late:
        return replace(point, verdict="generator", why=f"the generator was late itself, p99 {milliseconds(lag_ms)} ms")
    return replace(point, verdict="over", why=why)


def _over(point: Point, limits: Limits) -> str:
    if point.in_time < IN_TIME * point.offered:
        return f"answered in time: {100 * point.in_time / point.offered:.1f} %"
    if point.queued > max(FEW, (1 - IN_TIME) * _calls(point)):
        return f"{point.queued} calls of the command had queued up"
    found = p99_ms(point)
    if limits.p99_ms is not None and found is not None and found > limits.p99_ms:
        return f"p99 {milliseconds(found)} ms, above {milliseconds(limits.p99_ms)}"
    return ""


def _calls(point: Point) -> int:
    return point.slow.count if point.slow else 0


def is_certain(point: Point) -> bool:
    """Whether a load that is over the limits need not be offered again: requests were left without an answer."""
    return point.in_time < IN_TIME * point.offered


class Search:
    """Which rate is next.

    Invariant: what held is below what broke (`check()`).

    Args:
        first: the rate to begin with.
        top: no higher rate is offered.
    """

    def __init__(self, first: float, top: float) -> None:
        self._first = first
        self._top = top
        self._held = 0.0
        self._broke: float | None = None
        self._limit: Limit = "server"
        self._doubted: float | None = None
        self._ended = False

    def next_rate(self) -> float | None:
        """The rate to offer now; None when the knee is known."""
        if self._ended:
            return None
        if self._doubted is not None:
            return self._doubted
        if self._broke is None:
            return min(self._held * STEP, self._top) if self._held else self._first
        if not self._held:
            lower = self._broke / STEP
            return lower if lower >= max(1.0, self._first / _FLOOR) else None
        return math.sqrt(self._held * self._broke) if self._broke / self._held > WITHIN else None

    def note(self, rate: float, verdict: Verdict, certain: bool = True) -> None:
        """What became of the rate that was offered.

        Args:
            rate: from `next_rate`.
            verdict: see `judged`.
            certain: False where a load that is over the limits shall be offered a second time.
        """
        doubted, self._doubted = self._doubted is not None, None
        match verdict:
            case "within":
                self._held = rate
                if self._broke is None and rate >= self._top:
                    self._limit, self._ended = "top", True
            case "over" if not (certain or doubted):
                self._doubted = rate
            case "generator" if not doubted:
                self._doubted = rate
            case "over":
                self._broke = rate
            case "generator":
                self._broke, self._limit, self._ended = rate, "generator", True
            case _:
                assert_never(verdict)

    def knee(self) -> Knee:
        """What is known so far."""
        return Knee(self._held, self._broke, self._limit)

    def check(self) -> None:
        """Assert the invariant."""
        assert self._broke is None or self._held < self._broke
        assert self._held <= self._top
