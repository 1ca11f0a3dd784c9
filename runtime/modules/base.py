"""What every module of the runtime builds on."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

from runtime.script.declare import Event, Module
from workers.jobs import Peer

if TYPE_CHECKING:
    from runtime.house import House
    from runtime.process import Process


class RuntimeModule(Module):
    """A script module that takes part in the runtime.

    Class attributes:
        group: the name of its group of statistics; the module's own name when empty.
        counters: the statistics that it counts, each with what it says.
        computed: those that it computes when somebody asks (`Statistics.compute`).
        events: what it raises.

    An instance is made in the attendant, furnished with the house there, and told in each process that it
    now lives there.
    """

    group: str = ""
    counters: Mapping[str, str] = MappingProxyType({})
    computed: Mapping[str, str] = MappingProxyType({})
    events: tuple[Event, ...] = ()
    house: House
    process: Process

    def furnish(self, house: House) -> None:
        """In the attendant, before any fork: declare statistics, check settings against the house."""
        self.house = house
        house.statistics.declare(self.group or self.name, self.counters)

    def furnished(self) -> None:
        """In the attendant, when every module has been furnished and all MI commands are known."""

    def enter(self, process: Process) -> None:
        """In each process, after the fork, before it is ready."""
        self.process = process

    def opened(self) -> None:
        """In each process, when it has everything that its kind has, before its first message."""

    def on_peer_up(self, peer: Peer) -> None:
        """In each process, when another one is there and can be talked to."""

    def on_peer_down(self, peer: Peer) -> None:
        """In each process, when another one died."""

    def leave(self) -> None:
        """In each process that ends in an orderly way, as the last thing; its loop does not run any more."""

    def count(self, name: str, amount: int = 1) -> None:
        """Count one of this module's statistics."""
        self.house.statistics.count(f"{self.group or self.name}:{name}", amount)

    def finish(self, house: House) -> None:
        """In the attendant, after the last process has ended: what must not get lost is put away here."""
