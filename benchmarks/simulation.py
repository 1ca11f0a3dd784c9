"""How many parkings does the simulated machine see in a second, with all faults on, and does one of them go wrong?

    python benchmarks/simulation.py [--parkings 1000000] [--seed 0] [--processes 2]

Each process runs plan after plan, each with its own seed: OPTIONS and INVITEs that are parked five times each, through
a network that loses, doubles and delays packets, while processes are killed and stopped and the script is loaded again.
Prints the rate, and what was broken with the seed that shows it; exit code 1 where something was.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import count

from msgspec.structs import replace

from runtime.simulation.events import Fault
from runtime.simulation.faults import draw_faults
from runtime.simulation.plan import Item, Plan, Send
from runtime.simulation.run import Run
from runtime.simulation.simulator import Simulator

FAULTS: tuple[Fault, ...] = ("crash", "loss", "stall", "cancel", "reload", "delay", "duplicate", "slow")
CALLS = 4000
"""In one run; each is parked five times."""
EVERY_S = 0.0004
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
    async(mi("bench_wait $rU", $var(r)), parked, 1);
}
route[parked] {
    if ($avp(own) != $ci) {
        xlog("L_ERR", "$avp(own) is not $ci\\n");
    }
    if ($rc == -487) {
        exit;
    }
    $var(n) = $var(n) + 1;
    if ($var(n) < 5) {
        async(mi("cache_fetch local $ci", $var(r)), parked);
        exit;
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
    plan = Plan("parked.cfg", SCRIPT, calls, seed, 0.1 + EVERY_S * CALLS + 75.0, everything=False, quiet=True)
    return draw_faults(replace(plan, sip=2, workers=2), FAULTS, every_s=0.1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parkings", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    seeds, began_at = count(options.seed), time.monotonic()
    seen: list[Run] = []

    def keep_running(cpu: int) -> None:
        with Simulator(cpu=cpu) as simulator:
            while sum(run.parkings for run in seen) < options.parkings:
                seed = next(seeds)
                run = simulator.run(plan_of(seed))
                seen.append(run)
                for violation in run.violations:
                    print(f"seed {seed}: {violation.rule}: {violation.what}", flush=True)

    with ThreadPoolExecutor(options.processes) as pool:
        list(pool.map(keep_running, range(options.processes)))
    took_s, parkings = time.monotonic() - began_at, sum(run.parkings for run in seen)
    broken = sum(len(run.violations) for run in seen)
    print(f"{parkings:,} parkings in {len(seen)} runs and {took_s:.1f} s: {parkings / took_s:,.0f}/s; {broken} broken")
    sys.exit(1 if broken else 0)


if __name__ == "__main__":
    main()
