"""What all processes share of destinations beside the table: states, counters, and which generation is the last.

It is anonymous memory made before the forks, so reading a state costs no more than reading a byte. Cells are written
whole, so nobody reads half of one. Whoever changes a state holds a lock of the kernel's meanwhile, which a killed
process lets go; what is only counted needs none, for a count that is lost once in a while moves nothing.
"""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from runtime.dispatching.destinations import MAX_DESTINATIONS, Health
from runtime.dispatching.partitions import MAX_PARTITIONS

_TURNS_MASK: Final = (1 << 62) - 1


class Board:
    """See the module.

    Args:
        processes: how many may choose destinations; each counts for itself.
    """

    def __init__(self, processes: int) -> None:
        self._processes = processes
        self._numbers = _cells(2 * MAX_PARTITIONS, "q")
        """Of each partition the generation, and the version of its states."""
        self._states = mmap.mmap(-1, MAX_DESTINATIONS)
        self._unsaved = mmap.mmap(-1, MAX_DESTINATIONS)
        """1 where the database does not have the state. Set after the state, so what was read before is read again."""
        self._failures = _cells(MAX_DESTINATIONS, "i")
        self._turns = _cells(MAX_DESTINATIONS, "q")
        """Of the set whose first destination has the slot: how many were chosen by turn."""
        self._hits = _cells(processes * MAX_DESTINATIONS, "I")
        # Pages that nobody writes take no room.

    # Generations.

    def generation(self, partition: int) -> int:
        """The number of the partition's last generation; 0 for none."""
        return self._numbers[2 * partition]

    def flip(self, partition: int, number: int) -> None:
        """That generation is the last from now on. To be called where no other process does the same."""
        self._numbers[2 * partition] = number

    def version(self, partition: int) -> int:
        """Which version of the partition's states it is: another one after each change."""
        return self._numbers[2 * partition + 1]

    # States. To be changed under `locked`.

    def state(self, slot: int) -> int:
        """A destination's state."""
        return self._states[slot]

    def health(self, slot: int) -> Health:
        """A destination's state and failures."""
        return Health(self._states[slot], self._failures[slot])

    def set(self, partition: int, slot: int, health: Health, *, save: bool) -> None:
        """Set what is known of a destination.

        Args:
            partition: whose it is.
            save: whether the database is to have its state.
        """
        changed = self._states[slot] != health.state
        self._failures[slot] = health.failures
        if changed:
            self._states[slot] = health.state
            self._numbers[2 * partition + 1] += 1
            if save:
                self._unsaved[slot] = 1

    def clear(self, slot: int, state: int) -> None:
        """Begin anew with a slot, for another destination than it had."""
        self._states[slot], self._unsaved[slot] = state, 0
        self._failures[slot] = self._turns[slot] = 0
        for process in range(self._processes):
            self._hits[process * MAX_DESTINATIONS + slot] = 0

    # What the database has not got.

    def has_unsaved(self) -> bool:
        """Whether any state waits for the database."""
        return self._unsaved.find(b"\1", 0) >= 0

    def is_unsaved(self, slot: int) -> bool:
        """Whether a state waits for the database."""
        return bool(self._unsaved[slot])

    def forget(self, slot: int) -> None:
        """Nobody is to save the state of a destination that is gone."""
        self._unsaved[slot] = 0

    def saved(self, slot: int, state: int) -> None:
        """The database has that state. Where it is another one by now it is still to be saved."""
        self._unsaved[slot] = 0
        if self._states[slot] != state:
            self._unsaved[slot] = 1

    # Counters.

    def turn(self, slot: int) -> int:
        """Count one turn; how many there were before. Two processes that look at one moment may see the same."""
        found = self._turns[slot]
        self._turns[slot] = (found + 1) & _TURNS_MASK
        return found

    def hit(self, process: int, slot: int) -> None:
        """A destination was chosen first."""
        at = process * MAX_DESTINATIONS + slot
        self._hits[at] = (self._hits[at] + 1) & 0xFFFFFFFF

    def hits(self, slot: int) -> int:
        """How often a destination was chosen first."""
        return sum([self._hits[process * MAX_DESTINATIONS + slot] for process in range(self._processes)])


def _cells(count: int, kind: str) -> memoryview:
    return memoryview(mmap.mmap(-1, count * struct.calcsize(kind))).cast(kind)  # type: ignore[call-overload,no-any-return]


class Locks:
    """Locks of all processes, as one process takes them: the kernel lets go of those of a process that dies.

    Args:
        folder: where their files are.
        names: the files.
    """

    def __init__(self, folder: Path, names: Iterable[str]) -> None:
        self._files = {name: os.open(folder / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600) for name in names}

    @contextlib.contextmanager
    def held(self, name: str) -> Iterator[None]:
        """Nobody else is in a block of that lock meanwhile. Does not nest."""
        fcntl.flock(self._files[name], fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(self._files[name], fcntl.LOCK_UN)

    def close(self) -> None:
        """Close the files."""
        for descriptor in self._files.values():
            os.close(descriptor)
