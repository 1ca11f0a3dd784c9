"""`examples/proxy.cfg` as it stands: phones register and call each other through it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator

import pytest

from tests.harness import ROOT, Server, free_port, wait_until
from tests.sip_peer import Peer, Received

pytestmark = pytest.mark.processes


@pytest.fixture(scope="module")
def voicemail_port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def server(start_shared: Callable[..., Server], voicemail_port: int) -> Server:
    text = (ROOT / "examples" / "proxy.cfg").read_text().replace("127.0.0.1:5090", f"127.0.0.1:{voicemail_port}")
    # The modules, sockets and the HTTP port of the tests' own head stand for those of the example.
    kept = [
        line
        for line in text.splitlines()
        if not re.match(r'socket=|udp_workers|mi_workers|log_level|modparam\("httpd"', line)
        and not re.match(
            r'loadmodule "(proto_udp|signaling|sl|tm|sipmsgops|cachedb_local|mi_script|httpd|mi_http)\.so"', line
        )
    ]
    return start_shared("\n".join(kept), options=("--udp-workers", "3", "--mi-workers", "2"))


@pytest.fixture
def phones(server: Server) -> Iterator[tuple[Peer, Peer]]:
    made = Peer(server.sip_port), Peer(server.sip_port)
    for name, phone in zip(("alice", "bob"), made, strict=True):
        register(phone, name)
    yield made
    for name, phone in zip(("alice", "bob"), made, strict=True):
        register(phone, name, expires=0)
        phone.close()


def register(phone: Peer, name: str, expires: int = 60) -> None:
    text = phone.request("REGISTER", f"sip:127.0.0.1:{phone.server[1]}", extra=f"Expires: {expires}\r\n")
    phone.send(text.replace(f"To: <sip:127.0.0.1:{phone.server[1]}>", f"To: <sip:{name}@127.0.0.1>"))
    phone.wait_reply(Received(text, ("", 0)).call_id, 200)


def call(caller: Peer, user: str) -> tuple[str, str]:
    text = caller.request("INVITE", f"sip:{user}@127.0.0.1:{caller.server[1]}")
    caller.send(text)
    return text, Received(text, ("", 0)).call_id


def within(caller: Peer, method: str, invite: Received, answer: Received, cseq: int) -> str:
    """A request of the caller within the dialog that the answer made."""
    tag = answer.header("To").partition(";tag=")[2]
    target = answer.header("Contact").strip("<>")
    routes = "".join(f"Route: {value}\r\n" for value in answer.headers("Record-Route")[::-1])
    text = caller.request(method, target, call_id=invite.call_id, cseq=cseq, extra=routes)
    return re.sub(r"(?m)^To: .*$", f"To: {invite.header('To')};tag={tag}\r", text)


def test_a_call_from_phone_to_phone_and_its_dialog(server: Server, phones: tuple[Peer, Peer]) -> None:
    alice, bob = phones
    text, call_id = call(alice, "bob")
    arrived = bob.wait_request("INVITE")
    assert arrived.headers("Record-Route")
    bob.reply(arrived, 180)
    bob.reply(arrived, 200)
    alice.wait_reply(call_id, 180)
    answer = alice.wait_reply(call_id, 200)
    invite = Received(text, ("", 0))
    alice.send(within(alice, "ACK", invite, answer, 1))
    bob.wait_request("ACK")

    [dialog] = server.mi("dlg_list")["Dialogs"]
    assert dialog["callid"] == call_id
    assert server.mi("profile_get_size", {"profile": "caller"})["Profile"]["count"] == 1
    alice.send(within(alice, "BYE", invite, answer, 2))
    bob.reply(bob.wait_request("BYE"), 200)
    alice.wait_reply(call_id, 200, "BYE")
    wait_until(lambda: not server.mi("dlg_list")["Dialogs"], what="the dialog is gone")


def test_who_is_busy_has_voicemail_and_the_missed_call_is_noted(
    server: Server, phones: tuple[Peer, Peer], voicemail_port: int
) -> None:
    alice, bob = phones
    voicemail = Peer(server.sip_port, voicemail_port)
    _, call_id = call(alice, "bob")
    bob.reply(bob.wait_request("INVITE"), 486)
    bob.wait_request("ACK")

    voicemail.reply(voicemail.wait_request("INVITE"), 200)
    alice.wait_reply(call_id, 200)
    asked = json.dumps(
        {"jsonrpc": "2.0", "id": 1, "method": "cache_fetch", "params": {"system": "local", "attr": "missed_bob"}}
    )
    noted = wait_until(lambda: server.rpc(asked).get("result"), what="the missed call is noted")
    assert noted["value"] == "tester"
    voicemail.close()


def test_nobody_there_and_no_voicemail_is_480(phones: tuple[Peer, Peer]) -> None:
    alice, _ = phones
    text, call_id = call(alice, "nobody")

    final = alice.wait_final(call_id)
    alice.ack(text, final)
    assert final.status == 480


def test_nothing_went_wrong(server: Server) -> None:
    assert "Traceback" not in server.log()
