"""The datagram transport over UDP and Unix sockets."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import stat
import time

import pytest

from mi_script.service import Service
from mi_script.transports.datagram import DatagramTransport
from mi_script.transports.paths import CannotListen

UPTIME = b'{"jsonrpc":"2.0","method":"uptime","id":"7"}'
OK = {"jsonrpc": "2.0", "result": {"Now": "Sun Nov 22 21:10:30 2026", "Up time": "3 [sec]"}, "id": "7"}


@contextlib.asynccontextmanager
async def listening(address, service, **kwargs):
    transport = DatagramTransport(address, service, **kwargs)
    await transport.start()
    try:
        yield transport
    finally:
        await transport.close()


@contextlib.contextmanager
def client(transport, folder=None):
    """A socket that is connected to the transport."""
    family = socket.AF_INET if isinstance(transport.address, tuple) else socket.AF_UNIX
    if family == socket.AF_INET and ":" in transport.address[0]:
        family = socket.AF_INET6
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        if folder:
            sock.bind(str(folder / "client"))
        sock.connect(transport.address if isinstance(transport.address, tuple) else str(transport.address))
        yield sock


async def ask(sock, data):
    sock.send(data)
    return await asyncio.wait_for(asyncio.get_running_loop().sock_recv(sock, 1 << 20), 15.0)


async def until(condition, within_s=15.0):
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.002)


def error_of(reply):
    return json.loads(reply)["error"]


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_udp(play, service, host):
    async def run():
        async with listening((host, 0), service) as transport:
            with client(transport) as sock:
                assert json.loads(await ask(sock, UPTIME)) == OK
                assert json.loads(await ask(sock, UPTIME + b"\n\0")) == OK
                assert error_of(await ask(sock, b"")) == {"code": -32700, "message": "Parse error"}
                assert error_of(await ask(sock, b"\xff")) == {"code": -32700, "message": "Parse error"}
                assert error_of(await ask(sock, b'{"id":{}}')) == {"code": -32600, "message": "Invalid Request"}
                # A notification is silent: the next answer is the next request's.
                sock.send(b'{"jsonrpc":"2.0","method":"uptime"}')
                assert json.loads(await ask(sock, UPTIME)) == OK
            assert transport.counters == {"requests": 7, "replies": 6, "dropped": 0, "errors": 0}

    play(run())


def test_two_servers_do_not_answer_each_other_for_ever(play, service):
    async def run():
        async with listening(("127.0.0.1", 0), service) as transport:
            with client(transport) as sock:
                reply = await ask(sock, b"nonsense")
                sock.send(reply)
                sock.send(b"[" + reply + b"]")
                assert json.loads(await ask(sock, UPTIME)) == OK
            assert transport.counters["replies"] == 2

    play(run())


def test_an_answer_that_no_datagram_holds_says_so(play, service):
    def big(size):
        return json.dumps({"jsonrpc": "2.0", "method": "big", "params": [size], "id": 1}).encode()

    async def run():
        async with listening(("127.0.0.1", 0), service) as transport:
            with client(transport) as sock:
                overhead = len(await ask(sock, big(0)))
                assert len(await ask(sock, big(65_507 - overhead))) == 65_507
                assert error_of(await ask(sock, big(65_508 - overhead))) == {
                    "code": -32000,
                    "message": "Server error",
                    "data": "The answer is longer than the 65507 bytes that this transport carries",
                }

    play(run())


def test_unix(play, tmp_path, service):
    path = tmp_path / "mi.sock"

    async def run():
        async with listening(path, service) as transport:
            assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
            with client(transport, tmp_path) as sock:
                assert json.loads(await ask(sock, UPTIME)) == OK
                assert len(await ask(sock, UPTIME.replace(b"7", b"x" * 60_000))) > 60_000
            with client(transport) as nameless:  # nobody can answer it
                nameless.send(UPTIME)
                await until(lambda: transport.counters["dropped"] == 1)
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as abstract:
                abstract.bind(f"\0layby-test-{os.getpid()}")
                abstract.connect(str(path))
                assert json.loads(await ask(abstract, UPTIME)) == OK
        assert not path.exists()

    play(run())


def test_unix_clients_that_do_not_read_hold_nobody(play, tmp_path, service):
    big = b'{"jsonrpc":"2.0","method":"big","params":[60000],"id":1}'
    (tmp_path / "b").mkdir()

    async def run():
        async with listening(tmp_path / "mi.sock", service, reply_s=0.3) as transport:
            with client(transport, tmp_path) as lazy:
                for _ in range(10):
                    lazy.send(big)
                await until(lambda: transport.counters["requests"] == 10)
                # Its unread answers fill our socket now; who is not connected is answered all the same.
                with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as other:
                    other.bind(str(tmp_path / "b" / "client"))
                    other.sendto(big, str(transport.address))
                    reply = await asyncio.wait_for(asyncio.get_running_loop().sock_recv(other, 1 << 17), 15.0)
                    assert json.loads(reply)["result"] == "x" * 60_000
                await until(lambda: transport.counters["replies"] + transport.counters["dropped"] == 11)
                assert transport.counters["dropped"] > 0

    play(run())


def test_what_is_too_long_is_told_so(play, tmp_path, executor):
    async def perform(call, transport):
        return await executor.answer(call)

    async def run():
        async with listening(tmp_path / "mi.sock", Service(perform, max_bytes=1000)) as transport:
            with client(transport, tmp_path) as sock:
                for size in (1001, 50_000):
                    assert error_of(await ask(sock, b" " * size))["data"] == "longer than 1000 bytes"
            assert transport.counters["errors"] == 1  # the one that the kernel had to cut

    play(run())


def test_takes_over_what_a_dead_process_left_and_nothing_else(play, tmp_path, service):
    async def run():
        path = tmp_path / "mi.sock"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as dead:
            dead.bind(str(path))
        async with listening(path, service) as transport:
            with pytest.raises(CannotListen, match="another process listens"):
                await DatagramTransport(path, service).start()
            with client(transport, tmp_path) as sock:
                assert json.loads(await ask(sock, UPTIME)) == OK
        (tmp_path / "file").write_text("mine")
        with pytest.raises(CannotListen, match="is there and is no socket"):
            await DatagramTransport(tmp_path / "file", service).start()
        with pytest.raises(CannotListen, match="cannot make the socket"):
            await DatagramTransport(tmp_path / ("x" * 200), service).start()

    play(run())


@pytest.mark.parametrize(("drain_s", "answered"), [(5.0, True), (0.01, False)])
def test_closing_lets_what_runs_end(play, tmp_path, executor, drain_s, answered):
    async def run():
        release = asyncio.Event()

        async def perform(call, transport):
            await release.wait()
            return await executor.answer(call)

        async with listening(tmp_path / "mi.sock", Service(perform), drain_s=drain_s) as transport:
            with client(transport, tmp_path) as sock:
                sock.send(UPTIME)
                await until(lambda: transport.counters["requests"] == 1)
                closing = asyncio.ensure_future(transport.close())
                await until(lambda: not (tmp_path / "mi.sock").exists())
                if answered:
                    release.set()
                await closing
                if answered:
                    assert json.loads(sock.recv(1 << 16)) == OK
                else:
                    with pytest.raises((BlockingIOError, ConnectionError)):
                        sock.recv(1 << 16)

    play(run())


def test_addresses_that_cannot_be_had(play, service):
    async def run():
        async with listening(("127.0.0.1", 0), service) as transport:
            with pytest.raises(CannotListen, match="cannot listen at UDP"):
                await DatagramTransport(transport.address, service).start()
        with pytest.raises(CannotListen, match="no IP address"):
            await DatagramTransport(("nohost", 0), service).start()

    play(run())
