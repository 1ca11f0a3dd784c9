"""Dialogs in the database: written by jobs, from the store's outbox; read at the start.

A change of a dialog marks it in the store's outbox, in the same transaction. So nothing that changed is forgotten,
whichever process dies when, and what is written is what the dialog is at that moment: of changes that follow each other
quickly only the last is, and they cannot be written in the wrong order.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from runtime.clock import epoch_now, monotonic_now
from runtime.db import Database, DatabaseError, RowsRefused
from runtime.dialogs.store import LASTING, DialogStore
from runtime.recording import AT_ONCE, recorded
from runtime.sip.dialog import Dialog, Terms

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from workers.worker import Running

log = logging.getLogger("layby.dialog")

NO_DB: Final = 0
REALTIME: Final = 1
DELAYED: Final = 2
SHUTDOWN: Final = 3

COLUMNS: Final = {
    "dlg_id": "dlg_id",
    "callid": "call_id",
    "from_uri": "from_uri",
    "from_tag": "from_tag",
    "to_uri": "to_uri",
    "to_tag": "to_tag",
    "caller_cseq": "from_cseq",
    "callee_cseq": "to_cseq",
    "caller_route_set": "from_route",
    "callee_route_set": "to_route",
    "caller_contact": "from_contact",
    "callee_contact": "to_contact",
    "caller_sock": "from_sock",
    "callee_sock": "to_sock",
    "state": "state",
    "start_time": "start_time",
    "timeout": "timeout",
    "vars": "vars",
    "profiles": "profiles",
    "script_flags": "sflags",
    "module_flags": "mflags",
    "flags": "flags",
}
"""The columns that the module's parameters can rename, each with what stands before ``_column`` in the parameter."""


class Recorder:
    """The database's side of the store.

    Args:
        database: which one.
        table: the table's name.
        names: columns that are called otherwise there.
        sockets: the listening sockets, as text.
    """

    def __init__(self, database: Database, table: str, names: Mapping[str, str], sockets: Sequence[str]) -> None:
        from runtime.dialogs.rows import dialog_table  # SQLAlchemy takes long to import, and most scripts need none

        self.database = database
        self._table = dialog_table(table, names)
        self._sockets = sockets

    def prepare(self) -> None:
        """Create the table if it is not there.

        Raises:
            DatabaseError: the database cannot be had.
        """
        self.database.create_tables(self._table.metadata)

    def restore(self, store: DialogStore, profiles: Sequence[str], terms: Terms, linger_s: int) -> int:
        """Put the dialogs of the database into the store, but for those that it has; how many they were.

        Args:
            store: where to.
            profiles: those that there are; a dialog leaves others.
            terms: when to ping.
            linger_s: how long a dialog is kept after its end.

        Raises:
            DatabaseError: the database cannot be had.
            StoreError: the store is full.
        """
        from runtime.dialogs.rows import dialog_of_row

        now, wall = monotonic_now(), epoch_now()
        restored = 0
        with self.database.begin(write=False) as connection:
            keys = self._table.columns.keys()
            for row in connection.execute(self._table.select()):
                dialog = dialog_of_row(dict(zip(keys, row, strict=True)), self._sockets, now, wall)
                if dialog is None:
                    continue
                dialog.profiles = [one for one in dialog.profiles if one[0] in profiles]
                dialog.linger_s = linger_s
                dialog.resume(now, terms)
                restored += store.create(dialog)
        return restored

    def flush(self, store: DialogStore, limit: int = AT_ONCE) -> int:
        """Write what has changed; how many dialogs that were, up to `limit`.

        Raises:
            DatabaseError: nothing is written, and all of it stays noted.
        """
        changed = store.changed(limit)
        if changed:
            self._replace({number: dialog for number, _, dialog in changed})
            store.seen((number, mark) for number, mark, _ in changed)
        return len(changed)

    def rewrite(self, store: DialogStore) -> int:
        """Empty the table and write all dialogs that are confirmed; how many they are.

        Raises:
            DatabaseError: nothing is changed.
        """
        dialogs = [dialog for dialog in store.alive() if dialog.state in LASTING]
        with self.database.begin() as connection:
            connection.execute(self._table.delete())
            self._insert(connection, dialogs)
        return len(dialogs)

    def _replace(self, dialogs: Mapping[int, Dialog | None]) -> None:
        lasting = [dialog for dialog in dialogs.values() if dialog is not None and dialog.state in LASTING]
        try:
            with self.database.begin() as connection:
                connection.execute(self._table.delete().where(self._table.c.dlg_id.in_(list(dialogs))))
                self._insert(connection, lasting)
        except RowsRefused as error:
            if len(dialogs) > 1:
                # One of them does not fit the table. It must not keep the others out.
                for number, dialog in dialogs.items():
                    self._replace({number: dialog})
                return
            log.error("a dialog is not in the database: %s", error)

    def _insert(self, connection: Connection, dialogs: Sequence[Dialog]) -> None:
        from runtime.dialogs.rows import row_of

        now, wall = monotonic_now(), epoch_now()
        rows: list[dict[str, Any]] = [row_of(dialog, self._sockets, now, wall) for dialog in dialogs]
        if rows:
            connection.execute(self._table.insert(), rows)


_here: list[tuple[Recorder, DialogStore]] = []


def enter(recorder: Recorder, store: DialogStore) -> None:
    """From now on jobs of this process write with these."""
    _here[:] = [(recorder, store)]


def record_dialogs(payload: bytes, running: Running) -> bytes:
    """The job: write what has changed; gives how many dialogs that were, or the text of why it cannot be done."""
    recorder, store = _here[0]
    return recorded(lambda: recorder.flush(store))


def put_away(recorder: Recorder, store: DialogStore, mode: int) -> None:
    """At the end of a server: write what the database has not seen; where it is told only now, everything."""
    write: Callable[[], int] = (
        (lambda: recorder.rewrite(store)) if mode == SHUTDOWN else (lambda: recorder.flush(store))
    )
    try:
        while write() == AT_ONCE and mode != SHUTDOWN:
            pass
    except DatabaseError as error:
        log.error("dialogs are lost: %s", error)
