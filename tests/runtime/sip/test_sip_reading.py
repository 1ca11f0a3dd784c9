"""How many processes read the sockets: who calls whom, and who rests."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from runtime.sip.reading import CALM_LOOKS, Pace, State, has_room, helper, may_rest, next_to_read, too_few

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
    assert may_rest([G, G, R], [0.1, 0.2, 0.0], 1, 1, 4)
    assert not may_rest([G, G, R], [0.1, 0.2, 0.0], 0, 1, 4), "not the first"
    assert not may_rest([G, G, R], [0.3, 0.4, 0.0], 1, 1, 4), "one would have too much to do"
    assert may_rest([G, G, G], [0.3, 0.3, 0.3], 2, 1, 4)
    assert not may_rest([G, S, R], [0.1, 0.0, 0.0], 0, 1, 4), "who stands still reads nothing"
    assert not may_rest([G, G, R], [0.1, 0.2, 0.0], 1, 2, 4), "two shall read at least"


def test_there_are_no_more_busy_readers_than_processors() -> None:
    assert has_room([G, R, R], 2)
    assert not has_room([G, G, R], 2)
    assert has_room([G, S, R], 2), "who stands still needs none"
    assert not may_rest([G, G, G], [1.0, 1.0, 1.0], 2, 1, 3)
    assert may_rest([G, G, G], [1.0, 1.0, 1.0], 2, 1, 2)
    assert not may_rest([G, G, G], [1.0, 1.0, 1.0], 1, 1, 2), "the last one goes"
    assert not may_rest([G, G, G], [1.0, 1.0, 1.0], 2, 3, 2), "three shall read at least"


def test_who_stands_still_counts_as_a_reader_until_it_is_dead() -> None:
    assert not too_few([S, R], 1)
    assert too_few([A, R], 1)
    assert too_few([G, R], 2)


def pace(*looks: tuple[int, int]) -> Pace:
    """Of what was read, and what of it was late, at one look after the other."""
    found = Pace()
    for taken, late in looks:
        found.look(taken, late)
    return found


def test_a_reader_is_behind_when_it_is_busy_or_often_late() -> None:
    assert pace().is_behind(0.8, has_room=True)
    assert not pace(*[(1000, 10)] * 100).is_behind(0.5, has_room=True)
    assert pace(*[(1000, 11)] * 100).is_behind(0.5, has_room=True)
    assert not pace((10, 10)).is_behind(0.5, has_room=True), "too few to say"
    assert not pace().is_behind(0.8, has_room=False), "there is no processor for another one"
    assert pace(*[(1000, 11)] * 100).is_behind(0.5, has_room=False), "who is late may be stopped by something else"


def test_one_standstill_is_not_being_behind_however_many_it_makes_late_but_three_within_a_second_are() -> None:
    late, well = (120, 60), (120, 0)
    for steady in ([], [well] * 30):
        assert not pace(*steady, late, late).is_behind(0.5, has_room=True), "it may have begun before a look"
        assert pace(*steady, late, late, late).is_behind(0.5, has_room=True)
        assert pace(*steady, late, *[well] * 3, late, *[well] * 3, late).is_behind(0.5, has_room=True)
        assert not pace(*steady, late, *[well] * 9, late, *[well] * 9, late).is_behind(0.5, has_room=True)


@given(st.integers(20, 1000), st.floats(0.011, 1.0))
def test_who_goes_on_being_late_too_often_is_behind_before_long(taken: int, part: float) -> None:
    late = -int(-taken * part // 1)
    assert pace(*[(taken, 0)] * 100, *[(taken, late)] * 50).is_behind(0.0, has_room=True)


@given(st.lists(st.tuples(st.integers(0, 1000), st.integers(0, 1000)), max_size=60))
def test_after_a_change_only_what_follows_counts(before: list[tuple[int, int]]) -> None:
    found = pace(*before)
    found.begin_anew()
    assert not found.is_behind(0.0, has_room=True)
    assert not found.is_calm
    for _ in range(3):
        found.look(1000, 101)
    assert found.is_behind(0.0, has_room=True)


def test_there_may_be_too_many_readers_when_all_has_been_well_for_long() -> None:
    assert CALM_LOOKS > 1, "one good look is not enough to rest"
    assert not pace(*[(120, 0)] * (CALM_LOOKS - 1)).is_calm
    assert pace(*[(120, 0)] * CALM_LOOKS).is_calm
    assert pace(*[(0, 0)] * CALM_LOOKS).is_calm
    assert not pace(*[(120, 0)] * CALM_LOOKS, (120, 30)).is_calm
    assert pace(*[(120, 0)] * CALM_LOOKS, (120, 4)).is_calm, "a moment's standstill makes no second reader needed"


@given(STATES, st.data())
def test_nobody_is_called_who_does_not_rest_and_nobody_rests_alone(states: list[State], data: st.DataObject) -> None:
    me = data.draw(st.integers(0, len(states) - 1))
    busy = data.draw(st.lists(st.floats(0, 1), min_size=len(states), max_size=len(states)))
    processors = data.draw(st.integers(1, 8))
    for called in (helper(states, me), next_to_read(states)):
        assert called is None or states[called] is State.RESTING
    if may_rest(states, busy, me, 1, processors):
        assert states[me] is State.READING
        assert states.count(State.READING) > 1
