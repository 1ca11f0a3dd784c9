"""The server transactions of one process, with their timers.

A dict of transactions and a wheel: the one place where a transaction enters and leaves. Every state has a timer that
ends it (`ServerTransaction.check`), every timer that a transaction starts is on the wheel, and its end takes it out of
the dict and its timers off the wheel. So each one leaves, whatever the network and the script do or fail to do.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

from runtime.sip.keys import dialog_ack_key
from runtime.sip.message import Request
from runtime.sip.timers import Handle, Wheel
from runtime.sip.transaction import (
    BY_ITSELF,
    Effect,
    Held,
    Kind,
    Received,
    Replied,
    ServerTransaction,
    Start,
    Stimulus,
    Stop,
    Terminated,
    Timer,
    TimerFired,
    Timers,
    Told,
    TransportFailed,
    TryingWanted,
)

Tagged: TypeAlias = tuple[str, Told]
"""A transaction's key and what it tells. `Start` and `Stop` are performed here and not told."""

_COPY = Received(Kind.COPY)
_ACK = Received(Kind.ACK)
_CANCEL = Received(Kind.CANCEL)
_FIRED = {timer: TimerFired(timer) for timer in Timer}


class _Entry:
    """A transaction, and what cancels each of its timers. These are tuples because most have one: a dict took 170 bytes
    more, for as long as a request is parked."""

    __slots__ = ("ack_key", "handles", "key", "timers", "transaction")

    def __init__(self, key: str, transaction: ServerTransaction, ack_key: str | None) -> None:
        self.key = key
        self.transaction = transaction
        self.timers: tuple[Timer, ...] = ()
        self.handles: tuple[Handle, ...] = ()
        self.ack_key = ack_key

    def take(self, timer: Timer) -> Handle | None:
        """What cancels that timer, which is over; None where it was not running."""
        timers, handles = self.timers, self.handles
        if timers == BY_ITSELF[timer]:
            self.timers = self.handles = ()
            return handles[0]
        if timer not in timers:
            return None
        at = timers.index(timer)
        self.timers, self.handles = timers[:at] + timers[at + 1 :], handles[:at] + handles[at + 1 :]
        return handles[at]


class TransactionTable:
    """All server transactions of one process.

    Every method returns the effects in the order in which they are to be performed. `Terminated` is the last of its
    key: the transaction is out of the table by then, and its fingerprints and what else is kept for it may go.

    Args:
        timers: the base values for all.
    """

    def __init__(self, timers: Timers | None = None) -> None:
        self._timers = timers or Timers()
        self._entries: dict[str, _Entry] = {}
        self._acks: dict[str, str] = {}
        """`dialog_ack_key` of an INVITE to its transaction's key. Only entries that are in `_entries`."""
        self._wheel: Wheel[tuple[_Entry, Timer]] = Wheel()

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, key: str) -> bool:
        return key in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._entries))

    def find(self, key: str) -> ServerTransaction | None:
        """The transaction, to look at (`state`, `answered`, `last_status`), not to drive."""
        entry = self._entries.get(key)
        return None if entry is None else entry.transaction

    def create(
        self,
        key: str,
        invite: bool,
        now: float,
        *,
        ack_key: str | None = None,
        trying_s: float | None = None,
        reliable: bool = False,
    ) -> list[Tagged]:
        """Make the transaction of a request that `receive` did not know.

        Args:
            key: from `keys.server_key`.
            invite: whether the method is INVITE.
            now: CLOCK_MONOTONIC in seconds.
            ack_key: `keys.dialog_ack_key` of an INVITE, so that the ACK of a 2xx is found. The ACK ends the
                repeating of that 2xx.
            trying_s: when the 100 to an INVITE goes out; 0 for at once, None for `Timers.trying_s`.
            reliable: whether the transport is.

        Raises:
            ValueError: there is one already.
        """
        if key in self._entries:
            raise ValueError(f"there is a transaction {key!r} already")
        entry = self._entries[key] = _Entry(key, ServerTransaction(invite, self._timers, reliable), ack_key)
        if ack_key is not None:
            self._acks[ack_key] = key
        return self._perform(entry, entry.transaction.begin(trying_s), now)

    def receive(self, request: Request, key: str, now: float) -> list[Tagged] | None:
        """A request arrived. ACKs are looked for by branch and then by dialog.

        A CANCEL is a transaction of its own (RFC 3261 9.2): a copy of it is answered here; of a new one, `create` its
        transaction, then tell the INVITE by `cancel`.

        Args:
            request: what arrived.
            key: its `keys.server_key`.
            now: CLOCK_MONOTONIC in seconds.

        Returns:
            the effects, perhaps none: the request has been dealt with. None when no transaction of this process
            knows it: it is new, or another process's.
        """
        entry = self._entries.get(key)
        if request.method != "ACK":
            return None if entry is None else self._handle(entry, _COPY, now)
        if entry is None:
            known = self._acks.get(dialog_ack_key(request))
            entry = None if known is None else self._entries[known]
        return None if entry is None else self._handle(entry, _ACK, now)

    def has_ack(self, ack_key: str) -> bool:
        """Whether an INVITE with that `keys.dialog_ack_key` is here."""
        return ack_key in self._acks

    def cancel(self, key: str, now: float) -> list[Tagged] | None:
        """A CANCEL arrived for the transaction with that key (`keys.invite_key`); None when there is none (481)."""
        return self._to(key, _CANCEL, now)

    def reply(self, key: str, status: int, data: bytes, now: float, *, relayed: bool = False) -> list[Tagged] | None:
        """Reply through a transaction.

        Args:
            key: the transaction's.
            status: 100 to 699.
            data: the whole reply.
            now: CLOCK_MONOTONIC in seconds.
            relayed: it came from further on (see `Replied`).

        Returns:
            the effects: none where a final reply was given before. None when there is no such transaction.
        """
        entry = self._entries.get(key)
        if entry is None:
            return None
        return self._perform(entry, entry.transaction.handle(Replied(status, data, relayed)), now)

    def trying(self, key: str, now: float) -> list[Tagged] | None:
        """The script parks: if the 100 is still to come it goes out now. None when there is no such transaction."""
        return self._to(key, TryingWanted(), now)

    def hold(self, key: str, for_s: float, now: float) -> list[Tagged] | None:
        """A reply is to come within `for_s` seconds, however long; keep the transaction until then."""
        return self._to(key, Held(for_s), now)

    def transport_failed(self, key: str, now: float) -> list[Tagged] | None:
        """A `Send` of this transaction could not be sent. None when there is no such transaction."""
        return self._to(key, TransportFailed(), now)

    def tick(self, now: float) -> list[Tagged]:
        """Fire every timer whose time has come."""
        told: list[Tagged] = []
        for entry, timer in self._wheel.expired(now):
            # An earlier timer of this very batch may have stopped it. (None restarts another: see the tables.)
            if entry.take(timer) is not None:
                told += self._handle(entry, _FIRED[timer], now)
        return told

    def next_deadline(self) -> float | None:
        """When `tick` has something next, in seconds of CLOCK_MONOTONIC; None while the table is empty."""
        return self._wheel.next_deadline()

    @property
    def is_sooner(self) -> bool:
        """Whether that is before what `next_deadline` has said last."""
        return self._wheel.is_sooner

    def check(self) -> None:
        """Assert the invariants."""
        self._wheel.check()
        assert len(self._wheel) == sum(len(entry.handles) for entry in self._entries.values())
        assert all(self._entries[key].ack_key == ack_key for ack_key, key in self._acks.items())
        for key, entry in self._entries.items():
            entry.transaction.check()
            assert entry.key == key
            assert set(entry.timers) == set(entry.transaction._running), "what it believes to run does"
            assert len(entry.timers) == len(entry.handles), "each has its handle"
            assert entry.handles, "something ends it"

    def _to(self, key: str, stimulus: Stimulus, now: float) -> list[Tagged] | None:
        entry = self._entries.get(key)
        return None if entry is None else self._handle(entry, stimulus, now)

    def _handle(self, entry: _Entry, stimulus: Stimulus, now: float) -> list[Tagged]:
        return self._perform(entry, entry.transaction.handle(stimulus), now)

    def _perform(self, entry: _Entry, effects: list[Effect], now: float) -> list[Tagged]:
        told: list[Tagged] = []
        for effect in effects:
            # Not by `match`, whose patterns with fields take twice as long: it is done four times for each request.
            if isinstance(effect, Start):
                timer = effect.timer
                entry.handles += (self._wheel.start(now, effect.after_s, (entry, timer)),)
                entry.timers += BY_ITSELF[timer]
            elif isinstance(effect, Stop):
                handle = entry.take(effect.timer)
                assert handle is not None, "what it believes to run does"
                self._wheel.cancel(handle)
            else:
                if isinstance(effect, Terminated):
                    self._forget(entry)
                told.append((entry.key, effect))
        return told

    def _forget(self, entry: _Entry) -> None:
        del self._entries[entry.key]
        if entry.ack_key is not None and self._acks.get(entry.ack_key) == entry.key:
            del self._acks[entry.ack_key]
