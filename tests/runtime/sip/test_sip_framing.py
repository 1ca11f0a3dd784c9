"""Cutting a stream into messages: RFC 3261 18.3, and the keep-alive of RFC 5626 3.5.1."""

from __future__ import annotations

import time

import pytest

from runtime.sip.framing import PING, Broken, Framed, Framer


def message(
    body: bytes = b"", *, length: bytes | None = None, name: bytes = b"Content-Length", pad: bytes = b""
) -> bytes:
    value = str(len(body)).encode() if length is None else length
    return b"OPTIONS sip:a@b SIP/2.0\r\nCall-ID: 1%s\r\n%s: %s\r\n\r\n%s" % (pad, name, value, body)


def head(*lines: bytes) -> bytes:
    return b"".join(line + b"\r\n" for line in (b"OPTIONS sip:a@b SIP/2.0", *lines)) + b"\r\n"


def feed(*reads: bytes, framer: Framer | None = None) -> list[Framed]:
    framer = framer or Framer()
    return [one for data in reads for one in framer.feed(data)]


def test_a_whole_message_in_one_read_is_that_very_object() -> None:
    data = message(b"body")
    (found,) = Framer().feed(data)
    assert found is data


def test_several_messages_in_one_read_come_in_order() -> None:
    one, two, three = message(), message(b"x" * 100), message(b"yz")
    assert feed(one + two + three) == [one, two, three]


def test_a_body_may_hold_what_looks_like_an_end_of_head() -> None:
    one = message(b"a\r\n\r\nContent-Length: 7\r\n\r\n")
    assert feed(one + message()) == [one, message()]


def test_a_message_that_comes_byte_by_byte_is_whole_with_its_last_byte() -> None:
    data = message(b"body")
    framer = Framer()
    for at in range(len(data) - 1):
        assert framer.feed(data[at : at + 1]) == []
        assert framer.partial
    assert framer.feed(data[-1:]) == [data]
    assert not framer.partial


def test_what_follows_the_end_of_a_split_message_is_cut_as_well() -> None:
    one, two = message(b"first"), message(b"second")
    assert feed(one[:50], one[50:] + two + two[:30], two[30:]) == [one, two, two]


@pytest.mark.parametrize(
    "line",
    [
        b"Content-Length: 4",
        b"Content-Length:4",
        b"content-length: 4",
        b"CONTENT-LENGTH:\t4 ",
        b"Content-Length : 4",
        b"l: 4",
        b"L:4",
        b"l\t: 4",
        b"Content-Length:\r\n 4",
        b"Content-Length: 0000000000000004",
        b"Lambda: x\r\nContent-Length: 4",
        b"Content-Length-Of-Something: 9\r\nContent-Length: 4",
        b"Subject: x\r\n l: 9\r\nContent-Length: 4",
    ],
)
def test_every_spelling_of_content_length_is_read(line: bytes) -> None:
    assert feed(head(line) + b"bodyrest"[:4] + message()) == [head(line) + b"body", message()]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"Subject: none", "Missing Content-Length header"),
        (b"Content-Length: -1", "Malformed Content-Length header"),
        (b"Content-Length: +1", "Malformed Content-Length header"),
        (b"Content-Length: 1_0", "Malformed Content-Length header"),
        (b"Content-Length:", "Malformed Content-Length header"),
        (b"Content-Length: 0x10", "Malformed Content-Length header"),
        (b"Content-Length: 1\r\n 2", "Malformed Content-Length header"),
        (b"Content-Length: 4, 4", "Malformed Content-Length header"),
        (b"Content-Length: \xb2", "Malformed Content-Length header"),
        (b"Content-Length: 4\r\nContent-Length: 5", "Repeated Content-Length header"),
        (b"Content-Length: 4\r\nContent-Length: 4", "Repeated Content-Length header"),
        (b"Content-Length: 4\r\nl: 5", "Repeated Content-Length header"),
        (b"l: 4\r\ncontent-length : 5", "Repeated Content-Length header"),
    ],
)
def test_a_hostile_content_length_breaks_the_stream_and_its_head_is_kept_for_an_answer(
    line: bytes, reason: str
) -> None:
    assert feed(message() + head(line) + message()) == [message(), Broken(reason, head(line))]


@pytest.mark.parametrize("length", [b"65536", b"4294967296", b"99999999999999999999999999", b"9" * 5000])
def test_a_message_that_says_it_is_too_large_breaks_the_stream_before_its_body_comes(length: bytes) -> None:
    whole = head(b"Content-Length: " + length)
    assert feed(whole) == [Broken("Message too large", whole, 513)]


def test_a_message_of_just_the_limit_is_taken() -> None:
    start = len(message(length=b"60000"))
    data = message(b"x" * (1000 - start + 2), length=b"%d" % (1000 - start + 2))
    exact = Framer(max_message=len(data))
    assert feed(data[:500], data[500:], framer=exact) == [data]
    assert feed(data, framer=Framer(max_message=len(data) - 1)) == [
        Broken("Message too large", data[: data.find(b"\r\n\r\n") + 4], 513)
    ]


def test_a_head_that_never_ends_breaks_the_stream_at_its_limit() -> None:
    framer = Framer(max_head=100)
    assert framer.feed(b"A" * 60) == []
    assert framer.feed(b"A" * 40) == []
    assert framer.feed(b"A") == [Broken("Header section too long", status=513)]


def test_a_head_beyond_its_limit_breaks_the_stream_although_it_ends() -> None:
    data = message(pad=b"x" * 100)
    assert feed(data, framer=Framer(max_head=100)) == [Broken("Header section too long", status=513)]
    assert feed(data[:50], data[50:], framer=Framer(max_head=100)) == [Broken("Header section too long", status=513)]


@pytest.mark.parametrize("garbage", [b"\x16\x03\x01\x02\x00\x01", b"\x00", b"\xff\xfe", b" OPTIONS", b"<xml/>", b'"'])
def test_what_begins_no_message_breaks_the_stream_with_its_first_byte(garbage: bytes) -> None:
    assert feed(garbage) == [Broken("Not a SIP message")]


def test_another_protocol_breaks_the_stream_for_want_of_a_content_length() -> None:
    assert feed(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")[0] == Broken(
        "Missing Content-Length header", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
    )


def test_a_broken_stream_says_nothing_more() -> None:
    framer = Framer()
    assert framer.feed(b"\x00") == [Broken("Not a SIP message")]
    assert framer.feed(message()) == []
    assert not framer.partial


def test_a_double_crlf_is_a_ping_and_a_single_one_is_nothing() -> None:
    assert feed(b"\r\n\r\n") == [PING]
    assert feed(b"\r\n") == []
    assert feed(b"\r\n", b"\r\n") == [PING]
    assert feed(b"\r", b"\n\r", b"\n") == [PING]
    assert feed(b"\r\n" * 5) == [PING, PING]
    assert feed(message() + b"\r\n\r\n" + message()) == [message(), PING, message()]
    assert PING.answer == b"\r\n"


def test_line_ends_before_a_message_are_not_part_of_it() -> None:
    assert feed(b"\r\n" + message()) == [message()]
    assert feed(b"\r\n", message() + b"\r\n", b"\r\n") == [message(), PING]
    assert feed(b"\r\n" + message() + b"\r\n") == [message()]


def test_line_ends_that_are_no_crlf_are_no_ping() -> None:
    assert feed(b"\n\n\n\n") == []
    assert feed(b"\n\r\n\r\n") == [PING]
    assert feed(b"\r\r\n\r\n") == [PING]
    assert feed(b"\r\n\r\r\n\r\n") == [PING]


def test_a_sender_of_single_bytes_costs_linear_work() -> None:
    began = time.process_time()
    framer = Framer()
    for _ in range(65_000):
        framer.feed(b"A")
    framer = Framer()
    framer.feed(head(b"Content-Length: 65000"))
    for _ in range(65_000):
        framer.feed(b"x")
    assert time.process_time() - began < 1.0  # measured: 0.05; searched from the start each time: 40


def test_a_read_full_of_line_ends_costs_linear_work() -> None:
    began = time.process_time()
    assert len(feed(*[b"\r\n" * 32_768] * 20)) == 20 * 16_384
    small = b"X\r\nl:0\r\n\r\n"
    assert len(feed(b"\r\n".join([small] * 20_000))) == 20_000
    folded = b"\r\n " * 20_000
    assert feed(head(b"Content-Length: 4" + folded) + b"body") == [head(b"Content-Length: 4" + folded) + b"body"]
    assert time.process_time() - began < 1.0
