"""`mi()`, `async(mi())` and `launch(mi())` as data: what the script wrote to a call, and an answer to `$rc`.

All three build their call and read their answer here, so the same command gives the same answer in each.

Script strings are bytes spelled as latin-1 `str`. They become real text on the way in, and what comes back is
spelled as latin-1 again, so that callers can put it straight into script variables.

Where OpenSIPS 3.6 differs from its own documentation, the documentation stands: parameters go in the order in
which the script added them, and integers stay integers. ``compat="3.6"`` asks for what 3.6 really does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias, assert_never

from msgspec import Struct, field

from mi_script.calls import Call, Cause, Fault
from mi_script.commands import Json
from mi_script.execute import Answer, Answered, answer_of
from mi_script.jsonrpc import dump
from workers.jobs import Failed, Outcome, Returned, WorkerLost

Value: TypeAlias = str | int | None
"""A script value: a string, an integer, or NULL."""

COMPAT_36: Final = "3.6"

RC_OK: Final = 1
RC_UNKNOWN: Final = -1
RC_NOT_BUILT: Final = -2
RC_NO_ANSWER: Final = -3
RC_DENIED: Final = -403

_BLANKS: Final = " \t\r\n"
_SPELLING: Final = "latin-1"
_REAL: Final = "utf-8"
_ARRAY: Final = "__array("
_NOT_BUILT_36: Final = "could not parse script params!"


@dataclass(frozen=True, slots=True)
class ScriptFault:
    """The parameters cannot be built: `$rc`, and the text for the return variable (script spelling)."""

    rc: int
    text: str


class Ending(Struct, frozen=True):
    """How a call ended, for the script.

    Args:
        rc: `$rc`.
        value: what the return variable gets, in script spelling; None leaves the variable as it is.
        story: what `$mi(...)` tells: ``code``, ``message`` and ``data`` of the error (NULL after a result),
            ``worker`` (the process that ran it, NULL where nobody did) and ``elapsed`` (its running time there
            in **microseconds**, NULL where nothing ran to its end).
    """

    rc: int
    value: str | None
    story: dict[str, Value] = field(default_factory=dict)


def script_call(
    text: str, names: list[Value] | None = None, values: list[Value] | None = None, compat: str = ""
) -> Call | ScriptFault:
    """Build the call that `mi(text, ret, $avp(names), $avp(values))` asks for (mi_script, `mi()`).

    Args:
        text: the first parameter: the command, and positional parameters apart by spaces, which only count when
            neither AVP is given.
        names: every value of the third parameter, **oldest first**; None when it is not given.
        values: every value of the fourth; None when it is not given.
        compat: ``"3.6"`` for the order, types and texts of OpenSIPS 3.6.

    Returns:
        The call, with a `warning` to log where values were passed over; or why there is none.
    """
    method, tokens = _split(_real(text), compat)
    if names is None:
        names, values = values, None  # values alone are positional parameters
    if names is None:
        return Call(method, list[Json](tokens) or None)
    if compat == COMPAT_36:
        return _positional_36(method, names) if values is None else _named_36(method, names, values)
    return _positional(method, names) if values is None else _named(method, names, values)


def ending(outcome: Outcome, compat: str = "") -> Ending:
    """How a job that ran a call ended, for the script."""
    worker, elapsed_s = None, None
    match outcome:
        case Returned(_, peer, seconds) | Failed(_, _, peer, seconds):
            worker, elapsed_s = str(peer), seconds
        case WorkerLost(peer):
            worker = str(peer)
    return ending_of(answer_of(outcome), elapsed_s, worker, compat)


def ending_of(answer: Answer, elapsed_s: float | None = None, worker: str | None = None, compat: str = "") -> Ending:
    """How a call ended that ran inline, for the script.

    Args:
        answer: the call's answer.
        elapsed_s: its running time in seconds.
        worker: the process that ran it.
        compat: ``"3.6"`` leaves the return variable untouched for an unknown command.
    """
    elapsed = None if elapsed_s is None else round(elapsed_s * 1_000_000)
    match answer:
        case Answered(text):
            return Ending(RC_OK, _script(text), _story(None, worker, elapsed))
        case Fault():
            value = None if compat == COMPAT_36 and answer.cause is Cause.UNKNOWN else _script(_why(answer))
            return Ending(_rc(answer), value, _story(answer, worker, elapsed))
        case _:
            assert_never(answer)


def split_commands(text: str) -> list[str]:
    """The commands of `mi_gather("ps; log_level 4")`, without blanks around them; empty ones are left out."""
    return [command for part in text.split(";") if (command := part.strip(_BLANKS))]


def gathered(answers: Sequence[Answer]) -> Ending:
    """How several calls ended that were waited for together, for the script.

    Returns:
        `$rc` 1 where all have a result, else that of the first that has none, with its story. The variable gets a JSON
        array with an object for each call, in their order: ``{"result": …}`` or ``{"error": {"code", "message"}}``.
    """
    faults = [answer for answer in answers if isinstance(answer, Fault)]
    rc = _rc(faults[0]) if faults else RC_OK
    text = f"[{','.join(map(_member, answers))}]"
    return Ending(rc, _script(text), _story(faults[0] if faults else None, None, None))


def _member(answer: Answer) -> str:
    match answer:
        case Answered(text):
            return f'{{"result":{text}}}'
        case Fault(code, message, data):
            error: dict[str, Json] = {"code": code, "message": message}
            return dump({"error": error if data is None else {**error, "data": data}})
        case _:
            assert_never(answer)


# The first parameter.


def _split(text: str, compat: str) -> tuple[str, list[str]]:
    # 3.6 splits before it trims: a leading space makes an empty method there, which no command has.
    method, _, rest = (text if compat == COMPAT_36 else text.strip(_BLANKS)).partition(" ")
    return method.strip(_BLANKS), [token for token in rest.split(" ") if token]


# As the documentation says.


def _positional(method: str, values: list[Value]) -> Call:
    return Call(method, [_json(value) for value in values] or None)


def _named(method: str, names: list[Value], values: list[Value]) -> Call | ScriptFault:
    if len(values) < len(names):
        lacking = _shown(names[len(values)])
        return _fault(f"parameter {lacking} has no value: {len(names)} names, {len(values)} values")
    if None in names:
        return _fault(f"the name of parameter {names.index(None) + 1} is NULL")
    params = _paired(names, values, lambda _, value: _json(value))
    surplus = len(values) - len(names)
    warning = f"{method}: {surplus} of {len(values)} values have no name and are ignored" if surplus else None
    return Call(method, params or None, warning)


def _json(value: Value) -> Json:
    if not isinstance(value, str):
        return value
    text = _real(value)
    return _elements(text) if _is_array(text) else text


# As OpenSIPS 3.6 does it: it walks the AVPs from the newest, sends strings, and takes a pair's type from the name.


def _positional_36(method: str, values: list[Value]) -> Call:
    return Call(method, [_printed(value) for value in reversed(values)] or None)


def _named_36(method: str, names: list[Value], values: list[Value]) -> Call | ScriptFault:
    if len(values) < len(names) or None in names:
        return _fault(_NOT_BUILT_36)
    params = _paired(reversed(names), reversed(values), _typed_by_name)
    warning = f"{method}: too many attribute vals - ignoring..." if len(values) > len(names) else None
    return Call(method, params or None, warning)


def _typed_by_name(name: Value, value: Value) -> Json:
    if not isinstance(name, int):
        text = _printed(value)
        return _elements(text) if _is_array(text) else text
    if not isinstance(value, str):
        return value
    return int(value) if _is_number(value) else _real(value)


def _is_number(value: str) -> bool:
    return value.isdecimal() and value.isascii() and len(value) < 20


def _printed(value: Value) -> str:
    return "" if value is None else _name(value)


# Both.


def _paired(names: Iterable[Value], values: Iterable[Value], typed: Callable[[Value, Value], Json]) -> dict[str, Json]:
    params: dict[str, Json] = {}
    for name, value in zip(names, values, strict=False):
        params.setdefault(_name(name), typed(name, value))  # of two with one name the first counts
    return params


def _name(value: Value) -> str:
    return _real(value) if isinstance(value, str) else str(value)


def _is_array(text: str) -> bool:
    return text.startswith(_ARRAY) and text.endswith(")")


def _elements(text: str) -> list[Json]:
    # Single spaces separate, as documented: nothing between two of them is an empty string.
    return list(text[len(_ARRAY) : -1].split(" "))


def _fault(text: str) -> ScriptFault:
    return ScriptFault(RC_NOT_BUILT, _script(text))


def _shown(name: Value) -> str:
    return "NULL" if name is None else f"'{_name(name)}'"


def _real(text: str) -> str:
    return text if text.isascii() else text.encode(_SPELLING).decode(_REAL, "replace")


def _script(text: str) -> str:
    # A handler's message may hold half of a surrogate pair, which is no text and must not stop a route.
    return text if text.isascii() else text.encode(_REAL, "replace").decode(_SPELLING)


# What an answer is to the script.


def _rc(fault: Fault) -> int:
    match fault.cause:
        case Cause.UNKNOWN:
            return RC_UNKNOWN
        case Cause.DENIED:
            return RC_DENIED
        case Cause.NO_ANSWER:
            return RC_NO_ANSWER
        case Cause.COMMAND:
            return -abs(fault.code) or RC_NO_ANSWER
        case _:
            assert_never(fault.cause)


def _why(fault: Fault) -> str:
    match fault.cause:
        case Cause.DENIED | Cause.NO_ANSWER:
            return fault.message if fault.data is None else f"{fault.message}: {fault.data}"
        case Cause.UNKNOWN | Cause.COMMAND:
            return fault.message
        case _:
            assert_never(fault.cause)


def _story(fault: Fault | None, worker: str | None, elapsed: int | None) -> dict[str, Value]:
    return {
        "code": fault.code if fault else None,
        "message": _script(fault.message) if fault else None,
        "data": _script(fault.data) if fault and fault.data is not None else None,
        "worker": worker,
        "elapsed": elapsed,
    }
