"""The small values inside header fields: lists, parameters, Via, name-addr (RFC 3261 section 25.1).

Every function takes hostile text and never raises: what cannot be read is None. Each is one linear pass; where a
regular expression would be shorter it would also be quadratic on a field full of escaped quotes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Final, NamedTuple, TypeAlias

from runtime.compiled import is_compiled

_COMPILED: Final = is_compiled("runtime.sip.scan")
if _COMPILED:
    from runtime.sip import scan

Params: TypeAlias = dict[str, str | None]
"""Parameter names in lower case to their values as written; None for a parameter without `=`."""

LWS: Final = " \t\r\n"
"""What is white space to SIP (RFC 3261 25.1). Python's own notion takes in bytes with which letters of UTF-8 end: an a
with a grave accent at the end of a value would lose half of itself."""

_HOST = re.compile(r"[A-Za-z0-9_.-]+|\[[0-9A-Fa-f:.]+\]")
_TOKEN = re.compile(r"[A-Za-z0-9.!%*_+`'~-]+")
_LIST_MARKS = re.compile(r'[\\"<>,;]')
_QUOTE_MARKS = re.compile(r'[\\"]')
_USUAL_NAME_ADDR = re.compile(r"<([^<> \t\r\n]*)>(?:;tag=([A-Za-z0-9.!%*_+`'~-]+))?")
"""A URI in brackets, with nothing but a tag: From and To of most messages. Others cost 3.5 times as much."""


# NamedTuples, not frozen dataclasses: these are made for every datagram, and a tuple is made in half the time.
class Via(NamedTuple):
    """One Via value (RFC 3261 20.42).

    Args:
        transport: as written, e.g. ``UDP``.
        host: the sent-by host; an IPv6 address keeps its brackets.
        port: the sent-by port, None when absent.
        params: ``branch``, ``rport``, ``received``, …
    """

    transport: str
    host: str
    port: int | None
    params: Params

    @property
    def branch(self) -> str | None:
        """The branch parameter, None when absent or empty."""
        return self.params.get("branch") or None


class NameAddr(NamedTuple):
    """A name-addr or addr-spec with its header parameters (From, To, Contact, Route, …).

    Args:
        display: the display name as written, quotes and escapes included; empty when absent.
        uri: the URI's text, without angle brackets; ``*`` for the Contact of a full deregistration.
        params: the header's parameters. Without angle brackets every parameter is the header's (RFC 3261 20).
    """

    display: str
    uri: str
    params: Params

    @property
    def tag(self) -> str | None:
        """The tag parameter, None when absent or empty."""
        return self.params.get("tag") or None


def is_token(text: str) -> bool:
    """Whether the text is a `token` of RFC 3261 25.1: a method, a header name."""
    return _TOKEN.fullmatch(text) is not None


def is_host(text: str) -> bool:
    """Whether the text looks like a host name, an IPv4 address or a bracketed IPv6 reference."""
    return _HOST.fullmatch(text) is not None


def number(text: str, limit: int) -> int | None:
    """A decimal number up to and including `limit`; None for anything else, signs and underscores included."""
    if not text.isdecimal():
        return None
    if len(text) > 20:  # int() of a hostile length is quadratic, and beyond 4,300 digits it raises
        text = text.lstrip("0") or "0"
        if len(text) > 20:
            return None
    value = int(text)
    return value if value <= limit else None


def split_outside(text: str, separator: str) -> list[str]:
    """Cut at a comma or semicolon that stands outside quoted strings and angle brackets.

    Args:
        text: one field's value.
        separator: ``,`` or ``;``.

    Returns:
        the pieces, stripped, without empty ones.
    """
    if _COMPILED and (pieces := scan.split_outside(text, separator)) is not None:
        return pieces
    return split_outside_any(text, separator)


def split_outside_any(text: str, separator: str) -> list[str]:
    """The same in Python alone, for any text."""
    if separator not in text:
        piece = text.strip(LWS)
        return [piece] if piece else []
    if '"' not in text and "<" not in text:
        return [piece for part in text.split(separator) if (piece := part.strip(LWS))]
    return [piece for start, end in _cuts(text, separator) if (piece := text[start:end].strip(LWS))]


def _cuts(text: str, separator: str, *, brackets: bool = True) -> list[tuple[int, int]]:
    cuts = []
    start = skip_to = 0
    quoted = bracketed = False
    for mark in _LIST_MARKS.finditer(text):
        at = mark.start()
        if at < skip_to:
            continue
        char = text[at]
        if quoted:
            if char == "\\":
                skip_to = at + 2
            elif char == '"':
                quoted = False
        elif bracketed:
            bracketed = char != ">"
        elif char == '"':
            quoted = True
        elif char == "<":
            bracketed = brackets
        elif char == separator:
            cuts.append((start, at))
            start = at + 1
    cuts.append((start, len(text)))
    return cuts


def parse_params(text: str) -> Params:
    """Read ``;a=b;c`` (the first semicolon may be missing). Of a repeated name the first value stands."""
    params: Params = {}
    # A bracket means nothing here: one that a sender leaves open must not hide what others append.
    for piece in text.split(";") if '"' not in text else [text[a:b] for a, b in _cuts(text, ";", brackets=False)]:
        name, equals, value = piece.partition("=")
        if name not in USUAL_PARAMS:
            name = name.strip(LWS).lower()
        if name and name not in params:
            params[name] = value.strip(LWS) if equals else None
    return params


USUAL_PARAMS: Final = frozenset(("branch", "rport", "received", "tag", "lr", "expires", "q", "transport"))


def parse_via(text: str) -> Via | None:
    """Read one Via value; None without a protocol of SIP/2.0, a transport, or a host, with a quote that never ends or a
    bracket: what a reply appends to such a value would be part of the quotation.

    Args:
        text: one value, e.g. ``SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK77``.
    """
    sent, _, rest = text.partition(";")
    place = _sent(sent) if len(sent) <= _MAX_SENT_CHARS else None
    if place is None or (('"' in rest or "<" in rest) and not _can_be_added_to(rest)):
        return None
    return Via(place[0], place[1], place[2], parse_params(rest) if rest else {})


_MAX_SENT_CHARS = 300


# A peer writes the same protocol and sent-by into all its messages: remembered, it costs 0.1 µs instead of 1.5.
@lru_cache(maxsize=1024)
def _sent(sent: str) -> tuple[str, str, int | None] | None:
    """Protocol, host and port before a Via's first semicolon (white space is allowed around the slashes)."""
    pieces = sent.split("/", 2)
    if len(pieces) != 3 or pieces[0].strip(LWS).upper() != "SIP" or pieces[1].strip(LWS) != "2.0":
        return None
    transport, blank, place = pieces[2].replace("\t", " ").strip(LWS).partition(" ")
    found = split_host_port(place) if blank and is_token(transport) else None
    return None if found is None else (transport, *found)


def split_host_port(text: str) -> tuple[str, int | None] | None:
    """Read ``host[:port]`` (white space allowed around the colon, RFC 3261 25.1); None when it is neither."""
    if text[:1] == "[" or ":" not in text:
        host, bracket, rest = text.partition("]")
        host = (host + bracket).strip(LWS)
        rest = rest.strip(LWS)
        if rest and rest[0] != ":":
            return None
        port_text = rest[1:].strip(LWS)
        has_port = bool(rest)
    else:
        host, _, port_text = text.partition(":")
        host = host.strip(LWS)
        port_text = port_text.strip(LWS)
        has_port = True
    if _HOST.fullmatch(host) is None:
        return None
    if not has_port:
        return host, None
    port = number(port_text, 65535)
    return None if port is None else (host, port)


def parse_name_addr(text: str) -> NameAddr | None:
    """Read ``"Name" <uri>;params``, ``Name <uri>;params`` or ``uri;params``; None when it is none of these."""
    if _COMPILED and (found := scan.name_addr(text)) is not None:
        return found
    return parse_name_addr_any(text)


def parse_name_addr_any(text: str) -> NameAddr | None:
    """The same in Python alone, for any text."""
    usual = _USUAL_NAME_ADDR.fullmatch(text)
    if usual is not None:
        tag = usual[2]
        return NameAddr("", usual[1], {} if tag is None else {"tag": tag})
    text = text.strip(LWS)
    opening = text.find("<", _after_quoted(text) if text[:1] == '"' else 0)
    if opening < 0:
        uri, _, rest = text.partition(";")
        if not uri or uri[0] == '"':
            return None
        return NameAddr("", uri.rstrip(LWS), parse_params(rest) if rest else {})
    closing = text.find(">", opening)
    if closing < 0:
        return None
    rest = text[closing + 1 :].lstrip(LWS)
    if rest and rest[0] != ";":
        return None
    return NameAddr(
        text[:opening].rstrip(LWS), text[opening + 1 : closing].strip(LWS), parse_params(rest[1:]) if rest else {}
    )


def _after_quoted(text: str) -> int:
    """The index behind the quoted string that starts the text; the text's length when it never ends."""
    return next((at + 1 for at in _quotes(text) if at), len(text))


def _can_be_added_to(text: str) -> bool:
    """Whether what is appended stands outside quotations and brackets."""
    places = [-1, *_quotes(text), len(text)]
    return len(places) % 2 == 0 and not any(
        "<" in text[closed + 1 : opened] for closed, opened in zip(places[::2], places[1::2], strict=True)
    )


def _quotes(text: str) -> Iterator[int]:
    """Where quotes stand that open or close: a backslash takes the next character's meaning only inside."""
    inside = False
    skip_to = 0
    for mark in _QUOTE_MARKS.finditer(text):
        at = mark.start()
        if at < skip_to:
            continue
        if text[at] == '"':
            inside = not inside
            yield at
        elif inside:
            skip_to = at + 2
