"""Which destination is chosen: shares by weight, hashes that stay where they are, and nobody lost in a failover."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.dispatching.choosing import Chooser
from runtime.dispatching.destinations import State

TEXTS = [f"call-{number}@192.0.2.{number % 251}".encode() for number in range(300)]

members = st.lists(st.tuples(st.integers(0, 20), st.sampled_from(list(State))), min_size=1, max_size=30)


def chooser_of(found: list[tuple[int, State]], *, keep_last: bool = False) -> Chooser:
    return Chooser([weight for weight, _ in found], [state for _, state in found], keep_last=keep_last)


def shares(found: list[tuple[int, State]]) -> dict[int, int]:
    """The weights of those that are active; of equals where none has any."""
    active = {place: weight for place, (weight, state) in enumerate(found) if state is State.ACTIVE}
    return {place: weight for place, weight in active.items() if weight} or dict.fromkeys(active, 1)


@given(found=members, start=st.integers(0, 1 << 62))
def test_in_turn_each_has_as_many_turns_as_its_weight(found: list[tuple[int, State]], start: int) -> None:
    wanted = shares(found)
    if wanted:
        chooser = chooser_of(found)
        assert Counter(chooser.by_turn(start + turn) for turn in range(sum(wanted.values()))) == wanted


@given(found=members)
def test_lots_fall_by_weight(found: list[tuple[int, State]]) -> None:
    wanted = shares(found)
    if wanted:
        chooser, total = chooser_of(found), sum(wanted.values())
        assert Counter(chooser.by_chance((lot + 0.5) / total) for lot in range(total)) == wanted


@pytest.mark.parametrize("away", [(), (1,), (0, 2, 3)])
@pytest.mark.parametrize("weights", [(1, 1, 1, 1), (1, 2, 3, 4), (5, 0, 50, 5), (1,) * 8])
def test_hashes_fall_by_weight(weights: tuple[int, ...], away: tuple[int, ...]) -> None:
    found = [(weight, State.PROBING if place in away else State.ACTIVE) for place, weight in enumerate(weights)]
    wanted, chooser = shares(found), chooser_of(found)

    count = Counter(chooser.by_hash(f"{number:x}@example.com".encode()) for number in range(20_000))

    assert set(count) == set(wanted)
    for place, weight in wanted.items():
        assert count[place] / 20_000 == pytest.approx(weight / sum(wanted.values()), abs=0.02)


@given(found=members, data=st.data())
def test_when_a_destination_goes_only_what_was_its_own_moves(
    found: list[tuple[int, State]], data: st.DataObject
) -> None:
    active = [place for place, (_, state) in enumerate(found) if state is State.ACTIVE]
    if len(active) < 2:
        return
    gone = data.draw(st.sampled_from(active))
    before = chooser_of(found)
    found[gone] = (found[gone][0], data.draw(st.sampled_from([State.INACTIVE, State.PROBING])))
    after = chooser_of(found)

    for text in TEXTS:
        was, now = before.by_hash(text), after.by_hash(text)
        assert now == was if was != gone else now != gone


def test_what_was_its_own_is_spread_over_the_others() -> None:
    before = Chooser([1] * 4, [State.ACTIVE] * 4)
    after = Chooser([1] * 4, [State.INACTIVE, *[State.ACTIVE] * 3])
    texts = [f"{number:08x}" for number in range(8000)]

    moved = Counter(after.by_hash(text.encode()) for text in texts if before.by_hash(text.encode()) == 0)

    assert set(moved) == {1, 2, 3}
    assert min(moved.values()) > 500


@given(found=members, keep_last=st.booleans(), most=st.integers(1, 40), data=st.data())
def test_a_failover_tries_everybody_once_and_in_the_order_of_the_set(
    found: list[tuple[int, State]], keep_last: bool, most: int, data: st.DataObject
) -> None:
    chooser = chooser_of(found, keep_last=keep_last)
    active = [place for place, (_, state) in enumerate(found) if state is State.ACTIVE]
    last = [] if chooser.last is None else [chooser.last]
    assert sorted([*chooser.active, *last]) == active
    if keep_last and active and active[-1] == len(found) - 1 and len(active) > 1:
        assert last == [len(found) - 1]
    if not active:
        return

    first = data.draw(st.sampled_from(chooser.active))
    order = chooser.from_there(first, most)

    at = chooser.active.index(first)
    assert order == [*chooser.active[at:], *chooser.active[:at], *last][:most]


@given(found=members, data=st.data())
def test_the_least_loaded_are_tried_first_and_those_without_a_load_never(
    found: list[tuple[int, State]], data: st.DataObject
) -> None:
    chooser = chooser_of(found)
    loads = data.draw(
        st.lists(st.none() | st.integers(0, 9), min_size=len(chooser.active), max_size=len(chooser.active))
    )

    order = chooser.by_load(loads, 1000)

    load_of = dict(zip(chooser.active, loads, strict=True))
    assert sorted(order) == [place for place in chooser.active if load_of[place] is not None]
    assert order == sorted(order, key=lambda place: (load_of[place] or 0, place))
