"""Functions of the module ``core`` that change the headers of what is relayed."""

from __future__ import annotations

import fnmatch
import re

from runtime.context import Context, RouteType
from runtime.script.declare import Kind, Module, Param, function
from runtime.script.patterns import cached_pattern
from runtime.sip.fields import LWS, is_token

_HEADER = Param("header", Kind.STRING)
_NAME = Param("name", Kind.STRING)


class HeaderFunctions(Module):
    """The part of the module ``core`` that changes headers."""

    name = "core"

    @function("append_hf", _HEADER, Param("after", Kind.STRING, optional=True), routes=RouteType.MESSAGE)
    def append_hf(self, c: Context, header: str, after: str | None) -> int:
        """Append one header line to the message that is relayed: at the end, or behind the first header `after`.

        -1 for what is no header line, and where the message has no header of that name.
        """
        return _place(c, "append" if after is None else "after", header, after)

    @function("insert_hf", _HEADER, Param("before", Kind.STRING, optional=True), routes=RouteType.MESSAGE)
    def insert_hf(self, c: Context, header: str, before: str | None) -> int:
        """Insert one header line into the message that is relayed: on top, or before the first header `before`.

        On top is behind the Via that is added there. -1 as for `append_hf()`.
        """
        return _place(c, "insert" if before is None else "before", header, before)

    @function("remove_hf", _NAME, Param("flags", Kind.STRING, optional=True), routes=RouteType.MESSAGE)
    def remove_hf(self, c: Context, name: str, flags: str | None) -> int:
        """Take every header of that name out of the message that is relayed; -1 when there is none.

        With the flag ``r`` the name is a regular expression, with ``g`` one with the wildcards of a shell.
        """
        if flags == "r":
            return _remove(c, cached_pattern(name))
        if flags == "g":
            return self.remove_hf_glob(c, name)
        if c.message.field(name) is None:
            return -1
        c.edits.append(("remove", name))
        return 1

    @function("remove_hf_re", Param("pattern", Kind.REGEX), routes=RouteType.MESSAGE)
    def remove_hf_re(self, c: Context, pattern: re.Pattern[str]) -> int:
        """Take every header out whose name a regular expression finds; -1 when there is none."""
        return _remove(c, pattern)

    @function("remove_hf_glob", Param("pattern", Kind.STRING), routes=RouteType.MESSAGE)
    def remove_hf_glob(self, c: Context, pattern: str) -> int:
        """Take every header out whose name fits ``X-Billing*`` or another pattern of a shell; -1 when there is none."""
        return _remove(c, cached_pattern(rf"\A{fnmatch.translate(pattern)}"))


def _place(c: Context, kind: str, header: str, beside: str | None) -> int:
    line = header.rstrip("\r\n")
    name, colon, _ = line.partition(":")
    # A line break inside would let a value taken from the message add headers of its own, and a line that begins with
    # a blank would be a part of the header above it.
    if not colon or not is_token(name.rstrip(LWS)) or "\r" in line or "\n" in line:
        return -1
    if beside is not None and c.message.field(beside) is None:
        return -1
    c.edits.append((kind if beside is None else f"{kind} {beside}", line + "\r\n"))
    return 1


def _remove(c: Context, pattern: re.Pattern[str] | None) -> int:
    if pattern is None:
        return -1
    found = [name for name in dict.fromkeys(c.message.names) if pattern.search(name)]
    c.edits += [("remove", name) for name in found]
    return 1 if found else -1
