"""Listening sockets: opened by the attendant, shared by all SIP processes.

Every SIP process waits on the same UDP socket and whichever is free takes the next datagram, one at a time. A
process that is blocked in a command therefore holds nobody's message but the one it works on.
"""

from __future__ import annotations

import errno
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from runtime.context import Address
from runtime.settings import Listen, SettingsError

MAX_DATAGRAM: Final = 65_535
RECEIVE_BUFFER: Final = 4 << 20
"""Bytes that the kernel is asked to hold for a socket while every process is busy; it may grant less."""
_PATIENCE_S: Final = 2.0
"""How long an address in use is tried again: the processes of a killed server take a moment to go."""


@dataclass(frozen=True, slots=True)
class ListenSocket:
    """An open socket and the address that it was opened for."""

    index: int
    listen: Listen
    udp: socket.socket

    @property
    def reliable(self) -> bool:
        """Whether what is sent arrives, or its loss is noticed: nothing is repeated then."""
        return self.listen.protocol != "udp"

    def receive(self) -> tuple[bytes, Address] | None:
        """The next datagram, or None when another process was faster or there is none."""
        try:
            data, source = self.udp.recvfrom(MAX_DATAGRAM)
        except (BlockingIOError, InterruptedError, ConnectionError):
            # A ConnectionError is a peer's ICMP answer to something that we sent before; UDP has no connection.
            return None
        return data, Address(source[0], source[1])

    def send(self, data: bytes, to: Address) -> bool:
        """Send a datagram; False when the kernel would not take it (SIP's retransmissions make up for that)."""
        try:
            self.udp.sendto(data, (to.host, to.port))
        except OSError:
            return False
        return True


def open_sockets(addresses: Sequence[Listen]) -> list[ListenSocket]:
    """Open every address.

    Raises:
        SettingsError: one of them cannot be had; says which and why.
    """
    opened: list[ListenSocket] = []
    try:
        for index, listen in enumerate(addresses):
            opened.append(ListenSocket(index, listen, _open(listen)))
    except SettingsError:
        for one in opened:
            one.udp.close()
        raise
    return opened


def _open(listen: Listen) -> socket.socket:
    patience_ends = time.monotonic() + _PATIENCE_S
    while True:
        udp = socket.socket(socket.AF_INET6 if ":" in listen.host else socket.AF_INET, socket.SOCK_DGRAM)
        try:
            udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
            udp.bind((listen.host, listen.port))
            udp.setblocking(False)
            return udp
        except OSError as error:
            udp.close()
            if error.errno != errno.EADDRINUSE or time.monotonic() > patience_ends:
                raise SettingsError(f"cannot listen on {listen}: {error.strerror}") from error
            time.sleep(0.05)
