"""What is said about the processes of a tree: to the supervisor, by it, and to the processes.

Plain data. Times are seconds of CLOCK_MONOTONIC.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final, TypeAlias

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


BOOT_FAILED: Final = ExitCode.BOOT_FAILED


@dataclass(frozen=True, slots=True)
class Seat:
    """A place in the tree: what stays the same from one life to the next."""

    name: str
    role: str
    slot: int
    executes: bool


# How a process ended.


@dataclass(frozen=True, slots=True)
class Exited:
    code: int

    def __str__(self) -> str:
        return f"exit code {self.code}"


@dataclass(frozen=True, slots=True)
class Signalled:
    number: int
    name: str

    def __str__(self) -> str:
        return f"killed by {self.name}"


Status: TypeAlias = Exited | Signalled


# Stimuli.


@dataclass(frozen=True, slots=True)
class Begin:
    """Fork everybody."""

    now: float


@dataclass(frozen=True, slots=True)
class Forked:
    peer: Peer
    pid: int
    now: float


@dataclass(frozen=True, slots=True)
class ForkFailed:
    """There is no process; counts as a death before ready."""

    peer: Peer
    reason: str
    now: float


@dataclass(frozen=True, slots=True)
class SaidReady:
    """Its inbox is bound; it may be announced."""

    peer: Peer
    now: float


@dataclass(frozen=True, slots=True)
class Ended:
    peer: Peer
    status: Status
    now: float


@dataclass(frozen=True, slots=True)
class StopAsked:
    """SIGTERM or SIGINT. The second one does not wait for anybody."""

    now: float


@dataclass(frozen=True, slots=True)
class Tick:
    now: float


Stimulus: TypeAlias = Begin | Forked | ForkFailed | SaidReady | Ended | StopAsked | Tick


# What processes are told.


@dataclass(frozen=True, slots=True)
class PeerUp:
    """That process can be talked to from now on."""

    peer: Peer
    slot: int
    executes: bool


@dataclass(frozen=True, slots=True)
class PeerDown:
    """That process is dead. It comes back, if at all, as another incarnation."""

    peer: Peer


@dataclass(frozen=True, slots=True)
class Drain:
    """Take nothing new, finish what was accepted, and leave by then (CLOCK_MONOTONIC seconds).

    A moment and not a span: a process that is blocked hears it late, and has only the rest.
    """

    ends_at: float


# What the owner is told.


@dataclass(frozen=True, slots=True)
class Started:
    peer: Peer
    slot: int
    pid: int


@dataclass(frozen=True, slots=True)
class Ready:
    peer: Peer
    slot: int


@dataclass(frozen=True, slots=True)
class Died:
    """A process is gone and reaped. Clear its rows now: nobody else was told yet and nothing runs in its slot.

    ``pid`` is 0 when the fork itself failed.
    """

    peer: Peer
    slot: int
    pid: int
    status: str


@dataclass(frozen=True, slots=True)
class Restarting:
    """``peer`` is the one to come."""

    peer: Peer
    slot: int
    after_s: float


@dataclass(frozen=True, slots=True)
class GaveUp:
    """The tree ends for a reason of its own; it drains like any other."""

    code: ExitCode
    reason: str


@dataclass(frozen=True, slots=True)
class Draining:
    within_s: float


@dataclass(frozen=True, slots=True)
class Stopped:
    """Nobody is left. ``code`` is what the attendant leaves with."""

    code: ExitCode


Event: TypeAlias = Started | Ready | Died | Restarting | GaveUp | Draining | Stopped


# Effects.


@dataclass(frozen=True, slots=True)
class Fork:
    """Start a life. Answered with `Forked` or `ForkFailed`."""

    seat: Seat
    peer: Peer


@dataclass(frozen=True, slots=True)
class Announce:
    to: Peer
    word: PeerUp | PeerDown | Drain


@dataclass(frozen=True, slots=True)
class Kill:
    """SIGKILL. Answered with `Ended` as any other death."""

    peer: Peer


@dataclass(frozen=True, slots=True)
class Report:
    event: Event


Effect: TypeAlias = Fork | Announce | Kill | Report
