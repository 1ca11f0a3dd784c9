"""Locating over real sockets: who is asked, how often, for how long, and that nobody's loop stands still meanwhile."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import dns.message
import dns.rcode
import pytest
import uvloop

from runtime.dns_settings import DnsServer as Address
from runtime.dns_settings import DnsSettings
from runtime.resolver import MAX_LOOKUPS, Found, Resolver
from runtime.sip.locate import NotFound, Target
from tests.dns_server import DnsServer
from tests.harness import ROOT

BOTH = ("udp", "tcp")
HASTY = {"retr_time_s": 0.15, "retr_no": 5}


class Asking:
    """A resolver on a loop of its own, with a clock that the test moves."""

    def __init__(self, tmp: Path, settings: DnsSettings) -> None:
        self.now = 1_000.0
        self.loop = uvloop.new_event_loop()
        self.hosts = tmp / "hosts"
        self.hosts.touch()
        self.resolv_conf = tmp / "resolv.conf"
        self.resolv_conf.touch()
        self.resolver = Resolver(
            self.loop,
            settings,
            clock=lambda: self.now,
            chance=lambda: 0.0,
            hosts_file=self.hosts,
            resolv_conf=self.resolv_conf,
        )

    def locate(self, uri: str, supported: tuple[str, ...] = BOTH) -> Found:
        return self.locate_all([uri], supported)[0]

    def locate_all(self, uris: list[str], supported: tuple[str, ...] = BOTH) -> list[Found]:
        """Ask for all of them in one turn, and wait until all are answered."""
        answers: dict[int, Found] = {}
        all_there = self.loop.create_future()

        def ask() -> None:
            for number, uri in enumerate(uris):
                self.resolver.locate(uri, supported, lambda found, number=number: told(number, found))
            assert not answers, "nobody is told on the stack that asked"

        def told(number: int, found: Found) -> None:
            assert number not in answers, "told once"
            answers[number] = found
            if len(answers) == len(uris):
                all_there.set_result(None)

        self.loop.call_soon(ask)
        self.loop.run_until_complete(asyncio.wait_for(all_there, 10))
        return [answers[number] for number in range(len(uris))]

    def until(self, condition: Callable[[], object], limit_s: float = 5.0) -> None:
        """Let the loop turn until this is so."""
        ends = time.monotonic() + limit_s
        while not condition():
            assert time.monotonic() < ends, "in time"
            self.turn(0.005)

    def turn(self, for_s: float = 0.0) -> None:
        self.loop.run_until_complete(asyncio.sleep(for_s))


@pytest.fixture
def server() -> Iterator[DnsServer]:
    with DnsServer() as one:
        yield one


@pytest.fixture
def other() -> Iterator[DnsServer]:
    with DnsServer() as one:
        yield one


@pytest.fixture
def asking(tmp: Path) -> Iterator[Callable[..., Asking]]:
    """Make one that asks these servers, with much time: `asking(server, …, try_ipv6=True)`."""
    made: list[Asking] = []

    def make(*servers: DnsServer, **settings: object) -> Asking:
        addresses = tuple(Address("127.0.0.1", each.port) for each in servers)
        usual = {"retr_time_s": 5.0, "retr_no": 0, "servers": addresses}
        made.append(Asking(tmp, DnsSettings(**{**usual, **settings})))
        return made[-1]

    yield make
    for one in made:
        one.resolver.close()
        one.turn()
        one.turn()
        assert [task for task in asyncio.all_tasks(one.loop) if not task.done()] == []
        one.loop.close()


def udp(*addresses: str, port: int = 5060) -> tuple[Target, ...]:
    return tuple(Target("udp", address, port) for address in addresses)


WHOLE_DOMAIN = [("192.0.2.1", 5070), ("192.0.2.2", 5071), ("192.0.2.3", 5071)]


def whole_domain(server: DnsServer) -> None:
    server.add(
        "a.test", "NAPTR", '50 50 "s" "SIP+D2T" "" _sip._tcp.a.test.', '90 50 "s" "SIP+D2U" "" _sip._udp.a.test.'
    )
    server.add("_sip._tcp.a.test", "SRV", "10 1 5070 one.a.test.", "20 1 5071 two.a.test.")
    server.add("_sip._udp.a.test", "SRV", "10 1 5080 one.a.test.")
    server.add("one.a.test", "A", "192.0.2.1")
    server.add("one.a.test", "AAAA", "2001:db8::1")
    server.add("two.a.test", "A", "192.0.2.2", "192.0.2.3")


# Answers.


def test_naptr_srv_and_addresses_in_three_steps(server: DnsServer, asking: Callable[..., Asking]) -> None:
    whole_domain(server)
    found = asking(server).locate("sip:bob@a.test")
    assert found == (
        Target("tcp", "192.0.2.1", 5070),
        Target("tcp", "192.0.2.2", 5071),
        Target("tcp", "192.0.2.3", 5071),
    )
    assert sorted(server.questions) == [
        ("_sip._tcp.a.test", "SRV", "udp"),
        ("_sip._udp.a.test", "SRV", "udp"),
        ("a.test", "NAPTR", "udp"),
        ("one.a.test", "A", "udp"),
        ("two.a.test", "A", "udp"),
    ]


def test_ipv6_where_it_is_wanted(server: DnsServer, asking: Callable[..., Asking]) -> None:
    whole_domain(server)
    assert asking(server, try_ipv6=True).locate("sip:one.a.test:5090") == udp("192.0.2.1", "2001:db8::1", port=5090)


def test_without_naptr_where_it_is_not_wanted(server: DnsServer, asking: Callable[..., Asking]) -> None:
    whole_domain(server)
    assert asking(server, try_naptr=False).locate("sip:a.test") == udp("192.0.2.1", port=5080)
    assert server.count("a.test", "NAPTR") == 0


def test_a_numeric_host_and_a_bad_uri_need_no_server(asking: Callable[..., Asking]) -> None:
    one = asking()
    assert one.resolver.locate_nowait("sip:a@192.0.2.9;transport=tcp") == (Target("tcp", "192.0.2.9", 5060),)
    assert one.resolver.locate_nowait("sips:a@192.0.2.9") == NotFound("TLS is not served")
    assert one.locate("sip:a@[2001:db8:0::9]:5099") == udp("2001:db8::9", port=5099)
    assert one.locate("http://a.test") == NotFound("not a SIP URI")


def test_an_alias_is_followed_and_a_loop_of_them_is_none(server: DnsServer, asking: Callable[..., Asking]) -> None:
    server.add("alias.test", "CNAME", "next.test.")
    server.add("next.test", "CNAME", "host.test.")
    server.add("host.test", "A", "192.0.2.4")
    server.add("round.test", "CNAME", "about.test.")
    server.add("about.test", "CNAME", "round.test.")
    one = asking(server)
    assert one.locate("sip:alias.test:5060") == udp("192.0.2.4")
    assert one.locate("sip:round.test:5060") == NotFound("DNS gives no usable answer", temporary=True)
    assert server.count("round.test", "A") == 1


def test_the_hosts_file_goes_before_dns(server: DnsServer, asking: Callable[..., Asking]) -> None:
    server.add("here.test", "A", "192.0.2.6")
    one = asking(server)
    one.hosts.write_text("192.0.2.5 here.test\n")
    assert one.resolver.locate_nowait("sip:here.test") == udp("192.0.2.5")
    one.hosts.write_text("# empty\n")
    assert one.resolver.locate_nowait("sip:here.test") == udp("192.0.2.5")
    one.now += 6
    assert one.resolver.locate_nowait("sip:here.test") is None
    assert one.locate("sip:here.test") == udp("192.0.2.6")


def test_the_search_list_completes_names_from_uris_only(server: DnsServer, asking: Callable[..., Asking]) -> None:
    server.add("pbx.corp.test", "A", "192.0.2.7")
    server.add("_sip._udp.b.test", "SRV", "1 1 5060 pbx.")
    one = asking(server)
    one.resolv_conf.write_text("search corp.test\nnameserver 192.0.2.53\n")
    assert one.locate("sip:pbx:5060") == udp("192.0.2.7")
    assert one.locate("sip:b.test;transport=udp") == NotFound("no address")
    plain = asking(server, use_search_list=False)
    assert plain.locate("sip:pbx:5060") == NotFound("no address")


def test_whoever_raises_is_alone_with_it(server: DnsServer, asking: Callable[..., Asking]) -> None:
    server.add("w.test", "A", "192.0.2.1")
    one = asking(server)
    raised: list[object] = []
    one.loop.set_exception_handler(lambda loop, context: raised.append(context["exception"]))
    one.resolver.locate("sip:w.test:5060", BOTH, lambda found: raised.append(1 / 0))
    assert one.locate("sip:w.test:5060") == udp("192.0.2.1")
    assert [type(each) for each in raised] == [ZeroDivisionError]


# The cache.


def test_many_that_wait_for_the_same_ask_once(server: DnsServer, asking: Callable[..., Asking]) -> None:
    whole_domain(server)
    server.delay_s = 0.05
    found = asking(server).locate_all(["sip:a.test"] * 100 + ["sip:carol@a.test"] * 100)
    assert set(found) == {found[0]}
    assert len(found[0]) == 3
    assert len(server.questions) == 5


def test_an_answer_is_kept_for_its_time_to_live(server: DnsServer, asking: Callable[..., Asking]) -> None:
    server.add("c.test", "A", "192.0.2.1", ttl_s=10)
    one = asking(server)
    assert one.resolver.locate_nowait("sip:c.test:5060") is None
    assert one.locate("sip:c.test:5060") == udp("192.0.2.1")
    server.add("c.test", "A", "192.0.2.2", ttl_s=10)
    one.now += 9.9
    assert one.resolver.locate_nowait("sip:c.test:5060") == udp("192.0.2.1")
    one.now += 0.2
    assert one.resolver.locate_nowait("sip:c.test:5060") is None
    assert one.locate("sip:c.test:5060") == udp("192.0.2.2")
    assert server.count("c.test", "A") == 2


def test_that_there_is_nothing_is_kept_too(server: DnsServer, asking: Callable[..., Asking]) -> None:
    one = asking(server)
    assert one.locate("sip:d.test:5060") == NotFound("no address")
    server.add("d.test", "A", "192.0.2.1")
    one.now += 19.9
    assert one.locate("sip:d.test:5060") == NotFound("no address")
    one.now += 0.2
    assert one.locate("sip:d.test:5060") == udp("192.0.2.1")


def test_stale_answers_stand_in_while_servers_are_silent(server: DnsServer, asking: Callable[..., Asking]) -> None:
    whole_domain(server)
    one = asking(server, **HASTY)
    found = one.locate("sip:a.test")
    one.now += 4_000
    server.silent = True
    assert one.locate("sip:a.test") == found, "the patience is one for all three steps: three would be too long"
    server.silent = False
    one.now += 31
    assert one.locate("sip:a.test") == found


def test_a_stale_answer_is_not_waited_for_again_at_once(server: DnsServer, asking: Callable[..., Asking]) -> None:
    server.add("e.test", "A", "192.0.2.1")
    one = asking(server)
    one.locate("sip:e.test:5060")
    one.now += 100
    server.rcode = dns.rcode.SERVFAIL
    assert one.locate("sip:e.test:5060") == udp("192.0.2.1")
    assert one.resolver.locate_nowait("sip:e.test:5060") == udp("192.0.2.1")
    one.now += 31
    assert one.resolver.locate_nowait("sip:e.test:5060") is None


# Servers that fail.


def test_silence_ends_at_the_deadline_and_is_remembered(server: DnsServer, asking: Callable[..., Asking]) -> None:
    server.silent = True
    one = asking(server, **HASTY)
    began = time.monotonic()
    found = one.locate("sip:f.test")
    assert isinstance(found, NotFound)
    assert found.temporary
    assert 0.8 < time.monotonic() - began < 5
    assert server.count("f.test", "NAPTR") > 2
    one.until(lambda: one.resolver.locate_nowait("sip:f.test"))
    assert one.resolver.locate_nowait("sip:f.test") == NotFound("DNS does not answer", temporary=True)
    server.silent = False
    server.add("f.test", "A", "192.0.2.1")
    one.now += 5
    assert one.locate("sip:f.test") == udp("192.0.2.1")


def test_the_next_server_is_asked_and_then_preferred(
    server: DnsServer, other: DnsServer, asking: Callable[..., Asking]
) -> None:
    for each in (server, other):
        each.add("g.test", "A", "192.0.2.1")
        each.add("h.test", "A", "192.0.2.2")
    server.silent = True
    one = asking(server, other, retr_time_s=0.4, retr_no=9)
    assert one.locate("sip:g.test:5060") == udp("192.0.2.1")
    assert one.locate("sip:h.test:5060") == udp("192.0.2.2")
    assert (server.count("g.test", "A"), other.count("g.test", "A")) == (1, 1)
    assert (server.count("h.test", "A"), other.count("h.test", "A")) == (0, 1)


def test_there_is_time_for_each_server_however_few_tries_are_wanted(
    server: DnsServer, other: DnsServer, asking: Callable[..., Asking]
) -> None:
    server.silent = True
    other.add("x.test", "A", "192.0.2.1")
    assert asking(server, other, retr_time_s=1.0, retr_no=0).locate("sip:x.test:5060") == udp("192.0.2.1")


@pytest.mark.parametrize("rcode", [dns.rcode.SERVFAIL, dns.rcode.REFUSED, dns.rcode.FORMERR])
def test_a_server_that_cannot_answer_is_passed_over(
    server: DnsServer, other: DnsServer, asking: Callable[..., Asking], rcode: dns.rcode.Rcode
) -> None:
    server.rcode = rcode
    other.add("i.test", "A", "192.0.2.1")
    began = time.monotonic()
    assert asking(server, other).locate("sip:i.test:5060") == udp("192.0.2.1")
    assert time.monotonic() - began < 2.5


def test_where_nobody_listens_is_known_at_once(other: DnsServer, asking: Callable[..., Asking]) -> None:
    other.add("j.test", "A", "192.0.2.1")
    with DnsServer() as gone:
        pass
    began = time.monotonic()
    assert asking(gone, other).locate("sip:j.test:5060") == udp("192.0.2.1")
    assert asking(gone).locate("sip:j.test:5060") == NotFound("DNS gives no usable answer", temporary=True)
    assert time.monotonic() - began < 2.5


def test_only_as_many_of_the_systems_servers_as_wanted(asking: Callable[..., Asking]) -> None:
    one = asking(servers_no=1)
    one.resolv_conf.write_text("nameserver 127.0.0.2\nnameserver 127.0.0.3\nnameserver nonsense\n")
    one.locate("sip:k.test:5060")
    assert [each.address for each in one.resolver._client._servers] == ["127.0.0.2"]


def test_a_truncated_answer_is_had_over_tcp(server: DnsServer, asking: Callable[..., Asking]) -> None:
    server.add("l.test", "A", *(f"192.0.2.{number}" for number in range(1, 60)))
    assert asking(server).locate("sip:l.test:5060") == udp(*(f"192.0.2.{number}" for number in range(1, 17)))
    assert server.questions == [("l.test", "A", "udp"), ("l.test", "A", "tcp")]


@pytest.mark.parametrize("count", [101, 300], ids=["too many records", "too many bytes"])
def test_an_answer_that_is_too_long_is_not_read(
    server: DnsServer, other: DnsServer, asking: Callable[..., Asking], count: int
) -> None:
    server.add("m.test", "A", *(f"10.0.{number // 250}.{number % 250}" for number in range(count)))
    other.add("m.test", "A", "192.0.2.1")
    found = asking(server, other).locate("sip:m.test:5060")
    assert server.questions == [("m.test", "A", "udp"), ("m.test", "A", "tcp")]
    assert found == udp("192.0.2.1")


def wrong_id(data: bytes) -> bytes:
    return bytes([data[0] ^ 0x55]) + data[1:]


def noise(data: bytes) -> bytes:
    return b"\xff" * len(data)


def other_question(data: bytes) -> bytes:
    return data.replace(b"\x01n\x04test", b"\x01x\x04test")


@pytest.mark.parametrize(
    "bad",
    [
        wrong_id,
        other_question,
        lambda data: b"",
        lambda data: data[:20],
        lambda data: b"\xff" * 400,
        lambda data: data[:2],
    ],
    ids=["wrong id", "other question", "nothing", "cut", "noise", "id alone"],
)
def test_what_is_no_answer_is_passed_over(
    server: DnsServer, asking: Callable[..., Asking], bad: Callable[[bytes], bytes]
) -> None:
    server.add("n.test", "A", "192.0.2.1")
    server.mangle = lambda data: [bad(data), data, bad(data)]
    began = time.monotonic()
    assert asking(server).locate("sip:n.test:5060") == udp("192.0.2.1")
    assert time.monotonic() - began < 2.5


@pytest.mark.parametrize("bad", [wrong_id, noise])
def test_a_server_that_talks_nonsense_is_passed_over(
    server: DnsServer, other: DnsServer, asking: Callable[..., Asking], bad: Callable[[bytes], bytes]
) -> None:
    server.mangle = lambda data: [bad(data)] * 20
    other.add("o.test", "A", "192.0.2.1")
    assert asking(server, other).locate("sip:o.test:5060") == udp("192.0.2.1")


# The loop, and the end.


def test_a_slow_server_never_stops_the_loop(server: DnsServer, asking: Callable[..., Asking]) -> None:
    server.delay_s = 0.4
    server.truncated = True
    server.add("p.test", "A", "192.0.2.1")
    one = asking(server)
    gaps: list[float] = []
    last = time.monotonic()

    def tick() -> None:
        nonlocal last
        now = time.monotonic()
        gaps.append(now - last)
        last = now
        one.loop.call_later(0.002, tick)

    one.loop.call_soon(tick)
    assert one.locate("sip:p.test:5060") == udp("192.0.2.1")
    assert len(gaps) > 20
    assert max(gaps) < 0.3, "each answer alone took longer"


def test_to_import_it_starts_and_opens_nothing() -> None:
    """It is imported before the fork."""
    count = "import os; print(len(os.listdir('/proc/self/task')), len(os.listdir('/proc/self/fd')))"
    counts = [
        subprocess.run([sys.executable, "-c", f"{first}; {count}"], cwd=ROOT, stdout=subprocess.PIPE, check=True).stdout
        for first in ("pass", "import uvloop, runtime.resolver")
    ]
    assert counts[0] == counts[1]


def test_no_thread_is_started(server: DnsServer, asking: Callable[..., Asking]) -> None:
    server.truncated = True
    whole_domain(server)
    one = asking(server)
    before = len(os.listdir("/proc/self/task"))
    assert len(one.locate("sip:a.test")) == 3
    assert len(os.listdir("/proc/self/task")) == before


def test_there_are_never_too_many_questions_open(server: DnsServer, asking: Callable[..., Asking]) -> None:
    server.silent = True
    one = asking(server, retr_time_s=0.1, retr_no=2)
    before = len(os.listdir("/proc/self/fd"))
    most = 0

    def look() -> None:
        nonlocal most
        most = max(most, len(os.listdir("/proc/self/fd")) - before)
        one.loop.call_later(0.02, look)

    one.loop.call_soon(look)
    found = one.locate_all([f"sip:q{number}.test:5060" for number in range(MAX_LOOKUPS + 50)])
    assert all(isinstance(each, NotFound) and each.temporary for each in found)
    assert 100 < most <= MAX_LOOKUPS + 5


def test_the_end_closes_all_and_tells_nobody(server: DnsServer, asking: Callable[..., Asking]) -> None:
    server.silent = True
    one = asking(server)
    before = len(os.listdir("/proc/self/fd"))
    told: list[Found] = []
    one.resolver.locate("sip:r.test", BOTH, told.append)
    one.until(lambda: len(os.listdir("/proc/self/fd")) > before)
    one.resolver.close()
    one.turn()
    one.turn()
    assert len(os.listdir("/proc/self/fd")) == before
    one.resolver.locate("sip:s.test", BOTH, told.append)
    one.turn(0.05)
    assert told == []


# Failed targets.


def test_a_target_that_failed_is_tried_last_for_a_minute(server: DnsServer, asking: Callable[..., Asking]) -> None:
    server.add("t.test", "A", "192.0.2.1", "192.0.2.2", "192.0.2.3", ttl_s=3600)
    one = asking(server)
    assert one.locate("sip:t.test:5060") == udp("192.0.2.1", "192.0.2.2", "192.0.2.3")
    one.resolver.mark_failed(Target("udp", "192.0.2.1", 5060), one.now)
    assert one.resolver.locate_nowait("sip:t.test:5060") == udp("192.0.2.2", "192.0.2.3", "192.0.2.1")
    assert one.locate("sip:t.test:5060") == udp("192.0.2.2", "192.0.2.3", "192.0.2.1")
    one.now += 60
    assert one.resolver.locate_nowait("sip:t.test:5060") == udp("192.0.2.1", "192.0.2.2", "192.0.2.3")


def test_nothing_is_put_last_where_the_blacklist_is_off(server: DnsServer, asking: Callable[..., Asking]) -> None:
    server.add("u.test", "A", "192.0.2.1", "192.0.2.2")
    one = asking(server, blacklist=False)
    one.resolver.mark_failed(Target("udp", "192.0.2.1", 5060), one.now)
    assert one.locate("sip:u.test:5060") == udp("192.0.2.1", "192.0.2.2")
