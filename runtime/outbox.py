"""What must reach a database and survives the process that said it: packed rows in an LMDB table, in order.

Whoever has something to record puts it here, which takes some microseconds and waits for no database; jobs write what
lies here and then remove it. A process that is killed takes nothing with it. A row whose writer is killed between the
database's commit and its removal is written again: rows arrive at least once.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

import lmdb

from runtime.store import open_environment, remove_all

LIMIT: Final = 100_000
"""Rows that may wait: nobody may wait for a database, and no memory is without end."""
_KEY: Final = 8


class Outbox:
    """One such table.

    Args:
        environment: where it is, open in this process.
        name: the table's.
        limit: how many rows may wait; what is put in beyond is refused.

    Attributes:
        on_refused: told of each row that there is no room for.
    """

    def __init__(self, environment: lmdb.Environment, name: bytes, limit: int = LIMIT) -> None:
        self.on_refused: Callable[[], object] = lambda: None
        self._environment = environment
        self._rows = environment.open_db(name)
        self._limit = limit

    @classmethod
    def in_folder(cls, folder: Path, size: int = 256 << 20) -> Outbox:
        """One in an environment of its own.

        Args:
            folder: where the environment lies; made with mode 0700 when it is not there.
            size: bytes that all rows may take together.
        """
        return cls(open_environment(folder, size, tables=1), b"rows")

    def __len__(self) -> int:
        with self._environment.begin() as read:
            return int(read.stat(self._rows)["entries"])

    def put(self, row: bytes) -> None:
        """Put a row behind all others. Where there is no room it is lost."""
        try:
            with self._environment.begin(write=True) as write:
                # Transactions are numbered, and each of them puts one row in.
                self.put_in(write, write.id().to_bytes(_KEY, "big"), row)
        except lmdb.Error:
            self.on_refused()

    def put_in(self, write: lmdb.Transaction, key: bytes, row: bytes) -> None:
        """`put`, as a part of another change of the same environment, under a key of one's own."""
        if write.stat(self._rows)["entries"] < self._limit:
            write.put(key, row, db=self._rows)
        else:
            self.on_refused()

    def take(self, limit: int, after: bytes = b"") -> list[tuple[bytes, bytes]]:
        """The first rows, with their keys; of those behind a key, if one is given. They stay until they are removed."""
        with self._environment.begin(db=self._rows) as read:
            cursor = read.cursor()
            if not cursor.set_range(after + b"\0"):
                return []
            return [(bytes(key), bytes(row)) for key, row in itertools.islice(cursor, limit)]

    def remove(self, keys: Iterable[bytes]) -> None:
        """These rows are where they belong.

        Raises:
            StoreError: there is no room to note that.
        """
        remove_all(self._environment, self._rows, list(keys))

    def free_readers(self) -> None:
        """Free the reader slots of processes that died."""
        self._environment.reader_check()

    def close(self) -> None:
        """Close the environment, if it is this table's own."""
        self._environment.close()
