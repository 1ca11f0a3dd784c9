"""From what was measured to what is said: figures over the runs, and the answer to the question. No I/O."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from msgspec import Struct

from runtime.bench.plan import Cell
from runtime.bench.results import CellResult, Document, Knee, Point
from runtime.bench.statistics import Latency, Range, merged, range_of
from runtime.traffic.spread import milliseconds

PERCENTILES: Final = {"p50": "p50_ms", "p95": "p95_ms", "p99": "p99_ms", "p99.9": "p999_ms"}
_ENOUGH: Final = 1.1
OUTSTANDING: Final = 64
"""So many requests wait for their answers at a time where sipp looks for the rate at saturation."""


class Row(Struct, frozen=True):
    """One cell at one rate, over the runs.

    Args:
        cell, rate_per_s: those.
        fast, slow, all: by the names of `PERCENTILES`, in milliseconds; empty where there were no such requests.
        cpu_s: CPU seconds for 10,000 requests.
        offered, in_time, refused, lost: requests of all runs.
        statuses: answers of all runs by status code.
        failed: calls that ended with a negative ``$rc``, as far as servers said.
        verdicts: of each run.
    """

    cell: Cell
    rate_per_s: float
    fast: dict[str, Range]
    slow: dict[str, Range]
    all: dict[str, Range]
    cpu_s: Range
    offered: int
    in_time: int
    refused: int
    lost: int
    statuses: dict[int, int]
    failed: int
    verdicts: tuple[str, ...]

    @property
    def held(self) -> bool:
        """Whether it stayed within the limits in every run."""
        return all(verdict == "within" for verdict in self.verdicts)


def points_at(result: CellResult, rate_per_s: float) -> list[Point]:
    """The loads of that rate, one for each run that has it."""
    return [point for run in result.runs for point in run.points if point.rate_per_s == rate_per_s]


def rates_of(result: CellResult) -> list[float]:
    """The rates that every run of a cell has, ascending: those on the way to the knee, not those around it."""
    in_runs = [{point.rate_per_s for point in run.points} for run in result.runs]
    return sorted(set.intersection(*in_runs)) if in_runs else []


def row_of(result: CellResult, rate_per_s: float) -> Row | None:
    """The figures of a cell at one rate; None where it was not offered."""
    points = points_at(result, rate_per_s)
    if not points:
        return None
    statuses: dict[int, int] = {}
    for status, count in (pair for point in points for pair in point.statuses.items()):
        statuses[status] = statuses.get(status, 0) + count
    return Row(
        cell=result.cell,
        rate_per_s=rate_per_s,
        fast=_latencies([point.fast for point in points]),
        slow=_latencies([point.slow for point in points]),
        all=_latencies([merged([point.fast, point.slow]) for point in points]),
        cpu_s=_range([point.cpu_s_per_10000 for point in points]),
        offered=sum(point.offered for point in points),
        in_time=sum(point.in_time for point in points),
        refused=sum(point.refused for point in points),
        lost=sum(point.lost for point in points),
        statuses=dict(sorted(statuses.items())),
        failed=sum(point.failed or 0 for point in points),
        verdicts=tuple(point.verdict for point in points),
    )


def _latencies(found: Sequence[Latency | None]) -> dict[str, Range]:
    there = [each for each in found if each is not None]
    if not there:
        return {}
    return {name: _range([getattr(each, field) for each in there]) for name, field in PERCENTILES.items()}


def _range(values: Sequence[float]) -> Range:
    found = range_of(values)
    assert found is not None
    return found


def rows_of(result: CellResult) -> list[Row]:
    """A row for each rate that every run has."""
    return [row for rate in rates_of(result) if (row := row_of(result, rate))]


def reference_rate(document: Document) -> float | None:
    """The rate at which cells are compared: the highest that all of them held, else the lowest that all have."""
    shared = [set(rates_of(result)) for result in document.cells if result.runs]
    common = sorted(set.intersection(*shared)) if shared else []
    held = [rate for rate in common if all(row.held for row in _at(document, rate))]
    return held[-1] if held else next(iter(common), None)


def _at(document: Document, rate_per_s: float) -> Iterator[Row]:
    for result in document.cells:
        if row := row_of(result, rate_per_s):
            yield row


def knee_of(result: CellResult) -> Range | None:
    """The knee over the runs, where it was looked for: the middle between what held and what did not."""
    return range_of([middle(run.knee) for run in result.runs if run.knee])


def middle(knee: Knee) -> float:
    """The knee as one figure; what held where nothing broke."""
    if knee.broke_per_s is None:
        return knee.held_per_s
    return (max(knee.held_per_s, 1.0) * knee.broke_per_s) ** 0.5 if knee.held_per_s else 0.0


def is_open(result: CellResult) -> bool:
    """Whether the server could do more, as far as is known: something else ended the search in some run."""
    return any(run.knee and (run.knee.limit != "server" or run.knee.broke_per_s is None) for run in result.runs)


def saturation_of(result: CellResult) -> Range | None:
    """The rate at saturation over the runs, where it was measured."""
    return range_of([run.saturation.rate_per_s for run in result.runs if run.saturation])


def answer(document: Document) -> list[str]:
    """What the command costs the traffic, in sentences: each way of calling it beside the traffic without."""
    rate = reference_rate(document)
    plain = next((result for result in document.cells if not result.cell.share), None)
    if rate is None or plain is None or (base := row_of(plain, rate)) is None:
        return []
    rows = [(result, row) for result in document.cells if result is not plain and (row := row_of(result, rate))]
    return [_sentence(result, row, plain, base) for result, row in rows]


def _sentence(result: CellResult, row: Row, plain: CellResult, base: Row) -> str:
    told = [*_latency_words(row, base), *_cpu_words(row, base)]
    knee, before = knee_of(result), knee_of(plain)
    if knee and before and before.median > 0:
        told.append(f"the knee is at {knee.median:,.0f} requests/s instead of {before.median:,.0f}")
    return f"{result.cell}: at {row.rate_per_s:,.0f} requests/s {'; '.join(told)}."


def _latency_words(row: Row, base: Row) -> Iterator[str]:
    if row.fast and base.fast:
        now, before = row.fast["p99"].median, base.fast["p99"].median
        yield f"the others' p99 is {milliseconds(now)} ms instead of {milliseconds(before)}{_times(now, before)}"
    if row.slow:
        p50, p99 = row.slow["p50"].median, row.slow["p99"].median
        yield f"who calls it waits {milliseconds(p50)} ms, p99 {milliseconds(p99)}"


def _times(now: float, before: float) -> str:
    return f" ({now / before:.1f} times)" if before > 0 and now / before >= _ENOUGH else ""


def _cpu_words(row: Row, base: Row) -> Iterator[str]:
    if not row.cell.share:
        return
    if row.cpu_s.low <= base.cpu_s.high:
        yield "a call costs less CPU than runs differ by"
    else:
        each_us = 100 * (row.cpu_s.median - base.cpu_s.median) / row.cell.share
        yield f"a call costs {each_us:,.0f} µs of CPU"


def complaints(document: Document) -> list[str]:
    """What the reader must know before the figures are believed."""
    told: list[str] = []
    for result in document.cells:
        rows = rows_of(result)
        told += [f"{row.cell} at {row.rate_per_s:,.0f}/s: {_misses(row)}" for row in rows if row.held and _misses(row)]
        if any(run.knee and run.knee.limit == "generator" for run in result.runs):
            told.append(f"{result.cell}: the generator was the limit; the server's knee is higher")
        if any(run.knee and run.knee.limit == "top" for run in result.runs):
            told.append(f"{result.cell}: the highest rate that was asked for still held")
    told += _of_the_generator(document)
    return told


def _misses(row: Row) -> str:
    told = []
    if row.refused or row.lost:
        good = row.offered - row.refused - row.lost
        statuses = ", ".join(f"{status}: {count}" for status, count in row.statuses.items())
        told.append(f"of {row.offered} requests {good} were answered as wanted, {row.lost} never ({statuses})")
    if row.failed:
        told.append(f"{row.failed} calls of the command failed")
    return "; ".join(told)


def _of_the_generator(document: Document) -> Iterator[str]:
    points = [point for result in document.cells for run in result.runs for point in run.points]
    if points and not all(point.real_time for point in points):
        yield "the generator had no real-time priority: where it waited for a CPU, that is in the latencies"
    if document.machine.load > 0.5:
        yield f"the machine was busy with other things before: load {document.machine.load:.1f}"


def noise(document: Document) -> str:
    """How far runs of the same thing differed, in a sentence; nothing where there was but one."""
    rows = [row for result in document.cells for row in rows_of(result) if row.held]
    told = {
        "the fast requests' p99": _farthest([row.fast["p99"] for row in rows if row.fast]),
        "CPU seconds": _farthest([row.cpu_s for row in rows]),
        "knees": _farthest([knee for result in document.cells if (knee := knee_of(result))]),
    }
    words = [f"{name} by up to {100 * (factor - 1):.0f} %" for name, factor in told.items() if factor is not None]
    return f"Runs differed from their median: {', '.join(words)}." if words else ""


def _farthest(found: Sequence[Range]) -> float | None:
    return max((each.noise for each in found if each.noise is not None), default=None)


def who_saturated(document: Document) -> str:
    """Who found the rates at saturation, in a sentence; nothing where nobody did."""
    found = [run.saturation for result in document.cells for run in result.runs if run.saturation]
    if not found:
        return ""
    if found[0].generator == "own":
        return "Saturation: the most that was answered in the loads of the search, by layby's own generator."
    failed = sum(each.failed for each in found)
    lost = f"; {failed} requests failed" if failed else ""
    return f"Saturation: by sipp, {OUTSTANDING} requests outstanding{lost}."
