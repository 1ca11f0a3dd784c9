"""What is said about the processes of a tree: to the supervisor, by it, and to the processes.

Plain data. Times are seconds of CLOCK_MONOTONIC.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final, TypeAlias

from msgspec import Struct

from workers.jobs import Peer


class ExitCode(IntEnum):
    """How a process, or the whole tree, ended."""

    STOPPED = 0
    """It was asked to stop and did."""
    CRASHED = 1
    """An exception left a role's main function."""
    BOOT_FAILED = 3
    """It could not start; starting it again would not help."""
    CRASH_STORM = 4
    """Processes died faster than the policy allows."""
    KILLED = 5
    """It was asked a second time while it drained, and killed what was left."""
    SPENT = 6
    """It served as many jobs, or came to use as much memory, as one life may. Another is to take its place at once."""


BOOT_FAILED: Final = ExitCode.BOOT_FAILED

GUEST: Final = "guest"
"""The role of processes that were not forked here but asked to join."""

MAX_REASON: Final = 200
"""The most characters that others are told of why a process ended."""


class Seat(Struct, frozen=True):
    """A place in the tree: what stays the same from one life to the next.

    A ``spare`` one is empty at first, and is filled only while there is more to do than the others can.
    """

    name: str
    role: str
    slot: int
    executes: bool
    spare: bool = False


# How a process ended.


class Exited(Struct, frozen=True):
    code: int

    def __str__(self) -> str:
        return f"exit code {self.code}"


class Signalled(Struct, frozen=True):
    number: int
    name: str

    def __str__(self) -> str:
        return f"killed by {self.name}"


Status: TypeAlias = Exited | Signalled


# Stimuli.


class Begin(Struct, frozen=True):
    """Fork everybody."""

    now: float


class Forked(Struct, frozen=True):
    peer: Peer
    pid: int
    now: float


class ForkFailed(Struct, frozen=True):
    """There is no process; counts as a death before ready."""

    peer: Peer
    reason: str
    now: float


class SaidReady(Struct, frozen=True):
    """Its inbox is bound; it may be announced."""

    peer: Peer
    now: float


class Ended(Struct, frozen=True):
    """``words`` is what it gave as the reason itself, if it did."""

    peer: Peer
    status: Status
    now: float
    words: str = ""


class StopAsked(Struct, frozen=True):
    """SIGTERM, SIGINT or the owner. The second one does not wait for anybody.

    ``within_s`` is how long processes may take to finish; None for what the tree was made with.
    """

    now: float
    within_s: float | None = None


class GrowAsked(Struct, frozen=True):
    """There is more to do than the processes of that role can: fill one of its spare places."""

    role: str
    now: float


class RetireAsked(Struct, frozen=True):
    """The process in that spare place is not needed any more."""

    peer: Peer
    now: float


class Condemned(Struct, frozen=True):
    """The owner wants a process killed, for a reason of its own that is no crash of the process."""

    peer: Peer
    reason: str
    now: float


class GuestCame(Struct, frozen=True):
    """Somebody asks to join. Answered with `Admit` or `Refuse`; ``ticket`` tells which of those who asked."""

    ticket: int
    pid: int
    now: float


class GuestLeft(Struct, frozen=True):
    """A guest closed its link, died, or was thrown out by the shell."""

    peer: Peer
    reason: str
    now: float


class Tick(Struct, frozen=True):
    now: float


Stimulus: TypeAlias = (
    Begin
    | Forked
    | ForkFailed
    | SaidReady
    | Ended
    | StopAsked
    | GrowAsked
    | RetireAsked
    | Condemned
    | GuestCame
    | GuestLeft
    | Tick
)


# What processes are told.


class PeerUp(Struct, frozen=True):
    """That process can be talked to from now on."""

    peer: Peer
    slot: int
    executes: bool


class PeerDown(Struct, frozen=True):
    """That process is gone. It comes back, if at all, as another incarnation.

    ``reason`` says why in at most `MAX_REASON` characters, e.g. "killed by SIGKILL", "retired".
    """

    peer: Peer
    reason: str = ""


class Drain(Struct, frozen=True):
    """Take nothing new, finish what was accepted, and leave by then (CLOCK_MONOTONIC seconds).

    A moment and not a span: a process that is blocked hears it late, and has only the rest.
    """

    ends_at: float


class Retire(Struct, frozen=True):
    """You alone are not needed any more: finish what was accepted, and leave by then (CLOCK_MONOTONIC seconds)."""

    ends_at: float


# What the owner is told.


class Started(Struct, frozen=True):
    """A process was forked, or a guest was let in."""

    peer: Peer
    slot: int
    pid: int


class Ready(Struct, frozen=True):
    peer: Peer
    slot: int


class Died(Struct, frozen=True):
    """A process is gone and reaped, or a guest has left. Clear its rows now: nobody else was told yet and nothing runs
    in its slot.

    ``pid`` is 0 when the fork itself failed.
    """

    peer: Peer
    slot: int
    pid: int
    status: str


class Restarting(Struct, frozen=True):
    """``peer`` is the one to come."""

    peer: Peer
    slot: int
    after_s: float


class Retiring(Struct, frozen=True):
    """A process was told that it is not needed any more."""

    peer: Peer
    slot: int


class GaveUp(Struct, frozen=True):
    """The tree ends for a reason of its own; it drains like any other."""

    code: ExitCode
    reason: str


class Draining(Struct, frozen=True):
    within_s: float


class Stopped(Struct, frozen=True):
    """Nobody is left. ``code`` is what the attendant leaves with."""

    code: ExitCode


Event: TypeAlias = Started | Ready | Died | Restarting | Retiring | GaveUp | Draining | Stopped


# Effects.


class Fork(Struct, frozen=True):
    """Start a life. Answered with `Forked` or `ForkFailed`."""

    seat: Seat
    peer: Peer


class Announce(Struct, frozen=True):
    to: Peer
    word: PeerUp | PeerDown | Drain | Retire


class Kill(Struct, frozen=True):
    """SIGKILL. Answered with `Ended` as any other death."""

    peer: Peer


class Admit(Struct, frozen=True):
    """Let a guest in, under this name and in this slot. It is announced when it said ready."""

    ticket: int
    peer: Peer
    slot: int


class Refuse(Struct, frozen=True):
    """Tell one who asked to join why it cannot, and close its link."""

    ticket: int
    reason: str


class Dismiss(Struct, frozen=True):
    """Close the link to a guest. It is written off already, so this has no answer."""

    peer: Peer


class Report(Struct, frozen=True):
    event: Event


Effect: TypeAlias = Fork | Announce | Kill | Admit | Refuse | Dismiss | Report
