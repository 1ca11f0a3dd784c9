"""Accounting while processes are killed and the database is away: what is to be recorded is, and once."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.harness import Server, wait_until
from tests.processes.accounts import FEWER, HEAD, ROUTES, WORKERS, Accounts, calling, told
from tests.processes.dialog_calls import Call

pytestmark = pytest.mark.processes


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


def test_a_killed_process_loses_no_call(accounts: Accounts, call: Call) -> None:
    call.establish("cdr")
    server, before = accounts.server, accounts.server.pids("SIP")
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    server.wait_replaced(before)
    call.hang_up()
    (row,) = accounts.wait_rows("acc", call.call_id)
    assert (told(row), row["who"]) == (("INVITE", "200", "x"), "cdr")


def test_a_process_that_is_killed_while_calls_end_loses_and_doubles_none(accounts: Accounts) -> None:
    server = accounts.server
    with contextlib.ExitStack() as stack:
        calls = [stack.enter_context(calling(server)).establish("cdr") for _ in range(20)]
        before = server.pids("SIP")
        victim = before[1]
        byes = {}
        for number, call in enumerate(calls):
            byes[call.call_id] = call.say("BYE").text
            if number == 10:
                os.kill(victim, signal.SIGKILL)
        part(calls, byes)
    for call in calls:
        accounts.wait_rows("acc", call.call_id)
        accounts.lines(call.call_id)
    accounts.settle()
    assert [len(accounts.rows("acc", call.call_id)) for call in calls] == [1] * 20
    server.wait_replaced(before, victim)


def part(calls: list[Call], byes: dict[str, str]) -> None:
    """Answer BYEs, and send them again as phones do, until each has its answer."""
    open_calls, again_at = list(calls), time.monotonic() + 0.3

    def all_over() -> bool:
        nonlocal again_at
        open_calls[:] = [call for call in open_calls if not _is_over(call)]
        if time.monotonic() > again_at:
            again_at += 0.3
            for call in open_calls:
                call.caller.send(byes[call.call_id])
        return not open_calls

    wait_until(all_over, what="every BYE has its answer")


def _is_over(call: Call) -> bool:
    call.callee.collect()
    call.caller.collect()
    for message in call.callee.received:
        if message.method == "BYE" and not message.is_reply:
            call.callee.reply(message, 200)
    call.callee.received.clear()
    return any(message.is_reply and message.method == "BYE" for message in call.caller.received)


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
