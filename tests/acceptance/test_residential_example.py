"""`examples/residential.cfg` as it stands: subscribers call each other, forward, and have voicemail."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import pytest

from tests.acceptance.examples import (
    answered,
    call,
    calls_of,
    example,
    hang_up,
    nothing_is_left,
    refused,
    register,
    stored,
)
from tests.harness import Server, free_port, wait_until
from tests.sip_peer import Peer, Received

pytestmark = pytest.mark.processes


@pytest.fixture(scope="module")
def voicemail_port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def server(start_shared: Callable[..., Server], voicemail_port: int) -> Server:
    text = example("residential", {5090: voicemail_port})
    return start_shared(text, options=("--udp-workers", "3", "--mi-workers", "2"))


@pytest.fixture
def phones(server: Server, voicemail_port: int) -> Iterator[dict[str, Peer]]:
    made = {name: Peer(server.sip_port) for name in ("alice", "bob", "carol")}
    made["voicemail"] = Peer(server.sip_port, voicemail_port)
    for name in ("alice", "bob", "carol"):
        register(made[name], name)
    yield made
    for name in ("alice", "bob", "carol"):
        register(made[name], name, expires=0)
    for phone in made.values():
        phone.close()


def dial(phone: Peer, number: str, caller: str) -> int:
    """Dial a number that changes a setting: the status."""
    return refused(phone, call(phone, number, caller))


def ask(phone: Peer, user: str, caller: str) -> Received:
    """An OPTIONS request's answer."""
    text = phone.request("OPTIONS", f"sip:{user}@127.0.0.1:{phone.server[1]}").replace("sip:tester@", f"sip:{caller}@")
    phone.send(text)
    return phone.wait_reply(Received(text, ("", 0)).call_id, 200)


def test_a_call_from_phone_to_phone_leaves_one_record(server: Server, phones: dict[str, Peer]) -> None:
    alice, bob = phones["alice"], phones["bob"]
    invite = call(alice, "bob", "alice")
    answer = answered(alice, bob, invite)
    assert answer.headers("Record-Route")
    assert calls_of(server, "caller", "alice") == 1

    hang_up(alice, bob, invite, answer)
    nothing_is_left(server)
    wait_until(lambda: re.search(rf"ACC: call ended: .*{invite.call_id}", server.log()), what="the call's record")
    assert calls_of(server, "caller") == 0


def test_forwarded_calls_go_there_until_it_is_taken_back(server: Server, phones: dict[str, Peer]) -> None:
    alice, bob, carol = phones["alice"], phones["bob"], phones["carol"]
    assert dial(bob, "*21*carol", "bob") == 480
    assert stored(server, "forward", "bob") == "carol"
    invite = call(alice, "bob", "alice")
    answer = answered(alice, carol, invite)
    hang_up(alice, carol, invite, answer)

    assert dial(bob, "%2321%23", "bob") == 480
    invite = call(alice, "bob", "alice")
    answer = answered(alice, bob, invite)
    hang_up(alice, bob, invite, answer)
    nothing_is_left(server)


def test_who_does_not_want_to_be_disturbed_has_voicemail(server: Server, phones: dict[str, Peer]) -> None:
    alice, bob, voicemail = phones["alice"], phones["bob"], phones["voicemail"]
    assert dial(bob, "*78", "bob") == 480
    invite = call(alice, "bob", "alice")
    answer = answered(alice, voicemail, invite)
    hang_up(alice, voicemail, invite, answer)
    nothing_is_left(server)
    assert dial(bob, "*79", "bob") == 480
    assert stored(server, "disturb", "bob") is None


def test_who_is_busy_has_voicemail_and_the_missed_call_is_noted(server: Server, phones: dict[str, Peer]) -> None:
    alice, bob, voicemail = phones["alice"], phones["bob"], phones["voicemail"]
    invite = call(alice, "bob", "alice")
    bob.reply(bob.wait_request("INVITE"), 486)
    bob.wait_request("ACK")
    arrived = voicemail.wait_request("INVITE")
    assert arrived.ruri == f"sip:bob@127.0.0.1:{voicemail.port}"
    voicemail.reply(arrived, 404)
    assert refused(alice, invite) == 480
    voicemail.wait_request("ACK")
    wait_until(lambda: stored(server, "missed", "bob") == "alice", what="the missed call")
    wait_until(lambda: re.search(rf"ACC: call missed: .*{invite.call_id}", server.log()), what="its record")
    nothing_is_left(server)


def test_one_s_own_voicemail(server: Server, phones: dict[str, Peer]) -> None:
    alice, voicemail = phones["alice"], phones["voicemail"]
    invite = call(alice, "*97", "alice")
    arrived = voicemail.wait_request("INVITE")
    assert arrived.ruri == f"sip:alice@127.0.0.1:{voicemail.port}"
    voicemail.reply(arrived, 180)
    alice.wait_reply(invite.call_id, 180)
    alice.cancel(invite.text)
    voicemail.reply(voicemail.wait_request("CANCEL"), 200)
    voicemail.reply(arrived, 487)
    assert refused(alice, invite) == 487
    nothing_is_left(server)


def test_a_third_call_of_a_subscriber_is_refused(server: Server, phones: dict[str, Peer]) -> None:
    alice, bob = phones["alice"], phones["bob"]
    up = [(invite, answered(alice, bob, invite)) for invite in (call(alice, "bob", "alice") for _ in range(2))]
    assert refused(alice, call(alice, "bob", "alice")) == 486
    for invite, answer in up:
        hang_up(alice, bob, invite, answer)
    nothing_is_left(server)


def test_a_subscriber_ends_all_his_calls(server: Server, phones: dict[str, Peer]) -> None:
    alice, bob = phones["alice"], phones["bob"]
    invite = call(alice, "bob", "alice")
    answered(alice, bob, invite)
    assert dial(alice, "*98", "alice") == 480
    for phone in (alice, bob):
        phone.reply(phone.wait_request("BYE"), 200)
    nothing_is_left(server)


def test_a_subscriber_asks_for_his_phones(phones: dict[str, Peer]) -> None:
    alice = phones["alice"]
    assert f"127.0.0.1:{alice.port}" in ask(alice, "phones", "alice").header("X-Phones")
    assert not ask(alice, "phones", "nobody").header("X-Phones")
    assert not ask(alice, "other", "alice").header("X-Phones")


def test_what_is_not_of_this_house_is_refused(phones: dict[str, Peer]) -> None:
    alice = phones["alice"]
    text = alice.request("MESSAGE", "sip:bob@example.net")
    alice.send(text)
    assert alice.wait_final(Received(text, ("", 0)).call_id).status == 403


def test_nothing_went_wrong(server: Server) -> None:
    assert "Traceback" not in server.log()
