"""A process that runs script routes: parking, resuming, launching, reporting.

Parking is putting a context into one dict under its job's name; resuming is taking it out of there again. The
pool settles every job exactly once, from a fresh turn of the loop, so a context resumes exactly once, here, and
never on the stack that parked it.
"""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Final, Literal, assert_never

from runtime.context import Context, Document, RouteType, Value
from runtime.futures import FutureRequest, FutureWait
from runtime.house import House
from runtime.log_levels import to_python
from runtime.process import Process
from runtime.roles import CATCH_UP
from runtime.route_clock import RouteClock
from runtime.runs import UNWRITABLE, Ended, Launched, Parked, Route, Then, nothing_more, unwritten
from runtime.script.declare import BatchRequest, Begin, JobRequest, Refused
from runtime.script.documents import copy_of
from runtime.script.problems import AssertionFailed, Place, ScriptError, Stopped, in_words
from runtime.script.script import DROP, Exit, Script
from runtime.sip.dns_records import Query
from runtime.sip.message import Request, dummy_request
from runtime.sip.own_request import OwnRequest
from runtime.steps import ServerStep
from workers.birth import Child
from workers.gathering import GatheredAll, Wanted, gather
from workers.jobs import Job, JobId, Outcome, Peer
from workers.steps import after, before

log = logging.getLogger("layby.process")
script_log = logging.getLogger("layby.script")
script_log.setLevel(1)  # the compiled code has compared with xlog_level, which is not log_level

_FEW_PARKED: Final = 250
"""So many parked messages are kept as they were parsed, 1 MB at most by and large: most are taken up again at once."""
# There are few different ones, and each parked message would have one of its own.
_seconds: Final = lru_cache(maxsize=256)(float)
_NO_VARIABLES: Final[dict[str, Value]] = {}
_NO_DOCUMENTS: Final[dict[str, Document]] = {}
_APART_S: Final = 0.1
"""How long after one another processes look for a newer script, where nobody may be left who tells them when."""


class ScriptProcess(Process):
    """Base of the processes in which routes run."""

    def __init__(self, child: Child, house: House) -> None:
        super().__init__(child, house)
        self.count: Callable[[str], None] = house.statistics.count
        """Count one of the server's statistics, by its full name."""
        self.variables: dict[str, Value] = {}
        self.documents: dict[str, Document] = {}
        self.parked: dict[int, Parked] = {}
        """What is put aside, by the serial of the job that it waits for."""
        self.route_clock: RouteClock | None = None
        """Where routes have a limit."""
        self.dns_asked: Callable[[Query, float], object] | None = None
        """Told of each question to DNS, and how many seconds the answer took; None where nobody wants to know."""
        self._due = 0
        """Resumptions and reports that wait for the next turn of the loop, and futures that contexts wait for."""
        self._futures = 0
        """Counts downwards: what waits for a future is known by such a number, where others have their job's serial."""
        self._newest = 0
        """The serial of what was put aside last, where many were; see `_pack_older`."""
        self._told = self._settled
        """Made once: to make it for each job that is waited for cost 64 bytes while it is."""
        self._then: Then = nothing_more
        """What follows the run that is on the stack now."""
        self._end: Ended | None = Ended.WELL
        """How that run ends, as far as is known; None where it was parked."""

    def open(self) -> None:
        target = self.house.program.target
        target.process, target.log_level = self, self.house.xlog_levels.level_of(self.slot)
        try:
            self.house.program.catch_up(self.house.folder)
        except Exception:
            # A reload that went wrong must not keep a replacement from serving with the script it was forked with.
            log.exception("the reloaded script cannot be taken; serving the one from the start")
        self.letters[CATCH_UP] = self._on_catch_up

    def on_peer_up(self, peer: Peer, slot: int) -> None:
        # It may have looked for a newer script just before there was one, and been announced just after all were told.
        if self.house.program.is_published(self.house.folder):
            self.node.post(peer, CATCH_UP, b"")

    def on_peer_down(self, peer: Peer) -> None:
        # It may have been about to have the processes take a newer script, one after the other.
        if self.house.program.is_published(self.house.folder):
            self.loop.call_later(self.slot * _APART_S, self.catch_up)

    def _on_catch_up(self, sender: Peer, body: bytes) -> None:
        self.catch_up()

    def unfinished(self) -> int:
        return super().unfinished() + self._due

    def give_up(self) -> None:
        while self.parked:
            self.parked.popitem()[1].abandon()

    # Running.

    def run_script(self, context: Context, route: Route, then: Then) -> None:
        """Run a route, and when it has come to its end, now or after it was parked, do what follows.

        Args:
            context: what it runs on.
            route: the compiled route.
            then: called exactly once, never on the stack of the route; not at all where the context is given up at the
                end of a drain.
        """
        ended = self._run(context, route, then)
        if ended is not None:
            then(context, ended)

    def _run(self, context: Context, route: Route, then: Then) -> Ended | None:
        """How the route ended; None when it parked. A failure is logged and counted and ends nothing else."""
        outer = self._then, self._end
        self._then, self._end = then, Ended.WELL
        clock = self.route_clock
        timed = clock is not None and clock.begin()
        try:
            dropped = route(context) is DROP
            return Ended.DROPPED if dropped else self._end
        except ScriptError as error:
            self._tell_failed(context, error.place, error.what, error.cause)
            return Ended.FAILED
        finally:
            self._then, self._end = outer
            if timed and clock is not None:
                clock.end(context)

    def dummy_context(self, script: Script, route: RouteType = RouteType.REQUEST) -> Context:
        """A context with no message behind it, for reports, timers and startup.

        Args:
            script: the one whose route will run.
            route: the kind of that route.
        """
        request = dummy_request()
        return Context(
            request,
            route=route,
            ruri=request.ruri,
            variables=self.variables,
            documents=self.documents,
            script=script,
        )

    # The hooks that compiled routes call.

    def park(
        self, script: Script, context: Context, begin: Begin, resume_route: str, timeout_s: int | None, place: Place
    ) -> None:
        """`async(f(), resume_route, timeout_s)`: put the context aside until the job has an outcome."""
        self.wait(script, context, begin, _named(script, resume_route, place), place, timeout_s)

    @before(ServerStep.PARKING)
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
        """Put the context aside until what is begun has an outcome; False where another process has its message.

        Never resumes before it returns: what could not even be asked for is resumed in the next turn of the loop.
        """
        if not self.hold(context):
            self._end = Ended.ELSEWHERE
            return False
        self._end = None
        variables = dict(self.variables) if self.variables else _NO_VARIABLES
        documents = copy_of(self.documents) if self.documents else _NO_DOCUMENTS
        parked = Parked(context, resume, script, place, variables, documents, self._then, abandon)
        self.count("async:parked")
        match begin:
            case Refused(finish):
                self.soon(partial(self._resume, parked, finish))
            case FutureRequest():
                self._await(parked, begin)
            case JobRequest():
                within_s = _seconds(timeout_s or begin.timeout_s)  # 0 seconds: no time of its own
                parked.finish = begin.finish
                self._put_aside(parked, [self._submit(begin, within_s, self._told)], within_s)
            case BatchRequest():
                within_s = _seconds(timeout_s or begin.timeout_s)
                self._put_aside(parked, self._submit_all(begin, within_s, partial(self._all_settled, begin)), within_s)
            case _:
                assert_never(begin)
        return True

    @after(ServerStep.PARKED)
    def _put_aside(self, parked: Parked, jobs: list[Job], within_s: float) -> None:
        # By the first of its jobs: the others are settled with it.
        serial = jobs[0].serial
        self.parked[serial] = parked
        if len(jobs) > 1:
            parked.cancel = partial(self._cancel_all, jobs)
        if len(self.parked) > _FEW_PARKED:
            self._pack_older(serial)
        self.house.statistics.count("async:waiting")
        self.on_parked(parked.context, serial, within_s)

    def _pack_older(self, serial: int) -> None:
        """Pack what was put aside before this one. This one itself is still on the stack, which may look at it."""
        older, self._newest = self.parked.get(self._newest), serial
        packed = None if older is None else older.pack()
        if packed is not None:
            self.on_packed(packed)

    def cancel_wait(self, serial: int) -> None:
        """Have what is parked under that number resumed soon: nobody wants to wait for its end."""
        parked = self.parked.get(serial)
        if parked is None:
            return
        if parked.cancel is None:
            self.node.cancel(JobId(self.peer, serial), "CANCEL")
        else:
            parked.cancel()

    def _cancel_all(self, jobs: list[Job]) -> None:
        for job in jobs:
            self.node.cancel(job.id, "CANCEL")

    def _await(self, parked: Parked, begin: FutureRequest) -> None:
        self._futures -= 1
        self._due += 1
        serial = self._futures

        def settled(ending: Outcome | None) -> None:
            self._due -= 1
            self._take_up(serial, lambda context: begin.finish(context, ending))

        waiting, close = FutureWait(self.loop, begin, settled), parked.abandon

        def abandon() -> None:
            if waiting.close():
                self._due -= 1
            close()

        parked.abandon, parked.cancel = abandon, waiting.cancel
        self.parked[serial] = parked
        self.house.statistics.count("async:waiting")
        self.on_parked(parked.context, serial, begin.timeout_s)

    def launch(
        self, script: Script, context: Context, begin: Begin, report_route: str | None, param: str | None, place: Place
    ) -> int:
        """`launch(f(), report_route, param)`: the script goes on at once; a report follows, exactly once."""
        report = None if report_route is None else _named(script, report_route, place)
        return self.start(script, context, begin, report, param, place)

    @after(ServerStep.LAUNCHED)
    def start(
        self, script: Script, context: Context, begin: Begin, report_to: Route | None, param: str | None, place: Place
    ) -> int:
        """Begin something and go on; `report_to` runs on a message of its own when that has an outcome. Gives `$rc`."""
        report = partial(self._report, Launched(report_to, param, script, place, context.dialog))
        self.count("async:launched")
        match begin:
            case Refused(finish):
                self.soon(partial(report, finish))
            case JobRequest(finish=finish):
                self._submit(begin, begin.timeout_s, lambda _, outcome: report(lambda fresh: finish(fresh, outcome)))
            case BatchRequest(finish=write):
                self._submit_all(begin, begin.timeout_s, lambda _, ends: report(lambda fresh: write(fresh, ends)))
            case _:
                assert_never(begin)
        return 1

    def log(self, level: int, text: str, context: Context, place: Place | None) -> None:
        """What the script says, and what is wrong in it; the compiled code has checked the level."""
        shown = _readable(text)
        script_log.log(to_python(level), "%s", shown if place is None else _line(place, shown, context))

    def own_log_level(self) -> int:
        """The level up to which this process logs: `$log_level`."""
        return self.house.levels.get(self.slot)

    def set_log_level(self, which: Literal["log", "xlog"], level: int | None) -> None:
        """Assign `$log_level` or `$xlog_level`; None lets this process follow the server's level again."""
        levels = self.house.levels if which == "log" else self.house.xlog_levels
        if level is None:
            levels.reset(self.slot)
        else:
            levels.set(self.slot, level)

    # What scripts ask of a request. Only SIP processes have any; but a route may be run by others, too.

    def new_transaction(self, context: Context) -> bool:
        """See `SipProcess`."""
        return False

    def relay(self, context: Context) -> int:
        """See `SipProcess`."""
        return -1

    def reply(self, context: Context, code: int, reason: str, body: bytes = b"") -> int:
        """See `SipProcess`."""
        return -1

    def send_reply(self, context: Context, code: int, reason: str) -> int:
        """See `SipProcess`."""
        return -1

    def start_request(self, wanted: OwnRequest, avps: dict[str, list[Value]]) -> None:
        """Send a request of our own, out of any dialog, whose end only the routes hear of that its local route arms.

        Args:
            wanted: what to send.
            avps: what the local route finds as AVPs.

        Raises:
            ValueError: it is no request, or too many wait already for a process that can send one.
        """
        raise NotImplementedError

    # What a kind of process adds to parking.

    def hold(self, context: Context) -> bool:
        """See that the message is this process's to keep; False when another process has it, so nothing parks."""
        return True

    def on_parked(self, context: Context, serial: int, timeout_s: float) -> None:
        """The context is put aside under a number, for `timeout_s` seconds at most; see `cancel_wait`."""

    def on_packed(self, context: Context) -> None:
        """The context is kept in little room from now on, and another one will resume in its place."""

    def on_resuming(self, context: Context, serial: int) -> None:
        """The context is taken up again from where it was put aside; its resume route runs next."""

    # Endings.

    def _submit(self, begin: JobRequest, timeout_s: float, settled: Callable[[Job, Outcome], None]) -> Job:
        return self.node.submit(
            begin.handler,
            begin.payload,
            label=begin.label,
            timeout_s=timeout_s,
            settled=settled,
            idempotent=begin.idempotent,
        )

    def _submit_all(self, begin: BatchRequest, timeout_s: float, settled: GatheredAll) -> list[Job]:
        kind = self.node.kind
        wanted = [Wanted(kind(one.handler, one.label, idempotent=one.idempotent), one.payload) for one in begin.jobs]
        return gather(self.node, wanted, timeout_s, settled)

    def soon(self, work: Callable[[], None]) -> None:
        """Do something in the next turn of the loop, and count it as unfinished until then."""
        self._due += 1

        def run() -> None:
            self._due -= 1
            work()

        self.loop.call_soon(run)

    def _settled(self, job: Job, outcome: Outcome) -> None:
        parked = self.parked.get(job.serial)
        finish = unwritten if parked is None else parked.finish
        self._take_up(job.serial, lambda context: finish(context, outcome))

    def _all_settled(self, begin: BatchRequest, jobs: list[Job], outcomes: list[Outcome]) -> None:
        self._take_up(jobs[0].serial, lambda context: begin.finish(context, outcomes))

    def _take_up(self, serial: int, write: Callable[[Context], int]) -> None:
        parked = self.parked.pop(serial, None)
        if parked is None:
            # Given up at the end of a drain: its transaction was answered there.
            self.count("async:resume_lost")
            return
        self.house.statistics.count("async:waiting", -1)
        self.on_resuming(parked.context, serial)
        self._resume(parked, write)

    @before(ServerStep.TAKEN_UP)
    def _resume(self, parked: Parked, write: Callable[[Context], int]) -> None:
        self.count("async:resumed")
        self.variables.update(parked.variables)
        self.documents.update(parked.documents)
        context = parked.context
        context.variables = self.variables
        context.documents = self.documents
        context.params = ()
        ended: Ended | None = Ended.FAILED
        if self._written(context, write, parked.place):
            ended = self._run(context, parked.resume, parked.then)
        else:
            parked.abandon()
        if ended is None:
            return
        try:
            parked.then(context, ended)
        except Exception:
            log.exception("%s: what follows a resumed route failed", parked.place)

    @before(ServerStep.REPORTING)
    def _report(self, launched: Launched, write: Callable[[Context], int]) -> None:
        context = self.dummy_context(launched.script)
        context.dialog = launched.dialog
        self.count("async:reported")
        if not self._written(context, write, launched.place):
            context.rc = UNWRITABLE
        if launched.report is None:
            if context.rc < 0:
                script_log.info("%s: launched, and it ended with %d", launched.place, context.rc)
            return
        context.params = () if launched.param is None else (launched.param,)
        self._run(context, launched.report, nothing_more)

    def _written(self, context: Context, write: Callable[[Context], int], place: Place) -> bool:
        """Put an outcome into a context; False when that raised, which is a fault of the module that gave `write`."""
        try:
            context.rc = write(context)
        except Exception as error:
            self._tell_failed(context, place, f"the outcome could not be written: {in_words(error)}", error)
            return False
        return True

    def _tell_failed(self, context: Context, place: Place, what: str, cause: BaseException | None) -> None:
        """Count and log a statement that failed; with Python's traceback where everything is logged."""
        self.count("async:script_errors")
        asserted = isinstance(cause, AssertionFailed)
        script_log.log(
            logging.CRITICAL if asserted else logging.ERROR,
            "%s",
            _line(place, what, context),
            exc_info=cause if log.isEnabledFor(logging.DEBUG) else None,
        )
        if asserted and self.house.program.script.globals.get("abort_on_assert"):
            os.kill(self.house.attendant_pid, signal.SIGTERM)


def _named(script: Script, name: str, place: Place) -> Route:
    """The route of that name in that very script."""
    return script.routes.named.get(name) or partial(_not_there, name, place)


def _not_there(name: str, place: Place, context: Context) -> Exit | None:
    raise ScriptError(place, Stopped(f"there is no route[{name}]"))


def _line(place: Place, what: str, context: Context) -> str:
    """A line about a statement: where it stands, what is wrong, and with which message."""
    message = context.message
    method = message.method if isinstance(message, Request) else message.cseq_method
    return f"{place}: {what} [{method} {_readable(message.call_id)}]"


def _readable(script: str) -> str:
    """A script string as real text, for people to read."""
    return script if script.isascii() else script.encode("latin-1", "replace").decode("utf-8", "replace")
