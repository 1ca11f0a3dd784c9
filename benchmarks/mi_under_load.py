"""Do calls keep their pace while an operator pages through dialogs, ends some of them and reloads half a million rules?

    python benchmarks/mi_under_load.py [--rate 200] [--seconds 30] [--rules 500000] [--runs 3] [--json FILE]

Calls go at a steady rate through a real server, with Record-Route and dialogs, each routed by the rules. In each run
there are several variants of the same load, each with a server of its own:

    none      nobody uses the management interface
    paging    an operator reads all dialogs in pages of 100, over and over, and ends one call in twenty
    launch    the same, and a request whose route does launch(mi("dr_reload")) comes whenever the last reload is over
    async     the same with async(mi("dr_reload"))
    mi        the same with mi("dr_reload"), for the contrast: the process that runs it serves no calls meanwhile

Shown are, as medians of the runs with their ranges, what became of the calls, their setup (from the moment at which an
INVITE was due to its 200, less the time for which it rang) and BYE latencies, the CPU seconds of each kind of process,
what the operator has done, and the latencies through those of the same run without MI. Whether the operator saw whole
lists is counted as well: a dialog that lived from before a sweep through the pages to after it must be in it once.

A server whose CPUs are all busy makes calls wait, whoever it is that keeps them busy: the calls' generator runs at
real-time priority where that is allowed, the operator niced.

The exit code is 1 where a call was lost (but under mi), where a sweep skipped or repeated a dialog that it should have
had once, and where the server failed; 0 otherwise.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
from mi_load.calls import Plan, Told
from mi_load.operating import Done, Orders, Sweep
from mi_load.report import Result, Run, figures, tables
from mi_load.site import Site, usage, write_rules
from pools_peers.processes import adopt_orphans, end_descendants
from sip_ends import start_end

from runtime.bench.machine import machine
from runtime.traffic.server import Server, ServerError, free_port

VARIANTS: Final = ("none", "paging", "launch", "async", "mi")
_ENDED_EVERY: Final = 20
_KINDS: Final = ("SIP", "MI worker", "MI")
_READY_S: Final = 120.0


class LoadError(Exception):
    """The load or the operator failed."""


@dataclasses.dataclass(frozen=True, slots=True)
class Effort:
    """How much is offered.

    Args:
        per_s: calls begun in a second.
        seconds: for how long.
        talk_s: how long a call lasts.
        warm_up_s: how long the same load runs before, unmeasured.
        rules: how many there are; without any nothing is routed by them and nothing reloaded.
        pages_per_s: how many pages the operator reads in a second, at most.
        sip_processes, mi_workers: how many of each the server has.
    """

    per_s: float
    seconds: float
    talk_s: float
    warm_up_s: float
    rules: int
    pages_per_s: float
    sip_processes: int
    mi_workers: int


def measure(variant: str, effort: Effort, database: Path | None, uas_port: int) -> Result:
    """One variant against a server of its own.

    Raises:
        ServerError: the server did not start, or is gone at the end.
        LoadError: the load could not be offered, or the operator failed.
    """
    with tempfile.TemporaryDirectory(prefix="mi-load") as folder:
        processes = effort.sip_processes, effort.mi_workers
        site = Site(Path(folder), free_port(), uas_port, free_port(socket.SOCK_STREAM), *processes, database)
        with site.start() as server:
            server.wait_ready(_READY_S)
            warm = dataclasses.replace(_plan(site, effort, "none", "warm"), seconds=effort.warm_up_s, talk_s=0.2)
            _finish(start_end("mi_load.calls", warm), warm.seconds)
            result = _measured(variant, effort, site, server)
            server.check_alive()
    return result


def _measured(variant: str, effort: Effort, site: Site, server: Server) -> Result:
    plan = _plan(site, effort, variant, f"{variant}{os.getpid()}x{int(time.time())}")
    before = usage(server)
    with _operator(variant, effort, site, plan) as operator:
        told = Told(**_finish(start_end("mi_load.calls", plan), plan.seconds + plan.talk_s + plan.grace_s))
        after = usage(server)
        done = _finish(operator, 60.0) if operator else {}
    kinds = {row["PID"]: _kind(row["Type"]) for row in site.ask("ps")["Processes"]}
    return figures(told, _done_of(done), before, after, kinds)


def _plan(site: Site, effort: Effort, variant: str, run: str) -> Plan:
    every = 0 if variant == "none" else _ENDED_EVERY
    return Plan(site.port, site.uas_port, run, effort.per_s, effort.seconds, effort.talk_s, every, effort.rules)


@contextlib.contextmanager
def _operator(variant: str, effort: Effort, site: Site, plan: Plan) -> Iterator[subprocess.Popen[bytes] | None]:
    if variant == "none":
        yield None
        return
    flavour = "" if variant == "paging" else variant
    orders = Orders(site.port, site.http_port, plan.run, flavour, pages_per_s=effort.pages_per_s)
    process = start_end("mi_load.operating", orders)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def _finish(process: subprocess.Popen[bytes], within_s: float) -> dict[str, Any]:
    """Close its standard input and wait for what it has to say."""
    try:
        said, _ = process.communicate(b"", within_s + 30)
    except subprocess.TimeoutExpired as error:
        process.kill()
        process.wait()
        raise LoadError(f"{process.args} did not end in time") from error
    if process.returncode:
        raise LoadError(f"{process.args} ended with {process.returncode}")
    found: dict[str, Any] = json.loads(said)
    return found


def _done_of(values: dict[str, Any]) -> Done:
    """What the operator wrote; JSON has made text of the calls' numbers."""
    sweeps = [Sweep(**sweep) for sweep in values.pop("sweeps", [])]
    ended = {int(number): at for number, at in values.pop("ended", {}).items()}
    return Done(sweeps=sweeps, ended=ended, **values)


def _kind(title: str) -> str:
    """What `ps` calls a process, without what it listens on."""
    return next((kind for kind in _KINDS if title.startswith(kind)), title)


def one_run(variants: list[str], effort: Effort, database: Path | None, uas_port: int, title: str) -> Run:
    """Every variant once, with a line on stderr for each."""
    run: Run = {}
    for variant in variants:
        begun = time.monotonic()
        run[variant] = result = measure(variant, effort, database, uas_port)
        told = f"lost {result['lost']}, setup p99 {result['setup_p99_ms']:.2f} ms, {result['reloads']} reloads"
        print(f"{title}: {variant}: {told} [{time.monotonic() - begun:.0f} s]", file=sys.stderr)
        for line in [*result["lost_how"], *result["problems"]]:
            print(f"  {line}", file=sys.stderr)
    return run


def _names(text: str) -> list[str]:
    found = [name.strip() for name in text.split(",") if name.strip()]
    if unknown := [name for name in found if name not in VARIANTS]:
        raise argparse.ArgumentTypeError(f"unknown: {', '.join(unknown)}; there are {', '.join(VARIANTS)}")
    return found


def options_of(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, default=200, help="calls per second (200)")
    parser.add_argument("--seconds", type=float, default=30, help="how long each load lasts (30)")
    parser.add_argument("--talk", type=float, default=5, help="how long a call lasts, in seconds (5)")
    parser.add_argument("--warm-up", type=float, default=2, help="seconds of load before what is measured (2)")
    parser.add_argument("--rules", type=int, default=500_000, help="how many there are (500000); 0: no routing")
    parser.add_argument("--pages", type=float, default=50, help="read by the operator per second, at most (50)")
    parser.add_argument("--runs", type=int, default=3, help="medians and ranges over so many (3)")
    parser.add_argument("--only", type=_names, metavar="VARIANT,…", help=", ".join(VARIANTS))
    parser.add_argument("--processes", type=int, default=4, metavar="N", help="SIP processes of the server (4)")
    parser.add_argument("--workers", type=int, default=2, metavar="N", help="its job workers (2)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="everything that was measured")
    return parser.parse_args(arguments)


def effort_of(options: argparse.Namespace) -> Effort:
    """How much is offered."""
    return Effort(
        per_s=options.rate,
        seconds=options.seconds,
        talk_s=options.talk,
        warm_up_s=options.warm_up,
        rules=options.rules,
        pages_per_s=options.pages,
        sip_processes=options.processes,
        mi_workers=options.workers,
    )


def as_json(runs: list[Run], effort: Effort) -> dict[str, Any]:
    """The machine, what was asked, every figure of every run."""
    return {"machine": msgspec.to_builtins(machine()), "effort": dataclasses.asdict(effort), "runs": runs}


def main() -> int:
    options = options_of(None)
    effort = effort_of(options)
    variants = options.only or list(VARIANTS if effort.rules else VARIANTS[:2])
    adopt_orphans()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # on the way out servers and loads are stopped
    try:
        runs = _all_runs(options.runs, variants, effort)
    except (ServerError, LoadError) as error:
        print(f"not measured: {error}", file=sys.stderr)
        return 1
    finally:
        end_descendants(0.2)
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(as_json(runs, effort), indent=1))
    print("\n\n".join(tables(runs)))
    return 1 if any(_is_wrong(variant, result) for run in runs for variant, result in run.items()) else 0


def _is_wrong(variant: str, result: Result) -> bool:
    return bool((result["lost"] and variant != "mi") or result["skipped"] or result["repeated"])


def _all_runs(count: int, variants: list[str], effort: Effort) -> list[Run]:
    with tempfile.TemporaryDirectory(prefix="mi-rules") as folder:
        uas_port, database = free_port(), Path(folder) / "rules.db" if effort.rules else None
        if database is not None:
            write_rules(database, effort.rules, uas_port)
        return [
            one_run(variants, effort, database, uas_port, f"run {number + 1} of {count}") for number in range(count)
        ]


if __name__ == "__main__":
    sys.exit(main())
