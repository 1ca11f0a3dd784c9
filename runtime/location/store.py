"""Where bindings are kept: tables of the store that all processes share.

Reading takes no lock. A REGISTER is one write transaction, in which it is also decided, so that two that come at the
same moment in two processes see each other; a process killed in the middle of one leaves everything as it was. Beside
the bindings there are an index by the time when the first one of a user ends, so that a sweep reads only what is over,
and a mark for each user whose rows in the database are not what is kept here.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

import msgpack

from runtime.location.bindings import Accepted, Change, Inserted, Refused, expire
from runtime.location.contact import MEMORY_ONLY, Contact
from runtime.store import MAX_KEY, MAX_VALUE, Store, StoreError

if TYPE_CHECKING:
    import lmdb

Buffer: TypeAlias = bytes | memoryview
Decide: TypeAlias = Callable[[tuple[Contact, ...], int], Accepted | Refused]
"""From what is bound and the id for the first new binding to what shall be."""

_WALK: Final = 500
"""Users read in one transaction by who reads all of them."""
_COUNTS: Final = struct.Struct(">qq")
_STAMP: Final = struct.Struct(">Q")
_NUMBERS: Final = b"numbers"


class User(NamedTuple):
    """One address-of-record, e.g. ``alice`` in the domain ``location``.

    Args:
        domain: the name of the table, as in ``save("location")``.
        aor: as `registration.aor_of` gives it.
    """

    domain: str
    aor: str


class Mark(NamedTuple):
    """That a user's rows in the database are out of date.

    Args:
        user: whose.
        version: which state of them; a later change makes another mark in its place.
    """

    user: User
    version: int


class Ended(NamedTuple):
    """What a sweep did to one user: what changed, and how many bindings are left."""

    user: User
    changes: tuple[Change, ...]
    left: int


class Locations:
    """The bindings of all users, as this process sees them.

    Args:
        store: this process's own.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._users = store.table("usrloc")
        self._ends = store.table("usrloc_ends")
        """Keys alone: the second when the user's first binding ends, then the user."""
        self._marks = store.table("usrloc_marks")
        self._numbers = store.table("usrloc_numbers")
        """The next id and the last mark's version; and for each domain how many users and contacts it has."""

    # Reading.

    def get(self, user: User) -> tuple[Contact, ...]:
        """A user's bindings, those whose time is over included until a sweep comes by."""
        key = _key(user)
        if key is None:
            return ()
        with self._store.reading() as transaction:
            return _unpacked(transaction.get(key, db=self._users))

    def everybody(self, domain: str) -> Iterator[tuple[User, tuple[Contact, ...]]]:
        """Every user of a domain. What changes meanwhile may be seen or not."""
        prefix = _packed_text(domain) + b"\0"
        after = prefix
        while True:
            with self._store.reading() as transaction:
                rows = _rows_after(transaction.cursor(self._users), after, prefix)
            for key, packed in rows:
                yield _user(key), _unpacked(packed)
            if len(rows) < _WALK:
                return
            after = rows[-1][0]

    def counts(self, domain: str) -> tuple[int, int]:
        """How many users and how many contacts a domain has, those not yet swept included."""
        with self._store.reading() as transaction:
            packed = transaction.get(_packed_text(domain) + b"\0", db=self._numbers)
        users, contacts = _COUNTS.unpack(packed) if packed else (0, 0)
        return users, contacts

    def users(self) -> int:
        """How many users all domains have together."""
        with self._store.reading() as transaction:
            return int(transaction.stat(self._users)["entries"])

    # Changing.

    def change(self, user: User, decide: Decide, *, mark: bool) -> Accepted | Refused:
        """Change a user's bindings as `decide` says, in one transaction.

        Args:
            decide: called once, with the write lock held: it must not wait for anything.
            mark: whether the database is to learn of it.

        Raises:
            StoreError: the user's name is too long, or there is no room.
        """
        key = _checked_key(user)
        with self._store.writing() as transaction:
            existing = _unpacked(transaction.get(key, db=self._users))
            next_id, version = self._read_numbers(transaction)
            found = decide(existing, next_id)
            if isinstance(found, Refused) or not found.changes:
                return found
            self._put(transaction, key, existing, found.contacts)
            mark = mark and any([not change.contact.flags & MEMORY_ONLY for change in found.changes])
            if mark:
                transaction.put(key, _STAMP.pack(version + 1), db=self._marks)
            new = [change.contact.id for change in found.changes if isinstance(change, Inserted)]
            if new or mark:
                self._write_numbers(transaction, max([next_id, *[id_ + 1 for id_ in new]]), version + mark)
        return found

    def sweep(self, now: float, limit: int, *, mark: bool) -> list[Ended]:
        """Let go of bindings whose time is over, of up to `limit` users.

        Args:
            now: seconds of the epoch.
            mark: whether the database is to learn of it.

        Returns:
            What ended. Empty when nothing was over, so another call is worth while as long as there is something.

        Raises:
            StoreError: there is no room even for a removal.
        """
        ended: list[Ended] = []
        with self._store.writing() as transaction:
            over = list(islice(_over(transaction.cursor(self._ends), now), limit))
            if not over:
                return ended
            next_id, version = self._read_numbers(transaction)
            for index in over:
                key = index[_STAMP.size :]
                existing = _unpacked(transaction.get(key, db=self._users))
                found = expire(existing, now)
                self._put(transaction, key, existing, found.contacts)
                # One whose user had none is wrong for whatever reason, and would be found for ever.
                transaction.delete(index, db=self._ends)
                if found.contacts:
                    self._index(transaction, key, found.contacts)
                if mark and any([not change.contact.flags & MEMORY_ONLY for change in found.changes]):
                    version += 1
                    transaction.put(key, _STAMP.pack(version), db=self._marks)
                ended.append(Ended(_user(key), found.changes, len(found.contacts)))
            self._write_numbers(transaction, next_id, version)
        return ended

    def load(self, rows: Iterable[tuple[User, Contact]], next_id: int) -> int:
        """Take in bindings from a database, where there are none yet.

        Args:
            rows: in any order; one whose user's name is too long is left out.
            next_id: the first id that is free.

        Returns:
            How many bindings were taken.

        Raises:
            StoreError: there is no room.
        """
        taken = 0
        with self._store.writing() as transaction:
            for user, contact in rows:
                key = _key(user)
                if key is not None:
                    existing = _unpacked(transaction.get(key, db=self._users))
                    self._put(transaction, key, existing, (*existing, contact))
                    taken += 1
            known, version = self._read_numbers(transaction)
            self._write_numbers(transaction, max(known, next_id), version)
        return taken

    # What the database has not got yet.

    def marks(self, limit: int, after: User | None = None) -> list[Mark]:
        """Up to `limit` marks, by users in their order behind `after`, and from the first one on when none is left."""
        start = _key(after) if after is not None else None
        with self._store.reading() as transaction:
            rows = _rows_after(transaction.cursor(self._marks), start or b"", b"", limit)
            if not rows and start:
                rows = _rows_after(transaction.cursor(self._marks), b"", b"", limit)
        return [Mark(_user(key), _STAMP.unpack(packed)[0]) for key, packed in rows]

    def is_marked(self, user: User) -> bool:
        """Whether the database may have other rows of a user than are kept here."""
        key = _key(user)
        if key is None:
            return False
        with self._store.reading() as transaction:
            return transaction.get(key, db=self._marks) is not None

    def marked(self) -> int:
        """How many users are marked."""
        with self._store.reading() as transaction:
            return int(transaction.stat(self._marks)["entries"])

    def recorded(self, marks: Sequence[Mark]) -> None:
        """The states of these marks are in the database.

        A mark that stands for a later state stays. One that is gone was recorded by somebody else in the meantime, and
        perhaps before what was written now, which would be an older state: it is made anew.

        Raises:
            StoreError: there is no room.
        """
        with self._store.writing() as transaction:
            next_id, version = self._read_numbers(transaction)
            for mark in marks:
                key = _key(mark.user)
                assert key is not None, "it was read from there"
                packed = transaction.get(key, db=self._marks)
                if packed is None:
                    version += 1
                    transaction.put(key, _STAMP.pack(version), db=self._marks)
                elif _STAMP.unpack(packed)[0] == mark.version:
                    transaction.delete(key, db=self._marks)
            self._write_numbers(transaction, next_id, version)

    def mark(self, user: User) -> None:
        """Mark a user whose bindings have not changed.

        Raises:
            StoreError: the user's name is too long, or there is no room.
        """
        key = _checked_key(user)
        with self._store.writing() as transaction:
            next_id, version = self._read_numbers(transaction)
            transaction.put(key, _STAMP.pack(version + 1), db=self._marks)
            self._write_numbers(transaction, next_id, version + 1)

    def mark_all(self, domain: str) -> int:
        """Mark every user of a domain; how many they are."""
        count = 0
        for user, _ in self.everybody(domain):
            self.mark(user)
            count += 1
        return count

    # Within a transaction.

    def _put(
        self, transaction: lmdb.Transaction, key: bytes, old: tuple[Contact, ...], new: tuple[Contact, ...]
    ) -> None:
        """Write a user's bindings, with the index and the counts."""
        if new:
            packed = msgpack.packb(new)
            if len(packed) > MAX_VALUE:
                raise StoreError(f"bindings of {len(packed)} bytes are over the limit of {MAX_VALUE}")
            transaction.put(key, packed, db=self._users)
        elif old:
            transaction.delete(key, db=self._users)
        if (ends := _first_end(old)) is not None:
            transaction.delete(_STAMP.pack(ends) + key, db=self._ends)
        self._index(transaction, key, new)
        self._count(transaction, key, bool(new) - bool(old), len(new) - len(old))

    def _index(self, transaction: lmdb.Transaction, key: bytes, contacts: tuple[Contact, ...]) -> None:
        if (ends := _first_end(contacts)) is not None:
            transaction.put(_STAMP.pack(ends) + key, b"", db=self._ends)

    def _count(self, transaction: lmdb.Transaction, key: bytes, users: int, contacts: int) -> None:
        if users or contacts:
            domain = key[: key.index(b"\0") + 1]
            packed = transaction.get(domain, db=self._numbers)
            before = _COUNTS.unpack(packed) if packed else (0, 0)
            transaction.put(domain, _COUNTS.pack(before[0] + users, before[1] + contacts), db=self._numbers)

    def _read_numbers(self, transaction: lmdb.Transaction) -> tuple[int, int]:
        packed = transaction.get(_NUMBERS, db=self._numbers)
        next_id, version = _COUNTS.unpack(packed) if packed else (1, 0)
        return next_id, version

    def _write_numbers(self, transaction: lmdb.Transaction, next_id: int, version: int) -> None:
        transaction.put(_NUMBERS, _COUNTS.pack(next_id, version), db=self._numbers)


def _first_end(contacts: tuple[Contact, ...]) -> int | None:
    return min([contact.expires_at for contact in contacts if contact.expires_at], default=None)


def _unpacked(packed: Buffer | None) -> tuple[Contact, ...]:
    if packed is None:
        return ()
    return tuple([Contact(*row) for row in msgpack.unpackb(packed)])


def _packed_text(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _key(user: User) -> bytes | None:
    """A user as a key; None when it does not fit one."""
    domain, aor = user
    key = _packed_text(f"{domain}\0{aor}")
    # The index has a stamp before it.
    fits = len(key) <= MAX_KEY - _STAMP.size and domain and aor and "\0" not in domain
    return key if fits else None


def _checked_key(user: User) -> bytes:
    key = _key(user)
    if key is None:
        raise StoreError(f"a domain and a user must have 3 to {MAX_KEY - _STAMP.size} bytes together")
    return key


def _user(key: bytes) -> User:
    domain, _, aor = key.decode("utf-8", "surrogateescape").partition("\0")
    return User(domain, aor)


def _rows_after(cursor: lmdb.Cursor, after: bytes, prefix: bytes, limit: int = _WALK) -> list[tuple[bytes, bytes]]:
    rows: list[tuple[bytes, bytes]] = []
    if not cursor.set_range(after):
        return rows
    for key, value in cursor:
        if len(rows) == limit or not bytes(key).startswith(prefix):
            break
        if key != after:
            rows.append((bytes(key), bytes(value)))
    return rows


def _over(cursor: lmdb.Cursor, now: float) -> Iterator[bytes]:
    for key, _ in cursor:
        if _STAMP.unpack_from(key)[0] > now:
            return
        yield bytes(key)
