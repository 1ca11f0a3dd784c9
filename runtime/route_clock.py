"""Tells which route took too long, and at which statement it stood when its time was over.

What a message costs is two looks at the clock. The statement is found by an alarm that goes while routes run: whoever
finds that the route at hand has run for too long looks up, once, where it stands. With one that is over between two
alarms nobody saw where it was.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from time import monotonic  # not by way of `runtime.clock`: each message asks twice
from types import FrameType
from typing import Final

from runtime.context import Context
from runtime.whereabouts import Statement, statement_on

_SOONEST_S: Final = 0.005
"""Between two alarms."""

TooLong = Callable[[int, Context, Statement | None], object]
"""Told how many microseconds a route took, on what it ran, and at which statement it was seen, if it was."""


class RouteClock:
    """One process's. To be made in its main thread.

    Args:
        limit_us: how many microseconds a route may take.
        too_long: told of each that takes longer, after it.
    """

    def __init__(self, limit_us: int, too_long: TooLong) -> None:
        self._limit_s = limit_us / 1_000_000
        self._period_s = max(_SOONEST_S, self._limit_s / 2)
        self._too_long = too_long
        self._since = 0.0
        """When the outermost route that runs now began; 0 while none does."""
        self._seen: Statement | None = None
        self._is_set = False
        signal.signal(signal.SIGALRM, self._on_alarm)

    def begin(self) -> bool:
        """A route begins; whether `end` is to be called for it, which it is not for one within another."""
        if self._since:
            return False
        if not self._is_set:
            self._is_set = True
            signal.setitimer(signal.ITIMER_REAL, self._period_s, self._period_s)
        self._seen = None
        self._since = monotonic()
        return True

    def end(self, context: Context) -> None:
        """The route on that context has come to its end, or is parked."""
        took_s, self._since = monotonic() - self._since, 0.0
        if took_s > self._limit_s:
            self._too_long(int(took_s * 1_000_000), context, self._seen)

    def close(self) -> None:
        """No alarm goes any more: one that finds no handler kills the process."""
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, signal.SIG_IGN)

    def _on_alarm(self, number: int, frame: FrameType | None) -> None:
        since = self._since
        if not since:
            # Nobody is woken for nothing: the next route sets it again.
            self._is_set = False
            signal.setitimer(signal.ITIMER_REAL, 0)
        elif self._seen is None and monotonic() - since > self._limit_s:
            self._seen = statement_on(frame)
