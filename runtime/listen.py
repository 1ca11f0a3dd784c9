"""Listening addresses: what stands behind `socket=` and `-l`, read.

Source of the form: OpenSIPS, "Core parameters", `socket`.
"""

from __future__ import annotations

import dataclasses
import ipaddress
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from runtime.errors import SettingsError
from runtime.sip.fields import is_token, split_host_port

PROTOCOLS: Final = ("udp", "tcp")
"""What is served."""
DEFAULT_PORT: Final = 5060
"""RFC 3261 section 19.1.2."""

_SOCKET: Final = re.compile(
    r"(?P<protocol>[A-Za-z_]+):(?P<host>\[[0-9a-fA-F:.]+\]|[^:\[\]\s]+)(?::(?P<port>\d{1,9}))?(?P<options>\s.*)?"
)
_ALL_OF: Final = frozenset(("*", "0.0.0.0", "::"))
"""Hosts that stand for every address of this machine, or for every one of a family."""
_WITHOUT_EFFECT: Final = {"use_workers": True, "use_auto_scaling_profile": True, "reuse_port": False, "frag": False}
"""Words that are accepted and change nothing, since every process serves every socket; and whether a value follows."""

AddressesOf = Callable[[str], Iterable[str]]
"""The addresses of this machine: of all interfaces for ``*``, else of the one of that name; none for another word."""


@dataclass(frozen=True, slots=True)
class Listen:
    """One address to listen on.

    Args:
        protocol: one of `PROTOCOLS`.
        host: an IP address, without brackets.
        port: its port.
        advertised_host, advertised_port: what peers are told instead (``as``), e.g. the address before a NAT; None
            for no such thing. The host has no brackets.
        tag: the name that scripts may know it by; empty for none.
    """

    protocol: str
    host: str
    port: int
    advertised_host: str | None = None
    advertised_port: int | None = None
    tag: str = ""

    def __str__(self) -> str:
        return f"{self.protocol}:{bracketed(self.host)}:{self.port}"

    @property
    def reliable(self) -> bool:
        """Whether it is a stream: what is sent arrives or the connection ends, and nothing is repeated."""
        return self.protocol != "udp"

    @property
    def sent_by(self) -> str:
        """``host:port`` as peers are told it, in Via and Record-Route (RFC 3261 18.1.1)."""
        return f"{bracketed(self.advertised_host or self.host)}:{self.advertised_port or self.port}"

    @property
    def written(self) -> str:
        """All of it, as `parse_listen` reads it."""
        told = f" as {self.sent_by}" if self.advertised_host or self.advertised_port else ""
        return f"{self}{told}{f' tag {self.tag}' if self.tag else ''}"


def bracketed(host: str) -> str:
    """A bare host as it stands in a URI: an IPv6 address gets its brackets (RFC 3261 25.1, IPv6reference)."""
    return f"[{host}]" if ":" in host else host


def parse_listen(text: str, default_ports: Mapping[str, int] | None = None) -> Listen:
    """Read ``PROTOCOL:HOST[:PORT] [as HOST[:PORT]] [tag NAME]``.

    Args:
        text: that; the host is an IP address.
        default_ports: the port where none is written, by protocol; `DEFAULT_PORT` for those that are left out.

    Raises:
        SettingsError: it is no such address, or of a protocol that is not served.
    """
    listen = _read(text, default_ports or {})
    if not _is_address(listen.host):
        raise SettingsError(f"{text!r}: give an IP address to listen on, not a name", text)
    return listen


def concrete(
    texts: Iterable[str],
    addresses_of: AddressesOf,
    default_ports: Mapping[str, int] | None = None,
    advertised: tuple[str | None, int | None] = (None, None),
) -> list[str]:
    """Put single addresses in the place of those that stand for several.

    ``*`` and the name of an interface stand for their addresses, as in OpenSIPS. So do ``0.0.0.0`` and ``[::]`` for all
    of their family: one socket for any address would not know which one a message came to, and would have nothing true
    to say in Via.

    Args:
        texts: as `parse_listen` reads them. What it would refuse is left as it stands, for whoever reports it.
        addresses_of: asked for a host that is no address.
        default_ports: the port where none is written, by protocol.
        advertised: host and port that peers are told of those that have no ``as``.
    """
    found: dict[str, None] = {}
    for text in texts:
        try:
            listen = _read(text, default_ports or {})
        except SettingsError:
            found[text] = None
            continue
        hosts = [listen.host] if _is_address(listen.host) else list(_addresses(listen.host, addresses_of))
        found.update(dict.fromkeys([_told(listen, host, advertised).written for host in hosts] or [text]))
    return list(found)


def _told(listen: Listen, host: str, advertised: tuple[str | None, int | None]) -> Listen:
    told_host, told_port = listen.advertised_host, listen.advertised_port
    if told_host is None and told_port is None:
        told_host, told_port = advertised
    return dataclasses.replace(listen, host=host, advertised_host=told_host, advertised_port=told_port)


def _addresses(host: str, addresses_of: AddressesOf) -> Iterable[str]:
    if host not in _ALL_OF:
        return addresses_of(host)
    return [one for one in addresses_of("*") if host == "*" or (":" in host) == (":" in one)]


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return host not in _ALL_OF


def _read(text: str, default_ports: Mapping[str, int]) -> Listen:
    match = _SOCKET.fullmatch(text.strip())
    if match is None:
        raise SettingsError(f"{text!r} is no listening address; write udp:HOST:PORT, e.g. udp:127.0.0.1:5060", text)
    protocol = match["protocol"].lower()
    if protocol not in PROTOCOLS:
        raise SettingsError(f"{text!r}: protocol {protocol} is not served; {' and '.join(PROTOCOLS)} are", text)
    port = int(match["port"] or default_ports.get(protocol, DEFAULT_PORT))
    if not 0 < port < 65536:
        raise SettingsError(f"{text!r}: a port is between 1 and 65535", text)
    host = match["host"].strip("[]")
    plain = Listen(protocol, "127.0.0.1" if host == "localhost" else host, port)
    return _with_options(plain, (match["options"] or "").split(), text)


def _with_options(listen: Listen, words: list[str], text: str) -> Listen:
    rest = iter(words)
    for word in rest:
        name = word.lower()
        value = next(rest, "") if _WITHOUT_EFFECT.get(name, True) else ""
        if name == "as":
            listen = _advertised(listen, value, text)
        elif name == "tag" and is_token(value):
            listen = dataclasses.replace(listen, tag=value)
        elif name not in _WITHOUT_EFFECT:
            raise SettingsError(f"{text!r}: {word} is not understood; behind an address stand as HOST:PORT, tag", text)
    return listen


def _advertised(listen: Listen, value: str, text: str) -> Listen:
    place = split_host_port(value)
    if place is None or place[1] == 0:
        raise SettingsError(f"{text!r}: behind as stands a host, or HOST:PORT", text)
    return dataclasses.replace(listen, advertised_host=place[0].strip("[]"), advertised_port=place[1])
