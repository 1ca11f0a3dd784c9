"""`layby mi`: its arguments, and each transport against a server that speaks it, keeps silent, or answers nonsense."""

import asyncio
import http.server
import json
import os
import select
import socket
import stat
import threading
import time
from pathlib import Path

import pytest

from mi_script.calls import Fault
from mi_script.execute import Answered
from mi_script.service import Service
from mi_script.transports.datagram import DatagramTransport
from mi_script.transports.fifo import FifoTransport
from mi_script.transports.http import HttpTransport
from runtime.mi_client import Refused, call, parse_arguments, target_of
from runtime.mi_wire import Datagram, Fifo, Http, MiClientError, UnixDatagram

pytestmark = pytest.mark.processes


def answer_to(request):
    """What a server says: the command's name and parameters, or an error for the command `nosuch`."""
    asked = json.loads(request)
    assert asked["jsonrpc"] == "2.0"
    if asked["method"] == "nosuch":
        said = {"error": {"code": -32601, "message": "Method not found", "data": "no such"}}
    else:
        said = {"result": {"method": asked["method"], "params": asked["params"]}}
    return json.dumps({"jsonrpc": "2.0", **said, "id": asked["id"]}).encode()


class Peer:
    """A server in a thread: `serve` is called again and again until the test is over."""

    def __init__(self, serve, close):
        self._over = threading.Event()
        self._close = close
        self._thread = threading.Thread(target=self._run, args=(serve,))
        self._thread.start()

    def _run(self, serve):
        while not self._over.is_set():
            serve()

    def stop(self):
        self._over.set()
        self._thread.join(5)
        self._close()
        assert not self._thread.is_alive()


@pytest.fixture
def peers():
    started = []
    yield started
    for peer in started:
        peer.stop()


def fifo_server(peers, folder, answer=answer_to, seen=None):
    path = folder / "commands"
    os.mkfifo(path, 0o600)
    commands = os.open(path, os.O_RDWR | os.O_NONBLOCK)

    def serve():
        if not select.select([commands], [], [], 0.02)[0]:
            return
        _, name, request = os.read(commands, 1 << 16).split(b":", 2)
        reply_path = folder / name.decode()
        if seen is not None:
            seen.append((name.decode(), stat.S_IMODE(reply_path.stat().st_mode), request))
        reply = os.open(reply_path, os.O_WRONLY | os.O_NONBLOCK)
        os.set_blocking(reply, True)
        os.write(reply, answer(request))
        os.close(reply)

    peers.append(Peer(serve, lambda: os.close(commands)))
    return Fifo(path, folder)


def udp_server(peers, answers=lambda request: [answer_to(request)]):
    listening = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    listening.bind(("127.0.0.1", 0))
    peers.append(Peer(lambda: serve_datagram(listening, answers), listening.close))
    return Datagram(*listening.getsockname())


def unix_server(peers, folder):
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    listening.bind(str(folder / "mi.sock"))
    peers.append(Peer(lambda: serve_datagram(listening, lambda request: [answer_to(request)]), listening.close))
    return UnixDatagram(folder / "mi.sock")


def serve_datagram(listening, answers):
    if select.select([listening], [], [], 0.02)[0]:
        request, source = listening.recvfrom(65_535)
        for answer in answers(request):
            listening.sendto(answer, source)


def http_server(peers, status=200, content_type="application/json", answer=answer_to):
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            assert self.path == "/mi"
            assert self.headers["Content-Type"] == "application/json"
            body = answer(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    listening = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    listening.timeout = 0.02
    peers.append(Peer(listening.handle_request, listening.server_close))
    return Http(f"http://127.0.0.1:{listening.server_port}/mi")


TRANSPORTS = {
    "fifo": fifo_server,
    "http": lambda peers, _: http_server(peers),
    "udp": lambda peers, _: udp_server(peers),
    "unix": unix_server,
}


@pytest.fixture(params=TRANSPORTS)
def target(request, peers, tmp_path):
    return TRANSPORTS[request.param](peers, tmp_path)


@pytest.mark.parametrize(
    ("arguments", "parameters"),
    [
        ([], []),
        (["local", "k", "v", "5"], ["local", "k", "v", "5"]),
        (["extensions"], ["extensions"]),
        (["sip:a@b;x=1", "1=2"], ["sip:a@b;x=1", "1=2"]),
        (["index=0", "counter=10"], {"index": "0", "counter": "10"}),
        (["a=x=y", "b="], {"a": "x=y", "b": ""}),
        (['statistics:=["rcv_requests", "shmem:"]', "n:=3"], {"statistics": ["rcv_requests", "shmem:"], "n": 3}),
        (["headers=From: a\r\nTo: b\r\n"], {"headers": "From: a\r\nTo: b\r\n"}),
    ],
)
def test_arguments_become_named_or_positional_parameters(arguments, parameters):
    assert parse_arguments(arguments) == parameters


@pytest.mark.parametrize(
    ("command", "arguments", "parameters"),
    [
        ("get_statistics", ["core:", "shmem:"], [["core:", "shmem:"]]),
        ("list_statistics", [], []),
        ("statistics:reset", ["statistics=core: tm:"], {"statistics": ["core:", "tm:"]}),
        ("get_statistics", ['statistics:=["a b"]'], {"statistics": ["a b"]}),
        ("raise_event", ["E_MY"], ["E_MY"]),
        ("raise_event", ["E_MY", "a", "b"], ["E_MY", ["a", "b"]]),
        ("dlg_push_var", ["name", "value", "1.2", "3.4"], ["name", "value", ["1.2", "3.4"]]),
        ("dlg_push_var", ["dlg_val_name=n", "DID=1.2"], {"dlg_val_name": "n", "DID": ["1.2"]}),
    ],
)
def test_parameters_that_are_arrays_take_the_rest_of_the_line(command, arguments, parameters):
    assert parse_arguments(arguments, command) == parameters


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["index=0", "10"], "not mixed: '10' has no name"),
        (["a=1", "a=2"], "'a' is given twice"),
        (["a:=[1"], "a:= is no JSON"),
        (["a:=" + "[" * 100_000], "a:= is no JSON"),
    ],
)
def test_arguments_that_are_no_call_are_refused(arguments, told):
    with pytest.raises(MiClientError) as caught:
        parse_arguments(arguments)
    assert told in caught.value.message


def test_options_name_one_server():
    nothing = {"fifo": None, "reply_dir": Path("/tmp"), "http": None, "datagram": None}
    cases = [
        ({}, Fifo(Path("/tmp/layby_fifo"), Path("/tmp"))),
        ({"fifo": Path("/run/f"), "reply_dir": Path("/run")}, Fifo(Path("/run/f"), Path("/run"))),
        ({"http": "http://h:1/mi"}, Http("http://h:1/mi")),
        ({"datagram": "127.0.0.1:8080"}, Datagram("127.0.0.1", 8080)),
        ({"datagram": "[::1]:8080"}, Datagram("::1", 8080)),
        ({"datagram": "/run/mi.sock"}, UnixDatagram(Path("/run/mi.sock"))),
        ({"datagram": "./mi.sock"}, UnixDatagram(Path("mi.sock"))),
    ]
    for options, target in cases:
        assert target_of(**{**nothing, **options}) == target
    with pytest.raises(MiClientError, match="name one server"):
        target_of(**{**nothing, "http": "http://h/mi", "datagram": "h:1"})
    for datagram in ("host", "host:", ":80", "host:0", "host:65536", "host:x"):
        with pytest.raises(MiClientError, match="neither HOST:PORT nor"):
            target_of(**{**nothing, "datagram": datagram})


def test_a_result_comes_back_over_every_transport(target):
    named = call(target, "dlg_list", ["index=0", "counter=10"], 2)
    assert named == {"method": "dlg_list", "params": {"index": "0", "counter": "10"}}
    assert call(target, "dr_reload", ["é"], 2) == {"method": "dr_reload", "params": ["é"]}


def test_the_servers_error_comes_back_over_every_transport(target):
    with pytest.raises(Refused) as caught:
        call(target, "nosuch", [], 2)
    error = caught.value
    assert (error.code, error.reason, error.data) == (-32601, "Method not found", "no such")
    assert error.message == str(error) == "-32601: Method not found (no such)"


def test_a_fifo_call_is_one_write_and_leaves_nothing_behind(peers, tmp_path):
    seen = []
    call(fifo_server(peers, tmp_path, seen=seen), "uptime", [], 2)
    [(name, mode, request)] = seen
    assert not set(name) & set("./\\")
    assert mode == 0o600
    assert not request.endswith(b"\n")
    assert json.loads(request)["method"] == "uptime"
    assert os.listdir(tmp_path) == ["commands"]


def test_a_long_answer_arrives_whole(peers, tmp_path):
    long = "x" * 300_000  # several times what a FIFO holds at once

    def answer(request):
        return json.dumps({"jsonrpc": "2.0", "result": long, "id": json.loads(request)["id"]}).encode()

    assert call(fifo_server(peers, tmp_path, answer), "ps", [], 2) == long
    assert call(http_server(peers, answer=answer), "ps", [], 2) == long


def test_a_call_too_long_for_its_transport_is_told_and_not_cut(peers, tmp_path):
    seen = []
    with pytest.raises(MiClientError, match="too long for the FIFO"):
        call(fifo_server(peers, tmp_path, seen=seen), "cache_store", ["x" * (1 << 20)], 2)
    with pytest.raises(MiClientError, match="too long for a datagram"):
        call(udp_server(peers), "cache_store", ["x" * 70_000], 2)
    assert seen == []


def test_words_for_another_call_are_passed_over(peers):
    def answers(request):
        return [b'{"jsonrpc":"2.0","result":"stale","id":"another"}', answer_to(request)]

    assert call(udp_server(peers, answers), "uptime", [], 2) == {"method": "uptime", "params": []}


def test_an_error_without_an_id_is_the_answer(peers):
    said = b'{"error":{"code":-32700,"message":"Parse error"},"id":null}'
    with pytest.raises(Refused, match=r"^-32700: Parse error$"):
        call(udp_server(peers, lambda _: [said]), "uptime", [], 2)


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (b"400 Parse_error", "the answer is no JSON: '400 Parse_error'"),
        (b"[1]", "no JSON-RPC object"),
        (b'{"jsonrpc":"2.0","id":"%s"}', "neither a result nor an error"),
        (b'{"error":{"code":"x"},"id":null}', "no code or no message"),
        (b"[" * 50_000, "the answer is no JSON"),
        (b"\xff\xfe", "the answer is no JSON"),
    ],
)
def test_an_answer_that_is_none_is_told(peers, said, told):
    def answers(request):
        return [said.replace(b"%s", json.loads(request)["id"].encode())]

    with pytest.raises(MiClientError) as caught:
        call(udp_server(peers, answers), "uptime", [], 2)
    assert told in caught.value.message


def test_http_says_what_came_instead_of_json(peers):
    target = http_server(peers, 404, "text/plain", lambda _: b"no such page")
    with pytest.raises(MiClientError, match="HTTP 404 Not Found 'no such page'"):
        call(target, "uptime", [], 2)


def test_an_absent_server_is_an_error_at_once(tmp_path):
    os.mkfifo(tmp_path / "nobody")
    (tmp_path / "plain").write_text("")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp, socket.socket() as tcp:
        udp.bind(("127.0.0.1", 0))
        tcp.bind(("127.0.0.1", 0))
        ports = udp.getsockname()[1], tcp.getsockname()[1]
    cases = [
        (Fifo(tmp_path / "nobody", tmp_path), "nobody reads this FIFO"),
        (Fifo(tmp_path / "missing", tmp_path), "no such file"),
        (Fifo(tmp_path / "plain", tmp_path), "is no FIFO"),
        (UnixDatagram(tmp_path / "missing"), "no such file"),
        (Datagram("127.0.0.1", ports[0]), "nobody listens there"),
        (Http(f"http://127.0.0.1:{ports[1]}/mi"), "nobody listens there"),
        (Http("ftp://127.0.0.1/mi"), "is no address like http"),
        (Http("http://127.0.0.1:x/mi"), "Port could not be cast"),
    ]
    started = time.monotonic()
    for target, told in cases:
        with pytest.raises(MiClientError) as caught:
            call(target, "uptime", [], 30)
        assert told in caught.value.message, target
    assert time.monotonic() - started < 3
    assert sorted(os.listdir(tmp_path)) == ["nobody", "plain"]


def test_a_reply_folder_that_is_not_there_is_told_before_anything_is_sent(peers, tmp_path):
    seen = []
    target = fifo_server(peers, tmp_path, seen=seen)
    with pytest.raises(MiClientError, match="no reply FIFO can be made"):
        call(Fifo(target.path, tmp_path / "missing"), "uptime", [], 2)
    assert seen == []


@pytest.mark.parametrize("transport", ["fifo", "http", "udp", "unix"])
def test_a_silent_server_is_given_up_at_the_deadline(tmp_path, transport):
    listening = []
    match transport:
        case "fifo":
            os.mkfifo(tmp_path / "commands")
            commands = os.open(tmp_path / "commands", os.O_RDWR)
            target = Fifo(tmp_path / "commands", tmp_path)
        case "http":
            listening.append(socket.create_server(("127.0.0.1", 0)))
            target = Http(f"http://127.0.0.1:{listening[0].getsockname()[1]}/mi")
        case "udp":
            listening.append(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            listening[0].bind(("127.0.0.1", 0))
            target = Datagram(*listening[0].getsockname())
        case "unix":
            listening.append(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
            listening[0].bind(str(tmp_path / "mi.sock"))
            target = UnixDatagram(tmp_path / "mi.sock")
    started = time.monotonic()
    with pytest.raises(MiClientError, match=r"did not answer uptime within 0\.3 s"):
        call(target, "uptime", [], 0.3)
    assert 0.25 < time.monotonic() - started < 2
    if transport == "fifo":
        os.close(commands)
        assert os.listdir(tmp_path) == ["commands"]
    for each in listening:
        each.close()


class RealTransports:
    """layby's own transports, on a loop in a thread, in front of a service that knows two commands."""

    def __init__(self, folder):
        async def perform(asked, transport):
            if asked.method == "nosuch":
                return Fault(-32601, "Method not found")
            return Answered(json.dumps({"over": transport, "params": asked.params}))

        service = Service(perform)
        self._fifo = FifoTransport(folder / "commands", f"{folder}/", service)
        self._udp = DatagramTransport(("127.0.0.1", 0), service)
        self._unix = DatagramTransport(folder / "mi.sock", service)
        self._http = HttpTransport("127.0.0.1", 0, service)
        self._all = (self._fifo, self._udp, self._unix, self._http)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        for each in self._all:
            self._await(each.start())
        self.targets = {
            "fifo": Fifo(folder / "commands", folder),
            "datagram": Datagram(*self._udp.address),
            "unix": UnixDatagram(folder / "mi.sock"),
            "http": Http("http://{}:{}/mi".format(*self._http.address)),
        }

    def _await(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(5)

    def close(self):
        for each in self._all:
            self._await(each.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()


@pytest.fixture
def real(tmp_path):
    transports = RealTransports(tmp_path)
    yield transports
    transports.close()


@pytest.mark.parametrize("name", ["fifo", "datagram", "unix", "http"])
def test_client_and_server_of_this_project_understand_each_other(real, name):
    target = real.targets[name]
    result = call(target, "dlg_list", ["index=0", "filter:=[1]"], 5)
    assert result["params"] == {"index": "0", "filter": [1]}
    assert call(target, "dr_reload", ["extensions"], 5)["params"] == ["extensions"]
    assert call(target, "uptime", [], 5)["params"] in (None, [], {})
    with pytest.raises(Refused, match="Method not found"):
        call(target, "nosuch", [], 5)
