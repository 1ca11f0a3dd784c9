"""Which worker a job goes to."""

from __future__ import annotations

import pytest

from workers.jobs import Peer
from workers.policy import Limits, Room, has_room, is_slow, least_expected

LIMITS = Limits(budget_s=0.002, stall_s=0.005, later_stall_s=0.5)
QUICK_S, SLOW_S = 0.0005, 0.05


def room(outstanding: int = 0, expected_s: float = 0.0, **more: object) -> Room:
    return Room(Peer("worker", 1), outstanding, expected_s, **more)


def choose(*rooms: Room, expected_s: float = QUICK_S, reserve: bool = True, turn: int = 0) -> int | None:
    return least_expected(expected_s, rooms, LIMITS, reserve, turn)


def test_nobody_is_chosen_when_there_is_nobody() -> None:
    assert choose() is None


def test_the_least_expected_work_wins_even_with_more_jobs() -> None:
    assert choose(room(1, 0.0015), room(3, 0.0005), room(2, 0.0010)) == 1


def test_among_equals_the_fewest_jobs_win() -> None:
    assert choose(room(2, 0.0), room(1, 0.0)) == 1


def test_among_equals_another_process_goes_before_this_one() -> None:
    assert choose(room(myself=True), room()) == 1
    assert choose(room(myself=True)) == 0


def test_equals_take_turns() -> None:
    assert [choose(room(), room(), room(), turn=turn) for turn in range(4)] == [0, 1, 2, 0]


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
    assert choose(room(), room(1, QUICK_S), busy, expected_s=SLOW_S) == 0


def test_a_stuck_or_closed_worker_does_not_count_as_left_to_the_quick_ones() -> None:
    assert choose(room(), room(1, QUICK_S, still_s=1.0), expected_s=SLOW_S) is None
    assert choose(room(), room(open=False), expected_s=SLOW_S) is None


def test_a_slow_job_takes_the_last_worker_when_it_has_waited_long_or_when_it_is_the_only_one() -> None:
    assert choose(room(), room(1, SLOW_S), expected_s=SLOW_S, reserve=False) == 0
    assert choose(room(), expected_s=SLOW_S) == 0
