"""The load generator's calls: what follows an INVITE's final answer."""

from __future__ import annotations

import pytest

from runtime.traffic.calls import after_final

INVITE = b"""INVITE sip:bob@192.0.2.1:5060 SIP/2.0\r
Via: SIP/2.0/UDP 127.0.0.1:4000;branch=z9hG4bKr1-7;rport\r
Route: <sip:192.0.2.8;lr>\r
Max-Forwards: 70\r
From: <sip:caller@127.0.0.1>;tag=f7\r
To: <sip:bob@192.0.2.1>\r
Call-ID: r1-7@127.0.0.1\r
CSeq: 3 INVITE\r
Content-Length: 0\r
\r
"""


def answer(status: int, *lines: str) -> bytes:
    head = [f"SIP/2.0 {status} Said", "Via: SIP/2.0/UDP 127.0.0.1:4000;branch=z9hG4bKr1-7;rport=4000", *lines]
    return "\r\n".join([*head, "To: <sip:bob@192.0.2.1>;tag=t9", "CSeq: 3 INVITE", "", ""]).encode()


def test_a_refusal_is_acknowledged_hop_by_hop_as_rfc_3261_17_1_1_3_says() -> None:
    [ack] = after_final(INVITE, answer(486))
    assert ack.decode().split("\r\n") == [
        "ACK sip:bob@192.0.2.1:5060 SIP/2.0",
        "Via: SIP/2.0/UDP 127.0.0.1:4000;branch=z9hG4bKr1-7;rport",
        "From: <sip:caller@127.0.0.1>;tag=f7",
        "To: <sip:bob@192.0.2.1>;tag=t9",
        "Call-ID: r1-7@127.0.0.1",
        "CSeq: 3 ACK",
        "Max-Forwards: 70",
        "Route: <sip:192.0.2.8;lr>",
        "Content-Length: 0",
        "",
        "",
    ]
    assert after_final(INVITE, answer(486), again=True) == [ack]


def test_who_takes_the_call_is_hung_up_along_the_route_set_that_he_gave() -> None:
    taken = answer(
        200,
        "Record-Route: <sip:192.0.2.2;lr>, <sip:192.0.2.3;lr>",
        "Record-Route: <sip:192.0.2.4;lr>",
        "Contact: <sip:bob@192.0.2.9:5080>",
    )
    ack, bye = after_final(INVITE, taken)
    head = b"%s sip:bob@192.0.2.9:5080 SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:4000;branch=z9hG4bK%sr1-7;rport\r\n"
    assert ack.startswith(head % (b"ACK", b"ACK"))
    assert bye.startswith(head % (b"BYE", b"BYE"))
    for sent, cseq in ((ack, b"CSeq: 3 ACK"), (bye, b"CSeq: 4 BYE")):
        lines = sent.split(b"\r\n")
        assert cseq in lines
        assert b"To: <sip:bob@192.0.2.1>;tag=t9" in lines
        routes = [line for line in lines if line.startswith(b"Route: ")]
        assert routes == [b"Route: <sip:192.0.2.%d;lr>" % number for number in (4, 3, 2)]
    assert after_final(INVITE, taken, again=True) == [ack]


@pytest.mark.parametrize("contact", ["Contact: sip:bob@h", "m: <sip:bob@h>;expires=5", "Contact: Bob <sip:bob@h>"])
def test_a_contact_is_found_however_it_is_written(contact: str) -> None:
    ack, _ = after_final(INVITE, answer(200, contact))
    assert ack.startswith(b"ACK sip:bob@h SIP/2.0\r\n")


def test_an_answer_without_contact_is_acknowledged_where_the_invite_went() -> None:
    ack, _ = after_final(INVITE, answer(200))
    assert ack.startswith(b"ACK sip:bob@192.0.2.1:5060 SIP/2.0\r\n")
