"""The oracles hold for the corpus and for two seconds of damages; `fuzz_parse.py` runs for as long as one likes."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from runtime.sip.message import Message
from tests.fuzz.fuzz_parse import CORPUS, TORTURE, damage, fault, fuzz, seeds, smaller
from tests.fuzz.oracles import check

FILES = [*sorted(TORTURE.glob("*.dat")), *sorted(path for path in CORPUS.iterdir() if path.name[0] != ".")]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_the_oracles_hold_for_the_corpus(path: Path) -> None:
    check(path.read_bytes())


def test_the_oracles_hold_for_what_is_damaged() -> None:
    count, ways, failed = fuzz(2.0, seed=1)
    assert failed is None, fault(failed)
    assert count > 100
    assert ways > 20


def test_the_same_seed_damages_in_the_same_way() -> None:
    found = seeds()
    made = [[damage(found[0], chance, found) for _ in range(20)] for chance in (random.Random(7), random.Random(7))]
    assert made[0] == made[1]


def test_a_fault_is_found_and_made_small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not a mock of a part: a part made wrong, so that it is the oracles that are tested."""
    right = Message.all
    monkeypatch.setattr(
        Message, "all", lambda self, name: [*right(self, name), "x"] if name == "route" else right(self, name)
    )
    failed = fuzz(5.0, seed=1)[2]
    assert failed is not None
    found = smaller(failed, time.monotonic() + 3.0)
    assert fault(found) is not None
    assert len(found) < 150
