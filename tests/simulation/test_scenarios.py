"""Races that took other servers down (the must-survive list's A4, A13, A14, A21, A23, A29, A30), each as a scenario.

Each is run with several seeds, so that the packets and frames of the race come in many orders.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from runtime.simulation.events import Crashed, JobBegan, Noted, PacketSent, Parked, Reloaded, Resumed
from runtime.simulation.plan import (
    Answer,
    Crash,
    CrashAt,
    CrashInJob,
    Follow,
    Item,
    Mi,
    Network,
    Plan,
    Reload,
    Send,
    Stall,
)
from runtime.simulation.run import Run
from runtime.simulation.simulator import Simulator
from runtime.steps import ServerStep
from tests.simulation.test_machine import HEAD, finals, request, sends
from workers.steps import Step

SEEDS = range(2)
ROUGH = Network(duplicate=0.1, late=0.1, late_s=0.05)


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    with Simulator() as one:
        yield one


def mi(at_s: float, method: str, **params: object) -> Mi:
    return Mi(at_s, json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}))


def results(run: Run) -> list[dict[str, object]]:
    return [json.loads(answer)["result"] for answer in run.answers]


def relayed(run: Run, method: str) -> list[PacketSent]:
    """What the server sent to gateways."""
    sent = [event for event in run.events if isinstance(event, PacketSent) and event.to == "gw"]
    return [event for event in sent if event.data.startswith(f"{method} ")]


def is_well(run: Run) -> None:
    assert run.violations == []
    assert [event.text for event in run.events if isinstance(event, Noted) and "ERROR" in event.text] == []


IN_DIALOGS = f"""{HEAD}
loadmodule "rr.so"
loadmodule "sipmsgops.so"
loadmodule "dialog.so"
route {{
    if (has_totag()) {{
        loose_route();
        t_relay();
        exit;
    }}
    record_route();
    create_dialog();
"""
"""The beginning of a script that relays calls with dialogs, to the first statement for what makes one."""
CHAINED = f"""{IN_DIALOGS}    $avp(own) = $ci;
    async(mi("bench_wait 3", $var(r)), one);
}}
route[one] {{ async(mi("bench_wait 1", $var(r)), two); }}
route[two] {{ async(mi("bench_wait 2", $var(r)), three); }}
route[three] {{ async(mi("bench_wait 1", $var(r)), four); }}
route[four] {{ async(mi("uptime", $var(r)), five); }}
route[five] {{
    if ($avp(own) != $ci) {{
        xlog("L_ERR", "ERROR: $avp(own) is not $ci\\n");
    }}
    $du = "sip:192.0.2.200";
    t_relay();
}}
"""


@pytest.mark.parametrize("seed", SEEDS)
def test_a04_five_chained_asyncs_of_an_invite_with_a_dialog_all_run_and_the_dialog_is_whole(
    simulator: Simulator, seed: int
) -> None:
    calls: list[Item] = [
        Send(
            0.1 + number / 100,
            f"uac-{number}",
            request(number, "INVITE"),
            follows=[Follow(5.0, "BYE")],
        )
        for number in range(20)
    ]
    run = simulator.run(
        Plan("s.cfg", CHAINED, [*calls, mi(3.0, "dlg_list"), mi(20.0, "dlg_list")], seed, 120.0, network=ROUGH)
    )

    is_well(run)
    assert run.parkings == 5 * 20
    assert finals(run) == [[200]] * 40  # the INVITEs, and the BYEs
    talking, ended = results(run)
    assert sorted(dialog["callid"] for dialog in talking["Dialogs"]) == sorted(f"call-{number}" for number in range(20))  # type: ignore[attr-defined]
    assert ended["Dialogs"] == []


BRANCHES = f"""{HEAD}
route {{
    t_on_reply("replies");
    $ru = "sip:one@192.0.2.200";
    append_msg_branch("sip:two@192.0.2.201");
    t_relay();
}}
onreply_route[replies] {{
    $var(mine) = $tt;
    $avp(mine) = $tt;
    async(mi("bench_wait 5", $var(r)), resumed);
}}
route[resumed] {{
    if ($var(mine) != $tt) {{
        xlog("L_ERR", "ERROR: $var(mine) is not $tt\\n");
    }}
}}
"""


@pytest.mark.parametrize("seed", SEEDS)
def test_a13_two_branches_answer_together_and_both_are_parked_without_mixing(simulator: Simulator, seed: int) -> None:
    together = [[Answer(0.01, 180), Answer(0.02, 200)], [Answer(0.01, 180), Answer(0.02, 486)]]
    calls: list[Item] = [
        Send(0.1 + number / 50, f"uac-{number}", request(number, "INVITE"), answers=together) for number in range(20)
    ]
    run = simulator.run(Plan("s.cfg", BRANCHES, calls, seed, 120.0, network=ROUGH))

    is_well(run)
    assert {event.file for event in run.events if isinstance(event, Parked)} == {"s.cfg"}
    assert run.parkings >= 3 * 20  # a 180 that comes after its 200 is of no use
    assert finals(run) == [[200]] * 20


NEVER = f"""{HEAD}
route {{ async(mi("bench_wait 3000", $var(r)), resumed, 1); }}
route[resumed] {{
    if ($rc == -408) {{
        send_reply(480, "Too Late");
    }}
}}
"""


def test_a14_a_job_that_ends_too_late_resumes_at_its_deadline_although_nothing_else_happens(
    simulator: Simulator,
) -> None:
    plan = Plan("s.cfg", NEVER, [*sends(5), mi(10.0, "get_statistics", statistics=["late_answers"])], until_s=120.0)
    run = simulator.run(plan)

    is_well(run)
    parked = {event.job: event.at_s for event in run.events if isinstance(event, Parked)}
    resumed = [event for event in run.events if isinstance(event, Resumed)]
    assert [(event.outcome, event.code) for event in resumed] == [("TimedOut", -408)] * 5
    assert [event.at_s - parked[event.job] for event in resumed] == [pytest.approx(1.0, abs=0.005)] * 5
    assert finals(run) == [[480]] * 5
    assert results(run) == [{"async:late_answers": 5}]


OLD = f"""{HEAD}
route {{ async(mi("bench_wait 500", $var(r)), resumed); }}
route[resumed] {{ send_reply(200, "Old"); }}
"""


@pytest.mark.parametrize("seed", SEEDS)
def test_a21_what_is_parked_at_a_reload_resumes_on_the_old_script_though_a_process_is_stuck(
    simulator: Simulator, seed: int
) -> None:
    new = OLD.replace("Old", "New").replace("resumed", "renewed")
    before = sends(20, every_s=0.002)
    after: list[Item] = [Send(1.5 + number / 100, f"uac-{number}", request(number)) for number in range(20, 40)]
    stuck: list[Item] = [Stall(0.2, "sip-1", 3.0), Reload(0.3, new)]
    run = simulator.run(Plan("s.cfg", OLD, [*before, *stuck, *after], seed, 120.0, sip=3))

    is_well(run)
    answers = [event.data for event in run.events if isinstance(event, PacketSent) and event.source.startswith("sip-")]
    for number in range(40):
        own = [data for data in answers if f"Call-ID: call-{number}\r\n" in data]
        assert own
        assert all(data.startswith(f"SIP/2.0 200 {'Old' if number < 20 else 'New'}\r\n") for data in own), number
    assert len({event.process for event in run.events if isinstance(event, Reloaded)}) >= 3


DIALOGS = f"""{IN_DIALOGS}    $du = "sip:192.0.2.200";
    t_relay();
}}
"""


def test_a23_pages_of_dialogs_are_whole_while_calls_come_and_go(simulator: Simulator) -> None:
    count = 500
    calls: list[Item] = [
        Send(
            0.1 + number / 500,
            f"uac-{number}",
            request(number, "INVITE"),
            follows=[Follow(0.2, "BYE")],
        )
        for number in range(count)
    ]
    pages: list[Item] = [mi(0.2 + number / 50, "dlg_list", index=number % 5 * 10, counter=20) for number in range(50)]
    run = simulator.run(Plan("s.cfg", DIALOGS, [*calls, *pages], 1, 120.0, everything=False))

    is_well(run)
    assert finals(run) == [[200]] * (2 * count)
    shown = [[dialog["ID"] for dialog in page["Dialogs"]] for page in results(run)]  # type: ignore[attr-defined]
    assert len(shown) == 50
    assert any(shown)
    assert all(len(set(page)) == len(page) <= 20 for page in shown)


CANCELLED = f"""{HEAD}
route {{
    t_newtran();
    async(mi("bench_wait 200", $var(r)), resumed);
}}
route[resumed] {{
    if ($rc == -487) {{
        exit;
    }}
    t_relay();
}}
"""


@pytest.mark.parametrize("seed", SEEDS)
def test_a29_a_call_that_was_cancelled_while_parked_is_not_relayed_and_its_job_is_cancelled(
    simulator: Simulator, seed: int
) -> None:
    calls: list[Item] = [
        Send(at_s := 0.1 + number / 50, f"uac-{number}", request(number, "INVITE"), cancel_at_s=at_s + 0.05)
        for number in range(20)
    ]
    run = simulator.run(Plan("s.cfg", CANCELLED, calls, seed, 120.0, network=ROUGH))

    is_well(run)
    assert finals(run) == [[487]] * 20
    assert relayed(run, "INVITE") == []
    assert {event.outcome for event in run.events if isinstance(event, Resumed)} == {"Cancelled"}


WAITS = f"""{HEAD}
route {{ async(mi("bench_wait 100", $var(r)), resumed); }}
route[resumed] {{
    if ($rc == -500) {{
        send_reply(500, "Worker Lost");
        exit;
    }}
    send_reply(200, "OK");
}}
"""


@pytest.mark.parametrize("seed", SEEDS)
def test_a30_a_killed_worker_costs_the_jobs_that_it_had_begun_and_no_context(simulator: Simulator, seed: int) -> None:
    kills: list[Item] = [Crash(0.2, "worker-1"), CrashInJob(0.35), Crash(0.5, "worker-2")]
    run = simulator.run(Plan("s.cfg", WAITS, [*sends(60), *kills], seed, 120.0))

    is_well(run)
    dead = {event.process for event in run.events if isinstance(event, Crashed)}
    begun = {event.job for event in run.events if isinstance(event, JobBegan) and event.process in dead}
    lost = {event.job for event in run.events if isinstance(event, Resumed) and event.outcome == "WorkerLost"}
    assert len(dead) == 3
    assert lost
    assert {tuple(one) for one in finals(run)} == {(200,), (500,)}
    assert all(event.process not in dead for event in run.events if isinstance(event, Resumed))
    assert run.parkings == 60
    assert begun


@pytest.mark.parametrize("seed", SEEDS)
def test_a30_killed_sip_processes_cost_only_what_was_parked_in_them(simulator: Simulator, seed: int) -> None:
    kills: list[Item] = [Crash(0.3, "sip-1"), Crash(0.6, "sip-2")]
    run = simulator.run(Plan("s.cfg", WAITS, [*sends(60), *kills], seed, 120.0))

    is_well(run)
    assert finals(run) == [[200]] * 60  # by who takes the retransmission


STEPS = [
    ("sip-*", Step.JOB_SUBMITTED),
    ("sip-*", Step.BOARD_TOLD),
    ("sip-*", Step.FRAME_SENT),
    ("sip-*", Step.ANSWER_RECEIVED),
    ("sip-*", Step.SETTLED),
    ("sip-*", ServerStep.TRANSACTION_MADE),
    ("sip-*", ServerStep.PARKED),
    ("sip-*", ServerStep.TAKEN_UP),
    ("sip-*", ServerStep.ANSWERED),
    ("worker-*", Step.JOB_RECEIVED),
    ("worker-*", Step.JOB_BEGUN),
    ("worker-*", Step.ANSWER_MADE),
    ("worker-*", Step.ANSWER_PUT_DOWN),
    ("worker-*", Step.FRAME_SENT),
]


def test_a_process_that_dies_at_a_step_of_the_protocol_costs_only_what_it_had(simulator: Simulator) -> None:
    kills = [CrashAt(0.2 + 0.2 * number, process, step) for number, (process, step) in enumerate(STEPS)]
    run = simulator.run(Plan("s.cfg", WAITS, [*sends(350), *kills], 1, 120.0))

    is_well(run)
    assert len([event for event in run.events if isinstance(event, Crashed)]) == len(STEPS)
    assert {tuple(one) for one in finals(run)} <= {(200,), (500,)}
