"""Who waits, and until when."""

from __future__ import annotations

import pytest

from workers.jobs import Cancelled
from workers.suspensions import Suspensions

ONE, TWO = 1, 2


@pytest.fixture
def table() -> Suspensions[str]:
    return Suspensions()


END = Cancelled("the test")


def settle(table: Suspensions[str], serial: int) -> str | None:
    told = table.settle([(serial, END)])
    assert all(outcome is END for _, outcome in told)
    return told[0][0] if told else None


def test_a_waiter_is_given_out_once(table: Suspensions[str]) -> None:
    table.suspend(ONE, "waiter", 10.0)
    assert ONE in table
    assert settle(table, ONE) == "waiter"
    assert ONE not in table
    assert settle(table, ONE) is None


def test_looking_at_a_waiter_does_not_give_it_out(table: Suspensions[str]) -> None:
    table.suspend(ONE, "waiter", 10.0)
    assert (table.waiter(ONE), table.waiter(TWO)) == ("waiter", None)
    assert table.waiter(ONE) == "waiter"
    assert settle(table, ONE) == "waiter"
    assert table.waiter(ONE) is None


def test_a_job_that_was_never_waited_for_has_no_waiter(table: Suspensions[str]) -> None:
    table.suspend(ONE, "waiter", 10.0)
    assert settle(table, TWO) is None
    assert TWO not in table
    assert table.serials() == [ONE]


def test_the_expired_are_named_once_and_stay_until_settled(table: Suspensions[str]) -> None:
    table.suspend(ONE, "one", 11.0)
    table.suspend(TWO, "two", 10.0)
    assert table.next_deadline() == 10.0
    assert table.expired(9.999) == []
    assert table.expired(11.0) == [TWO, ONE]
    assert table.expired(11.0) == []
    assert (settle(table, ONE), settle(table, TWO)) == ("one", "two")
    assert table.next_deadline() is None


def test_the_settled_do_not_expire(table: Suspensions[str]) -> None:
    table.suspend(ONE, "one", 10.0)
    table.suspend(TWO, "two", 12.0)
    settle(table, ONE)
    assert table.next_deadline() == 12.0
    assert table.expired(11.0) == []


def test_a_job_cannot_be_waited_for_twice(table: Suspensions[str]) -> None:
    table.suspend(ONE, "waiter", 10.0)
    with pytest.raises(ValueError, match="already"):
        table.suspend(ONE, "second", 10.0)
    assert settle(table, ONE) == "waiter"
    assert len(table) == 0


def test_settled_jobs_do_not_pile_up(table: Suspensions[str]) -> None:
    table.suspend(ONE, "stays", 1e9)
    for serial in range(2, 10_000):
        table.suspend(serial, "goes", 1e6)
        settle(table, serial)
        table.check()
    assert table.serials() == [ONE]
