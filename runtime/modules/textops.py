"""Module textops: searching and replacing by regular expressions, in the body and in the Request-URI.

What replaces text in header fields is not here: a header is taken out with `remove_hf()` and put in with `append_hf()`.
"""

from __future__ import annotations

import re
from typing import Final

from runtime.context import Context, RouteType
from runtime.modules.base import RuntimeModule
from runtime.script.access import Unwritable, set_ruri, set_ruri_user
from runtime.script.declare import Kind, Param, function
from runtime.script.patterns import Substitution
from runtime.script.uris import split_uri

_PATTERN: Final = Param("pattern", Kind.REGEX)
_TEXT: Final = Param("text", Kind.STRING)
_SUBSTITUTION: Final = Param("substitution", Kind.SUBSTITUTION)


class Textops(RuntimeModule):
    """The module as a script loads it. Patterns count letters in either case, and ``.`` matches a line end too."""

    name = "textops"

    @function("search", _PATTERN, routes=RouteType.MESSAGE)
    def search(self, c: Context, pattern: re.Pattern[str]) -> int:
        """Whether a regular expression finds something in the message as it was received."""
        return 1 if pattern.search(c.message.raw.decode("latin-1")) else -1

    @function("search_body", _PATTERN, routes=RouteType.MESSAGE)
    def search_body(self, c: Context, pattern: re.Pattern[str]) -> int:
        """Whether a regular expression finds something in the body as it is now."""
        return 1 if pattern.search(_body(c)) else -1

    @function("search_append_body", _PATTERN, _TEXT, routes=RouteType.MESSAGE)
    def search_append_body(self, c: Context, pattern: re.Pattern[str], text: str) -> int:
        """Put a text behind the first match in the body; -1 where nothing matches."""
        body = _body(c)
        found = pattern.search(body)
        return -1 if found is None else _take(c, body[: found.end()] + text + body[found.end() :])

    @function("replace_body", _PATTERN, _TEXT, routes=RouteType.MESSAGE)
    def replace_body(self, c: Context, pattern: re.Pattern[str], text: str) -> int:
        """Put a text in the place of the first match in the body; -1 where nothing matches."""
        return _replace(c, pattern, text, 1)

    @function("replace_body_all", _PATTERN, _TEXT, routes=RouteType.MESSAGE)
    def replace_body_all(self, c: Context, pattern: re.Pattern[str], text: str) -> int:
        """Put a text in the place of every match in the body, line by line; -1 where nothing matches."""
        lines, count = [], 0
        for line in _body(c).split("\n"):
            bare = line.removesuffix("\r")
            changed, found = pattern.subn(lambda _: text, bare)
            lines.append(changed + line[len(bare) :])
            count += found
        return _take(c, "\n".join(lines)) if count else -1

    @function("replace_body_atonce", _PATTERN, _TEXT, routes=RouteType.MESSAGE)
    def replace_body_atonce(self, c: Context, pattern: re.Pattern[str], text: str) -> int:
        """Put a text in the place of every match in the body, which is taken as a whole; -1 where nothing matches."""
        return _replace(c, pattern, text, 0)

    @function("subst_body", _SUBSTITUTION, routes=RouteType.MESSAGE)
    def subst_body(self, c: Context, substitution: Substitution) -> int:
        """Change the body by ``/pattern/replacement/flags``; -1 where nothing matches."""
        body = _body(c)
        changed = substitution.apply(body) if substitution.pattern.search(body) else None
        return -1 if changed is None else _take(c, changed)

    @function("subst_uri", _SUBSTITUTION, routes=RouteType.MESSAGE)
    def subst_uri(self, c: Context, substitution: Substitution) -> int:
        """Change the Request-URI by ``/pattern/replacement/flags``; -1 where nothing matches or no URI comes of it."""
        if not substitution.pattern.search(c.ruri):
            return -1
        try:
            set_ruri(c, substitution.apply(c.ruri))
        except Unwritable:
            return -1
        return 1

    @function("subst_user", _SUBSTITUTION, routes=RouteType.MESSAGE)
    def subst_user(self, c: Context, substitution: Substitution) -> int:
        """Change the user of the Request-URI by ``/pattern/replacement/flags``; -1 as for `subst_uri()`."""
        uri = split_uri(c.ruri)
        user = (uri.user or "") if uri is not None else ""
        if uri is None or not substitution.pattern.search(user):
            return -1
        try:
            set_ruri_user(c, substitution.apply(user))
        except Unwritable:
            return -1
        return 1


def _body(c: Context) -> str:
    return (c.message.body if c.body is None else c.body).decode("latin-1")


def _take(c: Context, body: str) -> int:
    c.body = body.encode("latin-1", "replace")
    return 1


def _replace(c: Context, pattern: re.Pattern[str], text: str, count: int) -> int:
    body, found = pattern.subn(lambda _: text, _body(c), count)
    return _take(c, body) if found else -1
