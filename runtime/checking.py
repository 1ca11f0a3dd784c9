"""`layby check`: everything that is wrong with script files, found without starting or opening anything."""

from __future__ import annotations

import functools
import io
import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import typer
from rich.console import Console

from runtime.errors import NotLoaded, SettingsError
from runtime.program import Program, place_of
from runtime.script.problems import ScriptProblem
from runtime.script.report import as_json, as_text, summary
from runtime.settings import settle

_HOST: Final = "127.0.0.1"


def problems_of(path: Path) -> list[ScriptProblem]:
    """All problems of a script file.

    The script may be meant for another machine, so any name of an interface is taken for one.
    """
    warnings: list[ScriptProblem] = []
    try:
        program = Program.load(path, interfaces=lambda name: (_HOST,))
        warnings = program.warnings()
        settle(program.checked.globals, program.checked.sockets)
    except NotLoaded as error:
        return error.problems
    except SettingsError as error:
        return [problem_of(path, error), *warnings]
    return warnings


def problem_of(path: Path, error: SettingsError) -> ScriptProblem:
    """A wrong setting as a problem of the script, at its place where one can be found."""
    return ScriptProblem(place_of(path, error.word), str(error), code="bad-setting")


def print_report(problems: list[ScriptProblem], *, stderr: bool = False) -> None:
    """Print problems for people, with colours on a terminal, and how many there are."""
    _take_every_character()
    console = Console(stderr=stderr, highlight=False, soft_wrap=True)
    lines = _Lines()
    for problem in problems:
        console.print(as_text(problem, lines.line), end="\n\n")
    console.print(summary(problems))


def print_json(problems: Iterable[ScriptProblem]) -> None:
    """Print problems for editors: an array of objects, in ASCII, so that it is JSON whatever the locale says."""
    lines = _Lines()
    typer.echo(json.dumps([as_json(problem, lines.line) for problem in problems], indent=2))


def _take_every_character() -> None:
    """Scripts quote anything, and a terminal may know little of it: the rest is escaped."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


class _Lines:
    """The lines of script files, as they are now."""

    def __init__(self) -> None:
        self._of = functools.cache(_lines_of)

    def line(self, file: str, number: int) -> str:
        lines = self._of(file)
        return lines[number - 1] if number <= len(lines) else ""


def _lines_of(file: str) -> list[str]:
    try:
        return Path(file).read_text("latin-1").split("\n")
    except OSError:
        return []
