"""Transaction keys (RFC 3261 17.2.3)."""

from __future__ import annotations

import pytest

from runtime.sip.keys import dialog_ack_key, invite_key, server_key
from runtime.sip.message import Request, parse


def request(
    method: str = "INVITE",
    via: str = "SIP/2.0/UDP h:5070;branch=z9hG4bKa1",
    to_tag: str = "",
    number: int = 1,
    ruri: str = "sip:bob@example.com",
    from_tag: str = ";tag=f1",
) -> Request:
    data = (
        f"{method} {ruri} SIP/2.0\r\nVia: {via}\r\nFrom: <sip:a@b>{from_tag}\r\nTo: <sip:c@d>{to_tag}\r\n"
        f"Call-ID: c1\r\nCSeq: {number} {method}\r\n\r\n"
    )
    parsed = parse(data.encode())
    assert isinstance(parsed, Request)
    return parsed


def test_with_the_cookie_branch_sent_by_and_method_are_the_key() -> None:
    key = server_key(request())
    assert key == "INVITE h:5070 z9hG4bKa1"
    assert (
        server_key(request(ruri="sip:other", to_tag=";tag=t", number=9, via="SIP/2.0/TCP H:5070;branch=z9hG4bKa1"))
        == key
    )
    for other in (
        request(method="OPTIONS"),
        request(via="SIP/2.0/UDP h:5071;branch=z9hG4bKa1"),
        request(via="SIP/2.0/UDP h;branch=z9hG4bKa1"),
        request(via="SIP/2.0/UDP h2:5070;branch=z9hG4bKa1"),
        request(via="SIP/2.0/UDP h:5070;branch=z9hG4bKA1"),
    ):
        assert server_key(other) != key


OLD = "SIP/2.0/UDP h:5070"


@pytest.mark.parametrize(
    "via", ["SIP/2.0/UDP h:5070;branch=z9hG4bKa1", OLD, OLD + ";branch=1", OLD + ";branch=z9hG4bK"]
)
def test_an_ack_and_a_cancel_lead_to_their_invite(via: str) -> None:
    invite = request(via=via)
    ack = request("ACK", via=via, to_tag=";tag=ours")
    cancel = request("CANCEL", via=via)
    assert server_key(ack) == invite_key(ack) == invite_key(cancel) == server_key(invite)
    assert server_key(cancel) != server_key(invite)


def test_without_the_cookie_everything_counts() -> None:
    base = server_key(request("BYE", via=OLD, to_tag=";tag=t"))
    assert server_key(request("BYE", via=OLD, to_tag=";tag=t")) == base
    for other in (
        request("BYE", via=OLD, to_tag=";tag=u"),
        request("BYE", via=OLD, to_tag=";tag=t", number=2),
        request("BYE", via=OLD, to_tag=";tag=t", ruri="sip:x"),
        request("BYE", via=OLD, to_tag=";tag=t", from_tag=""),
        request("BYE", via=OLD + ";x=1", to_tag=";tag=t"),
        request("INFO", via=OLD, to_tag=";tag=t"),
    ):
        assert server_key(other) != base


def test_the_ack_of_a_2xx_is_found_by_its_dialog() -> None:
    ack = request("ACK", via="SIP/2.0/UDP h;branch=z9hG4bKother", to_tag=";tag=ours")
    assert dialog_ack_key(ack) == dialog_ack_key(request())
    assert dialog_ack_key(request(number=2)) != dialog_ack_key(request())
