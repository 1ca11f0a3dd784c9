"""What has frozen OpenSIPS's traffic while its routing tables were loaded anew, and must not here.

See `test_must_survive_list.py`. Short here; by hand ``LAYBY_RULES=500000 LAYBY_CALLS_PER_S=500 pytest
tests/acceptance/test_must_survive_routing.py`` for the tables and the load that were reported.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sql

from tests.call_load import Call, Load
from tests.harness import Server
from tests.processes.routing_tables import RoutingTables, sqlite_url

pytestmark = pytest.mark.processes

RULES = int(os.environ.get("LAYBY_RULES", "20000"))
CALLS_PER_S = float(os.environ.get("LAYBY_CALLS_PER_S", "40"))
RELOADS = 3
RELOAD_S = 5.0 + RULES / 2000
"""What a reload may take."""

HEAD = """
loadmodule "rr.so"
loadmodule "drouting.so"
modparam("drouting", "db_url", "{url}")
modparam("drouting", "probing_interval", 1)
modparam("tm", "fr_timeout", 2)
"""
ROUTES = """
route {
    if (has_totag()) {
        loose_route();
        t_relay();
        exit;
    }
    record_route();
    if (!do_routing(0, , , $var(attrs))) {
        sl_send_reply(404, "No route");
        exit;
    }
    append_hf("X-Owner: $var(attrs)\\r\\n");
    $du = "sip:127.0.0.1:" + $hdr(X-Callee);
    t_relay();
}
"""


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    return sqlite_url(tmp_path_factory.mktemp("dr") / "routes.db")


@pytest.fixture(scope="module")
def tables(url: str) -> Iterator[RoutingTables]:
    """Many rules that lead to one gateway, and another that is probed and says nothing."""
    made = RoutingTables(url)
    made.gateway("silent", 9, probe_mode=2)
    made.gateway("there", 9)
    rules = [{"prefix": str(10_000_000 + number), "gwlist": "there", "groupid": "0"} for number in range(RULES)]
    with made.database.begin() as connection:
        connection.execute(sql.insert(made.tables.rules), rules)
    mark(made, "before")
    yield made
    made.close()


def mark(tables: RoutingTables, attrs: str) -> None:
    with tables.database.begin() as connection:
        connection.execute(sql.update(tables.tables.rules).values(attrs=attrs))


@pytest.fixture(scope="module")
def server(start_shared: Callable[..., Server], tables: RoutingTables, url: str) -> Server:
    return start_shared(ROUTES, head=HEAD.format(url=url), options=("--udp-workers", "2", "--mi-workers", "1"))


def reloaded(server: Server) -> list[tuple[float, float]]:
    """Load the tables anew some times, one after the other; when each began and when it had ended."""
    times = []
    for _ in range(RELOADS):
        began = time.monotonic()
        assert server.mi("dr_reload", timeout_s=RELOAD_S) == "OK"
        times.append((began, time.monotonic()))
    return times


def test_a20_calls_go_on_while_many_rules_are_loaded_anew(server: Server, tables: RoutingTables) -> None:
    # #2438: traffic and timers stood still until the reload had ended, and it waited for who probes gateways.
    users = tuple(str(10_000_000 + number) for number in range(0, RULES, max(1, RULES // 50)))

    async def load() -> tuple[list[Call], list[tuple[float, float]]]:
        async with Load(server.sip_port, CALLS_PER_S, users) as calls:
            await calls.until(lambda: len(calls.calls) >= CALLS_PER_S / 2, 5.0)
            mark(tables, "after")
            with ThreadPoolExecutor(1) as pool:
                reloading = pool.submit(reloaded, server)
                await calls.until(reloading.done, RELOADS * RELOAD_S)
            placed = len(calls.calls)
            await calls.until(lambda: len(calls.calls) >= placed + 5, 5.0)
            await calls.end(5.0)
            assert calls.failed() == []
            return list(calls.calls.values()), reloading.result()

    calls, times = asyncio.run(load())
    # Had they to wait for a reload, none that was placed in its first half would ring before its end.
    rang = [
        call.ringing < ended for began, ended in times for call in calls if began < call.begun < (began + ended) / 2
    ]
    assert len(rang) >= RELOADS
    assert sum(rang) > len(rang) / 2, f"{sum(rang)} of {len(rang)}"
    assert {owner for call in calls if call.begun < times[0][0] for owner in call.owners} == {"before"}
    assert {owner for call in calls if call.begun > times[0][1] for owner in call.owners} == {"after"}
