"""Server transactions: RFC 3261 17.2.1 and 17.2.2, with RFC 6026.

A server transaction stands between the network and the script. The script sees each request once; copies of it get
the last reply, and the final reply of an INVITE is repeated until its ACK comes. The two tables below are the RFCs'
figures row by row. What has no row is absorbed: no effect, no change.

What the figures leave open, and how it is settled here:

- **100 Trying** (17.2.1: unless the script answers within 200 ms) is a timer, TRYING. It is let go at the first reply.
- **An answer that never comes.** The figures let PROCEEDING and TRYING last for ever. UNANSWERED bounds them: the
  script's owner is told once (`Unanswered`) and has a second such span, of 64*T1, to reply to an INVITE; any other
  request ends silently, since 408 to it is forbidden (RFC 4320 4.2) and its sender has given up by then. A provisional
  reply starts the span anew, as Timer C (16.6) does.
- **A 2xx of our own** is the user agent core's to repeat (13.3.1.4), from T1, doubling to T2, for 64*T1. RESEND does it
  here, because the reply and its clock are here. A 2xx that was relayed is repeated by who sent it. In ACCEPTED a
  copy of the INVITE gets no reply (RFC 6026 7.1), and every ACK is passed on.
- **A failed send.** An INVITE transaction tells and stays in its state (RFC 6026 8.8), for its timers end it; any other
  terminates (17.2.4).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Final, TypeAlias, assert_never

from runtime.sip.transaction_words import (
    DONE,
    NO_ACK,
    NO_REPLY,
    SEND_FAILED,
    Effect,
    Event,
    Held,
    Kind,
    PassAck,
    PassCancel,
    PassFailure,
    Received,
    Replied,
    Send,
    SendTrying,
    Start,
    State,
    Stimulus,
    Stop,
    Terminated,
    Timer,
    TimerFired,
    Timers,
    Told,
    TransportFailed,
    TryingWanted,
    Unanswered,
)

__all__ = [
    "BY_ITSELF",
    "DONE",
    "NO_ACK",
    "NO_REPLY",
    "SEND_FAILED",
    "Effect",
    "Event",
    "Held",
    "Kind",
    "PassAck",
    "PassCancel",
    "PassFailure",
    "Received",
    "Replied",
    "Send",
    "SendTrying",
    "ServerTransaction",
    "Start",
    "State",
    "Stimulus",
    "Stop",
    "Terminated",
    "Timer",
    "TimerFired",
    "Timers",
    "Told",
    "TransportFailed",
    "TryingWanted",
    "Unanswered",
]


class ServerTransaction:
    """One server transaction.

    Args:
        invite: which of the two machines.
        timers: the base values.
        reliable: the transport is TCP or the like: nothing is repeated and nothing lingers, but for a 2xx's wait.

    Attributes:
        state: where it is.
        last: the last reply's bytes, None before the first; of several 2xx the first, which is what RESEND repeats.
        last_status: its status, 0 before the first.
    """

    __slots__ = (
        "_cancelled",
        "_interval_s",
        "_running",
        "_span_s",
        "_timers",
        "_warned",
        "invite",
        "last",
        "last_status",
        "reliable",
        "state",
    )

    def __init__(self, invite: bool, timers: Timers, reliable: bool = False) -> None:
        self.invite = invite
        self.reliable = reliable
        self.state = State.PROCEEDING if invite else State.TRYING
        self.last: bytes | None = None
        self.last_status = 0
        self._timers = timers
        self._running: tuple[Timer, ...] = ()
        """The timers that were started and have neither fired nor been stopped. See `check` for which may."""
        self._span_s = timers.unanswered_s
        """How long UNANSWERED takes; longer once somebody vouched for it."""
        self._interval_s = 0.0
        """The wait of G or RESEND that runs now."""
        self._cancelled = False
        self._warned = False

    @property
    def answered(self) -> bool:
        """Whether a final reply has been given; a further one is ignored (but for a further 2xx in ACCEPTED)."""
        return self.last_status >= 200

    def begin(self, trying_s: float | None = None) -> list[Effect]:
        """The effects of its creation. The request itself goes to the script; that is no effect.

        Args:
            trying_s: when the 100 to an INVITE goes out; 0 for at once, None for `Timers.trying_s`.
        """
        effects = [self._start(Timer.UNANSWERED, self._span_s)]
        if self.invite and trying_s != 0:
            effects.append(self._start(Timer.TRYING, self._timers.trying_s if trying_s is None else trying_s))
        elif self.invite:
            effects.append(SendTrying())
        return effects

    def handle(self, stimulus: Stimulus) -> list[Effect]:
        """What happens, and in which order: state first, then send."""
        match stimulus:
            case Replied():  # first, and no fields in the pattern: it comes to each request
                return self._row(_reply_event(stimulus.status), stimulus)
            case Received(kind):
                return self._row(kind, None)
            case TimerFired(timer):
                if timer not in self._running:
                    return []  # it was stopped while its firing was on the way
                self._running = _without(self._running, timer)
                return self._row(timer, None)
            case TransportFailed():
                return self._row(Event.SEND_FAILED, None)
            case TryingWanted():
                return [*self._stop(Timer.TRYING), SendTrying()] if Timer.TRYING in self._running else []
            case Held(for_s):
                return self._hold(for_s)
            case _:
                assert_never(stimulus)

    def check(self) -> None:
        """Assert the invariants."""
        lasting, optional = _RUNNING[self.invite, self.state]
        running = set(self._running)
        assert len(running) == len(self._running), "a timer runs once"
        assert lasting <= running <= lasting | optional, "each state has the timer that ends it, and no stray one"
        assert self.answered == (self.state not in (State.TRYING, State.PROCEEDING)) or self.state is State.TERMINATED
        assert (self.last is None) == (self.last_status == 0)

    def _row(self, column: Event | Timer | Kind, reply: Replied | None) -> list[Effect]:
        act = (_INVITE if self.invite else _NON_INVITE).get((self.state, column))
        return [] if act is None else act(self, reply)

    def _start(self, timer: Timer, after_s: float) -> Effect:
        self._running += BY_ITSELF[timer]
        return _start_effect(timer, after_s)

    def _stop(self, *timers: Timer) -> list[Effect]:
        if self._running == timers:  # the usual one: the only one
            self._running = ()
            return [_STOP[timer] for timer in timers]
        stops: list[Effect] = []
        for timer in timers:
            if timer in self._running:
                self._running = _without(self._running, timer)
                stops.append(_STOP[timer])
        return stops

    def _terminate(self, reason: str) -> list[Effect]:
        self.state = State.TERMINATED
        return [*self._stop(*self._running), Terminated(reason)]

    def _hold(self, for_s: float) -> list[Effect]:
        if Timer.UNANSWERED not in self._running:
            return []
        self._warned = False
        self._span_s = max(self._span_s, for_s)
        return [*self._stop(Timer.UNANSWERED), self._start(Timer.UNANSWERED, self._span_s)]

    def _keep(self, reply: Replied | None) -> bytes:
        assert reply is not None, "a reply's column is entered with a reply"
        self.last = reply.data
        self.last_status = reply.status
        return reply.data


BY_ITSELF: Final = {timer: (timer,) for timer in Timer}
"""One timer as those that run: added to none it is this very tuple, of which each transaction would take 48 bytes."""


def _without(running: tuple[Timer, ...], timer: Timer) -> tuple[Timer, ...]:
    if len(running) == 1:
        return ()
    at = running.index(timer)
    return running[:at] + running[at + 1 :]


# Made once: the same few are wanted for every transaction, and making a frozen dataclass takes 0.5 µs.
_STOP: Final = {timer: Stop(timer) for timer in Timer}
_start_effect = lru_cache(maxsize=256)(Start)


def _reply_event(status: int) -> Event:
    if status < 200:
        return Event.REPLY_1XX
    return Event.REPLY_2XX if status < 300 else Event.REPLY_REST


# --- what the rows do


def _repeat(t: ServerTransaction, _: Replied | None) -> list[Effect]:
    return [] if t.last is None else [Send(t.last)]


def _provisional(t: ServerTransaction, reply: Replied | None) -> list[Effect]:
    data = t._keep(reply)
    t.state = State.PROCEEDING
    return [*t._stop(Timer.TRYING), *t._hold(0), Send(data)]


def _refuse(t: ServerTransaction, reply: Replied | None) -> list[Effect]:
    data = t._keep(reply)
    t.state = State.COMPLETED
    effects = [*t._stop(Timer.TRYING, Timer.UNANSWERED), Send(data), t._start(Timer.H, t._timers.patience_s)]
    return effects if t.reliable else [*effects, _again(t, Timer.G, t._timers.t1_s)]


def _accept(t: ServerTransaction, reply: Replied | None) -> list[Effect]:
    data = t._keep(reply)
    t.state = State.ACCEPTED
    effects = [*t._stop(Timer.TRYING, Timer.UNANSWERED), Send(data), t._start(Timer.L, t._timers.patience_s)]
    if reply is not None and not reply.relayed:
        effects.append(_again(t, Timer.RESEND, t._timers.t1_s))
    return effects


def _accept_more(t: ServerTransaction, reply: Replied | None) -> list[Effect]:
    # A fork further on: each 2xx goes through (RFC 6026 7.1). What RESEND repeats stays ours.
    assert reply is not None
    return [Send(reply.data)]


def _answer(t: ServerTransaction, reply: Replied | None) -> list[Effect]:
    data = t._keep(reply)
    t.state = State.COMPLETED
    stopped = t._stop(Timer.UNANSWERED)
    if t.reliable:  # Timer J is 0: nobody repeats the request
        return [*stopped, Send(data), *t._terminate(DONE)]
    return [*stopped, Send(data), t._start(Timer.J, t._timers.patience_s)]


def _again(t: ServerTransaction, timer: Timer, after_s: float) -> Effect:
    t._interval_s = after_s
    return t._start(timer, after_s)


def _repeat_final(t: ServerTransaction, timer: Timer) -> list[Effect]:
    assert t.last is not None
    return [Send(t.last), _again(t, timer, min(2 * t._interval_s, t._timers.t2_s))]


def _confirm(t: ServerTransaction, _: Replied | None) -> list[Effect]:
    t.state = State.CONFIRMED
    stopped = t._stop(Timer.G, Timer.H)
    if t.reliable:  # Timer I is 0
        return [*stopped, *t._terminate(DONE)]
    return [*stopped, t._start(Timer.I, t._timers.t4_s)]


def _pass_cancel(t: ServerTransaction, _: Replied | None) -> list[Effect]:
    if t._cancelled:
        return []
    t._cancelled = True
    return [PassCancel()]


def _unanswered(t: ServerTransaction, _: Replied | None) -> list[Effect]:
    if t._warned or not t.invite:
        return t._terminate(NO_REPLY)
    t._warned = True
    return [t._start(Timer.UNANSWERED, t._timers.patience_s), Unanswered()]


def _over(t: ServerTransaction, _: Replied | None) -> list[Effect]:
    return t._terminate(DONE)


def _unacknowledged(t: ServerTransaction, _: Replied | None) -> list[Effect]:
    return t._terminate(NO_ACK)


def _accepted_over(t: ServerTransaction, _: Replied | None) -> list[Effect]:
    return t._terminate(NO_ACK if Timer.RESEND in t._running else DONE)


_S, _E, _T = State, Event, Timer
_Act: TypeAlias = Callable[[ServerTransaction, Replied | None], list[Effect]]
_Table: TypeAlias = dict[tuple[State, Event | Timer | Kind], _Act]

_INVITE: Final[_Table] = {  # RFC 3261 figure 7 as RFC 6026 figure 5 redraws it
    (_S.PROCEEDING, _E.REQUEST): _repeat,
    (_S.PROCEEDING, _E.CANCEL): _pass_cancel,
    (_S.PROCEEDING, _E.REPLY_1XX): _provisional,
    (_S.PROCEEDING, _E.REPLY_2XX): _accept,
    (_S.PROCEEDING, _E.REPLY_REST): _refuse,
    (_S.PROCEEDING, _E.SEND_FAILED): lambda t, _: [PassFailure()],
    (_S.PROCEEDING, _T.TRYING): lambda t, _: [SendTrying()],
    (_S.PROCEEDING, _T.UNANSWERED): _unanswered,
    (_S.COMPLETED, _E.REQUEST): _repeat,
    (_S.COMPLETED, _E.ACK): _confirm,
    (_S.COMPLETED, _E.SEND_FAILED): lambda t, _: [PassFailure()],
    (_S.COMPLETED, _T.G): lambda t, _: _repeat_final(t, Timer.G),
    (_S.COMPLETED, _T.H): _unacknowledged,
    (_S.CONFIRMED, _T.I): _over,
    (_S.ACCEPTED, _E.ACK): lambda t, _: [*t._stop(Timer.RESEND), PassAck()],
    (_S.ACCEPTED, _E.REPLY_2XX): _accept_more,
    (_S.ACCEPTED, _E.SEND_FAILED): lambda t, _: [PassFailure()],
    (_S.ACCEPTED, _T.RESEND): lambda t, _: _repeat_final(t, Timer.RESEND),
    (_S.ACCEPTED, _T.L): _accepted_over,
}

_NON_INVITE: Final[_Table] = {  # RFC 3261 figure 8
    (_S.TRYING, _E.REPLY_1XX): _provisional,
    (_S.TRYING, _E.REPLY_2XX): _answer,
    (_S.TRYING, _E.REPLY_REST): _answer,
    (_S.TRYING, _T.UNANSWERED): _unanswered,
    (_S.PROCEEDING, _E.REQUEST): _repeat,
    (_S.PROCEEDING, _E.REPLY_1XX): _provisional,
    (_S.PROCEEDING, _E.REPLY_2XX): _answer,
    (_S.PROCEEDING, _E.REPLY_REST): _answer,
    (_S.PROCEEDING, _E.SEND_FAILED): lambda t, _: t._terminate(SEND_FAILED),
    (_S.PROCEEDING, _T.UNANSWERED): _unanswered,
    (_S.COMPLETED, _E.REQUEST): _repeat,
    (_S.COMPLETED, _E.SEND_FAILED): lambda t, _: t._terminate(SEND_FAILED),
    (_S.COMPLETED, _T.J): _over,
}

_NONE: Final[frozenset[Timer]] = frozenset()
_RUNNING: Final[dict[tuple[bool, State], tuple[frozenset[Timer], frozenset[Timer]]]] = {
    # the timers that must run in a state, so that it ends; and those that may
    (True, State.PROCEEDING): (frozenset({Timer.UNANSWERED}), frozenset({Timer.TRYING})),
    (True, State.COMPLETED): (frozenset({Timer.H}), frozenset({Timer.G})),
    (True, State.CONFIRMED): (frozenset({Timer.I}), _NONE),
    (True, State.ACCEPTED): (frozenset({Timer.L}), frozenset({Timer.RESEND})),
    (True, State.TERMINATED): (_NONE, _NONE),
    (False, State.TRYING): (frozenset({Timer.UNANSWERED}), _NONE),
    (False, State.PROCEEDING): (frozenset({Timer.UNANSWERED}), _NONE),
    (False, State.COMPLETED): (frozenset({Timer.J}), _NONE),
    (False, State.TERMINATED): (_NONE, _NONE),
}
