"""`{s.eval}`: text that came to be while the script runs, read as text with variables in it."""

from __future__ import annotations

from collections.abc import Callable

from runtime.context import Context, Value
from runtime.script import tree
from runtime.script.access import joined, pick, reply_of, request_of
from runtime.script.changes import CHANGES, bound, change_named, holds_variables
from runtime.script.declare import Variable
from runtime.script.formats import NotAVariable, parse_format, split_arguments
from runtime.script.kept import kept
from runtime.script.known import Known
from runtime.script.patterns import MAX_TEXT_CHARS
from runtime.script.problems import Place
from runtime.script.variables import ContextVariable, Inner

_NOWHERE = Place("", 1, 1)


class Unknown(Exception):
    """The text names a variable or a transformation that there is not, or has become too long."""


@kept(256)
def _parsed(text: str) -> tree.Format | None:
    try:
        return parse_format(text, _NOWHERE)
    except NotAVariable:
        return None


def evaluator(known: Known) -> Callable[[Context, Value], Value]:
    """What `{s.eval}` does, over the variables that a script knows.

    Returns:
        ``evaluate(context, text)``: the text with its variables' values in it; NULL where it cannot be read, or names
        what is not known. What a value holds is not read again.
    """

    def evaluate(c: Context, value: Value) -> Value:
        found = None if value is None else _parsed(str(value))
        if found is None:
            return None
        try:
            return _text(c, found, known)
        except Unknown:
            return None

    return evaluate


def _text(c: Context, found: tree.Format, known: Known, mark: Callable[[Value], str] | None = None) -> str:
    parts: list[str] = []
    room = MAX_TEXT_CHARS
    for part in found.parts:
        shown = part if isinstance(part, str) else _shown(_value(c, part, known), mark)
        room -= len(shown)
        if room < 0:
            raise Unknown("the text is too long")
        parts.append(shown)
    return "".join(parts)


def _shown(value: Value, mark: Callable[[Value], str] | None) -> str:
    if mark is not None:
        return mark(value)
    return "<null>" if value is None else str(value)


def _value(c: Context, node: tree.Variable, known: Known) -> Value:
    of: Context | None = c
    if node.of:
        of = request_of(c) if node.of == "request" else reply_of(c)
    value = None if of is None else _read(of, node, known)
    for change in node.changes:
        value = _changed(c, value, change, known)
    return value


def _read(c: Context, node: tree.Variable, known: Known) -> Value:
    found = known.variables.get(node.name)
    if found is None:
        raise Unknown(node.name)
    inner = (
        "" if node.inner is None else _text(c, node.inner, known, found.mark if isinstance(found, Variable) else None)
    )
    if node.index is not None:
        if found.all is None:
            raise Unknown(node.text)
        index = _value(c, node.index, known) if isinstance(node.index, tree.Variable) else node.index
        return joined(found.all(c, inner)) if index == "*" else pick(found.all(c, inner), index)
    get: Callable[..., Value] = found.get
    if node.name in ("cfg_line", "cfg_file"):
        return None
    return get(c) if isinstance(found, ContextVariable) and found.inner is Inner.NO else get(c, inner)


def _changed(c: Context, value: Value, node: tree.Transformation, known: Known) -> Value:
    found = change_named(node.family, node.name)
    if found is None or found is CHANGES["s", "eval"]:
        raise Unknown(f"{node.family}.{node.name}")
    arguments: list[Value] = []
    texts = [] if node.argument is None else split_arguments(node.argument, len(found.wants))
    for wants, text in zip(found.wants, texts, strict=False):
        parsed = _parsed(text.strip()) if holds_variables(wants, text) else None
        arguments.append(text if parsed is None else _text(c, parsed, known))
    if len(found.wants) - found.optional > len(arguments):
        raise Unknown(f"{node.family}.{node.name}")
    return bound(found, arguments)(value)
