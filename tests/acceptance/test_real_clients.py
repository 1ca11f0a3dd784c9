"""opensips-cli and opensips-mi, the programs that people use, against a running server over every transport.

Every command of a server that has all modules is called by the library that both programs are made of; the programs
themselves are run for what they add to it.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from opensips.mi import OpenSIPSMI, OpenSIPSMIException
from opensipscli import comm
from opensipscli.modules.mi import mi as cli_mi

from mi_script.commands import Command
from runtime.modules.catalog import CATALOG
from runtime.reference import gather
from tests.acceptance.mi_examples import EXAMPLES, FROM_TO, End
from tests.harness import HEAD, ROOT, Server, free_port

pytestmark = pytest.mark.processes

BIN = Path(sys.executable).parent
TRANSPORTS = ["fifo", "http", "udp", "unix"]
LATE = ("acc", "registrar", "path")
"""Modules that others must stand before."""
SETTINGS = {
    "mi_fifo": """modparam("mi_fifo", "fifo_name", "{folder}/fifo")
modparam("mi_fifo", "reply_dir", "{folder}/")
""",
    "mi_datagram": 'modparam("mi_datagram", "socket_name", "{datagram}")\n',
    "dialog": 'modparam("dialog", "profiles_with_value", "caller")\n',
    "tm": 'modparam("tm", "fr_timeout", 2)\n',
    "dispatcher": 'modparam("dispatcher", "db_url", "sqlite:///{folder}/dispatcher.db")\n',
    "drouting": 'modparam("drouting", "db_url", "sqlite:///{folder}/routes.db")\n',
}
"""What modules need to be told, or are told so that their commands have something to do."""
ROUTES = """
route { sl_send_reply(200, "OK"); }
event_route[E_EXAMPLE] { $var(x) = $param(1); }
"""


def everything(datagram: str, folder: Path) -> str:
    """The head of a script that loads every module that there is."""
    names = sorted((name for name in CATALOG if f'"{name}.so"' not in HEAD), key=lambda name: (name in LATE, name))
    loaded = "".join(f'loadmodule "{name}.so"\n' for name in names)
    settings = "".join(text for name, text in SETTINGS.items() if name in CATALOG)
    return loaded + settings.format(folder=folder, datagram=datagram)


@dataclass
class Clients:
    """A server, and how the clients are told where it is.

    Args:
        server: it has all modules.
        folder: where its FIFO, its replies and its Unix socket are.
        port: of its datagrams; 0 where it has the Unix socket.
    """

    server: Server
    folder: Path
    port: int

    def library(self, transport: str) -> OpenSIPSMI:
        """What both clients call a server through."""
        match transport:
            case "fifo":
                return OpenSIPSMI("fifo", **self.fifo)
            case "http":
                return OpenSIPSMI("http", url=self.url)
            case "udp":
                return OpenSIPSMI("datagram", datagram_ip="127.0.0.1", datagram_port=self.port, datagram_timeout=10)
            case _:
                socket = str(self.folder / "mi.sock")
                return OpenSIPSMI("datagram", datagram_unix_socket=socket, datagram_timeout=10)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.http_port}/mi"

    @property
    def fifo(self) -> dict[str, str]:
        fifo = str(self.folder / "fifo")
        return {"fifo_file": fifo, "fifo_file_fallback": fifo, "fifo_reply_dir": str(self.folder)}

    def cli(self, transport: str, *words: str, output: str = "") -> subprocess.CompletedProcess[str]:
        """Run opensips-cli."""
        options = {
            "fifo": {"communication_type": "fifo", **self.fifo},
            "http": {"communication_type": "http", "url": self.url},
            "udp": {
                "communication_type": "datagram",
                "datagram_ip": "127.0.0.1",
                "datagram_port": self.port,
                "datagram_timeout": 10,
            },
            "unix": {
                "communication_type": "datagram",
                "datagram_unix_socket": self.folder / "mi.sock",
                "datagram_timeout": 10,
            },
        }[transport]
        options |= {"output_type": output} if output else {}
        told = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
        return self._run([str(BIN / "opensips-cli"), *told, "-x", *words])

    def mi(self, transport: str, *words: str) -> subprocess.CompletedProcess[str]:
        """Run opensips-mi."""
        told = {
            "fifo": ["-t", "fifo", "-f", self.fifo["fifo_file"], "-fd", str(self.folder)],
            "http": ["-t", "http", "-i", "127.0.0.1", "-p", str(self.server.http_port)],
            "udp": ["-t", "datagram", "-i", "127.0.0.1", "-p", str(self.port), "-dt", "10"],
            "unix": ["-t", "datagram", "-ds", str(self.folder / "mi.sock"), "-dt", "10"],
        }[transport]
        return self._run([str(BIN / "opensips-mi"), *told, *words])

    def ours(self, transport: str, *words: str) -> subprocess.CompletedProcess[str]:
        """Run `layby mi`."""
        told = {
            "fifo": ["--fifo", self.fifo["fifo_file"], "--reply-dir", str(self.folder)],
            "http": ["--http", self.url],
            "udp": ["--datagram", f"127.0.0.1:{self.port}"],
            "unix": ["--datagram", str(self.folder / "mi.sock")],
        }[transport]
        return self._run([sys.executable, "-m", "runtime", "mi", *told, *words])

    def _run(self, command: list[str]) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "HOME": str(self.folder)}
        return subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=30, cwd=ROOT, stdin=subprocess.DEVNULL
        )


@pytest.fixture(scope="module")
def clients(start_shared: Callable[..., Server], tmp_path_factory: pytest.TempPathFactory) -> Clients:
    """A server with a FIFO, HTTP and UDP."""
    folder, port = tmp_path_factory.mktemp("mi"), free_port()
    head = everything(f"udp:127.0.0.1:{port}", folder)
    return Clients(start_shared(ROUTES, head=head, options=("--udp-workers", "2", "--mi-workers", "2")), folder, port)


@pytest.fixture(scope="module")
def unix_clients(start_shared: Callable[..., Server], tmp_path_factory: pytest.TempPathFactory) -> Clients:
    """One with a Unix socket instead of UDP; the last test ends it."""
    folder = tmp_path_factory.mktemp("mi")
    head = everything(f"{folder}/mi.sock", folder)
    return Clients(start_shared(ROUTES, head=head, options=("--udp-workers", "1", "--mi-workers", "1")), folder, 0)


@pytest.fixture
def at(request: pytest.FixtureRequest) -> Callable[[str], Clients]:
    """Gives the clients of the server that has a transport."""
    return lambda transport: request.getfixturevalue("unix_clients" if transport == "unix" else "clients")


# Every command.


def ended(mi: OpenSIPSMI, method: str, params: Any) -> Any:
    """The result of a call, or the code of its error."""
    try:
        return mi.execute(method, params)
    except OpenSIPSMIException as error:
        return getattr(error.__cause__, "code", str(error))


def is_end(found: Any, end: End) -> bool:
    """Whether a call has ended as its example says."""
    if isinstance(end, set):
        return isinstance(found, dict) and end <= set(found)
    return isinstance(found, end) if isinstance(end, type) else found == end


def examples(server: Server) -> Iterator[tuple[str, Any, End]]:
    """In the order of the table."""
    for method, calls in EXAMPLES.items():
        for params, end in calls:
            yield method, json.loads(json.dumps(params).replace("SIP_PORT", str(server.sip_port))), end


def commands() -> list[Command]:
    """All that any module declares."""
    return [command for module in gather() for command in module.commands]


def test_every_command_has_an_example(clients: Clients) -> None:
    assert {command.name for command in commands()} == set(EXAMPLES), "see mi_examples.py"
    assert set(clients.library("http").execute("which")) == {name for command in commands() for name in command.names}


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_every_command_ends_as_it_should_over_every_transport(at: Callable[[str], Clients], transport: str) -> None:
    found = at(transport)
    mi = found.library(transport)
    assert mi.valid()[0]
    odd = [
        (method, params, end, told)
        for method, params, end in examples(found.server)
        if not is_end(told := ended(mi, method, params), end)
    ]
    assert not odd
    assert "Traceback" not in found.server.log()


def test_the_names_of_opensips_4_are_the_same_commands(clients: Clients) -> None:
    mi = clients.library("http")
    calls = list(examples(clients.server))
    for command in commands():
        for alias in command.aliases:
            ends = [(params, end) for method, params, end in calls if method == command.name]
            assert all(is_end(ended(mi, alias, params), end) for params, end in ends), alias


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_clients_side_by_side_get_their_own_answers(at: Callable[[str], Clients], transport: str) -> None:
    found = at(transport)

    def ask(number: int) -> bool:
        mi = found.library(transport)
        mi.execute("cache_store", ["local", f"k{number}", f"v{number}"])
        return bool(mi.execute("cache_fetch", ["local", f"k{number}"]) == {"key": f"k{number}", "value": f"v{number}"})

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(ask, range(40)))


# The programs.

CLI: list[tuple[str, list[str], int, Any]] = [
    ("http", ["mi", "get_statistics", "rcv_requests", "shmem:"], 0, {"core:rcv_requests", "shmem:used_size"}),
    ("udp", ["mi", "get_statistics", "statistics=rcv_requests rcv_replies"], 0, {"core:rcv_requests"}),
    ("fifo", ["mi", "dlg_list", "index=0", "counter=10"], 0, {"count", "Dialogs"}),
    ("unix", ["mi", "dialog:list"], 0, {"Dialogs"}),
    ("http", ["mi", "raise_event", "E_EXAMPLE", "one", "two"], 0, "OK"),
    ("http", ["mi", "dlg_push_var", "name", "value", "1.2", "3.4"], 255, "404: "),
    ("http", ["--", "mi", "-j", "cache_store", '"local"', '"k"', '"v ä"', "60"], 0, "OK"),
    ("udp", ["mi", "t_uac_dlg", "method=OPTIONS", "ruri=sip:x@127.0.0.1:SIP_PORT", "headers=FROM_TO"], 0, {"Status"}),
    ("fifo", ["mi", "uptime", "x"], 255, "-32602: Invalid params (Too few or too many parameters)"),
    ("http", ["mi", "nosuch"], 255, "no command 'nosuch' in module 'mi'"),
]


@pytest.mark.parametrize(("transport", "words", "code", "end"), CLI, ids=[" ".join(row[1][:3]) for row in CLI])
def test_opensips_cli(at: Callable[[str], Clients], transport: str, words: list[str], code: int, end: Any) -> None:
    clients = at(transport)
    port = str(clients.server.sip_port)
    # From a shell line ends come as they are written there.
    told = FROM_TO.replace("\r\n", "\\r\\n")
    done = clients.cli(transport, *(word.replace("SIP_PORT", port).replace("FROM_TO", told) for word in words))
    assert done.returncode == code, done
    if code:
        assert end in done.stdout + done.stderr
    else:
        assert is_end(json.loads(done.stdout), end), done


def test_the_output_types_of_opensips_cli(clients: Clients) -> None:
    assert clients.server.mi("cache_store", ["local", "typed", "v"]) == "OK"

    def told(output: str) -> str:
        return clients.cli("http", "mi", "cache_fetch", "local", "typed", output=output).stdout

    assert told("lines").splitlines() == ["key: typed", "value: v"]
    assert [line.strip() for line in told("yaml").splitlines()][-2:] == ["- - value", "- v"]
    assert told("none") == ""


DIAGNOSES = [
    # Which issues there are is a matter of how busy the machine is.
    ("load", r"load percentages represent"),
    ("memory", r"Process +\d+: +\d+% usage, +\d+% peak usage \(SIP receiver udp:"),
    ("sip", r"\d+ / \d+ SIP messages \(\d+%\) exceeded threshold"),
    ("dns", r"\d+ / \d+ queries \(\d+%\) exceeded threshold"),
    ("sql", r"\d+ / \d+ queries \(\d+%\) exceeded threshold"),
    ("nosql", r"\d+ / \d+ queries \(\d+%\) exceeded threshold"),
    ("", r"NoSQL"),
]


def test_statements_are_counted_for_a_diagnosis(clients: Clients) -> None:
    before = clients.server.statistic("sql:sql_total_queries")
    assert clients.server.mi("ds_reload") == "OK"
    assert clients.server.statistic("sql:sql_total_queries") > before > 0


@pytest.mark.parametrize(("what", "said"), DIAGNOSES, ids=[what or "all" for what, _ in DIAGNOSES])
def test_what_opensips_cli_diagnoses(clients: Clients, what: str, said: str) -> None:
    # It goes on until it is interrupted.
    port = free_port(socket.SOCK_STREAM)
    options = ["-o", "communication_type=http", "-o", f"url={clients.url}", "-o", f"diagnose_listen_port={port}"]
    environment = {**os.environ, "HOME": str(clients.folder), "TERM": "dumb", "PYTHONUNBUFFERED": "1"}
    command = [str(BIN / "opensips-cli"), *options, "-x", "diagnose", *filter(None, [what])]
    with subprocess.Popen(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        # A shell has what it runs behind itself ignore interrupts, and whatever that starts.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as program:
        assert program.stdout is not None
        seen: list[str] = []
        while not (seen and re.search(said, seen[-1])):
            seen.append(program.stdout.readline())
            assert seen[-1], seen  # it has ended
            assert len(seen) < 1000, seen  # it has said all several times
        program.send_signal(signal.SIGINT)
        seen += program.stdout
    assert program.returncode == 0, seen
    assert not any("Traceback" in line or "??" in line for line in seen), seen
    processes = [line for line in seen if f"(SIP receiver udp:127.0.0.1:{clients.server.sip_port})" in line]
    assert what != "load" or len(processes) >= 2


MI: list[tuple[str, list[str], int, Any]] = [
    ("fifo", ["version"], 0, {"Server"}),
    ("unix", ["-s", "rcv_requests", "shmem:"], 0, {"core:rcv_requests", "shmem:used_size"}),
    ("udp", ["-j", '{"index":0,"counter":2}', "dlg_list"], 0, {"count", "Dialogs"}),
    ("http", ["nosuch"], 1, "-32601: Method not found"),
]


@pytest.mark.parametrize(("transport", "words", "code", "end"), MI, ids=[" ".join(row[1]) for row in MI])
def test_opensips_mi(at: Callable[[str], Clients], transport: str, words: list[str], code: int, end: Any) -> None:
    done = at(transport).mi(transport, *words)
    assert done.returncode == code, done
    assert (end in done.stdout) if code else is_end(json.loads(done.stdout), end), done


def test_opensips_mi_lists_the_commands_for_a_shell(clients: Clients) -> None:
    assert set(clients.mi("http", "-bc", "commands").stdout.split()) == set(clients.server.mi("which"))


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_layby_mi(at: Callable[[str], Clients], transport: str) -> None:
    done = at(transport).ours(transport, "get_statistics", 'statistics:=["core:bad_messages"]')
    assert json.loads(done.stdout) == {"core:bad_messages": 0}, done


@pytest.fixture
def completion(clients: Clients, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], list[str]]:
    """What opensips-cli offers behind a command, where some letters stand already."""
    monkeypatch.setattr(comm, "comm_handler", clients.library("http"))
    module = cli_mi()

    def offered(line: str, text: str = "") -> list[str]:
        return sorted(module.__complete__(line.split()[1], text, line, len(line) - len(text), len(line)))

    return offered


def test_opensips_cli_completes_commands_and_parameters(completion: Callable[..., list[str]]) -> None:
    assert completion("mi dlg_list ") == ["callid=", "counter=", "from_tag=", "index="]
    assert completion("mi dlg_list callid=x ") == ["from_tag="]
    assert completion("mi dlg_list co", "co") == ["counter="]
    assert completion("mi uptime ") == [""]
    assert set(cli_mi().__get_methods__()) == {name for command in commands() for name in command.names}


def test_kill_ends_the_server(unix_clients: Clients) -> None:
    done = unix_clients.mi("unix", "kill")
    assert (done.returncode, json.loads(done.stdout)) == (0, "OK")
    assert unix_clients.server.wait() == 0
