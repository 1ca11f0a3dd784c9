"""Calls that are recorded when they end: what is kept of them in their dialogs, and what becomes of it.

It is in the dialog before the 2xx goes upstream, and lives there: whichever process ends the call records it. The row
of the database is put down by the very change that ends the dialog, so a process that is killed then loses none.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from runtime.acc.accounts import Backend, put_extra
from runtime.acc.records import CDR, Cdr, Record, cdr_of, ended, packed_cdr
from runtime.clock import epoch_now
from runtime.dialogs.store import DialogStore
from runtime.sip.dialog import Dialog
from runtime.sip.dialog_words import Changed, Effect, State
from runtime.store import StoreError

log = logging.getLogger("layby.acc")


class Calls:
    """See the module.

    Args:
        store: the dialogs of all processes.
        pack: a record as the database's outbox takes it, for a table.
        tell: has a record put where it belongs: the backends, and the database's table.
    """

    def __init__(
        self,
        store: DialogStore,
        pack: Callable[[Record, str], bytes],
        tell: Callable[[Record, list[Backend], str], None],
    ) -> None:
        self._store = store
        self._pack = pack
        self._tell = tell
        self._ending: dict[int, tuple[Record, Cdr]] = {}
        """Of the dialog that is being ended on this stack."""

    def find(self, did: str | None) -> Cdr | None:
        """What is kept of a call; None for one that is not recorded."""
        dialog = None if did is None else self._store.load_did(did)
        return None if dialog is None else cdr_of(dialog)

    def keep(self, did: str, cdr: Cdr) -> bool:
        """The call is answered: record this when it has ended. False where the dialog cannot take it."""
        return self._change(did, lambda dialog: cdr)

    def put_extra(self, did: str, tag: str, value: str | int | None) -> None:
        """Set or take away an extra value of a call that is recorded."""

        def changed(dialog: Dialog) -> Cdr | None:
            cdr = cdr_of(dialog)
            if cdr is not None:
                put_extra(cdr.extra, tag, value)
            return cdr

        self._change(did, changed)

    def _change(self, did: str, made: Callable[[Dialog], Cdr | None]) -> bool:
        def change(dialog: Dialog) -> list[Effect]:
            cdr = None if dialog.state == State.DELETED else made(dialog)
            if cdr is None:
                return []
            dialog.values[CDR] = packed_cdr(cdr)
            return [Changed()]

        try:
            found = self._store.update_did(did, change)
        except StoreError as error:
            log.error("the call %s will not be recorded as it should be: %s", did, error)
            return False
        return found is not None and bool(found[1])

    def keepsake(self, dialog: Dialog) -> bytes | None:
        """A dialog is being ended: what the database is to have of it."""
        cdr = cdr_of(dialog)
        if cdr is None:
            return None
        record = ended(dialog, cdr, epoch_now())
        self._ending = {dialog.id: (record, cdr)}
        return self._pack(record, cdr.table) if Backend.DB in cdr.backends else None

    def on_end(self, dialog: Dialog) -> None:
        """It has ended: tell the others."""
        record, cdr = self._ending.pop(dialog.id, (None, None))
        if record is not None and cdr is not None:
            self._tell(record, [one for one in cdr.backends if one is not Backend.DB], cdr.table)
