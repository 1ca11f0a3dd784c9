"""The simulated machine as users' tests have it: steps and time in the test's hands, and what broke the promise."""

from __future__ import annotations

import pytest
from hypothesis import Phase, settings

from runtime.simulation.events import Parked, Resumed
from runtime.simulation.plan import Answer
from runtime.simulation.simulator import SimulationFailed
from runtime.testing import SimulatedMachine, run_machine

SCRIPT = """
loadmodule "proto_udp.so"
loadmodule "sl.so"
loadmodule "tm.so"
loadmodule "rr.so"
loadmodule "sipmsgops.so"
loadmodule "mi_script.so"
loadmodule "bench.so"
loadmodule "cachedb_local.so"
socket=udp:192.0.2.1:5060

route {
    if (has_totag()) {
        loose_route();
        t_relay();
        exit;
    }
    if ($rU == "silent") async(mi("uptime", $var(r)), quiet);
    if ($rU == "slow") async(mi("bench_wait 2000", $var(r)), done);
    record_route();
    $du = "sip:192.0.2.200";
    t_relay();
}
route[done] { t_reply(200, "$rc"); }
route[quiet] { exit; }
"""

SHORT = settings(
    max_examples=6, stateful_step_count=20, database=None, deadline=None, phases=[Phase.explicit, Phase.generate]
)


def test_time_passes_when_the_test_lets_it(layby_sim) -> None:
    sim = layby_sim(SCRIPT)
    asked = sim.ask("OPTIONS", "slow")
    begun = sim.now_s
    assert sim.finals(asked) == []
    sim.advance(1.0)
    assert sim.finals(asked) == []
    assert [type(event) for event in sim.events if isinstance(event, Parked | Resumed)] == [Parked]
    sim.advance(1.5)
    assert (sim.finals(asked), sim.now_s) == ([200], begun + 2.5)
    assert sim.check().parkings == 1


def test_what_is_relayed_is_answered_as_the_test_says(layby_sim) -> None:
    sim = layby_sim(SCRIPT)
    taken = sim.ask("INVITE", "bob", bye_after_s=1.0)
    refused = sim.ask("INVITE", "bob", answers=[Answer(0.01, 180), Answer(0.5, 486)])
    given_up = sim.ask("INVITE", "bob", answers=[Answer(0.01, 180)], cancel_after_s=0.3)
    sim.advance(5.0)
    assert [sim.finals(one) for one in (taken, refused, given_up)] == [[200], [486], [487]]
    sim.check()


def test_faults_at_any_moment_and_the_promise_holds(layby_sim) -> None:
    sim = layby_sim(SCRIPT)
    asked = [sim.ask("OPTIONS", "slow", copies_after_s=[0.1]) for _ in range(3)]
    sim.advance(1.0)
    sim.crash("worker-1")
    sim.stall("sip-1", for_s=1.0)
    sim.advance(0.5)
    sim.reload()
    sim.crash("sip-2")
    sim.mi("cache_store", ["local", "a", "1"])
    sim.check()
    assert [sim.finals(one) for one in asked] == [[200]] * 3
    assert "OK" in [answer.get("result") for answer in sim.answers]


def test_the_same_steps_are_the_same_run(layby_sim) -> None:
    def run(seed: int):
        sim = layby_sim(SCRIPT, seed=seed)
        sim.ask("INVITE", "bob")
        sim.crash_in_job()
        sim.ask("OPTIONS", "slow")
        sim.advance(1.0)
        return sim.finish().events

    assert run(1) == run(1)
    assert run(1) != run(2)


def test_a_promise_that_is_broken_fails_the_test_with_the_line_that_parked_and_a_diagram(layby_sim) -> None:
    sim = layby_sim(SCRIPT)
    sim.ask("MESSAGE", "silent")
    line = 1 + SCRIPT.splitlines().index('    if ($rU == "silent") async(mi("uptime", $var(r)), quiet);')
    said = rf"script\.cfg:{line}: is answered: MESSAGE call-1 has no final answer"
    with pytest.raises(pytest.fail.Exception, match=said) as failed:
        sim.check()
    assert "uac-1" in str(failed.value)


def test_a_script_that_is_wrong_is_said(layby_sim) -> None:
    with pytest.raises(SimulationFailed, match="unknown function"):
        layby_sim("route { nonsense(); }")


def test_faults_are_of_processes_that_are_there(layby_sim) -> None:
    sim = layby_sim(SCRIPT, sip=1)
    sim.stall("mi-1", for_s=0.1)
    sim.crash("worker-2")
    with pytest.raises(ValueError, match="no process is called sip-2: there are sip-1, worker-1, worker-2, mi-1"):
        sim.crash("sip-2")
    with pytest.raises(ValueError, match="worker"):
        sim.stall("worker", for_s=1.0)


def test_a_run_that_went_wrong_is_not_the_next_ones_concern(layby_sim) -> None:
    sim = layby_sim(SCRIPT)
    sim.stall("sip-1", for_s=float("nan"))
    with pytest.raises(SimulationFailed):
        sim.advance(1.0)
    sim = layby_sim(SCRIPT)
    asked = sim.ask("OPTIONS", "slow")
    sim.check()
    assert sim.finals(asked) == [200]


class Parking(SimulatedMachine):
    users = ("bob", "slow")


class Silent(SimulatedMachine):
    users = ("silent",)
    processes = ()


def test_a_script_that_parks_keeps_its_promise_whatever_is_killed(layby_sim) -> None:
    run_machine(Parking, lambda: layby_sim(SCRIPT), SHORT)


def test_a_script_that_breaks_it_does_not_pass(layby_sim) -> None:
    with pytest.raises(pytest.fail.Exception, match="has no final answer"):
        run_machine(Silent, lambda: layby_sim(SCRIPT), SHORT)
