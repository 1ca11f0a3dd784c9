"""The simulated machine: real processes and scripts on a virtual clock; the same plan is the same run."""

from __future__ import annotations

import socket
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from runtime.simulation.events import Crashed, JobEnded, Parked, Reloaded, Resumed, Started, lines_of
from runtime.simulation.plan import Answer, Crash, CrashInJob, Mi, Network, Plan, Reload, Send, Shutdown, Stall
from runtime.simulation.run import Run
from runtime.simulation.simulator import SimulationFailed, Simulator

HEAD = """
loadmodule "proto_udp.so"
loadmodule "sl.so"
loadmodule "signaling.so"
loadmodule "tm.so"
loadmodule "mi_script.so"
loadmodule "bench.so"
socket=udp:192.0.2.1:5060
"""
UPTIME = f"""{HEAD}
route {{
    async(mi("uptime", $var(r)), resumed);
}}
route[resumed] {{
    send_reply(200, "OK");
}}
"""
LATER = f"""{HEAD}
route {{
    async(mi("bench_wait $rU", $var(r)), resumed, 5);
}}
route[resumed] {{
    send_reply(200, "OK");
}}
"""


def request(number: int, method: str = "OPTIONS") -> str:
    """One whose user part, which scripts take for milliseconds, tells it from others."""
    lines = [
        f"{method} sip:{20 + number % 89}@192.0.2.1 SIP/2.0",
        f"Via: SIP/2.0/UDP 198.51.100.{number % 250 + 1}:5060;branch=z9hG4bK-{number}",
        f"From: <sip:a@example.com>;tag=a{number}",
        "To: <sip:b@192.0.2.1>",
        f"Call-ID: call-{number}",
        f"CSeq: 1 {method}",
        f"Contact: <sip:a@198.51.100.{number % 250 + 1}>",
        "Max-Forwards: 70",
        "Content-Length: 0",
    ]
    return "\r\n".join([*lines, "", ""])


def sends(count: int, every_s: float = 0.01, method: str = "OPTIONS") -> list[Send]:
    return [Send(0.1 + every_s * number, f"uac-{number}", request(number, method)) for number in range(count)]


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    with Simulator() as one:
        yield one


def finals(run: Run) -> list[list[int]]:
    return [[status for status, _ in exchange.finals] for exchange in run.exchanges]


def test_a_request_is_parked_answered_by_a_worker_and_resumed_in_virtual_time(simulator: Simulator) -> None:
    run = simulator.run(Plan("s.cfg", UPTIME, [*sends(1)]))

    parked, ended, resumed = (
        next(event for event in run.events if isinstance(event, kind)) for kind in (Parked, JobEnded, Resumed)
    )
    assert (parked.file, parked.line, parked.resume, parked.call) == ("s.cfg", 11, "resumed", "call-0")
    assert parked.job == ended.job == resumed.job
    assert parked.process == resumed.process
    assert ended.process.startswith("worker-")
    assert (resumed.outcome, resumed.answer) == ("Returned", ended.answer)
    assert parked.at_s < resumed.at_s < parked.at_s + 0.01
    assert finals(run) == [[200]]


FAULTY = Plan(
    "s.cfg",
    LATER,
    [
        *sends(60),
        Crash(0.2, "sip-1"),
        Crash(0.35, "worker-1"),
        CrashInJob(0.5),
        Stall(0.4, "sip-2", 0.3),
        Reload(0.3),
        Mi(0.6, '{"jsonrpc":"2.0","id":1,"method":"ps"}'),
    ],
    seed=7,
    network=Network(loss=0.05, duplicate=0.05, late=0.05),
)


def test_the_same_plan_is_the_same_run_byte_for_byte_in_two_interpreters(simulator: Simulator) -> None:
    with Simulator() as other:
        other.order(FAULTY)
        first = simulator.run(FAULTY)
        second = other.outcome()

    kinds = {type(event) for event in first.events}
    assert {Started, Crashed, Parked, Resumed, Reloaded} <= kinds
    assert lines_of(first.events) == lines_of(second.events)
    assert msgspec.json.encode(first) == msgspec.json.encode(second)


def test_another_seed_is_another_run(simulator: Simulator) -> None:
    first, second = (simulator.run(msgspec.structs.replace(FAULTY, seed=seed)) for seed in (7, 8))

    assert lines_of(first.events) != lines_of(second.events)


def test_a_crash_costs_what_was_parked_in_that_process_and_nothing_else(simulator: Simulator) -> None:
    run = simulator.run(Plan("s.cfg", LATER, [*sends(20), Crash(0.2, "sip-1")]))

    died = next(event for event in run.events if isinstance(event, Crashed)).process
    unresumed = {event.job for event in run.events if isinstance(event, Parked)} - {
        event.job for event in run.events if isinstance(event, Resumed)
    }
    assert died == "sip-1.1"
    assert all(job.startswith(f"{died}.") for job in unresumed)
    assert finals(run) == [[200]] * 20  # the callers ask again, and another process answers


def test_a_shutdown_drains_what_is_parked(simulator: Simulator) -> None:
    run = simulator.run(Plan("s.cfg", LATER, [*sends(5), Shutdown(0.15)], until_s=10))

    assert finals(run) == [[200]] * 5
    assert {event.why for event in run.events if isinstance(event, Crashed)} == {"exit code 0"}


def test_workers_come_while_jobs_wait_and_go_when_they_are_not_needed(simulator: Simulator) -> None:
    slow = LATER.replace("bench_wait", "bench_sleep").replace("resumed, 5", "resumed, 60")
    run = simulator.run(Plan("s.cfg", slow, [*sends(40)], workers=1, workers_max=3, until_s=80.0))

    workers = [f"worker-{number}.1" for number in range(1, 4)]
    assert [event.process for event in run.events if isinstance(event, Started) if "worker" in event.process] == workers
    left = [(event.process, event.why) for event in run.events if isinstance(event, Crashed)]
    assert sorted(left) == [(name, "exit code 0") for name in workers[1:]]
    assert run.violations == []
    assert finals(run) == [[200]] * 40


def test_a_storm_of_crashes_ends_the_server_where_the_plan_says_so(simulator: Simulator) -> None:
    crashes = [Crash(0.3 + number / 4, f"worker-{1 + number % 2}") for number in range(40)]
    plan = Plan("s.cfg", LATER, [*sends(20, every_s=0.5), *crashes], until_s=80.0, storms=True)
    ended, went_on = simulator.run(plan), simulator.run(msgspec.structs.replace(plan, storms=False))

    assert (len(ended.held), len(went_on.held)) == (0, 5)
    assert (ended.violations, went_on.violations) == ([], [])
    assert finals(went_on) == [[200]] * 20


RINGS = f"""{HEAD}
route {{
    $du = "sip:192.0.2.200";
    t_relay();
}}
"""


def test_a_call_that_rings_for_ever_is_held_for_as_long_as_the_script_says_and_no_longer(simulator: Simulator) -> None:
    ringing = Send(0.1, "uac-1", request(1, "INVITE"), answers=[[Answer(0.01, 180)]])
    plan = Plan("s.cfg", RINGS, [ringing], sip=1, workers=1, until_s=100.0)
    still, over = simulator.run(plan), simulator.run(msgspec.structs.replace(plan, until_s=230.0))

    assert (still.held["sip-1.1"]["transactions"], over.held["sip-1.1"]["transactions"]) == (1, 0)
    assert ([one.rule for one in still.violations], over.violations) == (["is answered"], [])
    assert finals(over) == [[408]]


def test_a_script_that_cannot_be_loaded_is_said(simulator: Simulator) -> None:
    with pytest.raises(SimulationFailed, match=r"s\.cfg:9:\d+: error"):
        simulator.run(Plan("s.cfg", f"{HEAD}route {{ nonsense; }}"))


def test_a_run_can_be_led_step_by_step(simulator: Simulator) -> None:
    begun = simulator.open(Plan("s.cfg", LATER))
    asked = simulator.advance(0.5, [Send(0.1, "uac-1", request(80)), Crash(0.15, "sip-2")])
    killed = simulator.advance(0.6, [Mi(0.0, '{"jsonrpc":"2.0","id":1,"method":"which","params":["ps"]}')])
    whole = simulator.finish(100.0)

    assert [type(event) for event in begun.events] == [Started] * 5
    assert {Parked, Resumed, Crashed} <= {type(event) for event in asked.events}
    assert all(0.5 <= event.at_s <= 0.6 for event in killed.events)
    assert len(killed.answers) == 1
    assert finals(whole) == [[200]]
    assert whole.violations == []
    assert whole.events[: len(begun.events) + len(asked.events)] == begun.events + asked.events
    assert finals(simulator.run(Plan("s.cfg", UPTIME, [*sends(1)]))) == [[200]]  # and the next one begins afresh


KEPT = f"""{HEAD}
loadmodule "rr.so"
loadmodule "dialog.so"
loadmodule "event_datagram.so"
modparam("dialog", "db_url", "sqlite:%s")
modparam("dialog", "db_mode", 1)
startup_route {{
    subscribe_event("E_SEEN", "udp:127.0.0.1:%d");
}}
route {{
    raise_event("E_SEEN");
    create_dialog();
    $du = "sip:192.0.2.200";
    t_relay();
}}
"""


def test_what_is_around_the_server_is_not_touched(simulator: Simulator, tmp_path: Path) -> None:
    database, script = tmp_path / "calls.sqlite", tmp_path / "kept.cfg"
    with closing(sqlite3.connect(database)) as before:
        before.execute("create table mine (a)")
        before.commit()
    untouched = database.read_bytes()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as heard:
        heard.bind(("127.0.0.1", 0))
        heard.setblocking(False)
        script.write_text(KEPT % (database, heard.getsockname()[1]))
        run = simulator.run(Plan(str(script), None, [*sends(5, method="INVITE")]))

        with pytest.raises(BlockingIOError):
            heard.recv(100)
    assert finals(run) == [[200]] * 5
    assert database.read_bytes() == untouched
    assert sorted(tmp_path.iterdir()) == [database, script]
