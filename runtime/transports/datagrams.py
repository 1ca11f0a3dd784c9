"""One datagram taken from a socket, and one given to it: in Python, and compiled where that is there.

The compiled one (`syscalls.pyx`) does the same in 0.9 instead of 2.0 us for one that is taken, and in 2.8 instead of
3.1 for one that is given, of which the kernel needs 0.6 and 2.5. Only a socket of the kernel's can be read so; what
stands in for one, as the simulated machine's does, is read in Python.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable
from functools import partial
from time import time_ns
from typing import Final, Protocol, TypeAlias

from runtime.compiled import is_compiled
from runtime.context import Address
from runtime.handover import READING, Marks
from runtime.sip.reading import LATE_S

_COMPILED: Final = is_compiled("runtime.transports.syscalls")
if _COMPILED:
    from runtime.transports import syscalls

SO_TIMESTAMPNS: Final = 35
"""Of asm-generic/socket.h: the kernel says when it received a datagram. Python's `socket` does not have it."""
_TIMESPEC: Final = struct.Struct("@ll")
_LATE_NS: Final = int(LATE_S * 1e9)
_STAMP_SPACE: Final = socket.CMSG_SPACE(_TIMESPEC.size)
_MAX_DATAGRAM: Final = 65_535

Send: TypeAlias = Callable[[bytes, Address], bool]
"""Sends a datagram; False when the kernel would not take it (SIP's retransmissions make up for that)."""


class Intake(Protocol):
    """What takes the datagrams of one socket.

    Attributes:
        late: how many of those that it took had lain for longer than `LATE_S`; who asks sets it back.
    """

    late: int

    def take(self) -> tuple[bytes, Address] | None:
        """The next datagram and its sender; None where there is nothing, or another process was faster.

        This process's mark says from the call on that it reads, then what it looks at; `Marks.through` is the
        caller's. None also for a peer's ICMP answer to something that was sent before: UDP has no connection.

        Raises:
            OSError: the socket cannot be read.
        """


class PlainIntake:
    """An intake in Python; see `Intake`.

    Args:
        sock: what is read; it must not block.
        marks: told what this process is looking at.
    """

    __slots__ = ("_marks", "_recvmsg", "late")

    def __init__(self, sock: socket.socket, marks: Marks) -> None:
        self._recvmsg = sock.recvmsg
        self._marks = marks
        self.late = 0

    def take(self) -> tuple[bytes, Address] | None:
        """See `Intake.take`."""
        marks = self._marks
        marks.reading()
        try:
            data, stamps, _, source = self._recvmsg(_MAX_DATAGRAM, _STAMP_SPACE)
        except (BlockingIOError, InterruptedError, ConnectionError):
            marks.through()
            return None
        except OSError:
            marks.through()
            raise
        # Without a stamp nobody waits for this one, and it waits for nobody.
        stamp = _stamp_of(stamps[0][2]) if stamps else 0
        marks.looking(stamp)
        if stamp and time_ns() - stamp > _LATE_NS:
            self.late += 1
        return data, Address(source[0], source[1])


def intake_of(sock: socket.socket, marks: Marks) -> Intake:
    """What takes the datagrams of a socket, which must not block."""
    if _COMPILED and type(sock) is socket.socket:
        return syscalls.Intake(sock.fileno(), marks.cell(), Address, _LATE_NS, SO_TIMESTAMPNS, READING)
    return PlainIntake(sock, marks)


def sending_to(sock: socket.socket) -> Send:
    """What sends from a socket, which must not block."""
    plain = partial(_send, sock)
    if _COMPILED and type(sock) is socket.socket:
        return syscalls.Outlet(sock.fileno(), sock.family, plain).send
    return plain


def _send(sock: socket.socket, data: bytes, to: Address) -> bool:
    try:
        sock.sendto(data, (to.host, to.port))
    except OSError:
        return False
    return True


def _stamp_of(packed: bytes) -> int:
    """When the kernel received a datagram, in nanoseconds: the content of SCM_TIMESTAMPNS."""
    seconds, nanoseconds = _TIMESPEC.unpack(packed)
    return int(seconds * 1_000_000_000 + nanoseconds)
