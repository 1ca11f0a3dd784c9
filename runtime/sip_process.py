"""A SIP process: receives, runs the request route, parks and resumes, and keeps its transactions.

All SIP processes read the same socket. A request that belongs to a transaction of another process (a
retransmission, a CANCEL, an ACK) is found there by its fingerprint in shared memory and handed over.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import Final, assert_never

import msgpack

from runtime.clock import monotonic_now
from runtime.context import Address, Context, RouteType
from runtime.house import House
from runtime.net import ListenSocket
from runtime.roles import SIP, role_of
from runtime.script_process import ScriptProcess
from runtime.sip.build import build_reply, reply_target
from runtime.sip.keys import dialog_ack_key, invite_key, server_key
from runtime.sip.message import Bad, KeepAlive, Reply, Request, parse
from runtime.sip.ownership import fingerprint
from runtime.sip.table import Tagged, TransactionTable
from runtime.sip.transaction import (
    PassAck,
    PassCancel,
    PassFailure,
    Send,
    SendTrying,
    Terminated,
    Unanswered,
)
from workers.birth import Child
from workers.jobs import JobId, Peer

log = logging.getLogger("layby.sip")

BATCH: Final = 64
"""Datagrams read in one turn of the loop, so that answers and timers get theirs."""
CORE_COUNTERS: Final = (
    "rcv_requests",
    "rcv_replies",
    "drop_replies",
    "bad_messages",
    "err_requests",
    "handed_over",
    "retransmissions",
    "lost_sends",
)
TM_COUNTERS: Final = ("UAS_transactions", *(f"{status}xx_transactions" for status in range(2, 7)))
SL_COUNTERS: Final = ("sent_replies", "received_ACKs")
_HANDOVER: Final = "sip"
_PLAIN_TURNS_S: Final = 0.001


@dataclass(slots=True)
class _Kept:
    """What this process keeps for a transaction beside its state machine.

    Args:
        request: what replies are built from; let go once the final one is out.
        ack: the fingerprint by which the ACK of a 2xx is found in another process; 0 for what has no ACK.
        cancelled: a CANCEL came: the script may still answer, and if it does not, 487 goes out.
        job: the job that its context is parked for.
    """

    request: Request | None
    source: Address
    target: Address
    socket: ListenSocket
    ack: int = 0
    cancelled: bool = False
    job: JobId | None = None


class SipProcess(ScriptProcess):
    """See the module."""

    def __init__(self, child: Child, house: House) -> None:
        super().__init__(child, house)
        self.executes = house.settings.mi_workers == 0
        self.table = TransactionTable()
        self.kept: dict[str, _Kept] = {}
        self._owners: dict[int, Peer] = {}
        """The other SIP processes by their row among the fingerprints."""
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = float("inf")

    # Life.

    def open(self) -> None:
        super().open()
        statistics = self.house.statistics
        self._core = {name: statistics.cell(f"core:{name}") for name in CORE_COUNTERS}
        self._tm = {name: statistics.cell(f"tm:{name}") for name in TM_COUNTERS}
        self._sl = {name: statistics.cell(f"sl:{name}") for name in SL_COUNTERS}
        for one in self.house.sockets:
            self.loop.add_reader(one.udp.fileno(), partial(self._receive, one))

    def close(self) -> None:
        for one in self.house.sockets:
            self.loop.remove_reader(one.udp.fileno())

    def on_peer_up(self, peer: Peer, slot: int) -> None:
        if role_of(peer.name) == SIP:
            self._owners[slot] = peer

    def on_peer_down(self, peer: Peer) -> None:
        self._owners = {slot: owner for slot, owner in self._owners.items() if owner != peer}

    def give_up(self) -> None:
        for parked in self.parked.values():
            self.send_reply(parked.context, 503, "Service Unavailable")
        self.parked.clear()

    # Receiving.

    def _receive(self, socket: ListenSocket) -> None:
        for _ in range(BATCH):
            received = socket.receive()
            if received is None:
                return
            self._take(socket, *received)

    def on_letter(self, topic: str, sender: Peer, body: bytes) -> None:
        if topic != _HANDOVER:
            return super().on_letter(topic, sender, body)
        index, host, port, data = msgpack.unpackb(body)
        self._take(self.house.sockets[index], data, Address(host, port), handed=True)
        return None

    def _take(self, socket: ListenSocket, data: bytes, source: Address, handed: bool = False) -> None:
        match parse(data):
            case Request() as message:
                if not handed:
                    self._count("rcv_requests")
                self._on_request(message, socket, source, handed)
            case Reply():
                # No transaction of this server sends requests yet, so a reply belongs to nobody here.
                self._count("rcv_replies")
                self._count("drop_replies")
            case Bad(reason, answerable, status):
                self._count("bad_messages")
                log.info("from %s:%d: %s", source.host, source.port, reason)
                if answerable is not None:
                    self._reply_stateless(answerable, socket, source, status, reason)
            case KeepAlive():
                pass

    def _on_request(self, request: Request, socket: ListenSocket, source: Address, handed: bool) -> None:
        now = monotonic_now()
        key = server_key(request)
        told = self.table.receive(request, key, now)
        if told is not None:
            self._count("retransmissions")
            self._perform(told)
            if not any(isinstance(one, PassAck) for _, one in told):
                return
        elif request.method == "CANCEL" and invite_key(request) in self.table:
            return self._on_cancel(request, socket, source, key)
        elif not handed and self._hand_over(self._owner_of(request, key), request, socket, source):
            return None
        if request.method == "ACK" and request.to.tag == self.to_tag(request):
            self._count_sl("received_ACKs")  # of a reply that was sent without a transaction
            return None
        if self.draining:
            return self._reply_stateless(request, socket, source, 503, "Service Unavailable")
        return self._run_request(request, socket, source)

    def _run_request(self, request: Request, socket: ListenSocket, source: Address) -> None:
        route = self.house.program.script.routes.request
        if route is None:
            return
        context = Context(request, source=source, socket=socket.index, ruri=request.ruri, variables=self.variables)
        if not self.run_route(context, route):
            self._count("err_requests")
            self._end(context, succeeded=False)

    def _owner_of(self, request: Request, key: str) -> int | None:
        owner = self.house.fingerprints.find(fingerprint(key), self.slot)
        if owner is None and request.method == "CANCEL":
            return self.house.fingerprints.find(fingerprint(invite_key(request)), self.slot)
        if owner is None and request.method == "ACK":
            # That of a 2xx has a branch of its own (RFC 3261 section 13.2.2.4).
            return self.house.fingerprints.find(fingerprint(dialog_ack_key(request)), self.slot)
        return owner

    def _hand_over(self, owner: int | None, request: Request, socket: ListenSocket, source: Address) -> bool:
        """Give a request to the process that has its transaction; False when that is not there (any more)."""
        peer = self._owners.get(owner) if owner is not None else None
        if peer is None:
            return False
        body = msgpack.packb([socket.index, source.host, source.port, request.raw])
        if not self.node.post(peer, _HANDOVER, body):
            return False
        self._count("handed_over")
        return True

    # CANCEL (RFC 3261 section 9.2).

    def _on_cancel(self, cancel: Request, socket: ListenSocket, source: Address, key: str) -> None:
        if not self._create(cancel, socket, source, key):
            return
        self._reply_through(key, 200, "canceling")
        self._perform(self.table.cancel(invite_key(cancel), monotonic_now()) or [])

    def _cancelled(self, key: str) -> None:
        kept = self.kept[key]
        kept.cancelled = True
        # A parked context is resumed at once and may say what it thinks fit; else there is nobody to ask.
        if kept.job is None or not self.node.cancel(kept.job, "CANCEL"):
            self._reply_through(key, 487, "Request Terminated")

    # Transactions.

    def new_transaction(self, context: Context) -> bool:
        """Make a transaction of the context's request (`t_newtran`).

        Returns:
            False when it is a copy of one that another process has: that process has it now, and the script ends.
        """
        if context.transaction is not None:
            return True
        request = context.message
        if not isinstance(request, Request) or context.source is None or request.method == "ACK":
            return False
        key = server_key(request)
        if not self._create(request, self.house.sockets[context.socket], context.source, key):
            return False
        context.transaction = key
        return True

    def _create(self, request: Request, socket: ListenSocket, source: Address, key: str) -> bool:
        if key in self.table:
            return False
        owner = self.house.claims.claim(self.slot, fingerprint(key))
        if owner is not None:
            if self._hand_over(owner, request, socket, source):
                return False
            # Its owner is dead, and the attendant is about to clear its row.
            self.house.fingerprints.add(self.slot, fingerprint(key))
        kept = self.kept[key] = _Kept(request, source, reply_target(request, source), socket)
        invite = request.method == "INVITE"
        ack_key = dialog_ack_key(request) if invite else None
        if ack_key is not None:
            kept.ack = fingerprint(ack_key)
            self.house.fingerprints.add(self.slot, kept.ack)
        self._count_tm("UAS_transactions")
        self._perform(self.table.create(key, invite, monotonic_now(), ack_key=ack_key))
        return True

    def _perform(self, told: Iterable[Tagged]) -> None:
        for key, effect in told:
            match effect:
                case Send(data):
                    self._send_through(key, data)
                case SendTrying():
                    self._reply_through(key, 100, "Giving it a try")
                case PassAck():
                    pass
                case PassCancel():
                    self._cancelled(key)
                case PassFailure():
                    log.info("a reply of transaction %s could not be sent", key)
                case Unanswered():
                    self._reply_through(key, 408, "Request Timeout")
                case Terminated(reason):
                    log.debug("transaction %s is over: %s", key, reason)
                    self._forget(key)
                case _:
                    assert_never(effect)
        self._arm()

    def _forget(self, key: str) -> None:
        kept = self.kept.pop(key)
        self.house.fingerprints.remove(self.slot, fingerprint(key))
        if kept.ack:
            self.house.fingerprints.remove(self.slot, kept.ack)

    def _send_through(self, key: str, data: bytes) -> None:
        kept = self.kept[key]
        if not kept.socket.send(data, kept.target):
            self._count("lost_sends")
            self._perform(self.table.transport_failed(key, monotonic_now()) or [])

    def _reply_through(self, key: str, code: int, reason: str, headers: Iterable[str] = ()) -> int:
        kept = self.kept.get(key)
        transaction = self.table.find(key)
        if kept is None or kept.request is None or transaction is None or transaction.answered:
            return -1
        data = build_reply(
            kept.request,
            code,
            reason,
            source=kept.source,
            to_tag=self.to_tag(kept.request),
            headers=tuple(headers),
            server=self.house.settings.server_header,
        )
        if code >= 200:
            kept.request = None
            self._count_tm(f"{code // 100}xx_transactions")
        self._perform(self.table.reply(key, code, data, monotonic_now()) or [])
        return 1

    def _arm(self) -> None:
        """Have the table's timers looked at when the next one is due."""
        deadline = self.table.next_deadline()
        if deadline is None or deadline >= self._timer_at:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = deadline
        # A millisecond later, which is what libuv counts in: no turning on the spot before the deadline.
        self._timer = self.loop.call_later(max(0.0, deadline - monotonic_now()) + _PLAIN_TURNS_S, self._tick)

    def _tick(self) -> None:
        self._timer, self._timer_at = None, float("inf")
        self._perform(self.table.tick(monotonic_now()))

    # What scripts do.

    def reply(self, context: Context, code: int, reason: str) -> int:
        """Reply through the context's transaction (`t_reply`); -1 without one, or when it has its final reply."""
        if context.transaction is None or not 100 <= code <= 699:
            return -1
        kept = self.kept.get(context.transaction)
        if kept is not None and context.force_rport:
            kept.target = kept.source
        return self._reply_through(context.transaction, code, reason, context.reply_headers)

    def send_reply(self, context: Context, code: int, reason: str) -> int:
        """Reply in the way that fits the message's state (`send_reply`, `sl_send_reply`)."""
        if context.transaction is not None:
            return self.reply(context, code, reason)
        request = context.message
        if not isinstance(request, Request) or context.source is None or request.method == "ACK":
            return -1
        if not 100 <= code <= 699:
            return -1
        socket = self.house.sockets[context.socket]
        target = context.source if context.force_rport else None
        self._reply_stateless(request, socket, context.source, code, reason, context.reply_headers, target)
        return 1

    def to_tag(self, request: Request) -> str:
        """Our tag for this request's To: the same for each of its copies, in every process of this server.

        It is Python's keyed hash, whose key all processes share by the fork and nobody else knows, so an ACK for
        a reply without transaction is told by it (RFC 3261 section 16.11 asks for a tag that needs no state).
        """
        return f"{hash((request.call_id, request.from_.tag, request.cseq_number)) & 0xFFFFFFFFFFFFFFFF:016x}"

    def _reply_stateless(
        self,
        request: Request,
        socket: ListenSocket,
        source: Address,
        code: int,
        reason: str,
        headers: Iterable[str] = (),
        target: Address | None = None,
    ) -> None:
        if request.method == "ACK":
            return
        data = build_reply(
            request,
            code,
            reason,
            source=source,
            to_tag=self.to_tag(request),
            headers=tuple(headers),
            server=self.house.settings.server_header,
        )
        self._count_sl("sent_replies")
        if not socket.send(data, target or reply_target(request, source)):
            self._count("lost_sends")

    # Parking.

    def hold(self, context: Context) -> bool:
        message = context.message
        if context.source is None or not isinstance(message, Request) or message.method == "ACK":
            return True
        if not self.new_transaction(context):
            return False
        assert context.transaction is not None
        self._perform(self.table.trying(context.transaction, monotonic_now()) or [])
        return True

    def on_parked(self, context: Context, job: JobId, timeout_s: float) -> None:
        key = context.transaction
        kept = self.kept.get(key) if key is not None else None
        if key is None or kept is None:
            return
        kept.job = job
        self._perform(self.table.hold(key, timeout_s + 1, monotonic_now()) or [])
        if kept.cancelled:
            self.node.cancel(job, "CANCEL")  # it came while the route before this parking ran

    def on_resuming(self, context: Context) -> None:
        kept = self.kept.get(context.transaction) if context.transaction is not None else None
        if kept is not None:
            kept.job = None

    def on_resumed(self, context: Context, succeeded: bool) -> None:
        self._end(context, succeeded)

    def _end(self, context: Context, succeeded: bool) -> None:
        """A route is through. What failed is answered 500; what was cancelled and not answered, 487."""
        if context.route is not RouteType.REQUEST:
            return
        kept = self.kept.get(context.transaction) if context.transaction is not None else None
        if not succeeded:
            self.send_reply(context, 500, "Server Internal Error")
        elif kept is not None and kept.cancelled and kept.job is None:
            assert context.transaction is not None
            self._reply_through(context.transaction, 487, "Request Terminated")

    def _count(self, name: str) -> None:
        self.house.statistics.add(self._core[name])

    def _count_tm(self, name: str) -> None:
        if name in self._tm:
            self.house.statistics.add(self._tm[name])

    def _count_sl(self, name: str) -> None:
        self.house.statistics.add(self._sl[name])
