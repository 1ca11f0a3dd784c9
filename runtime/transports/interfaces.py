"""Which addresses this machine has, from the kernel's own lists."""

from __future__ import annotations

import fcntl
import ipaddress
import socket
import struct
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_SIOCGIFCONF: Final = 0x8912
_ENTRY_BYTES: Final = 40
"""struct ifreq on 64-bit Linux: a name of 16 bytes, then a sockaddr_in."""
_MAX_ENTRIES: Final = 1024
_IPV6_LIST: Final = Path("/proc/net/if_inet6")
_LINK_LOCAL: Final = 0x20


def addresses_of(name: str) -> list[str]:
    """The addresses of an interface; of all for ``*``; none for a name that is no interface's.

    IPv6 addresses that hold on their link only are left out: they mean nothing in a message.
    """
    return [address for interface, address in (*_ipv4(), *_ipv6()) if name in ("*", interface)]


def _ipv4() -> Iterator[tuple[str, str]]:
    entries = array("B", bytes(_MAX_ENTRIES * _ENTRY_BYTES))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        asked = struct.pack("iL", len(entries), entries.buffer_info()[0])
        used: int = struct.unpack("iL", fcntl.ioctl(one.fileno(), _SIOCGIFCONF, asked))[0]
    data = entries.tobytes()
    for at in range(0, used, _ENTRY_BYTES):
        # An alias (eth0:1) is an address of its interface.
        name = data[at : at + 16].partition(b"\0")[0].decode().partition(":")[0]
        yield name, socket.inet_ntoa(data[at + 20 : at + 24])


def _ipv6() -> Iterator[tuple[str, str]]:
    try:
        lines = _IPV6_LIST.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        digits, _, _, scope, _, name = line.split()
        if int(scope, 16) != _LINK_LOCAL:
            yield name, str(ipaddress.IPv6Address(int(digits, 16)))
