"""Who runs what, and when: the origin's table of its own jobs.

`Dispatcher.handle(stimulus) -> [effect]` is the only thing that changes the state. It does no I/O, reads no clock and
knows no socket; a stimulus brings the time and, where a job may be sent, the load that **other** origins put on the
workers (its own it knows exactly, and so several jobs given out in one go see each other).

A job's life at its origin::

    (submitted) -> queued -> sent -> (settled)
                     ^        |  \\-> settled, but still held by the worker -> (freed by its answer or its death)
                     \\-------/   its worker died and it is idempotent, or the worker gave it back unrun

What does not fit that line: a directed job (``Job.to``) is never queued; it is sent at once or Rejected.
"""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass, field
from typing import assert_never

from workers.jobs import Cancelled, Failed, Job, JobId, Outcome, Peer, Rejected, Returned, TimedOut, WorkerLost
from workers.policy import DEFAULT_LIMITS, Limits, Load, Policy, Room, is_slow, least_expected
from workers.stimuli import (
    Answered,
    AnswersLater,
    CancelAsked,
    Closing,
    DeadlinePassed,
    DrainAsked,
    Effect,
    JobView,
    Loads,
    Occupy,
    RoomMade,
    Send,
    SendCancel,
    Settle,
    Stimulus,
    Submitted,
    Waiting,
    WorkerDown,
    WorkerUp,
)

_NEW_WEIGHT = 0.2
"""Weight of the newest running time in a label's moving average."""

_LEAST_S = 10e-6
"""What running anything costs a worker; less is a handler that answers later and occupies nobody."""

_GRAIN = 2.0**20
"""Expected seconds are whole 2**-20ths (a microsecond), so that their sums are exact however often jobs come and go:
an empty worker reads as nothing, and equal workers as equal."""

_MOST_RUNS = 2
"""An idempotent job may run a second time. Not a third: it may be what kills its workers."""

_SLACK = 64


@dataclass(slots=True, eq=False)
class _Hands:
    """What one worker holds of ours. ``expected_s`` is the sum over ``jobs``, exactly (see ``_GRAIN``)."""

    peer: Peer
    slot: int
    executes: bool
    myself: bool
    closing: bool = False
    jobs: dict[int, _Entry] = field(default_factory=dict)
    expected_s: float = 0.0

    def take(self, entry: _Entry, expected_s: float) -> None:
        self.jobs[entry.job.id.serial] = entry
        self.expected_s += expected_s
        entry.hands, entry.expected_s = self, expected_s
        entry.runs += 1

    def free(self, entry: _Entry) -> None:
        del self.jobs[entry.job.id.serial]
        self.lighten(entry)
        entry.hands = None

    def lighten(self, entry: _Entry) -> None:
        self.expected_s -= entry.expected_s
        entry.expected_s = 0.0

    def occupy(self) -> Occupy:
        return Occupy(self.slot, len(self.jobs), self.expected_s)


@dataclass(slots=True, eq=False)
class _Entry:
    """A job that is queued (``hands`` None) or with a worker; once ``settled`` it only keeps the worker's load true."""

    job: Job
    submitted_at: float
    hands: _Hands | None = None
    expected_s: float = 0.0
    runs: int = 0
    settled: bool = False


def _whole_grains(seconds: float) -> float:
    return math.ceil(seconds * _GRAIN) / _GRAIN


def _timed_out(entry: _Entry) -> TimedOut:
    # From the origin's own figures, whoever noticed.
    return TimedOut(entry.job.deadline - entry.submitted_at)


class Dispatcher:
    """The origin's side of the pool: every job it accepted, until it is settled and no worker holds it.

    Args:
        me: this process; only jobs of this incarnation are handled.
        limits: the bounds.
        policy: which worker a job goes to.
        turn: where this origin begins among equal workers; different origins should begin at different ones.
    """

    def __init__(
        self, me: Peer, limits: Limits = DEFAULT_LIMITS, *, policy: Policy = least_expected, turn: int = 0
    ) -> None:
        self._me = me
        self._limits = limits
        self._policy = policy
        self._turn = turn
        # Every job that is queued or that a worker holds: exactly one of the two (invariant 6).
        self._entries: dict[int, _Entry] = {}
        self._workers: dict[Peer, _Hands] = {}
        # name -> the newest incarnation known to be dead. A word from one at or below it changes nothing.
        self._dead: dict[str, int] = {}
        # label -> heap of (-priority, serial). One queue per label, because whether a label is slow is learnt while its
        # jobs wait, and a slow job that waits for its turn must hold no quick one up. Labels are few: they name
        # commands. Jobs that ended while queued are skipped when they surface.
        self._queues: dict[str, list[tuple[int, int]]] = {}
        self._waiting = 0
        self._waiting_told = 0
        self._usual_s: dict[str, float] = {}
        self._expected_s: dict[str, float] = {}
        self._unknown_s = _whole_grains(limits.unknown_s)
        self._refusing: str | None = None
        # The look at the loads with which the waiting found no room, until something of ours changes.
        self._full_for: Loads | None = None
        self.late = 0
        """Words that came too late to change anything: of the dead, of settled jobs, or twice."""

    def handle(self, stimulus: Stimulus) -> list[Effect]:
        """Change the state by one stimulus.

        Returns:
            What is to be done, in this order: what the board shows, who is told, what is sent.

        Raises:
            ValueError: a job of another origin, or a serial that is in use, was submitted.
        """
        match stimulus:
            case Submitted():
                return self._on_submitted(stimulus)
            case Answered():
                return self._on_answered(stimulus)
            case AnswersLater(worker, job):
                return self._on_answers_later(worker, job)
            case RoomMade(now, loads):
                return self._fill(now, loads)
            case DeadlinePassed(job):
                return self._end_early(job, None)
            case CancelAsked(job, reason):
                return self._end_early(job, Cancelled(reason))
            case WorkerUp():
                return self._on_worker_up(stimulus)
            case WorkerDown(worker, now, loads):
                return self._write_off(worker, now) + self._fill(now, loads)
            case DrainAsked(reason):
                self._refusing = reason
                return []
            case Closing(reason):
                return self._on_closing(reason)
            case _:
                assert_never(stimulus)

    # -- what is asked of us ------------------------------------------------------------------------------------

    def _on_submitted(self, stimulus: Submitted) -> list[Effect]:
        job, now = stimulus.job, stimulus.now
        if (job.id.origin is not self._me and job.id.origin != self._me) or job.id.serial in self._entries:
            raise ValueError(f"{job.id} is not a new job of {self._me}")
        if self._refusing is not None:
            return [Settle(job.id, Rejected(self._refusing))]
        if job.to is not None:
            return self._send_directed(job, job.to, now)
        entry = _Entry(job, now)
        if not self._waiting:
            # The common case, kept off the heap: nobody waits, so nobody is overtaken.
            expected_s = self._expected(job.label)
            rooms = self._rooms(now, stimulus.loads)
            reserve = self._reserves(expected_s, now, stimulus.loads)
            index = self._policy(expected_s, rooms, self._limits, reserve, self._turn)
            if index is not None:
                self._entries[job.id.serial] = entry
                hands = self._workers[rooms[index].worker]
                return self._give(entry, hands, expected_s)
        known_full = stimulus.loads is self._full_for
        effects: list[Effect] = []
        if self._waiting >= self._limits.max_queued:
            effects = [] if known_full else self._fill(now, stimulus.loads)
            if self._waiting >= self._limits.max_queued:
                return [*effects, Settle(job.id, Rejected("queue is full"))]
        self._entries[job.id.serial] = entry
        overtakes_nobody = self._queue(entry)
        if overtakes_nobody and known_full:
            return self._tell_waiting()
        return effects + self._fill(now, stimulus.loads)

    def _send_directed(self, job: Job, to: Peer, now: float) -> list[Effect]:
        hands = self._workers.get(to)
        if hands is None or hands.closing:
            return [Settle(job.id, Rejected(f"{to} is not there"))]
        if len(hands.jobs) >= self._limits.max_queued:
            return [Settle(job.id, Rejected("queue is full"))]
        entry = self._entries[job.id.serial] = _Entry(job, now)
        return self._give(entry, hands, self._expected(job.label))

    def _end_early(self, job: JobId, outcome: Cancelled | None) -> list[Effect]:
        entry = self._entries.get(job.serial) if job.origin == self._me else None
        if entry is None or entry.settled:
            return []
        settle = Settle(entry.job.id, outcome or _timed_out(entry))
        if entry.hands is None:
            del self._entries[job.serial]
            self._waiting -= 1
            self._sweep()
            return [*self._tell_waiting(), settle]
        # Its worker may be running it: the load stays on the board until the worker answers or dies.
        entry.settled = True
        return [settle, SendCancel(entry.hands.peer, entry.job.id)]

    def _on_closing(self, reason: str) -> list[Effect]:
        self._refusing = reason
        ended = [self._end_early(entry.job.id, Cancelled(reason)) for entry in list(self._entries.values())]
        return [effect for effects in ended for effect in effects]

    # -- what workers say ---------------------------------------------------------------------------------------

    def _on_answered(self, stimulus: Answered) -> list[Effect]:
        entry = self._held(stimulus.worker, stimulus.job)
        if entry is None or entry.hands is None:
            self.late += 1
            return []
        self._full_for = None
        hands = entry.hands
        hands.free(entry)
        outcome = stimulus.outcome
        if outcome is None:
            return [hands.occupy(), *self._take_back(entry, hands, stimulus.now)]
        if isinstance(outcome, Returned | Failed):
            self._learn(entry.job.label, stimulus.occupied_s)
        return [hands.occupy(), *self._end(entry, outcome)]

    def _on_answers_later(self, worker: Peer, job: JobId) -> list[Effect]:
        entry = self._held(worker, job)
        if entry is None or entry.hands is None:
            self.late += 1
            return []
        self._full_for = None
        entry.hands.lighten(entry)
        self._learn(entry.job.label, 0.0)
        return [entry.hands.occupy()]

    def _held(self, worker: Peer, job: JobId) -> _Entry | None:
        """The entry, if that very worker holds it for this very incarnation of us (invariant 8)."""
        hands = self._workers.get(worker)
        if hands is None or (job.origin is not self._me and job.origin != self._me):
            return None
        return hands.jobs.get(job.serial)

    def _take_back(self, entry: _Entry, hands: _Hands, now: float) -> list[Effect]:
        """A closing worker gives a job back unrun, so that it may run elsewhere even if it is not idempotent."""
        # It would only give back the next one as well; its death will be told soon.
        hands.closing = True
        entry.runs -= 1
        if entry.settled or now >= entry.job.deadline:
            return self._end(entry, _timed_out(entry))
        if entry.job.to is not None:
            return self._end(entry, Rejected(f"{hands.peer} is closing"))
        self._queue(entry)
        return []

    def _end(self, entry: _Entry, outcome: Outcome) -> list[Effect]:
        """Forget a job that no worker holds any more; whoever waits is told, unless that is done."""
        del self._entries[entry.job.id.serial]
        if entry.settled:
            self.late += 1
            return []
        return [Settle(entry.job.id, _timed_out(entry) if isinstance(outcome, TimedOut) else outcome)]

    # -- who comes and goes -------------------------------------------------------------------------------------

    def _on_worker_up(self, stimulus: WorkerUp) -> list[Effect]:
        peer = stimulus.worker
        if peer in self._workers or peer.incarnation <= self._dead.get(peer.name, 0):
            return []
        effects: list[Effect] = []
        for other in [other for other in self._workers if other.name == peer.name]:
            if other.incarnation > peer.incarnation:
                return []
            # One name lives one life at a time: the new one tells of the old one's death.
            effects += self._write_off(other, stimulus.now)
        self._workers[peer] = _Hands(peer, stimulus.slot, stimulus.executes, peer == self._me)
        return effects + self._fill(stimulus.now, stimulus.loads)

    def _write_off(self, peer: Peer, now: float) -> list[Effect]:
        self._dead[peer.name] = max(peer.incarnation, self._dead.get(peer.name, 0))
        hands = self._workers.pop(peer, None)
        if hands is None:
            return []
        effects: list[Effect] = [Occupy(hands.slot, 0, 0.0)]
        for entry in hands.jobs.values():
            entry.hands, entry.expected_s = None, 0.0
            if self._may_run_again(entry, now):
                self._queue(entry)
            else:
                # Not counted as late when settled before: the dead say nothing.
                del self._entries[entry.job.id.serial]
                if not entry.settled:
                    effects.append(Settle(entry.job.id, WorkerLost(peer)))
        return effects

    def _may_run_again(self, entry: _Entry, now: float) -> bool:
        job = entry.job
        wanted = not entry.settled and now < job.deadline
        return wanted and job.idempotent and job.to is None and entry.runs < _MOST_RUNS

    # -- giving out ---------------------------------------------------------------------------------------------

    def _queue(self, entry: _Entry) -> bool:
        """Put a job into its queue; whether others stand there already who come first."""
        queue = self._queues.setdefault(entry.job.label, [])
        # By serial: a job that comes back goes before everything that was submitted after it.
        heapq.heappush(queue, (-entry.job.priority, entry.job.id.serial))
        self._waiting += 1
        return queue[0][1] != entry.job.id.serial

    def _fill(self, now: float, loads: Loads) -> list[Effect]:
        """Give out waiting jobs while there is room, and tell how many are left."""
        if not self._waiting:
            return self._tell_waiting()
        rooms = self._rooms(now, loads)
        sends: list[Effect] = []
        touched: dict[Peer, _Hands] = {}
        while self._waiting and (found := self._next_with_room(rooms, now, loads)) is not None:
            entry, expected_s, room = found
            heapq.heappop(self._queues[entry.job.label])
            self._waiting -= 1
            hands = touched[room.worker] = self._workers[room.worker]
            sends.append(self._hand(entry, hands, expected_s))
            room.outstanding += 1
            room.expected_s += expected_s
            room.open = room.open and room.outstanding < self._limits.max_outstanding
        self._full_for = loads if self._waiting else None
        return [*[hands.occupy() for hands in touched.values()], *self._tell_waiting(), *sends]

    def _next_with_room(self, rooms: list[Room], now: float, loads: Loads) -> tuple[_Entry, float, Room] | None:
        for _, serial in self._heads():
            entry = self._entries[serial]
            expected_s = self._expected(entry.job.label)
            impatient = now - entry.submitted_at >= self._limits.patience_s
            reserve = not impatient and self._reserves(expected_s, now, loads)
            index = self._policy(expected_s, rooms, self._limits, reserve, self._turn)
            if index is not None:
                return entry, expected_s, rooms[index]
        return None

    def _reserves(self, expected_s: float, now: float, loads: Loads) -> bool:
        """Whether such a job must leave a worker free: it is slow, and there are quick jobs these days."""
        if not is_slow(expected_s, self._limits):
            return False
        since = now - self._limits.quick_memory_s
        return any(load.quick_at > since for load in loads.values())

    def _heads(self) -> list[tuple[int, int]]:
        """The first of the quick jobs that wait and the first of the slow ones, in the order of their claims."""
        heads: dict[bool, tuple[int, int]] = {}
        empty = []
        for label, queue in self._queues.items():
            while queue and queue[0][1] not in self._entries:
                heapq.heappop(queue)
            if not queue:
                empty.append(label)
                continue
            slow = is_slow(self._expected(label), self._limits)
            if slow not in heads or queue[0] < heads[slow]:
                heads[slow] = queue[0]
        for label in empty:
            del self._queues[label]
        return sorted(heads.values())

    def _rooms(self, now: float, loads: Loads) -> list[Room]:
        rooms: list[Room] = []
        draining: list[Room] = []
        for hands in self._workers.values():
            if hands.executes and not hands.closing:
                load = loads.get(hands.slot)
                (draining if load is not None and load.draining else rooms).append(self._room(hands, load, now))
        # When all of them drain, so do we, and what waits here may still run.
        return rooms or draining

    def _room(self, hands: _Hands, load: Load | None, now: float) -> Room:
        outstanding, expected_s, still_s, usable = len(hands.jobs), hands.expected_s, 0.0, True
        if load is not None:
            outstanding += load.outstanding
            expected_s += load.expected_s
            still_s = now - load.progressed_at
            usable = not load.paused
        usable = usable and outstanding < self._limits.max_outstanding
        return Room(hands.peer, outstanding, expected_s, still_s, usable, hands.myself)

    def _hand(self, entry: _Entry, hands: _Hands, expected_s: float) -> Send:
        self._turn += 1
        hands.take(entry, expected_s)
        return Send(hands.peer, entry.job, expected_s > 0.0)

    def _give(self, entry: _Entry, hands: _Hands, expected_s: float) -> list[Effect]:
        send = self._hand(entry, hands, expected_s)
        return [hands.occupy(), send]

    def _tell_waiting(self) -> list[Effect]:
        if self._waiting == self._waiting_told:
            return []
        self._waiting_told = self._waiting
        return [Waiting(self._waiting)]

    def _sweep(self) -> None:
        """Keep jobs that ended while queued from piling up below the head of a queue."""
        if sum(map(len, self._queues.values())) > 2 * self._waiting + _SLACK:
            for queue in self._queues.values():
                queue[:] = [place for place in queue if place[1] in self._entries]
                heapq.heapify(queue)

    # -- running times ------------------------------------------------------------------------------------------

    def _expected(self, label: str) -> float:
        return self._expected_s.get(label, self._unknown_s)

    def _learn(self, label: str, occupied_s: float) -> None:
        sample = max(occupied_s, _LEAST_S) if occupied_s > 0.0 else 0.0
        usual = self._usual_s.get(label)
        if usual is None:
            if len(self._usual_s) >= self._limits.max_labels:
                oldest = next(iter(self._usual_s))
                del self._usual_s[oldest], self._expected_s[oldest]
            usual = sample
        else:
            usual += _NEW_WEIGHT * (sample - usual)
            if sample == 0.0 and usual < _LEAST_S:
                usual = 0.0  # a label that turned to answering later would otherwise never reach nothing
        self._usual_s[label] = usual
        self._expected_s[label] = _whole_grains(usual)

    # -- to look at ---------------------------------------------------------------------------------------------

    @property
    def waiting(self) -> int:
        """How many jobs wait for room."""
        return self._waiting

    def expected_s(self, label: str) -> float:
        """How long a job of that label is expected to occupy its worker, in seconds."""
        return self._expected(label)

    def jobs(self, now: float) -> list[JobView]:
        """The unsettled jobs, oldest first."""
        return [
            JobView(
                id=entry.job.id,
                label=entry.job.label,
                state="queued" if entry.hands is None else "sent",
                worker=None if entry.hands is None else entry.hands.peer,
                age_s=now - entry.submitted_at,
                remaining_s=entry.job.deadline - now,
            )
            for entry in self._entries.values()
            if not entry.settled
        ]

    def check(self) -> None:
        """Assert the conservation of jobs (invariant 6) and of load."""
        queued = {serial for serial, entry in self._entries.items() if entry.hands is None}
        assert self._waiting == len(queued), "the waiting are miscounted"
        assert not any(self._entries[serial].settled for serial in queued), "a settled job waits"
        places = [serial for queue in self._queues.values() for _, serial in queue]
        assert sorted(queued) == sorted(queued.intersection(places)), "a queued job stands in a queue"
        assert len(queued) == sum(serial in queued for serial in places), "and only once"
        assert len(places) <= 2 * self._waiting + _SLACK, "ended jobs pile up in the queues"
        held = [serial for hands in self._workers.values() for serial in hands.jobs]
        assert sorted(held) == sorted(self._entries.keys() - queued), "a sent job is held by exactly one worker"
        for peer, hands in self._workers.items():
            assert hands.peer == peer
            assert all(self._entries[serial] is entry for serial, entry in hands.jobs.items())
            assert all(entry.hands is hands for entry in hands.jobs.values())
            total = sum(entry.expected_s for entry in hands.jobs.values())
            assert hands.expected_s == total, "the load does not add up"
