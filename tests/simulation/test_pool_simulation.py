"""A whole pool on a virtual clock: real origins and a real load board, model workers, and links that delay.

A discrete-event simulation, told apart from the state machine beside it by its length: thousands of jobs at realistic
rates, with every origin's retries and every worker's queue in play. Chance comes from the seed alone, so that a seed
that fails fails again. The oracles stand in `Pool.settled` and `Pool.is_at_rest`.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pytest
from msgspec.structs import replace

from workers.jobs import Cancelled, Failed, Job, JobId, Kind, Outcome, Peer, Rejected, Returned, TimedOut, WorkerLost
from workers.loads import LoadBoard
from workers.origin import Origin
from workers.policy import Limits, least_expected
from workers.stimuli import Answer
from workers.wire import Answers, Dispatch, Idle, Later, Withdraw, Word

SEEDS = range(20)
ATTENDANT = Peer("attendant", 1)
LIMITS = Limits(max_queued=400, max_pool_queued=600)
BLOCKING_S = 100e-6
"""From so long on a job keeps finished answers waiting, so these go out first."""


@dataclass(frozen=True)
class Sort:
    """Jobs of one label: how they run, and what part of all jobs they are."""

    label: str
    usual_s: float
    weight: float
    later: bool = False


MIXED = (
    Sort("tiny", 30e-6, 50),
    Sort("quick", 300e-6, 40),
    Sort("middling", 3e-3, 6),
    Sort("slow", 30e-3, 1),
    Sort("later", 10e-3, 10, later=True),
)


@dataclass
class Settled:
    """What a caller knows of one of its jobs, and what really happened to it."""

    job: Job
    sort: Sort
    timeout_s: float
    submitted_at: float
    outcome: Outcome | None = None
    cancelled: bool = False
    sent_to: list[Peer] = field(default_factory=list)
    begun: list[tuple[float, Peer]] = field(default_factory=list)
    given_back: int = 0


class Outbox:
    """Stands where an endpoint does: what an origin says in one turn, by peer."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.words: dict[Peer, list[Word]] = defaultdict(list)

    def send(self, peer: Peer, word: Word) -> bool:
        self.words[peer].append(word)
        return True

    def send_jobs(self, peer: Peer, jobs: Sequence[Job], weighed: bool) -> None:
        self.pool.sent(peer, jobs)
        self.send(peer, Dispatch(jobs, weighed))


class SimOrigin:
    """A real `Origin` that takes its turns as `Node` does: when something came, was asked, or is due."""

    def __init__(self, pool: Pool, peer: Peer, slot: int, limits: Limits) -> None:
        self.pool, self.peer, self.slot = pool, peer, slot
        self.outbox = Outbox(pool)
        self.counters: Counter[str] = Counter()
        self.inbox: deque[tuple[Peer, Word | tuple[str, Peer, int]]] = deque()
        self.turn_at = float("inf")
        self.core = Origin(
            peer, slot, pool.board, limits=limits, policy=least_expected, endpoint=self.outbox, counters=self.counters
        )

    def wake(self, at: float) -> None:
        if at < self.turn_at:
            self.turn_at = at
            self.pool.at(at, self.turn)

    def turn(self) -> None:
        now = self.pool.now
        if now < self.turn_at:
            return  # an earlier wish than the one that counts
        self.turn_at = float("inf")
        while self.inbox:
            self.hear(*self.inbox.popleft(), now)
        self.core.tick(now)
        self.core.deliver()
        self.core.hand_in(now)
        for peer, words in self.outbox.words.items():
            self.pool.transmit(self.peer, peer, words)
        self.outbox.words.clear()
        if self.core.settlements:
            self.wake(now)
        self.wake(max(now, self.core.due))

    def hear(self, sender: Peer, word: Word | tuple[str, Peer, int], now: float) -> None:
        match word:
            case Answers(answers):
                self.core.answered(sender, answers, now)
            case Later(serial):
                self.core.answers_later(sender, serial, now)
            case Idle():
                self.core.room_made(now)
            case ("up", peer, slot):
                self.core.worker_up(peer, slot, True, now)
            case ("down", peer, _):
                self.core.worker_down(peer, "killed", now)


class SimWorker:
    """One life of a worker: first in, first out, one blocking job at a time."""

    def __init__(self, pool: Pool, peer: Peer, slot: int) -> None:
        self.pool, self.peer, self.slot = pool, peer, slot
        self.alive, self.closing = True, False
        self.queue: deque[Job] = deque()
        self.held: dict[JobId, bool] = {}
        """Every job that is not answered; whether its origin wants to hear that it answers later."""
        self.awaited: set[JobId] = set()
        self.running: Job | None = None
        self.answers: dict[Peer, list[Answer]] = defaultdict(list)
        self.flushed_at = pool.now
        self.newest: dict[tuple[Peer, Kind], int] = defaultdict(int)
        pool.board.progress(slot, pool.now)
        pool.board.pause(slot, False)

    def hear(self, sender: Peer, word: Word) -> None:
        match word:
            case Dispatch(jobs, weighed):
                for job in jobs:
                    assert job.id not in self.held, "sent twice to one worker"
                    self.held[job.id] = weighed
                    if self.closing:
                        self.answer(job, None, 0.0)
                    else:
                        self.queue.append(job)
                self.go_on()
            case Withdraw(serial):
                self.withdraw(JobId(sender, serial))

    def withdraw(self, job_id: JobId) -> None:
        job = next((job for job in self.queue if job.id == job_id), None)
        if job is not None:
            self.queue.remove(job)
            self.answer(job, Cancelled("withdrawn"), 0.0)
        elif job_id in self.awaited:
            self.awaited.remove(job_id)
            self.answer(self.pool.known[job_id].job, Cancelled("withdrawn"), 0.0)
        self.flush()

    def go_on(self) -> None:
        while self.running is None and self.queue:
            self.begin(self.queue.popleft())
        if self.running is None:
            self.flush()
            self.nudge()

    def begin(self, job: Job) -> None:
        now, known = self.pool.now, self.pool.known[job.id]
        if now >= job.deadline:
            self.answer(job, TimedOut(0.0), 0.0)
            return
        self.in_its_order(known)
        known.begun.append((now, self.peer))
        took_s = known.sort.usual_s * self.pool.chance.lognormvariate(0.0, 0.3)
        if known.sort.later:
            self.await_it(job, took_s)
            return
        if known.sort.usual_s >= BLOCKING_S or now - self.flushed_at >= LIMITS.turn_s:
            self.flush()
        self.running = job
        self.pool.board.progress(self.slot, now, running=True)
        self.pool.at(now + took_s, lambda: self.end(job, took_s))

    def in_its_order(self, known: Settled) -> None:
        """Jobs of one kind and origin begin in the order of their submission, but for those that come back."""
        job = known.job
        if len(known.sent_to) == 1:
            assert job.serial > self.newest[job.origin, job.kind], "overtaken by a later one of its kind"
            self.newest[job.origin, job.kind] = job.serial

    def end(self, job: Job, took_s: float) -> None:
        if not self.alive:
            return
        self.running = None
        self.pool.board.done(self.slot, self.pool.now, 1)
        if job.kind.to is None and took_s <= 2 * LIMITS.budget_s:
            self.pool.board.ran_quick(self.slot, self.pool.now)
        self.answer(job, self.result(job, took_s), took_s)
        self.go_on()

    def result(self, job: Job, took_s: float) -> Returned | Failed:
        if self.pool.chance.random() < 0.02:
            return Failed("Oops", job.payload.decode(), self.peer, took_s)
        return Returned(b"echo " + job.payload, self.peer, took_s)

    def await_it(self, job: Job, took_s: float) -> None:
        if self.held[job.id]:
            self.pool.transmit(self.peer, job.origin, [Later(job.serial)])
        if not self.awaited:
            self.pool.at(self.pool.now + LIMITS.heartbeat_s, self.beat)
        self.awaited.add(job.id)
        self.pool.at(self.pool.now + took_s, lambda: self.end_awaited(job, took_s))

    def end_awaited(self, job: Job, took_s: float) -> None:
        if self.alive and job.id in self.awaited:
            self.awaited.remove(job.id)
            self.pool.board.progress(self.slot, self.pool.now, self.running is not None)
            self.answer(job, self.result(job, took_s), 0.0)
            self.flush()

    def beat(self) -> None:
        if self.alive and self.awaited:
            if self.running is None:  # a loop that is stuck does not get here
                self.pool.board.progress(self.slot, self.pool.now)
            self.pool.at(self.pool.now + LIMITS.heartbeat_s, self.beat)

    def answer(self, job: Job, outcome: Returned | Failed | TimedOut | Cancelled | None, occupied_s: float) -> None:
        if outcome is None:
            self.pool.known[job.id].given_back += 1
        del self.held[job.id]
        self.answers[job.origin].append((job.serial, outcome, occupied_s))

    def flush(self) -> None:
        self.flushed_at = self.pool.now
        for origin, answers in self.answers.items():
            self.pool.transmit(self.peer, origin, [Answers(answers)])
        self.answers.clear()

    def nudge(self) -> None:
        for origin in self.pool.origins.values():
            # Some of these come to nothing: they are only hints, and who waits looks for room without them.
            if self.pool.board.waiting()[origin.slot] and self.pool.chance.random() < self.pool.hints:
                self.pool.transmit(self.peer, origin.peer, [Idle()])

    def retire(self) -> None:
        """End politely: what has not begun is given back, and what runs is awaited."""
        self.closing = True
        while self.queue:
            self.answer(self.queue.popleft(), None, 0.0)
        self.flush()


class Pool:
    """Some origins and workers, everything that is on its way between them, and the clock."""

    def __init__(
        self,
        seed: int,
        *,
        origins: int,
        workers: int,
        sorts: Sequence[Sort] = MIXED,
        limits: Limits = LIMITS,
        hiccups: float = 0.01,
        hints: float = 0.5,
    ) -> None:
        self.chance = random.Random(seed)
        self.now = 1000.0
        self.sorts, self.hiccups, self.hints = sorts, hiccups, hints
        self.events: list[tuple[float, int, Callable[[], None]]] = []
        self.numbers = itertools.count()
        slots = origins + workers
        self.board = LoadBoard(memoryview(bytearray(LoadBoard.size(slots))), slots)
        self.known: dict[JobId, Settled] = {}
        self.told: Counter[JobId] = Counter()
        self.arrives_at: dict[tuple[Peer, Peer], float] = defaultdict(float)
        self.last_words: dict[Peer, deque[tuple[Peer, list[Word]]]] = defaultdict(lambda: deque(maxlen=3))
        self.dead: set[Peer] = set()
        self.origins: dict[Peer, SimOrigin] = {}
        self.workers: dict[str, SimWorker] = {}
        for number in range(origins):
            peer = Peer(f"sip-{number}", 1)
            self.origins[peer] = SimOrigin(self, peer, number, limits)
        for number in range(workers):
            self.start(Peer(f"worker-{number}", 1), origins + number)

    # -- the clock ------------------------------------------------------------------------------------------------

    def at(self, moment: float, action: Callable[[], None]) -> None:
        assert moment >= self.now, "nothing happens in the past"
        heapq.heappush(self.events, (moment, next(self.numbers), action))

    def run(self) -> None:
        """Until nothing more can happen."""
        for number in itertools.count():
            if not self.events:
                return
            self.now, _, action = heapq.heappop(self.events)
            action()
            if number % 500 == 0:
                self.check()
            assert number < 1_000_000, "it never comes to rest"

    def check(self) -> None:
        for origin in self.origins.values():
            origin.core.check()

    # -- what is on its way -----------------------------------------------------------------------------------------

    def transmit(self, sender: Peer, receiver: Peer, words: Sequence[Word | tuple[str, Peer, int]]) -> None:
        """Over one link everything keeps its order; one link knows nothing of another."""
        delay_s = self.chance.uniform(20e-6, 80e-6)
        if self.chance.random() < self.hiccups:
            delay_s += self.chance.uniform(0.0, 0.005)
        moment = max(self.now + delay_s, self.arrives_at[sender, receiver])
        self.arrives_at[sender, receiver] = moment
        self.at(moment, lambda: self.arrive(sender, receiver, words))
        self.last_words[sender].append((receiver, list(words)))

    def arrive(self, sender: Peer, receiver: Peer, words: Sequence[Word | tuple[str, Peer, int]]) -> None:
        origin = self.origins.get(receiver)
        if origin is not None:
            origin.inbox.extend((sender, word) for word in words)
            origin.wake(self.now)
            return
        worker = self.workers.get(receiver.name)
        if worker is not None and worker.peer == receiver and worker.alive:
            for word in words:
                worker.hear(sender, word)

    # -- who comes and goes ---------------------------------------------------------------------------------------

    def start(self, peer: Peer, slot: int) -> None:
        self.workers[peer.name] = SimWorker(self, peer, slot)
        for origin in self.origins.values():
            self.transmit(ATTENDANT, origin.peer, [("up", peer, slot)])

    def kill(self, name: str) -> None:
        """It dies at once with all that it holds; what it said before is still on its way, and some of it twice."""
        worker = self.workers[name]
        if not worker.alive:
            return
        worker.alive = False
        self.dead.add(worker.peer)
        for receiver, words in self.last_words.pop(worker.peer, ()):
            late_s = self.chance.uniform(0.0, 0.05)
            moment = max(self.now + late_s, self.arrives_at[worker.peer, receiver])
            self.at(moment, lambda receiver=receiver, words=words: self.arrive(worker.peer, receiver, words))
        self.at(self.now + self.chance.uniform(0.0002, 0.01), lambda: self.bury(worker))

    def bury(self, worker: SimWorker) -> None:
        self.board.clear_slot(worker.slot)
        for origin in self.origins.values():
            self.transmit(ATTENDANT, origin.peer, [("down", worker.peer, worker.slot)])
        successor = Peer(worker.peer.name, worker.peer.incarnation + 1)
        self.at(self.now + self.chance.uniform(0.0, 0.02), lambda: self.start(successor, worker.slot))

    def retire(self, name: str) -> None:
        worker = self.workers[name]
        if worker.alive and not worker.closing:
            worker.retire()
            self.at(self.now + 0.2, lambda: self.kill(name) if self.workers[name] is worker else None)

    # -- what callers do ------------------------------------------------------------------------------------------

    def submit(self, origin: SimOrigin, sort: Sort, kind: Kind, timeout_s: float) -> Settled:
        number = len(self.known)
        payload = b"%s %d" % (sort.label.encode(), number)
        job = origin.core.submit(kind, payload, timeout_s, self.settled, self.now)
        known = self.known[job.id] = Settled(job, sort, timeout_s, self.now)
        origin.wake(self.now)
        return known

    def submit_some(self, origin: SimOrigin, count: int) -> None:
        """A turn's submissions: a run of one kind, or of several."""
        chance = self.chance
        weights = [sort.weight for sort in self.sorts]
        one_kind = chance.random() < 0.5
        sort = chance.choices(self.sorts, weights)[0]
        for _ in range(count):
            if not one_kind:
                sort = chance.choices(self.sorts, weights)[0]
            to = chance.choice(list(self.workers.values())).peer if chance.random() < 0.03 else None
            kind = Kind("echo", sort.label, chance.random() < 0.3, chance.choice((0, 0, 0, 1)), to)
            timeout_s = chance.uniform(0.001, 0.05) if chance.random() < 0.05 else 60.0
            known = self.submit(origin, sort, kind, timeout_s)
            if chance.random() < 0.02:
                self.at(self.now + chance.uniform(0.0, 0.02), lambda known=known: self.cancel(origin, known))

    def cancel(self, origin: SimOrigin, known: Settled) -> None:
        known.cancelled = origin.core.cancel(known.job.serial, "asked", self.now)
        origin.wake(self.now)

    # -- the oracles ----------------------------------------------------------------------------------------------

    def sent(self, peer: Peer, jobs: Sequence[Job]) -> None:
        for job in jobs:
            known = self.known[job.id]
            assert job is known.job, "another job is sent than was submitted"
            assert known.outcome is None, "sent after its end"
            assert job.kind.to in (None, peer), "sent to another peer than it was meant for"
            known.sent_to.append(peer)
            runs = len(known.sent_to) - known.given_back
            assert runs <= (2 if job.kind.idempotent else 1), "sent once too often"

    def settled(self, job: Job, outcome: Outcome) -> None:
        known = self.known[job.id]
        assert known.outcome is None, "settled twice"
        assert job is known.job
        known.outcome = outcome
        match outcome:
            case Returned(payload, worker, _):
                assert payload == b"echo " + job.payload, "another job's answer"
                assert worker in [worker for _, worker in known.begun], "it never ran there"
            case Failed(_, message, worker, _):
                assert message == job.payload.decode(), "another job's failure"
                assert worker in [worker for _, worker in known.begun], "it never ran there"
            case WorkerLost(worker, reason):
                assert worker in self.dead, "the worker lives"
                assert known.sent_to[-1] == worker, "it was not in the dead worker's hands"
                assert reason == "killed"
                may_again = job.kind.idempotent and job.kind.to is None and self.now < job.deadline
                assert not may_again or len(known.sent_to) - known.given_back == 2, "it may run once more"
            case TimedOut(timeout_s):
                assert self.now >= job.deadline, "too early"
                assert timeout_s == known.timeout_s < 60.0, "lost, and found at its deadline"
            case Cancelled(reason):
                assert (reason, known.cancelled) == ("asked", True)
            case Rejected("queue is full"):
                assert not known.sent_to
            case Rejected():
                assert job.kind.to is not None

    def is_at_rest(self) -> None:
        """Nothing is lost, nothing runs twice that must not, and no load is left behind."""
        self.check()
        for known in self.known.values():
            assert known.outcome is not None, "never settled"
            assert len(known.begun) <= (2 if known.job.kind.idempotent else 1), "run once too often"
            assert len({worker for _, worker in known.begun}) == len(known.begun), "run twice by one worker"
        for origin in self.origins.values():
            assert origin.core.pending() == 0
            assert origin.core.jobs(self.now) == []
            assert origin.counters["lost_jobs"] == origin.counters["callback_errors"] == 0
            mine = [known for known in self.known.values() if known.job.origin == origin.peer]
            assert origin.counters["submitted"] == len(mine)
            outcomes = ("returned", "failed", "worker_lost", "timed_out", "cancelled", "rejected")
            assert sum(origin.counters[name] for name in outcomes) == len(mine)
        for worker in self.workers.values():
            assert [*worker.held, *worker.queue, *worker.awaited, *worker.answers] == []
        assert [(load.outstanding, load.expected_s) for load in self.board.loads()] == [(0, 0.0)] * self.board.slots
        assert self.board.waiting() == [0] * self.board.slots

    def count(self, kind: type[Outcome]) -> int:
        return sum(type(known.outcome) is kind for known in self.known.values())

    def waited_s(self, label: str) -> list[float]:
        """How long jobs of a label waited until they began, the longest last."""
        begun = [known for known in self.known.values() if known.sort.label == label and known.begun]
        return sorted(known.begun[0][0] - known.submitted_at for known in begun)


def quantile(values: list[float], part: float) -> float:
    return values[min(len(values) - 1, int(part * len(values)))]


# -- everything at once -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS)
def test_every_job_is_settled_once_whatever_dies(seed: int) -> None:
    """Three thousand jobs of all sorts at changing rates, with a death or a retirement every tenth of a second."""
    shape = random.Random(seed)
    pool = Pool(seed, origins=shape.choice((1, 2, 3)), workers=shape.choice((1, 2, 3, 4)))
    moment, left = pool.now, 3000
    while left > 0:
        moment += shape.expovariate(50.0 * len(pool.workers) * (1.0 if shape.random() < 0.8 else 10.0))
        count = min(left, shape.choice((1, 1, 1, 2, 5, 20, 100)))
        origin = shape.choice(list(pool.origins.values()))
        pool.at(moment, lambda origin=origin, count=count: pool.submit_some(origin, count))
        left -= count
    ends_at, names = moment, list(pool.workers)
    moment = pool.now + 0.03
    while moment < ends_at:
        victim, end = shape.choice(names), pool.kill if shape.random() < 0.7 else pool.retire
        pool.at(moment, lambda victim=victim, end=end: end(victim))
        moment += shape.expovariate(10.0)
    pool.run()
    pool.is_at_rest()
    assert pool.count(Returned) > 1000, "or nothing was shown"


def crowded(seed: int) -> Pool:
    """More than two workers can do, and one of them dies every twentieth of a second."""
    pool = Pool(seed, origins=2, workers=2)
    for number in range(60):
        origin = list(pool.origins.values())[number % 2]
        pool.at(pool.now + number * 0.01, lambda origin=origin: pool.submit_some(origin, 40))
    for number in range(12):
        pool.at(pool.now + 0.05 * number, lambda number=number: pool.kill(f"worker-{number % 2}"))
    pool.at(pool.now + 0.13, lambda: pool.retire("worker-0"))
    pool.run()
    pool.is_at_rest()
    return pool


def test_the_seeds_reach_every_ending() -> None:
    """What is asserted of an outcome is worth nothing if no job ever has it."""
    pools = [crowded(seed) for seed in (1, 2, 3)]
    known = [known for pool in pools for known in pool.known.values()]
    assert {type(one.outcome) for one in known} == {Returned, Failed, WorkerLost, TimedOut, Cancelled, Rejected}
    assert any(len(one.begun) == 2 for one in known), "no idempotent job was run again"
    assert any(one.given_back and type(one.outcome) is Returned for one in known), "none was given back and ran"
    assert all(sum(origin.counters["late_answers"] for origin in pool.origins.values()) for pool in pools)


def test_a_seed_tells_the_same_story_again() -> None:
    stories = [[(job, known.begun, known.outcome) for job, known in crowded(7).known.items()] for _ in range(2)]
    assert stories[0] == stories[1]


# -- quick jobs beside slow ones --------------------------------------------------------------------------------------

ISOLATED = (Sort("quick", 300e-6, 1), Sort("slow", 50e-3, 1))


def beside_slow_ones(seed: int, origins: int, quick_share: float | None) -> Pool:
    """Three seconds of 200 quick jobs a second on two workers, and slow ones at random that fill half of one."""
    pool = Pool(
        seed,
        origins=origins,
        workers=2,
        sorts=ISOLATED,
        limits=replace(LIMITS, quick_share=quick_share),
        hiccups=0.0,
        hints=1.0,
    )
    kinds = {sort.label: Kind("echo", sort.label) for sort in ISOLATED}
    shape = random.Random(seed)
    for sort, rate in zip(ISOLATED, (200.0, 10.0), strict=True):
        moment = pool.now + (0.0 if sort.label == "quick" else 0.1)
        while (moment := moment + shape.expovariate(rate)) < 1003.0:
            origin = shape.choice(list(pool.origins.values()))
            pool.at(moment, lambda o=origin, s=sort: pool.submit(o, s, kinds[s.label], 60.0) and None)
    pool.run()
    pool.is_at_rest()
    return pool


@pytest.mark.parametrize("origins", [1, 2])
def test_quick_jobs_do_not_wait_for_slow_ones(origins: int) -> None:
    """p99 below a millisecond, and no more than that at worst; without a worker left free, the rest of a slow job."""
    waits: dict[bool, list[float]] = {True: [], False: []}
    for seed in range(5):
        for isolated in waits:
            pool = beside_slow_ones(seed, origins, 0.0 if isolated else None)
            waits[isolated] += pool.waited_s("quick")
            assert max(pool.waited_s("slow")) < 2.0, "slow ones are not starved either"
    quick = sorted(waits[True])
    assert quantile(quick, 0.99) < 0.001
    assert quick[-1] < 0.005, "not one of them met a slow job"
    assert quantile(sorted(waits[False]), 0.99) > 0.010
