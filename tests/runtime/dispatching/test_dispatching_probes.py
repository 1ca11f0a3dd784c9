"""Which destinations are probed, and what becomes of them by what they answer."""

from __future__ import annotations

from typing import Any

import pytest

from runtime.dispatching.destinations import State
from runtime.dispatching.partition import Partition
from runtime.dispatching.probes import Probes
from runtime.probing import Probe
from tests.runtime.dispatching.conftest import Run

ROWS = [
    (1, "sip:a", State.ACTIVE, 0),
    (1, "sip:b", State.PROBING, 0),
    (1, "sip:c", State.INACTIVE, 2),
    (2, "sip:a", State.ACTIVE, 0),
    (2, "sip:d", State.ACTIVE, 1),
    (3, "sip:e", State.ACTIVE, 2),
]


@pytest.fixture
def sets(partition: Partition, run: Run) -> Partition:
    rows = ", ".join(f"({set_id}, '{uri}', {int(state)}, {mode})" for set_id, uri, state, mode in ROWS)
    run(f"INSERT INTO dispatcher (setid, destination, state, probe_mode) VALUES {rows}")
    partition.reload([], inherit=True)
    return partition


def probes_of(partition: Partition, **more: Any) -> Probes:
    usual: dict[str, Any] = {"always": False, "sets": (), "socket": None, "max_forwards": -1, "alive": ()}
    return Probes([partition], **{**usual, **more})


def probed(probes: Probes) -> list[str]:
    return [probe.uri for probe in probes.targets().values()]


def state(partition: Partition, uri: str, set_id: int = 1) -> int:
    return partition.states(partition.generation().find(set_id, uri))[0]


@pytest.mark.parametrize(
    ("settings", "uris"),
    [
        ({}, ["sip:b", "sip:e"]),
        ({"always": True}, ["sip:a", "sip:b", "sip:e"]),
        ({"always": True, "sets": {2, 3}}, ["sip:a", "sip:e"]),
    ],
)
def test_who_is_probed_follows_from_mode_state_and_set(
    sets: Partition, settings: dict[str, Any], uris: list[str]
) -> None:
    assert probed(probes_of(sets, **settings)) == uris


def test_the_same_mapping_comes_while_nothing_has_changed(sets: Partition) -> None:
    probes = probes_of(sets)
    first = probes.targets()
    assert probes.targets() is first

    sets.set_state(sets.generation().find(2, "sip:d"), State.PROBING, "test")

    assert probed(probes) == ["sip:b", "sip:d", "sip:e"]


def test_what_a_probe_looks_like(sets: Partition) -> None:
    assert next(iter(probes_of(sets, socket=1, max_forwards=0).targets().values())) == Probe(
        "sip:b", "OPTIONS", "sip:dispatcher@localhost", 1, 0
    )


@pytest.mark.parametrize(("status", "alive"), [(200, True), (404, True), (486, False), (408, False), (503, False)])
def test_an_answer_that_says_that_it_is_alive_makes_it_active(sets: Partition, status: int, alive: bool) -> None:
    probes = probes_of(sets, alive={404, 408})
    (key,) = [key for key, probe in probes.targets().items() if probe.uri == "sip:b"]

    probes.answered(key, status)

    assert state(sets, "sip:b") == (State.ACTIVE if alive else State.PROBING)


def test_all_sets_that_have_a_destination_hear_of_its_failures(sets: Partition) -> None:
    probes = probes_of(sets, always=True)
    (key,) = [key for key, probe in probes.targets().items() if probe.uri == "sip:a"]

    for _ in range(2):
        probes.answered(key, 408)
    assert (state(sets, "sip:a"), state(sets, "sip:a", 2)) == (State.ACTIVE, State.ACTIVE)
    probes.answered(key, 408)

    assert (state(sets, "sip:a"), state(sets, "sip:a", 2)) == (State.PROBING, State.PROBING)


def test_a_word_on_who_is_there_no_more_changes_nothing(sets: Partition) -> None:
    probes = probes_of(sets)
    assert probed(probes)

    probes.answered("default sip:z ", 200)
