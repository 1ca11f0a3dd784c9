"""The reference of this very server: what its modules declare, gathered, and written as pages."""

from __future__ import annotations

import dataclasses
import inspect
import sys
from collections.abc import Iterable, Sequence
from itertools import chain
from pathlib import Path

from mi_script.builtin import Builtin
from mi_script.commands import Command, Registry, commands_of
from runtime.counters import COUNTERS, GAUGES
from runtime.modules.base import RuntimeModule
from runtime.modules.catalog import ALWAYS, CATALOG
from runtime.script.declare import Module, functions_of, variables_of
from runtime.script.functions import Core
from runtime.script.pages import MADE, pages
from runtime.script.reference import CORE, Entry, ModuleFacts, entries_of, language_entries
from runtime.script.settings import GLOBALS
from runtime.script.transformations import CHANGES
from runtime.script.variable_table import CONTEXT_VARIABLES
from runtime.script.words import WORDS

_OF_ALL = ("async", "mi", "dns", "sql", "cdb")
"""Groups of statistics, beside its own, that the core's page has."""


def gather(modules: Iterable[type[Module]] = tuple(CATALOG.values())) -> list[ModuleFacts]:
    """What the core and these modules declare."""
    return [_core_facts(), *map(_facts, sorted(modules, key=lambda module: module.name))]


def every_entry(facts: Iterable[ModuleFacts]) -> list[Entry]:
    """All names of these modules and of the language."""
    named = [entry for module in facts for entry in entries_of(module)]
    return [*named, *language_entries(WORDS.values(), CHANGES, GLOBALS.values())]


def write_reference(out: Path) -> list[Path]:
    """Write the pages of the reference into a folder, and take away those that it had and that are no more.

    Raises:
        OSError: they cannot be written.
    """
    out.mkdir(parents=True, exist_ok=True)
    found = pages(gather(), WORDS.values(), CHANGES, GLOBALS.values())
    for path in out.glob("*.md"):
        if path.name not in found and path.read_text(encoding="utf-8", errors="replace").startswith(MADE):
            path.unlink()
    for name, text in found.items():
        (out / name).write_text(text, encoding="utf-8")
    return [out / name for name in found]


def _facts(module: type[Module]) -> ModuleFacts:
    return ModuleFacts(
        module.name,
        _intro(module),
        f'loadmodule "{module.name}.{"so" if CATALOG.get(module.name) is module else "py"}"',
        functions=list(functions_of(module).values()),
        variables=list(variables_of(module).values()),
        parameters=module.parameters,
        commands=commands_of(module, module.name),
        statistics=_statistics(module.name, [module]),
        events=module.events if issubclass(module, RuntimeModule) else (),
    )


def _core_facts() -> ModuleFacts:
    always: list[type[Module]] = [Core, *ALWAYS.values()]
    commands: list[Command] = commands_of(Builtin(Registry()), CORE)
    for module in ALWAYS.values():
        commands += commands_of(module, CORE)
    return ModuleFacts(
        CORE,
        "What is there without a `loadmodule`.",
        functions=[dataclasses.replace(one, module=CORE) for kind in always for one in functions_of(kind).values()],
        variables=[*CONTEXT_VARIABLES.values(), *variables_of(Core).values()],
        commands=sorted(commands, key=lambda command: command.name),
        statistics=[*chain.from_iterable(map(_counted, _OF_ALL)), *_statistics(CORE, list(ALWAYS.values()))],
        events=[event for module in ALWAYS.values() for event in module.events],
    )


def _statistics(name: str, modules: Sequence[type[Module]]) -> list[tuple[str, str]]:
    """What is always counted in the group of that name, and what these modules count."""
    found = _counted(name)
    for module in modules:
        if issubclass(module, RuntimeModule):
            group = module.group or module.name
            for names in (module.counters, module.computed):
                found += [(one if ":" in one else f"{group}:{one}", doc) for one, doc in names.items()]
    return found


def _counted(group: str) -> list[tuple[str, str]]:
    return [(f"{group}:{name}", doc) for table in (COUNTERS, GAUGES) for name, doc in table.get(group, {}).items()]


def _intro(module: type[Module]) -> str:
    """What the head of the module's file says, or of the class where a file has several modules."""
    head = inspect.cleandoc(sys.modules[module.__module__].__doc__ or "")
    start = f"Module {module.name}: "
    text = head[len(start) :] if head.startswith(start) else inspect.cleandoc(module.__doc__ or "")
    return text[:1].upper() + text[1:]
