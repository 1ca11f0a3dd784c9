"""`examples/least-cost.cfg` as it stands: its tables filled as it says, calls out by rules, failover, calls in."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.acceptance.examples import answered, call, example, hang_up, refused
from tests.harness import Server, free_port, wait_until
from tests.sip_peer import Peer, Received

pytestmark = pytest.mark.processes


@pytest.fixture(scope="module")
def ports() -> dict[str, int]:
    return {name: free_port() for name in ("office", "east", "west")}


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("least-cost") / "rules.db"


@pytest.fixture(scope="module")
def server(start_shared: Callable[..., Server], ports: dict[str, int], database: Path) -> Server:
    text = example("least-cost", dict(zip((5070, 5071, 5072), ports.values(), strict=True)))
    (filling,) = re.findall(r'(?s)sqlite3 least-cost\.db "(.*?)"', text)
    for old, new in (
        ("sqlite:least-cost.db", f"sqlite:///{database}"),
        ('"probing_interval", 10', '"probing_interval", 1'),
    ):
        assert old in text
        text = text.replace(old, new)
    started = start_shared(text, options=("--udp-workers", "3", "--mi-workers", "2"))
    fill(database, re.sub("(?m)^# ", "", filling))
    return started


def fill(database: Path, statements: str) -> None:
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.executescript(statements)


@pytest.fixture
def ends(server: Server, ports: dict[str, int]) -> Iterator[dict[str, Peer]]:
    made = {"phone": Peer(server.sip_port)} | {name: Peer(server.sip_port, port) for name, port in ports.items()}
    if server.mi("dr_number_routing", {"number": "001"}) == "No match":
        load(server, made["phone"], "east,west", "001")
    yield made
    for peer in made.values():
        peer.close()


def load(server: Server, phone: Peer, gateways: str, number: str) -> None:
    """Have the rules loaded by SIP, and wait until a number goes by these gateways."""
    asked = phone.request("OPTIONS", f"sip:reload@127.0.0.1:{server.sip_port}")
    phone.send(asked)
    assert phone.wait_final(Received(asked, ("", 0)).call_id).status == 202

    def found() -> bool:
        routing = server.mi("dr_number_routing", {"number": number})
        return routing != "No match" and [one["GATEWAY"] for one in routing["GW List"]] == gateways.split(",")

    wait_until(found, what="the rules are loaded")


def fails(carrier: Peer, status: int) -> Received:
    """The carrier refuses the call that comes next."""
    arrived = carrier.wait_request("INVITE")
    carrier.reply(arrived, status)
    carrier.wait_request("ACK")
    return arrived


def test_a_call_goes_to_the_cheapest_carrier_with_the_number_that_it_wants(ends: dict[str, Peer]) -> None:
    invite = call(ends["phone"], "0044201234")
    arrived = ends["west"].wait_request("INVITE")
    assert arrived.ruri == f"sip:+44201234@127.0.0.1:{ends['west'].port}"
    ends["west"].received.append(arrived)
    hang_up(ends["phone"], ends["west"], invite, answered(ends["phone"], ends["west"], invite))


def test_a_carrier_that_refuses_is_followed_by_the_next_and_one_who_is_busy_is_not(ends: dict[str, Peer]) -> None:
    invite = call(ends["phone"], "0044201234")
    fails(ends["west"], 404)
    arrived = fails(ends["east"], 486)
    assert arrived.ruri == f"sip:0044201234@127.0.0.1:{ends['east'].port}"
    assert refused(ends["phone"], invite) == 486


def test_when_a_rules_carriers_are_used_up_the_shorter_prefix_is_tried(ends: dict[str, Peer]) -> None:
    invite = call(ends["phone"], "0044201234")
    for name in ("west", "east", "east"):
        fails(ends[name], 404)
    hang_up(ends["phone"], ends["west"], invite, answered(ends["phone"], ends["west"], invite))


def test_a_carrier_that_fails_is_out_of_use_until_it_answers_a_probe(server: Server, ends: dict[str, Peer]) -> None:
    invite = call(ends["phone"], "0015551")
    fails(ends["east"], 503)
    hang_up(ends["phone"], ends["west"], invite, answered(ends["phone"], ends["west"], invite))
    assert server.mi("dr_gw_status", {"gw_id": "east"}) == {"State": "Probing"}
    invite = call(ends["phone"], "0015551")
    hang_up(ends["phone"], ends["west"], invite, answered(ends["phone"], ends["west"], invite))
    probe = ends["east"].wait_request("OPTIONS")
    assert "sip:watch@127.0.0.1" in probe.header("From")
    ends["east"].reply(probe, 200)
    wait_until(lambda: server.mi("dr_gw_status", {"gw_id": "east"}) == {"State": "Active"})
    wait_until(lambda: "is active: 200 Reply" in server.log())


def test_rules_are_loaded_anew_while_calls_go_on(server: Server, ends: dict[str, Peer], database: Path) -> None:
    invite = call(ends["phone"], "003315551")
    answer = answered(ends["phone"], ends["east"], invite)
    fill(database, "INSERT INTO dr_rules (groupid, prefix, gwlist) VALUES ('0', '0033', 'west')")
    load(server, ends["phone"], "west", "0033")
    wait_until(lambda: "the rules have been loaded anew" in server.log())
    hang_up(ends["phone"], ends["east"], invite, answer)
    invite = call(ends["phone"], "003315551")
    hang_up(ends["phone"], ends["west"], invite, answered(ends["phone"], ends["west"], invite))


def test_a_call_from_a_carrier_goes_to_the_office(ends: dict[str, Peer]) -> None:
    invite = call(ends["west"], "100")
    hang_up(ends["west"], ends["office"], invite, answered(ends["west"], ends["office"], invite))
