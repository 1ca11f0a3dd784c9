"""What a SIP process does for dialogs: it tells them what passes by, and performs what they say.

Every change is in the store before anything of it is on the network, so the next request of the dialog may come to any
process. What a dialog wants to be sent is sent by the process that told it; what the clock finds due, and what an MI
command wants, comes to some SIP process as a letter.
"""

from __future__ import annotations

import logging
import os
import random
import zlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple, assert_never

import msgpack

from runtime.clock import epoch_now, monotonic_now
from runtime.context import Context
from runtime.dialogs.store import DialogStore
from runtime.roles import SIP, role_of
from runtime.script_process import Ended
from runtime.sip.dialog import Dialog, Terms, number_of
from runtime.sip.dialog_facts import (
    contact_of,
    dialog_of,
    did_in,
    numbered,
    own_request,
    replied,
    shifted_rack,
)
from runtime.sip.dialog_words import (
    Acked,
    ByeAnswered,
    CancelInvite,
    Changed,
    Due,
    Effect,
    EndReason,
    EndWanted,
    Flag,
    Gone,
    Moved,
    PingFailed,
    Refreshed,
    Replied,
    Requested,
    SendBye,
    SendPing,
    Side,
    State,
    Stimulus,
)
from runtime.sip.message import Message, Reply, Request
from runtime.store import StoreError
from runtime.watchers import TransactionWatcher
from workers.jobs import Peer

if TYPE_CHECKING:
    from runtime.process import Process
    from runtime.sip_process import SipProcess

log = logging.getLogger("layby.dialog")

DUE: Final = "dialog.due"
END: Final = "dialog.end"
CANCEL: Final = "dialog.cancel"
COUNTERS: Final = ("processed_dialogs", "expired_dialogs", "failed_dialogs")
STATE_CHANGED: Final = "E_DLG_STATE_CHANGED"

_REFRESHES: Final = frozenset(("INVITE", "UPDATE"))
"""The methods that may change where a dialog's ends are (RFC 3261 12.2, RFC 3311 5.1)."""
_CHALLENGES: Final = frozenset((401, 407))
_NO_DIALOG: Final = frozenset((408, 481))
"""Replies to a request within a dialog that end it (RFC 3261 12.2.1.2)."""
_UNREACHABLE: Final = 503
_TRIES: Final = 8


class Rules(NamedTuple):
    """What the module's parameters say.

    Args:
        terms: for each dialog's machine.
        rr_param: the name of the Record-Route parameter that carries the identifier.
        marks: whether it is put there.
        lifetime_s: of a dialog whose script does not say.
        linger_s: how long a dialog is kept after its end.
        headers: lines of the requests of our own.
        entries: a power of two: into how many the Call-IDs are hashed.
    """

    terms: Terms = Terms()
    rr_param: str = "did"
    marks: bool = True
    lifetime_s: int = 43200
    linger_s: int = 0
    headers: tuple[str, ...] = ()
    entries: int = 4096


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
    """

    def __init__(self, process: SipProcess, store: DialogStore, rules: Rules, count: Callable[[str], None]) -> None:
        self._process = process
        self._store = store
        self._rules = rules
        self._count = count
        self._random = random.Random(os.urandom(16))
        self._setups: dict[str, Setup] = {}
        """By the INVITE's transaction: the dialogs that its final reply is waited for."""
        self._parting: dict[int, Dialog] = {}
        """Dialogs that are gone, but whose route still runs."""
        process.letters[DUE] = self._on_due
        process.letters[END] = self._on_end
        process.letters[CANCEL] = self._on_cancel

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

    def load(self, did: str | None) -> Dialog | None:
        """The dialog of that identifier, also one that is gone while its last route runs."""
        number = None if did is None else number_of(did)
        if number is None:
            return None
        return self._parting.get(number) or self._store.load(number)

    def match(self, c: Context, by_did: bool, by_sip: bool) -> Dialog | None:
        """Find the dialog of a request within one, and note it in the context (`match_dialog`)."""
        request = c.message
        if not isinstance(request, Request) or request.to.tag is None:
            return None
        found = None
        if by_did:
            dialog = self.load(did_in(c.own_route, self._rules.rr_param))
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
        if invite_shift and request.method == "PRACK":
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
        found = None if number is None else self._tell(number, partial(_passing, request=request))
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
            self._change(setup.number, lambda dialog: _keep_offer(dialog, body, body_type))

    def reply_relayed(self, c: Context, reply: Reply, status: int) -> None:
        request = c.message
        number = number_of(c.dialog) if c.dialog is not None else None
        if number is None or not isinstance(request, Request):
            return
        if request.to.tag is None:
            self._tell(number, self._reply_to_invite(c, request, reply, status))
            if status >= 200:
                self._setups.pop(c.transaction or "", None)
        elif request.method == "BYE":
            if status >= 200 and status not in _CHALLENGES:
                self.apply(number, ByeAnswered(None, monotonic_now()))
        elif request.method in _REFRESHES and 200 <= status < 300:
            self._tell(number, partial(_refreshing, request=request, reply=reply))

    def _reply_to_invite(self, c: Context, request: Request, reply: Reply, status: int) -> Making:
        socket = c.socket if c.send_socket is None else c.send_socket
        mark = f"{self._rules.rr_param}={c.dialog}"
        told = replied(request, reply, mark, status, socket=socket, now=monotonic_now(), wall=epoch_now())
        return lambda dialog: told

    def answered(self, key: str, status: int) -> None:
        setup = self._setups.pop(key, None)
        if setup is not None:
            self.apply(setup.number, _refused(status))

    def replied_locally(self, c: Context, status: int) -> None:
        request = c.message
        number = number_of(c.dialog) if c.dialog is not None else None
        if number is None or not isinstance(request, Request):
            return
        if request.to.tag is None:
            self._setups.pop(c.transaction or "", None)
            self.apply(number, _refused(status))
        elif request.method == "BYE":
            self.apply(number, ByeAnswered(None, monotonic_now()))

    def ack_relayed(self, c: Context) -> None:
        number = number_of(c.dialog) if c.dialog is not None else None
        if number is not None:
            message = c.message
            self.apply(number, Acked(message.body, message.content_type or "" if message.body else ""))

    def over(self, key: str) -> None:
        """A server transaction ended; a dialog that still waits for its reply waits in vain."""
        self.answered(key, 500)

    # Telling.

    def apply(self, number: int, stimulus: Stimulus, headers: Sequence[str] = ()) -> Dialog | None:
        """Tell a dialog something, and perform what it says; the dialog as it is then, None where there is none."""
        return self._tell(number, lambda dialog: stimulus, headers)

    def _tell(self, number: int, make: Making, headers: Sequence[str] = ()) -> Dialog | None:
        def change(dialog: Dialog) -> list[Effect]:
            stimulus = make(dialog)
            return [] if stimulus is None else dialog.handle(stimulus, self._rules.terms)

        found = self._change(number, change)
        if found is None:
            return None
        dialog, effects = found
        if effects:
            self._perform(dialog, effects, headers)
        return dialog

    def _change(self, number: int, change: Callable[[Dialog], list[Effect]]) -> tuple[Dialog, list[Effect]] | None:
        try:
            return self._store.update(number, change)
        except StoreError as error:
            log.error("a dialog cannot be changed: %s", error)
            return None

    def _perform(self, dialog: Dialog, effects: list[Effect], headers: Sequence[str]) -> None:
        for effect in effects:
            match effect:
                case Changed() | Gone():
                    pass
                case Moved(old, new):
                    self._moved(dialog, old, new)
                case SendBye(side, cseq):
                    self._send(dialog, side, "BYE", cseq, headers)
                case SendPing(side, method, cseq):
                    self._send(dialog, side, method, cseq, ())
                case CancelInvite():
                    self._cancel(dialog)
                case _:
                    assert_never(effect)

    def _moved(self, dialog: Dialog, old: State, new: State) -> None:
        self._raise(dialog, old, new)
        if new is State.CONFIRMED_NA:
            self._run(dialog, dialog.on_answer)
        elif new is State.DELETED and old <= State.EARLY:
            self._count("failed_dialogs")
        elif new is State.DELETED:
            if dialog.reason == EndReason.TIMEOUT:
                self._count("expired_dialogs")
            self._run(dialog, dialog.on_hangup)

    def _raise(self, dialog: Dialog, old: State, new: State) -> None:
        module = self._process.house.program.modules.get("event_route")
        if module is None or STATE_CHANGED not in self._process.house.program.script.routes.events:
            return
        named = {
            "id": dialog.did,
            "db_id": dialog.id,
            "callid": dialog.call_id,
            "from_tag": dialog.caller.tag,
            "to_tag": dialog.callee.tag,
            "old_state": int(old),
            "new_state": int(new),
        }
        module.raised(STATE_CHANGED, tuple(named.values()), named)  # type: ignore[attr-defined]

    # Requests of our own.

    def _send(self, dialog: Dialog, side: Side, method: str, cseq: int, headers: Sequence[str]) -> None:
        wanted = own_request(dialog, side, method, cseq, (*self._rules.headers, *headers))
        try:
            if wanted is not None:
                self._process.send_request(wanted, partial(self._sent, dialog.id, side, method))
                return
        except ValueError as error:
            log.warning("%s of the dialog %s cannot be sent: %s", method, dialog.did, error)
        self._process.soon(lambda: self._sent(dialog.id, side, method, 500, None))

    def _sent(self, number: int, side: Side, method: str, status: int, reply: Reply | None) -> None:
        """A request of our own has had its end."""
        if method == "BYE":
            self.apply(number, ByeAnswered(side, monotonic_now()))
        elif status in _NO_DIALOG or (status == _UNREACHABLE and reply is None):
            self.apply(number, PingFailed(side, method, monotonic_now()))

    def _cancel(self, dialog: Dialog) -> None:
        if dialog.owner == str(self._process.peer):
            self._process.transactions.cancel(dialog.transaction)
            return
        owner = next((peer for peer in self._process.node.peers() if str(peer) == dialog.owner), None)
        if owner is not None:
            self._process.node.post(owner, CANCEL, msgpack.packb(dialog.transaction))

    # Letters.

    def end(self, number: int, reason: str, headers: Sequence[str] = ()) -> None:
        """End a call, by BYE to both ends or by CANCEL."""
        self.apply(number, EndWanted(reason, monotonic_now()), headers)

    def _on_due(self, sender: Peer, body: bytes) -> None:
        for number in msgpack.unpackb(body):
            self._look_after(number)

    def _on_end(self, sender: Peer, body: bytes) -> None:
        number, reason, headers = msgpack.unpackb(body)
        self.end(number, reason, headers)

    def _on_cancel(self, sender: Peer, body: bytes) -> None:
        self._process.transactions.cancel(msgpack.unpackb(body))

    def _look_after(self, number: int) -> None:
        """A dialog's moment has come. Its timeout route runs first, and may put the end off."""
        now = monotonic_now()
        dialog = self._store.load(number)
        if dialog is None:
            return
        confirmed = dialog.state in (State.CONFIRMED_NA, State.CONFIRMED)
        if not (confirmed and dialog.on_timeout and now >= dialog.ends_at):
            self.apply(number, Due(now))
            return
        if not self._run(dialog, dialog.on_timeout, lambda: self.apply(number, Due(now))):
            self.apply(number, Due(now))

    # Routes.

    def _run(self, dialog: Dialog, name: str, then: Callable[[], object] | None = None) -> bool:
        """Run a route of the script about a dialog, in a turn of its own; False where there is no such route."""
        route = self._process.house.program.script.routes.named.get(name) if name else None
        if route is None:
            return False
        context = self._process.dummy_context()
        context.dialog = dialog.did
        if then is None:
            self._parting[dialog.id] = dialog

        def through(context: Context, ended: Ended) -> None:
            if then is None:
                self._parting.pop(dialog.id, None)
            else:
                then()

        self._process.soon(lambda: self._process.run_script(context, route, through))
        return True


Making = Callable[[Dialog], Stimulus | None]
"""What a dialog is to hear, which may depend on it."""


def sender_of(dialog: Dialog, message: Message) -> Side | None:
    """Which end of the dialog sent a request; None when it is not of this dialog."""
    return dialog.sender_of(message.call_id, message.from_.tag, message.to.tag)


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


def sip_peers(process: Process) -> list[Peer]:
    """The SIP processes that can be told something."""
    return sorted(peer for peer in process.node.peers() if role_of(peer.name) == SIP)
