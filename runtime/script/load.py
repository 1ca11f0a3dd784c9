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
from runtime.script.parse import MAX_SCRIPT_BYTES, parse
from runtime.script.problems import Place, ScriptProblem

MAX_INCLUDE_DEPTH: Final = 10
MAX_FILES: Final = 500
_IGNORED: Final = re.compile(r"#\s*layby:\s*ignore\[([a-z, -]{1,400})\]\s*$")


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
        path: the script file. An included file's path is relative to the file that includes it.
        catalog: every module that could be loaded, by name.
        always: the modules whose MI commands every server has, by name. Without them no MI command is called unknown.
        read: gives a file's bytes, or raises OSError.
        import_module: loads a module of the script's own, ``loadmodule "folder/name.py"``; the path is relative to the
            file that names it. Raises ModuleFault.

    Returns:
        the checked script; or every problem that was found, at least one of which is an error. A warning is not told
        of a line that ends with ``# layby: ignore[code]``.
    """
    loader = _Loader(read)
    items = loader.items(path, depth=0)
    own = loader.own_modules(items, catalog, import_module)
    if loader.problems:
        return loader.problems
    found = check(path, items, {**catalog, **own}, always)
    if isinstance(found, list):
        return loader.heard(found)
    return dataclasses.replace(found, own=own, warnings=loader.heard(found.warnings))


class _Loader:
    def __init__(self, read: Callable[[Path], bytes]) -> None:
        self.read = read
        self.problems: list[ScriptProblem] = []
        self.files = 0
        self.ignored: dict[tuple[str, int], set[str]] = {}
        """By file and line, the codes of the warnings that are not to be told."""

    def heard(self, problems: list[ScriptProblem]) -> list[ScriptProblem]:
        """The problems without those that the script wants ignored."""
        return [
            one
            for one in problems
            if one.severity == "error" or one.code not in self.ignored.get((one.place.file, one.place.line), ())
        ]

    def items(self, path: Path, depth: int, include: tree.Include | None = None) -> list[tree.Item]:
        place = include.place if include else Place(str(path), 1, 1)
        self.files += 1
        if depth > MAX_INCLUDE_DEPTH or self.files > MAX_FILES:
            return self._tell(place, f"more than {MAX_INCLUDE_DEPTH} levels or {MAX_FILES} files are included")
        try:
            text = self.read(path).decode("latin-1")
        except (OSError, ValueError) as error:
            if include is not None and not include.required and isinstance(error, FileNotFoundError):
                return []
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            return self._tell(place, f"cannot read {path}: {reason}")
        self._note_ignored(text, str(path))
        parsed = parse(text, str(path))
        if isinstance(parsed, list):
            self.problems.extend(parsed)
            return []
        items: list[tree.Item] = []
        for item in parsed:
            if isinstance(item, tree.Include):
                items.extend(self.items(path.parent / item.path, depth + 1, item))
            else:
                items.append(item)
        return items

    def own_modules(
        self,
        items: Iterable[tree.Item],
        catalog: Mapping[str, type[Module]],
        import_module: Callable[[Path], type[Module]],
    ) -> dict[str, type[Module]]:
        """The modules that the script brings along."""
        found: dict[str, type[Module]] = {}
        for item in items:
            if not isinstance(item, tree.LoadModule) or not item.name.endswith(".py"):
                continue
            name = module_name(item.name)
            if name in catalog:
                self._tell(item.place, f"there is a module {name} already; give the file another name")
            elif name not in found:
                try:
                    found[name] = import_module(Path(item.place.file).parent / item.name)
                except ModuleFault as fault:
                    self._tell(item.place, str(fault))
        return found

    def _note_ignored(self, text: str, file: str) -> None:
        if "layby:" not in text:
            return
        for number, line in enumerate(text.split("\n"), 1):
            if found := _IGNORED.search(line):
                self.ignored[file, number] = {code.strip() for code in found[1].split(",")}

    def _tell(self, place: Place, message: str) -> list[tree.Item]:
        self.problems.append(ScriptProblem(place, message, code="unreadable-file"))
        return []
