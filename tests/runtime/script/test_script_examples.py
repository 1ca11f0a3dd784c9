"""The scripts of `examples/`: they load, nothing about them is odd, and the table names each."""

import re
from pathlib import Path

import pytest

from runtime.modules.catalog import ALWAYS, CATALOG
from runtime.script.check import Checked
from runtime.script.load import load
from tests.harness import ROOT

SCRIPTS = sorted((ROOT / "examples").glob("*.cfg"))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_an_example_loads_without_a_warning(script: Path) -> None:
    found = load(script, catalog=CATALOG, always=ALWAYS)
    assert isinstance(found, Checked), [str(problem) for problem in found]
    assert found.warnings == []


def test_the_table_names_each_of_them() -> None:
    table = (ROOT / "examples" / "README.md").read_text()
    assert sorted(re.findall(r"(?m)^\| `(\S+\.cfg)`", table)) == [script.name for script in SCRIPTS]
