"""A checked script to Python functions, compiled once.

Why Python's syntax tree: a route of fifteen statements then costs what the same logic costs when written in Python by
hand, a sixth of what walking the script's tree costs. Line numbers point into the script, so a traceback does too.
"""

from __future__ import annotations

import ast
import itertools
import types
from collections.abc import Callable, Collection, Mapping
from typing import Final

from runtime.context import Context, RouteType
from runtime.script import access, tree, values
from runtime.script.calls import route_identifier
from runtime.script.check import Checked, route_name
from runtime.script.declare import Module
from runtime.script.functions import Core, World
from runtime.script.known import Known, known_of
from runtime.script.problems import Place, ScriptError
from runtime.script.pyast import FILES, Namespace
from runtime.script.recursion import recursive_routes
from runtime.script.script import DROP, EXIT, Exit, Hooks, RouteCode, Routes, Script, Timer
from runtime.script.statements import RouteCompiler, Settings, Watch
from runtime.script.uris import parts_of
from runtime.sip.own import aliases_of

RUNS_AS: Final[dict[str, RouteType]] = {
    "failure_route": RouteType.FAILURE,
    "onreply_route": RouteType.ONREPLY,
    "branch_route": RouteType.BRANCH,
    "local_route": RouteType.LOCAL,
    "startup_route": RouteType.STARTUP,
    "timer_route": RouteType.TIMER,
    "event_route": RouteType.EVENT,
    "error_route": RouteType.ERROR,
}
"""As what each kind of route runs; a `route` runs as whatever called it."""

_FIXED: Final[dict[str, object]] = {
    "int": int,
    "str": str,
    "len": len,
    "NOTHING": values.NOTHING,
    "NO_VALUES": (None,),
    "EXIT": EXIT,
    "DROP": DROP,
    "joined": access.joined,
    "pick": access.pick,
    "push_avp": access.push_avp,
    "clear_avp": access.clear_avp,
    "same": values.same,
    "differs": values.differs,
    "ordered": values.ordered,
    "same_text": values.same_text,
    "return_code": values.return_code,
    "assertion_failed": values.assertion_failed,
    "parts_of": parts_of,
}
"""What every script's namespace has under a fixed name."""


def compile_script(
    checked: Checked, modules: Mapping[str, Module], hooks: Hooks, world: World, watch: Watch | None = None
) -> Script:
    """Compile a script.

    Args:
        checked: what `load` gave.
        modules: an instance of every module in ``checked.modules``, and of those that every server has.
        hooks: what the process does for scripts.
        world: time, chance and process.
        watch: told of every statement that begins; without one that costs nothing.
    """
    namespace = namespace_of(hooks)
    codes = _compile(checked, _trees(checked, modules, hooks, world, namespace, watch), namespace)
    namespace.set("named_routes", {name: codes["route", name] for kind, name in codes if kind == "route" and name})
    edges = {route: _edge(codes[route.kind, route_name(route)], route, namespace) for route in checked.routes}
    return Script(checked.path, routes_of(edges), checked.globals, checked.sockets, checked.warnings)


def python_of(checked: Checked, modules: Mapping[str, Module], hooks: Hooks, world: World) -> str:
    """What a script is compiled to, as Python's text: for those who look for what is slow.

    Args:
        checked, modules, hooks, world: as for `compile_script`.
    """
    trees = _trees(checked, modules, hooks, world, namespace_of(hooks))
    return "\n\n".join(f"# {file}\n{ast.unparse(tree)}" for file, tree in trees.items())


def known_to(checked: Checked, modules: Mapping[str, Module], hooks: Hooks, world: World) -> Known:
    """What a script may name, bound to the instances of the core, of what every server has and of what it loads."""
    aliases = aliases_of(checked.globals)
    core = Core(world=world, sockets=checked.sockets, aliases=aliases, levels=hooks)
    always = [module for name, module in modules.items() if name not in checked.modules]
    return known_of([*always, *(modules[name] for name in checked.modules)], core)


def namespace_of(hooks: Hooks) -> Namespace:
    """What compiled code finds under fixed names."""
    namespace = Namespace()
    for name, value in _FIXED.items():
        namespace.set(name, value)
    operations = values.Operations(hooks)
    namespace.set("ops", operations)
    namespace.set("add", operations.add)
    namespace.set("assign", operations.assign)
    namespace.set("park", hooks.park)
    namespace.set("launch", hooks.launch)
    namespace.set("log", hooks.log)
    namespace.set("log_level", hooks.log_level)
    return namespace


def _trees(
    checked: Checked,
    modules: Mapping[str, Module],
    hooks: Hooks,
    world: World,
    namespace: Namespace,
    watch: Watch | None = None,
) -> dict[str, ast.Module]:
    """Python's syntax tree of each file."""
    known = known_to(checked, modules, hooks, world)
    settings = Settings(checked.globals)
    recursive = recursive_routes(checked.routes)
    files: dict[str, list[ast.stmt]] = {}
    for route in checked.routes:
        body = files.setdefault(route.place.file, [])
        helpers: list[ast.FunctionDef] = []
        compiler = RouteCompiler(known, namespace, helpers, settings, recursive, watch)
        body.append(compiler.route(route_identifier(route.kind, route_name(route)), route))
        body.extend(helpers)
    return {file: ast.Module(body, []) for file, body in files.items()}


def _compile(
    checked: Checked, trees: Mapping[str, ast.Module], namespace: Namespace
) -> dict[tuple[str, str], RouteCode]:
    """Every route's function, by kind and name. Each file is compiled under its own name."""
    for file, body in trees.items():
        exec(compile(body, file, "exec"), namespace.entries)
    return {
        (route.kind, route_name(route)): namespace.entries[route_identifier(route.kind, route_name(route))]
        for route in checked.routes
    }


def routes_of(codes: Mapping[tree.Route, RouteCode]) -> Routes:
    """A script's routes, each where those who run it look for it."""
    routes = Routes()
    for route, code in codes.items():
        name = route_name(route)
        match route.kind:
            case "route" if not name:
                routes.request = code
            case "route":
                routes.named[name] = code
            case "failure_route":
                routes.failure[name] = code
            case "onreply_route":
                routes.onreply[name] = code
            case "branch_route":
                routes.branch[name] = code
            case "local_route":
                routes.local = code
            case "startup_route":
                routes.startup = code
            case "error_route":
                routes.error = code
            case "timer_route":
                routes.timers.append(Timer(name, int(route.parameter or 0), code))
            case "event_route":
                routes.events[name] = code
                routes.event_modes[name] = "sync" if route.parameter == "sync" else "async"
    return routes


def _edge(code: RouteCode, route: tree.Route, namespace: Namespace) -> RouteCode:
    """The route as others call it: it says which route runs, and turns what is raised into one ScriptError."""
    runs_as = RUNS_AS.get(route.kind)
    name = route_name(route)
    entries = namespace.entries
    head = route.place

    def run(c: Context) -> Exit | None:
        if runs_as is not None:
            c.route = runs_as
        c.route_name = name
        try:
            return code(c)
        except Exception as cause:
            place = place_of(cause.__traceback__, head, lambda frame: frame.f_globals is entries, namespace.files)
            raise ScriptError(place, cause) from cause

    return run


def place_of(
    traceback: types.TracebackType | None,
    head: Place,
    of_script: Callable[[types.FrameType], bool],
    files: Collection[str] = (),
) -> Place:
    """The innermost statement of the script that the traceback passes through; `head` where it passes through none.

    Args:
        traceback: of what was raised.
        head: where the route begins.
        of_script: whether a frame is one of the script's.
        files: the files that the widths of statements stand for (`Namespace.stamp`), where they do.
    """
    innermost: types.TracebackType | None = None
    while traceback is not None:
        if of_script(traceback.tb_frame):
            innermost = traceback
        traceback = traceback.tb_next
    if innermost is None:
        return head
    return _position(innermost.tb_frame.f_code, innermost.tb_lasti, files, head.line)


def statement_at(frame: types.FrameType) -> Place | None:
    """Where a frame of a compiled route stands; None for any other frame."""
    files = frame.f_globals.get(FILES)
    return None if files is None else _position(frame.f_code, frame.f_lasti, files, 0)


def _position(code: types.CodeType, instruction: int, files: Collection[str], otherwise: int) -> Place:
    line, _, start, end = next(itertools.islice(code.co_positions(), instruction // 2, None))
    start = start or 0
    file = next(itertools.islice(files, max(0, (end or 0) - start - 1), None), code.co_filename)
    return Place(file, line or otherwise, start + 1)
