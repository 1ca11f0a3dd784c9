"""`async()` parks and resumes in every kind of route of a real server, and traffic goes on meanwhile."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.harness import Server, wait_until
from tests.sip_peer import Peer, Received

pytestmark = pytest.mark.processes

ROUTES = """
loadmodule "event_route.so"
modparam("tm", "onreply_avp_mode", 1)
modparam("tm", "fr_timeout", 3)
route {
    if (is_method("ACK")) { async(mi("bench_wait 20", $var(r)), go); }
    $avp(who) = $rU;
    $avp(n) = 1;
    $du = "sip:127.0.0.1:" + $hdr(X-First);
    switch ($rU) {
    case "request":
        append_hf("X-Before: yes\\r\\n");
        async(mi("bench_wait 50", $avp(answer)), go);
    case "failure":
        t_on_failure("busy");
        break;
    case "branch":
        append_msg_branch("sip:dropped@127.0.0.1:$hdr(X-Second)");
        t_on_branch("each");
        break;
    case "reply":
        t_on_reply("seen");
        break;
    case "event":
        $avp(v) = "told";
        raise_event("E_TEST", $avp(v));
        sl_send_reply(200, "OK");
        exit;
    case "local":
        t_new_request("MESSAGE", "sip:peer@127.0.0.1:$hdr(X-First)", "sip:us@here", "sip:peer@there", "text/plain hi");
        sl_send_reply(200, "OK");
        exit;
    case "long":
        async(mi("bench_wait 8000", $avp(answer)), cancelled);
    case "who":
        sl_send_reply(200, "$pp");
        exit;
    case "busy":
        mi("bench_sleep 150", $var(r));
        sl_send_reply(200, "OK");
        exit;
    }
    if (!t_relay()) sl_send_reply(500, "Not relayed");
}
route[go] {
    if ($rm == "ACK") { $du = "sip:127.0.0.1:" + $hdr(X-First); }
    append_hf("X-After: $rc $avp(who)\\r\\n");
    t_relay();
}
route[cancelled] {
    append_to_reply("X-Rc: $rc\\r\\n");
    if (!t_relay()) t_reply(487, "Parked and $rc");
}
failure_route[busy] {
    $avp(status) = $T_reply_code;
    async(mi("bench_wait 50", $avp(answer)), busy_after);
}
route[busy_after] {
    append_hf("X-Why: $avp(status) $rc $avp(who)\\r\\n");
    $du = "sip:127.0.0.1:" + $hdr(X-Second);
    t_on_failure("busy_again");
    t_relay();
}
failure_route[busy_again] {
    async(mi("bench_wait 20", $avp(answer)), give_up);
}
route[give_up] {
    t_reply(480, "Both busy $avp(who)");
}
branch_route[each] {
    async(mi("bench_wait 50", $var(r)), each_after);
}
route[each_after] {
    if ($rU == "dropped") drop;
    append_hf("X-Branch: $T_branch_idx $rc $rU\\r\\n");
}
onreply_route[seen] {
    if (t_check_status("18[0-9]")) async(mi("bench_wait 200", $avp(answer)), seen_after);
    async(mi("bench_wait 5", $avp(answer)), seen_after);
}
route[seen_after] {
    append_hf("X-Seen: $rs $rc $avp(who)\\r\\n");
    if (t_check_status("183")) drop;
}
local_route {
    append_hf("X-Local: $rm $route.type\\r\\n");
    async(mi("bench_wait 50", $var(r)), local_after);
}
route[local_after] {
    append_hf("X-Local-After: $rc\\r\\n");
}
event_route[E_TEST] {
    $avp(kept) = $param(1);
    async(mi("bench_wait 50", $var(r)), event_after);
}
route[event_after] {
    xlog("L_ERR", "EVENT RESUMED $avp(kept) $rc\\n");
}
startup_route {
    async(mi("bench_wait 50", $var(r)), started);
}
route[started] { xlog("L_ERR", "STARTUP RESUMED $rc\\n"); }
timer_route[tick, 1] {
    async(mi("bench_wait 50", $var(r)), ticked);
}
route[ticked] { xlog("L_ERR", "TIMER RESUMED $rc\\n"); }
error_route {
    async(mi("bench_wait 50", $var(r)), wrong);
}
route[wrong] {
    sl_send_reply($(err.rcode), "Parked: $(err.rreason)");
}
"""


@pytest.fixture(scope="module")
def server(start_shared: Callable[..., Server]) -> Server:
    return start_shared(ROUTES, options=("--udp-workers", "3", "--mi-workers", "2"))


def ask(caller: Peer, first: Peer, second: Peer, user: str, method: str = "INVITE", **more: str) -> tuple[str, str]:
    """Send a request for `user`; its text and Call-ID."""
    text = caller.request(
        method,
        f"sip:{user}@127.0.0.1:{caller.server[1]}",
        extra=f"X-First: {first.port}\r\nX-Second: {second.port}\r\n",
        **more,
    )
    caller.send(text)
    return text, Received(text, ("", 0)).call_id


def test_in_a_request_route_with_copies_absorbed(peers: tuple[Peer, Peer, Peer]) -> None:
    caller, callee, other = peers
    text, call_id = ask(caller, callee, other, "request")
    for _ in range(4):
        caller.send(text)

    arrived = callee.wait_request("INVITE")
    callee.reply(arrived, 200)
    caller.wait_reply(call_id, 200)
    assert arrived.header("X-Before") == "yes"
    assert arrived.header("X-After") == "1 request"
    callee.nothing(lambda m: m.method == "INVITE")


def test_in_failure_routes_one_after_the_other(peers: tuple[Peer, Peer, Peer]) -> None:
    caller, first, second = peers
    text, call_id = ask(caller, first, second, "failure")
    first.reply(first.wait_request("INVITE"), 486)
    first.wait_request("ACK")

    arrived = second.wait_request("INVITE")
    assert arrived.header("X-Why") == "486 1 failure"
    second.reply(arrived, 600)
    final = caller.wait_final(call_id)
    caller.ack(text, final)
    assert final.start == "SIP/2.0 480 Both busy failure"


def test_in_branch_routes_and_a_dropped_branch_stays_dropped(peers: tuple[Peer, Peer, Peer]) -> None:
    caller, first, second = peers
    _, call_id = ask(caller, first, second, "branch")

    arrived = first.wait_request("INVITE")
    assert arrived.header("X-Branch") == "0 1 branch"
    first.reply(arrived, 200)
    caller.wait_reply(call_id, 200)
    second.nothing(lambda m: True, 0.1)


def test_in_reply_routes_and_replies_keep_their_order(peers: tuple[Peer, Peer, Peer]) -> None:
    caller, callee, other = peers
    _, call_id = ask(caller, callee, other, "reply")
    arrived = callee.wait_request("INVITE")
    callee.reply(arrived, 180)
    callee.reply(arrived, 183)
    callee.reply(arrived, 200)

    def of_call(m: Received) -> bool:
        return m.call_id == call_id and m.status > 100

    ringing, answered = caller.wait(of_call), caller.wait(of_call)
    assert (ringing.status, ringing.header("X-Seen")) == (180, "180 1 reply")
    assert (answered.status, answered.header("X-Seen")) == (200, "200 1 reply")


def test_in_an_ack_from_end_to_end(peers: tuple[Peer, Peer, Peer]) -> None:
    caller, callee, other = peers
    ask(caller, callee, other, "bob", "ACK", to_tag="x")

    ack = callee.wait_request("ACK")
    assert ack.header("X-After").startswith("1 ")
    callee.nothing(lambda m: m.method == "ACK")


def test_in_a_local_route(peers: tuple[Peer, Peer, Peer]) -> None:
    caller, callee, other = peers
    _, call_id = ask(caller, callee, other, "local", "OPTIONS")
    caller.wait_reply(call_id, 200)

    arrived = callee.wait_request("MESSAGE")
    callee.reply(arrived, 200)
    assert arrived.header("X-Local") == "MESSAGE local_route"
    assert arrived.header("X-Local-After") == "1"
    assert arrived.body == "hi"
    assert len(arrived.headers("Via")) == 1
    callee.nothing(lambda m: m.method == "MESSAGE", 0.7)


def test_in_event_timer_and_startup_routes(server: Server, peers: tuple[Peer, Peer, Peer]) -> None:
    caller, callee, other = peers
    _, call_id = ask(caller, callee, other, "event", "OPTIONS")
    caller.wait_reply(call_id, 200)

    for line in ("EVENT RESUMED told 1", "TIMER RESUMED 1", "STARTUP RESUMED 1"):
        wait_until(lambda line=line: line in server.log(), what=line)


def test_in_the_error_route(peers: tuple[Peer, Peer, Peer]) -> None:
    caller, _, _ = peers
    text = caller.request("OPTIONS", f"sip:bob@127.0.0.1:{caller.server[1]}")
    caller.send(text.replace("CSeq: 1 OPTIONS", "CSeq: nonsense"))

    assert caller.wait(lambda m: m.status == 400).start == "SIP/2.0 400 Parked: Malformed CSeq header"


def test_a_cancel_resumes_what_is_parked_at_once(server: Server, peers: tuple[Peer, Peer, Peer]) -> None:
    caller, callee, other = peers
    text, call_id = ask(caller, callee, other, "long")
    caller.wait_reply(call_id, 100)
    caller.cancel(text)

    caller.wait_reply(call_id, 200, "CANCEL")
    final = caller.wait_reply(call_id, 487, "INVITE", 2.0)
    caller.ack(text, final)
    assert final.start == "SIP/2.0 487 Parked and -3", "t_relay() refuses"
    assert final.header("X-Rc") == "-487"
    wait_until(lambda: all(job["age_ms"] < 2000 for job in server.mi("job_list")["Jobs"]), what="the job was cancelled")
    callee.nothing(lambda m: True, 0.1)


def test_a_cancel_waits_for_the_job_where_the_script_says_so(start_server: Callable[..., Server]) -> None:
    server = start_server(
        """
modparam("mi_script", "on_cancel", "wait")
route {
    async(mi("bench_wait 600", $avp(answer)), after);
}
route[after] {
    append_to_reply("X-Rc: $rc\\r\\n");
    if (!t_relay()) t_reply(487, "Terminated");
}
""",
        options=("--udp-workers", "2", "--mi-workers", "1"),
    )
    caller = Peer(server.sip_port)
    text = caller.request("INVITE", f"sip:x@127.0.0.1:{server.sip_port}")
    caller.send(text)
    call_id = Received(text, ("", 0)).call_id
    caller.wait_reply(call_id, 100)
    caller.cancel(text)
    caller.wait_reply(call_id, 200, "CANCEL")

    caller.nothing(lambda m: m.status == 487, 0.2)
    final = caller.wait_reply(call_id, 487, "INVITE")
    caller.ack(text, final)
    assert final.header("X-Rc") == "1", "the job came to its end"
    caller.close()


def test_fact_01_nothing_stays_parked_and_no_process_hangs(server: Server) -> None:
    # What stands above, and the timer route each second, has parked in every kind of route.
    assert server.client().ask("who").reason in {str(pid) for pid in server.pids("SIP")}
    assert server.mi("reload_routes") == "OK", "each process has answered"

    # The timer route parks again each second, so the two are equal now and then.
    wait_until(
        lambda: server.statistic("async:parked") == server.statistic("async:resumed"),
        what="every context that was parked has resumed",
    )
    assert server.statistic("async:parked") > 0
    assert "Traceback" not in server.log()
