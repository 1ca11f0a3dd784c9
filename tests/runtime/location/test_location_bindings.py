"""What a REGISTER does to the bindings of an address-of-record (RFC 3261 10.3)."""

from __future__ import annotations

import pytest

from runtime.location.bindings import (
    MOST_CONTACTS,
    Accepted,
    Expired,
    Inserted,
    Limits,
    Refused,
    Registration,
    Removed,
    Updated,
    Wanted,
    expire,
    granted,
    register,
    remove,
)
from runtime.location.contact import Contact, Matching, canonical, in_order, matching_of

NOW = 1000.25
LIMITS = Limits()
A, B, C = "sip:a@192.0.2.1:5060", "sip:b@192.0.2.2", "sip:c@192.0.2.3"


def binding(id_: int, uri: str, **more) -> Contact:
    facts = {"expires_at": 2000, "q": 0, "call_id": f"call-{id_}", "cseq": 5, "modified_at": 900.0 + id_} | more
    return Contact(id_, uri, **facts)


def ask(*wanted: Wanted, call_id: str = "new", cseq: int = 1, **more) -> Registration:
    return Registration(call_id, cseq, wanted, **more)


def decide(existing, request, limits: Limits = LIMITS, now: float = NOW) -> Accepted | Refused:
    return register(existing, request, limits, now, first_id=10)


def uris(accepted: Accepted | Refused) -> list[str]:
    assert isinstance(accepted, Accepted)
    return [contact.uri for contact in accepted.contacts]


def test_a_new_contact_is_bound_with_all_that_is_known_of_it() -> None:
    request = ask(
        Wanted(A, 600, 500, "<urn:uuid:1>"),
        received="sip:198.51.100.1:999",
        path="<sip:p;lr>",
        user_agent="phone",
        socket="udp:192.0.2.9:5060",
        methods=1,
        attr="x",
        flags=1,
        cflags="NAT",
    )
    contact = Contact(
        *(10, A, 1600, 500, "new", 1, NOW, "sip:198.51.100.1:999", "<sip:p;lr>", "phone", "udp:192.0.2.9:5060"),
        *(1, "<urn:uuid:1>", "x", 1, "NAT"),
    )
    assert decide([], request) == Accepted((contact,), (Inserted(contact),), frozenset([10]))


def test_a_query_changes_nothing() -> None:
    bindings = [binding(1, A), binding(2, B)]
    assert decide(bindings, ask()) == Accepted(tuple(bindings))


def test_a_refresh_keeps_the_id_and_takes_everything_else_from_the_request() -> None:
    old = binding(1, A, attr="old")
    found = decide([old, binding(2, B)], ask(Wanted(A, 60)))
    new = old._replace(expires_at=1060, call_id="new", cseq=1, modified_at=NOW, attr="")
    assert found == Accepted((new, binding(2, B)), (Updated(new),), frozenset([1]))


def test_each_contact_has_its_own_time_and_zero_removes() -> None:
    found = decide([binding(1, A), binding(2, B)], ask(Wanted(A, 0), Wanted(B, 90), Wanted(C, 0)))
    assert isinstance(found, Accepted)
    assert uris(found) == [B]
    assert found.contacts[0].expires_at == 1090
    assert found.changes == (Removed(binding(1, A)), Updated(found.contacts[0]))


def test_what_has_expired_is_gone_and_may_be_bound_anew() -> None:
    old = binding(1, A, expires_at=1000)
    found = decide([old], ask(Wanted(A, 60), call_id="call-1", cseq=1))  # its CSeq does not matter any more
    assert isinstance(found, Accepted)
    assert found.changes == (Expired(old), Inserted(found.contacts[0]))
    assert found.contacts[0].id == 10


def test_a_permanent_binding_does_not_expire() -> None:
    assert expire([binding(1, A, expires_at=0)], 1e12) == Accepted((binding(1, A, expires_at=0),))


# Time.


@pytest.mark.parametrize(
    ("asked", "limits", "seconds"),
    [
        (None, Limits(default_expires=1800), 1800),
        (0, Limits(), 0),
        (30, Limits(min_expires=60), 60),
        (30, Limits(min_expires=0), 30),
        (None, Limits(default_expires=10, min_expires=60), 60),
        (9999, Limits(max_expires=600), 600),
        (9999, Limits(max_expires=0), 9999),
        (600, Limits(min_expires=900, max_expires=800), 800),
    ],
)
def test_the_time_that_is_granted(asked: int | None, limits: Limits, seconds: int) -> None:
    assert granted(asked, limits) == seconds


def test_the_time_deviates_by_chance_within_its_limits() -> None:
    limits = Limits(expires_max_deviation=100, min_expires=60, max_expires=1850)
    assert [granted(1800, limits, chance) for chance in (0.0, 0.5, 1.0)] == [1700, 1800, 1850]
    assert granted(61, limits, 0.0) == 60
    assert granted(0, limits, 1.0) == 0


def test_a_brief_time_can_be_refused_instead() -> None:
    limits = Limits(min_expires=60, reject_brief=True)
    refused = Refused(423, "Interval Too Brief", ("Min-Expires: 60",))
    assert decide([], ask(Wanted(B, 60), Wanted(A, 59)), limits) == refused
    assert isinstance(decide([], ask(Wanted(A, 0)), limits), Accepted)
    # RFC 3261 10.3: never one of an hour or more.
    assert isinstance(decide([], ask(Wanted(A, 3600)), Limits(min_expires=7200, reject_brief=True)), Accepted)


# Order.


@pytest.mark.parametrize("cseq", [1, 4])
def test_what_comes_late_is_refused_as_a_whole(cseq: int) -> None:
    late = ask(Wanted(B, 60), Wanted(A, 60), call_id="call-1", cseq=cseq)
    assert decide([binding(1, A)], late) == Refused(500, "CSeq Out Of Order")


def test_another_call_id_is_not_ordered() -> None:
    assert uris(decide([binding(1, A)], ask(Wanted(A, 0), call_id="other", cseq=1))) == []


def test_a_retransmission_is_answered_like_the_first_and_changes_nothing() -> None:
    known = binding(1, A, modified_at=NOW - 19)
    again = ask(Wanted(A, 60), call_id="call-1", cseq=5)
    assert decide([known], again) == Accepted((known,), (), frozenset([1]))
    assert decide([known], again, now=NOW + 1) == Refused(500, "CSeq Out Of Order")
    assert decide([known], again, Limits(cseq_delay=0)) == Refused(500, "CSeq Out Of Order")
    loose = decide([known], again, Limits(allow_dup_cseq=True), now=NOW + 100)
    assert isinstance(loose, Accepted)
    assert loose.changes == (Updated(known._replace(expires_at=1160, modified_at=NOW + 100)),)


def test_a_contact_named_twice_is_what_is_said_of_it_last() -> None:
    found = decide([], ask(Wanted(A, 60), Wanted(A, 90)))
    assert isinstance(found, Accepted)
    assert [(one.uri, one.expires_at) for one in found.contacts] == [(A, 1090)]
    assert uris(decide([binding(1, A)], ask(Wanted(A, 60), Wanted(A, 0)))) == []


# Contact: *


def test_a_star_removes_everything() -> None:
    bindings = [binding(1, A), binding(2, B)]
    found = decide(bindings, ask(wildcard=True))
    assert found == Accepted((), (Removed(bindings[1]), Removed(bindings[0])))


@pytest.mark.parametrize("cseq", [4, 5])
def test_a_late_star_removes_nothing(cseq: int) -> None:
    bindings = [binding(1, A), binding(2, B)]
    assert decide(bindings, ask(wildcard=True, call_id="call-2", cseq=cseq)) == Refused(500, "CSeq Out Of Order")
    assert uris(decide(bindings, ask(wildcard=True, call_id="call-2", cseq=6))) == []


# How many.


def test_more_contacts_than_allowed_are_refused() -> None:
    full = Limits(max_contacts=2)
    two = [binding(1, A), binding(2, B)]
    assert decide(two, ask(Wanted(C, 60)), full) == Refused(503, "Too Many Registered Contacts")
    assert uris(decide(two, ask(Wanted(A, 60)), full)) == [A, B]
    assert uris(decide(two, ask(Wanted(C, 60), Wanted(A, 0)), full)) == [B, C]
    # Who has more from before may refresh them, but not add to them.
    assert uris(decide(two, ask(Wanted(A, 60)), Limits(max_contacts=1))) == [A, B]


def test_or_the_oldest_make_room() -> None:
    two = [binding(1, A, modified_at=990), binding(2, B, modified_at=980)]
    found = decide(two, ask(Wanted(C, 60)), Limits(max_contacts=2, replace_oldest=True))
    assert isinstance(found, Accepted)
    assert uris(found) == [A, C]
    assert found.changes[-1] == Removed(two[1])
    many = ask(*[Wanted(f"sip:{n}@h", 60) for n in range(3)])
    assert decide(two, many, Limits(max_contacts=2, replace_oldest=True)) == Refused(
        503, "Too Many Registered Contacts"
    )


def test_there_is_a_limit_where_the_script_sets_none() -> None:
    many = [binding(n, f"sip:{n}@192.0.2.1") for n in range(MOST_CONTACTS)]
    assert isinstance(decide(many, ask(Wanted(C, 60))), Refused)
    assert isinstance(decide(many[1:], ask(Wanted(C, 60))), Accepted)


# Which contacts are the same.


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("sip:a@H.example", "SIP:a@h.EXAMPLE", True),
        ("sip:A@h", "sip:a@h", False),
        ("sip:a@h;x=1;y", "sip:a@h;Y;X=1", True),
        ("sip:a@h;transport=TCP", "sip:a@h;transport=tcp", True),
        ("sip:a@h;rinstance=1", "sip:a@h;rinstance=2", False),
        ("sip:a@h:5060", "sip:a@h", False),
        ("sip:a@h", "sips:a@h", False),
        ("sip:a:p@h", "sip:a@h", False),
        ("sip:a@h?b=c", "sip:a@h", False),
        ("no uri", "no uri", True),
    ],
)
def test_uris_are_compared_by_what_they_mean(one: str, other: str, same: bool) -> None:
    assert (canonical(one) == canonical(other)) is same
    found = decide([binding(1, one)], ask(Wanted(other, 60)))
    assert isinstance(found, Accepted)
    assert len(found.contacts) == (1 if same else 2)


def test_matching_by_call_id_or_by_a_parameter() -> None:
    two = decide([binding(1, A)], ask(Wanted(A, 60)), Limits(matching=Matching(call_id=True)))
    assert uris(two) == [A, A]
    line = Limits(matching=Matching(param="line"))
    assert uris(decide([binding(1, "sip:a@1.1.1.1;line=x")], ask(Wanted("sip:a@2.2.2.2;line=x", 60)), line)) == [
        "sip:a@2.2.2.2;line=x"
    ]
    assert len(uris(decide([binding(1, "sip:a@1.1.1.1;line=x")], ask(Wanted("sip:a@2.2.2.2;line=y", 60)), line))) == 2
    assert uris(decide([binding(1, A)], ask(Wanted(A, 60)), line)) == [A]


def test_no_binding_is_lost_when_the_matching_changes() -> None:
    twice = [binding(1, A, modified_at=900), binding(2, A, modified_at=950)]
    found = decide(twice, ask(Wanted(B, 60)))
    assert uris(found) == [A, A, B]
    found = decide(twice, ask(Wanted(A, 0)))
    assert isinstance(found, Accepted)
    assert found.contacts == (twice[0],)  # the newest was meant


@pytest.mark.parametrize(
    ("text", "matching"),
    [
        ("0", Matching()),
        ("1", Matching(call_id=True)),
        ("<Line>", Matching(param="line")),
        ("2", None),
        ("<a b>", None),
    ],
)
def test_matching_modes(text: str, matching: Matching | None) -> None:
    assert matching_of(text) == matching


# Removing, ordering.


def test_removing_without_a_register() -> None:
    two = [binding(1, A), binding(2, B), binding(3, C, expires_at=1)]
    assert remove(two, frozenset([1]), NOW) == Accepted((two[1],), (Expired(two[2]), Removed(two[0])))
    assert remove(two[:2], None, NOW) == Accepted((), (Removed(two[0]), Removed(two[1])))


def test_contacts_are_tried_by_q_or_by_time() -> None:
    one, two, three = binding(1, A, q=500), binding(2, B, q=700, modified_at=800.0), binding(3, C, q=500)
    assert in_order([three, two, one]) == [two, one, three]
    assert in_order([three, two, one], newest_first=True) == [three, one, two]
