"""What will happen in a simulated machine, in the order in which it will; and what time it is."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable

from runtime.simulation.clock import BOOT_S


class Agenda:
    """Virtual time: it goes from one thing that is to happen to the next.

    Attributes:
        now: CLOCK_MONOTONIC seconds.
    """

    def __init__(self) -> None:
        self.now = BOOT_S
        self._entries: list[tuple[float, int, Callable[[float], None]]] = []
        self._serials = itertools.count()

    @property
    def at_s(self) -> float:
        """Seconds since the run began."""
        return round(self.now - BOOT_S, 9)

    def later(self, at: float, act: Callable[[float], None]) -> None:
        """Have something happen at a time, and not before what is to happen then already; it is told the time."""
        heapq.heappush(self._entries, (max(at, self.now), next(self._serials), act))

    def advance(self, until_s: float) -> None:
        """Let time go on until so many seconds after the run began."""
        ends, entries = BOOT_S + until_s, self._entries
        while entries and entries[0][0] <= ends:
            at, _, act = heapq.heappop(entries)
            self.now = at
            act(at)
        self.now = max(self.now, ends)
