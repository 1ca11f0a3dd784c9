"""What an accountant keeps of transactions, and that it keeps nothing of those that are over."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.acc.accountant import Accountant
from runtime.acc.accounts import Backend, Wants
from runtime.acc.calls import Calls
from runtime.acc.records import Record
from runtime.context import Address, Context, RouteType
from runtime.dialogs.store import DialogStore
from runtime.modules.acc import Acc
from runtime.sip.build import build_reply
from runtime.sip.dialog import Dialog
from runtime.sip.dialog_words import Leg
from runtime.sip.message import Reply, Request, parse
from tests.harness import wait_until
from tests.one_process import OneProcess, one_process
from tests.runtime.script.conftest import INVITE
from tests.sip_peer import Peer, Received

HEAD = """
loadmodule "acc.so"
modparam("acc", "extra_fields", "log: who")
modparam("tm", "T1_timer", 10)
modparam("tm", "T2_timer", 10)
modparam("tm", "T4_timer", 10)
modparam("tm", "fr_timeout", 1)
"""
ROUTES = """
route {
    $acc_extra(who) = $rU;
    do_accounting("log", "failed|missed");
    $du = "sip:127.0.0.1:" + $hdr(X-Callee);
    switch ($rU) {
    case "stateless": sl_send_reply(404, "Not here"); exit;
    case "own": t_newtran(); t_reply(480, "Not now"); exit;
    case "parked": async(mi("bench_wait 1", $var(r)), go);
    }
    t_relay();
}
route[go] { t_relay(); }
"""


class Told:
    """An accountant by itself, and what it has told."""

    def __init__(self, living: set[str], calls: Calls | None = None) -> None:
        self.told: list[tuple[str, int, str, list[Backend]]] = []
        self.accountant = Accountant(
            self._tell, living.__contains__, calls, early_media=False, cancels=False, direction=False
        )

    def _tell(self, record: Record, backends: list[Backend], table: str) -> None:
        if backends:
            self.told.append((record.subject.value, record.code, record.to_tag, backends))


def context(transaction: str | None = None) -> Context:
    request = parse(INVITE)
    assert isinstance(request, Request)
    return Context(request, ruri=request.ruri, transaction=transaction)


def reply(status: int = 200, tag: str = "") -> Reply:
    asked = parse(INVITE)
    assert isinstance(asked, Request)
    made = parse(build_reply(asked, status, "x", source=Address("127.0.0.1", 5060), to_tag=tag))
    assert isinstance(made, Reply)
    return made


def test_an_account_is_the_messages_until_there_is_a_transaction() -> None:
    one, c = Told({"key"}), context()
    account = one.accountant.open(c)
    account.ask((Backend.LOG,), Wants.FAILED)
    one.accountant.answered("key", 404, "Not Found")
    assert one.told == []
    c.transaction = "key"
    one.accountant.began(c)
    reply = context("key")  # as a reply route sees it
    assert one.accountant.open(reply) is account
    one.accountant.answered("key", 404, "Not Found")
    one.accountant.answered("key", 404, "Not Found")
    assert [entry[:2] for entry in one.told] == [("transaction answered", 404)]
    one.accountant.over("key")
    assert one.accountant.find(reply) is None


def test_what_is_over_gets_no_account_that_nobody_takes_away() -> None:
    one, c = Told(set()), context("gone")
    one.accountant.put_extra(c, "who", "bob")
    assert one.accountant.get_extra(c, "who") == "bob"
    assert one.accountant.find(context("gone")) is None


class Dialogs:
    """The dialogs of all, with one in it or none."""

    def __init__(self, folder: Path) -> None:
        self.store = DialogStore(folder)
        self.calls = Calls(self.store, lambda *_: b"", lambda *_: None)

    def begin(self) -> str:
        dialog = Dialog(7, "call", 100.0, 60, Leg("ft"), Leg("tt"))
        dialog.begin(0.0)
        assert self.store.create(dialog)
        return dialog.did


@pytest.fixture
def dialogs(tmp_path: Path) -> Iterator[Dialogs]:
    one = Dialogs(tmp_path / "dialogs")
    yield one
    one.store.close()


@pytest.mark.parametrize("lives", [True, False])
def test_a_call_whose_end_cannot_be_seen_is_recorded_when_it_is_answered(dialogs: Dialogs, lives: bool) -> None:
    one, c = Told({"key"}, dialogs.calls), context("key")
    c.dialog = dialogs.begin() if lives else "0.7"
    one.accountant.open(c).ask((Backend.LOG,), Wants.CDR)
    one.accountant.reply_relayed(c, reply(tag="tt"), 200)
    assert (dialogs.calls.find(c.dialog) is not None) == lives
    assert one.told == ([] if lives else [("transaction answered", 200, "tt", [Backend.LOG])])


def test_a_call_that_the_server_takes_itself_is_recorded_when_it_is_answered(dialogs: Dialogs) -> None:
    one, c = Told({"key"}, dialogs.calls), context("key")
    c.dialog = dialogs.begin()
    one.accountant.open(c).ask((Backend.LOG,), Wants.CDR)
    one.accountant.answered("key", 200, "OK")
    assert [entry[:2] for entry in one.told] == [("transaction answered", 200)]


def test_what_a_reply_route_opens_is_about_the_request() -> None:
    one, c = Told({"key"}), context("key")
    first = Context(reply(180, "fork"), route=RouteType.ONREPLY, transaction="key", request=c)
    one.accountant.put_extra(first, "who", "bob")
    one.accountant.open(c).ask((Backend.LOG,), Wants.FAILED)
    one.accountant.reply_relayed(c, reply(486, "other"), 486)
    assert one.told == [("transaction answered", 486, "other", [Backend.LOG])]


@pytest.fixture
def server(tmp: Path) -> Iterator[OneProcess]:
    with one_process(tmp, ROUTES, HEAD) as one:
        yield one


@pytest.mark.processes
@pytest.mark.parametrize("user", ["answered", "refused", "silent", "own", "parked", "stateless", "cancelled"])
def test_nothing_is_left_of_a_transaction_that_is_over(server: OneProcess, user: str) -> None:
    caller, callee = Peer(server.sip_port), Peer(server.sip_port)
    invite = caller.request("INVITE", f"sip:{user}@127.0.0.1", extra=f"X-Callee: {callee.port}\r\n")
    caller.send(invite)
    if user not in ("own", "stateless"):
        arrived = callee.wait_request("INVITE")
        if user == "cancelled":
            callee.reply(arrived, 180)
            caller.cancel(invite)
            callee.reply(callee.wait_request("CANCEL"), 200)
        if user != "silent":
            callee.reply(arrived, {"refused": 486, "cancelled": 487}.get(user, 200))
    caller.wait_final(Received(invite, ("", 0)).call_id, "INVITE")
    acc = server.process.house.program.modules["acc"]
    assert isinstance(acc, Acc)
    assert acc.accountant is not None
    accounts = acc.accountant._accounts
    wait_until(lambda: server.do(lambda: not accounts and not len(server.process.transactions)))
    caller.close()
    callee.close()
