"""How many parkings does the simulated machine see in a second, with all faults on, and does one of them go wrong?

    python benchmarks/simulation.py [--parkings 1000000] [--seed 0] [--processes 2]

Each process runs plan after plan, each with its own seed: OPTIONS and INVITEs that are parked ten times each, through a
network that loses, doubles and delays packets, while processes are killed and stopped and the script is loaded again.
Prints the rate, what went wrong on purpose, and each rule that was broken with the seed that shows it; exit code 1
where one was.
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import count

from msgspec.structs import replace

from runtime.simulation.events import Fault
from runtime.simulation.faults import draw_faults
from runtime.simulation.plan import Item, Plan, Send
from runtime.simulation.run import Run
from runtime.simulation.simulator import SimulationFailed, Simulator

FAULTS: tuple[Fault, ...] = ("crash", "loss", "stall", "cancel", "reload", "delay", "duplicate", "slow")
CALLS = 4000
"""In one run; each is parked ten times."""
EVERY_S = 0.0004
FAULT_EVERY_S = 0.02
"""Between two faults that befall processes."""
REST_S = 80.0
"""After the last call: all is over then, and nothing may be held any more."""
SCRIPT = """
loadmodule "proto_udp.so"
loadmodule "sl.so"
loadmodule "signaling.so"
loadmodule "tm.so"
loadmodule "mi_script.so"
loadmodule "cachedb_local.so"
loadmodule "bench.so"
socket=udp:192.0.2.1:5060
modparam("mi_script", "timeout", 5)
route {
    t_newtran();
    $avp(own) = $ci;
    $var(n) = 0;
    cache_store("local", "$ci", "$ci");
    async(mi("bench_wait $rU", $var(r)), parked, 1);
}
route[parked] {
    if ($rc == -487) {
        exit;
    }
    $var(n) = $var(n) + 1;
    if ($var(n) < 10) {
        async(mi("cache_fetch local $avp(own)", $var(r)), parked);
        exit;
    }
    if ($avp(own) != $ci) {
        exit; # with somebody else's AVPs it is never answered, which is seen
    }
    t_reply(200, "OK");
}
"""


def request(number: int) -> str:
    """Every third one is an INVITE. Its user part, which the script takes for milliseconds, tells neighbours apart, and
    is more than they may take now and then.
    """
    method = "INVITE" if number % 3 == 0 else "OPTIONS"
    host = f"198.51.{100 + number // 250}.{number % 250 + 1}"
    lines = [
        f"{method} sip:{2000 if number % 100 == 50 else number % 7}@192.0.2.1 SIP/2.0",
        f"Via: SIP/2.0/UDP {host}:5060;branch=z9hG4bK-{number}",
        f"From: <sip:a@example.com>;tag=a{number}",
        "To: <sip:b@192.0.2.1>",
        f"Call-ID: call-{number}",
        f"CSeq: 1 {method}",
        f"Contact: <sip:a@{host}>",
        "Max-Forwards: 70",
        "Content-Length: 0",
    ]
    return "\r\n".join([*lines, "", ""])


def plan_of(seed: int) -> Plan:
    """One run."""
    calls: list[Item] = [Send(0.1 + EVERY_S * number, f"uac-{number}", request(number)) for number in range(CALLS)]
    plan = Plan("parked.cfg", SCRIPT, calls, seed, 0.1 + EVERY_S * CALLS + REST_S, everything=False, quiet=True)
    return draw_faults(replace(plan, sip=2, workers=2), FAULTS, every_s=FAULT_EVERY_S)


class Seen:
    """What all runs have shown so far.

    Args:
        wanted: parkings.
    """

    def __init__(self, wanted: int) -> None:
        self.wanted = wanted
        self.parkings = self.runs = self.broken = 0
        self.faults: Counter[str] = Counter()
        self._began_at = time.monotonic()

    @property
    def took_s(self) -> float:
        return time.monotonic() - self._began_at

    def add(self, seed: int, run: Run) -> None:
        self.runs += 1
        self.parkings += run.parkings
        self.broken += len(run.violations)
        self.faults.update(run.faults)
        for violation in run.violations:
            print(f"seed {seed}: {violation.rule}: {violation.what}", flush=True)
        if sys.stderr.isatty():
            part = min(1.0, self.parkings / self.wanted)
            print(f"\r[{'=' * int(40 * part):40}] {self.parkings:,} parkings", end="", file=sys.stderr, flush=True)

    def tell(self) -> None:
        if sys.stderr.isatty():
            print(file=sys.stderr)
        spent = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu_s = spent.ru_utime + spent.ru_stime
        rate = f"{self.parkings / self.took_s:,.0f}/s, {cpu_s:.0f} s of CPU time"
        print(f"{self.parkings:,} parkings in {self.runs} runs and {self.took_s:.1f} s: {rate}; {self.broken} broken")
        print("on purpose, and of each 1,000 parkings:")
        for what, times in sorted(self.faults.items()):
            print(f"  {what:22} {times:9,} {times / max(1, self.parkings) * 1000:9.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parkings", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    seeds, seen = count(options.seed), Seen(options.parkings)

    def keep_running(cpu: int) -> None:
        with Simulator(cpu=cpu) as simulator:
            while seen.parkings < seen.wanted:
                seed = next(seeds)
                seen.add(seed, simulator.run(plan_of(seed)))
            with suppress(SimulationFailed):
                simulator.advance(0.0)  # refused once the last run has been waited for: its CPU time counts too

    with ThreadPoolExecutor(options.processes) as pool:
        list(pool.map(keep_running, range(options.processes)))
    seen.tell()
    sys.exit(1 if seen.broken else 0)


if __name__ == "__main__":
    main()
