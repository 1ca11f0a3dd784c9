"""What a pool's user may settle about it, as far as it shows from outside."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.harness import wait_until
from workers import AsyncPool, JobLost, Limits, WorkerPool
from workers.policy import Room, has_room

pytestmark = pytest.mark.processes

JOBS = "tests.processes.pool_jobs"


async def with_a_busy_worker(pool: AsyncPool) -> None:
    """Have the one worker occupied, so that what is submitted next waits."""
    plug = pool.submit("nap", 0.3)
    while not any(worker.state == "running" for worker in pool.stats().workers):
        await asyncio.sleep(0.005)
    assert not plug.done()


def test_among_those_that_wait_the_higher_priority_goes_first() -> None:
    async def main() -> list[int]:
        async with WorkerPool(workers=1, handlers=JOBS) as pool:
            await with_a_busy_worker(pool)
            handles = {pool.submit("echo", level, priority=level): level for level in (0, 5, -5, 9)}
            return [handles[handle] async for handle in pool.as_completed(handles)]

    assert asyncio.run(main()) == [9, 5, 0, -5]


def test_more_workers_come_while_all_are_occupied() -> None:
    with WorkerPool(workers=1, max_workers=4, handlers=JOBS) as pool:
        pool.call("echo", 1)
        started = time.monotonic()
        for future in [pool.submit("nap", 0.8) for _ in range(4)]:
            assert future.result(10.0) == 0.8
        assert time.monotonic() - started < 2.4, "four naps of 0.8 s, one after the other, take 3.2 s"
        assert len(pool.stats().workers) > 1


def test_a_worker_that_takes_too_much_memory_is_replaced() -> None:
    with WorkerPool(workers=1, handlers=JOBS, memory_limit=120 * 2**20) as pool:
        first = pool.call("pid")
        with pytest.raises(JobLost, match="over its memory limit of 120 MiB"):
            pool.call("hoard", 400, 20.0, timeout_s=30.0)
        assert pool.call("pid", timeout_s=10.0) != first


def test_a_worker_is_replaced_after_so_many_jobs() -> None:
    pids = set()
    with WorkerPool(workers=1, handlers=JOBS, max_jobs_per_worker=3) as pool:
        wait_until(lambda: pids.add(pool.call("pid", timeout_s=10.0)) or len(pids) == 4)


def test_a_program_that_was_busy_elsewhere_sends_nothing_to_the_worker_that_was_replaced_meanwhile() -> None:
    async def main() -> None:
        async with WorkerPool(workers=1, handlers=JOBS, max_jobs_per_worker=1) as pool:
            for life in range(2, 6):
                await pool.submit("pid")
                # Within the loop's own turn, so that the pool's words of an end and a beginning are not read.
                wait_until((Path(pool.address) / f"worker-1.{life}").exists)

    asyncio.run(main())


def last_with_room(
    expected_s: float, count: int, rooms: Sequence[Room], limits: Limits, reserve: bool, favourite: int
) -> list[int]:
    """One job to the last worker that has room."""
    shares = [0] * len(rooms)
    for index in reversed(range(len(rooms))):
        if has_room(rooms[index], limits):
            shares[index] = 1
            break
    return shares


def test_a_policy_of_ones_own_is_asked() -> None:
    with WorkerPool(workers=3, handlers=JOBS, policy=last_with_room) as pool:
        wait_until(lambda: len(pool.stats().workers) == 3)
        assert {pool.call("pid") for _ in range(20)} == {pool.stats().workers[-1].pid}
    with WorkerPool(workers=3, handlers=JOBS) as pool:
        wait_until(lambda: len(pool.stats().workers) == 3)
        assert {pool.call("pid") for _ in range(20)} == {pool.stats().workers[0].pid}


def test_an_initialiser_runs_in_every_worker_that_comes() -> None:
    with WorkerPool(workers=2, handlers=JOBS, initializer=f"{JOBS}:greet", initargs=["good morning"]) as pool:
        assert {pool.call("greeting") for _ in range(10)} == {"good morning"}
        with pytest.raises(JobLost):
            pool.call("die")
        wait_until(lambda: len(pool.stats().workers) == 2)
        assert {pool.call("greeting") for _ in range(10)} == {"good morning"}


def test_a_pool_may_be_left_while_its_jobs_are_under_way() -> None:
    for _ in range(5):
        with WorkerPool(workers=1, handlers=JOBS) as pool:
            futures = [pool.submit("nap", 0.01) for _ in range(5)]
        assert [future.result(0.0) for future in futures] == [0.01] * 5
