"""How one process takes a newer script, and what it does when a route is not there: told step by step."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import pytest

from runtime.roles import CATCH_UP
from runtime.sip.reading import State
from tests.harness import SipClient, wait_until
from tests.one_process import OneProcess, one_process
from workers.jobs import Peer

ROUTES = """
route {
    if ($rU == "parked") async(mi("bench_wait 200", $var(r)), resumed);
    sl_send_reply(200, "one");
}
route[resumed] { t_reply(200, "resumed"); }
"""


@pytest.fixture
def server(tmp: Path) -> Iterator[OneProcess]:
    with one_process(tmp, ROUTES) as one:
        yield one


@pytest.fixture
def client(server: OneProcess) -> Iterator[SipClient]:
    made = SipClient(server.sip_port)
    yield made
    made.close()


def publish(server: OneProcess) -> None:
    """Another process has checked a newer text and put it where this one finds it."""
    house = server.process.house
    house.program.path.write_text(house.program.path.read_text().replace('"one"', '"two"'))
    house.program.publish(house.folder)


def pipe_to(path: Path) -> BinaryIO | None:
    """A named pipe that somebody has begun to read."""
    try:
        return os.fdopen(os.open(path, os.O_WRONLY | os.O_NONBLOCK), "wb")
    except OSError:
        return None


def test_what_is_published_runs_when_the_process_takes_it(server: OneProcess, client: SipClient) -> None:
    publish(server)
    assert client.ask("x").reason == "one"
    assert server.do(server.process.catch_up) == 1
    assert client.ask("x").reason == "two"


def test_who_could_not_be_asked_in_time_takes_it_when_the_letter_comes(server: OneProcess, client: SipClient) -> None:
    publish(server)
    server.do(lambda: server.process.node.post(server.process.peer, CATCH_UP, b""))
    wait_until(lambda: client.ask("x").reason == "two")


def test_who_is_announced_after_the_others_were_told_is_told_by_them(server: OneProcess, client: SipClient) -> None:
    publish(server)
    server.do(lambda: server.process.on_peer_up(server.process.peer, 0))
    wait_until(lambda: client.ask("x").reason == "two")


def test_who_was_to_be_told_by_a_process_that_died_takes_it_all_the_same(server: OneProcess, client: SipClient) -> None:
    publish(server)
    server.do(lambda: server.process.on_peer_down(Peer("mi-1", 1)))
    wait_until(lambda: client.ask("x").reason == "two")


def test_who_takes_it_has_others_read_meanwhile(server: OneProcess, client: SipClient) -> None:
    publish(server)
    house, process = server.process.house, server.process
    published = house.folder / "script"
    text = published.read_bytes()
    published.unlink()
    os.mkfifo(published)  # whose reader waits for what is written
    server.do(lambda: process.node.post(process.peer, CATCH_UP, b""))
    with wait_until(lambda: pipe_to(published)) as pipe:  # it sees that this is newer
        pipe.write(text)
    wait_until(lambda: house.readers.state(process.slot) == State.STILL, what="it begins to take it")
    with wait_until(lambda: pipe_to(published)) as pipe:
        pipe.write(text)
    assert client.ask("x").reason == "two"
    assert house.readers.state(process.slot) == State.READING


def test_without_a_reload_nobody_is_told_of_one(server: OneProcess) -> None:
    before = server.do(lambda: server.process.node.counters["letters_sent"])
    server.do(lambda: server.process.on_peer_up(server.process.peer, 0))
    assert server.do(lambda: server.process.node.counters["letters_sent"]) == before


def test_a_resume_route_that_is_not_there_is_answered_500_with_one_line_of_the_log(
    server: OneProcess, client: SipClient, caplog: pytest.LogCaptureFixture
) -> None:
    routes = server.process.house.program.script.routes.named
    server.do(lambda: routes.pop("resumed"))
    call_id, data = client.request("parked")
    client.send(data)
    wait_until(lambda: server.process.parked, what="it is parked")
    assert client.final(call_id).status == 500
    path = server.process.house.program.path
    lines = [record.getMessage() for record in caplog.records if record.name == "layby.script"]
    assert lines == [f"{path}:11:26: there is no route[resumed] [OPTIONS {call_id}]"]
