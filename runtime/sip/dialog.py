"""One dialog of two user agents, as a proxy in its path sees it (RFC 3261 section 12; OpenSIPS, module dialog).

The states are OpenSIPS's. The table at the end says what moves a dialog from one to the next; what has no row changes
nothing. What the RFC and OpenSIPS's documentation leave open, and how it is settled here:

- **Which reply counts.** The first 2xx makes the callee's leg. A 2xx of another fork has another tag and changes
  nothing: its ACK and BYE do not match this dialog (`sender_of`). Before the 2xx each provisional reply with a tag
  makes an early leg, the latest of which is shown.
- **A BYE that is passed on ends the dialog,** answered or not. One that the script refuses does not, since it is not
  passed on. The record stays until the BYE is answered, so that the BYE's reply route can read the dialog.
- **Ends of our own making** (lifetime over with bye-on-timeout, failed ping, MI) send a BYE to both ends. Each BYE's
  number is in the leg until it is answered, and `due` is set to when it should have been: if the process that was to
  send it dies, the clock finds the dialog and asks for it again, once, with the same number.
- **CSeq** (RFC 3261 12.2.1.1). A request of our own takes the number after the highest that its receiver has seen. From
  then on the numbers of the other end are behind, and must be raised on their way by `Leg.shift`. Nothing is changed
  while we have sent nothing.
- **An unconfirmed dialog** lives as long as its INVITE transaction, whose every end is a reply. Only where that process
  died no reply comes: `due` ends it then.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final, NamedTuple, TypeAlias

from msgspec import Struct, field

from runtime.sip.dialog_words import (
    Acked,
    ByeAnswered,
    CallerCancelled,
    CancelInvite,
    Changed,
    Due,
    Effect,
    EndReason,
    EndWanted,
    Flag,
    Gone,
    Leg,
    Moved,
    PingFailed,
    Refreshed,
    Replied,
    Requested,
    RequestWanted,
    SendBye,
    SendPing,
    SendRequest,
    Side,
    State,
    Stimulus,
    TimeoutSet,
)
from runtime.sip.message import MAX_CSEQ

SETUP_S: Final = 3600.0
"""How long a dialog may be unconfirmed: longer than any INVITE transaction rings."""
BYE_S: Final = 40.0
"""When a BYE should have been answered: 64*T1 (RFC 3261 17.1.2.2), and some time to get it sent."""


class Terms(NamedTuple):
    """What the module's parameters say about every dialog.

    Args:
        options_s, reinvite_s: seconds between two pings of one end.
        race_s: seconds until a dialog with a race condition is ended, if it was created so.
    """

    options_s: float = 30.0
    reinvite_s: float = 300.0
    race_s: float = 5.0


DEFAULT_TERMS: Final = Terms()


class Dialog(Struct, array_like=True):
    """One dialog.

    Args:
        id: 64 bits: the upper half depends on the Call-ID, the lower is random.
        call_id: Call-ID.
        created: when the INVITE came, in seconds of the epoch.
        lifetime_s: how long it may last once confirmed.
        caller, callee: the two ends.
        flags: what `create_dialog` asked for (`Flag`).
        state: where it is.
        started: when it was confirmed, in seconds of the epoch; 0 before.
        ends_at: on the monotonic clock: when its lifetime is over; before the 2xx, when it is given up; after its
            end, when it is forgotten.
        due: when `Due` must be told next: the earliest of `ends_at` and the pings.
        reason: why it ended; empty while it has not.
        owner: the process that has the INVITE's transaction, as ``name.incarnation``.
        transaction: that transaction's key there.
        values: `$dlg_val(name)`.
        script_flags: the flags that the script has set.
        profiles: the profiles that it is in: pairs of name and value, empty for one without a value.
        on_answer, on_timeout, on_hangup: the routes to run; empty for none.
        linger_s: how long it is kept after its end (`$DLG_del_delay`).
        stray: a CANCEL or an early BYE of the caller's has gone by: a 2xx now is a race (RFC 5407 3.1).
        retried: the BYEs of our own have been asked for a second time.
    """

    id: int
    call_id: str
    created: float
    lifetime_s: int
    caller: Leg
    callee: Leg
    flags: int = 0
    state: int = State.UNCONFIRMED
    started: float = 0.0
    ends_at: float = 0.0
    due: float = 0.0
    reason: str = ""
    owner: str = ""
    transaction: str = ""
    values: dict[str, str | int] = field(default_factory=dict)
    script_flags: list[str] = field(default_factory=list)
    profiles: list[tuple[str, str]] = field(default_factory=list)
    on_answer: str = ""
    on_timeout: str = ""
    on_hangup: str = ""
    linger_s: int = 0
    stray: bool = False
    retried: bool = False

    @property
    def did(self) -> str:
        """The identifier as scripts, Record-Route parameters and MI commands spell it."""
        return did_of(self.id)

    def leg(self, side: Side) -> Leg:
        """One end."""
        return self.caller if side is Side.CALLER else self.callee

    def resume(self, now: float, terms: Terms = DEFAULT_TERMS) -> None:
        """Begin the pings of a dialog that comes from elsewhere, and look at it when it is due."""
        for side in Side:
            interval_s = _ping(self, side, terms)[1]
            self.leg(side).ping_at = now + interval_s if interval_s else 0.0
        self.due = self._next_due()

    def begin(self, now: float) -> None:
        """Set the first deadline; `now` is on the monotonic clock."""
        self.ends_at = self.due = now + SETUP_S

    def sender_of(self, call_id: str, from_tag: str | None, to_tag: str | None) -> Side | None:
        """Which end sent a request with this Call-ID and these tags; None when it is not of this dialog.

        RFC 3261 12.2.2: all three must fit. Until the 2xx the callee may have any tag: the call may fork.
        """
        if call_id != self.call_id:
            return None
        caller, callee = self.caller.tag, self.callee.tag
        early = self.state <= State.EARLY or not callee
        if from_tag == caller and (early or to_tag == callee):
            return Side.CALLER
        if to_tag == caller and (early or from_tag == callee):
            return Side.CALLEE
        return None

    def shift(self, sender: Side, method: str) -> int:
        """What to add to the CSeq number of a request from `sender`; for one that is new, after `Requested`."""
        to = self.leg(sender.other)
        return to.invite_shift if method == "ACK" else to.shift

    def handle(self, stimulus: Stimulus, terms: Terms = DEFAULT_TERMS) -> list[Effect]:
        """What happens; the state is changed when this returns. Without an effect nothing was changed at all."""
        column: type[Stimulus] | str = type(stimulus)
        if column is Replied:
            column = _column_of(stimulus.status)  # type: ignore[union-attr]
        act = _TABLE.get((self.state, column))
        effects = [] if act is None else act(self, stimulus, terms)
        if effects:
            self.due = self._next_due()
        return effects

    def _next_due(self) -> float:
        due = self.ends_at
        if self.state in (State.CONFIRMED_NA, State.CONFIRMED):
            for leg in (self.caller, self.callee):
                if leg.ping_at and leg.ping_at < due:
                    due = leg.ping_at
        return due

    def check(self) -> None:
        """Assert the invariants."""
        confirmed = self.state in (State.CONFIRMED_NA, State.CONFIRMED)
        assert self.due == self._next_due() > 0, "whatever it waits for, it is looked at again"
        assert confirmed <= bool(self.started and self.callee.tag), "a confirmed dialog has both legs"
        assert not (confirmed and (self.caller.bye or self.callee.bye)), "our BYE is sent when it is over"
        assert self.state != State.DELETED or not self.profiles, "what is over counts nowhere"
        for leg, other in ((self.caller, self.callee), (self.callee, self.caller)):
            assert -1 <= leg.sent <= MAX_CSEQ, "a CSeq number is below 2**31"
            assert leg.sent >= min(other.cseq + leg.shift, MAX_CSEQ), "what was passed on was sent"
            assert leg.invite_shift <= leg.shift, "shifts only grow"
            assert leg.bye <= max(leg.sent, 0), "a BYE's number was used"


def did_of(number: int) -> str:
    """A dialog's identifier, e.g. ``e3d.f2a4b1c2``: both halves in hexadecimal."""
    return f"{number >> 32:x}.{number & 0xFFFFFFFF:x}"


def number_of(did: str) -> int | None:
    """The number that an identifier spells; None for what is none."""
    return _number_of(did) if len(did) <= _MAX_DID_CHARS else None


@lru_cache(maxsize=4096)
def _number_of(did: str) -> int | None:
    entry, dot, serial = did.partition(".")
    if not dot or not 1 <= len(entry) <= 8 or not 1 <= len(serial) <= 8 or not _HEX.issuperset(entry + serial):
        return None
    return int(entry, 16) << 32 | int(serial, 16)


_MAX_DID_CHARS: Final = 17
_HEX: Final = frozenset("0123456789abcdefABCDEF")
_PROVISIONAL: Final = "1xx"
_ACCEPTED: Final = "2xx"
_REFUSED: Final = "3xx-6xx"


def _column_of(status: int) -> str:
    if status < 200:
        return _PROVISIONAL
    return _ACCEPTED if status < 300 else _REFUSED


# --- what the rows do

_CHANGED: Final = Changed()
_GONE: Final = Gone()
_CANCEL: Final = CancelInvite()


def _early(d: Dialog, reply: Replied, _: Terms) -> list[Effect]:
    if reply.status == 100:
        return []
    known = d.callee.tag == reply.to_tag and d.callee.contact == (reply.contact or d.callee.contact)
    if d.state == State.EARLY and (known or not reply.to_tag):
        return []
    if reply.to_tag:
        _learn_callee(d, reply)
    return _move(d, State.EARLY) or [_CHANGED]


def _accept(d: Dialog, reply: Replied, terms: Terms) -> list[Effect]:
    _learn_callee(d, reply)
    if reply.body and d.flags & Flag.REINVITE_CALLER:
        d.caller.body, d.caller.body_type = reply.body, reply.body_type
    d.started = reply.wall
    d.ends_at = reply.now + d.lifetime_s
    if d.stray and d.flags & Flag.END_ON_RACE:
        d.reason = EndReason.RACE
        d.ends_at = reply.now + terms.race_s
    d.resume(reply.now, terms)
    return _move(d, State.CONFIRMED_NA)


def _learn_callee(d: Dialog, reply: Replied) -> None:
    callee = d.callee
    callee.tag, callee.routes, callee.socket = reply.to_tag, reply.routes, reply.socket
    callee.contact = reply.contact or callee.contact


def _refuse(d: Dialog, reply: Replied, _: Terms) -> list[Effect]:
    return _forget(d, reply.now, _move(d, State.DELETED))


def _give_up(d: Dialog, due: Due, _: Terms) -> list[Effect]:
    return [*_move(d, State.DELETED), _GONE] if due.now >= d.ends_at else [_CHANGED]


def _cancel(d: Dialog, wanted: EndWanted, _: Terms) -> list[Effect]:
    d.reason = wanted.reason
    return [_CHANGED, _CANCEL]


def _confirm(d: Dialog, ack: Acked, _: Terms) -> list[Effect]:
    _keep_answer(d, ack)
    return _move(d, State.CONFIRMED)


def _late_ack(d: Dialog, ack: Acked, _: Terms) -> list[Effect]:
    return [_CHANGED] if _keep_answer(d, ack) else []


def _keep_answer(d: Dialog, ack: Acked) -> bool:
    """The answer to an offer that a 2xx made stands in its ACK (RFC 3264 section 4)."""
    if not ack.body or not d.flags & Flag.REINVITE_CALLEE or d.callee.body == ack.body:
        return False
    d.callee.body, d.callee.body_type = ack.body, ack.body_type
    return True


def _pass(d: Dialog, request: Requested, _: Terms) -> list[Effect]:
    return [_CHANGED] if _number(d, request) else []


def _pass_early(d: Dialog, request: Requested, _: Terms) -> list[Effect]:
    numbered = _number(d, request)
    if request.method == "BYE" and request.sender is Side.CALLER and not d.stray:
        d.stray = True
        return [_CHANGED]
    return [_CHANGED] if numbered else []


def _note_cancel(d: Dialog, _: CallerCancelled, __: Terms) -> list[Effect]:
    if d.stray:
        return []
    d.stray = True
    return [_CHANGED]


def _give_number(d: Dialog, wanted: RequestWanted, _: Terms) -> list[Effect]:
    return [_CHANGED, SendRequest(wanted.side, wanted.method, _own_number(d.leg(wanted.side)))]


def _pass_or_end(d: Dialog, request: Requested, _: Terms) -> list[Effect]:
    numbered = _number(d, request)
    if request.method != "BYE":
        return [_CHANGED] if numbered else []
    d.reason = EndReason.DOWNSTREAM_BYE if request.sender is Side.CALLER else EndReason.UPSTREAM_BYE
    d.ends_at = request.now + BYE_S + d.linger_s
    return _move(d, State.DELETED)


def _number(d: Dialog, request: Requested) -> bool:
    """Note the request's number and settle what it becomes; whether it is a new one.

    What is not new (a copy, or one that was overtaken) gets the shift that there is, and is its receiver's to judge.
    """
    sender, receiver = d.leg(request.sender), d.leg(request.sender.other)
    if request.cseq <= sender.cseq:
        return False
    sender.cseq = request.cseq
    number = request.cseq + receiver.shift
    if number <= receiver.sent:
        # We have used that number ourselves meanwhile.
        receiver.shift = receiver.sent + 1 - request.cseq
        number = receiver.sent + 1
    receiver.sent = min(number, MAX_CSEQ)
    if request.method == "INVITE":
        receiver.invite_shift = receiver.shift
    return True


def _refresh(d: Dialog, told: Refreshed, _: Terms) -> list[Effect]:
    changed = False
    for side, contact in ((told.sender, told.contact), (told.sender.other, told.answered)):
        if contact and d.leg(side).contact != contact:
            d.leg(side).contact = contact
            changed = True
    for side, body, body_type in (
        (told.sender.other, told.body, told.body_type),
        (told.sender, told.answer, told.answer_type),
    ):
        if body and body != d.leg(side).body and d.flags & _REINVITE[side]:
            d.leg(side).body, d.leg(side).body_type = body, body_type
            changed = True
    return [_CHANGED] if changed else []


def _look(d: Dialog, due: Due, terms: Terms) -> list[Effect]:
    if due.now >= d.ends_at:
        d.reason = d.reason or EndReason.TIMEOUT
        if d.flags & Flag.BYE_ON_TIMEOUT or d.reason == EndReason.RACE:
            return _end(d, due.now)
        return _forget(d, due.now, _move(d, State.DELETED))
    effects: list[Effect] = [_CHANGED]
    for side in Side:
        leg = d.leg(side)
        if not leg.ping_at or due.now < leg.ping_at:
            continue
        method, interval_s = _ping(d, side, terms)
        leg.ping_at = due.now + interval_s if interval_s else 0.0
        # The session must be settled before it can be offered anew, and its ends know each other by the ACK only.
        if interval_s and d.state == State.CONFIRMED:
            effects.append(SendPing(side, method, _own_number(leg)))
    return effects


def _end_by_ping(d: Dialog, failed: PingFailed, _: Terms) -> list[Effect]:
    d.reason = EndReason.REINVITE_PING if failed.method == "INVITE" else EndReason.PING
    return _end(d, failed.now)


def _end_wanted(d: Dialog, wanted: EndWanted, _: Terms) -> list[Effect]:
    d.reason = wanted.reason
    return _end(d, wanted.now)


def _set_lifetime(d: Dialog, wanted: TimeoutSet, _: Terms) -> list[Effect]:
    d.lifetime_s = wanted.seconds
    return [_CHANGED]


def _set_end(d: Dialog, wanted: TimeoutSet, _: Terms) -> list[Effect]:
    d.lifetime_s = wanted.seconds
    d.ends_at = wanted.now + wanted.seconds
    return [_CHANGED]


def _bye_answered(d: Dialog, answered: ByeAnswered, _: Terms) -> list[Effect]:
    if answered.side is not None:
        d.leg(answered.side).bye = 0
    if d.caller.bye or d.callee.bye:
        return [_CHANGED]
    return _forget(d, answered.now, [])


def _look_back(d: Dialog, due: Due, _: Terms) -> list[Effect]:
    if due.now < d.ends_at:
        return [_CHANGED]
    byes: list[Effect] = [SendBye(side, d.leg(side).bye) for side in Side if d.leg(side).bye]
    if not byes or d.retried:
        return [_GONE]
    d.retried = True
    d.ends_at = due.now + BYE_S
    return [_CHANGED, *byes]


def _end(d: Dialog, now: float) -> list[Effect]:
    """End it with a BYE to both ends."""
    d.ends_at = now + BYE_S
    for leg in (d.caller, d.callee):
        leg.bye = _own_number(leg)
    return [*_move(d, State.DELETED), *(SendBye(side, d.leg(side).bye) for side in Side)]


def _own_number(leg: Leg) -> int:
    leg.sent = min(max(leg.sent + 1, 1), MAX_CSEQ)
    return leg.sent


def _forget(d: Dialog, now: float, effects: list[Effect]) -> list[Effect]:
    """It is over and nothing is under way: gone, at once or after its delay."""
    if not d.linger_s:
        return [*effects, _GONE]
    d.ends_at = now + d.linger_s
    return effects or [_CHANGED]


def _move(d: Dialog, state: State) -> list[Effect]:
    if d.state == state:
        return []
    old, d.state = State(d.state), state
    if state == State.DELETED:
        d.profiles = []
    return [_MOVES[old, state]]


def _ping(d: Dialog, side: Side, terms: Terms) -> tuple[str, float]:
    """How an end is pinged, and after how many seconds; re-INVITE wins, as OpenSIPS has it. 0.0 for not at all.

    A re-INVITE must offer the session as it is: without an offer its 2xx makes one, which we could not answer.
    """
    if d.flags & _REINVITE[side]:
        return "INVITE" if d.leg(side).body else "OPTIONS", terms.reinvite_s
    return "OPTIONS", terms.options_s if d.flags & _OPTIONS[side] else 0.0


_REINVITE: Final = {Side.CALLER: Flag.REINVITE_CALLER, Side.CALLEE: Flag.REINVITE_CALLEE}
_OPTIONS: Final = {Side.CALLER: Flag.PING_CALLER, Side.CALLEE: Flag.PING_CALLEE}
_MOVES: Final = {(old, new): Moved(old, new) for old in State for new in State}

_S = State
_Act: TypeAlias = Callable[[Dialog, Any, Terms], list[Effect]]
_Column: TypeAlias = "type[Stimulus] | str"

_SETTING_UP: Final[dict[_Column, _Act]] = {
    _PROVISIONAL: _early,
    _ACCEPTED: _accept,
    _REFUSED: _refuse,
    Requested: _pass_early,
    CallerCancelled: _note_cancel,
    Refreshed: _refresh,
    EndWanted: _cancel,
    TimeoutSet: _set_lifetime,
    Due: _give_up,
}
_UNDER_WAY: Final[dict[_Column, _Act]] = {
    Requested: _pass_or_end,
    RequestWanted: _give_number,
    Refreshed: _refresh,
    EndWanted: _end_wanted,
    PingFailed: _end_by_ping,
    TimeoutSet: _set_end,
    Due: _look,
}
_OVER: Final[dict[_Column, _Act]] = {
    Requested: _pass,
    ByeAnswered: _bye_answered,
    Due: _look_back,
}
_ROWS: Final[dict[State, dict[_Column, _Act]]] = {
    _S.UNCONFIRMED: _SETTING_UP,
    _S.EARLY: _SETTING_UP,
    _S.CONFIRMED_NA: {**_UNDER_WAY, Acked: _confirm},
    _S.CONFIRMED: {**_UNDER_WAY, Acked: _late_ack},
    _S.DELETED: _OVER,
}
_TABLE: Final = {(state.value, column): act for state, row in _ROWS.items() for column, act in row.items()}
