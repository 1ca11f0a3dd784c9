"""A SIP process that dies at any step: what it had in hand is done by another one when it is sent again."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

import pytest

from runtime.steps import ServerStep
from tests.harness import Server, wait_until
from tests.processes.faults import PROMPT_S, Calls, Faults, Yard, check_rest, counted, its_own, lost_with
from tests.sip_peer import Peer
from workers.steps import Step

pytestmark = pytest.mark.processes

ROUTES = """
route {
    if ($rm == "CANCEL") { sl_send_reply(481, "Call/Transaction Does Not Exist"); exit; }
    $var(ms) = $(rU{s.substr,1,0});
    switch ($(rU{s.substr,0,1})) {
    case "n":
        async(mi("bench_sleep $var(ms)", $var(r)), done, 20);
    case "t":
        async(mi("bench_wait 5000", $var(r)), done, 1);
    case "i":
        async(mi("bench_wait 20000", $var(r)), quiet, 20);
    case "l":
        launch(mi("bench_sleep $var(ms)", $var(r)), report);
        break;
    case "b":
        mi("bench_wait $var(ms)", $var(r));
        append_to_reply("X-Rc: $rc\\r\\n");
        break;
    case "c":
        cache_store("local", "key-$rU", "_ms\\":$var(ms)");
        cache_fetch("local", "key-$rU", $var(r));
        append_to_reply("X-Rc: $rc\\r\\n");
        break;
    case "r":
        $du = "sip:127.0.0.1:" + $hdr(X-Callee);
        t_relay();
        exit;
    }
    append_to_reply("X-Result: $var(r)\\r\\n");
    sl_send_reply(200, "OK");
}
route[done] {
    append_to_reply("X-Rc: $rc\\r\\n");
    append_to_reply("X-Result: $var(r)\\r\\n");
    update_stat("resumed", 1);
    t_reply(200, "OK");
}
route[quiet] { xlog("resumed with $rc"); }
route[report] { update_stat("reported", 1); }
"""
HEAD = """
modparam("statistics", "variable", "resumed")
modparam("statistics", "variable", "reported")
"""
PROCESSES = 4
"""Each dies now and then, and one that dies for the third time in a row is waited for."""
OPTIONS = ("--udp-workers", str(PROCESSES), "--mi-workers", "2")
NUMBERS = range(10, 18)

PARKS = [
    ServerStep.MESSAGE_RECEIVED,
    ServerStep.PARKING,
    ServerStep.TRANSACTION_MADE,
    Step.JOB_SUBMITTED,
    ServerStep.PARKED,
    Step.BOARD_TOLD,
    Step.JOB_PUT_DOWN,
    Step.FRAME_MADE,
    Step.FRAME_SENT,
    Step.ANSWER_RECEIVED,
    Step.SETTLED,
    ServerStep.TAKEN_UP,
    ServerStep.ANSWERING,
    ServerStep.ANSWERED,
]


@pytest.fixture(scope="module")
def yard(start_shared: Callable[..., Server], faults: Faults) -> Yard:
    return Yard(lambda: start_shared(ROUTES, head=HEAD, options=OPTIONS), faults)


@pytest.fixture(scope="module")
def without_workers(start_shared: Callable[..., Server], faults: Faults) -> Yard:
    options = ("--udp-workers", str(PROCESSES), "--mi-workers", "0")
    return Yard(lambda: start_shared(ROUTES, head=HEAD, options=options), faults)


@pytest.fixture
def server(yard: Yard) -> Server:
    return yard.ready("sip")


def check_replaced(server: Server, faults: Faults) -> None:
    victim = wait_until(faults.victim)
    check_rest(server)
    assert victim not in server.all_pids()


@pytest.mark.parametrize("step", PARKS)
def test_what_is_sent_again_is_answered_with_its_own(server: Server, faults: Faults, step: str) -> None:
    names = ("async:parked", "async:resumed", "script:resumed")
    before, calls = counted(server, *names), Calls(server.client())
    faults.order("sip-*", step, times=2)
    calls.send([f"n{number}" for number in NUMBERS])

    for user, answer, took_s in calls.finals(resend=True):
        assert its_own(user, answer), (user, answer.text)
        assert took_s < PROMPT_S, user
    calls.check_single()
    check_replaced(server, faults)
    after = counted(server, *names)
    parked, resumed, in_script = [after[name] - before[name] for name in names]
    assert len(NUMBERS) - 1 <= resumed <= parked <= 2 * len(NUMBERS), "what was parked and not resumed died"
    assert resumed - 1 <= in_script <= resumed, "nothing resumed twice"


@pytest.mark.parametrize(
    ("kind", "step"),
    [
        ("l", ServerStep.LAUNCHED),
        ("l", ServerStep.REPORTING),
        ("b", ServerStep.STANDING_STILL),
        ("b", ServerStep.MOVING_AGAIN),
        ("c", ServerStep.STORE_LOCKED),
    ],
)
def test_so_is_what_does_not_park(server: Server, faults: Faults, kind: str, step: str) -> None:
    calls = Calls(server.client())
    faults.order("sip-*", step, times=2)
    calls.send([f"{kind}{number}" for number in NUMBERS])

    for user, answer, took_s in calls.finals(resend=True):
        assert kind == "l" or its_own(user, answer), (user, answer.text)
        assert took_s < PROMPT_S, user
    calls.check_single()
    check_replaced(server, faults)
    launched, reported = counted(server, "async:launched", "async:reported").values()
    assert reported <= launched


@pytest.mark.parametrize("step", [ServerStep.HANDED_OVER, ServerStep.TAKING_GIVEN])
def test_a_copy_on_its_way_to_its_owner(server: Server, faults: Faults, step: str) -> None:
    calls = Calls(server.client())
    calls.send([f"n{number}" for number in range(300, 304)])
    wait_until(lambda: counted(server, "async:waiting")["async:waiting"] == 4)
    faults.order("sip-*", step)

    # A copy is read by either process, and goes to the other where it is not its own.
    def copies_are_sent() -> int | None:
        for _, data, _ in calls.sent.values():
            calls.client.send(data)
        return faults.victim()

    wait_until(copies_are_sent)
    for user, answer, took_s in calls.finals(resend=True):
        assert its_own(user, answer), (user, answer.text)
        assert took_s < PROMPT_S + 4 * 0.3, user
    calls.check_single()
    check_replaced(server, faults)


def test_at_a_deadline(server: Server, faults: Faults) -> None:
    calls = Calls(server.client())
    faults.order("sip-*", Step.DEADLINE_SEEN)
    calls.send(["t1", "t2", "t3", "t4"])

    for user, answer, took_s in calls.finals(resend=True):
        assert answer.header("X-Rc") == "-408", user
        assert 1.0 <= took_s < 2.0 + PROMPT_S, user
    check_replaced(server, faults)


def test_when_it_hears_of_a_workers_death(server: Server, faults: Faults) -> None:
    calls = Calls(server.client())
    calls.send([f"n{number}" for number in range(200, 206)])
    wait_until(lambda: counted(server, "async:waiting")["async:waiting"] == 6)
    faults.order("sip-*", Step.LOSS_HEARD)
    os.kill(server.pids("MI worker")[0], signal.SIGKILL)

    for user, answer, took_s in calls.finals(resend=True):
        assert its_own(user, answer) or lost_with(answer), (user, answer.text)
        assert took_s < PROMPT_S + 6 * 0.2, user
    check_replaced(server, faults)


@pytest.mark.parametrize("step", [ServerStep.CANCELLED, Step.CANCEL_ASKED])
def test_a_call_that_dies_of_its_cancel_is_gone_and_nothing_else_is(server: Server, faults: Faults, step: str) -> None:
    caller = Peer(server.sip_port)
    invite = caller.request("INVITE", f"sip:i1@127.0.0.1:{server.sip_port}")
    caller.send(invite)
    call_id = invite.partition("Call-ID: ")[2].partition("\r\n")[0]
    caller.wait_reply(call_id, 100)
    faults.order("sip-*", step)
    caller.cancel(invite)
    wait_until(faults.victim)

    # Its INVITE is not sent again, for it was answered provisionally; the CANCEL is, and finds nobody.
    def cancelled_again() -> bool:
        caller.cancel(invite)
        caller.collect(0.2)
        return any(one.is_reply and one.method == "CANCEL" and one.status >= 200 for one in caller.received)

    wait_until(cancelled_again)
    caller.nothing(lambda one: one.is_reply and one.method == "INVITE" and one.status >= 200)
    caller.close()
    calls = Calls(server.client())
    calls.send([f"n{number}" for number in NUMBERS])
    assert all(its_own(user, answer) for user, answer, _ in calls.finals(resend=True))
    check_replaced(server, faults)


@pytest.mark.parametrize("step", [ServerStep.RELAYED, ServerStep.REPLY_RECEIVED])
def test_what_was_relayed_is_relayed_again_as_the_copy_that_it_is(server: Server, faults: Faults, step: str) -> None:
    caller, callee = Peer(server.sip_port), Peer(server.sip_port)
    faults.order("sip-*", step)
    text = caller.request("MESSAGE", f"sip:r1@127.0.0.1:{server.sip_port}", extra=f"X-Callee: {callee.port}\r\n")
    caller.send(text)
    first = callee.wait_request("MESSAGE")
    if step == ServerStep.REPLY_RECEIVED:
        callee.reply(first, 200)
    wait_until(faults.victim)
    callee.received.clear()
    caller.send(text)
    again = callee.wait_request("MESSAGE")
    callee.reply(again, 200)

    assert again.branch == first.branch
    assert caller.wait_final(again.call_id, "MESSAGE").status == 200
    caller.close()
    callee.close()
    check_replaced(server, faults)


@pytest.mark.parametrize("step", [ServerStep.PARKED, Step.FRAME_SENT, Step.ANSWER_RECEIVED, ServerStep.TAKEN_UP])
def test_one_that_was_stopped_resumes_what_it_had_each_once(server: Server, faults: Faults, step: str) -> None:
    """Copies that come meanwhile are for it, and no other process begins with them anew."""
    names = ("async:parked", "async:resumed", "script:resumed")
    before, calls = counted(server, *names), Calls(server.client())
    faults.order("sip-*", step, times=2, number=signal.SIGSTOP)
    calls.send([f"n{number}" for number in NUMBERS])
    victim = wait_until(faults.victim)
    for _ in range(3):
        for _, data, _ in calls.sent.values():
            calls.client.send(data)
        calls.client.collect(0.05)
    os.kill(victim, signal.SIGCONT)

    for user, answer, took_s in calls.finals(resend=True):
        assert its_own(user, answer), (user, answer.text)
        assert took_s < PROMPT_S, user
    calls.check_single()
    check_rest(server)
    assert victim in server.all_pids()
    after = counted(server, *names)
    assert {name: after[name] - before[name] for name in names} == dict.fromkeys(names, len(NUMBERS))


@pytest.mark.parametrize(
    ("number", "step"), [(1, Step.BORN), (2, Step.SET_UP), (3, Step.READY_SAID), (4, Step.ATTENDANT_HEARD)]
)
def test_a_replacement_that_dies_is_replaced(yard: Yard, faults: Faults, number: int, step: str) -> None:
    server = yard.ready("sip", deaths=2)
    calls, first = Calls(server.client()), server.pids("SIP")[number - 1]
    faults.order(f"sip-{number}", step)
    os.kill(first, signal.SIGKILL)
    second = wait_until(faults.victim)
    calls.send([f"n{number}" for number in NUMBERS])

    assert all(its_own(user, answer) for user, answer, _ in calls.finals(resend=True))
    check_replaced(server, faults)
    assert not {first, second} & set(server.all_pids())


def test_at_its_leave_after_a_shutdown(yard: Yard, faults: Faults) -> None:
    server = yard.ready("sip")
    calls = Calls(server.client())
    calls.send(["n200"])
    wait_until(lambda: counted(server, "async:waiting")["async:waiting"] == 1)
    faults.order("sip-*", Step.LEAVING)
    at = time.monotonic()
    server.process.send_signal(signal.SIGTERM)

    ((user, answer, _),) = calls.finals()
    assert its_own(user, answer)
    assert server.wait() == 0
    assert time.monotonic() - at < PROMPT_S + 3.0
    assert faults.victim() is not None
    assert not server.folder.exists()


@pytest.mark.parametrize(
    "step", [Step.JOB_RECEIVED, Step.JOB_BEGUN, ServerStep.COMMAND_RUN, Step.ANSWER_MADE, Step.FRAME_SENT]
)
def test_one_that_runs_the_jobs_of_others(without_workers: Yard, faults: Faults, step: str) -> None:
    server = without_workers.ready("sip")
    calls = Calls(server.client())
    faults.order("sip-*", step, times=2)
    calls.send([f"n{number}" for number in NUMBERS])

    for user, answer, took_s in calls.finals(resend=True):
        assert its_own(user, answer) or lost_with(answer), (user, answer.text)
        assert took_s < PROMPT_S, user
    check_replaced(server, faults)


def test_one_that_dies_of_a_withdrawal(without_workers: Yard, faults: Faults) -> None:
    server = without_workers.ready("sip")
    calls = Calls(server.client())
    faults.order("sip-*", Step.WITHDRAWAL_HEARD)
    calls.send(["t1", "t2", "t3", "t4"])

    for user, answer, took_s in calls.finals(resend=True):
        assert answer.header("X-Rc") == "-408" or lost_with(answer), user
        assert took_s < 2.0 + PROMPT_S, user
    check_replaced(server, faults)
