"""The models' rules and the code's cases name each other, so that neither changes without the other."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from model.check import MODELS

ROOT = MODELS.parent
PACKAGES = ("workers", "mi_script", "runtime")
OF_NO_CASE = "Of no case"
"""So begins the comment before what stands for none: what the machine does, and how the model keeps its books."""


class Link(NamedTuple):
    """A rule of a model stands for a place in the code."""

    rule: str
    path: str
    place: str


class Inline(NamedTuple):
    """A named part of a model's rules, with the comment before it."""

    model: str
    name: str
    comment: str


def inlines() -> Iterator[Inline]:
    """All of them."""
    for path in sorted(MODELS.glob("*.pml")):
        for comment, name in re.findall(r"(?:^/\* ([^\n]*) \*/\n)?^inline (\w+)\(", path.read_text(), re.M):
            yield Inline(path.stem, name, comment)


def of_models() -> Iterator[Link]:
    """``/* workers/dispatch.py: WorkerDown */`` before ``inline worker_down(…)``."""
    for one in inlines():
        if re.match(r"\w+/", one.comment):
            for place in one.comment.split("; "):
                file, _, name = place.partition(": ")
                yield Link(one.name, file, name)


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


def rules_of(model: str) -> Iterator[str]:
    """What may happen in a model without faults, but for its end: the text of each ``d_step``."""
    text = re.sub(r"^#ifdef BUG_\w+\n((?:(?!#).*\n)*?)(?:#else\n((?:.*\n)*?))?#endif\n", r"\2", model, flags=re.M)
    for proctype in re.split(r"^proctype ", text, flags=re.M)[1:]:
        for at in [found.end() for found in re.finditer(r":: (?:timeout -> )?d_step \{", proctype)]:
            depth, end = 1, at
            while depth:
                depth += {"{": 1, "}": -1}.get(proctype[end], 0)
                end += 1
            if not proctype.startswith("Rest("):
                yield proctype[at : end - 1]


def test_each_rule_names_its_place_and_each_place_its_rule() -> None:
    models, code = set(of_models()), set(of_code())
    assert models - code == set(), "the model names what the code does not"
    assert code - models == set(), "the code names what the model does not"
    assert len(models) > 60


def test_what_stands_for_no_place_says_so() -> None:
    assert [one for one in inlines() if not re.match(rf"\w+/|{OF_NO_CASE}", one.comment)] == []


@pytest.mark.parametrize("path", sorted(MODELS.glob("*.pml")), ids=lambda path: path.stem)
def test_nothing_happens_that_has_no_name(path: Path) -> None:
    named = "|".join(one.name for one in inlines() if one.model == path.stem)
    rules = list(rules_of(path.read_text()))
    assert len(rules) > 8
    assert [rule for rule in rules if not re.search(rf"\b(?:{named})\(", rule)] == []


def cases(path: str, begin: str, end: str) -> set[str]:
    """The classes that a ``match`` tells apart, between two texts of a file."""
    text = (ROOT / path).read_text()
    body = text[text.index(begin) :]
    return set(re.findall(r"case ([A-Z]\w+)\(", body[: body.index(end)]))


STIMULI = cases("workers/dispatch.py", "match stimulus:", "assert_never(stimulus)")
EFFECTS = cases("workers/origin.py", "match effect:", "assert_never(effect)")
WORDS = cases("workers/node.py", "match word:", "def _accept")
ENDS = cases("workers/supervision.py", "match stimulus:", "assert_never(stimulus)")


def test_whatever_the_protocol_tells_apart_is_modelled_or_said_not_to_be() -> None:
    """What an origin decides by, what it does, what processes say to each other, and how they come and go."""
    page = (ROOT / "docs/protocol-model.md").read_text().partition("## What is left out")[2]
    left_out = {name for row in re.findall(r"^\| ([^|]*) \|", page, re.M) for name in re.findall(r"`([A-Z]\w+)`", row)}
    modelled = {link.place for link in of_models() if link.path.startswith("workers/")}
    assert (STIMULI | EFFECTS | WORDS | ENDS) - modelled == left_out
