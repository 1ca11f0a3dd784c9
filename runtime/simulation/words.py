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
_ENCODER: Final = msgspec.msgpack.Encoder()
_GRANT: Final = msgspec.msgpack.Decoder(Grant)
_WAITS: Final = msgspec.msgpack.Decoder(Waits)


class Line:
    """One end of the way between the machine and a process: messages, each with its length before it."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock

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

    def hear_waits(self, patience_s: float) -> Waits | None:
        """Wait until the process has nothing to do; None when it has ended.

        Raises:
            TimeoutError: it is busy for more than so many seconds, on the real clock.
        """
        self._socket.settimeout(patience_s)
        data = self._hear()
        return None if data is None else _WAITS.decode(data)

    def _hear(self) -> bytes | None:
        try:
            data = self._socket.recv(262_144)
            while data and (len(data) < _LENGTH.size or len(data) < _LENGTH.size + _LENGTH.unpack_from(data)[0]):
                more = self._socket.recv(1 << 20)
                if not more:
                    return None
                data += more
        except TimeoutError:
            raise
        except OSError:
            return None
        return data[_LENGTH.size :] if data else None


def make_line() -> tuple[Line, Line]:
    """The machine's end and the process's."""
    ours, theirs = socket.socketpair()
    return Line(ours), Line(theirs)
