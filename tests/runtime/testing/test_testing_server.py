"""The fixtures as users have them: a real server of any script, on ports of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from runtime.testing import Peer, Server, wait_until

pytestmark = pytest.mark.processes

SCRIPT = """
socket=udp:192.0.2.1:5060
loadmodule "proto_udp.so"
loadmodule "sl.so"
loadmodule "tm.so"
loadmodule "httpd.so"
modparam("httpd", "port", 8888)
loadmodule "mi_script.so"
loadmodule "sipmsgops.so"

route {
    xlog("asked by $rm\\n");
    if ($rU == "slow") async(mi("uptime", $var(answer)), done);
    sl_send_reply(200, "Fine");
}
route[done] {
    append_to_reply("X-Rc: $rc\\r\\n");
    t_reply(200, "Done");
}
"""
SMALL = ("--udp-workers", "1", "--mi-workers", "1")


@pytest.fixture(scope="module")
def server(layby_shared_server) -> Server:
    return layby_shared_server(SCRIPT, options=SMALL)


def test_it_answers_sip_and_tells_of_itself(server: Server) -> None:
    before = server.statistic("core:rcv_requests")
    answer = server.peer().ask("OPTIONS", "bob")
    assert (answer.status, answer.reason, answer.method) == (200, "Fine", "OPTIONS")
    assert server.statistic("core:rcv_requests") == before + 1
    wait_until(lambda: server.log_lines(r"asked by OPTIONS$"), what="the script's line is in the log")
    assert server.running
    assert len(server.pids("SIP")) == 1
    assert set(server.pids("SIP")) < set(server.all_pids())


def test_a_request_that_is_parked_has_its_answer(server: Server) -> None:
    answer = server.peer().ask("MESSAGE", "slow", body="hello")
    assert (answer.reason, answer.header("X-Rc")) == ("Done", "1")


def test_its_commands_are_known_with_what_they_take(server: Server) -> None:
    commands = server.commands()
    assert commands["uptime"] == [[]]
    assert ["command"] in commands["which"]
    assert len(commands) > 20
    assert server.mi_error("nosuch")["code"] == -32601
    with pytest.raises(AssertionError, match="-32601"):
        server.mi("nosuch")


def test_phones_call_each_other_through_it(server: Server) -> None:
    one, other = server.peer(), server.peer()
    assert one.port != other.port
    assert isinstance(one, Peer)
    one.send(one.request("OPTIONS", f"sip:x@127.0.0.1:{server.sip_port}", call_id="ours"))
    assert one.wait_final("ours").header("From").endswith("tag=fours")
    other.nothing(lambda message: True, for_s=0.02)


def test_of_a_file_with_what_lies_beside_it(layby_server, tmp_path: Path) -> None:
    (tmp_path / "answer.cfg").write_text('sl_send_reply(200, "Included");')
    script = tmp_path / "main.cfg"
    script.write_text('loadmodule "proto_udp.so"\nloadmodule "sl.so"\nroute {\n    include_file "answer.cfg"\n}\n')
    server = layby_server(script, options=SMALL)
    assert server.script == script
    assert server.peer().ask("OPTIONS", "x").reason == "Included"
    (tmp_path / "answer.cfg").write_text('sl_send_reply(200, "Reloaded");')
    assert server.mi("reload_routes") == "OK"
    assert server.peer().ask("OPTIONS", "x").reason == "Reloaded"
    assert server.stop() == 0


def test_of_a_script_in_python(layby_server) -> None:
    text = """
from runtime.pyscript import Call, module, route

for name in ("proto_udp", "sl"):
    module(name)

@route.request
def main(call: Call) -> None:
    call.sl_send_reply(200, "Python")
"""
    assert layby_server(text, language="py", options=SMALL).peer().ask("OPTIONS", "x").reason == "Python"


def test_of_a_script_whose_mi_asks_for_a_token(layby_server, tmp_path: Path) -> None:
    secret = tmp_path / "token"
    secret.touch(0o600)
    secret.write_text("0123456789abcdefghij")
    script = f'{SCRIPT}loadmodule "mi_http.so"\nmodparam("mi_http", "token_file", "{secret}")\n'
    server = layby_server(script, token=secret.read_text(), options=SMALL)
    assert server.mi("uptime")["Now"]
    assert server.parked() == 0
    server.token = "another"
    with pytest.raises(pytest.fail.Exception, match=r"MI answers HTTP Error 401: .*token=…"):
        server.answers()


def test_a_script_that_is_wrong_fails_the_test_with_what_is_wrong(layby_server) -> None:
    with pytest.raises(pytest.fail.Exception, match=r"unknown function sl_send\(\)"):
        layby_server('loadmodule "proto_udp.so"\nroute { sl_send(200, "OK"); }')


def test_a_server_that_was_killed_is_not_running(layby_server) -> None:
    server = layby_server(SCRIPT, options=SMALL)
    os.kill(server.process.pid, signal.SIGKILL)
    assert server.wait() == -signal.SIGKILL
    assert not server.running
    assert not server.answers()


def test_a_session_without_the_fixtures_loads_nothing_for_them() -> None:
    code = "import pytest, sys; old = {*sys.modules}; import runtime.testing.plugin; print(*{*sys.modules} - old)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30)
    assert set(done.stdout.split()) == {"runtime", "runtime.testing", "runtime.testing.plugin"}


@pytest.mark.parametrize("wrong", ["8888", "127.0.0.1:", "127.0.0.1:99999", ":80"])
def test_where_mi_is_to_be_had_is_an_address_with_its_port(tmp_path: Path, wrong: str) -> None:
    script = tmp_path / "a.cfg"
    script.write_text("route { exit; }")
    command = [sys.executable, "-m", "runtime", "run", str(script), "--check", "--mi-http", wrong]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert (done.returncode, f"{wrong} is not HOST:PORT" in done.stderr) == (2, True)
