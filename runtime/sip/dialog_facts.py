"""What messages say about their dialog, and what requests of our own in it say."""

from __future__ import annotations

import functools
import operator
from collections.abc import Sequence
from typing import Final, NamedTuple

from runtime.sip.dialog import Dialog
from runtime.sip.dialog_words import Flag, Leg, Replied, Side
from runtime.sip.fields import parse_name_addr
from runtime.sip.message import MAX_CSEQ, Message, Reply, Request
from runtime.sip.own_request import OwnRequest
from runtime.sip.uri import parse_uri

MAX_ROUTES: Final = 32
"""Of one route set that is kept; each further one is one more that anybody can make us keep."""


def dialog_of(request: Request, number: int, *, socket: int, lifetime_s: int, wall: float) -> Dialog:
    """The dialog that an INVITE may lead to.

    Args:
        request: the INVITE as received.
        number: its id.
        socket: the index of the listening socket it came in on.
        lifetime_s: the dialog's lifetime.
        wall: seconds of the epoch.
    """
    cseq = request.cseq_number
    caller = Leg(
        tag=request.from_.tag or "",
        uri=request.from_.uri,
        contact=contact_of(request),
        routes=request.all("record-route")[:MAX_ROUTES] if "record-route" in request.names else [],
        socket=socket,
        cseq=cseq,
    )
    callee = Leg(uri=request.to.uri, socket=socket, sent=cseq)
    return Dialog(number, request.call_id, wall, lifetime_s, caller, callee)


def replied(request: Request, reply: Reply, mark: str, status: int, *, socket: int, now: float, wall: float) -> Replied:
    """What a dialog hears of a reply to its INVITE.

    Args:
        request: the INVITE as received.
        reply: the reply as received.
        mark: what our own Record-Route value can be told by, e.g. ``did=e3d.f2a4b1c2``.
        status: what goes to the caller. Before a 2xx only the tag is read: nothing of ours is sent to the callee then.
        socket: the index of the listening socket that talks to the callee.
        now, wall: the moment on the monotonic clock, and in seconds of the epoch.
    """
    tag = reply.to.tag or "" if status < 300 else ""
    if not 200 <= status < 300:
        return Replied(status, tag, "", [], socket, now, wall)
    body = reply.body
    body_type = reply.content_type or "" if body else ""
    contact, routes = contact_of(reply), callee_routes(request, reply, mark)
    return Replied(status, tag, contact, routes, socket, now, wall, body, body_type)


def sender_of(dialog: Dialog, message: Message) -> Side | None:
    """Which end of the dialog sent a request; None when it is not of this dialog."""
    return dialog.sender_of(message.call_id, message.from_.tag, message.to.tag)


def contact_of(message: Message) -> str:
    """The URI of its Contact; empty without one, and for ``*``."""
    if "contact" not in message.names:
        return ""
    contact = message.contact
    return "" if contact is None or contact.uri == "*" else contact.uri


def callee_routes(request: Request, reply: Reply, mark: str) -> list[str]:
    """The callee's route set: the Record-Route values of the proxies behind us, the nearest first.

    In a reply the topmost value is the callee's nearest proxy, ours stand below it, and those that the INVITE came
    with stand at the end (RFC 3261 16.6 step 4).
    """
    if "record-route" not in reply.names:
        return []
    values = reply.all("record-route")
    ours = next((at for at, value in enumerate(values) if mark in value), -1)
    behind = values[:ours] if ours >= 0 else values[: max(0, len(values) - len(request.all("record-route")))]
    return behind[: -MAX_ROUTES - 1 : -1]


def did_in(params: str | None, name: str) -> str | None:
    """The dialog's identifier among a Route value's parameters, e.g. ``lr;did=e3d.f2a4b1c2``."""
    mark = f"{name}="
    if not params or mark not in params:
        return None
    return next((piece[len(mark) :] for piece in params.split(";") if piece.startswith(mark)), None)


def numbered(cseq: int, shift: int) -> int:
    """A CSeq number as it is passed on."""
    return min(cseq + shift, MAX_CSEQ)


def shifted_rack(request: Request, shift: int) -> str | None:
    """The RAck line (RFC 3262 7.2) of a PRACK whose INVITE was passed on with another number; None without one."""
    words = (request.field("rack") or "").split()
    if len(words) != 3 or not words[1].isdecimal() or len(words[1]) > 10:
        return None
    return f"RAck: {words[0]} {numbered(int(words[1]), shift)} {words[2]}\r\n"


class Aim(NamedTuple):
    """Where a request in a dialog goes (RFC 3261 12.2.1.1).

    Args:
        ruri: its Request-URI.
        routes: its Route values.
        next_hop: where that is not the first of these: to a strict router.
    """

    ruri: str
    routes: list[str]
    next_hop: str | None = None


def aim_at(leg: Leg) -> Aim | None:
    """Where a request to this end goes; None when nobody knows, since it sent no Contact."""
    if not leg.contact:
        return None
    if leg.routes and not is_loose(leg.routes[0]):
        # A strict router takes its own address as Request-URI, and the target at the end of the routes.
        first = parse_name_addr(leg.routes[0])
        assert first is not None, "`is_loose` says so of what cannot be read"
        return Aim(first.uri, [*leg.routes[1:], f"<{leg.contact}>"], first.uri)
    return Aim(leg.contact, leg.routes)


def is_loose(route: str) -> bool:
    """Whether a Route value belongs to a loose router; what cannot be read is taken for one."""
    value = parse_name_addr(route)
    uri = None if value is None else parse_uri(value.uri)
    return uri is None or "lr" in uri.params


def own_request(
    dialog: Dialog,
    side: Side,
    method: str,
    cseq: int,
    headers: Sequence[str] = (),
    body: bytes = b"",
    body_type: str = "",
) -> OwnRequest | None:
    """A request of our own to one end, in the name of the other (RFC 3261 12.2.1.1); None where nobody knows where to.

    Args:
        dialog: the dialog.
        side: whom it is for.
        method: e.g. ``BYE``.
        cseq: its number.
        headers: further header lines.
        body, body_type: its body, and that one's Content-Type.
    """
    leg, other = dialog.leg(side), dialog.leg(side.other)
    aim = aim_at(leg)
    if aim is None:
        return None
    lines = list(headers)
    if method in _REFRESHING and other.contact:
        # The other end's Contact, as this one knows it: the dialog must not be drawn to us.
        lines.append(f"Contact: <{other.contact}>")
    if body:
        lines.append(f"Content-Type: {body_type or 'application/sdp'}")
    return OwnRequest(
        method,
        aim.ruri,
        _party(other),
        _party(leg),
        dialog.call_id,
        cseq,
        routes=aim.routes,
        headers=lines,
        body=body,
        dst_uri=aim.next_hop,
        socket=leg.socket,
        dialog=dialog.did,
    )


_REFRESHING: Final = frozenset(("INVITE", "UPDATE", "SUBSCRIBE", "NOTIFY", "REFER"))
"""Requests that must carry a Contact, since they refresh the target (RFC 3261 12.2.1.1, RFC 6665 4.1)."""


def _party(leg: Leg) -> str:
    return f"<{leg.uri}>;tag={leg.tag}" if leg.tag else f"<{leg.uri}>"


def flags_of(text: str) -> int:
    """What `create_dialog`'s parameter asks for: its letters, or its words joined by commas; unknown ones are left out.

    Source: OpenSIPS, module dialog; letters up to 3.0, words since.
    """
    words = [word.strip() for word in text.split(",")]
    if any(word in _FLAG_WORDS for word in words):
        found = [_FLAG_WORDS.get(word, Flag(0)) for word in words]
    else:
        found = [_FLAG_LETTERS.get(letter, Flag(0)) for letter in text]
    return int(functools.reduce(operator.or_, found, Flag(0)))


_FLAG_WORDS: Final = {
    "bye-on-timeout": Flag.BYE_ON_TIMEOUT,
    "options-ping-caller": Flag.PING_CALLER,
    "options-ping-callee": Flag.PING_CALLEE,
    "reinvite-ping-caller": Flag.REINVITE_CALLER,
    "reinvite-ping-callee": Flag.REINVITE_CALLEE,
    "end-on-race-condition": Flag.END_ON_RACE,
}
_FLAG_LETTERS: Final = {
    "B": Flag.BYE_ON_TIMEOUT,
    "P": Flag.PING_CALLER,
    "p": Flag.PING_CALLEE,
    "R": Flag.REINVITE_CALLER,
    "r": Flag.REINVITE_CALLEE,
    "E": Flag.END_ON_RACE,
}
