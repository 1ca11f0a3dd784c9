"""The origin's side: what this process asked for, from the submission to the turn in which its caller is told."""

from __future__ import annotations

import logging
import math
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import TypeAlias, assert_never

from msgspec import Struct

from workers.dispatch import Dispatcher
from workers.endpoint import Endpoint
from workers.jobs import Cancelled, Failed, Job, Kind, Outcome, Peer, Rejected, Returned, TimedOut, WorkerLost
from workers.loads import LoadBoard
from workers.policy import Limits, Load, Policy
from workers.steps import Step, after, before
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
from workers.wire import MAX_TEXT, OVERHEAD_BYTES, Progress, Withdraw

log = logging.getLogger("layby.workers")

Settled: TypeAlias = Callable[[Job, Outcome], None]
"""Told once how a job ended, always from a turn of the loop and never on the stack that submitted it."""

OnProgress: TypeAlias = Callable[[float, str], None]
"""Told how far a job is: a fraction of 0 to 1, and what its handler says of it."""

_FRESH_S = 100e-6
"""How long a look at the others' load stays good: about the time that a job needs to arrive, so that no job is
placed on older news than it would find on arrival anyway."""

_SOON_S = 0.0005
"""The first retry after a worker said that it is idle, later ones at twice the distance up to ``Limits.retry_s``: its
last origin may not have cleared its cell of the board yet."""


_COUNTER: dict[type[Outcome], str] = {
    Returned: "returned",
    Failed: "failed",
    WorkerLost: "worker_lost",
    TimedOut: "timed_out",
    Cancelled: "cancelled",
    Rejected: "rejected",
}


class _Waiter(Struct, frozen=True, gc=False):
    job: Job
    settled: Settled
    through_pause: bool
    on_progress: OnProgress | None
    timeout_s: float


class Origin:
    """The jobs of this process.

    What is submitted is handed in once a turn, together: one look at the workers serves all of it.

    Args:
        me: this process.
        slot: its slot on the board.
        board: where loads are read and told.
        limits: the bounds.
        policy: which worker a job goes to.
        endpoint: puts words down for peers, to go with the next flush.
        counters: every outcome is counted here.
        on_timed_out: told of each job whose time is over, and how many seconds it had, just before its caller is.
        on_late: told how many answers have come that nobody waits for any more.
    """

    def __init__(
        self,
        me: Peer,
        slot: int,
        board: LoadBoard,
        *,
        limits: Limits,
        policy: Policy,
        endpoint: Endpoint,
        counters: dict[str, int],
        on_timed_out: Callable[[Job, float], object] | None = None,
        on_late: Callable[[int], None] | None = None,
    ) -> None:
        self._me = me
        self._on_timed_out = on_timed_out
        self._slot = slot
        self._board = board
        self._limits = limits
        self._endpoint = endpoint
        self._counters = counters
        self._on_late = on_late
        self._dispatcher = Dispatcher(me, limits, policy=policy, favourite=slot)
        self._suspensions: Suspensions[_Waiter] = Suspensions()
        self._most_payload = limits.max_frame_bytes - 2 * OVERHEAD_BYTES - 8 * MAX_TEXT
        self._serial = 0
        self._executing: dict[Peer, int] = {}
        self.fresh: list[Job] = []
        """What `hand_in` has to hand in."""
        self.settlements: deque[tuple[_Waiter, Outcome | Progress]] = deque()
        self._held_back: deque[tuple[_Waiter, Outcome | Progress]] = deque()
        self._loads: dict[int, Load] = {}
        self._elsewhere = 0
        self._loads_at = -math.inf
        self._retry_at: float | None = None
        self._retry_s = limits.retry_s
        self.paused = False
        """Whether `deliver` holds back what is not to be told through a pause."""
        self.freed = False
        """Whether answers came since the last `tick`."""
        self.due = math.inf
        """When `tick` may have something to do next, or earlier (CLOCK_MONOTONIC seconds)."""

    # -- what is asked of us --------------------------------------------------------------------------------------

    @after(Step.JOB_SUBMITTED)
    def submit(
        self,
        kind: Kind,
        payload: bytes,
        timeout_s: float,
        settled: Settled,
        now: float,
        through_pause: bool = False,
        on_progress: OnProgress | None = None,
    ) -> Job:
        """Take a job in; it is accepted or rejected by the next `hand_in`. See `workers.node.Node.submit`."""
        self._serial = serial = self._serial + 1
        deadline = now + timeout_s
        job = Job(self._me, serial, kind, payload, deadline)
        self._suspensions.suspend(serial, _Waiter(job, settled, through_pause, on_progress, timeout_s), deadline)
        if deadline < self.due:
            self.due = deadline
        if len(payload) > self._most_payload:
            self._reject_too_large(job)
        else:
            self.fresh.append(job)
        return job

    def submit_all(
        self, kind: Kind, payloads: Iterable[bytes], timeout_s: float, settled: Iterable[Settled], now: float
    ) -> list[Job]:
        """Take many jobs of one kind in, as `submit` does one."""
        me, serial, deadline, most = self._me, self._serial, now + timeout_s, self._most_payload
        suspend, fresh, jobs = self._suspensions.suspend, self.fresh, []
        for payload, told in zip(payloads, settled, strict=False):
            serial += 1
            job = Job(me, serial, kind, payload, deadline)
            suspend(serial, _Waiter(job, told, False, None, timeout_s), deadline)
            jobs.append(job)
            if len(payload) > most:
                self._reject_too_large(job)
            else:
                fresh.append(job)
        self._serial = serial
        self.due = min(self.due, deadline)
        return jobs

    def _reject_too_large(self, job: Job) -> None:
        self._counters["submitted"] += 1
        self._settle([(job.serial, Rejected(f"the payload is too large: {len(job.payload)} bytes"))])

    def hand_in(self, now: float) -> None:
        """Hand in what was submitted since the last time."""
        if self.fresh:
            fresh, self.fresh = self.fresh, []
            self._counters["submitted"] += len(fresh)
            loads = self._look(now)
            self._perform(self._dispatcher.handle(Submitted(fresh, now, loads, self._elsewhere)), now)

    @before(Step.CANCEL_ASKED)
    def cancel(self, serial: int, reason: str, now: float) -> bool:
        """Settle a job as Cancelled; False when it is settled already."""
        self.hand_in(now)
        wanted = serial in self._suspensions
        self._perform(self._dispatcher.handle(CancelAsked(serial, reason)), now)
        return wanted

    def drain(self, reason: str, now: float) -> None:
        """Reject every job from now on."""
        self.hand_in(now)
        self._dispatcher.handle(DrainAsked(reason))

    # -- what others say ------------------------------------------------------------------------------------------

    @before(Step.ANSWER_RECEIVED)
    def answered(self, worker: Peer, answers: Sequence[Answer], now: float) -> None:
        """A worker answered."""
        self._perform(self._dispatcher.handle(Answered(worker, answers, now)), now)
        self.freed = True
        self._count_late()

    def answers_later(self, worker: Peer, serial: int, now: float) -> None:
        """A worker began a job that answers later."""
        self._perform(self._dispatcher.handle(AnswersLater(worker, serial)), now)
        self.freed = True
        self._count_late()

    def _count_late(self) -> None:
        late = self._dispatcher.late - self._counters["late_answers"]
        if late:
            self._counters["late_answers"] += late
            if self._on_late is not None:
                self._on_late(late)

    def progressed(self, worker: Peer, progress: Progress) -> None:
        """A worker tells how far a job is; heard only from the one that runs it, and while somebody waits for it."""
        waiter = self._suspensions.waiter(progress.serial)
        if waiter is not None and waiter.on_progress is not None and self._dispatcher.holds(worker, progress.serial):
            self.settlements.append((waiter, progress))

    def room_made(self, now: float) -> None:
        """A worker said that it is idle."""
        if not self._dispatcher.waiting:
            return
        self._loads_at = -math.inf
        self._fill(now)
        if self._dispatcher.waiting:
            self._retry_s = min(_SOON_S, self._limits.retry_s)
            self._retry_within(now)

    def worker_up(self, peer: Peer, slot: int, executes: bool, now: float) -> None:
        """A process can be sent jobs."""
        if executes:
            self._executing[peer] = slot
            self._loads_at = -math.inf
        self._perform(self._dispatcher.handle(WorkerUp(peer, slot, executes, now, self._look(now))), now)

    @before(Step.LOSS_HEARD)
    def worker_down(self, peer: Peer, reason: str, now: float) -> None:
        """A process is dead."""
        self._executing.pop(peer, None)
        self._loads_at = -math.inf
        self._perform(self._dispatcher.handle(WorkerDown(peer, reason, now, self._look(now))), now)
        self._counters["reruns"] = self._dispatcher.reruns

    # -- time -----------------------------------------------------------------------------------------------------

    def tick(self, now: float) -> None:
        """Hand in, give out what answers have made room for, settle what is past its deadline, and retry."""
        if self.fresh:
            self.hand_in(now)
        if self.freed:
            self.freed = False
            if self._dispatcher.waiting:
                self._fill(now)
        if now >= self.due:
            self._on_due(now)

    @before(Step.DEADLINE_SEEN)
    def _on_due(self, now: float) -> None:
        for serial in self._suspensions.expired(now):
            self._perform(self._dispatcher.handle(DeadlinePassed(serial)), now)
            if serial in self._suspensions:
                # Invariant 4 stands whatever the layer below has forgotten; that it has is our fault, so say it.
                log.error("job %s.%d was lost before its deadline", self._me, serial)
                self._counters["lost_jobs"] += 1
                self._settle([(serial, TimedOut(0.0))])
        if self._retry_at is not None and now >= self._retry_at:
            self._retry_at = None
            if self._dispatcher.waiting:
                self._fill(now)
                self._retry_s = min(2 * self._retry_s, self._limits.retry_s)
                self._retry_at = now + self._retry_s if self._dispatcher.waiting else None
        deadline = self._suspensions.next_deadline()
        self.due = min(math.inf if deadline is None else deadline, self._retry_at or math.inf)

    def _fill(self, now: float) -> None:
        self._perform(self._dispatcher.handle(RoomMade(now, self._look(now))), now)

    def _look(self, now: float) -> dict[int, Load]:  # model: look
        if not 0.0 <= now - self._loads_at < _FRESH_S:
            self._loads_at = now
            self._loads = self._board.loads_of(self._executing.values(), self._slot)
            self._elsewhere = self._board.waiting_besides(self._slot)
        return self._loads

    def _perform(self, effects: list[Effect], now: float) -> None:
        # Plain class patterns: picking fields out in the pattern costs half a microsecond each time.
        for effect in effects:
            match effect:
                case Occupy():  # model: occupy, put_on_board
                    self._board.occupy(self._slot, effect.slot, effect.outstanding, effect.expected_s)
                case Send():  # model: look_again_and_send
                    if self._is_leaving(effect):
                        self._take_back(effect, now)
                    else:
                        self._endpoint.send_jobs(effect.worker, effect.jobs, effect.weighed)
                case Settle():  # model: settle
                    self._settle(effect.outcomes)
                case SendCancel():  # model: say_worker
                    self._endpoint.send(effect.worker, Withdraw(effect.serial))
                case Waiting():
                    self._board.wait(self._slot, effect.count)
                    if effect.count and self._retry_at is None:
                        self._retry_s = self._limits.retry_s
                        self._retry_within(now)
                case _:
                    assert_never(effect)

    def _is_leaving(self, send: Send) -> bool:
        """Whether the worker has said that it leaves since the board was looked at, or has left unheard.

        It leaves when nobody has anything on it, and our cell was written before this is asked: so either it sees that,
        and stays, or it is seen here that it leaves. Looked at before alone, its end would come between the look and
        the sending, and take the jobs with it, whenever this process is held up there.
        """
        slot = self._executing.get(send.worker)
        directed = send.jobs[0].kind.to is not None
        if slot is None or slot == self._slot or directed:
            return False
        return self._board.is_leaving(slot, send.worker.incarnation)

    def _take_back(self, send: Send, now: float) -> None:  # model: send_back
        self._loads_at = -math.inf
        self.answered(send.worker, [(job.serial, None, 0.0) for job in send.jobs], now)

    def _retry_within(self, now: float) -> None:
        self._retry_at = now + self._retry_s
        self.due = min(self.due, self._retry_at)

    @after(Step.SETTLED)
    def _settle(self, outcomes: Sequence[tuple[int, Outcome]]) -> None:
        settled = self._suspensions.settle(outcomes)
        counters = self._counters
        for _, outcome in settled:
            counters[_COUNTER[type(outcome)]] += 1
        self.settlements.extend(settled)

    # -- telling --------------------------------------------------------------------------------------------------

    def deliver(self) -> None:  # model: deliver
        """Tell the callers whose jobs are settled by now; those of this turn's callers come next turn.

        A caller may pause, run a nested loop (which delivers as well), and resume: so nothing is kept in a local.
        """
        settlements = self.settlements
        for _ in range(len(settlements)):
            if not settlements:
                return
            waiter, outcome = settlements.popleft()
            if self.paused and not waiter.through_pause:
                self._held_back.append((waiter, outcome))
            elif type(outcome) is not Returned:
                self._tell(waiter, outcome)
            else:  # `_tell`, spelt out for the common case
                try:
                    waiter.settled(waiter.job, outcome)
                except Exception:
                    self._complain(waiter)

    def resume(self) -> None:
        """Put what was held back in front again, in its order."""
        self.paused = False
        self.settlements.extendleft(reversed(self._held_back))
        self._held_back.clear()

    def _tell(self, waiter: _Waiter, outcome: Outcome | Progress) -> None:
        try:
            if isinstance(outcome, TimedOut):
                if self._on_timed_out is not None:
                    self._on_timed_out(waiter.job, waiter.timeout_s)
                # What was asked for: the dispatcher counts from the hand-in.
                waiter.settled(waiter.job, TimedOut(waiter.timeout_s))
            elif not isinstance(outcome, Progress):
                waiter.settled(waiter.job, outcome)
            elif waiter.on_progress is not None:
                waiter.on_progress(outcome.fraction, outcome.text)
        except Exception:
            self._complain(waiter)

    def _complain(self, waiter: _Waiter) -> None:
        # Ours or the caller's fault; others wait behind it and must not pay.
        log.exception("the caller of job %s raised when told of it", waiter.job.id)
        self._counters["callback_errors"] += 1

    # -- the rest -------------------------------------------------------------------------------------------------

    def jobs(self, now: float) -> list[JobView]:
        """The unsettled jobs, oldest first."""
        self.hand_in(now)
        return self._dispatcher.jobs(now)

    def expected_s(self, label: str) -> float:
        """How long a job of that label is expected to occupy its worker, in seconds."""
        return self._dispatcher.expected_s(label)

    def has_only(self, job: Job) -> bool:
        """Whether that job is the only one, and not handed in."""
        return len(self._suspensions) == 1 and self.fresh == [job]

    def expects(self) -> bool:
        """Whether any job has not ended."""
        return len(self._suspensions) > 0

    def pending(self) -> int:
        """How many callers have not been told."""
        told = [*self.settlements, *self._held_back]
        return len(self._suspensions) + sum(not isinstance(outcome, Progress) for _, outcome in told)

    def close(self, reason: str, now: float) -> None:
        """Settle what is left as Cancelled, and tell everybody, paused or not. New jobs are Rejected."""
        self.hand_in(now)
        self._perform(self._dispatcher.handle(Closing(reason)), now)
        self._settle([(serial, Cancelled(reason)) for serial in self._suspensions.serials()])
        self.resume()
        for _ in range(len(self.settlements)):
            self._tell(*self.settlements.popleft())

    def deliver_all(self) -> None:
        """Tell everybody; only for when nothing can be submitted any more, or it might never end."""
        self.hand_in(self._loads_at)
        while self.settlements:
            self._tell(*self.settlements.popleft())

    def check(self) -> None:
        """Assert the invariants of the cores, and that they agree on what is unsettled."""
        self._dispatcher.check()
        self._suspensions.check()
        known = [view.id.serial for view in self._dispatcher.jobs(0.0)] + [job.serial for job in self.fresh]
        assert sorted(known) == sorted(self._suspensions.serials()), "who waits and what is under way agree"
