"""`layby bench`: the search for the knee, against servers that are a plain rule."""

from __future__ import annotations

import math
from typing import Any

from hypothesis import event, given
from hypothesis import strategies as st
from msgspec.structs import replace

from runtime.bench.knee import FACTOR, FEW, IN_TIME, STEP, WITHIN, Limits, Search, judged, limits_after
from runtime.bench.results import Knee, Point, Verdict
from runtime.bench.statistics import Histogram, latency_of

CAPACITY = st.floats(1, 200_000)
FIRST = st.floats(1, 1_000)
TOPS = st.floats(1_000, 100_000)
MOST_LOADS = 60


@given(CAPACITY, FIRST, TOPS, st.booleans())
def test_the_knee_of_a_server_with_one_capacity_lies_between_what_held_and_what_broke(
    capacity: float, first: float, top: float, certain: bool
) -> None:
    search, offered = Search(first, top), []
    while (rate := search.next_rate()) is not None:
        offered.append(rate)
        search.note(rate, "within" if rate <= capacity else "over", certain)
        search.check()
        assert len(offered) < MOST_LOADS
    knee = search.knee()
    assert knee.held_per_s <= min(capacity, top)
    if knee.broke_per_s is None:
        event("the top held")
        assert (knee.limit, knee.held_per_s) == ("top", top)
        assert capacity >= top
    elif knee.held_per_s:
        event("found")
        assert capacity < knee.broke_per_s <= knee.held_per_s * WITHIN * 1.000001
    else:
        event("nothing held")
        assert capacity < knee.broke_per_s
        assert knee.broke_per_s < max(2.0, first / 16)
    # A doubted rate is offered twice, and a certain one once.
    broken = [rate for rate in offered if rate > capacity]
    assert len(broken) == len(set(broken)) * (1 if certain else 2)
    assert [rate for rate in offered if rate <= capacity] == sorted({rate for rate in offered if rate <= capacity})


@given(FIRST, TOPS, st.lists(st.tuples(st.sampled_from(["within", "over", "generator"]), st.booleans()), min_size=1))
def test_the_search_ends_whatever_the_loads_say(first: float, top: float, verdicts: list[tuple[Verdict, bool]]) -> None:
    search, count = Search(first, top), 0
    while (rate := search.next_rate()) is not None:
        assert 0 < rate <= top
        verdict, certain = verdicts[count % len(verdicts)]
        search.note(rate, verdict, certain)
        search.check()
        count += 1
        assert count < 2 * MOST_LOADS
    assert search.next_rate() is None


@given(CAPACITY, st.lists(st.booleans(), min_size=MOST_LOADS, max_size=MOST_LOADS))
def test_one_hiccup_at_a_rate_is_no_knee(capacity: float, hiccups: list[bool]) -> None:
    search, seen = Search(100, 32_000), set()
    while (rate := search.next_rate()) is not None:
        hiccup = hiccups[len(seen)] and rate not in seen
        seen.add(rate)
        search.note(rate, "over" if rate > capacity or hiccup else "within", certain=False)
    knee = search.knee()
    assert knee.broke_per_s is None or knee.broke_per_s > capacity


def test_a_generator_that_is_late_twice_at_one_rate_ends_the_search_and_once_does_not() -> None:
    search = Search(250, 32_000)
    for verdict, following in (("within", 500), ("generator", 500), ("within", 1000), ("generator", 1000)):
        search.note(search.next_rate() or 0, verdict)  # type: ignore[arg-type]
        assert search.next_rate() == following
    search.note(1000, "generator")
    assert search.next_rate() is None
    assert search.knee() == Knee(500, 1000, "generator")


def test_it_doubles_and_then_halves_the_gap() -> None:
    search, offered = Search(250, 32_000), []
    while (rate := search.next_rate()) is not None:
        offered.append(round(rate))
        search.note(rate, "within" if rate <= 2_900 else "over")
    assert offered == [250, 500, 1000, 2000, 4000, 2828, 3364]
    assert STEP == 2.0


def point_of(**changes: Any) -> Point:
    latencies = Histogram()
    latencies.record([changes.pop("p99_ms", 1.0) / 1000] * 100)
    plain: dict[str, Any] = {
        "rate_per_s": 100.0,
        "seconds": 1.0,
        "offered": 100,
        "good": 100,
        "in_time": 100,
        "refused": 0,
        "lost": 0,
        "statuses": {200: 100},
        "retransmitted": 0,
        "duplicates": 0,
        "send_errors": 0,
        "window_s": 1.0,
        "cpu_s": 0.1,
        "lag_p99_ms": 0.1,
        "lag_max_ms": 0.2,
        "real_time": True,
        "fast": latency_of(latencies),
        "slow": None,
        "timeline": [],
    }
    return Point(**{**plain, **changes})


@given(st.floats(0.01, 5_000), st.floats(0.01, 1_000), st.integers(0, 100), st.floats(0, 2_000), st.booleans())
def test_a_load_is_judged_by_what_came_in_time_and_then_by_its_p99(
    p99_ms: float, limit_ms: float, in_time: int, lag_ms: float, all_slow: bool
) -> None:
    point = point_of(p99_ms=p99_ms, in_time=in_time, lag_p99_ms=lag_ms)
    measured_ms = point.fast.p99_ms if point.fast else math.nan
    if all_slow:
        point = point_of(fast=None, slow=point.fast, in_time=in_time, lag_p99_ms=lag_ms)
    over = in_time < IN_TIME * 100 or measured_ms > limit_ms
    late = lag_ms > 1 and lag_ms >= min(measured_ms, limit_ms) / 2
    expected = "within" if not over else "generator" if late else "over"
    found = judged(point, Limits(limit_ms))
    event(expected)
    assert found.verdict == expected
    assert bool(found.why) == over


@given(st.integers(0, 200), st.integers(0, 10_000))
def test_commands_that_are_called_faster_than_they_end_are_too_many(queued: int, calls: int) -> None:
    point = point_of(queued=queued, slow=replace(point_of().fast, count=calls))
    grows = queued > FEW and queued > (1 - IN_TIME) * calls
    assert judged(point, Limits(100.0)).verdict == ("over" if grows else "within")


def test_without_a_limit_of_the_users_it_is_ten_times_what_the_lowest_rate_has() -> None:
    first = point_of(p99_ms=0.2)
    assert limits_after(first, None) == Limits(FACTOR * 0.2)
    assert limits_after(first, 5.0) == Limits(5.0)
    assert limits_after(point_of(fast=None), None) == Limits(None)
    assert judged(point_of(fast=None), Limits(None)).verdict == "within"
