"""What there is to be named, in a script and on the management interface: one list, made of the declarations.

`layby which` searches it and the pages of the reference (`runtime.script.pages`) are made of it. Nothing here knows a
name by itself, so neither can differ from what the checker and the compiler go by.
"""

from __future__ import annotations

import difflib
import enum
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from mi_script.commands import Command
from runtime.context import RouteType
from runtime.script.access import ROUTE_KINDS
from runtime.script.changes import Change, Wants
from runtime.script.declare import Event, Function, Param, Parameter, Variable
from runtime.script.settings import Global
from runtime.script.variables import ContextVariable, Inner
from runtime.script.words import Word

CORE: Final = "core"
"""The module of what is there without a `loadmodule`."""


class Sort(enum.Enum):
    """What a name is."""

    WORD = "word"
    MODULE = "module"
    FUNCTION = "function"
    VARIABLE = "variable"
    TRANSFORMATION = "transformation"
    COMMAND = "MI command"
    PARAMETER = "module parameter"
    GLOBAL = "global parameter"
    STATISTIC = "statistic"
    EVENT = "event"


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing that has a name.

    Args:
        sort: what it is.
        name: what it is found by, without ornaments.
        title: as one writes it.
        module: who gives it.
        doc: what it does, in paragraphs.
        facts: what else is declared of it, each with a word for what it is.
    """

    sort: Sort
    name: str
    title: str
    module: str
    doc: str
    facts: tuple[tuple[str, str], ...] = ()

    @property
    def short(self) -> str:
        """The name as one writes it, without its parameters."""
        match self.sort:
            case Sort.FUNCTION:
                return f"{self.name}()"
            case Sort.VARIABLE:
                return f"${self.name}"
            case Sort.TRANSFORMATION:
                return f"{{{self.name}}}"
            case _:
                return self.title

    @property
    def names(self) -> tuple[str, ...]:
        """What it is found by."""
        match self.sort:
            case Sort.PARAMETER:
                return self.name, self.title
            case Sort.STATISTIC:
                return self.name, self.name.partition(":")[2]
            case Sort.COMMAND:
                also = dict(self.facts).get("also")
                return (self.name, *also.split(", ")) if also else (self.name,)
            case _:
                return (self.name,)


@dataclass(frozen=True, slots=True)
class ModuleFacts:
    """What one module declares.

    Args:
        name: OpenSIPS's name for it.
        intro: what it is for, in paragraphs.
        load: how a script loads it; empty for what is always there.
        functions, variables, parameters, commands, events: its declarations.
        statistics: full names, ``group:name``, each with what it says.
    """

    name: str
    intro: str
    load: str = ""
    functions: Sequence[Function] = ()
    variables: Sequence[ContextVariable | Variable] = ()
    parameters: Sequence[Parameter] = ()
    commands: Sequence[Command] = ()
    statistics: Sequence[tuple[str, str]] = ()
    events: Sequence[Event] = ()


def entries_of(module: ModuleFacts) -> Iterator[Entry]:
    """A module, and everything that it gives a name to."""
    load = (("load", module.load),) if module.load else ()
    yield Entry(Sort.MODULE, module.name, module.name, module.name, module.intro, load)
    yield from map(_function, module.functions)
    for variable in module.variables:
        yield _variable(variable, module.name)
    for command in module.commands:
        yield _command(command, module.name)
    for parameter in module.parameters:
        yield _parameter(parameter, module.name)
    for name, doc in module.statistics:
        yield Entry(Sort.STATISTIC, name, name, module.name, doc)
    for event in module.events:
        yield _event(event, module.name)


def language_entries(
    words: Iterable[Word], changes: Mapping[tuple[str, str], Change], globals_: Iterable[Global]
) -> Iterator[Entry]:
    """Everything that the language gives a name to beside functions and variables."""
    for word in words:
        yield Entry(Sort.WORD, word.name, word.name, CORE, word.doc, (("form", word.form),))
    for (family, name), change in changes.items():
        yield _transformation(f"{family}.{name}", change)
    yield from map(_global, globals_)


def _function(found: Function) -> Entry:
    arguments = ", ".join(f"[{param.name}]" if param.optional else param.name for param in found.params)
    facts = [(param.name, _kind(param)) for param in found.params]
    facts.append(("routes", _routes(found.routes)))
    if found.begin is not None:
        facts.append(("asynchronous", f"async({found.name}(...), route) and launch({found.name}(...))"))
    return Entry(Sort.FUNCTION, found.name, f"{found.name}({arguments})", found.module, found.doc, tuple(facts))


def _kind(param: Param) -> str:
    return f"{param.kind.value}; may be left out" if param.optional else param.kind.value


def _routes(routes: RouteType) -> str:
    if routes == RouteType.ANY:
        return "any"
    return ", ".join(name for kind, name in ROUTE_KINDS.items() if kind & routes)


def _variable(found: ContextVariable | Variable, module: str) -> Entry:
    access = "read only" if found.set is None else "read and write"
    facts = [("access", access)]
    title = f"${found.name}"
    if isinstance(found, ContextVariable):
        title += {Inner.NO: "", Inner.MAY: "[(name)]", Inner.MUST: "(name)"}[found.inner]
        if found.all is not None:
            facts.append(("index", f"$({found.name}{'' if found.inner is Inner.NO else '(name)'}[0]), or [*] for all"))
    return Entry(Sort.VARIABLE, found.name, title, module, found.doc, tuple(facts))


_ARGUMENTS: Final = {Wants.TEXT: "text", Wants.INTEGER: "integer", Wants.SUBSTITUTION: "/pattern/replacement/flags"}


def _transformation(name: str, change: Change) -> Entry:
    needed = len(change.wants) - change.optional
    words = [_ARGUMENTS[wants] for wants in change.wants]
    arguments = "".join(f",{word}" if at < needed else f"[,{word}]" for at, word in enumerate(words))
    return Entry(Sort.TRANSFORMATION, name, f"{{{name}{arguments}}}", CORE, change.doc)


def _command(found: Command, module: str) -> Entry:
    facts = [("call", " ".join((found.name, *recipe))) for recipe in found.recipes]
    if found.named_only:
        facts.append(("parameters", "by name only"))
    facts.append(("answer", "later, without holding a process" if found.later else "at once"))
    if found.cost != "instant":
        facts.append(("cost", found.cost))
    facts.append(("idempotent", "yes" if found.idempotent else "no"))
    if found.aliases:
        facts.append(("also", ", ".join(found.aliases)))
    return Entry(Sort.COMMAND, found.name, found.name, module, found.help, tuple(facts))


def _parameter(found: Parameter, module: str) -> Entry:
    facts = _setting(found, None if found.repeats else _shown(found.default))
    return Entry(Sort.PARAMETER, found.name, f"{module}.{found.name}", module, found.doc, facts)


def _global(found: Global) -> Entry:
    facts = _setting(found, None if found.default is None else _shown(found.default))
    return Entry(Sort.GLOBAL, found.name, found.name, CORE, found.doc, facts)


def _setting(found: Parameter | Global, default: str | None) -> tuple[tuple[str, str], ...]:
    kind = "integer" if found.kind is int else "string"
    value = ("value", f"{kind}, and may be set several times" if found.repeats else kind)
    return (value,) if default is None else (value, ("default", default))


def _shown(value: object) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value)


def _event(found: Event, module: str) -> Entry:
    facts = (("parameters", ", ".join(found.params)),)
    return Entry(Sort.EVENT, found.name, found.name, module, found.doc, facts)


# Finding

_ORNAMENTS: Final = " \t$(){}"
_BEHIND: Final = re.compile(r"[(\[{,]")


def find(entries: Iterable[Entry], wanted: str) -> list[Entry]:
    """What has that name, as a script spells it or plainly: ``$ru``, ``t_relay()``, ``{s.len}``, ``tm.T1_timer``."""
    plain, sorts = _plain(wanted), _sorts(wanted)
    return [entry for entry in entries if plain in entry.names and entry.sort in sorts]


def near(entries: Iterable[Entry], wanted: str, most: int = 3) -> list[str]:
    """What has a name like that, the nearest first."""
    known = {name.lower(): entry.short for entry in entries for name in entry.names}
    found = difflib.get_close_matches(_plain(wanted).lower(), known, n=most, cutoff=0.6)
    return list(dict.fromkeys(known[name] for name in found))


def _sorts(wanted: str) -> Iterable[Sort]:
    """What the spelling of a name lets it be."""
    match wanted.strip()[:1], wanted.strip()[-1:]:
        case "$", _:
            return (Sort.VARIABLE,)
        case "{", _:
            return (Sort.TRANSFORMATION,)
        case _, ")":
            return (Sort.FUNCTION, Sort.WORD)
        case _:
            return Sort


def _plain(wanted: str) -> str:
    """The name alone: without a dollar sign, and without what stands in brackets."""
    text = wanted.strip().lstrip("$").strip("{}").lstrip("(")
    return _BEHIND.split(text, maxsplit=1)[0].strip(_ORNAMENTS)
