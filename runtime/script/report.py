"""Problems as people and editors read them: the line of the script, what is meant in it, why, and what to do."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Final, TypeAlias

from rich.cells import cell_len
from rich.text import Text

from runtime.script.problems import ScriptProblem, real_text

LineOf: TypeAlias = Callable[[str, int], str]
"""``line_of(file, line)``: that line as latin-1 text without its end; empty where there is none."""

_STYLES: Final = {"error": "bold red", "warning": "bold yellow"}
_BESIDE: Final = "cyan"
_WORD: Final = re.compile(
    r"\$[A-Za-z_][\w.]*(?:\([^()\n]{0,80}\))?|\$\([^)\n]{0,80}\)*"  # a variable
    r'|"[^"\n]{0,200}"'
    r"|[\w.]+(?=\()|[A-Za-z_][\w.]*|\d+|[=!<>:]=|=~|!~"
)
_VARIABLE: Final = re.compile(r"\$\w[\w.]*")
_CONTROLS: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
_WIDEST: Final = 160
_BEFORE: Final = 60
"""Of a line that is too long to be shown, how much stands before what is meant."""


def as_text(problem: ScriptProblem, line_of: LineOf) -> Text:
    """A problem as a compiler prints it, with styles for a terminal and without line ends at its end."""
    place = problem.place
    text = Text()
    text.append(f"{_harmless(str(place))}: ", "bold")
    text.append(f"{problem.severity}: ", _STYLES[problem.severity])
    text.append(f"{_harmless(problem.said)} ")
    text.append(f"[{problem.code}]", _STYLES[problem.severity])
    line = line_of(place.file, place.line)
    number = str(place.line)
    gutter = " " * (len(number) + 1)
    if line.strip():
        _quote(text, problem, line)
    if problem.help is not None:
        text.append(f"\n{gutter} = ", _BESIDE).append("help: ", "bold").append(problem.help)
    return text


def as_json(problem: ScriptProblem, line_of: LineOf) -> dict[str, str | int | None]:
    """A problem for editors. Columns count from 1, in bytes of the file; ``end_column`` is the first behind it."""
    place = problem.place
    line = line_of(place.file, place.line)
    return {
        "file": place.file,
        "line": place.line,
        "column": place.column,
        "end_column": place.column + _length(line, place.column - 1),
        "severity": problem.severity,
        "code": problem.code,
        "message": problem.message,
        "suggestion": problem.suggestion,
        "help": problem.help,
    }


def summary(problems: Iterable[ScriptProblem]) -> str:
    """``2 errors, 1 warning``."""
    found = list(problems)
    errors = sum(one.severity == "error" for one in found)
    counts = [(errors, "error"), (len(found) - errors, "warning")]
    return ", ".join(f"{count} {word}{'s' * (count != 1)}" for count, word in counts if count) or "no problems"


def shown(text: str) -> str:
    """A piece of a script as the text that it most likely is; nothing in it moves a cursor."""
    return _harmless(real_text(text))


def _harmless(text: str) -> str:
    return _CONTROLS.sub("\N{REPLACEMENT CHARACTER}", text)


def _quote(text: Text, problem: ScriptProblem, line: str) -> None:
    number, at = str(problem.place.line), min(problem.place.column - 1, len(line))
    length = _length(line, at)
    if len(line) > _WIDEST:
        start = max(0, min(at - _BEFORE, len(line) - _WIDEST))
        line, at = line[start : start + _WIDEST], at - start
    at, length = _within(problem.message, line, at, length)
    before, meant = shown(line[:at]), shown(line[at : at + length])
    # Tabs are kept, so that the mark stands right however wide they are shown.
    margin = "".join("\t" if char == "\t" else " " * cell_len(char) for char in before)
    mark = "^" * max(1, cell_len(meant))
    gutter = " " * (len(number) + 1)
    text.append(f"\n {number} | ", _BESIDE).append(shown(line.rstrip()))
    text.append(f"\n{gutter} | ", _BESIDE).append(f"{margin}{mark}", _STYLES[problem.severity])


def _within(message: str, line: str, at: int, length: int) -> tuple[int, int]:
    """A variable in a string has the string's place: the mark goes below the variable itself."""
    found = _VARIABLE.search(message) if line[at : at + 1] == '"' else None
    inner = line.find(found[0], at) if found else -1
    return (inner, len(found[0])) if found and inner >= 0 else (at, length)


def _length(line: str, at: int) -> int:
    """How much of the line is meant: the word that starts there."""
    found = _WORD.match(line, at)
    return found.end() - at if found else 1
