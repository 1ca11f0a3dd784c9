"""A process that runs script routes: parking, resuming, launching, reporting.

Parking is putting a context into one dict under its job's name; resuming is taking it out of there again. The
pool settles every job exactly once, from a fresh turn of the loop, so a context resumes exactly once, here, and
never on the stack that parked it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, assert_never

from runtime.context import Context, RouteType, Value
from runtime.house import House
from runtime.log_levels import to_python
from runtime.process import Process
from runtime.script.declare import Begin, JobRequest, Refused
from runtime.script.problems import Place, ScriptError
from runtime.script.script import Exit, Script
from runtime.sip.message import dummy_request
from workers.birth import Child
from workers.jobs import JobId, Outcome

script_log = logging.getLogger("layby.script")
script_log.setLevel(1)  # the compiled code has compared with xlog_level, which is not log_level

Route = Callable[[Context], Exit | None]

ASYNC_COUNTERS: Final = ("parked", "resumed", "resume_lost", "launched", "reported", "script_errors")


@dataclass(slots=True)
class Parked:
    """A context that waits for its job.

    Args:
        variables: the `$var`s as they were; the process's own go on changing meanwhile.
        script: the one it was parked under; a reload does not change where it resumes.
    """

    context: Context
    route: str
    finish: Callable[[Context, Outcome], int]
    script: Script
    place: Place
    variables: dict[str, Value]


class ScriptProcess(Process):
    """Base of the processes in which routes run."""

    def __init__(self, child: Child, house: House) -> None:
        super().__init__(child, house)
        self.variables: dict[str, Value] = {}
        self.parked: dict[JobId, Parked] = {}
        self._cells = {name: house.statistics.cell(f"async:{name}") for name in ASYNC_COUNTERS}

    def open(self) -> None:
        self.house.program.hooks.target = self
        self.house.program.catch_up(self.house.folder)

    def unfinished(self) -> int:
        return super().unfinished() + len(self.parked)

    def count(self, name: str) -> None:
        self.house.statistics.add(self._cells[name])

    # Running.

    def run_route(self, context: Context, route: Route) -> bool:
        """Run a route to its end; False when it failed, which is logged and counted and ends nothing else."""
        try:
            route(context)
        except ScriptError as error:
            self.count("script_errors")
            message = context.message
            script_log.error("%s [%s %s]", error, getattr(message, "method", "reply"), message.call_id)
            return False
        return True

    def dummy_context(self, route: RouteType = RouteType.REQUEST) -> Context:
        """A context with no message behind it, for reports, timers and startup."""
        request = dummy_request()
        return Context(request, route=route, ruri=request.ruri, variables=self.variables)

    # The hooks that compiled routes call.

    def park(self, context: Context, begin: Begin, resume_route: str, timeout_s: int | None, place: Place) -> None:
        """`async(f(), resume_route, timeout_s)`: put the context aside until the job has an outcome."""
        script = self.house.program.script
        match begin:
            case Refused():
                # As in OpenSIPS: what could not be asked for resumes at once, on the same message.
                context.rc = begin.finish(context)
                self._resume_in(context, script, resume_route, place)
            case JobRequest():
                if not self.hold(context):
                    return
                parked = Parked(context, resume_route, begin.finish, script, place, dict(self.variables))
                within_s = begin.timeout_s if timeout_s is None else float(timeout_s)
                job = self._submit(begin, within_s, self._settled)
                self.parked[job] = parked
                # Its bytes are enough: what was parsed of it is parsed again when somebody asks.
                context.message.compact()
                self.count("parked")
                self.on_parked(context, job, within_s)
            case _:
                assert_never(begin)

    def launch(self, context: Context, begin: Begin, report_route: str | None, param: str | None, place: Place) -> int:
        """`launch(f(), report_route, param)`: the script goes on at once; a report follows, exactly once."""
        script = self.house.program.script

        def report(write: Callable[[Context], int]) -> None:
            self._report(script, report_route, param, place, write)

        self.count("launched")
        match begin:
            case Refused():
                self.loop.call_soon(report, begin.finish)
            case JobRequest():
                finish = begin.finish
                self._submit(begin, begin.timeout_s, lambda _, outcome: report(lambda fresh: finish(fresh, outcome)))
            case _:
                assert_never(begin)
        return 1

    def log(self, level: int, text: str, context: Context, place: Place) -> None:
        """`xlog` and `log`, whose level the compiled code has checked."""
        script_log.log(to_python(level), "%s", text.encode("latin-1", "replace").decode("utf-8", "replace"))

    def log_level(self) -> int:
        """The level up to which `xlog` writes."""
        return self.house.xlog_levels.get(self.slot)

    # What a kind of process adds to parking.

    def hold(self, context: Context) -> bool:
        """See that the message is this process's to keep; False when another process has it, so nothing parks."""
        return True

    def on_parked(self, context: Context, job: JobId, timeout_s: float) -> None:
        """The context is put aside, for `timeout_s` seconds at most."""

    def on_resuming(self, context: Context) -> None:
        """The context is taken up again; its resume route runs next."""

    def on_resumed(self, context: Context, succeeded: bool) -> None:
        """The resume route is through; `succeeded` is False when it failed or is not there any more."""

    # Endings.

    def _submit(self, begin: JobRequest, timeout_s: float, settled: Callable[[JobId, Outcome], None]) -> JobId:
        return self.node.submit(
            begin.handler,
            begin.payload,
            label=begin.label,
            timeout_s=timeout_s,
            settled=settled,
            idempotent=begin.idempotent,
        )

    def _settled(self, job: JobId, outcome: Outcome) -> None:
        parked = self.parked.pop(job, None)
        if parked is None:
            # Given up at the end of a drain: its transaction was answered there.
            self.count("resume_lost")
            return
        self.count("resumed")
        self.variables.update(parked.variables)
        context = parked.context
        context.variables = self.variables
        context.params = ()
        self.on_resuming(context)
        context.rc = parked.finish(context, outcome)
        self._resume_in(context, parked.script, parked.route, parked.place)

    def _resume_in(self, context: Context, script: Script, name: str, place: Place) -> None:
        route = script.routes.named.get(name)
        if route is None:
            script_log.error("%s: route %r is not there any more; the request is answered 500", place, name)
            self.on_resumed(context, succeeded=False)
            return
        context.route_name = name
        self.on_resumed(context, self.run_route(context, route))

    def _report(
        self,
        script: Script,
        name: str | None,
        param: str | None,
        place: Place,
        write: Callable[[Context], int],
    ) -> None:
        context = self.dummy_context()
        context.rc = write(context)
        self.count("reported")
        if name is None:
            if context.rc < 0:
                script_log.info("%s: launched, and it ended with %d", place, context.rc)
            return
        route = script.routes.named.get(name)
        if route is None:
            script_log.error("%s: report route %r is not there any more", place, name)
            return
        context.params = () if param is None else (param,)
        context.route_name = name
        self.run_route(context, route)
