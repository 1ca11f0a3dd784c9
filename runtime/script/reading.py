"""From a script's variables and texts to Python's syntax tree."""

from __future__ import annotations

import ast
import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from runtime.context import Context, Value
from runtime.script import tree
from runtime.script.access import reply_of, request_of
from runtime.script.changes import bound, change_named, holds_variables, unbound
from runtime.script.declare import Variable
from runtime.script.evaluating import evaluator
from runtime.script.formats import parse_format, split_arguments
from runtime.script.known import Known
from runtime.script.problems import Place
from runtime.script.pyast import Block, Namespace, attr, call, const, context, function, is_none, name, named
from runtime.script.refs import ref_of
from runtime.script.variables import ContextVariable, Gives, Inner


class Missing:
    """Stands for "no constant": NULL is one."""


MISSING: Final = Missing()


@dataclass(frozen=True, slots=True)
class Chain:
    """Texts joined by `+`: one f-string, however many there are.

    Args:
        parts: the f-string's.
        is_text: whether the first one is text, where that has to be seen at run time.
        otherwise: gives the value where it is none, or where all become too long.
    """

    parts: tuple[ast.expr, ...]
    is_text: ast.expr | None
    otherwise: ast.expr


@dataclass(frozen=True, slots=True)
class Code:
    """An expression, compiled.

    Args:
        node: computes it.
        gives: what it may be.
        fails: whether it may be NOTHING.
        constant: its value where that is known.
        direct: whether it is a variable as it stands: there an integer counts as text too.
        chain: where it is texts joined by `+`, those.
    """

    node: ast.expr
    gives: Gives = Gives.ANY
    fails: bool = False
    constant: Value | Missing = MISSING
    direct: bool = False
    chain: Chain | None = None


def constant(value: Value) -> Code:
    """A known value."""
    gives = Gives.NULL if value is None else Gives.INTEGER if isinstance(value, int) else Gives.STRING
    return Code(const(value), gives, constant=value)


class Reading:
    """Compiles variables and texts.

    Args:
        known: the functions and variables, bound to the module instances.
        namespace: takes what the compiled code refers to.
        helpers: takes functions of the context that refs call.
    """

    def __init__(self, known: Known, namespace: Namespace, helpers: list[ast.FunctionDef]) -> None:
        self.known = known
        self.evaluate = evaluator(known)
        self.namespace = namespace
        self.helpers = helpers
        self.block = Block(namespace)

    # Variables

    def variable(self, node: tree.Variable) -> Code:
        """Compile the reading of a variable."""
        code = self._read(node)
        for change in node.changes:
            code = self._changed(code, change, node.place)
        self.namespace.stamp(code.node, node.place)
        return Code(code.node, code.gives, constant=code.constant, direct=True)

    def inside(self, node: tree.Variable) -> Code:
        """Compile what stands in a variable's brackets."""
        if node.inner is None:
            return constant("")
        found = self.known.variables[node.name]
        return self.format(node.inner, found.mark if isinstance(found, Variable) else None)

    def _read(self, node: tree.Variable) -> Code:
        if node.of:
            return self._of(node)
        found = self.known.variables[node.name]
        inner = self.inside(node)
        if node.index is not None and (node.index != 0 or node.name != "avp"):
            return self._indexed(node, found, inner)
        if isinstance(found, Variable):
            return Code(call(self.namespace.bind(f"get_{node.name}", found.get), name("c"), inner.node))
        if fast := self._fast(node, inner):
            return fast
        if found.path:
            return Code(context(found.path), found.gives)
        if found.uri:
            path, part = found.uri
            part_node = attr(call("parts_of", context(path)), part)
            if part == "host":  # a tel: URI has none, and its host is an empty text
                part_node = ast.BoolOp(ast.Or(), [part_node, const(None)])
            return Code(part_node, found.gives)
        getter = self.namespace.bind(f"get_{node.name}", found.get)
        if found.inner is Inner.NO:
            return Code(call(getter, name("c")), found.gives)
        return Code(call(getter, name("c"), inner.node), found.gives)

    def _of(self, node: tree.Variable) -> Code:
        """`$(<request>name)`: the variable, compiled as a function of whichever context that message has."""
        here = dataclasses.replace(node, of="", changes=())
        read = self._helper(self._read(here).node, node.place)
        find = request_of if node.of == "request" else reply_of

        def get(c: Context) -> Value:
            other = find(c)
            return None if other is None else read(other)

        return Code(call(self.namespace.bind("of", get), name("c")))

    def _indexed(self, node: tree.Variable, found: ContextVariable | Variable, inner: Code) -> Code:
        assert found.all is not None, "the checker lets nobody index what has no list"
        values = call(self.namespace.bind(f"all_{node.name}", found.all), name("c"), inner.node)
        if node.index == "*":
            return Code(call("joined", values), Gives.STRING | Gives.NULL)
        return Code(call("pick", values, self.index(node.index)))

    def index(self, index: int | str | tree.Variable | None) -> ast.expr:
        """Compile what stands in square brackets."""
        return self.variable(index).node if isinstance(index, tree.Variable) else const(index)

    def _fast(self, node: tree.Variable, inner: Code) -> Code | None:
        """The variables that every script uses all the time, without a call of ours."""
        inside = inner.constant
        match node.name:
            case "cfg_line":
                return constant(node.place.line)
            case "cfg_file":
                return constant(node.place.file)
            case "ru":
                return Code(ast.BoolOp(ast.Or(), [context("ruri"), const(None)]), Gives.STRING | Gives.NULL)
            case "var" if isinstance(inside, str):
                return Code(call(context("variables.get"), const(inside)))
            case "avp" if isinstance(inside, str):
                return Code(_last(call(context("avps.get"), const(inside))))
            case "param" if inside == "1":
                return Code(_item(context("params"), 0))
        return None

    def _changed(self, code: Code, change: tree.Transformation, place: Place) -> Code:
        if (change.family, change.name) == ("s", "eval"):
            return Code(call(self.namespace.bind("evaluate", self.evaluate), name("c"), code.node))
        found = change_named(change.family, change.name)
        assert found is not None, "the checker lets nothing else pass"
        texts = split_arguments(change.argument, len(found.wants)) if change.argument is not None else []
        arguments = [
            self._change_argument(tree.Text(text, place)) if holds_variables(wants, text) else constant(text)
            for wants, text in zip(found.wants, texts, strict=False)
        ]
        constants = [item.constant for item in arguments if not isinstance(item.constant, Missing)]
        label = f"{change.family}_{change.name}"
        if len(constants) == len(arguments):
            return Code(call(self.namespace.bind(label, bound(found, constants)), code.node))
        nodes = [item.node for item in arguments]
        return Code(call(self.namespace.bind(label, unbound(found)), code.node, *nodes))

    def _change_argument(self, node: tree.Text) -> Code:
        parts = parse_format(node.value.strip(), node.place).parts
        if len(parts) == 1 and isinstance(parts[0], tree.Variable):
            return self.variable(parts[0])
        return self.text(node)

    def ref(self, node: tree.Variable) -> ast.expr:
        """A variable as an object that functions read and write."""
        found = self.known.variables[node.name]
        inner = self.inside(node)
        if isinstance(inner.constant, str):
            fixed = inner.constant
            ref = ref_of(node, found, lambda _: fixed, self._ref_index(node))
        else:
            ref = ref_of(node, found, self._helper(inner.node, node.place), self._ref_index(node))
        return self.namespace.bind("ref", ref)

    def _ref_index(self, node: tree.Variable) -> Callable[..., Value] | None:
        index = node.index
        if index is None or index == "*":
            return None
        if isinstance(index, tree.Variable):
            return self._helper(self.variable(index).node, node.place)
        return lambda _: index

    def _helper(self, node: ast.expr, place: Place) -> Callable[..., Any]:
        """A function of the context that computes the node; it exists once the script is compiled."""
        identifier = self.namespace.unique("helper")
        helper = function(identifier, [ast.Return(node)])
        self.namespace.stamp(helper, place)
        self.helpers.append(helper)
        entries = self.namespace.entries

        return lambda c: entries[identifier](c)

    # Texts

    def text(self, node: tree.Text) -> Code:
        """Compile text with variables in it."""
        return self.format(parse_format(node.value, node.place)) if "$" in node.value else constant(node.value)

    def format(self, node: tree.Format, mark: Callable[[Value], str] | None = None) -> Code:
        """Compile text with variables in it: an f-string, or a constant. NULL is shown as ``<null>``.

        Args:
            node: the text.
            mark: how a variable's value is written into it, where that is another way.
        """
        if node.constant is not None:
            return constant(node.constant)
        parts: list[ast.expr] = []
        for part in node.parts:
            if isinstance(part, str):
                parts.append(const(part))
            elif mark is not None:
                parts.append(formatted(call(self.namespace.bind("mark", mark), self.variable(part).node)))
            else:
                parts.append(formatted(self.shown(self.variable(part), "<null>")))
        found = ast.JoinedStr(parts)
        self.namespace.stamp(found, node.place)
        return Code(found, Gives.STRING)

    def shown(self, code: Code, null: str) -> ast.expr:
        """A value to be put into text, with what stands there for NULL."""
        if not code.gives & Gives.NULL:
            return code.node
        local = self.block.local()
        return ast.IfExp(is_none(named(local, code.node)), const(null), name(local))


def _last(values: ast.expr) -> ast.expr:
    """``(values or NO_VALUES)[-1]``."""
    return ast.Subscript(ast.BoolOp(ast.Or(), [values, name("NO_VALUES")]), const(-1), ast.Load())


def _item(values: ast.expr, at: int) -> ast.expr:
    return ast.Subscript(ast.BoolOp(ast.Or(), [values, name("NO_VALUES")]), const(at), ast.Load())


def formatted(node: ast.expr) -> ast.expr:
    """A value inside an f-string."""
    return ast.FormattedValue(node, -1, None)


def piece(node: ast.expr) -> ast.expr:
    """A value as a part of an f-string: text stays text."""
    return node if isinstance(node, ast.Constant) and isinstance(node.value, str) else formatted(node)
