"""Locating with any answers at all, in any order: it ends, within bounds, with what was answered."""

from __future__ import annotations

from random import Random

from hypothesis import event, given
from hypothesis import strategies as st

from runtime.sip.dns_cache import DnsCache
from runtime.sip.dns_records import Naptr, Query, Record, Srv, Unanswered, in_srv_order, is_name
from runtime.sip.failed_targets import FailedTargets
from runtime.sip.hosts_file import Hosts
from runtime.sip.locate import MAX_TARGETS, Locator, NotFound, Place, Target, at_once, place_of

names = st.sampled_from(["a.example", "B.example.", "c", "_sip._udp.a.example", ".", "", "1.2", "x" * 70, "\xff", "é."])
addresses = st.one_of(st.ip_addresses().map(str), st.sampled_from(["192.0.2.1", "2001:db8::1", "0.0.0.0", "", "x"]))
small = st.integers(0, 3)
srvs = st.builds(Srv, small, st.integers(0, 65_535), st.sampled_from([0, 5060, 5070, 65_535, 70_000]), names)
services = st.sampled_from(["SIP+D2U", "sip+d2t", "SIPS+D2T", "SIP+D2S", "", "\xff"])
naptrs = st.builds(Naptr, small, small, st.sampled_from(["s", "S", "u", ""]), services, st.just(""), names)
records: st.SearchStrategy[Record] = st.one_of(srvs, naptrs, addresses)
junk = st.one_of(st.sampled_from(Unanswered), st.lists(records, max_size=8))
fitting = {"NAPTR": st.lists(naptrs, max_size=5), "SRV": st.lists(srvs, max_size=30)}


def answers(query: Query) -> st.SearchStrategy[list[Record] | Unanswered]:
    right = fitting.get(query.type, st.lists(addresses, min_size=1, max_size=30))
    return st.one_of(right, right, right, junk)


supported = st.sampled_from([("udp", "tcp"), ("udp", "tcp", "tls"), ("tls", "tcp"), ("udp", "ws"), ()])
hosts = st.sampled_from(["a.example", "A.EXAMPLE.", "b.example", "x" * 60 + ".example", "192.0.2.1", "[2001:db8::1]"])
ports = st.sampled_from(["", "", "", ":5070", ":0"])
params = st.sampled_from(["", ";lr", ";transport=tcp", ";transport=TLS", ";maddr=b.example", ";maddr=192.0.2.2"])
uris = st.builds("{}:{}{}{}{}".format, st.sampled_from(["sip", "sip", "sips"]), st.just("u@"), hosts, ports, params)


@given(st.one_of(st.text(max_size=60), st.binary(max_size=60).map(lambda data: "sip:" + data.decode("latin-1"))))
def test_any_text_as_a_uri(text: str) -> None:
    place = place_of(text, ("udp", "tcp"))
    assert isinstance(place, Place | NotFound)
    if isinstance(place, NotFound):
        assert place.reason.isprintable()
        assert place.reason.isascii()
    elif not place.targets:
        assert is_name(place.host)


@given(uris, supported, st.data(), st.booleans(), st.booleans())
def test_any_answers(uri: str, supported: tuple[str, ...], data: st.DataObject, naptr: bool, ipv6: bool) -> None:
    place = place_of(uri, supported)
    if isinstance(place, NotFound):
        event("leads nowhere")
        return
    locator = Locator(place, Random(1).random, naptr=naptr, ipv6=ipv6)
    said: set[object] = set()
    open_: list[Query] = []
    asked = 0
    while True:
        new = locator.next_queries()
        open_ += new
        asked += len(new)
        assert all(is_name(query.name) for query in new)
        assert asked <= 1 + 4 + 4 * 32
        if not open_:
            break
        query = open_.pop(data.draw(st.integers(0, len(open_) - 1)))
        answer = data.draw(answers(query))
        said.update(() if isinstance(answer, Unanswered) else answer)
        locator.answer(query, answer)
        locator.answer(query, data.draw(junk))
    result = locator.result()
    assert result is not None, "what has nothing to ask has ended"
    if isinstance(result, NotFound):
        event("not found")
        return
    event("numeric" if place.targets else "found")
    assert 0 < len(result) <= MAX_TARGETS
    assert len(set(result)) == len(result), "all distinct"
    for target in result:
        assert target.protocol in place.protocols
        assert 0 < target.port < 65_536
        assert place.targets or target.host in said, "every target's address was answered"
        default = target.port in (5060, 5061, place.port)
        assert default or any(isinstance(each, Srv) and each.port == target.port for each in said)
    assert at_once(uri, supported) == (place.targets or None)


@given(st.lists(srvs, max_size=100), st.integers(0, 2**32), st.integers(0, 100))
def test_the_order_of_srv_records(given: list[Srv], seed: int, at_most: int) -> None:
    ordered = in_srv_order(given, Random(seed).random, at_most)
    assert len(ordered) == min(at_most, len(given), 64)
    priorities = [record.priority for record in ordered]
    assert priorities == sorted(priorities)
    left = list(given)
    for record in ordered:
        left.remove(record)
    assert not ordered or all(record.priority >= ordered[-1].priority for record in left)


@given(st.text())
def test_any_hosts_file(text: str) -> None:
    assert Hosts(text).answer(Query("no such name", "A")) is None


queries = st.builds(Query, st.sampled_from(["a", "b", "c", "d", "e"]), st.just("A"))
outcomes = st.one_of(st.sampled_from(Unanswered), st.lists(addresses, max_size=2).map(tuple))
steps = st.tuples(queries, outcomes, st.floats(-10, 1e6), st.floats(0, 50_000))


@given(st.lists(steps, max_size=40))
def test_the_cache_gives_what_was_put_last_or_stands_in(given_steps: list) -> None:
    cache, now = DnsCache(3), 0.0
    last: dict[Query, object] = {}
    records: dict[Query, object] = {}
    for query, outcome, ttl_s, waits_s in given_steps:
        if isinstance(outcome, Unanswered):
            cache.put_failure(query, outcome, now)
        else:
            cache.put(query, outcome, ttl_s, now)
            records[query] = outcome
        last[query] = outcome
        known = cache.fresh(query, now)
        assert known is not None, "what was just answered is known for a second at least"
        assert known.records in (last[query], records.get(query))
        assert known.fresh_until <= now + 3_600
        assert len(cache) <= 3
        now += waits_s


targets = st.builds(Target, st.just("udp"), st.sampled_from(["192.0.2.1", "192.0.2.2"]), st.integers(1, 4))


@given(st.lists(st.tuples(targets, st.floats(0, 40)), max_size=30), st.lists(targets, unique=True))
def test_failed_targets_change_the_order_and_nothing_else(marks: list, given_targets: list[Target]) -> None:
    failed, now, until = FailedTargets(5), 0.0, {}
    for target, waits_s in marks:
        failed.mark(target, now)
        until[target] = now + 60
        assert len(failed) <= 5
        now += waits_s
    ordered = failed.order(tuple(given_targets), now)
    assert sorted(ordered) == sorted(given_targets)
    good = [target for target in given_targets if until.get(target, 0) <= now]
    assert [target for target in ordered if target in good] == good
