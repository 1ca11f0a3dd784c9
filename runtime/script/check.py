"""Whether a script makes sense: every problem at once, before any traffic."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from runtime.context import RouteType
from runtime.script import tree
from runtime.script.advice import Commands, advise, check_named
from runtime.script.changes import integer_of
from runtime.script.check_body import BodyChecker, Uses
from runtime.script.check_calls import PAIRED, Names
from runtime.script.check_ends import check_ends
from runtime.script.check_pairs import check_pairs, pairs_of
from runtime.script.declare import Function, Module, Parameter
from runtime.script.elsewhere import Elsewhere
from runtime.script.known import known_of
from runtime.script.problems import Near, Place, Problems, ScriptProblem
from runtime.script.settings import GLOBALS, GONE, NUMBERS, REPEATABLE, TEXTS
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
_SERVES: Final = frozenset(("route", "failure_route", "onreply_route", "branch_route", "local_route", "error_route"))
"""Routes on which a message waits, and behind it those that its process would serve next."""
_NEVER_IN_A_NAME: Final = re.compile(r"[\x00-\x1f\x7f$]")
"""In the name of a route; where one is called, what has a `$` in it is a text with variables."""
_AVP: Final = re.compile(r"\$avp\(([^()]*)\)")
_ARMS: Final = {"t_on_failure": "failure_route", "t_on_reply": "onreply_route", "t_on_branch": "branch_route"}
"""Functions of the module tm whose argument names a route of one kind; an empty name takes the arm away."""


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


def check(
    path: Path,
    items: Iterable[tree.Item],
    catalog: Mapping[str, type[Module]],
    always: Mapping[str, type[Module]] | None = None,
    broken: Iterable[str] = (),
) -> Checked | list[ScriptProblem]:
    """Check a whole script.

    Args:
        path: the file that was loaded.
        items: what stands at its top, with included files in their places.
        catalog: every module that could be loaded, by name.
        always: the modules that every server has, by name.
        broken: modules that the script brings along and that cannot be loaded; who calls tells it.

    Returns:
        the script, or its problems, warnings among them, in the order of their places.
    """
    checker = _Checker(catalog, always or {}, broken)
    checker.run(list(items))
    problems = checker.problems.sorted()
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
    def __init__(
        self, catalog: Mapping[str, type[Module]], always: Mapping[str, type[Module]], broken: Iterable[str]
    ) -> None:
        self.catalog = catalog
        self.always = always
        self.problems = Problems()
        self.tell = self.problems.tell
        self.unknown_modules = dict.fromkeys(broken)
        self.globals: dict[str, int | str] = {}
        self.sockets: list[str] = []
        self.modules: dict[str, type[Module]] = {}
        self.settings: dict[str, dict[str, Any]] = {}
        self.naming: list[tree.ModParam] = []
        """Module parameters whose words name MI commands."""
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
        self._route_names()
        self._bodies()

    # Globals and modules

    def _setting(self, item: tree.Setting) -> None:
        if item.name in NUMBERS:
            if not isinstance(item.value, int):
                self.tell(item.place, "bad-setting", f'{item.name} is a number, not "{item.value}"')
                return
        elif item.name not in TEXTS:
            if item.name in GONE:
                now = GONE[item.name]
                self.tell(item.place, "unknown-setting", f"unknown global parameter {item.name} (it is {now} now)")
                return
            near = Near(item.name, NUMBERS | TEXTS)
            self.tell(item.place, "unknown-setting", f"unknown global parameter {item.name}", near=near)
            return
        declared = GLOBALS[item.name]
        if not declared.effect and not declared.granted:
            self._without_effect(item.place, item.name, declared.doc)
        value = str(item.value) if item.name in TEXTS else item.value
        if item.name == "socket":
            self.sockets.append(str(value))
        elif item.name in REPEATABLE and item.name in self.globals:
            self.globals[item.name] = f"{self.globals[item.name]}\n{value}"
        else:
            self.globals[item.name] = value

    def _without_effect(self, place: Place, name: str, doc: str) -> None:
        self.tell(place, "without-effect", f"{name} has no effect: {doc.removeprefix('No effect: ').removesuffix('.')}")

    def _load_module(self, item: tree.LoadModule) -> None:
        name = module_name(item.name)
        if name in self.unknown_modules:
            return
        if name not in self.catalog:
            self.unknown_modules[name] = None
            self.tell(item.place, "unknown-module", f"unknown module {name}", near=Near(name, self.catalog))
        elif name in self.modules:
            self.tell(item.place, "loaded-twice", f"module {name} is loaded twice")
        else:
            self.modules[name] = self.catalog[name]
            self.settings[name] = {}

    def _mod_param(self, item: tree.ModParam) -> None:
        for name in item.module.split("|"):
            module = self.modules.get(name)
            if module is None:
                if name not in self.unknown_modules:  # that there is none has been said at its loadmodule
                    message = f"modparam for module {name}, which no loadmodule before it loads"
                    self.problems.tell_once(name, item.place, "missing-module", message, near=Near(name, self.modules))
                continue
            known = {parameter.name: parameter for parameter in module.parameters}
            if item.name not in known:
                message = f"module {name} has no parameter {item.name}"
                self.tell(item.place, "unknown-parameter", message, near=Near(item.name, known))
                continue
            self._set(name, known[item.name], item)

    def _set(self, module: str, parameter: Parameter, item: tree.ModParam) -> None:
        value: int | str = item.value
        if parameter.kind is int and isinstance(value, str):
            number = integer_of(value)
            if number is None:
                message = f'parameter {item.name} of module {module} is an integer, not "{value}"'
                self.tell(item.place, "bad-parameter", message)
                return
            value = number
        if parameter.kind is str and isinstance(value, int):
            message = f"parameter {item.name} of module {module} is a string, not a number"
            self.tell(item.place, "bad-parameter", message)
            return
        if not parameter.effect and value != parameter.default:
            self._without_effect(item.place, f"parameter {item.name} of module {module}", parameter.doc)
        if parameter.commands:
            self.naming.append(item)
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
                self.tell(route.place, "duplicate-route", f"{shown(route)} is already at {seen[key].place}")
            seen.setdefault(key, route)
            self._route_form(route)

    def _route_form(self, route: tree.Route) -> None:
        place = route.place
        if route.name in RESERVED and not route.quoted:
            message = f'"{route.name}" is a word of the language and cannot be the name of a route'
            self.tell(place, "bad-route", message, help="in quotes it can")
        if _NEVER_IN_A_NAME.search(route.name):
            self.tell(place, "bad-route", f'the name "{route.name}" has a control character or a $ in it')
        if route.kind in _NAMELESS and route.name:
            self.tell(place, "bad-route", f"{route.kind} takes no name")
        if route.kind in _NAMED and not route.name:
            self.tell(place, "bad-route", f"{route.kind} needs a name: {route.kind}[name]")
        if wrong := _wrong_parameter(route):
            self.tell(place, "bad-route", wrong)

    def _bodies(self) -> None:
        named = {route_name(one): one for one in reversed(self.routes) if _is_named(one)}
        elsewhere = Elsewhere(self.catalog, self.modules, self.unknown_modules)
        known = known_of([*self.always.values(), *self.modules.values()])
        names = Names(known, {route_name(route) for route in self.routes}, elsewhere, self.problems)
        uses: list[tuple[tree.Route, Uses]] = []
        for route in self.routes:
            checker = BodyChecker(names, named.keys())
            checker.body(route.body)
            uses.append((route, checker.uses))
        self._route_types(uses)
        self._arms(uses)
        calls = {
            route_name(route): used.routes & named.keys()
            for route, used in uses
            if named.get(route_name(route)) is route
        }
        check_ends(self.routes, named, calls, self.problems)
        self._advice(uses, names)

    def _route_types(self, uses: list[tuple[tree.Route, Uses]]) -> None:
        """A function may only stand where every kind of route that reaches it allows it."""
        reached = _reached(uses)
        for route, used in uses:
            for function, node, _ in used.functions:
                for kind, origin in reached[route.place].items():
                    if not kind & function.routes:
                        self.tell(node.place, "wrong-route-type", _not_allowed(function, kind, route, origin))

    def _arms(self, uses: list[tuple[tree.Route, Uses]]) -> None:
        """The routes that `t_on_failure()` and its like name."""
        kinds: dict[str, set[str]] = {kind: set() for kind in _ARMS.values()}
        for route in self.routes:
            kinds.setdefault(route.kind, set()).add(route.name)
        for _, used in uses:
            for function, node, _ in used.functions:
                kind, argument = _ARMS.get(function.name), node.arguments[0] if node.arguments else None
                if kind is None or not isinstance(argument, tree.Text | tree.Number):
                    continue
                named = str(argument.value)
                if named and "$" not in named and named not in kinds[kind]:
                    message = f"there is no {kind}[{named}]"
                    self.tell(argument.place, "unknown-route", message, near=Near(named, kinds[kind]))

    def _advice(self, uses: list[tuple[tree.Route, Uses]], names: Names) -> None:
        paired = [name for name in PAIRED if name in names.known.functions]
        pairs = pairs_of(self.routes, paired, self._written_avps(names), computed=names.computed_avps)
        serving = _serving(uses)
        calls = [(call, route.place in serving) for route, used in uses for call in used.functions]
        check_pairs((call.node for call, _ in calls), pairs, self.problems)
        commands = Commands(
            self.always.values(),
            self.modules,
            names.elsewhere,
            complete=not self.unknown_modules and bool(self.always),
        )
        check_named(self.naming, commands, self.problems)
        advise(calls, commands, pairs, self.settings.get("mi_script", {}), self.problems)

    def _written_avps(self, names: Names) -> Counter[str]:
        """How often each AVP is written, counting modules' parameters, which may name one that the module writes."""
        texts = [str(value) for settings in self.settings.values() for value in settings.values()]
        return names.written_avps + Counter(_AVP.findall(" ".join(texts)))


def _wrong_parameter(route: tree.Route) -> str:
    """What is wrong with what stands behind the name of a route; empty when nothing is."""
    parameter = route.parameter
    if route.kind == "timer_route":
        if not isinstance(parameter, int) or not 1 <= parameter <= 86_400 * 366:
            return "a timer_route says its seconds: timer_route[name, seconds]"
    elif route.kind == "event_route":
        if parameter not in (None, "sync", "async"):
            return "behind the name of an event_route only sync or async may stand"
    elif parameter is not None:
        return f"{route.kind} takes a name only"
    return ""


def _reached(uses: list[tuple[tree.Route, Uses]]) -> dict[Place, dict[RouteType, tree.Route]]:
    """For each route, as which kinds it runs, and from which route that comes."""
    reached: dict[Place, dict[RouteType, tree.Route]] = {route.place: {} for route, _ in uses}
    by_name = {route_name(route): (route, used) for route, used in uses if _is_named(route)}
    waiting = [(route, used, _TYPES[route.kind], route) for route, used in uses if not _is_named(route)]
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


def _serving(uses: list[tuple[tree.Route, Uses]]) -> set[Place]:
    """The places of the routes that serve traffic, and of those that such a route runs, resumes in or reports to."""
    by_name = {route_name(route): (route, used) for route, used in uses if _is_named(route)}
    waiting = [(route, used) for route, used in uses if route.kind in _SERVES and not _is_named(route)]
    found: set[Place] = set()
    flooded = False
    while waiting:
        route, used = waiting.pop()
        if route.place in found:
            continue
        found.add(route.place)
        waiting += [by_name[name] for name in (*used.routes, *used.reports) if name in by_name]
        if used.computed and not flooded:
            flooded = True
            waiting += by_name.values()
    return found


def _is_named(route: tree.Route) -> bool:
    """Whether it only runs when another route says so."""
    return route.kind == "route" and bool(route_name(route))


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
