"""One text of a script and the files that it includes, and where each of its lines stands.

An include is a matter of text, as in OpenSIPS: it may stand between routes and inside one, and the file may hold
whole routes or a few statements. So files are put into one another before anything is parsed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

from runtime.script.problems import Place, ScriptProblem

MAX_SCRIPT_BYTES: Final = 4 * 1024 * 1024
"""How long a script may be with all that it includes."""
MAX_INCLUDE_DEPTH: Final = 10
MAX_FILES: Final = 500
_BYTE_ORDER_MARK: Final = "\xef\xbb\xbf"
"""What some editors put before UTF-8."""

Line: TypeAlias = tuple[str, int]
"""A line of a file: the file's name and the number of the line, which counts from 1."""

_NO_MARK: Final = r"[^*/]|\*(?!/)|/(?!\*)"
_INNER: Final = rf"/\*(?:{_NO_MARK}|/\*(?:{_NO_MARK})*\*/)*\*/"
# Comments and strings are named only to be passed over, comments as the grammar has them. A string goes to the end of
# its line at most, and a comment that nobody closes to the end of the file: so nothing is looked at twice.
_WORDS: Final = re.compile(
    rf"""(?mx)
    \#[^\n]* | /\*(?:{_NO_MARK}|{_INNER})*\*/ | /\*(?:[\s\S]*?\*/|[\s\S]*) | "(?:\\.|[^"\\\n])*+"? | '[^'\n]*'?
    | \b(?P<word>include_file|import_file)[ \t]*(?P<path>"[^"\n]+"|'[^'\n]+')
    | ^__OSSPP_(?:LINE__[ ](?P<number>\d{{1,9}}) | FILEBEGIN__[ ]"(?P<begin>[^"\n]*)" | (?P<end>FILEEND__))[ \t\r]*\n?
    """
)


@dataclass(frozen=True, slots=True)
class Source:
    """A script in one piece.

    Args:
        text: everything, decoded as latin-1.
        lines: for each line of the text, which line of which file it is.
        problems: files that could not be read.
    """

    text: str
    lines: Sequence[Line]
    problems: list[ScriptProblem]


def gather(path: Path, read: Callable[[Path], bytes]) -> Source:
    """Read a script and put what it includes in its place.

    A relative path is looked for beside the file that includes it, then in the folder that the program was started
    in. What a preprocessor passed on of OpenSIPS's own marks (`__OSSPP_LINE__`, `__OSSPP_FILEBEGIN__`,
    `__OSSPP_FILEEND__`) says which file's line comes next.

    Args:
        path: the script file.
        read: gives a file's bytes, or raises OSError.
    """
    gatherer = _Gatherer(read)
    gatherer.file([path], 0, Place(str(path), 1, 1), required=True)
    return Source("".join(gatherer.parts), gatherer.lines, gatherer.problems)


class _Gatherer:
    """Attributes: parts: the text so far; lines: what each of its lines is, the one that is being written last."""

    def __init__(self, read: Callable[[Path], bytes]) -> None:
        self.read = read
        self.parts: list[str] = []
        self.lines: list[Line] = []
        self.problems: list[ScriptProblem] = []
        self.files = 0
        self.size = 0
        self.marked: list[Line] = []

    def file(self, candidates: list[Path], depth: int, place: Place, *, required: bool) -> None:
        """Add the first of these files that there is."""
        self.files += 1
        if depth > MAX_INCLUDE_DEPTH or self.files > MAX_FILES:
            self._tell(place, f"more than {MAX_INCLUDE_DEPTH} levels or {MAX_FILES} files are included")
            return
        for path in candidates:
            try:
                text = self.read(path).decode("latin-1").removeprefix(_BYTE_ORDER_MARK)
            except FileNotFoundError:
                continue
            except (OSError, ValueError) as error:
                self._tell(place, f"cannot read {path}: {getattr(error, 'strerror', None) or error}")
                return
            self._text(text, path, depth)
            return
        if required:
            self._tell(place, f"cannot read {candidates[0]}: No such file or directory")

    def _text(self, text: str, path: Path, depth: int) -> None:
        self.size += len(text)
        self._line((str(path), 1))
        done = 0
        for found in _WORDS.finditer(text):
            if self.files > MAX_FILES or self.size > MAX_SCRIPT_BYTES:
                break
            if found["word"]:
                self._add(text[done : found.start()])
                self._include(found, path, depth)
                done = found.end()
            elif found.lastgroup in ("number", "begin", "end"):
                self._add(text[done : found.start()])
                self._mark(found)
                done = found.end()
        self._add(text[done:])

    def _include(self, found: re.Match[str], path: Path, depth: int) -> None:
        here = self.lines[-1]
        before = found.string.rfind("\n", 0, found.start())
        named = found["path"][1:-1]
        candidates = list(dict.fromkeys((path.parent / named, Path(named))))
        place = Place(*here, found.start() - before)
        self.file(candidates, depth + 1, place, required=found["word"] == "include_file")
        # What stands behind the include keeps its line and, within reason, its column.
        self._line(here)
        self.parts.append(" " * min(found.end() - before - 1, 1000))

    def _mark(self, found: re.Match[str]) -> None:
        if found["number"]:
            self.lines[-1] = (self.lines[-1][0], int(found["number"]))
        elif found["begin"] is not None:
            self.marked.append(self.lines[-1])
            self.lines[-1] = (found["begin"], 1)
        elif self.marked:
            self.lines[-1] = self.marked.pop()

    def _line(self, origin: Line) -> None:
        """Begin a line."""
        if self.lines:
            self.parts.append("\n")
        self.lines.append(origin)

    def _add(self, text: str) -> None:
        file, line = self.lines[-1]
        self.parts.append(text)
        self.lines.extend((file, line + passed) for passed in range(1, text.count("\n") + 1))

    def _tell(self, place: Place, message: str) -> None:
        self.problems.append(ScriptProblem(place, message, code="unreadable-file"))
