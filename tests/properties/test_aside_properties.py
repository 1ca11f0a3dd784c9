"""What a failover tries: every destination that was put aside, once, in its order, whatever else the AVPs hold."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from runtime.dispatching.aside import Avps, Tried, drop, put_aside, tried_now
from runtime.dispatching.destinations import Destination
from runtime.dispatching.partitions import partitions_of

(SETTINGS,) = partitions_of({"attrs_avp": "$avp(attrs)", "script_attrs_avp": "$avp(more)"}, [])

destinations = st.builds(
    Destination,
    st.integers(0, 9),
    st.integers(0, 99).map(lambda n: f"sip:192.0.2.{n}"),
    socket=st.sampled_from(["", "udp:x"]),
)
selections = st.lists(st.lists(destinations, min_size=1, max_size=5), min_size=1, max_size=4)


def tried(one: Destination) -> Tried:
    return Tried(one.set_id, one.uri, one.socket)


def put(avps: Avps, chosen: list[Destination], *, behind: bool = False) -> bool:
    return put_aside(avps, SETTINGS, chosen, [f"of {one.uri}" for one in chosen], behind=behind)


@given(selections=selections)
def test_what_was_put_behind_is_tried_behind(selections: list[list[Destination]]) -> None:
    avps: Avps = {"mine": ["kept"]}
    is_first = [put(avps, chosen, behind=True) for chosen in selections]
    wanted = [one for chosen in selections for one in chosen]
    assert is_first == [True] + [False] * (len(selections) - 1)

    for left, one in zip(range(len(wanted), 0, -1), wanted, strict=True):
        assert tried_now(avps, SETTINGS) == tried(one)
        assert avps["ds_cnt_failover"] == [left]
        assert (avps["attrs"][-1], avps["more"][-1]) == (one.attrs, f"of {one.uri}")
        assert drop(avps, SETTINGS) is (left > 1)

    assert not drop(avps, SETTINGS)
    assert tried_now(avps, SETTINGS) is None
    assert avps == {"mine": ["kept"], "ds_cnt_failover": [0]}


@given(selections=selections)
def test_a_new_selection_forgets_what_was_there(selections: list[list[Destination]]) -> None:
    avps: Avps = {}
    for chosen in selections:
        assert put(avps, chosen)

    assert tried_now(avps, SETTINGS) == tried(selections[-1][0])
    assert avps["ds_dst_failover"] == [one.uri for one in reversed(selections[-1])]


values = st.lists(st.none() | st.integers() | st.text(), max_size=3)


@given(avps=st.dictionaries(st.sampled_from(["ds_dst_failover", "ds_grp_failover", "ds_sock_failover"]), values))
def test_whatever_a_script_puts_there_nothing_breaks(avps: Avps) -> None:
    for _ in range(4):
        found = tried_now(avps, SETTINGS)
        assert found is None or isinstance(found.uri, str)
        drop(avps, SETTINGS)
    assert not avps.get("ds_dst_failover")
