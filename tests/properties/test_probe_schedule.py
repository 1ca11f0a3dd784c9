"""When targets are probed: each once in an interval, spread over it, and never while its last probe waits."""

from __future__ import annotations

import itertools

from hypothesis import event, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from runtime.probe_schedule import Schedule, moment_after

INTERVAL_S = 30.0
MOST = 3
KEYS = [f"sip:10.0.0.{number}" for number in range(6)]

moments = st.floats(0, 1e7)


@given(key=st.text(), interval_s=st.floats(1, 3600), after=moments)
def test_a_target_has_one_moment_in_each_interval(key: str, interval_s: float, after: float) -> None:
    first = moment_after(key, interval_s, after)

    assert after < first <= after + interval_s * (1 + 1e-9)
    assert abs(moment_after(key, interval_s, first + interval_s / 2) - (first + interval_s)) < 1e-3


class Probing(RuleBasedStateMachine):
    """Targets come and go, time passes, probes are answered in any order or not at all."""

    def __init__(self) -> None:
        super().__init__()
        self.schedule = Schedule(INTERVAL_S)
        self.now = 1000.0
        self.wanted: set[str] = set()
        self.began: dict[str, float] = {}

    @rule(keys=st.sets(st.sampled_from(KEYS)))
    def want(self, keys: set[str]) -> None:
        self.schedule.want(keys, self.now)
        self.wanted = set(keys)

    @rule(seconds=st.floats(0.01, 2 * INTERVAL_S))
    def look_later(self, seconds: float) -> None:
        self.now += seconds
        for key in self.schedule.due(self.now, MOST):
            assert key in self.wanted
            assert key not in self.began
            self.began[key] = self.now
        if len(self.began) == MOST:
            event("as many as may be")

    @precondition(lambda self: self.began)
    @rule(data=st.data())
    def answer(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.began)))
        del self.began[key]
        if key not in self.wanted:
            event("answered when nobody wants to know")
        self.schedule.ended(key, self.now)

    @rule(key=st.sampled_from(KEYS))
    def answer_what_was_not_asked(self, key: str) -> None:
        if key not in self.began:
            self.schedule.ended(key, self.now)

    @invariant()
    def holds(self) -> None:
        self.schedule.check()
        assert self.schedule._under_way == self.began
        assert len(self.began) <= MOST

    def teardown(self) -> None:
        for key in self.began:
            self.schedule.ended(key, self.now)
        seen: set[str] = set()
        for _ in range(3 * len(KEYS)):  # nobody is forgotten
            self.now += INTERVAL_S
            found = self.schedule.due(self.now, MOST)
            seen.update(found)
            for key in found:
                self.schedule.ended(key, self.now)
        assert seen == self.wanted


Probing.TestCase.settings = settings(max_examples=100, stateful_step_count=30)
TestProbing = Probing.TestCase


def test_ten_thousand_targets_are_spread_over_the_interval_and_probed_once_in_each() -> None:
    schedule = Schedule(INTERVAL_S)
    keys = [f"sip:10.0.{high}.{low}:5060" for high, low in itertools.product(range(40), range(250))]
    schedule.want(keys, 0.0)
    count = dict.fromkeys(keys, 0)
    largest = 0
    for tick in range(1, 900 + 1):
        now = tick / 10
        found = schedule.due(now, 1000)
        largest = max(largest, len(found))
        for key in found:
            count[key] += 1
            schedule.ended(key, now + 0.05)

    assert set(count.values()) == {3}
    assert largest < 3 * len(keys) / (INTERVAL_S * 10)


def test_a_process_that_takes_over_goes_on_in_the_same_rhythm() -> None:
    first, second = Schedule(INTERVAL_S), Schedule(INTERVAL_S)
    first.want(KEYS[:1], 100.0)
    second.want(KEYS[:1], 117.0)

    moment = moment_after(KEYS[0], INTERVAL_S, 117.0)

    assert moment_after(KEYS[0], INTERVAL_S, 100.0) in (moment, moment - INTERVAL_S)
    assert second.due(moment - 0.001, MOST) == []
    assert second.due(moment, MOST) == KEYS[:1]


def test_targets_that_come_and_go_leave_nothing() -> None:
    schedule = Schedule(INTERVAL_S)
    for round_ in range(1000):
        schedule.want(KEYS if round_ % 2 else [], float(round_) / 100)

    assert len(schedule._heap) <= 2 * len(KEYS) + 64
