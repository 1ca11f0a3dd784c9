"""What scripts see of dialogs: the variables of module dialog."""

from __future__ import annotations

import json
import logging
from typing import Final

from runtime.clock import epoch_now, monotonic_now
from runtime.context import Context, Value
from runtime.dialogs.store import Change
from runtime.modules.dialog_mi import DialogCommands
from runtime.script.declare import variable
from runtime.sip.dialog import Dialog
from runtime.sip.dialog_facts import sender_of
from runtime.sip.dialog_words import Changed, Effect, EndReason, Side, State, TimeoutSet
from runtime.sip.message import Request
from runtime.store import StoreError

log = logging.getLogger("layby.dialog")

MAX_TIMEOUT_S: Final = 1 << 31


class DialogVariables(DialogCommands):
    """The variables, for the module to inherit."""

    @variable("DLG_count")
    def dlg_count(self, c: Context, inner: str) -> Value:
        """How many confirmed dialogs there are, in all processes."""
        return self.store.totals().confirmed

    @variable("DLG_status")
    def dlg_status(self, c: Context, inner: str) -> Value:
        """The dialog's state, 1 to 5; NULL without a dialog. 5 in the request route of a BYE that will end it."""
        dialog = self._dialog_of(c)
        if dialog is None:
            return None
        return int(dialog.state if self._bye_of(c, dialog) is None else State.DELETED)

    @variable("DLG_end_reason")
    def dlg_end_reason(self, c: Context, inner: str) -> Value:
        """Why the dialog ended; NULL while it has not."""
        dialog = self._dialog_of(c)
        if dialog is None:
            return None
        side = self._bye_of(c, dialog)
        if side is not None:
            return EndReason.DOWNSTREAM_BYE if side is Side.CALLER else EndReason.UPSTREAM_BYE
        return (dialog.reason or None) if dialog.state == State.DELETED else None

    def _bye_of(self, c: Context, dialog: Dialog) -> Side | None:
        """Who sends the BYE at hand; None when there is none, or the dialog is over already."""
        if dialog.state == State.DELETED or getattr(c.message, "method", "") != "BYE":
            return None
        return sender_of(dialog, c.message)

    @variable("DLG_did")
    def dlg_did(self, c: Context, inner: str) -> Value:
        """The dialog's identifier, as dlg_list shows it; NULL without a dialog."""
        dialog = self._dialog_of(c)
        return None if dialog is None else dialog.did

    @variable("DLG_dir")
    def dlg_dir(self, c: Context, inner: str) -> Value:
        """In a request: ``downstream`` when the caller sent it, ``upstream`` when the callee did."""
        dialog = self._dialog_of(c)
        if dialog is None or not isinstance(c.message, Request):
            return None
        side = sender_of(dialog, c.message)
        return None if side is None else "downstream" if side is Side.CALLER else "upstream"

    @variable("DLG_lifetime")
    def dlg_lifetime(self, c: Context, inner: str) -> Value:
        """Seconds since the call was answered."""
        dialog = self._dialog_of(c)
        if dialog is None:
            return None
        return int(epoch_now() - dialog.started) if dialog.started else 0

    @variable("DLG_flags")
    def dlg_flags(self, c: Context, inner: str) -> Value:
        """The names of the dialog's flags, with spaces between."""
        dialog = self._dialog_of(c)
        return None if dialog is None else " ".join(dialog.script_flags)

    @variable("DLG_timeout", setter="set_dlg_timeout")
    def dlg_timeout(self, c: Context, inner: str) -> Value:
        """Seconds that are left of the dialog's lifetime; of one that is not answered, all of them."""
        dialog = self._dialog_of(c)
        if dialog is None:
            return None
        if dialog.state in (State.CONFIRMED_NA, State.CONFIRMED):
            return max(0, round(dialog.ends_at - monotonic_now()))
        return dialog.lifetime_s

    def set_dlg_timeout(self, c: Context, inner: str, value: Value) -> None:
        """Assign `$DLG_timeout`: the dialog ends that many seconds from now, or from its answer."""
        if not isinstance(value, int) or not 0 < value < MAX_TIMEOUT_S:
            raise ValueError("$DLG_timeout is a number of seconds above 0")
        self._change(c, lambda dialog: dialog.handle(TimeoutSet(value, monotonic_now())))

    @variable("DLG_del_delay", setter="set_dlg_del_delay")
    def dlg_del_delay(self, c: Context, inner: str) -> Value:
        """Seconds that the dialog is kept after its end."""
        dialog = self._dialog_of(c)
        return None if dialog is None else dialog.linger_s

    def set_dlg_del_delay(self, c: Context, inner: str, value: Value) -> None:
        """Assign `$DLG_del_delay`."""
        if not isinstance(value, int) or not 0 <= value < MAX_TIMEOUT_S:
            raise ValueError("$DLG_del_delay is a number of seconds")

        def change(dialog: Dialog) -> list[Effect]:
            dialog.linger_s = value
            return [Changed()]

        self._change(c, change)

    @variable("DLG_json")
    def dlg_json(self, c: Context, inner: str) -> Value:
        """The dialog as dlg_list shows it, as JSON text."""
        dialog = self._dialog_of(c)
        return None if dialog is None else self._json(dialog, with_context=False)

    @variable("DLG_ctx_json")
    def dlg_ctx_json(self, c: Context, inner: str) -> Value:
        """The dialog as dlg_list_ctx shows it, as JSON text."""
        dialog = self._dialog_of(c)
        return None if dialog is None else self._json(dialog, with_context=True)

    @variable("dlg_val", setter="set_dlg_val")
    def dlg_val(self, c: Context, inner: str) -> Value:
        """`$dlg_val(name)`: a value that is kept with the dialog."""
        dialog = self._dialog_of(c)
        return None if dialog is None else dialog.values.get(inner)

    def set_dlg_val(self, c: Context, inner: str, value: Value) -> None:
        """Assign `$dlg_val(name)`; NULL takes it away."""
        if self._change(c, valuing(inner, value)) < 0:
            log.info("$dlg_val(%s) is not set: there is no dialog, or no room in it", inner)

    # What they share.

    def _dialog_of(self, c: Context) -> Dialog | None:
        did = c.other_dialog or c.dialog
        return None if did is None else self._load(did)

    def _load(self, did: str) -> Dialog | None:
        if self.keeper is not None:
            return self.keeper.teller.load(did)
        return self.store.load_did(did)

    def _change(self, c: Context, change: Change) -> int:
        did = c.other_dialog or c.dialog
        try:
            return -1 if did is None or self.store.update_did(did, change) is None else 1
        except StoreError as error:
            log.error("a dialog cannot be changed: %s", error)
            return -1

    def _json(self, dialog: Dialog, with_context: bool) -> str:
        text = json.dumps(self.described(dialog, with_context), ensure_ascii=False)
        return text.encode("utf-8", "surrogateescape").decode("latin-1")


def valuing(name: str, value: Value) -> Change:
    """Sets or takes away a value of a dialog."""

    def change(dialog: Dialog) -> list[Effect]:
        if dialog.values.get(name) == value:
            return []
        if value is None:
            del dialog.values[name]
        else:
            dialog.values[name] = value
        return [Changed()]

    return change
