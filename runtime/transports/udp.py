"""UDP: datagrams read from the shared sockets by whichever process is free (RFC 3261 section 18)."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Sequence
from functools import partial
from time import monotonic, time_ns
from typing import Final

from runtime.context import Address
from runtime.handover import Marks
from runtime.sip.reading import LATE_S
from runtime.sip_loop import SipLoop
from runtime.transports.base import ListenSocket, OnMessage

_TIMESPEC: Final = struct.Struct("@ll")
_BURST_S: Final = 0.00005
"""When there is something to read again so soon, it has been there already."""
_LATE_NS: Final = int(LATE_S * 1e9)
STAMP_SPACE: Final = socket.CMSG_SPACE(_TIMESPEC.size)
MAX_DATAGRAM: Final = 65_535
BATCH: Final = 64
"""Datagrams read in one turn of the loop, so that answers and timers get theirs."""


class Datagrams:
    """This process's reading of the UDP sockets.

    A reader and a drain without blocking: a datagram costs 5.3 us so, and 21.7 as a DatagramProtocol.

    Args:
        sockets: the UDP ones.
        loop: the process's.
        on_message: told of each datagram.
        marks: tells the other processes what this one is looking at.
        took: told how many datagrams were read.
    """

    def __init__(
        self,
        sockets: Sequence[ListenSocket],
        loop: SipLoop,
        on_message: OnMessage,
        marks: Marks,
        took: Callable[[int], None],
    ) -> None:
        self._sockets = sockets
        self._loop = loop
        self._on_message = on_message
        self._marks = marks
        self._took = took
        self._read = 0
        self._late = 0
        self._came = 0.0
        """When the last datagram had been dealt with that may not have been the last to lie there."""

    def tell(self, on_message: OnMessage) -> None:
        """Tell somebody else of each datagram from now on."""
        self._on_message = on_message

    def take_counts(self) -> tuple[int, int]:
        """How many datagrams were read since this was last asked, and how many of them were late."""
        counts = self._read, self._late
        self._read = self._late = 0
        return counts

    def filenos(self) -> list[int]:
        """The descriptors of the sockets."""
        return [one.sock.fileno() for one in self._sockets]

    def open(self) -> None:
        """Read from now on."""
        for one in self._sockets:
            self._loop.add_direct(one.sock.fileno(), partial(self._receive, one), exclusive=True)

    def close(self) -> None:
        """Read no more; the sockets stay open, for they are everybody's."""
        for one in self._sockets:
            self._loop.remove_direct(one.sock.fileno())

    def drain(self) -> None:
        """Read what is there, without being called."""
        for one in self._sockets:
            self._came = monotonic()
            self._receive(one)

    def _receive(self, one: ListenSocket) -> None:
        receive, recvmsg, marks = self._on_message, one.sock.recvmsg, self._marks
        # One by one while they come one by one: to read until there is nothing costs a call of the kernel more.
        at_most = BATCH if monotonic() - self._came < _BURST_S else 1
        for taken in range(at_most):
            marks.reading()
            try:
                data, stamps, _, source = recvmsg(MAX_DATAGRAM, STAMP_SPACE)
            except (BlockingIOError, InterruptedError, ConnectionError):
                # Nothing there, or another process was faster. A ConnectionError is a peer's ICMP answer to something
                # that was sent before; UDP has no connection.
                marks.through()
                self._tell(taken)
                return
            # Without a stamp nobody waits for this one, and it waits for nobody.
            stamp = stamp_of(stamps[0][2]) if stamps else 0
            marks.looking(stamp)
            if stamp and time_ns() - stamp > _LATE_NS:
                self._late += 1
            try:
                receive(one, data, Address(source[0], source[1]))
            finally:
                marks.through()
        self._came = monotonic()
        self._tell(at_most)

    def _tell(self, taken: int) -> None:
        self._read += taken
        self._took(taken)


def stamp_of(packed: bytes) -> int:
    """When the kernel received a datagram, in nanoseconds: the content of SCM_TIMESTAMPNS."""
    seconds, nanoseconds = _TIMESPEC.unpack(packed)
    return int(seconds * 1_000_000_000 + nanoseconds)


def send_datagram(sock: socket.socket, data: bytes, to: Address) -> bool:
    """Send a datagram; False when the kernel would not take it (SIP's retransmissions make up for that)."""
    try:
        sock.sendto(data, (to.host, to.port))
    except OSError:
        return False
    return True
