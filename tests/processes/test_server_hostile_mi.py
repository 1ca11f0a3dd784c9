"""What an MI server does with requests that no honest client sends, over each of its transports.

Each is answered, or met with silence, as JSON-RPC says; no process is lost, and none grows. `HOSTILE_REQUESTS=100000`
sends as many by each transport.
"""

from __future__ import annotations

import contextlib
import os
import random
import select
import socket
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Final

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from mi_script.transports.framing import Command, Framing, Spoilt
from tests.harness import LIMIT_S, Server, free_port, wait_until
from tests.hostile_requests import MAX_BODY, Shape, differences, pieces, shapes_in, shapes_of, text
from tests.processes.routing_tables import RoutingTables, sqlite_url

pytestmark = pytest.mark.processes

REQUESTS: Final = int(os.environ.get("HOSTILE_REQUESTS", "10000"))
"""By each transport."""
AT_ONCE: Final = 50
GROWTH_BYTES: Final = 48 << 20
HALF_OPEN: Final = 60
HEAD = """
loadmodule "dialog.so"
modparam("dialog", "profiles_with_value", "caller")
loadmodule "usrloc.so"
loadmodule "drouting.so"
modparam("drouting", "db_url", "sqlite:{folder}/routes.db")
loadmodule "dispatcher.so"
modparam("dispatcher", "db_url", "sqlite:{folder}/routes.db")
loadmodule "mi_fifo.so"
loadmodule "mi_datagram.so"
modparam("mi_fifo", "fifo_name", "{folder}/fifo")
modparam("mi_fifo", "reply_dir", "{folder}")
modparam("mi_datagram", "socket_name", "udp:127.0.0.1:{udp_port}")
modparam("mi_datagram", "socket_name", "{folder}/mi.sock")
modparam("mi_http", "max_body", {max_body})
modparam("mi_fifo|mi_datagram|mi_http", "deny", "kill")
"""

many = settings(
    max_examples=max(1, REQUESTS // AT_ONCE),
    phases=[Phase.generate],
    database=None,
    suppress_health_check=list(HealthCheck),
)
"""A number is all that is drawn: what is asked is made of it, for drawing it would take longer than asking."""


class Hostile:
    """A server, and a hostile client of each kind."""

    def __init__(self, server: Server, folder: Path, udp_port: int) -> None:
        self.server = server
        self.folder = folder
        self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.udp.connect(("127.0.0.1", udp_port))
        self.unix = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.unix.bind(str(folder / "client.sock"))
        self.unix.connect(str(folder / "mi.sock"))
        self.fifo = os.open(folder / "fifo", os.O_WRONLY)
        self.replies = [_reply_fifo(folder / f"r{number}") for number in range(AT_ONCE)]
        self.pids, self.mi_pid = server.all_pids(), server.pids("MI")[-1]
        self.resident_bytes = _resident_bytes(self.mi_pid)
        self.slow = [socket.create_connection(("127.0.0.1", server.http_port), timeout=20.0) for _ in range(HALF_OPEN)]
        for number, one in enumerate(self.slow):
            one.sendall(_post(b"{}")[:number])

    def datagrams(self, client: socket.socket, requests: list[bytes]) -> None:
        for some in _windows(requests):
            wanted = [shape for one in some for shape in shapes_of(one, strays=False) or ()]
            for one in some:
                client.send(one)
            _compare(some, wanted, partial(_received, client))

    def fifo_lines(self, requests: list[bytes], draw: random.Random) -> None:
        # The zero bytes end whatever was left open, within a string and without.
        stream = b"".join(b":r%d:%s\n" % (number, one) for number, one in enumerate(requests)) + b"\0\0"
        wanted: dict[str, list[Shape]] = defaultdict(list)
        for frame in Framing().feed(stream, 0.0):
            match frame:
                case Command(reply, request):
                    wanted[reply] += shapes_of(request) or ()
                case Spoilt(reply, _):
                    wanted[reply].append(Shape("null", -32700))
        for piece in pieces(stream, draw):
            os.write(self.fifo, piece)
        for number, descriptor in enumerate(self.replies):
            _compare([stream], wanted[f"r{number}"], partial(_lines, descriptor))

    def posts(self, requests: list[bytes], draw: random.Random) -> None:
        with Http(self.server.http_port) as connection:
            connection.ask([one for one in requests if 0 < len(one) <= MAX_BODY], draw)
        for one in requests:
            if not one or len(one) > MAX_BODY:
                with Http(self.server.http_port) as connection:
                    assert connection.answer(one)[0] == (413 if one else 400)
        with Http(self.server.http_port) as connection:
            assert connection.nonsense(requests[0] + b"\r\n\r\n") in (400, None)

    def close(self) -> None:
        for one in (self.udp, self.unix, *self.slow):
            one.close()
        for descriptor in (self.fifo, *self.replies):
            os.close(descriptor)


class Http:
    """A connection on which requests follow each other without waiting."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=LIMIT_S)
        self.file = self.socket.makefile("rb")

    def __enter__(self) -> Http:
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()
        self.socket.close()

    def ask(self, requests: list[bytes], draw: random.Random) -> None:
        for piece in pieces(b"".join(map(_post, requests)), draw):
            self.socket.sendall(piece)
        for one in requests:
            status, body = self._response()
            wanted = shapes_of(one)
            if wanted is None:
                assert (status, body) == (204, b""), one
            else:
                assert status == 200, one
                assert shapes_in(body) == wanted, (one, body)

    def answer(self, body: bytes) -> tuple[int, bytes]:
        """Status and body of one answer."""
        self.socket.sendall(_post(body))
        return self._response()

    def nonsense(self, data: bytes) -> int | None:
        """The status of what is no HTTP; None where the connection is closed instead."""
        with contextlib.suppress(ConnectionError):
            self.socket.sendall(data)
            self.socket.shutdown(socket.SHUT_WR)
            line = self.file.readline()
            return int(line.split()[1]) if line else None
        return None

    def _response(self) -> tuple[int, bytes]:
        status = int(self.file.readline().split()[1])
        length = 0
        while line := self.file.readline().strip():
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        return status, self.file.read(length)


def _post(body: bytes) -> bytes:
    head = f"POST /mi HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def _windows(requests: list[bytes]) -> Iterator[list[bytes]]:
    """As many at once as a socket's buffer takes for certain."""
    some: list[bytes] = []
    for one in requests:
        some.append(one)
        if len(some) == 20 or sum(map(len, some)) > 20_000:
            yield some
            some = []
    yield some


def _compare(asked: list[bytes], wanted: list[Shape], receive: Callable[[], list[bytes]]) -> None:
    """See that what is wanted comes in time, and nothing else with it."""
    seen: list[Shape] = []
    ends = time.monotonic() + LIMIT_S
    while len(seen) < len(wanted) and time.monotonic() < ends:
        for answer in receive():
            seen += shapes_in(answer)
    assert not (told := differences(wanted, seen)), (told, asked)


def _received(client: socket.socket) -> list[bytes]:
    readable, _, _ = select.select([client], [], [], 0.05)
    return [client.recv(1 << 17)] if readable else []


def _reply_fifo(path: Path) -> int:
    os.mkfifo(path, 0o600)
    return os.open(path, os.O_RDWR | os.O_NONBLOCK)


def _lines(descriptor: int) -> list[bytes]:
    data = bytearray()
    while not data.endswith(b"\n"):
        if not select.select([descriptor], [], [], LIMIT_S if data else 0.05)[0]:
            break
        data += os.read(descriptor, 1 << 16)
    return bytes(data).splitlines()


def _resident_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.fixture(scope="module")
def hostile(start_shared, tmp_path_factory) -> Iterator[Hostile]:
    folder, udp_port = tmp_path_factory.mktemp("h"), free_port()
    tables = RoutingTables(sqlite_url(folder / "routes.db"))
    tables.gateway("gw1", 9)
    tables.rule("1", "gw1")
    tables.carrier("c1", "gw1")
    tables.close()
    head = HEAD.format(folder=folder, udp_port=udp_port, max_body=MAX_BODY)
    server = start_shared("route { exit; }", head=head, options=("--udp-workers", "1", "--mi-workers", "1"))
    wait_until((folder / "mi.sock").exists)
    made = Hostile(server, folder, udp_port)
    yield made
    made.close()


@many
@given(st.integers(0, 2**63))
def test_udp(hostile: Hostile, seed: int) -> None:
    draw = random.Random(seed)
    hostile.datagrams(hostile.udp, [text(draw) for _ in range(AT_ONCE)])


@many
@given(st.integers(0, 2**63))
def test_unix_datagrams(hostile: Hostile, seed: int) -> None:
    draw = random.Random(seed)
    hostile.datagrams(hostile.unix, [text(draw) for _ in range(AT_ONCE)])


@many
@given(st.integers(0, 2**63))
def test_fifo(hostile: Hostile, seed: int) -> None:
    draw = random.Random(seed)
    hostile.fifo_lines([text(draw) for _ in range(AT_ONCE)], draw)


@many
@given(st.integers(0, 2**63))
def test_http(hostile: Hostile, seed: int) -> None:
    draw = random.Random(seed)
    hostile.posts([text(draw) for _ in range(AT_ONCE)], draw)


def ask(hostile: Hostile, transport: str, request: bytes) -> list[bytes]:
    """What comes back before the answer to another request behind it."""
    match transport:
        case "http":
            with Http(hostile.server.http_port) as connection:
                status, body = connection.answer(request)
            assert status == (200 if body else 204)
            return [body] if body else []
        case "fifo":
            os.write(hostile.fifo, b"".join(b":r0:" + one for one in (request, END)))
            receive = partial(_lines, hostile.replies[0])
        case _:
            client = hostile.udp if transport == "udp" else hostile.unix
            for one in (request, END):
                client.send(one)
            receive = partial(_received, client)
    found: list[bytes] = []
    ends = time.monotonic() + LIMIT_S
    while END_ANSWER not in found and time.monotonic() < ends:
        found += receive()
    assert END_ANSWER in found, found
    return [one for one in found if one != END_ANSWER]


END = b'{"jsonrpc":"2.0","method":"cache_store","params":["local","k","v"],"id":"end"}'
END_ANSWER = b'{"jsonrpc":"2.0","result":"OK","id":"end"}'
OK = '{"jsonrpc":"2.0","result":"OK","id":%s}'
ERROR = '{"jsonrpc":"2.0","error":{"code":%d,"message":"%s"},"id":%s}'
DETAILED = '{"jsonrpc":"2.0","error":{"code":%d,"message":"%s","data":"%s"},"id":%s}'
STORE = '{"jsonrpc":"2.0","method":"cache_store","params":["local","k","v"]%s}'
LEVEL = '{"jsonrpc":"2.0","method":"xlog_level",%s"id":1}'
LEVEL_IS = '{"jsonrpc":"2.0","result":{"xLog Level":3},"id":1}'
INVALID = ERROR % (-32600, "Invalid Request", "%s")
COUNT = DETAILED % (-32602, "Invalid params", "Too few or too many parameters", "1")
NAMES = DETAILED % (-32602, "Invalid params", "Named parameters do not match", "1")
NAMED = DETAILED % (-32602, "Invalid params", "Command only supports named parameters", "1")
TYPE = DETAILED % (-32602, "Invalid params", "Bad type for parameter 'attr'", "1")
TABLE = [
    # A well-formed request: the same id, this order of keys, no spaces.
    (STORE % ',"id":7', OK % "7"),
    (STORE % ',"id":"a"', OK % '"a"'),
    (STORE % ',"id":null', OK % "null"),
    (STORE % ',"id":1.5', OK % "1.5"),
    (STORE % "", None),
    (LEVEL % "", LEVEL_IS),
    (LEVEL % '"params":{},', LEVEL_IS),
    (LEVEL % '"params":[],', LEVEL_IS),
    # What is no request.
    ('{"method":"pwd","id":1}', INVALID % "1"),
    ('{"jsonrpc":"1.0","method":"pwd","id":1}', INVALID % "1"),
    ('{"jsonrpc":"2.0","method":5,"id":1}', INVALID % "1"),
    (LEVEL % '"params":3,', INVALID % "1"),
    ('{"jsonrpc":"2.0","method":"pwd","id":{}}', INVALID % "null"),
    ('{"method":"pwd"}', INVALID % "null"),
    ("[]", INVALID % "null"),
    # A batch: JSON-RPC's, where OpenSIPS refuses it.
    ("[" + ",".join(STORE % id for id in (',"id":1', "", ',"id":2')) + "]", f"[{OK % 1},{OK % 2}]"),
    ("[" + STORE % "" + "]", None),
    # Requests that cannot be run.
    ('{"jsonrpc":"2.0","method":"nosuch","id":1}', ERROR % (-32601, "Method not found", "1")),
    ('{"jsonrpc":"2.0","method":"nosuch"}', None),
    (LEVEL % '"params":[1,2,3],', COUNT),
    (LEVEL % '"params":{"nosuch":1},', NAMES),
    ('{"jsonrpc":"2.0","method":"t_uac_dlg","params":["a","b","c"],"id":1}', NAMED),
    ('{"jsonrpc":"2.0","method":"cache_fetch","params":["local",{}],"id":1}', TYPE),
    ('{"jsonrpc":"2.0","method":"cache_fetch","params":["local",[]],"id":1}', TYPE),
    ('{"jsonrpc":"2.0","method":"cache_store","params":["local","k","v","10"],"id":1}', OK % "1"),
    ('{"jsonrpc":"2.0","method":"cache_fetch","params":["local",0],"id":1}', ERROR % (400, "Value not found", "1")),
]
"""What a request is answered with, byte for byte; None where there is no answer."""


@pytest.mark.parametrize("transport", ["udp", "unix", "fifo", "http"])
def test_answers_to_the_letter(hostile: Hostile, transport: str) -> None:
    for request, answer in TABLE:
        assert ask(hostile, transport, request.encode()) == ([] if answer is None else [answer.encode()]), request


@pytest.mark.parametrize("transport", ["udp", "unix", "http"])
def test_what_is_no_json_and_what_follows_a_request(hostile: Hostile, transport: str) -> None:
    assert ask(hostile, transport, b"{oops") == [(ERROR % (-32700, "Parse error", "null")).encode()]
    assert ask(hostile, transport, (STORE % ',"id":7' + "} and more").encode()) == [(OK % "7").encode()]


def test_no_process_is_lost_and_none_has_grown(hostile: Hostile) -> None:
    assert hostile.server.all_pids() == hostile.pids
    assert _resident_bytes(hostile.mi_pid) < hostile.resident_bytes + GROWTH_BYTES
    assert "Traceback" not in hostile.server.log()
    for one in hostile.slow:  # heads of requests that never came to their end
        with contextlib.suppress(ConnectionError):
            assert one.recv(1000) == b""
