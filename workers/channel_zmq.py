"""Frames over ZeroMQ: a PULL inbox that each process binds, and a PUSH socket to each peer. No broker.

High-water marks are off: ZeroMQ blocks or loses silently at them, and the senders' own credit bounds what is under
way.
"""

from __future__ import annotations

import math
import os
from pathlib import Path

import zmq

from workers.channel import inbox_path
from workers.jobs import Peer

_PARTING_MS = 100
"""How long the last frames may take when a channel closes. A living peer takes them in well under a millisecond."""
_FEW = 2
"""After so many frames in a row it is not asked any more whether there is another."""
_READABLE = int(zmq.POLLIN)


class ZmqChannel:
    """See `workers.channel`. Neither its sockets nor its threads survive a fork."""

    def __init__(self, me: Peer, folder: Path, max_frame_bytes: int) -> None:
        self.due = math.inf  # ZeroMQ's thread tries again by itself
        self._folder = folder
        self._in_a_row = 0
        """How many frames have been received since the inbox was last empty."""
        self._path = inbox_path(folder, me)
        self._lines: dict[Peer, zmq.Socket[bytes]] = {}
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._inbox = self._context.socket(zmq.PULL)
        try:
            self._inbox.setsockopt(zmq.LINGER, 0)
            self._inbox.setsockopt(zmq.RCVHWM, 0)
            self._inbox.setsockopt(zmq.MAXMSGSIZE, max_frame_bytes)
            self._inbox.bind(f"ipc://{os.fspath(self._path)}")
            self._path.chmod(0o600)
        except BaseException as problem:
            self._context.destroy(linger=0)
            if isinstance(problem, zmq.ZMQError):
                raise OSError(problem.errno, problem.strerror, os.fspath(self._path)) from problem
            raise

    def fileno(self) -> int:
        """Edge-triggered: it tells once that the inbox is no longer empty."""
        return int(self._inbox.getsockopt(zmq.FD))

    def receive(self) -> bytes | None:
        # To run into an empty inbox costs an exception, 7 us, and to ask whether it is empty 2.7. Most often there is
        # one frame, so it is asked after that; after some more there may be many, and asking costs more than it saves.
        # Both process what the socket has been told, so after either the descriptor tells of the next frame. Sends
        # cannot use that up, since they go through other sockets.
        if 0 < self._in_a_row <= _FEW and not int(self._inbox.get(zmq.EVENTS)) & _READABLE:
            self._in_a_row = 0
            return None
        try:
            frame = self._inbox.recv(zmq.NOBLOCK)
        except zmq.Again:
            self._in_a_row = 0
            return None
        self._in_a_row += 1
        return frame

    def connect(self, peer: Peer) -> None:
        socket = self._context.socket(zmq.PUSH)
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.SNDHWM, 0)
        socket.connect(f"ipc://{os.fspath(inbox_path(self._folder, peer))}")
        self._lines[peer] = socket

    def disconnect(self, peer: Peer) -> None:
        self._lines.pop(peer).close()

    def send(self, peer: Peer, frame: bytes) -> None:
        self._lines[peer].send(frame, zmq.NOBLOCK)

    def close(self) -> None:
        for socket in self._lines.values():
            socket.close(linger=_PARTING_MS)
        self._lines.clear()
        self._inbox.close(linger=0)
        self._context.term()
        self._path.unlink(missing_ok=True)
