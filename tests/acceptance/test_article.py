"""The article's own examples, and the example scripts that come with layby."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.harness import ROOT, Server
from tests.processes.routing_tables import RoutingTables, sqlite_url

pytestmark = pytest.mark.processes


HEAD = """
loadmodule "dialog.so"
loadmodule "drouting.so"
modparam("drouting", "use_partitions", 1)
modparam("drouting", "db_partitions_url", "{url}")
"""
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


@pytest.fixture
def head(tmp: Path) -> str:
    """What the snippets need: routing tables with a partition called extensions, and dialogs."""
    url = sqlite_url(tmp / "routes.db")
    tables = RoutingTables(url)
    tables.partition("extensions", db_url=url)
    tables.close()
    return HEAD.format(url=url)


def test_fact_04_the_articles_snippets_run_as_they_stand(start_server: Callable[..., Server], head: str) -> None:
    # OpenSIPS 3.6 refuses the first one: it does not know which one parameter is meant.
    client = start_server(SNIPPETS, head=head).client()
    assert client.ask("simple").reason == "1"
    assert client.ask("paged").reason == "1"


def test_where_their_modules_are_not_there_the_script_is_told(start_server: Callable[..., Server]) -> None:
    client = start_server(SNIPPETS).client()
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
