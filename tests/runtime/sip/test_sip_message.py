"""Datagrams to messages (RFC 3261 section 7; several of the torture tests of RFC 4475, in our own words)."""

from __future__ import annotations

import time

import pytest

from runtime.sip.fields import NameAddr, Via
from runtime.sip.message import Bad, KeepAlive, Reply, Request, dummy_request, parse

HEADERS = [
    "Via: SIP/2.0/UDP 192.0.2.1:5070;branch=z9hG4bKa1",
    "From: <sip:alice@example.com>;tag=f1",
    "To: <sip:bob@example.com>",
    "Call-ID: c1@192.0.2.1",
    "CSeq: 7 OPTIONS",
]


def datagram(*headers: str, start: str = "OPTIONS sip:bob@example.com SIP/2.0", body: bytes = b"") -> bytes:
    lines = [start, *(headers or HEADERS), "", ""]
    return "\r\n".join(lines).encode("latin-1") + body


def without(name: str) -> list[str]:
    return [line for line in HEADERS if not line.startswith(name)]


def request(data: bytes) -> Request:
    parsed = parse(data)
    assert isinstance(parsed, Request), parsed
    return parsed


def bad(data: bytes) -> Bad:
    parsed = parse(data)
    assert isinstance(parsed, Bad), parsed
    return parsed


def test_a_request_in_its_parts() -> None:
    data = datagram(
        *HEADERS,
        "Max-Forwards: 70",
        'Contact: "A, B" <sip:a@192.0.2.1;transport=udp>;expires=60, <sip:c@d>',
        "Expires: 3600",
        "Content-Type: text/plain",
        "User-Agent: phone",
        "Content-Length: 3",
        body=b"abc",
    )
    message = request(data)
    assert (message.method, message.ruri, message.raw, message.body) == (
        "OPTIONS",
        "sip:bob@example.com",
        data,
        b"abc",
    )
    assert message.via == Via("UDP", "192.0.2.1", 5070, {"branch": "z9hG4bKa1"})
    assert message.via.branch == "z9hG4bKa1"
    assert message.from_ == NameAddr("", "sip:alice@example.com", {"tag": "f1"})
    assert (message.from_.tag, message.to.tag) == ("f1", None)
    assert (message.call_id, message.cseq_number, message.cseq_method) == ("c1@192.0.2.1", 7, "OPTIONS")
    assert (message.max_forwards, message.expires) == (70, 3600)
    assert (message.content_type, message.user_agent) == ("text/plain", "phone")
    assert message.contact == NameAddr('"A, B"', "sip:a@192.0.2.1;transport=udp", {"expires": "60"})


def test_what_is_absent_is_none() -> None:
    message = request(datagram())
    assert message.max_forwards is message.expires is message.contact is None
    assert message.content_type is message.user_agent is message.get("Subject") is message.field("Subject") is None
    assert message.all("Subject") == message.fields("Subject") == []
    assert message.body == b""
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        message.nonsense  # type: ignore[attr-defined]  # noqa: B018


def test_a_reply_in_its_parts() -> None:
    message = parse(datagram(start="SIP/2.0 486 Busy Here Now"))
    assert isinstance(message, Reply)
    assert (message.status, message.reason, message.cseq_method) == (486, "Busy Here Now", "OPTIONS")


def test_a_reply_may_have_an_empty_reason() -> None:
    for start in ("SIP/2.0 200 ", "SIP/2.0 200"):
        message = parse(datagram(start=start))
        assert isinstance(message, Reply)
        assert (message.status, message.reason) == (200, "")


def test_names_in_any_case_compact_and_with_space_before_the_colon() -> None:
    message = request(
        datagram(
            "v: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKa1",
            "f : <sip:alice@example.com>;tag=f1",
            "TO\t:<sip:bob@example.com>",
            "i:c1",
            "cSeQ:   7    OPTIONS",
            "s: a subject",
            "x-Own: 1",
            "M: <sip:m@n>",
        )
    )
    assert message.names == ["via", "from", "to", "call-id", "cseq", "subject", "x-own", "contact"]
    assert message.get("SUBJECT") == message.get("s") == message.get(" Subject ") == "a subject"
    assert message.get("X-OWN") == "1"
    assert message.contact == NameAddr("", "sip:m@n", {})


def test_folded_lines_are_one() -> None:
    message = request(
        datagram(
            "Via: SIP/2.0/UDP 192.0.2.1\r\n ;branch=z9hG4bKa1",
            "From: Alice\r\n\t<sip:alice@example.com>\r\n  ;tag=f1",
            *HEADERS[2:4],
            "CSeq: 0009  \r\n   OPTIONS",
            "Subject: one \r\n two\r\n \t\r\n\tthree",
        )
    )
    assert message.via.branch == "z9hG4bKa1"
    assert message.from_ == NameAddr("Alice", "sip:alice@example.com", {"tag": "f1"})
    assert message.cseq_number == 9
    assert message.get("Subject") == "one two three"


def test_lists_are_cut_at_commas_outside_quotes_and_brackets() -> None:
    message = request(
        datagram(
            "Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKa1, SIP/2.0/TCP 192.0.2.2",
            *HEADERS[1:],
            "Via: SIP/2.0/UDP 192.0.2.3",
            'Route: "x,\\"," <sip:a;p=1,2@b;lr>, , <sip:c;lr>',
            "Route: <sip:d;lr>",
            "Subject: a, b",
            'Authorization: Digest username="a", realm="b"',
        )
    )
    assert message.via.host == "192.0.2.1"
    assert message.all("via") == [
        "SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKa1",
        "SIP/2.0/TCP 192.0.2.2",
        "SIP/2.0/UDP 192.0.2.3",
    ]
    assert message.get("via") == "SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKa1"
    assert message.all("Route") == ['"x,\\"," <sip:a;p=1,2@b;lr>', "<sip:c;lr>", "<sip:d;lr>"]
    assert message.fields("Route")[1] == "<sip:d;lr>"
    assert message.field("Route") == '"x,\\"," <sip:a;p=1,2@b;lr>, , <sip:c;lr>'
    assert message.all("Subject") == ["a, b"]
    assert message.get("Authorization") == 'Digest username="a", realm="b"'


@pytest.mark.parametrize(
    ("length", "body"),
    [("Content-Length: 2", b"ab"), ("l: 0", b""), ("Content-Length: 00005", b"abcde"), ("Subject: x", b"abcde")],
)
def test_content_length_cuts_the_body(length: str, body: bytes) -> None:
    assert request(datagram(*HEADERS, length, body=b"abcde")).body == body


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (datagram(*HEADERS, "Content-Length: 6", body=b"abcde"), "Content-Length longer than the message"),
        (datagram(*HEADERS, "Content-Length: " + "9" * 5000), "Content-Length longer than the message"),
        (datagram(*HEADERS, "Content-Length: -1"), "Malformed Content-Length header"),
        (datagram(*HEADERS, "Content-Length: \xb2"), "Malformed Content-Length header"),
        (datagram(*HEADERS, "Content-Length: \xa01", body=b"a"), "Malformed Content-Length header"),
        (datagram(*HEADERS, "Content-Length: 1\x0c", body=b"a"), "Malformed Content-Length header"),
        (datagram(*without("CSeq"), "CSeq: 7\xa0OPTIONS"), "Malformed CSeq header"),
        (datagram(*without("CSeq"), "CSeq: 7 OPTIONS OPTIONS"), "Malformed CSeq header"),
        (datagram(*HEADERS, "Content-Length: 1", "l: 1", body=b"a"), "Repeated Content-Length header"),
        (datagram(*HEADERS, "t: <sip:eve@example.com>"), "Repeated To header"),
        (datagram(*without("CSeq"), "CSeq: 2147483648 OPTIONS"), "Malformed CSeq header"),
        (datagram(*without("CSeq"), "CSeq: OPTIONS"), "Malformed CSeq header"),
        (datagram(*without("CSeq"), "CSeq: 1_0 OPTIONS"), "Malformed CSeq header"),
        (datagram(*without("CSeq"), "CSeq: 7 INVITE"), "CSeq does not match the method"),
        (datagram(*HEADERS, *["X-A: 1"] * 300), "Too many headers"),
        (datagram(*HEADERS, "X-A: " + "a" * 9000), "Header too long"),
        (datagram(start="OPTIONS sip:a b SIP/2.0"), "Malformed request line"),
        (datagram(start="OPTIONS  sip:a SIP/2.0"), "Malformed request line"),
        (datagram(start="OPTIONS sip:a SIP/2.0 "), "Malformed request line"),
        (datagram(start="OPTIONS sip:a SIP/2.0   "), "Malformed request line"),
        (datagram(start="OPTIONS SIP/2.0 "), "Malformed request line"),
        (datagram(HEADERS[0] + ";;,;,,", *HEADERS[1:]), "Malformed Via header"),
        (datagram(HEADERS[0] + ", SIP/2.0/UDP", *HEADERS[1:]), "Malformed Via header"),
        (datagram(start="OPTIONS <sip:a> SIP/2.0"), "Malformed request line"),
        (datagram()[:-2], "No empty line after the headers"),
    ],
)
def test_a_bad_request_is_answered_400(data: bytes, reason: str) -> None:
    found = bad(data)
    assert (found.reason, found.status) == (reason, 400)
    assert found.answerable is not None
    assert found.answerable.via.host == "192.0.2.1"
    assert (found.answerable.from_.tag, found.answerable.to.uri) == ("f1", "sip:bob@example.com")


@pytest.mark.parametrize("version", ["SIP/7.0", "SIP/3.0", "sip/1.0"])
def test_another_version_is_answered_505(version: str) -> None:
    found = bad(datagram(start=f"OPTIONS sip:bob@example.com {version}"))
    assert found.status == 505
    assert found.answerable is not None
    assert found.answerable.method == "OPTIONS"


def test_another_version_may_stand_in_the_via_as_well() -> None:
    found = bad(datagram("Via: SIP/7.0/UDP 192.0.2.1", *HEADERS[1:], start="OPTIONS sip:bob@example.com SIP/7.0"))
    assert found.status == 505
    assert found.answerable is not None
    assert found.answerable.via.host == "192.0.2.1"


def test_the_version_is_not_case_sensitive() -> None:
    assert request(datagram(start="OPTIONS sip:bob@example.com sip/2.0")).ruri == "sip:bob@example.com"


@pytest.mark.parametrize("name", ["Via", "From", "To", "Call-ID", "CSeq"])
def test_without_a_needed_header_there_is_nothing_to_answer(name: str) -> None:
    assert bad(datagram(*without(name))) == Bad(f"Missing {name} header")


@pytest.mark.parametrize(
    "data",
    [
        datagram(*without("CSeq"), "CSeq: x ACK", start="ACK sip:bob@example.com SIP/2.0"),
        datagram(*without("CSeq"), start="SIP/2.0 200 OK"),
        datagram(*without("CSeq"), "CSeq: x OPTIONS", start="SIP/2.0 200 OK"),
        datagram(start="SIP/2.0 2000 OK"),
        datagram(start="SIP/2.0 099 OK"),
        datagram(start="SIP/3.0 200 OK"),
        datagram(start="GET / HTTP/1.1"),
        datagram(start="OPTIONS"),
        datagram(start="OPT\nIONS sip:a SIP/2.0"),
        datagram(start="OP(T sip:a SIP/2.0"),
        datagram(*without("Via"), "Via: SIP/2.0/UDP"),
        datagram(*without("Via"), "Via: SIP/3.0/UDP 192.0.2.1"),
        datagram(*without("Via"), "Via: SIP/2.0/UDP 192.0.2.1:70000"),
        datagram(*without("Via"), "Via: SIP/2.0/UDP a b"),
        datagram(*without("Via"), 'Via: SIP/2.0/UDP a;x="\\";rport'),
        datagram(*without("Via"), "Via: SIP/2.0/UDP a;x=<;rport"),
        datagram(*without("Via"), 'Via: SIP/2.0/UDP a;x="<"<;rport'),
        datagram(*HEADERS, "no colon here"),
        datagram(*HEADERS, "two words: x"),
        datagram(*HEADERS, ": x"),
        datagram(*HEADERS, "X-A\r\n : x"),
        datagram(*HEADERS, "Subject: a\r\n b", "X-A\r\n : x"),
        datagram(*HEADERS, "Subject: a\nX-Smuggled: b"),
        datagram(*HEADERS, "Subject: a\rX-Smuggled: b"),
        datagram(*HEADERS, "Subject: a" + "b" * 66_000),
        datagram().replace(b"\r\n", b"\n"),
        b"\x00\x01\x00\x00stun?",
        b"\xff" * 100,
    ],
)
def test_what_may_not_be_answered(data: bytes) -> None:
    assert bad(data).answerable is None


@pytest.mark.parametrize("data", [b"", b"\r\n", b"\r\n\r\n", b"\0\0\0\0", b" \r\n"])
def test_keep_alives(data: bytes) -> None:
    assert parse(data) == KeepAlive()


def test_empty_lines_before_the_start_line_are_ignored() -> None:
    message = request(b"\r\n\r\n" + datagram(*HEADERS, body=b"x"))
    assert (message.method, message.body, message.raw) == ("OPTIONS", b"x", datagram(*HEADERS, body=b"x"))


def test_an_unknown_method_is_a_method() -> None:
    odd = "!interesting-Method0123456789_*+`.%indeed'~"
    assert request(datagram(*without("CSeq"), f"CSeq: 7 {odd}", start=f"{odd} sip:a SIP/2.0")).method == odd


def test_letters_of_utf8_keep_their_last_bytes() -> None:
    """Those of à and of the ellipsis are white space to Python."""
    voila, more = "voil\xc3\xa0", "\xe2\x80\x85"
    message = request(
        datagram(
            HEADERS[0] + f";x={voila}",
            f"From: {voila} <sip:alice@example.com>;x={voila};y={more}",
            *HEADERS[2:],
            f"Subject: {more}{voila} ",
            f"Contact: {voila} <sip:a@b>, {voila}",
        )
    )
    assert message.get("Subject") == more + voila
    assert message.via.params["x"] == voila
    assert message.from_ == NameAddr(voila, "sip:alice@example.com", {"x": voila, "y": more})
    assert message.all("Contact") == [f"{voila} <sip:a@b>", voila]


def test_bytes_beyond_ascii_survive() -> None:
    message = request(datagram(*HEADERS, "Subject: \xc3\xa9\xff", body=b"\xff\x00"))
    assert message.get("Subject") == "\xc3\xa9\xff"
    assert message.body == b"\xff\x00"


@pytest.mark.parametrize(
    ("text", "via"),
    [
        ("SIP/2.0/UDP [2001:db8::1]:5060;rport", Via("UDP", "[2001:db8::1]", 5060, {"rport": None})),
        ("SIP / 2.0 / UDP  host.example.com : 5060 ; TTL = 16", Via("UDP", "host.example.com", 5060, {"ttl": "16"})),
        ('SIP/2.0/TLS h;x="a;b";branch=q', Via("TLS", "h", None, {"x": '"a;b"', "branch": "q"})),
        ('SIP/2.0/TLS h;x="a<b\\"<";y="<"', Via("TLS", "h", None, {"x": '"a<b\\"<"', "y": '"<"'})),
        ("SIP/2.0/UDP h;branch=;branch=b", Via("UDP", "h", None, {"branch": ""})),
    ],
)
def test_vias(text: str, via: Via) -> None:
    found = request(datagram(f"Via: {text}", *HEADERS[1:])).via
    assert found == via
    assert found.branch == (via.params.get("branch") or None)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("sip:a@b;tag=1", NameAddr("", "sip:a@b", {"tag": "1"})),
        ('"A \\"<x>\\" B" <sip:a@b;x=1>;tag=2', NameAddr('"A \\"<x>\\" B"', "sip:a@b;x=1", {"tag": "2"})),
        ("Some Body <sip:a@b> ; tag = 3", NameAddr("Some Body", "sip:a@b", {"tag": "3"})),
        ("<sip:a@b>", NameAddr("", "sip:a@b", {})),
        ('<sip:a@b>;x="y"<;tag=4', NameAddr("", "sip:a@b", {"x": '"y"<', "tag": "4"})),
        ('"never ends <sip:a@b>;tag=1', NameAddr("", '"never ends <sip:a@b>;tag=1', {})),
        ("<sip:a@b", NameAddr("", "<sip:a@b", {})),
        ("<sip:a@b> x", NameAddr("", "<sip:a@b> x", {})),
        ("", NameAddr("", "", {})),
    ],
)
def test_name_addrs(text: str, expected: NameAddr) -> None:
    assert request(datagram(HEADERS[0], f"From: {text}", *HEADERS[2:])).from_ == expected


def test_a_contact_that_cannot_be_read_is_none_and_a_star_is_a_star() -> None:
    assert request(datagram(*HEADERS, "Contact: <sip:a")).contact is None
    assert request(datagram(*HEADERS, "Contact: *")).contact == NameAddr("", "*", {})


def test_compacting_forgets_nothing() -> None:
    data = datagram(*HEADERS, "X-Odd: 1\r\n 2", "Content-Length: 1", body=b"ab")
    message = request(data)
    message.compact()
    message.compact()
    again = request(data)
    assert (message.from_, message.via, message.call_id) == (again.from_, again.via, again.call_id)
    assert (message.names, message.lines, message.body) == (again.names, again.lines, b"a")
    assert message.get("x-odd") == "1 2"
    assert (message.cseq_number, message.cseq_method) == (7, "OPTIONS")


FIRST = "\r\n".join(["OPTIONS sip:bob@example.com SIP/2.0", *HEADERS, ""]).encode()
ROUTE = b"Route: "


@pytest.mark.parametrize(
    "more",
    [
        b"X:\r\n" * 15_000,
        b"X:" + b"\r\n a" * 15_000 + b"\r\n",
        b"X:" + b"\r\n " * 20_000 + b"\r\n",
        b"X:" + b" " * 60_000 + b"x\r\n y\r\n",
        (b"X:" + b" " * 8_000 + b"\r\n") * 7 + b" y\r\n",
        (ROUTE + b'"\\' * 4_000 + b"\r\n") * 7,
        (ROUTE + b"<," * 4_000 + b"\r\n") * 7,
        (ROUTE + b'"' * 8_000 + b"\r\n") * 7,
        b"Contact: " + b'"\\"' * 2_700 + b"\r\n",
        b"Expires: " + b"9" * 8_000 + b"\r\n",
    ],
    ids=[
        "lines",
        "folds",
        "empty folds",
        "spaces",
        "more spaces",
        "escapes",
        "brackets",
        "quotes",
        "contact",
        "digits",
    ],
)
def test_no_datagram_takes_long(more: bytes) -> None:
    """Each takes some 10 ms at most; a quadratic reading of the same takes seconds."""
    began = time.process_time()
    parsed = parse(FIRST + more + b"\r\n")
    if isinstance(parsed, Request):
        for name in set(parsed.names):
            parsed.all(name)
        assert (parsed.contact, parsed.expires) == (None, None)
    assert time.process_time() - began < 0.3


def test_the_dummy_request() -> None:
    message = dummy_request()
    assert (message.method, message.ruri, message.call_id) == ("DUMMY", "sip:user@dummy.com", "dummy-1")
    assert message.body == b""
