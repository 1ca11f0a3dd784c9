"""Requests of our own: what a process sends although nobody sent it here (RFC 3261 8.1.1, 12.2.1.1)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from runtime.sip.build import clean_header, one_line
from runtime.sip.fields import is_token, parse_name_addr
from runtime.sip.forward import MAX_FORWARDS
from runtime.sip.headers import COMPACT
from runtime.sip.message import MAX_CSEQ, Reply, Request, parse
from runtime.sip.uri import parse_uri

PLACEHOLDER_VIA: Final = "SIP/2.0/UDP 127.0.0.1;branch=z9hG4bKown"
"""What stands for our Via until the socket is known: the script may look at the request before."""
_LINE_ENDS: Final = re.compile(r"[\r\n]+")
_FOLD: Final = re.compile(r"\r?\n[ \t]+")
_DECIDED: Final = frozenset(("from", "to", "call-id", "cseq", "content-length", "via", "max-forwards"))
"""Headers that have a place of their own in a request of ours, or that are ours alone."""


@dataclass(frozen=True, slots=True)
class OwnRequest:
    """A request to be sent.

    Args:
        method: e.g. ``BYE``.
        ruri: the Request-URI.
        from_, to: the whole values of From and To, tags included where there are some.
        call_id: Call-ID.
        cseq: CSeq's number.
        routes: Route values, the topmost first (RFC 3261 12.2.1.1: the route set).
        headers: further header lines, each with or without its CRLF.
        body: with its Content-Type among `headers`.
        dst_uri: the next hop; None for the first of `routes`, or else the Request-URI.
        socket: the index of the socket to send from; None for the first that fits.
        timeout_s: how long the final reply may take; None for the transaction module's parameters.
        dialog: the identifier of the dialog that it belongs to, for the script.
        max_forwards: Max-Forwards.
    """

    method: str
    ruri: str
    from_: str
    to: str
    call_id: str
    cseq: int
    routes: Sequence[str] = ()
    headers: Sequence[str] = ()
    body: bytes = b""
    dst_uri: str | None = None
    socket: int | None = None
    timeout_s: float | None = None
    dialog: str | None = None
    max_forwards: int = MAX_FORWARDS


def built(wanted: OwnRequest) -> Request:
    """The request, with a placeholder for our Via.

    Raises:
        ValueError: it would be no request: a bad method, URI, From or To.
    """
    if not is_token(wanted.method):
        raise ValueError(f"{wanted.method!r} is no method")
    lines = [
        f"Via: {PLACEHOLDER_VIA}",
        *[f"Route: {one_line(value)}" for value in wanted.routes],
        f"Max-Forwards: {wanted.max_forwards}",
        f"From: {one_line(wanted.from_)}",
        f"To: {one_line(wanted.to)}",
        f"Call-ID: {one_line(wanted.call_id)}",
        f"CSeq: {wanted.cseq} {wanted.method}",
        *[line for text in wanted.headers if (line := clean_header(text)) is not None],
        f"Content-Length: {len(wanted.body)}",
    ]
    head = f"{wanted.method} {wanted.ruri} SIP/2.0\r\n" + "\r\n".join(lines) + "\r\n\r\n"
    request = parse(head.encode("latin-1", "replace") + wanted.body)
    if not isinstance(request, Request):
        raise ValueError(getattr(request, "reason", "no SIP request"))
    if request.ruri != wanted.ruri:  # a line end in it would have begun a header
        raise ValueError("Malformed Request-URI")
    return request


def request_of(method: str, ruri: str, headers: str, body: bytes, *, call_id: str, tag: str) -> OwnRequest:
    """A request whose headers are given as text, From and To among them, as MI's `t_uac_dlg` takes them.

    Args:
        method, ruri, body: as in OwnRequest.
        headers: lines; in place of a line end there may be its escape, a backslash and ``r`` and so on.
        call_id, tag: for the Call-ID and From's tag where they are not given.

    Raises:
        ValueError: something is missing, or stands there that may not.
    """
    given: dict[str, str] = {}
    others: list[str] = []
    for line in header_lines(headers):
        name, _, value = line.partition(":")
        full = COMPACT.get(name.strip().lower(), name.strip().lower())
        if full in _DECIDED:
            given.setdefault(full, value.strip())
        else:
            others.append(line)
            given.setdefault(full, value.strip())
    if "content-length" in given:
        raise ValueError("Content-Length disallowed")
    if body and "content-type" not in given:
        raise ValueError("Content-Type missing")
    from_, to = _needed(given, "From"), _needed(given, "To")
    sender = parse_name_addr(from_)
    if sender is None:
        raise ValueError("Error in From")
    return OwnRequest(
        method,
        ruri,
        from_ if sender.tag else f"{from_};tag={tag}",
        to,
        given.get("call-id") or call_id,
        _cseq_of(given.get("cseq"), method),
        headers=others,
        body=body,
    )


def header_lines(text: str) -> list[str]:
    """Header lines given as one text; a line end in it may be an escape, a backslash and ``r`` and so on."""
    return [line for line in _LINE_ENDS.split(_FOLD.sub(" ", text.replace("\\r\\n", "\r\n"))) if line]


def _needed(given: Mapping[str, str], name: str) -> str:
    value = given.get(name.lower())
    if not value:
        raise ValueError(f"{name} missing")
    return value


def _cseq_of(text: str | None, method: str) -> int:
    if text is None:
        return 1
    number, _, named = text.partition(" ")
    if not (number.isascii() and number.isdecimal() and len(number) <= 10) or int(number) > MAX_CSEQ:
        raise ValueError("Bad CSeq number")
    if named.strip() != method:
        raise ValueError("CSeq method mismatch")
    return int(number)


def next_hop(request: Request) -> str:
    """Where a request with a route set goes: its first Route, or else its Request-URI (RFC 3261 8.1.2)."""
    routes = request.all("route")
    if not routes:
        return request.ruri
    found = parse_name_addr(routes[0]) if "<" in routes[0] else None
    return routes[0] if found is None else found.uri


def ack_of_success(sent: Request, reply: Reply, body: bytes = b"", body_type: str = "") -> OwnRequest:
    """The ACK of a 2xx to an INVITE of our own (RFC 3261 13.2.2.4): a request of its own, along the reply's route set.

    It has the INVITE's credentials. Where the reply has no Contact that a request can be sent to, it goes where the
    INVITE went.

    Args:
        sent: the INVITE.
        reply: its 2xx.
        body, body_type: the answer to the offer that the 2xx makes, and its Content-Type.
    """
    contact = reply.contact
    in_dialog = sent.to.tag is not None
    routes = sent.all("route") if in_dialog else reply.all("record-route")[::-1]
    return OwnRequest(
        "ACK",
        sent.ruri if contact is None or parse_uri(contact.uri) is None else contact.uri,
        sent.field("from") or "",
        reply.field("to") or "",
        sent.call_id,
        sent.cseq_number,
        routes=routes,
        headers=[
            *[f"{name}: {value}" for name in ("Authorization", "Proxy-Authorization") for value in sent.fields(name)],
            *([f"Content-Type: {body_type or 'application/sdp'}"] if body else []),
        ],
        body=body,
    )
