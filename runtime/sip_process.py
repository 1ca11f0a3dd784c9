"""A SIP process: receives, runs the request route, parks and resumes.

All SIP processes read the same socket. A request that belongs to a transaction of another process (a
retransmission, a CANCEL, an ACK) is found there by its fingerprint in shared memory and handed over.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Iterable, Iterator, Sequence
from functools import partial
from typing import Final

from runtime.clock import monotonic_now
from runtime.context import Address, Context, RouteType, Value
from runtime.garbage import Collector
from runtime.handover import Marks
from runtime.house import House
from runtime.modules.tm import tm_settings
from runtime.proxy import Proxy
from runtime.reading_duty import ReadingDuty
from runtime.roles import SIP, role_of
from runtime.script_process import Done, Ended, ScriptProcess
from runtime.server_transactions import Origin, ServerTransactions, to_tag
from runtime.sip.build import build_reply, reply_targets
from runtime.sip.framing import Broken
from runtime.sip.judge import Refusal, refuse, refuse_relaying
from runtime.sip.keys import dialog_ack_key, invite_key, server_key
from runtime.sip.message import Bad, KeepAlive, Message, Reply, Request, parse
from runtime.sip.own_request import OwnRequest
from runtime.sip.ownership import fingerprint
from runtime.sip_loop import SipLoop
from runtime.transports.base import Failed, ListenSocket
from runtime.transports.transports import Transports
from runtime.uac import Sending, UserAgentClient
from runtime.watchers import TransactionWatcher
from workers.birth import Child
from workers.jobs import JobId, Peer
from workers.worker import Running

log = logging.getLogger("layby.sip")

CORE_COUNTERS: Final = (
    "rcv_requests",
    "rcv_replies",
    "drop_replies",
    "bad_messages",
    "err_requests",
    "handed_over",
    "lost_handovers",
    "retransmissions",
    "lost_sends",
)
SL_COUNTERS: Final = ("sent_replies", "received_ACKs")
PARSE_ERROR_CLASS: Final = 2
PARSE_ERROR_LEVEL: Final = 1
"""OpenSIPS's numbers for a message that its sender got wrong."""
_AT_ONCE: Final = 64
"""Messages from other processes that are taken in one turn of the loop, so that answers and timers get theirs."""
_LYING: Final = 1024
"""Messages from other processes that go before a reply which came after them."""
_RELAYING: Final = (RouteType.REQUEST, RouteType.FAILURE)
"""Where a request is at the script's disposal. In a branch route it is under way already."""
_GRACE_S: Final = 1.0
"""How much longer than its job's deadline a parked transaction is kept."""


def error_params(status: int, reason: str) -> dict[str, Value]:
    """What `$(err.…)` tells an error route about a message that could not be read."""
    return {
        "err.class": PARSE_ERROR_CLASS,
        "err.level": PARSE_ERROR_LEVEL,
        "err.info": reason,
        "err.rcode": str(status),
        "err.rreason": reason,
    }


def _on_cancel(house: House) -> object:
    module = house.program.modules.get("mi_script")
    return None if module is None else module.settings["on_cancel"]


class SipProcess(ScriptProcess):
    """See the module."""

    loop: SipLoop

    def __init__(self, child: Child, house: House) -> None:
        super().__init__(child, house)
        self.executes = house.settings.mi_workers == 0
        self._owners: dict[int, Peer] = {}
        """The other SIP processes by their row among the fingerprints."""
        self._waiting: dict[str, dict[int, Sequence[JobId]]] = {}
        """The jobs that a CANCEL ends: by the transaction's key, and then for each of its contexts that is parked."""
        self._cancel_resumes = _on_cancel(house) != "wait"
        """Whether a CANCEL resumes what is parked, or lets the job end first."""
        self._handed = False
        """Whether the request at hand was handed over. It goes no further, so that none goes round in a circle."""

    # Life.

    def new_loop(self) -> SipLoop:
        return SipLoop()

    def open(self) -> None:
        super().open()
        self.house.handover.enter(self.slot)
        self._marks = Marks(self.house.marks, self.house.settings.udp_workers, self.slot)
        settings = tm_settings(self.house.program.modules.get("tm"))
        self.transports = Transports(
            self.house.sockets,
            self.loop,
            self._take,
            on_broken=self._on_broken,
            settings=self.house.settings.streams,
            slot=self.slot,
            peers=self.house.peers,
            post=self._post,
            marks=self._marks,
            took=partial(self.house.readers.took, self.slot),
        )
        self.duty = ReadingDuty(
            self.slot,
            self.house.readers,
            self.loop,
            self.transports.datagrams,
            self.house.handover.call,
            self.house.settings.udp_readers,
        )
        self.transactions = ServerTransactions(
            self.house,
            self.slot,
            self.loop,
            self.transports,
            on_cancel=self._on_cancelled,
            on_unanswered=self._on_unanswered,
            on_lost_send=self._on_lost_send,
            on_over=self._on_over,
            timers=settings.timers,
        )
        self.proxy = Proxy(
            self,
            settings.timers,
            fr_timeout_s=settings.fr_timeout_s,
            fr_inv_timeout_s=settings.fr_inv_timeout_s,
            block_6xx=settings.block_6xx,
            reply_avps=settings.reply_avps,
        )
        self.uac = UserAgentClient(self, self.proxy)
        self.transports.open()
        self.loop.add_direct(self.house.handover.fileno(self.slot), self._take_given, exclusive=False)
        self.duty.begin()
        self._garbage = Collector(self.loop, self._held)
        self._garbage.begin()

    def close(self) -> None:
        self._garbage.close()
        self.loop.remove_direct(self.house.handover.fileno(self.slot))
        self.proxy.close()
        self.transports.close()

    def _held(self) -> int:
        return len(self.transactions) + len(self.proxy.clients) + len(self.parked)

    def on_peer_up(self, peer: Peer, slot: int) -> None:
        if role_of(peer.name) == SIP:
            self._owners[slot] = peer

    def stand_still(self) -> None:
        self.duty.stand_still()

    def move_again(self) -> None:
        self.duty.move_again()

    def on_peer_down(self, peer: Peer) -> None:
        self.duty.missed()
        self._owners = {slot: owner for slot, owner in self._owners.items() if owner != peer}

    def execute(self, payload: bytes, running: Running) -> bytes | Awaitable[bytes]:
        # A job that this process runs for another may stop it until after the end of the drain: answer before.
        if self.draining and monotonic_now() + self.node.expected_s(running.job.kind.label) >= self.drain_ends:
            self.give_up()
        return super().execute(payload, running)

    def give_up(self) -> None:
        while self.parked:
            _, parked = self.parked.popitem()
            if parked.context.route is RouteType.ONREPLY:
                # Somebody has answered: his reply goes its way, and so do those that wait behind it.
                parked.then(parked.context, Ended.WELL)
            else:
                self.send_reply(parked.context, 503, "Service Unavailable")
        for key in self.proxy.unanswered():
            self._answer(key, 503, "Service Unavailable")

    # Receiving.

    def send(
        self,
        socket: ListenSocket,
        data: bytes,
        to: Address,
        failed: Failed | None = None,
        otherwise: Address | None = None,
    ) -> bool:
        """Send a message from a socket; False where it is known at once that it cannot be. See `Transports.send`."""
        if self.transports.send(socket, data, to, failed, otherwise):
            return True
        self._on_lost_send()
        return False

    def _on_lost_send(self) -> None:
        self.count("core:lost_sends")

    def on_letter(self, topic: str, sender: Peer, body: bytes) -> None:
        if self.transports.on_letter(topic, body):
            return None
        return super().on_letter(topic, sender, body)

    def _take_given(self) -> None:
        """Take what other processes gave to this one."""
        for index, source, data in self._given(_AT_ONCE):
            self._take(self.house.sockets[index], data, source, handed=True)

    def _given(self, at_most: int) -> Iterator[tuple[int, Address, bytes]]:
        receive, slot = self.house.handover.receive, self.slot
        for _ in range(at_most):
            given = receive(slot)
            if given is None:
                return
            if given[0] < 0:
                self.duty.read()
            else:
                yield given

    def _take_older(self) -> None:
        """What was received before the reply at hand and given to this process goes first."""
        # All of it is taken out before any of it is dealt with: as soon as this process's mark is gone the others give
        # what they have read after the reply at hand.
        older = list(self._given(_LYING)) if self.house.handover.lies() else ()
        self._marks.through()
        for index, source, data in older:
            self._take(self.house.sockets[index], data, source, handed=True)
        self._handed = False

    def _take(self, socket: ListenSocket, data: bytes, source: Address, handed: bool = False) -> None:
        self._handed = handed
        match parse(data):
            case Request() as request:
                if not handed:
                    self.count("core:rcv_requests")
                self._on_request(Origin(request, socket, source))
            case Reply() as reply:
                self._on_reply(reply, socket, source)
            case Bad(reason, answerable, status):
                self._on_bad(None if answerable is None else Origin(answerable, socket, source), source, status, reason)
            case KeepAlive():
                pass

    def _on_bad(self, origin: Origin | None, source: Address, status: int, reason: str) -> None:
        """What is no proper message: the error_route's to answer, where there is one and an answer is allowed."""
        route = self.house.program.script.routes.error
        if origin is None or route is None:
            self._refuse(origin, source, status, reason)
            return
        self.count("core:bad_messages")
        log.info("from %s:%d: %s", source.host, source.port, reason)
        request = origin.request
        context = Context(
            request,
            route=RouteType.ERROR,
            source=source,
            socket=origin.socket.index,
            ruri=request.ruri,
            variables=self.variables,
            named_params=error_params(status, reason),
        )

        def through(context: Context, ended: Ended) -> None:
            if ended is Ended.FAILED:
                self.send_reply(context, status, reason)

        self.run_script(context, route, through)

    def _on_broken(self, socket: ListenSocket, source: Address, broken: Broken) -> None:
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
        self.count("core:bad_messages")
        log.info("from %s:%d: %s", source.host, source.port, reason)
        if origin is not None:
            self._reply_stateless(origin, status, reason)

    def _on_request(self, origin: Origin) -> None:
        request = origin.request
        key = server_key(request)
        known = self.transactions.receive(request, key)
        if known is not None:
            if request.method != "ACK":
                self.count("core:retransmissions")
            if not known:
                return None
        elif request.method == "CANCEL" and invite_key(request) in self.transactions:
            return self._on_cancel(origin, key)
        elif self._hand_over(self._owner_of(request, key), request, origin.socket, origin.source):
            return None
        elif request.method == "ACK" and request.to.tag == to_tag(request):
            self.count("sl:received_ACKs")  # of a reply that was sent without a transaction
            return None
        # Only of what is new: a copy of a request that was taken needs no second look.
        wrong = refuse(request)
        if wrong is not None:
            return self._refuse(origin, origin.source, wrong.status, wrong.reason)
        if self.draining:
            return self._reply_stateless(origin, 503, "Service Unavailable")
        return self._run_request(origin)

    def _run_request(self, origin: Origin) -> None:
        self._marks.through()  # a script may take its time
        route = self.house.program.script.routes.request
        if route is None:
            return
        request = origin.request
        context = Context(
            request, source=origin.source, socket=origin.socket.index, ruri=request.ruri, variables=self.variables
        )
        self.run_script(context, route, self._request_through)

    def _request_through(self, context: Context, ended: Ended) -> None:
        """The request route is through. What failed is answered 500; what was cancelled and not answered, 487."""
        key = context.transaction
        if ended is Ended.FAILED:
            self.count("core:err_requests")
            if key is None or key not in self.proxy.relays:
                self.send_reply(context, 500, "Server Internal Error")
        elif key is not None and self.transactions.is_cancelled(key) and key not in self.proxy.relays:
            self._terminate(key)

    def _on_reply(self, reply: Reply, socket: ListenSocket, source: Address) -> None:
        if not self._handed:
            self.count("core:rcv_replies")
            self._marks.wait_for_older()
        key = self.proxy.key_of(reply)
        if key in self.proxy.clients:
            if not self._handed:
                self._take_older()
            self.count("tm:received_replies")
            self.proxy.clients.receive(reply, key)
            return
        owner = self.proxy.owner_of(reply)
        found = None if owner is None else self.house.fingerprints.find(owner, self.slot)
        if not self._hand_over(found, reply, socket, source):
            # A stray one: RFC 6026 section 7.3 and 8.9 forbid to send it on.
            self.count("core:drop_replies")

    # Owners.

    def _owner_of(self, request: Request, key: str) -> int | None:
        """The process that has the request's transaction, by its row; None when no other has it."""
        find = self.house.fingerprints.find
        owner = find(fingerprint(key), self.slot)
        if owner is None and request.method == "CANCEL":
            return find(fingerprint(invite_key(request)), self.slot)
        if owner is None and request.method == "ACK":
            # That of a 2xx has a branch of its own (RFC 3261 section 13.2.2.4).
            return find(fingerprint(dialog_ack_key(request)), self.slot)
        return owner

    def _hand_over(self, owner: int | None, message: Message, socket: ListenSocket, source: Address) -> bool:
        """Give a message to the process that has its transaction; False when there is none, or it came from there."""
        if owner is None or self._handed:
            return False
        sent = self.house.handover.send(owner, socket.index, source, message.raw)
        # Who has let so much lie about may be stopped, and goes on with what it has. To run a copy here would make a
        # second request of it; lost like a datagram it is sent again.
        self.count("core:handed_over" if sent else "core:lost_handovers")
        return True

    def _post(self, slot: int, topic: str, body: bytes) -> bool:
        """Send a letter to the SIP process in a slot; False when that is not there."""
        peer = self._owners.get(slot)
        return peer is not None and self.node.post(peer, topic, body)

    def _create(self, origin: Origin, key: str) -> bool:
        """Make a transaction; False when the request is a copy of one that is known, here or elsewhere."""
        if key in self.transactions:
            return False
        owner = self.transactions.create(origin, key)
        if owner is None:
            return True
        if self._hand_over(owner, origin.request, origin.socket, origin.source):
            return False
        # The owner has just let go of the request and sent it here, or it read what its predecessor had been given.
        self.transactions.create_anyway(origin, key)
        return True

    # CANCEL (RFC 3261 section 9.2).

    def _on_cancel(self, origin: Origin, key: str) -> None:
        if self._create(origin, key):
            self.transactions.reply(key, 200, "canceling")
            self.transactions.cancel(invite_key(origin.request))

    def _on_cancelled(self, key: str) -> None:
        for watcher in self.watchers:
            watcher.cancelled(key)
        # A parked context is resumed at once and may say what it thinks fit; else there is nobody to ask.
        waiting = list(self._waiting.get(key, {}).values())
        if self._cancel_resumes:
            for jobs in waiting:
                for job in jobs:
                    self.node.cancel(job, "CANCEL")
        relay = self.proxy.relays.get(key)
        if relay is not None:
            relay.cancel()
        elif not waiting:
            self._terminate(key)

    def _on_unanswered(self, key: str) -> None:
        # While a job is under way its deadline decides; its answer may lie in the inbox already.
        if key not in self._waiting:
            self._answer(key, 408, "Request Timeout")

    def _on_over(self, key: str) -> None:
        self.proxy.gone(key)
        for watcher in self.watchers:
            watcher.over(key)

    def _terminate(self, key: str) -> None:
        """Answer what was cancelled and is not being relayed (RFC 3261 section 9.2)."""
        self._answer(key, 487, "Request Terminated")

    def _answer(self, key: str, code: int, reason: str, headers: Sequence[str] = (), *, to_source: bool = False) -> int:
        """Reply through a transaction; -1 when it is not there, or has its final reply."""
        if code >= 200 and not self.transactions.is_answered(key):
            # Before the reply is out: whoever has it may ask at once, and elsewhere, what became of the call.
            for watcher in self.watchers:
                watcher.answered(key, code)
        rc = self.transactions.reply(key, code, reason, headers, to_source=to_source)
        relay = self.proxy.relays.get(key) if rc == 1 and code >= 200 else None
        if relay is not None:
            relay.answered(code)
        return rc

    # What scripts do.

    def new_transaction(self, context: Context) -> bool:
        """Make a transaction of the context's request (`t_newtran`).

        Returns:
            False when it is a copy of one that another process has: that process has it now, and the script ends.
        """
        if context.transaction is not None:
            return True
        origin = self._origin(context)
        if origin is None:
            return False
        key = server_key(origin.request)
        if not self._create(origin, key):
            return False
        context.transaction = key
        return True

    def send_request(self, wanted: OwnRequest, done: Done, avps: dict[str, list[Value]] | None = None) -> Sending:
        """Send a request of our own; see `UserAgentClient.send`."""
        return self.uac.send(wanted, done, avps)

    @property
    def watchers(self) -> list[TransactionWatcher]:
        """Who is told of what is relayed in this process."""
        return self.proxy.watchers

    def unfinished(self) -> int:
        return super().unfinished() + self.uac.under_way + len(self.proxy.unanswered())

    def check_transaction(self, context: Context) -> int:
        """Whether the context's request belongs to a transaction (`t_check_trans`).

        Returns:
            1; 0 when it is a copy of a request that another process has, and now deals with; -1 for a new one.
        """
        request = context.message
        if context.transaction is not None:
            return 1
        if not isinstance(request, Request) or context.source is None:
            return -1
        if request.method == "ACK":
            # One that belongs to a reply other than 2xx never comes so far.
            return 1 if self.transactions.acknowledges(request) else -1
        owner = self._owner_of(request, server_key(request))
        handed = self._hand_over(owner, request, self.house.sockets[context.socket], context.source)
        return 0 if handed else -1

    def cancel_branches(self, context: Context, which: str) -> int:
        """Cancel branches of the request that a reply is about (`t_cancel_branch`).

        Args:
            context: the reply's.
            which: empty for its own branch, ``a`` for all, ``o`` for all others.
        """
        relay = self.proxy.relays.get(context.transaction or "")
        if relay is None:
            return -1
        relay.cancel_some(context.branch_index, which)
        return 1

    def reply(self, context: Context, code: int, reason: str) -> int:
        """Reply through the context's transaction (`t_reply`); -1 without one, or when it has its final reply."""
        if context.transaction is None or not 100 <= code <= 699:
            return -1
        headers, to_source = context.reply_headers, context.force_rport
        return self._answer(context.transaction, code, reason, headers, to_source=to_source)

    def relay(self, context: Context) -> int:
        """Relay the context's request (`t_relay`).

        Returns:
            1; 0 when it is a copy of one that another process has; negative when it cannot be relayed, here or at all.
        """
        request = context.message
        if not isinstance(request, Request) or context.source is None or context.route not in _RELAYING:
            return -1
        wrong = refuse_relaying(request)
        if wrong is not None:
            return self._refuse_relaying(context, wrong)
        if request.method == "ACK" or (request.method == "CANCEL" and context.transaction is None):
            return self.proxy.relay_stateless(context)
        return self.proxy.relay(context) if self.new_transaction(context) else 0

    def _refuse_relaying(self, context: Context, wrong: Refusal) -> int:
        """Whatever the script did not look at: what goes round in a circle ends here (RFC 3261 16.3)."""
        if self._origin(context) is None:
            return -1
        # Through a transaction, so that a script which answers what it cannot relay does not answer it again.
        if not self.new_transaction(context):
            return 0
        context.reply_headers += [f"{line}\r\n" for line in wrong.headers]
        self.reply(context, wrong.status, wrong.reason)
        return -1

    def send_reply(self, context: Context, code: int, reason: str) -> int:
        """Reply in the way that fits the message's state (`send_reply`, `sl_send_reply`)."""
        if context.transaction is not None:
            return self.reply(context, code, reason)
        origin = self._origin(context)
        if origin is None or not 100 <= code <= 699:
            return -1
        self._reply_stateless(origin, code, reason, context.reply_headers, to_source=context.force_rport)
        return 1

    def _origin(self, context: Context) -> Origin | None:
        """What a reply would answer; None for an ACK, a reply, and messages of our own."""
        request = context.message
        if not isinstance(request, Request) or context.source is None or request.method == "ACK":
            return None
        return Origin(request, self.house.sockets[context.socket], context.source)

    def _reply_stateless(
        self, origin: Origin, code: int, reason: str, headers: Iterable[str] = (), *, to_source: bool = False
    ) -> None:
        request, source = origin.request, origin.source
        if request.method == "ACK":
            return
        data = build_reply(
            request,
            code,
            reason,
            source=source,
            to_tag=to_tag(request),
            headers=tuple(headers),
            server=self.house.settings.server_header,
        )
        self.count("sl:sent_replies")
        target, otherwise = reply_targets(request, source, origin.socket.reliable)
        self.send(origin.socket, data, source if to_source else target, self._on_lost_send, otherwise)

    # Parking.

    def hold(self, context: Context) -> bool:
        return self._origin(context) is None or self.new_transaction(context)

    def on_parked(self, context: Context, jobs: Sequence[JobId], timeout_s: float) -> None:
        key = context.transaction
        if key is None or key not in self.transactions:
            return
        self.transactions.hold(key, timeout_s + _GRACE_S)
        if context.route is RouteType.ONREPLY:
            return  # a CANCEL is about the branches, and what they have answered goes its way
        self._waiting.setdefault(key, {})[id(context)] = jobs
        if self.transactions.is_cancelled(key) and key not in self.proxy.relays:
            # It came before this parking, and the script goes on all the same: the caller waits for it no longer.
            self._terminate(key)

    def on_resuming(self, context: Context) -> None:
        waiting = self._waiting.get(context.transaction or "")
        if waiting is not None and waiting.pop(id(context), None) is not None and not waiting:
            del self._waiting[context.transaction or ""]
