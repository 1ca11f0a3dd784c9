"""Checks of a route's statements, and the notes for the checks that go over all routes."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple, TypeAlias, assert_never

from runtime.script import tree
from runtime.script.check_calls import Names, regex_problem
from runtime.script.declare import Function, only_asynchronous
from runtime.script.networks import network_of
from runtime.script.problems import Code, Near, Place
from runtime.script.values import lowered

LOG_LEVELS: Final = {"L_ALERT": -3, "L_CRIT": -2, "L_ERR": -1, "L_WARN": 1, "L_NOTICE": 2, "L_INFO": 3, "L_DBG": 4}
MAX_LOOPS: Final = 12
"""How deep loops may stand in one another: Python allows 20 blocks."""


Form: TypeAlias = Literal["", "async", "launch"]


class Used(NamedTuple):
    """One call of a function that is known."""

    function: Function
    node: tree.Call
    form: Form


@dataclass(slots=True)
class Uses:
    """What one route calls, for the checks that go over all of them.

    Args:
        functions: each call of a function that is known.
        routes: the named routes that it runs or resumes in, which run as the same kind of route.
        reports: the named routes that report on a launch, which run as request routes.
        computed: whether it calls a route whose name is only known when it runs.
    """

    functions: list[Used] = field(default_factory=list)
    routes: set[str] = field(default_factory=set)
    reports: set[str] = field(default_factory=set)
    computed: bool = False


class BodyChecker:
    """Checks one route's statements.

    Args:
        names: checks names, and holds the problems.
        named: the routes that `route()`, `async()` and `launch()` may name.
    """

    def __init__(self, names: Names, named: Collection[str]) -> None:
        self.names = names
        self.named = named
        self.uses = Uses()
        self._loops = 0
        self._breakable = 0

    def body(self, statements: tree.Body) -> None:
        """Check statements in order."""
        for statement in statements:
            self._statement(statement)

    def _statement(self, node: tree.Statement) -> None:
        match node:
            case tree.Run():
                self._expression(node.call)
            case tree.Log():
                self._log(node)
            case tree.Assign():
                self._assign(node)
            case tree.If():
                self._if(node)
            case tree.While():
                self._while(node)
            case tree.ForEach():
                self._for(node)
            case tree.Switch():
                self._switch(node)
            case tree.Break():
                if not self._breakable:
                    self.names.tell(node.place, "bad-statement", "break stands neither in a loop nor in a switch")
            case tree.Return():
                if isinstance(node.code, tree.Variable):
                    self.names.variable(node.code)
                for value in node.values:
                    self._value(value)
            case tree.Assert():
                self._expression(node.condition)
            case tree.Exit() | tree.Drop():
                pass
            case _:
                assert_never(node)

    def _assign(self, node: tree.Assign) -> None:
        self.names.written(node.target)
        if node.target.index == "*" and not isinstance(node.value, tree.Null) and node.operator not in ("=", ":="):
            self.names.tell(node.place, "bad-expression", f"{node.operator} works on one value, not on [*]")
        if isinstance(node.value, tree.Null) and node.operator not in ("=", ":="):
            self.names.tell(node.place, "bad-expression", f"{node.operator} NULL has no meaning")
        self._expression(node.value)

    def _if(self, node: tree.If) -> None:
        self._expression(node.condition)
        self.body(node.then)
        self.body(node.otherwise)

    def _while(self, node: tree.While) -> None:
        self._expression(node.condition)
        self._loop(node.body, node.place)

    def _for(self, node: tree.ForEach) -> None:
        self.names.written(node.target)
        self.names.variable(node.source)
        if node.target.name not in ("var", "avp") or node.target.index is not None:
            self.names.tell(node.target.place, "bad-statement", "the loop's variable is a $var or an $avp")
        if node.source.index != "*" or node.source.changes or node.source.of:
            self.names.tell(node.source.place, "bad-statement", f"{node.source.text} is no list: write $(name(x)[*])")
        self._loop(node.body, node.place)

    def _loop(self, body: tree.Body, place: Place) -> None:
        self._loops += 1
        self._breakable += 1
        if self._loops > MAX_LOOPS:
            self.names.tell(place, "bad-statement", f"more than {MAX_LOOPS} loops stand in one another")
        self.body(body)
        self._loops -= 1
        self._breakable -= 1

    def _switch(self, node: tree.Switch) -> None:
        self.names.variable(node.subject)
        seen: set[object] = set()
        for case in node.cases:
            key = case.value.value if case.value is not None else None
            key = lowered(key) if isinstance(key, str) else key
            if key in seen:
                self.names.tell(case.place, "bad-statement", "this case stands here twice")
            seen.add(key)
            if case.value is None and case is not node.cases[-1]:
                self.names.tell(case.place, "bad-statement", "default is the last case")
        if not node.cases:
            self.names.tell(node.place, "bad-statement", "a switch has at least one case")
        self._loops += 1
        self._breakable += 1
        if self._loops > MAX_LOOPS:
            self.names.tell(node.place, "bad-statement", f"more than {MAX_LOOPS} loops stand in one another")
        for case in node.cases:
            self.body(case.body)
        self._loops -= 1
        self._breakable -= 1

    def _log(self, node: tree.Log) -> None:
        arguments = node.arguments
        most = 1 if node.function == "xdbg" else 2
        if not 1 <= len(arguments) <= most or not isinstance(arguments[-1], tree.Text):
            form = "(text)" if most == 1 else "([level, ]text)"
            self.names.tell(node.place, "bad-statement", f"{node.function}() is written {node.function}{form}")
            return
        if node.function != "log":
            self.names.format(arguments[-1])
        if len(arguments) == 2 and log_level(arguments[0]) is None:
            levels = ", ".join(LOG_LEVELS)
            self.names.tell(node.place, "bad-statement", f"the level is one of {levels}, or a number from -3 to 4")

    # Expressions

    def _expression(self, node: tree.Expression) -> None:
        match node:
            case tree.Number() | tree.Null() | tree.Network():
                pass
            case tree.Text():
                self.names.literal(node)
            case tree.Variable():
                self.names.variable(node)
            case tree.Call():
                self._call(node)
            case tree.RouteCall():
                self._route_call(node)
            case tree.Async():
                self._async(node)
            case tree.Launch():
                self._launch(node)
            case tree.Binary() | tree.Logic():
                self._expression(node.left)
                self._expression(node.right)
            case tree.Compare():
                self._compare(node)
            case tree.Not() | tree.BitNot():
                self._expression(node.operand)
            case _:
                assert_never(node)

    def _compare(self, node: tree.Compare) -> None:
        self._expression(node.left)
        if node.operator in ("=~", "!~"):
            if isinstance(node.right, tree.Text):
                if wrong := regex_problem(node.right.value):
                    self.names.tell(node.right.place, "bad-pattern", f"the right side of {node.operator} is {wrong}")
                return
            if not isinstance(node.right, tree.Variable):
                self.names.tell(
                    node.place, "bad-expression", f"the right side of {node.operator} is a string or a variable"
                )
        elif isinstance(node.right, tree.Null | tree.Network) and node.operator not in ("==", "!="):
            self.names.tell(
                node.place, "bad-expression", f"{node.operator} does not compare with this: only == and != do"
            )
        elif isinstance(node.right, tree.Network) and network_of(node.right.text) is None:
            self.names.tell(node.right.place, "bad-expression", f"{node.right.text} is not an IP address or network")
        self._expression(node.right)

    def _call(self, node: tree.Call) -> None:
        if node.name in ("xlog", "log", "xdbg"):
            self.names.tell(node.place, "bad-statement", f"{node.name}() stands alone: it has no value")
            return
        found = self.names.call(node)
        if found is not None:
            self.uses.functions.append(Used(found, node, ""))
            if found.call is only_asynchronous:
                self.names.tell(node.place, "wrong-form", f"{node.name}() only works as async({node.name}(…), route)")

    def _route_call(self, node: tree.RouteCall) -> None:
        if isinstance(node.target, tree.Variable):
            self.names.variable(node.target)
            self.uses.computed = True
        elif "$" in node.target.value:
            self.names.format(node.target)
            self.uses.computed = True
        else:
            self._named(node.target, "unknown-route", "there is no route")
            self.uses.routes.add(node.target.value)
        for argument in node.arguments:
            self._value(argument)

    def _value(self, argument: tree.Argument | None) -> None:
        self.names.argument(argument)

    def _async(self, node: tree.Async) -> None:
        self._asynchronous(node.call, "async")
        self._named(node.resume, "missing-resume-route", "there is no route to resume in: route")
        self.uses.routes.add(node.resume.value)

    def _launch(self, node: tree.Launch) -> None:
        self._asynchronous(node.call, "launch")
        if node.report is not None:
            self._named(node.report, "missing-report-route", "there is no route to report to: route")
            self.uses.reports.add(node.report.value)
        if node.parameter is not None:
            self.names.format(node.parameter)

    def _asynchronous(self, node: tree.Call, form: Form) -> None:
        found = self.names.call(node)
        if found is None:
            return
        self.uses.functions.append(Used(found, node, form))
        if found.begin is None:
            able = [name for name, function in self.names.known.functions.items() if function.begin]
            message = f"{node.name}() has no asynchronous form for {form}()"
            self.names.tell(node.place, "wrong-form", message, near=Near(node.name, able))

    def _named(self, name: tree.Text, code: Code, message: str) -> None:
        if name.value not in self.named:
            self.names.tell(name.place, code, f"{message}[{name.value}]", near=Near(name.value, self.named))


def log_level(node: tree.Argument | None) -> int | None:
    """The level that an argument of xlog() or log() names; None when it names none."""
    match node:
        case tree.Number() if -3 <= node.value <= 4:
            return node.value
        case tree.Text():
            if node.value in LOG_LEVELS:
                return LOG_LEVELS[node.value]
            if node.value in ("-3", "-2", "-1", "0", "1", "2", "3", "4"):
                return int(node.value)
    return None
