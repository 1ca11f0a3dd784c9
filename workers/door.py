"""The door of a pool: where processes that the attendant did not fork come in, and its links to those that did.

A guest connects to a SOCK_SEQPACKET socket in the pool's folder, is told its name, its slot and the settings, and gets
the load board's descriptor with it. From then on the connection is its control link, as a forked process has one.

Nothing that a guest does or leaves undone holds the attendant up: it is never waited for. One that does not say ready
is dismissed by the supervisor; one that does not read is dismissed when its backlog is full. It is gone when its link
ends, or, because a child that it forked may hold the link open, when its pidfd says so.
"""

from __future__ import annotations

import logging
import os
import socket
import struct
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from itertools import count
from typing import Final, assert_never

from msgspec import Struct

from workers.control import AttendantEnd, LastWords, ReadySaid, Said, Tell
from workers.jobs import Peer
from workers.links import WatchedLink
from workers.loop import READ, Loop
from workers.terms import PoolSettings, Refused, Welcome, encode_greeting
from workers.tree_events import GuestCame, GuestLeft, SaidReady, Stimulus

log = logging.getLogger("layby.attendant")

_AT_ONCE: Final = 8
"""Visitors taken in one turn of the loop; the rest come in the next."""

_REST_S: Final = 0.5
"""Until the next look when there was no descriptor left for a visitor."""

_CREDENTIALS: Final = struct.Struct("3i")
"""``struct ucred``: pid, uid, gid."""


def credentials(sock: socket.socket) -> tuple[int, int]:
    """The pid and uid of whoever is at the other end of a Unix socket, as the kernel saw them when it connected."""
    pid, uid, _ = _CREDENTIALS.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
    return pid, uid


class _Guest(Struct, eq=False):
    peer: Peer
    link: WatchedLink
    pidfd: int | None


class Door:
    """The listening socket of a pool, and its guests.

    Args:
        listener: a listening SOCK_SEQPACKET socket in a folder that only its owner may enter. Closed with the door.
        slots: the slots for guests.
        settings: what guests are told.
        board_fd: the descriptor of the load board, passed to guests.
    """

    def __init__(self, listener: socket.socket, slots: Sequence[int], settings: PoolSettings, board_fd: int) -> None:
        listener.setblocking(False)
        self.slots = slots
        self._listener = listener
        self._settings = settings
        self._board_fd = board_fd
        self._visitors: dict[int, tuple[socket.socket, int]] = {}
        """Who came and was neither let in nor refused yet: only while the supervisor decides."""
        self._tickets = count(1)
        self._guests: dict[Peer, _Guest] = {}
        self._closed = False
        self._rests = False
        """Whether there ever was a descriptor too few; from then on the socket is looked at anew now and then."""

    def open(self, loop: Loop, feed: Callable[[Stimulus], None], on_tell: Callable[[Peer, str, bytes], None]) -> None:
        """Begin to let guests in: ``feed`` is told of them, ``on_tell`` of what they tell the owner."""
        self._loop, self._feed, self._on_tell = loop, feed, on_tell
        loop.add_reader(self._listener.fileno(), self._answer)

    def close(self) -> None:
        """Let nobody in any more, and let go of those who are in."""
        if self._closed:
            return
        self._closed = True
        self._loop.remove_reader(self._listener.fileno())
        self._listener.close()
        for sock, _ in self._visitors.values():
            sock.close()
        for peer in list(self._guests):
            self.dismiss(peer)

    def close_in_child(self) -> None:
        """Close the descriptors in a process that was forked from this one."""
        self._listener.close()
        os.close(self._board_fd)
        for guest in self._guests.values():
            guest.link.close_in_child()
            if guest.pidfd is not None:
                os.close(guest.pidfd)

    # What the supervisor decided.

    def admit(self, ticket: int, peer: Peer, slot: int) -> None:
        """Let a visitor in."""
        sock, pid = self._visitors.pop(ticket)
        frame = encode_greeting(Welcome(peer, slot, self._settings))
        try:
            socket.send_fds(sock, [frame], [self._board_fd], socket.MSG_NOSIGNAL)
        except OSError as problem:
            sock.close()
            self._feed(GuestLeft(peer, f"it could not be let in: {problem}", time.monotonic()))
            return
        link = WatchedLink(self._loop, AttendantEnd(sock), partial(self._hear, peer), partial(self._gone, peer))
        self._guests[peer] = _Guest(peer, link, self._watch_pid(peer, pid))

    def refuse(self, ticket: int, reason: str) -> None:
        """Send a visitor away."""
        sock, _ = self._visitors.pop(ticket)
        _send_away(sock, reason)

    def dismiss(self, peer: Peer) -> None:
        """Close the link to a guest, without a word."""
        guest = self._guests.pop(peer, None)
        if guest is None:
            return
        guest.link.close()
        if guest.pidfd is not None:
            self._loop.unwatch(guest.pidfd)
            os.close(guest.pidfd)

    def send(self, peer: Peer, frame: bytes) -> bool:
        """Send a guest a word; False when that is none."""
        guest = self._guests.get(peer)
        if guest is None:
            return False
        if not guest.link.send(frame):
            log.error("%s does not read what it is told; it is dismissed", peer)
            self._leave(peer, "it did not read its control link")
        return True

    def guests(self) -> list[Peer]:
        """Who is in."""
        return list(self._guests)

    # What guests do.

    def _answer(self) -> None:
        for _ in range(_AT_ONCE):
            try:
                sock, _ = self._listener.accept()
            except BlockingIOError:
                return
            except ConnectionError:
                continue
            except OSError as problem:  # no descriptors left
                log.error("no guest can be let in for a while: %s", problem)
                self._rest()
                return
            self._look_at(sock)

    def _rest(self) -> None:
        """Leave who waits outside waiting: the socket stays readable, and looking at once again would be for ever."""
        self._loop.remove_reader(self._listener.fileno())
        if not self._rests:
            self._loop.add_timer(_REST_S, self._end_rest)
        self._rests = True

    def _end_rest(self) -> None:
        if self._rests and not self._closed:
            self._loop.remove_reader(self._listener.fileno())
            self._loop.add_reader(self._listener.fileno(), self._answer)

    def _look_at(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        pid, uid = credentials(sock)
        if uid != os.getuid():
            _send_away(sock, "the pool belongs to another user")
            return
        ticket = next(self._tickets)
        self._visitors[ticket] = sock, pid
        self._feed(GuestCame(ticket, pid, time.monotonic()))

    def _watch_pid(self, peer: Peer, pid: int) -> int | None:
        """Watch for the guest's death. None where that is not possible; then the link's end has to do."""
        try:
            pidfd = os.pidfd_open(pid)
        except (AttributeError, OSError):  # no such system call, or dead already: the link says so
            return None
        self._loop.watch(pidfd, READ, lambda events: self._leave(peer, "it died"))
        return pidfd

    def _hear(self, peer: Peer, word: Said) -> None:
        match word:
            case ReadySaid():
                self._feed(SaidReady(peer, time.monotonic()))
            case Tell(topic, body):
                self._on_tell(peer, topic, body)
            case LastWords():
                pass
            case _:
                assert_never(word)

    def _gone(self, peer: Peer) -> None:
        self._leave(peer, "it left")

    def _leave(self, peer: Peer, reason: str) -> None:
        if peer in self._guests:
            self.dismiss(peer)
            self._feed(GuestLeft(peer, reason, time.monotonic()))


def _send_away(sock: socket.socket, reason: str) -> None:
    with suppress(OSError):
        sock.send(encode_greeting(Refused(reason)), socket.MSG_NOSIGNAL)
    sock.close()
