"""Timers by the hundred thousand (RFC 3261 needs one or two for every transaction).

A sparse wheel: time is cut into ticks, a dict maps each tick that has timers to those timers, and a heap holds the
ticks themselves. Starting and cancelling are each one dict operation however many timers there are; the heap sees a
tick once, not each timer. A cancelled timer is gone at once, with its item: in a heap of timers it would lie about
until its time comes, and nearly every transaction timer is cancelled.
"""

from __future__ import annotations

import math
from heapq import heappop, heappush
from itertools import count
from typing import Final, Generic, NewType, TypeVar

Item = TypeVar("Item")
Handle = NewType("Handle", int)
"""A timer's tick, and in the last bits its serial, by which its tick has it: a tuple of the two took 90 bytes more.
Only these bits of serials are used, which begin anew after 4 billion timers: no two of one tick are so far apart."""

_SERIAL_BITS: Final = 32
_SERIALS: Final = (1 << _SERIAL_BITS) - 1
TICKS_PER_SECOND: Final = 256
"""A power of two, so that ticks convert to seconds and back without rounding."""


class Wheel(Generic[Item]):
    """Timers that fire at their tick or later, never early, at most 1/256 s late.

    They fire in the order of their ticks; within a tick in the order in which they were started.
    """

    __slots__ = ("_due", "_serials", "_ticks", "is_sooner")

    def __init__(self) -> None:
        self._ticks: dict[int, dict[Handle, Item]] = {}
        """Every tick that ever had a timer and has not passed; its dict may be empty after cancelling."""
        self._due: list[int] = []
        """A heap of exactly the keys of `_ticks`."""
        self._serials = count()
        self.is_sooner = False
        """Whether some timer is due before what `next_deadline` has said last. Under load hardly one in a hundred is:
        who asks only then saves three calls for each timer."""

    def __len__(self) -> int:
        return sum(map(len, self._ticks.values()))

    def start(self, now: float, delay_s: float, item: Item) -> Handle:
        """Start a timer.

        Args:
            now: CLOCK_MONOTONIC in seconds.
            delay_s: not negative.
            item: what `expired` gives back.

        Returns:
            what cancels it.
        """
        tick = math.ceil((now + delay_s) * TICKS_PER_SECOND)
        handle = Handle(tick << _SERIAL_BITS | next(self._serials) & _SERIALS)
        timers = self._ticks.get(tick)
        if timers is None:
            self._ticks[tick] = {handle: item}
            heappush(self._due, tick)
            self.is_sooner = self.is_sooner or self._due[0] == tick
        else:
            timers[handle] = item
        return handle

    def cancel(self, handle: Handle) -> bool:
        """Stop a timer; False when it has fired or was cancelled before."""
        timers = self._ticks.get(handle >> _SERIAL_BITS)
        return timers is not None and timers.pop(handle, _GONE) is not _GONE

    def expired(self, now: float) -> list[Item]:
        """Take out every timer whose time has come.

        Args:
            now: CLOCK_MONOTONIC in seconds.
        """
        last = math.floor(now * TICKS_PER_SECOND)
        items: list[Item] = []
        while self._due and self._due[0] <= last:
            items.extend(self._ticks.pop(heappop(self._due)).values())
        return items

    def next_deadline(self) -> float | None:
        """When `expired` has something next, in seconds of CLOCK_MONOTONIC; None without timers."""
        self.is_sooner = False
        while self._due:
            if self._ticks[self._due[0]]:
                return self._due[0] / TICKS_PER_SECOND
            del self._ticks[heappop(self._due)]
        return None

    def check(self) -> None:
        """Assert the invariants."""
        assert sorted(self._due) == sorted(self._ticks)
        assert all(self._due[(at - 1) // 2] <= tick for at, tick in enumerate(self._due) if at)


_GONE: Final = object()
