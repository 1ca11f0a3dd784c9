"""The two client transactions, row by row (RFC 3261 17.1.1, 17.1.2; RFC 6026)."""

from __future__ import annotations

import pytest

from runtime.sip.client_transaction import ClientTransaction
from runtime.sip.transaction_words import (
    DONE,
    DROPPED,
    NO_REPLY,
    UNSENT,
    CancelWanted,
    ClientEffect,
    ClientStimulus,
    Dropped,
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

FR_S, FR_INV_S = 30, 120
TRYING, RINGING, PROGRESS = ReplyReceived(100), ReplyReceived(180), ReplyReceived(183)
OK, BUSY, CANCELLED, DECLINED = ReplyReceived(200), ReplyReceived(486), ReplyReceived(487), ReplyReceived(603)
CANCEL, FAILED = CancelWanted(), TransportFailed()
B, C, LAST_WAIT = TimerFired(Timer.B), TimerFired(Timer.C), TimerFired(Timer.LAST_WAIT)


def made(invite: bool, reliable: bool = False, timers: Timers | None = None) -> ClientTransaction:
    return ClientTransaction(invite, timers or Timers(), reliable, FR_S, FR_INV_S)


def begun(invite: bool, *stimuli: ClientStimulus, reliable: bool = False) -> ClientTransaction:
    transaction = made(invite, reliable)
    transaction.begin()
    transaction.check()
    for stimulus in stimuli:
        transaction.handle(stimulus)
        transaction.check()
    return transaction


def test_an_invite_begins_by_being_sent() -> None:
    transaction = made(True)
    assert transaction.begin() == [Start(Timer.B, FR_S), Start(Timer.A, 0.5), SendRequest()]
    assert (transaction.state, transaction.last_status, transaction.answered) == (State.CALLING, 0, False)


def test_another_request_begins_by_being_sent() -> None:
    transaction = made(False)
    assert transaction.begin() == [Start(Timer.F, FR_S), Start(Timer.E, 0.5), SendRequest()]
    assert (transaction.state, transaction.last_status, transaction.answered) == (State.TRYING, 0, False)


_END = State.TERMINATED
ROWS: list[tuple[str, bool, list[ClientStimulus], ClientStimulus, list[ClientEffect], State]] = [
    # name, invite, before, stimulus, effects, state after
    ("A", True, [], TimerFired(Timer.A), [Start(Timer.A, 1), SendRequest()], State.CALLING),
    (
        "100",
        True,
        [],
        TRYING,
        [Stop(Timer.B), Stop(Timer.A), Start(Timer.C, FR_INV_S), PassReply()],
        State.PROCEEDING,
    ),
    (
        "180",
        True,
        [],
        RINGING,
        [Stop(Timer.B), Stop(Timer.A), Start(Timer.C, FR_INV_S), PassReply()],
        State.PROCEEDING,
    ),
    ("100 again", True, [TRYING], TRYING, [PassReply()], State.PROCEEDING),
    ("180 again", True, [RINGING], RINGING, [Stop(Timer.C), Start(Timer.C, FR_INV_S), PassReply()], State.PROCEEDING),
    ("183", True, [TRYING], PROGRESS, [Stop(Timer.C), Start(Timer.C, FR_INV_S), PassReply()], State.PROCEEDING),
    ("late A", True, [RINGING], TimerFired(Timer.A), [], State.PROCEEDING),
    ("late B", True, [RINGING], B, [], State.PROCEEDING),
    ("send failed", True, [], FAILED, [Stop(Timer.B), Stop(Timer.A), PassFailure(), Terminated(UNSENT)], _END),
    ("send failed, replied to", True, [RINGING], FAILED, [], State.PROCEEDING),
    # a refusal
    (
        "refused at once",
        True,
        [],
        BUSY,
        [Stop(Timer.B), Stop(Timer.A), Start(Timer.D, 32), SendAck(), PassReply()],
        State.COMPLETED,
    ),
    ("refused", True, [RINGING], BUSY, [Stop(Timer.C), Start(Timer.D, 32), SendAck(), PassReply()], State.COMPLETED),
    ("refusal again", True, [BUSY], BUSY, [SendAck()], State.COMPLETED),
    ("another refusal", True, [BUSY], DECLINED, [SendAck()], State.COMPLETED),
    ("180 after refusal", True, [BUSY], RINGING, [], State.COMPLETED),
    ("2xx after refusal", True, [BUSY], OK, [], State.COMPLETED),
    ("cancel after refusal", True, [BUSY], CANCEL, [], State.COMPLETED),
    ("D", True, [BUSY], TimerFired(Timer.D), [Terminated(DONE)], _END),
    ("ACK failed", True, [BUSY], FAILED, [Stop(Timer.D), Terminated(UNSENT)], _END),
    # an answer
    ("accepted at once", True, [], OK, [Stop(Timer.B), Stop(Timer.A), Start(Timer.M, 32), PassReply()], State.ACCEPTED),
    ("accepted", True, [RINGING], OK, [Stop(Timer.C), Start(Timer.M, 32), PassReply()], State.ACCEPTED),
    ("2xx again", True, [OK], OK, [PassReply()], State.ACCEPTED),
    ("another 2xx", True, [OK], ReplyReceived(202), [PassReply()], State.ACCEPTED),
    ("180 after 2xx", True, [OK], RINGING, [], State.ACCEPTED),
    ("refusal after 2xx", True, [OK], BUSY, [], State.ACCEPTED),
    ("cancel after 2xx", True, [OK], CANCEL, [], State.ACCEPTED),
    ("send failed after 2xx", True, [OK], FAILED, [], State.ACCEPTED),
    ("M", True, [OK], TimerFired(Timer.M), [Terminated(DONE)], _END),
    # no final reply in time
    ("B", True, [], B, [Stop(Timer.A), Start(Timer.LAST_WAIT, 32), PassTimeout()], State.ABANDONED),
    ("C", True, [RINGING], C, [Start(Timer.LAST_WAIT, 32), SendCancel(), PassTimeout()], State.ABANDONED),
    ("C after a 100", True, [TRYING], C, [Start(Timer.LAST_WAIT, 32), SendCancel(), PassTimeout()], State.ABANDONED),
    (
        "180 after B",
        True,
        [B],
        RINGING,
        [Stop(Timer.LAST_WAIT), Start(Timer.LAST_WAIT, 32), SendCancel()],
        State.ABANDONED,
    ),
    (
        "100 after B",
        True,
        [B],
        TRYING,
        [Stop(Timer.LAST_WAIT), Start(Timer.LAST_WAIT, 32), SendCancel()],
        State.ABANDONED,
    ),
    ("180 twice after B", True, [B, RINGING], RINGING, [], State.ABANDONED),
    ("180 after C", True, [RINGING, C], RINGING, [], State.ABANDONED),
    ("refused after B", True, [B], BUSY, [Stop(Timer.LAST_WAIT), Start(Timer.D, 32), SendAck()], State.COMPLETED),
    (
        "refused after C",
        True,
        [RINGING, C],
        CANCELLED,
        [Stop(Timer.LAST_WAIT), Start(Timer.D, 32), SendAck()],
        State.COMPLETED,
    ),
    ("refused after C, again", True, [RINGING, C, CANCELLED], CANCELLED, [SendAck()], State.COMPLETED),
    ("2xx after B", True, [B], OK, [Stop(Timer.LAST_WAIT), Start(Timer.M, 32), PassReply()], State.ACCEPTED),
    ("2xx after C", True, [RINGING, C], OK, [Stop(Timer.LAST_WAIT), Start(Timer.M, 32), PassReply()], State.ACCEPTED),
    ("cancel after B", True, [B], CANCEL, [], State.ABANDONED),
    ("cancel after C", True, [RINGING, C], CANCEL, [], State.ABANDONED),
    ("send failed after B", True, [B], FAILED, [], State.ABANDONED),
    ("nothing after B", True, [B], LAST_WAIT, [Terminated(NO_REPLY)], _END),
    ("nothing after C", True, [RINGING, C], LAST_WAIT, [Terminated(NO_REPLY)], _END),
    # cancelling
    ("cancel too early", True, [], CANCEL, [], State.CALLING),
    (
        "100 after an early cancel",
        True,
        [CANCEL],
        TRYING,
        [Stop(Timer.B), Stop(Timer.A), Start(Timer.LAST_WAIT, 32), SendCancel(), PassReply()],
        State.PROCEEDING,
    ),
    (
        "2xx after an early cancel",
        True,
        [CANCEL],
        OK,
        [Stop(Timer.B), Stop(Timer.A), Start(Timer.M, 32), PassReply()],
        State.ACCEPTED,
    ),
    (
        "B after an early cancel",
        True,
        [CANCEL],
        B,
        [Stop(Timer.A), Start(Timer.LAST_WAIT, 32), PassTimeout()],
        State.ABANDONED,
    ),
    ("A after an early cancel", True, [CANCEL], TimerFired(Timer.A), [Start(Timer.A, 1), SendRequest()], State.CALLING),
    ("cancel", True, [RINGING], CANCEL, [Stop(Timer.C), Start(Timer.LAST_WAIT, 32), SendCancel()], State.PROCEEDING),
    ("cancel again", True, [RINGING, CANCEL], CANCEL, [], State.PROCEEDING),
    ("cancel after an early one", True, [CANCEL, RINGING], CANCEL, [], State.PROCEEDING),
    ("180 after cancel", True, [RINGING, CANCEL], RINGING, [PassReply()], State.PROCEEDING),
    (
        "487",
        True,
        [RINGING, CANCEL],
        CANCELLED,
        [Stop(Timer.LAST_WAIT), Start(Timer.D, 32), SendAck(), PassReply()],
        State.COMPLETED,
    ),
    (
        "2xx after cancel",
        True,
        [RINGING, CANCEL],
        OK,
        [Stop(Timer.LAST_WAIT), Start(Timer.M, 32), PassReply()],
        State.ACCEPTED,
    ),
    ("nothing after cancel", True, [RINGING, CANCEL], LAST_WAIT, [PassTimeout(), Terminated(NO_REPLY)], _END),
    # other requests
    ("E", False, [], TimerFired(Timer.E), [Start(Timer.E, 1), SendRequest()], State.TRYING),
    ("E after 100", False, [TRYING], TimerFired(Timer.E), [Start(Timer.E, 4), SendRequest()], State.PROCEEDING),
    ("100", False, [], TRYING, [PassReply()], State.PROCEEDING),
    ("183", False, [], PROGRESS, [PassReply()], State.PROCEEDING),
    ("183 again", False, [PROGRESS], PROGRESS, [PassReply()], State.PROCEEDING),
    ("final", False, [], OK, [Stop(Timer.F), Stop(Timer.E), Start(Timer.K, 5), PassReply()], State.COMPLETED),
    ("refused", False, [], BUSY, [Stop(Timer.F), Stop(Timer.E), Start(Timer.K, 5), PassReply()], State.COMPLETED),
    (
        "final later",
        False,
        [TRYING],
        OK,
        [Stop(Timer.F), Stop(Timer.E), Start(Timer.K, 5), PassReply()],
        State.COMPLETED,
    ),
    (
        "refused later",
        False,
        [TRYING],
        BUSY,
        [Stop(Timer.F), Stop(Timer.E), Start(Timer.K, 5), PassReply()],
        State.COMPLETED,
    ),
    ("100 again", False, [TRYING], TRYING, [PassReply()], State.PROCEEDING),
    ("final again", False, [OK], OK, [], State.COMPLETED),
    ("another final", False, [OK], BUSY, [], State.COMPLETED),
    ("100 after final", False, [OK], TRYING, [], State.COMPLETED),
    ("send failed after final", False, [OK], FAILED, [], State.COMPLETED),
    ("K", False, [OK], TimerFired(Timer.K), [Terminated(DONE)], _END),
    ("F", False, [], TimerFired(Timer.F), [Stop(Timer.E), PassTimeout(), Terminated(NO_REPLY)], _END),
    ("F after 100", False, [TRYING], TimerFired(Timer.F), [Stop(Timer.E), PassTimeout(), Terminated(NO_REPLY)], _END),
    ("send failed", False, [], FAILED, [Stop(Timer.F), Stop(Timer.E), PassFailure(), Terminated(UNSENT)], _END),
    ("copy failed", False, [TRYING], FAILED, [Stop(Timer.F), Stop(Timer.E), PassFailure(), Terminated(UNSENT)], _END),
    ("cancel", False, [], CANCEL, [], State.TRYING),
    ("cancel after 100", False, [TRYING], CANCEL, [], State.PROCEEDING),
]


@pytest.mark.parametrize(
    ("invite", "before", "stimulus", "effects", "state"),
    [row[1:] for row in ROWS],
    ids=[f"{'invite' if row[1] else 'other'}: {row[0]}" for row in ROWS],
)
def test_rows(
    invite: bool, before: list[ClientStimulus], stimulus: ClientStimulus, effects: list[ClientEffect], state: State
) -> None:
    transaction = begun(invite, *before)
    assert transaction.handle(stimulus) == effects
    assert transaction.state is state
    transaction.check()


@pytest.mark.parametrize(
    ("invite", "timer", "waits"),
    [(True, Timer.A, [1, 2, 4, 8, 16]), (False, Timer.E, [1, 2, 4, 4, 4])],
    ids=["an INVITE's double", "others double up to T2"],
)
def test_intervals_of_copies(invite: bool, timer: Timer, waits: list[float]) -> None:
    transaction = begun(invite)
    effects = [transaction.handle(TimerFired(timer)) for _ in waits]
    assert effects == [[Start(timer, wait), SendRequest()] for wait in waits]


def test_over_a_reliable_transport_nothing_is_repeated_and_nothing_lingers() -> None:
    assert made(True, reliable=True).begin() == [Start(Timer.B, FR_S), SendRequest()]
    assert made(False, reliable=True).begin() == [Start(Timer.F, FR_S), SendRequest()]
    refused = begun(True, RINGING, reliable=True)
    assert refused.handle(BUSY) == [Stop(Timer.C), SendAck(), PassReply(), Terminated(DONE)]
    refused_late = begun(True, B, reliable=True)
    assert refused_late.handle(BUSY) == [Stop(Timer.LAST_WAIT), SendAck(), Terminated(DONE)]
    answered = begun(False, reliable=True)
    assert answered.handle(OK) == [Stop(Timer.F), PassReply(), Terminated(DONE)]
    for transaction in (refused, refused_late, answered):
        assert transaction.state is State.TERMINATED
        transaction.check()


def test_over_a_reliable_transport_too_another_2xx_is_waited_for() -> None:
    transaction = begun(True, reliable=True)
    assert transaction.handle(OK) == [Stop(Timer.B), Start(Timer.M, 32), PassReply()]


@pytest.mark.parametrize("before", [[], [RINGING], [OK], [BUSY], [B], [RINGING, C], [RINGING, CANCEL]])
@pytest.mark.parametrize("invite", [True, False])
def test_what_nobody_wants_to_hear_of_is_dropped(invite: bool, before: list[ClientStimulus]) -> None:
    transaction = begun(invite, *before)
    *stops, last = transaction.handle(Dropped())
    assert all(isinstance(stop, Stop) for stop in stops)
    assert (last, transaction.state) == (Terminated(DROPPED), State.TERMINATED)
    transaction.check()


def test_after_its_end_nothing_happens() -> None:
    for invite in (True, False):
        transaction = begun(invite, Dropped())
        replies = (TRYING, RINGING, OK, BUSY)
        for stimulus in (*replies, CANCEL, FAILED, Dropped(), *map(TimerFired, Timer)):
            assert transaction.handle(stimulus) == []
        assert (transaction.state, transaction.last_status) == (State.TERMINATED, 0)
        transaction.check()


@pytest.mark.parametrize("status", [-1, 0, 1, 99, 700, 999])
@pytest.mark.parametrize("before", [[], [RINGING], [OK], [BUSY]])
@pytest.mark.parametrize("invite", [True, False])
def test_a_status_that_is_none_changes_nothing(invite: bool, before: list[ClientStimulus], status: int) -> None:
    transaction = begun(invite, *before)
    state, last_status = transaction.state, transaction.last_status
    assert transaction.handle(ReplyReceived(status)) == []
    assert (transaction.state, transaction.last_status) == (state, last_status)
    transaction.check()


def test_it_knows_the_last_reply_and_whether_it_was_final() -> None:
    transaction = begun(True, RINGING)
    assert (transaction.last_status, transaction.answered) == (180, False)
    transaction.handle(BUSY)
    assert (transaction.last_status, transaction.answered) == (486, True)
    transaction.handle(RINGING)
    assert (transaction.last_status, transaction.answered) == (486, True)


def test_the_base_values_are_settable() -> None:
    fast = Timers(t1_s=0.01, t2_s=0.015, t4_s=0.03)
    invite = made(True, timers=fast)
    assert invite.begin() == [Start(Timer.B, FR_S), Start(Timer.A, 0.01), SendRequest()]
    assert Start(Timer.D, 0.64) in invite.handle(BUSY)
    other = made(False, timers=fast)
    other.begin()
    assert other.handle(TimerFired(Timer.E)) == [Start(Timer.E, 0.015), SendRequest()]
    assert Start(Timer.K, 0.03) in other.handle(OK)
