"""A real server sends requests of its own: the local route, copies, the ACK of a 2xx, replies that another reads."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from threading import Thread
from typing import Any

import pytest

from tests.dns_server import DnsServer
from tests.harness import Server, wait_until
from tests.sip_peer import Peer, Received

pytestmark = pytest.mark.processes

HEAD = """
dns_servers = "127.0.0.1:{port}"
dns_try_naptr = no
dns_try_ipv6 = yes
modparam("tm", "fr_timeout", 2)
modparam("tm", "T1_timer", 100)
"""
ROUTES = """
route {
    $avp(to) = "sip:" + $rU + "@127.0.0.1:" + $hdr(X-Callee);
    if (is_present_hf("X-Name")) $avp(to) = "sip:" + $rU + "@" + $hdr(X-Name);
    if (t_new_request($rm, $avp(to), "Us sip:us@here", "sip:bob@there", "text/plain hello there", "$hdr(X-Context)"))
        sl_send_reply(200, "Sent");
    else
        sl_send_reply(480, "Not sent");
}
local_route {
    if ($rU == "dropped") drop;
    if ($rU == "away") $du = "sip:127.0.0.1:" + $avp(uac_ctx);
    if ($rU == "renamed") $rU = "named";
    remove_hf("Content-Type");
    append_hf("Content-Type: text/html\\r\\n");
    append_hf("X-Local: $rm $avp(uac_ctx) $route.type\\r\\n");
}
"""


@pytest.fixture(scope="module")
def dns() -> Iterator[DnsServer]:
    with DnsServer() as server:
        yield server


@pytest.fixture(scope="module")
def server(start_shared: Callable[..., Server], dns: DnsServer) -> Server:
    return start_shared(ROUTES, head=HEAD.format(port=dns.port), options=("--udp-workers", "3", "--mi-workers", "1"))


@pytest.fixture
def peers(server: Server) -> Iterator[tuple[Peer, Peer]]:
    made = Peer(server.sip_port), Peer(server.sip_port)
    yield made
    for peer in made:
        peer.close()


def have_sent(caller: Peer, callee: Peer, user: str, method: str = "OPTIONS", more: str = "") -> None:
    """Have the server send a request to `callee`."""
    text = caller.request(
        method, f"sip:{user}@127.0.0.1:{caller.server[1]}", extra=f"X-Callee: {callee.port}\r\nX-Context: {more}\r\n"
    )
    caller.send(text)
    caller.wait_reply(Received(text, ("", 0)).call_id, 200)


def test_it_has_what_a_request_must_have(server: Server, peers: tuple[Peer, Peer]) -> None:
    caller, callee = peers
    have_sent(caller, callee, "bob", "MESSAGE", "some words")

    arrived = callee.wait_request("MESSAGE")
    callee.reply(arrived, 200)
    assert arrived.ruri == f"sip:bob@127.0.0.1:{callee.port}"
    [via] = arrived.headers("Via")
    assert via.startswith(f"SIP/2.0/UDP 127.0.0.1:{server.sip_port};branch=z9hG4bK")
    assert arrived.header("Max-Forwards") == "70"
    assert arrived.header("From").startswith("Us <sip:us@here>;tag=")
    assert arrived.header("To") == "<sip:bob@there>"
    assert arrived.header("CSeq") == "1 MESSAGE"
    assert arrived.body == "hello there"
    assert arrived.headers("Content-Type") == ["text/html"], "what the local route made of it"
    assert arrived.header("X-Local") == "MESSAGE some words local_route"


def test_the_local_route_may_send_it_elsewhere(peers: tuple[Peer, Peer]) -> None:
    caller, callee = peers
    have_sent(caller, callee, "away", more=str(caller.port))

    arrived = caller.wait_request("OPTIONS")
    caller.reply(arrived, 200)
    assert arrived.ruri == f"sip:away@127.0.0.1:{callee.port}"
    callee.nothing(lambda m: True, 0.1)


def test_the_local_route_may_change_its_uri(peers: tuple[Peer, Peer]) -> None:
    caller, callee = peers
    have_sent(caller, callee, "renamed")
    arrived = callee.wait_request("OPTIONS")
    callee.reply(arrived, 200)
    assert arrived.ruri.startswith("sip:named@")


def test_what_the_local_route_drops_is_not_sent(peers: tuple[Peer, Peer]) -> None:
    caller, callee = peers
    have_sent(caller, callee, "dropped")
    callee.nothing(lambda m: True)


def test_it_is_repeated_until_a_reply_comes_and_then_given_up(server: Server, peers: tuple[Peer, Peer]) -> None:
    caller, callee = peers
    have_sent(caller, callee, "bob")
    first = callee.wait_request("OPTIONS")
    again = callee.wait_request("OPTIONS")
    assert again.text == first.text
    callee.reply(again, 200)
    callee.received.clear()
    callee.nothing(lambda m: True, 0.5)

    have_sent(caller, callee, "bob")
    callee.wait_request("OPTIONS")
    wait_until(lambda: server.statistic("tm:inuse_branches") == 0, what="who says nothing is given up")


def test_each_2xx_to_an_invite_is_acknowledged_and_each_copy_too(peers: tuple[Peer, Peer]) -> None:
    caller, callee = peers
    have_sent(caller, callee, "bob", "INVITE")
    arrived = callee.wait_request("INVITE")
    acks = []
    for tag in ("one", "one", "two"):
        callee.reply(arrived, 200, tag=tag)
        acks.append(callee.wait_request("ACK"))

    assert [ack.ruri for ack in acks] == [callee.uri] * 3, "it goes to the Contact"
    assert [ack.header("To") for ack in acks] == [f"<sip:bob@there>;tag={tag}" for tag in ("one", "one", "two")]
    assert {ack.header("From") for ack in acks} == {arrived.header("From")}
    assert {ack.header("CSeq") for ack in acks} == {"1 ACK"}
    assert all(ack.branch != arrived.branch for ack in acks), "it is a transaction of its own (17.1.1.3)"
    assert all(ack.body == "" for ack in acks)


def test_the_ack_follows_the_recorded_route(peers: tuple[Peer, Peer]) -> None:
    caller, callee = peers
    have_sent(caller, callee, "bob", "INVITE")
    arrived = callee.wait_request("INVITE")
    routes = f"Record-Route: <sip:127.0.0.1:9;lr>, <sip:127.0.0.1:{caller.port};lr>\r\n"
    callee.reply(arrived, 200, extra=routes)

    ack = caller.wait_request("ACK")
    assert ack.ruri == callee.uri
    assert ack.headers("Route") == [f"<sip:127.0.0.1:{caller.port};lr>", "<sip:127.0.0.1:9;lr>"]


def test_a_2xx_with_a_contact_that_is_none_is_acknowledged_all_the_same(
    server: Server, peers: tuple[Peer, Peer]
) -> None:
    caller, callee = peers
    have_sent(caller, callee, "bob", "INVITE")
    arrived = callee.wait_request("INVITE")
    hostile = Received(arrived.text, arrived.source)
    callee.send(
        f"SIP/2.0 200 x\r\nVia: {hostile.header('Via')}\r\nFrom: {hostile.header('From')}\r\n"
        f"To: {hostile.header('To')};tag=x\r\nCall-ID: {hostile.call_id}\r\nCSeq: 1 INVITE\r\n"
        f"Contact: <sip:a b@c SIP/2.0>\r\n\r\n",
        arrived.source,
    )
    assert callee.wait_request("ACK").ruri == arrived.ruri
    assert "Traceback" not in server.log()


def test_a_refusal_is_acknowledged_hop_by_hop(peers: tuple[Peer, Peer]) -> None:
    caller, callee = peers
    have_sent(caller, callee, "bob", "INVITE")
    arrived = callee.wait_request("INVITE")
    callee.reply(arrived, 486)

    ack = callee.wait_request("ACK")
    assert ack.branch == arrived.branch
    assert ack.ruri == arrived.ruri


def test_a_reply_that_another_process_reads_finds_its_way(server: Server, peers: tuple[Peer, Peer]) -> None:
    caller, callee = peers
    handed, dropped = server.statistic("core:handed_over"), server.statistic("core:drop_replies")
    for _ in range(40):
        have_sent(caller, callee, "bob", "INVITE")
    for _ in range(40):
        callee.reply(callee.wait_request("INVITE"), 200)
    for _ in range(40):
        callee.wait_request("ACK")

    assert server.statistic("core:handed_over") > handed
    assert server.statistic("core:drop_replies") == dropped


def test_an_address_that_there_is_no_socket_for_is_passed_over(dns: DnsServer, peers: tuple[Peer, Peer]) -> None:
    caller, callee = peers
    dns.add("_sip._udp.both.test", "SRV", f"1 1 {callee.port} six.both.test.", f"2 1 {callee.port} four.both.test.")
    dns.add("six.both.test", "AAAA", "::1")
    dns.add("four.both.test", "A", "127.0.0.1")
    text = caller.request("OPTIONS", "sip:bob@127.0.0.1", extra="X-Callee: 9\r\nX-Name: both.test\r\n")
    caller.send(text)

    arrived = callee.wait_request("OPTIONS")
    callee.reply(arrived, 200)
    assert arrived.ruri == "sip:bob@both.test"


# --- t_uac_dlg

HEADERS = "From: Us <sip:us@here>\r\nf: <sip:other@here>\r\nTo: <sip:you@there>\r\nX-Own: 1\r\n folded\r\nVia: none\r\n"


def asked(server: Server, peer: Peer, **more: str) -> Future[Any]:
    """Have MI send a request to the peer; what MI will answer."""
    call = {"method": "MESSAGE", "ruri": peer.uri, "headers": HEADERS, **more}
    found: Future[Any] = Future()
    Thread(target=lambda: found.set_result(server.rpc(json.dumps(jsonrpc(call)))), daemon=True).start()
    return found


def jsonrpc(params: dict[str, str]) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": 1, "method": "t_uac_dlg", "params": params}


def test_mi_tells_what_a_request_is_answered(server: Server, peers: tuple[Peer, Peer]) -> None:
    other, callee = peers
    call = asked(server, callee, body="grüße", headers=HEADERS + "Content-Type: text/plain\r\nCSeq: 7 MESSAGE\r\n")
    arrived = callee.wait_request("MESSAGE")
    callee.reply(arrived, 200, "Grüße".encode().decode("latin-1"), extra="Record-Route: <sip:127.0.0.1:9;lr>\r\n")
    answer = call.result(10)["result"]

    assert arrived.header("From").startswith("Us <sip:us@here>;tag=")
    assert (arrived.header("To"), arrived.header("X-Own")) == ("<sip:you@there>", "1 folded")
    assert (arrived.header("CSeq"), len(arrived.headers("Via")), len(arrived.headers("From"))) == ("7 MESSAGE", 1, 1)
    assert arrived.body.encode("latin-1").decode() == "grüße"
    assert arrived.header("X-Local") == "MESSAGE <null> local_route"
    assert (answer["Status"], answer["RURI"], answer["Next-hop"]) == ("200 Grüße", callee.uri, "sip:127.0.0.1:9;lr")
    assert answer["Message"].startswith("Via: SIP/2.0/UDP 127.0.0.1")

    call = asked(server, other, next_hop=callee.uri, socket=f"udp:127.0.0.1:{server.sip_port}")
    callee.reply(callee.wait_request("MESSAGE"), 486)
    answer = call.result(10)["result"]
    assert (answer["Status"], "RURI" in answer, "Message" in answer) == ("486 x", False, True)


def test_mi_tells_that_nobody_answers(server: Server, peers: tuple[Peer, Peer]) -> None:
    assert asked(server, peers[1]).result(10)["result"] == {"Status": "408 Request Timeout"}


@pytest.mark.parametrize(
    ("more", "code", "message"),
    [
        ({"ruri": "no uri"}, 400, "Invalid RURI"),
        ({"next_hop": "no uri"}, 400, "Invalid NEXTHOP"),
        ({"socket": "udp:127.0.0.1:9"}, 404, "Local socket not found"),
        ({"socket": "here"}, 404, "Invalid local socket"),
        ({"headers": "To: <sip:a@b>"}, 400, "From missing"),
        ({"headers": "From: <sip:a@b>"}, 400, "To missing"),
        ({"headers": 'From: "\r\nTo: <sip:a@b>'}, 400, "Error in From"),
        ({"headers": HEADERS + "l: 5"}, 400, "Content-Length disallowed"),
        ({"headers": HEADERS + "CSeq: x MESSAGE"}, 400, "Bad CSeq number"),
        ({"headers": HEADERS + "CSeq: 1 INVITE"}, 400, "CSeq method mismatch"),
        ({"body": "some"}, 400, "Content-Type missing"),
        ({"method": "A B"}, 400, "'A B' is no method"),
    ],
)
def test_mi_says_what_is_wrong_with_a_request(
    server: Server, peers: tuple[Peer, Peer], more: dict[str, str], code: int, message: str
) -> None:
    error = asked(server, peers[1], **more).result(10)["error"]
    assert (error["code"], error["message"]) == (code, message)


def test_nothing_went_wrong_unseen(server: Server) -> None:
    assert "Traceback" not in server.log()
