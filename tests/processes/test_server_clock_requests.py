"""A real server asks its gateways whether they are there: requests of startup and timer routes, and what they say."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import pytest

from tests.harness import Server, wait_until
from tests.sip_peer import Peer, Received

pytestmark = pytest.mark.processes

HEAD = """
modparam("tm", "fr_timeout", 1)
modparam("tm", "T1_timer", 200)
"""
ROUTES = """
startup_route {{
    t_new_request("OPTIONS", "sip:start@127.0.0.1:{port}", "sip:us@here", "sip:you@there", , "startup");
    if (!t_new_request("OPTIONS", "no uri", "sip:us@here", "sip:you@there"))
        cache_store("local", "bad", "refused");
}}
timer_route[health, 1] {{
    t_new_request("OPTIONS", "sip:gw@127.0.0.1:{port}", "sip:us@here", "sip:you@there", "text/plain héy", "gateway 1");
}}
timer_route[dialog, 1] {{
    $avp(names) := "method";
    $avp(names) = "ruri";
    $avp(names) = "headers";
    $avp(values) := "OPTIONS";
    $avp(values) = "sip:dlg@127.0.0.1:{port}";
    $avp(values) = "From: <sip:us@here>\r\nTo: <sip:you@there>\r\n";
    async(mi("t_uac_dlg", $var(told), $avp(names), $avp(values)), told);
}}
route[told] {{ cache_store("local", "dialog $rc", "$var(told)"); }}
local_route {{
    append_hf("X-From: $avp(uac_ctx) in $route.type\\r\\n");
    t_on_reply("answered");
    t_on_failure("down");
}}
onreply_route {{ cache_store("local", "every reply", "$rs"); }}
onreply_route[answered] {{ cache_store("local", "$(<request>avp(uac_ctx))", "up $rs"); }}
failure_route[down] {{
    if (!t_relay()) cache_store("local", "$avp(uac_ctx)", "down $T_reply_code");
}}
"""


@pytest.fixture(scope="module")
def gateway() -> Iterator[Peer]:
    one = Peer(0)
    yield one
    one.close()


@pytest.fixture(scope="module")
def server(start_shared: Callable[..., Server], gateway: Peer) -> Server:
    return start_shared(
        ROUTES.format(port=gateway.port), head=HEAD, options=("--udp-workers", "2", "--mi-workers", "1")
    )


def fetched(server: Server, name: str) -> str:
    """A stored value; empty while there is none."""
    call = {"jsonrpc": "2.0", "id": 1, "method": "cache_fetch", "params": ["local", name]}
    return str(server.rpc(json.dumps(call)).get("result", {}).get("value", ""))


def asked(gateway: Peer, user: str) -> Received:
    """A request to that user which has not been answered yet."""
    return gateway.wait(lambda m: m.ruri.startswith(f"sip:{user}@"), what=f"OPTIONS sip:{user}@")


def test_a_startup_route_sends_though_no_sip_process_is_there_yet(server: Server, gateway: Peer) -> None:
    arrived = asked(gateway, "start")
    gateway.reply(arrived, 200)
    assert arrived.header("X-From") == "startup in local_route"
    wait_until(lambda: fetched(server, "startup") == "up 200", what="its reply is seen")
    assert fetched(server, "bad") == "refused"


def test_a_timer_route_learns_who_is_there(server: Server, gateway: Peer) -> None:
    arrived = asked(gateway, "gw")
    assert (arrived.header("X-From"), arrived.body) == ("gateway 1 in local_route", "héy".encode().decode("latin-1"))
    gateway.reply(arrived, 200)
    wait_until(lambda: fetched(server, "gateway 1") == "up 200", what="the gateway is up")
    wait_until(lambda: fetched(server, "gateway 1") == "down 408", what="it does not answer any more")

    def refused() -> bool:
        gateway.reply(asked(gateway, "gw"), 503)
        return fetched(server, "gateway 1") == "down 503"

    wait_until(refused, what="it has no room")
    assert fetched(server, "every reply") == "", "a reply to a request of our own is for the route that was armed"


def test_a_timer_route_may_wait_for_the_answer(server: Server, gateway: Peer) -> None:
    def told() -> str:
        gateway.reply(asked(gateway, "dlg"), 486, "Busy Here")
        return fetched(server, "dialog 1")

    wait_until(lambda: "Busy Here" in told(), what="the answer is told")
    answer = json.loads(fetched(server, "dialog 1"))
    assert answer["Status"] == "486 Busy Here"


def test_nothing_went_wrong_unseen(server: Server) -> None:
    assert "Traceback" not in server.log()
