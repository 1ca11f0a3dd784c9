"""What black-box tests are made of: a real server on free ports, and a plain SIP client on a real socket."""

from __future__ import annotations

import itertools
import json
import os
import re
import select
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from runtime.demo.server import free_port as free_port

ROOT = Path(__file__).parent.parent
LIMIT_S = 10.0
"""How long a test waits for something that should happen soon. Never slept away: it is polled for."""


def wait_until(condition: Callable[[], Any], limit_s: float = LIMIT_S, what: str = "") -> Any:
    """Poll until `condition()` is true and give its value; fail when it is not in time."""
    ends = time.monotonic() + limit_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > ends:
            pytest.fail(f"not within {limit_s} s: {what or getattr(condition, '__name__', condition)}")
        time.sleep(0.005)


@dataclass
class SipAnswer:
    status: int
    reason: str
    text: str
    at: float

    def header(self, name: str) -> str | None:
        found = re.search(rf"(?im)^{re.escape(name)}\s*:\s*(.*?)\r?$", self.text)
        return found.group(1) if found else None


class SipClient:
    """Sends what it is given and collects what comes back, by Call-ID."""

    _serial = itertools.count(1)

    def __init__(self, port: int) -> None:
        self.server = ("127.0.0.1", port)
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.answers: dict[str, list[SipAnswer]] = {}

    @property
    def port(self) -> int:
        return int(self.socket.getsockname()[1])

    def request(
        self,
        user: str,
        method: str = "OPTIONS",
        *,
        call_id: str | None = None,
        branch: str | None = None,
        cseq: int = 1,
        to_tag: str = "",
        extra: str = "",
        body: str = "",
    ) -> tuple[str, bytes]:
        """Build a request; its Call-ID and its bytes."""
        serial = f"{os.getpid()}-{next(self._serial)}"
        call_id = call_id or f"call-{serial}"
        tag = f";tag={to_tag}" if to_tag else ""
        text = (
            f"{method} sip:{user}@127.0.0.1:{self.server[1]} SIP/2.0\r\n"
            f"Via: SIP/2.0/UDP 127.0.0.1:{self.port};branch={branch or 'z9hG4bK' + serial}\r\n"
            f"Max-Forwards: 70\r\nFrom: <sip:tester@127.0.0.1>;tag=f{call_id}\r\n"
            f"To: <sip:{user}@127.0.0.1>{tag}\r\nCall-ID: {call_id}\r\nCSeq: {cseq} {method}\r\n"
            f"Contact: <sip:tester@127.0.0.1:{self.port}>\r\n{extra}Content-Length: {len(body)}\r\n\r\n{body}"
        )
        return call_id, text.encode()

    def send(self, data: bytes) -> None:
        self.socket.sendto(data, self.server)

    def collect(self, for_s: float = 0.0) -> None:
        """Take in what has arrived, waiting up to `for_s` seconds for the first of it."""
        while select.select([self.socket], [], [], for_s)[0]:
            for_s = 0.0
            try:
                text = self.socket.recv(65535).decode()
            except ConnectionRefusedError:
                continue  # an answer of the kernel to something sent to a dead server
            start, _, _ = text.partition("\r\n")
            _, status, reason = start.split(" ", 2)
            answer = SipAnswer(int(status), reason, text, time.monotonic())
            self.answers.setdefault(answer.header("Call-ID") or "", []).append(answer)

    def final(self, call_id: str, limit_s: float = LIMIT_S, resend: bytes | None = None) -> SipAnswer:
        """The first final answer to that call; `resend` is sent again every half second, as a UAC does."""
        ends, again = time.monotonic() + limit_s, time.monotonic() + 0.5
        while time.monotonic() < ends:
            for answer in self.answers.get(call_id, []):
                if answer.status >= 200:
                    return answer
            self.collect(0.02)
            if resend is not None and time.monotonic() > again:
                again += 0.5
                self.send(resend)
        pytest.fail(f"no final answer to {call_id} within {limit_s} s")

    def ask(self, user: str, method: str = "OPTIONS", limit_s: float = LIMIT_S, **more: Any) -> SipAnswer:
        """Send a request and wait for its final answer, sending it again as a UAC does."""
        call_id, data = self.request(user, method, **more)
        self.send(data)
        return self.final(call_id, limit_s, resend=data)

    def close(self) -> None:
        self.socket.close()


@dataclass
class Server:
    """A real server: `layby run` in a process of its own."""

    process: subprocess.Popen[bytes]
    sip_port: int
    http_port: int
    folder: Path
    log_path: Path
    script: Path
    clients: list[SipClient] = field(default_factory=list)

    def client(self) -> SipClient:
        self.clients.append(SipClient(self.sip_port))
        return self.clients[-1]

    def log(self) -> str:
        return self.log_path.read_text(errors="replace")

    def rpc(self, text: str | bytes, timeout_s: float = LIMIT_S) -> Any:
        data = text.encode() if isinstance(text, str) else text
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.http_port}/mi", data, {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=timeout_s) as reply:
            body = reply.read()
        return json.loads(body) if body else None

    def mi(self, method: str, params: Any = None, timeout_s: float = LIMIT_S) -> Any:
        """Call MI over HTTP: the result, or an AssertionError with the error object."""
        reply = self.rpc(json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params or {}}), timeout_s)
        assert "result" in reply, reply
        return reply["result"]

    def mi_error(self, method: str, params: Any = None) -> dict[str, Any]:
        reply = self.rpc(json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params or {}}))
        assert "error" in reply, reply
        return dict(reply["error"])

    def pids(self, kind: str) -> list[int]:
        """PIDs of the processes whose type in `ps` starts with `kind`."""
        return [row["PID"] for row in self.mi("ps")["Processes"] if row["Type"].startswith(kind)]

    def all_pids(self) -> list[int]:
        return [row["PID"] for row in self.mi("ps")["Processes"]]

    def statistic(self, name: str) -> int:
        return int(self.mi("get_statistics", [[name]])[name])

    def stop(self, limit_s: float = LIMIT_S) -> int:
        """Ask it to shut down, and wait for that; its exit code."""
        if self.process.poll() is None:
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
        """Wait for its end; its exit code."""
        try:
            return self.process.wait(limit_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(5)
            pytest.fail(f"the server did not stop within {limit_s} s\n{self.log()}")


HEAD = """
udp_readers = 64
loadmodule "proto_udp.so"
loadmodule "signaling.so"
loadmodule "sl.so"
loadmodule "tm.so"
loadmodule "sipmsgops.so"
loadmodule "cfgutils.so"
loadmodule "statistics.so"
loadmodule "cachedb_local.so"
loadmodule "mi_script.so"
loadmodule "bench.so"
loadmodule "httpd.so"
loadmodule "mi_http.so"
modparam("httpd", "ip", "127.0.0.1")
modparam("httpd", "port", {http_port})
"""

"""`udp_readers`: all SIP processes read, so that messages of one call meet in different ones."""


PYTHON_HEAD = """
from runtime.pyscript import Answer, Call, Cancelled, module, route, server

server(udp_readers=64)
for name in "proto_udp signaling sl tm sipmsgops cfgutils statistics cachedb_local mi_script bench mi_http".split():
    module(name)
module("httpd", ip="127.0.0.1", port={http_port})
"""
"""The same for a script in Python."""


def answers(server: Server) -> bool:
    try:
        return bool(server.mi("uptime", timeout_s=1.0))
    except OSError:
        return False
