"""Several MI commands with one wait: `mi_gather()` in the three flavours, over real processes."""

from __future__ import annotations

import json
import time

import pytest

from tests.harness import wait_until

pytestmark = pytest.mark.processes

SCRIPT = """
route {
    switch ($rU) {
    case "blocking":
        mi_gather("bench_wait 100; version ;bench_wait 100", $var(r));
        break;
    case "parked":
        async(mi_gather("bench_wait 900; bench_wait 900; bench_wait 900; version; bench_sleep 900", $var(r)), done);
    case "faulty":
        async(mi_gather("version; no_such_command; bench_sleep -1", $var(r)), done);
    case "late":
        async(mi_gather("bench_wait 5000; version", $var(r)), done, 1);
    case "nothing":
        async(mi_gather(" ; ", $var(r)), done);
    case "launched":
        launch(mi_gather("version; bench_wait 10", $avp(r)), report, "launched");
        sl_send_reply(200, "OK $rc");
        exit;
    }
    append_to_reply("X-Rc: $rc\\r\\n");
    append_to_reply("X-Result: $var(r)\\r\\n");
    sl_send_reply(200, "OK");
}
route[done] {
    append_to_reply("X-Rc: $rc\\r\\n");
    append_to_reply("X-Result: $var(r)\\r\\n");
    sl_send_reply(200, "OK");
}
route[report] {
    cache_store("local", "report", "$rc $avp(r)");
}
"""


@pytest.fixture
def server(start_server):
    return start_server(SCRIPT, options=("--udp-workers", "1", "--mi-workers", "3"))


def test_commands_run_side_by_side_and_the_context_waits_once(server) -> None:
    started = time.monotonic()
    answer = server.client().ask("parked")
    *waited, version, slept = json.loads(answer.header("X-Result"))
    assert answer.header("X-Rc") == "1"
    assert 0.88 < answer.at - started < 3.0, "one after the other they take 3.6 s"
    assert {key for one in (*waited, version, slept) for key in one} == {"result"}
    assert "layby" in version["result"]["Server"]


def test_the_blocking_form_gives_the_same(server) -> None:
    answer = server.client().ask("blocking")
    assert answer.header("X-Rc") == "1"
    assert [list(one) for one in json.loads(answer.header("X-Result"))] == [["result"]] * 3


def test_rc_is_that_of_the_first_that_failed_and_each_tells_its_own(server) -> None:
    answer = server.client().ask("faulty")
    version, unknown, refused = json.loads(answer.header("X-Result"))
    assert answer.header("X-Rc") == "-1"
    assert (list(version), unknown["error"]["message"], refused["error"]["code"]) == (
        ["result"],
        "Method not found",
        400,
    )


def test_at_the_deadline_what_is_done_is_kept(server) -> None:
    answer = server.client().ask("late")
    waited, version = json.loads(answer.header("X-Result"))
    assert (answer.header("X-Rc"), waited["error"]["code"], list(version)) == ("-408", 408, ["result"])


def test_no_commands_give_an_empty_list(server) -> None:
    answer = server.client().ask("nothing")
    assert (answer.header("X-Rc"), answer.header("X-Result")) == ("1", "[]")


def test_a_launched_batch_reports_once(server) -> None:
    assert server.client().ask("launched").reason == "OK 1"
    fetch = {"jsonrpc": "2.0", "id": 1, "method": "cache_fetch", "params": ["local", "report"]}
    found = wait_until(lambda: server.rpc(json.dumps(fetch)).get("result"), what="the report")
    rc, text = str(found["value"]).split(" ", 1)
    assert (rc, [list(one) for one in json.loads(text)]) == ("1", [["result"], ["result"]])
