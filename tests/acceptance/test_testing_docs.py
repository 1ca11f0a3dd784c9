"""docs/testing.md: its examples are run as anybody runs them, by pytest in a folder that has nothing but them."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from runtime.program import Program
from runtime.testing import LaybyMachine, Peer, Received, Server, Simulation, strategies
from tests.harness import ROOT

pytestmark = pytest.mark.processes

PAGE = (ROOT / "docs" / "testing.md").read_text()
[SCRIPT] = re.findall(r"```opensips\n(.*?)```", PAGE, re.DOTALL)
EXAMPLES = dict(re.findall(r"^`(test_\w+\.py)`:\n\n```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE))


def names_in_table(heading: str) -> set[str]:
    """What stands in code in the first column of the table under that heading."""
    rows = PAGE.partition(heading)[2].partition("\n\n")[0].splitlines()[1:]
    return {name for row in rows for name in re.findall(r"`(\w+)[`(]", row.split("|")[1])}


def test_the_script_is_one_without_a_warning(tmp_path: Path) -> None:
    (tmp_path / "router.cfg").write_text(SCRIPT)
    assert Program.load(tmp_path / "router.cfg").warnings() == []


def test_the_examples_pass_side_by_side_and_with_every_warning_an_error(tmp_path: Path) -> None:
    assert len(EXAMPLES) == 4
    (tmp_path / "router.cfg").write_text(SCRIPT)
    for name, text in EXAMPLES.items():
        (tmp_path / name).write_text(text)
    options = ["-n", "2", "--dist", "loadfile", "--strict-markers", "-W", "error", "-p", "no:schemathesis"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *options],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "7 passed" in done.stdout


@pytest.mark.parametrize(
    ("heading", "known"),
    [
        ("| of a `Server` | |", {*dir(Server), *Server.__annotations__}),
        ("| strategy | draws |", {*dir(strategies)}),
        ("| of a `Simulation` | |", {*dir(Simulation), "answers", "events", "now_s"}),
        ("| to override | |", {*dir(LaybyMachine)}),
    ],
)
def test_what_the_page_names_is_there(heading: str, known: set[str]) -> None:
    names = names_in_table(f"\n{heading}\n")
    assert len(names) >= 5
    assert names - known == set()


def test_the_steps_that_the_page_names_are_there() -> None:
    steps = re.findall(r"`(\w+)`", PAGE.partition("to do more (")[2].partition(")")[0])
    assert len(steps) == 12
    assert [step for step in steps if not hasattr(LaybyMachine, step)] == []
    for owner, text in ((Peer, PAGE.partition("A `Peer` is")[2].partition("What comes is")[0]),):
        assert [name for name in re.findall(r"`(\w+)\(", text) if not hasattr(owner, name)] == []
    received = re.findall(r"`(\w+)[`(]", PAGE.partition("What comes is `Received`: ")[2].partition("\n\n")[0])
    assert [name for name in received if not hasattr(Received, name)] == []
