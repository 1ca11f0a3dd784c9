"""What a proxy sends on: the message as it came, with only those bytes changed that it has to (RFC 3261 16.6, 16.7).

Header lines stay as they were written, folding, spacing and spelling included: many a device is particular about its
own headers, and a line that is not rewritten costs nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from runtime.compiled import is_compiled
from runtime.context import Address
from runtime.sip.build import stamped_via
from runtime.sip.fields import LWS, split_outside
from runtime.sip.headers import COMPACT
from runtime.sip.message import Message, Reply, Request

_COMPILED: Final = is_compiled("runtime.sip.usual")
if _COMPILED:
    from runtime.sip import usual

MAX_FORWARDS: Final = 70
"""Of a request that comes without (RFC 3261 8.1.1.6)."""
_LWS: Final = LWS.encode()
_GONE: Final = ""
"""In place of a line that is left out."""
_KEPT: Final = frozenset(("via", "from", "to", "call-id", "cseq", "max-forwards", "content-length"))
"""Headers that no edit may take away: without them it is no message any more."""

Edit = tuple[str, str]


def forwarded_request(
    request: Request,
    *,
    ruri: str,
    via: str,
    source: Address | None,
    record_routes: Sequence[str] = (),
    routes: Sequence[str] | None = None,
    max_forwards: int | None = None,
    cseq: int | None = None,
    edits: Sequence[Edit] = (),
    body: bytes | None = None,
    stream: bool = False,
) -> bytes:
    """A request's bytes for its next hop.

    Args:
        request: as received.
        ruri: the Request-URI to send.
        via: the value of our Via.
        source: where it came from, for ``received`` and ``rport`` of the sender's Via; None for a request of our own,
            whose first Via is a placeholder.
        record_routes: values of Record-Route to add, the topmost first.
        routes: the Route values to send; None for those that it has.
        max_forwards: None for one less than it has.
        cseq: the number of its CSeq; None for the one that it has.
        edits: as in `Context.edits`.
        body: in place of the message's own, with its Content-Type among `edits`.
        stream: it goes over a stream, where Content-Length must be there (18.3).
    """
    left = _hops_left(request) if max_forwards is None else max_forwards
    usual_body = body is None and (not stream or "content-length" in request.names)
    if _COMPILED and usual_body and cseq is None and not edits and not routes and source is not None:
        head = usual.forwarded(request, ruri, via, record_routes, left, source, routes is not None)
        if head is not None:
            return head + request.body
    lines, names = _lines(request), request.names
    _stamp(lines, request, source)
    top = [f"{request.method} {ruri} SIP/2.0", f"Via: {via}", *[f"Record-Route: {value}" for value in record_routes]]
    if "max-forwards" in names:
        lines[names.index("max-forwards")] = f"Max-Forwards: {left}"
    else:
        top.append(f"Max-Forwards: {left}")
    if cseq is not None:
        lines[names.index("cseq")] = f"CSeq: {cseq} {request.method}"
    if routes is not None:
        _put_routes(request, lines, top, routes)
    return _assembled(request, top, lines, edits, body, stream)


def relayed_reply(
    reply: Reply,
    *,
    cseq: int | None = None,
    edits: Sequence[Edit] = (),
    body: bytes | None = None,
    status: tuple[int, str] | None = None,
    stream: bool = False,
) -> bytes:
    """A reply's bytes for who sent the request: without the topmost Via (RFC 3261 16.7 step 3).

    Args:
        reply: as received.
        cseq: the number of its CSeq, where the request was sent on with another one; None for the one that it has.
        edits, body, stream: as for a request.
        status: another status and reason to send, e.g. 500 for a 503 from further on (16.7 step 6).
    """
    names = reply.names
    whole = not stream or "content-length" in names
    if names[0] == "via" and whole and cseq is None and not edits and body is None and status is None:
        # The usual reply: what lies before and behind one line is copied as it is.
        raw = reply.raw
        start = raw.index(b"\r\n") + 2
        end = raw.index(b"\r\n", start) + 2
        field = raw[start:end]
        if raw[end : end + 1] not in (b" ", b"\t"):
            if b"," not in field:
                return raw[:start] + raw[end : reply.body_end]
            if b'"' not in field and b"<" not in field:
                # Where several stand in one field, as sipp writes them, nothing but a comma parts them.
                _, *rest = [value for one in field[field.index(b":") + 1 :].split(b",") if (value := one.strip(_LWS))]
                via = b"Via: " + b", ".join(rest) + b"\r\n" if rest else b""
                return raw[:start] + via + raw[end : reply.body_end]
    lines = _lines(reply)
    at = names.index("via")
    # The value of a field that is folded or joined is written anew, so that it is certain what is taken off.
    _, *others = split_outside(reply.field("via") or "", ",")
    lines[at] = f"Via: {', '.join(others)}" if others else _GONE
    if cseq is not None:
        lines[names.index("cseq")] = f"CSeq: {cseq} {reply.cseq_method}"
    first = _first_line(reply) if status is None else f"SIP/2.0 {status[0]} {status[1]}"
    return _assembled(reply, [first], lines, edits, body, stream)


# --- The lines as they stand


def _first_line(message: Message) -> str:
    return message.raw.partition(b"\r\n")[0].decode("latin-1")


def _lines(message: Message) -> list[str]:
    """The header lines as they were written, one string for each of `message.names`, folded ones with their CRLFs."""
    if not message.folded:
        return [*message.lines]
    lines: list[str] = []
    for line in message.raw[: message.body_at].decode("latin-1").split("\r\n")[1:-2]:
        if line[:1] in (" ", "\t"):
            lines[-1] = f"{lines[-1]}\r\n{line}"
        else:
            lines.append(line)
    return lines


def _stamp(lines: list[str], request: Request, source: Address | None) -> None:
    at = request.names.index("via")
    if source is None:
        lines[at] = _GONE
        return
    value = request.lines[at].partition(":")[2].strip(LWS)
    stamped = stamped_via(value, request.via, source)
    if stamped != value:
        lines[at] = f"Via: {stamped}"


def _hops_left(request: Request) -> int:
    hops = request.max_forwards
    # One that is no number counts as absent (RFC 4475 3.1.2.4).
    return MAX_FORWARDS if hops is None else max(0, hops - 1)


def _places(names: list[str], name: str) -> list[int]:
    return [at for at, found in enumerate(names) if found == name] if name in names else []


def _put_routes(request: Request, lines: list[str], top: list[str], routes: Sequence[str]) -> None:
    """Write the Route values that are left. Lines all of whose values are left stay as they are."""
    left = list(routes)
    for at in _places(request.names, "route")[::-1]:
        values = split_outside(request.lines[at].partition(":")[2], ",") if left else []
        if values and left[-len(values) :] == values:
            del left[-len(values) :]
        else:
            lines[at] = _GONE
    # A line each: in one list a bracket or quotation that a value left open would take in what follows it.
    top.extend([f"Route: {value}" for value in left])


def _assembled(
    message: Message,
    top: list[str],
    lines: list[str],
    edits: Sequence[Edit],
    body: bytes | None,
    stream: bool,
) -> bytes:
    names = message.names
    bottom: list[str] = []
    beside: list[tuple[int, str]] = []
    for kind, text in edits:
        if kind == "append":
            bottom.append(text.rstrip("\r\n"))
        elif kind == "insert":
            top.append(text.rstrip("\r\n"))
        elif kind == "remove":
            _remove(names, lines, text)
        else:
            beside += _beside(names, kind, text.rstrip("\r\n"))
    content = message.body if body is None else body
    if body is not None or (stream and "content-length" not in names):
        _set_length(names, lines, bottom, len(content))
    if beside:
        lines = _woven(lines, beside)
    return "\r\n".join([*top, *filter(None, lines), *bottom, "", ""]).encode("latin-1", "replace") + content


def _beside(names: list[str], kind: str, line: str) -> list[tuple[int, str]]:
    """Before which of the message's lines a line goes that an edit puts beside a header; nowhere without one."""
    side, _, header = kind.partition(" ")
    name = _full_name(header)
    return [(names.index(name) + (side == "after"), line)] if name in names else []


def _woven(lines: list[str], beside: list[tuple[int, str]]) -> list[str]:
    found: list[str] = []
    for at in range(len(lines) + 1):
        found += [line for place, line in beside if place == at]
        found += lines[at : at + 1]
    return found


def _full_name(header: str) -> str:
    name = header.strip(LWS).lower()
    return COMPACT.get(name, name)


def _remove(names: list[str], lines: list[str], header: str) -> None:
    name = _full_name(header)
    if name not in _KEPT:
        for at in _places(names, name):
            lines[at] = _GONE


def _set_length(names: list[str], lines: list[str], bottom: list[str], length: int) -> None:
    line = f"Content-Length: {length}"
    if "content-length" in names:
        lines[names.index("content-length")] = line
    else:
        bottom.append(line)


# --- What a client transaction makes of the request that it sent


def ack_of(sent: Request, reply: Reply) -> bytes:
    """The ACK of a final reply other than 2xx, hop by hop (RFC 3261 17.1.1.3).

    Args:
        sent: the INVITE as it was sent.
        reply: what is acknowledged; To comes from it.
    """
    return _follow_up(sent, "ACK", reply.lines[reply.names.index("to")])


def cancel_of(sent: Request) -> bytes:
    """The CANCEL of a request that was sent (RFC 3261 9.1): its Via's branch is that of the request."""
    return _follow_up(sent, "CANCEL", sent.lines[sent.names.index("to")])


def _follow_up(sent: Request, method: str, to: str) -> bytes:
    lines, names = sent.lines, sent.names
    routes = "".join([f"{line}\r\n" for name, line in zip(names, lines, strict=True) if name == "route"])
    return (
        f"{method} {sent.ruri} SIP/2.0\r\n{lines[names.index('via')]}\r\n{routes}Max-Forwards: {MAX_FORWARDS}\r\n"
        f"{lines[names.index('from')]}\r\n{to}\r\n{lines[names.index('call-id')]}\r\n"
        f"CSeq: {sent.cseq_number} {method}\r\nContent-Length: 0\r\n\r\n"
    ).encode("latin-1", "replace")
