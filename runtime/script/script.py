"""A compiled script, what it needs of the process that runs it, and how a route's run ends."""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, NamedTuple, Protocol, TypeAlias

from runtime.context import Context
from runtime.script.declare import Begin
from runtime.script.problems import Place, ScriptProblem


class Exit(enum.Enum):
    """The whole script ended, not only the route."""

    EXIT = "exit"  # exit, a function or a route that gave 0, async()
    DROP = "drop"  # drop: in a reply route and a branch route the message goes no further


EXIT: Final = Exit.EXIT
DROP: Final = Exit.DROP

RouteCode: TypeAlias = Callable[[Context], Exit | None]
"""Runs a route on a context. None when the route came to its end or returned; `$rc` is then the context's `rc`."""


class Hooks(Protocol):
    """What the process that runs scripts does for them."""

    def park(self, context: Context, begin: Begin, resume_route: str, timeout_s: int | None, place: Place) -> None:
        """`async()`: begin, and resume the context in `Routes.named[resume_route]` of the same script.

        Never resumes before this returns: the script's stack stands above it.
        """

    def launch(self, context: Context, begin: Begin, report_route: str | None, param: str | None, place: Place) -> int:
        """`launch()`: begin, and run the report route when it has ended. Gives `$rc`."""

    def log(self, level: int, text: str, context: Context, place: Place | None) -> None:
        """A line of the script's log; level -3 (alert) to 4 (debug).

        What the script itself says has no place; what is wrong with a statement has the statement's.
        """

    def log_level(self) -> int:
        """Up to which level `log` is called at all."""

    def own_log_level(self) -> int:
        """Up to which level the process itself logs."""

    def set_log_level(self, which: Literal["log", "xlog"], level: int | None) -> None:
        """Change one of the two levels in this process; None gives it back the server's."""


class Timer(NamedTuple):
    """A `timer_route[name, seconds]`."""

    name: str
    interval_s: int
    code: RouteCode


@dataclass(slots=True)
class Routes:
    """A script's routes. Of a kind without a name there is one or None; the others stand under their names.

    Args:
        request: the unnamed `route`.
        named: every `route[name]`.
        onreply: every `onreply_route`, the unnamed one under ``""``.
        event_modes: for an event route, ``sync`` or ``async`` as the script says it; ``async`` when it does not.
    """

    request: RouteCode | None = None
    named: dict[str, RouteCode] = field(default_factory=dict)
    failure: dict[str, RouteCode] = field(default_factory=dict)
    onreply: dict[str, RouteCode] = field(default_factory=dict)
    branch: dict[str, RouteCode] = field(default_factory=dict)
    local: RouteCode | None = None
    startup: RouteCode | None = None
    error: RouteCode | None = None
    timers: list[Timer] = field(default_factory=list)
    events: dict[str, RouteCode] = field(default_factory=dict)
    event_modes: dict[str, Literal["sync", "async"]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Script:
    """A script that can run. Every route raises ScriptError, and nothing else, when a statement raises.

    Args:
        path: the file that was loaded.
        routes: its routes.
        globals: the global parameters that it sets.
        sockets: the listening sockets, as they stand behind ``socket=``.
        warnings: what the checker found odd.
    """

    path: Path
    routes: Routes
    globals: dict[str, int | str]
    sockets: list[str]
    warnings: list[ScriptProblem]
