"""Records put in order without all of them being in memory at once."""

from __future__ import annotations

import contextlib
import heapq
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any, Final

import msgpack

from runtime.store import StoreError

AT_ONCE: Final = 32_768
"""Records in memory; some 10 MB of routing rules."""

Record = tuple[bytes, bytes]


class Sorter:
    """Takes records in any order, and gives them in that of their keys.

    Args:
        folder: where what does not fit into memory is put meanwhile, in files without names.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._records: list[Record] = []
        self._runs: list[IO[bytes]] = []

    def add(self, key: bytes, value: bytes) -> None:
        """Take a record. Keys are not the same twice.

        Raises:
            StoreError: there is no room.
        """
        self._records.append((key, value))
        if len(self._records) >= AT_ONCE:
            self._put_away()

    def sorted(self) -> Iterator[Record]:
        """All records, once; none may be added afterwards."""
        self._records.sort()
        return heapq.merge(*map(_read, self._runs), self._records)

    def close(self) -> None:
        """Forget all records."""
        self._records.clear()
        for run in self._runs:
            # Where there was no room for what it has in its buffer there is none now.
            with contextlib.suppress(OSError):
                run.close()

    def _put_away(self) -> None:
        self._records.sort()
        try:
            run = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115 - closed with the others
            self._runs.append(run)
            _write(run, self._records)
        except OSError as error:
            raise StoreError(f"{self._folder}: {error.strerror}") from error
        self._records.clear()


def _write(run: IO[bytes], records: Iterable[Record]) -> None:
    packer = msgpack.Packer()
    for record in records:
        run.write(packer.pack(record))
    run.seek(0)


def _read(run: IO[bytes]) -> Iterator[Any]:
    return iter(msgpack.Unpacker(run, use_list=False, read_size=1 << 16))
