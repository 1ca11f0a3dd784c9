"""`benchmarks/verify_planted.py`, for one bug in a script and one in a server: both are found, and told in a line."""

import subprocess
import sys

import pytest

from tests.harness import ROOT

pytestmark = pytest.mark.processes


def test_a_bug_of_either_kind_is_found() -> None:
    command = [sys.executable, "benchmarks/verify_planted.py", "uncalled", "ignores_deadlines"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)

    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    [_, script, server] = done.stdout.splitlines()
    assert script.split()[:2] == ["uncalled", "unreachable:14"]
    assert server.split()[0] == "ignores_deadlines"
    assert "resumed-late:12" in server
