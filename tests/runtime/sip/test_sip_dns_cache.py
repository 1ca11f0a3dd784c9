"""How long an answer is believed, and what stands in for it."""

from __future__ import annotations

import pytest

from runtime.sip.dns_cache import FAILURE_TTL_S, MAX_ENTRIES, STALE_FOR_S, STALE_TTL_S, DnsCache
from runtime.sip.dns_records import Query, Unanswered

HOST = Query("host.example", "A")
OTHER = Query("other.example", "A")


def cache_of(*records: str, ttl_s: float = 60, at: float = 0) -> DnsCache:
    cache = DnsCache()
    cache.put(HOST, records, ttl_s, at)
    return cache


@pytest.mark.parametrize(
    ("records", "ttl_s", "for_s"),
    [
        (["192.0.2.1"], 60, 60),
        (["192.0.2.1"], 0, 1),
        (["192.0.2.1"], -5, 1),
        (["192.0.2.1"], 1e9, 3_600),
        ([], 10, 10),
        ([], 0, 1),
        ([], 3_600, 30),
    ],
)
def test_an_answer_is_fresh_for_its_time_to_live_within_bounds(records: list[str], ttl_s: float, for_s: float) -> None:
    cache = cache_of(*records, ttl_s=ttl_s, at=100)
    known = cache.fresh(HOST, 100 + for_s - 0.01)
    assert known is not None
    assert known.records == tuple(records)
    assert cache.fresh(HOST, 100 + for_s) is None
    assert cache.fresh(OTHER, 100) is None


def test_records_stand_in_for_a_day_and_that_there_are_none_does_not() -> None:
    cache = cache_of("192.0.2.1")
    known = cache.stale(HOST, 60 + STALE_FOR_S - 1)
    assert known is not None
    assert known.records == ("192.0.2.1",)
    assert cache.stale(HOST, 60 + STALE_FOR_S) is None
    assert cache_of().stale(HOST, 1) is None
    assert cache.stale(OTHER, 1) is None


@pytest.mark.parametrize("why", Unanswered)
def test_a_failure_is_known_for_a_few_seconds(why: Unanswered) -> None:
    cache = DnsCache()
    cache.put_failure(HOST, why, 100)
    known = cache.fresh(HOST, 100 + FAILURE_TTL_S - 0.01)
    assert known is not None
    assert known.records is why
    assert cache.fresh(HOST, 100 + FAILURE_TTL_S) is None
    assert cache.stale(HOST, 100) is None


def test_after_a_failure_stale_records_are_fresh_for_a_while_but_not_for_ever() -> None:
    cache = cache_of("192.0.2.1")
    for at in (100.0, 1_000.0, 60 + STALE_FOR_S - 1):
        assert cache.fresh(HOST, at) is None
        cache.put_failure(HOST, Unanswered.SILENCE, at)
        known = cache.fresh(HOST, min(at + STALE_TTL_S, 60 + STALE_FOR_S) - 0.01)
        assert known is not None
        assert known.records == ("192.0.2.1",)
    assert cache.fresh(HOST, 60 + STALE_FOR_S) is None
    cache.put_failure(HOST, Unanswered.SILENCE, 60 + STALE_FOR_S)
    known = cache.fresh(HOST, 60 + STALE_FOR_S)
    assert known is not None
    assert known.records is Unanswered.SILENCE


def test_a_failure_takes_nothing_from_what_is_fresh() -> None:
    cache = cache_of("192.0.2.1", ttl_s=3_600)
    cache.put_failure(HOST, Unanswered.ERROR, 10)
    assert cache.fresh(HOST, 3_599) is not None


def test_that_there_are_no_records_any_more_is_believed() -> None:
    cache = cache_of("192.0.2.1")
    cache.put(HOST, (), 10, 100)
    assert cache.stale(HOST, 101) is None


def test_the_least_recently_used_gives_way() -> None:
    cache = DnsCache(3)
    queries = [Query(f"h{number}", "A") for number in range(4)]
    for query in queries[:3]:
        cache.put(query, ("192.0.2.1",), 60, 0)
    assert cache.fresh(queries[0], 1) is not None
    cache.put(queries[3], ("192.0.2.1",), 60, 1)
    assert [cache.fresh(query, 1) is not None for query in queries] == [True, False, True, True]
    assert len(cache) == 3


def test_it_is_bounded() -> None:
    cache = DnsCache()
    for number in range(MAX_ENTRIES + 10):
        cache.put_failure(Query(f"h{number}", "A"), Unanswered.SILENCE, 0)
    assert len(cache) == MAX_ENTRIES
