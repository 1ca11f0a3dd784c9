"""The loads of all processes in shared memory, where statistics find them."""

from __future__ import annotations

import mmap
from collections.abc import Sequence
from typing import Final

from runtime.cpu_load import Load

_CELLS: Final = len(Load._fields)


class Board:
    """The loads in shared memory: one process writes them, all read.

    Args:
        slots: how many processes.
    """

    def __init__(self, slots: int) -> None:
        self._cells = memoryview(mmap.mmap(-1, 4 * _CELLS * slots)).cast("i")

    def write(self, loads: Sequence[Load]) -> None:
        """Publish the loads of all slots."""
        for slot, load in enumerate(loads):
            at = slot * _CELLS
            for cell, value in enumerate(load):
                self._cells[at + cell] = value

    def read(self, slot: int) -> Load:
        """The load of a slot."""
        at = slot * _CELLS
        return Load(*self._cells[at : at + _CELLS].tolist())
