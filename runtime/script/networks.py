"""IP networks as the right side of `==` and `!=`."""

from __future__ import annotations

import functools
import ipaddress
from typing import Final, TypeAlias

from runtime.context import Value

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

_LONGEST_ADDRESS: Final = 64
"""With brackets and a scope. What is longer is none, and is not kept."""


def network_of(text: str) -> Network | None:
    """An address, or a network with a length or a mask behind a slash; None when it is none."""
    address, slash, mask = text.partition("/")
    try:
        return ipaddress.ip_network(address.strip("[]") + slash + mask, strict=False)
    except ValueError:
        return None


class InNetwork:
    """Whether a value is an address of one network. Answers are kept: the same few peers call again and again."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._known = functools.lru_cache(maxsize=4096)(self._look)

    def __call__(self, value: Value) -> bool:
        return isinstance(value, str) and len(value) <= _LONGEST_ADDRESS and self._known(value)

    def _look(self, text: str) -> bool:
        try:
            address = ipaddress.ip_address(text.strip("[]"))
        except ValueError:
            return False
        return address.version == self._network.version and address in self._network
