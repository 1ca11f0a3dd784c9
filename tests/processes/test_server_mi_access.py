"""Who may run which MI command: each way in has its own settings."""

from __future__ import annotations

import json

import pytest

from runtime.mi_client import Refused, call
from runtime.mi_wire import Fifo, UnixDatagram
from tests.harness import Server, wait_until

pytestmark = pytest.mark.processes

ROUTES = """
route {
    if ($rU == "sync") { mi("kill", $var(r)); sl_send_reply(200, "$rc $var(r)"); exit; }
    if ($rU == "async") async(mi("kill", $var(r)), done);
    if ($rU == "gather") async(mi_gather("pwd; kill", $var(r)), done);
    if ($rU == "gathered") { mi_gather("pwd; kill", $var(r)); sl_send_reply(200, "$rc $var(r)"); exit; }
    if ($rU == "launch") { launch(mi("kill"), reported); sl_send_reply(200, "OK"); exit; }
    sl_send_reply(200, "OK");
}
route[done] { t_reply(200, "$rc $var(r)"); }
route[reported] { cache_store("local", "reported", "$rc"); }
"""
HEAD = """
loadmodule "mi_fifo.so"
loadmodule "mi_datagram.so"
modparam("mi_fifo", "fifo_name", "{tmp}/fifo")
modparam("mi_fifo", "reply_dir", "{tmp}")
modparam("mi_fifo", "allow", "uptime, which")
modparam("mi_fifo", "allow", "bench_sleep")
modparam("mi_datagram", "socket_name", "{tmp}/mi.sock")
modparam("mi_datagram", "deny", "bench:*")
modparam("mi_http", "deny", "kill")
modparam("mi_script", "deny", "kill")
"""
DENIED = "Server error: Command 'kill' is denied here"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("mi")


@pytest.fixture(scope="module")
def server(start_shared, folder) -> Server:
    return start_shared(ROUTES, head=HEAD.format(tmp=folder), options=("--udp-workers", "2", "--mi-workers", "1"))


@pytest.mark.parametrize("user", ["sync", "async"])
def test_a_script_is_told_what_it_may_not_run(server: Server, user) -> None:
    jobs = sum(row["Jobs done"] for row in server.mi("worker_list")["Workers"])
    assert server.client().ask(user).reason == f"-403 {DENIED}"
    assert sum(row["Jobs done"] for row in server.mi("worker_list")["Workers"]) == jobs


@pytest.mark.parametrize("user", ["gather", "gathered"])
def test_of_several_commands_those_run_that_may(server: Server, user) -> None:
    rc, _, text = server.client().ask(user).reason.partition(" ")
    first, second = json.loads(text)
    assert (rc, set(first["result"]), second["error"]["code"]) == ("-403", {"WD"}, -32000)


def test_the_report_of_a_launch_says_so(server: Server) -> None:
    server.client().ask("launch")
    fetch = '{"jsonrpc":"2.0","id":1,"method":"cache_fetch","params":["local","reported"]}'
    wait_until(lambda: server.rpc(fetch).get("result", {}).get("value") == "-403")


def test_each_transport_has_its_own_rules_and_counts(server: Server, folder) -> None:
    before = {name: server.statistic(f"{name}:denied") for name in ("mi", "mi_fifo", "mi_datagram", "mi_http")}
    refused = {"code": -32000, "message": "Server error", "data": "Command 'kill' is denied here"}
    for _ in range(3):
        assert server.mi_error("kill") == refused
    assert server.mi_error("log_level", [1, 2, 3])["code"] == -32602
    fifo, unix = Fifo(folder / "fifo", folder), UnixDatagram(folder / "mi.sock")
    with pytest.raises(Refused, match="Command 'ps' is not among those allowed here"):
        call(fifo, "ps", [], 5.0)
    assert call(fifo, "bench_sleep", ["1"], 5.0) == {"slept_ms": 1}
    with pytest.raises(Refused, match="Command 'bench_sleep' is denied here"):
        call(unix, "bench_sleep", ["1"], 5.0)
    assert "Processes" in call(unix, "ps", [], 5.0)
    after = {name: server.statistic(f"{name}:denied") - count for name, count in before.items()}
    assert after == {"mi": 5, "mi_fifo": 1, "mi_datagram": 1, "mi_http": 3}
    # What is denied is not hidden, and a flood of refusals is one line of the log.
    assert "kill" in call(fifo, "which", [], 5.0)
    wait_until(lambda: server.log().count("mi_http: Command 'kill' is denied here") == 1)


def test_a_name_that_no_command_has_keeps_a_server_from_starting(start_server) -> None:
    server = start_server("route { exit; }", head='modparam("mi_http", "deny", "kill, uptme")\n', ready=False)
    assert server.wait(30) == 1
    assert 'parameter deny of module mi_http: there is no MI command uptme (did you mean "uptime"?)' in server.log()
    assert f"{server.script}:" in server.log()
