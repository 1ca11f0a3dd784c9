"""The sockets of one process: a PULL inbox that it binds, and a PUSH socket to each peer. No broker.

High-water marks are off: ZeroMQ blocks or loses silently at them, and the senders' own credit bounds what is under
way. Each incarnation has a fresh address, so nothing that was meant for a dead process reaches its successor.
"""

from __future__ import annotations

import os
from collections import deque
from pathlib import Path

import zmq

from workers.jobs import Peer
from workers.wire import OVERHEAD_BYTES, Word, encode, is_name, size_of

_PARTING_MS = 100
"""How long the last words may take when an endpoint closes. A living peer takes them in well under a millisecond."""

_MOST_UNANNOUNCED = 64
"""A peer may speak to us before the attendant has told us of it; so many such peers are answered."""


class _Line:
    """The way to one peer, and what is to go there at the end of this turn."""

    __slots__ = ("announced", "nbytes", "socket", "words")

    def __init__(self, socket: zmq.Socket[bytes], announced: bool) -> None:
        self.socket = socket
        self.announced = announced
        self.words: list[Word] = []
        self.nbytes = OVERHEAD_BYTES


class Endpoint:
    """The inbox of one process and its lines to others.

    To be made after the fork: neither its sockets nor their threads survive one.

    Args:
        me: this process.
        folder: where the inboxes are; only its owner may enter it.
        max_frame_bytes: the largest frame that is sent or received.

    Raises:
        ValueError: the process's name cannot be part of a file name.
        zmq.ZMQError: the inbox cannot be bound, e.g. because the folder's path is too long for a Unix socket.
    """

    def __init__(self, me: Peer, folder: Path, max_frame_bytes: int) -> None:
        if not is_name(me.name):
            raise ValueError(f"not a process name: {me.name!r}")
        self.me = me
        self._folder = folder
        self._max_frame_bytes = max_frame_bytes
        self._lines: dict[Peer, _Line] = {}
        self._unsent: list[_Line] = []
        self.to_myself: deque[Word] = deque()
        """What this process says to itself; it needs no socket, but waits for a later turn all the same."""
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._inbox = self._context.socket(zmq.PULL)
        try:
            self._bind()
        except BaseException:
            self._context.destroy(linger=0)
            raise

    def _bind(self) -> None:
        self._inbox.setsockopt(zmq.LINGER, 0)
        self._inbox.setsockopt(zmq.RCVHWM, 0)
        self._inbox.setsockopt(zmq.MAXMSGSIZE, self._max_frame_bytes)
        self._inbox.bind(self._address(self.me))
        self._path(self.me).chmod(0o600)

    def fileno(self) -> int:
        """The inbox's descriptor. Edge-triggered: it tells once that the inbox is no longer empty."""
        return int(self._inbox.getsockopt(zmq.FD))

    def receive(self) -> bytes | None:
        """Take one frame out of the inbox; None when it is empty, which also re-arms the descriptor.

        Not by asking for EVENTS first: an empty inbox is cheaper to run into than to ask about. Both process what the
        socket has been told, so after either the descriptor tells of the next frame. Sends cannot use that up, since
        they go through other sockets.
        """
        try:
            return self._inbox.recv(zmq.NOBLOCK)
        except zmq.Again:
            return None

    def connect(self, peer: Peer, *, announced: bool = True) -> bool:
        """Open the line to a peer; False when there are too many that nobody announced."""
        line = self._lines.get(peer)
        if line is not None:
            line.announced = line.announced or announced
            return True
        if not announced and sum(not line.announced for line in self._lines.values()) >= _MOST_UNANNOUNCED:
            return False
        socket = self._context.socket(zmq.PUSH)
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.SNDHWM, 0)
        socket.connect(self._address(peer))
        self._lines[peer] = _Line(socket, announced)
        return True

    def disconnect(self, peer: Peer) -> None:
        """Close the line to a peer, and forget what has not reached it."""
        line = self._lines.pop(peer, None)
        if line is None:
            return
        if line.words:
            self._unsent.remove(line)
        line.socket.close()

    def send(self, peer: Peer, word: Word) -> bool:
        """Put a word down for a peer; it goes with the next `flush`. False when there is no line to it."""
        line = self._lines.get(peer)
        if line is None:
            if peer == self.me:
                self.to_myself.append(word)
            return peer == self.me
        nbytes = size_of(word)
        if not line.words:
            self._unsent.append(line)
        elif line.nbytes + nbytes > self._max_frame_bytes:
            self._flush(line)
        line.words.append(word)
        line.nbytes += nbytes
        return True

    @property
    def unsent(self) -> bool:
        """Whether something waits for a `flush`."""
        return bool(self._unsent)

    def is_unsent_to(self, peer: Peer) -> bool:
        """Whether something for that peer waits for a `flush`."""
        line = self._lines.get(peer)
        return line is not None and bool(line.words)

    def flush(self) -> None:
        """Send what was put down, one frame to each peer."""
        while self._unsent:
            self._flush(self._unsent.pop())

    def _flush(self, line: _Line) -> None:
        words, line.words, line.nbytes = line.words, [], OVERHEAD_BYTES
        line.socket.send(encode(self.me, words), zmq.NOBLOCK)

    def close(self) -> None:
        """Say the last words, close every socket and remove the inbox."""
        self.flush()
        for line in self._lines.values():
            line.socket.close(linger=_PARTING_MS)
        self._lines.clear()
        self._inbox.close(linger=0)
        self._context.term()
        self._path(self.me).unlink(missing_ok=True)

    def _path(self, peer: Peer) -> Path:
        return self._folder / f"{peer.name}.{peer.incarnation}"

    def _address(self, peer: Peer) -> str:
        return f"ipc://{os.fspath(self._path(peer))}"
