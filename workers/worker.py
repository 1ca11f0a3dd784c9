"""The executing side: what this process runs for others, one blocking handler at a time.

Every job is answered exactly once, whether it ran, failed, was withdrawn or came too late: the answer is what frees
the origin's cell on the load board.
"""

from __future__ import annotations

import inspect
import logging
import math
import time
import traceback
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from contextvars import ContextVar
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

from workers.endpoint import Endpoint
from workers.jobs import Cancelled, Failed, Job, Kind, Peer, Returned, TimedOut
from workers.loads import LoadBoard
from workers.policy import Limits, slow_s
from workers.steps import Step, after, before
from workers.wire import (
    MAX_MESSAGE,
    MAX_TRACE,
    OVERHEAD_BYTES,
    PER_JOB_BYTES,
    Answers,
    Dispatch,
    Later,
    Progress,
    clean,
    size_of,
)

if TYPE_CHECKING:
    import asyncio

log = logging.getLogger("layby.workers.failures")
"""What handlers raised. The traceback goes to the origin as well."""

_BLOCKING_S = 100e-6
"""A handler that usually takes so long (or has not been seen) does not keep finished answers waiting."""

_LISTEN_S = 0.001
"""How often a handler that asks whether it is cancelled has the inbox looked at."""

_NEW_WEIGHT = 0.2

current: ContextVar[Running] = ContextVar("layby-running")
"""The job that the handler on this stack, or in this task, runs."""


class _Known:
    """What is known of one handler under one label."""

    __slots__ = ("handler", "usual_s")

    def __init__(self, handler: Handler | None) -> None:
        self.handler = handler
        self.usual_s = _BLOCKING_S

    def took(self, elapsed_s: float) -> None:
        self.usual_s += _NEW_WEIGHT * (elapsed_s - self.usual_s)


class Running:
    """What a handler is told of the job that it runs.

    Args:
        job: the job.
        weighed: whether its origin is to be told when it answers later.
        known: its handler.
        worker: who runs it.
    """

    __slots__ = ("_begun", "_ended", "_known", "_task", "_told_at", "_weighed", "_withdrawn", "_worker", "job")

    def __init__(self, job: Job, weighed: bool, known: _Known, worker: Worker) -> None:
        self.job = job
        self._weighed = weighed
        self._known = known
        self._worker = worker
        self._withdrawn = False
        self._begun = False
        self._ended = False
        self._told_at = 0.0
        self._task: asyncio.Future[bytes] | None = None

    def cancelled(self) -> bool:
        """Whether nobody waits any more: the job was withdrawn, or its deadline has passed.

        A blocking handler may ask as often as it likes; the process's inbox is looked at once a millisecond at most.
        """
        now = time.monotonic()
        if not self._withdrawn and not self._ended and self._task is None:
            self._worker.listen(now)
        return self._withdrawn or self._ended or now >= self.job.deadline

    def remaining_s(self, now: float) -> float:
        """Seconds until the deadline; negative once it has passed. ``now`` in CLOCK_MONOTONIC seconds."""
        return self.job.deadline - now

    def progress(self, fraction: float, text: str = "") -> None:
        """Tell whoever waits how far the job is.

        What is told within ``Limits.progress_s`` of the last is left out, but for what says that all is done.

        Args:
            fraction: 0 to 1; what lies outside is taken as the nearer end.
            text: what to say of it, at most 512 characters.

        Raises:
            ValueError: the fraction is not a number.
        """
        if math.isnan(fraction):
            raise ValueError("progress of NaN")
        if not self._ended:
            self._worker.tell_progress(self, min(1.0, max(0.0, float(fraction))), clean(text))


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
        endpoint: puts words down for peers, to go with the next flush.
        wake: asks for another turn of the loop.
        listen: reads the inbox from within a handler, and begins nothing.
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
        endpoint: Endpoint,
        wake: Callable[[], None],
        listen: Callable[[float], None],
        counters: dict[str, int],
    ) -> None:
        self._me = me
        self._slot = slot
        self._board = board
        self._executes = executes
        self._handlers = handlers
        self._limits = limits
        self._endpoint = endpoint
        self._wake = wake
        self._listen = listen
        self._counters = counters
        # Every job that is not answered, by origin and serial: in one of the queues, running, or awaited.
        self._held: dict[Peer, dict[int, Running]] = {}
        self.directed: deque[Running] = deque()
        self.ordinary: deque[Running] = deque()
        """What `run` may begin; ordinary jobs only while not paused."""
        self.awaited = 0
        """How many handlers are awaited now, so that `beat` is to be called."""
        self._known: dict[tuple[str, str], _Known] = {}
        self._most_result = limits.max_frame_bytes - 2 * OVERHEAD_BYTES - PER_JOB_BYTES
        self._slow_s = slow_s(limits)
        self.beat_at = 0.0
        """When to call `beat` next, if anything is awaited (CLOCK_MONOTONIC seconds)."""
        self._listened_at = 0.0
        self.loop: asyncio.AbstractEventLoop | None = None
        """Where awaitables are awaited."""

    # -- what is asked of us --------------------------------------------------------------------------------------

    @after(Step.JOB_RECEIVED)
    def accept(self, dispatch: Dispatch) -> None:  # model: accept
        """Take jobs in hand. They are of one kind and one origin."""
        origin, kind = dispatch.jobs[0].origin, dispatch.jobs[0].kind
        held = self._held.setdefault(origin, {})
        known = self._known.get((kind.handler, kind.label)) or self._know(kind)
        weighed = dispatch.weighed
        accepted: list[Running] = []
        for job in dispatch.jobs:
            if job.serial not in held:
                running = held[job.serial] = Running(job, weighed, known, self)
                accepted.append(running)
        if kind.to is not None:
            self.directed.extend(accepted)
        elif self._executes:
            self.ordinary.extend(accepted)
        else:
            refused = Failed("Refused", f"{self._me} runs only what is directed at it", self._me, 0.0)
            for running in accepted:
                self._answer(running, refused, 0.0)

    def _know(self, kind: Kind) -> _Known:
        if len(self._known) >= self._limits.max_labels:
            del self._known[next(iter(self._known))]
        known = self._known[kind.handler, kind.label] = _Known(self._handlers.get(kind.handler))
        return known

    @before(Step.WITHDRAWAL_HEARD)
    def withdraw(self, origin: Peer, serial: int) -> None:  # model: withdraw
        """Nobody waits for a job any more: it is not begun, or it is cancelled if it is awaited."""
        running = self._held.get(origin, {}).get(serial)
        if running is None:
            return
        running._withdrawn = True
        if running._task is not None:
            running._task.cancel()
        elif not running._begun:
            self._answer(running, Cancelled("withdrawn"), 0.0)

    def origin_down(self, origin: Peer) -> None:  # model: origin_down
        """A process died: what it asked for is for nobody, and nobody is answered."""
        for running in self._held.pop(origin, {}).values():
            running._withdrawn = running._ended = True
            if running._task is not None:
                running._task.cancel()

    # -- running --------------------------------------------------------------------------------------------------

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
        now = began_at = shown_at = time.monotonic()
        ends_at = began_at + self._limits.turn_s
        shown = ended = 0
        began = False
        quick_at = 0.0
        try:
            while self.directed or (self.ordinary and not paused):
                running = (self.directed or self.ordinary).popleft()
                if running._ended:
                    continue
                running._begun = began = True
                known = running._known
                if known.usual_s >= _BLOCKING_S:
                    # It keeps others waiting: what is finished goes out first, and the board shows what goes on.
                    self._endpoint.flush()
                    if ended > shown:
                        self._board.done(self._slot, now, ended - shown)
                        shown = ended
                    now = time.monotonic()
                    self._board.progress(self._slot, now, running=True)
                elif now - shown_at >= _BLOCKING_S:
                    shown_at = now
                    self._board.progress(self._slot, now)
                began_job_at = now
                ended += 1  # before it runs, since one that ends the process has run as well
                now = self._run_one(running, known, now)
                if now == began_job_at:
                    ended -= 1  # past its deadline, or nobody knows how: it did not run
                    continue
                if now - began_job_at <= self._slow_s and running.job.kind.to is None:
                    quick_at = now
                if now >= ends_at:
                    break
        finally:
            if began:
                self._board.done(self._slot, now, ended - shown)
            if quick_at:
                self._board.ran_quick(self._slot, quick_at)
            self._counters["executed"] += ended
            self.beat_at = now + self._limits.heartbeat_s
        return began

    @before(Step.JOB_BEGUN)
    def _run_one(self, running: Running, known: _Known, began_at: float) -> float:  # model: begin, run_one
        """Run one job's handler; returns when it ended."""
        job = running.job
        if began_at >= job.deadline:
            self._answer(running, TimedOut(0.0), 0.0)
            return began_at
        handler = known.handler
        if handler is None:
            self._answer(running, Failed("UnknownHandler", clean(job.kind.handler), self._me, 0.0), 0.0)
            return began_at
        current.set(running)
        if job.kind.kill:
            self._board.kill_from(self._slot, job.deadline + self._limits.kill_grace_s)
        try:
            result = handler(job.payload, running)
        except BaseException as problem:
            ended_at = time.monotonic()
            if job.kind.kill:
                self._board.kill_from(self._slot, 0.0)
            self._fail(running, problem, ended_at - began_at, ended_at - began_at)
            if not isinstance(problem, Exception):
                # The process is about to end; whoever waits should not have to wait for its death to be noticed.
                self._endpoint.flush()
                raise
            return ended_at
        ended_at = time.monotonic()
        if job.kind.kill:
            self._board.kill_from(self._slot, 0.0)
        if type(result) is not bytes:
            self._continue_later(running, result, began_at)
            return ended_at
        elapsed_s = ended_at - began_at
        known.took(elapsed_s)
        if running._ended:
            return ended_at  # its origin died, or the process was closed from within the handler
        if len(result) > self._most_result:
            too_large = Failed("ResultTooLarge", f"{len(result)} bytes", self._me, elapsed_s)
            self._answer(running, too_large, elapsed_s)
            return ended_at
        running._ended = True
        del self._held[job.origin][job.serial]
        self._endpoint.send_result(job.origin, job.serial, result, elapsed_s)
        return ended_at

    # -- what a handler asks --------------------------------------------------------------------------------------

    def listen(self, now: float) -> None:
        """Read the inbox, on a handler's stack, if that was not just done."""
        if now - self._listened_at >= _LISTEN_S:
            self._listened_at = now
            self._listen(now)

    def tell_progress(self, running: Running, fraction: float, text: str) -> None:
        """Send a handler's word to the origin at once, unless the last was only just sent."""
        now, job = time.monotonic(), running.job
        if fraction < 1.0 and now - running._told_at < self._limits.progress_s:
            return
        running._told_at = now
        self._endpoint.send(job.origin, Progress(job.serial, fraction, text))
        self._endpoint.flush()

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
        from asyncio import ensure_future  # loaded already, since there is a loop

        try:
            running._task = ensure_future(result, loop=self.loop)
        except ValueError as problem:  # a Future of another loop
            self._fail(running, problem, 0.0, 0.0)
            return
        running._known.took(0.0)
        self.awaited += 1
        running._task.add_done_callback(partial(self._on_done, running, began_at))
        if running._weighed:
            self._endpoint.send(running.job.origin, Later(running.job.serial))

    def _on_done(self, running: Running, began_at: float, task: asyncio.Future[bytes]) -> None:  # model: end_task
        self.awaited -= 1
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

    def beat(self, now: float) -> None:
        """Tell that the loop still turns while jobs are awaited; a loop that is stuck does not get here."""
        if self.awaited and now >= self.beat_at:
            self._board.progress(self._slot, now)
            self.beat_at = now + self._limits.heartbeat_s

    # -- answering ------------------------------------------------------------------------------------------------

    def _fail(self, running: Running, problem: BaseException, elapsed_s: float, occupied_s: float) -> None:
        self._counters["handler_failures"] += 1
        log.warning("job %s (%s) raised", running.job.id, running.job.kind.label, exc_info=problem)
        failed = Failed(clean(type(problem).__name__), _message(problem), self._me, elapsed_s, _trace(problem))
        if size_of(Answers([(running.job.serial, failed, occupied_s)])) > self._most_result:
            # Only where frames are kept very small. One that is too long would be dropped, and others with it.
            failed = Failed(failed.kind, clean(failed.message, self._most_result // 8), self._me, elapsed_s)
        self._answer(running, failed, occupied_s)

    @before(Step.ANSWER_MADE)
    @after(Step.ANSWER_PUT_DOWN)
    def _answer(  # model: answer
        self, running: Running, outcome: Returned | Failed | TimedOut | Cancelled | None, occupied_s: float
    ) -> None:
        if running._ended:
            return  # its origin died, or the process was closed from within the handler
        job = running.job
        if type(outcome) is Returned and len(outcome.payload) > self._most_result:
            outcome = Failed("ResultTooLarge", f"{len(outcome.payload)} bytes", self._me, outcome.elapsed_s)
        running._ended = True
        del self._held[job.origin][job.serial]
        self._endpoint.send(job.origin, Answers([(job.serial, outcome, occupied_s)]))

    # -- the rest -------------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return sum(map(len, self._held.values()))

    def close(self) -> None:  # model: close_worker
        """Answer everything: what is awaited is cancelled, what has not begun is given back to run elsewhere."""
        for running in [running for held in self._held.values() for running in held.values()]:
            if running._task is not None:
                self._answer(running, Cancelled("shutdown"), 0.0)
                running._task.cancel()
            elif not running._begun:
                self._answer(running, None, 0.0)
            else:
                # Closed from within its own handler: the rest of it is for nobody.
                self._answer(running, Cancelled("shutdown"), 0.0)
        self.directed.clear()
        self.ordinary.clear()


def _message(problem: BaseException) -> str:
    try:
        return clean(str(problem), MAX_MESSAGE)
    except Exception:
        return "(its text cannot be made)"


def _trace(problem: BaseException) -> str:
    """The end of the traceback, which is where the fault is."""
    try:
        text = "".join(traceback.format_exception(problem))
    except Exception:
        return ""
    return clean(text if len(text) <= MAX_TRACE else "…" + text[1 - MAX_TRACE :], MAX_TRACE)
