"""One timer of the loop for all of a table: it rings when the earliest is due, and under load not for each of them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from itertools import pairwise

import pytest

from runtime.alarm import _REST_S, Alarm


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    made = asyncio.new_event_loop()
    yield made
    made.close()


def test_it_rings_for_the_earliest_and_not_before(loop: asyncio.AbstractEventLoop) -> None:
    rung: list[float] = []

    def ring() -> None:
        rung.append(time.monotonic())
        loop.stop()

    alarm, now = Alarm(loop, ring), time.monotonic()
    for after_s in (30.0, 0.02, 0.03):
        alarm.set(now + after_s)
    alarm.set(None)
    loop.call_later(5.0, loop.stop)
    loop.run_forever()
    assert [at >= now + 0.02 for at in rung] == [True]


def test_what_is_due_soon_after_a_ring_waits_for_the_rest_of_it(loop: asyncio.AbstractEventLoop) -> None:
    rung: list[float] = []

    def ring() -> None:
        rung.append(time.monotonic())
        if len(rung) == 10:
            loop.stop()
        for number in range(1, 4):
            alarm.set(time.monotonic() + number / 1000)

    alarm = Alarm(loop, ring)
    alarm.set(time.monotonic())
    loop.call_later(5.0, loop.stop)
    loop.run_forever()
    assert len(rung) == 10
    assert all(later - earlier >= _REST_S for earlier, later in pairwise(rung))
