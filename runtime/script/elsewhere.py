"""What the modules would give that a script does not load, so that a missing `loadmodule` can be named."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Collection, Mapping

from mi_script.commands import Command, commands_of
from runtime.script.declare import Module, functions_of, variables_of


class Elsewhere:
    """Looks into the other modules when something is not known, and not before.

    Args:
        catalog: every module that could be loaded, by name.
        loaded: those that the script loads.
        unknown: the names of modules that it wants to load and cannot.

    Attributes:
        doubt: what to add to a complaint about an unknown name; None where nothing is to be added.
    """

    def __init__(self, catalog: Mapping[str, type[Module]], loaded: Collection[str], unknown: Collection[str]) -> None:
        self._others = {name: module for name, module in catalog.items() if name not in loaded}
        self.doubt = f"it may come with {_named(unknown)}, which cannot be loaded" if unknown else None

    @functools.cached_property
    def functions(self) -> dict[str, str]:
        """The module of each function that no loaded module gives."""
        return {name: module for module, kind in self._others.items() for name in functions_of(kind)}

    @functools.cached_property
    def variables(self) -> dict[str, str]:
        """The module of each variable that no loaded module gives."""
        return {name: module for module, kind in self._others.items() for name in variables_of(kind)}

    @functools.cached_property
    def commands(self) -> dict[str, Command]:
        """The MI commands that no loaded module gives, by all their names."""
        found: dict[str, Command] = {}
        for module, kind in self._others.items():
            found.update({name: command for command in commands_of(kind, module) for name in command.names})
        return found


def _named(modules: Collection[str]) -> str:
    shown = ", ".join(itertools.islice(modules, 8))
    return f"the module {shown}" if len(modules) == 1 else f"one of the modules {shown}"
