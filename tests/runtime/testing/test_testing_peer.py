"""What a phone of the tests received, as it reads it."""

from __future__ import annotations

from runtime.testing import Received

REPLY = Received(
    "SIP/2.0 200 All is well\r\n"
    "Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKa;rport\r\n"
    "via : SIP/2.0/UDP 192.0.2.2\r\n"
    "X-Empty:\r\n"
    "Call-ID: one\r\n"
    "CSeq: 7 OPTIONS\r\n"
    "\r\n"
    "X-Body: none of the headers\r\n"
)


def test_a_reply_is_read() -> None:
    assert (REPLY.is_reply, REPLY.status, REPLY.reason) == (True, 200, "All is well")
    assert (REPLY.method, REPLY.call_id, REPLY.branch) == ("OPTIONS", "one", "z9hG4bKa")
    assert REPLY.body == "X-Body: none of the headers\r\n"


def test_a_header_line_has_what_stands_on_it_and_nothing_of_the_next() -> None:
    assert REPLY.headers("Via") == ["SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKa;rport", "SIP/2.0/UDP 192.0.2.2"]
    assert (REPLY.header("X-Empty"), REPLY.headers("X-Empty")) == ("", [""])
    assert (REPLY.header("X-Body"), REPLY.headers("X-Body")) == ("", [])


def test_a_request_is_read() -> None:
    request = Received("MESSAGE sip:bob@example.com SIP/2.0\r\nCSeq: 1 MESSAGE\r\n\r\n")
    assert (request.is_reply, request.method, request.ruri, request.status) == (
        False,
        "MESSAGE",
        "sip:bob@example.com",
        0,
    )
