"""What the kernel says of a thread's turns on the CPU: sched_getattr(2), as seen from outside."""

from __future__ import annotations

import ctypes
import os
import platform
from typing import Final

_SYSCALLS: Final = {"x86_64": 315, "aarch64": 275, "riscv64": 275}
_FIRST_SIZE: Final = 48
_RUNTIME: Final = slice(24, 32)


def turn_s(tid: int = 0) -> float | None:
    """How long a turn of a thread is, 0 for the caller's; None where the kernel does not tell (before Linux 6.12)."""
    number = _SYSCALLS.get(platform.machine())
    if number is None or _kernel() < (6, 12):
        return None
    attributes = ctypes.create_string_buffer(_FIRST_SIZE)
    told = ctypes.CDLL(None, use_errno=True).syscall(number, tid, attributes, _FIRST_SIZE, 0)
    assert told == 0, os.strerror(ctypes.get_errno())
    return int.from_bytes(attributes.raw[_RUNTIME], "little") / 1e9


def _kernel() -> tuple[int, int]:
    major, minor = os.uname().release.split(".")[:2]
    return int(major), int(minor.partition("-")[0])
