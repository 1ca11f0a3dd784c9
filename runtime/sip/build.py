"""Replies (RFC 3261 8.2.6), and where they go (18.2.2, RFC 3581)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from runtime.compiled import is_compiled
from runtime.context import Address
from runtime.sip.fields import LWS, Via, is_token, split_outside
from runtime.sip.message import Request

_COMPILED: Final = is_compiled("runtime.sip.usual")
if _COMPILED:
    from runtime.sip import usual

_DIALOG_METHODS: Final = frozenset(("INVITE", "SUBSCRIBE", "REFER", "NOTIFY"))
_OURS: Final = frozenset(("via", "v", "from", "f", "to", "t", "call-id", "i", "cseq", "content-length", "l"))
"""Headers that a caller may not add: the reply has them already, and two of one are none (RFC 3261 7.3.1)."""


def build_reply(
    request: Request,
    status: int,
    reason: str,
    *,
    source: Address,
    to_tag: str,
    headers: Sequence[str] = (),
    body: bytes = b"",
    server: str | None = None,
) -> bytes:
    """A reply's bytes.

    Args:
        request: what is answered.
        status: 100 to 699.
        reason: the reason phrase; line ends in it become spaces.
        source: where the request came from; it goes into the topmost Via (RFC 3261 18.2.1, RFC 3581 4).
        to_tag: our tag for To, used where the request has none and the reply is not a 100.
        headers: header lines, latin-1, each with or without CRLF at its end. See `clean_header` for what is refused.
        body: with its Content-Type among `headers`.
        server: the Server header's value; None for none.

    Raises:
        ValueError: `status` is not a reply's, `to_tag` or `server` would break the line they stand in.
    """
    if not 100 <= status <= 699:
        raise ValueError(f"{status} is no status of a reply")
    added = "".join([f"{line}\r\n" for text in headers if (line := clean_header(text)) is not None]) if headers else ""
    if server is not None:
        added = f"{added}Server: {one_line(server)}\r\n"
    head = None
    if _COMPILED:
        routes = _forms_dialog(request.method, status)
        head = usual.reply_head(request, status, reason, source, to_tag, added, len(body), routes)
    if head is None:
        head = reply_head_any(request, status, reason, source, to_tag, added, len(body))
    return head + body if body else head


def reply_head_any(
    request: Request, status: int, reason: str, source: Address, to_tag: str, added: str, body: int
) -> bytes:
    """A reply's bytes up to its body, in Python alone, for any request.

    Args:
        request, status, reason, source, to_tag: as for `build_reply`.
        added: the lines to add, each with its CRLF.
        body: how many bytes follow.
    """
    lines, index = request.lines, request.names.index
    names = request.names
    routes = _record_routes(request) if "record-route" in names and _forms_dialog(request.method, status) else ""
    if status == 100:
        to = lines[index("to")]
        stamp = f"{lines[index('timestamp')]}\r\n" if "timestamp" in names else ""  # RFC 3261 8.2.6.1
    else:
        to = _tagged(request, lines[index("to")], to_tag)
        stamp = ""
    return (
        f"SIP/2.0 {status} {one_line(reason)}\r\n{_vias(request, source)}{routes}"
        f"{lines[index('from')]}\r\n{to}\r\n{lines[index('call-id')]}\r\n{lines[index('cseq')]}\r\n"
        f"{stamp}{added}Content-Length: {body}\r\n\r\n"
    ).encode("latin-1", "replace")


def one_line(text: str) -> str:
    """The text with every run of line ends and NULs as one space: it can no longer start a header of its own."""
    if "\n" not in text and "\r" not in text and "\0" not in text:
        return text
    return " ".join([word for word in text.replace("\r", " ").replace("\0", " ").replace("\n", " ").split(" ") if word])


def clean_header(text: str) -> str | None:
    """One header line, fit to be added to a message.

    Line ends within it become spaces: a value that a caller took from a message cannot start another header.

    Args:
        text: ``Name: value``, with or without CRLF at its end.

    Returns:
        the line without CRLF; None when it has no proper name, or the name of a header that the message has anyway
        (Via, From, To, Call-ID, CSeq, Content-Length).
    """
    line = one_line(text.strip("\r\n"))
    name, colon, _ = line.partition(":")
    name = name.rstrip(" \t")
    if not colon or not is_token(name) or name.lower() in _OURS:
        return None
    return line


def reply_target(request: Request, source: Address) -> Address:
    """Where a reply goes over UDP.

    Always to the host that the request came from: that is what `received` says (RFC 3261 18.2.2). To its port too
    where the sender asked by `rport` (RFC 3581 4), else to the sent-by port. `maddr` is not honoured: it names a
    third party that never asked for the reply, so one forged datagram would make this server send to anybody; and
    multicast, for which it was made, is not offered.

    Args:
        request: what is answered.
        source: where it came from.
    """
    via = request.via
    if "rport" in via.params:
        return source
    port = via.port or 5060
    return source if port == source.port else Address(source.host, port)


def stream_reply_target(request: Request, source: Address) -> Address:
    """Where a reply goes over a stream when the connection that the request came over is gone.

    As long as that is open the reply goes over it, whatever Via says. Then a new connection is opened to the host that
    the request came from, which is what `received` says, and there to the sent-by port: the sender has to accept
    connections there for that very purpose (RFC 3261 18.1.1, 18.2.2). ``rport`` names the port of the connection that
    is gone, where nobody listens.

    Args:
        request: what is answered.
        source: where it came from.
    """
    via = request.via
    return Address(source.host, via.port or (5061 if via.transport.upper() in ("TLS", "WSS") else 5060))


def reply_targets(request: Request, source: Address, reliable: bool) -> tuple[Address, Address | None]:
    """Where a reply goes, and where when the connection to there is gone; None over a datagram transport."""
    if reliable:
        return source, stream_reply_target(request, source)
    return reply_target(request, source), None


def _tagged(request: Request, to: str, tag: str) -> str:
    # Without the three letters anywhere there is no tag, and To need not be taken apart.
    if "tag" in to.lower() and request.to.tag is not None:
        return to
    if not (tag.isalnum() and tag.isascii()) and not is_token(tag):
        raise ValueError(f"{tag!r} is no tag")
    return f"{to.rstrip(LWS)};tag={tag}"


def _forms_dialog(method: str, status: int) -> bool:
    return 100 < status < 300 and method in _DIALOG_METHODS


def _record_routes(request: Request) -> str:
    return "".join(
        [f"{line}\r\n" for name, line in zip(request.names, request.lines, strict=True) if name == "record-route"]
    )


def _vias(request: Request, source: Address) -> str:
    """All Via lines, with `received` and `rport` filled in at the top one; all else as it stands."""
    names = request.names
    field = request.lines[names.index("via")].partition(":")[2].strip(LWS)
    top = f"Via: {stamped_via(field, request.via, source)}\r\n"
    if names.count("via") == 1:
        return top
    return top + "".join([f"Via: {value}\r\n" for value in request.fields("via")[1:]])


def stamped_via(field: str, via: Via, source: Address) -> str:
    """A Via field with ``received`` and ``rport`` of its topmost value filled in (RFC 3261 18.2.1, RFC 3581 4).

    Args:
        field: the whole field.
        via: its topmost value.
        source: where the request came from.
    """
    params = via.params
    is_elsewhere = via.host != source.host and via.host.strip("[]") != source.host
    if "rport" not in params and "received" not in params:
        if not is_elsewhere:
            return field
    elif "received" not in params and params["rport"] is None and "," not in field and '"' not in field:
        before, asked, after = field.partition(";rport")
        if asked and (not after or after[0] == ";"):  # the usual one: written without spaces
            return f"{before};rport={source.port};received={source.host}{after}"
    first, *others = split_outside(field, ",")
    return ", ".join([_restamped(first, source, "rport" in params, is_elsewhere), *others])


def _restamped(value: str, source: Address, asks_port: bool, is_elsewhere: bool) -> str:
    # What the sender wrote into `received` or `rport` is not believed: it is replaced.
    sent, *params = split_outside(value, ";")
    kept = [param for param in params if param.partition("=")[0].strip(LWS).lower() not in ("received", "rport")]
    if asks_port:
        kept.append(f"rport={source.port}")
    if asks_port or is_elsewhere:
        kept.append(f"received={source.host}")
    return ";".join([sent, *kept])
