"""What a pool looks like at one moment."""

from __future__ import annotations

import socket
from pathlib import Path

from msgspec import Struct, field

from workers.channel import inbox_path
from workers.door import credentials
from workers.jobs import Peer


class WorkerStats(Struct, frozen=True):
    """One worker, as `PoolStats` shows it.

    Args:
        name: e.g. ``worker-1``.
        incarnation: which life of that name this is.
        pid: its process; None when it has just ended.
        state: ``idle``, ``running`` or ``draining``.
        outstanding: jobs that it has not answered, of all origins.
        expected_s: how long these are expected to take, in seconds.
        jobs_done: jobs that it has ended in this life.
    """

    name: str
    incarnation: int
    pid: int | None
    state: str
    outstanding: int
    expected_s: float
    jobs_done: int


class PoolStats(Struct, frozen=True):
    """A pool at one moment, as seen from this process.

    Args:
        workers: those that are there, by slot.
        waiting: jobs that wait for room, at all origins.
        pending: jobs of this process that are not settled.
        counters: what happened to this process's jobs so far: ``submitted``, ``returned``, ``failed``, ``worker_lost``,
            ``timed_out``, ``cancelled``, ``rejected``, ``reruns`` (idempotent ones whose worker died, and which went to
            another) and more.
    """

    workers: list[WorkerStats]
    waiting: int
    pending: int
    counters: dict[str, int] = field(default_factory=dict)


def pid_of(folder: Path, peer: Peer) -> int | None:
    """Which process listens at a peer's inbox; the kernel knows, so a busy one need not be asked."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.setblocking(False)
        try:
            sock.connect(str(inbox_path(folder, peer)))
        except OSError:
            return None
        return credentials(sock)[0]
