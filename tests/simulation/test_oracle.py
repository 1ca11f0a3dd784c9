"""The oracle: what is wrong with a run is found, whatever planted it, and a failing plan becomes short."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import pytest
from msgspec.structs import replace

from runtime.simulation.faults import draw_faults
from runtime.simulation.plan import CrashInJob, Item, Plan, Stall
from runtime.simulation.shrinking import shrink
from runtime.simulation.simulator import Simulator
from tests.simulation.test_machine import HEAD, LATER, sends

ALL = ("crash", "loss", "stall", "cancel", "reload", "delay", "duplicate", "slow")

STUCK = f"""{HEAD}
route {{
    t_newtran();
    async(mi("bench_wait 60000", $var(r)), resumed, 1);
}}
route[resumed] {{
    t_reply(480, "Later");
}}
"""


KEEPS = LATER.replace("    async", "    $var(own) = $ci;\n    async")
CANCELLED = STUCK.replace("$var(r)), resumed, 1)", "$var(r)), resumed, 5)")
RELAYED = f"""{HEAD}
route {{
    $du = "sip:192.0.2.200";
    t_relay();
}}
"""
QUICK = LATER.replace("bench_wait $rU", "uptime")
BATCHES = LATER.replace("mi(", "mi_gather(").replace("bench_wait $rU", "bench_wait $rU; bench_wait 5")
LAUNCHED = f"""{HEAD}
route {{
    launch(mi("bench_wait $rU"), told);
    send_reply(202, "Accepted");
}}
route[told] {{
    xlog("L_DBG", "$rc\n");
}}
"""
LAUNCHED_BATCHES = LAUNCHED.replace("mi(", "mi_gather(").replace("bench_wait $rU", "bench_wait $rU; bench_wait 5")


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    with Simulator(["tests.simulation.planted:arm"]) as one:
        yield one


class Planted(NamedTuple):
    bug: str
    rule: str
    script: str = LATER
    method: str = "OPTIONS"
    items: tuple[Item, ...] = ()

    def plan(self, bug: str | None = None) -> Plan:
        traffic: list[Item] = [*sends(40, method=self.method)]
        if self.script == CANCELLED:
            traffic = [replace(one, cancel_at_s=one.at_s + 0.2) for one in sends(40, method=self.method)]
        name = f"{bug or self.bug}.cfg"
        return Plan(name, self.script, [*traffic, *self.items], seed=1, until_s=80.0, everything=False)


PLANTED = [
    Planted("resumes_twice", "resumes once"),
    Planted("swaps_answers", "has its own answer"),
    Planted("loses_a_job", "is let go"),
    Planted("ignores_deadlines", "resumes in time", STUCK),
    Planted("keeps_transactions", "is let go", STUCK, "INVITE"),
    Planted("answers_twice", "is answered once"),
    Planted("forgets_reports", "is reported once", LAUNCHED),
    Planted("forgets_the_dead", "resumes", LATER, "OPTIONS", (CrashInJob(0.2),)),
    Planted("forgets_transactions", "is answered", STUCK),
    Planted("keeps_relays", "is let go", RELAYED, "INVITE"),
    Planted("keeps_fingerprints", "is let go"),
    Planted("drops_answers", "is let go", QUICK),
    Planted("reuses_serials", "resumes"),
    Planted("swaps_contexts", "is itself"),
    Planted("shares_variables", "is itself", KEEPS),
    Planted("resumes_at_once", "resumes afresh", STUCK, "INVITE"),
    Planted("forgets_cancels", "hears of a CANCEL", CANCELLED, "INVITE"),
    Planted("reports_wrong_answers", "has its own answer", LAUNCHED),
    Planted("mixes_up_batches", "has its own answer", BATCHES),
    Planted("mixes_up_batches", "has its own answer", LAUNCHED_BATCHES),
    Planted("runs_jobs_twice", "runs once"),
    Planted("never_clears_the_board", "is let go"),
    Planted("wakes_late", "resumes in time", STUCK),
    Planted("gives_up_early", "resumes in time", STUCK),
    Planted("invents_deaths", "hears of a loss"),
    Planted("tells_of_the_dead_late", "hears of a loss", LATER, "OPTIONS", (CrashInJob(0.2),)),
]


@pytest.mark.parametrize("planted", PLANTED, ids=lambda planted: planted.bug)
def test_a_planted_bug_is_found(simulator: Simulator, planted: Planted) -> None:
    assert planted.rule in {violation.rule for violation in simulator.run(planted.plan()).violations}


def test_a_process_that_reckons_forever_is_found_and_killed(simulator: Simulator) -> None:
    plan = replace(PLANTED[0].plan("reckons_forever"), items=[*sends(8)], patience_s=1.5, until_s=0.5)
    violations = simulator.run(plan).violations

    assert {violation.rule for violation in violations} == {"stays alive"}
    assert all("busy for more than 1.5 s" in violation.what for violation in violations)


@pytest.mark.parametrize("planted", [*PLANTED[2:5], PLANTED[6]], ids=lambda planted: planted.bug)
def test_without_the_bug_all_is_well(simulator: Simulator, planted: Planted) -> None:
    assert simulator.run(planted.plan("nothing")).violations == []


def test_a_failing_plan_shrinks_to_what_it_takes(simulator: Simulator) -> None:
    plan = PLANTED[5].plan()
    plan = draw_faults(replace(plan, items=plan.items[:16]), ("stall", "loss"), every_s=0.02)

    def fails(one: Plan) -> bool:
        return any(violation.rule == "is answered once" for violation in simulator.run(one).violations)

    assert any(isinstance(item, Stall) for item in plan.items)
    shrunk = shrink(plan, fails)
    assert fails(shrunk)
    assert len(shrunk.items) == 1
    assert shrunk.network.loss == 0.0


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize(("method", "script"), [("OPTIONS", LAUNCHED), ("OPTIONS", LATER), ("INVITE", LATER)])
def test_with_all_faults_nothing_is_broken(simulator: Simulator, seed: int, method: str, script: str) -> None:
    plan = replace(PLANTED[0].plan("nothing"), text=script, items=[*sends(200, method=method)], seed=seed)
    plan = draw_faults(plan, ALL, 0.05)
    assert simulator.run(plan).violations == []
