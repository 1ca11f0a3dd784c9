"""A script as data: what the parser makes, the checker reads and the compiler translates."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass
from typing import Literal, TypeAlias

from runtime.script.problems import Place

# Expressions


@dataclass(frozen=True, slots=True)
class Number:
    """An integer literal."""

    value: int
    place: Place


@dataclass(frozen=True, slots=True)
class Text:
    """A string literal, its escapes resolved. Whether `$variables` in it count depends on where it stands."""

    value: str
    place: Place


@dataclass(frozen=True, slots=True)
class Null:
    """``NULL``."""

    place: Place


@dataclass(frozen=True, slots=True)
class Network:
    """An IP address or network, e.g. ``10.0.0.0/8``: only on the right of ``==`` and ``!=``."""

    text: str
    place: Place


@dataclass(frozen=True, slots=True)
class Transformation:
    """``{family.name,arguments}`` behind a variable.

    Args:
        family, name: e.g. ``s`` and ``len``.
        argument: what follows the first comma, as it stands; None without a comma. How it is cut is the
            transformation's own affair: a separator may be a comma itself.
    """

    family: str
    name: str
    argument: str | None


@dataclass(frozen=True, slots=True)
class Variable:
    """``$name``, ``$name(inner)`` or ``$(name(inner)[index]{change})``.

    Args:
        name: without the dollar sign.
        inner: what stands in the brackets, which may itself hold variables; None without brackets.
        index: a number, ``*``, ``append``, a variable, or None.
        changes: the transformations, in order.
        text: as the script spells it.
        of: of which message it is, as ``$(<request>name)`` says; empty for the one that the route runs on.
    """

    name: str
    inner: Format | None
    index: int | Literal["*", "append"] | Variable | None
    changes: tuple[Transformation, ...]
    text: str
    place: Place
    of: Literal["", "request", "reply"] = ""


@dataclass(frozen=True, slots=True)
class Format:
    """Text with variables in it."""

    parts: tuple[str | Variable, ...]
    place: Place

    @property
    def constant(self) -> str | None:
        """The text when no variable is in it, else None."""
        if not self.parts:
            return ""
        if len(self.parts) == 1 and isinstance(self.parts[0], str):
            return self.parts[0]
        return None


@dataclass(frozen=True, slots=True)
class Call:
    """``name(argument, …)``. An argument that the script leaves empty is None."""

    name: str
    arguments: tuple[Argument | None, ...]
    place: Place


@dataclass(frozen=True, slots=True)
class RouteCall:
    """``route(name, argument, …)``. The name may be a variable or hold variables."""

    target: Text | Variable
    arguments: tuple[Argument | None, ...]
    place: Place


@dataclass(frozen=True, slots=True)
class Async:
    """``async(call, resume[, seconds])``: park the message, run the resume route when the call has ended."""

    call: Call
    resume: Text
    timeout_s: int | None
    place: Place


@dataclass(frozen=True, slots=True)
class Launch:
    """``launch(call[, report[, parameter]])``: start the call and go on."""

    call: Call
    report: Text | None
    parameter: Text | None
    place: Place


@dataclass(frozen=True, slots=True)
class Binary:
    """``left op right`` with one of ``+ - * / % & | ^ << >>``."""

    operator: str
    left: Expression
    right: Expression
    place: Place


@dataclass(frozen=True, slots=True)
class Compare:
    """``left op right`` with one of ``== != < > <= >= =~ !~``."""

    operator: str
    left: Expression
    right: Expression
    place: Place


@dataclass(frozen=True, slots=True)
class Logic:
    """``left and right`` or ``left or right``."""

    operator: Literal["and", "or"]
    left: Expression
    right: Expression
    place: Place


@dataclass(frozen=True, slots=True)
class Not:
    """``!operand``: true when the operand is false."""

    operand: Expression
    place: Place


@dataclass(frozen=True, slots=True)
class BitNot:
    """``~operand`` of an integer."""

    operand: Expression
    place: Place


Argument: TypeAlias = Text | Number | Variable | Null
Expression: TypeAlias = (
    Number
    | Text
    | Null
    | Network
    | Variable
    | Call
    | RouteCall
    | Async
    | Launch
    | Binary
    | Compare
    | Logic
    | Not
    | BitNot
)

# Statements


@dataclass(frozen=True, slots=True)
class Run:
    """A call that stands alone: its value goes to ``$rc``."""

    call: Call | RouteCall | Async | Launch
    place: Place


@dataclass(frozen=True, slots=True)
class Log:
    """``xlog([level, ]text)``, ``log([level, ]text)`` or ``xdbg(text)``: the function's name and its arguments."""

    function: str
    arguments: tuple[Argument | None, ...]
    place: Place


@dataclass(frozen=True, slots=True)
class Assign:
    """``target op value`` with ``=``, ``:=`` or a compound operator such as ``+=``."""

    target: Variable
    operator: str
    value: Expression
    place: Place


@dataclass(frozen=True, slots=True)
class If:
    """``if (condition) then else otherwise``."""

    condition: Expression
    then: Body
    otherwise: Body
    place: Place


@dataclass(frozen=True, slots=True)
class While:
    """``while (condition) body``, bounded by ``max_while_loops``."""

    condition: Expression
    body: Body
    place: Place


@dataclass(frozen=True, slots=True)
class ForEach:
    """``for (target in source) body``: newest value first."""

    target: Variable
    source: Variable
    body: Body
    place: Place


@dataclass(frozen=True, slots=True)
class Case:
    """One ``case value:`` (or ``default:``, whose value is None) and its statements."""

    value: Number | Text | None
    body: Body
    place: Place


@dataclass(frozen=True, slots=True)
class Switch:
    """``switch (subject) {case … default …}``: runs on into the next case until a ``break``."""

    subject: Variable
    cases: tuple[Case, ...]
    place: Place


@dataclass(frozen=True, slots=True)
class Break:
    """``break``: leave the innermost loop or switch."""

    place: Place


@dataclass(frozen=True, slots=True)
class Return:
    """``return(code, value, …)``; without a code it is 1."""

    code: Number | Variable | None
    values: tuple[Argument | None, ...]
    place: Place


@dataclass(frozen=True, slots=True)
class Exit:
    """``exit``: the script ends."""

    place: Place


@dataclass(frozen=True, slots=True)
class Drop:
    """``drop``: the script ends, and a reply or a branch goes no further."""

    place: Place


@dataclass(frozen=True, slots=True)
class Assert:
    """``assert(condition[, message])``; only with the global ``enable_asserts``."""

    condition: Expression
    message: Text | None
    place: Place


Statement: TypeAlias = Run | Log | Assign | If | While | ForEach | Switch | Break | Return | Exit | Drop | Assert
Body: TypeAlias = tuple[Statement, ...]

# What stands at the top of a file

RouteKind: TypeAlias = Literal[
    "route",
    "failure_route",
    "onreply_route",
    "branch_route",
    "local_route",
    "startup_route",
    "timer_route",
    "event_route",
    "error_route",
]


@dataclass(frozen=True, slots=True)
class Setting:
    """``name = value`` of a global parameter. A list value is its items as they stand, joined by spaces."""

    name: str
    value: int | str
    place: Place


@dataclass(frozen=True, slots=True)
class LoadModule:
    """``loadmodule "name.so"``."""

    name: str
    place: Place


@dataclass(frozen=True, slots=True)
class ModParam:
    """``modparam("module", "name", value)``; the module may be a pattern such as ``tm|rr``."""

    module: str
    name: str
    value: int | str
    place: Place


@dataclass(frozen=True, slots=True)
class Route:
    """A route of any kind.

    Args:
        name: empty for an unnamed one; ``route[0]`` is the unnamed request route.
        quoted: whether the name stands in quotes, where a reserved word is allowed.
        parameter: a timer route's seconds, an event route's ``sync`` or ``async``.
    """

    kind: RouteKind
    name: str
    quoted: bool
    parameter: int | str | None
    body: Body
    place: Place


Item: TypeAlias = Setting | LoadModule | ModParam | Route


def everything_in(node: object) -> Iterator[object]:
    """A tree or a tuple of trees, and whatever is in it, in the order of the script."""
    waiting = [node]
    while waiting:
        item = waiting.pop()
        yield item
        if isinstance(item, tuple):
            waiting.extend(reversed(item))
        elif is_dataclass(item):
            waiting.extend(getattr(item, field.name) for field in reversed(fields(item)))
