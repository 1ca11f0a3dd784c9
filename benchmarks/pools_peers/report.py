"""Tables and verdicts, of figures by run, row and name: pure functions of what `launch.measured` gave."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from pools_peers.registry import ENTRIES, LATENCY, LAYBY, ZMQ_ECHO

Run = dict[str, dict[str, dict[str, Any]]]
"""row -> name in the tables -> result."""

TRANSPORTS = ("unix", "zmq")
TITLES = {
    "sequential": "1. Sequential round trip",
    "pipelined-100": "2. Pipelined, 100 in flight",
    "pipelined-1000": "3. Pipelined, 1,000 in flight",
    "regular": "4. 200 jobs/s, every 20th takes 50 ms: the fast ones, from the moment at which they were due",
    "random": "5. The same, the slow ones spaced at random, so that they overlap",
    "origins": "6. Two origins instead of one, both processes that joined the pool",
    "kill": "7. kill -9 of one worker with 50 jobs of 20 ms in flight",
    "cost": "8. Memory per worker, time from nothing to the first result",
}
_FRAMES = (
    "\nEach call is a job of its own with everybody; layby sends those that are ready in the same turn of a loop"
    "\nin one frame. In chunks: many calls in one message by the caller's wish, for information."
)
NOTES = {
    "pipelined-100": _FRAMES,
    "pipelined-1000": _FRAMES,
    "kill": "\nSettled: from the kill to the last end, beyond what the work that was left takes; below 0: given up.",
}
# The figure by which the best peer of a row is found, and whether more is better.
LEADING = {
    "sequential": ("p50_us", False),
    "pipelined-100": ("jobs_per_s", True),
    "pipelined-1000": ("jobs_per_s", True),
    "regular": ("p99_ms", False),
    "random": ("p99_ms", False),
}
COLUMNS = {
    "sequential": [("p50 µs", "p50_us", 0), ("p99 µs", "p99_us", 0)],
    "pipelined-100": [("jobs/s", "jobs_per_s", 0)],
    "pipelined-1000": [("jobs/s", "jobs_per_s", 0)],
    "regular": [("p50 ms", "p50_ms", 2), ("p99 ms", "p99_ms", 2), ("slow p99 ms", "slow_p99_ms", 1)],
    "random": [("p50 ms", "p50_ms", 2), ("p99 ms", "p99_ms", 2), ("slow p99 ms", "slow_p99_ms", 1)],
    "kill": [
        ("returned", "returned", 0),
        ("failed", "failed", 0),
        ("lost", "lost", 0),
        ("ran twice", "ran_twice", 0),
        ("settled s", "settled_s", 3),
        ("workers after", "workers_after", 0),
    ],
    "cost": [
        ("MiB/worker", "worker_mib", 1),
        ("others", "others", 0),
        ("their MiB", "others_mib", 1),
        ("first result ms", "first_result_ms", 0),
    ],
}


# -- reading ----------------------------------------------------------------------------------------------------------


def figure(run: Run, row: str, name: str, key: str) -> float | None:
    """One figure of one run; None where there is none."""
    value = run.get(row, {}).get(name, {}).get("figures", {}).get(key)
    return None if value is None else float(value)


def figures(runs: list[Run], row: str, name: str, key: str) -> list[float]:
    """The same of all runs that have it."""
    return [value for run in runs if (value := figure(run, row, name, key)) is not None]


def best_peer(run: Run, row: str, key: str, more: bool) -> tuple[str, float] | None:
    """The peer that leads in a row of one run; who lost jobs does not."""
    found = [
        (value, name)
        for name in run.get(row, {})
        if ENTRIES[name].kind == "peer"
        and (value := figure(run, row, name, key)) is not None
        and not run[row][name]["figures"].get("lost")
    ]
    if not found:
        return None
    value, name = max(found) if more else min(found)
    return name, value


def ratios(runs: list[Run], row: str, name: str, key: str, base: Callable[[Run], float | None]) -> list[float]:
    """A figure through another of the same run."""
    pairs = [(figure(run, row, name, key), base(run)) for run in runs]
    return [mine / other for mine, other in pairs if mine is not None and other]


def spread(values: list[float], digits: int) -> str:
    """Median, and the range where there were several runs."""
    if not values:
        return "-"
    middle = f"{statistics.median(values):,.{digits}f}"
    return middle if len(values) == 1 else f"{middle} ({min(values):,.{digits}f} to {max(values):,.{digits}f})"


# -- tables -----------------------------------------------------------------------------------------------------------


def grid(head: list[str], rows: list[list[str]]) -> str:
    """The first column to the left, the others to the right."""
    widths = [max(len(line[n]) for line in [head, *rows]) for n in range(len(head))]
    lines = [head, ["-" * width for width in widths], *rows]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if n == 0 else cell.rjust(width)
            for n, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in lines
    ).replace(" \n", "\n")


def tables(runs: list[Run]) -> Iterator[str]:
    """Every row that was measured, then the origins, then what to know of it."""
    for row, title in TITLES.items():
        if not any(run.get(row) for run in runs):
            continue
        if row == "origins":
            yield f"{title}\n{_origins_table(runs)}"
            continue
        yield f"{title}\n{_table(runs, row)}{NOTES.get(row, '')}{_floor(runs, row)}"
        if row in LEADING and (found := _ratio_table(runs, row)):
            yield found


def _floor(runs: list[Run], row: str) -> str:
    found = [value for name in ENTRIES for value in figures(runs, row, name, "floor_p99_ms")]
    if not found:
        return ""
    return f"\nTwo workers that take jobs in the order of arrival cannot have a p99 below {max(found):.1f} ms here."


def _names(runs: list[Run], row: str) -> list[str]:
    return [name for name in ENTRIES if any(name in run.get(row, {}) for run in runs)]


def _table(runs: list[Run], row: str) -> str:
    head = ["", *(title for title, _, _ in COLUMNS[row]), ""]
    lines = []
    for name in _names(runs, row):
        cells = [spread(figures(runs, row, name, key), digits) for _, key, digits in COLUMNS[row]]
        lines.append([_label(name), *cells, _remark([run[row][name] for run in runs if name in run.get(row, {})])])
    return _left_last(grid(head, lines), head, lines)


def _left_last(text: str, head: list[str], lines: list[list[str]]) -> str:
    """The remarks are words: to the left."""
    width = max(len(line[-1]) for line in [head, *lines])
    if not width:
        return "\n".join(line.rstrip() for line in text.split("\n"))
    return "\n".join((line[:-width] + line[-width:].strip()).rstrip() for line in text.split("\n"))


def _label(name: str) -> str:
    return f"limit: {name}" if ENTRIES[name].kind == "limit" else name


def _remark(results: list[dict[str, Any]]) -> str:
    remarks: list[str] = []
    for result in results:
        found = result.get("figures", {})
        if result["status"] != "ok":
            remarks.append(f"{result['status']}: {result.get('why', '')[:90]}".replace("\n", " "))
            continue
        remarks += [f"by {found['way']}"] if "way" in found and len(found["ways"]) > 1 else []
        remarks += [f"in chunks {found['chunked_jobs_per_s']:,.0f}"] if "chunked_jobs_per_s" in found else []
        remarks += sorted(found.get("errors", {}))
        remarks += [f"LOST {found['lost']:g}"] if found.get("lost") else []
        remarks += ["hangs in closing"] if not result.get("closed", True) else []
    return "; ".join(dict.fromkeys(remarks))


def _base(row: str, key: str, more: bool) -> Callable[[Run], float | None]:
    def of(run: Run) -> float | None:
        best = best_peer(run, row, key, more)
        return None if best is None else best[1]

    return of


def _ratio_table(runs: list[Run], row: str) -> str:
    key, more = LEADING[row]
    leaders = dict.fromkeys(best[0] for run in runs if (best := best_peer(run, row, key, more)))
    head = [f"{key}, layby through …", f"best peer ({', '.join(leaders) or 'none'})", "bare pyzmq echo"]
    lines = [
        [
            name,
            spread(ratios(runs, row, name, key, _base(row, key, more)), 2),
            spread(ratios(runs, row, name, key, lambda run: figure(run, row, ZMQ_ECHO, key)), 2),
        ]
        for name in _names(runs, row)
        if ENTRIES[name].kind.startswith("layby")
    ]
    return grid(head, lines) if lines else ""


ORIGIN_FIGURES = [
    ("sequential", "p50_us", False),
    ("sequential", "p99_us", False),
    ("pipelined-100", "jobs_per_s", True),
    ("pipelined-1000", "jobs_per_s", True),
    ("regular", "p50_ms", False),
    ("regular", "p99_ms", False),
    ("random", "p50_ms", False),
    ("random", "p99_ms", False),
]


def origin_ratios(runs: list[Run], transport: str, row: str, key: str, more: bool) -> list[float]:
    """How many times worse it is with two: of times the worse origin's, of rates both together."""
    found = []
    for run in runs:
        one = figure(run.get("origins", {}).get("1", {}), row, transport, key)
        two = figure(run.get("origins", {}).get("2", {}), row, transport, key)
        if one and two:
            found.append(one / two if more else two / one)
    return found


def _origins_table(runs: list[Run]) -> str:
    head = ["", *(f"{transport}: one, two, times worse" for transport in TRANSPORTS)]
    lines = []
    for row, key, more in ORIGIN_FIGURES:
        cells = []
        for transport in TRANSPORTS:
            digits = 2 if key.endswith("ms") else 0
            each = [
                spread([v for run in runs if (v := figure(run["origins"].get(n, {}), row, transport, key))], digits)
                for n in ("1", "2")
                if all("origins" in run for run in runs)
            ]
            cells.append(", ".join([*each, spread(origin_ratios(runs, transport, row, key, more), 2)]))
        lines.append([f"{row} {key}", *cells])
    return grid(head, lines)


# -- verdicts ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Verdict:
    """One requirement.

    Args:
        requirement: what, and how much.
        shown: by adapter, the figure as text, and whether it is reached; None where nothing was measured.
        stretch: nice to have.
    """

    requirement: str
    shown: dict[str, tuple[str, bool | None]]
    stretch: bool = False

    def reached(self) -> str:
        """``yes`` by every adapter that was measured, ``no`` by none, or by which."""
        known = {name: ok for name, (_, ok) in self.shown.items() if ok is not None}
        if not known:
            return "not measured"
        if all(known.values()):
            return "yes"
        return ", ".join(f"by {name}" for name, ok in known.items() if ok) or "no"


def _judged(values: list[float], digits: int, unit: str, ok: Callable[[float], bool]) -> tuple[str, bool | None]:
    if not values:
        return "-", None
    return f"{spread(values, digits)}{unit}", ok(statistics.median(values))


def verdicts(runs: list[Run]) -> list[Verdict]:
    """Every requirement, judged by the median of the runs."""
    found = []
    for key in ("p50_us", "p99_us"):
        found.append(_at_most_echo(runs, key))
    for key in ("p50_us", "p99_us"):
        found.append(_at_most_anyio(runs, key))
    for row, times in (("pipelined-100", 7.0), ("pipelined-1000", 6.0)):
        shown = {
            name: _judged(
                ratios(runs, row, name, "jobs_per_s", _base(row, "jobs_per_s", True)), 2, "", _at_least(times)
            )
            for name in LAYBY
        }
        found.append(Verdict(f"{row}: jobs/s, at least {times:g} times the best peer's", shown))
    shown = {
        name: _judged(ratios(runs, "regular", name, "p99_ms", _base("regular", "p99_ms", False)), 2, "", _at_most(1.0))
        for name in LAYBY
    }
    found.append(Verdict("regular slow jobs: p99 of the fast, at most the best peer's", shown))
    shown = {name: _judged(figures(runs, "random", name, "p99_ms"), 2, " ms", _below(1.0)) for name in LAYBY}
    found.append(Verdict("random slow jobs: p99 of the fast under 1 ms", shown))
    found.append(_origins_verdict(runs))
    found += _kill_verdicts(runs)
    shown = {name: _judged(figures(runs, "cost", name, "worker_mib"), 1, " MiB", _at_most(10.0)) for name in LAYBY}
    found.append(Verdict("memory added per worker, at most 10 MiB", shown))
    shown = {name: _judged(figures(runs, "cost", name, "first_result_ms"), 0, " ms", _at_most(100.0)) for name in LAYBY}
    found.append(Verdict("time to the first result, at most 100 ms", shown))
    return found


def _at_most(limit: float) -> Callable[[float], bool]:
    return lambda value: value <= limit


def _at_least(limit: float) -> Callable[[float], bool]:
    return lambda value: value >= limit


def _below(limit: float) -> Callable[[float], bool]:
    return lambda value: value < limit


def _at_most_echo(runs: list[Run], key: str) -> Verdict:
    def echo(run: Run) -> float | None:
        return figure(run, "sequential", ZMQ_ECHO, key)

    shown = {name: _judged(ratios(runs, "sequential", name, key, echo), 2, "", _at_most(1.25)) for name in LAYBY}
    return Verdict(f"round trip {key[:3]}, at most 1.25 times the bare pyzmq echo's", shown)


def _at_most_anyio(runs: list[Run], key: str) -> Verdict:
    def anyio(run: Run) -> float | None:
        return figure(run, "sequential", "anyio", key)

    shown = {name: _judged(ratios(runs, "sequential", name, key, anyio), 2, "", _at_most(1.0)) for name in LAYBY}
    return Verdict(f"stretch: round trip {key[:3]}, at most anyio's", shown, stretch=True)


def _origins_verdict(runs: list[Run]) -> Verdict:
    shown: dict[str, tuple[str, bool | None]] = dict.fromkeys(LAYBY, ("-", None))
    for transport in TRANSPORTS:
        worst: list[tuple[float, str]] = []
        for row, key, more in ORIGIN_FIGURES:
            if found := origin_ratios(runs, transport, row, key, more):
                worst.append((statistics.median(found), f"{row} {key[:3]}"))
        if worst:
            times, where = max(worst)
            shown[f"layby-async-{transport}"] = (f"{times:.2f} ({where})", times <= 1.5)
    return Verdict("two origins: no row more than 1.5 times worse", shown)


def _kill_verdicts(runs: list[Run]) -> list[Verdict]:
    def all_of(name: str, judge: Callable[[dict[str, Any]], tuple[str, bool]]) -> tuple[str, bool | None]:
        found = [run["kill"][name] for run in runs if name in run.get("kill", {})]
        judged = [judge(one["figures"]) if one["status"] == "ok" else (one["status"], False) for one in found]
        if not judged:
            return "-", None
        return "; ".join(dict.fromkeys(text for text, _ in judged)), all(ok for _, ok in judged)

    def ends(seen: dict[str, Any], returned: int, failed: int, twice: int) -> tuple[str, bool]:
        text = f"{seen['returned']} and {seen['failed']}"
        text += f", {seen['lost']} lost" if seen["lost"] else ""
        text += f", {seen['ran_twice']} ran twice" if seen["ran_twice"] else ""
        is_so = (seen["returned"], seen["failed"], seen["lost"], seen["wrong"]) == (returned, failed, 0, 0)
        return text, is_so and seen["ran_twice"] <= twice and not seen["settled_twice"]

    def promptly(seen: dict[str, Any]) -> tuple[str, bool]:
        settled_s = seen["settled_s"]
        return ("never", False) if settled_s is None else (f"{settled_s:.3f} s", settled_s <= 0.1)

    def again(transport: str) -> tuple[str, bool | None]:
        return all_of(f"layby-idempotent-{transport}", lambda seen: ends(seen, 50, 0, 1))

    plain = {name: all_of(name, lambda seen: ends(seen, 49, 1, 0)) for name in LAYBY}
    idempotent = {name: again(name.rpartition("-")[2]) if "async" in name else ("-", None) for name in LAYBY}
    whole = {name: all_of(name, lambda s: (f"{s['workers_after']} workers", s["workers_after"] == 2)) for name in LAYBY}
    return [
        Verdict("killed worker: 49 returned, 1 clear error, none lost, none twice", plain),
        Verdict("killed worker, idempotent: 50 returned, at most 1 of them run again", idempotent),
        Verdict("killed worker: settled within 0.1 s", {name: all_of(name, promptly) for name in LAYBY}),
        Verdict("killed worker: pool whole again", whole),
    ]


def verdict_table(runs: list[Run]) -> str:
    """The last thing that is printed."""
    lines = [
        [verdict.requirement, *(verdict.shown[name][0] for name in LAYBY), verdict.reached()]
        for verdict in verdicts(runs)
    ]
    return "Verdict\n" + grid(["", *LAYBY, "reached"], lines)


ROW_NAMES = [*LATENCY, "origins", "kill", "cost"]
