"""The steps of the protocol between processes, by name; and a process that dies, or stands still, at one of them.

What a pool promises must hold wherever a process dies, so a test has to be able to have one die there: after the board
was told and before the job is sent, with the answer made and nothing of it on its way. The shells name these places by
decorating the function before or after which each of them lies. With `VARIABLE` unset, which is the rule, a decorator
gives back the very function that it was given: then a step costs nothing at all.

With it set when the program starts, it names a file, and whoever comes to a step looks whether an order lies there::

    worker-*:answer made:3:KILL

The third time that a process whose name matches comes to that step after the order was given, it takes the order away
and sends itself the signal: KILL to die, STOP to stand still until somebody sends CONT. To take it away is to rename
it, which only one can do: an order fells one process, however many match. It is to be put there by a rename as well.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from enum import StrEnum
from fnmatch import fnmatchcase
from functools import wraps
from typing import Final, ParamSpec, TypeVar

from msgspec import Struct

VARIABLE: Final = "LAYBY_FAULT_AT"
"""The environment variable that names the file with the order."""

ATTENDANT: Final = "attendant"
PROGRAM: Final = "program"
"""What a process is called that is no part of a tree: one that has joined a pool."""

_FILE: Final = os.environ.get(VARIABLE)

_P = ParamSpec("_P")
_R = TypeVar("_R")


class Step(StrEnum):
    """Where a process of a pool can be. Those of a floor above are that floor's to name."""

    # An origin, in the order in which they come.
    JOB_SUBMITTED = "job submitted"
    BOARD_TOLD = "board told"
    JOB_PUT_DOWN = "job put down"
    FRAME_MADE = "frame made"
    FRAME_SENT = "frame sent"
    ANSWER_RECEIVED = "answer received"
    SETTLED = "settled"
    DEADLINE_SEEN = "deadline seen"
    CANCEL_ASKED = "cancel asked"
    LOSS_HEARD = "loss heard"

    # A worker. What it has to say goes by FRAME_MADE and FRAME_SENT, too.
    JOB_RECEIVED = "job received"
    JOB_BEGUN = "job begun"
    ANSWER_MADE = "answer made"
    ANSWER_PUT_DOWN = "answer put down"
    RUN_COUNTED = "run counted"
    WITHDRAWAL_HEARD = "withdrawal heard"

    # A process at its beginning and its end.
    BORN = "born"
    SET_UP = "set up"
    READY_SAID = "ready said"
    ATTENDANT_HEARD = "attendant heard"
    LEAVING = "leaving"

    # The attendant.
    DEATH_SEEN = "death seen"
    REAPED = "reaped"
    ROWS_CLEARED = "rows cleared"
    PEER_TOLD = "peer told"
    FORK_DUE = "fork due"
    FORKED = "forked"
    PROCESS_HEARD = "process heard"


class Order(Struct, frozen=True):
    """Who is to get which signal, where, and the how manieth time that he comes there.

    Args:
        who: a pattern of process names, as the shell's; beside those of a tree there are `ATTENDANT` and `PROGRAM`.
        step: the name of a step.
        times: from 1.
        number: the signal.
    """

    who: str
    step: str
    times: int = 1
    number: int = signal.SIGKILL

    def __str__(self) -> str:
        return f"{self.who}:{self.step}:{self.times}:{signal.Signals(self.number).name.removeprefix('SIG')}"


def read_order(text: str) -> Order:
    """Read an order back.

    Raises:
        ValueError: it is none.
    """
    parts = text.strip().split(":")
    number = signal.Signals.__members__.get(f"SIG{parts[-1]}")
    if len(parts) != 4 or not parts[2].isdecimal() or number is None:
        raise ValueError(f"not an order: {text!r}")
    return Order(parts[0], parts[1], int(parts[2]), number)


class _Obedient:
    """This process, as the orders see it."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._name = PROGRAM
        self._given: tuple[int, int] | None = None
        self._came = 0

    def enter(self, name: str) -> None:
        self._name, self._given, self._came = name, None, 0

    def reached(self, step: str) -> None:
        """Look for an order, and follow it."""
        try:
            with open(self._path) as file:
                given, text = os.fstat(file.fileno()), file.read()
        except OSError:
            return
        order = read_order(text)
        if step != order.step or not fnmatchcase(self._name, order.who):
            return
        if self._given != (given.st_ino, given.st_mtime_ns):
            self._given, self._came = (given.st_ino, given.st_mtime_ns), 0
        self._came += 1
        if self._came == order.times and self._takes_it():
            os.kill(os.getpid(), order.number)

    def _takes_it(self) -> bool:
        try:
            os.rename(self._path, f"{self._path}.{os.getpid()}")
        except OSError:
            return False  # somebody else was first
        return True


_me: Final = None if _FILE is None else _Obedient(_FILE)


def enter(name: str) -> None:
    """From now on this process is called so."""
    if _me is not None:
        _me.enter(name)


def before(step: str) -> Callable[[Callable[_P, _R]], Callable[_P, _R]]:
    """Name the step that lies before a function."""

    def named(function: Callable[_P, _R]) -> Callable[_P, _R]:
        if _me is None:
            return function
        reached = _me.reached

        @wraps(function)
        def told(*args: _P.args, **kwargs: _P.kwargs) -> _R:
            reached(step)
            return function(*args, **kwargs)

        return told

    return named


def after(step: str) -> Callable[[Callable[_P, _R]], Callable[_P, _R]]:
    """Name the step that lies after a function; one that gives back False has not done it."""

    def named(function: Callable[_P, _R]) -> Callable[_P, _R]:
        if _me is None:
            return function
        reached = _me.reached

        @wraps(function)
        def told(*args: _P.args, **kwargs: _P.kwargs) -> _R:
            result = function(*args, **kwargs)
            if result is not False:
                reached(step)
            return result

        return told

    return named
