"""What `benchmarks/mi_under_load.py` found: figures of one load, whether the pages were whole, and the tables."""

from __future__ import annotations

import bisect
import statistics
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, Final, TypeAlias

from pools_peers.report import grid, spread

from mi_load.calls import Told
from mi_load.operating import Done
from mi_load.site import Usage

Result: TypeAlias = dict[str, Any]
"""The figures of one variant, by name."""
Run: TypeAlias = dict[str, Result]
"""By variant."""

BASE: Final = "none"
"""The variant without MI, with which the others are compared."""


def percentile(values: list[float], share: float) -> float:
    """The smallest value that so large a share does not exceed; 0 of none."""
    ordered = sorted(values)
    return ordered[max(0, -(-len(ordered) * round(share * 100) // 100) - 1)] if ordered else 0.0


def figures(told: Told, done: Done, before: Usage, after: Usage, kinds: dict[int, str]) -> Result:
    """Everything that is shown of one load."""
    skipped, repeated, checked = sweeps(told, done)
    return {
        "offered": told.offered,
        "completed": told.completed,
        "lost": told.offered - told.completed,
        "lost_how": told.lost,
        "retransmitted": sum(told.retransmitted.values()),
        "retransmitted_by_method": told.retransmitted,
        **_times("setup", told.setup_s),
        **_times("bye", told.bye_s),
        "lag_p99_ms": 1000 * told.lag_p99_s,
        "lag_max_ms": 1000 * told.lag_max_s,
        "real_time": told.real_time,
        "cpu_s": cpu_by_kind(before, after, kinds),
        "memory_before_mib": before.memory_mib,
        "memory_after_mib": after.memory_mib,
        "pages": done.pages,
        **_times("page", done.page_s),
        "sweeps": len(done.sweeps),
        "sweep_seen": checked,
        "skipped": skipped,
        "repeated": repeated,
        "ended": len(done.ended),
        "ended_by_server": told.ended_by_server,
        **_times("end", done.end_s),
        "reloads": len(done.reload_s),
        "reload_s": statistics.median(done.reload_s) if done.reload_s else 0.0,
        "problems": done.problems,
    }


def _times(what: str, values_s: list[float]) -> dict[str, float]:
    shares = {"p50": 0.5, "p95": 0.95, "p99": 0.99, "max": 1.0}
    return {f"{what}_{name}_ms": 1000 * percentile(values_s, share) for name, share in shares.items()}


def cpu_by_kind(before: Usage, after: Usage, kinds: dict[int, str]) -> dict[str, float]:
    """CPU seconds by kind of process; one that was not there before counts from its birth."""
    used: Counter[str] = Counter()
    for pid, cpu_s in after.cpu_s.items():
        used[kinds.get(pid, "other")] += cpu_s - before.cpu_s.get(pid, 0.0)
    return dict(used)


def sweeps(told: Told, done: Done) -> tuple[int, int, int]:
    """Whether the operator saw whole pages.

    Returns:
        how often a dialog that lived from before a sweep to after it was not in it; how often one was in it twice; how
        many had to be in the sweeps.
    """
    lives = [
        (answered, done.ended.get(number, bye) or float("inf")) for number, (answered, bye) in enumerate(told.spans)
    ]
    born = sorted((answered, number) for number, (answered, _) in enumerate(lives) if answered)
    skipped = repeated = checked = 0
    for sweep in done.sweeps:
        seen = Counter(sweep.calls)
        repeated += sum(count - 1 for number, count in seen.items() if number >= 0)
        before = born[: bisect.bisect_left(born, (sweep.begun, -1))]
        through = [number for _, number in before if lives[number][1] > sweep.over]
        skipped += sum(number not in seen for number in through)
        checked += len(through)
    return skipped, repeated, checked


_ROWS: Final[list[tuple[str, str, int]]] = [
    ("calls offered", "offered", 0),
    ("completed", "completed", 0),
    ("lost", "lost", 0),
    ("sent again", "retransmitted", 0),
    ("setup p50, ms", "setup_p50_ms", 3),
    ("setup p95, ms", "setup_p95_ms", 3),
    ("setup p99, ms", "setup_p99_ms", 3),
    ("setup max, ms", "setup_max_ms", 1),
    ("BYE p50, ms", "bye_p50_ms", 3),
    ("BYE p99, ms", "bye_p99_ms", 3),
    ("memory before, MiB", "memory_before_mib", 0),
    ("memory after, MiB", "memory_after_mib", 0),
    ("pages read", "pages", 0),
    ("a page p50, ms", "page_p50_ms", 2),
    ("a page p99, ms", "page_p99_ms", 2),
    ("sweeps through all", "sweeps", 0),
    ("dialogs to be in them", "sweep_seen", 0),
    ("of these skipped", "skipped", 0),
    ("seen twice", "repeated", 0),
    ("dialogs ended", "ended", 0),
    ("reloads", "reloads", 0),
    ("a reload, s", "reload_s", 2),
    ("load too late p99, ms", "lag_p99_ms", 3),
]
RATIOS: Final = (("setup p99", "setup_p99_ms"), ("setup p95", "setup_p95_ms"), ("BYE p99", "bye_p99_ms"))


def tables(runs: list[Run]) -> Iterator[str]:
    """The figures, and those that the claim is about as ratios."""
    variants = list(runs[0])
    yield grid(["", *variants], [*_figure_rows(runs, variants), *_cpu_rows(runs, variants)])
    others = [variant for variant in variants if variant != BASE]
    if BASE in variants and others:
        yield f"times {BASE}\n" + grid(["", *others], [*_ratio_rows(runs, others)])


def _figure_rows(runs: list[Run], variants: list[str]) -> Iterator[list[str]]:
    for title, key, digits in _ROWS:
        yield _row(title, variants, lambda name, key=key: [run[name][key] for run in runs], digits)  # type: ignore[misc]


def _cpu_rows(runs: list[Run], variants: list[str]) -> Iterator[list[str]]:
    kinds = dict.fromkeys(kind for run in runs for result in run.values() for kind in result["cpu_s"])
    for kind in kinds:
        title = f"CPU s, {kind}"
        yield _row(title, variants, lambda name, kind=kind: [run[name]["cpu_s"].get(kind, 0.0) for run in runs], 2)  # type: ignore[misc]


def _ratio_rows(runs: list[Run], others: list[str]) -> Iterator[list[str]]:
    for title, key in RATIOS:
        yield _row(title, others, lambda name, key=key: ratios(runs, name, key), 2)  # type: ignore[misc]


def ratios(runs: list[Run], variant: str, key: str) -> list[float]:
    """A figure through that of the variant without MI in the same run."""
    return [run[variant][key] / run[BASE][key] for run in runs if run[BASE][key]]


def _row(title: str, variants: list[str], of: Callable[[str], list[float]], digits: int) -> list[str]:
    return [title, *(spread(of(variant), digits) for variant in variants)]
