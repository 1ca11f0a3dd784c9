"""One state of a partition's table, as all processes have it: packed in the store, unpacked once in each process."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import NamedTuple

import msgpack

from runtime.dispatching.destinations import Destination, Key, address_of


class Generation:
    """The destinations of a partition.

    Args:
        number: which one it is of the partition's.
        destinations: set by set, in the order in which they follow each other.

    Attributes:
        sets: the destinations of each set.
    """

    def __init__(self, number: int, destinations: Iterable[Destination]) -> None:
        self.number = number
        self.destinations = tuple(destinations)
        sets: dict[int, list[Destination]] = {}
        for one in self.destinations:
            sets.setdefault(one.set_id, []).append(one)
        self.sets = {set_id: tuple(members) for set_id, members in sets.items()}

    @functools.cached_property
    def slots(self) -> dict[Key, int]:
        """The slot of each destination."""
        return {one.key: one.slot for one in self.destinations}

    def find(self, set_id: int, uri: str) -> list[Destination]:
        """The destinations of a set with that address; more than one where they differ in the socket."""
        wanted = uri.lower()
        return [one for one in self.sets.get(set_id, ()) if one.uri.lower() == wanted]

    @functools.cached_property
    def by_address(self) -> dict[str, list[tuple[int, Destination]]]:
        """The destinations of each IP address, each with its port, or 0 for any."""
        found: dict[str, list[tuple[int, Destination]]] = {}
        for one in self.destinations:
            address = address_of(one.uri)
            if address is not None:
                found.setdefault(address[0], []).append((address[1], one))
        return found

    def packed(self) -> bytes:
        """As it lies in the store."""
        return bytes(msgpack.packb([self.number, self.destinations]))


EMPTY = Generation(0, ())
"""Before anything was loaded."""


def unpacked(data: bytes) -> Generation:
    """What `Generation.packed` has packed."""
    number, destinations = msgpack.unpackb(data)
    return Generation(number, [Destination(*one) for one in destinations])


class Figures(NamedTuple):
    """What loading gave.

    Args:
        loaded: how many destinations.
        refused: of each row that was skipped, its id and why.
    """

    loaded: int
    refused: list[str]
