"""Where gateways are, to tell who a message comes from and where it goes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.drouting.rules import Carrier, Gateway, Sort, State, Target
from runtime.modules.drouting_places import Place, Places, host_key, place_of


def gateway(id_: str, address: str) -> Gateway:
    return Gateway(id_, 0, address, 0, "", "", 0, State.ACTIVE, "", "")


ONE, SAME_HOST, SECURE, SIX, NAMED, BAD = (
    gateway("one", "192.0.2.1"),
    gateway("same", "sip:192.0.2.1:5080;transport=tcp"),
    gateway("secure", "sips:192.0.2.1"),
    gateway("six", "[2001:DB8:0::1]"),
    gateway("named", "GW.example.com:5070"),
    gateway("bad", "no host"),
)
CARRIERS = [
    Carrier("first", (Target("one"), Target("six")), Sort.NONE, False, State.ACTIVE, "", ""),
    Carrier("second", (Target("six"), Target("named")), Sort.NONE, False, State.ACTIVE, "", ""),
]
PLACES = Places([ONE, SAME_HOST, SECURE, SIX, NAMED, BAD], CARRIERS)


@pytest.mark.parametrize(
    ("uri", "found"),
    [
        ("sip:192.0.2.1", [ONE]),
        ("sip:1@192.0.2.1:5060;user=phone", [ONE]),
        ("sip:192.0.2.1:5080", [SAME_HOST]),
        ("sip:192.0.2.1;transport=tls", [SECURE]),
        ("sip:[2001:db8::1]:5060", [SIX]),
        ("sip:gw.EXAMPLE.com:5070", [NAMED]),
        ("sip:gw.example.com", []),
        ("sip:192.0.2.2", []),
    ],
)
def test_the_gateways_at_a_uri(uri: str, found: list[Gateway]) -> None:
    place = place_of(uri)
    assert place is not None
    assert PLACES.at(place, any_port=False) == found


def test_the_port_may_not_matter() -> None:
    assert PLACES.at(Place(host_key("192.0.2.1"), 9), any_port=True) == [ONE, SAME_HOST, SECURE]
    assert PLACES.at(Place(host_key("192.0.2.1"), 9), any_port=False) == []


def test_the_first_carrier_that_has_a_gateway() -> None:
    assert [PLACES.carrier_of(one) for one in (ONE, SIX, NAMED, SECURE)] == [*CARRIERS[:1] * 2, CARRIERS[1], None]


@given(st.text(st.characters(max_codepoint=255)))
def test_any_text_is_a_place_or_none(text: str) -> None:
    for uri in (text, f"sip:{text}"):
        place = place_of(uri)
        assert place is None or (place.host and 0 <= place.port < 65536)
