"""What each MI command answers, to the letter: names, their order, types, texts, codes, as OpenSIPS's clients have it.

Asked over HTTP of one server with everything loaded.
"""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from itertools import combinations
from threading import Thread
from typing import Any

import pytest
from typer.testing import CliRunner

from runtime.cli import app
from tests.harness import LIMIT_S, ROOT, Server, free_port, wait_until
from tests.processes.dialog_calls import Call
from tests.sip_peer import Peer

pytestmark = pytest.mark.processes

HEAD = """
loadmodule "rr.so"
loadmodule "dialog.so"
loadmodule "usrloc.so"
loadmodule "registrar.so"
loadmodule "event_datagram.so"
modparam("statistics", "stat_groups", "methods")
modparam("cachedb_local", "cachedb_url", "local:group:///chunks")
modparam("usrloc", "db_mode", 0)
modparam("cfgutils", "shvset", "debug=i:1")
modparam("cfgutils", "shvset", "gw=s:sip:10.0.0.1")
modparam("dialog", "profiles_with_value", "caller")
modparam("dialog", "profiles_no_value", "all")
modparam("dialog", "default_timeout", 3600)
"""
ROUTES = """
route {
    if (has_totag()) {
        if (!loose_route()) { sl_send_reply(404, "Not Here"); exit; }
        t_relay();
        exit;
    }
    update_stat("methods:$rm", 1);
    if ($rm == "REGISTER") { save("location"); exit; }
    if ($rm != "INVITE") { sl_send_reply(200, "OK"); exit; }
    create_dialog();
    set_dlg_profile("caller", "$fU");
    set_dlg_profile("all");
    $dlg_val(account) = "gold";
    record_route();
    $du = "sip:127.0.0.1:" + $hdr(X-To);
    t_relay();
}
"""


@pytest.fixture(scope="module")
def server(start_shared: Callable[..., Server], tmp_path_factory: pytest.TempPathFactory) -> Server:
    hashed = tmp_path_factory.mktemp("hashed") / "hashed.cfg"
    hashed.write_text("route { }")
    head = HEAD + f'modparam("cfgutils", "hash_file", "{hashed}")\n'
    tcp = ("-l", f"tcp:127.0.0.1:{free_port(socket.SOCK_STREAM)}")
    return start_shared(ROUTES, head=head, options=(*tcp, "--udp-workers", "2", "--mi-workers", "1"))


@pytest.fixture
def call(server: Server) -> Iterator[Call]:
    """A call that is established, and ended when the test is over."""
    caller, callee = Peer(server.sip_port), Peer(server.sip_port)
    made = Call(caller, callee).establish()
    wait_until(lambda: dialog_of(server, made)["state"] == 4)
    yield made
    made.exchange("BYE")
    wait_until(lambda: server.mi("dlg_list") == {"Dialogs": []}, what="the dialog is over")
    caller.close()
    callee.close()


def dialog_of(server: Server, call: Call) -> dict[str, Any]:
    return dict(server.mi("dlg_list", {"callid": call.call_id})["Dialog"])


def begun(call: Callable[[], Any]) -> Future[Any]:
    """What a call will answer, which is made beside the test."""
    found: Future[Any] = Future()
    Thread(target=lambda: found.set_result(call()), daemon=True).start()
    return found


def rpc(method: str, params: Any = None) -> str:
    return json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params or {}})


def named(pairs: object) -> list[str]:
    assert isinstance(pairs, dict)
    return list(pairs)


CTIME = re.compile(r"(Mon|Tue|Wed|Thu|Fri|Sat|Sun) [A-Z][a-z][a-z] [ 0-9]\d \d\d:\d\d:\d\d \d{4}")


# Core


def test_uptime_version_pwd_arg(server: Server) -> None:
    uptime = server.mi("uptime")
    assert named(uptime) == ["Now", "Up since", "Up time"]
    assert CTIME.fullmatch(uptime["Now"])
    assert CTIME.fullmatch(uptime["Up since"])
    assert re.fullmatch(r"\d+ \[sec\]", uptime["Up time"])
    assert re.fullmatch(r"OpenSIPS \(3\.6\.0 MI of layby \S+ \(\w+/linux\)\)", server.mi("version")["Server"])
    assert named(server.mi("version", ["revision"])) == ["Server"]
    assert server.mi("pwd") == {"WD": str(ROOT)}
    assert server.mi("arg")[-2:] == ["--mi-workers-max", "1"]


def test_ps(server: Server) -> None:
    rows = server.mi("ps")["Processes"]
    assert [list(row) for row in rows] == [["ID", "PID", "Type"]] * len(rows)
    assert rows[0] == {"ID": 0, "PID": server.process.pid, "Type": "attendant"}
    types = [row["Type"] for row in rows]
    assert types[1].startswith(f"SIP receiver udp:127.0.0.1:{server.sip_port} tcp:127.0.0.1:")
    assert types[2:] == [types[1], "MI worker", f"MI HTTPD 127.0.0.1:{server.http_port}"]
    assert [row["ID"] for row in rows] == [0, 1, 2, 3, 4]


def test_which_and_help(server: Server) -> None:
    assert server.mi("which", ["dlg_list"]) == [[], ["callid"], ["callid", "from_tag"], ["index", "counter"]]
    assert server.mi_error("which", ["zz"]) == {"code": 404, "message": "unknown MI command"}
    assert isinstance(server.mi("help"), str)
    assert named(server.mi("help", ["dlg_list"])) == ["Help", "Exported by"]
    assert server.mi("help", ["dlg_list"])["Exported by"] == "dialog"
    assert server.mi_error("help", ["zz"]) == {"code": 404, "message": "unknown MI command"}


RECIPES = {
    "uptime": "()",
    "version": "() (revision)",
    "pwd": "()",
    "arg": "()",
    "which": "() (command)",
    "ps": "()",
    "kill": "()",
    "help": "() (mi_cmd)",
    "log_level": "() (level) (level,pid)",
    "xlog_level": "() (level) (level,pid)",
    "log_level_filter": "(consumer) (consumer,level_filter)",
    "log_mute_state": "(consumer) (consumer,mute_state)",
    "cache_store": "(system,attr,value) (system,attr,value,expire)",
    "cache_fetch": "(system,attr)",
    "cache_remove": "(system,attr)",
    "event_subscribe": "(event,socket) (event,socket,expire)",
    "events_list": "()",
    "subscribers_list": "() (event) (event,socket)",
    "raise_event": "(event) (event,params)",
    "list_tcp_conns": "()",
    "mem_pkg_dump": "(pid) (pid,log_level)",
    "mem_shm_dump": "() (log_level)",
    "mem_rpm_dump": "() (log_level)",
    "reload_routes": "()",
    "shm_check": "()",
    "get_statistics": "(statistics)",
    "list_statistics": "() (statistics)",
    "reset_statistics": "(statistics)",
    "reset_all_statistics": "()",
    "t_uac_cancel": "(callid,cseq)",
    "t_hash": "()",
    "t_reply": "(code,reason,trans_id,to_tag) (code,reason,trans_id,to_tag,new_headers) "
    "(code,reason,trans_id,to_tag,body) (code,reason,trans_id,to_tag,new_headers,body)",
    "t_uac_dlg": "(method,ruri,headers) (method,ruri,headers,next_hop) (method,ruri,headers,socket) "
    "(method,ruri,headers,body) (method,ruri,headers,next_hop,socket) (method,ruri,headers,next_hop,body) "
    "(method,ruri,headers,socket,body) (method,ruri,headers,next_hop,socket,body)",
    "dlg_list": "() (callid) (callid,from_tag) (index,counter)",
    "dlg_list_ctx": "() (callid) (callid,from_tag) (index,counter)",
    "dlg_end_dlg": "(dialog_id) (dialog_id,extra_hdrs)",
    "dlg_db_sync": "()",
    "dlg_restore_db": "()",
    "profile_get_size": "(profile) (profile,value)",
    "profile_list_dlgs": "(profile) (profile,value)",
    "profile_get_values": "(profile)",
    "list_all_profiles": "()",
    "profile_end_dlgs": "(profile) (profile,value)",
    "dlg_push_var": "(dlg_val_name,dlg_val_value,DID)",
    "dlg_set_profile": "(dlg_id,profile) (dlg_id,profile,value) (dlg_id,profile,value,clear_values)",
    "dlg_unset_profile": "(dlg_id,profile) (dlg_id,profile,value)",
    "ul_rm": "(table_name,aor)",
    "ul_rm_contact": "(table_name,aor,contact)",
    "ul_dump": "() (brief)",
    "ul_flush": "()",
    "ul_add": "(table_name,aor,contact,expires,q,flags,cflags,methods)",
    "ul_show_contact": "(table_name,aor)",
    "ul_sync": "(table_name) (table_name,aor)",
    "cache_remove_chunk": "(glob) (glob,collection)",
    "cache_fetch_chunk": "(glob) (glob,collection)",
    "rand_set_prob": "(prob_proc)",
    "rand_get_prob": "()",
    "rand_reset_prob": "()",
    "get_config_hash": "()",
    "check_config_hash": "()",
    "shv_get": "() (name)",
    "shv_set": "(name,type,value)",
    "httpd_list_root_path": "()",
}
ABSENT = ["dlg_cluster_sync", "ul_cluster_sync", "trace_start", "trace_stop", "list_blacklists", "check_blacklist"]
"""Of modules, or parts of them, that this server has not: clusters, tracing, blacklists of destinations."""


@pytest.mark.parametrize("name", RECIPES)
def test_what_each_command_can_be_called_with(server: Server, name: str) -> None:
    shown = " ".join(f"({','.join(recipe)})" for recipe in server.mi("which", [name]))
    assert sorted(shown.split(" ")) == sorted(RECIPES[name].split(" "))


def test_which_lists_all_of_them_and_their_later_names(server: Server) -> None:
    names = server.mi("which")
    assert set(RECIPES) <= set(names)
    assert {"dialog:list", "statistics:get", "tcp:list", "mem:pkg_dump", "usrloc:dump", "tm:reply"} <= set(names)
    assert set(ABSENT).isdisjoint(names)


def test_dlg_send_sequential_has_a_recipe_for_each_choice_of_parameters(server: Server) -> None:
    recipes = server.mi("which", ["dlg_send_sequential"])
    assert {recipe[0] for recipe in recipes} == {"callid"}
    assert {frozenset(recipe[1:]) for recipe in recipes} == {
        frozenset(chosen) for n in range(5) for chosen in combinations(("method", "body", "mode", "headers"), n)
    }


def test_log_levels(server: Server) -> None:
    rows = server.mi("log_level")["Processes"]
    assert [list(row) for row in rows] == [["PID", "Log level", "Type"]] * len(rows)
    assert server.mi("log_level", [4]) == {"New global log level": 4}
    assert server.mi("log_level", {"level": "3", "pid": rows[0]["PID"]}) == {"Log level": 3}
    assert server.mi_error("log_level", [3, 1]) == {"code": -32602, "message": "Invalid params", "data": "Bad PID"}
    assert server.mi("log_level", [3]) == {"New global log level": 3}
    assert server.mi("xlog_level") == {"xLog Level": 3}
    assert server.mi("xlog_level", [2]) == {"New xLog level": 2}
    assert server.mi("xlog_level") == {"xLog Level": 2}
    assert server.mi("xlog_level", {"level": 4, "pid": rows[0]["PID"]}) == {"xLog level": 4}
    other = {"PID": rows[0]["PID"], "xLog level": 4, "Type": rows[0]["Type"]}
    assert server.mi("xlog_level") == {"xLog Level": 2, "Processes": [other]}
    assert server.mi_error("xlog_level", [3, 1]) == {"code": -32602, "message": "Invalid params", "data": "Bad PID"}
    assert server.mi("xlog_level", [3]) == {"New xLog level": 3}
    assert server.mi("xlog_level") == {"xLog Level": 3}


@pytest.mark.parametrize("consumer", ["stderror", "syslog"])
def test_what_the_log_goes_to(server: Server, consumer: str) -> None:
    assert server.mi("log_mute_state", [consumer]) == {"mute state": int(consumer == "syslog")}
    assert server.mi("log_level_filter", [consumer]) == {"Log level filter": 0}
    assert server.mi("log_level_filter", {"consumer": consumer, "level_filter": -1}) == "OK"
    assert server.mi("log_level_filter", [consumer]) == {"Log level filter": -1}
    assert server.mi("log_level_filter", [consumer, 0]) == "OK"
    for method in ("log_mute_state", "log_level_filter"):
        assert server.mi_error(method, ["printer"]) == {"code": 404, "message": "Unknown log consumer"}


def test_the_log_is_muted_and_filtered(server: Server) -> None:
    def dump(level: int) -> str:
        """What is logged is to be seen when the next line is."""
        server.mi("mem_shm_dump", [level])
        server.mi("log_mute_state", ["stderror", 0])
        server.mi("log_level_filter", ["stderror", 0])
        before = server.log()
        server.mi("mem_shm_dump", [-3])
        wait_until(lambda: len(server.log()) > len(before))
        return before

    lines = server.log().count("Memory status")
    server.mi("log_mute_state", ["stderror", 1])
    assert dump(-1).count("Memory status") == lines
    server.mi("log_level_filter", ["stderror", -2])
    assert dump(-1).count("Memory status") == lines + 1
    server.mi("log_level_filter", ["stderror", -1])
    wait_until(lambda: dump(-1).count("Memory status") > lines + 2)


def test_tcp_connections(server: Server) -> None:
    assert server.mi("list_tcp_conns") == {"Connections": []}
    listening = server.mi("ps")["Processes"][1]["Type"].split("tcp:")[1]
    host, _, port = listening.partition(":")
    with socket.create_connection((host, int(port))) as mine:
        local = "{}:{}".format(*mine.getsockname())
        [row] = wait_until(lambda: server.mi("list_tcp_conns")["Connections"])
        assert list(row) == ["ID", "Type", "State", "Remote", "Local", "Lifetime"]
        assert (row["Type"], row["State"], row["Remote"], row["Local"]) == ("tcp", 0, local, listening)
        assert isinstance(row["ID"], int)
        assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", row["Lifetime"])
    wait_until(lambda: server.mi("tcp:list") == {"Connections": []})


def test_memory(server: Server) -> None:
    rows = server.mi("ps")["Processes"]
    for row in rows:
        dump = server.mi("mem_pkg_dump", [row["PID"]])
        assert list(dump) == ["PID", "Type", "RSS", "PSS", "Private", "Shared", "Swap", "Peak RSS", "Heap"]
        assert (dump["PID"], dump["Type"]) == (row["PID"], row["Type"])
        assert dump["RSS"] == dump["Private"] + dump["Shared"] >= dump["PSS"] > 0
        assert dump["Peak RSS"] >= dump["Private"]
        assert (dump["Heap"] is None) == (row["ID"] == 0), "the attendant runs no commands"
    assert dump["Heap"]["Allocated blocks"] > 10_000
    assert server.mi_error("mem_pkg_dump", [1]) == {"code": 404, "message": "Process not found"}
    parts = server.mi("mem_shm_dump")["Parts"]
    assert {"tables", "store", "dialogs"} <= {part["Name"] for part in parts}
    assert all(part["Size"] > 0 for part in parts)
    assert server.mi_error("mem_rpm_dump")["code"] == 404
    assert server.mi("shm_check") == {"Stale readers": 0, "Transactions without a place": 0}


def test_the_roots_of_http(server: Server) -> None:
    roots = server.mi("httpd_list_root_path")
    assert [list(root) for root in roots] == [["http_root", "module"]] * len(roots)
    assert {"http_root": "mi", "module": "mi_http"} in roots


def test_the_script_is_reloaded(server: Server) -> None:
    assert server.mi("reload_routes") == "OK"


# Events and reports


def test_events_and_their_subscribers(server: Server) -> None:
    events = server.mi("events_list")
    assert list(events) == ["Events"]
    assert {tuple(event) for event in events["Events"]} == {("name", "id")}
    socket_text = f"udp:127.0.0.1:{free_port()}"
    subscription = {"event": "E_UL_AOR_INSERT", "socket": socket_text, "expire": 10}
    assert server.mi("event_subscribe", subscription) == "OK"
    refused = server.mi_error("event_subscribe", ["E_UL_AOR_INSERT", "nonsense"])
    assert (refused["code"], refused["message"]) == (400, "Bad parameter value")
    [event] = server.mi("subscribers_list")["Events"]
    assert list(event) == ["name", "id", "Subscribers"]
    [subscriber] = event["Subscribers"]
    assert list(subscriber) == ["socket", "expire", "ttl"]
    assert (subscriber["socket"], subscriber["expire"], subscriber["ttl"] in range(11)) == (socket_text, 10, True)
    assert list(server.mi("subscribers_list", ["E_UL_AOR_INSERT"])) == ["Event"]
    assert server.mi("event_subscribe", {**subscription, "expire": 0}) == "OK"
    unknown = server.mi_error("raise_event", ["E_NONE", ["a"]])
    assert (unknown["code"], unknown["message"]) == (404, "Event not registered")
    assert server.mi_error("raise_event", ["E_UL_AOR_INSERT"])["code"] == 480


def test_what_the_parts_of_the_server_say(server: Server) -> None:
    groups = server.mi("sr_list_status")
    assert {tuple(group) for group in groups} == {("Name", "Identifiers")}
    [core] = [group for group in groups if group["Name"] == "core"]
    assert list(core["Identifiers"][0]) == ["Name", "Readiness", "Status", "Details"]
    assert core["Identifiers"][0]["Readiness"] is True
    assert {tuple(group) for group in server.mi("sr_list_identifiers")} == {("Group", "Identifiers")}
    assert list(server.mi("sr_get_status", ["core"]))[:2] == ["Readiness", "Status"]


# Statistics


def test_what_is_asked_to_diagnose_memory(server: Server) -> None:
    got = server.mi("get_statistics", [["shmem:", "pkmem:"]])
    assert got["shmem:total_size"] > got["shmem:max_used_size"] >= got["shmem:real_used_size"] > 0
    processes = server.mi("ps")["Processes"]
    assert len([name for name in got if name.endswith("max_used_size") and "pkmem" in name]) == len(processes)
    for row in processes:
        used, most, free = (got[f"pkmem:{row['ID']}-{name}_size"] for name in ("real_used", "max_used", "free"))
        assert most >= used > 1 << 20
        assert free > 0


def test_how_busy_the_processes_are(server: Server) -> None:
    def loads() -> dict[str, int]:
        return dict(server.mi("get_statistics", [["load:"]]))

    assert loads()["load:processes_number"] == 5
    client = server.client()

    def busy() -> dict[str, int]:
        for _ in range(200):
            client.ask("x")
        found = loads()
        return found if found["load:load1m"] and found["load:load-all"] else {}

    found = wait_until(busy)
    assert {
        f"load:{name}{of}" for name in ("load", "load1m", "load10m") for of in ("", "-all", "-proc-0", "-proc-4")
    } <= set(found)
    assert found["load:load-proc-0"] < 50, "the attendant has nothing to do"
    assert all(0 <= value <= 400 for value in found.values())


def test_statistics(server: Server) -> None:
    got = server.mi("get_statistics", [["shmem:", "rcv_requests"]])
    assert all(isinstance(value, int) for value in got.values())
    assert {"shmem:total_size", "core:rcv_requests"} <= set(got)
    assert server.mi("get_statistics", {"statistics": ["nope"]}) == {}
    everything = server.mi("get_statistics", [["all"]])
    listed = server.mi("list_statistics")
    assert set(everything) == set(listed)
    assert set(listed.values()) == {"incremental", "non-incremental"}
    assert (listed["core:rcv_requests"], listed["shmem:total_size"]) == ("incremental", "non-incremental")
    assert server.mi("list_statistics", [["core:rcv_requests"]]) == {"core:rcv_requests": "incremental"}
    assert server.mi_error("get_statistics", ["rcv_requests"])["code"] == -32602, "it is no array"


def test_statistics_of_the_script(server: Server) -> None:
    for method in ("INFO", "OPTIONS", "INFO", "INFO"):
        server.client().ask("x", method)
    got = server.mi("get_statistics", [["methods:"]])
    assert (got["methods:INFO"], got["methods:OPTIONS"] > 0) == (3, True)
    assert server.mi("list_statistics", [["methods:INFO"]]) == {"methods:INFO": "incremental"}
    assert server.mi("reset_statistics", [["methods:INFO"]]) == "OK"
    assert server.mi("get_statistics", [["INFO"]]) == {"methods:INFO": 0}


def test_statistics_are_reset(server: Server) -> None:
    client = server.client()
    client.ask("x")
    assert server.mi("reset_statistics", [["rcv_requests"]]) == "OK"
    assert server.statistic("core:rcv_requests") == 0
    assert server.mi_error("reset_statistics", [["nope"]]) == {"code": 404, "message": "Statistics Not Found"}
    client.ask("x")
    assert server.mi("reset_all_statistics") == "OK"
    assert server.statistic("core:rcv_requests") == 0


# Cache


def test_the_cache(server: Server) -> None:
    assert server.mi("cache_store", {"system": "local", "attr": "k", "value": "v"}) == "OK"
    assert server.mi("cache_store", ["local:more", "k", "w", "5"]) == "OK"
    assert server.mi("cache_fetch", ["local", "k"]) == {"key": "k", "value": "v"}
    assert server.mi("cachedb:fetch", ["local:more", "k"]) == {"key": "k", "value": "w"}
    assert server.mi_error("cache_fetch", ["local", "none"]) == {"code": 400, "message": "Value not found"}
    bad = server.mi_error("cache_fetch", ["redis", "k"])
    assert (bad["code"], bad["message"]) == (500, "Cache fetch command failed")
    assert server.mi("cache_remove", ["local", "k"]) == "OK"
    assert server.mi("cache_remove", ["local", "k"]) == "OK"


@pytest.mark.parametrize(
    ("method", "params", "data"),
    [
        ("cache_store", ["", "k", "v"], "Empty memory cache id"),
        ("cache_store", ["local", "", "v"], "Empty attribute name"),
        ("cache_store", ["local", "k", ""], "Empty value"),
        ("cache_store", ["local", "k", "v", -1], "Negative expire value"),
        ("cache_store", ["local", "k", "v", "x"], "Bad type for parameter 'expire'"),
        ("cache_fetch", ["", "k"], "Empty memory cache id"),
        ("cache_remove", ["local", ""], "Empty attribute name"),
    ],
)
def test_what_the_cache_refuses(server: Server, method: str, params: list[Any], data: str) -> None:
    assert server.mi_error(method, params) == {"code": -32602, "message": "Invalid params", "data": data}


def test_the_cache_by_patterns(server: Server) -> None:
    for name in ("user_1", "user_2", "other"):
        server.mi("cache_store", ["local:chunk", name, f"of {name}"])
    assert server.mi("cache_fetch_chunk", ["none*"]) == {"keys": []}
    both = [{"name": "user_1", "value": "of user_1"}, {"name": "user_2", "value": "of user_2"}]
    assert server.mi("cache_fetch_chunk", ["user_*", "chunk"]) == {"keys": both}
    assert server.mi("cache_remove_chunk", {"glob": "user_*", "collection": "chunk"}) == "OK"
    assert server.mi("cache_fetch_chunk", ["*", "chunk"]) == {"keys": [{"name": "other", "value": "of other"}]}


def test_a_collection_that_a_store_is_given(server: Server) -> None:
    assert server.mi("cache_store", ["local:group", "k", "v"]) == "OK"
    assert server.mi("cache_fetch_chunk", ["k", "chunks"]) == {"keys": [{"name": "k", "value": "v"}]}
    assert server.mi("cache_fetch_chunk", ["k", "group"]) == {"keys": []}


# cfgutils


def test_shared_variables(server: Server) -> None:
    debug = {"name": "debug", "type": "integer", "value": 1}
    gateway = {"name": "gw", "type": "string", "value": "sip:10.0.0.1"}
    assert server.mi("shv_get") == [[debug, gateway]]
    assert server.mi("shv_get", ["debug"]) == {"VAR": debug}
    assert server.mi_error("shv_get", ["none"]) == {"code": 404, "message": "Not found"}
    assert server.mi("shv_set", ["debug", "int", "5"]) == "OK"
    assert server.mi("shv_get", ["debug"]) == {"VAR": {**debug, "value": 5}}
    assert server.mi_error("shv_set", ["debug", "int", "x"]) == {"code": 500, "message": "bad integer value"}


def test_chance(server: Server) -> None:
    assert server.mi("rand_get_prob") == {"actual probability percent": 10}
    assert server.mi("rand_set_prob", [25]) == "OK"
    assert server.mi("rand_get_prob") == {"actual probability percent": 25}
    assert server.mi_error("rand_set_prob", [101]) == {"code": 400, "message": "Bad parameter value"}
    assert server.mi_error("shv_set", ["\0probability", "int", "-5"])["code"] == 500
    assert server.mi_error("shv_get", ["\0probability"]) == {"code": 404, "message": "Not found"}
    assert server.mi("rand_get_prob") == {"actual probability percent": 25}
    assert server.mi("rand_reset_prob") == "OK"
    assert server.mi("rand_get_prob") == {"actual probability percent": 10}


def test_the_hash_of_a_file(server: Server) -> None:
    assert re.fullmatch("[0-9a-f]{32}", server.mi("get_config_hash"))
    same = "The actual config file hash is identical to the stored one."
    assert server.mi("check_config_hash") == same
    hashed = re.search(r'"hash_file", "([^"]+)"', server.script.read_text())
    assert hashed is not None
    with open(hashed[1], "a") as file:
        file.write("\n")
    other = "The actual config file hash is not identical to the stored one."
    assert server.mi_error("check_config_hash") == {"code": 400, "message": other}


# Dialogs


DIALOG = [
    "ID",
    "db_id",
    "state",
    "user_flags",
    "timestart",
    "datestart",
    "timeout",
    "dateout",
    "callid",
    "from_uri",
    "to_uri",
    "caller_tag",
    "caller_contact",
    "callee_cseq",
    "caller_route_set",
    "caller_bind_addr",
    "CALLEES",
]
CALLEE = ["callee_tag", "callee_contact", "caller_cseq", "callee_route_set", "callee_bind_addr"]


def test_a_dialog(server: Server, call: Call) -> None:
    dialog = dialog_of(server, call)
    assert list(dialog) == DIALOG
    assert [list(callee) for callee in dialog["CALLEES"]] == [CALLEE]
    kinds = {"db_id": int, "state": int, "timestart": int, "timeout": int, "CALLEES": list}
    assert {name: type(value) for name, value in dialog.items()} == {name: kinds.get(name, str) for name in DIALOG}
    assert {type(value) for value in dialog["CALLEES"][0].values()} == {str}
    assert (CTIME.fullmatch(dialog["datestart"]) is None, CTIME.fullmatch(dialog["dateout"]) is None) == (False, False)
    assert dialog["timeout"] - dialog["timestart"] in range(3599, 3602)
    assert dialog["callid"] == call.call_id

    assert server.mi("dlg_list") == {"Dialogs": [dialog]}
    assert server.mi("dlg_list", {"callid": call.call_id, "from_tag": dialog["caller_tag"]}) == {"Dialog": dialog}
    missing = {"code": 404, "message": "No such dialog"}
    assert server.mi_error("dlg_list", {"callid": call.call_id, "from_tag": "other"}) == missing
    assert server.mi_error("dlg_list", {"callid": "none"}) == missing


def test_dialogs_by_pages(server: Server, call: Call) -> None:
    dialog = dialog_of(server, call)
    paged = server.mi("dlg_list", {"index": "0", "counter": "2"})
    assert (list(paged), paged) == (["count", "Dialogs"], {"count": 1, "Dialogs": [dialog]})
    assert server.mi("dlg_list", {"index": 7, "counter": 2}) == {"count": 1, "Dialogs": []}
    assert server.mi("dlg_list", {"index": 0, "counter": 0}) == {"count": 1, "Dialogs": []}


def test_a_dialog_with_its_context(server: Server, call: Call) -> None:
    [dialog] = server.mi("dlg_list_ctx")["Dialogs"]
    assert list(dialog) == [*DIALOG, "context"]
    assert dialog["context"] == {
        "values": [{"account": "gold"}],
        "profiles": [{"caller": "tester"}, {"all": ""}],
    }


def test_profiles(server: Server, call: Call) -> None:
    dialog = dialog_of(server, call)
    both = [{"name": "all", "has value": False}, {"name": "caller", "has value": True}]
    assert server.mi("list_all_profiles") == {"Profiles": both}
    assert server.mi("profile_get_values", ["caller"]) == [{"value": "tester", "count": 1}]
    assert server.mi("profile_get_values", ["all"]) == [{"value": None, "count": 1}]
    size = server.mi("profile_get_size", ["caller"])["Profile"]
    assert list(size) == ["name", "value", "count", "shared", "replicated"]
    assert size == {"name": "caller", "value": None, "count": 1, "shared": "no", "replicated": "no"}
    assert server.mi("profile_get_size", ["caller", "nobody"])["Profile"]["count"] == 0
    assert server.mi("profile_list_dlgs", ["caller", "tester"]) == {"Dialogs": [dialog]}
    assert server.mi("profile_list_dlgs", ["caller", "nobody"]) == {"Dialogs": []}


@pytest.mark.parametrize("method", ["profile_get_values", "profile_get_size", "profile_list_dlgs", "profile_end_dlgs"])
def test_a_profile_that_is_not_there(server: Server, method: str) -> None:
    assert server.mi_error(method, ["zz"]) == {"code": 404, "message": "Profile not found"}


def test_a_dialog_is_changed(server: Server, call: Call) -> None:
    did = dialog_of(server, call)["ID"]
    assert server.mi("dlg_push_var", {"dlg_val_name": "n", "dlg_val_value": "v", "DID": [did]}) == "OK"
    assert {"n": "v"} in server.mi("dlg_list_ctx", {"callid": call.call_id})["Dialog"]["context"]["values"]
    missing = {"code": 404, "message": "Requested Dialog not found"}
    assert server.mi_error("dlg_push_var", {"dlg_val_name": "n", "dlg_val_value": "v", "DID": ["1.2"]}) == missing
    assert server.mi_error("dlg_end_dlg", ["1.2"]) == missing
    assert server.mi_error("dlg_set_profile", ["1.2", "all"]) == missing
    assert server.mi("dlg_set_profile", [did, "caller", "boss", "1"]) == "OK"
    assert server.mi("profile_get_values", ["caller"]) == [{"value": "boss", "count": 1}]
    for value in ("", "bo\0ss", "\xfc" * 201):
        refused = server.mi_error("dlg_set_profile", [did, "caller", *filter(None, [value])])
        assert (refused["code"], refused["message"]) == (400, "Bad parameter value")
    assert server.mi("profile_get_values", ["caller"]) == [{"value": "boss", "count": 1}]


def test_a_request_within_a_dialog(server: Server, call: Call) -> None:
    asked = rpc("dlg_send_sequential", {"callid": call.call_id, "method": "INFO"})
    answered = begun(lambda: server.rpc(asked))
    call.caller.reply(call.caller.wait_request("INFO"), 200, "OK")
    answer = answered.result(LIMIT_S)["result"]
    assert (list(answer), answer) == (["Code", "Reason"], {"Code": 200, "Reason": "OK"})
    missing = {"code": 404, "message": "Dialog Not Found"}
    assert server.mi_error("dlg_send_sequential", {"callid": "none"}) == missing


def test_dialogs_without_a_database(server: Server) -> None:
    assert server.mi_error("dlg_db_sync") == {"code": 400, "message": "Cannot sync in no-db mode"}


def test_a_call_is_ended(server: Server) -> None:
    caller, callee = Peer(server.sip_port), Peer(server.sip_port)
    for method, params in (("dlg_end_dlg", None), ("profile_end_dlgs", ["caller", "tester"])):
        made = Call(caller, callee).establish()
        did = wait_until(lambda made=made: dialog_of(server, made)["state"] == 4 and dialog_of(server, made)["ID"])
        assert server.mi(method, params or [did]) == "OK"
        for end in (caller, callee):
            end.reply(end.wait_request("BYE"), 200)
        wait_until(lambda: server.mi("dlg_list") == {"Dialogs": []})
    caller.close()
    callee.close()


# Transactions


def test_a_request_of_our_own(server: Server) -> None:
    peer = Peer(server.sip_port)
    params = {
        "method": "OPTIONS",
        "ruri": peer.uri,
        "headers": f"From: <sip:a@here>\\r\\nTo: <{peer.uri}>\\r\\nX-One: 1\\r\\n",
    }
    answered = begun(lambda: server.mi("t_uac_dlg", params))
    arrived = peer.wait_request("OPTIONS")
    assert arrived.header("X-One") == "1"
    peer.reply(arrived, 200, "OK")
    answer = answered.result(LIMIT_S)
    assert list(answer) == ["Status", "RURI", "Next-hop", "Message"]
    assert (answer["Status"], answer["RURI"], answer["Next-hop"]) == ("200 OK", peer.uri, peer.uri)
    assert answer["Message"].startswith("Via: ")
    assert all(isinstance(value, str) for value in answer.values())
    peer.close()


# Users


CONTACT = [
    "Contact",
    "ContactID",
    "Expires",
    "Q",
    "Callid",
    "Cseq",
    "User-agent",
    "State",
    "Flags",
    "Cflags",
    "Socket",
    "Methods",
]


@pytest.fixture
def alice(server: Server) -> Iterator[str]:
    """The contact of a user that is registered; gone when the test is over."""
    client = server.client()
    assert client.ask("x", "REGISTER", extra="Expires: 600\r\n").status == 200
    yield f"sip:tester@127.0.0.1:{client.port}"
    server.rpc(rpc("ul_rm", ["location", "x"]))


def test_users(server: Server, alice: str) -> None:
    [contact] = server.mi("ul_show_contact", ["location", "x"])["Contacts"]
    assert list(contact)[: len(CONTACT)] == CONTACT
    assert (contact["Contact"], contact["Q"], contact["User-agent"], contact["State"]) == (alice, "", "n/a", "CS_NEW")
    assert contact["Expires"] in range(580, 601)
    kinds = [type(contact[name]) for name in ("ContactID", "Cseq", "Flags", "Cflags", "Methods")]
    assert kinds == [str, int, int, str, int]

    dump = server.mi("ul_dump")
    assert list(dump) == ["Domains"]
    [domain] = dump["Domains"]
    assert list(domain) == ["name", "hash_size", "AORs"]
    assert (domain["name"], domain["hash_size"]) == ("location", 512)
    [user] = domain["AORs"]
    assert (list(user), user["AOR"]) == (["AOR", "Contacts"], "x")
    assert [list(one)[: len(CONTACT)] for one in user["Contacts"]] == [CONTACT]
    assert server.mi("ul_dump", ["brief"])["Domains"][0]["AORs"] == [{"AOR": "x"}]


def test_users_are_changed(server: Server, alice: str) -> None:
    added = ["location", "bob", "sip:bob@10.0.0.1", 300, "0.5", 0, "", 31]
    assert server.mi("ul_add", added) == "OK"
    assert server.mi("ul_show_contact", ["location", "bob"])["Contacts"][0]["Q"] == "0.5"
    assert server.mi_error("ul_rm_contact", ["location", "bob", "sip:none@h"]) == not_found("Contact")
    assert server.mi("ul_rm_contact", ["location", "bob", "sip:bob@10.0.0.1"]) == "OK"
    assert server.mi_error("ul_rm", ["location", "bob"]) == not_found("AOR")
    assert server.mi_error("ul_rm", ["nowhere", "x"]) == not_found("Table")
    assert server.mi_error("ul_show_contact", ["location", "bob"]) == not_found("AOR")
    assert server.mi("ul_rm", ["location", "x"]) == "OK"


def not_found(what: str) -> dict[str, Any]:
    return {"code": 404, "message": f"{what} not found"}


# The command line


def layby(server: Server, *arguments: str) -> tuple[int, str, list[str]]:
    """`layby mi` with these arguments: exit code, standard output, lines on standard error."""
    ran = CliRunner().invoke(app, ["mi", "--http", f"http://127.0.0.1:{server.http_port}/mi", *arguments])
    return ran.exit_code, ran.stdout, ran.stderr.splitlines()


def test_the_command_line(server: Server) -> None:
    code, out, errors = layby(server, "get_statistics", "core:rcv_requests", "tm:")
    assert (code, errors, "core:rcv_requests" in json.loads(out)) == (0, [], True)
    assert layby(server, "dlg_list", "index=0", "counter=10")[:2] == (0, '{\n    "count": 0,\n    "Dialogs": []\n}\n')
    code, out, errors = layby(server, "which", "dlg_end_dlg")
    assert json.loads(out) == [["dialog_id"], ["dialog_id", "extra_hdrs"]]
    assert json.loads(layby(server, "help", "ps")[1])["Exported by"] == "core"


@pytest.mark.parametrize(
    ("arguments", "errors"),
    [
        (
            ["cache_store", "local", "k"],
            [
                "layby: -32602: Invalid params (Too few or too many parameters)",
                "  usage: cache_store system attr value",
                "  usage: cache_store system attr value expire",
            ],
        ),
        (["dlg_lst"], ["layby: -32601: Method not found", "  is it dlg_list?", "  is it dlg_list_ctx?"]),
        (["xxxxxxxx"], ["layby: -32601: Method not found"]),
        (["dlg_list", "callid=none"], ["layby: 404: No such dialog"]),
        (
            ["dlg_list", "index=0", "10"],
            ["layby: parameters are all NAME=VALUE or all plain, not mixed: '10' has no name"],
        ),
    ],
)
def test_what_the_command_line_advises(server: Server, arguments: list[str], errors: list[str]) -> None:
    code, out, told = layby(server, *arguments)
    assert (code, out, told[: len(errors)]) == (1, "", errors)
