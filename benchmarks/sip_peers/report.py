"""What `benchmarks/sip.py` found, as tables: medians, and ranges where there were several runs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, TypeAlias

from pools_peers.report import grid, spread

from sip_peers.costs import UNIT
from sip_peers.scripts import Job

Result: TypeAlias = dict[str, Any]
"""`status` (`ok`, `missing` or `failed`), `why` where it is not `ok`, else the figures."""
Run: TypeAlias = dict[str, dict[str, Result]]
"""Results by question and by server."""

QUESTIONS: Final = ("options", "calls", "order")
_WHAT: Final[dict[Job, str]] = {"options": "OPTIONS answered through a transaction", "calls": "proxied calls"}
BASE: Final = "kamailio"
"""Whose cost the others' is compared with."""


def tables(runs: list[Run]) -> Iterator[str]:
    """One table for each question that was asked."""
    for job, what in _WHAT.items():
        if runs[0].get(job):
            yield f"CPU seconds for {UNIT[job]:,} {what}\n{_cost_table(runs, job)}"
    if runs[0].get("order"):
        yield f"180 and 200 sent back to back: calls of all runs\n{_order_table(runs)}"


def not_measured(result: Result) -> str:
    """For a cell: what is missing is said there; what failed is too long for it and is told elsewhere."""
    return str(result["why"]) if result["status"] == "missing" else "failed"


def _cost_table(runs: list[Run], job: str) -> str:
    head = ["", "CPU s", f"times {BASE}'s", "failed", "retransmitted"]
    return grid(head, [_cost_row(runs, job, name) for name in runs[0][job]])


def _cost_row(runs: list[Run], job: str, name: str) -> list[str]:
    results = [run[job][name] for run in runs]
    good = [result for result in results if result["status"] == "ok"]
    if not good:
        return [name, not_measured(results[0]), "-", "-", "-"]
    ratios = [
        run[job][name]["cpu_s"] / run[job][BASE]["cpu_s"]
        for run in runs
        if run[job][name]["status"] == "ok" and run[job].get(BASE, {}).get("status") == "ok"
    ]
    failed, again = (sum(result[key] for result in good) for key in ("failed", "retransmitted"))
    return [name, spread([result["cpu_s"] for result in good], 3), spread(ratios, 2), f"{failed:,}", f"{again:,}"]


def _order_table(runs: list[Run]) -> str:
    head = ["", "calls", "swapped", "180 lost", "unanswered", "out of order, %"]
    return grid(head, [_order_row(runs, name) for name in runs[0]["order"]])


def _order_row(runs: list[Run], name: str) -> list[str]:
    results = [run["order"][name] for run in runs]
    good = [result for result in results if result["status"] == "ok"]
    if not good:
        return [name, not_measured(results[0]), "-", "-", "-", "-"]
    counts = [sum(result[key] for result in good) for key in ("calls", "swapped", "lost_180", "unanswered")]
    shares = [100 * (result["swapped"] + result["lost_180"]) / max(1, result["calls"]) for result in good]
    return [name, *(f"{count:,}" for count in counts), spread(shares, 2)]
