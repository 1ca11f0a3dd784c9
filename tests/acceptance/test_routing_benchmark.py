"""`benchmarks/routing.py`, short: what it measures, prints and leaves behind. Its figures are not judged here."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.harness import ROOT


@pytest.mark.processes
def test_both_tables_have_their_figures(tmp: Path) -> None:
    file = tmp / "routing.json"
    options = ["--rules", "100", "2000", "--load", "2000", "--lookups", "500", "--database", "sqlite"]
    command = [sys.executable, "benchmarks/routing.py", *options, "--json", str(file)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    found = json.loads(file.read_text())
    assert [one["rules"] for one in found["lookups"]] == [100, 2000]
    assert all(0 < one["get_p50"] < one["p50"] <= one["p99"] for one in found["lookups"])
    (load,) = found["loads"]
    assert (load["database"], load["rules"]) == ("sqlite", 2000)
    assert "2000 rules: a look-up takes" in done.stdout
