"""What is told of a run is the same after a round trip, and each event is one line whatever stands in it."""

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import fields

from runtime.simulation.events import Event, NoEvent, Parked, event_of, events_of, line_of, lines_of, who

SCRIPT_TEXT = st.text(st.characters(max_codepoint=255), max_size=40)
BY_TYPE = {
    str: SCRIPT_TEXT,
    bool: st.booleans(),
    int: st.integers(-(2**31), 2**31),
    float: st.floats(0, 1e6, allow_nan=False),
    list[str]: st.lists(SCRIPT_TEXT, max_size=3),
    list[tuple[str, str]]: st.lists(st.tuples(SCRIPT_TEXT, SCRIPT_TEXT), max_size=3),
}
EVENTS = st.one_of(
    [st.builds(kind, **{field.name: BY_TYPE[field.type] for field in fields(kind)}) for kind in get_args(Event)]
)


@given(st.lists(EVENTS, max_size=10))
def test_a_run_survives_the_round_trip(events: list[Event]) -> None:
    lines = lines_of(events)

    assert list(events_of(lines)) == events
    assert lines.count(b"\n") == len(events)


@given(EVENTS)
def test_every_event_says_where_it_was(event: Event) -> None:
    assert isinstance(who(event), str)
    assert event_of(line_of(event)) == event


def test_a_line_says_what_it_is() -> None:
    parked = Parked(0.25, "sip-1.1", "sip-1.1.7", "answered", "a.cfg", 12, 5.0, "call-1")

    assert line_of(parked) == (
        b'{"type":"Parked","at_s":0.25,"process":"sip-1.1","job":"sip-1.1.7","resume":"answered","file":"a.cfg",'
        b'"line":12,"timeout_s":5.0,"call":"call-1"}'
    )


@pytest.mark.parametrize("line", [b"", b"{}", b"[]", b'{"type":"Nothing"}', b'{"type":"Started","at_s":"x"}', b"\xff"])
def test_what_is_no_event_says_so(line: bytes) -> None:
    with pytest.raises(NoEvent):
        event_of(line)
