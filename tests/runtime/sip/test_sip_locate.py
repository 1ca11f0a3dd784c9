"""Locating (RFC 3263): what is asked in which step, and what the answers come to."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from runtime.sip.dns_records import Naptr, Query, Record, RecordType, Srv, Unanswered
from runtime.sip.locate import Locator, NotFound, Place, Target, Targets, at_once, place_of

UDP = ("udp",)
BOTH = ("udp", "tcp")
ALL = ("udp", "tcp", "tls")
SILENCE, ERROR = Unanswered.SILENCE, Unanswered.ERROR
Zone = Mapping[tuple[str, RecordType], list[Record] | Unanswered]


def locate(
    uri: str, zone: Zone, supported: tuple[str, ...] = BOTH, **options: bool
) -> tuple[Targets | NotFound, list[list[str]]]:
    """Answer from a zone: the result, and what each step asked."""
    place = place_of(uri, supported)
    assert isinstance(place, Place), place
    locator = Locator(place, lambda: 0.0, **options)
    steps = []
    while queries := locator.next_queries():
        assert locator.result() is None
        assert locator.next_queries() == [], "given out once"
        steps.append([f"{query.type} {query.name}" for query in queries])
        for query in queries:
            locator.answer(query, zone.get((query.name, query.type), []))
    result = locator.result()
    assert result is not None
    return result, steps


def found(uri: str, zone: Zone, supported: tuple[str, ...] = BOTH, **options: bool) -> list[str] | NotFound:
    result, _ = locate(uri, zone, supported, **options)
    return result if isinstance(result, NotFound) else [f"{each.protocol}:{each.host}:{each.port}" for each in result]


def asked(uri: str, zone: Zone, supported: tuple[str, ...] = BOTH, **options: bool) -> list[list[str]]:
    return locate(uri, zone, supported, **options)[1]


# What needs no DNS.


@pytest.mark.parametrize(
    ("uri", "target"),
    [
        ("sip:192.0.2.1", Target("udp", "192.0.2.1", 5060)),
        ("sip:alice@192.0.2.1:5080", Target("udp", "192.0.2.1", 5080)),
        ("SIP:alice@192.0.2.1;Transport=TCP", Target("tcp", "192.0.2.1", 5060)),
        ("sip:[2001:DB8:0::1]:5080;lr", Target("udp", "2001:db8::1", 5080)),
        ("sip:a@example.com;maddr=192.0.2.9;transport=tcp", Target("tcp", "192.0.2.9", 5060)),
        ("sip:a@192.0.2.1;maddr=[2001:db8::2]", Target("udp", "2001:db8::2", 5060)),
        ("sips:a@192.0.2.1", Target("tls", "192.0.2.1", 5061)),
        ("sips:a@192.0.2.1;transport=tcp", Target("tls", "192.0.2.1", 5061)),
        ("sip:a@192.0.2.1;transport=tls", Target("tls", "192.0.2.1", 5061)),
        ("sips:a@192.0.2.1:5070;transport=tls", Target("tls", "192.0.2.1", 5070)),
    ],
)
def test_a_numeric_host_is_its_own_answer(uri: str, target: Target) -> None:
    assert at_once(uri, ALL) == (target,)
    assert locate(uri, {}, ALL) == ((target,), [])


def test_without_udp_the_transport_most_wanted_is_the_default() -> None:
    assert at_once("sip:192.0.2.1", ("tcp", "tls")) == (Target("tcp", "192.0.2.1", 5060),)


@pytest.mark.parametrize(
    ("uri", "reason"),
    [
        ("", "not a SIP URI"),
        ("example.com", "not a SIP URI"),
        ("tel:+358-555-1234567", "not a SIP URI"),
        ("http://example.com", "not a SIP URI"),
        ("a@sip:192.0.2.1", "not a SIP URI"),
        ("sip:a@", "not a SIP URI"),
        ("sip:a@192.0.2.1:99999", "not a SIP URI"),
        ("sip:" + "x" * 9_000 + ";lr", "not a SIP URI"),
        ("sip:192.0.2.1:0", "port 0"),
        ("sips:example.com", "TLS is not served"),
        ("sips:192.0.2.1", "TLS is not served"),
        ("sips:a@b.example;transport=tcp", "transport tls is not served"),
        ("sip:a@b.example;transport=tls", "transport tls is not served"),
        ("sip:a@b.example;transport=sctp", "transport sctp is not served"),
        ("sip:a@b.example;transport=carrier-pigeon", "unknown transport"),
        ("sip:a@b.example;transport=", "unknown transport"),
        ("sip:192.0.2.256", "the host is neither an address nor a name"),
        ("sip:192.0.2", "the host is neither an address nor a name"),
        ("sip:example.com;maddr=b\xe9.example", "the host is neither an address nor a name"),
        ("sip:" + "x" * 64 + ".example", "the host is neither an address nor a name"),
        ("sip:" + "x." * 127 + "example", "the host is neither an address nor a name"),
    ],
)
def test_what_leads_nowhere_says_why(uri: str, reason: str) -> None:
    assert at_once(uri, BOTH) == NotFound(reason)
    assert place_of(uri, BOTH) == NotFound(reason)


def test_sips_over_udp_does_not_exist() -> None:
    assert at_once("sips:192.0.2.1;transport=udp", ALL) == NotFound("transport udp is not served")


def test_only_what_stands_behind_the_last_at_sign_matters() -> None:
    assert place_of("sip:alice:secret@B.example;lr", BOTH) == place_of("sip:bob@b.example", BOTH)
    assert place_of("sip:alice:secret@B.example;lr", BOTH) == Place("b.example", None, BOTH, secure=False)


def test_a_name_needs_dns() -> None:
    assert at_once("sip:alice@example.com", BOTH) is None
    assert at_once("sip:alice@example.com:5060", BOTH) is None


# What is asked. RFC 3263 section 4.


ADDRESS: Zone = {("b.example", "A"): ["192.0.2.1"], ("b.example", "AAAA"): ["2001:db8::1"]}


@pytest.mark.parametrize(
    ("uri", "supported", "steps"),
    [
        ("sip:b.example:5070", BOTH, [["A b.example"]]),
        ("sip:b.example:5070;transport=tcp", BOTH, [["A b.example"]]),
        ("sip:b.example;transport=tcp", BOTH, [["SRV _sip._tcp.b.example"], ["A b.example"]]),
        ("sip:b.example", UDP, [["SRV _sip._udp.b.example"], ["A b.example"]]),
        (
            "sip:b.example",
            BOTH,
            [["NAPTR b.example"], ["SRV _sip._udp.b.example", "SRV _sip._tcp.b.example"], ["A b.example"]],
        ),
        ("sips:b.example", ALL, [["SRV _sips._tcp.b.example"], ["A b.example"]]),
        ("sip:b.example;transport=tls", ALL, [["SRV _sips._tcp.b.example"], ["A b.example"]]),
        ("sip:a@x.example;maddr=b.example", UDP, [["SRV _sip._udp.b.example"], ["A b.example"]]),
    ],
)
def test_the_steps_where_there_are_addresses_only(uri: str, supported: tuple[str, ...], steps: list[list[str]]) -> None:
    assert asked(uri, ADDRESS, supported) == steps


def test_naptr_and_ipv6_by_setting() -> None:
    assert asked("sip:b.example", ADDRESS, naptr=False) == [
        ["SRV _sip._udp.b.example", "SRV _sip._tcp.b.example"],
        ["A b.example"],
    ]
    assert asked("sip:b.example:5060", ADDRESS, ipv6=True) == [["A b.example", "AAAA b.example"]]
    assert found("sip:b.example:5060", ADDRESS, ipv6=True) == ["udp:192.0.2.1:5060", "udp:2001:db8::1:5060"]
    assert found("sip:b.example:5060", ADDRESS) == ["udp:192.0.2.1:5060"]


@pytest.mark.parametrize(
    ("uri", "supported", "target"),
    [
        ("sip:b.example:5070", BOTH, "udp:192.0.2.1:5070"),
        ("sip:b.example:5070;transport=tcp", BOTH, "tcp:192.0.2.1:5070"),
        ("sip:b.example;transport=tcp", BOTH, "tcp:192.0.2.1:5060"),
        ("sip:b.example", BOTH, "udp:192.0.2.1:5060"),
        ("sip:b.example.", BOTH, NotFound("no address")),
        ("sips:b.example", ALL, "tls:192.0.2.1:5061"),
    ],
)
def test_the_defaults_where_there_are_addresses_only(
    uri: str, supported: tuple[str, ...], target: str | NotFound
) -> None:
    assert found(uri, ADDRESS, supported) == (target if isinstance(target, NotFound) else [target])


# RFC 3263's own example, section 4.1 and 4.2.


def naptr(order: int, preference: int, service: str, name: str, flags: str = "s", regexp: str = "") -> Naptr:
    return Naptr(order, preference, flags, service, regexp, name)


EXAMPLE: Zone = {
    ("example.com", "NAPTR"): [
        naptr(100, 50, "SIP+D2U", "_sip._udp.example.com."),
        naptr(50, 50, "SIPS+D2T", "_sips._tcp.example.com."),
        naptr(90, 50, "SIP+D2T", "_sip._tcp.example.com."),
    ],
    ("_sip._tcp.example.com.", "SRV"): [
        Srv(0, 2, 5060, "server2.example.com."),
        Srv(0, 1, 5060, "server1.example.com."),
    ],
    ("_sip._udp.example.com.", "SRV"): [Srv(0, 1, 5060, "server3.example.com.")],
    ("_sips._tcp.example.com.", "SRV"): [Srv(0, 1, 5061, "server1.example.com.")],
    ("server1.example.com.", "A"): ["192.0.2.1"],
    ("server2.example.com.", "A"): ["192.0.2.2"],
    ("server3.example.com.", "A"): ["192.0.2.3"],
}


def test_the_first_naptr_record_that_is_served_chooses_the_transport() -> None:
    assert found("sip:example.com", EXAMPLE) == ["tcp:192.0.2.1:5060", "tcp:192.0.2.2:5060"]
    assert found("sip:example.com", EXAMPLE, ALL) == ["tls:192.0.2.1:5061"]
    assert asked("sip:example.com", EXAMPLE) == [
        ["NAPTR example.com"],
        ["SRV _sip._tcp.example.com.", "SRV _sip._udp.example.com."],
        ["A server1.example.com.", "A server2.example.com."],
    ]


def test_a_name_from_a_record_has_a_dot_at_its_end() -> None:
    """So that no search list applies to it."""
    zone: Zone = {("_sip._udp.b.example", "SRV"): [Srv(1, 1, 5060, "Host")], ("host.", "A"): ["192.0.2.1"]}
    assert found("sip:b.example;transport=udp", zone) == ["udp:192.0.2.1:5060"]


@pytest.mark.parametrize(
    "record",
    [
        naptr(1, 1, "SIPS+D2T", "_x.example."),
        naptr(1, 1, "E2U+sip", "_x.example."),
        naptr(1, 1, "SIP+D2U", "_x.example.", flags="u"),
        naptr(1, 1, "SIP+D2U", "_x.example.", regexp="!.*!x!"),
        naptr(1, 1, "SIP+D2U", "."),
        naptr(1, 1, "SIP+D2U", "a b.example."),
        Srv(1, 1, 1, "x."),
        "192.0.2.1",
    ],
)
def test_a_naptr_record_for_something_else_is_passed_over(record: Record) -> None:
    zone: Zone = {("b.example", "NAPTR"): [record], **ADDRESS}
    assert asked("sip:b.example", zone)[1:] == asked("sip:b.example", ADDRESS)[1:]


def test_naptr_services_and_flags_in_any_case() -> None:
    zone: Zone = {
        ("b.example", "NAPTR"): [naptr(1, 1, "sip+d2t", "srv.B.example", flags="S")],
        ("srv.b.example.", "SRV"): [Srv(1, 1, 5070, "h.example.")],
        ("h.example.", "A"): ["192.0.2.1"],
    }
    assert found("sip:b.example", zone) == ["tcp:192.0.2.1:5070"]


def test_the_next_service_where_the_first_has_no_records_or_no_addresses() -> None:
    zone = {**EXAMPLE, ("_sip._tcp.example.com.", "SRV"): []}
    assert found("sip:example.com", zone) == ["udp:192.0.2.3:5060"]
    zone = {**EXAMPLE, ("server1.example.com.", "A"): [], ("server2.example.com.", "A"): []}
    assert found("sip:example.com", zone) == ["udp:192.0.2.3:5060"]


def test_addresses_of_the_domain_where_there_is_no_srv_record_at_all() -> None:
    """RFC 3263 4.2, last paragraph. The transport is the one that NAPTR wants most."""
    zone: Zone = {("example.com", "NAPTR"): EXAMPLE["example.com", "NAPTR"], ("example.com", "A"): ["192.0.2.8"]}
    assert found("sip:example.com", zone) == ["tcp:192.0.2.8:5060"]


# SRV.


def test_srv_records_by_priority_each_with_its_port_and_all_its_addresses() -> None:
    zone: Zone = {
        ("_sip._udp.b.example", "SRV"): [Srv(20, 1, 5080, "two."), Srv(10, 1, 5070, "one."), Srv(30, 9, 5060, "gone.")],
        ("one.", "A"): ["192.0.2.1", "192.0.2.2"],
        ("two.", "A"): ["192.0.2.3"],
        ("b.example", "A"): ["192.0.2.99"],
    }
    assert found("sip:b.example", zone, UDP) == ["udp:192.0.2.1:5070", "udp:192.0.2.2:5070", "udp:192.0.2.3:5080"]


def test_the_same_target_once() -> None:
    zone: Zone = {
        ("_sip._udp.b.example", "SRV"): [Srv(1, 1, 5060, "one."), Srv(2, 1, 5060, "ONE"), Srv(3, 1, 5061, "one.")],
        ("one.", "A"): ["192.0.2.1", "192.0.2.1"],
    }
    assert found("sip:b.example", zone, UDP) == ["udp:192.0.2.1:5060", "udp:192.0.2.1:5061"]
    assert asked("sip:b.example", zone, UDP)[1] == ["A one."]


@pytest.mark.parametrize(
    "record", [Srv(0, 0, 0, "."), Srv(0, 0, 5060, "."), Srv(0, 0, 0, "h."), Srv(0, 0, 5060, "1.2")]
)
def test_a_service_that_is_not_offered(record: Srv) -> None:
    """RFC 2782: then the domain's own addresses are no way round."""
    zone: Zone = {("_sip._udp.b.example", "SRV"): [record], **ADDRESS}
    assert found("sip:b.example", zone, UDP) == NotFound("the service is not offered")
    both: Zone = {
        **zone,
        ("_sip._tcp.b.example", "SRV"): [Srv(0, 0, 5070, "h.")],
        ("h.", "A"): ["192.0.2.5"],
    }
    assert found("sip:b.example", both) == ["tcp:192.0.2.5:5070"]


def test_srv_hosts_without_addresses_are_no_reason_to_try_the_domain() -> None:
    zone: Zone = {("_sip._udp.b.example", "SRV"): [Srv(0, 0, 5060, "h.")], **ADDRESS}
    assert found("sip:b.example", zone, UDP) == NotFound("no address")


# Bounds.


def test_there_are_at_most_16_targets_and_16_hosts() -> None:
    hosts = [f"h{number}." for number in range(100)]
    zone: Zone = {("_sip._udp.b.example", "SRV"): [Srv(1, 0, 5060, host) for host in hosts]}
    _, steps = locate("sip:b.example", zone, UDP, ipv6=True)
    assert len(steps[1]) == 32
    zone = {("b.example", "A"): [f"192.0.2.{number}" for number in range(100)]}
    assert len(found("sip:b.example:5060", zone)) == 16


def test_a_name_that_is_too_long_with_its_service_is_not_asked_for() -> None:
    name = ".".join(["x" * 49] * 5)  # 249 characters; with _sip._udp. before it, 259
    zone: Zone = {(name, "A"): ["192.0.2.1"]}
    assert asked(f"sip:{name}", zone, UDP) == [[f"A {name}"]]
    assert found(f"sip:{name}", zone) == ["udp:192.0.2.1:5060"]


@pytest.mark.parametrize(
    "address",
    ["0.0.0.0", "::", "224.0.0.1", "ff02::1", "255.255.255.255", "fe80::1%eth0", "localhost", "", "1.2.3", "\xff"],
)
def test_what_is_no_address_to_send_to_is_passed_over(address: str) -> None:
    zone: Zone = {("b.example", "A"): [address, Srv(1, 1, 1, "x."), "192.0.2.1"]}
    assert found("sip:b.example:5060", zone) == ["udp:192.0.2.1:5060"]


# No answers.


def test_silence_where_the_way_parts_ends_it_at_once() -> None:
    """What would be asked next would be waited for as long again."""
    nothing = NotFound("DNS does not answer", temporary=True)
    assert locate("sip:b.example", {("b.example", "NAPTR"): SILENCE, **ADDRESS}) == (nothing, [["NAPTR b.example"]])
    zone: Zone = {("_sip._udp.b.example", "SRV"): SILENCE, **ADDRESS}
    assert found("sip:b.example", zone) == nothing
    assert found("sip:b.example:5060", {("b.example", "A"): SILENCE}) == nothing


def test_an_error_is_passed_over_as_far_as_possible() -> None:
    """There are servers that know no NAPTR and say so with an error."""
    zone: Zone = {("b.example", "NAPTR"): ERROR, ("_sip._udp.b.example", "SRV"): ERROR, **ADDRESS}
    assert found("sip:b.example", zone) == ["udp:192.0.2.1:5060"]
    zone = {("_sip._udp.b.example", "SRV"): SILENCE, ("_sip._tcp.b.example", "SRV"): ERROR, **ADDRESS}
    assert found("sip:b.example", zone) == NotFound("DNS does not answer", temporary=True)
    zone = {("b.example", "NAPTR"): ERROR}
    assert found("sip:b.example", zone) == NotFound("DNS gives no usable answer", temporary=True)


def test_what_one_server_of_several_lacks_is_no_reason_to_fail() -> None:
    zone: Zone = {
        ("_sip._udp.b.example", "SRV"): [Srv(1, 1, 5060, "one."), Srv(2, 1, 5060, "two.")],
        ("one.", "A"): SILENCE,
        ("two.", "A"): ["192.0.2.2"],
    }
    assert found("sip:b.example", zone, UDP) == ["udp:192.0.2.2:5060"]
    zone = {("_sip._udp.b.example", "SRV"): SILENCE, ("_sip._tcp.b.example", "SRV"): [Srv(1, 1, 5070, "two.")]}
    assert found("sip:b.example", {**zone, ("two.", "A"): ["192.0.2.2"]}) == ["tcp:192.0.2.2:5070"]


def test_an_answer_that_nobody_waits_for_changes_nothing() -> None:
    place = place_of("sip:b.example:5060", UDP)
    assert isinstance(place, Place)
    locator = Locator(place, lambda: 0.0, ipv6=True)
    locator.answer(Query("b.example", "NAPTR"), [naptr(1, 1, "SIP+D2U", "x.")])
    locator.answer(Query("x.example", "A"), ["192.0.2.9"])
    assert locator.next_queries() == [Query("b.example", "A"), Query("b.example", "AAAA")]
    locator.answer(Query("b.example", "A"), ["192.0.2.1"])
    locator.answer(Query("b.example", "A"), ["192.0.2.2"])
    assert locator.result() is None
    locator.answer(Query("b.example", "AAAA"), [])
    assert locator.result() == (Target("udp", "192.0.2.1", 5060),)
    locator.answer(Query("b.example", "A"), SILENCE)
    assert locator.result() == (Target("udp", "192.0.2.1", 5060),)
