"""A pool in a program of one's own, with a worker that dies, or is stopped, at each step: over either transport, in the
plain loop of blocking handlers and in asyncio."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import Literal

import pytest

from tests.harness import ROOT, wait_until
from tests.processes.faults import PROMPT_S, Faults
from tests.processes.pool_jobs import later, nap, pid
from workers import JobLost, PoolBroken, SyncPool, WorkerPool
from workers.steps import PROGRAM, Step

pytestmark = pytest.mark.processes

Transport = Literal["unix", "zmq"]

STEPS = [
    Step.JOB_RECEIVED,
    Step.JOB_BEGUN,
    Step.ANSWER_MADE,
    Step.ANSWER_PUT_DOWN,
    Step.RUN_COUNTED,
    Step.FRAME_MADE,
    Step.FRAME_SENT,
]
NAPS = [number / 1000 for number in range(1, 25)]


def ends(pool: SyncPool, handler: str) -> list[object]:
    """What became of a job for each of `NAPS`: what it gave, or the worker that it died with."""
    began_at = time.monotonic()
    futures = [pool.submit(handler, seconds) for seconds in NAPS]
    found: list[object] = []
    for future in futures:
        try:
            found.append(future.result(PROMPT_S))
        except JobLost as lost:
            found.append(str(lost))
    assert time.monotonic() - began_at < PROMPT_S
    return found


def check(found: list[object], step: str) -> None:
    """Each job gave its own result or was lost, all with one worker."""
    lost = {text for text in found if isinstance(text, str)}
    assert all(end == seconds for end, seconds in zip(found, NAPS, strict=True) if not isinstance(end, str))
    assert len({text.partition("worker-")[2].split()[0] for text in lost}) <= 1, lost
    assert lost or step == Step.FRAME_SENT, "what had left it before its end arrives"


def bury(pool: SyncPool, faults: Faults) -> None:
    """Wait until the pool knows of the worker's death: of what it had answered before nobody had to hear of it."""
    victim = faults.victim()
    assert victim is not None
    wait_until(lambda: victim not in {worker.pid for worker in pool.stats().workers}, what="its death is known")


@pytest.mark.parametrize("transport", ["unix", "zmq"])
@pytest.mark.parametrize("step", STEPS)
def test_a_worker_that_dies_takes_its_own_jobs_along(faults: Faults, step: str, transport: Transport) -> None:
    with WorkerPool(2, nap, transport=transport, timeout_s=20.0) as pool:
        faults.order("worker-*", step, times=2)
        found = ends(pool, "nap")
        bury(pool, faults)
        check(found, step)
        assert ends(pool, "nap") == NAPS, "the others and the replacement do the next"


@pytest.mark.parametrize("step", STEPS)
def test_so_does_one_whose_handlers_await(faults: Faults, step: str) -> None:
    with WorkerPool(2, later, timeout_s=20.0) as pool:
        faults.order("worker-*", step, times=2)
        found = ends(pool, "later")
        bury(pool, faults)
        check(found, step)
        assert ends(pool, "later") == NAPS


@pytest.mark.parametrize("transport", ["unix", "zmq"])
def test_while_a_worker_is_stopped_its_sender_is_not(faults: Faults, transport: Transport) -> None:
    """More lies before it than the kernel takes at once, and what it says when it goes on is heard."""
    with WorkerPool(1, len, transport=transport, timeout_s=20.0) as pool:
        faults.order("worker-*", Step.JOB_BEGUN, number=signal.SIGSTOP)
        payload = b"x" * 200_000
        began_at = time.monotonic()
        futures = [pool.submit("len", payload) for _ in range(50)]
        victim = wait_until(faults.victim)
        assert time.monotonic() - began_at < PROMPT_S, "nobody waits for it in the act of sending"
        assert not any(future.done() for future in futures)
        os.kill(victim, signal.SIGCONT)
        assert [future.result(10.0) for future in futures] == [len(payload)] * 50


@pytest.mark.parametrize("step", [Step.DEATH_SEEN, Step.REAPED, Step.PEER_TOLD, Step.FORK_DUE, Step.FORKED])
def test_an_attendant_that_dies_ends_the_pool(faults: Faults, step: str) -> None:
    with WorkerPool(2, [nap, pid], timeout_s=20.0) as pool:
        victim = pool.call("pid")
        faults.order("attendant", step)
        futures = [pool.submit("nap", 20.0) for _ in range(4)]
        at = time.monotonic()
        os.kill(victim, signal.SIGKILL)
        for future in futures:
            with pytest.raises((JobLost, PoolBroken), match="died"):
                future.result(PROMPT_S)
        with pytest.raises(PoolBroken):
            pool.call("nap", 0.001)
        assert time.monotonic() - at < PROMPT_S


CLIENT = """
import sys
from workers import Client

with Client(sys.argv[1]) as pool:
    for future in [pool.submit("nap", number / 1000) for number in range(1, 25)]:
        future.result(10.0)
"""


@pytest.mark.parametrize(
    "step",
    [Step.JOB_SUBMITTED, Step.BOARD_TOLD, Step.JOB_PUT_DOWN, Step.FRAME_SENT, Step.ANSWER_RECEIVED, Step.SETTLED],
)
def test_a_program_that_joined_and_dies_leaves_nothing_behind(faults: Faults, step: str) -> None:
    with WorkerPool(2, nap, timeout_s=20.0) as pool:
        faults.order(PROGRAM, step, times=2)
        client = subprocess.run([sys.executable, "-c", CLIENT, str(pool.address)], cwd=ROOT, timeout=30, check=False)
        assert client.returncode == -signal.SIGKILL
        wait_until(lambda: not any(worker.outstanding for worker in pool.stats().workers), what="an empty board")
        assert pool.stats().waiting == 0
        assert ends(pool, "nap") == NAPS
