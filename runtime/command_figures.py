"""What MI commands cost: runs, errors, run time and waiting time of each, in memory that all processes share.

As with the statistics each process writes a row of its own, so nothing is locked, and a replacement counts on in the
row of the process that it replaces. A run is counted where it happened; how long a job waited before, and that it had
no answer at all, where it was asked for.
"""

from __future__ import annotations

import mmap
from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from mi_script.execute import answer_of
from workers.jobs import Outcome, Returned

BOUNDS_S: Final = (0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0)
"""Up to how many seconds each bucket of a histogram reaches; one more has all above."""
CODES: Final = (400, 403, 404, 408, 480, 481, 487, 500, 503, -32602, -32000, -32601, -32001)
"""The errors that are counted apart; code 0 stands for all others."""
UNKNOWN: Final = "(unknown)"
"""Counted under this name: calls of commands that there are not."""

_CELL: Final = 8
_OTHERS: Final = len(CODES)
_RUNS: Final = _OTHERS + 1
_BUCKETS: Final = len(BOUNDS_S) + 1
_RUN_US: Final = _RUNS + _BUCKETS
_WAITS: Final = _RUN_US + 1
_WAIT_US: Final = _WAITS + _BUCKETS
_CELLS: Final = _WAIT_US + 1
_PLACE_OF_CODE: Final = {code: place for place, code in enumerate(CODES)}


@dataclass(frozen=True, slots=True)
class Histogram:
    """How often something took how long.

    Args:
        buckets: how often at most as long as each of `BOUNDS_S`, and longer; not summed up.
        total_s: all of it together, in seconds.
    """

    buckets: tuple[int, ...]
    total_s: float

    @property
    def count(self) -> int:
        """How often."""
        return sum(self.buckets)

    def bound_of(self, part: float) -> float | None:
        """The bucket's bound below which so great a part lies, in seconds; None where it has none."""
        seen, wanted = 0, self.count * part
        for bound, number in zip(BOUNDS_S, self.buckets, strict=False):
            seen += number
            if seen >= wanted:
                return bound
        return None


@dataclass(frozen=True, slots=True)
class Figures:
    """What one command has cost in all processes.

    Args:
        command: its name.
        errors: how often it ended with each code; those that never were are left out.
        runs: how long it ran.
        waits: how long jobs of it waited before they ran.
    """

    command: str
    errors: dict[int, int]
    runs: Histogram
    waits: Histogram


class CommandFigures:
    """The table.

    Args:
        slots: how many processes there may be.
        commands: the names of all commands.
    """

    def __init__(self, slots: int, commands: Iterable[str]) -> None:
        self._names = (UNKNOWN, *commands)
        self._places = {name: number * _CELLS for number, name in enumerate(self._names)}
        self._row_cells = len(self._names) * _CELLS
        self._memory = mmap.mmap(-1, slots * self._row_cells * _CELL)
        self._cells = memoryview(self._memory).cast("q")
        self._row = 0

    @property
    def size(self) -> int:
        """Bytes of shared memory that the table takes."""
        return len(self._memory)

    def enter(self, slot: int) -> None:
        """From now on this process counts in row `slot`."""
        self._row = slot * self._row_cells

    def ran(self, command: str, elapsed_s: float, code: int | None) -> None:
        """Count a run in this process, which ended with an error of that code, or with a result."""
        cells, at = self._cells, self._row + self._places[command]
        cells[at + _RUNS + bisect_left(BOUNDS_S, elapsed_s)] += 1
        cells[at + _RUN_US] += int(elapsed_s * 1_000_000)
        if code is not None:
            cells[at + _PLACE_OF_CODE.get(code, _OTHERS)] += 1

    def failed(self, command: str, code: int) -> None:
        """Count a call that ended with an error and never ran, or nobody knows how long."""
        at = self._row + self._places.get(command, 0)
        self._cells[at + _PLACE_OF_CODE.get(code, _OTHERS)] += 1

    def settled(self, command: str, outcome: Outcome, elapsed_s: float | None) -> None:
        """Count, where a job was asked for, how long it waited before it ran, or that no process answered.

        Args:
            command: what it ran.
            outcome: its end.
            elapsed_s: seconds from its asking to that; None where they are not known.
        """
        if not isinstance(outcome, Returned):
            answer = answer_of(outcome)
            self.failed(command, getattr(answer, "code", 0))
        elif elapsed_s is not None:
            waited_s = max(0.0, elapsed_s - outcome.elapsed_s)
            at = self._row + self._places.get(command, 0)
            self._cells[at + _WAITS + bisect_left(BOUNDS_S, waited_s)] += 1
            self._cells[at + _WAIT_US] += int(waited_s * 1_000_000)

    def figures(self) -> list[Figures]:
        """Those of every command, summed over the processes."""
        rows = [self._cells[at : at + self._row_cells].tolist() for at in range(0, len(self._cells), self._row_cells)]
        sums = [sum(cells) for cells in zip(*filter(any, rows), strict=True)] or rows[0]
        return [_figures(name, sums[at : at + _CELLS]) for name, at in self._places.items()]


def _figures(name: str, cells: list[int]) -> Figures:
    codes = zip((*CODES, 0), cells, strict=False)
    return Figures(
        name,
        {code: number for code, number in codes if number},
        Histogram(tuple(cells[_RUNS:_RUN_US]), cells[_RUN_US] / 1e6),
        Histogram(tuple(cells[_WAITS:_WAIT_US]), cells[_WAIT_US] / 1e6),
    )
