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

from msgspec.structs import replace

from mi_script.service import Service
from runtime.context import Context, Value
from runtime.futures import FutureRequest
from runtime.house import House
from runtime.mi_process import MiProcess
from runtime.packed import unpack_request
from runtime.process import Process
from runtime.roles import MI, SIP, WORKER
from runtime.runs import Ended, Launched, Parked, Route, Then
from runtime.script.declare import BatchRequest, Begin, JobRequest
from runtime.script.problems import Place
from runtime.script.script import Script
from runtime.script_process import ScriptProcess
from runtime.server_transactions import ServerTransactions
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
from workers.gathering import GatheredAll
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
        kind = running.job.kind
        KERNEL.note(events.JobBegan(CLOCK.at_s, self.spelled, job, kind.label, kind.idempotent))
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
    _reporting: tuple[list[Job], list[Outcome]] | None = None
    """Of which launched jobs the outcomes are being told."""

    def __init__(self, child: Child, house: House) -> None:
        super().__init__(child, house)
        self._before: dict[int, tuple[dict[str, list[Value]], dict[str, Value]]] = {}
        """The AVPs and script variables of what is parked, as they were."""
        SHARING.enter(self.spelled, house.program)
        self._calls: dict[str, str] = {}
        """Call-IDs by transaction."""
        self._changed: list[str] = []
        """Which script variables of what is taken up are not as they were."""
        self._parking = 0
        """How many routes on the stack park something just now."""

    def park(
        self, script: Script, context: Context, begin: Begin, resume_route: str, timeout_s: int | None, place: Place
    ) -> None:
        self._resume_name = resume_route
        super().park(script, context, begin, resume_route, timeout_s, place)
        self._resume_name = ""

    def wait(
        self,
        script: Script,
        context: Context,
        begin: Begin | FutureRequest,
        resume: Route,
        place: Place,
        timeout_s: int | None = None,
        abandon: Callable[[], None] = lambda: None,
    ) -> bool:
        self._parking += 1
        try:
            return super().wait(script, context, begin, resume, place, timeout_s, abandon)
        finally:
            self._parking -= 1

    def _put_aside(self, parked: Parked, jobs: list[Job], within_s: float) -> None:
        place = parked.place
        call = self._call_of(parked.context)
        job, name = str(jobs[0].id), self._resume_name
        at_s, line = CLOCK.at_s, place.line
        KERNEL.note(events.Parked(at_s, self.spelled, job, name, str(place.file), line, within_s, call))
        avps = {name: list(values) for name, values in parked.context.avps.items()}
        self._before[jobs[0].serial] = avps, dict(self.variables)
        SHARING.parked(parked.context, place)
        super()._put_aside(parked, jobs, within_s)

    def _take_up(self, serial: int, write: Callable[[Context], int]) -> None:
        before, parked = self._before.pop(serial, None), self.parked.get(serial)
        if before is None or parked is None:
            return super()._take_up(serial, write)
        avps, variables = before
        self._compare(JobId(self.peer, serial), avps, parked.context.avps)

        def written(context: Context) -> int:
            self._changed = [f"$var({name})" for name, was in variables.items() if self.variables.get(name) != was]
            return write(context)

        super()._take_up(serial, written)
        return None

    def _call_of(self, context: Context) -> str:
        """The Call-ID of a request that came, else nothing; known by its transaction, for what waits is compact."""
        message, key = context.message, context.transaction
        if context.source is None or not isinstance(message, Request):
            return ""
        call = self._calls.get(key) if key is not None else None
        if call is None:
            call = message.call_id
            if key is not None:
                self._calls[key] = call
        return call

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

    def _settled(self, job: Job, outcome: Outcome) -> None:
        parked = self.parked.get(job.serial)
        if parked is not None:
            finish = parked.finish

            def noted(context: Context, ended: Outcome) -> int:
                code = finish(context, ended)
                self._note_resumed(context, [job], [ended], code)
                return code

            parked.finish = noted
        super()._settled(job, outcome)

    def _all_settled(self, begin: BatchRequest, jobs: list[Job], outcomes: list[Outcome]) -> None:
        def noted(context: Context, ended: list[Outcome]) -> int:
            code = begin.finish(context, ended)
            self._note_resumed(context, jobs, ended, code)
            return code

        super()._all_settled(replace(begin, finish=noted), jobs, outcomes)

    def _note_resumed(self, context: Context, jobs: list[Job], outcomes: list[Outcome], code: int) -> None:
        call, (answer, others) = self._call_of(context), _told(jobs, outcomes)
        at_s, job, what = CLOCK.at_s, str(jobs[0].id), type(outcomes[0]).__name__
        nested, changed = self._parking > 0, self._changed
        KERNEL.note(events.Resumed(at_s, self.spelled, job, what, code, answer, call, others, changed, nested))

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

        def reported(job: Job, outcome: Outcome) -> None:
            self._reporting = [job], [outcome]
            settled(job, outcome)

        job = super()._submit(begin, timeout_s, reported)
        self._note_launched(job, timeout_s, *self._launching)
        return job

    def _submit_all(self, begin: BatchRequest, timeout_s: float, settled: GatheredAll) -> list[Job]:
        if self._launching is None:
            return super()._submit_all(begin, timeout_s, settled)

        def reported(jobs: list[Job], outcomes: list[Outcome]) -> None:
            self._reporting = jobs, outcomes
            settled(jobs, outcomes)

        jobs = super()._submit_all(begin, timeout_s, reported)
        self._note_launched(jobs[0], timeout_s, *self._launching)
        return jobs

    def _note_launched(self, job: Job, timeout_s: float, place: Place, report: str) -> None:
        at_s, file = CLOCK.at_s, str(place.file)
        KERNEL.note(events.Launched(at_s, self.spelled, str(job.id), report, file, place.line, timeout_s))

    def _report(self, launched: Launched, write: Callable[[Context], int]) -> None:
        reporting, self._reporting = self._reporting, None

        def noted(context: Context) -> int:
            code = write(context)
            if reporting is not None:
                self._note_reported(*reporting, code)
            return code

        super()._report(launched, noted)

    def _note_reported(self, jobs: list[Job], outcomes: list[Outcome], code: int) -> None:
        answer, others = _told(jobs, outcomes)
        job, what = str(jobs[0].id), type(outcomes[0]).__name__
        KERNEL.note(events.Reported(CLOCK.at_s, self.spelled, job, what, code, answer, others))

    def _tell_failed(self, context: Context, place: Place, what: str, cause: BaseException | None) -> None:
        KERNEL.note(events.ScriptFailed(CLOCK.at_s, self.spelled, str(place.file), place.line, what))
        super()._tell_failed(context, place, what, cause)

    def held(self) -> dict[str, int]:
        return {**super().held(), "parked": len(self.parked)}


class WatchedTransactions(ServerTransactions):
    """The real ones; somebody is told what becomes of each before it does.

    Attributes:
        tell: told a transaction's key and what is to be performed.
    """

    tell: Callable[[str, Told], None]

    def _perform_one(self, key: str, effect: Told) -> None:
        self.tell(key, effect)
        super()._perform_one(key, effect)


class SimulatedSip(_Scripted, SipProcess):
    """A SIP process."""

    makes_transactions = WatchedTransactions

    def __init__(self, child: Child, house: House) -> None:
        super().__init__(child, house)
        self._left: dict[str, Place] = {}
        """By Call-ID, the last statement that ran for a request, where statements are watched."""
        self._relayed: set[str] = set()

    def open(self) -> None:
        super().open()
        assert isinstance(self.transactions, WatchedTransactions), "they were made just now"
        self.transactions.tell = self._note_unanswered

    def _note_unanswered(self, key: str, effect: Told) -> None:
        kept = self.transactions._kept.get(key)
        request = None if kept is None else kept.request
        if request is None or key in self._waiting:
            return
        if isinstance(request, bytes):
            request = unpack_request(request)
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

    def send_reply(self, context: Context, code: int, reason: str) -> int:
        statement, message = statement_on(sys._getframe(1)), context.message
        if code >= 200 and statement is not None and isinstance(message, Request):
            file, line = str(statement.place.file), statement.place.line
            stateless = context.transaction is None
            KERNEL.note(events.Replied(CLOCK.at_s, self.spelled, message.call_id, code, file, line, stateless))
        return super().send_reply(context, code, reason)

    def relay(self, context: Context) -> int:
        if isinstance(context.message, Request):
            self._relayed.add(context.message.call_id)
        return super().relay(context)

    def held(self) -> dict[str, int]:
        return {
            **super().held(),
            "transactions": len(self.transactions),
            "requests kept": len(self.transactions._kept),
            "fingerprints": self.house.fingerprints.count(self.slot),
            "relays": len(self.proxy.relays),
            "branches": len(self.proxy.clients),
            "requests of its own": self.uac.under_way,
            "waits for a CANCEL": len(self._waiting),
        }


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


def _told(jobs: list[Job], outcomes: list[Outcome]) -> tuple[str, list[tuple[str, str]]]:
    """What is told as the answer of the first of some jobs, and as those of the others."""
    first, *others = zip(jobs, outcomes, strict=True)
    answers = [(str(job.id), shown(ended.payload)) for job, ended in others if isinstance(ended, Returned)]
    return shown(first[1].payload) if isinstance(first[1], Returned) else "", answers


def shown(answer: bytes) -> str:
    """The beginning of an answer, bytes spelled as latin-1."""
    return answer[:_SHOWN].decode("latin-1")
