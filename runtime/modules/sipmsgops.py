"""Module sipmsgops: questions about a message, its body and its Request-URI, and changes of them."""

from __future__ import annotations

import re
from email.utils import formatdate
from typing import Final

from runtime.clock import epoch_now
from runtime.context import Context, RouteType
from runtime.modules.base import RuntimeModule
from runtime.modules.sdp_functions import SdpFunctions
from runtime.script.access import Unwritable, set_ruri
from runtime.script.declare import Kind, Param, Ref, function
from runtime.script.sdp_access import get_sdp, set_body
from runtime.script.uris import split_uri
from runtime.sip.body import matches_type, read_body
from runtime.sip.build import clean_header, one_line
from runtime.sip.message import Request
from runtime.sip.sdp import parse_sdp

_MEDIA_TYPE: Final = Param("media_type", Kind.STRING, optional=True)
_E164: Final = re.compile(r"\+[1-9][0-9]{0,14}")


class Sipmsgops(SdpFunctions, RuntimeModule):
    """The module as a script loads it."""

    name = "sipmsgops"

    # Questions

    @function("is_method", Param("methods", Kind.STRING), routes=RouteType.MESSAGE)
    def is_method(self, c: Context, methods: str) -> int:
        """Whether the request's method (of a reply: its CSeq's) is one of `methods`, e.g. ``INVITE|BYE``."""
        method = getattr(c.message, "method", None) or c.message.cseq_method
        return 1 if method in methods.split("|") else -1

    @function("has_totag", routes=RouteType.MESSAGE)
    def has_totag(self, c: Context) -> int:
        """Whether To carries a tag: the request belongs to a dialog."""
        return 1 if c.message.to.tag else -1

    @function("is_present_hf", Param("name", Kind.STRING), routes=RouteType.MESSAGE)
    def is_present_hf(self, c: Context, name: str) -> int:
        """Whether the message has a header of that name."""
        return 1 if c.message.get(name) is not None else -1

    @function("is_privacy", Param("kind", Kind.STRING), routes=RouteType.MESSAGE)
    def is_privacy(self, c: Context, kind: str) -> int:
        """Whether the Privacy header asks for that kind of privacy, e.g. ``id`` (RFC 3323)."""
        values = [value.strip().lower() for field in c.message.fields("privacy") for value in field.split(";")]
        return 1 if kind.lower() in values else -1

    @function("has_body", _MEDIA_TYPE, routes=RouteType.MESSAGE)
    def has_body(self, c: Context, media_type: str | None) -> int:
        """Whether the message has a body; with a media type, whether the body or a part of it is of that type."""
        if not media_type:
            return 1 if c.message.body else -1
        return self.has_body_part(c, media_type)

    @function("has_body_part", Param("media_type", Kind.STRING), routes=RouteType.MESSAGE)
    def has_body_part(self, c: Context, media_type: str) -> int:
        """Whether the body, or a part of it, is of that media type; ``text/*`` stands for any subtype."""
        body = read_body(c.message)
        if body is None:
            return -1
        return 1 if any(matches_type(part.media_type, media_type) for part in (body, *body.leaves())) else -1

    @function(
        "sipmsg_validate",
        Param("flags", Kind.STRING, optional=True),
        Param("reason", Kind.OUTPUT, optional=True),
        routes=RouteType.MESSAGE,
    )
    def sipmsg_validate(self, c: Context, flags: str | None, reason: Ref | None) -> int:
        """Whether the message is built as RFC 3261 says. What is not never reaches a script, but for what flags add.

        ``s`` looks at the session description (-6), ``r`` at the Request-URI (-11), ``t`` at To (-22), ``f`` at From
        (-23) and ``c`` at Contact (-26). `reason` says in words what is wrong.
        """
        for flag in flags or "":
            code, text = _fault(c, flag)
            if code:
                if reason is not None:
                    reason.set(c, text)
                return code
        return 1

    # Headers of what is sent

    @function("append_to_reply", Param("header", Kind.STRING), routes=RouteType.ANSWERABLE)
    def append_to_reply(self, c: Context, header: str) -> int:
        """Add a header line to the reply that will be sent; -1 for what is no header line or stands there anyway."""
        line = clean_header(header)
        if line is None:
            return -1
        c.reply_headers.append(line + "\r\n")
        return 1

    @function("append_time", routes=RouteType.ANSWERABLE)
    def append_time(self, c: Context) -> int:
        """Add a Date header with the time now to the reply that will be sent (RFC 3261 20.17)."""
        return self.append_to_reply(c, f"Date: {formatdate(epoch_now(), usegmt=True)}")

    @function(
        "append_urihf",
        Param("prefix", Kind.STRING),
        Param("suffix", Kind.STRING),
        routes=RouteType.BUILDING,
    )
    def append_urihf(self, c: Context, prefix: str, suffix: str) -> int:
        """Append a header line with the Request-URI as received between `prefix` and `suffix`."""
        if not isinstance(c.message, Request):
            return -1
        line = clean_header(f"{prefix}{c.message.ruri}{suffix}")
        if line is None:
            return -1
        c.edits.append(("append", line + "\r\n"))
        return 1

    @function(
        "change_reply_status", Param("code", Kind.INTEGER), Param("reason", Kind.STRING), routes=RouteType.ONREPLY
    )
    def change_reply_status(self, c: Context, code: int, reason: str) -> int:
        """Let the reply go on with another status of its kind: provisional, a success or a failure; else -1.

        So 603 may become 404, and 180 may become 183, but no failure becomes a success.
        """
        if _class_of(code) is None or _class_of(code) != _class_of(c.reply_status):
            return -1
        c.new_status = code, one_line(reason)
        return 1

    # Bodies

    @function("strip_body", _MEDIA_TYPE, routes=RouteType.MESSAGE)
    def strip_body(self, c: Context, media_type: str | None) -> int:
        """Send the message on without its body and Content-Type; with a media type, only where the body is of that.

        Gives -1 where there is no such body. One part of several is not taken out: see `filter_body()`.
        """
        body = read_body(c.message)
        if body is None or (media_type and not matches_type(body.media_type, media_type)):
            return -1
        set_body(c, "", "")
        return 1

    @function(
        "add_body",
        Param("body", Kind.STRING),
        Param("media_type", Kind.STRING, optional=True),
        routes=RouteType.MESSAGE,
    )
    def add_body(self, c: Context, body: str, media_type: str | None) -> int:
        """Send the message on with this body in place of its own. -1 where it has none and no media type is given."""
        wanted = media_type or c.message.content_type
        if not wanted or clean_header(f"Content-Type: {wanted}") != f"Content-Type: {wanted}":
            return -1
        set_body(c, body, wanted)
        return 1

    @function("filter_body", Param("media_type", Kind.STRING), routes=RouteType.MESSAGE)
    def filter_body(self, c: Context, media_type: str) -> int:
        """Send the message on with the first part of that media type as its whole body; -1 where there is none.

        The Content-Type stays: the script gives the new one by `remove_hf()` and `append_hf()`.
        """
        body = read_body(c.message)
        for part in () if body is None else body.leaves():
            if matches_type(part.media_type, media_type):
                c.body = part.content
                return 1
        return -1

    # The Request-URI

    @function("ruri_has_param", Param("name", Kind.STRING), Param("value", Kind.STRING, optional=True))
    def ruri_has_param(self, c: Context, name: str, value: str | None) -> int:
        """Whether the Request-URI has that parameter, with that value where one is given."""
        uri = split_uri(c.ruri)
        found = None if uri is None else uri.param(name)
        return 1 if found is not None and value in (None, found) else -1

    @function("ruri_add_param", Param("param", Kind.STRING))
    def ruri_add_param(self, c: Context, param: str) -> int:
        """Add ``name`` or ``name=value`` to the parameters of the Request-URI."""
        uri = split_uri(c.ruri)
        if uri is None or not param or any(char in param for char in '<>"?@') or any(char <= " " for char in param):
            return -1
        return _rewrite(c, str(uri._replace(params=f"{uri.params};{param}" if uri.params else param)))

    @function("ruri_del_param", Param("name", Kind.STRING))
    def ruri_del_param(self, c: Context, name: str) -> int:
        """Take a parameter off the Request-URI; -1 when it has none of that name."""
        uri = split_uri(c.ruri)
        if uri is None or uri.param(name) is None:
            return -1
        left = [one for one in uri.params.split(";") if one.partition("=")[0].strip().lower() != name.lower()]
        return _rewrite(c, str(uri._replace(params=";".join(left))))

    @function("ruri_tel2sip")
    def ruri_tel2sip(self, c: Context) -> int:
        """Make a ``sip:`` URI of a Request-URI that is a ``tel:`` one, at the host of From (RFC 3261 19.1.6)."""
        uri, sender = split_uri(c.ruri), split_uri(c.message.from_.uri)
        if uri is None or uri.scheme.lower() != "tel" or sender is None or not sender.host:
            return -1
        params = f";{uri.params}" if uri.params else ""
        return _rewrite(c, f"sip:{uri.user}{params}@{sender.host};user=phone")

    @function("is_uri_user_e164", Param("uri", Kind.STRING))
    def is_uri_user_e164(self, c: Context, uri: str) -> int:
        """Whether the user of a URI is a global number: ``+`` and up to 15 digits."""
        found = split_uri(uri)
        return 1 if found is not None and _E164.fullmatch(found.user or "") else -1


def _rewrite(c: Context, uri: str) -> int:
    try:
        set_ruri(c, uri)
    except Unwritable:
        return -1
    return 1


def _class_of(status: int) -> int | None:
    """1 for a provisional status, 2 for a success, 3 for any failure; None for what is none of them, 100 among it."""
    return min(status // 100, 3) if 100 < status < 700 else None


def _fault(c: Context, flag: str) -> tuple[int, str]:
    match flag:
        case "s" if isinstance(text := get_sdp(c), str) and parse_sdp(text.encode("latin-1")) is None:
            return -6, "Body parse error"
        case "r" if isinstance(c.message, Request) and split_uri(c.message.ruri) is None:
            return -11, "Request URI parse error"
        case "t" if split_uri(c.message.to.uri) is None:
            return -22, "To header parse error"
        case "f" if split_uri(c.message.from_.uri) is None:
            return -23, "From header parse error"
        case "c" if c.message.contact is None and c.message.field("contact") is not None:
            return -26, "Contact header parse error"
        case _:
            return 0, ""
