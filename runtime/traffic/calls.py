"""What follows an INVITE's final answer: an ACK, and the end of the call that a 2xx began. No I/O.

A caller acknowledges every final answer, or it comes again and again (RFC 3261 sections 13.2.2.4 and 17.1.1.3). The
calls of a load are of no use once they are answered: those that were taken are hung up at once.
"""

from __future__ import annotations

import re
from typing import Final

_VALUE: Final = rb"^%s[ \t]*:[ \t]*([^\r\n]*)"


def _header(name: bytes) -> re.Pattern[bytes]:
    return re.compile(_VALUE % name, re.MULTILINE | re.IGNORECASE)


_VIA, _FROM, _TO = _header(b"(?:Via|v)"), _header(b"(?:From|f)"), _header(b"(?:To|t)")
_CALL_ID, _CSEQ = _header(b"(?:Call-ID|i)"), _header(b"CSeq")
_CONTACT, _ROUTE, _RECORD = _header(b"(?:Contact|m)"), _header(b"Route"), _header(b"Record-Route")
_URI: Final = re.compile(rb"<([^>]*)>|^([A-Za-z][A-Za-z0-9+.-]*:[^;,\s]+)")
_BRANCH: Final = b";branch=z9hG4bK"


def after_final(invite: bytes, answer: bytes, again: bool = False) -> list[bytes]:
    """What a caller sends when its INVITE has a final answer.

    Args:
        invite: as it was sent.
        answer: the final one.
        again: whether it has come before.

    Returns:
        The ACK, and behind that of a 2xx, the first time, a BYE.
    """
    if answer[8:9] == b"2":
        ack = _within(invite, answer, b"ACK", 0)
        return [ack] if again else [ack, _within(invite, answer, b"BYE", 1)]
    lines = [_found(_VIA, invite), _found(_FROM, invite), _found(_TO, answer), _found(_CALL_ID, invite)]
    uri, number = invite.split(b" ", 2)[1], _number(invite)
    return [_message(b"ACK", uri, lines, number, _ROUTE.findall(invite))]


def _within(invite: bytes, answer: bytes, method: bytes, more: int) -> bytes:
    """A request within the dialog that the answer made, with a branch of its own that no answer is known by."""
    via = _found(_VIA, invite).replace(_BRANCH, _BRANCH + method, 1)
    lines = [via, _found(_FROM, invite), _found(_TO, answer), _found(_CALL_ID, invite)]
    target = _URI.search(_found(_CONTACT, answer))
    uri = (target[1] or target[2]) if target else invite.split(b" ", 2)[1]
    routes = [each.strip() for value in _RECORD.findall(answer) for each in value.split(b",")]
    return _message(method, uri, lines, _number(invite) + more, routes[::-1])


def _message(method: bytes, uri: bytes, lines: list[bytes], number: int, routes: list[bytes]) -> bytes:
    names = (b"Via: ", b"From: ", b"To: ", b"Call-ID: ")
    head = [method + b" " + uri + b" SIP/2.0", *(name + line for name, line in zip(names, lines, strict=True))]
    head += [b"CSeq: %d " % number + method, b"Max-Forwards: 70", *(b"Route: " + route for route in routes)]
    return b"\r\n".join([*head, b"Content-Length: 0", b"", b""])


def _found(header: re.Pattern[bytes], message: bytes) -> bytes:
    found = header.search(message)
    return found[1] if found else b""


def _number(invite: bytes) -> int:
    digits = re.match(rb"[0-9]{1,9}", _found(_CSEQ, invite))
    return int(digits[0]) if digits else 1
