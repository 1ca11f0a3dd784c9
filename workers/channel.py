"""The seam below the endpoint: how whole frames get from one process to another. Chosen per pool.

========  ============================================================================================================
``zmq``   ZeroMQ, PUSH to PULL. Every platform that pyzmq has. A send wakes a thread of ZeroMQ's own, and so does an
          arrival: four wake-ups for a frame where a socket of the kernel has one.
``unix``  Unix streams, one from each process to each that it talks to. Linux. About a third of the latency.
========  ============================================================================================================

What every channel promises, and `tests/workers/test_channels.py` holds each to:

* Frames from one peer arrive whole, in their order and once, or, when either end dies, not at all from some point on.
* Nothing blocks: what a peer has not yet taken is kept, and credit above bounds how much that is.
* The descriptor is readable when something came. After it was, `Channel.receive` is to be called until it gives None:
  a descriptor may be edge-triggered.
* What could not be done for want of something that no descriptor tells of is tried again: when `Channel.due` has come,
  `Channel.receive` is to be called in the same way.
* An inbox belongs to one incarnation: nothing meant for a dead process reaches its successor.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal, Protocol, TypeAlias, assert_never

from workers.jobs import Peer

Transport: TypeAlias = Literal["unix", "zmq"]


class Channel(Protocol):
    """One process's inbox, and its ways to others.

    Attributes:
        due: when `receive` is to be called although the descriptor is not readable (CLOCK_MONOTONIC seconds); infinite
            as long as the descriptor tells of everything, which is nearly always. Any call may change it.
    """

    due: float

    def fileno(self) -> int:
        """The descriptor to wait for."""

    def receive(self) -> bytes | None:
        """Take one frame out of the inbox; None when there is none for now. What is longer than allowed is dropped."""

    def connect(self, peer: Peer) -> None:
        """Open the way to a peer. One whose inbox is not there (any more) is as one that dies at once."""

    def disconnect(self, peer: Peer) -> None:
        """Close the way to a peer, and forget what has not left."""

    def send(self, peer: Peer, frame: bytes) -> None:
        """Send a frame to a peer that is connected."""

    def close(self) -> None:
        """Let what was sent leave, within a moment; close everything and remove the inbox."""


def channel_of(transport: Transport) -> Callable[[Peer, Path, int], Channel]:
    """Load what carries frames, and make no use of it yet. A process that forks does it once for all of its children.

    Args:
        transport: which channel.

    Returns:
        What opens it; see `open_channel`.
    """
    # Imported when wanted: who uses the one should not have to load the other.
    match transport:
        case "unix":
            from workers.channel_unix import UnixChannel

            return UnixChannel
        case "zmq":
            from workers.channel_zmq import ZmqChannel

            return ZmqChannel
        case _:
            assert_never(transport)


def open_channel(transport: Transport, me: Peer, folder: Path, max_frame_bytes: int) -> Channel:
    """Bind the inbox of this process. To be called after the fork.

    Args:
        transport: which channel.
        me: this process.
        folder: where the inboxes are; only its owner may enter it.
        max_frame_bytes: the largest frame that is received.

    Raises:
        OSError: the inbox cannot be bound, e.g. because the folder's path is too long for a Unix socket.
    """
    return channel_of(transport)(me, folder, max_frame_bytes)


def inbox_path(folder: Path, peer: Peer) -> Path:
    """Where the inbox of a peer is."""
    return folder / f"{peer.name}.{peer.incarnation}"
