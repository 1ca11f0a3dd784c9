"""The origin's side: what this process asked for, from the submission to the turn in which its caller is told."""

from __future__ import annotations

import logging
import math
from collections import deque
from collections.abc import Callable
from typing import NamedTuple, TypeAlias, assert_never

from workers.dispatch import Dispatcher
from workers.jobs import Cancelled, Failed, Job, JobId, Outcome, Peer, Rejected, Returned, TimedOut, WorkerLost
from workers.loads import LoadBoard
from workers.policy import Limits, Load
from workers.stimuli import (
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
from workers.wire import MAX_TEXT, OVERHEAD_BYTES, Answer, Dispatch, Withdraw, Word, clean

log = logging.getLogger("layby.workers")

Settled: TypeAlias = Callable[[JobId, Outcome], None]
"""Told once how a job ended, always from a turn of the loop and never on the stack that submitted it."""

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


class _Waiter(NamedTuple):
    settled: Settled
    through_pause: bool


class Origin:
    """The jobs of this process.

    Args:
        me: this process.
        slot: its slot on the board.
        board: where loads are read and told.
        limits: the bounds.
        send: puts a word down for a peer, to go with the next flush.
        counters: every outcome is counted here.
    """

    def __init__(
        self,
        me: Peer,
        slot: int,
        board: LoadBoard,
        *,
        limits: Limits,
        send: Callable[[Peer, Word], object],
        counters: dict[str, int],
    ) -> None:
        self._me = me
        self._slot = slot
        self._board = board
        self._limits = limits
        self._send = send
        self._counters = counters
        self._dispatcher = Dispatcher(me, limits, turn=slot)
        self._suspensions: Suspensions[_Waiter] = Suspensions(me)
        self._most_payload = limits.max_frame_bytes - 2 * OVERHEAD_BYTES - 8 * MAX_TEXT
        self._serial = 0
        self._executing: dict[Peer, int] = {}
        self._settlements: deque[tuple[_Waiter, JobId, Outcome]] = deque()
        self._held_back: deque[tuple[_Waiter, JobId, Outcome]] = deque()
        self._loads: dict[int, Load] = {}
        self._loads_at = -math.inf
        self._retry_at: float | None = None
        self._retry_s = limits.retry_s
        self._freed = False

    # -- what is asked of us --------------------------------------------------------------------------------------

    def submit(
        self,
        handler: str,
        payload: bytes,
        *,
        label: str,
        timeout_s: float,
        settled: Settled,
        now: float,
        idempotent: bool = False,
        priority: int = 0,
        to: Peer | None = None,
        through_pause: bool = False,
    ) -> JobId:
        """Accept or reject a job; either way ``settled`` is told later. See `workers.node.Node.submit`."""
        if not math.isfinite(timeout_s):
            raise ValueError(f"not a time limit: {timeout_s}")
        if not -(2**31) <= priority < 2**31:
            raise ValueError(f"not a priority: {priority}")
        self._serial += 1
        job_id = JobId(self._me, self._serial)
        job = Job(job_id, handler, label, payload, now + max(0.0, timeout_s), idempotent, priority, to)
        if not (len(handler) <= MAX_TEXT and len(label) <= MAX_TEXT and handler.isascii() and label.isascii()):
            job = Job(job_id, clean(handler), clean(label), payload, job.deadline, idempotent, priority, to)
        self._counters["submitted"] += 1
        self._suspensions.suspend(job_id, _Waiter(settled, through_pause), job.deadline)
        if len(payload) > self._most_payload:
            self._settle(job_id, Rejected(f"the payload is too large: {len(payload)} bytes"))
        else:
            self._perform(self._dispatcher.handle(Submitted(job, now, self._look(now))), now)
        return job_id

    def cancel(self, job: JobId, reason: str, now: float) -> bool:
        """Settle a job as Cancelled; False when it is settled already."""
        wanted = job in self._suspensions
        self._perform(self._dispatcher.handle(CancelAsked(job, reason)), now)
        return wanted

    def drain(self, reason: str) -> None:
        """Reject every job from now on."""
        self._dispatcher.handle(DrainAsked(reason))

    # -- what others say ------------------------------------------------------------------------------------------

    def answered(self, worker: Peer, answer: Answer, now: float) -> None:
        """A worker answered."""
        job = JobId(self._me, answer.serial)
        stimulus = Answered(worker, job, answer.outcome, answer.occupied_s, now)
        self._perform(self._dispatcher.handle(stimulus), now)
        self._freed = True
        self._counters["late_answers"] = self._dispatcher.late

    def answers_later(self, worker: Peer, serial: int, now: float) -> None:
        """A worker began a job that answers later."""
        self._perform(self._dispatcher.handle(AnswersLater(worker, JobId(self._me, serial))), now)
        self._freed = True
        self._counters["late_answers"] = self._dispatcher.late

    def room_made(self, now: float) -> None:
        """A worker said that it is idle."""
        if not self._dispatcher.waiting:
            return
        self._loads_at = -math.inf
        self._perform(self._dispatcher.handle(RoomMade(now, self._look(now))), now)
        self._retry_s = min(_SOON_S, self._limits.retry_s)
        self._retry_at = now + self._retry_s if self._dispatcher.waiting else None

    def worker_up(self, peer: Peer, slot: int, executes: bool, now: float) -> None:
        """A process can be sent jobs."""
        if executes:
            self._executing[peer] = slot
            self._loads_at = -math.inf
        self._perform(self._dispatcher.handle(WorkerUp(peer, slot, executes, now, self._look(now))), now)

    def worker_down(self, peer: Peer, now: float) -> None:
        """A process is dead."""
        self._executing.pop(peer, None)
        self._loads_at = -math.inf
        self._perform(self._dispatcher.handle(WorkerDown(peer, now, self._look(now))), now)

    # -- time -----------------------------------------------------------------------------------------------------

    def next_deadline(self) -> float | None:
        """When `tick` has something to do next."""
        deadline = self._suspensions.next_deadline()
        if self._retry_at is None:
            return deadline
        return self._retry_at if deadline is None else min(deadline, self._retry_at)

    def tick(self, now: float) -> None:
        """Give out what answers have made room for, settle what is past its deadline, and retry what waits."""
        if self._freed:
            self._freed = False
            if self._dispatcher.waiting:
                self._perform(self._dispatcher.handle(RoomMade(now, self._look(now))), now)
        for job in self._suspensions.expired(now):
            self._perform(self._dispatcher.handle(DeadlinePassed(job)), now)
            if job in self._suspensions:
                # Invariant 4 stands whatever the layer below has forgotten; that it has is our fault, so say it.
                log.error("job %s was lost before its deadline", job)
                self._counters["lost_jobs"] += 1
                self._settle(job, TimedOut(0.0))
        if self._retry_at is not None and now >= self._retry_at:
            self._retry_at = None
            if self._dispatcher.waiting:
                self._perform(self._dispatcher.handle(RoomMade(now, self._look(now))), now)
                self._retry_s = min(2 * self._retry_s, self._limits.retry_s)
                self._retry_at = now + self._retry_s if self._dispatcher.waiting else None

    def _look(self, now: float) -> dict[int, Load]:
        if not 0.0 <= now - self._loads_at < _FRESH_S:
            self._loads = self._board.loads_of(self._executing.values(), self._slot)
            self._loads_at = now
        return self._loads

    # -- effects --------------------------------------------------------------------------------------------------

    def _perform(self, effects: list[Effect], now: float) -> None:
        # Plain class patterns: picking fields out in the pattern costs half a microsecond each time.
        for effect in effects:
            match effect:
                case Occupy():
                    self._board.occupy(self._slot, effect.slot, effect.outstanding, effect.expected_s)
                case Send():
                    self._send(effect.worker, Dispatch(effect.job, effect.weighed))
                case Settle():
                    self._settle(effect.job, effect.outcome)
                case SendCancel():
                    self._send(effect.worker, Withdraw(effect.job.serial))
                case Waiting():
                    self._board.wait(self._slot, effect.count)
                    if effect.count and self._retry_at is None:
                        self._retry_at = now + self._limits.retry_s
                case _:
                    assert_never(effect)

    def _settle(self, job: JobId, outcome: Outcome) -> None:
        waiter = self._suspensions.settle(job)
        if waiter is not None:
            self._counters[_COUNTER[type(outcome)]] += 1
            self._settlements.append((waiter, job, outcome))

    # -- telling --------------------------------------------------------------------------------------------------

    def deliverable(self) -> bool:
        """Whether `deliver` has something to do."""
        return bool(self._settlements)

    def deliver(self, is_paused: Callable[[], bool]) -> None:
        """Tell the callers whose jobs are settled by now; those of this turn's callers come next turn.

        A caller may pause, run a nested loop (which delivers as well), and resume: so nothing is kept in a local.
        """
        for _ in range(len(self._settlements)):
            if not self._settlements:
                return
            settlement = self._settlements.popleft()
            if is_paused() and not settlement[0].through_pause:
                self._held_back.append(settlement)
            else:
                self._tell(*settlement)

    def resume(self) -> None:
        """Put what was held back in front again, in its order."""
        self._settlements.extendleft(reversed(self._held_back))
        self._held_back.clear()

    def _tell(self, waiter: _Waiter, job: JobId, outcome: Outcome) -> None:
        try:
            waiter.settled(job, outcome)
        except Exception:
            # Ours or the caller's fault; others wait behind it and must not pay.
            log.exception("the caller of job %s raised when told its end", job)
            self._counters["callback_errors"] += 1

    # -- the rest -------------------------------------------------------------------------------------------------

    def jobs(self, now: float) -> list[JobView]:
        """The unsettled jobs, oldest first."""
        return self._dispatcher.jobs(now)

    def expected_s(self, label: str) -> float:
        """How long a job of that label is expected to occupy its worker, in seconds."""
        return self._dispatcher.expected_s(label)

    def pending(self) -> int:
        """How many callers have not been told."""
        return len(self._suspensions) + len(self._settlements) + len(self._held_back)

    def close(self, reason: str, now: float) -> None:
        """Settle what is left as Cancelled, and tell everybody, paused or not. New jobs are Rejected."""
        self._perform(self._dispatcher.handle(Closing(reason)), now)
        for job in self._suspensions.jobs():
            self._settle(job, Cancelled(reason))
        self.resume()
        for _ in range(len(self._settlements)):
            self._tell(*self._settlements.popleft())

    def deliver_all(self) -> None:
        """Tell everybody; only for when nothing can be submitted any more, or it might never end."""
        while self._settlements:
            self._tell(*self._settlements.popleft())

    def check(self) -> None:
        """Assert the invariants of the cores, and that they agree on what is unsettled."""
        self._dispatcher.check()
        self._suspensions.check()
        assert {view.id for view in self._dispatcher.jobs(0.0)} == set(self._suspensions.jobs())
