"""Does every request get its one answer while the server's processes are killed, stopped and reloaded under it?

    python benchmarks/soak.py [--seconds 30] [--rate 500] [--every 5] [--seed N] [--json FILE]

Requests go at a steady rate through a real server: OPTIONS that the script answers, and calls with Record-Route and
dialogs. One in ten is parked (`async(mi(...))`) while a management command of 0 to 50 ms is run for it; a few more have
one run while they go on (`launch(mi(...))`), or while their process stands still (`mi(...)`). Meanwhile a SIP process,
a job worker or the MI process is killed (SIGKILL) or stopped for up to 2 s (SIGSTOP, SIGCONT), or the script reloaded,
at random; what is done, and when, follows from the seed.

Every request must have one final answer. The answer says through what the request has come: the token that was parked,
the token that the command gave back, who parked and who resumed it and under which version of the script. What is not
so is a **violation**, unless a death explains it; `soak_load/ledger.py` says how that is decided. So is a process that
ends without having been killed, an error in the server's log, and a reload that fails. Each is shown with what
happened to its request, the log about it, and how to see it again.

Memory, descriptors, files, shared memory and processes are looked at each second; `soak_load/growth.py` says what
counts as flat.

Where more is offered than server and machine can serve, requests are lost and sent again, and the oldest ones are not
answered within their 32 s. Those are violations as well; that datagrams found no room in the server's socket is said
beside them, and the run is to be repeated with a lower rate or on a machine that has nothing else to do.

The exit code is 1 where there was a violation, something grew or the server gave up, 2 where nothing could be
measured, 0 otherwise.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import secrets
import select
import signal
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any, Final

import msgspec
from mi_load.site import ask
from pools_peers.processes import adopt_orphans, end_descendants
from sip_ends import HOST, start_end
from soak_load.chaos import Chaos, plan
from soak_load.growth import trends
from soak_load.house import Sample, sample
from soak_load.ledger import Death, Finding, Role
from soak_load.report import Result, as_json, details, log_findings, overload, tables
from soak_load.site import EVENT, Site, shared_folder
from soak_load.traffic import Plan

from runtime.bench.machine import machine
from runtime.traffic.server import Server, ServerError, free_port

_READY_S: Final = 30.0
_TURN_S: Final = 0.02
_LINE_EVERY_S: Final = 10.0


class SoakError(Exception):
    """The traffic failed."""


class Traffic:
    """The traffic's process.

    Args:
        offered: what it offers.
    """

    def __init__(self, offered: Plan) -> None:
        self._process = start_end("soak_load.traffic", offered)
        self._unread = b""

    def tell(self, death: Death) -> None:
        """Somebody is about to die."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # what it said last tells why
            os.write(self._process.stdin.fileno(), json.dumps(death).encode() + b"\n")

    def said(self, within_s: float) -> Iterator[dict[str, Any]]:
        """What it has said; waits so long for something.

        Raises:
            SoakError: it ended before it was through.
        """
        output: IO[bytes] | None = self._process.stdout
        assert output is not None
        if not select.select([output], [], [], within_s)[0]:
            return
        data = os.read(output.fileno(), 1 << 20)
        if not data:
            raise SoakError(f"the traffic ended with {self._process.wait()}")
        *lines, self._unread = (self._unread + data).split(b"\n")
        yield from map(json.loads, lines)

    def end(self) -> None:
        """It is not needed any more."""
        self._process.kill()
        self._process.communicate()


class Soak:
    """One run.

    Args:
        options: the command line.
        site, server: what is soaked; it is ready.
    """

    def __init__(self, options: argparse.Namespace, site: Site, server: Server) -> None:
        self._options, self._site, self._server = options, site, server
        self._samples: list[Sample] = []
        self._told: dict[str, Any] = {"counts": {}, "again": {}, "violations": [], "explained": []}
        """What the traffic said last."""
        self._latency_ms: list[tuple[float, float]] = []
        self._shown_at = 0.0

    def run(self) -> Result:
        """Offer the load, disturb it, look at the house, and say what was found.

        Raises:
            SoakError: the traffic failed.
        """
        options = self._options
        run = f"soak{os.getpid()}x{secrets.token_hex(3)}"
        ports = self._site.port, self._site.uas_port, self._site.told_port
        runner: Role = "worker" if options.workers else "sip"
        traffic = Traffic(Plan(*ports, run, options.rate, options.seconds, options.seed, runner))
        actions = plan(options.seed, options.every, options.seconds)
        chaos = Chaos(actions, time.monotonic(), self._server.pid, self._site, traffic.tell)
        try:
            self._through(traffic, chaos)
        except ServerError as error:
            return self._result(chaos, Finding("the server is gone", str(error), "", time.monotonic()))
        finally:
            chaos.end()
            traffic.end()
        return self._result(chaos)

    def _through(self, traffic: Traffic, chaos: Chaos) -> None:
        begun = time.monotonic()
        while True:
            now = time.monotonic()
            self._server.check_alive()
            chaos.turn(now)
            if len(self._samples) <= now - begun <= self._options.seconds:
                self._samples.append(sample(now - begun, self._server.pid, self._site.runtime_folder, self._site.port))
            for told in traffic.said(_TURN_S):
                self._told |= told
                if "violations" in told:
                    return
                self._latency_ms.append((told["p50_ms"], told["p99_ms"]))
                self._show(told, chaos)

    def _show(self, told: dict[str, Any], chaos: Chaos) -> None:
        terminal, now = sys.stderr.isatty(), time.monotonic()
        if not terminal and now < self._shown_at + _LINE_EVERY_S:
            return
        self._shown_at = now
        counts, left_s = told["counts"], max(0.0, self._options.seconds - told["elapsed_s"])
        wrong = sum(count for name, count in counts.items() if name.startswith("violation: "))
        done = ", ".join(f"{count} {what}s" for what, count in chaos.counts.items())
        memory = f"{sum(self._samples[-1].memory_mib.values()):.0f} MiB" if self._samples else ""
        line = f"{left_s:5.0f} s left: {counts.get('answered', 0):,} of {counts.get('begun', 0):,} answered, "
        line += f"{told['open']} open, {wrong} violations, p99 {told['p99_ms']:.0f} ms; {done}; {memory}"
        print(f"\r{line}\x1b[K" if terminal else line, end="" if terminal else "\n", file=sys.stderr, flush=True)

    def _result(self, chaos: Chaos, *others: Finding) -> Result:
        if sys.stderr.isatty():
            print(file=sys.stderr)
        log, now = self._server.log().splitlines(), time.monotonic()
        found = [*others, *log_findings(log, chaos.killed, now)]
        found += [Finding("reload", problem.text, "", problem.at) for problem in chaos.problems]
        return Result(self._told, found, chaos.log, self._samples, trends(self._samples), log, self._latency_ms)


def measure(options: argparse.Namespace) -> Result:
    """Start a server and soak it.

    Raises:
        ServerError: the server did not start.
        SoakError: the traffic failed.
    """
    with shared_folder() as folder:
        ports = free_port(), free_port(), free_port(), free_port(socket.SOCK_STREAM)
        site = Site(Path(folder), *ports, options.processes, options.workers, options.readers)
        with site.start() as server:
            server.wait_ready(_READY_S)
            _subscribe(site)
            return Soak(options, site, server).run()


def _subscribe(site: Site) -> None:
    """Have the events come to the traffic; MI may answer somewhat later than SIP."""
    params = {"event": EVENT, "socket": f"udp:{HOST}:{site.told_port}", "expire": 7 * 86_400}
    deadline = time.monotonic() + _READY_S
    while True:
        try:
            answer = ask(site.http_port, "event_subscribe", params)
            break
        except OSError as error:
            if time.monotonic() > deadline:
                raise SoakError(f"MI does not answer: {error}") from error
            time.sleep(0.05)
    if answer.get("result") != "OK":
        raise SoakError(f"the events could not be subscribed to: {answer}")


def options_of(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=30, help="how long the load lasts (30)")
    parser.add_argument("--rate", type=float, default=500, help="requests begun in a second (500)")
    parser.add_argument("--every", type=float, default=5, help="seconds between two disturbances (5)")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(1 << 31), help="of the load and the disturbances")
    parser.add_argument("--processes", type=int, default=4, metavar="N", help="SIP processes of the server (4)")
    parser.add_argument(
        "--workers", type=int, default=2, metavar="N", help="job workers (2), up to twice as many; 0: none"
    )
    parser.add_argument("--readers", type=int, default=1, metavar="N", help="SIP processes that read, at least (1)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="everything that was found")
    return parser.parse_args(arguments)


def command_of(options: argparse.Namespace) -> str:
    """How to see the same again."""
    names = ("seconds", "rate", "every", "seed", "processes", "workers", "readers")
    return "python benchmarks/soak.py " + " ".join(f"--{name} {getattr(options, name)}" for name in names)


def main() -> int:
    options = options_of(None)
    adopt_orphans()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # on the way out the server and the traffic are stopped
    print(command_of(options), file=sys.stderr)
    try:
        result = measure(options)
    except (ServerError, SoakError, OSError) as error:
        print(f"not measured: {error}", file=sys.stderr)
        return 2
    finally:
        end_descendants(0.2)
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        found = {"machine": msgspec.to_builtins(machine()), "command": command_of(options), **as_json(result)}
        options.json.write_text(json.dumps(found, indent=1))
    print("\n\n".join(tables(result)))
    for line in [*overload(result), *details(result, command_of(options))]:
        print(line)
    return 1 if result.failed else 0


if __name__ == "__main__":
    sys.exit(main())
