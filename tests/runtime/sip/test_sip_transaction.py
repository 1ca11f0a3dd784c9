"""The two server transactions, row by row (RFC 3261 17.2.1, 17.2.2; RFC 6026)."""

from __future__ import annotations

import pytest

from runtime.sip.transaction import (
    DONE,
    NO_ACK,
    NO_REPLY,
    SEND_FAILED,
    Effect,
    Held,
    Kind,
    PassAck,
    PassCancel,
    PassFailure,
    Received,
    Replied,
    Send,
    SendTrying,
    ServerTransaction,
    Start,
    State,
    Stimulus,
    Stop,
    Terminated,
    Timer,
    TimerFired,
    Timers,
    TransportFailed,
    TryingWanted,
    Unanswered,
)

TIMERS = Timers()
COPY, ACK, CANCEL = Received(Kind.COPY), Received(Kind.ACK), Received(Kind.CANCEL)
RINGING, OK, BUSY = Replied(180, b"180"), Replied(200, b"200"), Replied(486, b"486")
RELAYED = Replied(200, b"200 from beyond", relayed=True)


def begun(invite: bool, *stimuli: Stimulus, reliable: bool = False) -> ServerTransaction:
    transaction = ServerTransaction(invite, TIMERS, reliable)
    transaction.begin()
    for stimulus in stimuli:
        transaction.handle(stimulus)
        transaction.check()
    return transaction


def test_an_invite_begins_with_a_trying_timer() -> None:
    transaction = ServerTransaction(True, TIMERS)
    assert transaction.begin() == [Start(Timer.UNANSWERED, 180), Start(Timer.TRYING, 0.2)]
    assert (transaction.state, transaction.last) == (State.PROCEEDING, None)
    assert transaction.handle(TimerFired(Timer.TRYING)) == [SendTrying()]
    assert transaction.handle(TryingWanted()) == []


def test_an_invite_whose_script_parks_at_once_gets_its_100_at_once() -> None:
    assert ServerTransaction(True, TIMERS).begin(trying_s=0) == [Start(Timer.UNANSWERED, 180), SendTrying()]


def test_an_invite_whose_script_parks_later_gets_its_100_then() -> None:
    transaction = begun(True)
    assert transaction.handle(TryingWanted()) == [Stop(Timer.TRYING), SendTrying()]
    assert transaction.handle(TryingWanted()) == []


def test_another_request_begins_silently() -> None:
    transaction = ServerTransaction(False, TIMERS)
    assert transaction.begin(trying_s=0) == [Start(Timer.UNANSWERED, 180)]
    assert transaction.state is State.TRYING
    assert transaction.handle(TryingWanted()) == []


ROWS: list[tuple[str, bool, list[Stimulus], Stimulus, list[Effect], State]] = [
    # name, invite, before, stimulus, effects, state after
    ("copy before any reply", True, [], COPY, [], State.PROCEEDING),
    ("ack before any reply", True, [], ACK, [], State.PROCEEDING),
    (
        "provisional",
        True,
        [],
        RINGING,
        [Stop(Timer.TRYING), Stop(Timer.UNANSWERED), Start(Timer.UNANSWERED, 180), Send(b"180")],
        State.PROCEEDING,
    ),
    ("copy gets the last provisional", True, [Replied(100, b"100"), RINGING], COPY, [Send(b"180")], State.PROCEEDING),
    ("cancel", True, [RINGING], CANCEL, [PassCancel()], State.PROCEEDING),
    ("cancel again", True, [RINGING, CANCEL], CANCEL, [], State.PROCEEDING),
    ("cancel after the end", True, [OK], CANCEL, [], State.ACCEPTED),
    ("send failed", True, [RINGING], TransportFailed(), [PassFailure()], State.PROCEEDING),
    (
        "refused",
        True,
        [],
        BUSY,
        [Stop(Timer.TRYING), Stop(Timer.UNANSWERED), Send(b"486"), Start(Timer.H, 32), Start(Timer.G, 0.5)],
        State.COMPLETED,
    ),
    ("copy of a refused one", True, [BUSY], COPY, [Send(b"486")], State.COMPLETED),
    ("reply after refusal", True, [BUSY], OK, [], State.COMPLETED),
    ("refused, unsendable", True, [BUSY], TransportFailed(), [PassFailure()], State.COMPLETED),
    ("G", True, [BUSY], TimerFired(Timer.G), [Send(b"486"), Start(Timer.G, 1)], State.COMPLETED),
    ("H", True, [BUSY], TimerFired(Timer.H), [Stop(Timer.G), Terminated(NO_ACK)], State.TERMINATED),
    ("ack", True, [BUSY], ACK, [Stop(Timer.G), Stop(Timer.H), Start(Timer.I, 5)], State.CONFIRMED),
    ("late copy", True, [BUSY, ACK], COPY, [], State.CONFIRMED),
    ("late ack", True, [BUSY, ACK], ACK, [], State.CONFIRMED),
    ("late G", True, [BUSY, ACK], TimerFired(Timer.G), [], State.CONFIRMED),
    ("I", True, [BUSY, ACK], TimerFired(Timer.I), [Terminated(DONE)], State.TERMINATED),
    (
        "accepted",
        True,
        [RINGING],
        OK,
        [Stop(Timer.UNANSWERED), Send(b"200"), Start(Timer.L, 32), Start(Timer.RESEND, 0.5)],
        State.ACCEPTED,
    ),
    (
        "accepted beyond",
        True,
        [RINGING],
        RELAYED,
        [Stop(Timer.UNANSWERED), Send(RELAYED.data), Start(Timer.L, 32)],
        State.ACCEPTED,
    ),
    ("copy of an accepted one", True, [OK], COPY, [], State.ACCEPTED),
    ("another 2xx", True, [RELAYED], Replied(200, b"fork", relayed=True), [Send(b"fork")], State.ACCEPTED),
    ("refusal after acceptance", True, [OK], BUSY, [], State.ACCEPTED),
    ("accepted, unsendable", True, [OK], TransportFailed(), [PassFailure()], State.ACCEPTED),
    ("2xx again", True, [OK], TimerFired(Timer.RESEND), [Send(b"200"), Start(Timer.RESEND, 1)], State.ACCEPTED),
    (
        "2xx of ours again, after one from beyond",
        True,
        [OK, RELAYED],
        TimerFired(Timer.RESEND),
        [Send(b"200"), Start(Timer.RESEND, 1)],
        State.ACCEPTED,
    ),
    ("ack of a 2xx", True, [OK], ACK, [Stop(Timer.RESEND), PassAck()], State.ACCEPTED),
    ("second ack of a 2xx", True, [OK, ACK], ACK, [PassAck()], State.ACCEPTED),
    ("L, acked", True, [OK, ACK], TimerFired(Timer.L), [Terminated(DONE)], State.TERMINATED),
    ("L, not acked", True, [OK], TimerFired(Timer.L), [Stop(Timer.RESEND), Terminated(NO_ACK)], State.TERMINATED),
    ("L, beyond", True, [RELAYED], TimerFired(Timer.L), [Terminated(DONE)], State.TERMINATED),
    ("no reply", True, [], TimerFired(Timer.UNANSWERED), [Start(Timer.UNANSWERED, 32), Unanswered()], State.PROCEEDING),
    (
        "no reply, told before",
        True,
        [TimerFired(Timer.TRYING), TimerFired(Timer.UNANSWERED)],
        TimerFired(Timer.UNANSWERED),
        [Terminated(NO_REPLY)],
        State.TERMINATED,
    ),
    ("copy before any reply", False, [], COPY, [], State.TRYING),
    (
        "provisional",
        False,
        [],
        RINGING,
        [Stop(Timer.UNANSWERED), Start(Timer.UNANSWERED, 180), Send(b"180")],
        State.PROCEEDING,
    ),
    ("copy gets the provisional", False, [RINGING], COPY, [Send(b"180")], State.PROCEEDING),
    ("final", False, [], OK, [Stop(Timer.UNANSWERED), Send(b"200"), Start(Timer.J, 32)], State.COMPLETED),
    (
        "final after provisional",
        False,
        [RINGING],
        BUSY,
        [Stop(Timer.UNANSWERED), Send(b"486"), Start(Timer.J, 32)],
        State.COMPLETED,
    ),
    ("copy gets the final", False, [OK], COPY, [Send(b"200")], State.COMPLETED),
    ("second final", False, [OK], BUSY, [], State.COMPLETED),
    ("ack", False, [OK], ACK, [], State.COMPLETED),
    ("cancel", False, [], CANCEL, [], State.TRYING),
    ("J", False, [OK], TimerFired(Timer.J), [Terminated(DONE)], State.TERMINATED),
    ("send failed", False, [OK], TransportFailed(), [Stop(Timer.J), Terminated(SEND_FAILED)], State.TERMINATED),
    (
        "provisional failed",
        False,
        [RINGING],
        TransportFailed(),
        [Stop(Timer.UNANSWERED), Terminated(SEND_FAILED)],
        State.TERMINATED,
    ),
    ("no reply", False, [], TimerFired(Timer.UNANSWERED), [Terminated(NO_REPLY)], State.TERMINATED),
]


@pytest.mark.parametrize(
    ("invite", "before", "stimulus", "effects", "state"),
    [row[1:] for row in ROWS],
    ids=[f"{'invite' if row[1] else 'other'}: {row[0]}" for row in ROWS],
)
def test_rows(invite: bool, before: list[Stimulus], stimulus: Stimulus, effects: list[Effect], state: State) -> None:
    transaction = begun(invite, *before)
    assert transaction.handle(stimulus) == effects
    assert transaction.state is state
    transaction.check()


@pytest.mark.parametrize("timer", [Timer.G, Timer.RESEND])
def test_copies_come_at_doubling_intervals_up_to_t2(timer: Timer) -> None:
    transaction = begun(True, BUSY if timer is Timer.G else OK)
    waits = []
    for _ in range(5):
        send, start = transaction.handle(TimerFired(timer))
        assert isinstance(send, Send)
        assert isinstance(start, Start)
        waits.append(start.after_s)
    assert waits == [1, 2, 4, 4, 4]


def test_over_a_reliable_transport_nothing_lingers() -> None:
    transaction = begun(True, reliable=True)
    assert transaction.handle(BUSY)[-2:] == [Send(b"486"), Start(Timer.H, 32)]
    assert transaction.handle(ACK) == [Stop(Timer.H), Terminated(DONE)]
    other = begun(False, reliable=True)
    assert other.handle(OK) == [Stop(Timer.UNANSWERED), Send(b"200"), Terminated(DONE)]


def test_a_held_transaction_waits_as_long_as_was_vouched_for() -> None:
    transaction = begun(True)
    assert transaction.handle(Held(600)) == [Stop(Timer.UNANSWERED), Start(Timer.UNANSWERED, 600)]
    assert transaction.handle(RINGING)[-2:] == [Start(Timer.UNANSWERED, 600), Send(b"180")]
    assert transaction.handle(Held(1)) == [Stop(Timer.UNANSWERED), Start(Timer.UNANSWERED, 600)]
    transaction.handle(OK)
    assert transaction.handle(Held(900)) == []
    transaction.check()


def test_after_its_end_nothing_happens() -> None:
    for invite, last in ((True, Timer.I), (False, Timer.J)):
        transaction = begun(invite, BUSY, ACK, TimerFired(last))
        assert transaction.state is State.TERMINATED
        for stimulus in (COPY, ACK, CANCEL, OK, BUSY, TransportFailed(), TryingWanted(), Held(9), TimerFired(last)):
            assert transaction.handle(stimulus) == []
        transaction.check()


def test_the_base_values_are_settable() -> None:
    fast = Timers(t1_s=0.01, t2_s=0.02, t4_s=0.03, trying_s=0.04, unanswered_s=0.05)
    transaction = ServerTransaction(True, fast)
    assert transaction.begin() == [Start(Timer.UNANSWERED, 0.05), Start(Timer.TRYING, 0.04)]
    assert transaction.handle(BUSY)[-2:] == [Start(Timer.H, 0.64), Start(Timer.G, 0.01)]
    assert transaction.handle(ACK)[-1] == Start(Timer.I, 0.03)
