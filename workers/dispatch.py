"""Who runs what, and when: the origin's table of its own jobs.

`Dispatcher.handle(stimulus) -> [effect]` is the only thing that changes the state. It does no I/O, reads no clock and
knows no socket; a stimulus brings the time and, where jobs may be sent, the load that **other** origins put on the
workers (its own it knows exactly, and so several jobs given out in one go see each other).

A job's life at its origin::

    (submitted) -> queued -> sent -> (settled)
                     ^        |  \\-> settled, but still held by the worker -> (freed by its answer or its death)
                     \\-------/   its worker died and it is idempotent, or the worker gave it back unrun

What does not fit that line: a directed job (``Kind.to``) is never queued; it is sent at once or Rejected.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter
from typing import assert_never

from workers.habits import Habits, Usual
from workers.jobs import Cancelled, Failed, Job, Kind, Outcome, Peer, Rejected, Returned, TimedOut, WorkerLost
from workers.lanes import Entry, Hands, Lane, runs
from workers.policy import DEFAULT_LIMITS, Limits, Policy, Room, least_expected
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

_MOST_RUNS = 2
"""An idempotent job may run a second time. Not a third: it may be what kills its workers."""


def _timed_out(entry: Entry) -> TimedOut:
    # From the origin's own figures, whoever noticed.
    return TimedOut(entry.job.deadline - entry.submitted_at)


class Dispatcher:
    """The origin's side of the pool: every job it accepted, until it is settled and no worker holds it.

    Args:
        me: this process; only jobs of this incarnation are handled.
        limits: the bounds.
        policy: which worker a job goes to.
        favourite: which of equal workers gets this origin's first job; different origins should begin with different
            ones. Later it is whichever was given something last: it is awake, and two origins that were in each
            other's way once go separate ways.
    """

    def __init__(
        self, me: Peer, limits: Limits = DEFAULT_LIMITS, *, policy: Policy = least_expected, favourite: int = 0
    ) -> None:
        self._me = me
        self._limits = limits
        self._policy = policy
        self._favourite = favourite
        # Every job that is queued stands in exactly one lane, and every one that a worker holds in exactly one pair of
        # hands; none in both (invariant 6). No lane is empty.
        self._lanes: dict[Kind, Lane] = {}
        self._workers: dict[Peer, Hands] = {}
        self._executing: list[Hands] = []
        """Those among them that take jobs that are not directed, by slot: in the same order at every origin."""
        # name -> the newest incarnation known to be dead. A word from one at or below it changes nothing.
        self._dead: dict[str, int] = {}
        self._waiting = 0
        self._waiting_told = 0
        self._habits = Habits(limits)
        self._newest = 0
        """Serials only grow, which is how it is known that each is new."""
        self._refusing: str | None = None
        # The look at the loads with which the waiting found no room, until something of ours changes or a lane begins
        # (which is the first thing to happen when none waited).
        self._full_for: Loads | None = None
        self.late = 0
        """Words that came too late to change anything: of the dead, of settled jobs, or twice."""
        self.reruns = 0
        """Idempotent jobs that were queued again because their worker died."""

    def handle(self, stimulus: Stimulus) -> list[Effect]:
        """Change the state by one stimulus.

        Returns:
            What is to be done, in this order: what the board shows, who is told, what is sent. Directed jobs, and what
            of a batch overflows the queue, are done with one after the other, each in this order.

        Raises:
            ValueError: a job of another origin, or a serial that is in use, was submitted.
        """
        match stimulus:
            case Submitted():  # model: submit
                return self._on_submitted(stimulus)
            case Answered():  # model: answered
                return self._on_answered(stimulus)
            case RoomMade():  # model: give_out
                return self._fill(stimulus.now, stimulus.loads)
            case AnswersLater(worker, serial):
                return self._on_answers_later(worker, serial)
            case DeadlinePassed(serial):  # model: end_early
                return self._end_early(serial, None)
            case CancelAsked(serial, reason):  # model: end_early
                return self._end_early(serial, Cancelled(reason))
            case WorkerUp():  # model: worker_up
                return self._on_worker_up(stimulus)
            case WorkerDown():  # model: worker_down
                return self._on_worker_down(stimulus)
            case DrainAsked(reason):
                self._refusing = reason
                return []
            case Closing(reason):  # model: close_origin
                return self._on_closing(reason)
            case _:
                assert_never(stimulus)

    # -- what is asked of us ------------------------------------------------------------------------------------

    def _on_submitted(self, stimulus: Submitted) -> list[Effect]:
        now, loads = stimulus.now, stimulus.loads
        if len(stimulus.jobs) == 1 and not self._waiting and self._refusing is None:
            [job] = stimulus.jobs
            is_new = job.origin == self._me and job.serial > self._newest
            if is_new and job.kind.to is None and (effects := self._place_alone(job, now, loads)):
                return effects
        effects = []
        rejected: list[tuple[int, Outcome]] = []
        room = self._room_to_wait(stimulus.elsewhere)
        lane: Lane | None = None
        for job in stimulus.jobs:
            if (job.origin is not self._me and job.origin != self._me) or job.serial <= self._newest:
                raise ValueError(f"{job.id} is not a new job of {self._me}")
            self._newest = job.serial
            if self._refusing is not None:
                rejected.append((job.serial, Rejected(self._refusing)))
            elif job.kind.to is not None:
                effects += self._send_directed(job, job.kind.to, now)
            else:
                if self._waiting >= room:
                    effects += self._fill_anew(now, loads)
                    lane = None  # it may have been emptied, and then it is gone
                    if self._waiting >= room:
                        placed = self._place_alone(job, now, loads) if self._passes_by(job.kind) else []
                        effects += placed
                        if not placed:
                            rejected.append((job.serial, Rejected("queue is full")))
                        continue
                if lane is None or lane.kind is not job.kind:
                    lane = self._lane(job.kind)
                lane.entries[job.serial] = Entry(job, now)
                self._waiting += 1
        effects += self._fill_anew(now, loads)
        return [*effects, Settle(rejected)] if rejected else effects

    def _place_alone(self, job: Job, now: float, loads: Loads) -> list[Effect]:
        """Give out a job past the lanes, in which nothing goes before it; nothing, where it finds no room.

        That is what a call that is awaited comes to. It saves code, which is what counts for one that comes after a
        pause: the processor has forgotten all of it by then, and takes three times as long.
        """
        usual, rooms = self._habits.of(job.kind.label), self._rooms(now, loads)
        reserve = usual.slow and self._reserves(usual, now, now, loads)
        shares = self._choose(usual, 1, rooms, reserve)
        if 1 not in shares:
            return []
        self._newest = job.serial
        self._favourite = shares.index(1)
        hands = self._workers[rooms[self._favourite].worker]
        hands.take(job, now, usual.expected_s)
        return [hands.occupy(), Send(hands.peer, [job], usual.expected_s > 0.0)]

    def _passes_by(self, kind: Kind) -> bool:
        """Whether a job that may not wait could find room all the same: slow ones hold no quick one up."""
        if not self._lanes:
            return True
        return not self._habits.of(kind.label).slow and all(lane.usual.slow for lane in self._lanes.values())

    def _room_to_wait(self, elsewhere: int) -> int:
        """How many jobs may wait here, when so many wait at other origins."""
        return min(self._limits.max_queued, self._limits.max_pool_queued - elsewhere)

    def _send_directed(self, job: Job, to: Peer, now: float) -> list[Effect]:  # model: send_directed
        hands = self._workers.get(to)
        if hands is None or hands.closing:
            return [Settle([(job.serial, Rejected(f"{to} is not there"))])]
        if len(hands.jobs) >= self._limits.max_queued:
            return [Settle([(job.serial, Rejected("queue is full"))])]
        expected_s = self._habits.expected_s(job.kind.label)
        hands.take(job, now, expected_s)
        return [hands.occupy(), Send(hands.peer, [job], expected_s > 0.0)]

    def _end_early(self, serial: int, outcome: Cancelled | None) -> list[Effect]:
        for lane in self._lanes.values():
            if serial in lane.entries:
                return self._end_waiting(lane, serial, outcome)
        for hands in self._workers.values():
            entry = hands.jobs.get(serial)
            if entry is not None and not entry.settled:
                # Its worker may be running it: the load stays on the board until the worker answers or dies.
                entry.settled = True
                return [Settle([(serial, outcome or _timed_out(entry))]), SendCancel(hands.peer, serial)]
        return []

    def _end_waiting(self, lane: Lane, serial: int, outcome: Cancelled | None) -> list[Effect]:
        entry = lane.entries.pop(serial)
        self._waiting -= 1
        if not lane.entries:
            del self._lanes[lane.kind]
        return [*self._tell_waiting(), Settle([(serial, outcome or _timed_out(entry))])]

    def _on_closing(self, reason: str) -> list[Effect]:
        self._refusing = reason
        waiting = [serial for lane in self._lanes.values() for serial in lane.entries]
        held = [(hands, entry) for hands in self._workers.values() for entry in hands.jobs.values()]
        unsettled = [(hands.peer, entry) for hands, entry in held if not entry.settled]
        for _, entry in unsettled:
            entry.settled = True
        self._lanes.clear()
        self._waiting = 0
        serials = sorted([*waiting, *[entry.job.serial for _, entry in unsettled]])
        settle: list[Effect] = [Settle([(serial, Cancelled(reason)) for serial in serials])] if serials else []
        return [*self._tell_waiting(), *settle, *[SendCancel(peer, entry.job.serial) for peer, entry in unsettled]]

    # -- what workers say ---------------------------------------------------------------------------------------

    def _on_answered(self, stimulus: Answered) -> list[Effect]:  # model: hear_end
        hands = self._workers.get(stimulus.worker)
        if hands is None:
            self.late += len(stimulus.answers)
            return []
        outcomes: list[tuple[int, Outcome]] = []
        back: list[Entry] = []
        freed_s, label, usual = 0.0, None, None
        before = len(hands.jobs)
        for serial, outcome, occupied_s in stimulus.answers:
            entry = hands.jobs.pop(serial, None)
            if entry is None:
                self.late += 1
                continue
            freed_s += entry.expected_s
            if type(outcome) is Returned or type(outcome) is Failed:
                if usual is None or entry.job.kind.label != label:
                    if usual is not None:
                        usual.settle()
                    label = entry.job.kind.label
                    usual = self._habits.of(label)
                usual.learn(occupied_s)
            if outcome is None:
                back.append(entry)
            elif entry.settled:
                self.late += 1
            else:
                outcomes.append((serial, _timed_out(entry) if type(outcome) is TimedOut else outcome))
        if len(hands.jobs) == before:
            return []
        if usual is not None:
            usual.settle()
        hands.expected_s -= freed_s
        self._full_for = None
        outcomes += self._take_back(back, hands, stimulus.now)
        return [hands.occupy(), Settle(outcomes)] if outcomes else [hands.occupy()]

    def _on_answers_later(self, worker: Peer, serial: int) -> list[Effect]:
        hands = self._workers.get(worker)
        entry = None if hands is None else hands.jobs.get(serial)
        if hands is None or entry is None:
            self.late += 1
            return []
        self._full_for = None
        hands.expected_s -= entry.expected_s
        entry.expected_s = 0.0
        usual = self._habits.of(entry.job.kind.label)
        usual.learn(0.0)
        usual.settle()
        return [hands.occupy()]

    def _take_back(  # model: take_back
        self, entries: list[Entry], hands: Hands, now: float
    ) -> list[tuple[int, Outcome]]:
        """A closing worker gives jobs back unrun, so that they may run elsewhere even if they are not idempotent."""
        if not entries:
            return []
        # It would only give back the next one as well; its death will be told soon.
        hands.closing = True
        outcomes: list[tuple[int, Outcome]] = []
        back = []
        for entry in entries:
            entry.runs -= 1
            if entry.settled:
                self.late += 1
            elif now >= entry.job.deadline:
                outcomes.append((entry.job.serial, _timed_out(entry)))
            elif entry.job.kind.to is not None:
                outcomes.append((entry.job.serial, Rejected(f"{hands.peer} is closing")))
            else:
                back.append(entry)
        self._put_back(back)
        return outcomes

    # -- who comes and goes -------------------------------------------------------------------------------------

    def _on_worker_up(self, stimulus: WorkerUp) -> list[Effect]:
        peer = stimulus.worker
        if peer.incarnation <= self._dead.get(peer.name, 0):
            return []
        former = next((other for other in self._workers if other.name == peer.name), None)
        if former is not None and peer.incarnation <= former.incarnation:
            return []
        # One name lives one life at a time: the new one tells of the old one's death.
        effects = [] if former is None else self._write_off(former, f"{peer} took its place", stimulus.now)
        hands = self._workers[peer] = Hands(peer, stimulus.slot, peer == self._me)
        if stimulus.executes:
            self._executing.append(hands)
            self._executing.sort(key=attrgetter("slot"))
        return effects + self._fill(stimulus.now, stimulus.loads)

    def _on_worker_down(self, stimulus: WorkerDown) -> list[Effect]:  # model: hear_down
        effects = self._write_off(stimulus.worker, stimulus.reason, stimulus.now)
        return effects + self._fill(stimulus.now, stimulus.loads)

    def _write_off(self, peer: Peer, reason: str, now: float) -> list[Effect]:  # model: write_off
        self._dead[peer.name] = max(peer.incarnation, self._dead.get(peer.name, 0))
        hands = self._workers.pop(peer, None)
        if hands is None:
            return []
        if hands in self._executing:
            self._executing.remove(hands)
        again = [entry for entry in hands.jobs.values() if self._may_run_again(entry, now)]
        # Not counted as late when settled before: the dead say nothing.
        gone = set(map(id, again))
        lost = [entry for entry in hands.jobs.values() if id(entry) not in gone and not entry.settled]
        self._put_back(again)
        self.reruns += len(again)
        effects: list[Effect] = [Occupy(hands.slot, 0, 0.0)]
        if lost:
            effects.append(Settle([(entry.job.serial, WorkerLost(peer, reason)) for entry in lost]))
        return effects

    def _may_run_again(self, entry: Entry, now: float) -> bool:  # model: lose
        kind = entry.job.kind
        wanted = not entry.settled and now < entry.job.deadline
        return wanted and kind.idempotent and kind.to is None and entry.runs < _MOST_RUNS

    def _put_back(self, entries: list[Entry]) -> None:
        for kind in {entry.job.kind: None for entry in entries}:
            of_kind = [entry for entry in entries if entry.job.kind == kind]
            for entry in of_kind:
                entry.hands = None
            self._lane(kind).put_back(of_kind)
        self._waiting += len(entries)

    # -- giving out ---------------------------------------------------------------------------------------------

    def _lane(self, kind: Kind) -> Lane:
        lane = self._lanes.get(kind)
        if lane is None:
            lane = self._lanes[kind] = Lane(kind, self._habits.of(kind.label))
            self._full_for = None
        return lane

    def _fill_anew(self, now: float, loads: Loads) -> list[Effect]:
        """`_fill`, unless nothing has changed since it found no room: whoever came since stands behind the others."""
        if loads is self._full_for:
            return self._tell_waiting()
        return self._fill(now, loads)

    def _fill(self, now: float, loads: Loads) -> list[Effect]:
        """Give out waiting jobs while there is room, and tell how many are left."""
        if not self._waiting:
            return self._tell_waiting()
        rooms = self._rooms(now, loads)
        sends: dict[tuple[Peer, Kind], Send] = {}
        touched: dict[Peer, Hands] = {}
        while self._waiting and (found := self._next_with_room(rooms, now, loads)) is not None:
            lane, shares = found
            for index, share in enumerate(shares):
                if share:
                    room = rooms[index]
                    touched[room.worker] = self._hand_over(lane, room, share, sends)
                    self._favourite = index
        self._full_for = loads
        return [*[hands.occupy() for hands in touched.values()], *self._tell_waiting(), *sends.values()]

    def _next_with_room(self, rooms: list[Room], now: float, loads: Loads) -> tuple[Lane, Sequence[int]] | None:
        """The next jobs that find room: their lane, and how many of them each room gets."""
        for lane, run in runs(self._lanes.values()):
            usual = lane.usual
            since = next(iter(lane.entries.values())).submitted_at
            shares = self._choose(usual, run, rooms, usual.slow and self._reserves(usual, since, now, loads))
            if any(shares):
                return lane, shares
        return None

    def _choose(self, usual: Usual, count: int, rooms: list[Room], reserve: bool) -> Sequence[int]:
        """How many of so many jobs each room gets."""
        shares = self._policy(usual.expected_s, count, rooms, self._limits, reserve, self._favourite)
        if len(shares) != len(rooms) or sum(shares) > count or min(shares, default=0) < 0:
            raise ValueError(f"the policy gave out {list(shares)} of {count} jobs to {len(rooms)} workers")
        return shares

    def _reserves(self, usual: Usual, submitted_at: float, now: float, loads: Loads) -> bool:
        """Whether a slow job must leave a worker free: there are quick jobs these days, and it has not waited long."""
        is_known = usual.usual_s is not None
        if now - submitted_at >= (self._limits.patience_s if is_known else self._limits.unknown_patience_s):
            return False
        since = now - self._limits.quick_memory_s
        return any(load.quick_at > since for load in loads.values())

    def _hand_over(self, lane: Lane, room: Room, share: int, sends: dict[tuple[Peer, Kind], Send]) -> Hands:
        """Put so many of a lane's jobs into a worker's hands."""
        hands, expected_s = self._workers[room.worker], lane.usual.expected_s
        pop, held = lane.entries.popitem, hands.jobs
        jobs = []
        for _ in range(share):
            serial, entry = pop(last=False)
            entry.hands, entry.expected_s = hands, expected_s
            entry.runs += 1
            held[serial] = entry
            jobs.append(entry.job)
        hands.expected_s += share * expected_s
        room.outstanding += share
        room.expected_s += share * expected_s
        room.open = room.open and room.outstanding < self._limits.max_outstanding
        self._waiting -= share
        send = sends.get((room.worker, lane.kind))
        if send is None:
            sends[room.worker, lane.kind] = Send(room.worker, jobs, expected_s > 0.0)
        else:
            sends[room.worker, lane.kind] = Send(room.worker, [*send.jobs, *jobs], send.weighed)
        if not lane.entries:
            del self._lanes[lane.kind]
        return hands

    def _rooms(self, now: float, loads: Loads) -> list[Room]:
        rooms: list[Room] = []
        draining: list[Room] = []
        most = self._limits.max_outstanding
        for hands in self._executing:
            if hands.closing:
                continue
            outstanding, expected_s, load = len(hands.jobs), hands.expected_s, loads.get(hands.slot)
            if load is None:
                rooms.append(Room(hands.peer, outstanding, expected_s, 0.0, outstanding < most, hands.myself))
                continue
            outstanding += load.outstanding
            usable = outstanding < most and not load.paused
            still_s = now - load.progressed_at
            room = Room(hands.peer, outstanding, expected_s + load.expected_s, still_s, usable, hands.myself)
            (draining if load.draining else rooms).append(room)
        # When all of them drain, so do we, and what waits here may still run.
        return rooms or draining

    def _tell_waiting(self) -> list[Effect]:
        if self._waiting == self._waiting_told:
            return []
        self._waiting_told = self._waiting
        return [Waiting(self._waiting)]

    # -- to look at ---------------------------------------------------------------------------------------------

    @property
    def waiting(self) -> int:
        """How many jobs wait for room."""
        return self._waiting

    def holds(self, worker: Peer, serial: int) -> bool:
        """Whether that worker holds that job, and somebody still waits for it."""
        hands = self._workers.get(worker)
        entry = None if hands is None else hands.jobs.get(serial)
        return entry is not None and not entry.settled

    def expected_s(self, label: str) -> float:
        """How long a job of that label is expected to occupy its worker, in seconds."""
        return self._habits.expected_s(label)

    def jobs(self, now: float) -> list[JobView]:
        """The unsettled jobs, oldest first."""
        return [
            JobView(
                id=entry.job.id,
                label=entry.job.kind.label,
                state="queued" if entry.hands is None else "sent",
                worker=None if entry.hands is None else entry.hands.peer,
                age_s=now - entry.submitted_at,
                remaining_s=entry.job.deadline - now,
            )
            for _, entry in sorted(self._all().items())
            if not entry.settled
        ]

    def _all(self) -> dict[int, Entry]:
        lanes = [lane.entries for lane in self._lanes.values()]
        hands = [hands.jobs for hands in self._workers.values()]
        return {serial: entry for entries in [*lanes, *hands] for serial, entry in entries.items()}

    def check(self) -> None:
        """Assert the conservation of jobs (invariant 6) and of load."""
        lanes = list(self._lanes.values())
        assert all(lane.entries for lane in lanes), "an empty lane"
        assert all(kind == lane.kind for kind, lane in self._lanes.items()), "a lane stands for another kind"
        queued = [entry for lane in lanes for entry in lane.entries.values()]
        assert self._waiting == len(queued), "the waiting are miscounted"
        assert all(entry.hands is None and not entry.settled for entry in queued), "sent or settled, and yet it waits"
        assert all(list(lane.entries) == sorted(lane.entries) for lane in lanes), "a lane lost its order"
        of_kind = [(entry.job.kind, lane.kind) for lane in lanes for entry in lane.entries.values()]
        assert all(mine == kind for mine, kind in of_kind), "a job waits among another kind"
        held = [entry for hands in self._workers.values() for entry in hands.jobs.values()]
        assert len(self._all()) == len(queued) + len(held), "a job is in two places"
        for peer, hands in self._workers.items():
            assert hands.peer == peer, "a worker stands under another's name"
            assert all(entry.job.serial == serial for serial, entry in hands.jobs.items()), "a job has another's serial"
            assert all(entry.hands is hands for entry in hands.jobs.values()), "a job does not know who holds it"
            total = sum(entry.expected_s for entry in hands.jobs.values())
            assert hands.expected_s == total, "the load does not add up"
