"""Telling a dialog what happened, and doing what it says: in a SIP process.

Every change is in the store before anything of it is on the network, so the next request of the dialog may come to any
process. What a dialog wants to be sent is sent by the process that told it; what the clock finds due, and what an MI
command wants, comes to some SIP process as a letter.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple, assert_never

import msgpack

from runtime.clock import monotonic_now
from runtime.context import Context
from runtime.dialogs.store import DialogStore
from runtime.modules.events import events_of
from runtime.runs import Ended
from runtime.script.declare import Event
from runtime.sip.dialog import Dialog, Terms, number_of
from runtime.sip.dialog_facts import own_request
from runtime.sip.dialog_words import (
    ByeAnswered,
    CancelInvite,
    Changed,
    Due,
    Effect,
    EndReason,
    EndWanted,
    Gone,
    Leg,
    Moved,
    PingFailed,
    RequestWanted,
    SendBye,
    SendPing,
    SendRequest,
    Side,
    State,
    Stimulus,
)
from runtime.sip.message import Reply
from runtime.sip.own_request import OwnRequest
from runtime.store import StoreError
from workers.jobs import Peer

if TYPE_CHECKING:
    from runtime.house import House
    from runtime.runs import Done
    from runtime.sip_process import SipProcess
    from runtime.uac import Sending

log = logging.getLogger("layby.dialog")

DUE: Final = "dialog.due"
END: Final = "dialog.end"
CANCEL: Final = "dialog.cancel"
STATE_CHANGED: Final = Event(
    "E_DLG_STATE_CHANGED",
    ("id", "db_id", "callid", "from_tag", "to_tag", "old_state", "new_state"),
    "A dialog has another state than before; the states are numbered as in `dlg_list`.",
)

_NO_DIALOG: Final = frozenset((408, 481))
"""Replies to a request within a dialog that end it (RFC 3261 12.2.1.2)."""
_UNREACHABLE: Final = 503

Making = Callable[[Dialog], Stimulus | None]
"""What a dialog is to hear, which may depend on it."""


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


class Sequential(NamedTuple):
    """A request to be sent within a dialog.

    Args:
        method: any but BYE, ACK and CANCEL.
        headers: header lines.
        body, body_type: its body, and that one's Content-Type.
        timeout_s: how long its final reply may take; None for the transaction module's parameters.
    """

    method: str
    headers: tuple[str, ...] = ()
    body: bytes = b""
    body_type: str = ""
    timeout_s: float | None = None


class Teller:
    """See the module.

    Args:
        process: where it is.
        store: the dialogs of all.
        rules: what the parameters say.
        count: counts a statistic of the module.

    Attributes:
        on_end: told of each confirmed dialog that has just ended here.
    """

    def __init__(self, process: SipProcess, store: DialogStore, rules: Rules, count: Callable[[str], None]) -> None:
        self._process = process
        self._store = store
        self._rules = rules
        self._count = count
        self.on_end: Sequence[Callable[[Dialog], None]] = ()
        self._parting: dict[int, Dialog] = {}
        """Dialogs that are gone, but whose route still runs."""
        _here[:] = [self]
        process.letters[DUE] = self._on_due
        process.letters[END] = self._on_end
        process.letters[CANCEL] = self._on_cancel

    def load(self, did: str | None) -> Dialog | None:
        """The dialog of that identifier, also one that is gone while its last route runs."""
        number = None if did is None else number_of(did)
        if number is None:
            return None
        return self._parting.get(number) or self._store.load(number)

    def apply(self, number: int, stimulus: Stimulus, headers: Sequence[str] = ()) -> Dialog | None:
        """Tell a dialog something, and perform what it says; the dialog as it is then, None where there is none."""
        return self.tell(number, lambda dialog: stimulus, headers)

    def tell(self, number: int, make: Making, headers: Sequence[str] = ()) -> Dialog | None:
        """`apply`, with what the dialog is to hear made from it as it is."""

        def change(dialog: Dialog) -> list[Effect]:
            stimulus = make(dialog)
            return [] if stimulus is None else dialog.handle(stimulus, self._rules.terms)

        found = self.change(number, change)
        if found is None:
            return None
        dialog, effects = found
        if effects:
            self._perform(dialog, effects, headers)
        return dialog

    def change(self, number: int, change: Callable[[Dialog], list[Effect]]) -> tuple[Dialog, list[Effect]] | None:
        """Change a dialog in the store; None when there is none, or no room."""
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
                case SendRequest():
                    pass  # `send_sequential` does it
                case CancelInvite():
                    self._cancel(dialog)
                case _:
                    assert_never(effect)

    def _moved(self, dialog: Dialog, old: State, new: State) -> None:
        raise_moved(self._process.house, dialog, old, new)
        if new is State.CONFIRMED_NA:
            self._run(dialog, dialog.on_answer, _nothing)
        elif new is State.DELETED and old <= State.EARLY:
            self._count("failed_dialogs")
        elif new is State.DELETED:
            for hook in self.on_end:
                hook(dialog)
            if dialog.reason == EndReason.TIMEOUT:
                self._count("expired_dialogs")
            self._parting[dialog.id] = dialog
            if not self._run(dialog, dialog.on_hangup, lambda: self._parting.pop(dialog.id, None)):
                del self._parting[dialog.id]

    # Requests of our own.

    def _send(self, dialog: Dialog, side: Side, method: str, cseq: int, headers: Sequence[str]) -> None:
        leg = dialog.leg(side)
        body = leg.body if method == "INVITE" else b""
        wanted = own_request(dialog, side, method, cseq, (*self._rules.headers, *headers), body, leg.body_type)
        done = partial(self._sent, dialog.id, side, method)
        if self._launch(dialog, wanted, done) is None:
            self._process.soon(lambda: done(500, None))

    def _launch(self, dialog: Dialog, wanted: OwnRequest | None, done: Done) -> Sending | None:
        if wanted is None:
            log.warning("the dialog %s has an end that nobody can reach", dialog.did)
            return None
        try:
            return self._process.send_request(wanted, done)
        except ValueError as error:
            log.warning("%s of the dialog %s cannot be sent: %s", wanted.method, dialog.did, error)
            return None

    def send_sequential(self, number: int, side: Side, wanted: Sequential, done: Done) -> Sending | None:
        """Send a request of our own to one end of a confirmed dialog (`dlg_send_sequential`).

        Args:
            number: the dialog's id.
            side: whom it is for.
            wanted: what to send.
            done: told how it ended, once, later.

        Returns:
            it under way; None when there is no such dialog, or it cannot be sent.
        """
        found = self.change(number, lambda dialog: dialog.handle(RequestWanted(side, wanted.method)))
        if found is None or not found[1]:
            return None
        dialog, cseq = found[0], found[0].leg(side).sent
        headers = (*self._rules.headers, *wanted.headers)
        request = own_request(dialog, side, wanted.method, cseq, headers, wanted.body, wanted.body_type)
        if request is not None:
            request = dataclasses.replace(request, timeout_s=wanted.timeout_s)
        return self._launch(dialog, request, done)

    def leg(self, number: int, side: Side) -> Leg | None:
        """One end of a dialog; None where there is no such dialog."""
        dialog = self._store.load(number)
        return None if dialog is None else dialog.leg(side)

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

    def _run(self, dialog: Dialog, name: str, then: Callable[[], object]) -> bool:
        """Run a route of the script about a dialog, in a turn of its own; False where there is no such route."""
        if not name:
            return False
        script = self._process.house.program.script
        route = script.routes.named.get(name)
        if route is None:  # a reload has taken it away
            log.warning("the dialog %s: there is no route[%s] any more", dialog.did, name)
            return False
        context = self._process.dummy_context(script)
        context.dialog = dialog.did

        def through(context: Context, ended: Ended) -> None:
            then()

        self._process.soon(lambda: self._process.run_script(context, route, through))
        return True


def raise_moved(house: House, dialog: Dialog, old: State, new: State) -> None:
    """Raise E_DLG_STATE_CHANGED, where somebody hears of it."""
    tags = dialog.caller.tag, dialog.callee.tag
    events_of(house).tell(STATE_CHANGED, dialog.did, dialog.id, dialog.call_id, *tags, int(old), int(new))


_here: list[Teller] = []


def teller_here() -> Teller:
    """That of this process, a SIP process."""
    return _here[0]


def _nothing() -> None:
    pass
