"""A short turn on the CPU, and soon: what a process asks the kernel for whose work comes in pieces and must not wait.

Linux (from 6.12 on) lets a process name the length of its turns, sched_setattr(2). Of several that want a CPU the one
whose turn ends first is served first, so short turns do not get more of the CPU, but get it earlier: whom a message
wakes takes the CPU from a process in the middle of a long turn. Older kernels take the wish and make nothing of it.
"""

from __future__ import annotations

import ctypes
import os
import platform
from typing import Final

TURN_S: Final = 0.0001
"""The shortest turn that the kernel gives."""

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
    number = _SYSCALLS.get(platform.machine())
    if number is None or os.sched_getscheduler(0) != os.SCHED_OTHER:
        return False
    wanted = _Attributes(
        size=ctypes.sizeof(_Attributes),
        policy=os.SCHED_OTHER,
        nice=os.getpriority(os.PRIO_PROCESS, 0),
        runtime_ns=round(turn_s * 1e9),
    )
    return bool(ctypes.CDLL(None).syscall(number, 0, ctypes.byref(wanted), 0) == 0)
