"""How records get from the outboxes of all processes into the database: by jobs, and the rest at the server's end."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgpack

from runtime.clock import monotonic_now
from runtime.db import TIMEOUT_S, Database, DatabaseError, RowsRefused
from runtime.outbox import Outbox
from runtime.recording import AT_ONCE, recorded
from runtime.store import StoreError
from workers.homes import try_lock

if TYPE_CHECKING:
    from workers.worker import Running

log = logging.getLogger("layby.acc")

_LONGEST_S: Final = 2 * TIMEOUT_S
"""After so long nothing more is begun: a job has an end."""


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
        """Write what waits; how many records that were, up to some `AT_ONCE` of each outbox.

        Raises:
            DatabaseError: those for some table are not written, and stay where they are; all others are.
            StoreError: some are written, and stay nevertheless.
        """
        failed: dict[str, DatabaseError] = {}
        until = monotonic_now() + _LONGEST_S
        count = sum([self._flush(box, failed, until) for box in boxes])
        for error in failed.values():
            raise error
        return count

    def _flush(self, box: Outbox, failed: dict[str, DatabaseError], until: float) -> int:
        count, after = 0, b""
        # What a table does not take may lie before all that others would: it is passed over.
        while (failed or count < AT_ONCE) and monotonic_now() < until and (taken := box.take(AT_ONCE, after)):
            after = taken[-1][0]
            for table, rows in _by_table(taken).items():
                if table in failed or monotonic_now() >= until:
                    continue
                try:
                    count += self._write(box, table, rows)
                except DatabaseError as error:
                    failed[table] = error
        return count

    def _write(self, box: Outbox, table: str, rows: dict[bytes, dict[str, Any]]) -> int:
        try:
            self._ledger.write(table, list(rows.values()))
        except RowsRefused as error:
            if len(rows) > 1:  # some of them must not keep the others out
                keys = list(rows)
                half = len(keys) // 2
                return sum(
                    [self._write(box, table, {key: rows[key] for key in part}) for part in (keys[:half], keys[half:])]
                )
            log.error("a record is lost: %s", error)
            self._on_lost(1)
        box.remove(rows)
        return len(rows)


def _by_table(taken: Iterable[tuple[bytes, bytes]]) -> dict[str, dict[bytes, dict[str, Any]]]:
    """Rows as `runtime.acc.records.row_of` packs them, by their tables and keys."""
    found: dict[str, dict[bytes, dict[str, Any]]] = {}
    for key, row in taken:
        table, values, extra = msgpack.unpackb(row)
        found.setdefault(table, {})[key] = values | extra
    return found


class _Here(NamedTuple):
    recorder: Recorder
    boxes: Sequence[Outbox]
    lock: Path


_here: list[_Here] = []


def enter(recorder: Recorder, boxes: Sequence[Outbox], lock: Path) -> None:
    """From now on jobs of this process write with these, while no other process has locked that file."""
    _here[:] = [_Here(recorder, boxes, lock)]


def record_accounts(payload: bytes, running: Running) -> bytes:
    """The job: write what waits; gives how many records that were, or the text of why it cannot be done."""
    here = _here[0]
    # Who has a job begun may die, or wait for it no longer, while it is still at it; two would write the same.
    lock = try_lock(here.lock)
    if lock is None:
        return bytes(msgpack.packb("an earlier job has not ended"))
    try:
        return recorded(lambda: here.recorder.flush(here.boxes))
    finally:
        os.close(lock)


def put_away(recorder: Recorder, boxes: Sequence[Outbox]) -> None:
    """At the end of a server: write all that waits."""
    try:
        while recorder.flush(boxes):
            pass
    except (DatabaseError, StoreError) as error:
        log.error("%d records are lost: %s", sum([len(box) for box in boxes]), error)
