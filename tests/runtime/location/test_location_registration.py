"""A REGISTER read: its address-of-record, what it asks for, its Path; what is not allowed is refused, never raised."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.location.answers import contact_line, host_of, pick
from runtime.location.bindings import Refused, Wanted
from runtime.location.contact import ALL_METHODS, METHODS, OTHER_METHODS, Contact, first_path, methods_of
from runtime.location.flags import LookupFlags, lookup_flags, save_flags
from runtime.location.registration import (
    MAX_EXPIRES,
    MOST_ASKED,
    AorRules,
    Path,
    PathRules,
    allowed_of,
    aor_of,
    is_wildcard,
    path_of,
    registration_of,
    wanted_of,
)
from runtime.sip.message import Request, parse

RULES = AorRules()


def a_register(*headers: str) -> Request:
    lines = "".join([f"{header}\r\n" for header in headers])
    found = parse(
        (
            "REGISTER sip:example.com SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1\r\n"
            "From: <sip:alice@example.com>;tag=1\r\nTo: <sip:alice@example.com>\r\nCall-ID: c\r\nCSeq: 7 REGISTER\r\n"
            f"{lines}Content-Length: 0\r\n\r\n"
        ).encode("latin-1")
    )
    assert isinstance(found, Request)
    return found


@pytest.mark.parametrize(
    ("uri", "rules", "aor"),
    [
        ("sip:Alice@Example.com;x=y", AorRules(), "Alice"),
        ("sip:Alice@Example.com", AorRules(use_domain=True), "Alice@example.com"),
        ("sip:Alice@Example.com", AorRules(use_domain=True, case_sensitive=False), "alice@example.com"),
        ("sip:a@sip.example.com", AorRules(use_domain=True, realm_prefix="sip."), "a@example.com"),
        ("sip:a%6Cice:pw@h:5070", AorRules(use_domain=True), "alice@h"),
        ("alice@h", AorRules(use_domain=True), "alice@h"),
        ("tel:+3585551", AorRules(), "+3585551"),
        ("sip:example.com", AorRules(), None),
        ("sip:a%00b@h", AorRules(), None),
        ("sip:" + "a" * 65 + "@h", AorRules(), None),
        ("sip:a@" + "h" * 65, AorRules(), None),
        ("nonsense", AorRules(), None),
        ("", AorRules(), None),
    ],
)
def test_the_address_of_record(uri: str, rules: AorRules, aor: str | None) -> None:
    assert aor_of(uri, rules) == aor


def test_a_query_wants_nothing() -> None:
    assert wanted_of(a_register("Expires: 60"), RULES) == ()


def test_contacts_with_their_own_time_q_and_instance() -> None:
    request = a_register(
        "Expires: 100",
        'Contact: "A" <sip:a@h>;expires=60;q=0.5;+sip.instance="<urn:uuid:1>", <sip:b@h;p=1>',
        "m: sip:c@h;expires=0",
    )
    assert wanted_of(request, RULES) == (
        Wanted("sip:a@h", 60, 500, "<urn:uuid:1>"),
        Wanted("sip:b@h;p=1", 100),
        Wanted("sip:c@h", 0),
    )


@pytest.mark.parametrize(
    ("headers", "expires"),
    [
        (("Contact: <sip:a@h>",), None),
        (("Contact: <sip:a@h>;expires=x", "Expires: 5"), 3600),
        (("Contact: <sip:a@h>;expires", "Expires: 5"), 3600),
        (("Contact: <sip:a@h>;expires=-1",), 3600),
        (("Contact: <sip:a@h>", "Expires: soon"), 3600),
        (("Contact: <sip:a@h>;expires=99999999999999999999999999",), MAX_EXPIRES),
    ],
)
def test_times_that_are_none(headers: tuple[str, ...], expires: int | None) -> None:
    (wanted,) = wanted_of(a_register(*headers), RULES)
    assert wanted.expires == expires


@pytest.mark.parametrize(
    ("text", "q"), [("1", 1000), ("0", 0), ("1.000", 1000), ("0.123", 123), (".7", 700), ("0.", 0)]
)
def test_q_in_thousandths(text: str, q: int) -> None:
    (wanted,) = wanted_of(a_register(f"Contact: <sip:a@h>;q={text}"), RULES)
    assert wanted.q == q


@pytest.mark.parametrize(
    "headers",
    [
        ("Contact: *",),
        ("Contact: *", "Expires: 60"),
        ("Contact: *, <sip:a@h>", "Expires: 0"),
        ("Contact: <sip:a@h>", "Contact: *", "Expires: 0"),
        ("Contact: <sip:a@h",),
        ("Contact: mailto:a@h",),
        ("Contact: <sip:a@h>;q=2",),
        ("Contact: <sip:a@h>;q=0.1234",),
        ("Contact: <sip:a@h>;q",),
        ("Contact: <sip:" + "a" * 300 + "@h>",),
        ("Contact: " + ",".join(["<sip:a@h>"] * (MOST_ASKED + 1)),),
    ],
)
def test_what_is_not_allowed(headers: tuple[str, ...]) -> None:
    refused = wanted_of(a_register(*headers), RULES)
    assert isinstance(refused, Refused)
    assert refused.status == 400


def test_a_star_with_expires_0() -> None:
    request = a_register("Contact: *", "Expires: 0")
    wanted = wanted_of(request, RULES)
    assert not isinstance(wanted, Refused)
    assert is_wildcard(wanted)
    registration = registration_of(request, wanted)
    assert (registration.wildcard, registration.contacts) == (True, ())


def test_what_the_request_says_of_itself() -> None:
    request = a_register("Contact: <sip:a@h>", "User-Agent: phone/1", "Allow: INVITE, BYE", "Allow: ack")
    registration = registration_of(request, (Wanted("sip:a@h"),))
    assert (registration.call_id, registration.cseq, registration.user_agent) == ("c", 7, "phone/1")
    assert registration.methods == METHODS["INVITE"] | METHODS["BYE"] | METHODS["ACK"]
    assert allowed_of(a_register()) == ALL_METHODS
    assert methods_of(["FOO"]) == OTHER_METHODS


# Path (RFC 3327).

HOPS = ("Path: <sip:p1.example;lr;received=sip:198.51.100.1%3A99>", "Path: <sip:p2.example;lr>, <sip:p3.example;lr>")
STORED = "<sip:p1.example;lr;received=sip:198.51.100.1%3A99>, <sip:p2.example;lr>, <sip:p3.example;lr>"
LINES = tuple(f"Path: {value}" for value in STORED.split(", "))


def test_path_is_stored_and_given_back_to_who_understands_it() -> None:
    old, new = a_register(*HOPS), a_register(*HOPS, "Supported: gruu, PATH")
    assert path_of(old, PathRules()) == Path()
    assert path_of(new, PathRules(ignore=False)) == Path(STORED)
    lazy = PathRules(ignore=False, reply=True)
    assert (path_of(old, lazy), path_of(new, lazy)) == (Path(STORED), Path(STORED, "", LINES))
    strict = PathRules(ignore=False, reply=True, strict=True)
    assert path_of(old, strict) == Refused(420, "Bad Extension", ("Unsupported: path", *LINES))
    assert path_of(new, strict) == Path(STORED, "", LINES)
    assert path_of(a_register(), strict) == Path()


def test_received_can_come_from_the_first_path() -> None:
    assert path_of(a_register(*HOPS), PathRules(ignore=False, received=True)).received == "sip:198.51.100.1:99"


@pytest.mark.parametrize("value", ["sip:p", "<sip:p", "<mailto:x>", "<>", "<sip:" + "p" * 300 + ">"])
def test_a_path_that_is_none(value: str) -> None:
    refused = path_of(a_register(f"Path: {value}"), PathRules(ignore=False))
    assert isinstance(refused, Refused)
    assert refused.status == 400


# Answers.


def test_a_contact_line_says_how_long_it_stays() -> None:
    contact = Contact(1, "sip:a@h", 1600, 500, "c", 1, 0.0)
    assert contact_line(contact, 1000.9) == "Contact: <sip:a@h>;q=0.5;expires=600"
    full = contact._replace(q=1000, received="sip:198.51.100.1:9", instance="<urn:uuid:1>")
    assert contact_line(full, 1000.9, "rcv") == (
        'Contact: <sip:a@h>;q=1;expires=600;+sip.instance="<urn:uuid:1>";rcv="sip:198.51.100.1:9"'
    )
    assert contact_line(contact._replace(q=-1, expires_at=0), 1.0) == "Contact: <sip:a@h>;expires=2147483647"
    assert contact_line(contact._replace(q=0), 1.0).startswith("Contact: <sip:a@h>;q=0;")


def test_the_next_hop_to_a_contact() -> None:
    contact = Contact(1, "sip:a@192.0.2.1:5070", 0, 0, "c", 1, 0.0)
    assert (contact.next_hop(), host_of(contact)) == (None, ("192.0.2.1", 5070))
    behind = contact._replace(received="sip:198.51.100.1:99")
    assert (behind.next_hop(), host_of(behind)) == ("sip:198.51.100.1:99", ("198.51.100.1", 99))
    edge = behind._replace(path="<sip:p1;lr>, <sip:p2;lr>")
    assert (edge.next_hop(), host_of(edge)) == ("sip:p1;lr", ("p1", None))
    assert first_path("nothing") is None


def test_contacts_are_picked_by_method_and_user_agent() -> None:
    old = Contact(1, "sip:old@h", 10, 900, "c", 1, 0.0)
    desk = Contact(2, "sip:desk@h", 0, 100, "c", 1, 0.0, user_agent="Desk 1", methods=METHODS["INVITE"])
    soft = Contact(3, "sip:soft@h", 0, 200, "c", 1, 0.0, user_agent="Soft 2", methods=METHODS["MESSAGE"])
    everybody = [old, desk, soft]

    def picked(flags: LookupFlags, method: str = "INVITE") -> tuple[list[int], bool]:
        found = pick(everybody, 100.0, flags, method, newest_first=False)
        return [one.id for one in found.contacts], found.known

    assert picked(LookupFlags()) == ([3, 2], True)
    assert picked(lookup_flags("m")) == ([2], True)
    assert picked(lookup_flags("m"), "BYE") == ([], True)
    assert picked(lookup_flags("u/soft/i")) == ([3], True)
    assert pick([old], 100.0, LookupFlags(), "INVITE", newest_first=False) == ([], False)


# Flags.


@pytest.mark.parametrize("text", ["mrsofc5e60E120p2vM1", "m r s o f c5 e60 E120 p2 v M1"])
def test_flags_as_letters_and_as_words_are_the_same(text: str) -> None:
    words = (
        "memory-only, no-reply,socket-header,only-request-contacts,force-registration,max-contacts=5, min-expires=60,"
        "max-expires=120,path-strict,path-received,matching-mode=1"
    )
    assert save_flags(text) == save_flags(words)
    assert save_flags(text).unknown == ()
    assert lookup_flags("bBrmu/a,b/i") == lookup_flags(
        "no-branches,to-branches-only,branch,method-filtering,ua-filtering=/a,b/i"
    )


@pytest.mark.parametrize("text", ["x", "cabc", "max-contacts=", "p7", "M", "matching-mode=2"])
def test_what_is_no_flag_is_told(text: str) -> None:
    assert save_flags(text).unknown != ()


@given(st.text("mrsofcevEMpuy/,=0159<>\\ x", max_size=30))
def test_no_flags_string_is_too_strange(text: str) -> None:
    save_flags(text)
    lookup_flags(text)


@given(st.binary(max_size=200))
def test_no_contact_and_no_path_raise(value: bytes) -> None:
    text = value.decode("latin-1").replace("\r", " ").replace("\n", " ")
    request = parse(
        (
            "REGISTER sip:h SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\nFrom: <sip:a@h>;tag=1\r\nTo: <sip:a@h>\r\n"
            f"Call-ID: c\r\nCSeq: 7 REGISTER\r\nContact: {text}\r\nPath: {text}\r\nExpires: {text}\r\n\r\n"
        ).encode("latin-1")
    )
    assert isinstance(request, Request)
    wanted_of(request, RULES)
    path_of(request, PathRules(ignore=False, received=True))
    aor_of(text, AorRules(use_domain=True))
