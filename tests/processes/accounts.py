"""A server that accounts its calls, and what there is of them in its log and its database."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.harness import Server, wait_until
from tests.processes.dialog_calls import Call
from tests.sip_peer import Peer

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
    case "missed":
        $T_fr_timeout = 1;
        do_accounting("log|db", "missed");
        t_on_failure("again");
        break;
    case "quiet": do_accounting("log|db"); break;
    case "dropped": do_accounting("log|db", "failed"); drop_accounting("db"); break;
    case "parked": do_accounting("log|db", "failed"); async(mi("bench_wait 50"), out);
    case "resumed": async(mi("bench_wait 50"), accounted);
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
route[accounted] {
    do_accounting("db", "cdr");
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


@contextlib.contextmanager
def calling(server: Server) -> Iterator[Call]:
    """A call to be made through a server."""
    caller, callee = Peer(server.sip_port), Peer(server.sip_port)
    try:
        yield Call(caller, callee)
    finally:
        caller.close()
        callee.close()


def told(row: dict[str, Any]) -> tuple[str, str, str]:
    return row["method"], row["sip_code"], row["sip_reason"]
