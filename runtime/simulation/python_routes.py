"""What the functions of a script in Python test, as routes of the cfg language.

So one walk finds in both languages what a message must be like to reach a stretch, and one table says what was reached.
What is tested of anything but the message is a test of state here, as it is in a cfg script; and since functions can be
called in ways that nobody reads, it is never said of one that nothing calls it.
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, Literal, TypeAlias

from runtime.pyscript.load import PyChecked
from runtime.pyscript.words import to_script
from runtime.script import tree
from runtime.script.check import Checked
from runtime.script.formats import NotAVariable, parse_variable
from runtime.script.load import read_file
from runtime.script.problems import Place

_Def: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef

_ATTRIBUTES: Final[Mapping[str, str]] = {
    "method": "$rm",
    "ruri": "$ru",
    "ruri_user": "$rU",
    "dst_uri": "$du",
    "from_uri": "$fu",
    "from_user": "$fU",
    "to_uri": "$tu",
    "to_user": "$tU",
    "status": "$rs",
    "body": "$rb",
    "source": "$si",
}
"""The variables that a call has as attributes."""
_SIGNS: Final[Mapping[type[ast.cmpop], str]] = {
    ast.Eq: "==",
    ast.NotEq: "!=",
    ast.Is: "==",
    ast.IsNot: "!=",
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
}
_TO_INT: Final = tree.Transformation("s", "int", None)


def readable_routes(checked: Checked) -> Sequence[tree.Route]:
    """A script's routes with their statements and tests, in whichever language it is written. Raises OSError."""
    return _routes(checked) if isinstance(checked, PyChecked) else checked.routes


def _routes(checked: PyChecked) -> list[tree.Route]:
    modules = {file: _Module(file) for file in sorted(checked.files)}
    named = {
        node.name: route.name
        for route in checked.routes
        if (node := _node_of(route, modules)) is not None and route.kind == "route" and route.name
    }
    found = []
    for route in checked.routes:
        node = _node_of(route, modules)
        if node is not None:
            body = _Reader(modules[route.place.file], node, named).body(node.body)
            found.append(tree.Route(route.kind, route.name, True, route.parameter, body, route.place))
    return found


class _Module:
    """One file of a script."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.functions: dict[int, _Def] = {}
        self.constants: dict[str, ast.expr] = {}
        try:
            module = ast.parse(read_file(Path(file)))
        except SyntaxError:
            return  # it has changed since it was loaded
        for node in ast.walk(module):
            if isinstance(node, _Def):
                self.functions[node.lineno] = node
        self.constants = _assigned_once(module.body)


def _node_of(route: tree.Route, modules: Mapping[str, _Module]) -> _Def | None:
    module = modules.get(route.place.file)
    return None if module is None else module.functions.get(route.place.line)


def _assigned_once(statements: Iterable[ast.stmt]) -> dict[str, ast.expr]:
    """What names stand for that are assigned at one place only."""
    values: dict[str, ast.expr] = {}
    times: Counter[str] = Counter()
    for statement in statements:
        for node in ast.walk(statement):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                times[node.id] += 1
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                values[node.targets[0].id] = node.value
    return {name: value for name, value in values.items() if times[name] == 1}


def _named_in(node: ast.expr) -> set[str]:
    return {one.id for one in ast.walk(node) if isinstance(one, ast.Name)}


class _Reader:
    """Reads one function."""

    def __init__(self, module: _Module, function: _Def, named: Mapping[str, str]) -> None:
        self._module = module
        self._named = named
        """The names among the routes of functions that take a call."""
        arguments = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
        self._call = next((one.arg for one in arguments if _is_of_call(one)), arguments[0].arg if arguments else "")
        values = _assigned_once(function.body)
        # One that is made of others says what they were then.
        self._locals = {name: value for name, value in values.items() if not _named_in(value) & values.keys()}

    def _at(self, node: ast.expr | ast.stmt) -> Place:
        return Place(self._module.file, node.lineno, node.col_offset + 1)

    # Statements

    def body(self, statements: Iterable[ast.stmt]) -> tree.Body:
        """Statements one after the other; those that do nothing are left out."""
        return tuple(found for one in statements for found in self._statement(one))

    def _statement(self, node: ast.stmt) -> Iterator[tree.Statement]:
        match node:
            case ast.If():
                place = self._at(node.test)  # where the interpreter says that it is
                yield tree.If(self._test(node.test), self.body(node.body), self.body(node.orelse), place)
            case ast.While():
                yield tree.While(self._test(node.test), self.body(node.body), self._at(node.test))
                yield from self.body(node.orelse)
            case ast.For() | ast.AsyncFor():
                yield tree.While(self._unknown(node.iter), self.body(node.body), self._at(node.iter))
                yield from self.body(node.orelse)
            case ast.With() | ast.AsyncWith():
                yield from (self._does(one.context_expr) for one in node.items)
                yield from self.body(node.body)
            case ast.Try():
                yield from self._try(node)
            case ast.Match():
                yield from self._match(node.subject, node.cases)
            case ast.Return():
                if node.value is not None:
                    yield self._does(node.value)
                yield tree.Return(None, (), self._at(node))
            case ast.Raise():
                yield tree.Exit(self._at(node))
            case ast.Break() | ast.Continue():
                yield tree.Break(self._at(node))
            case ast.Expr(value=ast.Call(func=ast.Attribute(value=one, attr="exit" | "drop"))) if self._is_call(one):
                yield tree.Exit(self._at(node))
            case ast.Assign(targets=[ast.Attribute() | ast.Subscript() as target], value=value) if (
                written := self._variable(target)
            ) is not None:
                yield tree.Assign(written, "=", self._test(value), self._at(node))
            case ast.Expr(value=ast.Constant()) | ast.Pass() | ast.Global() | ast.Nonlocal():
                pass
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef() | ast.Import() | ast.ImportFrom():
                pass
            case _:
                values = [one for one in ast.iter_child_nodes(node) if isinstance(one, ast.expr)]
                yield tree.If(self._all(values, node), (), (), self._at(node))

    def _does(self, node: ast.expr) -> tree.Statement:
        return tree.If(self._test(node), (), (), self._at(node))

    def _try(self, node: ast.Try) -> Iterator[tree.Statement]:
        yield from self.body(node.body)
        for handler in node.handlers:
            body = self.body(handler.body)
            if body:
                yield tree.If(tree.Null(body[0].place), body, (), body[0].place)
        yield from self.body([*node.orelse, *node.finalbody])

    def _match(self, subject: ast.expr, cases: Sequence[ast.match_case]) -> Iterator[tree.Statement]:
        """As so many `if`s: of the last cases first, since each is the other side of the one before."""
        otherwise: tree.Body = ()
        for case in reversed(cases):
            body = self.body(case.body)
            if isinstance(case.pattern, ast.MatchAs) and case.pattern.pattern is None and case.guard is None:
                otherwise = body
            else:
                otherwise = (tree.If(self._matches(subject, case.pattern), body, otherwise, self._at(subject)),)
        yield from otherwise

    def _matches(self, subject: ast.expr, pattern: ast.pattern) -> tree.Expression:
        place = self._at(subject)
        match pattern:
            case ast.MatchValue(value=value):
                return tree.Compare("==", self._test(subject), self._test(value), place)
            case ast.MatchSingleton(value=None):
                return tree.Compare("==", self._test(subject), tree.Null(place), place)
            case ast.MatchOr(patterns=patterns):
                return _joined("or", [self._matches(subject, one) for one in patterns], place)
            case _:
                return self._unknown(subject)

    # Expressions

    def _test(self, node: ast.expr) -> tree.Expression:
        place = self._at(node)
        match node:
            case ast.BoolOp(op=ast.Or(), values=[first, ast.Constant(value="")]):
                return self._test(first)
            case ast.BoolOp(op=op, values=values):
                return _joined("and" if isinstance(op, ast.And) else "or", [self._test(one) for one in values], place)
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                return tree.Not(self._test(operand), place)
            case ast.Await(value=value) | ast.NamedExpr(value=value):
                return self._test(value)
            case ast.Compare(left=left, ops=[op], comparators=[right]):
                return self._compare(left, op, right, place)
            case ast.Call():
                return self._called(node)
            case ast.Constant() | ast.Attribute() | ast.Subscript() | ast.Name():
                return self._value(node)
            case _:
                return self._unknown(node)

    def _compare(self, left: ast.expr, op: ast.cmpop, right: ast.expr, place: Place) -> tree.Expression:
        one, two = self._test(left), self._test(right)
        match op:
            case ast.In() | ast.NotIn() if isinstance(right, ast.Tuple | ast.List | ast.Set) and right.elts:
                equal: list[tree.Expression] = [tree.Compare("==", one, self._test(each), place) for each in right.elts]
                found = _joined("or", equal, place)
            case ast.In() | ast.NotIn() if isinstance(one, tree.Text):
                found = tree.Compare("=~", two, tree.Text(re.escape(one.value), place), place)
            case _ if type(op) in _SIGNS and not isinstance(one, tree.Variable) and isinstance(two, tree.Variable):
                swapped = _SIGNS[type(op)].translate(str.maketrans("<>", "><"))
                return tree.Compare(swapped, two, one, place)
            case _ if type(op) in _SIGNS:
                return tree.Compare(_SIGNS[type(op)], one, two, place)
            case _:
                return self._all([left, right], left)
        return tree.Not(found, place) if isinstance(op, ast.NotIn) else found

    def _called(self, node: ast.Call) -> tree.Expression:
        place = self._at(node)
        match node.func:
            case ast.Attribute(value=one, attr="header") if self._is_call(one):
                return self._value(node)
            case ast.Attribute(value=one, attr="launch") if self._is_call(one):
                given = [*node.args[1:], *(each.value for each in node.keywords)]
                report = next((each.id for each in given if isinstance(each, ast.Name)), "")
                begun = tree.Call("mi", (), place)
                named = tree.Text(self._named[report], place) if report in self._named else None
                return tree.Launch(begun, named, None, place)
            case ast.Attribute(value=one, attr=name) if self._is_call(one):
                return tree.Call(name, tuple(self._argument(each) for each in node.args), place)
            case ast.Name(id=name) if name in self._named and any(map(self._is_call, node.args)):
                return tree.RouteCall(tree.Text(self._named[name], place), (), place)
            case ast.Attribute(value=ast.Name(id="re"), attr=name) if name in _PATTERNS and len(node.args) == 2:
                pattern, subject = self._test(node.args[0]), self._test(node.args[1])
                if isinstance(pattern, tree.Text):
                    return tree.Compare("=~", subject, tree.Text(_PATTERNS[name].format(pattern.value), place), place)
            case ast.Attribute(value=subject_node, attr="startswith" | "endswith" as name) if len(node.args) == 1:
                text = self._test(node.args[0])
                if isinstance(text, tree.Text):
                    like = f"^{re.escape(text.value)}" if name == "startswith" else f"{re.escape(text.value)}$"
                    return tree.Compare("=~", self._test(subject_node), tree.Text(like, place), place)
            case ast.Name(id="int") if len(node.args) == 1 and (read := self._variable(node.args[0])) is not None:
                return tree.Variable(read.name, read.inner, read.index, (_TO_INT,), read.text, place)
            case _:
                pass
        return self._unknown(node)

    def _argument(self, node: ast.expr) -> tree.Argument | None:
        found = self._value(node)
        return found if isinstance(found, tree.Text | tree.Number | tree.Variable) else None

    def _value(self, node: ast.expr) -> tree.Expression:
        """A constant, or a variable of the message, also by a name that stands for one."""
        place = self._at(node)
        match node:
            case ast.Constant(value=str() as text):
                return tree.Text(to_script(text), place)
            case ast.Constant(value=int() as number) if not isinstance(number, bool):
                return tree.Number(number, place)
            case ast.Constant(value=None):
                return tree.Null(place)
            case ast.Name(id=name) if name in self._locals:
                return self._alias(self._locals[name], place)
            case ast.Name(id=name) if name in self._module.constants:
                return self._alias(self._module.constants[name], place)
            case _:
                return self._variable(node) or self._unknown(node)

    def _alias(self, node: ast.expr, place: Place) -> tree.Expression:
        match node:
            case ast.Constant(value=str() as text):
                return tree.Text(to_script(text), place)
            case ast.Constant(value=int() as number) if not isinstance(number, bool):
                return tree.Number(number, place)
            case _:
                return self._variable(node) or tree.Null(place)

    def _variable(self, node: ast.expr) -> tree.Variable | None:
        match node:
            case ast.Attribute(value=one, attr=name) if self._is_call(one) and name in _ATTRIBUTES:
                return _variable_of(_ATTRIBUTES[name], self._at(node))
            case ast.Subscript(value=one, slice=ast.Constant(value=str() as text)) if self._is_call(one):
                return _variable_of(text, self._at(node))
            case ast.Call(
                func=ast.Attribute(value=one, attr="header"), args=[ast.Constant(value=str() as name), *_]
            ) if self._is_call(one):
                return _variable_of(f"$hdr({name})", self._at(node))
            case ast.BoolOp(op=ast.Or(), values=[first, ast.Constant(value="")]):  # x or ""
                return self._variable(first)
            case ast.Name(id=name) if name in self._locals:
                return self._variable(self._locals[name])
            case _:
                return None

    def _is_call(self, node: ast.expr) -> bool:
        return isinstance(node, ast.Name) and node.id == self._call

    def _unknown(self, node: ast.expr) -> tree.Expression:
        """What says nothing of the message; what it calls is called all the same."""
        return self._all([one for one in ast.iter_child_nodes(node) if isinstance(one, ast.expr)], node)

    def _all(self, nodes: Iterable[ast.expr], at: ast.expr | ast.stmt) -> tree.Expression:
        found: tree.Expression = tree.Null(self._at(at))
        for node in nodes:
            found = tree.Binary("+", found, self._test(node), self._at(at))
        return found


_PATTERNS: Final[Mapping[str, str]] = {"match": "^(?:{})", "fullmatch": "^(?:{})$", "search": "{}"}


def _is_of_call(argument: ast.arg) -> bool:
    shown = ast.unparse(argument.annotation).strip("'\"") if argument.annotation is not None else ""
    return shown.rpartition(".")[2] == "Call" or (argument.annotation is None and argument.arg == "call")


def _joined(operator: Literal["and", "or"], values: Sequence[tree.Expression], place: Place) -> tree.Expression:
    found = values[0]
    for one in values[1:]:
        found = tree.Logic(operator, found, one, place)
    return found


def _variable_of(spelling: str, place: Place) -> tree.Variable | None:
    try:
        return parse_variable(to_script(spelling), place) if spelling.startswith("$") else None
    except (NotAVariable, ValueError):
        return None
