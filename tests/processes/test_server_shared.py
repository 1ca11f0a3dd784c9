"""What all processes share with scripts, and what the command line and the global parameters tell them."""

from __future__ import annotations

import json
import resource
from collections.abc import Callable

import pytest

from tests.harness import Server, wait_until
from tests.sip_peer import Peer

pytestmark = pytest.mark.processes

HEAD = """
stderror_log_format="json"
log_prefix="mine"
user_agent_header="layby test"
open_files_limit=300
loadmodule "cfgutils.so"
modparam("cfgutils", "shvset", "greeting=s:hello")
modparam("cfgutils", "varset", "started=i:7")
"""
ROUTES = """
startup_route { $shv(begun) = 1; }
route {
    if ($rU == "say") { $shv(said) = $hdr(X-Word); xlog("L_ERR", "said $shv(said)"); }
    if ($rU == "loud") $log_level = 4;
    if ($rU == "usual") $log_level = NULL;
    if ($rU == "send") t_new_request("OPTIONS", "sip:peer@127.0.0.1:$hdr(X-Port)", "sip:a@h", "sip:b@h");
    cache_add("local", "asked", 1, 0, $var(asked));
    append_to_reply("X-Shared: $shv(greeting) $shv(said) $shv(begun) $shv(none)\\r\\n");
    append_to_reply("X-Told: $argv(city) $argv(none) $var(started) $log_level $var(asked) $pp\\r\\n");
    sl_send_reply(200, "OK");
}
"""


@pytest.fixture(scope="module")
def server(start_shared: Callable[..., Server]) -> Server:
    options = ("--udp-workers", "3", "--mi-workers", "1", "-o", "city=Berlin")
    return start_shared(ROUTES, head=HEAD, options=options)


def told(server: Server, user: str = "ask", **more: str) -> tuple[list[str], list[str]]:
    answer = server.client().ask(user, **more)
    return answer.header("X-Shared").split(" "), answer.header("X-Told").split(" ")


def test_a_shared_variable_is_the_same_in_every_process(server: Server) -> None:
    wait_until(lambda: told(server)[0][2] == "1", what="the startup route")
    assert told(server)[0] == ["hello", "0", "1", "0"]
    assert server.mi("shv_set", ["said", "str", "word"]) == "OK"
    assert [told(server)[0][1] for _ in range(6)] == ["word"] * 6
    assert server.mi("shv_get", ["begun"]) == {"VAR": {"name": "begun", "type": "integer", "value": 1}}


def test_a_counter_counts_in_all_processes_together(server: Server) -> None:
    first = int(told(server)[1][4])
    assert [int(told(server)[1][4]) - first for _ in range(5)] == [1, 2, 3, 4, 5]


def test_the_command_line_and_the_parameters_tell_scripts(server: Server) -> None:
    assert told(server)[1][:3] == ["Berlin", "<null>", "7"]


def test_a_script_changes_the_level_of_its_process(server: Server) -> None:
    loud = told(server, "loud")[1]
    assert loud[3] == "4"
    levels = {row["PID"]: row["Log level"] for row in server.mi("log_level")["Processes"]}
    assert levels[int(loud[5])] == 4
    assert sorted(levels.values())[-2] == 3
    server.mi("log_level", [3])
    assert {row["Log level"] for row in server.mi("log_level")["Processes"]} == {3}


def test_log_lines_are_objects_with_the_prefix(server: Server) -> None:
    server.client().ask("say", extra="X-Word: aloud\r\n")

    def line() -> dict[str, str] | None:
        found = [json.loads(text) for text in server.log().splitlines() if text.startswith("{")]
        return next((one for one in found if one["message"] == "said aloud"), None)

    wait_until(line, what="the line")
    found = line()
    assert found is not None
    assert (found["level"], found["prefix"]) == ("ERROR", "mine")


def test_requests_of_the_servers_own_name_it(server: Server) -> None:
    peer = Peer(server.sip_port)
    try:
        server.client().ask("send", extra=f"X-Port: {peer.port}\r\n")
        request = peer.wait_request("OPTIONS")
        peer.reply(request, 200)
        assert request.header("User-Agent") == "layby test"
    finally:
        peer.close()


def test_processes_may_hold_as_many_files_as_are_asked_for(server: Server) -> None:
    soft, _ = resource.prlimit(server.all_pids()[1], resource.RLIMIT_NOFILE)
    own, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert soft >= max(300, own if own != resource.RLIM_INFINITY else 300)
