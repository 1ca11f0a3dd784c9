"""Text that a pattern of the script matches: how traffic reaches what stands behind a `=~`."""

from __future__ import annotations

import re
import re._constants as op  # type: ignore[import-not-found]
import re._parser as parser  # type: ignore[import-not-found]
from collections.abc import Iterable
from typing import Any, Final

from runtime.script.patterns import compile_pattern
from runtime.simulation.chance import Chance

_MOST_REPEATS: Final = 3
"""How often more than it must what may repeat does so."""
_MOST_CHARS: Final = 256
_TRIES: Final = 8
_PLAIN: Final = "0123456789abcdefghijklmnopqrstuvwxyz"
_OF_A_CLASS: Final = {
    op.CATEGORY_DIGIT: "0123456789",
    op.CATEGORY_NOT_DIGIT: "abcxyz",
    op.CATEGORY_SPACE: " ",
    op.CATEGORY_NOT_SPACE: _PLAIN,
    op.CATEGORY_WORD: _PLAIN,
    op.CATEGORY_NOT_WORD: "-.!",
}


def text_like(pattern: str, chance: Chance) -> str | None:
    """A text that the pattern matches, as `=~` means it; None where none is found, as with a look-ahead."""
    try:
        compiled = compile_pattern(pattern)
        parsed = parser.parse(compiled.pattern, compiled.flags)
    except (re.error, RecursionError, OverflowError):
        return None
    for _ in range(_TRIES):
        text = _drawn(parsed, chance, {})[:_MOST_CHARS]
        if text and compiled.search(text):
            return text
    return None


def text_unlike(pattern: str, chance: Chance) -> str | None:
    """A text that the pattern does not match; None where none is found."""
    try:
        compiled = compile_pattern(pattern)
    except re.error:
        return None
    for length in range(1, _TRIES + 1):
        text = "".join(chance.pick(_PLAIN) for _ in range(length))
        if not compiled.search(text):
            return text
    return None


def _drawn(parts: Iterable[tuple[Any, Any]], chance: Chance, groups: dict[int, str]) -> str:
    return "".join(_part(kind, of, chance, groups) for kind, of in parts)


def _part(kind: Any, of: Any, chance: Chance, groups: dict[int, str]) -> str:
    """One part of a parsed pattern. What asserts something about its surroundings gives nothing: `search` is asked."""
    if kind is op.LITERAL:
        return chr(of)
    if kind is op.NOT_LITERAL:
        return chance.pick([char for char in _PLAIN if ord(char) != of])
    if kind is op.ANY:
        return chance.pick(_PLAIN)
    if kind is op.IN:
        return _one_of(of, chance)
    if kind is op.BRANCH:
        return _drawn(chance.pick(of[1]), chance, groups)
    if kind is op.SUBPATTERN:
        text = _drawn(of[3], chance, groups)
        groups[of[0]] = text
        return text
    if kind is op.GROUPREF:
        return groups.get(of, "")
    if kind in (op.MAX_REPEAT, op.MIN_REPEAT, op.POSSESSIVE_REPEAT):
        return _repeated(of, chance, groups)
    if kind is op.ATOMIC_GROUP:
        return _drawn(of, chance, groups)
    return ""


def _repeated(of: Any, chance: Chance, groups: dict[int, str]) -> str:
    least, most, inner = of
    most = min(int(most), int(least) + _MOST_REPEATS)
    found = ""
    for _ in range(int(least) + chance.below(most - int(least) + 1)):
        more = _drawn(inner, chance, groups)
        found += more
        if not more or len(found) > _MOST_CHARS:  # repeats may stand in repeats
            break
    return found


def _one_of(items: list[tuple[Any, Any]], chance: Chance) -> str:
    """A character of a class such as ``[a-f_]`` or ``[^0-9]``."""
    if items and items[0][0] is op.NEGATE:
        allowed = [char for char in _PLAIN + "-._ " if not any(_in_class(item, char) for item in items[1:])]
        return chance.pick(allowed) if allowed else ""
    kind, of = chance.pick(items)
    if kind is op.RANGE:
        return chr(of[0] + chance.below(min(of[1], 0xFF) - of[0] + 1)) if of[0] <= 0xFF else chr(of[0])
    return chance.pick(_OF_A_CLASS[of]) if kind is op.CATEGORY else chr(of)


def _in_class(item: tuple[Any, Any], char: str) -> bool:
    kind, of = item
    if kind is op.RANGE:
        return bool(of[0] <= ord(char) <= of[1])
    return char in _OF_A_CLASS[of] if kind is op.CATEGORY else ord(char) == of
