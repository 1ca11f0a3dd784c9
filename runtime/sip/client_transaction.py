"""Client transactions: RFC 3261 17.1.1 and 17.1.2, with RFC 6026.

A client transaction stands between the proxy core and the network: it repeats its request, acknowledges a refusal, and
passes replies up. The two tables below are the RFCs' figures row by row. What has no row is absorbed: no effect, no
change.

What the figures leave open, and how it is settled here:

- **How long a final reply is awaited.** Timers B and F take `fr_timeout_s`, OpenSIPS's name for what the figures fix at
  64*T1. The first provisional reply to an INVITE, 100 included, ends B and starts Timer C (16.6 step 11), which takes
  `fr_inv_timeout_s`. Each further one starts C anew, but a 100 does not (16.7 step 2). F goes on through PROCEEDING.
- **An INVITE that had no final reply in time** is over for the core at once (`PassTimeout`), but not for the other end,
  which may ring. It is ABANDONED for 64*T1: a CANCEL goes out, now or at the first provisional reply, from which the
  span runs anew; a refusal is acknowledged and not passed up; a 2xx is passed up, for it must be relayed (16.7 step 5).
- **CANCEL** (9.1) is for an INVITE that had a provisional reply. One that is wanted before is remembered, and forgotten
  at a final reply. It replaces Timer C by LAST_WAIT, of 64*T1; when that ends without a final reply, the core is told
  of a timeout and the transaction is over. Provisional replies are passed up still, and lengthen nothing.
- **Copies of a 2xx** go up, each one (RFC 6026 7.2): their ACK is the caller's.
- **A failed send** terminates (17.1.4). The core is told while it waits; when it is the ACK that failed, it has its
  reply already.
- **A status that is none** (below 100, above 699) is absorbed.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Final, TypeAlias, assert_never

from runtime.sip.transaction_words import (
    DONE,
    DROPPED,
    NO_REPLY,
    UNSENT,
    CancelWanted,
    ClientEffect,
    ClientStimulus,
    Dropped,
    Event,
    PassFailure,
    PassReply,
    PassTimeout,
    ReplyReceived,
    SendAck,
    SendCancel,
    SendRequest,
    Start,
    State,
    Stop,
    Terminated,
    Timer,
    TimerFired,
    Timers,
    TransportFailed,
)

# Made once: the same few are wanted for every transaction, and making a frozen dataclass takes 0.5 µs.
_SEND_REQUEST: Final = SendRequest()
_SEND_ACK: Final = SendAck()
_SEND_CANCEL: Final = SendCancel()
_PASS_REPLY: Final = PassReply()
_PASS_TIMEOUT: Final = PassTimeout()
_PASS_FAILURE: Final = PassFailure()
_STOP: Final = {timer: Stop(timer) for timer in Timer}
_start_effect = lru_cache(maxsize=256)(Start)
_terminated = lru_cache(maxsize=8)(Terminated)


class ClientTransaction:
    """One client transaction.

    Args:
        invite: which of the two machines.
        timers: the base values.
        reliable: the transport is TCP or the like: nothing is repeated and nothing lingers, but for a 2xx's wait.
        fr_timeout_s: how long a final reply is awaited; of an INVITE, the first reply.
        fr_inv_timeout_s: how long the final reply to an INVITE is awaited after a provisional one.

    Attributes:
        state: where it is.
        last_status: the last reply's status, 0 before the first.
    """

    __slots__ = (
        "_cancel_sent",
        "_cancel_wanted",
        "_interval_s",
        "_running",
        "_timers",
        "fr_inv_timeout_s",
        "fr_timeout_s",
        "invite",
        "last_status",
        "reliable",
        "state",
    )

    def __init__(
        self, invite: bool, timers: Timers, reliable: bool, fr_timeout_s: float, fr_inv_timeout_s: float
    ) -> None:
        self.invite = invite
        self.reliable = reliable
        self.fr_timeout_s = fr_timeout_s
        self.fr_inv_timeout_s = fr_inv_timeout_s
        self.state = State.CALLING if invite else State.TRYING
        self.last_status = 0
        self._timers = timers
        self._running: list[Timer] = []
        """The timers that were started and have neither fired nor been stopped. See `check` for which may."""
        self._interval_s = timers.t1_s
        """The wait of A or E that runs now."""
        self._cancel_wanted = False
        self._cancel_sent = False

    @property
    def answered(self) -> bool:
        """Whether a final reply has come, however late."""
        return self.last_status >= 200

    def begin(self) -> list[ClientEffect]:
        """The effects of its creation."""
        again, limit = (Timer.A, Timer.B) if self.invite else (Timer.E, Timer.F)
        effects: list[ClientEffect] = [self._start(limit, self.fr_timeout_s)]
        if not self.reliable:
            effects.append(self._start(again, self._interval_s))
        effects.append(_SEND_REQUEST)
        return effects

    def handle(self, stimulus: ClientStimulus) -> list[ClientEffect]:
        """What happens, and in which order: timers first, then send, then tell the core."""
        match stimulus:
            case ReplyReceived():
                return self._reply(stimulus.status)
            case TimerFired(timer):
                if timer not in self._running:
                    return []  # it was stopped while its firing was on the way
                self._running.remove(timer)
                return self._row(timer)
            case TransportFailed():
                return self._row(Event.SEND_FAILED)
            case CancelWanted():
                return self._row(Event.CANCEL_WANTED)
            case Dropped():
                return [] if self.state is State.TERMINATED else self._terminate(DROPPED)
            case _:
                assert_never(stimulus)

    def check(self) -> None:
        """Assert the invariants."""
        ends, optional = _RUNNING[self.invite, self.state]
        running = set(self._running)
        assert len(running) == len(self._running), "a timer runs once"
        assert len(running & ends) == (self.state is not State.TERMINATED), "each state has one timer that ends it"
        assert running <= ends | optional, "no stray timer"
        assert self._cancel_wanted or not self._cancel_sent
        assert self.invite or not self._cancel_wanted
        assert not self._cancel_sent or self.last_status, "a CANCEL comes after a reply (RFC 3261 9.1)"
        assert (self.state in _BEFORE_FINAL) <= (not self.answered)
        assert (self.state in (State.CALLING, State.TRYING)) <= (self.last_status == 0)

    def _reply(self, status: int) -> list[ClientEffect]:
        column = _reply_event(status)
        act = None if column is None else (_INVITE if self.invite else _NON_INVITE).get((self.state, column))
        if act is None:
            return []
        self.last_status = status
        return act(self)

    def _row(self, column: Event | Timer) -> list[ClientEffect]:
        act = (_INVITE if self.invite else _NON_INVITE).get((self.state, column))
        return [] if act is None else act(self)

    def _start(self, timer: Timer, after_s: float) -> ClientEffect:
        self._running.append(timer)
        return _start_effect(timer, after_s)

    def _stop(self) -> list[ClientEffect]:
        """Stop all: every change of state does, but for E and F at a provisional reply."""
        stops: list[ClientEffect] = [_STOP[timer] for timer in self._running]
        self._running.clear()
        return stops

    def _terminate(self, reason: str) -> list[ClientEffect]:
        self.state = State.TERMINATED
        effects = self._stop()
        effects.append(_terminated(reason))
        return effects

    def _restart(self, timer: Timer, after_s: float, *then: ClientEffect) -> list[ClientEffect]:
        effects = self._stop()
        effects.append(self._start(timer, after_s))
        effects += then
        return effects


def _reply_event(status: int) -> Event | None:
    if status == 100:
        return Event.REPLY_100
    if status < 200:
        return Event.REPLY_1XX if status > 100 else None
    if status < 300:
        return Event.REPLY_2XX
    return Event.REPLY_REST if status < 700 else None


# --- what the rows do


def _pass(t: ClientTransaction) -> list[ClientEffect]:
    return [_PASS_REPLY]


def _call_again(t: ClientTransaction) -> list[ClientEffect]:
    t._interval_s *= 2
    return [t._start(Timer.A, t._interval_s), _SEND_REQUEST]


def _proceed(t: ClientTransaction) -> list[ClientEffect]:
    t.state = State.PROCEEDING
    if t._cancel_wanted:
        return _send_cancel(t, _PASS_REPLY)
    return t._restart(Timer.C, t.fr_inv_timeout_s, _PASS_REPLY)


def _ring(t: ClientTransaction) -> list[ClientEffect]:
    if t._cancel_sent:
        return [_PASS_REPLY]
    return t._restart(Timer.C, t.fr_inv_timeout_s, _PASS_REPLY)


def _remember_cancel(t: ClientTransaction) -> list[ClientEffect]:
    t._cancel_wanted = True
    return []


def _cancel(t: ClientTransaction) -> list[ClientEffect]:
    return [] if t._cancel_sent else _send_cancel(t)


def _send_cancel(t: ClientTransaction, *then: ClientEffect) -> list[ClientEffect]:
    t._cancel_wanted = t._cancel_sent = True
    return t._restart(Timer.LAST_WAIT, t._timers.patience_s, _SEND_CANCEL, *then)


def _give_up(t: ClientTransaction) -> list[ClientEffect]:  # nothing came: the CANCEL has to wait for a reply
    t.state = State.ABANDONED
    return t._restart(Timer.LAST_WAIT, t._timers.patience_s, _PASS_TIMEOUT)


def _hang_up(t: ClientTransaction) -> list[ClientEffect]:
    t.state = State.ABANDONED
    return _send_cancel(t, _PASS_TIMEOUT)


def _refuse(t: ClientTransaction) -> list[ClientEffect]:
    return _complete(t, _SEND_ACK, _PASS_REPLY)


def _refuse_late(t: ClientTransaction) -> list[ClientEffect]:
    return _complete(t, _SEND_ACK)


def _complete(t: ClientTransaction, *then: ClientEffect) -> list[ClientEffect]:
    if t.reliable:  # Timer D is 0: the refusal is not repeated
        *stops, terminated = t._terminate(DONE)
        return [*stops, *then, terminated]
    t.state = State.COMPLETED
    return t._restart(Timer.D, t._timers.patience_s, *then)


def _accept(t: ClientTransaction) -> list[ClientEffect]:
    t.state = State.ACCEPTED
    return t._restart(Timer.M, t._timers.patience_s, _PASS_REPLY)


def _ask_again(t: ClientTransaction) -> list[ClientEffect]:
    t._interval_s = t._timers.t2_s if t.state is State.PROCEEDING else min(2 * t._interval_s, t._timers.t2_s)
    return [t._start(Timer.E, t._interval_s), _SEND_REQUEST]


def _proceed_asking(t: ClientTransaction) -> list[ClientEffect]:
    t.state = State.PROCEEDING
    return [_PASS_REPLY]


def _answer(t: ClientTransaction) -> list[ClientEffect]:
    if t.reliable:  # Timer K is 0
        *stops, terminated = t._terminate(DONE)
        return [*stops, _PASS_REPLY, terminated]
    t.state = State.COMPLETED
    return t._restart(Timer.K, t._timers.t4_s, _PASS_REPLY)


def _over(t: ClientTransaction) -> list[ClientEffect]:
    return t._terminate(DONE)


def _no_reply(t: ClientTransaction) -> list[ClientEffect]:
    return t._terminate(NO_REPLY)


def _timeout(t: ClientTransaction) -> list[ClientEffect]:
    *stops, terminated = t._terminate(NO_REPLY)
    return [*stops, _PASS_TIMEOUT, terminated]


def _fail(t: ClientTransaction) -> list[ClientEffect]:
    *stops, terminated = t._terminate(UNSENT)
    return [*stops, _PASS_FAILURE, terminated]


def _ack_failed(t: ClientTransaction) -> list[ClientEffect]:
    return t._terminate(UNSENT)


_S, _E, _T = State, Event, Timer
_Act: TypeAlias = Callable[[ClientTransaction], list[ClientEffect]]
_Table: TypeAlias = dict[tuple[State, Event | Timer], _Act]

_INVITE: Final[_Table] = {  # RFC 3261 figure 5 as RFC 6026 redraws it
    (_S.CALLING, _T.A): _call_again,
    (_S.CALLING, _T.B): _give_up,
    (_S.CALLING, _E.SEND_FAILED): _fail,
    (_S.CALLING, _E.CANCEL_WANTED): _remember_cancel,
    (_S.CALLING, _E.REPLY_100): _proceed,
    (_S.CALLING, _E.REPLY_1XX): _proceed,
    (_S.CALLING, _E.REPLY_2XX): _accept,
    (_S.CALLING, _E.REPLY_REST): _refuse,
    (_S.PROCEEDING, _T.C): _hang_up,
    (_S.PROCEEDING, _T.LAST_WAIT): _timeout,
    (_S.PROCEEDING, _E.CANCEL_WANTED): _cancel,
    (_S.PROCEEDING, _E.REPLY_100): _pass,
    (_S.PROCEEDING, _E.REPLY_1XX): _ring,
    (_S.PROCEEDING, _E.REPLY_2XX): _accept,
    (_S.PROCEEDING, _E.REPLY_REST): _refuse,
    (_S.ABANDONED, _T.LAST_WAIT): _no_reply,
    (_S.ABANDONED, _E.REPLY_100): _cancel,
    (_S.ABANDONED, _E.REPLY_1XX): _cancel,
    (_S.ABANDONED, _E.REPLY_2XX): _accept,
    (_S.ABANDONED, _E.REPLY_REST): _refuse_late,
    (_S.COMPLETED, _T.D): _over,
    (_S.COMPLETED, _E.SEND_FAILED): _ack_failed,
    (_S.COMPLETED, _E.REPLY_REST): lambda t: [_SEND_ACK],
    (_S.ACCEPTED, _T.M): _over,
    (_S.ACCEPTED, _E.REPLY_2XX): _pass,
}

_NON_INVITE: Final[_Table] = {  # RFC 3261 figure 6
    (_S.TRYING, _T.E): _ask_again,
    (_S.TRYING, _T.F): _timeout,
    (_S.TRYING, _E.SEND_FAILED): _fail,
    (_S.TRYING, _E.REPLY_100): _proceed_asking,
    (_S.TRYING, _E.REPLY_1XX): _proceed_asking,
    (_S.TRYING, _E.REPLY_2XX): _answer,
    (_S.TRYING, _E.REPLY_REST): _answer,
    (_S.PROCEEDING, _T.E): _ask_again,
    (_S.PROCEEDING, _T.F): _timeout,
    (_S.PROCEEDING, _E.SEND_FAILED): _fail,
    (_S.PROCEEDING, _E.REPLY_100): _pass,
    (_S.PROCEEDING, _E.REPLY_1XX): _pass,
    (_S.PROCEEDING, _E.REPLY_2XX): _answer,
    (_S.PROCEEDING, _E.REPLY_REST): _answer,
    (_S.COMPLETED, _T.K): _over,
}

_BEFORE_FINAL: Final = frozenset({State.CALLING, State.TRYING, State.PROCEEDING, State.ABANDONED})
_NONE: Final[frozenset[Timer]] = frozenset()
_RUNNING: Final[dict[tuple[bool, State], tuple[frozenset[Timer], frozenset[Timer]]]] = {
    # the timers of which just one runs in a state, so that it ends; and those that may run beside
    (True, State.CALLING): (frozenset({Timer.B}), frozenset({Timer.A})),
    (True, State.PROCEEDING): (frozenset({Timer.C, Timer.LAST_WAIT}), _NONE),
    (True, State.ABANDONED): (frozenset({Timer.LAST_WAIT}), _NONE),
    (True, State.COMPLETED): (frozenset({Timer.D}), _NONE),
    (True, State.ACCEPTED): (frozenset({Timer.M}), _NONE),
    (True, State.TERMINATED): (_NONE, _NONE),
    (False, State.TRYING): (frozenset({Timer.F}), frozenset({Timer.E})),
    (False, State.PROCEEDING): (frozenset({Timer.F}), frozenset({Timer.E})),
    (False, State.COMPLETED): (frozenset({Timer.K}), _NONE),
    (False, State.TERMINATED): (_NONE, _NONE),
}
