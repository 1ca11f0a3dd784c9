"""A worker that dies at any step of a job's way through it: its own jobs are lost, at once, and nothing else is."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

import pytest

from runtime.memory import is_stopped
from runtime.steps import ServerStep
from tests.harness import Server, wait_until
from tests.processes.faults import PROMPT_S, Calls, Faults, Yard, check_rest, counted, its_own, lost_with
from workers.steps import Step

pytestmark = pytest.mark.processes

WORKERS = 3
ROUTES = """
route {
    if ($rU =~ "^n") async(mi("bench_sleep $(rU{s.substr,1,0})", $var(r)), done, 20);
    if ($rU =~ "^w") async(mi("bench_wait $(rU{s.substr,1,0})", $var(r)), done, 20);
    if ($rU =~ "^s") async(mi("bench_sleep $(rU{s.substr,1,0})", $var(r)), done, 1);
    if ($rU =~ "^late") async(mi("bench_wait 5000", $var(r)), done, 1);
    async(mi("shv_get $rU", $var(r)), done, 20);
}
route[done] {
    append_to_reply("X-Rc: $rc\\r\\n");
    update_stat("resumed", 1);
    append_to_reply("X-Result: $var(r)\\r\\n");
    t_reply(200, "OK");
}
"""
HEAD = 'modparam("statistics", "variable", "resumed")\n' + "".join(
    f'modparam("cfgutils", "shvset", "v{number}=i:{number}")\n' for number in range(10, 22)
)
OPTIONS = ("--udp-workers", "2", "--mi-workers", str(WORKERS))

BLOCKING = [f"n{ms}" for ms in range(10, 22)]
AWAITED = [f"w{ms}" for ms in range(10, 22)]
REPEATABLE = [f"v{number}" for number in range(10, 22)]

RUNS = [
    Step.JOB_RECEIVED,
    Step.JOB_BEGUN,
    ServerStep.COMMAND_RUN,
    Step.ANSWER_MADE,
    Step.ANSWER_PUT_DOWN,
    Step.FRAME_MADE,
    Step.FRAME_SENT,
    Step.RUN_COUNTED,
]


@pytest.fixture(scope="module")
def yard(start_shared: Callable[..., Server], faults: Faults) -> Yard:
    return Yard(lambda: start_shared(ROUTES, head=HEAD, options=OPTIONS), faults)


@pytest.fixture
def server(yard: Yard) -> Server:
    return yard.ready("worker")


class Counts:
    """What parked and what resumed since it was made."""

    names = ("async:parked", "async:resumed", "script:resumed")

    def __init__(self, server: Server) -> None:
        self._server = server
        self._before = counted(server, *self.names)

    def check(self, calls: int) -> None:
        """So many contexts were parked, and each was resumed once."""
        now = counted(self._server, *self.names)
        assert {name: now[name] - self._before[name] for name in now} == dict.fromkeys(self.names, calls)


@pytest.mark.parametrize("users", [BLOCKING, AWAITED], ids=["blocking", "awaited"])
@pytest.mark.parametrize("step", RUNS)
def test_what_it_had_is_lost_and_nothing_else(server: Server, faults: Faults, step: str, users: list[str]) -> None:
    counts, calls = Counts(server), Calls(server.client())
    faults.order("worker-*", step, times=2)
    calls.send(users)

    blamed: set[str | None] = set()
    for user, answer, took_s in calls.finals():
        blamed.add(lost_with(answer))
        assert its_own(user, answer) or lost_with(answer), (user, answer.text)
        assert took_s < PROMPT_S, user
    victim = faults.victim()
    assert victim is not None
    # A frame that was sent may have left the process before its end, or not.
    assert len(blamed - {None}) == 1 or (not blamed - {None} and step == Step.FRAME_SENT)
    calls.check_single()
    check_rest(server)
    assert victim not in server.all_pids()
    counts.check(len(users))


@pytest.mark.parametrize("step", [Step.JOB_RECEIVED, Step.JOB_BEGUN, Step.ANSWER_MADE, Step.FRAME_MADE])
def test_what_may_run_twice_is_run_by_another(server: Server, faults: Faults, step: str) -> None:
    counts, calls = Counts(server), Calls(server.client())
    faults.order("worker-*", step, times=2)
    calls.send(REPEATABLE)

    for user, answer, took_s in calls.finals():
        assert answer.header("X-Rc") == "1", (user, answer.text)
        assert f'"value":{user[1:]}' in answer.header("X-Result"), (user, answer.text)
        assert took_s < PROMPT_S, user
    assert faults.victim() is not None
    calls.check_single()
    check_rest(server)
    counts.check(len(REPEATABLE))


def test_a_worker_that_dies_of_a_withdrawal_takes_nothing_with_it_that_is_not_there(
    server: Server, faults: Faults
) -> None:
    counts, calls = Counts(server), Calls(server.client())
    faults.order("worker-*", Step.WITHDRAWAL_HEARD)
    calls.send(["late"])
    ((_, answer, took_s),) = calls.finals()

    assert answer.header("X-Rc") == "-408"
    assert 1.0 <= took_s < 1.0 + PROMPT_S
    wait_until(faults.victim)
    check_rest(server)
    counts.check(1)


@pytest.mark.parametrize("step", [Step.BORN, Step.SET_UP, Step.READY_SAID, Step.ATTENDANT_HEARD])
def test_a_replacement_that_dies_is_replaced(yard: Yard, faults: Faults, step: str) -> None:
    server = yard.ready("worker", deaths=2)
    counts, calls = Counts(server), Calls(server.client())
    # The one that has died least is replaced soonest.
    row = min(server.mi("worker_list")["Workers"], key=lambda row: row["Restarts"])
    first = row["PID"]
    faults.order(row["Name"], step)
    os.kill(first, signal.SIGKILL)
    second = wait_until(faults.victim)
    calls.send(BLOCKING)

    for user, answer, took_s in calls.finals():
        # Of one that has said that it is ready the others may have heard in time to send it something.
        assert its_own(user, answer) or (lost_with(answer) and step not in (Step.BORN, Step.SET_UP)), (
            user,
            answer.text,
        )
        assert took_s < PROMPT_S, user
    check_rest(server)
    assert not {first, second} & set(server.all_pids())
    counts.check(len(BLOCKING))


@pytest.mark.parametrize("step", [Step.JOB_BEGUN, Step.ANSWER_MADE, Step.FRAME_MADE])
def test_what_a_stopped_worker_has_ends_on_time_and_its_late_answers_change_nothing(
    server: Server, faults: Faults, step: str
) -> None:
    counts, calls = Counts(server), Calls(server.client())
    late_before = server.statistic("async:late_answers")
    faults.order("worker-*", step, times=2, number=signal.SIGSTOP)
    calls.send([f"s{ms}" for ms in range(10, 22)])

    timed_out = 0
    for user, answer, took_s in calls.finals():
        if answer.header("X-Rc") == "-408":
            timed_out += 1
            assert 1.0 <= took_s < 1.0 + PROMPT_S / 2, user
        else:
            assert its_own(user, answer), (user, answer.text)
            assert took_s < PROMPT_S / 2, user
    victim = faults.victim()
    assert victim is not None
    assert is_stopped(victim)
    assert 1 <= timed_out <= 6

    # The others do what comes now.
    calls.send(BLOCKING)
    assert all(its_own(user, answer) for user, answer, _ in calls.finals() if user in BLOCKING)
    os.kill(victim, signal.SIGCONT)
    wait_until(lambda: server.statistic("async:late_answers") > late_before, what="its answers come, too late")
    calls.check_single()
    check_rest(server)
    assert victim in server.all_pids()
    counts.check(12 + len(BLOCKING))
