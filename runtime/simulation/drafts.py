"""A request before it is sent: what callers will say, as the script's variables read it."""

from __future__ import annotations

import re
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from runtime.sip.fields import is_token
from runtime.sip.uri import parse_uri

_USER: Final = re.compile(r"[A-Za-z0-9_.!~*'()&=+$,;?/%-]+")
_HOST: Final = re.compile(r"[A-Za-z0-9.-]+")
_VALUE: Final = re.compile(r"[\x21-\x7e\x80-\xff](?:[\x20-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?")
_HEADER: Final = re.compile(r"hdr\((.+)\)")
_SET_BY_THE_SENDER: Final = frozenset(
    ("via", "from", "to", "call-id", "cseq", "content-length", "max-forwards", "contact", "route", "content-type")
)
_URIS: Final = {"ru": "ruri", "fu": "from_uri", "tu": "to_uri"}
_OF_URIS: Final = {
    "rU": ("ruri", "user"),
    "rd": ("ruri", "host"),
    "fU": ("from_uri", "user"),
    "fd": ("from_uri", "host"),
    "tU": ("to_uri", "user"),
    "td": ("to_uri", "host"),
}


class Draft(Struct, frozen=True):
    """A request before it has its Via, its tags and its numbers.

    Args:
        method: its method.
        ruri, from_uri, to_uri: URIs without angle brackets.
        source: the host that it comes from.
        headers: more header fields, names in lower case.
        body, content_type: empty for none.
        hops: Max-Forwards.
        tagged: whether To has a tag.
        routed: whether it has a Route that names the server.
        statuses: with which finals the next hops reply, one after the other.
        cancelled: whether the caller gives up.
        unreadable: whether its CSeq names another method, for which it is refused (RFC 3261 section 8.1.1.5).
        home: the server's host.
        contact: the value of Contact; empty for the caller's own address.
        loses: whether the worker dies that runs a command for it.
    """

    method: str
    ruri: str
    from_uri: str
    to_uri: str
    source: str
    headers: tuple[tuple[str, str], ...] = ()
    body: str = ""
    content_type: str = ""
    hops: int = 70
    tagged: bool = False
    routed: bool = False
    statuses: tuple[int, ...] = (200,)
    cancelled: bool = False
    unreadable: bool = False
    home: str = ""
    contact: str = ""
    loses: bool = False


class Surroundings(Struct, frozen=True):
    """The addresses of a simulated network.

    Args:
        server: host and port of the server.
        hop: host and port of a next hop, which answers whatever it gets.
        source: the host that callers are at unless the script asks for another.
        users, sources: texts of the script that may be a user's name, and hosts; see `words_of`.
    """

    server: str
    hop: str
    source: str
    users: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()


def reading(draft: Draft, variable: str) -> str | None:
    """What the variable will say of the request."""
    if found := _HEADER.fullmatch(variable):
        return next((value for name, value in draft.headers if name == found[1]), None)
    if variable in _OF_URIS:
        field, part = _OF_URIS[variable]
        uri = parse_uri(getattr(draft, field))
        return None if uri is None else getattr(uri, part) or None
    match variable:
        case "ru" | "fu" | "tu":
            return str(getattr(draft, _URIS[variable]))
        case "rm":
            return draft.method
        case "si":
            return draft.source
        case "ua":
            return reading(draft, "hdr(user-agent)")
        case "cT":
            return draft.content_type or None
        case "rb":
            return draft.body or None
        case _:
            return None


def written(draft: Draft, variable: str, value: str | None) -> Draft | None:
    """The request with a variable saying something else; None where a message cannot say that."""
    if found := _HEADER.fullmatch(variable):
        return with_header(draft, found[1], value)
    if variable in _OF_URIS:
        return _with_part(draft, *_OF_URIS[variable], value)
    match variable:
        case "ru" | "fu" | "tu" if value is not None:
            return _with_uri(draft, _URIS[variable], value)
        case "rm" if value is not None and is_token(value):
            return replace(draft, method=value)
        case "si" if value is not None and _HOST.fullmatch(value):
            return replace(draft, source=value)
        case "ua":
            return with_header(draft, "user-agent", value)
        case "cT":
            return replace(draft, content_type=value, body=draft.body or "1") if value else bare(draft)
        case "rb":
            return replace(draft, body=value, content_type=draft.content_type or "text/plain") if value else bare(draft)
        case _:
            return None


def bare(draft: Draft) -> Draft:
    """The request without a body."""
    return replace(draft, body="", content_type="")


def with_header(draft: Draft, name: str, value: str | None) -> Draft | None:
    """The request with one header of that name, or none; None where the sender sets it or the value breaks its line."""
    if name in _SET_BY_THE_SENDER or not is_token(name):
        return None
    others = tuple(one for one in draft.headers if one[0] != name)
    if value is None:
        return replace(draft, headers=others)
    return replace(draft, headers=(*others, (name, value))) if _VALUE.fullmatch(value) else None


def _with_part(draft: Draft, field: str, part: str, value: str | None) -> Draft | None:
    uri = parse_uri(getattr(draft, field))
    if uri is None or (part == "host" and value is None):
        return None
    if value is not None and not (_USER if part == "user" else _HOST).fullmatch(value):
        return None
    user, host = (value or "", uri.host) if part == "user" else (uri.user, value)
    port = f":{uri.port}" if uri.port and part == "user" else ""
    return _with_uri(draft, field, f"sip:{user}@{host}{port}" if user else f"sip:{host}{port}")


def _with_uri(draft: Draft, field: str, text: str) -> Draft | None:
    """The request with another URI; a text that is only the beginning of one gets the host of what was there."""
    before = parse_uri(getattr(draft, field))
    host = f"{before.host}:{before.port or 5060}" if before else "127.0.0.1"
    for tried in (text, f"{text}{host}", f"{text}@{host}", f"sip:{text}", f"sip:{text}@{host}"):
        uri = parse_uri(tried)
        if uri is not None and str(uri) == tried:
            return replace(draft, **{field: tried})
    return None
