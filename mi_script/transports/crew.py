"""A bounded number of tasks, for transports whose clients do not wait for each other."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, TypeAlias

log = logging.getLogger("layby.mi")

Work: TypeAlias = Callable[[], Coroutine[Any, Any, None]]


class Crew:
    """Runs what it is given, started in that order, at most so much at once.

    Args:
        most: how many may run at once.
        on_full: called with True when more than that is there, so that its source stops reading, and with False
            when there is room again.
    """

    def __init__(self, most: int, on_full: Callable[[bool], None]) -> None:
        self._most = most
        self._on_full = on_full
        self._waiting: deque[Work] = deque()
        self._running: set[asyncio.Task[None]] = set()
        self._full = False
        self._closed = False

    def take(self, work: Work) -> None:
        """Run this as soon as there is room."""
        self._waiting.append(work)
        self._start()

    async def close(self, within_s: float) -> None:
        """Let all that was taken end within so many seconds; cancel the rest."""
        self._closed = True
        deadline = asyncio.get_running_loop().time() + within_s
        while self._running and (left_s := deadline - asyncio.get_running_loop().time()) > 0:
            await asyncio.wait(self._running, timeout=left_s, return_when=asyncio.FIRST_COMPLETED)
        self._waiting.clear()
        running = list(self._running)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    def _start(self) -> None:
        while self._waiting and len(self._running) < self._most:
            task = asyncio.get_running_loop().create_task(self._waiting.popleft()())
            self._running.add(task)
            task.add_done_callback(self._ended)
        if self._full != bool(self._waiting) and not self._closed:
            self._full = bool(self._waiting)
            self._on_full(self._full)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("an MI command could not be answered", exc_info=task.exception())
        self._start()
