"""Destinations from rows of a table, their slots, and how their states change."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.dispatching.destinations import (
    Destination,
    Health,
    Refused,
    State,
    Word,
    address_of,
    after,
    allot,
    destination_of,
    read_rows,
)
from runtime.dispatching.generation import Generation, unpacked

SOCKETS = {"udp:192.0.2.1:5060": 0, "tcp:192.0.2.1:5060": 1}


def read(**row: Any) -> Destination:
    return destination_of({"setid": 1, "destination": "sip:192.0.2.7", **row}, SOCKETS.get)


def test_a_row_with_everything() -> None:
    row = {
        "id": 7,
        "setid": 3,
        "destination": "sip:192.0.2.7:5080;transport=tcp",
        "socket": "tcp:192.0.2.1:5060",
        "state": 2,
        "probe_mode": 1,
        "weight": "50",
        "priority": -4,
        "attrs": "max=10",
        "description": "the new one",
    }

    assert destination_of(row, SOCKETS.get) == Destination(
        3,
        "sip:192.0.2.7:5080;transport=tcp",
        State.PROBING,
        50,
        -4,
        "max=10",
        "tcp:192.0.2.1:5060",
        1,
        1,
        "the new one",
    )


def test_what_a_row_does_not_say_has_its_default() -> None:
    assert read(socket=None, weight="", attrs=None, state=None) == Destination(1, "sip:192.0.2.7")


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ({"destination": None}, "the destination is no SIP URI"),
        ({"destination": "192.0.2.7"}, "the destination is no SIP URI"),
        ({"destination": "tel:+358401"}, "the destination is no SIP URI"),
        ({"destination": "sip:a\r\nVia: x"}, "the destination is no SIP URI"),
        ({"destination": "sip:" + "a" * 600}, "the destination is no SIP URI"),
        ({"socket": "udp:192.0.2.99:5060"}, "udp:192.0.2.99:5060 is no socket of this server"),
        ({"weight": "fs://:secret@192.0.2.7"}, "weight is no number"),
        ({"weight": -1}, "weight is not from 0 to 1000000"),
        ({"state": 3}, "state is not from 0 to 2"),
        ({"setid": "x"}, "setid is no number"),
        ({"priority": 1 << 40}, "priority is not from -2147483648 to 2147483648"),
        ({"probe_mode": 9}, "probe_mode is not from 0 to 2"),
    ],
)
def test_a_row_that_is_no_destination_says_why(row: dict[str, Any], why: str) -> None:
    with pytest.raises(Refused) as refused:
        read(**row)
    assert str(refused.value) == why


anything = st.none() | st.integers() | st.text(max_size=20) | st.floats() | st.binary(max_size=8)
rows = st.lists(
    st.fixed_dictionaries(
        {"destination": st.sampled_from(["sip:a", "sip:b", "sip:192.0.2.1:5070"]) | anything},
        optional={
            name: anything if name != "setid" else st.integers(0, 2) | anything
            for name in ("setid", "socket", "state", "weight", "priority", "attrs", "probe_mode", "description")
        },
    ),
    max_size=12,
)


@given(rows=rows)
def test_whatever_is_in_a_table_each_row_is_read_or_refused(rows: list[dict[str, Any]]) -> None:
    found = read_rows(rows, SOCKETS.get)

    assert len(found.destinations) + len(found.refused) == len(rows)
    assert len({one.key for one in found.destinations}) == len(found.destinations)
    order = [(one.set_id, -one.priority) for one in found.destinations]
    assert order == sorted(order)
    made = [one._replace(slot=slot) for slot, one in enumerate(found.destinations)]
    assert unpacked(Generation(3, made).packed()).destinations == tuple(made)


def test_equal_priorities_leave_the_order_of_the_rows() -> None:
    names = ["sip:c", "sip:a", "sip:d", "sip:b"]
    rows = [{"setid": 1, "destination": name, "priority": int(name == "sip:d")} for name in names]

    assert [one.uri for one in read_rows(rows, SOCKETS.get).destinations] == ["sip:d", "sip:c", "sip:a", "sip:b"]


keys = st.builds(lambda set_id, name: (set_id, f"sip:{name}", ""), st.integers(1, 2), st.sampled_from("abcdef"))


@given(
    wanted=st.lists(keys, unique=True),
    had=st.dictionaries(keys, st.integers(0, 9)).map(lambda d: {key: slot for slot, key in enumerate(d)}),
    taken=st.sets(st.integers(20, 40)),
)
def test_slots_are_kept_and_nobody_shares_one(
    wanted: list[tuple[int, str, str]], had: dict[tuple[int, str, str], int], taken: set[int]
) -> None:
    slots = allot(wanted, had, taken)

    assert len(set(slots)) == len(wanted)
    assert not set(slots) & taken
    for key, slot in zip(wanted, slots, strict=True):
        assert slot == had[key] if key in had else slot not in had.values()


ACTIVE, INACTIVE, PROBING = State.ACTIVE, State.INACTIVE, State.PROBING


@pytest.mark.parametrize(
    ("before", "word", "now"),
    [
        (Health(ACTIVE, 0), Word.FAILED, Health(ACTIVE, 1)),
        (Health(ACTIVE, 1), Word.FAILED, Health(ACTIVE, 2)),
        (Health(ACTIVE, 2), Word.FAILED, Health(PROBING, 3)),
        (Health(PROBING, 3), Word.FAILED, Health(PROBING, 3)),
        (Health(INACTIVE, 0), Word.FAILED, Health(INACTIVE, 0)),
        (Health(ACTIVE, 2), Word.ANSWERED, Health(ACTIVE, 0)),
        (Health(PROBING, 3), Word.ANSWERED, Health(ACTIVE, 0)),
        (Health(INACTIVE, 0), Word.ANSWERED, Health(INACTIVE, 0)),
    ],
)
def test_a_destination_is_probing_after_three_failures_and_active_after_an_answer(
    before: Health, word: Word, now: Health
) -> None:
    assert after(before, word, 3) == now


@pytest.mark.parametrize(
    ("uri", "address"),
    [
        ("sip:192.0.2.7", ("192.0.2.7", 0)),
        ("sip:user@192.0.2.7:5070;transport=tcp", ("192.0.2.7", 5070)),
        ("sips:[2001:DB8:0::1]:5061", ("2001:db8::1", 5061)),
        ("sip:example.com", None),
        ("no uri", None),
    ],
)
def test_the_address_of_a_destination(uri: str, address: tuple[str, int] | None) -> None:
    assert address_of(uri) == address
