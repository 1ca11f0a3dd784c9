"""`layby bench --compare`: what is called a change, and what is not."""

from __future__ import annotations

from typing import Any

from hypothesis import assume, event, given
from hypothesis import strategies as st

from runtime.bench.compare import FLOOR, KNEE, UNKNOWN, compared
from runtime.bench.plan import Cell
from runtime.bench.statistics import Range, range_of

CELL = Cell("async", 4, 50.0, 0.05)
VALUES = st.lists(st.floats(1.0, 1e5), min_size=1, max_size=5)


def judged(old: list[float], new: list[float], figure: str = "CPU s", **more: Any) -> str:
    return compared(CELL, None, figure, ranged(old), ranged(new), **more).change


def ranged(values: list[float]) -> Range:
    found = range_of(values)
    assert found is not None
    return found


@given(VALUES)
def test_the_same_is_no_change(values: list[float]) -> None:
    assert judged(values, values) == "none"


@given(VALUES, VALUES)
def test_what_is_worse_in_one_direction_is_better_in_the_other(old: list[float], new: list[float]) -> None:
    there = judged(old, new)
    event(there)
    assert judged(new, old) == {"better": "worse", "worse": "better", "none": "none"}[there]
    assert judged(old, new, more_is_better=True) == judged(new, old)


@given(VALUES, VALUES)
def test_runs_that_lie_among_those_of_before_are_no_change(old: list[float], new: list[float]) -> None:
    assume(min(new) <= max(old) and min(old) <= max(new))
    assert judged(old, new) == "none"


@given(VALUES, st.floats(1.0, 100.0))
def test_a_change_is_one_beyond_the_noise_of_either_side(old: list[float], factor: float) -> None:
    new = [value * factor for value in old]
    found = compared(CELL, None, "CPU s", ranged(old), ranged(new))
    assume(abs(factor / found.noise - 1) > 1e-9)
    noise = ranged(old).noise
    assert found.noise >= (UNKNOWN if noise is None else FLOOR)
    assert found.change == ("worse" if factor > found.noise and min(new) > max(old) else "none")


def test_what_was_measured_once_may_have_been_anything_within_a_half() -> None:
    assert judged([100.0], [149.0]) == "none"
    assert judged([100.0], [151.0]) == "worse"


def test_latencies_that_differ_by_less_than_timers_do_are_no_change() -> None:
    assert judged([0.10, 0.10, 0.10], [0.14, 0.14, 0.14], "fast p50, ms") == "none"
    assert judged([0.10, 0.10, 0.10], [0.16, 0.16, 0.16], "fast p50, ms") == "worse"


def test_a_knee_is_not_known_more_closely_than_it_is_looked_for() -> None:
    assert judged([1000.0] * 3, [1190.0] * 3, KNEE, more_is_better=True) == "none"
    assert judged([1000.0] * 3, [1210.0] * 3, KNEE, more_is_better=True) == "better"
