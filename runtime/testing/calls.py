"""Calls between two phones through a server: step by step, or as a plan says."""

from __future__ import annotations

import select
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

import pytest

from runtime.testing.peer import AGAIN_S, Peer, Received
from runtime.testing.waiting import LIMIT_S

By: TypeAlias = Literal["caller", "callee"]
"""Which end does something."""


@dataclass(frozen=True, slots=True)
class CallPlan:
    """What the ends of a call are going to do.

    Args:
        user: the user part of the URI that is called.
        provisional: the callee's provisional replies, in order.
        cancelled: the caller cancels after those; nothing below happens then.
        final: the callee's final reply, 200 or a refusal.
        again: which end sends a re-INVITE, in order, once the call is answered.
        ended_by: which end sends BYE.
    """

    user: str = "bob"
    provisional: tuple[int, ...] = (180,)
    cancelled: bool = False
    final: int = 200
    again: tuple[By, ...] = ()
    ended_by: By = "caller"


@dataclass(slots=True)
class Side:
    """What one end of an answered call knows of it (RFC 3261, 12.1).

    Args:
        peer: the phone.
        local, remote: its own name and the other's, with tags, as From and To say them.
        target: where its requests go in the end.
        routes: by which proxies.
        cseq: the number of its last request.
    """

    peer: Peer
    local: str
    remote: str
    target: str
    routes: list[str]
    cseq: int

    @classmethod
    def of_caller(cls, peer: Peer, invite: Received, answer: Received) -> Side:
        """Whoever sent an INVITE, once it is answered (RFC 3261, 12.1.2)."""
        routes = answer.headers("Record-Route")[::-1]
        return cls(peer, invite.header("From"), answer.header("To"), _uri(answer.header("Contact")), routes, 1)

    @classmethod
    def of_callee(cls, peer: Peer, arrived: Received, sent: Received) -> Side:
        """Whoever answered an INVITE as it arrived (RFC 3261, 12.1.1)."""
        routes = arrived.headers("Record-Route")
        return cls(peer, sent.header("To"), arrived.header("From"), _uri(arrived.header("Contact")), routes, 0)

    def request(self, method: str, call_id: str, *, cseq: int = 0, branch: str = "") -> str:
        """A request within the call; with the next number where none is given."""
        self.cseq += not cseq
        routes = "".join(f"Route: {route}\r\n" for route in self.routes)
        return self.peer.request(
            method,
            self.target,
            call_id=call_id,
            branch=branch,
            cseq=cseq or self.cseq,
            from_=self.local,
            to=self.remote,
            extra=routes,
        )


class Call:
    """One call. Each step waits until the other end has seen it; the test fails where that does not come.

    Args:
        caller, callee: the phones.
        ruri: whom the INVITE names; without it the callee's own address, for scripts that relay to where requests go.
        extra: more header lines of the INVITE, each with its line end.

    Attributes:
        invite: the INVITE as it was sent.
        arrived: the INVITE as the callee got it; None before that.
        finals: method and status of each final reply that an end got.
    """

    def __init__(self, caller: Peer, callee: Peer, ruri: str = "", *, extra: str = "") -> None:
        self.caller = caller
        self.callee = callee
        self.invite = Received(caller.request("INVITE", ruri or callee.uri, extra=extra))
        self.arrived: Received | None = None
        self.finals: list[tuple[str, int]] = []
        self._rings = False
        self._sides: dict[By, Side] = {}

    def __repr__(self) -> str:
        return f"<call {self.call_id} to {self.invite.ruri}>"

    @property
    def call_id(self) -> str:
        """Its Call-ID."""
        return self.invite.call_id

    def place(self) -> Received | None:
        """The caller sends the INVITE, again and again until it is answered; as the callee got it.

        None where the server refused it by itself: `finals` says how.
        """
        first = self._either(self.caller, self.callee, self.invite.text)
        if first.is_reply:
            self._refused(first)
        else:
            self.arrived = first
        return self.arrived

    def ring(self, status: int = 180) -> Received:
        """The callee sends a provisional reply; as the caller got it."""
        self.callee.reply(self._invited(), status)
        self._rings = True
        return self.caller.wait_reply(self.call_id, status, "INVITE")

    def accept(self, *, body: str = "") -> Received:
        """The callee answers, and gets the ACK; the 200 as the caller got it."""
        arrived = self._invited()
        sent = Received(self.callee.reply(arrived, 200, "OK", body=body))
        answer = self.caller.wait_final(self.call_id, "INVITE")
        self.finals.append(("INVITE", answer.status))
        if answer.status != 200:
            pytest.fail(f"a call that its callee took ended with {answer.start}")
        self._sides["caller"] = Side.of_caller(self.caller, self.invite, answer)
        self._sides["callee"] = Side.of_callee(self.callee, arrived, sent)
        self._acknowledge("caller", 1)
        return answer

    def refuse(self, status: int = 486) -> Received:
        """The callee refuses; the refusal as the caller got it, which may be another one by then."""
        self.callee.reply(self._invited(), status)
        return self._given_up()

    def cancel(self) -> Received:
        """The caller gives up, and the callee agrees; the final reply to the INVITE, 487.

        Where the callee has said nothing yet it rings first: before that a CANCEL goes no further (RFC 3261, 9.1).
        """
        arrived = self._invited()
        if not self._rings:
            self.ring()
        self.caller.cancel(self.invite.text)
        self.finals.append(("CANCEL", self.caller.wait_final(self.call_id, "CANCEL").status))
        self.callee.reply(self.callee.wait_request("CANCEL", call_id=self.call_id), 200)
        self.callee.reply(arrived, 487)
        return self._given_up()

    def again(self, by: By) -> Received:
        """An end sends a re-INVITE, and the other takes it; the 200."""
        answer = self._within("INVITE", by)
        self._acknowledge(by, self._sides[by].cseq)
        return answer

    def hang_up(self, by: By = "caller") -> Received:
        """An end sends BYE; the reply."""
        return self._within("BYE", by)

    def _invited(self) -> Received:
        if self.arrived is None:
            pytest.fail(f"the INVITE of {self.call_id} has not arrived; it was answered by {self.finals}")
        return self.arrived

    def _given_up(self) -> Received:
        """What follows a refusal of the callee."""
        self.callee.wait_request("ACK", call_id=self.call_id)
        return self._refused(self.caller.wait_final(self.call_id, "INVITE"))

    def _refused(self, final: Received) -> Received:
        self.finals.append(("INVITE", final.status))
        self.caller.ack(self.invite.text, final)
        return final

    def _within(self, method: str, by: By) -> Received:
        side, other = self._sides[by], self._sides[_OTHER[by]]
        text = side.request(method, self.call_id)
        first = self._either(side.peer, other.peer, text)
        if not first.is_reply:
            other.peer.reply(first, 200, "OK")
            first = side.peer.wait_final(self.call_id, method)
        self.finals.append((method, first.status))
        return first

    def _acknowledge(self, by: By, cseq: int) -> None:
        side, other = self._sides[by], self._sides[_OTHER[by]]
        text = side.request("ACK", self.call_id, cseq=cseq)
        side.peer.send(text)
        other.peer.wait_request("ACK", call_id=self.call_id, resend=text)

    def _either(self, sender: Peer, to: Peer, text: str) -> Received:
        """A request as it arrives, or the final reply that the server gives by itself."""
        method = Received(text).method
        ends = time.monotonic() + LIMIT_S
        while time.monotonic() < ends:
            sender.send(text)
            again = time.monotonic() + AGAIN_S
            while time.monotonic() < again:
                if found := to.take(_is(method, self.call_id)) or sender.take(_is_final(method, self.call_id)):
                    return found
                select.select([to.socket, sender.socket], [], [], again - time.monotonic())
        pytest.fail(f"{method} of {self.call_id} neither arrives nor is answered within {LIMIT_S} s")


def play(plan: CallPlan, caller: Peer, callee: Peer, ruri: str = "") -> list[tuple[str, int]]:
    """Make a call as planned.

    Args:
        plan: what the ends do.
        caller, callee: the phones.
        ruri: whom the INVITE names; without it the callee's own address with the plan's user.

    Returns:
        method and status of each final reply that an end got: ``[("INVITE", 200), ("BYE", 200)]``. The test fails where
        one does not come.
    """
    call = Call(caller, callee, ruri or f"sip:{plan.user}@127.0.0.1:{callee.port}")
    if call.place() is not None:
        for status in plan.provisional:
            call.ring(status)
        if plan.cancelled:
            call.cancel()
        elif plan.final != 200:
            call.refuse(plan.final)
        else:
            call.accept()
            for by in plan.again:
                call.again(by)
            call.hang_up(plan.ended_by)
    return call.finals


_OTHER: Final[dict[By, By]] = {"caller": "callee", "callee": "caller"}


def _is(method: str, call_id: str) -> Callable[[Received], bool]:
    return lambda message: not message.is_reply and message.method == method and message.call_id == call_id


def _is_final(method: str, call_id: str) -> Callable[[Received], bool]:
    return lambda message: message.status >= 200 and message.method == method and message.call_id == call_id


def _uri(contact: str) -> str:
    """The URI of a Contact (RFC 3261, 20.10)."""
    return contact.partition("<")[2].partition(">")[0] or contact.partition(";")[0].strip()
