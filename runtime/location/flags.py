"""The flags of `save()` and `lookup()`: words of OpenSIPS 3, comma-separated, or the letters that came before. A core.

What a flags string means is worked out once for each string that a script uses.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, Final, NamedTuple

from runtime.location.contact import Matching, matching_of
from runtime.location.registration import PathRules
from runtime.sip.fields import number

_MOST: Final = 2**31 - 1


class SaveFlags(NamedTuple):
    """What ``save(domain, flags)`` was told.

    Args:
        memory_only: not to the database (``m``).
        no_reply: the script replies itself (``r``).
        socket_header: take the socket from the header that ``sock_hdr_name`` names (``s``).
        only_request_contacts: name only the request's own contacts in the 200 (``o``).
        replace_oldest: where there would be too many, let the oldest go (``f``).
        path: ``p0`` to ``p2``, ``v``.
        max_contacts, min_expires, max_expires: instead of the module's parameters (``cN``, ``eN``, ``EN``).
        matching: instead of usrloc's ``matching_mode`` (``M``).
        unknown: what is no flag, or has no proper value.
    """

    memory_only: bool = False
    no_reply: bool = False
    socket_header: bool = False
    only_request_contacts: bool = False
    replace_oldest: bool = False
    path: PathRules = PathRules()
    max_contacts: int | None = None
    min_expires: int | None = None
    max_expires: int | None = None
    matching: Matching | None = None
    unknown: tuple[str, ...] = ()


class LookupFlags(NamedTuple):
    """What ``lookup(domain, flags)`` was told.

    Args:
        no_branches: only the best contact (``b``).
        to_branches_only: all contacts become branches, and the Request-URI stays (``B``).
        branch: look the branches up too (``r``).
        method_filtering: only contacts that take the method (``m``).
        user_agent: only contacts whose User-Agent it finds (``u/regexp/``).
        unknown: what is no flag, or has no proper value.
    """

    no_branches: bool = False
    to_branches_only: bool = False
    branch: bool = False
    method_filtering: bool = False
    user_agent: re.Pattern[str] | None = None
    unknown: tuple[str, ...] = ()


_SAVE_LETTERS: Final = {
    "m": "memory-only",
    "r": "no-reply",
    "s": "socket-header",
    "o": "only-request-contacts",
    "f": "force-registration",
    "v": "path-received",
    "c": "max-contacts",
    "e": "min-expires",
    "E": "max-expires",
    "M": "matching-mode",
}
_PATHS: Final = ("path-off", "path-lazy", "path-strict")
_SAVE_WORDS: Final = frozenset((*_SAVE_LETTERS.values(), *_PATHS))
_LOOKUP_LETTERS: Final = {
    "b": "no-branches",
    "B": "to-branches-only",
    "r": "branch",
    "m": "method-filtering",
    "u": "ua-filtering",
    "i": "case-insensitive",
    "e": "extended-regexp",
    "g": "global",
    "y": "max-ping-latency",
    "Y": "sort-by-latency",
}
_LOOKUP_WORDS: Final = frozenset(_LOOKUP_LETTERS.values())
_OF_NO_EFFECT: Final = frozenset(("extended-regexp", "global", "max-ping-latency", "sort-by-latency"))
"""Taken, and without effect: regular expressions are Python's, there is no cluster, and contacts are not pinged, so
that none has a latency."""
_LETTER: Final = re.compile(r"([A-Za-z])(<[^>]*>|/(?:[^/\\]|\\.)*/|\d*)[ \t]*")
"""A letter with its value: ``c5``, ``M<line>``, ``u/regexp/``."""


@lru_cache(maxsize=256)
def save_flags(text: str) -> SaveFlags:
    """Read the flags of `save()`."""
    found: dict[str, Any] = {}
    path: dict[str, bool] = {}
    unknown = []
    for word, value in _words(text, _SAVE_WORDS, _SAVE_LETTERS):
        match word:
            case "memory-only" | "no-reply" | "socket-header" | "only-request-contacts":
                found[word.replace("-", "_")] = True
            case "force-registration":
                found["replace_oldest"] = True
            case "path-off" | "path-lazy" | "path-strict":
                path |= {"ignore": False, "reply": word != "path-off", "strict": word == "path-strict"}
            case "path-received":
                path |= {"ignore": False, "received": True}
            case "max-contacts" | "min-expires" | "max-expires" if (limit := number(value, _MOST)) is not None:
                found[word.replace("-", "_")] = limit
            case "matching-mode" if (matching := matching_of(value)) is not None:
                found["matching"] = matching
            case _:
                unknown.append(f"{word}={value}" if value else word)
    return SaveFlags(path=PathRules(**path), unknown=tuple(unknown))._replace(**found)


@lru_cache(maxsize=256)
def lookup_flags(text: str) -> LookupFlags:
    """Read the flags of `lookup()`."""
    words = list(_words(text, _LOOKUP_WORDS, _LOOKUP_LETTERS))
    found: dict[str, Any] = {}
    unknown = []
    for word, value in words:
        match word:
            case "no-branches" | "to-branches-only" | "branch" | "method-filtering":
                found[word.replace("-", "_")] = True
            case "ua-filtering" if (pattern := _pattern(value, ("case-insensitive", "") in words)) is not None:
                found["user_agent"] = pattern
            case "case-insensitive":
                pass
            case _ if word not in _OF_NO_EFFECT:
                unknown.append(f"{word}={value}" if value else word)
    return LookupFlags(unknown=tuple(unknown))._replace(**found)


def _pattern(value: str, ignore_case: bool) -> re.Pattern[str] | None:
    """A regular expression between slashes, with an ``i`` behind them for either case."""
    expression, slash, mode = value.removeprefix("/").rpartition("/")
    if value[:1] != "/" or not slash:
        return None
    try:
        return re.compile(expression, re.IGNORECASE if ignore_case or "i" in mode else 0)
    except re.error:
        return None


def _words(text: str, words: frozenset[str], letters: dict[str, str]) -> Iterator[tuple[str, str]]:
    """Each flag with its value, letters by the word that took their place."""
    for piece in _pieces(text):
        word, _, value = piece.partition("=")
        if word in words:
            yield word, value.strip()
        else:
            yield from _spelled(piece, letters)


def _pieces(text: str) -> Iterator[str]:
    """What stands between commas, where a comma within a regular expression is none."""
    rest = text
    while rest:
        at = re.match(r"[^,/]*(/(?:[^/\\]|\\.)*/)?[^,]*", rest)
        end = at.end() if at else len(rest)
        if piece := rest[:end].strip():
            yield piece
        rest = rest[end + 1 :]


def _spelled(piece: str, letters: dict[str, str]) -> Iterator[tuple[str, str]]:
    at = 0
    while at < len(piece):
        found = _LETTER.match(piece, at)
        if found is None:
            yield piece[at:], ""
            return
        letter, value = found.groups()
        at = found.end()
        if letter == "p" and letters is _SAVE_LETTERS and value in ("0", "1", "2"):
            yield _PATHS[int(value)], ""
        else:
            yield letters.get(letter, letter), value
