"""What has changed since an earlier measurement, and what of it is no more than noise. No I/O.

A figure has changed where its median has moved by more than runs of the same thing differ among themselves, now and
then, and the two ranges do not overlap. All else is said to be no change: with three runs on either side a figure's
ranges lie apart by chance in one comparison of ten, and there are many figures.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final, Literal, TypeAlias

from msgspec import Struct

from runtime.bench.knee import WITHIN
from runtime.bench.plan import Cell
from runtime.bench.results import CellResult, Document
from runtime.bench.statistics import Range
from runtime.bench.summary import Row, knee_of, rates_of, row_of, saturation_of

Change: TypeAlias = Literal["better", "worse", "none"]

KNEE: Final = "knee, requests/s"
SATURATION: Final = "saturation, requests/s"

FLOOR: Final = 1.05
"""Nothing is measured more finely than this factor, however close the runs are to each other."""
UNKNOWN: Final = 1.5
"""The noise of a figure that was measured once."""
LATENCY_FLOOR_MS: Final = 0.05
"""Differences of less are the kernel's timers and the generator's."""


class Compared(Struct, frozen=True):
    """One figure, then and now.

    Args:
        cell: whose it is.
        rate_per_s: at which rate; None for what is no matter of one.
        figure: its name, with its unit.
        old, new: what the runs said.
        noise: the factor, above 1, within which a change is none.
        change: what became of it.
    """

    cell: Cell
    rate_per_s: float | None
    figure: str
    old: Range
    new: Range
    noise: float
    change: Change

    @property
    def ratio(self) -> float:
        """The new median over the old one."""
        return self.new.median / self.old.median if self.old.median > 0 else math.inf


def compare(old: Document, new: Document) -> list[Compared]:
    """Every figure that both have, at rates that all runs of both held."""
    before = {result.cell: result for result in old.cells}
    return [each for result in new.cells if result.cell in before for each in _of_cell(before[result.cell], result)]


def _of_cell(old: CellResult, new: CellResult) -> Iterator[Compared]:
    for rate in sorted(set(rates_of(old)) & set(rates_of(new))):
        then, now = row_of(old, rate), row_of(new, rate)
        if then and now and then.held and now.held:
            yield from _of_row(then, now)
    for figure, pick in ((KNEE, knee_of), (SATURATION, saturation_of)):
        then_is, now_is = pick(old), pick(new)
        if then_is and now_is:
            yield compared(new.cell, None, figure, then_is, now_is, more_is_better=True)


def _of_row(old: Row, new: Row) -> Iterator[Compared]:
    for who, then, now in (("fast", old.fast, new.fast), ("slow", old.slow, new.slow)):
        for name in ("p50", "p99"):
            if name in then and name in now:
                yield compared(new.cell, new.rate_per_s, f"{who} {name}, ms", then[name], now[name])
    yield compared(new.cell, new.rate_per_s, "CPU s/10,000", old.cpu_s, new.cpu_s)


def compared(
    cell: Cell, rate_per_s: float | None, figure: str, old: Range, new: Range, more_is_better: bool = False
) -> Compared:
    """Judge one figure."""
    # The knee is looked for no more closely than that.
    floor = WITHIN if figure == KNEE else FLOOR
    noise = max(floor, *(UNKNOWN if each.noise is None else each.noise for each in (old, new)))
    change: Change = "none"
    if _differs(old, new, noise) and not (figure.endswith("ms") and _is_tiny(old, new)):
        change = "better" if (new.median > old.median) == more_is_better else "worse"
    return Compared(cell, rate_per_s, figure, old, new, noise, change)


def _differs(old: Range, new: Range, noise: float) -> bool:
    apart = new.low > old.high or new.high < old.low
    low, high = sorted((old.median, new.median))
    return apart and high > low * noise


def _is_tiny(old: Range, new: Range) -> bool:
    return abs(new.median - old.median) < LATENCY_FLOOR_MS


def differences(old: Document, new: Document) -> list[str]:
    """Why the two might not compare: what was asked, or where, is not the same."""
    told = []
    for name in ("script", "command", "gathered", "request", "seconds", "sip_processes", "slo_ms"):
        then, now = getattr(old.asked, name), getattr(new.asked, name)
        if then != now:
            told.append(f"{name} was {then!r} and is {now!r}")
    for name in ("cpu", "cpus", "kernel", "python", "native"):
        then, now = getattr(old.machine, name), getattr(new.machine, name)
        if then != now:
            told.append(f"{name} of the machine was {then!r} and is {now!r}")
    return told
