"""In what order do a 180 and a 200 arrive that were sent back to back?

Processes that share a socket work at the same time, so the later message may overtake the earlier one on its way
through the server. A 180 that comes behind its 200 is of no use to the caller, and a proxy may drop it. Caller and
callee are both here, in one process on two sockets, so that neither adds a race of its own.
"""

from __future__ import annotations

import dataclasses
import re
import select
import socket
import time
from collections import Counter
from dataclasses import dataclass
from typing import Any, Final

from peers.effort import Effort, started
from peers.servers import Entry

_HOST: Final = "127.0.0.1"
_LONGEST_DATAGRAM: Final = 65_535
_BURST: Final = 64
_GRACE_S: Final = 10.0
_LATE_S: Final = 1.0
_CALL_ID: Final = re.compile(rb"\r\nCall-ID: order-([0-9]{1,9})\r\n", re.IGNORECASE)
_TO: Final = re.compile(rb"\r\nTo: ([^\r]*)", re.IGNORECASE)
_ROUTE: Final = re.compile(rb"\r\nRecord-Route: ([^\r]*)", re.IGNORECASE)
_CONTACT: Final = re.compile(rb"\r\nContact: <([^>\r]*)>", re.IGNORECASE)
_COPIED: Final = re.compile(rb"\r\n((?:Via|From|Call-ID|CSeq|Record-Route): [^\r]*)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Order:
    """What became of the calls; together they are all of them.

    Args:
        in_order: the 180 came, and then the 200.
        swapped: the 200 came, and then the 180.
        lost_180: the 200 came alone.
        unanswered: not even a 200 came.
    """

    in_order: int
    swapped: int
    lost_180: int
    unanswered: int

    @property
    def calls(self) -> int:
        """All of them."""
        return self.in_order + self.swapped + self.lost_180 + self.unanswered


class Pair:
    """A caller and a callee, with the server between them.

    Args:
        port: the server's.
        uas_port: where the callee listens; calls come there from the server.
        calls: how many.
        per_s: how many are begun each second.
    """

    def __init__(self, port: int, uas_port: int, calls: int, per_s: int) -> None:
        self._server = (_HOST, port)
        self._caller, self._callee = _bound(0), _bound(uas_port)
        self._calls = calls
        self._per_s = per_s
        self._begun = 0
        self._answered = 0
        self._arrived: list[list[int]] = [[] for _ in range(calls)]
        """By call the statuses above 100, as they came."""
        self._taken: set[bytes] = set()

    def run(self) -> Order:
        """Make all calls and wait for what is under way."""
        start_s = time.monotonic()
        ends_s = start_s + self._calls / self._per_s + _GRACE_S
        while (now := time.monotonic()) < ends_s and not self._settled(now, start_s):
            while self._begun < self._calls and start_s + self._begun / self._per_s <= now:
                self._invite(self._begun)
                self._begun += 1
            next_s = start_s + self._begun / self._per_s if self._begun < self._calls else now + 0.05
            readable, _, _ = select.select([self._caller, self._callee], [], [], max(0.0, next_s - time.monotonic()))
            for each in readable:
                self._drain(each)
        self._caller.close()
        self._callee.close()
        return self._judge()

    def _settled(self, now: float, start_s: float) -> bool:
        # A 180 that is late may still come for a while after the last 200.
        return self._answered == self._calls and now > start_s + self._calls / self._per_s + _LATE_S

    def _judge(self) -> Order:
        ends = Counter(_kind(statuses) for statuses in self._arrived)
        return Order(ends["in_order"], ends["swapped"], ends["lost_180"], ends["unanswered"])

    def _drain(self, readable: socket.socket) -> None:
        for _ in range(_BURST):
            try:
                data = readable.recv(_LONGEST_DATAGRAM)
            except OSError:  # nothing more, or the kernel's word that nobody listens
                return
            if readable is self._callee:
                self._answer(data)
            else:
                self._take(data)

    def _invite(self, number: int) -> None:
        port = self._caller.getsockname()[1]
        text = (
            f"INVITE sip:callee@{_HOST}:{self._server[1]} SIP/2.0\r\n"
            f"Via: SIP/2.0/UDP {_HOST}:{port};branch=z9hG4bKorder{number}\r\n"
            f"Max-Forwards: 70\r\nFrom: <sip:caller@{_HOST}>;tag=a{number}\r\nTo: <sip:callee@{_HOST}>\r\n"
            f"Call-ID: order-{number}\r\nCSeq: 1 INVITE\r\nContact: <sip:caller@{_HOST}:{port}>\r\n"
            "Content-Length: 0\r\n\r\n"
        )
        self._caller.sendto(text.encode(), self._server)

    def _answer(self, data: bytes) -> None:
        """The callee: 180 and 200 in one breath, once for each call."""
        call_id, to = _CALL_ID.search(data), _TO.search(data)
        if not data.startswith(b"INVITE ") or call_id is None or to is None or call_id[1] in self._taken:
            return
        self._taken.add(call_id[1])
        contact = f"Contact: <sip:callee@{_HOST}:{self._callee.getsockname()[1]}>".encode()
        lines = [*_COPIED.findall(data), b"To: " + to[1] + b";tag=b" + call_id[1], contact, b"Content-Length: 0"]
        rest = b"\r\n".join([*lines, b"", b""])
        self._callee.sendto(b"SIP/2.0 180 Ringing\r\n" + rest, self._server)
        self._callee.sendto(b"SIP/2.0 200 OK\r\n" + rest, self._server)

    def _take(self, data: bytes) -> None:
        """The caller: notes what has come, and acknowledges a 200."""
        call_id = _CALL_ID.search(data)
        if call_id is None or not data.startswith(b"SIP/2.0 ") or data[8:11] == b"100":
            return
        statuses, status = self._arrived[int(call_id[1])], int(data[8:11])
        if status == 200:
            self._answered += 200 not in statuses
            self._acknowledge(data, call_id[1].decode())
        statuses.append(status)

    def _acknowledge(self, answer: bytes, number: str) -> None:
        to, contact, routes = _TO.search(answer), _CONTACT.search(answer), _ROUTE.findall(answer)
        if to is None or contact is None:
            return
        route = "".join(f"Route: {value.decode()}\r\n" for value in reversed(routes))
        text = (
            f"ACK {contact[1].decode()} SIP/2.0\r\n"
            f"Via: SIP/2.0/UDP {_HOST}:{self._caller.getsockname()[1]};branch=z9hG4bKack{number}\r\n{route}"
            f"Max-Forwards: 70\r\nFrom: <sip:caller@{_HOST}>;tag=a{number}\r\nTo: {to[1].decode()}\r\n"
            f"Call-ID: order-{number}\r\nCSeq: 1 ACK\r\nContent-Length: 0\r\n\r\n"
        )
        self._caller.sendto(text.encode(), self._server)


def _kind(statuses: list[int]) -> str:
    if 200 not in statuses:
        return "unanswered"
    if 180 not in statuses:
        return "lost_180"
    return "in_order" if statuses.index(180) < statuses.index(200) else "swapped"


def _bound(port: int) -> socket.socket:
    one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    one.bind((_HOST, port))
    one.setblocking(False)
    return one


def measure(entry: Entry, effort: Effort) -> dict[str, Any]:
    """Start a server, put calls through it, and stop it.

    Raises:
        ServerError: the server did not start, or is gone at the end.
    """
    with started(entry, "calls", effort.processes) as (site, server):
        order = Pair(site.port, site.uas_port, effort.order_calls, effort.order_per_s).run()
        server.check_alive()
    # A proxy may drop a 180 that comes behind its 200, so that one that is lost was overtaken as well.
    out_of_order = order.swapped + order.lost_180
    return {"calls": order.calls, "out_of_order": out_of_order, **dataclasses.asdict(order)}
