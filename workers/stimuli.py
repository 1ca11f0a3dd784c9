"""What the dispatcher is told (past tense) and what it wants done (imperative). Plain data, see `workers.dispatch`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from workers.jobs import Cancelled, Failed, Job, JobId, Outcome, Peer, Returned, TimedOut
from workers.policy import Load

Loads: TypeAlias = Mapping[int, Load]
"""Slot to the load that the **other** origins put on it. A slot that is missing has none."""


@dataclass(frozen=True, slots=True)
class Submitted:
    """A job was handed in."""

    job: Job
    now: float
    loads: Loads


@dataclass(frozen=True, slots=True)
class Answered:
    """A worker answered, and holds the job no more.

    ``outcome`` is TimedOut when the worker found the job's deadline passed before it began, Cancelled when the job was
    withdrawn or the worker ended it, and None when the worker is closing and gives the job back without having begun.
    ``occupied_s`` is how long the job kept the worker from others: 0.0 for one that answered later.

    Answers come many at a time, so nothing is given out at once: `RoomMade` follows the last of them.
    """

    worker: Peer
    job: JobId
    outcome: Returned | Failed | TimedOut | Cancelled | None
    occupied_s: float
    now: float


@dataclass(frozen=True, slots=True)
class AnswersLater:
    """A worker began a job that answers later; it occupies nobody meanwhile. `RoomMade` is to follow."""

    worker: Peer
    job: JobId


@dataclass(frozen=True, slots=True)
class CancelAsked:
    """Somebody no longer wants the job."""

    job: JobId
    reason: str


@dataclass(frozen=True, slots=True)
class DeadlinePassed:
    """The job's deadline came before its end."""

    job: JobId


@dataclass(frozen=True, slots=True)
class WorkerUp:
    """A process can be sent jobs. With ``executes`` False only those directed at it."""

    worker: Peer
    slot: int
    executes: bool
    now: float
    loads: Loads


@dataclass(frozen=True, slots=True)
class WorkerDown:
    """A process is dead, and with it what it had in hand."""

    worker: Peer
    now: float
    loads: Loads


@dataclass(frozen=True, slots=True)
class RoomMade:
    """Answers came, a worker said that it is idle, or it is time to look."""

    now: float
    loads: Loads


@dataclass(frozen=True, slots=True)
class DrainAsked:
    """From now on nothing is accepted."""

    reason: str


@dataclass(frozen=True, slots=True)
class Closing:
    """The end: everything that is left is Cancelled."""

    reason: str


Stimulus: TypeAlias = (
    Submitted
    | Answered
    | AnswersLater
    | CancelAsked
    | DeadlinePassed
    | WorkerUp
    | WorkerDown
    | RoomMade
    | DrainAsked
    | Closing
)


@dataclass(frozen=True, slots=True)
class Occupy:
    """Publish what this origin has on one worker."""

    slot: int
    outstanding: int
    expected_s: float


@dataclass(frozen=True, slots=True)
class Waiting:
    """Publish how many jobs wait at this origin."""

    count: int


@dataclass(frozen=True, slots=True)
class Settle:
    """The job has its outcome."""

    job: JobId
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Send:
    """Send the job. ``weighed``: it is counted as occupying the worker, which is to say so if it answers later."""

    worker: Peer
    job: Job
    weighed: bool


@dataclass(frozen=True, slots=True)
class SendCancel:
    """Tell the worker that nobody waits for the job any more."""

    worker: Peer
    job: JobId


Effect: TypeAlias = Occupy | Waiting | Settle | Send | SendCancel


@dataclass(frozen=True, slots=True)
class JobView:
    """One unsettled job, for people to look at. Times in seconds."""

    id: JobId
    label: str
    state: Literal["queued", "sent"]
    worker: Peer | None
    age_s: float
    remaining_s: float
