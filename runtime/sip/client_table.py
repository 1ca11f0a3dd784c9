"""The client transactions of one process, with their timers.

The counterpart of `runtime.sip.table`, by the same means: the one place where a client transaction enters and leaves.
Every state has a timer that ends it (`ClientTransaction.check`), every timer that a transaction starts is on the
wheel, and its end takes it out of the dict and its timers off the wheel.

A transaction is found by what a reply must match (RFC 3261 17.1.3): the branch of our Via, which is the topmost one of
the reply, and the method of CSeq, for a CANCEL has the branch of its INVITE.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, TypeAlias

from runtime.sip.client_transaction import ClientTransaction
from runtime.sip.timers import Handle, Wheel
from runtime.sip.transaction_words import (
    CancelWanted,
    ClientEffect,
    ClientStimulus,
    ClientTold,
    Dropped,
    ReplyReceived,
    Start,
    Stop,
    Terminated,
    Timer,
    TimerFired,
    Timers,
    TransportFailed,
)

ClientTagged: TypeAlias = tuple[str, ClientTold]
"""A transaction's key and what it tells. `Start` and `Stop` are performed here and not told."""

_FIRED: Final = {timer: TimerFired(timer) for timer in Timer}
_RECEIVED: Final = [ReplyReceived(status) for status in range(700)]
_NO_STATUS: Final = _RECEIVED[0]
_CANCEL_WANTED: Final = CancelWanted()
_DROPPED: Final = Dropped()
_FAILED: Final = TransportFailed()


def client_key(branch: str, method: str) -> str:
    """The key of a client transaction (RFC 3261 17.1.3).

    Args:
        branch: the branch parameter of our Via.
        method: the request's method, in a reply the one of CSeq.
    """
    return f"{branch} {method}"


class _Entry:
    __slots__ = ("handles", "key", "transaction")

    def __init__(self, key: str, transaction: ClientTransaction) -> None:
        self.key = key
        self.transaction = transaction
        self.handles: dict[Timer, Handle] = {}


class ClientTable:
    """All client transactions of one process.

    Every method returns the effects in the order in which they are to be performed. `Terminated` is the last of its
    key: the transaction is out of the table by then, and what else is kept for it may go.

    Args:
        timers: the base values for all.
    """

    def __init__(self, timers: Timers | None = None) -> None:
        self._timers = timers or Timers()
        self._entries: dict[str, _Entry] = {}
        self._wheel: Wheel[tuple[_Entry, Timer]] = Wheel()

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, key: str) -> bool:
        return key in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._entries))

    def find(self, key: str) -> ClientTransaction | None:
        """The transaction, to look at (`state`, `answered`, `last_status`), not to drive."""
        entry = self._entries.get(key)
        return None if entry is None else entry.transaction

    def create(
        self, key: str, invite: bool, now: float, *, reliable: bool, fr_timeout_s: float, fr_inv_timeout_s: float
    ) -> list[ClientTagged]:
        """Make the transaction of a request that is to be sent. `SendRequest` is among the effects.

        Args:
            key: from `client_key`.
            invite: whether the method is INVITE.
            now: CLOCK_MONOTONIC in seconds.
            reliable: whether the transport is.
            fr_timeout_s: see `ClientTransaction`.
            fr_inv_timeout_s: see `ClientTransaction`.

        Raises:
            ValueError: there is one already.
        """
        if key in self._entries:
            raise ValueError(f"there is a transaction {key!r} already")
        transaction = ClientTransaction(invite, self._timers, reliable, fr_timeout_s, fr_inv_timeout_s)
        entry = self._entries[key] = _Entry(key, transaction)
        return self._perform(entry, transaction.begin(), now)

    def receive(self, key: str, status: int, now: float) -> list[ClientTagged] | None:
        """A reply arrived.

        Args:
            key: `client_key` of its topmost Via's branch and its CSeq's method.
            status: its status; what is no status (RFC 3261 7.2) is absorbed.
            now: CLOCK_MONOTONIC in seconds.

        Returns:
            the effects, perhaps none: the reply has been dealt with. None when no transaction of this process knows
            it: it is another process's, or stray, and then not to be forwarded (RFC 6026 7.3).
        """
        entry = self._entries.get(key)
        if entry is None:
            return None
        return self._handle(entry, _RECEIVED[status] if 0 <= status < 700 else _NO_STATUS, now)

    def cancel(self, key: str, now: float) -> list[ClientTagged] | None:
        """The INVITE with that key shall end; None when there is no such transaction."""
        return self._to(key, _CANCEL_WANTED, now)

    def transport_failed(self, key: str, now: float) -> list[ClientTagged] | None:
        """A request or an ACK of this transaction could not be sent. None when there is no such transaction."""
        return self._to(key, _FAILED, now)

    def terminate(self, key: str, now: float) -> list[ClientTagged] | None:
        """Nobody wants to hear of it any more: it ends here. None when there is no such transaction."""
        return self._to(key, _DROPPED, now)

    def tick(self, now: float) -> list[ClientTagged]:
        """Fire every timer whose time has come."""
        told: list[ClientTagged] = []
        for entry, timer in self._wheel.expired(now):
            # An earlier timer of this very batch may have stopped it. (None restarts another: see the tables.)
            if entry.handles.pop(timer, None) is not None:
                told += self._handle(entry, _FIRED[timer], now)
        return told

    def next_deadline(self) -> float | None:
        """When `tick` has something next, in seconds of CLOCK_MONOTONIC; None while the table is empty."""
        return self._wheel.next_deadline()

    def check(self) -> None:
        """Assert the invariants."""
        self._wheel.check()
        assert len(self._wheel) == sum(len(entry.handles) for entry in self._entries.values())
        for key, entry in self._entries.items():
            entry.transaction.check()
            assert entry.key == key
            assert entry.handles.keys() == set(entry.transaction._running), "what it believes to run does"
            assert entry.handles, "something ends it"

    def _to(self, key: str, stimulus: ClientStimulus, now: float) -> list[ClientTagged] | None:
        entry = self._entries.get(key)
        return None if entry is None else self._handle(entry, stimulus, now)

    def _handle(self, entry: _Entry, stimulus: ClientStimulus, now: float) -> list[ClientTagged]:
        return self._perform(entry, entry.transaction.handle(stimulus), now)

    def _perform(self, entry: _Entry, effects: list[ClientEffect], now: float) -> list[ClientTagged]:
        told: list[ClientTagged] = []
        for effect in effects:
            match effect:
                case Start():  # not Start(timer, after_s): a pattern that takes fields costs 0.2 µs more
                    timer = effect.timer
                    entry.handles[timer] = self._wheel.start(now, effect.after_s, (entry, timer))
                case Stop():
                    self._wheel.cancel(entry.handles.pop(effect.timer))
                case Terminated():
                    del self._entries[entry.key]
                    told.append((entry.key, effect))
                case _:
                    told.append((entry.key, effect))
        return told
