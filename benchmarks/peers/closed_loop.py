"""A load of so many requests outstanding and never more: each answer lets the next request out.

It finds what a server can do at most, which an open loop finds only by trying rates. Its latencies are those of a full
server and of this window, and are no measure of what a steady load would see.

`python -m peers.closed_loop` reads what it is to offer from its standard input, one line of JSON each, and writes
what came of it, likewise; it stays until its input ends, since starting takes longer than a short load.
"""

from __future__ import annotations

import gc
import itertools
import json
import secrets
import select
import socket
import subprocess
import sys
import time
from array import array
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from runtime.traffic.generator import environment
from runtime.traffic.offer import T1_S, template
from runtime.traffic.offer import Plan as Request
from runtime.traffic.spread import percentile

_LONGEST_DATAGRAM: Final = 65_535
_LOOK_S: Final = 0.1
_GIVEN_UP_S: Final = 8.0
_BUSY: Final = 0.9


@dataclass(frozen=True, slots=True)
class Load:
    """What is offered.

    Args:
        host, port: the server's UDP address.
        user: the user part of the Request-URI.
        window: how many requests are outstanding; each has a source port of its own.
        seconds: for how long new ones are sent.
    """

    host: str
    port: int
    user: str
    window: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Told:
    """What came of it.

    Args:
        answered: requests with a final answer.
        refused: of these, with another than 200.
        lost: requests without any.
        retransmitted: sent again, after half a second without an answer.
        seconds: from the first request to the last answer.
        p50_ms, p99_ms: of those answered.
        busy: the share of that time in which the generator had a CPU.
    """

    answered: int
    refused: int
    lost: int
    retransmitted: int
    seconds: float
    p50_ms: float
    p99_ms: float
    busy: float

    @property
    def rate_per_s(self) -> float:
        """Answers per second."""
        return self.answered / self.seconds if self.seconds else 0.0

    @property
    def is_limited(self) -> bool:
        """Whether the generator had no more to give, so that the server may be able to do more."""
        return self.busy > _BUSY


class _Slot:
    """One source port, with at most one request outstanding."""

    __slots__ = ("datagram", "expected", "is_open", "receive", "send", "sent_s", "socket", "template", "tried_s")

    def __init__(self, load: Load, run: str) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.connect((load.host, load.port))
        self.socket.setblocking(False)
        self.receive, self.send = self.socket.recv, self.socket.send
        asked = Request(load.host, load.port, 1, 1, load.user, load.user, 0, 0, run)
        self.template = template(asked, load.user, *self.socket.getsockname())
        self.datagram = self.expected = b""
        self.is_open = False
        self.sent_s = self.tried_s = 0.0


class Loop:
    """One load, from its first request to its last answer."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._run = secrets.token_hex(4)
        slots = [_Slot(load, self._run) for _ in range(load.window)]
        self._slots = {slot.socket.fileno(): slot for slot in slots}
        self._numbers = itertools.count(1)
        self._latencies_s = array("d")
        self._statuses: Counter[bytes] = Counter()
        self._lost = self._retransmitted = 0

    def run(self) -> Told:
        """Offer it."""
        cpu_s, start_s = time.process_time(), time.perf_counter()
        try:
            for slot in self._slots.values():
                self._begin(slot, start_s)
            end_s = self._serve(start_s + self._load.seconds)
        finally:
            for slot in self._slots.values():
                slot.socket.close()
        cpu_s = time.process_time() - cpu_s
        return self._told(max(end_s - start_s, 1e-9), cpu_s)

    def _serve(self, until_s: float) -> float:
        """Take in answers and send the next requests; the moment of the last answer."""
        slots, last_s = self._slots, time.perf_counter()
        with select.epoll() as waiting:
            for descriptor in slots:
                waiting.register(descriptor, select.EPOLLIN)
            looked_s, left = last_s, len(slots)
            while left:
                for descriptor, _ in waiting.poll(_LOOK_S):
                    if (now := self._take(slots[descriptor])) is not None:
                        last_s = now
                        if now < until_s:
                            self._begin(slots[descriptor], now)
                        else:
                            left -= 1
                now = time.perf_counter()
                if now - looked_s >= _LOOK_S:
                    looked_s = now
                    left -= self._look_after(now, until_s)
        return last_s

    def _begin(self, slot: _Slot, now: float) -> None:
        number = next(self._numbers)
        slot.datagram = slot.template.numbered(number)
        slot.expected = b"%b-%d@" % (self._run.encode(), number)
        slot.is_open = True
        slot.sent_s = slot.tried_s = now
        _send(slot)

    def _take(self, slot: _Slot) -> float | None:
        """Read one datagram; the time, where it is the final answer to what is outstanding."""
        try:
            data = slot.receive(_LONGEST_DATAGRAM)
        except OSError:  # the kernel's word that nobody listens
            return None
        if not slot.is_open or slot.expected not in data or data[8:9] == b"1":
            return None
        now = time.perf_counter()
        slot.is_open = False
        self._latencies_s.append(now - slot.sent_s)
        self._statuses[data[8:11]] += 1
        return now

    def _look_after(self, now: float, until_s: float) -> int:
        """Send again what has no answer yet, or give it up; how many slots have no more to do."""
        ended = 0
        for slot in self._slots.values():
            if not slot.is_open:
                continue
            if now - slot.sent_s > _GIVEN_UP_S:
                self._lost += 1
                slot.is_open = False
                if now < until_s:
                    self._begin(slot, now)
                else:
                    ended += 1
            elif now - slot.tried_s > T1_S:
                slot.tried_s = now
                self._retransmitted += 1
                _send(slot)
        return ended

    def _told(self, seconds: float, cpu_s: float) -> Told:
        answered, ordered = self._statuses.total(), sorted(self._latencies_s)
        p50_ms, p99_ms = (1000 * percentile(ordered, share) if ordered else 0.0 for share in (0.5, 0.99))
        refused = answered - self._statuses[b"200"]
        return Told(answered, refused, self._lost, self._retransmitted, seconds, p50_ms, p99_ms, cpu_s / seconds)


def _send(slot: _Slot) -> None:
    try:
        slot.send(slot.datagram)
    except OSError:  # as good as lost on the way: it is sent again
        return


class GeneratorError(Exception):
    """The generator could not be started, or did not come to its end."""


class Generator:
    """The generator in a process of its own; a context manager that stops it."""

    def __init__(self) -> None:
        known = environment()
        known["PYTHONPATH"] = f"{Path(__file__).parent.parent}:{known['PYTHONPATH']}"
        command = [sys.executable, "-m", "peers.closed_loop"]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=known, text=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._process.kill()
        self._process.communicate()

    def offer(self, load: Load) -> Told:
        """Offer one load and wait for its end.

        Raises:
            GeneratorError: it failed, or did not end in time.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(asdict(load)) + "\n")
        self._process.stdin.flush()
        within_s = load.seconds + _GIVEN_UP_S + 15
        ready, _, _ = select.select([self._process.stdout], [], [], within_s)
        line = self._process.stdout.readline() if ready else ""
        if not line:
            raise GeneratorError("the closed loop failed" if ready else "the closed loop did not end in time")
        return Told(**json.loads(line))


def main() -> int:
    gc.disable()  # a collection in mid-run would be a spike of our own making
    for line in sys.stdin:
        fields: dict[str, Any] = json.loads(line)
        print(json.dumps(asdict(Loop(Load(**fields)).run())), flush=True)
        gc.collect()
    return 0


if __name__ == "__main__":
    sys.exit(main())
