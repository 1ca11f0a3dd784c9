"""What the script's operators do with values at run time. The compiled routes call these.

An operation that cannot be done is logged and gives `NOTHING`, which no assignment takes: the variable keeps its
value and `$rc` is -1. Source: OpenSIPS's expressions, as observed; integers here have 64 bits.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from typing import Any, Final, TypeAlias

from runtime.context import Context, Value
from runtime.script.changes import integer_of
from runtime.script.patterns import MAX_TEXT_CHARS, Substitution, cached_pattern, cached_substitution
from runtime.script.problems import AssertionFailed, Place, Stopped
from runtime.script.script import Exit, Hooks, RouteCode

MAX_ROUTE_DEPTH: Final = 100
"""How often a route may stand in itself."""

_TOP: Final = 2**63 - 1
_BOTTOM: Final = -(2**63)
_ERROR: Final = -1
_WARNING: Final = 1


class Nothing:
    """The value of an operation that could not be done. It is false, and it spoils what it is put into."""

    __slots__ = ()

    def __bool__(self) -> bool:
        return False

    def __repr__(self) -> str:
        return "NOTHING"


NOTHING: Final = Nothing()
Result: TypeAlias = Value | Nothing

_ORDER: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "<": operator.lt,
    ">": operator.gt,
    "<=": operator.le,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}
_LOWER: Final = str.maketrans("ABCDEFGHIJKLMNOPQRSTUVWXYZ", "abcdefghijklmnopqrstuvwxyz")


def lowered(text: str) -> str:
    """Text with its ASCII letters in lower case: bytes beyond ASCII are not letters here."""
    return text.lower() if text.isascii() else text.translate(_LOWER)


def wrapped(number: int) -> int:
    """An integer cut to 64 bits with a sign."""
    if _BOTTOM <= number <= _TOP:
        return number
    return ((number - _BOTTOM) & (2**64 - 1)) + _BOTTOM


# Comparisons that need no log


def same(left: Value, right: Value) -> bool:
    """`==` of two variables: integers by value, everything else as text, letters in either case; NULL is NULL."""
    if left is None or right is None:
        return left is right
    if left.__class__ is right.__class__ is int:
        return left == right
    return lowered(str(left)) == lowered(str(right))


def differs(left: Value, right: Value) -> bool:
    """`!=` of two variables."""
    return not same(left, right)


def ordered(sign: str, left: Value, right: Value) -> bool:
    """`<`, `>`, `<=`, `>=` of two values: false when one is NULL."""
    if left is None or right is None:
        return False
    if left.__class__ is right.__class__ is int:
        return _ORDER[sign](left, right)
    return _ORDER[sign](lowered(str(left)), lowered(str(right)))


def same_text(left: Value, constant: str) -> bool:
    """`==` with a constant text, which is given in lower case."""
    return left is not None and lowered(str(left)) == constant


def matcher(pattern: re.Pattern[str]) -> Callable[[Value], bool]:
    """`=~` with a constant pattern: an empty text and NULL match nothing."""
    search = pattern.search

    def matches(value: Value) -> bool:
        if not isinstance(value, str):
            value = "" if value is None else str(value)
        return value != "" and search(value) is not None

    return matches


def unmatcher(pattern: re.Pattern[str]) -> Callable[[Value], bool]:
    """`!~` with a constant pattern: true for NULL, false for an empty text."""
    matches = matcher(pattern)
    return lambda value: value is None or (value != "" and not matches(value))


def return_code(value: Value) -> int:
    """The code of `return($variable)`: NULL is -1, and text is 1."""
    if isinstance(value, int):
        return value
    return -1 if value is None else 1


def assertion_failed(text: str) -> None:
    """An `assert` that does not hold ends the whole script.

    Raises:
        AssertionFailed: always.
    """
    raise AssertionFailed(text)


class Operations:
    """The operations that may have something to log."""

    def __init__(self, hooks: Hooks) -> None:
        self._hooks = hooks
        self._depth = 0

    def complain(self, c: Context, place: Place, level: int, text: str) -> None:
        """Log what went wrong, if anybody listens."""
        if level <= self._hooks.log_level():
            self._hooks.log(level, text, c, place)

    def _cannot(self, c: Context, place: Place, sign: str, left: Result, right: Result) -> Nothing:
        if left is not NOTHING and right is not NOTHING:
            self.complain(c, place, _ERROR, f"{_kind(left)} {sign} {_kind(right)} cannot be computed")
        return NOTHING

    # Arithmetic

    def add(self, c: Context, place: Place, left: Result, right: Result, textual: bool) -> Result:
        """`+`: adds integers, joins texts. Behind a text, `textual` says that an integer counts as text too."""
        if isinstance(left, int):
            if isinstance(right, int):
                return wrapped(left + right)
            return left if right is None else self._cannot(c, place, "+", left, right)
        if left is None or left.__class__ is str:
            if right is None:
                return left or ""
            if right.__class__ is str or (textual and right.__class__ is int):
                return self._join(c, place, left or "", right)
        return self._cannot(c, place, "+", left, right)

    def _join(self, c: Context, place: Place, left: Result, right: Result) -> Result:
        text = f"{left}{right}"
        return text if len(text) <= MAX_TEXT_CHARS else self.too_long(c, place)

    def too_long(self, c: Context, place: Place) -> Nothing:
        """A text has grown beyond what a script may have."""
        self.complain(c, place, _ERROR, f"a text may not grow beyond {MAX_TEXT_CHARS} characters")
        return NOTHING

    def compute(self, c: Context, place: Place, sign: str, left: Result, right: Result) -> Result:
        """Any other arithmetic or bit operation; behind an integer NULL counts as 0."""
        if isinstance(left, int):
            if right is None:
                right = 0
            if isinstance(right, int):
                if right == 0 and sign in ("/", "%"):
                    self.complain(c, place, _ERROR, "division by 0")
                    return NOTHING
                return wrapped(ARITHMETIC[sign](left, right))
        elif isinstance(left, str) and isinstance(right, str) and sign in _BITS and len(left) == len(right):
            bits = _BITS[sign]
            return "".join(chr(bits(ord(one), ord(other))) for one, other in zip(left, right, strict=True))
        return self._cannot(c, place, sign, left, right)

    def compound(self, c: Context, place: Place, sign: str, left: Result, right: Result) -> Result:
        """`+=` and its like: two integers, or two texts for `+=`."""
        if isinstance(left, int) and isinstance(right, int):
            return self.add(c, place, left, right, False) if sign == "+" else self.compute(c, place, sign, left, right)
        if sign == "+" and isinstance(left, str) and isinstance(right, str):
            return self._join(c, place, left, right)
        return self._cannot(c, place, f"{sign}=", left, right)

    def invert(self, c: Context, place: Place, value: Result) -> Result:
        """`~`."""
        if isinstance(value, int):
            return ~value
        if value is not NOTHING:
            self.complain(c, place, _ERROR, f"~ {_kind(value)} cannot be computed")
        return NOTHING

    # Comparisons

    def not_a_number(self, c: Context, place: Place, sign: str, left: Value, right: int) -> bool:
        """A comparison with a constant integer whose left side is none: NULL differs, text is an error and false."""
        if left is None:
            return sign == "!="
        self.complain(c, place, _WARNING, f"{_kind(left)} {sign} {_kind(right)} cannot be compared")
        return False

    def matches(self, c: Context, place: Place, left: Value, pattern: Value) -> bool:
        """`=~` with a pattern from a variable."""
        if left is None or left == "" or pattern is None:
            return False
        found = cached_pattern(str(pattern))
        if found is None:
            self.complain(c, place, _WARNING, "the right side of =~ is no regular expression")
            return False
        return found.search(str(left)) is not None

    def differs_from_pattern(self, c: Context, place: Place, left: Value, pattern: Value) -> bool:
        """`!~` with a pattern from a variable."""
        if left is None or pattern is None:
            return left is not pattern
        return left != "" and cached_pattern(str(pattern)) is not None and not self.matches(c, place, left, pattern)

    # Arguments, assignments, routes

    def integer(self, value: Value) -> int | None:
        """An argument that should be an integer; None when it is none."""
        return integer_of(value)

    def pattern(self, value: Value) -> re.Pattern[str] | None:
        """An argument that should be a regular expression; None when it is none."""
        return None if value is None else cached_pattern(str(value))

    def substitution(self, value: Value) -> Substitution | None:
        """An argument that should be a substitution; None when it is none."""
        return None if value is None else cached_substitution(str(value))

    def bad_argument(self, c: Context, place: Place, name: str, *named: object) -> int:
        """A function is not called since an argument is not what it wants; gives `$rc`.

        Args:
            c, place, name: who called what, and where.
            named: one after another an argument's name and what it is, which is None for what is not wanted.
        """
        wrong = next((param for param, value in zip(named[::2], named[1::2], strict=True) if value is None), "")
        self.complain(c, place, _ERROR, f'{name}() is not called: "{wrong}" is not what it takes')
        return -1

    def assign(self, c: Context, place: Place, write: Callable[..., None], *arguments: Value) -> None:
        """Assign where the variable may refuse the value."""
        try:
            write(c, *arguments)
        except ValueError as error:
            c.rc = -1
            self.complain(c, place, _ERROR, str(error))

    def route(self, c: Context, place: Place, routes: dict[str, RouteCode], name: str) -> RouteCode | None:
        """The route that a computed name names; None, and `$rc` is -1, when there is none."""
        found = routes.get(name)
        if found is None:
            c.rc = -1
            self.complain(c, place, _ERROR, f"there is no route[{name[:64]}]")
        return found

    def deeper(self, c: Context, route: RouteCode) -> Exit | None:
        """Run a route that may stand in itself, up to a depth.

        Raises:
            Stopped: it is too deep. The whole script ends: were it only this call, a route that calls itself twice
                would run for ever.
        """
        if self._depth >= MAX_ROUTE_DEPTH:
            raise Stopped(f"routes stand more than {MAX_ROUTE_DEPTH} deep in one another")
        self._depth += 1
        try:
            return route(c)
        finally:
            self._depth -= 1


def _divide(left: int, right: int) -> int:
    """C's division: towards zero."""
    quotient = abs(left) // abs(right)
    return quotient if (left < 0) == (right < 0) else -quotient


def _modulo(left: int, right: int) -> int:
    """C's remainder: of the sign of the left side."""
    remainder = abs(left) % abs(right)
    return -remainder if left < 0 else remainder


_BITS: Final[dict[str, Callable[[int, int], int]]] = {"&": operator.and_, "|": operator.or_, "^": operator.xor}
ARITHMETIC: Final[dict[str, Callable[[int, int], int]]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": _divide,
    "%": _modulo,
    **_BITS,
    "<<": lambda left, right: left << (right & 63),
    ">>": lambda left, right: left >> (right & 63),
}


def _kind(value: Result) -> str:
    if isinstance(value, str):
        return "a string"
    return "NULL" if value is None else "an integer"
