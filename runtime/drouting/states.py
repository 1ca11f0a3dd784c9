"""Which gateways and carriers are in use, the same for all processes.

What the table says is in the generation; here is only what has changed since. A change holds for as long as its epoch
is the partition's: a load that lets nothing be inherited starts another one, and all changes are void at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

import lmdb
import msgspec

from runtime.drouting.generation import View
from runtime.drouting.rules import Carrier, Gateway, State
from runtime.store import Store

_AT_ONCE: Final = 500
"""Changes that one transaction removes."""
_Change = tuple[int, int]
"""A state and its epoch."""
_DECODER: Final = msgspec.msgpack.Decoder(_Change)


class States:
    """The states, as this process sees them.

    Args:
        store: what all processes share.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._table = store.table("drouting_states")

    def get(self, partition: str, of: Gateway | Carrier, epoch: int) -> State:
        """What holds now."""
        with self._store.reading() as read:
            return _holding(read.get(state_key(partition, of), db=self._table), of, epoch)

    def put(
        self, partition: str, of: Gateway | Carrier, epoch: int, state: State, only_from: State | None = None
    ) -> State:
        """Change it; gives the state before.

        Args:
            only_from: nothing is changed where the state before is another one.

        Raises:
            StoreError: there is no room.
        """
        key = state_key(partition, of)
        with self._store.writing() as write:
            packed = write.get(key, db=self._table)
            before = _holding(packed, of, epoch)
            # What somebody has changed in an epoch that this process does not know of yet stands.
            if before is not state and only_from in (None, before) and _epoch_of(packed) <= epoch:
                self._put(write, key, state, epoch)
        return before

    def inherit(self, write: lmdb.Transaction, partition: str, before: View, after: View) -> None:
        """Have what is in both generations keep its state, as a part of the transaction that puts one for the other.

        Where the tables say the same, nothing is to be done: changes since then go on.
        """
        for old, new in _in_both(before, after):
            key = state_key(partition, new)
            if old.state is not new.state and _epoch_of(write.get(key, db=self._table)) != before.epoch:
                self._put(write, key, old.state, before.epoch)

    def tidy(self, partition: str, view: View) -> None:
        """Remove the changes that hold no more, and those of what is not there any more.

        Raises:
            StoreError: there is no room.
        """
        there = {state_key(partition, one) for one in _all(view)}
        with self._store.reading() as read:
            changes = list(_changes(read.cursor(self._table), partition))
        old = [key for key, change in changes if key not in there or _epoch_of(change) < view.epoch]
        for start in range(0, len(old), _AT_ONCE):
            with self._store.writing() as write:
                for key in old[start : start + _AT_ONCE]:
                    # Somebody may have changed it again meanwhile, in a newer epoch than this process knows of.
                    if key not in there or _epoch_of(write.get(key, db=self._table)) < view.epoch:
                        write.delete(key, db=self._table)

    def _put(self, write: lmdb.Transaction, key: bytes, state: State, epoch: int) -> None:
        write.put(key, msgspec.msgpack.encode((int(state), epoch)), db=self._table)


def state_key(partition: str, of: Gateway | Carrier) -> bytes:
    """Under which key changes are kept."""
    kind = "#" if isinstance(of, Carrier) else ""
    return f"{partition}\0{kind}{of.id}".encode("utf-8", "surrogateescape")


def _holding(packed: bytes | memoryview | None, of: Gateway | Carrier, epoch: int) -> State:
    if packed is not None:
        state, since = _DECODER.decode(packed)
        if since == epoch:
            return State(state)
    return of.state


def _epoch_of(packed: bytes | memoryview | None) -> int:
    return -1 if packed is None else _DECODER.decode(packed)[1]


def _in_both(before: View, after: View) -> Iterator[tuple[Gateway, Gateway] | tuple[Carrier, Carrier]]:
    for id, gateway in after.gateways.items():
        if id in before.gateways:
            yield before.gateways[id], gateway
    for id, carrier in after.carriers.items():
        if id in before.carriers:
            yield before.carriers[id], carrier


def _all(view: View) -> Iterable[Gateway | Carrier]:
    yield from view.gateways.values()
    yield from view.carriers.values()


def _changes(cursor: lmdb.Cursor, partition: str) -> Iterator[tuple[bytes, bytes]]:
    start = f"{partition}\0".encode("utf-8", "surrogateescape")
    there = cursor.set_range(start)
    while there and bytes(cursor.key()).startswith(start):
        yield bytes(cursor.key()), bytes(cursor.value())
        there = cursor.next()
