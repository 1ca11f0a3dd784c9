"""Which targets are probed when: each at a moment of its own within the interval, and none while its last probe waits.

The moment follows from the target's name alone. So ten thousand targets are spread over the interval however they came
to be there, and a process that takes over from one that died goes on in the same rhythm, for all processes of a machine
read one monotonic clock.
"""

from __future__ import annotations

import heapq
import zlib
from collections.abc import Iterable


def moment_after(key: str, interval_s: float, after: float) -> float:
    """The first moment of a target that is later than `after`, in seconds of the monotonic clock."""
    phase = zlib.crc32(key.encode("utf-8", "surrogateescape")) / (1 << 32) * interval_s
    return after + ((phase - after) % interval_s or interval_s)


class Schedule:
    """The targets of one owner.

    Args:
        interval_s: how often each is probed.
    """

    def __init__(self, interval_s: float) -> None:
        self._interval_s = interval_s
        self._waiting: dict[str, float] = {}
        """When each target is due that has no probe under way."""
        self._under_way: dict[str, float] = {}
        """When the probe began, of each that has one. Whoever is in here is not in `_waiting`."""
        self._wanted: set[str] = set()
        """Every waiting target is wanted; one that is under way may be so no more."""
        self._heap: list[tuple[float, str]] = []
        """All of `_waiting` by time, and old entries that are skipped."""

    def want(self, keys: Iterable[str], now: float) -> None:
        """These are to be probed from now on, and no others."""
        wanted = set(keys)
        for key in self._wanted - wanted:
            self._waiting.pop(key, None)
        for key in wanted - self._wanted:
            if key not in self._under_way:
                self._wait(key, now)
        self._wanted = wanted

    def due(self, now: float, most: int) -> list[str]:
        """The targets whose moment has come; their probes are under way from now on.

        Args:
            now: the moment.
            most: how many probes may be under way at once. Those that have to wait go in the order of their moments.
        """
        found: list[str] = []
        while self._heap and self._heap[0][0] <= now and len(self._under_way) < most:
            at, key = heapq.heappop(self._heap)
            if self._waiting.get(key) == at:
                del self._waiting[key]
                self._under_way[key] = now
                found.append(key)
        return found

    def ended(self, key: str, now: float) -> None:
        """The target's probe is over. What was not under way stays as it is."""
        began = self._under_way.pop(key, None)
        if began is not None and key in self._wanted:
            # One that was late does not follow the next too closely.
            self._wait(key, max(now, began + self._interval_s / 2))

    def check(self) -> None:
        """Assert what always holds."""
        assert not self._waiting.keys() & self._under_way.keys()
        assert self._waiting.keys() <= self._wanted <= self._waiting.keys() | self._under_way.keys()
        assert {(at, key) for key, at in self._waiting.items()} <= set(self._heap)

    def _wait(self, key: str, after: float) -> None:
        at = self._waiting[key] = moment_after(key, self._interval_s, after)
        heapq.heappush(self._heap, (at, key))
        if len(self._heap) > 2 * len(self._waiting) + 64:  # targets came and went, and their entries are left
            self._heap = [(at, key) for key, at in self._waiting.items()]
            heapq.heapify(self._heap)
