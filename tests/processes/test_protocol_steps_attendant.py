"""The attendant and the MI process at their steps: with the one all end and nothing is left, the other is replaced."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable

import pytest

from tests.harness import Server, wait_until
from tests.processes.faults import PROMPT_S, Calls, Faults, Yard, alive, check_rest, is_well, its_own
from workers.steps import Step

pytestmark = pytest.mark.processes

ROUTES = """
route {
    async(mi("bench_sleep $(rU{s.substr,1,0})", $var(r)), done, 20);
}
route[done] {
    append_to_reply("X-Rc: $rc\\r\\n");
    append_to_reply("X-Result: $var(r)\\r\\n");
    t_reply(200, "OK");
}
"""
OPTIONS = ("--udp-workers", "2", "--mi-workers", "2")
USERS = [f"n{number}" for number in range(10, 18)]


@pytest.mark.parametrize(
    "step",
    [
        Step.DEATH_SEEN,
        Step.REAPED,
        Step.ROWS_CLEARED,
        Step.PEER_TOLD,
        Step.FORK_DUE,
        Step.FORKED,
        Step.PROCESS_HEARD,
    ],
)
def test_an_attendant_that_dies_takes_all_with_it(
    start_shared: Callable[..., Server], faults: Faults, step: str
) -> None:
    server = start_shared(ROUTES, options=OPTIONS)
    calls = Calls(server.client())
    calls.send(["n20000"])
    # One worker is in the midst of a command, and hears of nothing before it has ended.
    wait_until(lambda: any(job["state"] == "sent" for job in server.mi("job_list")["Jobs"]))
    pids = server.all_pids()
    faults.order("attendant", step)
    os.kill(server.pids("SIP")[1], signal.SIGKILL)

    assert server.wait() == -signal.SIGKILL
    wait_until(lambda: not any(map(alive, pids)), PROMPT_S, what="all have ended with it")
    # Also one that was being forked.
    wait_until(lambda: is_free(server.sip_port), PROMPT_S, what="nobody has the socket any more")


def is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        try:
            one.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def is_answered(server: Server, method: str, params: list[int]) -> bool:
    try:
        server.mi(method, params)
    except OSError:
        return False
    return True


@pytest.fixture(scope="module")
def yard(start_shared: Callable[..., Server], faults: Faults) -> Yard:
    return Yard(lambda: start_shared(ROUTES, options=OPTIONS), faults)


def test_without_the_attendant_traffic_goes_on_and_a_death_is_seen_when_it_goes_on(yard: Yard, faults: Faults) -> None:
    server = yard.ready("worker")
    calls = Calls(server.client())
    victim = server.pids("MI worker")[0]
    os.kill(server.process.pid, signal.SIGSTOP)
    try:
        calls.send(USERS)
        assert all(its_own(user, answer) for user, answer, _ in calls.finals())
        os.kill(victim, signal.SIGKILL)
    finally:
        os.kill(server.process.pid, signal.SIGCONT)
    calls.send([f"n{number}" for number in range(20, 28)])
    assert all(answer.header("X-Rc") in ("1", "-500") and took_s < PROMPT_S for _, answer, took_s in calls.finals())
    check_rest(server)
    assert victim not in server.all_pids()


@pytest.mark.parametrize(
    "step",
    [
        Step.JOB_SUBMITTED,
        Step.BOARD_TOLD,
        Step.FRAME_SENT,
        Step.ANSWER_RECEIVED,
        Step.SETTLED,
        Step.BORN,
        Step.READY_SAID,
    ],
)
def test_an_mi_process_that_dies_is_replaced_and_calls_do_not_notice(yard: Yard, faults: Faults, step: str) -> None:
    server = yard.ready("mi", deaths=2)
    calls = Calls(server.client())
    (first,) = [pid for pid in server.pids("MI") if pid not in server.pids("MI worker")]
    calls.send(USERS)
    faults.order("mi-1", step)
    if step in (Step.BORN, Step.READY_SAID):
        os.kill(first, signal.SIGKILL)
    else:
        assert not is_answered(server, "bench_sleep", [20]), "its client loses the connection"

    assert all(its_own(user, answer) and took_s < PROMPT_S for user, answer, took_s in calls.finals())
    victim = wait_until(faults.victim)
    wait_until(lambda: server.answers() and is_well(server), what="the next one answers")
    check_rest(server)
    assert victim not in server.all_pids()
    assert server.mi("bench_sleep", [1]) == {"slept_ms": 1}
