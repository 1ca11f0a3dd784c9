"""Calls of two phones: each step is seen by the other end, and what the ends got is told."""

from __future__ import annotations

import pytest
from hypothesis import Phase, given, settings

from runtime.testing import Call, CallPlan, Peer, Server, play
from runtime.testing.strategies import call_plans

pytestmark = pytest.mark.processes

SCRIPT = """
loadmodule "proto_udp.so"
loadmodule "sl.so"
loadmodule "tm.so"
loadmodule "rr.so"
loadmodule "mi_script.so"
loadmodule "sipmsgops.so"

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
    if ($rU == "nobody") {
        sl_send_reply(403, "Forbidden");
        exit;
    }
    record_route();
    if ($rU == "parked") async(mi("uptime"), relayed);
    t_relay();
}
route[relayed] { t_relay(); }
"""


@pytest.fixture(scope="module")
def server(layby_shared_server) -> Server:
    return layby_shared_server(SCRIPT, options=("--udp-workers", "2", "--mi-workers", "1"))


@pytest.fixture(scope="module")
def phones(server: Server) -> tuple[Peer, Peer]:
    return server.peer(), server.peer()


@pytest.mark.parametrize("user", ["bob", "parked"])
@pytest.mark.parametrize(
    ("plan", "finals"),
    [
        (CallPlan(), [("INVITE", 200), ("BYE", 200)]),
        (CallPlan(ended_by="callee"), [("INVITE", 200), ("BYE", 200)]),
        (CallPlan(again=("callee", "caller")), [("INVITE", 200)] * 3 + [("BYE", 200)]),
        (CallPlan(final=486), [("INVITE", 486)]),
        (CallPlan(provisional=(183, 180), cancelled=True), [("CANCEL", 200), ("INVITE", 487)]),
    ],
)
def test_a_call_goes_as_it_is_planned(phones: tuple[Peer, Peer], user: str, plan: CallPlan, finals: list) -> None:
    caller, callee = phones
    assert play(plan, caller, callee, f"sip:{user}@127.0.0.1:{callee.port}") == finals
    assert [one.start for end in phones for one in end.received if one.status != 100] == []


@given(call_plans(["bob", "parked", "nobody"]))
@settings(max_examples=20, phases=[Phase.explicit, Phase.generate])
def test_any_call_ends(phones: tuple[Peer, Peer], plan: CallPlan) -> None:
    finals = play(plan, *phones)
    assert finals[-1][0] in ("INVITE", "BYE")
    assert (finals == [("INVITE", 403)]) == (plan.user == "nobody")
    assert all(status < 300 for method, status in finals if method in ("BYE", "CANCEL"))


def test_a_call_that_the_server_refuses_has_not_arrived(phones: tuple[Peer, Peer]) -> None:
    call = Call(*phones, f"sip:nobody@127.0.0.1:{phones[0].server[1]}")
    assert call.place() is None
    assert call.finals == [("INVITE", 403)]
    with pytest.raises(pytest.fail.Exception, match=r"has not arrived; it was answered by \[\('INVITE', 403\)\]"):
        call.ring()


def test_where_the_other_end_does_not_see_a_step_the_test_fails(phones: tuple[Peer, Peer]) -> None:
    with pytest.raises(pytest.fail.Exception, match=r"no 180 INVITE within 0\.1 s"):
        phones[0].wait_reply("unknown", 180, "INVITE", limit_s=0.1)
