"""The wheel of timers against a list: any sequence of calls.

What must hold: a timer fires once, at the first tick that is not before its time; all that is due fires, by its tick
and then by its start; one that was cancelled does not, and the one who cancels learns whether it was in time; the
wheel wants to be woken for what fires next, says when that has become sooner, and keeps nothing of what is over.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from fractions import Fraction
from math import ceil

from hypothesis import event, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, precondition, rule

from runtime.sip.timers import TICKS_PER_SECOND, Handle, Wheel
from tests.properties.complaints import complaint

DELAYS_S = st.one_of(st.floats(0, 40), st.integers(0, 600).map(lambda ticks: ticks / TICKS_PER_SECOND))
"""Any, and such as end on a tick and meet."""


class Wheels(RuleBasedStateMachine):
    handles = Bundle("handles")

    def __init__(self) -> None:
        super().__init__()
        self.wheel: Wheel[int] = Wheel()
        self.now = 1_000.0
        self.count = 0
        self.ticks: dict[int, int] = {}
        """What waits, by the order of its start, and its tick."""
        self.said: float | None = None

    @rule(target=handles, delay_s=DELAYS_S)
    def start(self, delay_s: float) -> tuple[int, Handle]:
        self.count += 1
        self.ticks[self.count] = ceil(Fraction(self.now + delay_s) * TICKS_PER_SECOND)
        return self.count, self.wheel.start(self.now, delay_s, self.count)

    @rule(handle=handles)
    def cancel(self, handle: tuple[int, Handle]) -> None:
        number, real = handle
        in_time = number in self.ticks
        event("cancelled in time" if in_time else "cancelled too late")
        self.ticks.pop(number, None)
        assert self.wheel.cancel(real) is in_time

    @rule(by_s=st.one_of(st.floats(0, 20), st.sampled_from([0.0, 0.5, 1.0])))
    def wait(self, by_s: float) -> None:
        self.now += by_s
        self.fire()

    @precondition(lambda self: self.ticks)
    @rule(early_s=st.sampled_from([0.0, 1 / 512]))
    def wait_for_the_next(self, early_s: float) -> None:
        """Just at its time, or just before it."""
        self.now = max(self.now, min(self.ticks.values()) / TICKS_PER_SECOND - early_s)
        self.fire()

    def fire(self) -> None:
        passed = Fraction(self.now) * TICKS_PER_SECOND
        due = [number for _, number in sorted((tick, n) for n, tick in self.ticks.items() if tick <= passed)]
        event(f"fired {min(len(due), 3)}")
        assert self.wheel.expired(self.now) == due
        for number in due:
            del self.ticks[number]

    @precondition(lambda self: self.ticks)
    @rule(data=st.data())
    def check_would_find(self, data: st.DataObject) -> None:
        wheel = deepcopy(self.wheel)
        assert not data.draw(st.sampled_from(BREAKS))(wheel) or complaint(wheel) == ""

    @invariant()
    def agrees(self) -> None:
        self.wheel.check()
        assert len(self.wheel) == len(self.ticks)
        expected = min(self.ticks.values()) / TICKS_PER_SECOND if self.ticks else None
        assert self.wheel.is_sooner == (expected is not None and (self.said is None or expected < self.said))
        assert self.wheel.next_deadline() == expected
        assert not self.wheel.is_sooner
        self.said = expected

    def teardown(self) -> None:
        """All that waits fires, and nothing is kept of anything."""
        while self.ticks:
            self.now = min(self.ticks.values()) / TICKS_PER_SECOND
            self.fire()
        self.agrees()
        assert (self.wheel._ticks, self.wheel._due) == ({}, [])


def lose_a_tick(wheel: Wheel[int]) -> bool:
    del wheel._due[0]
    return True


def forget_its_timers(wheel: Wheel[int]) -> bool:
    del wheel._ticks[wheel._due[-1]]
    return True


def put_the_first_last(wheel: Wheel[int]) -> bool:
    wheel._due.append(wheel._due.pop(0))
    return wheel._due[0] != min(wheel._due)


def change_two(at: int) -> Callable[[Wheel[int]], bool]:
    """Put one where the one stands from which it hangs."""

    def change(wheel: Wheel[int]) -> bool:
        due = wheel._due
        if len(due) <= at:
            return False
        above = (at - 1) // 2
        due[above], due[at] = due[at], due[above]
        return True

    return change


BREAKS = [lose_a_tick, forget_its_timers, put_the_first_last, *(change_two(at) for at in range(1, 7))]
"""Each breaks the wheel; False where it did not."""


TestWheels = Wheels.TestCase
TestWheels.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)
