"""Text to tree, or to a problem in plain words."""

from __future__ import annotations

import dataclasses
import functools
import importlib.resources
import re
from collections.abc import Iterable, Sequence
from typing import Final

from lark import Lark, Token, UnexpectedCharacters, UnexpectedInput, UnexpectedToken

from runtime.script.build import Builder
from runtime.script.hints import ROUTE_KINDS, Stop, hint, unfinished
from runtime.script.problems import Place, ScriptProblem
from runtime.script.sources import MAX_SCRIPT_BYTES, Line
from runtime.script.tree import Item

MAX_DEPTH: Final = 120
"""How deep blocks and expressions may stand in one another. Python's own compiler gives up a good deal later."""
MAX_SYNTAX_ERRORS: Final = 10
"""How many errors of form are told in one run."""

_SHOWN: Final = 6
_WORD = re.compile(r"[\x80-\xff]+|\$?\w+|[=!<>:]=|=~|!~|/\*|\S")
_ENDS: Final = frozenset(('";"', '")"', '"}"', '"]"'))


def _quoted(words: str) -> frozenset[str]:
    return frozenset(f'"{word}"' for word in words.split())


# Where an item begins for all that one can tell: at the beginning of a line.
_ITEM = re.compile(rf"(?m)^(?:(?:{'|'.join(ROUTE_KINDS)})\s*[\[{{]|loadmodule\s*[\"']|modparam\s*\()")

_GROUPS: Final = {
    "an operator": _quoted("and && or || + - * / % & | ^ << >> == != < > <= >= =~ !~"),
    "an assignment": _quoted("= := += -= *= /= %= &= |= ^="),
    "a statement": _quoted("if while for switch break exit drop return assert route async launch {")
    | {"a $variable", "a name"},
    "a route": _quoted(" ".join(ROUTE_KINDS)),
    "a value": _quoted("null NULL not ! ~ ( [ + - route async launch")
    | {"a $variable", "a name", "a number", "a string"},
}
_NAMED: Final = {
    "NAME": "a name",
    "NUMBER": "a number",
    "BOOLEAN": "a number",
    "MEM_GROUP": "a name",
    "STRING": "a string",
    "VARIABLE": "a $variable",
    "RAW": "a value",
    "IP": "an IP address",
    "$END": "the end of the file",
}


def parse(text: str, file: str, lines: Sequence[Line] = ()) -> tuple[Item, ...] | list[ScriptProblem]:
    """Parse one script.

    Args:
        text: the script, decoded as latin-1.
        file: its name in every place.
        lines: which line of which file each line of the text is, where it is not all of one file.

    Returns:
        the items at its top, or what is wrong: errors of form, at most one in a route, or every unreadable variable
        and number.
    """
    if len(text) > MAX_SCRIPT_BYTES:
        return [ScriptProblem(Place(file, 1, 1), f"the script is larger than {MAX_SCRIPT_BYTES} bytes")]
    builder = Builder(file, lines)
    try:
        raw = _parser().parse(text)
    except UnexpectedInput as error:
        return _syntax_errors(error, text, builder)
    items: tuple[Item, ...] = builder.transform(raw)
    if too_deep := _too_deep(items):
        builder.problems.append(ScriptProblem(too_deep, f"more than {MAX_DEPTH} levels stand in one another"))
    return builder.problems or items


@functools.cache
def _parser() -> Lark:
    grammar = importlib.resources.files("runtime.script").joinpath("grammar.lark").read_text(encoding="ascii")
    return Lark(grammar, parser="lalr", propagate_positions=True, maybe_placeholders=True)


def _syntax_errors(error: UnexpectedInput | None, text: str, builder: Builder) -> list[ScriptProblem]:
    """This first error and those behind it: after each one the parser goes on at the next item."""
    problems: list[ScriptProblem] = []
    while error is not None and len(problems) < MAX_SYNTAX_ERRORS:
        line, column, said = _told(error, text)
        problems.append(ScriptProblem(builder.place(line, column), said))
        text, error = _behind(text, _where(error, text)[0])
    return problems


def _behind(text: str, line: int) -> tuple[str, UnexpectedInput | None]:
    """The text with nothing but line ends before the next item that begins behind this line, and its first error."""
    start = 0
    for _ in range(line):
        start = text.find("\n", start) + 1 or len(text)
    item = _ITEM.search(text, start)
    if item is None:
        return text, None
    text = "\n" * text.count("\n", 0, item.start()) + text[item.start() :]
    try:
        _parser().parse(text)
    except UnexpectedInput as error:
        return text, error
    return text, None


def _where(error: UnexpectedInput, text: str) -> tuple[int, int]:
    if isinstance(error, UnexpectedToken) and error.token.type == "$END":
        return _end_of(text)
    if not isinstance(error, UnexpectedToken | UnexpectedCharacters) or error.line < 1:
        return _end_of(text)
    return error.line, error.column


def _end_of(text: str) -> tuple[int, int]:
    body = text.rstrip()
    return body.count("\n") + 1, len(body) - body.rfind("\n")


def _told(error: UnexpectedInput, text: str) -> tuple[int, int, str]:
    """Line, column and what is wrong, in words."""
    line, column = _where(error, text)
    match error:
        case UnexpectedToken():
            stop = _stop(error, text)
            found = hint(stop)
            if stop.word == "/*":
                return line, column, "this comment is never closed"
            if found is not None and found.line is not None and found.column is not None:
                return found.line, found.column, found.said
            said = found.said if found is not None else f"expected {_listed(stop.expected)}"
            return line, column, f"{_unexpected(error.token, stop)}: {said}"
        case UnexpectedCharacters():
            return line, column, _unexpected_character(error, text)
        case _:
            return line, column, "this is not understood"


def _unexpected(token: Token, stop: Stop) -> str:
    if token.type == "$END":
        return "the file ends too early"
    return f"unexpected {str(token)[:30]}" if token.type == "STRING" else f'unexpected "{stop.word}"'


def _stop(error: UnexpectedToken, text: str) -> Stop:
    token = error.token
    at = len(text) if token.type == "$END" or token.start_pos is None else token.start_pos
    expected = frozenset(error.accepts or error.expected)
    signs = frozenset(map(_word, expected))
    read = unfinished(list(getattr(error.state, "value_stack", ())))
    return Stop(text, at, "" if at == len(text) else _short(token), expected, signs, read)


def _unexpected_character(error: UnexpectedCharacters, text: str) -> str:
    at = error.pos_in_stream or 0
    expected = set(error.allowed or ())
    if text[at : at + 1] in ('"', "'") and "STRING" in expected:
        return "this string is never closed"
    if text[at : at + 1] == "$" and "VARIABLE" in expected:
        return "this is not a variable, or one whose bracket is not closed in its own line"
    word = _short(text[at : at + 40])
    found = hint(Stop(text, at, word, frozenset(expected), frozenset(map(_word, expected)), ()))
    return f'unexpected "{word}": {found.said if found is not None else f"expected {_listed(expected)}"}'


def _short(text: str) -> str:
    """The word that the text starts with."""
    found = _WORD.match(text.lstrip())
    return found[0][:30] if found else text[:1]


def _listed(terminals: Iterable[str]) -> str:
    """What could stand there, the end of the statement first: it is what is mostly missing."""
    words = {_word(name) for name in terminals if name not in ("WHITE", "COMMENT")}
    for kind, group in _GROUPS.items():
        if len(words & group) > 2 and (kind != "a statement" or '"if"' in words):
            words = (words - group) | {kind}
    ordered = sorted(words, key=_importance)
    if len(ordered) > _SHOWN:
        ordered = [*ordered[: _SHOWN - 1], "…"]
    if len(ordered) == 1:
        return ordered[0]
    return f"{', '.join(ordered[:-1])} or {ordered[-1]}" if ordered else "something else"


def _importance(word: str) -> tuple[bool, bool, str]:
    return word not in _ENDS, word.startswith('"'), word


@functools.cache
def _word(terminal: str) -> str:
    if terminal in _NAMED:
        return _NAMED[terminal]
    found = [known.pattern.value for known in _parser().terminals if known.name == terminal]
    return f'"{found[0]}"' if found else terminal.lower()


def _too_deep(items: tuple[Item, ...]) -> Place | None:
    """Where the tree is deeper than the checker and the compiler, which are recursive, want to go."""
    waiting: list[tuple[object, int, Place | None]] = [(items, 0, None)]
    while waiting:
        node, depth, place = waiting.pop()
        if depth > MAX_DEPTH:
            return place
        if isinstance(node, tuple):
            waiting.extend((child, depth, place) for child in node)
        elif dataclasses.is_dataclass(node) and not isinstance(node, Place):
            place = getattr(node, "place", place)
            waiting.extend(
                (getattr(node, field.name), depth + 1, place)
                for field in dataclasses.fields(node)
                if field.name != "place"
            )
    return None
