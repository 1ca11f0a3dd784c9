"""From latencies to the demo's figures: table rows, the verdict, the JSON. No I/O."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from runtime.traffic.spread import Spread, milliseconds, spread

RATIO_WANTED = 10.0
"""By how much the fast requests' p99 of `mi` must exceed that of `async` for the demo to have shown its point."""

COLUMNS = ("flavour", "class", "p50\nms", "p95\nms", "p99\nms", "max\nms")
RUN_COLUMNS = ("offered\n/s", "answered\n/s", "lost", "sent\nagain", "CPU s\n/10,000")


@dataclass(frozen=True, slots=True)
class Run:
    """One flavour's measurement as it came in.

    Args:
        flavour: ``none``, ``mi``, ``async`` or ``launch``.
        offered: how many requests were offered, over `load_s` seconds.
        load_s: the length of the load.
        window_s: from the first request to the last answer, or to the end of the load if that is later.
        fast_s, slow_s: latencies in seconds of those answered 200; slow ones are those that call the command.
        statuses: first final answers by status code.
        lost, retransmitted, duplicates, send_errors: counts.
        lag_p99_s, lag_max_s: by how much the generator itself sent too late.
        real_time: whether the generator ran at real-time priority.
        cpu_s: CPU seconds that all of the server's processes used.
    """

    flavour: str
    offered: int
    load_s: float
    window_s: float
    fast_s: array[float]
    slow_s: array[float]
    statuses: dict[int, int]
    lost: int
    retransmitted: int
    duplicates: int
    send_errors: int
    lag_p99_s: float
    lag_max_s: float
    real_time: bool
    cpu_s: float

    @property
    def answered(self) -> int:
        """How many requests had a final answer."""
        return sum(self.statuses.values())

    @property
    def refused(self) -> int:
        """How many had a final answer other than 200."""
        return self.answered - self.statuses.get(200, 0)


@dataclass(frozen=True, slots=True)
class Figures:
    """One flavour's figures, as the table and the JSON show them."""

    flavour: str
    offered_per_s: float
    answered_per_s: float
    fast: Spread | None
    slow: Spread | None
    lost: int
    refused: int
    retransmitted: int
    duplicates: int
    send_errors: int
    cpu_s_per_10000: float
    lag_p99_ms: float
    lag_max_ms: float
    real_time: bool


def figures(run: Run) -> Figures:
    """The figures of one run."""
    return Figures(
        flavour=run.flavour,
        offered_per_s=run.offered / run.load_s,
        answered_per_s=run.answered / run.window_s,
        fast=spread(run.fast_s),
        slow=spread(run.slow_s),
        lost=run.lost,
        refused=run.refused,
        retransmitted=run.retransmitted,
        duplicates=run.duplicates,
        send_errors=run.send_errors,
        cpu_s_per_10000=run.cpu_s * 10_000 / run.offered,
        lag_p99_ms=1000 * run.lag_p99_s,
        lag_max_ms=1000 * run.lag_max_s,
        real_time=run.real_time,
    )


def rows(each: Figures) -> list[tuple[str, ...]]:
    """The table's rows for one flavour: one for its fast requests, one for its slow ones if it had any."""
    run_cells = (
        f"{each.offered_per_s:.0f}",
        f"{each.answered_per_s:.0f}",
        str(each.lost + each.refused),
        str(each.retransmitted),
        f"{each.cpu_s_per_10000:.2f}",
    )
    lines = [(each.flavour, "fast", *_cells(each.fast), *run_cells)]
    if each.slow is not None:
        lines.append(("", "slow", *_cells(each.slow), *("" for _ in run_cells)))
    return lines


def _cells(of: Spread | None) -> tuple[str, ...]:
    if of is None:
        return ("-", "-", "-", "-")
    return tuple(milliseconds(value) for value in (of.p50_ms, of.p95_ms, of.p99_ms, of.max_ms))


def lag_line(all_figures: Sequence[Figures]) -> str:
    """How late the generator itself was, which is part of every latency above it."""
    lags = ", ".join(f"{each.flavour} {milliseconds(each.lag_p99_ms)}" for each in all_figures)
    priority = "real-time" if all(each.real_time for each in all_figures) else "ordinary"
    return f"The generator ({priority} priority) was late itself, which is in these latencies; p99 in ms: {lags}."


def ratio(all_figures: Sequence[Figures]) -> float | None:
    """The fast requests' p99 under `mi` over that under `async`; None when one of them was not measured."""
    p99_ms = {each.flavour: each.fast.p99_ms for each in all_figures if each.fast is not None}
    if "mi" not in p99_ms or "async" not in p99_ms:
        return None
    return p99_ms["mi"] / max(p99_ms["async"], 0.001)  # nothing is measured more finely than a microsecond


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the demo concludes: one sentence, and why it is no success (empty when it is one)."""

    sentence: str
    reasons: tuple[str, ...]


def verdict(all_figures: Sequence[Figures]) -> Verdict:
    """Judge the figures of all flavours together."""
    reasons = [reason for each in all_figures for reason in _losses(each)]
    found = ratio(all_figures)
    if found is None:
        return Verdict("", tuple(reasons))
    if found < RATIO_WANTED:
        reasons.append(f"the ratio of the fast requests' p99, mi : async, is {found:.1f}, below {RATIO_WANTED:.0f}")
    p99_ms = {each.flavour: milliseconds(each.fast.p99_ms) for each in all_figures if each.fast is not None}
    sentence = (
        f"With mi() the fast requests' p99 is {p99_ms['mi']} ms, with async(mi()) it is {p99_ms['async']} ms: "
        f"{found:.1f} times less, and no request that does not need the command waits for it."
        if found >= RATIO_WANTED
        else f"With mi() the fast requests' p99 is {p99_ms['mi']} ms, with async(mi()) it is {p99_ms['async']} ms."
    )
    return Verdict(sentence, tuple(reasons))


def _losses(each: Figures) -> list[str]:
    told = []
    if each.lost:
        told.append(f"{each.flavour}: never answered: {each.lost}")
    if each.refused:
        told.append(f"{each.flavour}: answered with something other than 200: {each.refused}")
    return told


def document(all_figures: Sequence[Figures], settings: dict[str, Any]) -> dict[str, Any]:
    """The figures as plain data for JSON, with the settings that they were measured with."""
    judged = verdict(all_figures)
    return {
        "settings": settings,
        "figures": [asdict(each) for each in all_figures],
        "fast_p99_mi_over_async": ratio(all_figures),
        "reasons": list(judged.reasons),
    }
