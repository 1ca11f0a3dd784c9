"""`layby which`: what a name is, or all names, from the same declarations as the checker and the reference."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from textwrap import fill
from typing import Final

from runtime.modules.catalog import ALWAYS
from runtime.program import Program
from runtime.reference import every_entry, gather
from runtime.script.declare import Module
from runtime.script.reference import Entry, Sort, find, near

_WIDTH: Final = 100


def names_of(script: Path | None, module: str | None) -> list[Entry]:
    """All names: of every module there is, or of those that a script loads; of one module where it is named.

    Raises:
        NotLoaded: the script has errors.
        SettingsError: a module does not take its parameters.
    """
    facts = gather() if script is None else gather(_loaded_by(script))
    return [entry for entry in every_entry(facts) if module is None or entry.module == module]


def _loaded_by(script: Path) -> list[type[Module]]:
    return [type(module) for name, module in Program.load(script).modules.items() if name not in ALWAYS]


def described(entries: Sequence[Entry], wanted: str) -> list[str]:
    """What a name is, as lines; none where there is nothing of that name."""
    return [line for entry in find(entries, wanted) for line in (*_described(entry), "")][:-1]


def unknown(entries: Sequence[Entry], wanted: str) -> str:
    """What to say of a name that there is not."""
    found = near(entries, wanted)
    return f"nothing is named {wanted}" + (f" (did you mean {', '.join(found)}?)" if found else "")


def listed(entries: Iterable[Entry]) -> Iterator[str]:
    """All names by what they are, as lines."""
    by_sort: dict[Sort, list[str]] = {}
    for entry in entries:
        by_sort.setdefault(entry.sort, []).append(entry.title)
    for sort, titles in by_sort.items():
        yield f"{sort.value}s ({len(titles)})"
        yield from (f"    {title}" for title in sorted(titles, key=str.lower))


def _described(entry: Entry) -> Iterator[str]:
    of = "" if entry.sort in (Sort.MODULE, Sort.WORD) else f" of {entry.module}"
    yield f"{entry.title}    {entry.sort.value}{of}"
    for paragraph in entry.doc.split("\n\n"):
        yield fill(" ".join(paragraph.split()), _WIDTH, initial_indent="    ", subsequent_indent="    ")
    yield from (f"    {word}: {text}" for word, text in entry.facts)
