"""What a message must be like to reach each part of a script, read from the script's own tests.

Each stretch of statements that a test guards is a goal: its facts are what must hold of the message. Only what traffic
can bring about is a fact; what depends on state (`cache_fetch`, `$rc`, `$var` of a loop) is left to chance. So a goal
is a wish and no promise: whether it was reached is what coverage tells. The other way round it is certain: facts of
which one excludes another can hold of no message.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from runtime.script import tree
from runtime.script.check import route_name
from runtime.script.networks import network_of
from runtime.script.problems import Place
from runtime.simulation.facts import (
    Came,
    Fact,
    Facts,
    Method,
    Ours,
    Read,
    Reads,
    Status,
    Unreadable,
    Waited,
    Wrote,
    read_fact,
    read_of,
    said_by,
    slot_of,
    variable_key,
)

_MOST_VISITS: Final = 6
"""By how many ways one route is entered: a route that all others call has as many goals for each of its tests."""
_MOST_GOALS: Final = 4_000
_DEEPEST: Final = 24
_MOST_WORDS: Final = 200
_WORD: Final = re.compile(r"[A-Za-z0-9_.+-]{1,24}")
_ADDRESS: Final = re.compile(r"[0-9]{1,3}(?:\.[0-9]{1,3}){3}")


@dataclass(frozen=True, slots=True)
class Goal:
    """A stretch of statements, and what must hold of the message that reaches it.

    Args:
        place: its first statement.
        route: where the route begins that it stands in.
        facts: what must hold.
    """

    place: Place
    route: Place
    facts: Facts


@dataclass(slots=True)
class Wishes:
    """What `wishes_of` found.

    Args:
        goals: in the order of the walk from the request route.
        complete: whether every way was walked; else nothing can be said of what was not found.
    """

    goals: list[Goal] = field(default_factory=list)
    complete: bool = True


def wishes_of(routes: Sequence[tree.Route]) -> Wishes:
    """Walk a script's routes as a message may pass them.

    Args:
        routes: all of them.
    """
    walk = _Walk(routes)
    for route in routes:
        if _begins(route):
            walk.enter(route, _FACTS.get(route.kind, ()))
    return walk.found


def words_of(routes: Sequence[tree.Route]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Texts of a script that may be users' names, and those that are IPv4 addresses: keys of a cache, for example.

    What a message is held against may have been stored elsewhere, and a test of it is then no fact.
    """
    texts = {item.value for item in tree.everything_in(tuple(routes)) if isinstance(item, tree.Text)}
    words = sorted(text for text in texts if _WORD.fullmatch(text))[:_MOST_WORDS]
    return tuple(word for word in words if not _ADDRESS.fullmatch(word)), tuple(
        word for word in words if _ADDRESS.fullmatch(word)
    )


def _begins(route: tree.Route) -> bool:
    """Whether it runs without being named by another one."""
    if route.kind in ("route", "onreply_route"):
        return not route_name(route)
    return route.kind not in ("failure_route", "branch_route")


_FACTS: Final[Mapping[tree.RouteKind, Facts]] = {"onreply_route": (Came("reply"),), "error_route": (Unreadable(),)}
"""What holds of the messages on which a route begins."""
_CHANGES: Final[Mapping[str, tuple[str, ...]]] = {
    "ru": ("ru", "rU", "rd"),
    "rU": ("ru", "rU"),
    "rd": ("ru", "rd"),
}
"""What an assignment to a part of the Request-URI changes."""
_REWRITES: Final = frozenset(
    (
        "alias_db_lookup",
        "do_routing",
        "ds_next_domain",
        "ds_select_domain",
        "lookup",
        "prefix",
        "route_to_carrier",
        "route_to_gw",
        "strip",
        "strip_tail",
        "use_next_gw",
    )
)
"""Functions that may change the Request-URI."""


class _Walk:
    """Walks the statements with what must hold so far."""

    def __init__(self, routes: Sequence[tree.Route]) -> None:
        self.found = Wishes()
        self.named: dict[tuple[str, str], tree.Route] = {
            (route.kind, route_name(route)): route for route in reversed(routes)
        }
        self._visits: dict[Place, set[Facts]] = {}
        self._open: list[Place] = []
        self._same_as = _same_as(routes)
        self._writes: dict[Place, frozenset[Fact]] = {}

    def enter(self, route: tree.Route, facts: Facts) -> bool:
        """Walk a route; whether what stands behind its call may run."""
        visits = self._visits.setdefault(route.place, set())
        if facts in visits or route.place in self._open:
            return True
        if len(visits) >= _MOST_VISITS or len(self._open) >= _DEEPEST:
            self.found.complete = False
            return True
        visits.add(facts)
        self._open.append(route.place)
        falls, _ = self._body(route.body, facts, route.place)
        self._open.pop()
        return falls or _returns(route.body)

    def _body(self, statements: tree.Body, facts: Facts, route: Place) -> tuple[bool, Facts]:
        """Walk a stretch; whether it comes to its end, and what holds there."""
        if statements:
            self._goal(statements[0].place, route, facts)
        for statement in statements:
            falls, facts = self._statement(statement, facts, route)
            if not falls:
                return False, facts
        return True, facts

    def _goal(self, place: Place, route: Place, facts: Facts) -> None:
        if len(self.found.goals) < _MOST_GOALS:
            self.found.goals.append(Goal(place, route, facts))
        else:
            self.found.complete = False

    def _statement(self, node: tree.Statement, facts: Facts, route: Place) -> tuple[bool, Facts]:
        match node:
            case tree.If():
                return self._if(node, facts, route)
            case tree.Switch():
                return self._switch(node, facts, route), _joined(facts, self._written(node))
            case tree.While() | tree.ForEach():
                facts = _joined(facts, self._written(node))
                self._body(node.body, facts, route)
                return True, facts
            case tree.Run() | tree.Assign():
                falls = self._calls(node.call if isinstance(node, tree.Run) else node.value, facts)
                return falls, _joined(facts, self._written(node))
            case tree.Break() | tree.Return() | tree.Exit() | tree.Drop():
                return False, facts
            case _:
                return True, facts

    def _if(self, node: tree.If, facts: Facts, route: Place) -> tuple[bool, Facts]:
        if not self._calls(node.condition, facts):
            return False, facts
        before = _joined(facts, self._written(node.condition))
        then, after_then = self._body(node.then, _joined(before, self._facts(node.condition, True, facts)), route)
        no = _joined(before, self._facts(node.condition, False, facts))
        otherwise, after_otherwise = self._body(node.otherwise, no, route)
        if then and otherwise:
            return True, _joined(before, self._written((node.then, node.otherwise)))
        return then or otherwise, after_then if then else after_otherwise

    def _switch(self, node: tree.Switch, facts: Facts, route: Place) -> bool:
        read = self._read(node.subject, facts)
        values = [case.value.value for case in node.cases if case.value is not None]
        falls = not node.cases or node.cases[-1].value is not None
        runs_on = False
        for case in node.cases:
            more: Facts = ()
            if read is not None and not runs_on:
                wanted = values if case.value is None else [case.value.value]
                sign = "!=" if case.value is None else "=="
                more = tuple(read_fact(read, sign, value, True) for value in wanted)
            runs_on, _ = self._body(case.body, _joined(facts, more), route)
            falls = falls or runs_on or _breaks(case.body)
        return falls

    def _calls(self, node: tree.Expression, facts: Facts) -> bool:
        """Follow the calls in an expression to their routes; whether the statement may come to its end."""
        falls = True
        for item in tree.everything_in(node):
            match item:
                case tree.RouteCall(target=tree.Text(value=name)) if "$" not in name:
                    falls = self._go("route", name, facts) and falls
                case tree.RouteCall():
                    self.found.complete = False
                    for kind, name in list(self.named):
                        if kind == "route" and name:
                            self._go(kind, name, facts)
                case tree.Async(resume=tree.Text(value=name)):
                    self._go("route", name, _joined(facts, (Waited(),)))
                    falls = False
                case tree.Launch(report=tree.Text(value=name)):
                    self._go("route", name, ())
                case tree.Call(name=name, arguments=arguments) if name in _ARMS and arguments:
                    self._arm(*_ARMS[name], arguments[0], facts)
        return falls

    def _arm(self, kind: str, how: str, argument: tree.Argument | None, facts: Facts) -> None:
        if isinstance(argument, tree.Text | tree.Number) and "$" not in str(argument.value):
            self._go(kind, str(argument.value), (*facts, Came(how)) if how else facts)
        else:
            self.found.complete = False

    def _go(self, kind: str, name: str, facts: Facts) -> bool:
        route = self.named.get((kind, name))
        return route is None or self.enter(route, facts)

    # What is changed

    def _written(self, node: object) -> frozenset[Fact]:
        """What the statements change of the message, with the routes that they call."""
        found: set[Fact] = set()
        for item in tree.everything_in(node):
            match item:
                case tree.Assign(target=target) if key := variable_key(target):
                    found.update(map(Wrote, _CHANGES.get(key, (key,))))
                case tree.Call(name=name) if name in _REWRITES:
                    found.update(map(Wrote, _CHANGES["ru"]))
                case tree.RouteCall(target=tree.Text(value=name)) if route := self.named.get(("route", name)):
                    found |= self._written_by(route)
        return frozenset(found)

    def _written_by(self, route: tree.Route) -> frozenset[Fact]:
        if route.place not in self._writes:
            self._writes[route.place] = frozenset()  # of one that calls itself: what it changes is found once
            self._writes[route.place] = self._written(route.body)
        return self._writes[route.place]

    # What a condition says

    def _facts(self, node: tree.Expression, holds: bool, before: Facts) -> Facts:
        """What is certain when the condition is true, or is not."""
        found = self._said(node, holds, before)
        if Came("reply") in before:  # there the message is the reply
            return tuple(one for one in found if isinstance(one, Method | Status))
        return found

    def _said(self, node: tree.Expression, holds: bool, before: Facts) -> Facts:
        match node:
            case tree.Not():
                return self._said(node.operand, not holds, before)
            case tree.Logic():
                left, right = self._said(node.left, holds, before), self._said(node.right, holds, before)
                return left + right if (node.operator == "and") is holds else _either(left, right)
            case tree.Call(name="is_myself", arguments=[tree.Variable() as host, *_]):
                read = self._read(host, before)
                return () if read is None or read != Read(read.variable) else (Ours(read.variable, holds),)
            case tree.Call():
                return said_by(node, holds)
            case tree.Compare():
                return self._compared(node, holds, before)
            case tree.Variable():
                read = self._read(node, before)
                return () if read is None or read.number else (Reads(read, "!=", None, holds),)
            case _:
                return ()

    def _compared(self, node: tree.Compare, holds: bool, before: Facts) -> Facts:
        if not isinstance(node.left, tree.Variable):
            return ()
        if node.left.name == "rc" and Waited() in before:
            return _went(node, holds)
        read = self._read(node.left, before)
        if read is None:
            return ()
        match node.right:
            case tree.Text(value=value) | tree.Number(value=value):
                return (read_fact(read, node.operator, value, holds),)
            case tree.Null():
                return (Reads(read, node.operator, None, holds),)
            case tree.Network(text=text) if (network := network_of(text)) is not None:
                return (Reads(read, node.operator, str(network[min(1, network.num_addresses - 1)]), holds),)
            case _:
                return ()

    def _read(self, node: tree.Variable, before: Facts) -> Read | None:
        slot = slot_of(node)
        read = read_of(self._same_as.get(slot) if slot is not None else _plain(node), node.changes)
        return None if read is None or Wrote(read.variable) in before else read


def _joined(facts: Facts, more: Iterable[Fact]) -> Facts:
    """The facts and what is new; sets are put in order, or two runs of a seed would differ."""
    new = sorted(more, key=repr) if isinstance(more, frozenset) else more
    return facts + tuple(one for one in new if one not in facts)


def _either(left: Facts, right: Facts) -> Facts:
    """Of two of which one holds: two tests of the method are one; nothing is certain of others."""
    match left, right:
        case (Method(names=one, holds=True),), (Method(names=two, holds=True),):
            return (Method(one | two),)
    return ()


def _went(node: tree.Compare, holds: bool) -> Facts:
    """What comparing `$rc` says after a parking, as long as nothing else has set it: 1 is well, and below 0 is not."""
    fails = holds if node.operator in ("<", "<=") else not holds
    number = node.right.value if isinstance(node.right, tree.Number) else None
    is_known = node.operator in ("<", "<=", ">", ">=") and number in (0, 1)
    return (Waited(False),) if is_known and fails else ()


def _plain(node: tree.Variable) -> Read | None:
    key = variable_key(node)
    return None if key is None else Read(key)


def _same_as(routes: Sequence[tree.Route]) -> dict[str, Read]:
    """`$var(x)` and AVPs that are written at one place only, with nothing but a variable of the message."""
    found: dict[str, Read | None] = {}
    for item in tree.everything_in(tuple(routes)):
        match item:
            case tree.Assign(target=target, operator=operator, value=value) if slot := slot_of(target):
                copied = isinstance(value, tree.Variable) and operator in ("=", ":=")
                read = read_of(_plain(value), value.changes) if copied and isinstance(value, tree.Variable) else None
                found[slot] = None if slot in found else read
            case tree.Call(arguments=arguments) | tree.RouteCall(arguments=arguments):
                slots = [slot_of(one) for one in arguments if isinstance(one, tree.Variable)]
                found.update((slot, None) for slot in slots if slot)  # it may be written there
            case tree.ForEach(target=target) if slot := slot_of(target):
                found[slot] = None
    return {slot: read for slot, read in found.items() if read is not None}


_ARMS: Final[Mapping[str, tuple[str, str]]] = {
    "t_on_failure": ("failure_route", "failure"),
    "t_on_reply": ("onreply_route", "reply"),
    "t_on_branch": ("branch_route", ""),
}


def _leaving(statements: tree.Body) -> Iterator[tree.Statement]:
    """The statements of a stretch that may leave it, without those of loops within."""
    for statement in statements:
        match statement:
            case tree.If():
                yield from _leaving(statement.then)
                yield from _leaving(statement.otherwise)
            case tree.Break() | tree.Return():
                yield statement
            case tree.Switch() | tree.While() | tree.ForEach():
                inner = statement.cases if isinstance(statement, tree.Switch) else (statement,)
                yield from (one for each in inner for one in _leaving(each.body) if isinstance(one, tree.Return))


def _breaks(statements: tree.Body) -> bool:
    return any(isinstance(one, tree.Break) for one in _leaving(statements))


def _returns(statements: tree.Body) -> bool:
    """Whether the route may return to where it was called: `return(0)` ends the script."""
    return any(
        isinstance(one, tree.Return) and not (isinstance(one.code, tree.Number) and one.code.value == 0)
        for one in _leaving(statements)
    )
