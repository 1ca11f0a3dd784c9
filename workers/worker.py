"""The executing side: what this process runs for others, one blocking handler at a time.

Every Dispatch is answered exactly once, whether it ran, failed, was withdrawn or came too late: the answer is what
frees the origin's cell on the load board.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import TypeAlias

from workers.jobs import Cancelled, Failed, Job, JobId, Peer, Returned, TimedOut
from workers.loads import LoadBoard
from workers.policy import Limits, is_slow
from workers.wire import MAX_MESSAGE, OVERHEAD_BYTES, Answer, Dispatch, Later, Word, clean, size_of

log = logging.getLogger("layby.workers")

_BLOCKING_S = 100e-6
"""A handler that usually takes so long (or has not been seen) does not keep finished answers waiting."""

_NEW_WEIGHT = 0.2


class Running:
    """What a handler is told of the job that it runs.

    Args:
        job: the job.
    """

    __slots__ = ("_begun", "_ended", "_task", "_weighed", "_withdrawn", "job")

    def __init__(self, job: Job, weighed: bool) -> None:
        self.job = job
        self._weighed = weighed
        self._withdrawn = False
        self._begun = False
        self._ended = False
        self._task: asyncio.Future[bytes] | None = None

    def cancelled(self) -> bool:
        """Whether nobody waits any more: the job was withdrawn, or its deadline has passed.

        A blocking handler hears of no withdrawal while it runs, since the process reads nothing then.
        """
        return self._withdrawn or time.monotonic() >= self.job.deadline

    def remaining_s(self, now: float) -> float:
        """Seconds until the deadline; negative once it has passed. ``now`` in CLOCK_MONOTONIC seconds."""
        return self.job.deadline - now


Handler: TypeAlias = Callable[[bytes, Running], bytes | Awaitable[bytes]]
"""Takes a job's payload. What it raises becomes Failed; an awaitable is awaited while other jobs run."""


class Worker:
    """The jobs that others, or this process itself, have put into this process's hands.

    Args:
        me: this process.
        slot: its slot on the board.
        board: where progress is told.
        executes: False when only directed jobs are run.
        handlers: what may be run, by name.
        limits: the bounds.
        send: puts a word down for a peer, to go with the next flush.
        flush: sends what was put down.
        wake: asks for another turn of the loop.
        counters: ``executed`` and ``handler_failures`` are counted here.
    """

    def __init__(
        self,
        me: Peer,
        slot: int,
        board: LoadBoard,
        *,
        executes: bool,
        handlers: Mapping[str, Handler],
        limits: Limits,
        send: Callable[[Peer, Word], object],
        flush: Callable[[], None],
        wake: Callable[[], None],
        counters: dict[str, int],
    ) -> None:
        self._me = me
        self._slot = slot
        self._board = board
        self._executes = executes
        self._handlers = dict(handlers)
        self._limits = limits
        self._send = send
        self._flush = flush
        self._wake = wake
        self._counters = counters
        # Every job that is not answered: in one of the queues, running, or awaited.
        self._held: dict[JobId, Running] = {}
        self._directed: deque[Running] = deque()
        self._ordinary: deque[Running] = deque()
        self._later = 0
        self._usual_s: dict[str, float] = {}
        self._beat_at = 0.0
        self.loop: asyncio.AbstractEventLoop | None = None
        """Where awaitables are awaited."""

    # -- what is asked of us --------------------------------------------------------------------------------------

    def accept(self, dispatch: Dispatch) -> None:
        """Take a job in hand."""
        job = dispatch.job
        if job.id in self._held:
            return
        running = self._held[job.id] = Running(job, dispatch.weighed)
        if job.to is not None:
            self._directed.append(running)
        elif self._executes:
            self._ordinary.append(running)
        else:
            self._answer(running, Failed("Refused", f"{self._me} runs only what is directed at it", self._me, 0.0), 0.0)

    def withdraw(self, job: JobId) -> None:
        """Nobody waits for a job any more: it is not begun, or it is cancelled if it is awaited."""
        running = self._held.get(job)
        if running is None:
            return
        running._withdrawn = True
        if running._task is not None:
            running._task.cancel()
        elif not running._begun:
            self._answer(running, Cancelled("withdrawn"), 0.0)

    def origin_down(self, origin: Peer) -> None:
        """A process died: what it asked for is for nobody, and nobody is answered."""
        for job in [job for job in self._held if job.origin == origin]:
            running = self._held.pop(job)
            running._withdrawn = running._ended = True
            if running._task is not None:
                running._task.cancel()

    # -- running --------------------------------------------------------------------------------------------------

    def runnable(self, paused: bool) -> bool:
        """Whether `run` has something to begin."""
        return bool(self._directed or (self._ordinary and not paused))

    def run(self, paused: bool) -> bool:
        """Begin jobs until none is left or the turn is over, directed ones first.

        Args:
            paused: leave ordinary jobs where they are.

        Returns:
            Whether anything was begun.

        Raises:
            BaseException: what a handler raised that is no Exception (KeyboardInterrupt, SystemExit), after its job
                was answered.
        """
        began_at = time.monotonic()
        began = False
        while self._directed or (self._ordinary and not paused):
            running = (self._directed or self._ordinary).popleft()
            if running._ended:
                continue
            running._begun = began = True
            if self._run_one(running) - began_at >= self._limits.turn_s:
                break
        return began

    def _run_one(self, running: Running) -> float:
        job = running.job
        began_at = time.monotonic()
        if began_at >= job.deadline:
            self._answer(running, TimedOut(0.0), 0.0)
            return began_at
        handler = self._handlers.get(job.handler)
        if handler is None:
            self._answer(running, Failed("UnknownHandler", clean(job.handler), self._me, 0.0), 0.0)
            return began_at
        if self._usual_s.get(job.label, _BLOCKING_S) >= _BLOCKING_S:
            self._flush()
        self._counters["executed"] += 1
        self._board.progress(self._slot, began_at, running=True)
        try:
            result = handler(job.payload, running)
        except Exception as problem:
            ended_at = self._ended(job, began_at)
            self._fail(running, problem, ended_at - began_at, ended_at - began_at)
            return ended_at
        except BaseException as problem:
            # The process is about to end; whoever waits should not have to wait for its death to be noticed.
            ended_at = self._ended(job, began_at)
            self._fail(running, problem, ended_at - began_at, ended_at - began_at)
            self._flush()
            raise
        ended_at = self._ended(job, began_at)
        if type(result) is bytes:
            elapsed_s = ended_at - began_at
            self._usually(job.label, elapsed_s)
            self._answer(running, Returned(result, self._me, elapsed_s), elapsed_s)
        else:
            self._continue_later(running, result, began_at)
        return ended_at

    def _ended(self, job: Job, began_at: float) -> float:
        ended_at = time.monotonic()
        self._board.done(self._slot, ended_at)
        if job.to is None and not is_slow(ended_at - began_at, self._limits):
            self._board.ran_quick(self._slot, ended_at)
        self._beat_at = ended_at + self._limits.heartbeat_s
        return ended_at

    def _usually(self, label: str, elapsed_s: float) -> None:
        usual = self._usual_s.get(label)
        if usual is None and len(self._usual_s) >= self._limits.max_labels:
            del self._usual_s[next(iter(self._usual_s))]
        self._usual_s[label] = elapsed_s if usual is None else usual + _NEW_WEIGHT * (elapsed_s - usual)

    # -- handlers that answer later -------------------------------------------------------------------------------

    def _continue_later(self, running: Running, result: object, began_at: float) -> None:
        if not inspect.isawaitable(result):
            problem = TypeError(f"the handler gave back {type(result).__name__}, not bytes")
            self._fail(running, problem, time.monotonic() - began_at, 0.0)
            return
        if self.loop is None:
            if inspect.iscoroutine(result):
                result.close()
            self._fail(running, RuntimeError("the handler answers later, and no event loop is attached"), 0.0, 0.0)
            return
        try:
            running._task = asyncio.ensure_future(result, loop=self.loop)
        except ValueError as problem:  # a Future of another loop
            self._fail(running, problem, 0.0, 0.0)
            return
        self._usually(running.job.label, 0.0)
        self._later += 1
        running._task.add_done_callback(partial(self._on_done, running, began_at))
        if running._weighed:
            self._send(running.job.id.origin, Later(running.job.id.serial))

    def _on_done(self, running: Running, began_at: float, task: asyncio.Future[bytes]) -> None:
        self._later -= 1
        elapsed_s = time.monotonic() - began_at
        self._board.progress(self._slot, began_at + elapsed_s)
        if running._ended:
            if not task.cancelled():
                task.exception()  # or asyncio complains that nobody asked
            return
        if task.cancelled():
            self._answer(running, Cancelled("withdrawn" if running._withdrawn else "the handler was cancelled"), 0.0)
        elif (problem := task.exception()) is not None:
            self._fail(running, problem, elapsed_s, 0.0)
        elif type(result := task.result()) is bytes:
            self._answer(running, Returned(result, self._me, elapsed_s), 0.0)
        else:
            problem = TypeError(f"the handler gave back {type(result).__name__}, not bytes")
            self._fail(running, problem, elapsed_s, 0.0)
        self._wake()

    def next_deadline(self) -> float | None:
        """When to call `beat`; None while nothing is awaited."""
        return self._beat_at if self._later else None

    def beat(self, now: float) -> None:
        """Tell that the loop still turns while jobs are awaited; a loop that is stuck does not get here."""
        if self._later and now >= self._beat_at:
            self._board.progress(self._slot, now)
            self._beat_at = now + self._limits.heartbeat_s

    # -- answering ------------------------------------------------------------------------------------------------

    def _fail(self, running: Running, problem: BaseException, elapsed_s: float, occupied_s: float) -> None:
        self._counters["handler_failures"] += 1
        log.warning("job %s (%s) raised", running.job.id, running.job.label, exc_info=problem)
        failed = Failed(clean(type(problem).__name__), _message(problem), self._me, elapsed_s)
        self._answer(running, failed, occupied_s)

    def _answer(
        self, running: Running, outcome: Returned | Failed | TimedOut | Cancelled | None, occupied_s: float
    ) -> None:
        if running._ended:
            return  # its origin died, or the process was closed from within the handler
        job = running.job
        answer = Answer(job.id.serial, outcome, occupied_s)
        if type(outcome) is Returned and size_of(answer) > self._limits.max_frame_bytes - OVERHEAD_BYTES:
            nbytes = len(outcome.payload)
            failed = Failed("ResultTooLarge", f"{nbytes} bytes", self._me, outcome.elapsed_s)
            answer = Answer(job.id.serial, failed, occupied_s)
        running._ended = True
        del self._held[job.id]
        self._send(job.id.origin, answer)

    # -- the rest -------------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self._held)

    def close(self) -> None:
        """Answer everything: what is awaited is cancelled, what has not begun is given back to run elsewhere."""
        for running in list(self._held.values()):
            if running._task is not None:
                self._answer(running, Cancelled("shutdown"), 0.0)
                running._task.cancel()
            elif not running._begun:
                self._answer(running, None, 0.0)
            else:
                # Closed from within its own handler: the rest of it is for nobody.
                self._answer(running, Cancelled("shutdown"), 0.0)
        self._directed.clear()
        self._ordinary.clear()


def _message(problem: BaseException) -> str:
    try:
        return clean(str(problem), MAX_MESSAGE)
    except Exception:
        return "(its text cannot be made)"
