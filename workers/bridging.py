"""From other threads to a session that lives in an event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

from workers.session import Session

Result = TypeVar("Result")


class LoopBackend:
    """A session in an event loop, for whoever calls from other threads.

    Args:
        session: attached to the loop.
        loop: the loop that runs in this thread.
    """

    def __init__(self, session: Session, loop: asyncio.AbstractEventLoop) -> None:
        self.session = session
        self._loop = loop
        self._thread = threading.get_ident()

    def run(self, action: Callable[[], Result]) -> Result:
        """Do something to the session in its loop, and wait until it is done."""
        if threading.get_ident() == self._thread:
            return action()
        done: Future[Result] = Future()
        self._loop.call_soon_threadsafe(_do, action, done)
        return done.result()

    def post(self, action: Callable[[], object]) -> None:
        """Do something to the session in its loop, now or soon."""
        if threading.get_ident() == self._thread:
            action()
        else:
            self._loop.call_soon_threadsafe(action)

    def may_block(self) -> None:
        """Raise RuntimeError in the loop's own thread."""
        if threading.get_ident() == self._thread:
            raise RuntimeError(
                "waiting here would stop the event loop that the jobs need; await the futures first, or use "
                "shutdown(wait=False)"
            )

    def sent(self) -> None:
        """Nothing: the loop takes a turn soon."""

    def tell(self, callback: Callable[[], None]) -> None:
        """Call back at once: in a loop, callbacks may do what they like."""
        callback()


def _do(action: Callable[[], Result], done: Future[Result]) -> None:
    try:
        done.set_result(action())
    except BaseException as error:
        done.set_exception(error)
