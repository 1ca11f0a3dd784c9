"""The table of client transactions: what enters, what it tells, and that it leaves."""

from __future__ import annotations

import pytest

from runtime.sip.client_table import ClientTable, ClientTagged, client_key
from runtime.sip.transaction_words import (
    DONE,
    DROPPED,
    NO_REPLY,
    UNSENT,
    PassFailure,
    PassReply,
    PassTimeout,
    SendAck,
    SendCancel,
    SendRequest,
    State,
    Terminated,
)


def create(table: ClientTable, key: str, invite: bool, now: float, reliable: bool = False) -> list[ClientTagged]:
    return table.create(key, invite, now, reliable=reliable, fr_timeout_s=30, fr_inv_timeout_s=120)


def run_out(table: ClientTable, limit: int = 100) -> list[tuple[float, str, object]]:
    """Let time pass from deadline to deadline until nothing is left to happen."""
    told: list[tuple[float, str, object]] = []
    for _ in range(limit):
        deadline = table.next_deadline()
        if deadline is None:
            assert len(table) == 0
            return told
        told += [(deadline, *tagged) for tagged in table.tick(deadline)]
        table.check()
    raise AssertionError("it goes on for ever")


def test_a_request_and_its_reply() -> None:
    table = ClientTable()
    assert (len(table), table.next_deadline(), table.receive("k", 200, 1000)) == (0, None, None)
    assert create(table, "k", False, 1000) == [("k", SendRequest())]
    assert (len(table), "k" in table, list(table)) == (1, True, ["k"])
    assert table.receive("k", 100, 1000.1) == [("k", PassReply())]
    assert table.tick(1000.5) == [("k", SendRequest())]
    assert table.receive("k", 200, 1001) == [("k", PassReply())]
    assert table.receive("k", 200, 1002) == []
    assert table.tick(1005.99) == []
    assert table.next_deadline() == 1006
    assert table.tick(1006) == [("k", Terminated(DONE))]
    assert (len(table), table.next_deadline(), table.find("k")) == (0, None, None)
    assert table.receive("k", 200, 1007) is None
    table.check()


def test_two_of_one_key_are_a_mistake() -> None:
    table = ClientTable()
    create(table, "k", False, 0)
    with pytest.raises(ValueError, match="already"):
        create(table, "k", True, 0)
    assert len(table) == 1


def test_an_invite_and_its_cancel_have_one_branch_and_two_keys() -> None:
    table = ClientTable()
    invite, cancel = client_key("z9hG4bK1", "INVITE"), client_key("z9hG4bK1", "CANCEL")
    assert (invite, cancel) == ("z9hG4bK1 INVITE", "z9hG4bK1 CANCEL")
    create(table, invite, True, 0)
    table.receive(invite, 180, 1)
    assert table.cancel(invite, 2) == [(invite, SendCancel())]
    assert create(table, cancel, False, 2) == [(cancel, SendRequest())]
    assert table.receive(cancel, 200, 3) == [(cancel, PassReply())]
    assert table.receive(invite, 487, 3) == [(invite, SendAck()), (invite, PassReply())]
    assert run_out(table) == [(8, cancel, Terminated(DONE)), (35, invite, Terminated(DONE))]


def test_an_invite_that_nobody_answers() -> None:
    table = ClientTable()
    create(table, "k", True, 0)
    assert run_out(table) == [
        *[(at, "k", SendRequest()) for at in (0.5, 1.5, 3.5, 7.5, 15.5)],
        (30, "k", PassTimeout()),
        (62, "k", Terminated(NO_REPLY)),
    ]


def test_another_request_that_nobody_answers() -> None:
    table = ClientTable()
    create(table, "k", False, 0)
    assert run_out(table) == [
        *[(at, "k", SendRequest()) for at in (0.5, 1.5, 3.5, 7.5, 11.5, 15.5, 19.5, 23.5, 27.5)],
        (30, "k", PassTimeout()),
        (30, "k", Terminated(NO_REPLY)),
    ]


def test_an_invite_that_rings_for_ever() -> None:
    table = ClientTable()
    create(table, "k", True, 0)
    table.receive("k", 180, 1)
    table.receive("k", 180, 60)
    table.receive("k", 100, 100)
    assert run_out(table) == [(180, "k", SendCancel()), (180, "k", PassTimeout()), (212, "k", Terminated(NO_REPLY))]


def test_a_cancelled_invite_whose_487_never_comes() -> None:
    table = ClientTable()
    create(table, "k", True, 0)
    table.receive("k", 180, 1)
    table.cancel("k", 2)
    table.receive("k", 180, 20)
    assert run_out(table) == [(34, "k", PassTimeout()), (34, "k", Terminated(NO_REPLY))]


def test_an_answer_that_comes_too_late_goes_up_all_the_same() -> None:
    table = ClientTable()
    create(table, "k", True, 0)
    table.tick(30)
    found = table.find("k")
    assert found is not None
    assert found.state is State.ABANDONED
    assert table.receive("k", 200, 31) == [("k", PassReply())]
    assert run_out(table) == [(63, "k", Terminated(DONE))]


def test_a_refusal_that_comes_too_late_is_acknowledged_in_silence() -> None:
    table = ClientTable()
    create(table, "k", True, 0)
    table.tick(30)
    assert table.receive("k", 486, 31) == [("k", SendAck())]
    assert table.receive("k", 486, 31.5) == [("k", SendAck())]
    assert run_out(table) == [(63, "k", Terminated(DONE))]


def test_over_a_reliable_transport_a_final_reply_ends_it() -> None:
    table = ClientTable()
    assert create(table, "k", True, 0, reliable=True) == [("k", SendRequest())]
    assert table.tick(29) == []
    assert table.receive("k", 503, 29) == [("k", SendAck()), ("k", PassReply()), ("k", Terminated(DONE))]
    assert (len(table), table.next_deadline()) == (0, None)


def test_a_failed_send_ends_it() -> None:
    table = ClientTable()
    create(table, "k", True, 0)
    assert table.transport_failed("k", 0) == [("k", PassFailure()), ("k", Terminated(UNSENT))]
    assert (len(table), table.next_deadline(), table.transport_failed("k", 0)) == (0, None, None)


def test_what_is_dropped_is_gone() -> None:
    table = ClientTable()
    create(table, "k", True, 0)
    table.receive("k", 200, 0)
    assert table.terminate("k", 1) == [("k", Terminated(DROPPED))]
    assert (len(table), table.next_deadline()) == (0, None)
    assert (table.terminate("k", 1), table.cancel("k", 1), table.receive("k", 200, 1)) == (None, None, None)
    table.check()


@pytest.mark.parametrize("status", [-700, -1, 0, 99, 700, 10**30])
def test_a_status_that_is_none_is_absorbed(status: int) -> None:
    table = ClientTable()
    create(table, "k", True, 0)
    assert table.receive("k", status, 0) == []
    found = table.find("k")
    assert found is not None
    assert (found.state, found.last_status) == (State.CALLING, 0)


def test_timers_of_one_batch_that_stop_each_other() -> None:
    """Long after all deadlines A and B are due together: B ends the copies, and nothing follows the end."""
    table = ClientTable()
    create(table, "k", True, 0)
    create(table, "o", False, 0)
    told: list[ClientTagged] = []
    for step in range(3):
        told += table.tick(1_000_000 * (step + 1))
        table.check()
    assert [tagged for tagged in told if tagged[0] == "k"] == [
        ("k", SendRequest()),
        ("k", PassTimeout()),
        ("k", Terminated(NO_REPLY)),
    ]
    assert [tagged for tagged in told if tagged[0] == "o"] == [
        ("o", SendRequest()),
        ("o", PassTimeout()),
        ("o", Terminated(NO_REPLY)),
    ]
    assert (len(table), table.next_deadline()) == (0, None)
