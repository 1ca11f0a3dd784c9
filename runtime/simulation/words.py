"""What the simulated machine and its processes say to each other, one word each in turn.

A process runs until it has nothing to do; then it says what it has done meanwhile and what it waits for (`Waits`), and
does nothing before it is told that the time has come (`Grant`). So of all processes one at most runs at any moment, and
which one is the machine's choice alone.
"""

from __future__ import annotations

import socket
import struct
from typing import Final, TypeAlias

import msgspec
from msgspec import Struct

from runtime.simulation.events import Event

UDP, HANDOVER, CHANNEL, CONTROL, COMMANDS = 1, 2, 4, 8, 16
"""What a process may wait for: datagrams, messages that other SIP processes give it, frames, the attendant, MI."""


# To a process.


class Datagram(Struct, frozen=True, tag=1, array_like=True):
    """Lies in the listening socket of that number."""

    socket: int
    data: bytes
    host: str
    port: int
    received_at: float


class Frame(Struct, frozen=True, tag=2, array_like=True):
    """Of the pool's channel."""

    data: bytes


class Told(Struct, frozen=True, tag=3, array_like=True):
    """What the attendant says; as `workers.control.encode` writes it."""

    data: bytes


class Command(Struct, frozen=True, tag=4, array_like=True):
    """A text of JSON-RPC for the MI process, from outside."""

    number: int
    text: bytes


Input: TypeAlias = Datagram | Frame | Told | Command


class Grant(Struct, frozen=True, array_like=True):
    """Go on.

    Args:
        now: CLOCK_MONOTONIC seconds.
        lying: whether datagrams lie in the listening sockets that nobody has read.
        inputs: what has come meanwhile.
    """

    now: float
    lying: bool
    inputs: list[Input]


# From a process.


class SendDatagram(Struct, frozen=True, tag=1, array_like=True):
    socket: int
    data: bytes
    host: str
    port: int


class SendFrame(Struct, frozen=True, tag=2, array_like=True):
    name: str
    incarnation: int
    data: bytes


class Handed(Struct, frozen=True, tag=3, array_like=True):
    """Something was given to the SIP process in a slot."""

    slot: int


class Said(Struct, frozen=True, tag=4, array_like=True):
    """To the attendant; as `workers.control.encode` writes it."""

    data: bytes


class Answered(Struct, frozen=True, tag=5, array_like=True):
    """The answer to a `Command`; empty where there is none."""

    number: int
    text: bytes


Output: TypeAlias = SendDatagram | SendFrame | Handed | Said | Answered


class Waits(Struct, frozen=True, array_like=True):
    """Nothing to do.

    Args:
        wake_at: until when (CLOCK_MONOTONIC seconds), whatever comes; infinite for as long as nothing comes.
        watches: what ends the wait, of `UDP` to `COMMANDS`; 0 for nothing but the time.
        outputs: what was done.
        events: what happened.
    """

    wake_at: float
    watches: int
    outputs: list[Output]
    events: list[Event]


_LENGTH: Final = struct.Struct("!I")
_TIMEVAL: Final = struct.Struct("@ll")
_ROOM: Final = 65_536
"""Bytes of the longest word that is expected; a longer one makes more room."""
_ENCODER: Final = msgspec.msgpack.Encoder()
_GRANT: Final = msgspec.msgpack.Decoder(Grant)
_WAITS: Final = msgspec.msgpack.Decoder(Waits)


class Line:
    """One end of the way between the machine and a process: messages, each with its length before it.

    They are read into the same memory again and again. To have Python make a new string for each, as long as the
    longest might be, cost more than all the rest of a word.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._room = memoryview(bytearray(_ROOM))

    def close(self) -> None:
        """Close this end."""
        self._socket.close()

    def say(self, word: Grant | Waits) -> None:
        """Send a word. Raises OSError where the other side is gone."""
        data = _ENCODER.encode(word)
        self._socket.sendall(_LENGTH.pack(len(data)) + data)

    def hear_grant(self) -> Grant | None:
        """Wait for a grant; None when the machine is gone."""
        data = self._hear()
        return None if data is None else _GRANT.decode(data)

    def hear_waits(self) -> Waits | None:
        """Wait until the process has nothing to do; None when it has ended.

        Raises:
            TimeoutError: it is busy for longer than patience lasts.
        """
        data = self._hear()
        return None if data is None else _WAITS.decode(data)

    def _hear(self) -> memoryview | None:
        """A word, which is there until the next one is heard."""
        got, ends = 0, _LENGTH.size
        while got < ends:
            self._make_room(ends)
            try:
                count = self._socket.recv_into(self._room[got:])
            except BlockingIOError:
                raise TimeoutError from None
            except OSError:
                return None
            if not count:
                return None
            got += count
            if got >= _LENGTH.size:
                ends = _LENGTH.size + _LENGTH.unpack_from(self._room)[0]
        return self._room[_LENGTH.size : ends]

    def _make_room(self, size: int) -> None:
        if size > len(self._room):
            before, self._room = self._room, memoryview(bytearray(2 * size))
            self._room[: len(before)] = before


def make_line(patience_s: float) -> tuple[Line, Line]:
    """The machine's end and the process's.

    Args:
        patience_s: for how many seconds, on the real clock, the machine waits for a word.
    """
    ours, theirs = socket.socketpair()
    # The kernel's own limit: with Python's each word would take three calls of the kernel more.
    patience = _TIMEVAL.pack(int(patience_s), int(patience_s % 1 * 1e6))
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, patience)
    return Line(ours), Line(theirs)
