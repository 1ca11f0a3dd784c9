"""`examples/trunking.cfg` as it stands: customers' calls go to carriers, one after the other."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Callable, Iterator

import pytest

from tests.acceptance.examples import answered, call, calls_of, example, hang_up, nothing_is_left, refused, stored
from tests.harness import Server, free_port, wait_until
from tests.sip_peer import Peer, Received

pytestmark = pytest.mark.processes


@pytest.fixture(scope="module")
def ports() -> dict[str, int]:
    return {name: free_port() for name in ("east", "west", "home")}


@pytest.fixture(scope="module")
def server(start_shared: Callable[..., Server], ports: dict[str, int]) -> Server:
    text = example("trunking", dict(zip((5071, 5072, 5073), ports.values(), strict=True)))
    started = start_shared(text, options=("--udp-workers", "3", "--mi-workers", "2"))
    wait_until(lambda: stored(started, "routes", "1"), what="what the script writes at its start")
    return started


@pytest.fixture
def ends(server: Server, ports: dict[str, int]) -> Iterator[dict[str, Peer]]:
    made = {"customer": Peer(server.sip_port)} | {name: Peer(server.sip_port, port) for name, port in ports.items()}
    yield made
    for peer in made.values():
        peer.close()


def fails(carrier: Peer, status: int) -> Received:
    """The carrier refuses the call that comes next."""
    arrived = carrier.wait_request("INVITE")
    carrier.reply(arrived, status)
    carrier.wait_request("ACK")
    return arrived


@pytest.mark.parametrize(
    ("number", "carrier"), [("+4930123", "none"), ("+4420123", "home"), ("447700900", "east"), ("+12125550", "west")]
)
def test_the_longest_prefix_says_which_carrier(
    server: Server, ends: dict[str, Peer], number: str, carrier: str
) -> None:
    invite = call(ends["customer"], number)
    if carrier == "none":
        assert refused(ends["customer"], invite) == 404
        return
    answer = answered(ends["customer"], ends[carrier], invite)
    assert answer.headers("Record-Route")
    assert calls_of(server, "carrier", carrier) == 1
    hang_up(ends["customer"], ends[carrier], invite, answer)
    nothing_is_left(server)


def test_a_carrier_that_fails_is_followed_by_the_next(server: Server, ends: dict[str, Peer]) -> None:
    customer, east, west = ends["customer"], ends["east"], ends["west"]
    invite = call(customer, "+447700900")
    assert fails(east, 503).ruri == f"sip:447700900@127.0.0.1:{east.port}"
    answer = answered(customer, west, invite)
    assert (calls_of(server, "carrier", "east"), calls_of(server, "carrier", "west")) == (0, 1)
    hang_up(customer, west, invite, answer)
    nothing_is_left(server)
    wait_until(lambda: "carrier east failed with 503" in server.log(), what="the line about the carrier")
    billed = rf"ACC: call ended: .*{invite.call_id}.*customer=127.0.0.1;carrier=west;number=447700900"
    wait_until(lambda: re.search(billed, server.log()), what="the call's record")


def test_a_carrier_that_says_nothing_is_followed_by_the_next(server: Server, ends: dict[str, Peer]) -> None:
    customer, east, home = ends["customer"], ends["east"], ends["home"]
    invite = call(customer, "+4420700900")
    home.wait_request("INVITE")
    answer = answered(customer, east, invite)
    hang_up(customer, east, invite, answer)
    nothing_is_left(server)


def test_when_all_have_failed_there_is_no_carrier(server: Server, ends: dict[str, Peer]) -> None:
    invite = call(ends["customer"], "+447700900")
    fails(ends["east"], 500)
    fails(ends["west"], 503)
    assert refused(ends["customer"], invite) == 503
    nothing_is_left(server)


def test_who_is_busy_is_busy_at_every_carrier(server: Server, ends: dict[str, Peer]) -> None:
    invite = call(ends["customer"], "+447700900")
    fails(ends["east"], 486)
    assert refused(ends["customer"], invite) == 486
    nothing_is_left(server)
    ends["west"].collect()
    assert ends["west"].received == []


def test_a_closed_carrier_gets_no_calls(server: Server, ends: dict[str, Peer]) -> None:
    customer, west = ends["customer"], ends["west"]
    server.mi("cache_store", ["local:closed", "east", "maintenance"])
    invite = call(customer, "+447700900")
    answer = answered(customer, west, invite)
    server.mi("cache_remove", ["local:closed", "east"])
    hang_up(customer, west, invite, answer)
    nothing_is_left(server)


def test_over_the_limit_is_refused_until_a_call_has_ended(server: Server, ends: dict[str, Peer]) -> None:
    customer, west = ends["customer"], ends["west"]
    up = [(invite, answered(customer, west, invite)) for invite in (call(customer, "1212555") for _ in range(2))]
    assert refused(customer, call(customer, "1212555")) == 486
    wait_until(lambda: calls_of(server, "customer", "127.0.0.1") == 2, what="the refused call is counted no more")

    hang_up(customer, west, *up.pop())
    wait_until(lambda: calls_of(server, "customer", "127.0.0.1") == 1, what="the ended call is counted no more")
    invite = call(customer, "1212555")
    up.append((invite, answered(customer, west, invite)))
    for invite, answer in up:
        hang_up(customer, west, invite, answer)
    nothing_is_left(server)


def test_from_an_address_of_no_customer_nothing_is_taken(server: Server) -> None:
    stranger = Peer(server.sip_port)
    stranger.close()
    stranger.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    stranger.socket.bind(("127.0.0.2", stranger.port))
    assert refused(stranger, call(stranger, "1212555")) == 403
    stranger.close()


def ask(peer: Peer, user: str) -> Received:
    text = peer.request("OPTIONS", f"sip:{user}@127.0.0.1:{peer.server[1]}")
    peer.send(text)
    return peer.wait_reply(Received(text, ("", 0)).call_id, 200)


def test_the_figures_of_customers_and_carriers_are_asked_for_by_sip(server: Server, ends: dict[str, Peer]) -> None:
    customer, west = ends["customer"], ends["west"]
    invite = call(customer, "1212555")
    answer = answered(customer, west, invite)
    customers, carriers = (one["result"] for one in json.loads(ask(customer, "figures").header("X-Figures")))
    assert [(one["value"], one["count"]) for one in customers] == [("127.0.0.1", 1)]
    assert [(one["value"], one["count"]) for one in carriers] == [("west", 1)]
    hang_up(customer, west, invite, answer)
    nothing_is_left(server)


def test_a_reload_that_is_asked_for_answers_at_once_and_reports(server: Server, ends: dict[str, Peer]) -> None:
    customer = ends["customer"]
    ask(customer, "reload")
    said = f"the reload asked from 127.0.0.1:{customer.port} is done"
    wait_until(lambda: said in server.log(), what="the report")


def test_nothing_went_wrong(server: Server) -> None:
    assert "Traceback" not in server.log()
