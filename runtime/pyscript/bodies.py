"""What the functions of a script in Python do with a call, read from their source without running them.

Each function becomes a route of the cfg language that has the same calls and the same variables in it, as far as they
are constant. So one checker finds the same mistakes in both languages: unknown functions and variables, a wrong number
of arguments, a function in a kind of route where it may not be called. What is left to find here is Python's own.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any, Final, TypeAlias

from runtime.pyscript.call import Call
from runtime.pyscript.functions import keyword_of
from runtime.pyscript.registering import Registered
from runtime.pyscript.words import to_script
from runtime.script import tree
from runtime.script.declare import Function, Kind, Param
from runtime.script.formats import NotAVariable, parse_variable
from runtime.script.known import Known
from runtime.script.problems import Code, Near, Place, Problems, ScriptProblem

_Def: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef

BLOCKING: Final = frozenset(
    (
        *("time.sleep", "os.system", "urllib.request.urlopen", "socket.create_connection", "socket.getaddrinfo"),
        *(f"subprocess.{name}" for name in ("run", "call", "check_call", "check_output")),
        *(f"requests.{name}" for name in ("get", "post", "put", "patch", "delete", "head", "request")),
    )
)
"""What stops a whole process, and has no place in a route that could wait instead."""
_OWN: Final = frozenset(name for name in dir(Call) if not name.startswith("__")) | {"context"}
_WRITTEN: Final = frozenset(name for name in _OWN if getattr(getattr(Call, name, None), "fset", None) is not None)


class Source:
    """One file of a script.

    Args:
        text: what stands in it. Raises SyntaxError or ValueError where that is no Python.

    Attributes:
        functions: every function definition, by its first line, decorators included.
        imported: what names of the file stand for, e.g. ``sleep`` for ``time.sleep``.
    """

    def __init__(self, text: bytes) -> None:
        module = ast.parse(text)
        self._lines = text.decode("utf-8", "replace").split("\n")
        self.functions: dict[int, _Def] = {}
        self.imported: dict[str, str] = {}
        self._calls: dict[tuple[int, int], ast.Call] = {}
        for node in ast.walk(module):
            match node:
                case ast.FunctionDef() | ast.AsyncFunctionDef():
                    self.functions[min([node.lineno, *(one.lineno for one in node.decorator_list)])] = node
                case ast.Call():
                    self._calls[node.lineno, node.col_offset] = node
                case ast.Import():
                    self.imported |= {one.asname or one.name: one.name for one in node.names}
                case ast.ImportFrom(module=str() as name):
                    self.imported |= {one.asname or one.name: f"{name}.{one.name}" for one in node.names}

    def line(self, number: int) -> str:
        """A line, by its number."""
        return self._lines[number - 1] if number <= len(self._lines) else ""

    def keyword(self, call: Place, name: str) -> Place:
        """Where a keyword's value stands, given where its call does."""
        node = self._calls.get((call.line, call.column - 1))
        for keyword in node.keywords if node else ():
            if keyword.arg == name:
                return Place(call.file, keyword.value.lineno, keyword.value.col_offset + 1)
        return call


def check_bodies(
    registered: Iterable[Registered], sources: Mapping[str, Source], known: Known
) -> tuple[list[tree.Route], list[ScriptProblem]]:
    """Read the functions of a script.

    Args:
        registered: its routes.
        sources: its files.
        known: what it may name.

    Returns:
        each route, and each other function that has a call, as a route of the cfg language; and Python's own problems.
    """
    bodies = _Bodies(known, {(one.kind, one.name) for one in registered})
    places = {(one.place.file, one.place.line) for one in registered}
    helpers: list[tuple[Source, str, _Def, str]] = []
    for file, source in sources.items():
        for line, node in source.functions.items():
            if (file, line) not in places and (call := _call_of(node)) is not None:
                helpers.append((source, file, node, call))
                bodies.name(node)
    routes = [_route(one, sources, bodies) for one in registered]
    for source, file, node, call in helpers:
        place = Place(file, node.lineno, node.col_offset + 1)
        body = bodies.read(source, file, node, call)
        routes.append(tree.Route("route", bodies.names[node], True, None, body, place))
    return routes, bodies.problems.sorted()


def _route(one: Registered, sources: Mapping[str, Source], bodies: _Bodies) -> tree.Route:
    """A route with what its function does, as far as its source is there to be read."""
    source = sources.get(one.place.file)
    node = None if source is None else source.functions.get(one.place.line)
    if source is None or node is None:
        return tree.Route(one.kind, one.name, True, one.parameter, (), one.place)
    place = Place(one.place.file, node.lineno, node.col_offset + 1)
    needed = len(node.args.posonlyargs) + len(node.args.args) - len(node.args.defaults)
    if needed > 1 or (not _first(node) and node.args.vararg is None):
        message = f"a route takes the call and nothing else: def {node.name}(call: Call)"
        bodies.problems.tell(place, "bad-route", message)
    return tree.Route(
        one.kind, one.name, True, one.parameter, bodies.read(source, place.file, node, _first(node)), place
    )


def _first(node: _Def) -> str:
    """The name by which a route's function has its call."""
    positional = [*node.args.posonlyargs, *node.args.args]
    return positional[0].arg if positional else ""


def _call_of(node: _Def) -> str | None:
    """The name by which any other function has a call: one annotated so, or called so."""
    for arg in [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]:
        annotation = arg.annotation
        shown = ast.unparse(annotation).strip("'\"") if annotation is not None else ""
        if shown.rpartition(".")[2] == "Call" or (annotation is None and arg.arg == "call"):
            return arg.arg
    return None


class _Bodies:
    def __init__(self, known: Known, routes: set[tuple[str, str]]) -> None:
        self.known = known
        self.routes = routes
        self.problems = Problems()
        self.names: dict[_Def, str] = {}
        """What the functions that are no routes are called among the routes."""
        self._taken: Counter[str] = Counter()

    def read(self, source: Source, file: str, node: _Def, call: str) -> tree.Body:
        """A function's body as statements of the cfg language."""
        reader = _Reader(self, source, file, node, call)
        for statement in node.body:
            with suppress(RecursionError):  # some hundred `elif`s stand in one another; what lies deeper is not read
                reader.visit(statement)
        return tuple(reader.statements)

    def name(self, node: _Def) -> None:
        """Give a function a name among the routes; a second of the same name gets a number behind it."""
        name = f"def:{node.name}" if node.name.isascii() else "def:"
        taken = self._taken[name]
        self._taken[name] += 1
        self.names[node] = f"{name}:{taken}" if taken else name


class _Reader(ast.NodeVisitor):
    """Reads one function."""

    def __init__(self, bodies: _Bodies, source: Source, file: str, function: _Def, call: str) -> None:
        self.statements: list[tree.Statement] = []
        self._bodies = bodies
        self._source = source
        self._file = file
        self._call = call
        self._waits = isinstance(function, ast.AsyncFunctionDef)
        self._functions = {node.name: node for node in source.functions.values() if _call_of(node) is not None}

    def _at(self, node: ast.expr | ast.stmt) -> Place:
        return Place(self._file, node.lineno, node.col_offset + 1)

    def _tell(self, node: ast.expr | ast.stmt, code: Code, message: str, near: Near | None = None) -> None:
        self._bodies.problems.tell(self._at(node), code, message, near=near)

    # What a node does

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        self._nested(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
        self._nested(node)

    def visit_Lambda(self, node: ast.Lambda) -> None:
        self._inner(node)

    def _nested(self, node: _Def) -> None:
        if _call_of(node) is None:  # any other is read for itself
            self._inner(node)

    def _inner(self, node: _Def | ast.Lambda) -> None:
        """What it does is done where it is called, which may be a thread."""
        waits, self._waits = self._waits, isinstance(node, ast.AsyncFunctionDef)
        self.generic_visit(node)
        self._waits = waits

    def visit_Expr(self, node: ast.Expr) -> None:
        if self._is_wait(node.value):
            self._tell(node, "not-awaited", f"{ast.unparse(node.value)} does nothing here: await it, or launch it")
        elif self._is_coroutine(node.value):
            self._tell(node, "not-awaited", f"{ast.unparse(node.value)} does nothing here: await it")
        self.generic_visit(node)

    def visit_Assign(self, node: ast.Assign) -> None:
        if isinstance(node.targets[0], ast.Tuple | ast.List) and self._is_wait(node.value):
            self._tell(node.value, "not-awaited", f"{ast.unparse(node.value)} is no answer before it is awaited")
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        name = self._method(node.func)
        if name is not None:
            self._script_call(node, name)
        elif isinstance(node.func, ast.Name):
            self._helper_call(node, node.func.id)
        self._blocks(node)
        for child in (*node.args, *node.keywords):
            self.visit(child)
        if name is None:
            self.visit(node.func)

    def visit_Await(self, node: ast.Await) -> None:
        found = self._method(node.value.func) if isinstance(node.value, ast.Call) else None
        if found is not None and found not in _OWN and found in self._bodies.known.functions:
            self._tell(node, "wrong-form", f"{found}() gives its return code at once: it is not awaited")
        self.generic_visit(node)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        if self._is_call(node.value):
            known = self._bodies.known.functions
            if node.attr not in _OWN and node.attr not in known:
                near, message = Near(node.attr, [*_OWN, *known]), f"a call has no {node.attr}: is its module loaded?"
                self._tell(node, "unknown-function", message, near)
            elif isinstance(node.ctx, ast.Store) and node.attr not in _WRITTEN:
                self._tell(node, "read-only-variable", f"call.{node.attr} cannot be written")
        else:
            self.generic_visit(node)

    def visit_Subscript(self, node: ast.Subscript) -> None:
        if self._is_call(node.value) and isinstance(node.slice, ast.Constant) and isinstance(node.slice.value, str):
            self._variable(node, node.slice)
        else:
            self.generic_visit(node)

    # Which nodes are about the call

    def _is_call(self, node: ast.expr) -> bool:
        return isinstance(node, ast.Name) and node.id == self._call

    def _method(self, node: ast.expr) -> str | None:
        """The method of the call that is called; ``mi`` for its forms, too."""
        if not isinstance(node, ast.Attribute):
            return None
        if self._is_call(node.value):
            return node.attr
        if node.attr == "blocking" and self._method(node.value) == "mi":
            return "mi"
        return None

    def _is_wait(self, node: ast.expr) -> bool:
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            return False
        return self._is_call(node.func.value) and node.func.attr in ("mi", "gather")

    def _is_coroutine(self, node: ast.expr) -> bool:
        """Whether a coroutine of the script's own is made, and forgotten."""
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
            return False
        return isinstance(self._functions.get(node.func.id), ast.AsyncFunctionDef)

    # Calls

    def _script_call(self, node: ast.Call, name: str) -> None:
        if name == "launch":
            self._launch(node)
        elif name in ("mi", "gather"):
            self._command(node, name)
        elif name not in _OWN:
            self._function(node, name)

    def _command(self, node: ast.Call, name: str) -> None:
        command = node.args[0] if node.args else None
        text = command.value if isinstance(command, ast.Constant) else None
        if name == "mi" and command is not None and isinstance(text, str) and any(char.isspace() for char in text):
            self._tell(command, "wrong-form", "an MI command's parameters are arguments of their own, behind its name")
        if name == "mi":
            self._begun(node, None)

    def _launch(self, node: ast.Call) -> None:
        given = [*node.args[1:2], *(one.value for one in node.keywords if one.arg == "report")]
        report = next((one for one in given if isinstance(one, ast.Name)), None)
        name = self._named(report.id) if report is not None and report.id in self._functions else ""
        if name and node.args and isinstance(node.args[0], ast.Call):
            self._begun(node.args[0], tree.Text(name, self._at(node)))

    def _begun(self, node: ast.Call, report: tree.Text | None) -> None:
        """An MI command. What it is awaited for makes it no different from one that is launched."""
        place = self._at(node)
        call = tree.Call("mi", (self._text_of(node, place),), place)
        blocks = isinstance(node.func, ast.Attribute) and node.func.attr == "blocking"
        self.statements.append(tree.Run(call if blocks else tree.Launch(call, report, None, place), place))

    def _text_of(self, node: ast.Call, place: Place) -> tree.Argument:
        """A command as the cfg language says it; of one with parameters only the name is told."""
        name = node.args[0] if node.args else None
        if not isinstance(name, ast.Constant) or not isinstance(name.value, str):
            return tree.Variable("var", tree.Format(("any",), place), None, (), "$var(any)", place)
        others = [*node.args[1:], *(one for one in node.keywords if one.arg != "timeout_s")]
        return tree.Text(f"{_literal(name.value, None)} $var(any)" if others else _literal(name.value, None), place)

    def _helper_call(self, node: ast.Call, name: str) -> None:
        given = [*node.args, *(one.value for one in node.keywords)]
        if name in self._functions and any(self._is_call(one) for one in given):
            target, place = self._named(name), self._at(node)
            if target:
                self.statements.append(tree.Run(tree.RouteCall(tree.Text(target, place), (), place), place))

    def _named(self, name: str) -> str:
        """A function's name among the routes; empty where it is a route of its own."""
        return self._bodies.names.get(self._functions[name], "")

    def _blocks(self, node: ast.Call) -> None:
        if not self._waits:
            return
        head, dot, rest = ast.unparse(node.func).partition(".")
        name = f"{self._source.imported.get(head, head)}{dot}{rest}"
        if name in BLOCKING:
            instead = "await asyncio.sleep()" if name == "time.sleep" else "await something that does the same"
            self._tell(node, "blocking-call", f"{name}() stops this whole process: {instead}")

    # Functions and their arguments

    def _function(self, node: ast.Call, name: str) -> None:
        found = self._bodies.known.functions.get(name)
        # Where there is none the checker says so.
        self._run(node, name, () if found is None else tuple(self._arguments(node, found)))

    def _run(self, node: ast.Call, name: str, arguments: tuple[tree.Argument | None, ...]) -> None:
        place = self._at(node)
        self.statements.append(tree.Run(tree.Call(name, arguments, place), place))

    def _arguments(self, node: ast.Call, found: Function) -> list[tree.Argument | None]:
        if any(isinstance(one, ast.Starred) for one in node.args) or any(one.arg is None for one in node.keywords):
            return [self._any(param, self._at(node)) for param in found.params]
        arguments = [
            self._argument(one, found.params[at] if at < len(found.params) else None)
            for at, one in enumerate(node.args)
        ]
        places = {keyword_of(param.name): at for at, param in enumerate(found.params)}
        for keyword in node.keywords:
            at = places.get(str(keyword.arg), -1)
            if at < len(node.args):
                message = f'{found.name}() takes no argument "{keyword.arg}", or has it already'
                self._tell(keyword.value, "wrong-arity", message)
                continue
            arguments += [None] * (at + 1 - len(arguments))
            arguments[at] = self._argument(keyword.value, found.params[at])
        return arguments

    def _argument(self, node: ast.expr, param: Param | None) -> tree.Argument | None:
        """An argument of the cfg language in place of what stands here: a variable for what is not constant."""
        place = self._at(node)
        try:
            value = ast.literal_eval(node)
        except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
            return self._any(param, place)
        match value:
            case None:
                return None if param is None or param.optional else tree.Null(place)
            case int():
                return tree.Number(int(value), place)
            case str() if param is not None and param.kind in (Kind.OUTPUT, Kind.AVP):
                return self._named_variable(value, place) or tree.Text(to_script(value), place)
            case str():
                return tree.Text(_literal(value, param), place)
        self._tell(node, "wrong-type", f"a script function takes text, integers and None, not {ast.unparse(node)}")
        return self._any(param, place)

    def _any(self, param: Param | None, place: Place) -> tree.Argument | None:
        """What every check of a kind lets pass, since nobody knows it before it runs."""
        if param is not None and param.kind is Kind.ROUTE:
            return None if param.optional else tree.Text(next(iter(self._bodies.routes), ("", ""))[1], place)
        name = "avp" if param is not None and param.kind is Kind.AVP else "var"
        return tree.Variable(name, tree.Format(("any",), place), None, (), f"${name}(any)", place)

    # Variables

    def _variable(self, node: ast.Subscript, spelling: ast.Constant) -> None:
        text = str(spelling.value)
        found = self._named_variable(text, self._at(spelling))
        if found is None:
            return self._tell(spelling, "bad-variable", f'"{text}" is no variable such as "$ru"')
        place = found.place
        if isinstance(node.ctx, ast.Load):
            self.statements.append(tree.Assert(found, None, place))  # it is read, and nothing follows from it
        else:
            self.statements.append(tree.Assign(found, "=", tree.Number(0, place), place))
        return None

    def _named_variable(self, spelling: str, place: Place) -> tree.Variable | None:
        try:
            return parse_variable(to_script(spelling), place) if spelling.startswith("$") else None
        except (NotAVariable, ValueError):
            return None


def _literal(text: Any, param: Param | None) -> str:
    """Text in which the cfg language sees no variables."""
    found = to_script(text)
    return found if param is not None and param.kind in (Kind.REGEX, Kind.ROUTE) else found.replace("$", "$$")
