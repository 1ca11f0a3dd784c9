"""Module mi_script: any MI command from the routing script, in three flavours.

`mi()` runs the command here and now, `async(mi(), route)` parks the message and runs it in another process,
`launch(mi(), route)` runs it with no message attached. All three give the same answer to the same command.
"""

from __future__ import annotations

import inspect
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from msgspec import Struct

from mi_script.calls import Call, Cause, Fault
from mi_script.commands import SERVER_ERROR
from mi_script.execute import ENDED, Answer, Answered, answer_of, pack_call
from mi_script.script import COMPAT_36, Ending, ScriptFault, ending, ending_of, gathered, script_call, split_commands
from runtime.clock import monotonic_now
from runtime.context import Context
from runtime.inline_times import InlineTimes
from runtime.modules.mi_access import ACCESS, DENIED, MiModule
from runtime.roles import COMMAND
from runtime.script.declare import (
    BatchRequest,
    Begin,
    JobRequest,
    Kind,
    Param,
    Parameter,
    Ref,
    Refused,
    asynchronous,
    function,
)
from runtime.script.kept import kept
from runtime.settings import SettingsError
from workers.jobs import Outcome, TimedOut

if TYPE_CHECKING:
    from runtime.process import Process

log = logging.getLogger("layby.mi_script")

_PARAMS: Final = (
    Param("command", Kind.STRING),
    Param("result", Kind.OUTPUT, optional=True),
    Param("names", Kind.AVP, optional=True),
    Param("values", Kind.AVP, optional=True),
)
End: TypeAlias = Fault | Outcome
"""How one of several calls ended: why it was not asked for, or its job's outcome."""
_UNWRITABLE: Final = -3
_MOST_TEXTS: Final = 1000


class MiScript(MiModule):
    """The module as a script loads it."""

    name = "mi_script"
    group = "mi_script"
    counters: Mapping[str, str] = {
        **DENIED,
        "blocking_calls": "Calls of mi() and mi_gather() that were waited for here and now.",
        "async_calls": "Calls by async() and launch().",
        "failed_calls": "Calls that ended with a negative $rc.",
    }
    parameters = (
        *ACCESS,
        Parameter("pretty_printing", int, 0, doc="1 formats results for people, 0 leaves out all white space."),
        Parameter("compat", str, "", doc='"3.6" gives OpenSIPS 3.6\'s parameter order, types and texts.'),
        Parameter("timeout", int, 30, doc="Seconds after which a call that says no time of its own is given up."),
        Parameter(
            "on_cancel", str, "resume", doc='"wait" lets a cancelled INVITE stay parked until its job has ended.'
        ),
    )

    def __init__(self, settings: dict[str, Any] | None = None) -> None:
        super().__init__(settings)
        self._times = InlineTimes()
        self._pretty = bool(self.settings["pretty_printing"])
        self._compat = str(self.settings["compat"])
        self._written = kept(_MOST_TEXTS)(lambda text: script_call(text, compat=self._compat))
        """Reads a command with all that it takes in its text: most scripts write the same few again and again."""
        self._here = ""
        """This process, as `$mi(worker)` calls it."""
        if self.settings["compat"] not in ("", COMPAT_36):
            raise SettingsError(
                f'modparam("mi_script", "compat", "{self.settings["compat"]}"): there is only "{COMPAT_36}"'
            )
        if self.settings["on_cancel"] not in ("resume", "wait"):
            raise SettingsError('modparam("mi_script", "on_cancel", …) is "resume" or "wait"', "on_cancel")
        if int(self.settings["timeout"]) < 1:
            raise SettingsError('modparam("mi_script", "timeout", …) must be at least 1 second')

    def enter(self, process: Process) -> None:
        super().enter(process)
        self._here = str(process.peer)

    @function("mi", *_PARAMS)
    def mi(self, c: Context, command: str, result: Ref | None, names: Ref | None, values: Ref | None) -> int:
        """Run an MI command in this process, which serves nothing else until it has ended."""
        call = self._call(c, command, names, values)
        if isinstance(call, ScriptFault):
            self.count("blocking_calls")
            return self._end(c, result, _not_built(call))
        return self._end(c, result, self.run_here(call))

    @asynchronous("mi", *_PARAMS)
    def mi_asynchronous(
        self, c: Context, command: str, result: Ref | None, names: Ref | None, values: Ref | None
    ) -> Begin:
        """Have an MI command run by the least loaded process, as a job."""
        call = self._call(c, command, names, values)
        if isinstance(call, ScriptFault):
            self.count("async_calls")
            fault = _not_built(call)
            return Refused(lambda context: self._end(context, result, fault))
        return self.request(call, _IntoVariable(self, result))

    @function("mi_gather", Param("commands", Kind.STRING), Param("result", Kind.OUTPUT, optional=True))
    def mi_gather(self, c: Context, commands: str, result: Ref | None) -> int:
        """Run MI commands in this process, one after the other: `mi_gather("ps; uptime", $var(r))`.

        `$var(r)` gets a JSON array with an object for each, `{"result": …}` or `{"error": …}`; $rc is 1 where all have
        a result, else that of the first that has none.
        """
        self.count("blocking_calls")
        calls = [self._call(c, command, None, None) for command in split_commands(commands)]
        answers = [
            _no_call(call) if isinstance(call, ScriptFault) else self._answer_here(call) or answer_of(self._too_late())
            for call in calls
        ]
        return self._end(c, result, gathered(answers))

    @asynchronous("mi_gather", Param("commands", Kind.STRING), Param("result", Kind.OUTPUT, optional=True))
    def mi_gather_asynchronous(self, c: Context, commands: str, result: Ref | None) -> Begin:
        """Have MI commands run side by side, each by the least loaded process, and wait once for all of them."""
        self.count("async_calls")
        calls = [self._call(c, command, None, None) for command in split_commands(commands)]

        def finish(context: Context, ends: list[End]) -> int:
            return self._end(context, result, gathered([_answer(end) for end in ends]))

        return self._request_all(calls, finish)

    def request(self, call: Call, write: Callable[[Context, Ending], int], timeout_s: float | None = None) -> Begin:
        """Ask for a command to be run by the least loaded process; `write` puts its ending into the context."""
        self.count("async_calls")
        fault = self.refused(call)
        if fault is not None:
            refused = self._ending(fault)
            return Refused(lambda context: write(context, refused))
        return self._request(call, write, timeout_s)

    def request_all(
        self, calls: Sequence[Call], write: Callable[[Context, list[Ending]], int], timeout_s: float | None = None
    ) -> Begin:
        """Ask for commands to be run side by side, each by the least loaded process; `write` gets all endings."""
        self.count("async_calls")

        def finish(context: Context, ends: list[End]) -> int:
            return write(context, [self._ending(end) for end in ends])

        return self._request_all(calls, finish, timeout_s)

    def _request_all(
        self,
        calls: Sequence[Call | ScriptFault],
        write: Callable[[Context, list[End]], int],
        timeout_s: float | None = None,
    ) -> Begin:
        """Ask for those that can be run and may be; `write` gets an end for each, in their order."""
        faults = [_no_call(call) if isinstance(call, ScriptFault) else self.refused(call) for call in calls]
        run = [call for call, fault in zip(calls, faults, strict=True) if fault is None and isinstance(call, Call)]
        if not run:
            return Refused(lambda context: write(context, [fault for fault in faults if fault is not None]))

        def finish(context: Context, outcomes: list[Outcome]) -> int:
            for job, outcome in zip(jobs, outcomes, strict=True):
                self.house.figures.settled(job.label, outcome, None)  # when each of them ended nobody has told
            left = iter(outcomes)
            return write(context, [fault or next(left) for fault in faults])

        jobs = tuple(self._request(call, lambda *_: 0) for call in run)
        return BatchRequest(jobs, timeout_s or float(self.settings["timeout"]), finish)

    def _ending(self, end: End) -> Ending:
        return ending_of(end, compat=self._compat) if isinstance(end, Fault) else ending(end, self._compat)

    def _request(
        self, call: Call, write: Callable[[Context, Ending], int], timeout_s: float | None = None
    ) -> JobRequest:
        found = self.house.registry.find(call.method)
        name = found.name if found else call.method
        return JobRequest(
            handler=COMMAND,
            label=name,
            payload=pack_call(call, pretty=self._pretty),
            timeout_s=timeout_s or float(self.settings["timeout"]),
            finish=_Finish(self, name, monotonic_now(), write),
            idempotent=found is not None and found.idempotent,
        )

    def _call(self, c: Context, command: str, names: Ref | None, values: Ref | None) -> Call | ScriptFault:
        if names is None and values is None:
            return self._written(command)
        call = script_call(
            command,
            names.all(c) if names else None,
            values.all(c) if values else None,
            compat=self._compat,
        )
        if isinstance(call, Call) and call.warning:
            log.warning("%s", call.warning)
        return call

    def run_here(self, call: Call) -> Ending:
        """Run a command in this process, which serves nothing else until it has ended."""
        self.house.statistics.count("mi_script:blocking_calls")  # by its whole name, which `count` would put together
        started = time.monotonic()
        answer = self._answer_here(call)
        if answer is None:
            return ending(self._too_late(), self._compat)
        return ending_of(answer, time.monotonic() - started, self._here, self._compat)

    def _too_late(self) -> TimedOut:
        return TimedOut(float(self.settings["timeout"]))

    def _answer_here(self, call: Call) -> Answer | None:
        """Run a command and wait for it; None when that took too long."""
        answer = self._perform(call)
        if isinstance(answer, ENDED):
            return answer
        try:
            return self.process.block_on(_waited(answer), float(self.settings["timeout"]))
        except TimeoutError:
            return None
        except OSError as error:  # of the wait and not of the command, whose errors are answers
            if inspect.iscoroutine(answer):
                answer.close()
            return Fault(SERVER_ERROR, "Server error", f"It cannot be waited for: {error}", Cause.NO_ANSWER)

    def _perform(self, call: Call) -> Answer | Awaitable[Answer]:
        """Run a command on the caller's time. One that takes long, as far as is known, is told the process before."""
        if (fault := self.refused(call)) is not None:
            return fault
        holds_up = self._times.holds_up(call.method)
        if holds_up:
            self.process.stand_still()
        began = time.monotonic()
        try:
            return self.process.executor.perform(call, pretty=self._pretty)
        finally:
            self._times.ran(call.method, time.monotonic() - began)
            if holds_up:
                self.process.move_again()

    def tell(self, c: Context, end: Ending) -> int:
        """Write an ending's story into the context, for `$mi(…)`, and count it; gives `$rc`."""
        c.story = end.story
        if end.rc < 0:
            self.count("failed_calls")
        return end.rc

    def _end(self, c: Context, result: Ref | None, end: Ending) -> int:
        """Write an ending into the context: the story, the variable, and `$rc` as the function's return code."""
        self.tell(c, end)
        if result is not None and end.value is not None:
            try:
                result.set(c, end.value)
            except Exception as error:
                # A variable may refuse a value (a URI that is none); the script learns it by its code.
                why = f"{result.name} could not take the result: {error}"
                log.warning("%s", why)
                c.story = {**end.story, "code": _UNWRITABLE, "message": why}
                return _UNWRITABLE
        return end.rc


# What waits with a parked message are two small objects and no functions with their cells, which took 500 bytes more.
class _IntoVariable(Struct, gc=False):
    """Writes how a call ended into the variable that the script named for it."""

    module: MiScript
    result: Ref | None

    def __call__(self, context: Context, end: Ending) -> int:
        return self.module._end(context, self.result, end)


class _Finish(Struct, gc=False):
    """Writes the outcome of a call's job into the context that waited for it."""

    module: MiScript
    label: str
    asked_at: float
    write: Callable[[Context, Ending], int]

    def __call__(self, context: Context, outcome: Outcome) -> int:
        module = self.module
        module.house.figures.settled(self.label, outcome, monotonic_now() - self.asked_at)
        return self.write(context, ending(outcome, module._compat))


def _not_built(fault: ScriptFault) -> Ending:
    return Ending(fault.rc, fault.text, {"code": fault.rc, "message": fault.text})


def _answer(end: End) -> Answer:
    return end if isinstance(end, Fault) else answer_of(end)


def _no_call(fault: ScriptFault) -> Fault:
    return Fault(fault.rc, fault.text)


async def _waited(answer: Awaitable[Answered | Fault]) -> Answered | Fault:
    return await answer
