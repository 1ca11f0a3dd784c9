"""A SIP process: receives, runs the request route, parks and resumes.

What comes in, and whose it is, is `runtime.reception`'s; here are the process's life and what scripts do in it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Iterable, Sequence
from functools import lru_cache, partial
from typing import ClassVar, Final

from runtime.clock import monotonic_now
from runtime.context import Address, Context, RouteType, Value
from runtime.errands import read
from runtime.garbage import Collector
from runtime.handover import Marks
from runtime.house import House
from runtime.modules.tm import tm_settings
from runtime.proxy import Proxy
from runtime.reading_duty import ReadingDuty
from runtime.reception import Reception
from runtime.roles import SEND_REQUEST, SIP, role_of
from runtime.runs import Done, Ended
from runtime.script_process import ScriptProcess
from runtime.server_transactions import Origin, ServerTransactions, to_tag
from runtime.short_turns import Turns
from runtime.sip.build import build_reply, reply_targets
from runtime.sip.judge import Refusal, refuse_relaying
from runtime.sip.keys import invite_key, server_key
from runtime.sip.message import Reply, Request
from runtime.sip.own_request import OwnRequest
from runtime.sip_answers import answer_others
from runtime.sip_loop import SipLoop
from runtime.steps import ServerStep
from runtime.transports.base import Failed, ListenSocket, OnDisconnected
from runtime.transports.transports import Transports
from runtime.uac import Sending, UserAgentClient
from runtime.watchers import TransactionWatcher
from workers.birth import Child
from workers.jobs import Peer
from workers.steps import after, before
from workers.worker import Running

_RELAYING: Final = (RouteType.REQUEST, RouteType.FAILURE)
"""Where a request is at the script's disposal. In a branch route it is under way already."""
_GRACE_S: Final = 1.0
"""How much longer than its job's deadline a parked transaction is kept."""


def _on_cancel(house: House) -> object:
    module = house.program.modules.get("mi_script")
    return None if module is None else module.settings["on_cancel"]


@lru_cache(maxsize=256)  # as `_seconds` in `runtime.script_process`
def _with_grace(timeout_s: float) -> float:
    return timeout_s + _GRACE_S


def _unheard(status: int, reply: Reply | None) -> None:
    """Of whose end the script hears in the routes that it has armed, or not at all."""


class SipProcess(ScriptProcess):
    """See the module."""

    loop: SipLoop
    makes_transactions: ClassVar[type[ServerTransactions]] = ServerTransactions

    def __init__(self, child: Child, house: House) -> None:
        super().__init__(child, house)
        self.executes = house.settings.mi_workers == 0
        self._owners: dict[int, Peer] = {}
        """The other SIP processes by their row among the fingerprints."""
        self._through = self._request_through
        """Made once, for the same reason as `_told`."""
        self._waiting: dict[str, int | tuple[int, ...]] = {}
        """What a CANCEL ends: by the transaction's key the number of its parked context, or those of several."""
        self.on_disconnected: OnDisconnected | None = None
        """Told of each connection over which SIP was spoken and that has ended."""
        self._cancel_resumes = _on_cancel(house) != "wait"
        """Whether a CANCEL resumes what is parked, or lets the job end first."""

    # Life.

    def new_loop(self) -> SipLoop:
        return SipLoop()

    def open(self) -> None:
        super().open()
        self._turns = Turns()
        self.house.handover.enter(self.slot)
        marks = Marks(self.house.marks, self.house.settings.udp_workers, self.slot)
        self._reception = Reception(self, self.house, marks)
        self._make_transports(marks)
        settings = tm_settings(self.house.program.modules.get("tm"))
        self.transactions = self.makes_transactions(
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
        self.letters[SEND_REQUEST] = self._on_request_wanted
        answer_others(self)
        self.transports.open()
        self.loop.add_direct(self.house.handover.fileno(self.slot), self._reception.take_given, exclusive=False)
        self.duty.begin()
        self._garbage = Collector(self.loop, self._held)
        self._garbage.begin()

    def _make_transports(self, marks: Marks) -> None:
        self.transports = Transports(
            self.house.sockets,
            self.loop,
            self._reception.take,
            on_broken=self._reception.on_broken,
            settings=self.house.settings.streams,
            slot=self.slot,
            peers=self.house.peers,
            post=self._post,
            marks=marks,
            took=partial(self.house.readers.took, self.slot),
            on_disconnected=self.on_disconnected,
        )
        self.duty = ReadingDuty(
            self.slot,
            self.house.readers,
            self.loop,
            self.transports.datagrams,
            self.house.handover.call,
            self.house.settings.udp_readers,
            self._choose_turns,
        )

    def close(self) -> None:
        self._garbage.close()
        self.loop.remove_direct(self.house.handover.fileno(self.slot))
        self.proxy.close()
        self.transports.close()

    def _held(self) -> int:
        return len(self.transactions) + len(self.proxy.clients) + len(self.parked)

    def on_peer_up(self, peer: Peer, slot: int) -> None:
        super().on_peer_up(peer, slot)
        if role_of(peer.name) == SIP:
            self._owners[slot] = peer

    @after(ServerStep.STANDING_STILL)
    def stand_still(self) -> None:
        self.duty.stand_still()

    @before(ServerStep.MOVING_AGAIN)
    def move_again(self) -> None:
        self.duty.move_again()

    def _choose_turns(self, busy: float) -> None:
        self._turns.look(busy, self.node.counters["returned"], monotonic_now())

    def on_peer_down(self, peer: Peer) -> None:
        super().on_peer_down(peer)
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
            parked.abandon()
        for key in self.proxy.unanswered():
            self.answer(key, 503, "Service Unavailable")

    # Messages.

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

    def run_request(self, origin: Origin) -> None:
        """Run the request route on a request that is new."""
        script = self.house.program.script
        route = script.routes.request
        if route is None:
            return
        request = origin.request
        context = Context(
            request,
            source=origin.source,
            socket=origin.socket.index,
            ruri=request.ruri,
            variables=self.variables,
            script=script,
            documents=self.documents,
            key=origin.key,
        )
        self.run_script(context, route, self._through)

    def _request_through(self, context: Context, ended: Ended) -> None:
        """The request route is through. What failed is answered 500; what was cancelled and not answered, 487."""
        key = context.transaction
        if ended is Ended.FAILED:
            self.count("core:err_requests")
            if not context.replied and (key is None or key not in self.proxy.relays):
                self.send_reply(context, 500, "Server Internal Error")
        elif key is not None and self.transactions.is_cancelled(key) and key not in self.proxy.relays:
            self._terminate(key)

    # Owners.

    def _post(self, slot: int, topic: str, body: bytes) -> bool:
        """Send a letter to the SIP process in a slot; False when that is not there."""
        peer = self._owners.get(slot)
        return peer is not None and self.node.post(peer, topic, body)

    @after(ServerStep.TRANSACTION_MADE)
    def _create(self, origin: Origin, key: str) -> bool:
        """Make a transaction; False when the request is a copy of one that is known, here or elsewhere."""
        if key in self.transactions:
            return False
        owner = self.transactions.create(origin, key)
        if owner is None:
            return True
        if self._reception.hand_over(owner, origin.request, origin.socket, origin.source):
            return False
        # It has gone from one to the next, each of which has just let go of it: whoever has it now answers.
        self.transactions.create_anyway(origin, key)
        return True

    # CANCEL (RFC 3261 section 9.2).

    def cancel(self, origin: Origin, key: str) -> None:
        """Deal with a CANCEL, whose own key is given, of an INVITE that is this process's."""
        if self._create(origin, key):
            self.transactions.reply(key, 200, "canceling")
            self.transactions.cancel(invite_key(origin.request))

    @before(ServerStep.CANCELLED)
    def _on_cancelled(self, key: str) -> None:
        for watcher in self.watchers:
            watcher.cancelled(key)
        # A parked context is resumed at once and may say what it thinks fit; else there is nobody to ask.
        waiting = self._parked_of(key)
        if self._cancel_resumes:
            for serial in waiting:
                self.cancel_wait(serial)
        relay = self.proxy.relays.get(key)
        if relay is not None:
            relay.cancel()
        elif not waiting:
            self._terminate(key)

    def _on_unanswered(self, key: str) -> None:
        # While a job is under way its deadline decides; its answer may lie in the inbox already.
        if key not in self._waiting:
            self.answer(key, 408, "Request Timeout")

    def _on_over(self, key: str) -> None:
        self.proxy.gone(key)
        for watcher in self.watchers:
            watcher.over(key)

    def _terminate(self, key: str) -> None:
        """Answer what was cancelled and is not being relayed (RFC 3261 section 9.2)."""
        self.answer(key, 487, "Request Terminated")

    @before(ServerStep.ANSWERING)
    @after(ServerStep.ANSWERED)
    def answer(
        self,
        key: str,
        code: int,
        reason: str,
        headers: Sequence[str] = (),
        *,
        to_source: bool = False,
        body: bytes = b"",
        tag: str | None = None,
    ) -> int:
        """Reply through a transaction; see `ServerTransactions.reply`."""
        watchers = self.proxy.watchers
        if watchers and code >= 200 and not self.transactions.is_answered(key):
            # Before the reply is out: whoever has it may ask at once, and elsewhere, what became of the call.
            for watcher in watchers:
                watcher.answered(key, code, reason)
        rc = self.transactions.reply(key, code, reason, headers, to_source=to_source, body=body, tag=tag)
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
        key = context.key or server_key(origin.request)
        if not self._create(origin, key):
            return False
        context.transaction = key
        for watcher in self.proxy.watchers:
            watcher.began(context)
        return True

    def send_request(self, wanted: OwnRequest, done: Done, avps: dict[str, list[Value]] | None = None) -> Sending:
        """Send a request of our own; see `UserAgentClient.send`."""
        return self.uac.send(wanted, done, avps)

    def start_request(self, wanted: OwnRequest, avps: dict[str, list[Value]]) -> None:
        self.uac.send(wanted, _unheard, avps)

    def _on_request_wanted(self, sender: Peer, letter: bytes) -> None:
        self.start_request(*read(letter))

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
        owner = self._reception.owner_of(request, context.key or server_key(request))
        handed = self._reception.hand_over(owner, request, self.house.sockets[context.socket], context.source)
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

    def reply(self, context: Context, code: int, reason: str, body: bytes = b"") -> int:
        """Reply through the context's transaction (`t_reply`); -1 without one, or when it has its final reply."""
        if context.transaction is None or not 100 <= code <= 699:
            return -1
        headers, to_source = context.reply_headers, context.force_rport
        return self.answer(context.transaction, code, reason, headers, to_source=to_source, body=body)

    @after(ServerStep.RELAYED)
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
        self.reply_stateless(origin, code, reason, context.reply_headers, to_source=context.force_rport)
        context.replied = context.replied or code >= 200
        return 1

    def _origin(self, context: Context) -> Origin | None:
        """What a reply would answer; None for an ACK, a reply, and messages of our own."""
        request = context.message
        if not isinstance(request, Request) or context.source is None or request.method == "ACK":
            return None
        return Origin(request, self.house.sockets[context.socket], context.source)

    def reply_stateless(
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

    def on_parked(self, context: Context, serial: int, timeout_s: float) -> None:
        key = context.transaction
        if key is None or key not in self.transactions:
            return
        self.transactions.hold(key, _with_grace(timeout_s))
        if context.route is RouteType.ONREPLY:
            return  # a CANCEL is about the branches, and what they have answered goes its way
        self._waiting[key] = serial if key not in self._waiting else (*self._parked_of(key), serial)
        if self.transactions.is_cancelled(key) and key not in self.proxy.relays:
            # It came before this parking, and the script goes on all the same: the caller waits for it no longer.
            self._terminate(key)

    def on_resuming(self, context: Context, serial: int) -> None:
        key = context.transaction
        if key is None:
            return
        self.transactions.unpack(key, context.message)
        waiting = self._waiting.get(key)
        if waiting == serial:
            del self._waiting[key]
        elif isinstance(waiting, tuple):
            others = tuple(other for other in waiting if other != serial)
            self._waiting[key] = others if len(others) > 1 else others[0]

    def _parked_of(self, key: str) -> tuple[int, ...]:
        waiting = self._waiting.get(key, ())
        return waiting if isinstance(waiting, tuple) else (waiting,)

    def on_packed(self, context: Context) -> None:
        if context.transaction is not None:
            self.transactions.pack(context.transaction)
