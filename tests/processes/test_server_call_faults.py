"""Calls go on while processes are killed and stopped under them.

Short here; by hand ``LAYBY_CALLS_PER_S=100 LAYBY_CALLS_S=60 pytest tests/processes/test_server_call_faults.py -s``.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable

import pytest

from tests.call_load import RING_S, TALK_S, Call, Load
from tests.harness import Server
from tests.sip_peer import Peer, Received

pytestmark = pytest.mark.processes

CALLS_PER_S = float(os.environ.get("LAYBY_CALLS_PER_S", "40"))
CALLS_S = float(os.environ.get("LAYBY_CALLS_S", "1.0"))
"""How long calls are placed before, and how long after something happens to a process."""
PATIENCE_S = 5.0
"""What calls may take to come to their end: some of their messages are lost, and sent again after up to 4 s."""
SETUP_S = 1.0
"""How long a new call may take until it rings, whatever has just happened."""
IN_SOCKET_S = 0.05
"""What a process has sent before its death may be read so long after it."""
KILL_EVERY_S = 1.2
"""Each kind in turn: more than ten deaths of one kind in half a minute would end the server."""
STOP_S = 2.0
"""How long a process is stopped."""

HEAD = """
loadmodule "rr.so"
"""
ROUTES = """
route {
    append_hf("X-Owner: $pp\\r\\n");
    if (has_totag()) {
        loose_route();
        t_relay();
        exit;
    }
    record_route();
    $du = "sip:127.0.0.1:" + $hdr(X-Callee);
    switch ($rU) {
    case "request":
        async(mi("bench_wait 30", $avp(r)), go);
    case "busy":
        t_on_failure("next");
        break;
    case "reply":
        t_on_reply("seen");
        break;
    }
    t_relay();
}
route[go] {
    t_relay();
}
failure_route[next] {
    async(mi("bench_wait 30", $avp(r)), next_after);
}
route[next_after] {
    $rU = "bob";
    t_relay();
}
onreply_route[seen] {
    async(mi("bench_wait 30", $avp(r)), seen_after);
}
route[seen_after] {
    append_hf("X-Seen: $rs\\r\\n");
}
"""
OPTIONS = ("--udp-workers", "3", "--mi-workers", "2")
USERS = ("bob", "request", "busy", "reply")


@pytest.fixture
def server(start_server: Callable[..., Server]) -> Server:
    return start_server(ROUTES, head=HEAD, options=OPTIONS)


@pytest.fixture(params=[1, 3], ids=["one reads", "all read"])
def any_server(request: pytest.FixtureRequest, start_server: Callable[..., Server]) -> Server:
    """Servers of which one process reads the sockets while that is enough, and of which all do."""
    return start_server(ROUTES, head=f"udp_readers={request.param}\n{HEAD}", options=OPTIONS)


async def pids(server: Server, kind: str) -> list[int]:
    """The living processes of a kind; none while nobody answers MI."""

    def found() -> list[int]:
        rows = server.mi("ps")["Processes"]
        return [
            row["PID"] for row in rows if row["Type"].startswith(kind) and (kind != "MI" or row["Type"] != "MI worker")
        ]

    try:
        return await asyncio.to_thread(found)
    except (OSError, ValueError):
        return []


def stage(load: Load, call: Call, at: float) -> str:
    """How far a call was, for a failing test to tell."""
    times = {"begun": call.begun, "ringing": call.ringing, "answered": call.answered, "over": call.over}
    told = " ".join(f"{name} {moment - at:+.3f}" for name, moment in times.items() if moment)
    return f"{call.user} {call.call_id}: {told} {call.finals} by {call.owners} {call.bye_owners} acked {call.acked}"


def busiest(load: Load) -> int:
    """The SIP process that has the most calls in its hands."""
    under_way = [call.owners[-1] for call in load.calls.values() if call.owners and not call.answered]
    return int(max(set(under_way), key=under_way.count))


class Happened:
    """What became of a load of calls in whose middle something was done to a process."""

    def __init__(self, load: Load, pid: int, at: float) -> None:
        self.load, self.pid, self.at = load, pid, at
        self.calls = list(load.calls.values())

    def __str__(self) -> str:
        lost = sum(not call.completed for call in self.calls)
        moved = sum(len(set(call.owners)) > 1 for call in self.calls)
        carried = sum(call.passed_through(self.pid) for call in self.calls)
        return f"{len(self.calls)} calls, {carried} through {self.pid}; {lost} lost, {moved} relayed again by another"

    def tell(self, calls: list[Call]) -> str:
        return "\n".join([f"{self.pid} at {self.at:.3f}", *(stage(self.load, call, self.at) for call in calls[:20])])

    def lost_with_it(self, call: Call) -> bool:
        """Whether a process took the call along that had it in its hands: its caller waits for what nobody knows of."""
        # Of a call that was parked and not relayed yet nobody can tell whose it was.
        its_own = call.passed_through(self.pid) or not call.owners
        return (
            its_own and call.begun <= self.at and any(call.was_waiting(self.at + heard) for heard in (0, IN_SOCKET_S))
        )

    def check(self, may_fail: Callable[[Call], bool]) -> None:
        failed = [call for call in self.calls if not call.completed and not may_fail(call)]
        assert not failed, f"calls that did not come to their end:\n{self.tell(failed)}"
        contradicted = [call for call in self.calls if call.contradicted]
        assert not contradicted, f"requests with two answers:\n{self.tell(contradicted)}"
        doubled = [call for call in self.calls if any(len(seen) > 1 for seen in call.branches.values())]
        assert not doubled, f"requests that the callee could not know as copies:\n{self.tell(doubled)}"

    def check_new_calls(self, ends: float) -> None:
        """Those that were placed after it happened ring within a second."""
        slow = [c for c in self.calls if self.at <= c.begun < ends and not 0 < c.ringing - c.begun < SETUP_S]
        assert not slow, f"new calls that had to wait:\n{self.tell(slow)}"


async def kill_one(server: Server, kind: str, *, stubborn: bool = False, users: tuple[str, ...] = USERS) -> Happened:
    """Kill one process in the middle of a load of calls."""
    async with Load(server.sip_port, CALLS_PER_S, users, stubborn=stubborn) as load:
        before = await pids(server, kind)
        await asyncio.sleep(CALLS_S)
        victim = busiest(load) if kind == "SIP" else before[0]
        killed_at = time.monotonic()
        os.kill(victim, signal.SIGKILL)
        happened = Happened(load, victim, killed_at)
        await asyncio.sleep(CALLS_S)
        await load.end(PATIENCE_S, lambda call: not stubborn and kind == "SIP" and happened.lost_with_it(call))
        happened.calls = list(load.calls.values())
        after: list[int] = []
        ends = time.monotonic() + PATIENCE_S
        while len(after) < len(before) or victim in after:
            assert time.monotonic() < ends, f"{before} are now {after}"
            after = await pids(server, kind)
    assert "Traceback" not in server.log()
    print(happened)
    return happened


# Kills.


def test_a_killed_sip_process_takes_along_only_calls_that_it_had_in_its_hands(any_server: Server) -> None:
    happened = asyncio.run(kill_one(any_server, "SIP"))

    happened.check(may_fail=happened.lost_with_it)
    happened.check_new_calls(happened.at + CALLS_S - RING_S)
    assert any(call.passed_through(happened.pid) for call in happened.calls), "it had calls"


def test_calls_of_a_killed_sip_process_whose_requests_are_sent_again_come_to_their_end(any_server: Server) -> None:
    happened = asyncio.run(kill_one(any_server, "SIP", stubborn=True))

    happened.check(may_fail=lambda call: False)
    moved = [call for call in happened.calls if len(set(call.owners)) > 1]
    assert moved, "INVITEs of the dead process were relayed again by another one"
    assert all(call.passed_through(happened.pid) for call in moved)


def test_a_request_whose_process_dies_is_relayed_again_as_the_copy_that_it_is(server: Server) -> None:
    caller, callee = Peer(server.sip_port), Peer(server.sip_port)
    to_callee = f"X-Callee: {callee.port}\r\n"

    def relayed_twice(text: str, method: str) -> Received:
        """Send a request, kill the process that relays it, and send it again; what the callee has got of it."""
        caller.send(text)
        first = callee.wait_request(method)
        os.kill(int(first.header("X-Owner")), signal.SIGKILL)
        again = None
        while again is None or again.header("X-Owner") == first.header("X-Owner"):
            caller.send(text)
            again = callee.wait_request(method)
        assert again.branch == first.branch
        assert again.headers("Via") == first.headers("Via")
        return again

    invite = caller.request("INVITE", f"sip:bob@127.0.0.1:{server.sip_port}", extra=to_callee)
    arrived = relayed_twice(invite, "INVITE")
    callee.reply(arrived, 200)
    answered = caller.wait_final(arrived.call_id, "INVITE")
    assert answered.status == 200
    within = {
        "call_id": arrived.call_id,
        "to_tag": answered.header("To").partition("tag=")[2],
        "extra": f"Route: {answered.header('Record-Route')}\r\n",
    }
    caller.send(caller.request("ACK", callee.uri, **within))
    callee.wait_request("ACK")
    arrived = relayed_twice(caller.request("BYE", callee.uri, cseq=2, **within), "BYE")
    callee.reply(arrived, 200)

    assert caller.wait_final(arrived.call_id, "BYE").status == 200
    caller.nothing(lambda message: message.status > 200)
    caller.close()
    callee.close()


@pytest.mark.parametrize("kind", ["MI worker", "MI"])
def test_no_call_is_lost_with_a_killed_process_that_carries_none(server: Server, kind: str) -> None:
    happened = asyncio.run(kill_one(server, kind))

    happened.check(may_fail=lambda call: False)
    happened.check_new_calls(happened.at + CALLS_S - RING_S)


@pytest.mark.parametrize("user", ["request", "busy", "reply"])
def test_calls_parked_in_a_killed_process_come_to_their_end_when_they_are_sent_again(
    start_server: Callable[..., Server], user: str
) -> None:
    server = start_server(ROUTES.replace("bench_wait 30", "bench_wait 400"), head=HEAD, options=OPTIONS)
    happened = asyncio.run(kill_one(server, "SIP", stubborn=True, users=(user,)))

    happened.check(may_fail=lambda call: False)
    assert [call for call in happened.calls if len(set(call.owners)) > 1]


def test_jobs_that_a_killed_sip_process_ran_for_another_fail_and_their_calls_go_on(
    start_server: Callable[..., Server],
) -> None:
    server = start_server(ROUTES, head=HEAD, options=("--udp-workers", "3", "--mi-workers", "0"))
    happened = asyncio.run(kill_one(server, "SIP", stubborn=True))

    happened.check(may_fail=lambda call: False)
    happened.check_new_calls(happened.at + CALLS_S - RING_S)


def test_calls_survive_one_kill_after_the_other(server: Server) -> None:
    async def scenario() -> Happened:
        async with Load(server.sip_port, CALLS_PER_S, USERS, stubborn=True) as load:
            began = time.monotonic()
            for number in range(max(3, int(2 * CALLS_S))):
                await asyncio.sleep(KILL_EVERY_S)
                kind = ("SIP", "MI worker", "MI")[number % 3]
                victims = await pids(server, kind)
                if victims:
                    os.kill(busiest(load) if kind == "SIP" else victims[number // 3 % len(victims)], signal.SIGKILL)
            await load.end(2 * PATIENCE_S)
            return Happened(load, 0, began)

    happened = asyncio.run(scenario())
    print(happened)
    happened.check(may_fail=lambda call: False)
    assert server.process.poll() is None


# Stops.


def test_a_stopped_sip_process_stops_only_its_own_calls_and_they_go_on_after_it(any_server: Server) -> None:
    async def scenario() -> tuple[Happened, float]:
        async with Load(any_server.sip_port, CALLS_PER_S, USERS) as load:
            await asyncio.sleep(CALLS_S)
            victim = busiest(load)
            stopped_at = time.monotonic()
            os.kill(victim, signal.SIGSTOP)
            try:
                await asyncio.sleep(STOP_S)
            finally:
                os.kill(victim, signal.SIGCONT)
            went_on_at = time.monotonic()
            await asyncio.sleep(CALLS_S / 2)
            await load.end(2 * PATIENCE_S)
            return Happened(load, victim, stopped_at), went_on_at

    happened, went_on_at = asyncio.run(scenario())
    print(happened)
    happened.check(may_fail=lambda call: False)
    happened.check_new_calls(went_on_at)
    others = [c for c in happened.calls if happened.at < c.begun < went_on_at and not c.passed_through(happened.pid)]
    late = [call for call in others if call.over > call.begun + RING_S + TALK_S + SETUP_S]
    assert len(others) > CALLS_PER_S * STOP_S / 2
    assert not late, f"calls of other processes that had to wait:\n{happened.tell(late)}"


def test_copies_for_a_stopped_process_make_no_second_request_of_one(any_server: Server) -> None:
    """They wait for it, as many as the kernel holds, and beyond that they are lost as datagrams may be."""

    async def scenario() -> Happened:
        async with Load(any_server.sip_port, CALLS_PER_S, ("request", "bob"), stubborn=True) as load:
            await asyncio.sleep(CALLS_S / 2)
            victim = busiest(load)
            os.kill(victim, signal.SIGSTOP)
            try:
                stopped_at = time.monotonic()
                mine = [c for c in load.calls.values() if str(victim) in c.owners[-1:] and not c.answered]
                for _ in range(1000):
                    for call in mine:
                        load.caller.copy(call)
                    await asyncio.sleep(0)
                await asyncio.sleep(CALLS_S / 2)
            finally:
                os.kill(victim, signal.SIGCONT)
            await load.end(2 * PATIENCE_S)
            return Happened(load, victim, stopped_at)

    happened = asyncio.run(scenario())
    print(happened)
    happened.check(may_fail=lambda call: False)
    assert any_server.statistic("core:lost_handovers") > 0
    moved = [call for call in happened.calls if len(set(call.owners)) > 1]
    assert not moved, f"requests that were relayed by two processes:\n{happened.tell(moved)}"
