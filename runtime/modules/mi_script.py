"""Module mi_script: any MI command from the routing script, in three flavours.

`mi()` runs the command here and now, `async(mi(), route)` parks the message and runs it in another process,
`launch(mi(), route)` runs it with no message attached. All three give the same answer to the same command.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable
from typing import Any, Final

from mi_script.calls import Call, Fault
from mi_script.execute import Answered, pack_call
from mi_script.script import COMPAT_36, Ending, ScriptFault, ending, ending_of, script_call
from runtime.context import Context
from runtime.modules.base import RuntimeModule
from runtime.roles import COMMAND
from runtime.script.declare import Begin, JobRequest, Kind, Param, Parameter, Ref, Refused, asynchronous, function
from runtime.settings import SettingsError
from workers.jobs import Outcome, TimedOut

log = logging.getLogger("layby.mi_script")

_PARAMS: Final = (
    Param("command", Kind.STRING),
    Param("result", Kind.OUTPUT, optional=True),
    Param("names", Kind.AVP, optional=True),
    Param("values", Kind.AVP, optional=True),
)
_UNWRITABLE: Final = -3


class MiScript(RuntimeModule):
    """The module as a script loads it."""

    name = "mi_script"
    group = "mi_script"
    counters = ("blocking_calls", "async_calls", "failed_calls")
    parameters = (
        Parameter("pretty_printing", int, 0, doc="1 formats results for people, 0 leaves out all white space"),
        Parameter("compat", str, "", doc='"3.6" gives OpenSIPS 3.6\'s parameter order, types and texts'),
        Parameter("timeout", int, 30, doc="seconds after which a call that says no time of its own is given up"),
    )

    def __init__(self, settings: dict[str, Any] | None = None) -> None:
        super().__init__(settings)
        if self.settings["compat"] not in ("", COMPAT_36):
            raise SettingsError(
                f'modparam("mi_script", "compat", "{self.settings["compat"]}"): there is only "{COMPAT_36}"'
            )
        if int(self.settings["timeout"]) < 1:
            raise SettingsError('modparam("mi_script", "timeout", …) must be at least 1 second')

    @function("mi", *_PARAMS)
    def mi(self, c: Context, command: str, result: Ref | None, names: Ref | None, values: Ref | None) -> int:
        """Run an MI command in this process, which serves nothing else until it has ended."""
        self.count("blocking_calls")
        call = self._call(c, command, names, values)
        if isinstance(call, ScriptFault):
            return self._end(c, result, _not_built(call))
        return self._end(c, result, self._run_here(call))

    @asynchronous("mi", *_PARAMS)
    def mi_asynchronous(
        self, c: Context, command: str, result: Ref | None, names: Ref | None, values: Ref | None
    ) -> Begin:
        """Have an MI command run by the least loaded process, as a job."""
        self.count("async_calls")
        call = self._call(c, command, names, values)
        if isinstance(call, ScriptFault):
            fault = _not_built(call)
            return Refused(lambda context: self._end(context, result, fault))

        def finish(context: Context, outcome: Outcome) -> int:
            return self._end(context, result, ending(outcome, self._compat))

        found = self.house.registry.find(call.method)
        return JobRequest(
            handler=COMMAND,
            label=found.name if found else call.method,
            payload=pack_call(call, pretty=self._pretty),
            timeout_s=float(self.settings["timeout"]),
            finish=finish,
            idempotent=found is not None and found.idempotent,
        )

    @property
    def _pretty(self) -> bool:
        return bool(self.settings["pretty_printing"])

    @property
    def _compat(self) -> str:
        return str(self.settings["compat"])

    def _call(self, c: Context, command: str, names: Ref | None, values: Ref | None) -> Call | ScriptFault:
        call = script_call(
            command,
            names.all(c) if names else None,
            values.all(c) if values else None,
            compat=self._compat,
        )
        if isinstance(call, Call) and call.warning:
            log.warning("%s", call.warning)
        return call

    def _run_here(self, call: Call) -> Ending:
        started = time.monotonic()
        timeout_s = float(self.settings["timeout"])
        answer = self.process.executor.perform(call, pretty=self._pretty)
        if not isinstance(answer, Answered | Fault):
            try:
                answer = self.process.block_on(_waited(answer), timeout_s)
            except TimeoutError:
                return ending(TimedOut(timeout_s), self._compat)
        return ending_of(answer, time.monotonic() - started, str(self.process.peer), self._compat)

    def _end(self, c: Context, result: Ref | None, end: Ending) -> int:
        """Write an ending into the context: the story, the variable, and `$rc` as the function's return code."""
        c.story = end.story
        if end.rc < 0:
            self.count("failed_calls")
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


def _not_built(fault: ScriptFault) -> Ending:
    return Ending(fault.rc, fault.text, {"code": fault.rc, "message": fault.text})


async def _waited(answer: Awaitable[Answered | Fault]) -> Answered | Fault:
    return await answer
