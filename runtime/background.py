"""Long work that must not get in the way of calls: it gets a CPU where nobody else wants one.

A priority belongs to a thread on Linux, and one that has been lowered cannot be raised again without a privilege that
a server should not have. So the work is done by a thread that ends with it, while its caller waits: whatever the caller
does next it does at its own priority.

In the background the priority is low, and not the lowest there is: who works there may hold the lock of a store for
some microseconds, and must not lose its CPU for a second meanwhile, with calls waiting for the lock. What holds no lock
is done at leisure (SCHED_IDLE, with pauses): to the kernel a CPU that does only that is free, so whom a message wakes
gets it, and does not wait for another process that serves calls.
"""

from __future__ import annotations

import contextvars
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Final, TypeVar

NICER: Final = 10
"""By how much: a tenth of the CPU time that calls get where both want it all. They need not wait for the rest."""
_NICEST: Final = 19

_LONGEST_PAUSE_S: Final = 0.01

_T = TypeVar("_T")
_here = threading.local()


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
    return _in_thread(work, _go_into_background)


def at_leisure(work: Callable[[], _T]) -> _T:
    """Do a long part of what is done in the background, one that holds no lock: in CPU time that nobody else wants.

    Outside of the background it is done as it is.
    """
    return _in_thread(work, _take_leisure) if getattr(_here, "in_background", False) else work()


def breathe() -> None:
    """Called about every millisecond by work that may be done at leisure: there it pauses for as long as it went on.

    A CPU that is never free makes the kernel put all others onto those that are left, whatever it is that it does.
    """
    since_s = getattr(_here, "at_leisure_since_s", None)
    if since_s is not None:
        time.sleep(min(time.monotonic() - since_s, _LONGEST_PAUSE_S))
        _here.at_leisure_since_s = time.monotonic()


def give_way() -> None:
    """Let whoever else waits for this CPU have it now: called every some tenths of a millisecond in the midst of work.

    The kernel looks at a turn's length only at its clock's ticks, which are milliseconds apart, so whoever has a low
    priority, too, keeps the CPU that long once it has been chosen. Costs 0.3 us where nobody waits.
    """
    os.sched_yield()


def _go_into_background() -> None:
    _here.in_background = True
    lower_priority()


def _take_leisure() -> None:
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    _here.at_leisure_since_s = time.monotonic()


def _in_thread(work: Callable[[], _T], prepare: Callable[[], None]) -> _T:
    done: Future[_T] = Future()
    run = contextvars.copy_context().run
    thread = threading.Thread(target=run, args=(_do, work, prepare, done), daemon=True)
    try:
        thread.start()
    except RuntimeError:  # no more threads to be had: it is done all the same
        return work()
    thread.join()
    return done.result()


def _do(work: Callable[[], _T], prepare: Callable[[], None], done: Future[_T]) -> None:
    prepare()
    try:
        done.set_result(work())
    except BaseException as error:
        done.set_exception(error)
