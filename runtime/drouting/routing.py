"""Dynamic routing as one process sees it."""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from runtime.background import at_leisure
from runtime.clock import epoch_now, monotonic_now
from runtime.drouting.generation import View
from runtime.drouting.generations import Generations
from runtime.drouting.loading import load
from runtime.drouting.partitions import Partition
from runtime.drouting.rules import Carrier, Gateway, Match, State
from runtime.drouting.states import States
from runtime.store import Store

if TYPE_CHECKING:
    from runtime.process import Process

_LOADED: Final = "drouting_loaded"


class Figures(NamedTuple):
    """What a load has come to.

    Args:
        partition: of which partition.
        gateways: how many there are.
        carriers: how many there are.
        rules: rows of rules that are used.
        groups: users that have a group of their own.
        skipped: rows that are wrong, and not used.
        seconds: how long it took.
        taken: False where a load that began later was ready before; that one holds.
    """

    partition: str
    gateways: int
    carriers: int
    rules: int
    groups: int
    skipped: int
    seconds: float
    taken: bool


@dataclass(frozen=True, slots=True)
class Setup:
    """What all processes agree on; made by the attendant before the first fork (`RuntimeModule.furnish`).

    Args:
        folder: where generations are kept: ``drouting`` in the runtime folder.
        partitions: in the order in which they are listed.
        prefix_chars: what prefixes may have beside digits (``extra_prefix_chars``).
        flips: shared memory that says when there is something newer.
    """

    folder: Path
    partitions: Sequence[Partition]
    prefix_chars: str = ""
    flips: mmap.mmap = field(default_factory=lambda: mmap.mmap(-1, 8))


class Routing:
    """The routing tables that all processes share, as one process sees them.

    Args:
        setup: what all processes agree on.
        store: the process's; in the attendant, which has none, one that is closed before the first fork.
    """

    def __init__(self, setup: Setup, store: Store) -> None:
        self._setup = setup
        self._partitions = {one.name: one for one in setup.partitions}
        self._states = States(store)
        self._generations = Generations(setup.folder, store, self._states, setup.flips)
        self._tell = _nobody

    def join(self, process: Process) -> None:
        """In each process, once (`RuntimeModule.enter`): hear of what others load, and tell them.

        Without it this process still sees what is new, but keeps the memory of the old until its next look-up.
        """

        def tell() -> None:
            for peer in process.node.peers():
                process.node.post(peer, _LOADED, b"")

        process.letters[_LOADED] = lambda sender, body: self.catch_up()
        self._tell = tell

    def catch_up(self) -> None:
        """Let go of what is older than what all should use. To be called after another process's death, too.

        Whoever dies between having all use something new and saying so leaves that to this.
        """
        self._generations.catch_up()

    def partitions(self) -> list[str]:
        """The names of the partitions that are known, in their order."""
        return list(self._partitions)

    def view(self, partition: str) -> View | None:
        """What is loaded of a partition; None where nothing is, or there is no such partition.

        Raises:
            StoreError: it cannot be read.
        """
        return self._generations.view(partition)

    def find(self, partition: str, group: int, number: str, now: float) -> Iterator[Match]:
        """The rules for a number, the best first: by longest prefix, then by priority, of those valid at `now`.

        Args:
            partition: where nothing is loaded, nothing is found.
            group: the routing group.
            number: what the prefixes are compared with; a user part.
            now: seconds of the epoch.

        Raises:
            StoreError: what is loaded cannot be read.
        """
        view = self._generations.view(partition)
        return iter(()) if view is None else view.find(group, number, now)

    def group_of(self, partition: str, user: str, domain: str) -> int | None:
        """A user's routing group, or None.

        Args:
            domain: empty where the module takes no notice of it (`use_domain` 0).

        Raises:
            StoreError: what is loaded cannot be read.
        """
        view = self._generations.view(partition)
        return None if view is None else view.group_of(user, domain)

    def state(self, partition: str, of: Gateway | Carrier) -> State:
        """What holds now, the same for all processes."""
        return self._states.get(partition, of, self._epoch(partition))

    def set_state(self, partition: str, of: Gateway | Carrier, state: State, only_from: State | None = None) -> State:
        """Change it for all processes.

        Args:
            only_from: nothing is changed where the state before is another one.

        Returns:
            the state before.

        Raises:
            StoreError: there is no room.
        """
        return self._states.put(partition, of, self._epoch(partition), state, only_from)

    def reload(self, partition: str, *, inherit_state: bool) -> Figures:
        """Load a partition from its database into a new generation and have all processes use it.

        It takes as long as it takes, and this process waits; the others go on with what they have.

        Args:
            inherit_state: gateways and carriers that were there keep the state that they have; else all get the one
                that the table says.

        Raises:
            DatabaseError: the database cannot be had; what was loaded before stays.
            StoreError: there is no room; likewise.
            KeyError: there is no such partition.
        """
        source = self._partitions[partition]
        began = monotonic_now()
        with self._generations.building() as build:
            loaded = at_leisure(partial(load, source, build.builder, self._setup.prefix_chars))
            taken = self._generations.take(partition, build, epoch_now(), inherit_state=inherit_state)
        self._tell()
        return Figures(partition, *loaded, monotonic_now() - began, taken)

    def _epoch(self, partition: str) -> int:
        view = self._generations.view(partition)
        return -1 if view is None else view.epoch


def _nobody() -> None:
    """Nobody is there to be told."""
