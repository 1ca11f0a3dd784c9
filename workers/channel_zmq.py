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


class ZmqChannel:
    """See `workers.channel`. Neither its sockets nor its threads survive a fork."""

    def __init__(self, me: Peer, folder: Path, max_frame_bytes: int) -> None:
        self.due = math.inf  # ZeroMQ's thread tries again by itself
        self._folder = folder
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
        # Not by asking for EVENTS first: an empty inbox is cheaper to run into than to ask about. Both process what
        # the socket has been told, so after either the descriptor tells of the next frame. Sends cannot use that up,
        # since they go through other sockets.
        try:
            return self._inbox.recv(zmq.NOBLOCK)
        except zmq.Again:
            return None

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
