"""What does a SIP request cost layby, what does it cost Kamailio, and do messages keep their order?

    python benchmarks/sip.py [--quick] [--runs 3] [--only layby,kamailio] [--questions options,calls] [--json FILE]

Three questions, one server after the other on this machine, 4 SIP processes each:

    options  CPU seconds per 10,000 OPTIONS that are answered 200 through a transaction
    calls    CPU seconds per 1,000 calls (INVITE 100 180 200 ACK BYE 200) from sipp to sipp, proxied with Record-Route
    order    how often a 180 and a 200 that were sent back to back arrive swapped, or the 180 not at all

The servers: layby; layby-native, with its SIP path compiled (`make native`); kamailio as Debian ships it; kamailio-fm,
the same with its quick memory manager (-x fm -X fm); kamailio-python, with its routes in Python (app_python3, KEMI).
One that is not installed is a row that says so. The CPU time is that of all the server's processes, user and system,
over the load and less what was used before; the load is sipp (Debian: sip-tester), which runs niced. What a server
does only after the load is over, such as to forget answered transactions when their 5 to 32 seconds are up, falls
outside for all but the early part of it.

The exit code is 1 where something that is installed could not be measured, 0 otherwise.
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

from machine import machine
from pools_peers.processes import adopt_orphans, end_descendants
from sip_peers import costs, order, sipp
from sip_peers.costs import QUICK, Effort
from sip_peers.report import QUESTIONS, Result, Run, tables
from sip_peers.servers import ENTRIES, Entry

from runtime.traffic.server import ServerError


def names(text: str, known: Sequence[str]) -> list[str]:
    """A list with commas, checked."""
    found = [name.strip() for name in text.split(",") if name.strip()]
    if unknown := [name for name in found if name not in known]:
        raise argparse.ArgumentTypeError(f"unknown: {', '.join(unknown)}; there are {', '.join(known)}")
    return found


def ask(question: str, entry: Entry, effort: Effort) -> Result:
    """One question to one server."""
    why = entry.missing() or (sipp.missing() if question != "order" else None)
    if why is not None:
        return {"status": "missing", "why": why}
    try:
        if question == "order":
            found = order.measure(entry, effort.order_calls, effort.calls_per_s, effort.processes)
            return {"status": "ok", "calls": found.calls, **dataclasses.asdict(found)}
        cost = costs.measure(entry, "options" if question == "options" else "calls", effort)
    except (ServerError, sipp.SippError, RuntimeError) as error:
        return {"status": "failed", "why": str(error)}
    finally:
        end_descendants(0.2)
    return {"status": "ok", "cpu_s": cost.cpu_s, **dataclasses.asdict(cost.told)}


def one_run(questions: list[str], entries: list[Entry], effort: Effort, title: str) -> Run:
    """Everything once, with a line on stderr for each. Neighbours in time are compared."""
    run: Run = {}
    for question in questions:
        for entry in entries:
            begun = time.monotonic()
            result = ask(question, entry, effort)
            run.setdefault(question, {})[entry.name] = result
            print(f"{title}: {question}, {entry.name}: {brief(result)} [{time.monotonic() - begun:.0f} s]",
                  file=sys.stderr)  # fmt: skip
    return run


def brief(result: Result) -> str:
    """A result in a few words."""
    if result["status"] != "ok":
        return f"{result['status']}: {result['why'].splitlines()[0]}"
    return ", ".join(f"{key} {value:,.4g}" for key, value in result.items() if key != "status")


def broken(runs: list[Run]) -> list[str]:
    """What could not be measured and should have been."""
    return [
        f"{question}, {name}: {result['why']}"
        for run in runs
        for question, row in run.items()
        for name, result in row.items()
        if result["status"] == "failed"
    ]


def as_json(runs: list[Run], effort: Effort) -> dict[str, Any]:
    """The machine, what was asked, every figure of every run."""
    return {"machine": machine(), "effort": dataclasses.asdict(effort), "runs": runs}


def options_of(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    known = list(ENTRIES)
    parser.add_argument("--runs", type=int, help="medians and ranges over so many (3; with --quick 1)")
    parser.add_argument("--quick", action="store_true", help="a few seconds for each; the figures are rough")
    parser.add_argument(
        "--only", type=lambda text: names(text, known), default=known, metavar="SERVER,…", help=", ".join(known)
    )
    parser.add_argument(
        "--questions",
        type=lambda text: names(text, QUESTIONS),
        default=list(QUESTIONS),
        metavar="QUESTION,…",
        help=", ".join(QUESTIONS),
    )
    parser.add_argument("--options-rate", type=int, metavar="N", help="OPTIONS per second")
    parser.add_argument("--calls-rate", type=int, metavar="N", help="calls per second")
    parser.add_argument("--seconds", type=float, help="how long each load lasts")
    parser.add_argument("--order-calls", type=int, metavar="N", help="in how many calls the order is looked at")
    parser.add_argument("--processes", type=int, metavar="N", help="SIP processes of each server")
    parser.add_argument("--json", type=Path, metavar="FILE", help="everything that was measured")
    return parser.parse_args(arguments)


def effort_of(options: argparse.Namespace) -> Effort:
    """How much is offered: the usual or the quick measure, with what was asked for in its stead."""
    asked = {
        "options_per_s": options.options_rate,
        "calls_per_s": options.calls_rate,
        "seconds": options.seconds,
        "order_calls": options.order_calls,
        "processes": options.processes,
    }
    wanted = {name: value for name, value in asked.items() if value is not None}
    return dataclasses.replace(QUICK if options.quick else Effort(), **wanted)


def main() -> int:
    options = options_of(None)
    effort = effort_of(options)
    count = options.runs or (1 if options.quick else 3)
    entries = [ENTRIES[name] for name in options.only]
    adopt_orphans()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # on the way out servers and loads are stopped
    runs = [one_run(options.questions, entries, effort, f"run {number + 1} of {count}") for number in range(count)]
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
