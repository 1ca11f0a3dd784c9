"""`server`, `module` and `route`: what a script in Python says of itself while it is executed.

They note down and check nothing: that is done over all of it, as over a cfg script's, once the file has been executed.
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import Any, Final, Literal, TypeAlias, TypeVar

from runtime.pyscript.call import Call
from runtime.script.problems import Place
from runtime.script.tree import RouteKind

RouteFunction: TypeAlias = Callable[[Call], Awaitable[None] | None]
Setting: TypeAlias = int | str | Sequence[int | str]

_F = TypeVar("_F", bound=RouteFunction)


@dataclass(frozen=True, slots=True)
class Said:
    """A call of `server()` or `module()`: the module's name, None for `server()`, and what it sets."""

    module: str | None
    settings: dict[str, Any]
    place: Place


@dataclass(frozen=True, slots=True)
class Registered:
    """A route: its kind and name, a timer's seconds or an event's mode, and its function."""

    kind: RouteKind
    name: str
    parameter: int | str | None
    function: RouteFunction
    place: Place


@dataclass(slots=True)
class App:
    """What a script says of itself, in order."""

    said: list[Said] = field(default_factory=list)
    routes: list[Registered] = field(default_factory=list)


_loading: list[App] = []
"""The script that is being executed, if one is."""


@contextmanager
def registering(app: App) -> Iterator[None]:
    """Let what is said meanwhile be said of this script."""
    _loading.append(app)
    try:
        yield
    finally:
        _loading.remove(app)


def server(**parameters: Setting) -> None:
    """Set global parameters, by their names in the cfg language: ``server(socket="udp:127.0.0.1:5060", log_level=3)``.

    Args:
        parameters: a list for one that may stand more than once, as ``socket`` may.
    """
    _say(None, parameters)


def module(name: str, **parameters: Setting) -> None:
    """Load a module and set its parameters: ``module("tm", fr_timeout=5)``.

    Args:
        name: the module's name, as `loadmodule` has it.
        parameters: as `modparam` has them; a list sets a parameter that collects its settings several times.
    """
    _say(name, parameters)


def _say(name: str | None, settings: dict[str, Any]) -> None:
    if _loading:
        _loading[-1].said.append(Said(name, settings, _place(sys._getframe(2))))


def _place(frame: FrameType) -> Place:
    """The call that a frame is at."""
    positions = list(frame.f_code.co_positions())[frame.f_lasti // 2]
    return Place(frame.f_code.co_filename, positions[0] or frame.f_lineno, (positions[2] or 0) + 1)


class RouteDecorators:
    """`route`: makes functions the routes of the script. ``async def`` routes can wait, plain ones cannot.

    Outside a server, as in a test that imports the script, the decorators do nothing.
    """

    def request(self, function: _F) -> _F:
        """The request route, ``route { }`` of the cfg language."""
        return _register("route", "", None, function)

    def named(self, name: str) -> Callable[[_F], _F]:
        """``route[name]``: for functions that take the name of a route, as `dlg_on_answer` does."""
        return _registers("route", name)

    def failure(self, name: str) -> Callable[[_F], _F]:
        """``failure_route[name]``, armed by ``call.t_on_failure(name)``."""
        return _registers("failure_route", name)

    def reply(self, name: str = "") -> Callable[[_F], _F]:
        """``onreply_route[name]``, armed by ``call.t_on_reply(name)``; without a name, for every reply."""
        return _registers("onreply_route", name)

    def branch(self, name: str) -> Callable[[_F], _F]:
        """``branch_route[name]``, armed by ``call.t_on_branch(name)``."""
        return _registers("branch_route", name)

    def local(self, function: _F) -> _F:
        """``local_route``: requests of the runtime's own, before they go."""
        return _register("local_route", "", None, function)

    def startup(self, function: _F) -> _F:
        """``startup_route``: once in the life of a server."""
        return _register("startup_route", "", None, function)

    def error(self, function: _F) -> _F:
        """``error_route``: requests that cannot be read."""
        return _register("error_route", "", None, function)

    def timer(self, name: str, seconds: int) -> Callable[[_F], _F]:
        """``timer_route[name, seconds]``."""
        return _registers("timer_route", name, seconds)

    def event(self, name: str, mode: Literal["sync", "async"] = "async") -> Callable[[_F], _F]:
        """``event_route[name]``: ``sync`` runs it on the time of whoever raises the event."""
        return _registers("event_route", name, mode)


route: Final = RouteDecorators()


def _registers(kind: RouteKind, name: str, parameter: int | str | None = None) -> Callable[[_F], _F]:
    if not isinstance(name, str):  # the function itself, of which nothing would come
        raise TypeError('this decorator is written with brackets: @route.reply() or @route.failure("name")')
    return lambda function: _register(kind, name, parameter, function)


def _register(kind: RouteKind, name: str, parameter: int | str | None, function: _F) -> _F:
    if _loading:
        code = function.__code__ if hasattr(function, "__code__") else None
        place = Place(code.co_filename, code.co_firstlineno, 1) if code else Place("", 1, 1)
        _loading[-1].routes.append(Registered(kind, name, parameter, function, place))
    return function
