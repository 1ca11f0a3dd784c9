"""The table of server transactions: what enters, what it tells, and that it leaves."""

from __future__ import annotations

import pytest

from runtime.sip.keys import dialog_ack_key, invite_key, server_key
from runtime.sip.message import Request, parse
from runtime.sip.table import TransactionTable
from runtime.sip.transaction import (
    DONE,
    NO_ACK,
    NO_REPLY,
    PassAck,
    PassCancel,
    Send,
    SendTrying,
    State,
    Terminated,
    Unanswered,
)


def request(method: str, branch: str = "z9hG4bK1", to_tag: str = "") -> Request:
    data = (
        f"{method} sip:bob@example.com SIP/2.0\r\nVia: SIP/2.0/UDP h;branch={branch}\r\nFrom: <sip:a@b>;tag=f1\r\n"
        f"To: <sip:c@d>{to_tag}\r\nCall-ID: c1\r\nCSeq: 1 {method}\r\n\r\n"
    )
    parsed = parse(data.encode())
    assert isinstance(parsed, Request)
    return parsed


def run_out(table: TransactionTable, limit: int = 100) -> list[tuple[float, str, object]]:
    """Let time pass from deadline to deadline until nothing is left to happen."""
    told = []
    for _ in range(limit):
        deadline = table.next_deadline()
        if deadline is None:
            return told
        told += [(deadline, *tagged) for tagged in table.tick(deadline)]
        table.check()
    raise AssertionError("it goes on for ever")


def test_a_request_is_new_once() -> None:
    table = TransactionTable()
    options = request("OPTIONS")
    key = server_key(options)
    assert table.receive(options, key, 1000) is None
    assert table.create(key, False, 1000) == []
    assert (len(table), key in table, list(table)) == (1, True, [key])
    assert table.receive(options, key, 1000.5) == []
    assert table.reply(key, 200, b"200", 1001) == [(key, Send(b"200"))]
    assert table.receive(options, key, 1002) == [(key, Send(b"200"))]
    assert table.reply(key, 500, b"500", 1003) == []
    assert table.tick(1032.99) == []
    assert table.next_deadline() == 1033
    assert table.tick(1033) == [(key, Terminated(DONE))]
    assert (len(table), table.next_deadline(), table.find(key)) == (0, None, None)
    assert table.receive(options, key, 1034) is None
    assert table.reply(key, 200, b"200", 1034) is None
    table.check()


def test_who_has_asked_when_to_tick_is_told_when_that_has_become_sooner() -> None:
    table = TransactionTable()
    assert not table.is_sooner
    table.create("a", False, 1000)
    assert table.is_sooner
    assert table.next_deadline() == 1180
    table.create("b", False, 1000)
    table.create("c", False, 1001)
    assert not table.is_sooner
    table.reply("c", 200, b"200", 1001)
    assert table.is_sooner
    assert table.next_deadline() == 1033
    table.reply("b", 200, b"200", 1002)
    assert not table.is_sooner


def test_two_of_one_key_are_a_mistake() -> None:
    table = TransactionTable()
    table.create("k", False, 0)
    with pytest.raises(ValueError, match="already"):
        table.create("k", False, 0)
    assert len(table) == 1


def test_an_invite_gets_a_100_after_200_ms() -> None:
    table = TransactionTable()
    assert table.create("k", True, 1000) == []
    deadline = table.next_deadline()
    assert deadline == pytest.approx(1000.2, abs=0.005)
    assert table.tick(deadline) == [("k", SendTrying())]
    assert table.reply("k", 100, b"100", deadline) == [("k", Send(b"100"))]
    assert table.trying("k", deadline) == []


def test_a_parked_invite_gets_a_100_at_once_and_only_once() -> None:
    table = TransactionTable()
    assert table.create("at once", True, 0, trying_s=0) == [("at once", SendTrying())]
    table.create("later", True, 0)
    assert table.trying("later", 0.1) == [("later", SendTrying())]
    assert table.tick(1) == []
    assert table.trying("unknown", 1) is None


def test_a_refused_invite_without_an_ack() -> None:
    table = TransactionTable()
    table.create("k", True, 0)
    table.reply("k", 486, b"486", 0)
    told = run_out(table)
    assert [at for at, _, effect in told if effect == Send(b"486")] == [
        0.5,
        1.5,
        3.5,
        7.5,
        11.5,
        15.5,
        19.5,
        23.5,
        27.5,
        31.5,
    ]
    assert told[-1] == (32, "k", Terminated(NO_ACK))
    assert len(table) == 0


def test_a_refused_invite_and_its_ack() -> None:
    table = TransactionTable()
    invite, ack = request("INVITE"), request("ACK", to_tag=";tag=t")
    key = server_key(invite)
    table.create(key, True, 0)
    table.reply(key, 486, b"486", 0)
    assert table.receive(ack, server_key(ack), 0.1) == []
    assert table.receive(ack, server_key(ack), 0.2) == []
    assert run_out(table) == [(pytest.approx(5.1, abs=0.005), key, Terminated(DONE))]


def test_an_accepted_invite_is_repeated_until_the_ack_of_its_dialog() -> None:
    table = TransactionTable()
    invite, ack = request("INVITE"), request("ACK", "z9hG4bKother", ";tag=t")
    key = server_key(invite)
    assert table.receive(ack, server_key(ack), 0) is None
    table.create(key, True, 0, ack_key=dialog_ack_key(invite))
    table.reply(key, 200, b"200", 0)
    assert table.tick(0.5) == [(key, Send(b"200"))]
    assert table.receive(ack, server_key(ack), 0.6) == [(key, PassAck())]
    assert run_out(table) == [(32, key, Terminated(DONE))]
    assert table.receive(ack, server_key(ack), 33) is None


def test_one_dialogs_ack_key_may_be_taken_over_and_given_back() -> None:
    """Two copies of an INVITE by two ways (a merged request, RFC 3261 8.2.2.2) have one dialog key."""
    table = TransactionTable()
    table.create("one", True, 0, ack_key="d")
    table.create("two", True, 0, ack_key="d")
    table.reply("one", 482, b"", 0)
    table.reply("two", 200, b"", 0)
    run_out(table)
    assert len(table) == 0
    table.check()


def test_a_cancel_is_a_transaction_of_its_own() -> None:
    table = TransactionTable()
    invite, cancel = request("INVITE"), request("CANCEL")
    table.create(server_key(invite), True, 0)
    key = server_key(cancel)
    assert table.receive(cancel, key, 1) is None
    table.create(key, False, 1)
    assert table.cancel(invite_key(cancel), 1) == [(server_key(invite), PassCancel())]
    table.reply(key, 200, b"200 cancel", 1)
    assert table.receive(cancel, key, 1.5) == [(key, Send(b"200 cancel"))]
    assert table.reply(server_key(invite), 487, b"487", 2) == [(server_key(invite), Send(b"487"))]
    assert table.cancel("INVITE nothing", 2) is None


def test_what_is_never_answered_leaves_all_the_same() -> None:
    table = TransactionTable()
    table.create("invite", True, 0)
    table.create("other", False, 0)
    table.create("held", False, 0)
    table.hold("held", 500, 0)
    told = [tagged for tagged in run_out(table) if tagged[2] != SendTrying()]
    assert told == [
        (180, "invite", Unanswered()),
        (180, "other", Terminated(NO_REPLY)),
        (212, "invite", Terminated(NO_REPLY)),
        (500, "held", Terminated(NO_REPLY)),
    ]
    assert len(table) == 0


def test_timers_of_one_batch_that_stop_each_other() -> None:
    """Long after all deadlines G and H are due together: H ends the transaction, and nothing follows the end."""
    table = TransactionTable()
    table.create("k", True, 0)
    table.reply("k", 486, b"486", 0)
    told = []
    for _ in range(20):
        told += table.tick(1_000_000)
    assert told[-1] == ("k", Terminated(NO_ACK))
    assert told.count(("k", Terminated(NO_ACK))) == 1
    assert (len(table), table.next_deadline()) == (0, None)


def test_a_failed_send_ends_what_is_not_an_invite() -> None:
    table = TransactionTable()
    table.create("other", False, 0)
    table.reply("other", 200, b"", 0)
    assert [effect for _, effect in table.transport_failed("other", 0) or []] == [Terminated("reply could not be sent")]
    table.create("invite", True, 0)
    table.reply("invite", 486, b"", 0)
    table.transport_failed("invite", 0)
    found = table.find("invite")
    assert found is not None
    assert (found.state, found.answered) == (State.COMPLETED, True)
    assert table.transport_failed("other", 0) is None
