"""Fixtures for black-box tests."""

from __future__ import annotations

import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings

from tests.harness import HEAD, PYTHON_HEAD, ROOT, Server, answers, free_port, wait_until
from tests.postgres import database_url, postgres

__all__ = ["database_url", "postgres"]

# For `make mutants`: what fails need not be made small, and the same mutant gets the same examples.
# A machine that has other things to do draws slowly, and that is no fault of what is drawn.
settings.register_profile("usual", suppress_health_check=[HealthCheck.too_slow], deadline=None)
settings.load_profile("usual")
settings.register_profile("mutants", phases=[Phase.explicit, Phase.generate], derandomize=True, database=None)


@pytest.fixture
def tmp() -> Iterator[Path]:
    """A short temporary folder: the path of a Unix socket must fit 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="layby") as folder:
        yield Path(folder)


@pytest.fixture
def start_server(tmp: Path) -> Iterator[Callable[..., Server]]:
    """Start servers: `start_server(routes, head="", options=[...])` gives one that answers MI.

    With `python=True` the routes are those of a script in Python.
    """
    yield from _servers(tmp)


@pytest.fixture(scope="module")
def start_shared() -> Iterator[Callable[..., Server]]:
    """As `start_server`, for servers that all tests of a file share."""
    with tempfile.TemporaryDirectory(prefix="layby") as folder:
        yield from _servers(Path(folder))


def _servers(tmp: Path) -> Iterator[Callable[..., Server]]:
    servers: list[Server] = []

    def start(
        routes: str, *, head: str = "", options: tuple[str, ...] = (), ready: bool = True, python: bool = False
    ) -> Server:
        number = len(servers)
        http_port, sip_port = free_port(socket.SOCK_STREAM), free_port()
        script, log_path = tmp / f"server{number}.{'py' if python else 'cfg'}", tmp / f"server{number}.log"
        script.write_text((PYTHON_HEAD if python else HEAD).format(http_port=http_port) + head + routes)
        folder = tmp / f"run{number}"
        command = [sys.executable, "-m", "runtime", "run", str(script), "-l", f"udp:127.0.0.1:{sip_port}"]
        command += ["-R", str(folder), "--drain", "3", *options]
        if "--mi-workers" in options and "--mi-workers-max" not in options:
            # What a test says of its workers is meant to the letter.
            command += ["--mi-workers-max", options[options.index("--mi-workers") + 1]]
        with log_path.open("wb") as log:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=ROOT)
        server = Server(process, sip_port, http_port, folder, log_path, script)
        servers.append(server)
        if ready:
            wait_until(lambda: process.poll() is not None or answers(server), 30, what="the server answers MI")
            if process.poll() is not None:
                pytest.fail(f"the server did not start\n{server.log()}")
        return server

    yield start
    for server in servers:
        for client in server.clients:
            client.close()
        if server.process.poll() is None:
            server.end()
