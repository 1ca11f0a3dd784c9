"""What a SIP process receives: read, judged, and brought to whom it belongs.

All SIP processes read the same socket. A request that belongs to a transaction of another process (a
retransmission, a CANCEL, an ACK) is found there by its fingerprint in shared memory and handed over; so is a reply,
whose branch names its owner.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from runtime.context import Address, Context, RouteType, Value
from runtime.handover import MOST_HOPS, Given, Marks
from runtime.house import House
from runtime.runs import Ended
from runtime.server_transactions import Origin, to_tag
from runtime.sip.framing import Broken
from runtime.sip.judge import refuse
from runtime.sip.keys import dialog_ack_key, invite_key, server_key
from runtime.sip.message import Bad, KeepAlive, Message, Reply, Request, parse
from runtime.sip.ownership import fingerprint
from runtime.steps import ServerStep
from runtime.transports.base import ListenSocket
from workers.steps import after, before

if TYPE_CHECKING:
    from runtime.sip_process import SipProcess

log = logging.getLogger("layby.sip")

PARSE_ERROR_CLASS: Final = 2
PARSE_ERROR_LEVEL: Final = 1
"""OpenSIPS's numbers for a message that its sender got wrong."""
_AT_ONCE: Final = 64
"""Messages from other processes that are taken in one turn of the loop, so that answers and timers get theirs."""
_LYING: Final = 1024
"""Messages from other processes that go before a reply which came after them."""


def error_params(status: int, reason: str) -> dict[str, Value]:
    """What `$(err.…)` tells an error route about a message that could not be read."""
    return {
        "err.class": PARSE_ERROR_CLASS,
        "err.level": PARSE_ERROR_LEVEL,
        "err.info": reason,
        "err.rcode": str(status),
        "err.rreason": reason,
    }


class Reception:
    """See the module.

    Args:
        process: whose it is; it runs the routes.
        house: what all processes share.
        marks: what each process says that it looks at.
    """

    def __init__(self, process: SipProcess, house: House, marks: Marks) -> None:
        self._process = process
        self._house = house
        self._marks = marks
        self._slot = process.slot
        self._hops = 0
        """How often the message at hand was handed over."""

    # Taking.

    @before(ServerStep.MESSAGE_RECEIVED)
    def take(self, socket: ListenSocket, data: bytes, source: Address, hops: int = 0) -> None:
        """Deal with a message.

        Args:
            socket: the one that it came in on.
            data: its bytes.
            source: who sent it.
            hops: how often it was handed over.
        """
        self._hops = hops
        match parse(data):
            case Request() as request:
                if not hops:
                    self._process.count("core:rcv_requests")
                self._on_request(Origin(request, socket, source, server_key(request)))
            case Reply() as reply:
                self._on_reply(reply, socket, source)
            case Bad(reason, answerable, status):
                self._on_bad(None if answerable is None else Origin(answerable, socket, source), source, status, reason)
            case KeepAlive():
                pass

    @before(ServerStep.TAKING_GIVEN)
    def take_given(self) -> None:
        """Take what other processes gave to this one."""
        for given in self._given(_AT_ONCE):
            self._take_one(given)

    def _take_one(self, given: Given) -> None:
        self.take(self._house.sockets[given.listener], given.data, given.source, given.hops)

    def _given(self, at_most: int) -> Iterator[Given]:
        receive, slot = self._house.handover.receive, self._slot
        for _ in range(at_most):
            given = receive(slot)
            if given is None:
                return
            if given.listener < 0:
                self._process.duty.read()
            else:
                yield given

    def _take_older(self) -> None:
        """What was received before the reply at hand and given to this process goes first."""
        # All of it is taken out before any of it is dealt with: as soon as this process's mark is gone the others give
        # what they have read after the reply at hand.
        older = list(self._given(_LYING)) if self._house.handover.lies() else ()
        self._marks.through()
        for given in older:
            self._take_one(given)
        self._hops = 0

    # Requests and replies.

    def _on_request(self, origin: Origin) -> None:
        request, process = origin.request, self._process
        key = origin.key
        known = process.transactions.receive(request, key)
        if known is not None:
            if request.method != "ACK":
                process.count("core:retransmissions")
            if not known:
                return None
        elif request.method == "CANCEL" and invite_key(request) in process.transactions:
            return process.cancel(origin, key)
        elif self.hand_over(self.owner_of(request, key), request, origin.socket, origin.source):
            return None
        elif request.method == "ACK" and request.to.tag == to_tag(request):
            process.count("sl:received_ACKs")  # of a reply that was sent without a transaction
            return None
        # Only of what is new: a copy of a request that was taken needs no second look.
        wrong = refuse(request)
        if wrong is not None:
            return self._refuse(origin, origin.source, wrong.status, wrong.reason)
        if process.draining:
            return process.reply_stateless(origin, 503, "Service Unavailable")
        self._marks.through()  # a script may take its time
        return process.run_request(origin)

    @before(ServerStep.REPLY_RECEIVED)
    def _on_reply(self, reply: Reply, socket: ListenSocket, source: Address) -> None:
        process = self._process
        if not self._hops:
            process.count("core:rcv_replies")
            self._marks.wait_for_older()
        key = process.proxy.key_of(reply)
        if key in process.proxy.clients:
            if not self._hops:
                self._take_older()
            process.count("tm:received_replies")
            process.proxy.clients.receive(reply, key)
            return
        owner = process.proxy.owner_of(reply)
        found = None if owner is None else self._house.fingerprints.find(owner, self._slot)
        if not self.hand_over(found, reply, socket, source):
            # A stray one: RFC 6026 section 7.3 and 8.9 forbid to send it on.
            process.count("core:drop_replies")

    # Owners.

    def owner_of(self, request: Request, key: str) -> int | None:
        """The process that has the request's transaction, by its row; None when no other has it."""
        find = self._house.fingerprints.find
        owner = find(fingerprint(key), self._slot)
        if owner is None and request.method == "CANCEL":
            return find(fingerprint(invite_key(request)), self._slot)
        if owner is None and request.method == "ACK":
            # That of a 2xx has a branch of its own (RFC 3261 section 13.2.2.4).
            return find(fingerprint(dialog_ack_key(request)), self._slot)
        return owner

    @after(ServerStep.HANDED_OVER)
    def hand_over(self, owner: int | None, message: Message, socket: ListenSocket, source: Address) -> bool:
        """Give a message to the process that has its transaction; False when there is none, or it came too far."""
        if owner is None or self._hops == MOST_HOPS:
            return False
        sent = self._house.handover.send(owner, socket.index, source, message.raw, self._hops + 1)
        # Who has let so much lie about may be stopped, and goes on with what it has. To run a copy here would make a
        # second request of it; lost like a datagram it is sent again.
        self._process.count("core:handed_over" if sent else "core:lost_handovers")
        return True

    # What is no proper message.

    def _on_bad(self, origin: Origin | None, source: Address, status: int, reason: str) -> None:
        """What is no proper message: the error_route's to answer, where there is one and an answer is allowed."""
        script = self._house.program.script
        route = script.routes.error
        if origin is None or route is None:
            self._refuse(origin, source, status, reason)
            return
        process = self._process
        process.count("core:bad_messages")
        log.info("from %s:%d: %s", source.host, source.port, reason)
        context = Context(
            origin.request,
            route=RouteType.ERROR,
            source=source,
            socket=origin.socket.index,
            ruri=origin.request.ruri,
            variables=process.variables,
            documents=process.documents,
            named_params=error_params(status, reason),
            script=script,
        )

        def through(context: Context, ended: Ended) -> None:
            if ended is Ended.FAILED and not context.replied:
                process.send_reply(context, status, reason)

        process.run_script(context, route, through)

    def on_broken(self, socket: ListenSocket, source: Address, broken: Broken) -> None:
        """A stream cannot be read any further: say so to its sender, as far as there is something to answer."""
        match parse(broken.head):
            case Request() as request:
                answerable: Request | None = request
            case Bad(_, answerable, _):
                pass
            case _:
                answerable = None
        refused = None if answerable is None else Origin(answerable, socket, source)
        self._refuse(refused, source, broken.status, broken.reason)

    def _refuse(self, origin: Origin | None, source: Address, status: int, reason: str) -> None:
        """Count what is no proper message, and say so to its sender where the RFC allows an answer."""
        self._process.count("core:bad_messages")
        log.info("from %s:%d: %s", source.host, source.port, reason)
        if origin is not None:
            self._process.reply_stateless(origin, status, reason)
