"""The HTTP transport, asked by a client that shows every byte."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
from pathlib import Path

import pytest

from mi_script.service import Service
from mi_script.transports.credentials import tls_context
from mi_script.transports.http import Body, HttpTransport, Page, Security
from mi_script.transports.paths import CannotListen

CERTIFICATES = Path(__file__).parent / "certificates"
TOKEN = b"0123456789abcdefghij"
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
async def connection(transport, **tls):
    reader, writer = await asyncio.open_connection(*transport.address, **tls)
    try:
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


def post(body, path="/mi", content_type="application/json", method="POST", more=""):
    head = f"{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Type: {content_type}\r\n{more}"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


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
def test_statuses(play, executor, caplog, request_bytes, status):
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
    assert caplog.records == []  # whoever sends nonsense does not fill the log


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


def test_connections_that_never_shake_hands_are_bounded_and_not_waited_for(play, service):
    server = tls_context(CERTIFICATES / "server.pem", CERTIFICATES / "server.key", None)
    client = ssl.create_default_context(cafile=CERTIFICATES / "ca.pem")

    async def run():
        async with (
            listening(service, max_connections=2, request_s=1.0, security=Security(tls=server)) as transport,
            connection(transport),
            connection(transport) as (_, half),
        ):
            half.write(b"\x16\x03\x01\x02\x00\x01")  # the beginning of a handshake
            async with connection(transport) as (third, _):
                assert await asyncio.wait_for(third.read(), 0.9) == b""
            assert transport.counters["dropped"] == 1
            async with asyncio.timeout(15.0):
                while transport.counters["dropped"] < 3:
                    await asyncio.sleep(0.01)
            async with connection(transport, ssl=client) as (reader, writer):
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


async def page():
    return Body(503, "text/plain; version=1", b"how it is")


PAGES = {"public": Page(page, public=True), "private": Page(page)}


def test_pages_are_read_with_get(play, service):
    async def run():
        async with listening(service, pages=PAGES) as transport, connection(transport) as (reader, writer):
            writer.write(post(b"", path="/public", method="GET"))
            status, headers, body = await read_response(reader)
            assert (status, headers["content-type"], body) == (503, "text/plain; version=1", b"how it is")
            writer.write(post(UPTIME, path="/public") + post(UPTIME))
            assert [(await read_response(reader))[0] for _ in range(2)] == [405, 200]

    play(run())


@pytest.mark.parametrize(
    ("header", "status"),
    [
        ("", 401),
        ("Authorization: Bearer\r\n", 401),
        ("Authorization: Bearer 0123456789abcdefghi\r\n", 401),
        ("Authorization: Bearer 0123456789abcdefghijk\r\n", 401),
        ("Authorization: Basic 0123456789abcdefghij\r\n", 401),
        ("Authorization: bearer 0123456789abcdefghij\r\n", 200),
        ("Authorization: Bearer  0123456789abcdefghij\r\n", 200),
        ("Authorization: Bearer \xe4\xff\r\n", 401),
    ],
)
def test_who_asks_must_know_the_token(play, service, demo, header, status):
    async def run():
        security = Security(token=TOKEN)
        async with listening(service, pages=PAGES, security=security) as transport:
            for path in ("/mi", "/nosuch", "/private", "/public"):
                method = "POST" if path == "/mi" else "GET"
                async with connection(transport) as (reader, writer):
                    writer.write(post(UPTIME, path=path, method=method, more=header))
                    found, headers, _ = await read_response(reader)
                    expected = {"/mi": status, "/nosuch": 404, "/private": 503, "/public": 503}[path]
                    assert found == (401 if status == 401 and path != "/public" else expected)
                    assert headers.get("www-authenticate") == ('Bearer realm="layby"' if found == 401 else None)
            assert demo.ran == ["uptime"] * (status == 200)

    play(run())


def client_tls(name=None):
    context = ssl.create_default_context(cafile=CERTIFICATES / "ca.pem")
    if name is not None:
        context.load_cert_chain(CERTIFICATES / f"{name}.pem", CERTIFICATES / f"{name}.key")
    return context


def server_tls(*, client_ca):
    ca = CERTIFICATES / "ca.pem" if client_ca else None
    return tls_context(CERTIFICATES / "server.pem", CERTIFICATES / "server.key", ca)


@pytest.mark.parametrize(
    ("client_ca", "client", "let_in"),
    [
        (False, None, True),
        (False, "client", True),
        (True, "client", True),
        (True, None, False),
        (True, "stranger", False),
    ],
)
def test_tls_and_certificates_of_clients(play, service, demo, client_ca, client, let_in):
    async def run():
        async with listening(service, security=Security(tls=server_tls(client_ca=client_ca))) as transport:
            try:
                async with connection(transport, ssl=client_tls(client)) as (reader, writer):
                    writer.write(post(UPTIME) * 2)
                    for _ in range(2):
                        assert json.loads((await read_response(reader))[2]) == OK
            except (OSError, asyncio.IncompleteReadError):  # with TLS 1.3 the client learns it when it reads
                assert not let_in
            assert demo.ran == ["uptime"] * (2 * let_in)

    play(run())


def test_a_head_that_never_ends_is_not_waited_for(play, service):
    async def run():
        async with (
            listening(service, max_connections=3, request_s=0.2) as transport,
            contextlib.AsyncExitStack() as opened,
        ):
            slow = [await opened.enter_async_context(connection(transport)) for _ in range(3)]
            slow[0][1].write(post(UPTIME))  # this one asks, and may lie idle then
            assert json.loads((await read_response(slow[0][0]))[2]) == OK
            slow[1][1].write(b"POST /mi HTTP/1.1\r\nHost")
            for reader, _ in slow[1:]:
                with contextlib.suppress(ConnectionError):
                    assert await asyncio.wait_for(reader.read(), 15.0) == b""
            assert transport.counters["dropped"] == 2
            slow[0][1].write(post(UPTIME))
            assert json.loads((await read_response(slow[0][0]))[2]) == OK

    play(run())


def test_a_body_that_never_ends_is_not_waited_for(play, service):
    async def run():
        async with listening(service, request_s=0.2) as transport, connection(transport) as (reader, writer):
            writer.write(post(UPTIME)[:-1])
            assert (await read_response(reader))[0] == 408

    play(run())


def test_a_client_that_does_not_read_is_not_waited_for(play, service):
    async def answered(transport):
        async with connection(transport) as (reader, writer):
            writer.write(post(UPTIME))
            with contextlib.suppress(ConnectionError):
                return await asyncio.wait_for(reader.read(12), 15.0) == b"HTTP/1.1 200"

    async def run():
        big = b'{"jsonrpc":"2.0","method":"big","params":[8000000],"id":1}'
        async with (
            listening(service, reply_s=0.5, max_connections=1) as transport,
            connection(transport) as (_, writer),
        ):
            writer.write(post(big))
            writer.transport.pause_reading()
            assert not await answered(transport)  # there is room for one
            async with asyncio.timeout(15.0):
                while not await answered(transport):
                    await asyncio.sleep(0.05)

    play(run())
