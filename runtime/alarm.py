"""One timer of the loop for all timers of a table: rung when the earliest of them is due."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from runtime.clock import monotonic_now

_GRAIN_S: Final = 0.001
"""What is added to the deadline: timers of a loop count in milliseconds, and must not turn on the spot before it."""
_REST_S: Final = 0.01
"""How long after one ring the next comes at the earliest. Under load some timer is due in every tick of the wheel, 256
times a second; to wake up, and take a turn of the loop, for each costs more than what is done then."""


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
        self._rests_until = float("-inf")

    def set(self, deadline: float | None) -> None:
        """Ring at `deadline` (CLOCK_MONOTONIC, seconds) where it is not to ring before; None changes nothing.

        Where it has only just rung it may be up to `_REST_S` late.
        """
        if deadline is None or deadline >= self._at:
            return
        at = max(deadline, self._rests_until)
        if at >= self._at:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._at = at
        self._timer = self._loop.call_later(max(0.0, at - monotonic_now()) + _GRAIN_S, self._rung)

    def _rung(self) -> None:
        self._timer, self._at = None, float("inf")
        self._rests_until = monotonic_now() + _REST_S
        self._ring()
