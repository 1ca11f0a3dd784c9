"""What does layby's hot path cost, and what do its peers need for the same, in the same run?

    make hot-path ARGS="[--quick] [--runs 3] [--only layby,kamailio] [--rows options,stateful] [--json FILE]"

One server after the other on this machine, 4 SIP processes each, the same load for all of them:

    options     OPTIONS answered 200 without a transaction
    stateful    the same through a transaction
    mi          mi("uptime") on every request, which is answered then; Kamailio's jsonrpc_exec
    async       async(mi("uptime")), likewise; Kamailio's async_task_route
    launch      launch(mi("uptime")), and an answer at once; Kamailio's async_task_data
    slow        1,000 requests a second, of which one in twenty runs a command of 50 ms, blocking and asynchronously
    calls-300   INVITE 100 180 200 ACK BYE 200 from sipp to sipp, proxied with Record-Route, 300 a second
    calls-1000  the same, 1,000 a second
    order       how often a 180 and a 200 that were sent back to back arrive swapped, or the 180 not at all
    parked      memory of a parked request, and how fast requests resume, with 100 to 100,000 parked
    start       from the start of the server to its first answer

The first five have a steady load (open loop: latencies count from when a request was due) and then as much as a server
takes: 16 requests outstanding, each answer lets the next one out. CPU seconds are those of all of the server's
processes, user and system, for 10,000 requests or 1,000 calls. A rate that the generator limited is marked with ">".

The servers: layby; layby-native, its SIP path compiled (`make native`); opensips, where one is on PATH; kamailio as
Debian ships it; kamailio-fm, the same with its quick memory manager (-x fm -X fm); kamailio-python and
kamailio-python-fm, with routes in Python (app_python3, KEMI); sippy, a SIP stack in Python (in `.venv-bench`, that
`make .venv-bench/.ready` sets up, or in the environment that runs this). Their configurations are in
`benchmarks/peers/`. One that is not installed, or cannot do a thing, is a row that says so.

Below each table stand the goals, each met or missed by how much (`benchmarks/peers/goals.py`). The exit code is 1 where
something that is installed could not be measured, 0 otherwise; goals do not change it.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
from peers import sipp
from peers.closed_loop import GeneratorError
from peers.effort import QUICK, Effort
from peers.parking import ParkingError
from peers.report import Result, Run, number, tables, verdicts
from peers.rows import ROWS
from peers.servers import ENTRIES, Entry
from pools_peers.processes import adopt_orphans, end_descendants

from runtime.bench.machine import machine
from runtime.traffic.generator import LoadError
from runtime.traffic.server import ServerError

_PROBLEMS = (ServerError, LoadError, GeneratorError, ParkingError, sipp.SippError, OSError)


def names(text: str, known: Sequence[str]) -> list[str]:
    """A list with commas, checked."""
    found = [name.strip() for name in text.split(",") if name.strip()]
    if unknown := [name for name in found if name not in known]:
        raise argparse.ArgumentTypeError(f"unknown: {', '.join(unknown)}; there are {', '.join(known)}")
    return found


def ask(row: str, entry: Entry, effort: Effort) -> Result:
    """One row of one server."""
    if (why := entry.why_not(ROWS[row].job) or ROWS[row].missing()) is not None:
        return {"status": "missing", "why": why}
    try:
        return {"status": "ok", **ROWS[row].measure(entry, effort)}
    except _PROBLEMS as error:
        return {"status": "failed", "why": str(error)}
    finally:
        end_descendants(0.2)


class Progress:
    """How long all of it still takes, by what has been done of it.

    Args:
        expected_s: about how long each part takes.
    """

    def __init__(self, expected_s: Sequence[float]) -> None:
        self._left_s = sum(expected_s)
        self._expected_s = self._taken_s = 0.0

    def done(self, expected_s: float, taken_s: float) -> None:
        """A part is over."""
        self._left_s -= expected_s
        self._expected_s += expected_s
        self._taken_s += taken_s

    @property
    def remaining_s(self) -> float:
        """For how long it still goes on, if the rest is as much slower than expected as what is over was."""
        return self._left_s * (self._taken_s / self._expected_s if self._expected_s else 1.0)


def one_run(rows: list[str], entries: list[Entry], effort: Effort, title: str, progress: Progress) -> Run:
    """Everything once, with a line on stderr for each. Neighbours in time are compared."""
    run: Run = {}
    for row in rows:
        for entry in entries:
            begun_s = time.monotonic()
            result = ask(row, entry, effort)
            run.setdefault(row, {})[entry.name] = result
            progress.done(expected_s(row, entry, effort), time.monotonic() - begun_s)
            print(f"{title}: {row}, {entry.name}: {brief(row, result)} [{progress.remaining_s:.0f} s left]",
                  file=sys.stderr, flush=True)  # fmt: skip
    return run


def expected_s(row: str, entry: Entry, effort: Effort) -> float:
    """About how long one row of one server takes; nothing where it is not there."""
    missing = entry.why_not(ROWS[row].job) or ROWS[row].missing()
    return 0.0 if missing else ROWS[row].expected_s(effort)


def brief(row: str, result: Result) -> str:
    """A result in a few words."""
    if result["status"] != "ok":
        return f"{result['status']}: {result['why'].splitlines()[0]}"
    keys = dict.fromkeys(key for table in ROWS[row].tables for _, key, _ in table.columns)
    return ", ".join(f"{key} {number(result[key])}" for key in keys if key in result)


def broken(runs: list[Run]) -> list[str]:
    """What could not be measured and should have been."""
    return [
        f"{row}, {name}: {result['why']}"
        for run in runs
        for row, results in run.items()
        for name, result in results.items()
        if result["status"] == "failed"
    ]


def as_json(runs: list[Run], effort: Effort) -> dict[str, Any]:
    """The machine, what was asked, every figure of every run, and what it says of the goals."""
    return {
        "machine": msgspec.to_builtins(machine()),
        "effort": dataclasses.asdict(effort),
        "runs": runs,
        "goals": verdicts(runs),
    }


def options_of(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    servers, rows = list(ENTRIES), list(ROWS)
    parser.add_argument("--runs", type=int, help="medians and ranges over so many (3; with --quick 1)")
    parser.add_argument("--quick", action="store_true", help="a few seconds for each; the figures are rough")
    parser.add_argument(
        "--only", type=lambda text: names(text, servers), default=servers, metavar="SERVER,…", help=", ".join(servers)
    )
    parser.add_argument(
        "--rows", type=lambda text: names(text, rows), default=rows, metavar="ROW,…", help=", ".join(rows)
    )
    parser.add_argument("--processes", type=int, metavar="N", help="SIP processes of each server (4)")
    parser.add_argument("--window", type=int, metavar="N", help="requests outstanding at saturation (16)")
    parser.add_argument("--seconds", type=float, help="how long each load lasts")
    parser.add_argument("--json", type=Path, metavar="FILE", help="everything that was measured")
    return parser.parse_args(arguments)


def effort_of(options: argparse.Namespace) -> Effort:
    """How much is offered: the usual or the quick measure, with what was asked for in its stead."""
    seconds = {} if options.seconds is None else dict.fromkeys(("saturation_s", "slow_s", "calls_s"), options.seconds)
    asked = {"processes": options.processes, "window": options.window, **seconds}
    wanted = {name: value for name, value in asked.items() if value is not None}
    return dataclasses.replace(QUICK if options.quick else Effort(), **wanted)


def main() -> int:
    options = options_of(None)
    effort = effort_of(options)
    count = options.runs or (1 if options.quick else 3)
    entries = [ENTRIES[name] for name in options.only]
    adopt_orphans()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # on the way out servers and loads are stopped
    progress = Progress([expected_s(row, entry, effort) for row in options.rows for entry in entries] * count)
    runs = [one_run(options.rows, entries, effort, f"run {number + 1} of {count}", progress) for number in range(count)]
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(as_json(runs, effort), indent=1))
    print("\n\n".join(tables(runs)))
    problems = broken(runs)
    for problem in problems:
        print(f"\nnot measured: {problem}", file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
