"""OpenSIPS's own client for events, `opensips-event`, and its package, over every MI transport of a real server."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.harness import LIMIT_S, Server, free_port, wait_until

pytestmark = pytest.mark.processes

BIN = Path(sys.executable).parent
HEAD = """
loadmodule "event_datagram.so"
loadmodule "event_stream.so"
loadmodule "mi_fifo.so"
loadmodule "mi_datagram.so"
modparam("mi_fifo", "fifo_name", "{folder}/fifo")
modparam("mi_fifo", "reply_dir", "{folder}")
modparam("mi_datagram", "socket_name", "udp:127.0.0.1:{mi_port}")
"""
ROUTES = """
route {
    $avp(n) = "user"; $avp(v) = $rU; $avp(n) = "number"; $avp(v) = 7;
    raise_event("E_CALL", $avp(n), $avp(v));
    sl_send_reply(200, "OK");
}
"""
STREAMED = """
import json, signal, sys, time
from opensips.event import OpenSIPSEventHandler
from opensips.event.stream import Stream
from opensips.mi import OpenSIPSMI

class Tcp(Stream):
    def create(self):
        # The package names the socket of a stream as it does one of datagrams.
        self.sock_name = super().create().replace("udp:", "tcp:", 1)
        return self.sock_name

class Handler(OpenSIPSEventHandler):
    def __new_socket__(self):
        return Tcp(**self.kwargs)

mi = OpenSIPSMI("http", url=sys.argv[1])
event = Handler(mi, "stream", ip="127.0.0.1").subscribe("E_CALL", lambda told: print(json.dumps(told), flush=True))
signal.signal(signal.SIGTERM, lambda *_: (event.unsubscribe(), sys.exit(0)))
while True:
    time.sleep(1)
"""
TOLD = {"jsonrpc": "2.0", "method": "E_CALL", "params": {"user": "alice", "number": 7}}


class Client:
    """A client that runs, and what it prints."""

    def __init__(self, server: Server, folder: Path, *command: str) -> None:
        self.server = server
        self.output = folder / "output"
        environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=folder, env=environment
            )

    def prints(self, count: int) -> list[Any]:
        """So many JSON objects."""
        wait_until(lambda: len(self._printed()) >= count, what=f"{count} events; printed: {self.output.read_text()}")
        return self._printed()

    def _printed(self) -> list[Any]:
        text, found = self.output.read_text().strip(), []
        while text:
            try:
                one, end = json.JSONDecoder().raw_decode(text)
            except ValueError:
                break
            found.append(one)
            text = text[end:].strip()
        return found

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(LIMIT_S)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("mi")


@pytest.fixture(scope="module")
def mi_port() -> int:
    return free_port(socket.SOCK_DGRAM)


@pytest.fixture(scope="module")
def server(start_shared: Callable[..., Server], folder: Path, mi_port: int) -> Server:
    head = HEAD.format(folder=folder, mi_port=mi_port)
    return start_shared(ROUTES, head=head, options=("--udp-workers", "1", "--mi-workers", "1"))


@pytest.fixture
def over(server: Server, folder: Path, mi_port: int) -> dict[str, list[str]]:
    """The client's options, by MI transport."""
    return {
        "fifo": ["-t", "fifo", "-f", str(folder / "fifo"), "-fd", str(folder)],
        "datagram": ["-t", "datagram", "-i", "127.0.0.1", "-p", str(mi_port)],
        "http": ["-t", "http", "-i", "127.0.0.1", "-p", str(server.http_port)],
    }


@pytest.fixture
def run(server: Server, tmp_path: Path) -> Iterator[Callable[..., Client]]:
    clients: list[Client] = []

    def run(*command: str) -> Client:
        clients.append(Client(server, tmp_path, *command))
        return clients[-1]

    yield run
    for client in clients:
        if client.process.poll() is None:
            client.process.kill()
            client.process.wait(LIMIT_S)


def subscribers(server: Server) -> list[dict[str, Any]]:
    return list(server.mi("subscribers_list", ["E_CALL"])["Event"].get("Subscribers", []))


def subscribed(server: Server, run: Callable[..., Client], *options: str) -> Client | None:
    """A client that has subscribed, or None: over datagrams it waits for a tenth of a second only."""
    client = run(str(BIN / "opensips-event"), *options, "-li", "127.0.0.1", "E_CALL")
    wait_until(lambda: subscribers(server) or client.process.poll() is not None, what="it has subscribed, or ended")
    return client if client.process.poll() is None else None


@pytest.mark.parametrize("transport", ["fifo", "datagram", "http"])
def test_it_subscribes_prints_what_it_is_told_and_unsubscribes_at_its_end(
    server: Server, over: dict[str, list[str]], run: Callable[..., Client], transport: str
) -> None:
    client = next(filter(None, (subscribed(server, run, *over[transport]) for _ in range(5))))
    (subscriber,) = subscribers(server)

    server.client().ask("alice")
    server.client().ask("alice")

    assert client.prints(2) == [TOLD, TOLD]
    assert (subscriber["socket"].split(":")[:2], subscriber["expire"]) == (["udp", "127.0.0.1"], 3600)
    assert client.end() == 0
    assert subscribers(server) == []


def test_it_ends_when_the_time_that_it_asked_for_is_over(
    server: Server, over: dict[str, list[str]], run: Callable[..., Client]
) -> None:
    client = run(str(BIN / "opensips-event"), *over["http"], "-li", "127.0.0.1", "-e", "1", "E_CALL")
    wait_until(lambda: subscribers(server), what="it has subscribed")

    assert client.process.wait(LIMIT_S) in (0, 1)  # its alarm and its own clock race
    assert subscribers(server) == []


def test_it_is_refused_an_event_that_there_is_not(over: dict[str, list[str]], run: Callable[..., Client]) -> None:
    client = run(str(BIN / "opensips-event"), *over["http"], "-li", "127.0.0.1", "E_NOTHING")

    assert client.process.wait(LIMIT_S) == 1
    assert "Bad parameter value" in client.output.read_text()


def test_it_completes_the_names_of_events(
    server: Server, over: dict[str, list[str]], run: Callable[..., Client]
) -> None:
    client = run(str(BIN / "opensips-event"), *over["http"], "-bc")

    assert client.process.wait(LIMIT_S) == 0
    assert client.output.read_text().split() == [event["name"] for event in server.mi("events_list")["Events"]]


def test_its_package_is_told_over_a_stream_connection_by_connection(server: Server, run: Callable[..., Client]) -> None:
    client = run(sys.executable, "-c", STREAMED, f"http://127.0.0.1:{server.http_port}/mi")
    wait_until(lambda: subscribers(server), what="it has subscribed")
    lost = server.statistic("event_stream:lost_events")

    # It closes a connection when it has read from it once.
    for count in (1, 2, 3):
        server.client().ask("alice")
        assert client.prints(count) == [TOLD] * count

    assert server.statistic("event_stream:lost_events") == lost
    assert client.end() == 0
    assert subscribers(server) == []
