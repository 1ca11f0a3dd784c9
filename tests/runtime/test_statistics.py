"""Counters over processes: a row each, summed on reading."""

from __future__ import annotations

import os

import pytest

from runtime.statistics import MAX_COUNTERS, Statistics


@pytest.fixture
def statistics():
    table = Statistics(slots=3)
    table.declare("core", ["rcv_requests", "drop"])
    table.declare("script", ["drop"])
    table.compute("core", "timestamp", lambda: 7)
    table.enter(0)
    return table


def test_a_value_is_the_sum_over_the_processes(statistics) -> None:
    assert statistics.value("core:rcv_requests") == 0
    for slot in (1, 2):
        if (pid := os.fork()) == 0:
            statistics.enter(slot)
            statistics.count("core:rcv_requests", slot * 10)
            os._exit(0)
        os.waitpid(pid, 0)
    statistics.count("core:rcv_requests")
    assert statistics.value("core:rcv_requests") == 31
    assert statistics.value("core:drop") == 0


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("core:drop", ["core:drop"]),
        ("drop", ["core:drop", "script:drop"]),
        ("core:", ["core:rcv_requests", "core:drop", "core:timestamp"]),
        ("all", ["core:rcv_requests", "core:drop", "script:drop", "core:timestamp"]),
        ("nope", []),
        ("nope:", []),
        ("core:nope", []),
    ],
)
def test_names(statistics, name: str, found: list[str]) -> None:
    assert statistics.find(name) == found


def test_what_is_not_there_now_is_found_by_its_own_name_only(statistics) -> None:
    there = [True]
    statistics.compute("pkmem", "4-size", lambda: 5, lambda: there[0])
    assert statistics.find("pkmem:") == ["pkmem:4-size"]
    there[0] = False
    assert statistics.find("pkmem:") == []
    assert "pkmem:4-size" not in statistics.find("all")
    assert (statistics.find("pkmem:4-size"), statistics.value("pkmem:4-size")) == (["pkmem:4-size"], 5)


def test_a_reset_reads_zero_and_counts_on(statistics) -> None:
    statistics.count("core:drop", 5)
    assert statistics.reset("core:drop")
    assert statistics.value("core:drop") == 0
    statistics.count("core:drop", 2)
    assert statistics.value("core:drop") == 2
    assert not statistics.reset("core:timestamp")
    assert statistics.value("core:timestamp") == 7


def test_declaring_again_keeps_the_place_and_too_many_are_refused(statistics) -> None:
    statistics.count("core:drop", 5)
    statistics.declare("core", ["drop"])
    assert statistics.value("core:drop") == 5
    with pytest.raises(ValueError, match="no room"):
        statistics.declare("many", [f"n{i}" for i in range(MAX_COUNTERS)])


def test_a_gauge_goes_down_too_and_cannot_be_reset() -> None:
    table = Statistics(slots=2)
    table.declare_gauges("tm", ["inuse"])
    table.enter(0)
    table.count("tm:inuse", 3)
    table.count("tm:inuse", -1)
    assert not table.is_incremental("tm:inuse")
    assert not table.reset("tm:inuse")
    assert table.value("tm:inuse") == 2


def test_what_a_process_had_is_gone_with_it() -> None:
    table = Statistics(slots=2)
    table.declare("tm", ["seen"])
    table.declare_gauges("tm", ["inuse"])
    for slot in (0, 1):
        table.enter(slot)
        table.count("tm:seen")
        table.count("tm:inuse")
    assert (table.value("tm:seen"), table.value("tm:inuse")) == (2, 2)
    table.enter(1)  # the replacement of one that died
    assert (table.value("tm:seen"), table.value("tm:inuse")) == (2, 1)
