"""From a script's calls to Python's syntax tree: functions, routes, async(), launch()."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable
from typing import Final, assert_never

from runtime.script import tree
from runtime.script.changes import integer_of
from runtime.script.declare import Function, Kind, Param, Refused
from runtime.script.expressions import Expressions
from runtime.script.formats import parse_format
from runtime.script.known import Known
from runtime.script.patterns import (
    MAX_TEXT_CHARS,
    Substitution,
    compile_pattern,
    literal,
    split_substitution,
    substitution,
)
from runtime.script.problems import Place
from runtime.script.pyast import (
    Namespace,
    attr,
    call,
    const,
    context,
    if_,
    is_none,
    name,
    named,
    not_,
    returns,
    store,
    store_context,
)
from runtime.script.reading import MISSING, Code, constant, formatted
from runtime.script.variables import Gives

BAD_BEGIN: Final = Refused(lambda _: -1)
"""The begin of an asynchronous call one of whose arguments is not what the function takes."""


class Calls(Expressions):
    """Compiles calls.

    Args:
        known, namespace, helpers: as for Reading.
        recursive: the named routes that may stand in themselves.
    """

    def __init__(self, known: Known, namespace: Namespace, helpers: list[ast.FunctionDef], recursive: set[str]) -> None:
        super().__init__(known, namespace, helpers)
        self.recursive = recursive

    def emit(self, statement: ast.stmt, place: Place) -> None:
        """Add a statement."""
        self.block.emit(statement, place)

    def call(self, node: tree.Call | tree.RouteCall | tree.Async | tree.Launch) -> Code:
        """Compile a call whose value is used."""
        return Code(self.run_call(node, used=True), Gives.INTEGER)

    def run_call(self, node: tree.Call | tree.RouteCall | tree.Async | tree.Launch, *, used: bool) -> ast.expr:
        """Compile a call; where `used`, its value stays in a local name of its own."""
        match node:
            case tree.Call():
                return self._function_call(node, used=used)
            case tree.RouteCall():
                return self._route_call(node, used=used)
            case tree.Async():
                return self._async(node)
            case tree.Launch():
                return self._launch(node)

    def _function_call(self, node: tree.Call, *, used: bool) -> ast.expr:
        found = self.known.functions[node.name]
        arguments, doubtful = self._arguments(node, found)
        value: ast.expr = call(self.namespace.bind(node.name, found.call), name("c"), *arguments)
        if doubtful:
            place = self.namespace.place(node.place)
            wanted = [one for local, param in doubtful.items() for one in (const(param), name(local))]
            refuse = call(attr(name("ops"), "bad_argument"), name("c"), place, const(node.name), *wanted)
            value = ast.IfExp(_any_none(doubtful), refuse, value)
        local = self.block.local() if used else "rc"
        self.emit(store_context("rc", value, local), node.place)
        self.emit(if_(not_(name(local)), [returns(name("EXIT"))]), node.place)
        return name(local)

    def _begin(self, node: tree.Call) -> ast.expr:
        found = self.known.functions[node.name]
        arguments, doubtful = self._arguments(node, found)
        value: ast.expr = call(self.namespace.bind(f"begin_{node.name}", found.begin), name("c"), *arguments)
        if doubtful:
            value = ast.IfExp(_any_none(doubtful), self.namespace.bind("bad_begin", BAD_BEGIN), value)
        return value

    def _async(self, node: tree.Async) -> ast.expr:
        begin = self._begin(node.call)
        place = self.namespace.place(node.place)
        park = call("park", name("c"), begin, const(node.resume.value), const(node.timeout_s), place)
        self.emit(ast.Expr(park), node.place)
        self.emit(returns(name("EXIT")), node.place)
        return const(0)

    def _launch(self, node: tree.Launch) -> ast.expr:
        begin = self._begin(node.call)
        report = const(None if node.report is None else node.report.value)
        parameter = const(None) if node.parameter is None else self.argument_value(node.parameter).node
        start = call("launch", name("c"), begin, report, parameter, self.namespace.place(node.place))
        local = self.block.local()
        self.emit(store_context("rc", start, local), node.place)
        return name(local)

    def _route_call(self, node: tree.RouteCall, *, used: bool) -> ast.expr:
        params, route_name, ended = self.block.local(), self.block.local(), self.block.local()
        target, label, recursive = self._target(node)
        values = [self.argument_value(item).node for item in node.arguments]
        given = ast.Tuple(values, ast.Load()) if values else const_tuple()
        with self.block.aside() as body:
            self.emit(store(params, context("params")), node.place)
            self.emit(store(route_name, context("route_name")), node.place)
            self.emit(store_context("params", given), node.place)
            self.emit(store_context("route_name", label), node.place)
            run = call(attr(name("ops"), "deeper"), name("c"), target) if recursive else call(target, name("c"))
            self.emit(store(ended, run), node.place)
            self.emit(if_(not_(is_none(name(ended))), [returns(name(ended))]), node.place)
            self.emit(store_context("params", name(params)), node.place)
            self.emit(store_context("route_name", name(route_name)), node.place)
        if isinstance(node.target, tree.Text) and "$" not in node.target.value:
            self.block.statements.extend(body)
        else:
            self.emit(if_(target, body), node.place)
        if not used:
            return context("rc")
        local = self.block.local()
        self.emit(store(local, context("rc")), node.place)
        return name(local)

    def _target(self, node: tree.RouteCall) -> tuple[ast.expr, ast.expr, bool]:
        """The route's function, its name, and whether it may stand in itself."""
        if isinstance(node.target, tree.Text) and "$" not in node.target.value:
            wanted = node.target.value
            return name(route_identifier("route", wanted)), const(wanted), wanted in self.recursive
        found = self.argument_value(node.target)
        label, route = self.block.local(), self.block.local()
        self.emit(store(label, ast.JoinedStr([formatted(self.shown(found, "<null>"))])), node.place)
        place = self.namespace.place(node.place)
        look_up = call(attr(name("ops"), "route"), name("c"), place, name("named_routes"), name(label))
        self.emit(store(route, look_up), node.place)
        return name(route), name(label), True

    # Arguments

    def _arguments(self, node: tree.Call, found: Function) -> tuple[list[ast.expr], dict[str, str]]:
        """The arguments, and by its local name each one that is None when it turns out not to be what is wanted."""
        nodes: list[ast.expr] = []
        doubtful: dict[str, str] = {}
        for at, param in enumerate(found.params):
            given = node.arguments[at] if at < len(node.arguments) else None
            nodes.append(const(None) if given is None else self._argument(param, given, doubtful))
        for item in nodes:
            self.namespace.stamp(item, node.place)
        return nodes, doubtful

    def _argument(self, param: Param, given: tree.Argument, doubtful: dict[str, str]) -> ast.expr:
        match param.kind:
            case Kind.STRING:
                return self._as_text(given)
            case Kind.VALUE:
                return self.argument_value(given).node
            case Kind.OUTPUT | Kind.AVP:
                assert isinstance(given, tree.Variable), "the checker lets nothing else pass"
                return self.ref(given)
            case Kind.ROUTE:
                assert isinstance(given, tree.Text | tree.Number), "the checker lets nothing else pass"
                return const(str(given.value))
            case Kind.INTEGER:
                return self._converted(param, given, "integer", doubtful)
            case Kind.REGEX:
                return self._converted(param, given, "pattern", doubtful)
            case Kind.SUBSTITUTION:
                return self._substitution(param, given, doubtful)
            case _:
                assert_never(param.kind)

    def _as_text(self, given: tree.Argument) -> ast.expr:
        match given:
            case tree.Text():
                return self.text(given).node
            case tree.Variable():
                return self.format(tree.Format((given,), given.place)).node
            case tree.Number():
                return const(str(given.value))
            case _:
                return const("<null>")

    def argument_value(self, given: tree.Argument | None) -> Code:
        """An argument's value as it is; one that is left out is NULL."""
        match given:
            case tree.Text():
                return self._bounded(self.text(given), given.place)
            case tree.Variable():
                return self.variable(given)
            case tree.Number():
                return constant(given.value)
            case _:
                return constant(None)

    def _bounded(self, code: Code, place: Place) -> Code:
        """Text that may be kept, and put into text again: NULL where it has become too long."""
        if code.constant is not MISSING:
            return code
        local = self.block.local()
        fits = ast.Compare(call("len", named(local, code.node)), [ast.LtE()], [const(MAX_TEXT_CHARS)])
        too_long = call(attr(name("ops"), "too_long"), name("c"), self.namespace.place(place))
        found = ast.IfExp(fits, name(local), ast.BoolOp(ast.Or(), [too_long, const(None)]))
        self.namespace.stamp(found, place)
        return Code(found, Gives.STRING | Gives.NULL)

    def _converted(self, param: Param, given: tree.Argument, kind: str, doubtful: dict[str, str]) -> ast.expr:
        if kind == "pattern" and isinstance(given, tree.Text):
            return self.namespace.bind("pattern", compile_pattern(given.value))
        code = self.argument_value(given)
        if kind == "integer" and isinstance(code.constant, int | str):
            return const(integer_of(code.constant))
        local = self.block.local()
        self.emit(store(local, call(attr(name("ops"), kind), code.node)), given.place)
        doubtful[local] = param.name
        return name(local)

    def _substitution(self, param: Param, given: tree.Argument, doubtful: dict[str, str]) -> ast.expr:
        if not isinstance(given, tree.Text):
            return self._converted(param, given, "substitution", doubtful)
        pattern, replacement, every = split_substitution(given.value)
        if "$" not in replacement:
            return self.namespace.bind("substitution", substitution(pattern, replacement, every))

        def with_values(text: str) -> Substitution | None:
            try:
                return substitution(pattern, text, every)
            except re.error:  # a variable's value made another back-reference of the digits beside it
                return None

        text = self.format(parse_format(replacement, given.place), literal)
        local = self.block.local()
        self.emit(store(local, call(self.namespace.bind("substitution", with_values), text.node)), given.place)
        doubtful[local] = param.name
        return name(local)


def route_identifier(kind: str, route_name: str) -> str:
    """The name of a route's function, which is what a traceback shows."""
    return f"{kind}[{route_name}]" if route_name else kind


def const_tuple() -> ast.expr:
    """An empty tuple."""
    return ast.Tuple([], ast.Load())


def _any_none(locals_: Iterable[str]) -> ast.expr:
    tests = [is_none(name(local)) for local in locals_]
    return tests[0] if len(tests) == 1 else ast.BoolOp(ast.Or(), tests)
