"""Those on the other side of the network: callers, who want an answer, and gateways, who give one (RFC 3261).

They are simple and right: what goes wrong is the network's business, or the plan's. Like a core they do nothing by
themselves: they say what to send, and when they want to be asked again.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Final

from runtime.simulation.plan import Answer, Follow, Send
from runtime.sip.message import Reply, Request, parse

T1_S: Final = 0.5
T2_S: Final = 4.0
GIVES_UP_S: Final = 64 * T1_S
"""RFC 3261 section 17.1.1.1: the round trip that is expected, the longest pause, timers B and F."""


@dataclass(slots=True)
class Outgoing:
    """A request, or its CANCEL, on its way to an answer."""

    data: bytes
    invite: bool
    began_at: float
    next_at: float
    pause_s: float = T1_S
    finals: list[tuple[int, str]] = field(default_factory=list)
    """The final answers, each once: status and To tag."""
    provisional: bool = False
    gave_up: bool = False
    answered_at: float = 0.0
    """When the server sent a final answer last."""
    ended_at: float = 0.0
    """When the last final answer came."""
    arrived: int = 0
    """Packets of it that came to the server."""
    lost: int = 0
    """Packets of it, and of its answers, that the network lost."""
    taken: list[tuple[float, str]] = field(default_factory=list)
    """When processes have read one, and which."""

    def over(self) -> bool:
        """Whether nothing more is sent."""
        return bool(self.finals) or self.gave_up


class Call:
    """One request of a caller, from its first packet to its final answer.

    Args:
        wanted: what to send.
        now: when it begins.
    """

    def __init__(self, wanted: Send, now: float, cancel_at: float | None) -> None:
        data = wanted.data.encode("latin-1")
        request = parse(data)
        self.wanted = wanted
        self.parsed = request if isinstance(request, Request) else None
        method = self.parsed.method if self.parsed is not None else ""
        self.call_id = self.parsed.call_id if self.parsed is not None else ""
        self.number = self.parsed.cseq_number if self.parsed is not None else 0
        self.method = method
        self.request = Outgoing(data, method == "INVITE", now, now if wanted.resend else math.inf)
        self.cancel: Outgoing | None = None
        self.cancel_at = math.inf if cancel_at is None else cancel_at
        self.armed = math.inf
        """When it is asked again."""
        self.followed = False
        """Whether the requests within its dialog are on their way."""
        self._branches = 0
        self._first = True

    def planned(self) -> list[Answer] | None:
        """What a next hop replies to the next branch of it; None where the plan leaves that to the gateway."""
        answers = self.wanted.answers
        if answers is None:
            return None
        self._branches += 1
        return answers[min(self._branches, len(answers)) - 1] if answers else []

    def due(self) -> float:
        """When `tick` has something to do."""
        due = math.inf if self.request.over() else min(self.request.next_at, self.cancel_at)
        if self.cancel is not None and not self.cancel.over():
            due = min(due, self.cancel.next_at)
        return due if not self._first else self.request.began_at

    def tick(self, now: float) -> list[bytes]:
        """What to send now."""
        sends: list[bytes] = []
        if self._first:
            self._first = False
            self.request.next_at = now + T1_S if self.wanted.resend else math.inf
            return [self.request.data]
        if now >= self.cancel_at and not self.request.over():
            self.cancel_at = math.inf
            self.cancel = Outgoing(cancel_of(self.request.data), False, now, now + T1_S)
            sends.append(self.cancel.data)
        for one in (self.request, self.cancel):
            if one is not None and now >= one.next_at and not one.over():
                sends += self._again(one, now)
        return sends

    def _again(self, one: Outgoing, now: float) -> list[bytes]:
        if now >= one.began_at + GIVES_UP_S:
            one.gave_up = True
            return []
        one.pause_s = one.pause_s * 2 if one.invite else min(one.pause_s * 2, T2_S)
        one.next_at = min(now + one.pause_s, one.began_at + GIVES_UP_S)
        return [one.data]

    def asked_by(self, reply: Reply) -> Outgoing | None:
        """What a reply is the answer of."""
        return self.cancel if reply.cseq_method == "CANCEL" else self.request

    def outgoing(self, data: bytes) -> Outgoing | None:
        """What is sent here; None for an ACK."""
        return next((one for one in (self.request, self.cancel) if one is not None and one.data is data), None)

    def answered(self, reply: Reply, now: float) -> list[bytes]:
        """An answer came; what to send then."""
        one = self.asked_by(reply)
        if one is None:
            return []
        if reply.status < 200:
            if one.invite:
                one.next_at = math.inf  # proceeding: nothing is sent again, and the caller waits
            elif not one.over():
                one.pause_s = T2_S
            one.provisional = True
            return []
        final = reply.status, reply.to.tag or ""
        if final not in one.finals:
            one.ended_at = now
            one.finals.append(final)
        return [ack_of(one.data, reply)] if one.invite else []


@dataclass(slots=True)
class Served:
    """An INVITE transaction that a gateway has answered 2xx, until it is acknowledged."""

    reply: bytes
    ends_at: float
    pause_s: float = T1_S


def lines_of(data: bytes) -> tuple[str, list[str]]:
    """The first line of a message, and its header lines."""
    head = data.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")
    return head[0], head[1:]


def _named(lines: list[str], *names: str) -> list[str]:
    return [line for line in lines if line.partition(":")[0].strip().lower() in names]


def cancel_of(data: bytes) -> bytes:
    """The CANCEL of an INVITE (RFC 3261 section 9.1)."""
    return _within(data, "CANCEL", None)


def ack_of(data: bytes, reply: Reply) -> bytes:
    """The ACK of a final answer (RFC 3261 section 17.1.1.3); that of a 2xx has a branch of its own."""
    answered = _named(lines_of(reply.raw)[1], "to", "t")
    ack = _within(data, "ACK", answered[0] if answered else None)
    return ack.replace(b";branch=z9hG4bK", b";branch=z9hG4bKack", 1) if reply.status < 300 else ack


def follow_of(wanted: Send, follow: Follow, reply: Reply, number: int, now_s: float) -> Send:
    """A request within the dialog that a 2xx has made (RFC 3261 section 12.2.1.1).

    Args:
        wanted: the request that was answered.
        follow: what to send.
        reply: the 2xx.
        number: how many there were before it in the dialog.
        now_s: when, as the plan counts it.
    """
    first, lines = lines_of(wanted.data.encode("latin-1"))
    answered = lines_of(reply.raw)[1]
    contact = _named(answered, "contact", "m")
    uri = contact[0].partition("<")[2].partition(">")[0] if contact else ""
    routes = [f"Route:{line.partition(':')[2]}" for line in reversed(_named(answered, "record-route"))]
    cseq = int(_named(lines, "cseq")[0].partition(":")[2].split()[0]) + number
    via = _named(lines, "via", "v")[0]
    text = [
        f"{follow.method} {uri or first.split(' ')[1]} SIP/2.0",
        f"{via}-{number}",
        *routes,
        *_named(lines, "from", "f", "call-id", "i", "contact", "m"),
        *_named(answered, "to", "t"),
        f"CSeq: {cseq} {follow.method}",
        f"Max-Forwards: 70\r\n{follow.headers}Content-Length: {len(follow.body)}",
        "",
        follow.body,
    ]
    resend = follow.method != "ACK"
    return Send(now_s, wanted.caller, "\r\n".join(text), socket=wanted.socket, resend=resend, host=wanted.host)


def _within(data: bytes, method: str, to: str | None) -> bytes:
    first, lines = lines_of(data)
    uri = first.split(" ")[1]
    number = _named(lines, "cseq")[0].partition(":")[2].split()[0]
    kept = _named(lines, "via", "v")[:1] + _named(lines, "from", "f", "call-id", "i", "max-forwards", "route")
    text = [f"{method} {uri} SIP/2.0", *kept, to or _named(lines, "to", "t")[0], f"CSeq: {number} {method}"]
    return "\r\n".join([*text, "Content-Length: 0", "", ""]).encode("latin-1")


def answer_to(request: Request, status: int, reason: str, tag: str) -> bytes:
    """An answer of a gateway (RFC 3261 section 8.2.6)."""
    _, lines = lines_of(request.raw)
    kept = _named(lines, "via", "v", "record-route", "from", "f", "call-id", "i", "cseq")
    to = _named(lines, "to", "t")[0]
    if "tag=" not in to and status > 100:
        to = f"{to};tag={tag}"
    contact = ["Contact: <sip:gw@192.0.2.200:5060>"] if request.method == "INVITE" and status < 300 else []
    text = [f"SIP/2.0 {status} {reason}", *kept, to, *contact, "Content-Length: 0", "", ""]
    return "\r\n".join(text).encode("latin-1")
