"""Module event_datagram: events for outside programs, each as one datagram over UDP or to a Unix socket.

A subscriber is `udp:HOST:PORT`, the host an IP address, or `unix:/path`. It is sent a JSON-RPC notification whose
method is the event. A datagram that the system does not take at once, and one of more than 65,507 bytes, is lost.
"""

from __future__ import annotations

import contextlib
import functools
import ipaddress
import socket
from typing import TYPE_CHECKING, Final, NamedTuple

from runtime.modules.events import Done, EventTransport

if TYPE_CHECKING:
    from runtime.process import Process
    from runtime.subscriptions import Notice

MAX_DATAGRAM: Final = 65_507
"""Bytes: what UDP over IPv4 carries at most."""
_MAX_PATH: Final = 107
"""Bytes of a Unix socket's path on Linux, `unix(7)`."""


class Address(NamedTuple):
    """Where datagrams are sent to."""

    family: socket.AddressFamily
    target: tuple[str, int] | bytes


class EventDatagram(EventTransport):
    """The module as a script loads it."""

    name = "event_datagram"
    schemes = ("udp", "unix")

    def enter(self, process: Process) -> None:
        super().enter(process)
        self._sockets: dict[socket.AddressFamily, socket.socket] = {}

    def leave(self) -> None:
        for one in self._sockets.values():
            one.close()

    def is_address(self, socket: str) -> bool:
        return address_of(socket) is not None

    def deliver(self, socket: str, notice: Notice, done: Done, *, patient: bool = True) -> None:
        address, sent, payload = address_of(socket), False, notice.text()
        if address is not None and len(payload) <= MAX_DATAGRAM:
            with contextlib.suppress(OSError):  # BlockingIOError among them
                sent = self._socket(address.family).sendto(payload, address.target) == len(payload)
        done(sent)

    def _socket(self, family: socket.AddressFamily) -> socket.socket:
        found = self._sockets.get(family)
        if found is None:
            found = self._sockets[family] = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        return found


@functools.lru_cache(maxsize=1024)
def address_of(text: str) -> Address | None:
    """``udp:HOST:PORT`` or ``unix:/path``, as a script spells it; None for what is neither."""
    scheme, _, rest = text.partition(":")
    if scheme == "unix":
        path = rest.encode("latin-1", "replace")
        fits = path.startswith(b"/") and len(path) <= _MAX_PATH and b"\0" not in path
        return Address(socket.AF_UNIX, path) if fits else None
    host, _, port = rest.rpartition(":")
    if scheme != "udp" or not (port.isascii() and port.isdecimal() and len(port) < 6 and 0 < int(port) < 65536):
        return None
    try:
        found = ipaddress.ip_address(host.removeprefix("[").removesuffix("]"))
    except ValueError:
        return None
    family = socket.AF_INET if found.version == 4 else socket.AF_INET6
    return Address(family, (str(found), int(port)))
