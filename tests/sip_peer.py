"""A SIP phone in a test's hands: a real UDP socket that sends and answers what the test says, and nothing by itself."""

from __future__ import annotations

import itertools
import os
import re
import select
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

LIMIT_S = 10.0


@dataclass
class Received:
    """A message that came in, as text, with where it came from."""

    text: str
    source: tuple[str, int]
    at: float = field(default_factory=time.monotonic)

    @property
    def start(self) -> str:
        return self.text.partition("\r\n")[0]

    @property
    def is_reply(self) -> bool:
        return self.start.startswith("SIP/2.0")

    @property
    def method(self) -> str:
        """Of a reply its CSeq's."""
        return self.header("CSeq").split()[1] if self.is_reply else self.start.split(" ")[0]

    @property
    def ruri(self) -> str:
        return self.start.split(" ")[1]

    @property
    def status(self) -> int:
        return int(self.start.split(" ")[1]) if self.is_reply else 0

    @property
    def body(self) -> str:
        return self.text.partition("\r\n\r\n")[2]

    def headers(self, name: str) -> list[str]:
        head = self.text.partition("\r\n\r\n")[0]
        return re.findall(rf"(?im)^{re.escape(name)}\s*:[ \t]*(.*?)\r?$", head)

    def header(self, name: str) -> str:
        found = self.headers(name)
        return found[0] if found else ""

    @property
    def call_id(self) -> str:
        return self.header("Call-ID")

    @property
    def branch(self) -> str:
        found = re.search(r"branch=([^;,\s]+)", self.header("Via"))
        return found.group(1) if found else ""


class Peer:
    """One end of calls.

    Args:
        server_port: where its requests go.
        port: its own; 0 for a free one.
    """

    _serials = itertools.count(1)

    def __init__(self, server_port: int, port: int = 0) -> None:
        self.server = ("127.0.0.1", server_port)
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", port))
        self.port = int(self.socket.getsockname()[1])
        self.received: list[Received] = []
        self._seen = 0

    @property
    def uri(self) -> str:
        return f"sip:peer@127.0.0.1:{self.port}"

    def close(self) -> None:
        self.socket.close()

    def request(
        self,
        method: str,
        ruri: str,
        *,
        call_id: str = "",
        branch: str = "",
        cseq: int = 1,
        to_tag: str = "",
        extra: str = "",
        body: str = "",
    ) -> str:
        serial = f"{os.getpid()}-{next(self._serials)}"
        call_id = call_id or f"peer-{serial}"
        tag = f";tag={to_tag}" if to_tag else ""
        return (
            f"{method} {ruri} SIP/2.0\r\n"
            f"Via: SIP/2.0/UDP 127.0.0.1:{self.port};branch={branch or 'z9hG4bK' + serial}\r\n"
            f"Max-Forwards: 70\r\nFrom: <sip:tester@127.0.0.1>;tag=f{call_id}\r\n"
            f"To: <{ruri}>{tag}\r\nCall-ID: {call_id}\r\nCSeq: {cseq} {method}\r\n"
            f"Contact: <{self.uri}>\r\n{extra}Content-Length: {len(body)}\r\n\r\n{body}"
        )

    def send(self, text: str, to: tuple[str, int] | None = None) -> None:
        self.socket.sendto(text.encode("latin-1"), to or self.server)

    def collect(self, for_s: float = 0.0) -> None:
        while select.select([self.socket], [], [], for_s)[0]:
            for_s = 0.0
            try:
                data, source = self.socket.recvfrom(65535)
            except ConnectionRefusedError:
                continue
            self.received.append(Received(data.decode("latin-1"), source))

    def wait(self, wanted: Callable[[Received], bool], limit_s: float = LIMIT_S, what: str = "") -> Received:
        """The first message that was not waited for yet and is wanted; those before it are left."""
        ends = time.monotonic() + limit_s
        while True:
            for at, message in enumerate(self.received):
                if wanted(message):
                    del self.received[at]
                    return message
            if time.monotonic() > ends:
                starts = [message.start for message in self.received]
                pytest.fail(f"no {what or 'such message'} within {limit_s} s; there are {starts}")
            self.collect(0.02)

    def wait_request(self, method: str, limit_s: float = LIMIT_S) -> Received:
        return self.wait(lambda m: not m.is_reply and m.method == method, limit_s, method)

    def wait_reply(self, call_id: str, status: int, method: str = "", limit_s: float = LIMIT_S) -> Received:
        return self.wait(
            lambda m: m.is_reply and m.call_id == call_id and m.status == status and method in ("", m.method),
            limit_s,
            f"{status} {method}",
        )

    def wait_final(self, call_id: str, method: str = "", limit_s: float = LIMIT_S) -> Received:
        return self.wait(
            lambda m: m.is_reply and m.call_id == call_id and m.status >= 200 and method in ("", m.method),
            limit_s,
            f"final reply {method}",
        )

    def nothing(self, wanted: Callable[[Received], bool], for_s: float = 0.3) -> None:
        """Nothing of that kind comes for a while (it would have come at once)."""
        ends = time.monotonic() + for_s
        while time.monotonic() < ends:
            self.collect(0.02)
            found = [message.start for message in self.received if wanted(message)]
            assert not found, found

    def reply(
        self, request: Received, status: int, reason: str = "x", *, tag: str = "", extra: str = "", body: str = ""
    ) -> None:
        """Answer a request to where it came from."""
        to = request.header("To")
        if status > 100 and ";tag=" not in to:
            to += f";tag={tag or 'peer' + str(self.port)}"
        vias = "".join(f"Via: {via}\r\n" for via in request.headers("Via"))
        routes = "".join(f"Record-Route: {route}\r\n" for route in request.headers("Record-Route"))
        contact = f"Contact: <{self.uri}>\r\n" if 180 <= status < 300 else ""
        self.send(
            f"SIP/2.0 {status} {reason}\r\n{vias}{routes}From: {request.header('From')}\r\nTo: {to}\r\n"
            f"Call-ID: {request.call_id}\r\nCSeq: {request.header('CSeq')}\r\n{contact}{extra}"
            f"Content-Length: {len(body)}\r\n\r\n{body}",
            request.source,
        )

    def ack(self, invite: str, final: Received) -> None:
        """The ACK of a reply other than 2xx, with the INVITE's branch."""
        start, _, rest = invite.partition("\r\n")
        lines = [line for line in rest.split("\r\n") if line[:4].lower() in ("via:", "from", "call", "max-", "rout")]
        cseq = final.header("CSeq").split()[0]
        text = "\r\n".join(
            [start.replace("INVITE", "ACK", 1), *lines, f"To: {final.header('To')}", f"CSeq: {cseq} ACK"]
        )
        self.send(text + "\r\nContent-Length: 0\r\n\r\n")

    def cancel(self, invite: str) -> None:
        start, _, rest = invite.partition("\r\n")
        lines = [line for line in rest.split("\r\n") if line[:3].lower() in ("via", "fro", "to:", "cal", "max", "rou")]
        cseq = re.search(r"CSeq: (\d+)", invite)
        assert cseq is not None
        text = "\r\n".join([start.replace("INVITE", "CANCEL", 1), *lines, f"CSeq: {cseq.group(1)} CANCEL"])
        self.send(text + "\r\nContent-Length: 0\r\n\r\n")
