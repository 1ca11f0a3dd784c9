"""The pages of the reference, made of the declarations and of nothing else: Markdown texts by file name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from runtime.script.changes import Change
from runtime.script.reference import CORE, Entry, ModuleFacts, Sort, entries_of, language_entries
from runtime.script.settings import Global
from runtime.script.words import Word

MADE: Final = "<!-- Made by `layby reference` of the declarations in the sources: change those. -->"
"""What each page begins with."""
_SECTIONS: Final = {
    Sort.FUNCTION: "Functions",
    Sort.VARIABLE: "Variables",
    Sort.PARAMETER: "Parameters",
    Sort.COMMAND: "MI commands",
    Sort.EVENT: "Events",
    Sort.STATISTIC: "Statistics",
}
_TABLES: Final = {
    Sort.VARIABLE: ("variable", ("access", "index")),
    Sort.PARAMETER: ("parameter", ("value", "default")),
    Sort.STATISTIC: ("statistic", ()),
}
"""What is a table and not a paragraph each: the head of its first column, and the facts that are columns."""


def pages(
    modules: Sequence[ModuleFacts],
    words: Iterable[Word],
    changes: Mapping[tuple[str, str], Change],
    globals_: Iterable[Global],
) -> dict[str, str]:
    """Every page of the reference.

    Args:
        modules: what each declares, in the order of the index.
        words, changes, globals_: what the language has beside.

    Returns:
        Texts by file name; each ends with a line end.
    """
    language = list(language_entries(words, changes, globals_))
    found = {f"{module.name}.md": _text(_module(module)) for module in modules}
    found["words.md"] = _text(_words(language))
    found["transformations.md"] = _text(_transformations(language))
    found["globals.md"] = _text(_globals(language))
    found["index.md"] = _text(_index(modules))
    return found


def _text(lines: Iterable[str]) -> str:
    return "\n".join((MADE, "", *lines)).rstrip("\n") + "\n"


def _index(modules: Sequence[ModuleFacts]) -> Iterator[str]:
    yield from ("# Reference", "")
    yield "What a script may name, and what the management interface answers to. On the command line `layby which NAME`"
    yield from ("says the same of one name.", "")
    yield "- [The words of the language](words.md)"
    yield "- [Global parameters](globals.md)"
    yield "- [The core](core.md): what is there without a `loadmodule`"
    yield from ("- [Transformations](transformations.md)", "")
    yield "How it all goes together is in [the grammar](../../runtime/script/grammar.lark), and how to add to it in"
    yield from ("[A module of one's own](../extending.md).", "", "## Modules", "")
    rows = ((f"[{one.name}]({one.name}.md)", one.intro.partition("\n\n")[0]) for one in modules if one.name != CORE)
    yield from _table(("module", "what it is for"), rows)
    yield from ("## Names", "")
    yield "In the head of a function, brackets stand around what may be left out. A string may have variables in it, an"
    yield from ("integer may be a string of digits, and in place of both a variable may stand.", "")
    yield from _names(modules)


def _names(modules: Sequence[ModuleFacts]) -> Iterator[str]:
    every = [entry for module in modules for entry in entries_of(module)]
    for sort in (Sort.FUNCTION, Sort.VARIABLE, Sort.COMMAND, Sort.EVENT):
        yield from (f"### {_SECTIONS[sort]} by name", "")
        found = sorted((entry for entry in every if entry.sort is sort), key=lambda entry: entry.name.lower())
        yield from (", ".join(f"[{_code(entry.short)}]({entry.module}.md)" for entry in found), "")


def _module(module: ModuleFacts) -> Iterator[str]:
    yield from ("# The core" if module.name == CORE else f"# Module {module.name}", "", module.intro, "")
    if module.load:
        yield from ("```", module.load, "```", "")
    entries = list(entries_of(module))
    for sort, heading in _SECTIONS.items():
        found = [entry for entry in entries if entry.sort is sort]
        if found:
            yield from (f"## {heading}", "")
            yield from _rows(sort, found) if sort in _TABLES else _paragraphs(found)


def _rows(sort: Sort, entries: Sequence[Entry]) -> Iterator[str]:
    first, columns = _TABLES[sort]
    rows = []
    for entry in entries:
        facts = dict(entry.facts)
        title = entry.name if sort is Sort.PARAMETER else entry.title
        rows.append((_code(title), *(facts.get(column, "") for column in columns), _one_line(entry.doc)))
    yield from _table((first, *columns, "meaning"), rows)


def _paragraphs(entries: Sequence[Entry]) -> Iterator[str]:
    for entry in sorted(entries, key=lambda entry: entry.name.lower()):
        yield from (f"### {_code(entry.title)}", "", entry.doc, "")
        yield from (f"- {word}: {_code(text) if word == 'call' else _escaped(text)}" for word, text in entry.facts)
        yield ""


def _words(language: Iterable[Entry]) -> Iterator[str]:
    yield from ("# The words of the language", "")
    words = [entry for entry in language if entry.sort is Sort.WORD]
    rows = ((_code(one.title), _code(dict(one.facts)["form"]), _one_line(one.doc)) for one in words)
    yield from _table(("word", "how it is written", "what it does"), rows)


def _transformations(language: Iterable[Entry]) -> Iterator[str]:
    yield from ("# Transformations", "")
    yield "They stand behind a variable, one after the other: `$(ru{uri.user}{s.len})`. NULL stays NULL, and what"
    yield from ("cannot be done gives NULL.", "")
    families: dict[str, list[Entry]] = {}
    for entry in language:
        if entry.sort is Sort.TRANSFORMATION:
            families.setdefault(entry.name.partition(".")[0], []).append(entry)
    for family, entries in families.items():
        yield from (f"## {family}", "")
        rows = ((_code(one.title), _one_line(one.doc)) for one in entries)
        yield from _table(("transformation", "what it gives"), rows)


def _globals(language: Iterable[Entry]) -> Iterator[str]:
    found = [entry for entry in language if entry.sort is Sort.GLOBAL]
    without = [entry for entry in found if entry.doc.startswith("No effect")]
    yield from ("# Global parameters", "")
    columns = ("parameter", "value", "default", "meaning")
    yield from _table(columns, (_global_row(entry) for entry in found if entry not in without))
    yield from ("## Without effect", "")
    yield from ("OpenSIPS has them; here they are accepted, so that its scripts run as they are.", "")
    yield from _table(columns, map(_global_row, without))


def _global_row(entry: Entry) -> tuple[str, str, str, str]:
    facts = dict(entry.facts)
    return _code(entry.title), facts["value"], facts.get("default", ""), _one_line(entry.doc)


# Markdown


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield f"|{'---|' * len(head)}"
    yield from (f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in rows)
    yield ""


def _code(text: str) -> str:
    return f"`{text}`"


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _escaped(text: str) -> str:
    return text.replace("*", "\\*")
