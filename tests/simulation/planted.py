"""Bugs that are planted in the simulating interpreter, each by a function, to see that the oracle finds them.

`arm` is what the interpreter is told to call; each run then plants the bug after which its script is named.
"""

from __future__ import annotations

from itertools import count
from pathlib import Path
from typing import Any

from runtime.context import Context
from runtime.script_process import ScriptProcess
from runtime.simulation.machine import Machine
from runtime.simulation.plan import Plan
from runtime.sip_process import SipProcess
from workers.jobs import Job, Outcome, WorkerLost
from workers.node import Node
from workers.worker import Worker


def arm() -> None:
    """Let each run plant its bug."""
    begin = Machine.__init__

    def begun(self: Machine, plan: Plan, folder: Path) -> None:
        globals().get(Path(plan.script).stem, lambda: None)()
        begin(self, plan, folder)

    Machine.__init__ = begun  # type: ignore[method-assign]


def resumes_twice() -> None:
    """Every seventh outcome is told twice."""
    told = ScriptProcess._settled

    def settled(self: ScriptProcess, finish: Any, job: Job, outcome: Outcome) -> None:
        parked = self.parked.get(job.serial)
        told(self, finish, job, outcome)
        if job.serial % 7 == 0 and parked is not None:
            self.parked[job.serial] = parked
            told(self, finish, job, outcome)

    ScriptProcess._settled = settled  # type: ignore[method-assign]


def swaps_answers() -> None:
    """Every seventh job is settled with the answer of the one before."""
    told = ScriptProcess._settled
    last: list[Outcome] = []

    def settled(self: ScriptProcess, finish: Any, job: Job, outcome: Outcome) -> None:
        given = last[0] if job.serial % 7 == 0 and last else outcome
        last[:] = [outcome]
        told(self, finish, job, given)

    ScriptProcess._settled = settled  # type: ignore[method-assign]


def loses_a_job() -> None:
    """A worker forgets every seventh job, and the origin forgets that it has a deadline."""
    accept = Worker.accept

    def accepted(self: Worker, dispatch: Any) -> None:
        dispatch = type(dispatch)([job for job in dispatch.jobs if job.id.serial % 7], dispatch.weighed)
        if dispatch.jobs:
            accept(self, dispatch)

    Worker.accept = accepted  # type: ignore[method-assign]


def ignores_deadlines() -> None:
    """Nobody looks whether a job's time is over."""
    submit = Node.submit_kind

    def submitted(self: Node, kind: Any, payload: bytes, timeout_s: float, *rest: Any) -> Job:
        return submit(self, kind, payload, timeout_s + 3600.0, *rest)

    Node.submit_kind = submitted  # type: ignore[method-assign]


def keeps_transactions() -> None:
    """A context that is resumed is not taken out of those that a CANCEL resumes."""
    SipProcess.on_resuming = lambda self, context: None  # type: ignore[method-assign]


def answers_twice() -> None:
    """A request is answered once more, by somebody who knows nothing of the first time."""
    reply = SipProcess.send_reply

    def replied(self: SipProcess, context: Context, code: int, reason: str) -> int:
        rc = reply(self, context, code, reason)
        origin = self._origin(context)
        if origin is not None and context.message.call_id.endswith("7"):
            self.reply_stateless(origin, 603, "Decline")
        return rc

    SipProcess.send_reply = replied  # type: ignore[method-assign]


def forgets_the_dead() -> None:
    """Nobody is told that a worker has died with his job."""
    told = ScriptProcess._settled

    def settled(self: ScriptProcess, finish: Any, job: Job, outcome: Outcome) -> None:
        if not isinstance(outcome, WorkerLost):
            told(self, finish, job, outcome)

    ScriptProcess._settled = settled  # type: ignore[method-assign]


def tells_of_the_dead_late() -> None:
    """Who waits for a worker that has died is told seconds later."""
    told = ScriptProcess._settled

    def settled(self: ScriptProcess, finish: Any, job: Job, outcome: Outcome) -> None:
        if isinstance(outcome, WorkerLost):
            self.loop.call_later(2.0, told, self, finish, job, outcome)
        else:
            told(self, finish, job, outcome)

    ScriptProcess._settled = settled  # type: ignore[method-assign]


def reckons_forever() -> None:
    """One request never lets go of its process."""
    reply = SipProcess.send_reply

    def replied(self: SipProcess, context: Context, code: int, reason: str) -> int:
        while context.message.call_id == "call-7":
            pass
        return reply(self, context, code, reason)

    SipProcess.send_reply = replied  # type: ignore[method-assign]


def forgets_reports() -> None:
    """Of every seventh launched job nobody hears again."""
    told = ScriptProcess._report
    counted = count()

    def report(self: ScriptProcess, launched: Any, write: Any) -> None:
        if next(counted) % 7:
            told(self, launched, write)

    ScriptProcess._report = report  # type: ignore[method-assign]
