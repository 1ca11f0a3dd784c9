"""`layby demo`, short: the real server, the real load, the files that it leaves. Its figures are not judged here."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.harness import ROOT

pytestmark = pytest.mark.processes


def test_the_demo_drives_a_real_server_in_four_ways_and_loses_nothing(tmp) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "runtime", "demo", "--rate", "200", "--seconds", "1.5", "--out", str(tmp / "out")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode in (0, 1), done.stderr
    figures = json.loads((tmp / "out" / "layby-demo.json").read_text())
    runs = {run["flavour"]: run for run in figures["figures"]}
    assert list(runs) == ["none", "mi", "async", "launch"]
    for run in runs.values():
        assert (run["lost"], run["refused"]) == (0, 0)
        assert run["fast"]["count"] + (run["slow"]["count"] if run["slow"] else 0) == 300
    picture = (tmp / "out" / "layby-demo.png").read_bytes()
    assert picture.startswith(b"\x89PNG")
    assert str(tmp / "out" / "layby-demo.png").split("/")[-1] in done.stdout
