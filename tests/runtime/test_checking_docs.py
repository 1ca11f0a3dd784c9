"""docs/checking.md: every kind of problem is in it, and each example has that problem and no other."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest

from runtime.checking import problems_of
from runtime.modules.catalog import CATALOG
from runtime.script.problems import WARNINGS, ErrorCode

DOC = (Path(__file__).parent.parent.parent / "docs" / "checking.md").read_text()
SECTIONS = re.findall(r"^### `([a-z-]+)`\n(.*?)\n```(?:opensips|python)\n(.*?)```\n", DOC, re.DOTALL | re.MULTILINE)
CODES = WARNINGS | frozenset(get_args(ErrorCode))
EXAMPLES = {code: example for code, _, example in SECTIONS}
PYTHON = "from runtime.pyscript import Call, module, route\nmodule('mi_script')\n"
_AT_THE_TOP = re.compile(r"^(\w*route\b|loadmodule|modparam|include_file|\w+\s*=)", re.MULTILINE)


def script_of(example: str) -> str:
    """The script that the page says an example is a part of."""
    if "@route" in example:
        return PYTHON + example
    loads = "" if "loadmodule" in example else "".join(f'loadmodule "{name}.so"\n' for name in CATALOG)
    if not _AT_THE_TOP.search(example):
        return f"{loads}route {{\n{example}}}\n"
    return loads + example


@pytest.fixture
def codes_of(tmp_path):
    """The codes of a script's problems. A part without a request route gets one, unless that is the point."""

    def find(script: str, code: str) -> set[str]:
        python = script.startswith(PYTHON[:4])
        if not python and code != "no-request-route" and not re.search(r"^route \{", script, re.MULTILINE):
            script += "route { exit; }\n"
        path = tmp_path / ("part.py" if python else "part.cfg")
        path.write_text(script)
        return {problem.code for problem in problems_of(path)}

    return find


def test_every_code_has_a_paragraph_and_an_example_under_its_severity():
    errors, warnings = DOC.split("\n## Warnings")
    named = [re.findall(r"^### `([a-z-]+)`$", part, re.MULTILINE) for part in (errors, warnings)]
    assert sorted(named[0] + named[1]) == sorted(CODES)
    assert set(named[1]) == WARNINGS
    assert EXAMPLES.keys() == CODES
    assert all(paragraph.strip() for _, paragraph, _ in SECTIONS)


@pytest.mark.parametrize("code", sorted(CODES))
def test_an_example_has_its_problem_and_no_other(code, codes_of):
    assert codes_of(script_of(EXAMPLES[code]), code) == {code}


@pytest.mark.parametrize("code", sorted(WARNINGS - {"no-request-route"}))
def test_a_warning_is_silenced_where_its_line_says_so(code, codes_of):
    lines = script_of(EXAMPLES[code]).splitlines()
    silenced = "".join(f"{line} # layby: ignore[{code}]\n" for line in lines)
    assert codes_of(silenced, code) == set()
    other = "".join(f"{line} # layby: ignore[syntax]\n" for line in lines)
    assert codes_of(other, code) == {code}


@pytest.mark.parametrize("code", ["unknown-function", "missing-resume-route", "wrong-arity"])
def test_an_error_cannot_be_ignored(code, codes_of):
    script = "".join(f"{line} # layby: ignore[{code}, syntax]\n" for line in script_of(EXAMPLES[code]).splitlines())
    assert codes_of(script, code) == {code}


@pytest.mark.parametrize(
    "comment", ["# layby: ignore[never-runs] why not", "# layby: ignore", "# layby:ignore[nothing]"]
)
def test_what_is_not_quite_such_a_comment_silences_nothing(comment, codes_of):
    assert codes_of(f"route {{\nexit;\nroute(a); {comment}\n}}\nroute[a] {{ exit; }}\n", "never-runs") == {"never-runs"}
