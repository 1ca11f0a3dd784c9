"""Module sipmsgops: questions about the message, and headers for its reply."""

from __future__ import annotations

from typing import Final

from runtime.context import Context, RouteType
from runtime.modules.base import RuntimeModule
from runtime.script.declare import Kind, Param, function
from runtime.sip.build import clean_header

_ANSWERABLE: Final = RouteType.PASSING | RouteType.ERROR


class Sipmsgops(RuntimeModule):
    """The module as a script loads it."""

    name = "sipmsgops"

    @function("is_method", Param("methods", Kind.STRING), routes=RouteType.MESSAGE)
    def is_method(self, c: Context, methods: str) -> int:
        """Whether the request's method (of a reply: its CSeq's) is one of `methods`, e.g. ``INVITE|BYE``."""
        method = getattr(c.message, "method", None) or c.message.cseq_method
        return 1 if method in methods.split("|") else -1

    @function("has_totag", routes=RouteType.MESSAGE)
    def has_totag(self, c: Context) -> int:
        """Whether To carries a tag: the request belongs to a dialog."""
        return 1 if c.message.to.tag else -1

    @function("append_to_reply", Param("header", Kind.STRING), routes=_ANSWERABLE)
    def append_to_reply(self, c: Context, header: str) -> int:
        """Add a header line to the reply that will be sent; -1 for what is no header line or stands there anyway."""
        line = clean_header(header)
        if line is None:
            return -1
        c.reply_headers.append(line + "\r\n")
        return 1

    @function("is_present_hf", Param("name", Kind.STRING), routes=RouteType.MESSAGE)
    def is_present_hf(self, c: Context, name: str) -> int:
        """Whether the message has a header of that name."""
        return 1 if c.message.get(name) is not None else -1
