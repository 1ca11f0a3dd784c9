"""The client transactions of a SIP process, as a shell around their table: it sends, keeps time, and passes replies up.

The branch of our Via is made from the fingerprint of the server transaction that a request is relayed for. So whichever
process receives the reply can tell from the reply alone whose it is (`owner_fingerprint`), and a process that takes up
a retransmission after another one's death sends the very same branch on: the next hop sees a retransmission too.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from functools import partial
from typing import Final, Protocol, assert_never

from msgspec import Struct

from runtime.alarm import Alarm
from runtime.clock import monotonic_now
from runtime.context import Address
from runtime.sip.client_table import ClientTable, ClientTagged, client_key
from runtime.sip.forward import ack_of, cancel_of
from runtime.sip.message import Reply, Request, parse
from runtime.sip.transaction_words import (
    ClientTold,
    PassFailure,
    PassReply,
    PassTimeout,
    SendAck,
    SendCancel,
    SendRequest,
    Terminated,
    Timers,
)
from runtime.transports.base import Failed, ListenSocket

log = logging.getLogger("layby.sip")

_NO_REPLY: Final = 408
_UNREACHABLE: Final = 503


class Served(Protocol):
    """Who a client transaction works for."""

    def on_reply(self, leg: Leg, reply: Reply) -> None:
        """A reply came: each provisional one, the final one, and every copy of a 2xx to an INVITE."""

    def on_failed(self, leg: Leg, status: int) -> None:
        """It ended without a reply: 408 in time, 503 where it could not be sent."""

    def on_gone(self, leg: Leg) -> None:
        """Nothing more will come."""


class Sends(Protocol):
    """What puts bytes on the network."""

    def send(self, socket: ListenSocket, data: bytes, to: Address, failed: Failed | None = None) -> bool: ...


class Leg(Struct, eq=False):
    """One client transaction: a request that this process sent, and to where.

    Args:
        branch: the branch of its Via.
        method: its method.
        data: its bytes.
        socket: what it is sent from.
        target: where it goes.
        served: who hears of it.
        index: which branch of the relayed request it is.
        fr_timeout_s, fr_inv_timeout_s: how long a reply, and the final one to an INVITE, is awaited.
        was_replied: whether any reply has come: somebody is there.

    Attributes:
        key: its transaction's.
    """

    branch: str
    method: str
    data: bytes
    socket: ListenSocket
    target: Address
    served: Served
    index: int = 0
    fr_timeout_s: float = 30.0
    fr_inv_timeout_s: float = 120.0
    was_replied: bool = False
    key: str = ""
    _parsed: Request | None = None

    def __post_init__(self) -> None:
        self.key = client_key(self.branch, self.method)

    @property
    def sent(self) -> Request:
        """The request, read; only its ACK and its CANCEL need that."""
        if self._parsed is None:
            parsed = parse(self.data)
            assert isinstance(parsed, Request), "what was sent was built from a request"
            self._parsed = parsed
        return self._parsed


class _Nobody:
    """Who a CANCEL is sent for: its reply matters to nobody (RFC 3261 9.1)."""

    def on_reply(self, leg: Leg, reply: Reply) -> None:
        pass

    def on_failed(self, leg: Leg, status: int) -> None:
        pass

    def on_gone(self, leg: Leg) -> None:
        pass


NOBODY: Final = _Nobody()
"""Who a request is sent for whose reply nobody waits for."""


class ClientTransactions:
    """All client transactions of this process.

    Args:
        transports: what sends.
        loop: for their timers.
        timers: the base values.
        on_change: told 1 when there is one more, and -1 when there is one less.
    """

    def __init__(
        self,
        transports: Sends,
        loop: asyncio.AbstractEventLoop,
        timers: Timers,
        on_change: Callable[[int], None],
    ) -> None:
        self._transports = transports
        self._on_change = on_change
        self._loop = loop
        self._table = ClientTable(timers)
        self._legs: dict[str, Leg] = {}
        """One for each transaction in the table, by the same key."""
        self._alarm = Alarm(loop, self._tick)

    def __len__(self) -> int:
        return len(self._legs)

    def __contains__(self, key: str) -> bool:
        return key in self._legs

    def begin(self, leg: Leg) -> None:
        """Send a request.

        One with the same key lingers where a caller sends a request again whose transaction has ended here: it makes
        way, or nobody would hear what comes back.
        """
        before = self._legs.get(leg.key)
        if before is not None:
            self.drop(before)
        self._legs[leg.key] = leg
        self._on_change(1)
        told = self._table.create(
            leg.key,
            leg.method == "INVITE",
            monotonic_now(),
            reliable=leg.socket.reliable,
            fr_timeout_s=leg.fr_timeout_s,
            fr_inv_timeout_s=leg.fr_inv_timeout_s,
        )
        self._perform(told, None)

    def receive(self, reply: Reply, key: str) -> None:
        """A reply to the transaction with that key arrived."""
        self._perform(self._table.receive(key, reply.status, monotonic_now()) or [], reply)

    def cancel(self, leg: Leg) -> None:
        """The INVITE shall end: CANCEL it as soon as the RFC lets us."""
        self._perform(self._table.cancel(leg.key, monotonic_now()) or [], None)

    def drop(self, leg: Leg) -> None:
        """Forget it; nobody is told."""
        leg.served = NOBODY
        self._perform(self._table.terminate(leg.key, monotonic_now()) or [], None)

    # Effects.

    def _perform(self, told: Iterable[ClientTagged], reply: Reply | None) -> None:
        for key, effect in told:
            leg = self._legs.get(key)
            if leg is None:
                continue
            try:
                self._perform_one(leg, effect, reply)
            except Exception:
                # One transaction's trouble must not cost the others their timers, nor this one its end.
                log.exception("transaction %s: %s", key, type(effect).__name__)
        self._alarm.set(self._table.next_deadline())

    def _perform_one(self, leg: Leg, effect: ClientTold, reply: Reply | None) -> None:
        match effect:
            case SendRequest():
                self._send(leg, leg.data)
            case SendAck():
                assert reply is not None, "an ACK answers a reply"
                self._send(leg, ack_of(leg.sent, reply))
            case SendCancel():
                # A transaction of its own, with the same branch (9.1).
                data = cancel_of(leg.sent)
                self.begin(Leg(leg.branch, "CANCEL", data, leg.socket, leg.target, NOBODY))
            case PassReply():
                assert reply is not None, "what is passed has come"
                leg.was_replied = True
                leg.served.on_reply(leg, reply)
            case PassTimeout():
                leg.served.on_failed(leg, _NO_REPLY)
            case PassFailure():
                leg.served.on_failed(leg, _UNREACHABLE)
            case Terminated():
                del self._legs[leg.key]
                self._on_change(-1)
                leg.served.on_gone(leg)
            case _:
                assert_never(effect)

    def _send(self, leg: Leg, data: bytes) -> None:
        failed = partial(self._failed, leg) if leg.socket.reliable else None
        if not self._transports.send(leg.socket, data, leg.target, failed):
            # In a turn of its own: who began the transaction is still at it.
            self._loop.call_soon(self._failed, leg)

    def _failed(self, leg: Leg) -> None:
        if self._legs.get(leg.key) is leg:
            self._perform(self._table.transport_failed(leg.key, monotonic_now()) or [], None)

    # Time.

    def _tick(self) -> None:
        self._perform(self._table.tick(monotonic_now()), None)
