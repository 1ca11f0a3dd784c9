"""The dialogs of all processes: an LMDB environment of its own in the runtime folder.

Its own, because LMDB has one writer at a time per environment, and each call writes here several times. Every change
is one transaction over the record, its indexes and the counts, so a process killed at any moment leaves them agreed.

| database | key | value |
|---|---|---|
| dialogs | id | one byte of state, then the `Dialog` as msgpack |
| calls | digest of the Call-ID, id | |
| due | deadline in ms of the monotonic clock, id | |
| members | profile, value, id | |
| counts | profile, value, or profile alone, or "" | how many |
| outbox | id | what the database (of the db_url) has not seen yet |
| parting | id | what others are to have of a call that has ended (`runtime.outbox`) |
"""

from __future__ import annotations

import contextlib
import itertools
import struct
from collections.abc import Callable, Iterable, Iterator
from hashlib import blake2b
from pathlib import Path
from typing import Final, NamedTuple, TypeAlias

import lmdb
import msgspec

from runtime.dialogs.places import SharedPlaces
from runtime.outbox import Outbox
from runtime.sip.dialog import Dialog, number_of
from runtime.sip.dialog_words import Effect, Gone, State
from runtime.store import StoreError, open_environment

LEASE_S: Final = 10.0
"""How long a process may take over what the clock has given it, before the clock gives it to another."""
MAX_VALUE_BYTES: Final = 400
"""Of a profile's value: LMDB's keys end at 511 bytes."""
MAX_RECORD: Final = 1 << 20
_ID: Final = 8
_TOTALS: Final = b"\0"
LASTING: Final = (State.CONFIRMED_NA, State.CONFIRMED)
"""The states of a call that has been answered."""
_NOTHING: Final = b""

_Bytes: TypeAlias = bytes | memoryview
"""What LMDB gives. It gives bytes, unless an environment is asked for buffers; its types do not say so."""
Change: TypeAlias = Callable[[Dialog], list[Effect]]
"""Changes a dialog and tells what happened; without an effect it has changed nothing."""


class Totals(NamedTuple):
    """How many dialogs there are: not answered at all, early, confirmed."""

    unconfirmed: int = 0
    early: int = 0
    confirmed: int = 0

    @property
    def alive(self) -> int:
        return self.unconfirmed + self.early + self.confirmed


class Page(NamedTuple):
    """Some dialogs, and how many there were at that moment.

    Args:
        total: how many there are, these and all others.
        dialogs: those of the page.
        more: whether there are others behind them.
    """

    total: int
    dialogs: list[Dialog]
    more: bool


class _Before(NamedTuple):
    """What a record's indexes are made from, as it was."""

    state: int
    due: float
    profiles: list[tuple[str, str]]


class DialogStore:
    """See the module.

    Args:
        folder: where the environment lies; made with mode 0700 when it is not there.
        outbox: whether to note what changed, for the database.
        size: bytes that all dialogs may take together.

    Attributes:
        parting: what is kept of calls that have ended.
        places: how far clients have read.
        keepsake: what to keep of a confirmed dialog that ends, by the change that ends it; None for nothing.
    """

    def __init__(self, folder: Path, outbox: bool = False, size: int = 1 << 30) -> None:
        self._environment = open_environment(folder, size, tables=7)
        open_db = self._environment.open_db
        self._dialogs = open_db(b"dialogs")
        self._calls = open_db(b"calls")
        self._due = open_db(b"due")
        self._members = open_db(b"members")
        self._counts = open_db(b"counts")
        self._outbox = open_db(b"outbox")
        self.parting = Outbox(self._environment, b"parting")
        self.places = SharedPlaces(folder / "paging")
        self.keepsake: Callable[[Dialog], bytes | None] | None = None
        self._notes = outbox
        self._encode = msgspec.msgpack.Encoder().encode
        self._decode = msgspec.msgpack.Decoder(Dialog).decode

    # One dialog.

    def create(self, dialog: Dialog) -> bool:
        """Put a new dialog in; False when there is one with its id.

        Raises:
            StoreError: the store is full.
        """
        key = _key(dialog.id)
        with self._write() as write:
            if not write.put(key, self._packed(dialog), db=self._dialogs, overwrite=False):
                return False
            write.put(_call(dialog.call_id) + key, _NOTHING, db=self._calls)
            self._index(write, key, _NEW, dialog)
        return True

    def load(self, number: int) -> Dialog | None:
        """The dialog of that id, None when there is none."""
        with self._environment.begin(db=self._dialogs) as read:
            packed = read.get(_key(number))
        return None if packed is None else self._decode(packed[1:])

    def update(self, number: int, change: Change) -> tuple[Dialog, list[Effect]] | None:
        """Change a dialog while nobody else can.

        Returns:
            the dialog as it is now, and what happened; None when there is none of that id.

        Raises:
            StoreError: the store is full, and nothing has changed.
        """
        key = _key(number)
        try:
            # Not by `_write`, which costs a microsecond more: each message of a call comes by here.
            with self._environment.begin(write=True, db=self._dialogs) as write:
                packed = write.get(key)
                if packed is None:
                    return None
                dialog = self._decode(packed[1:])
                before = _Before(dialog.state, dialog.due, dialog.profiles)
                effects = change(dialog)
                if self.keepsake is not None and dialog.state == State.DELETED and before.state in LASTING:
                    self._keep(write, key, self.keepsake(dialog))
                if not effects:
                    write.abort()
                elif isinstance(effects[-1], Gone):
                    self._drop(write, key, before, dialog)
                else:
                    self._put(write, key, before, dialog)
        except lmdb.Error as error:
            raise _store_error(error) from error
        return dialog, effects

    def _keep(self, write: lmdb.Transaction, key: bytes, kept: bytes | None) -> None:
        if kept is not None:
            self.parting.put_in(write, key, kept)

    def load_did(self, did: str) -> Dialog | None:
        """The dialog of that identifier, None when there is none."""
        number = number_of(did)
        return None if number is None else self.load(number)

    def update_did(self, did: str, change: Change) -> tuple[Dialog, list[Effect]] | None:
        """`update`, by the identifier."""
        number = number_of(did)
        return None if number is None else self.update(number, change)

    def of_call(self, call_id: str) -> list[Dialog]:
        """The dialogs with that Call-ID."""
        prefix = _call(call_id)
        with self._environment.begin() as read:
            keys = [key[-_ID:] for key in _keys(read.cursor(self._calls), prefix)]
            found = [self._decode(packed[1:]) for key in keys if (packed := read.get(key, db=self._dialogs))]
        return [dialog for dialog in found if dialog.call_id == call_id]

    # Many of them.

    def alive(self) -> Iterator[Dialog]:
        """The dialogs that are not over, as they are at the moment of the first one, by their ids."""
        with self._environment.begin(db=self._dialogs) as read:
            for _, packed in read.cursor():
                if packed[0] != State.DELETED:
                    yield self._decode(packed[1:])

    def page(self, count: int, *, index: int = 0, after: int | None = None) -> Page:
        """Some of the dialogs that are not over, by their ids.

        Args:
            count: how many at most.
            index: how many are left out before them; looked for from the nearer end, at 0.2 us for each.
            after: in place of the index, the id behind which they begin. This takes no looking.
        """
        with self._environment.begin(db=self._dialogs, buffers=True) as read:
            total = _totals(read.get(_TOTALS, db=self._counts)).alive
            cursor = read.cursor()
            if not (_skip(cursor, index, total) if after is None else cursor.set_range(_key(after + 1))):
                return Page(total, [], False)
            alive = (packed for _, packed in cursor if packed[0] != State.DELETED)
            dialogs = [self._decode(packed[1:]) for packed in itertools.islice(alive, count)]
            return Page(total, dialogs, next(alive, None) is not None)

    def setting_up(self) -> list[Dialog]:
        """The dialogs whose INVITE has no final reply."""
        with self._environment.begin(db=self._dialogs) as read:
            return [self._decode(packed[1:]) for _, packed in read.cursor() if packed[0] <= State.EARLY]

    def totals(self) -> Totals:
        """How many dialogs there are."""
        with self._environment.begin(db=self._counts) as read:
            return _totals(read.get(_TOTALS))

    # Profiles.

    def size_of(self, profile: str, value: str | None = None) -> int:
        """How many dialogs are in a profile, or in it with that value."""
        with self._environment.begin(db=self._counts) as read:
            return _number(read.get(_profile(profile) if value is None else _member(profile, value)))

    def values_of(self, profile: str) -> Iterator[tuple[str, int]]:
        """The values that dialogs have in a profile, each with how many, as they are at the moment of the first one."""
        prefix = _profile(profile) + b"\0"
        with self._environment.begin(db=self._counts) as read:
            for key, count in _items(read.cursor(), prefix):
                yield _text(key[len(prefix) : -1]), _number(count)

    def members_of(self, profile: str, value: str | None = None) -> Iterator[Dialog]:
        """The dialogs in a profile, or in it with that value, each once, as they are at the moment of the first one."""
        prefix = _profile(profile) + b"\0" if value is None else _member(profile, value)
        with self._environment.begin() as read:
            for key in dict.fromkeys(key[-_ID:] for key in _keys(read.cursor(self._members), prefix)):
                if packed := read.get(key, db=self._dialogs):
                    yield self._decode(packed[1:])

    # The clock.

    def next_due(self) -> float | None:
        """When `claim` has something to give; None when nothing is waited for."""
        with self._environment.begin(db=self._due) as read:
            cursor = read.cursor()
            return int.from_bytes(cursor.key()[:-_ID], "big") / 1000 if cursor.first() else None

    def claim(self, now: float, limit: int = 100) -> list[int]:
        """Take what is due: the ids of dialogs of which somebody must now hear `Due`.

        They are due again after `LEASE_S`: should this process or the one that it tells die, nothing is lost. What
        is over, with nothing under way, is dropped here.
        """
        claimed = []
        with self._write() as write:
            latest = _deadline(now)
            soonest = (bytes(index_key) for index_key, _ in itertools.islice(write.cursor(self._due), limit))
            for index_key in [found for found in soonest if found[:-_ID] <= latest]:
                key = index_key[-_ID:]
                packed = write.get(key, db=self._dialogs)
                if packed is None:  # it cannot be; but what cannot be must not stop the clock
                    write.delete(index_key, db=self._due)
                    continue
                dialog = self._decode(packed[1:])
                before = _Before(dialog.state, dialog.due, dialog.profiles)
                if dialog.state == State.DELETED and not (dialog.caller.bye or dialog.callee.bye):
                    self._drop(write, key, before, dialog)
                    continue
                dialog.due = now + LEASE_S
                self._put(write, key, before, dialog)
                claimed.append(dialog.id)
        return claimed

    # The outbox.

    def has_changed(self) -> bool:
        """Whether there is something that the database has not seen."""
        with self._environment.begin(db=self._outbox) as read:
            return bool(read.cursor().first())

    def changed(self, limit: int = 500) -> list[tuple[int, bytes, Dialog | None]]:
        """What the database has not seen: ids, each with the mark of its last change and what there is of it now."""
        with self._environment.begin() as read:
            marks = list(itertools.islice(read.cursor(self._outbox), limit))
            found = [(key, mark, read.get(key, db=self._dialogs)) for key, mark in marks]
        return [
            (int.from_bytes(key, "big"), bytes(mark), None if packed is None else self._decode(packed[1:]))
            for key, mark, packed in found
        ]

    def seen(self, marks: Iterable[tuple[int, bytes]]) -> None:
        """The database has these; what changed again meanwhile stays."""
        with self._write() as write:
            for number, mark in marks:
                key = _key(number)
                if write.get(key, db=self._outbox) == mark:
                    write.delete(key, db=self._outbox)

    # Its own life.

    def used(self) -> int:
        """Bytes of pages in use."""
        info, stat = self._environment.info(), self._environment.stat()
        return int((info["last_pgno"] + 1) * stat["psize"])

    def free_readers(self) -> None:
        """Free the reader slots of processes that died."""
        self._environment.reader_check()
        self.places.free_readers()

    def close(self) -> None:
        self._environment.close()
        self.places.close()

    # Writing.

    @contextlib.contextmanager
    def _write(self) -> Iterator[lmdb.Transaction]:
        try:
            with self._environment.begin(write=True) as write:
                yield write
        except lmdb.Error as error:
            raise _store_error(error) from error

    def _put(self, write: lmdb.Transaction, key: bytes, before: _Before, dialog: Dialog) -> None:
        write.put(key, self._packed(dialog), db=self._dialogs)
        self._index(write, key, before, dialog)

    def _packed(self, dialog: Dialog) -> bytes:
        packed = bytes((dialog.state,)) + self._encode(dialog)
        if len(packed) > MAX_RECORD:
            raise StoreError(f"a dialog of {len(packed)} bytes is over the limit of {MAX_RECORD}")
        return packed

    def _drop(self, write: lmdb.Transaction, key: bytes, before: _Before, dialog: Dialog) -> None:
        write.delete(key, db=self._dialogs)
        write.delete(_call(dialog.call_id) + key, db=self._calls)
        if before.due:
            write.delete(_deadline(before.due) + key, db=self._due)
        self._move(write, key, before, State.DELETED, [])
        if self._notes and before.state > State.EARLY:
            self._mark(write, key)

    def _index(self, write: lmdb.Transaction, key: bytes, before: _Before, dialog: Dialog) -> None:
        if dialog.due != before.due:
            if before.due:
                write.delete(_deadline(before.due) + key, db=self._due)
            write.put(_deadline(dialog.due) + key, _NOTHING, db=self._due)
        self._move(write, key, before, dialog.state, dialog.profiles)
        if self._notes and dialog.state > State.EARLY:
            self._mark(write, key)

    def _move(
        self, write: lmdb.Transaction, key: bytes, before: _Before, state: int, profiles: list[tuple[str, str]]
    ) -> None:
        """Set the counts right."""
        was, now = _COUNTED[before.state], _COUNTED[state]
        if was != now:
            packed = write.get(_TOTALS, db=self._counts)
            totals = [0, 0, 0, 0] if packed is None else list(_TOTAL.unpack(packed))
            totals[was] -= 1
            totals[now] += 1
            totals[_UNCOUNTED] = 0
            write.put(_TOTALS, _TOTAL.pack(*totals), db=self._counts)
        if before.profiles != profiles:
            self._leave(write, key, [one for one in before.profiles if one not in profiles])
            self._join(write, key, [one for one in profiles if one not in before.profiles])

    def _join(self, write: lmdb.Transaction, key: bytes, profiles: Iterable[tuple[str, str]]) -> None:
        for profile, value in profiles:
            member = _member(profile, value)
            if write.put(member + key, _NOTHING, db=self._members, overwrite=False):
                self._add(write, member, 1)
                self._add(write, _profile(profile), 1)

    def _leave(self, write: lmdb.Transaction, key: bytes, profiles: Iterable[tuple[str, str]]) -> None:
        for profile, value in profiles:
            member = _member(profile, value)
            if write.delete(member + key, db=self._members):
                self._add(write, member, -1)
                self._add(write, _profile(profile), -1)

    def _add(self, write: lmdb.Transaction, key: bytes, amount: int) -> None:
        count = _number(write.get(key, db=self._counts)) + amount
        if count:
            write.put(key, _count(count), db=self._counts)
        else:
            write.delete(key, db=self._counts)

    def _mark(self, write: lmdb.Transaction, key: bytes) -> None:
        # Transactions are numbered: a mark tells one change from the next.
        write.put(key, write.id().to_bytes(8, "big"), db=self._outbox)


_NEW: Final = _Before(0, 0.0, [])
_UNCOUNTED: Final = 3
_COUNTED: Final = (_UNCOUNTED, 0, 1, 2, 2, _UNCOUNTED)
"""Which of the totals a dialog in each state is in; state 0 stands for one that is not there yet."""
_TOTAL: Final = struct.Struct(">4i")


def _store_error(error: lmdb.Error) -> StoreError:
    return StoreError("there is no room for more dialogs" if isinstance(error, lmdb.MapFullError) else str(error))


def fits(value: str) -> bool:
    """Whether a text can be a profile's value."""
    return len(value) <= MAX_VALUE_BYTES and "\0" not in value


def _key(number: int) -> bytes:
    return number.to_bytes(_ID, "big")


def _deadline(due: float) -> bytes:
    return int(due * 1000).to_bytes(8, "big")


def _call(call_id: str) -> bytes:
    return blake2b(call_id.encode("latin-1", "replace"), digest_size=8).digest()


def _profile(profile: str) -> bytes:
    return profile.encode("latin-1", "replace")


def _member(profile: str, value: str) -> bytes:
    return b"%b\0%b\0" % (_profile(profile), value.encode("latin-1", "replace"))


def _text(value: _Bytes) -> str:
    return bytes(value).decode("latin-1")


def _count(number: int) -> bytes:
    return number.to_bytes(4, "big")


def _number(packed: _Bytes | None) -> int:
    return 0 if packed is None else int.from_bytes(packed, "big")


def _totals(packed: _Bytes | None) -> Totals:
    return Totals() if packed is None else Totals(*_TOTAL.unpack(packed)[:_UNCOUNTED])


def _skip(cursor: lmdb.Cursor, index: int, total: int) -> bool:
    """Move to the `index`-th of so many dialogs that are not over; False when there are not as many."""
    if not 0 <= index < total:
        return False
    backwards = index > total // 2
    values = (cursor.iterprev if backwards else cursor.iternext)(keys=False, values=True)
    alive = (packed for packed in values if packed[0] != State.DELETED)
    return next(itertools.islice(alive, total - 1 - index if backwards else index, None), None) is not None


def _items(cursor: lmdb.Cursor, prefix: bytes) -> Iterator[tuple[bytes, _Bytes]]:
    if cursor.set_range(prefix):
        for key, value in cursor:
            if key[: len(prefix)] != prefix:
                return
            yield bytes(key), value


def _keys(cursor: lmdb.Cursor, prefix: bytes) -> Iterator[bytes]:
    return (key for key, _ in _items(cursor, prefix))
