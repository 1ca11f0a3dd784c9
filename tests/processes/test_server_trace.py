"""`layby trace` over a real server: what is parked, what a worker does with it, who dies, and that it ends again."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from runtime.traffic.generator import environment
from tests.harness import Server, SipClient, free_port, wait_until
from tests.trace_checker import problems

pytestmark = pytest.mark.processes

ROUTES = """
route {
    if ($rU == "parks") {
        async(mi("bench_sleep 30", $var(r)), later);
    } else if ($rU == "dies") {
        async(mi("bench_sleep 5000", $var(r)), later);
    } else if ($rU == "blocks") {
        mi("bench_sleep 5", $var(r));
    } else if ($rU == "launches") {
        launch(mi("uptime"), told);
    }
    sl_send_reply(200, "OK");
}
route[later] {
    t_reply(202, "Later");
}
route[told] {
    xlog("told\\n");
}
"""
Event = dict[str, Any]


Trace = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def trace() -> Iterator[Trace]:
    """Starts `layby trace`, and sees to it that none outlives its test."""
    begun: list[subprocess.Popen[bytes]] = []

    def start(*arguments: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "runtime", "trace", *arguments]
        begun.append(subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE))
        return begun[-1]

    yield start
    for process in begun:
        process.terminate()
        process.communicate()


def ended(recorder: subprocess.Popen[bytes]) -> tuple[int, str]:
    """The exit code, and what it has said."""
    shown, _ = recorder.communicate(timeout=30)
    return recorder.returncode, shown.decode()


def read(path: Path) -> list[Event]:
    data = path.read_bytes()
    assert problems(data) == []
    return list(json.loads(data)["traceEvents"])


def tracks(events: list[Event]) -> dict[int, str]:
    return {one["pid"]: one["args"]["name"].partition(" ")[0] for one in events if one["name"] == "process_name"}


def arrow(events: list[Event], job: str) -> list[str]:
    names = tracks(events)
    return [names[one["pid"]] for one in events if one["ph"] in "stf" and one["id"] == job]


def parkings(events: list[Event], label: str) -> list[Event]:
    return [one for one in events if one["ph"] == "b" and one["name"] == f"parked: {label}"]


def slices(events: list[Event], cat: str, name: str = "") -> list[Event]:
    return [one for one in events if one["ph"] == "X" and one["cat"] == cat and one["name"].startswith(name)]


def recorded(server: Server) -> int:
    """How many processes are recorded now."""
    return len(list(server.folder.glob("timeline/*.rec")))


def test_a_running_server_is_recorded_by_mi_with_what_parks_runs_dies_and_resumes_and_then_left_alone(
    start_server: Callable[..., Server], trace: Trace, tmp: Path
) -> None:
    server = start_server(ROUTES, options=("--udp-workers", "2", "--mi-workers", "2"))
    client, out = server.client(), tmp / "live.json"
    client.ask("parks")  # before
    url = f"http://127.0.0.1:{server.http_port}/mi"
    recorder = trace("live", "--http", url, "--seconds", "60", "--share", "1", "-o", str(out), "--call-ids")
    wait_until(lambda: recorded(server) == 5, what="the recording")
    assert client.ask("parks", call_id="the-one").status == 202
    assert client.ask("blocks").status == 200
    assert client.ask("launches").status == 200
    dies_id, dies = client.request("dies", "INVITE")
    client.send(dies)
    wait_until(lambda: any(job["state"] == "sent" for job in server.mi("job_list")["Jobs"]), what="the job")
    (job,) = server.mi("job_list")["Jobs"]
    victim = job["worker"].partition(".")[0]
    (pid,) = [row["PID"] for row in server.mi("worker_list")["Workers"] if row["Name"] == victim]
    os.kill(pid, signal.SIGKILL)
    assert client.final(dies_id).status == 202
    wait_until(lambda: recorded(server) == 6, what="the worker that replaces it")
    recorder.send_signal(signal.SIGINT)
    code, shown = ended(recorder)
    assert code == 0, server.log()
    assert "1 lost with their process" in shown
    events = read(out)

    parked, lost = parkings(events, "bench_sleep")
    origin, worker, back = arrow(events, parked["id"])
    assert origin == back
    assert origin.startswith("sip-")
    assert worker.startswith("worker-")
    (ran,) = [one for one in slices(events, "job", "job bench_sleep") if one["args"]["job"] == parked["id"]]
    assert ran["dur"] >= 30_000
    message = next(one for one in slices(events, "message") if one["args"]["call"] == "the-one")
    assert message["ts"] <= parked["ts"] <= message["ts"] + message["dur"]

    (gone,) = [one for one in slices(events, "job") if one["args"].get("job") == lost["id"]]
    assert gone["pid"] == pid
    assert "SIGKILL" in gone["args"]["lost"]
    assert arrow(events, lost["id"])[1] == f"{victim}.1"
    assert lost["args"]["outcome"] == "WorkerLost"
    assert f"{victim}.2" in tracks(events).values()

    command = slices(events, "command", "mi bench_sleep")[0]
    line = next(
        number for number, text in enumerate(server.script.read_text().splitlines(), 1) if 'bench_sleep 5"' in text
    )
    place = f"{server.script}:{line}:"
    statement = next(one for one in slices(events, "statement") if one["args"]["place"].startswith(place))
    assert statement["ts"] <= command["ts"] <= command["ts"] + command["dur"] <= statement["ts"] + statement["dur"]
    assert slices(events, "resume", "report")
    assert slices(events, "sent", "send 202 INVITE")

    assert not recorded(server)
    assert client.ask("parks").status == 202
    assert server.mi_error("timeline_stop")["code"] == 404


def test_of_few_calls_each_is_recorded_whole_and_of_the_others_nothing(start_server: Callable[..., Server]) -> None:
    server = start_server(ROUTES, options=("--udp-workers", "2", "--mi-workers", "1"))
    client = server.client()
    server.mi("timeline_start", {"seconds": 60, "share": 0.3, "least_us": 50, "call_ids": 1})
    assert server.mi_error("timeline_start")["code"] == 480
    wait_until(lambda: recorded(server) == 4, what="the recording")
    asked = {f"call-of-{number}" for number in range(60)}
    for call_id in asked:
        assert client.ask("parks", call_id=call_id).status == 202
    names = server.mi("timeline_stop")["Files"]
    folder = server.folder / "timeline"
    assert set(names) == {path.name for path in folder.iterdir()}

    from runtime.tracing.collecting import of_folder
    from runtime.tracing.events import pack_trace

    built = of_folder(folder)
    assert problems(pack_trace(built)) == []
    calls = [one.args["call"] for one in built.events if one.cat == "message" and one.ph == "X"]
    assert 0 < len(set(calls)) < 60
    assert set(calls) <= asked
    ran = [one for one in built.events if one.cat == "job" and one.ph == "X"]
    resumed = [one for one in built.events if one.cat == "resume" and one.ph == "X"]
    assert len(ran) == len(resumed) == len(set(calls))
    assert server.mi("timeline_forget") == "OK"
    assert not folder.exists()


def test_a_server_of_its_own_is_recorded_from_its_first_message_to_its_last(trace: Trace, tmp: Path) -> None:
    port, out = free_port(), tmp / "run.json"
    script = tmp / "script.cfg"
    modules = "".join(f'loadmodule "{name}.so"\n' for name in ("proto_udp", "sl", "tm", "mi_script", "bench"))
    script.write_text(modules + ROUTES)
    address = f"udp:127.0.0.1:{port}"
    options = ("--udp-workers", "1", "--mi-workers", "1", "--mi-workers-max", "1")
    recorder = trace("run", str(script), "-l", address, *options, "-o", str(out))
    client = SipClient(port)
    try:
        assert client.ask("parks", limit_s=30.0).status == 202
    finally:
        client.close()
    recorder.terminate()
    code, shown = ended(recorder)
    assert code == 0
    events = read(out)
    assert sorted(tracks(events).values()) == ["mi-1.1", "sip-1.1", "worker-1.1"]
    assert len(parkings(events, "bench_sleep")) == 1
    assert "parked: 1" in shown


def test_what_a_killed_server_has_left_is_read_and_drawn(
    start_server: Callable[..., Server], trace: Trace, tmp: Path
) -> None:
    left, out, picture = tmp / "left", tmp / "read.json", tmp / "picture.svg"
    options = ("--udp-workers", "1", "--mi-workers", "1", "--trace", str(left))
    server = start_server(ROUTES, options=options)
    client = server.client()
    assert client.ask("parks").status == 202
    client.send(client.request("dies")[1])
    wait_until(lambda: any(job["state"] == "sent" for job in server.mi("job_list")["Jobs"]), what="the job")
    for pid in server.all_pids():
        os.kill(pid, signal.SIGKILL)
    server.wait()
    code, shown = ended(trace("read", str(left), "-o", str(out)))
    assert code == 0
    assert "parked: 2" in shown
    events = read(out)
    assert [one["args"].get("unfinished") for one in parkings(events, "bench_sleep")] == [None, True]
    assert ended(trace("picture", str(out), "-o", str(picture)))[0] == 0
    assert "parked: bench_sleep" in picture.read_text()


PYTHON_ROUTES = """
@route.request
async def request(call):
    call.launch(call.mi("uptime"))
    await call.mi("bench_sleep", 5)
    await call.gather(call.mi("bench_sleep", 1), call.mi("uptime"))
    call.t_reply(200, "OK")
"""


def test_of_a_script_in_python_what_it_calls_and_what_it_awaits_is_there(
    start_server: Callable[..., Server], trace: Trace, tmp: Path
) -> None:
    server = start_server(PYTHON_ROUTES, python=True, options=("--udp-workers", "1", "--mi-workers", "1"))
    out, url = tmp / "python.json", f"http://127.0.0.1:{server.http_port}/mi"
    recorder = trace("live", "--http", url, "--seconds", "60", "--share", "1", "-o", str(out), "--least-us", "0")
    wait_until(lambda: recorded(server) == 3, what="the recording")
    assert server.client().ask("x").status == 200
    recorder.send_signal(signal.SIGINT)
    assert ended(recorder)[0] == 0, server.log()
    events = read(out)
    lines = server.script.read_text().splitlines()
    said = {one["name"]: line_of(one, lines) for one in slices(events, "statement")}
    assert said.keys() == {"call.launch", "call.t_reply"}
    assert all(f"{name}(" in line for name, line in said.items())
    awaited = [line_of(one, lines) for one in parkings(events, "bench_sleep")]
    assert [line.split("(")[0].strip() for line in awaited] == ["await call.mi", "await call.gather"]


def line_of(event: Event, lines: list[str]) -> str:
    """The line of the script where it happened."""
    return lines[int(event["args"]["place"].split(":")[1]) - 1]


def test_a_newer_script_is_taken_by_one_process_after_the_other(
    start_server: Callable[..., Server], trace: Trace, tmp: Path
) -> None:
    left, out = tmp / "left", tmp / "reload.json"
    more = "".join(f"route[r{number}] {{ $var(x) = {number}; }}\n" for number in range(40))
    server = start_server(ROUTES + more, options=("--udp-workers", "4", "--mi-workers", "1", "--trace", str(left)))
    assert server.mi("reload_routes") == "OK"
    server.stop()
    assert ended(trace("read", str(left), "-o", str(out)))[0] == 0
    taken = sorted((one["ts"], one["ts"] + one["dur"]) for one in slices(read(out), "reload"))
    assert len(taken) >= 5, "who comes up meanwhile is told to look once more"
    assert all(one[1] <= other[0] for one, other in itertools.pairwise(taken)), taken


@pytest.mark.parametrize("arguments", [("read", "/nowhere"), ("run", "/nowhere.cfg")])
def test_what_cannot_be_recorded_is_said(arguments: tuple[str, ...], trace: Trace, tmp: Path) -> None:
    assert ended(trace(*arguments, "-o", str(tmp / "none.json"))) == (2, "")
    assert not (tmp / "none.json").exists()
