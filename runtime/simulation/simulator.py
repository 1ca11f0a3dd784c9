"""An interpreter that simulates, from outside: plans in, runs out."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from types import TracebackType
from typing import Self

from runtime.settings import runtime_home
from runtime.simulation.plan import Item, Plan
from runtime.simulation.run import Advance, Failed, Finish, Open, Order, Run, RunPlan, outcome_of, pack


class SimulationFailed(Exception):
    """The simulation itself went wrong, or the script cannot be loaded; the text says how."""


class Simulator:
    """One interpreter of its own, which runs plans one after the other. Use several for several CPUs.

    Its hashes are seeded with 0 and its time zone is UTC, so that a plan's run is the same wherever it runs.

    Args:
        load: functions that are called in that interpreter before the first run, as ``module:function``; they may
            watch what happens there, or change it.
        cpu: the CPU that it keeps to; waking one process after the other costs least on one. None for any.
    """

    def __init__(self, load: Sequence[str] = (), cpu: int | None = None) -> None:
        on_cpu = [] if cpu is None else [f"--cpu={cpu}"]
        path = os.pathsep.join(filter(None, sys.path))
        # Made here, so that somebody is left to remove it when the interpreter is killed in the midst of a run.
        self._folder = tempfile.mkdtemp(prefix="s", dir=runtime_home().parent)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "runtime.simulation", f"--folder={self._folder}", *on_cpu, *load],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={
                **os.environ,
                "PYTHONHASHSEED": "0",
                "TZ": "UTC",
                "PYTHONPATH": path,
            },
            process_group=0,  # with all that it forks: Ctrl-C is for whoever has made it
        )

    def run(self, plan: Plan) -> Run:
        """Run a plan from its beginning to its end.

        Raises:
            SimulationFailed: the script cannot be loaded, or the simulation itself went wrong.
        """
        self.order(plan)
        return self.outcome()

    def order(self, plan: Plan) -> None:
        """Have a plan run, and do not wait; `outcome` does. One plan at a time."""
        self._say(RunPlan(plan))

    # Step by step.

    def open(self, plan: Plan) -> Run:
        """Begin a run whose plan is not known yet to its end; the processes are forked, and time stands still."""
        self._say(Open(plan))
        return self.outcome()

    def advance(self, until_s: float, items: Sequence[Item] = ()) -> Run:
        """Let more happen in the run that is open, and time go on.

        Args:
            until_s: until so many seconds after the run began.
            items: what happens; what should have happened before now does so at once.

        Returns:
            Its events since the last answer, and its exchanges so far.
        """
        self._say(Advance(list(items), until_s))
        return self.outcome()

    def finish(self, until_s: float) -> Run:
        """Let time go on to the end of the run that is open; the whole run, judged."""
        self._say(Finish(until_s))
        return self.outcome()

    def _say(self, order: Order) -> None:
        assert self._process.stdin is not None
        line = pack(order) + b"\n"
        try:
            self._process.stdin.write(line)
            self._process.stdin.flush()
        except (BrokenPipeError, ValueError) as error:  # ValueError: it was closed, by another thread
            raise SimulationFailed("the simulating interpreter has ended") from error

    def outcome(self) -> Run:
        """Wait for the run that was ordered. Raises SimulationFailed."""
        assert self._process.stdout is not None
        try:
            line = self._process.stdout.readline()
        except ValueError:  # closed by another thread
            line = b""
        if not line:
            raise SimulationFailed("the simulating interpreter has ended")
        found = outcome_of(line)
        if isinstance(found, Failed):
            raise SimulationFailed(found.why)
        return found

    def close(self) -> None:
        """End the interpreter, also in the midst of a run. Who waits for that run is told that it has ended."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            with suppress(BrokenPipeError):
                pipe.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
