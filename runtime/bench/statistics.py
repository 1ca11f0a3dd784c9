"""Latencies in a bounded room, and what several runs say together. No I/O."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import median
from typing import Annotated, Final, TypeAlias

from msgspec import Meta, Struct, field

from runtime.traffic.spread import rank

_PRECISION: Final = 7
"""Bits: the bounds of a bucket differ by 1/128, so that a percentile is never more than 0.8 % too high."""
_EXACT: Final = 1 << (_PRECISION + 1)
_LONGEST_US: Final = 1 << 40


class Histogram(Struct):
    """Latencies as counts in buckets whose width grows with the value, as HdrHistogram has them.

    Up to 255 µs each microsecond has a bucket of its own. The number of buckets is bounded, whatever is recorded.

    Args:
        counts: by bucket; those without any are left out.
    """

    counts: dict[int, int] = field(default_factory=dict)

    @property
    def count(self) -> int:
        """How many latencies were recorded."""
        return sum(self.counts.values())

    def record(self, latencies_s: Iterable[float]) -> None:
        """Take in latencies, given in seconds."""
        counts = self.counts
        for latency_s in latencies_s:
            bucket = bucket_of(round(1_000_000 * latency_s))
            counts[bucket] = counts.get(bucket, 0) + 1

    def add(self, other: Histogram) -> None:
        """Take in all that another one holds."""
        for bucket, count in other.counts.items():
            self.counts[bucket] = self.counts.get(bucket, 0) + count

    def percentile_ms(self, share: float) -> float:
        """The nearest-rank percentile in milliseconds: the upper bound of the bucket that holds it.

        Raises:
            ValueError: nothing was recorded, or the share is out of its range.
        """
        wanted = rank(self.count, share)
        for bucket in sorted(self.counts):
            wanted -= self.counts[bucket]
            if wanted <= 0:
                return bound_us(bucket) / 1000
        raise AssertionError("a rank is no larger than the count")

    def at_most(self, limit_ms: float) -> int:
        """How many latencies lie in buckets that begin no later than `limit_ms`."""
        last = bucket_of(round(1000 * limit_ms))
        return sum(count for bucket, count in self.counts.items() if bucket <= last)


def bucket_of(microseconds: int) -> int:
    """In which bucket a latency is counted; what is out of range is in the first or in the last."""
    value = min(max(0, microseconds), _LONGEST_US)
    if value < _EXACT:
        return value
    shift = value.bit_length() - _PRECISION - 1
    return (shift << _PRECISION) + (value >> shift)


def bound_us(bucket: int) -> int:
    """The largest number of microseconds that is counted in a bucket."""
    if bucket < _EXACT:
        return bucket
    shift = (bucket >> _PRECISION) - 1
    return ((bucket - (shift << _PRECISION) + 1) << shift) - 1


Bucket: TypeAlias = Annotated[int, Meta(ge=0, lt=1 << 13)]
Milliseconds: TypeAlias = Annotated[float, Meta(ge=0, le=1e12)]


class Latency(Struct, frozen=True):
    """How latencies spread, in milliseconds, and the buckets that say it; see `Histogram`."""

    count: Annotated[int, Meta(ge=1)]
    p50_ms: Milliseconds
    p95_ms: Milliseconds
    p99_ms: Milliseconds
    p999_ms: Milliseconds
    max_ms: Milliseconds
    buckets: Annotated[dict[Bucket, Annotated[int, Meta(ge=1, le=1 << 53)]], Meta(min_length=1)]


def latency_of(histogram: Histogram) -> Latency | None:
    """The figures of a histogram; None when nothing was recorded."""
    if not histogram.counts:
        return None
    p50, p95, p99, p999, most = map(histogram.percentile_ms, (0.50, 0.95, 0.99, 0.999, 1.0))
    return Latency(histogram.count, p50, p95, p99, p999, most, dict(sorted(histogram.counts.items())))


def merged(latencies: Iterable[Latency | None]) -> Latency | None:
    """Several as one, as if all had been recorded together."""
    whole = Histogram()
    for each in latencies:
        if each is not None:
            whole.add(Histogram(each.buckets))
    return latency_of(whole)


class Range(Struct, frozen=True):
    """What several runs say of one figure: the median, the least, the most."""

    median: float
    low: float
    high: float
    runs: int

    @property
    def noise(self) -> float | None:
        """By which factor, above 1, a run may differ from the median; None where there was but one run."""
        if self.runs < 2:
            return None
        if self.low <= 0:
            return 1.0 if self.high <= 0 else float("inf")
        return max(self.high / self.median, self.median / self.low)


def range_of(values: Sequence[float]) -> Range | None:
    """The range of the runs' values; None where there are none."""
    return Range(median(values), min(values), max(values), len(values)) if values else None
