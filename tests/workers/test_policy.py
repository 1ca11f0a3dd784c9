"""Which worker a job goes to."""

from __future__ import annotations

from copy import deepcopy

import pytest
from msgspec.structs import replace

from workers.jobs import Peer
from workers.policy import Limits, Room, _level, has_room, is_slow, least_expected

LIMITS = Limits(budget_s=0.002, stall_s=0.005, later_stall_s=0.5)
GRAIN_S = 2.0**-20
QUICK_S, SLOW_S = 0.0005, 0.05


def room(outstanding: int = 0, expected_s: float = 0.0, **more: object) -> Room:
    return Room(Peer("worker", 1), outstanding, expected_s, **more)


def share(count: int, *rooms: Room, expected_s: float = QUICK_S, reserve: bool = True, favourite: int = 0) -> list[int]:
    """How many of so many jobs each of the rooms gets; the rooms are left as they were."""
    before = deepcopy(rooms)
    shares = least_expected(expected_s, count, rooms, LIMITS, reserve, favourite)
    assert rooms == before
    return shares


def choose(*rooms: Room, expected_s: float = QUICK_S, reserve: bool = True, favourite: int = 0) -> int | None:
    """Which of the rooms gets a single job."""
    shares = share(1, *rooms, expected_s=expected_s, reserve=reserve, favourite=favourite)
    assert len(shares) == len(rooms)
    assert sum(shares) <= 1
    return shares.index(1) if any(shares) else None


def test_nobody_is_chosen_when_there_is_nobody() -> None:
    assert choose() is None


def test_the_least_expected_work_wins_even_with_more_jobs() -> None:
    assert choose(room(1, 0.0015), room(3, 0.0005), room(2, 0.0010)) == 1


def test_among_equals_the_fewest_jobs_win() -> None:
    assert choose(room(2, 0.0), room(1, 0.0)) == 1


def test_among_equals_another_process_goes_before_this_one() -> None:
    assert choose(room(myself=True), room()) == 1
    assert choose(room(myself=True)) == 0
    assert share(2, room(myself=True), room(), room()) == [0, 1, 1]


def test_a_brief_job_goes_to_one_that_is_awake_rather_than_to_one_that_is_idle() -> None:
    limits = replace(LIMITS, brief_s=0.0002)
    rooms = [room(), room(3, 0.00015), room()]
    assert least_expected(0.00002, 1, rooms, limits, True, 0) == [0, 1, 0]
    assert least_expected(0.00002, 1, rooms, LIMITS, True, 0) == [1, 0, 0], "where none is brief"
    assert least_expected(0.0002, 1, rooms, limits, True, 0) == [1, 0, 0], "one that takes as long as waking does"
    assert least_expected(0.0, 1, rooms, limits, True, 0) == [1, 0, 0], "one that occupies nobody"
    assert least_expected(0.00002, 1, [room(), room(3, 0.0002)], limits, True, 1) == [1, 0], "it has too much to do"


def test_brief_jobs_go_to_one_worker_until_it_has_something_to_do() -> None:
    limits = replace(LIMITS, brief_s=64 * GRAIN_S)
    assert least_expected(16 * GRAIN_S, 4, [room(), room()], limits, True, 1) == [0, 4]
    assert least_expected(16 * GRAIN_S, 6, [room(), room()], limits, True, 1) == [2, 4]
    assert least_expected(16 * GRAIN_S, 12, [room(), room()], limits, True, 1) == [6, 6], "and then to all alike"


def test_among_equals_the_favourite_wins() -> None:
    assert [choose(room(), room(), room(), favourite=one) for one in range(4)] == [0, 1, 2, 0]


@pytest.mark.parametrize(
    ("one", "expected"),
    [
        (room(), True),
        (room(1, 0.002), True),
        (room(1, 0.0021), False),
        (room(1, 0.001, still_s=0.005), True),
        (room(1, 0.001, still_s=0.006), False),
        (room(0, 0.0, still_s=3600.0), True),
        (room(5, 0.0, still_s=0.4), True),
        (room(5, 0.0, still_s=0.6), False),
        (room(0, 0.0, open=False), False),
    ],
    ids=[
        "idle",
        "within the budget",
        "beyond the budget",
        "progressing",
        "stalled",
        "idle for long",
        "all its jobs answer later",
        "its loop is stuck",
        "closed",
    ],
)
def test_who_has_room(one: Room, expected: bool) -> None:
    assert has_room(one, LIMITS) is expected
    assert (choose(one) == 0) is expected


def test_slow_is_what_an_almost_full_worker_cannot_become_with_quick_jobs_alone() -> None:
    assert not is_slow(2 * LIMITS.budget_s, LIMITS)
    assert is_slow(2 * LIMITS.budget_s + 1e-6, LIMITS)


def test_a_slow_job_leaves_one_worker_to_the_quick_ones() -> None:
    busy = room(1, SLOW_S)
    assert choose(room(), busy, expected_s=SLOW_S) is None
    assert choose(room(), busy, expected_s=QUICK_S) == 0
    assert choose(room(1, QUICK_S), room(), busy, expected_s=SLOW_S) == 1


def test_many_slow_jobs_leave_it_as_well() -> None:
    assert share(5, room(), room(), room(), expected_s=SLOW_S) == [0, 1, 1]
    assert share(5, room(), room(), room(), expected_s=SLOW_S, reserve=False) == [1, 1, 1]


def test_origins_that_choose_at_the_same_moment_leave_the_same_worker() -> None:
    """Neither sees the other's job yet."""
    assert {choose(room(), room(), expected_s=SLOW_S, favourite=one) for one in range(4)} == {1}
    assert {choose(room(), room(), room(), expected_s=SLOW_S, favourite=one) for one in range(4)} == {1, 2}
    assert choose(room(open=False), room(), room(), expected_s=SLOW_S) == 2, "who takes nothing is left to nobody"
    assert choose(room(), room(1, QUICK_S), expected_s=SLOW_S) == 1, "even though the one that is left is idle"
    assert choose(room(1, SLOW_S), room(), room(), expected_s=SLOW_S) in (1, 2)


def test_a_stuck_or_closed_worker_does_not_count_as_left_to_the_quick_ones() -> None:
    assert choose(room(), room(1, QUICK_S, still_s=1.0), expected_s=SLOW_S) is None
    assert choose(room(), room(open=False), expected_s=SLOW_S) is None
    busy, idle = room(1, SLOW_S), room()
    assert choose(busy, idle, room(1, QUICK_S), expected_s=SLOW_S) == 1
    assert choose(busy, idle, room(1, QUICK_S, still_s=1.0), expected_s=SLOW_S) is None
    assert choose(busy, idle, room(open=False), expected_s=SLOW_S) is None


def test_a_slow_job_takes_the_last_worker_when_it_has_waited_long_or_when_it_is_the_only_one() -> None:
    assert choose(room(), room(1, SLOW_S), expected_s=SLOW_S, reserve=False) == 0
    assert choose(room(), expected_s=SLOW_S) == 0


@pytest.mark.parametrize(
    ("quick_share", "busy", "chosen"),
    [(0.0, 0, 1), (0.0, 2, 2), (0.0, 3, None), (0.5, 1, 2), (0.5, 2, None), (1.0, 0, 3), (1.0, 1, None), (None, 3, 3)],
)
def test_the_share_that_is_left_to_the_quick_ones(quick_share: float | None, busy: int, chosen: int | None) -> None:
    rooms = [room(1, SLOW_S) for _ in range(busy)] + [room() for _ in range(4 - busy)]
    shares = least_expected(SLOW_S, 1, rooms, replace(LIMITS, quick_share=quick_share), True, 0)
    assert shares == [int(index == chosen) for index in range(4)]


# -- many at once -----------------------------------------------------------------------------------------------------


def test_many_are_levelled() -> None:
    assert share(6, room(), room()) == [3, 3]
    assert share(4, room(2, 2 * QUICK_S), room()) == [1, 3]
    assert share(3, room(3, 3 * QUICK_S), room()) == [0, 3]
    assert share(4, room(), room(), room(1, 0.0019), expected_s=0.0001) == [2, 2, 0], "what is fuller does not count"


def test_each_gets_what_its_budget_holds_and_the_rest_waits() -> None:
    assert share(100, room(), room(1, 0.0015), room(1, 0.1)) == [5, 2, 0]
    assert share(100) == []


def test_an_idle_worker_gets_one_however_slow_and_a_stalled_one_not_even_that() -> None:
    assert share(5, room(), room(1, QUICK_S, still_s=1.0), expected_s=SLOW_S, reserve=False) == [1, 0]


@pytest.mark.parametrize("still_s", [0.006, 0.1, 3600.0])
def test_one_that_was_idle_for_long_is_tried_with_one(still_s: float) -> None:
    """Whether it still moves is not known; what it does not begin, a second worker could."""
    assert share(8, room(still_s=still_s), room()) == [1, 5]
    assert share(2, room(still_s=still_s), room(1, 0.1)) == [1, 0]


STEP_S = 64 * GRAIN_S
"""Of this a budget holds 32 and a part."""


@pytest.mark.parametrize(
    ("count", "rooms", "shares"),
    [
        (8, [room(), room(), room()], [2, 2, 2]),
        (8, [room(9, 9 * STEP_S), room(3, 3 * STEP_S), room(1, STEP_S)], [0, 3, 5]),
        (5, [room(), room(3, 3 * STEP_S)], [4, 1]),
        (8, [room(1, 32 * STEP_S), room(open=False)], [1, 0]),
        (99, [room(), room(3, 3 * STEP_S), room(1, 0.1)], [33, 30, 0]),
        (8, [room(still_s=0.005), room(still_s=0.006)], [4, 1]),
        (99, [room(999, 0.0)], [1]),
        (8, [], []),
    ],
    ids=["level", "below the fullest", "one", "who has room", "the budget", "idle for long", "the most", "nobody"],
)
def test_levelling_leaves_only_what_is_broken_off(count: int, rooms: list[Room], shares: list[int]) -> None:
    """The rest is placed one by one and ends in the same place, so that its being small is all that this is for."""
    given = [0] * len(rooms)
    assert _level(STEP_S, count, deepcopy(rooms), LIMITS, given) == sum(shares)
    assert given == shares


def test_jobs_that_occupy_nobody_go_by_their_number() -> None:
    assert share(7, room(), room(3), expected_s=0.0) == [5, 2]


def test_nobody_gets_more_than_it_may_have() -> None:
    limits = replace(LIMITS, max_outstanding=5)
    assert least_expected(0.0, 20, [room(4), room(1)], limits, True, 0) == [1, 4]
    assert least_expected(GRAIN_S, 20, [room(4, GRAIN_S), room(1)], limits, True, 0) == [1, 4]
