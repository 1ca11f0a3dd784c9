"""`examples/load-balancer.cfg` as it stands: each call goes to the server that has the fewest."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import pytest

from tests.acceptance.examples import answered, call, calls_of, example, hang_up, nothing_is_left, refused, stored
from tests.harness import Server, free_port, wait_until
from tests.sip_peer import Peer, Received

pytestmark = pytest.mark.processes
NAMES = ("one", "two", "three")


@pytest.fixture(scope="module")
def ports() -> dict[str, int]:
    return {name: free_port() for name in NAMES}


@pytest.fixture(scope="module")
def server(start_shared: Callable[..., Server], ports: dict[str, int]) -> Server:
    text = example("load-balancer", dict(zip((5081, 5082, 5083), ports.values(), strict=True)))
    started = start_shared(text, options=("--udp-workers", "3", "--mi-workers", "2"))
    wait_until(lambda: stored(started, "pool", "most"), what="what the script writes at its start")
    return started


@pytest.fixture
def ends(server: Server, ports: dict[str, int]) -> Iterator[dict[str, Peer]]:
    made = {name: Peer(server.sip_port, port) for name, port in ports.items()}
    made["caller"] = Peer(server.sip_port)
    yield made
    for name in NAMES:
        server.rpc(f'{{"jsonrpc": "2.0", "id": 1, "method": "cache_remove", "params": ["local:out", "{name}"]}}')
    for peer in made.values():
        peer.close()


def loads(server: Server) -> list[int]:
    return [calls_of(server, "server", name) for name in NAMES]


def out(server: Server, name: str) -> None:
    server.mi("cache_store", ["local:out", name, "maintenance"])


def heartbeat(peer: Peer, name: str) -> Received:
    text = peer.request("OPTIONS", f"sip:{name}@127.0.0.1:{peer.server[1]}")
    peer.send(text)
    return peer.wait_reply(Received(text, ("", 0)).call_id, 200)


def test_calls_spread_evenly_and_an_ended_one_makes_room(server: Server, ends: dict[str, Peer]) -> None:
    caller = ends["caller"]
    up = {}
    for name in NAMES:  # of servers that have the same, the first
        invite = call(caller, "echo")
        up[name] = invite, answered(caller, ends[name], invite)
        assert up[name][1].headers("Record-Route")
    assert loads(server) == [1, 1, 1]
    told = json.loads(heartbeat(caller, "loads").header("X-Loads"))
    assert sorted((one["value"], one["count"]) for one in told) == [("one", 1), ("three", 1), ("two", 1)]

    hang_up(caller, ends["two"], *up["two"])
    wait_until(lambda: loads(server) == [1, 0, 1], what="the ended call is counted no more")
    invite = call(caller, "echo")
    up["two"] = invite, answered(caller, ends["two"], invite)
    for name in NAMES:
        hang_up(caller, ends[name], *up[name])
    nothing_is_left(server)
    assert loads(server) == [0, 0, 0]


def test_a_server_that_fails_is_left_out_until_it_says_that_it_is_well(server: Server, ends: dict[str, Peer]) -> None:
    caller, one, two = ends["caller"], ends["one"], ends["two"]
    invite = call(caller, "echo")
    one.reply(one.wait_request("INVITE"), 503)
    one.wait_request("ACK")
    answer = answered(caller, two, invite)
    assert (loads(server), stored(server, "out", "one")) == ([0, 1, 0], "status 503")
    hang_up(caller, two, invite, answer)
    nothing_is_left(server)

    invite = call(caller, "echo")
    hang_up(caller, two, invite, answered(caller, two, invite))
    heartbeat(one, "one")
    invite = call(caller, "echo")
    hang_up(caller, one, invite, answered(caller, one, invite))
    nothing_is_left(server)


def test_a_server_that_says_nothing_is_left_out(server: Server, ends: dict[str, Peer]) -> None:
    caller, two = ends["caller"], ends["two"]
    invite = call(caller, "echo")
    ends["one"].wait_request("INVITE")
    answer = answered(caller, two, invite)
    assert stored(server, "out", "one") == "status 408"
    hang_up(caller, two, invite, answer)
    nothing_is_left(server)


def test_what_is_taken_out_by_hand_stays_out(server: Server, ends: dict[str, Peer]) -> None:
    caller, three = ends["caller"], ends["three"]
    out(server, "one")
    out(server, "two")
    heartbeat(ends["one"], "one")
    invite = call(caller, "echo")
    hang_up(caller, three, invite, answered(caller, three, invite))
    out(server, "three")
    assert refused(caller, call(caller, "echo")) == 503
    nothing_is_left(server)


def test_above_the_most_calls_is_refused(server: Server, ends: dict[str, Peer]) -> None:
    caller, one = ends["caller"], ends["one"]
    server.mi("cache_store", ["local:pool", "most", "1"])
    invite = call(caller, "echo")
    answer = answered(caller, one, invite)
    assert refused(caller, call(caller, "echo")) == 503
    server.mi("cache_store", ["local:pool", "most", "500"])
    hang_up(caller, one, invite, answer)
    nothing_is_left(server)


def test_a_call_that_is_cancelled_is_counted_no_more(server: Server, ends: dict[str, Peer]) -> None:
    caller, one = ends["caller"], ends["one"]
    invite = call(caller, "echo")
    arrived = one.wait_request("INVITE")
    one.reply(arrived, 180)
    caller.wait_reply(invite.call_id, 180)
    caller.cancel(invite.text)
    one.reply(one.wait_request("CANCEL"), 200)
    one.reply(arrived, 487)
    assert refused(caller, invite) == 487
    nothing_is_left(server)
    assert loads(server) == [0, 0, 0]


def test_nothing_went_wrong(server: Server) -> None:
    assert "Traceback" not in server.log()
