"""Who has subscribed to which event, as all processes share it: read from memory where nothing has changed.

The lists lie in the store. A cell of shared memory says which state of them is the newest, so that asking who hears of
an event costs no more than looking at it: most events are raised where nobody listens.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from runtime.clock import epoch_now
from runtime.subscriptions import MAX_EVENTS, Subscription, alive, packed, with_one, without

if TYPE_CHECKING:
    import lmdb

    from runtime.store import Store

_CHANGING: Final = 0
"""In the cell while a change is on its way, and for good where who made it was killed then: each look reads."""


class Newest:
    """The cell. Made before the forks, so that all processes have the same."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, mmap.PAGESIZE)
        self.cell = memoryview(self._memory).cast("Q")


class Subscribers:
    """The subscribers of all events, as this process sees them.

    Args:
        store: this process's own.
        newest: the cell that all share.
    """

    def __init__(self, store: Store, newest: Newest) -> None:
        self._store = store
        self._table = store.table("subscriptions")
        self._cell = newest.cell
        self._seen = _CHANGING
        self._known: dict[str, list[Subscription]] = {}

    def of(self, event: str) -> list[Subscription]:
        """Those of an event whose time is not over."""
        newest = self._cell[0]
        if newest != self._seen or newest == _CHANGING:
            self._known, self._seen = {}, newest
        found = self._known.get(event)
        if found is None:
            if len(self._known) >= MAX_EVENTS:  # a script computes their names
                self._known = {}
            found = self._known[event] = self._read(event)
        return [one for one in found if one.is_alive(epoch_now())] if found else found

    def events(self) -> list[str]:
        """The events that have subscribers."""
        with self._store.reading() as read:
            return [bytes(key).decode() for key in read.cursor(self._table).iternext(values=False)]

    def add(self, event: str, socket: str, expire_s: int) -> str | None:
        """Subscribe, or subscribe anew, for ever where `expire_s` is 0; gives why it cannot be, or None.

        Raises:
            StoreError: there is no room.
        """
        now, key = epoch_now(), event.encode()

        def change(data: bytes | memoryview | None, entries: int) -> bytes | str:
            if data is None and entries >= MAX_EVENTS:
                return "too many events have subscribers"
            subscribers = with_one(alive(data, now), socket, expire_s, now)
            return f"too many subscribe to {event}" if subscribers is None else packed(subscribers)

        return self._change(key, change)

    def remove(self, event: str, socket: str) -> None:
        """Unsubscribe; also where it was no subscriber.

        Raises:
            StoreError: there is no room to note it.
        """

        def change(data: bytes | memoryview | None, entries: int) -> bytes | str:
            left = without(alive(data, epoch_now()), socket)
            return packed(left) if left else b""

        self._change(event.encode(), change)

    def _read(self, event: str) -> list[Subscription]:
        with self._store.reading() as read:
            return alive(read.get(event.encode("latin-1", "replace"), db=self._table), epoch_now())

    def _forget_ended(self, write: lmdb.Transaction) -> None:
        """Make room: events whose subscribers' time is over go. Nobody who looks sees a difference."""
        now = epoch_now()
        for key in [bytes(key) for key, data in write.cursor(self._table) if not alive(data, now)]:
            write.delete(key, db=self._table)

    def _change(self, key: bytes, change: Callable[[bytes | memoryview | None, int], bytes | str]) -> str | None:
        with self._store.writing() as write:
            if write.stat(self._table)["entries"] >= MAX_EVENTS:
                self._forget_ended(write)
            data = write.get(key, db=self._table)
            found = change(data, write.stat(self._table)["entries"])
            if isinstance(found, str):
                return found
            if not found and data is None:
                return None  # a transaction that writes nothing leaves its number to the next one
            self._cell[0] = _CHANGING
            number = write.id()
            if found:
                write.put(key, found, db=self._table)
            else:
                write.delete(key, db=self._table)
        # Behind the commit: who sees this number sees the change. Transactions are numbered, so no two changes have
        # the same, and whoever looks in between looks again.
        self._cell[0] = number
        return None
