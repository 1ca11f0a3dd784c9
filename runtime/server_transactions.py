"""The server transactions of a SIP process, as a shell around their table: it sends, keeps time, and publishes them.

A transaction is published by its fingerprint in shared memory, by one process only, so that a copy of its request that
another process receives finds its way here (RFC 3261 section 17.2; `runtime.sip.ownership`).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from functools import partial
from typing import Final, NamedTuple, assert_never

from msgspec import Struct
from mypy_extensions import mypyc_attr

from runtime.alarm import Alarm
from runtime.clock import monotonic_now
from runtime.compiled import is_compiled
from runtime.context import Address
from runtime.house import House
from runtime.packed import shared_address, unpack_request
from runtime.sip.build import build_reply, reply_targets
from runtime.sip.fields import LWS
from runtime.sip.keys import dialog_ack_key
from runtime.sip.message import Message, Request
from runtime.sip.ownership import fingerprint
from runtime.sip.table import Tagged, TransactionTable
from runtime.sip.transaction import (
    PassAck,
    PassCancel,
    PassFailure,
    Send,
    SendTrying,
    Terminated,
    Timers,
    Told,
    Unanswered,
)
from runtime.transports.base import ListenSocket
from runtime.transports.transports import Transports

_COMPILED: Final = is_compiled("runtime.sip.usual")
if _COMPILED:
    from runtime.sip import usual

log = logging.getLogger("layby.sip")

_FINAL: Final = {number: f"tm:{number}xx_transactions" for number in range(2, 7)}
"""The statistic of each class of final replies."""


# A NamedTuple, not a frozen dataclass: one is made for every request, in less than half the time.
class Origin(NamedTuple):
    """A request as it came in: what was received where, from whom, and its `server_key` where that was worked out."""

    request: Request
    socket: ListenSocket
    source: Address
    key: str = ""


class _Kept(Struct, gc=False):
    """What is kept for a transaction beside its state machine.

    Args:
        request: what replies are built from, or its bytes; let go once the final one is out.
        source: where it came from.
        target, otherwise: where replies go, and where when the connection to there is gone.
        socket: what it came in on.
        born: when, on CLOCK_MONOTONIC.
        invite: whether it is an INVITE.
        ack: the fingerprint by which the ACK of a 2xx is found in another process; 0 for what has no ACK.
        cancelled: a CANCEL came.
    """

    request: Request | bytes | None
    source: Address
    target: Address
    otherwise: Address | None
    socket: ListenSocket
    born: float
    invite: bool
    ack: int = 0
    cancelled: bool = False


@mypyc_attr(allow_interpreted_subclasses=True)  # the simulated machine has one
class ServerTransactions:
    """All server transactions of this process.

    Args:
        house: where they are published and counted.
        slot: this process's row there.
        loop: for their timers.
        transports: what sends their replies.
        on_cancel: told the key of an INVITE transaction when its CANCEL has come.
        on_unanswered: told the key of an INVITE transaction that had no reply for long.
        on_lost_send: told of each reply that the kernel would not take.
        on_over: told the key of each transaction that has ended.
        timers: the base values.
    """

    def __init__(
        self,
        house: House,
        slot: int,
        loop: asyncio.AbstractEventLoop,
        transports: Transports,
        on_cancel: Callable[[str], None],
        on_unanswered: Callable[[str], None],
        on_lost_send: Callable[[], None],
        on_over: Callable[[str], None],
        timers: Timers,
    ) -> None:
        self._house = house
        self._count = house.statistics.count
        self._slot = slot
        self._transports = transports
        self._on_cancel = on_cancel
        self._on_unanswered = on_unanswered
        self._on_lost_send = on_lost_send
        self._on_over = on_over
        self._table = TransactionTable(timers)
        self._kept: dict[str, _Kept] = {}
        """One for each transaction in the table, by the same key."""
        self._alarm = Alarm(loop, self._tick)

    def __contains__(self, key: str) -> bool:
        return key in self._kept

    def __len__(self) -> int:
        return len(self._table)

    def create(self, origin: Origin, key: str) -> int | None:
        """Make the transaction of a request, unless another process has it.

        Args:
            origin: the request.
            key: its `server_key`, unknown here.

        Returns:
            None when it is made; else the slot of the process that has it.
        """
        owner = self._house.claims.claim(self._slot, fingerprint(key))
        if owner is None:
            self._begin(origin, key)
        return owner

    def create_anyway(self, origin: Origin, key: str) -> None:
        """Make the transaction although another process's row shows it: that process is dead."""
        self._house.fingerprints.add(self._slot, fingerprint(key))
        self._begin(origin, key)

    def receive(self, request: Request, key: str) -> bool | None:
        """A request arrived.

        Returns:
            None when no transaction of this process knows it; else whether it is an ACK for the script to see.
        """
        if key not in self._kept and request.method != "ACK":
            return None  # it is new, as nearly all are
        told = self._table.receive(request, key, monotonic_now())
        if told is None:
            return None
        self._perform(told)
        return any(isinstance(effect, PassAck) for _, effect in told)

    def cancel(self, key: str) -> None:
        """The CANCEL of an INVITE transaction has come."""
        self._perform(self._table.cancel(key, monotonic_now()) or [])

    def reply(
        self,
        key: str,
        code: int,
        reason: str,
        headers: Iterable[str] = (),
        *,
        to_source: bool = False,
        body: bytes = b"",
        tag: str | None = None,
    ) -> int:
        """Reply through a transaction.

        Args:
            key: the transaction's.
            code: 100 to 699.
            reason: the reason phrase.
            headers: header lines to add.
            to_source: send it where the request came from, whatever its Via says (`force_rport`).
            body: with its Content-Type among `headers`.
            tag: of the reply's To; None for the one that this server gives to each copy of the request.

        Returns:
            1; -1 when there is no such transaction, or it has its final reply.
        """
        kept = self._kept.get(key)
        if kept is None or kept.request is None:
            return -1
        request = kept.request
        if isinstance(request, bytes):
            request = kept.request = unpack_request(request)
        if to_source:
            kept.target = kept.source
        data = build_reply(
            request,
            code,
            reason,
            source=kept.source,
            to_tag=to_tag(request) if tag is None else tag,
            headers=tuple(headers),
            body=body,
            server=self._house.settings.server_header,
        )
        if code >= 200:
            if code < 300 and kept.invite:
                # Its ACK ends the repeating, and may come to another process (RFC 3261 section 13.2.2.4).
                kept.ack = fingerprint(dialog_ack_key(request))
                self._house.fingerprints.add(self._slot, kept.ack)
            kept.request = None
            self._count(_FINAL[code // 100])
        self._perform(self._table.reply(key, code, data, monotonic_now()) or [])
        return 1

    def relay(self, key: str, status: int, data: bytes) -> None:
        """Send a reply that came from further on.

        Args:
            key: the transaction's.
            status: 100 to 699.
            data: its bytes, as they go upstream.
        """
        kept = self._kept.get(key)
        if kept is None:
            return
        if status >= 200 and kept.request is not None:
            kept.request = None
            self._count(_FINAL[status // 100])
        self._perform(self._table.reply(key, status, data, monotonic_now(), relayed=True) or [])

    def hold(self, key: str, for_s: float) -> None:
        """A reply will come within `for_s` seconds: keep it until then, and say 100 to an INVITE now."""
        if self.is_invite(key):  # the only one that is to hear of it
            self._perform(self._table.trying(key, monotonic_now()) or [])
        self.keep(key, for_s)

    def keep(self, key: str, for_s: float) -> None:
        """A reply will come within `for_s` seconds: keep it until then, and say nothing."""
        self._perform(self._table.hold(key, for_s, monotonic_now()) or [])

    def pack(self, key: str) -> None:
        """Keep what replies are built from in little room: there will be none for long."""
        kept = self._kept.get(key)
        if kept is not None and isinstance(kept.request, Request):
            kept.request = kept.request.raw
            kept.source, kept.target = shared_address(kept.source), shared_address(kept.target)

    def unpack(self, key: str, message: Message) -> None:
        """Take what was packed out again: that request was read once more."""
        kept = self._kept.get(key)
        if kept is not None and isinstance(kept.request, bytes) and isinstance(message, Request):
            kept.request = message

    def is_cancelled(self, key: str) -> bool:
        """Whether its CANCEL has come."""
        kept = self._kept.get(key)
        return kept is not None and kept.cancelled

    def is_answered(self, key: str) -> bool:
        """Whether its final reply has been given."""
        transaction = self._table.find(key)
        return transaction is None or transaction.answered

    def last_status(self, key: str) -> int:
        """The status of its last reply; 0 before the first."""
        transaction = self._table.find(key)
        return 0 if transaction is None else transaction.last_status

    def acknowledges(self, ack: Request) -> bool:
        """Whether an ACK is that of a 2xx of one of these transactions."""
        return self._table.has_ack(dialog_ack_key(ack))

    def is_invite(self, key: str) -> bool:
        """Whether it is an INVITE's."""
        kept = self._kept.get(key)
        return kept is not None and kept.invite

    def is_reliable(self, key: str) -> bool:
        """Whether its replies go over a stream."""
        kept = self._kept.get(key)
        return kept is not None and kept.socket.reliable

    def age_s(self, key: str) -> float:
        """Seconds since it was made; 0 when there is none."""
        kept = self._kept.get(key)
        return 0.0 if kept is None else monotonic_now() - kept.born

    # Effects.

    def _begin(self, origin: Origin, key: str) -> None:
        request = origin.request
        now, invite, reliable = monotonic_now(), request.method == "INVITE", origin.socket.reliable
        target, otherwise = reply_targets(request, origin.source, reliable)
        self._kept[key] = _Kept(request, origin.source, target, otherwise, origin.socket, born=now, invite=invite)
        ack_key = dialog_ack_key(request) if invite else None
        self._count("tm:UAS_transactions")
        self._count("tm:inuse_transactions")
        self._perform(self._table.create(key, invite, now, ack_key=ack_key, reliable=reliable))

    def _perform(self, told: Iterable[Tagged]) -> None:
        for key, effect in told:
            try:
                if isinstance(effect, Send):  # as nearly all are
                    self._send(key, effect.data)
                else:
                    self._perform_one(key, effect)
            except Exception:
                # One transaction's trouble must not cost the others their timers, nor this one its end.
                log.exception("transaction %s: %s", key, type(effect).__name__)
        if self._table.is_sooner:
            self._alarm.set(self._table.next_deadline())

    def _perform_one(self, key: str, effect: Told) -> None:
        match effect:
            case Send():
                pass  # `_perform` does it
            case SendTrying():
                self.reply(key, 100, "Giving it a try")
            case PassAck():
                pass  # `receive` gives it to its caller
            case PassCancel():
                self._kept[key].cancelled = True
                self._on_cancel(key)
            case PassFailure():
                log.info("a reply of transaction %s could not be sent", key)
            case Unanswered():
                self._on_unanswered(key)
            case Terminated(reason):
                log.debug("transaction %s is over: %s", key, reason)
                self._forget(key)
            case _:
                assert_never(effect)

    def _send(self, key: str, data: bytes) -> None:
        kept = self._kept[key]
        failed = partial(self._lost, key) if kept.socket.reliable else None
        if not self._transports.send(kept.socket, data, kept.target, failed, kept.otherwise):
            self._lost(key)

    def _lost(self, key: str) -> None:
        self._on_lost_send()
        self._perform(self._table.transport_failed(key, monotonic_now()) or [])

    def _forget(self, key: str) -> None:
        kept = self._kept.pop(key)
        self._count("tm:inuse_transactions", -1)
        self._house.fingerprints.remove(self._slot, fingerprint(key))
        if kept.ack:
            self._house.fingerprints.remove(self._slot, kept.ack)
        self._on_over(key)

    # Time.

    def _tick(self) -> None:
        self._perform(self._table.tick(monotonic_now()))
        self._alarm.set(self._table.next_deadline())


def to_tag(request: Request) -> str:
    """Our tag for a request's To: the same for each of its copies, in every process of this server.

    It is Python's keyed hash, whose key all processes share by the fork and nobody else knows, so an ACK for a reply
    without transaction is told by it (RFC 3261 section 16.11 asks for a tag that needs no state). From is taken as it
    stands, for it is the same in all of them (section 17.1.1.3), and reading it would cost 2 us more. So is Call-ID, of
    which nearly always this alone is asked: to have it read and kept would cost 0.7 us more.
    """
    if _COMPILED and (tag := usual.to_tag(request)) is not None:
        return tag
    return to_tag_any(request)


def to_tag_any(request: Request) -> str:
    """The same in Python alone."""
    lines, index = request.lines, request.names.index
    call_id = lines[index("call-id")].partition(":")[2].strip(LWS)
    sender = lines[index("from")].partition(":")[2].strip(LWS)
    return f"{hash((call_id, sender, request.cseq_number)) & 0xFFFFFFFFFFFFFFFF:016x}"
