"""What a parked context waits for that is no job: a future of the process's own loop, as Python scripts may await one.

It ends as a job does: done, past its time, or by a CANCEL, whichever comes first, and its end is told once, from a turn
of the loop of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from runtime.context import Context
from workers.jobs import Cancelled, Outcome, TimedOut


@dataclass(frozen=True, slots=True)
class FutureRequest:
    """What is waited for.

    Args:
        future: of the loop of the process that waits.
        timeout_s: seconds until it is given up, and cancelled.
        finish: takes how it ended, None where it is done, and gives `$rc`.
    """

    future: asyncio.Future[Any]
    timeout_s: float
    finish: Callable[[Context, Outcome | None], int]


class FutureWait:
    """One wait for a future.

    Args:
        loop: the process's.
        wanted: what is waited for.
        settled: told once how it ended, None where the future is done.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, wanted: FutureRequest, settled: Callable[[Outcome | None], None]
    ) -> None:
        self._loop = loop
        self._future = wanted.future
        self._settled: Callable[[Outcome | None], None] | None = settled
        self._timer = loop.call_later(wanted.timeout_s, self._end, TimedOut(wanted.timeout_s))
        self._future.add_done_callback(self._done)

    def cancel(self) -> None:
        """End the wait in the next turn of the loop."""
        self._loop.call_soon(self._end, Cancelled("CANCEL"))

    def close(self) -> bool:
        """Give the future up, and tell nobody; False where its end has been told."""
        settled, self._settled = self._settled, None
        if settled is None:
            return False
        self._timer.cancel()
        self._future.cancel()
        return True

    def _done(self, future: asyncio.Future[Any]) -> None:
        self._end(None)

    def _end(self, ending: Outcome | None) -> None:
        settled, self._settled = self._settled, None
        if settled is None:
            return
        self._timer.cancel()
        if ending is not None:
            self._future.cancel()
        settled(ending)
