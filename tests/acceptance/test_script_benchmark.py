"""`benchmarks/script.py`, short: what it measures, prints and leaves behind."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.harness import ROOT


def bench(*options: str) -> str:
    """Run it as a user would; what it prints."""
    command = [sys.executable, "benchmarks/script.py", *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.processes
def test_every_table_has_its_figures(tmp: Path) -> None:
    file = tmp / "script.json"
    shown = bench("--runs", "5", "--json", str(file))
    found = json.loads(file.read_text())
    assert list(found) == ["route", "constructs", "parking"]
    assert found["route"]["python"]["best_ns"] > 0
    # The goal is 2 at most; a busy machine may disturb the one and not the other.
    assert found["route"]["ratio"] < 3
    assert len(found["constructs"]) > 20
    assert found["parking"]["parked_us"] > 0
    assert "script : Python" in shown


def test_the_compiled_code_can_be_read() -> None:
    assert bench("--code").startswith("# benchmark.cfg\ndef route(c):\n")
