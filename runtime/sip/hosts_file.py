"""The hosts file: names that need no DNS (hosts(5))."""

from __future__ import annotations

import ipaddress
from itertools import islice
from typing import Final

from runtime.sip.dns_records import Query, Record

MAX_LINES: Final = 100_000


class Hosts:
    """The addresses of a hosts file by name.

    Args:
        text: the file. Lines that are none of ``ADDRESS NAME…`` are passed over.
    """

    __slots__ = ("_addresses",)

    def __init__(self, text: str = "") -> None:
        self._addresses: dict[str, dict[str, None]] = {}
        """Name in lower case to its addresses, in the order of the file."""
        for line in islice(text.splitlines(), MAX_LINES):
            words = line.partition("#")[0].split()
            if len(words) > 1 and (address := _address(words[0])) is not None:
                for name in words[1:]:
                    self._addresses.setdefault(name.lower().removesuffix("."), {})[address] = None

    def answer(self, query: Query) -> tuple[Record, ...] | None:
        """What the file says; None when it says nothing of this name.

        A name in the file has the file's addresses and nothing else: neither NAPTR nor SRV records, and no addresses
        from DNS, so that what the file says cannot be gone round.
        """
        name = query.name.removesuffix(".")
        if query.type == "SRV" and name[:1] == "_":
            name = name.split(".", 2)[-1]
        addresses = self._addresses.get(name.lower())
        if addresses is None:
            return None
        if query.type == "A":
            return tuple(each for each in addresses if ":" not in each)
        return tuple(each for each in addresses if ":" in each) if query.type == "AAAA" else ()


def _address(text: str) -> str | None:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return None
