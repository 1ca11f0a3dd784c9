"""Which process holds a transaction: fingerprints in shared memory, and a lock under which one is claimed.

All SIP processes wait on one socket, so a retransmission may reach another process than the one that works on the
request. Every process publishes the fingerprints of its transactions in a table that it alone writes and all read;
`Claims` makes look and publish one step, so that two copies of one request that arrive at the same moment in two
processes become one transaction. Nothing here has to be repaired after a death: the kernel frees the lock, and the
attendant clears the dead process's table.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import sys
from pathlib import Path
from typing import Final

_BUCKET: Final = 8
"""Cells of a bucket; 64 bytes, one cache line."""
_HEADER: Final = 8
"""Cells of each process before the first bucket: how many fingerprints it holds, and how many found no cell."""
_CELL_BYTES: Final = 8
_BUCKET_BYTES: Final = _BUCKET * _CELL_BYTES
_HALF_FULL: Final = _BUCKET // 2
_LOCK_BYTES: Final = 65_536
_DEFAULT_SLOTS: Final = 262_144
"""2 MiB per process, of which only touched pages are taken. A transaction stays for 32 s (64*T1), so this holds
5,000 new ones per second at 60 % full."""


def fingerprint(key: str) -> int:
    """A transaction key's 64-bit fingerprint, never 0.

    It is Python's own keyed hash. All processes are forks of one and so share its seed, and since the seed is chosen
    at random at each start nobody outside can aim keys at one bucket (unless PYTHONHASHSEED fixes it).

    Args:
        key: from `keys.server_key`.
    """
    return hash(key) & 0xFFFF_FFFF_FFFF_FFFF or 1


class Fingerprints:
    """One table per process over a shared buffer.

    A cell is eight aligned bytes and is written at once, so a reader sees the old or the new fingerprint. A
    fingerprint is only a hint that its process may hold the key: that process looks into its own table of
    transactions and says so when it does not.

    The same bucket of all processes lies together: who looks for a fingerprint searches two short runs of memory,
    whatever the number of processes.

    Args:
        buffer: shared memory of at least `size()` bytes, zeroed, made before the fork.
        processes: how many tables.
        slots_per_process: fingerprints per table, rounded up to whole buckets. A fingerprint goes into its second
            bucket where the first one is half full and the second emptier, so none is refused before the table is
            about four fifths full.
    """

    def __init__(self, buffer: mmap.mmap, processes: int, slots_per_process: int = _DEFAULT_SLOTS) -> None:
        needed = self.size(processes, slots_per_process)
        if len(buffer) < needed:
            raise ValueError(f"{len(buffer)} bytes are too few for {processes} tables: {needed}")
        self.processes = processes
        self._buckets = _buckets(slots_per_process)
        self._first = _HEADER * processes * _CELL_BYTES
        """Where the first bucket begins, in bytes."""
        self._width = processes * _BUCKET * _CELL_BYTES
        """Bytes of one bucket of all processes."""
        self._buffer = buffer
        self._cells = memoryview(buffer)[:needed].cast("B").cast("Q")
        self._held = self._cells[: _HEADER * processes : _HEADER]
        """How many fingerprints each process holds."""

    @staticmethod
    def size(processes: int, slots_per_process: int = _DEFAULT_SLOTS) -> int:
        """Bytes of shared memory for so many tables."""
        return processes * (_HEADER + _buckets(slots_per_process) * _BUCKET) * _CELL_BYTES

    def add(self, process: int, fp: int) -> bool:
        """Publish a fingerprint. Only the process itself may.

        Returns:
            False when its buckets are full: it is counted, and others will not find it.
        """
        cells, head, own = self._cells, process * _HEADER, process * _BUCKET
        one, other = self._two_buckets(fp)
        at = one // _CELL_BYTES + own
        held = cells[at : at + _BUCKET].tolist()
        free = held.count(0)
        if free < _HALF_FULL:
            at_other = other // _CELL_BYTES + own
            held_other = cells[at_other : at_other + _BUCKET].tolist()
            if held_other.count(0) > free:
                at, held = at_other, held_other
            elif not free:
                cells[head + 1] += 1
                return False
        cells[at + held.index(0)] = fp
        cells[head] += 1
        return True

    def remove(self, process: int, fp: int) -> bool:
        """Take back one publication of a fingerprint. Only the process itself may. False when there is none."""
        own = process * _BUCKET
        for start in self._two_buckets(fp):
            at = start // _CELL_BYTES + own
            held = self._cells[at : at + _BUCKET].tolist()
            if fp in held:
                self._cells[at + held.index(fp)] = 0
                self._cells[process * _HEADER] -= 1
                return True
        return False

    def find(self, fp: int, skip: int = -1) -> int | None:
        """The process whose table holds the fingerprint, or None.

        Args:
            fp: from `fingerprint`.
            skip: a process whose table is not looked at: one's own.
        """
        held = self._held.tolist()
        if sum(held) == (held[skip] if skip >= 0 else 0):
            return None  # nobody else has any, as where one process reads; a bucket is four cache lines from anywhere
        find, packed, width = self._buffer.find, fp.to_bytes(_CELL_BYTES, sys.byteorder), self._width
        for start in self._two_buckets(fp):
            end = start + width
            at = find(packed, start, end)
            while at >= 0:
                process = (at - start) // _BUCKET_BYTES
                if at % _CELL_BYTES == 0 and process != skip:
                    return process
                # Half of one cell and half of the next, or one's own.
                at = find(packed, at + 1, end)
        return None

    def clear(self, process: int) -> None:
        """Empty a dead process's table (the attendant, before the replacement is forked)."""
        cells = self._cells
        head, own = process * _HEADER, self._first // _CELL_BYTES + process * _BUCKET
        cells[head : head + _HEADER] = memoryview(bytes(_HEADER * _CELL_BYTES)).cast("Q")
        nothing = memoryview(bytes(_BUCKET * _CELL_BYTES)).cast("Q")
        for at in range(own, len(cells), self.processes * _BUCKET):
            # Only what was written to: the others' pages need not be touched.
            if any(cells[at : at + _BUCKET]):
                cells[at : at + _BUCKET] = nothing

    def count(self, process: int) -> int:
        """How many fingerprints the process has published."""
        return self._cells[process * _HEADER]

    def overflows(self, process: int) -> int:
        """How many fingerprints found no cell since the table was last cleared."""
        return self._cells[process * _HEADER + 1]

    def _two_buckets(self, fp: int) -> tuple[int, int]:
        """Where the two buckets of a fingerprint begin, in bytes; from its two halves, which are independent."""
        first, buckets, width = self._first, self._buckets, self._width
        return first + (fp & 0xFFFF_FFFF) % buckets * width, first + (fp >> 32) % buckets * width


def _buckets(slots: int) -> int:
    return max(1, -(-slots // _BUCKET))


class Claims:
    """Makes sure that one process, and only one, takes a new key.

    The lock is a POSIX byte-range lock (fcntl), one byte per 65,536th of all fingerprints: processes meet only when
    they claim the same key, or rarely. It belongs to the process and not to the descriptor, which is why it works
    on a descriptor inherited over a fork, and the kernel frees it when its holder dies. One process claims one key at a
    time, so there is no deadlock. A holder that is stopped (SIGSTOP) within those few microseconds holds up
    those who want the same byte until it goes on or is killed.

    Args:
        fingerprints: the tables.
        file: a file to lock, by path (made with mode 0600) or by a descriptor that is open for writing, e.g. of
            `os.memfd_create`, which leaves nothing behind. The process must not open and close the same file
            elsewhere: POSIX frees a process's locks at the first close.
    """

    def __init__(self, fingerprints: Fingerprints, file: Path | int) -> None:
        self._fingerprints = fingerprints
        self._owned = not isinstance(file, int)
        self._fd = file if isinstance(file, int) else os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def claim(self, process: int, key_fp: int) -> int | None:
        """Take a key that this process does not hold yet.

        Args:
            process: who asks.
            key_fp: the key's fingerprint.

        Returns:
            None when nobody else has it: it is now published as this process's. Else the other process's number.
        """
        byte = key_fp % _LOCK_BYTES
        fcntl.lockf(self._fd, fcntl.LOCK_EX, 1, byte)
        try:
            owner = self._fingerprints.find(key_fp, process)
            if owner is None:
                self._fingerprints.add(process, key_fp)
            return owner
        finally:
            fcntl.lockf(self._fd, fcntl.LOCK_UN, 1, byte)

    def close(self) -> None:
        """Close the file if this object opened it."""
        if self._owned:
            os.close(self._fd)
