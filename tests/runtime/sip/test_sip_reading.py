"""How many processes read the sockets: who calls whom, and who rests."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from runtime.sip.reading import CALM_LOOKS, State, helper, is_behind, may_rest, next_to_read, too_few

A, R, G, S = State.ABSENT, State.RESTING, State.READING, State.STILL
STATES = st.lists(st.sampled_from(list(State)), min_size=1, max_size=6)


def test_who_is_about_to_stand_still_calls_the_first_that_rests() -> None:
    assert helper([S, R, R], 0) == 1
    assert helper([R, S, R], 1) == 0
    assert helper([S, A, R], 0) == 2


def test_it_calls_nobody_where_another_one_reads_or_nobody_is_left() -> None:
    assert helper([S, G, R], 0) is None
    assert helper([S, S, S], 0) is None
    assert helper([S], 0) is None


def test_the_last_of_several_readers_rests_when_the_others_would_not_be_busy() -> None:
    assert may_rest([G, G, R], [0.1, 0.2, 0.0], 1, 1)
    assert not may_rest([G, G, R], [0.1, 0.2, 0.0], 0, 1), "not the first"
    assert not may_rest([G, G, R], [0.3, 0.4, 0.0], 1, 1), "one would have too much to do"
    assert may_rest([G, G, G], [0.3, 0.3, 0.3], 2, 1)
    assert not may_rest([G, S, R], [0.1, 0.0, 0.0], 0, 1), "who stands still reads nothing"
    assert not may_rest([G, G, R], [0.1, 0.2, 0.0], 1, 2), "two shall read at least"


def test_who_stands_still_counts_as_a_reader_until_it_is_dead() -> None:
    assert not too_few([S, R], 1)
    assert too_few([A, R], 1)
    assert too_few([G, R], 2)


def test_a_reader_is_behind_when_it_is_busy_or_often_late() -> None:
    assert is_behind(0.8, 0, 0)
    assert not is_behind(0.5, 1000, 10)
    assert is_behind(0.5, 1000, 11)
    assert not is_behind(0.5, 10, 10), "too few to say"
    assert CALM_LOOKS > 1, "one good look is not enough to rest"


@given(STATES, st.data())
def test_nobody_is_called_who_does_not_rest_and_nobody_rests_alone(states: list[State], data: st.DataObject) -> None:
    me = data.draw(st.integers(0, len(states) - 1))
    busy = data.draw(st.lists(st.floats(0, 1), min_size=len(states), max_size=len(states)))
    for called in (helper(states, me), next_to_read(states)):
        assert called is None or states[called] is State.RESTING
    if may_rest(states, busy, me, 1):
        assert states[me] is State.READING
        assert states.count(State.READING) > 1
