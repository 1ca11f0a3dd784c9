"""What has crashed, hung or leaked in OpenSIPS where a message was parked, and must not here.

Each test has the number of its row in the project's list of such reports, and names OpenSIPS's issue on GitHub.
`test_must_survive_list.py` counts the rows, wherever they are. Further sides of A29 stand below and, for request
routes, in `test_server_parks_everywhere.py`; of A30 in `test_server_call_faults.py`.

Short here; by hand ``LAYBY_MANY=15 pytest tests/acceptance/test_must_survive_sip.py -s`` for fifteen times as many.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.call_rush import Rush, Rushed
from tests.harness import Server, wait_until
from tests.processes.dialog_calls import Call
from tests.sip_peer import Peer, Received

pytestmark = pytest.mark.processes

MANY = float(os.environ.get("LAYBY_MANY", "1"))
LEAK_BYTES = 1000
"""A call. Less than a parked context takes, and much less than one with its message."""
LAUNCHED = 200
"""Jobs of one request."""
JOB_LEAK_BYTES = 100
"""A job. OpenSIPS lost 784 bytes with each that answers later."""
NOISE_BYTES = 1_500_000
"""What all SIP processes together may take or give back for reasons of their own."""

HEAD = """
loadmodule "rr.so"
loadmodule "dialog.so"
loadmodule "event_route.so"
modparam("tm", "T1_timer", 20)
modparam("tm", "T4_timer", 100)
modparam("tm", "onreply_avp_mode", 1)
modparam("tm", "fr_timeout", 5)
modparam("statistics", "variable", "wrong")
"""
"""T1 as short as can be: what lingers for 64 times T1 is gone after a good second."""
ROUTES = """
route {
    if (!loose_route()) $du = "sip:127.0.0.1:" + $hdr(X-To);
    if (is_method("ACK")) {
        append_hf("X-Ack: before\\r\\n");
        async(mi("uptime", $avp(r)), ack);
    }
    if (is_method("CANCEL")) {
        if (t_check_trans()) t_relay();
        exit;
    }
    if (has_totag()) {
        t_relay();
        exit;
    }
    $avp(n) = 0;
    switch ($rU) {
    case "busy":
        t_on_failure("busy");
        break;
    case "chain":
        append_hf("X-Step: start\\r\\n");
        async(mi("uptime", $avp(r)), chain);
    case "dialog":
        create_dialog();
        record_route();
        async(mi("uptime", $avp(r)), dialog);
    case "lumps":
        append_hf("X-Before: yes\\r\\n");
        async(mi("bench_wait 1", $avp(r)), lumps);
    case "uri":
        async(mi("uptime"), uri2);
    case "replies":
        t_on_reply("replies");
        break;
    case "fork":
        append_msg_branch("sip:other@127.0.0.1:$hdr(X-To)");
        t_on_reply("fork");
        t_on_failure("fork");
        break;
    case "own":
        t_new_request("MESSAGE", "sip:own@127.0.0.1:$hdr(X-To)", "sip:us@here", "sip:peer@there", "text/plain $ci");
        sl_send_reply(200, "OK");
        exit;
    case "goodbye":
        if (!t_relay()) update_stat("wrong", 1);
        async(mi("bench_wait 200", $avp(r)), goodbye);
    case "pending":
        async(mi("bench_wait $hdr(X-Ms)", $avp(r)), pending);
    case "many":
        $var(i) = 0;
        while ($var(i) < LAUNCHED) {
            $var(i) = $var(i) + 1;
            launch(mi("bench_wait 1"));
        }
        sl_send_reply(200, "OK");
        exit;
    case "launch":
        launch(mi("uptime"), report, "request");
        $avp(v) = "x";
        raise_event("E_LAUNCH", $avp(v));
        t_on_branch("launching");
        t_on_reply("launching");
        t_on_failure("launching");
        break;
    case "parked-failure":
        t_on_failure("parked");
        break;
    case "parked-reply":
        t_on_reply("parked");
        break;
    case "parked-branch":
        t_on_branch("parked");
        break;
    case "parked-request":
        async(mi("bench_wait 300", $avp(r)), parked_request);
    }
    t_relay();
}
route[ack] {
    append_hf("X-Ack: after $rc\\r\\n");
    t_relay();
}
failure_route[busy] {
    $avp(code) = $T_reply_code;
    append_hf("X-Failed: $T_reply_code\\r\\n");
    async(mi("bench_wait 1", $avp(r)), next);
}
route[next] {
    append_hf("X-Next: $avp(code) $rc\\r\\n");
    $rU = "free";
    t_relay();
}
route[chain] {
    $avp(n) := $avp(n) + 1;
    append_hf("X-Step: $avp(n)\\r\\n");
    if ($avp(n) < 3) async(mi("uptime", $avp(r)), chain);
    t_relay();
}
route[dialog] {
    $avp(n) := $avp(n) + 1;
    $dlg_val(n) = $avp(n);
    if ($avp(n) < 5) async(mi("bench_wait 1", $avp(r)), dialog);
    t_relay();
}
route[lumps] {
    append_hf("X-After: $rc\\r\\n");
    record_route(";mark=once");
    if (record_route()) update_stat("wrong", 1);
    t_relay();
}
route[uri2] {
    $ru = "sip:changed@192.0.2.7:5099";
    async(mi("bench_wait 1"), uri3);
}
route[uri3] {
    append_hf("X-Uri: $rU $rd $rp $ou\\r\\n");
    async(mi("no_such_command"), uri4);
}
route[uri4] {
    append_hf("X-Still: $ru\\r\\n");
    t_relay();
}
onreply_route[replies] {
    async(mi("bench_wait 30", $avp(r)), replies_after);
}
route[replies_after] { append_hf("X-Seen: $rs $rc\\r\\n"); }
onreply_route[fork] {
    $avp(before) = "branch " + $T_branch_idx + ": " + $rs;
    async(mi("bench_wait 1", $avp(r)), fork_after);
}
route[fork_after] { $avp(after) = "branch " + $T_branch_idx + ": " + $rs; }
failure_route[fork] {
    append_to_reply("X-Before: $(avp(before)[*])\\r\\n");
    append_to_reply("X-After: $(avp(after)[*])\\r\\n");
    t_reply(480, "Both");
}
local_route {
    launch(mi("uptime"), report, "local");
    async(mi("uptime", $avp(r)), own);
}
route[own] { append_hf("X-Own: $rm $rc\\r\\n"); }
route[goodbye] {
    if (t_reply(500, "Too late")) update_stat("wrong", 1);
    if (t_relay()) update_stat("wrong", 1);
    cache_store("local", "goodbye $ci", "$rc");
}
route[pending] {
    append_to_reply("X-Result: $avp(r)\\r\\n");
    t_reply(200, "OK");
}
branch_route[launching] { launch(mi("uptime"), report, "branch"); }
onreply_route[launching] { launch(mi("uptime"), report, "onreply"); }
failure_route[launching] { launch(mi("uptime"), report, "failure"); }
event_route[E_LAUNCH] { launch(mi("uptime"), report, "event"); }
timer_route[launching, 1] { launch(mi("uptime"), report, "timer"); }
startup_route { launch(mi("uptime"), report, "startup"); }
error_route { launch(mi("uptime"), report, "error"); }
route[report] { cache_store("local", "report $param(1)", "$rc $rm"); }
failure_route[parked] {
    async(mi("bench_wait 8000", $avp(r)), parked_failure);
}
route[parked_failure] {
    cache_store("local", "rc $ci", "$rc");
    $rU = "free";
    if (t_relay()) update_stat("wrong", 1);
}
onreply_route[parked] {
    async(mi("bench_wait 300", $avp(r)), parked_reply);
}
route[parked_reply] { append_hf("X-Parked: $rs $rc\\r\\n"); }
branch_route[parked] {
    async(mi("bench_wait 8000", $avp(r)), parked_branch);
}
route[parked_branch] { cache_store("local", "rc $ci", "$rc"); }
route[parked_request] { t_reply(404, "Nobody is there any more"); }
""".replace("LAUNCHED", str(LAUNCHED))
OPTIONS = ("--udp-workers", "2", "--mi-workers", "2")


@pytest.fixture(scope="module")
def server(start_shared: Callable[..., Server]) -> Server:
    return start_shared(ROUTES, head=f"udp_readers=2\n{HEAD}", options=OPTIONS)


def answers(user: str) -> tuple[int, ...]:
    """What the users answer that are called in a rush."""
    known = {"busy": (486,), "fork": (404,), "other": (486,), "replies": (183, 200, 200, 200), "launch": (486,)}
    return known.get(user, (200,))


@pytest.fixture
def rush(server: Server) -> Iterator[Rush]:
    one = Rush(server.sip_port, answers)
    yield one
    one.close()


@pytest.fixture(autouse=True)
def _sound(server: Server) -> Iterator[None]:
    """After each test: nobody died, nothing raised, and what was parked has resumed."""
    yield
    parked, resumed = "async:parked", "async:resumed"
    wait_until(lambda: server.statistic(parked) == server.statistic(resumed), what="everything has resumed")
    assert server.statistic("async:script_errors") == 0
    assert server.statistic("script:wrong") == 0
    assert "Traceback" not in server.log()
    assert "ended: " not in server.log()


def only(calls: list[Rushed], status: int = 200) -> None:
    """Each call got that final reply, and no other."""
    odd = [call for call in calls if {one.status for one in call.replies if one.status >= 200} != {status}]
    assert not odd, [[one.start for one in call.replies] for call in odd[:5]]


def cached(server: Server, key: str) -> str | None:
    """What the script has stored."""
    reply = server.rpc(f'{{"jsonrpc":"2.0","id":1,"method":"cache_fetch","params":["local","{key}"]}}')
    return reply["result"]["value"] if "result" in reply else None


def waiting(server: Server) -> list[str]:
    """The jobs that contexts are parked for; those of the timer route come and go."""
    return [str(job["id"]) for job in server.mi("job_list")["Jobs"] if job["command"] == "bench_wait"]


def private_bytes(server: Server, kind: str) -> int:
    """Memory that the processes of a kind have to themselves."""
    found = 0
    for pid in server.pids(kind):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            found += int(line.split()[1]) * 1024 if line.startswith("Private_") else 0
    return found


def growth(server: Server, load: Callable[[], Any], kind: str = "SIP") -> int:
    """By how many bytes the processes of a kind are bigger after a load than after the same load before."""
    used = []
    for _ in range(3):
        load()
        for name in ("tm:inuse_transactions", "tm:inuse_branches"):
            wait_until(lambda name=name: server.statistic(name) == 0, what=f"{name} is 0")
        used.append(private_bytes(server, kind))
    print(used)
    return used[2] - used[1]


# Memory.


def test_a05_a_second_target_behind_a_parked_failure_route_is_tried_and_nothing_lost(
    server: Server, rush: Rush
) -> None:
    # #1312: one call in thousands crashed, and gigabytes leaked.
    count = int(700 * MANY)

    def load() -> None:
        calls = rush.call(count, "busy")
        only(calls)
        for call in calls:
            first, second = call.arrived
            assert (first.ruri.partition("@")[0], second.ruri.partition("@")[0]) == ("sip:busy", "sip:free")
            assert second.headers("X-Failed") == ["486"]
            assert second.headers("X-Next") == ["486 1"]

    assert growth(server, load) < NOISE_BYTES + count * LEAK_BYTES


def test_a11_headers_added_between_chained_parkings_are_there_once_and_leak_nothing(server: Server, rush: Rush) -> None:
    # #3914: header changes leaked at each parking.
    count = int(700 * MANY)

    def load() -> None:
        calls = rush.call(count, "chain")
        only(calls)
        assert all([one.headers("X-Step") for one in call.arrived] == [["start", "1", "2", "3"]] for call in calls)

    assert growth(server, load) < NOISE_BYTES + count * LEAK_BYTES


def test_fact_13_jobs_that_answer_later_leave_nothing_in_the_workers_that_run_them(server: Server) -> None:
    count = int(25 * MANY)
    client = server.client()

    def load() -> None:
        assert all(client.ask("many").status == 200 for _ in range(count))
        wait_until(lambda: server.statistic("async:reported") >= server.statistic("async:launched"), 30 * MANY)

    assert growth(server, load, "MI worker") < NOISE_BYTES + count * LAUNCHED * JOB_LEAK_BYTES


# Chains.


def test_a04_a_dialog_lives_through_five_chained_parkings(server: Server, phones: tuple[Peer, Peer]) -> None:
    # #780, #759, #2796: two and three parkings one after the other, in a loop, with dialogs.
    for _ in range(5):
        call = Call(*phones)
        call.ring("dialog")
        call.pick_up()
        call.say("ACK", cseq=1)
        assert phones[1].wait_request("ACK").headers("X-Ack") == ["before", "after 1"]
        dialog = server.mi("dlg_list_ctx", {"callid": call.call_id})["Dialog"]
        assert {"n": 5} in dialog["context"]["values"]
        assert dialog["state"] == 4
        call.hang_up()


def test_a10_a_request_uri_changed_between_parkings_stays_changed(rush: Rush) -> None:
    # #3676, #3821: $rd went back to what it had been.
    for call in rush.call(50, "uri"):
        (arrived,) = call.arrived
        assert arrived.header("X-Uri").startswith("changed 192.0.2.7 5099 sip:uri@127.0.0.1")
        assert arrived.header("X-Still") == arrived.ruri == "sip:changed@192.0.2.7:5099"


def test_a09_what_is_changed_before_a_parking_and_after_it_goes_out_once(rush: Rush) -> None:
    # #1683, #1948: record_route() and header changes in a resume route.
    for call in rush.call(50, "lumps"):
        (arrived,) = call.arrived
        assert arrived.headers("X-Before") == ["yes"]
        assert arrived.headers("X-After") == ["1"]
        (recorded,) = arrived.headers("Record-Route")
        assert recorded.count("mark=once") == 1


# In every kind of route.


def test_a01_requests_of_our_own_that_park_in_their_local_route_are_each_sent_once(
    server: Server, phones: tuple[Peer, Peer]
) -> None:
    # #820: a crash, and in 3.6.8 a process that hangs.
    caller, callee = phones
    asked = set()
    for _ in range(100):
        text = caller.request("OPTIONS", f"sip:own@127.0.0.1:{server.sip_port}", extra=f"X-To: {callee.port}\r\n")
        caller.send(text)
        asked.add(caller.wait_reply(Received(text, ("", 0)).call_id, 200).call_id)
    sent: dict[str, Received] = {}
    while len(sent) < len(asked):
        arrived = callee.wait_request("MESSAGE")
        callee.reply(arrived, 200)
        sent[arrived.branch] = arrived  # a copy has the branch of the first

    assert sorted(one.body for one in sent.values()) == sorted(asked)
    assert all(one.headers("X-Own") == ["MESSAGE 1"] for one in sent.values())
    callee.nothing(lambda message: message.branch not in sent, 0.1)


def test_a02_an_ack_from_end_to_end_that_parks_is_forwarded_once(rush: Rush) -> None:
    # #819: a crash, and in 3.6.8 a process that hangs.
    calls = rush.call(300, "free")
    only(calls)
    wait_until(lambda: rush.turn(0.01) or all(call.acks for call in calls), what="every callee has its ACK")

    assert all(set(call.acks.values()) == {1} for call in calls)
    assert all(len(call.acks) == len(call.replies) for call in calls), "one for each 200"


def test_a06_replies_that_park_go_up_in_their_order_and_copies_not_twice(rush: Rush) -> None:
    # #1025: a crash when 183 and 200 came while a reply was parked.
    calls = rush.call(100, "replies")
    wait_until(lambda: rush.turn(0.01) or all(len(call.replies) == 4 for call in calls), what="each copy went up")

    for call in calls:
        assert [reply.status for reply in call.replies] == [183, 200, 200, 200]
        assert [reply.headers("X-Seen") for reply in call.replies] == [[f"{r.status} 1"] for r in call.replies]


def test_a13_two_replies_that_park_at_the_same_time_leave_each_others_values_alone(rush: Rush) -> None:
    # #3688: AVPs of the transaction were corrupted.
    calls = rush.call(200, "fork")
    only(calls, 480)
    for call in calls:
        final = call.final
        assert final is not None
        for name in ("X-Before", "X-After"):
            assert sorted(final.header(name).split(", ")) == ["branch 0: 404", "branch 1: 486"]


def test_a08_parking_behind_the_relaying_changes_nothing_for_what_is_relayed(
    server: Server, phones: tuple[Peer, Peer]
) -> None:
    # #1888: async() behind t_relay() of a BYE crashed.
    caller, callee = phones
    for _ in range(10):
        text = caller.request("BYE", f"sip:goodbye@127.0.0.1:{server.sip_port}", extra=f"X-To: {callee.port}\r\n")
        caller.send(text)
        arrived = callee.wait_request("BYE")
        callee.reply(arrived, 200)
        assert caller.wait_final(arrived.call_id).status == 200
        wait_until(lambda arrived=arrived: cached(server, f"goodbye {arrived.call_id}"), what="it has resumed")
    caller.nothing(lambda message: message.status >= 200, 0.1)
    callee.nothing(lambda message: message.branch != arrived.branch, 0)


def test_a17_launch_works_in_every_kind_of_route(server: Server, rush: Rush, phones: tuple[Peer, Peer]) -> None:
    # #3210, #2195: launch() from a timer or another route crashed.
    only(rush.call(1, "launch"), 486)
    caller, callee = phones
    to_callee = f"X-To: {callee.port}\r\n"
    caller.send(caller.request("OPTIONS", f"sip:own@127.0.0.1:{server.sip_port}", extra=to_callee))
    callee.reply(callee.wait_request("MESSAGE"), 200)
    text = caller.request("OPTIONS", f"sip:own@127.0.0.1:{server.sip_port}", extra=to_callee)
    caller.send(text.replace("CSeq: 1 OPTIONS", "CSeq: nonsense"))

    for kind in ("request", "branch", "onreply", "failure", "event", "local", "timer", "startup", "error"):
        wait_until(lambda kind=kind: cached(server, f"report {kind}") == "1 DUMMY", what=f"the report of {kind}")


def test_a18_a_thousand_jobs_of_one_process_have_names_of_their_own(start_server: Callable[..., Server]) -> None:
    # #958: what waited for one descriptor was overwritten by the next.
    server = start_server(ROUTES, head=HEAD, options=("--udp-workers", "1", "--mi-workers", "2"))
    client = server.client()
    count = 1000
    waits_ms = range(1500, 1500 + count)
    calls = [client.request("pending", extra=f"X-Ms: {ms}\r\n") for ms in waits_ms]
    for _, data in calls:
        client.send(data)
    wait_until(lambda: server.statistic("async:parked") - server.statistic("async:resumed") >= count)
    assert len(set(waiting(server))) == count

    for (call_id, data), ms in zip(calls, waits_ms, strict=True):
        assert client.final(call_id, resend=data).header("X-Result") == f'{{"waited_ms":{ms}}}'


# The caller gives up.


def parked_call(server: Server, phones: tuple[Peer, Peer], user: str) -> str:
    """Begin a call; its INVITE."""
    caller, callee = phones
    ruri = f"sip:{user}@127.0.0.1:{server.sip_port}"
    text = caller.request("INVITE", ruri, extra=f"X-To: {callee.port}\r\n")
    caller.send(text)
    return text


def cancelled(caller: Peer, text: str) -> Received:
    """CANCEL a call; its final reply, acknowledged."""
    call_id = Received(text, ("", 0)).call_id
    caller.cancel(text)
    caller.wait_reply(call_id, 200, "CANCEL")
    final = caller.wait_final(call_id, "INVITE", 2.0)
    caller.ack(text, final)
    return final


def test_a_call_cancelled_while_its_failure_route_is_parked_goes_no_further(
    server: Server, phones: tuple[Peer, Peer]
) -> None:
    # A29. The callee has answered, and that is what the caller hears.
    caller, callee = phones
    text = parked_call(server, phones, "parked-failure")
    arrived = callee.wait_request("INVITE")
    callee.reply(arrived, 486)
    callee.wait_request("ACK")
    wait_until(lambda: waiting(server), what="the failure route is parked")

    assert cancelled(caller, text).status == 486
    wait_until(lambda: cached(server, f"rc {arrived.call_id}") == "-487", what="it resumed with -487")
    assert not waiting(server)
    callee.nothing(lambda message: True, 0.1)


def test_a29_a_call_cancelled_while_a_branch_route_is_parked_goes_nowhere(
    server: Server, phones: tuple[Peer, Peer]
) -> None:
    # A29.
    caller, callee = phones
    text = parked_call(server, phones, "parked-branch")
    wait_until(lambda: waiting(server), what="the branch route is parked")

    assert cancelled(caller, text).status == 487
    wait_until(lambda: cached(server, f"rc {Received(text, ('', 0)).call_id}") == "-487", what="it resumed with -487")
    assert not waiting(server)
    callee.nothing(lambda message: True, 0.1)


def test_a_call_cancelled_while_a_reply_is_parked_ends_behind_that_reply(
    server: Server, phones: tuple[Peer, Peer]
) -> None:
    # A29.
    caller, callee = phones
    text = parked_call(server, phones, "parked-reply")
    arrived = callee.wait_request("INVITE")
    callee.reply(arrived, 180)
    wait_until(lambda: waiting(server), what="the reply route is parked")
    caller.cancel(text)
    callee.reply(callee.wait_request("CANCEL"), 200)
    callee.reply(arrived, 487)
    callee.wait_request("ACK")

    of_call = [caller.wait(lambda m: m.method == "INVITE" and m.status > 100) for _ in range(2)]
    caller.ack(text, of_call[1])
    assert [(one.status, one.header("X-Parked")) for one in of_call] == [(180, "180 1"), (487, "487 1")]


def test_callers_that_are_gone_when_their_messages_resume_harm_nobody(server: Server, rush: Rush) -> None:
    # A29.
    for _ in range(50):
        gone = Peer(server.sip_port)
        parked_call(server, (gone, gone), "parked-request")
        gone.close()
    parked = server.statistic("async:parked")
    only(rush.call(200, "chain"))

    wait_until(lambda: server.statistic("async:resumed") >= parked, what="all of them resumed")
    began = time.monotonic()
    only(rush.call(20, "free"))
    assert time.monotonic() - began < 2.0
