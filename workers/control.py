"""The link between the attendant and one of its processes: a SOCK_SEQPACKET pair that carries small msgpack messages.

It carries who is up and who is down, when to drain, and a word for the owner now and then; never traffic. Each end is
non-blocking and bounded, for neither may stop the other:

* The attendant keeps what does not fit into the socket in a backlog. A process that leaves more than the limit unread
  does not run its loop any more; `AttendantEnd.send` says so, and the attendant kills it.
* A process that finds the socket full is told that its word was not taken (`ControlLink.tell` gives False).

End of file means that the other side is dead, whatever the platform: nobody else holds the descriptor, because each
process closes the attendant's ends of its siblings' links right after its fork.

SOCK_SEQPACKET keeps message boundaries and order and, unlike a datagram socket, gives an end of file. Both ends come
from one fork of one program, so the messages carry no version.
"""

from __future__ import annotations

import select
import socket
from collections import deque
from typing import Final, TypeAlias, assert_never

import msgpack
from msgspec import Struct

from workers.jobs import Peer
from workers.steps import Step, after
from workers.tree_events import MAX_REASON, Drain, PeerDown, PeerUp, Retire

MAX_FRAME_BYTES: Final = 65_536
"""Of one message. Linux takes at least this much into an empty socket by its default limits (about 200 KiB)."""

MAX_BACKLOG_BYTES: Final = 1_048_576
"""Of what the attendant keeps for one process beyond what the socket holds."""

_BATCH: Final = 64
"""Messages read in one go. The sockets are watched level-triggered, so the rest comes in the next turn."""

_READY_WAIT_S: Final = 5.0

_MAX_LAST_WORDS: Final = 4_096
"""Characters of why a process ends."""


class Tell(Struct, frozen=True):
    """A word between the owner and a process; what it means is their business."""

    topic: str
    body: bytes


class AttendantGone(Struct, frozen=True):
    """The attendant is dead: leave. Comes once and is the last word."""


class ReadySaid(Struct, frozen=True):
    """The process is up."""


class LastWords(Struct, frozen=True):
    """Why the process is about to end."""

    reason: str


Word: TypeAlias = "PeerUp | PeerDown | Drain | Retire | Tell | ReadySaid | LastWords"
"""All that goes through a link."""

Told: TypeAlias = PeerUp | PeerDown | Drain | Retire | Tell | AttendantGone
"""What a process hears from the attendant."""

Said: TypeAlias = ReadySaid | LastWords | Tell
"""What the attendant hears from a process."""


class TooLong(ValueError):
    """A message is longer than `MAX_FRAME_BYTES`. Ours, not the network's: whoever sends it must send less."""


def encode(word: Word) -> bytes:
    """Write a word down.

    Raises:
        TooLong: it would be longer than `MAX_FRAME_BYTES`.
    """
    frame = bytes(msgpack.packb(_plain(word)))
    if len(frame) > MAX_FRAME_BYTES:
        raise TooLong(f"a control message of {len(frame)} bytes; {MAX_FRAME_BYTES} are the most")
    return frame


def _plain(word: Word) -> list[object]:
    match word:
        case PeerUp(peer, slot, executes):
            return ["up", peer.name, peer.incarnation, slot, executes]
        case PeerDown(peer, reason):
            return ["down", peer.name, peer.incarnation, reason[:MAX_REASON]]
        case Drain(ends_at):
            return ["drain", float(ends_at)]
        case Retire(ends_at):
            return ["retire", float(ends_at)]
        case Tell(topic, body):
            return ["tell", topic, body]
        case ReadySaid():
            return ["ready"]
        case LastWords(reason):
            return ["last", reason]
        case _:
            assert_never(word)


def decode(frame: bytes) -> Word | None:
    """Read a word back; None for what `encode` never writes."""
    try:
        plain = msgpack.unpackb(frame)
    except (ValueError, msgpack.UnpackException):
        return None
    match plain:
        case ["up", str(name), int(incarnation), int(slot), bool(executes)]:
            return PeerUp(Peer(name, incarnation), slot, executes)
        case ["down", str(name), int(incarnation), str(reason)]:
            return PeerDown(Peer(name, incarnation), reason)
        case ["drain", float(ends_at)]:
            return Drain(ends_at)
        case ["retire", float(ends_at)]:
            return Retire(ends_at)
        case ["tell", str(topic), bytes(body)]:
            return Tell(topic, body)
        case ["ready"]:
            return ReadySaid()
        case ["last", str(reason)]:
            return LastWords(reason)
        case _:
            return None


def pair() -> tuple[AttendantEnd, ControlLink]:
    """Make a link. Both ends exist in both processes until each closes the other's.

    Raises:
        OSError: no descriptors left.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setblocking(False)
    theirs.setblocking(False)
    return AttendantEnd(ours), ControlLink(theirs)


class _Batch(Struct, frozen=True):
    frames: list[bytes]
    ended: bool


def _read(sock: socket.socket) -> _Batch:
    frames: list[bytes] = []
    for _ in range(_BATCH):
        try:
            frame, _, flags, _ = sock.recvmsg(MAX_FRAME_BYTES)
        except BlockingIOError:
            return _Batch(frames, ended=False)
        except OSError:  # reset by a dead peer, or closed by ourselves
            return _Batch(frames, ended=True)
        if not frame:
            return _Batch(frames, ended=True)
        # What was cut off can be nothing of ours; an empty frame does not decode and is counted with the malformed.
        frames.append(b"" if flags & socket.MSG_TRUNC else frame)
    return _Batch(frames, ended=False)


class ControlLink:
    """A process's end of its link."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._ended = False
        self.malformed = 0
        """Messages that were not understood and dropped."""

    @property
    def closed(self) -> bool:
        """Whether the attendant is gone, or `close` was called."""
        return self._ended

    def fileno(self) -> int:
        """For a loop; readable when `receive` has something. Take it out of the loop at `AttendantGone`: an ended
        socket stays readable for ever."""
        return self._socket.fileno()

    @after(Step.ATTENDANT_HEARD)
    def receive(self) -> list[Told]:
        """What the attendant said, oldest first. Never blocks; may leave more for the next turn of the loop."""
        if self._ended:
            return []
        batch = _read(self._socket)
        told: list[Told] = []
        for frame in batch.frames:
            match decode(frame):
                case None | ReadySaid() | LastWords():
                    self.malformed += 1
                case word:
                    told.append(word)
        if batch.ended:
            self._ended = True
            told.append(AttendantGone())
        return told

    @after(Step.READY_SAID)
    def ready(self) -> None:
        """Say that the inbox is bound and this process may be announced to the others.

        Waits for room, a few seconds at most, because this word must not be lost. Where the attendant is gone there
        is nobody to tell; the next `receive` says so.

        Raises:
            TimeoutError: the attendant does not read.
        """
        frame = encode(ReadySaid())
        while not self._send(frame):
            if not _wait_writable(self._socket, _READY_WAIT_S):
                raise TimeoutError("the attendant does not read its control links")

    def last_words(self, reason: str) -> None:
        """Say why this process is about to end. Best effort; its exit code says as much as has to be known."""
        self._send(encode(LastWords(reason[:_MAX_LAST_WORDS])))

    def tell(self, topic: str, body: bytes) -> bool:
        """Send the owner a word. Never blocks; False when it was not taken, because the attendant is behind.

        Raises:
            TooLong: topic and body do not fit into `MAX_FRAME_BYTES`.
        """
        return self._send(encode(Tell(topic, body)))

    def close(self) -> None:
        """Let go of the socket. Not needed by a process that ends."""
        self._ended = True
        self._socket.close()

    def _send(self, frame: bytes) -> bool:
        if self._ended:
            return True
        try:
            self._socket.send(frame, socket.MSG_NOSIGNAL)
        except BlockingIOError:
            return False
        except OSError:
            return True  # a dead attendant; `receive` finds the end of file
        return True


def _wait_writable(sock: socket.socket, timeout_s: float) -> bool:
    # poll, not select: the descriptor's number may be beyond select's 1,024.
    poller = select.poll()
    poller.register(sock, select.POLLOUT)
    return bool(poller.poll(timeout_s * 1000))


class AttendantEnd:
    """The attendant's end of the link to one process."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._backlog: deque[bytes] = deque()
        self._backlog_bytes = 0
        """The sum of the lengths in `_backlog`, never above `MAX_BACKLOG_BYTES`."""
        self.malformed = 0

    @property
    def wants_write(self) -> bool:
        """Whether `flush` should be called once the socket is writable."""
        return bool(self._backlog)

    def fileno(self) -> int:
        return self._socket.fileno()

    def send(self, frame: bytes) -> bool:
        """Send what `encode` gave, now or as soon as there is room; False when the backlog is full."""
        if not self._backlog and self._send_nowait(frame):
            return True
        if self._backlog_bytes + len(frame) > MAX_BACKLOG_BYTES:
            return False
        self._backlog.append(frame)
        self._backlog_bytes += len(frame)
        return True

    def flush(self) -> None:
        """Send what fits of the backlog."""
        while self._backlog and self._send_nowait(self._backlog[0]):
            self._backlog_bytes -= len(self._backlog.popleft())

    def receive(self) -> tuple[list[Said], bool]:
        """What the process said, and whether that was the last of it. Never blocks; reads a bounded batch."""
        batch = _read(self._socket)
        said: list[Said] = []
        for frame in batch.frames:
            match decode(frame):
                case ReadySaid() | LastWords() | Tell() as word:
                    said.append(word)
                case _:
                    self.malformed += 1
        return said, batch.ended

    def close(self) -> None:
        self._backlog.clear()
        self._backlog_bytes = 0
        self._socket.close()

    def _send_nowait(self, frame: bytes) -> bool:
        try:
            self._socket.send(frame, socket.MSG_NOSIGNAL)
        except BlockingIOError:
            return False
        except OSError:
            return True  # a dead process reads nothing; its death is told by the kernel, not found out here
        return True
