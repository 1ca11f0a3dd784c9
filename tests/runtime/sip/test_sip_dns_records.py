"""Names that DNS may be asked for, and the order of SRV records (RFC 2782)."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest

from runtime.sip.dns_records import MAX_SRV_RECORDS, Srv, in_srv_order, is_name


@pytest.mark.parametrize(
    "name",
    [
        "a",
        "a.",
        "example.com",
        "_sip._udp.example.com",
        "a-b.c_d.x1",
        "1.2.3.4.in-addr.arpa",
        "x" * 63 + ".y",
        "x." * 31 + "y",
    ],
)
def test_names(name: str) -> None:
    assert is_name(name)


@pytest.mark.parametrize(
    "name",
    ["", ".", "a..b", ".a", "a..", "-a.b", "a-.b", "1.2.3.4", "a.1", "a b", "a\\.b", "\xe9.b", "a.b\n", "x" * 64]
    + [".".join(["x" * 60] * 4) + ".yyyyyyyyyyy", "x." * 32 + "y"],
)
def test_what_is_no_name(name: str) -> None:
    assert not is_name(name)


def srv(priority: int, weight: int, target: str) -> Srv:
    return Srv(priority, weight, 5060, target)


def drawn(records: list[Srv], number: float, at_most: int = 16) -> str:
    return "".join(record.target for record in in_srv_order(records, lambda: number, at_most))


def test_by_priority_whatever_is_drawn() -> None:
    records = [srv(30, 9, "c"), srv(10, 0, "a"), srv(20, 500, "b")]
    assert {drawn(records, number) for number in (0.0, 0.5, 0.999)} == {"abc"}


def test_within_a_priority_by_what_is_drawn() -> None:
    records = [srv(1, 10, "a"), srv(1, 0, "z"), srv(1, 30, "b")]
    assert drawn(records, 0.0) == "zab"
    assert drawn(records, 0.2) == "abz"
    assert drawn(records, 0.999) == "baz"


def test_no_more_than_wanted_nor_looked_at() -> None:
    records = [srv(1, 1, str(number)) for number in range(1_000)]
    assert len(in_srv_order(records, lambda: 0.5, 16)) == 16
    assert len(in_srv_order(records, lambda: 0.5, 1_000)) == MAX_SRV_RECORDS
    assert in_srv_order([], lambda: 0.5, 16) == []


def first_choices(records: list[Srv], draws: int = 20_000) -> Counter[str]:
    random = Random(2782).random
    return Counter(in_srv_order(records, random, 1)[0].target for _ in range(draws))


def test_a_records_chance_is_its_weights_share() -> None:
    """RFC 2782's own example: one in four calls to `old`, three to `new`."""
    counts = first_choices([srv(0, 1, "old"), srv(0, 3, "new"), srv(1, 100, "never")])
    # Drawing 0 to 4, both inclusive, is RFC 2782's: `old` has 2 of 5 there. Larger weights come near their share.
    assert counts["never"] == 0
    assert abs(counts["old"] / 20_000 - 2 / 5) < 0.015
    counts = first_choices([srv(0, 100, "old"), srv(0, 300, "new")])
    assert abs(counts["old"] / 20_000 - 1 / 4) < 0.015


def test_a_weight_of_0_has_hardly_a_chance_beside_others_and_an_equal_one_among_its_like() -> None:
    counts = first_choices([srv(0, 0, "hardly"), srv(0, 199, "usual")])
    assert 0 < counts["hardly"] < 20_000 / 100
    counts = first_choices([srv(0, 0, "a"), srv(0, 0, "b"), srv(0, 0, "c"), srv(0, 0, "d")])
    assert all(abs(count / 20_000 - 1 / 4) < 0.015 for count in counts.values())
    assert len(counts) == 4


def test_second_choices_have_their_share_too() -> None:
    random = Random(1).random
    records = [srv(0, 100, "a"), srv(0, 100, "b"), srv(0, 800, "c")]
    orders = Counter(tuple(each.target for each in in_srv_order(records, random, 3)) for _ in range(20_000))
    assert abs(orders["c", "a", "b"] / 20_000 - 0.4) < 0.015
    assert abs(orders["c", "b", "a"] / 20_000 - 0.4) < 0.015
