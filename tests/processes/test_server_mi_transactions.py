"""MI about transactions, whichever process has them: t_reply, t_uac_cancel, t_uac_dlg; nobody waits for their ends."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from threading import Event, Thread
from typing import Any

import pytest

from tests.harness import LIMIT_S, Server, wait_until
from tests.processes.dialog_calls import Call
from tests.sip_peer import Peer, Received

pytestmark = pytest.mark.processes

HEAD = """
loadmodule "rr.so"
loadmodule "dialog.so"
"""
ROUTES = """
route {
    if (has_totag()) { if (loose_route()) t_relay(); exit; }
    if ($rU == "wait") { t_newtran(); cache_store("local", "$ci", "$T_id"); exit; }
    if ($rU == "asks") { async(mi("t_uac_cancel $hdr(X-Call) 1", $avp(r)), asked); exit; }
    if ($rm == "OPTIONS") { sl_send_reply(200, "OK"); exit; }
    create_dialog();
    record_route();
    $du = "sip:127.0.0.1:" + $hdr(X-To);
    t_relay();
}
route[asked] { t_reply(200, "$rc"); }
"""


@pytest.fixture(scope="module")
def server(start_shared: Callable[..., Server]) -> Server:
    return start_shared(ROUTES, head=HEAD, options=("--udp-workers", "3", "--mi-workers", "1"))


@pytest.fixture(scope="module")
def lone(start_shared: Callable[..., Server]) -> Server:
    """One SIP process that does everything."""
    return start_shared(ROUTES, head=HEAD, options=("--udp-workers", "1", "--mi-workers", "0"))


@pytest.fixture
def peers(server: Server) -> Iterator[tuple[Peer, Peer]]:
    made = Peer(server.sip_port), Peer(server.sip_port)
    yield made
    for peer in made:
        peer.close()


def begun(call: Callable[[], Any]) -> Future[Any]:
    """What a call will answer, which is made beside the test."""
    found: Future[Any] = Future()
    Thread(target=lambda: found.set_result(call()), daemon=True).start()
    return found


def waiting(server: Server, peer: Peer, method: str = "INVITE") -> tuple[Received, str]:
    """A request that waits for its reply, and the name of its transaction."""
    request = Received(peer.request(method, f"sip:wait@127.0.0.1:{peer.server[1]}"), ("", 0))
    peer.send(request.text)
    fetch = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "cache_fetch", "params": ["local", request.call_id]})
    found = wait_until(lambda: server.rpc(fetch).get("result"), what="the transaction is there")
    return request, found["value"]


def uac(peer: Peer, method: str, **more: str) -> dict[str, str]:
    return {"method": method, "ruri": peer.uri, "headers": f"From: <sip:a@here>\r\nTo: <{peer.uri}>\r\n", **more}


# t_reply


@pytest.mark.parametrize("number", range(4))
def test_a_reply_through_a_transaction_whichever_process_has_it(
    server: Server, peers: tuple[Peer, Peer], number: int
) -> None:
    request, name = waiting(server, peers[0])
    assert server.mi("t_reply", [183, "Wait", name, "mine"]) == "OK"
    assert peers[0].wait_reply(request.call_id, 183).header("To").endswith(";tag=mine")
    assert server.mi("t_reply", [486, "Busy\r\nX: y", name, "mine", "X-One: 1\\r\\nX-Two: 2"]) == "OK"
    final = peers[0].wait_reply(request.call_id, 486)
    peers[0].ack(request.text, final)
    assert final.start == "SIP/2.0 486 Busy X: y"
    assert (final.headers("X-One"), final.headers("X-Two"), final.headers("X")) == (["1"], ["2"], [])
    assert final.header("To").endswith(";tag=mine")
    again = server.mi_error("t_reply", [200, "OK", name, "mine"])
    assert (again["code"], again["message"]) in ((500, "Reply failed"), (404, "Transaction not found"))


def test_a_reply_with_a_body_and_the_server_s_own_tag(server: Server, peers: tuple[Peer, Peer]) -> None:
    request, name = waiting(server, peers[0], "MESSAGE")
    reply = {"code": "200", "reason": "Gut so", "trans_id": name, "to_tag": "", "body": "héllo"}
    assert server.mi_error("t_reply", reply) == {"code": 400, "message": "Content-Type missing"}
    assert server.mi("t_reply", {**reply, "new_headers": "Content-Type: text/plain"}) == "OK"
    final = peers[0].wait_reply(request.call_id, 200)
    assert final.body.encode("latin-1").decode() == "héllo"
    assert (final.header("Content-Length"), ";tag=" in final.header("To")) == ("6", True)


@pytest.mark.parametrize(
    ("params", "error"),
    [
        ([200, "OK", "INVITE 10.0.0.1 z9hG4bKx", "t"], {"code": 404, "message": "Transaction not found"}),
        ([200, "OK", "", ""], {"code": 404, "message": "Transaction not found"}),
        ([700, "No", "x", "t"], {"code": 400, "message": "Invalid reply code"}),
        ([99, "No", "x", "t"], {"code": 400, "message": "Invalid reply code"}),
        ([200, "OK", "x", "a;b\r\n"], {"code": 400, "message": "Bad parameter value", "data": "to_tag is no token"}),
        (["x", "OK", "x", "t"], {"code": -32602, "message": "Invalid params", "data": "Bad type for parameter 'code'"}),
    ],
)
def test_replies_that_cannot_be(server: Server, params: list[Any], error: dict[str, Any]) -> None:
    assert server.mi_error("t_reply", params) == error


# t_uac_cancel


def test_an_invite_of_our_own_is_cancelled(server: Server, peers: tuple[Peer, Peer]) -> None:
    callee = peers[1]
    answered = begun(lambda: server.mi("t_uac_dlg", uac(callee, "INVITE")))
    arrived = callee.wait_request("INVITE")
    callee.reply(arrived, 180)
    wait_until(lambda: server.mi("t_uac_cancel", [arrived.call_id, "1"]) == "OK")
    cancel = callee.wait_request("CANCEL")
    assert cancel.branch == arrived.branch
    callee.reply(cancel, 200)
    callee.reply(arrived, 487, "Request Terminated")
    assert answered.result(LIMIT_S)["Status"] == "487 Request Terminated"


@pytest.mark.parametrize("by", ["outside", "script"])
def test_a_relayed_invite_is_cancelled(server: Server, peers: tuple[Peer, Peer], by: str) -> None:
    caller, callee = peers
    call = Call(caller, callee)
    arrived = call.ring()
    callee.reply(arrived, 180)
    caller.wait_reply(call.call_id, 180)
    if by == "outside":
        assert server.mi("tm:uac_cancel", {"callid": call.call_id, "cseq": "1"}) == "OK"
    else:
        assert server.client().ask("asks", extra=f"X-Call: {call.call_id}\r\n").reason == "1"
    callee.reply(callee.wait_request("CANCEL"), 200)
    callee.reply(arrived, 487)
    caller.ack(call.invite, caller.wait_reply(call.call_id, 487))
    wait_until(lambda: server.mi("dlg_list") == {"Dialogs": []})


def test_there_is_nothing_to_cancel(server: Server, peers: tuple[Peer, Peer]) -> None:
    missing = {"code": 481, "message": "No such transaction"}
    assert server.mi_error("t_uac_cancel", ["none", "1"]) == missing
    call = Call(*peers).establish()
    assert server.mi_error("t_uac_cancel", [call.call_id, "1"]) == missing, "it is answered"
    assert server.mi_error("t_uac_cancel", [call.call_id, "2"]) == missing
    call.exchange("BYE")
    wait_until(lambda: server.mi("dlg_list") == {"Dialogs": []})


# t_uac_dlg


@pytest.mark.parametrize("form", ["udp:127.0.0.1:{}", "127.0.0.1:{}"])
def test_every_parameter_of_a_request_of_our_own(server: Server, peers: tuple[Peer, Peer], form: str) -> None:
    near, far = peers
    params = uac(far, "MESSAGE", next_hop=near.uri, socket=form.format(server.sip_port), body="héllo")
    params["headers"] += "Content-Type: text/plain\\r\\nSubject: a\\r\\n b\r\nCall-ID: of-mine\r\nCSeq: 7 MESSAGE\r\n"
    answered = begun(lambda: server.mi("t_uac_dlg", params))
    arrived = near.wait_request("MESSAGE")
    near.reply(arrived, 202, "Accepted")
    assert answered.result(LIMIT_S)["Status"] == "202 Accepted"
    assert (arrived.ruri, arrived.call_id, arrived.header("CSeq")) == (far.uri, "of-mine", "7 MESSAGE")
    assert (arrived.header("Subject"), arrived.header("Content-Length")) == ("a b", "6")
    assert arrived.body.encode("latin-1").decode() == "héllo"
    assert arrived.source == ("127.0.0.1", server.sip_port)


def test_what_older_clients_leave_out_by_a_dot(server: Server, peers: tuple[Peer, Peer]) -> None:
    answered = begun(lambda: server.mi("t_uac_dlg", uac(peers[1], "OPTIONS", next_hop=".", socket=".")))
    peers[1].reply(peers[1].wait_request("OPTIONS"), 200, "OK")
    assert answered.result(LIMIT_S)["Status"] == "200 OK"


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ({"ruri": "x"}, {"code": 400, "message": "Invalid RURI"}),
        ({"next_hop": "x"}, {"code": 400, "message": "Invalid NEXTHOP"}),
        ({"socket": "udp:127.0.0.1:1"}, {"code": 404, "message": "Local socket not found"}),
        ({"socket": "127.0.0.1:1"}, {"code": 404, "message": "Local socket not found"}),
        ({"body": "x"}, {"code": 400, "message": "Content-Type missing"}),
        ({"headers": "."}, {"code": 400, "message": "From missing"}),
        ({"headers": "From: <sip:a@b>"}, {"code": 400, "message": "To missing"}),
        (
            {"headers": "From: <sip:a@b>\nTo: <sip:b@c>\nCSeq: 1 INVITE"},
            {"code": 400, "message": "CSeq method mismatch"},
        ),
        ({"headers": "From: <sip:a@b>\nTo: <sip:b@c>\nl: 3"}, {"code": 400, "message": "Content-Length disallowed"}),
    ],
)
def test_requests_that_cannot_be(
    server: Server, peers: tuple[Peer, Peer], given: dict[str, str], error: dict[str, Any]
) -> None:
    assert server.mi_error("t_uac_dlg", {**uac(peers[1], "OPTIONS"), **given}) == error


def test_the_tables_of_transactions(server: Server, peers: tuple[Peer, Peer]) -> None:
    before = server.mi("t_hash")
    assert [list(row) for row in before] == [["index", "Current", "Total"]] * 3
    request, name = waiting(server, peers[0])
    after = server.mi("t_hash")
    assert sum(row["Total"] for row in after) == sum(row["Total"] for row in before) + 1
    assert sum(row["Current"] for row in after) > 0
    server.mi("t_reply", [480, "x", name, ""])
    peers[0].ack(request.text, peers[0].wait_reply(request.call_id, 480))


def test_where_no_tcp_is_served_there_are_no_connections(lone: Server) -> None:
    assert lone.mi("list_tcp_conns") is None


# Dialogs page by page


def page_through(server: Server, counter: int) -> list[str]:
    """The Call-IDs of all pages, as a client reads them that goes by the count."""
    seen, index, count = list[str](), 0, 1
    while index < count:
        page = server.mi("dlg_list", {"index": index, "counter": counter})
        seen += [dialog["callid"] for dialog in page["Dialogs"]]
        index, count = index + counter, page["count"]
    return seen


def test_calls_that_last_are_on_one_page_each_while_others_come_and_go(server: Server) -> None:
    peers = [Peer(server.sip_port) for _ in range(4)]
    lasting = [Call(*peers[:2]).establish() for _ in range(10)]
    over = Event()

    def come_and_go() -> int:
        made = 0
        while not over.is_set():
            calls = [Call(*peers[2:]).establish() for _ in range(4)]
            for call in calls:
                call.exchange("BYE")
            made += len(calls)
        return made

    others = begun(come_and_go)
    try:
        seen = [Counter(page_through(server, counter)) for counter in (1, 2, 3, 5) for _ in range(5)]
    finally:
        over.set()
        assert others.result(LIMIT_S) > 0
    for found in seen:
        assert {call.call_id: found[call.call_id] for call in lasting} == {call.call_id: 1 for call in lasting}
    for call in lasting:
        call.exchange("BYE")
    wait_until(lambda: server.mi("dlg_list") == {"Dialogs": []})
    for peer in peers:
        peer.close()


# What answers later holds nobody.


def test_the_only_process_serves_on_while_a_request_of_our_own_is_not_answered(lone: Server) -> None:
    peer = Peer(lone.sip_port)
    answers = [begun(lambda: lone.mi("t_uac_dlg", uac(peer, "OPTIONS"))) for _ in range(8)]
    arrived = [peer.wait_request("OPTIONS") for _ in answers]
    client = lone.client()
    assert all(client.ask("x", limit_s=2).status == 200 for _ in range(10))
    assert lone.mi("uptime", timeout_s=2)
    assert not any(answer.done() for answer in answers)
    for request in arrived:
        peer.reply(request, 200, "OK")
    assert [answer.result(LIMIT_S)["Status"] for answer in answers] == ["200 OK"] * 8
    peer.close()


def test_the_only_process_serves_on_while_a_request_within_a_dialog_is_not_answered(lone: Server) -> None:
    caller, callee = Peer(lone.sip_port), Peer(lone.sip_port)
    call = Call(caller, callee).establish()
    wait_until(lambda: lone.mi("dlg_list", {"callid": call.call_id})["Dialog"]["state"] == 4)
    wanted = {"callid": call.call_id, "method": "INFO", "mode": "callee"}
    answers = [begun(lambda: lone.mi("dlg_send_sequential", wanted)) for _ in range(5)]
    arrived = [callee.wait_request("INFO") for _ in answers]
    assert all(lone.client().ask("x", limit_s=2).status == 200 for _ in range(10))
    assert not any(answer.done() for answer in answers)
    for request in arrived:
        callee.reply(request, 200, "OK")
    assert [answer.result(LIMIT_S) for answer in answers] == [{"Code": 200, "Reason": "OK"}] * 5
    call.exchange("BYE")
    caller.close()
    callee.close()


def test_the_only_process_answers_its_own_script(lone: Server) -> None:
    assert lone.client().ask("asks", extra="X-Call: none\r\n").reason == "-481"
