"""Frames: what is written is read, and nothing else is."""

from __future__ import annotations

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.jobs import Cancelled, Failed, Job, JobId, Peer, Returned, TimedOut
from workers.wire import (
    MAX_MESSAGE,
    OVERHEAD_BYTES,
    Answer,
    Dispatch,
    Frame,
    Idle,
    Later,
    Letter,
    Malformed,
    Withdraw,
    clean,
    decode,
    encode,
    is_name,
    size_of,
)

SIP, WORKER = Peer("sip-1", 3), Peer("worker-2", 7)
JOB = Job(JobId(SIP, 42), "pkg:fn", "dr_reload", b"\x00payload", 12.5, True, -3, None)
MOST = 1 << 24

WORDS = [
    Dispatch(JOB, True),
    Dispatch(Job(JobId(SIP, 43), "pkg:fn", "x", b"", 0.0, False, 0, WORKER), False),
    Withdraw(42),
    Answer(1, Returned(b"result", SIP, 0.25), 0.25),
    Answer(2, Failed("KeyError", "'ünknown'", SIP, 0.5), 0.5),
    Answer(3, TimedOut(0.0), 0.0),
    Answer(4, Cancelled("withdrawn"), 0.0),
    Answer(5, None, 0.0),
    Later(42),
    Idle(),
    Letter("sip", b"body"),
]


def raw(*records: object, name: object = "sip-1", incarnation: object = 3, version: int = 1) -> bytes:
    return bytes([version]) + msgpack.packb((name, incarnation, records))


def test_every_word_survives_the_wire() -> None:
    assert decode(encode(SIP, WORDS), WORKER, {}, MOST) == Frame(SIP, WORDS)


def test_a_known_sender_is_the_same_object() -> None:
    frame = decode(encode(Peer("sip-1", 3), [Idle()]), WORKER, {("sip-1", 3): SIP}, MOST)
    assert isinstance(frame, Frame)
    assert frame.sender is SIP


@pytest.mark.parametrize("word", WORDS)
def test_a_word_fits_in_the_size_that_is_told(word) -> None:
    assert len(encode(SIP, [word])) <= OVERHEAD_BYTES + size_of(word)


GOOD = (1, 42, "h", "l", b"p", 1.0, 0, 0)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "another version"),
        (b"\x02" + encode(SIP, [])[1:], "another version"),
        (encode(SIP, WORDS)[:-1], "ValueError"),
        (encode(SIP, WORDS) + b"\x00", "ExtraData"),
        (b"\x01\xc1", "FormatError"),
        (b"\x01" + b"\x91" * 5000, "StackError"),
        (b"\x01\xdd\xff\xff\xff\xff", "ValueError"),
        (raw(name="../etc"), "ValueError"),
        (raw(name=""), "ValueError"),
        (raw(name=b"sip-1"), "ValueError"),
        (raw(name={}), "TypeError"),
        (raw(incarnation=0), "ValueError"),
        (raw(incarnation=True), "ValueError"),
        (raw(7), "ValueError"),
        (raw(()), "ValueError"),
        (raw((99,)), "ValueError"),
        (raw((5, 1)), "ValueError"),
        (raw((True, 1)), "ValueError"),
        (raw((2, -1)), "ValueError"),
        (raw((2, 1.0)), "ValueError"),
        (raw((2, 1, 1)), "ValueError"),
        (raw(GOOD[:-1]), "ValueError"),
        (raw((*GOOD[:2], 7, *GOOD[3:])), "ValueError"),
        (raw((*GOOD[:2], "h" * 513, *GOOD[3:])), "ValueError"),
        (raw((*GOOD[:4], "text", *GOOD[5:])), "ValueError"),
        (raw((*GOOD[:5], float("nan"), 0, 0)), "ValueError"),
        (raw((*GOOD[:5], float("inf"), 0, 0)), "ValueError"),
        (raw((*GOOD[:6], 8, 0)), "ValueError"),
        (raw((3, 1, 9, "", b"", 0.0, 0.0)), "ValueError"),
        (raw((3, 1, 0, "", "text", 0.0, 0.0)), "ValueError"),
        (raw((3, 1, 0, "", b"", -1.0, 0.0)), "ValueError"),
        (raw((3, 1, 1, "K", "m" * (MAX_MESSAGE + 1), 0.0, 0.0)), "ValueError"),
        (raw((6, "topic", "text")), "ValueError"),
    ],
)
def test_a_frame_that_is_wrong_anywhere_is_refused_whole(data: bytes, reason: str) -> None:
    assert decode(data, WORKER, {}, MOST) == Malformed(reason)


def test_a_frame_over_the_limit_is_not_looked_at() -> None:
    data = encode(SIP, [Letter("t", b"x" * 100)])
    assert isinstance(decode(data, WORKER, {}, len(data)), Frame)
    assert decode(data, WORKER, {}, len(data) - 1) == Malformed("too large")


@given(st.binary(max_size=300))
def test_no_bytes_raise(data: bytes) -> None:
    assert isinstance(decode(data, WORKER, {}, MOST), Frame | Malformed)
    assert isinstance(decode(b"\x01" + data, WORKER, {}, MOST), Frame | Malformed)


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=8) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=20,
)


@given(JUNK, JUNK, JUNK)
def test_no_well_formed_nonsense_raises(name: object, incarnation: object, records: object) -> None:
    for data in (
        b"\x01" + msgpack.packb(name),
        b"\x01" + msgpack.packb((name, incarnation, records)),
        b"\x01" + msgpack.packb(("sip-1", 3, records)),
    ):
        assert isinstance(decode(data, WORKER, {}, MOST), Frame | Malformed)


@given(st.text(st.characters(), max_size=3000), st.integers(1, MAX_MESSAGE))
def test_a_cleaned_text_can_be_sent(text: str, limit: int) -> None:
    cleaned = clean(text, limit)
    assert len(cleaned) <= limit
    assert cleaned.encode("utf-8").decode("utf-8") == cleaned
    surrogates = any("\ud800" <= letter <= "\udfff" for letter in text)
    assert cleaned == text or surrogates or len(text) > limit


def test_lone_surrogates_are_spelled_out() -> None:
    assert clean("caf\udce9") == "caf\\udce9"


@pytest.mark.parametrize(("name", "good"), [("sip-1", True), ("a.b", False), ("a/b", False), ("", False), ("é", False)])
def test_names(name: str, good: bool) -> None:
    assert is_name(name) is good
