"""What is measured, as data: which ways of calling the command, on what server, under which load. No I/O."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import product
from typing import Annotated, Final

from msgspec import Meta, Struct

FLAVOURS: Final = ("none", "mi", "async", "launch", "gather")
"""The ways in which the built-in script calls the command; ``none`` is the same traffic without any."""
OWN: Final = "script"
"""The one flavour of a script that does not ask for any: what it does, it does."""
GENERATORS: Final = ("auto", "own", "sipp")

_MAX_WORKERS: Final = 64
_MAX_MS: Final = 10_000.0
START_S: Final = 1.2
"""What a server takes to start and to stop, about; for the expected time."""
WARM_UP_S: Final = 0.5
POINT_S: Final = 0.6
"""What a load takes beyond its seconds: its generator's start, and the last answers."""
_LIKELY_KNEE_PER_S: Final = 5_000.0
_BISECTIONS: Final = 2


class Cell(Struct, frozen=True, order=True):
    """One way of calling the command on one server.

    Args:
        flavour: how it is called: one of `FLAVOURS`, or a word of the user's own script.
        workers: the server's processes for jobs; 0 lets its SIP processes run each other's.
        duration_ms: how long the command takes; 0 where that is for the command to say.
        share: which share of the requests calls it, 0 to 1.
    """

    flavour: str
    workers: Annotated[int, Meta(ge=0, le=_MAX_WORKERS)]
    duration_ms: Annotated[float, Meta(ge=0, le=_MAX_MS)]
    share: Annotated[float, Meta(ge=0, le=1)]

    def __str__(self) -> str:
        if not self.share:
            return self.flavour
        workers = "" if self.flavour == "mi" else f"{self.workers} worker{'' if self.workers == 1 else 's'}"
        duration = f"{self.duration_ms:g} ms" if self.duration_ms else ""
        return ", ".join(filter(None, [self.flavour, workers, duration, f"{100 * self.share:g} %"]))


class Asked(Struct, frozen=True):
    """What the user wants to know.

    Args:
        script: path of the user's own script; None for the built-in one.
        flavours, workers, durations_ms, shares: what is swept; see `Cell`.
        rates_per_s: which rates are offered; without any, the knee is looked for.
        from_per_s, to_per_s: where that begins, and where it ends if nothing else ends it.
        slo_ms: which p99 of the fast requests is too much; None for ten times that at the lowest rate.
        seconds: how long each load lasts.
        runs: how often everything is measured.
        seed: of the places of the slow requests among the others.
        sip_processes: how many the server has.
        command: the MI command; ``{ms}`` in it stands for the duration.
        gathered: how many of it `gather` asks for with one wait.
        user, slow_user: whom the requests ask for that need no command, and those that do.
        request: what they look like, with keywords; see `runtime.traffic.request`.
        accept: which statuses are answers as wanted, as in ``2xx,404``.
        generator: who finds the rate at saturation: ``own``, ``sipp``, or ``auto`` for sipp where it is installed.
        generators: how many processes offer the loads between them.

    Raises:
        ValueError: a number is out of its range, or nothing is asked for.
    """

    script: str | None = None
    flavours: tuple[str, ...] = FLAVOURS
    workers: tuple[int, ...] = (4,)
    durations_ms: tuple[float, ...] = (50.0,)
    shares: tuple[float, ...] = (0.05,)
    rates_per_s: tuple[float, ...] = ()
    from_per_s: float = 250.0
    to_per_s: float = 32_000.0
    slo_ms: float | None = None
    seconds: float = 2.0
    runs: int = 3
    seed: int = 20
    sip_processes: int = 4
    command: str = "bench_sleep {ms}"
    gathered: int = 2
    user: str = "fast"
    slow_user: str = "slow"
    request: str = ""
    accept: str = "2xx"
    generator: str = "auto"
    generators: int = 1

    @property
    def durations(self) -> tuple[float, ...]:
        """The durations that make a difference: to a command that is not told of them there is but one, 0."""
        return self.durations_ms if self.script is not None or "{ms}" in self.command else (0.0,)

    def __post_init__(self) -> None:
        for good, told in self._conditions():
            if not good:
                raise ValueError(told)

    def _conditions(self) -> Iterator[tuple[bool, str]]:
        if self.script is None:
            yield set(self.flavours) <= set(FLAVOURS), f"flavours of the built-in script are {', '.join(FLAVOURS)}"
        yield all((self.flavours, self.workers, self.durations_ms, self.shares)), "there is nothing to measure"
        yield all(0 <= each <= _MAX_WORKERS for each in self.workers), f"job workers: 0 to {_MAX_WORKERS}"
        yield all(0 < each <= _MAX_MS for each in self.durations_ms), f"the command takes up to {_MAX_MS:g} ms"
        yield all(0 <= each <= 1 for each in self.shares), "share of the requests: 0 to 100 %"
        yield all(1 <= each <= 100_000 for each in self.rates_per_s), "rates: 1 to 100000 requests/s"
        yield 1 <= self.from_per_s <= self.to_per_s <= 100_000, "the knee is looked for between 1 and 100000 requests/s"
        yield self.slo_ms is None or 0 < self.slo_ms <= 60_000, "the p99 that is too much: up to 60000 ms"
        yield 0.1 <= self.seconds <= 600, "seconds of each load: 0.1 to 600"
        yield 1 <= self.runs <= 100, "runs: 1 to 100"
        yield 1 <= self.sip_processes <= _MAX_WORKERS, f"SIP processes: 1 to {_MAX_WORKERS}"
        yield 1 <= self.gathered <= 16, "gathered commands: 1 to 16"
        yield self.generator in GENERATORS, f"generators are {', '.join(GENERATORS)}"
        yield 1 <= self.generators <= 64, "generators: 1 to 64"


def cells(asked: Asked) -> list[Cell]:
    """What is swept, each once, those that differ least beside each other.

    Without calls nothing else makes a difference, and `mi()` runs where the script runs, whatever workers there are.
    """
    swept = product(asked.durations, asked.shares, asked.workers, asked.flavours)
    found = (Cell(flavour, workers, duration_ms, share) for duration_ms, share, workers, flavour in swept)
    return list(dict.fromkeys(_plain(cell, asked) for cell in found))


def _plain(cell: Cell, asked: Asked) -> Cell:
    if cell.flavour == "none" or not cell.share:
        own = asked.script is not None and cell.flavour != "none"
        return Cell(cell.flavour if own else "none", asked.workers[0], 0.0, 0.0)
    if cell.flavour == "mi":
        return Cell("mi", asked.workers[0], cell.duration_ms, cell.share)
    return cell


def order(found: Sequence[Cell], run: int) -> list[Cell]:
    """In which order run number `run` (from 0) takes them: to and fro, so that a machine that grows slower, or
    quicker, does so to all alike."""
    return list(found if run % 2 == 0 else reversed(found))


def expected_points(asked: Asked) -> int:
    """How many loads one cell takes, about: until the knee is found, nobody knows."""
    if asked.rates_per_s:
        return len(asked.rates_per_s)
    top = max(asked.from_per_s, min(asked.to_per_s, _LIKELY_KNEE_PER_S))
    return math.ceil(math.log2(top / asked.from_per_s)) + 2 + _BISECTIONS


def expected_cell_s(asked: Asked) -> float:
    """How many seconds one cell takes in one run, about."""
    return START_S + WARM_UP_S + POINT_S + expected_points(asked) * (asked.seconds + POINT_S)


def expected_s(asked: Asked) -> float:
    """How many seconds all of it takes, about."""
    return asked.runs * len(cells(asked)) * expected_cell_s(asked)


def numbers(text: str) -> tuple[float, ...]:
    """A list with commas: ``0.1,5,50``.

    Raises:
        ValueError: something in it is no finite number, or there is none.
    """
    found = tuple(float(word) for word in text.split(",") if word.strip())
    if not found or not all(map(math.isfinite, found)):
        raise ValueError(f"{text!r} is no list of numbers")
    return found
