"""Replies that come one right after the other go upstream in their order, whichever processes read them."""

from __future__ import annotations

import re
import select
import socket
import time
from collections.abc import Callable, Iterator

import pytest

from tests.harness import LIMIT_S, Server

pytestmark = pytest.mark.processes

ROUTES = """
route {
    $du = "sip:127.0.0.1:" + $hdr(X-Callee);
    t_relay();
}
"""
CALLS = 1500
AT_ONCE = 8
REPLIES = (180, 183, 200)
TOLERATED = CALLS // 200
"""A process that stands still for longer than it is waited for is overtaken; on a machine with much else to do one
does now and then. Without any order between the processes it is one call in twenty."""


class Ends:
    """A caller and a callee that answers each INVITE with all replies at once."""

    def __init__(self, server_port: int) -> None:
        self.server = ("127.0.0.1", server_port)
        self.caller, self.callee = _socket(), _socket()
        self.seen: dict[str, list[int]] = {}
        self.placed = self.answered = 0

    def close(self) -> None:
        self.caller.close()
        self.callee.close()

    def run(self) -> None:
        ends = time.monotonic() + LIMIT_S
        while self.answered < CALLS and time.monotonic() < ends:
            while self.placed < CALLS and self.placed - self.answered < AT_ONCE:
                self._place()
            for one in select.select([self.caller, self.callee], [], [], 0.1)[0]:
                text = one.recv(65535).decode()
                if one is self.caller:
                    self._on_reply(text)
                else:
                    self._on_invite(text)

    def _place(self) -> None:
        self.placed += 1
        port, callee = self.caller.getsockname()[1], self.callee.getsockname()[1]
        text = (
            f"INVITE sip:bob@here SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:{port};branch=z9hG4bKorder{self.placed}\r\n"
            f"Max-Forwards: 70\r\nFrom: <sip:caller@here>;tag=f\r\nTo: <sip:bob@here>\r\nCall-ID: {self.placed}\r\n"
            f"CSeq: 1 INVITE\r\nX-Callee: {callee}\r\nContent-Length: 0\r\n\r\n"
        )
        self.caller.sendto(text.encode(), self.server)

    def _on_invite(self, text: str) -> None:
        kept = "\r\n".join(re.findall(r"(?m)^(?:Via|From|Call-ID|CSeq): .*(?=\r)", text))
        for status in REPLIES:
            reply = f"SIP/2.0 {status} x\r\n{kept}\r\nTo: <sip:bob@here>;tag=t\r\nContent-Length: 0\r\n\r\n"
            self.callee.sendto(reply.encode(), self.server)

    def _on_reply(self, text: str) -> None:
        status = int(text[8:11])
        if status == 100:
            return
        call = text.partition("Call-ID: ")[2].partition("\r\n")[0]
        self.seen.setdefault(call, []).append(status)
        self.answered += status == 200


def _socket() -> socket.socket:
    one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    one.bind(("127.0.0.1", 0))
    one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
    return one


@pytest.fixture
def ends(start_server: Callable[..., Server]) -> Iterator[Ends]:
    server = start_server(ROUTES, options=("--udp-workers", "3", "--mi-workers", "1"))
    one = Ends(server.sip_port)
    yield one
    one.close()


def test_fact_15_replies_that_come_together_keep_their_order(ends: Ends) -> None:
    ends.run()

    assert ends.answered == CALLS
    swapped = {call: seen for call, seen in ends.seen.items() if tuple(seen) != REPLIES}
    assert len(swapped) <= TOLERATED, dict(list(swapped.items())[:20])
