"""What the dispatcher is told (past tense) and what it wants done (imperative). Plain data, see `workers.dispatch`.

A turn's submissions come together, and so do the answers of one frame: an object and a look at the workers for each of
them would cost more than a small job itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, TypeAlias

from msgspec import Struct

from workers.jobs import Cancelled, Failed, Job, JobId, Outcome, Peer, Returned, TimedOut
from workers.policy import Load

Loads: TypeAlias = Mapping[int, Load]
"""Slot to the load that the **other** origins put on it. A slot that is missing has none."""

Answer: TypeAlias = tuple[int, Returned | Failed | TimedOut | Cancelled | None, float]
"""``(serial, outcome, occupied_s)``: a worker's one answer to a job, after which it holds the job no more.

``outcome`` is TimedOut when the worker found the job's deadline passed before it began, Cancelled when the job was
withdrawn or the worker ended it, and None when the worker is closing and gives the job back without having begun.
``occupied_s`` is how long the job kept the worker from others: 0.0 for one that answered later.
"""


class Submitted(Struct, frozen=True):
    """Jobs were handed in, in this order. ``elsewhere``: how many jobs wait at other origins."""

    jobs: Sequence[Job]
    now: float
    loads: Loads
    elsewhere: int = 0


class Answered(Struct, frozen=True):
    """A worker answered. Nothing is given out at once: `RoomMade` follows the last of the answers that came."""

    worker: Peer
    answers: Sequence[Answer]
    now: float


class AnswersLater(Struct, frozen=True):
    """A worker began a job that answers later; it occupies nobody meanwhile. `RoomMade` is to follow."""

    worker: Peer
    serial: int


class CancelAsked(Struct, frozen=True):
    """Somebody no longer wants the job."""

    serial: int
    reason: str


class DeadlinePassed(Struct, frozen=True):
    """The job's deadline has come."""

    serial: int


class WorkerUp(Struct, frozen=True):
    """A worker can be sent jobs: ordinary ones if it ``executes``, directed ones always."""

    worker: Peer
    slot: int
    executes: bool
    now: float
    loads: Loads


class WorkerDown(Struct, frozen=True):
    """A worker is dead. A later life of the same name is another worker."""

    worker: Peer
    reason: str
    now: float
    loads: Loads


class RoomMade(Struct, frozen=True):
    """Answers came, a worker said that it is idle, or it is time to look."""

    now: float
    loads: Loads


class DrainAsked(Struct, frozen=True):
    """From now on nothing is accepted."""

    reason: str


class Closing(Struct, frozen=True):
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


class Occupy(Struct, frozen=True):
    """Publish what this origin has on one worker."""

    slot: int
    outstanding: int
    expected_s: float


class Waiting(Struct, frozen=True):
    """Publish how many jobs wait at this origin."""

    count: int


class Settle(Struct, frozen=True):
    """These jobs have their outcomes."""

    outcomes: Sequence[tuple[int, Outcome]]


class Send(Struct, frozen=True):
    """Send the jobs, which are of one kind.

    ``weighed``: they are counted as occupying the worker, which is to say so if they answer later.
    """

    worker: Peer
    jobs: Sequence[Job]
    weighed: bool


class SendCancel(Struct, frozen=True):
    """Tell the worker that nobody waits for the job any more."""

    worker: Peer
    serial: int


Effect: TypeAlias = Occupy | Waiting | Settle | Send | SendCancel


class JobView(Struct, frozen=True):
    """One unsettled job, for people to look at. Times in seconds."""

    id: JobId
    label: str
    state: Literal["queued", "sent"]
    worker: Peer | None
    age_s: float
    remaining_s: float
