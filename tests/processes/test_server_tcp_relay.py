"""A real server relays over TCP: from and to UDP, over connections of either end, and where nobody listens."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Callable, Iterator

import pytest

from tests.harness import LIMIT_S, Server, free_port, wait_until
from tests.sip_peer import Peer
from tests.sip_stream import StreamClient

pytestmark = pytest.mark.processes

ROUTES = """
route {
    if ($rU == "who") { sl_send_reply(200, "$pp"); exit; }
    t_on_failure("gone");
    $du = "sip:127.0.0.1:" + $hdr(X-To);
    if (!t_relay()) sl_send_reply(500, "Not relayed");
}
failure_route[gone] { t_reply(480, "after $T_reply_code"); }
"""
Connect = Callable[..., StreamClient]


@pytest.fixture
def tcp_port() -> int:
    return free_port(socket.SOCK_STREAM)


@pytest.fixture
def server(start_server, tcp_port) -> Iterator[Server]:
    options = ("-l", f"tcp:127.0.0.1:{tcp_port}", "--udp-workers", "2", "--mi-workers", "1")
    one = start_server(ROUTES, head="tcp_connect_timeout=500\n", options=options)
    yield one
    assert "Traceback" not in one.log()


@pytest.fixture
def connect(tcp_port) -> Iterator[Connect]:
    clients: list[StreamClient] = []

    def make(**more) -> StreamClient:
        clients.append(StreamClient(tcp_port, **more))
        return clients[-1]

    yield make
    for client in clients:
        client.close()


@pytest.fixture
def phone(server) -> Iterator[Peer]:
    peer = Peer(server.sip_port)
    yield peer
    peer.close()


class Callee:
    """A listener, and what comes over the connections to it."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.settimeout(LIMIT_S)
        self.port = int(self.listener.getsockname()[1])
        self.connections: list[socket.socket] = []

    def accept(self) -> socket.socket:
        connection, _ = self.listener.accept()
        connection.settimeout(LIMIT_S)
        self.connections.append(connection)
        return connection

    def close(self) -> None:
        for one in (self.listener, *self.connections):
            one.close()


@pytest.fixture
def callee() -> Iterator[Callee]:
    one = Callee()
    yield one
    one.close()


def answer(request: str, status: int = 200) -> bytes:
    """A reply to a request, as text."""
    lines = [line for line in request.split("\r\n") if re.match(r"(?i)(via|from|call-id|cseq|to):", line)]
    head = "\r\n".join([f"SIP/2.0 {status} From the callee", *lines])
    return f"{head}\r\nContent-Length: 0\r\n\r\n".encode()


def text(data: bytes) -> str:
    return data.decode("latin-1")


def test_from_udp_to_tcp_over_one_connection(server, phone, callee, tcp_port) -> None:
    for number in range(3):
        asked = phone.request("OPTIONS", "sip:a@example.org", extra=f"X-To: {callee.port};transport=tcp\r\n")
        phone.send(asked)
        # Each of the two processes may open one, but none opens a second, and either finds the other's.
        connection = callee.connections[0] if number else callee.accept()
        request = text(connection.recv(65536))
        assert re.match(rf"Via: SIP/2.0/TCP 127.0.0.1:{tcp_port};branch=", request.split("\r\n")[1])
        assert "Content-Length: 0\r\n" in request
        connection.sendall(answer(request))
        call_id = re.search(r"Call-ID: (\S+)", asked)
        assert call_id is not None
        reply = phone.wait_final(call_id[1])
        assert (reply.status, len(reply.headers("Via"))) == (200, 1)
    assert server.statistic("core:rcv_replies") == 3


def test_from_tcp_to_udp(server, phone, connect) -> None:
    caller = connect()
    call_id, data = caller.request("a", extra=f"X-To: {phone.port}\r\n")
    caller.send(data)
    request = phone.wait_request("OPTIONS")
    assert [via.split()[0] for via in request.headers("Via")] == ["SIP/2.0/UDP", "SIP/2.0/TCP"]
    phone.reply(request, 200)
    reply = caller.receive()
    assert (reply.status, reply.header("Call-ID")) == (200, call_id)


def test_to_a_client_over_the_connection_that_it_opened_itself(server, phone, connect) -> None:
    # Whichever process has the connection, and whichever reads the request.
    owners: dict[str, StreamClient] = {}
    for _ in range(20):
        for client in [connect() for _ in range(8)]:
            owners.setdefault(client.ask("who").reason, client)
        if len(owners) == 2:
            break
    assert len(owners) == 2, "each process has taken a connection"
    for client in owners.values():
        asked = phone.request("OPTIONS", "sip:a@example.org", extra=f"X-To: {client.port};transport=tcp\r\n")
        phone.send(asked)
        request = text(client.receive_message())
        assert request.startswith("OPTIONS sip:a@example.org SIP/2.0\r\n")
        client.send(answer(request))
        call_id = re.search(r"Call-ID: (\S+)", asked)
        assert call_id is not None
        assert phone.wait_final(call_id[1]).status == 200


def test_where_nobody_listens_the_failure_route_knows_at_once(server, phone) -> None:
    began = time.monotonic()
    asked = phone.request(
        "OPTIONS", "sip:a@example.org", extra=f"X-To: {free_port(socket.SOCK_STREAM)};transport=tcp\r\n"
    )
    phone.send(asked)
    call_id = re.search(r"Call-ID: (\S+)", asked)
    assert call_id is not None
    reply = phone.wait_final(call_id[1])
    assert (reply.status, "after" in reply.start) == (480, True)
    assert time.monotonic() - began < 2


def test_an_invite_whose_caller_has_closed_is_answered_at_its_sent_by_port(server, phone, connect, callee) -> None:
    caller = connect(listen=callee.port)
    call_id, data = caller.request("a", "INVITE", extra=f"X-To: {phone.port}\r\nContact: <sip:c@127.0.0.1>\r\n")
    caller.send(data)
    invite = phone.wait_request("INVITE")
    assert caller.receive().status == 100
    caller.close()
    phone.reply(invite, 200)
    reply = text(callee.accept().recv(65536))
    assert reply.startswith("SIP/2.0 200")
    assert call_id in reply
    wait_until(lambda: server.statistic("core:lost_sends") == 0)
