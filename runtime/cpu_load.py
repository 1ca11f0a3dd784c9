"""How busy each process is: the share of CPU time that it had in the last second, minute and ten minutes."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final, NamedTuple

WINDOWS_S: Final = (1, 60, 600)
"""What `Load` tells about, in this order."""


class Load(NamedTuple):
    """Percent of one CPU: in the last second, minute, and ten minutes, or since the process is watched."""

    now: int = 0
    minute: int = 0
    ten_minutes: int = 0


class Seen(NamedTuple):
    """A process in its slot: its PID (0 for none) and the CPU time that it has had."""

    pid: int
    cpu_s: float


class Meter:
    """Makes loads of what was seen once a second.

    A process that is replaced goes on with its predecessor's account: the slot was as busy as the two were.

    Args:
        slots: how many processes.
    """

    def __init__(self, slots: int) -> None:
        self._last = [Seen(0, 0.0)] * slots
        self._busy = [0.0] * slots
        """Seconds of CPU time in each slot since it is watched."""
        self._samples: deque[tuple[float, list[float]]] = deque(maxlen=WINDOWS_S[-1] + 1)
        """When, and `_busy` then."""

    def add(self, now: float, seen: Sequence[Seen]) -> list[Load]:
        """What each slot's load is.

        Args:
            now: seconds of the monotonic clock, later than before.
            seen: one for each slot.
        """
        for slot, (pid, cpu_s) in enumerate(seen):
            last = self._last[slot]
            if self._samples and pid:
                self._busy[slot] += max(0.0, cpu_s - (last.cpu_s if last.pid == pid else 0.0))
        self._last = list(seen)
        self._samples.append((now, self._busy.copy()))
        columns = [self._percents(now, window_s) for window_s in WINDOWS_S]
        return [Load(*row) for row in zip(*columns, strict=True)]

    def _percents(self, now: float, window_s: int) -> list[int]:
        # One sample a second: that many back, or the first.
        then, busy = self._samples[max(0, len(self._samples) - 1 - window_s)]
        if then >= now:
            return [0] * len(busy)
        return [round(100 * (after - before) / (now - then)) for before, after in zip(busy, self._busy, strict=True)]
