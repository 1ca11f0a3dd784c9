"""What has crashed, frozen or lied in OpenSIPS while it was managed under traffic, and must not here.

Each test has the number of its row in the project's list of such reports, and names OpenSIPS's issue on GitHub; see
`test_must_survive_list.py`.

Short here; by hand ``LAYBY_CALLS_PER_S=500 LAYBY_CALLS_S=60 pytest tests/acceptance/test_must_survive_management.py``
for the load that was reported.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.call_load import Load
from tests.harness import Server, wait_until
from tests.processes.dialog_calls import Call
from tests.sip_peer import Peer

pytestmark = pytest.mark.processes

CALLS_PER_S = float(os.environ.get("LAYBY_CALLS_PER_S", "40"))
CALLS_S = float(os.environ.get("LAYBY_CALLS_S", "1.5"))
PROMPT_S = 5.0
"""What an answer of MI may take at most: one that waits for the next request does not come at all."""

HEAD = """
loadmodule "rr.so"
loadmodule "dialog.so"
loadmodule "mi_fifo.so"
modparam("mi_fifo", "fifo_name", "FOLDER/fifo")
modparam("mi_fifo", "reply_dir", "FOLDER/")
modparam("tm", "fr_timeout", 2)
"""
ROUTES = """
route {
    if (has_totag()) {
        loose_route();
        t_relay();
        exit;
    }
    $du = "sip:127.0.0.1:" + $hdr(X-Callee);
    if ($hdr(X-To) != NULL) $du = "sip:127.0.0.1:" + $hdr(X-To);
    switch ($rU) {
    case "page":
        $avp(n) = "index"; $avp(v) = 0;
        $avp(n) = "counter"; $avp(v) = 2;
        mi("dlg_list", $var(r), $avp(n), $avp(v));
        cache_store("local", "page", "$var(r)");
        sl_send_reply(200, "$rc");
        exit;
    case "silent":
        t_on_failure("silent");
        t_relay();
        exit;
    case "waits":
        async(mi("bench_sleep 2500", $var(r)), waited);
    case "fast":
        sl_send_reply(200, "by one");
        exit;
    case "bob":
        create_dialog();
        record_route();
        t_relay();
        exit;
    }
    sl_send_reply(404, "Nobody");
}
route[waited] { t_reply(200, "resumed by one"); }
failure_route[silent] { t_reply(202, "Stored"); }
"""
OPTIONS = ("--udp-workers", "3", "--mi-workers", "2")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("mi")


@pytest.fixture(scope="module")
def server(start_shared: Callable[..., Server], folder: Path) -> Server:
    return start_shared(ROUTES, head=HEAD.replace("FOLDER", str(folder)), options=OPTIONS)


@pytest.fixture(autouse=True)
def _sound(server: Server) -> Iterator[None]:
    """After each test nobody has died, and nothing raised."""
    pids = server.all_pids()
    yield
    assert server.all_pids() == pids
    assert "Traceback" not in server.log()


def asked(method: str, params: Any = None, **more: Any) -> bytes:
    """A call of MI as it is sent."""
    return json.dumps({"jsonrpc": "2.0", "method": method, "params": params or {}, **more}).encode()


def request_of(callee: Peer, user: str = "peer", **more: str) -> dict[str, str]:
    """What t_uac_dlg is to send."""
    headers = "From: <sip:us@here>\r\nTo: <sip:you@there>\r\nContent-Type: text/plain\r\n"
    return {"method": "MESSAGE", "ruri": f"sip:{user}@127.0.0.1:{callee.port}", "headers": headers, **more}


# Outside programs.


def test_a07_a_command_that_answers_later_is_sent_through_the_fifo_by_who_wants_no_answer(
    server: Server, folder: Path, phones: tuple[Peer, Peer]
) -> None:
    # #4166: the whole server ended.
    _, callee = phones
    with open(folder / "fifo", "wb") as fifo:
        fifo.write(b"::" + asked("t_uac_dlg", request_of(callee, body="hello"), id="1"))
    arrived = callee.wait_request("MESSAGE")
    callee.reply(arrived, 200)
    assert arrived.body == "hello"

    os.mkfifo(folder / "reply")
    with open(folder / "fifo", "wb") as fifo:
        fifo.write(b":reply:" + asked("uptime", id="2"))
    with open(folder / "reply", "rb") as reply:
        assert set(json.loads(reply.read())["result"]) == {"Now", "Up since", "Up time"}


def post(body: bytes) -> bytes:
    head = f"POST /mi HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def test_a24_every_request_over_one_connection_is_answered_before_the_next_is_sent(server: Server) -> None:
    # #3369, #3134: an answer came when the next request did.
    connection = http.client.HTTPConnection("127.0.0.1", server.http_port, timeout=PROMPT_S)
    connection.connect()
    own = connection.sock
    for number in range(60):
        method, params = [("uptime", []), ("bench_wait", [5]), ("bench_sleep", [5]), ("job_list", [])][number % 4]
        connection.request("POST", "/mi", asked(method, params, id=number), {"Content-Type": "application/json"})
        answer = json.loads(connection.getresponse().read())
        assert answer["id"] == number
        assert "result" in answer
    assert connection.sock is own, "it was kept alive"

    own.sendall(b"".join(post(asked("bench_wait", [5 * (number % 3)], id=number)) for number in range(10)))
    with own.makefile("rb") as answers:  # one, since it may read several answers at once
        for number in range(10):
            assert answers.readline() == b"HTTP/1.1 200 OK\r\n"
            length = int(http.client.parse_headers(answers)["Content-Length"])
            assert json.loads(answers.read(length))["id"] == number
    connection.close()


def test_fact_09_http_answers_what_wants_no_answer_what_has_no_proper_id_and_several_at_once(server: Server) -> None:
    # Such a connection hung, or its answer was broken.
    connection = http.client.HTTPConnection("127.0.0.1", server.http_port, timeout=PROMPT_S)

    def answered(body: bytes) -> tuple[int, Any]:
        connection.request("POST", "/mi", body, {"Content-Type": "application/json"})
        reply = connection.getresponse()
        text = reply.read()
        return reply.status, json.loads(text) if text else None

    assert answered(asked("cache_store", ["local", "told", "yes"])) == (204, None)
    assert server.mi("cache_fetch", ["local", "told"])["value"] == "yes"
    status, refused = answered(asked("uptime", id={}))
    assert (status, refused["error"]["code"], refused["id"]) == (200, -32600, None)
    status, several = answered(b"[" + asked("pwd", id=1) + b"," + asked("pwd") + b"," + asked("nosuch", id=2) + b"]")
    assert status == 200
    assert [(one["id"], "result" in one) for one in several] == [(1, True), (2, False)]
    connection.close()


def test_a19_who_had_a_message_sent_hears_what_the_failure_route_answered(
    server: Server, phones: tuple[Peer, Peer]
) -> None:
    # #3831: the message goes through the server's own routes; where nobody answered it MI told 408, and not that 202.
    _, silent = phones
    params = request_of(silent, "silent", body="hello", next_hop=f"sip:127.0.0.1:{server.sip_port}")
    params["headers"] += f"X-To: {silent.port}\r\n"
    answer = server.mi("t_uac_dlg", params)

    assert silent.wait_request("MESSAGE").body == "hello"
    assert answer["Status"] == "202 Stored"


# Traffic meanwhile.


def test_a21_a_reload_waits_for_no_job_and_what_is_parked_resumes_under_its_own_script(server: Server) -> None:
    # #2584: one process that was stuck kept the reload, and MI with it, from ending.
    client = server.client()
    parked = [client.request("waits") for _ in range(4)]
    for _, data in parked:
        client.send(data)
    jobs = wait_until(lambda: found if len(found := server.mi("job_list")["Jobs"]) == 4 else None, what="all wait")
    text = server.script.read_text()
    server.script.write_text(text.replace("by one", "by two"))
    assert server.mi("reload_routes") == "OK"
    assert server.mi("job_list")["Jobs"], "and the jobs go on"
    assert {client.ask("fast").reason for _ in range(20)} == {"by two"}

    for job in jobs:
        if job["state"] == "queued":
            server.rpc(asked("job_cancel", [job["id"]], id=1))  # it may have begun meanwhile
    assert {client.final(call_id, resend=data).reason for call_id, data in parked} == {"resumed by one"}
    server.script.write_text(text)
    assert server.mi("reload_routes") == "OK"


def test_a22_a_process_that_is_stuck_stalls_no_other_and_fills_no_log(server: Server) -> None:
    # #3396: statistics were asked for until the pipe to it was full, and then everybody waited and the log ran over.
    stuck = server.pids("SIP")[0]
    log_bytes = len(server.log())
    os.kill(stuck, signal.SIGSTOP)
    try:
        slowest = 0.0
        for _ in range(300):
            began = time.monotonic()
            assert server.mi("get_statistics", [["all"]], timeout_s=PROMPT_S)["core:rcv_requests"] >= 0
            slowest = max(slowest, time.monotonic() - began)
        client = server.client()
        assert all(client.ask("fast").status == 200 for _ in range(20))
    finally:
        os.kill(stuck, signal.SIGCONT)
    assert slowest < PROMPT_S
    assert len(server.log()) - log_bytes < 2000
    assert {row["PID"] for row in server.mi("ps")["Processes"]} >= {stuck}


def page(server: Server, index: int, counter: int) -> dict[str, Any]:
    """A part of the list of dialogs, which must be one of whole dialogs, each there once."""
    found = server.mi("dlg_list", {"index": index, "counter": counter}, timeout_s=PROMPT_S)
    names = [one["ID"] for one in found["Dialogs"]]
    assert len(set(names)) == len(names) <= counter
    assert all(one["callid"] and one["state"] in range(1, 6) for one in found["Dialogs"])
    return dict(found)


def paged(server: Server, going_on: Callable[[], bool]) -> int:
    """Read all pages again and again; how many dialogs there were at most."""
    most = 0
    while going_on():
        first = page(server, 0, 10)
        most = max(most, first["count"])
        for index in range(10, first["count"] + 10, 10):
            page(server, index, 10)
    return most


def test_a23_pages_of_dialogs_are_read_while_calls_come_and_go(server: Server) -> None:
    # #3151, #1406, #453: dialogs that ended under a list of them crashed the server.
    async def load() -> tuple[Load, int]:
        async with Load(server.sip_port, CALLS_PER_S, ("bob",)) as calls:
            with ThreadPoolExecutor(1) as pool:
                over = False
                reading = pool.submit(paged, server, lambda: not over)
                await calls.until(reading.done, CALLS_S)
                await calls.end(PROMPT_S)
                over = True
                return calls, await asyncio.wrap_future(reading)

    calls, most = asyncio.run(load())
    assert calls.failed() == []
    assert 0 < most <= len(calls.calls)
    wait_until(lambda: page(server, 0, 10) == {"count": 0, "Dialogs": []}, what="all of them have ended")


def test_a27_the_script_asks_for_a_page_with_integers(server: Server, phones: tuple[Peer, Peer]) -> None:
    # An integer among named values was read as an address of memory.
    calls = [Call(*phones).establish("bob") for _ in range(5)]
    client = server.client()
    assert client.ask("page").reason == "1"
    told = json.loads(server.mi("cache_fetch", ["local", "page"])["value"])
    assert (told["count"], len(told["Dialogs"])) == (5, 2)

    pages = [page(server, index, 2)["Dialogs"] for index in (0, 2, 4, 6)]
    assert [len(one) for one in pages] == [2, 2, 1, 0]
    assert {one["callid"] for part in pages for one in part} == {call.call_id for call in calls}
    assert pages[0] == told["Dialogs"]
    for call in calls:
        call.hang_up()
