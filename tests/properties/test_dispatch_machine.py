"""Several dispatchers, the wire between them and model workers, and everything that can go wrong on it.

The bundle is messages in flight: one handle per message, naming its line. Lines keep their order, different lines
overtake each other freely. Jobs are handed in, sent and answered in batches. What is asserted at every step is content
(an answer echoes its own job), conservation (nobody's load is lost or invented), promptness (one settlement per
accepted job, by its deadline), at most one run of what is not idempotent, the bounds on what may wait, and that each
job went to a worker of least expected work, told by an oracle of its own that places one job after the other.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import event, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, multiple, rule

from workers.dispatch import Dispatcher
from workers.jobs import Cancelled, Failed, Job, JobId, Kind, Outcome, Peer, Rejected, Returned, TimedOut, WorkerLost
from workers.policy import Limits, Load
from workers.stimuli import (
    Answer,
    Answered,
    AnswersLater,
    CancelAsked,
    Closing,
    DeadlinePassed,
    DrainAsked,
    Effect,
    JobView,
    Occupy,
    RoomMade,
    Send,
    SendCancel,
    Settle,
    Submitted,
    Waiting,
    WorkerDown,
    WorkerUp,
)
from workers.suspensions import Suspensions
from workers.wire import Answers, Dispatch, Frame, Later, Results, Withdraw, Word, decode, encode

UNKNOWN_S = 10 * 2.0**-10
LIMITS = Limits(
    max_queued=6,
    max_pool_queued=9,
    max_outstanding=8,
    stall_s=0.05,
    later_stall_s=10.0,
    patience_s=0.5,
    unknown_s=UNKNOWN_S,
)
COSTS_S = {"quick": 0.0004, "slow": 0.02, "later": 0.0}
ATTENDANT = Peer("attendant", 1)
DOOR = "door"
"""Who takes directed jobs only."""
GRAIN_S = 2.0**-20
TINY = 1e-9

Line = tuple[Peer, Peer]
News = WorkerUp | WorkerDown
Message = bytes | tuple[str, Peer, int]
Total = tuple[float, int, float, bool]

SORTS = st.tuples(
    st.sampled_from(sorted(COSTS_S)),
    st.booleans(),
    st.integers(-1, 1),
    st.sampled_from([None, None, None, None, None, 0, 1, 2, 3]),
)
"""Label, whether idempotent, priority, and whom it is directed at."""


@dataclass
class ModelWorker:
    peer: Peer
    slot: int
    progressed_at: float
    quick_at: float = 0.0
    in_hand: dict[JobId, tuple[Job, bool]] = field(default_factory=dict)
    said_later: set[JobId] = field(default_factory=set)
    paused: bool = False
    draining: bool = False
    closing: bool = False


@dataclass
class Origin:
    peer: Peer
    slot: int
    dispatcher: Dispatcher
    waiters: Suspensions[Job]
    accepted: dict[JobId, Job] = field(default_factory=dict)
    submitted_at: dict[JobId, float] = field(default_factory=dict)
    settled: dict[JobId, Outcome] = field(default_factory=dict)
    # What the oracle believes, told by effects and stimuli alone.
    alive: dict[Peer, int] = field(default_factory=dict)
    dead: set[Peer] = field(default_factory=set)
    closing: set[Peer] = field(default_factory=set)
    given_back: Counter[JobId] = field(default_factory=Counter)
    held: dict[JobId, tuple[Peer, float]] = field(default_factory=dict)
    may_send: Counter[JobId] = field(default_factory=Counter)
    looked: dict[int, Load] = field(default_factory=dict)
    # Who was given something last, and who else was there.
    used: tuple[Peer, list[Peer]] | None = None
    serial: int = 0
    waiting: int = 0
    late: int = 0
    reruns: int = 0
    refusing: str | None = None
    usual_s: dict[str, float] = field(default_factory=dict)

    def learn(self, label: str, occupied_s: float) -> None:
        """The newest running time counts a fifth; running anything takes ten microseconds."""
        sample = max(occupied_s, 1e-5) if occupied_s > 0.0 else 0.0
        usual_s = self.usual_s.get(label, sample)
        usual_s += (sample - usual_s) / 5
        self.usual_s[label] = 0.0 if sample == 0.0 and usual_s < 1e-5 else usual_s

    def own(self, worker: Peer) -> tuple[int, float]:
        mine = [expected_s for peer, expected_s in self.held.values() if peer == worker]
        return len(mine), sum(mine)


class Pool(RuleBasedStateMachine):
    in_flight = Bundle("in_flight")
    jobs = Bundle("jobs")

    @initialize(target=in_flight, workers=st.integers(1, 3), origins=st.integers(1, 3), taught=st.booleans())
    def begin(self, workers: int, origins: int, taught: bool) -> object:
        self.now = 100.0
        self.lines: dict[Line, deque[Message]] = defaultdict(deque)
        self.board: dict[tuple[int, int], tuple[int, float]] = {}
        self.waits: dict[int, int] = {}
        self.origins: dict[Peer, Origin] = {}
        self.workers: dict[Peer, ModelWorker] = {}
        self.handles: list[Line] = []
        for number in range(1, origins + 1):
            peer, slot = Peer(f"sip-{number}", 1), 10 + number
            self.origins[peer] = Origin(peer, slot, Dispatcher(peer, LIMITS, favourite=slot), Suspensions())
        for number in range(1, workers + 1):
            self.start(Peer(f"worker-{number}", 1), number)
        self.start(Peer(DOOR, 1), 9)
        if taught:
            self.teach()
        return self.new_handles()

    def teach(self) -> None:
        """Let every origin see every label once, so that what follows is placed by what is known."""
        for one in self.origins.values():
            for label in COSTS_S:
                self.come_to_rest()
                self.hand_in(one, [(label, False, 0, None)], timeout_s=1.0)
        self.come_to_rest()
        self.handles.clear()

    # -- what people do -------------------------------------------------------------------------------------------

    @rule(
        target=jobs,
        origin=st.integers(0, 2),
        sorts=st.lists(SORTS, min_size=1, max_size=3),
        repeated=st.integers(1, 6),
        mixed=st.booleans(),
        timeout_s=st.floats(0.01, 2.0) | st.sampled_from([0.3, 1.0]),
    )
    def submit(
        self,
        origin: int,
        sorts: list[tuple[str, bool, int, int | None]],
        repeated: int,
        mixed: bool,
        timeout_s: float,
    ) -> object:
        one = list(self.origins.values())[origin % len(self.origins)]
        batch = sorts * repeated if mixed else [sort for sort in sorts for _ in range(repeated)]
        return multiple(*self.hand_in(one, batch, timeout_s))

    def hand_in(self, one: Origin, batch: list[tuple[str, bool, int, int | None]], timeout_s: float) -> list[JobId]:
        jobs, names = [], list(self.workers)
        for label, idempotent, priority, directed in batch:
            one.serial += 1
            to = None if directed is None or not names else names[directed % len(names)]
            kind = Kind("echo", label, idempotent, priority, to)
            payload = f"{one.peer}.{one.serial} {label}".encode()
            origin = one.peer if one.serial % 2 else Peer(one.peer.name, one.peer.incarnation)
            job = Job(origin, one.serial, kind, payload, self.now + timeout_s)
            one.accepted[job.id], one.submitted_at[job.id], one.may_send[job.id] = job, self.now, 1
            one.waiters.suspend(job.serial, job, job.deadline)
            jobs.append(job)
        before, elsewhere = one.waiting, sum(self.waits.values()) - self.waits.get(one.slot, 0)
        self.perform(one, one.dispatcher.handle(Submitted(jobs, self.now, self.loads(one), elsewhere)))
        self.kept_the_bounds(one, jobs, before, min(LIMITS.max_queued, LIMITS.max_pool_queued - elsewhere))
        if one.refusing is not None:
            assert all(one.settled[job.id] == Rejected(one.refusing) for job in jobs)
        if any(job.kind.to is None for job in jobs):
            self.waits_only_without_room(one)
        return [job.id for job in jobs]

    def kept_the_bounds(self, one: Origin, jobs: list[Job], before: int, room: int) -> None:
        """What comes new waits only within the bounds, and is turned away only at them."""
        assert one.waiting <= max(before, room, 0), "too many wait"
        refused = [job for job in jobs if one.settled.get(job.id) == Rejected("queue is full")]
        for job in refused:
            if job.kind.to is None:
                assert one.waiting >= room, "turned away though there was room to wait"
                slow = one.dispatcher.expected_s(job.kind.label) > 2 * LIMITS.budget_s
                rooms = [self.has_room(total) for total in self.totals(one).values()]
                assert slow or not any(rooms), "a quick job was turned away though there was room"
            else:
                assert one.own(job.kind.to)[0] >= LIMITS.max_queued
        event("some turned away" if refused else "all taken in")
        if refused and room < LIMITS.max_queued:
            event("turned away for what waits elsewhere")

    @rule(job=jobs)
    def cancel(self, job: JobId) -> None:
        one = self.origins[job.origin]
        before = job in one.settled
        self.perform(one, one.dispatcher.handle(CancelAsked(job.serial, "asked")))
        assert job in one.settled
        assert before or one.settled[job] == Cancelled("asked")
        event("cancelled" if not before else "cancelled too late")

    @rule(
        origin=st.integers(0, 2),
        how=st.sampled_from(["again", "a stranger's", "another life's"]),
        count=st.integers(1, 2),
    )
    def hand_in_what_is_not_new(self, origin: int, how: str, count: int) -> None:
        one = list(self.origins.values())[origin % len(self.origins)]
        who = {
            "again": one.peer,
            "a stranger's": Peer("sip-9", one.peer.incarnation),
            "another life's": Peer(one.peer.name, one.peer.incarnation + 1),
        }[how]
        serial = one.serial if how == "again" else one.serial + 1
        jobs = [Job(who, serial, Kind("echo", "quick"), b"", self.now + 1.0)] * count
        with pytest.raises(ValueError, match=f"^{re.escape(str(jobs[0].id))} is not a new job of {one.peer}$"):
            one.dispatcher.handle(Submitted(jobs, self.now, self.loads(one)))

    @rule(origin=st.integers(0, 2), luck=st.integers(0, 9), reason=st.sampled_from(["restarting", "moving"]))
    def drain(self, origin: int, luck: int, reason: str) -> None:
        """From then on it takes nothing, and what it took ends as ever."""
        if not luck:
            one = list(self.origins.values())[origin % len(self.origins)]
            assert one.dispatcher.handle(DrainAsked(reason)) == []
            one.refusing = reason

    @rule(target=in_flight, origin=st.integers(0, 2), luck=st.integers(0, 9))
    def close(self, origin: int, luck: int) -> object:
        if luck:
            return multiple()
        one = list(self.origins.values())[origin % len(self.origins)]
        left = sorted(set(one.accepted) - set(one.settled))
        effects = one.dispatcher.handle(Closing("shutdown"))
        told = [effect.serial for effect in effects if isinstance(effect, SendCancel)]
        assert sorted(told) == [job_id.serial for job_id in left if job_id in one.held]
        ended = [serial for effect in effects if isinstance(effect, Settle) for serial, _ in effect.outcomes]
        assert ended == [job_id.serial for job_id in left], "they end in the order in which they came"
        self.perform(one, effects)
        assert all(one.settled[job_id] == Cancelled("shutdown") for job_id in left)
        one.refusing = "shutdown"
        event(f"closed with {min(len(left), 3)} jobs left")
        return self.new_handles()

    @rule(target=in_flight, passed_s=st.sampled_from([0.0001, 0.003, 0.02, 0.3, 1.0, 3.0]))
    def let_time_pass(self, passed_s: float) -> object:
        self.now += passed_s
        self.notice_deadlines()
        return self.new_handles()

    def notice_deadlines(self) -> None:
        for one in self.origins.values():
            for serial in one.waiters.expired(self.now):
                self.perform(one, one.dispatcher.handle(DeadlinePassed(serial)))
                event("timed out")
            self.look_for_room(one)

    # -- messages -------------------------------------------------------------------------------------------------

    @rule(target=in_flight)
    def sent(self) -> object:
        """Hands out the handles of what was sent since."""
        return self.new_handles()

    @rule(target=in_flight, line=consumes(in_flight))
    def deliver(self, line: Line) -> object:
        if self.lines[line]:
            self.arrive(line, self.lines[line].popleft())
        return self.new_handles()

    @rule(target=in_flight)
    def deliver_the_oldest_of_each(self) -> object:
        for line in [line for line, messages in self.lines.items() if messages]:
            self.arrive(line, self.lines[line].popleft())
        return self.new_handles()

    @rule(target=in_flight, line=consumes(in_flight), passed_s=st.sampled_from([0.003, 0.3, 1.0]))
    def deliver_before_the_time_is_noticed(self, line: Line, passed_s: float) -> object:
        self.now += passed_s
        if self.lines[line]:
            self.arrive(line, self.lines[line].popleft())
        self.notice_deadlines()
        return self.new_handles()

    @rule(line=in_flight)
    def duplicate(self, line: Line) -> None:
        if self.lines[line]:
            event("duplicated")
            self.arrive(line, self.lines[line][0])

    # -- what workers do ------------------------------------------------------------------------------------------

    @rule(
        target=in_flight,
        worker=st.integers(0, 3),
        ends=st.lists(
            st.tuples(
                st.integers(0, 7),
                st.sampled_from(["return", "return", "return", "fail", "later", "came too late", "give back"]),
            ),
            min_size=1,
            max_size=6,
        ),
        closes=st.integers(0, 9),
    )
    def work(self, worker: int, ends: list[tuple[int, str]], closes: int) -> object:
        """Some of what a worker holds comes to an end, and is told in one frame for each origin."""
        model = list(self.workers.values())[worker % len(self.workers)] if self.workers else None
        if model is None:
            return multiple()
        told = []
        for which, how in ends:
            if how == "give back" and closes:
                continue  # only who closes does so
            left = [job for job, _ in model.in_hand.values() if job.id not in [job.id for job, _ in told]]
            if left:
                told.append((left[which % len(left)], how))
        self.answer(model, told)
        return self.new_handles()

    @rule(worker=st.integers(0, 3), paused=st.sampled_from([False, False, True]))
    def pause(self, worker: int, paused: bool) -> None:
        if self.workers:
            list(self.workers.values())[worker % len(self.workers)].paused = paused

    @rule(worker=st.integers(0, 3), luck=st.integers(0, 2))
    def begin_to_end(self, worker: int, luck: int) -> None:
        """A worker that is about to end says so on the board, and gets jobs only while all do."""
        if self.workers and not luck:
            list(self.workers.values())[worker % len(self.workers)].draining = True

    @rule(
        target=in_flight,
        worker=st.integers(0, 3),
        restart=st.booleans(),
        early=st.booleans(),
        politely=st.booleans(),
        luck=st.integers(0, 2),
    )
    def kill(self, worker: int, restart: bool, early: bool, politely: bool, luck: int) -> object:
        """The process ends, its inbox with it; what it said before is still under way."""
        if luck or not self.workers:
            return multiple()
        self.end(list(self.workers.values())[worker % len(self.workers)], restart, early, politely)
        return self.new_handles()

    def end(self, model: ModelWorker, restart: bool, early: bool = False, politely: bool = False) -> None:
        if politely:
            model.closing = True
            self.answer(model, [(job, "give back") for job, _ in model.in_hand.values()])
        del self.workers[model.peer]
        event(f"killed with {min(len(model.in_hand), 3)} jobs in hand")
        next_life = Peer(model.peer.name, model.peer.incarnation + 1)
        if restart and early:
            self.start(next_life, model.slot)
        for one in self.origins.values():
            self.lines[one.peer, model.peer].clear()
            self.send((ATTENDANT, one.peer), ("down", model.peer, model.slot))
        if restart and not early:
            self.start(next_life, model.slot)

    @rule(target=in_flight, job=jobs, times=st.integers(1, 3), at_its_deadline=st.booleans())
    def kill_whoever_has(self, job: JobId, times: int, at_its_deadline: bool) -> object:
        """It runs again if it may, and that at most once, and not when its deadline has come."""
        for _ in range(times):
            self.deliver_everything()
            holder = next((model for model in self.workers.values() if job in model.in_hand), None)
            if holder is None:
                break
            if at_its_deadline:
                self.now = max(self.now, self.origins[job.origin].accepted[job].deadline)
            self.end(holder, restart=True)
        self.deliver_everything()
        self.notice_deadlines()
        return self.new_handles()

    def deliver_everything(self) -> None:
        for _ in range(200):
            for line in [line for line, messages in self.lines.items() if messages]:
                self.arrive(line, self.lines[line].popleft())
            if not any(self.lines.values()):
                return
        raise AssertionError("there is always more to say")

    @rule(worker=st.integers(0, 2))
    def restart(self, worker: int) -> None:
        name, slot = f"worker-{worker + 1}", worker + 1
        if all(model.slot != slot for model in self.workers.values()):
            lives = [line[1].incarnation for line in self.lines if line[1].name == name]
            self.start(Peer(name, max(lives, default=0) + 1), slot)

    @rule(
        target=in_flight, worker=st.integers(1, 3), incarnation=st.integers(1, 3), what=st.sampled_from(["up", "down"])
    )
    def announce_again(self, worker: int, incarnation: int, what: str) -> object:
        """What was told before: a life that is over begins or ends, or one that is here begins."""
        peer = Peer(f"worker-{worker}", incarnation)
        for one in self.origins.values():
            if peer in one.dead or (peer in one.alive and what == "up"):
                self.send((ATTENDANT, one.peer), (what, peer, worker))
                event("announced the dead" if peer in one.dead else "announced again")
        return self.new_handles()

    @rule(worker=st.integers(1, 3))
    def tell_of_the_dead_again(self, worker: int) -> None:
        """The last death first, and then that all of them were here."""
        for one in self.origins.values():
            gone = sorted((peer for peer in one.dead if peer.name == f"worker-{worker}"), reverse=True)
            for what, peer in [("down", peer) for peer in gone] + [("up", peer) for peer in gone]:
                self.hear_attendant(one, what, peer, worker)

    @rule(
        origin=st.integers(0, 2),
        which=st.integers(0, 5),
        ahead=st.integers(-3, 1),
        what=st.sampled_from(["later", "returned", "given back"]),
    )
    def hear_what_is_not_so(self, origin: int, which: int, ahead: int, what: str) -> None:
        """A word on a job from one who does not have it: it comes late, and changes nothing."""
        one = list(self.origins.values())[origin % len(self.origins)]
        serial = one.serial + ahead
        peers = [*one.alive, *sorted(one.dead), Peer("worker-9", 1)]
        sender = peers[which % len(peers)]
        if one.held.get(JobId(one.peer, serial), (None, 0.0))[0] == sender:
            return
        returned = None if what == "given back" else Returned(b"no answer of its", sender, 0.001)
        self.hear_worker(one, sender, Later(serial) if what == "later" else Answers([(serial, returned, 0.001)]))

    # -- the model ------------------------------------------------------------------------------------------------

    def start(self, peer: Peer, slot: int) -> None:
        self.workers[peer] = ModelWorker(peer, slot, self.now)
        for one in self.origins.values():
            _ = self.lines[one.peer, peer]
            self.send((ATTENDANT, one.peer), ("up", peer, slot))

    def come_to_rest(self) -> None:
        for _ in range(2000):
            for line in [line for line, messages in self.lines.items() if messages]:
                self.arrive(line, self.lines[line].popleft())
            for model in self.workers.values():
                self.answer(model, [(job, "return") for job, _ in model.in_hand.values()])
            if not any(self.lines.values()):
                return
        raise AssertionError("it never comes to rest")

    def send(self, line: Line, message: Message) -> None:
        self.lines[line].append(message)
        self.handles.append(line)

    def new_handles(self) -> object:
        handles, self.handles = self.handles, []
        return multiple(*handles)

    def loads(self, one: Origin) -> dict[int, Load]:
        found = {}
        for model in self.workers.values():
            cells = [cell for (origin, slot), cell in self.board.items() if slot == model.slot and origin != one.slot]
            outstanding, expected_s = sum(cell[0] for cell in cells), sum(cell[1] for cell in cells)
            own = model.progressed_at, model.paused, model.draining, model.quick_at
            found[model.slot] = Load(model.slot, outstanding, expected_s, *own)
        # A look that shows the same is the same look, as it is for a while in a process.
        if found != one.looked:
            one.looked = found
        return one.looked

    def arrive(self, line: Line, message: Message) -> None:
        sender, receiver = line
        if isinstance(message, tuple):
            self.hear_attendant(self.origins[receiver], *message)
            return
        frame = decode(message, receiver, {}, 10_000)
        assert isinstance(frame, Frame)
        assert frame.sender == sender
        for word in frame.words:
            if receiver in self.origins:
                self.hear_worker(self.origins[receiver], sender, word)
            elif receiver in self.workers:
                self.hear_origin(self.workers[receiver], sender, word)

    def hear_origin(self, model: ModelWorker, sender: Peer, word: Word) -> None:
        match word:
            case Dispatch(jobs, weighed):
                for job in jobs:
                    assert job == self.origins[sender].accepted[job.id], "another job arrived than was sent"
                    model.in_hand.setdefault(job.id, (job, weighed))
            case Withdraw(serial):
                if held := model.in_hand.get(JobId(sender, serial)):
                    self.answer(model, [(held[0], "withdrawn")])

    def answer(self, model: ModelWorker, ends: list[tuple[Job, str]]) -> None:
        words: dict[Peer, list[Word]] = defaultdict(list)
        for job, how in ends:
            cost_s, quiet = COSTS_S[job.kind.label] * (1 + job.serial % 3 / 4), words[job.origin]
            model.progressed_at = self.now
            if job.kind.to is None and cost_s <= 2 * LIMITS.budget_s:
                model.quick_at = self.now
            match how:
                case "later":
                    if model.in_hand[job.id][1] and job.id not in model.said_later:
                        model.said_later.add(job.id)
                        quiet.append(Later(job.serial))
                    continue
                case "came too late" if self.now < job.deadline:
                    continue
                case "return":
                    self.returns(quiet, job, b"echo " + job.payload, cost_s)
                case _:
                    self.says(quiet, self.end_of(model.peer, job, how, cost_s))
            del model.in_hand[job.id]
        for origin, said in words.items():
            if said:
                self.send((model.peer, origin), encode(model.peer, said))

    def returns(self, words: list[Word], job: Job, payload: bytes, cost_s: float) -> None:
        if not (words and isinstance(words[-1], Results)):
            words.append(Results([], [], []))
        last = words[-1]
        assert isinstance(last, Results)
        last.serials.append(job.serial)
        last.payloads.append(payload)
        last.elapsed_s.append(cost_s)

    def says(self, words: list[Word], answer: Answer) -> None:
        if words and isinstance(words[-1], Answers):
            words[-1] = Answers([*words[-1].answers, answer])
        else:
            words.append(Answers([answer]))

    def end_of(self, worker: Peer, job: Job, how: str, cost_s: float) -> Answer:
        match how:
            case "fail":
                return (job.serial, Failed("Oops", job.payload.decode(), worker, cost_s, "trace"), cost_s)
            case "withdrawn":
                return (job.serial, Cancelled("withdrawn"), 0.0)
            case "came too late":
                return (job.serial, TimedOut(0.0), 0.0)
            case _:
                return (job.serial, None, 0.0)

    def hear_attendant(self, one: Origin, what: str, peer: Peer, slot: int) -> None:
        before = dict(one.alive)
        if what == "up":
            # A life is announced while an earlier one is thought alive, and a word told twice can announce the dead.
            if peer not in one.dead and peer not in one.alive:
                for former in [former for former in one.alive if former.name == peer.name]:
                    self.one_died(one, former)
                    event("the next life came first")
                one.alive[peer] = slot
            executes = peer.name != DOOR
            self.perform(one, one.dispatcher.handle(WorkerUp(peer, slot, executes, self.now, self.loads(one))))
        else:
            self.one_died(one, peer)
            self.perform(one, one.dispatcher.handle(WorkerDown(peer, "killed", self.now, self.loads(one))))
        if one.alive == before:
            self.look_for_room(one)
        self.waits_only_without_room(one)

    def one_died(self, one: Origin, peer: Peer) -> None:
        one.dead.add(peer)
        if one.alive.pop(peer, None) is None:
            return
        for job_id in [job_id for job_id, (worker, _) in one.held.items() if worker == peer]:
            del one.held[job_id]
            job = one.accepted[job_id]
            if job.kind.idempotent and job.kind.to is None and self.runs(one, job_id) < 2:
                one.may_send[job_id] += 1
                one.reruns += job_id not in one.settled and self.now < job.deadline
                event("may run again")

    def runs(self, one: Origin, job_id: JobId) -> int:
        """How often a job may have begun to run."""
        return self.sends[job_id] - one.given_back[job_id]

    def hear_worker(self, one: Origin, sender: Peer, word: Word) -> None:
        match word:
            case Answers(answers):
                self.hear_answers(one, sender, answers)
            case Later(serial):
                job_id = JobId(one.peer, serial)
                if one.held.get(job_id, (None, 0.0))[0] == sender:
                    one.held[job_id] = (sender, 0.0)
                    one.learn(one.accepted[job_id].kind.label, 0.0)
                else:
                    one.late += 1
                self.perform(one, one.dispatcher.handle(AnswersLater(sender, serial)))
        self.look_for_room(one)

    def hear_answers(self, one: Origin, sender: Peer, answers: Sequence[Answer]) -> None:
        self.sound = False
        before, expected = dict(one.settled), dict(one.settled)
        for serial, outcome, occupied_s in answers:
            job_id = JobId(one.peer, serial)
            if one.held.get(job_id, (None, 0.0))[0] != sender:
                one.late += 1
                event("late answer")
                continue
            del one.held[job_id]
            if isinstance(outcome, Returned | Failed):
                one.learn(one.accepted[job_id].kind.label, occupied_s)
            if outcome is None:
                one.closing.add(sender)
                one.may_send[job_id] += 1
                one.given_back[job_id] += 1
                event("given back")
            if serial not in one.waiters:
                one.late += 1
                event("answer to nobody")
            elif outcome is not None and not isinstance(outcome, TimedOut):
                expected[job_id] = outcome
            elif outcome is not None or self.now >= one.accepted[job_id].deadline:
                expected[job_id] = TimedOut(one.accepted[job_id].deadline - one.submitted_at[job_id])
                event("given back too late" if outcome is None else "found too late")
            elif one.accepted[job_id].kind.to is not None:
                expected[job_id] = Rejected(f"{sender} is closing")
        effects = one.dispatcher.handle(Answered(sender, answers, self.now))
        assert not any(isinstance(effect, Send) for effect in effects), "nothing is given out at once"
        self.perform(one, effects)
        self.sound = False
        assert one.settled == expected
        self.sound = True
        event(f"{min(len(answers), 3)} answers in one word settled {min(len(expected) - len(before), 3)}")

    def look_for_room(self, one: Origin) -> None:
        self.perform(one, one.dispatcher.handle(RoomMade(self.now, self.loads(one))))
        self.waits_only_without_room(one)

    # -- the oracles ----------------------------------------------------------------------------------------------

    @property
    def sends(self) -> Counter[JobId]:
        if not hasattr(self, "_sends"):
            self._sends: Counter[JobId] = Counter()
        return self._sends

    def perform(self, one: Origin, effects: list[Effect]) -> None:
        self.sound = False
        words: dict[Peer, list[Word]] = defaultdict(list)
        placed: list[Send] = []
        for effect in effects:
            if placed and not isinstance(effect, Send):
                self.placed_like_one_by_one(one, placed)
                placed = []
            match effect:
                case Occupy(slot, outstanding, expected_s):
                    self.board[one.slot, slot] = (outstanding, expected_s)
                case Waiting(count):
                    assert count != one.waiting, "told twice"
                    one.waiting = self.waits[one.slot] = count
                case Settle(outcomes):
                    assert outcomes
                    for serial, outcome in outcomes:
                        self.settle(one, JobId(one.peer, serial), outcome)
                case Send(worker, jobs, weighed):
                    self.may_be_sent(one, effect)
                    words[worker].append(Dispatch(jobs, weighed))
                    placed.append(effect)
                case SendCancel(worker, serial):
                    job_id = JobId(one.peer, serial)
                    assert one.held[job_id][0] == worker
                    assert job_id in one.settled
                    words[worker].append(Withdraw(serial))
        if placed:
            self.placed_like_one_by_one(one, placed)
        for worker, said in words.items():
            self.send((one.peer, worker), encode(one.peer, said))
        self.told_the_truth(one)
        self.sound = True

    def settle(self, one: Origin, job_id: JobId, outcome: Outcome) -> None:
        told = one.waiters.settle([(job_id.serial, outcome)])
        job = told[0][0] if told else None
        assert job is not None, "settled twice"
        one.settled[job_id] = outcome
        match outcome:
            case Returned(payload, _, _):
                assert payload == b"echo " + job.payload, "another job's answer"
            case Failed(_, message, _, _):
                assert message == job.payload.decode(), "another job's failure"
            case WorkerLost(worker, reason):
                assert worker not in one.alive, "the worker lives"
                assert self.sends[job_id] >= 1, "it was never sent"
                may_run_again = job.kind.idempotent and job.kind.to is None and self.now < job.deadline
                assert not may_run_again or self.runs(one, job_id) >= 2
                next_life = Peer(worker.name, worker.incarnation + 1)
                assert reason == "killed" or (reason == f"{next_life} took its place" and next_life in one.alive)
                event("worker lost")
            case TimedOut(timeout_s):
                assert abs(timeout_s - (job.deadline - one.submitted_at[job_id])) < TINY
                assert self.now >= job.deadline, "timed out early"
            case Rejected(reason):
                self.may_be_rejected(one, job, reason)
                event("rejected: " + reason.split()[-1])

    def may_be_rejected(self, one: Origin, job: Job, reason: str) -> None:
        to, sent = job.kind.to, self.sends[job.id] > 0
        match reason.partition(" is ")[2]:
            case "closing":
                assert sent
                assert reason == f"{to} is closing"
                assert to in one.closing
            case "not there":
                assert reason == f"{to} is not there"
                assert to not in one.alive or to in one.closing
            case "full":
                assert reason == "queue is full"
            case _:
                assert reason == one.refusing
        assert sent == reason.endswith("closing"), "rejected after it was sent"

    def may_be_sent(self, one: Origin, send: Send) -> None:
        worker, kind = send.worker, send.jobs[0].kind
        assert worker in one.alive, "sent to the dead"
        assert worker not in one.closing, "sent to one that gives everything back"
        assert kind.to in (None, worker), "sent to another peer than it was meant for"
        assert all(job.kind == kind for job in send.jobs), "of several kinds"
        assert [job.serial for job in send.jobs] == sorted({job.serial for job in send.jobs}), "out of order"
        assert send.weighed == (one.dispatcher.expected_s(kind.label) > 0.0)
        for job in send.jobs:
            assert job is one.accepted[job.id]
            self.sends[job.id] += 1
            assert job.id not in one.settled, "sent after its end"
            assert job.id not in one.held, "sent while another worker holds it"
            assert self.sends[job.id] <= one.may_send[job.id], "sent once too often"

    def placed_like_one_by_one(self, one: Origin, sends: list[Send]) -> None:
        """What was given out in one go: each job to the least loaded, in the order of their claims.

        Which job of a kind went where does not matter, so only how many did is taken from what was sent.
        """
        left = Counter({(send.worker, send.jobs[0].kind): len(send.jobs) for send in sends})
        assert len(left) == len(sends), "one kind was sent to one worker in two parts"
        jobs = sorted((job for send in sends for job in send.jobs), key=lambda job: (-job.kind.priority, job.serial))
        if len(jobs) > 1:
            event("placed in a batch")
        assert self.may_be_placed(one, jobs, left, self.totals(one)), "another had less to do"
        if jobs[0].kind.to is None:
            self.the_last_is_used_again(one, sends)
        for send in sends:
            for job in send.jobs:
                one.held[job.id] = (send.worker, one.dispatcher.expected_s(job.kind.label))

    def the_last_is_used_again(self, one: Origin, sends: list[Send]) -> None:
        """Whoever was used last goes first among equals, which shows with one job while nobody comes or goes."""
        [first, *others], there = sends, list(self.totals(one))
        if one.used and one.used[1] == there and not others and len(first.jobs) == 1:
            equals = self.who_may_get(one, first.jobs[0], self.totals(one))
            assert first.worker == one.used[0] or one.used[0] not in equals, "not the one that was used last"
            event(f"one of {len(equals)} equals")
        one.used = None if others else (first.worker, there)

    def who_may_get(self, one: Origin, job: Job, totals: dict[Peer, Total]) -> list[Peer]:
        if job.kind.to is not None:
            return [job.kind.to]
        slow = one.dispatcher.expected_s(job.kind.label) > 2 * LIMITS.budget_s and self.leaves_one_free(one, job.id)
        return self.least_loaded(one, totals, slow)

    def may_be_placed(
        self, one: Origin, jobs: Sequence[Job], left: Counter[tuple[Peer, Kind]], totals: dict[Peer, Total]
    ) -> bool:
        """Whether the first of the jobs could have gone to one of those who had least to do, and so on."""
        if not jobs:
            return True
        kind = jobs[0].kind
        expected_s = one.dispatcher.expected_s(kind.label)
        return any(
            self.may_be_placed(
                one,
                jobs[1:],
                left - Counter([(worker, kind)]),
                self.with_one_more(totals, worker, expected_s),
            )
            for worker in self.who_may_get(one, jobs[0], totals)
            if left[worker, kind]
        )

    def leaves_one_free(self, one: Origin, slow: JobId) -> bool:
        """Whether a slow job must: it has not waited long, and some worker ran a quick job lately."""
        quick_at = max((load.quick_at for load in self.loads(one).values()), default=0.0)
        event("a slow job met quick ones" if quick_at > self.now - LIMITS.quick_memory_s else "slow jobs alone")
        is_known = one.accepted[slow].kind.label in one.usual_s
        patience_s = LIMITS.patience_s if is_known else LIMITS.unknown_patience_s
        return self.now - one.submitted_at[slow] < patience_s and quick_at > self.now - LIMITS.quick_memory_s

    def totals(self, one: Origin) -> dict[Peer, Total]:
        """What all have on each worker: seconds, jobs, whether it moves, whether it may be used at all."""
        loads, awake, draining = self.loads(one), {}, {}
        for peer, slot in one.alive.items():
            if peer in one.closing or peer.name == DOOR:
                continue
            load = loads.get(slot, Load(slot, 0, 0.0, self.now))
            jobs, seconds = one.own(peer)
            still_s = self.now - load.progressed_at
            total = (seconds + load.expected_s, jobs + load.outstanding, still_s, not load.paused)
            (draining if load.draining else awake)[peer] = total
        return awake or draining

    def with_one_more(self, totals: dict[Peer, Total], worker: Peer, expected_s: float) -> dict[Peer, Total]:
        if worker not in totals:
            return totals  # it takes directed jobs only, or is about to end
        seconds, jobs, still_s, usable = totals[worker]
        return {**totals, worker: (seconds + expected_s, jobs + 1, still_s, usable)}

    def passes(self, total: Total, most_s: float) -> bool:
        """Whether a worker is idle, or moves and has no more than so much to do."""
        seconds, jobs, still_s, usable = total
        moving = still_s <= (LIMITS.stall_s if seconds > 0.0 else LIMITS.later_stall_s)
        return usable and jobs < LIMITS.max_outstanding and (jobs == 0 or (moving and seconds <= most_s))

    def has_room(self, total: Total) -> bool:
        return self.passes(total, LIMITS.budget_s)

    def least_loaded(self, one: Origin, totals: dict[Peer, Total], slow: bool) -> list[Peer]:
        """Those with room who have the least to do; for a slow job, of those who are not left to quick ones."""
        with_room = {peer: total for peer, total in totals.items() if self.has_room(total)}
        if slow and len(totals) > 1:
            takes = [peer for peer, (_, jobs, _, usable) in totals.items() if usable and jobs < LIMITS.max_outstanding]
            with_room.pop(min(takes, key=lambda peer: one.alive[peer]), None)
        least = min((total[:2] for total in with_room.values()), default=None)
        found = [peer for peer, total in with_room.items() if total[:2] == least]
        return [peer for peer in found if not slow or self.leaves_room(totals, peer)]

    def leaves_room(self, totals: dict[Peer, Total], worker: Peer) -> bool:
        """Whether quick jobs have somebody to go to when that worker is given a slow one."""
        others = [total for peer, total in totals.items() if peer != worker]
        return not others or any(self.passes(total, 2 * LIMITS.budget_s) for total in others)

    def waits_only_without_room(self, one: Origin) -> None:
        queued = [view for view in one.dispatcher.jobs(self.now) if view.state == "queued"]
        assert all(self.sends[view.id] < one.may_send[view.id] for view in queued)
        rooms = [self.has_room(total) for total in self.totals(one).values()]
        slow = []
        for view in queued:
            if one.dispatcher.expected_s(view.label) > 2 * LIMITS.budget_s:
                slow.append((-one.accepted[view.id].kind.priority, view.id.serial, view.id))
            else:
                assert not any(rooms), "a quick job waits though there is room"
        if slow:
            patient = self.leaves_one_free(one, min(slow)[2])
            # A slow job leaves one worker to the quick ones, until it has waited long.
            room = all(rooms) if patient and len(rooms) > 1 else any(rooms)
            assert not (room and rooms), "the first of the slow jobs waits though there is room"

    def told_the_truth(self, one: Origin) -> None:
        for peer, slot in one.alive.items():
            outstanding, expected_s = self.board.get((one.slot, slot), (0, 0.0))
            jobs, seconds = one.own(peer)
            assert outstanding == jobs, "the board shows another number of jobs"
            assert expected_s == seconds, "the board shows another load"

    @invariant()
    def conserved(self) -> None:
        for one in getattr(self, "origins", {}).values():
            one.dispatcher.check()
            unsettled = sorted(set(one.accepted) - set(one.settled))
            assert one.dispatcher.jobs(self.now) == [self.view(one, job_id) for job_id in unsettled]
            assert [job_id.serial for job_id in unsettled] == sorted(one.waiters.serials())
            assert one.waiting == one.dispatcher.waiting == sum(job_id not in one.held for job_id in unsettled)
            assert one.waiting <= LIMITS.max_queued + LIMITS.max_outstanding * 3
            assert (one.dispatcher.late, one.dispatcher.reruns) == (one.late, one.reruns), "miscounted"

    def view(self, one: Origin, job_id: JobId) -> JobView:
        """What people are shown of a job that is not settled."""
        job, worker = one.accepted[job_id], one.held.get(job_id, (None, 0.0))[0]
        age_s, remaining_s = self.now - one.submitted_at[job_id], job.deadline - self.now
        return JobView(job_id, job.kind.label, "queued" if worker is None else "sent", worker, age_s, remaining_s)

    @invariant()
    def what_is_said_of_one(self) -> None:
        for one in getattr(self, "origins", {}).values():
            for worker in [*self.workers, Peer("worker-9", 1)]:
                for serial in {0, 1, one.serial, *[job_id.serial for job_id in one.held]}:
                    job_id = JobId(one.peer, serial)
                    holds = one.held.get(job_id, (None, 0.0))[0] == worker and job_id not in one.settled
                    assert one.dispatcher.holds(worker, serial) == holds
            for label in COSTS_S:
                expected_s, usual_s = one.dispatcher.expected_s(label), one.usual_s.get(label, UNKNOWN_S)
                assert usual_s - TINY <= expected_s <= usual_s + GRAIN_S + TINY, "it was not learnt"

    @invariant()
    def prompt(self) -> None:
        for one in getattr(self, "origins", {}).values():
            for job_id, job in one.accepted.items():
                assert job_id in one.settled or self.now < job.deadline, "past its deadline"

    def teardown(self) -> None:
        """At rest nothing is held: every message arrives, every worker answers, every deadline passes."""
        if not getattr(self, "sound", True):
            return  # it failed already, and what follows would hide where
        for model in self.workers.values():
            model.paused = False
        self.come_to_rest()
        self.let_time_pass(3.0)
        self.conserved()
        self.prompt()
        for one in self.origins.values():
            assert set(one.settled) == set(one.accepted)
            assert not one.held
            assert one.dispatcher.waiting == 0
            assert one.dispatcher.handle(Closing("end")) == []
        assert all(cell == (0, 0.0) for cell in self.board.values()), "load is left behind"


TestPool = Pool.TestCase
TestPool.settings = settings(max_examples=300, stateful_step_count=50, deadline=None)
