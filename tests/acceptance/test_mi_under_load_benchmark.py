"""`benchmarks/mi_under_load.py`, short: what it measures, prints and leaves behind. Its figures are not judged here."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.harness import ROOT


def bench(*options: str, limit_s: float = 60) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "benchmarks/mi_under_load.py", *options]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=limit_s)


@pytest.mark.processes
def test_every_call_is_accounted_for(tmp: Path) -> None:
    file = tmp / "load.json"
    load = ["--rate", "40", "--seconds", "2", "--talk", "0.5", "--warm-up", "0.2", "--rules", "300", "--runs", "1"]
    done = bench(*load, "--only", "none,launch", "--json", str(file))
    assert done.returncode == 0, done.stderr
    (run,) = json.loads(file.read_text())["runs"]
    assert list(run) == ["none", "launch"]
    for result in run.values():
        assert (result["offered"], result["completed"], result["lost"]) == (80, 80, 0)
        assert result["problems"] == []
        assert 0 < result["setup_p50_ms"] <= result["setup_p99_ms"] <= result["setup_max_ms"]
        assert {"attendant", "SIP", "MI"} <= set(result["cpu_s"])
    assert (run["none"]["pages"], run["none"]["ended"], run["none"]["ended_by_server"]) == (0, 0, 0)
    launch = run["launch"]
    assert launch["ended"] == launch["ended_by_server"] == 4
    assert launch["pages"] >= launch["sweeps"] > 0
    assert launch["sweep_seen"] > launch["skipped"] == launch["repeated"] == 0
    assert launch["reloads"] > 0
    assert launch["reload_s"] > 0
    assert "setup p99, ms" in done.stdout
    assert "times none" in done.stdout


def test_an_unknown_variant_is_refused() -> None:
    done = bench("--only", "push")
    assert done.returncode == 2
    assert "unknown: push; there are none, paging, launch, async, mi" in done.stderr
