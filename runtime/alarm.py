"""One timer of the loop for all timers of a table: rung when the earliest of them is due."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from runtime.clock import monotonic_now

_GRAIN_S: Final = 0.001
"""What is added to the deadline: timers of a loop count in milliseconds, and must not turn on the spot before it."""


class Alarm:
    """Rings once for each time that it was set to.

    Args:
        loop: this process's.
        ring: called when it is time.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, ring: Callable[[], None]) -> None:
        self._loop = loop
        self._ring = ring
        self._timer: asyncio.TimerHandle | None = None
        self._at = float("inf")

    def set(self, deadline: float | None) -> None:
        """Ring at `deadline` (CLOCK_MONOTONIC, seconds) where it is not to ring before; None changes nothing."""
        if deadline is None or deadline >= self._at:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._at = deadline
        self._timer = self._loop.call_later(max(0.0, deadline - monotonic_now()) + _GRAIN_S, self._rung)

    def _rung(self) -> None:
        self._timer, self._at = None, float("inf")
        self._ring()
