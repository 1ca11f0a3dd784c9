"""The wheel: a few fixed cases, and any sequence of calls against a sorted list."""

from __future__ import annotations

from hypothesis import event, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from runtime.sip.timers import TICKS_PER_SECOND, Wheel

TICK_S = 1 / TICKS_PER_SECOND


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


class AgainstASortedList(RuleBasedStateMachine):
    handles = Bundle("handles")

    def __init__(self) -> None:
        super().__init__()
        self.wheel: Wheel[int] = Wheel()
        self.now = 1_000.0
        self.count = 0
        self.model: dict[int, float] = {}

    @rule(target=handles, delay_s=st.floats(0, 40))
    def start(self, delay_s: float):
        self.count += 1
        self.model[self.count] = self.now + delay_s
        return self.count, self.wheel.start(self.now, delay_s, self.count)

    @rule(handle=handles)
    def cancel(self, handle) -> None:
        number, real = handle
        event("cancelled in time" if number in self.model else "cancelled too late")
        assert self.wheel.cancel(real) == (self.model.pop(number, None) is not None)

    @rule(by_s=st.floats(0, 20))
    def wait(self, by_s: float) -> None:
        self.now += by_s
        fired = self.wheel.expired(self.now)
        due = [self.model.pop(number) for number in fired]
        event(f"fired {min(len(fired), 3)}")
        assert all(deadline <= self.now for deadline in due), "never early"
        assert all(deadline > self.now - TICK_S for deadline in self.model.values()), "at most a tick late"
        assert [int(-(-deadline // TICK_S)) for deadline in due] == sorted(
            int(-(-deadline // TICK_S)) for deadline in due
        )

    @invariant()
    def agrees(self) -> None:
        self.wheel.check()
        assert len(self.wheel) == len(self.model)
        deadline = self.wheel.next_deadline()
        if not self.model:
            assert deadline is None
        else:
            assert deadline is not None
            assert 0 <= deadline - min(self.model.values()) < TICK_S


TestAgainstASortedList = AgainstASortedList.TestCase
TestAgainstASortedList.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
