"""Deaths, ends and bad input: what dies is replaced, what is left is answered, and nothing stays behind."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.harness import ROOT, free_port, stop_process, wait_until
from tests.shared_memory import named_memory

pytestmark = pytest.mark.processes

ROUTES = """
route {
    if ($rU == "fast") { sl_send_reply(200, "OK $pp"); exit; }
    if ($rU == "sleep") async(mi("bench_sleep 3000", $var(r)), done);
    if ($rU == "short") async(mi("bench_sleep 300", $var(r)), done);
    if ($rU == "wait") async(mi("bench_wait 20000", $var(r)), done);
    if ($rU == "block") { mi("bench_sleep 1500"); sl_send_reply(200, "OK"); exit; }
    if ($rU == "count") { update_stat("seen", 1); async(mi("bench_wait 500"), done); }
    if ($rU == "invite") async(mi("bench_wait 20000", $var(r)), quiet);
}
route[done] {
    append_to_reply("X-Rc: $rc\\r\\n");
    append_to_reply("X-Result: $var(r)\\r\\n");
    t_reply(200, "OK");
}
route[quiet] { cache_store("local", "quiet", "$rc"); }
"""
HEAD = 'modparam("statistics", "variable", "seen")\n'


@pytest.fixture
def server(start_server):
    return start_server(ROUTES, head=HEAD, options=("--udp-workers", "2", "--mi-workers", "2"))


def alive(pid: int) -> bool:
    try:
        return b"\nState:\tZ" not in Path(f"/proc/{pid}/status").read_bytes()
    except OSError:
        return False


def test_fact_12_a_killed_worker_fails_its_own_job_only_and_is_replaced(server) -> None:
    client = server.client()
    doomed_id, doomed = client.request("sleep")
    client.send(doomed)
    jobs: list[dict[str, Any]] = []
    wait_until(lambda: jobs.extend(server.mi("job_list")["Jobs"]) or any(job["worker"] for job in jobs))
    (busy,) = {job["worker"] for job in jobs if job["worker"]}
    other_id, other = client.request("short")
    client.send(other)
    row = next(row for row in server.mi("worker_list")["Workers"] if busy.startswith(row["Name"] + "."))
    killed_at = time.monotonic()
    os.kill(row["PID"], signal.SIGKILL)
    answer = client.final(doomed_id)
    assert answer.header("X-Rc") == "-500"
    assert busy in answer.header("X-Result")
    assert answer.at - killed_at < 1.0
    assert client.final(other_id, resend=other).header("X-Rc") == "1"

    def replaced() -> bool:
        rows = {row["Name"]: row for row in server.mi("worker_list")["Workers"]}
        now = rows.get(row["Name"])
        return now is not None and now["PID"] not in (0, row["PID"]) and now["Restarts"] == 1

    wait_until(replaced)
    assert client.ask("short").header("X-Rc") == "1"


def test_a30_a_killed_sip_process_is_replaced_and_what_it_had_parked_is_answered(server) -> None:
    client = server.client()
    victims = server.pids("SIP")
    call_id, data = client.request("count")
    client.send(data)
    wait_until(lambda: server.statistic("async:parked") == 1)
    owner = next(job["asked_by"] for job in server.mi("job_list")["Jobs"])
    pid = victims[int(owner.split("-")[1]) - 1]
    inbox = server.folder / f"{owner}.1"
    assert inbox.is_socket()
    os.kill(pid, signal.SIGKILL)
    # The other process serves on, and the UAC's retransmission starts the request anew.
    assert client.ask("fast", limit_s=2).status == 200
    assert client.final(call_id, resend=data).header("X-Rc") == "1"
    server.wait_replaced(victims, pid)
    assert server.statistic("script:seen") == 2
    assert not inbox.exists()


def test_a_parked_request_is_never_run_twice_by_its_retransmissions(server) -> None:
    client = server.client()
    calls = [client.request("count") for _ in range(40)]
    for _, data in calls:
        client.send(data)
    # The script has run up to its async() for each. A copy that overtook that would run up to there as well.
    wait_until(lambda: server.statistic("script:seen") == 40)
    for _ in range(4):
        for _, data in calls:
            client.send(data)
    for call_id, data in calls:
        assert client.final(call_id).status == 200
        client.send(data)  # and afterwards it gets the same answer again
    wait_until(lambda: client.collect(0.01) or all(len(client.answers[call_id]) == 2 for call_id, _ in calls))
    assert all(len({answer.text for answer in client.answers[call_id]}) == 1 for call_id, _ in calls)
    assert server.statistic("script:seen") == server.statistic("async:resumed") == 40
    assert server.statistic("core:handed_over") > 0


def test_what_a_killed_process_had_been_given_is_given_to_whoever_took_the_request_up(server) -> None:
    client = server.client()
    call_id, data = client.request("count")
    client.send(data)
    wait_until(lambda: server.statistic("async:parked") == 1)
    owner = next(job["asked_by"] for job in server.mi("job_list")["Jobs"])
    pids = server.pids("SIP")
    pid = pids[int(owner.split("-")[1]) - 1]
    before = server.statistic("core:handed_over")
    stop_process(pid)
    for _ in range(3):
        client.send(data)
    wait_until(lambda: server.statistic("core:handed_over") >= before + 3, what="the copies wait for the owner")
    os.kill(pid, signal.SIGKILL)

    def taken_up() -> bool:  # by the other one, which sees the death before the replacement has started
        client.send(data)
        return server.statistic("script:seen") > 1

    wait_until(taken_up)
    server.wait_replaced(pids, pid)
    assert client.final(call_id, resend=data).header("X-Rc") == "1"
    assert client.ask("count").header("X-Rc") == "1"
    assert server.statistic("script:seen") == 3, "the killed process's, the one that took it up, and the new request"


def test_nobody_is_asked_for_what_a_dead_process_had_answered(server) -> None:
    one, other = server.pids("SIP")
    client = server.client()
    call_id, data = client.request("count")
    stop_process(one)  # so that the other one answers
    client.send(data)
    assert client.final(call_id).status == 200
    os.kill(one, signal.SIGCONT)
    os.kill(other, signal.SIGKILL)
    (successor,) = set(server.wait_replaced([one, other], other)) - {one}
    client.answers.clear()
    stop_process(successor)  # so that the first one reads the copy, which nobody has now
    client.send(data)
    assert client.final(call_id).status == 200
    os.kill(successor, signal.SIGCONT)
    assert server.statistic("core:handed_over") == 0
    assert server.statistic("script:seen") == 2


def test_fact_06_a_pending_job_is_listed_and_cancelled_and_its_context_resumes(server) -> None:
    client = server.client()
    call_id, data = client.request("wait")
    client.send(data)
    wait_until(lambda: server.mi("job_list")["Jobs"])
    (job,) = server.mi("job_list")["Jobs"]
    assert (job["command"], job["state"]) == ("bench_wait", "sent")
    assert server.mi("job_cancel", [job["id"], "enough"]) == "OK"
    answer = client.final(call_id)
    assert answer.header("X-Rc") == "-487"
    assert "enough" in answer.header("X-Result")
    assert server.mi_error("job_cancel", [job["id"]])["code"] == 404
    assert server.mi_error("job_cancel", ["nonsense"])["code"] == 400


def test_a_cancelled_invite_resumes_at_once_and_is_answered_487(server) -> None:
    client = server.client()
    branch = "z9hG4bKcancelled"
    call_id, invite = client.request("invite", "INVITE", branch=branch)
    client.send(invite)
    wait_until(lambda: server.mi("job_list")["Jobs"])
    client.collect(0.1)
    assert [answer.status for answer in client.answers[call_id]] == [100]
    _, cancel = client.request("invite", "CANCEL", branch=branch, call_id=call_id)
    client.send(cancel)
    wait_until(lambda: client.collect(0.05) or len(client.answers[call_id]) >= 3)
    by_method = {answer.header("CSeq").split()[1]: answer for answer in client.answers[call_id] if answer.status != 100}
    assert (by_method["CANCEL"].status, by_method["INVITE"].status) == (200, 487)
    _, ack = client.request(
        "invite", "ACK", branch=branch, call_id=call_id, to_tag=by_method["INVITE"].header("To").split("tag=")[1]
    )
    client.send(ack)
    assert server.mi("cache_fetch", ["local", "quiet"])["value"] == "-487"
    assert server.mi("job_list")["Jobs"] == []


def test_shutdown_lets_parked_requests_end(server) -> None:
    client = server.client()
    call_id, data = client.request("short")
    client.send(data)
    wait_until(lambda: server.statistic("async:parked") == 1)
    server.process.send_signal(signal.SIGTERM)
    assert client.final(call_id).header("X-Rc") == "1"
    assert server.wait() == 0


def test_shutdown_answers_503_to_what_does_not_end_in_time(start_server) -> None:
    server = start_server(ROUTES, head=HEAD, options=("--udp-workers", "1", "--drain", "0.5"))
    client = server.client()
    call_id, data = client.request("wait")
    client.send(data)
    wait_until(lambda: server.statistic("async:parked") == 1)
    started = time.monotonic()
    server.process.send_signal(signal.SIGTERM)
    assert client.final(call_id).status == 503
    assert server.wait() == 0
    assert time.monotonic() - started < 3


def test_nothing_is_left_behind_by_a_shutdown(server) -> None:
    pids = server.all_pids()
    before = named_memory()
    assert server.stop() == 0
    assert [pid for pid in pids if alive(pid)] == []
    assert not server.folder.exists()
    assert named_memory() <= before


def test_nothing_is_left_behind_by_a_killed_attendant_and_a_new_start(tmp, start_server, monkeypatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp))
    server = start_server(ROUTES, head=HEAD, options=("-R", str(tmp / "layby-home" / "one")))
    pids = server.all_pids()
    server.process.kill()
    server.process.wait()
    wait_until(lambda: not any(alive(pid) for pid in pids), 5)
    # Started on the same port and in the same folder, at once.
    again = subprocess.Popen(
        [sys.executable, "-m", "runtime", "run", str(server.script), "-l", f"udp:127.0.0.1:{server.sip_port}"]
        + ["-R", str(tmp / "layby-home" / "one")],
        cwd=ROOT,
        stderr=subprocess.DEVNULL,
    )
    try:
        assert server.client().ask("fast").status == 200
        again.send_signal(signal.SIGTERM)
        assert again.wait(10) == 0
    finally:
        again.kill()
        again.wait()
    assert not (tmp / "layby-home" / "one").exists()


def test_the_next_start_sweeps_the_folders_of_killed_servers(tmp, start_server, monkeypatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp))
    home = tmp / f"layby-{os.getuid()}"
    port = free_port()
    script = tmp / "one.cfg"
    script.write_text('loadmodule "sl.so"\nroute { sl_send_reply(200, "OK"); }\n')
    command = [sys.executable, "-m", "runtime", "run", str(script), "-l", f"udp:127.0.0.1:{port}"]
    first = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)
    wait_until(lambda: home.exists() and any(path.is_dir() and (path / "store").exists() for path in home.iterdir()))
    first.kill()
    first.wait()
    left = [path for path in home.iterdir() if path.is_dir()]
    assert len(left) == 1
    second = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: not left[0].exists())
        wait_until(lambda: any((path / "mi-1.1").exists() for path in home.iterdir()))
    finally:
        second.send_signal(signal.SIGTERM)
        assert second.wait(10) == 0
    assert not home.exists()


GARBAGE = [
    b"\x00\xff" * 100,
    b"nonsense\r\n\r\n",
    b"OPTIONS sip:x@y SIP/2.0\r\n\r\n",
    b"SIP/2.0 200 OK\r\nVia: x\r\n\r\n",
    b"OPTIONS " + b"a" * 60_000,
]


def test_what_is_no_sip_is_dropped_and_counted_and_ends_nothing(server) -> None:
    client = server.client()
    pids = server.all_pids()
    for data in GARBAGE:
        client.send(data)
    wait_until(lambda: server.statistic("core:bad_messages") == len(GARBAGE))
    client.collect(0.1)
    assert client.answers == {}
    assert client.ask("fast").status == 200
    assert server.all_pids() == pids


def test_a_bad_request_is_answered_400(server) -> None:
    client = server.client()
    _, good = client.request("fast", call_id="bad-cseq")
    client.send(good.replace(b"CSeq: 1 OPTIONS", b"CSeq: 1 INVITE"))
    assert client.final("bad-cseq").status == 400
    _, good = client.request("fast", call_id="bad-version")
    client.send(good.replace(b" SIP/2.0\r\nVia", b" SIP/7.0\r\nVia"))
    assert client.final("bad-version").status == 505


def test_a_request_uri_that_is_none_is_refused(server) -> None:
    client = server.client()
    for number, (uri, status) in enumerate([("foo", 400), ("sip:", 400), ("sip:a@[::1", 400), ("http://x/", 416)]):
        call_id, good = client.request("fast", call_id=f"ruri-{number}")
        client.send(good.replace(good.split(b" ")[1], uri.encode(), 1))
        assert client.final(call_id).status == status, uri
    assert server.statistic("core:bad_messages") == 4


def test_a_header_line_without_a_colon_costs_nobody_an_answer(server) -> None:
    client = server.client()
    _, good = client.request("invite", "INVITE")
    client.send(good.replace(b"Max-Forwards: 70", b"Contact", 1))
    wait_until(lambda: server.statistic("core:bad_messages") == 1)
    assert client.ask("short").header("X-Rc") == "1"


def test_a_script_that_fails_at_run_time_answers_500_and_serves_on(start_server) -> None:
    routes = 'route { if ($rU == "boom") { $var(x) = 1; $var(y) = $var(x) / 0; } sl_send_reply(200, "OK"); }'
    server = start_server(routes)
    assert server.client().ask("boom").status in (200, 500)
    assert server.client().ask("fine").status == 200


def test_many_hostile_mi_requests_end_no_process(server) -> None:
    pids = server.all_pids()
    for text in (b"", b"{", b"[]", b"[" * 5000, b'{"jsonrpc":"2.0","method":"uptime","id":{}}', b"\xff\xfe"):
        with socket.create_connection(("127.0.0.1", server.http_port), 5) as one:
            head = (
                f"POST /mi HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(text)}\r\n\r\n"
            )
            one.sendall(head.encode() + text)
            assert one.recv(100).startswith(b"HTTP/1.1 ")
    assert server.mi_error("no_such_command")["code"] == -32601
    assert server.mi_error("uptime", ["x"])["data"] == "Too few or too many parameters"
    assert server.all_pids() == pids


def test_an_address_in_use_is_a_clear_error(tmp) -> None:
    script = tmp / "one.cfg"
    script.write_text('loadmodule "sl.so"\nroute { sl_send_reply(200, "OK"); }\n')
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        listen = f"udp:127.0.0.1:{taken.getsockname()[1]}"
        done = subprocess.run(
            [sys.executable, "-m", "runtime", "run", str(script), "-l", listen],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=20,
        )
    assert done.returncode == 1
    assert f"cannot listen on {listen}" in done.stderr
