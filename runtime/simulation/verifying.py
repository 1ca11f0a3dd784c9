"""`layby verify`: a script in the simulated machine, run after run, until the time is over.

Runs are drawn from consecutive seeds and spread over interpreters, one for each CPU. What a run shows is made as short
as it gets before it is told, so that a finding's replay is a few packets and not an hour of traffic.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from msgspec.structs import replace

from runtime.program import Program
from runtime.simulation.coverage import Statement, statements_of
from runtime.simulation.diagram import is_of_call
from runtime.simulation.events import Fault
from runtime.simulation.faults import draw_faults
from runtime.simulation.findings import Finding, found_in, unreachable
from runtime.simulation.plan import CrashInJob, Network, Plan, Send
from runtime.simulation.programs import draw_programs, slowest_s, wanted_of
from runtime.simulation.replaying import events_raised, hash_of, read, surroundings
from runtime.simulation.run import Run
from runtime.simulation.shrinking import shrink
from runtime.simulation.simulator import SimulationFailed, Simulator
from runtime.simulation.traffic import draw_traffic, send_of

FAULTS: Final[tuple[Fault, ...]] = ("crash", "loss", "stall", "cancel", "reload", "delay", "duplicate", "slow")
_DEATHS: Final = 3
"""How many workers die in a job that is to come to nothing: some commands are run again."""
_UP_S: Final = 1.0
"""When all processes are up. One that dies before it was up for the first time ends a server, which is no fault."""
_WITHIN_S: Final = 12.0
_FAULT_EVERY_S: Final = 1.5
_EVERY_THIRD: Final = 3
"""Of so many runs one is without faults: what is wrong by itself is then seen by itself."""
_TOLD_EVERY_S: Final = 0.5
_GRACE_S: Final = 0.5
"""For how long it is waited for runs that are going on when the time is over."""
_SMALL: Final = 2
_SMALL_CALLS: Final = 40
"""The first two runs have few calls, so that there is soon something to tell."""
_QUIET: Final = 5
_EVERY_QUIET: Final = 10
_QUIET_CALLS: Final = 10
"""Of ten runs the sixth has few calls and goes on until the slowest timer route has run, where there is one."""
_LONGEST_S: Final = 7200.0
_SEEN_S: Final = 1.0
_NEAR_S: Final = 5.0
"""A fault that is over for so long before a call begins has nothing to do with it, most likely."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What `verify` was asked for.

    Args:
        script: the script file.
        seconds: for how long to look.
        seed: of the first run.
        faults: what goes wrong on purpose.
        block_ms: for how long a statement may keep its process from everything else.
        runs: after how many runs to stop, if that is earlier; None for no such limit.
        cpus: how many interpreters run side by side.
        calls: how many calls a run has.
        rest_s: how long a run goes on after its last call. What the script forgets is given up after three minutes,
            and its transaction lingers then.
        shrinking: how many runs it may take to make a finding's plan shorter, and for how many seconds.
        first: whether to stop as soon as there is a finding.
    """

    script: Path
    seconds: float
    seed: int
    faults: tuple[Fault, ...]
    block_ms: float
    runs: int | None = None
    cpus: int = field(default_factory=lambda: len(os.sched_getaffinity(0)))
    calls: int = 120
    rest_s: float = 225.0
    shrinking: int = 40
    shrinking_s: float = 10.0
    first: bool = False


@dataclass(slots=True)
class Verified:
    """What has been seen so far.

    Args:
        statements: those of the script.
        findings: each kind and place once; in the end in the order of their places.
        reached: the numbers of the statements that were reached.
        runs, parkings, requests: how many there were.
        elapsed_s: for how long it has been looked.
        interrupted: whether the user did not want to wait for the end.
    """

    statements: Sequence[Statement]
    findings: list[Finding] = field(default_factory=list)
    reached: set[int] = field(default_factory=set)
    runs: int = 0
    parkings: int = 0
    requests: int = 0
    elapsed_s: float = 0.0
    interrupted: bool = False

    @property
    def share(self) -> float:
        """Which part of the statements was reached; 1.0 where there are none."""
        return len(self.reached) / len(self.statements) if self.statements else 1.0


def verify(asked: Asked, progress: Callable[[Verified], None] = lambda so_far: None) -> Verified:
    """Look for what is wrong with a script, until the time is over or the user interrupts it.

    Args:
        asked: see there.
        progress: told again and again.

    Raises:
        NotLoaded: the script has errors.
        SettingsError: it cannot be simulated, or its settings are wrong.
        SimulationFailed: the simulation itself went wrong.
    """
    seen, crew = Seen(asked), _Crew()
    with ThreadPoolExecutor(asked.cpus) as threads:
        try:
            _look(seen, threads, crew, progress)
        except KeyboardInterrupt:
            seen.verified.interrupted = True
        finally:
            seen.is_cut.set()
            crew.close()
    seen.verified.findings.sort(key=lambda one: (one.file, one.line, one.kind))
    return seen.verified


class _Crew:
    """The interpreters, one for each thread that asks for one."""

    def __init__(self) -> None:
        self._own = threading.local()
        self._lock = threading.Lock()
        self._made: list[Simulator] = []
        self._closed = False

    def simulator(self) -> Simulator:
        """That of this thread."""
        with self._lock:
            if self._closed:
                raise SimulationFailed("nothing is simulated any more")
            if not hasattr(self._own, "simulator"):
                self._own.simulator = Simulator()
                self._made.append(self._own.simulator)
            found: Simulator = self._own.simulator
            return found

    def close(self) -> None:
        """End them; who waits for a run is told that it has ended."""
        with self._lock:
            self._closed = True
            for one in self._made:
                one.close()


def _look(seen: Seen, threads: ThreadPoolExecutor, crew: _Crew, progress: Callable[[Verified], None]) -> None:
    numbers = seen.numbers()
    running: set[Future[None]] = set()
    enough = seen.is_enough()  # without a run, from what stands in the script
    while not (enough or seen.is_over()):
        while len(running) < seen.asked.cpus and (number := next(numbers, None)) is not None:
            running.add(threads.submit(lambda at: seen.run(crew.simulator(), at), number))
        if not running:
            return
        done, running = wait(running, timeout=_TOLD_EVERY_S, return_when=FIRST_COMPLETED)
        for one in done:
            one.result()
        progress(seen.verified)
        enough = bool(done) and seen.is_enough()  # with all that this run has shown


class Seen:
    """The script, and what is seen of it; several threads add to that.

    Args:
        asked: see there.

    Attributes:
        is_cut: set when runs are cut off that have not come to their end.
    """

    def __init__(self, asked: Asked) -> None:
        self.asked = asked
        self.program = Program.load(asked.script.absolute())
        self._around = surroundings(self.program)
        routes, self.wishes = read(self.program)
        self._slowest_s = min(_LONGEST_S, slowest_s(routes))
        self._wanted = wanted_of(routes, events_raised(self.program))
        self.verified = Verified(statements_of(routes))
        self._lock = threading.Lock()
        self._hash = hash_of(self.program)
        self.verified.findings += map(self._of_script, unreachable(routes, self.wishes))
        self._known = {finding.key for finding in self.verified.findings}
        self.is_cut = threading.Event()
        self._began = time.monotonic()

    def numbers(self) -> Iterator[int]:
        """The numbers of the runs, until the time is over."""
        number = 0
        while (self.asked.runs is None or number < self.asked.runs) and self._left_s() > 0:
            yield number
            number += 1

    def is_over(self) -> bool:
        """Whether nobody waits any longer for the runs that are still going on."""
        return self._left_s() < -_GRACE_S

    def is_enough(self) -> bool:
        """Whether what was asked for has been found."""
        return self.asked.first and bool(self.verified.findings)

    def _left_s(self) -> float:
        self.verified.elapsed_s = time.monotonic() - self._began
        return self.asked.seconds - self.verified.elapsed_s

    def run(self, simulator: Simulator, number: int) -> None:
        """One run, and for what is new in it the shorter ones that show the same."""
        plan = self.plan(number)
        run = self._run(simulator, plan)
        if run is None:
            return
        with self._lock:
            self._count(run)
        for finding in self._found(plan, run):
            with self._lock:
                is_new = finding.key not in self._known
                self._known.add(finding.key)
            if is_new:
                found = self._shorter(simulator, finding, plan)
                with self._lock:
                    self.verified.findings.append(found)

    def _run(self, simulator: Simulator, plan: Plan) -> Run | None:
        """None where the run was cut off."""
        try:
            return simulator.run(plan)
        except SimulationFailed:
            if self.is_cut.is_set():
                return None
            raise

    def plan(self, number: int) -> Plan:
        """The plan of a run."""
        seed = self.asked.seed + number
        faults = self.asked.faults if number % _EVERY_THIRD else ()
        is_quiet = self._slowest_s > self.asked.rest_s and number % _EVERY_QUIET == _QUIET
        calls = self.asked.calls if number >= _SMALL else min(_SMALL_CALLS, self.asked.calls)
        count = _QUIET_CALLS if is_quiet else calls
        drawn = draw_traffic(self.wishes, seed, count, _WITHIN_S, self._around, faults)
        drawn = [replace(call, at_s=call.at_s + _UP_S) for call in drawn]
        dying = [call.at_s for call in drawn if call.draft.loses and "crash" in faults]
        deaths = [CrashInJob(at_s) for at_s in dying for _ in range(_DEATHS)]
        programs = draw_programs(self._wanted, seed, _UP_S, _WITHIN_S, self._around)
        plan = Plan(
            str(self.asked.script.absolute()),
            items=[*(send_of(call, self._around) for call in drawn), *deaths, *programs],
            seed=seed,
            until_s=_UP_S + _WITHIN_S + (self._slowest_s if is_quiet else self.asked.rest_s),
            watched=True,
        )
        # Which callers give up has been drawn with the calls.
        return draw_faults(plan, [fault for fault in faults if fault != "cancel"], _FAULT_EVERY_S)

    def _count(self, run: Run) -> None:
        seen = self.verified
        seen.runs += 1
        seen.parkings += run.parkings
        seen.requests += len(run.exchanges)
        seen.reached |= set(run.reached)

    def _found(self, plan: Plan, run: Run) -> list[Finding]:
        found = found_in(plan, run.events, run.violations, self.asked.block_ms / 1000)
        return [self._of_script(one) for one in found]

    def _of_script(self, finding: Finding) -> Finding:
        return replace(finding, script=str(self.program.path), script_hash=self._hash)

    def _shorter(self, simulator: Simulator, finding: Finding, plan: Plan) -> Finding:
        last, until = finding, time.monotonic() + self.asked.shrinking_s

        def fails(one: Plan) -> bool:
            nonlocal last
            run = self._run(simulator, one) if self._left_s() > 0 and time.monotonic() < until else None
            if run is None:
                return False
            found = next((each for each in self._found(one, run) if each.key == finding.key), None)
            last = found or last
            return found is not None

        if self.asked.shrinking:
            shorter = next((one for one in _shorter_plans(last, plan) if fails(one)), plan)
            if len(shorter.items) > 1:
                shrink(shorter, fails, self.asked.shrinking)
        return last


def _shorter_plans(finding: Finding, plan: Plan) -> Iterator[Plan]:
    """Plans that most likely show the same: with nobody but the caller to whom it happened, and over soon after."""
    own = [item for item in plan.items if isinstance(item, Send) and _is_of(item, finding.call)]
    until_s = min(plan.until_s, finding.at_s + _SEEN_S)
    calm = Network()
    if own:
        yield replace(plan, items=own, network=calm, until_s=until_s)
        yield replace(plan, items=own, network=calm)
        faults = [item for item in plan.items if not isinstance(item, Send) and item.at_s >= own[0].at_s - _NEAR_S]
        yield replace(plan, items=sorted([*own, *faults], key=lambda item: item.at_s))
    yield replace(plan, items=[item for item in plan.items if item.at_s <= until_s], until_s=until_s)


def _is_of(item: Send, call: str) -> bool:
    return bool(call) and is_of_call(item.data, call)
