"""What happens in a run of the simulated machine: a closed union of plain data, in the past tense.

A run is a list of these, in the order in which they happened. Two runs of one seed give equal lists, and their lines of
JSON are the same bytes: so nothing in here is an address, a number of the kernel's or a time of the machine's own.

A process is named with its incarnation, ``sip-1.2``, as `workers.jobs.Peer` spells it; whoever stands on the other side
of the network by one word without a dot, ``uac-3`` or ``gw``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Literal, TypeAlias, assert_never

import msgspec
from msgspec import Struct


class PacketSent(Struct, frozen=True, tag=True):
    """A SIP message was put on the network.

    Args:
        at_s: seconds of the virtual clock since the run began; so in every event.
        packet: counts the packets of a run. A copy that the network makes has the number of what it copies.
        source: who sent it.
        to: for whom it is: a peer, or ``sip`` for the socket that the SIP processes share.
        data: the whole message, its bytes spelled as latin-1.
    """

    at_s: float
    packet: int
    source: str
    to: str
    data: str


class PacketReceived(Struct, frozen=True, tag=True):
    """A SIP message came out of the network; more than once where the network made copies."""

    at_s: float
    packet: int
    to: str


class PacketLost(Struct, frozen=True, tag=True):
    """The network lost a SIP message: nobody receives this copy."""

    at_s: float
    packet: int


class FrameSent(Struct, frozen=True, tag=True):
    """A process sent another one a frame of the pool's.

    Args:
        frame: counts the frames of a run.
        what: what it says, in few words.
    """

    at_s: float
    frame: int
    source: str
    to: str
    what: str


class FrameReceived(Struct, frozen=True, tag=True):
    """A frame of the pool's was read."""

    at_s: float
    frame: int
    to: str


class FrameLost(Struct, frozen=True, tag=True):
    """A frame of the pool's was for a process that is dead."""

    at_s: float
    frame: int


class Parked(Struct, frozen=True, tag=True):
    """A context was put aside.

    Args:
        process: which process has it.
        job: what it waits for, as ``str(JobId)`` spells it.
        resume: the resume route; empty where it has no name.
        file, line: the statement that parked it.
        timeout_s: how long it may wait.
        call: the Call-ID of its message; empty where there is none.
    """

    at_s: float
    process: str
    job: str
    resume: str
    file: str
    line: int
    timeout_s: float
    call: str = ""


class Resumed(Struct, frozen=True, tag=True):
    """A parked context was taken up again.

    Args:
        process: which process did so.
        job: what it waited for.
        outcome: the name of the outcome's class, e.g. ``Returned``.
        code: `$rc` in the resume route.
        answer: what the return variable says.
        call: the Call-ID of the context's message; empty where there is none.
        others: where it waited for several jobs, the further ones with the answers that were told as theirs.
        changed: script variables that are not as they were when it was parked.
        nested: whether it was on the stack of a route that parks.
    """

    at_s: float
    process: str
    job: str
    outcome: str
    code: int
    answer: str = ""
    call: str = ""
    others: list[tuple[str, str]] = []
    changed: list[str] = []
    nested: bool = False


class AvpChanged(Struct, frozen=True, tag=True):
    """While a context was parked, somebody else gave one of its AVPs another value.

    Args:
        job: what the context waited for.
        name: the AVP's.
    """

    at_s: float
    process: str
    job: str
    name: str


class SharedChanged(Struct, frozen=True, tag=True):
    """The script reads what it has written for this message before it was parked, and somebody else has changed it.

    Args:
        call: the Call-ID of the message.
        name: what is read, e.g. ``$shv(last)``.
        file, line: the statement that reads it.
        written_line, parked_line: the statements that wrote it, and that parked the message.
    """

    at_s: float
    process: str
    call: str
    name: str
    file: str
    line: int
    written_line: int
    parked_line: int


class Replied(Struct, frozen=True, tag=True):
    """The script has given a request a final reply, or tried to.

    Args:
        call: its Call-ID.
        status: of the reply.
        file, line: the statement.
        stateless: whether there was no transaction to reply through.
    """

    at_s: float
    process: str
    call: str
    status: int
    file: str
    line: int
    stateless: bool


class Unanswered(Struct, frozen=True, tag=True):
    """The server gave up waiting for its script to answer a request.

    Args:
        call: its Call-ID.
        file, line: the last statement that ran for it; empty and 0 where the plan wants no statements watched.
        relayed: whether the request was sent on.
    """

    at_s: float
    process: str
    call: str
    file: str
    line: int
    relayed: bool


class Launched(Struct, frozen=True, tag=True):
    """A job was begun for which nobody waits, or several together.

    Args:
        report: the route that is told; empty for none.
        timeout_s: after how long its outcome is told at the latest.
    """

    at_s: float
    process: str
    job: str
    report: str
    file: str
    line: int
    timeout_s: float = 0.0


class Reported(Struct, frozen=True, tag=True):
    """A launched job's outcome was told; of several that were launched together, all outcomes.

    Args:
        job: it, or the first of them.
        answer: what was told as its answer.
        others: the further ones, with the answers that were told as theirs.
    """

    at_s: float
    process: str
    job: str
    outcome: str
    code: int
    answer: str = ""
    others: list[tuple[str, str]] = []


class JobBegan(Struct, frozen=True, tag=True):
    """A worker began a job.

    Args:
        what: its label, e.g. the MI command's name.
        idempotent: whether it may run again where its worker died.
    """

    at_s: float
    process: str
    job: str
    what: str
    idempotent: bool = False


class JobEnded(Struct, frozen=True, tag=True):
    """A worker was done with a job.

    Args:
        outcome: the name of the outcome's class.
        answer: the beginning of what it gave.
    """

    at_s: float
    process: str
    job: str
    outcome: str
    answer: str = ""


class Blocked(Struct, frozen=True, tag=True):
    """A route kept its process from everything else for a while: in virtual time, so by waiting and not by reckoning.

    Args:
        file, line: the statement.
        for_s: for how long.
    """

    at_s: float
    process: str
    file: str
    line: int
    for_s: float


class ScriptFailed(Struct, frozen=True, tag=True):
    """A statement of the script raised."""

    at_s: float
    process: str
    file: str
    line: int
    what: str


class Started(Struct, frozen=True, tag=True):
    """A process came up, in a new incarnation."""

    at_s: float
    process: str


class Crashed(Struct, frozen=True, tag=True):
    """A process died. ``why``: ``kill`` for a fault of the plan, else what it died of."""

    at_s: float
    process: str
    why: str


class Stalled(Struct, frozen=True, tag=True):
    """A process stopped for a while, as by SIGSTOP."""

    at_s: float
    process: str
    for_s: float


class Continued(Struct, frozen=True, tag=True):
    """A stalled process goes on."""

    at_s: float
    process: str


class Reloaded(Struct, frozen=True, tag=True):
    """A process took over a reloaded script."""

    at_s: float
    process: str
    generation: int


class Noted(Struct, frozen=True, tag=True):
    """A line of a process's log, or anything else worth reading."""

    at_s: float
    process: str
    text: str


Event: TypeAlias = (
    PacketSent
    | PacketReceived
    | PacketLost
    | FrameSent
    | FrameReceived
    | FrameLost
    | Parked
    | Resumed
    | AvpChanged
    | SharedChanged
    | Replied
    | Unanswered
    | Launched
    | Reported
    | JobBegan
    | JobEnded
    | Blocked
    | ScriptFailed
    | Started
    | Crashed
    | Stalled
    | Continued
    | Reloaded
    | Noted
)

_ENCODER = msgspec.json.Encoder()
_DECODER: msgspec.json.Decoder[Event] = msgspec.json.Decoder(Event)


class NoEvent(ValueError):
    """A line is no event; the text says why."""


def line_of(event: Event) -> bytes:
    """An event as one line of JSON, without the line's end. Its latin-1 text stands in it as UTF-8."""
    return _ENCODER.encode(event)


def event_of(line: bytes) -> Event:
    """Read back what `line_of` wrote. Raises NoEvent."""
    try:
        return _DECODER.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise NoEvent(str(error)) from error


def lines_of(events: Iterable[Event]) -> bytes:
    """Events as lines of JSON, each with its end."""
    return b"".join(line_of(event) + b"\n" for event in events)


def events_of(lines: bytes) -> Iterator[Event]:
    """Read back what `lines_of` wrote; empty lines are passed over. Raises NoEvent."""
    return (event_of(line) for line in lines.splitlines() if line)


def who(event: Event) -> str:
    """Where it happened: a process with its incarnation, a peer, or empty for the network."""
    match event:
        case PacketSent() | FrameSent():
            return event.source
        case PacketReceived() | FrameReceived():
            return event.to
        case PacketLost() | FrameLost():
            return ""
        case (
            Parked()
            | Resumed()
            | AvpChanged()
            | SharedChanged()
            | Replied()
            | Unanswered()
            | Launched()
            | Reported()
            | JobBegan()
            | JobEnded()
            | Blocked()
            | ScriptFailed()
            | Started()
            | Crashed()
            | Stalled()
            | Continued()
            | Reloaded()
            | Noted()
        ):
            return event.process
        case _:
            assert_never(event)


Fault: TypeAlias = Literal["crash", "loss", "stall", "cancel", "reload", "delay", "duplicate", "slow"]
"""What goes wrong on purpose: processes die or stop, packets are lost, late or doubled, callers give up, the script is
loaded again, workers are slow."""
