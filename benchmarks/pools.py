"""Does layby's pool engine outdo its peers? One run, one machine, the same tiny jobs, two workers.

    make bench-pools                                     # sets up .venv-bench with the peers, then runs everything
    python benchmarks/pools.py [--quick] [--runs 3] [--rows sequential,kill] [--peers layby-async-unix,anyio]

Rows: sequential, pipelined-100, pipelined-1000, regular, random (200 jobs/s of which 5 % take 50 ms), origins (two
processes share a pool), kill (a worker is killed), cost (memory, start). Each row of each peer runs in a process of
its own with a time limit, and all that it leaves is killed. The bare echoes stand beside as limits. Printed are
absolute figures, ratios within the same run, and last a verdict on each requirement; of several runs, medians and
ranges.

A goal that is missed is no failure. The exit code is 1 where a peer could not be measured, 0 otherwise; a peer that is
not installed, or that hangs, is said to be so (unless it is layby).
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
from pools_peers.launch import measured
from pools_peers.processes import adopt_orphans
from pools_peers.registry import ENTRIES, LATENCY, ZMQ_ECHO, Entry
from pools_peers.report import ROW_NAMES, Run, tables, verdict_table, verdicts
from pools_peers.rows import QUICK, Effort

from runtime.bench.machine import machine


def names(text: str, known: list[str]) -> list[str]:
    """A list with commas, checked."""
    found = [name.strip() for name in text.split(",") if name.strip()]
    if unknown := [name for name in found if name not in known]:
        raise argparse.ArgumentTypeError(f"unknown: {', '.join(unknown)}; there are {', '.join(known)}")
    return found


def chosen(peers: list[str]) -> list[Entry]:
    """Who takes part; with the words layby, stdlib, peers and limits for groups."""
    groups = {
        "layby": lambda entry: entry.kind.startswith("layby") or entry.kind == "origins",
        "stdlib": lambda entry: entry.stdlib,
        "peers": lambda entry: entry.kind == "peer",
        "limits": lambda entry: entry.kind == "limit",
    }
    if not peers:
        return list(ENTRIES.values())
    return [
        entry
        for entry in ENTRIES.values()
        if entry.name in peers or any(groups[name](entry) for name in peers if name in groups)
    ]


def plan(rows: list[str], entries: list[Entry]) -> list[tuple[str, str, Entry]]:
    """What is measured, in order: the table's row, the row itself, who. Neighbours in time are compared."""
    found = []
    for row in rows:
        if row == "origins":
            found += [(row, inner, entry) for inner in LATENCY for entry in entries if entry.kind == "origins"]
        else:
            found += [(row, row, entry) for entry in entries if entry.kind != "origins" and row in entry.rows]
    return found


def one_run(rows: list[str], entries: list[Entry], effort: Effort, uvloop: bool, title: str) -> Run:
    """Everything once, with a line on stderr for each."""
    run: Run = {}
    todo = plan(rows, entries)
    for number, (table, row, entry) in enumerate(todo, 1):
        begun = time.monotonic()
        result = measured(entry.name, row, effort, uvloop=uvloop)
        took_s = time.monotonic() - begun
        print(
            f"{title}, {number} of {len(todo)}: {row}, {entry.name}: {brief(result)} [{took_s:.0f} s]", file=sys.stderr
        )
        if table == "origins":
            origins, transport = str(entry.settings["origins"]), entry.settings["transport"]
            run.setdefault("origins", {}).setdefault(origins, {}).setdefault(row, {})[transport] = result
        else:
            run.setdefault(table, {})[entry.name] = result
    return run


def brief(result: dict[str, Any]) -> str:
    """A result in a few words."""
    if result["status"] != "ok":
        return f"{result['status']}: {result.get('why', '')}"
    shown = ("p50_us", "p99_us", "jobs_per_s", "p50_ms", "p99_ms", "returned", "failed", "lost", "worker_mib")
    found = [f"{key} {result['figures'][key]:,.4g}" for key in (*shown, "first_result_ms") if key in result["figures"]]
    left = f"; left behind and killed: {len(result['left'])} processes" if result["left"] else ""
    return ", ".join(found) + ("" if result.get("closed", True) else "; hangs in closing") + left


def broken(runs: list[Run], entries: list[Entry]) -> list[str]:
    """What could not be measured and should have been."""
    found = []
    for run in runs:
        for row, results in run.items():
            flat = list(results.items())
            if row == "origins":
                flat = [
                    (f"{transport}, {origins} origin(s), {inner}", result)
                    for origins, inner_rows in results.items()
                    for inner, by_transport in inner_rows.items()
                    for transport, result in by_transport.items()
                ]
            for name, result in flat:
                entry = ENTRIES.get(name)
                ours = entry is None or entry.kind != "peer" or entry.stdlib
                if result["status"] == "failed" or (ours and result["status"] != "ok"):
                    found.append(f"{row}, {name}: {result['status']}: {result.get('why', '')}\n{result.get('log', '')}")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    groups = ["layby", "stdlib", "peers", "limits"]
    parser.add_argument("--rows", type=lambda text: names(text, ROW_NAMES), default=ROW_NAMES, metavar="ROW,…")
    parser.add_argument(
        "--peers",
        type=lambda text: names(text, [*groups, *ENTRIES]),
        default=[],
        metavar="NAME,…",
        help=f"{', '.join(groups)}, or any of: {', '.join(ENTRIES)}; the pyzmq echo is always there",
    )
    parser.add_argument("--runs", type=int, help="medians and ranges over so many (3; with --quick 1)")
    parser.add_argument("--quick", action="store_true", help="a tenth of the time; the figures are rough")
    parser.add_argument("--uvloop", action="store_true", help="whoever uses asyncio runs on uvloop")
    parser.add_argument("--json", type=Path, metavar="FILE", help="everything that was measured")
    options = parser.parse_args()
    entries = chosen([*options.peers, ZMQ_ECHO] if options.peers else [])
    effort = QUICK if options.quick else Effort()
    count = options.runs or (1 if options.quick else 3)
    adopt_orphans()
    runs = [
        one_run(options.rows, entries, effort, options.uvloop, f"run {number + 1} of {count}")
        for number in range(count)
    ]
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(as_json(runs, effort, options.uvloop), indent=1))
    for table in tables(runs):
        print(table, end="\n\n")
    print(verdict_table(runs))
    problems = broken(runs, entries)
    for problem in problems:
        print(f"\nnot measured: {problem}", file=sys.stderr)
    return 1 if problems else 0


def as_json(runs: list[Run], effort: Effort, uvloop: bool) -> dict[str, Any]:
    """The machine, what was asked, every figure of every run, the verdicts."""
    return {
        "machine": msgspec.to_builtins(machine()),
        "effort": dataclasses.asdict(effort),
        "uvloop": uvloop,
        "runs": runs,
        "verdicts": [
            {"requirement": one.requirement, "shown": one.shown, "reached": one.reached()} for one in verdicts(runs)
        ],
    }


if __name__ == "__main__":
    sys.exit(main())
