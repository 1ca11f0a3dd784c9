"""What a transformation is: `{family.name,arguments}` behind a variable's name.

Each takes the value as text (an integer in decimal) and the arguments, and gives a value. NULL stays NULL, and what
cannot be done gives NULL, as does a text that is too long already.
"""

from __future__ import annotations

import enum
import functools
import inspect
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from runtime.context import Value
from runtime.script.patterns import MAX_TEXT_CHARS, cached_substitution, parse_substitution
from runtime.sip.fields import split_outside


class Wants(enum.Enum):
    """What an argument is."""

    TEXT = enum.auto()
    INTEGER = enum.auto()
    SUBSTITUTION = enum.auto()


Apply: TypeAlias = Callable[..., Value]


@dataclass(frozen=True, slots=True)
class Change:
    """One transformation.

    Args:
        apply: ``apply(text, *arguments) -> Value``; a left-out optional argument is not passed.
        wants: its arguments.
        optional: how many of the last ones may be left out.
        doc: what it gives, in a sentence or two for the reference.
    """

    apply: Apply
    wants: tuple[Wants, ...] = ()
    optional: int = 0
    doc: str = ""


MAX_DIGITS: Final = 64
"""As many as an integer of 64 bits has in base 2: with zeros in front no number needs more."""

CHANGES: Final[dict[tuple[str, str], Change]] = {}
"""Every transformation by family and name."""


def integer_of(value: Value) -> int | None:
    """An argument as an integer; None when it is none."""
    if isinstance(value, int):
        return value
    text = (value or "").strip()
    digits = text[1:] if text[:1] in ("-", "+") else text
    if not (digits.isascii() and digits.isdecimal() and len(digits) <= MAX_DIGITS):
        return None
    number = int(text)
    return number if -(2**63) <= number < 2**63 else None


def problem_with(change: Change, arguments: list[str]) -> str:
    """What is wrong with constant arguments, in plain words; empty when nothing is."""
    for wants, argument in zip(change.wants, arguments, strict=False):
        if wants is Wants.INTEGER and integer_of(argument) is None:
            return f'"{argument}" is not a number'
        if wants is Wants.SUBSTITUTION:
            try:
                parse_substitution(argument)
            except re.error as error:
                return str(error)
    return ""


def bound(change: Change, arguments: Sequence[Value]) -> Callable[[Value], Value]:
    """The transformation with constant arguments, which are converted here and now."""
    converted = _converted(change, arguments)
    apply = change.apply

    def run(value: Value) -> Value:
        if value is None or converted is None:
            return None
        text = value if value.__class__ is str else str(value)
        return apply(text, *converted) if len(text) <= MAX_TEXT_CHARS else None

    return run


def unbound(change: Change) -> Apply:
    """The transformation as ``run(value, *arguments)``, for arguments that hold variables."""

    def run(value: Value, *arguments: Value) -> Value:
        return bound(change, arguments)(value)

    return run


def _converted(change: Change, arguments: Sequence[Value]) -> list[object] | None:
    converted: list[object] = []
    for wants, argument in zip(change.wants, arguments, strict=False):
        item = _CONVERT[wants](argument)
        if item is None:
            return None
        converted.append(item)
    return converted


_CONVERT: Final[dict[Wants, Callable[[Value], object | None]]] = {
    Wants.TEXT: lambda value: None if value is None else str(value),
    Wants.INTEGER: integer_of,
    Wants.SUBSTITUTION: lambda value: cached_substitution(str(value)),
}


def holds_variables(wants: Wants, argument: str) -> bool:
    """Whether an argument is to be read as text with variables: a pattern's dollar sign is its end of line."""
    if wants is Wants.SUBSTITUTION:
        return _VARIABLE.match(argument) is not None
    return "$" in argument


_VARIABLE: Final = re.compile(r"\s*\$[(A-Za-z_]")


@functools.lru_cache(maxsize=1024)
def change_named(family: str, name: str) -> Change | None:
    """The transformation of that name; None when there is none.

    The name-addrs of a list have an index before the name: ``nameaddr.1.uri``, ``nameaddr.-1.uri``.
    """
    found = CHANGES.get((family, name))
    index, _, rest = name.partition(".")
    at = integer_of(index)
    inner = CHANGES.get((family, rest)) if found is None and family == "nameaddr" and at is not None else None
    return found if inner is None or at is None else _of_list(inner, at)


def _of_list(inner: Change, index: int) -> Change:
    def apply(text: str, *arguments: object) -> Value:
        values = split_outside(text, ",")
        return inner.apply(values[index], *arguments) if -len(values) <= index < len(values) else None

    return Change(apply, inner.wants, inner.optional, inner.doc)


def change(names: str, *wants: Wants, optional: int = 0) -> Callable[[Apply], Apply]:
    """Declare a transformation under one or more names, separated by blanks; its docstring is its `doc`."""

    def declare(apply: Apply) -> Apply:
        for name in names.split():
            family, _, rest = name.partition(".")
            CHANGES[family, rest] = Change(apply, wants, optional, inspect.getdoc(apply) or "")
        return apply

    return declare
