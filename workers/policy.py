"""Which worker a job goes to: the limits, what is seen of each worker, and the choice.

The choice is one pure function, so that another can be put in its place and each be tested alone. Why it holds jobs
back instead of always sending to the least loaded: a job that is sent cannot be taken back, and least-outstanding
alone binds too early (46 ms p99 against 15 ms with this hold, two origins, 5 % slow jobs).

Jobs of one kind that wait together are placed together: a choice says how many of them each worker gets. A choice for
each would cost more than all the rest that is done for a small job.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TypeAlias

from msgspec import Struct

from workers.jobs import Peer


class Limits(Struct, frozen=True):
    """Every bound of one process's place in the pool. Times are in seconds, sizes in bytes.

    Args:
        max_queued: how many jobs may wait at one origin; the next one that finds no room at once is Rejected.
        max_pool_queued: how many jobs may wait at all origins together; beyond it just the same.
        max_outstanding: how many unanswered jobs one worker may have, whatever they are expected to take.
        budget_s: a worker that is not idle gets a job only while its expected work is at most this.
        unknown_s: what a job is expected to take before its label has been seen once.
        stall_s: a worker with expected work that has not progressed for so long gets nothing more.
        later_stall_s: the same for a worker whose jobs all answer later; it must exceed ``heartbeat_s``.
        heartbeat_s: how often a worker whose jobs all answer later says that it lives.
        quick_share: the share of the workers that is left free of slow jobs, rounded down but at least one worker
            (and never all); None leaves none free.
        quick_memory_s: they are left free while a quick job was run so lately, by anybody.
        patience_s: a slow job that waited so long may take a worker that was left free.
        unknown_patience_s: the same for one whose label has not been seen yet, which is only taken for slow.
        retry_s: how often waiting jobs look for room when nobody tells of any.
        max_frame_bytes: the largest frame that is sent or accepted.
        turn_s: after so long a worker lets its loop turn before it starts the next job.
        turn_frames: how many frames one turn of the loop takes from the inbox.
        max_labels: how many labels' usual times are remembered.
        progress_s: how often one job may tell of its progress; what it says in between is left out.
        spin_s: how long a process that just had something to do, or waits for an answer, looks for more before it
            sleeps. It gives way to whoever wants the processor meanwhile. Waking up takes longer than a small job does.
        kill_grace_s: how long after its deadline a job that is killed then may still run.
        brief_s: what is expected to take less is brief: waking another worker for it would take longer.
    """

    max_queued: int = 10_000
    max_pool_queued: int = 100_000
    max_outstanding: int = 1_000
    budget_s: float = 0.002
    unknown_s: float = 0.010
    stall_s: float = 0.005
    later_stall_s: float = 0.5
    heartbeat_s: float = 0.1
    quick_share: float | None = 0.0
    quick_memory_s: float = 1.0
    patience_s: float = 1.0
    unknown_patience_s: float = 0.05
    retry_s: float = 0.005
    max_frame_bytes: int = 16 * 1024 * 1024
    turn_s: float = 0.001
    turn_frames: int = 64
    max_labels: int = 4096
    progress_s: float = 0.01
    spin_s: float = 0.0
    kill_grace_s: float = 0.1
    brief_s: float = 0.0


DEFAULT_LIMITS = Limits()


class Load(Struct, frozen=True):
    """What the load board says of one worker.

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


class Room(Struct):
    """One worker as a choice sees it: everybody's load together.

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


Policy: TypeAlias = Callable[[float, int, Sequence[Room], Limits, bool, int], Sequence[int]]
"""``(expected_s, count, rooms, limits, reserve, favourite) -> how many each room gets``; see `least_expected`."""

_FEW = 3
"""So many jobs are placed one by one; more are levelled first."""


def slow_s(limits: Limits) -> float:
    """What is more than this is slow: it keeps fast jobs waiting.

    Twice the budget, because a worker within its budget may be given one more job of up to the budget.
    """
    return 2 * limits.budget_s


def is_slow(expected_s: float, limits: Limits) -> bool:
    """Whether so much work keeps fast jobs waiting."""
    return expected_s > slow_s(limits)


def is_brief(expected_s: float, limits: Limits) -> bool:
    """Whether so little work occupies a worker for less time than it takes to wake another."""
    return 0.0 < expected_s < limits.brief_s


def is_progressing(room: Room, limits: Limits) -> bool:
    """Whether a worker with work in hand can be trusted to get on with it."""
    return room.still_s <= (limits.stall_s if room.expected_s > 0.0 else limits.later_stall_s)


def has_room(room: Room, limits: Limits) -> bool:
    """Whether a worker may be given a job now: idle, or progressing with little to do."""
    if not room.open:
        return False
    return not room.outstanding or (room.expected_s <= limits.budget_s and is_progressing(room, limits))


def least_expected(
    expected_s: float, count: int, rooms: Sequence[Room], limits: Limits, reserve: bool, favourite: int
) -> list[int]:
    """Give each job to the worker with the least expected work, as long as any has room.

    Among equals the one with fewer jobs goes first, then any other process before this one (a job run at home stops
    the traffic that it was taken from), then the favourite: whoever was used last has not gone to sleep yet, and a
    round trip to it takes 60 µs where one that goes by turns takes 80.

    For a brief job all that have less than `Limits.brief_s` to do are equal, however many jobs that is, and of these
    one that has something to do is awake, so it goes before those that have nothing.

    Args:
        expected_s: how long each of the jobs is expected to occupy its worker.
        count: how many jobs there are, at least one.
        rooms: the workers to choose from, in an order that all origins share; left as they are.
        limits: the bounds.
        reserve: whether slow jobs must leave some workers free of slow jobs, the first of those that are open. With
            one worker nothing is reserved.
        favourite: the index of who goes first among equals; beyond the last it begins anew.

    Returns:
        How many jobs each of the ``rooms`` gets. Those that are left wait.
    """
    shares = [0] * len(rooms)
    if count == 1:
        best = _least(expected_s, rooms, limits, reserve, favourite)
        if best is not None:
            shares[best] = 1
        return shares
    rooms = [Room(r.worker, r.outstanding, r.expected_s, r.still_s, r.open, r.myself) for r in rooms]
    if is_brief(expected_s, limits):
        count -= _heap(expected_s, count, rooms, limits, favourite, shares)
    levels = expected_s > 0.0 and not is_slow(expected_s, limits)
    while levels and count > _FEW and (given := _level(expected_s, count, rooms, limits, shares)):
        count -= given
    while count and (best := _least(expected_s, rooms, limits, reserve, favourite)) is not None:
        _give(rooms[best], 1, expected_s, limits)
        shares[best] += 1
        count -= 1
    return shares


def _least(expected_s: float, rooms: Sequence[Room], limits: Limits, reserve: bool, favourite: int) -> int | None:
    """Who gets the next job."""
    best: int | None = None
    best_key: tuple[float, ...] = (math.inf,)
    brief = is_brief(expected_s, limits)
    left_free = reserved(len(rooms), limits.quick_share) if reserve and is_slow(expected_s, limits) else 0
    kept = left_free
    for index, room in enumerate(rooms):
        if kept and room.open:
            # Every origin keeps the same ones. With each choosing for itself, two that chose at the same moment took
            # two, and of two workers none was left: p99 of the quick jobs 6.6 ms instead of 0.7.
            kept -= 1
            continue
        if not has_room(room, limits):
            continue
        turn = (index - favourite) % len(rooms)
        if brief and room.expected_s < limits.brief_s:
            key = (limits.brief_s, 0, room.myself, not room.expected_s, turn)
        else:
            key = (room.expected_s, room.outstanding, room.myself, False, turn)
        if key < best_key:
            best, best_key = index, key
    if not left_free:
        return best
    free = sum(_stays_free(room, limits) for index, room in enumerate(rooms) if index != best)
    return best if free >= left_free else None


def _heap(
    expected_s: float, count: int, rooms: Sequence[Room], limits: Limits, favourite: int, shares: list[int]
) -> int:
    """Give out brief jobs: to one worker, until it has something to do for longer than another takes to wake up.

    Returns how many were given. To four workers with a job each go four frames, and they wake eight threads.
    """
    given = 0
    while given < count and (best := _least(expected_s, rooms, limits, False, favourite)) is not None:
        room = rooms[best]
        if room.expected_s >= limits.brief_s:
            break
        wanted = math.ceil((limits.brief_s - room.expected_s) / expected_s)
        share = min(count - given, wanted, _most(room, expected_s, limits))
        _give(room, share, expected_s, limits)
        shares[best] += share
        given += share
    return given


def reserved(workers: int, quick_share: float | None) -> int:
    """How many of so many workers are left free of slow jobs; see `Limits.quick_share`."""
    if quick_share is None:
        return 0
    return max(0, min(workers - 1, max(1, int(quick_share * workers))))


def _stays_free(room: Room, limits: Limits) -> bool:
    if not room.open:
        return False
    return not room.outstanding or (not is_slow(room.expected_s, limits) and is_progressing(room, limits))


def _level(expected_s: float, count: int, rooms: Sequence[Room], limits: Limits, shares: list[int]) -> int:
    """Give out jobs as if they were water: up to the level at which ``count`` of them stand, less what is broken off.

    Each worker then has less than one job to go to the level, so that giving the rest one by one ends where giving
    all of them one by one would have. Returns how many were given.
    """
    order = sorted((room.expected_s, index) for index, room in enumerate(rooms) if has_room(room, limits))
    wet, below, level = 0, 0.0, math.inf
    for load_s, _ in order:
        if level <= load_s:
            break
        wet += 1
        below += load_s
        level = (below + count * expected_s) / wet
    given = 0
    for load_s, index in order[:wet]:
        # All of these together are at most ``count``, because whatever is less than a job is broken off.
        share = min(int((level - load_s) / expected_s), _most(rooms[index], expected_s, limits))
        _give(rooms[index], share, expected_s, limits)
        shares[index] += share
        given += share
    return given


def _most(room: Room, expected_s: float, limits: Limits) -> int:
    """How many jobs in a row a worker that has room may be given."""
    if room.still_s > limits.stall_s:
        return 1  # it was idle for long: whether it still moves is seen with the first one
    return min(1 + int((limits.budget_s - room.expected_s) / expected_s), limits.max_outstanding - room.outstanding)


def _give(room: Room, jobs: int, expected_s: float, limits: Limits) -> None:
    room.outstanding += jobs
    room.expected_s += jobs * expected_s
    room.open = room.open and room.outstanding < limits.max_outstanding
