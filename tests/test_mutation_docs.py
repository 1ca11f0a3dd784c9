"""docs/mutation.md and the configuration of `make mutants` speak of the same cores and the same properties."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "docs/mutation.md").read_text()
MUTMUT = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["mutmut"]
CORE = re.compile(r"`((?:workers|mi_script|runtime)/[\w/]+\.py)`")
INVARIANTS = range(1, 13)


def rows(heading: str) -> list[list[str]]:
    """The cells of the first table below that heading."""
    section = TEXT.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_every_invariant_has_its_cores_and_its_properties() -> None:
    table = rows("The invariants")
    assert [int(row[0]) for row in table] == list(INVARIANTS)
    named = {core for row in table for core in CORE.findall(row[2])}
    assert all(CORE.findall(row[2]) or row[0] == "5" for row in table), "an invariant without a core"
    assert set(MUTMUT["only_mutate"]) == named
    paths = [*named, *(path for row in table for path in re.findall(r"`(tests/[\w/.]+)`", row[3]))]
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_every_core_that_is_changed_is_counted_and_none_besides() -> None:
    table = rows("The cores")
    assert [core for row in table for core in CORE.findall(row[0])] == sorted(MUTMUT["only_mutate"])


def test_the_figures_add_up() -> None:
    table = [[name, *map(number, cells)] for name, *cells in rows("The cores")]
    *cores, together = table
    assert [together[column] for column in (1, 2, 4)] == [sum(row[column] for row in cores) for column in (1, 2, 4)]
    for name, changes, looked_at, noticed, survivors in table:
        assert looked_at <= changes, name
        assert noticed == (round(100 * (looked_at - survivors) / looked_at, 1) if looked_at else None), name


def number(cell: str) -> float | None:
    return None if cell == "-" else float(cell.replace(",", "").removesuffix(" %"))


def test_only_properties_are_run_against_the_changes() -> None:
    selected = MUTMUT["pytest_add_cli_args_test_selection"]
    assert all(path.startswith("tests/properties/test_") and (ROOT / path).exists() for path in selected)
    named = set(re.findall(r"`(tests/properties/[\w/.]+)`", TEXT))
    assert set(selected) <= named
