"""Whether a script makes sense: every problem at once, before any traffic."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from runtime.context import RouteType
from runtime.script import tree
from runtime.script.check_body import BodyChecker, Uses
from runtime.script.check_calls import Names
from runtime.script.declare import Function, Module, Parameter
from runtime.script.known import known_of
from runtime.script.problems import Place, ScriptProblem, suggestion
from runtime.script.settings import NUMBERS, REPEATABLE, TEXTS
from runtime.script.words import RESERVED

_TYPES: Final[dict[str, RouteType]] = {
    "route": RouteType.REQUEST,
    "failure_route": RouteType.FAILURE,
    "onreply_route": RouteType.ONREPLY,
    "branch_route": RouteType.BRANCH,
    "local_route": RouteType.LOCAL,
    "startup_route": RouteType.STARTUP,
    "timer_route": RouteType.TIMER,
    "event_route": RouteType.EVENT,
    "error_route": RouteType.ERROR,
}
_NAMELESS: Final = frozenset(("local_route", "startup_route", "error_route"))
_NAMED: Final = frozenset(("failure_route", "branch_route", "timer_route", "event_route"))


@dataclass(frozen=True, slots=True)
class Checked:
    """A script that makes sense.

    Args:
        path: the file that was loaded.
        routes: the tree: every route, of included files too, in order.
        globals: the global parameters that it sets, without `socket`. A repeatable one's settings stand joined by
            line ends.
        sockets: the listening sockets, as they stand behind ``socket=``.
        modules: the names of the modules that it loads, in order.
        own: those of them that are files of the script's own, by name.
        settings: by module, what `modparam` sets; a list for a parameter that repeats.
        warnings: what is odd and does not keep it from running.
    """

    path: Path
    routes: tuple[tree.Route, ...]
    globals: dict[str, int | str]
    sockets: list[str]
    modules: list[str]
    settings: dict[str, dict[str, Any]]
    warnings: list[ScriptProblem]
    own: Mapping[str, type[Module]] = field(default_factory=dict)


def check(path: Path, items: Iterable[tree.Item], catalog: Mapping[str, type[Module]]) -> Checked | list[ScriptProblem]:
    """Check a whole script.

    Args:
        path: the file that was loaded.
        items: what stands at its top, with included files in their places.
        catalog: every module that could be loaded, by name.

    Returns:
        the script, or its problems, warnings among them, in the order of their places.
    """
    checker = _Checker(catalog)
    checker.run(list(items))
    problems = sorted(set(checker.problems), key=lambda problem: problem.place)
    if any(problem.severity == "error" for problem in problems):
        return problems
    return Checked(
        path,
        tuple(checker.routes),
        checker.globals,
        checker.sockets,
        list(checker.modules),
        checker.settings,
        problems,
    )


class _Checker:
    def __init__(self, catalog: Mapping[str, type[Module]]) -> None:
        self.catalog = catalog
        self.problems: list[ScriptProblem] = []
        self.globals: dict[str, int | str] = {}
        self.sockets: list[str] = []
        self.modules: dict[str, type[Module]] = {}
        self.settings: dict[str, dict[str, Any]] = {}
        self.routes: list[tree.Route] = []

    def run(self, items: list[tree.Item]) -> None:
        for item in items:
            match item:
                case tree.Setting():
                    self._setting(item)
                case tree.LoadModule():
                    self._load_module(item)
                case tree.ModParam():
                    self._mod_param(item)
                case tree.Route():
                    self.routes.append(item)
                case tree.Include():
                    raise AssertionError("included files are put in before the check")
        self._route_names()
        self._bodies()

    def _tell(self, place: Place, message: str) -> None:
        self.problems.append(ScriptProblem(place, message))

    # Globals and modules

    def _setting(self, item: tree.Setting) -> None:
        if item.name in NUMBERS:
            if not isinstance(item.value, int):
                self._tell(item.place, f'{item.name} is a number, not "{item.value}"')
                return
        elif item.name not in TEXTS:
            self._tell(item.place, f"unknown global parameter {item.name}{suggestion(item.name, NUMBERS | TEXTS)}")
            return
        value = str(item.value) if item.name in TEXTS else item.value
        if item.name == "socket":
            self.sockets.append(str(value))
        elif item.name in REPEATABLE and item.name in self.globals:
            self.globals[item.name] = f"{self.globals[item.name]}\n{value}"
        else:
            self.globals[item.name] = value

    def _load_module(self, item: tree.LoadModule) -> None:
        name = module_name(item.name)
        if name not in self.catalog:
            self._tell(item.place, f"unknown module {name}{suggestion(name, self.catalog)}")
        elif name in self.modules:
            self.problems.append(ScriptProblem(item.place, f"module {name} is loaded twice", "warning"))
        else:
            self.modules[name] = self.catalog[name]
            self.settings[name] = {}

    def _mod_param(self, item: tree.ModParam) -> None:
        for name in item.module.split("|"):
            module = self.modules.get(name)
            if module is None:
                near = suggestion(name, self.modules)
                self._tell(item.place, f"modparam for module {name}, which no loadmodule before it loads{near}")
                continue
            known = {parameter.name: parameter for parameter in module.parameters}
            if item.name not in known:
                near = suggestion(item.name, known)
                self._tell(item.place, f"module {name} has no parameter {item.name}{near}")
                continue
            self._set(name, known[item.name], item)

    def _set(self, module: str, parameter: Parameter, item: tree.ModParam) -> None:
        value: int | str = item.value
        if parameter.kind is int and isinstance(value, str):
            digits = value.removeprefix("-")
            if not (digits.isascii() and digits.isdecimal() and len(digits) < 19):
                self._tell(item.place, f'parameter {item.name} of module {module} is an integer, not "{value}"')
                return
            value = int(value)
        if parameter.kind is str and isinstance(value, int):
            self._tell(item.place, f"parameter {item.name} of module {module} is a string, not a number")
            return
        if parameter.repeats:
            self.settings[module].setdefault(item.name, []).append(value)
        else:
            self.settings[module][item.name] = value

    # Routes

    def _route_names(self) -> None:
        seen: dict[tuple[str, str], tree.Route] = {}
        for route in self.routes:
            key = (route.kind, route_name(route))
            if key in seen:
                self._tell(route.place, f"{shown(route)} is already at {seen[key].place}")
            seen.setdefault(key, route)
            self._route_form(route)

    def _route_form(self, route: tree.Route) -> None:
        if route.name in RESERVED and not route.quoted:
            self._tell(route.place, f'"{route.name}" is a word of the language and cannot be the name of a route')
        if any(not (char.isalnum() or char in "_.:-") or not char.isascii() for char in route.name):
            self._tell(route.place, f'the name "{route.name}" has other characters than letters, digits, _ . : and -')
        if route.kind in _NAMELESS and route.name:
            self._tell(route.place, f"{route.kind} takes no name")
        if route.kind in _NAMED and not route.name:
            self._tell(route.place, f"{route.kind} needs a name: {route.kind}[name]")
        self._route_parameter(route)

    def _route_parameter(self, route: tree.Route) -> None:
        parameter = route.parameter
        if route.kind == "timer_route":
            if not isinstance(parameter, int) or not 1 <= parameter <= 86_400 * 366:
                self._tell(route.place, "a timer_route says its seconds: timer_route[name, seconds]")
        elif route.kind == "event_route":
            if parameter not in (None, "sync", "async"):
                self._tell(route.place, "behind the name of an event_route only sync or async may stand")
        elif parameter is not None:
            self._tell(route.place, f"{route.kind} takes a name only")

    def _bodies(self) -> None:
        named = {route_name(route) for route in self.routes if route.kind == "route" and route_name(route)}
        names = Names(known_of(self.modules.values()), {route_name(route) for route in self.routes})
        uses: list[tuple[tree.Route, Uses]] = []
        for route in self.routes:
            checker = BodyChecker(names, named)
            checker.body(route.body)
            uses.append((route, checker.uses))
        self.problems.extend(names.problems)
        self._route_types(uses)

    def _route_types(self, uses: list[tuple[tree.Route, Uses]]) -> None:
        """A function may only stand where every kind of route that reaches it allows it."""
        reached = _reached(uses)
        for route, used in uses:
            for function, place in used.functions:
                for kind, origin in reached[route.place].items():
                    if not kind & function.routes:
                        self._tell(place, _not_allowed(function, kind, route, origin))


def _reached(uses: list[tuple[tree.Route, Uses]]) -> dict[Place, dict[RouteType, tree.Route]]:
    """For each route, as which kinds it runs, and from which route that comes."""
    reached: dict[Place, dict[RouteType, tree.Route]] = {route.place: {} for route, _ in uses}
    by_name = {route_name(route): (route, used) for route, used in uses if route.kind == "route" and route_name(route)}
    waiting: list[tuple[tree.Route, Uses, RouteType, tree.Route]] = [
        (route, used, _TYPES[route.kind], route)
        for route, used in uses
        if route.kind != "route" or not route_name(route)
    ]
    while waiting:
        route, used, kind, origin = waiting.pop()
        if kind in reached[route.place]:
            continue
        reached[route.place][kind] = origin
        # Where the name is computed it may be any one's, so that tells nothing of any.
        targets = [(name, kind) for name in used.routes]
        targets += [(name, RouteType.REQUEST) for name in used.reports]
        waiting += [(*by_name[name], next_kind, origin) for name, next_kind in targets if name in by_name]
    return reached


def _not_allowed(function: Function, kind: RouteType, route: tree.Route, origin: tree.Route) -> str:
    where = next(name for name, known in _TYPES.items() if known is kind)
    article = "an" if where[0] in "aeiou" else "a"
    text = f"{function.name}() cannot be called in {article} {where}"
    return text if route is origin else f"{text}, and {shown(route)} is reached from {shown(origin)}"


def module_name(text: str) -> str:
    """``/usr/lib/tm.so``, ``tm`` and ``own/tm.py`` as ``tm``."""
    return text.rpartition("/")[2].removesuffix(".so").removesuffix(".py")


def route_name(route: tree.Route) -> str:
    """The route's name; empty for the unnamed one, which is also called 0."""
    return "" if route.kind in ("route", "onreply_route") and route.name == "0" else route.name


def shown(route: tree.Route) -> str:
    """The route as the script writes its head."""
    return f"{route.kind}[{route.name}]" if route.name else route.kind
