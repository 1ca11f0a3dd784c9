"""Whether what the house has stays what it is: lines through the samples of the second half. No I/O here.

The line is that of least squares. How much it rises over the time that is looked at must not be more than a share of
the mean, and a few more than that. Of memory the first seconds do not count: transactions live for up to 32 s after
their answer, so until then it grows. Nor is it judged of a short time: a killed process takes its transactions
with it, and whoever is there in its stead begins anew, so the sum goes up and down by a tenth.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeAlias

from soak_load.house import Sample

Points: TypeAlias = list[tuple[float, float]]

SETTLES_S: Final = 45.0
"""A process that is so old forgets as many transactions as it makes."""
_FEWEST: Final = 8
MEMORY_WINDOW_S: Final = 300.0


@dataclass(frozen=True, slots=True)
class Measure:
    """Something that is to stay flat.

    Args:
        name: with its unit.
        of: how much of it a sample has.
        share: the rise over the window that is allowed, as a share of the mean.
        more: and so much more, in its unit.
        window_s: a shorter time is not judged.
        settles_s: from the begin of the run, or of the process's life, until then it may grow.
    """

    name: str
    of: Callable[[Sample], float]
    share: float
    more: float
    window_s: float = 10.0
    settles_s: float = 0.0


MEASURES: Final = (
    Measure("memory, MiB", lambda one: sum(one.memory_mib.values()), 0.10, 8.0, MEMORY_WINDOW_S, SETTLES_S),
    Measure("descriptors of a process", lambda one: sum(one.descriptors.values()) / len(one.descriptors), 0.05, 3.0),
    Measure("files in the folder", lambda one: one.files, 0.05, 3.0),
    Measure("shared memory in files, MiB", lambda one: one.files_mib, 0.10, 4.0, 60.0, SETTLES_S),
    Measure("mapped files of /dev/shm", lambda one: one.mapped, 0.05, 2.0),
    Measure("processes", lambda one: len(one.memory_mib), 0.10, 2.0),
)
OWN_MEMORY: Final = Measure("memory of a process, MiB", lambda one: 0.0, 0.15, 4.0, MEMORY_WINDOW_S, SETTLES_S)


@dataclass(frozen=True, slots=True)
class Trend:
    """How something went.

    Args:
        name: what.
        mean, most: over the window.
        rise: of the line through it, from the window's begin to its end.
        limit: what the rise may be.
        window_s: how long was looked at; 0 where there was not enough to draw a line through.
        judged: whether it was long enough to say that it grows.
    """

    name: str
    mean: float
    most: float
    rise: float
    limit: float
    window_s: float
    judged: bool

    @property
    def grows(self) -> bool:
        """Whether it is not flat."""
        return self.judged and self.rise > self.limit


def slope(points: Sequence[tuple[float, float]]) -> float:
    """Of the line of least squares through points of two moments at least."""
    times, values = [at for at, _ in points], [value for _, value in points]
    return statistics.linear_regression(times, values).slope


def trend(measure: Measure, points: Points) -> Trend:
    """How something went over these points."""
    if len(points) < _FEWEST:
        last = points[-1][1] if points else 0.0
        return Trend(measure.name, last, last, 0.0, 0.0, 0.0, False)
    window_s = points[-1][0] - points[0][0]
    mean = statistics.fmean(value for _, value in points)
    limit = measure.share * mean + measure.more
    judged = window_s >= measure.window_s
    most = max(value for _, value in points)
    return Trend(measure.name, mean, most, slope(points) * window_s, limit, window_s, judged)


def _second_half(measure: Measure, points: Points) -> Trend:
    first, last = points[0][0], points[-1][0]
    begin = max((first + last) / 2, first + measure.settles_s)
    return trend(measure, [point for point in points if point[0] >= begin])


def trends(samples: Sequence[Sample]) -> list[Trend]:
    """Of everything, over the second half; of each process that lived long enough, its own memory over its own."""
    if not samples:
        return []
    whole = [_second_half(measure, [(one.at, float(measure.of(one))) for one in samples]) for measure in MEASURES]
    pids = dict.fromkeys(pid for one in samples for pid in one.memory_mib)
    return whole + [own for pid in pids if (own := own_trend(samples, pid)).judged]


def own_trend(samples: Sequence[Sample], pid: int) -> Trend:
    """The memory of one process over the second half of its life."""
    found = _second_half(OWN_MEMORY, [(one.at, one.memory_mib[pid]) for one in samples if pid in one.memory_mib])
    return replace(found, name=f"memory of PID {pid}, MiB")
