"""Replies and where they go (RFC 3261 8.2.6, 18.2; RFC 3581)."""

from __future__ import annotations

import pytest

from runtime.context import Address
from runtime.sip.build import build_reply, clean_header, reply_target, reply_targets, stream_reply_target
from runtime.sip.message import Reply, Request, parse

SOURCE = Address("192.0.2.1", 40_000)


def request(
    via: str = "SIP/2.0/UDP 192.0.2.1:5070;branch=z9hG4bKa1",
    *more: str,
    method: str = "OPTIONS",
    to: str = "Bob <sip:bob@example.com>",
) -> Request:
    lines = [
        f"{method} sip:bob@example.com SIP/2.0",
        f"Via: {via}",
        "f: <sip:alice@example.com>;tag=f1",
        f"t: {to}",
        "i: c1",
        f"CSeq: 7 {method}",
        *more,
        "",
        "",
    ]
    parsed = parse("\r\n".join(lines).encode("latin-1"))
    assert isinstance(parsed, Request)
    return parsed


def build(asked: Request, status: int = 200, reason: str = "OK", source: Address = SOURCE, **more) -> Reply:
    parsed = parse(build_reply(asked, status, reason, source=source, to_tag="our1", **more))
    assert isinstance(parsed, Reply), parsed
    return parsed


def test_a_reply_byte_for_byte() -> None:
    assert build_reply(
        request("SIP/2.0/UDP a;branch=z9hG4bK1", "Via: SIP/2.0/UDP b;branch=z9hG4bK2"),
        486,
        "Busy Here",
        source=SOURCE,
        to_tag="our1",
        headers=["X-One: 1\r\n", "X-Two: 2"],
        body=b"no",
        server="layby",
    ) == (
        b"SIP/2.0 486 Busy Here\r\n"
        b"Via: SIP/2.0/UDP a;branch=z9hG4bK1;received=192.0.2.1\r\n"
        b"Via: SIP/2.0/UDP b;branch=z9hG4bK2\r\n"
        b"f: <sip:alice@example.com>;tag=f1\r\n"
        b"t: Bob <sip:bob@example.com>;tag=our1\r\n"
        b"i: c1\r\n"
        b"CSeq: 7 OPTIONS\r\n"
        b"X-One: 1\r\n"
        b"X-Two: 2\r\n"
        b"Server: layby\r\n"
        b"Content-Length: 2\r\n\r\n"
        b"no"
    )


@pytest.mark.parametrize(
    ("via", "answered", "target"),
    [
        ("SIP/2.0/UDP 192.0.2.1:5070;branch=b", "SIP/2.0/UDP 192.0.2.1:5070;branch=b", Address("192.0.2.1", 5070)),
        ("SIP/2.0/UDP 192.0.2.1:40000", "SIP/2.0/UDP 192.0.2.1:40000", SOURCE),
        ("SIP/2.0/UDP 192.0.2.1", "SIP/2.0/UDP 192.0.2.1", Address("192.0.2.1", 5060)),
        (
            "SIP/2.0/UDP 10.0.0.1:5070;rport;branch=b",
            "SIP/2.0/UDP 10.0.0.1:5070;rport=40000;received=192.0.2.1;branch=b",
            SOURCE,
        ),
        ("SIP/2.0/UDP 192.0.2.1;rport", "SIP/2.0/UDP 192.0.2.1;rport=40000;received=192.0.2.1", SOURCE),
        ("SIP/2.0/UDP h ; rport ;a=1", "SIP/2.0/UDP h;a=1;rport=40000;received=192.0.2.1", SOURCE),
        ("SIP/2.0/UDP h;rport=1;received=9.9.9.9", "SIP/2.0/UDP h;rport=40000;received=192.0.2.1", SOURCE),
        ("SIP/2.0/UDP h;rportx;rport", "SIP/2.0/UDP h;rportx;rport=40000;received=192.0.2.1", SOURCE),
        ('SIP/2.0/UDP h;x=";rport";rport', 'SIP/2.0/UDP h;x=";rport";rport=40000;received=192.0.2.1', SOURCE),
        ("SIP/2.0/UDP h;received=9.9.9.9", "SIP/2.0/UDP h;received=192.0.2.1", Address("192.0.2.1", 5060)),
        ("SIP/2.0/UDP h;maddr=203.0.113.9", "SIP/2.0/UDP h;maddr=203.0.113.9;received=192.0.2.1", None),
        ("SIP/2.0/UDP h, SIP/2.0/UDP i;rport", "SIP/2.0/UDP h;received=192.0.2.1, SIP/2.0/UDP i;rport", None),
    ],
)
def test_the_topmost_via_and_the_target(via: str, answered: str, target: Address | None) -> None:
    asked = request(via)
    assert build(asked).field("via") == answered
    assert reply_target(asked, SOURCE) == (target or Address("192.0.2.1", 5060))


@pytest.mark.parametrize(
    ("via", "port"),
    [
        ("SIP/2.0/TCP 192.0.2.1:5070", 5070),
        ("SIP/2.0/TCP 192.0.2.1:5070;rport", 5070),
        ("SIP/2.0/TCP 10.0.0.1:5070;received=203.0.113.9;maddr=203.0.113.9", 5070),
        ("SIP/2.0/TCP client.example.com", 5060),
        ("SIP/2.0/TLS client.example.com", 5061),
    ],
)
def test_over_a_stream_a_reply_goes_back_where_it_came_from_or_else_to_the_sent_by_port(via: str, port: int) -> None:
    asked = request(via)
    assert stream_reply_target(asked, SOURCE) == Address("192.0.2.1", port)
    assert reply_targets(asked, SOURCE, reliable=True) == (SOURCE, Address("192.0.2.1", port))
    assert reply_targets(asked, SOURCE, reliable=False) == (reply_target(asked, SOURCE), None)


def test_ipv6_brackets_are_no_difference() -> None:
    source = Address("2001:db8::1", 5060)
    assert (
        build(request("SIP/2.0/UDP [2001:db8::1]:5060"), source=source).field("via") == "SIP/2.0/UDP [2001:db8::1]:5060"
    )
    assert reply_target(request("SIP/2.0/UDP [2001:db8::1]"), source) == source


@pytest.mark.parametrize(
    ("to", "status", "tag"),
    [
        ("<sip:bob@example.com>", 200, "our1"),
        ("<sip:bob@example.com>", 404, "our1"),
        ("<sip:bob@example.com>", 100, None),
        ("<sip:bob@example.com>;TAG=theirs", 200, "theirs"),
        ('"tag" <sip:tag@example.com;tag=no>', 200, "our1"),
    ],
)
def test_the_to_tag(to: str, status: int, tag: str | None) -> None:
    asked = request(to=to)
    assert build(asked, status).to.tag == tag


def test_a_100_repeats_the_timestamp_and_others_do_not() -> None:
    asked = request("SIP/2.0/UDP h", "Timestamp: 54.1", method="INVITE")
    assert build(asked, 100, "Trying").get("timestamp") == "54.1"
    assert build(asked, 180, "Ringing").get("timestamp") is None


@pytest.mark.parametrize(
    ("method", "status", "copied"),
    [
        ("INVITE", 200, True),
        ("INVITE", 180, True),
        ("SUBSCRIBE", 202, True),
        ("INVITE", 100, False),
        ("INVITE", 486, False),
        ("OPTIONS", 200, False),
    ],
)
def test_record_route_goes_into_replies_that_make_a_dialog(method: str, status: int, copied: bool) -> None:
    asked = request("SIP/2.0/UDP h", "Record-Route: <sip:p1;lr>", "Record-Route: <sip:p2;lr>", method=method)
    expected = ["<sip:p1;lr>", "<sip:p2;lr>"] if copied else []
    assert build(asked, status).all("record-route") == expected


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("X-A: 1\r\n", "X-A: 1"),
        ("X-A:1", "X-A:1"),
        ("X-A: 1\r\nX-B: 2\r\n", "X-A: 1 X-B: 2"),
        ("X-A: 1\nX-B: 2", "X-A: 1 X-B: 2"),
        ("X-A: 1\r\n\r\nbody", "X-A: 1 body"),
        ("X-A: \0", "X-A:"),
        ("no colon", None),
        ("two words: 1", None),
        (": 1", None),
        ("", None),
        ("Content-Length: 5", None),
        ("l: 5", None),
        ("VIA : x", None),
        ("cseq: 1 X", None),
    ],
)
def test_a_header_line_stays_one(text: str, line: str | None) -> None:
    assert clean_header(text) == line
    reply = build(request(), headers=[text, "X-Last: 1"])
    assert len(reply.lines) == (8 if line else 7)
    assert reply.get("X-Last") == "1"


def test_nothing_is_injected_by_reason_or_server() -> None:
    reply = build(request(), 200, "OK\r\nX-Evil: 1\r\n\r\nbody", server="a\r\nX-Evil: 2")
    assert reply.reason == "OK X-Evil: 1 body"
    assert reply.get("Server") == "a X-Evil: 2"
    assert reply.get("X-Evil") is None
    assert reply.body == b""


def test_the_callers_own_mistakes_are_told() -> None:
    with pytest.raises(ValueError, match="no status"):
        build_reply(request(), 99, "x", source=SOURCE, to_tag="a")
    with pytest.raises(ValueError, match="no tag"):
        build_reply(request(), 200, "x", source=SOURCE, to_tag="a\r\nb")


def test_a_bad_request_is_answered() -> None:
    bad = parse(request().raw.replace(b"CSeq: 7 OPTIONS", b"CSeq: -7 OPTIONS"))
    assert not isinstance(bad, Request | Reply)
    answer = build_reply(bad.answerable, bad.status, bad.reason, source=SOURCE, to_tag="our1")
    assert answer.startswith(
        b"SIP/2.0 400 Malformed CSeq header\r\nVia: SIP/2.0/UDP 192.0.2.1:5070;branch=z9hG4bKa1\r\n"
    )
    assert b"\r\nCSeq: -7 OPTIONS\r\n" in answer
