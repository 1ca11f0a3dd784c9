"""A dispatcher as callers, destinations and operators see it: choice, failover, probing, states, reloads."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.harness import Server, wait_until
from tests.sip_peer import Peer, Received

pytestmark = pytest.mark.processes

ROUTES = """
route[dearest] {{ $var(dearest) = $(param(2){{s.int}}); return($var(dearest)); }}
route {{
    if ($hdr(X-Set) != NULL) {{
        $var(flags) = $hdr(X-Flags);
        if ($var(flags) == NULL) $var(flags) = "";
        $var(partition) = $hdr(X-Partition);
        if ($var(partition) == NULL) $var(partition) = "default";
        if ($hdr(X-Domain) != NULL) ds_select_domain($hdr(X-Set), $hdr(X-Alg), $var(flags));
        else ds_select_dst($hdr(X-Set), $hdr(X-Alg), $var(flags), $var(partition));
        append_to_reply("X-Rc: $rc\r\n");
        append_to_reply("X-Du: $du\r\n");
        append_to_reply("X-Ru: $ru\r\n");
        append_to_reply("X-Attrs: $avp(attrs)\r\n");
        append_to_reply("X-All: $(avp(ds_dst_failover)[*])\r\n");
        append_to_reply("X-Process: $pp\r\n");
        ds_count($hdr(X-Set), "a", $var(count));
        append_to_reply("X-Active: $var(count)\r\n");
        sl_send_reply(200, "OK");
        exit;
    }}
    if ($rU == "appended") {{
        ds_select_dst(11, 8, "f", , 2);
        ds_select_dst(10, 8, "fa", , 1);
        while ($du != NULL) {{
            append_to_reply("X-Tried: $avp(ds_grp_failover) $du\\r\\n");
            if (!ds_next_dst()) $du = NULL;
        }}
        append_to_reply("X-Count: $avp(ds_cnt_failover)\\r\\n");
        sl_send_reply(200, "OK");
        exit;
    }}
    if ($rU == "skips") {{
        ds_select_dst(1, 8, "f");
        $avp(p) = "i"; $avp(p) = "1"; $avp(p) = $hdr(X-Uri);
        mi("ds_set_state", $var(answer), $avp(p));
        ds_next_dst();
        append_to_reply("X-Du: $du\\r\\n");
        sl_send_reply(200, "OK");
        exit;
    }}
    if ($rU == "unmarked") {{
        ds_select_dst(1, 8);
        ds_mark_dst();
        sl_send_reply(200, "OK");
        exit;
    }}
    if ($rU == "branched") {{
        t_on_branch("chosen");
        t_relay();
        exit;
    }}
    if ($rU == "loaded") {{
        $avp(load_sip:10.0.0.1) = 7; $avp(load_sip:10.0.0.2) = 1; $avp(load_sip:10.0.0.3) = 9;
        ds_select_dst(10, 9, "f");
        append_to_reply("X-All: $(avp(ds_dst_failover)[*])\\r\\n");
        sl_send_reply(200, "OK");
        exit;
    }}
    if ($rU == "mi") {{
        $avp(p) = "i"; $avp(p) = "1"; $avp(p) = $hdr(X-Uri);
        mi("ds_set_state", $var(answer), $avp(p));
        append_to_reply("X-Rc: $rc\\r\\n");
        sl_send_reply(200, "OK");
        exit;
    }}
    if ($rU == "listed") {{
        ds_is_in_list("127.0.0.1", $hdr(X-Port));
        append_to_reply("X-Rc: $rc\r\n");
        append_to_reply("X-Found: $var(found)\r\n");
        sl_send_reply(200, "OK");
        exit;
    }}
    if ($rU == "attrs") {{
        ds_push_script_attrs("from the script", "127.0.0.1", $hdr(X-Port), 1);
        ds_get_script_attrs("sip:127.0.0.1:$hdr(X-Port)", 1, , $var(attrs));
        append_to_reply("X-Attrs: $var(attrs)\r\n");
        sl_send_reply(200, "OK");
        exit;
    }}
    if (!ds_select_dst(1, 8, "f")) {{ send_reply(503, "Nobody"); exit; }}
    t_on_failure("next");
    t_relay();
}}
branch_route[chosen] {{ ds_select_dst(1, 8); }}
failure_route[next] {{
    if (t_check_status("(408)|(5[0-9][0-9])")) {{
        ds_mark_dst("p");
        if (ds_next_dst()) {{
            t_on_failure("next");
            t_relay();
        }}
    }}
}}
event_route[E_DISPATCHER_STATUS] {{
    xlog("L_ERR", "STATUS $param(partition) $param(group) $param(address) $param(status) ($param(reason))\\n");
}}
"""
HEAD = """
loadmodule "dispatcher.so"
loadmodule "event_route.so"
modparam("dispatcher", "db_url", "sqlite:{path}")
modparam("dispatcher", "partition", "far: table_name = far_away; attrs_avp = $avp(far_attrs)")
modparam("dispatcher", "attrs_avp", "$avp(attrs)")
modparam("dispatcher", "setid_pvar", "$var(found)")
modparam("dispatcher", "hash_pvar", "$hdr(X-Hash)")
modparam("dispatcher", "algo_route", "dearest")
modparam("dispatcher", "pvar_algo_pattern", "$avp(load_%u)")
modparam("dispatcher", "ds_probing_threshhold", 2)
modparam("dispatcher", "ds_ping_interval", 1)
modparam("dispatcher", "ds_ping_from", "sip:prober@example.com")
modparam("dispatcher", "ds_ping_maxfwd", 5)
modparam("dispatcher", "options_reply_codes", "404")
modparam("tm", "fr_timeout", 2)
"""
COLUMNS = "setid, destination, socket, state, weight, priority, attrs, description"
SCHEMA = """
CREATE TABLE {table} (
    id INTEGER PRIMARY KEY, setid INTEGER NOT NULL DEFAULT 0, destination VARCHAR(192) NOT NULL DEFAULT '',
    socket VARCHAR(128), state INTEGER NOT NULL DEFAULT 0, probe_mode INTEGER NOT NULL DEFAULT 0,
    weight VARCHAR(64) NOT NULL DEFAULT '1', priority INTEGER NOT NULL DEFAULT 0, attrs VARCHAR(128),
    description VARCHAR(64)
)
"""


class Sets:
    """The database of a server, and the server."""

    def __init__(self, path: Path) -> None:
        self.path = path
        for table in ("dispatcher", "far_away"):
            self.run(SCHEMA.format(table=table))

    def run(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        with contextlib.closing(sqlite3.connect(self.path)) as connection, connection:
            return connection.execute(sql, values).fetchall()

    def add(self, set_id: int, uri: str, table: str = "dispatcher", **more: Any) -> None:
        row = {"setid": set_id, "destination": uri, **more}
        names, marks = ", ".join(row), ", ".join("?" * len(row))
        self.run(f"INSERT INTO {table} ({names}) VALUES ({marks})", *row.values())


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> Sets:
    return Sets(tmp_path_factory.mktemp("dispatcher") / "sets.db")


@pytest.fixture(scope="module")
def server(start_shared: Callable[..., Server], sets: Sets) -> Server:
    for number in range(1, 5):
        sets.add(10, f"sip:10.0.0.{number}", weight=str(number), attrs=str(5 - number), description="one of four")
        sets.add(11, f"sip:10.0.1.{number}:5080;transport=udp", priority=number)
    sets.add(12, "sip:10.0.2.1", state=1)
    sets.add(10, "sip:10.0.0.1")
    sets.add(10, "no address")
    sets.add(1, "sip:10.0.3.1", "far_away", attrs="far")
    return start_shared(
        ROUTES.format(),
        head=HEAD.format(path=sets.path),
        options=("--udp-workers", "2", "--mi-workers", "1"),
    )


@pytest.fixture
def destinations(server: Server, sets: Sets) -> Iterator[list[Peer]]:
    """Three destinations of set 1, in that order; the set is gone afterwards."""
    peers = [Peer(server.sip_port) for _ in range(3)]
    for number, peer in enumerate(peers):
        sets.add(1, f"sip:127.0.0.1:{peer.port}", priority=3 - number)
    server.mi("ds_reload")
    yield peers
    for peer in peers:
        peer.close()
    sets.run("DELETE FROM dispatcher WHERE setid = 1")
    server.mi("ds_reload")


@pytest.fixture
def caller(server: Server) -> Iterator[Peer]:
    peer = Peer(server.sip_port)
    yield peer
    peer.close()


def select(server: Server, set_id: int, alg: int, flags: str = "", **more: str) -> Received:
    extra = {"Set": str(set_id), "Alg": str(alg), **more}
    if flags:
        extra["Flags"] = flags
    lines = "".join(f"X-{name}: {value}\r\n" for name, value in extra.items())
    client = server.clients[0] if server.clients else server.client()
    return client.ask("anybody", extra=lines)


def listed(server: Server, set_id: int, partition: str = "default") -> list[dict[str, Any]]:
    found = server.mi("ds_list", {"full": 1, "partition": partition})["PARTITIONS"][0]["SETS"]
    return [row for one in found if one["id"] == set_id for row in one["Destinations"]]


def state_of(server: Server, uri: str) -> str:
    return next(row["state"] for row in listed(server, 1) if row["URI"] == uri)


def values(answer: Received, name: str) -> list[str]:
    return (answer.header(name) or "").split(", ")


def call(caller: Peer) -> str:
    invite = caller.request("INVITE", f"sip:someone@127.0.0.1:{caller.server[1]}")
    caller.send(invite)
    return invite


def test_a_call_fails_over_to_the_next_destination_and_the_one_that_failed_is_probed(
    server: Server, destinations: list[Peer], caller: Peer
) -> None:
    first, second, _ = destinations
    for _ in range(2):  # as many failures as it takes
        invite = call(caller)
        first.reply(first.wait_request("INVITE"), 503)
        taken = second.wait_request("INVITE")
        second.reply(taken, 486)
        caller.ack(invite, caller.wait_final(taken.call_id))

    uri = f"sip:127.0.0.1:{first.port}"
    assert state_of(server, uri) == "Probing"
    wait_until(lambda: f"STATUS default 1 {uri} inactive (script)" in server.log())

    assert "E_DISPATCHER_STATUS" in [event["name"] for event in server.mi("events_list")["Events"]]

    probe = first.wait_request("OPTIONS")
    assert probe.ruri == uri
    assert probe.header("From").startswith("<sip:prober@example.com>")
    assert probe.header("Max-Forwards") == "5"
    first.reply(probe, 500)
    again = first.wait_request("OPTIONS")
    assert state_of(server, uri) == "Probing"
    assert again.call_id != probe.call_id
    first.reply(again, 404)
    wait_until(lambda: state_of(server, uri) == "Active")
    wait_until(lambda: f"STATUS default 1 {uri} active (probe: 404)" in server.log())


def test_a_destination_that_leaves_is_out_for_all_processes_and_others_are_chosen(
    server: Server, destinations: list[Peer]
) -> None:
    uris = [f"sip:127.0.0.1:{peer.port}" for peer in destinations]
    assert select(server, 1, 8).header("X-Du") == uris[0]

    assert server.mi("ds_set_state", {"state": "i", "group": "1", "address": uris[0]}) == "OK"

    seen = [select(server, 1, 8) for _ in range(20)]
    assert {answer.header("X-Du") for answer in seen} == {uris[1]}
    assert {answer.header("X-Active") for answer in seen} == {"2"}
    assert server.mi("dispatcher:set_state", ["a", "default:1", uris[0]]) == "OK"
    assert select(server, 1, 8).header("X-Du") == uris[0]


def test_a_script_may_set_states_by_mi(server: Server, destinations: list[Peer]) -> None:
    uri = f"sip:127.0.0.1:{destinations[2].port}"

    assert server.client().ask("mi", extra=f"X-Uri: {uri}\r\n").header("X-Rc") == "1"

    assert state_of(server, uri) == "Inactive"


def test_what_has_gone_away_since_it_was_put_aside_is_passed_over(server: Server, destinations: list[Peer]) -> None:
    uris = [f"sip:127.0.0.1:{peer.port}" for peer in destinations]

    assert server.client().ask("skips", extra=f"X-Uri: {uris[1]}\r\n").header("X-Du") == uris[2]


def test_what_was_chosen_alone_can_be_marked_too(server: Server, destinations: list[Peer]) -> None:
    server.client().ask("unmarked")

    assert [row["state"] for row in listed(server, 1)] == ["Inactive", "Active", "Active"]


def test_a_destination_that_is_always_probed_is_out_while_it_does_not_answer(
    server: Server, sets: Sets, destinations: list[Peer]
) -> None:
    one, other = destinations[0], destinations[1]
    uri = f"sip:127.0.0.1:{one.port}"
    sets.run("UPDATE dispatcher SET probe_mode = 2 WHERE destination = ?", uri)
    server.mi("ds_reload")

    wait_until(lambda: state_of(server, uri) == "Probing")
    assert select(server, 1, 8).header("X-Du") == f"sip:127.0.0.1:{other.port}"

    os.kill(server.pids("MI")[-1], signal.SIGKILL)  # where the time is kept: who comes after it goes on

    def answer_and_look() -> bool:
        one.collect()
        for probe in one.received:
            one.reply(probe, 200)
        one.received.clear()
        return server.answers() and state_of(server, uri) == "Active"

    wait_until(answer_and_look)
    assert select(server, 1, 8).header("X-Du") == uri


def test_all_processes_take_turns_by_weight(server: Server) -> None:
    client = server.client()
    asked = [client.request("anybody", extra="X-Set: 10\r\nX-Alg: 4\r\n") for _ in range(100)]
    for _, data in asked:
        client.send(data)
    seen = [client.final(call_id, resend=data) for call_id, data in asked]

    count = Counter(answer.header("X-Du") for answer in seen)
    assert len({answer.header("X-Process") for answer in seen}) == 2
    for number in range(1, 5):
        assert abs(count[f"sip:10.0.0.{number}"] - 10 * number) <= 8  # two that look at one moment see the same turn


def test_a_hash_finds_the_same_destination_in_every_process(server: Server) -> None:
    places = {
        text: {select(server, 11, 7, Hash=text).header("X-Du") for _ in range(8)} for text in ("a", "b", "c", "d")
    }

    assert all(len(found) == 1 for found in places.values())
    assert len(set.union(*places.values())) > 1


def test_priorities_order_a_set_and_flags_say_what_is_put_aside(server: Server) -> None:
    uris = [f"sip:10.0.1.{number}:5080;transport=udp" for number in (4, 3, 2, 1)]

    assert values(select(server, 11, 8), "X-All") == uris[:1]
    assert values(select(server, 11, 8, "f"), "X-All") == uris
    assert values(select(server, 11, 8, "FD"), "X-All") == uris
    assert (
        select(server, 11, 8, "f").header(
            "X-Ru",
        )
        == f"sip:anybody@127.0.0.1:{server.sip_port}"
    )


def test_the_domain_of_the_request_may_be_replaced_instead(server: Server) -> None:
    answer = select(server, 11, 8, Domain="yes")

    assert (answer.header("X-Ru"), answer.header("X-Du")) == ("sip:anybody@10.0.1.4:5080;transport=udp", "<null>")


def test_a_route_of_the_script_may_order_the_destinations(server: Server) -> None:
    answer = select(server, 10, 10, "f")

    assert values(answer, "X-All") == [f"sip:10.0.0.{number}" for number in (4, 3, 2, 1)]
    assert answer.header("X-Attrs") == "1"


def test_a_variable_may_tell_the_load_of_each_destination(server: Server) -> None:
    answer = server.client().ask("loaded")

    assert values(answer, "X-All") == [f"sip:10.0.0.{number}" for number in (4, 2, 1, 3)]


def test_credentials_decide_where_there_are_some(server: Server) -> None:
    user = 'Proxy-Authorization: Digest username="{}", realm="r", nonce="n", uri="sip:a", response="0"\r\n'
    asked = [server.client().ask("anybody", extra=f"X-Set: 11\r\nX-Alg: 5\r\n{user.format('alice')}") for _ in range(6)]
    assert len({answer.header("X-Du") for answer in asked}) == 1

    assert len({select(server, 11, 5).header("X-Du") for _ in range(8)}) > 1  # by turns, where there are none
    assert len({select(server, 11, 6).header("X-Du") for _ in range(30)}) > 1


def test_a_branch_may_be_sent_to_a_destination(server: Server, destinations: list[Peer], caller: Peer) -> None:
    invite = caller.request("INVITE", f"sip:branched@127.0.0.1:{caller.server[1]}")
    caller.send(invite)

    taken = destinations[0].wait_request("INVITE")
    destinations[0].reply(taken, 486)
    caller.ack(invite, caller.wait_final(taken.call_id))


def test_a_set_with_nobody_in_it_gives_minus_one(server: Server) -> None:
    assert select(server, 12, 4).header("X-Rc") == "-1"
    assert select(server, 99, 4).header("X-Rc") == "-1"
    assert select(server, 1, 4, Partition="nowhere").header("X-Rc") == "-1"


def test_the_last_of_a_set_may_be_kept_for_when_all_others_have_failed(server: Server, sets: Sets) -> None:
    sets.add(13, "sip:10.0.4.1")
    sets.add(13, "sip:10.0.4.2")
    server.mi("ds_reload")

    chosen = {tuple(values(select(server, 13, 4, "fd"), "X-All")) for _ in range(6)}

    assert chosen == {("sip:10.0.4.1", "sip:10.0.4.2")}
    server.mi("ds_set_state", ["i", "13", "sip:10.0.4.1"])
    assert values(select(server, 13, 4, "fd"), "X-All") == ["sip:10.0.4.2"]


def test_destinations_of_another_set_may_be_put_behind_and_how_many_may_be_said(server: Server) -> None:
    answer = server.client().ask("appended")

    tried = [line.partition(": ")[2] for line in answer.text.split("\r\n") if line.startswith("X-Tried")]
    assert tried == [
        "11 sip:10.0.1.4:5080;transport=udp",
        "11 sip:10.0.1.3:5080;transport=udp",
        "10 sip:10.0.0.1",
    ]
    assert answer.header("X-Count") == "0"


def test_a_partition_has_sets_of_its_own(server: Server) -> None:
    assert select(server, 1, 4, Partition="far").header("X-Du") == "sip:10.0.3.1"
    assert listed(server, 1, "far") == [
        {
            "URI": "sip:10.0.3.1",
            "state": "Active",
            "first_hit_counter": 1,
            "attr": "far",
            "weight": 1,
            "priority": 0,
        }
    ]


def test_an_address_is_looked_up_and_scripts_and_operators_leave_attributes(
    server: Server, destinations: list[Peer]
) -> None:
    port = destinations[1].port
    client = server.client()
    found = client.ask("listed", extra=f"X-Port: {port}\r\n")
    assert (found.header("X-Rc"), found.header("X-Found")) == ("1", "1")
    assert client.ask("listed", extra="X-Port: 1\r\n").header("X-Rc") == "-1"

    assert client.ask("attrs", extra=f"X-Port: {port}\r\n").header("X-Attrs") == "from the script"

    assert server.mi("ds_push_script_attrs", ["from MI", "127.0.0.1", port, 1]) == "OK"
    assert [row.get("script_attr") for row in listed(server, 1)] == [None, "from MI", None]


def test_bad_rows_are_skipped_and_told(server: Server) -> None:
    assert "skipped row 10: set 10 has sip:10.0.0.1 already" in server.log()
    assert "skipped row 11: the destination is no SIP URI" in server.log()
    assert len(listed(server, 10)) == 4
    assert listed(server, 10)[0]["description"] == "one of four"


def test_what_cannot_be_done_is_refused_as_opensips_does(server: Server) -> None:
    bad = {"state": "x", "group": "1", "address": "sip:a"}
    assert server.mi_error("ds_set_state", bad)["message"] == "Bad state value"
    assert server.mi_error("ds_set_state", {**bad, "state": "a", "group": "x"})["message"] == "bad group value"
    unknown = server.mi_error("ds_set_state", {**bad, "state": "a", "group": "zz:1"})
    assert (unknown["code"], unknown["message"]) == (404, "ERROR Unknown partition")
    assert server.mi_error("ds_set_state", {**bad, "state": "a"})["code"] == 404
    assert server.mi_error("ds_reload", ["zz"])["message"] == "ERROR Unknown partition"
    assert server.mi_error("ds_push_script_attrs", ["x", "192.0.2.1", 0, 1])["message"] == "destination not found"


def test_states_survive_a_reload_unless_it_is_asked_for_and_get_into_the_table(
    server: Server, sets: Sets, destinations: list[Peer]
) -> None:
    uri = f"sip:127.0.0.1:{destinations[0].port}"
    server.mi("ds_set_state", ["i", "1", uri])
    wait_until(lambda: sets.run("SELECT state FROM dispatcher WHERE destination = ?", uri) == [(1,)])
    sets.run("UPDATE dispatcher SET state = 0 WHERE destination = ?", uri)

    assert server.mi("ds_reload") == "OK"
    assert state_of(server, uri) == "Inactive"

    assert server.mi("dispatcher:reload", {"inherit_state": "n"}) == "OK"
    assert state_of(server, uri) == "Active"


def reports(server: Server, identifier: str) -> list[str]:
    found = server.mi("sr_list_reports", {"group": "dispatcher", "identifier": identifier})
    return [one["Log"] for one in found]


def test_a_reload_that_fails_leaves_everything_as_it_was(server: Server, sets: Sets) -> None:
    before = listed(server, 10)
    sets.run("ALTER TABLE dispatcher RENAME TO away")
    try:
        assert server.mi_error("ds_reload")["message"] == "ERROR Reloading data"
    finally:
        sets.run("ALTER TABLE away RENAME TO dispatcher")

    assert listed(server, 10) == before
    assert "there is no table dispatcher" in reports(server, "default")[-1]


def test_partitions_say_how_they_are_and_what_has_happened_to_their_destinations(
    server: Server, destinations: list[Peer]
) -> None:
    status = server.mi("sr_get_status", {"group": "dispatcher", "identifier": "far"})
    assert (status["Readiness"], status["Status"], status["Details"]) == (True, 1, "1 destinations, 0 rows skipped")

    uri = f"sip:127.0.0.1:{destinations[0].port}"
    server.mi("ds_set_state", ["i", "1", uri])

    assert reports(server, "default;events")[-1] == f"{uri} of set 1 is Inactive: MI"


def test_reloads_lose_no_request(server: Server, sets: Sets) -> None:
    client = server.client()
    for number in range(4):
        sets.add(20, f"sip:10.0.20.{number}")
        asked = [client.request("anybody", extra="X-Set: 10\r\nX-Alg: 4\r\n") for _ in range(10)]
        for _, data in asked:
            client.send(data)
        assert server.mi("ds_reload") == "OK"
        assert {client.final(call_id, resend=data).header("X-Rc") for call_id, data in asked} == {"1"}
        assert len(listed(server, 20)) == number + 1
