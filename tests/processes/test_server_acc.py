"""Accounting of a real server's calls: what is in the log and in the database when they have ended in every way."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.harness import Server
from tests.processes.accounts import WORKERS, Accounts, calling, told
from tests.processes.dialog_calls import Call
from tests.sip_peer import Peer, Received

pytestmark = pytest.mark.processes


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


def test_a12_a_call_that_is_first_accounted_where_it_resumes_is_recorded(accounts: Accounts, call: Call) -> None:
    # #810: what watched the request had looked for its accounts before the resume route ran.
    call.establish("resumed")
    call.hang_up()
    (row,) = accounts.wait_rows("acc", call.call_id)
    assert told(row) == ("INVITE", "200", "x")
    assert row["who"] == "resumed"
    assert 0 < row["ms_duration"] < 10_000


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
