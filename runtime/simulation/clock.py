"""Time and chance of a simulated machine, in place of the kernel's.

This is the one place that puts something else where Python's own functions were, and it does so in an interpreter that
does nothing but simulate (`python -m runtime.simulation`), before anything of the server is imported there: many
modules take `time.monotonic` out of its module once and for all. So the server itself knows of no clock but the real
one, and pays nothing.
"""

from __future__ import annotations

import gc
import os
import random
import time
from collections.abc import Callable
from typing import Any, Final

BOOT_S: Final = 1000.0
"""CLOCK_MONOTONIC when a run begins."""
EPOCH_S: Final = 1_800_000_000.0
"""Seconds of the epoch when CLOCK_MONOTONIC was 0."""


class Clock:
    """The clock of the simulated machine, as one of its processes sees it.

    Attributes:
        now: CLOCK_MONOTONIC seconds. It stands still while a process does something.
        sleep: waits, in virtual time; set by who can.
    """

    def __init__(self) -> None:
        self.now = BOOT_S
        self.sleep: Callable[[float], None] = self._skip

    @property
    def at_s(self) -> float:
        """Seconds since the run began."""
        return round(self.now - BOOT_S, 9)

    def _skip(self, seconds: float) -> None:
        self.now += seconds


CLOCK: Final = Clock()


class Chance:
    """Where all chance of a simulated process comes from: `os.urandom`, `secrets` and `random`."""

    def __init__(self) -> None:
        self._random = random.Random(0)

    def seed(self, seed: str) -> None:
        """Begin anew; the same seed gives the same chance."""
        self._random.seed(seed)
        random.seed(seed)

    def urandom(self, size: int) -> bytes:
        """As `os.urandom`."""
        return self._random.randbytes(size)


CHANCE: Final = Chance()


def install() -> None:
    """From now on this interpreter lives by `CLOCK` and `CHANCE`. Collections of garbage are nobody's business here."""
    put(time, "monotonic", lambda: CLOCK.now)
    put(time, "perf_counter", lambda: CLOCK.now)
    put(time, "time", lambda: EPOCH_S + CLOCK.now)
    put(time, "monotonic_ns", lambda: round(CLOCK.now * 1e9))
    put(time, "perf_counter_ns", lambda: round(CLOCK.now * 1e9))
    put(time, "time_ns", lambda: round((EPOCH_S + CLOCK.now) * 1e9))
    put(time, "sleep", lambda seconds: CLOCK.sleep(seconds))
    put(os, "urandom", CHANCE.urandom)
    put(random, "_urandom", CHANCE.urandom)
    gc.disable()
    put(gc, "collect", lambda generation=2: 0)


def put(where: Any, name: str, value: Any) -> None:
    """Put something else in the place of a function of a module or a class, for all of this interpreter."""
    setattr(where, name, value)
