"""Dynamic routing by a real server: where calls go, where they go next, and what MI says of gateways and rules."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.dns_server import DnsServer
from tests.harness import Server, wait_until
from tests.processes.routing_tables import RoutingTables, phones, sqlite_url
from tests.sip_peer import Peer, Received

pytestmark = pytest.mark.processes

HEAD = """
dns_servers = "127.0.0.1:%d"
dns_try_naptr = no
loadmodule "event_route.so"
loadmodule "drouting.so"
modparam("drouting", "db_url", "%s")
modparam("drouting", "default_group", 0)
modparam("drouting", "gw_id_avp", "$avp(gw)")
modparam("drouting", "rule_id_avp", "$avp(rule)")
modparam("drouting", "rule_prefix_avp", "$avp(prefix)")
modparam("drouting", "carrier_id_avp", "$avp(carrier)")
modparam("drouting", "probing_interval", 0)
"""
ROUTES = """
route {
    if ($hdr(X-Ask) != NULL) route(ask);
    $T_fr_timeout = 1;
    $var(flags) = "";
    $var(white) = "";
    $var(rule_attrs) = "-";
    $var(gw_attrs) = "-";
    $var(carrier_attrs) = "-";
    if ($hdr(X-Flags) != NULL) $var(flags) = $hdr(X-Flags);
    if ($hdr(X-White) != NULL) $var(white) = $hdr(X-White);
    if ($hdr(X-Carrier) != NULL) {
        if (!route_to_carrier($hdr(X-Carrier), $var(gw_attrs), $var(carrier_attrs))) route(none);
    } else if ($hdr(X-Gateway) != NULL) {
        if (!route_to_gw($hdr(X-Gateway), $var(gw_attrs))) route(none);
    } else if ($hdr(X-Group) != NULL) {
        if (!do_routing($(hdr(X-Group){s.int}), $var(flags), $var(white),
                        $var(rule_attrs), $var(gw_attrs), $var(carrier_attrs))) route(none);
    } else {
        if (!do_routing(, $var(flags), $var(white), $var(rule_attrs), $var(gw_attrs), $var(carrier_attrs)))
            route(none);
    }
    if ($hdr(X-Flags) == "C") { sl_send_reply(200, "There is one"); exit; }
    route(out);
}
route[none] { sl_send_reply(404, "No route"); exit; }
route[out] {
    pv_printf($var(attrs), "$var(rule_attrs) $var(gw_attrs) $var(carrier_attrs)");
    append_hf("X-Way: $avp(gw) $avp(carrier) $avp(rule) $avp(prefix) $var(attrs)\\r\\n");
    t_on_failure("next");
    t_relay();
    exit;
}
route[mark] { append_hf("X-Mark: $avp(rule)\\r\\n"); }
route[stop] { sl_send_reply(480, "Stopped"); exit; }
failure_route[next] {
    if (t_was_cancelled()) exit;
    if ($hdr(X-Disable) != NULL) dr_disable();
    if ($hdr(X-Park) != NULL) async(mi("bench_wait 20"), parked);
    if (use_next_gw($var(rule_attrs), $var(gw_attrs), $var(carrier_attrs))) route(out);
}
route[parked] {
    if (use_next_gw($var(rule_attrs), $var(gw_attrs), $var(carrier_attrs))) route(out);
}
route[ask] {
    $var(found) = "no";
    switch ($hdr(X-Ask)) {
    case "from": if (is_from_gw(, , $var(attrs))) $var(found) = $var(attrs); break;
    case "from type 2": if (is_from_gw(2)) $var(found) = "yes"; break;
    case "from any port": if (is_from_gw(-1, "nsp")) $var(found) = $rU; break;
    case "to":
        if (goes_to_gw(, "ic", $var(attrs), $var(more)))
            pv_printf($var(found), "$avp(gw) $avp(carrier) $var(more)");
        break;
    case "uri": if (dr_is_gw($hdr(X-Uri))) $var(found) = "yes"; break;
    case "match": if (dr_match(0, , $rU, $var(attrs))) $var(found) = $var(attrs); break;
    case "match all": if (dr_match(0, "L", $rU)) $var(found) = "yes"; break;
    }
    sl_send_reply(200, "$var(found)");
    exit;
}
event_route[E_DROUTING_STATUS] {
    pv_printf($var(told), "$param(partition) $param(gwid) $param(address) $param(status) $param(reason)");
    cache_store("local", "gateway $param(gwid)", $var(told));
}
event_route[E_DROUTING_CARRIER_STATUS] {
    cache_store("local", "carrier $param(carrierid)", "$param(partition) $param(status) $param(reason)");
}
"""


@pytest.fixture(scope="module")
def gateways() -> Iterator[list[Peer]]:
    with phones(4) as made:
        yield made


@pytest.fixture(scope="module")
def dns() -> Iterator[DnsServer]:
    with DnsServer() as made:
        yield made


@pytest.fixture(scope="module")
def server(
    start_shared: Callable[..., Server],
    gateways: list[Peer],
    dns: DnsServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> Server:
    url = sqlite_url(tmp_path_factory.mktemp("dr") / "routes.db")
    rows = RoutingTables(url)
    first, second, third, fourth = gateways
    rows.gateway("gw1", first, type=1, strip=2, pri_prefix="9", attrs="one")
    rows.gateway("gw2", second, type=2, attrs="two")
    rows.gateway("gw3", third, type=2, attrs="three")
    rows.gateway("long", first, strip=20)
    rows.gateway("named", "gw.test", type=4, attrs="by name")
    dns.add("_sip._udp.gw.test", "SRV", f"1 1 {fourth.port} host.test.")
    dns.add("host.test", "A", "127.0.0.1")
    rows.carrier("fast", "gw3,gw2", attrs="quick")
    rows.carrier("one", "gw3,gw2", flags=1)
    rows.rule("0049", "gw1,gw2", attrs="germany")
    rows.rule("00", "gw3", attrs="abroad")
    rows.rule("00", "gw2", priority=5, attrs="first")
    rows.rule("77", "#fast,gw1")
    rows.rule("78", "#one,gw1")
    rows.rule("79", "long,gw2")
    rows.rule("5", "gw2", routeid="mark")
    rows.rule("6", "gw2", routeid="stop")
    rows.rule("8", "gw1", timerec="20010101T000000|||daily|20020101T000000")
    rows.rule("", "gw3", groupid="3", attrs="groups")
    rows.group("special", "127.0.0.1", 3)
    rows.close()
    return start_shared(ROUTES, head=HEAD % (dns.port, url), options=("--mi-workers", "1"))


@pytest.fixture
def caller(server: Server, gateways: list[Peer]) -> Iterator[Peer]:
    for one in gateways:
        one.collect()
        one.received.clear()
    with phones(1, server.sip_port) as (made,):
        yield made


def invite(caller: Peer, number: str, **headers: str) -> str:
    """Call a number; the Call-ID."""
    extra = "".join(f"X-{name.capitalize()}: {value}\r\n" for name, value in headers.items())
    text = caller.request("INVITE", f"sip:{number}@127.0.0.1:{caller.server[1]};user=phone", extra=extra)
    caller.send(text)
    return Received(text, ("", 0)).call_id


def arrives(gateway: Peer, call_id: str) -> Received:
    return gateway.wait(lambda m: m.start.startswith("INVITE") and m.call_id == call_id, what="INVITE")


def way(arrived: Received) -> list[str]:
    """By what the call came: gateway, carrier, rule and prefix, and the attributes of rule, gateway and carrier."""
    return arrived.headers("X-Way")[-1].split(" ")


def ask(caller: Peer, what: str, ruri: str = "", **headers: str) -> str:
    """What `route[ask]` finds."""
    extra = "".join(f"X-{name.capitalize()}: {value}\r\n" for name, value in {"ask": what, **headers}.items())
    text = caller.request("OPTIONS", ruri or f"sip:0049301@127.0.0.1:{caller.server[1]}", extra=extra)
    caller.send(text)
    return caller.wait_final(Received(text, ("", 0)).call_id).start.split(" ", 2)[2]


def test_a_call_goes_by_the_longest_prefix_with_the_gateways_own_number(caller: Peer, gateways: list[Peer]) -> None:
    call = invite(caller, "0049301")
    arrived = arrives(gateways[0], call)
    assert arrived.ruri == f"sip:949301@127.0.0.1:{gateways[0].port};user=phone"
    assert way(arrived) == ["gw1", "", "1", "0049", "germany", "one", ""]
    gateways[0].reply(arrived, 200)
    assert caller.wait_final(call).status == 200


def test_it_goes_to_the_next_gateway_when_one_refuses(caller: Peer, gateways: list[Peer]) -> None:
    call = invite(caller, "0049301")
    gateways[0].reply(arrives(gateways[0], call), 503)
    arrived = arrives(gateways[1], call)
    assert arrived.ruri == f"sip:0049301@127.0.0.1:{gateways[1].port};user=phone"
    assert way(arrived) == ["gw2", "", "1", "0049", "germany", "two", ""]
    gateways[1].reply(arrived, 200)
    assert caller.wait_final(call).status == 200


def test_a_call_that_is_parked_before_its_next_gateway_still_knows_it(caller: Peer, gateways: list[Peer]) -> None:
    call = invite(caller, "0049301", park="yes", flags="F")
    for at in (0, 1, 1, 2):
        gateways[at].reply(arrives(gateways[at], call), 503)
    assert caller.wait_final(call).status == 500


def test_it_goes_to_the_next_gateway_when_one_does_not_answer(caller: Peer, gateways: list[Peer]) -> None:
    call = invite(caller, "0049301")
    arrives(gateways[0], call)
    gateways[1].reply(arrives(gateways[1], call), 200)
    assert caller.wait_final(call).status == 200


def test_the_last_gateways_refusal_is_the_callers(caller: Peer, gateways: list[Peer]) -> None:
    call = invite(caller, "0049301")
    for one in gateways[:2]:
        one.reply(arrives(one, call), 486)
    assert caller.wait_final(call).status == 486


def test_rules_are_fallen_back_to_in_order(caller: Peer, gateways: list[Peer]) -> None:
    call, ways = invite(caller, "0049301", flags="F"), []
    for at in (0, 1, 1, 2):
        arrived = arrives(gateways[at], call)
        ways.append(" ".join(way(arrived)))
        gateways[at].reply(arrived, 480)
    assert caller.wait_final(call).status == 480
    assert ways == [
        "gw1  1 0049 germany one ",
        "gw2  1 0049 germany two ",
        "gw2  3 00 first two ",
        "gw3  2 00 abroad three ",
    ]


def test_a_carriers_gateways_are_tried_in_its_order(caller: Peer, gateways: list[Peer]) -> None:
    call = invite(caller, "771")
    arrived = arrives(gateways[2], call)
    assert way(arrived) == ["gw3", "fast", "4", "77", "", "three", "quick"]
    gateways[2].reply(arrived, 503)
    arrived = arrives(gateways[1], call)
    assert way(arrived) == ["gw2", "fast", "4", "77", "", "two", "quick"]
    gateways[1].reply(arrived, 503)
    arrived = arrives(gateways[0], call)
    assert way(arrived) == ["gw1", "", "4", "77", "", "one", ""]
    gateways[0].reply(arrived, 200)


def test_of_a_carrier_that_says_so_one_gateway_is_tried(caller: Peer, gateways: list[Peer]) -> None:
    call = invite(caller, "781")
    gateways[2].reply(arrives(gateways[2], call), 503)
    gateways[0].reply(arrives(gateways[0], call), 200)
    assert caller.wait_final(call).status == 200


def test_a_gateway_whose_strip_is_too_long_is_passed_over(caller: Peer, gateways: list[Peer]) -> None:
    call = invite(caller, "791")
    gateways[1].reply(arrives(gateways[1], call), 200)
    assert caller.wait_final(call).status == 200


def test_only_what_is_on_the_whitelist_is_used(caller: Peer, gateways: list[Peer]) -> None:
    call = invite(caller, "771", white="gw2, gw1")
    for at in (1, 0):
        gateways[at].reply(arrives(gateways[at], call), 486)
    assert caller.wait_final(call).status == 486
    call = invite(caller, "771", white="#fast")
    for at in (2, 1):
        gateways[at].reply(arrives(gateways[at], call), 486)
    assert caller.wait_final(call).status == 486
    assert caller.wait_final(invite(caller, "771", white="other")).status == 404


@pytest.mark.parametrize(
    ("number", "headers", "status"),
    [
        ("123", {}, 404),
        ("0049301", {"group": "9"}, 404),
        ("0049301", {"flags": "L"}, 404),
        ("0049301", {"flags": "C"}, 200),
        ("123", {"flags": "C"}, 404),
        ("81", {}, 404),
        ("61", {}, 480),
        ("1", {"carrier": "none"}, 404),
        ("1", {"gateway": "none,,#fast"}, 404),
    ],
)
def test_what_has_no_way(caller: Peer, number: str, headers: dict[str, str], status: int) -> None:
    assert caller.wait_final(invite(caller, number, **headers)).status == status


def test_a_rule_whose_prefix_is_the_whole_number(caller: Peer, gateways: list[Peer]) -> None:
    call = invite(caller, "0049", flags="L")
    gateways[0].reply(arrives(gateways[0], call), 200)
    assert caller.wait_final(call).status == 200


def test_the_route_that_a_rule_names_runs_first(caller: Peer, gateways: list[Peer]) -> None:
    call = invite(caller, "51")
    arrived = arrives(gateways[1], call)
    assert arrived.header("X-Mark") == "7"
    gateways[1].reply(arrived, 200)


def test_the_caller_has_a_group_in_the_table(caller: Peer, gateways: list[Peer], server: Server) -> None:
    text = caller.request("INVITE", f"sip:4711@127.0.0.1:{server.sip_port}").replace("sip:tester@", "sip:special@", 1)
    caller.send(text)
    call = Received(text, ("", 0)).call_id
    arrived = arrives(gateways[2], call)
    assert way(arrived) == ["gw3", "", "10", "", "groups", "three", ""]
    gateways[2].reply(arrived, 200)


def test_a_call_goes_to_a_carrier_or_a_gateway_whatever_its_number(caller: Peer, gateways: list[Peer]) -> None:
    call = invite(caller, "1", carrier="fast")
    gateways[2].reply(arrives(gateways[2], call), 500)
    arrived = arrives(gateways[1], call)
    assert (way(arrived)[:2], way(arrived)[-2:]) == (["gw2", "fast"], ["two", "quick"])
    gateways[1].reply(arrived, 200)
    call = invite(caller, "1", gateway="gw3, gw2")
    gateways[2].reply(arrives(gateways[2], call), 500)
    gateways[1].reply(arrives(gateways[1], call), 200)
    assert caller.wait_final(call).status == 200


def test_who_is_a_gateway(caller: Peer, gateways: list[Peer], server: Server) -> None:
    assert ask(caller, "from") == "no"
    assert ask(caller, "from any port") == "949301"
    gateways[0].server = gateways[1].server = caller.server
    assert ask(gateways[0], "from") == "one"
    assert (ask(gateways[0], "from type 2"), ask(gateways[1], "from type 2")) == ("no", "yes")
    assert ask(caller, "to") == "no"
    assert ask(caller, "to", f"sip:1@127.0.0.1:{gateways[1].port}") == "gw2 fast quick"
    assert ask(caller, "uri", uri=f"sip:127.0.0.1:{gateways[2].port};transport=udp") == "yes"
    assert ask(caller, "uri", uri="sip:127.0.0.1") == "no"
    assert ask(caller, "uri", uri="nonsense") == "no"


def test_a_gateway_with_a_name_is_known_by_its_addresses(
    caller: Peer, gateways: list[Peer], server: Server, dns: DnsServer
) -> None:
    named = gateways[3]
    named.server = caller.server
    wait_until(lambda: ask(named, "from") == "by name")
    call = invite(caller, "1", gateway="named")
    named.reply(arrives(named, call), 200)
    assert caller.wait_final(call).status == 200


def test_whether_a_number_has_a_rule(caller: Peer) -> None:
    assert ask(caller, "match") == "germany"
    assert ask(caller, "match", "sip:123@x") == "no"
    assert ask(caller, "match all") == "no"
    assert ask(caller, "match all", "sip:0049@x") == "yes"


def test_a_gateway_that_the_script_disables_is_used_no_more(caller: Peer, gateways: list[Peer], server: Server) -> None:
    call = invite(caller, "0049301", disable="yes")
    gateways[0].reply(arrives(gateways[0], call), 503)
    gateways[1].reply(arrives(gateways[1], call), 200)
    caller.wait_final(call)
    assert server.mi("dr_gw_status", {"gw_id": "gw1"}) == {"State": "Inactive"}
    call = invite(caller, "0049301")
    gateways[1].reply(arrives(gateways[1], call), 200)
    told = f"Default gw1 127.0.0.1:{gateways[0].port}"
    wait_until(lambda: told_of(server, "gateway gw1") == f"{told} inactive dr_disable() in the script")
    assert server.mi("dr_gw_status", {"gw_id": "gw1", "status": 1}) == "OK"
    wait_until(lambda: told_of(server, "gateway gw1") == f"{told} active MI command")
    call = invite(caller, "0049301")
    gateways[0].reply(arrives(gateways[0], call), 200)


def told_of(server: Server, key: str) -> str:
    reply = server.rpc(f'{{"jsonrpc":"2.0","id":1,"method":"cache_fetch","params":["local","{key}"]}}')
    return str(reply.get("result", {}).get("value"))


def test_what_is_disabled_by_mi_is_passed_over_by_calls_under_way_too(
    caller: Peer, gateways: list[Peer], server: Server
) -> None:
    call = invite(caller, "771")
    arrived = arrives(gateways[2], call)
    server.mi("dr_gw_status", {"gw_id": "gw2", "status": "0"})
    assert server.mi("dr_gw_status", {"gw_id": "gw2"}) == {"State": "Disabled MI"}
    gateways[2].reply(arrived, 503)
    gateways[0].reply(arrives(gateways[0], call), 200)
    server.mi("dr_gw_status", {"gw_id": "gw2", "status": 1})


def test_a_carrier_that_is_disabled(caller: Peer, gateways: list[Peer], server: Server) -> None:
    assert server.mi("dr_carrier_status", {"carrier_id": "fast", "status": 0}) == "OK"
    assert server.mi("dr_carrier_status") == {
        "Carriers": [{"ID": "fast", "Enabled": "no"}, {"ID": "one", "Enabled": "yes"}]
    }
    call = invite(caller, "771")
    gateways[0].reply(arrives(gateways[0], call), 200)
    wait_until(lambda: told_of(server, "carrier fast") == "Default disabled MI MI command")
    assert server.mi("drouting:carrier_status", {"carrier_id": "fast", "status": 1}) == "OK"
    assert server.mi("dr_carrier_status", {"carrier_id": "fast"}) == {"Enabled": "yes"}


def test_what_mi_says(server: Server, gateways: list[Peer]) -> None:
    listed = server.mi("dr_gw_status")["Gateways"]
    assert listed[1] == {"ID": "gw2", "IP": f"127.0.0.1:{gateways[1].port}", "State": "Active"}
    assert [one["ID"] for one in listed] == ["gw1", "gw2", "gw3", "long", "named"]
    assert server.mi("dr_number_routing", {"number": "0049301"}) == {
        "Matched Prefix": "0049",
        "GW List": [{"GATEWAY": "gw1"}, {"GATEWAY": "gw2"}],
    }
    assert server.mi("dr_number_routing", {"number": "771", "group_id": 0})["GW List"] == [
        {"CARRIER": "fast"},
        {"GATEWAY": "gw1"},
    ]
    assert server.mi("dr_number_routing", {"number": "1"}) == "No match"
    assert list(server.mi("dr_reload_status")) == ["Date"]
    assert server.mi("dr_enable_probing") == {"Status": 1}
    assert (server.mi("dr_enable_probing", {"status": 0}), server.mi("drouting:enable_probing")) == (
        "OK",
        {"Status": 0},
    )
    server.mi("dr_enable_probing", [1])
    names = {event["name"] for event in server.mi("events_list")["Events"]}
    assert {"E_DROUTING_STATUS", "E_DROUTING_CARRIER_STATUS"} <= names


@pytest.mark.parametrize(
    ("method", "params", "code"),
    [
        ("dr_gw_status", {"gw_id": "none"}, 404),
        ("dr_gw_status", {"gw_id": "gw1", "status": 5}, 400),
        ("dr_gw_status", {"gw_id": "gw1", "status": "x"}, -32602),
        ("dr_gw_status", ["gw1"], -32602),
        ("dr_carrier_status", {"carrier_id": "none"}, 404),
        ("dr_reload", ["nowhere"], 404),
        ("dr_reload_status", {"partition_name": "nowhere"}, 404),
        ("dr_number_routing", {"number": "1", "group_id": "x"}, -32602),
    ],
)
def test_what_mi_refuses(server: Server, method: str, params: object, code: int) -> None:
    assert server.mi_error(method, params)["code"] == code


def test_a_reload_takes_what_the_tables_have_now(caller: Peer, gateways: list[Peer], server: Server) -> None:
    url = server.script.read_text().split('"db_url", "')[1].split('"')[0]
    rows = RoutingTables(url)
    rows.rule("41", "gw2", attrs="new")
    rows.close()
    assert caller.wait_final(invite(caller, "411")).status == 404
    assert server.mi("dr_reload") == "OK"
    call = invite(caller, "411")
    gateways[1].reply(arrives(gateways[1], call), 200)
    assert caller.wait_final(call).status == 200


def test_nothing_went_wrong_by_itself(server: Server) -> None:
    assert "Traceback" not in server.log()
