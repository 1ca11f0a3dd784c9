"""Statements that can never run: behind `async()`, `exit`, `drop`, `return`, `break`, and what always ends in one."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Final, TypeAlias

from runtime.script import tree
from runtime.script.problems import Problems


class Way(enum.Enum):
    """How a statement can come to its end."""

    NEXT = "next"  # what stands behind it runs
    BREAK = "break"  # the innermost loop or switch is left
    RETURN = "return"  # the route is left
    EXIT = "exit"  # the script ends
    ASYNC = "async"  # the script ends and goes on in a resume route


Ways: TypeAlias = frozenset[Way]

_NEXT: Final[Ways] = frozenset((Way.NEXT,))
_LEAVES_A_LOOP: Final[Ways] = frozenset((Way.NEXT, Way.BREAK))
_ENDS_THE_SCRIPT: Final[Ways] = frozenset((Way.EXIT, Way.ASYNC))
_IN_RESUME: Final = "the message goes on in the resume route: put there what has to follow"


def check_ends(
    routes: Iterable[tree.Route], named: Mapping[str, tree.Route], calls: Mapping[str, set[str]], problems: Problems
) -> None:
    """Find the first statement of every stretch that can never run.

    That a function may end the script as well counts for nothing here: what is told is certain.

    Args:
        routes: all routes.
        named: those that can be called, by name.
        calls: for each of them, which it calls.
        problems: where to note what is found.
    """
    ends = _Ends(problems)
    for name in callees_first(calls):
        ends.of_route[name] = ends.body(named[name].body)
    for route in routes:
        if named.get(route.name) is not route:
            ends.body(route.body)


class _Ends:
    """What each statement may lead to, and what stands behind one that leads nowhere."""

    def __init__(self, problems: Problems) -> None:
        self.problems = problems
        self.of_route: dict[str, Ways] = {}

    def body(self, statements: tree.Body) -> Ways:
        found: set[Way] = set()
        for at, statement in enumerate(statements):
            ways = self._statement(statement)
            found |= ways
            if Way.NEXT not in ways:
                self._never_run(islice(statements, at + 1, None), statement, ways)
                return frozenset(found - {Way.NEXT})
        return frozenset(found | {Way.NEXT})

    def _never_run(self, rest: Iterable[tree.Statement], before: tree.Statement, ways: Ways) -> None:
        # `async(…); exit;` and `exit; break;` are habits that mislead nobody.
        first = next(
            (one for one in rest if not isinstance(one, tree.Exit | tree.Drop | tree.Break | tree.Return)), None
        )
        if first is not None:
            help = _IN_RESUME if Way.ASYNC in ways else None
            self.problems.tell(first.place, "never-runs", f"this never runs: {_why(before, ways)}", help=help)

    def _statement(self, node: tree.Statement) -> Ways:
        match node:
            case tree.Run():
                return self._expression(node.call)
            case tree.Assign():
                return self._expression(node.value)
            case tree.Assert():
                return self._expression(node.condition)
            case tree.If():
                return self._if(node)
            case tree.While():
                return self._while(node)
            case tree.ForEach():
                return self.body(node.body) - _LEAVES_A_LOOP | _NEXT
            case tree.Switch():
                return self._switch(node)
            case tree.Break():
                return frozenset((Way.BREAK,))
            case tree.Return():
                # A route that returns 0 ends the script.
                zero = isinstance(node.code, tree.Number) and node.code.value == 0
                return frozenset((Way.EXIT if zero else Way.RETURN,))
            case tree.Exit() | tree.Drop():
                return frozenset((Way.EXIT,))
            case tree.Log():
                return _NEXT

    def _if(self, node: tree.If) -> Ways:
        condition = self._expression(node.condition)
        if Way.NEXT not in condition:
            self._never_run((*node.then[:1], *node.otherwise[:1]), node, condition)
            return condition
        return condition - _NEXT | self.body(node.then) | self.body(node.otherwise)

    def _while(self, node: tree.While) -> Ways:
        condition = self._expression(node.condition)
        if Way.NEXT not in condition:
            self._never_run(node.body, node, condition)
            return condition
        return condition | self.body(node.body) - _LEAVES_A_LOOP | _NEXT

    def _switch(self, node: tree.Switch) -> Ways:
        cases = [self.body(case.body) for case in node.cases]
        found = frozenset().union(*cases)
        complete = bool(node.cases) and node.cases[-1].value is None
        leaves = Way.BREAK in found or not complete or Way.NEXT in cases[-1]
        return found - _LEAVES_A_LOOP | (_NEXT if leaves else frozenset())

    def _expression(self, node: tree.Expression) -> Ways:
        """What a call that is certainly made leads to."""
        match node:
            case tree.Async():
                return frozenset((Way.ASYNC,))
            case tree.RouteCall():
                return self._route_call(node)
            case tree.Not() | tree.BitNot():
                return self._expression(node.operand)
            case tree.Logic():
                return self._expression(node.left)  # whether the right side is looked at is not certain
            case tree.Compare() | tree.Binary():
                left = self._expression(node.left)
                return left - _NEXT | self._expression(node.right) if Way.NEXT in left else left
            case _:
                return _NEXT

    def _route_call(self, node: tree.RouteCall) -> Ways:
        name = node.target.value if isinstance(node.target, tree.Text) else ""
        ways = self.of_route.get(name, _NEXT)
        return ways if ways <= _ENDS_THE_SCRIPT else ways & _ENDS_THE_SCRIPT | _NEXT


def _why(before: tree.Statement, ways: Ways) -> str:
    if isinstance(before, tree.Run) and isinstance(before.call, tree.RouteCall):
        target = before.call.target
        return f"route[{target.value if isinstance(target, tree.Text) else target.text}] always ends the script"
    if ways == {Way.ASYNC}:
        return "async() ends the script, which goes on in the resume route"
    if ways == {Way.EXIT}:
        return "the script ends before it"
    if ways == {Way.RETURN}:
        return "return leaves the route before it"
    if ways == {Way.BREAK}:
        return "break leaves before it"
    return "every way through the statement before it ends the script or leaves"


def callees_first(calls: Mapping[str, set[str]]) -> Iterator[str]:
    """Every route after those that it calls; of routes in a circle one comes first. A long chain costs no stack.

    Args:
        calls: by the name of each route, the names of those that it calls; one that is no route is passed over.
    """
    seen: set[str] = set()
    for start in calls:
        waiting = [(start, False)]
        while waiting:
            name, ready = waiting.pop()
            if ready:
                yield name
            elif name not in seen and name in calls:
                seen.add(name)
                waiting.append((name, True))
                waiting.extend((callee, False) for callee in sorted(calls[name]))
