"""Generations of routing rules in a real server: killed loaders, and what stays of the old ones in any process."""

from __future__ import annotations

import http.client
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from runtime.db import Database
from tests.harness import Server, wait_until
from tests.postgres import Postgres, locked
from tests.runtime.drouting.tables import Rows

pytestmark = pytest.mark.processes

HEAD = """
loadmodule "drouting.so"
modparam("drouting", "db_url", "%s")
modparam("drouting", "probing_interval", 0)
"""
ROUTES = """
route {
    if (dr_match(0, , $rU, $var(attrs))) sl_send_reply(200, "$var(attrs)");
    else sl_send_reply(404, "None");
    exit;
}
"""


def maps(pid: int) -> list[str]:
    """The generations that a process has in its memory: the paths of their files, and whether they are removed."""
    try:
        lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
    except OSError:
        return []
    return [line[line.index("/") :] for line in lines if "/drouting/" in line and "data.mdb" in line]


def loader(server: Server) -> int | None:
    """The process that builds a generation beside the one that is used."""
    numbers = sorted(int(path.name) for path in (server.folder / "drouting").iterdir())
    newest = f"/drouting/{numbers[-1]}/"
    found = [pid for pid in server.all_pids() if any(newest in path for path in maps(pid))]
    return found[0] if len(numbers) > 1 and found else None


def begin_reload(server: Server) -> http.client.HTTPConnection:
    connection = http.client.HTTPConnection("127.0.0.1", server.http_port, timeout=10)
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "dr_reload"})
    connection.request("POST", "/mi", body, {"Content-Type": "application/json"})
    return connection


@pytest.mark.postgresql
def test_a_killed_load_leaves_the_old_and_the_next_one_leaves_nothing_else(
    start_server: Callable[..., Server], postgres: Postgres
) -> None:
    url = postgres.new_place()
    database = Database(url)
    rows = Rows(database)
    rows.gateways("gw1")
    rows.rule("49", attrs="old")
    server = start_server(ROUTES, head=HEAD % url, options=("--udp-workers", "2", "--mi-workers", "2"))
    client = server.client()
    assert client.ask("4930").reason == "old"
    for _ in range(20):
        client.ask("4930")  # so that more than one process has it open
    with database.begin() as connection:
        connection.execute(rows.tables.rules.update().where(rows.tables.rules.c.prefix == "49").values(attrs="new"))
    database.close()

    with locked(url, "dr_groups"):  # which is read last: the load stands still there
        reload = begin_reload(server)
        os.kill(wait_until(lambda: loader(server), what="a worker loads"), signal.SIGKILL)
        assert client.ask("4930").reason == "old"
    # The command may be run again, and is, by another worker.
    assert json.loads(reload.getresponse().read())["result"] == "OK"
    reload.close()
    assert client.ask("4930").reason == "new"
    assert len(list((server.folder / "drouting").iterdir())) == 1

    def removed() -> list[str]:
        return [path for pid in server.all_pids() for path in maps(pid) if path.endswith("(deleted)")]

    wait_until(lambda: not removed(), what="nobody keeps what was removed")
