"""Requests of our own from within: who sends one is told how it ended, once, whatever happens to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from runtime.errands import MAX_WAITING, Errands
from runtime.sip.message import Reply
from runtime.sip.own_request import OwnRequest
from runtime.uac import Sending
from tests.dns_server import DnsServer
from tests.harness import wait_until
from tests.one_process import OneProcess, broken_route, one_process
from tests.sip_peer import Peer

pytestmark = pytest.mark.processes

HEAD = """
dns_servers = "127.0.0.1:{port}"
dns_try_naptr = no
modparam("tm", "T1_timer", 10)
modparam("tm", "T4_timer", 10)
modparam("tm", "fr_timeout", 1)
"""
ROUTES = """
route { exit; }
local_route {
    if ($rU == "dropped") drop;
    if ($rU == "parked") async(mi("bench_wait 300", $var(r)), after);
    if ($rU == "watched") {
        t_on_reply("seen");
        t_on_failure("failed");
    }
}
onreply_route[seen] {
    xlog("L_ALERT", "told $rs $(<request>ru{uri.user}) $T_id");
    async(mi("bench_wait 10", $var(r)), after);
}
failure_route[failed] {
    xlog("L_ALERT", "told failed $T_reply_code $rU $(<reply>rs)");
    if (t_relay() || t_reply(500, "no") || send_reply(500, "no")) xlog("L_ALERT", "told that something was sent");
    async(mi("bench_wait 10", $var(r)), after);
}
route[after] { append_hf("X-After: $rc\\r\\n"); }
"""


class Sender:
    """Sends requests in the process, and keeps what it is told of them."""

    def __init__(self, server: OneProcess) -> None:
        self.server = server
        self.told: list[tuple[int, bool]] = []
        """Status, and whether there was a reply."""

    def send(self, method: str, ruri: str, more: Callable[[], None] | None = None) -> Sending:
        wanted = OwnRequest(method, ruri, "<sip:us@here>;tag=1", "<sip:you@there>", f"own-{ruri}", 1)

        def done(status: int, reply: Reply | None) -> None:
            self.told.append((status, reply is not None))
            if more is not None:
                more()

        def send() -> Sending:
            before = list(self.told)
            sending = self.server.process.send_request(wanted, done)
            assert self.told == before, "nobody is told before it returns"
            return sending

        return self.server.do(send)

    def wait_told(self, *told: tuple[int, bool]) -> None:
        wait_until(lambda: len(self.told) >= len(told), what=f"told {told}")
        assert self.told == list(told)


@pytest.fixture
def dns() -> Iterator[DnsServer]:
    with DnsServer() as server:
        yield server


@pytest.fixture
def server(tmp: Path, dns: DnsServer) -> Iterator[OneProcess]:
    with one_process(tmp, ROUTES, HEAD.format(port=dns.port)) as one:
        before = one.do(lambda: one.process.house.fingerprints.count(0))
        yield one
        wait_until(lambda: one.do(lambda: len(one.process.proxy.clients)) == 0, what="no client transaction is left")
        assert one.do(lambda: one.process.uac.under_way) == 0
        assert one.do(lambda: one.process.house.fingerprints.count(0)) == before


@pytest.fixture
def sender(server: OneProcess) -> Sender:
    return Sender(server)


@pytest.fixture
def peer(server: OneProcess) -> Iterator[Peer]:
    made = Peer(server.sip_port)
    yield made
    made.close()


@pytest.mark.parametrize("status", [200, 302, 404, 486, 503, 603])
@pytest.mark.parametrize("method", ["OPTIONS", "INVITE"])
def test_the_final_reply_is_told_once(sender: Sender, peer: Peer, method: str, status: int) -> None:
    sender.send(method, peer.uri)
    arrived = peer.wait_request(method)
    peer.reply(arrived, 100)
    peer.reply(arrived, 180)
    peer.reply(arrived, status)
    peer.reply(arrived, status)
    sender.wait_told((status, True))
    if method == "INVITE":
        peer.wait_request("ACK")
        peer.wait_request("ACK")


def test_silence_is_a_408_of_ours(sender: Sender, peer: Peer) -> None:
    sender.send("OPTIONS", peer.uri)
    peer.wait_request("OPTIONS")
    sender.wait_told((408, False))


@pytest.mark.parametrize("ruri", ["sip:127.0.0.1;transport=carrier-pigeon", "sip:nowhere.test", "sip:[::1]", "tel:+1"])
def test_what_leads_nowhere_is_a_503_of_ours(sender: Sender, ruri: str) -> None:
    sender.send("OPTIONS", ruri)
    sender.wait_told((503, False))


def test_what_the_local_route_drops_is_a_500_of_ours(sender: Sender, peer: Peer) -> None:
    sender.send("OPTIONS", peer.uri.replace("peer", "dropped"))
    sender.wait_told((500, False))
    peer.nothing(lambda m: True, 0.1)


def test_so_is_what_it_fails_at(server: OneProcess, sender: Sender, peer: Peer) -> None:
    server.do(lambda: setattr(server.process.house.program.script.routes, "local", broken_route))
    sender.send("OPTIONS", peer.uri)
    sender.wait_told((500, False))
    peer.nothing(lambda m: True, 0.1)


def test_what_is_told_may_raise_and_send_again(sender: Sender, peer: Peer) -> None:
    def more() -> None:
        if len(sender.told) == 1:
            sender.server.process.loop.call_soon(lambda: None)
            raise ZeroDivisionError("who is told raises")

    sender.send("OPTIONS", peer.uri, more)
    peer.reply(peer.wait_request("OPTIONS"), 200)
    sender.wait_told((200, True))


# --- what the local route arms


def watched(sender: Sender, peer: Peer, method: str = "OPTIONS") -> None:
    sender.send(method, peer.uri.replace("peer", "watched"))


@pytest.fixture
def told(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """What the routes have told. By the log: a `$var` goes back to what it was when a route goes on that was parked."""
    return lambda: [line.removeprefix("told ") for line in caplog.messages if line.startswith("told ")]


def test_its_routes_see_each_reply_and_wait_as_they_like(
    server: OneProcess, sender: Sender, peer: Peer, told: Callable[[], list[str]]
) -> None:
    watched(sender, peer, "INVITE")
    arrived = peer.wait_request("INVITE")
    for status in (180, 200, 200):
        peer.reply(arrived, status)
    sender.wait_told((200, True))
    wait_until(lambda: len(told()) == 3, what="each reply is seen")
    assert told() == ["180 watched <null>", "200 watched <null>", "200 watched <null>"]
    wait_until(lambda: server.do(lambda: not server.process.parked), what="the routes are through")


def test_a_refusal_is_a_failure_that_nobody_can_make_good(
    server: OneProcess, sender: Sender, peer: Peer, told: Callable[[], list[str]]
) -> None:
    watched(sender, peer)
    peer.reply(peer.wait_request("OPTIONS"), 404)
    sender.wait_told((404, True))
    assert told() == ["404 watched <null>", "failed 404 watched 404"]
    wait_until(lambda: server.do(lambda: not server.process.parked), what="the routes are through")


def test_silence_is_a_failure_too(sender: Sender, peer: Peer, told: Callable[[], list[str]]) -> None:
    watched(sender, peer)
    sender.wait_told((408, False))
    assert told() == ["failed 408 watched <null>"]


def test_an_address_that_leads_nowhere_is_a_failure_too(sender: Sender, told: Callable[[], list[str]]) -> None:
    sender.send("OPTIONS", "sip:watched@nowhere.test")
    sender.wait_told((503, False))
    assert told() == ["failed 503 watched <null>"]


# --- from a process that cannot send


def test_they_wait_for_a_process_that_sends_and_not_too_many_of_them(server: OneProcess) -> None:
    wanted = OwnRequest("OPTIONS", "sip:you@there", "<sip:us@here>;tag=1", "<sip:you@there>", "errand", 1)
    errands = Errands(server.process)  # which is alone

    def fill() -> None:
        for _ in range(MAX_WAITING):
            errands.send(wanted, {})

    server.do(fill)
    server.do(errands.send_waiting)
    with pytest.raises(ValueError, match="1000 requests wait"):
        server.do(lambda: errands.send(wanted, {}))


def test_what_is_no_request_is_known_at_once(server: OneProcess) -> None:
    with pytest.raises(ValueError, match="is no method"):
        server.do(lambda: Errands(server.process).send(OwnRequest("NO WAY", "sip:a", "a", "b", "c", 1), {}))


# --- CANCEL


def test_a_cancel_waits_for_a_provisional_reply(server: OneProcess, sender: Sender, peer: Peer) -> None:
    sending = sender.send("INVITE", peer.uri)
    arrived = peer.wait_request("INVITE")
    server.do(sending.cancel)
    peer.nothing(lambda m: m.method == "CANCEL", 0.1)
    peer.reply(arrived, 180)
    cancel = peer.wait_request("CANCEL")
    assert cancel.branch == arrived.branch
    peer.reply(cancel, 200)
    peer.reply(arrived, 487)
    sender.wait_told((487, True))


@pytest.mark.parametrize("user", ["parked", "late"])
def test_a_cancel_before_it_is_sent_keeps_it_from_that(
    server: OneProcess, dns: DnsServer, sender: Sender, peer: Peer, user: str
) -> None:
    dns.delay_s = 0.2
    dns.add("_sip._udp.late.test", "SRV", f"1 1 {peer.port} h.late.test.")
    dns.add("h.late.test", "A", "127.0.0.1")
    ruri = "sip:late.test" if user == "late" else peer.uri.replace("peer", "parked")
    sending = sender.send("INVITE", ruri)
    server.do(sending.cancel)
    sender.wait_told((487, False))
    peer.nothing(lambda m: True, 0.1)


def test_only_an_invite_can_be_cancelled(server: OneProcess, sender: Sender, peer: Peer) -> None:
    sending = sender.send("OPTIONS", peer.uri.replace("peer", "parked"))
    server.do(sending.cancel)
    arrived = peer.wait_request("OPTIONS")
    assert arrived.header("X-After") == "1"
    server.do(sending.cancel)
    peer.reply(arrived, 200)
    sender.wait_told((200, True))
    peer.nothing(lambda m: True, 0.1)


def test_a_cancel_behind_the_end_is_none(server: OneProcess, sender: Sender, peer: Peer) -> None:
    sending = sender.send("INVITE", peer.uri)
    peer.reply(peer.wait_request("INVITE"), 200)
    sender.wait_told((200, True))
    server.do(sending.cancel)
    peer.wait_request("ACK")
    peer.nothing(lambda m: True, 0.1)


# --- several addresses


def two_addresses(dns: DnsServer, first: Peer, second: Peer) -> str:
    dns.add("_sip._udp.two.test", "SRV", f"1 1 {first.port} h.two.test.", f"2 1 {second.port} h.two.test.")
    dns.add("h.two.test", "A", "127.0.0.1")
    return "sip:two.test"


@pytest.mark.parametrize("status", [503, 0])
def test_the_next_address_is_tried(server: OneProcess, dns: DnsServer, sender: Sender, peer: Peer, status: int) -> None:
    second = Peer(server.sip_port)
    sender.send("OPTIONS", two_addresses(dns, peer, second))
    arrived = peer.wait_request("OPTIONS")
    if status:
        peer.reply(arrived, status)
    again = second.wait_request("OPTIONS")
    assert again.branch != arrived.branch
    second.reply(again, 200)
    sender.wait_told((200, True))
    second.close()


def test_an_address_that_answers_late_ends_the_try_with_the_next(
    server: OneProcess, dns: DnsServer, sender: Sender, peer: Peer
) -> None:
    second = Peer(server.sip_port)
    sender.send("INVITE", two_addresses(dns, peer, second))
    arrived = peer.wait_request("INVITE")
    again = second.wait_request("INVITE")
    second.reply(again, 180)
    peer.reply(arrived, 200)
    sender.wait_told((200, True))
    peer.wait_request("ACK")
    second.reply(second.wait_request("CANCEL"), 200)
    second.reply(again, 487)
    second.wait_request("ACK")
    second.close()
