"""Bugs that are planted in the simulating interpreter, each by a function, to see that the oracle finds them.

`arm` is what the interpreter is told to call; each run then plants the bug after which its script is named.
"""

from __future__ import annotations

import time
from itertools import count
from pathlib import Path
from typing import Any

from runtime import handlers, script_process
from runtime.context import Context
from runtime.proxy import Proxy
from runtime.runs import Parked
from runtime.script_process import ScriptProcess
from runtime.server_transactions import ServerTransactions
from runtime.simulation.machine import Machine
from runtime.simulation.plan import Plan
from runtime.simulation.processes import WatchedTransactions
from runtime.sip.ownership import fingerprint
from runtime.sip_process import SipProcess
from workers.attachment import Attachment
from workers.endpoint import Endpoint
from workers.jobs import Job, Outcome, Peer, WorkerLost
from workers.loads import LoadBoard
from workers.node import Node
from workers.origin import Origin
from workers.worker import Running, Worker


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

    def settled(self: ScriptProcess, job: Job, outcome: Outcome) -> None:
        parked = self.parked.get(job.serial)
        told(self, job, outcome)
        if job.serial % 7 == 0 and parked is not None:
            self.parked[job.serial] = parked
            told(self, job, outcome)

    ScriptProcess._settled = settled  # type: ignore[method-assign]


def swaps_answers() -> None:
    """Every seventh job is settled with the answer of the one before."""
    told = ScriptProcess._settled
    last: list[Outcome] = []

    def settled(self: ScriptProcess, job: Job, outcome: Outcome) -> None:
        given = last[0] if job.serial % 7 == 0 and last else outcome
        last[:] = [outcome]
        told(self, job, given)

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
    SipProcess.on_resuming = lambda self, context, serial: None  # type: ignore[method-assign]


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

    def settled(self: ScriptProcess, job: Job, outcome: Outcome) -> None:
        if not isinstance(outcome, WorkerLost):
            told(self, job, outcome)

    ScriptProcess._settled = settled  # type: ignore[method-assign]


def tells_of_the_dead_late() -> None:
    """Who waits for a worker that has died is told seconds later."""
    told = ScriptProcess._settled

    def settled(self: ScriptProcess, job: Job, outcome: Outcome) -> None:
        if isinstance(outcome, WorkerLost):
            self.loop.call_later(2.0, told, self, job, outcome)
        else:
            told(self, job, outcome)

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


def reuses_serials() -> None:
    """Every seventh job has the number of the one before."""
    submit = Origin.submit

    def submitted(self: Origin, *rest: Any, **named: Any) -> Job:
        if self._serial % 7 == 6:
            self._serial -= 1
        return submit(self, *rest, **named)

    Origin.submit = submitted  # type: ignore[method-assign]


def swaps_contexts() -> None:
    """Every seventh outcome resumes another context than the one that waited for it, and the other way round."""
    take_up = ScriptProcess._take_up

    def taken_up(self: ScriptProcess, serial: int, write: Any) -> None:
        other = next((one for one in self.parked if one != serial), None)
        if serial % 7 == 0 and other is not None and serial in self.parked:
            self.parked[serial], self.parked[other] = self.parked[other], self.parked[serial]
        take_up(self, serial, write)

    ScriptProcess._take_up = taken_up  # type: ignore[method-assign]


def shares_variables() -> None:
    """What a parked context keeps of the script variables goes on changing with them."""
    put_aside = ScriptProcess._put_aside

    def aside(self: ScriptProcess, parked: Parked, jobs: list[Job], within_s: float) -> None:
        parked.variables = self.variables
        put_aside(self, parked, jobs, within_s)

    ScriptProcess._put_aside = aside  # type: ignore[method-assign]


def resumes_at_once() -> None:
    """Some contexts are resumed before the route has left that parked them."""
    parked = SipProcess.on_parked

    def at_once(self: SipProcess, context: Context, serial: int, timeout_s: float) -> None:
        parked(self, context, serial, timeout_s)
        if context.message.call_id.endswith("7"):
            self.cancel_wait(serial)
            self.node.on_deadline(time.monotonic())

    SipProcess.on_parked = at_once  # type: ignore[method-assign]


def forgets_cancels() -> None:
    """A CANCEL is answered, and nothing follows."""
    SipProcess._on_cancelled = lambda self, key: None  # type: ignore[method-assign]


def reports_wrong_answers() -> None:
    """Of every seventh launched job the outcome of the one before is told."""
    submit = ScriptProcess._submit
    last: list[Outcome] = []

    def submitted(self: ScriptProcess, begin: Any, timeout_s: float, settled: Any) -> Job:
        def told(job: Job, outcome: Outcome) -> None:
            given = last[0] if job.serial % 7 == 0 and last else outcome
            last[:] = [outcome]
            settled(job, given)

        return submit(self, begin, timeout_s, told)

    ScriptProcess._submit = submitted  # type: ignore[method-assign]


def mixes_up_batches() -> None:
    """The outcomes of jobs that were asked for together come in another order."""
    gather = script_process.gather

    def gathered(node: Node, wanted: Any, timeout_s: float, settled: Any) -> list[Job]:
        return gather(node, wanted, timeout_s, lambda jobs, outcomes: settled(jobs, outcomes[::-1]))

    script_process.gather = gathered  # type: ignore[assignment]


def runs_jobs_twice() -> None:
    """Workers run every seventh job once more."""
    run = handlers.run_command

    def ran(payload: bytes, running: Running) -> Any:
        if running.job.serial % 7 == 0:
            run(payload, running)
        return run(payload, running)

    handlers.run_command = ran


def never_clears_the_board() -> None:
    """On the load board a worker keeps the last job that it was given."""
    occupy = LoadBoard.occupy

    def occupied(self: LoadBoard, origin: int, worker: int, outstanding: int, expected_s: float) -> None:
        occupy(self, origin, worker, max(1, outstanding), expected_s)

    LoadBoard.occupy = occupied  # type: ignore[method-assign]


def wakes_late() -> None:
    """The timers of the pool go off late."""
    ring = Attachment._on_timer

    def rung(self: Attachment) -> None:
        assert self._loop is not None
        self._loop.call_later(0.4, ring, self)

    Attachment._on_timer = rung  # type: ignore[method-assign]


def gives_up_early() -> None:
    """Jobs have half the time that was asked for."""
    submit = Node.submit_kind

    def submitted(self: Node, kind: Any, payload: bytes, timeout_s: float, *rest: Any) -> Job:
        return submit(self, kind, payload, timeout_s / 2, *rest)

    Node.submit_kind = submitted  # type: ignore[method-assign]


def invents_deaths() -> None:
    """Every seventh job is told to have died with its worker."""
    told = ScriptProcess._settled

    def settled(self: ScriptProcess, job: Job, outcome: Outcome) -> None:
        lost = WorkerLost(Peer("worker-1", 1), "it died") if job.serial % 7 == 0 else outcome
        told(self, job, lost)

    ScriptProcess._settled = settled  # type: ignore[method-assign]


def keeps_relays() -> None:
    """What relayed a request is kept when its transaction is over."""
    Proxy.gone = lambda self, key: None  # type: ignore[method-assign]


def keeps_fingerprints() -> None:
    """The fingerprints of transactions that are over stay in their table."""
    forget = ServerTransactions._forget

    def forgot(self: ServerTransactions, key: str) -> None:
        forget(self, key)
        self._house.fingerprints.add(self._slot, fingerprint(key))

    WatchedTransactions._forget = forgot  # type: ignore[method-assign]


def drops_answers() -> None:
    """Every seventh answer of a job does not leave its worker."""
    send = Endpoint.send_result

    def sent(self: Endpoint, peer: Peer, serial: int, payload: bytes, elapsed_s: float) -> None:
        if serial % 7:
            send(self, peer, serial, payload, elapsed_s)

    Endpoint.send_result = sent  # type: ignore[method-assign]


def forgets_transactions() -> None:
    """Some requests are forgotten in the midst of their script."""
    reply = SipProcess.reply

    def replied(self: SipProcess, context: Context, code: int, reason: str, body: bytes = b"") -> int:
        return 1 if context.message.call_id.endswith("7") else reply(self, context, code, reason, body)

    SipProcess.reply = replied  # type: ignore[method-assign]
