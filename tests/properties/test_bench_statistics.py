"""`layby bench`: latencies in buckets, beside the same latencies in a sorted list."""

from __future__ import annotations

from hypothesis import event, given
from hypothesis import strategies as st

from runtime.bench.statistics import Histogram, Latency, bound_us, bucket_of, latency_of, merged, range_of
from runtime.traffic.spread import percentile

MICROSECONDS = st.integers(0, 1 << 40) | st.integers(0, 1000)
LATENCIES = st.lists(MICROSECONDS, min_size=1, max_size=200)
SHARES = st.sampled_from([0.001, 0.5, 0.95, 0.99, 0.999, 1.0])


def recorded(microseconds: list[int]) -> Histogram:
    histogram = Histogram()
    histogram.record(each / 1_000_000 for each in microseconds)
    return histogram


@given(MICROSECONDS)
def test_a_bucket_holds_what_is_counted_in_it_and_its_bounds_lie_close(value: int) -> None:
    bucket = bucket_of(value)
    high = bound_us(bucket)
    low = bound_us(bucket - 1) + 1 if bucket else 0
    assert low <= value <= high
    assert bucket_of(low) == bucket_of(high) == bucket
    assert high <= value * (1 + 1 / 128)


@given(MICROSECONDS, MICROSECONDS)
def test_buckets_are_in_the_order_of_what_they_hold(one: int, other: int) -> None:
    assert (bucket_of(one) <= bucket_of(other)) or one > other


@given(st.integers() | st.integers(1 << 40, 1 << 80) | st.integers(max_value=-1))
def test_whatever_is_recorded_there_are_only_so_many_buckets(value: int) -> None:
    assert 0 <= bucket_of(value) < 4500


@given(LATENCIES, SHARES)
def test_a_percentile_is_the_bound_of_the_bucket_that_holds_the_nearest_rank(values: list[int], share: float) -> None:
    exact = percentile(sorted(values), share)
    told = recorded(values).percentile_ms(share)
    assert told == bound_us(bucket_of(int(exact))) / 1000
    event(f"exact: {told * 1000 == exact}")


@given(LATENCIES, MICROSECONDS)
def test_what_came_in_time_is_counted_to_the_bound_of_a_bucket(values: list[int], limit: int) -> None:
    plain = sum(value <= bound_us(bucket_of(limit)) for value in values)
    assert recorded(values).at_most(limit / 1000) == plain


@given(LATENCIES, LATENCIES)
def test_histograms_together_are_as_if_recorded_together(one: list[int], other: list[int]) -> None:
    both = recorded(one)
    both.add(recorded(other))
    assert both == recorded(one + other)
    assert merged([latency_of(recorded(one)), None, latency_of(recorded(other))]) == latency_of(recorded(one + other))


@given(LATENCIES)
def test_the_figures_of_a_histogram_ascend_and_count_everything(values: list[int]) -> None:
    found = latency_of(recorded(values))
    assert isinstance(found, Latency)
    assert found.count == len(values) == sum(found.buckets.values())
    figures = [found.p50_ms, found.p95_ms, found.p99_ms, found.p999_ms, found.max_ms]
    assert figures == sorted(figures)


def test_nothing_has_no_figures() -> None:
    assert latency_of(Histogram()) is None
    assert merged([None]) is None
    assert range_of([]) is None


@given(st.lists(st.floats(0.001, 1e6), min_size=1, max_size=9))
def test_a_range_has_all_runs_within_its_noise(values: list[float]) -> None:
    found = range_of(values)
    assert found is not None
    assert found.low <= found.median <= found.high
    noise = found.noise
    if len(values) == 1:
        assert noise is None
    else:
        assert noise is not None
        assert all(found.median / noise <= value * 1.000001 for value in values)
        assert all(value <= found.median * noise * 1.000001 for value in values)
