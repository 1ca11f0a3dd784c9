"""The processes of a simulated machine: the real ones, which say what happens in them.

Each is forked from the machine, as a server's are from its attendant, and has all of its memory for itself but for what
is shared on purpose. So everything in it is real, globals and shared memory included; only the kernel is not.
"""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final, TypeVar

from mi_script.service import Service
from runtime.context import Context, Value
from runtime.house import House
from runtime.mi_process import MiProcess
from runtime.process import Process
from runtime.roles import MI, SIP, WORKER
from runtime.runs import Ended, Launched, Parked, Route, Then
from runtime.script.declare import BatchRequest, Begin, JobRequest
from runtime.script.problems import Place
from runtime.script.script import Script
from runtime.script_process import ScriptProcess
from runtime.simulation import events
from runtime.simulation.clock import CLOCK
from runtime.simulation.coverage import Watching
from runtime.simulation.kernel import COMMANDS_FD, KERNEL
from runtime.simulation.sharing import SHARING
from runtime.simulation.words import Answered, Command
from runtime.sip.message import Request
from runtime.sip.transaction_words import NO_REPLY, Terminated, Told, Unanswered
from runtime.sip_process import SipProcess
from runtime.whereabouts import statement_on
from runtime.worker_process import WorkerProcess
from workers.birth import Child
from workers.jobs import Job, JobId, Outcome, Peer, Returned
from workers.worker import Running

_T = TypeVar("_T")
HELD: Final = b"held"
"""Asks a process what it holds."""
_SHOWN: Final = 200
"""Characters of an answer."""


class _Simulated(Process):
    """What every kind of process adds: it says what it holds, and which jobs it runs."""

    def open(self) -> None:
        super().open()
        self.loop.add_reader(COMMANDS_FD, self._on_commands)

    @property
    def spelled(self) -> str:
        """Its name in events."""
        return spelled(self.peer)

    def execute(self, payload: bytes, running: Running) -> bytes | Awaitable[bytes]:
        job = str(running.job.id)
        KERNEL.note(events.JobBegan(CLOCK.at_s, self.spelled, job, running.job.kind.label))
        answer = super().execute(payload, running)
        if inspect.isawaitable(answer):
            return self._awaited(job, answer)
        self._ended(job, answer)
        return answer

    async def _awaited(self, job: str, answer: Awaitable[bytes]) -> bytes:
        given = await answer
        self._ended(job, given)
        return given

    def _ended(self, job: str, answer: bytes) -> None:
        KERNEL.note(events.JobEnded(CLOCK.at_s, self.spelled, job, "Returned", shown(answer)))

    def on_reloaded(self) -> None:
        super().on_reloaded()
        KERNEL.note(events.Reloaded(CLOCK.at_s, self.spelled, self.house.program.generation))

    def _on_commands(self) -> None:
        while KERNEL.commands:
            self.command(KERNEL.commands.popleft())

    def command(self, asked: Command) -> None:
        """Something from outside."""
        KERNEL.put(Answered(asked.number, json.dumps(self.held(), sort_keys=True).encode()))

    def held(self) -> dict[str, int]:
        """What this process holds at the moment."""
        return {"jobs": self.node.pending(), "on the board": self.house.board.load(self.slot).outstanding}


class _Scripted(_Simulated, ScriptProcess):
    """Says what is parked and resumed."""

    _resume_name = ""
    _launching: tuple[Place, str] | None = None
    """What is being launched: where, and the route that is to be told."""
    _reporting: tuple[Job, Outcome] | None = None
    """Of which launched job the outcome is being told."""

    def __init__(self, child: Child, house: House) -> None:
        super().__init__(child, house)
        self._avps: dict[int, dict[str, list[Value]]] = {}
        """The AVPs of what is parked, as they were."""
        SHARING.enter(self.spelled, house.program)

    def park(
        self, script: Script, context: Context, begin: Begin, resume_route: str, timeout_s: int | None, place: Place
    ) -> None:
        self._resume_name = resume_route
        super().park(script, context, begin, resume_route, timeout_s, place)
        self._resume_name = ""

    def _put_aside(self, parked: Parked, jobs: list[Job], within_s: float) -> None:
        place, message = parked.place, parked.context.message
        call = message.call_id if isinstance(message, Request) and parked.context.source is not None else ""
        job, name = str(jobs[0].id), self._resume_name
        at_s, line = CLOCK.at_s, place.line
        KERNEL.note(events.Parked(at_s, self.spelled, job, name, str(place.file), line, within_s, call))
        self._avps[jobs[0].serial] = {name: list(values) for name, values in parked.context.avps.items()}
        SHARING.parked(parked.context, place)
        super()._put_aside(parked, jobs, within_s)

    def _take_up(self, serial: int, write: Callable[[Context], int]) -> None:
        before, parked = self._avps.pop(serial, None), self.parked.get(serial)
        if before is not None and parked is not None:
            self._compare(JobId(self.peer, serial), before, parked.context.avps)
        super()._take_up(serial, write)

    def _compare(self, job: JobId, before: dict[str, list[Value]], now: dict[str, list[Value]]) -> None:
        for name in sorted(before.keys() | now.keys(), key=str):
            if before.get(name, []) != now.get(name, []):
                KERNEL.note(events.AvpChanged(CLOCK.at_s, self.spelled, str(job), str(name)))

    def block_on(self, work: Coroutine[Any, Any, _T], timeout_s: float) -> _T:
        statement, since_s = statement_on(sys._getframe(1)), CLOCK.at_s
        try:
            return super().block_on(work, timeout_s)
        finally:
            if statement is not None and CLOCK.at_s > since_s:
                file, line = str(statement.place.file), statement.place.line
                KERNEL.note(events.Blocked(since_s, self.spelled, file, line, CLOCK.at_s - since_s))

    def _settled(self, finish: Callable[[Context, Outcome], int], job: Job, outcome: Outcome) -> None:
        def noted(context: Context, ended: Outcome) -> int:
            code = finish(context, ended)
            self._note_resumed(job, ended, code)
            return code

        super()._settled(noted, job, outcome)

    def _all_settled(self, begin: BatchRequest, jobs: list[Job], outcomes: list[Outcome]) -> None:
        self._note_resumed(jobs[0], outcomes[0], 0)
        super()._all_settled(begin, jobs, outcomes)

    def _note_resumed(self, job: Job, outcome: Outcome, code: int) -> None:
        answer = shown(outcome.payload) if isinstance(outcome, Returned) else ""
        KERNEL.note(events.Resumed(CLOCK.at_s, self.spelled, str(job.id), type(outcome).__name__, code, answer))

    def start(
        self, script: Script, context: Context, begin: Begin, report_to: Route | None, param: str | None, place: Place
    ) -> int:
        self._launching = place, "" if report_to is None else _name_of(script, report_to)
        try:
            return super().start(script, context, begin, report_to, param, place)
        finally:
            self._launching = None

    def _submit(self, begin: JobRequest, timeout_s: float, settled: Callable[[Job, Outcome], None]) -> Job:
        if self._launching is None:
            return super()._submit(begin, timeout_s, settled)
        place, report = self._launching

        def reported(job: Job, outcome: Outcome) -> None:
            self._reporting = job, outcome
            settled(job, outcome)

        job = super()._submit(begin, timeout_s, reported)
        at_s, file = CLOCK.at_s, str(place.file)
        KERNEL.note(events.Launched(at_s, self.spelled, str(job.id), report, file, place.line, timeout_s))
        return job

    def _report(self, launched: Launched, write: Callable[[Context], int]) -> None:
        reporting, self._reporting = self._reporting, None

        def noted(context: Context) -> int:
            code = write(context)
            if reporting is not None:
                job, outcome = reporting
                what = type(outcome).__name__
                KERNEL.note(events.Reported(CLOCK.at_s, self.spelled, str(job.id), what, code))
            return code

        super()._report(launched, noted)

    def _tell_failed(self, context: Context, place: Place, what: str, cause: BaseException | None) -> None:
        KERNEL.note(events.ScriptFailed(CLOCK.at_s, self.spelled, str(place.file), place.line, what))
        super()._tell_failed(context, place, what, cause)

    def held(self) -> dict[str, int]:
        return {**super().held(), "parked": len(self.parked)}


class SimulatedSip(_Scripted, SipProcess):
    """A SIP process."""

    def __init__(self, child: Child, house: House) -> None:
        super().__init__(child, house)
        self._left: dict[str, Place] = {}
        """By Call-ID, the last statement that ran for a request, where statements are watched."""
        self._relayed: set[str] = set()

    def open(self) -> None:
        super().open()
        perform = self.transactions._perform_one

        def performed(key: str, effect: Told) -> None:
            self._note_unanswered(key, effect)
            perform(key, effect)

        self.transactions._perform_one = performed  # type: ignore[method-assign]

    def _note_unanswered(self, key: str, effect: Told) -> None:
        kept = self.transactions._kept.get(key)
        request = None if kept is None else kept.request
        if request is None or key in self._waiting:
            return
        if isinstance(effect, Unanswered) or effect == Terminated(NO_REPLY):
            call = request.call_id
            place = self._left.get(call)
            file, line = (place.file, place.line) if place is not None else ("", 0)
            KERNEL.note(events.Unanswered(CLOCK.at_s, self.spelled, call, file, line, call in self._relayed))

    def _run(self, context: Context, route: Route, then: Then) -> Ended | None:
        ended = super()._run(context, route, then)
        watch, message = self.house.program.watch, context.message
        if isinstance(watch, Watching) and watch.last is not None and isinstance(message, Request):
            self._left[message.call_id] = watch.last
        return ended

    def relay(self, context: Context) -> int:
        if isinstance(context.message, Request):
            self._relayed.add(context.message.call_id)
        return super().relay(context)

    def held(self) -> dict[str, int]:
        relayed = {"transactions": len(self.transactions), "branches": len(self.proxy.clients)}
        return {**super().held(), **relayed, "waits for a CANCEL": len(self._waiting)}


class SimulatedMi(_Scripted, MiProcess):
    """The MI process. The machine itself is its outside program."""

    async def _open_transports(self) -> None:
        self._service = Service(self._perform)
        self._asked: set[Any] = set()

    def command(self, asked: Command) -> None:
        if asked.text == HELD:
            return super().command(asked)
        task = self.loop.create_task(self._answer(asked))
        self._asked.add(task)
        task.add_done_callback(self._asked.discard)
        return None

    async def _answer(self, asked: Command) -> None:
        KERNEL.put(Answered(asked.number, await self._service.answer(asked.text, "simulation") or b""))


class SimulatedWorker(_Simulated, WorkerProcess):
    """A job worker."""


KINDS: Final[dict[str, type[Process]]] = {SIP: SimulatedSip, WORKER: SimulatedWorker, MI: SimulatedMi}
"""By role."""


def spelled(peer: Peer) -> str:
    """A process's name in events, with its incarnation."""
    return f"{peer.name}.{peer.incarnation}"


def _name_of(script: Script, route: Route) -> str:
    return next((name for name, found in script.routes.named.items() if found is route), "")


def shown(answer: bytes) -> str:
    """The beginning of an answer, bytes spelled as latin-1."""
    return answer[:_SHOWN].decode("latin-1")
