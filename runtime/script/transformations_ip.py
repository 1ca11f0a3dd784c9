"""The transformations of IP addresses: family ip."""

from __future__ import annotations

import ipaddress
from typing import Final

from runtime.context import Value
from runtime.script.changes import Wants, change
from runtime.script.networks import network_of


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text.strip().removeprefix("[").removesuffix("]"))
    except ValueError:
        return None


@change("ip.isip")
def _ip_isip(text: str) -> Value:
    """1 for an IP address, else 0."""
    return int(_address(text) is not None)


@change("ip.isip4")
def _ip_isip4(text: str) -> Value:
    """1 for an IPv4 address, else 0."""
    return int(isinstance(_address(text), ipaddress.IPv4Address))


@change("ip.isip6")
def _ip_isip6(text: str) -> Value:
    """1 for an IPv6 address, else 0."""
    return int(isinstance(_address(text), ipaddress.IPv6Address))


@change("ip.isprivate")
def _ip_isprivate(text: str) -> Value:
    """1 for an IPv4 address that is private (RFC 1918), shared (RFC 6598) or a loopback, else 0."""
    found = _address(text)
    return int(isinstance(found, ipaddress.IPv4Address) and any(found in network for network in _PRIVATE))


_PRIVATE: Final = tuple(
    ipaddress.ip_network(text)
    for text in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "127.0.0.0/8")
)


@change("ip.pton")
def _ip_pton(text: str) -> Value:
    """An IP address as the bytes of the network."""
    found = _address(text)
    return None if found is None else found.packed.decode("latin-1")


@change("ip.ntop")
def _ip_ntop(text: str) -> Value:
    """An IP address from the bytes of the network."""
    packed = text.encode("latin-1", "replace")
    return str(ipaddress.ip_address(packed)) if len(packed) in (4, 16) else None


@change("ip.family")
def _ip_family(text: str) -> Value:
    """The family of an IP address: INET or INET6."""
    packed = _address(text)
    length = len(text) if packed is None else len(packed.packed)
    return {4: "INET", 16: "INET6"}.get(length)


@change("ip.matches", Wants.TEXT)
def _ip_matches(text: str, network: str) -> Value:
    """1 for an IP address of that network, `address/bits`, else 0."""
    address, known = _address(text), network_of(network.strip())
    if address is None or known is None:
        return None
    return int(address.version == known.version and address in known)
