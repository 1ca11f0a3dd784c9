"""Which addresses are this server's own: its listening sockets, what peers are told of them, and its aliases.

Whether a Route value or a Request-URI names this server is asked of every request, so the answer is one look into a
table that has every way of asking in it: with and without a port, with and without a protocol.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Final, NamedTuple

from runtime.listen import Listen
from runtime.sip.fields import split_host_port

PROTOCOLS: Final = ("udp", "tcp", "tls", "ws", "wss", "sctp")
"""What a URI or an alias may name; not all of it need be served."""
ANY_PORT: Final = 0
"""As a port to ask for: every port will do."""
_LOOPBACK: Final = "127.0.0.1"
_DEFAULT_PORTS: Final = {"tls": 5061, "ws": 80, "wss": 443}


def default_port(protocol: str | None) -> int:
    """The port of an address that names none (RFC 3261 19.1.2, RFC 7118 5.2)."""
    return _DEFAULT_PORTS.get(protocol or "", 5060)


class Alias(NamedTuple):
    """One more name of this server (the global parameter ``alias``).

    Args:
        protocol: the only one that it is for; empty for all.
        host: a name or an address, an IPv6 one without brackets.
        port: the only one that it is for; `ANY_PORT` for all.
    """

    protocol: str
    host: str
    port: int


# The same few hosts are asked for again and again, and an IPv6 address has many spellings.
@lru_cache(maxsize=4096)
def normal_host(host: str) -> str:
    """One spelling for every spelling of a host: lower case, no brackets, no final dot, IPv6 compressed."""
    if ":" not in host:
        host = host.lower().rstrip(".")
        return _LOOPBACK if host == "localhost" else host
    bare = host.strip("[]")
    try:
        return ipaddress.ip_address(bare).compressed
    except ValueError:
        return bare.lower()


class OwnAddresses:
    """The addresses of one server.

    Args:
        sockets: the listening sockets, in the order of their indices.
        aliases: further names.

    Attributes:
        sockets: as given.
    """

    __slots__ = ("_any_port", "_places", "sockets")

    def __init__(self, sockets: Sequence[Listen], aliases: Iterable[Alias] = ()) -> None:
        self.sockets = tuple(sockets)
        self._places: dict[tuple[str, int | None, str | None], int | None] = {}
        self._any_port: set[tuple[str, str | None]] = set()
        for index, one in enumerate(self.sockets):
            self._learn(one.protocol, one.host, one.port, index)
            self._learn(one.protocol, one.advertised_host or one.host, one.advertised_port or one.port, index)
        for alias in aliases:
            self._learn_alias(alias)

    def is_own(self, host: str, port: int | None = None, protocol: str | None = None) -> bool:
        """Whether an address is this server's.

        Args:
            host: in any spelling.
            port: None for the protocol's default port, `ANY_PORT` for any.
            protocol: in lower case; None for any.
        """
        host = normal_host(host)
        return (host, port, protocol) in self._places or (host, protocol) in self._any_port

    def socket_of(self, host: str, port: int | None = None, protocol: str | None = None) -> int | None:
        """The index of the socket that has this address, as `is_own` reads it; None for an alias and a stranger."""
        return self._places.get((normal_host(host), port, protocol))

    def socket_towards(self, host: str, protocol: str, preferred: int) -> int:
        """The index of a socket that can reach a host.

        Args:
            host: where to; a name says nothing about its address family.
            protocol: how.
            preferred: the index of the socket to take when it will do, and when none will.
        """
        fitting = [index for index, one in enumerate(self.sockets) if one.protocol == protocol]
        if host[:1] == "[" or host.replace(".", "").isdecimal():
            is_ipv6 = host[:1] == "["
            fitting = [index for index in fitting if (":" in self.sockets[index].host) == is_ipv6]
        return preferred if preferred in fitting or not fitting else fitting[0]

    def _learn(self, protocol: str, host: str, port: int, index: int | None) -> None:
        places = self._places
        host = normal_host(host)
        for asked in (protocol, None):
            places.setdefault((host, port, asked), index)
            places.setdefault((host, ANY_PORT, asked), index)
            if port == default_port(protocol):
                places.setdefault((host, None, asked), index)

    def _learn_alias(self, alias: Alias) -> None:
        for protocol in (alias.protocol,) if alias.protocol else PROTOCOLS:
            if alias.port == ANY_PORT:
                host = normal_host(alias.host)
                self._any_port.update(((host, protocol), (host, None)))
            else:
                self._learn(protocol, alias.host, alias.port, None)


def aliases_of(globals_: Mapping[str, int | str]) -> list[Alias]:
    """What a script's global parameters say of aliases: one in each line."""
    lines = str(globals_.get("alias", "")).split("\n")
    return [alias for line in lines if (alias := read_alias(line)) is not None]


def read_alias(text: str) -> Alias | None:
    """Read ``[protocol:]host[:port]``; None when it is none."""
    text = text.strip()
    protocol, colon, place = text.partition(":")
    if not colon or protocol.lower() not in PROTOCOLS:
        protocol, place = "", text
    found = split_host_port(place)
    return None if found is None else Alias(protocol.lower(), found[0].strip("[]"), found[1] or ANY_PORT)
