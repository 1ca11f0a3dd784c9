"""What is refused whatever the script says (RFC 3261 8.2.2, 16.3)."""

from __future__ import annotations

import time

import pytest

from runtime.sip.judge import (
    MAX_UNSUPPORTED,
    Refusal,
    refuse,
    refuse_options,
    refuse_relaying,
    refuse_target,
)
from runtime.sip.message import Request, parse


def request(
    *more: str, method: str = "INVITE", from_: str = "<sip:alice@example.com>;tag=f1", to: str = "<sip:bob@example.com>"
) -> Request:
    lines = [
        f"{method} sip:bob@example.com SIP/2.0",
        "Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKa1",
        f"From: {from_}",
        f"t:{to}",
        "Call-ID: c1",
        f"CSeq: 1 {method}",
        *more,
    ]
    parsed = parse("\r\n".join([*lines, "", ""]).encode("latin-1"))
    assert isinstance(parsed, Request)
    return parsed


@pytest.mark.parametrize(
    "ruri",
    [
        "sip:bob@example.com",
        "sip:example.com",
        "SIP:bob@example.com",
        "sips:bob@example.com:5061;transport=tls",
        "sip:bob@192.0.2.1:65535",
        "sip:bob@[2001:db8::1]:5060;lr",
        "sip:+1-212-555@example.com;user=phone",
        "sip:a%20b:pw@example.com",
        "tel:+12125551212",
    ],
)
def test_targets_that_mean_something(ruri: str) -> None:
    assert refuse_target(ruri) is None


@pytest.mark.parametrize("ruri", ["isbn:2983792873", "soap.beep://192.0.2.103:3002", "h323:x@y", "urn:service:sos"])
def test_another_scheme_is_not_supported(ruri: str) -> None:
    assert refuse_target(ruri) == Refusal(416, "Unsupported URI Scheme")


@pytest.mark.parametrize(
    "ruri",
    [
        "example.com",
        "sip:",
        "sip:bob@",
        "sip:2001:db8::10",
        "sip:bob@example.com:70000",
        "1x:y",
        ":",
        "tel:alice",
        "sïp:a",
    ],
)
def test_what_is_no_target(ruri: str) -> None:
    assert refuse_target(ruri) == Refusal(400, "Malformed Request-URI")


def test_headers_in_a_target_are_refused() -> None:
    assert refuse_target("sip:bob@example.com?Route=x") == Refusal(400, "Headers in the Request-URI")
    assert refuse_target("sip:a?b@example.com") is None, "in the user part a question mark is a character"


@pytest.mark.parametrize(
    "address",
    [
        "<sip:a@b>;tag=1",
        "sip:a@b;tag=1",
        'Alice <sip:a@b>;tag=1;x="y, z"',
        '"Alice, \\"A\\"" <sip:a@b>',
        '"A"<sip:a@b>',
        "caller<sip:a@b>;tag=1",
        "J\xc3\xbcrgen O'Neil <sip:a@b>",
        "Dr. No: agent <sip:a@b>",
        "< sip:a@b >",
        "  \t<tel:+1>  ;  tag = 1",
        "<http://example.com/a,b;c>",
    ],
)
def test_addresses_that_can_be_read_in_one_way(address: str) -> None:
    assert refuse(request(from_=address, to=address)) is None


@pytest.mark.parametrize(
    "address",
    [
        "",
        "<>",
        "<sip:a@b",
        '"Alice <sip:a@b>;tag=1',
        "Bell, Alexander <sip:a@b>",
        "A; tag=2 <sip:a@b>",
        'A "B" <sip:a@b>',
        "sip:a@b, sip:c@d",
        "<sip:a@b>, <sip:c@d>",
        "<sip:a@b> x",
        "<<sip:a@b>>",
        "<sip:a b>",
    ],
)
def test_addresses_that_cannot(address: str) -> None:
    assert refuse(request(from_=address)) == Refusal(400, "Malformed From header")
    assert refuse(request(to=address)) == Refusal(400, "Malformed To header")


@pytest.mark.parametrize(("hops", "refused"), [("0", True), ("000", True), ("1", False), ("300", False), ("x", False)])
def test_a_request_that_has_gone_too_far(hops: str, refused: bool) -> None:
    found = request(f"Max-Forwards: {hops}")
    assert refuse(found) is None, "an endpoint takes it"
    assert refuse_relaying(found) == (Refusal(483, "Too Many Hops") if refused else None)


def test_without_max_forwards_a_request_may_go_on() -> None:
    assert refuse_relaying(request()) is None


def test_what_a_proxy_is_asked_for_and_cannot_do() -> None:
    found = request("Proxy-Require: foo, Sec-Agree", "Proxy-Require: bar", "Require: 100rel")
    assert refuse(found) is None
    assert refuse_relaying(found) == Refusal(420, "Bad Extension", ("Unsupported: foo, Sec-Agree, bar",))
    assert refuse_relaying(found, {"sec-agree"}) == Refusal(420, "Bad Extension", ("Unsupported: foo, bar",))
    assert refuse_relaying(found, {"foo", "bar", "sec-agree"}) is None
    assert refuse_options(found, "require") == Refusal(420, "Bad Extension", ("Unsupported: 100rel",))
    assert refuse_options(found, "require", {"100rel"}) is None


@pytest.mark.parametrize("method", ["ACK", "CANCEL"])
def test_an_ack_and_a_cancel_may_ask_for_anything(method: str) -> None:
    assert refuse_relaying(request("Proxy-Require: foo", method=method)) is None


def test_the_unsupported_are_named_only_where_they_are_names_and_not_by_the_thousand() -> None:
    many = ",".join(f"o{number}" for number in range(1000))
    refusal = refuse_relaying(request(f"Proxy-Require: {many}"))
    assert refusal is not None
    assert refusal.headers[0].count(",") == MAX_UNSUPPORTED - 1
    assert refuse_relaying(request("Proxy-Require: a b, <x>")) == Refusal(420, "Bad Extension")
    assert refuse_relaying(request("Proxy-Require: ,")) is None


@pytest.mark.parametrize(
    "text", [" " * 8000, '"' * 8000, '"\\' * 4000, "<" * 8000, "a " * 4000, "a," * 4000, ";a" * 4000]
)
def test_no_address_takes_long(text: str) -> None:
    began = time.process_time()
    refuse(request(from_=text + "<sip:a@b>", to="<sip:a@b>" + text))
    refuse_target("sip:" + text + "@b")
    assert time.process_time() - began < 0.1
