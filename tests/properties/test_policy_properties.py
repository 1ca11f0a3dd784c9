"""Which worker a job goes to: told by a plain rule for one job, which many at once must come to as well.

Work, budgets and stalls are drawn so that they often meet exactly.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from fractions import Fraction
from typing import NamedTuple

from hypothesis import event, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from workers.jobs import Peer
from workers.policy import Limits, Room, _level, has_room, is_progressing, is_slow, least_expected, reserved

GRAIN_S = 2.0**-20
BUDGET, STALL_S, LATER_STALL_S = 2048, 2.0**-8, 0.5
TINY_S = 2.0**-30


class Case(NamedTuple):
    """What `least_expected` is asked."""

    expected_s: float
    count: int
    rooms: list[Room]
    limits: Limits
    reserve: bool
    favourite: int


GRAINS = st.sampled_from([0, 1, BUDGET - 1, BUDGET, BUDGET + 1, 2 * BUDGET, 2 * BUDGET + 1]) | st.integers(0, 5000)
SECONDS = GRAINS.map(lambda grains: grains * GRAIN_S)
"""As the board counts: sums and differences are exact."""
STILL_S = st.sampled_from([0.0, 0.0, STALL_S, STALL_S + TINY_S, LATER_STALL_S, LATER_STALL_S + TINY_S, 100.0])
SHARES = st.sampled_from([None, 0.0, 0.25, 0.5, 0.75, 1.0])


@st.composite
def some_limits(draw: st.DrawFn) -> Limits:
    return Limits(
        budget_s=BUDGET * GRAIN_S,
        stall_s=STALL_S,
        later_stall_s=LATER_STALL_S,
        max_outstanding=draw(st.integers(1, 40)),
        quick_share=draw(SHARES),
        brief_s=draw(st.sampled_from([0.0, 0.0, 50 * GRAIN_S, 400 * GRAIN_S, 2 * BUDGET * GRAIN_S])),
    )


@st.composite
def some_rooms(draw: st.DrawFn, limits: Limits) -> list[Room]:
    most, rooms = limits.max_outstanding, []
    for number in range(draw(st.integers(0, 6))):
        outstanding = draw(st.just(0) | st.integers(0, most) | st.integers(max(0, most - 2), most))
        expected_s = draw(st.just(0.0) | SECONDS) if outstanding else 0.0
        usable = draw(st.integers(0, 3)) > 0 and outstanding < most
        peer, myself = Peer(f"w-{number}", 1), draw(st.booleans())
        rooms.append(Room(peer, outstanding, expected_s, draw(STILL_S), usable, myself))
    if rooms and draw(st.integers(0, 2)) == 0:  # so that only who they are tells them apart
        first = rooms[0]
        alike = first.outstanding, first.expected_s, first.still_s, first.open
        rooms = [Room(room.worker, *alike, room.myself) for room in rooms]
    return rooms


@st.composite
def some_case(draw: st.DrawFn, most: int = 60) -> Case:
    limits = draw(some_limits())
    few, quick, slow = st.integers(1, 60), st.integers(1, 600), st.integers(2 * BUDGET + 1, 6000)
    grains = draw(st.one_of(st.just(0), few, quick, slow, slow, GRAINS))
    count = draw(st.integers(1, most) | st.integers(1, min(most, 4)))
    reserve, favourite = draw(st.booleans()), draw(st.integers(0, 9))
    return Case(grains * GRAIN_S, count, draw(some_rooms(limits)), limits, reserve, favourite)


@st.composite
def some_brief_case(draw: st.DrawFn) -> Case:
    """Jobs that take less than waking a worker does, and workers of which some have just as much to do as that."""
    brief = draw(st.sampled_from([12, 50, 60]))
    grains = draw(st.sampled_from([1, 2, 3, 5, 6, 10, 12, brief - 1, brief, brief + 1]))
    budget = draw(st.sampled_from([brief // 2, brief, 3 * brief, BUDGET]))
    limits = Limits(
        budget_s=budget * GRAIN_S,
        stall_s=STALL_S,
        later_stall_s=LATER_STALL_S,
        max_outstanding=draw(st.integers(1, 60)),
        quick_share=draw(SHARES),
        brief_s=brief * GRAIN_S,
    )
    rooms = []
    for number in range(draw(st.integers(1, 4))):
        work = draw(st.sampled_from([0, 0, 1, brief - grains, brief - 1, brief, brief, brief + 1, 2 * brief]))
        outstanding = draw(st.integers(1, 2)) if work > 0 else 0
        open_, myself = outstanding < limits.max_outstanding, draw(st.booleans())
        still_s = draw(st.sampled_from([0.0, 0.0, 0.0, STALL_S + TINY_S]))
        rooms.append(Room(Peer(f"w-{number}", 1), outstanding, max(work, 0) * GRAIN_S, still_s, open_, myself))
    count = draw(st.integers(1, 4) | st.integers(1, 80))
    return Case(grains * GRAIN_S, count, rooms, limits, draw(st.booleans()), draw(st.integers(0, 4)))


# -- the rule for one job, written down a second time -----------------------------------------------------------------


def moves(room: Room, limits: Limits) -> bool:
    return room.still_s <= (limits.stall_s if room.expected_s else limits.later_stall_s)


def takes_with(room: Room, most_s: float, limits: Limits) -> bool:
    """Whether a worker is idle, or moves and has no more than so much to do."""
    return room.open and (room.outstanding == 0 or (moves(room, limits) and room.expected_s <= most_s))


def left_to_quick_ones(workers: int, share: float | None) -> int:
    if share is None or workers < 2:
        return 0
    return min(workers - 1, max(1, Fraction(share) * workers // 1))


def rightful(case: Case) -> int | None:
    """Who gets one such job."""
    expected_s, _, rooms, limits, reserve, favourite = case
    slow = expected_s > 2 * limits.budget_s
    free = left_to_quick_ones(len(rooms), limits.quick_share) if reserve and slow else 0
    usable = [index for index, room in enumerate(rooms) if room.open]
    able = [index for index in usable[free:] if takes_with(rooms[index], limits.budget_s, limits)]
    turn = [(favourite + step) % len(rooms) for step in range(len(rooms))]
    best = min(able, key=lambda index: (claim(rooms[index], case), turn.index(index)), default=None)
    quick_ones = [index for index in usable if index != best and takes_with(rooms[index], 2 * limits.budget_s, limits)]
    return best if len(quick_ones) >= free else None


def claim(room: Room, case: Case) -> tuple[float, ...]:
    """What goes first: the least work, then the fewest jobs; a brief job minds neither where little is to do."""
    brief_s = case.limits.brief_s
    if 0.0 < case.expected_s < brief_s and room.expected_s < brief_s:
        return (brief_s, 0, room.myself, room.expected_s == 0.0)
    return (room.expected_s, room.outstanding, room.myself)


def give(room: Room, jobs: int, case: Case) -> None:
    room.outstanding += jobs
    room.expected_s += jobs * case.expected_s
    room.open = room.open and room.outstanding < case.limits.max_outstanding


def one_by_one(case: Case) -> tuple[list[int], list[Room]]:
    """The rule, asked anew for each job with what the ones before it left."""
    rooms, shares = deepcopy(case.rooms), [0] * len(case.rooms)
    for _ in range(case.count):
        chosen = rightful(case._replace(rooms=rooms))
        if chosen is None:
            break
        give(rooms[chosen], 1, case)
        shares[chosen] += 1
    return shares, rooms


def placed(rooms: Sequence[Room], shares: Sequence[int], case: Case) -> list[Room]:
    after = list(deepcopy(rooms))
    for room, jobs in zip(after, shares, strict=True):
        give(room, jobs, case)
    return after


# -- what is held -----------------------------------------------------------------------------------------------------


@settings(max_examples=400)
@given(some_case(most=1) | some_brief_case().map(lambda case: case._replace(count=1)))
def test_one_job_goes_to_the_rightful_one(case: Case) -> None:
    before = deepcopy(case.rooms)
    shares = list(least_expected(*case))
    assert case.rooms == before, "the rooms are left as they are"
    chosen = rightful(case)
    assert shares == [int(index == chosen) for index in range(len(case.rooms))]
    event("nobody" if chosen is None else "the favourite" if chosen == case.favourite else "another")


@settings(max_examples=800)
@given(some_case() | some_brief_case())
def test_placing_many_at_once_ends_where_placing_them_one_by_one_ends(case: Case) -> None:
    before = deepcopy(case.rooms)
    shares = list(least_expected(*case))
    assert case.rooms == before, "the rooms are left as they are"
    alone, reached = one_by_one(case)
    assert all(jobs >= 0 for jobs in shares)
    assert sum(shares) == sum(alone)
    assert loads(placed(case.rooms, shares, case)) == loads(reached)
    levelled = case.count > 3 and 0.0 < case.expected_s <= 2 * case.limits.budget_s
    assert levelled or shares == alone
    for room, jobs in zip(case.rooms, shares, strict=True):
        assert not jobs or takes_with(room, case.limits.budget_s, case.limits), "given to one without room"
        assert room.outstanding + jobs <= max(case.limits.max_outstanding, room.outstanding)
        assert jobs < 2 or room.expected_s + (jobs - 1) * case.expected_s <= case.limits.budget_s, "over its budget"
    event(f"{'all' if sum(shares) == case.count else 'some' if any(shares) else 'none'} placed")
    event("levelled" if levelled else "one by one")


def loads(rooms: list[Room]) -> list[tuple[float, bool]]:
    return sorted((room.expected_s, room.outstanding > 0) for room in rooms)


@settings(max_examples=400)
@given(some_case())
def test_levelling_gives_nobody_too_much_and_leaves_each_less_than_a_job(case: Case) -> None:
    """What is left is placed one by one, so that its being little is all that levelling is for."""
    limits = case.limits
    if not 0.0 < case.expected_s <= 2 * limits.budget_s:
        return
    limits = replace(limits, brief_s=0.0)
    case = case._replace(limits=limits)
    rooms, shares = deepcopy(case.rooms), [0] * len(case.rooms)
    given_out = _level(case.expected_s, case.count, rooms, limits, shares)
    assert given_out == sum(shares) <= case.count
    assert rooms == placed(case.rooms, shares, case), "the rooms show what was given"
    alone, _ = one_by_one(case)
    assert all(jobs <= alone_jobs for jobs, alone_jobs in zip(shares, alone, strict=True)), "more than its due"
    able = [index for index, room in enumerate(case.rooms) if takes_with(room, limits.budget_s, limits)]
    with_room = [index for index in able if takes_with(rooms[index], limits.budget_s, limits)]
    if with_room == able and all(case.rooms[index].still_s <= limits.stall_s for index in able):
        assert case.count - given_out < max(len(able), 1) or not able, "more is left than was broken off"
        event("nobody at a limit")


@given(some_case(), SECONDS)
def test_what_is_told_of_one_worker(case: Case, expected_s: float) -> None:
    limits = case.limits
    assert is_slow(expected_s, limits) == (expected_s > 2 * limits.budget_s)
    for room in case.rooms:
        assert is_progressing(room, limits) == moves(room, limits)
        assert has_room(room, limits) == takes_with(room, limits.budget_s, limits)


@given(st.integers(0, 40), SHARES | st.integers(0, 32).map(lambda number: number / 32))
def test_how_many_workers_are_left_to_quick_jobs(workers: int, share: float | None) -> None:
    assert reserved(workers, share) == left_to_quick_ones(workers, share)
