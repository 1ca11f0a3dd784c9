"""A variable apart from any context: what a function gets that reads or writes a variable."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from runtime.context import Context, Value
from runtime.script import tree
from runtime.script.declare import Variable
from runtime.script.variables import ContextVariable, Inner

Reads: TypeAlias = Callable[[Context], Value]
Inside: TypeAlias = Callable[[Context], str]


class VariableRef:
    """Implements `declare.Ref` for one variable of the script."""

    __slots__ = ("_all", "_get", "_set", "name")

    def __init__(
        self,
        name: str,
        get: Reads,
        set: Callable[[Context, Value], None],
        all: Callable[[Context], list[Value]],
    ) -> None:
        self.name = name
        self._get = get
        self._set = set
        self._all = all

    def get(self, context: Context) -> Value:
        """The value, or None for NULL."""
        return self._get(context)

    def set(self, context: Context, value: Value) -> None:
        """Assign as `=` does. Raises Unwritable when the variable does not take the value."""
        self._set(context, value)

    def all(self, context: Context) -> list[Value]:
        """Every value, oldest first; of a variable with one value that one, of NULL none."""
        return self._all(context)

    def __repr__(self) -> str:
        return f"VariableRef({self.name})"


def ref_of(node: tree.Variable, found: ContextVariable | Variable, inside: Inside, index: Reads | None) -> VariableRef:
    """Make the ref of a variable.

    Args:
        node: as the script has it.
        found: what its name means.
        inside: computes what stands in its brackets.
        index: computes its index.
    """
    get, write = _accessors(found, inside)
    put, list_all = found.put, found.all
    if index is not None and put is not None:

        def write(context: Context, value: Value) -> None:
            put(context, inside(context), index(context), value)

    def every(context: Context) -> list[Value]:
        if list_all is not None:
            return list_all(context, inside(context))[::-1]
        value = get(context)
        return [] if value is None else [value]

    return VariableRef(node.text, get, write, every)


def _accessors(found: ContextVariable | Variable, inside: Inside) -> tuple[Reads, Callable[[Context, Value], None]]:
    get: Callable[..., Value] = found.get
    write: Callable[..., None] | None = found.set
    if isinstance(found, ContextVariable) and found.inner is Inner.NO:

        def write_plain(context: Context, value: Value) -> None:
            assert write is not None, "the checker lets nobody write a read-only variable"
            write(context, value)

        return get, write_plain

    def read(context: Context) -> Value:
        return get(context, inside(context))

    def write_inside(context: Context, value: Value) -> None:
        assert write is not None, "the checker lets nobody write a read-only variable"
        write(context, inside(context), value)

    return read, write_inside
