"""What the columns of the tables may say, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from runtime.drouting.rows import RuleReader, read_carrier, read_gateway, read_group
from runtime.drouting.rules import (
    Carrier,
    Gateway,
    Rule,
    Sort,
    State,
    Target,
    Wrong,
    read_groups,
    read_prefix,
    read_sort,
    read_targets,
)

GATEWAY = ("gw1", 10, "192.0.2.1:5070", 2, "00", "cheap", 2, 0, "udp:127.0.0.1:5060", "the first")
CARRIER = ("c1", "gw1=10,gw2", 1, "W", 0, "attrs", "")
RULE = (7, "0,2", "49", "20240101T000000|||DAILY", 5, "billing", "gw1,#c1=20", "N", None, "attrs")


def changed(row: tuple[Any, ...], **columns: Any) -> tuple[Any, ...]:
    """A row with other values at places, as `at3=...`."""
    return tuple(columns.get(f"at{place}", value) for place, value in enumerate(row))


def test_lists_of_gateways() -> None:
    assert read_targets("gw1=10, gw4=10,#cr3=80") == (
        Target("gw1", 10),
        Target("gw4", 10),
        Target("cr3", 80, carrier=True),
    )
    assert read_targets("") == ()
    assert str(read_targets("#cr3")[0]) == "#cr3"


@pytest.mark.parametrize("text", ["#", "=5", "gw1=x", "gw1=", "gw1=-1", "gw1=1000001", "g" * 129, ",".join("a" * 257)])
def test_what_is_no_list_of_gateways(text: str) -> None:
    with pytest.raises(Wrong):
        read_targets(text)


def test_lists_of_groups() -> None:
    assert read_groups("0") == (0,)
    assert read_groups("3, -1;3") == (3, -1)
    for text in ("", "a", "1,,2", "99999999999", "2147483648", "1.5", ",".join("1" * 1025)):
        with pytest.raises(Wrong):
            read_groups(text)


def test_prefixes_have_digits_and_what_is_allowed_beside_them() -> None:
    assert read_prefix(" 0049 ") == "0049"
    assert read_prefix("+49*#", "+*#") == "+49*#"
    assert read_prefix("1" * 64) == "1" * 64
    for text in ("+49", "12a", "1" * 65, "\u0663", "1 2"):
        with pytest.raises(Wrong):
            read_prefix(text)
    for text in ("é", "\0", " 1 2"):
        with pytest.raises(Wrong):
            read_prefix(text, "é\0 ")


def test_sorting() -> None:
    assert [read_sort(text) for text in ("N", "o", "0", "", "w")] == [Sort.NONE] * 4 + [Sort.WEIGHT]
    with pytest.raises(Wrong, match="qrouting"):
        read_sort("Q")
    with pytest.raises(Wrong, match="none"):
        read_sort("X")


def test_a_gateway() -> None:
    assert read_gateway(GATEWAY) == Gateway(
        "gw1", 10, "192.0.2.1:5070", 2, "00", "cheap", 2, State.ACTIVE, "udp:127.0.0.1:5060", "the first"
    )
    bare = read_gateway(("gw2", 0, "gw.example.com", 0, None, None, 0, 2, None, None))
    assert (bare.pri_prefix, bare.attrs, bare.socket, bare.state) == ("", "", "", State.PROBING)


@pytest.mark.parametrize(
    ("row", "why"),
    [
        (changed(GATEWAY, at0=""), "cannot be an id"),
        (changed(GATEWAY, at0="a,b"), "cannot be an id"),
        (changed(GATEWAY, at0="é" * 65), "cannot be an id"),
        (changed(GATEWAY, at1="x"), "type 'x' is no number"),
        (changed(GATEWAY, at1=2**40), "too large"),
        (changed(GATEWAY, at2=" "), "no address"),
        (changed(GATEWAY, at6=3), "probe_mode 3"),
        (changed(GATEWAY, at7=9), "state 9"),
    ],
)
def test_a_gateway_that_is_wrong(row: tuple[Any, ...], why: str) -> None:
    with pytest.raises(Wrong, match=why):
        read_gateway(row)


def test_a_carrier() -> None:
    targets = (Target("gw1", 10), Target("gw2"))
    expected = Carrier("c1", targets, Sort.WEIGHT, only_first=True, state=State.ACTIVE, attrs="attrs", description="")
    assert read_carrier(CARRIER, ["gw1", "gw2"]) == (expected, [])
    for row in (changed(CARRIER, at2=2), changed(CARRIER, at4=1)):
        assert read_carrier(row, ["gw1", "gw2"])[0].state is State.INACTIVE


def test_a_carrier_names_no_other_and_goes_without_what_is_not_there() -> None:
    carrier, unknown = read_carrier(changed(CARRIER, at1="gw1,#c2,gw3"), ["gw1", "c2"])
    assert (carrier.targets, unknown) == ((Target("gw1"),), ["#c2", "gw3"])
    with pytest.raises(Wrong, match="there is no gw1, gw2, and it names nothing else"):
        read_carrier(CARRIER, [])


def test_a_rule() -> None:
    placed = RuleReader(["gw1"], ["c1"], "").read(RULE)
    targets = (Target("gw1"), Target("c1", 20, carrier=True))
    rule = Rule(7, 5, "20240101T000000|||DAILY", "billing", targets, Sort.NONE, 0, "attrs")
    assert placed == ((0, 2), "49", rule, [])


def test_a_rule_needs_no_gateways_and_route_0_is_none() -> None:
    _, prefix, rule, _ = RuleReader([], [], "").read(changed(RULE, at2="", at5="0", at6=""))
    assert (prefix, rule.route, rule.targets) == ("", "", ())


@pytest.mark.parametrize(
    ("row", "why"),
    [
        (changed(RULE, at1=""), "no list of groups"),
        (changed(RULE, at2="4x"), "'x' cannot be in one"),
        (changed(RULE, at3="20240101T000000|x"), "timerec: 'x' is no date"),
        (changed(RULE, at4="high"), "priority 'high' is no number"),
        (changed(RULE, at6="gw9"), "there is no gw9"),
        (changed(RULE, at7="Q"), "qrouting"),
    ],
)
def test_a_rule_that_is_wrong(row: tuple[Any, ...], why: str) -> None:
    reader = RuleReader(["gw1"], ["c1"], "")
    for _ in range(2):  # what is kept read is not what is wrong
        with pytest.raises(Wrong, match=why):
            reader.read(row)


def test_a_users_group() -> None:
    assert read_group(("alice", None, 3)) == ("alice", "", 3)
    for row in (("", "example.com", 3), ("alice", "example.com", "x")):
        with pytest.raises(Wrong):
            read_group(row)
