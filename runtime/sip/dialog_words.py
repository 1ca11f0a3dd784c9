"""What a dialog is made of, what it hears, and what it says: the data of `runtime.sip.dialog`.

A dialog is a msgspec Struct that is an array on the wire: it is read and written for every message of a call, and both
take about a microsecond so. Fields are only ever added at the end, with a default.
"""

from __future__ import annotations

import enum
from typing import Final, TypeAlias

from msgspec import Struct, field


class State(enum.IntEnum):
    """Where a dialog is, with the numbers that `$DLG_status` and the MI commands show."""

    UNCONFIRMED = 1
    EARLY = 2
    CONFIRMED_NA = 3  # a 2xx went to the caller, whose ACK has not come
    CONFIRMED = 4
    DELETED = 5


class Side(enum.IntEnum):
    """One of the two ends. A request *from* CALLER runs downstream, one from CALLEE upstream."""

    CALLER = 0
    CALLEE = 1

    @property
    def other(self) -> Side:
        return Side.CALLEE if self is Side.CALLER else Side.CALLER


class Flag(enum.IntFlag):
    """What `create_dialog` asked for."""

    BYE_ON_TIMEOUT = 1
    PING_CALLER = 2
    PING_CALLEE = 4
    REINVITE_CALLER = 8
    REINVITE_CALLEE = 16
    END_ON_RACE = 32


class EndReason:
    """What `$DLG_end_reason` says."""

    UPSTREAM_BYE: Final = "Upstream BYE"
    DOWNSTREAM_BYE: Final = "Downstream BYE"
    TIMEOUT: Final = "Lifetime Timeout"
    MI: Final = "MI Termination"
    PING: Final = "Ping Timeout"
    REINVITE_PING: Final = "ReINVITE Ping Timeout"
    RACE: Final = "SIP Race Condition"


class Leg(Struct, array_like=True):
    """One end of a dialog, as this proxy sees it.

    Args:
        tag: its tag; of the callee empty until a reply had one.
        uri: its From or To URI.
        contact: its remote target, the URI of its Contact (RFC 3261 12.1).
        routes: the Route values for a request of our own to it, in the order in which they are written: for the
            caller the Record-Route values of its INVITE as they stand, for the callee those of its 2xx that stand
            above our own, reversed (RFC 3261 12.1.1 and 12.1.2, seen from the middle).
        socket: the index of the listening socket that talks to it.
        cseq: the highest CSeq number that it has sent; -1 before the first.
        sent: the highest CSeq number that has been sent to it, by the other end or by us; -1 before the first.
        shift: what is added to the CSeq numbers of the other end on their way to this one.
        invite_shift: the shift that the last INVITE to it was sent with; its ACK and PRACKs need the same.
        ping_at: when it is pinged next, on the monotonic clock; 0 for never.
        bye: the CSeq number of a BYE of our own to it that has no answer yet; 0 for none.
        body: the last session description that was sent to it; kept only where re-INVITEs ping it.
        body_type: that body's Content-Type.
    """

    tag: str = ""
    uri: str = ""
    contact: str = ""
    routes: list[str] = field(default_factory=list)
    socket: int = 0
    cseq: int = -1
    sent: int = -1
    shift: int = 0
    invite_shift: int = 0
    ping_at: float = 0.0
    bye: int = 0
    body: bytes = b""
    body_type: str = ""


# What a dialog hears. Structs, not dataclasses: some of these are made for every message of a call. And not tuples:
# empty ones are equal to each other.


class Replied(Struct, frozen=True):
    """A reply to the initial INVITE goes to the caller; `status` is 101 to 699.

    Args:
        contact: the URI of its Contact; empty without one.
        routes: the callee's route set (see `Leg.routes`).
        now: on the monotonic clock; `wall` is the same moment in seconds of the epoch.
    """

    status: int
    to_tag: str
    contact: str
    routes: list[str]
    socket: int
    now: float
    wall: float
    body: bytes = b""
    body_type: str = ""


class Acked(Struct, frozen=True):
    """The caller's ACK of the 2xx went through."""

    body: bytes = b""
    body_type: str = ""


class Requested(Struct, frozen=True):
    """A request within the dialog, other than ACK and CANCEL, is about to be passed on."""

    method: str
    sender: Side
    cseq: int
    now: float


class Refreshed(Struct, frozen=True):
    """A target refresh request (RFC 3261 12.2) was accepted.

    Args:
        contact, body, body_type: the request's.
        answered, answer, answer_type: the Contact, body and Content-Type of the 2xx.
    """

    sender: Side
    contact: str
    answered: str
    body: bytes = b""
    body_type: str = ""
    answer: bytes = b""
    answer_type: str = ""


class CallerCancelled(Struct, frozen=True):
    """The INVITE's CANCEL came."""


class RequestWanted(Struct, frozen=True):
    """Somebody wants to send a request of our own to `side`, other than BYE."""

    side: Side
    method: str


class ByeAnswered(Struct, frozen=True):
    """A BYE came to its end, with a final reply or without.

    Args:
        side: whom our own was sent to; None for one that was passed on.
    """

    side: Side | None
    now: float


class Due(Struct, frozen=True):
    """The moment that `Dialog.due` named is here (or a while past)."""

    now: float


class PingFailed(Struct, frozen=True):
    """A ping to `side` found no dialog there: no reply in time, 408 or 481 (RFC 3261 12.2.1.2)."""

    side: Side
    method: str
    now: float


class EndWanted(Struct, frozen=True):
    """Somebody wants the call to end; `reason` is an `EndReason` or a text like it."""

    reason: str
    now: float


class TimeoutSet(Struct, frozen=True):
    """`$DLG_timeout` was assigned: the dialog ends `seconds` from now, or from its confirmation."""

    seconds: int
    now: float


Stimulus: TypeAlias = (
    Replied
    | Acked
    | Requested
    | Refreshed
    | CallerCancelled
    | RequestWanted
    | ByeAnswered
    | Due
    | PingFailed
    | EndWanted
    | TimeoutSet
)


# What a dialog says.


class Changed(Struct, frozen=True):
    """Its data changed; nothing else happened."""


class Moved(Struct, frozen=True):
    """Its state changed."""

    old: State
    new: State


class SendBye(Struct, frozen=True):
    """Send a BYE of our own to `side`, with this CSeq number. A process that died may have sent it before."""

    side: Side
    cseq: int


class SendPing(Struct, frozen=True):
    """Send OPTIONS or a re-INVITE of our own to `side`, with this CSeq number."""

    side: Side
    method: str
    cseq: int


class SendRequest(Struct, frozen=True):
    """What was wanted can be sent to `side`, with this CSeq number."""

    side: Side
    method: str
    cseq: int


class CancelInvite(Struct, frozen=True):
    """Have the pending INVITE cancelled by the process that has it (RFC 3261 9.1)."""


class Gone(Struct, frozen=True):
    """It is over and nothing is left to do: forget it. Always the last effect."""


Effect: TypeAlias = Changed | Moved | SendBye | SendPing | SendRequest | CancelInvite | Gone
