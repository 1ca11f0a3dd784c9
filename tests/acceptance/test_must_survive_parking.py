"""What has crashed, hung or leaked in OpenSIPS where a script asks for MI commands, and must not here.

Each test has the number of its row in the project's list of such reports, and names OpenSIPS's issue on GitHub; see
`test_must_survive_list.py`.

Short here; by hand ``LAYBY_LAUNCHES=100000 pytest tests/acceptance/test_must_survive_parking.py -s`` for as many
launches as were reported.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.harness import ROOT, Server, free_port, wait_until
from tests.sip_peer import Peer, Received
from workers.policy import Limits

pytestmark = pytest.mark.processes

LAUNCHES = int(os.environ.get("LAYBY_LAUNCHES", "2000"))
AT_ONCE = 100
"""Launches of one request."""

HEAD = f"""
loadmodule "event_route.so"
loadmodule "{ROOT}/tests/acceptance/echoes.py"
modparam("tm", "fr_timeout", 1)
modparam("mi_script", "timeout", 2)
modparam("statistics", "variable", "timed_out")
modparam("statistics", "variable", "refused")
"""
ROUTES = """
route {
    switch ($rU) {
    case "echo":
        $var(i) = 0;
        while ($var(i) < $(hdr(X-Count){s.int})) {
            $var(i) = $var(i) + 1;
            $avp(n) = "p" + $var(i);
            if ($var(i) == 3)
                $avp(v) = -3;
            else
                $avp(v) = $hdr(X-Value) + " " + $var(i);
        }
        route(echo);
        exit;
    case "refused":
        $avp(v) = "404";
        route(echo);
        exit;
    case "uac":
        $avp(n) = "method"; $avp(v) = $hdr(X-Method);
        $avp(n) = "ruri"; $avp(v) = "sip:peer@127.0.0.1:" + $hdr(X-To);
        $avp(n) = "headers"; $avp(v) = "From: <sip:us@here>\\r\\nTo: <sip:you@there>\\r\\n";
        mi("t_uac_dlg", $var(r), $avp(n), $avp(v));
        route(told);
        exit;
    case "stuck":
        $var(i) = 0;
        while ($var(i) < AT_ONCE) {
            $var(i) = $var(i) + 1;
            launch(mi("bench_wait 600000"), stuck);
        }
        break;
    case "blocks":
        launch(mi("bench_sleep 1500"));
        break;
    case "quick":
        async(mi("uptime", $avp(r)), told_later);
    }
    sl_send_reply(200, "OK");
}
route[echo] {
    switch ($hdr(X-How)) {
    case "named": mi("echoes", $avp(r), $avp(n), $avp(v)); break;
    case "positional": mi("echoes", $avp(r), $avp(v)); break;
    case "async-named": async(mi("echoes", $avp(r), $avp(n), $avp(v)), told_later);
    case "async-positional": async(mi("echoes", $avp(r), $avp(v)), told_later);
    case "launched": launch(mi("echoes", $avp(r), $avp(n), $avp(v)), reported, "$ci"); break;
    }
    $var(r) = $avp(r);
    route(told);
}
route[told] {
    append_to_reply("X-Rc: $rc\\r\\n");
    append_to_reply("X-Result: $var(r)\\r\\n");
    append_to_reply("X-Worker: $mi(worker)\\r\\n");
    sl_send_reply(200, "OK");
}
route[told_later] {
    append_to_reply("X-Rc: $rc\\r\\n");
    append_to_reply("X-Result: $avp(r)\\r\\n");
    append_to_reply("X-Worker: $mi(worker)\\r\\n");
    t_reply(200, "OK");
}
route[reported] { cache_store("local", "reported $param(1)", "$avp(r)"); }
route[stuck] {
    if ($rc == -408) update_stat("timed_out", 1);
    else if ($rc == -503) update_stat("refused", 1);
}
event_route[E_ASKED] {
    $avp(word) = $param(1);
    async(mi("bench_wait 50", $avp(r)), event_told);
}
route[event_told] { cache_store("local", "event $avp(word)", "$rc"); }
""".replace("AT_ONCE", str(AT_ONCE))
OPTIONS = ("--udp-workers", "2", "--mi-workers", "2")


@pytest.fixture(scope="module")
def server(start_shared: Callable[..., Server]) -> Server:
    return start_shared(ROUTES, head=HEAD, options=OPTIONS)


@pytest.fixture(autouse=True)
def _sound(server: Server) -> Iterator[None]:
    """After each test: nobody died, nothing raised, and what was parked has resumed."""
    pids = server.all_pids()
    yield
    wait_until(
        lambda: server.statistic("async:parked") == server.statistic("async:resumed"), what="everything has resumed"
    )
    assert server.all_pids() == pids
    assert server.statistic("async:script_errors") == 0
    assert "Traceback" not in server.log()


def cached(server: Server, key: str) -> str | None:
    """What the script has stored."""
    reply = server.rpc(json.dumps({"jsonrpc": "2.0", "id": 1, "method": "cache_fetch", "params": ["local", key]}))
    return reply["result"]["value"] if "result" in reply else None


# What the script asks for.

MISSPELLED = """loadmodule "sl.so"
loadmodule "mi_script.so"
route {
    async(mi("uptime"), nosuch);
}
"""


def test_a03_a_resume_route_that_does_not_exist_is_refused_at_every_loading(server: Server, tmp: Path) -> None:
    # #3491: neither the check nor the start noticed, and the first call of it hung the process.
    script = tmp / "bad.cfg"
    script.write_text(MISSPELLED)
    for options in ([], ["-C"]):
        done = subprocess.run(
            [sys.executable, "-m", "runtime", "run", *options, str(script), "-l", f"udp:127.0.0.1:{free_port()}"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=20,
        )
        assert done.returncode == 1
        assert f"{script}:4:" in done.stderr
        assert "nosuch" in done.stderr

    text = server.script.read_text()
    server.script.write_text(text.replace("route[told_later]", "route[told_latter]"))
    error = server.mi_error("reload_routes")
    server.script.write_text(text)
    assert error["code"] == 500
    assert f"{server.script}:" in error["data"]
    assert "told_later" in error["data"]
    assert server.client().ask("quick").header("X-Rc") == "1", "the script of before serves on"


def given(value: str, count: int) -> dict[str, Any]:
    """What the script passes on of a request."""
    return {f"p{number}": -3 if number == 3 else f"{value} {number}" for number in range(1, count + 1)}


@pytest.mark.parametrize("how", ["named", "positional", "async-named", "async-positional", "launched"])
def test_a25_one_to_ten_parameters_arrive_as_they_were_given(server: Server, how: str) -> None:
    # Mends of mi_script: values of other AVPs, a loop without an end, a race of jobs that end at once, a wrong code.
    client = server.client()
    asked: dict[str, tuple[str, int]] = {}
    for number in range(20 if how == "launched" else 100):
        value, count = f"value {how} {number}", number % 10 + 1
        call_id, data = client.request("echo", extra=f"X-How: {how}\r\nX-Count: {count}\r\nX-Value: {value}\r\n")
        asked[call_id] = value, count
        client.send(data)

    for call_id, (value, count) in asked.items():
        answer = client.final(call_id)
        if how == "launched":
            told = wait_until(lambda call_id=call_id: cached(server, f"reported {call_id}"), what="its report")
        else:
            told = answer.header("X-Result")
            assert answer.header("X-Rc") == "1"
        assert json.loads(told) == given(value, count)
    refused = client.ask("refused", extra=f"X-How: {'async-' if 'async' in how else ''}positional\r\n")
    assert (refused.header("X-Rc"), refused.header("X-Result")) == ("-404", "Not here")


def uac(phones: tuple[Peer, Peer], method: str) -> str:
    """Have the script ask MI to send a request to the second phone; the Call-ID of the one that has it do so."""
    caller, callee = phones
    text = caller.request(
        "OPTIONS", f"sip:uac@127.0.0.1:{caller.server[1]}", extra=f"X-To: {callee.port}\r\nX-Method: {method}\r\n"
    )
    caller.send(text)
    return Received(text, ("", 0)).call_id


def test_a26_a_blocking_call_of_a_command_that_answers_later_ends_with_its_answer(phones: tuple[Peer, Peer]) -> None:
    # The process hung for ever, and the answer was lost.
    caller, callee = phones
    call_id = uac(phones, "MESSAGE")
    callee.reply(callee.wait_request("MESSAGE"), 200, "Fine")
    answer = caller.wait_final(call_id)
    assert answer.header("X-Rc") == "1"
    assert json.loads(answer.header("X-Result"))["Status"] == "200 Fine"

    call_id = uac(phones, "MESSAGE")
    callee.wait_request("MESSAGE")
    answer = caller.wait_final(call_id)
    assert answer.header("X-Rc") == "1"
    assert json.loads(answer.header("X-Result")) == {"Status": "408 Request Timeout"}

    call_id = uac(phones, "INVITE")
    began = time.monotonic()
    callee.reply(callee.wait_request("INVITE"), 180)
    answer = caller.wait_final(call_id)
    assert answer.header("X-Rc") == "-408"
    assert answer.header("X-Result") == "No answer within 2 s"
    assert answer.at - began > 1.5


def test_fact_02_the_only_process_is_told_that_it_cannot_wait_for_itself(start_server: Callable[..., Server]) -> None:
    # In OpenSIPS such a call hangs the process for ever, however many processes there are.
    server = start_server(ROUTES, head=HEAD, options=("--udp-workers", "1", "--mi-workers", "0"))
    phones = Peer(server.sip_port), Peer(server.sip_port)
    answer = phones[0].wait_final(uac(phones, "OPTIONS"))
    assert (answer.header("X-Rc"), answer.header("X-Result")) == ("-500", "Request could not be sent")
    assert server.client().ask("quick").header("X-Rc") == "1"
    for phone in phones:
        phone.close()


def test_a28_an_event_route_that_mi_raises_parks_and_the_server_is_managed_on(server: Server) -> None:
    # The process hung, and the next reload hung MI too.
    for number in range(20):
        assert server.mi("raise_event", ["E_ASKED", [f"word{number}", "x"]]) == "OK"
    for number in range(20):
        wait_until(lambda number=number: cached(server, f"event word{number}"), what=f"event {number} has resumed")
        assert cached(server, f"event word{number}") == "1"
    assert server.mi("reload_routes") == "OK"


# Who runs it.


def descriptors(server: Server) -> dict[int, int]:
    """How many files each process has open."""
    return {pid: len(os.listdir(f"/proc/{pid}/fd")) for pid in server.all_pids()}


def counted(server: Server, what: str) -> int:
    return server.statistic(f"async:{what}")


def test_a15_launches_of_a_command_that_is_stuck_cost_no_descriptors_and_are_all_reported(server: Server) -> None:
    # #4260: each launch had a descriptor of its own, and nothing ended it.
    client = server.client()
    client.ask("quick")
    before, reported, launched = descriptors(server), counted(server, "reported"), counted(server, "launched")
    for _ in range(LAUNCHES // AT_ONCE):
        assert client.ask("stuck").status == 200
    under_way = descriptors(server)
    wait_until(
        lambda: counted(server, "reported") - reported == counted(server, "launched") - launched,
        30 + LAUNCHES / 1000,
        "a report for each",
    )

    launches = counted(server, "launched") - launched
    assert launches >= LAUNCHES, "some more where a busy machine made the client ask again"
    refused = server.statistic("script:refused")
    assert server.statistic("script:timed_out") + refused == launches
    assert not refused or launches > Limits().max_queued, "as many wait as may"
    assert server.mi("job_list")["Jobs"] == []
    for after in (under_way, descriptors(server)):
        assert all(after[pid] - count < 10 for pid, count in before.items()), (before, after)


def quick(server: Server, count: int) -> list[Received]:
    """Answers to requests that each wait for a command which ends at once; all are sent before any is awaited."""
    client = server.client()
    calls = [client.request("quick") for _ in range(count)]
    for _, data in calls:
        client.send(data)
    return [client.final(call_id, resend=data) for call_id, data in calls]


def test_fact_07_jobs_go_to_the_worker_that_has_the_least_to_do(server: Server) -> None:
    # OpenSIPS gives a job to whoever happens to read first, which may be one that then blocks.
    def loads() -> dict[str, int]:
        return {row["Name"]: row["Load"] for row in server.mi("worker_list")["Workers"]}

    server.client().ask("blocks")
    wait_until(lambda: sorted(loads().values()) == [0, 1], what="one worker is blocked")
    (free,) = [name for name, load in loads().items() if not load]
    answers = quick(server, 20)

    assert [job["command"] for job in server.mi("job_list")["Jobs"]] == ["bench_sleep"], "it is blocked all the time"
    assert {str(answer.header("X-Worker")).partition(".")[0] for answer in answers} == {free}
    wait_until(lambda: not any(loads().values()), what="it has ended")


def test_fact_14_a_parked_request_is_one_job_however_often_it_is_sent(server: Server) -> None:
    # What an asynchronous command costs OpenSIPS is several times what it costs blocking; here it is counted.
    names = ("async:parked", "mi_script:async_calls", "async:resumed")

    def done() -> list[int]:
        jobs = sum(row["Jobs done"] for row in server.mi("worker_list")["Workers"])
        return [jobs, *(server.statistic(name) for name in names)]

    before, client = done(), server.client()
    calls = [client.request("quick") for _ in range(100)]
    for _, data in calls * 3:
        client.send(data)
    assert {client.final(call_id).header("X-Rc") for call_id, _ in calls} == {"1"}
    assert [after - one for after, one in zip(done(), before, strict=True)] == [100] * 4
