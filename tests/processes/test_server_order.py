"""Replies that come one right after the other go upstream in their order, whichever processes read them."""

from __future__ import annotations

import os
import re
import select
import signal
import socket
import time
from collections.abc import Callable, Iterator

import pytest

from runtime.handover import PATIENCE_S
from runtime.steps import ServerStep
from tests.harness import LIMIT_S, Server, wait_until
from tests.processes.faults import Faults
from tests.sip_peer import Peer

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
STOPS = 5


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


@pytest.fixture(scope="module")
def server(faults: Faults, start_shared: Callable[..., Server]) -> Server:
    return start_shared(ROUTES, options=("--udp-workers", "3", "--mi-workers", "1"))


@pytest.fixture
def ends(server: Server) -> Iterator[Ends]:
    one = Ends(server.sip_port)
    yield one
    one.close()


def test_fact_15_replies_that_come_together_keep_their_order(ends: Ends) -> None:
    ends.run()

    assert ends.answered == CALLS
    swapped = {call: seen for call, seen in ends.seen.items() if tuple(seen) != REPLIES}
    assert not swapped, dict(list(swapped.items())[:20])


def test_a_reply_waits_for_the_one_before_it_whose_process_has_lost_its_processor(
    server: Server, faults: Faults, peers: tuple[Peer, Peer, Peer]
) -> None:
    caller, callee, _ = peers
    extra = f"X-Callee: {callee.port}\r\n"
    for _ in range(STOPS):
        invite = caller.request("INVITE", f"sip:bob@127.0.0.1:{server.sip_port}", extra=extra)
        caller.send(invite)
        arrived = callee.wait_request("INVITE")
        read = server.statistic("core:rcv_replies")
        faults.order("sip-*", ServerStep.REPLY_RECEIVED, number=signal.SIGSTOP)
        callee.reply(arrived, 180)
        stopped = wait_until(faults.victim, what="somebody has the 180")
        began = time.monotonic()
        try:
            callee.reply(arrived, 200)
            wait_until(lambda before=read: server.statistic("core:rcv_replies") > before, what="another has the 200")
            time.sleep(PATIENCE_S / 4)  # for so long a process may be out of turn on a machine with much to do
            was_in_time = time.monotonic() - began < PATIENCE_S / 2
        finally:
            os.kill(stopped, signal.SIGCONT)
        call_id = arrived.call_id
        first = caller.wait(lambda one, mine=call_id: one.call_id == mine and one.status > 100)
        assert first.status == 180 or not was_in_time
        if first.status == 180:
            caller.wait_reply(call_id, 200)
