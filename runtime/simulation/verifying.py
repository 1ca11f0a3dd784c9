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

from runtime.errors import SettingsError
from runtime.program import Program
from runtime.settings import settle
from runtime.simulation.coverage import Statement, statements_of
from runtime.simulation.diagram import is_of_call
from runtime.simulation.drafts import Surroundings
from runtime.simulation.events import Event, Fault
from runtime.simulation.faults import draw_faults
from runtime.simulation.findings import Finding, found_in, unreachable
from runtime.simulation.network import GATEWAY_ADDRESS
from runtime.simulation.plan import Network, Plan, Send
from runtime.simulation.run import Run
from runtime.simulation.shrinking import shrink
from runtime.simulation.simulator import Simulator
from runtime.simulation.traffic import draw_traffic, send_of
from runtime.simulation.wishes import wishes_of, words_of

FAULTS: Final[tuple[Fault, ...]] = ("crash", "loss", "stall", "cancel", "reload", "delay", "duplicate", "slow")
_WITHIN_S: Final = 12.0
_FAULT_EVERY_S: Final = 1.5
_EVERY_THIRD: Final = 3
"""Of so many runs one is without faults: what is wrong by itself is then seen by itself."""
_SEEN_S: Final = 1.0
_NEAR_S: Final = 5.0
"""A fault that is over for so long before a call begins has nothing to do with it, most likely."""
_SOURCE: Final = "198.51.100.7"


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
        rest_s: how long a run goes on after its last call. What the script forgets is given up after three minutes.
        shrinking: how many runs it may take to make a finding's plan shorter.
    """

    script: Path
    seconds: float
    seed: int
    faults: tuple[Fault, ...]
    block_ms: float
    runs: int | None = None
    cpus: int = field(default_factory=lambda: len(os.sched_getaffinity(0)))
    calls: int = 120
    rest_s: float = 210.0
    shrinking: int = 40


@dataclass(slots=True)
class Verified:
    """What has been seen so far.

    Args:
        statements: those of the script.
        findings: each kind and place once; in the end in the order of their places.
        reached: the numbers of the statements that were reached.
        runs, parkings, requests: how many there were.
        elapsed_s: for how long it has been looked.
    """

    statements: Sequence[Statement]
    findings: list[Finding] = field(default_factory=list)
    reached: set[int] = field(default_factory=set)
    runs: int = 0
    parkings: int = 0
    requests: int = 0
    elapsed_s: float = 0.0

    @property
    def share(self) -> float:
        """Which part of the statements was reached; 1.0 where there are none."""
        return len(self.reached) / len(self.statements) if self.statements else 1.0


def verify(asked: Asked, progress: Callable[[Verified], None] = lambda so_far: None) -> Verified:
    """Look for what is wrong with a script.

    Args:
        asked: see there.
        progress: told after each run.

    Raises:
        NotLoaded: the script has errors.
        SettingsError: it cannot be simulated, or its settings are wrong.
        SimulationFailed: the simulation itself went wrong.
    """
    seen = Seen(asked)
    idle = threading.local()
    simulators: list[Simulator] = []

    def simulator() -> Simulator:
        if not hasattr(idle, "simulator"):
            idle.simulator = Simulator()
            simulators.append(idle.simulator)
        found: Simulator = idle.simulator
        return found

    with ThreadPoolExecutor(asked.cpus) as threads:
        try:
            _look(seen, threads, simulator, progress)
        finally:
            for one in simulators:  # who still runs one, as after Ctrl-C, is told that it has ended
                one.close()
    seen.verified.findings.sort(key=lambda one: (one.file, one.line, one.kind))
    return seen.verified


def _look(
    seen: Seen,
    threads: ThreadPoolExecutor,
    simulator: Callable[[], Simulator],
    progress: Callable[[Verified], None],
) -> None:
    numbers = seen.numbers()
    running: set[Future[None]] = set()
    while True:
        while len(running) < seen.asked.cpus and (number := next(numbers, None)) is not None:
            running.add(threads.submit(lambda at: seen.run(simulator(), at), number))
        if not running:
            return
        done, running = wait(running, return_when=FIRST_COMPLETED)
        for one in done:
            one.result()
        progress(seen.verified)


class Seen:
    """The script, and what is seen of it; several threads add to that.

    Args:
        asked: see there.
    """

    def __init__(self, asked: Asked) -> None:
        self.asked = asked
        self.program = Program.load(asked.script.absolute())
        checked = self.program.checked
        self._around = surroundings(self.program)
        self.wishes = wishes_of(checked.routes)
        self.verified = Verified(statements_of(checked.routes))
        self._lock = threading.Lock()
        self.verified.findings += unreachable(checked.routes, self.wishes)
        self._known = {finding.key for finding in self.verified.findings}
        self._began = time.monotonic()

    def numbers(self) -> Iterator[int]:
        """The numbers of the runs, until the time is over."""
        number = 0
        while (self.asked.runs is None or number < self.asked.runs) and self._left_s() > 0:
            yield number
            number += 1

    def _left_s(self) -> float:
        self.verified.elapsed_s = time.monotonic() - self._began
        return self.asked.seconds - self.verified.elapsed_s

    def run(self, simulator: Simulator, number: int) -> None:
        """One run, and for what is new in it the shorter ones that show the same."""
        plan = self.plan(number)
        run = simulator.run(plan)
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

    def plan(self, number: int) -> Plan:
        """The plan of a run."""
        seed = self.asked.seed + number
        faults = self.asked.faults if number % _EVERY_THIRD else ()
        calls = draw_traffic(self.wishes, seed, self.asked.calls, _WITHIN_S, self._around, faults)
        plan = Plan(
            str(self.asked.script.absolute()),
            items=[send_of(call, self._around) for call in calls],
            seed=seed,
            until_s=_WITHIN_S + self.asked.rest_s,
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
        return found_in(plan, run.events, run.violations, self.asked.block_ms / 1000)

    def _shorter(self, simulator: Simulator, finding: Finding, plan: Plan) -> Finding:
        last = finding

        def fails(one: Plan) -> bool:
            nonlocal last
            if self._left_s() <= 0:
                return False
            found = next((each for each in self._found(one, simulator.run(one)) if each.key == finding.key), None)
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


def shows(finding: Finding) -> tuple[list[Event], Finding | None]:
    """Run a finding's plan once more.

    Returns:
        what happened, and the finding as it is now; None where the run does not show it any more. One that was seen
        without a run is looked for in the script as it is.

    Raises:
        As `verify`.
    """
    if finding.plan is None:
        checked = Program.load(Path(finding.file)).checked
        left = unreachable(checked.routes, wishes_of(checked.routes))
        return [], next((one for one in left if one.key == finding.key), None)
    surroundings(Program.load(Path(finding.plan.script)))
    with Simulator() as simulator:
        run = simulator.run(finding.plan)
    again = found_in(finding.plan, run.events, run.violations, finding.block_s)
    return run.events, next((one for one in again if one.key == finding.key), None)


def surroundings(program: Program) -> Surroundings:
    """The addresses of the network around a script's server.

    Raises:
        SettingsError: it listens to no UDP socket, and the simulated network carries nothing else.
    """
    settings = settle(program.checked.globals, program.checked.sockets)
    address = next((one for one in settings.listen if not one.reliable), None)
    if address is None:
        raise SettingsError("the script has no UDP socket, and the simulated network carries nothing else", "socket")
    hop = f"{GATEWAY_ADDRESS.host}:{GATEWAY_ADDRESS.port}"
    return Surroundings(f"{address.host}:{address.port}", hop, _SOURCE, *words_of(program.checked.routes))
