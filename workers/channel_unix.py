"""Frames over Unix streams: each process listens, and opens one stream to each peer that it has something to say to.

A frame is preceded by its length, four bytes, most significant first. Streams are used one way, so that who called
whom never matters. One epoll descriptor stands for the listener, for what others opened to us and for what of ours has
to wait until a peer takes more; it is readable when any of them can go on, and so one descriptor is all that a loop
has to watch.

**When descriptors are short**, nothing tells when there is one again: it may be given back by any code of this process
or, where the whole machine is short, by another's. So it is tried again every `_RETRY_S`, and `UnixChannel.due` says
when. Meanwhile the listener is not listened to, since it stays readable and the loop would turn on the spot. A peer's
stream waits in the backlog with all that was sent on it, so nothing is lost. (To keep a descriptor in reserve, and to
use it to accept and hang up, is for servers whose clients come back: a peer that is hung up on takes us for dead, and
its frames are gone.)
"""

from __future__ import annotations

import math
import select
import socket
import struct
import time
from collections import deque
from pathlib import Path

from workers.channel import inbox_path
from workers.jobs import Peer

_PARTING_S = 0.1
"""How long the last frames may take when a channel closes. A living peer takes them in well under a millisecond."""

_LENGTH = struct.Struct(">I")
_CHUNK = 256 * 1024
"""Bytes read in one go: more than the kernel holds for a stream by its default limits (about 208 KiB)."""

_BACKLOG = 1024
"""Streams that may wait to be accepted. More processes than that are not in one pool."""

_RETRY_S = 0.01
"""How long to leave alone what no descriptor tells of. A try in vain costs some 5 µs."""


class _Incoming:
    """A stream that a peer opened to us: what came of its frames."""

    __slots__ = ("_buffer", "_max_frame_bytes", "_wanted", "socket")

    def __init__(self, sock: socket.socket, max_frame_bytes: int) -> None:
        self.socket = sock
        self._max_frame_bytes = max_frame_bytes
        self._buffer = bytearray()
        self._wanted = 0
        """How many bytes the buffer must hold before it is worth a look."""

    def read(self, frames: deque[bytes]) -> bool:
        """Add the frames that are complete; False at the end of the stream, and for one that cannot be trusted."""
        try:
            data = self.socket.recv(_CHUNK)
        except BlockingIOError:
            return True
        except OSError:
            return False
        if not data:
            return False
        if self._buffer:
            self._buffer += data
            if len(self._buffer) < self._wanted:
                return True
            data = bytes(self._buffer)
        taken = self._take(data, frames)
        if taken < 0:
            return False
        self._buffer = bytearray(data[taken:]) if taken < len(data) else bytearray()
        return True

    def _take(self, data: bytes, frames: deque[bytes]) -> int:
        """Returns how many bytes were used up; -1 for a frame that is longer than any may be."""
        at, size = 0, len(data)
        self._wanted = 0  # or what the last large frame wanted would hold back one whose head is cut in two
        while size - at >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(data, at)
            if length > self._max_frame_bytes:
                return -1
            end = at + _LENGTH.size + length
            if end > size:
                self._wanted = end - at
                break
            frames.append(data[at + _LENGTH.size : end])
            at = end
        return at


class _Outgoing:
    """A stream that we opened to a peer, and what it has not taken yet."""

    __slots__ = ("dead", "socket", "unsent")

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        self.unsent: deque[memoryview] = deque()
        self.dead = False

    def write(self) -> None:
        """Send what the peer takes of what waits."""
        while self.unsent:
            data = self.unsent.popleft()
            taken = self.push(data)
            if taken < len(data):
                self.unsent.appendleft(data[taken:])
                return

    def push(self, data: bytes | memoryview) -> int:
        """Send what the peer takes of it at once; everything, when it is dead."""
        try:
            return self.socket.send(data, socket.MSG_NOSIGNAL)
        except BlockingIOError:
            return 0
        except OSError:
            self.dead = True  # its death is told by the attendant, not found out here
            self.unsent.clear()
            return len(data)


class UnixChannel:
    """See `workers.channel`."""

    def __init__(self, me: Peer, folder: Path, max_frame_bytes: int) -> None:
        self._folder = folder
        self._path = inbox_path(folder, me)
        self._max_frame_bytes = max_frame_bytes
        self._frames: deque[bytes] = deque()
        self._looked = False
        """Whether the descriptors were looked at since `receive` last gave None."""
        self._incoming: dict[int, _Incoming] = {}
        self._outgoing: dict[Peer, _Outgoing] = {}
        self._waiting: dict[int, _Outgoing] = {}
        self.due = math.inf
        """When to `_try_again`; finite while something is left alone."""
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._listener.setblocking(False)
            self._listener.bind(str(self._path))
            self._path.chmod(0o600)  # before anybody can connect: it does not listen yet
            self._listener.listen(_BACKLOG)
            self._epoll = select.epoll()
        except BaseException:
            self._listener.close()
            raise
        self._epoll.register(self._listener, select.EPOLLIN)

    def fileno(self) -> int:
        """Readable as long as there is something to do (level-triggered)."""
        return self._epoll.fileno()

    def receive(self) -> bytes | None:
        if not self._frames and not self._looked:
            self._looked = True
            if self.due < math.inf:
                self._try_again()
            for fd, _ in self._epoll.poll(0):
                self._serve(fd)
        if self._frames:
            return self._frames.popleft()
        # Once more may have come, but the descriptor tells of that, which is cheaper than looking again.
        self._looked = False
        return None

    def _serve(self, fd: int) -> None:
        incoming = self._incoming.get(fd)
        if incoming is not None:
            if not incoming.read(self._frames):
                self._drop(fd)
        elif fd in self._waiting:
            self._go_on(fd)
        elif fd == self._listener.fileno():
            self._accept()

    def _accept(self) -> None:
        while (sock := self._accept_one()) is not None:
            sock.setblocking(False)
            self._incoming[sock.fileno()] = _Incoming(sock, self._max_frame_bytes)
            self._epoll.register(sock, select.EPOLLIN)

    def _accept_one(self) -> socket.socket | None:
        try:
            return self._listener.accept()[0]
        except BlockingIOError:
            return None
        except OSError:
            # No descriptor or no memory is left. Whatever it is, to ask again at once would not change it.
            self._epoll.modify(self._listener, 0)
            self._try_later()
            return None

    def _try_later(self) -> None:
        if self.due == math.inf:
            self.due = time.monotonic() + _RETRY_S

    def _try_again(self) -> None:
        if time.monotonic() < self.due:
            return
        self.due = math.inf
        # Not by accepting: without a free descriptor that fails where nobody calls, too, and there would be no end.
        self._epoll.modify(self._listener, select.EPOLLIN)

    def _drop(self, fd: int) -> None:
        self._epoll.unregister(fd)
        self._incoming.pop(fd).socket.close()

    def _go_on(self, fd: int) -> None:
        outgoing = self._waiting[fd]
        outgoing.write()
        if not outgoing.unsent:
            self._epoll.unregister(fd)
            del self._waiting[fd]

    def connect(self, peer: Peer) -> None:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        outgoing = self._outgoing[peer] = _Outgoing(sock)
        try:
            sock.setblocking(False)
            sock.connect(str(inbox_path(self._folder, peer)))
        except OSError:
            outgoing.dead = True

    def disconnect(self, peer: Peer) -> None:
        outgoing = self._outgoing.pop(peer)
        if self._waiting.pop(outgoing.socket.fileno(), None) is not None:
            self._epoll.unregister(outgoing.socket)
        outgoing.socket.close()

    def send(self, peer: Peer, frame: bytes) -> None:
        outgoing = self._outgoing[peer]
        if outgoing.dead:
            return
        data = _LENGTH.pack(len(frame)) + frame
        taken = 0 if outgoing.unsent else outgoing.push(data)
        if taken == len(data):
            return
        outgoing.unsent.append(memoryview(data)[taken:])
        fd = outgoing.socket.fileno()
        if fd not in self._waiting:
            self._waiting[fd] = outgoing
            self._epoll.register(fd, select.EPOLLOUT)

    def close(self) -> None:
        ends_at = time.monotonic() + _PARTING_S
        while self._waiting and (left_s := ends_at - time.monotonic()) > 0.0:
            for fd, _ in self._epoll.poll(left_s):
                if fd in self._waiting:
                    self._go_on(fd)
                elif fd in self._incoming:
                    self._drop(fd)
                else:
                    self._epoll.unregister(fd)
        self._epoll.close()
        for sock in [one.socket for one in self._incoming.values()] + [one.socket for one in self._outgoing.values()]:
            sock.close()
        self._incoming.clear()
        self._outgoing.clear()
        self._listener.close()
        self._path.unlink(missing_ok=True)
