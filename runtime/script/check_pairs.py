"""Two AVPs side by side, names and values: how many each holds where `mi()` or `raise_event()` is given them.

An AVP keeps what it was given before, in other routes too. So its values are only known after `:=`, or where every
assignment to it in the whole script stands in this very block, and the block runs for the first time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from typing import Final, NamedTuple, TypeAlias

from mi_script.script import Value
from runtime.script import tree
from runtime.script.check_calls import PAIRED, avp_name
from runtime.script.problems import Place, Problems

Held: TypeAlias = "list[Value] | None"
"""An AVP's values, oldest first, those that are not constant as `_SOME_TEXT`; None where they are not known."""

_SOME_TEXT: Final = ""
_MOST_VALUES: Final = 100
_NAMES: Final = {"mi": 2, "raise_event": 1}
"""Where the AVP with the names stands among the arguments; the values stand behind it."""


class Pair(NamedTuple):
    """What a call's two AVPs hold; None for one that is not given. `constant` says whether all names are."""

    names: list[Value] | None
    values: list[Value] | None
    constant: bool


def pairs_of(
    routes: Iterable[tree.Route], paired: Collection[str], written: Counter[str], *, computed: bool
) -> dict[Place, Pair]:
    """What is known of the AVPs that are given to calls, by the calls' places.

    Args:
        routes: all routes.
        paired: which functions to look at.
        written: how often each AVP is written in the whole script.
        computed: whether one is written whose name is only known when the script runs.
    """
    finder = _Finder(frozenset(paired) & PAIRED, Counter() if computed else written)
    for route in routes:
        finder.block(route.body)
    return finder.found


def check_pairs(calls: Iterable[tree.Call], pairs: dict[Place, Pair], problems: Problems) -> None:
    """Warn of names and values that are not equal in number."""
    for node in calls:
        pair = pairs.get(node.place)
        if pair is None or pair.names is None or pair.values is None or len(pair.names) == len(pair.values):
            continue
        counts = f"{_counted(len(pair.names), 'name')} and {_counted(len(pair.values), 'value')}"
        help = "an assignment with = adds one more value to an AVP, so each name needs its value; := starts anew"
        problems.tell(node.place, "unequal-pair", f"{node.name}() is given {counts}", help=help)


def _counted(number: int, word: str) -> str:
    return f"{number} {word}" if number == 1 else f"{number} {word}s"


class _Finder:
    def __init__(self, paired: frozenset[str], written: Counter[str]) -> None:
        self.paired = paired
        self.written = written
        self.found: dict[Place, Pair] = {}

    def block(self, body: tree.Body) -> None:
        here = _Block(self, _written_here(body))
        for statement in body:
            here.statement(statement)


class _Block:
    """One stretch of statements. What stands in blocks within it may or may not run."""

    def __init__(self, finder: _Finder, here: Counter[str]) -> None:
        self.finder = finder
        self.own: dict[str, Held] = {name: [] for name, count in here.items() if finder.written[name] == count}
        """AVPs that nothing outside of this stretch writes."""
        self.others: dict[str, Held] = {}
        self.computed: set[str] = set()

    def statement(self, node: tree.Statement) -> None:
        match node:
            case tree.Run():
                self._expression(node.call)
            case tree.Assign():
                self._expression(node.value)
                self._assign(node)
            case tree.Assert():
                self._expression(node.condition)
            case tree.If():
                self._expression(node.condition)
                self._inner(node.then, node.otherwise)
            case tree.While():
                self.others.clear()
                self._expression(node.condition)
                self._inner(node.body)
            case tree.ForEach():
                self._inner(node.body)
            case tree.Switch():
                self._inner(*(case.body for case in node.cases))
            case _:
                pass

    def _inner(self, *bodies: tree.Body) -> None:
        for body in bodies:
            self.finder.block(body)
        self.others.clear()

    def _assign(self, node: tree.Assign) -> None:
        if node.target.name != "avp":
            return
        name = avp_name(node.target)
        if name is None:
            self.others.clear()
            return
        known = self._known(name)
        held = known.get(name)
        if node.operator == ":=" and node.target.index is None:
            known[name] = [] if isinstance(node.value, tree.Null) else [self._value(name, node.value)]
        elif held is None:
            return
        elif node.operator != "=" or node.target.index is not None or len(held) > _MOST_VALUES:
            known[name] = None
        elif isinstance(node.value, tree.Null):
            del held[-1:]
        else:
            held.append(self._value(name, node.value))

    def _known(self, name: str) -> dict[str, Held]:
        return self.own if name in self.own else self.others

    def _value(self, name: str, node: tree.Expression) -> Value:
        if isinstance(node, tree.Text | tree.Number):
            return node.value
        self.computed.add(name)
        return _SOME_TEXT

    def _expression(self, node: tree.Expression) -> None:
        for call in _calls(node):
            if isinstance(call, tree.RouteCall):
                self.others.clear()
                continue
            if call.name in self.finder.paired:
                self._pair(call)
            for at, argument in enumerate(call.arguments):
                read = call.name in self.finder.paired and at in (_NAMES[call.name], _NAMES[call.name] + 1)
                if isinstance(argument, tree.Variable) and argument.name == "avp" and not read:
                    self._written(argument)

    def _written(self, node: tree.Variable) -> None:
        name = avp_name(node)
        if name is None:
            self.others.clear()
        else:
            self._known(name)[name] = None

    def _pair(self, node: tree.Call) -> None:
        first = _NAMES[node.name]
        given = [one for one in node.arguments[first : first + 2] if isinstance(one, tree.Variable)]
        names = [avp_name(one) if one.name == "avp" else None for one in given]
        held = [self._known(name).get(name) if name is not None else None for name in names]
        if not held or None in held or len(given) < sum(one is not None for one in node.arguments[first:]):
            return
        both = [list(values) for values in held if values is not None]
        constant = names[0] not in self.computed
        if len(both) == 2:
            self.finder.found[node.place] = Pair(both[0], both[1], constant)
        else:
            self.finder.found[node.place] = Pair(None, both[0], constant)  # one alone holds values without names


def _written_here(body: tree.Body) -> Counter[str]:
    """How often the statements of a stretch assign to each AVP themselves."""
    targets = [one.target for one in body if isinstance(one, tree.Assign) and one.target.name == "avp"]
    return Counter(name for name in map(avp_name, targets) if name is not None)


def _calls(node: tree.Expression) -> Iterator[tree.Call | tree.RouteCall]:
    match node:
        case tree.Call() | tree.RouteCall():
            yield node
        case tree.Async() | tree.Launch():
            yield node.call
        case tree.Not() | tree.BitNot():
            yield from _calls(node.operand)
        case tree.Binary() | tree.Logic() | tree.Compare():
            yield from _calls(node.left)
            yield from _calls(node.right)
        case _:
            pass
