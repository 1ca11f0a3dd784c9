"""Dialogs of a server that stays in their path: the identifier in Record-Route, and the routes of what is sent."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.harness import Server
from tests.processes.dialog_calls import Call
from tests.sip_peer import Peer

pytestmark = pytest.mark.processes

HEAD = """
loadmodule "rr.so"
loadmodule "dialog.so"
modparam("dialog", "default_timeout", 100)
modparam("dialog", "dlg_match_mode", 0)
"""
ROUTES = """
route {
    if (has_totag()) {
        if (!loose_route()) { sl_send_reply(404, "No Route"); exit; }
        if ($hdr(X-Fix) != NULL) {
            validate_dialog();
            append_hf("X-Valid: $rc\\r\\n");
            fix_route_dialog();
        }
        append_hf("X-Dialog: $DLG_status $DLG_dir\\r\\n");
        t_relay();
        exit;
    }
    if (is_method("CANCEL")) { t_relay(); exit; }
    if (!create_dialog($hdr(X-Flags))) { sl_send_reply(500, "No dialog"); exit; }
    record_route();
    $du = "sip:127.0.0.1:" + $hdr(X-To);
    t_on_failure("again");
    if ($rU == "branch") t_on_branch("each");
    t_relay();
}
branch_route[each] { append_hf("X-Branch: yes\\r\\n"); }
failure_route[again] { if ($T_reply_code == 486) t_relay(); }
"""


@pytest.fixture(scope="module")
def server(start_shared: Callable[..., Server]) -> Server:
    return start_shared(ROUTES, head=HEAD, options=("--udp-workers", "4", "--mi-workers", "1"))


@pytest.fixture
def call(server: Server) -> Iterator[Call]:
    caller, callee = Peer(server.sip_port), Peer(server.sip_port)
    yield Call(caller, callee)
    caller.close()
    callee.close()


def found(server: Server, call: Call) -> dict[str, Any]:
    return dict(server.mi("dlg_list", [call.call_id])["Dialog"])


def did_in(route: str) -> str:
    match = re.search(r";did=([0-9a-f]+\.[0-9a-f]+)", route)
    assert match is not None, route
    return match.group(1)


def test_the_identifier_leads_requests_from_both_ends_to_their_dialog(server: Server, call: Call) -> None:
    call.establish()
    shown = found(server, call)
    assert shown["state"] == 4
    assert did_in(call.arrived.header("Record-Route")) == shown["ID"]
    assert call.exchange("INFO").header("X-Dialog") == "4 downstream"
    assert call.exchange("INFO", upstream=True).header("X-Dialog") == "4 upstream"
    assert call.hang_up(upstream=True).header("X-Dialog") == "5 upstream"
    assert server.mi_error("dlg_list", [call.call_id])["code"] == 404


@pytest.mark.parametrize("user", ["bob", "branch"])
def test_each_attempt_to_reach_the_callee_carries_it_once(server: Server, call: Call, user: str) -> None:
    call.ring(user)
    first = call.arrived.header("Record-Route")
    call.callee.reply(call.arrived, 486)
    call.callee.wait_request("ACK")
    call.arrived = call.callee.wait_request("INVITE")
    assert call.arrived.headers("Record-Route") == [first]
    assert first.count(";did=") == 1
    assert call.arrived.header("X-Branch") == ("yes" if user == "branch" else "")
    call.pick_up()
    call.say("ACK", cseq=1)
    call.callee.wait_request("ACK")
    call.hang_up()


def test_another_calls_identifier_opens_no_dialog(server: Server, call: Call) -> None:
    call.establish()
    other = Call(call.caller, call.callee).establish()
    mine, theirs = did_in(call.answer.header("Record-Route")), did_in(other.answer.header("Record-Route"))
    call.answer.text = call.answer.text.replace(mine, theirs)
    assert call.exchange("BYE").header("X-Dialog") == "<null> <null>"
    assert found(server, call)["state"] == found(server, other)["state"] == 4
    call.answer.text = call.answer.text.replace(theirs, mine)
    call.hang_up()
    other.hang_up()


def test_what_the_middle_sends_goes_by_the_routes_of_both_ends(server: Server, call: Call) -> None:
    # Phones that stand for proxies: one before the server in the path, one behind it.
    before, behind = f"<sip:127.0.0.1:{call.caller.port};lr;p=1>", f"<sip:127.0.0.1:{call.callee.port};lr;p=2>"
    call.ring(extra=f"Record-Route: {before}\r\n")
    ours = call.arrived.headers("Record-Route")[0]
    call.arrived.text = call.arrived.text.replace(f"Record-Route: {ours}", f"Record-Route: {behind}, {ours}", 1)
    call.pick_up()
    call.say("ACK", cseq=1)
    shown = found(server, call)
    assert (shown["caller_route_set"], shown["CALLEES"][0]["callee_route_set"]) == (before, behind)
    assert server.mi("dlg_end_dlg", [shown["ID"]]) == "OK"
    for phone, route in ((call.caller, before), (call.callee, behind)):
        bye = phone.wait_request("BYE")
        assert (bye.ruri, bye.headers("Route")) == (phone.uri, [route])
        phone.reply(bye, 200)


def test_a_request_is_put_on_the_dialogs_path(server: Server, call: Call) -> None:
    call.establish()
    fix = "X-Fix: yes\r\n"
    assert call.exchange("INFO", extra=fix).header("X-Valid") == "1"
    lying = call.say("INFO", extra=fix)
    call.callee.wait_request("INFO")
    text = lying.text.replace(call.callee.uri, "sip:evil@127.0.0.1:9").replace(lying.branch, "z9hG4bKlying")
    call.cseq += 1
    call.caller.send(re.sub(r"CSeq: \d+", f"CSeq: {call.cseq}", text))
    arrived = call.callee.wait_request("INFO")
    assert (arrived.header("X-Valid"), arrived.ruri) == ("-2", call.callee.uri)
    detour = f"Route: <sip:127.0.0.1:{call.caller.port};lr>\r\n"
    routed = call.say("INFO", extra=fix + detour)
    arrived = call.callee.wait(lambda m: m.header("CSeq") == routed.header("CSeq"))
    assert (arrived.header("X-Valid"), arrived.headers("Route")) == ("-3", [])
    call.hang_up()


def test_the_target_moves_with_a_re_invite(server: Server, call: Call) -> None:
    call.establish()
    moved = Peer(server.sip_port)
    sent = call.say("INVITE", upstream=True)
    arrived = call.caller.wait_request("INVITE")
    assert arrived.header("Contact") == f"<{call.callee.uri}>"
    call.caller.reply(arrived, 200, extra="")
    call.callee.wait_reply(call.call_id, 200, "INVITE")
    assert found(server, call)["CALLEES"][0]["callee_contact"] == call.callee.uri

    again = sent.text.replace(f"Contact: <{call.callee.uri}>", f"Contact: <{moved.uri}>")
    again = again.replace(sent.branch, "z9hG4bKmoved").replace(sent.header("CSeq"), "790 INVITE")
    call.callee.send(again)
    call.caller.reply(call.caller.wait_request("INVITE"), 200)
    call.callee.wait_reply(call.call_id, 200, "INVITE")
    assert found(server, call)["CALLEES"][0]["callee_contact"] == moved.uri
    assert server.mi("dlg_end_dlg", [call.call_id]) == "OK"
    moved.reply(moved.wait_request("BYE"), 200)
    moved.close()
