"""`benchmarks/sip.py`, short: what it measures, prints and leaves behind. Its figures are not judged here."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.acceptance.sipp import needs_sipp
from tests.harness import ROOT


def bench(*options: str, before: str = "pass") -> subprocess.CompletedProcess[str]:
    """Run it as a user would, after some Python that changes what it finds on the machine."""
    code = f"import sys; sys.path[0] = 'benchmarks'; sys.argv[1:] = {list(options)!r}; {before}; import sip"
    command = [sys.executable, "-c", f"{code}; sys.exit(sip.main())"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100)


@pytest.mark.processes
@pytest.mark.sipp
@needs_sipp
def test_every_question_is_answered_for_layby(tmp: Path) -> None:
    file = tmp / "sip.json"
    done = bench("--quick", "--only", "layby", "--seconds", "1", "--order-calls", "30", "--json", str(file))
    assert done.returncode == 0, done.stderr
    (run,) = json.loads(file.read_text())["runs"]
    assert list(run) == ["options", "calls", "order"]
    for question, calls in (("options", 500), ("calls", 100)):
        result = run[question]["layby"]
        assert (result["status"], result["succeeded"], result["failed"]) == ("ok", calls, 0)
        assert result["cpu_s"] > 0
    result = run["order"]["layby"]
    assert (result["status"], result["calls"], result["unanswered"]) == ("ok", 30, 0)
    assert done.stdout.startswith("CPU seconds for 10,000 OPTIONS")


def test_what_is_not_installed_is_a_row_that_says_so() -> None:
    before = "import shutil; shutil.which = lambda *names, **more: None"
    done = bench("--quick", "--only", "kamailio,kamailio-python", before=before)
    assert (done.returncode, done.stderr.count("missing")) == (0, 6), done.stderr
    assert done.stdout.count("not installed (Debian: kamailio)") == 6


def test_an_unknown_server_is_refused() -> None:
    done = bench("--only", "asterisk")
    assert done.returncode == 2
    assert "unknown: asterisk; there are layby, layby-native, kamailio" in done.stderr
