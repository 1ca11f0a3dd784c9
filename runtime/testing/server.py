"""Real servers for tests: `layby run` in processes of its own, on free ports, and what a test asks of it."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, Generic, Literal, TypeVar

import pytest

from runtime.testing.peer import Peer
from runtime.testing.waiting import LIMIT_S, wait_until
from runtime.traffic.generator import environment
from runtime.traffic.server import free_port
from workers.supervision import RestartPolicy

_HOST: Final = "127.0.0.1"
_START_S: Final = 30.0
"""A start takes half a second; on a machine whose tests all start servers at once, many times that."""
_STORM_WITHIN_S: Final = RestartPolicy().storm_within_s + 1.0
_STORM_DEATHS: Final = RestartPolicy().storm_deaths // 2
"""Half of what the attendant bears: what it sees later than we do it, it sees closer together."""
_BATCH: Final = 50
"""So many requests go in one JSON-RPC batch."""


@dataclass
class Server:
    """A running server. `layby_server` makes it.

    Args:
        process: its attendant.
        sip_port: where it receives, a UDP port of 127.0.0.1.
        http_port: where it answers MI.
        folder: its runtime folder.
        log_path: the file that all its processes log to.
        script: the file that it runs.
        token: what MI must be told, where the script has a `token_file`.
    """

    process: subprocess.Popen[bytes]
    sip_port: int
    http_port: int
    folder: Path
    log_path: Path
    script: Path
    token: str = ""
    peers: list[Peer] = field(default_factory=list)
    _killed_at: dict[str, list[float]] = field(default_factory=dict)

    def peer(self) -> Peer:
        """A phone on a port of its own; it is closed with the server."""
        self.peers.append(Peer(self.sip_port))
        return self.peers[-1]

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self.process.poll() is None

    def log(self) -> str:
        """What it has logged so far."""
        return self.log_path.read_text(errors="replace")

    def log_lines(self, pattern: str) -> list[str]:
        """The lines of the log in which a regular expression is found."""
        return [line for line in self.log().splitlines() if re.search(pattern, line)]

    def rpc(self, text: str | bytes, timeout_s: float = LIMIT_S) -> Any:
        """Send a text to MI as it is; what is answered, None for nothing."""
        data = text.encode() if isinstance(text, str) else text
        body = self._fetch("mi", timeout_s, data, {"Content-Type": "application/json"})
        return json.loads(body) if body else None

    def _fetch(
        self, path: str, timeout_s: float, data: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> bytes:
        known = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        url = f"http://{_HOST}:{self.http_port}/{path}"
        request = urllib.request.Request(url, data, {**(headers or {}), **known})
        with urllib.request.urlopen(request, timeout=timeout_s) as reply:
            return bytes(reply.read())

    def mi(self, method: str, params: Any = None, timeout_s: float = LIMIT_S) -> Any:
        """Run an MI command; its result.

        Args:
            method: its name.
            params: a list or an object.
            timeout_s: for how long to wait.

        Raises:
            AssertionError: it was answered by an error; the whole answer is its argument.
            OSError: nobody answers.
        """
        reply = self._call(method, params, timeout_s)
        assert "result" in reply, reply
        return reply["result"]

    def mi_error(self, method: str, params: Any = None) -> dict[str, Any]:
        """Run an MI command that is refused; the error object.

        Raises:
            AssertionError: it was not refused.
        """
        reply = self._call(method, params, LIMIT_S)
        assert "error" in reply, reply
        return dict(reply["error"])

    def _call(self, method: str, params: Any, timeout_s: float) -> Any:
        return self.rpc(json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params or {}}), timeout_s)

    def commands(self) -> dict[str, list[list[str]]]:
        """All MI commands that it has, by name, with the parameters that each takes."""
        names = self.mi("which")
        batch = [{"jsonrpc": "2.0", "id": name, "method": "which", "params": [name]} for name in names]
        found: dict[str, list[list[str]]] = {}
        for at in range(0, len(batch), _BATCH):
            found |= {reply["id"]: reply["result"] for reply in self.rpc(json.dumps(batch[at : at + _BATCH]))}
        return found

    def pids(self, kind: str) -> list[int]:
        """PIDs of the processes whose type in `ps` starts with `kind`: `SIP`, `MI worker` ..."""
        return [row["PID"] for row in self.mi("ps")["Processes"] if row["Type"].startswith(kind)]

    def all_pids(self) -> list[int]:
        """PIDs of all its processes."""
        return [row["PID"] for row in self.mi("ps")["Processes"]]

    def parked(self) -> int:
        """How many messages are parked now, in all processes."""
        found = re.findall(r"(?m)^layby_process_parked\{.*\} (\S+)$", self._fetch("metrics", LIMIT_S).decode())
        return int(sum(map(float, found)))

    def kill(self, kind: str) -> int:
        """Kill one process of a kind, as `pids` names it, by SIGKILL, and wait until it is replaced.

        Returns:
            its PID; 0 for nothing done, where so many of its kind were killed lately that the server would take one
            more for a crash storm, and end.
        """
        now = time.monotonic()
        lately = [at for at in self._killed_at.get(kind, ()) if at > now - _STORM_WITHIN_S]
        if len(lately) >= _STORM_DEATHS:
            return 0
        self._killed_at[kind] = [*lately, now]
        before = self.pids(kind)
        os.kill(before[0], signal.SIGKILL)
        wait_until(
            lambda: before[0] not in (now := self.pids(kind)) and len(now) >= len(before), what=f"another {kind}"
        )
        return before[0]

    def statistic(self, name: str) -> int:
        """A statistic, by its name `group:name`."""
        return int(self.mi("get_statistics", [[name]])[name])

    def stop(self, limit_s: float = LIMIT_S) -> int:
        """Ask it to shut down, and wait for that; its exit code."""
        if self.running:
            self.process.send_signal(signal.SIGTERM)
        return self.wait(limit_s)

    def end(self) -> None:
        """Stop it without waiting long for calls that are still open: a second signal ends it at once."""
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(1.0)
        except subprocess.TimeoutExpired:
            self.stop()

    def wait(self, limit_s: float = LIMIT_S) -> int:
        """Wait for its end; its exit code. The test fails, and the server is killed, if it does not come."""
        try:
            return self.process.wait(limit_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(5)
            pytest.fail(f"the server did not stop within {limit_s} s\n{self.log()}")

    def answers(self) -> bool:
        """Whether it answers MI. The test fails where it does, but not like this: by another path, or for a token."""
        try:
            return bool(self.mi("uptime", timeout_s=1.0))
        except urllib.error.HTTPError as error:
            error.close()
            if error.code in (HTTPStatus.UNAUTHORIZED, HTTPStatus.NOT_FOUND):
                pytest.fail(f"MI answers {error}; layby_server(…, token=…) knows of a token, and `root` must be mi")
            return False
        except OSError:
            return False

    def close(self) -> None:
        """Close what tests have opened, and stop the server if it runs."""
        for peer in self.peers:
            peer.close()
        if self.running:
            self.end()


_S = TypeVar("_S", bound=Server)


class Servers(Generic[_S]):
    """Starts servers in one folder, which must have a short path: those of Unix sockets end after 107 bytes.

    Args:
        folder: where scripts, logs and runtime folders go.
        kind: the class of what is started.
    """

    def __init__(self, folder: Path, kind: type[_S]) -> None:
        self._folder = folder
        self._kind = kind
        self._started: list[_S] = []

    def __call__(
        self,
        script: str | Path,
        *,
        options: Sequence[str] = (),
        language: Literal["cfg", "py"] = "cfg",
        token: str = "",
        ready: bool = True,
    ) -> _S:
        """Start a server and wait until it answers.

        Args:
            script: its text, or its file. It listens on a free UDP port of 127.0.0.1 and answers MI over HTTP on a free
                port, whatever it says of sockets, `httpd` and `mi_http`.
            options: more options of `layby run`: ``["--udp-workers", "2", "-o", "name=value"]``.
            language: of the text.
            token: what is in the `token_file` of mi_http, where the script sets one.
            ready: whether to wait. The test fails if the server does not start.
        """
        name = f"server{len(self._started)}"
        path = script if isinstance(script, Path) else self._folder / f"{name}.{language}"
        if isinstance(script, str):
            path.write_text(script)
        sip_port, http_port = free_port(), free_port(socket.SOCK_STREAM)
        folder, log_path = self._folder / f"run{len(self._started)}", self._folder / f"{name}.log"
        command = [sys.executable, "-m", "runtime", "run", str(path), "-l", f"udp:{_HOST}:{sip_port}"]
        command += ["--mi-http", f"{_HOST}:{http_port}", "-R", str(folder), "--drain", "3", *options]
        with log_path.open("wb") as log:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment())
        server = self._kind(process, sip_port, http_port, folder, log_path, path, token)
        self._started.append(server)
        if ready:
            _wait_ready(server)
        return server

    def close(self) -> None:
        """Stop all of them."""
        for server in self._started:
            server.close()


def _wait_ready(server: Server) -> None:
    wait_until(lambda: not server.running or server.answers(), _START_S, "the server answers MI")
    if not server.running:
        pytest.fail(f"the server did not start\n{server.log()}")


@contextmanager
def servers(kind: type[_S]) -> Iterator[Servers[_S]]:
    """Start servers in a temporary folder, which goes with them in the end."""
    with TemporaryDirectory(prefix="layby") as folder:
        starting = Servers(Path(folder), kind)
        try:
            yield starting
        finally:
            starting.close()
