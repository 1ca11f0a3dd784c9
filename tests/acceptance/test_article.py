"""The article's own examples, and the example scripts that come with layby."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.harness import ROOT

pytestmark = pytest.mark.processes


SNIPPETS = """
route {
    if ($rU == "simple") {
        # reload Dynamic Routing module, the extensions partition
        mi("dr_reload extensions");
    } else {
        # list first 10 dialogs, paginated
        $avp(attrs) = "index";
        $avp(vals) = "0";
        $avp(attrs) = "counter";
        $avp(vals) = "10";
        mi("dlg_list",,$avp(attrs), $avp(vals));
    }
    sl_send_reply(200, "$rc");
}
"""


def test_fact_04_the_articles_snippets_run_as_they_stand(start_server) -> None:
    server = start_server(SNIPPETS)
    client = server.client()
    # Modules drouting and dialog are not there, and the script is told so by $rc rather than stopped.
    assert client.ask("simple").reason == "-1"
    assert client.ask("paged").reason == "-1"


@pytest.mark.parametrize("script", sorted((ROOT / "examples").glob("*.cfg")), ids=lambda path: path.name)
def test_every_example_is_right(script: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "runtime", "run", "-C", str(script)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert (done.returncode, done.stderr) == (0, "")
