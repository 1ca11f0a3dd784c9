"""Who looks before it sleeps, and who does not because others want the processor."""

from __future__ import annotations

import os
import select
import time

import pytest

from workers.spinning import TAKEN_S, Spin

SPIN_S = 100e-6
LONG_S = 2 * TAKEN_S


def strike(spin: Spin, now: float, times: int = 1) -> None:
    for _ in range(times):
        assert not spin.gave_way(now - LONG_S, now)


def rest_of(spin: Spin, now: float) -> float:
    """For how long it does not look, to a hundredth of a second."""
    return next(n for n in range(1000) if spin.until(now + n / 100) > now + n / 100) / 100


def test_it_looks_for_its_time() -> None:
    assert Spin(SPIN_S).until(5.0) == 5.0 + SPIN_S
    assert Spin(0.0).until(5.0) == 5.0


def test_who_gives_way_often_rests_longer_and_longer() -> None:
    spin = Spin(SPIN_S)
    strike(spin, 10.0, 2)
    assert rest_of(spin, 10.0) == 0.0
    rests = []
    for now in range(10, 17):
        strike(spin, float(now))
        rests.append(rest_of(spin, float(now)))
    assert rests == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6, 1.6, 1.6], abs=0.011)


def test_a_quick_return_is_no_reason() -> None:
    spin = Spin(SPIN_S)
    assert all(spin.gave_way(10.0, 10.0 + TAKEN_S / 2) for _ in range(100))
    assert rest_of(spin, 10.0) == 0.0


def test_peace_is_worth_something() -> None:
    """To give way now and then, as to an attendant that looks around, is no reason to sleep."""
    spin = Spin(SPIN_S)
    for _ in range(20):
        strike(spin, 10.0)
        for _ in range(10):
            spin.found()
    assert rest_of(spin, 10.0) == 0.0


def test_after_long_peace_the_first_rest_is_short_again() -> None:
    spin = Spin(SPIN_S)
    strike(spin, 10.0, 5)
    assert rest_of(spin, 10.0) == pytest.approx(0.4, abs=0.011)
    for _ in range(20):
        spin.found()
    strike(spin, 20.0, 3)
    assert rest_of(spin, 20.0) == pytest.approx(0.1, abs=0.011)


def test_it_waits_like_poll() -> None:
    reading, writing = os.pipe()
    poller = select.poll()
    poller.register(reading, select.POLLIN)
    spin = Spin(SPIN_S)
    began_at = time.monotonic()
    assert spin.wait(poller, 0.0) == []
    assert spin.wait(poller, 0.02) == []
    assert time.monotonic() - began_at >= 0.02
    os.write(writing, b"x")
    for timeout_s in (0.0, 1.0, None):
        assert spin.wait(poller, timeout_s) == [(reading, select.POLLIN)]
    os.close(reading)
    os.close(writing)
