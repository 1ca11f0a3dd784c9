"""Long work that must not get in the way of calls: it gets a CPU where nobody else wants one.

A priority belongs to a thread on Linux, and one that has been lowered cannot be raised again without a privilege that
a server should not have. So the work is done by a thread that ends with it, while its caller waits: whatever the caller
does next it does at its own priority.

The priority is low, and not the lowest there is (SCHED_IDLE): who works here may hold the lock of a store for some
microseconds, and must not lose its CPU for a second meanwhile, with calls waiting for the lock.
"""

from __future__ import annotations

import contextvars
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Final, TypeVar

NICER: Final = 10
"""By how much: a tenth of the CPU time that calls get where both want it all. They need not wait for the rest."""
_NICEST: Final = 19

_T = TypeVar("_T")


def lower_priority(by: int = NICER) -> None:
    """Let this thread, or this process while it has no other, give way to all that have a higher priority.

    Args:
        by: how much is added to its nice value (setpriority(2)).
    """
    os.setpriority(os.PRIO_PROCESS, 0, min(os.getpriority(os.PRIO_PROCESS, 0) + by, _NICEST))


def in_background(work: Callable[[], _T]) -> _T:
    """Do a piece of work at a low priority, and wait for it. It may raise what it likes.

    It sees the caller's context variables. The caller does nothing meanwhile, so the work may use what is the caller's.
    """
    done: Future[_T] = Future()
    thread = threading.Thread(target=contextvars.copy_context().run, args=(_do, work, done), daemon=True)
    try:
        thread.start()
    except RuntimeError:  # no more threads to be had: it is done all the same
        return work()
    thread.join()
    return done.result()


def _do(work: Callable[[], _T], done: Future[_T]) -> None:
    lower_priority()
    try:
        done.set_result(work())
    except BaseException as error:
        done.set_exception(error)
