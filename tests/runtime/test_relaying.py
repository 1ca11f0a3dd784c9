"""Relaying from within: a process in a thread, real sockets around it, and what no peer can bring about by itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from runtime.context import Context, RecordRoute
from runtime.modules.tm import TmSettings, tm_settings
from runtime.script.declare import Module
from runtime.sip.message import Reply
from runtime.watchers import TransactionWatcher
from tests.harness import wait_until
from tests.one_process import OneProcess, broken_route, one_process
from tests.sip_peer import Peer, Received

pytestmark = pytest.mark.processes

HEAD = """
modparam("tm", "T1_timer", 20)
modparam("tm", "fr_timeout", 2)
modparam("tm", "fr_inv_timeout", 3)
"""
ROUTES = """
route {
    $du = "sip:127.0.0.1:" + $hdr(X-Callee);
    switch ($rU) {
    case "branch": t_on_branch("kept"); break;
    case "reply": t_on_reply("kept"); break;
    case "failure": t_on_failure("kept"); break;
    case "decides": t_on_failure("decides"); break;
    case "next": t_on_failure("next"); break;
    case "parked": t_on_reply("parks"); break;
    case "fork": append_msg_branch("sip:second@127.0.0.1:$hdr(X-Callee)"); break;
    case "named": route(broken);
    }
    if (!t_relay()) sl_send_reply(500, "Not relayed");
}
route[broken] { exit; }
route[after] { append_hf("X-After: $rc\\r\\n"); }
branch_route[kept] { exit; }
failure_route[kept] { exit; }
failure_route[decides] {
    if (t_reply(404, "Decided")) append_to_reply("X-Too-Late: yes\\r\\n");
    if (t_reply(405, "Again") || t_relay()) xlog("L_ERR", "TWICE\\n");
}
failure_route[next] {
    t_on_failure("decides");
    $ru = "sip:next@127.0.0.1";
    t_relay();
}
onreply_route[kept] { exit; }
onreply_route[parks] { async(mi("bench_wait 60000", $var(r)), after); }
error_route { exit; }
"""


@pytest.fixture
def server(tmp: Path) -> Iterator[OneProcess]:
    with one_process(tmp, ROUTES, HEAD) as one:
        yield one


@pytest.fixture
def peers(server: OneProcess) -> Iterator[tuple[Peer, Peer]]:
    made = Peer(server.sip_port), Peer(server.sip_port)
    yield made
    for peer in made:
        peer.close()


def ask(caller: Peer, callee: Peer, user: str, method: str = "INVITE") -> tuple[str, str]:
    """Send a request for `user`; its text and Call-ID."""
    text = caller.request(method, f"sip:{user}@127.0.0.1", extra=f"X-Callee: {callee.port}\r\n")
    caller.send(text)
    return text, Received(text, ("", 0)).call_id


# --- statements that raise


def test_in_the_request_route_the_caller_hears_of_it(server: OneProcess, peers: tuple[Peer, Peer]) -> None:
    caller, callee = peers
    server.do(lambda: setattr(server.process.house.program.script.routes, "request", broken_route))
    text, call_id = ask(caller, callee, "bob")
    caller.ack(text, caller.wait_reply(call_id, 500))
    callee.nothing(lambda m: True, 0.1)


def test_in_a_branch_route_the_branch_is_not_sent(server: OneProcess, peers: tuple[Peer, Peer]) -> None:
    caller, callee = peers
    server.do(lambda: server.process.house.program.script.routes.branch.update(kept=broken_route))
    text, call_id = ask(caller, callee, "branch")
    caller.ack(text, caller.wait_reply(call_id, 500))
    callee.nothing(lambda m: True, 0.1)


@pytest.mark.parametrize("status", [486, 200])
def test_in_a_reply_route_the_reply_goes_its_way(server: OneProcess, peers: tuple[Peer, Peer], status: int) -> None:
    caller, callee = peers
    server.do(
        lambda: server.process.house.program.script.routes.onreply.update({"kept": broken_route, "": broken_route})
    )
    text, call_id = ask(caller, callee, "reply")
    arrived = callee.wait_request("INVITE")
    callee.reply(arrived, 180)
    callee.reply(arrived, status)
    caller.wait_reply(call_id, 180)
    caller.ack(text, caller.wait_reply(call_id, status))


def test_in_a_failure_route_the_best_reply_goes_up(server: OneProcess, peers: tuple[Peer, Peer]) -> None:
    caller, callee = peers
    server.do(lambda: server.process.house.program.script.routes.failure.update(kept=broken_route))
    text, call_id = ask(caller, callee, "failure")
    callee.reply(callee.wait_request("INVITE"), 486)
    caller.ack(text, caller.wait_reply(call_id, 486))


def test_in_the_error_route_the_sender_hears_what_was_wrong(server: OneProcess, peers: tuple[Peer, Peer]) -> None:
    caller, _ = peers
    server.do(lambda: setattr(server.process.house.program.script.routes, "error", broken_route))
    caller.send(caller.request("OPTIONS", "sip:x@127.0.0.1").replace("CSeq: 1 OPTIONS", "CSeq: nonsense"))
    assert caller.wait(lambda m: m.status == 400).start == "SIP/2.0 400 Malformed CSeq header"


# --- replies that are none


@pytest.mark.parametrize(("status", "told"), [(200, 502), (486, 486)])
def test_a_reply_that_has_lost_the_callers_via_is_for_nobody_further_up(
    peers: tuple[Peer, Peer], status: int, told: int
) -> None:
    caller, callee = peers
    text, call_id = ask(caller, callee, "bob")
    arrived = callee.wait_request("INVITE")
    [ours, _] = arrived.headers("Via")
    lost = Received(arrived.text.replace(f"Via: {arrived.headers('Via')[1]}\r\n", ""), arrived.source)
    assert lost.headers("Via") == [ours]
    callee.reply(lost, 180)
    callee.reply(lost, status)

    final = caller.wait_reply(call_id, told)
    caller.ack(text, final)
    assert final.headers("Via") == Received(text, ("", 0)).headers("Via")
    caller.nothing(lambda m: m.status in (180, 200), 0.1)


# --- failure routes


@pytest.mark.parametrize("method", ["INVITE", "OPTIONS"])
@pytest.mark.parametrize("status", [404, 408, 486, 503, 603])
def test_a_failure_route_may_answer_once(
    server: OneProcess, peers: tuple[Peer, Peer], caplog: pytest.LogCaptureFixture, method: str, status: int
) -> None:
    caller, callee = peers
    text, call_id = ask(caller, callee, "decides", method)
    callee.reply(callee.wait_request(method), status)
    final = caller.wait_final(call_id)
    assert final.start == "SIP/2.0 404 Decided"
    if method == "INVITE":
        caller.ack(text, final)
    caller.nothing(lambda m: True, 0.1)
    assert "TWICE" not in caplog.text


@pytest.mark.parametrize("method", ["INVITE", "OPTIONS"])
def test_a_failure_route_may_try_another_and_then_answer(
    server: OneProcess, peers: tuple[Peer, Peer], method: str
) -> None:
    caller, callee = peers
    text, call_id = ask(caller, callee, "next", method)
    callee.reply(callee.wait_request(method), 486)
    arrived = callee.wait_request(method)
    assert arrived.ruri == "sip:next@127.0.0.1"
    callee.reply(arrived, 603)
    final = caller.wait_reply(call_id, 404)
    if method == "INVITE":
        caller.ack(text, final)


# --- who looks on


class Watcher(TransactionWatcher):
    def __init__(self) -> None:
        self.told: list[object] = []

    def reply_relayed(self, c: Context, reply: Reply, status: int) -> None:
        self.told.append(status)
        if status >= 200:
            raise ZeroDivisionError("a watcher that raises")


def test_a_watcher_that_raises_costs_the_caller_no_reply(server: OneProcess, peers: tuple[Peer, Peer]) -> None:
    caller, callee = peers
    watcher = Watcher()
    server.do(lambda: server.process.watchers.append(watcher))
    text, call_id = ask(caller, callee, "fork")
    one, two = callee.wait_request("INVITE"), callee.wait_request("INVITE")
    callee.reply(one, 180)
    callee.reply(two, 486)
    callee.reply(one, 603)
    caller.wait_reply(call_id, 180)
    caller.ack(text, caller.wait_final(call_id))
    assert watcher.told == [180, 603]
    wait_until(lambda: server.do(lambda: [relay.context for relay in server.process.proxy.relays.values()]) == [None])


class Marker(TransactionWatcher):
    def __init__(self) -> None:
        self.count = 0

    def relaying(self, c: Context) -> None:
        self.count += 1
        c.record_route = RecordRoute(";mark=m1")


@pytest.mark.parametrize(("user", "branches"), [("bob", 1), ("branch", 1), ("fork", 2)])
def test_what_a_watcher_adds_is_in_every_branch(
    server: OneProcess, peers: tuple[Peer, Peer], user: str, branches: int
) -> None:
    caller, callee = peers
    server.do(lambda: server.process.watchers.append(Marker()))
    text, call_id = ask(caller, callee, user)
    for _ in range(branches):
        arrived = callee.wait_request("INVITE")
        assert arrived.header("Record-Route") == f"<sip:127.0.0.1:{server.sip_port};lr;mark=m1>"
        callee.reply(arrived, 486)
    caller.ack(text, caller.wait_reply(call_id, 486))


def test_a_watcher_hears_nothing_of_what_cannot_be_relayed(server: OneProcess, peers: tuple[Peer, Peer]) -> None:
    caller, callee = peers
    marker = Marker()
    server.do(lambda: server.process.watchers.append(marker))
    text = caller.request("INVITE", "sip:bob@127.0.0.1", extra="X-Callee: 9;transport=carrier-pigeon\r\n")
    caller.send(text)
    caller.ack(text, caller.wait_final(Received(text, ("", 0)).call_id))
    assert marker.count == 0
    callee.nothing(lambda m: True, 0.1)


# --- time


@pytest.fixture
def impatient(tmp: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[OneProcess]:
    """A server whose server transactions wait for a reply for 0.4 s by themselves, and not for 3 minutes."""

    def settled(module: Module | None) -> TmSettings:
        settings = tm_settings(module)
        return replace(settings, timers=replace(settings.timers, unanswered_s=0.4))

    monkeypatch.setattr("runtime.sip_process.tm_settings", settled)
    with one_process(tmp, ROUTES, HEAD) as one:
        yield one


@pytest.mark.parametrize("ringing", [[], [100], [180]])
def test_a_call_is_awaited_for_as_long_as_the_script_says(impatient: OneProcess, ringing: list[int]) -> None:
    caller, callee = Peer(impatient.sip_port), Peer(impatient.sip_port)
    text, call_id = ask(caller, callee, "bob")
    arrived = callee.wait_request("INVITE")
    for status in ringing:
        callee.reply(arrived, status)
    caller.nothing(lambda m: m.status >= 200, 1.5)  # twice the 0.4 s, and more
    callee.reply(arrived, 486)
    caller.ack(text, caller.wait_reply(call_id, 486))
    caller.close()
    callee.close()


def test_another_request_is_awaited_for_as_long_too(impatient: OneProcess) -> None:
    caller, callee = Peer(impatient.sip_port), Peer(impatient.sip_port)
    _, call_id = ask(caller, callee, "bob", "OPTIONS")
    arrived = callee.wait_request("OPTIONS")
    caller.nothing(lambda m: True, 0.7)
    callee.reply(arrived, 200)
    caller.wait_reply(call_id, 200)
    caller.close()
    callee.close()


# --- the end of a drain


def test_a_reply_that_is_parked_goes_up_at_the_end_of_a_drain(server: OneProcess, peers: tuple[Peer, Peer]) -> None:
    caller, callee = peers
    text, call_id = ask(caller, callee, "parked")
    arrived = callee.wait_request("INVITE")
    callee.reply(arrived, 200)
    server.drain(0.3)
    caller.wait_reply(call_id, 200)
    server.wait_end()
    assert text


def test_replies_that_wait_behind_a_parked_one_go_up_too(server: OneProcess, peers: tuple[Peer, Peer]) -> None:
    caller, callee = peers
    text, call_id = ask(caller, callee, "parked")
    arrived = callee.wait_request("INVITE")
    callee.reply(arrived, 183)
    callee.reply(arrived, 486)
    callee.wait_request("ACK")
    server.drain(0.3)
    caller.wait_reply(call_id, 183)
    caller.ack(text, caller.wait_reply(call_id, 486))
    server.wait_end()


def test_a_drain_waits_for_what_is_being_relayed(server: OneProcess, peers: tuple[Peer, Peer]) -> None:
    caller, callee = peers
    _, call_id = ask(caller, callee, "bob", "OPTIONS")
    arrived = callee.wait_request("OPTIONS")
    server.drain(3.0)
    caller.nothing(lambda m: True, 0.2)
    callee.reply(arrived, 200)
    caller.wait_reply(call_id, 200)
    server.wait_end(2.0)


def test_what_rings_at_the_end_of_a_drain_is_ended(server: OneProcess, peers: tuple[Peer, Peer]) -> None:
    caller, callee = peers
    text, call_id = ask(caller, callee, "bob")
    arrived = callee.wait_request("INVITE")
    callee.reply(arrived, 180)
    caller.wait_reply(call_id, 180)
    server.drain(0.2)
    caller.ack(text, caller.wait_reply(call_id, 503))
    assert callee.wait_request("CANCEL").branch == arrived.branch
    server.wait_end()
