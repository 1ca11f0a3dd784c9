"""What a call that drouting routes has to know, in its AVPs: destinations, the rule, and the way to another rule."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.modules.drouting_calls import (
    Avps,
    Destination,
    Fallback,
    Rule,
    avp_names,
    fallback_of,
    gateway_in_use,
    next_destination,
    put_destinations,
    put_fallback,
    put_rule,
    rule_attrs_of,
    ruri_for,
)
from runtime.script.uris import parts_of

NAMES = avp_names({"ruri": "next", "gw_id": "gw"}, "east")


def test_names_that_are_not_given_are_the_usual_ones_of_the_partition() -> None:
    assert (NAMES.ruri, NAMES.gw_id) == ("next", "gw")
    assert NAMES.gw_sock == "___dr_sock__east"
    assert avp_names({"ruri": ""}).ruri == "___dr_ruri__"
    assert len(set(avp_names({}))) == len(NAMES)


@pytest.mark.parametrize(
    ("ruri", "address", "strip", "prefix", "expected"),
    [
        ("sip:49301@proxy", "10.0.0.1", 0, "", "sip:49301@10.0.0.1"),
        ("sip:0049301@proxy:5070", "10.0.0.1:5080", 2, "+", "sip:+49301@10.0.0.1:5080"),
        ("sip:1@proxy", "sip:gw.example.com", 0, "9", "sip:91@gw.example.com"),
        ("sip:1@proxy", "sips:gw.example.com", 0, "", "sips:1@gw.example.com"),
        ("sip:1@proxy", "[2001:db8::1]:5062", 0, "", "sip:1@[2001:db8::1]:5062"),
        ("sip:1@proxy;transport=udp;user=phone", "gw;transport=tcp", 0, "", "sip:1@gw;transport=tcp;user=phone"),
        ("sip:1@proxy;transport=tcp;maddr=10.9.9.9;x", "gw", 0, "", "sip:1@gw;x"),
        ("sip:1:pass@proxy?Subject=hi", "gw", 0, "", "sip:1:pass@gw?Subject=hi"),
        ("sip:12@proxy", "gw", 2, "7", "sip:7@gw"),
    ],
)
def test_the_request_uri_for_a_gateway(ruri: str, address: str, strip: int, prefix: str, expected: str) -> None:
    assert ruri_for(parts_of(ruri), address, strip, prefix) == expected


@pytest.mark.parametrize(
    ("ruri", "address", "strip", "prefix"),
    [
        ("sip:12@proxy", "gw", 3, "7"),
        ("sip:12@proxy", "gw", 2, ""),
        ("sip:proxy", "gw", 0, ""),
        ("sip:12@proxy", "", 0, ""),
        ("sip:12@proxy", "gw:port", 0, ""),
        ("sip:12@proxy", "gw\r\nX: y", 0, ""),
        ("sip:12@proxy", "gw", 0, "1 2"),
    ],
)
def test_there_is_no_request_uri(ruri: str, address: str, strip: int, prefix: str) -> None:
    assert ruri_for(parts_of(ruri), address, strip, prefix) is None


TEXT = st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=8)
DESTINATIONS = st.lists(st.builds(Destination, TEXT, st.just("sip:1@gw"), TEXT, TEXT, TEXT), min_size=1, max_size=6)


@given(DESTINATIONS)
def test_destinations_come_in_order_each_with_what_belongs_to_it(destinations: list[Destination]) -> None:
    avps: Avps = {"mine": ["kept"]}
    put_destinations(avps, NAMES, destinations)
    assert gateway_in_use(avps, NAMES) == destinations[0].gateway
    assert avps[NAMES.carrier_id][-1] == destinations[0].carrier
    for one in destinations[1:]:
        assert next_destination(avps, NAMES) == one
        assert gateway_in_use(avps, NAMES) == one.gateway
    assert next_destination(avps, NAMES) is None
    assert gateway_in_use(avps, NAMES) == destinations[-1].gateway
    assert avps["mine"] == ["kept"]


@given(DESTINATIONS, DESTINATIONS)
def test_what_was_put_down_before_is_gone(first: list[Destination], second: list[Destination]) -> None:
    avps: Avps = {}
    put_destinations(avps, NAMES, first)
    put_destinations(avps, NAMES, second)
    fresh: Avps = {}
    put_destinations(fresh, NAMES, second)
    assert avps == fresh


VALUES = st.none() | st.integers() | TEXT


@given(st.dictionaries(st.sampled_from(NAMES), st.lists(VALUES, min_size=1, max_size=3)))
def test_avps_that_a_script_has_changed_harm_nobody(avps: Avps) -> None:
    fallback_of(avps, NAMES)
    rule_attrs_of(avps, NAMES)
    for _ in range(4):
        next_destination(avps, NAMES)
    assert next_destination(avps, NAMES) is None


def test_the_rule_in_use() -> None:
    avps: Avps = {}
    put_rule(avps, NAMES, Rule(7, "49", 3, "cheap"))
    assert (avps[NAMES.rule_id], avps[NAMES.rule_prefix], rule_attrs_of(avps, NAMES)) == (["7"], ["49"], "cheap")
    put_rule(avps, NAMES, None)
    assert avps == {}


RULES = st.lists(
    st.builds(Rule, st.integers(1, 9), st.sampled_from(["", "4", "49"]), st.integers(0, 2)),
    min_size=1,
    max_size=9,
    unique_by=lambda rule: rule.id,
)


@given(RULES)
def test_falling_back_takes_each_rule_once_and_in_order(rules: list[Rule]) -> None:
    in_order = sorted(rules, key=lambda rule: (-len(rule.prefix), -rule.priority))
    avps: Avps = {}
    state = Fallback("sip:49@proxy", "49", 0, "F", "", 99, 0, ())
    taken = []
    while (rule := next((one for one in in_order if not state.is_done(one)), None)) is not None:
        taken.append(rule)
        put_fallback(avps, NAMES, state.after(rule))
        found = fallback_of(avps, NAMES)
        assert found is not None
        state = found
    assert taken == in_order


@pytest.mark.parametrize("text", ["", "x", "[1]", '["u","1","g","F","",0,0,[1]]', '["u","1",0,"F","",0,0,["a"]]', "{}"])
def test_what_is_no_way_to_another_rule(text: str) -> None:
    assert fallback_of({NAMES.fallback: [text]}, NAMES) is None
