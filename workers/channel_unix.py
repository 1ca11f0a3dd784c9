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

**When a peer's backlog is full**, a stream to it cannot be opened either, and there is nothing to wait for: one that is
not connected cannot be polled for becoming so, since the kernel keeps no note of a non-blocking caller that it turned
away. (A blocking one it queues, but that would stop the loop for as long as the peer is busy with its job.) What is to
go there is kept, and opening it is tried again in the same way.
"""

from __future__ import annotations

import errno
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
"""Streams that may wait to be accepted. More processes than that are not in one pool, but the kernel may allow less
(net.core.somaxconn)."""

_RETRY_S = 0.01
"""How long to leave alone what no descriptor tells of. A try in vain costs some 5 µs."""

_PASSING = frozenset({errno.EAGAIN, errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
"""Why a stream cannot be opened yet: the peer's backlog is full, or something is short. Else the peer is not there."""


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
    """A stream to a peer, and what it has not taken yet."""

    __slots__ = ("dead", "socket", "unsent")

    def __init__(self) -> None:
        self.socket: socket.socket | None = None
        """None until it is open."""
        self.unsent: deque[memoryview] = deque()
        self.dead = False

    def open(self, path: Path) -> bool:
        """Connect to the inbox; False when that may become possible later."""
        try:
            self.socket = _stream_to(path)
        except OSError as problem:
            if problem.errno in _PASSING:
                return False
            self._die()
        return True

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
        if self.socket is None:
            return 0
        try:
            return self.socket.send(data, socket.MSG_NOSIGNAL)
        except BlockingIOError:
            return 0
        except OSError:
            self._die()
            return len(data)

    def _die(self) -> None:
        self.dead = True  # its death is told by the attendant, not found out here
        self.unsent.clear()


def _stream_to(path: Path) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        sock.connect(str(path))
    except BaseException:
        sock.close()
        raise
    return sock


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
        """What is open and full, by descriptor."""
        self._unopened: dict[Peer, _Outgoing] = {}
        """What is not open yet; `due` is finite as long as there is any."""
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
        self._open_all()

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
        outgoing = self._outgoing[peer] = _Outgoing()
        self._open(peer, outgoing)

    def _open(self, peer: Peer, outgoing: _Outgoing) -> None:
        if not outgoing.open(inbox_path(self._folder, peer)):
            self._unopened[peer] = outgoing
            self._try_later()
        elif outgoing.unsent:
            outgoing.write()
            self._wait_if_full(outgoing)

    def _open_all(self) -> None:
        unopened, self._unopened = self._unopened, {}
        for peer, outgoing in unopened.items():
            self._open(peer, outgoing)

    def disconnect(self, peer: Peer) -> None:
        outgoing = self._outgoing.pop(peer)
        self._unopened.pop(peer, None)
        if outgoing.socket is None:
            return
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
        self._wait_if_full(outgoing)

    def _wait_if_full(self, outgoing: _Outgoing) -> None:
        if outgoing.socket is None or not outgoing.unsent:
            return
        fd = outgoing.socket.fileno()
        if fd not in self._waiting:
            self._waiting[fd] = outgoing
            self._epoll.register(fd, select.EPOLLOUT)

    def close(self) -> None:
        self._epoll.unregister(self._listener)  # who calls now calls in vain
        ends_at = time.monotonic() + _PARTING_S
        while self._has_unsent() and (left_s := ends_at - time.monotonic()) > 0.0:
            self._part(min(left_s, _RETRY_S) if self._unopened else left_s)
        for fd in list(self._incoming):
            self._drop(fd)
        for peer in list(self._outgoing):
            self.disconnect(peer)
        self._epoll.close()
        self._listener.close()
        self._path.unlink(missing_ok=True)

    def _has_unsent(self) -> bool:
        return bool(self._waiting) or any(outgoing.unsent for outgoing in self._unopened.values())

    def _part(self, wait_s: float) -> None:
        """Let go on what can; what comes meanwhile is for nobody."""
        self._open_all()
        for fd, _ in self._epoll.poll(wait_s):
            if fd in self._waiting:
                self._go_on(fd)
            else:
                self._drop(fd)
