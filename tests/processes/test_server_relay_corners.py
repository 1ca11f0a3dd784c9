"""Where relaying is easily got wrong: words that come too late, twice, or in a route where they do not belong."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import pytest

from tests.dns_server import DnsServer
from tests.harness import Server, wait_until
from tests.sip_peer import Peer, Received

pytestmark = pytest.mark.processes

HEAD = """
loadmodule "event_route.so"
dns_servers = "127.0.0.1:{port}"
dns_try_naptr = no
dns_try_ipv6 = yes
modparam("tm", "fr_timeout", 1)
modparam("tm", "fr_inv_timeout", 2)
modparam("tm", "onreply_avp_mode", 1)
modparam("tm", "T4_timer", 100)
"""
ROUTES = """
route {
    if (is_method("ACK")) { t_relay(); exit; }
    $avp(first) = "sip:first@127.0.0.1:" + $hdr(X-First);
    $avp(second) = "sip:second@127.0.0.1:" + $hdr(X-Second);
    switch ($rU) {
    case "answered":
        t_newtran();
        t_reply(404, "Answered");
        $du = $avp(first);
        if (t_relay()) xlog("L_ERR", "RELAYED WHAT WAS ANSWERED\\n");
        exit;
    case "nested":
    case "reply_in_branch":
    case "drop_in_branch":
        t_on_branch("each");
        break;
    case "everywhere":
        t_on_reply("relays");
        break;
    case "reply_in_reply":
        t_on_reply("replies");
        break;
    case "drop_in_reply":
        t_on_reply("drops");
        break;
    case "drop_in_failure":
        t_on_failure("drops");
        break;
    case "drop":
        $du = $avp(first);
        t_relay();
        drop;
    case "six":
        $ru = "sip:x@" + $hdr(X-Name);
        append_msg_branch($avp(second));
        if (!t_relay()) sl_send_reply(478, "Unresolvable");
        exit;
    case "named":
        $ru = "sip:x@" + $hdr(X-Name);
        if (!t_relay()) sl_send_reply(478, "Unresolvable");
        $ru = "sip:changed@127.0.0.1:9";
        append_hf("X-Later: yes\\r\\n");
        exit;
    case "named_cancel":
        $ru = "sip:x@" + $hdr(X-Name);
        t_on_reply("cancels");
        t_relay();
        exit;
    case "twice":
        $ru = "sip:one@" + $hdr(X-Name);
        append_hf("X-Which: one\\r\\n");
        t_relay();
        $ru = "sip:two@" + $hdr(X-Name);
        remove_hf("X-Which");
        append_hf("X-Other: two\\r\\n");
        t_relay();
        exit;
    case "parked":
        t_on_failure("at_once");
        $du = $avp(first);
        t_relay();
        async(mi("bench_wait 300", $var(r)), after_relay);
    case "overtaken":
        t_on_failure("overtaken");
        break;
    case "slow_reply":
        t_on_reply("slow");
        break;
    case "t_new":
        t_new_request("ACK", "sip:x@127.0.0.1:$hdr(X-First)", "sip:us@here", "sip:x@there");
        sl_send_reply(200, "OK");
        exit;
    }
    $du = $avp(first);
    if (!t_relay()) sl_send_reply(500, "Not relayed");
}
# Their names are computed where the checker would refuse them.
route[try_relay] {
    if (t_relay()) xlog("L_ERR", "RELAYED IN $route.type\\n");
    xlog("L_ERR", "TRIED TO RELAY IN $route.type\\n");
}
route[try_reply] {
    if (send_reply(200, "OK")) xlog("L_ERR", "REPLIED IN $route.type\\n");
    xlog("L_ERR", "TRIED TO REPLY IN $route.type\\n");
}
route[after_relay] {
    xlog("L_ERR", "RESUMED IN $route.type $hdr(X-First)\\n");
}
failure_route[at_once] {
    append_hf("X-Failed: yes\\r\\n");
    $du = $avp(second);
    t_relay();
}
failure_route[overtaken] {
    t_on_failure("last");
    $du = $avp(second);
    t_relay();
    async(mi("bench_wait 400", $var(r)), nothing);
}
failure_route[last] { t_reply(480, "Last $T_reply_code"); }
route[nothing] { $var(y) = 1; }
failure_route[drops] { drop; }
branch_route[each] {
    if ($rU == "nested") {
        $var(route) = "try_relay"; route($var(route));
    } else if ($rU == "reply_in_branch") {
        send_reply(486, "In a branch route");
    } else {
        drop;
    }
}
onreply_route[relays] {
    $var(route) = "try_relay"; route($var(route));
    append_hf("X-Seen: $rs\\r\\n");
}
onreply_route[replies] {
    if (t_check_status("180")) send_reply(480, "In a reply route");
}
onreply_route[cancels] {
    if (t_check_status("180")) t_cancel_branch();
}
onreply_route[drops] { drop; }
onreply_route[slow] {
    if (t_check_status("180")) async(mi("bench_wait 300", $var(r)), nothing);
}
error_route {
    $var(route) = "try_relay"; route($var(route));
    sl_send_reply($(err.rcode), "$(err.rreason)");
}
local_route {
    $var(route) = "try_relay"; route($var(route));
}
event_route[E_TRY] {
    $var(route) = "try_relay"; route($var(route));
    $var(route) = "try_reply"; route($var(route));
}
startup_route {
    raise_event("E_TRY");
}
timer_route[tick, 1] {
    $var(route) = "try_relay"; route($var(route));
    $var(route) = "try_reply"; route($var(route));
    t_new_request("OPTIONS", "sip:x@127.0.0.1:9", "sip:us@here", "sip:x@there");
    if ($T_ruri == "x" || $T_reply_code == 999) xlog("L_ERR", "ODD\\n");
    xlog("L_ERR", "TICK\\n");
}
"""


@pytest.fixture(scope="module")
def dns() -> Iterator[DnsServer]:
    with DnsServer() as server:
        yield server


@pytest.fixture(scope="module")
def server(start_shared: Callable[..., Server], dns: DnsServer) -> Server:
    return start_shared(ROUTES, head=HEAD.format(port=dns.port), options=("--udp-workers", "2", "--mi-workers", "1"))


@pytest.fixture
def peers(peers: tuple[Peer, Peer, Peer], dns: DnsServer) -> tuple[Peer, Peer, Peer]:
    dns.delay_s = 0.0
    return peers


def ask(
    caller: Peer, first: Peer, second: Peer, user: str, method: str = "INVITE", name: str = "x", **more: str
) -> tuple[str, str]:
    """Send a request for `user`; its text and Call-ID."""
    text = caller.request(
        method,
        f"sip:{user}@127.0.0.1:{caller.server[1]}",
        extra=f"X-First: {first.port}\r\nX-Second: {second.port}\r\nX-Name: {name}\r\n",
        **more,
    )
    caller.send(text)
    return text, Received(text, ("", 0)).call_id


def service(dns: DnsServer, name: str, *callees: Peer) -> str:
    """A name that leads to these, one to be tried after the other."""
    targets = [f"{order} 1 {callee.port} host.{name}." for order, callee in enumerate(callees, 1)]
    dns.add(f"_sip._udp.{name}", "SRV", *targets)
    dns.add(f"host.{name}", "A", "127.0.0.1")
    return name


# --- in the wrong place


def test_what_the_script_has_answered_is_not_relayed(peers: tuple[Peer, Peer, Peer]) -> None:
    caller, callee, other = peers
    text, call_id = ask(caller, callee, other, "answered")
    caller.ack(text, caller.wait_reply(call_id, 404))
    callee.nothing(lambda m: True)


def test_a_branch_route_cannot_relay(peers: tuple[Peer, Peer, Peer]) -> None:
    caller, callee, other = peers
    text, call_id = ask(caller, callee, other, "nested")
    arrived = callee.wait_request("INVITE")
    callee.reply(arrived, 486)
    caller.ack(text, caller.wait_reply(call_id, 486))
    callee.wait_request("ACK")
    callee.nothing(lambda m: True, 0.1)


def test_a_reply_from_a_branch_route_ends_the_request(peers: tuple[Peer, Peer, Peer]) -> None:
    caller, callee, other = peers
    text, call_id = ask(caller, callee, other, "reply_in_branch")
    caller.ack(text, caller.wait_reply(call_id, 486))
    callee.nothing(lambda m: True)


def test_a_reply_route_cannot_relay(peers: tuple[Peer, Peer, Peer]) -> None:
    caller, callee, other = peers
    text, call_id = ask(caller, callee, other, "everywhere")
    callee.reply(callee.wait_request("INVITE"), 486)
    final = caller.wait_reply(call_id, 486)
    caller.ack(text, final)
    assert final.header("X-Seen") == "486"


def test_a_reply_from_a_reply_route_ends_the_request(peers: tuple[Peer, Peer, Peer]) -> None:
    caller, callee, other = peers
    text, call_id = ask(caller, callee, other, "reply_in_reply")
    arrived = callee.wait_request("INVITE")
    callee.reply(arrived, 180)
    caller.ack(text, caller.wait_reply(call_id, 480))
    callee.reply(callee.wait_request("CANCEL"), 200)
    callee.reply(arrived, 487)
    callee.wait_request("ACK")
    caller.nothing(lambda m: m.status in (180, 487), 0.1)


def test_the_error_route_cannot_relay(peers: tuple[Peer, Peer, Peer]) -> None:
    caller, _, _ = peers
    text = caller.request("OPTIONS", f"sip:bob@127.0.0.1:{caller.server[1]}")
    caller.send(text.replace("CSeq: 1 OPTIONS", "CSeq: nonsense"))
    assert caller.wait(lambda m: m.status == 400).start == "SIP/2.0 400 Malformed CSeq header"


def test_routes_without_a_message_can_do_nothing_of_it(server: Server, peers: tuple[Peer, Peer, Peer]) -> None:
    wait_until(lambda: "TICK" in server.log(), what="the timer route came to its end")
    assert "ODD" not in server.log()


# --- drops


@pytest.mark.parametrize("user", ["drop", "drop_in_reply", "drop_in_failure"])
def test_a_drop_takes_no_final_reply_from_the_caller(peers: tuple[Peer, Peer, Peer], user: str) -> None:
    caller, callee, other = peers
    text, call_id = ask(caller, callee, other, user)
    arrived = callee.wait_request("INVITE")
    callee.reply(arrived, 486)
    caller.ack(text, caller.wait_reply(call_id, 486))
    callee.wait_request("ACK")


def test_a_request_all_of_whose_branches_are_dropped_is_answered(peers: tuple[Peer, Peer, Peer]) -> None:
    caller, callee, other = peers
    text, call_id = ask(caller, callee, other, "drop_in_branch")
    caller.ack(text, caller.wait_reply(call_id, 500))
    callee.nothing(lambda m: True, 0.1)


def test_what_may_not_be_relayed_is_answered_once(peers: tuple[Peer, Peer, Peer]) -> None:
    caller, callee, _ = peers
    text = caller.request(
        "OPTIONS", f"sip:bob@127.0.0.1:{caller.server[1]}", extra=f"X-First: {callee.port}\r\nX-Second: 9\r\n"
    )
    caller.send(text.replace("Max-Forwards: 70", "Max-Forwards: 0"))
    call_id = Received(text, ("", 0)).call_id
    caller.wait_reply(call_id, 483)
    caller.nothing(lambda m: m.call_id == call_id)


# --- several addresses of one next hop


def test_a_branch_that_a_6xx_has_cancelled_tries_no_other_address(
    dns: DnsServer, peers: tuple[Peer, Peer, Peer]
) -> None:
    caller, first, second = peers
    spare = Peer(caller.server[1])
    text, call_id = ask(caller, first, second, "six", name=service(dns, "six.test", first, spare))
    arrived = first.wait_request("INVITE")
    first.reply(arrived, 180)
    caller.wait_reply(call_id, 180)
    second.reply(second.wait_request("INVITE"), 603)
    first.reply(first.wait_request("CANCEL"), 200)
    first.reply(arrived, 503)

    caller.ack(text, caller.wait_final(call_id))
    spare.nothing(lambda m: True)
    spare.close()


def test_a_branch_that_the_script_has_cancelled_tries_no_other_address(
    dns: DnsServer, peers: tuple[Peer, Peer, Peer]
) -> None:
    caller, first, second = peers
    text, call_id = ask(caller, first, first, "named_cancel", name=service(dns, "cancel.test", first, second))
    arrived = first.wait_request("INVITE")
    first.reply(arrived, 180)
    first.reply(first.wait_request("CANCEL"), 200)
    first.reply(arrived, 503)

    caller.ack(text, caller.wait_final(call_id))
    second.nothing(lambda m: True, 0.2)


def test_a_call_that_was_given_up_tries_no_other_address(dns: DnsServer, peers: tuple[Peer, Peer, Peer]) -> None:
    caller, first, second = peers
    text, call_id = ask(caller, first, first, "named", name=service(dns, "given-up.test", first, second))
    arrived = first.wait_request("INVITE")
    first.reply(arrived, 180)
    caller.wait_reply(call_id, 180)
    caller.cancel(text)
    first.reply(first.wait_request("CANCEL"), 200)
    first.reply(arrived, 503)

    caller.ack(text, caller.wait_final(call_id, "INVITE"))
    second.nothing(lambda m: True, 0.2)


def test_who_has_rung_for_too_long_is_there_and_no_other_address_is_tried(
    dns: DnsServer, peers: tuple[Peer, Peer, Peer]
) -> None:
    caller, first, second = peers
    text, call_id = ask(caller, first, first, "named", name=service(dns, "rings.test", first, second))
    arrived = first.wait_request("INVITE")
    first.reply(arrived, 180)

    caller.ack(text, caller.wait_reply(call_id, 408))
    first.reply(first.wait_request("CANCEL"), 200)
    first.reply(arrived, 487)
    second.nothing(lambda m: True, 0.1)


def test_an_address_that_answers_late_ends_the_try_with_the_next(
    dns: DnsServer, peers: tuple[Peer, Peer, Peer]
) -> None:
    caller, first, second = peers
    _, call_id = ask(caller, first, first, "named", name=service(dns, "late.test", first, second))
    arrived = first.wait_request("INVITE")
    other = second.wait_request("INVITE")
    second.reply(other, 180)
    caller.wait_reply(call_id, 180)
    first.reply(arrived, 200)

    caller.wait_reply(call_id, 200)
    second.reply(second.wait_request("CANCEL", limit_s=1.0), 200)
    second.reply(other, 487)
    second.wait_request("ACK")


def test_an_address_that_there_is_no_socket_for_is_passed_over(dns: DnsServer, peers: tuple[Peer, Peer, Peer]) -> None:
    caller, callee, other = peers
    dns.add("_sip._udp.both.test", "SRV", f"1 1 {callee.port} six.both.test.", f"2 1 {callee.port} four.both.test.")
    dns.add("six.both.test", "AAAA", "::1")
    dns.add("four.both.test", "A", "127.0.0.1")
    text, call_id = ask(caller, callee, other, "named", name="both.test")
    callee.reply(callee.wait_request("INVITE"), 486)
    caller.ack(text, caller.wait_reply(call_id, 486))


def test_what_the_script_changes_behind_the_relaying_changes_nothing(
    dns: DnsServer, peers: tuple[Peer, Peer, Peer]
) -> None:
    caller, first, second = peers
    dns.delay_s = 0.1
    text, call_id = ask(caller, first, first, "named", name=service(dns, "changed.test", first, second))
    arrived = first.wait_request("INVITE")
    first.reply(arrived, 503)
    again = second.wait_request("INVITE")
    second.reply(again, 486)
    caller.ack(text, caller.wait_reply(call_id, 486))

    assert [message.ruri for message in (arrived, again)] == ["sip:x@changed.test"] * 2
    assert [message.headers("X-Later") for message in (arrived, again)] == [[], []]


def test_two_relayings_while_names_are_looked_up_are_two_branches(
    dns: DnsServer, peers: tuple[Peer, Peer, Peer]
) -> None:
    caller, first, second = peers
    dns.delay_s = 0.1
    text, call_id = ask(caller, first, second, "twice", name=service(dns, "twice.test", first))
    arrived = [first.wait_request("INVITE"), first.wait_request("INVITE")]
    assert sorted(message.ruri for message in arrived) == ["sip:one@twice.test", "sip:two@twice.test"]
    one, two = sorted(arrived, key=lambda message: message.ruri)
    assert (one.header("X-Which"), one.header("X-Other")) == ("one", "")
    assert two.header("X-Other") == "two"
    first.reply(one, 486)
    first.reply(two, 404)
    caller.ack(text, caller.wait_reply(call_id, 404))


# --- while something is parked


def test_a_failure_route_beside_a_parked_request_route(server: Server, peers: tuple[Peer, Peer, Peer]) -> None:
    caller, first, second = peers
    text, call_id = ask(caller, first, second, "parked")
    first.reply(first.wait_request("INVITE"), 486)
    arrived = second.wait_request("INVITE")
    assert arrived.header("X-Failed") == "yes"
    second.reply(arrived, 404)
    caller.ack(text, caller.wait_reply(call_id, 404))
    wait_until(lambda: f"RESUMED IN request_route {first.port}" in server.log(), what="it resumes as what it was")


def test_a_refusal_that_overtakes_a_parked_failure_route_has_its_own(peers: tuple[Peer, Peer, Peer]) -> None:
    caller, first, second = peers
    text, call_id = ask(caller, first, second, "overtaken")
    first.reply(first.wait_request("INVITE"), 486)
    second.reply(second.wait_request("INVITE"), 404)

    final = caller.wait_final(call_id)
    caller.ack(text, final)
    assert final.start == "SIP/2.0 480 Last 404"


def test_a_final_reply_behind_a_flood_of_provisional_ones_is_not_lost(peers: tuple[Peer, Peer, Peer]) -> None:
    caller, callee, other = peers
    _, call_id = ask(caller, callee, other, "slow_reply", "OPTIONS")
    arrived = callee.wait_request("OPTIONS")
    callee.reply(arrived, 180)
    for _ in range(100):
        callee.reply(arrived, 183)
    callee.reply(arrived, 200)

    caller.wait_reply(call_id, 200)


def test_a_call_that_comes_again_when_its_transaction_is_over_goes_out_again(peers: tuple[Peer, Peer, Peer]) -> None:
    caller, callee, other = peers
    text, call_id = ask(caller, callee, other, "bob")
    for _ in range(2):
        callee.reply(callee.wait_request("INVITE"), 486)
        caller.ack(text, caller.wait_reply(call_id, 486))
        callee.wait_request("ACK")
        caller.nothing(lambda m: m.status == 486, 0.3)  # T4 is 100 ms here
        caller.send(text)
    callee.reply(callee.wait_request("INVITE"), 200)
    caller.wait_reply(call_id, 200)


def test_nothing_went_wrong_unseen(server: Server) -> None:
    log = server.log()
    assert "Traceback" not in log
    assert "RELAYED" not in log
    assert "REPLIED" not in log
    tried = set(re.findall(r"TRIED TO (.*)", log))
    kinds = ("branch_route", "onreply_route", "error_route", "event_route", "timer_route", "local_route")
    assert tried == {*(f"RELAY IN {kind}" for kind in kinds), "REPLY IN event_route", "REPLY IN timer_route"}
