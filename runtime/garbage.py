"""When a SIP or MI process collects cyclic garbage: while it has nothing else to do, and not in the midst of traffic.

Left to itself CPython looks at every object it knows whenever enough new ones have stayed. With 42,000 transactions
that stops a process for 90 ms, and over time it takes 6 to 12 % of all CPU time. It finds nothing: what a message, a
transaction and a relayed call leave behind holds no cycles, and goes with its last reference (3,000 OPTIONS and 1,000
calls left not one object to collect). What may be left is from rarer things, such as an exception with its traceback.
So the automatic collection is off, and this looks now and then whether there is time for one, or need.

In the MI process it is about the calls, too: a collection comes in the midst of a command, 6 ms long, and the command
may hold the lock of a store just then. All calls wait for that lock.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable
from typing import Final

LOOK_EVERY_S: Final = 5.0
WORTHWHILE: Final = 10_000
"""New objects below which an idle process does not bother."""
PER_HELD: Final = 100
"""Objects that a held transaction may account for. One has 8 to 13, and what its script keeps with it."""
PLENTY: Final = 500_000
"""New objects beyond those that may lie about while there is traffic: some 50 to 100 MB at most."""


def is_due(new_objects: int, held: int) -> bool:
    """Whether to collect now.

    Args:
        new_objects: how many more objects there are than after the last collection.
        held: how many transactions and the like the process holds.
    """
    if held == 0:
        return new_objects >= WORTHWHILE
    return new_objects > PER_HELD * held + PLENTY


class Collector:
    """Collects for one process; its process's automatic collection is off from `begin` on.

    Args:
        loop: the process's.
        held: how many transactions, commands and the like there are now.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, held: Callable[[], int]) -> None:
        self._loop = loop
        self._held = held
        self._timer: asyncio.TimerHandle | None = None

    def begin(self) -> None:
        """Take over. What is there by now stays, and is never looked at again."""
        gc.disable()
        gc.collect()
        gc.freeze()
        self._timer = self._loop.call_later(LOOK_EVERY_S, self._look)

    def close(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()

    def _look(self) -> None:
        if is_due(gc.get_count()[0], self._held()):
            gc.collect()
        self._timer = self._loop.call_later(LOOK_EVERY_S, self._look)
