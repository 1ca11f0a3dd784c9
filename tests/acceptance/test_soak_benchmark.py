"""`benchmarks/soak.py`, short, and the judgement that it passes: what a death explains, and what nothing explains."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from tests.harness import ROOT

BENCHMARKS = ROOT / "benchmarks"
if str(BENCHMARKS) not in sys.path:
    sys.path.append(str(BENCHMARKS))

from soak_load.chaos import Happened, plan  # noqa: E402
from soak_load.growth import MEASURES, trends  # noqa: E402
from soak_load.house import Sample  # noqa: E402
from soak_load.ledger import Death, Finding, Ledger, Reply  # noqa: E402
from soak_load.report import Result, details, log_findings, monotonic_of, overload  # noqa: E402
from soak_load.stamps import Stamp, owner_of, stamps_of  # noqa: E402

TOKEN = "soak-1"
GOOD = Stamp(TOKEN, TOKEN, 11, 11, 1, 1, 1, f"{TOKEN} 21")
OK = Reply(200, "t", (GOOD,))
SIP = Death(11, "sip-1", "sip", 3.0)


def soak(*options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "benchmarks/soak.py", *options]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)


@pytest.mark.processes
def test_every_request_has_one_answer_or_an_explanation(tmp: Path) -> None:
    file = tmp / "soak.json"
    done = soak("--seconds", "5", "--rate", "100", "--every", "0.7", "--seed", "3", "--json", str(file))
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(file.read_text())
    counts = found["counts"]
    assert found["violations"] == []
    assert counts["begun"] > 500
    explained = sum(count for name, count in counts.items() if name.startswith("explained: no answer"))
    assert counts["answered"] + explained == counts["begun"]
    done_to_it = " ".join(one["text"] for one in found["happened"])
    assert {word for word in ("killed", "stopped", "goes on", "reload") if word in done_to_it} >= {"killed", "stopped"}
    assert {one["name"] for one in found["trends"]} >= {measure.name for measure in MEASURES}
    assert "--seed 3" in found["command"]
    assert "explained" in done.stdout or explained == 0


# What the judgement is.


class Case:
    """One request that was sent at 1.0, and what a ledger makes of it."""

    def __init__(self, method: str = "OPTIONS", kind: str = "waits", *deaths: Death) -> None:
        self.ledger = Ledger()
        self.method = method
        self.ledger.sent(TOKEN, method, kind, 1.0)
        for death in deaths:
            self.ledger.died(death)

    def replied(self, reply: Reply = OK, pid: int = 11, at: float = 4.0) -> None:
        self.ledger.replied(TOKEN, self.method, reply, pid, at)

    def held(self, pid: int = 11, at: float = 1.1) -> None:
        self.ledger.held(TOKEN, self.method, pid, at, waiting=True)

    def verdict(self, at: float = 200.0) -> dict[str, int]:
        self.ledger.turn(at)
        self.ledger.check()
        return {name: count for name, count in self.ledger.counts.items() if ": " in name}


def test_one_answer_is_all_that_is_wanted() -> None:
    case = Case()
    assert case.ledger.open == 1
    case.replied()
    assert case.ledger.open == 0
    case.replied()
    assert case.verdict() == {}
    assert case.ledger.counts["copies of answers"] == 1


@pytest.mark.parametrize(
    ("stamp", "why"),
    [
        (GOOD._replace(call_id="soak-2"), "has the content of soak-2"),
        (GOOD._replace(token="soak-2"), "has the content of soak-1 and soak-2"),
        (GOOD._replace(answer="soak-2 21"), "was resumed with another's answer"),
        (GOOD._replace(resumed_by=12), "was parked by 11 and resumed by 12"),
        (GOOD._replace(resumed_under=2), "was parked under version 1 of the script, resumed under 2"),
    ],
)
def test_what_was_mixed_up_is_never_explained(stamp: Stamp, why: str) -> None:
    case = Case("OPTIONS", "waits", SIP)
    case.replied(Reply(200, "t", (stamp,)))
    assert case.verdict() == {"violation: mixed up": 1}
    assert why in case.ledger.violations[0].text


def test_a_request_without_an_answer_is_explained_by_the_death_of_its_holder() -> None:
    held = Case("INVITE", "waits", SIP)
    held.held()
    assert held.ledger.open == 1
    assert held.verdict(at=7.9) == {}
    assert held.verdict(at=8.1) == {"explained: no answer": 1}


def test_a_request_without_an_answer_is_not_explained_otherwise() -> None:
    nobody, other, before = Case(), Case("INVITE", "waits", SIP), Case("INVITE", "waits", SIP._replace(at=0.5))
    taken_up = Case("INVITE", "waits", SIP)
    for case, pid in (other, 12), (before, 11), (taken_up, 11), (taken_up, 12):
        case.held(pid)
    for case in (Case("INVITE", "waits", SIP), nobody, other, before, taken_up):
        assert case.verdict(at=37.9) == {}
        assert case.verdict(at=38.1) == {"violation: no answer": 1}


@pytest.mark.parametrize(("died", "expected"), [(3.0, "explained"), (4.5, "explained"), (5.5, "violation")])
def test_two_answers_are_explained_where_the_first_one_giver_was_dead(died: float, expected: str) -> None:
    case = Case("OPTIONS", "waits", SIP._replace(at=died))
    case.replied()
    case.replied(OK._replace(tag="u"), 12, 5.0)
    assert case.verdict() == {f"{expected}: two answers": 1}


def test_a_refusal_is_explained_for_an_invite_whose_holder_died() -> None:
    option, invite, orphan = Case("OPTIONS", "waits", SIP), Case("INVITE"), Case("INVITE", "waits", SIP)
    for case in (option, invite, orphan):
        case.held()
        case.replied(Reply(408, "t", ()))
    assert option.verdict() == invite.verdict() == {"violation: refused": 1}
    assert orphan.verdict() == {"explained: refused": 1}


@pytest.mark.parametrize(
    ("kind", "rc", "deaths", "expected"),
    [
        ("sleeps", -500, [2.0], "explained"),
        ("sleeps", -500, [], "violation"),
        ("sleeps", -500, [0.9], "explained"),
        ("sleeps", -500, [-2.0], "violation"),
        ("sleeps", -408, [2.0], "violation"),
        ("waits", -500, [2.0], "violation"),
        ("waits", -500, [2.0, 2.5], "explained"),
    ],
)
def test_a_command_fails_with_its_workers(kind: str, rc: int, deaths: list[float], expected: str) -> None:
    case = Case("OPTIONS", kind, *[Death(int(at), "worker-1", "worker", at) for at in deaths])
    case.replied(Reply(200, "t", (GOOD._replace(rc=rc, answer="gone"),)))
    assert case.verdict() == {f"{expected}: command failed": 1}


@pytest.mark.parametrize(
    ("deaths", "origin", "expected"), [((SIP,), 12, "explained"), ((SIP,), 11, "violation"), ((), 12, "violation")]
)
def test_a_command_that_may_not_run_twice_does_so_only_for_another_process(
    deaths: tuple[Death, ...], origin: int, expected: str
) -> None:
    case = Case("OPTIONS", "sleeps", *deaths)
    case.ledger.ran(TOKEN, 21, 11, 2.0)
    assert case.verdict(at=2.0) == {}
    case.ledger.ran(TOKEN, 22, origin, 3.5)
    assert case.verdict(at=3.5) == {f"{expected}: ran again": 1}


def test_a_launch_is_reported_once() -> None:
    once, never, orphan, twice = (Case("OPTIONS", "launches", *deaths) for deaths in ((), (), (SIP,), (SIP,)))
    for case in (once, never, orphan, twice):
        case.replied(at=2.0)
        assert case.ledger.open == 1
    once.ledger.reported(TOKEN, 11, 1, 2.1)
    assert once.ledger.open == 0
    twice.ledger.reported(TOKEN, 11, 1, 2.1)
    twice.ledger.reported(TOKEN, 11, 1, 2.2)
    assert once.verdict() == {}
    assert never.verdict() == {"violation: no report": 1}
    assert orphan.verdict() == {"explained: no report": 1}
    assert twice.verdict() == {"violation: reported again": 1}


@pytest.mark.parametrize(
    ("reporters", "answerer", "expected"),
    [
        ((11, 13), 13, {}),
        ((13,), 11, {}),
        ((12, 13), 13, {"violation: reported by another": 1}),
        ((12,), 13, {"violation: reported by another": 1}),
    ],
)
def test_a_launch_is_of_several_processes_only_if_all_but_one_have_died(
    reporters: tuple[int, ...], answerer: int, expected: dict[str, int]
) -> None:
    case = Case("OPTIONS", "launches", SIP)
    case.replied(pid=answerer)
    for pid in reporters:
        case.ledger.reported(TOKEN, pid, 1, 4.1)
    case.ledger.turn(4.2)
    assert case.verdict() == expected


def test_a_call_is_over_when_its_ack_has_come() -> None:
    case, lost = Case("INVITE"), Case("INVITE")
    for one in (case, lost):
        one.replied()
        one.ledger.acknowledging(TOKEN, 4.0)
        assert one.ledger.open == 1
    case.ledger.acked(TOKEN, 4.1)
    assert case.ledger.open == 0
    assert case.verdict() == {}
    assert lost.verdict() == {"violation: no ACK": 1}


def test_an_answer_to_what_was_forgotten_is_a_violation() -> None:
    case = Case()
    case.replied()
    assert case.verdict(at=44.1) == {}
    case.replied()
    assert case.verdict() == {"violation: late": 1}


def test_stamps_are_read_from_messages() -> None:
    line = f'X-Soak: {TOKEN} {TOKEN} 11 11 1 1 1 "{TOKEN} 21"\r\n'
    failed = f"X-Soak: {TOKEN} {TOKEN} 11 11 1 1 -500 worker-1.1 ended\r\n"
    message = f"SIP/2.0 200 OK\r\nX-Owner: 9\r\nX-Owner: 11\r\n{line}{failed}Content-Length: 0\r\n\r\n".encode()
    assert stamps_of(message) == [GOOD, GOOD._replace(rc=-500, answer="worker-1.1 ended")]
    assert owner_of(message) == 11
    assert (stamps_of(b"SIP/2.0 200 OK\r\n\r\n"), owner_of(b"")) == ([], 0)
    assert list(GOOD.faults(TOKEN)) == []


def test_the_seed_decides_what_is_done() -> None:
    actions = plan(7, 0.5, 60)
    assert actions == plan(7, 0.5, 60) != plan(8, 0.5, 60)
    assert {one.what for one in actions} == {"kill", "stop", "reload"}
    assert {one.role for one in actions} == {"sip", "worker", "mi"}
    for first in actions:
        within = [one for one in actions if one.what == "kill" and 0 <= one.at - first.at < 30]
        assert max(Counter(one.role for one in within).values(), default=0) <= 10


def house(at: float, **more: Any) -> Sample:
    usual = {
        "memory_mib": {1: 100.0, 2: 50.0},
        "descriptors": {1: 40},
        "files": 20,
        "files_mib": 5.0,
        "mapped": 3,
        "dropped": 0,
    }
    return Sample(at, **{**usual, **more})


def test_what_grows_is_told_from_what_is_flat() -> None:
    assert [one.grows for one in trends([house(float(at)) for at in range(100)])] == [False] * len(MEASURES)
    leaking = [house(float(at), descriptors={1: 40 + at}, files=20 + at % 3) for at in range(100)]
    assert [one.name for one in trends(leaking) if one.grows] == ["descriptors of a process"]


def test_memory_is_judged_of_the_whole_house_and_of_each_process() -> None:
    growing = [house(float(at), memory_mib={1: 100.0 + at / 8, 2: 500.0}) for at in range(900)]
    assert [one.name for one in trends(growing) if one.grows] == ["memory of PID 1, MiB"]
    short = [one for one in growing if one.at < 200]
    assert not any(one.grows for one in trends(short))
    assert not any(one.judged for one in trends(short) if one.name.startswith("memory"))


def test_it_is_said_when_more_was_offered_than_could_be_served() -> None:
    def told(*dropped: int) -> list[str]:
        samples = [house(float(at), dropped=count) for at, count in enumerate(dropped)]
        return list(overload(Result({}, [], [], samples, [], [], [])))

    assert told(3, 3, 3) == told() == []
    assert told(3, 3, 5) == ["OVERLOADED: 2 datagrams found no room in the server's socket, at 2 s"]
    assert told(0, 4, 4, 1_004) == ["OVERLOADED: 1,004 datagrams found no room in the server's socket, from 1 s to 3 s"]


def test_the_log_is_read_for_what_nobody_brought_about() -> None:
    lines = [
        "2026-01-01T00:00:00.000 attendant[1] ERROR sip-1.1 (PID 11) ended: killed by SIGKILL",
        "2026-01-01T00:00:00.000 attendant[1] ERROR sip-2.1 (PID 12) ended: exit code 1",
        "2026-01-01T00:00:00.000 sip-2[12] ERROR the store cannot be written",
        "2026-01-01T00:00:00.000 sip-2[12] WARNING late",
        "2026-01-01T00:00:00.000 attendant[1] INFO worker-4.1 (PID 14) ended: retired",
    ]
    assert [(one.what, one.text) for one in log_findings(lines, {11: SIP}, 0.0)] == [
        ("ended by itself", lines[1]),
        ("logged", lines[2]),
    ]


def test_a_violation_is_shown_with_its_diary_the_log_about_it_and_how_to_see_it_again() -> None:
    line = f"2026-01-01T00:00:10.000 sip-2[12] WARNING {TOKEN} is odd"
    near, far = (f"2026-01-01T00:00:{second}.000 sip-2[12] WARNING about then" for second in (11, 50))
    at = monotonic_of(line)
    found = Finding("no answer", "OPTIONS has no final answer", TOKEN, at, ("+0.1 held by 11",))
    told = {"counts": {}, "again": {}, "violations": [dataclasses.asdict(found)], "explained": []}
    happened = [Happened(at - 1.0, "sip-1 (PID 11) killed"), Happened(at - 60.0, "long ago")]
    result = Result(told, [], happened, [], [], [line, near, far], [])
    assert result.failed
    assert list(details(result, "python benchmarks/soak.py --seed 3")) == [
        f"VIOLATION no answer: {TOKEN} OPTIONS has no final answer",
        "    +0.1 held by 11",
        f"    log: {line}",
        f"    log: {near}",
        "    done -1.000 s: sip-1 (PID 11) killed",
        "again: python benchmarks/soak.py --seed 3",
    ]
    nothing = dataclasses.replace(result, told={**told, "violations": []})
    assert not nothing.failed
    assert list(details(nothing, "")) == []


# Whatever comes, and in whatever order, each request is accounted for once.

TOKENS = ("soak-0", "soak-1")
PIDS = (11, 12)
HOW = ("explained", "violation")

tokens, pids = st.sampled_from(TOKENS), st.sampled_from(PIDS)
stamps = st.builds(Stamp, tokens, tokens, pids, pids, st.just(1), st.just(1), st.sampled_from([1, -500]), tokens)
replies = st.builds(Reply, st.sampled_from([200, 408]), st.sampled_from("tu"), st.lists(stamps, max_size=1).map(tuple))
events = st.one_of(
    st.tuples(st.just("replied"), tokens, replies, pids),
    st.tuples(st.just("held"), tokens, pids),
    st.tuples(st.just("reported"), tokens, pids),
    st.tuples(st.just("ran"), tokens, pids),
    st.tuples(st.just("acked"), tokens),
    st.tuples(st.just("died"), pids),
)


def happen(ledger: Ledger, method: str, what: tuple[object, ...], at: float) -> None:
    match what:
        case ("replied", str(token), Reply() as reply, int(pid)):
            ledger.replied(token, method, reply, pid, at)
        case ("held", str(token), int(pid)):
            ledger.held(token, method, pid, at, waiting=method == "INVITE")
        case ("reported", str(token), int(pid)):
            ledger.reported(token, pid, 1, at)
        case ("ran", str(token), int(pid)):
            ledger.ran(token, 21, pid, at)
        case ("acked", str(token)):
            ledger.acked(token, at)
        case ("died", int(pid)):
            ledger.died(Death(pid, "sip-1", "sip", at))


@given(
    st.sampled_from([("OPTIONS", "waits"), ("OPTIONS", "launches"), ("OPTIONS", "sleeps"), ("INVITE", "plain")]),
    st.lists(st.tuples(st.floats(0.01, 30), events), max_size=12),
)
def test_each_request_is_answered_or_has_no_answer(
    sort: tuple[str, str], happened: list[tuple[float, tuple[object, ...]]]
) -> None:
    method, kind = sort
    ledger, now = Ledger(), 1.0
    for token in TOKENS:
        ledger.sent(token, method, kind, now)
    for after, what in happened:
        now += after
        happen(ledger, method, what, now)
        ledger.turn(now)
        ledger.check()
        assert 0 <= ledger.open <= len(TOKENS)
    ledger.turn(now + 100)
    ledger.check()
    assert ledger.open == 0
    answered, without = ledger.counts["answered"], sum(ledger.counts[f"{how}: no answer"] for how in HOW)
    event(f"{answered} answered, {without} without")
    # One that was given up may be answered after all; none is forgotten, and none given up twice.
    assert len(TOKENS) <= answered + without <= len(TOKENS) + min(answered, without)
