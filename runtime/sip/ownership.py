"""Which process holds a transaction: fingerprints in shared memory, and how one is claimed.

All SIP processes wait on one socket, so a retransmission may reach another process than the one that works on the
request. Every process publishes the fingerprints of its transactions in a table that it alone writes and all read;
`Claims` makes look and publish one step, so that two copies of one request that arrive at the same moment in two
processes become one transaction. Nothing here has to be repaired after a death but that the attendant clears the dead
process's table.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import platform
import sys
import time
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Final

from runtime.compiled import is_compiled

if TYPE_CHECKING:
    from runtime.sip.cells import Cells

_BUCKET: Final = 8
"""Cells of a bucket; 64 bytes, one cache line."""
_HEADER: Final = 8
"""Cells of each process before the first bucket: how many fingerprints it holds, how many found no cell, and which one
it is about to claim."""
_ANNOUNCED: Final = 2
NOBODY: Final = -1
"""Nobody else has it."""
BUSY: Final = -2
"""Somebody else is about to claim it."""
_LOOKS: Final = 64
"""So often a fingerprint is looked for before it is asked again whether others have any at all."""
_CELL_BYTES: Final = 8
_BUCKET_BYTES: Final = _BUCKET * _CELL_BYTES
_HALF_FULL: Final = _BUCKET // 2
_LOCK_BYTES: Final = 65_536
_GIVING_WAY_S: Final = 0.000_02
"""Two who claim the same key at the same moment look again after so long."""
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
        self.announced = self._cells[_ANNOUNCED : _HEADER * processes : _HEADER]
        """Which fingerprint each process is about to claim; 0 for none. See `Claims`."""
        self._compiled = _cells_of(self._cells, processes, self._buckets)
        self._looks = 0
        """How often others are still taken to have some."""
        self._place = (0, b"", 0, 0)
        """A fingerprint, its bytes, and where its buckets begin: it is looked for, and then published, in one go."""

    @staticmethod
    def size(processes: int, slots_per_process: int = _DEFAULT_SLOTS) -> int:
        """Bytes of shared memory for so many tables."""
        return processes * (_HEADER + _buckets(slots_per_process) * _BUCKET) * _CELL_BYTES

    def add(self, process: int, fp: int) -> bool:
        """Publish a fingerprint. Only the process itself may.

        Returns:
            False when its buckets are full: it is counted, and others will not find it.
        """
        if self._compiled is not None:
            return self._compiled.add(process, fp)
        cells, head, own = self._cells, process * _HEADER, process * _BUCKET
        _, _, one, other = self._placed(fp)
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
        if self._compiled is not None:
            return self._compiled.remove(process, fp)
        own = process * _BUCKET
        for start in self._placed(fp)[2:]:
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
        if self._compiled is not None:
            return self._compiled.find(fp, skip)
        if not self._looks:
            held = self._held.tolist()
            if sum(held) == (held[skip] if skip >= 0 else 0):
                return None  # nobody else has any, as where one process reads; a bucket is four cache lines
            self._looks = _LOOKS
        self._looks -= 1
        place = self._place
        _, packed, one, other = place if place[0] == fp else self._placed(fp)
        find, width = self._buffer.find, self._width
        if (at := find(packed, one, one + width)) >= 0 and (found := self._whose(packed, at, one, skip)) is not None:
            return found
        if (at := find(packed, other, other + width)) >= 0:
            return self._whose(packed, at, other, skip)
        return None

    def _whose(self, packed: bytes, at: int, start: int, skip: int) -> int | None:
        """The process in whose part of the bucket at `start` the fingerprint lies, first seen at `at`."""
        while at >= 0:
            process = (at - start) // _BUCKET_BYTES
            if at % _CELL_BYTES == 0 and process != skip:
                return process
            # Half of one cell and half of the next, or one's own.
            at = self._buffer.find(packed, at + 1, start + self._width)
        return None

    def claim(self, process: int, fp: int) -> int:
        """Announce, look and publish by one call, where that is compiled; see `Claims`.

        Args:
            process: who asks. Only the process itself may.
            fp: the key's fingerprint.

        Returns:
            `NOBODY` when no other has it: it is published. The other's number. `BUSY` where another is about to claim
            it, or where nothing is compiled: nothing is done but that it may be announced.
        """
        return BUSY if self._compiled is None else self._compiled.claim(process, fp)

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

    def _placed(self, fp: int) -> tuple[int, bytes, int, int]:
        """See `_place`. The buckets come from the fingerprint's two halves, which are independent."""
        if self._place[0] != fp:
            first, buckets, width = self._first, self._buckets, self._width
            one, other = first + (fp & 0xFFFF_FFFF) % buckets * width, first + (fp >> 32) % buckets * width
            self._place = (fp, fp.to_bytes(_CELL_BYTES, sys.byteorder), one, other)
        return self._place


def _cells_of(memory: memoryview, processes: int, buckets: int) -> Cells | None:
    """What does the same with the tables in a quarter of the time, where that is compiled; None elsewhere."""
    if not is_compiled("runtime.sip.cells"):
        return None
    from runtime.sip.cells import Cells

    return Cells(memory, processes, buckets)


def _buckets(slots: int) -> int:
    return max(1, -(-slots // _BUCKET))


ORDERED: Final = platform.machine() in ("x86_64", "AMD64", "i686")
"""Whether this machine shows its stores to others in their order, and an atomic instruction orders all around it."""


class Claims:
    """Makes sure that one process, and only one, takes a new key.

    Where the machine is `ORDERED` nobody takes a lock: a process announces what it is about to claim in a cell of its
    own, and then looks who else has announced the same. Of two processes at least one sees the other, whatever
    happens; who sees one before it gives way, and who sees one behind it waits for that to give way or to be done. So
    none is in between while another is, and the first of them never gives way (the one-bit algorithm of Burns and
    Lamport). It costs 0.3 us where two calls of the kernel for a lock cost 1.6.

    Elsewhere the lock is a POSIX byte-range lock (fcntl), one byte per 65,536th of all fingerprints. It belongs to the
    process and not to the descriptor, which is why it works on a descriptor inherited over a fork, and the kernel
    frees it when its holder dies.

    Either way processes meet only when they claim the same key, or rarely, and one claims one key at a time, so there
    is no deadlock. Who is stopped (SIGSTOP) within those few microseconds holds up those who want the same until it
    goes on or is killed.

    Args:
        fingerprints: the tables. Who clears a dead process's takes back what it has announced.
        file: a file to lock, by path (made with mode 0600) or by a descriptor that is open for writing, e.g. of
            `os.memfd_create`, which leaves nothing behind. The process must not open and close the same file
            elsewhere: POSIX frees a process's locks at the first close. None for no lock, which takes an `ORDERED`
            machine.
    """

    def __init__(self, fingerprints: Fingerprints, file: Path | int | None = None) -> None:
        self._fingerprints = fingerprints
        self._announced = fingerprints.announced
        self._owned = isinstance(file, Path)
        self._fd = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600) if isinstance(file, Path) else file
        self._fence = Lock()
        """Nobody else has it. To take it is an atomic instruction: what was announced before is seen by all others
        before this process reads what they have announced."""

    def claim(self, process: int, key_fp: int) -> int | None:
        """Take a key that this process does not hold yet.

        Args:
            process: who asks.
            key_fp: the key's fingerprint.

        Returns:
            None when nobody else has it: it is now published as this process's. Else the other process's number.
        """
        if self._fd is not None:
            return self._claim_locked(self._fd, process, key_fp)
        owner = self._fingerprints.claim(process, key_fp)
        if owner != BUSY:
            return None if owner == NOBODY else owner
        announced = self._announced
        try:
            self._announce(process, key_fp)
            while announced.tolist().count(key_fp) > 1:
                self._give_way(process, key_fp)
            return self._take(process, key_fp)
        finally:
            announced[process] = 0

    def _announce(self, process: int, key_fp: int) -> None:
        self._announced[process] = key_fp
        self._fence.acquire(blocking=False)
        self._fence.release()

    def _give_way(self, process: int, key_fp: int) -> None:
        announced = self._announced
        if key_fp not in announced[:process].tolist():
            time.sleep(_GIVING_WAY_S)
            return
        announced[process] = 0
        while key_fp in announced[:process].tolist():
            time.sleep(_GIVING_WAY_S)
        self._announce(process, key_fp)

    def _claim_locked(self, fd: int, process: int, key_fp: int) -> int | None:
        byte = key_fp % _LOCK_BYTES
        fcntl.lockf(fd, fcntl.LOCK_EX, 1, byte)
        try:
            return self._take(process, key_fp)
        finally:
            fcntl.lockf(fd, fcntl.LOCK_UN, 1, byte)

    def _take(self, process: int, key_fp: int) -> int | None:
        owner = self._fingerprints.find(key_fp, process)
        if owner is None:
            self._fingerprints.add(process, key_fp)
        return owner

    def close(self) -> None:
        """Close the file if this object opened it."""
        if self._owned and self._fd is not None:
            os.close(self._fd)
