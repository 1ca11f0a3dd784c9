"""Several processes, one pool: joining it from asyncio, from threads, and from a loop of one's own."""

from __future__ import annotations

import asyncio
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from workers import Client, JobFailed, Outcome, PlainPool, PoolBroken, Returned, SyncPool, WorkerLost, WorkerPool

pytestmark = pytest.mark.processes

JOBS = "tests.processes.pool_jobs"
ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def pool() -> Iterator[SyncPool]:
    with WorkerPool(workers=2, handlers=JOBS) as pool:
        yield pool


def drive(pool: PlainPool, condition: Callable[[], object], limit_s: float = 5.0) -> None:
    """A loop of one's own, as the docstring of `PlainPool` has it."""
    ends_at = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < ends_at, "it does not come to pass"
        deadline = pool.next_deadline()
        due_at = ends_at if deadline is None else min(deadline, ends_at)
        if select.select([pool], [], [], max(0.0, due_at - time.monotonic()))[0]:
            pool.on_readable(time.monotonic())
        else:
            pool.on_deadline(time.monotonic())


def test_all_three_ways_in(pool: SyncPool) -> None:
    async def main() -> int:
        async with Client(pool.address) as client:
            assert [value async for value in client.map("square", range(100))] == [n * n for n in range(100)]
            return await client.submit("add", 1, b=1)

    assert asyncio.run(main()) == 2
    with Client(str(pool.address), timeout_s=5.0) as client:
        assert client.call("add", 1) == 2
        assert client.call("deadline") <= 5.0
    with Client(pool.address).open() as client:
        ends: dict[str, Outcome] = {}
        names = [
            str(client.submit("square", number, settled=lambda job, outcome: ends.__setitem__(str(job), outcome)))
            for number in range(50)
        ]
        assert ends == {}, "nobody is told on the stack that submits"
        drive(client, lambda: len(ends) == 50)
        assert [client.value(ends[name]) for name in names] == [n * n for n in range(50)]
        assert client.pending() == 0


def test_a_plain_loop_learns_of_every_end(pool: SyncPool) -> None:
    ends: list[Outcome] = []

    def note(job: object, outcome: Outcome) -> None:
        ends.append(outcome)

    with Client(pool.address).open() as client:
        client.submit("boom", "Odd", "x", settled=note)
        drive(client, lambda: len(ends) == 1)
        with pytest.raises(JobFailed):
            client.value(ends[0])
        client.submit("die", settled=note)
        drive(client, lambda: len(ends) == 2)
        assert isinstance(ends[1], WorkerLost)
        job = client.submit("nap", 5.0, settled=note, timeout_s=0.05)
        drive(client, lambda: len(ends) == 3)
        assert not client.cancel(job)
        told: list[float] = []
        client.submit("steps", 3, settled=note, on_progress=lambda fraction, text: told.append(fraction))
        drive(client, lambda: len(ends) == 4)
        assert told[-1] == 1.0
        client.submit("nap", 5.0, settled=note)
        client.on_deadline(time.monotonic())
    assert len(ends) == 5, "closing settles what is left"


def test_there_is_no_pool(tmp_path: Path) -> None:
    with pytest.raises(PoolBroken, match="no pool runs here"), Client(tmp_path):
        pass


CLIENT = """
import sys
from workers import Client
with Client(sys.argv[1]) as pool:
    print(sum(pool.map("square", range(int(sys.argv[2])))))
"""


def test_other_processes_share_it(pool: SyncPool) -> None:
    def start() -> subprocess.Popen[str]:
        command = [sys.executable, "-c", CLIENT, str(pool.address), "2000"]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment())

    clients = [start() for _ in range(3)]
    own = sum(pool.map("square", range(2000)))
    assert [int(client.communicate(timeout=30)[0]) for client in clients] == [own] * 3
    assert pool.call("add", 1) == 2


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}


def test_a_client_that_dies_harms_nobody(pool: SyncPool) -> None:
    text = (
        "import sys, os\nfrom workers import Client\n"
        "with Client(sys.argv[1]) as pool:\n"
        "    jobs = [pool.submit('nap', 0.01) for _ in range(20)]\n"
        "    pool.call('nothing')\n    os.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", text, str(pool.address)], cwd=ROOT, env=environment(), timeout=30, check=False
    )
    assert done.returncode == -signal.SIGKILL
    assert pool.call("add", 1, timeout_s=5.0) == 2
    ends_at = time.monotonic() + 5.0
    while any(worker.outstanding for worker in pool.stats().workers):
        assert time.monotonic() < ends_at, "what the dead asked for is forgotten"


def test_the_pool_ends_under_a_client() -> None:
    ends: list[Outcome] = []
    with WorkerPool(workers=1, handlers=JOBS, drain_s=0.2) as pool:
        client = Client(pool.address).open()
        client.submit("add", 1, settled=lambda job, outcome: ends.append(outcome))
        drive(client, lambda: ends)
        assert isinstance(ends[0], Returned)
        client.submit("nap", 20.0, settled=lambda job, outcome: ends.append(outcome))
        client.on_deadline(time.monotonic())
    drive(client, lambda: len(ends) == 2)
    with pytest.raises(PoolBroken):
        client.submit("add", 1, settled=lambda job, outcome: None)
    assert client.next_deadline() is None
    client.close()


def test_there_is_room_for_so_many_and_no_more() -> None:
    with WorkerPool(workers=1, handlers=JOBS, max_clients=2) as pool:
        with Client(pool.address) as second:
            assert second.call("add", 1) == 2
            with pytest.raises(PoolBroken, match="full"), Client(pool.address):
                pass
        ends_at = time.monotonic() + 5.0
        while True:
            try:
                with Client(pool.address) as third:
                    assert third.call("add", 1) == 2
                return
            except PoolBroken:
                assert time.monotonic() < ends_at, "the place of one that left is free again"
