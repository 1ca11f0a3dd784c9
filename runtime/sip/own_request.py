"""Requests of our own: what a process sends although nobody sent it here (RFC 3261 8.1.1, 12.2.1.1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from runtime.sip.build import clean_header, one_line
from runtime.sip.fields import is_token, parse_name_addr
from runtime.sip.forward import MAX_FORWARDS
from runtime.sip.message import Reply, Request, parse
from runtime.sip.uri import parse_uri

PLACEHOLDER_VIA: Final = "SIP/2.0/UDP 127.0.0.1;branch=z9hG4bKown"
"""What stands for our Via until the socket is known: the script may look at the request before."""


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
        f"Max-Forwards: {MAX_FORWARDS}",
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


def next_hop(request: Request) -> str:
    """Where a request with a route set goes: its first Route, or else its Request-URI (RFC 3261 8.1.2)."""
    routes = request.all("route")
    if not routes:
        return request.ruri
    found = parse_name_addr(routes[0]) if "<" in routes[0] else None
    return routes[0] if found is None else found.uri


def ack_of_success(sent: Request, reply: Reply) -> OwnRequest:
    """The ACK of a 2xx to an INVITE of our own (RFC 3261 13.2.2.4): a request of its own, along the reply's route set.

    It has the INVITE's credentials. Where the reply has no Contact that a request can be sent to, it goes where the
    INVITE went.

    Args:
        sent: the INVITE.
        reply: its 2xx.
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
            f"{name}: {value}" for name in ("Authorization", "Proxy-Authorization") for value in sent.fields(name)
        ],
    )
