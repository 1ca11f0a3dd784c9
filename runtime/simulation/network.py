"""The network of a simulated machine, and who is beyond it: callers, and the gateways that the server sends to."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable
from functools import partial
from typing import Final

from runtime.context import Address
from runtime.simulation import events
from runtime.simulation.clock import BOOT_S
from runtime.simulation.events import Event
from runtime.simulation.peers import GIVES_UP_S, T1_S, T2_S, Call, Outgoing, Served, answer_to, follow_of
from runtime.simulation.plan import Follow, Plan, Send
from runtime.simulation.words import Datagram
from runtime.sip.message import Reply, Request, parse

GATEWAY: Final = "gw"
SERVER: Final = "sip"
GATEWAY_ADDRESS: Final = Address("192.0.2.200", 5060)


def address_of(caller: str) -> Address:
    """Where a caller is, by its name."""
    number = int("".join(filter(str.isdecimal, caller)) or 0)
    return Address(f"198.51.{100 + number // 250 % 100}.{number % 250 + 1}", 5060)


def source_of(wanted: Send) -> Address:
    """Where a request comes from."""
    return address_of(wanted.caller) if wanted.host is None else Address(wanted.host, 5060)


class Side:
    """Everything beyond the server's sockets.

    Args:
        plan: what the network does.
        chance: the run's.
        later: calls back at a time.
        arrive: gives a datagram to the server, with the request of a caller that it is, if it is one.
        note: told of what happens.

    Attributes:
        calls: the callers' requests, in the order in which they began.
        faults: what the network did to packets, and how often.
    """

    def __init__(
        self,
        plan: Plan,
        chance: random.Random,
        later: Callable[[float, Callable[[float], None]], None],
        arrive: Callable[[Datagram, Outgoing | None], None],
        note: Callable[[Event], None],
    ) -> None:
        self.calls: list[Call] = []
        self.faults = dict.fromkeys(("packets lost", "packets doubled", "packets late"), 0)
        self._plan = plan
        self._random = chance
        self._later = later
        self._arrive = arrive
        self._note = note
        self._packets = itertools.count(1)
        self._by_number: dict[tuple[str, int], Call] = {}
        """By Call-ID and the number of CSeq, which a CANCEL and an ACK share with what they belong to."""
        self._served: dict[str, list[bytes]] = {}
        """What gateways have answered, by branch and method of the request; empty where nothing has been so far."""
        self._tags: dict[str, str] = {}
        """The To tags of what they answer, by branch."""
        self._invites: dict[str, Request] = {}
        self._unacknowledged: dict[tuple[str, str], Served] = {}
        """Final answers of INVITEs, by Call-ID and To tag."""

    # Callers.

    def begin(self, wanted: Send, now: float) -> Call:
        """A caller sends a request."""
        call = Call(wanted, now, None if wanted.cancel_at_s is None else BOOT_S + wanted.cancel_at_s)
        self.calls.append(call)
        self._by_number.setdefault((call.call_id, call.number), call)
        self._tick(call, now)
        for at_s in wanted.copies_at_s:
            self._later(BOOT_S + at_s, partial(self._send, call, call.request.data))
        return call

    def _tick(self, call: Call, now: float) -> None:
        for data in call.tick(now):
            self._send(call, data, now)
        self._rearm(call)

    def _rearm(self, call: Call) -> None:
        due = call.due()
        if due < call.armed:
            call.armed = due
            self._later(due, partial(self._due, call))

    def _due(self, call: Call, now: float) -> None:
        call.armed = math.inf
        if now >= call.due():
            self._tick(call, now)
        else:
            self._rearm(call)

    def _send(self, call: Call, data: bytes, now: float) -> None:
        source, one = source_of(call.wanted), call.outgoing(data)

        def arrived(at: float) -> None:
            if one is not None:
                one.arrived += 1
            self._arrive(Datagram(call.wanted.socket, data, source.host, source.port, at), one)

        self._carry(call.wanted.caller, SERVER, data, now, arrived, one)

    # The server.

    def sent(self, process: str, data: bytes, to: Address, now: float) -> None:
        """A process of the server sent a datagram."""
        match parse(data):
            case Reply() as reply if call := self._by_number.get((reply.call_id, reply.cseq_number)):
                answered = partial(self._answered, call, reply)
                one = call.asked_by(reply)
                if one is not None and reply.status >= 200:
                    one.answered_at = now
                self._carry(process, call.wanted.caller, data, now, answered, one)
            case Request() as request:
                self._carry(process, GATEWAY, data, now, partial(self._asked, request))
            case _:
                self._carry(process, GATEWAY, data, now, lambda at: None)

    def _answered(self, call: Call, reply: Reply, now: float) -> None:
        for data in call.answered(reply, now):
            self._send(call, data, now)
        self._rearm(call)
        if call.method == "INVITE" and 200 <= reply.status < 300 and not call.followed:
            call.followed = True
            for number, follow in enumerate(call.wanted.follows, 1):
                self._later(now + follow.after_s, partial(self._follow, call, follow, reply, number))

    def _follow(self, call: Call, follow: Follow, reply: Reply, number: int, now: float) -> None:
        self.begin(follow_of(call.wanted, follow, reply, number, _at(now)), now)

    # Gateways.

    def _asked(self, request: Request, now: float) -> None:
        branch = request.via.branch or ""
        if request.method == "ACK":
            self._unacknowledged.pop((request.call_id, request.to.tag or ""), None)
            return
        self._tags.setdefault(branch, f"gw{len(self._tags)}")
        key = f"{branch} {request.method}"
        if key in self._served:
            for reply in self._served[key][-1:]:
                self._reply(reply, now)
            return
        gateway = self._plan.gateway
        self._served[key] = []
        if request.method == "INVITE":
            self._invites[key] = request
        call = self._by_number.get((request.call_id, request.cseq_number))
        planned = call.planned() if call is not None and request.method != "CANCEL" else None
        if planned is not None:
            for answer in planned:
                self._later(now + answer.after_s, partial(self._answer, request, key, answer.status, "Planned"))
            return
        if self._random.random() < gateway.silent:
            return
        answer_at = now + self._random.uniform(*gateway.answer_s)
        if request.method == "CANCEL":
            self._answer(request, key, 200, "OK", now)
            self._answer_cancelled(f"{branch} INVITE", request, now)
            return
        if request.method == "INVITE" and 0 <= gateway.ring_s < answer_at - now:
            self._later(now + gateway.ring_s, partial(self._answer, request, key, 180, "Ringing"))
        status = gateway.status if request.method == "INVITE" else 200
        self._later(answer_at, partial(self._answer, request, key, status, "OK" if status == 200 else "Answered"))

    def _answer_cancelled(self, key: str, cancel: Request, now: float) -> None:
        request = self._invites.pop(key, None)
        if request is not None:
            self._answer(request, key, 487, "Request Terminated", now)

    def _answer(self, request: Request, key: str, status: int, reason: str, now: float) -> None:
        given = self._served[key]
        if given and not given[-1].startswith(b"SIP/2.0 1"):
            return  # it was cancelled meanwhile
        tag = self._tags[request.via.branch or ""]
        reply = answer_to(request, status, reason, tag)
        given.append(reply)
        self._reply(reply, now)
        if request.method == "INVITE" and status >= 200:
            key_of_ack = request.call_id, tag
            self._unacknowledged[key_of_ack] = Served(reply, now + GIVES_UP_S)
            self._later(now + T1_S, partial(self._again, key_of_ack))

    def _again(self, key: tuple[str, str], now: float) -> None:
        served = self._unacknowledged.get(key)
        if served is None:
            return
        if now >= served.ends_at:
            del self._unacknowledged[key]
            return
        self._reply(served.reply, now)
        served.pause_s = min(served.pause_s * 2, T2_S)
        self._later(now + served.pause_s, partial(self._again, key))

    def _reply(self, reply: bytes, now: float) -> None:
        host, port = GATEWAY_ADDRESS.host, GATEWAY_ADDRESS.port
        self._carry(GATEWAY, SERVER, reply, now, lambda at: self._arrive(Datagram(0, reply, host, port, at), None))

    # The network between.

    def _carry(
        self,
        source: str,
        to: str,
        data: bytes,
        now: float,
        deliver: Callable[[float], None],
        one: Outgoing | None = None,
    ) -> None:
        number, network, chance = next(self._packets), self._plan.network, self._random
        if self._plan.everything:
            self._note(events.PacketSent(_at(now), number, source, to, data.decode("latin-1")))
        if network.loss and chance.random() < network.loss:
            self.faults["packets lost"] += 1
            if one is not None:
                one.lost += 1
            if self._plan.everything:
                self._note(events.PacketLost(_at(now), number))
            return
        copies = 2 if network.duplicate and chance.random() < network.duplicate else 1
        self.faults["packets doubled"] += copies - 1
        for _ in range(copies):
            takes_s = chance.uniform(*network.latency_s)
            if network.late and chance.random() < network.late:
                self.faults["packets late"] += 1
                takes_s += chance.uniform(0.0, network.late_s)
            self._later(now + takes_s, partial(self._deliver, number, to, deliver))

    def _deliver(self, number: int, to: str, deliver: Callable[[float], None], now: float) -> None:
        if self._plan.everything:
            self._note(events.PacketReceived(_at(now), number, to))
        deliver(now)


def _at(now: float) -> float:
    return round(now - BOOT_S, 9)
