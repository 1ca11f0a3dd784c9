"""The example scripts as tests run them, and a caller's steps."""

from __future__ import annotations

import re
from collections.abc import Mapping

from runtime.testing.calls import Side
from tests.harness import HEAD, ROOT, Server, wait_until
from tests.sip_peer import Peer, Received

_LOADED = re.findall(r'loadmodule "[a-z_]+\.so"', HEAD)


def example(name: str, ports: Mapping[int, int] | None = None) -> str:
    """An example's text, without what the tests' own head sets: workers, sockets, the HTTP port and some modules.

    Args:
        name: the file's name without ``.cfg``.
        ports: for each port of 127.0.0.1 that the script names, the one that it is to name instead.
    """
    text = (ROOT / "examples" / f"{name}.cfg").read_text()
    for port, other in (ports or {}).items():
        assert f"127.0.0.1:{port}" in text, port
        text = text.replace(f"127.0.0.1:{port}", f"127.0.0.1:{other}")
    return without_head(text)


def without_head(text: str) -> str:
    """A script without what the tests' own head sets."""
    return "\n".join(
        line
        for line in text.splitlines()
        if not re.match(r'socket=|udp_workers|mi_workers|log_level|modparam\("httpd"', line) and line not in _LOADED
    )


def python_example(name: str, ports: Mapping[int, int]) -> str:
    """As `example`, for one in Python. Its imports and parameters are the head's, too."""
    text = (ROOT / "examples" / f"{name}.py").read_text()
    for port, other in ports.items():
        assert f"127.0.0.1:{port}" in text, port
        text = text.replace(f"127.0.0.1:{port}", f"127.0.0.1:{other}")
    loaded = "|".join(re.findall(r'loadmodule "(\w+)\.so"', HEAD))
    head = rf'server\(|from __future__|module\("({loaded})"\)|module\("httpd"'
    return "\n".join(line for line in text.splitlines() if not re.match(head, line))


def register(phone: Peer, name: str, expires: int = 60) -> None:
    """Register a phone as that user's, or take it away."""
    text = phone.request("REGISTER", f"sip:127.0.0.1:{phone.server[1]}", extra=f"Expires: {expires}\r\n")
    phone.send(text.replace(f"To: <sip:127.0.0.1:{phone.server[1]}>", f"To: <sip:{name}@127.0.0.1>"))
    phone.wait_reply(Received(text, ("", 0)).call_id, 200)


def call(caller: Peer, user: str, caller_name: str = "tester") -> Received:
    """Send an INVITE; it, as it was sent."""
    text = caller.request("INVITE", f"sip:{user}@127.0.0.1:{caller.server[1]}")
    text = text.replace("sip:tester@", f"sip:{caller_name}@")
    caller.send(text)
    return Received(text, ("", 0))


def refused(caller: Peer, invite: Received) -> int:
    """The status that an INVITE is refused with; its ACK is sent."""
    final = caller.wait_final(invite.call_id, "INVITE")
    assert final.status >= 300, final.start
    caller.ack(invite.text, final)
    return final.status


def within(caller: Peer, method: str, invite: Received, answer: Received, cseq: int) -> str:
    """A request of the caller within the dialog that the answer made."""
    return Side.of_caller(caller, invite, answer).request(method, invite.call_id, cseq=cseq)


def answered(caller: Peer, callee: Peer, invite: Received) -> Received:
    """The callee takes the call; the 200, after its ACK has arrived."""
    arrived = callee.wait_request("INVITE")
    callee.reply(arrived, 180)
    callee.reply(arrived, 200)
    answer = caller.wait_reply(invite.call_id, 200, "INVITE")
    caller.send(within(caller, "ACK", invite, answer, 1))
    callee.wait_request("ACK")
    return answer


def hang_up(caller: Peer, callee: Peer, invite: Received, answer: Received) -> None:
    """The caller ends the call."""
    caller.send(within(caller, "BYE", invite, answer, 2))
    callee.reply(callee.wait_request("BYE"), 200)
    caller.wait_reply(invite.call_id, 200, "BYE")


def calls_of(server: Server, profile: str, value: str | None = None) -> int:
    """How many dialogs are in a profile."""
    wanted = {"profile": profile} if value is None else {"profile": profile, "value": value}
    return int(server.mi("profile_get_size", wanted)["Profile"]["count"])


def nothing_is_left(server: Server) -> None:
    """Wait until no dialog is left."""
    wait_until(lambda: not server.mi("dlg_list")["Dialogs"], what="the dialogs are gone")


def stored(server: Server, collection: str, name: str) -> str | None:
    """A value of the cache, or None."""
    reply = server.rpc(
        f'{{"jsonrpc": "2.0", "id": 1, "method": "cache_fetch", "params": ["local:{collection}", "{name}"]}}'
    )
    return str(reply["result"]["value"]) if "result" in reply else None
