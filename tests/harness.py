"""What black-box tests are made of: a real server on free ports, and a plain SIP client on a real socket."""

from __future__ import annotations

import os
import select
import signal
import socket
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from runtime.memory import is_stopped
from runtime.testing.peer import Received, serial
from runtime.testing.server import Server as TestedServer
from runtime.testing.waiting import LIMIT_S as LIMIT_S
from runtime.testing.waiting import wait_until as wait_until
from runtime.traffic.server import free_port as free_port

ROOT = Path(__file__).parent.parent


def stop_process(pid: int) -> None:
    """Stop a process by SIGSTOP, and wait until it does stand still.

    A datagram that comes while it is only about to stop may wake it alone, and then wakes nobody who would read it.
    """
    os.kill(pid, signal.SIGSTOP)
    wait_until(lambda: is_stopped(pid), what=f"{pid} stands still")


class SipClient:
    """Sends what it is given and collects what comes back, by Call-ID."""

    def __init__(self, port: int) -> None:
        self.server = ("127.0.0.1", port)
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.answers: dict[str, list[Received]] = {}

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
        unique = serial()
        call_id = call_id or f"call-{unique}"
        tag = f";tag={to_tag}" if to_tag else ""
        text = (
            f"{method} sip:{user}@127.0.0.1:{self.server[1]} SIP/2.0\r\n"
            f"Via: SIP/2.0/UDP 127.0.0.1:{self.port};branch={branch or 'z9hG4bK' + unique}\r\n"
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
            answer = Received(text)
            self.answers.setdefault(answer.call_id, []).append(answer)

    def final(self, call_id: str, limit_s: float = LIMIT_S, resend: bytes | None = None) -> Received:
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

    def ask(self, user: str, method: str = "OPTIONS", limit_s: float = LIMIT_S, **more: Any) -> Received:
        """Send a request and wait for its final answer, sending it again as a UAC does."""
        call_id, data = self.request(user, method, **more)
        self.send(data)
        return self.final(call_id, limit_s, resend=data)

    def close(self) -> None:
        self.socket.close()


@dataclass
class Server(TestedServer):
    """A server as the tests of this project start it: `start_server` of tests/conftest.py."""

    clients: list[SipClient] = field(default_factory=list)

    def client(self) -> SipClient:
        self.clients.append(SipClient(self.sip_port))
        return self.clients[-1]

    def wait_replaced(self, before: list[int], *killed: int, kind: str = "SIP") -> list[int]:
        """Wait until what was killed is gone and there are as many of its kind as before, by one look at all of them.

        Right after a kill there are as many as before, too, as long as nobody has noticed; and what two looks show
        may be two different states.

        Args:
            before: the PIDs of all of that kind, asked for before the first was killed.
            killed: those that were; all of them where none is named.
            kind: as `pids` takes it.

        Returns:
            The PIDs now.
        """
        gone = set(killed or before)

        def replaced() -> list[int]:
            now = self.pids(kind)
            return now if len(now) == len(before) and not gone & set(now) else []

        return wait_until(replaced, what=f"{sorted(gone)} of {before} are replaced")

    def close(self) -> None:
        for client in self.clients:
            client.close()
        super().close()


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
"""

"""`udp_readers`: all SIP processes read, so that messages of one call meet in different ones."""


PYTHON_HEAD = """
from runtime.pyscript import Answer, Call, Cancelled, module, route, server

server(udp_readers=64)
for name in "proto_udp signaling sl tm sipmsgops cfgutils statistics cachedb_local mi_script bench mi_http".split():
    module(name)
module("httpd")
"""
"""The same for a script in Python."""
