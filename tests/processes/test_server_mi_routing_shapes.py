"""What the MI commands of drouting and dispatcher answer, to the letter, as `test_server_mi_shapes` has it of others.

Asked over HTTP of one server with a partition of routes and a set of destinations.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sql

from tests.harness import Server
from tests.processes.routing_tables import RoutingTables, sqlite_url

pytestmark = pytest.mark.processes

HEAD = """
loadmodule "drouting.so"
modparam("drouting", "use_partitions", 1)
modparam("drouting", "db_partitions_url", "{url}")
modparam("drouting", "probing_interval", 0)
loadmodule "dispatcher.so"
modparam("dispatcher", "db_url", "{url}")
"""
ROUTES = 'route { sl_send_reply(404, "Not Here"); }'
DISPATCHER = """
CREATE TABLE dispatcher (
    id INTEGER PRIMARY KEY, setid INTEGER, destination VARCHAR, socket VARCHAR, state INTEGER DEFAULT 0,
    probe_mode INTEGER DEFAULT 0, weight VARCHAR DEFAULT '1', priority INTEGER DEFAULT 0, attrs VARCHAR,
    description VARCHAR
)
"""
RECIPES = {
    "dr_reload": "() (inherit_state) (partition_name) (inherit_state,partition_name)",
    "dr_reload_status": "() (partition_name)",
    "dr_gw_status": "() (gw_id) (gw_id,status) (partition_name) (partition_name,gw_id) (partition_name,gw_id,status)",
    "dr_carrier_status": "() (carrier_id) (carrier_id,status) (partition_name) (partition_name,carrier_id) "
    "(partition_name,carrier_id,status)",
    "dr_number_routing": "(number) (group_id,number) (partition_name,number) (partition_name,group_id,number)",
    "dr_enable_probing": "() (status)",
    "ds_list": "() (full) (partition) (full,partition)",
    "ds_reload": "() (partition) (inherit_state) (partition,inherit_state)",
    "ds_set_state": "(state,group,address) (state,group,address,partition)",
}
IN = {"partition_name": "extensions"}


@pytest.fixture(scope="module")
def server(start_shared: Callable[..., Server], tmp_path_factory: pytest.TempPathFactory) -> Server:
    url = sqlite_url(tmp_path_factory.mktemp("routing") / "routing.db")
    rows = RoutingTables(url)
    rows.partition("extensions", db_url=url)
    rows.gateway("gw1", 5070)
    rows.gateway("gw2", 5071)
    rows.rule("1", "gw1,gw2")
    with rows.database.begin() as connection:
        connection.execute(sql.text(DISPATCHER))
        for row in ("1, 'sip:10.0.0.1', 'gold'", "1, 'sip:10.0.0.2', ''", "2, 'sip:10.0.0.3:5080', ''"):
            connection.execute(sql.text(f"INSERT INTO dispatcher (setid, destination, attrs) VALUES ({row})"))
    rows.close()
    return start_shared(ROUTES, head=HEAD.format(url=url), options=("--udp-workers", "2", "--mi-workers", "1"))


@pytest.mark.parametrize("name", RECIPES)
def test_what_each_command_can_be_called_with(server: Server, name: str) -> None:
    shown = " ".join(f"({','.join(recipe)})" for recipe in server.mi("which", [name]))
    assert sorted(shown.split(" ")) == sorted(RECIPES[name].split(" "))


# drouting


@pytest.mark.parametrize("params", [None, ["extensions"], {"inherit_state": "0"}, {"inherit_state": "1", **IN}])
def test_routes_are_loaded_anew(server: Server, params: Any) -> None:
    assert server.mi("dr_reload", params) == "OK"


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("dr_reload", ["nowhere"]),
        ("dr_reload_status", ["nowhere"]),
        ("dr_gw_status", {"partition_name": "nowhere"}),
        ("dr_carrier_status", {"partition_name": "nowhere"}),
        ("dr_number_routing", {"partition_name": "nowhere", "number": "1"}),
    ],
)
def test_a_partition_that_is_not_there(server: Server, method: str, params: Any) -> None:
    assert server.mi_error(method, params) == {"code": 404, "message": "Partition not found"}


def test_when_routes_were_loaded(server: Server) -> None:
    everything = server.mi("dr_reload_status")
    (one,) = everything["Partitions"]
    assert (list(everything), list(one), one["name"]) == (["Partitions"], ["name", "Date"], "extensions")
    assert time.strptime(one["Date"])
    assert server.mi("dr_reload_status", ["extensions"]) == one


def test_gateways(server: Server) -> None:
    rows = [
        {"ID": "gw1", "IP": "127.0.0.1:5070", "State": "Active"},
        {"ID": "gw2", "IP": "127.0.0.1:5071", "State": "Active"},
    ]
    listed = server.mi("dr_gw_status", IN)
    assert (listed, [list(row) for row in listed["Gateways"]]) == ({"Gateways": rows}, [["ID", "IP", "State"]] * 2)
    assert server.mi("dr_gw_status", {**IN, "gw_id": "gw1"}) == {"State": "Active"}
    for status, state in ((0, "Disabled MI"), (1, "Active")):
        assert server.mi("dr_gw_status", {**IN, "gw_id": "gw1", "status": status}) == "OK"
        assert server.mi("dr_gw_status", {**IN, "gw_id": "gw1"}) == {"State": state}
    assert server.mi_error("dr_gw_status", {**IN, "gw_id": "none"}) == {"code": 404, "message": "GW ID not found"}


@pytest.mark.parametrize(
    ("method", "params"), [("dr_gw_status", None), ("dr_carrier_status", None), ("dr_number_routing", {"number": "1"})]
)
def test_the_partition_has_to_be_said(server: Server, method: str, params: Any) -> None:
    error = server.mi_error(method, params)
    assert list(error) == ["code", "message", "data"]
    assert (error["code"], error["message"]) == (400, "Missing parameter: 'partition_name'")


def test_carriers_and_numbers(server: Server) -> None:
    assert server.mi("dr_carrier_status", IN) == {"Carriers": []}
    found = server.mi("dr_number_routing", {**IN, "number": "123"})
    assert found == {"Matched Prefix": "1", "GW List": [{"GATEWAY": "gw1"}, {"GATEWAY": "gw2"}]}
    assert list(found) == ["Matched Prefix", "GW List"]
    assert server.mi("dr_number_routing", {**IN, "group_id": 0, "number": "9"}) == "No match"
    assert server.mi("dr_enable_probing") == {"Status": 1}


# dispatcher


def destination(uri: str, **more: Any) -> dict[str, Any]:
    return {"URI": uri, "state": "Active", "first_hit_counter": 0, **more}


def test_destinations(server: Server) -> None:
    first, second = destination("sip:10.0.0.1", attr="gold"), destination("sip:10.0.0.2")
    sets = [
        {"id": 1, "Destinations": [first, second]},
        {"id": 2, "Destinations": [destination("sip:10.0.0.3:5080")]},
    ]
    listed = server.mi("ds_list")
    assert listed == {"PARTITIONS": [{"name": "default", "SETS": sets}]}
    assert list(listed["PARTITIONS"][0]["SETS"][0]["Destinations"][0]) == list(first)
    full = server.mi("ds_list", {"full": 1, "partition": "default"})["PARTITIONS"][0]["SETS"][0]["Destinations"][1]
    assert (full, list(full)[-2:]) == ({**second, "weight": 1, "priority": 0}, ["weight", "priority"])
    assert server.mi_error("ds_list", {"partition": "zz"}) == {"code": 500, "message": "ERROR Unknown partition"}


def test_the_state_of_a_destination(server: Server) -> None:
    for state, title in (("i", "Inactive"), ("p", "Probing"), ("a", "Active")):
        assert server.mi("ds_set_state", [state, 2, "sip:10.0.0.3:5080"]) == "OK"
        assert server.mi("ds_list")["PARTITIONS"][0]["SETS"][1]["Destinations"][0]["state"] == title


@pytest.mark.parametrize(
    ("params", "code", "message"),
    [
        (["x", "1", "sip:10.0.0.1"], 500, "Bad state value"),
        (["a", "x", "sip:10.0.0.1"], 500, "bad group value"),
        (["a", "zz:1", "sip:10.0.0.1"], 404, "ERROR Unknown partition"),
        (["a", "1", "sip:10.9.9.9"], 404, "destination not found"),
    ],
)
def test_states_that_cannot_be_set(server: Server, params: list[str], code: int, message: str) -> None:
    assert server.mi_error("ds_set_state", params) == {"code": code, "message": message}


@pytest.mark.parametrize("params", [None, ["default"], {"inherit_state": "n"}, {"partition": "", "inherit_state": "y"}])
def test_destinations_are_loaded_anew(server: Server, params: Any) -> None:
    assert server.mi("ds_reload", params) == "OK"


def test_destinations_of_a_partition_that_is_not_there(server: Server) -> None:
    assert server.mi_error("ds_reload", ["zz"]) == {"code": 500, "message": "ERROR Unknown partition"}


@pytest.mark.parametrize("method", ["dr_reload", "ds_reload"])
def test_whether_states_are_kept_is_said_in_the_same_words_of_both(server: Server, method: str) -> None:
    for word in ("1", "0", "y", "N", "yes", 1, 0):
        assert server.mi(method, {"inherit_state": word}) == "OK"
    for word in ("", "2", "keep", "nowhere"):
        error = server.mi_error(method, {"inherit_state": word})
        assert (error["code"], error["message"]) == (400, "Bad parameter value")
