"""Dialogs of a real server's calls: states, ends, profiles, pings and numbers, seen by MI and by sockets."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.harness import Server, wait_until
from tests.processes.dialog_calls import Call
from tests.sip_peer import LIMIT_S, Peer

pytestmark = pytest.mark.processes

SDP = "Content-Type: application/sdp\r\n"
HEAD = """
loadmodule "event_route.so"
loadmodule "dialog.so"
modparam("dialog", "profiles_with_value", "caller; callee/b")
modparam("dialog", "profiles_no_value", "inbound")
modparam("dialog", "options_ping_interval", 1)
modparam("dialog", "reinvite_ping_interval", 1)
modparam("dialog", "dlg_extra_hdrs", "X-Made-By: us\\r\\n")
modparam("tm", "fr_timeout", 1)
"""
ROUTES = """
route {
    if (has_totag()) {
        match_dialog();
        append_hf("X-Dialog: $DLG_status $DLG_dir $dlg_val(who) $DLG_end_reason\\r\\n");
        if (is_method("INFO") && $hdr(X-Validate) != NULL) {
            validate_dialog();
            append_to_reply("X-Valid: $rc\\r\\n");
            t_newtran();
            t_reply(200, "Looked at");
            exit;
        }
        t_on_reply("within");
        t_relay();
        exit;
    }
    if (is_method("CANCEL")) { t_relay(); exit; }
    if (is_method("OPTIONS")) {
        get_profile_size("caller", "tester", $var(size));
        get_profile_size("inbound",, $var(all));
        append_to_reply("X-Sizes: $var(size) $var(all) $DLG_count\\r\\n");
        if (load_dialog_ctx("$hdr(X-Call)")) {
            append_to_reply("X-Other: $DLG_status $dlg_val(who)\\r\\n");
            unload_dialog_ctx();
        }
        append_to_reply("X-Own: $DLG_status\\r\\n");
        sl_send_reply(200, "OK");
        exit;
    }
    if (!create_dialog("$hdr(X-Flags)")) { sl_send_reply(500, "No dialog"); exit; }
    if (!create_dialog()) { sl_send_reply(500, "It has one"); exit; }
    set_dlg_profile("caller", "tester");
    set_dlg_profile("callee", "$rU");
    set_dlg_profile("inbound");
    $dlg_val(who) = $rU;
    $dlg_val(number) = 42;
    set_dlg_flag("paid");
    if ($hdr(X-Timeout) != NULL) $DLG_timeout = $(hdr(X-Timeout){s.int});
    switch ($rU) {
    case "values":
        test_and_set_dlg_flag("once", 0);
        $var(first) = $rc;
        test_and_set_dlg_flag("once", 0);
        $var(second) = $rc;
        unset_dlg_profile("caller");
        $var(in) = is_in_profile("inbound");
        is_in_profile("caller");
        $var(out) = $rc;
        fetch_dlg_value("who", $var(who));
        append_to_reply("X-Values: $var(first) $var(second) $var(out) $var(who) $dlg_val(number) $dlg_val(none)\\r\\n");
        append_to_reply("X-State: $DLG_flags $DLG_status $DLG_timeout\\r\\n");
        sl_send_reply(486, "Busy");
        exit;
    case "parked":
        async(mi("bench_wait 50"), resumed);
    case "launched":
        launch(mi("bench_wait 10"), reported);
        break;
    case "routes":
        dlg_on_answer("answered");
        dlg_on_timeout("over");
        dlg_on_hangup("ended");
        break;
    }
    route(out);
}
route[out] {
    $du = "sip:127.0.0.1:" + $hdr(X-To);
    t_on_reply("seen");
    t_on_failure("failed");
    t_relay();
}
route[resumed] {
    $dlg_val(resumed) = "yes";
    route(out);
}
route[reported] { $dlg_val(reported) = $DLG_did; }
event_route[E_DLG_STATE_CHANGED] {
    cache_store("local", "$param(callid) $param(new_state)", "$param(id) $param(old_state)");
}
route[answered] {
    dlg_send_sequential("INFO", "caller", "answered", "text/plain");
    cache_store("local", "answered", "$dlg_val(who) $DLG_status");
}
route[over] {
    if ($dlg_val(more) == NULL) {
        $dlg_val(more) = "given";
        $DLG_timeout = 1;
    }
}
route[ended] { cache_store("local", "ended", "$dlg_val(who) $DLG_status $DLG_end_reason $dlg_val(more)"); }
onreply_route[seen] { append_hf("X-Seen: $DLG_status $dlg_val(who)\\r\\n"); }
onreply_route[within] { append_hf("X-Seen: $DLG_status $DLG_end_reason\\r\\n"); }
failure_route[failed] {
    append_to_reply("X-Failed: $dlg_val(who)\\r\\n");
    if ($T_reply_code == 404) t_reply(480, "Not there");
}
"""


@pytest.fixture(scope="module")
def server(start_shared: Callable[..., Server]) -> Server:
    return start_shared(ROUTES, head=HEAD, options=("--udp-workers", "4", "--mi-workers", "1"))


@pytest.fixture
def call(server: Server) -> Iterator[Call]:
    caller, callee = Peer(server.sip_port), Peer(server.sip_port)
    yield Call(caller, callee)
    caller.close()
    callee.close()


def found(server: Server, call: Call, command: str = "dlg_list") -> dict[str, Any]:
    return dict(server.mi(command, {"callid": call.call_id})["Dialog"])


def state(server: Server, call: Call) -> int:
    return int(found(server, call)["state"])


def is_gone(server: Server, call: Call) -> bool:
    reply = server.rpc(f'{{"jsonrpc":"2.0","id":1,"method":"dlg_list","params":{{"callid":"{call.call_id}"}}}}')
    return reply.get("error") == {"code": 404, "message": "No such dialog"}


def test_a_call_from_its_invite_to_its_end(server: Server, call: Call) -> None:
    call.ring()
    assert state(server, call) == 1
    call.callee.reply(call.arrived, 180)
    ringing = call.caller.wait_reply(call.call_id, 180)
    assert ringing.header("X-Seen") == "1 bob"
    assert state(server, call) == 2
    answered = call.pick_up()
    assert answered.header("X-Seen") == "2 bob"
    assert state(server, call) == 3
    call.say("ACK", cseq=1)
    call.callee.wait_request("ACK")
    assert state(server, call) == 4

    arrived = call.hang_up()
    assert arrived.header("X-Dialog") == "5 downstream bob Downstream BYE"
    assert is_gone(server, call)


def test_what_mi_shows_of_it(server: Server, call: Call) -> None:
    call.establish()
    shown = found(server, call)
    callees = shown.pop("CALLEES")
    assert shown["ID"] == f"{shown['db_id'] >> 32:x}.{shown['db_id'] & 0xFFFFFFFF:x}"
    assert shown["timeout"] - shown["timestart"] in (43199, 43200, 43201)
    assert {name: shown[name] for name in list(shown) if name not in ("ID", "db_id") and "time" not in name} == {
        "state": 4,
        "user_flags": "paid",
        "datestart": shown["datestart"],
        "dateout": shown["dateout"],
        "callid": call.call_id,
        "from_uri": "sip:tester@127.0.0.1",
        "to_uri": f"sip:bob@127.0.0.1:{server.sip_port}",
        "caller_tag": f"f{call.call_id}",
        "caller_contact": call.caller.uri,
        "callee_cseq": "0",
        "caller_route_set": "",
        "caller_bind_addr": f"udp:127.0.0.1:{server.sip_port}",
    }
    assert callees == [
        {
            "callee_tag": f"peer{call.callee.port}",
            "callee_contact": call.callee.uri,
            "caller_cseq": "1",
            "callee_route_set": "",
            "callee_bind_addr": f"udp:127.0.0.1:{server.sip_port}",
        }
    ]
    context = found(server, call, "dlg_list_ctx")["context"]
    assert context["values"] == [{"who": "bob"}, {"number": 42}]
    assert context["profiles"] == [{"caller": "tester"}, {"callee": "bob"}, {"inbound": ""}]
    by_tag = server.mi("dlg_list", [call.call_id, f"f{call.call_id}"])
    assert by_tag["Dialog"]["ID"] == shown["ID"]
    assert server.mi_error("dlg_list", [call.call_id, "other"])["code"] == 404
    call.hang_up(upstream=True)


def test_lists_and_pages(server: Server) -> None:
    calls = [Call(Peer(server.sip_port), Peer(server.sip_port)).establish() for _ in range(3)]
    listed = [one["ID"] for one in server.mi("dlg_list")["Dialogs"]]
    assert len(listed) == 3
    assert server.statistic("dialog:active_dialogs") == 3
    page = server.mi("dlg_list", {"index": "1", "counter": "1"})
    assert (page["count"], [one["ID"] for one in page["Dialogs"]]) == (3, listed[1:2])
    assert server.mi("dlg_list", {"index": 7, "counter": 1}) == {"count": 3, "Dialogs": []}
    assert server.mi("which", ["dlg_list"]) == [[], ["callid"], ["callid", "from_tag"], ["index", "counter"]]
    for call in calls:
        call.hang_up()
        call.caller.close()
        call.callee.close()
    assert server.mi("dlg_list") == {"Dialogs": []}
    assert server.statistic("dialog:active_dialogs") == 0


def test_profiles_count_right_away_in_all_processes(server: Server, call: Call) -> None:
    def sizes() -> str:
        return server.client().ask("x").header("X-Sizes")

    assert sizes() == "0 0 0"
    call.ring()
    assert sizes() == "1 1 0"
    assert server.mi("profile_get_values", ["caller"]) == [{"value": "tester", "count": 1}]
    assert server.mi("profile_get_values", ["inbound"]) == [{"value": None, "count": 1}]
    assert server.mi("profile_get_size", ["caller", "tester"]) == {
        "Profile": {"name": "caller", "value": "tester", "count": 1, "shared": "no", "replicated": "no"}
    }
    assert server.mi("profile_get_size", ["callee"])["Profile"]["count"] == 1
    assert [one["callid"] for one in server.mi("profile_list_dlgs", ["callee", "bob"])["Dialogs"]] == [call.call_id]
    assert server.mi("profile_list_dlgs", ["callee", "nobody"]) == {"Dialogs": []}
    assert server.mi("list_all_profiles")["Profiles"] == [
        {"name": "inbound", "has value": False},
        {"name": "caller", "has value": True},
        {"name": "callee", "has value": True},
    ]
    assert server.mi_error("profile_get_values", ["zz"]) == {"code": 404, "message": "Profile not found"}
    call.pick_up()
    assert sizes() == "1 1 1"
    call.say("ACK", cseq=1)
    call.hang_up()
    assert sizes() == "0 0 0"


def test_profiles_changed_by_mi(server: Server, call: Call) -> None:
    call.establish()
    assert server.mi("set_dlg_profile", [call.call_id, "caller", "other"]) == "OK"
    assert server.mi("profile_get_size", ["caller"])["Profile"]["count"] == 2
    assert server.mi("dlg_set_profile", [call.call_id, "caller", "third", "1"]) == "OK"
    assert server.mi("profile_get_values", ["caller"]) == [{"value": "third", "count": 1}]
    assert server.mi("unset_dlg_profile", [call.call_id, "caller"]) == "OK"
    assert server.mi("profile_get_values", ["caller"]) == []
    assert server.mi("dlg_push_var", {"dlg_val_name": "who", "dlg_val_value": "ö", "DID": [call.call_id]}) == "OK"
    assert {"who": "ö"} in found(server, call, "dlg_list_ctx")["context"]["values"]
    assert server.mi_error("dlg_push_var", ["a", "b", "1.1"])["message"] == "Requested Dialog not found"
    call.hang_up()


def test_values_flags_and_profiles_of_a_call_that_the_script_refuses(server: Server, call: Call) -> None:
    failed = server.statistic("dialog:failed_dialogs")
    call.invite = call.caller.request("INVITE", f"sip:values@127.0.0.1:{server.sip_port}", extra="X-Timeout: 77\r\n")
    call.caller.send(call.invite)
    refused = call.caller.wait_reply(call.call_id, 486)
    call.caller.ack(call.invite, refused)
    assert refused.header("X-Values") == "1 -1 -1 values 42 <null>"
    assert refused.header("X-State") == "paid once 1 77"
    assert is_gone(server, call)
    assert server.statistic("dialog:failed_dialogs") == failed + 1


def test_the_callee_refuses(server: Server, call: Call) -> None:
    call.ring()
    call.callee.reply(call.arrived, 486)
    refused = call.caller.wait_final(call.call_id)
    call.caller.ack(call.invite, refused)
    assert refused.status == 486
    assert is_gone(server, call)


def test_the_failure_route_answers(server: Server, call: Call) -> None:
    call.ring()
    call.callee.reply(call.arrived, 404)
    refused = call.caller.wait_final(call.call_id)
    call.caller.ack(call.invite, refused)
    assert (refused.status, refused.header("X-Failed")) == (480, "bob")
    assert is_gone(server, call)


def test_the_caller_gives_up(server: Server, call: Call) -> None:
    call.ring()
    call.callee.reply(call.arrived, 180)
    call.caller.wait_reply(call.call_id, 180)
    call.caller.cancel(call.invite)
    call.callee.reply(call.callee.wait_request("CANCEL"), 200)
    call.callee.reply(call.arrived, 487)
    call.caller.ack(call.invite, call.caller.wait_reply(call.call_id, 487))
    assert is_gone(server, call)


def test_nobody_answers(server: Server, call: Call) -> None:
    call.ring()
    call.caller.ack(call.invite, call.caller.wait_reply(call.call_id, 408))
    assert is_gone(server, call)


def test_a_parked_invite_keeps_its_dialog(server: Server, call: Call) -> None:
    call.ring("parked")
    assert found(server, call, "dlg_list_ctx")["context"]["values"][-1] == {"resumed": "yes"}
    assert call.pick_up().header("X-Seen") == "1 parked"
    call.say("ACK", cseq=1)
    call.hang_up()


def test_a_report_sees_the_dialog_of_the_message_that_launched(server: Server, call: Call) -> None:
    call.ring("launched")
    did = found(server, call)["ID"]
    wait_until(lambda: {"reported": did} in found(server, call, "dlg_list_ctx")["context"]["values"])
    call.pick_up()
    call.say("ACK", cseq=1)
    call.hang_up()


def test_another_calls_dialog(server: Server, call: Call) -> None:
    call.establish()
    answer = server.client().ask("x", extra=f"X-Call: {call.call_id}\r\n")
    assert (answer.header("X-Other"), answer.header("X-Own")) == ("4 bob", "<null>")
    call.hang_up()


def test_what_does_not_fit_the_dialog(server: Server, call: Call) -> None:
    call.establish()
    validate = "X-Validate: yes\r\n"

    def valid(**more: Any) -> str:
        sent = call.say("INFO", extra=validate, **more)
        return call.caller.wait(lambda m: m.is_reply and m.branch == sent.branch).header("X-Valid")

    assert valid() == "1"
    assert valid(cseq=1) == "-1"
    genuine, call.callee = call.callee, Peer(server.sip_port)
    assert valid() == "-2"
    call.callee.close()
    call.callee = genuine
    call.hang_up()


def test_a_request_with_other_tags_is_of_no_dialog(server: Server, call: Call) -> None:
    call.establish()
    call.caller.send(call.caller.request("BYE", call.callee.uri, call_id=call.call_id, cseq=9, to_tag="wrong"))
    arrived = call.callee.wait_request("BYE")
    assert arrived.header("X-Dialog") == "<null> <null> <null> <null>"
    call.callee.reply(arrived, 481)
    assert state(server, call) == 4
    call.hang_up()


def test_end_by_mi(server: Server, call: Call) -> None:
    call.establish()
    assert server.mi("dlg_end_dlg", {"dialog_id": call.call_id, "extra_hdrs": "X-Extra: 1\r\nReason: SIP"}) == "OK"
    to_caller, to_callee = call.caller.wait_request("BYE"), call.callee.wait_request("BYE")
    assert (to_caller.header("CSeq"), to_callee.header("CSeq")) == ("1 BYE", "2 BYE")
    assert (to_caller.header("From"), to_caller.header("To")) == (call.answer.header("To"), call.answer.header("From"))
    assert (to_callee.header("From"), to_callee.header("To")) == (call.answer.header("From"), call.answer.header("To"))
    assert (to_callee.header("X-Extra"), to_callee.header("Reason"), to_callee.header("X-Made-By")) == (
        "1",
        "SIP",
        "us",
    )
    call.caller.reply(to_caller, 200)
    call.callee.reply(to_callee, 200)
    assert is_gone(server, call)
    assert server.mi_error("dlg_end_dlg", [call.call_id]) == {"code": 404, "message": "Requested Dialog not found"}


def test_end_by_mi_of_a_call_that_rings(server: Server, call: Call) -> None:
    call.ring()
    call.callee.reply(call.arrived, 180)
    call.caller.wait_reply(call.call_id, 180)
    assert server.mi("dlg_end_dlg", [found(server, call)["ID"]]) == "OK"
    call.callee.reply(call.callee.wait_request("CANCEL"), 200)
    call.callee.reply(call.arrived, 487)
    call.caller.ack(call.invite, call.caller.wait_reply(call.call_id, 487))
    wait_until(lambda: is_gone(server, call))


def test_a_request_of_our_own_within_a_call(server: Server, call: Call) -> None:
    call.establish()
    with ThreadPoolExecutor(1) as pool:
        wanted = {"callid": call.call_id, "mode": "callee", "method": "INFO", "headers": "X-A: 1"}
        wanted["body"] = "custom:text/plain:höh"
        answer = pool.submit(server.mi, "dlg_send_sequential", wanted)
        info = call.callee.wait_request("INFO")
        call.callee.reply(info, 202, "Taken")
        assert answer.result() == {"Code": 202, "Reason": "Taken"}
    assert (info.header("CSeq"), info.header("X-A"), info.header("Content-Type")) == ("2 INFO", "1", "text/plain")
    assert info.body.encode("latin-1").decode() == "höh"
    assert call.exchange("INFO").header("CSeq") == "3 INFO"
    assert server.mi_error("dlg_send_sequential", {"callid": "nobody"}) == {"code": 404, "message": "Dialog Not Found"}
    for wrong, said in (
        ({"mode": "both"}, "mode is one of caller, callee, challenge,"),
        ({"method": "A B"}, "method is a method"),
        ({"method": ""}, "method is a method"),
        ({"method": "BYE"}, "but not ACK, BYE or CANCEL"),
        ({"mode": "challenge", "method": "INFO"}, "mode challenge is for INVITE and UPDATE"),
    ):
        refusal = server.mi_error("dlg_send_sequential", {"callid": call.call_id, **wrong})
        assert (refusal["code"], refusal["message"]) == (400, "Bad parameter value")
        assert said in refusal["data"]
    call.hang_up()


def challenged(server: Server, call: Call, **more: str) -> Callable[[], Any]:
    """Begin one; gives what waits for its answer."""
    pool = ThreadPoolExecutor(1)
    answer = pool.submit(server.mi, "dlg_send_sequential", {"callid": call.call_id, **more})
    pool.shutdown(wait=False)
    return lambda: answer.result(LIMIT_S)


@pytest.mark.parametrize("mode", ["challenge", "challenge-caller", "challenge-callee"])
def test_a_challenge_has_the_ends_agree_anew(server: Server, call: Call, mode: str) -> None:
    call.establish()
    first, other = (call.callee, call.caller) if mode == "challenge-callee" else (call.caller, call.callee)
    answer = challenged(server, call, mode=mode, headers="X-A: 1")
    asked = first.wait_request("INVITE")
    assert (asked.body, asked.header("Content-Type"), asked.header("X-A")) == ("", "", "1")
    first.reply(asked, 200, body="offer", extra=SDP)
    told = other.wait_request("INVITE")
    assert (told.body, told.header("Content-Type"), told.header("X-A")) == ("offer", "application/sdp", "")
    first.nothing(lambda one: one.method == "ACK", 0.1)
    other.reply(told, 200, "Agreed", body="answer", extra=SDP)
    ack = first.wait_request("ACK")
    assert (ack.body, ack.header("Content-Type")) == ("answer", "application/sdp")
    assert ack.header("CSeq").split()[0] == asked.header("CSeq").split()[0]
    assert other.wait_request("ACK").body == ""
    assert answer() == {"Code": 200, "Reason": "Agreed"}
    first.reply(asked, 200, body="offer", extra=SDP)  # a copy gets the same ACK
    assert first.wait_request("ACK").body == "answer"
    call.hang_up()


def test_a_challenge_that_comes_to_nothing(server: Server, call: Call) -> None:
    call.establish()
    answer = challenged(server, call, mode="challenge")
    call.caller.reply(call.caller.wait_request("INVITE"), 488, "Not Acceptable Here")
    assert answer() == {"Code": 488, "Reason": "Not Acceptable Here"}
    call.caller.wait_request("ACK")

    answer = challenged(server, call, mode="challenge")
    call.caller.reply(call.caller.wait_request("INVITE"), 200)  # without a session
    assert call.caller.wait_request("ACK").body == ""
    assert answer()["Code"] == 200

    answer = challenged(server, call, mode="challenge")
    call.caller.reply(call.caller.wait_request("INVITE"), 200, body="offer", extra=SDP)
    call.callee.reply(call.callee.wait_request("INVITE"), 491, "Request Pending")
    assert call.caller.wait_request("ACK").body == ""
    assert answer() == {"Code": 491, "Reason": "Request Pending"}
    call.callee.nothing(lambda one: one.method == "INVITE", 0.1)
    call.hang_up()


def test_a_challenge_leaves_a_session_that_is_known(server: Server, call: Call) -> None:
    call.ring(extra=f"X-Flags: reinvite-ping-caller\r\n{SDP}", body="offer")
    call.pick_up(body="session")
    call.say("ACK", cseq=1)
    call.callee.wait_request("ACK")
    answer = challenged(server, call, mode="challenge")
    asked = call.caller.wait(lambda one: one.method == "INVITE" and not one.body)  # and no ping
    call.caller.reply(asked, 200, body="another offer", extra=SDP)
    call.callee.reply(call.callee.wait_request("INVITE"), 488)
    assert call.caller.wait_request("ACK").body == "session"
    assert answer()["Code"] == 488
    call.hang_up()


@pytest.mark.parametrize("method", ["INVITE", "UPDATE"])
def test_a_challenge_that_makes_the_offer(server: Server, call: Call, method: str) -> None:
    call.establish()
    answer = challenged(server, call, mode="challenge", method=method, body="custom:application/sdp:ours")
    asked = call.caller.wait_request(method)
    assert asked.body == "ours"
    call.caller.reply(asked, 200, body="theirs", extra=SDP)
    if method == "INVITE":
        assert call.caller.wait_request("ACK").body == ""  # at once: there is nothing to wait for
    told = call.callee.wait_request(method)
    assert (told.body, told.header("Content-Type")) == ("theirs", "application/sdp")
    call.callee.reply(told, 200, body="agreed", extra=SDP)
    assert answer()["Code"] == 200
    call.hang_up()


def test_the_script_sends_a_request_within_a_call(server: Server, call: Call) -> None:
    call.establish("routes")
    info = call.caller.wait_request("INFO")
    assert (info.header("CSeq"), info.body, info.header("Content-Type")) == ("1 INFO", "answered", "text/plain")
    call.caller.reply(info, 200)
    call.hang_up()


def test_each_change_of_state_is_an_event(server: Server, call: Call) -> None:
    call.establish()
    did = found(server, call)["ID"]
    call.hang_up()
    wait_until(lambda: cached(server, f"{call.call_id} 5") == f"{did} 4")
    assert cached(server, f"{call.call_id} 3") == f"{did} 2"
    assert cached(server, f"{call.call_id} 4") == f"{did} 3"


def test_all_of_a_profile_end_by_mi(server: Server, call: Call) -> None:
    call.establish("carol")
    assert server.mi("profile_end_dlgs", ["callee", "carol"]) == "OK"
    for phone in (call.caller, call.callee):
        phone.reply(phone.wait_request("BYE"), 200)
    wait_until(lambda: is_gone(server, call))


def test_its_lifetime_is_over(server: Server, call: Call) -> None:
    expired = server.statistic("dialog:expired_dialogs")
    call.establish(extra="X-Timeout: 1\r\nX-Flags: bye-on-timeout\r\n")
    for phone in (call.caller, call.callee):
        phone.reply(phone.wait_request("BYE"), 200)
    wait_until(lambda: is_gone(server, call))
    assert server.statistic("dialog:expired_dialogs") == expired + 1


def test_its_lifetime_is_over_and_nobody_is_told(server: Server, call: Call) -> None:
    call.establish(extra="X-Timeout: 1\r\n")
    wait_until(lambda: is_gone(server, call))
    call.caller.nothing(lambda m: m.method == "BYE", 0.1)


def test_routes_at_answer_timeout_and_end(server: Server, call: Call) -> None:
    call.establish("routes", extra="X-Timeout: 1\r\n")
    call.caller.reply(call.caller.wait_request("INFO"), 200)
    # The ACK may be quicker than the route.
    wait_until(lambda: cached(server, "answered") in ("routes 3", "routes 4"))
    wait_until(lambda: is_gone(server, call))
    wait_until(lambda: cached(server, "ended") == "routes 5 Lifetime Timeout given")


def cached(server: Server, name: str) -> str:
    reply = server.rpc(f'{{"jsonrpc":"2.0","id":1,"method":"cache_fetch","params":["local:","{name}"]}}')
    return str(reply.get("result", {}).get("value", ""))


def test_pings_keep_the_numbers_of_the_ends_apart(server: Server, call: Call) -> None:
    call.establish(extra="X-Flags: Pp\r\n")
    to_callee = call.callee.wait_request("OPTIONS")
    assert to_callee.header("CSeq") == "2 OPTIONS"
    assert to_callee.header("X-Made-By") == "us"
    call.callee.reply(to_callee, 200)
    call.caller.reply(call.caller.wait_request("OPTIONS"), 200)

    arrived = call.exchange("INFO")
    assert arrived.header("CSeq") == "3 INFO"
    moved = call.exchange("INVITE")
    assert moved.header("CSeq") == "4 INVITE"
    call.say("ACK", cseq=call.cseq)
    assert call.callee.wait_request("ACK").header("CSeq") == "4 ACK"
    assert call.exchange("INFO", upstream=True).header("CSeq") == "701 INFO", "it is far above our own number"
    call.hang_up()
    assert is_gone(server, call)


def test_an_end_that_does_not_answer_pings_ends_the_call(server: Server, call: Call) -> None:
    call.establish(extra="X-Flags: p\r\n")
    call.callee.wait_request("OPTIONS")
    call.caller.reply(call.caller.wait_request("BYE"), 200)
    call.callee.reply(call.callee.wait_request("BYE"), 200)
    wait_until(lambda: is_gone(server, call))


def test_an_end_that_knows_no_such_dialog_ends_the_call(server: Server, call: Call) -> None:
    call.establish(extra="X-Flags: P\r\n")
    call.caller.reply(call.caller.wait_request("OPTIONS"), 481)
    call.caller.reply(call.caller.wait_request("BYE"), 481)
    call.callee.reply(call.callee.wait_request("BYE"), 200)
    wait_until(lambda: is_gone(server, call))


def test_pings_by_re_invite_offer_the_session_as_it_is(server: Server, call: Call) -> None:
    offer, answer = "v=0\r\no=a 1 1 IN IP4 1.1.1.1\r\n", "v=0\r\no=b 1 1 IN IP4 2.2.2.2\r\n"
    kind = "Content-Type: application/sdp\r\n"
    call.ring(extra=f"X-Flags: reinvite-ping-caller,reinvite-ping-callee\r\n{kind}", body=offer)
    call.callee.reply(call.arrived, 200, extra=kind, body=answer)
    call.answer = call.caller.wait_reply(call.call_id, 200)
    call.say("ACK", cseq=1)
    for phone, body, contact in ((call.callee, offer, call.caller.uri), (call.caller, answer, call.callee.uri)):
        ping = phone.wait_request("INVITE")
        assert (ping.body, ping.header("Content-Type"), ping.header("Contact")) == (
            body,
            "application/sdp",
            f"<{contact}>",
        )
        phone.reply(ping, 200, extra=kind, body="v=0")
        ack = (
            phone.wait_request("ACK")
            if phone is call.caller
            else phone.wait(
                lambda m, ping=ping: (
                    m.method == "ACK" and m.header("CSeq") == ping.header("CSeq").replace("INVITE", "ACK")
                )
            )
        )
        assert ack.header("CSeq").split()[0] == ping.header("CSeq").split()[0]
    call.hang_up()


def test_a_killed_process_loses_no_dialog(start_server: Callable[..., Server]) -> None:
    server = start_server(ROUTES, head=HEAD, options=("--udp-workers", "2", "--mi-workers", "1"))
    calls = [Call(Peer(server.sip_port), Peer(server.sip_port)) for _ in range(4)]
    for call in calls[:3]:
        call.establish(extra="X-Timeout: 4\r\nX-Flags: B\r\n")
    calls[3].ring()
    for pid in server.pids("SIP"):
        os.kill(pid, signal.SIGKILL)
    # The ringing call's transaction is dead, and so is its dialog; the others go on.
    wait_until(lambda: is_gone(server, calls[3]))
    assert len(server.mi("dlg_list")["Dialogs"]) == 3
    assert server.mi("profile_get_size", ["inbound"])["Profile"]["count"] == 3
    wait_until(lambda: server.client().ask("x"))
    calls[0].hang_up()
    calls[1].hang_up(upstream=True)
    for pid in server.pids("MI"):
        if "layby: mi-1" in Path(f"/proc/{pid}/cmdline").read_text():
            os.kill(pid, signal.SIGKILL)
    for phone in (calls[2].caller, calls[2].callee):
        phone.reply(phone.wait_request("BYE"), 200)
    wait_until(lambda: server.mi("dlg_list") == {"Dialogs": []})
    for call in calls:
        call.caller.close()
        call.callee.close()


@pytest.mark.parametrize("mode", [1, 2, 3])
def test_a_restart_goes_on_with_the_calls(start_server: Callable[..., Server], tmp: Path, mode: int) -> None:
    head = f'{HEAD}modparam("dialog", "db_mode", {mode})\nmodparam("dialog", "db_url", "sqlite:{tmp}/calls")\n'
    head += 'modparam("dialog", "db_update_period", 1)\n'
    first = start_server(ROUTES, head=head, options=("--udp-workers", "2", "--mi-workers", "1"))
    call = Call(Peer(first.sip_port), Peer(first.sip_port)).establish(extra="X-Flags: B\r\n")
    over = Call(call.caller, call.callee).establish()
    assert server_rows(tmp, mode, 2)
    over.hang_up()
    before = found(first, call, "dlg_list_ctx")
    assert server_rows(tmp, mode, 1)
    if mode == 1:
        first.process.kill()
        first.process.wait()
    assert first.stop() in (0, -9)

    second = start_server(ROUTES, head=head, options=("--udp-workers", "2", "--mi-workers", "1"))
    after = found(second, call, "dlg_list_ctx")
    assert abs(after["timeout"] - before["timeout"]) <= 1
    for changing in ("timeout", "dateout", "caller_bind_addr"):
        before.pop(changing), after.pop(changing)
    for one in (before, after):
        one["CALLEES"][0].pop("callee_bind_addr")
    assert after == before
    assert len(second.mi("dlg_list")["Dialogs"]) == 1
    assert second.mi("profile_get_size", ["inbound"])["Profile"]["count"] == 1
    call.caller.server = call.callee.server = ("127.0.0.1", second.sip_port)
    call.hang_up()
    assert is_gone(second, call)
    assert second.mi("dlg_db_sync") in ("OK", None)
    call.caller.close()
    call.callee.close()


def server_rows(tmp: Path, mode: int, count: int) -> bool:
    """Wait until the database has that many calls; with mode 3 it has none before the end."""
    if mode == 3:
        return True
    with contextlib.closing(sqlite3.connect(tmp / "calls")) as database:
        return bool(
            wait_until(lambda: database.execute("SELECT count(*) FROM dialog").fetchone()[0] == count, what="rows")
        )


def test_without_a_database_there_is_nothing_to_sync(server: Server) -> None:
    assert server.mi_error("dlg_db_sync") == {"code": 400, "message": "Cannot sync in no-db mode"}
