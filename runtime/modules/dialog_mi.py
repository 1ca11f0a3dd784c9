"""The MI commands of module dialog. They read the store of all dialogs, so any process can run them."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final

import msgpack

from mi_script.commands import Json, MiError, Params, command
from runtime.db import DatabaseError
from runtime.dialogs.sequential import CHALLENGES
from runtime.dialogs.store import MAX_VALUE_BYTES, fits
from runtime.dialogs.telling import END
from runtime.errands import sip_peers, who_sends
from runtime.modules.dialog_lists import AT_ONCE, DialogLists, Listed
from runtime.modules.texts import bytes_text, script_text
from runtime.roles import SEND_SEQUENTIAL
from runtime.sip.dialog import Dialog, number_of
from runtime.sip.dialog_words import Changed, Effect, EndReason, Leg, Side, State
from runtime.sip.fields import is_token
from runtime.store import StoreError
from workers.jobs import Returned

if TYPE_CHECKING:
    from runtime.dialogs.keeper import Keeper
    from runtime.dialogs.recorder import Recorder
    from runtime.dialogs.store import Change, DialogStore

_OPTIONAL: Final = ("method", "body", "mode", "headers")
_SEQUENTIAL: Final = tuple(
    ("callid", *chosen) for count in range(5) for chosen in itertools.combinations(_OPTIONAL, count)
)
_SEQUENTIAL_S: Final = 60.0
SIDES: Final = {"caller": Side.CALLER, "callee": Side.CALLEE}
_CHALLENGED: Final = {
    "challenge": Side.CALLER,
    "challenge-caller": Side.CALLER,
    "challenge-callee": Side.CALLEE,
}
NOT_SEQUENTIAL: Final = frozenset(("ACK", "BYE", "CANCEL"))
_NO_PROFILE: Final = "Profile not found"
_VALUES_AT_ONCE: Final = 500
"""Values of a profile that are worked on before others have their turn: about 2 ms."""


class DialogCommands(DialogLists):
    """The commands, for the module to inherit.

    Attributes:
        keeper: in SIP processes, what tells dialogs what happens.
        recorder: the database's side of the store, where there is a database.
        profiles: the names of the profiles, and whether each one has values.
    """

    keeper: Keeper | None = None
    recorder: Recorder | None = None
    profiles: dict[str, bool]

    # One dialog.

    @command("dlg_end_dlg", ("dialog_id",), ("dialog_id", "extra_hdrs"), idempotent=True, aliases=("dialog:end_dlg",))
    def dlg_end_dlg(self, params: Params) -> Json:
        """End a call, by its dialog's identifier or its Call-ID: by BYE to both ends, or by CANCEL."""
        dialog = self._dialog(params.text("dialog_id"), "Requested Dialog not found")
        self._end(dialog.id, [bytes_text(line) for line in params.text("extra_hdrs", "").splitlines() if line])
        return "OK"

    @command("dlg_push_var", ("dlg_val_name", "dlg_val_value", "DID"), idempotent=True, aliases=("dialog:push_var",))
    def dlg_push_var(self, params: Params) -> Json:
        """Set a dialog value in each of the dialogs of a list of identifiers or Call-IDs."""
        name, value = bytes_text(params.text("dlg_val_name")), bytes_text(params.text("dlg_val_value"))
        raw = params.raw("DID")
        dids = params.texts("DID") if isinstance(raw, list) else [params.text("DID")]

        def change(dialog: Dialog) -> list[Effect]:
            dialog.values[name] = value
            return [Changed()]

        for number in [self._dialog(did, "Requested Dialog not found").id for did in dids]:
            self._change_number(number, change)
        return "OK"

    @command(
        "set_dlg_profile",
        ("dlg_id", "profile"),
        ("dlg_id", "profile", "value"),
        ("dlg_id", "profile", "value", "clear_values"),
        idempotent=True,
        aliases=("dlg_set_profile", "dialog:set_profile"),
    )
    def mi_set_dlg_profile(self, params: Params) -> Json:
        """Put a dialog into a profile; with `clear_values` it leaves that profile's other values."""
        dialog = self._dialog(params.text("dlg_id"), "Requested Dialog not found")
        profile = self._profile(params.text("profile"))
        value = self._value_of(profile, params.text("value", None))
        if self.profiles[profile] and (value is None or not fits(value)):
            raise MiError(400, "Bad parameter value", f"a value has up to {MAX_VALUE_BYTES} bytes and no NUL")
        change = joining(profile, value or "", clear=bool(params.integer("clear_values", 0)))
        self._change_number(dialog.id, change)
        return "OK"

    @command(
        "unset_dlg_profile",
        ("dlg_id", "profile"),
        ("dlg_id", "profile", "value"),
        idempotent=True,
        aliases=("dlg_unset_profile", "dialog:unset_profile"),
    )
    def mi_unset_dlg_profile(self, params: Params) -> Json:
        """Take a dialog out of a profile; without a value, whatever its values there are."""
        dialog = self._dialog(params.text("dlg_id"), "Requested Dialog not found")
        profile = self._profile(params.text("profile"))
        self._change_number(dialog.id, leaving(profile, self._value_of(profile, params.text("value", None))))
        return "OK"

    @command("dlg_send_sequential", *_SEQUENTIAL, named_only=True, aliases=("dialog:send_sequential",))
    async def mi_dlg_send_sequential(self, params: Params) -> Json:
        """Send a request within a call's dialog to one end, and tell what it is answered.

        `mode` says which end: caller, unless said otherwise, or callee. `method` is INVITE, unless said otherwise.
        With challenge-caller (or challenge) and challenge-callee, for INVITE and UPDATE, the session that this end
        answers with is then told to the other, whose answer is the one that is told.
        `body` is none; outbound, the session as this end knows it, kept for ends that re-INVITEs ping; or
        custom:TYPE:BODY.
        """
        found = self.of_call(params.text("callid"))
        if not found:
            raise MiError(404, "Dialog Not Found")
        mode, method = params.text("mode", "caller"), params.text("method", "INVITE")
        side = (SIDES | _CHALLENGED).get(mode)
        if side is None:
            raise MiError(400, "Bad parameter value", f"mode is one of {', '.join(SIDES | _CHALLENGED)}")
        if not is_token(method) or method in NOT_SEQUENTIAL:
            raise MiError(400, "Bad parameter value", "method is a method, but not ACK, BYE or CANCEL")
        if mode in _CHALLENGED and method not in CHALLENGES:
            raise MiError(400, "Bad parameter value", f"mode {mode} is for {' and '.join(CHALLENGES)}")
        body, body_type = _body_of(params.text("body", "none"), found[0].leg(side))
        headers = [bytes_text(line) for line in params.text("headers", "").splitlines() if line]
        wanted = msgpack.packb([found[0].id, int(side), method, headers, body, body_type, mode in _CHALLENGED])
        outcome = await self.process.node.call(
            SEND_SEQUENTIAL,
            wanted,
            label="dlg_send_sequential",
            timeout_s=_SEQUENTIAL_S,
            to=who_sends(self.process, found[0].id),
        )
        if not isinstance(outcome, Returned):
            raise MiError(500, "Request could not be sent", str(outcome))
        code, reason = msgpack.unpackb(outcome.payload)
        if not code:
            raise MiError(400, "Request could not be sent", "the call is not established, or nobody knows where to")
        return {"Code": code, "Reason": script_text(reason)}

    # The database.

    @command("dlg_db_sync", (), idempotent=True, cost="slow", aliases=("dialog:db_sync",))
    def dlg_db_sync(self, params: Params) -> Json:
        """Take over the dialogs of the database that are not here."""
        return self._with_database(lambda recorder: self.restore_from(recorder, self.store))

    @command("dlg_restore_db", (), idempotent=True, cost="slow", aliases=("dialog:restore_db",))
    def dlg_restore_db(self, params: Params) -> Json:
        """Empty the database's table and write all confirmed dialogs into it."""
        return self._with_database(lambda recorder: recorder.rewrite(self.store))

    def _with_database(self, work: Callable[[Recorder], int]) -> Json:
        if self.recorder is None:
            raise MiError(400, "Cannot sync in no-db mode")
        try:
            work(self.recorder)
        except (DatabaseError, StoreError) as error:
            raise MiError(500, "Sync with the database failed", str(error)) from error
        return "OK"

    def restore_from(self, recorder: Recorder, store: DialogStore) -> int:
        """Put the database's dialogs into a store; how many there were."""
        raise NotImplementedError

    # Profiles.

    @command("list_all_profiles", (), idempotent=True, aliases=("dialog:list_all_profiles",))
    def list_all_profiles(self, params: Params) -> Json:
        """The profiles that there are, and whether each one has values."""
        return {"Profiles": [{"name": name, "has value": has_value} for name, has_value in self.profiles.items()]}

    @command(
        "profile_get_size",
        ("profile",),
        ("profile", "value"),
        idempotent=True,
        aliases=("dialog:profile_get_size",),
        instead="get_profile_size()",
    )
    def profile_get_size(self, params: Params) -> Json:
        """How many dialogs are in a profile, or in it with that value."""
        profile, value = self._profile(params.text("profile")), params.text("value", None)
        count = self.store.size_of(profile, self._value_of(profile, value))
        shown: Json = {"name": profile, "value": value, "count": count, "shared": "no", "replicated": "no"}
        return {"Profile": shown}

    @command("profile_get_values", ("profile",), idempotent=True, cost="quick", aliases=("dialog:profile_get_values",))
    def profile_get_values(self, params: Params) -> Listed:
        """The values that dialogs have in a profile, and how many have each."""
        profile = self._profile(params.text("profile"))
        if not self.profiles[profile]:
            return [{"value": None, "count": self.store.size_of(profile)}]
        values = self.store.values_of(profile)
        some = _values_at_once(values)
        return some if len(some) < _VALUES_AT_ONCE else self._more_values(some, values)

    async def _more_values(self, shown: list[Json], values: Iterator[tuple[str, int]]) -> Json:
        while some := _values_at_once(values):
            shown += some
            await asyncio.sleep(0)
        return shown

    @command(
        "profile_list_dlgs",
        ("profile",),
        ("profile", "value"),
        idempotent=True,
        cost="quick",
        aliases=("dialog:profile_list_dlgs",),
    )
    def profile_list_dlgs(self, params: Params) -> Listed:
        """The dialogs in a profile, or in it with that value."""
        profile = self._profile(params.text("profile"))
        members = self.store.members_of(profile, self._value_of(profile, params.text("value", None)))
        return self.listed({}, members)

    @command(
        "profile_end_dlgs",
        ("profile",),
        ("profile", "value"),
        idempotent=True,
        cost="quick",
        aliases=("dialog:profile_end_dlgs",),
    )
    async def profile_end_dlgs(self, params: Params) -> Json:
        """End the calls whose dialogs are in a profile, or in it with that value."""
        profile = self._profile(params.text("profile"))
        members = self.store.members_of(profile, self._value_of(profile, params.text("value", None)))
        while some := [dialog.id for dialog in itertools.islice(members, AT_ONCE)]:
            for number in some:
                self._end(number)
            await asyncio.sleep(0)
        return "OK"

    # What they share.

    def _profile(self, name: str) -> str:
        if name not in self.profiles:
            raise MiError(404, _NO_PROFILE)
        return name

    def _value_of(self, profile: str, value: str | None) -> str | None:
        """A value as the store has it; none in a profile that has no values."""
        return None if value is None or not self.profiles[profile] else bytes_text(value)

    def _dialog(self, name: str, missing: str) -> Dialog:
        """The dialog with that identifier, number, or Call-ID."""
        number = int(name) if name.isdecimal() and len(name) <= 20 else number_of(name)
        dialog = self.store.load(number) if number is not None and number < 1 << 64 else None
        found = [dialog] if dialog is not None and dialog.state != State.DELETED else self.of_call(name)
        if not found:
            raise MiError(404, missing)
        return found[0]

    def _change_number(self, number: int, change: Change) -> None:
        try:
            self.store.update(number, change)
        except StoreError as error:
            raise MiError(500, "Dialog cannot be changed", str(error)) from error

    def _end(self, number: int, headers: list[str] | None = None) -> None:
        if self.keeper is not None:
            self.keeper.teller.end(number, EndReason.MI, headers or [])
            return
        body = msgpack.packb([number, EndReason.MI, headers or []])
        peers = sip_peers(self.process)
        if not any(self.process.node.post(peer, END, body) for peer in peers[number % max(1, len(peers)) :] + peers):
            raise MiError(500, "No SIP process is there")


def _values_at_once(values: Iterator[tuple[str, int]]) -> list[Json]:
    some = itertools.islice(values, _VALUES_AT_ONCE)
    return [{"value": script_text(value), "count": count} for value, count in some]


def joining(profile: str, value: str, *, clear: bool = False) -> Change:
    """Puts a dialog into a profile."""

    def change(dialog: Dialog) -> list[Effect]:
        if dialog.state == State.DELETED:
            return []
        kept = [one for one in dialog.profiles if not (clear and one[0] == profile)]
        if (profile, value) not in kept:
            kept.append((profile, value))
        if kept == dialog.profiles:
            return []
        dialog.profiles = kept
        return [Changed()]

    return change


def leaving(profile: str, value: str | None) -> Change:
    """Takes a dialog out of a profile; without a value out of all its values."""

    def change(dialog: Dialog) -> list[Effect]:
        kept = [one for one in dialog.profiles if one[0] != profile or value not in (None, one[1])]
        if kept == dialog.profiles:
            return []
        dialog.profiles = kept
        return [Changed()]

    return change


def _body_of(text: str, leg: Leg) -> tuple[bytes, str]:
    """The body, and its type, that the parameter `body` asks for."""
    if text in ("", "none"):
        return b"", ""
    if text in ("outbound", "inbound"):
        if not leg.body:
            raise MiError(400, "Bad parameter value", "no session description is kept for that end")
        return leg.body, leg.body_type
    kind, _, rest = text.partition(":")
    body_type, colon, body = rest.partition(":")
    if kind != "custom" or not colon:
        raise MiError(400, "Bad parameter value", "body is none, inbound, outbound or custom:TYPE:BODY")
    return body.encode("utf-8", "surrogateescape"), bytes_text(body_type)
