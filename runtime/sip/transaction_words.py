"""What transactions hear and say: base timer values, stimuli, effects.

The server machines are transaction.py, the client ones client_transaction.py. Words that only one of the two uses say
so.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final, TypeAlias

from msgspec import Struct


@dataclass(frozen=True, slots=True)
class Timers:
    """The base values, in seconds (RFC 3261 17.1.1.1, table 4).

    Args:
        t1_s: estimate of the round trip.
        t2_s: longest interval between copies of a reply.
        t4_s: how long a message may stay in the network.
        trying_s: how long an INVITE may stay without any reply before 100 goes out (17.2.1).
        unanswered_s: how long without a reply a transaction lasts.
    """

    t1_s: float = 0.5
    t2_s: float = 4.0
    t4_s: float = 5.0
    trying_s: float = 0.2
    unanswered_s: float = 180.0

    @property
    def patience_s(self) -> float:
        """64*T1: timers D, H, J, L and M."""
        return 64 * self.t1_s


# IntEnum, not Enum: the hash of an Enum member is computed in Python, and every table look-up below needs two.
class State(IntEnum):
    """Where a transaction is.

    TRYING is of non-INVITE only; CALLING, CONFIRMED, ACCEPTED and ABANDONED are of INVITE only. Of a client: CALLING,
    ABANDONED; of a server: CONFIRMED.
    """

    TRYING = 0
    PROCEEDING = 1
    COMPLETED = 2
    CONFIRMED = 3
    ACCEPTED = 4
    TERMINATED = 5
    CALLING = 6
    ABANDONED = 7


class Event(IntEnum):
    """The columns of the tables, apart from timers. A client tells a 100 from the other REPLY_1XX."""

    REQUEST = 0
    ACK = 1
    CANCEL = 2
    REPLY_1XX = 3
    REPLY_2XX = 4
    REPLY_REST = 5
    SEND_FAILED = 6
    REPLY_100 = 7
    CANCEL_WANTED = 8
    DROPPED = 9


class Timer(IntEnum):
    """Named as RFC 3261 table 4 names them. The numbers go on after `Event`, for both are columns of one table."""

    TRYING = 10
    UNANSWERED = 11
    G = 12
    H = 13
    I = 14  # noqa: E741  (the RFC's name)
    J = 15
    L = 16
    RESEND = 17
    A = 18
    B = 19
    C = 20
    D = 21
    E = 22
    F = 23
    K = 24
    LAST_WAIT = 25
    M = 26


class Kind(IntEnum):
    """What arrived for a transaction that exists."""

    COPY = Event.REQUEST
    ACK = Event.ACK
    CANCEL = Event.CANCEL


# --- stimuli
#
# Structs, not frozen dataclasses: some are made for every message, in 0.1 µs instead of 0.5.


class Received(Struct, frozen=True):
    """A message from the network belongs to this transaction."""

    kind: Kind


class Replied(Struct, frozen=True):
    """The script, or who relays for it, replies.

    Args:
        status: 100 to 699.
        data: the whole reply.
        relayed: it came from further on, so its sender repeats it when it is a 2xx.
    """

    status: int
    data: bytes
    relayed: bool = False


class TimerFired(Struct, frozen=True):
    """A timer that `Start` asked for."""

    timer: Timer


class TransportFailed(Struct, frozen=True):
    """The last message could not be sent."""


class TryingWanted(Struct, frozen=True):
    """The script will take its time (it parks): the 100 goes out now."""


class Held(Struct, frozen=True):
    """Somebody vouches that a reply comes within this time, however long it is."""

    for_s: float


class ReplyReceived(Struct, frozen=True):
    """To a client: a reply to its request arrived."""

    status: int


class CancelWanted(Struct, frozen=True):
    """To a client: the INVITE shall end. A CANCEL goes out as soon as it may (RFC 3261 9.1)."""


class Dropped(Struct, frozen=True):
    """To a client: nobody wants to hear of it any more."""


Stimulus: TypeAlias = Received | Replied | TimerFired | TransportFailed | TryingWanted | Held
"""What a server hears."""
ClientStimulus: TypeAlias = ReplyReceived | TimerFired | TransportFailed | CancelWanted | Dropped
"""What a client hears."""


# --- effects


class Send(Struct, frozen=True):
    """Send these bytes to where replies to this request go."""

    data: bytes


class SendTrying(Struct, frozen=True):
    """Build a 100 and hand it in as `Replied`: only the shell has the request to build it from."""


class Start(Struct, frozen=True):
    """Start a timer that does not run."""

    timer: Timer
    after_s: float


class Stop(Struct, frozen=True):
    """Stop a timer that runs."""

    timer: Timer


class PassAck(Struct, frozen=True):
    """The ACK of a 2xx: the script's to see."""


class PassCancel(Struct, frozen=True):
    """The INVITE shall end; told once. The script's side replies 487 (RFC 3261 9.2)."""


class PassFailure(Struct, frozen=True):
    """A server's reply could not be sent (RFC 3261 17.2.4), or a client's request (17.1.4)."""


class Unanswered(Struct, frozen=True):
    """No reply for `unanswered_s`: reply now, or the transaction ends without one."""


class Terminated(Struct, frozen=True):
    """The transaction is over; forget it. `reason` says why, for the log and for counting."""

    reason: str


class SendRequest(Struct, frozen=True):
    """Of a client: send its request, for the first time or again. The shell has the bytes."""


class SendAck(Struct, frozen=True):
    """Of a client: build and send the ACK of the 300-699 that arrived, to where the INVITE went (RFC 3261 17.1.1.3)."""


class SendCancel(Struct, frozen=True):
    """Of a client: make a CANCEL, a client transaction of its own, to where the INVITE went (RFC 3261 9.1)."""


class PassReply(Struct, frozen=True):
    """Of a client: the reply that arrived is for the proxy core (RFC 3261 16.7)."""


class PassTimeout(Struct, frozen=True):
    """Of a client: no final reply came in time: to the proxy core it is a 408 (RFC 3261 16.8)."""


Told: TypeAlias = Send | SendTrying | PassAck | PassCancel | PassFailure | Unanswered | Terminated
"""What of a server concerns the world."""
Effect: TypeAlias = Told | Start | Stop
ClientTold: TypeAlias = SendRequest | SendAck | SendCancel | PassReply | PassTimeout | PassFailure | Terminated
"""What of a client concerns the world."""
ClientEffect: TypeAlias = ClientTold | Start | Stop

DONE: Final = "done"
NO_ACK: Final = "no ACK"
NO_REPLY: Final = "no final reply"
SEND_FAILED: Final = "reply could not be sent"
UNSENT: Final = "request or ACK could not be sent"
DROPPED: Final = "dropped"
