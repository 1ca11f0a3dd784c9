"""Which worker a job goes to: the limits, what is seen of each worker, and the choice.

The choice is one pure function, so that another can be put in its place and each be tested alone. Why it holds jobs
back instead of always sending to the least loaded: a job that is sent cannot be taken back, and least-outstanding
alone binds too early (46 ms p99 against 15 ms with this hold, two origins, 5 % slow jobs).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from workers.jobs import Peer


@dataclass(frozen=True, slots=True)
class Limits:
    """Every bound of one process's place in the pool. Times are in seconds, sizes in bytes.

    Args:
        max_queued: how many jobs may wait at one origin; the next one is Rejected.
        max_outstanding: how many unanswered jobs one worker may have, whatever they are expected to take.
        budget_s: a worker that is not idle gets a job only while its expected work is at most this.
        unknown_s: what a job is expected to take before its label has been seen once.
        stall_s: a worker with expected work that has not progressed for so long gets nothing more.
        later_stall_s: the same for a worker whose jobs all answer later; it must exceed ``heartbeat_s``.
        heartbeat_s: how often a worker whose jobs all answer later says that it lives.
        quick_memory_s: one worker is left free of slow jobs while a quick job was run so lately, by anybody.
        patience_s: a slow job that waited so long may take the last worker that is free of slow jobs.
        retry_s: how often waiting jobs look for room when nobody tells of any.
        max_frame_bytes: the largest frame that is sent or accepted.
        turn_s: after so long a worker lets its loop turn before it starts the next job.
        turn_frames: how many frames one turn of the loop takes from the inbox.
        max_labels: how many labels' usual times are remembered.
    """

    max_queued: int = 10_000
    max_outstanding: int = 1_000
    budget_s: float = 0.002
    unknown_s: float = 0.010
    stall_s: float = 0.005
    later_stall_s: float = 0.5
    heartbeat_s: float = 0.1
    quick_memory_s: float = 1.0
    patience_s: float = 0.25
    retry_s: float = 0.005
    max_frame_bytes: int = 16 * 1024 * 1024
    turn_s: float = 0.001
    turn_frames: int = 64
    max_labels: int = 4096


DEFAULT_LIMITS = Limits()


class Load(NamedTuple):
    """What the load board says of one worker (a NamedTuple: made by the thousand on the hot path).

    Args:
        slot: the worker's slot.
        outstanding: how many jobs it has not answered.
        expected_s: how long these are expected to occupy it.
        progressed_at: when it last began or ended something (CLOCK_MONOTONIC seconds).
        paused: whether it holds ordinary jobs back.
        draining: whether it is about to end. It gets jobs only while every worker is.
        quick_at: when it last ran a quick job (CLOCK_MONOTONIC seconds).
    """

    slot: int
    outstanding: int
    expected_s: float
    progressed_at: float
    paused: bool = False
    draining: bool = False
    quick_at: float = 0.0


@dataclass(slots=True)
class Room:
    """One worker as a choice sees it: everybody's load together. Changed as jobs are given out in one go.

    Args:
        worker: the worker.
        outstanding: jobs that it has not answered, of all origins.
        expected_s: how long these are expected to occupy it.
        still_s: how long it has shown no progress.
        open: False when it takes no more at all (paused, closing, or full).
        myself: whether the worker is this very process.
    """

    worker: Peer
    outstanding: int
    expected_s: float
    still_s: float = 0.0
    open: bool = True
    myself: bool = False


Policy: TypeAlias = Callable[[float, Sequence[Room], Limits, bool, int], int | None]
"""``(expected_s, rooms, limits, reserve, turn) -> index of a room or None``; see `least_expected`."""


def is_slow(expected_s: float, limits: Limits) -> bool:
    """Whether so much work keeps fast jobs waiting: more than twice the budget.

    Twice, because a worker within its budget may be given one more job of up to the budget.
    """
    return expected_s > 2 * limits.budget_s


def is_progressing(room: Room, limits: Limits) -> bool:
    """Whether a worker with work in hand can be trusted to get on with it."""
    return room.still_s <= (limits.stall_s if room.expected_s > 0.0 else limits.later_stall_s)


def has_room(room: Room, limits: Limits) -> bool:
    """Whether a worker may be given a job now: idle, or progressing with little to do."""
    if not room.open:
        return False
    return not room.outstanding or (room.expected_s <= limits.budget_s and is_progressing(room, limits))


def least_expected(expected_s: float, rooms: Sequence[Room], limits: Limits, reserve: bool, turn: int) -> int | None:
    """Choose the worker with the least expected work, or nobody when none has room.

    Among equals the one with fewer jobs goes first, then any other process before this one (a job run at home stops
    the traffic that it was taken from), then by turns, which also keeps origins with different turns apart.

    Args:
        expected_s: how long the job is expected to occupy its worker.
        rooms: the workers to choose from.
        limits: the bounds.
        reserve: whether a slow job must leave one worker free of slow jobs. With one worker nothing is reserved.
        turn: where to begin among equals.

    Returns:
        An index into ``rooms``, or None: the job waits.
    """
    count = len(rooms)
    best: int | None = None
    best_key = (0.0, 0, False, 0)
    for index, room in enumerate(rooms):
        if not has_room(room, limits):
            continue
        key = (room.expected_s, room.outstanding, room.myself, (index - turn) % count)
        if best is None or key < best_key:
            best, best_key = index, key
    if best is None or not reserve or count == 1 or not is_slow(expected_s, limits):
        return best
    return best if any(_stays_free(room, limits) for index, room in enumerate(rooms) if index != best) else None


def _stays_free(room: Room, limits: Limits) -> bool:
    if not room.open:
        return False
    return not room.outstanding or (not is_slow(room.expected_s, limits) and is_progressing(room, limits))
