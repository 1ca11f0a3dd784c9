"""One dialog: what moves it, what it says, and the numbers and routes of what is sent in it."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from runtime.sip.dialog import BYE_S, SETUP_S, Dialog, Terms, did_of, number_of
from runtime.sip.dialog_facts import (
    Aim,
    aim_at,
    callee_routes,
    dialog_of,
    did_in,
    flags_of,
    own_request,
    replied,
    shifted_rack,
)
from runtime.sip.dialog_words import (
    Acked,
    ByeAnswered,
    CallerCancelled,
    CancelInvite,
    Changed,
    Due,
    EndReason,
    EndWanted,
    Flag,
    Gone,
    Leg,
    Moved,
    PingFailed,
    Refreshed,
    Replied,
    Requested,
    RequestWanted,
    SendBye,
    SendPing,
    SendRequest,
    Side,
    State,
    TimeoutSet,
)
from runtime.sip.message import MAX_CSEQ, Reply, Request, parse
from runtime.sip.own_request import OwnRequest, built

CALLER, CALLEE = Side.CALLER, Side.CALLEE
UNCONFIRMED, EARLY, NA, CONFIRMED, DELETED = State
TERMS = Terms(options_s=30.0, reinvite_s=300.0, race_s=5.0)


def new(flags: int = 0, cseq: int = 1) -> Dialog:
    dialog = Dialog(
        id=7,
        call_id="c",
        created=1000.0,
        lifetime_s=3600,
        caller=Leg(tag="a", uri="sip:alice@x", contact="sip:alice@1.1.1.1", cseq=cseq),
        callee=Leg(uri="sip:bob@x", sent=cseq),
        flags=flags,
    )
    dialog.begin(0.0)
    return dialog


def reply(status: int, tag: str = "b", now: float = 10.0) -> Replied:
    return Replied(status, tag, "sip:bob@2.2.2.2", [], 0, now, 1000.0 + now)


def confirmed(flags: int = 0) -> Dialog:
    dialog = new(flags)
    dialog.handle(reply(200), TERMS)
    dialog.handle(Acked())
    return dialog


def bye(sender: Side = CALLER, cseq: int = 2) -> Requested:
    return Requested("BYE", sender, cseq, 20.0)


def test_a_call_from_its_invite_to_its_end() -> None:
    dialog = new()
    assert (dialog.state, dialog.due) == (UNCONFIRMED, SETUP_S)
    assert dialog.handle(reply(100, "")) == []
    assert dialog.handle(reply(180)) == [Moved(UNCONFIRMED, EARLY)]
    assert dialog.handle(reply(180)) == []
    assert dialog.handle(reply(200)) == [Moved(EARLY, NA)]
    assert (dialog.started, dialog.ends_at, dialog.due) == (1010.0, 3610.0, 3610.0)
    assert dialog.handle(reply(200)) == []
    assert dialog.handle(Acked()) == [Moved(NA, CONFIRMED)]
    assert dialog.handle(Acked()) == []
    assert dialog.handle(bye()) == [Moved(CONFIRMED, DELETED)]
    assert (dialog.reason, dialog.due) == (EndReason.DOWNSTREAM_BYE, 20.0 + BYE_S)
    assert dialog.handle(ByeAnswered(None, 21.0)) == [Gone()]


def test_a_call_that_is_refused() -> None:
    dialog = new()
    dialog.handle(reply(180))
    assert dialog.handle(reply(486)) == [Moved(EARLY, DELETED), Gone()]
    assert dialog.reason == ""


def test_the_callee_ends_it() -> None:
    dialog = confirmed()
    assert dialog.handle(bye(CALLEE, 77)) == [Moved(CONFIRMED, DELETED)]
    assert dialog.reason == EndReason.UPSTREAM_BYE


def test_two_byes_that_cross_end_it_once() -> None:
    dialog = confirmed()
    dialog.handle(bye(CALLEE, 77))
    assert dialog.handle(bye(CALLER)) == [Changed()]
    assert dialog.reason == EndReason.UPSTREAM_BYE
    assert dialog.handle(ByeAnswered(None, 21.0)) == [Gone()]


def test_it_is_kept_for_a_while_where_that_was_asked_for() -> None:
    dialog = confirmed()
    dialog.linger_s = 60
    dialog.handle(bye())
    assert dialog.handle(ByeAnswered(None, 21.0)) == [Changed()]
    assert dialog.handle(Due(80.0)) == [Changed()]
    assert dialog.handle(Due(81.0)) == [Gone()]


def test_its_lifetime_is_over() -> None:
    silent, loud = confirmed(), confirmed(Flag.BYE_ON_TIMEOUT)
    assert silent.handle(Due(3609.0)) == loud.handle(Due(3609.0)) == [Changed()]
    assert silent.handle(Due(3610.0)) == [Moved(CONFIRMED, DELETED), Gone()]
    assert loud.handle(Due(3610.0)) == [Moved(CONFIRMED, DELETED), SendBye(CALLER, 1), SendBye(CALLEE, 2)]
    assert silent.reason == loud.reason == EndReason.TIMEOUT
    assert loud.handle(ByeAnswered(CALLEE, 3611.0)) == [Changed()]
    assert loud.handle(ByeAnswered(CALLER, 3611.0)) == [Gone()]


def test_a_bye_of_our_own_that_nobody_answered_is_asked_for_once_more() -> None:
    dialog = confirmed(Flag.BYE_ON_TIMEOUT)
    dialog.handle(Due(3610.0))
    dialog.handle(ByeAnswered(CALLER, 3611.0))
    assert dialog.due == 3610.0 + BYE_S
    assert dialog.handle(Due(dialog.due)) == [Changed(), SendBye(CALLEE, 2)]
    assert dialog.handle(Due(dialog.due)) == [Gone()]


def test_a_lifetime_that_the_script_sets() -> None:
    dialog = new()
    assert dialog.handle(TimeoutSet(60, 5.0)) == [Changed()]
    dialog.handle(reply(200))
    assert dialog.ends_at == 70.0
    assert dialog.handle(TimeoutSet(100, 50.0)) == [Changed()]
    assert (dialog.ends_at, dialog.due) == (150.0, 150.0)


def test_an_invite_whose_process_died_is_given_up() -> None:
    dialog = new()
    assert dialog.handle(Due(SETUP_S - 1)) == [Changed()]
    assert dialog.handle(Due(SETUP_S)) == [Moved(UNCONFIRMED, DELETED), Gone()]


def test_somebody_wants_it_to_end() -> None:
    ringing = new()
    assert ringing.handle(EndWanted(EndReason.MI, 5.0)) == [Changed(), CancelInvite()]
    assert ringing.handle(reply(487)) == [Moved(UNCONFIRMED, DELETED), Gone()]
    talking = confirmed()
    effects = talking.handle(EndWanted(EndReason.MI, 50.0))
    assert effects == [Moved(CONFIRMED, DELETED), SendBye(CALLER, 1), SendBye(CALLEE, 2)]
    assert talking.handle(EndWanted(EndReason.MI, 51.0)) == []
    assert (ringing.reason, talking.reason) == (EndReason.MI, EndReason.MI)


def test_pings_by_options() -> None:
    dialog = confirmed(Flag.PING_CALLER | Flag.PING_CALLEE)
    assert dialog.due == 40.0
    assert dialog.handle(Due(40.0), TERMS) == [
        Changed(),
        SendPing(CALLER, "OPTIONS", 1),
        SendPing(CALLEE, "OPTIONS", 2),
    ]
    assert dialog.handle(Due(41.0), TERMS) == [Changed()]
    assert dialog.due == 70.0
    assert dialog.handle(PingFailed(CALLEE, "OPTIONS", 72.0)) == [
        Moved(CONFIRMED, DELETED),
        SendBye(CALLER, 2),
        SendBye(CALLEE, 3),
    ]
    assert dialog.reason == EndReason.PING
    assert dialog.handle(PingFailed(CALLER, "OPTIONS", 72.0)) == []


def test_pings_by_re_invite_win_over_options() -> None:
    flags = Flag.PING_CALLEE | Flag.REINVITE_CALLEE | Flag.REINVITE_CALLER
    without = confirmed(flags)
    pings = [SendPing(CALLER, "OPTIONS", 1), SendPing(CALLEE, "OPTIONS", 2)]
    assert without.handle(Due(310.0), TERMS) == [Changed(), *pings], "nobody knows what to offer"
    dialog = new(flags)
    dialog.callee.body = b"v=0 offer"
    dialog.handle(replace(reply(200), body=b"v=0 answer", body_type="application/sdp"), TERMS)
    dialog.handle(Acked())
    assert dialog.handle(Due(310.0), TERMS) == [Changed(), SendPing(CALLER, "INVITE", 1), SendPing(CALLEE, "INVITE", 2)]
    assert (dialog.caller.body, dialog.callee.body) == (b"v=0 answer", b"v=0 offer")
    leg = dialog.caller
    assert own_request(dialog, CALLER, "INVITE", 1, [], leg.body, leg.body_type) == OwnRequest(
        "INVITE",
        "sip:alice@1.1.1.1",
        "<sip:bob@x>;tag=b",
        "<sip:alice@x>;tag=a",
        "c",
        1,
        routes=[],
        headers=["Contact: <sip:bob@2.2.2.2>", "Content-Type: application/sdp"],
        body=b"v=0 answer",
        socket=0,
        dialog="0.7",
    )
    dialog.handle(PingFailed(CALLER, "INVITE", 400.0))
    assert dialog.reason == EndReason.REINVITE_PING


def test_nobody_is_pinged_before_the_ack() -> None:
    dialog = new(Flag.PING_CALLEE)
    dialog.handle(reply(200), TERMS)
    assert dialog.handle(Due(40.0), TERMS) == [Changed()]
    assert dialog.due == 70.0


def test_the_race_of_a_bye_with_the_answer() -> None:
    patient, strict = new(), new(Flag.END_ON_RACE)
    for dialog in (patient, strict):
        dialog.handle(bye())
        dialog.handle(reply(200), TERMS)
        dialog.handle(Acked())
    assert (patient.ends_at, strict.ends_at) == (3610.0, 15.0)
    assert strict.handle(Due(15.0)) == [Moved(CONFIRMED, DELETED), SendBye(CALLER, 1), SendBye(CALLEE, 3)]
    assert strict.reason == EndReason.RACE


def test_the_race_of_a_cancel_with_the_answer() -> None:
    dialog = new(Flag.END_ON_RACE)
    assert dialog.handle(CallerCancelled()) == [Changed()]
    assert dialog.handle(CallerCancelled()) == []
    dialog.handle(reply(200), TERMS)
    assert dialog.ends_at == 15.0


def test_a_request_of_our_own_gets_a_number() -> None:
    assert new().handle(RequestWanted(CALLEE, "INFO")) == []
    dialog = confirmed()
    assert dialog.handle(RequestWanted(CALLEE, "INFO")) == [Changed(), SendRequest(CALLEE, "INFO", 2)]
    assert dialog.handle(RequestWanted(CALLER, "INFO")) == [Changed(), SendRequest(CALLER, "INFO", 1)]
    dialog.handle(Requested("INFO", CALLER, 2, 11.0))
    assert dialog.callee.sent == 3


def test_another_forks_answer_changes_nothing() -> None:
    dialog = new()
    dialog.handle(reply(180, "b1"))
    assert dialog.handle(reply(183, "b2")) == [Changed()]
    dialog.handle(reply(200, "b1"))
    assert dialog.handle(reply(200, "b2")) == []
    assert dialog.callee.tag == "b1"
    assert dialog.sender_of("c", "a", "b2") is None


def test_who_sent_a_request() -> None:
    dialog = confirmed()
    assert dialog.sender_of("c", "a", "b") is CALLER
    assert dialog.sender_of("c", "b", "a") is CALLEE
    for call_id, from_tag, to_tag in [("d", "a", "b"), ("c", "a", "x"), ("c", "x", "a"), ("c", None, None)]:
        assert dialog.sender_of(call_id, from_tag, to_tag) is None
    ringing = new()
    assert ringing.sender_of("c", "a", "any") is CALLER
    assert ringing.sender_of("c", "any", "a") is CALLEE


def test_nothing_is_renumbered_while_we_send_nothing() -> None:
    dialog = confirmed()
    assert dialog.handle(Requested("INVITE", CALLER, 2, 11.0)) == [Changed()]
    assert dialog.handle(Requested("INFO", CALLEE, 4711, 11.0)) == [Changed()]
    assert dialog.handle(Requested("INFO", CALLEE, 4711, 11.0)) == []
    assert (dialog.shift(CALLER, "INVITE"), dialog.shift(CALLEE, "INFO")) == (0, 0)
    assert (dialog.callee.sent, dialog.caller.sent) == (2, 4711)


def test_requests_of_our_own_push_the_numbers_of_the_other_end() -> None:
    dialog = confirmed(Flag.PING_CALLEE)
    dialog.handle(Requested("INVITE", CALLER, 2, 11.0))
    assert SendPing(CALLEE, "OPTIONS", 3) in dialog.handle(Due(40.0), TERMS)
    assert SendPing(CALLEE, "OPTIONS", 4) in dialog.handle(Due(70.0), TERMS)
    assert dialog.shift(CALLER, "ACK") == 0, "the ACK's INVITE was sent before"
    dialog.handle(Requested("INVITE", CALLER, 3, 75.0))
    assert (dialog.shift(CALLER, "INVITE"), dialog.shift(CALLER, "ACK"), dialog.callee.sent) == (2, 2, 5)
    dialog.handle(Requested("INFO", CALLER, 100, 76.0))
    assert dialog.callee.sent == 102
    dialog.check()


def test_an_end_that_never_sent_anything() -> None:
    dialog = confirmed(Flag.PING_CALLER)
    assert SendPing(CALLER, "OPTIONS", 1) in dialog.handle(Due(40.0), TERMS)
    dialog.handle(Requested("BYE", CALLEE, 0, 41.0))
    assert dialog.shift(CALLEE, "BYE") == 2


def test_numbers_end_below_2_to_the_31() -> None:
    dialog = confirmed()
    dialog.handle(Requested("INFO", CALLER, MAX_CSEQ, 11.0))
    assert SendBye(CALLEE, MAX_CSEQ) in dialog.handle(EndWanted(EndReason.MI, 12.0))
    dialog.check()


def test_a_target_that_moves() -> None:
    dialog = confirmed()
    assert dialog.handle(Refreshed(CALLEE, "sip:bob@3.3.3.3", "sip:alice@1.1.1.1")) == [Changed()]
    assert dialog.handle(Refreshed(CALLEE, "sip:bob@3.3.3.3", "")) == []
    assert (dialog.caller.contact, dialog.callee.contact) == ("sip:alice@1.1.1.1", "sip:bob@3.3.3.3")


@pytest.mark.parametrize(
    ("did", "number"),
    [
        ("e3d.f2a4b1c2", 0xE3DF2A4B1C2),
        ("0.1", 1),
        ("ffffffff.ffffffff", 2**64 - 1),
        ("", None),
        (".", None),
        ("1.", None),
        ("+1.2", None),
        ("1_1.2", None),
        ("123456789.1", None),
        ("1.2.3", None),
        ("g.1", None),
    ],
)
def test_identifiers(did: str, number: int | None) -> None:
    assert number_of(did) == number
    if number is not None:
        assert did_of(number) == did


# Facts from messages


def message(text: str) -> Request | Reply:
    found = parse(text.replace("\n", "\r\n").encode())
    assert isinstance(found, Request | Reply)
    return found


def invite(*lines: str) -> Request:
    found = message(
        "INVITE sip:bob@x SIP/2.0\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\nFrom: <sip:alice@x>;tag=a\nTo: <sip:bob@x>\n"
        f"Call-ID: c\nCSeq: 5 INVITE\nContact: <sip:alice@1.1.1.1>\n{''.join(line + chr(10) for line in lines)}\n"
    )
    assert isinstance(found, Request)
    return found


def ok(*lines: str) -> Reply:
    found = message(
        "SIP/2.0 200 OK\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\nFrom: <sip:alice@x>;tag=a\nTo: <sip:bob@x>;tag=b\n"
        f"Call-ID: c\nCSeq: 5 INVITE\n{''.join(line + chr(10) for line in lines)}\n"
    )
    assert isinstance(found, Reply)
    return found


def test_the_callers_leg_comes_from_the_invite() -> None:
    dialog = dialog_of(invite("Record-Route: <sip:near;lr>, <sip:far;lr>"), 9, socket=1, lifetime_s=60, wall=5.0)
    assert dialog.caller == Leg(
        tag="a",
        uri="sip:alice@x",
        contact="sip:alice@1.1.1.1",
        routes=["<sip:near;lr>", "<sip:far;lr>"],
        socket=1,
        cseq=5,
    )
    assert dialog.callee == Leg(uri="sip:bob@x", socket=1, sent=5)


def test_the_callees_routes_are_those_behind_us_reversed() -> None:
    request = invite("Record-Route: <sip:before;lr>")
    answer = ok("Record-Route: <sip:last;lr>, <sip:next;lr>", "Record-Route: <sip:us;lr;did=1.2>,<sip:before;lr>")
    assert callee_routes(request, answer, "did=1.2") == ["<sip:next;lr>", "<sip:last;lr>"]
    not_ours = ok("Record-Route: <sip:last;lr>, <sip:next;lr>, <sip:before;lr>")
    assert callee_routes(request, not_ours, "did=1.2") == ["<sip:next;lr>", "<sip:last;lr>"]
    assert callee_routes(request, ok(), "did=1.2") == []
    twice = ok("Record-Route: <sip:next;lr>, <sip:us2;r2=on;lr;did=1.2>, <sip:us1;r2=on;lr;did=1.2>")
    assert callee_routes(invite(), twice, "did=1.2") == ["<sip:next;lr>"]


def test_where_a_request_of_our_own_goes() -> None:
    assert aim_at(Leg()) is None
    assert aim_at(Leg(contact="sip:b@1")) == Aim("sip:b@1", [])
    assert aim_at(Leg(contact="sip:b@1", routes=["<sip:p;lr>"])) == Aim("sip:b@1", ["<sip:p;lr>"])
    strict = Leg(contact="sip:b@1", routes=["<sip:strict>", "<sip:p;lr>"])
    assert aim_at(strict) == Aim("sip:strict", ["<sip:p;lr>", "<sip:b@1>"], "sip:strict")
    assert aim_at(Leg(contact="sip:b@1", routes=["<rubbish"])) == Aim("sip:b@1", ["<rubbish"])


def test_the_identifier_in_a_route() -> None:
    assert did_in("lr;did=e3d.f2", "did") == "e3d.f2"
    assert did_in(";did=e3d.f2;lr", "did") == "e3d.f2"
    assert did_in(";lr;xdid=1", "did") is None
    assert did_in(None, "did") is None


def test_the_number_in_a_prack_follows_its_invite() -> None:
    assert shifted_rack(invite("RAck: 1 5 INVITE"), 2) == "RAck: 1 7 INVITE\r\n"
    assert shifted_rack(invite(), 2) is None
    assert shifted_rack(invite("RAck: 1 x INVITE"), 2) is None


def test_flags_are_letters_or_words() -> None:
    assert flags_of("") == 0
    assert flags_of("PpB") == Flag.PING_CALLER | Flag.PING_CALLEE | Flag.BYE_ON_TIMEOUT
    assert flags_of("bye-on-timeout, reinvite-ping-callee") == Flag.BYE_ON_TIMEOUT | Flag.REINVITE_CALLEE
    assert flags_of("RrE") == Flag.REINVITE_CALLER | Flag.REINVITE_CALLEE | Flag.END_ON_RACE


TEXT = st.text(alphabet=st.characters(max_codepoint=255, exclude_characters="\r\n"), max_size=60)


@given(TEXT, TEXT, TEXT, TEXT)
def test_no_text_in_a_message_is_too_odd(contact: str, routes: str, rack: str, params: str) -> None:
    lines = [f"Contact: {contact}", f"Record-Route: {routes}", f"RAck: {rack}"]
    via = "Via: SIP/2.0/UDP h;branch=z9hG4bK1"
    head = f"INVITE sip:bob@x SIP/2.0\r\n{via}\r\nFrom: <sip:alice@x>;tag=a\r\nTo: <sip:b@x>"
    text = "\r\n".join([head, "Call-ID: c", "CSeq: 5 INVITE", *lines, "", ""])
    request = parse(text.encode("latin-1"))
    if not isinstance(request, Request):
        return
    dialog = dialog_of(request, 9, socket=0, lifetime_s=60, wall=5.0)
    shifted_rack(request, 3)
    answer = ok(f"Contact: {contact}", f"Record-Route: {routes}")
    dialog.handle(replied(request, answer, "did=1.2", 200, socket=0, now=1.0, wall=1.0))
    wanted = own_request(dialog, CALLEE, "INFO", 2)
    if wanted is not None:
        with contextlib.suppress(ValueError):
            built(wanted)
    number_of(did_in(params, "did") or "")
    flags_of(params)
