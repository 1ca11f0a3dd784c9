"""State that all processes share: an LMDB environment in the runtime folder.

Every process opens it for itself after the fork (an LMDB environment must not cross one). Readers take no lock,
writers are transactions, and a process killed in mid-write leaves the store whole.
"""

from __future__ import annotations

import contextlib
import fnmatch
import itertools
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, TypeAlias

import lmdb
import msgpack

from runtime.steps import ServerStep
from workers.steps import after

MAX_KEY: Final = 500
"""Bytes. LMDB's own limit is 511; the collection's name and a separator stand before the key."""
MAX_VALUE: Final = 1 << 20
"""Bytes of one value."""

MAX_TABLES: Final = 32
_REMOVED_AT_ONCE: Final = 1000
_SPECIAL: Final = re.compile(r"[*?\[]")
"""What begins the part of a pattern that is no plain text."""
Table: TypeAlias = Any
"""A table's handle, for the ``db`` of a transaction's methods."""


class StoreError(Exception):
    """What was asked of the store cannot be done; the text says why."""


class Store:
    """Keys and values in named collections, each with an optional end of life.

    Args:
        folder: where the environment lies; made with mode 0700 when it is not there.
        size: bytes that all values may take together.
    """

    def __init__(self, folder: Path, size: int = 256 << 20) -> None:
        self._environment = open_environment(folder, size, MAX_TABLES)
        self._cache = self._environment.open_db(b"cachedb_local")

    def put(self, collection: str, key: str, value: str, expires_at: float = 0.0) -> None:
        """Store a value.

        Args:
            expires_at: seconds of the epoch from which on it is gone; 0 for never.

        Raises:
            StoreError: the key or the value is too long, or the store is full.
        """
        packed = msgpack.packb([value, expires_at])
        if len(packed) > MAX_VALUE:
            raise StoreError(f"a value of {len(packed)} bytes is over the limit of {MAX_VALUE}")
        with self.writing() as transaction:
            transaction.put(_key(collection, key), packed, db=self._cache)

    def get(self, collection: str, key: str, now: float) -> str | None:
        """The value, or None when there is none or its time is over at `now` (seconds of the epoch)."""
        with self._environment.begin(db=self._cache) as transaction:
            packed = transaction.get(_key(collection, key))
        if packed is None:
            return None
        value, expires_at = msgpack.unpackb(packed)
        return None if expires_at and expires_at <= now else str(value)

    def add(self, collection: str, key: str, amount: int, now: float, expires_at: float = 0.0) -> int:
        """Add to a number in one step, whoever else does so too; one that is not there, or over at `now`, counts as 0.

        Args:
            expires_at: as for `put`; 0 leaves the number's time as it is.

        Returns:
            the sum.

        Raises:
            StoreError: what is there is no number, or the sum has more than 64 bits, or as for `put`.
        """
        with self.writing() as transaction:
            packed = transaction.get(_key(collection, key), db=self._cache)
            value, ends = msgpack.unpackb(packed) if packed is not None else ("0", 0.0)
            if ends and ends <= now:
                value, ends = "0", 0.0
            total = _number(str(value)) + amount
            if not -(2**63) <= total < 2**63:
                raise StoreError("the sum is too large")
            transaction.put(_key(collection, key), msgpack.packb([str(total), expires_at or ends]), db=self._cache)
        return total

    def remove(self, collection: str, key: str) -> bool:
        """Forget a value; False when there was none.

        Raises:
            StoreError: the key is too long, or the store is so full that there is no room to note the removal.
        """
        with self.writing() as transaction:
            return bool(transaction.delete(_key(collection, key), db=self._cache))

    def sweep(self, now: float, limit: int = 1000) -> int:
        """Drop up to `limit` values whose time is over at `now`; how many they were.

        Raises:
            StoreError: the store is so full that there is no room to note even a single removal.
        """
        with self._environment.begin(db=self._cache) as transaction:
            over = list(itertools.islice(_ended(transaction.cursor(), now), limit))
        remove_all(self._environment, self._cache, over)
        return len(over)

    def matching(self, collection: str, glob: str, now: float) -> Iterator[tuple[str, str]]:
        """The names and values of a collection that match a pattern of the shell's kind, as they are at one moment.

        Args:
            glob: with ``*``, ``?`` and ``[...]``.
            now: seconds of the epoch; what is over by then is left out.
        """
        with self._environment.begin(db=self._cache) as transaction:
            for key, name in _matching(transaction.cursor(), collection, glob):
                value, ends = msgpack.unpackb(transaction.get(key))
                if not ends or ends > now:
                    yield name, str(value)

    def remove_matching(self, collection: str, glob: str) -> None:
        """Forget the values of a collection whose names match a pattern, some at a time: others write in between.

        Raises:
            StoreError: the store is so full that there is no room to note even a single removal.
        """
        with self._environment.begin(db=self._cache) as transaction:
            keys = [key for key, _ in _matching(transaction.cursor(), collection, glob)]
        for first in range(0, len(keys), _REMOVED_AT_ONCE):
            remove_all(self._environment, self._cache, keys[first : first + _REMOVED_AT_ONCE])

    # Tables of others: keys and values as bytes, in transactions.

    def table(self, name: str) -> Table:
        """A table of one's own, made when it is not there; once in each process, outside any transaction."""
        return self._environment.open_db(name.encode())

    def reading(self) -> contextlib.AbstractContextManager[lmdb.Transaction]:
        """A transaction that sees one state of all tables, and waits for nobody. To be short: it keeps old pages."""
        return self._environment.begin()

    @contextlib.contextmanager
    def writing(self) -> Iterator[lmdb.Transaction]:
        """A transaction that writes, one at a time in all processes: all of its block is done, or nothing.

        Raises:
            StoreError: there is no room.
        """
        try:
            with self._begin() as transaction:
                yield transaction
        except lmdb.MapFullError as error:
            raise StoreError("the store is full") from error
        except lmdb.Error as error:
            raise StoreError(str(error)) from error

    @after(ServerStep.STORE_LOCKED)
    def _begin(self) -> lmdb.Transaction:
        return self._environment.begin(write=True)

    def used(self) -> int:
        """Bytes of pages in use."""
        info, stat = self._environment.info(), self._environment.stat()
        return int((info["last_pgno"] + 1) * stat["psize"])

    def size(self) -> int:
        """Bytes that may be used."""
        return int(self._environment.info()["map_size"])

    def free_readers(self) -> int:
        """Free the reader slots of processes that died, and say how many they were. To be called after a death."""
        return int(self._environment.reader_check())

    def close(self) -> None:
        self._environment.close()


def open_environment(folder: Path, size: int, tables: int) -> lmdb.Environment:
    """Open an LMDB environment that lives as long as the server, in this process.

    Args:
        folder: where it lies; made with mode 0700 when it is not there.
        size: bytes that all in it may take together.
        tables: how many there may be.
    """
    folder.mkdir(mode=0o700, exist_ok=True)
    # On tmpfs where there is one, so nothing is gained by syncing.
    environment = lmdb.open(
        str(folder), map_size=size, max_dbs=tables, sync=False, metasync=False, mode=0o600, max_readers=512
    )
    # Who was killed while it read keeps the pages of that moment from being used again. This process may be the one
    # that comes after it, and hears of its death from nobody.
    environment.reader_check()
    return environment


def remove_all(environment: lmdb.Environment, table: Table, keys: Sequence[bytes]) -> None:
    """Remove keys: in one transaction, or in several where the environment is too full for that.

    Raises:
        StoreError: it is so full that there is no room to note even a single removal.
    """
    at_once, done = len(keys), 0
    while done < len(keys):
        try:
            with environment.begin(write=True, db=table) as write:
                for key in keys[done : done + at_once]:
                    write.delete(key)
            done += at_once
        except lmdb.Error as error:
            # Removing needs pages too; a few at a time need fewer, and free some for the next.
            if at_once == 1 or not isinstance(error, lmdb.MapFullError):
                raise StoreError(f"nothing can be removed: {error}") from error
            at_once = max(1, at_once // 10)


def _matching(cursor: lmdb.Cursor, collection: str, glob: str) -> Iterator[tuple[bytes, str]]:
    start = _packed(collection) + b"\0"
    first, matches = start + _packed(_SPECIAL.split(glob, maxsplit=1)[0]), re.compile(fnmatch.translate(glob)).match
    if len(first) > MAX_KEY or not cursor.set_range(first):
        return
    for found in cursor.iternext(keys=True, values=False):
        key = bytes(found)
        if not key.startswith(first):
            return
        name = key[len(start) :].decode("utf-8", "surrogateescape")
        if matches(name):
            yield key, name


def _ended(records: Iterable[tuple[bytes, bytes]], now: float) -> Iterator[bytes]:
    for key, packed in records:
        if (ends := msgpack.unpackb(packed)[1]) and ends <= now:
            yield key


def _number(text: str) -> int:
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdecimal() and len(digits) < 20):
        raise StoreError("what is stored is no number")
    return int(text)


def _key(collection: str, key: str) -> bytes:
    packed = _packed(collection) + b"\0" + _packed(key)
    if not key or len(packed) > MAX_KEY:
        raise StoreError(f"a key must have 1 to {MAX_KEY - 1} bytes, together with the name of its collection")
    return packed


def _packed(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
