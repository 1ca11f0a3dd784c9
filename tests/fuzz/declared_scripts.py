"""Scripts made of the declarations: every function, variable and transformation that there is, called once."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Final

from runtime.context import RouteType
from runtime.script.check import Checked
from runtime.script.declare import Function, Kind
from runtime.script.known import known_of
from runtime.script.load import load
from runtime.script.transformations import CHANGES
from tests.fuzz.script_oracles import EVERYWHERE, MODULES, NAME

PER_SCRIPT: Final = 20
_HEAD: Final = "".join(f'loadmodule "{name}.so"\n' for name in MODULES)
_ROUTES: Final = {
    RouteType.REQUEST: "route {",
    RouteType.FAILURE: "failure_route[a] {",
    RouteType.ONREPLY: "onreply_route {",
    RouteType.BRANCH: "branch_route[a] {",
    RouteType.LOCAL: "local_route {",
    RouteType.STARTUP: "startup_route {",
    RouteType.TIMER: "timer_route[a, 1] {",
    RouteType.EVENT: "event_route[E_A] {",
    RouteType.ERROR: "error_route {",
}
_ARGUMENTS: Final = {
    Kind.STRING: '"a$rU"',
    Kind.INTEGER: "5",
    Kind.VALUE: "$rU",
    Kind.OUTPUT: "$avp(out)",
    Kind.AVP: "$avp(list)",
    Kind.ROUTE: "there",
    Kind.REGEX: '"a|b"',
    Kind.SUBSTITUTION: '"/a/b/g"',
}
_READ: Final = ("$var(x) = ${};", "$var(x) = ${}(a);", "$var(x) = $({}[1]);", "$var(x) = $({}(a)[-1]);")
_WRITE: Final = ('${} = "sip:x@h";', "${} = 5;", "${} = NULL;", '${}(a) = "b";', "${}(a) = NULL;", '$({}(a)[0]) = "c";')
_CHANGED: Final = ("", ",a", ",1", ",1,1", ",0,a", ",/a/b/g")


@functools.cache
def declared_scripts() -> tuple[bytes, ...]:
    """The scripts: a statement each of whatever loads, some in each script."""
    found: list[bytes] = []
    for route, statements in _statements().items():
        good = _good(route, statements)
        for at in range(0, len(good), PER_SCRIPT):
            lines = "\n".join(good[at : at + PER_SCRIPT])
            found.append(_text(f"{route}\n{lines}\n}}"))
    return tuple(found)


def _good(route: str, statements: list[str]) -> list[str]:
    """Those that may stand there: whatever is told of a line takes it away."""
    first = _HEAD.count("\n") + 2
    while True:
        data = _text(f"{route}\n" + "\n".join(statements) + "\n}")
        result = load(NAME, catalog=MODULES, always=EVERYWHERE, read=lambda _, data=data: data)
        if isinstance(result, Checked):
            return statements
        bad = {problem.place.line - first for problem in result if problem.severity == "error"}
        statements = [statement for at, statement in enumerate(statements) if at not in bad]


def _text(routes: str) -> bytes:
    return f"{_HEAD}{routes}\nroute[there] {{ }}\n".encode()


def _statements() -> dict[str, list[str]]:
    """By the head of the route that they may stand in."""
    found: dict[str, list[str]] = {head: [] for head in _ROUTES.values()}
    known = known_of([*EVERYWHERE.values(), *MODULES.values()])
    for function in known.functions.values():
        head = next(head for kind, head in _ROUTES.items() if kind & function.routes)
        found[head] += _calls(function)
    in_request = found[_ROUTES[RouteType.REQUEST]]
    for name in known.variables:
        in_request += [form.format(name) for form in (*_READ, *_WRITE)]
    for family, name in CHANGES:
        in_request += [f"$var(x) = $(rU{{{family}.{name}{argument}}});" for argument in _CHANGED]
    return found


def _calls(function: Function) -> Iterator[str]:
    arguments = [_ARGUMENTS[param.kind] for param in function.params]
    needed = sum(not param.optional for param in function.params)
    for count in sorted({needed, len(arguments)}):
        yield f"{function.name}({', '.join(arguments[:count])});"
