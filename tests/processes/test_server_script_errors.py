"""A statement that fails while the script runs: what the log says of it, and what the caller is answered."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import pytest

from tests.harness import Server, wait_until
from tests.sip_peer import Peer, Received

pytestmark = pytest.mark.processes

DEPTH = 1200
HEAD = """
loadmodule "event_route.so"
modparam("statistics", "variable", "events")
enable_asserts = yes
max_while_loops = 50
"""
ROUTES = """
route {
    $du = "sip:127.0.0.1:" + $hdr(X-To);
    switch ($rU) {
    case "divides":
        $var(x) = 7;
        $var(x) = $var(x) / 0; # at divides
        break;
    case "adds":
        $var(x) = "five" + 3; # at adds
        break;
    case "writes":
        $ru = "no URI"; # at writes
        break;
    case "indexes":
        $(avp(none)[3]) = 1; # at indexes
        break;
    case "pattern":
        $var(p) = "(";
        if ($rU =~ $var(p)) { exit; } # at pattern
        break;
    case "named":
        $var(name) = "nowhere";
        route($var(name)); # at named
        break;
    case "loops":
        while (1) { $var(x) = 1; } # at loops
        break;
    case "argument":
        $var(x) = "no number";
        sl_send_reply($var(x), "OK"); # at argument
        break;
    case "odd":
        $var(x) = $(rU{s.int}) + $(rU{s.substr,90,-4}) + $(rU{uri.host}) + $(rU{s.b64decode}) + $(rU{csv.value,-9});
        break;
    case "asserts":
        assert($var(none) == 1, "none is one"); # at asserts
        break;
    case "recurses":
        route(itself);
        break;
    case "resumes":
        async(mi("uptime"), resume_fails);
    case "unwritable":
        async(mi("uptime", $ru), unwritable);
    case "branch":
        t_on_branch("fails");
        t_relay();
        exit;
    case "reply":
        t_on_reply("fails");
        t_relay();
        exit;
    case "reply_resumes":
        t_on_reply("resumes");
        t_relay();
        exit;
    case "failure":
        t_on_failure("fails");
        t_relay();
        exit;
    case "event":
        raise_event("E_FAILS");
        break;
    case "event_now":
        raise_event("E_FAILS_NOW");
        break;
    case "launches":
        launch(mi("uptime"), report_fails);
        break;
    case "local":
        t_new_request("MESSAGE", "sip:peer@127.0.0.1:$hdr(X-To)", "sip:us@here", "sip:peer@there", "text/plain hi");
        break;
    }
    sl_send_reply(200, "OK $rc");
}
route[itself] { route(itself); } # at recurses
route[resume_fails] { assert($var(none) == 1); } # at resumes
route[unwritable] { t_reply(200, "$rc $mi(code)"); }
route[report_fails] { assert($var(none) == 1, "reports"); } # at launches
branch_route[fails] { assert($var(none) == 1, "branch"); } # at branch
onreply_route[fails] { assert($var(none) == 1, "reply"); } # at reply
onreply_route[resumes] { async(mi("uptime"), reply_fails); }
route[reply_fails] { assert($var(none) == 1, "later"); } # at reply_resumes
failure_route[fails] { assert($var(none) == 1, "failure"); } # at failure
event_route[E_FAILS] { assert($var(none) == 1, "event"); } # at event
event_route[E_FAILS_NOW, sync] { assert($var(none) == 1, "now"); } # at event_now
local_route { assert($var(none) == 1, "local"); } # at local
startup_route { assert($var(none) == 1, "startup"); } # at startup
timer_route[tick, 1] { update_stat("events", 1); assert($var(none) == 1, "timer"); } # at timer
error_route { if ($hdr(X-To) != NULL) sl_send_reply(400, "Told"); assert($var(none) == 1, "wrong"); } # at error
"""
RAISES = (
    """
route {
    $du = "sip:127.0.0.1:" + $hdr(X-To);
    switch ($rU) {
    case "raises":
        route(burst);
        break;
    case "answered":
        sl_send_reply(202, "Before it failed");
        route(burst);
        break;
    case "stateful":
        t_newtran();
        route(burst);
        break;
    case "relayed":
        t_relay();
        route(burst);
        break;
    }
}
"""
    + "".join(f"route[burst{n or ''}] {{ route(burst{n + 1}); }}\n" for n in range(DEPTH))
    + f"route[burst{DEPTH}] {{ }}\n"
)
"""More routes in one another than Python lets functions. None of them comes back to itself, so nothing else ends it."""


@pytest.fixture(scope="module")
def server(start_shared: Callable[..., Server]) -> Server:
    return start_shared(ROUTES, head=HEAD, options=("--udp-workers", "2", "--mi-workers", "1"))


@pytest.fixture(scope="module")
def raising(start_shared: Callable[..., Server]) -> Server:
    return start_shared(RAISES, options=("--udp-workers", "2", "--mi-workers", "1"))


@pytest.fixture
def raising_peers(raising: Server) -> Iterator[tuple[Peer, Peer]]:
    made = Peer(raising.sip_port), Peer(raising.sip_port)
    yield made
    for peer in made:
        peer.close()


@pytest.fixture
def peers(server: Server) -> Iterator[tuple[Peer, Peer]]:
    made = Peer(server.sip_port), Peer(server.sip_port)
    yield made
    for peer in made:
        peer.close()


def place(server: Server, mark: str) -> str:
    """``FILE:LINE:`` of the statement that is marked so."""
    lines = server.script.read_text().splitlines()
    (number,) = [number for number, line in enumerate(lines, 1) if line.endswith(f"# at {mark}")]
    return f"{server.script}:{number}:"


def ask(caller: Peer, callee: Peer, user: str, method: str = "OPTIONS") -> str:
    """Send a request for `user`; its Call-ID."""
    text = caller.request(method, f"sip:{user}@127.0.0.1:{caller.server[1]}", extra=f"X-To: {callee.port}\r\n")
    caller.send(text)
    return Received(text, ("", 0)).call_id


def said(server: Server, pattern: str) -> None:
    """A line of the log that ends so; and nowhere is there anything of Python's."""
    wait_until(lambda: re.search(pattern + r"$", server.log(), re.MULTILINE), what=pattern)
    assert "Traceback" not in server.log()


# --- statements that do nothing, and are told


@pytest.mark.parametrize(
    ("user", "reason", "what"),
    [
        ("divides", "OK -1", "division by 0"),
        ("adds", "OK -1", "a string \\+ an integer cannot be computed"),
        ("writes", "OK -1", r"\$ru takes a URI"),
        ("indexes", "OK -1", r"\$avp\(none\) has no value \[3\]"),
        ("pattern", "OK 1", "the right side of =~ is no regular expression"),
        ("named", "OK -1", r"there is no route\[nowhere\]"),
        ("loops", "OK 1", r"while\(\) ended after 50 turns: see max_while_loops"),
        ("argument", "OK -1", r'sl_send_reply\(\) is not called: "code" is not what it takes'),
        ("odd", None, None),
    ],
)
def test_a_statement_that_cannot_be_done_is_told_and_the_script_goes_on(
    server: Server, peers: tuple[Peer, Peer], user: str, reason: str | None, what: str | None
) -> None:
    caller, callee = peers
    call_id = ask(caller, callee, user)
    answer = caller.wait_final(call_id)
    assert answer.status == 200
    assert reason is None or answer.start == f"SIP/2.0 200 {reason}"
    if what is not None:
        said(server, rf"{place(server, user)}\d+: {what} \[OPTIONS {call_id}\]")


# --- statements that end the run


@pytest.mark.parametrize(
    ("user", "what"),
    [
        ("asserts", "assertion failed: none is one"),
        ("recurses", "routes stand more than 100 deep in one another"),
        ("resumes", "assertion failed"),
    ],
)
def test_a_request_whose_script_was_stopped_is_answered_500(
    server: Server, peers: tuple[Peer, Peer], user: str, what: str
) -> None:
    caller, callee = peers
    before = server.statistic("async:script_errors")
    call_id = ask(caller, callee, user)
    assert caller.wait_final(call_id).start == "SIP/2.0 500 Server Internal Error"
    said(server, rf"{place(server, user)}\d+: {what} \[OPTIONS {call_id}\]")
    wait_until(lambda: server.statistic("async:script_errors") > before)


@pytest.mark.parametrize("user", ["raises", "stateful"])
def test_a_statement_that_raises_is_told_and_the_request_is_answered_500(
    raising: Server, raising_peers: tuple[Peer, Peer], user: str
) -> None:
    caller, callee = raising_peers
    call_id = ask(caller, callee, user)
    assert caller.wait_final(call_id).status == 500
    said(raising, rf"{raising.script}:\d+:\d+: RecursionError: [^\n]* \[OPTIONS {call_id}\]")


def test_what_was_answered_before_is_not_answered_again(raising: Server, raising_peers: tuple[Peer, Peer]) -> None:
    caller, callee = raising_peers
    call_id = ask(caller, callee, "answered")
    assert caller.wait_final(call_id).status == 202
    said(raising, rf"RecursionError: [^\n]* \[OPTIONS {call_id}\]")
    caller.nothing(lambda m: m.call_id == call_id, 0.1)


def test_what_was_relayed_before_gets_the_callee_s_answer(raising: Server, raising_peers: tuple[Peer, Peer]) -> None:
    caller, callee = raising_peers
    call_id = ask(caller, callee, "relayed")
    callee.reply(callee.wait_request("OPTIONS"), 200, "From there")
    assert caller.wait_final(call_id).start == "SIP/2.0 200 From there"
    said(raising, rf"RecursionError: [^\n]* \[OPTIONS {call_id}\]")


def test_a_call_id_in_utf_8_is_told_as_it_is(server: Server, peers: tuple[Peer, Peer]) -> None:
    caller, _ = peers
    call_id = "größe".encode().decode("latin-1")
    caller.send(caller.request("OPTIONS", f"sip:asserts@127.0.0.1:{caller.server[1]}", call_id=call_id))
    said(server, rf"{place(server, 'asserts')}\d+: assertion failed: none is one \[OPTIONS größe\]")


def test_an_ack_whose_script_was_stopped_is_not_answered(server: Server, peers: tuple[Peer, Peer]) -> None:
    caller, callee = peers
    call_id = ask(caller, callee, "asserts", "ACK")
    said(server, rf"{place(server, 'asserts')}\d+: assertion failed: none is one \[ACK {call_id}\]")
    caller.nothing(lambda m: m.call_id == call_id, 0.1)


def test_an_outcome_that_the_variable_refuses_is_the_resume_route_s_to_see(
    server: Server, peers: tuple[Peer, Peer]
) -> None:
    caller, callee = peers
    assert caller.wait_final(ask(caller, callee, "unwritable")).start == "SIP/2.0 200 -3 -3"
    said(server, r"\$ru could not take the result: \$ru takes a URI")


# --- in every other kind of route


def test_in_a_branch_route_the_branch_is_not_sent(server: Server, peers: tuple[Peer, Peer]) -> None:
    caller, callee = peers
    call_id = ask(caller, callee, "branch")
    assert caller.wait_final(call_id).status == 500
    said(server, rf"{place(server, 'branch')}23: assertion failed: branch \[OPTIONS {call_id}\]")
    callee.nothing(lambda m: True, 0.1)


@pytest.mark.parametrize(("user", "text"), [("reply", "reply"), ("reply_resumes", "later")])
def test_in_a_reply_route_the_reply_goes_on(server: Server, peers: tuple[Peer, Peer], user: str, text: str) -> None:
    caller, callee = peers
    call_id = ask(caller, callee, user)
    callee.reply(callee.wait_request("OPTIONS"), 486)
    assert caller.wait_final(call_id).status == 486
    said(server, rf"{place(server, user)}\d+: assertion failed: {text} \[OPTIONS {call_id}\]")


def test_in_a_failure_route_the_best_reply_goes_on(server: Server, peers: tuple[Peer, Peer]) -> None:
    caller, callee = peers
    call_id = ask(caller, callee, "failure")
    callee.reply(callee.wait_request("OPTIONS"), 486)
    assert caller.wait_final(call_id).status == 486
    said(server, rf"{place(server, 'failure')}\d+: assertion failed: failure \[OPTIONS {call_id}\]")


def test_in_the_local_route_the_request_is_not_sent(server: Server, peers: tuple[Peer, Peer]) -> None:
    caller, callee = peers
    assert caller.wait_final(ask(caller, callee, "local")).status == 200
    said(server, rf"{place(server, 'local')}\d+: assertion failed: local \[MESSAGE \S+\]")
    callee.nothing(lambda m: True, 0.1)


@pytest.mark.parametrize(("user", "text"), [("event", "event"), ("event_now", "now"), ("launches", "reports")])
def test_what_runs_beside_the_request_does_not_harm_it(
    server: Server, peers: tuple[Peer, Peer], user: str, text: str
) -> None:
    caller, callee = peers
    assert caller.wait_final(ask(caller, callee, user)).start == "SIP/2.0 200 OK 1"
    said(server, rf"{place(server, user)}\d+: assertion failed: {text} \[DUMMY \S+\]")


def test_the_startup_route_does_not_keep_the_server_from_serving(server: Server) -> None:
    said(server, rf"{place(server, 'startup')}\d+: assertion failed: startup \[DUMMY \S+\]")


def test_a_timer_route_runs_again_nevertheless(server: Server) -> None:
    wait_until(lambda: server.statistic("script:events") >= 2)
    said(server, rf"{place(server, 'timer')}\d+: assertion failed: timer \[DUMMY \S+\]")


def test_in_the_error_route_the_message_is_refused_as_without_it(server: Server, peers: tuple[Peer, Peer]) -> None:
    caller, _ = peers
    text = caller.request("OPTIONS", f"sip:x@127.0.0.1:{caller.server[1]}").replace("CSeq: 1", "CSeq: none")
    caller.send(text)
    call_id = Received(text, ("", 0)).call_id
    assert caller.wait_final(call_id).status == 400
    said(server, rf"{place(server, 'error')}\d+: assertion failed: wrong \[OPTIONS {call_id}\]")


def test_what_the_error_route_answered_before_is_not_answered_again(server: Server, peers: tuple[Peer, Peer]) -> None:
    caller, _ = peers
    text = caller.request("OPTIONS", f"sip:x@127.0.0.1:{caller.server[1]}", extra="X-To: 1\r\n")
    caller.send(text.replace("CSeq: 1", "CSeq: none"))
    call_id = Received(text, ("", 0)).call_id
    assert caller.wait_final(call_id).start == "SIP/2.0 400 Told"
    said(server, rf"{place(server, 'error')}\d+: assertion failed: wrong \[OPTIONS {call_id}\]")
    caller.nothing(lambda m: m.call_id == call_id, 0.1)


# --- settings


def test_with_log_level_4_the_traceback_is_shown_too(start_server: Callable[..., Server]) -> None:
    server = start_server("route { assert($rU == NULL); }", head="enable_asserts = 1\nlog_level = 4\n")
    assert server.client().ask("x").status == 500
    wait_until(lambda: "AssertionFailed: assertion failed" in server.log())
    assert f'File "{server.script}", line ' in server.log()


def test_with_abort_on_assert_a_failed_assertion_ends_the_server(start_server: Callable[..., Server]) -> None:
    server = start_server("route { assert($rU == NULL); }", head="enable_asserts = 1\nabort_on_assert = 1\n")
    client = server.client()
    client.send(client.request("x")[1])
    assert server.wait() == 0
    assert "assertion failed [OPTIONS" in server.log()


def test_without_enable_asserts_nothing_is_asserted(start_server: Callable[..., Server]) -> None:
    server = start_server('route { assert($rU == NULL); sl_send_reply(200, "OK"); }')
    assert server.client().ask("x").status == 200


def test_the_level_of_the_script_s_own_lines_is_changed_while_it_runs(start_server: Callable[..., Server]) -> None:
    server = start_server('route { xlog("L_ERR", "SAID $rU\\n"); sl_send_reply(200, "OK"); }')
    client = server.client()
    client.ask("one")
    assert server.mi("xlog_level", [-3]) == {"New xLog level": -3}
    client.ask("two")
    assert server.mi("xlog_level", [3]) == {"New xLog level": 3}
    client.ask("three")
    receivers = [row["PID"] for row in server.mi("ps")["Processes"] if row["Type"].startswith("SIP receiver")]
    for pid in receivers:
        assert server.mi("xlog_level", [-3, pid]) == {"xLog level": -3}
    client.ask("four")
    assert server.mi("xlog_level", [3]) == {"New xLog level": 3}  # of all, whatever each one had
    client.ask("five")
    wait_until(lambda: "SAID five" in server.log())
    assert re.findall(r"SAID (\w+)", server.log()) == ["one", "three", "five"]
