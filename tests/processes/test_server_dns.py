"""A real server relays to names: DNS is asked without stopping traffic, and the next address is tried (RFC 3263)."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator

import pytest

from tests.dns_server import DnsServer
from tests.harness import Server, wait_until
from tests.sip_peer import Peer, Received

pytestmark = pytest.mark.processes

ROUTES = """
modparam("tm", "fr_timeout", 1)
route {
    if ($rU == "quick") { sl_send_reply(200, "OK"); exit; }
    t_on_failure("failed");
    if (!t_relay()) sl_send_reply(478, "Unresolvable");
}
failure_route[failed] {
    append_to_reply("X-Status: $T_reply_code\\r\\n");
    t_reply(480, "Failed");
}
"""


@pytest.fixture(scope="module")
def dns() -> Iterator[DnsServer]:
    with DnsServer() as server:
        yield server


@pytest.fixture(scope="module")
def server(start_shared: Callable[..., Server], dns: DnsServer) -> Server:
    head = f'dns_servers = "127.0.0.1:{dns.port}"\ndns_try_naptr = no\n'
    return start_shared(ROUTES, head=head, options=("--udp-workers", "2", "--mi-workers", "1"))


@pytest.fixture
def peers(server: Server, dns: DnsServer) -> Iterator[tuple[Peer, Peer]]:
    dns.delay_s, dns.silent = 0.0, False
    made = Peer(server.sip_port), Peer(server.sip_port)
    yield made
    for peer in made:
        peer.close()


def ask(caller: Peer, host: str, method: str = "OPTIONS", user: str = "bob") -> tuple[str, str]:
    text = caller.request(method, f"sip:{user}@{host}")
    caller.send(text)
    return text, Received(text, ("", 0)).call_id


def test_a_service_record_leads_there(dns: DnsServer, peers: tuple[Peer, Peer]) -> None:
    caller, callee = peers
    dns.add("_sip._udp.one.test", "SRV", f"1 1 {callee.port} host.one.test.")
    dns.add("host.one.test", "A", "127.0.0.1")
    _, call_id = ask(caller, "one.test")

    arrived = callee.wait_request("OPTIONS")
    assert arrived.ruri == "sip:bob@one.test", "where it goes is not what it asks for"
    callee.reply(arrived, 200)
    caller.wait_reply(call_id, 200)


def test_the_next_address_is_tried_with_a_branch_of_its_own(dns: DnsServer, peers: tuple[Peer, Peer]) -> None:
    caller, callee = peers
    silent = Peer(caller.server[1])
    dns.add("_sip._udp.two.test", "SRV", f"1 1 {silent.port} h.two.test.", f"2 1 {callee.port} h.two.test.")
    dns.add("h.two.test", "A", "127.0.0.1")
    _, call_id = ask(caller, "two.test", "INVITE")

    arrived = callee.wait_request("INVITE")
    first = silent.wait_request("INVITE")
    assert first.branch != arrived.branch
    callee.reply(arrived, 200)
    caller.wait_reply(call_id, 200)
    silent.close()


def test_a_503_sends_it_to_the_next_address(dns: DnsServer, peers: tuple[Peer, Peer]) -> None:
    caller, callee = peers
    busy = Peer(caller.server[1])
    dns.add("_sip._udp.three.test", "SRV", f"1 1 {busy.port} h.three.test.", f"2 1 {callee.port} h.three.test.")
    dns.add("h.three.test", "A", "127.0.0.1")
    _, call_id = ask(caller, "three.test", "INVITE")
    busy.reply(busy.wait_request("INVITE"), 503)
    busy.wait_request("ACK")

    callee.reply(callee.wait_request("INVITE"), 200)
    caller.wait_reply(call_id, 200)
    busy.close()


def test_a_name_that_is_not_there_is_the_failure_routes(peers: tuple[Peer, Peer]) -> None:
    caller, _ = peers
    text, call_id = ask(caller, "nowhere.test", "INVITE")

    final = caller.wait_final(call_id)
    caller.ack(text, final)
    assert final.start == "SIP/2.0 480 Failed"
    assert final.header("X-Status") == "503"
    # Each process finds that out for itself; the one that asked has an answer at once.
    wait_until(
        lambda: caller.wait_final(ask(caller, "nowhere.test")[1]).status == 478,
        what="what is known not to be there is told at once",
    )


def test_traffic_goes_on_while_dns_is_slow(dns: DnsServer, peers: tuple[Peer, Peer]) -> None:
    caller, callee = peers
    dns.add("_sip._udp.slow.test", "SRV", f"1 1 {callee.port} h.slow.test.")
    dns.add("h.slow.test", "A", "127.0.0.1")
    dns.delay_s = 0.8
    slow = [ask(caller, "slow.test")[1] for _ in range(10)]
    for _ in range(20):
        caller.wait_reply(ask(caller, "here", user="quick")[1], 200)
    callee.nothing(lambda message: message.call_id in slow, 0.02)  # so nobody waited for DNS

    for _ in slow:
        callee.reply(callee.wait_request("OPTIONS"), 200)
    for call_id in slow:
        caller.wait_reply(call_id, 200)


def test_a_cancel_ends_a_call_whose_name_is_being_looked_up(dns: DnsServer, peers: tuple[Peer, Peer]) -> None:
    caller, callee = peers
    dns.add("_sip._udp.late.test", "SRV", f"1 1 {callee.port} h.late.test.")
    dns.add("h.late.test", "A", "127.0.0.1")
    dns.delay_s = 0.5
    text, call_id = ask(caller, "late.test", "INVITE")
    caller.wait_reply(call_id, 100)
    caller.cancel(text)

    caller.wait_reply(call_id, 200, "CANCEL")
    final = caller.wait_final(call_id, "INVITE")
    caller.ack(text, final)
    callee.nothing(lambda m: True, 0.7)


def test_nobody_listening_there_is_noticed(server: Server, dns: DnsServer, peers: tuple[Peer, Peer]) -> None:
    caller, callee = peers
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    dns.add("_sip._udp.four.test", "SRV", f"1 1 {port} h.four.test.", f"2 1 {callee.port} h.four.test.")
    dns.add("h.four.test", "A", "127.0.0.1")
    _, call_id = ask(caller, "four.test")

    callee.reply(callee.wait_request("OPTIONS"), 200)
    caller.wait_reply(call_id, 200)
    assert "Traceback" not in server.log()
