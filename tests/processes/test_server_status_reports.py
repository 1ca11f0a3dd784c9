"""What the parts of a real server say of themselves, over MI and to scripts."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.harness import Server, wait_until

pytestmark = pytest.mark.processes

ROUTES = """
loadmodule "status_report.so"
modparam("status_report", "script_sr_group", "alarms")
modparam("status_report", "script_sr_group", "security")
route {
    if ($rU == "alarm") {
        sr_set_status("alarms", -2, "café");
        sr_add_report("alarms", "an alarm by $fU");
        sr_check_status("alarms");
        $var(is) = $rc;
        sr_set_status("core", 1);
        sl_send_reply(200, "$var(is) $rc");
        exit;
    }
    sr_check_status("core");
    $var(main) = $rc;
    sr_check_status("core", "all");
    $var(all) = $rc;
    if (sr_check_status("nothing")) $var(none) = "ready"; else $var(none) = $rc;
    sl_send_reply(200, "$var(main) $var(all) $var(none)");
}
event_route[E_CORE_SR_STATUS_CHANGED] {
    xlog("L_ERR", "CHANGED $param(group) $param(identifier) $param(status) $param(details) $param(old_status)\\n");
}
"""


@pytest.fixture(scope="module")
def server(start_shared: Callable[..., Server]) -> Server:
    found = start_shared(ROUTES, options=("--udp-workers", "2", "--mi-workers", "1"))
    wait_until(lambda: found.mi("sr_get_status", ["core"])["Readiness"], what="every process is up")
    return found


def logs(server: Server) -> list[str]:
    return [report["Log"] for report in server.mi("sr_list_reports", ["core", "main"])]


def test_a_server_that_has_come_up_is_running(server: Server) -> None:
    running = {"Readiness": True, "Status": 1, "Details": "running"}

    assert server.mi("sr_get_status", ["core"]) == running
    assert server.mi("status_report:get", {"group": "Core", "identifier": "MAIN"}) == running
    assert server.mi("sr_get_status", ["core", "all"]) == {"Readiness": True, "Status": 1, "Details": "aggregated"}
    ready = {"Name": "main", "Readiness": True, "Status": 1}
    assert server.mi("sr_list_status") == [
        {"Name": "alarms", "Identifiers": [ready]},
        {"Name": "core", "Identifiers": [{**ready, "Details": "running"}]},
        {"Name": "security", "Identifiers": [ready]},
    ]
    assert server.mi("sr_list_status", ["core"]) == [{"Name": "main", **running}]
    assert {"Group": "core", "Identifiers": ["main"]} in server.mi("sr_list_identifiers")
    assert server.mi("sr_list_identifiers", ["core"]) == {"Group": "core", "Identifiers": ["main"]}


def test_what_has_happened_is_reported_in_order_with_its_time(server: Server) -> None:
    core = next(group for group in server.mi("sr_list_reports") if group["Name"] == "core")
    (main,) = server.mi("sr_list_reports", ["core"])
    first = main["Reports"][0]

    assert core == {"Name": "core", "Identifiers": [main]}
    assert main["Reports"] == server.mi("sr_list_reports", ["core", "main"])
    assert logs(server)[:2] == ["initializing", "initialization completed, ready now"]
    assert first.keys() == {"Timestamp", "Date", "Log"}
    assert first["Date"] == time.ctime(first["Timestamp"])
    assert abs(first["Timestamp"] - time.time()) < 600


@pytest.mark.parametrize(
    ("command", "params", "message"),
    [
        ("sr_get_status", ["nothing"], "Group not found"),
        ("sr_get_status", ["core", "nothing"], "Identity not found"),
        ("sr_list_status", ["nothing"], "Group not found"),
        ("sr_list_reports", ["nothing"], "Group not found"),
        ("sr_list_reports", ["core", "nothing"], "Identifier not found"),
        ("sr_list_identifiers", ["nothing"], "Group not found"),
    ],
)
def test_what_is_not_there_is_404(server: Server, command: str, params: Any, message: str) -> None:
    error = server.mi_error(command, params)

    assert (error["code"], error["message"]) == (404, message)


def test_a_script_asks_whether_a_part_is_ready(server: Server) -> None:
    assert server.client().ask("x").reason == "1 1 -1"


def test_a_script_speaks_for_groups_of_its_own(server: Server) -> None:
    assert server.client().ask("alarm").reason == "-2 -1"

    assert server.mi("sr_get_status", ["alarms"]) == {"Readiness": False, "Status": -2, "Details": "café"}
    assert [report["Log"] for report in server.mi("sr_list_reports", ["alarms", "main"])] == ["an alarm by tester"]
    assert server.mi("sr_get_status", ["core"])["Status"] == 1
    wait_until(lambda: "there is no script_sr_group core" in server.log(), what="the log says so")


def test_a_change_of_a_status_is_an_event(server: Server) -> None:
    wait_until(lambda: "CHANGED core main 1 running -1" in server.log(), what="the event route ran")
    assert server.log().count("CHANGED core") == 1
    assert server.log().count("CHANGED security main 1") == 1


def test_a_newer_script_and_the_end_of_a_process_are_reported_once(server: Server) -> None:
    assert server.mi("reload_routes") == "OK"
    victim = server.pids("SIP")[0]
    os.kill(victim, signal.SIGKILL)

    wait_until(lambda: "sip-1.1 ended: killed by SIGKILL" in logs(server), what="the death is reported")
    assert logs(server).count("sip-1.1 ended: killed by SIGKILL") == 1
    assert logs(server).count("the script was read again, generation 1") == 1


def test_a_script_that_is_not_taken_is_reported(server: Server) -> None:
    text = server.script.read_text()
    server.script.write_text(text + "route {")
    server.mi_error("reload_routes")
    server.script.write_text(text)

    assert logs(server)[-1].startswith(f"the script was not read again: {server.script}:")


def test_the_reports_outlive_the_process_that_spoke(server: Server) -> None:
    (victim,) = set(server.pids("MI")) - set(server.pids("MI worker"))
    before = logs(server)
    os.kill(victim, signal.SIGKILL)

    def told() -> bool:
        try:
            return logs(server)[-1].startswith("mi-1.1 ended; mi-1.2 is its replacement")
        except OSError:
            return False

    wait_until(told, what="the replacement speaks")
    assert logs(server)[: len(before)] == before
    assert server.mi("sr_get_status", ["core"])["Status"] == 1


def test_a_database_that_does_not_take_what_is_recorded_is_reported(
    start_server: Callable[..., Server], tmp: Path
) -> None:
    head = f"""
    loadmodule "usrloc.so"
    loadmodule "registrar.so"
    loadmodule "dialog.so"
    db_default_url = "sqlite:{tmp / "db"}"
    modparam("usrloc", "working_mode_preset", "single-instance-sql-write-through")
    modparam("dialog", "db_mode", 1)
    """
    server = start_server('route { save("location"); }', head=head, options=("--udp-workers", "1", "--mi-workers", "1"))

    def bindings() -> dict[str, Any]:
        return dict(server.mi("sr_get_status", ["database", "bindings"]))

    wait_until(lambda: "database" in [group["Name"] for group in server.mi("sr_list_status")], what="it is known")
    assert server.mi("sr_list_identifiers", ["database"])["Identifiers"] == ["bindings", "dialogs"]
    assert bindings() == {"Readiness": True, "Status": 1, "Details": "written"}

    with contextlib.closing(sqlite3.connect(tmp / "db", isolation_level=None)) as elsewhere:
        elsewhere.execute("ALTER TABLE location RENAME TO gone")
        server.client().ask("alice", "REGISTER")
        wait_until(lambda: not bindings()["Readiness"], what="it does not take them")
        assert "no such table" in bindings()["Details"]
        elsewhere.execute("ALTER TABLE gone RENAME TO location")
    wait_until(lambda: bindings()["Readiness"], what="it takes them again")

    first, second = [report["Log"] for report in server.mi("sr_list_reports", ["database", "bindings"])]
    assert first.startswith("not written: ")
    assert second == "written again"
