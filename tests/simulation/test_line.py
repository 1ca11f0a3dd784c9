"""The way between the simulated machine and a process: whole words of any length, and an end to patience."""

from __future__ import annotations

from collections.abc import Iterator
from threading import Thread

import pytest

from runtime.simulation.events import Noted
from runtime.simulation.words import Datagram, Frame, Grant, Line, SendFrame, Waits, make_line


@pytest.fixture
def ends() -> Iterator[tuple[Line, Line]]:
    ours, theirs = make_line(patience_s=30.0)
    yield ours, theirs
    ours.close()
    theirs.close()


def test_words_come_as_they_were_said_and_an_earlier_one_is_not_touched_by_a_later(ends: tuple[Line, Line]) -> None:
    machine, process = ends
    first = Grant(1.5, True, [Datagram(0, b"OPTIONS", "198.51.100.1", 5060, 1.25), Frame(b"\0" * 100)])
    machine.say(first)
    heard = process.hear_grant()
    machine.say(Grant(2.5, False, [Frame(b"\1" * 100)]))
    process.hear_grant()

    assert heard == first


@pytest.mark.parametrize("size", [70_000, 3_000_000])
def test_a_word_may_be_longer_than_was_expected(ends: tuple[Line, Line], size: int) -> None:
    machine, process = ends
    long = Waits(1.0, 4, [SendFrame("worker-1", 1, b"x" * size)], [Noted(0.0, "sip-1.1", "long")])
    short = Waits(2.0, 4, [], [])
    speaker = Thread(target=process.say, args=[long])
    speaker.start()

    assert machine.hear_waits() == long
    speaker.join()
    process.say(short)
    assert machine.hear_waits() == short


def test_who_says_nothing_is_not_waited_for_and_who_has_ended_is_known_at_once() -> None:
    machine, process = make_line(patience_s=0.01)
    with pytest.raises(TimeoutError):
        machine.hear_waits()
    process.close()

    assert machine.hear_waits() is None
    machine.close()
