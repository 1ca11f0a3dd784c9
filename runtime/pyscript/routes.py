"""From a loaded script in Python to a `Script` that the processes run."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from runtime.context import Context
from runtime.modules.mi_script import MiScript
from runtime.pyscript.call import Call, Report, Runtime
from runtime.pyscript.driving import Driver
from runtime.pyscript.functions import WatchMethod, method_of
from runtime.pyscript.hooks import PyHooks
from runtime.pyscript.load import PyChecked
from runtime.pyscript.variables import Variables
from runtime.pyscript.waits import MiCall
from runtime.pyscript.words import rc_of
from runtime.script.check import route_name
from runtime.script.compile import RUNS_AS, known_to, routes_of
from runtime.script.declare import Module
from runtime.script.functions import World
from runtime.script.known import Known
from runtime.script.problems import Place
from runtime.script.script import RouteCode, Script
from runtime.script.statements import Settings

_USUAL_TIMEOUT_S = 30.0
_ERROR = -1


def make_script(
    checked: PyChecked,
    modules: Mapping[str, Module],
    hooks: PyHooks,
    world: World,
    watch: WatchMethod | None = None,
) -> Script:
    """Make the routes of a script.

    Args:
        checked: what `load` gave.
        modules: an instance of every module in ``checked.modules``, and of those that every server has.
        hooks: what the process does for scripts.
        world: time, chance and process.
        watch: see `WatchMethod`; None where nobody wants to know.
    """
    known = known_to(checked, modules, hooks, world)
    mi = modules.get("mi_script") if "mi_script" in checked.modules else None
    assert mi is None or isinstance(mi, MiScript)
    timeout_s = _USUAL_TIMEOUT_S if mi is None else float(mi.settings["timeout"])
    head = Place(str(checked.path), 1, 1)
    variables = Variables(known, hooks, head)
    driver = Driver(hooks, lambda c: make(c), checked.files, timeout_s)
    print_level = Settings(checked.globals).print_level
    runtime = Runtime(hooks, variables, mi, print_level, lambda report, call: _reporting(driver, report, call, head))
    make = _call_class(known, runtime, driver, watch)
    functions = {(one.kind, one.name): one for one in checked.registered}
    codes = {
        route: driver.code(one.function, route_name(route), RUNS_AS.get(route.kind), route.place)
        for route in checked.routes
        if (one := functions.get((route.kind, route.name))) is not None
    }
    return Script(checked.path, routes_of(codes), checked.globals, checked.sockets, checked.warnings)


def _call_class(known: Known, runtime: Runtime, driver: Driver, watch: WatchMethod | None) -> Callable[[Context], Call]:
    """`Call` with the script's functions as methods, where its own do not stand for them."""

    def complain(c: Context, text: str) -> None:
        if runtime.hooks.log_level() >= _ERROR:
            runtime.hooks.log(_ERROR, text, c, driver.statement())

    members: dict[str, object] = {"__slots__": (), "__doc__": Call.__doc__, "_runtime": runtime}
    members["_read"] = runtime.variables.readers
    for name, found in known.functions.items():
        if not hasattr(Call, name):
            method = method_of(found, runtime.variables, complain)
            members[name] = method if watch is None else watch(name, method)
    return type("Call", (Call,), members)


def _reporting(driver: Driver, report: Report, call: MiCall, head: Place) -> RouteCode:
    """A route that tells a function how something launched has ended."""
    return driver.code(lambda fresh: report(fresh, rc_of(fresh.context.rc), call.value.value), "", None, head)
