"""What can be wrong with a script: when it is loaded, and when it runs."""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, TypeAlias, get_args

MAX_MESSAGE_CHARS: Final = 1000
Severity: TypeAlias = Literal["error", "warning"]

ErrorCode: TypeAlias = Literal[
    "bad-expression",
    "bad-module",
    "bad-parameter",
    "bad-pattern",
    "bad-route",
    "bad-setting",
    "bad-statement",
    "bad-transformation",
    "bad-variable",
    "duplicate-route",
    "missing-module",
    "missing-report-route",
    "missing-resume-route",
    "not-awaited",
    "read-only-variable",
    "syntax",
    "unknown-function",
    "unknown-module",
    "unknown-parameter",
    "unknown-route",
    "unknown-setting",
    "unknown-transformation",
    "unknown-variable",
    "unreadable-file",
    "wrong-arity",
    "wrong-form",
    "wrong-route-type",
    "wrong-type",
]
WarningCode: TypeAlias = Literal[
    "blocking-call",
    "blocking-mi",
    "denied-mi-command",
    "loaded-twice",
    "mi-parameters",
    "needless-mi",
    "never-runs",
    "no-request-route",
    "reload-not-launched",
    "thread-at-load",
    "unequal-pair",
    "unknown-mi-command",
    "variable-in-text",
    "without-effect",
]
Code: TypeAlias = ErrorCode | WarningCode
"""What kind of problem it is: short, and the same for ever. Each has a paragraph in docs/checking.md."""

WARNINGS: Final[frozenset[Code]] = frozenset(get_args(WarningCode))

_MOST_NEAR: Final = 200
"""For how many unknown names a near one is looked for: it takes a millisecond each, and a broken file has thousands."""
_LONGEST_NEAR: Final = 64
_LIKE: Final = 0.6
_VERY_LIKE: Final = 0.85
_MOST_PLACES: Final = 8
_BYTES: Final = re.compile(r"[\x80-\xff]+")


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """Where something stands in a script file: lines and columns, which are bytes, count from 1."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True, slots=True)
class ScriptProblem:
    """One thing that is wrong with a script, found when it is loaded.

    Args:
        place: where it stands.
        message: what is wrong, in plain words, without the place. It may quote the script, whose bytes are then
            read as UTF-8 where they are that; what cannot be printed is escaped, and what is too long is cut.
        severity: a script with an ``error`` does not load; a ``warning`` is only told.
        code: of what kind it is.
        suggestion: the name that was most likely meant.
        help: why it matters or what to do about it, of the same kind as the message.
    """

    place: Place
    message: str
    severity: Severity = "error"
    code: Code = "syntax"
    suggestion: str | None = None
    help: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "message", _on_one_line(self.message))
        if self.help is not None:
            object.__setattr__(self, "help", _on_one_line(self.help))

    def __str__(self) -> str:
        return f"{self.place}: {self.severity}: {self.said}"

    @property
    def said(self) -> str:
        """The message, and the name that was most likely meant."""
        return f'{self.message} (did you mean "{self.suggestion}"?)' if self.suggestion else self.message


def _on_one_line(text: str) -> str:
    if text.isascii() and text.isprintable() and len(text) <= MAX_MESSAGE_CHARS:
        return text
    short = text if len(text) <= MAX_MESSAGE_CHARS else text[:MAX_MESSAGE_CHARS] + "…"
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in real_text(short))


def real_text(text: str) -> str:
    """Bytes of a script, spelled as latin-1, as the text that they most likely are."""
    return _BYTES.sub(_decoded, text)


def _decoded(found: re.Match[str]) -> str:
    try:
        return found[0].encode("latin-1").decode("utf-8")
    except UnicodeDecodeError:
        return found[0]


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

    def __init__(self, place: Place, cause: BaseException) -> None:
        self.place = place
        self.cause = cause
        self.what = in_words(cause)
        super().__init__(f"{place}: {self.what}")


def in_words(cause: BaseException) -> str:
    """What was raised, in a line of the log."""
    return str(cause) if isinstance(cause, Stopped) else f"{type(cause).__name__}: {cause}"


class Near(NamedTuple):
    """A name that is not known, those that are, and others that only one very much like them can have meant."""

    name: str
    known: Iterable[str]
    others: Iterable[str] = ()


class Problems:
    """Collects the problems of one script."""

    def __init__(self) -> None:
        self._found: list[ScriptProblem] = []
        self._once: dict[tuple[Code, str], tuple[int, list[Place]]] = {}
        self._searches = 0

    def tell(
        self,
        place: Place,
        code: Code,
        message: str,
        *,
        near: Near | None = None,
        help: str | None = None,
    ) -> None:
        """Note a problem.

        Args:
            place, code, message, help: as in `ScriptProblem`.
            near: what to look for a name in that was most likely meant.
        """
        severity: Severity = "warning" if code in WARNINGS else "error"
        self._found.append(ScriptProblem(place, message, severity, code, self._nearest(near) if near else None, help))

    def tell_once(
        self,
        name: str,
        place: Place,
        code: Code,
        message: str,
        *,
        near: Near | None = None,
        help: str | None = None,
    ) -> None:
        """Note a problem at the first place of several; of the others it is only said where they are."""
        places = self._once.setdefault((code, name), (len(self._found), []))[1]
        places.append(place)
        if len(places) == 1:
            self.tell(place, code, message, near=near, help=help)

    def sorted(self) -> list[ScriptProblem]:
        """All of them in the order of their places, each once."""
        found = list(self._found)
        for at, places in self._once.values():
            if len(places) > 1:
                also = f"also at {_listed(places)}"
                help = f"{found[at].help}; {also}" if found[at].help else also
                found[at] = dataclasses.replace(found[at], help=help)
        return sorted(set(found), key=lambda one: (one.place, one.severity, one.code, one.message))

    def _nearest(self, near: Near) -> str | None:
        if self._searches >= _MOST_NEAR or len(near.name) > _LONGEST_NEAR:
            return None
        self._searches += 1
        return _nearest(near.name, near.known, _LIKE) or _nearest(near.name, near.others, _VERY_LIKE)


def _nearest(name: str, known: Iterable[str], cutoff: float) -> str | None:
    return next(iter(difflib.get_close_matches(name, list(known), n=1, cutoff=cutoff)), None)


def _listed(places: list[Place]) -> str:
    first, *others = sorted(set(places))
    shown = [f"line {other.line}" if other.file == first.file else str(other) for other in others[:_MOST_PLACES]]
    more = len(others) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more > 0 else "")
