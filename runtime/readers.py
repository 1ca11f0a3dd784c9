"""Who of the SIP processes reads the sockets now: a table in shared memory. The decisions are `runtime.sip.reading`."""

from __future__ import annotations

import mmap
from typing import Final

from runtime.sip.reading import State

_CELLS: Final = 8
"""Of each process, one cache line: its state, what it has taken, its busy thousandths."""
_STATE, _TAKEN, _BUSY = range(3)


class Readers:
    """The table. Each process writes its own line, so nothing needs a lock.

    Args:
        memory: `size()` bytes, zeroed, made before the forks.
        count: how many SIP processes there are.
    """

    def __init__(self, memory: mmap.mmap, count: int) -> None:
        self._cells = memoryview(memory).cast("q")
        self._count = count

    @staticmethod
    def size(count: int) -> int:
        """Bytes for so many processes."""
        return count * _CELLS * 8

    def set(self, slot: int, state: State) -> None:
        """What a process does from now on."""
        self._cells[slot * _CELLS + _STATE] = state

    def state(self, slot: int) -> int:
        """What a process does."""
        return self._cells[slot * _CELLS + _STATE]

    def states(self) -> list[int]:
        """What each process does, by slot."""
        return self._cells[_STATE : self._count * _CELLS : _CELLS].tolist()

    def took(self, slot: int, messages: int = 1) -> None:
        """A process has taken messages off the sockets."""
        self._cells[slot * _CELLS + _TAKEN] += messages

    def taken(self) -> int:
        """How many messages all have taken."""
        return sum(self._cells[_TAKEN : self._count * _CELLS : _CELLS].tolist())

    def set_busy(self, slot: int, part: float) -> None:
        """For which part of its time a process was busy of late."""
        self._cells[slot * _CELLS + _BUSY] = int(part * 1000)

    def busy(self) -> list[float]:
        """That of each process, by slot."""
        return [part / 1000 for part in self._cells[_BUSY : self._count * _CELLS : _CELLS].tolist()]
