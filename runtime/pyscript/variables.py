"""Every variable of the language by its spelling, for scripts in Python: `$ru`, `$hdr(X)`, `$(avp(x)[0]{s.len})`."""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import Final, NamedTuple, TypeVar

from runtime.context import Context, Value
from runtime.pyscript.words import to_script
from runtime.script import tree
from runtime.script.check_calls import Names
from runtime.script.compile import namespace_of
from runtime.script.declare import Ref
from runtime.script.elsewhere import Elsewhere
from runtime.script.formats import NotAVariable, parse_variable
from runtime.script.known import Known
from runtime.script.problems import Place, Problems
from runtime.script.pyast import function
from runtime.script.reading import Reading
from runtime.script.script import Hooks

_T = TypeVar("_T")
_MOST: Final = 1000
"""How many spellings are kept. A script that makes them up as it goes does not fill the memory."""


class Kept(dict[str, _T]):
    """Makes what is asked for, and keeps what was made first."""

    def __init__(self, make: Callable[[str], _T]) -> None:
        super().__init__()
        self._make = make

    def __missing__(self, spelling: str) -> _T:
        made = self._make(spelling)
        if len(self) < _MOST:
            self[spelling] = made
        return made


class Spelled(NamedTuple):
    """A variable as a script spells it: read with its transformations, written without."""

    read: Callable[[Context], Value]
    ref: Ref


class Variables:
    """Finds variables by their spelling, compiled as those of a cfg script are.

    Args:
        known: what the script may name.
        hooks: what the process does for scripts.
        place: stands for the script's file in what goes wrong.
    """

    def __init__(self, known: Known, hooks: Hooks, place: Place) -> None:
        self._known = known
        self._hooks = hooks
        self._place = place
        # The reading of each variable. Raises KeyError where there is none of that spelling.
        self.readers = Kept(lambda spelling: self._compiled(spelling, written=False).read)
        self._written = Kept(lambda spelling: self._compiled(spelling, written=True).ref)

    def ref(self, spelling: str) -> Ref:
        """Reads and writes the variable. Raises KeyError where there is none of that spelling, or it is read-only."""
        return self._written[spelling]

    def _compiled(self, spelling: str, *, written: bool) -> Spelled:
        problems = Problems()
        names = Names(self._known, set(), Elsewhere({}, (), ()), problems)
        try:
            node = parse_variable(to_script(spelling), self._place)
        except NotAVariable as error:
            raise KeyError(str(error)) from None
        (names.written if written else names.variable)(node)
        for problem in problems.sorted():
            if problem.severity == "error":
                raise KeyError(problem.said)
        return compiled(node, self._known, self._hooks)


def compiled(node: tree.Variable, known: Known, hooks: Hooks) -> Spelled:
    """Compile a variable that the checker has let pass."""
    namespace = namespace_of(hooks)
    helpers: list[ast.FunctionDef] = []
    reading = Reading(known, namespace, helpers)
    ref = reading.ref(node)
    assert isinstance(ref, ast.Name), "a ref stands in the namespace under its name"
    read = function("read", [ast.Return(reading.variable(node).node)])
    namespace.stamp(read, node.place)
    exec(compile(ast.Module([*helpers, read], []), node.place.file, "exec"), namespace.entries)
    return Spelled(namespace.entries["read"], namespace.entries[ref.id])
