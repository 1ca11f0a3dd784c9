"""What both ends of a benchmark's calls are made of: sockets, times, sending again, replies.

RFC 3261 has a message over UDP sent again until it is answered, after T1 and then after twice as long each time
(17.1.1.2, 17.1.2.2, 13.3.1.4). All of an end lives in one thread: `Timers` says when it has to wake up.
"""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import heapq
import itertools
import json
import os
import re
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Hashable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

from runtime.traffic.generator import SO_TIMESTAMPNS, arrived_s, environment

HOST: Final = "127.0.0.1"
T1_S: Final = 0.5
T2_S: Final = 4.0
GIVEN_UP_S: Final = 64 * T1_S
_LONGEST_DATAGRAM: Final = 65_535
_BURST: Final = 64
_BUFFER: Final = 4 << 20

Address = tuple[str, int]

TO: Final = re.compile(rb"\r\nTo: ([^\r]*)", re.IGNORECASE)
ROUTE: Final = re.compile(rb"\r\nRecord-Route: ([^\r]*)", re.IGNORECASE)
CONTACT: Final = re.compile(rb"\r\nContact: <([^>\r]*)>", re.IGNORECASE)
METHOD: Final = re.compile(rb"\r\nCSeq: [0-9]+ ([A-Z]+)", re.IGNORECASE)
_COPIED: Final = re.compile(rb"\r\n((?:Via|From|Call-ID|CSeq|Record-Route): [^\r]*)", re.IGNORECASE)


class Arrived(NamedTuple):
    """A datagram, when the kernel took it in (monotonic seconds), and whom it is from."""

    data: bytes
    at: float
    source: Address


def bound(port: int) -> socket.socket:
    """A UDP socket on that port; 0 for a free one."""
    one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
    with contextlib.suppress(OSError):
        one.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
    one.bind((HOST, port))
    one.setblocking(False)
    return one


def arrived(readable: socket.socket) -> Iterator[Arrived]:
    """What lies in a socket, up to so much that the other sockets have their turn."""
    ahead_s = time.clock_gettime(time.CLOCK_REALTIME) - time.monotonic()
    for _ in range(_BURST):
        try:
            data, control, _, source = readable.recvmsg(_LONGEST_DATAGRAM, 64)
        except OSError:  # nothing more, or the kernel's word that nobody listens
            return
        yield Arrived(data, arrived_s(control, ahead_s), source)


class Timers:
    """What is to be done, and when, in monotonic seconds."""

    def __init__(self) -> None:
        self._due: list[tuple[float, int, Callable[[float], None]]] = []
        self._serial = itertools.count()

    def at(self, at: float, action: Callable[[float], None]) -> None:
        """Have something done at that moment; it is told the time."""
        heapq.heappush(self._due, (at, next(self._serial), action))

    def fire_due(self, now: float) -> None:
        """Do what is due."""
        while self._due and self._due[0][0] <= now:
            heapq.heappop(self._due)[2](now)

    def next_due(self) -> float:
        """The moment of the first of them; infinity when there is none."""
        return self._due[0][0] if self._due else float("inf")


class _Repeat(NamedTuple):
    name: str
    key: Hashable
    by: socket.socket
    data: bytes
    to: Address
    ends: float


class Repeats:
    """Messages that are sent again until they are answered.

    Args:
        timers: wake it up.
    """

    def __init__(self, timers: Timers) -> None:
        self._timers = timers
        self._open: set[tuple[str, Hashable]] = set()
        self.again: Counter[str] = Counter()
        """How many were sent again, by what they are called."""

    def begin(self, name: str, key: Hashable, by: socket.socket, data: bytes, to: Address) -> None:
        """Send now, and again until `stop` (RFC 3261 17.1.1.2, 17.1.2.2, 13.3.1.4)."""
        now = time.monotonic()
        self._open.add((name, key))
        send(by, data, to)
        self._wait(_Repeat(name, key, by, data, to, now + GIVEN_UP_S), now, T1_S)

    def stop(self, name: str, key: Hashable) -> None:
        """It is answered, or was never sent."""
        self._open.discard((name, key))

    def _wait(self, one: _Repeat, now: float, wait_s: float) -> None:
        # Not a function within a function: such a pair refers to itself, and where nothing collects it stays for ever.
        self._timers.at(now + wait_s, partial(self._fire, one, wait_s))

    def _fire(self, one: _Repeat, wait_s: float, now: float) -> None:
        if (one.name, one.key) not in self._open:
            return
        if now >= one.ends:
            self.stop(one.name, one.key)
            return
        send(one.by, one.data, one.to)
        self.again[one.name] += 1
        self._wait(one, now, min(2 * wait_s, GIVEN_UP_S if one.name == "INVITE" else T2_S))


def send(by: socket.socket, data: bytes, to: Address) -> None:
    """Send a datagram; one that the kernel has no room for is lost on the way, as others are."""
    with contextlib.suppress(OSError):
        by.sendto(data, to)


def reply(status: str, request: bytes, contact: bytes = b"", tag: bytes = b"b") -> bytes:
    """The reply to a request, with a tag in its To where there is none."""
    to = TO.search(request)
    told = to[1] if to else b""
    tagged = told if b";tag=" in told else told + b";tag=" + tag
    contacts = [b"Contact: " + contact] if contact else []
    lines = [f"SIP/2.0 {status}".encode(), *_COPIED.findall(request), b"To: " + tagged, *contacts]
    return b"\r\n".join([*lines, b"Content-Length: 0", b"", b""])


class Within(NamedTuple):
    """What a request within a dialog takes from the 2xx: Request-URI, To, and its Route lines."""

    ruri: str
    to: str
    routes: str


def within(answer: bytes) -> Within | None:
    """Where the requests of a dialog go (RFC 3261 12.1.2); None for a 2xx that does not say it."""
    to, contact, routes = TO.search(answer), CONTACT.search(answer), ROUTE.findall(answer)
    if to is None or contact is None:
        return None
    lines = "".join(f"Route: {one.decode()}\r\n" for one in reversed(routes))
    return Within(contact[1].decode(), to[1].decode(), lines)


def run_undisturbed() -> None:
    """Have this process neither sleep long nor wait for a CPU behind what it measures, where that is allowed."""
    with contextlib.suppress(OSError):  # else the kernel may wake a sleeper 50 microseconds late, to save power
        Path("/proc/self/timerslack_ns").write_text("1000")
    with contextlib.suppress(PermissionError):
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    gc.disable()  # a collection in mid-run would be a spike of our own making


def start_end(module: str, plan: Any) -> subprocess.Popen[bytes]:
    """Start an end in a process of its own, which is talked to by its standard input and output.

    Args:
        module: of those beside this one, to be run.
        plan: a dataclass; it is told as JSON.
    """
    command = [sys.executable, "-m", module, json.dumps(dataclasses.asdict(plan))]
    known = environment()
    known["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent), known["PYTHONPATH"]])
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=known)
