"""A short turn on the CPU, and soon: what a process asks the kernel for whose work comes in pieces and must not wait.

Linux (from 6.12 on) lets a process name the length of its turns, sched_setattr(2). Of several that want a CPU the one
whose turn ends first is served first, so short turns do not get more of the CPU, but get it earlier: whom a message
wakes takes the CPU from a process in the middle of a long turn. Older kernels take the wish and make nothing of it.

That is right as long as there is time between messages. Where each of many requests has a job done, whom a process
takes the CPU from is just about to send it more, a worker in the midst of its answers or a client in the midst of its
requests, and so each message costs it a wake-up, a turn of its loop and a frame of its own. Then it waits like all
others until it is its turn (SCHED_BATCH), and finds several messages.
"""

from __future__ import annotations

import ctypes
import os
import platform
from typing import Final

TURN_S: Final = 0.0001
"""The shortest turn that the kernel gives."""
_BUSY: Final = 0.3
_THRONG_PER_S: Final = 2000.0
_FEW_PER_S: Final = 1250.0
"""Answers throng where so many come in a second, and the process has for such a part of its time something to do. They
do until few come; each of them gives it less to do meanwhile."""

_SYSCALLS: Final = {"x86_64": 314, "aarch64": 274, "riscv64": 274}
"""The number of sched_setattr: of the C libraries only new ones have a function for it."""


class _Attributes(ctypes.Structure):
    """struct sched_attr, as it was first."""

    _fields_ = (
        ("size", ctypes.c_uint32),
        ("policy", ctypes.c_uint32),
        ("flags", ctypes.c_uint64),
        ("nice", ctypes.c_int32),
        ("priority", ctypes.c_uint32),
        ("runtime_ns", ctypes.c_uint64),
        ("deadline_ns", ctypes.c_uint64),
        ("period_ns", ctypes.c_uint64),
    )


def take_short_turns(turn_s: float = TURN_S) -> bool:
    """Ask for short turns for this thread and those that it starts; its priority stays as it is.

    Args:
        turn_s: their length; the kernel takes between 0.1 and 100 ms.

    Returns:
        whether the kernel took the wish. Where it did not, everything works as before, only some messages wait longer.
    """
    return os.sched_getscheduler(0) == os.SCHED_OTHER and _ask(os.SCHED_OTHER, turn_s)


def _ask(policy: int, turn_s: float) -> bool:
    number = _SYSCALLS.get(platform.machine())
    if number is None:
        return False
    wanted = _Attributes(
        size=ctypes.sizeof(_Attributes),
        policy=policy,
        nice=os.getpriority(os.PRIO_PROCESS, 0),
        runtime_ns=round(turn_s * 1e9),
    )
    return bool(ctypes.CDLL(None).syscall(number, 0, ctypes.byref(wanted), 0) == 0)


class Turns:
    """The turns of the calling thread: short ones from now on, and none that it takes from others while answers throng.

    Where the kernel does not take the wish, or the thread gets its CPU time by other rules, everything stays as it is.
    """

    def __init__(self) -> None:
        self._changes = take_short_turns()
        self._are_short = True
        self._looked_at = self._answers = 0.0

    def look(self, busy: float, answers: int, now: float) -> None:
        """Choose anew.

        Args:
            busy: for which part of the time since the last look the thread had something to do.
            answers: how many answers to jobs it has had so far.
            now: CLOCK_MONOTONIC seconds.
        """
        per_s = (answers - self._answers) / max(now - self._looked_at, 0.001)
        self._looked_at, self._answers = now, answers
        if not self._changes:
            return
        if self._are_short and busy >= _BUSY and per_s >= _THRONG_PER_S:
            self._are_short = False
            _ask(os.SCHED_BATCH, 0.0)
        elif not self._are_short and per_s < _FEW_PER_S:
            self._are_short = True
            _ask(os.SCHED_OTHER, TURN_S)
