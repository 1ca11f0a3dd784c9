"""Whatever pieces a stream comes in, it says the same; and whatever it says, the framer does not raise."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import event, given
from hypothesis import strategies as st

from runtime.sip.framing import Broken, Framed, Framer

NAMES = st.sampled_from([b"Content-Length: ", b"l:", b"CONTENT-length :", b"Content-Length:\r\n\t"])
BODIES = st.one_of(st.binary(max_size=40), st.sampled_from([b"\r\n\r\n", b"l: 4\r\n\r\n", b"\r\n"]))


@st.composite
def messages(draw: st.DrawFn) -> bytes:
    body = draw(BODIES)
    other = draw(st.sampled_from([b"", b"Via: x\r\n", b"Subject: a\r\n l: 3\r\n", b"Language: x\r\n"]))
    return b"INFO sip:a@b SIP/2.0\r\n%s%s%d\r\n\r\n%s" % (other, draw(NAMES), len(body), body)


KEEP_ALIVES = st.sampled_from([b"\r\n", b"\r\n\r\n", b"\r\n" * 5])
HOSTILE = st.sampled_from(
    [b"\x00", b"\n", b"\r", b"X\r\n\r\n", b"X\r\nl: 1\r\nl: 1\r\n\r\n", b"l: 99999999\r\n\r\n", b"A" * 300]
)
STREAMS = st.lists(st.one_of(messages(), KEEP_ALIVES), max_size=8)
ANYTHING = st.lists(st.one_of(messages(), KEEP_ALIVES, HOSTILE, st.binary(max_size=30)), max_size=8)


def fed(stream: bytes, cuts: list[int], *, framer: Framer | None = None) -> list[Framed]:
    framer = framer or Framer()
    places = [0, *sorted(cut % (len(stream) + 1) for cut in cuts), len(stream)]
    return [one for start, end in pairwise(places) for one in framer.feed(stream[start:end])]


@given(STREAMS, st.lists(st.integers(min_value=0), max_size=20))
def test_any_split_of_any_messages_gives_those_messages(parts: list[bytes], cuts: list[int]) -> None:
    stream = b"".join(parts)
    found = fed(stream, cuts)
    assert [one for one in found if isinstance(one, bytes)] == [part for part in parts if part.strip(b"\r\n")]
    assert found == fed(stream, [])
    event(f"{min(len(parts), 3)} parts, {min(len(cuts), 3)} cuts")


@given(ANYTHING, st.lists(st.integers(min_value=0), max_size=20))
def test_any_split_of_anything_says_the_same_and_ends_with_the_first_fault(parts: list[bytes], cuts: list[int]) -> None:
    stream = b"".join(parts)
    framer = Framer(max_head=200, max_message=300)
    found = fed(stream, cuts, framer=framer)
    assert found == fed(stream, [], framer=Framer(max_head=200, max_message=300))
    faults = [one for one in found if isinstance(one, Broken)]
    assert faults in ([], found[-1:])
    event(f"broken: {faults[0].reason}" if faults else "whole")
    assert framer.feed(b"") == []


@given(st.lists(messages(), min_size=1, max_size=4), st.integers(min_value=0))
def test_what_is_kept_back_is_the_beginning_of_one_message(parts: list[bytes], cut: int) -> None:
    stream = b"".join(parts)
    cut %= len(stream) + 1
    framer = Framer()
    before = framer.feed(stream[:cut])
    assert framer.partial == (sum(map(len, (one for one in before if isinstance(one, bytes)))) < cut)
    assert before + framer.feed(stream[cut:]) == parts
