"""What takes longer, or more, than a script allows is told: in the log, and to whoever listens."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.dns_server import DnsServer
from tests.harness import Server, wait_until
from tests.processes.listeners import Listener

pytestmark = pytest.mark.processes

ROUTES = """
loadmodule "event_datagram.so"
route {
    if ($rU == "quick") { sl_send_reply(200, "OK"); exit; }
    if ($rU == "slow") {
        route(sleepy);
        sl_send_reply(200, "OK");
        exit;
    }
    if ($rU == "parked") { async(mi("bench_wait 1"), resumed); exit; }
    t_relay();
}
route[resumed] {
    mi("bench_sleep 60");
    t_reply(200, "OK");
}
event_route[E_CORE_SHM_THRESHOLD] { xlog("L_ERR", "USED $param(usage) OF $param(threshold)\\n"); }
event_route[E_LAZY] { mi("bench_sleep 60"); }
import_file "sleepy.cfg"
"""
SLEEPY = """
route[sleepy] {
    $var(x) = 1;
    mi("bench_sleep 60");
}
"""


@pytest.fixture(scope="module")
def dns() -> Iterator[DnsServer]:
    with DnsServer() as server:
        yield server


@pytest.fixture(scope="module")
def server(start_shared: Callable[..., Server], dns: DnsServer, tmp_path_factory: pytest.TempPathFactory) -> Server:
    sleepy = tmp_path_factory.mktemp("included") / "sleepy.cfg"
    sleepy.write_text(SLEEPY)
    head = f"""
    exec_msg_threshold = 30000
    exec_dns_threshold = 20000
    event_shm_threshold = 1
    dns_servers = "127.0.0.1:{dns.port}"
    dns_try_naptr = no
    """
    routes = ROUTES.replace("sleepy.cfg", str(sleepy))
    return start_shared(routes, head=head, options=("--udp-workers", "1", "--mi-workers", "1"))


@pytest.fixture
def listener(server: Server) -> Iterator[Listener]:
    one = Listener()
    assert server.mi("event_subscribe", ["E_CORE_THRESHOLD", one.name]) == "OK"
    yield one
    server.mi("event_subscribe", ["E_CORE_THRESHOLD", one.name, 0])
    one.socket.close()


def told_of(listener: Listener, text: str) -> dict[str, Any]:
    """What is told of that; on a busy machine other things take too long, too."""
    while text not in (params := listener.hears()["params"])["extra"]:
        pass
    return dict(params)


def line_of(path: Path, text: str) -> int:
    return 1 + next(at for at, line in enumerate(path.read_text().split("\n")) if text in line)


def test_a_route_that_takes_too_long_is_told_of_with_the_statement_it_stood_at(
    server: Server, listener: Listener
) -> None:
    client = server.client()
    client.ask("quick")
    client.ask("slow")

    params = told_of(listener, "/sleepy.cfg:4 mi() [OPTIONS ")  # in the file that is included
    assert params["source"] == "msg processing"
    assert 60_000 <= params["time"] < 10_000_000
    said = f"threshold exceeded: msg processing took {params['time']} us: {params['extra']}"
    wait_until(lambda: said in server.log(), what=said)
    assert server.statistic("core:slow_messages") > 0


def test_a_route_that_goes_on_after_a_job_has_the_same_limit(server: Server, listener: Listener) -> None:
    server.client().ask("parked", "MESSAGE")

    line = line_of(server.script, 'mi("bench_sleep 60");')
    assert "[MESSAGE " in told_of(listener, f"{server.script.name}:{line} ")["extra"]


def test_a_slow_event_route_is_only_logged(server: Server, listener: Listener) -> None:
    slow = f"{server.script.name}:{line_of(server.script, 'event_route[E_LAZY]')} "
    server.mi("raise_event", ["E_LAZY"])

    wait_until(lambda: slow in server.log(), what="it is logged")
    assert server.mi("raise_event", ["E_CORE_THRESHOLD", '{"extra":"last"}']) == "OK"
    while (extra := listener.hears()["params"]["extra"]) != "last":
        assert slow not in extra


def test_dns_that_takes_too_long_is_told_of(server: Server, dns: DnsServer, listener: Listener) -> None:
    dns.delay_s = 0.05
    server.client().send(relayed(server))

    params = told_of(listener, "slow.test")
    dns.delay_s = 0.0
    assert params["source"] == "dns"
    assert params["time"] >= 50_000
    assert server.statistic("dns:dns_total_queries") >= server.statistic("dns:dns_slow_queries") > 0


def relayed(server: Server) -> bytes:
    """A request to a name that DNS has to be asked for."""
    _, data = server.client().request("bob", "OPTIONS")
    return data.replace(f"sip:bob@127.0.0.1:{server.sip_port} ".encode(), b"sip:bob@slow.test ", 1)


def test_what_processes_share_is_told_of_when_it_is_fuller_than_it_may_be(server: Server) -> None:
    for number in range(8):
        server.mi("cache_store", ["local", f"k{number}", "x" * 1_000_000])

    wait_until(lambda: "OF 1" in server.log(), what="the event route ran")
    assert "USED 1 " not in server.log()
