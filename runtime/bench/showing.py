"""How far the benchmark is: a bar with the remaining time on a terminal, a line for each load elsewhere."""

from __future__ import annotations

import time
from array import array
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from runtime.bench.plan import Asked, Cell, cells, expected_cell_s
from runtime.bench.results import CellRun
from runtime.bench.summary import middle
from runtime.traffic.offer import Progress as SoFar
from runtime.traffic.spread import milliseconds, percentile

_SHOWN_EVERY_S: Final = 0.45


class Shown:
    """An observer of `measuring.measure` that shows what it hears; a context manager.

    Nothing is drawn between the generator's words: a thread that redraws would take CPU from the server.

    Args:
        console: where.
        asked: what is measured.
    """

    def __init__(self, console: Console, asked: Asked) -> None:
        self._console = console
        self._asked = asked
        self._turns = asked.runs * len(cells(asked))
        self._done = 0
        self._began_s = self._turn_began_s = time.monotonic()
        self._usual_s = expected_cell_s(asked)
        self._rate = 0.0
        self._shown_s = 0.0
        self._fast_s = array("d")
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            TextColumn("{task.fields[told]}"),
            console=console,
            auto_refresh=False,
            transient=True,
            disable=not console.is_terminal,
        )
        self._bar = self._progress.add_task("", total=self._turns, told="")

    def __enter__(self) -> Shown:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def begin(self, cell: Cell, run: int) -> None:
        """A cell's turn begins."""
        self._turn_began_s = time.monotonic()
        self._rate = 0.0
        self._progress.update(self._bar, description=f"run {run + 1}/{self._asked.runs} {cell}")
        self._refresh("the server starts")

    def load(self, rate_per_s: float, so_far: SoFar) -> None:
        """A load is under way."""
        if rate_per_s != self._rate:
            self._rate, self._fast_s = rate_per_s, array("d")
        self._fast_s.extend(so_far.fast_s)
        if time.monotonic() - self._shown_s >= _SHOWN_EVERY_S:
            p99 = f", p99 {milliseconds(1000 * percentile(sorted(self._fast_s), 0.99))} ms" if self._fast_s else ""
            self._refresh(f"{rate_per_s:,.0f}/s {so_far.elapsed_s:.1f} s{p99}")

    def done(self, cell: Cell, run: int, found: CellRun) -> None:
        """The cell's turn is over."""
        self._done += 1
        self._turn_began_s = time.monotonic()
        self._usual_s = (self._turn_began_s - self._began_s) / self._done
        if not self._console.is_terminal:
            self._console.print(
                f"run {run + 1} of {self._asked.runs}: {cell}: {_said(found)}; {left_text(self.left_s())} left",
                highlight=False,
                markup=False,
                soft_wrap=True,
            )

    def left_s(self) -> float:
        """How many seconds it will take yet, by what the turns so far have taken."""
        left = self._turns - self._done
        under_way_s = min(time.monotonic() - self._turn_began_s, self._usual_s) if left else 0.0
        return left * self._usual_s - under_way_s

    def _refresh(self, told: str) -> None:
        self._shown_s = time.monotonic()
        self._progress.update(self._bar, completed=self._done, told=f"{told}; {left_text(self.left_s())} left")
        if self._console.is_terminal:
            self._progress.refresh()


def left_text(seconds: float) -> str:
    """A stretch of time as ``1:05``."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}"


def _said(found: CellRun) -> str:
    if found.knee is not None:
        return f"knee {middle(found.knee):,.0f} requests/s after {len(found.points)} rates"
    last = found.points[-1]
    judged = last.fast or last.slow
    p99 = f", p99 {milliseconds(judged.p99_ms)} ms" if judged else ""
    return f"{last.rate_per_s:,.0f} requests/s{p99}, {last.verdict}"
