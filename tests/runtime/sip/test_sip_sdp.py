"""Session descriptions (RFC 8866, RFC 3264, RFC 3551)."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from runtime.sip.message import Reply, Request, parse
from runtime.sip.sdp import (
    MAX_STREAMS,
    Codec,
    Connection,
    Origin,
    Session,
    Stream,
    lines_of,
    parse_sdp,
    sdp_of,
    split_streams,
    values_of,
)

TORTURE = Path(__file__).parent / "torture"
OFFER = (
    b"v=0\r\n"
    b"o=alice 2890844526 1 IN IP4 host.example.com\r\n"
    b"s=A call\r\n"
    b"c=IN IP4 192.0.2.1\r\n"
    b"t=0 0\r\n"
    b"a=group:BUNDLE 1 2\r\n"
    b"a=sendonly\r\n"
    b"m=audio 49170/2 RTP/AVP 0 97 101 99\r\n"
    b"a=rtpmap:97 iLBC/8000\r\n"
    b"a=rtpmap:101 telephone-event/8000/1\r\n"
    b"a=fmtp:101 0-15\r\n"
    b"m=video 0 RTP/SAVP 31\r\n"
    b"c=IN IP6 2001:db8::1\r\n"
    b"a=inactive\r\n"
    b"m=message 2855 TCP/MSRP *\r\n"
    b"a=recvonly\r\n"
    b"a=path:msrp://192.0.2.1:2855/s;tcp\r\n"
)


def read(content: bytes = OFFER) -> Session:
    session = parse_sdp(content)
    assert session is not None
    return session


def carried_by(name: str) -> Session:
    message = parse((TORTURE / f"{name}.dat").read_bytes())
    assert isinstance(message, Request | Reply)
    session = sdp_of(message)
    assert session is not None
    return session


def test_a_session_in_its_parts() -> None:
    session = read()
    assert session.origin == Origin("alice", "2890844526", "1", Connection("IN", "IP4", "host.example.com"))
    assert session.name == "A call"
    assert session.connection == Connection("IN", "IP4", "192.0.2.1")
    assert session.attributes == (("group", "BUNDLE 1 2"), ("sendonly", None))
    assert session.lines[4] == "t=0 0"
    assert len(session.lines) == 7


def test_its_streams_in_theirs() -> None:
    audio, video, text = read().streams
    assert audio == Stream(
        "audio",
        49170,
        2,
        "RTP/AVP",
        ("0", "97", "101", "99"),
        Connection("IN", "IP4", "192.0.2.1"),
        (("rtpmap", "97 iLBC/8000"), ("rtpmap", "101 telephone-event/8000/1"), ("fmtp", "101 0-15")),
        "sendonly",
        (
            "m=audio 49170/2 RTP/AVP 0 97 101 99",
            "a=rtpmap:97 iLBC/8000",
            "a=rtpmap:101 telephone-event/8000/1",
            "a=fmtp:101 0-15",
        ),
    )
    assert (video.port, video.ports, video.protocol) == (0, 1, "RTP/SAVP")
    assert video.connection == Connection("IN", "IP6", "2001:db8::1")
    assert (text.kind, text.formats, text.direction) == ("message", ("*",), "recvonly")


def test_formats_have_names() -> None:
    audio, video, text = read().streams
    assert audio.codecs() == (
        Codec("0", "PCMU", 8000),
        Codec("97", "iLBC", 8000),
        Codec("101", "telephone-event", 8000),
        Codec("99", "", 0),
    )
    assert video.codecs() == (Codec("31", "H261", 90000),)
    assert text.codecs() == (Codec("*", "", 0),)
    (odd,) = read(b"v=0\nm=audio 1 RTP/AVP 0 9\na=rtpmap:0 Own/16000\na=rtpmap:9 Bad/x\na=rtpmap\n").streams
    assert odd.codecs() == (Codec("0", "Own", 16000), Codec("9", "Bad", 0))


@pytest.mark.parametrize(
    ("lines", "on_hold"),
    [
        (b"c=IN IP4 192.0.2.1\r\n", False),
        (b"c=IN IP4 0.0.0.0\r\n", True),
        (b"c=IN IP4 192.0.2.1\r\na=sendonly\r\n", True),
        (b"c=IN IP4 192.0.2.1\r\na=inactive\r\n", True),
        (b"c=IN IP4 192.0.2.1\r\na=recvonly\r\n", False),
        (b"", False),
    ],
)
def test_a_stream_on_hold(lines: bytes, on_hold: bool) -> None:
    for content in (b"v=0\r\n" + lines + b"m=audio 1 RTP/AVP 0\r\n", b"v=0\r\nm=audio 1 RTP/AVP 0\r\n" + lines):
        (stream,) = read(content).streams
        assert stream.is_on_hold is on_hold


def test_a_stream_says_otherwise_than_its_session() -> None:
    first, second = read(b"v=0\na=inactive\nm=audio 1 RTP/AVP 0\na=sendrecv\nm=audio 3 RTP/AVP 0").streams
    assert (first.direction, second.direction) == ("sendrecv", "inactive")
    assert read(b"v=0\nm=audio 1 RTP/AVP 0").streams[0].direction == "sendrecv"


def test_what_is_left_out_and_what_is_unknown() -> None:
    session = read(b"v=0\nz=\n\no=too short\nx=y\nnot a line")
    assert session == Session(None, "", None, (), (), ("v=0", "z=", "o=too short", "x=y", "not a line"))
    assert read(b"v=0\nc=IN IP4\n").connection is None
    assert read(b"v=0\ns=caf\xc3\xa9 \xff\n").name == "caf\xc3\xa9 \xff"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\r\n",
        b"o=- 1 1 IN IP4 a\r\n",
        b" v=0",
        b"v=0\r\nm=audio\r\n",
        b"v=0\r\nm=audio 1\r\n",
        b"v=0\r\nm=audio x RTP/AVP 0\r\n",
        b"v=0\r\nm=audio -1 RTP/AVP 0\r\n",
        b"v=0\r\nm=audio 65536 RTP/AVP 0\r\n",
        b"v=0\r\nm=audio 1/x RTP/AVP 0\r\n",
        b"v=0\r\nm=audio \xb2 RTP/AVP 0\r\n",
        b"v=0\r\n" + b"m=audio 1 RTP/AVP 0\r\n" * (MAX_STREAMS + 1),
        b"v=0\r\n" + b"a=x\r\n" * 3_000,
    ],
)
def test_what_is_no_description(content: bytes) -> None:
    assert parse_sdp(content) is None


@pytest.mark.parametrize(
    ("name", "session", "streams"),
    [
        ("wsinv", "192.0.2.4", ["192.0.2.4", "192.0.2.4"]),
        ("ipv6-in-sdp", "2001:db8::20", ["2001:db8::20", "2001:db8::20"]),
        ("mult-ip-in-sdp", None, ["192.0.2.1", "2001:db8::1"]),
        ("ipv4-mapped-ipv6", "::ffff:192.0.2.2", ["::ffff:192.0.2.2", "::ffff:192.0.2.2"]),
    ],
)
def test_the_addresses_of_the_torture_messages(name: str, session: str | None, streams: list[str]) -> None:
    found = carried_by(name)
    assert (found.connection and found.connection.address) == session
    assert [stream.connection and stream.connection.address for stream in found.streams] == streams


def test_a_description_in_a_multipart_is_found() -> None:
    body = b"--b\r\n\r\nhello\r\n--b\r\nContent-Type: application/sdp\r\n\r\n" + OFFER + b"\r\n--b--"
    head = (
        b"INVITE sip:b SIP/2.0\r\nv:SIP/2.0/UDP a\r\nf:<sip:a>\r\nt:<sip:b>\r\ni:c\r\nCSeq: 1 INVITE\r\n"
        b"c: multipart/mixed;boundary=b\r\n\r\n"
    )
    message = parse(head + body)
    assert isinstance(message, Request)
    assert sdp_of(message) == read()
    plain = parse(head.replace(b"multipart/mixed;boundary=b", b"text/plain") + OFFER)
    assert isinstance(plain, Request)
    assert sdp_of(plain) is None


def test_the_values_of_an_attribute() -> None:
    attributes = read().streams[0].attributes
    assert values_of(attributes, "rtpmap") == ["97 iLBC/8000", "101 telephone-event/8000/1"]
    assert values_of(read().attributes, "sendonly") == [""]
    assert values_of(attributes, "none") == []


@pytest.mark.parametrize(
    "text", ["", "v=0", "m=a\r\nb", "v=0\r\nm=a\r\nm=b", "v=0\nm=a\x85m=b\x0b\nm=c\n", OFFER.decode("latin-1")]
)
def test_the_streams_put_together_are_the_text(text: str) -> None:
    head, streams = split_streams(text)
    assert head + "".join(streams) == "".join(lines_of(text)) == text
    assert all(stream.startswith("m=") for stream in streams)
    assert "m=" not in head.split("\n")


@pytest.mark.parametrize(
    "content",
    [
        b"\n" * 65_000,
        b"v=0\n" + b"a=" * 30_000,
        b"v=0\n" + b"m=audio 1 RTP/AVP" + b" 0" * 30_000,
        b"v=0\n" + b"c=IN IP4 1\n" * 2_000,
        b"v=0\n" + (b"m=audio 1 RTP/AVP 0\n" + b"a=x\n" * 30) * 60,
        b"v=0\nm=audio " + b"9" * 60_000 + b" RTP/AVP 0",
        b"v=0\nm=audio 1 RTP/AVP 0\n" + b"a=rtpmap:0 x/" + b"9" * 60_000,
    ],
)
def test_no_description_takes_long(content: bytes) -> None:
    began = time.process_time()
    session = parse_sdp(content)
    if session is not None:
        for stream in session.streams:
            stream.codecs()
    assert time.process_time() - began < 1.0, "a quadratic reading would take minutes"
