"""A real server relays: requests, forks, cancellations and failures, seen by real sockets at both ends."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.harness import Server, wait_until
from tests.sip_peer import Peer, Received

pytestmark = pytest.mark.processes

ROUTES = """
modparam("tm", "fr_timeout", 2)
modparam("tm", "fr_inv_timeout", 2)
modparam("tm", "onreply_avp_mode", 1)
route {
    if (is_method("ACK")) { t_relay(); exit; }
    if (is_method("CANCEL")) { if (t_check_trans()) t_relay(); exit; }
    $avp(who) = $rU;
    switch ($rU) {
    case "fork":
        append_msg_branch("sip:second@127.0.0.1:$hdr(X-Second)");
        break;
    case "serial":
        t_on_failure("next");
        break;
    case "decide":
        t_on_failure("decide");
        break;
    case "branch":
        append_msg_branch("sip:dropped@127.0.0.1:$hdr(X-Second)");
        t_on_branch("each");
        break;
    case "reply":
        t_on_reply("seen");
        break;
    case "edits":
        append_hf("X-Added: yes\\r\\n");
        remove_hf("X-Secret");
        break;
    case "nowhere":
        $du = "sip:127.0.0.1:9;transport=carrier-pigeon";
        if (!t_relay()) sl_send_reply(478, "Unresolvable");
        exit;
    case "quick":
        $T_fr_timeout = 1;
        t_on_failure("timeout");
        break;
    }
    $du = "sip:127.0.0.1:" + $hdr(X-First);
    if (!t_relay()) sl_send_reply(500, "Not relayed");
}
failure_route[next] {
    if (t_was_cancelled()) exit;
    if (t_check_status("486")) {
        append_hf("X-Why: $T_reply_code $avp(who)\\r\\n");
        $du = "sip:127.0.0.1:" + $hdr(X-Second);
        t_relay();
    }
}
failure_route[decide] {
    t_reply(404, "Decided");
}
failure_route[timeout] {
    append_to_reply("X-Status: $T_reply_code\\r\\n");
    t_reply(480, "Gave up");
}
branch_route[each] {
    if ($rU == "dropped") drop;
    append_hf("X-Branch: $T_branch_idx $rU\\r\\n");
}
onreply_route[seen] {
    if (t_check_status("183")) drop;
    append_hf("X-Seen: $rs $avp(who)\\r\\n");
}
"""


@pytest.fixture(scope="module")
def server(start_shared: Callable[..., Server]) -> Server:
    return start_shared(ROUTES, options=("--udp-workers", "4", "--mi-workers", "1"))


def invite(caller: Peer, first: Peer, second: Peer, user: str, extra: str = "") -> tuple[str, str]:
    """An INVITE to the server for `user`; its text and Call-ID."""
    text = caller.request(
        "INVITE",
        f"sip:{user}@127.0.0.1:{caller.server[1]}",
        extra=f"X-First: {first.port}\r\nX-Second: {second.port}\r\n{extra}",
    )
    caller.send(text)
    return text, Received(text, ("", 0)).call_id


def test_a_call_goes_through_with_every_header_as_it_was(server: Server, peers: tuple[Peer, Peer, Peer]) -> None:
    caller, callee, other = peers
    text, call_id = invite(caller, callee, other, "bob", "x-odd :   as it \r\n  was written\r\nSubject:\r\n")

    arrived = callee.wait_request("INVITE")
    callee.reply(arrived, 180)
    callee.reply(arrived, 200)
    ringing, answered = caller.wait_reply(call_id, 180), caller.wait_reply(call_id, 200)

    vias = arrived.headers("Via")
    assert len(vias) == 2
    assert vias[0].startswith(f"SIP/2.0/UDP 127.0.0.1:{server.sip_port};branch=z9hG4bK")
    assert vias[1] == Received(text, ("", 0)).header("Via")
    assert arrived.header("Max-Forwards") == "69"
    kept = text.partition("Max-Forwards: 70\r\n")[2]
    assert arrived.text.endswith(kept), "what does not have to change is not changed, folding and spacing included"
    assert ringing.headers("Via") == [vias[1]]
    assert answered.headers("Via") == [vias[1]]
    assert ";tag=" in answered.header("To")

    ack = caller.request("ACK", callee.uri, call_id=call_id, to_tag="x", extra=f"X-First: {callee.port}\r\n")
    caller.send(ack)
    assert len(callee.wait_request("ACK").headers("Via")) == 2


def test_copies_of_a_request_go_no_further_and_get_the_last_reply(
    server: Server, peers: tuple[Peer, Peer, Peer]
) -> None:
    caller, callee, other = peers
    text, call_id = invite(caller, callee, other, "bob")
    arrived = callee.wait_request("INVITE")
    for _ in range(5):
        caller.send(text)
    callee.reply(arrived, 180)
    caller.wait_reply(call_id, 180)
    caller.send(text)

    caller.wait_reply(call_id, 180)
    callee.nothing(lambda m: m.method == "INVITE")
    callee.reply(arrived, 486)
    refused = caller.wait_reply(call_id, 486)
    callee.wait_request("ACK")
    caller.ack(text, refused)


def test_a_copy_of_a_200_is_relayed_again(peers: tuple[Peer, Peer, Peer]) -> None:
    caller, callee, other = peers
    _, call_id = invite(caller, callee, other, "bob")
    arrived = callee.wait_request("INVITE")
    for _ in range(3):
        callee.reply(arrived, 200)
        caller.wait_reply(call_id, 200)


def test_a_refusal_is_acknowledged_hop_by_hop(peers: tuple[Peer, Peer, Peer]) -> None:
    caller, callee, other = peers
    text, call_id = invite(caller, callee, other, "bob")
    arrived = callee.wait_request("INVITE")
    callee.reply(arrived, 404, "Nobody")

    refused = caller.wait_reply(call_id, 404)
    ack = callee.wait_request("ACK")
    assert ack.branch == arrived.branch
    assert ack.header("To") == refused.header("To")
    caller.ack(text, refused)
    caller.nothing(lambda m: m.status == 404, 0.7)


def test_side_by_side_the_first_to_answer_wins_and_the_other_is_cancelled(peers: tuple[Peer, Peer, Peer]) -> None:
    caller, first, second = peers
    text, call_id = invite(caller, first, second, "fork")
    one, other = first.wait_request("INVITE"), second.wait_request("INVITE")
    assert other.ruri.startswith("sip:second@")
    assert one.branch != other.branch

    first.reply(one, 180)
    second.reply(other, 180)
    caller.wait_reply(call_id, 180)
    caller.wait_reply(call_id, 180)
    second.reply(other, 200)

    caller.wait_reply(call_id, 200)
    cancel = first.wait_request("CANCEL")
    assert cancel.branch == one.branch
    first.reply(cancel, 200)
    first.reply(one, 487)
    first.wait_request("ACK")
    caller.nothing(lambda m: m.status == 487)
    assert text


def test_of_several_refusals_the_best_goes_up(peers: tuple[Peer, Peer, Peer]) -> None:
    caller, first, second = peers
    text, call_id = invite(caller, first, second, "fork")
    first.reply(first.wait_request("INVITE"), 503)
    first.wait_request("ACK")
    second.reply(second.wait_request("INVITE"), 404)

    caller.ack(text, caller.wait_reply(call_id, 404))


def test_challenges_of_all_branches_go_up_together(peers: tuple[Peer, Peer, Peer]) -> None:
    caller, first, second = peers
    text, call_id = invite(caller, first, second, "fork")
    first.reply(first.wait_request("INVITE"), 401, extra='WWW-Authenticate: Digest realm="one", nonce="1"\r\n')
    second.reply(second.wait_request("INVITE"), 407, extra='Proxy-Authenticate: Digest realm="two", nonce="2"\r\n')

    challenged = caller.wait_final(call_id)
    caller.ack(text, challenged)
    assert challenged.status == 401
    assert challenged.headers("WWW-Authenticate") == ['Digest realm="one", nonce="1"']
    assert challenged.headers("Proxy-Authenticate") == ['Digest realm="two", nonce="2"']


def test_a_6xx_ends_the_other_branches(peers: tuple[Peer, Peer, Peer]) -> None:
    caller, first, second = peers
    text, call_id = invite(caller, first, second, "fork")
    one, other = first.wait_request("INVITE"), second.wait_request("INVITE")
    first.reply(one, 180)
    caller.wait_reply(call_id, 180)
    second.reply(other, 603)
    second.wait_request("ACK")

    first.reply(first.wait_request("CANCEL"), 200)
    first.reply(one, 487)
    caller.ack(text, caller.wait_reply(call_id, 603))


def test_a_503_from_further_on_is_not_ours(peers: tuple[Peer, Peer, Peer]) -> None:
    caller, callee, other = peers
    text, call_id = invite(caller, callee, other, "bob")
    callee.reply(callee.wait_request("INVITE"), 503, "Overloaded")

    caller.ack(text, caller.wait_reply(call_id, 500))


def test_the_failure_route_tries_the_next_target(peers: tuple[Peer, Peer, Peer]) -> None:
    caller, first, second = peers
    _, call_id = invite(caller, first, second, "serial")
    first.reply(first.wait_request("INVITE"), 486)
    first.wait_request("ACK")

    arrived = second.wait_request("INVITE")
    assert arrived.header("X-Why") == "486 serial"
    second.reply(arrived, 200)
    caller.wait_reply(call_id, 200)
    caller.nothing(lambda m: m.status == 486, 0.1)


def test_the_failure_route_may_answer_itself(peers: tuple[Peer, Peer, Peer]) -> None:
    caller, callee, other = peers
    text, call_id = invite(caller, callee, other, "decide")
    callee.reply(callee.wait_request("INVITE"), 486)

    decided = caller.wait_final(call_id)
    assert decided.start == "SIP/2.0 404 Decided"
    caller.ack(text, decided)


def test_who_says_nothing_is_given_up(peers: tuple[Peer, Peer, Peer]) -> None:
    caller, callee, other = peers
    text, call_id = invite(caller, callee, other, "quick")

    given_up = caller.wait_final(call_id)
    caller.ack(text, given_up)
    assert given_up.start == "SIP/2.0 480 Gave up"
    assert given_up.header("X-Status") == "408"
    assert len([m for m in callee.received if m.method == "INVITE"]) >= 2 or callee.wait_request("INVITE")


def test_who_rings_for_too_long_is_cancelled(peers: tuple[Peer, Peer, Peer]) -> None:
    caller, callee, other = peers
    text, call_id = invite(caller, callee, other, "bob")
    arrived = callee.wait_request("INVITE")
    callee.reply(arrived, 180)

    timed_out = caller.wait_final(call_id)
    assert timed_out.status == 408
    caller.ack(text, timed_out)
    callee.reply(callee.wait_request("CANCEL"), 200)
    callee.reply(arrived, 487)
    callee.wait_request("ACK")


def test_branch_routes_change_one_branch_and_may_drop_it(peers: tuple[Peer, Peer, Peer]) -> None:
    caller, first, second = peers
    text, call_id = invite(caller, first, second, "branch")

    arrived = first.wait_request("INVITE")
    assert arrived.header("X-Branch") == "0 branch"
    second.nothing(lambda m: True)
    first.reply(arrived, 404)
    final = caller.wait_final(call_id)
    caller.ack(text, final)
    assert final.status == 404


def test_reply_routes_see_each_reply_and_may_drop_a_provisional_one(peers: tuple[Peer, Peer, Peer]) -> None:
    caller, callee, other = peers
    text, call_id = invite(caller, callee, other, "reply")
    arrived = callee.wait_request("INVITE")
    callee.reply(arrived, 183)
    callee.reply(arrived, 180)

    assert caller.wait_reply(call_id, 180).header("X-Seen") == "180 reply"
    callee.reply(arrived, 486)
    final = caller.wait_final(call_id)
    caller.ack(text, final)
    assert final.header("X-Seen") == "486 reply"
    assert not [m for m in caller.received if m.status == 183]


def test_a_cancel_ends_the_call(peers: tuple[Peer, Peer, Peer]) -> None:
    caller, callee, other = peers
    text, call_id = invite(caller, callee, other, "serial")
    arrived = callee.wait_request("INVITE")
    callee.reply(arrived, 180)
    caller.wait_reply(call_id, 180)
    caller.cancel(text)

    caller.wait_reply(call_id, 200, "CANCEL")
    cancel = callee.wait_request("CANCEL")
    assert cancel.branch == arrived.branch
    callee.reply(cancel, 200)
    callee.reply(arrived, 487)
    callee.wait_request("ACK")
    caller.ack(text, caller.wait_reply(call_id, 487, "INVITE"))


def test_a_cancel_before_any_reply_waits_for_one(peers: tuple[Peer, Peer, Peer]) -> None:
    caller, callee, other = peers
    text, call_id = invite(caller, callee, other, "bob")
    arrived = callee.wait_request("INVITE")
    caller.cancel(text)
    caller.wait_reply(call_id, 200, "CANCEL")
    callee.nothing(lambda m: m.method == "CANCEL")

    callee.reply(arrived, 100)
    callee.reply(callee.wait_request("CANCEL"), 200)
    callee.reply(arrived, 487)
    caller.ack(text, caller.wait_reply(call_id, 487, "INVITE"))


def test_headers_are_added_and_taken_away(peers: tuple[Peer, Peer, Peer]) -> None:
    caller, callee, other = peers
    text, call_id = invite(caller, callee, other, "edits", "X-Secret: 1\r\nx-secret: 2\r\n")
    arrived = callee.wait_request("INVITE")
    callee.reply(arrived, 486)
    caller.ack(text, caller.wait_final(call_id))

    assert arrived.header("X-Added") == "yes"
    assert arrived.headers("X-Secret") == []


def test_what_cannot_be_reached_is_the_scripts_to_answer(peers: tuple[Peer, Peer, Peer]) -> None:
    caller, callee, other = peers
    text, call_id = invite(caller, callee, other, "nowhere")

    caller.ack(text, caller.wait_reply(call_id, 478))


def test_a_request_that_has_gone_through_too_many_hops_ends_here(
    server: Server, peers: tuple[Peer, Peer, Peer]
) -> None:
    caller, callee, _ = peers
    text = caller.request("OPTIONS", f"sip:bob@127.0.0.1:{server.sip_port}", extra=f"X-First: {callee.port}\r\n")
    caller.send(text.replace("Max-Forwards: 70", "Max-Forwards: 0"))

    caller.wait_reply(Received(text, ("", 0)).call_id, 483)
    callee.nothing(lambda m: True, 0.1)


def test_stray_replies_are_dropped_and_counted(server: Server, peers: tuple[Peer, Peer, Peer]) -> None:
    caller, callee, other = peers
    before = server.statistic("core:drop_replies")
    text, call_id = invite(caller, callee, other, "bob")
    arrived = callee.wait_request("INVITE")
    forged = Received(arrived.text.replace(arrived.branch, arrived.branch[:-3] + "0.7"), arrived.source)
    callee.reply(forged, 200)
    wait_until(lambda: server.statistic("core:drop_replies") == before + 1, what="the stray reply is counted")
    callee.reply(arrived, 486)

    caller.ack(text, caller.wait_reply(call_id, 486))


def test_copies_that_arrive_at_the_same_moment_are_one_request(server: Server, peers: tuple[Peer, Peer, Peer]) -> None:
    caller, callee, other = peers
    texts = {}
    for _ in range(30):
        text = caller.request(
            "OPTIONS",
            f"sip:bob@127.0.0.1:{server.sip_port}",
            extra=f"X-First: {callee.port}\r\nX-Second: {other.port}\r\n",
        )
        texts[Received(text, ("", 0)).call_id] = text
        for _ in range(6):
            caller.send(text)
    for _ in texts:
        callee.reply(callee.wait_request("OPTIONS"), 200)
    for call_id in texts:
        caller.wait_reply(call_id, 200)

    callee.nothing(lambda m: m.method == "OPTIONS", 0.3)


def test_many_calls_over_all_processes_and_nothing_is_left(server: Server, peers: tuple[Peer, Peer, Peer]) -> None:
    caller, callee, other = peers
    handed = server.statistic("core:handed_over")
    calls = dict(invite(caller, callee, other, "bob")[::-1] for _ in range(60))
    for _ in calls:
        arrived = callee.wait_request("INVITE")
        callee.reply(arrived, 180)
        callee.reply(arrived, 486)
    for call_id, text in calls.items():
        caller.ack(text, caller.wait_reply(call_id, 486))

    for _ in calls:
        callee.wait_request("ACK")
    assert server.statistic("core:handed_over") > handed, "replies find the process that has the transaction"
    assert "Traceback" not in server.log()
