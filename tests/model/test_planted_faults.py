"""Faults that are planted in the models: spin has to find each of them, or what it is asked does not bite."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

import pytest

from model.check import MODELS, REMEDY, check, missing

pytestmark = pytest.mark.skipif(bool(missing()) and "CI" not in os.environ, reason=REMEDY)

FAULTS: dict[str, tuple[str, Mapping[str, int], str]] = {
    "BUG_ASKS_WHO_WAITS": ("asking", {}, "state"),
    "BUG_DEAF_WHILE_STOPPED": ("asking", {}, "state"),
    "BUG_LOOKS_BEFORE_IT_STOPS": ("asking", {}, "state"),
    "BUG_OUTCOMES_HELD_BACK": ("asking", {}, "state"),
    "BUG_QUESTIONS_HELD_BACK": ("asking", {}, "state"),
    "BUG_ALL_RUN_AGAIN": ("parking", {}, "runs"),
    "BUG_CELL_STAYS": ("leaving", {}, "worker"),
    "BUG_COUNTS_BEFORE_IT_PAUSES": ("leaving", {}, "to_worker"),
    "BUG_LEAVES_WHEN_IDLE": ("draining", {}, "killed"),
    "BUG_SAYS_SO_WHILE_IT_WAITS": ("draining", {}, "killed"),
    "BUG_WAITS_FOR_THE_DEAD": ("draining", {}, "state"),
    "BUG_LOOKS_ONCE": ("leaving", {}, "place"),
    "BUG_ROW_WITHOUT_LIFE": ("leaving", {}, "place"),
    "BUG_COLUMN_STAYS": ("parking", {}, "board"),
    "BUG_DIRECTED_GOES_ELSEWHERE": ("parking", {"DIRECTED": 1, "AGAIN": 1}, "runs"),
    "BUG_ENDED_STAYS_QUEUED": ("parking", {}, "waits"),
    "BUG_INBOX_INHERITED": ("parking", {}, "outcome"),
    "BUG_LATE_WORD_SETTLES": ("parking", {}, "waits"),
    "BUG_LOSS_UNTOLD": ("parking", {"EARLY": 0}, "told"),
    "BUG_SETTLED_COMES_BACK": ("parking", {}, "waits"),
    "BUG_SLOT_KEPT": ("parking", {}, "board"),
    "BUG_WAITER_STAYS": ("parking", {}, "waits"),
    "BUG_WITHDRAWN_UNANSWERED": ("parking", {}, "place"),
    "BUG_WORDS_OF_THE_DEAD": ("parking", {"AGAIN": 1}, "place"),
}
"""Fault -> the model, bounds within which it shows, and a word of the assertion that it breaks."""


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_found(fault: str) -> None:
    model, bounds, word = FAULTS[fault]
    verdict = check(model, [*bounds.items(), (fault, 1)])
    assert "assertion violated" in verdict.broken
    assert word in verdict.broken


def test_every_planted_fault_is_looked_for() -> None:
    planted = {name for path in MODELS.glob("*.pml") for name in re.findall(r"\bBUG_\w+", path.read_text())}
    assert planted == set(FAULTS)


def test_a_fault_is_shown_step_by_step() -> None:
    verdict = check("parking", [("BUG_LOSS_UNTOLD", 1), ("EARLY", 0)], steps=True)
    steps = verdict.steps.splitlines()
    [sent] = [line for line in steps if " Sends: " in line]
    assert "place[0] = SENT" in sent
    assert "[DISPATCH,0]" in sent
    assert any("= DYING" in line for line in steps)
    assert "text of failed assertion" in verdict.steps
