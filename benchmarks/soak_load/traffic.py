"""Both ends of the soak's requests, at a steady rate, and the ledger of what becomes of them.

The load is **open-loop**: request n is due at ``start + n / rate``, whatever happened to those before it. A request is
an OPTIONS that the script answers, or a call: INVITE, 180, 200, ACK, BYE, 200, with Record-Route and a dialog. What the
script does with it is its **kind**, which is the user of the Request-URI; `KINDS` says how many there are of each.

``python -m soak_load.traffic PLAN`` offers one plan in a process of its own. It reads the deaths, a line each, from its
standard input, and writes lines to its standard output: how far it is each second, and the findings last.
"""

from __future__ import annotations

import json
import os
import random
import re
import select
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Final

from sip_ends import HOST, METHOD, TO, Address, Repeats, Timers, Within, arrived, bound, reply, run_undisturbed, within

from soak_load.ledger import Death, Ledger, Reply, Role
from soak_load.stamps import owner_of, stamps_of

KINDS: Final = {
    ("OPTIONS", "plain"): 825,
    ("OPTIONS", "waits"): 55,
    ("OPTIONS", "sleeps"): 25,
    ("OPTIONS", "launches"): 20,
    ("OPTIONS", "inline"): 5,
    ("INVITE", "plain"): 40,
    ("INVITE", "waits"): 15,
    ("INVITE", "sleeps"): 10,
    ("INVITE", "reply"): 5,
}
"""Of 1,000 requests: what they are, and what the script does with them. A command is run for 135 of them; 110 are
parked for it, one in ten of all with the calls' BYEs."""
MOST_MS: Final = 50
"""A command takes up to so long; one that is run inline a tenth of it."""
_START_IN_S: Final = 0.1
_RUNG_S: Final = 0.1
_TALK_S: Final = 1.0
_GRACE_S: Final = 45.0
_TAG: Final = re.compile(r";tag=([^;>]+)")


@dataclass(frozen=True, slots=True)
class Plan:
    """One load.

    Args:
        port: the server's, on 127.0.0.1.
        uas_port: where the callee listens; the server sends calls there.
        told_port: where the server's events come, and what its commands tell of themselves.
        run: names this load in every Call-ID.
        per_s: requests begun in a second.
        seconds: for how long.
        seed: makes kinds and times repeatable.
        runner: the role of those that run the commands.
    """

    port: int
    uas_port: int
    told_port: int
    run: str
    per_s: float
    seconds: float
    seed: int
    runner: Role

    @property
    def count(self) -> int:
        """How many requests are begun."""
        return max(1, round(self.per_s * self.seconds))


class Traffic:
    """See the module.

    Args:
        plan: what to offer.
        say: gets a message for standard output now and then.
    """

    def __init__(self, plan: Plan, say: Callable[[dict[str, Any]], None]) -> None:
        self._plan, self._say = plan, say
        self._server = (HOST, plan.port)
        self._caller, self._callee, self._told = bound(0), bound(plan.uas_port), bound(plan.told_port)
        self._caller_port = self._caller.getsockname()[1]
        self._ledger = Ledger(plan.runner)
        self._timers = Timers()
        self._repeats = Repeats(self._timers)
        self._random = random.Random(plan.seed)
        self._start = time.monotonic() + _START_IN_S
        self._ends = self._start + plan.seconds + _GRACE_S
        self._begun = 0
        self._unread = b""
        self._replied: dict[str, bytes] = {}
        """By token what the callee said last to its INVITE."""
        self._hung_up: set[str] = set()
        """Tokens of calls that are answered; a copy of the 200 begins no second BYE."""
        self._call_id = re.compile(rb"\r\nCall-ID: (" + plan.run.encode() + rb"-[0-9]{1,9})\r\n", re.IGNORECASE)

    def run(self) -> None:
        """Offer the load, wait for what is under way, and tell the findings."""
        self._each_second(time.monotonic())
        sockets: dict[Any, Callable[[], None]] = {
            self._caller: self._drain_caller,
            self._callee: self._drain_callee,
            self._told: self._drain_told,
        }
        now = time.monotonic()
        while now < self._ends and (self._begun < self._plan.count or self._ledger.open):
            self._begin_due(now)
            self._timers.fire_due(now)
            readable, _, _ = select.select([sys.stdin, *sockets], [], [], self._pause_s())
            if sys.stdin in readable:  # before the sockets: a death is told before it can have consequences
                self._read_deaths()
            for each in readable:
                if each in sockets:
                    sockets[each]()
            now = time.monotonic()
        self._tell(now, over=True)

    # The schedule.

    def _due(self, number: int) -> float:
        return self._start + number / self._plan.per_s

    def _pause_s(self) -> float:
        wake = min(self._ends, self._timers.next_due())
        if self._begun < self._plan.count:
            wake = min(wake, self._due(self._begun))
        return max(0.0, wake - time.monotonic())

    def _each_second(self, now: float) -> None:
        self._ledger.turn(now)
        self._tell(now)
        self._timers.at(now + 1.0, self._each_second)

    def _tell(self, now: float, over: bool = False) -> None:
        ledger, latencies = self._ledger, sorted(self._ledger.latencies)
        ledger.latencies.clear()
        told: dict[str, Any] = {
            "elapsed_s": now - self._start,
            "counts": dict(ledger.counts),
            "open": ledger.open,
            "late_ms": 1000 * max(0.0, now - self._due(self._begun)) if self._begun < self._plan.count else 0.0,
            "p50_ms": 1000 * latencies[len(latencies) // 2] if latencies else 0.0,
            "p99_ms": 1000 * latencies[len(latencies) * 99 // 100] if latencies else 0.0,
            "again": dict(self._repeats.again),
        }
        if over:
            ledger.check()
            told["violations"] = [asdict(one) for one in ledger.violations]
            told["explained"] = [asdict(one) for one in ledger.explained]
        self._say(told)

    def _read_deaths(self) -> None:
        data = os.read(sys.stdin.fileno(), 1 << 16)
        if not data:
            raise SystemExit("whoever started this is gone")
        *lines, self._unread = (self._unread + data).split(b"\n")
        for line in lines:
            self._ledger.died(Death(*json.loads(line)))

    def _begin_due(self, now: float) -> None:
        while self._begun < self._plan.count and self._due(self._begun) <= now:
            token = f"{self._plan.run}-{self._begun}"
            ((method, kind),) = self._random.choices(list(KINDS), list(KINDS.values()))
            longest = MOST_MS if kind != "inline" else MOST_MS // 10
            extra = f"X-Ms: {self._random.randint(0, longest)}\r\n"
            ruri = f"sip:{kind}@{HOST}:{self._plan.port}"
            data = self._request(token, method, 1, Within(ruri, f"<{ruri}>", extra))
            self._begun += 1
            self._ledger.sent(token, method, kind, time.monotonic())
            self._repeats.begin(method, token, self._caller, data, self._server)

    # The caller.

    def _drain_caller(self) -> None:
        for data, at, source in arrived(self._caller):
            found, method = self._call_id.search(data), METHOD.search(data)
            if found is None or method is None:
                continue
            if data.startswith(b"SIP/2.0 "):
                self._replied_to(found[1].decode(), method[1].decode(), data, at)
            else:  # nothing in the script sends requests to a caller
                self._caller.sendto(reply("481 Nothing Of The Kind", data), source)

    def _replied_to(self, token: str, method: str, data: bytes, at: float) -> None:
        status = int(data[8:11])
        if method == "INVITE":
            self._repeats.stop(method, token)
        if status < 200:
            self._ledger.held(token, method, owner_of(data), at, waiting=method == "INVITE")
            return
        self._repeats.stop(method, token)
        if method == "INVITE":
            self._end_of_invite(token, status, data, at)
        to = TO.search(data)
        tag = _TAG.search(to[1].decode("latin-1")) if to else None
        final = Reply(status, tag[1] if tag else "", tuple(stamps_of(data)))
        self._ledger.replied(token, method, final, owner_of(data), at)

    def _end_of_invite(self, token: str, status: int, data: bytes, at: float) -> None:
        to = within(data)
        if status >= 300:
            found = TO.search(data)
            ruri = f"sip:refused@{HOST}:{self._plan.port}"
            refused = Within(ruri, found[1].decode("latin-1") if found else f"<{ruri}>", "")
            self._caller.sendto(self._request(token, "ACK", 1, refused, branch_of="INVITE"), self._server)
        elif to is not None:
            self._ledger.acknowledging(token, at)
            self._caller.sendto(self._request(token, "ACK", 1, to), self._server)
            if token not in self._hung_up:
                self._hung_up.add(token)
                self._timers.at(at + _TALK_S, lambda now: self._hang_up(token, to))

    def _hang_up(self, token: str, to: Within) -> None:
        self._ledger.sent(token, "BYE", "in dialog", time.monotonic())
        self._repeats.begin("BYE", token, self._caller, self._request(token, "BYE", 2, to), self._server)

    def _request(self, token: str, method: str, cseq: int, to: Within, branch_of: str = "") -> bytes:
        return (
            f"{method} {to.ruri} SIP/2.0\r\n"
            f"Via: SIP/2.0/UDP {HOST}:{self._caller_port};branch=z9hG4bK{branch_of or method}{token}\r\n{to.routes}"
            f"Max-Forwards: 70\r\nFrom: <sip:soak@{HOST}>;tag=a{token}\r\nTo: {to.to}\r\n"
            f"Call-ID: {token}\r\nCSeq: {cseq} {method}\r\n"
            f"Contact: <sip:soak@{HOST}:{self._caller_port}>\r\nContent-Length: 0\r\n\r\n"
        ).encode()

    # The callee.

    def _drain_callee(self) -> None:
        for data, at, source in arrived(self._callee):
            found = self._call_id.search(data)
            if found is None or data.startswith(b"SIP/2.0 "):
                continue
            token = found[1].decode()
            if data.startswith(b"ACK "):
                self._repeats.stop("200", token)
                self._ledger.acked(token, at)
            elif data.startswith(b"INVITE "):
                self._rings(token, data, at, source)
            else:
                self._callee.sendto(reply("200 OK", data), source)

    def _rings(self, token: str, data: bytes, at: float, source: Address) -> None:
        """180 now and 200 when it has rung; to a copy of the INVITE what was said last (RFC 3261 17.2.1)."""
        self._ledger.held(token, "INVITE", owner_of(data), at, waiting=False)
        for stamp in stamps_of(data):
            self._ledger.stamped(token, "INVITE", stamp, at)
        known = self._replied.get(token)
        if known is not None:
            self._callee.sendto(known, source)
            return
        contact = b"<sip:callee@%s:%d>" % (HOST.encode(), self._plan.uas_port)
        ringing, answer = (reply(status, data, contact, b"b" + token.encode()) for status in ("180 Ringing", "200 OK"))
        self._replied[token] = ringing
        self._callee.sendto(ringing, source)
        self._timers.at(time.monotonic() + _RUNG_S, lambda now: self._answer(token, answer, source))

    def _answer(self, token: str, answer: bytes, source: Address) -> None:
        self._replied[token] = answer
        self._repeats.begin("200", token, self._callee, answer, source)
        self._timers.at(time.monotonic() + _GRACE_S, lambda now: self._forget(token))

    def _forget(self, token: str) -> None:
        self._repeats.stop("200", token)
        self._replied.pop(token, None)
        self._hung_up.discard(token)

    # What the server and its commands tell.

    def _drain_told(self) -> None:
        for data, at, _ in arrived(self._told):
            if data.startswith(b"ran "):
                _, token, pid, origin = data.decode().split(" ")
                self._ledger.ran(token, int(pid), int(origin), at)
            else:
                self._reported(json.loads(data)["params"], at)

    def _reported(self, values: dict[str, Any], at: float) -> None:
        token, launched_by, version = str(values["said"]).split(" ")
        if str(values["pid"]) != launched_by:
            self._ledger.misplaced(token, f"was launched by {launched_by} and reported by {values['pid']}", at)
        if str(values["script"]) != version:
            self._ledger.misplaced(token, f"was launched under {version}, reported under {values['script']}", at)
        self._ledger.reported(token, int(values["pid"]), int(values["rc"]), at)


def main(arguments: list[str]) -> int:
    """The generator process: one plan as JSON."""
    run_undisturbed()

    def say(message: dict[str, Any]) -> None:
        sys.stdout.write(json.dumps(message) + "\n")
        sys.stdout.flush()

    Traffic(Plan(**json.loads(arguments[0])), say).run()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
