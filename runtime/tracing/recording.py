"""A file that one process writes records into, through shared memory: what is there outlives it, however it ends.

A record costs its encoding and one copy; no call of the kernel. All of the file's room is taken when it is made, so
that nothing can be missing later, when a message is under way.
"""

from __future__ import annotations

import mmap
import os
from pathlib import Path

from runtime.tracing.records import COUNTS, COUNTS_AT, RECORDS_AT, Ended, Record, Who, head_of, packed

SUFFIX = ".rec"
_ROOM_TO_END = 64
"""Bytes that are kept for the last record, which says that this was the end."""


class Recording:
    """One process's, from its beginning to its end.

    Args:
        folder: where the file goes; it is called after the process.
        who: whose it is.
        size: bytes, all together.

    Attributes:
        dropped: how many records found no room.

    Raises:
        OSError: there is no room for it, or a file of that name.
    """

    def __init__(self, folder: Path, who: Who, size: int) -> None:
        path = folder / f"{who.peer}{SUFFIX}"
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, size)
            self._memory = mmap.mmap(descriptor, size)
        except OSError:
            path.unlink(missing_ok=True)
            raise
        finally:
            os.close(descriptor)
        self._memory[:RECORDS_AT] = head_of(who)
        self._counts = memoryview(self._memory)[COUNTS_AT : COUNTS_AT + COUNTS.size].cast("Q")
        self._end = RECORDS_AT
        self._size = size
        self._limit = size - _ROOM_TO_END
        """Up to where records go; 0 from the first on that found no room."""
        self.dropped = 0

    def put(self, record: Record) -> None:
        """Write a record; from the first that finds no room on they are only counted."""
        self._put(record, self._limit)

    def _put(self, record: Record, limit: int) -> None:
        data, counts = packed(record), self._counts
        start = self._end
        end = start + len(data)
        if end > limit:
            self.dropped += 1
            self._limit = 0  # nothing later either: what is there has no holes
            counts[2] = self.dropped
            return
        self._memory[start:end] = data
        self._end = end
        counts[0] = end - RECORDS_AT
        counts[1] += 1

    def close(self, now_ns: int) -> None:
        """Write no more."""
        self._put(Ended(now_ns), self._size)
        self._counts.release()
        self._memory.close()
