"""`Call`: one message on its way through a script in Python."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn, Protocol, TypeAlias

from mi_script.commands import Json
from runtime.context import Context, Value
from runtime.pyscript.avps import Avp, Avps, Vars
from runtime.pyscript.hooks import PyHooks
from runtime.pyscript.variables import Variables
from runtime.pyscript.waits import Gathered, MiCall, answered, command_of
from runtime.pyscript.words import Answer, Drop, Exit, Rc, kept, rc_of, seen, to_script, to_text
from runtime.script.access import set_dst_uri, set_ruri
from runtime.script.check_body import LOG_LEVELS
from runtime.script.problems import Place
from runtime.script.script import RouteCode
from runtime.script.uris import parts_of
from runtime.sip.message import Reply, Request

if TYPE_CHECKING:
    from runtime.modules.mi_script import MiScript

Report: TypeAlias = "Callable[[Call, Rc, Any], Awaitable[None] | None]"
"""What is called when something launched has ended: with a call that has no message behind it."""


class ScriptFunction(Protocol):
    """A function of the core or of a loaded module."""

    def __call__(self, *arguments: Value | Avp, **named: Value | Avp) -> Rc: ...


@dataclass(frozen=True, slots=True)
class Runtime:
    """What the calls of one script need.

    Args:
        hooks: what the process does for scripts.
        variables: finds them by their spelling.
        mi: the module mi_script, where the script loads it.
        print_level: the level of an `xlog` that names none.
        report: makes a route of a function that takes a report.
    """

    hooks: PyHooks
    variables: Variables
    mi: MiScript | None
    print_level: int
    report: Callable[[Report, MiCall], RouteCode]


class Mi:
    """`call.mi`: MI commands, the same with the same outcomes as `async(mi(…))` and `mi(…)` of the cfg language."""

    __slots__ = ("_call",)

    def __init__(self, call: Call) -> None:
        self._call = call

    def __call__(self, command: str, /, *values: Json, timeout_s: float | None = None, **named: Json) -> MiCall:
        """Have a command run by the least loaded process.

        ``rc, answer = await call.mi("dlg_list", index=0, counter=10)`` parks the message until the command has ended;
        `call.launch` goes on at once.

        Args:
            command: its name.
            values: its parameters in order; or
            named: its parameters by name.
            timeout_s: seconds until the script waits no longer; None for the module's parameter ``timeout``.

        Raises:
            RuntimeError: the script does not load the module mi_script.
            TypeError: parameters in both ways.
        """
        return MiCall(self._call._mi_script(), command_of(command, values, named), timeout_s)

    def blocking(self, command: str, /, *values: Json, **named: Json) -> Answer:
        """Run a command here and now. This process serves nothing else until it has ended.

        Args:
            command, values, named: as for `call.mi()`.
        """
        module, context = self._call._mi_script(), self._call.context
        end = module.run_here(command_of(command, values, named))
        context.rc = module.tell(context, end)
        return answered(end)


class Call:
    """One message on its way through the script: what the cfg language says with variables and functions.

    Every script function of the core and of the loaded modules is a method: ``call.t_relay()``,
    ``call.sl_send_reply(200, "OK")``. It gives its return code, which is true where it is above zero. A function that
    ends the script in the cfg language by giving 0 ends it here too. Where it writes a variable, its argument is that
    variable's spelling, ``"$avp(x)"``, or ``call.avp["x"]``.

    Every variable goes by its spelling: ``call["$ru"]``, ``call["$(hdr(Via)[1]{via.branch})"]``. Assigning does what
    ``=`` does in the cfg language, so that ``call["$avp(x)"] = 1`` adds a value.

    Text is real text (UTF-8); bytes that are none stand in it as lone surrogates, and go out as they came.

    Attributes:
        context: the message context; a script has no business with it.
    """

    __slots__ = ("context",)

    _runtime: ClassVar[Runtime]
    _read: ClassVar[Mapping[str, Callable[[Context], Value]]]

    def __init__(self, context: Context) -> None:
        self.context = context

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> ScriptFunction: ...

    # Variables

    def __getitem__(self, spelling: str) -> Value:
        """A variable's value; None for NULL.

        Raises:
            KeyError: there is no such variable.
        """
        value = self._read[spelling](self.context)
        return value if value.__class__ is not str or value.isascii() else seen(value)

    def __setitem__(self, spelling: str, value: Value) -> None:
        """Assign a variable, as ``=`` does; None is NULL.

        Raises:
            KeyError: there is no such variable, or it cannot be written.
            ValueError: it does not take this value.
        """
        self._runtime.variables.ref(spelling).set(self.context, kept(value))

    @property
    def avp(self) -> Avps:
        """The AVPs: ``call.avp["x"].append(1)``, ``call.avp["x"][-1]``."""
        return Avps(self.context)

    @property
    def var(self) -> Vars:
        """The `$var`s of the process: ``call.var["x"] = 1``."""
        return Vars(self.context)

    @property
    def method(self) -> str:
        """`$rm`: the request's method; of a reply that of its CSeq."""
        return to_text(self.context.message.cseq_method)

    @property
    def ruri(self) -> str:
        """`$ru`: the Request-URI as the script has it now; empty in a reply."""
        return to_text(self.context.ruri)

    @ruri.setter
    def ruri(self, uri: str) -> None:
        set_ruri(self.context, to_script(uri))

    @property
    def ruri_user(self) -> str | None:
        """`$rU`."""
        return _shown(parts_of(self.context.ruri).user)

    @property
    def dst_uri(self) -> str | None:
        """`$du`: the next hop that stands before the Request-URI."""
        return _shown(self.context.dst_uri)

    @dst_uri.setter
    def dst_uri(self, uri: str | None) -> None:
        set_dst_uri(self.context, None if uri is None else to_script(uri))

    @property
    def from_uri(self) -> str:
        """`$fu`."""
        return to_text(self.context.message.from_.uri)

    @property
    def from_user(self) -> str | None:
        """`$fU`."""
        return _shown(parts_of(self.context.message.from_.uri).user)

    @property
    def to_uri(self) -> str:
        """`$tu`."""
        return to_text(self.context.message.to.uri)

    @property
    def to_user(self) -> str | None:
        """`$tU`."""
        return _shown(parts_of(self.context.message.to.uri).user)

    @property
    def call_id(self) -> str:
        """`$ci`."""
        return to_text(self.context.message.call_id)

    @property
    def source(self) -> tuple[str, int] | None:
        """`$si` and `$sp`: where the message came from; None where the runtime made it itself."""
        source = self.context.source
        return None if source is None else (source.host, source.port)

    @property
    def status(self) -> int | None:
        """`$rs`: a reply's status; in a failure route that of the reply that led there; None elsewhere."""
        message = self.context.message
        return message.status if isinstance(message, Reply) else self.context.reply_status or None

    @property
    def body(self) -> bytes:
        """The message's body as it came."""
        return self.context.message.body

    @property
    def params(self) -> dict[str, Value]:
        """`$param(…)`: an event's values, by name and, as ``"1"`` and so on, in order."""
        numbered = {str(at): seen(value) for at, value in enumerate(self.context.params, 1)}
        return numbered | {to_text(name): seen(value) for name, value in self.context.named_params.items()}

    @property
    def is_request(self) -> bool:
        """Whether the message is a request."""
        return isinstance(self.context.message, Request)

    def header(self, name: str) -> str | None:
        """`$hdr(name)`: the first header of that name, whole; None where there is none."""
        return _shown(self.context.message.field(to_script(name)))

    def headers(self, name: str) -> list[str]:
        """Every header of that name, the first first."""
        return [to_text(value) for value in self.context.message.fields(to_script(name))]

    # MI

    @property
    def mi(self) -> Mi:
        """MI commands: ``await call.mi("ps")``, ``call.mi.blocking("ps")``, ``call.launch(call.mi("ps"))``."""
        return Mi(self)

    def gather(self, *calls: MiCall, timeout_s: float | None = None) -> Gathered:
        """Have commands run side by side, and wait once: ``answers = await call.gather(call.mi("ps"), …)``.

        Args:
            calls: what `call.mi()` gave. A time-out of their own does not count.
            timeout_s: seconds until the script waits no longer; None for the module's parameter ``timeout``.

        Returns:
            to be awaited: an `Answer` for each, in the order of ``calls``.
        """
        return Gathered(self._mi_script(), [call.command for call in calls], timeout_s)

    def launch(self, call: MiCall, report: Report | None = None) -> None:
        """Have a command run, and go on at once.

        Args:
            call: what `call.mi()` gave.
            report: ``async def report(call, rc, answer)``, run when it has ended, on a call with no message behind it.
        """
        runtime = self._runtime
        code = None if report is None else runtime.report(report, call)
        rc = runtime.hooks.start(self.context, call.begin(), code, None, _place())
        self.context.rc = rc

    def _mi_script(self) -> MiScript:
        module = self._runtime.mi
        if module is None:
            raise RuntimeError('MI commands need module("mi_script")')
        return module

    # Words of the language

    def exit(self) -> NoReturn:
        """End the script."""
        raise Exit

    def drop(self) -> NoReturn:
        """End the script; in a reply route and a branch route the message goes no further."""
        raise Drop

    def xlog(self, *arguments: str | int) -> None:
        """Write a line of the script's log: ``call.xlog("L_INFO", "text")``, or the text alone.

        Args:
            arguments: the level (`L_ALERT` … `L_DBG`, or -3 to 4), which may be left out, and the text.
        """
        hooks = self._runtime.hooks
        level = self._runtime.print_level if len(arguments) < 2 else _level(arguments[0])
        if level <= hooks.log_level():
            hooks.log(level, to_script(str(arguments[-1])), self.context, None)

    @property
    def rc(self) -> Rc:
        """`$rc`: what the last function returned."""
        return rc_of(self.context.rc)


def _shown(script: str | None) -> str | None:
    return None if script is None else to_text(script)


def _level(given: str | int) -> int:
    level = LOG_LEVELS.get(given) if isinstance(given, str) else given
    if level is None or not -3 <= level <= 4:
        raise ValueError(f"the level is one of {', '.join(LOG_LEVELS)}, or a number from -3 to 4, not {given!r}")
    return level


def _place() -> Place:
    """The statement of the script that called the method which asks."""
    frame = sys._getframe(2)
    return Place(frame.f_code.co_filename, frame.f_lineno, 1)
