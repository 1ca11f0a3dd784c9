"""What must hold of every text that somebody calls a script: problems with places, or routes that run.

A text is loaded as a server loads it. Then every route runs for itself, on a usual message and on an odd one, over the
real core and over those modules that work on the message alone; the functions and variables of all others are stood in
for by ones that give this and that, for nothing here has a process or a socket.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from runtime.context import Address, Context, Value
from runtime.errors import SettingsError
from runtime.modules.catalog import ALWAYS, CATALOG
from runtime.modules.rr import Rr
from runtime.script.check import Checked
from runtime.script.compile import compile_script
from runtime.script.declare import (
    Begin,
    Function,
    Module,
    Ref,
    Refused,
    Variable,
    asynchronous,
    function,
    functions_of,
    variable,
    variables_of,
)
from runtime.script.functions import World
from runtime.script.load import load
from runtime.script.patterns import MAX_TEXT_CHARS
from runtime.script.problems import Place, ScriptError, ScriptProblem, Stopped
from runtime.script.script import RouteCode, Script
from runtime.sip.message import parse
from runtime.sip.own import OwnAddresses

NAME: Final = Path("fuzzed.cfg")
PART: Final = Path("part.cfg")
PART_TEXT: Final = b"route[from_a_part] { return(1); }\n"
MAX_KEPT_CHARS: Final = 4 * MAX_TEXT_CHARS
"""A transformation takes what a script may have and gives up to three times as much, once."""
MAX_LOOPS: Final = 20
"""How often a `while` may turn here: what stands in one another in the text multiplies."""

LOAD_S, LOAD_S_PER_BYTE = 0.5, 60e-6
RUN_S: Final = 1.0
"""CPU seconds, of which a busy machine takes no more than a quiet one: some ten times what is usual."""

_REAL: Final = ("sipmsgops", "json", "textops")
_CODES: Final = (1, -1, 1, 2, -3, 1, 1, 200, -1, 1, 0)
_VALUES: Final[tuple[Value, ...]] = ("text", 5, None, "sip:u@h:5", 0, "", "\xe9 7", -(2**63), "17", 486)
_INVITE: Final = (
    b"INVITE sip:alice@example.com:5070;transport=udp SIP/2.0\r\n"
    b"Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKone;rport\r\nVia: SIP/2.0/UDP 192.0.2.2;branch=z9hG4bKtwo\r\n"
    b'From: "Bob" <sip:bob@biloxi.org>;tag=ft\r\nTo: <sip:alice@example.com>\r\nCall-ID: call-1\r\nCSeq: 7 INVITE\r\n'
    b"Max-Forwards: 70\r\nUser-Agent: Phone/1.0\r\nContact: <sip:bob@192.0.2.1:5060>;q=0.5\r\n"
    b"Route: <sip:127.0.0.1;lr>\r\nContent-Type: application/sdp\r\nContent-Length: 24\r\n\r\n"
    b"v=0\r\nm=audio 1 RTP/AVP 0\r\n"
)
_ODD: Final = (
    b"OPTIONS tel:+1;x SIP/2.0\r\nv: SIP/2.0/TCP h\r\nf: sip:h;tag=\xff\r\nt: <sip:%41@[::1]:1;lr;a=?b>\r\ni: \xe9\r\n"
    b'CSeq: 0 OPTIONS\r\nm: *\r\nSubject:\r\nX: a=;b="\r\nAuthorization: Digest username="\r\n'
    b"c: multipart/mixed;boundary=b\r\nl: 44\r\n\r\n--b\r\nContent-Type: application/sdp\r\n\r\nm=\r\n--b-"
)
_RINGING: Final = _INVITE.replace(b"INVITE sip:alice@example.com:5070;transport=udp SIP/2.0", b"SIP/2.0 180 Ringing", 1)
WORLD: Final = World(wall_clock=lambda: 1_790_000_000.25, random=lambda: 0.5, process_id=lambda: 42)


class _Turns:
    """Gives one after the other, in the same order for every text."""

    def __init__(self) -> None:
        self.codes: Iterator[int] = itertools.cycle(_CODES)
        self.values: Iterator[Value] = itertools.cycle(_VALUES)


_turns = _Turns()


def _called(self: Module, c: Context, *arguments: Any) -> int:
    """What every function that is stood in for does: it writes where it may write, and gives this and that."""
    for argument in arguments:
        if argument is not None and not isinstance(argument, str | int) and hasattr(argument, "get"):
            _touch(c, argument)
    return next(_turns.codes)


def _touch(c: Context, ref: Ref) -> None:
    ref.get(c)
    with contextlib.suppress(ValueError):  # it may refuse the value, as it refuses the script's own assignments
        ref.set(c, next(_turns.values))


def _begun(self: Module, c: Context, *arguments: Any) -> Begin:
    _called(self, c, *arguments)
    return Refused(lambda _: 1)


def _read(self: Module, c: Context, inner: str) -> Value:
    return next(_turns.values)


def _written(self: Module, c: Context, inner: str, value: Value) -> None:
    if value == "text":
        raise ValueError("this variable refuses this text")


def _stand_in(kind: type[Module]) -> type[Module]:
    """A module with the same names, arities, kinds and routes as another."""
    body: dict[str, Any] = {"name": kind.name, "parameters": kind.parameters, "_written": _written}
    for number, one in enumerate(functions_of(kind).values()):
        body.update(_function(number, one))
    for number, each in enumerate(variables_of(kind).values()):
        body[f"v{number}"] = _variable(each)
    return type(kind.__name__, (Module,), body)


def _function(number: int, one: Function) -> dict[str, Any]:
    found: dict[str, Any] = {f"f{number}": function(one.name, *one.params, routes=one.routes)(_copy(_called))}
    if one.begin is not None:
        found[f"a{number}"] = asynchronous(one.name, *one.params, routes=one.routes)(_copy(_begun))
    return found


def _variable(one: Variable) -> Callable[..., Value]:
    return variable(one.name, "_written" if one.set is not None else None)(_copy(_read))


def _copy(method: Callable[..., Any]) -> Callable[..., Any]:
    def own(*arguments: Any) -> Any:
        return method(*arguments)

    return own


MODULES: Final[Mapping[str, type[Module]]] = {
    name: kind if name in _REAL else _stand_in(kind) for name, kind in CATALOG.items()
}
EVERYWHERE: Final[Mapping[str, type[Module]]] = {name: _stand_in(kind) for name, kind in ALWAYS.items()}


class Recorder:
    """A process that notes what scripts ask of it."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []

    def park(self, context: Context, begin: Begin, resume_route: str, timeout_s: int | None, place: Place) -> None:
        self.asked.append(("park", resume_route))

    def launch(self, context: Context, begin: Begin, report_route: str | None, param: str | None, place: Place) -> int:
        self.asked.append(("launch", report_route or ""))
        return 1

    def log(self, level: int, text: str, context: Context, place: Place | None) -> None:
        self.asked.append(("log", "" if place is None else "complaint"))

    def log_level(self) -> int:
        return 4

    def own_log_level(self) -> int:
        return 3

    def set_log_level(self, which: str, level: int | None) -> None:
        self.asked.append(("level", which))


def check(data: bytes) -> tuple[object, ...]:
    """Load a text and run its routes.

    Returns:
        in which way it was treated.

    Raises:
        Exception: not as it should be.
    """
    _turns.__init__()  # type: ignore[misc]
    result = _within(
        LOAD_S + LOAD_S_PER_BYTE * len(data),
        "loading",
        lambda: load(NAME, catalog=MODULES, always=EVERYWHERE, read=_read_of(data)),
    )
    if isinstance(result, list):
        assert any(problem.severity == "error" for problem in result), "what does not load has an error"
        _check_places(result, data)
        return "problems", frozenset(_kind_of(problem) for problem in result)
    _check_places(result.warnings, data)
    return _run_all(result, len(data))


def _read_of(data: bytes) -> Callable[[Path], bytes]:
    texts = {NAME: data, PART: PART_TEXT}

    def read(path: Path) -> bytes:
        if path not in texts:
            raise FileNotFoundError(2, "No such file or directory", str(path))
        return texts[path]

    return read


def _check_places(problems: list[ScriptProblem], data: bytes) -> None:
    lines = data.decode("latin-1").split("\n")
    for problem in problems:
        place = problem.place
        assert problem.message, "a problem says what it is"
        assert "\n" not in problem.message, "a problem is one line"
        if place.file == str(PART):
            continue
        assert place.file == str(NAME), f"a problem of another file: {place}"
        assert 1 <= place.line <= len(lines), f"a line that is not there: {place}"
        assert 1 <= place.column <= len(lines[place.line - 1]) + 1, f"a column that is not there: {place}"


def _kind_of(problem: ScriptProblem) -> str:
    """The message without what it quotes."""
    return "".join(char for char in problem.message.split('"')[0] if char.isalpha() or char == " ")[:24]


def _run_all(checked: Checked, size: int) -> tuple[object, ...]:
    few_loops = dataclasses.replace(checked, globals={**checked.globals, "max_while_loops": MAX_LOOPS})
    recorder = Recorder()
    try:
        modules = {name: kind() for name, kind in EVERYWHERE.items()}
        modules |= {name: MODULES[name](checked.settings.get(name)) for name in checked.modules}
        if isinstance(rr := modules.get("rr"), Rr):
            rr.own = OwnAddresses(())
        script = _within(
            LOAD_S + LOAD_S_PER_BYTE * size,
            "compiling",
            lambda: compile_script(few_loops, modules, recorder, WORLD),
        )
    except SettingsError:
        return ("settings",)
    ends = frozenset(_run(name, code, data) for name, code in routes_of(script) for data in _messages(name))
    return "ran", ends, frozenset(recorder.asked)


def routes_of(script: Script) -> Iterator[tuple[str, RouteCode]]:
    """Every route, with its kind."""
    routes = script.routes
    for name in ("request", "local", "startup", "error"):
        code = getattr(routes, name)
        if code is not None:
            yield name, code
    for name in ("named", "failure", "onreply", "branch", "events"):
        for code in getattr(routes, name).values():
            yield name, code
    for timer in routes.timers:
        yield "timer", timer.code


def _messages(kind: str) -> tuple[bytes, ...]:
    return (_RINGING,) if kind == "onreply" else (_INVITE, _ODD)


def _run(kind: str, code: RouteCode, data: bytes) -> tuple[str, str]:
    message: Any = parse(data)
    context = Context(message, ruri=getattr(message, "ruri", ""), source=Address("192.0.2.1", 5060))
    try:
        ended = _within(RUN_S, f"running {kind}", lambda: code(context))
    except ScriptError as error:
        # A script may stop itself, or have more routes in one another than Python lets functions. Nothing else.
        if not isinstance(error.cause, Stopped | RecursionError):
            raise
        return kind, type(error.cause).__name__
    assert isinstance(context.rc, int), f"$rc is {context.rc!r}"
    for name, values in context.avps.items():
        assert isinstance(name, str)
        assert values, "an AVP without values is no AVP"
        assert all(isinstance(value, str | int) for value in values), f"the values of an AVP are {values!r}"
    for value in context.variables.values():
        assert value is None or isinstance(value, str | int)
        assert len(str(value)) <= MAX_KEPT_CHARS, "a text has grown"
    return kind, ended.value if ended is not None else "end"


def _within(limit_s: float, what: str, work: Callable[[], Any]) -> Any:
    """What the work gives, which may not take longer than that."""
    before = time.thread_time()
    try:
        return work()
    finally:
        took_s = time.thread_time() - before
        assert took_s < limit_s, f"{what} took {took_s:.2f} s"
