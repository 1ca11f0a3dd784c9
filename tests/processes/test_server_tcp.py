"""SIP over TCP, with the real server: connections, framing, keep-alives, and what happens when either end goes."""

from __future__ import annotations

import os
import select
import signal
import socket
import struct
import time
from collections.abc import Callable, Iterator

import pytest

from tests.harness import LIMIT_S, Server, free_port, wait_until
from tests.sip_stream import StreamClient

pytestmark = pytest.mark.processes

ROUTES = """
route {
    if ($rU == "who") { sl_send_reply(200, "$socket_in $sP $Ri $Rp $si $sp"); exit; }
    if ($rU == "park") async(mi("bench_wait 400"), done);
    if ($rU == "long") async(mi("bench_wait 1500"), done);
    if ($rU == "block") { sl_send_reply(200, "before"); mi("bench_sleep 1500"); exit; }
    if ($rU == "silent") exit;
    sl_send_reply(200, "OK $pp");
}
route[done] { t_reply(200, "parked in $pp"); }
"""
Connect = Callable[..., StreamClient]


@pytest.fixture
def tcp_port() -> int:
    return free_port(socket.SOCK_STREAM)


@pytest.fixture
def server(start_server, tcp_port) -> Iterator[Server]:
    options = ("-l", f"tcp:127.0.0.1:{tcp_port}", "--udp-workers", "2", "--mi-workers", "1")
    one = start_server(ROUTES, options=options)
    yield one
    assert "Traceback" not in one.log()


@pytest.fixture
def connect(tcp_port) -> Iterator[Connect]:
    """Open connections: `connect()`, `connect(port=…)`, `connect(listen=…)`."""
    clients: list[StreamClient] = []

    def make(port: int = tcp_port, **more) -> StreamClient:
        clients.append(StreamClient(port, **more))
        return clients[-1]

    yield make
    for client in clients:
        client.close()


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """Where a client takes connections."""
    with socket.create_server(("127.0.0.1", 0)) as one:
        one.settimeout(LIMIT_S)
        yield one


def port_of(listener: socket.socket) -> int:
    return int(listener.getsockname()[1])


def next_bytes(listener: socket.socket) -> bytes:
    """What comes first over the next connection to a listener."""
    connection, _ = listener.accept()
    with connection:
        connection.settimeout(LIMIT_S)
        return connection.recv(65536)


def test_a_request_is_answered_on_its_connection_and_the_script_knows_how_it_came(server, connect, tcp_port) -> None:
    client = connect()
    answer = client.ask("who")
    assert answer.status == 200
    assert answer.reason == f"tcp:127.0.0.1:{tcp_port} TCP 127.0.0.1 {tcp_port} 127.0.0.1 {client.port}"
    udp = server.client()
    assert (
        udp.ask("who").reason == f"udp:127.0.0.1:{server.sip_port} UDP 127.0.0.1 {server.sip_port} 127.0.0.1 {udp.port}"
    )


def test_messages_in_one_segment_are_answered_in_their_order(server, connect) -> None:
    client = connect()
    asked = [client.request(f"u{number}") for number in range(50)]
    client.send(b"".join(data for _, data in asked))
    assert [client.receive().header("Call-ID") for _ in asked] == [call_id for call_id, _ in asked]


def test_a_message_may_come_byte_by_byte(server, connect) -> None:
    client = connect()
    call_id, data = client.request("slow", body="v=0\r\n")
    for at in range(len(data)):
        client.send(data[at : at + 1])
    assert client.receive().header("Call-ID") == call_id


def test_a_keep_alive_gets_its_answer_and_the_connection_goes_on(server, connect) -> None:
    client = connect()
    client.send(b"\r\n\r\n")
    assert client.receive_bytes(2) == b"\r\n"
    call_id, data = client.request("x")
    client.send(b"\r\n" + data + b"\r\n\r\n")
    assert client.receive().header("Call-ID") == call_id
    assert client.receive_bytes(2) == b"\r\n"


def test_garbage_closes_the_connection_and_no_other(server, connect) -> None:
    good = connect()
    for garbage in (b"\x16\x03\x01\x02\x00\x01\x00\x01", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"A" * 70_000):
        bad = connect()
        bad.send(garbage)
        assert bad.is_closed()
        assert bad.received == b""
    assert good.ask("x").status == 200
    assert server.statistic("core:bad_messages") == 3


HOSTILE_LENGTHS = [
    ("", 400, "Missing Content-Length header"),
    ("Content-Length: -1\r\n", 400, "Malformed Content-Length header"),
    ("Content-Length: 99999999999999999999\r\n", 513, "Message too large"),
    ("Content-Length: 0\r\nContent-Length: 5\r\n", 400, "Repeated Content-Length header"),
    ("Content-Length: 0\r\nl: 0\r\n", 400, "Repeated Content-Length header"),
]


def test_a_hostile_content_length_is_answered_and_closes_the_connection(server, connect) -> None:
    for length, status, reason in HOSTILE_LENGTHS:
        client = connect()
        _, data = client.request("x", length=length)
        client.send(data + b"what stands behind it is not read")
        answer = client.receive()
        assert (answer.status, answer.reason) == (status, reason)
        assert client.is_closed()
    assert connect().ask("x").status == 200


def test_a_bad_message_whose_end_is_clear_leaves_the_connection_open(server, connect) -> None:
    client = connect()
    _, data = client.request("x")
    client.send(data.replace(b"CSeq: 1 OPTIONS", b"CSeq: 1 INVITE"))
    assert client.receive().status == 400
    assert client.ask("x").status == 200


def test_an_answer_goes_out_before_the_script_blocks(server, connect) -> None:
    client = connect()
    began = time.monotonic()
    assert client.ask("block").reason == "before"
    assert time.monotonic() - began < 1.4  # the command behind it takes 1.5 s


def test_a_parked_request_is_answered_on_its_connection(server, connect) -> None:
    clients = [connect() for _ in range(6)]
    for client in clients:
        call_id, data = client.request("park")
        client.send(data + data)  # a copy is no second request
        client.call_id = call_id  # type: ignore[attr-defined]
    for client in clients:
        answer = client.receive()
        assert (answer.status, answer.header("Call-ID")) == (200, client.call_id)  # type: ignore[attr-defined]
    assert server.statistic("async:parked") == 6


def test_a_peer_that_has_said_all_still_gets_its_answer(server, connect) -> None:
    client = connect()
    call_id, data = client.request("park")
    client.send(data)
    client.socket.shutdown(socket.SHUT_WR)
    assert client.receive().header("Call-ID") == call_id
    assert client.is_closed()


@pytest.mark.parametrize("how", ["closed", "reset"])
def test_the_answer_to_a_closed_connection_goes_over_a_new_one_to_the_sent_by_port(
    server, connect, listener, how
) -> None:
    client = connect(listen=port_of(listener))
    call_id, data = client.request("park")
    client.send(data)
    wait_until(lambda: server.statistic("async:parked") == 1)
    if how == "reset":
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()
    answer = next_bytes(listener)
    assert answer.startswith(b"SIP/2.0 200 parked")
    assert call_id.encode() in answer


def test_an_answer_that_nobody_takes_is_lost_and_nothing_else_is(server, connect) -> None:
    client = connect(listen=free_port(socket.SOCK_STREAM))
    client.send(client.request("park")[1])
    wait_until(lambda: server.statistic("async:parked") == 1)
    client.close()
    wait_until(lambda: server.statistic("core:lost_sends") == 1)
    assert connect().ask("x").status == 200


def test_what_comes_over_the_connection_of_another_process_is_answered_there(server, connect) -> None:
    """A CANCEL over another connection than its INVITE's: the answer to each goes where each came from."""
    first = connect()
    owner = first.ask("x").reason
    other = next(client for client in iter(connect, None) if client.ask("x").reason != owner)
    call_id, invite = first.request("long", "INVITE", branch="z9hG4bKtwo-ways")
    first.send(invite)
    assert first.receive().status == 100
    other.sent_by = first.sent_by  # the same Via: else it is no CANCEL of that INVITE
    other.send(other.request("long", "CANCEL", branch="z9hG4bKtwo-ways", call_id=call_id)[1])
    assert (other.receive().header("CSeq"), server.statistic("core:handed_over")) == ("1 CANCEL", 1)
    answer = first.receive()
    assert (answer.header("CSeq"), answer.header("Call-ID")) == ("1 INVITE", call_id)


def test_a_server_transaction_over_tcp_repeats_nothing(server, connect) -> None:
    client = connect()
    call_id, data = client.request("park", "INVITE")
    client.send(data)
    assert client.receive().status == 100
    answer = client.receive()
    assert (answer.status, answer.header("Call-ID")) == (200, call_id)


def test_connections_are_shared_out_and_the_death_of_a_process_ends_only_its_own(server, connect) -> None:
    before = server.pids("SIP")
    clients = [connect() for _ in range(40)]
    owners = [client.ask("x").reason.split()[1] for client in clients]
    assert len(set(owners)) == 2, "both processes accept"
    dead = owners[0]
    os.kill(int(dead), signal.SIGKILL)
    for client, owner in zip(clients, owners, strict=True):
        if owner == dead:
            assert client.is_closed()
        else:
            assert client.ask("x").reason == f"OK {owner}"
        assert connect().ask("x").status == 200
    server.wait_replaced(before, int(dead))
    wait_until(lambda: connect().ask("x").reason.split()[1] not in owners, what="the replacement accepts too")


def test_a_slow_reader_is_cut_and_costs_nobody_else(server, connect) -> None:
    slow = StreamClientWithSmallWindow(connect)
    sent = slow.flood()
    assert slow.client.is_closed(), f"{sent} requests were answered into the void"
    assert connect().ask("x").status == 200


class StreamClientWithSmallWindow:
    """Asks and asks and reads nothing."""

    def __init__(self, connect: Connect) -> None:
        self.client = connect()
        self.client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.client.socket.setblocking(False)

    def flood(self) -> int:
        ends = time.monotonic() + LIMIT_S
        data = b"".join(self.client.request("x", extra=f"X-Pad: {'p' * 50}\r\n")[1] for _ in range(50))
        sent = 0
        while time.monotonic() < ends:
            if not select.select([], [self.client.socket], [], 1.0)[1]:
                continue
            try:
                sent += self.client.socket.send(data)
            except (BrokenPipeError, ConnectionResetError):
                break
        return sent // (len(data) // 50)


def test_a_message_that_does_not_end_in_time_closes_the_connection(start_server, connect, tcp_port) -> None:
    start_server(ROUTES, head="tcp_max_msg_time=1\n", options=("-l", f"tcp:127.0.0.1:{tcp_port}"))
    client = connect()
    client.send(client.request("x")[1][:40])
    assert client.is_closed(4)


def test_an_idle_connection_is_closed_and_a_busy_one_is_not(start_server, connect, tcp_port) -> None:
    start_server(ROUTES, head="tcp_connection_lifetime=1\n", options=("-l", f"tcp:127.0.0.1:{tcp_port}"))
    idle, busy = connect(), connect()
    ends = time.monotonic() + 4
    while not idle.is_closed(0.3):
        assert busy.ask("x").status == 200
        assert time.monotonic() < ends, "the idle connection was not closed"
    assert busy.ask("x").status == 200


def test_there_are_no_more_connections_than_allowed(start_server, connect, tcp_port) -> None:
    start_server(ROUTES, head="tcp_max_connections=4\n", options=("-l", f"tcp:127.0.0.1:{tcp_port}"))
    held = [connect() for _ in range(4)]
    assert all(client.ask("x").status == 200 for client in held)
    assert connect().is_closed()
    held[0].close()
    wait_until(lambda: not connect().is_closed(0.2), what="a place is free again")


def test_every_kind_and_number_of_addresses_is_served(start_server, connect) -> None:
    udp, tcp, tcp6 = free_port(), free_port(socket.SOCK_STREAM), free_port(socket.SOCK_STREAM)
    server = start_server(
        ROUTES, options=("-l", f"udp:127.0.0.1:{udp}", "-l", f"tcp:127.0.0.1:{tcp}", "-l", f"tcp:[::1]:{tcp6}")
    )
    assert server.client().ask("who").reason.startswith(f"udp:127.0.0.1:{server.sip_port} ")
    server.sip_port = udp
    assert server.client().ask("who").reason.startswith(f"udp:127.0.0.1:{udp} ")
    assert connect(tcp).ask("who").reason.startswith(f"tcp:127.0.0.1:{tcp} ")
    assert connect(tcp6, host="::1").ask("who").reason.startswith(f"tcp:[::1]:{tcp6} TCP ::1 ")


def test_a_wildcard_stands_for_every_address(start_server, connect, tcp_port) -> None:
    server = start_server(ROUTES, options=("-l", f"tcp:*:{tcp_port}"))
    assert connect().ask("who").reason.startswith(f"tcp:127.0.0.1:{tcp_port} ")
    assert "0.0.0.0" not in server.log()


def test_parked_requests_over_tcp_are_answered_before_the_end(server, connect) -> None:
    client = connect()
    client.send(client.request("long")[1])
    wait_until(lambda: server.statistic("async:parked") == 1)
    server.process.send_signal(signal.SIGTERM)
    assert client.receive().status == 200
    assert server.wait() == 0
    assert client.is_closed()
