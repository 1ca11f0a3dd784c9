"""The ready state machine: a good script passes it, and a script that breaks the promise does not."""

from __future__ import annotations

import pytest
from hypothesis import Phase, settings
from hypothesis.stateful import invariant, rule

from runtime.testing import LaybyMachine, Server, run_machine

pytestmark = pytest.mark.processes

SCRIPT = """
loadmodule "proto_udp.so"
loadmodule "sl.so"
loadmodule "tm.so"
loadmodule "rr.so"
loadmodule "mi_script.so"
loadmodule "sipmsgops.so"
loadmodule "bench.so"

route {
    if (has_totag()) {
        loose_route();
        t_relay();
        exit;
    }
    if (is_method("CANCEL")) {
        t_relay();
        exit;
    }
    if (!is_method("INVITE")) {
        if ($rU == "parked") async(mi("bench_sleep 20", $var(r)), answer);
        if ($rU == "silent") exit;
        if ($rU == "hanging") {
            t_newtran();
            t_reply(200, "OK");
            async(mi("bench_wait 3000", $var(r)), quiet);
        }
        if ($rU == "twice") sl_send_reply(500, "And more");
        sl_send_reply(200, "OK");
        exit;
    }
    record_route();
    if ($rU == "parked") async(mi("bench_sleep 20", $var(r)), relay);
    t_relay();
}
route[quiet] { exit; }
route[answer] { t_reply(200, "OK"); }
route[relay] { t_relay(); }
"""
SHORT = settings(
    max_examples=5, stateful_step_count=20, database=None, deadline=None, phases=[Phase.explicit, Phase.generate]
)


class Parking(LaybyMachine):
    users = ("bob", "parked")
    faults = ("MI worker", "SIP")


@pytest.fixture(scope="module")
def server(layby_shared_server) -> Server:
    return layby_shared_server(SCRIPT, options=("--udp-workers", "2", "--mi-workers", "2"))


def test_a_script_that_parks_keeps_its_promise(server: Server) -> None:
    run_machine(Parking, server, SHORT)
    assert server.statistic("async:parked") > 0


class Broken(LaybyMachine):
    faults = ()
    limit_s = 0.5


class Silent(Broken):
    users = ("silent",)


class Twice(Broken):
    users = ("twice",)


class Hanging(Broken):
    users = ("hanging",)


@pytest.mark.parametrize(
    ("machine", "said"),
    [
        (Silent, r"no final reply (OPTIONS|MESSAGE) within 0\.5 s"),
        (Twice, r"finals=\[500, 200"),
        (Hanging, "is parked"),
    ],
)
def test_a_script_that_breaks_it_does_not_pass(server: Server, machine: type[LaybyMachine], said: str) -> None:
    with pytest.raises((AssertionError, pytest.fail.Exception), match=said):
        run_machine(machine, server, settings(SHORT, max_examples=100))  # until it is found


def test_its_users_rules_and_what_they_say_must_hold_are_part_of_it(server: Server) -> None:
    class Counting(LaybyMachine):
        faults = ()
        counted = 0

        @rule()
        def count(self) -> None:
            self.counted += 1

        @invariant()
        def few_are_counted(self) -> None:
            assert self.counted < 2, "too many"

    with pytest.raises(AssertionError, match="too many"):
        run_machine(Counting, server, SHORT)


def test_a_server_that_ends_is_noticed(layby_server) -> None:
    server = layby_server(SCRIPT, options=("--udp-workers", "1", "--mi-workers", "1"))
    server.stop()
    with pytest.raises(AssertionError, match="shutting down"):
        run_machine(Broken, server, SHORT)
