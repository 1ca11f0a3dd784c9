"""An interpreter that simulates, from outside: plans in, runs out."""

from __future__ import annotations

import os
import subprocess
import sys
from types import TracebackType
from typing import Self

import msgspec

from runtime.simulation.plan import Plan, text_of
from runtime.simulation.run import Failed, Run

_DECODER: msgspec.json.Decoder[Run | Failed] = msgspec.json.Decoder(Run | Failed)


class SimulationFailed(Exception):
    """The simulation itself went wrong, or the script cannot be loaded; the text says how."""


class Simulator:
    """One interpreter of its own, which runs plans one after the other. Use several for several CPUs.

    Its hashes are seeded with 0 and its time zone is UTC, so that a plan's run is the same wherever it runs.
    """

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "runtime.simulation"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONHASHSEED": "0", "TZ": "UTC"},
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
        assert self._process.stdin is not None
        self._process.stdin.write(text_of(plan) + b"\n")
        self._process.stdin.flush()

    def outcome(self) -> Run:
        """Wait for the run that was ordered. Raises SimulationFailed."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SimulationFailed("the simulating interpreter has ended")
        found = _DECODER.decode(line)
        if isinstance(found, Failed):
            raise SimulationFailed(found.why)
        return found

    def close(self) -> None:
        """End the interpreter, also in the midst of a run."""
        self._process.kill()
        self._process.communicate()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
