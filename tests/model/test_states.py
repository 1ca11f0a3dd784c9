"""Every state of the models, visited by spin."""

from __future__ import annotations

import os
import re

import pytest

from model.check import CONFIGURATIONS, MODELS, REMEDY, check, missing

pytestmark = pytest.mark.skipif(bool(missing()) and "CI" not in os.environ, reason=REMEDY)


@pytest.mark.parametrize("name", [name for name, one in CONFIGURATIONS.items() if not one.by_hand])
def test_nothing_is_broken_in_any_state(name: str) -> None:
    one = CONFIGURATIONS[name]
    verdict = check(one.model, one.bounds.items(), states=one.states)
    assert (verdict.broken, verdict.complete, verdict.states) == ("", True, one.states)


@pytest.mark.parametrize("model", sorted({one.model for one in CONFIGURATIONS.values()}))
def test_nothing_goes_on_for_ever(model: str) -> None:
    verdict = check(model, [], cycles=True)
    assert (verdict.broken, verdict.complete) == ("", True)


def test_the_page_tells_the_states_of_each_configuration() -> None:
    page = (MODELS.parent / "docs/protocol-model.md").read_text()
    told = dict(re.findall(r"^\| (?:\*by hand:\* )?([^|]+) \| [^|]+ \| ([\d,]+) \|", page, re.M))
    assert told == {name: f"{one.states:,}" for name, one in CONFIGURATIONS.items()}


def test_every_model_is_checked() -> None:
    assert {one.model for one in CONFIGURATIONS.values()} == {path.stem for path in MODELS.glob("*.pml")}
