"""A pool under random kills: at the end no job is unaccounted for, and nothing is left.

8 s here; by hand ``LAYBY_SOAK_S=600 pytest tests/processes/test_pool_soak.py -s``.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
from collections import Counter
from contextlib import suppress
from pathlib import Path

import pytest

from tests.harness import ROOT, wait_until
from tests.shared_memory import named_memory
from workers import AsyncPool, Cancelled, Failed, Rejected, Returned, TimedOut, WorkerLost, WorkerPool

pytestmark = pytest.mark.processes

SOAK_S = float(os.environ.get("LAYBY_SOAK_S", "8"))
IN_FLIGHT = 60


class Soak:
    """The pool's caller, and what it is told."""

    def __init__(self, pool: AsyncPool, ledger: Path, seed: int) -> None:
        self.pool = pool
        self.ledger = str(ledger)
        self.chance = random.Random(seed)
        self.ends: Counter[tuple[str, str]] = Counter()
        self.kinds: dict[int, str] = {}
        self.settled: Counter[int] = Counter()
        self.lost: set[int] = set()
        self.kills: Counter[str] = Counter()
        self.over = False

    async def call(self, number: int) -> None:
        name = self.chance.choices(["tiny", "again", "slow", "waiting", "stuck"], [60, 20, 10, 10, 0.3])[0]
        self.kinds[number] = name
        timeout_s = self.chance.choice([0.3, 0.5]) if name == "stuck" else self.chance.choice([0.03, 5.0, 20.0])
        handle = self.pool.submit(
            name, self.ledger, number, timeout_s=timeout_s, on_timeout="kill" if name == "stuck" else "abandon"
        )
        if self.chance.random() < 0.03:
            await asyncio.sleep(self.chance.random() * 0.01)
            handle.cancel("by chance")
        outcome = await handle.outcome()
        self.settled[number] += 1
        self.ends[name, type(outcome).__name__] += 1
        match outcome:
            case Returned():
                assert await handle == number, "the answer of another job"
            case Failed(kind, message):
                raise AssertionError(f"{name} failed: {kind}: {message}")
            case WorkerLost():
                self.lost.add(number)
            case TimedOut() | Cancelled() | Rejected():
                pass

    async def keep_calling(self, first: int) -> None:
        number = first
        while not self.over:
            await self.call(number)
            number += IN_FLIGHT

    async def keep_killing(self, attendant: int, guest: list[subprocess.Popen[bytes]]) -> None:
        while not self.over:
            await asyncio.sleep(self.chance.uniform(0.1, 0.8))
            victims = [worker.pid for worker in self.pool.stats().workers if worker.pid]
            if self.chance.random() < 0.15:
                guest[0].kill()
                guest[0].wait()
                guest[0] = visit(self.pool)
                self.kills["guest"] += 1
            elif victims and self.chance.random() < 0.2:
                await self.stop_a_while(self.chance.choice(victims))
            elif victims:
                with suppress(ProcessLookupError):  # it retired just now
                    os.kill(self.chance.choice(victims), signal.SIGKILL)
                    self.kills["worker"] += 1

    async def stop_a_while(self, pid: int) -> None:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
            self.kills["stopped"] += 1
            await asyncio.sleep(self.chance.uniform(0.01, 0.3))
            os.kill(pid, signal.SIGCONT)


def visit(pool: AsyncPool) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "tests.processes.soak_jobs", str(pool.address)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def children_of(pid: int) -> list[int]:
    """Whichever of its threads forked them."""
    threads = Path(f"/proc/{pid}/task").iterdir()
    return [int(child) for thread in threads for child in (thread / "children").read_text().split()]


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


async def soak(ledger: Path, seed: int) -> tuple[Soak, list[int], Path]:
    async with WorkerPool(workers=3, max_workers=5, handlers="tests.processes.soak_jobs", kill_grace_s=0.05) as pool:
        (attendant,) = children_of(os.getpid())
        soaked = Soak(pool, ledger, seed)
        guest = [visit(pool)]
        try:
            callers = [asyncio.create_task(soaked.keep_calling(first)) for first in range(IN_FLIGHT)]
            killer = asyncio.create_task(soaked.keep_killing(attendant, guest))
            await asyncio.wait([*callers, killer], timeout=SOAK_S, return_when=asyncio.FIRST_EXCEPTION)
            soaked.over = True
            await asyncio.wait_for(asyncio.gather(*callers, killer), 30.0)
        finally:
            guest[0].kill()
            guest[0].wait()
        # Whole again: every worker is there, and answers.
        wait_for = asyncio.get_running_loop().time() + 10.0
        while len(pool.stats().workers) < 3:
            assert asyncio.get_running_loop().time() < wait_for, pool.stats()
            await asyncio.sleep(0.05)
        assert await pool.submit("tiny", os.devnull, 1, timeout_s=10.0) == 1
        return soaked, [attendant, *children_of(attendant)], pool.address


def test_under_random_kills_every_job_is_accounted_for_and_nothing_is_left(tmp: Path) -> None:
    seed = int(os.environ.get("LAYBY_SOAK_SEED", random.randrange(2**32)))
    print(f"LAYBY_SOAK_SEED={seed}")
    asyncio.run(asyncio.sleep(0))  # what asyncio opens once is open from now on
    memory, files, ledger = named_memory(), open_files(), tmp / "ledger"
    soaked, processes, address = asyncio.run(soak(ledger, seed))
    print(dict(sorted(soaked.ends.items())), dict(soaked.kills), sep="\n")

    assert set(soaked.settled) == set(soaked.kinds), "some never ended"
    assert set(soaked.settled.values()) == {1}, "some ended twice"
    begun = Counter(int(line) for line in ledger.read_text().split())
    assert set(begun) <= set(soaked.kinds)
    twice = {number for number, runs in begun.items() if runs > 1}
    assert {soaked.kinds[number] for number in twice} <= {"again"}, "only what is idempotent may run again"
    assert max(begun.values()) <= 2
    returned = sum(count for (_, end), count in soaked.ends.items() if end == "Returned")
    assert returned > 20 * SOAK_S
    assert soaked.kills["worker"] > SOAK_S / 4
    assert soaked.ends["stuck", "Returned"] == 0

    wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in processes), what="the processes to end")
    assert not address.exists()
    assert named_memory() == memory
    assert open_files() == files
