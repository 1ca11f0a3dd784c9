"""Requests of our own as bytes, their next hop, and the ACK of a 2xx (RFC 3261 8.1.1, 8.1.2, 13.2.2.4)."""

from __future__ import annotations

import contextlib
import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.sip.forward import forwarded_request
from runtime.sip.message import Reply, Request, parse
from runtime.sip.own_request import PLACEHOLDER_VIA, OwnRequest, ack_of_success, built, next_hop, request_of

MESSAGE = OwnRequest("MESSAGE", "sip:bob@192.0.2.9", "<sip:us@here>;tag=1", "<sip:bob@there>", "id@layby", 7)
INVITE = dataclasses.replace(MESSAGE, method="INVITE")


def reply_to(request: Request, status: int = 200, *lines: str) -> Reply:
    head = [
        f"SIP/2.0 {status} x",
        f"Via: {request.field('via')}",
        f"From: {request.field('from')}",
        f"To: {request.field('to')};tag=theirs",
        f"Call-ID: {request.call_id}",
        f"CSeq: {request.field('cseq')}",
        *lines,
    ]
    parsed = parse(("\r\n".join(head) + "\r\n\r\n").encode("latin-1"))
    assert isinstance(parsed, Reply), parsed
    return parsed


# --- what is built


def test_a_request_has_what_every_request_must_have_and_nothing_else() -> None:
    assert built(MESSAGE).raw == (
        b"MESSAGE sip:bob@192.0.2.9 SIP/2.0\r\n"
        b"Via: " + PLACEHOLDER_VIA.encode() + b"\r\n"
        b"Max-Forwards: 70\r\n"
        b"From: <sip:us@here>;tag=1\r\n"
        b"To: <sip:bob@there>\r\n"
        b"Call-ID: id@layby\r\n"
        b"CSeq: 7 MESSAGE\r\n"
        b"Content-Length: 0\r\n\r\n"
    )


def test_a_request_has_its_routes_headers_and_body_in_order() -> None:
    request = built(
        dataclasses.replace(
            MESSAGE,
            routes=("<sip:one;lr>", "<sip:two;lr>"),
            headers=("Content-Type: text/plain", "X-One: 1\r\n", "X-Two: 2"),
            body=b"hi\xff",
        )
    )
    assert request.all("route") == ["<sip:one;lr>", "<sip:two;lr>"]
    assert [line for line in request.lines if line.startswith(("X-", "Content"))] == [
        "Content-Type: text/plain",
        "X-One: 1",
        "X-Two: 2",
        "Content-Length: 3",
    ]
    assert request.body == b"hi\xff"


def test_headers_that_the_request_has_anyway_are_left_out() -> None:
    request = built(dataclasses.replace(MESSAGE, headers=("Call-ID: other", "To: <sip:x@y>", "no header", "X: kept")))
    assert request.raw.count(b"Call-ID") == 1
    assert request.field("x") == "kept"
    assert b"no header" not in request.raw


@pytest.mark.parametrize(
    "changed",
    [
        {"from_": "<sip:us@here>\r\nX-Smuggled: 1"},
        {"to": "<sip:us@here>\nX-Smuggled: 1"},
        {"call_id": "a\r\nX-Smuggled: 1"},
        {"routes": ["<sip:one;lr>\r\nX-Smuggled: 1"]},
        {"headers": ["X-One: 1\r\nX-Smuggled: 1"]},
    ],
)
def test_a_value_cannot_start_a_header(changed: dict[str, str]) -> None:
    request = built(dataclasses.replace(MESSAGE, **changed))
    assert request.field("x-smuggled") is None
    assert b"X-Smuggled: 1" in request.raw


@pytest.mark.parametrize(
    "changed",
    [
        {"method": "ME SSAGE"},
        {"method": ""},
        {"method": "A\r\nB"},
        {"ruri": ""},
        {"ruri": "<sip:bob@there>"},
        {"ruri": "sip:bob there"},
        {"ruri": "sip:bob@there SIP/2.0\r\nX-Smuggled: 1"},
        {"ruri": "sip:bob@there\r\n\r\n"},
        {"cseq": 2**31},
        {"cseq": -1},
        {"body": b"x" * 65_536},
    ],
)
def test_what_would_be_no_request_is_refused(changed: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"."):
        built(dataclasses.replace(MESSAGE, **changed))


def test_the_placeholder_makes_room_for_our_via() -> None:
    via = "SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKreal"
    request = built(MESSAGE)
    sent = parse(forwarded_request(request, ruri=request.ruri, via=via, source=None, max_forwards=70))
    assert isinstance(sent, Request)
    assert sent.fields("via") == [via]
    assert sent.max_forwards == 70


# --- where it goes


@pytest.mark.parametrize(
    ("routes", "hop"),
    [
        ((), "sip:bob@192.0.2.9"),
        (("<sip:one;lr>",), "sip:one;lr"),
        (("<sip:one;lr>;x=1", "<sip:two;lr>"), "sip:one;lr"),
        (('"a <b>" <sip:one;lr>',), "sip:one;lr"),
        (("sip:one;lr",), "sip:one;lr"),
    ],
)
def test_the_next_hop_is_the_first_route_or_else_the_request_uri(routes: tuple[str, ...], hop: str) -> None:
    assert next_hop(built(dataclasses.replace(MESSAGE, routes=routes))) == hop


# --- the ACK of a 2xx


def test_the_ack_goes_to_the_contact_along_the_recorded_routes_backwards() -> None:
    sent = built(INVITE)
    reply = reply_to(
        sent,
        200,
        "Contact: <sip:bob@192.0.2.77:5062>",
        "Record-Route: <sip:p1;lr>, <sip:p2;lr>",
        "Record-Route: <sip:p3;lr>",
    )
    assert ack_of_success(sent, reply) == OwnRequest(
        "ACK",
        "sip:bob@192.0.2.77:5062",
        "<sip:us@here>;tag=1",
        "<sip:bob@there>;tag=theirs",
        "id@layby",
        7,
        routes=["<sip:p3;lr>", "<sip:p2;lr>", "<sip:p1;lr>"],
        headers=[],
    )


def test_the_ack_within_a_dialog_keeps_the_route_set_that_the_request_had() -> None:
    sent = built(dataclasses.replace(INVITE, to="<sip:bob@there>;tag=known", routes=["<sip:p9;lr>"]))
    ack = ack_of_success(sent, reply_to(sent, 200, "Contact: <sip:bob@192.0.2.77>", "Record-Route: <sip:p1;lr>"))
    assert ack.routes == ["<sip:p9;lr>"]


def test_the_ack_has_the_credentials_of_its_invite() -> None:
    credentials = ["Authorization: Digest a", "Proxy-Authorization: Digest b"]
    sent = built(dataclasses.replace(INVITE, headers=[*credentials, "Subject: x"]))
    assert list(ack_of_success(sent, reply_to(sent)).headers) == credentials


@pytest.mark.parametrize(
    "contact",
    [
        (),
        ("Contact: *",),
        ("Contact: <sip:a b@c>",),
        ("Contact: <>",),
        ("Contact: <sip:bob@192.0.2.77",),
        ("Contact: <sip:bob@192.0.2.77> SIP/2.0",),
        ("Contact: <urn:x>",),
    ],
)
def test_a_contact_that_nothing_can_be_sent_to_leaves_the_request_uri(contact: tuple[str, ...]) -> None:
    sent = built(INVITE)
    ack = ack_of_success(sent, reply_to(sent, 200, *contact))
    assert ack.ruri == "sip:bob@192.0.2.9"
    assert built(ack).method == "ACK"


@pytest.mark.parametrize("end", ["\r\n", "\n", "\\r\\n"])
def test_headers_come_as_text(end: str) -> None:
    lines = ["f: <sip:a@h>;tag=own", "t: <sip:b@h>;tag=theirs", "i: one@two", "CSeq: 5 INFO", "Max-Forwards: 1", "X: y"]
    wanted = request_of("INFO", "sip:b@h", end.join(lines), b"", call_id="made", tag="made")
    assert wanted == OwnRequest(
        "INFO", "sip:b@h", "<sip:a@h>;tag=own", "<sip:b@h>;tag=theirs", "one@two", 5, headers=["X: y"]
    )


def test_what_the_headers_do_not_say_is_made() -> None:
    wanted = request_of("INFO", "sip:b@h", "From: sip:a@h\nTo: sip:b@h", b"", call_id="made", tag="new")
    assert (wanted.from_, wanted.call_id, wanted.cseq) == ("sip:a@h;tag=new", "made", 1)
    assert built(wanted).from_.tag == "new"


@given(st.text(st.characters(max_codepoint=255), max_size=80), st.binary(max_size=5))
def test_any_text_of_headers_gives_a_request_or_a_reason(text: str, body: bytes) -> None:
    headers = f"From: <sip:a@h>\r\nTo: <sip:b@h>\r\nContent-Type: a/b\r\n{text}"
    with contextlib.suppress(ValueError):
        request = built(request_of("INFO", "sip:b@h", headers, body, call_id="made", tag="new"))
        assert (request.method, request.ruri, request.body) == ("INFO", "sip:b@h", body)
        assert request.from_.uri == "sip:a@h"
        assert request.names.count("to") == 1
