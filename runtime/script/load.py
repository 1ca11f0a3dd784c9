"""Read a script with the files that it includes, and check it."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Final

from runtime.script import tree
from runtime.script.check import Checked, check, module_name
from runtime.script.declare import Module
from runtime.script.parse import parse
from runtime.script.problems import ScriptProblem
from runtime.script.sources import MAX_SCRIPT_BYTES, Line, Source, gather

IGNORED: Final = re.compile(r"#\s*layby:\s*ignore\[([a-z, -]{1,400})\]\s*$")


def read_file(path: Path) -> bytes:
    """The file's bytes, up to one more than a script may have. Raises OSError."""
    with path.open("rb") as file:
        return file.read(MAX_SCRIPT_BYTES + 1)


class ModuleFault(Exception):
    """A module of a script's own cannot be loaded; the text says why."""


def import_none(path: Path) -> type[Module]:
    """For those who run no code that a script names. Raises ModuleFault."""
    raise ModuleFault("modules of a script's own are not loaded here")


def load(
    path: Path,
    *,
    catalog: Mapping[str, type[Module]],
    always: Mapping[str, type[Module]] | None = None,
    read: Callable[[Path], bytes] = read_file,
    import_module: Callable[[Path], type[Module]] = import_none,
) -> Checked | list[ScriptProblem]:
    """Load a script: read it and what it includes, parse, check.

    Args:
        path: the script file. An included file's path is relative to the file that includes it, or else to the
            folder that the program was started in.
        catalog: every module that could be loaded, by name.
        always: the modules that every server has, by name. Without them no MI command is called unknown.
        read: gives a file's bytes, or raises OSError.
        import_module: loads a module of the script's own, ``loadmodule "folder/name.py"``; the path is relative to the
            file that names it. Raises ModuleFault.

    Returns:
        the checked script; or every problem that was found, at least one of which is an error. A warning is not told
        of a line that ends with ``# layby: ignore[code]``.
    """
    source = gather(path, read)
    parsed = parse(source.text, str(path), source.lines)
    if isinstance(parsed, list):
        return source.problems + parsed
    if source.problems:
        return source.problems
    own, faults = own_modules(parsed, catalog, import_module)
    found = check(path, parsed, {**catalog, **own}, always, _named_files(parsed).keys() - own.keys())
    problems = _heard(found if isinstance(found, list) else found.warnings, _ignored(source))
    if isinstance(found, list) or faults:
        return sorted([*faults, *problems], key=lambda one: one.place)
    return dataclasses.replace(found, own=own, warnings=problems)


def own_modules(
    items: Iterable[tree.Item],
    catalog: Mapping[str, type[Module]],
    import_module: Callable[[Path], type[Module]],
) -> tuple[dict[str, type[Module]], list[ScriptProblem]]:
    """The modules that the script brings along, and what is wrong with those that cannot be loaded."""
    found: dict[str, type[Module]] = {}
    faults: list[ScriptProblem] = []
    for name, item in _named_files(items).items():
        if name in catalog:
            said = f"there is a module {name} already; give the file another name"
            faults.append(ScriptProblem(item.place, said, code="bad-module"))
            continue
        try:
            found[name] = import_module(Path(item.place.file).parent / item.name)
        except ModuleFault as fault:
            faults.append(ScriptProblem(item.place, str(fault), code="bad-module"))
    return found, faults


def _named_files(items: Iterable[tree.Item]) -> dict[str, tree.LoadModule]:
    """By the names of the modules that the script brings along, where each is first loaded."""
    found: dict[str, tree.LoadModule] = {}
    for item in items:
        if isinstance(item, tree.LoadModule) and item.name.endswith(".py"):
            found.setdefault(module_name(item.name), item)
    return found


def _ignored(source: Source) -> dict[Line, set[str]]:
    """By line, the codes of the warnings that are not to be told."""
    if "layby:" not in source.text:
        return {}
    return {
        origin: {code.strip() for code in found[1].split(",")}
        for line, origin in zip(source.text.split("\n"), source.lines, strict=True)
        if (found := IGNORED.search(line))
    }


def _heard(problems: list[ScriptProblem], ignored: Mapping[Line, set[str]]) -> list[ScriptProblem]:
    """The problems without those that the script wants ignored."""
    return [
        one
        for one in problems
        if one.severity == "error" or one.code not in ignored.get((one.place.file, one.place.line), ())
    ]
