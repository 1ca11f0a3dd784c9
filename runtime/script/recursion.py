"""Which routes may stand in themselves: their calls are counted at run time, all others are not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from runtime.script import tree
from runtime.script.check import route_name
from runtime.script.check_ends import callees_first


def recursive_routes(routes: tuple[tree.Route, ...]) -> set[str]:
    """The named routes from which a chain of calls leads back to them."""
    calls = {route_name(route): _called(route.body) for route in routes if route.kind == "route"}
    if any("" in names for names in calls.values()):
        return set(calls)  # a name that is computed may be any
    return {name for circle in _circles(calls) for name in circle if len(circle) > 1 or name in calls[name]}


def _called(node: object) -> set[str]:
    """The names of the routes that are called anywhere in a tree; an empty one for a name that is computed."""
    found: set[str] = set()
    for item in tree.everything_in(node):
        if isinstance(item, tree.RouteCall):
            constant = isinstance(item.target, tree.Text) and "$" not in item.target.value
            found.add(item.target.value if constant and isinstance(item.target, tree.Text) else "")
    return found


def _circles(calls: Mapping[str, set[str]]) -> Iterator[set[str]]:
    """The names in sets whose members all lead to one another (strongly connected components, as Kosaraju finds them).

    A name that leads to nothing that leads back to it is a set of its own.
    """
    callers: dict[str, list[str]] = {name: [] for name in calls}
    for name, names in calls.items():
        for one in names & calls.keys():
            callers[one].append(name)
    taken: set[str] = set()
    for start in reversed(list(callees_first(calls))):
        circle: set[str] = set()
        waiting = [start]
        while waiting:
            name = waiting.pop()
            if name not in taken:
                taken.add(name)
                circle.add(name)
                waiting.extend(callers[name])
        if circle:
            yield circle
