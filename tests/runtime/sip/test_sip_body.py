"""Bodies in their parts (RFC 2046 5.1, RFC 3261 7.4, RFC 5621)."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from runtime.sip.body import (
    MAX_DEPTH,
    MAX_PART_HEADERS,
    MAX_PARTS,
    Part,
    find_part,
    matches_type,
    parse_media_type,
    read_body,
)
from runtime.sip.message import Request, parse

TORTURE = Path(__file__).parent / "torture"


def carrying(body: bytes, content_type: str | None = "multipart/mixed;boundary=b1", *more: str) -> Request:
    head = [
        "MESSAGE sip:bob@example.com SIP/2.0",
        "Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKa1",
        "From: <sip:alice@example.com>;tag=f1",
        "To: <sip:bob@example.com>",
        "Call-ID: c1",
        "CSeq: 1 MESSAGE",
        *([] if content_type is None else [f"Content-Type: {content_type}"]),
        *more,
    ]
    parsed = parse("\r\n".join([*head, "", ""]).encode("latin-1") + body)
    assert isinstance(parsed, Request), parsed
    return parsed


def read(body: bytes, content_type: str | None = "multipart/mixed;boundary=b1", *more: str) -> Part:
    part = read_body(carrying(body, content_type, *more))
    assert part is not None
    return part


def contents(body: bytes, content_type: str = "multipart/mixed;boundary=b1") -> list[bytes]:
    return [part.content for part in read(body, content_type).parts]


def test_no_body_is_none() -> None:
    assert read_body(carrying(b"")) is None
    assert read_body(carrying(b"abc", None, "Content-Length: 0")) is None
    assert find_part(carrying(b""), "text/plain") is None


def test_a_body_that_is_no_multipart_is_one_part() -> None:
    part = read(b"\x00\xff", 'Text/PLAIN ; Charset="utf-8";x')
    assert part == Part("text/plain", {"charset": "utf-8", "x": None}, {}, b"\x00\xff", "render")
    assert list(part.leaves()) == [part]
    assert read(b"x", None).media_type == read(b"x", "nonsense").media_type == ""


def test_what_a_body_is_for() -> None:
    assert read(b"v=0", "application/sdp").disposition == "session"
    assert read(b"v=0", "application/sdp", "Content-Disposition: Early-Session ;handling=optional").disposition == (
        "early-session"
    )
    assert read(b"v=0", "application/sdp", "Content-Disposition: ;").disposition == "session"
    assert read(b"x", "text/plain").disposition == "render"


def test_parts_with_their_headers() -> None:
    part = read(
        b"a preamble\r\n--b1 \t\r\n"
        b"Content-Type: application/SDP\r\n"
        b"content-disposition : session;\r\n handling=required\r\n"
        b"X-Odd : a: b\r\n"
        b"\r\nv=0\r\n\r\n--b1\r\n"
        b"\r\nno headers\r\n--b1\r\n"
        b"Content-Type: image/png\r\nContent-Disposition: icon\r\n\r\n--b1--\r\nan epilogue\r\n--b1\r\n\r\nnothing"
    )
    assert [(one.media_type, one.content, one.disposition) for one in part.parts] == [
        ("application/sdp", b"v=0\r\n", "session"),
        ("text/plain", b"no headers", "render"),
        ("image/png", b"", "icon"),
    ]
    assert part.parts[0].headers == {
        "content-type": "application/SDP",
        "content-disposition": "session; handling=required",
        "x-odd": "a: b",
    }
    assert part.content.startswith(b"a preamble"), "the whole stays as it came"
    assert list(part.leaves()) == list(part.parts)


def test_a_binary_part() -> None:
    """RFC 4475 3.1.1.11, with NULs and line ends in its second part."""
    message = parse((TORTURE / "mpart01.dat").read_bytes())
    assert isinstance(message, Request)
    part = read_body(message)
    assert part is not None
    text, binary = part.parts
    assert (text.content, text.headers["content-transfer-encoding"]) == (b"Hello", "binary")
    assert (binary.media_type, len(binary.content)) == ("application/octet-stream", 342)
    assert binary.content.startswith(b"\x30\x82\x01\x52\x06\x09\x2a\x86")
    assert binary.content.endswith(b"\x7b\x65\xbc\x99\xd0\x05")
    assert find_part(message, "application/octet-stream") == binary


def test_a_boundary_is_a_line_of_its_own() -> None:
    body = b"--b1\r\n\r\nx --b1\r\n--b10\r\n--b1 x\r\n--b1-\r\ny\n--b1\r\n--b1--"
    assert contents(body) == [b"x --b1\r\n--b10\r\n--b1 x\r\n--b1-\r\ny\n--b1"]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"--b1--", []),
        (b"--b1", []),
        (b"--b1\r\n", [b""]),
        (b"--b1\r\n--b1\r\n--b1--", [b"", b""]),
        (b"--b1\r\n\r\nabc", [b"abc"]),
        (b"--b1\r\n\r\nabc\r\n", [b"abc\r\n"]),
        (b"--b1\r\n\r\nabc\r\n--b1", [b"abc"]),
        (b"nothing of the kind", []),
        (b"--B1\r\n\r\nabc", []),
        (b"--b1\r\nnot a header\r\n\r\nabc\r\n--b1--", [b"abc"]),
        (b"--b1\r\nX: only a header\r\n--b1--", [b""]),
    ],
)
def test_multiparts_that_do_not_end_well(body: bytes, expected: list[bytes]) -> None:
    assert contents(body) == expected


@pytest.mark.parametrize("boundary", ["", '""', "x" * 71])
def test_without_a_proper_boundary_there_are_no_parts(boundary: str) -> None:
    body = b"--\r\n\r\na\r\n--" + b"x" * 71 + b"\r\n\r\na"
    part = read(body, f"multipart/mixed;boundary={boundary}")
    assert (part.parts, part.content) == ((), body)
    assert read(b"--b1\r\n\r\na", "multipart/mixed").parts == ()


def test_a_boundary_may_be_quoted() -> None:
    assert contents(b"--a b;\r\n\r\nabc\r\n--a b;--", 'multipart/related; boundary="a b;"; type=x') == [b"abc"]


def nested(depth: int) -> bytes:
    body = b"\r\nthe heart"
    for level in range(depth, 1, -1):
        mark = b"--b%d" % level
        body = b"Content-Type: multipart/mixed;boundary=b%d\r\n\r\n%b\r\n%b\r\n%b--" % (level, mark, body, mark)
    return b"--b1\r\n" + body + b"\r\n--b1--"


def test_multiparts_in_multiparts() -> None:
    hearts = [part.content for part in read(nested(MAX_DEPTH)).leaves()]
    assert hearts == [b"the heart"]


def test_too_deep_a_part_is_not_taken_apart() -> None:
    (leaf,) = read(nested(MAX_DEPTH + 1)).leaves()
    assert leaf.media_type == "multipart/mixed"
    assert b"the heart" in leaf.content


def test_too_many_parts_are_not_looked_at() -> None:
    inner = b"Content-Type: multipart/mixed;boundary=b2\r\n\r\n" + b"--b2\r\n\r\nx\r\n" * 40 + b"--b2--"
    part = read(b"".join(b"--b1\r\n" + inner + b"\r\n" for _ in range(40)) + b"--b1--")
    assert sum(1 + len(one.parts) for one in part.parts) == MAX_PARTS


def test_too_many_headers_are_not_looked_at() -> None:
    many = b"".join(b"X-%d: 1\r\n" % index for index in range(100))
    (part,) = read(b"--b1\r\n" + many + b"\r\nabc\r\n--b1--").parts
    assert (len(part.headers), part.content) == (MAX_PART_HEADERS, b"abc")


def test_of_a_repeated_header_the_first_stands() -> None:
    (part,) = read(b"--b1\r\n : x\r\n folded on nothing\r\nX: 1\r\nX: 2\r\n more\r\nx y: 3\r\n\r\n\r\n--b1--").parts
    assert part.headers == {"x": "1"}


def test_a_digest_holds_messages() -> None:
    (part,) = read(b"--b1\r\n\r\nabc\r\n--b1--", "multipart/digest;boundary=b1").parts
    assert part.media_type == "message/rfc822"


def test_a_part_is_found_by_its_type() -> None:
    message = carrying(nested(3).replace(b"\r\nthe heart", b"Content-Type: application/sdp\r\n\r\nv=0"))
    found = find_part(message, "Application/SDP")
    assert found is not None
    assert found.content == b"v=0"
    assert find_part(message, "application/*") == find_part(message, "*/*") == found
    assert find_part(message, "text/plain") is find_part(message, "multipart/mixed") is None
    assert find_part(carrying(b"v=0", "application/sdp"), "application/sdp") is not None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("text/plain", ("text/plain", {})),
        (' Text / Plain ; A = "b;\\"c\\\\" ;d', ("text/plain", {"a": 'b;"c\\', "d": None})),
        ("inline;handling=optional", ("", {})),
        ('a/b;x="', ("a/b", {"x": '"'})),
        ("a/b/c", ("", {})),
        ("/", ("", {})),
        ("a b/c", ("", {})),
        ("", ("", {})),
    ],
)
def test_media_types(text: str, expected: tuple[str, dict[str, str | None]]) -> None:
    assert parse_media_type(text) == expected


def test_types_match_by_kind() -> None:
    assert matches_type("text/plain", "TEXT/*")
    assert not matches_type("textual/plain", "text/*")
    assert not matches_type("text/plain", "text/html")


@pytest.mark.parametrize(
    "body",
    [
        b"--b1\r\n" * 10_000,
        b"\r\n--b1 x" * 7_000,
        b"--b1" * 15_000,
        b"\r\n--b1 \t" * 7_000,
        b"--b1\r\n" + b"X: 1\r\n" * 10_000,
        b"--b1\r\nX: 1" + b"\r\n " * 20_000,
        nested(4) * 200,
        b"-" * 60_000,
    ],
)
@pytest.mark.parametrize("boundary", ["b1", "-", "-" * 70])
def test_no_body_takes_long(body: bytes, boundary: str) -> None:
    message = carrying(body, f"multipart/mixed;boundary={boundary}")
    began = time.process_time()
    read_body(message)
    assert time.process_time() - began < 0.3
