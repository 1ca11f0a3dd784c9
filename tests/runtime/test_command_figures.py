"""What commands cost, counted by several processes."""

from __future__ import annotations

import pytest

from runtime.command_figures import BOUNDS_S, UNKNOWN, CommandFigures, Histogram
from workers.jobs import Cancelled, Failed, Peer, Rejected, Returned, TimedOut, WorkerLost

WORKER = Peer("worker-1", 1)


@pytest.fixture
def table():
    return CommandFigures(3, ["ps", "dr_reload"])


def of(table, name):
    return next(one for one in table.figures() if one.command == name)


def test_at_first_there_is_nothing(table):
    assert [(one.command, one.errors, one.runs.count, one.waits.count) for one in table.figures()] == [
        (name, {}, 0, 0) for name in (UNKNOWN, "ps", "dr_reload")
    ]


def test_runs_of_all_processes_are_summed(table):
    for slot, elapsed_s, code in [(0, 0.00005, None), (2, 0.0001, 404), (2, 0.7, 404), (1, 31.0, 12345)]:
        table.enter(slot)
        table.ran("ps", elapsed_s, code)
    found = of(table, "ps")
    assert found.errors == {404: 2, 0: 1}
    assert found.runs.buckets == (2, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 1)
    assert found.runs.total_s == pytest.approx(31.70015)
    assert of(table, "dr_reload").runs.count == 0


def test_a_replacement_counts_on(table):
    table.enter(1)
    table.ran("ps", 0.001, None)
    table.enter(1)
    table.ran("ps", 0.001, None)
    assert of(table, "ps").runs.count == 2


def test_calls_that_never_ran(table):
    table.failed("", -32601)
    table.failed("no such", -32601)
    table.failed("ps", -32602)
    assert of(table, UNKNOWN).errors == {-32601: 2}
    assert of(table, "ps").errors == {-32602: 1}


@pytest.mark.parametrize(
    ("outcome", "errors", "waits"),
    [
        (Returned(b"", WORKER, 0.2), {}, 1),
        (Failed("KeyError", "x", WORKER, 0.1), {-32000: 1}, 0),
        (TimedOut(1.0), {408: 1}, 0),
        (Cancelled("CANCEL"), {487: 1}, 0),
        (WorkerLost(WORKER), {500: 1}, 0),
        (Rejected("full"), {503: 1}, 0),
    ],
)
def test_ends_of_jobs(table, outcome, errors, waits):
    table.settled("dr_reload", outcome, 0.25)
    found = of(table, "dr_reload")
    assert (found.errors, found.waits.count, found.runs.count) == (errors, waits, 0)
    if waits:
        assert found.waits.total_s == pytest.approx(0.05, abs=0.001)


def test_a_wait_that_nobody_measured_is_none(table):
    table.settled("dr_reload", Returned(b"", WORKER, 0.2), None)
    assert of(table, "dr_reload").waits.count == 0


def test_bounds_of_parts():
    histogram = Histogram((98, 0, 1, *[0] * (len(BOUNDS_S) - 3), 1), 1.0)
    assert [histogram.bound_of(part) for part in (0.5, 0.98, 0.99, 1.0)] == [0.0001, 0.0001, 0.001, None]
