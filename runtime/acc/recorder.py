"""How records get from the outboxes of all processes into the database: by jobs, and the rest at the server's end."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgpack

from runtime.db import Database, DatabaseError
from runtime.outbox import Outbox
from runtime.recording import AT_ONCE

if TYPE_CHECKING:
    from workers.worker import Running

log = logging.getLogger("layby.acc")


class Recorder:
    """The database's side of the outboxes.

    Args:
        database: which one.
        names: columns that are called otherwise, by OpenSIPS's names.
        extra: the columns of the extra fields.
        on_lost: told how many records the database will never take.
    """

    def __init__(
        self,
        database: Database,
        names: Mapping[str, str],
        extra: Sequence[str],
        on_lost: Callable[[int], None] = lambda _: None,
    ) -> None:
        from runtime.acc.rows import Ledger  # SQLAlchemy takes long to import, and most scripts need none

        self.database = database
        self._ledger = Ledger(database, names, extra)
        self._on_lost = on_lost

    def prepare(self, tables: Sequence[str]) -> None:
        """Make tables that are not there.

        Raises:
            DatabaseError: the database cannot be had.
        """
        for table in tables:
            self._ledger.table(table)

    def flush(self, boxes: Sequence[Outbox]) -> int:
        """Write what waits; how many records that were, up to `AT_ONCE` of each outbox.

        Raises:
            DatabaseError: those for some table are not written, and stay where they are.
        """
        count, failed = 0, None
        for box in boxes:
            for table, taken in _by_table(box.take(AT_ONCE)).items():
                try:
                    lost = self._ledger.write(table, list(taken.values()))
                except DatabaseError as error:
                    failed = error  # what another table takes is not kept from it
                    continue
                box.remove(taken)
                count += len(taken)
                if lost:
                    self._on_lost(lost)
        if failed is not None:
            raise failed
        return count


def _by_table(taken: Iterable[tuple[bytes, bytes]]) -> dict[str, dict[bytes, dict[str, Any]]]:
    """Rows as `runtime.acc.records.row_of` packs them, by their tables and keys."""
    found: dict[str, dict[bytes, dict[str, Any]]] = {}
    for key, row in taken:
        table, values, extra = msgpack.unpackb(row)
        found.setdefault(table, {})[key] = values | extra
    return found


_here: list[tuple[Recorder, Sequence[Outbox]]] = []


def enter(recorder: Recorder, boxes: Sequence[Outbox]) -> None:
    """From now on jobs of this process write with these."""
    _here[:] = [(recorder, boxes)]


def record_accounts(payload: bytes, running: Running) -> bytes:
    """The job: write what waits; gives how many records that were, or the text of why it cannot be done."""
    recorder, boxes = _here[0]
    try:
        found: int | str = recorder.flush(boxes)
    except DatabaseError as error:
        found = str(error)
    return bytes(msgpack.packb(found))


def put_away(recorder: Recorder, boxes: Sequence[Outbox]) -> None:
    """At the end of a server: write all that waits."""
    try:
        while recorder.flush(boxes):
            pass
    except DatabaseError as error:
        log.error("%d records are lost: %s", sum([len(box) for box in boxes]), error)
