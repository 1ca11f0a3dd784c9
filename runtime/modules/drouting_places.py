"""Where gateways are: their addresses as hosts and ports, to tell who a message comes from and where it goes."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from types import MappingProxyType
from typing import Final, NamedTuple, TypeAlias

from runtime.drouting.rules import Carrier, Gateway
from runtime.modules.drouting_calls import gateway_uri
from runtime.modules.texts import bytes_text
from runtime.script.uris import UriParts, split_uri

_PORT: Final = 5060
_SECURE_PORT: Final = 5061
_MAX_CACHED: Final = 4096


class Place(NamedTuple):
    """A host and a port.

    Args:
        host: an IP address in its shortest form, or a name in small letters.
        port: the port; that of the transport where none is written.
    """

    host: str
    port: int


Located: TypeAlias = Mapping[str, Sequence[Place]]
"""Where the gateways are that have a name, by their URIs."""
NOWHERE: Final[Located] = MappingProxyType({})


class Places:
    """The gateways of one partition, by their hosts.

    Args:
        gateways: all of them.
        carriers: all of them.
        located: where those are that have a name.
    """

    __slots__ = ("_by_host", "_carriers")

    def __init__(self, gateways: Iterable[Gateway], carriers: Iterable[Carrier], located: Located = NOWHERE) -> None:
        self._carriers: dict[str, Carrier] = {}
        for carrier in carriers:
            for target in carrier.targets:
                self._carriers.setdefault(target.id, carrier)
        self._by_host: dict[str, list[tuple[int, Gateway]]] = {}
        for gateway in gateways:
            uri = gateway_uri(bytes_text(gateway.address))
            for place in () if uri is None else (_place(uri), *located.get(str(uri), ())):
                self._by_host.setdefault(place.host, []).append((place.port, gateway))

    def at(self, place: Place, *, any_port: bool) -> list[Gateway]:
        """The gateways at a place, in the order of their table; with `any_port` all on its host."""
        return [one for port, one in self._by_host.get(place.host, ()) if any_port or port == place.port]

    def carrier_of(self, gateway: Gateway) -> Carrier | None:
        """The first carrier that has this gateway."""
        return self._carriers.get(gateway.id)


@lru_cache(maxsize=_MAX_CACHED)
def place_of(text: str) -> Place | None:
    """Where a SIP URI points to, without a look at DNS; None where it is none."""
    uri = split_uri(text)
    return _place(uri) if uri is not None and uri.host else None


def named_uri(gateway: Gateway) -> str | None:
    """The URI of a gateway whose host is a name; None where it is an address, or none at all."""
    uri = gateway_uri(bytes_text(gateway.address))
    return None if uri is None or _is_address(host_key(uri.host)) else str(uri)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


@lru_cache(maxsize=_MAX_CACHED)
def host_key(host: str) -> str:
    """A host as `Place` has it."""
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    try:
        return str(ipaddress.ip_address(bare))
    except ValueError:
        return bare.lower()


def _place(uri: UriParts) -> Place:
    secure = uri.scheme.lower() == "sips" or (uri.param("transport") or "").lower() == "tls"
    return Place(host_key(uri.host), uri.port or (_SECURE_PORT if secure else _PORT))
