"""The server under test: its script, its database, and what its processes have used."""

from __future__ import annotations

import http.client
import json
import sqlite3
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pools_peers.processes import descendants
from sip_ends import HOST

from mi_load.calls import NUMBERS_FROM
from mi_load.operating import EVENT
from runtime.memory import cpu_s_of
from runtime.traffic.server import Server

MIB: Final = 1 << 20

SCRIPT: Final = """
log_level=2
udp_workers={sip_processes}
mi_workers={mi_workers}
socket=udp:127.0.0.1:{port}
loadmodule "proto_udp.so"
loadmodule "signaling.so"
loadmodule "sl.so"
loadmodule "tm.so"
loadmodule "rr.so"
loadmodule "maxfwd.so"
loadmodule "sipmsgops.so"
loadmodule "dialog.so"
loadmodule "event_datagram.so"
loadmodule "mi_script.so"
loadmodule "httpd.so"
modparam("httpd", "ip", "127.0.0.1")
modparam("httpd", "port", {http_port})
loadmodule "mi_http.so"
{modules}
route {
    if (!mf_process_maxfwd_header(70)) {
        sl_send_reply(483, "Too Many Hops");
        exit;
    }
    if (has_totag()) {
        if (loose_route())
            t_relay();
        else if (!is_method("ACK"))
            sl_send_reply(404, "Not Here");
        else if (t_check_trans())
            t_relay();
        exit;
    }
    if (is_method("OPTIONS")) {
        route(asked);
        exit;
    }
    if (!is_method("INVITE")) {
        t_relay();
        exit;
    }
    record_route();
    create_dialog();
    {routing}
    if (!t_relay())
        sl_reply_error();
}
route[asked] {
    t_newtran();
    switch ($rU) {
    {reloads}
    default:
        t_reply(200, "OK");
    }
}
"""

_NO_ROUTING: Final = '$du = "sip:127.0.0.1:{uas_port}";'
"""Without rules every call goes the same way."""

_ROUTING: Final = """if (!do_routing(0)) {
        t_reply(404, "No Route");
        exit;
    }"""

_MODULES: Final = """
loadmodule "db_sqlite.so"
loadmodule "drouting.so"
modparam("drouting", "db_url", "sqlite://{database}")
"""

_RELOADS: Final = """
    case "launch":
        launch(mi("dr_reload"), launched, "$cs");
        t_reply(202, "Accepted");
        break;
    case "async":
        async(mi("dr_reload"), reloaded, 300);
        break;
    case "mi":
        mi("dr_reload"); # layby: ignore[blocking-mi]
        route(reloaded);
        break;
"""

_RELOADED: Final = """
route[launched] {
    $avp(serial) = $param(1);
    route(tell);
}
route[reloaded] {
    $avp(serial) = $cs;
    route(tell);
    t_reply(200, "OK");
}
route[tell] {
    $avp(names) = "rc";
    $avp(values) = $rc;
    $avp(names) = "serial";
    $avp(values) = $avp(serial);
    raise_event("{event}", $avp(names), $avp(values));
}
"""


@dataclass(frozen=True, slots=True)
class Site:
    """What a server is started for.

    Args:
        folder: where its files go.
        port: its UDP port on 127.0.0.1.
        uas_port: where calls go.
        http_port: of MI.
        sip_processes, mi_workers: how many of each it has.
        database: of the rules; None for none.
    """

    folder: Path
    port: int
    uas_port: int
    http_port: int
    sip_processes: int
    mi_workers: int
    database: Path | None

    def start(self) -> Server:
        """Start the server; the caller enters it to have it stopped, and waits until it is ready."""
        script = self.folder / "layby.cfg"
        script.write_text(self._script())
        run = ["run", str(script), "-R", str(self.folder / "run"), "--mi-workers-max", str(self.mi_workers)]
        return Server([sys.executable, "-m", "runtime", *run], self.port)

    def _script(self) -> str:
        with_rules = self.database is not None
        text = SCRIPT + (_RELOADED if with_rules else "")
        for key, value in {
            "modules": _MODULES if with_rules else "",
            "routing": _ROUTING if with_rules else _NO_ROUTING,
            "reloads": _RELOADS if with_rules else "",
            "event": EVENT,
            "database": self.database,
            "port": self.port,
            "uas_port": self.uas_port,
            "http_port": self.http_port,
            "sip_processes": self.sip_processes,
            "mi_workers": self.mi_workers,
        }.items():
            text = text.replace("{" + key + "}", str(value))
        return text

    def ask(self, method: str) -> Any:
        """One MI command without parameters; its result."""
        return ask(self.http_port, method)["result"]


def ask(http_port: int, method: str, params: dict[str, Any] | None = None, within_s: float = 60.0) -> dict[str, Any]:
    """One MI command over HTTP.

    Returns:
        the JSON-RPC reply, with its result or its error.

    Raises:
        OSError, http.client.HTTPException, ValueError: nobody answers in time, or whoever does breaks off.
    """
    connection = http.client.HTTPConnection(HOST, http_port, timeout=within_s)
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params or {}})
    try:
        connection.request("POST", "/mi", body, {"Content-Type": "application/json"})
        answer: dict[str, Any] = json.loads(connection.getresponse().read())
    finally:
        connection.close()
    return answer


def write_rules(path: Path, rules: int, uas_port: int) -> None:
    """A database with one gateway and so many rules to it, each with a prefix of its own."""
    with sqlite3.connect(path) as database:
        for statement in _TABLES:
            database.execute(statement)
        database.execute(
            "INSERT INTO dr_gateways (gwid, type, address) VALUES ('gw1', 0, ?)", (f"127.0.0.1:{uas_port}",)
        )
        database.executemany(
            "INSERT INTO dr_rules (groupid, prefix, timerec, priority, gwlist, attrs) VALUES ('0', ?, '', 0, 'gw1', ?)",
            ((str(NUMBERS_FROM + number), f"rate={number % 97}") for number in range(rules)),
        )
    database.close()


_TABLES: Final = (
    "CREATE TABLE dr_gateways (id INTEGER PRIMARY KEY, gwid TEXT, type INTEGER DEFAULT 0, address TEXT,"
    " strip INTEGER DEFAULT 0, pri_prefix TEXT, attrs TEXT, probe_mode INTEGER DEFAULT 0, state INTEGER DEFAULT 0,"
    " socket TEXT, description TEXT)",
    "CREATE TABLE dr_rules (ruleid INTEGER PRIMARY KEY, groupid TEXT, prefix TEXT, timerec TEXT,"
    " priority INTEGER DEFAULT 0, routeid TEXT, gwlist TEXT, sort_alg TEXT DEFAULT 'N', sort_profile INTEGER,"
    " attrs TEXT, description TEXT)",
    "CREATE TABLE dr_carriers (id INTEGER PRIMARY KEY, carrierid TEXT, gwlist TEXT, flags INTEGER DEFAULT 0,"
    " sort_alg TEXT DEFAULT 'N', state INTEGER DEFAULT 0, attrs TEXT, description TEXT)",
    "CREATE TABLE dr_groups (id INTEGER PRIMARY KEY, username TEXT, domain TEXT, groupid INTEGER, description TEXT)",
)


@dataclass(frozen=True, slots=True)
class Usage:
    """What the server's processes have used at one moment.

    Args:
        cpu_s: CPU seconds by PID.
        memory_mib: the proportional share of memory of all of them together.
    """

    cpu_s: dict[int, float]
    memory_mib: float


def usage(server: Server) -> Usage:
    """What the server has used so far."""
    cpu_s = {pid: cpu_s_of(pid) for pid in {server.pid, *descendants(server.pid)}}
    return Usage(cpu_s, sum(map(memory_mib, cpu_s)))


def memory_mib(pid: int) -> float:
    """The proportional share of memory of a process (PSS)."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024 / MIB
    return 0.0
