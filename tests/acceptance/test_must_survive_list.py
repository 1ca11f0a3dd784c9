"""What OpenSIPS fails at, and layby must not, is a list, and each row of it is one test that has its number.

`test_a01_` to `test_a30_` are the rows, `test_fact_01_` to `test_fact_15_` what was seen on a running OpenSIPS beside
them. They stand where their servers are, so here they are counted. The simulated machine has some of them besides.
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator

import pytest

from tests.harness import ROOT

_NUMBERED = re.compile(r"test_(a|fact_)([0-9]{2})_")


def numbered(kind: str) -> Iterator[int]:
    """The numbers of that kind that test functions have, wherever they are."""
    for path in (ROOT / "tests").rglob("test_*.py"):
        if path.is_relative_to(ROOT / "tests" / "simulation"):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                found = _NUMBERED.match(node.name)
                if found is not None and found[1] == kind:
                    yield int(found[2])


@pytest.mark.parametrize(("kind", "last"), [("a", 30), ("fact_", 15)])
def test_each_number_is_one_test(kind: str, last: int) -> None:
    assert Counter(numbered(kind)) == Counter(range(1, last + 1))
