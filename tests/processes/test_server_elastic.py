"""The server starts more job workers while jobs wait, and does without them again."""

from __future__ import annotations

import json
import time

import pytest

from tests.harness import wait_until

pytestmark = pytest.mark.processes

SCRIPT = """
route {
    async(mi("bench_sleep 600", $var(r)), done);
}
route[done] {
    append_to_reply("X-Rc: $rc\\r\\n");
    sl_send_reply(200, "OK");
}
"""


def workers(server) -> list[str]:
    return [row["Name"] for row in server.mi("worker_list")["Workers"]]


def test_more_workers_come_while_all_are_occupied_and_answer_at_once(start_server) -> None:
    options = ("--udp-workers", "1", "--mi-workers", "1", "--mi-workers-max", "4")
    server = start_server(SCRIPT, options=options)
    assert workers(server) == ["worker-1"]
    client = server.client()
    calls = [client.request("slow") for _ in range(4)]
    started = time.monotonic()
    for _, data in calls:
        client.send(data)
    answers = [client.final(call_id) for call_id, _ in calls]
    assert {answer.header("X-Rc") for answer in answers} == {"1"}
    assert time.monotonic() - started < 1.8, "four times 0.6 s, one after the other, is 2.4 s"
    assert workers(server) == [f"worker-{number}" for number in range(1, 5)]


def test_the_script_says_how_many(start_server) -> None:
    server = start_server(SCRIPT, head="mi_workers = 2\nmi_workers_max = 2\n")
    assert workers(server) == ["worker-1", "worker-2"]
    client = server.client()
    for _ in range(4):
        client.send(client.request("slow")[1])
    ask = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "job_list"})
    wait_until(lambda: len(server.rpc(ask)["result"]["Jobs"]) == 4)
    wait_until(lambda: not server.rpc(ask)["result"]["Jobs"])
    assert workers(server) == ["worker-1", "worker-2"]
