"""Log levels: OpenSIPS's and Python's, and which process logs up to which, in shared memory."""

from __future__ import annotations

import logging
import mmap
from collections.abc import Callable
from types import MappingProxyType
from typing import Final

NOTICE: Final = 25
ALERT: Final = 60

_LEVELS: Final = MappingProxyType(
    {
        -3: (ALERT, "ALERT"),
        -2: (logging.CRITICAL, "CRITICAL"),
        -1: (logging.ERROR, "ERROR"),
        1: (logging.WARNING, "WARNING"),
        2: (NOTICE, "NOTICE"),
        3: (logging.INFO, "INFO"),
        4: (logging.DEBUG, "DBG"),
    }
)
"""OpenSIPS's log levels (core parameter ``log_level``): Python's, and how a line names them."""

LOWEST: Final = min(_LEVELS)
HIGHEST: Final = max(_LEVELS)


def clamp(level: int) -> int:
    """The nearest level that there is; 0, which OpenSIPS does not use, logs errors and worse, as -1 does."""
    return max(LOWEST, min(level, HIGHEST)) or -1


def to_python(level: int) -> int:
    """OpenSIPS's level -3 (alert) to 4 (debug) as one of Python's."""
    return _LEVELS[clamp(level)][0]


def from_python(level: int) -> int:
    """Python's level as OpenSIPS's; one between two counts as the less severe."""
    return next((ours for ours, (theirs, _) in _LEVELS.items() if level >= theirs), HIGHEST)


def label(level: int) -> str:
    """How a line names one of OpenSIPS's levels."""
    return _LEVELS[clamp(level)][1]


_UNSET: Final = 0
_BIAS: Final = 16
"""Added to what is stored, so that zeroed memory means unset."""


class Levels:
    """Which level each process logs up to, in shared memory: a default and one override per slot.

    Args:
        buffer: at least `size(slots)` bytes, zeroed, shared by all processes (`shared` makes one).
        slots: how many processes.

    One aligned 32-bit word per slot: a reader sees the old level or the new one, so there is no lock.
    """

    def __init__(self, buffer: mmap.mmap | memoryview | bytearray, slots: int, default: int = 3) -> None:
        self._cells = memoryview(buffer)[: self.size(slots)].cast("i")
        self._slots = slots
        if self._cells[slots] == _UNSET:
            self.set(None, default)

    @staticmethod
    def size(slots: int) -> int:
        """How many bytes the levels of so many slots take."""
        return 4 * (slots + 1)

    @classmethod
    def shared(cls, slots: int, default: int = 3) -> Levels:
        """Levels in anonymous shared memory of their own, for this process and those forked from it."""
        return cls(mmap.mmap(-1, cls.size(slots)), slots, default)

    def get(self, slot: int | None) -> int:
        """The level of a slot, -3 to 4; of None, the default."""
        cells = self._cells
        return (cells[self._index(slot)] or cells[self._slots]) - _BIAS

    def set(self, slot: int | None, level: int) -> None:
        """Change the level of one slot; of None, of all: the default changes and every override goes."""
        if slot is None:
            for index in range(self._slots):
                self._cells[index] = _UNSET
        self._cells[self._index(slot)] = clamp(level) + _BIAS

    def reset(self, slot: int) -> None:
        """Let a slot follow the default again."""
        self._cells[self._index(slot)] = _UNSET

    def _index(self, slot: int | None) -> int:
        if slot is None:
            return self._slots
        if not 0 <= slot < self._slots:
            raise IndexError(f"slot {slot} of {self._slots}")
        return slot

    def level_of(self, slot: int) -> Callable[[], int]:
        """What a process of this slot asks before each line of its script: its level now, -3 to 4."""
        cells, index, default = self._cells, self._index(slot), self._slots

        def level() -> int:
            return (cells[index] or cells[default]) - _BIAS

        return level

    def threshold_of(self, slot: int | None) -> Callable[[], int]:
        """What a process of this slot asks before each record: its level now, as one of Python's."""
        # A closure over plain names, because it runs at every log call that is disabled.
        cells, index, default, python = self._cells, self._index(slot), self._slots, _PYTHON

        def threshold() -> int:
            return python[cells[index] or cells[default]]

        return threshold


CONSUMERS: Final = ("stderror", "syslog")
"""What the log goes to, by the names that OpenSIPS's core has for them."""
EVERYTHING: Final = 0
"""The filter of a consumer that gets whatever is logged."""


class Consumers:
    """What the log goes to: whether each one is muted, and the level up to which it is written to, in shared memory.

    Args:
        muted: for each of `CONSUMERS`, whether it is.
    """

    def __init__(self, *muted: bool) -> None:
        self._cells = memoryview(mmap.mmap(-1, 8 * len(CONSUMERS))).cast("i")
        for name, is_muted in zip(CONSUMERS, muted, strict=True):
            self.mute(name, is_muted)

    def is_muted(self, name: str) -> bool:
        """Whether nothing is written there."""
        return bool(self._cells[2 * CONSUMERS.index(name)])

    def mute(self, name: str, muted: bool) -> None:
        """Write nothing there, or do so again."""
        self._cells[2 * CONSUMERS.index(name)] = muted

    def filter_of(self, name: str) -> int:
        """The level up to which it is written to, -3 to 4, or `EVERYTHING`."""
        return self._cells[2 * CONSUMERS.index(name) + 1]

    def set_filter(self, name: str, level: int) -> None:
        """Change that."""
        self._cells[2 * CONSUMERS.index(name) + 1] = level

    def takes(self, name: str, level: int) -> bool:
        """Whether a record of one of Python's levels is to be written there."""
        limit = self.filter_of(name)
        return not self.is_muted(name) and (limit == EVERYTHING or level >= to_python(limit))


_PYTHON: Final = tuple(to_python(stored - _BIAS) for stored in range(2 * _BIAS))
"""Python's level for every stored value."""
