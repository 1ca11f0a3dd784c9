"""Checks of what stands inside statements: variables, texts, calls and their arguments."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Final

from runtime.script import tree
from runtime.script.changes import change_named, holds_variables, integer_of, problem_with
from runtime.script.declare import Function, Kind, Param, Variable
from runtime.script.formats import NotAVariable, parse_format, split_arguments
from runtime.script.patterns import compile_pattern, split_substitution, substitution
from runtime.script.problems import Code, Near, Place, Problems
from runtime.script.transformations import CHANGES
from runtime.script.variables import ContextVariable, Inner

if TYPE_CHECKING:
    from runtime.script.elsewhere import Elsewhere
    from runtime.script.known import Known

PAIRED: Final = frozenset(("mi", "raise_event"))
"""Functions that take names and values as two AVPs, and read them only."""


class Names:
    """Checks everything that names something, and collects the problems.

    Args:
        known: the functions and variables.
        routes: the names of all routes, for parameters that are a route's name.
        elsewhere: what modules would give that the script does not load.

    Attributes:
        tell: notes a problem, see `Problems`.
        written_avps: how often each AVP is written, as far as the script says it.
        computed_avps: whether an AVP is written whose name is only known when the script runs.
    """

    def __init__(self, known: Known, routes: set[str], elsewhere: Elsewhere, problems: Problems) -> None:
        self.known = known
        self.routes = routes
        self.elsewhere = elsewhere
        self.problems = problems
        self.tell = problems.tell
        self.written_avps: Counter[str] = Counter()
        self.computed_avps = False

    # Variables and texts

    def variable(self, node: tree.Variable) -> None:
        """A variable that is read: known, with brackets where it wants them, its index and changes in order."""
        self._names(node)
        if node.index == "append":
            self.tell(node.place, "bad-variable", f"{node.text}: [append] is where a value is added, and has none")

    def _names(self, node: tree.Variable) -> None:
        found = self.known.variables.get(node.name)
        if found is None:
            self._unknown_variable(node)
        else:
            self._brackets(node, found)
            if node.index is not None and not found.all:
                self.tell(node.place, "bad-variable", f"${node.name} has no index")
        if node.inner is not None:
            self._parts(node.inner)
        if isinstance(node.index, tree.Variable):
            self.variable(node.index)
        for change in node.changes:
            self._change(change, node)

    def _unknown_variable(self, node: tree.Variable) -> None:
        module = self.elsewhere.variables.get(node.name)
        if module is not None:
            self._missing_module(f"${node.name}", module, node.place)
            return
        name = f"${node.name}"
        near = Near(name, _spelled(self.known.variables), _spelled(self.elsewhere.variables))
        message, help = f"unknown variable {name}", self.elsewhere.doubt
        self.problems.tell_once(name, node.place, "unknown-variable", message, near=near, help=help)

    def _missing_module(self, what: str, module: str, place: Place) -> None:
        message = f'{what} comes with the module {module}: add loadmodule "{module}.so"'
        self.problems.tell_once(what, place, "missing-module", message)

    def written(self, node: tree.Variable) -> None:
        """A variable that is assigned, or that a function writes."""
        self._names(node)
        self._note_written(node)
        found = self.known.variables.get(node.name)
        if found is not None and found.set is None:
            self.tell(node.place, "read-only-variable", f"${node.name} cannot be written")
        if node.of:
            self.tell(node.place, "read-only-variable", f"{node.text}: what another message has cannot be written")
        if node.changes:
            self.tell(node.place, "bad-variable", f"{node.text}: a variable that is written takes no transformation")
        if node.index is not None and found is not None and not found.put:
            self.tell(node.place, "bad-variable", f"{node.text}: ${node.name} is not written by index")
        if node.index in ("append", "*") and found is not None and found.put and node.name != "avp":
            self.tell(node.place, "bad-variable", f"{node.text}: only an AVP is written by [{node.index}]")

    def _note_written(self, node: tree.Argument | None) -> None:
        if isinstance(node, tree.Variable) and node.name == "avp":
            name = avp_name(node)
            if name is None:
                self.computed_avps = True
            else:
                self.written_avps[name] += 1

    def format(self, node: tree.Text) -> None:
        """Text whose variables count."""
        try:
            found = parse_format(node.value, node.place)
        except NotAVariable as problem:
            self.tell(node.place, "bad-variable", str(problem))
        else:
            self._parts(found)

    def literal(self, node: tree.Text) -> None:
        """Text that is taken as it stands: a variable in it is most likely a mistake."""
        if "$" not in node.value:
            return
        try:
            parts = parse_format(node.value, node.place).parts
        except NotAVariable:
            return
        names = [part.text for part in parts if isinstance(part, tree.Variable) and part.name in self.known.variables]
        if names:
            message = f"{names[0]} is not replaced in this text: join it with +, or use pv_printf()"
            self.tell(node.place, "variable-in-text", message)

    def _parts(self, found: tree.Format) -> None:
        for part in found.parts:
            if isinstance(part, tree.Variable):
                self.variable(part)

    def _brackets(self, node: tree.Variable, found: ContextVariable | Variable) -> None:
        if not isinstance(found, ContextVariable):
            return
        if found.inner is Inner.MUST and (node.inner is None or not node.inner.parts):
            self.tell(node.place, "bad-variable", f"${node.name} needs a name in brackets: ${node.name}(name)")
        if found.inner is Inner.NO and node.inner is not None:
            self.tell(node.place, "bad-variable", f"${node.name} takes nothing in brackets")

    def _change(self, change: tree.Transformation, node: tree.Variable) -> None:
        found = change_named(change.family, change.name)
        name = f"{change.family}.{change.name}"
        if found is None:
            near = Near(name, [".".join(pair) for pair in CHANGES])
            self.tell(node.place, "unknown-transformation", f"unknown transformation {{{name}}}", near=near)
            return
        arguments = split_arguments(change.argument, len(found.wants)) if change.argument is not None else []
        if not len(found.wants) - found.optional <= len(arguments) <= len(found.wants):
            self.tell(node.place, "bad-transformation", f"{{{name}}} takes {_count(len(found.wants), found.optional)}")
            return
        constants = []
        for wants, argument in zip(found.wants, arguments, strict=False):
            if holds_variables(wants, argument):
                self.format(tree.Text(argument, node.place))
                return
            constants.append(argument)
        if problem := problem_with(found, constants):
            self.tell(node.place, "bad-transformation", f"{{{name}}}: {problem}")

    # Calls

    def call(self, node: tree.Call) -> Function | None:
        """A call: the function exists and takes these arguments. Gives the function."""
        found = self.known.functions.get(node.name)
        if found is None:
            self._unknown_function(node)
            for argument in node.arguments:
                self.argument(argument)
                self._note_written(argument)
            return None
        self._arity(node, found)
        for param, argument in zip(found.params, node.arguments, strict=False):
            if argument is not None:
                self._kind(found, param, argument)
        return found

    def _unknown_function(self, node: tree.Call) -> None:
        module = self.elsewhere.functions.get(node.name)
        if module is not None:
            self._missing_module(f"{node.name}()", module, node.place)
            return
        near = Near(node.name, self.known.functions, self.elsewhere.functions)
        message, help = f"unknown function {node.name}()", self.elsewhere.doubt
        self.problems.tell_once(node.name, node.place, "unknown-function", message, near=near, help=help)

    def argument(self, node: tree.Argument | None) -> None:
        """An argument that may be anything."""
        match node:
            case tree.Text():
                self.format(node)
            case tree.Variable():
                self.variable(node)

    def _arity(self, node: tree.Call, found: Function) -> None:
        given = len(node.arguments)
        if given > len(found.params):
            needed = _count(len(found.params), sum(param.optional for param in found.params))
            self.tell(node.place, "wrong-arity", f"{node.name}() takes {needed}, not {given}")
            return
        for at, param in enumerate(found.params):
            if not param.optional and (at >= given or node.arguments[at] is None):
                self.tell(node.place, "wrong-arity", f'{node.name}() needs its {_ordinal(at)} argument, "{param.name}"')

    def _kind(self, found: Function, param: Param, argument: tree.Argument) -> None:
        wrong = _WRONG_KIND[param.kind](self, argument)
        if param.kind is Kind.AVP and found.name not in PAIRED:
            self._note_written(argument)
        if wrong:
            pattern = param.kind is Kind.REGEX and isinstance(argument, tree.Text)
            code: Code = "bad-pattern" if pattern else "wrong-type"
            self.tell(argument.place, code, f'{found.name}(): "{param.name}" is {wrong}')

    def _string(self, argument: tree.Argument) -> str:
        self.argument(argument)
        return "a string, not NULL" if isinstance(argument, tree.Null) else ""

    def _integer(self, argument: tree.Argument) -> str:
        match argument:
            case tree.Number() | tree.Variable():
                self.argument(argument)
                return ""
            case tree.Text() if "$" in argument.value:
                self.format(argument)
                return ""
            case tree.Text() if integer_of(argument.value) is not None:
                return ""
        return "an integer"

    def _value(self, argument: tree.Argument) -> str:
        self.argument(argument)
        return ""

    def _output(self, argument: tree.Argument) -> str:
        if not isinstance(argument, tree.Variable):
            return "a variable that the function writes"
        self.written(argument)
        return ""

    def _avp(self, argument: tree.Argument) -> str:
        if not isinstance(argument, tree.Variable) or argument.name != "avp":
            return "an $avp(name)"
        self.variable(argument)
        plain = not (argument.index or argument.changes or argument.of)
        return "" if plain else "an $avp(name) without index and transformation"

    def _route(self, argument: tree.Argument) -> str:
        if not isinstance(argument, tree.Text | tree.Number):
            return "the name of a route"
        name = str(argument.value)
        if name not in self.routes:
            self.tell(argument.place, "unknown-route", f'there is no route "{name}"', near=Near(name, self.routes))
        return ""

    def _regex(self, argument: tree.Argument) -> str:
        match argument:
            case tree.Variable():
                self.variable(argument)
                return ""
            case tree.Text():
                return regex_problem(argument.value)
        return "a regular expression"

    def _substitution(self, argument: tree.Argument) -> str:
        match argument:
            case tree.Variable():
                self.variable(argument)
                return ""
            case tree.Text():
                return self._substitution_problem(argument)
        return "a substitution: /pattern/replacement/flags"

    def _substitution_problem(self, argument: tree.Text) -> str:
        try:
            pattern, replacement, every = split_substitution(argument.value)
            if "$" in replacement:
                self.format(tree.Text(replacement, argument.place))
            else:
                substitution(pattern, replacement, every)
        except re.error as error:
            return f"a substitution, and this one is wrong: {error}"
        return ""


def _spelled(variables: Iterable[str]) -> Iterator[str]:
    return (f"${name}" for name in variables)


def avp_name(node: tree.Variable) -> str | None:
    """The name of ``$avp(name)``; None where it is only known when the script runs."""
    return node.inner.constant if node.inner is not None else None


def regex_problem(text: str) -> str:
    """What is wrong with a constant pattern; empty when nothing is."""
    try:
        compile_pattern(text)
    except re.error as error:
        return f"a regular expression, and this one is wrong: {error}"
    return ""


_WRONG_KIND: Final = {
    Kind.STRING: Names._string,
    Kind.INTEGER: Names._integer,
    Kind.VALUE: Names._value,
    Kind.OUTPUT: Names._output,
    Kind.AVP: Names._avp,
    Kind.ROUTE: Names._route,
    Kind.REGEX: Names._regex,
    Kind.SUBSTITUTION: Names._substitution,
}


def _count(most: int, optional: int) -> str:
    if most == 0:
        return "no argument"
    if optional:
        return f"{most - optional} to {most} arguments"
    return "1 argument" if most == 1 else f"{most} arguments"


def _ordinal(at: int) -> str:
    words = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth")
    return words[at] if at < len(words) else f"{at + 1}th"
