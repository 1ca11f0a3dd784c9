"""A newer script takes over while messages of the older one are under way: each ends as the one it came under says."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.harness import LIMIT_S, Server, stop_process, wait_until
from tests.processes.dialog_calls import Call
from tests.sip_peer import Peer, Received

pytestmark = pytest.mark.processes

HEAD = """
loadmodule "rr.so"
loadmodule "dialog.so"
loadmodule "event_route.so"
modparam("statistics", "variable", "reload_a")
modparam("statistics", "variable", "reload_b")
modparam("statistics", "variable", "reload_c")
"""
ROUTES = """
route {
    if (has_totag() && loose_route()) { t_relay(); exit; }
    $avp(by) = "NAME";
    $du = "sip:127.0.0.1:" + $hdr(X-To);
    switch ($rU) {
    case "parked":
        async(mi("bench_wait 300", $var(r)), resumed_NAME);
    case "armed":
        async(mi("bench_wait 60000", $var(r)), arms_NAME);
    case "under":
        mi("reload_routes", $var(r));
        route(arms_NAME);
        exit;
    case "launches":
        launch(mi("bench_wait 60000"), reported_NAME);
        break;
    case "raises":
        async(mi("bench_wait 60000", $var(r)), raises_NAME);
    case "bench_sleep":
    case "bench_wait":
        xlog("L_ERR", "BLOCKED by $ci\\n");
        mi("$rU 500", $var(r));
        break;
    case "dialog":
        create_dialog();
        record_route();
        dlg_on_answer("answered_NAME");
        dlg_on_hangup("ended_NAME");
        t_relay();
        exit;
    case "relayed":
        route(arms_NAME);
        exit;
    }
    sl_send_reply(200, "by NAME");
}
route[resumed_NAME] { t_reply(200, "by $avp(by), resumed by NAME"); }
route[raises_NAME] { raise_event("E_TEST"); t_reply(200, "raised"); }
route[reported_NAME] { xlog("L_ERR", "REPORTED by NAME with $rc\\n"); }
route[answered_NAME] { xlog("L_ERR", "ANSWERED by NAME\\n"); }
route[ended_NAME] { xlog("L_ERR", "ENDED by NAME\\n"); }
route[arms_NAME] {
    t_on_branch("branch_NAME");
    t_on_reply("reply_NAME");
    t_on_failure("failure_NAME");
    t_relay();
}
branch_route[branch_NAME] { append_hf("X-Branch: NAME\\r\\n"); }
onreply_route { append_hf("X-Any-Reply: NAME\\r\\n"); }
onreply_route[reply_NAME] { append_hf("X-Reply: NAME\\r\\n"); }
failure_route[failure_NAME] {
    t_on_failure("again_NAME");
    async(mi("bench_wait 20", $var(r)), tries_NAME);
}
route[tries_NAME] { append_hf("X-Tried: NAME\\r\\n"); t_relay(); }
failure_route[again_NAME] { t_reply(480, "by NAME"); }
event_route[E_TEST] { xlog("L_ERR", "EVENT of NAME\\n"); }
"""


class Scripts:
    """A server and the script file that it takes anew.

    Attributes:
        server: it runs the script called ``one`` at first.
    """

    def __init__(self, server: Server) -> None:
        self.server = server
        self._head = server.script.read_text().removesuffix(named("one"))

    def write(self, routes: str) -> None:
        """At once, as an editor does it: a text that is half written may be a script too."""
        path = self.server.script
        scratch = path.with_name(f"{path.name}.{threading.get_ident()}")
        scratch.write_text(self._head + routes)
        scratch.replace(path)

    def take(self, routes: str) -> None:
        self.write(routes)
        assert self.server.mi("reload_routes") == "OK"

    def served(self) -> set[str]:
        """The reasons that new requests are answered with, of as many as reach every process."""
        client = self.server.client()
        return {client.ask("new").reason for _ in range(20)}

    def said(self, text: str) -> None:
        wait_until(lambda: text in self.server.log(), what=text)


def named(name: str) -> str:
    """The script of that name. None of its named routes has a name that another's has."""
    return ROUTES.replace("NAME", name)


@pytest.fixture(scope="module")
def shared(start_shared: Callable[..., Server]) -> Scripts:
    return Scripts(start_shared(named("one"), head=HEAD, options=("--udp-workers", "3", "--mi-workers", "2")))


@pytest.fixture
def scripts(shared: Scripts) -> Scripts:
    """A server that runs the script ``one``."""
    if shared.served() != {"by one"}:
        shared.take(named("one"))
    return shared


@pytest.fixture
def peers(scripts: Scripts) -> Iterator[tuple[Peer, Peer]]:
    made = Peer(scripts.server.sip_port), Peer(scripts.server.sip_port)
    yield made
    for peer in made:
        peer.close()


def send(caller: Peer, callee: Peer, user: str, method: str = "INVITE") -> tuple[str, str]:
    """Send a request for `user`; its text and Call-ID."""
    text = caller.request(method, f"sip:{user}@127.0.0.1:{caller.server[1]}", extra=f"X-To: {callee.port}\r\n")
    caller.send(text)
    return text, Received(text, ("", 0)).call_id


def next_branch(callee: Peer, first: Received) -> Received:
    """The INVITE of another branch. On a busy machine the first one may have been sent again before its answer."""
    return callee.wait(lambda one: one.method == "INVITE" and one.branch != first.branch, what="another INVITE")


def waits(server: Server) -> str:
    """The command that a message waits for, by its name among the jobs, once there is one."""
    jobs = wait_until(lambda: server.mi("job_list")["Jobs"], what="the command runs")
    assert len(jobs) == 1
    return str(jobs[0]["id"])


# --- what came under the older script ends under it


def refuse_twice(callee: Peer) -> None:
    """Two attempts of one call are refused, and both have the marks of the script ``one``."""
    first = callee.wait_request("INVITE")
    assert first.header("X-Branch") == "one"
    callee.reply(first, 486)
    again = next_branch(callee, first)
    assert again.header("X-Tried") == "one"
    callee.reply(again, 486)


def test_the_arms_of_a_relayed_request_are_its_own_script_s(scripts: Scripts, peers: tuple[Peer, Peer]) -> None:
    caller, callee = peers
    text, call_id = send(caller, callee, "relayed")
    first = callee.wait_request("INVITE")
    scripts.take(named("two"))
    callee.reply(first, 183)
    ringing = caller.wait_reply(call_id, 183)
    assert (ringing.headers("X-Any-Reply"), ringing.headers("X-Reply")) == (["one"], ["one"])
    callee.reply(first, 486)
    again = next_branch(callee, first)
    assert again.header("X-Tried") == "one"
    callee.reply(again, 486)
    final = caller.wait_final(call_id)
    assert final.start == "SIP/2.0 480 by one"
    caller.ack(text, final)


def test_what_a_resume_route_arms_after_the_reload_is_its_own_script_s(
    scripts: Scripts, peers: tuple[Peer, Peer]
) -> None:
    caller, callee = peers
    text, call_id = send(caller, callee, "armed")
    waiting = waits(scripts.server)
    scripts.take(named("two"))
    scripts.server.mi("job_cancel", [waiting])
    refuse_twice(callee)
    final = caller.wait_final(call_id)
    assert final.start == "SIP/2.0 480 by one"
    caller.ack(text, final)


def test_a_route_under_which_the_script_is_reloaded_arms_its_own_script_s(
    scripts: Scripts, peers: tuple[Peer, Peer]
) -> None:
    caller, callee = peers
    scripts.write(named("two"))
    text, call_id = send(caller, callee, "under")
    refuse_twice(callee)
    final = caller.wait_final(call_id)
    assert final.start == "SIP/2.0 480 by one"
    caller.ack(text, final)
    assert scripts.served() == {"by two"}


def test_a_launch_reports_where_it_was_launched(scripts: Scripts) -> None:
    assert scripts.server.client().ask("launches").reason == "by one"
    waiting = waits(scripts.server)
    scripts.take(named("two"))
    scripts.server.mi("job_cancel", [waiting])
    scripts.said("REPORTED by one with -487")
    assert "REPORTED by two" not in scripts.server.log()


# --- what begins after the reload is the newer script's


def test_an_event_goes_to_the_script_that_runs_when_it_is_raised(scripts: Scripts, peers: tuple[Peer, Peer]) -> None:
    caller, callee = peers
    _, call_id = send(caller, callee, "raises", "OPTIONS")
    waiting = waits(scripts.server)
    scripts.take(named("two"))
    scripts.server.mi("job_cancel", [waiting])
    assert caller.wait_final(call_id).start == "SIP/2.0 200 raised"
    scripts.said("EVENT of two")


def test_the_routes_of_a_dialog_are_looked_up_by_name_when_their_moment_comes(
    scripts: Scripts, peers: tuple[Peer, Peer]
) -> None:
    call = Call(*peers).establish("dialog")
    scripts.said("ANSWERED by one")
    scripts.take(named("two") + 'route[ended_one] { xlog("L_ERR", "ENDED in another text\\n"); }\n')
    call.hang_up()
    scripts.said("ENDED in another text")


def test_a_dialog_whose_route_is_not_there_any_more_ends_with_a_line_of_the_log(
    scripts: Scripts, peers: tuple[Peer, Peer]
) -> None:
    call = Call(*peers).establish("dialog")
    before = scripts.server.log().count("there is no route[ended_one] any more")
    scripts.take(named("two"))
    call.hang_up()
    wait_until(lambda: scripts.server.log().count("there is no route[ended_one] any more") == before + 1)
    wait_until(lambda: scripts.server.statistic("dialog:active_dialogs") == 0)


def test_a_timer_that_is_not_there_any_more_stops(scripts: Scripts) -> None:
    scripts.take(named("one") + 'timer_route[a, 1] { update_stat("reload_a", 1); }\n')
    wait_until(lambda: scripts.server.statistic("script:reload_a"))
    scripts.take(named("one") + 'timer_route[b, 1] { update_stat("reload_b", 1); }\n')
    ended = scripts.server.statistic("script:reload_a")
    wait_until(lambda: scripts.server.statistic("script:reload_b") >= 2)
    assert scripts.server.statistic("script:reload_a") == ended


def test_a_startup_route_does_not_run_again(scripts: Scripts) -> None:
    scripts.take(named("two") + 'startup_route { xlog("L_ERR", "STARTED AGAIN\\n"); }\n')
    assert scripts.served() == {"by two"}
    assert "STARTED AGAIN" not in scripts.server.log()


# --- texts that cannot be taken


def test_a_broken_text_is_told_with_its_place_and_changes_nothing(scripts: Scripts) -> None:
    scripts.write(named("two") + "route[broken] {\n    no_such_function();\n}\n")
    line = scripts.server.script.read_text().splitlines().index("    no_such_function();") + 1
    error = scripts.server.mi_error("reload_routes")
    assert (error["code"], error["message"]) == (500, "Script is not loaded")
    assert f"{scripts.server.script}:{line}:5: error: " in error["data"]
    assert scripts.served() == {"by one"}


def test_a_broken_included_text_is_told_with_its_place_and_changes_nothing(scripts: Scripts, tmp: Path) -> None:
    included = tmp / "routes.cfg"
    included.write_text("route[more] {\n  $var(x) = ;\n}\n")
    scripts.write(f'include_file "{included}"\n' + named("two"))
    assert f"{included}:2:13: error: " in scripts.server.mi_error("reload_routes")["data"]
    assert scripts.served() == {"by one"}


def test_a_text_that_is_not_there_is_told(scripts: Scripts) -> None:
    text = scripts.server.script.read_text()
    scripts.server.script.unlink()
    try:
        error = scripts.server.mi_error("reload_routes")
    finally:
        scripts.server.script.write_text(text)
    assert f"{scripts.server.script}:1:1: error: cannot read" in error["data"]


def test_other_modules_are_for_a_restart(scripts: Scripts) -> None:
    scripts.write('loadmodule "maxfwd.so"\n' + named("two"))
    assert "restart" in scripts.server.mi_error("reload_routes")["data"]
    assert scripts.served() == {"by one"}


def test_of_other_settings_it_is_told_that_they_are_for_a_restart(scripts: Scripts) -> None:
    scripts.take('modparam("httpd", "conn_timeout", 7)\n' + named("one"))
    told = "modparam conn_timeout of httpd is another now, and is taken at the next start"
    wait_until(lambda: told in scripts.server.log(), what=told)
    scripts.take(named("one"))
    assert scripts.server.log().count(told) == 1


# --- every process, whatever it is doing


def test_included_files_are_read_again(scripts: Scripts, tmp: Path) -> None:
    included = tmp / "routes.cfg"
    for name in ("three", "four"):
        included.write_text(named(name))
        scripts.take(f'include_file "{included}"\n')
        assert scripts.served() == {f"by {name}"}


def test_of_several_reloads_at_once_the_last_text_is_served_by_all(scripts: Scripts) -> None:
    results: list[Any] = []

    def take(name: str) -> None:
        scripts.write(named(name))
        results.append(scripts.server.mi("reload_routes"))

    threads = [threading.Thread(target=take, args=(f"no{number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LIMIT_S)
    assert results == ["OK"] * 4
    served = scripts.served()
    assert len(served) == 1
    assert served <= {f"by no{number}" for number in range(4)}


@pytest.mark.parametrize("command", ["bench_sleep", "bench_wait"])
def test_a_process_that_is_stopped_in_a_command_takes_the_script_when_it_goes_on(
    scripts: Scripts, peers: tuple[Peer, Peer], command: str
) -> None:
    caller, callee = peers
    _, call_id = send(caller, callee, command, "OPTIONS")
    scripts.said(f"BLOCKED by {call_id}")
    scripts.take(named("two"))
    assert scripts.served() == {"by two"}
    assert caller.wait_final(call_id).start == "SIP/2.0 200 by one"


def test_a_process_that_is_killed_before_it_has_taken_the_script_is_replaced_by_one_that_has(scripts: Scripts) -> None:
    before = scripts.server.pids("SIP")
    victim = before[0]
    stop_process(victim)
    scripts.write(named("two"))
    results: list[Any] = []
    reload = threading.Thread(target=lambda: results.append(scripts.server.mi("reload_routes")))
    reload.start()
    published = scripts.server.folder / "script"
    wait_until(lambda: published.exists() and b"by two" in published.read_bytes(), what="the script is published")
    assert results == []
    os.kill(victim, signal.SIGKILL)
    reload.join(LIMIT_S)
    assert results == ["OK"]
    scripts.server.wait_replaced(before, victim)
    assert scripts.served() == {"by two"}


def test_a_killed_mi_process_comes_back_with_the_timers_of_the_newer_script(scripts: Scripts) -> None:
    scripts.take(named("one") + 'timer_route[c, 1] { update_stat("reload_c", 1); }\n')
    (victim,) = scripts.server.pids("MI")[-1:]
    os.kill(victim, 9)
    wait_until(lambda: back(scripts.server, victim), what="the MI process is replaced")
    before = scripts.server.statistic("script:reload_c")
    wait_until(lambda: scripts.server.statistic("script:reload_c") > before)


def back(server: Server, victim: int) -> bool:
    try:
        return victim not in server.all_pids()
    except OSError:
        return False


# --- under load


def test_each_request_has_one_answer_by_one_script_while_it_is_reloaded_again_and_again(scripts: Scripts) -> None:
    server, client = scripts.server, scripts.server.client()
    asked: list[tuple[str, str]] = []
    names = [f"load{number}" for number in range(8)]
    for name in names:
        scripts.write(named(name))
        reload = threading.Thread(target=server.mi, args=("reload_routes",))
        reload.start()
        while reload.is_alive():
            user = "parked" if len(asked) % 10 == 0 else "new"
            call_id, data = client.request(user)
            asked.append((call_id, user))
            client.send(data)
            client.collect(0.002)
        reload.join()
    deadline = time.monotonic() + LIMIT_S
    while any(call_id not in client.answers for call_id, _ in asked) and time.monotonic() < deadline:
        client.collect(0.05)
    client.collect(0.1)
    for call_id, user in asked:
        (answer,) = client.answers[call_id]
        by = answer.reason.split(",")[0].removeprefix("by ")
        assert answer.reason == (f"by {by}, resumed by {by}" if user == "parked" else f"by {by}")
        assert by in ("one", *names)
    assert len(asked) > 100
    assert scripts.served() == {f"by {names[-1]}"}
