"""Which statements of a script were reached.

A script that is compiled with a watch marks each statement as it begins, by one byte in memory that all processes
share. One that is compiled without has nothing of it in its code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Final, NamedTuple

from runtime.script import tree
from runtime.script.check import shown
from runtime.script.problems import Place

_MARK: Final = 1
_MOST_LISTED: Final = 12


class Statement(NamedTuple):
    """A statement, and the route that it stands in, as the script writes its head."""

    place: Place
    route: str


def statements_of(routes: Iterable[tree.Route]) -> list[Statement]:
    """Every statement of a script that does something, each once, in the order of the script: `break` only leads on."""
    found: dict[Place, Statement] = {}
    for route in routes:
        for item in tree.everything_in(route.body):
            if isinstance(item, tree.Statement) and not isinstance(item, tree.Break):
                found.setdefault(item.place, Statement(item.place, shown(route)))
    return list(found.values())


class Watching:
    """What a script is to be compiled with, see `compile_script`.

    Args:
        memory: a byte for each of the statements, 0 at first and 1 once the statement was reached.
        statements: of the script. A later text of it may have others; those are not watched.

    Attributes:
        last: the statement that began last in this process.
    """

    def __init__(self, memory: memoryview, statements: Sequence[Statement]) -> None:
        self._memory = memory
        self._numbers = {statement.place: number for number, statement in enumerate(statements)}
        self.last: Place | None = None

    def __call__(self, place: Place) -> Callable[[], object]:
        """What the statement at that place calls each time."""
        number = self._numbers.get(place)
        return _nothing if number is None else partial(self._reached, number, place)

    def by_line(self) -> dict[str, dict[int, list[Callable[[], object]]]]:
        """What marks the statements of each line of each file, for a script in Python: its code marks nothing."""
        found: dict[str, dict[int, list[Callable[[], object]]]] = {}
        for place in self._numbers:
            found.setdefault(place.file, {}).setdefault(place.line, []).append(self(place))
        return found

    def _reached(self, number: int, place: Place) -> None:
        self._memory[number] = _MARK
        self.last = place


def _nothing() -> None:
    pass


class Covered(NamedTuple):
    """How much of a route was reached.

    Args:
        route: as the script writes its head.
        place: its first statement.
        reached, statements: how many of them.
        missed: the lines of statements that were not reached, in order.
    """

    route: str
    place: Place
    reached: int
    statements: int
    missed: tuple[int, ...]


def covered(statements: Sequence[Statement], reached: Iterable[int]) -> list[Covered]:
    """Sum up, route by route.

    Args:
        statements: of the script.
        reached: the numbers of those that were.
    """
    marked = set(reached)
    by_route: dict[tuple[str, str], list[int]] = {}
    for number, statement in enumerate(statements):
        by_route.setdefault((statement.route, statement.place.file), []).append(number)
    return [
        Covered(
            route,
            statements[numbers[0]].place,
            len(marked.intersection(numbers)),
            len(numbers),
            tuple(sorted({statements[number].place.line for number in numbers if number not in marked})),
        )
        for (route, _), numbers in by_route.items()
    ]


def lines_text(lines: Sequence[int]) -> str:
    """Lines as ``3-5, 9``: what lies next to each other together, and no more than a dozen stretches."""
    stretches: list[list[int]] = []
    for line in lines:
        if stretches and line == stretches[-1][1] + 1:
            stretches[-1][1] = line
        else:
            stretches.append([line, line])
    texts = [str(first) if first == last else f"{first}-{last}" for first, last in stretches[:_MOST_LISTED]]
    return ", ".join(texts) + (", …" if len(stretches) > _MOST_LISTED else "")
