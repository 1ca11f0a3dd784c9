"""The three flavours of `mi()` over real processes: what each does to `$rc`, to the variables and to the traffic."""

from __future__ import annotations

import json
import time

import pytest

from tests.harness import wait_until

pytestmark = pytest.mark.processes

ONE_PROCESS = ("--udp-workers", "1", "--mi-workers", "1")

FLAVOURS_HEAD = 'modparam("statistics", "variable", "reports")\n'
FLAVOURS = """
loadmodule "json.so"
route {
    $var(kept) = $rU;
    $json(kept) := "{}";
    $json(kept/user) = $rU;
    switch ($rU) {
    case "fast":
        sl_send_reply(200, "OK");
        exit;
    case "mi":
        mi("bench_sleep 1000", $var(r));
        break;
    case "mi-later":
        mi("bench_wait 100", $var(r));
        break;
    case "async":
        async(mi("bench_sleep 1000", $var(r)), done);
        xlog("L_ERR", "NEVER REACHED by $rU\\n");
        break;
    case "quick":
        async(mi("uptime", $var(r)), done);
    case "async-later":
        async(mi("bench_wait 1000", $avp(r)), done_avp);
    case "deadline":
        async(mi("bench_wait 5000", $var(r)), done, 1);
    case "unknown":
        async(mi("no_such_command", $var(r)), done);
    case "bad":
        async(mi("bench_sleep many words here", $var(r)), done);
    case "refused":
        async(mi("bench_sleep -1", $var(r)), done);
    case "chain":
        $avp(trail) = "one";
        async(mi("bench_wait 10", $var(r)), chain2);
    case "launch":
        $avp(mine) = "mine";
        launch(mi("bench_sleep 1000", $avp(r)), report, "for $rU");
        sl_send_reply(200, "OK $rc");
        exit;
    case "launch-unknown":
        launch(mi("no_such_command", $avp(r)), report, "unknown");
        sl_send_reply(200, "OK $rc");
        exit;
    case "launch-instant":
        launch(mi("uptime", $avp(r)), report, "instant");
        sl_send_reply(200, "OK $rc");
        exit;
    case "launch-failing":
        launch(mi("bench_sleep -1", $avp(r)), report, "failing");
        sl_send_reply(200, "OK $rc");
        exit;
    }
    route(reply);
}
route[reply] {
    append_to_reply("X-Rc: $rc\\r\\n");
    append_to_reply("X-Result: $var(r)\\r\\n");
    append_to_reply("X-Kept: $var(kept)\\r\\n");
    append_to_reply("X-Document: $json(kept/user)\\r\\n");
    append_to_reply("X-Worker: $mi(worker)\\r\\n");
    append_to_reply("X-Pid: $pp\\r\\n");
    send_reply(200, "OK");
}
route[done] { route(reply); }
route[done_avp] { $var(r) = $avp(r); route(reply); }
route[chain2] { $avp(trail) = "two"; async(mi("no_such_command"), chain3); }
route[chain3] { $avp(trail) = "three"; async(mi("uptime", $var(r)), chain4); }
route[chain4] { $var(r) = $(avp(trail)[*]); route(reply); }
route[report] {
    cache_store("local", "report-$param(1)", "rc=$rc mine=$avp(mine) method=$rm r=$avp(r)");
    update_stat("reports", 1);
}
"""


@pytest.fixture
def server(start_server):
    return start_server(FLAVOURS, head=FLAVOURS_HEAD, options=ONE_PROCESS)


def during(server, user: str) -> tuple[bool, object]:
    """Ask for `user`, then for `fast` at once: whether the fast one was answered first, and the other's answer."""
    client = server.client()
    slow_id, slow = client.request(user)
    fast_id, fast = client.request("fast")
    client.send(slow)
    client.send(fast)
    answer = client.final(slow_id)
    return client.final(fast_id).at < answer.at, answer


def test_a_blocking_call_stops_its_process(server) -> None:
    overtaken, answer = during(server, "mi")
    assert not overtaken
    assert (answer.header("X-Rc"), answer.header("X-Result")) == ("1", '{"slept_ms":1000}')
    assert answer.header("X-Worker") == "sip-1.1"


def test_fact_10_an_asynchronous_call_parks_the_message_and_not_the_process(server) -> None:
    overtaken, answer = during(server, "async")
    assert overtaken
    assert (answer.header("X-Rc"), answer.header("X-Result")) == ("1", '{"slept_ms":1000}')
    assert (answer.header("X-Kept"), answer.header("X-Worker")) == ("async", "worker-1.1")
    assert answer.header("X-Document") == "async"
    assert "NEVER REACHED by async" not in server.log()  # the checker shows the line as it is written


def test_fact_11_at_light_load_too_no_job_runs_in_the_process_that_asked(server) -> None:
    client = server.client()
    workers = {client.ask("quick").header("X-Worker") for _ in range(100)}
    assert workers == {"worker-1.1"}


def test_a_command_that_answers_later_may_be_waited_for_in_either_way(server) -> None:
    overtaken, answer = during(server, "mi-later")
    assert not overtaken
    assert (answer.header("X-Rc"), answer.header("X-Result")) == ("1", '{"waited_ms":100}')
    overtaken, answer = during(server, "async-later")
    assert overtaken
    assert (answer.header("X-Rc"), answer.header("X-Result")) == ("1", '{"waited_ms":1000}')


def test_launch_goes_on_at_once_and_reports_once_on_a_dummy_message(server) -> None:
    answer = server.client().ask("launch")
    assert answer.reason == "OK 1"
    assert fetched(server, "for launch") is None, "the command takes a second"
    found = wait_for_report(server, "for launch")
    assert found == 'rc=1 mine=<null> method=DUMMY r={"slept_ms":1000}'


def test_a16_whatever_is_launched_the_script_goes_on_and_one_report_runs(server) -> None:
    # #2049: the script got stuck, or the report route did not run.
    client = server.client()
    ends = {"unknown": "-1", "instant": "1", "failing": "-400"}
    for _ in range(50):
        for user in ends:
            assert client.ask(f"launch-{user}").reason == "OK 1"
    wait_until(lambda: server.statistic("async:reported") == 150, what="a report for each")

    assert {user: wait_for_report(server, user).partition(" ")[0] for user in ends} == {
        user: f"rc={rc}" for user, rc in ends.items()
    }
    assert server.statistic("script:reports") == 150
    assert server.statistic("async:launched") == 150


def wait_for_report(server, param: str) -> str:
    return str(wait_until(lambda: fetched(server, param), what=f"a report for {param!r}"))


def fetched(server, param: str) -> str | None:
    fetch = {"jsonrpc": "2.0", "id": 1, "method": "cache_fetch", "params": ["local", f"report-{param}"]}
    found = server.rpc(json.dumps(fetch)).get("result")
    return None if found is None else str(found["value"])


@pytest.mark.parametrize(
    ("user", "rc", "text"),
    [
        ("unknown", "-1", "Method not found"),
        ("bad", "-32602", "Invalid params"),
        ("refused", "-400", "Bad parameter value"),
    ],
)
def test_what_goes_wrong_is_told_by_rc_and_the_variable(server, user: str, rc: str, text: str) -> None:
    answer = server.client().ask(user)
    assert (answer.header("X-Rc"), answer.header("X-Result")) == (rc, text)


def test_a14_a_job_that_does_not_end_resumes_at_its_deadline_and_its_late_answer_is_counted(server) -> None:
    # #997, #2709, #1838: it never resumed, or only when some other message came.
    client = server.client()
    started = time.monotonic()
    call_id, data = client.request("deadline")
    client.send(data)
    answer = client.final(call_id)
    assert answer.header("X-Rc") == "-408"
    assert "1 s" in answer.header("X-Result")
    assert 0.9 < answer.at - started < 1.8

    wait_until(lambda: server.statistic("async:late_answers") == 1, what="the worker is heard of, too late")
    assert server.statistic("async:parked") == server.statistic("async:resumed") == 1
    client.collect(0.1)
    assert len(client.answers[call_id]) == 1


def test_avps_survive_a_chain_of_parkings_with_a_failing_one_between(server) -> None:
    assert server.client().ask("chain").header("X-Result") == "three, two, one"


def test_many_contexts_are_parked_at_once_and_each_gets_its_own_answer(server) -> None:
    client = server.client()
    calls = [client.request("async-later") for _ in range(200)]
    for _, data in calls:
        client.send(data)
    answers = [client.final(call_id) for call_id, _ in calls]
    assert {answer.header("X-Result") for answer in answers} == {'{"waited_ms":1000}'}
    assert {answer.header("X-Kept") for answer in answers} == {"async-later"}
    assert server.statistic("async:parked") == server.statistic("async:resumed") == 200
    assert all(len(client.answers[call_id]) == 1 for call_id, _ in calls)


@pytest.mark.parametrize(
    "options", [("--udp-workers", "1", "--mi-workers", "0"), ("--udp-workers", "3", "--mi-workers", "0")]
)
def test_without_workers_the_sip_processes_run_each_others_jobs(start_server, options) -> None:
    server = start_server(FLAVOURS, head=FLAVOURS_HEAD, options=options)
    client = server.client()
    answers = {user: client.ask(user) for user in ("async", "async-later", "mi", "mi-later", "launch")}
    assert {answer.status for answer in answers.values()} == {200}
    assert answers["async"].header("X-Worker").startswith("sip-")
    assert answers["mi-later"].header("X-Result") == '{"waited_ms":100}'


AVPS = """
route {
    if ($rU == "named") {
        $avp(n) = "system"; $avp(v) = "local";
        $avp(n) = "attr";   $avp(v) = "two words";
        $avp(n) = "value";  $avp(v) = 42;
        mi("cache_store ignored tokens", $var(r), $avp(n), $avp(v));
    } else if ($rU == "positional") {
        $avp(p) = "local"; $avp(p) = "three"; $avp(p) = "the value";
        mi("cache_store", $var(r), $avp(p));
    } else if ($rU == "short") {
        $avp(n) = "system"; $avp(n) = "attr"; $avp(v) = "local";
        mi("cache_fetch", $var(r), $avp(n), $avp(v));
    } else if ($rU == "array") {
        $avp(n) = "statistics"; $avp(v) = "__array(core:rcv_replies tm:UAS_transactions)";
        mi("get_statistics", $var(r), $avp(n), $avp(v));
    } else if ($rU == "spaces") {
        mi("cache_store   local  one   1 ", $var(r));
    }
    append_to_reply("X-Rc: $rc\\r\\n");
    append_to_reply("X-Result: $var(r)\\r\\n");
    sl_send_reply(200, "OK");
}
"""


def test_fact_05_positional_parameters_are_in_their_order_and_named_ones_by_name(start_server) -> None:
    server = start_server(AVPS, options=ONE_PROCESS)
    client = server.client()

    def ask(user: str) -> tuple[str, str]:
        answer = client.ask(user)
        return answer.header("X-Rc"), answer.header("X-Result")

    def cached(attr: str) -> object:
        return server.mi("cache_fetch", {"system": "local", "attr": attr})["value"]

    assert ask("spaces") == ("1", '"OK"')
    assert cached("one") == "1"
    assert ask("named") == ("1", '"OK"')
    assert cached("two words") == "42"
    assert ask("positional") == ("1", '"OK"')
    assert cached("three") == "the value"
    rc, text = ask("short")
    assert rc == "-2"
    assert "attr" in text
    rc, text = ask("array")
    assert rc == "1"
    assert set(json.loads(text)) == {"core:rcv_replies", "tm:UAS_transactions"}


def test_compat_gives_the_order_and_texts_of_opensips(start_server) -> None:
    server = start_server(AVPS, head='modparam("mi_script", "compat", "3.6")\n', options=ONE_PROCESS)
    client = server.client()
    assert client.ask("positional").header("X-Rc") == "-500"  # cache_store("the value", "three", "local")
    assert client.ask("short").header("X-Result") == "could not parse script params!"


def test_pretty_printing(start_server) -> None:
    routes = 'route { mi("version", $var(r)); cache_store("local", "r", "$var(r)"); sl_send_reply(200, "OK"); }'
    server = start_server(routes, head='modparam("mi_script", "pretty_printing", 1)\n', options=ONE_PROCESS)
    server.client().ask("x")
    text = server.mi("cache_fetch", {"system": "local", "attr": "r"})["value"]
    assert text.startswith('{\n\t"Server":\t"OpenSIPS')


SURVIVAL = """
route {
    $var(text) = "mine " + $rU;
    $ru = "sip:changed@192.0.2.1:5070";
    $du = "sip:192.0.2.2:5072";
    setflag("seen");
    setbflag("branchy");
    append_msg_branch("sip:other@192.0.2.3");
    $avp(list) = "first";
    $avp(list) = 2;
    append_hf("X-Added: yes\\r\\n");
    async(mi("bench_wait 200"), resumed);
}
route[resumed] {
    $var(flags) = "none";
    if (isflagset("seen") && isbflagset("branchy")) $var(flags) = "both";
    append_to_reply("X-Ru: $ru\\r\\n");
    append_to_reply("X-Du: $du\\r\\n");
    append_to_reply("X-Flags: $var(flags)\\r\\n");
    append_to_reply("X-Branch: $(branch(uri)[0])\\r\\n");
    append_to_reply("X-Avp: $(avp(list)[*])\\r\\n");
    append_to_reply("X-Var: $var(text)\\r\\n");
    append_to_reply("X-Original: $ou\\r\\n");
    append_to_reply("X-Param: $param(1)\\r\\n");
    t_reply(200, "OK");
}
"""


def test_everything_about_a_message_survives_the_parking(start_server) -> None:
    server = start_server(SURVIVAL, options=ONE_PROCESS)
    client = server.client()
    # Several at once, in one process: what one of them sets must not be seen by another when it resumes.
    calls = {f"user{number}": client.request(f"user{number}") for number in range(20)}
    for _, data in calls.values():
        client.send(data)
    for user, (call_id, data) in calls.items():
        answer = client.final(call_id, resend=data)
        assert answer.header("X-Ru") == "sip:changed@192.0.2.1:5070"
        assert answer.header("X-Du") == "sip:192.0.2.2:5072"
        assert answer.header("X-Flags") == "both"
        assert answer.header("X-Branch") == "sip:other@192.0.2.3"
        assert answer.header("X-Avp") == "2, first"
        assert answer.header("X-Original") == f"sip:{user}@127.0.0.1:{server.sip_port}"
        assert answer.header("X-Param") == "<null>"
        assert answer.header("X-Var") == f"mine {user}"


EDGES = """
route {
    switch ($rU) {
    case "zero":
        async(mi("bench_wait 100", $var(r)), edge_done, 0);
    case "again":
        $avp(round) = 0;
        async(mi("no_such_command"), again);
    case "blocked":
        mi("bench_wait 1500", $var(r));
        async(mi("uptime", $var(r)), edge_done);
    case "unwritable":
        mi("pwd", $ru);
        sl_send_reply(200, "$rc $mi(code)");
        exit;
    case "big":
        update_stat("big", 9000000000000000000);
        sl_send_reply(200, "OK");
        exit;
    }
}
route[edge_done] { t_reply(200, "$rc"); }
route[again] {
    $avp(round) := $avp(round) + 1;
    if ($avp(round) < 500) async(mi("no_such_command"), again);
    t_reply(200, "$avp(round)");
}
"""
EDGE_HEAD = 'modparam("statistics", "variable", "big")\n'


def test_edges_of_the_flavours(start_server) -> None:
    server = start_server(EDGES, head=EDGE_HEAD, options=ONE_PROCESS)
    client = server.client()
    assert client.ask("zero").reason == "1"  # 0 seconds is no time of its own, not no time at all
    assert client.ask("again").reason == "500"  # each resumes in a fresh turn, so no stack grows
    assert client.ask("unwritable").reason == "-3 -3"
    assert [client.ask("big").status for _ in range(3)] == [200, 200, 200]


def test_what_a_blocked_route_still_asks_for_is_done_before_the_server_ends(start_server) -> None:
    server = start_server(EDGES, head=EDGE_HEAD, options=ONE_PROCESS)
    client = server.client()
    call_id, data = client.request("blocked")
    client.send(data)
    wait_until(lambda: server.statistic("mi_script:blocking_calls"))
    server.process.terminate()
    assert client.final(call_id, resend=data).reason == "1"
    assert server.wait() == 0


def test_without_workers_a_drain_answers_in_time_though_slow_jobs_wait(start_server) -> None:
    routes = """
    route {
        if ($rU == "slow") { launch(mi("bench_sleep 1500")); sl_send_reply(200, "OK"); exit; }
        async(mi("bench_wait 20000"), edge_done);
    }
    route[edge_done] { t_reply(200, "OK"); }
    """
    server = start_server(routes, options=("--udp-workers", "1", "--mi-workers", "0", "--drain", "2"))
    client = server.client()
    parked_id, parked = client.request("parked")
    client.send(parked)
    wait_until(lambda: server.statistic("async:parked"))
    assert client.ask("slow").status == 200
    for _ in range(4):
        client.send(client.request("slow")[1])
    server.process.terminate()
    assert client.final(parked_id).status == 503
    server.wait()


def test_the_ack_of_a_2xx_of_ours_reaches_the_script_once_and_may_park(start_server) -> None:
    routes = """
    route {
        if (is_method("ACK")) { update_stat("acks", 1); async(mi("bench_wait 10"), acked); }
        async(mi("bench_wait 10"), answer);
    }
    route[answer] { t_reply(200, "OK"); }
    route[acked] { update_stat("acked", 1); }
    """
    head = 'modparam("statistics", "variable", "acks")\nmodparam("statistics", "variable", "acked")\n'
    server = start_server(routes, head=head, options=("--udp-workers", "3", "--mi-workers", "1"))
    client = server.client()
    for number in range(10):
        call_id, invite = client.request("x", "INVITE", branch=f"z9hG4bKi{number}")
        client.send(invite)
        tag = client.final(call_id).header("To").split("tag=")[1]
        client.send(client.request("x", "ACK", branch=f"z9hG4bKa{number}", call_id=call_id, to_tag=tag)[1])
    wait_until(lambda: server.statistic("script:acked") == 10)
    assert server.statistic("script:acks") == 10
    assert server.statistic("core:retransmissions") == 0


def test_over_unix_streams_between_the_processes_all_is_as_over_zeromq(start_server) -> None:
    options = ("--udp-workers", "2", "--mi-workers", "1", "-o", "process_transport=unix")
    server = start_server(FLAVOURS, head=FLAVOURS_HEAD, options=options)
    client = server.client()
    answers = {user: client.ask(user) for user in ("quick", "async-later", "launch-instant", "mi", "refused")}
    assert {answer.status for answer in answers.values()} == {200}
    assert answers["quick"].header("X-Worker") == "worker-1.1"
    assert answers["async-later"].header("X-Result") == '{"waited_ms":1000}'
    assert answers["refused"].header("X-Rc") == "-400"
    assert wait_for_report(server, "instant").startswith("rc=1 ")
