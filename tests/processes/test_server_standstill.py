"""Two SIP processes that wait for each other's answer on a script's stack: neither waits in a circle."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.harness import Server, wait_until
from tests.sip_peer import Peer, Received

pytestmark = pytest.mark.processes

HEAD = 'modparam("mi_script", "timeout", 20)\n'
ROUTES = """
route {
    if ($rU != "asks") { sl_send_reply(200, "OK"); exit; }
    $avp(n) = "method"; $avp(v) = "MESSAGE";
    $avp(n) = "ruri"; $avp(v) = "sip:peer@127.0.0.1:" + $hdr(X-To);
    $avp(n) = "headers"; $avp(v) = "From: <sip:us@here>\\r\\nTo: <sip:you@there>\\r\\n";
    mi("t_uac_dlg", $var(r), $avp(n), $avp(v));
    sl_send_reply(200, "$rc $var(r)");
}
"""


@pytest.fixture(scope="module")
def server(start_shared: Callable[..., Server]) -> Server:
    return start_shared(ROUTES, head=HEAD, options=("--udp-workers", "2", "--mi-workers", "1"))


def asks(caller: Peer, callee: Peer) -> str:
    text = caller.request("OPTIONS", f"sip:asks@127.0.0.1:{caller.server[1]}", extra=f"X-To: {callee.port}\r\n")
    caller.send(text)
    return Received(text, ("", 0)).call_id


def test_who_would_ask_one_that_waits_itself_is_told_so_and_both_go_on(
    server: Server, peers: tuple[Peer, Peer, Peer]
) -> None:
    one, other, callee = peers
    first = asks(one, callee)
    arrived = callee.wait_request("MESSAGE")
    # Whoever took the first request stands still, so the other process takes this one, and would ask the first.
    second = asks(other, callee)
    told = other.wait_reply(second, 200)
    assert told.start.startswith("SIP/2.0 200 -500 ")
    callee.reply(arrived, 200)
    assert one.wait_reply(first, 200).start.startswith("SIP/2.0 200 1 ")


def test_the_mi_process_does_not_wait_for_itself(start_server: Callable[..., Server], tmp_path: Path) -> None:
    head = f"""
        loadmodule "usrloc.so"
        modparam("usrloc", "db_mode", 2)
        modparam("usrloc", "db_url", "sqlite:///{tmp_path}/ul.db")
    """
    startup = """
        startup_route { mi("ul_flush", $var(r)); cache_store("local", "told", "$rc $mi(data)"); }
        route { sl_send_reply(200, "OK"); }
    """
    server = start_server(startup, head=head, options=("--udp-workers", "1", "--mi-workers", "1"))

    def told() -> str:
        answer = server.rpc('{"jsonrpc": "2.0", "id": 1, "method": "cache_fetch", "params": ["local", "told"]}')
        return str(answer.get("result", {}).get("value", ""))

    assert wait_until(told) == "-500 the MI process waits for an answer itself"
