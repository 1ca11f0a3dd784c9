"""Several dispatchers, the wire between them and model workers, and everything that can go wrong on it.

The bundle is messages in flight: one handle per message, naming its line. Lines keep their order, different lines
overtake each other freely. What is asserted at every step is content (an answer echoes its own job), conservation
(nobody's load is lost or invented), promptness (one settlement per accepted job, by its deadline), at most one run of
what is not idempotent, and that a job went to a worker of least expected work, told by an oracle of its own.
"""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from dataclasses import dataclass, field

from hypothesis import event, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, multiple, rule

from workers.dispatch import Dispatcher
from workers.jobs import Cancelled, Failed, Job, JobId, Outcome, Peer, Rejected, Returned, TimedOut, WorkerLost
from workers.policy import Limits, Load
from workers.stimuli import (
    Answered,
    AnswersLater,
    CancelAsked,
    Closing,
    DeadlinePassed,
    Effect,
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
from workers.wire import Answer, Dispatch, Frame, Later, Withdraw, Word, decode, encode

LIMITS = Limits(max_queued=6, max_outstanding=8, stall_s=0.05, later_stall_s=10.0, patience_s=0.5)
COSTS_S = {"quick": 0.0004, "slow": 0.02, "later": 0.0}
ATTENDANT = Peer("attendant", 1)
TINY = 1e-9

Line = tuple[Peer, Peer]
News = WorkerUp | WorkerDown
Message = bytes | tuple[str, Peer, int]


@dataclass
class ModelWorker:
    peer: Peer
    slot: int
    progressed_at: float
    quick_at: float = 0.0
    in_hand: dict[JobId, Dispatch] = field(default_factory=dict)
    said_later: set[JobId] = field(default_factory=set)
    runs: Counter[JobId] = field(default_factory=Counter)
    paused: bool = False
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
    serial: int = 0
    waiting: int = 0

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
        self.origins: dict[Peer, Origin] = {}
        self.workers: dict[Peer, ModelWorker] = {}
        self.handles: list[Line] = []
        for number in range(1, origins + 1):
            peer, slot = Peer(f"sip-{number}", 1), 10 + number
            self.origins[peer] = Origin(peer, slot, Dispatcher(peer, LIMITS, turn=slot), Suspensions(peer))
        for number in range(1, workers + 1):
            self.start(Peer(f"worker-{number}", 1), number)
        if taught:
            self.teach()
        return self.new_handles()

    def teach(self) -> None:
        """Let every origin see every label once, so that what follows is placed by what is known."""
        for one in self.origins.values():
            for label in COSTS_S:
                self.come_to_rest()
                self.hand_in(one, label, timeout_s=1.0)
        self.come_to_rest()
        self.handles.clear()

    # -- what people do -------------------------------------------------------------------------------------------

    @rule(
        target=jobs,
        origin=st.integers(0, 2),
        label=st.sampled_from(sorted(COSTS_S)),
        idempotent=st.booleans(),
        priority=st.integers(-1, 1),
        timeout_s=st.floats(0.01, 2.0),
        directed=st.sampled_from([None, None, None, 0, 1, 2]),
        count=st.integers(1, 6),
    )
    def submit(
        self,
        origin: int,
        label: str,
        idempotent: bool,
        priority: int,
        timeout_s: float,
        directed: int | None,
        count: int,
    ) -> object:
        one = list(self.origins.values())[origin % len(self.origins)]
        names = list(self.workers)
        to = None if directed is None or not names else names[directed % len(names)]
        return multiple(*[self.hand_in(one, label, timeout_s, idempotent, priority, to) for _ in range(count)])

    def hand_in(
        self,
        one: Origin,
        label: str,
        timeout_s: float,
        idempotent: bool = False,
        priority: int = 0,
        to: Peer | None = None,
    ) -> JobId:
        one.serial += 1
        job_id = JobId(one.peer, one.serial)
        payload = f"{job_id} {label}".encode()
        job = Job(job_id, "echo", label, payload, self.now + timeout_s, idempotent, priority, to)
        one.accepted[job_id], one.submitted_at[job_id], one.may_send[job_id] = job, self.now, 1
        one.waiters.suspend(job_id, job, job.deadline)
        self.perform(one, one.dispatcher.handle(Submitted(job, self.now, self.loads(one))))
        if to is None:
            self.waits_only_without_room(one)
        return job_id

    @rule(job=jobs)
    def cancel(self, job: JobId) -> None:
        one = self.origins[job.origin]
        before = job in one.settled
        self.perform(one, one.dispatcher.handle(CancelAsked(job, "asked")))
        assert job in one.settled
        assert before or one.settled[job] == Cancelled("asked")
        event("cancelled" if not before else "cancelled too late")

    @rule(target=in_flight, passed_s=st.sampled_from([0.0001, 0.003, 0.02, 0.3, 1.0, 3.0]))
    def let_time_pass(self, passed_s: float) -> object:
        self.now += passed_s
        for one in self.origins.values():
            for job in one.waiters.expired(self.now):
                self.perform(one, one.dispatcher.handle(DeadlinePassed(job)))
                event("timed out")
            self.look_for_room(one)
        return self.new_handles()

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

    @rule(line=in_flight)
    def duplicate(self, line: Line) -> None:
        if self.lines[line]:
            event("duplicated")
            self.arrive(line, self.lines[line][0])

    # -- what workers do ------------------------------------------------------------------------------------------

    @rule(
        target=in_flight,
        worker=st.integers(0, 2),
        which=st.integers(0, 7),
        how=st.sampled_from(["return", "return", "return", "fail", "later"]),
    )
    def work(self, worker: int, which: int, how: str) -> object:
        model = list(self.workers.values())[worker % len(self.workers)] if self.workers else None
        if model is not None and model.in_hand:
            self.answer(model, list(model.in_hand.values())[which % len(model.in_hand)], how)
        return self.new_handles()

    @rule(worker=st.integers(0, 2), paused=st.sampled_from([False, False, True]))
    def pause(self, worker: int, paused: bool) -> None:
        if self.workers:
            list(self.workers.values())[worker % len(self.workers)].paused = paused

    @rule(
        target=in_flight,
        worker=st.integers(0, 2),
        restart=st.booleans(),
        politely=st.booleans(),
        luck=st.integers(0, 2),
    )
    def kill(self, worker: int, restart: bool, politely: bool, luck: int) -> object:
        """The process ends, its inbox with it; what it said before is still under way."""
        if luck or not self.workers:
            return multiple()
        model = list(self.workers.values())[worker % len(self.workers)]
        if politely:
            model.closing = True
            for dispatch in list(model.in_hand.values()):
                self.answer(model, dispatch, "give back")
        del self.workers[model.peer]
        event(f"killed with {min(len(model.in_hand), 3)} jobs in hand")
        for one in self.origins.values():
            self.lines[one.peer, model.peer].clear()
            self.send((ATTENDANT, one.peer), ("down", model.peer, model.slot))
        if restart:
            self.start(Peer(model.peer.name, model.peer.incarnation + 1), model.slot)
        return self.new_handles()

    @rule(worker=st.integers(0, 2))
    def restart(self, worker: int) -> None:
        name, slot = f"worker-{worker + 1}", worker + 1
        if all(model.slot != slot for model in self.workers.values()):
            lives = [line[1].incarnation for line in self.lines if line[1].name == name]
            self.start(Peer(name, max(lives, default=0) + 1), slot)

    @rule(target=in_flight, worker=st.integers(1, 3), incarnation=st.integers(1, 2))
    def announce_the_dead(self, worker: int, incarnation: int) -> object:
        """An announcement that comes again, after the death was told."""
        peer = Peer(f"worker-{worker}", incarnation)
        for one in self.origins.values():
            if peer in one.dead:
                self.send((ATTENDANT, one.peer), ("up", peer, worker))
                event("announced the dead")
        return self.new_handles()

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
                for dispatch in list(model.in_hand.values()):
                    self.answer(model, dispatch, "return")
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
            own = model.progressed_at, model.paused, False, model.quick_at
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
            case Dispatch(job, _):
                assert job == self.origins[sender].accepted[job.id], "another job arrived than was sent"
                model.in_hand.setdefault(job.id, word)
            case Withdraw(serial):
                if dispatch := model.in_hand.get(JobId(sender, serial)):
                    self.answer(model, dispatch, "withdrawn")

    def answer(self, model: ModelWorker, dispatch: Dispatch, how: str) -> None:
        job, cost_s = dispatch.job, COSTS_S[dispatch.job.label]
        model.progressed_at = self.now
        if job.to is None and cost_s <= 2 * LIMITS.budget_s:
            model.quick_at = self.now
        line = model.peer, job.id.origin
        word: Word
        match how:
            case "later":
                if dispatch.weighed and job.id not in model.said_later:
                    model.said_later.add(job.id)
                    self.send(line, encode(model.peer, [Later(job.id.serial)]))
                return
            case "return":
                word = Answer(job.id.serial, Returned(b"echo " + job.payload, model.peer, cost_s), cost_s)
            case "fail":
                word = Answer(job.id.serial, Failed("Oops", job.payload.decode(), model.peer, cost_s), cost_s)
            case "withdrawn":
                word = Answer(job.id.serial, Cancelled("withdrawn"), 0.0)
            case _:
                word = Answer(job.id.serial, None, 0.0)
        del model.in_hand[job.id]
        self.send(line, encode(model.peer, [word]))

    def hear_attendant(self, one: Origin, what: str, peer: Peer, slot: int) -> None:
        before = dict(one.alive)
        if what == "up":
            # The attendant's line keeps its order, so no life is announced while an earlier one is thought alive;
            # a word told twice can still announce the dead.
            if peer not in one.dead:
                one.alive[peer] = slot
            self.perform(one, one.dispatcher.handle(WorkerUp(peer, slot, True, self.now, self.loads(one))))
        else:
            one.dead.add(peer)
            if one.alive.pop(peer, None) is not None:
                for job_id in [job_id for job_id, (worker, _) in one.held.items() if worker == peer]:
                    del one.held[job_id]
                    job = one.accepted[job_id]
                    if job.idempotent and job.to is None and self.runs(one, job_id) < 2:
                        one.may_send[job_id] += 1
                        event("may run again")
            self.perform(one, one.dispatcher.handle(WorkerDown(peer, self.now, self.loads(one))))
        if one.alive == before:
            self.look_for_room(one)
        self.waits_only_without_room(one)

    def runs(self, one: Origin, job_id: JobId) -> int:
        """How often a job may have begun to run."""
        return self.sends[job_id] - one.given_back[job_id]

    def hear_worker(self, one: Origin, sender: Peer, word: Word) -> None:
        match word:
            case Answer(serial, outcome, occupied_s):
                job_id = JobId(one.peer, serial)
                late = one.held.get(job_id, (None, 0.0))[0] != sender
                unsettled = job_id in one.waiters
                before = dict(one.settled)
                if not late:
                    del one.held[job_id]
                    if outcome is None:
                        one.closing.add(sender)
                        one.may_send[job_id] += 1
                        one.given_back[job_id] += 1
                effects = one.dispatcher.handle(Answered(sender, job_id, outcome, occupied_s, self.now))
                assert effects or late, "an answer freed nothing"
                assert not (effects and late), "a late word changed something"
                self.perform(one, effects)
                if late or not unsettled:
                    assert one.settled == before
                    event("late answer" if late else "answer to nobody")
                elif outcome is not None:
                    assert one.settled[job_id] == outcome
                    event(f"settled by {type(outcome).__name__}")
                else:
                    event("given back")
            case Later(serial):
                job_id = JobId(one.peer, serial)
                if one.held.get(job_id, (None, 0.0))[0] == sender:
                    one.held[job_id] = (sender, 0.0)
                self.perform(one, one.dispatcher.handle(AnswersLater(sender, job_id)))
        self.look_for_room(one)

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
        for effect in effects:
            match effect:
                case Occupy(slot, outstanding, expected_s):
                    self.board[one.slot, slot] = (outstanding, expected_s)
                case Waiting(count):
                    one.waiting = count
                case Settle(job_id, outcome):
                    self.settle(one, job_id, outcome)
                case Send(worker, job, weighed):
                    self.dispatch(one, worker, job, weighed)
                case SendCancel(worker, job_id):
                    assert one.held[job_id][0] == worker
                    assert job_id in one.settled
                    self.send((one.peer, worker), encode(one.peer, [Withdraw(job_id.serial)]))
        self.told_the_truth(one)
        self.sound = True

    def settle(self, one: Origin, job_id: JobId, outcome: Outcome) -> None:
        job = one.waiters.settle(job_id)
        assert job is not None, "settled twice"
        one.settled[job_id] = outcome
        match outcome:
            case Returned(payload, _, _):
                assert payload == b"echo " + job.payload, "another job's answer"
            case Failed(_, message, _, _):
                assert message == job.payload.decode(), "another job's failure"
            case WorkerLost(worker):
                assert worker not in one.alive, "the worker lives"
                assert self.sends[job_id] >= 1, "it was never sent"
                assert not job.idempotent or job.to is not None or self.runs(one, job_id) >= 2
                event("worker lost")
            case TimedOut(timeout_s):
                assert abs(timeout_s - (job.deadline - one.submitted_at[job_id])) < TINY
                assert self.now >= job.deadline, "timed out early"
            case Rejected(reason):
                assert self.sends[job_id] == 0 or "closing" in reason, "rejected after it was sent"
                event("rejected: " + reason.split()[-1])

    def dispatch(self, one: Origin, worker: Peer, job: Job, weighed: bool) -> None:
        self.sends[job.id] += 1
        assert job.id not in one.settled, "sent after its end"
        assert job.id not in one.held, "sent while another worker holds it"
        assert self.sends[job.id] <= one.may_send[job.id], "sent once too often"
        assert worker in one.alive, "sent to the dead"
        assert worker not in one.closing, "sent to one that gives everything back"
        expected_s = one.dispatcher.expected_s(job.label)
        assert weighed == (expected_s > 0.0)
        if job.to is not None:
            assert worker == job.to, "sent to another peer than it was meant for"
        else:
            patient = self.leaves_one_free(one, job.id)
            self.went_to_the_least_loaded(one, worker, slow=patient and expected_s > 2 * LIMITS.budget_s)
        one.held[job.id] = (worker, expected_s)
        self.send((one.peer, worker), encode(one.peer, [Dispatch(job, weighed)]))

    def leaves_one_free(self, one: Origin, slow: JobId) -> bool:
        """Whether a slow job must: it has not waited long, and some worker ran a quick job lately."""
        quick_at = max((load.quick_at for load in self.loads(one).values()), default=0.0)
        event("a slow job met quick ones" if quick_at > self.now - LIMITS.quick_memory_s else "slow jobs alone")
        return self.now - one.submitted_at[slow] < LIMITS.patience_s and quick_at > self.now - LIMITS.quick_memory_s

    def totals(self, one: Origin) -> dict[Peer, tuple[float, int, bool, bool]]:
        """What all have on each worker: seconds, jobs, whether one more may go there, whether quick ones pass."""
        loads, found = self.loads(one), {}
        for peer, slot in one.alive.items():
            if peer in one.closing:
                continue
            load = loads.get(slot, Load(slot, 0, 0.0, self.now))
            jobs, seconds = one.own(peer)
            jobs, seconds = jobs + load.outstanding, seconds + load.expected_s
            still_s = self.now - load.progressed_at
            moving = still_s <= (LIMITS.stall_s if seconds > 0.0 else LIMITS.later_stall_s)
            usable = not load.paused and jobs < LIMITS.max_outstanding
            has_room = usable and (jobs == 0 or (moving and seconds <= LIMITS.budget_s))
            free = usable and (jobs == 0 or (moving and seconds <= 2 * LIMITS.budget_s))
            found[peer] = (seconds, jobs, has_room, free)
        return found

    def went_to_the_least_loaded(self, one: Origin, worker: Peer, slow: bool) -> None:
        totals = self.totals(one)
        seconds, jobs, has_room, _ = totals.pop(worker)
        assert has_room, "sent to a worker without room"
        assert not (slow and totals) or any(free for _, _, _, free in totals.values()), "none is left to quick jobs"
        for other, (other_s, other_jobs, other_has_room, _) in totals.items():
            if other_has_room:
                assert seconds <= other_s, f"{other} had less to do"
                assert seconds < other_s or jobs <= other_jobs, f"{other} had fewer jobs"

    def waits_only_without_room(self, one: Origin) -> None:
        queued = [view for view in one.dispatcher.jobs(self.now) if view.state == "queued"]
        assert all(self.sends[view.id] < one.may_send[view.id] for view in queued)
        rooms = [has_room for _, _, has_room, _ in self.totals(one).values()]
        slow = []
        for view in queued:
            if one.dispatcher.expected_s(view.label) > 2 * LIMITS.budget_s:
                slow.append((-one.accepted[view.id].priority, view.id.serial, view.id))
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
            views = one.dispatcher.jobs(self.now)
            assert {view.id for view in views} == set(one.accepted) - set(one.settled)
            assert {view.id for view in views} == set(one.waiters.jobs())
            assert one.waiting == one.dispatcher.waiting == sum(view.state == "queued" for view in views)
            assert one.waiting <= LIMITS.max_queued + LIMITS.max_outstanding * 3
            for view in views:
                assert view.worker == one.held.get(view.id, (None,))[0]

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
            assert all(effect == [] for effect in [one.dispatcher.handle(Closing("end"))])
        assert all(cell == (0, 0.0) for cell in self.board.values()), "load is left behind"


TestPool = Pool.TestCase
TestPool.settings = settings(max_examples=300, stateful_step_count=50, deadline=None)
