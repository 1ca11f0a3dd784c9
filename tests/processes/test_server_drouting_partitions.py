"""Dynamic routing in partitions: reloading them by MI, from the script and beside it, probing, and states that last."""

from __future__ import annotations

import fcntl
import json
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from runtime.drouting.partitions import TableNames
from tests.harness import Server, wait_until
from tests.postgres import Postgres
from tests.processes.routing_tables import RoutingTables, phones, sqlite_url
from tests.sip_peer import Peer, Received

pytestmark = pytest.mark.processes

HEAD = """
loadmodule "mi_fifo.so"
modparam("mi_fifo", "fifo_name", "%s/fifo")
modparam("mi_fifo", "reply_dir", "%s")
loadmodule "drouting.so"
modparam("drouting", "use_partitions", 1)
modparam("drouting", "db_partitions_url", "%s")
modparam("drouting", "partition_id_pvar", "$var(partition)")
modparam("drouting", "probing_interval", 1)
modparam("drouting", "probing_reply_codes", "404, 501")
modparam("drouting", "probing_from", "sip:watch@example.com")
modparam("drouting", "no_concurrent_reload", 1)
"""
ROUTES = """
route {
    $var(partition) = "-";
    switch ($rU) {
    case "sync":
        $var(rc) = mi("dr_reload extensions", $var(answer));
        sl_send_reply(200, "$rc $var(answer)");
        exit;
    case "async":
        async(mi("dr_reload extensions", $avp(answer)), reloaded);
        exit;
    case "launch":
        launch(mi("dr_reload extensions", $avp(answer)), report);
        sl_send_reply(202, "Begun");
        exit;
    }
    if (!do_routing(0, , , $avp(attrs), , , $hdr(X-Partition))) { sl_send_reply(404, "No route"); exit; }
    if (is_method("OPTIONS")) { sl_send_reply(200, "$var(partition) $avp(attrs)"); exit; }
    t_relay();
}
route[reloaded] { send_reply(200, "$rc $avp(answer)"); }
route[report] { cache_store("local", "report", "$rc $avp(answer)"); }
"""
EXTENSIONS, TRUNKS = TableNames(), TableNames("t_gateways", "t_rules", "t_groups", "t_carriers")


@dataclass
class Office:
    """A server with the partitions extensions and trunks, their tables, and a gateway of each."""

    server: Server
    folder: Path
    extensions: RoutingTables
    trunks: RoutingTables
    desk: Peer
    trunk: Peer

    def found(self, caller: Peer, number: str, partition: str = "extensions") -> str:
        """The partition that `*` found and the rule's attributes, or why there is none."""
        text = caller.request(
            "OPTIONS", f"sip:{number}@127.0.0.1:{caller.server[1]}", extra=f"X-Partition: {partition}\r\n"
        )
        caller.send(text)
        return caller.wait_final(Received(text, ("", 0)).call_id).start.split(" ", 2)[2]

    def state(self, gateway: str) -> str:
        params = {"partition_name": "trunks", "gw_id": gateway}
        return str(self.server.mi("dr_gw_status", params)["State"])


@pytest.fixture(scope="module")
def office(start_shared: Callable[..., Server], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    folder = tmp_path_factory.mktemp("dr")
    url = sqlite_url(folder / "routes.db")
    with phones(2) as (desk, trunk):
        extensions, trunks = RoutingTables(url, EXTENSIONS), RoutingTables(url, TRUNKS)
        extensions.gateway("desk", desk)
        extensions.rule("10", "desk", attrs="desks")
        trunks.gateway("t1", trunk, probe_mode=2)
        trunks.gateway("t2", trunk, probe_mode=1, state=2)
        trunks.gateway("t3", trunk, probe_mode=1, state=1)
        trunks.gateway("steady", trunk)
        trunks.rule("49", "steady", attrs="germany")
        names = dict(zip(("drd_table", "drr_table", "drg_table", "drc_table"), TRUNKS, strict=True))
        extensions.partition("extensions", db_url=url)
        extensions.partition("trunks", db_url=url, **names, gw_id_avp="$avp(gw)")
        extensions.partition("broken", db_url="nonsense")
        server = start_shared(ROUTES, head=HEAD % (folder, folder, url), options=("--mi-workers", "2"))
        yield Office(server, folder, extensions, trunks, desk, trunk)
        extensions.close()
        trunks.close()


@pytest.fixture
def caller(office: Office) -> Iterator[Peer]:
    with phones(1, office.server.sip_port) as (made,):
        yield made


def test_each_partition_has_rules_of_its_own(office: Office, caller: Peer) -> None:
    assert office.found(caller, "101") == "- desks"
    assert office.found(caller, "101", "trunks") == "No route"
    assert office.found(caller, "491", "trunks") == "- germany"
    assert office.found(caller, "491", "nowhere") == "No route"


def test_a_star_stands_for_all_partitions_and_tells_which_was_found(office: Office, caller: Peer) -> None:
    assert office.found(caller, "101", "*") == "extensions desks"
    assert office.found(caller, "491", "*") == "trunks germany"
    assert office.found(caller, "1", "*") == "No route"


def test_a_call_without_a_partition_is_told_in_the_log(office: Office, caller: Peer) -> None:
    assert office.found(caller, "101", "") == "No route"
    wait_until(lambda: "has to name its partition" in office.server.log())


def test_commands_name_their_partition(office: Office) -> None:
    server = office.server
    assert server.mi_error("dr_gw_status")["code"] == 400
    assert server.mi_error("dr_gw_status")["message"] == "Missing parameter: 'partition_name'"
    assert server.mi_error("dr_gw_status", {"partition_name": "nowhere"})["code"] == 404
    (row,) = server.mi("dr_gw_status", {"partition_name": "extensions"})["Gateways"]
    assert row == {"ID": "desk", "IP": f"127.0.0.1:{office.desk.port}", "State": "Active"}
    assert server.mi("dr_carrier_status", {"partition_name": "extensions"}) == {"Carriers": []}
    assert server.mi("dr_number_routing", {"partition_name": "trunks", "number": "491"})["Matched Prefix"] == "49"
    told = server.mi("dr_reload_status")["Partitions"]
    assert [one["name"] for one in told] == ["extensions", "trunks"]
    assert server.mi("dr_reload_status", ["trunks"]) == told[1]


def fifo(office: Office, method: str, params: object) -> object:
    """Call MI over the FIFO."""
    reply = office.folder / "answer"
    os.mkfifo(reply)
    request = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
    (office.folder / "fifo").write_text(f":{reply.name}:{request}\n")
    text = reply.read_text()
    reply.unlink()
    return json.loads(text)["result"]


def by_http(office: Office, caller: Peer) -> str:
    return json.dumps(office.server.mi("dr_reload", ["extensions"]))


def by_fifo(office: Office, caller: Peer) -> str:
    return json.dumps(fifo(office, "drouting:reload", {"partition_name": "extensions", "inherit_state": "0"}))


def by_all(office: Office, caller: Peer) -> str:
    return json.dumps(office.server.mi("dr_reload"))


def by_script(office: Office, caller: Peer, user: str = "sync") -> str:
    return office.found(caller, user).removeprefix("1 ")


def by_async(office: Office, caller: Peer) -> str:
    return by_script(office, caller, "async")


def by_launch(office: Office, caller: Peer) -> str:
    office.server.mi("cache_store", ["local", "report", "none"])
    assert office.found(caller, "launch") == "Begun"

    def reported() -> str:
        told = str(office.server.mi("cache_fetch", ["local", "report"])["value"])
        return "" if told == "none" else told.removeprefix("1 ")

    return str(wait_until(reported))


@pytest.mark.parametrize("reload", [by_http, by_fifo, by_all, by_script, by_async, by_launch])
def test_a_reload(office: Office, caller: Peer, reload: Callable[[Office, Peer], str]) -> None:
    office.extensions.rule("2", "desk", attrs=reload.__name__)
    assert reload(office, caller) == '"OK"'
    # It is another process that may answer next.
    wait_until(lambda: office.found(caller, "21") == f"- {reload.__name__}")
    office.extensions.drop_rules()
    office.extensions.rule("10", "desk", attrs="desks")


@pytest.mark.parametrize(
    ("reload", "process"), [(by_http, "worker"), (by_async, "worker"), (by_launch, "worker"), (by_script, "sip")]
)
def test_where_the_tables_are_loaded(
    office: Office, caller: Peer, reload: Callable[[Office, Peer], str], process: str
) -> None:
    loaded = re.compile(rf" {process}-\d+\S* INFO partition extensions: 1 rules, 1 gateways, 0 carriers and 0 users")
    before = len(loaded.findall(office.server.log()))
    reload(office, caller)
    wait_until(lambda: len(loaded.findall(office.server.log())) == before + 1, what="it is told in the log")


def test_a_partition_says_whether_it_is_loaded_and_what_has_happened(office: Office) -> None:
    server = office.server
    found = server.mi("sr_get_status", ["drouting", "trunks"])
    assert (found["Readiness"], found["Status"]) == (True, 1)
    assert found["Details"].startswith("1 rules, 4 gateways, 0 carriers and 0 users with a group loaded")
    params = {"partition_name": "extensions", "gw_id": "desk"}
    for status in (0, 1):
        server.mi("dr_gw_status", {**params, "status": status})
    reports = server.mi("sr_list_reports", ["drouting", "extensions;events"])
    assert [one["Log"] for one in reports][-2:] == [
        "desk is disabled MI: MI command",
        "desk is active: MI command",
    ]


def test_a_second_reload_is_refused_where_the_script_wants_it_so(office: Office) -> None:
    with (office.server.folder / "drouting.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert office.server.mi_error("dr_reload", ["trunks"])["message"] == "Reload already in progress"
    assert office.server.mi("dr_reload", ["trunks"]) == "OK"


def test_requests_are_served_while_tables_are_loaded(office: Office, caller: Peer) -> None:
    for _ in range(5):
        office.server.mi("dr_reload", ["trunks"])
        for _ in range(20):
            assert office.found(caller, "491", "trunks") == "- germany"


def answer_probes(office: Office, status: int, until: Callable[[], bool], what: str) -> None:
    """Have the trunk answer what it is asked, until that has come to be."""

    def look() -> bool:
        office.trunk.collect()
        for asked in office.trunk.received:
            if status:
                assert "sip:watch@example.com" in asked.header("From")
                office.trunk.reply(asked, status)
        office.trunk.received.clear()
        return until()

    wait_until(look, what=what)


def test_gateways_are_probed_as_their_mode_says(office: Office) -> None:
    answer_probes(office, 0, lambda: office.state("t1") == "Probing", "silence is noticed")
    assert (office.state("t2"), office.state("t3")) == ("Probing", "Disabled MI")
    answer_probes(office, 404, lambda: office.state("t1") == office.state("t2") == "Active", "answers are noticed")
    assert office.state("t3") == "Disabled MI"
    wait_until(lambda: office.trunks.state("t2") == 0, what="the table has the state")
    assert office.server.mi("dr_enable_probing", {"status": 0}) == "OK"


@pytest.mark.parametrize(("status", "in_table", "told"), [(0, 1, "Disabled MI"), (1, 0, "Active")])
def test_a_state_that_mi_sets_is_written_into_the_table_and_outlives_a_reload(
    office: Office, status: int, in_table: int, told: str
) -> None:
    params = {"partition_name": "trunks", "gw_id": "t1", "status": status}
    assert office.server.mi("dr_gw_status", params) == "OK"
    office.server.mi("dr_reload", {"partition_name": "trunks", "inherit_state": 0})
    assert office.state("t1") == told
    assert office.trunks.state("t1") == in_table


def test_a_server_whose_database_is_away_starts_and_loads_when_it_is_there(
    start_server: Callable[..., Server], tmp_path: Path
) -> None:
    folder = tmp_path / "later"
    url = sqlite_url(folder / "routes.db")
    head = f'loadmodule "drouting.so"\nmodparam("drouting", "db_url", "{url}")\n'
    server = start_server("route { if (!do_routing(0)) sl_send_reply(404, $ru); else t_relay(); }", head=head)
    assert "partition Default is not loaded" in server.log()
    assert server.mi("sr_get_status", ["drouting", "Default"])["Status"] < 0
    assert server.mi_error("dr_reload")["message"] == "Failed to reload"
    assert server.mi_error("dr_gw_status")["code"] == 404
    assert server.client().ask("49").status == 404
    folder.mkdir()
    rows = RoutingTables(url)
    rows.gateway("gw", 9)
    rows.close()
    wait_until(lambda: server.rpc('{"jsonrpc":"2.0","id":1,"method":"dr_gw_status"}').get("result"), 20)
    with rows.database.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE dr_rules RENAME COLUMN gwlist TO other")
    assert "gwlist" in server.mi_error("dr_reload")["data"]
    assert "partition Default stays as it was" in server.log()
    assert server.mi("dr_gw_status", {"gw_id": "gw"}) == {"State": "Active"}
    rows.close()


@pytest.mark.postgresql
def test_the_tables_may_be_in_postgresql(start_server: Callable[..., Server], postgres: Postgres) -> None:
    url = postgres.new_place()
    head = f'loadmodule "drouting.so"\nmodparam("drouting", "db_url", "{url}")\n'
    with phones(1) as (gateway,):
        rows = RoutingTables(url)
        rows.gateway("gw", gateway, probe_mode=1)
        rows.rule("49", "gw", attrs="germany")
        server = start_server("route { if (!do_routing(0)) sl_send_reply(404, $ru); else t_relay(); }", head=head)
        client = server.client()
        call, data = client.request("491")
        client.send(data)
        asked = gateway.wait_request("OPTIONS")
        assert asked.ruri == f"sip:491@127.0.0.1:{gateway.port}"
        gateway.reply(asked, 200)
        assert client.final(call).status == 200
        rows.rule("50", "gw")
        assert server.mi("dr_reload") == "OK"
        assert server.mi("dr_number_routing", {"number": "501"})["Matched Prefix"] == "50"
        server.mi("dr_gw_status", {"gw_id": "gw", "status": 0})
        wait_until(lambda: rows.state("gw") == 1, what="the table has the state")
        rows.close()
