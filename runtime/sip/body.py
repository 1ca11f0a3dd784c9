"""A message's body in its parts (RFC 3261 7.4, RFC 2045, RFC 2046 5.1, RFC 5621).

Nothing is read before somebody asks, and nothing is kept: a proxy passes bodies on as they came. Contents are bytes,
whatever they hold; headers are text spelled as latin-1. What is too deep or too much stays a part that was not taken
apart.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from runtime.sip.fields import LWS, Params, is_token, parse_params
from runtime.sip.message import Message

MAX_DEPTH: Final = 4
"""How deep multiparts may lie in each other; the outermost counts."""
MAX_PARTS: Final = 64
"""In one body, over all depths."""
MAX_PART_HEADERS: Final = 32
MAX_BOUNDARY_CHARS: Final = 70
"""RFC 2046 5.1.1."""
_DEFAULT_TYPE: Final = "text/plain"


@dataclass(frozen=True, slots=True)
class Part:
    """A body, or one part of a multipart body.

    Args:
        media_type: type and subtype in lower case, e.g. ``application/sdp``; empty for a message's body without one.
        params: the media type's parameters, values without their quotes.
        headers: a part's own header fields, names in lower case; empty for a message's whole body.
        content: as it lies in the message.
        disposition: Content-Disposition's type in lower case; where absent the default of RFC 3261 20.11.
        parts: of a multipart its parts, in order.
    """

    media_type: str
    params: Params
    headers: dict[str, str]
    content: bytes
    disposition: str
    parts: tuple[Part, ...] = ()

    def leaves(self) -> Iterator[Part]:
        """The parts that are no multiparts, in order; the body itself when it is none."""
        if not self.parts:
            yield self
        for part in self.parts:
            yield from part.leaves()


def read_body(message: Message) -> Part | None:
    """A message's body; None when it has none."""
    content = message.body
    if not content:
        return None
    media_type, params = parse_media_type(message.content_type or "")
    return _Reading().part(media_type, params, {}, content, message.field("content-disposition"), 1)


def find_part(message: Message, media_type: str) -> Part | None:
    """The first part of that type, also where it is the whole body or lies in a multipart; None when there is none.

    Args:
        media_type: type and subtype, e.g. ``application/sdp``; ``application/*`` for any subtype.
    """
    body = read_body(message)
    if body is None:
        return None
    return next((part for part in body.leaves() if matches_type(part.media_type, media_type)), None)


def matches_type(media_type: str, pattern: str) -> bool:
    """Whether a media type (in lower case) is the one asked for, or of the kind asked for: ``text/*``, ``*/*``."""
    pattern = pattern.strip(LWS).lower()
    if pattern.endswith("/*"):
        return pattern == "*/*" or media_type.startswith(pattern[:-1])
    return media_type == pattern


def parse_media_type(text: str) -> tuple[str, Params]:
    """Read a Content-Type.

    Args:
        text: e.g. ``multipart/mixed; boundary="a b"``.

    Returns:
        type and subtype in lower case without white space, and the parameters without quotes; an empty type for what
        is none.
    """
    written, _, rest = text.partition(";")
    words = [word.strip(LWS).lower() for word in written.split("/")]
    if len(words) != 2 or not all(map(is_token, words)):
        return "", {}
    params = parse_params(rest) if rest else {}
    return "/".join(words), {name: value and _unquoted(value) for name, value in params.items()}


def _unquoted(text: str) -> str:
    if len(text) < 2 or text[0] != '"' or text[-1] != '"':
        return text
    inner = text[1:-1]
    if "\\" not in inner:
        return inner
    return "\\".join([piece.replace("\\", "") for piece in inner.split("\\\\")])


class _Reading:
    """One body's reading. It counts the parts, so that their number is bounded whatever lies in what."""

    def __init__(self) -> None:
        self._left = MAX_PARTS

    def part(
        self,
        media_type: str,
        params: Params,
        headers: dict[str, str],
        content: bytes,
        disposition: str | None,
        depth: int,
    ) -> Part:
        kind = (disposition or "").partition(";")[0].strip(LWS).lower()
        parts: tuple[Part, ...] = ()
        if media_type.startswith("multipart/") and depth <= MAX_DEPTH:
            default = "message/rfc822" if media_type == "multipart/digest" else _DEFAULT_TYPE
            parts = self._parts(content, params.get("boundary") or "", default, depth + 1)
        usual = "session" if media_type == "application/sdp" else "render"
        return Part(media_type, params, headers, content, kind or usual, parts)

    def _parts(self, content: bytes, boundary: str, default: str, depth: int) -> tuple[Part, ...]:
        if not 0 < len(boundary) <= MAX_BOUNDARY_CHARS:
            return ()
        parts = []
        for piece in _pieces(content, boundary.encode("latin-1", "replace")):
            if self._left <= 0:
                break
            self._left -= 1
            headers, inner = _head_and_content(piece)
            media_type, params = parse_media_type(headers.get("content-type") or default)
            parts.append(self.part(media_type, params, headers, inner, headers.get("content-disposition"), depth))
        return tuple(parts)


def _pieces(content: bytes, boundary: bytes) -> Iterator[bytes]:
    """What lies between the delimiter lines. Without a closing one the last piece is all the rest.

    A delimiter starts a line and has nothing but white space behind it. So every search for a line end stops before
    the next delimiter, and the whole is one pass.
    """
    mark = b"--" + boundary
    start = -1
    at = content.find(mark)
    while at >= 0:
        behind = at + len(mark)
        if at == 0 or content[at - 2 : at] == b"\r\n":
            is_last = content[behind : behind + 2] == b"--"
            line_end = content.find(b"\r\n", behind)
            if not content[behind + 2 * is_last : line_end if line_end >= 0 else None].strip(b" \t"):
                if start >= 0:
                    yield content[start : max(start, at - 2)]
                if is_last or line_end < 0:
                    return
                start = line_end + 2
        at = content.find(mark, behind)
    if start >= 0:
        yield content[start:]


def _head_and_content(piece: bytes) -> tuple[dict[str, str], bytes]:
    if piece.startswith(b"\r\n"):
        return {}, piece[2:]
    head, _, content = piece.partition(b"\r\n\r\n")
    headers: dict[str, str] = {}
    name = ""
    for line in head.decode("latin-1").split("\r\n", MAX_PART_HEADERS)[:MAX_PART_HEADERS]:
        if line[:1] in (" ", "\t"):
            if name:
                headers[name] = f"{headers[name]} {line.strip(LWS)}"
            continue
        written, colon, value = line.partition(":")
        name = written.rstrip(" \t").lower()
        if not colon or not is_token(name) or name in headers:
            name = ""
            continue
        headers[name] = value.strip(LWS)
    return headers, content
