"""Calls through a server as fast as they are answered, some at a time: what comes of many of them, and what it costs.

The caller acknowledges every final reply. The callee answers each INVITE by the user in its Request-URI, each copy of
it in the same way, and counts what it gets.
"""

from __future__ import annotations

import itertools
import os
import select
import socket
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pytest

from tests.sip_peer import Received

Answers = Callable[[str], Sequence[int]]
"""What a user answers: statuses, one after the other."""
AT_ONCE = 20
AGAIN_S = 1.0
LIMIT_S = 60.0


@dataclass
class Rushed:
    """One call as both ends saw it.

    Attributes:
        text: the INVITE as the caller sends it.
        replies: at the caller, but for 100.
        arrived: at the callee, each INVITE that is no copy of another.
        acks: at the callee, by Via branch, those of a 2xx.
    """

    text: str
    sent_at: float
    replies: list[Received] = field(default_factory=list)
    arrived: list[Received] = field(default_factory=list)
    acks: Counter[str] = field(default_factory=Counter)

    @property
    def final(self) -> Received | None:
        return next((reply for reply in self.replies if reply.status >= 200), None)


class Rush:
    """Two sockets that call each other through a server.

    Args:
        server_port: the server's.
        answers: what its users answer.
    """

    _serials = itertools.count(1)

    def __init__(self, server_port: int, answers: Answers) -> None:
        self.server = ("127.0.0.1", server_port)
        self.answers = answers
        self.caller, self.callee = _socket(), _socket()
        self.calls: dict[str, Rushed] = {}
        self._known: dict[str, list[str]] = {}
        """What the callee has answered, by Via branch."""

    def close(self) -> None:
        self.caller.close()
        self.callee.close()

    def call(self, count: int, user: str, *, at_once: int = AT_ONCE) -> list[Rushed]:
        """Have so many calls made, each to its final reply; they are forgotten at the next time."""
        self.calls, self._known = {}, {}
        ends = time.monotonic() + LIMIT_S
        open_calls: dict[str, Rushed] = {}
        while len(self.calls) < count or open_calls:
            while len(self.calls) < count and len(open_calls) < at_once:
                call_id = self._place(user)
                open_calls[call_id] = self.calls[call_id]
            self.turn(0.1)
            for call_id in [one for one, call in open_calls.items() if call.final]:
                del open_calls[call_id]
            self._send_again(open_calls)
            if time.monotonic() > ends:
                pytest.fail(f"{len(open_calls)} calls of {len(self.calls)} are not answered: {list(open_calls)[:5]}")
        return list(self.calls.values())

    def _send_again(self, open_calls: dict[str, Rushed]) -> None:
        now = time.monotonic()
        for call in open_calls.values():
            if now - call.sent_at > AGAIN_S and not call.replies:
                call.sent_at = now
                self.caller.sendto(call.text.encode(), self.server)

    def turn(self, wait_s: float) -> None:
        """Deal with what has come."""
        for one in select.select([self.caller, self.callee], [], [], wait_s)[0]:
            data, source = one.recvfrom(65535)
            message = Received(data.decode("latin-1"), source)
            call = self.calls.get(message.call_id)
            if call is None:
                continue
            if one is self.caller:
                self._on_reply(call, message)
            elif not message.is_reply:
                self._on_request(call, message)

    def _place(self, user: str) -> str:
        call_id = f"rush{os.getpid()}x{next(self._serials)}"
        port = self.callee.getsockname()[1]
        text = self._request("INVITE", f"sip:{user}@127.0.0.1:{self.server[1]}", call_id, f"{call_id}i", "", port)
        self.calls[call_id] = Rushed(text, time.monotonic())
        self.caller.sendto(text.encode(), self.server)
        return call_id

    def _request(self, method: str, ruri: str, call_id: str, branch: str, to_tag: str, callee_port: int) -> str:
        port = self.caller.getsockname()[1]
        return (
            f"{method} {ruri} SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:{port};branch=z9hG4bK{branch}\r\n"
            f"Max-Forwards: 70\r\nFrom: <sip:caller@here>;tag=f\r\nTo: <sip:callee@here>{to_tag}\r\n"
            f"Call-ID: {call_id}\r\nCSeq: 1 {method}\r\nContact: <sip:caller@127.0.0.1:{port}>\r\n"
            f"X-To: {callee_port}\r\nContent-Length: 0\r\n\r\n"
        )

    def _on_reply(self, call: Rushed, reply: Received) -> None:
        if reply.status > 100:
            call.replies.append(reply)
        if reply.status >= 200:
            # That of a 2xx has a branch of its own, and each copy of the 2xx gets a new ACK.
            branch = "i" if reply.status >= 300 else f"a{len(call.replies)}"
            to_tag = ";tag=" + reply.header("To").partition("tag=")[2]
            ruri, port = call.text.split(" ")[1], self.callee.getsockname()[1]
            ack = self._request("ACK", ruri, reply.call_id, f"{reply.call_id}{branch}", to_tag, port)
            self.caller.sendto(ack.encode(), self.server)

    def _on_request(self, call: Rushed, request: Received) -> None:
        if request.method == "ACK":
            if request.branch not in self._known:
                call.acks[request.branch] += 1
            return
        known = self._known.get(request.branch)
        if known is None:
            call.arrived.append(request)
            user = request.ruri.partition(":")[2].partition("@")[0]
            known = self._known[request.branch] = [_reply(request, status) for status in self.answers(user)]
        for text in known:
            self.callee.sendto(text.encode("latin-1"), request.source)


def _reply(request: Received, status: int) -> str:
    kept = "".join(f"{name}: {value}\r\n" for name in KEPT for value in request.headers(name))
    return f"SIP/2.0 {status} x\r\n{kept}To: {request.header('To')};tag=t\r\nContent-Length: 0\r\n\r\n"


KEPT = ("Via", "Record-Route", "From", "Call-ID", "CSeq")


def _socket() -> socket.socket:
    one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    one.bind(("127.0.0.1", 0))
    one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
    return one
