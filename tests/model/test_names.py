"""The models' rules and the code's cases name each other, so that neither changes without the other."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from model.check import MODELS

ROOT = MODELS.parent
PACKAGES = ("workers", "mi_script", "runtime")


class Link(NamedTuple):
    """A rule of a model stands for a place in the code."""

    rule: str
    path: str
    place: str


def of_models() -> Iterator[Link]:
    """``/* workers/dispatch.py: WorkerDown */`` before ``inline worker_down(…)``."""
    for path in sorted(MODELS.glob("*.pml")):
        for words, rule in re.findall(r"^/\* (\w+/[^\n]*) \*/\ninline (\w+)\(", path.read_text(), re.M):
            for place in words.split("; "):
                file, _, name = place.partition(": ")
                yield Link(rule, file, name)


def of_code() -> Iterator[Link]:
    """``case WorkerDown():  # model: worker_down``; the same behind a function's ``def``."""
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            for line in path.read_text().splitlines():
                code, _, rules = line.partition("  # model: ")
                if rules:
                    place = re.match(r"\s*(?:case|(?:async )?def|class) (\w+)", code)
                    assert place, f"{path}: nothing that has a name: {line}"
                    for rule in rules.split(", "):
                        yield Link(rule, str(path.relative_to(ROOT)), place[1])


def test_each_rule_names_its_place_and_each_place_its_rule() -> None:
    models, code = set(of_models()), set(of_code())
    assert models - code == set(), "the model names what the code does not"
    assert code - models == set(), "the code names what the model does not"
    assert len(models) > 20


def test_every_stimulus_of_the_dispatcher_is_modelled_or_said_not_to_be() -> None:
    source = (ROOT / "workers/dispatch.py").read_text()
    body = source[source.index("match stimulus:") : source.index("assert_never(stimulus)")]
    cases = set(re.findall(r"case ([A-Z]\w+)\(", body))
    modelled = {link.place for link in of_models() if link.path == "workers/dispatch.py"}
    left_out = set(re.findall(r"^\| `(\w+)` \|", (ROOT / "docs/protocol-model.md").read_text(), re.M))
    assert cases - modelled == left_out & cases
