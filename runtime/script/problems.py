"""What can be wrong with a script: when it is loaded, and when it runs."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

MAX_MESSAGE_CHARS: Final = 1000
Severity: TypeAlias = Literal["error", "warning"]


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """Where something stands in a script file: lines and columns count from 1."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True, slots=True, order=True)
class ScriptProblem:
    """One thing that is wrong with a script, found when it is loaded.

    Args:
        place: where it stands.
        message: what is wrong, in plain words, without the place. It may quote the script: what cannot be printed
            is escaped, and what is too long is cut.
        severity: a script with an ``error`` does not load; a ``warning`` is only told.
    """

    place: Place
    message: str
    severity: Severity = "error"

    def __post_init__(self) -> None:
        if not self.message.isprintable() or len(self.message) > MAX_MESSAGE_CHARS:
            object.__setattr__(self, "message", _on_one_line(self.message))

    def __str__(self) -> str:
        return f"{self.place}: {self.severity}: {self.message}"


def _on_one_line(text: str) -> str:
    short = text if len(text) <= MAX_MESSAGE_CHARS else text[:MAX_MESSAGE_CHARS] + "…"
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in short)


class Stopped(Exception):
    """A script must not go on, for a reason in the script itself: the message says it in plain words."""


class AssertionFailed(Stopped):
    """An `assert` does not hold."""


class ScriptError(Exception):
    """A statement of a running script raised.

    Attributes:
        place: the statement, as near as the traceback tells.
        cause: what was raised.
        what: that in words, without the place.
    """

    def __init__(self, place: Place, cause: Exception) -> None:
        self.place = place
        self.cause = cause
        self.what = in_words(cause)
        super().__init__(f"{place}: {self.what}")


def in_words(cause: Exception) -> str:
    """What was raised, in a line of the log."""
    return str(cause) if isinstance(cause, Stopped) else f"{type(cause).__name__}: {cause}"


def suggestion(name: str, known: Iterable[str]) -> str:
    """`` (did you mean "x"?)`` where a known name is near, else an empty string."""
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f' (did you mean "{near[0]}"?)' if near else ""
