"""Commands in a stream of bytes that anybody may write."""

from __future__ import annotations

import json

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from mi_script.transports.framing import Command, Framing, Misnamed, Spoilt

NOT_JSON = "not JSON"
NOBODY = Spoilt("", NOT_JSON)


@pytest.mark.parametrize(
    ("stream", "frames", "garbage"),
    [
        (b":r:{}", [Command("r", b"{}")], 0),
        (b"::{}", [Command("", b"{}")], 0),
        (b":r:[{}]\n", [Command("r", b"[{}]")], 0),
        (b":r: \r\n {}", [Command("r", b"{}")], 0),
        (b":a:{}:b:{}\n:c:{}", [Command("a", b"{}"), Command("b", b"{}"), Command("c", b"{}")], 0),
        (b":r:{}{}:s:{}", [Command("r", b"{}"), Command("s", b"{}")], 2),
        (b':r:{"a":"}]:x:{"}', [Command("r", b'{"a":"}]:x:{"}')], 0),
        (rb':r:{"a\"}":1}', [Command("r", rb'{"a\"}":1}')], 0),
        (
            b':r:{"a":[1,-2.5E+3,true,false,null,{"b":[]}]}',
            [Command("r", b'{"a":[1,-2.5E+3,true,false,null,{"b":[]}]}')],
            0,
        ),
        # Brackets close, so the service sees it and says that it is no JSON.
        (b":r:{,}", [Command("r", b"{,}")], 0),
        (b"no command at all\n", [], 14),
        (b"x:r:{}", [Command("r", b"{}")], 1),
        (b":r:hello\n:s:{}", [Spoilt("r", NOT_JSON), Command("s", b"{}")], 8),
        (b":r:s:{}", [Spoilt("r", NOT_JSON), Command("s", b"{}")], 2),
        (b":::{}", [Command("", b"{}")], 1),
        (b":" * 1000 + b"r:{}", [Command("r", b"{}")], 999),
        (b":: x ::{}", [Command("", b"{}")], 3),
        (b":r:}:s:{}", [Spoilt("r", NOT_JSON), Command("s", b"{}")], 4),
        (b":r:{]:s:{}", [Spoilt("r", NOT_JSON), Command("s", b"{}")], 5),
        # One writer stopped in the middle, and another began.
        (b':r:{"a":1:s:{}', [Spoilt("r", NOT_JSON), Spoilt("1", NOT_JSON), Command("s", b"{}")], None),
        (b':r:{"a":"b:s:{"x":"y"}', [Spoilt("r", NOT_JSON), Command("s", b'{"x":"y"}')], None),
        (b':r:{"a":"b\n:s:{}', [Spoilt("r", NOT_JSON), Command("s", b"{}")], None),
        (b":r:{@:s:{}", [Spoilt("r", NOT_JSON), Command("s", b"{}")], None),
        (b":r:{NaN:s:{}", [Spoilt("r", NOT_JSON), Command("s", b"{}")], None),
        # Names that point elsewhere are not run, and not answered.
        (b":../r:{}:s:{}", [Misnamed("../r"), Command("s", b"{}")], 0),
        (b":a\\b:{}", [Misnamed("a\\b")], 0),
        (b":a.b:{}", [Misnamed("a.b")], 0),
        (b":\xff:{}", [Misnamed("\xff")], 0),
        (b":/etc/x:y", [Spoilt("", NOT_JSON)], 9),
        (b":two words:{}", [], 12),
        (b":" + b"n" * 255 + b":{}", [Command("n" * 255, b"{}")], 0),
        (b":" + b"n" * 256 + b":{}", [], 260),
    ],
)
def test_streams(stream, frames, garbage):
    framing = Framing()
    assert framing.feed(stream, 0.0) == frames
    assert framing.expire(99.0) == []
    if garbage is not None:
        assert framing.garbage == garbage
    # However the stream is cut, the same commands are found and the same clients are told. (Where nobody can be
    # told, "::" at the end of a piece may have been a header.)
    for step in (1, 2, 3, 7):
        pieces = Framing()
        found = [frame for at in range(0, len(stream), step) for frame in pieces.feed(stream[at : at + step], 0.0)]
        assert [frame for frame in found if frame != NOBODY] == [frame for frame in frames if frame != NOBODY]


def test_time_limit_of_a_command_in_pieces():
    framing = Framing(partial_s=2.0)
    assert framing.next_deadline() is None
    assert framing.feed(b':r:{"a"', 10.0) == []
    assert framing.next_deadline() == 12.0
    assert framing.feed(b':"b"', 11.0) == []
    assert framing.next_deadline() == 12.0  # dripping bytes buy no time
    assert framing.expire(11.9) == []
    assert framing.feed(b"}", 11.95) == [Command("r", b'{"a":"b"}')]
    assert framing.next_deadline() is None
    assert framing.expire(99.0) == []


def test_each_command_has_its_own_time():
    framing = Framing(partial_s=2.0)
    framing.feed(b":r:{", 10.0)
    assert framing.feed(b"}:s:{", 11.5) == [Command("r", b"{}")]
    assert framing.next_deadline() == 13.5


def test_a_command_that_never_ends_is_given_up_and_what_it_swallowed_is_found():
    framing = Framing(partial_s=2.0)
    assert framing.feed(b':r:{"a":{', 10.0) == []
    assert framing.feed(b'"b":{},', 10.5) == []
    assert framing.expire(12.0) == [Spoilt("r", "incomplete")]
    assert framing.next_deadline() is None
    assert framing.feed(b":s:{}", 12.5) == [Command("s", b"{}")]
    assert framing.feed(b':r:{"', 20.0) == []
    assert framing.feed(b":s:{}", 20.5) == []  # within the string, as far as anybody can tell
    assert framing.expire(22.0) == [Spoilt("r", "incomplete"), Command("s", b"{}")]


def test_half_a_header_is_forgotten_in_time():
    framing = Framing(partial_s=2.0)
    assert framing.feed(b":na", 10.0) == []
    assert framing.feed(b"me", 11.0) == []
    assert framing.next_deadline() == 12.0
    assert framing.expire(12.0) == []
    assert framing.next_deadline() is None
    assert framing.garbage == 5
    assert framing.feed(b":r:{}", 12.5) == [Command("r", b"{}")]


def test_size_limit():
    framing = Framing(max_bytes=10)
    assert framing.feed(b":r:" + b"[" + b" " * 8 + b"]", 0.0) == [Command("r", b"[" + b" " * 8 + b"]")]
    assert framing.feed(b":r:" + b"[" + b" " * 9 + b"]:s:{}", 0.0) == [
        Spoilt("r", "longer than 10 bytes"),
        Command("s", b"{}"),
    ]
    assert framing.feed(b":r:[" + b"1" * 20, 0.0) == [Spoilt("r", "longer than 10 bytes")]
    assert framing.next_deadline() is None
    assert framing.feed(b"1]:s:{}", 0.0) == [Command("s", b"{}")]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(), children, max_size=4),
    max_leaves=10,
)
requests = st.dictionaries(st.text(max_size=5), json_values, max_size=4).flatmap(
    lambda value: st.sampled_from(
        [json.dumps(value).encode(), json.dumps(value, ensure_ascii=False, indent=1).encode()]
    )
)
names = st.text(st.characters(codec="ascii", categories=("L", "N"), include_characters="_-"), max_size=8)
cuts = st.lists(st.integers(0, 400), max_size=6)


@given(st.lists(st.tuples(names, requests), max_size=6), cuts)
def test_any_commands_cut_anywhere_are_found(commands, cuts):
    stream = b"".join(b":%b:%b" % (name.encode(), text) for name, text in commands)
    framing, found, at = Framing(), [], 0
    for cut in [*sorted(min(cut, len(stream)) for cut in cuts), len(stream)]:
        found += framing.feed(stream[at:cut], 0.0)
        at = cut
    assert found == [Command(name, text) for name, text in commands]
    assert framing.garbage == 0
    assert framing.next_deadline() is None


@given(
    st.lists(st.one_of(st.binary(max_size=20), st.sampled_from([b":r:", b"{", b'"', b"}", b":", b"::", b"[", b"\\"])))
)
def test_any_bytes_leave_it_working(pieces):
    framing = Framing(max_bytes=100, partial_s=1.0)
    for now, piece in enumerate(pieces):
        for frame in framing.feed(piece, now / 10):
            event(type(frame).__name__)
            assert isinstance(frame, Misnamed) or not set(getattr(frame, "reply", "")) & set("./\\")
    for _ in range(500):
        if (deadline := framing.next_deadline()) is not None:
            framing.expire(deadline)
    assert framing.next_deadline() is None
    assert framing.feed(b"\n:r:{}", 0.0)[-1:] == [Command("r", b"{}")]
