"""MI commands: how one is declared, what its handler gets, and the register of all of them.

A command has one or more **recipes**, each an ordered list of parameter names. A call fits the recipe that has
exactly its parameters; `mi_script.calls` does the matching and a handler only ever sees names that fit.
"""

from __future__ import annotations

import inspect
import itertools
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias, TypeVar, overload

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"
"""What JSON can say."""

Recipe: TypeAlias = tuple[str, ...]
Cost: TypeAlias = Literal["instant", "quick", "slow"]

PARSE_ERROR: Final = -32700
INVALID_REQUEST: Final = -32600
METHOD_NOT_FOUND: Final = -32601
INVALID_PARAMS: Final = -32602
SERVER_ERROR: Final = -32000
METHOD_AMBIGUOUS: Final = -32001

_T = TypeVar("_T")
_F = TypeVar("_F", bound=Callable[..., Any])
_MISSING: Final[Any] = object()
_MARK: Final = "_mi_commands"
_INTEGER: Final = re.compile(r"[+-]?[0-9]{1,19}")
_INTEGER_LIMIT: Final = 1 << 63
_NAME: Final = re.compile(r"[!-~]+")
_order = itertools.count()


class MiError(Exception):
    """A command's own refusal: raised by a handler, it becomes the JSON-RPC error object.

    Args:
        code: small and positive (400, 404, 480, 481, 500) for a command's own errors, or a JSON-RPC code.
        message: short; it is all that a script's return variable shows.
        data: the details, or None.
    """

    def __init__(self, code: int, message: str, data: str | None = None) -> None:
        super().__init__(code, message, data)
        self.code = code
        self.message = message
        self.data = data


class Params:
    """What a handler gets: the parameters by the names of the recipe that the call fits.

    A value of the wrong type raises `MiError` -32602; asking without a default for a name that the recipe lacks
    is the handler's own mistake and raises `KeyError`.
    """

    __slots__ = ("_values",)

    def __init__(self, values: Mapping[str, Json] | None = None) -> None:
        self._values: dict[str, Json] = dict(values or {})

    def __contains__(self, name: object) -> bool:
        return name in self._values

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Params) and self._values == other._values

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Params({self._values!r})"

    def names(self) -> list[str]:
        """The names that are there, in the order of the call."""
        return list(self._values)

    def raw(self, name: str, default: Json = _MISSING) -> Json:
        """The value as the call has it, of whatever type."""
        if default is _MISSING:
            return self._values[name]
        return self._values.get(name, default)

    @overload
    def text(self, name: str) -> str: ...
    @overload
    def text(self, name: str, default: _T) -> str | _T: ...
    def text(self, name: str, default: Any = _MISSING) -> Any:
        """A string; an integer is accepted and spelled in decimal."""
        if name not in self._values and default is not _MISSING:
            return default
        return _text(self._values[name], name)

    @overload
    def integer(self, name: str) -> int: ...
    @overload
    def integer(self, name: str, default: _T) -> int | _T: ...
    def integer(self, name: str, default: Any = _MISSING) -> Any:
        """An integer of at most 64 bits; a decimal string or a number without a fraction is accepted."""
        if name not in self._values and default is not _MISSING:
            return default
        value = _integer(self._values[name])
        if value is None:
            raise _bad_type(name)
        return value

    @overload
    def texts(self, name: str) -> list[str]: ...
    @overload
    def texts(self, name: str, default: _T) -> list[str] | _T: ...
    def texts(self, name: str, default: Any = _MISSING) -> Any:
        """An array of strings."""
        if name not in self._values and default is not _MISSING:
            return default
        value = self._values[name]
        if not isinstance(value, list):
            raise _bad_type(name)
        return [_text(item, name) for item in value]


def _text(value: Json, name: str) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise _bad_type(name)


def _integer(value: Json) -> int | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, str):
        value = int(value) if _INTEGER.fullmatch(value) else None
    if isinstance(value, float):
        value = int(value) if value.is_integer() else None
    if isinstance(value, int) and -_INTEGER_LIMIT <= value < _INTEGER_LIMIT:
        return value
    return None


def _bad_type(name: str) -> MiError:
    return MiError(INVALID_PARAMS, "Invalid params", f"Bad type for parameter '{name}'")


Handler: TypeAlias = Callable[[Params], "Json | Awaitable[Json]"]


@dataclass(frozen=True, slots=True)
class Command:
    """One MI command.

    Args:
        name: what it is called by; any printable ASCII without spaces.
        recipes: the lists of parameter names that it can be called with; `()` is the call without parameters.
        handler: runs it. Raises `MiError` to refuse; gives what JSON can say, or what is to be awaited for it.
        later: the handler is an `async def`: the command answers later and holds no process while it waits.
        module: who gives it.
        help: one paragraph.
        named_only: it cannot be called with positional parameters.
        idempotent: it may run a second time after the worker that ran it died.
        cost: how long it takes: at once, some milliseconds, or longer.
        aliases: other names of it.
        instead: what does the same in a script without the management interface: ``cache_fetch()``, ``$stat(name)``.
        positional: which recipe a positional call means where several have its number of parameters. Without
            one such a call is refused as ambiguous.
    """

    name: str
    recipes: tuple[Recipe, ...]
    handler: Handler
    later: bool = False
    module: str = ""
    help: str = ""
    named_only: bool = False
    idempotent: bool = False
    cost: Cost = "instant"
    aliases: tuple[str, ...] = ()
    instead: str = ""
    positional: tuple[Recipe, ...] = ()

    def __post_init__(self) -> None:
        for name in self.names:
            if not _NAME.fullmatch(name):
                raise ValueError(f"{name!r} cannot name an MI command")
        distinct = {frozenset(recipe) for recipe in self.recipes}
        if not distinct or sum(map(len, distinct)) < sum(map(len, self.recipes)) or len(distinct) < len(self.recipes):
            raise ValueError(f"the recipes of MI command {self.name} are none, or repeat themselves")
        counts = [len(recipe) for recipe in self.positional]
        if not set(self.positional) <= set(self.recipes) or len(set(counts)) < len(counts):
            raise ValueError(f"MI command {self.name} must prefer one of its own recipes for each count")

    @property
    def names(self) -> tuple[str, ...]:
        """Its name and then its aliases."""
        return (self.name, *self.aliases)


def command(
    name: str,
    *recipes: Recipe,
    named_only: bool = False,
    idempotent: bool = False,
    cost: Cost = "instant",
    aliases: tuple[str, ...] = (),
    instead: str = "",
    positional: Recipe | tuple[Recipe, ...] = (),
) -> Callable[[_F], _F]:
    """Declare a function ``(params) -> Json`` or a method ``(self, params) -> Json``, sync or async, as a command.

    The docstring's first paragraph becomes the command's help. Without a recipe the command takes no parameters.

    Args:
        name, recipes, named_only, idempotent, cost, aliases, instead: as in `Command`.
        positional: one preferred recipe, or a tuple of them, one for each number of parameters.

    Raises:
        ValueError: names or recipes are malformed (when the commands are read by `commands_of`).
    """
    preferred = (positional,) if positional and isinstance(positional[0], str) else positional
    mark = {
        "name": name,
        "recipes": tuple(tuple(recipe) for recipe in recipes) or ((),),
        "named_only": named_only,
        "idempotent": idempotent,
        "cost": cost,
        "aliases": tuple(aliases),
        "instead": instead,
        "positional": preferred,
    }

    def mark_it(function: _F) -> _F:
        function.__dict__.setdefault(_MARK, []).append((next(_order), mark))
        return function

    return mark_it


def commands_of(obj: object, module: str) -> list[Command]:
    """The commands that an object, a class instance or a Python module, declares, in the order of declaration."""
    found = []
    for attribute in dir(obj):
        # Looked at without being run: a property of the object is none of our business.
        member = inspect.getattr_static(obj, attribute, None)
        member = member.__func__ if isinstance(member, staticmethod | classmethod) else member
        marks = getattr(member, _MARK, ())
        found += [(order, mark, getattr(obj, attribute)) for order, mark in marks]
    return [
        Command(handler=handler, later=inspect.iscoroutinefunction(handler), module=module, help=_help(handler), **mark)
        for _, mark, handler in sorted(found, key=lambda entry: entry[0])
    ]


def _help(handler: Callable[..., Any]) -> str:
    paragraph, _, _ = inspect.cleandoc(handler.__doc__ or "").partition("\n\n")
    return " ".join(paragraph.split())


class Registry:
    """All commands of a server, found by any of their names."""

    def __init__(self, commands: list[Command] | None = None) -> None:
        self._commands: list[Command] = []
        self._by_name: dict[str, Command] = {}
        self._by_local_name: dict[str, dict[str, str]] = {}
        """For what stands behind the colon of names: the commands that have it there, each with its whole name."""
        for entry in commands or []:
            self.add(entry)

    def add(self, command: Command) -> None:
        """Register a command under its name and its aliases.

        Raises:
            ValueError: one of the names is taken.
        """
        for name in command.names:
            if name in self._by_name or command.names.count(name) > 1:
                raise ValueError(f"there are two MI commands named {name!r}")
        self._commands.append(command)
        self._by_name.update(dict.fromkeys(command.names, command))
        for name in command.names:
            module, colon, local = name.rpartition(":")
            if module and colon:
                self._by_local_name.setdefault(local, {}).setdefault(command.name, name)

    def extend(self, commands: list[Command]) -> None:
        """Register several."""
        for entry in commands:
            self.add(entry)

    def find(self, name: str) -> Command | None:
        """The command of that name or alias; else the only one that has the name behind its module's, `module:name`."""
        found = self._by_name.get(name)
        if found is None and len(meant := self._by_local_name.get(name, ())) == 1:
            return self._by_name[next(iter(meant))]
        return found

    def called(self, name: str) -> list[str]:
        """The whole names, `module:name`, of all commands that have the name behind their module's."""
        return list(self._by_local_name.get(name, {}).values())

    def names(self) -> list[str]:
        """The commands' own names, sorted."""
        return sorted(command.name for command in self._commands)

    def all_names(self) -> list[str]:
        """The names and the aliases, sorted: everything that `find` knows."""
        return sorted(self._by_name)

    def __iter__(self) -> Iterator[Command]:
        return iter(self._commands)

    def __len__(self) -> int:
        return len(self._commands)
