"""Finds commands in the byte stream of an MI FIFO. A core: it reads nothing and knows no clock.

A command is ``:reply_name:JSON``, and nothing marks its end but the JSON itself. Several writers share the
stream, a write may be cut in two, and anything at all may be written. So the end of a command is where its
brackets close; a text that can no longer become JSON, or does not end within its time, is given up, and the
search for the next ``:name:`` goes on right behind the header of what was given up.

That may look into a string of a broken command, and cannot take what stands there for a command: a quote within
a JSON string has a backslash before it, so no JSON object with a name in it stands there unescaped.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, TypeAlias

from mi_script.jsonrpc import MAX_BYTES

MAX_NAME: Final = 255
"""The longest file name, in bytes."""


@dataclass(frozen=True, slots=True)
class Command:
    """A whole command: where to answer ("" for nowhere), and its JSON text."""

    reply: str
    text: bytes


@dataclass(frozen=True, slots=True)
class Spoilt:
    """A header that no command follows, and why not."""

    reply: str
    reason: str


@dataclass(frozen=True, slots=True)
class Misnamed:
    """A command whose reply name is no plain file name: never run, for its answer could go anywhere."""

    name: str


Frame: TypeAlias = Command | Spoilt | Misnamed

_NAME_BYTE: Final = rb'[^\x00-\x20\x7f"{}\[\],:]'
# Without a name it is one only where JSON may follow, so that a flood of colons is passed over at once.
_HEADER: Final = re.compile(rb":(%b{1,%d}):|::(?=[ \t\r\n]*(?:[{\[]|\Z))" % (_NAME_BYTE, MAX_NAME))
_HEADER_BEGUN: Final = re.compile(rb":%b{0,%d}\Z" % (_NAME_BYTE, MAX_NAME))
_PLAIN_NAME: Final = re.compile(r"[!-~]*")
_BLANK: Final = b" \t\r\n\0"
_NO_BLANK: Final = re.compile(rb"[^ \t\r\n]")
# Outside strings JSON has these signs, and letters and digits of numbers, true, false and null.
_STRUCTURE: Final = re.compile(rb"[^ \t\r\n0-9+\-.Etrufalsen]")
_IN_STRING: Final = re.compile(rb'["\\\x00-\x1f]')
_CLOSER: Final = {ord("{"): ord("}"), ord("["): ord("]")}
_QUOTE, _COLON, _COMMA, _BACKSLASH = b'":,\\'


class Framing:
    """The state of one FIFO's stream.

    Args:
        max_bytes: the longest command, in bytes of JSON text.
        partial_s: how long a command may take from its first byte to its last, in seconds.
    """

    def __init__(self, max_bytes: int = MAX_BYTES, partial_s: float = 2.0) -> None:
        self._max_bytes = max_bytes
        self._partial_s = partial_s
        self._buffer = bytearray()
        self._since: float | None = None  # when the first byte of what is in the buffer came; None when it is empty
        self._reply: str | None = None  # the name in the header that was found; None while none is
        self._text = _Scan(0)
        self.garbage = 0
        """How many bytes have been passed over."""

    def feed(self, data: bytes, now: float) -> list[Frame]:
        """Take what was read at `now` (seconds of any monotonic clock); the commands that it completes."""
        self._buffer += data
        return self._frames(now)

    def next_deadline(self) -> float | None:
        """When to call `expire`, or None."""
        return None if self._since is None else self._since + self._partial_s

    def expire(self, now: float) -> list[Frame]:
        """Give up what has been incomplete for too long; the commands found behind it."""
        deadline = self.next_deadline()
        if deadline is None or now < deadline:
            return []
        if self._reply is None:
            self._skip(len(self._buffer))
            return self._frames(now)
        return [self._give_up("incomplete"), *self._frames(now)]

    def _frames(self, now: float) -> list[Frame]:
        frames = []
        while (self._reply is not None or self._find_header(now)) and (frame := self._take()) is not None:
            frames.append(frame)
        if not self._buffer:
            self._since = None
        elif self._since is None:
            self._since = now
        return frames

    def _find_header(self, now: float) -> bool:
        header = _HEADER.search(self._buffer)
        if header is None:
            begun = _HEADER_BEGUN.search(self._buffer)
            self._skip(begun.start() if begun else len(self._buffer))
            return False
        name = (header[1] or b"").decode("latin-1")  # now: a match reads the buffer as it is when it is asked
        self._skip(header.start())
        self._reply = name
        self._text = _Scan(len(name) + 2)
        self._since = now if self._since is None else self._since
        return True

    def _take(self) -> Frame | None:
        """The frame whose header stands at the start of the buffer, once it is decided."""
        text = self._text
        text.advance(self._buffer)
        if text.broken:
            return self._give_up("not JSON")
        if (text.end or len(self._buffer)) - text.start > self._max_bytes:
            frame = self._give_up(f"longer than {self._max_bytes} bytes")
            if not text.end:
                self._skip(len(self._buffer))
            return frame
        if not text.end:
            return None
        return self._complete(bytes(self._buffer[text.start : text.end]), text.end)

    def _complete(self, text: bytes, end: int) -> Frame:
        name = self._reply or ""
        self._forget(end)
        return Command(name, text) if _is_plain(name) else Misnamed(name)

    def _give_up(self, reason: str) -> Spoilt:
        name = self._reply or ""
        # The header's second colon may be the first of the next one.
        header_end = len(name) + 1
        self._forget(header_end)
        self.garbage += header_end
        return Spoilt(name if _is_plain(name) else "", reason)

    def _skip(self, count: int) -> None:
        self.garbage += sum(byte not in _BLANK for byte in self._buffer[:count])
        self._forget(count)

    def _forget(self, count: int) -> None:
        del self._buffer[:count]
        self._reply = None
        if count:
            self._since = None  # what stands first now came later


def _is_plain(name: str) -> bool:
    return _PLAIN_NAME.fullmatch(name) is not None and set(name).isdisjoint("./\\")


class _Scan:
    """Where a JSON text ends, found piece by piece as it arrives."""

    __slots__ = ("_closers", "_colon", "_in_string", "_position", "broken", "end", "start")

    def __init__(self, start: int) -> None:
        self.start = start
        self.end = 0  # where it ends; 0 while that is not known
        self.broken = False  # it can no longer become JSON
        self._position = start
        self._closers = bytearray()
        self._in_string = False
        self._colon = False  # a colon came, and nothing yet that may stand between it and another one

    def advance(self, buffer: bytearray) -> None:
        if not self._closers:
            self._open(buffer)
        while self._closers and not self.broken and self._position < len(buffer):
            found = (_IN_STRING if self._in_string else _STRUCTURE).search(buffer, self._position)
            if found is None:
                self._position = len(buffer)
            else:
                self._step(buffer[found.start()], found.start())

    def _open(self, buffer: bytearray) -> None:
        first = _NO_BLANK.search(buffer, self._position)
        if first is None:
            return
        self.start = first.start()
        self._position = first.end()
        if buffer[self.start] in _CLOSER:
            self._closers.append(_CLOSER[buffer[self.start]])
        else:
            self.broken = True

    def _step(self, byte: int, at: int) -> None:
        self._position = at + 1
        if self._in_string:
            self._step_in_string(byte)
        elif byte == _COLON:
            # JSON never has two with neither a quote, a comma nor a bracket between them; a new header has.
            self.broken = self._colon
            self._colon = True
        else:
            self._colon = False
            self._step_structure(byte)

    def _step_in_string(self, byte: int) -> None:
        if byte == _QUOTE:
            self._in_string = False
        elif byte == _BACKSLASH:
            self._position += 1  # over what it escapes, which may be still to come
        else:
            self.broken = True  # a control character

    def _step_structure(self, byte: int) -> None:
        if byte == _QUOTE:
            self._in_string = True
        elif byte in _CLOSER:
            self._closers.append(_CLOSER[byte])
        elif byte == self._closers[-1]:
            self._closers.pop()
            self.end = 0 if self._closers else self._position
        elif byte != _COMMA:
            self.broken = True
