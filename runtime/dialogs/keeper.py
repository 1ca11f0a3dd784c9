"""What a SIP process sees of calls, and tells their dialogs."""

from __future__ import annotations

import logging
import os
import random
import zlib
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

from runtime.clock import epoch_now, monotonic_now
from runtime.context import Context
from runtime.dialogs.store import DialogStore
from runtime.dialogs.telling import Making, Rules, Teller
from runtime.sip.dialog import Dialog, number_of
from runtime.sip.dialog_facts import contact_of, dialog_of, did_in, numbered, replied, sender_of, shifted_rack
from runtime.sip.dialog_words import (
    Acked,
    ByeAnswered,
    CallerCancelled,
    Changed,
    Effect,
    Flag,
    Refreshed,
    Replied,
    Requested,
    Side,
    Stimulus,
)
from runtime.sip.message import Reply, Request
from runtime.store import StoreError
from runtime.watchers import TransactionWatcher

if TYPE_CHECKING:
    from runtime.sip_process import SipProcess

log = logging.getLogger("layby.dialog")

COUNTERS: Final = {
    "processed_dialogs": "Dialogs that were made.",
    "expired_dialogs": "Dialogs whose time ran out.",
    "failed_dialogs": "Dialogs that ended before they were answered.",
    **{
        f"{what}_{way}": "Always 0: nothing is replicated between servers."
        for what in ("create", "update", "delete")
        for way in ("sent", "recv")
    },
}

_REFRESHES: Final = frozenset(("INVITE", "UPDATE"))
"""The methods that may change where a dialog's ends are (RFC 3261 12.2, RFC 3311 5.1)."""
_CHALLENGES: Final = frozenset((401, 407))
_TRIES: Final = 8


class Setup(NamedTuple):
    """A dialog whose INVITE this process has."""

    number: int
    flags: int


class Keeper(TransactionWatcher):
    """See the module.

    Args:
        process: where it is.
        store: the dialogs of all.
        rules: what the parameters say.
        count: counts a statistic of the module.

    Attributes:
        teller: by which it tells them.
    """

    def __init__(self, process: SipProcess, store: DialogStore, rules: Rules, count: Callable[[str], None]) -> None:
        self._process = process
        self._store = store
        self._rules = rules
        self._count = count
        self.teller = Teller(process, store, rules, count)
        self._random = random.Random(os.urandom(16))
        self._setups: dict[str, Setup] = {}
        """By the INVITE's transaction: the dialogs that its final reply is waited for."""

    # Dialogs.

    def create(self, c: Context, flags: int) -> int:
        """Make a dialog of the context's INVITE (`create_dialog`).

        The request gets its transaction here: then its setup ends with a reply, whatever the script does.

        Returns:
            1, also when it has one; 0 when the request is a copy of one that is known; -1 when it cannot have one.
        """
        request = c.message
        if c.dialog is not None:
            return 1
        if not isinstance(request, Request) or request.method != "INVITE" or request.to.tag is not None:
            return -1
        if not self._process.new_transaction(c):
            return 0
        dialog = self._new(request, c, flags)
        if dialog is None:
            return -1
        assert c.transaction is not None, "it was just made"
        c.dialog = dialog.did
        self._setups[c.transaction] = Setup(dialog.id, flags)
        self._count("processed_dialogs")
        return 1

    def _new(self, request: Request, c: Context, flags: int) -> Dialog | None:
        rules = self._rules
        entry = zlib.crc32(request.call_id.encode("latin-1", "replace")) & (rules.entries - 1)
        dialog = dialog_of(request, 0, socket=c.socket, lifetime_s=rules.lifetime_s, wall=epoch_now())
        dialog.flags, dialog.linger_s = flags, rules.linger_s
        dialog.owner, dialog.transaction = str(self._process.peer), c.transaction or ""
        dialog.begin(monotonic_now())
        try:
            for _ in range(_TRIES):
                dialog.id = entry << 32 | self._random.getrandbits(32)
                if self._store.create(dialog):
                    return dialog
        except StoreError as error:
            log.error("no dialog for the call %s: %s", request.call_id, error)
        return None

    def match(self, c: Context, by_did: bool, by_sip: bool) -> Dialog | None:
        """Find the dialog of a request within one, and note it in the context (`match_dialog`)."""
        request = c.message
        if not isinstance(request, Request) or request.to.tag is None:
            return None
        found = None
        if by_did:
            dialog = self.teller.load(did_in(c.own_route, self._rules.rr_param))
            found = [] if dialog is None else [dialog]
        if by_sip and not found:
            found = self._store.of_call(request.call_id)
        for dialog in found or ():
            side = sender_of(dialog, request)
            if side is not None:
                c.dialog = dialog.did
                if request.method == "ACK":
                    self._renumber(c, dialog, side)
                return dialog
        return None

    def _renumber(self, c: Context, dialog: Dialog, side: Side) -> None:
        """Give a request the number that its receiver expects, where we have sent some of our own."""
        request = c.message
        assert isinstance(request, Request), "only requests are renumbered"
        shift = dialog.shift(side, request.method)
        if shift:
            c.cseq = numbered(request.cseq_number, shift)
        invite_shift = dialog.shift(side, "ACK")
        if invite_shift and request.method == "PRACK" and ("remove", "rack") not in c.edits:
            line = shifted_rack(request, invite_shift)
            if line is not None:
                c.edits += [("remove", "rack"), ("append", line)]

    # What passes by (`TransactionWatcher`).

    def relaying(self, c: Context) -> None:
        request = c.message
        if c.dialog is None or not isinstance(request, Request):
            return
        if request.to.tag is None:
            self._relaying_first(c, request)
            return
        number = number_of(c.dialog)
        found = None if number is None else self.teller.tell(number, partial(_passing, request=request))
        if found is not None and (found.caller.shift or found.callee.shift):
            side = sender_of(found, request)
            if side is not None:
                self._renumber(c, found, side)

    def _relaying_first(self, c: Context, request: Request) -> None:
        mark = f";{self._rules.rr_param}={c.dialog}"
        if self._rules.marks and c.record_route is not None and mark not in c.record_route.params:
            c.record_route = replace(c.record_route, params=c.record_route.params + mark)
        setup = self._setups.get(c.transaction or "")
        if setup is not None and setup.flags & Flag.REINVITE_CALLEE:
            body, body_type = request.body if c.body is None else c.body, request.content_type or ""
            self.teller.change(setup.number, lambda dialog: _keep_offer(dialog, body, body_type))

    def reply_relayed(self, c: Context, reply: Reply, status: int) -> None:
        request = c.message
        number = number_of(c.dialog) if c.dialog is not None else None
        if number is None or not isinstance(request, Request):
            return
        if request.to.tag is None:
            self.teller.tell(number, self._reply_to_invite(c, request, reply, status))
            if status >= 200:
                self._setups.pop(c.transaction or "", None)
        elif request.method == "BYE":
            if status >= 200 and status not in _CHALLENGES:
                self.teller.apply(number, ByeAnswered(None, monotonic_now()))
        elif request.method in _REFRESHES and 200 <= status < 300:
            self.teller.tell(number, partial(_refreshing, request=request, reply=reply))

    def _reply_to_invite(self, c: Context, request: Request, reply: Reply, status: int) -> Making:
        socket = c.socket if c.send_socket is None else c.send_socket
        mark = f"{self._rules.rr_param}={c.dialog}"
        told = replied(request, reply, mark, status, socket=socket, now=monotonic_now(), wall=epoch_now())
        return lambda dialog: told

    def answered(self, key: str, status: int, reason: str) -> None:
        self._refused(key, status)

    def _refused(self, key: str, status: int) -> None:
        setup = self._setups.pop(key, None)
        if setup is not None:
            self.teller.apply(setup.number, _refused(status))

    def replied_locally(self, c: Context, status: int) -> None:
        request = c.message
        number = number_of(c.dialog) if c.dialog is not None else None
        if number is None or not isinstance(request, Request):
            return
        if request.to.tag is None:
            self._setups.pop(c.transaction or "", None)
            self.teller.apply(number, _refused(status))
        elif request.method == "BYE":
            self.teller.apply(number, ByeAnswered(None, monotonic_now()))

    def ack_relayed(self, c: Context) -> None:
        number = number_of(c.dialog) if c.dialog is not None else None
        if number is not None:
            message = c.message
            self.teller.apply(number, Acked(message.body, message.content_type or "" if message.body else ""))

    def cancelled(self, key: str) -> None:
        setup = self._setups.get(key)
        if setup is not None and setup.flags & Flag.END_ON_RACE:
            self.teller.apply(setup.number, CallerCancelled())

    def over(self, key: str) -> None:
        """A server transaction ended; a dialog that still waits for its reply waits in vain."""
        self._refused(key, 500)


def _passing(dialog: Dialog, request: Request) -> Stimulus | None:
    side = sender_of(dialog, request)
    if side is None:
        return None
    return Requested(request.method, side, request.cseq_number, monotonic_now())


def _refreshing(dialog: Dialog, request: Request, reply: Reply) -> Stimulus | None:
    side = sender_of(dialog, request)
    if side is None:
        return None
    return Refreshed(
        side,
        contact_of(request),
        contact_of(reply),
        request.body,
        request.content_type or "",
        reply.body,
        reply.content_type or "",
    )


def _keep_offer(dialog: Dialog, body: bytes, body_type: str) -> list[Effect]:
    dialog.callee.body, dialog.callee.body_type = body, body_type
    return [Changed()]


def _refused(status: int) -> Replied:
    """A final reply of our own making. A 2xx is a refusal too: the call is this server's then, not one that it sees."""
    return Replied(max(status, 300), "", "", [], 0, monotonic_now(), epoch_now())
