"""What `benchmarks/hot_path.py` found, as tables: medians, ranges where there were several runs, and the goals."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from typing import Any, Final, TypeAlias

from pools_peers.report import grid, spread

from peers import rows
from peers.goals import Figures, Verdict, judge
from peers.rows import ROWS, Table
from peers.servers import LAYBY

Result: TypeAlias = dict[str, Any]
"""`status` (`ok`, `missing` or `failed`), `why` where it is not `ok`, else the figures."""
Run: TypeAlias = dict[str, dict[str, Result]]
"""Results by row and by server."""

LIMITED: Final = ">"
"""Stands before a rate that the generator limited: the server may be able to do more."""


def tables(runs: list[Run]) -> Iterator[str]:
    """The tables of each row that was asked for, with its goals below."""
    for row in runs[0]:
        shown = [table for table in ROWS[row].tables if _has_figures(runs, row, table)] or ROWS[row].tables[:1]
        yield "\n".join([*(_titled(runs, row, table) for table in shown), *_goal_lines(runs, row)])
    if any(_is_limited(run, row, name) for run in runs for row in run for name in run[row]):
        yield f"{LIMITED} the generator could give no more"


def _has_figures(runs: list[Run], row: str, table: Table) -> bool:
    return any(key in result for _, key, _ in table.columns for run in runs for result in run[row].values())


def _titled(runs: list[Run], row: str, table: Table) -> str:
    title = f"{ROWS[row].title}, {table.title}" if table.title else ROWS[row].title
    head = ["", *(title for title, _, _ in table.columns)]
    return f"{title}\n{grid(head, [_line(runs, row, name, table) for name in runs[0][row]])}"


def _line(runs: list[Run], row: str, name: str, table: Table) -> list[str]:
    if not _good(runs, row, name):
        return [name, _not_measured(runs[0][row][name]), *("-" for _ in table.columns[1:])]
    return [name, *(_cell(runs, row, name, key, digits) for _, key, digits in table.columns)]


def _not_measured(result: Result) -> str:
    # In a word or two: the rest, and what failed, is too long for a cell and is told elsewhere.
    return str(result["why"]).partition(" (")[0] if result["status"] == "missing" else "failed"


def _cell(runs: list[Run], row: str, name: str, key: str, digits: int) -> str:
    values = [result[key] for result in _good(runs, row, name) if key in result]
    match digits:
        case rows.SUM:
            return f"{sum(values):,}" if values else "-"
        case rows.RATIO:
            return spread(_ratios(runs, row, name, key), 2)
    text = spread(values, digits)
    limited = key == "rate_per_s" and any(_is_limited(run, row, name) for run in runs)
    return LIMITED + text if limited else text


def _ratios(runs: list[Run], row: str, name: str, key: str) -> list[float]:
    pairs = [(run[row][name].get(key), run[row].get(rows.BASE, {}).get(key)) for run in runs]
    return [mine / base for mine, base in pairs if mine is not None and base]


def _is_limited(run: Run, row: str, name: str) -> bool:
    return bool(run[row][name].get("generator_limited"))


def _good(runs: list[Run], row: str, name: str) -> list[Result]:
    return [run[row][name] for run in runs if run[row].get(name, {}).get("status") == "ok"]


def medians(runs: list[Run], row: str) -> dict[str, Figures]:
    """The median of every figure of every server that could be measured; of what is counted, the sum."""
    counts = {key for table in ROWS[row].tables for _, key, digits in table.columns if digits == rows.SUM}
    found: dict[str, Figures] = {}
    for name in runs[0][row]:
        if good := _good(runs, row, name):
            keys = [key for key, value in good[0].items() if isinstance(value, (int, float))]
            found[name] = {
                key: (sum if key in counts else statistics.median)(result[key] for result in good if key in result)
                for key in keys
            }
    return found


def _goal_lines(runs: list[Run], row: str) -> Iterator[str]:
    measured = medians(runs, row)
    for name in LAYBY:
        if name in measured:
            failed = sum(result.get("failed", 0) for result in _good(runs, row, name))
            but = f"; but {failed:,} failed" if failed else ""
            for verdict in judge(row, name, measured):
                yield f"goal, {name}: {told(verdict)}{but}"


def told(verdict: Verdict | str) -> str:
    """A verdict with its figures."""
    if isinstance(verdict, str):
        return verdict
    source = f" ({verdict.source})" if verdict.source else ""
    return f"{verdict.goal.words}: {verdict.words()}; {number(verdict.value)} against {number(verdict.limit)}{source}"


def number(value: float) -> str:
    """Three digits that count, or all of a large number's."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def verdicts(runs: list[Run]) -> dict[str, dict[str, list[str]]]:
    """All of them in words, by row and server, for the JSON."""
    return {
        row: {name: [told(verdict) for verdict in judge(row, name, measured)] for name in LAYBY if name in measured}
        for row in runs[0]
        if (measured := medians(runs, row))
    }
