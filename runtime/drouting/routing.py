"""Dynamic routing as one process sees it."""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from runtime.drouting.partitions import Partition
from runtime.drouting.rules import Carrier, Gateway, Match, State
from runtime.process import Process
from runtime.store import Store


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


class View:
    """One partition's gateways and carriers as the process has them now; another object after each reload.

    Args:
        number: of the generation; grows with each load.
        loaded_at: seconds of the epoch.
    """

    number: int
    loaded_at: float
    gateways: Mapping[str, Gateway]
    carriers: Mapping[str, Carrier]


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
        self._store = store

    def join(self, process: Process) -> None:
        """In each process, once (`RuntimeModule.enter`): hear of what others load, and tell them.

        Without it this process still sees what is new, but keeps the memory of the old until its next look-up.
        """
        raise NotImplementedError

    def catch_up(self) -> None:
        """Let go of what is older than what all should use. To be called after another process's death, too."""
        raise NotImplementedError

    def partitions(self) -> list[str]:
        """The names of the partitions that are known, in their order."""
        raise NotImplementedError

    def view(self, partition: str) -> View | None:
        """What is loaded of a partition; None where nothing is, or there is no such partition."""
        raise NotImplementedError

    def find(self, partition: str, group: int, number: str, now: float) -> Iterator[Match]:
        """The rules for a number, the best first: by longest prefix, then by priority, of those valid at `now`.

        Args:
            partition: where nothing is loaded, nothing is found.
            group: the routing group.
            number: what the prefixes are compared with; a user part.
            now: seconds of the epoch.
        """
        raise NotImplementedError

    def group_of(self, partition: str, user: str, domain: str) -> int | None:
        """A user's routing group, or None.

        Args:
            domain: empty where the module takes no notice of it (`use_domain` 0).
        """
        raise NotImplementedError

    def state(self, partition: str, of: Gateway | Carrier) -> State:
        """What holds now, the same for all processes."""
        raise NotImplementedError

    def set_state(self, partition: str, of: Gateway | Carrier, state: State) -> State:
        """Change it for all processes.

        Returns:
            the state before.

        Raises:
            StoreError: there is no room.
        """
        raise NotImplementedError

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
        raise NotImplementedError
