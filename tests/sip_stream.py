"""A plain SIP client on a TCP connection, for black-box tests."""

from __future__ import annotations

import itertools
import os
import re
import select
import socket
import time

import pytest

from tests.sip_peer import LIMIT_S, Received


class StreamClient:
    """One connection. It cuts what it receives into messages itself, by Content-Length.

    Args:
        port: the server's.
        host: its address; IPv6 too.
        listen: where it says in Via that it takes connections; None for the port of its own end, where it does not.
    """

    _serial = itertools.count(1)

    def __init__(self, port: int, host: str = "127.0.0.1", listen: int | None = None) -> None:
        self.server = (host, port)
        self.socket = socket.create_connection(self.server, LIMIT_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sent_by = f"{f'[{host}]' if ':' in host else host}:{listen or self.socket.getsockname()[1]}"
        self.received = b""

    @property
    def port(self) -> int:
        return int(self.socket.getsockname()[1])

    def request(
        self, user: str, method: str = "OPTIONS", *, call_id: str = "", branch: str = "", length: str | None = None,
        to_tag: str = "", body: str = "", extra: str = "",
    ) -> tuple[str, bytes]:  # fmt: skip
        """Build a request; its Call-ID and its bytes. `length` is what stands for the Content-Length line."""
        serial = f"{os.getpid()}-{next(self._serial)}"
        call_id = call_id or f"tcp-{serial}"
        length = f"Content-Length: {len(body)}\r\n" if length is None else length
        tag = f";tag={to_tag}" if to_tag else ""
        text = (
            f"{method} sip:{user}@{self.sent_by} SIP/2.0\r\n"
            f"Via: SIP/2.0/TCP {self.sent_by};branch={branch or 'z9hG4bK' + serial}\r\n"
            f"Max-Forwards: 70\r\nFrom: <sip:tester@127.0.0.1>;tag=f{call_id}\r\n"
            f"To: <sip:{user}@127.0.0.1>{tag}\r\nCall-ID: {call_id}\r\nCSeq: 1 {method}\r\n{extra}{length}\r\n{body}"
        )
        return call_id, text.encode()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def receive_message(self, limit_s: float = LIMIT_S) -> bytes:
        """The next message on this connection."""
        ends = time.monotonic() + limit_s
        while True:
            head, found, rest = self.received.partition(b"\r\n\r\n")
            length = re.search(rb"(?im)^content-length:\s*(\d+)", head)
            if found and length and len(rest) >= int(length[1]):
                size = len(head) + 4 + int(length[1])
                message, self.received = self.received[:size], self.received[size:]
                return message
            self._read(ends)

    def receive(self, limit_s: float = LIMIT_S) -> Received:
        """The next reply on this connection."""
        return Received(self.receive_message(limit_s).decode())

    def receive_bytes(self, count: int, limit_s: float = LIMIT_S) -> bytes:
        """The next bytes, whatever they are."""
        ends = time.monotonic() + limit_s
        while len(self.received) < count:
            self._read(ends)
        data, self.received = self.received[:count], self.received[count:]
        return data

    def _read(self, ends: float) -> None:
        if not select.select([self.socket], [], [], max(0.0, ends - time.monotonic()))[0]:
            pytest.fail(f"nothing came in time behind {self.received!r}")
        data = self.socket.recv(65536)
        if not data:
            pytest.fail(f"the connection was closed behind {self.received!r}")
        self.received += data

    def ask(self, user: str, method: str = "OPTIONS", limit_s: float = LIMIT_S) -> Received:
        """Send a request and take the next reply, which must be its."""
        call_id, data = self.request(user, method)
        self.send(data)
        answer = self.receive(limit_s)
        assert answer.header("Call-ID") == call_id
        return answer

    def is_closed(self, limit_s: float = LIMIT_S) -> bool:
        """Whether the server closes the connection, whatever it says before."""
        ends = time.monotonic() + limit_s
        while select.select([self.socket], [], [], max(0.0, ends - time.monotonic()))[0]:
            try:
                data = self.socket.recv(65536)
            except ConnectionResetError:
                return True
            if not data:
                return True
            self.received += data
        return False

    def close(self) -> None:
        self.socket.close()
