"""The rules that runs are held against, on histories of a few events; and what shrinking leaves of a plan."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from runtime.simulation.events import (
    Blocked,
    Crashed,
    Event,
    JobBegan,
    JobEnded,
    Launched,
    Parked,
    Reported,
    Resumed,
    Stalled,
)
from runtime.simulation.oracle import Exchange, Terms, Violation, judge
from runtime.simulation.plan import Crash, Network, Plan, Send, Stall
from runtime.simulation.shrinking import shrink

PLAN = Plan("s.cfg", until_s=200.0)
PARKED = Parked(1.0, "sip-1.1", "sip-1.1.1", "resumed", "s.cfg", 7, 5.0, "call-1")
BEGAN = JobBegan(1.1, "worker-1.1", "sip-1.1.1", "uptime")
ENDED = JobEnded(1.2, "worker-1.1", "sip-1.1.1", "Returned", "yes")
RESUMED = Resumed(1.3, "sip-1.1", "sip-1.1.1", "Returned", 1, "yes", "call-1")
LATE = replace(RESUMED, at_s=6.5, outcome="TimedOut", answer="")
LAUNCHED = Launched(1.0, "sip-1.1", "sip-1.1.1", "told", "s.cfg", 7, 5.0)
REPORTED = Reported(1.3, "sip-1.1", "sip-1.1.1", "Returned", 1, "yes")
LOST = Crashed(1.15, "worker-1.1", "kill")
AGAIN = replace(BEGAN, at_s=1.16, process="worker-2.1")
KILLED = Crashed(1.15, "sip-1.1", "kill")
TAKEN = [(0.95, "sip-1.1")]
ANSWERED = Exchange("call-1", "OPTIONS", 0.9, [(200, "a")], 1.31, 1, 0, TAKEN, True)
DIED_LATER = Crashed(1.5, "sip-2.1", "kill")
CANCEL = Exchange("call-1", "CANCEL", 1.2, [(200, "b")], 1.21, 1, 0, [(1.2, "sip-1.1")], True)
UNHEARD = replace(CANCEL, finals=[])
CANCELLED = replace(ANSWERED, method="INVITE", cancel=CANCEL)


def broken(
    events: Sequence[Event], exchanges: Sequence[Exchange] = (), held: dict[str, dict[str, int]] | None = None
) -> list[str]:
    return [violation.rule for violation in judge(PLAN, events, exchanges, held or {})]


@pytest.mark.parametrize(
    ("events", "rules"),
    [
        ([PARKED, BEGAN, ENDED, RESUMED], []),
        ([PARKED, BEGAN, ENDED], ["resumes"]),
        ([PARKED, BEGAN, KILLED], []),
        ([PARKED, BEGAN, ENDED, RESUMED, RESUMED], ["resumes once"]),
        ([RESUMED, ENDED], ["resumes once"]),
        ([PARKED, BEGAN, ENDED, replace(RESUMED, process="sip-2.1")], ["resumes at home"]),
        ([PARKED, BEGAN, ENDED, replace(RESUMED, process="sip-1.2")], ["resumes at home"]),
        ([PARKED, BEGAN, ENDED, replace(RESUMED, answer="no")], ["has its own answer"]),
        ([PARKED, BEGAN, RESUMED], ["has its own answer"]),
        ([PARKED, BEGAN, LATE], ["resumes in time"]),
        ([PARKED, BEGAN, replace(LATE, at_s=6.05)], []),
        ([PARKED, BEGAN, Stalled(5.0, "sip-1.1", 1.45), LATE], []),
        ([PARKED, BEGAN, Stalled(5.0, "sip-2.1", 1.45), LATE], ["resumes in time"]),
        ([PARKED, BEGAN, Blocked(5.9, "sip-1.1", "s.cfg", 3, 0.5), LATE], []),
        (
            [PARKED, BEGAN, Crashed(1.2, "worker-1.1", "kill"), replace(LATE, at_s=3.0, outcome="WorkerLost")],
            ["hears of a loss"],
        ),
        ([PARKED, BEGAN, Crashed(1.2, "worker-1.1", "kill"), replace(LATE, at_s=1.5, outcome="WorkerLost")], []),
        ([PARKED, PARKED, BEGAN, ENDED, RESUMED], ["resumes"]),
        ([PARKED, BEGAN, ENDED, replace(RESUMED, call="call-2")], ["is itself"]),
        ([PARKED, BEGAN, ENDED, replace(RESUMED, changed=["$var(n)"])], ["is itself"]),
        ([PARKED, BEGAN, ENDED, replace(RESUMED, nested=True)], ["resumes afresh"]),
        ([PARKED, BEGAN, ENDED, replace(RESUMED, others=[("sip-1.1.2", "no")])], ["has its own answer"]),
        ([PARKED, BEGAN, replace(LATE, at_s=3.0)], ["resumes in time"]),
        ([PARKED, BEGAN, replace(LATE, at_s=3.0, outcome="WorkerLost")], ["hears of a loss"]),
        ([PARKED, BEGAN, BEGAN, ENDED, RESUMED], ["runs once"]),
        ([PARKED, BEGAN, LOST, AGAIN, ENDED, RESUMED], ["runs once"]),
        ([PARKED, BEGAN, LOST, replace(AGAIN, idempotent=True), ENDED, RESUMED], []),
        ([LAUNCHED, BEGAN, ENDED, REPORTED], []),
        ([LAUNCHED, BEGAN, ENDED, replace(REPORTED, answer="no")], ["has its own answer"]),
        ([LAUNCHED, BEGAN, ENDED, replace(REPORTED, at_s=7.0)], ["is reported once"]),
        ([LAUNCHED], ["is reported once"]),
        ([LAUNCHED, BEGAN, ENDED, REPORTED, REPORTED], ["is reported once"]),
        ([LAUNCHED, KILLED], []),
        ([replace(LAUNCHED, at_s=198.0)], []),
        ([Crashed(1.2, "worker-1.1", "ValueError: no")], ["stays alive"]),
        ([Crashed(1.2, "worker-1.1", "exit code 0")], []),
    ],
)
def test_a_history_is_held_against_the_rules(events: list[Event], rules: list[str]) -> None:
    assert broken(events) == rules


@pytest.mark.parametrize(
    ("exchange", "events", "rules"),
    [
        (ANSWERED, [], []),
        (replace(ANSWERED, finals=[]), [], ["is answered"]),
        (replace(ANSWERED, finals=[]), [KILLED], []),
        (replace(ANSWERED, finals=[], taken=[*TAKEN, (1.16, "sip-2.1")]), [KILLED], []),
        (replace(ANSWERED, finals=[], taken=[*TAKEN, (1.45, "sip-2.1")]), [KILLED], ["is answered"]),
        (replace(ANSWERED, finals=[], taken=[(0.9, "sip-2.1"), *TAKEN]), [KILLED], ["is answered"]),
        (replace(ANSWERED, finals=[], taken=[*TAKEN, (1.45, "sip-2.1")]), [KILLED, DIED_LATER], []),
        (replace(ANSWERED, finals=[], arrived=0), [], []),
        (replace(ANSWERED, finals=[], taken=[]), [KILLED], ["is answered"]),
        (replace(ANSWERED, finals=[], taken=[]), [Crashed(0.5, "sip-1.1", "exit code 0")], []),
        (replace(ANSWERED, finals=[], lost=1), [], ["is answered"]),
        (replace(ANSWERED, finals=[], lost=1, answered_at_s=1.3), [], []),
        (replace(ANSWERED, finals=[], lost=0, answered_at_s=1.3), [], ["is answered"]),
        (
            replace(ANSWERED, finals=[], lost=1, answered_at_s=1.3, taken=[*TAKEN, (1.5, "sip-1.1")]),
            [],
            ["is answered"],
        ),
        (replace(ANSWERED, finals=[], lost=1, resend=False), [], []),
        (replace(ANSWERED, finals=[], method="ACK"), [], []),
        (replace(ANSWERED, finals=[], began_at_s=190.0), [], []),
        (replace(ANSWERED, finals=[(200, "a"), (500, "b")]), [], ["is answered once"]),
        (replace(ANSWERED, finals=[(200, "a"), (500, "b")]), [KILLED], []),
        (replace(ANSWERED, finals=[(200, "a"), (500, "b"), (480, "c")]), [KILLED], ["is answered once"]),
        (CANCELLED, [PARKED, BEGAN, ENDED, RESUMED], []),
        (CANCELLED, [PARKED, BEGAN, ENDED, replace(RESUMED, at_s=3.0)], ["hears of a CANCEL"]),
        (CANCELLED, [PARKED, BEGAN, ENDED, Stalled(1.3, "sip-1.1", 1.0), replace(RESUMED, at_s=3.0)], []),
        (replace(CANCELLED, cancel=UNHEARD), [PARKED, BEGAN, ENDED, RESUMED], ["is answered"]),
        (replace(ANSWERED, finals=[(200, "gw1"), (200, "gw2")]), [], []),
        (replace(ANSWERED, finals=[(200, "gw1"), (486, "gw2")]), [], ["is answered once"]),
    ],
)
def test_an_exchange_is_held_against_the_rules(exchange: Exchange, events: list[Event], rules: list[str]) -> None:
    assert broken(events, [exchange]) == rules


def test_what_is_held_at_rest_is_a_violation_and_in_the_midst_of_things_it_is_not() -> None:
    held = {"sip-1.1": {"parked": 1, "jobs": 0}, "mi-1.1": {"parked": 0}}

    found = judge(PLAN, [], [], held)
    busy = judge(replace(PLAN, items=[Crash(150.0, "sip-1")]), [], [], held)

    assert found == [Violation("is let go", "sip-1.1 holds what nobody waits for: parked: 1", 200.0, "sip-1.1")]
    assert busy == []


@pytest.mark.parametrize(
    ("exchange", "until_s", "rules"),
    [
        (ANSWERED, 60.0, []),
        (ANSWERED, 75.0, ["is let go"]),
        (replace(ANSWERED, ended_at_s=30.0), 75.0, []),
        (replace(ANSWERED, finals=[], ended_at_s=0.0, method="ACK"), 75.0, ["is let go"]),
        (replace(ANSWERED, finals=[], ended_at_s=0.0), 199.0, ["is answered"]),
        (replace(ANSWERED, finals=[], ended_at_s=0.0), 201.0, ["is answered", "is let go"]),
    ],
)
def test_a_server_may_hold_a_request_for_as_long_as_its_script_has_set(
    exchange: Exchange, until_s: float, rules: list[str]
) -> None:
    held = {"sip-1.1": {"transactions": 1}}
    terms = Terms(answered_s=65.0, unanswered_s=200.0)

    assert [one.rule for one in judge(replace(PLAN, until_s=until_s), [], [exchange], held, terms)] == rules


def test_a_script_may_let_a_job_end_before_it_hears_of_a_cancel() -> None:
    events = [PARKED, BEGAN, ENDED, replace(RESUMED, at_s=3.0)]

    assert judge(PLAN, events, [CANCELLED], {}, Terms(cancel_resumes=False)) == []


def test_a_violation_says_where_it_was_parked() -> None:
    (found,) = judge(PLAN, [PARKED, BEGAN, ENDED], [], {})

    assert (found.file, found.line, found.job, found.call) == ("s.cfg", 7, "sip-1.1.1", "call-1")
    assert found.what == "parked at 1.000000 s for 5 s, and never resumed"


@given(st.sets(st.integers(0, 29), min_size=1, max_size=4), st.booleans())
def test_shrinking_leaves_what_it_takes_and_nothing_else(needed: set[int], needs_loss: bool) -> None:
    items = [Send(float(number), f"uac-{number}", "") for number in range(30)]
    plan = Plan("s.cfg", items=[*items], network=Network(loss=0.1, duplicate=0.1))

    def fails(one: Plan) -> bool:
        there = {item.at_s for item in one.items}
        return there >= {float(number) for number in needed} and (one.network.loss > 0 or not needs_loss)

    shrunk = shrink(plan, fails, at_most=5000)

    assert [item.at_s for item in shrunk.items] == sorted(needed)
    assert shrunk.network == Network(loss=0.1 if needs_loss else 0.0)


def test_shrinking_runs_no_more_often_than_it_may_and_gives_a_plan_that_fails() -> None:
    plan = Plan("s.cfg", items=[Stall(float(number), "sip-1", 1.0) for number in range(64)])
    runs: list[Plan] = []

    def fails(one: Plan) -> bool:
        runs.append(one)
        return len(one.items) > 20

    assert fails(shrink(plan, fails, at_most=10))
    assert len(runs) <= 11
