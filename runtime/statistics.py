"""Counters that all processes share: one row per process in shared memory, summed on reading.

A process writes only its own row, so counting needs no lock and no atomic operation. A row outlives its process:
the replacement takes the same slot and counts on, so nothing that was counted is lost with a crash. Only its gauges,
which say what a process has at the moment, begin at zero again.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

_CELL: Final = 8
_HALF: Final = 1 << 63
MAX_COUNTERS: Final = 512


@dataclass(frozen=True, slots=True)
class Counter:
    """A statistic's place. ``full_name`` is OpenSIPS's ``group:name``."""

    group: str
    name: str
    index: int

    @property
    def full_name(self) -> str:
        return f"{self.group}:{self.name}"


@dataclass(slots=True)
class Statistics:
    """The table of counters and of computed values.

    Args:
        slots: how many processes count.

    Rows 0 to ``slots - 1`` belong to the processes. Row ``slots`` holds what a reset subtracts: resetting must
    not write into the rows of others.
    """

    slots: int
    _memory: mmap.mmap = field(init=False)
    _cells: memoryview = field(init=False)
    _counters: dict[str, Counter] = field(default_factory=dict)
    _places: dict[str, int] = field(default_factory=dict)
    """In which cell this process counts each of them."""
    _computed: dict[str, Callable[[], int]] = field(default_factory=dict)
    _there: dict[str, Callable[[], bool]] = field(default_factory=dict)
    """Whether some of `_computed` are there now."""
    _gauges: set[str] = field(default_factory=set)
    """Those of `_counters` that also go down."""
    _lasting: set[str] = field(default_factory=set)
    """Those that no reset touches."""
    _row: int = 0
    learn: Callable[[], object] = field(default=lambda: None)
    """Brings in what other processes have added since, by `add`; called before names are looked for."""

    def __post_init__(self) -> None:
        self._memory = mmap.mmap(-1, (self.slots + 1) * MAX_COUNTERS * _CELL)
        self._cells = memoryview(self._memory).cast("q")

    @property
    def size(self) -> int:
        """Bytes of shared memory that the table takes."""
        return len(self._memory)

    def declare(self, group: str, names: Iterable[str]) -> None:
        """Give counters a place. Only before the forks: every process must know the same places.

        Raises:
            ValueError: more than `MAX_COUNTERS` counters.
        """
        for name in names:
            full = f"{group}:{name}"
            if full in self._counters:
                continue
            if len(self._counters) >= MAX_COUNTERS:
                raise ValueError(f"more than {MAX_COUNTERS} statistics; {full} has no room")
            self._give_place(Counter(group, name, len(self._counters)))

    def declare_gauges(self, group: str, names: Iterable[str]) -> None:
        """Give a place to what is counted up and down: how much of something the processes have at the moment.

        Only before the forks.

        Raises:
            ValueError: more than `MAX_COUNTERS` counters.
        """
        names = list(names)
        self.declare(group, names)
        self._gauges.update(f"{group}:{name}" for name in names)

    def keep(self, full_name: str) -> None:
        """No reset touches it from now on. Only before the forks."""
        self._lasting.add(full_name)

    def next_place(self) -> int:
        """The first place that nobody was given before the forks, or has added since."""
        return len(self._counters)

    def add(self, group: str, name: str, index: int) -> None:
        """Give a counter a place after the forks.

        Args:
            group, name: what it is called.
            index: its place, the next free one, which this process has agreed upon with all others.
        """
        if f"{group}:{name}" not in self._counters:
            self._give_place(Counter(group, name, index))

    def _give_place(self, counter: Counter) -> None:
        self._counters[counter.full_name] = counter
        self._places[counter.full_name] = self._row + counter.index

    def compute(self, group: str, name: str, value: Callable[[], int], there: Callable[[], bool] | None = None) -> None:
        """Declare a statistic whose value is worked out when it is read.

        Args:
            group, name: its name.
            value: works it out.
            there: whether it is found now by its group, or among all; None for always.
        """
        self._computed[f"{group}:{name}"] = value
        if there is not None:
            self._there[f"{group}:{name}"] = there

    def enter(self, slot: int) -> None:
        """From now on this process counts in row `slot`."""
        self._row = slot * MAX_COUNTERS
        self._places = {name: self._row + counter.index for name, counter in self._counters.items()}
        for full_name in self._gauges:
            self._cells[self._places[full_name]] = 0

    def count(self, full_name: str, amount: int = 1) -> None:
        """Count, in this process's own row.

        Raises:
            KeyError: nobody declared it.
        """
        cells, cell = self._cells, self._places[full_name]
        try:
            cells[cell] += amount
        except ValueError:
            # Like a 64-bit counter everywhere: it wraps around, and never refuses.
            cells[cell] = _wrapped(cells[cell] + amount)

    def find(self, name: str) -> list[str]:
        """Full names that `name` stands for: ``all``, ``group:``, ``group:name``, or a bare name in any group."""
        if name in self._counters or name in self._computed:
            return [name]
        self.learn()
        everything = [*self._counters, *self._computed]
        if name == "all" or name.endswith(":"):
            found = everything if name == "all" else [full for full in everything if full.startswith(name)]
            return [full for full in found if full not in self._there or self._there[full]()]
        if ":" in name:
            return [name] if name in self._counters or name in self._computed else []
        return [full for full in everything if full.partition(":")[2] == name]

    def value(self, full_name: str) -> int:
        """The sum over all processes since the last reset."""
        computed = self._computed.get(full_name)
        if computed is not None:
            return computed()
        index = self._counters[full_name].index
        return _wrapped(self._sum(index) - self._cells[self.slots * MAX_COUNTERS + index])

    def of(self, full_name: str, slot: int) -> int:
        """What the process in that slot has counted, resets or not; a gauge is what it has now."""
        return self._cells[slot * MAX_COUNTERS + self._counters[full_name].index]

    def is_incremental(self, full_name: str) -> bool:
        """Whether it is only counted up (and can be reset), rather than computed or a gauge."""
        return full_name in self._counters and full_name not in self._gauges

    def reset(self, full_name: str) -> bool:
        """Let it read zero from now on; False for one that is computed, for a gauge, and for one that is kept."""
        if not self.is_incremental(full_name) or full_name in self._lasting:
            return False
        counter = self._counters[full_name]
        self._cells[self.slots * MAX_COUNTERS + counter.index] = _wrapped(self._sum(counter.index))
        return True

    def _sum(self, index: int) -> int:
        return sum(self._cells[index : self.slots * MAX_COUNTERS : MAX_COUNTERS].tolist())


def _wrapped(value: int) -> int:
    if -_HALF <= value < _HALF:
        return value
    return (value + _HALF) % (2 * _HALF) - _HALF
