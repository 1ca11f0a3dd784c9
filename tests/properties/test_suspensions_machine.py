"""`Suspensions` against a plain dict: whatever comes in whatever order, a waiter is given out exactly once."""

from __future__ import annotations

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from workers.jobs import Cancelled
from workers.suspensions import Suspensions

SLACK = 64
"""How many settled jobs may always be kept, besides as many as there are waiters."""


class Waiters(RuleBasedStateMachine):
    jobs = Bundle("jobs")

    def __init__(self) -> None:
        super().__init__()
        self.table: Suspensions[str] = Suspensions()
        self.model: dict[int, tuple[str, float]] = {}
        self.given: dict[int, int] = {}
        self.now = 0.0
        self.serial = 0

    def told(self, serial: int) -> str | None:
        outcome = Cancelled("the test")
        told = self.table.settle([(serial, outcome)])
        assert all(word is outcome for _, word in told)
        return told[0][0] if told else None

    @rule(target=jobs, timeout_s=st.floats(0.0, 10.0) | st.sampled_from([0.0, 1.0, 2.5]))
    def suspend(self, timeout_s: float) -> int:
        self.serial += 1
        job = self.serial
        # One that counts for false waits like any other.
        waiter = f"waiter {job}" if job % 5 else ""
        self.table.suspend(job, waiter, self.now + timeout_s)
        self.model[job] = (waiter, self.now + timeout_s)
        self.given[job] = 0
        return job

    @rule(job=jobs)
    def settle(self, job: int) -> None:
        waiter = self.told(job)
        assert waiter == self.model.pop(job, (None, 0.0))[0]
        if waiter is not None:
            self.given[job] += 1
        event("settled before" if waiter is None else "settled")

    @rule(jobs=st.lists(jobs | st.integers(1000, 1010), max_size=8))
    def settle_together(self, jobs: list[int]) -> None:
        """In the order in which they are named, each with its own outcome, and none twice."""
        outcomes = [(job, Cancelled(f"end {place} of {job}")) for place, job in enumerate(jobs)]
        expected = []
        for job, outcome in outcomes:
            if job in self.model:
                expected.append((self.model.pop(job)[0], outcome))
                self.given[job] += 1
        assert self.table.settle(outcomes) == expected
        event(f"{min(len(expected), 3)} settled together")

    @rule(ahead=st.integers(1, 100))
    def settle_what_was_never_waited_for(self, ahead: int) -> None:
        assert self.told(self.serial + ahead) is None

    @rule(job=jobs)
    def look(self, job: int) -> None:
        assert self.table.waiter(job) == self.model.get(job, (None, 0.0))[0]
        assert (job in self.table) == (job in self.model)

    @rule(job=jobs)
    def suspend_twice(self, job: int) -> None:
        if job in self.model:
            with pytest.raises(ValueError, match=f"^job {job} is waited for already$"):
                self.table.suspend(job, "second", self.now)

    @rule(passed_s=st.floats(0.0, 5.0) | st.sampled_from([0.0, 1.0, 1.5]))
    def let_time_pass(self, passed_s: float) -> None:
        self.now += passed_s
        due = self.table.expired(self.now)
        deadlines = [self.model[job][1] for job in due]
        assert deadlines == sorted(deadlines)
        assert set(due) == {job for job, (_, deadline) in self.model.items() if deadline <= self.now}
        assert self.table.expired(self.now) == [], "they are named once"
        for job in due:
            assert job in self.table, "they wait until they are settled"
            assert self.told(job) == self.model.pop(job)[0]
            self.given[job] += 1
        event("expired" if due else "nothing expired")

    @rule(count=st.integers(50, 200))
    def come_and_go(self, count: int) -> None:
        for _ in range(count):
            self.settle(self.suspend(5.0))

    @invariant()
    def agrees(self) -> None:
        self.table.check()
        assert len(self.table) == len(self.model)
        assert self.table.serials() == list(self.model)
        assert self.table.next_deadline() == min((deadline for _, deadline in self.model.values()), default=None)
        assert all(job in self.table for job in self.model)
        assert all(count <= 1 for count in self.given.values())
        assert all(count == (job not in self.model) for job, count in self.given.items())


TestWaiters = Waiters.TestCase
TestWaiters.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


@given(st.lists(st.integers(0, 5), min_size=1, max_size=12), st.integers(0, 5))
def test_a_check_finds_who_waits_without_a_deadline(deadlines: list[int], now: int) -> None:
    """Whoever asks who is due has to settle them all."""
    table: Suspensions[str] = Suspensions()
    for serial, deadline in enumerate(deadlines):
        table.suspend(serial, "waiter", float(deadline))
    table.check()
    due = table.expired(float(now))
    for serial in due:
        with pytest.raises(AssertionError, match=r"^a waiter without a deadline$"):
            table.check()
        table.settle([(serial, Cancelled("the test"))])
    table.check()


@given(st.integers(0, 30), st.integers(-3, 3))
def test_a_check_finds_settled_jobs_that_pile_up(waiters: int, more: int) -> None:
    class Untidy(Suspensions[str]):
        def _rebuild(self) -> None:
            pass

    table = Untidy()
    for serial in range(waiters):
        table.suspend(serial, "stays", 9.0)
    for serial in range(100, 100 + waiters + SLACK + more):
        table.suspend(serial, "goes", 6.0)
        table.settle([(serial, Cancelled("the test"))])
    if more <= 0:
        table.check()
        return
    with pytest.raises(AssertionError, match=r"^settled jobs pile up$"):
        table.check()


@settings(max_examples=20)
@given(st.integers(0, 200))
def test_tidying_up_costs_a_job_a_few_looks_and_no_walk_through_the_table(waiters: int) -> None:
    looks = 0

    class Counted(int):
        def __hash__(self) -> int:
            nonlocal looks
            looks += 1
            return super().__hash__()

    table: Suspensions[str] = Suspensions()
    for serial in range(waiters):
        table.suspend(Counted(serial), "stays", 9.0)
    looks = 0
    for serial in range(1000, 2000):
        table.suspend(Counted(serial), "goes", 6.0)
        table.settle([(Counted(serial), Cancelled("the test"))])
    assert len(table) == waiters
    assert looks < 8 * 1000
