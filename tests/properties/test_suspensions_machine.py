"""`Suspensions` against a plain dict: whatever comes in whatever order, a waiter is given out exactly once."""

from __future__ import annotations

import pytest
from hypothesis import event, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from workers.jobs import Cancelled
from workers.suspensions import Suspensions


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
        told = self.table.settle([(serial, Cancelled("the test"))])
        return told[0][0] if told else None

    @rule(target=jobs, timeout_s=st.floats(0.0, 10.0))
    def suspend(self, timeout_s: float) -> int:
        self.serial += 1
        job = self.serial
        self.table.suspend(job, f"waiter {job}", self.now + timeout_s)
        self.model[job] = (f"waiter {job}", self.now + timeout_s)
        self.given[job] = 0
        return job

    @rule(job=jobs)
    def settle(self, job: int) -> None:
        waiter = self.told(job)
        assert waiter == self.model.pop(job, (None, 0.0))[0]
        if waiter is not None:
            self.given[job] += 1
        event("settled" if waiter else "settled before")

    @rule(ahead=st.integers(1, 100))
    def settle_what_was_never_waited_for(self, ahead: int) -> None:
        assert self.told(self.serial + ahead) is None

    @rule(job=jobs)
    def look(self, job: int) -> None:
        assert self.table.waiter(job) == self.model.get(job, (None, 0.0))[0]

    @rule(job=jobs)
    def suspend_twice(self, job: int) -> None:
        if job in self.model:
            with pytest.raises(ValueError, match="already"):
                self.table.suspend(job, "second", self.now)

    @rule(passed_s=st.floats(0.0, 5.0))
    def let_time_pass(self, passed_s: float) -> None:
        self.now += passed_s
        due = self.table.expired(self.now)
        deadlines = [self.model[job][1] for job in due]
        assert deadlines == sorted(deadlines)
        assert set(due) == {job for job, (_, deadline) in self.model.items() if deadline <= self.now}
        for job in due:
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
