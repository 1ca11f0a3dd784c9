"""`examples/proxy.cfg`, and `examples/app.py` in Python, as they stand: phones register and call through them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import pytest

from tests.acceptance.examples import (
    answered,
    call,
    calls_of,
    example,
    hang_up,
    nothing_is_left,
    python_example,
    refused,
    register,
)
from tests.harness import Server, free_port, wait_until
from tests.sip_peer import Peer

pytestmark = pytest.mark.processes


@pytest.fixture(scope="module")
def voicemail_port() -> int:
    return free_port()


@pytest.fixture(scope="module", params=["cfg", "python"])
def server(start_shared: Callable[..., Server], voicemail_port: int, request: pytest.FixtureRequest) -> Server:
    python, ports = request.param == "python", {5090: voicemail_port}
    text = python_example("app", ports) if python else example("proxy", ports)
    return start_shared(text, options=("--udp-workers", "3", "--mi-workers", "2"), python=python)


@pytest.fixture
def phones(server: Server) -> Iterator[tuple[Peer, Peer]]:
    made = Peer(server.sip_port), Peer(server.sip_port)
    for name, phone in zip(("alice", "bob"), made, strict=True):
        register(phone, name)
    yield made
    for name, phone in zip(("alice", "bob"), made, strict=True):
        register(phone, name, expires=0)
        phone.close()


def test_a_call_from_phone_to_phone_and_its_dialog(server: Server, phones: tuple[Peer, Peer]) -> None:
    alice, bob = phones
    invite = call(alice, "bob")
    answer = answered(alice, bob, invite)
    assert answer.headers("Record-Route")

    [dialog] = server.mi("dlg_list")["Dialogs"]
    assert dialog["callid"] == invite.call_id
    assert calls_of(server, "caller") == 1
    hang_up(alice, bob, invite, answer)
    nothing_is_left(server)


def test_who_is_busy_has_voicemail_and_the_missed_call_is_noted(
    server: Server, phones: tuple[Peer, Peer], voicemail_port: int
) -> None:
    alice, bob = phones
    voicemail = Peer(server.sip_port, voicemail_port)
    invite = call(alice, "bob")
    bob.reply(bob.wait_request("INVITE"), 486)
    bob.wait_request("ACK")

    voicemail.reply(voicemail.wait_request("INVITE"), 200)
    alice.wait_reply(invite.call_id, 200)
    asked = json.dumps(
        {"jsonrpc": "2.0", "id": 1, "method": "cache_fetch", "params": {"system": "local", "attr": "missed_bob"}}
    )
    noted = wait_until(lambda: server.rpc(asked).get("result"), what="the missed call is noted")
    assert noted["value"] == "tester"
    voicemail.close()


def test_nobody_there_and_no_voicemail_is_480(phones: tuple[Peer, Peer], voicemail_port: int) -> None:
    alice, _ = phones
    voicemail = Peer(alice.server[1], voicemail_port)
    invite = call(alice, "nobody")
    voicemail.reply(voicemail.wait_request("INVITE"), 404)
    assert refused(alice, invite) == 480
    voicemail.wait_request("ACK")
    voicemail.close()


def test_nothing_went_wrong(server: Server) -> None:
    assert "Traceback" not in server.log()
