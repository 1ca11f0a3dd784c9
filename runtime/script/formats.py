"""`$variables`, alone and inside text: `$name(inner)`, `$(<message>name(inner)[index]{family.name,argument})`, `$$`."""

from __future__ import annotations

import re
from typing import Final, Literal

from runtime.script.problems import Place
from runtime.script.tree import Format, Transformation, Variable

MAX_DEPTH: Final = 5
"""How deep variables may stand inside variables."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)*")
_PLAIN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_MESSAGE = re.compile(r"<\s*(request|reply)\s*>")
_INTEGER = re.compile(r"\s*(-?[0-9]{1,9})\s*")
_CHANGE = re.compile(r"\s*([a-z]+)\.([a-z0-9_.-]+)\s*(?:,(.*))?", re.DOTALL)
_CLOSING: Final = {"(": ")", "[": "]", "{": "}"}

_SHOWN: Final = 20
MAX_CHANGES: Final = 50
"""How many transformations one variable may have: each is a call around the ones before, and Python counts those."""

# Inside text a dot may just end a sentence, so a dotted name is read only where its first word has such names.
_DOTTED: Final = frozenset(("route", "ct", "msg", "branch", "err", "sdp", "auth", "challenge", "ruri", "from", "to"))


class NotAVariable(Exception):
    """The text after a dollar sign cannot be read; the message says why, in plain words."""


def parse_variable(text: str, place: Place, depth: int = 0) -> Variable:
    """Read one variable that is all of `text`, its dollar sign included. Raises NotAVariable."""
    if text == "$$":
        return Variable("$", None, None, (), text, place)
    variable, end = _variable_at(text, 0, place, depth, dotted=True)
    if end != len(text):
        raise NotAVariable(f'"{text[end:]}" cannot follow the variable {text[:end]}')
    return variable


def parse_format(text: str, place: Place, depth: int = 0) -> Format:
    """Read text with variables in it; `$$` is one dollar sign. Raises NotAVariable."""
    parts: list[str | Variable] = []
    plain: list[str] = []
    at = 0
    while (dollar := text.find("$", at)) >= 0:
        plain.append(text[at:dollar])
        if text.startswith("$$", dollar):
            plain.append("$")
            at = dollar + 2
            continue
        variable, at = _variable_at(text, dollar, place, depth, dotted=False)
        if any(plain):
            parts.append("".join(plain))
        plain = []
        parts.append(variable)
    plain.append(text[at:])
    if any(plain):
        parts.append("".join(plain))
    return Format(tuple(parts), place)


def split_arguments(text: str, count: int) -> list[str]:
    """Cut a transformation's argument at its commas into at most `count`; the last takes the rest, commas and all."""
    pieces: list[str] = []
    start = depth = 0
    for at, char in enumerate(text):
        if len(pieces) == count - 1:
            break
        if char in "([{":
            depth += 1
        elif char in ")]}":
            depth -= 1
        elif char == "," and depth <= 0:
            pieces.append(text[start:at])
            start = at + 1
    return [*pieces, text[start:]]


def _variable_at(text: str, start: int, place: Place, depth: int, *, dotted: bool) -> tuple[Variable, int]:
    if depth > MAX_DEPTH:
        raise NotAVariable("variables stand too deep inside one another")
    if text.startswith("(", start + 1):
        end = _closing(text, start + 1)
        return _long_form(text[start + 2 : end - 1], text[start:end], place, depth), end
    name = _name_at(text, start + 1, dotted)
    if not name:
        shown = text[start : start + 2]
        raise NotAVariable(f'"{shown}" is not a variable; a dollar sign alone is written $$')
    end = start + 1 + len(name)
    inner = None
    if text.startswith("(", end):
        closing = _closing(text, end)
        inner = parse_format(text[end + 1 : closing - 1], place, depth + 1)
        end = closing
    return Variable(name, inner, None, (), text[start:end], place), end


def _name_at(text: str, start: int, dotted: bool) -> str:
    plain = _PLAIN_NAME.match(text, start)
    if plain is None:
        return ""
    if dotted or plain[0] in _DOTTED:
        full = _NAME.match(text, start)
        assert full is not None
        return full[0]
    return plain[0]


def _long_form(body: str, text: str, place: Place, depth: int) -> Variable:
    of: Literal["", "request", "reply"] = ""
    at = 0
    if message := _MESSAGE.match(body):
        of, at = "request" if message[1] == "request" else "reply", message.end()
    name = _name_at(body, at, dotted=True)
    if not name:
        raise NotAVariable(f"{text} has no variable's name")
    at += len(name)
    inner = None
    if body.startswith("(", at):
        closing = _closing(body, at)
        inner = parse_format(body[at + 1 : closing - 1], place, depth + 1)
        at = closing
    index: int | Literal["*", "append"] | Variable | None = None
    if body.startswith("[", at):
        closing = _closing(body, at)
        index = _index(body[at + 1 : closing - 1], place, depth)
        at = closing
    changes = []
    while body.startswith("{", at):
        closing = _closing(body, at)
        changes.append(_change(body[at + 1 : closing - 1]))
        at = closing
        if len(changes) > MAX_CHANGES:
            raise NotAVariable(f"more than {MAX_CHANGES} transformations stand behind one another in {text}")
    if at != len(body):
        raise NotAVariable(f'"{body[at:]}" is not understood in {text}')
    return Variable(name, inner, index, tuple(changes), text, place, of)


def _index(text: str, place: Place, depth: int) -> int | Literal["*", "append"] | Variable:
    if text.strip() == "*":
        return "*"
    if text.strip() == "append":
        return "append"
    if number := _INTEGER.fullmatch(text):
        return int(number[1])
    if text.startswith("$"):
        return parse_variable(text, place, depth + 1)
    raise NotAVariable(f'"[{text}]" is not an index: a number, a variable or * is')


def _change(text: str) -> Transformation:
    found = _CHANGE.fullmatch(text)
    if found is None:
        raise NotAVariable(f'"{{{text}}}" is not a transformation such as {{s.len}}')
    return Transformation(found[1], found[2], found[3])


def _closing(text: str, start: int) -> int:
    """The index behind the bracket that closes the one at `start`."""
    opening = text[start]
    closing = _CLOSING[opening]
    depth = 0
    for at in range(start, len(text)):
        char = text[at]
        if char == opening:
            depth += 1
        elif char == closing:
            depth -= 1
            if depth == 0:
                return at + 1
    shown = text[: start + 1] if start < _SHOWN else f"…{text[start - _SHOWN : start + 1]}"
    raise NotAVariable(f'what "{shown}" opens has no closing {closing}')
