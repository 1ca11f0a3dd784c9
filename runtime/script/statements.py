"""From a route's statements to a Python function of the context."""

from __future__ import annotations

import ast
from collections.abc import Callable, Sequence
from typing import Final, TypeAlias, assert_never

from runtime.script import tree
from runtime.script.calls import Calls, const_tuple
from runtime.script.check_body import log_level
from runtime.script.declare import Variable
from runtime.script.known import Known
from runtime.script.problems import Place
from runtime.script.pyast import (
    Namespace,
    attr,
    call,
    const,
    context,
    function,
    if_,
    name,
    named,
    not_,
    returns,
    store,
    store_context,
)
from runtime.script.reading import Code, constant
from runtime.script.uris import can_be_sent
from runtime.script.values import lowered
from runtime.script.variables import ContextVariable, Gives, Inner

DEFAULT_MAX_LOOPS: Final = 10_000
_ERROR: Final = -1
_DEBUG: Final = 4
_MOST_IN_A_ROW: Final = 8
"""Of how many cases the number is compared with one after the other."""
_URIS: Final = {"ru": "ruri", "du": "dst_uri"}
"""The variables that take a URI and nothing else, and where the context has them."""


Watch: TypeAlias = Callable[[Place], Callable[[], object]]
"""Gives what is called each time when the statement at that place begins. What it gives is kept with the script."""


class Settings:
    """The globals that change what is compiled.

    Attributes:
        max_loops: how often a `while` may turn.
        asserts: whether `assert` does anything.
        print_level: the level of an `xlog` that names none.
    """

    def __init__(self, settings: dict[str, int | str]) -> None:
        self.max_loops = int(settings.get("max_while_loops", DEFAULT_MAX_LOOPS))
        self.asserts = bool(settings.get("enable_asserts", 0))
        self.print_level = int(settings.get("xlog_print_level", _ERROR))


class RouteCompiler(Calls):
    """Compiles one route.

    Args:
        known, namespace, helpers, recursive: as for Calls.
        settings: the script's globals.
        watch: see `Watch`; None where nobody wants to know.
    """

    def __init__(
        self,
        known: Known,
        namespace: Namespace,
        helpers: list[ast.FunctionDef],
        settings: Settings,
        recursive: set[str],
        watch: Watch | None = None,
    ) -> None:
        super().__init__(known, namespace, helpers, recursive)
        self.settings = settings
        self.watch = watch

    def route(self, identifier: str, node: tree.Route) -> ast.FunctionDef:
        """The function of a route."""
        self._tail(node.body, node.place)
        found = function(identifier, self.block.statements)
        self.namespace.stamp(found, node.place)
        return found

    # Statements

    def _body(self, statements: tree.Body) -> list[ast.stmt]:
        with self.block.aside() as collected:
            for statement in statements:
                self._statement(statement)
        return collected

    def _tail(self, statements: tree.Body, place: Place) -> None:
        """The statements that a route ends with: its `$rc` is that of a call that comes last, else 1."""
        for statement in statements[:-1]:
            self._statement(statement)
        last = statements[-1] if statements else None
        match last:
            case tree.Run():
                self._statement(last)
            case tree.If():
                self._watched(last)
                test = self.truth(last.condition)
                with self.block.aside() as then:
                    self._tail(last.then, last.place)
                with self.block.aside() as otherwise:
                    self._tail(last.otherwise, last.place)
                self.emit(if_(test, then, otherwise), last.place)
            case tree.Return() | tree.Exit() | tree.Drop():
                self._statement(last)
            case _:
                if last is not None:
                    self._statement(last)
                self.emit(store_context("rc", const(1)), place)

    def _watched(self, node: tree.Statement) -> None:
        if self.watch is not None:
            self.emit(ast.Expr(call(self.namespace.bind("reached", self.watch(node.place)))), node.place)

    def _statement(self, node: tree.Statement) -> None:
        self._watched(node)
        match node:
            case tree.Run():
                self.run_call(node.call, used=False)
            case tree.Log():
                self._log(node)
            case tree.Assign():
                self._assign(node)
            case tree.If():
                test = self.truth(node.condition)
                self.emit(if_(test, self._body(node.then), self._body(node.otherwise)), node.place)
            case tree.While():
                self._while(node)
            case tree.ForEach():
                self._for(node)
            case tree.Switch():
                self._switch(node)
            case tree.Break():
                self.emit(ast.Break(), node.place)
            case tree.Return():
                self._return(node)
            case tree.Exit():
                self.emit(returns(name("EXIT")), node.place)
            case tree.Drop():
                self.emit(returns(name("DROP")), node.place)
            case tree.Assert():
                self._assert(node)
            case _:
                assert_never(node)

    def _log(self, node: tree.Log) -> None:
        level = log_level(node.arguments[0]) if len(node.arguments) == 2 else None
        if level is None:
            level = self.settings.print_level if node.function == "xlog" else _DEBUG
        text = node.arguments[-1]
        assert isinstance(text, tree.Text), "the checker lets nothing else pass"
        with self.block.aside() as inner:
            shown = constant(text.value) if node.function == "log" else self.text(text)
            write = call("log", const(level), shown.node, name("c"), const(None))
            self.emit(ast.Expr(write), node.place)
        test = ast.Compare(const(level), [ast.LtE()], [call("log_level")])
        self.emit(if_(test, inner), node.place)

    def _complaint(self, place: Place, level: int, text: str) -> ast.stmt:
        arguments = (name("c"), self.namespace.place(place), const(level), const(text))
        return ast.Expr(call(attr(name("ops"), "complain"), *arguments))

    def _return(self, node: tree.Return) -> None:
        place = node.place
        if node.values:
            values: ast.expr = ast.Tuple([self.argument_value(item).node for item in node.values], ast.Load())
        else:
            values = const_tuple()
        self.emit(store_context("returned", values), place)
        if isinstance(node.code, tree.Variable):
            code = call("return_code", self.variable(node.code).node)
            self.emit(store_context("rc", code, "rc"), place)
            self.emit(returns(ast.IfExp(name("rc"), const(None), name("EXIT"))), place)
            return
        number = 1 if node.code is None else node.code.value
        self.emit(store_context("rc", const(number)), place)
        self.emit(returns(const(None) if number else name("EXIT")), place)

    def _assert(self, node: tree.Assert) -> None:
        if not self.settings.asserts:
            return
        test = self.truth(node.condition)
        text = f"assertion failed: {node.message.value}" if node.message else "assertion failed"
        self.emit(if_(not_(test), [ast.Expr(call("assertion_failed", const(text)))]), node.place)

    # Loops and cases

    def _while(self, node: tree.While) -> None:
        counter = self.block.local()
        limit = self.settings.max_loops
        self.emit(store(counter, const(0)), node.place)
        with self.block.aside() as turn:
            full = ast.Compare(name(counter), [ast.GtE()], [const(limit)])
            stop = self._complaint(node.place, _ERROR, f"while() ended after {limit} turns: see max_while_loops")
            self.emit(if_(full, [stop, ast.Break()]), node.place)
            self.emit(ast.AugAssign(ast.Name(counter, ast.Store()), ast.Add(), const(1)), node.place)
            test = self.truth(node.condition)
            self.emit(if_(not_(test), [ast.Break()]), node.place)
            self.block.statements.extend(self._body(node.body))
        self.emit(ast.While(const(True), turn, []), node.place)

    def _for(self, node: tree.ForEach) -> None:
        source = self.known.variables[node.source.name]
        assert source.all is not None, "the checker lets nothing else have a list"
        values = call(self.namespace.bind("all", source.all), name("c"), self.inside(node.source).node)
        item = self.block.local()
        with self.block.aside() as turn:
            self._store(node.target, "=", Code(name(item)), node.place)
            self.block.statements.extend(self._body(node.body))
        self.emit(ast.For(ast.Name(item, ast.Store()), values, turn, []), node.place)

    def _switch(self, node: tree.Switch) -> None:
        """A case runs on into the next one: so the matching case's number is computed, and each later body runs."""
        table: dict[int | str, int] = {}
        default = len(node.cases)
        for at, case in enumerate(node.cases):
            if case.value is None:
                default = at
            else:
                value = case.value.value
                table.setdefault(lowered(value) if isinstance(value, str) else value, at)
        selected = self.block.local()
        self.emit(store(selected, self._selected(table, default, self.variable(node.subject).node)), node.place)
        if all(_leaves(case.body) for case in node.cases[:-1]) and not any(_breaks_inside(c.body) for c in node.cases):
            self._cases_apart(node, selected)
        else:
            self._cases_in_a_row(node, selected)

    def _selected(self, table: dict[int | str, int], default: int, subject: ast.expr) -> ast.expr:
        """The matching case's number. For a text it is looked up in place: ASCII letters only are lowered alike."""
        select = self.namespace.bind("select", selector_of(table, default))
        if not all(str(value).isascii() for value in table):
            return call(select, subject)
        local = self.block.local()
        is_text = ast.Compare(attr(named(local, subject), "__class__"), [ast.Is()], [name("str")])
        find = self.namespace.bind("find", table.get)
        return ast.IfExp(
            is_text, call(find, call(attr(name(local), "lower")), const(default)), call(select, name(local))
        )

    def _cases_apart(self, node: tree.Switch, selected: str) -> None:
        """Every case ends with a break or leaves the route: if, elif, elif; of many, first in which half it is."""
        bodies: list[list[ast.stmt]] = []
        for case in node.cases:
            ends = case.body and isinstance(case.body[-1], tree.Break)
            bodies.append(self._body(case.body[:-1] if ends else case.body))
        self.block.statements.extend(self._chosen(selected, node.cases, bodies, 0, len(bodies)))

    def _chosen(
        self, selected: str, cases: Sequence[tree.Case], bodies: list[list[ast.stmt]], first: int, end: int
    ) -> list[ast.stmt]:
        """What runs the body whose number is selected, of those from `first` up to `end`."""
        rest: list[ast.stmt] = []
        if end - first > _MOST_IN_A_ROW:
            middle = (first + end) // 2
            lower = self._chosen(selected, cases, bodies, first, middle)
            upper = self._chosen(selected, cases, bodies, middle, end)
            rest = [if_(ast.Compare(name(selected), [ast.Lt()], [const(middle)]), lower, upper)]
            self.namespace.stamp(rest[0], cases[middle].place)
            return rest
        for at in range(end - 1, first - 1, -1):
            rest = [if_(ast.Compare(name(selected), [ast.Eq()], [const(at)]), bodies[at], rest)]
            self.namespace.stamp(rest[0], cases[at].place)
        return rest

    def _cases_in_a_row(self, node: tree.Switch, selected: str) -> None:
        """A loop that turns once, for the break to leave."""
        with self.block.aside() as turn:
            for at, case in enumerate(node.cases):
                test = ast.Compare(name(selected), [ast.LtE()], [const(at)])
                self.emit(if_(test, self._body(case.body)), case.place)
            self.emit(ast.Break(), node.place)
        self.emit(ast.While(const(True), turn, []), node.place)

    # Assignments

    def _assign(self, node: tree.Assign) -> None:
        sign = node.operator.removesuffix("=")
        code = self.value(node.value)
        if sign not in ("", ":"):
            code = self.compound(self.variable(node.target).node, sign, code, node.place)
        if not code.fails:
            self._store(node.target, node.operator, code, node.place)
            return
        local = self.block.local()
        self.emit(store(local, code.node), node.place)
        failed = ast.Compare(name(local), [ast.Is()], [name("NOTHING")])
        with self.block.aside() as done:
            self._store(node.target, node.operator, Code(name(local)), node.place)
        self.emit(if_(failed, [store_context("rc", const(-1))], done), node.place)

    def _store(self, target: tree.Variable, operator: str, code: Code, place: Place) -> None:
        found = self.known.variables[target.name]
        inner = self.inside(target)
        if target.index not in (None, "*") and not (target.name == "avp" and operator == ":="):
            assert found.put is not None, "the checker lets nobody write another one by index"
            write = self.namespace.bind(f"put_{target.name}", found.put)
            self.emit(self._guarded_write(write, [inner.node, self.index(target.index), code.node], place), place)
        elif target.name == "var":
            slot = ast.Subscript(context("variables"), inner.node, ast.Store())
            self.emit(ast.Assign([slot], code.node), place)
        elif target.name == "avp":
            self._store_avp(target, operator, inner, code, place)
        elif target.name in _URIS and isinstance(code.constant, str) and can_be_sent(code.constant):
            self.emit(store_context(_URIS[target.name], code.node), place)
        else:
            assert found.set is not None, "the checker lets nobody write a read-only variable"
            resets = operator == ":=" and isinstance(found, Variable) and found.reset
            write = self.namespace.bind(f"set_{target.name}", resets or found.set)
            plain = isinstance(found, ContextVariable) and found.inner is Inner.NO
            arguments = [code.node] if plain else [inner.node, code.node]
            self.emit(self._guarded_write(write, arguments, place), place)

    def _guarded_write(self, write: ast.expr, arguments: Sequence[ast.expr], place: Place) -> ast.stmt:
        return ast.Expr(call("assign", name("c"), self.namespace.place(place), write, *arguments))

    def _store_avp(self, target: tree.Variable, operator: str, inner: Code, code: Code, place: Place) -> None:
        if operator == ":=" or target.index == "*":
            self.emit(ast.Expr(call("clear_avp", name("c"), inner.node, code.node)), place)
        elif not code.gives & Gives.NULL:
            values = call(context("avps.setdefault"), inner.node, ast.List([], ast.Load()))
            self.emit(ast.Expr(call(attr(values, "append"), code.node)), place)
        else:
            self.emit(ast.Expr(call("push_avp", name("c"), inner.node, code.node)), place)


def selector_of(table: dict[int | str, int], default: int) -> Callable[[object], int]:
    """Which case a value takes: text in either case, an integer by value or else by its text."""
    find = table.get

    def select(value: object) -> int:
        if isinstance(value, str):
            return find(lowered(value), default)
        if isinstance(value, int):
            at = find(value)
            text_at = find(str(value))
            found = [number for number in (at, text_at) if number is not None]
            return min(found) if found else default
        return default

    return select


def _leaves(body: tree.Body) -> bool:
    """Whether a case surely does not run on into the next one."""
    last = body[-1] if body else None
    if isinstance(last, tree.Run):
        return isinstance(last.call, tree.Async)
    return isinstance(last, tree.Break | tree.Return | tree.Exit | tree.Drop)


def _breaks_inside(body: tree.Body) -> bool:
    """Whether a break of this switch stands anywhere but at the end of the case."""
    return any(_holds_break(statement) for statement in body[:-1]) or (
        bool(body) and not isinstance(body[-1], tree.Break) and _holds_break(body[-1])
    )


def _holds_break(node: tree.Statement) -> bool:
    match node:
        case tree.Break():
            return True
        case tree.If():
            return any(_holds_break(statement) for statement in (*node.then, *node.otherwise))
        case _:
            return False
