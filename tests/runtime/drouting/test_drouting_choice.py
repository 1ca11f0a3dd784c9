"""Which gateways are tried, and in which order."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.drouting.choice import hops, in_order
from runtime.drouting.rules import Carrier, Gateway, Sort, State, Target, read_targets

GATEWAYS = {f"gw{n}": Gateway(f"gw{n}", 0, "h", 0, "", "", 0, State.ACTIVE, "", "") for n in range(1, 6)}


def carrier(id: str, gwlist: str, sort: Sort = Sort.NONE, *, only_first: bool = False) -> Carrier:
    return Carrier(id, read_targets(gwlist), sort, only_first, State.ACTIVE, "", "")


CARRIERS = {
    "c1": carrier("c1", "gw3,gw4"),
    "first": carrier("first", "gw3,gw4,gw5", only_first=True),
    "heavy": carrier("heavy", "gw3=0,gw4=5", Sort.WEIGHT),
}


def order(gwlist: str, sort: Sort = Sort.NONE, *down: str, chance: float = 0.0) -> list[str]:
    found = hops(read_targets(gwlist), sort, GATEWAYS, CARRIERS, lambda one: one.id not in down, lambda: chance)
    return [hop.gateway.id if hop.carrier is None else f"{hop.carrier.id}:{hop.gateway.id}" for hop in found]


def test_as_they_are_listed_whatever_their_weights() -> None:
    assert order("gw2=1,gw1=9,#c1") == ["gw2", "gw1", "c1:gw3", "c1:gw4"]


def test_what_is_not_in_use_is_left_out() -> None:
    assert order("gw1,gw2,#c1", Sort.NONE, "gw1", "gw3") == ["gw2", "c1:gw4"]
    assert order("gw1,#c1", Sort.NONE, "c1") == ["gw1"]
    assert order("#c1", Sort.NONE, "gw3", "gw4") == []


def test_what_is_not_there_is_left_out() -> None:
    assert order("gw9,#c9,gw1") == ["gw1"]


def test_a_carrier_of_which_only_the_first_is_used() -> None:
    assert order("#first,gw1") == ["first:gw3", "gw1"]
    assert order("#first,gw1", Sort.NONE, "gw3") == ["first:gw4", "gw1"]


def test_a_carrier_is_sorted_as_it_says_itself() -> None:
    assert order("gw2,#heavy") == ["gw2", "heavy:gw4", "heavy:gw3"]


@pytest.mark.parametrize(("chance", "first"), [(0.0, "gw1"), (0.24, "gw1"), (0.26, "gw2"), (0.999, "gw2")])
def test_by_weight(chance: float, first: str) -> None:
    assert order("gw1=1,gw2=3", Sort.WEIGHT, chance=chance)[0] == first


def test_shares_are_those_of_the_weights() -> None:
    random = Random(1).random
    targets = read_targets("gw1=10,gw2=30,gw3=60")
    firsts = Counter(in_order(targets, Sort.WEIGHT, random)[0].id for _ in range(10_000))
    assert [round(firsts[id] / 10_000, 1) for id in ("gw1", "gw2", "gw3")] == [0.1, 0.3, 0.6]


targets = st.lists(st.builds(Target, st.sampled_from("abc"), st.sampled_from([0, 0, 1, 5, 10**6])), max_size=8)


@given(targets, st.lists(st.floats(0, 1), min_size=8, max_size=8))
def test_nothing_is_lost_and_what_has_no_weight_comes_last(listed: list[Target], chances: list[float]) -> None:
    sorted_ = in_order(listed, Sort.WEIGHT, iter(chances).__next__)
    assert Counter(sorted_) == Counter(listed)
    if len(listed) > 1:
        weightless = [target for target in listed if not target.weight]
        assert list(sorted_[len(listed) - len(weightless) :]) == weightless


def test_nobody_looks_further_than_gateways_are_asked_for() -> None:
    asked: list[str] = []

    def usable(one: Gateway | Carrier) -> bool:
        asked.append(one.id)
        return one.id != "gw3"

    found = hops(read_targets("#c1,gw1,gw2"), Sort.NONE, GATEWAYS, CARRIERS, usable, lambda: 0.0)
    assert [next(found).gateway.id, next(found).gateway.id] == ["gw4", "gw1"]
    assert asked == ["c1", "gw3", "gw4", "gw1"]
