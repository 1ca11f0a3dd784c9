"""Calls at a steady rate through a server, both ends of each, and what became of every one of them.

A call is INVITE, 180, 200, ACK, BYE, 200, each end sending again as RFC 3261 says. The load is **open-loop**: call n
is due at ``start + n / rate`` whatever happened to those before it, and its setup counts from that moment. Some calls
the caller does not end: it waits for the server to end them, by a BYE to each end.

``python -m mi_load.calls PLAN`` offers one plan in a process of its own and writes what it found to standard output.
"""

from __future__ import annotations

import json
import os
import random
import re
import select
import socket
import sys
import time
from array import array
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from sip_ends import HOST, METHOD, Address, Repeats, Timers, Within, arrived, bound, reply, run_undisturbed, within

_START_IN_S: Final = 0.1
RUNG_S: Final = 0.1
"""How long the callee rings: so long that a 180 and its 200 do not race through the server's processes."""
NUMBERS_FROM: Final = 10_000_000
"""The prefix of the first rule; those of the others follow it."""
ENDED: Final = "ended"
"""The caller of a call that the server is to end: the user of its From."""


@dataclass(frozen=True, slots=True)
class Plan:
    """One load.

    Args:
        port: the server's, on 127.0.0.1.
        uas_port: where the callee listens; the server sends calls there.
        run: names this load in every Call-ID.
        per_s: calls begun in a second.
        seconds: for how long.
        talk_s: how long a call lasts from its answer to its BYE.
        ended_every: each so-many-th call is left for the server to end; 0 for none.
        rules: how many prefixes are called, from `NUMBERS_FROM` on.
        seed: makes the numbers that are called repeatable.
        grace_s: how long after its due end a call is waited for.
    """

    port: int
    uas_port: int
    run: str
    per_s: float
    seconds: float
    talk_s: float
    ended_every: int
    rules: int
    seed: int = 7
    grace_s: float = 15.0

    @property
    def count(self) -> int:
        """How many calls the whole load has."""
        return max(1, round(self.per_s * self.seconds))


@dataclass(slots=True)
class Call:
    """One call; all times in seconds of the monotonic clock, 0 for what has not happened.

    Args:
        number: which one.
        waits: whether the server is to end it.
        due: when its INVITE was to be sent.
        answered: when the caller had its 200.
        bye: when the caller sent BYE.
        over: when the caller had the BYE's 200, or when the server's BYE had come to both ends.
        acked: whether the ACK came to the callee.
        hung_up: to which ends the server's BYE has come.
        refused: a final reply that is none of a call that goes well.
    """

    number: int
    waits: bool
    due: float
    answered: float = 0.0
    bye: float = 0.0
    over: float = 0.0
    acked: bool = False
    hung_up: set[str] = field(default_factory=set)
    refused: int = 0

    @property
    def completed(self) -> bool:
        """Whether it went from its INVITE to its end as it should."""
        return bool(self.over) and self.acked and not self.refused


@dataclass(slots=True)
class Told:
    """What became of a load.

    Args:
        offered: how many calls were begun.
        completed: how many went from their INVITE to their end.
        lost: what the others had got to, a line for each of the first 20.
        ended_by_server: how many of the completed were ended by the server's BYE.
        retransmitted: messages that were sent again, by method.
        setup_s: of each answered call the time from the moment its INVITE was due to its 200, less the ringing.
        bye_s: of each BYE the time until its 200.
        lag_p99_s, lag_max_s: by how much the generator itself sent its INVITEs too late.
        real_time: whether the kernel let the generator run at real-time priority.
        spans: by call the moments of its answer and of its caller's BYE, 0 for what did not happen.
    """

    offered: int
    completed: int
    lost: list[str]
    ended_by_server: int
    retransmitted: dict[str, int]
    setup_s: list[float]
    bye_s: list[float]
    lag_p99_s: float
    lag_max_s: float
    real_time: bool
    spans: list[tuple[float, float]]


class Load:
    """Both ends of a plan's calls, in one thread.

    Args:
        plan: what to offer.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._server = (HOST, plan.port)
        self._caller, self._callee = bound(0), bound(plan.uas_port)
        self._caller_port = self._caller.getsockname()[1]
        self._start = time.monotonic() + _START_IN_S
        self._ends = self._start + plan.seconds + plan.talk_s + RUNG_S + plan.grace_s
        self._calls: list[Call] = []
        self._open = 0
        self._random = random.Random(plan.seed)
        self._timers = Timers()
        self._repeats = Repeats(self._timers)
        self._replied: dict[int, bytes] = {}
        self._lags, self._setup_s, self._bye_s = array("d"), array("d"), array("d")
        self._call_id = re.compile(rb"\r\nCall-ID: " + plan.run.encode() + rb"-([0-9]{1,9})\r\n", re.IGNORECASE)

    def run(self) -> Told:
        """Offer the load, wait for what is under way, and say what became of it."""
        now = time.monotonic()
        while now < self._ends and (len(self._calls) < self._plan.count or self._open):
            self._begin_due(now)
            self._timers.fire_due(now)
            readable, _, _ = select.select([self._caller, self._callee], [], [], self._pause_s())
            for each in readable:
                self._drain(each)
            now = time.monotonic()
        self._caller.close()
        self._callee.close()
        return self._told()

    # The schedule.

    def _due(self, number: int) -> float:
        return self._start + number / self._plan.per_s

    def _pause_s(self) -> float:
        wake = min(self._ends, self._timers.next_due())
        if len(self._calls) < self._plan.count:
            wake = min(wake, self._due(len(self._calls)))
        return max(0.0, wake - time.monotonic())

    def _begin_due(self, now: float) -> None:
        while len(self._calls) < self._plan.count and (due := self._due(len(self._calls))) <= now:
            number = len(self._calls)
            every = self._plan.ended_every
            call = Call(number, every > 0 and number % every == 0, due)
            self._calls.append(call)
            self._open += 1
            self._lags.append(time.monotonic() - due)
            self._repeats.begin("INVITE", number, self._caller, self._invite(call), self._server)

    # What comes in.

    def _drain(self, readable: socket.socket) -> None:
        for data, at, source in arrived(readable):
            found = self._call_id.search(data)
            if found is None or (number := int(found[1])) >= len(self._calls):
                continue
            call = self._calls[number]
            if not data.startswith(b"SIP/2.0 "):
                self._requested(call, readable, data, at, source)
            elif readable is self._caller:
                self._replied_to(call, data, at)

    def _replied_to(self, call: Call, data: bytes, at: float) -> None:
        """The caller has a reply."""
        found, status = METHOD.search(data), int(data[8:11])
        method = found[1].decode() if found else ""
        if method == "INVITE":
            self._repeats.stop(method, call.number)
        if status < 200:
            return
        self._repeats.stop(method, call.number)
        if status >= 300:
            call.refused = call.refused or status
            self._close(call, at)
        elif method == "INVITE":
            self._answered(call, data, at)
        elif not call.over:
            self._bye_s.append(at - call.bye)
            self._close(call, at)

    def _answered(self, call: Call, data: bytes, at: float) -> None:
        rest = within(data)
        if rest is None:
            return
        self._caller.sendto(self._request(call, "ACK", 1, rest), self._server)
        if call.answered:
            return
        call.answered = at
        self._setup_s.append(at - call.due - RUNG_S)
        if not call.waits:
            bye = self._request(call, "BYE", 2, rest)
            self._timers.at(at + self._plan.talk_s, lambda now: self._hang_up(call, bye))

    def _hang_up(self, call: Call, bye: bytes) -> None:
        if not call.hung_up:
            call.bye = time.monotonic()
            self._repeats.begin("BYE", call.number, self._caller, bye, self._server)

    def _requested(self, call: Call, by: socket.socket, data: bytes, at: float, source: Address) -> None:
        """Either end has a request."""
        if data.startswith(b"ACK "):
            call.acked = True
            self._repeats.stop("200", call.number)
        elif data.startswith(b"INVITE "):
            self._ring(call, data, source)
        elif data.startswith(b"BYE "):
            by.sendto(reply("200 OK", data), source)
            self._ended_by_server(call, "caller" if by is self._caller else "callee", at)

    def _ended_by_server(self, call: Call, end: str, at: float) -> None:
        if call.bye:
            return  # that is the caller's own
        call.hung_up.add(end)
        if len(call.hung_up) == 2:
            self._close(call, at)

    def _ring(self, call: Call, data: bytes, source: Address) -> None:
        """180 now and 200 when it has rung; to a copy of the INVITE what was said last (RFC 3261 17.2.1)."""
        to = b"<sip:callee@%s:%d>" % (HOST.encode(), self._plan.uas_port)
        known = self._replied.get(call.number)
        if known is not None:
            self._callee.sendto(known, source)
            return
        ringing, answer = reply("180 Ringing", data, to), reply("200 OK", data, to)
        self._replied[call.number] = ringing
        self._callee.sendto(ringing, source)
        self._timers.at(time.monotonic() + RUNG_S, lambda now: self._answer(call, answer, source))

    def _answer(self, call: Call, answer: bytes, source: Address) -> None:
        self._replied[call.number] = answer
        self._repeats.begin("200", call.number, self._callee, answer, source)

    def _close(self, call: Call, at: float) -> None:
        if not call.over:
            call.over = at
            self._open -= 1

    # What goes out.

    def _invite(self, call: Call) -> bytes:
        prefix = NUMBERS_FROM + self._random.randrange(max(1, self._plan.rules))
        ruri = f"sip:{prefix}{call.number % 1000:03}@{HOST}:{self._plan.port}"
        return self._request(call, "INVITE", 1, Within(ruri, f"<{ruri}>", ""))

    def _request(self, call: Call, method: str, cseq: int, to: Within) -> bytes:
        branch = f"z9hG4bK{self._plan.run}{method}{call.number}"
        user = ENDED if call.waits else "caller"
        return (
            f"{method} {to.ruri} SIP/2.0\r\nVia: SIP/2.0/UDP {HOST}:{self._caller_port};branch={branch}\r\n{to.routes}"
            f"Max-Forwards: 70\r\nFrom: <sip:{user}@{HOST}>;tag=a{call.number}\r\nTo: {to.to}\r\n"
            f"Call-ID: {self._plan.run}-{call.number}\r\nCSeq: {cseq} {method}\r\n"
            f"Contact: <sip:caller@{HOST}:{self._caller_port}>\r\nContent-Length: 0\r\n\r\n"
        ).encode()

    # Afterwards.

    def _told(self) -> Told:
        lags = sorted(self._lags)
        lost = [call for call in self._calls if not call.completed]
        return Told(
            offered=len(self._calls),
            completed=len(self._calls) - len(lost),
            lost=[_progress_of(call) for call in lost[:20]] + ["and more"] * (len(lost) > 20),
            ended_by_server=sum(call.completed and call.waits for call in self._calls),
            retransmitted=dict(self._repeats.again),
            setup_s=self._setup_s.tolist(),
            bye_s=self._bye_s.tolist(),
            lag_p99_s=lags[(len(lags) * 99 - 1) // 100],
            lag_max_s=lags[-1],
            real_time=os.sched_getscheduler(0) == os.SCHED_FIFO,
            spans=[(call.answered, call.bye) for call in self._calls],
        )


def _progress_of(call: Call) -> str:
    told = [("answered", call.answered), ("acked", call.acked), ("BYE sent", call.bye), ("over", call.over)]
    reached = ", ".join(name for name, value in told if value) or "nothing came back"
    refused = f", refused with {call.refused}" * bool(call.refused)
    return f"call {call.number}{' that the server ends' * call.waits}: {reached}{refused}"


def plan_of(text: str) -> Plan:
    """Read a plan from JSON."""
    values: dict[str, Any] = json.loads(text)
    return Plan(**values)


def main(arguments: list[str]) -> int:
    """The generator process: one plan as JSON; what became of it as JSON on standard output."""
    run_undisturbed()
    told = Load(plan_of(arguments[0])).run()
    json.dump(asdict(told), sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
