"""Accounting of a real server's calls: what is in the log and in the database when they have ended in every way."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.harness import Server, wait_until
from tests.processes.dialog_calls import Call
from tests.sip_peer import Peer, Received

pytestmark = pytest.mark.processes

HEAD = """
log_level = 2
db_default_url = "sqlite:%s"
loadmodule "rr.so"
loadmodule "event_route.so"
loadmodule "dialog.so"
loadmodule "acc.so"
modparam("acc", "detect_direction", 1)
modparam("acc", "early_media", 1)
modparam("acc", "report_cancels", 1)
modparam("acc", "extra_fields", "db: who -> who; note; log: who; evi: who -> party")
modparam("tm", "fr_timeout", 1)
modparam("tm", "fr_inv_timeout", 1)
"""
ROUTES = """
route {
    if (has_totag()) {
        if (!loose_route()) match_dialog();
        if (is_method("BYE")) {
            do_accounting("log|db", "failed", "byes");
            if ($hdr(X-Late) != NULL) $acc_extra(who) = "bye";
        } else if ($hdr(X-Note) != NULL) {
            $acc_extra(note) = $hdr(X-Note);
        }
        t_on_reply("seen");
        t_relay();
        exit;
    }
    if ($hdr(X-Straight) == NULL) record_route();
    $acc_extra(who) = $rU;
    switch ($rU) {
    case "plain": do_accounting("log|db|evi", "failed"); break;
    case "cdr": do_accounting("log|db|evi", "cdr|missed|failed"); break;
    case "missed": do_accounting("log|db", "missed"); t_on_failure("again"); break;
    case "quiet": do_accounting("log|db"); break;
    case "dropped": do_accounting("log|db", "failed"); drop_accounting("db"); break;
    case "parked": do_accounting("log|db", "failed"); async(mi("bench_wait 50"), out);
    case "refused": do_accounting("log|db", "failed|missed"); t_newtran(); t_reply(403, "Not; you"); exit;
    case "report":
        $acc_extra(note) = $hdr(X-Note);
        acc_log_request("404 Nobody home");
        acc_db_request("404 Nobody home", "reports");
        acc_evi_request("404 Nobody home");
        sl_send_reply(404, "Nobody home");
        exit;
    case "fork":
        do_accounting("db", "failed");
        append_msg_branch("sip:second@127.0.0.1:$hdr(X-To)");
        break;
    }
    route(out);
}
route[out] {
    $du = "sip:127.0.0.1:" + $hdr(X-To);
    t_on_reply("seen");
    t_relay();
}
onreply_route[seen] { if ($hdr(X-Note) != NULL) $acc_extra(note) = $hdr(X-Note); }
failure_route[again] {
    if ($hdr(X-Next) != NULL && $acc_extra(note) == NULL) {
        $acc_extra(note) = "again";
        do_accounting("log|db", "missed");
        $du = "sip:127.0.0.1:" + $hdr(X-Next);
        t_on_failure("again");
        t_relay();
    }
}
event_route[E_ACC_CDR] {
    cache_store("local", "cdr $param(callid)", "$param(party) $param(sip_code) $param(duration)");
}
event_route[E_ACC_EVENT] { cache_store("local", "event $param(callid)", "$param(sip_code) $param(party)"); }
event_route[E_ACC_MISSED_EVENT] {
    cache_store("local", "missed $param(callid)", "$param(sip_code) $param(sip_reason)");
}
"""
WORKERS = ("--udp-workers", "3", "--mi-workers", "1")
FEWER = ("--udp-workers", "1", "--mi-workers", "1")


class Accounts:
    """A server and its database."""

    def __init__(self, server: Server, path: Path) -> None:
        self.server = server
        self.path = path

    def rows(self, table: str, call_id: str) -> list[dict[str, Any]]:
        """The rows of a call that are there now, in order."""
        connection = sqlite3.connect(self.path, timeout=5.0)
        connection.row_factory = sqlite3.Row
        try:
            found = connection.execute(f"SELECT * FROM {table} WHERE callid = ? ORDER BY 1", (call_id,)).fetchall()
        except sqlite3.OperationalError:
            found = []
        connection.close()
        return [dict(row) for row in found]

    def wait_rows(self, table: str, call_id: str, count: int = 1) -> list[dict[str, Any]]:
        """The rows of a call, once they are that many."""
        wait_until(lambda: len(self.rows(table, call_id)) >= count, what=f"{count} rows of {call_id} in {table}")
        return self.rows(table, call_id)

    def settle(self) -> None:
        """Wait until nothing is on its way any more. What a reply has led to is, when the reply comes."""
        wait_until(lambda: self.server.statistic("acc:waiting_records") == 0)

    def lines(self, call_id: str, count: int = 1) -> list[str]:
        """The lines in the log about a call, from ``ACC:`` on, once they are that many."""

        def found() -> list[str]:
            return [line[line.index("ACC: ") :] for line in self.server.log().splitlines() if _is_about(line, call_id)]

        wait_until(lambda: len(found()) >= count, what=f"{count} lines of {call_id}")
        return found()

    def cached(self, key: str) -> str:
        """A value that an event route has put away."""

        def fetch() -> Any:
            return self.server.mi("cache_fetch", ["local", key])

        return str(wait_until(fetch, what=key)["value"])


def _is_about(line: str, call_id: str) -> bool:
    return "ACC: " in line and f"call_id={call_id};" in line


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("acc")


@pytest.fixture(scope="module")
def accounts(start_shared: Callable[..., Server], folder: Path) -> Accounts:
    path = folder / "calls.db"
    return Accounts(start_shared(ROUTES, head=HEAD % path, options=WORKERS), path)


@pytest.fixture
def call(accounts: Accounts) -> Iterator[Call]:
    with calling(accounts.server) as one:
        yield one


@contextlib.contextmanager
def calling(server: Server) -> Iterator[Call]:
    """A call to be made through a server."""
    caller, callee = Peer(server.sip_port), Peer(server.sip_port)
    yield Call(caller, callee)
    caller.close()
    callee.close()


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Nobody else can write into that database meanwhile."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        connection.execute("ROLLBACK")
        connection.close()


def told(row: dict[str, Any]) -> tuple[str, str, str]:
    return row["method"], row["sip_code"], row["sip_reason"]


def tag_of(header: str) -> str:
    return header.partition("tag=")[2]


def test_an_answered_transaction(accounts: Accounts, call: Call) -> None:
    call.establish("plain")
    (row,) = accounts.wait_rows("acc", call.call_id)
    tags = tag_of(call.arrived.header("From")), tag_of(call.answer.header("To"))
    assert told(row) == ("INVITE", "200", "x")
    assert (row["from_tag"], row["to_tag"], row["who"], row["note"]) == (*tags, "plain", None)
    assert (row["duration"], row["ms_duration"], row["setuptime"], row["created"]) == (0, 0, 0, None)
    (line,) = accounts.lines(call.call_id)
    assert re.fullmatch(
        rf"ACC: transaction answered: timestamp=\d+;method=INVITE;from_tag={tags[0]};to_tag={tags[1]};"
        rf"call_id={call.call_id};code=200;reason=x;who=plain",
        line,
    )
    assert accounts.cached(f"event {call.call_id}") == "200 plain"


def test_an_answer_that_comes_again_is_recorded_once(accounts: Accounts, call: Call) -> None:
    call.ring("plain")
    for _ in range(3):
        call.pick_up()
    call.say("ACK", cseq=1)
    call.callee.wait_request("ACK")
    call.hang_up()
    accounts.wait_rows("byes", call.call_id)
    accounts.settle()
    assert len(accounts.rows("acc", call.call_id)) == 1


def test_a_call_is_recorded_when_it_has_ended(accounts: Accounts, call: Call) -> None:
    call.establish("cdr")
    accounts.settle()
    assert accounts.rows("acc", call.call_id) == []
    call.exchange("INFO", extra='X-Note: he said "so"; it\'s true\r\n')
    call.hang_up(upstream=True)
    (row,) = accounts.wait_rows("acc", call.call_id)
    assert told(row) == ("INVITE", "200", "x")
    assert (row["who"], row["note"]) == ("cdr", 'he said "so"; it\'s true')
    assert (row["from_tag"], row["to_tag"]) == (
        tag_of(call.arrived.header("From")),
        tag_of(call.answer.header("To")),
    )
    assert row["duration"] == -(-row["ms_duration"] // 1000)
    assert 0 < row["ms_duration"] < 10_000
    assert row["created"] <= row["time"]
    (line, bye) = accounts.lines(call.call_id, 2)
    assert re.fullmatch(
        r"ACC: call ended: created=\d+;call_start_time=\d+;duration=\d+;ms_duration=\d+;setuptime=\d+;method=INVITE;"
        rf"from_tag=[^;]+;to_tag=[^;]+;call_id={call.call_id};code=200;reason=x;who=cdr",
        line,
    )
    assert "method=BYE;" in bye
    assert accounts.cached(f"cdr {call.call_id}") == f"cdr 200 {row['duration']}"


def test_a_call_that_this_server_ends_is_recorded_too(accounts: Accounts, call: Call) -> None:
    call.establish("cdr")
    dialog = accounts.server.mi("dlg_list", {"callid": call.call_id})["Dialog"]
    accounts.server.mi("dlg_end_dlg", {"dialog_id": dialog["ID"]})
    for phone in (call.caller, call.callee):
        phone.reply(phone.wait_request("BYE"), 200)
    assert told(accounts.wait_rows("acc", call.call_id)[0])[:2] == ("INVITE", "200")
    accounts.settle()
    assert len(accounts.rows("acc", call.call_id)) == 1


def test_a_request_of_the_callee_has_the_ends_as_the_caller_had_them(accounts: Accounts, call: Call) -> None:
    call.establish("plain")
    call.hang_up(upstream=True)
    (row,) = accounts.wait_rows("byes", call.call_id)
    assert (row["method"], row["from_tag"]) == ("BYE", tag_of(call.arrived.header("From")))
    assert row["to_tag"] == tag_of(call.answer.header("To"))


def test_busy_is_recorded_where_failures_are(accounts: Accounts, call: Call) -> None:
    call.ring("plain")
    call.pick_up(486)
    (row,) = accounts.wait_rows("acc", call.call_id)
    assert told(row)[:2] == ("INVITE", "486")
    assert accounts.cached(f"missed {call.call_id}").startswith("486 ")
    assert accounts.rows("missed_calls", call.call_id) == []


def test_busy_is_not_recorded_where_only_answers_are(accounts: Accounts, call: Call) -> None:
    call.ring("quiet")
    call.pick_up(486)
    accounts.settle()
    assert accounts.rows("acc", call.call_id) == []
    assert accounts.rows("missed_calls", call.call_id) == []


def test_a_call_that_fails_is_missed_and_no_call(accounts: Accounts, call: Call) -> None:
    call.ring("cdr")
    call.pick_up(486)
    assert told(accounts.wait_rows("missed_calls", call.call_id)[0])[:2] == ("INVITE", "486")
    assert told(accounts.wait_rows("acc", call.call_id)[0])[:2] == ("INVITE", "486")
    lines = accounts.lines(call.call_id, 2)
    assert [line.split(":")[1] for line in lines] == [" call missed", " transaction answered"]


def test_each_destination_that_does_not_take_it_is_a_missed_call(accounts: Accounts, call: Call) -> None:
    third = Peer(accounts.server.sip_port)
    call.ring("missed", extra=f"X-Next: {third.port}\r\n")
    call.callee.reply(call.arrived, 480)
    third.wait_request("INVITE")  # which it never answers
    call.caller.wait_reply(call.call_id, 408)
    rows = accounts.wait_rows("missed_calls", call.call_id, 2)
    assert [told(row)[1] for row in rows] == ["480", "408"]
    assert (rows[1]["sip_reason"], rows[1]["to_tag"]) == ("Request Timeout", "")
    assert rows[1]["setuptime"] in (0, 1, 2)
    assert rows[0]["created"] is not None
    accounts.settle()
    assert accounts.rows("acc", call.call_id) == []
    third.close()


def test_a_cancelled_call(accounts: Accounts, call: Call) -> None:
    call.ring("plain")
    call.callee.reply(call.arrived, 180)
    call.caller.wait_reply(call.call_id, 180)
    call.caller.cancel(call.invite)
    cancel = call.callee.wait_request("CANCEL")
    call.callee.reply(cancel, 200)
    call.callee.reply(call.arrived, 487)
    call.caller.wait_reply(call.call_id, 487)
    rows = accounts.wait_rows("acc", call.call_id, 2)
    assert [told(row)[:2] for row in rows] == [("CANCEL", "200"), ("INVITE", "487")]


def test_a_refusal_of_the_script(accounts: Accounts, call: Call) -> None:
    invite = call.caller.request("INVITE", f"sip:refused@127.0.0.1:{accounts.server.sip_port}")
    call.caller.send(invite)
    call_id = Received(invite, ("", 0)).call_id
    final = call.caller.wait_reply(call_id, 403)
    (row,) = accounts.wait_rows("acc", call_id)
    assert told(row) == ("INVITE", "403", "Not; you")
    assert row["to_tag"] == tag_of(final.header("To"))
    assert told(accounts.wait_rows("missed_calls", call_id)[0]) == told(row)
    assert all("reason=Not%3B you;who=refused" in line for line in accounts.lines(call_id, 2))


def test_a_parked_request_keeps_its_account(accounts: Accounts, call: Call) -> None:
    call.establish("parked")
    (row,) = accounts.wait_rows("acc", call.call_id)
    assert (told(row)[1], row["who"]) == ("200", "parked")


def test_both_answers_of_a_forked_call(accounts: Accounts, call: Call) -> None:
    first = call.ring("fork")
    second = call.callee.wait_request("INVITE")
    assert first.branch != second.branch
    for arrived, tag in ((first, "one"), (second, "two")):
        call.callee.reply(arrived, 200, tag=tag)
        call.caller.wait_reply(call.call_id, 200)
    rows = accounts.wait_rows("acc", call.call_id, 2)
    assert [(told(row)[1], row["to_tag"]) for row in rows] == [("200", "one"), ("200", "two")]


def test_early_media(accounts: Accounts, call: Call) -> None:
    call.ring("plain")
    call.callee.reply(call.arrived, 183, body="v=0\r\n")
    call.caller.wait_reply(call.call_id, 183)
    call.pick_up()
    assert [told(row)[1] for row in accounts.wait_rows("acc", call.call_id, 2)] == ["183", "200"]


def test_what_is_dropped_is_not_recorded(accounts: Accounts, call: Call) -> None:
    call.establish("dropped")
    accounts.lines(call.call_id)
    accounts.settle()
    assert accounts.rows("acc", call.call_id) == []


def test_what_the_script_reports_itself_however_hostile(accounts: Accounts, call: Call) -> None:
    nasty = "x'); DROP TABLE acc; -- \\ \"" + "y" * 6_000
    request = call.caller.request(
        "INVITE", f"sip:report@127.0.0.1:{accounts.server.sip_port}", extra=f"X-Note: {nasty}\r\n"
    )
    call.caller.send(request)
    call_id = Received(request, ("", 0)).call_id
    call.caller.wait_reply(call_id, 404)
    (row,) = accounts.wait_rows("reports", call_id)
    assert told(row) == ("INVITE", "404", "Nobody home")
    assert row["note"] == nasty[:1024]
    assert accounts.cached(f"missed {call_id}") == "404 Nobody home"
    assert "ACC: request accounted: timestamp=" in accounts.lines(call_id)[0]


def test_a_killed_process_loses_no_call(accounts: Accounts, call: Call) -> None:
    call.establish("cdr")
    server, before = accounts.server, accounts.server.pids("SIP")
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: len(server.pids("SIP")) == 3 and not set(server.pids("SIP")) & set(before))
    call.hang_up()
    (row,) = accounts.wait_rows("acc", call.call_id)
    assert (told(row), row["who"]) == (("INVITE", "200", "x"), "cdr")


def test_a_killed_server_loses_no_call_that_the_database_has(start_server: Callable[..., Server], tmp: Path) -> None:
    head = HEAD % (tmp / "calls.db") + 'modparam("dialog", "db_mode", 1)\n'
    accounts = Accounts(start_server(ROUTES, head=head, options=FEWER), tmp / "calls.db")
    with calling(accounts.server) as call:
        call.establish("cdr", extra="X-Straight: yes\r\n")
        wait_until(lambda: accounts.rows("dialog", call.call_id), what="the dialog is in the database")
        accounts.server.process.kill()
        accounts.server.process.wait()
        again = start_server(ROUTES, head=head, options=FEWER)
        call.caller.server = call.callee.server = ("127.0.0.1", again.sip_port)
        call.hang_up()
        (row,) = accounts.wait_rows("acc", call.call_id)
        assert (told(row), row["who"]) == (("INVITE", "200", "x"), "cdr")


def test_a_killed_worker_loses_no_record(accounts: Accounts, call: Call) -> None:
    server = accounts.server
    accounts.settle()
    with locked(accounts.path):
        call.establish("plain")
        wait_until(lambda: any(job["worker"] for job in server.mi("job_list")["Jobs"]))
        (worker,) = server.pids("MI worker")
        os.kill(worker, signal.SIGKILL)
    assert len(accounts.wait_rows("acc", call.call_id)) == 1


def test_a_database_that_is_away_and_comes_back(accounts: Accounts, call: Call) -> None:
    accounts.settle()
    away = accounts.path.with_suffix(".away")
    for suffix in ("", "-wal", "-shm"):
        found = accounts.path.with_name(accounts.path.name + suffix)
        if found.exists():
            found.rename(away.with_name(away.name + suffix))
    accounts.path.mkdir()
    for worker in accounts.server.pids("MI worker"):  # it has the old file open
        os.kill(worker, signal.SIGKILL)
    call.establish("plain")
    wait_until(lambda: "accounts wait for the database" in accounts.server.log())
    call.hang_up()  # nobody waits for it
    assert accounts.server.statistic("acc:waiting_records") == 2
    accounts.path.rmdir()
    accounts.wait_rows("acc", call.call_id)
    accounts.wait_rows("byes", call.call_id)
    assert accounts.server.statistic("acc:lost_records") == 0


def test_the_end_writes_what_waits(start_server: Callable[..., Server], tmp_path: Path) -> None:
    path = tmp_path / "calls.db"
    accounts = Accounts(start_server(ROUTES, head=HEAD % path, options=WORKERS), path)
    with calling(accounts.server) as call:
        call.establish("plain")
        accounts.wait_rows("acc", call.call_id)
        with locked(path):
            call.hang_up()
            wait_until(lambda: accounts.server.statistic("acc:waiting_records") == 1)
            accounts.server.process.send_signal(signal.SIGTERM)
        assert accounts.server.wait() == 0
        assert len(accounts.rows("byes", call.call_id)) == 1


def test_what_cannot_be_accounted_is_told_to_the_script(start_server: Callable[..., Server], tmp: Path) -> None:
    routes = """
    route {
        do_accounting("db");
        $avp(codes) = $rc;
        do_accounting("log", "cdr");
        $avp(codes) = $rc;
        do_accounting("log", "failed", "no; table");
        $avp(codes) = $rc;
        acc_db_request("404 Not here", "acc");
        $avp(codes) = $rc;
        do_accounting("log", "failed");
        append_to_reply("X-Codes: $(avp(codes)[*]) $rc\\r\\n");
        t_newtran();
        t_reply(404, "Not here");
    }
    """
    accounts = Accounts(start_server(routes, head='loadmodule "acc.so"\n', options=WORKERS), tmp)
    with calling(accounts.server) as call:
        invite = call.caller.request("INVITE", f"sip:bob@127.0.0.1:{accounts.server.sip_port}")
        call.caller.send(invite)
        final = call.caller.wait_final(Received(invite, ("", 0)).call_id)
        assert final.header("X-Codes") == "-1, -1, -1, -1 1"
        assert len(accounts.lines(final.call_id)) == 1
        assert "do_accounting(db, None, None) cannot be done" in accounts.server.log()
