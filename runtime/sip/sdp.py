"""Session descriptions (RFC 8866) as far as a proxy looks into them.

Text is bytes spelled as latin-1, as everywhere here. Reading is lenient about the order of lines, line ends and what
it does not know, and strict about what it reports: a media line that makes no sense makes the whole unreadable.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, NamedTuple

from runtime.sip.body import find_part
from runtime.sip.fields import number
from runtime.sip.message import Message

MEDIA_TYPE: Final = "application/sdp"
MAX_STREAMS: Final = 64
MAX_LINES: Final = 2_048
_DIRECTIONS: Final = frozenset(("sendrecv", "sendonly", "recvonly", "inactive"))
# fmt: off
_STATIC_CODECS: Final = {
    "0": ("PCMU", 8000), "3": ("GSM", 8000), "4": ("G723", 8000), "5": ("DVI4", 8000), "6": ("DVI4", 16000),
    "7": ("LPC", 8000), "8": ("PCMA", 8000), "9": ("G722", 8000), "10": ("L16", 44100), "11": ("L16", 44100),
    "12": ("QCELP", 8000), "13": ("CN", 8000), "14": ("MPA", 90000), "15": ("G728", 8000), "16": ("DVI4", 11025),
    "17": ("DVI4", 22050), "18": ("G729", 8000), "25": ("CelB", 90000), "26": ("JPEG", 90000), "28": ("nv", 90000),
    "31": ("H261", 90000), "32": ("MPV", 90000), "33": ("MP2T", 90000), "34": ("H263", 90000),
}
# fmt: on
"""The payload types that need no rtpmap (RFC 3551 6)."""

Attributes = tuple[tuple[str, str | None], ...]
"""Names and values in order; None for an attribute without a colon."""


class Connection(NamedTuple):
    """A ``c=`` line (RFC 8866 5.7).

    Args:
        network: ``IN``.
        family: ``IP4`` or ``IP6``.
        address: as written, without brackets; TTL and count of a multicast address included.
    """

    network: str
    family: str
    address: str


class Origin(NamedTuple):
    """An ``o=`` line (RFC 8866 5.2)."""

    username: str
    session_id: str
    version: str
    connection: Connection


class Codec(NamedTuple):
    """A format of a stream over RTP.

    Args:
        payload: the payload type, as written.
        name: the encoding's name, as written; empty where nothing tells it.
        clock_hz: 0 where nothing tells it.
    """

    payload: str
    name: str
    clock_hz: int


@dataclass(frozen=True, slots=True)
class Stream:
    """A media description: an ``m=`` line and what follows it.

    Args:
        kind: ``audio``, ``video``, …
        port: 0 for a stream that is refused (RFC 3264 6).
        ports: how many, 1 unless the line says more.
        protocol: e.g. ``RTP/AVP``.
        formats: payload types, as written.
        connection: of this stream, or else of the session.
        attributes: of this stream alone.
        direction: ``sendrecv``, ``sendonly``, ``recvonly`` or ``inactive``; of this stream, or else of the session.
        lines: the whole description, the media line first, without line ends.
    """

    kind: str
    port: int
    ports: int
    protocol: str
    formats: tuple[str, ...]
    connection: Connection | None
    attributes: Attributes
    direction: str
    lines: tuple[str, ...]

    @property
    def is_on_hold(self) -> bool:
        """Whether who sent this wants to receive nothing (RFC 3264 8.4; the address 0.0.0.0 is the way of RFC 2543)."""
        return self.direction in ("sendonly", "inactive") or (
            self.connection is not None and self.connection.address == "0.0.0.0"
        )

    def codecs(self) -> tuple[Codec, ...]:
        """The formats, each with what ``a=rtpmap`` or RFC 3551 says of it."""
        known = dict(_STATIC_CODECS)
        for value in values_of(self.attributes, "rtpmap"):
            payload, _, encoding = value.partition(" ")
            name, _, rest = encoding.strip(" ").partition("/")
            known[payload] = (name, number(rest.partition("/")[0], 2**31) or 0)
        return tuple(Codec(payload, *known.get(payload, ("", 0))) for payload in self.formats)


@dataclass(frozen=True, slots=True)
class Session:
    """A session description.

    Args:
        origin: None when it has none that can be read.
        name: of the ``s=`` line.
        connection: of the session; None when only its streams have one.
        attributes: of the session.
        streams: in order.
        lines: what stands before the first media line, without line ends.
    """

    origin: Origin | None
    name: str
    connection: Connection | None
    attributes: Attributes
    streams: tuple[Stream, ...]
    lines: tuple[str, ...]


def sdp_of(message: Message) -> Session | None:
    """The session description that a message carries, alone or in a multipart; None when there is none to be read."""
    part = find_part(message, MEDIA_TYPE)
    return None if part is None else parse_sdp(part.content)


def parse_sdp(content: bytes) -> Session | None:
    """Read a session description; None for what is none, whatever the bytes are.

    Args:
        content: the body, or the part of it.
    """
    lines = [line.rstrip("\r") for line in content.decode("latin-1").split("\n", MAX_LINES + 1)]
    lines = [line for line in lines if line]
    if not lines or lines[0][:2] != "v=" or len(lines) > MAX_LINES:
        return None
    starts = [at for at, line in enumerate(lines) if line[:2] == "m="]
    if len(starts) > MAX_STREAMS:
        return None
    head = lines[: starts[0]] if starts else lines
    connection = _connection_of(head)
    attributes = _attributes(head)
    direction = _direction(attributes, "sendrecv")
    streams = []
    for start, end in pairwise([*starts, len(lines)]):
        stream = _stream(lines[start:end], connection, direction)
        if stream is None:
            return None
        streams.append(stream)
    return Session(_origin(_value(head, "o=")), _value(head, "s="), connection, attributes, tuple(streams), tuple(head))


def values_of(attributes: Attributes, name: str) -> list[str]:
    """The values of every attribute of that name, in order; empty text for one without a value."""
    return [value or "" for found, value in attributes if found == name]


def split_streams(text: str) -> tuple[str, list[str]]:
    """Cut a description before each of its media lines; put together again, the pieces are the text.

    Args:
        text: any, with whatever line ends.

    Returns:
        the session's own lines, and each stream's, line ends included.
    """
    pieces: list[list[str]] = [[]]
    for line in lines_of(text):
        if line.startswith("m="):
            pieces.append([])
        pieces[-1].append(line)
    return "".join(pieces[0]), ["".join(piece) for piece in pieces[1:]]


def lines_of(text: str) -> list[str]:
    """The lines of a description with their ends; the last one may have none."""
    # Not splitlines(): it cuts at characters that are ends of lines to Unicode and nothing to SDP.
    *ended, last = text.split("\n")
    return [f"{line}\n" for line in ended] + ([last] if last else [])


def _stream(lines: list[str], session: Connection | None, direction: str) -> Stream | None:
    words = _words(lines[0][2:])
    if len(words) < 3:
        return None
    port, slash, count = words[1].partition("/")
    first, ports = number(port, 65_535), number(count, 65_535) if slash else 1
    if first is None or ports is None:
        return None
    attributes = _attributes(lines)
    return Stream(
        words[0],
        first,
        ports,
        words[2],
        tuple(words[3:]),
        _connection_of(lines) or session,
        attributes,
        _direction(attributes, direction),
        tuple(lines),
    )


def _words(text: str) -> list[str]:
    return [word for word in text.split(" ") if word]


def _value(lines: Iterable[str], letter: str) -> str:
    return next((line[2:] for line in lines if line[:2] == letter), "")


def _connection_of(lines: list[str]) -> Connection | None:
    return _connection(_words(_value(lines, "c=")))


def _connection(words: list[str]) -> Connection | None:
    return Connection(*words) if len(words) == 3 else None


def _origin(text: str) -> Origin | None:
    words = _words(text)
    connection = _connection(words[3:])
    return None if connection is None else Origin(words[0], words[1], words[2], connection)


def _attributes(lines: list[str]) -> Attributes:
    found = []
    for line in lines:
        if line[:2] == "a=":
            name, colon, value = line[2:].partition(":")
            found.append((name, value if colon else None))
    return tuple(found)


def _direction(attributes: Attributes, default: str) -> str:
    return next((name for name, value in attributes if value is None and name in _DIRECTIONS), default)
