"""The oracles hold for the scripts and for two seconds of damages; `fuzz_script.py` runs for as long as one likes."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from runtime.script.problems import Place
from tests.fuzz.fuzz_script import EXAMPLES, SCRIPTS, damage, fault, fuzz, seeds, smaller
from tests.fuzz.script_oracles import check

FILES = sorted([*EXAMPLES.glob("*.cfg"), *SCRIPTS.glob("*.cfg")])


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_the_oracles_hold_for_the_scripts(path: Path) -> None:
    check(path.read_bytes())


@pytest.mark.parametrize("name", ["statements.cfg", "variables.cfg", "calls.cfg"])
def test_the_scripts_that_have_everything_load_and_run(name: str) -> None:
    assert check((SCRIPTS / name).read_bytes())[0] == "ran"


def test_the_oracles_hold_for_what_is_damaged() -> None:
    count, ways, failed = fuzz(2.0, seed=1)
    assert failed is None, fault(failed)
    assert count > 30
    assert ways > 10


def test_the_same_seed_damages_in_the_same_way() -> None:
    found = seeds()
    made = [[damage(found[0], chance, found) for _ in range(20)] for chance in (random.Random(7), random.Random(7))]
    assert made[0] == made[1]


def test_a_fault_is_found_and_made_small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not a mock of a part: a part made wrong, so that it is the oracles that are tested."""
    monkeypatch.setattr(Place, "__lt__", lambda self, other: 1 / 0)
    failed = fuzz(5.0, seed=1)[2]
    assert failed is not None
    found = smaller(failed, time.monotonic() + 3.0)
    assert fault(found) is not None
    assert len(found) < 500
