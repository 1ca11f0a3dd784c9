"""The origin's table of jobs: stimulus in, effects out."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pytest
from msgspec.structs import replace

from workers.dispatch import Dispatcher
from workers.habits import Habits
from workers.jobs import Cancelled, Failed, Job, Kind, Outcome, Peer, Rejected, Returned, TimedOut, WorkerLost
from workers.policy import Limits, Load, Policy, Room, is_slow, least_expected
from workers.stimuli import (
    Answered,
    AnswersLater,
    CancelAsked,
    Closing,
    DeadlinePassed,
    DrainAsked,
    JobView,
    Occupy,
    RoomMade,
    Send,
    SendCancel,
    Settle,
    Submitted,
    Waiting,
    WorkerDown,
    WorkerUp,
)

ME, OTHER = Peer("sip-1", 1), Peer("sip-2", 1)
W1, W2 = Peer("worker-1", 1), Peer("worker-2", 1)
NOW = 100.0
GRAIN_S = 2.0**-20
UNKNOWN_S = 10 * 2.0**-10
QUICK_S, SLOW_S = 2.0**-11, 2.0**-4
LIMITS = Limits(
    max_queued=3, max_outstanding=10, unknown_s=UNKNOWN_S, budget_s=2.0**-9, patience_s=0.25, unknown_patience_s=0.125
)
NONE: dict[int, Load] = {}


def job(serial: int, label: str = "ps", *, timeout_s: float = 5.0, **more: object) -> Job:
    return Job(ME, serial, Kind("pkg:fn", label, **more), b"payload", NOW + timeout_s)


def submitted(*jobs: Job, now: float = NOW, loads: dict[int, Load] = NONE, elsewhere: int = 0) -> Submitted:
    return Submitted(jobs, now, loads, elsewhere)


def answered(*jobs: Job, worker: Peer = W1, occupied_s: float = QUICK_S, now: float = NOW) -> Answered:
    return Answered(worker, [(one.serial, result(worker, occupied_s), occupied_s) for one in jobs], now)


def given_back(*jobs: Job, worker: Peer = W1, now: float = NOW) -> Answered:
    return Answered(worker, [(one.serial, None, 0.0) for one in jobs], now)


def result(worker: Peer = W1, elapsed_s: float = QUICK_S) -> Returned:
    return Returned(b"result", worker, elapsed_s)


def settled(one: Job, outcome: Outcome) -> Settle:
    return Settle([(one.serial, outcome)])


def down(worker: Peer, now: float = NOW) -> WorkerDown:
    return WorkerDown(worker, "signal 9", now, NONE)


def lost(one: Job, worker: Peer = W1, reason: str = "signal 9") -> Settle:
    return settled(one, WorkerLost(worker, reason))


@pytest.fixture
def alone():
    """A dispatcher without workers."""
    dispatcher = Dispatcher(ME, LIMITS)
    yield dispatcher
    dispatcher.check()


@pytest.fixture
def one(alone: Dispatcher) -> Dispatcher:
    """A dispatcher with one worker, in slot 1."""
    assert alone.handle(WorkerUp(W1, 1, True, NOW, NONE)) == []
    return alone


@pytest.fixture
def two(one: Dispatcher) -> Dispatcher:
    """A dispatcher with two workers, in slots 1 and 2."""
    assert one.handle(WorkerUp(W2, 2, True, NOW, NONE)) == []
    return one


@pytest.fixture
def wide():
    """A dispatcher with two workers, where twenty jobs may wait."""
    dispatcher = Dispatcher(ME, replace(LIMITS, max_queued=20))
    dispatcher.handle(WorkerUp(W1, 1, True, NOW, NONE))
    dispatcher.handle(WorkerUp(W2, 2, True, NOW, NONE))
    yield dispatcher
    dispatcher.check()


def learn(dispatcher: Dispatcher, label: str, occupied_s: float, serial: int = 1, worker: Peer = W1) -> None:
    """One directed job's running time. Lessons come first: serials only grow."""
    lesson = job(serial, label, to=worker)
    dispatcher.handle(submitted(lesson))
    dispatcher.handle(answered(lesson, worker=worker, occupied_s=occupied_s))


def counting(asked: list[int]) -> Policy:
    """The usual policy, which writes down for how many jobs it was asked."""

    def choose(
        expected_s: float, count: int, rooms: Sequence[Room], limits: Limits, reserve: bool, favourite: int
    ) -> Sequence[int]:
        asked.append(count)
        return least_expected(expected_s, count, rooms, limits, reserve, favourite)

    return choose


def states(dispatcher: Dispatcher) -> dict[int, str]:
    return {view.id.serial: view.state for view in dispatcher.jobs(NOW)}


# -- one job ----------------------------------------------------------------------------------------------------------


def test_a_job_goes_to_an_idle_worker_and_its_answer_settles_it(one: Dispatcher) -> None:
    first = job(1)
    assert one.handle(submitted(first)) == [Occupy(1, 1, UNKNOWN_S), Send(W1, [first], True)]
    assert one.jobs(NOW + 1) == [JobView(first.id, "ps", "sent", W1, 1.0, 4.0)]
    assert one.handle(answered(first)) == [Occupy(1, 0, 0.0), settled(first, result())]
    assert one.jobs(NOW) == []


def test_a_failure_settles_it_as_well(one: Dispatcher) -> None:
    first, failed = job(1), Failed("KeyError", "'x'", W1, 0.1)
    one.handle(submitted(first))
    assert one.handle(Answered(W1, [(1, failed, 0.1)], NOW)) == [Occupy(1, 0, 0.0), settled(first, failed)]


def test_without_workers_a_job_waits_for_the_first(alone: Dispatcher) -> None:
    first = job(1)
    assert alone.handle(submitted(first)) == [Waiting(1)]
    assert alone.handle(RoomMade(NOW, NONE)) == []
    assert alone.handle(WorkerUp(W1, 1, True, NOW, NONE)) == [
        Occupy(1, 1, UNKNOWN_S),
        Waiting(0),
        Send(W1, [first], True),
    ]


def test_a_process_that_does_not_execute_gets_only_directed_jobs(alone: Dispatcher) -> None:
    alone.handle(WorkerUp(OTHER, 7, False, NOW, NONE))
    assert alone.handle(submitted(job(1))) == [Waiting(1)]
    directed = job(2, to=OTHER)
    assert alone.handle(submitted(directed)) == [Occupy(7, 1, UNKNOWN_S), Send(OTHER, [directed], True)]


def test_a_directed_job_is_sent_to_a_busy_peer_and_rejected_without_it(one: Dispatcher) -> None:
    one.handle(submitted(job(1)))
    directed = job(2, to=W1)
    assert one.handle(submitted(directed)) == [Occupy(1, 2, 2 * UNKNOWN_S), Send(W1, [directed], True)]
    nobody = job(3, to=W2)
    assert one.handle(submitted(nobody)) == [settled(nobody, Rejected("worker-2.1 is not there"))]


def test_a_peer_is_sent_only_so_many_directed_jobs(one: Dispatcher) -> None:
    for serial in range(1, LIMITS.max_queued + 1):
        one.handle(submitted(job(serial, to=W1)))
    late = job(9, to=W1)
    assert one.handle(submitted(late)) == [settled(late, Rejected("queue is full"))]
    one.handle(answered(job(1)))
    again = job(10, to=W1)
    assert one.handle(submitted(again))[-1] == Send(W1, [again], True)


@pytest.mark.parametrize("loads", [NONE, {1: Load(1, 0, 0.0, NOW), 2: Load(2, 0, 0.0, NOW)}], ids=["unseen", "seen"])
def test_another_process_is_used_before_this_one(alone: Dispatcher, loads: dict[int, Load]) -> None:
    alone.handle(WorkerUp(ME, 1, True, NOW, NONE))
    alone.handle(WorkerUp(W2, 2, True, NOW, NONE))
    assert alone.handle(submitted(job(1), loads=loads))[-1] == Send(W2, [job(1)], True)
    assert alone.handle(submitted(job(2), loads=loads))[-1] == Send(ME, [job(2)], True)


def test_only_new_jobs_of_this_incarnation_are_accepted(one: Dispatcher) -> None:
    one.handle(submitted(job(1)))
    with pytest.raises(ValueError, match="not a new job"):
        one.handle(submitted(job(1)))
    one.handle(answered(job(1)))
    with pytest.raises(ValueError, match="not a new job"):
        one.handle(submitted(job(1)))
    assert one.handle(submitted(job(2)))[-1] == Send(W1, [job(2)], True)
    with pytest.raises(ValueError, match="not a new job"):
        one.handle(submitted(Job(Peer("sip-1", 2), 5, job(5).kind, b"payload", NOW + 5.0)))
    assert states(one) == {2: "sent"}


def test_jobs_are_of_this_incarnation_when_they_name_it(one: Dispatcher) -> None:
    copies = [replace(job(serial), origin=Peer("sip-1", 1)) for serial in (1, 2)]
    assert one.handle(submitted(*copies)) == [Occupy(1, 1, UNKNOWN_S), Waiting(1), Send(W1, copies[:1], True)]


def test_what_is_no_stimulus_fails_loudly(one: Dispatcher) -> None:
    with pytest.raises(AssertionError, match="unreachable, but got: 'hello'"):
        one.handle("hello")


def test_a_worker_holds_a_job_while_somebody_waits_for_it(two: Dispatcher) -> None:
    assert not two.holds(W1, 1)
    two.handle(submitted(job(1)))
    assert [two.holds(peer, 1) for peer in (W1, W2, OTHER)] == [True, False, False]
    two.handle(CancelAsked(1, "asked"))
    assert not two.holds(W1, 1)


# -- waiting ----------------------------------------------------------------------------------------------------------


def test_jobs_wait_at_home_while_the_worker_is_busy(one: Dispatcher) -> None:
    first, second = job(1), job(2)
    one.handle(submitted(first))
    assert one.handle(submitted(second)) == [Waiting(1)]
    assert states(one) == {1: "sent", 2: "queued"}
    assert one.handle(answered(first)) == [Occupy(1, 0, 0.0), settled(first, result())]
    assert one.handle(RoomMade(NOW, NONE)) == [Occupy(1, 1, QUICK_S), Waiting(0), Send(W1, [second], True)]


def test_quick_jobs_fill_the_budget_and_no_more(one: Dispatcher) -> None:
    learn(one, "ps", QUICK_S)
    for number in range(1, 6):
        assert one.handle(submitted(job(10 + number)))[0] == Occupy(1, number, number * QUICK_S)
    assert one.handle(submitted(job(16))) == [Waiting(1)]


def test_a_higher_priority_goes_first_and_equals_keep_their_order(one: Dispatcher) -> None:
    running = job(1)
    one.handle(submitted(running))
    for serial, priority in ((2, 0), (3, 0), (4, 5)):
        one.handle(submitted(job(serial, "other", priority=priority)))
    order = []
    for _ in range(3):
        one.handle(answered(running, occupied_s=1.0))
        _, _, send = one.handle(RoomMade(NOW, NONE))
        assert isinstance(send, Send)
        [running] = send.jobs
        order.append(running.serial)
    assert order == [4, 2, 3]


def test_a_full_queue_rejects(one: Dispatcher) -> None:
    for serial in range(1, 5):
        one.handle(submitted(job(serial)))
    late = job(5)
    assert one.handle(submitted(late)) == [settled(late, Rejected("queue is full"))]
    assert one.waiting == 3
    one.handle(CancelAsked(2, "asked"))
    assert one.handle(submitted(job(6))) == [Waiting(3)]


def test_a_full_queue_looks_for_room_before_it_rejects(one: Dispatcher) -> None:
    learn(one, "ps", QUICK_S)
    busy, idle = {1: Load(1, 1, 1.0, NOW)}, {1: Load(1, 0, 0.0, NOW)}
    for number in range(1, 4):
        assert one.handle(submitted(job(10 + number), loads=busy)) == [Waiting(number)]
    assert one.handle(submitted(job(14), loads=busy)) == [settled(job(14), Rejected("queue is full"))]
    assert one.handle(submitted(job(15), loads=idle)) == [
        Occupy(1, 3, 3 * QUICK_S),
        Waiting(0),
        Send(W1, [job(11), job(12), job(13)], True),
        Occupy(1, 4, 4 * QUICK_S),
        Send(W1, [job(15)], True),
    ]


def test_what_is_freed_counts_even_under_the_same_look(one: Dispatcher) -> None:
    look: dict[int, Load] = {}
    first, second, third = job(1), job(2), job(3)
    for each in (first, second):
        one.handle(submitted(each, loads=look))
    one.handle(answered(first))
    assert one.handle(submitted(third, loads=look)) == [
        Occupy(1, 2, 2 * QUICK_S),
        Waiting(0),
        Send(W1, [second, third], True),
    ]


def test_who_joins_a_lane_that_found_no_room_does_not_look_again_before_anything_changed() -> None:
    asked: list[int] = []
    dispatcher = Dispatcher(ME, replace(LIMITS, max_queued=20), policy=counting(asked))
    dispatcher.handle(WorkerUp(W1, 1, True, NOW, NONE))
    learn(dispatcher, "ps", QUICK_S)
    busy, same = {1: Load(1, 1, 1.0, NOW)}, {1: Load(1, 1, 1.0, NOW)}
    assert dispatcher.handle(submitted(job(11), job(12), loads=busy)) == [Waiting(2)]
    assert asked == [2]
    assert dispatcher.handle(submitted(job(13), loads=busy)) == [Waiting(3)]
    assert asked == [2]
    # A new look may show room, and who begins a lane may be quick enough for what there is.
    assert dispatcher.handle(submitted(job(14), loads=same)) == [Waiting(4)]
    assert asked == [2, 4]
    assert dispatcher.handle(submitted(job(15, "other"), loads=same)) == [Waiting(5)]
    assert asked == [2, 4, 4, 1]


def test_a_worker_takes_only_so_many_however_little_they_cost(one: Dispatcher) -> None:
    learn(one, "later", 0.0)
    for number in range(1, LIMITS.max_outstanding + 1):
        assert one.handle(submitted(job(10 + number, "later"))) == [
            Occupy(1, number, 0.0),
            Send(W1, [job(10 + number, "later")], False),
        ]
    assert one.handle(submitted(job(99, "later"))) == [Waiting(1)]


def test_a_slow_job_that_waits_holds_no_quick_one_up(two: Dispatcher) -> None:
    learn(two, "quick", QUICK_S)
    learn(two, "slow", SLOW_S, 2)
    slow, slower, quick = job(11, "slow"), job(12, "slow"), job(13, "quick")
    loads = {1: Load(1, 0, 0.0, NOW, quick_at=NOW - 0.9), 2: Load(2, 0, 0.0, NOW)}
    assert two.handle(submitted(slow, loads=loads)) == [Occupy(2, 1, SLOW_S), Send(W2, [slow], True)]
    assert two.handle(submitted(slower, loads=loads)) == [Waiting(1)]
    assert two.handle(submitted(quick, loads=loads)) == [Occupy(1, 1, QUICK_S), Send(W1, [quick], True)]
    assert states(two) == {11: "sent", 12: "queued", 13: "sent"}
    # It has waited long enough to take the last worker that is free of slow jobs.
    later = {1: Load(1, 0, 0.0, NOW + 0.25, quick_at=NOW), 2: Load(2, 0, 0.0, NOW + 0.25)}
    assert two.handle(RoomMade(NOW + 0.2, later)) == []
    assert two.handle(RoomMade(NOW + LIMITS.patience_s, later)) == [
        Occupy(1, 2, QUICK_S + SLOW_S),
        Waiting(0),
        Send(W1, [slower], True),
    ]


def test_what_is_not_known_yet_waits_less_long_for_what_it_may_not_need(two: Dispatcher) -> None:
    learn(two, "quick", QUICK_S)
    loads = {1: Load(1, 0, 0.0, NOW, quick_at=NOW), 2: Load(2, 1, 1.0, NOW)}
    first, patience_s = job(11, "new"), LIMITS.unknown_patience_s
    assert two.handle(submitted(first, loads=loads)) == [Waiting(1)]
    assert two.handle(RoomMade(NOW + patience_s / 2, loads)) == []
    assert two.handle(RoomMade(NOW + patience_s, loads))[-1] == Send(W1, [first], True)


def test_slow_jobs_take_every_worker_while_there_are_no_quick_ones(two: Dispatcher) -> None:
    slow, slower = job(1, "slow"), job(2, "slow")
    long_ago = {1: Load(1, 0, 0.0, NOW, quick_at=NOW - LIMITS.quick_memory_s), 2: Load(2, 0, 0.0, NOW)}
    assert two.handle(submitted(slow, loads=long_ago))[-1] == Send(W1, [slow], True)
    assert two.handle(submitted(slower, loads=long_ago))[-1] == Send(W2, [slower], True)


@pytest.mark.parametrize("behind", [[], [job(3, "slower")]], ids=["of one kind", "of two kinds"])
def test_each_slow_job_has_a_patience_of_its_own(two: Dispatcher, behind: list[Job]) -> None:
    paused = {slot: Load(slot, 0, 0.0, NOW, paused=True) for slot in (1, 2)}
    two.handle(submitted(job(1, "slow"), loads=paused))
    two.handle(submitted(job(2, "slow"), *behind, now=NOW + 0.2, loads=paused))
    quick_lately = {1: Load(1, 0, 0.0, NOW, quick_at=NOW)}
    assert two.handle(RoomMade(NOW + 0.3, quick_lately)) == [
        Occupy(1, 1, UNKNOWN_S),
        Waiting(1 + len(behind)),
        Send(W1, [job(1, "slow")], True),
    ]


def test_a_slow_job_that_lost_patience_does_not_overtake_one_of_higher_priority(two: Dispatcher) -> None:
    old, urgent = job(1, "slow"), job(2, "urgent", priority=1)
    busy = {1: Load(1, 1, 1.0, NOW, quick_at=NOW), 2: Load(2, 1, 1.0, NOW)}
    two.handle(submitted(old, loads=busy))
    two.handle(submitted(urgent, now=NOW + 0.2, loads=busy))
    one_idle = {1: Load(1, 1, 1.0, NOW, quick_at=NOW)}
    assert two.handle(RoomMade(NOW + 0.3, one_idle)) == []
    assert two.handle(RoomMade(NOW + 0.5, one_idle)) == [
        Occupy(2, 1, UNKNOWN_S),
        Waiting(1),
        Send(W2, [urgent], True),
    ]


def test_the_load_of_others_counts(two: Dispatcher) -> None:
    learn(two, "ps", QUICK_S)
    loads = {1: Load(1, 1, QUICK_S, NOW), 2: Load(2, 1, 0.0, NOW)}
    assert two.handle(submitted(job(11), loads=loads)) == [Occupy(2, 1, QUICK_S), Send(W2, [job(11)], True)]


@pytest.mark.parametrize(
    "load",
    [
        Load(1, 1, 1.0, NOW),
        Load(1, 1, QUICK_S, NOW - 1.0),
        Load(1, 10, 0.0, NOW),
        Load(1, 0, 0.0, NOW, paused=True),
    ],
    ids=["busy", "stalled", "full", "paused"],
)
def test_a_worker_without_room_gets_nothing(one: Dispatcher, load: Load) -> None:
    assert one.handle(submitted(job(1), loads={1: load})) == [Waiting(1)]


def test_a_draining_worker_gets_nothing_unless_all_drain(two: Dispatcher) -> None:
    idle, draining = Load(2, 0, 0.0, NOW), Load(1, 0, 0.0, NOW, draining=True)
    assert two.handle(submitted(job(1), loads={1: draining, 2: idle}))[-1] == Send(W2, [job(1)], True)
    assert two.handle(submitted(job(2), loads={1: draining, 2: idle})) == [Waiting(1)]
    both = {1: draining, 2: Load(2, 0, 0.0, NOW, draining=True)}
    assert two.handle(RoomMade(NOW + 1, both))[-1] == Send(W1, [job(2)], True)


# -- batches ----------------------------------------------------------------------------------------------------------


def test_jobs_of_one_kind_that_go_to_one_worker_go_together(wide: Dispatcher) -> None:
    learn(wide, "ps", QUICK_S)
    busy = {2: Load(2, 1, 1.0, NOW)}
    batch = [job(serial) for serial in range(11, 15)]
    assert wide.handle(submitted(*batch, loads=busy)) == [Occupy(1, 4, 4 * QUICK_S), Send(W1, batch, True)]
    assert wide.handle(answered(*batch)) == [Occupy(1, 0, 0.0), Settle([(each.serial, result()) for each in batch])]
    assert wide.handle(RoomMade(NOW, NONE)) == []


def test_a_batch_is_shared_out_evenly_and_each_share_keeps_its_order(wide: Dispatcher) -> None:
    learn(wide, "ps", QUICK_S)
    batch = [job(serial) for serial in range(11, 17)]
    assert wide.handle(submitted(*batch)) == [
        Occupy(1, 3, 3 * QUICK_S),
        Occupy(2, 3, 3 * QUICK_S),
        Send(W1, batch[:3], True),
        Send(W2, batch[3:], True),
    ]


def test_a_batch_of_mixed_kinds_goes_out_by_priority_and_then_in_its_order(one: Dispatcher) -> None:
    for serial, label in enumerate("abc", start=1):
        learn(one, label, 2.0**-12, serial)
    a1, b, a2, c = job(11, "a"), job(12, "b"), job(13, "a"), job(14, "c", priority=1)
    assert one.handle(submitted(a1, b, a2, c, loads={1: Load(1, 1, 1.0, NOW)})) == [Waiting(3), *full(c)]
    assert [view.id.serial for view in one.jobs(NOW)] == [11, 12, 13]
    one.handle(CancelAsked(13, "asked"))
    urgent = job(15, "c", priority=1)
    assert one.handle(submitted(urgent)) == [
        Occupy(1, 3, 3 * 2.0**-12),
        Waiting(0),
        Send(W1, [urgent], True),
        Send(W1, [a1], True),
        Send(W1, [b], True),
    ]


def full(*jobs: Job) -> list[Settle]:
    return [Settle([(each.serial, Rejected("queue is full")) for each in jobs])]


def test_room_is_given_in_the_order_of_submission_and_what_is_sent_goes_by_kind() -> None:
    """The third job of kind a gets no room before the one of kind b, but then it travels with its kind."""
    seen: list[int] = []
    dispatcher = Dispatcher(ME, replace(LIMITS, max_queued=20), policy=counting(seen))
    dispatcher.handle(WorkerUp(W1, 1, True, NOW, NONE))
    for serial, label in enumerate("ab", start=1):
        learn(dispatcher, label, 2.0**-12, serial)
    a1, a2, b, a3 = job(11, "a"), job(12, "a"), job(13, "b"), job(14, "a")
    assert dispatcher.handle(submitted(a1, a2, b, a3)) == [
        Occupy(1, 4, 4 * 2.0**-12),
        Send(W1, [a1, a2, a3], True),
        Send(W1, [b], True),
    ]
    assert seen == [2, 1, 1]
    dispatcher.check()


def test_a_batch_over_the_bound_is_rejected_from_there_on(one: Dispatcher) -> None:
    batch = [job(serial) for serial in range(1, 7)]
    assert one.handle(submitted(*batch)) == [
        Occupy(1, 1, UNKNOWN_S),
        Waiting(2),
        Send(W1, batch[:1], True),
        Waiting(3),
        Settle([(5, Rejected("queue is full")), (6, Rejected("queue is full"))]),
    ]
    assert states(one) == {1: "sent", 2: "queued", 3: "queued", 4: "queued"}


def test_the_whole_pools_bound_counts_what_waits_elsewhere() -> None:
    dispatcher = Dispatcher(ME, Limits(max_queued=3, max_pool_queued=10))
    assert dispatcher.handle(submitted(job(1), job(2), elsewhere=9)) == [
        Waiting(1),
        settled(job(2), Rejected("queue is full")),
    ]
    assert dispatcher.handle(submitted(job(3), elsewhere=50)) == [settled(job(3), Rejected("queue is full"))]
    assert dispatcher.handle(submitted(job(4), elsewhere=8)) == [Waiting(2)]
    assert dispatcher.handle(submitted(job(5), job(6), elsewhere=0)) == [
        Waiting(3),
        settled(job(6), Rejected("queue is full")),
    ]
    dispatcher.check()


def test_what_finds_a_worker_need_not_find_room_to_wait(two: Dispatcher) -> None:
    batch = [job(serial) for serial in range(1, 4)]
    assert two.handle(submitted(*batch, elsewhere=LIMITS.max_pool_queued)) == [
        Occupy(1, 1, UNKNOWN_S),
        Send(W1, [job(1)], True),
        Occupy(2, 1, UNKNOWN_S),
        Send(W2, [job(2)], True),
        settled(job(3), Rejected("queue is full")),
    ]


def test_slow_jobs_that_fill_the_queue_do_not_turn_quick_ones_away(two: Dispatcher) -> None:
    learn(two, "quick", QUICK_S)
    slow = [job(serial, "slow") for serial in range(11, 16)]
    loads = {1: Load(1, 0, 0.0, NOW, quick_at=NOW), 2: Load(2, 0, 0.0, NOW)}
    assert two.handle(submitted(*slow, loads=loads))[-2:] == [Waiting(3), settled(slow[-1], Rejected("queue is full"))]
    quick, slower, last = job(16, "quick"), job(17, "slower"), job(18, "quick")
    assert two.handle(submitted(quick, slower, loads=loads)) == [
        Occupy(1, 1, QUICK_S),
        Send(W1, [quick], True),
        settled(slower, Rejected("queue is full")),
    ]
    busy = {**loads, 1: Load(1, 1, 1.0, NOW)}
    assert two.handle(submitted(last, loads=busy)) == [settled(last, Rejected("queue is full"))]
    assert two.waiting == 3


@pytest.mark.parametrize(
    ("waits", "comes", "looks"),
    [
        ("quick", "quick", 0),
        ("quick", "slow", 0),
        ("slow", "slow", 0),
        ("slow", "slower", 0),
        ("slow", "quick", 1),
    ],
)
def test_only_a_quick_job_that_slow_ones_would_keep_is_looked_for_before_it_is_turned_away(
    waits: str, comes: str, looks: int
) -> None:
    asked: list[int] = []
    dispatcher = Dispatcher(ME, LIMITS, policy=counting(asked))
    dispatcher.handle(WorkerUp(W1, 1, True, NOW, NONE))
    learn(dispatcher, "quick", QUICK_S)
    busy = {1: Load(1, 1, 1.0, NOW)}
    assert dispatcher.handle(submitted(*[job(serial, waits) for serial in (11, 12, 13)], loads=busy)) == [Waiting(3)]
    asked.clear()
    late = job(14, comes)
    assert dispatcher.handle(submitted(late, loads=busy)) == [settled(late, Rejected("queue is full"))]
    assert asked == [1] * looks
    dispatcher.check()


def test_ends_of_all_sorts_in_one_frame(wide: Dispatcher) -> None:
    """A return, a failure, one that nobody waits for any more, one that was never sent, and one twice."""
    learn(wide, "ps", QUICK_S)
    batch = [job(serial, to=W1) for serial in range(11, 15)]
    wide.handle(submitted(*batch))
    wide.handle(CancelAsked(13, "asked"))
    late, failed = wide.late, Failed("KeyError", "'x'", W1, QUICK_S)
    answers = [
        (12, result(), QUICK_S),
        (11, failed, QUICK_S),
        (13, Cancelled("withdrawn"), 0.0),
        (99, result(), QUICK_S),
        (12, result(), QUICK_S),
    ]
    assert wide.handle(Answered(W1, answers, NOW)) == [
        Occupy(1, 1, QUICK_S),
        Settle([(12, result()), (11, failed)]),
    ]
    assert wide.late == late + 3
    assert states(wide) == {14: "sent"}


def test_running_times_are_learnt_in_the_order_of_the_answers(wide: Dispatcher) -> None:
    batch = [job(serial, label, to=W1) for serial, label in enumerate("aabba", start=1)]
    wide.handle(submitted(*batch))
    times = [0.001, 0.002, 0.005, 0.001, 0.001]
    answers = [(each.serial, result(), time_s) for each, time_s in zip(batch, times, strict=True)]
    wide.handle(Answered(W1, answers, NOW))
    assert wide.expected_s("a") == pytest.approx(0.00116, abs=GRAIN_S)
    assert wide.expected_s("b") == pytest.approx(0.0042, abs=GRAIN_S)


def test_what_is_given_back_in_one_frame_goes_before_what_came_after_it(two: Dispatcher) -> None:
    learn(two, "ps", QUICK_S)
    first, second, directed, late = job(11), job(12), job(13, to=W1), job(14, timeout_s=1.0)
    gone = {2: Load(2, 1, 1.0, NOW)}
    two.handle(submitted(first, second, directed, late, loads=gone))
    busy = {1: Load(1, 1, 1.0, NOW), **gone}
    assert two.handle(submitted(job(15), loads=busy)) == [Waiting(1)]
    back = given_back(late, second, directed, first, now=NOW + 2)
    assert two.handle(back) == [
        Occupy(1, 0, 0.0),
        Settle([(14, TimedOut(1.0)), (13, Rejected("worker-1.1 is closing"))]),
    ]
    assert two.handle(RoomMade(NOW + 2, NONE)) == [
        Occupy(2, 3, 3 * QUICK_S),
        Waiting(0),
        Send(W2, [first, second, job(15)], True),
    ]


def test_a_dead_workers_batch_is_told_in_one_go_and_the_idempotent_keep_their_place(two: Dispatcher) -> None:
    learn(two, "ps", QUICK_S)
    plain, again, cancelled = job(11), job(12, idempotent=True), job(13, idempotent=True)
    busy = {2: Load(2, 1, 1.0, NOW)}
    two.handle(submitted(plain, again, cancelled, loads=busy))
    two.handle(CancelAsked(13, "asked"))
    later = job(14, idempotent=True)
    assert two.handle(submitted(later, loads={1: Load(1, 1, 1.0, NOW), **busy})) == [Waiting(1)]
    assert two.handle(WorkerDown(W1, "signal 9", NOW, busy)) == [Occupy(1, 0, 0.0), lost(plain), Waiting(2)]
    assert two.handle(RoomMade(NOW, NONE)) == [
        Occupy(2, 2, 2 * QUICK_S),
        Waiting(0),
        Send(W2, [again, later], True),
    ]


# -- policies ---------------------------------------------------------------------------------------------------------


def test_another_policy_decides_instead() -> None:
    asked: list[tuple[float, int, list[tuple[Peer, int, float, bool]], bool, int]] = []

    def last(
        expected_s: float, count: int, rooms: Sequence[Room], limits: Limits, reserve: bool, favourite: int
    ) -> Sequence[int]:
        seen = [(room.worker, room.outstanding, room.expected_s, room.open) for room in rooms]
        asked.append((expected_s, count, seen, reserve, favourite))
        return [0, min(count, 2) if rooms[1].outstanding < 4 else 0]

    dispatcher = Dispatcher(ME, LIMITS, policy=last, favourite=5)
    dispatcher.handle(WorkerUp(W1, 1, True, NOW, NONE))
    dispatcher.handle(WorkerUp(W2, 2, True, NOW, NONE))
    learn(dispatcher, "ps", QUICK_S)
    batch = [job(11), job(12), job(13)]
    effects = dispatcher.handle(submitted(*batch, loads={1: Load(1, 0, 0.0, NOW, paused=True)}))
    assert effects == [Occupy(2, 3, 3 * QUICK_S), Send(W2, batch, True)]
    assert asked == [
        (QUICK_S, 3, [(W1, 0, 0.0, False), (W2, 0, 0.0, True)], False, 5),
        (QUICK_S, 1, [(W1, 0, 0.0, False), (W2, 2, 2 * QUICK_S, True)], False, 1),
    ]


@pytest.mark.parametrize("shares", [[1], [0, 0, 1], [1, 1], [2, -1]])
def test_a_policy_that_does_not_add_up_fails_loudly(shares: list[int]) -> None:
    dispatcher = Dispatcher(ME, LIMITS, policy=lambda *_: shares)
    for peer, slot in ((W1, 1), (W2, 2)):
        dispatcher.handle(WorkerUp(peer, slot, True, NOW, NONE))
    with pytest.raises(ValueError, match=f"^{re.escape(f'the policy gave out {shares} of 1 jobs to 2 workers')}$"):
        dispatcher.handle(submitted(job(1)))


def test_workers_are_seen_by_slot_whenever_they_came() -> None:
    """All origins leave the first of them to quick jobs, and each hears of them in an order of its own."""
    seen: list[list[Peer]] = []

    def looking(
        expected_s: float, count: int, rooms: Sequence[Room], limits: Limits, reserve: bool, favourite: int
    ) -> Sequence[int]:
        seen.append([room.worker for room in rooms])
        return [0] * len(rooms)

    dispatcher = Dispatcher(ME, LIMITS, policy=looking)
    third = Peer("worker-3", 1)
    for slot, peer in ((3, third), (1, W1), (2, W2)):
        dispatcher.handle(WorkerUp(peer, slot, True, NOW, NONE))
    dispatcher.handle(submitted(job(1)))
    assert seen
    assert all(each == [W1, W2, third] for each in seen)


def test_a_lone_job_that_occupies_nobody_is_sent_unweighed(two: Dispatcher) -> None:
    learn(two, "later", 0.0)
    assert two.handle(submitted(job(11, "later"))) == [Occupy(1, 1, 0.0), Send(W1, [job(11, "later")], False)]


def test_who_was_used_last_is_used_again(two: Dispatcher) -> None:
    learn(two, "ps", QUICK_S)
    busy = Load(1, 1, 1.0, NOW)
    assert two.handle(submitted(job(11)))[-1] == Send(W1, [job(11)], True)
    two.handle(answered(job(11), worker=W1, occupied_s=QUICK_S))
    assert two.handle(submitted(job(12), loads={1: busy}))[-1] == Send(W2, [job(12)], True)
    two.handle(answered(job(12), worker=W2, occupied_s=QUICK_S))
    assert two.handle(submitted(job(13)))[-1] == Send(W2, [job(13)], True)


@pytest.mark.parametrize(("share", "slow_at_once"), [(None, 4), (0.0, 3), (0.5, 2), (0.75, 1), (1.0, 1)])
def test_the_share_of_workers_that_slow_jobs_leave_free(share: float | None, slow_at_once: int) -> None:
    dispatcher = Dispatcher(ME, Limits(quick_share=share))
    for slot in range(1, 5):
        dispatcher.handle(WorkerUp(Peer(f"worker-{slot}", 1), slot, True, NOW, NONE))
    learn(dispatcher, "slow", 1.0)
    loads = {slot: Load(slot, 0, 0.0, NOW, quick_at=NOW) for slot in range(1, 5)}
    dispatcher.handle(submitted(*[job(serial, "slow") for serial in range(11, 19)], loads=loads))
    assert list(states(dispatcher).values()).count("sent") == slow_at_once
    dispatcher.check()


# -- early ends -------------------------------------------------------------------------------------------------------


def test_a_deadline_settles_at_once_and_the_load_stays_until_the_worker_answers(one: Dispatcher) -> None:
    first = job(1, timeout_s=3.0)
    one.handle(submitted(first))
    assert one.handle(DeadlinePassed(first.serial)) == [settled(first, TimedOut(3.0)), SendCancel(W1, first.serial)]
    assert one.jobs(NOW) == []
    assert one.handle(submitted(job(2))) == [Waiting(1)]
    assert one.late == 0
    assert one.handle(answered(first)) == [Occupy(1, 0, 0.0)]
    assert one.late == 1


def test_a_queued_job_that_ends_early_never_runs(one: Dispatcher) -> None:
    first, second, third = job(1), job(2), job(3)
    for each in (first, second, third):
        one.handle(submitted(each))
    assert one.handle(CancelAsked(second.serial, "asked")) == [Waiting(1), settled(second, Cancelled("asked"))]
    assert one.handle(DeadlinePassed(third.serial)) == [Waiting(0), settled(third, TimedOut(5.0))]
    one.handle(answered(first))
    assert one.handle(RoomMade(NOW, NONE)) == []


def test_the_first_word_stands(one: Dispatcher) -> None:
    first = job(1)
    one.handle(submitted(first))
    assert one.handle(CancelAsked(first.serial, "asked")) == [
        settled(first, Cancelled("asked")),
        SendCancel(W1, first.serial),
    ]
    assert one.handle(CancelAsked(first.serial, "again")) == []
    assert one.handle(DeadlinePassed(first.serial)) == []
    assert one.handle(answered(first)) == [Occupy(1, 0, 0.0)]
    assert one.handle(answered(first)) == []
    assert one.late == 2


def test_a_worker_that_found_the_deadline_passed_tells_so(one: Dispatcher) -> None:
    first = job(1, timeout_s=3.0)
    one.handle(submitted(first))
    assert one.handle(Answered(W1, [(1, TimedOut(0.0), 0.0)], NOW)) == [
        Occupy(1, 0, 0.0),
        settled(first, TimedOut(3.0)),
    ]


def test_words_of_strangers_change_nothing(one: Dispatcher) -> None:
    first = job(1)
    one.handle(submitted(first))
    assert one.handle(answered(first, worker=W2)) == []
    assert one.handle(Answered(W1, [(7, None, 0.0), (8, result(), 0.0)], NOW)) == []
    assert one.handle(AnswersLater(W2, first.serial)) == []
    assert one.handle(CancelAsked(99, "asked")) == []
    assert one.handle(DeadlinePassed(99)) == []
    assert one.handle(down(Peer("worker-9", 1))) == []
    assert states(one) == {1: "sent"}
    assert one.late == 4


def test_a_living_workers_word_on_anothers_job_changes_nothing(two: Dispatcher) -> None:
    first = job(1)
    assert two.handle(submitted(first))[-1] == Send(W1, [first], True)
    assert two.handle(answered(first, worker=W2)) == []
    assert two.handle(AnswersLater(W2, first.serial)) == []
    assert states(two) == {1: "sent"}
    assert two.handle(answered(first)) == [Occupy(1, 0, 0.0), settled(first, result())]


# -- loss -------------------------------------------------------------------------------------------------------------


def test_a_dead_workers_jobs_are_lost(one: Dispatcher) -> None:
    first, second = job(1), job(2)
    one.handle(submitted(first))
    one.handle(submitted(second))
    assert one.handle(down(W1)) == [Occupy(1, 0, 0.0), lost(first, W1)]
    assert states(one) == {2: "queued"}
    assert one.handle(answered(first)) == []


def test_an_idempotent_job_runs_elsewhere_once_more_and_not_a_third_time(two: Dispatcher) -> None:
    first = job(1, idempotent=True)
    assert two.handle(submitted(first))[-1] == Send(W1, [first], True)
    assert two.handle(down(W1)) == [
        Occupy(1, 0, 0.0),
        Occupy(2, 1, UNKNOWN_S),
        Send(W2, [first], True),
    ]
    # The first worker's answer was still under way when it died.
    assert two.handle(answered(first, worker=W1)) == []
    assert two.reruns == 1
    assert two.handle(down(W2)) == [Occupy(2, 0, 0.0), lost(first, W2)]
    assert two.reruns == 1


@pytest.mark.parametrize(
    "more",
    [{"timeout_s": 0.5}, {"timeout_s": 1.0}, {"to": W1}],
    ids=["past its deadline", "at its deadline", "directed"],
)
def test_some_idempotent_jobs_are_lost_all_the_same(two: Dispatcher, more: dict[str, object]) -> None:
    first = job(1, idempotent=True, **more)
    two.handle(submitted(first))
    assert two.handle(down(W1, NOW + 1)) == [Occupy(1, 0, 0.0), lost(first, W1)]


def test_a_settled_job_dies_silently_with_its_worker(two: Dispatcher) -> None:
    first = job(1, idempotent=True)
    two.handle(submitted(first))
    two.handle(CancelAsked(first.serial, "asked"))
    assert two.handle(down(W1)) == [Occupy(1, 0, 0.0)]


def test_the_next_life_of_a_name_tells_of_the_death_of_the_last(one: Dispatcher) -> None:
    first, next_life = job(1), Peer("worker-1", 2)
    one.handle(submitted(first))
    assert one.handle(WorkerUp(next_life, 1, True, NOW, NONE)) == [
        Occupy(1, 0, 0.0),
        lost(first, W1, "worker-1.2 took its place"),
    ]
    # Neither a late death of the old one nor a late announcement of it changes anything.
    assert one.handle(down(W1)) == []
    assert one.handle(WorkerUp(W1, 1, True, NOW, NONE)) == []
    assert one.handle(submitted(job(2)))[-1] == Send(next_life, [job(2)], True)


def test_a_late_announcement_of_an_earlier_life_changes_nothing(alone: Dispatcher) -> None:
    second = Peer("worker-1", 2)
    alone.handle(WorkerUp(second, 1, True, NOW, NONE))
    assert alone.handle(WorkerUp(W1, 1, True, NOW, NONE)) == []
    assert alone.handle(submitted(job(1)))[-1] == Send(second, [job(1)], True)
    # Nor does a late word of its death let the dead come back.
    assert alone.handle(down(second)) == [Occupy(1, 0, 0.0), lost(job(1), second)]
    assert alone.handle(down(W1)) == []
    assert alone.handle(WorkerUp(second, 1, True, NOW, NONE)) == []
    assert alone.handle(submitted(job(2))) == [Waiting(1)]


def test_an_announcement_that_comes_twice_or_after_the_death_changes_nothing(one: Dispatcher) -> None:
    one.handle(submitted(job(1)))
    assert one.handle(WorkerUp(W1, 1, True, NOW, NONE)) == []
    next_life = Peer("worker-1", 2)
    assert one.handle(down(next_life)) == []
    assert one.handle(WorkerUp(next_life, 1, True, NOW, NONE)) == []
    assert one.handle(answered(job(1))) == [Occupy(1, 0, 0.0), settled(job(1), result())]


def test_the_dead_do_not_come_back(one: Dispatcher) -> None:
    one.handle(down(W1))
    assert one.handle(WorkerUp(W1, 1, True, NOW, NONE)) == []
    assert one.handle(submitted(job(1))) == [Waiting(1)]


def test_a_closing_worker_gives_back_what_it_has_not_begun(two: Dispatcher) -> None:
    first = job(1)
    two.handle(submitted(first))
    assert two.handle(given_back(first)) == [Occupy(1, 0, 0.0)]
    assert two.handle(RoomMade(NOW, NONE)) == [Occupy(2, 1, UNKNOWN_S), Send(W2, [first], True)]
    # It runs elsewhere although it is not idempotent, for it never ran; and W1 is given nothing more.
    assert two.handle(submitted(job(2))) == [Waiting(1)]
    directed = job(3, to=W1)
    assert two.handle(submitted(directed)) == [settled(directed, Rejected("worker-1.1 is not there"))]


def test_what_is_given_back_and_nobody_waits_for_is_late_and_gone(two: Dispatcher) -> None:
    learn(two, "ps", QUICK_S)
    batch = [job(11), job(12)]
    assert two.handle(submitted(*batch, loads={2: Load(2, 1, 1.0, NOW)}))[-1] == Send(W1, batch, True)
    for each in batch:
        two.handle(CancelAsked(each.serial, "asked"))
    assert two.late == 0
    assert two.handle(given_back(*batch)) == [Occupy(1, 0, 0.0)]
    assert two.late == 2
    assert two.handle(RoomMade(NOW, NONE)) == []


def test_giving_back_is_not_a_run(two: Dispatcher) -> None:
    third = Peer("worker-3", 1)
    two.handle(WorkerUp(third, 3, True, NOW, NONE))
    first = job(1, idempotent=True)
    assert two.handle(submitted(first))[-1] == Send(W1, [first], True)
    two.handle(given_back(first))
    assert two.handle(RoomMade(NOW, NONE))[-1] == Send(W2, [first], True)
    assert two.handle(down(W2))[-1] == Send(third, [first], True)
    assert two.handle(down(third)) == [Occupy(3, 0, 0.0), lost(first, third)]


@pytest.mark.parametrize(
    ("more", "now", "outcome"),
    [
        ({"to": W1}, NOW, Rejected("worker-1.1 is closing")),
        ({"timeout_s": 0.5}, NOW + 1, TimedOut(0.5)),
        ({"timeout_s": 0.5}, NOW + 0.5, TimedOut(0.5)),
    ],
    ids=["directed", "past its deadline", "at its deadline"],
)
def test_what_cannot_run_elsewhere_is_settled(two: Dispatcher, more: dict[str, object], now: float, outcome) -> None:
    first = job(1, **more)
    two.handle(submitted(first))
    assert two.handle(given_back(first, now=now)) == [Occupy(1, 0, 0.0), settled(first, outcome)]


# -- running times ----------------------------------------------------------------------------------------------------


def test_running_times_are_learnt(one: Dispatcher) -> None:
    assert one.expected_s("ps") == UNKNOWN_S
    learn(one, "ps", 0.001)
    assert one.expected_s("ps") == pytest.approx(0.001, abs=GRAIN_S)
    learn(one, "ps", 0.002, 2)
    assert one.expected_s("ps") == pytest.approx(0.0012, abs=GRAIN_S)
    assert one.expected_s("dr_reload") == UNKNOWN_S


def test_a_failure_teaches_as_well_and_what_did_not_end_by_itself_does_not(one: Dispatcher) -> None:
    failed, stopped = job(1, to=W1), job(2, to=W1)
    one.handle(submitted(failed, stopped))
    one.handle(Answered(W1, [(2, Cancelled("stopped"), 1.0)], NOW))
    assert one.expected_s("ps") == UNKNOWN_S
    one.handle(Answered(W1, [(1, Failed("KeyError", "'x'", W1, QUICK_S), QUICK_S)], NOW))
    assert one.expected_s("ps") == QUICK_S


def test_a_job_that_answers_later_occupies_nobody_meanwhile(one: Dispatcher) -> None:
    first, second = job(1), job(2)
    one.handle(submitted(first))
    one.handle(submitted(second))
    assert one.handle(AnswersLater(W1, first.serial)) == [Occupy(1, 1, 0.0)]
    assert one.handle(RoomMade(NOW, NONE)) == [Occupy(1, 2, 0.0), Waiting(0), Send(W1, [second], False)]
    assert one.handle(answered(first, occupied_s=0.0)) == [Occupy(1, 1, 0.0), settled(first, result(elapsed_s=0.0))]


def test_a_label_can_turn_to_answering_later_and_back(one: Dispatcher) -> None:
    learn(one, "t_uac_dlg", 0.001)
    for serial in range(100, 130):
        learn(one, "t_uac_dlg", 0.0, serial)
    assert one.expected_s("t_uac_dlg") == 0.0
    for serial in range(200, 260):
        learn(one, "t_uac_dlg", 0.001, serial)
    assert one.expected_s("t_uac_dlg") == pytest.approx(0.001, rel=0.01)


def test_running_anything_costs_at_least_ten_microseconds(one: Dispatcher) -> None:
    learn(one, "ps", 1e-9)
    assert one.expected_s("ps") == 11 * GRAIN_S


def test_a_label_that_hardly_costs_anything_is_soon_expected_to_cost_nothing_and_learns_anew(one: Dispatcher) -> None:
    learn(one, "t_uac_dlg", 12e-6)
    assert one.expected_s("t_uac_dlg") == 13 * GRAIN_S
    learn(one, "t_uac_dlg", 0.0, 2)
    assert one.expected_s("t_uac_dlg") == 0.0
    learn(one, "t_uac_dlg", 20e-6, 3)
    assert one.expected_s("t_uac_dlg") == 5 * GRAIN_S, "a fifth of it, which is less than anything costs"
    learn(one, "ps", 12.5e-6, 4)
    learn(one, "ps", 0.0, 5)
    assert one.expected_s("ps") == 11 * GRAIN_S, "ten microseconds are still something"


@pytest.mark.parametrize(("grains_more", "slow"), [(0, False), (1, True)])
def test_what_is_learnt_to_be_slow_is_what_is_slow_to_a_policy(grains_more: int, slow: bool) -> None:
    usual = Habits(LIMITS).of("ps")
    usual.learn(2 * LIMITS.budget_s + grains_more * GRAIN_S)
    usual.settle()
    assert usual.slow is is_slow(usual.expected_s, LIMITS) is slow


def test_only_so_many_labels_are_remembered(one: Dispatcher) -> None:
    few = Dispatcher(ME, Limits(max_labels=2, unknown_s=UNKNOWN_S))
    few.handle(WorkerUp(W1, 1, True, NOW, NONE))
    for serial, label in enumerate("abc", start=1):
        learn(few, label, QUICK_S, serial)
    assert [few.expected_s(label) for label in "abc"] == [UNKNOWN_S, QUICK_S, QUICK_S]


# -- the end ----------------------------------------------------------------------------------------------------------


def test_draining_rejects_and_lets_the_rest_end(one: Dispatcher) -> None:
    first, second = job(1), job(2)
    one.handle(submitted(first))
    assert one.handle(DrainAsked("restarting")) == []
    assert one.handle(submitted(second)) == [settled(second, Rejected("restarting"))]
    assert one.handle(answered(first)) == [Occupy(1, 0, 0.0), settled(first, result())]


def test_draining_rejects_even_what_would_find_room(two: Dispatcher) -> None:
    two.handle(DrainAsked("restarting"))
    assert two.handle(submitted(job(1))) == [settled(job(1), Rejected("restarting"))]
    assert states(two) == {}


def test_closing_cancels_what_is_left(one: Dispatcher) -> None:
    first, second = job(1), job(2)
    one.handle(submitted(first))
    one.handle(submitted(second))
    assert one.handle(Closing("shutdown")) == [
        Waiting(0),
        Settle([(1, Cancelled("shutdown")), (2, Cancelled("shutdown"))]),
        SendCancel(W1, first.serial),
    ]
    assert one.handle(Closing("shutdown")) == []
    assert one.handle(submitted(job(3))) == [settled(job(3), Rejected("shutdown"))]


def test_ended_jobs_do_not_pile_up_in_the_queue() -> None:
    dispatcher = Dispatcher(ME, Limits(max_queued=10))
    for serial in range(1, 2000):
        dispatcher.handle(submitted(job(serial, f"label-{serial % 7}")))
        dispatcher.handle(CancelAsked(serial, "asked"))
        dispatcher.check()
    assert dispatcher.waiting == 0
