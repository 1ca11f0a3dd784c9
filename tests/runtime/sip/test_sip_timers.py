"""The wheel: a few fixed cases. Any sequence of calls: tests/properties/test_wheel_machine.py."""

from __future__ import annotations

from runtime.sip.timers import Wheel


def test_a_timer_fires_at_its_tick_and_not_before() -> None:
    wheel: Wheel[str] = Wheel()
    assert (wheel.next_deadline(), wheel.expired(1e9), len(wheel)) == (None, [], 0)
    wheel.start(10.0, 0.5, "late")
    wheel.start(10.0, 0.25, "early")
    assert (wheel.next_deadline(), len(wheel)) == (10.25, 2)
    assert wheel.expired(10.2499) == []
    assert wheel.expired(10.25) == ["early"]
    assert wheel.next_deadline() == 10.5
    assert wheel.expired(11) == ["late"]
    assert (wheel.next_deadline(), wheel.expired(1e9), len(wheel)) == (None, [], 0)


def test_a_cancelled_timer_is_gone_and_cancels_once() -> None:
    wheel: Wheel[str] = Wheel()
    first = wheel.start(0, 1, "first")
    second = wheel.start(0, 1, "second")
    assert wheel.cancel(first)
    assert not wheel.cancel(first)
    assert len(wheel) == 1
    assert wheel.expired(1) == ["second"]
    assert not wheel.cancel(second)


def test_the_deadline_is_when_something_fires() -> None:
    """A loop that wakes at `next_deadline()` must find work, or it spins."""
    wheel: Wheel[int] = Wheel()
    now = 12_345.678_901
    for number in range(1_000):
        wheel.start(now, number / 997, number)
    fired = 0
    while (deadline := wheel.next_deadline()) is not None:
        items = wheel.expired(deadline)
        assert items
        fired += len(items)
    assert fired == 1_000
