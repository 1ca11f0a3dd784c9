"""What module tm tells a script about its transaction, seen in the headers that the script writes."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.harness import Server
from tests.sip_peer import Peer, Received

pytestmark = pytest.mark.processes

ROUTES = """
modparam("tm", "fr_timeout", 1)
modparam("tm", "fr_inv_timeout", 20)
modparam("tm", "onreply_avp_mode", 1)
route {
    if (is_method("ACK")) { t_relay(); exit; }
    $du = "sip:127.0.0.1:" + $hdr(X-First);
    if ($rU == "arms") {
        $var(arm) = "no such route"; if (!t_on_failure($var(arm))) append_hf("X-Armed: no\\r\\n");
        t_on_failure("told");
        t_on_failure("");
        t_relay();
        exit;
    }
    if ($rU == "again") {
        t_on_failure("again");
        t_relay();
        exit;
    }
    if ($rU == "body") {
        t_newtran();
        append_to_reply("Content-Type: text/plain\\r\\n");
        t_reply_with_body(200, "OK", "hello $rm");
        exit;
    }
    append_msg_branch("sip:second@127.0.0.1:$hdr(X-Second)");
    if ($rU == "branches") { add_local_rport(); t_on_branch("armed"); }
    append_hf("X-Times: $T_fr_timeout $T_fr_inv_timeout\\r\\n");
    $T_fr_inv_timeout = 1;
    append_hf("X-Changed: $T_fr_inv_timeout\\r\\n");
    $T_fr_inv_timeout = NULL;
    t_newtran();
    $avp(id) = $T_id;
    t_on_failure("told");
    t_on_reply("replies");
    t_relay();
}
branch_route[armed] {
    if ($T_branch_idx == 1) { t_on_reply("second"); t_on_failure("after"); }
}
onreply_route[second] {
    append_hf("X-Second: $(<request>hdr(X-First)) $T_branch_last_reply_code $T_branch_last_reply_code(0)\\r\\n");
    if ($rs == 603) change_reply_status(404, "Changed");
}
failure_route[after] { append_to_reply("X-Told: after $(<reply>rs) $T_reply_code\\r\\n"); t_reply(480, "Told"); }
onreply_route[replies] {
    if ($rs == 183) t_cancel_branch();
    if ($rs == 182) t_cancel_branch("o");
    if ($rs == 181) t_cancel_branch("a");
    append_hf("X-Branch: $T_branch_idx $T_ruri\\r\\n");
    if ($T_id == $avp(id)) append_hf("X-Same: yes\\r\\n");
}
failure_route[again] {
    t_on_failure("told");
    $du = "sip:127.0.0.1:" + $hdr(X-Second);
    t_relay();
}
failure_route[told] {
    $var(timeout) = 0; $var(replied) = 0; $var(local) = 0; $var(all) = 0;
    if (t_any_timeout()) $var(timeout) = 1;
    if (t_any_replied()) $var(replied) = 1;
    if (t_local_replied("last")) $var(local) = 1;
    if (t_local_replied("all")) $var(all) = 1;
    append_to_reply("X-Told: $T_reply_code $var(timeout)$var(replied)$var(local)$var(all)\\r\\n");
    t_reply(480, "Told");
}
"""


@pytest.fixture(scope="module")
def server(start_shared: Callable[..., Server]) -> Server:
    return start_shared(ROUTES, options=("--udp-workers", "2", "--mi-workers", "1"))


def invite(caller: Peer, first: Peer, second: Peer, user: str = "bob") -> tuple[str, str]:
    extra = f"X-First: {first.port}\r\nX-Second: {second.port}\r\n"
    text = caller.request("INVITE", f"sip:{user}@127.0.0.1:{caller.server[1]}", extra=extra)
    caller.send(text)
    return text, Received(text, ("", 0)).call_id


def test_time_outs_are_read_and_set_for_what_is_relayed(peers: tuple[Peer, Peer, Peer]) -> None:
    caller, first, second = peers
    text, call_id = invite(caller, first, second)
    arrived = first.wait_request("INVITE")
    first.reply(arrived, 486)
    second.reply(second.wait_request("INVITE"), 486)

    caller.ack(text, caller.wait_final(call_id))
    assert arrived.header("X-Times") == "1 20"
    assert arrived.header("X-Changed") == "1"


@pytest.mark.parametrize(
    ("answers", "told"), [((404, 486), "404 0100"), ((404, None), "404 1100"), ((None, None), "408 1011")]
)
def test_the_failure_route_is_told_how_the_branches_ended(
    peers: tuple[Peer, Peer, Peer], answers: tuple[int | None, int | None], told: str
) -> None:
    caller, first, second = peers
    text, call_id = invite(caller, first, second)
    for peer, status in zip((first, second), answers, strict=True):
        if status is not None:
            peer.reply(peer.wait_request("INVITE"), status)

    final = caller.wait_final(call_id)
    caller.ack(text, final)
    assert (final.status, final.header("X-Told")) == (480, told)


def test_of_two_rounds_the_last_may_have_ended_by_ourselves(peers: tuple[Peer, Peer, Peer]) -> None:
    caller, first, second = peers
    text, call_id = invite(caller, first, second, "again")
    first.reply(first.wait_request("INVITE"), 404)
    second.wait_request("INVITE")

    final = caller.wait_final(call_id)
    caller.ack(text, final)
    assert (final.status, final.header("X-Told")) == (480, "408 1010")


def test_the_reply_route_is_told_which_branch_it_is_about(peers: tuple[Peer, Peer, Peer]) -> None:
    caller, first, second = peers
    text, call_id = invite(caller, first, second)
    one, other = first.wait_request("INVITE"), second.wait_request("INVITE")
    second.reply(other, 180)

    ringing = caller.wait_reply(call_id, 180)
    assert ringing.header("X-Branch") == f"1 sip:second@127.0.0.1:{second.port}"
    assert ringing.header("X-Same") == "yes"
    first.reply(one, 486)
    second.reply(other, 486)
    caller.ack(text, caller.wait_final(call_id))


@pytest.mark.parametrize(
    ("status", "cancelled"), [(183, "first"), (182, "second"), (181, "both")], ids=["this", "others", "all"]
)
def test_a_reply_route_cancels_branches(peers: tuple[Peer, Peer, Peer], status: int, cancelled: str) -> None:
    caller, first, second = peers
    text, call_id = invite(caller, first, second)
    one, other = first.wait_request("INVITE"), second.wait_request("INVITE")
    second.reply(other, 180)
    caller.wait_reply(call_id, 180)
    first.reply(one, status)
    caller.wait_reply(call_id, status)

    for peer, name in ((first, "first"), (second, "second")):
        if cancelled in (name, "both"):
            peer.reply(peer.wait_request("CANCEL"), 200)
        else:
            peer.nothing(lambda m: m.method == "CANCEL", 0.1)
    first.reply(one, 487)
    second.reply(other, 487)
    caller.ack(text, caller.wait_final(call_id))


def test_arms_are_taken_off_and_must_exist(server: Server, peers: tuple[Peer, Peer, Peer]) -> None:
    caller, first, second = peers
    text, call_id = invite(caller, first, second, "arms")
    arrived = first.wait_request("INVITE")
    first.reply(arrived, 486)

    final = caller.wait_final(call_id)
    caller.ack(text, final)
    assert arrived.header("X-Armed") == "no"
    assert final.status == 486
    assert "Traceback" not in server.log()


def test_a_branch_route_arms_its_own_branch(peers: tuple[Peer, Peer, Peer]) -> None:
    caller, first, second = peers
    text, call_id = invite(caller, first, second, "branches")
    one, other = first.wait_request("INVITE"), second.wait_request("INVITE")
    assert [one.headers("Via")[0][-6:], other.headers("Via")[0][-6:]] == [";rport"] * 2
    first.reply(one, 180)
    ringing = caller.wait_reply(call_id, 180)
    assert (ringing.header("X-Second"), ringing.header("X-Branch").split(" ")[0]) == ("", "0")
    second.reply(other, 184)
    progress = caller.wait_reply(call_id, 184)
    assert progress.header("X-Second") == f"{first.port} 184 0"
    assert progress.header("X-Branch").split(" ")[0] == "1"

    first.reply(one, 603)
    second.reply(other, 486)
    caller.ack(text, caller.wait_final(call_id))


def test_a_failure_route_armed_by_a_branch_route_sees_the_changed_reply(peers: tuple[Peer, Peer, Peer]) -> None:
    caller, first, second = peers
    text, call_id = invite(caller, first, second, "branches")
    one, other = first.wait_request("INVITE"), second.wait_request("INVITE")
    second.reply(other, 603)
    first.reply(one, 486)

    final = caller.wait_final(call_id)
    caller.ack(text, final)
    assert (final.status, final.header("X-Told")) == (480, "after 603 404")


def test_a_reply_with_a_body(peers: tuple[Peer, Peer, Peer]) -> None:
    caller, first, second = peers
    text, call_id = invite(caller, first, second, "body")
    final = caller.wait_final(call_id)
    caller.ack(text, final)
    assert (final.status, final.body, final.header("Content-Type")) == (200, "hello INVITE", "text/plain")
