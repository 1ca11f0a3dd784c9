"""opensips-cli and opensips-mi, the programs that people use, against a running server over every transport."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.harness import ROOT, free_port

pytestmark = pytest.mark.processes

BIN = Path(sys.executable).parent
TRANSPORTS = ["fifo", "http", "udp", "unix"]


def transport_head(transport: str, tmp: Path, port: int) -> str:
    match transport:
        case "fifo":
            return (
                f'loadmodule "mi_fifo.so"\nmodparam("mi_fifo", "fifo_name", "{tmp}/fifo")\n'
                f'modparam("mi_fifo", "reply_dir", "{tmp}/")\n'
            )
        case "udp":
            return f'loadmodule "mi_datagram.so"\nmodparam("mi_datagram", "socket_name", "udp:127.0.0.1:{port}")\n'
        case "unix":
            return f'loadmodule "mi_datagram.so"\nmodparam("mi_datagram", "socket_name", "{tmp}/mi.sock")\n'
        case _:
            return ""


@pytest.fixture(params=TRANSPORTS)
def clients(request, start_server, tmp):
    """How to call opensips-cli and opensips-mi for one transport, and `layby mi` beside them."""
    port = free_port()
    head = transport_head(request.param, tmp, port)
    server = start_server('route { sl_send_reply(200, "OK"); }', head=head, options=("--udp-workers", "1"))
    http = f"http://127.0.0.1:{server.http_port}/mi"
    cli = {
        "fifo": ["communication_type=fifo", f"fifo_file={tmp}/fifo", f"fifo_reply_dir={tmp}"],
        "http": ["communication_type=http", f"url={http}"],
        "udp": ["communication_type=datagram", "datagram_ip=127.0.0.1", f"datagram_port={port}", "datagram_timeout=5"],
        "unix": ["communication_type=datagram", f"datagram_unix_socket={tmp}/mi.sock", "datagram_timeout=5"],
    }[request.param]
    mi = {
        "fifo": ["-t", "fifo", "-f", f"{tmp}/fifo", "-fd", str(tmp)],
        "http": ["-t", "http", "-i", "127.0.0.1", "-p", str(server.http_port)],
        "udp": ["-t", "datagram", "-i", "127.0.0.1", "-p", str(port), "-dt", "5"],
        "unix": ["-t", "datagram", "-ds", f"{tmp}/mi.sock", "-dt", "5"],
    }[request.param]
    ours = {
        "fifo": ["--fifo", f"{tmp}/fifo", "--reply-dir", str(tmp)],
        "http": ["--http", http],
        "udp": ["--datagram", f"127.0.0.1:{port}"],
        "unix": ["--datagram", f"{tmp}/mi.sock"],
    }[request.param]
    return Clients(tmp, request.param, cli, mi, ours)


class Clients:
    def __init__(self, home: Path, transport: str, cli: list[str], mi: list[str], ours: list[str]) -> None:
        self.home, self.transport, self._cli, self._mi, self._ours = home, transport, cli, mi, ours

    def cli(self, *words: str) -> subprocess.CompletedProcess[str]:
        options = [part for option in self._cli for part in ("-o", option)]
        return self._run([str(BIN / "opensips-cli"), *options, "-x", *words])

    def mi(self, *words: str) -> subprocess.CompletedProcess[str]:
        return self._run([str(BIN / "opensips-mi"), *self._mi, *words])

    def ours(self, *words: str) -> subprocess.CompletedProcess[str]:
        return self._run([sys.executable, "-m", "runtime", "mi", *self._ours, *words])

    def _run(self, command: list[str]) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "HOME": str(self.home)}
        return subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=30, cwd=ROOT, stdin=subprocess.DEVNULL
        )


def test_real_clients_drive_the_server(clients) -> None:
    done = clients.cli("mi", "uptime")
    assert done.returncode == 0, done
    assert "Up since" in json.loads(done.stdout)

    done = clients.cli("mi", "cache_store", "system=local", "attr=k", "value=v")
    assert (done.returncode, json.loads(done.stdout)) == (0, "OK"), done
    done = clients.cli("mi", "cache_fetch", "local", "k")
    assert json.loads(done.stdout) == {"key": "k", "value": "v"}, done
    done = clients.cli("mi", "get_statistics", "rcv_requests", "shmem:")
    assert "core:rcv_requests" in json.loads(done.stdout), done
    done = clients.cli("mi", "uptime", "x")
    assert done.returncode == 255
    assert "-32602" in done.stdout + done.stderr
    done = clients.cli("mi", "nosuch")
    assert done.returncode == 255

    assert "layby" in clients.mi("version").stdout
    assert "core:rcv_requests" in clients.mi("-s", "rcv_requests", "shmem:").stdout
    assert "job_list" in clients.mi("-bc", "commands").stdout
    done = clients.mi("nosuch")
    assert done.returncode == 1
    assert "-32601" in done.stdout + done.stderr

    done = clients.ours("get_statistics", 'statistics:=["core:rcv_requests"]')
    assert json.loads(done.stdout) == {"core:rcv_requests": 0}, done
    done = clients.ours("bench_sleep", "ms=20")
    assert json.loads(done.stdout) == {"slept_ms": 20}, done
    done = clients.ours("bench_wait", "20")
    assert json.loads(done.stdout) == {"waited_ms": 20}, done
    done = clients.ours("nosuch")
    assert (done.returncode, done.stdout) == (1, "")
    assert "-32601" in done.stderr
