"""One subscriber's stream of events, without a network: what is done when, and that each event ends once."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.streaming import MAX_ANSWER, Answers, Close, Ended, Item, Open, State, Stream, Terms, Write

TERMS = Terms(timeout_s=1.0, max_events=3, max_bytes=100, keep_s=10.0, window=2, idle_s=60.0)


def nothing(arrived: bool) -> None:
    """Nobody waits for it."""


def item(serial: int, at: float = 0.0, *, patient: bool = True) -> Item:
    return Item(b"%d" % serial, at, serial, patient, nothing)


def up(terms: Terms = TERMS) -> Stream:
    """A stream with a connection and nothing to say."""
    stream = Stream(terms)
    stream.offer(item(0))
    stream.opened(0.0)
    stream.wrote(0.0)
    stream.answered(0, True, 0.0)
    assert (stream.state, stream.pending()) == (State.UP, 0)
    return stream


def test_the_first_event_opens_a_connection_and_is_written_then() -> None:
    stream = Stream(TERMS)
    assert stream.next_due() is None

    assert stream.offer(item(1)) == [Open()]
    assert stream.offer(item(2)) == []
    assert stream.opened(0.1) == [Write(b"1")]
    assert stream.wrote(0.2) == [Ended(item(1), True), Write(b"2")]
    assert stream.wrote(0.3) == [Ended(item(2), True)]
    assert stream.offer(item(3, 0.4)) == [Write(b"3")]


def test_what_is_too_much_is_lost_at_once() -> None:
    stream = Stream(TERMS)
    for serial in (1, 2, 3):
        stream.offer(item(serial))
    large = Item(b"x" * 101, 0.0, 5, True, nothing)

    assert stream.offer(item(4)) == [Ended(item(4), False)]
    assert up().offer(large) == [Ended(large, False)]


def test_an_attempt_in_vain_is_made_again_after_ever_longer_pauses_while_something_waits() -> None:
    stream = Stream(TERMS)
    stream.offer(item(1))
    now, pauses = 0.0, []
    while now < 5.0:
        assert stream.broke(now) == []
        assert stream.state is State.RESTING
        due = stream.next_due()
        assert due is not None
        pauses.append(round(due - now, 6))
        now = due
        assert stream.due(now) == [Open()]

    assert pauses == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2]


def test_an_attempt_that_takes_too_long_is_in_vain() -> None:
    stream = Stream(TERMS)
    stream.offer(item(1))

    assert stream.next_due() == 1.0
    assert stream.due(1.0) == [Close()]
    assert stream.state is State.RESTING


def test_what_has_waited_too_long_is_lost() -> None:
    stream = Stream(TERMS)
    stream.offer(item(1))
    stream.broke(9.95)

    assert stream.next_due() == 10.0
    assert stream.due(10.0) == [Ended(item(1), False)]
    assert stream.due(10.05) == []
    assert (stream.state, stream.next_due()) == (State.IDLE, None)


def test_after_a_connection_that_served_the_next_is_opened_at_once() -> None:
    stream = up()
    stream.offer(item(1, 1.0))
    stream.offer(item(2, 1.0))

    assert stream.broke(1.5) == [Ended(item(1, 1.0), False), Open()]
    assert stream.opened(1.6) == [Write(b"2")]


def test_a_subscriber_that_closes_when_it_has_all_is_called_again_for_the_next() -> None:
    stream = up()

    assert stream.broke(1.0) == []
    assert stream.state is State.IDLE
    assert stream.offer(item(1, 2.0)) == [Open()]


def test_one_that_takes_connections_and_nothing_else_is_left_alone_for_a_while() -> None:
    stream = Stream(TERMS)
    stream.offer(item(1))
    stream.offer(item(2))
    stream.opened(0.0)

    assert stream.broke(0.0) == [Ended(item(1), False)]
    assert stream.state is State.RESTING


def test_who_does_not_read_is_cut() -> None:
    stream = up()
    stream.offer(item(1, 5.0))

    assert stream.next_due() == 6.0
    assert stream.due(6.0) == [Close(), Ended(item(1, 5.0), False)]


def test_what_cannot_wait_is_lost_where_the_subscriber_is_away() -> None:
    stream = Stream(TERMS)
    stream.offer(item(1))
    stream.offer(item(2, patient=False))

    assert stream.broke(0.0) == [Ended(item(2, patient=False), False)]
    assert stream.offer(item(3, patient=False)) == [Ended(item(3, patient=False), False)]
    assert stream.pending() == 1


def test_a_connection_without_use_is_closed() -> None:
    stream = up()

    assert stream.next_due() == 60.0
    assert stream.due(60.0) == [Close()]
    assert (stream.state, stream.next_due()) == (State.IDLE, None)


def test_with_answers_an_event_has_arrived_when_it_is_answered() -> None:
    stream = up(TERMS._replace(answers=True))
    one, two, three = item(1, 1.0), item(2, 1.0), item(3, 1.0)

    assert stream.offer(one) == [Write(b"1")]
    stream.offer(two)
    stream.offer(three)
    assert stream.wrote(1.0) == [Write(b"2")]
    assert stream.wrote(1.0) == []  # two are not answered, and no more may be
    assert stream.answered(2, True, 1.1) == [Ended(two, True), Write(b"3")]
    assert stream.answered(2, True, 1.1) == []
    assert stream.answered(1, False, 1.2) == [Ended(one, False)]


def test_with_answers_what_is_not_answered_in_time_or_at_all_is_lost() -> None:
    stream = up(TERMS._replace(answers=True))
    stream.offer(item(1, 1.0))
    stream.wrote(1.0)
    stream.offer(item(2, 1.5))
    stream.wrote(1.5)

    assert stream.next_due() == 2.0
    assert [effect.item.serial for effect in stream.due(2.0) if isinstance(effect, Ended)] == [1]
    assert stream.answered(1, True, 2.1) == []
    assert [effect.item.serial for effect in stream.broke(2.2) if isinstance(effect, Ended)] == [2]


def test_at_the_end_everything_is_lost_that_has_not_ended() -> None:
    stream = up()
    stream.offer(item(1))
    stream.offer(item(2))

    assert stream.close() == [Close(), Ended(item(1), False), Ended(item(2), False)]
    assert stream.close() == []


class TestConservation:
    """Whatever happens, each event that was offered ends once, and nothing is written twice."""

    @given(st.booleans(), st.lists(st.tuples(st.integers(0, 7), st.floats(0, 3)), max_size=80))
    def test_each_event_ends_once(self, answers: bool, steps: list[tuple[int, float]]) -> None:
        stream, now, serial = Stream(TERMS._replace(answers=answers)), 0.0, 0
        offered: list[int] = []
        ended: list[int] = []
        written: list[bytes] = []

        def take(effects: list[object]) -> None:
            ended.extend(effect.item.serial for effect in effects if isinstance(effect, Ended))
            written.extend(effect.data for effect in effects if isinstance(effect, Write))
            stream.check()
            assert len(ended) + stream.pending() == len(offered)

        for kind, passed in steps:
            now += passed
            match kind:
                case 0 | 1 | 2:
                    serial += 1
                    offered.append(serial)
                    take([*stream.offer(item(serial, now, patient=kind > 0))])
                case 3:
                    take([*stream.opened(now)])
                case 4:
                    take([*stream.wrote(now)])
                case 5:
                    take([*stream.broke(now)])
                case 6:
                    take([*stream.answered(serial, True, now)])
                case _:
                    due = stream.next_due()
                    take([*stream.due(now if due is None else max(now, due))])
        take([*stream.close()])
        assert sorted(ended) == offered
        assert len(set(written)) == len(written)

    @given(st.lists(st.integers(1, 1000), max_size=5))
    def test_whenever_something_is_pending_something_is_due(self, times: list[int]) -> None:
        stream, now = Stream(TERMS._replace(answers=True)), 0.0
        for number, passed in enumerate(times):
            now += passed / 100
            stream.offer(item(number, now))
        for _ in range(100):
            due = stream.next_due()
            assert (due is not None) == (stream.state is not State.IDLE)
            if due is None:
                break
            stream.due(due)
        assert stream.pending() == 0


def test_answers_are_found_however_they_are_cut() -> None:
    text = b'{"jsonrpc":"2.0","result":"\xc3\xa9","id":1} \r\n{"id":2,"error":{"code":1}}{"id":"x"}{"id":true}'
    text += b'{"method":"m"}{"id":3}'
    answers = Answers()

    assert Answers().feed(text) == [(1, True), (2, False), (3, True)]
    assert [found for byte in text for found in answers.feed(bytes([byte])) or []] == [(1, True), (2, False), (3, True)]


@pytest.mark.parametrize("text", [b"HTTP/1.1 200 OK", b"[]", b"7 ", b"{" * MAX_ANSWER, b'{"id": ' + b"1" * MAX_ANSWER])
def test_what_is_no_answer_ends_the_talk(text: bytes) -> None:
    assert Answers().feed(text) is None


@given(st.lists(st.binary(max_size=30) | st.just(json.dumps({"id": 5}).encode())))
def test_whatever_a_subscriber_sends_is_read_or_given_up(pieces: list[bytes]) -> None:
    answers = Answers()
    for piece in pieces:
        if answers.feed(piece) is None:
            break
