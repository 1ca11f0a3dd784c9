"""The origin's table of jobs: stimulus in, effects out."""

from __future__ import annotations

import pytest

from workers.dispatch import Dispatcher
from workers.jobs import Cancelled, Failed, Job, JobId, Peer, Rejected, Returned, TimedOut, WorkerLost
from workers.policy import Limits, Load
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
QUICK_S = 2.0**-11
LIMITS = Limits(max_queued=3, max_outstanding=10, unknown_s=UNKNOWN_S, budget_s=2.0**-9, patience_s=0.25)
NONE: dict[int, Load] = {}


def job(serial: int, label: str = "ps", *, timeout_s: float = 5.0, **more: object) -> Job:
    return Job(JobId(ME, serial), "pkg:fn", label, b"payload", NOW + timeout_s, **more)


def submitted(one: Job, now: float = NOW, loads: dict[int, Load] = NONE) -> Submitted:
    return Submitted(one, now, loads)


def answered(one: Job, worker: Peer = W1, occupied_s: float = QUICK_S, now: float = NOW) -> Answered:
    return Answered(worker, one.id, Returned(b"result", worker, occupied_s), occupied_s, now)


def result(worker: Peer = W1, elapsed_s: float = QUICK_S) -> Returned:
    return Returned(b"result", worker, elapsed_s)


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


def learn(dispatcher: Dispatcher, label: str, occupied_s: float, serial: int = 900, worker: Peer = W1) -> None:
    lesson = job(serial, label, to=worker)
    dispatcher.handle(submitted(lesson))
    dispatcher.handle(answered(lesson, worker, occupied_s))


def states(dispatcher: Dispatcher) -> dict[int, str]:
    return {view.id.serial: view.state for view in dispatcher.jobs(NOW)}


# -- one job ----------------------------------------------------------------------------------------------------------


def test_a_job_goes_to_an_idle_worker_and_its_answer_settles_it(one: Dispatcher) -> None:
    first = job(1)
    assert one.handle(submitted(first)) == [Occupy(1, 1, UNKNOWN_S), Send(W1, first, True)]
    assert one.jobs(NOW + 1) == [JobView(first.id, "ps", "sent", W1, 1.0, 4.0)]
    assert one.handle(answered(first)) == [Occupy(1, 0, 0.0), Settle(first.id, result())]
    assert one.jobs(NOW) == []


def test_a_failure_settles_it_as_well(one: Dispatcher) -> None:
    first, failed = job(1), Failed("KeyError", "'x'", W1, 0.1)
    one.handle(submitted(first))
    assert one.handle(Answered(W1, first.id, failed, 0.1, NOW)) == [Occupy(1, 0, 0.0), Settle(first.id, failed)]


def test_without_workers_a_job_waits_for_the_first(alone: Dispatcher) -> None:
    first = job(1)
    assert alone.handle(submitted(first)) == [Waiting(1)]
    assert alone.handle(RoomMade(NOW, NONE)) == []
    assert alone.handle(WorkerUp(W1, 1, True, NOW, NONE)) == [
        Occupy(1, 1, UNKNOWN_S),
        Waiting(0),
        Send(W1, first, True),
    ]


def test_a_process_that_does_not_execute_gets_only_directed_jobs(alone: Dispatcher) -> None:
    alone.handle(WorkerUp(OTHER, 7, False, NOW, NONE))
    assert alone.handle(submitted(job(1))) == [Waiting(1)]
    directed = job(2, to=OTHER)
    assert alone.handle(submitted(directed)) == [Occupy(7, 1, UNKNOWN_S), Send(OTHER, directed, True)]


def test_a_directed_job_is_sent_to_a_busy_peer_and_rejected_without_it(one: Dispatcher) -> None:
    one.handle(submitted(job(1)))
    directed = job(2, to=W1)
    assert one.handle(submitted(directed)) == [Occupy(1, 2, 2 * UNKNOWN_S), Send(W1, directed, True)]
    nobody = job(3, to=W2)
    assert one.handle(submitted(nobody)) == [Settle(nobody.id, Rejected("worker-2.1 is not there"))]


def test_only_new_jobs_of_this_incarnation_are_accepted(one: Dispatcher) -> None:
    one.handle(submitted(job(1)))
    with pytest.raises(ValueError, match="not a new job"):
        one.handle(submitted(job(1)))
    with pytest.raises(ValueError, match="not a new job"):
        one.handle(submitted(Job(JobId(Peer("sip-1", 2), 5), "h", "l", b"", NOW + 1)))


# -- waiting ----------------------------------------------------------------------------------------------------------


def test_jobs_wait_at_home_while_the_worker_is_busy(one: Dispatcher) -> None:
    first, second = job(1), job(2)
    one.handle(submitted(first))
    assert one.handle(submitted(second)) == [Waiting(1)]
    assert states(one) == {1: "sent", 2: "queued"}
    assert one.handle(answered(first)) == [Occupy(1, 0, 0.0), Settle(first.id, result())]
    assert one.handle(RoomMade(NOW, NONE)) == [Occupy(1, 1, QUICK_S), Waiting(0), Send(W1, second, True)]


def test_quick_jobs_fill_the_budget_and_no_more(one: Dispatcher) -> None:
    learn(one, "ps", QUICK_S)
    for serial in range(1, 6):
        assert one.handle(submitted(job(serial)))[0] == Occupy(1, serial, serial * QUICK_S)
    assert one.handle(submitted(job(6))) == [Waiting(1)]


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
        running = send.job
        order.append(running.id.serial)
    assert order == [4, 2, 3]


def test_a_full_queue_rejects(one: Dispatcher) -> None:
    for serial in range(1, 5):
        one.handle(submitted(job(serial)))
    late = job(5)
    assert one.handle(submitted(late)) == [Settle(late.id, Rejected("queue is full"))]
    assert one.waiting == 3
    one.handle(CancelAsked(JobId(ME, 2), "asked"))
    assert one.handle(submitted(job(6))) == [Waiting(3)]


def test_a_full_queue_looks_for_room_before_it_rejects(one: Dispatcher) -> None:
    learn(one, "ps", QUICK_S)
    busy, idle = {1: Load(1, 1, 1.0, NOW)}, {1: Load(1, 0, 0.0, NOW)}
    for serial in range(1, 4):
        assert one.handle(submitted(job(serial), loads=busy)) == [Waiting(serial)]
    assert one.handle(submitted(job(4), loads=busy)) == [Settle(JobId(ME, 4), Rejected("queue is full"))]
    assert [type(effect) for effect in one.handle(submitted(job(5), loads=idle))][:5] == [
        Occupy,
        Waiting,
        Send,
        Send,
        Send,
    ]
    assert states(one)[5] == "sent"


def test_what_is_freed_counts_even_under_the_same_look(one: Dispatcher) -> None:
    look: dict[int, Load] = {}
    first, second, third = job(1), job(2), job(3)
    for each in (first, second):
        one.handle(submitted(each, loads=look))
    one.handle(answered(first))
    assert one.handle(submitted(third, loads=look)) == [
        Occupy(1, 2, 2 * QUICK_S),
        Waiting(0),
        Send(W1, second, True),
        Send(W1, third, True),
    ]


def test_a_worker_takes_only_so_many_however_little_they_cost(one: Dispatcher) -> None:
    learn(one, "later", 0.0)
    for serial in range(1, LIMITS.max_outstanding + 1):
        assert one.handle(submitted(job(serial, "later"))) == [
            Occupy(1, serial, 0.0),
            Send(W1, job(serial, "later"), False),
        ]
    assert one.handle(submitted(job(99, "later"))) == [Waiting(1)]


def test_a_slow_job_that_waits_holds_no_quick_one_up(two: Dispatcher) -> None:
    learn(two, "quick", QUICK_S)
    slow, slower, quick = job(1, "slow"), job(2, "slow"), job(3, "quick")
    loads = {1: Load(1, 0, 0.0, NOW, quick_at=NOW - 0.9), 2: Load(2, 0, 0.0, NOW)}
    assert two.handle(submitted(slow, loads=loads)) == [Occupy(2, 1, UNKNOWN_S), Send(W2, slow, True)]
    assert two.handle(submitted(slower, loads=loads)) == [Waiting(1)]
    assert two.handle(submitted(quick, loads=loads)) == [Occupy(1, 1, QUICK_S), Send(W1, quick, True)]
    assert states(two) == {1: "sent", 2: "queued", 3: "sent"}
    # It has waited long enough to take the last worker that is free of slow jobs.
    later = {1: Load(1, 0, 0.0, NOW + 0.3, quick_at=NOW), 2: Load(2, 0, 0.0, NOW + 0.3)}
    assert two.handle(RoomMade(NOW + 0.2, later)) == []
    assert two.handle(RoomMade(NOW + 0.3, later)) == [
        Occupy(1, 2, QUICK_S + UNKNOWN_S),
        Waiting(0),
        Send(W1, slower, True),
    ]


def test_slow_jobs_take_every_worker_while_there_are_no_quick_ones(two: Dispatcher) -> None:
    slow, slower = job(1, "slow"), job(2, "slow")
    long_ago = {1: Load(1, 0, 0.0, NOW, quick_at=NOW - 1.1), 2: Load(2, 0, 0.0, NOW)}
    assert two.handle(submitted(slow, loads=long_ago))[-1] == Send(W1, slow, True)
    assert two.handle(submitted(slower, loads=long_ago))[-1] == Send(W2, slower, True)


def test_the_load_of_others_counts(two: Dispatcher) -> None:
    learn(two, "ps", QUICK_S)
    loads = {1: Load(1, 1, QUICK_S, NOW), 2: Load(2, 1, 0.0, NOW)}
    assert two.handle(submitted(job(1), loads=loads)) == [Occupy(2, 1, QUICK_S), Send(W2, job(1), True)]


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
    assert two.handle(submitted(job(1), loads={1: draining, 2: idle}))[-1] == Send(W2, job(1), True)
    assert two.handle(submitted(job(2), loads={1: draining, 2: idle})) == [Waiting(1)]
    both = {1: draining, 2: Load(2, 0, 0.0, NOW, draining=True)}
    assert two.handle(RoomMade(NOW + 1, both))[-1] == Send(W1, job(2), True)


# -- early ends -------------------------------------------------------------------------------------------------------


def test_a_deadline_settles_at_once_and_the_load_stays_until_the_worker_answers(one: Dispatcher) -> None:
    first = job(1, timeout_s=3.0)
    one.handle(submitted(first))
    assert one.handle(DeadlinePassed(first.id)) == [Settle(first.id, TimedOut(3.0)), SendCancel(W1, first.id)]
    assert one.jobs(NOW) == []
    assert one.handle(submitted(job(2))) == [Waiting(1)]
    assert one.late == 0
    assert one.handle(answered(first)) == [Occupy(1, 0, 0.0)]
    assert one.late == 1


def test_a_queued_job_that_ends_early_never_runs(one: Dispatcher) -> None:
    first, second, third = job(1), job(2), job(3)
    for each in (first, second, third):
        one.handle(submitted(each))
    assert one.handle(CancelAsked(second.id, "asked")) == [Waiting(1), Settle(second.id, Cancelled("asked"))]
    assert one.handle(DeadlinePassed(third.id)) == [Waiting(0), Settle(third.id, TimedOut(5.0))]
    one.handle(answered(first))
    assert one.handle(RoomMade(NOW, NONE)) == []


def test_the_first_word_stands(one: Dispatcher) -> None:
    first = job(1)
    one.handle(submitted(first))
    assert one.handle(CancelAsked(first.id, "asked")) == [
        Settle(first.id, Cancelled("asked")),
        SendCancel(W1, first.id),
    ]
    assert one.handle(CancelAsked(first.id, "again")) == []
    assert one.handle(DeadlinePassed(first.id)) == []
    assert one.handle(answered(first)) == [Occupy(1, 0, 0.0)]
    assert one.handle(answered(first)) == []
    assert one.late == 2


def test_a_worker_that_found_the_deadline_passed_tells_so(one: Dispatcher) -> None:
    first = job(1, timeout_s=3.0)
    one.handle(submitted(first))
    assert one.handle(Answered(W1, first.id, TimedOut(0.0), 0.0, NOW)) == [
        Occupy(1, 0, 0.0),
        Settle(first.id, TimedOut(3.0)),
    ]


def test_words_of_strangers_change_nothing(one: Dispatcher) -> None:
    first = job(1)
    one.handle(submitted(first))
    assert one.handle(answered(first, worker=W2)) == []
    assert one.handle(Answered(W1, JobId(Peer("sip-1", 2), 1), None, 0.0, NOW)) == []
    assert one.handle(AnswersLater(W2, first.id)) == []
    assert one.handle(CancelAsked(JobId(OTHER, 1), "asked")) == []
    assert one.handle(WorkerDown(Peer("worker-9", 1), NOW, NONE)) == []
    assert states(one) == {1: "sent"}
    assert one.late == 3


def test_a_living_workers_word_on_anothers_job_changes_nothing(two: Dispatcher) -> None:
    first = job(1)
    assert two.handle(submitted(first))[-1] == Send(W1, first, True)
    assert two.handle(answered(first, worker=W2)) == []
    assert two.handle(AnswersLater(W2, first.id)) == []
    assert states(two) == {1: "sent"}
    assert two.handle(answered(first)) == [Occupy(1, 0, 0.0), Settle(first.id, result())]


# -- loss -------------------------------------------------------------------------------------------------------------


def test_a_dead_workers_jobs_are_lost(one: Dispatcher) -> None:
    first, second = job(1), job(2)
    one.handle(submitted(first))
    one.handle(submitted(second))
    assert one.handle(WorkerDown(W1, NOW, NONE)) == [Occupy(1, 0, 0.0), Settle(first.id, WorkerLost(W1))]
    assert states(one) == {2: "queued"}
    assert one.handle(answered(first)) == []


def test_an_idempotent_job_runs_elsewhere_once_more_and_not_a_third_time(two: Dispatcher) -> None:
    first = job(1, idempotent=True)
    assert two.handle(submitted(first))[-1] == Send(W1, first, True)
    assert two.handle(WorkerDown(W1, NOW, NONE)) == [
        Occupy(1, 0, 0.0),
        Occupy(2, 1, UNKNOWN_S),
        Send(W2, first, True),
    ]
    # The first worker's answer was still under way when it died.
    assert two.handle(answered(first, W1)) == []
    assert two.handle(WorkerDown(W2, NOW, NONE)) == [Occupy(2, 0, 0.0), Settle(first.id, WorkerLost(W2))]


@pytest.mark.parametrize("more", [{"timeout_s": 0.5}, {"to": W1}], ids=["past its deadline", "directed"])
def test_some_idempotent_jobs_are_lost_all_the_same(two: Dispatcher, more: dict[str, object]) -> None:
    first = job(1, idempotent=True, **more)
    two.handle(submitted(first))
    assert two.handle(WorkerDown(W1, NOW + 1, NONE)) == [Occupy(1, 0, 0.0), Settle(first.id, WorkerLost(W1))]


def test_a_settled_job_dies_silently_with_its_worker(two: Dispatcher) -> None:
    first = job(1, idempotent=True)
    two.handle(submitted(first))
    two.handle(CancelAsked(first.id, "asked"))
    assert two.handle(WorkerDown(W1, NOW, NONE)) == [Occupy(1, 0, 0.0)]


def test_the_next_life_of_a_name_tells_of_the_death_of_the_last(one: Dispatcher) -> None:
    first, next_life = job(1), Peer("worker-1", 2)
    one.handle(submitted(first))
    assert one.handle(WorkerUp(next_life, 1, True, NOW, NONE)) == [
        Occupy(1, 0, 0.0),
        Settle(first.id, WorkerLost(W1)),
    ]
    # Neither a late death of the old one nor a late announcement of it changes anything.
    assert one.handle(WorkerDown(W1, NOW, NONE)) == []
    assert one.handle(WorkerUp(W1, 1, True, NOW, NONE)) == []
    assert one.handle(submitted(job(2)))[-1] == Send(next_life, job(2), True)


def test_the_dead_do_not_come_back(one: Dispatcher) -> None:
    one.handle(WorkerDown(W1, NOW, NONE))
    assert one.handle(WorkerUp(W1, 1, True, NOW, NONE)) == []
    assert one.handle(submitted(job(1))) == [Waiting(1)]


def test_a_closing_worker_gives_back_what_it_has_not_begun(two: Dispatcher) -> None:
    first = job(1)
    two.handle(submitted(first))
    assert two.handle(Answered(W1, first.id, None, 0.0, NOW)) == [Occupy(1, 0, 0.0)]
    assert two.handle(RoomMade(NOW, NONE)) == [Occupy(2, 1, UNKNOWN_S), Send(W2, first, True)]
    # It runs elsewhere although it is not idempotent, for it never ran; and W1 is given nothing more.
    assert two.handle(submitted(job(2))) == [Waiting(1)]
    directed = job(3, to=W1)
    assert two.handle(submitted(directed)) == [Settle(directed.id, Rejected("worker-1.1 is not there"))]


def test_giving_back_is_not_a_run(two: Dispatcher) -> None:
    third = Peer("worker-3", 1)
    two.handle(WorkerUp(third, 3, True, NOW, NONE))
    first = job(1, idempotent=True)
    assert two.handle(submitted(first))[-1] == Send(W1, first, True)
    two.handle(Answered(W1, first.id, None, 0.0, NOW))
    assert two.handle(RoomMade(NOW, NONE))[-1] == Send(third, first, True)
    assert two.handle(WorkerDown(third, NOW, NONE))[-1] == Send(W2, first, True)


@pytest.mark.parametrize(
    ("more", "now", "outcome"),
    [
        ({"to": W1}, NOW, Rejected("worker-1.1 is closing")),
        ({"timeout_s": 0.5}, NOW + 1, TimedOut(0.5)),
    ],
    ids=["directed", "past its deadline"],
)
def test_what_cannot_run_elsewhere_is_settled(two: Dispatcher, more: dict[str, object], now: float, outcome) -> None:
    first = job(1, **more)
    two.handle(submitted(first))
    assert two.handle(Answered(W1, first.id, None, 0.0, now)) == [Occupy(1, 0, 0.0), Settle(first.id, outcome)]


# -- running times ----------------------------------------------------------------------------------------------------


def test_running_times_are_learnt(one: Dispatcher) -> None:
    assert one.expected_s("ps") == UNKNOWN_S
    learn(one, "ps", 0.001)
    assert one.expected_s("ps") == pytest.approx(0.001, abs=GRAIN_S)
    learn(one, "ps", 0.002)
    assert one.expected_s("ps") == pytest.approx(0.0012, abs=GRAIN_S)
    assert one.expected_s("dr_reload") == UNKNOWN_S


def test_a_job_that_answers_later_occupies_nobody_meanwhile(one: Dispatcher) -> None:
    first, second = job(1), job(2)
    one.handle(submitted(first))
    one.handle(submitted(second))
    assert one.handle(AnswersLater(W1, first.id)) == [Occupy(1, 1, 0.0)]
    assert one.handle(RoomMade(NOW, NONE)) == [Occupy(1, 2, 0.0), Waiting(0), Send(W1, second, False)]
    assert one.handle(answered(first, occupied_s=0.0)) == [Occupy(1, 1, 0.0), Settle(first.id, result(elapsed_s=0.0))]


def test_a_label_can_turn_to_answering_later_and_back(one: Dispatcher) -> None:
    learn(one, "t_uac_dlg", 0.001)
    for serial in range(100, 130):
        learn(one, "t_uac_dlg", 0.0, serial)
    assert one.expected_s("t_uac_dlg") == 0.0
    for serial in range(200, 260):
        learn(one, "t_uac_dlg", 0.001, serial)
    assert one.expected_s("t_uac_dlg") == pytest.approx(0.001, rel=0.01)


def test_only_so_many_labels_are_remembered(one: Dispatcher) -> None:
    few = Dispatcher(ME, Limits(max_labels=2, unknown_s=UNKNOWN_S))
    few.handle(WorkerUp(W1, 1, True, NOW, NONE))
    for serial, label in enumerate("abc"):
        learn(few, label, QUICK_S, serial)
    assert [few.expected_s(label) for label in "abc"] == [UNKNOWN_S, QUICK_S, QUICK_S]


# -- the end ----------------------------------------------------------------------------------------------------------


def test_draining_rejects_and_lets_the_rest_end(one: Dispatcher) -> None:
    first, second = job(1), job(2)
    one.handle(submitted(first))
    assert one.handle(DrainAsked("restarting")) == []
    assert one.handle(submitted(second)) == [Settle(second.id, Rejected("restarting"))]
    assert one.handle(answered(first)) == [Occupy(1, 0, 0.0), Settle(first.id, result())]


def test_closing_cancels_what_is_left(one: Dispatcher) -> None:
    first, second = job(1), job(2)
    one.handle(submitted(first))
    one.handle(submitted(second))
    assert one.handle(Closing("shutdown")) == [
        Settle(first.id, Cancelled("shutdown")),
        SendCancel(W1, first.id),
        Waiting(0),
        Settle(second.id, Cancelled("shutdown")),
    ]
    assert one.handle(Closing("shutdown")) == []
    assert one.handle(submitted(job(3))) == [Settle(JobId(ME, 3), Rejected("shutdown"))]


def test_ended_jobs_do_not_pile_up_in_the_queue() -> None:
    dispatcher = Dispatcher(ME, Limits(max_queued=10))
    for serial in range(1, 2000):
        dispatcher.handle(submitted(job(serial, f"label-{serial % 7}")))
        dispatcher.handle(CancelAsked(JobId(ME, serial), "asked"))
        dispatcher.check()
    assert dispatcher.waiting == 0
