"""Measuring everything that was asked for, run by run, cell by cell, until it is done or the user has had enough."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from runtime.bench import saturation
from runtime.bench.machine import machine
from runtime.bench.offering import CellMeasurement
from runtime.bench.plan import Asked, Cell, cells, order
from runtime.bench.results import FORMAT, CellResult, CellRun, Document
from runtime.bench.site import CannotMeasure
from runtime.traffic.generator import LoadError
from runtime.traffic.offer import Progress
from runtime.traffic.server import ServerError


class Observer(Protocol):
    """Who hears how far it is."""

    def begin(self, cell: Cell, run: int) -> None:
        """A cell's turn begins; runs count from 0."""

    def load(self, rate_per_s: float, so_far: Progress) -> None:
        """A load is under way."""

    def done(self, cell: Cell, run: int, found: CellRun) -> None:
        """The cell's turn is over."""


@dataclass(slots=True)
class Measured:
    """What there is so far, by cell in the order of the plan."""

    asked: Asked
    runs: dict[Cell, list[CellRun]] = field(default_factory=dict)
    interrupted: bool = False
    failure: str = ""


def measure(asked: Asked, observer: Observer) -> Document:
    """Measure all of it; an interrupt, or what fails later than in the first cell, ends it with what there is.

    Raises:
        ServerError, LoadError: a server or a generator failed.
        CannotMeasure: the command fails, or no answer is as wanted.
        SippError: sipp could not measure the rate at saturation.
    """
    began_s, made, where = time.monotonic(), datetime.now(UTC), machine()
    found = cells(asked)
    measured = Measured(asked, {cell: [] for cell in found})
    with tempfile.TemporaryDirectory(prefix="layby-bench-") as folder:
        try:
            for run in range(asked.runs):
                _run(measured, order(found, run), run, Path(folder), observer)
        except KeyboardInterrupt:
            measured.interrupted = True
        except (ServerError, LoadError, CannotMeasure, saturation.SippError) as error:
            if not any(measured.runs.values()):
                raise
            measured.failure = str(error)
    results = [CellResult(cell, runs) for cell, runs in measured.runs.items()]
    taken_s = round(time.monotonic() - began_s, 1)
    ended = measured.interrupted, measured.failure
    return Document(FORMAT, made.isoformat(timespec="seconds"), where, asked, results, *ended, taken_s)


def _run(measured: Measured, found: Sequence[Cell], run: int, folder: Path, observer: Observer) -> None:
    for cell in found:
        observer.begin(cell, run)
        one = CellMeasurement(cell, measured.asked, folder, observer.load)
        try:
            one.measure()
            result = saturation.added(one.result(), cell, measured.asked, folder)
        except KeyboardInterrupt:
            if one.result().points:
                measured.runs[cell].append(one.result())
            raise
        measured.runs[cell].append(result)
        observer.done(cell, run, result)
