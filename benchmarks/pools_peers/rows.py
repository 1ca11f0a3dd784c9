"""The rows: what is measured of one peer. Each gives a dict of figures; times in µs, ms or s as the names say."""

from __future__ import annotations

import math
import os
import random
import signal
import statistics
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from pools_peers import jobs
from pools_peers.adapter import WORKERS, Done, Wrong
from pools_peers.processes import descendants, private_mib
from pools_peers.shell import Shell, clock

KILL_JOBS = 50
KILL_AFTER_S = 0.1
SETTLE_LIMIT_S = 5.0
SLOW_EVERY = 20
RANDOM_SEED = 20


@dataclass(frozen=True)
class Effort:
    """How much is measured. Every row ends after its time, whatever a peer manages in it.

    Args:
        calls: sequential calls, at most.
        sequential_s: how long these may take.
        pipelined_s: for how long jobs are kept in flight, each way.
        mixed_s: how long the open-loop load runs.
        rate: its jobs a second, of all origins together.
        openings: from how many openings the time to the first result is taken.
        origin: which of the origins this is, from 0.
        origins: among how many the row's work is divided.
    """

    calls: int = 20_000
    sequential_s: float = 4.0
    pipelined_s: float = 2.0
    mixed_s: float = 20.0
    rate: float = 200.0
    openings: int = 5
    origin: int = 0
    origins: int = 1


QUICK = Effort(calls=2000, sequential_s=1.0, pipelined_s=0.5, mixed_s=2.0, openings=2)

Gate = Callable[[], None]
"""Called between warm-up and measuring: holds an origin until all others are warm too."""


def percentile(values: list[float], share: float) -> float:
    """Nearest rank."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


# -- 1: sequential ----------------------------------------------------------------------------------------------------


async def sequential(shell: Shell, effort: Effort, gate: Gate) -> dict[str, Any]:
    call = shell.call
    limit = clock() + min(1.0, effort.sequential_s / 3)
    for n in range(300):
        if await call("echo", n) != n:
            raise Wrong("sequential warm-up")
        if clock() > limit and n >= 10:
            break
    gate()
    taken: list[float] = []
    start = clock()
    for n in range(max(1, effort.calls // effort.origins)):
        begun = clock()
        answer = await call("echo", n)
        ended = clock()
        if answer != n:
            raise Wrong(f"asked with {n!r}, answered {answer!r}")
        taken.append(ended - begun)
        if ended - start > effort.sequential_s:
            break
    return {
        "count": len(taken),
        "p50_us": percentile(taken, 0.50) * 1e6,
        "p99_us": percentile(taken, 0.99) * 1e6,
        "mean_us": statistics.fmean(taken) * 1e6,
    }


# -- 2, 3: pipelined --------------------------------------------------------------------------------------------------


def _for_seconds(seconds: float, count: list[int]) -> Iterator[int]:
    """Numbers from 0 until the time is over; how many there were ends in ``count``."""
    end = clock() + seconds
    while clock() < end:
        yield count[0]
        count[0] += 1


async def _streamed(shell: Shell, way: str, in_flight: int, seconds: float) -> tuple[int, float]:
    count = [0]
    start = clock()
    answers = await shell.stream(way, _for_seconds(seconds, count), in_flight)
    elapsed = clock() - start
    if len(answers) != count[0] or sorted(answers) != list(range(count[0])):
        raise Wrong(f"{way}: {count[0]} jobs, {len(answers)} answers, {len(set(answers))} of them different")
    return count[0], elapsed


def pipelined(in_flight: int) -> Any:
    async def row(shell: Shell, effort: Effort, gate: Gate) -> dict[str, Any]:
        mine = max(1, in_flight // effort.origins)
        await shell.call("echo", 0)
        ways = shell.peer.ways()
        for way in ways:
            await _streamed(shell, way, mine, min(0.3, effort.pipelined_s / 2))
        gate()
        rates: dict[str, float] = {}
        total = 0
        for way in ways:
            count, elapsed = await _streamed(shell, way, mine, effort.pipelined_s)
            rates[way] = count / elapsed
            total += count
        best = max(rates, key=lambda way: rates[way])
        figures: dict[str, Any] = {"count": total, "jobs_per_s": rates[best], "way": best, "ways": rates}
        if hasattr(shell.peer, "chunked"):
            figures["chunked_jobs_per_s"] = _chunked(shell.peer.chunked, effort.pipelined_s)
        return figures

    return row


def _chunked(run: Callable[[list[int]], list[int]], seconds: float) -> float:
    numbers = list(range(20_000))
    count, start = 0, clock()
    while clock() - start < seconds:
        if run(numbers) != numbers:
            raise Wrong("chunked")
        count += len(numbers)
    return count / (clock() - start)


# -- 4, 5: fast ones beside slow ones ---------------------------------------------------------------------------------


def schedule(effort: Effort, spacing: str) -> list[tuple[float, bool]]:
    """When this origin's jobs are due, in seconds from the start, and which are slow: 5 % of them.

    ``regular``: every 20th of each origin, the origins' turns evenly apart. ``random``: drawn over the jobs of all
    origins together with a fixed seed, so that slow ones overlap.
    """
    total = int(effort.mixed_s * effort.rate)
    mine = range(effort.origin, total, effort.origins)
    if spacing == "random":
        slow = set(random.Random(RANDOM_SEED).sample(range(total), total // SLOW_EVERY))
        return [(n / effort.rate, n in slow) for n in mine]
    turn = SLOW_EVERY * effort.origin // effort.origins
    return [(n / effort.rate, (i + 1 + turn) % SLOW_EVERY == 0) for i, n in enumerate(mine)]


def floor_ms(plan: list[tuple[float, bool]]) -> list[float]:
    """What the fast jobs take with two workers in the order of arrival, where only the slow ones take any time."""
    free_at = [0.0] * WORKERS
    taken = []
    for due, slow in plan:
        begins = max(due, min(free_at))
        free_at[free_at.index(min(free_at))] = begins + (jobs.SLOW_S if slow else 0.0)
        if not slow:
            taken.append((begins - due) * 1e3)
    return taken


class Tally:
    """Which of some jobs are settled, how and when. Told from any thread, read by one."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.ends: dict[int, tuple[float, Any, BaseException | None]] = {}
        self.twice = 0
        self._lock = threading.Lock()

    def done(self, n: int) -> Done:
        def settle(value: Any, error: BaseException | None) -> None:
            now = clock()
            with self._lock:
                if n in self.ends:
                    self.twice += 1
                else:
                    self.ends[n] = (now, value, error)

        return settle

    def open(self) -> int:
        return self.count - len(self.ends)

    async def complete(self, shell: Shell, limit_s: float) -> bool:
        """Wait for the last; looking every 5 ms is enough, since each end has its own time."""
        limit = clock() + limit_s
        while self.open() and clock() < limit:
            await shell.until(clock() + 0.005)
        return not self.open()


def mixed(spacing: str) -> Any:
    async def row(shell: Shell, effort: Effort, gate: Gate) -> dict[str, Any]:
        for n in range(60):
            if await shell.call("slow" if n % SLOW_EVERY == 0 else "echo", n) != n:
                raise Wrong("mixed warm-up")
        plan = schedule(effort, spacing)
        tally = Tally(len(plan))
        gate()
        start = clock() + 0.02
        late: list[float] = []
        for n, (due, slow) in enumerate(plan):
            await shell.until(start + due)
            late.append(clock() - start - due)
            shell.submit("slow" if slow else "echo", n, tally.done(n))
        await tally.complete(shell, 10.0)
        return _mixed_figures(plan, tally, start, late)

    return row


def _mixed_figures(plan: list[tuple[float, bool]], tally: Tally, start: float, late: list[float]) -> dict[str, Any]:
    ends = dict(tally.ends)
    errors = Counter(type(error).__name__ for _, _, error in ends.values() if error is not None)
    if wrong := [n for n, (_, value, error) in ends.items() if error is None and value != n]:
        raise Wrong(f"{len(wrong)} answers are not their own job's")
    if tally.twice:
        raise Wrong(f"{tally.twice} jobs were settled twice")
    taken: dict[bool, list[float]] = {False: [], True: []}
    for n, (due, slow) in enumerate(plan):
        if n in ends and ends[n][2] is None:
            taken[slow].append((ends[n][0] - start - due) * 1e3)
    fast, slow_ones = taken[False], taken[True]
    if not fast or not slow_ones:
        raise Wrong("nothing was answered")
    return {
        "count": len(plan),
        "fast": len(fast),
        "slow": len(slow_ones),
        "lost": tally.count - len(ends),
        "errors": dict(errors),
        "p50_ms": percentile(fast, 0.50),
        "p99_ms": percentile(fast, 0.99),
        "max_ms": max(fast),
        "slow_p50_ms": percentile(slow_ones, 0.50),
        "slow_p99_ms": percentile(slow_ones, 0.99),
        "floor_p99_ms": percentile(floor_ms(plan), 0.99),
        "sender_late_p99_ms": percentile(late, 0.99) * 1e3,
    }


# -- 7: a worker is killed --------------------------------------------------------------------------------------------


async def worker_pids(shell: Shell, limit_s: float = 10.0) -> list[int]:
    """The processes that answer, found by asking: until there are two, or the time is over.

    More are asked each time: a worker of aiomultiprocess may take 16 jobs before the other one gets any.
    """
    limit = clock() + limit_s
    found: list[int] = []
    asked = WORKERS
    while len(found) < WORKERS and clock() < limit:
        asked = min(2 * asked, 32 * WORKERS)
        tally = Tally(asked)
        for n in range(tally.count):
            try:
                shell.submit("pid", n, tally.done(n))
            except Exception as error:  # a pool that is broken says so here
                tally.done(n)(None, error)
        await tally.complete(shell, min(asked * jobs.PID_S + 1.8, max(0.0, limit - clock())))
        found = sorted({value for _, value, error in tally.ends.values() if error is None})
        if len(found) < WORKERS:
            await shell.until(clock() + 0.02)
    return found


async def kill(shell: Shell, effort: Effort, gate: Gate) -> dict[str, Any]:
    before = await worker_pids(shell)
    if len(before) < WORKERS:
        raise Wrong(f"{len(before)} workers before the kill")
    gate()
    marks = shell.peer.folder / "marks"
    job = shell.peer.kill_job()
    tally = Tally(KILL_JOBS)
    start = clock()
    for n in range(KILL_JOBS):
        try:
            shell.submit(job, [str(marks), n], tally.done(n))
        except Exception as error:
            tally.done(n)(None, error)
    await shell.until(start + KILL_AFTER_S)
    os.kill(before[0], signal.SIGKILL)
    killed = clock()
    left = tally.open()
    work_left_s = left * jobs.MARKED_S / WORKERS
    await tally.complete(shell, work_left_s + SETTLE_LIMIT_S)
    ends = dict(tally.ends)
    starts = Counter(int(line) for line in marks.read_text().split()) if marks.exists() else Counter()
    after = clock()
    now_there = await worker_pids(shell, 5.0)
    returned = [n for n, (_, value, error) in ends.items() if error is None and value == n]
    errors = [error for _, _, error in ends.values() if error is not None]
    last = max((at for at, _, _ in ends.values()), default=killed)
    return {
        "count": KILL_JOBS,
        "left_at_kill": left,
        "returned": len(returned),
        "failed": len(errors),
        "lost": KILL_JOBS - len(ends),
        "wrong": len(ends) - len(returned) - len(errors),
        "settled_twice": tally.twice,
        "ran_twice": sum(1 for times in starts.values() if times > 1),
        "errors": dict(Counter(type(error).__name__ for error in errors)),
        "error_text": str(errors[0])[:300] if errors else "",
        "settled_s": last - killed - work_left_s if len(ends) == KILL_JOBS else None,
        "workers_after": len(now_there),
        "whole_s": clock() - after if len(now_there) == WORKERS else None,
        **shell.peer.about(),
    }


# -- 8: what it costs to have -----------------------------------------------------------------------------------------


async def first_result(shell: Shell) -> float:
    """From nothing to the first answer, in seconds; closed again."""
    start = clock()
    await shell.open()
    if await shell.call("echo", 7) != 7:
        raise Wrong("first result")
    taken = clock() - start
    await shell.close()
    return taken


async def memory(shell: Shell, effort: Effort, gate: Gate) -> dict[str, Any]:
    """Private memory, where nothing is counted that a process shares with another, after 100 jobs."""
    way = next(iter(shell.peer.ways()))
    if sorted(await shell.stream(way, range(100), 10)) != list(range(100)):
        raise Wrong("memory")
    pids = await worker_pids(shell)
    others = {pid: name for pid, name in descendants(os.getpid()).items() if pid not in pids}
    per_worker = [private_mib(pid) for pid in pids]
    return {
        "count": 100,
        "workers": len(pids),
        "worker_mib": statistics.fmean(per_worker),
        "others": len(others),
        "others_mib": sum(private_mib(pid) for pid in others),
        "others_names": sorted(others.values()),
    }


ROWS: dict[str, Any] = {
    "sequential": sequential,
    "pipelined-100": pipelined(100),
    "pipelined-1000": pipelined(1000),
    "regular": mixed("regular"),
    "random": mixed("random"),
    "kill": kill,
    "cost": memory,
}


def cost_openings(shell: Shell, effort: Effort) -> list[float]:
    """Each opening on a loop of its own: what one leaves behind must not help the next."""
    taken: list[float] = []
    start = time.monotonic()
    while len(taken) < effort.openings and (not taken or time.monotonic() - start < 40):
        taken.append(shell.run(lambda: first_result(shell)))
    return taken
