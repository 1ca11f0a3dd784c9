"""The script's regular expressions: POSIX extended ones, read by Python's `re`."""

from __future__ import annotations

import re
import warnings
from typing import Final, NamedTuple

from runtime.script.kept import kept

MAX_PATTERN_CHARS: Final = 4096
MAX_TEXT_CHARS: Final = 1024 * 1024
"""How long a script may make a text: a loop that doubles one must end in an error, not in the process's memory."""

_CLASSES: Final = {
    "[:alnum:]": "0-9A-Za-z",
    "[:alpha:]": "A-Za-z",
    "[:blank:]": r" \t",
    "[:cntrl:]": r"\x00-\x1f\x7f",
    "[:digit:]": "0-9",
    "[:graph:]": r"\x21-\x7e",
    "[:lower:]": "a-z",
    "[:print:]": r"\x20-\x7e",
    "[:punct:]": r"!-/:-@\[-`{-~",
    "[:space:]": r"\s",
    "[:upper:]": "A-Z",
    "[:xdigit:]": "0-9A-Fa-f",
}


def compile_pattern(text: str, *, ignore_case: bool = True) -> re.Pattern[str]:
    """A pattern as the script's `=~` means it: ASCII letters in either case, and `.` matches a line end too.

    Raises:
        re.error: it is no pattern, or longer than 4096 characters.
    """
    if len(text) > MAX_PATTERN_CHARS:
        raise re.error(f"the pattern is longer than {MAX_PATTERN_CHARS} characters")
    for name, chars in _CLASSES.items():
        text = text.replace(name, chars)
    flags = re.DOTALL | re.ASCII | (re.IGNORECASE if ignore_case else re.NOFLAG)
    try:
        # `re` keeps a cache and warnings of its own; a pattern such as "[[a]" is no more than odd here.
        return _compile(text, flags)
    except (OverflowError, RecursionError) as error:
        raise re.error("the pattern is too large") from error


def _compile(text: str, flags: re.RegexFlag) -> re.Pattern[str]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        warnings.simplefilter("ignore", DeprecationWarning)
        return re.compile(text, flags)


@kept(512)
def cached_pattern(text: str) -> re.Pattern[str] | None:
    """The pattern that a variable held; None when it is none."""
    try:
        return compile_pattern(text)
    except re.error:
        return None


class Substitution(NamedTuple):
    """``/pattern/replacement/flags`` of `{re.subst}`."""

    pattern: re.Pattern[str]
    replacement: str
    every: bool

    def apply(self, text: str) -> str | None:
        """The text with what matches replaced: all of it with the flag ``g``, else the first.

        None where that could become too long: where so many matches would each become so much, or each reference to a
        group so much of the text.
        """
        if (self.replacement.count("\\") + 1) * len(text) > 8 * MAX_TEXT_CHARS:
            return None
        most = MAX_TEXT_CHARS // (len(self.replacement) + 1)
        if most == 0:  # for subn() a count of 0 is no bound
            return None
        found, count = self.pattern.subn(self.replacement, text, count=most if self.every else 1)
        return found if count < most or not self.every else None


def parse_substitution(text: str) -> Substitution:
    """Read ``/pattern/replacement/flags``; any character may stand for the slash.

    Raises:
        re.error: it has not that form, or the pattern or a back-reference is wrong.
    """
    pattern, replacement, every = split_substitution(text)
    return substitution(pattern, replacement, every)


def split_substitution(text: str) -> tuple[re.Pattern[str], str, bool]:
    """Read ``/pattern/replacement/flags`` as far as it goes by itself.

    Returns:
        the pattern, the replacement as it is written, and whether all that matches is meant.

    Raises:
        re.error: it has not that form, or the pattern is wrong.
    """
    text = text.strip()
    pieces = _pieces(text[1:], text[0]) if text and not text[0].isalnum() else []
    if len(pieces) != 3:
        raise re.error("a substitution has the form /pattern/replacement/flags")
    pattern, replacement, flags = pieces
    if not set(flags) <= set("igs"):
        raise re.error(f'the flags of a substitution are i, g and s, not "{flags}"')
    return compile_pattern(pattern, ignore_case="i" in flags), replacement, "g" in flags


def substitution(pattern: re.Pattern[str], replacement: str, every: bool) -> Substitution:
    """Join what `split_substitution` has found, with the variables of the replacement put in.

    Raises:
        re.error: a back-reference of the replacement is wrong.
    """
    replacement = re.sub(r"\\(?![0-9\\])", r"\\\\", replacement).replace("\\0", "\\g<0>")
    try:
        pattern.sub(replacement, "")
        re.compile(f"{pattern.pattern}|", pattern.flags).sub(replacement, "")
    except IndexError as error:
        raise re.error("the replacement names a group that is not there") from error
    return Substitution(pattern, replacement, every)


def literal(value: object) -> str:
    """A variable's value in a replacement: a backslash in it is no back-reference."""
    return "<null>" if value is None else str(value).replace("\\", "\\\\")


@kept(256)
def cached_substitution(text: str) -> Substitution | None:
    """The substitution that a variable held; None when it is none."""
    try:
        return parse_substitution(text)
    except re.error:
        return None


def _pieces(text: str, mark: str) -> list[str]:
    pieces, piece, at = [], "", 0
    while at < len(text):
        if text[at] == "\\" and text[at + 1 : at + 2] == mark:
            piece += mark
            at += 1
        elif text[at] == mark:
            pieces.append(piece)
            piece = ""
        else:
            piece += text[at]
        at += 1
    return [*pieces, piece]
