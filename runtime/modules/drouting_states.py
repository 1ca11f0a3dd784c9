"""States of gateways and carriers on their way into the tables they came from, so that they outlive the server.

Each change leaves a mark in the shared store. The MI process has what is marked written by a job, which looks up the
state when it writes: however changes and jobs overtake each other, the last state is what the table ends with.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Final, NamedTuple

import msgpack

from runtime.db import DatabaseError
from runtime.drouting.partitions import Partition
from runtime.drouting.routing import Routing
from runtime.drouting.rules import Carrier, Gateway
from runtime.recording import AT_ONCE, recorded
from runtime.store import Store

if TYPE_CHECKING:
    from workers.worker import Running

log = logging.getLogger("layby.drouting")

_CARRIER: Final = "c"
_GATEWAY: Final = "g"


class Mark(NamedTuple):
    """What is to be written.

    Args:
        partition: of which partition.
        kind: whether it is a gateway or a carrier.
        id: its id.
        stamp: another one for each change, so that a change while it is being written is not overlooked.
    """

    partition: str
    kind: str
    id: str
    stamp: bytes


class Marks:
    """The marks of all processes, as one process sees them."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._table = store.table("drouting_marks")

    def add(self, partition: str, of: Gateway | Carrier) -> None:
        """Mark one whose state has changed.

        Raises:
            StoreError: there is no room.
        """
        kind = _CARRIER if isinstance(of, Carrier) else _GATEWAY
        with self._store.writing() as transaction:
            transaction.put(_key(partition, kind, of.id), os.urandom(8), db=self._table)

    def waiting(self) -> bool:
        """Whether something is marked."""
        with self._store.reading() as transaction:
            return bool(transaction.stat(self._table)["entries"])

    def first(self, limit: int) -> dict[str, list[Mark]]:
        """Up to so many of each partition, by its name: one whose database is away keeps no other waiting."""
        with self._store.reading() as transaction:
            rows = [(bytes(key), bytes(stamp)) for key, stamp in transaction.cursor(self._table)]
        found: dict[str, list[Mark]] = {}
        for mark in (_mark(key, stamp) for key, stamp in rows):
            of_partition = found.setdefault(mark.partition, [])
            if len(of_partition) < limit:
                of_partition.append(mark)
        return found

    def remove(self, marks: Iterable[Mark]) -> None:
        """Take marks away, but for those that were made anew meanwhile.

        Raises:
            StoreError: there is no room to note that.
        """
        with self._store.writing() as transaction:
            for mark in marks:
                key = _key(mark.partition, mark.kind, mark.id)
                if transaction.get(key, db=self._table) == mark.stamp:
                    transaction.delete(key, db=self._table)


def _key(partition: str, kind: str, of: str) -> bytes:
    return bytes(msgpack.packb([partition, kind, of]))


def _mark(key: bytes, stamp: bytes) -> Mark:
    partition, kind, of = msgpack.unpackb(key)
    return Mark(partition, kind, of, stamp)


class States:
    """Writes states into the tables.

    Args:
        routing: where they are looked up.
        marks: which of them.
        partitions: by name.
    """

    def __init__(self, routing: Routing, marks: Marks, partitions: Mapping[str, Partition]) -> None:
        self._routing = routing
        self._marks = marks
        self._partitions = partitions

    def write(self, only: str | None = None, most: int = sys.maxsize) -> int:
        """Write what is marked; how many that were.

        Args:
            only: the partition; all where it is None.
            most: up to so many of each partition.

        Raises:
            DatabaseError: a database cannot be had; what is in it stays marked, and all others are written.
            StoreError: the marks stay.
        """
        count, failed = 0, None
        for name, marks in self._marks.first(most).items():
            if only not in (None, name):
                continue
            try:
                if name in self._partitions:
                    self._write(self._partitions[name], marks)
                self._marks.remove(marks)
                count += len(marks)
            except DatabaseError as error:
                failed = error
        if failed is not None:
            raise failed
        return count

    def _write(self, partition: Partition, marks: Iterable[Mark]) -> None:
        from sqlalchemy import column, table, update

        view = self._routing.view(partition.name)
        if view is None:
            return
        gateways = table(partition.tables.gateways, column("gwid"), column("state"))
        carriers = table(partition.tables.carriers, column("carrierid"), column("state"))
        with partition.database.begin() as connection:
            for mark in marks:
                of = (view.gateways if mark.kind == _GATEWAY else view.carriers).get(mark.id)
                if of is not None:
                    where, name = (gateways, "gwid") if mark.kind == _GATEWAY else (carriers, "carrierid")
                    state = int(self._routing.state(partition.name, of))
                    connection.execute(update(where).where(where.c[name] == mark.id).values(state=state))


_here: list[States] = []


def enter(states: States) -> None:
    """From now on jobs of this process write with these."""
    _here[:] = [states]


def record_states(payload: bytes, running: Running) -> bytes:
    """The job: write what is marked; gives how many that were, or the text of why it cannot be done."""
    return recorded(lambda: _here[0].write(most=AT_ONCE))
