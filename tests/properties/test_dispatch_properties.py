"""What a dispatcher shows its policy, does of what that says, and finds untrue of itself.

How jobs live and end is in `test_dispatch_machine`; this is what it cannot see from outside.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import pytest
from hypothesis import assume, event, given
from hypothesis import strategies as st
from msgspec.structs import replace

from workers.dispatch import Dispatcher
from workers.jobs import Job, Kind, Peer, Rejected, Returned
from workers.policy import Limits, Load, Room
from workers.stimuli import Answered, Effect, Occupy, RoomMade, Send, Settle, Submitted, Waiting, WorkerUp

ME = Peer("sip-1", 1)
NOW = 100.0
GRAIN_S = 2.0**-20
LIMITS = Limits(
    max_queued=50,
    max_outstanding=4,
    unknown_s=2.0**-6,
    budget_s=2.0**-9,
    patience_s=0.5,
    unknown_patience_s=0.125,
    quick_memory_s=1.0,
)


class Asked(NamedTuple):
    """What a policy was asked."""

    expected_s: float
    count: int
    rooms: list[Room]
    reserve: bool
    favourite: int


class Spy:
    """A policy that writes down what it is asked, gives the shares that it was told to, and then nothing more."""

    def __init__(self, *shares: Sequence[int]) -> None:
        self.asked: list[Asked] = []
        self.shares = list(shares)

    def __call__(
        self, expected_s: float, count: int, rooms: Sequence[Room], limits: Limits, reserve: bool, favourite: int
    ) -> Sequence[int]:
        assert limits is LIMITS
        self.asked.append(Asked(expected_s, count, [replace(room) for room in rooms], reserve, favourite))
        return self.shares.pop(0) if self.shares else [0] * len(rooms)


@dataclass(frozen=True)
class Worker:
    peer: Peer
    slot: int
    executes: bool
    held: int
    """How many jobs of this origin it has."""
    load: Load | None


QUICK_ATS = st.sampled_from([0.0, NOW - 1.0, NOW - 1.0 + 2.0**-10, NOW])


@st.composite
def some_workers(draw: st.DrawFn) -> list[Worker]:
    slots = draw(st.lists(st.integers(1, 9), unique=True, max_size=4))
    home, found = draw(st.integers(0, 5)), []
    for place, slot in enumerate(slots):
        load = Load(
            slot,
            draw(st.integers(0, 3)),
            draw(st.integers(0, 4096)) * GRAIN_S,
            NOW - draw(st.sampled_from([0.0, 0.25, 3.5])),
            draw(st.booleans()) and draw(st.booleans()),
            draw(st.booleans()),
            draw(QUICK_ATS),
        )
        peer = ME if place == home else Peer(f"worker-{slot}", draw(st.integers(1, 3)))
        seen = load if draw(st.integers(0, 4)) else None
        found.append(Worker(peer, slot, draw(st.integers(0, 4)) > 0, draw(st.integers(0, 4)), seen))
    return found


LABELS = {"quick": 2.0**-12, "slow": 2.0**-4, "later": 0.0}


class House(NamedTuple):
    dispatcher: Dispatcher
    spy: Spy
    serial: int
    """The last that was used."""


def house(workers: list[Worker], favourite: int | None, *shares: Sequence[int]) -> House:
    """A dispatcher that knows its labels, and whose workers hold quick jobs of its own."""
    spy = Spy(*shares)
    more = {} if favourite is None else {"favourite": favourite}
    dispatcher = Dispatcher(ME, LIMITS, policy=spy, **more)
    serial = 0
    teacher = Peer("teacher", 1)
    dispatcher.handle(WorkerUp(teacher, 99, False, NOW, {}))
    for label, time_s in LABELS.items():
        serial += 1
        dispatcher.handle(Submitted([job(serial, label, to=teacher)], NOW, {}))
        answer = (serial, Returned(b"", teacher, time_s), time_s)
        dispatcher.handle(Answered(teacher, [answer], NOW))
    for one in workers:
        dispatcher.handle(WorkerUp(one.peer, one.slot, one.executes, NOW, {}))
        for _ in range(one.held):
            serial += 1
            dispatcher.handle(Submitted([job(serial, "quick", to=one.peer)], NOW, {}))
    assert not spy.asked, "directed jobs are not for a policy to place"
    return House(dispatcher, spy, serial)


def job(serial: int, label: str = "quick", **more: object) -> Job:
    return Job(ME, serial, Kind("pkg:fn", label, **more), b"payload", NOW + 5.0)


def rooms_of(workers: list[Worker]) -> list[Room]:
    """All that take jobs, by slot, with everybody's load; those that are about to end only where all are."""
    executing = sorted((one for one in workers if one.executes), key=lambda one: one.slot)
    awake = [one for one in executing if not (one.load and one.load.draining)]
    return [room_of(one) for one in awake or executing]


def room_of(one: Worker) -> Room:
    load = one.load or Load(one.slot, 0, 0.0, NOW)
    outstanding, expected_s = one.held + load.outstanding, one.held * LABELS["quick"] + load.expected_s
    usable = outstanding < LIMITS.max_outstanding and not load.paused
    return Room(one.peer, outstanding, expected_s, NOW - load.progressed_at, usable, one.peer == ME)


@given(
    some_workers(),
    st.sampled_from([*LABELS, "new"]),
    st.integers(1, 4),
    st.integers(0, 9),
    st.sampled_from([0.0, 0.125, 0.125 - GRAIN_S, 0.5, 0.5 - GRAIN_S]),
)
def test_a_policy_is_shown_what_all_have_on_every_worker_that_takes_jobs(
    workers: list[Worker], label: str, count: int, favourite: int, waited_s: float
) -> None:
    dispatcher, spy, serial = house(workers, favourite)
    loads = {one.slot: one.load for one in workers if one.load is not None}
    jobs = [job(serial + number, label) for number in range(1, count + 1)]
    before = NOW - waited_s
    assert dispatcher.handle(Submitted(jobs, before, loads)) == [Waiting(count)]
    spy.asked.clear()
    assert dispatcher.handle(RoomMade(NOW, loads)) == []

    slow, expected_s = label in ("slow", "new"), LABELS.get(label, LIMITS.unknown_s)
    patience_s = LIMITS.unknown_patience_s if label == "new" else LIMITS.patience_s
    lately = any(load.quick_at > NOW - 1.0 for load in loads.values())
    reserve = slow and lately and waited_s < patience_s
    expected = Asked(expected_s, 1 if slow else count, rooms_of(workers), reserve, favourite)
    assert spy.asked == [expected]
    event(f"{'slow' if slow else 'quick'}, {'one must be left free' if reserve else 'all may be used'}")

    # The first look, when they were handed in, was one at the same workers.
    dispatcher, spy, serial = house(workers, favourite)
    dispatcher.handle(Submitted(jobs, NOW, loads))
    reserve = slow and lately
    assert spy.asked
    assert all(one == expected._replace(reserve=reserve, count=one.count) for one in spy.asked)


@given(some_workers(), st.integers(1, 4), st.data())
def test_what_a_policy_gives_out_is_sent_and_nothing_else(workers: list[Worker], count: int, data) -> None:
    rooms = rooms_of(workers)
    shares = data.draw(st.lists(st.integers(-1, 3), min_size=max(0, len(rooms) - 1), max_size=len(rooms) + 1))
    dispatcher, _, serial = house(workers, 0, shares)
    loads = {one.slot: one.load for one in workers if one.load is not None}
    jobs = [job(serial + number) for number in range(1, count + 1)]
    if len(shares) != len(rooms) or sum(shares) > count or any(share < 0 for share in shares):
        said = f"the policy gave out {shares} of {count} jobs to {len(rooms)} workers"
        with pytest.raises(ValueError, match=f"^{re.escape(said)}$"):
            dispatcher.handle(Submitted(jobs, NOW, loads))
        event("it does not add up")
        return
    effects = dispatcher.handle(Submitted(jobs, NOW, loads))
    assert effects == [*shown(workers, rooms, shares), *told(count - sum(shares)), *sent(rooms, shares, jobs)]
    dispatcher.check()
    event(f"{min(sum(share > 0 for share in shares), 2)} workers got some")


def shown(workers: list[Worker], rooms: list[Room], shares: Sequence[int]) -> list[Effect]:
    mine = {one.peer: one for one in workers}
    held = {room.worker: mine[room.worker].held + share for room, share in zip(rooms, shares, strict=True)}
    given = [room.worker for room, share in zip(rooms, shares, strict=True) if share]
    return [Occupy(mine[peer].slot, held[peer], held[peer] * LABELS["quick"]) for peer in given]


def told(waiting: int) -> list[Effect]:
    return [Waiting(waiting)] if waiting else []


def sent(rooms: list[Room], shares: Sequence[int], jobs: list[Job]) -> list[Effect]:
    """Each share keeps the order of the jobs."""
    found, left = [], list(jobs)
    for room, share in zip(rooms, shares, strict=True):
        if share:
            found.append(Send(room.worker, left[:share], True))
            left = left[share:]
    return found


@given(some_workers(), st.integers(0, 3), st.none() | st.integers(0, 9))
def test_who_was_used_last_is_the_favourite(workers: list[Worker], which: int, favourite: int | None) -> None:
    rooms = rooms_of(workers)
    assume(which < len(rooms))
    loads = {one.slot: one.load for one in workers if one.load is not None}
    for count in (1, 2):
        dispatcher, spy, serial = house(workers, favourite, [int(place == which) for place in range(len(rooms))])
        dispatcher.handle(Submitted([job(serial + number) for number in range(1, count + 1)], NOW, loads))
        dispatcher.handle(Submitted([job(serial + 9)], NOW, loads))
        first, *others = spy.asked
        assert first.favourite == (favourite or 0), "the first of them where none is named"
        assert {one.favourite for one in others} == {which}


@given(st.integers(0, 5), st.integers(0, 4), st.integers(0, 4))
def test_a_peer_is_sent_only_so_many_directed_jobs(most: int, before: int, more: int) -> None:
    dispatcher, peer = Dispatcher(ME, replace(LIMITS, max_queued=most)), Peer("worker-1", 1)
    dispatcher.handle(WorkerUp(peer, 1, False, NOW, {}))
    for serial in range(1, before + more + 1):
        effects = dispatcher.handle(Submitted([job(serial, to=peer)], NOW, {}))
        if serial <= most:
            expected_s = serial * LIMITS.unknown_s
            assert effects == [Occupy(1, serial, expected_s), Send(peer, [job(serial, to=peer)], True)]
        else:
            assert effects == [Settle([(serial, Rejected("queue is full"))])]


@given(st.text(max_size=9) | st.none() | st.integers())
def test_what_is_no_stimulus_fails_loudly(other: object) -> None:
    with pytest.raises(AssertionError, match=f"got: {re.escape(repr(other))}$"):
        Dispatcher(ME, LIMITS).handle(other)


# -- when it does not even look --------------------------------------------------------------------------------------


@given(
    st.sampled_from(["quick", "slow", "later"]), st.sampled_from(["quick", "slow", "later", "new"]), st.integers(1, 3)
)
def test_only_a_quick_job_that_slow_ones_would_keep_is_looked_for_before_it_is_turned_away(
    waits: str, comes: str, most: int
) -> None:
    """A look costs more than all the rest; for the others it would find what was just found."""
    dispatcher, spy, serial = house([], 0)
    loads: dict[int, Load] = {}
    waiting = [job(serial + number, waits) for number in range(1, LIMITS.max_queued + 1)]
    dispatcher.handle(Submitted(waiting, NOW, loads))
    spy.asked.clear()
    late = [job(waiting[-1].serial + number, comes) for number in range(1, most + 1)]
    rejected = [(each.serial, Rejected("queue is full")) for each in late]
    assert dispatcher.handle(Submitted(late, NOW, loads)) == [Settle(rejected)]
    is_quick = comes in ("quick", "later")
    assert len(spy.asked) == (most if waits == "slow" and is_quick else 0)


@given(some_workers(), st.integers(0, 3), st.sampled_from(["quick", "later"]))
def test_a_quick_job_goes_past_slow_ones_that_fill_the_queue(workers: list[Worker], which: int, label: str) -> None:
    rooms = rooms_of(workers)
    assume(which < len(rooms))
    dispatcher, spy, serial = house(workers, 0)
    loads = {one.slot: one.load for one in workers if one.load is not None}
    slow = [job(serial + number, "slow") for number in range(1, LIMITS.max_queued + 1)]
    assert dispatcher.handle(Submitted(slow, NOW, loads)) == [Waiting(LIMITS.max_queued)]
    spy.asked.clear()
    spy.shares.append([int(place == which) for place in range(len(rooms))])
    late, taker = job(slow[-1].serial + 1, label), next(one for one in workers if one.peer == rooms[which].worker)
    expected_s = taker.held * LABELS["quick"] + LABELS[label]
    assert dispatcher.handle(Submitted([late], NOW, loads)) == [
        Occupy(taker.slot, taker.held + 1, expected_s),
        Send(taker.peer, [late], label == "quick"),
    ]
    assert spy.asked == [Asked(LABELS[label], 1, rooms, False, 0)]


@given(st.lists(st.tuples(st.sampled_from([*LABELS, "new"]), st.booleans()), min_size=1, max_size=12))
def test_it_looks_again_only_when_something_may_have_changed(steps: list[tuple[str, bool]]) -> None:
    """That is when the loads are others, or a job begins to wait that is of another kind than those that do."""
    dispatcher, spy, serial = house([Worker(Peer("worker-1", 1), 1, True, 0, None)], 0)
    loads, waiting = {1: Load(1, 1, 1.0, NOW)}, set()
    for label, same in steps:
        serial += 1
        if not same:
            loads = dict(loads)
        spy.asked.clear()
        effects = dispatcher.handle(Submitted([job(serial, label)], NOW, loads))
        assert effects == [Waiting(dispatcher.waiting)]
        assert bool(spy.asked) == (not same or label not in waiting or not waiting)
        waiting.add(label)


# -- what it finds untrue of itself -----------------------------------------------------------------------------------


class Corrupted:
    """A dispatcher with jobs at its workers and others that wait, and every way in which that could be untrue."""

    def __init__(self, held: int, waiting: int, draw: Callable[[st.SearchStrategy], int]) -> None:
        self.dispatcher = Dispatcher(ME, LIMITS)
        peers = [Peer("worker-1", 1), Peer("worker-2", 1)]
        for slot, peer in enumerate(peers, start=1):
            self.dispatcher.handle(WorkerUp(peer, slot, False, NOW, {}))
        serials = range(1, held + 1)
        self.dispatcher.handle(Submitted([job(serial, to=peers[0]) for serial in serials], NOW, {}))
        waits = range(held + 1, held + waiting + 1)
        self.dispatcher.handle(Submitted([job(serial, "slow") for serial in waits], NOW, {}))
        [self.lane] = self.dispatcher._lanes.values()
        self.hands, self.others = self.dispatcher._workers.values()
        self.held, self.waits = draw(st.sampled_from(serials)), draw(st.sampled_from(waits[:-1]))
        self.dispatcher.check()

    def a_lane_begins(self) -> None:
        self.dispatcher._lane(job(99, "other").kind)

    def a_lane_is_moved(self) -> None:
        self.dispatcher._lanes[job(99, "other").kind] = self.dispatcher._lanes.pop(self.lane.kind)

    def a_count_is_off(self) -> None:
        self.dispatcher._waiting -= 1

    def one_that_waits_is_sent(self) -> None:
        self.lane.entries[self.waits].hands = self.hands

    def one_that_waits_is_settled(self) -> None:
        self.lane.entries[self.waits].settled = True

    def one_overtakes(self) -> None:
        self.lane.entries.move_to_end(self.waits)

    def one_changes_its_kind(self) -> None:
        self.lane.entries[self.waits].job = job(self.waits, "other")

    def one_is_held_twice(self) -> None:
        self.others.jobs[self.held] = self.hands.jobs[self.held]

    def one_that_is_held_waits(self) -> None:
        self.hands.jobs[self.waits] = self.lane.entries[self.waits]

    def a_worker_changes_its_name(self) -> None:
        self.hands.peer = self.others.peer

    def one_changes_its_serial(self) -> None:
        self.hands.jobs[99] = self.hands.jobs.pop(self.held)

    def one_changes_hands(self) -> None:
        self.hands.jobs[self.held].hands = self.others

    def a_job_gets_heavier(self) -> None:
        self.hands.jobs[self.held].expected_s += GRAIN_S


UNTRUTHS = [
    (Corrupted.a_lane_begins, "an empty lane"),
    (Corrupted.a_lane_is_moved, "a lane stands for another kind"),
    (Corrupted.a_count_is_off, "the waiting are miscounted"),
    (Corrupted.one_that_waits_is_sent, "sent or settled, and yet it waits"),
    (Corrupted.one_that_waits_is_settled, "sent or settled, and yet it waits"),
    (Corrupted.one_overtakes, "a lane lost its order"),
    (Corrupted.one_changes_its_kind, "a job waits among another kind"),
    (Corrupted.one_is_held_twice, "a job is in two places"),
    (Corrupted.one_that_is_held_waits, "a job is in two places"),
    (Corrupted.a_worker_changes_its_name, "a worker stands under another's name"),
    (Corrupted.one_changes_its_serial, "a job has another's serial"),
    (Corrupted.one_changes_hands, "a job does not know who holds it"),
    (Corrupted.a_job_gets_heavier, "the load does not add up"),
]


@pytest.mark.parametrize(("corrupt", "found"), UNTRUTHS)
@given(st.integers(1, 4), st.integers(2, 5), st.data())
def test_a_check_finds_what_is_untrue(corrupt, found: str, held: int, waiting: int, data: st.DataObject) -> None:
    """Of whichever job among however many."""
    corrupted = Corrupted(held, waiting, data.draw)
    corrupt(corrupted)
    with pytest.raises(AssertionError, match=f"^{found}$"):
        corrupted.dispatcher.check()
