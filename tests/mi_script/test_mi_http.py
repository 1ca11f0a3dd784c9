"""The HTTP transport, asked by a client that shows every byte."""

from __future__ import annotations

import asyncio
import contextlib
import json

import pytest

from mi_script.service import Service
from mi_script.transports.http import HttpTransport
from mi_script.transports.paths import CannotListen

UPTIME = b'{"jsonrpc":"2.0","method":"uptime","id":"7"}'
OK = {"jsonrpc": "2.0", "result": {"Now": "Sun Nov 22 21:10:30 2026", "Up time": "3 [sec]"}, "id": "7"}


@contextlib.asynccontextmanager
async def listening(service, **kwargs):
    transport = HttpTransport("127.0.0.1", 0, service, **kwargs)
    await transport.start()
    try:
        yield transport
    finally:
        await transport.close()


@contextlib.asynccontextmanager
async def connection(transport):
    reader, writer = await asyncio.open_connection(*transport.address)
    try:
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


def post(body, path="/mi", content_type="application/json", method="POST"):
    head = f"{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


async def read_response(reader):
    """Status, headers and body of one response; the connection stays open for the next."""
    head = (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 15.0)).decode().split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
    body = await asyncio.wait_for(reader.readexactly(int(headers.get("content-length", "0"))), 15.0)
    return int(head[0].split()[1]), headers, body


def test_back_to_back_over_one_connection(play, service):
    async def run():
        async with listening(service) as transport, connection(transport) as (reader, writer):
            for _ in range(3):
                writer.write(post(UPTIME))
                status, headers, body = await read_response(reader)
                assert (status, headers["content-type"], json.loads(body)) == (200, "application/json", OK)
            # Without waiting for the first answer.
            writer.write(post(UPTIME) * 5)
            for _ in range(5):
                assert json.loads((await read_response(reader))[2]) == OK
            assert transport.counters == {"requests": 8, "replies": 8, "dropped": 0, "errors": 0}

    play(run())


def test_notifications_get_an_empty_answer_at_once(play, service, demo):
    async def run():
        async with listening(service) as transport, connection(transport) as (reader, writer):
            notification = b'{"jsonrpc":"2.0","method":"uptime"}'
            for body in (notification, b"[" + notification + b"]"):
                writer.write(post(body))
                status, headers, _ = await read_response(reader)
                assert (status, headers.get("content-length")) == (204, None)
            writer.write(post(UPTIME))  # no body of the former stands in the way
            assert json.loads((await read_response(reader))[2]) == OK
            assert demo.ran == ["uptime"] * 3

    play(run())


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (post(UPTIME), 200),
        (post(UPTIME, content_type="application/json; charset=utf-8"), 200),
        (post(UPTIME, path="/mi?x=1"), 200),
        (post(UPTIME, content_type="text/plain"), 415),
        (post(UPTIME, content_type="application/x-www-form-urlencoded"), 415),
        (post(b""), 400),
        (post(UPTIME, path="/"), 404),
        (post(UPTIME, path="/mi/uptime"), 404),
        (post(UPTIME, path="/../mi"), 404),
        (post(b"", method="GET"), 405),
        (post(UPTIME, method="PUT"), 405),
        (post(b" " * 2001), 413),
        (
            b"POST /mi HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"7d1\r\n" + b" " * 2001 + b"\r\n0\r\n\r\n",
            413,
        ),
        (b"nonsense\r\n\r\n", 400),
    ],
)
def test_statuses(play, executor, request_bytes, status):
    async def perform(call, transport):
        return await executor.answer(call)

    async def run():
        async with listening(Service(perform, max_bytes=2000)) as transport:
            async with connection(transport) as (reader, writer):
                writer.write(request_bytes)
                assert (await read_response(reader))[0] == status
            async with connection(transport) as (reader, writer):
                writer.write(post(UPTIME))
                assert json.loads((await read_response(reader))[2]) == OK

    play(run())


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"{", -32700),
        (b"\xff", -32700),
        (b"[]", -32600),
        (b'{"id":{}}', -32600),
        (b'{"jsonrpc":"2.0","result":1}', -32600),
    ],
)
def test_json_rpc_errors_are_http_successes(play, service, body, code):
    async def run():
        async with listening(service) as transport, connection(transport) as (reader, writer):
            writer.write(post(body))
            status, _, reply = await read_response(reader)
            assert (status, json.loads(reply)["error"]["code"], json.loads(reply)["id"]) == (200, code, None)

    play(run())


def test_another_root(play, service):
    async def run():
        async with listening(service, root="/json/") as transport, connection(transport) as (reader, writer):
            writer.write(post(UPTIME, path="/json") + post(UPTIME))
            assert [(await read_response(reader))[0] for _ in range(2)] == [200, 404]

    play(run())


def test_a_slow_command_holds_no_other_connection(play, executor):
    async def run():
        release = asyncio.Event()

        async def perform(call, transport):
            if call.method == "slow":
                await release.wait()
            return await executor.answer(call)

        async with listening(Service(perform)) as transport, connection(transport) as (slow, slow_writer):
            slow_writer.write(post(UPTIME.replace(b"uptime", b"slow")))
            async with connection(transport) as (reader, writer):
                writer.write(post(UPTIME))
                assert json.loads((await read_response(reader))[2]) == OK
            release.set()
            assert json.loads((await read_response(slow))[2])["error"]["code"] == -32601

    play(run())


def test_connections_are_bounded_and_probes_do_no_harm(play, service):
    async def run():
        async with listening(service, max_connections=2) as transport:
            async with connection(transport):  # opens and closes, as clients do that look whether we are there
                pass
            async with connection(transport) as (reader, writer), connection(transport) as (second, second_writer):
                for one, its_writer in ((reader, writer), (second, second_writer)):
                    its_writer.write(post(UPTIME))
                    assert json.loads((await read_response(one))[2]) == OK
                async with connection(transport) as (third, _):
                    assert await asyncio.wait_for(third.read(), 15.0) == b""
            assert transport.counters["dropped"] == 1
            async with connection(transport) as (reader, writer):
                writer.write(post(UPTIME))
                assert json.loads((await read_response(reader))[2]) == OK

    play(run())


@pytest.mark.parametrize(("drain_s", "answered"), [(5.0, True), (0.05, False)])
def test_closing_lets_what_runs_end(play, executor, drain_s, answered):
    async def run():
        begun, release = asyncio.Event(), asyncio.Event()

        async def perform(call, transport):
            begun.set()
            await release.wait()
            return await executor.answer(call)

        async with listening(Service(perform), drain_s=drain_s) as transport, connection(transport) as (reader, writer):
            writer.write(post(UPTIME))
            await begun.wait()
            closing = asyncio.ensure_future(transport.close())
            await asyncio.sleep(0)
            with pytest.raises(ConnectionError):
                await asyncio.open_connection(*transport.address)
            if answered:
                release.set()
                assert json.loads((await read_response(reader))[2]) == OK
            else:
                assert await asyncio.wait_for(reader.read(), 15.0) == b""
            await closing

    play(run())


def test_closing_frees_the_port_and_an_address_in_use_says_so(play, service):
    async def run():
        async with listening(service) as transport:
            with pytest.raises(CannotListen, match="cannot listen at TCP"):
                await HttpTransport(*transport.address, service).start()
        again = HttpTransport(*transport.address, service)
        await again.start()
        await again.close()

    play(run())
