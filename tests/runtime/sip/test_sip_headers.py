"""Header names: compact forms, lists, spellings (RFC 3261 7.3, 20; the IANA registry of SIP header fields)."""

from __future__ import annotations

import pytest

from runtime.sip.headers import COMPACT, KNOWN_NAMES, LIST_HEADERS, spelling
from runtime.sip.message import Request, parse

HEAD = [
    "OPTIONS sip:bob@example.com SIP/2.0",
    "Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKa1",
    "From: <sip:alice@example.com>;tag=f1",
    "To: <sip:bob@example.com>",
    "Call-ID: c1",
    "CSeq: 7 OPTIONS",
]


def request(*more: str) -> Request:
    parsed = parse("\r\n".join([*HEAD, *more, "", ""]).encode("latin-1"))
    assert isinstance(parsed, Request), parsed
    return parsed


def test_every_registered_compact_form() -> None:
    assert "".join(sorted(COMPACT)) == "abcdefijklmnorstuvxy"
    for short, name in COMPACT.items():
        if name in ("via", "from", "to", "call-id", "content-length"):
            continue
        for written in (short, short.upper(), f"{short} ", name.title(), name):
            found = request(f"{written}: x")
            assert found.names[-1] == name
            assert found.field(short) == found.field(name) == found.field(spelling(name)) == "x"


@pytest.mark.parametrize("name", sorted(LIST_HEADERS - {"via"}))
def test_lists_are_cut_at_commas_but_not_in_quotes_and_brackets(name: str) -> None:
    found = request(f'{spelling(name)}: "a, \\", b" <sip:c,d>;e="f,g" , h', f"{name}: i,,j")
    assert found.all(name) == ['"a, \\", b" <sip:c,d>;e="f,g"', "h", "i", "j"]
    assert found.get(name) == '"a, \\", b" <sip:c,d>;e="f,g"'


@pytest.mark.parametrize(
    "name",
    [
        "Authorization",
        "Proxy-Authenticate",
        "Date",
        "Subject",
        "Refer-To",
        "Privacy",
        "Session-ID",
        "Identity",
        "X-Own",
    ],
)
def test_elsewhere_a_comma_is_a_character(name: str) -> None:
    assert request(f"{name}: a, b").all(name) == ["a, b"]


def test_a_usual_spelling_and_any_other_are_the_same_name() -> None:
    for name in set(KNOWN_NAMES.values()):
        assert KNOWN_NAMES[spelling(name)] == KNOWN_NAMES[name] == name
        assert name == name.lower()
    assert request("mAx-FoRwArDs: 5").max_forwards == request("Max-forwards: 5").max_forwards == 5


def test_how_the_rfcs_write_them() -> None:
    names = ["call-id", "cseq", "www-authenticate", "max-forwards", "p-asserted-identity", "min-se", "sip-etag"]
    assert [spelling(name) for name in names] == [
        "Call-ID",
        "CSeq",
        "WWW-Authenticate",
        "Max-Forwards",
        "P-Asserted-Identity",
        "Min-SE",
        "SIP-ETag",
    ]
