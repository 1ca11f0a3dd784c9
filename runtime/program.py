"""The script that a server runs, with its modules, and how a newer text of it takes over while traffic flows."""

from __future__ import annotations

import dataclasses
import os
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgpack

from runtime.clock import epoch_now
from runtime.context import Context
from runtime.errors import NotLoaded
from runtime.modules.catalog import ALWAYS, CATALOG
from runtime.script.check import Checked
from runtime.script.compile import compile_script
from runtime.script.declare import Begin, Module
from runtime.script.functions import World
from runtime.script.load import load
from runtime.script.problems import Place, ScriptProblem
from runtime.script.script import Hooks, Script

_BUNDLE: Final = "script"


WORLD: Final = World(
    wall_clock=epoch_now,
    random=secrets.SystemRandom().random,  # the kernel's: a seeded generator would be the same in every fork
    process_id=os.getpid,
    started_at=epoch_now(),
)


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
        listen: addresses from the command line, in place of the script's.
        generation: grows with each reload; nanoseconds of the epoch.
    """

    path: Path
    checked: Checked
    script: Script
    modules: Mapping[str, Module]
    hooks: HookSwitch
    listen: tuple[str, ...] = ()
    generation: int = 0

    @classmethod
    def load(cls, path: Path, listen: Sequence[str] = ()) -> Program:
        """Read, check and compile a script file.

        Args:
            path: the file.
            listen: addresses that stand in for the script's ``socket=`` lines.

        Raises:
            NotLoaded: it has errors.
        """
        checked = _checked(path, listen)
        modules: dict[str, Module] = {
            name: kind(checked.settings.get(name))
            for name, kind in [*ALWAYS.items(), *((name, CATALOG[name]) for name in checked.modules)]
        }
        hooks = HookSwitch()
        return cls(path, checked, compile_script(checked, modules, hooks, WORLD), modules, hooks, tuple(listen))

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
        checked = _checked(self.path, self.listen, read)
        if set(checked.modules) != set(self.checked.modules):
            text = "loads other modules than the running script; a reload takes new routes only, so restart instead"
            raise NotLoaded([ScriptProblem(Place(str(self.path), 1, 1), text)])
        return checked, compile_script(checked, self.modules, self.hooks, WORLD)


def _checked(path: Path, listen: Sequence[str], read: Callable[[Path], bytes] = Path.read_bytes) -> Checked:
    result = load(path, catalog=CATALOG, read=read)
    if isinstance(result, list):
        raise NotLoaded(result)
    return dataclasses.replace(result, sockets=list(listen)) if listen else result
