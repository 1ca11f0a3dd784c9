"""Programs subscribe to events of a real server, and hear of them whichever process raises them."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.harness import Server, wait_until
from tests.processes.listeners import Listener

pytestmark = pytest.mark.processes

ROUTES = """
loadmodule "event_datagram.so"
loadmodule "acc.so"
modparam("acc", "extra_fields", "evi:caller->caller")
startup_route {{
    subscribe_event("E_MESSAGE", "{socket}");
    subscribe_event("E_ACC_EVENT", "{socket}");
}}
route {{
    switch ($rU) {{
    case "named":
        $avp(n) = "user"; $avp(v) = "café"; $avp(n) = "pid"; $avp(v) = $pp;
        raise_event("E_MESSAGE", $avp(n), $avp(v));
        break;
    case "large":
        $var(x) = "xxxxxxxxxxxxxxxx";
        while ($(var(x){{s.len}}) < 65536) $var(x) = $var(x) + $var(x);
        $avp(v) = $var(x);
        raise_event("E_MESSAGE", $avp(v));
        break;
    case "nowhere":
        if (!subscribe_event("E_MESSAGE", "rabbitmq:127.0.0.1:1/x")) sl_send_reply(488, "rc $rc");
        exit;
    case "routed":
        raise_event("E_ROUTED");
        break;
    case "accounted":
        do_accounting("evi");
        t_newtran();
        t_reply(200, "Taken");
        exit;
    }}
    sl_send_reply(200, "OK");
}}
event_route[E_ROUTED] {{ xlog("L_ERR", "ROUTED $param(1) $param(name) in $pp\\n"); }}
"""


@pytest.fixture(scope="module")
def by_script() -> Iterator[Listener]:
    one = Listener()
    yield one
    one.socket.close()


@pytest.fixture(scope="module")
def server(start_shared: Callable[..., Server], by_script: Listener) -> Server:
    return start_shared(ROUTES.format(socket=by_script.name), options=("--udp-workers", "2", "--mi-workers", "1"))


@pytest.fixture
def listener() -> Iterator[Listener]:
    one = Listener()
    yield one
    one.socket.close()


def subscribers(server: Server, event: str) -> list[dict[str, Any]]:
    return list(server.mi("subscribers_list", [event])["Event"].get("Subscribers", []))


def test_who_subscribed_by_script_and_by_mi_hears_what_a_sip_process_raises(
    server: Server, by_script: Listener, listener: Listener
) -> None:
    assert server.mi("event_subscribe", ["E_MESSAGE", listener.name, 3600]) == "OK"

    server.client().ask("named")

    told = by_script.hears()
    pid = told["params"].pop("pid")
    assert told == {"jsonrpc": "2.0", "method": "E_MESSAGE", "params": {"user": "café"}}
    assert pid in server.pids("SIP")
    assert listener.hears()["params"] == {"user": "café", "pid": pid}
    assert server.mi("event_subscribe", ["E_MESSAGE", listener.name, 0]) == "OK"


def test_who_wants_no_more_is_told_no_more(server: Server, by_script: Listener, listener: Listener) -> None:
    before = subscribers(server, "E_MESSAGE")
    server.mi("event_subscribe", ["E_MESSAGE", listener.name, 10])
    added = [one for one in subscribers(server, "E_MESSAGE") if one not in before]
    server.mi("event_subscribe", ["E_MESSAGE", listener.name, 0])

    assert [(one["socket"], one["expire"]) for one in added] == [(listener.name, 10)]
    assert 0 <= added[0]["ttl"] <= 10
    assert before == [{"socket": by_script.name, "expire": "never"}] == subscribers(server, "E_MESSAGE")


def test_a_subscription_ends_with_its_time(server: Server, by_script: Listener, listener: Listener) -> None:
    server.mi("event_subscribe", ["E_MESSAGE", listener.name, 1])
    wait_until(lambda: len(subscribers(server, "E_MESSAGE")) == 1, what="the time is over")

    server.client().ask("named")

    by_script.hears()  # so it has been raised
    listener.socket.settimeout(0)
    with pytest.raises(BlockingIOError):
        listener.hears()


def test_a_program_raises_an_event_for_others(server: Server, by_script: Listener) -> None:
    assert server.mi("raise_event", ["E_MESSAGE", ["a", "b"]]) == "OK"
    assert by_script.hears() == {"jsonrpc": "2.0", "method": "E_MESSAGE", "params": ["a", "b"]}

    assert server.mi("raise_event", ["E_MESSAGE", '{"n":7}']) == "OK"
    assert by_script.hears()["params"] == {"n": 7}

    assert server.mi("raise_event", ["E_MESSAGE"]) == "OK"
    assert by_script.hears() == {"jsonrpc": "2.0", "method": "E_MESSAGE"}


@pytest.mark.parametrize(
    ("command", "params", "code", "message"),
    [
        ("raise_event", {"event": "E_MESSAGE", "params": {"n": 7}}, 400, "No Params"),
        ("raise_event", ["E_MESSAGE", "[]"], 400, "Bad Params"),
        ("raise_event", ["E_NONE"], 404, "Event not registered"),
        ("raise_event", ["E_ACC_CDR"], 480, "Temporarily Unavailable"),
        ("event_subscribe", ["E_NONE", "udp:127.0.0.1:1"], 400, "Bad parameter value"),
        ("event_subscribe", ["E_MESSAGE", "rabbitmq:127.0.0.1:1"], 400, "Bad parameter value"),
        ("event_subscribe", ["E_MESSAGE", "udp:here:1"], 400, "Bad parameter value"),
        ("event_subscribe", ["E_MESSAGE", "udp:127.0.0.1:1", -1], 400, "Bad parameter value"),
        ("subscribers_list", ["E_NONE"], 404, "Event not published"),
        ("subscribers_list", ["E_MESSAGE", "udp:127.0.0.1:1"], 404, "Subscriber does not exist"),
    ],
)
def test_what_is_refused(server: Server, command: str, params: Any, code: int, message: str) -> None:
    error = server.mi_error(command, params)

    assert (error["code"], error["message"]) == (code, message)


def test_the_events_and_their_subscribers_are_listed(server: Server, by_script: Listener) -> None:
    numbers = {event["name"]: event["id"] for event in server.mi("events_list")["Events"]}
    routed = {"socket": "route:E_ROUTED", "expire": "never"}
    subscriber = {"socket": by_script.name, "expire": "never"}

    assert numbers.keys() >= {
        *("E_CORE_SR_STATUS_CHANGED", "E_JOB_TIMEOUT", "E_WORKER_LOST"),
        *("E_ACC_CDR", "E_ACC_EVENT", "E_ACC_MISSED_EVENT", "E_MESSAGE", "E_ROUTED"),
    }
    assert sorted(numbers.values()) == list(range(len(numbers)))
    assert server.mi("subscribers_list", ["E_ROUTED"]) == {
        "Event": {"name": "E_ROUTED", "id": numbers["E_ROUTED"], "Subscribers": [routed]}
    }
    assert server.mi("subscribers_list", ["E_MESSAGE", by_script.name]) == {
        "Event": {"name": "E_MESSAGE", "id": numbers["E_MESSAGE"], "Subscriber": subscriber}
    }
    assert [event["name"] for event in server.mi("subscribers_list")["Events"]] == [
        name for name in numbers if name in ("E_ACC_EVENT", "E_ROUTED", "E_MESSAGE")
    ]


def test_a_script_raises_and_routes_events_without_a_module(server: Server) -> None:
    server.client().ask("routed")

    wait_until(lambda: "ROUTED <null> <null> in" in server.log(), what="the event route ran")


def test_accounts_are_events_too(server: Server, by_script: Listener) -> None:
    server.client().ask("accounted", "MESSAGE")

    told = by_script.hears()
    assert (told["method"], told["params"]["sip_code"]) == ("E_ACC_EVENT", "200")


def test_a_subscriber_that_nothing_leads_to_is_refused_with_the_place(server: Server) -> None:
    answer = server.client().ask("nowhere")
    line = 1 + server.script.read_text().split("\n").index(
        '        if (!subscribe_event("E_MESSAGE", "rabbitmq:127.0.0.1:1/x")) sl_send_reply(488, "rc $rc");'
    )

    assert (answer.status, answer.reason) == (488, "rc -1")
    said = f"{server.script}:{line}: subscribe_event(E_MESSAGE, rabbitmq:127.0.0.1:1/x): no module that is loaded sends"
    wait_until(lambda: server.log().count(said) == 1, what=said)


def test_what_is_too_large_for_a_datagram_is_counted_as_lost(server: Server) -> None:
    before = server.statistic("event_datagram:lost_events")

    server.client().ask("large")

    assert server.statistic("event_datagram:lost_events") == before + 1


def test_a_unix_socket_hears_events_and_one_that_is_gone_loses_them(server: Server, tmp: Path) -> None:
    listener, name = Listener(socket.AF_UNIX, str(tmp / "events")), f"unix:{tmp / 'events'}"
    server.mi("event_subscribe", ["E_ROUTED", name])

    server.client().ask("routed")
    assert listener.hears() == {"jsonrpc": "2.0", "method": "E_ROUTED"}

    listener.socket.close()
    before = server.statistic("event_datagram:lost_events")
    server.client().ask("routed")
    assert server.statistic("event_datagram:lost_events") == before + 1
    server.mi("event_subscribe", ["E_ROUTED", name, 0])


def test_a_worker_raises_an_event_and_its_route_runs(start_server: Callable[..., Server]) -> None:
    server = start_server(
        """
        route { async(mi("raise_event E_ROUTED", $avp(answer)), told); }
        route[told] { t_reply(200, "$rc"); }
        event_route[E_ROUTED] { xlog("L_ERR", "ROUTED in $pp\\n"); }
        """,
        options=("--mi-workers", "1"),
    )

    assert server.client().ask("x").reason == "1"

    (pid,) = set(server.pids("MI")) - set(server.pids("MI worker"))
    wait_until(lambda: f"ROUTED in {pid}" in server.log(), what="the event route ran")

    server.script.write_text(server.script.read_text().replace("E_ROUTED", "E_NEWER").replace("ROUTED", "NEWER"))
    assert server.mi("reload_routes") == "OK"
    assert server.client().ask("x").reason == "1"
    wait_until(lambda: f"NEWER in {pid}" in server.log(), what="the newer script's event route ran")
