"""What a dispatcher does of one word, told exactly: whatever jobs there are, and whatever has become of them before.

Whole lives, in which words overtake each other, are in `test_dispatch_machine`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from hypothesis import assume, event, given
from hypothesis import strategies as st

from workers.dispatch import Dispatcher
from workers.jobs import Cancelled, Failed, Job, Kind, Outcome, Peer, Rejected, Returned, TimedOut, WorkerLost
from workers.policy import Limits, Load
from workers.stimuli import (
    Answered,
    AnswersLater,
    CancelAsked,
    Closing,
    DeadlinePassed,
    Effect,
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

ME, ONE, TWO, NOBODY = Peer("sip-1", 1), Peer("worker-1", 1), Peer("worker-2", 1), Peer("worker-3", 1)
NOW, UNKNOWN_S = 100.0, 2.0**-10
LIMITS = Limits(budget_s=1000.0, unknown_s=UNKNOWN_S)
"""Everything goes to the first worker at once."""
PAUSED = {1: Load(1, 0, 0.0, NOW, paused=True)}

SORTS = st.tuples(st.sampled_from("ab"), st.booleans(), st.booleans(), st.sampled_from([1.0, 2.0]))
"""Label, whether idempotent, whether directed, and for how long it is waited for."""
MOMENTS = st.sampled_from([NOW, NOW + 0.5, NOW + 1.0, NOW + 1.5])


class Given(NamedTuple):
    """Jobs at a worker, and others that wait; some of them have been cancelled."""

    dispatcher: Dispatcher
    held: dict[int, Job]
    waiting: dict[int, Job]
    cancelled: set[int]

    @property
    def wanted(self) -> dict[int, Job]:
        everything = {**self.held, **self.waiting}
        return {serial: job for serial, job in sorted(everything.items()) if serial not in self.cancelled}


def job(serial: int, sort: tuple[str, bool, bool, float]) -> Job:
    label, idempotent, directed, timeout_s = sort
    kind = Kind("pkg:fn", label, idempotent, to=ONE if directed else None)
    return Job(ME, serial, kind, b"%d" % serial, NOW + timeout_s)


@st.composite
def some_jobs(draw: st.DrawFn) -> Given:
    dispatcher = Dispatcher(ME, LIMITS)
    dispatcher.handle(WorkerUp(ONE, 1, True, NOW, {}))
    sorts = draw(st.lists(SORTS, max_size=6))
    held = {serial: job(serial, sort) for serial, sort in enumerate(sorts, start=1)}
    if held:
        dispatcher.handle(Submitted(list(held.values()), NOW, {}))
    undirected = st.lists(SORTS.map(lambda sort: (sort[0], sort[1], False, sort[3])), max_size=4)
    waiting = {serial: job(serial, sort) for serial, sort in enumerate(draw(undirected), start=11)}
    if waiting:
        dispatcher.handle(Submitted(list(waiting.values()), NOW, PAUSED))
    cancelled = draw(st.sets(st.sampled_from(sorted(held)))) if held else set()
    for serial in cancelled:
        dispatcher.handle(CancelAsked(serial, "before"))
    found = Given(dispatcher, held, waiting, cancelled)
    assert dispatcher.jobs(NOW) == views(found, NOW)
    return found


def views(given: Given, now: float) -> list[JobView]:
    return [
        JobView(
            job.id,
            job.kind.label,
            "sent" if serial in given.held else "queued",
            ONE if serial in given.held else None,
            now - NOW,
            job.deadline - now,
        )
        for serial, job in given.wanted.items()
    ]


def shown(given: Given) -> Occupy:
    return Occupy(1, len(given.held), len(given.held) * UNKNOWN_S)


def told(outcomes: Sequence[tuple[int, Outcome]]) -> list[Effect]:
    return [Settle(outcomes)] if outcomes else []


def timed_out(job: Job) -> TimedOut:
    return TimedOut(job.deadline - NOW)


@given(some_jobs(), st.integers(0, 15), st.booleans())
def test_an_early_end_is_told_once_and_its_worker_hears_of_it(given: Given, serial: int, asked: bool) -> None:
    dispatcher, held, waiting, _ = given
    ends = CancelAsked(serial, "asked") if asked else DeadlinePassed(serial)
    expected: list[Effect] = []
    if serial in given.wanted:
        outcome = Cancelled("asked") if asked else timed_out(given.wanted[serial])
        expected = [Settle([(serial, outcome)])]
        if waiting.pop(serial, None) is not None:
            expected = [Waiting(len(waiting)), *expected]
        else:
            expected.append(SendCancel(ONE, serial))
            given.cancelled.add(serial)
    assert dispatcher.handle(ends) == expected
    assert dispatcher.handle(ends) == [], "the first word stands"
    assert dispatcher.jobs(NOW) == views(given, NOW)
    assert dispatcher.waiting == len(waiting)
    assert [one for one in range(16) if dispatcher.holds(ONE, one)] == [one for one in given.wanted if one in held]
    assert not any(dispatcher.holds(TWO, one) for one in held)
    assert dispatcher.late == 0
    dispatcher.check()


@given(some_jobs(), st.sampled_from(["shutdown", "moving"]))
def test_the_end_cancels_all_that_is_left(given: Given, reason: str) -> None:
    dispatcher, held, waiting, _ = given
    wanted = given.wanted
    effects = dispatcher.handle(Closing(reason))
    withdrawn = [effect for effect in effects if isinstance(effect, SendCancel)]
    first: list[Effect] = [Waiting(0)] if waiting else []
    ended = told([(serial, Cancelled(reason)) for serial in wanted])
    assert effects == [*first, *ended, *withdrawn]
    assert sorted(effect.serial for effect in withdrawn) == [serial for serial in wanted if serial in held]
    assert all(effect.worker == ONE for effect in withdrawn)
    assert dispatcher.handle(Closing(reason)) == []
    assert dispatcher.jobs(NOW) == []
    late = Job(ME, 99, Kind("pkg:fn", "a"), b"", NOW + 1.0)
    assert dispatcher.handle(Submitted([late], NOW, {})) == [Settle([(99, Rejected(reason))])]
    dispatcher.check()


OUTCOMES = st.sampled_from(
    [
        Returned(b"result", ONE, 0.5),
        Failed("KeyError", "'x'", ONE, 0.5),
        TimedOut(0.0),
        Cancelled("withdrawn"),
        None,
        None,
    ]
)
ANSWERS = st.lists(st.tuples(st.integers(1, 7), OUTCOMES), min_size=1, max_size=7)


@given(some_jobs(), ANSWERS, MOMENTS, st.sampled_from([ONE, ONE, ONE, TWO]))
def test_answers_settle_what_is_waited_for_and_free_the_worker(
    given: Given, answers: list[tuple[int, Outcome | None]], now: float, sender: Peer
) -> None:
    dispatcher, held, waiting, _ = given
    outcomes: list[tuple[int, Outcome]] = []
    back, late, before = [], 0, len(held)
    learnt: dict[str, list[float]] = {"a": [], "b": []}
    for serial, outcome in answers:
        known = held.pop(serial, None) if sender == ONE else None
        if known is not None and isinstance(outcome, Returned | Failed):
            learnt[known.kind.label].append(serial * 2.0**-6)
        if known is not None and outcome is None:
            back.append(known)
        elif known is None or serial in given.cancelled:
            late += 1
        else:
            outcomes.append((serial, timed_out(known) if isinstance(outcome, TimedOut) else outcome))
    for one in back:
        if one.serial in given.cancelled:
            late += 1
        elif now >= one.deadline:
            outcomes.append((one.serial, timed_out(one)))
        elif one.kind.to is not None:
            outcomes.append((one.serial, Rejected(f"{ONE} is closing")))
        else:
            waiting[one.serial] = one
    expected = [shown(given), *told(outcomes)] if len(held) < before else []
    waited = dispatcher.waiting
    times_s = {serial: serial * 2.0**-6 for serial, _ in answers}
    words = [(serial, outcome, times_s[serial]) for serial, outcome in answers]
    assert dispatcher.handle(Answered(sender, words, now)) == expected
    assert all(is_learnt(dispatcher.expected_s(label), learnt[label]) for label in "ab")
    assert (dispatcher.late, dispatcher.waiting) == (late, len(waiting))
    assert dispatcher.jobs(now) == views(given, now)
    dispatcher.check()
    if not back:
        return
    event("given back")
    # Who gives back gets nothing more, and what came back is told to wait; another takes it, in its order.
    assert dispatcher.handle(RoomMade(now, {})) == ([Waiting(len(waiting))] if len(waiting) != waited else [])
    directed = Job(ME, 99, Kind("pkg:fn", "a", to=ONE), b"", NOW + 9.0)
    assert dispatcher.handle(Submitted([directed], now, {})) == [Settle([(99, Rejected(f"{ONE} is not there"))])]
    effects = dispatcher.handle(WorkerUp(TWO, 2, True, now, {}))
    assert sent(effects, TWO) == sorted(waiting)


@given(some_jobs(), MOMENTS)
def test_what_a_closing_worker_gives_back_has_not_been_run(given: Given, now: float) -> None:
    """So it is sent again whatever it is; and an idempotent one may still lose two workers before it is lost."""
    dispatcher, held, waiting, cancelled = given
    assume(held)
    wanted = [job for serial, job in held.items() if serial not in cancelled]
    in_vain: list[tuple[int, Outcome]] = [(job.serial, timed_out(job)) for job in wanted if now >= job.deadline]
    refused: list[tuple[int, Outcome]] = [
        (job.serial, Rejected(f"{ONE} is closing")) for job in wanted if job.kind.to is not None and now < job.deadline
    ]
    settled = {serial for serial, _ in in_vain + refused}
    again = {job.serial: job for job in wanted if job.serial not in settled}
    expected = [Occupy(1, 0, 0.0), *told(sorted(in_vain + refused))]
    assert dispatcher.handle(Answered(ONE, [(serial, None, 0.0) for serial in held], now)) == expected
    assert (dispatcher.late, dispatcher.waiting) == (len(cancelled), len(waiting) + len(again))
    event(f"{min(len(again), 2)} are sent again, {min(len(in_vain), 2)} came back in vain")

    third, fourth = Peer("worker-2", 2), Peer("worker-2", 3)
    left = {**waiting, **again}
    assert sent(dispatcher.handle(WorkerUp(TWO, 2, True, now, {})), TWO) == sorted(left)
    left = {serial: job for serial, job in left.items() if job.kind.idempotent and now < job.deadline}
    dispatcher.handle(WorkerDown(TWO, "signal 9", now, {}))
    assert sent(dispatcher.handle(WorkerUp(third, 2, True, now, {})), third) == sorted(left)
    dispatcher.handle(WorkerDown(third, "signal 9", now, {}))
    assert sent(dispatcher.handle(WorkerUp(fourth, 2, True, now, {})), fourth) == []
    dispatcher.check()


def is_learnt(expected_s: float, times_s: list[float]) -> bool:
    """Whether each of these times counted a fifth when it came, the first of them wholly, and nothing else did."""
    mean_s = times_s[0] if times_s else UNKNOWN_S
    for time_s in times_s[1:]:
        mean_s = 0.8 * mean_s + 0.2 * time_s
    return abs(expected_s - mean_s) < 2.0**-19


def sent(effects: list[Effect], worker: Peer) -> list[int]:
    """The serials of what is sent, each kind of it in its order."""
    sends = [effect for effect in effects if isinstance(effect, Send)]
    assert all(send.worker == worker for send in sends)
    for send in sends:
        serials = [job.serial for job in send.jobs]
        assert serials == sorted(serials)
    return sorted(job.serial for send in sends for job in send.jobs)


@given(some_jobs(), st.integers(1, 12), st.sampled_from([ONE, TWO, NOBODY]))
def test_who_answers_later_occupies_nobody(given: Given, serial: int, sender: Peer) -> None:
    dispatcher, held, _, _ = given
    known = held.get(serial) if sender == ONE else None
    expected = [Occupy(1, len(held), (len(held) - 1) * UNKNOWN_S)] if known is not None else []
    assert dispatcher.handle(AnswersLater(sender, serial)) == expected
    assert dispatcher.late == (known is None)
    for label in "ab":
        learnt = known is not None and label == known.kind.label
        assert dispatcher.expected_s(label) == (0.0 if learnt else UNKNOWN_S)
    dispatcher.check()


@given(some_jobs(), MOMENTS, st.booleans())
def test_a_death_loses_what_may_not_run_again(given: Given, now: float, replaced: bool) -> None:
    """An idempotent job runs a second time, unless nobody waits any more; and not a third time."""
    dispatcher, held, waiting, cancelled = given
    wanted = {serial: job for serial, job in held.items() if serial not in cancelled}
    again = {
        serial: job
        for serial, job in wanted.items()
        if job.kind.idempotent and job.kind.to is None and now < job.deadline
    }
    next_life = Peer(ONE.name, ONE.incarnation + 1)
    if replaced:
        effects = dispatcher.handle(WorkerUp(next_life, 1, False, now, {}))
    else:
        effects = dispatcher.handle(WorkerDown(ONE, "signal 9", now, {}))
    reason = f"{next_life} took its place" if replaced else "signal 9"
    assert effects[0] == Occupy(1, 0, 0.0)
    assert lost(effects) == {serial: WorkerLost(ONE, reason) for serial in wanted if serial not in again}
    total = len(waiting) + len(again)
    assert [effect for effect in effects if isinstance(effect, Waiting)] == ([Waiting(total)] if again else [])
    assert (dispatcher.reruns, dispatcher.late, dispatcher.waiting) == (len(again), 0, total)
    dispatcher.check()
    # Words of the dead change nothing, but are counted.
    words = [(serial, Returned(b"late", ONE, 0.1), 0.1) for serial in held]
    assert dispatcher.handle(Answered(ONE, words, now)) == []
    assert dispatcher.handle(WorkerDown(ONE, "again", now, {})) == []
    assert dispatcher.handle(WorkerUp(ONE, 1, True, now, {})) == []
    assert dispatcher.late == len(words)

    assert sent(dispatcher.handle(WorkerUp(TWO, 2, True, now, {})), TWO) == sorted([*waiting, *again])
    effects = dispatcher.handle(WorkerDown(TWO, "signal 11", now, {}))
    first_run = {serial for serial, job in waiting.items() if job.kind.idempotent and now < job.deadline}
    assert set(lost(effects)) == {*waiting, *again} - first_run
    assert set(lost(effects).values()) <= {WorkerLost(TWO, "signal 11")}
    assert (dispatcher.reruns, dispatcher.waiting) == (len(again) + len(first_run), len(first_run))
    event(f"{min(len(again), 2)} ran again")


def lost(effects: list[Effect]) -> dict[int, Outcome]:
    return {serial: outcome for effect in effects if isinstance(effect, Settle) for serial, outcome in effect.outcomes}
