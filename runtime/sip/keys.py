"""By what a request finds its transaction (RFC 3261 17.2.3).

A key is one string, so that it can be a dict's key, a log's word and, hashed, a fingerprint. Its words are parted by
spaces; the method and the sent-by cannot hold one and stand first, so two different keys never read the same.
"""

from __future__ import annotations

from typing import Final

from runtime.compiled import is_compiled
from runtime.sip.fields import Via
from runtime.sip.message import Request

_COMPILED: Final = is_compiled("runtime.sip.usual")
if _COMPILED:
    from runtime.sip import usual

MAGIC_COOKIE: Final = "z9hG4bK"


def server_key(request: Request) -> str:
    """The key of the server transaction that this request belongs to, or would make.

    With the magic cookie it is branch, sent-by and method. An ACK has its INVITE's key. Branches are compared byte by
    byte although RFC 3261 7.3.1 calls them case-insensitive: a copy of a request is a copy, and senders that draw
    their branches from base64 would collide.

    Args:
        request: one that `message.parse` accepted.
    """
    if _COMPILED and (key := usual.server_key(request)) is not None:
        return key
    return server_key_any(request)


def server_key_any(request: Request) -> str:
    """The same in Python alone, for any request."""
    return _key(request, "INVITE" if request.method == "ACK" else request.method)


def invite_key(request: Request) -> str:
    """The key of the INVITE transaction that a CANCEL (RFC 3261 9.2) or an ACK is about."""
    return _key(request, "INVITE")


def dialog_ack_key(request: Request) -> str:
    """What the INVITE and the ACK of its 2xx have in common: Call-ID, From tag, CSeq number.

    That ACK has a branch of its own (RFC 3261 13.2.2.4), and matches no transaction by `server_key`.
    """
    return f"2xx {request.cseq_number} {request.from_.tag or '-'} {request.call_id}"


def _key(request: Request, method: str) -> str:
    via = request.via
    branch = via.params.get("branch")
    if branch is not None and branch.startswith(MAGIC_COOKIE) and branch != MAGIC_COOKIE:
        return f"{method} {_sent_by(via)} {branch}"
    return _old_key(request, method)


def _sent_by(via: Via) -> str:
    # No port and port 5060 are told apart, as the RFC compares the sent-by value; a copy repeats what was written.
    return via.host.lower() if via.port is None else f"{via.host.lower()}:{via.port}"


def _old_key(request: Request, method: str) -> str:
    """RFC 2543 senders: Request-URI, tags, Call-ID, CSeq and the topmost Via.

    The To tag is left out for INVITE: its ACK carries the tag of the reply, which the INVITE did not have. Nothing is
    lost, since another INVITE of the same dialog has another CSeq. A CANCEL's To is that of its INVITE, so it is left
    out as well of what it looks for.
    """
    to_tag = "-" if method == "INVITE" else request.to.tag or "-"
    via = request.get("via")
    words = (method, request.cseq_number, request.ruri, request.from_.tag or "-", to_tag, request.call_id, via)
    return " ".join(str(word) for word in words)
