"""The script that a server runs, with its modules, and how a newer text of it takes over while traffic flows."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgpack

from runtime.context import Context
from runtime.errors import NotLoaded
from runtime.modules.catalog import ALWAYS, CATALOG
from runtime.script.compile import Hooks, Script, compile_script
from runtime.script.declare import Begin, Module
from runtime.script.load import Checked, load
from runtime.script.problems import Place, ScriptProblem

_BUNDLE: Final = "script"


class HookSwitch:
    """What compiled code calls back. It is compiled before any process exists and pointed at one after the fork."""

    target: Hooks

    def park(self, context: Context, begin: Begin, resume_route: str, timeout_s: int | None, place: Place) -> None:
        self.target.park(context, begin, resume_route, timeout_s, place)

    def launch(self, context: Context, begin: Begin, report_route: str | None, param: str | None, place: Place) -> int:
        return self.target.launch(context, begin, report_route, param, place)

    def log(self, level: int, text: str, context: Context, place: Place) -> None:
        self.target.log(level, text, context, place)

    def log_level(self) -> int:
        return self.target.log_level()


@dataclass(slots=True)
class Program:
    """A compiled script and its modules.

    Args:
        path: the script file.
        checked: what the checker made of it.
        script: the routes, compiled. Whoever parks a context keeps the script that it was parked under.
        modules: the instances, by name. A reload keeps them: it takes new routes, not new settings.
        generation: grows with each reload; nanoseconds of the epoch.
    """

    path: Path
    checked: Checked
    script: Script
    modules: Mapping[str, Module]
    hooks: HookSwitch
    generation: int = 0

    @classmethod
    def load(cls, path: Path) -> Program:
        """Read, check and compile a script file.

        Raises:
            NotLoaded: it has errors.
        """
        checked = _checked(path)
        modules: dict[str, Module] = {
            name: kind(checked.settings.get(name))
            for name, kind in [*ALWAYS.items(), *((name, CATALOG[name]) for name in checked.modules)]
        }
        hooks = HookSwitch()
        return cls(path, checked, compile_script(checked, modules, hooks), modules, hooks)

    def publish(self, folder: Path, generation: int) -> None:
        """Check the script file as it is now and put it where `catch_up()` finds it.

        Raises:
            NotLoaded: it has errors, or loads other modules than the running one.
        """
        sources: dict[str, bytes] = {}

        def read(path: Path) -> bytes:
            sources[str(path)] = path.read_bytes()
            return sources[str(path)]

        self._compile(read)
        scratch = folder / f"{_BUNDLE}.{os.getpid()}"
        scratch.write_bytes(msgpack.packb([generation, sources]))
        scratch.replace(folder / _BUNDLE)

    def catch_up(self, folder: Path) -> bool:
        """Take over what was published last, unless it runs already; whether something changed.

        Every process does so for itself from the same text, so that all compile the same, and a process that is
        started later does so before its first message.
        """
        try:
            generation, sources = msgpack.unpackb((folder / _BUNDLE).read_bytes())
        except FileNotFoundError:
            return False
        # The order in which two reloads reach a process says nothing; the later text wins everywhere.
        if generation <= self.generation:
            return False
        self.checked, self.script = self._compile(lambda path: bytes(sources[str(path)]))
        self.generation = generation
        return True

    def _compile(self, read: Callable[[Path], bytes]) -> tuple[Checked, Script]:
        checked = _checked(self.path, read)
        if set(checked.modules) != set(self.checked.modules):
            text = "loads other modules than the running script; a reload takes new routes only, so restart instead"
            raise NotLoaded([ScriptProblem(Place(str(self.path), 1, 1), text)])
        return checked, compile_script(checked, self.modules, self.hooks)


def _checked(path: Path, read: Callable[[Path], bytes] = Path.read_bytes) -> Checked:
    result = load(path, catalog=CATALOG, read=read)
    if isinstance(result, list):
        raise NotLoaded(result)
    return result
