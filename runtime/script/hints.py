"""What a script's author most likely did where the parser stops: what most people get wrong, in their own words.

A list of what could stand there is right and says little where a semicolon is missing in the line above, or where a
habit of another language is at work. Each hint below knows one such mistake by the word that stands there, what had
been read, and what could have followed.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple

from lark import Token, Tree

from runtime.script.words import WORDS

ROUTE_KINDS: Final = ("route", *sorted(name for name in WORDS if name.endswith("_route")))

_COMPARISONS: Final = frozenset(("==", "!=", "<", ">", "<=", ">=", "=~", "!~"))
_OPERATORS: Final = frozenset("+-*/%|&^.")
_NAME: Final = re.compile(r"[A-Za-z_]\w*")
_CALL: Final = re.compile(r"[A-Za-z_]\w*\s*\(")
_BEGINS: Final = re.compile(r"[A-Za-z_${}]")
_HEAD: Final = re.compile(rf"\b({'|'.join(ROUTE_KINDS)})\s*$")
_CURLY: Final = re.compile(r"\xe2\x80[\x98-\x9f]")
"""Typographic quotation marks, in UTF-8."""
_PIECES: Final = re.compile(
    r"""(?sx) [{}] | \#[^\n]* | /\*(?:.*?\*/|.*) | "(?:\\.|[^"\\])*+"? | '[^']*'? """
)  # comments and strings are there to be passed over, each to the end of the text at most
_DEEPEST: Final = 100
_WIDEST: Final = 200
"""How much of a script's form is looked at, which may be no script at all."""
_UNCLOSED: Final = 'a block above this route is not closed, a "}" is missing'
_VARIABLES: Final = frozenset(("var", "avp", "hdr", "shv", "json"))
_FOREIGN: Final = {
    "then": 'there is no "then": the statement stands behind the condition',
    "elseif": 'it is written "else if"',
    "elsif": 'it is written "else if"',
    "elif": 'it is written "else if"',
    "foreach": "it is written for ($var(x) in $(avp(y)[*]))",
    "request_route": 'it is written "route"',
    "reply_route": 'it is written "onreply_route"',
}


class Hint(NamedTuple):
    """What is most likely wrong, and where: line and column of the text, or None for where the parser stopped."""

    said: str
    line: int | None = None
    column: int | None = None


@dataclass(frozen=True, slots=True)
class Stop:
    """Where the parser stopped.

    Args:
        text: the script.
        at: where it stopped, counted in characters.
        word: what stands there; empty at the end.
        expected: the grammar's names of what could stand there.
        signs: what they look like, in quotes: ``"+="``.
        read: what has been read and belongs to no finished statement, the last at the end.
    """

    text: str
    at: int
    word: str
    expected: frozenset[str]
    signs: frozenset[str]
    read: tuple[Token | Tree[Token], ...]

    @property
    def rest(self) -> str:
        """Some of what stands there."""
        return self.text[self.at : self.at + 80]

    @property
    def last(self) -> Token | Tree[Token] | None:
        """What stands before it."""
        return self.read[-1] if self.read else None

    @property
    def in_statements(self) -> bool:
        """Whether a statement could begin there."""
        return "IF" in self.expected

    @property
    def at_top(self) -> bool:
        """Whether it stands outside of all blocks."""
        return "LOADMODULE" in self.expected


def hint(stop: Stop) -> Hint | None:
    """What is most likely wrong; None where only what was expected can be told."""
    for known in _HINTS:
        found = known(stop)
        if found is not None:
            return found if isinstance(found, Hint) else Hint(found)
    return None


def unfinished(read: list[object]) -> tuple[Token | Tree[Token], ...]:
    """Of all that the parser keeps, what stands behind the last finished statement or open block."""
    kept: list[Token | Tree[Token]] = []
    for one in reversed(read):
        if not isinstance(one, Token | Tree):
            break
        if isinstance(one, Token):
            if one.type in ("LBRACE", "RBRACE", "SEMICOLON"):
                break
        elif one.data.startswith("__") or one.data == "block":
            break
        kept.append(one)
    return tuple(reversed(kept))


def _other_words(stop: Stop) -> Hint | None:
    """A word of the language in capitals, or one of another language."""
    for one in reversed(stop.read):
        token = one.children[0] if isinstance(one, Tree) and one.data == "call" else one
        if isinstance(token, Token) and token.type == "NAME" and (said := _other_word(token)):
            return Hint(said, token.line, token.column)
    said = _other_word(stop.word)
    return Hint(said) if said else None


def _other_word(word: str) -> str | None:
    small = word.lower()
    if small in _FOREIGN:
        return _FOREIGN[small]
    if word not in WORDS and small in WORDS:
        return f'it is written "{small}"'
    return None


def _marks(stop: Stop) -> str | None:
    if stop.rest.startswith("//") or (stop.rest.startswith("/") and stop.text[stop.at - 1 : stop.at] == "/"):
        return 'a comment begins with "#", or it stands between "/*" and "*/"'
    if _CURLY.match(stop.rest):
        return "text stands in straight quotation marks, \" or '"
    if stop.rest.startswith(("++", "--")):
        return f'it is written "{stop.rest[0]}= 1"'
    return None


def _equals(stop: Stop) -> str | None:
    if stop.word in _COMPARISONS and not stop.expected & {"EQUAL", "COMMA"}:
        return "the left side of a comparison is a variable or a call"
    if stop.word == "=" and '"=="' in stop.signs and "COMMA" not in stop.expected:
        return 'it assigns; "==" compares'
    if stop.word.startswith("=") and stop.text[stop.at - 1 : stop.at] == "=":
        return '"==" compares; "=" assigns'
    return None


def _brackets(stop: Stop) -> str | None:
    if not isinstance(stop.last, Token | Tree) or not _is_variable(stop.last):
        return None
    match stop.word:
        case "(":
            return "the bracket of a variable is never closed, or it is not closed in its own line"
        case "[":
            return "an index stands within a bracket around all: $(avp(x)[0])"
        case "{" if '"+="' in stop.signs:
            return "a variable's name stands in round brackets, a transformation in one around all: $(rU{s.len})"
    return None


def _is_variable(one: Token | Tree[Token]) -> bool:
    return one.type == "VARIABLE" if isinstance(one, Token) else one.data == "variable"


def _routes(stop: Stop) -> Hint | str | None:
    if stop.word in ROUTE_KINDS and stop.in_statements:
        return _unclosed(stop) or _UNCLOSED
    if not _HEAD.search(stop.text, max(0, stop.at - 40), stop.at):
        return None
    if "LSQB" in stop.expected:
        return "the name of a route stands in square brackets"
    return _unclosed(stop) or _UNCLOSED


def _blocks(stop: Stop) -> Hint | str | None:
    if stop.word == "}" and stop.at_top:
        return 'no block is open here, there is a "}" too many'
    if not stop.word and stop.in_statements:
        return _unclosed(stop) or 'a block is not closed, a "}" is missing'
    return None


def _unclosed(stop: Stop) -> Hint | None:
    """The block whose end is missing, as the indentation shows: the next "}" stands below a block around it."""
    opened: list[tuple[int, int]] = []
    for found in _PIECES.finditer(stop.text, 0, stop.at):
        at = found.start()
        head = _head_of_line(stop.text, at)
        indent = len(head) - len(head.lstrip())
        if found[0] == "{":
            opened.append((at, indent))
        elif found[0] == "}" and opened:
            begin, begins = opened.pop()
            if not head.strip() and indent != begins and any(indent == around for _, around in opened):
                line, column = stop.text.count("\n", 0, begin) + 1, begin - stop.text.rfind("\n", 0, begin)
                return Hint('this block is not closed, its "}" is missing', line, column)
        if len(opened) > _DEEPEST:
            break
    return None


def _head_of_line(text: str, at: int) -> str:
    """What stands in a line before a character, and not too far from it."""
    return text[max(0, at - _WIDEST) : at].rpartition("\n")[2].expandtabs()


def _long_strings(stop: Stop) -> str | None:
    last = stop.last
    if isinstance(last, Tree) and last.children:
        last = last.children[-1]
    if isinstance(last, Token) and last.type == "STRING" and "\n" in last:
        return f"the string before it goes over {last.count(chr(10)) + 1} lines; is it closed where it should be?"
    return None


def _ends(stop: Stop) -> Hint | None:
    """A semicolon or a bracket: it is missing behind what was read, which is often in another line."""
    if stop.in_statements or stop.at_top:
        return None
    if "SEMICOLON" in stop.expected and _BEGINS.match(stop.rest):
        missing = ";"
    elif "RPAR" in stop.expected and stop.word in ("{", "}", ";"):
        missing = ")"
    else:
        return None
    last = stop.last
    end = last if isinstance(last, Token) else getattr(last, "meta", None)
    line, column = getattr(end, "end_line", None), getattr(end, "end_column", None)
    return Hint(f'a "{missing}" is missing before "{stop.word}"', line, column)


def _forms(stop: Stop) -> str | None:
    read = {one.type for one in stop.read if isinstance(one, Token)}
    if stop.expected == {"COMMA"} and "ASYNC" in read:
        return "async() needs the route in which the message goes on: async(f(), route)"
    if stop.word in _OPERATORS and stop.expected <= {"COMMA", "RPAR"}:
        return "an argument is one value: variables stand in the text, and sums in a variable"
    if stop.expected == {"IN"}:
        return "for takes one value after another: for ($var(x) in $(avp(y)[*]))"
    return None


def _bare_words(stop: Stop) -> Hint | str | None:
    first, last = stop.read[0] if stop.read else None, stop.last
    if isinstance(first, Token) and first in _VARIABLES:
        return Hint(f"a variable begins with a dollar sign: ${first}(name)", first.line, first.column)
    if stop.expected == {"LPAR"} and isinstance(last, Token) and last.type == "NAME":
        if first is last:
            return Hint(f"a call has brackets: {last}()", last.line, last.column)
        return Hint(f'text stands in quotes, "{last}", and a call has brackets, {last}()', last.line, last.column)
    if "STRING" not in stop.expected or "LPAR" in stop.expected or not _NAME.match(stop.word):
        return None
    if _CALL.match(stop.rest):
        return "a call cannot stand here: have a variable take what it gives"
    return f'text stands in quotes: "{stop.word}"'


_HINTS: Final[tuple[Callable[[Stop], Hint | str | None], ...]] = (
    _other_words,
    _marks,
    _equals,
    _brackets,
    _routes,
    _blocks,
    _long_strings,
    _ends,
    _forms,
    _bare_words,
)
