"""Where one message ends and the next begins on a stream (RFC 3261 18.3, RFC 5626 3.5.1).

The usual read holds one message or a few, each whole: they are cut out of what was read, and nothing else is kept. What
is left over waits in a buffer that is only ever added to until its message is whole, and is searched from where the
last search ended, so that a sender of single bytes costs no more than a sender of whole messages.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from runtime.sip.message import MAX_DATAGRAM_BYTES

MAX_HEAD_BYTES: Final = 65_536
MAX_MESSAGE_BYTES: Final = MAX_DATAGRAM_BYTES
"""Head and body together: what `message.parse` takes, and so what can be sent on over UDP."""

_HEAD_END: Final = b"\r\n\r\n"
_PING: Final = b"\r\n\r\n"
_PONG: Final = b"\r\n"
_BLANK = re.compile(rb"[\r\n]*")
_USUAL_NAME: Final = b"\r\nContent-Length:"
_FIRST_BYTES: Final = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-.!%*_+`'~")
"""What a token may begin with (RFC 3261 25.1): a request its method, a reply its version."""
_LINE_ENDS: Final = frozenset(b"\r\n")


@dataclass(frozen=True, slots=True)
class Ping:
    """The peer asks whether the stream is alive.

    Args:
        answer: what it waits for; to be sent back at once.
    """

    answer: bytes = _PONG


@dataclass(frozen=True, slots=True)
class Broken:
    """Nobody can tell any more where the next message begins: the connection has to be closed.

    Args:
        reason: for the log and for a reply's reason phrase; printable ASCII, never the sender's text.
        head: the head of the message at fault up to its empty line, so that it can be answered; empty where there is
            none.
        status: with which status to answer it (RFC 3261 21.4.1, 21.5.7).
    """

    reason: str
    head: bytes = b""
    status: Literal[400, 513] = 400


Framed: TypeAlias = bytes | Ping | Broken
"""A message's bytes, as `message.parse` takes them, or what else a stream says."""

PING: Final = Ping()


class Framer:
    """One direction of one stream.

    Args:
        max_head: bytes of a head, its empty line included.
        max_message: bytes of a whole message.
    """

    __slots__ = ("_broken", "_buffer", "_matched", "_max_head", "_max_message", "_need", "_searched")

    def __init__(self, max_head: int = MAX_HEAD_BYTES, max_message: int = MAX_MESSAGE_BYTES) -> None:
        self._max_head = max_head
        self._max_message = max_message
        self._buffer = bytearray()
        """The beginning of a message that is not whole yet."""
        self._searched = 0
        """How much of the buffer holds no end of the head."""
        self._need = 0
        """How long the message in the buffer will be; 0 while its head is not whole."""
        self._matched = 0
        """How many bytes of a ping the stream has ended with, between two messages."""
        self._broken = False

    @property
    def partial(self) -> bool:
        """Whether a message has begun and is not whole yet."""
        return bool(self._buffer)

    def feed(self, data: bytes) -> list[Framed]:
        """Take what was read.

        Returns:
            what became whole by it, in order. `Broken` is the last that a stream ever gives.
        """
        if self._broken:
            return []
        if self._buffer:
            self._buffer += data
            if not self._is_whole():
                return self._too_long()
            data = bytes(self._buffer)
            self._start_anew()
        found: list[Framed] = []
        self._cut(data, found)
        return found

    def _start_anew(self) -> None:
        self._buffer.clear()
        self._searched = self._need = 0

    def _is_whole(self) -> bool:
        """Whether the buffer holds enough to go on with: the head's end where that was missing, else all."""
        if self._need:
            return len(self._buffer) >= self._need
        # The end may have begun in what was searched before.
        if self._buffer.find(_HEAD_END, max(0, self._searched - 3)) >= 0:
            return True
        self._searched = len(self._buffer)
        return False

    def _too_long(self) -> list[Framed]:
        if self._need or len(self._buffer) <= self._max_head:
            return []
        return [self._break(Broken("Header section too long", status=513))]

    def _break(self, broken: Broken) -> Broken:
        self._broken = True
        self._start_anew()
        return broken

    def _cut(self, data: bytes, found: list[Framed]) -> None:
        """Cut messages from `data` until it is used up, or keep what is left of it."""
        at, size = 0, len(data)
        while at < size:
            first = data[at]
            if first in _LINE_ENDS:
                end = _end_of_blank(data, at)
                found.extend([PING] * self._pings(data[at:end]))
                at = end
                continue
            self._matched = 0
            if first not in _FIRST_BYTES:
                found.append(self._break(Broken("Not a SIP message")))
                return
            at = self._cut_one(data, at, size, found)

    def _cut_one(self, data: bytes, at: int, size: int, found: list[Framed]) -> int:
        """Cut the message that begins at `at`; where the next one begins, `size` when there is none."""
        head_end = data.find(_HEAD_END, at) + 4
        if head_end < 4 or head_end - at > self._max_head:
            self._keep(data, at, found, is_whole=head_end >= 4)
            return size
        length = _length(data[at : head_end - 2])
        if isinstance(length, str):
            found.append(self._break(Broken(length, data[at:head_end])))
            return size
        end = head_end + length
        if end - at > self._max_message:
            found.append(self._break(Broken("Message too large", data[at:head_end], 513)))
            return size
        if end > size:
            self._buffer += data[at:]
            self._need = end - at
            return size
        found.append(data if end - at == size else data[at:end])
        return end

    def _keep(self, data: bytes, at: int, found: list[Framed], *, is_whole: bool) -> None:
        """Keep a head that is not whole, unless it is too long by now."""
        if is_whole or len(data) - at > self._max_head:
            found.append(self._break(Broken("Header section too long", status=513)))
            return
        self._buffer += data[at:]
        self._searched = len(self._buffer)

    def _pings(self, blank: bytes) -> int:
        """How many pings a run of CR and LF completes. A lone CRLF is a pong, or stands before a message (7.5)."""
        *pings, rest = (_PING[: self._matched] + blank).split(_PING)
        self._matched = next((n for n in (3, 2, 1) if rest.endswith(_PING[:n])), 0)
        return len(pings)


def _end_of_blank(data: bytes, at: int) -> int:
    run = _BLANK.match(data, at)
    return at if run is None else run.end()


def _length(head: bytes) -> int | str:
    """What Content-Length says (20.14), which every message on a stream must have (18.3).

    Args:
        head: from the start line to the CRLF of the last header.

    Returns:
        the body's bytes; or what is wrong, in words.
    """
    lower = head.lower()
    at = head.find(_USUAL_NAME)
    if at < 0 or lower.count(b"\r\ncontent-length") > 1 or b"\r\nl" in lower:
        return _unusual_length(head)
    end = head.find(b"\r\n", at + 2)
    if head[end + 2 : end + 3] in (b" ", b"\t"):
        return _unusual_length(head)
    return _number(head[at + len(_USUAL_NAME) : end])


def _unusual_length(head: bytes) -> int | str:
    """The same for heads with compact, folded, oddly spelt or repeated names."""
    found: list[list[bytes]] = []
    last_is_length = False
    for line in head.split(b"\r\n")[1:]:
        if line[:1] in (b" ", b"\t"):
            if last_is_length:
                found[-1].append(line)
            continue
        name, colon, value = line.partition(b":")
        last_is_length = bool(colon) and name.rstrip(b" \t").lower() in (b"content-length", b"l")
        if last_is_length:
            found.append([value])
    if not found:
        return "Missing Content-Length header"
    if len(found) > 1:
        return "Repeated Content-Length header"
    return _number(b"".join(found[0]))


_MAX_DIGITS: Final = 10


def _number(text: bytes) -> int | str:
    digits = text.strip(b" \t")
    if not digits.isdigit():
        return "Malformed Content-Length header"
    if len(digits) > _MAX_DIGITS:  # int() of a hostile length is quadratic
        digits = digits.lstrip(b"0")[: _MAX_DIGITS + 1] or b"0"
    return int(digits)
