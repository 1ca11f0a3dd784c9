"""Short names for making Python's syntax tree, and the namespace that compiled routes run in.

Whatever comes out of a script stands in the tree as a constant or as the name of a namespace entry. No text of it is
ever read as Python.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from runtime.context import Value
from runtime.script.problems import Place


def name(identifier: str) -> ast.Name:
    """Read a name."""
    return ast.Name(identifier, ast.Load())


def const(value: Value | bool) -> ast.Constant:
    """A constant."""
    return ast.Constant(value)


def attr(node: ast.expr, path: str) -> ast.expr:
    """Read an attribute, along a dotted path."""
    for part in path.split("."):
        node = ast.Attribute(node, part, ast.Load())
    return node


def context(path: str) -> ast.expr:
    """Read an attribute of the context."""
    return attr(name("c"), path)


def call(function: ast.expr | str, *arguments: ast.expr) -> ast.Call:
    """Call a function, or the namespace entry of that name."""
    return ast.Call(name(function) if isinstance(function, str) else function, list(arguments), [])


def store(identifier: str, value: ast.expr) -> ast.stmt:
    """Assign a local name."""
    return ast.Assign([ast.Name(identifier, ast.Store())], value)


def store_context(attribute: str, value: ast.expr, *also: str) -> ast.stmt:
    """Assign an attribute of the context, and local names with it."""
    targets: list[ast.expr] = [ast.Attribute(name("c"), attribute, ast.Store())]
    targets += [ast.Name(identifier, ast.Store()) for identifier in also]
    return ast.Assign(targets, value)


def named(identifier: str, value: ast.expr) -> ast.NamedExpr:
    """``(identifier := value)``."""
    return ast.NamedExpr(ast.Name(identifier, ast.Store()), value)


def is_none(node: ast.expr) -> ast.expr:
    """``node is None``."""
    return ast.Compare(node, [ast.Is()], [const(None)])


def not_(node: ast.expr) -> ast.expr:
    """``not node``."""
    return ast.UnaryOp(ast.Not(), node)


def if_(test: ast.expr, body: Sequence[ast.stmt], orelse: Sequence[ast.stmt] = ()) -> ast.stmt:
    """An if statement; an empty body is a pass."""
    return ast.If(test, list(body) or [ast.Pass()], list(orelse))


def returns(node: ast.expr) -> ast.stmt:
    """A return statement."""
    return ast.Return(node)


def function(identifier: str, body: Sequence[ast.stmt]) -> ast.FunctionDef:
    """A function of the context."""
    arguments = ast.arguments([], [ast.arg("c")], None, [], [], None, [])
    return ast.FunctionDef(identifier, arguments, list(body) or [ast.Pass()], [])


FILES: Final = "files of the script"
"""The entry with a namespace's `files`: by it a frame of a compiled route is known. No name of Python's is like it."""


class Namespace:
    """The globals of the compiled routes: nothing but what is bound here, not even Python's built-in names.

    Attributes:
        entries: what stands under each name.
        files: of which files the code is, each with its number, which counts from 1.
    """

    def __init__(self) -> None:
        self.entries: dict[str, Any] = {"__builtins__": {}}
        self.files: dict[str, int] = {}
        self.entries[FILES] = self.files
        self._bound: dict[tuple[str, int], str] = {}
        self._unique = 0

    def set(self, identifier: str, value: object) -> None:
        """Bind a fixed name."""
        self.entries[identifier] = value

    def bind(self, prefix: str, value: object) -> ast.Name:
        """Bind a value under a name of its own, the same one each time, and read it."""
        key = (prefix, id(value))
        if key not in self._bound:
            self._bound[key] = f"{prefix}_{len(self._bound)}"
            self.entries[self._bound[key]] = value
        return name(self._bound[key])

    def unique(self, prefix: str) -> str:
        """A name that nothing else has."""
        self._unique += 1
        return f"{prefix} {self._unique}"

    def place(self, place: Place) -> ast.expr:
        """Bind a place. Equal places share an entry."""
        identifier = f"place {place.file} {place.line} {place.column}"
        self.entries[identifier] = place
        return name(identifier)

    def stamp(self, node: ast.AST, place: Place) -> None:
        """Give every part that has no place yet this one, so that a traceback names the script's line.

        Python knows one file of each function, and the statements that a route includes are of another. So a part is
        made as many columns wide as its file's number says, which nothing else needs; `place_of` reads it.

        What has a place is not looked into: its parts had theirs with it, or before.
        """
        start = place.column - 1
        end = start + self.files.setdefault(place.file, len(self.files) + 1)
        waiting = [node]
        while waiting:
            part = waiting.pop()
            if "lineno" in part._attributes:
                if hasattr(part, "lineno"):
                    continue
                part.lineno = part.end_lineno = place.line  # type: ignore[attr-defined]
                part.col_offset, part.end_col_offset = start, end  # type: ignore[attr-defined]
            waiting.extend(ast.iter_child_nodes(part))


class Block:
    """Collects statements, and makes local names.

    Args:
        namespace: knows how a statement says where it stands.
    """

    def __init__(self, namespace: Namespace) -> None:
        self._namespace = namespace
        self.statements: list[ast.stmt] = []
        self._locals = 0

    def local(self) -> str:
        """A new local name."""
        self._locals += 1
        return f"t{self._locals}"

    def emit(self, statement: ast.stmt, place: Place) -> None:
        """Add a statement."""
        self._namespace.stamp(statement, place)
        self.statements.append(statement)

    @contextmanager
    def aside(self) -> Iterator[list[ast.stmt]]:
        """Collect what is emitted inside into a list of its own."""
        outer = self.statements
        self.statements = []
        try:
            yield self.statements
        finally:
            self.statements = outer
