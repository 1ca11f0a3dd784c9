"""README.md: what it shows of scripts is what comes out."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.harness import ROOT

pytestmark = pytest.mark.processes

SECTION = (ROOT / "README.md").read_text().partition("\n## Scripts\n")[2].partition("\n## ")[0]


def block(language: str) -> str:
    [found] = re.findall(rf"```{language}\n(.*?)```", SECTION, re.DOTALL)
    return str(found)


def test_the_checker_prints_what_is_shown(tmp_path: Path) -> None:
    (tmp_path / "calls.cfg").write_text(block("c"))
    command = [
        sys.executable,
        "-c",
        f"import sys; sys.path.insert(0, {str(ROOT)!r}); from runtime.cli import main; main()",
    ]
    done = subprocess.run([*command, "check", "calls.cfg"], cwd=tmp_path, capture_output=True, text=True, timeout=30)
    assert done.stdout == block("text")
    assert done.returncode == 1


def test_the_script_in_python_counts_the_calls(start_server) -> None:
    _, _, script = block("python").partition("module(name)\n")
    server = start_server('module("dialog")\n' + script, python=True)
    assert server.client().ask("x").reason == "0 calls"
