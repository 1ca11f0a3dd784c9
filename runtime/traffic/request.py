"""What a request of the load looks like: a text with the keywords that sipp's scenarios use, made into pieces."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

_NUMBER: Final = "[call_number]"
_KEYWORD: Final = re.compile(r"\[([a-z_]+)\]")
KEYWORDS: Final = (
    *("service", "remote_ip", "remote_port", "local_ip", "local_port", "transport"),
    *("branch", "call_id", "call_number", "len"),
)
"""What may stand in square brackets. `service` is the user that is asked for."""

_HEAD: Final = """{method} sip:{user}[remote_ip]:[remote_port] SIP/2.0
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch];rport
Max-Forwards: 70
From: <sip:caller@[local_ip]:[local_port]>;tag=f[call_number]
To: <sip:[service]@[remote_ip]:[remote_port]>
Call-ID: [call_id]
CSeq: 1 {method}
Contact: <sip:caller@[local_ip]:[local_port]>
User-Agent: layby
"""
_REST: Final = {
    "MESSAGE": "Content-Type: text/plain\nContent-Length: [len]\n\nHello",
    "INVITE": "Content-Type: application/sdp\nContent-Length: [len]\n\nv=0\no=- 1 1 IN IP4 [local_ip]\ns=-\n"
    "c=IN IP4 [local_ip]\nt=0 0\nm=audio 6000 RTP/AVP 0\n",
}
_METHOD: Final = re.compile(r"[A-Z]{1,32}")
_WITHIN: Final = frozenset(["ACK", "BYE", "CANCEL", "PRACK"])


class Template(NamedTuple):
    """A request from one source port, in the pieces between which its number goes."""

    pieces: tuple[bytes, ...]

    def numbered(self, number: int) -> bytes:
        """The request with that number."""
        return (b"%d" % number).join(self.pieces)


def request_of(method: str) -> str:
    """A plain request with this method, with its keywords.

    Raises:
        ValueError: it is no method, or one that belongs to what an INVITE has begun.
    """
    if not _METHOD.fullmatch(method):
        raise ValueError(f"{method!r} is no method")
    if method in _WITHIN:
        raise ValueError(f"{method} belongs to a call: what is offered stands for itself")
    user = "" if method == "REGISTER" else "[service]@"
    return _HEAD.format(method=method, user=user) + _REST.get(method, "Content-Length: 0\n\n")


def checked(text: str) -> str:
    """A request's text as it goes out: lines end with CR and LF, and there is an empty one behind the headers.

    Raises:
        ValueError: it has unknown keywords, or lacks the branch by which its answer is known, or belongs to a call.
    """
    lines = text.lstrip("\r\n").replace("\r\n", "\n")
    head, _, body = lines.partition("\n\n")
    if unknown := sorted({found[1] for found in _KEYWORD.finditer(head)} - set(KEYWORDS)):
        raise ValueError(f"unknown: [{unknown[0]}]; there are {', '.join(f'[{each}]' for each in KEYWORDS)}")
    method = head.partition(" ")[0]
    if method in _WITHIN or not _METHOD.fullmatch(method):
        request_of(method)
    if "branch=[branch]" not in head:
        raise ValueError("no Via with branch=[branch], by which the answer is known")
    if any(word in body for word in (_NUMBER, "[branch]", "[call_id]", "[len]")):
        raise ValueError("numbers and lengths go into the headers, not into the body")
    return (head.rstrip("\n") + "\n\n" + body).replace("\n", "\r\n")


def rendered(text: str, run: str, user: str, server: tuple[str, int], source: tuple[str, int]) -> Template:
    """A checked text with everything put in but the number.

    Args:
        text: from `checked`.
        run: names the run in branches and Call-IDs.
        user: for ``[service]``.
        server, source: the addresses at both ends.
    """
    values = {
        "service": user,
        "transport": "UDP",
        "remote_ip": server[0],
        "remote_port": str(server[1]),
        "local_ip": source[0],
        "local_port": str(source[1]),
        "branch": f"z9hG4bK{run}-{_NUMBER}",
        "call_id": f"{run}-{_NUMBER}@{source[0]}",
    }
    filled = _KEYWORD.sub(lambda found: values.get(found[1], found[0]), text)
    body = filled.partition("\r\n\r\n")[2]
    whole = filled.replace("[len]", str(len(body.encode())), 1)
    return Template(tuple(whole.encode().split(_NUMBER.encode())))
