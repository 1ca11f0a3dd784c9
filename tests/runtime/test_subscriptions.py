"""Who hears of which event, and how it is told."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.script.parse import parse
from runtime.script.tree import Route
from runtime.subscriptions import (
    MAX_SUBSCRIBERS,
    Raised,
    Subscription,
    alive,
    named_params,
    notice_of,
    packed,
    raised_by,
    with_one,
    without,
)

FIRST, SECOND = "udp:127.0.0.1:8888", "unix:/run/events"


def test_who_subscribes_is_there_until_the_time_is_over() -> None:
    found = with_one([], FIRST, 10, 100.0)

    assert found == [Subscription(FIRST, 10, 110.0)]
    assert alive(packed(found), 109.9) == found
    assert alive(packed(found), 110.0) == []
    assert alive(None, 0.0) == []


def test_who_subscribes_for_ever_stays() -> None:
    assert alive(packed([Subscription(FIRST)]), 1e12) == [Subscription(FIRST)]


def test_who_subscribes_anew_is_there_once_for_as_long_as_was_said_last() -> None:
    both = [Subscription(FIRST, 10, 110.0), Subscription(SECOND)]

    assert with_one(both, FIRST, 0, 105.0) == [Subscription(SECOND), Subscription(FIRST)]
    assert without(both, FIRST) == [Subscription(SECOND)]


def test_more_subscribers_than_an_event_may_have_are_refused_and_those_it_has_can_still_renew() -> None:
    full = [Subscription(f"udp:127.0.0.1:{port}") for port in range(1, MAX_SUBSCRIBERS + 1)]

    assert with_one(full, FIRST, 0, 0.0) is None
    assert with_one(full, full[0].socket, 0, 0.0) == [*full[1:], full[0]]


@pytest.mark.parametrize(
    ("params", "named", "sent"),
    [
        ((), {}, b'{"jsonrpc":"2.0","method":"E_X"}'),
        (("a", 7, None), {}, b'{"jsonrpc":"2.0","method":"E_X","params":["a",7,null]}'),
        (("a", 7), {"n": "a", "m": 7}, b'{"jsonrpc":"2.0","method":"E_X","params":{"n":"a","m":7}}'),
        (("caf\xc3\xa9", "\xff"), {}, '{"jsonrpc":"2.0","method":"E_X","params":["café","�"]}'.encode()),
    ],
)
def test_an_event_is_a_notification(params: tuple[str, ...], named: dict[str, str], sent: bytes) -> None:
    assert notice_of("E_X", params, named).text() == sent


@pytest.mark.parametrize(
    ("params", "named", "sent"),
    [
        ((), {}, {"params": {"event": "E_X"}}),
        (("a", 7), {}, {"params": ["E_X", "a", 7]}),
        (("a",), {"n": "a"}, {"params": {"event": "E_X", "n": "a"}}),
    ],
)
def test_an_event_can_be_a_request_that_says_which_event_it_is(
    params: tuple[str, ...], named: dict[str, str], sent: dict[str, object]
) -> None:
    text = notice_of("E_X", params, named).text("told", "event", 12)

    assert json.loads(text) == {"jsonrpc": "2.0", "method": "told", **sent, "id": 12}


@given(st.dictionaries(st.text(), st.text() | st.integers(-(1 << 63), (1 << 63) - 1)))
def test_what_comes_in_with_names_goes_out_with_them(given: dict[str, str | int]) -> None:
    found = named_params(json.dumps(given))

    assert found is not None
    told = json.loads(notice_of("E_X", tuple(found.values()), found).text())
    assert told.get("params", {}) == given or any("\ud800" <= c <= "\udfff" for c in str(given))


@pytest.mark.parametrize("text", ["", "[]", "7", "{", '"x"', "[" * 100_000, '{"a":' * 100_000])
def test_what_is_no_object_has_no_names(text: str) -> None:
    assert named_params(text) is None


def test_what_a_script_cannot_hold_arrives_as_its_json() -> None:
    found = named_params('{"a":1.5,"b":true,"c":[1, 2],"d":99999999999999999999,"e":null}')

    assert found == {"a": "1.5", "b": "true", "c": "[1,2]", "d": "99999999999999999999", "e": "null"}


@pytest.mark.parametrize(
    ("body", "raised"),
    [
        ("exit;", Raised((), False)),
        ('if ($rU == "x") { raise_event("E_B"); } raise_event("E_A");', Raised(("E_B", "E_A"), False)),
        ('while (raise_event("E_A", $avp(v))) raise_event("E_A");', Raised(("E_A",), False)),
        ('raise_event("E_$rU");', Raised((), True)),
        ("raise_event($avp(name));", Raised((), True)),
    ],
)
def test_the_events_of_a_script_are_read_from_its_calls(body: str, raised: Raised) -> None:
    items = parse(f"route {{ {body} }}", "x.cfg")
    assert not isinstance(items, list) or all(isinstance(item, Route) for item in items)

    assert raised_by([item for item in items if isinstance(item, Route)]) == raised
