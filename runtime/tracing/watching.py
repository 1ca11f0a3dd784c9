"""The processes of a server that is recorded: the real ones, which write down what happens in them.

A process becomes such a one while it runs, by another class, and the plain one again afterwards. So one that is not
recorded has no question in its code whether it is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, cast

from mi_script.calls import Call, Fault
from mi_script.execute import CANCELLED, Answer, Answered, Executor
from runtime.context import Address, Context
from runtime.futures import FutureRequest
from runtime.mi_process import MiProcess
from runtime.process import Process
from runtime.pyscript.load import PyChecked
from runtime.reception import Reception
from runtime.roles import MI, role_of
from runtime.runs import Ended, Parked, Route, Then
from runtime.script.declare import BatchRequest, Begin, JobRequest
from runtime.script.problems import Place
from runtime.script.script import Script
from runtime.script_process import ScriptProcess
from runtime.server_transactions import Origin
from runtime.sip.message import Message
from runtime.sip_process import SipProcess
from runtime.tracing.recorder import Recorder
from runtime.tracing.records import Asked, Began, Died, Later, Over, Reloaded, Resumed, clean
from runtime.tracing.records import Parked as PutAside
from runtime.transports.base import Failed, ListenSocket
from runtime.transports.transports import Transports
from runtime.worker_process import WorkerProcess
from workers.gathering import GatheredAll
from workers.jobs import Failed as HandlerFailed
from workers.jobs import Job, Outcome, Peer, Returned, WorkerLost
from workers.worker import Running

_UNKNOWN: Final = "(unknown)"


class _WatchedExecutor(Executor):
    """Writes down the commands that are run on somebody's time here."""

    recorder: Recorder
    always: bool
    """Whether also those that no chosen message asked for."""

    def perform(self, call: Call, pretty: bool = False) -> Answer | Awaitable[Answer]:
        recorder = self.recorder
        if not (recorder.on or self.always):
            return super().perform(call, pretty)
        began = recorder.now()
        answer = super().perform(call, pretty)
        name = self._name_of(call)
        if isinstance(answer, Answered | Fault):
            recorder.command(began, name, _code_of(answer))
            return answer
        return self._awaited(began, name, answer)

    async def _awaited(self, began: int, name: str, later: Awaitable[Answer]) -> Answer:
        code = CANCELLED
        try:
            answer = await later
            code = _code_of(answer)
            return answer
        finally:
            self.recorder.command(began, name, code, later=True)

    def _name_of(self, call: Call) -> str:
        found = self._registry.find(call.method)
        return _UNKNOWN if found is None else found.name


def _code_of(answer: Answer) -> int:
    return answer.code if isinstance(answer, Fault) else 0


class _WatchedReception(Reception):
    """Writes down the messages of the calls that were chosen."""

    recorder: Recorder

    def take(self, socket: ListenSocket, data: bytes, source: Address, hops: int = 0) -> None:
        recorder = self.recorder
        outside, recorder.on = recorder.on, recorder.follows(data)
        if not recorder.on:
            try:
                return super().take(socket, data, source, hops)
            finally:
                recorder.on = outside
        began = recorder.now()
        received_ns = 0 if hops or socket.reliable else self._marks.looks_at()
        try:
            return super().take(socket, data, source, hops)
        finally:
            recorder.on = outside
            recorder.message(began, data, received_ns, hops)

    def hand_over(self, owner: int | None, message: Message, socket: ListenSocket, source: Address) -> bool:
        at = self.recorder.now()  # before: it may be taken before this process runs again
        given = super().hand_over(owner, message, socket, source)
        if given and self.recorder.on:
            self.recorder.given(at, message.raw, self._hops + 1)
        return given


class _WatchedTransports(Transports):
    """Writes down what is sent of the calls that were chosen, also what nobody has just asked for."""

    recorder: Recorder

    def send(
        self,
        socket: ListenSocket,
        data: bytes,
        to: Address,
        failed: Failed | None = None,
        otherwise: Address | None = None,
    ) -> bool:
        recorder = self.recorder
        if not (recorder.follows(data) if recorder.on is None else recorder.on):
            return super().send(socket, data, to, failed, otherwise)
        began = recorder.now()
        try:
            return super().send(socket, data, to, failed, otherwise)
        finally:
            recorder.sent(began, data)


class _Watched(Process):
    """What every kind of process writes down: the jobs that it runs, scripts that are replaced, and who died."""

    recorder: Recorder

    def begin_to_watch(self, recorder: Recorder) -> None:
        """Once the process is of this class."""
        self.recorder = recorder
        executor = cast(Any, self.executor)
        executor.__class__ = _WatchedExecutor
        executor.recorder, executor.always = recorder, role_of(self.peer.name) == MI

    def end_watching(self) -> None:
        """Before it is of another class again."""
        cast(Any, self.executor).__class__ = Executor

    def execute(self, payload: bytes, running: Running) -> bytes | Awaitable[bytes]:
        recorder, job = self.recorder, str(running.job.id)
        recorder.put(Began(recorder.now(), job, clean(running.job.kind.label)))
        over = True
        try:
            answer = super().execute(payload, running)
            if isinstance(answer, bytes):
                return answer
            over = False
        finally:
            if over:
                recorder.put(Over(recorder.now(), job))
        recorder.put(Later(recorder.now(), job))
        # As a task at once: what is cancelled before it has begun is closed by its own task.
        task = asyncio.ensure_future(answer, loop=self.loop)
        task.add_done_callback(lambda _: recorder.put(Over(recorder.now(), job)))
        return task

    def catch_up(self) -> int:
        recorder = self.recorder
        began = recorder.now()
        generation = super().catch_up()
        recorder.put(Reloaded(began, recorder.now() - began, generation))
        return generation

    def on_peer_down(self, peer: Peer) -> None:
        self.recorder.put(Died(self.recorder.now(), str(peer), clean(self.ends.get(peer.name, ""))))
        super().on_peer_down(peer)


@contextmanager
def _hearing(
    process: ScriptProcess, recorder: Recorder, jobs: Sequence[Job], outcomes: Sequence[Outcome]
) -> Iterator[None]:
    """While what came of jobs is told. The process may be a plain one again by then."""
    ids = [str(job.id) for job in jobs]
    words = [word_of(outcome) for outcome in outcomes]
    workers = [worker_of(outcome) for outcome in outcomes]
    with _taking_up(recorder, ids, words, workers, reports=jobs[0].serial not in process.parked):
        yield


@contextmanager
def _taking_up(
    recorder: Recorder, ids: list[str], words: list[str], workers: list[str], *, reports: bool = False
) -> Iterator[None]:
    outside, recorder.on = recorder.on, None if recorder.closed else True
    began = recorder.now()
    try:
        yield
    finally:
        recorder.on = outside
        recorder.put(Resumed(began, recorder.now() - began, ids, words, workers, reports))


class _WatchedScripts(_Watched, ScriptProcess):
    """Writes down runs of routes, what they ask for, what they wait for, and what comes of it."""

    def _run(self, context: Context, route: Route, then: Then) -> Ended | None:
        recorder = self.recorder
        outside = recorder.on
        if not (recorder.follows_context(context) if outside is None else outside):
            return super()._run(context, route, then)
        recorder.on = True
        below, began = recorder.begin_run(), recorder.now()
        ended: Ended | None = Ended.FAILED
        try:
            ended = super()._run(context, route, then)
            return ended
        finally:
            recorder.end_run(below)
            recorder.run(began, context, "parked" if ended is None else ended.value)
            recorder.on = outside

    def start(
        self, script: Script, context: Context, begin: Begin, report_to: Route | None, param: str | None, place: Place
    ) -> int:
        recorder, began = self.recorder, self.recorder.now()
        rc = super().start(script, context, begin, report_to, param, place)
        if recorder.on and isinstance(self.house.program.checked, PyChecked):  # else it is told as a statement
            recorder.called(began, "call.launch", place.file, place.line)
        return rc

    def _submit(self, begin: JobRequest, timeout_s: float, settled: Callable[[Job, Outcome], None]) -> Job:
        if not self.recorder.on:
            return super()._submit(begin, timeout_s, settled)
        recorder = self.recorder

        def told(job: Job, outcome: Outcome) -> None:
            with _hearing(self, recorder, [job], [outcome]):
                settled(job, outcome)

        job = super()._submit(begin, timeout_s, told)
        self._asked(job)
        return job

    def _submit_all(self, begin: BatchRequest, timeout_s: float, settled: GatheredAll) -> list[Job]:
        if not self.recorder.on:
            return super()._submit_all(begin, timeout_s, settled)
        recorder = self.recorder

        def told(jobs: list[Job], outcomes: list[Outcome]) -> None:
            with _hearing(self, recorder, jobs, outcomes):
                settled(jobs, outcomes)

        jobs = super()._submit_all(begin, timeout_s, told)
        for job in jobs:
            self._asked(job)
        return jobs

    def _asked(self, job: Job) -> None:
        self.recorder.put(Asked(self.recorder.now(), str(job.id), clean(job.kind.label)))

    def _put_aside(self, parked: Parked, jobs: list[Job], within_s: float) -> None:
        super()._put_aside(parked, jobs, within_s)
        if self.recorder.on:
            self._aside(parked, str(jobs[0].id), clean(jobs[0].kind.label))

    def _await(self, parked: Parked, begin: FutureRequest) -> None:
        super()._await(parked, begin)
        if self.recorder.on:
            self._aside(parked, self._future(self._futures), "future")

    def _aside(self, parked: Parked, job: str, label: str) -> None:
        place = parked.place
        self.recorder.put(PutAside(self.recorder.now(), job, label, clean(place.file), place.line))

    def _future(self, serial: int) -> str:
        return f"{self.peer}.f{-serial}"

    def _take_up(self, serial: int, write: Callable[[Context], int]) -> None:
        parked = self.parked.get(serial)
        if serial > 0 or parked is None or not self.recorder.follows_context(parked.context):
            return super()._take_up(serial, write)
        with _taking_up(self.recorder, [self._future(serial)], ["Done"], [""]):
            return super()._take_up(serial, write)


class WatchedSip(_WatchedScripts, SipProcess):
    """A SIP process that is recorded."""

    def begin_to_watch(self, recorder: Recorder) -> None:
        super().begin_to_watch(recorder)
        reception, transports = cast(Any, self._reception), cast(Any, self.transports)
        reception.__class__, reception.recorder = _WatchedReception, recorder
        transports.__class__, transports.recorder = _WatchedTransports, recorder
        self.transports.tell(self._reception.take)
        self.on_reloaded()

    def on_reloaded(self) -> None:
        super().on_reloaded()
        self.recorder.script(self.house.program)  # now, and not when a message waits for it

    def end_watching(self) -> None:
        cast(Any, self._reception).__class__ = Reception
        cast(Any, self.transports).__class__ = Transports
        self.transports.tell(self._reception.take)
        super().end_watching()

    def run_request(self, origin: Origin) -> None:
        if not self.recorder.on:
            return super().run_request(origin)
        program = self.house.program
        plain, watched = program.script, self.recorder.script(program)
        program.script = watched
        try:
            return super().run_request(origin)
        finally:
            if program.script is watched:  # else it has been replaced meanwhile
                program.script = plain


class WatchedMi(_WatchedScripts, MiProcess):
    """An MI process that is recorded."""


class WatchedWorker(_Watched, WorkerProcess):
    """A job worker that is recorded."""


_WATCHED: Final[dict[type[Process], type[_Watched]]] = {
    SipProcess: WatchedSip,
    MiProcess: WatchedMi,
    WorkerProcess: WatchedWorker,
}
_PLAIN: Final = {watched: plain for plain, watched in _WATCHED.items()}


def can_be_watched(process: Process) -> bool:
    """Whether it is one of a real server, and not recorded yet."""
    return type(process) in _WATCHED


def watch(process: Process, recorder: Recorder) -> None:
    """Have a process write down what it does; see `can_be_watched`."""
    cast(Any, process).__class__ = _WATCHED[type(process)]
    assert isinstance(process, _Watched)
    process.begin_to_watch(recorder)


def leave_alone(process: Process) -> None:
    """Make it a plain process again. The recorder is the caller's to close."""
    assert isinstance(process, _Watched)
    process.end_watching()
    cast(Any, process).__class__ = _PLAIN[type(process)]


def word_of(outcome: Outcome) -> str:
    """How a job ended, in a word."""
    return type(outcome).__name__


def worker_of(outcome: Outcome) -> str:
    """Who ran a job, or lost it; empty where nobody did."""
    return str(outcome.worker) if isinstance(outcome, Returned | HandlerFailed | WorkerLost) else ""
