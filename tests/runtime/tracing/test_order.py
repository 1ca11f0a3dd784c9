"""Which calls are recorded, and what is read off a message before anything is parsed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.sip.message import Reply, Request, parse
from runtime.tracing.order import ALL, Order, call_of, chosen_of, label_of, number_of, pack_order, read_order

WORDS = st.text("abcXYZ019-_.@!%*", min_size=1, max_size=20)
NAMES = st.sampled_from(["Call-ID", "call-id", "CALL-ID", "i", "I", "Call-ID "])
BODIES = st.sampled_from([b"", b"v=0\r\ni=x\r\n", b"SIP/2.0 100 Trying\r\nCall-ID: another\r\n\r\n"])


def message(start: str, call_id: str, name: str = "Call-ID", method: str = "INVITE", body: bytes = b"") -> bytes:
    head = (
        f"{start}\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKx\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:c@d>\r\n"
        f"{name}: {call_id}\r\nCSeq: 1 {method}\r\nMax-Forwards: 70\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


@given(WORDS, NAMES, BODIES)
def test_the_call_of_a_message_is_its_call_id(call_id: str, name: str, body: bytes) -> None:
    data = message("INVITE sip:c@d SIP/2.0", call_id, name, body=body)
    parsed = parse(data)
    assert isinstance(parsed, Request)
    assert call_of(data) == parsed.call_id.encode() == call_id.encode()


@given(st.binary(max_size=300))
def test_bytes_that_are_no_message_are_of_some_call_and_have_some_name(data: bytes) -> None:
    assert isinstance(call_of(data), bytes)
    assert label_of(data).isprintable()
    assert 0 < len(label_of(data)) <= 40


@given(st.sampled_from(["INVITE", "OPTIONS", "X.y-Z"]), st.integers(100, 699))
def test_a_message_is_called_by_its_method_and_a_reply_by_its_status_too(method: str, status: int) -> None:
    request = message(f"{method} sip:c@d SIP/2.0", "1", method=method)
    reply = message(f"SIP/2.0 {status} Something", "1", method=method)
    assert isinstance(parse(request), Request)
    assert isinstance(parse(reply), Reply)
    assert (label_of(request), label_of(reply)) == (method, f"{status} {method}")


@given(st.floats(0, 1), st.integers(0, 2**32 - 1), st.lists(WORDS, min_size=200, max_size=200, unique=True))
def test_about_the_share_that_was_asked_for_is_chosen_and_all_and_nothing_are_exact(
    share: float, seed: int, calls: list[str]
) -> None:
    chosen = sum(number_of(call.encode(), seed) < chosen_of(share) for call in calls)
    assert abs(chosen - share * 200) <= 60  # six deviations
    if share in (0.0, 1.0):
        assert chosen == share * 200


def test_every_number_is_below_all() -> None:
    assert chosen_of(1.0) == ALL
    assert chosen_of(2.0) == ALL
    assert chosen_of(-1.0) == 0
    assert number_of(b"", 0) < ALL


@given(
    st.builds(
        Order,
        id=st.text("0123456789abcdef", min_size=1),
        began_ns=st.integers(0, 2**62),
        ends_ns=st.integers(0, 2**62),
        epoch_ns=st.integers(0, 2**62),
        chosen=st.integers(0, ALL),
        call_ids=st.booleans(),
    )
)
def test_an_order_is_read_back_as_it_was_written(order: Order) -> None:
    assert read_order(pack_order(order)) == order


@pytest.mark.parametrize("data", [b"", b"{}", b'{"id": 1}', b"\xff", b"[]"])
def test_what_is_no_order_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="not an order"):
        read_order(data)
