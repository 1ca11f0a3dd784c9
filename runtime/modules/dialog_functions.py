"""What scripts do with dialogs: the functions of module dialog."""

from __future__ import annotations

from typing import Final

from runtime.context import Context, RouteType, Value
from runtime.dialogs.store import Change, fits
from runtime.dialogs.telling import Sequential
from runtime.modules.dialog_mi import NOT_SEQUENTIAL, SIDES, joining, leaving
from runtime.modules.dialog_variables import DialogVariables, valuing
from runtime.script.declare import Kind, Param, Ref, function
from runtime.sip.dialog import Dialog
from runtime.sip.dialog_facts import aim_at, flags_of, sender_of
from runtime.sip.dialog_words import Changed, Effect, State
from runtime.sip.message import Request

MODES: Final = {"DID_ONLY": 0, "DID_FALLBACK": 1, "DID_NONE": 2}
"""How requests find their dialog: by the identifier in our Route value, or by Call-ID and tags."""
_STRING: Final = Kind.STRING


class DialogFunctions(DialogVariables):
    """The functions, for the module to inherit."""

    # Making and matching.

    @function("create_dialog", Param("flags", _STRING, optional=True), routes=RouteType.REQUEST)
    def create_dialog(self, c: Context, flags: str | None) -> int:
        """Make a dialog of an initial INVITE.

        `flags` are words with commas between: ``bye-on-timeout``, ``options-ping-caller``, ``options-ping-callee``,
        ``reinvite-ping-caller``, ``reinvite-ping-callee``, ``end-on-race-condition``; or the letters B, P, p, R, r, E.
        The request gets its transaction here.
        """
        return -1 if self.keeper is None else self.keeper.create(c, flags_of(flags or ""))

    @function("match_dialog", Param("mode", _STRING, optional=True), routes=RouteType.REQUEST)
    def match_dialog(self, c: Context, mode: str | None) -> int:
        """Find the dialog that the request belongs to.

        `mode` is ``DID_ONLY``, ``DID_FALLBACK`` or ``DID_NONE``; without one, by the identifier and else by the tags.
        """
        if self.keeper is None:
            return -1
        if c.dialog is not None:
            return 1
        chosen = MODES["DID_FALLBACK"] if mode is None else MODES.get(mode.strip().upper())
        if chosen is None:
            return -1
        return 1 if self._matched(c, chosen) else -1

    def on_loose_route(self, c: Context) -> None:
        """A Route value of ours was taken off: it may name the request's dialog."""
        if c.dialog is None:
            self._matched(c, self.settings["dlg_match_mode"])

    def _matched(self, c: Context, mode: int) -> bool:
        assert self.keeper is not None, "requests come to SIP processes"
        found = self.keeper.match(c, by_did=mode != MODES["DID_NONE"], by_sip=mode != MODES["DID_ONLY"])
        return found is not None

    @function("validate_dialog", routes=RouteType.REQUEST)
    def validate_dialog(self, c: Context) -> int:
        """Whether the request fits its dialog: -1 for its CSeq, -2 its target, -3 its routes, -4 without a dialog."""
        dialog, request = self._dialog_of(c), c.message
        side = None if dialog is None or not isinstance(request, Request) else sender_of(dialog, request)
        if dialog is None or side is None or not isinstance(request, Request):
            return -4
        sender, receiver = dialog.leg(side), dialog.leg(side.other)
        if request.method not in ("ACK", "CANCEL") and request.cseq_number <= sender.cseq:
            return -1
        aim = aim_at(receiver)
        if aim is None:
            return -4
        if c.ruri != aim.ruri:
            return -2
        routes = request.all("route") if c.routes is None else c.routes
        return 1 if _bare(routes) == _bare(aim.routes) else -3

    @function("fix_route_dialog", routes=RouteType.REQUEST)
    def fix_route_dialog(self, c: Context) -> int:
        """Send the request where its dialog says, whatever it says itself."""
        dialog, request = self._dialog_of(c), c.message
        side = None if dialog is None or not isinstance(request, Request) else sender_of(dialog, request)
        aim = None if dialog is None or side is None else aim_at(dialog.leg(side.other))
        if aim is None:
            return -1
        c.ruri, c.routes = aim.ruri, list(aim.routes)
        first = aim.routes[0] if aim.routes else ""
        c.dst_uri = aim.next_hop or (first[first.find("<") + 1 : first.find(">")] or None)
        return 1

    # Another dialog.

    @function(
        "load_dialog_ctx",
        Param("dialog", _STRING),
        Param("id_type", _STRING, optional=True),
        Param("active_only", Kind.INTEGER, optional=True),
    )
    def load_dialog_ctx(self, c: Context, dialog: str, id_type: str | None, active_only: int | None) -> int:
        """See another dialog until unload_dialog_ctx(): by its Call-ID, or with ``did`` by its identifier."""
        if c.other_dialog is not None:
            return -1
        found = self._load(dialog) if id_type == "did" else next(iter(self.store.of_call(dialog)), None)
        if found is None or (active_only and found.state == State.DELETED):
            return -1
        c.other_dialog = found.did
        return 1

    @function("unload_dialog_ctx")
    def unload_dialog_ctx(self, c: Context) -> int:
        """See the message's own dialog again."""
        if c.other_dialog is None:
            return -1
        c.other_dialog = None
        return 1

    @function(
        "get_dialog_info",
        Param("attr", _STRING),
        Param("values", Kind.OUTPUT),
        Param("key", _STRING),
        Param("value", Kind.VALUE),
        Param("count", Kind.OUTPUT, optional=True),
    )
    def get_dialog_info(self, c: Context, attr: str, values: Ref, key: str, value: Value, count: Ref | None) -> int:
        """Of each dialog whose `$dlg_val(key)` is that value, the `$dlg_val(attr)`; -1 when there is none."""
        found = self._with_value(key, value)
        for dialog in found:
            if attr in dialog.values:
                values.set(c, dialog.values[attr])
        if count is not None:
            count.set(c, len(found))
        return 1 if found else -1

    @function("get_dialog_vals", Param("names", Kind.AVP), Param("values", Kind.AVP), Param("callid", _STRING))
    def get_dialog_vals(self, c: Context, names: Ref, values: Ref, callid: str) -> int:
        """All values of the dialog with that Call-ID, as two AVPs side by side."""
        found = next(iter(self.store.of_call(callid)), None)
        if found is None:
            return -1
        for name, value in found.values.items():
            names.set(c, name)
            values.set(c, value)
        return 1

    @function(
        "get_dialogs_by_val",
        Param("name", _STRING),
        Param("value", Kind.VALUE),
        Param("dialogs", Kind.AVP),
        Param("count", Kind.OUTPUT),
    )
    def get_dialogs_by_val(self, c: Context, name: str, value: Value, dialogs: Ref, count: Ref) -> int:
        """The dialogs whose `$dlg_val(name)` is that value, each as `$DLG_ctx_json`. It looks at every dialog."""
        return self._give(c, self._with_value(name, value), dialogs, count)

    @function(
        "get_dialogs_by_profile",
        Param("name", _STRING),
        Param("value", _STRING, optional=True),
        Param("dialogs", Kind.AVP),
        Param("count", Kind.OUTPUT),
    )
    def get_dialogs_by_profile(self, c: Context, name: str, value: str | None, dialogs: Ref, count: Ref) -> int:
        """The dialogs in a profile, or in it with that value, each as `$DLG_ctx_json`."""
        if name not in self.profiles:
            return -1
        found = list(self.store.members_of(name, value if self.profiles[name] else None))
        return self._give(c, found, dialogs, count)

    def _with_value(self, name: str, value: Value) -> list[Dialog]:
        return [one for one in self.store.alive() if name in one.values and str(one.values[name]) == str(value)]

    def _give(self, c: Context, found: list[Dialog], dialogs: Ref, count: Ref) -> int:
        for dialog in found:
            dialogs.set(c, self._json(dialog, with_context=True))
        count.set(c, len(found))
        return 1 if found else -1

    # Requests of our own.

    @function(
        "dlg_send_sequential",
        Param("method", _STRING),
        Param("leg", _STRING),
        Param("body", _STRING, optional=True),
        Param("content_type", _STRING, optional=True),
        Param("headers", _STRING, optional=True),
    )
    def dlg_send_sequential(
        self, c: Context, method: str, leg: str, body: str | None, content_type: str | None, headers: str | None
    ) -> int:
        """Send a request within the dialog to one end, ``caller`` or ``callee``; its answer is not waited for."""
        if method in SIDES:  # as the example in OpenSIPS's documentation has it
            method, leg = leg, method
        side, dialog = SIDES.get(leg), self._dialog_of(c)
        if side is None or dialog is None or self.keeper is None or method in NOT_SEQUENTIAL:
            return -1
        lines = tuple(line for line in (headers or "").splitlines() if line)
        wanted = Sequential(method, lines, (body or "").encode("latin-1", "replace"), content_type or "")
        return 1 if self.keeper.teller.send_sequential(dialog.id, side, wanted, lambda *_: None) else -1

    # Profiles.

    @function(
        "set_dlg_profile",
        Param("profile", _STRING),
        Param("value", _STRING, optional=True),
        Param("clear_values", Kind.VALUE, optional=True),
        routes=RouteType.MESSAGE,
    )
    def set_dlg_profile(self, c: Context, profile: str, value: str | None, clear_values: Value) -> int:
        """Put the dialog into a profile; with `clear_values` it leaves that profile's other values."""
        has_value = self.profiles.get(profile)
        if has_value is None or (has_value and (value is None or not fits(value))):
            return -1
        clear = str(clear_values or "").lower() in ("1", "true", "yes")
        return self._change(c, joining(profile, (value or "") if has_value else "", clear=clear))

    @function(
        "unset_dlg_profile", Param("profile", _STRING), Param("value", _STRING, optional=True), routes=RouteType.MESSAGE
    )
    def unset_dlg_profile(self, c: Context, profile: str, value: str | None) -> int:
        """Take the dialog out of a profile; without a value, whatever its values there are."""
        has_value = self.profiles.get(profile)
        if has_value is None:
            return -1
        return self._change(c, leaving(profile, value if has_value else None))

    @function(
        "is_in_profile", Param("profile", _STRING), Param("value", _STRING, optional=True), routes=RouteType.MESSAGE
    )
    def is_in_profile(self, c: Context, profile: str, value: str | None) -> int:
        """Whether the dialog is in a profile, or in it with that value."""
        dialog = self._dialog_of(c)
        if dialog is None or profile not in self.profiles:
            return -1
        wanted = value if self.profiles[profile] else None
        return 1 if any(one[0] == profile and wanted in (None, one[1]) for one in dialog.profiles) else -1

    @function(
        "get_profile_size",
        Param("profile", _STRING),
        Param("value", _STRING, optional=True),
        Param("size", Kind.OUTPUT),
    )
    def get_profile_size(self, c: Context, profile: str, value: str | None, size: Ref) -> int:
        """How many dialogs are in a profile, or in it with that value, in all processes."""
        has_value = self.profiles.get(profile)
        if has_value is None:
            return -1
        size.set(c, self.store.size_of(profile, value if has_value else None))
        return 1

    # Flags.

    @function("set_dlg_flag", Param("flag", _STRING), routes=RouteType.MESSAGE)
    def set_dlg_flag(self, c: Context, flag: str) -> int:
        """Set a flag of the dialog."""
        return self._change(c, _flagging(flag, on=True))

    @function("reset_dlg_flag", Param("flag", _STRING), routes=RouteType.MESSAGE)
    def reset_dlg_flag(self, c: Context, flag: str) -> int:
        """Clear a flag of the dialog."""
        return self._change(c, _flagging(flag, on=False))

    @function("is_dlg_flag_set", Param("flag", _STRING), routes=RouteType.MESSAGE)
    def is_dlg_flag_set(self, c: Context, flag: str) -> int:
        """Whether a flag of the dialog is set."""
        dialog = self._dialog_of(c)
        return 1 if dialog is not None and flag in dialog.script_flags else -1

    @function("test_and_set_dlg_flag", Param("flag", _STRING), Param("value", Kind.INTEGER), routes=RouteType.MESSAGE)
    def test_and_set_dlg_flag(self, c: Context, flag: str, value: int) -> int:
        """If the flag is as `value` says (1 or 0), turn it round; of several who ask at once, one succeeds."""
        turned = False

        def change(dialog: Dialog) -> list[Effect]:
            nonlocal turned
            turned = (flag in dialog.script_flags) == bool(value)
            return _flagging(flag, on=not value)(dialog) if turned else []

        return 1 if self._change(c, change) == 1 and turned else -1

    # Values.

    @function("store_dlg_value", Param("name", _STRING), Param("value", Kind.VALUE), routes=RouteType.MESSAGE)
    def store_dlg_value(self, c: Context, name: str, value: Value) -> int:
        """Keep a value with the dialog, as `$dlg_val(name) = value` does."""
        return self._change(c, valuing(name, value))

    @function("fetch_dlg_value", Param("name", _STRING), Param("value", Kind.OUTPUT), routes=RouteType.MESSAGE)
    def fetch_dlg_value(self, c: Context, name: str, value: Ref) -> int:
        """A value of the dialog; -1 when it has none of that name."""
        found = self.dlg_val(c, name)
        if found is None:
            return -1
        value.set(c, found)
        return 1

    # Routes.

    @function("dlg_on_answer", Param("route", Kind.ROUTE, optional=True), routes=RouteType.PASSING)
    def dlg_on_answer(self, c: Context, route: str | None) -> int:
        """Run that route when the call is answered; without one, none."""
        return self._arm(c, "on_answer", route)

    @function("dlg_on_timeout", Param("route", Kind.ROUTE, optional=True), routes=RouteType.PASSING)
    def dlg_on_timeout(self, c: Context, route: str | None) -> int:
        """Run that route when the dialog's lifetime is over; if it assigns `$DLG_timeout`, the dialog goes on."""
        return self._arm(c, "on_timeout", route)

    @function("dlg_on_hangup", Param("route", Kind.ROUTE, optional=True), routes=RouteType.PASSING)
    def dlg_on_hangup(self, c: Context, route: str | None) -> int:
        """Run that route when the answered call has ended."""
        return self._arm(c, "on_hangup", route)

    def _arm(self, c: Context, field: str, route: str | None) -> int:
        def change(dialog: Dialog) -> list[Effect]:
            setattr(dialog, field, route or "")
            return [Changed()]

        return self._change(c, change)


def _flagging(flag: str, on: bool) -> Change:
    def change(dialog: Dialog) -> list[Effect]:
        if (flag in dialog.script_flags) == on:
            return []
        dialog.script_flags = (
            [*dialog.script_flags, flag] if on else [one for one in dialog.script_flags if one != flag]
        )
        return [Changed()]

    return change


def _bare(routes: list[str]) -> list[str]:
    """Route values as their URIs."""
    return [one[one.find("<") + 1 : one.find(">")] if "<" in one else one.strip() for one in routes]
