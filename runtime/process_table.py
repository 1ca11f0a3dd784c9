"""Who is who: a shared table of the processes, written by the attendant alone, read by everybody for `ps`."""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

_ROW: Final = struct.Struct("<QIIId32s")
"""Sequence number, PID, incarnation, restarts, started at (seconds of the epoch), role."""


@dataclass(frozen=True, slots=True)
class Row:
    """One process. ``pid`` 0 means that it is dead and its replacement is not there yet."""

    slot: int
    pid: int
    incarnation: int
    restarts: int
    started_at: float
    role: str


class ProcessTable:
    """A row per slot.

    Readers never lock. The sequence number is odd while the attendant writes a row; a reader that meets an odd
    one, or another one after than before, reads again.
    """

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self._memory = mmap.mmap(-1, _ROW.size * slots)

    def write(self, row: Row) -> None:
        """Publish a row. Only the attendant does."""
        at = row.slot * _ROW.size
        sequence = _ROW.unpack_from(self._memory, at)[0]
        struct.pack_into("<Q", self._memory, at, sequence + 1)
        fields = (row.pid, row.incarnation, row.restarts, row.started_at, row.role.encode()[:32])
        _ROW.pack_into(self._memory, at, sequence + 1, *fields)
        struct.pack_into("<Q", self._memory, at, sequence + 2)

    def read(self, slot: int) -> Row:
        """One row, whole."""
        while True:
            before, pid, incarnation, restarts, started_at, role = _ROW.unpack_from(self._memory, slot * _ROW.size)
            after = struct.unpack_from("<Q", self._memory, slot * _ROW.size)[0]
            if before == after and not before % 2:
                return Row(slot, pid, incarnation, restarts, started_at, role.rstrip(b"\0").decode())

    def __iter__(self) -> Iterator[Row]:
        return (self.read(slot) for slot in range(self.slots))
