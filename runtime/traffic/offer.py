"""What the load generator offers and what becomes of it, apart from any socket or clock.

The load is **open-loop**: request n is due at ``start + n / rate`` whatever happened to those before it, and its
latency counts from that intended moment. A generator that waits for a slow server would leave out exactly the
requests that would have suffered.
"""

from __future__ import annotations

import heapq
import json
import math
import random
import re
from array import array
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple, TypeAlias

from runtime.traffic.request import Template, checked, rendered, request_of

T1_S = 0.5
T2_S = 4.0
TIMER_F_S = 64 * T1_S
_LATENCIES = ("fast_s", "slow_s")
_TOKEN = re.compile(r"[A-Za-z0-9-]{1,40}")
_USER = re.compile(r"[A-Za-z0-9_.!~*'()&=+$,;?/%-]{1,64}")
_STATUSES = re.compile(r"[2-6]([0-9]{2}|xx)(,[2-6]([0-9]{2}|xx))*")


@dataclass(frozen=True, slots=True)
class Plan:
    """One run of the load generator.

    Args:
        host, port: the server's UDP address.
        rate_per_s: requests offered per second.
        seconds: for how long.
        fast_user, slow_user: the user part of the Request-URI, by which the script knows what to do.
        slow_share: which share of the requests goes to `slow_user`, 0 to 1; they are spread at random.
        seed: makes that spread repeatable.
        run: names this run in every branch and Call-ID, so that a late answer to an earlier run is nobody's.
        sources: how many UDP source ports the requests come from, in turn.
        grace_s: how long after the last request answers are still waited for.
        request: what each looks like, with keywords, see `request.checked`.
        accept: which statuses are answers as wanted, as in ``2xx,404``.

    Raises:
        ValueError: a number is out of its range, a name has characters that do not go there, or the request cannot
            be offered.
    """

    host: str
    port: int
    rate_per_s: float
    seconds: float
    fast_user: str
    slow_user: str
    slow_share: float
    seed: int
    run: str
    sources: int = 16
    grace_s: float = 5.0
    request: str = request_of("OPTIONS")
    accept: str = "200"

    def __post_init__(self) -> None:
        if not (0 < self.rate_per_s <= 100_000 and 0 < self.seconds <= 3600 and 0 <= self.grace_s <= 60):
            raise ValueError("rate: up to 100000 requests/s; seconds: up to 3600; grace: up to 60 s")
        if not (0 <= self.slow_share <= 1 and 1 <= self.sources <= 256):
            raise ValueError("slow share: 0 to 1; sources: 1 to 256")
        if not _TOKEN.fullmatch(self.run) or not all(map(_USER.fullmatch, (self.fast_user, self.slow_user))):
            raise ValueError("users and the run's name: letters, digits and '-'; users: what a SIP URI may have there")
        if not _STATUSES.fullmatch(self.accept):
            raise ValueError("accept: final statuses with commas, such as 200,404 or 2xx")
        checked(self.request)

    @property
    def count(self) -> int:
        """How many requests the whole run offers."""
        return max(1, round(self.rate_per_s * self.seconds))

    def to_json(self) -> str:
        """The plan as one line, for the generator's command line."""
        return json.dumps(asdict(self))

    @property
    def is_invite(self) -> bool:
        """Whether the requests are INVITEs."""
        return self.request.startswith("INVITE ")

    @classmethod
    def from_json(cls, text: str) -> Plan:
        """Read back what `to_json` wrote. Raises ValueError, TypeError or KeyError for anything else."""
        return cls(**json.loads(text))


def which_are_slow(plan: Plan) -> bytes:
    """One byte per request, 1 for a slow one: exactly the planned share, at places that the seed decides."""
    count = plan.count
    flags = bytearray(count)
    for number in random.Random(plan.seed).sample(range(count), round(count * plan.slow_share)):
        flags[number] = 1
    return bytes(flags)


def template(plan: Plan, user: str, source_host: str, source_port: int) -> Template:
    """The plan's request to `user` from one source port; its number goes in last."""
    return rendered(checked(plan.request), plan.run, user, (plan.host, plan.port), (source_host, source_port))


def accepted(accept: str) -> frozenset[int]:
    """The statuses that a plan's `accept` means."""
    found: set[int] = set()
    for each in accept.split(","):
        first = int(each.replace("xx", "00"))
        found.update(range(first, first + (100 if each.endswith("xx") else 1)))
    return frozenset(found)


@dataclass(slots=True)
class Counts:
    """What happened, in numbers. `statuses` counts first final answers by status code."""

    sent: int = 0
    answered: int = 0
    retransmitted: int = 0
    provisional: int = 0
    duplicates: int = 0
    strays: int = 0
    statuses: dict[int, int] = field(default_factory=dict)


class Acknowledge(NamedTuple):
    """An INVITE's final answer is there: the number of the request, and whether it was there before."""

    number: int
    again: bool


class Exchanges:
    """The generator's side of every request: when it is sent again, and how long its answer took.

    It is the client half of a non-INVITE transaction (RFC 3261 section 17.1.2): Timer E resends after T1, doubling
    up to T2, and at once every T2 after a provisional answer; Timer F gives up after 64*T1. An INVITE (section 17.1.1)
    is resent by Timer A, which doubles for ever, until there is any answer; its final one has to be acknowledged.

    Invariant: each request sent has had its one final answer, or is outstanding (`check()`).

    Args:
        plan: the run.
        slow: one byte per request, from `which_are_slow`.
        start_s: when the first request is due; all times are seconds of one monotonic clock.
    """

    def __init__(self, plan: Plan, slow: bytes, start_s: float) -> None:
        self.plan = plan
        self.counts = Counts()
        self.start_s = start_s
        self.last_answer_s = start_s
        self.end_s = start_s + plan.count / plan.rate_per_s + plan.grace_s
        self.waiting_slow = 0
        """Slow requests without a final answer when the last one was sent."""
        self._slow = slow
        self._sent_s = array("d", bytes(8 * plan.count))
        self._interval_s = array("d", bytes(8 * plan.count))
        self._done = bytearray(plan.count)
        self._accepted = accepted(plan.accept)
        self._invites = plan.is_invite
        self._resend: list[tuple[float, int]] = []
        self._number = re.compile(rb"branch=z9hG4bK" + plan.run.encode("ascii") + rb"-([0-9]{1,9})(?![0-9])")
        self._new_fast, self._new_slow = array("d"), array("d")

    def intended_s(self, number: int) -> float:
        """When request `number` is due."""
        return self.start_s + number / self.plan.rate_per_s

    def is_slow(self, number: int) -> bool:
        """Whether request `number` calls the command."""
        return self._slow[number] == 1

    def sent(self, number: int, now: float) -> None:
        """Request `number` has gone out for the first time; they go in order."""
        assert number == self.counts.sent
        self.counts.sent += 1
        if self.counts.sent == self.plan.count:
            self.waiting_slow = sum(self._slow) - sum(map(int.__and__, self._slow, self._done))
        self._sent_s[number] = now
        self._interval_s[number] = T1_S
        heapq.heappush(self._resend, (now + T1_S, number))

    def due(self, now: float) -> list[int]:
        """Which requests must be sent again now (Timer E); each is counted and its next time set."""
        again = []
        while self._resend and self._resend[0][0] <= now:
            _, number = heapq.heappop(self._resend)
            if self._done[number] or now - self._sent_s[number] >= TIMER_F_S:
                continue
            if self._interval_s[number] == math.inf:
                continue
            interval_s = 2 * self._interval_s[number] if self._invites else min(2 * self._interval_s[number], T2_S)
            self._interval_s[number] = interval_s
            heapq.heappush(self._resend, (now + interval_s, number))
            again.append(number)
        self.counts.retransmitted += len(again)
        return again

    def next_due(self) -> float:
        """The earliest moment at which `due` may give something; infinity when nothing is outstanding."""
        while self._resend and self._done[self._resend[0][1]]:
            heapq.heappop(self._resend)
        return self._resend[0][0] if self._resend else math.inf

    def received(self, data: bytes, at_s: float) -> Acknowledge | None:
        """A datagram came in. What is no answer to a request of this run is counted as a stray and ignored.

        Returns:
            What has to be acknowledged, if it is an INVITE's final answer.
        """
        found = self._number.search(data)
        status = data[8:11]
        if found is None or not data.startswith(b"SIP/2.0 ") or not status.isdigit():
            self.counts.strays += 1
            return None
        number, code = int(found[1]), int(status)
        if number >= self.counts.sent:
            self.counts.strays += 1
            return None
        again = self._done[number] == 1
        if again:
            self.counts.duplicates += 1
        elif code < 200:
            self.counts.provisional += 1
            self._interval_s[number] = math.inf if self._invites else T2_S
        else:
            self._finish(number, code, at_s)
        return Acknowledge(number, again) if self._invites and code >= 200 else None

    def _finish(self, number: int, code: int, at_s: float) -> None:
        self._done[number] = 1
        self.counts.answered += 1
        self.counts.statuses[code] = self.counts.statuses.get(code, 0) + 1
        self.last_answer_s = max(self.last_answer_s, at_s)
        if code in self._accepted:  # a quick refusal is no good latency: it is told apart by its status
            latency_s = max(0.0, at_s - self.intended_s(number))
            (self._new_slow if self._slow[number] else self._new_fast).append(latency_s)

    def take_latencies(self) -> tuple[array[float], array[float]]:
        """The latencies of fast and of slow requests, in seconds, that were measured since the last time."""
        new = self._new_fast, self._new_slow
        self._new_fast, self._new_slow = array("d"), array("d")
        return new

    @property
    def lost(self) -> int:
        """Sent, and without a final answer."""
        return self.counts.sent - self.counts.answered

    def waiting(self, now: float) -> tuple[array[float], array[float]]:
        """For how long the fast and the slow requests without a final answer have waited, in seconds."""
        waited = array("d"), array("d")
        for number in range(self.counts.sent):
            if not self._done[number]:
                waited[self._slow[number]].append(max(0.0, now - self.intended_s(number)))
        return waited

    def finished(self, now: float) -> bool:
        """Whether all was sent and nothing more is waited for."""
        return self.counts.sent == self.plan.count and (self.lost == 0 or now >= self.end_s)

    def check(self) -> None:
        """Assert the invariant and its consequences."""
        counts = self.counts
        assert sum(self._done) == counts.answered == sum(counts.statuses.values())
        assert 0 <= counts.answered <= counts.sent <= self.plan.count
        assert not any(self._done[counts.sent :])


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the run is, and the latencies (seconds) that were measured since the one before."""

    elapsed_s: float
    sent: int
    answered: int
    retransmitted: int
    fast_s: array[float]
    slow_s: array[float]


@dataclass(frozen=True, slots=True)
class Ended:
    """The end of a run.

    Args:
        counts, lost: what happened to the requests.
        window_s: from the first request to the last answer, or to the end of the load if that is later.
        lag_p99_s, lag_max_s: by how much the generator itself sent too late.
        real_time: whether the kernel let the generator run at real-time priority.
        send_errors: sends that failed; those requests were sent again.
        waiting_slow: slow requests without a final answer when the last request was sent.
        lost_fast_s, lost_slow_s: for how many seconds the lost ones had waited when the run ended.
    """

    counts: Counts
    lost: int
    window_s: float
    lag_p99_s: float
    lag_max_s: float
    real_time: bool
    send_errors: int
    waiting_slow: int = 0
    lost_fast_s: array[float] = field(default_factory=lambda: array("d"))
    lost_slow_s: array[float] = field(default_factory=lambda: array("d"))


Frame: TypeAlias = Progress | Ended


def to_wire(frame: Frame) -> dict[str, Any]:
    """A frame as plain data for msgpack."""
    return {name: value.tobytes() if isinstance(value, array) else value for name, value in asdict(frame).items()}


def from_wire(plain: dict[str, Any]) -> Frame:
    """Read back what `to_wire` gave."""
    read: dict[str, Any] = {
        name: array("d", value) if name.endswith(_LATENCIES) else value for name, value in plain.items()
    }
    if "counts" not in read:
        return Progress(**read)
    return Ended(**{**read, "counts": Counts(**read["counts"])})
