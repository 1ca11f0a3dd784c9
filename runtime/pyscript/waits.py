"""What a script in Python can wait for: MI commands, one or several. Awaiting one parks the message."""

from __future__ import annotations

import json
from collections.abc import Generator
from functools import partial
from typing import TYPE_CHECKING, Generic, TypeVar

from mi_script.calls import Call as Command
from mi_script.commands import Json
from mi_script.script import Ending
from runtime.context import Context
from runtime.pyscript.words import Answer, clean, rc_of, to_text
from runtime.script.declare import Begin, Refused

if TYPE_CHECKING:
    from runtime.modules.mi_script import MiScript

_T = TypeVar("_T")


class Wait(Generic[_T]):
    """Something that runs elsewhere; it begins when it is awaited or launched, and only once."""

    __slots__ = ("_begun", "timeout_s", "value")

    value: _T
    """What it ended with, once it has ended."""

    def __init__(self, timeout_s: float | None) -> None:
        if timeout_s is not None and not timeout_s > 0:
            raise ValueError("a time-out is a number of seconds above 0")
        self.timeout_s = timeout_s
        self._begun = False

    def __repr__(self) -> str:
        # What a task of asyncio shows where it is given one: the route that waits is not in it.
        return f"{type(self).__name__}, which only the route itself can await; several by call.gather()"

    def begin(self) -> Begin:
        """Ask for it. Raises RuntimeError where that was done before."""
        if self._begun:
            raise RuntimeError("this has been waited for already: call it again")
        self._begun = True
        return self._begin()

    def _begin(self) -> Begin:
        raise NotImplementedError

    def __await__(self) -> Generator[Wait[_T], None, _T]:
        yield self
        return self.value


class MiCall(Wait[Answer]):
    """An MI command with its parameters, as `call.mi(…)` gives it."""

    __slots__ = ("_module", "command")

    def __init__(self, module: MiScript, command: Command, timeout_s: float | None) -> None:
        super().__init__(timeout_s)
        self._module = module
        self.command = command

    def _begin(self) -> Begin:
        return self._module.request(self.command, self._ended, self.timeout_s)

    def _ended(self, context: Context, end: Ending) -> int:
        self.value = answered(end)
        return self._module.tell(context, end)


class Gathered(Wait[list[Answer]]):
    """Several MI commands side by side and one wait for all, as `call.gather(…)` gives it."""

    __slots__ = ("_commands", "_module")

    def __init__(self, module: MiScript, commands: list[Command], timeout_s: float | None) -> None:
        super().__init__(timeout_s)
        self._module = module
        self._commands = commands

    def _begin(self) -> Begin:
        if not self._commands:
            return Refused(partial(self._ended, ends=[]))
        return self._module.request_all(self._commands, self._ended, self.timeout_s)

    def _ended(self, context: Context, ends: list[Ending]) -> int:
        self.value = [answered(end) for end in ends]
        codes = [self._module.tell(context, end) for end in ends]
        return next((rc for rc in codes if rc < 0), 1)


def command_of(name: str, by_position: tuple[Json, ...], by_name: dict[str, Json]) -> Command:
    """An MI command's call.

    Raises:
        TypeError: parameters by position and by name at the same time.
    """
    if by_position and by_name:
        raise TypeError("a command's parameters go by position or by name, not both")
    if by_name:
        return Command(name, {key: clean(value) for key, value in by_name.items()})
    return Command(name, [clean(value) for value in by_position] or None)


def answered(end: Ending) -> Answer:
    """A command's ending as scripts in Python see it."""
    if end.rc == 1 and end.value is not None:
        return Answer(rc_of(1), json.loads(end.value.encode("latin-1")))
    return Answer(rc_of(end.rc), None if end.value is None else to_text(end.value))
