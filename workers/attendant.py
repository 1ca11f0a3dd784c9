"""The attendant of an embedded pool: ``python -m workers.attendant <descriptor of the lifeline>``.

It is started by exec, so it knows nothing of the threads and loops of the program that wants the pool. It reads the
settings from the lifeline, loads the handlers once (the workers share that memory), forks the workers, and lets guests
in. It runs no jobs, no asyncio and no ZeroMQ.

On the lifeline, all msgpack: the settings come first; ``["ready"]`` or ``["failed", why]`` goes back; ``["drain",
seconds]`` may follow. Its end, or its creator's death, ends the pool. (Both, because a child that the creator forked
keeps the descriptor open.)

A signal from the terminal does not reach it, for it has a session of its own, and it heeds no SIGINT; SIGTERM drains.
"""

from __future__ import annotations

import gc
import logging
import mmap
import os
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Final, TypeAlias

import msgpack

from workers import executing
from workers.birth import Child
from workers.channel import inbox_path
from workers.door import Door
from workers.homes import SOCKET, remove_folder, take_folder
from workers.jobs import Peer
from workers.loads import LoadBoard
from workers.supervision import RestartPolicy
from workers.terms import MAX_SETTINGS_BYTES, BootFailure, PoolSettings, unpack_settings
from workers.tree import ProcessTree, Role
from workers.tree_events import Died, Draining, Event, ExitCode, GaveUp, Ready, Restarting, Retiring, Started, Stopped

log = logging.getLogger("layby.attendant")

Load: TypeAlias = Callable[[PoolSettings], executing.Handlers]

WORKER: Final = "worker"
_BACKLOG: Final = 64

_RESTARTS: Final = RestartPolicy(lived_s=0.0, storm_deaths=300, boot_failure_ends=False)
"""A worker that was up is replaced at once whatever it died of: what its jobs do to it is their authors' business, and
the next caller shall not wait for it. The pool ends only when workers die at a rate that no crashing job explains.
"""
"""Guests that may stand before the door at one moment."""


class Lifeline:
    """The attendant's end of the socket that ties the pool to its creator."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._unpacker = msgpack.Unpacker(max_buffer_size=MAX_SETTINGS_BYTES + 65_536)
        self.ended = False

    def fileno(self) -> int:
        return self._socket.fileno()

    def read_settings(self) -> PoolSettings | None:
        """Wait for the settings; None when the creator is gone."""
        while not self.ended:
            for packed in self.read():
                assert isinstance(packed, bytes), "the settings come first"
                self._socket.setblocking(False)
                return unpack_settings(packed)
        return None

    def read(self) -> list[object]:
        """What has come; `ended` is set when it is the last."""
        try:
            data = self._socket.recv(262_144)
        except BlockingIOError:
            return []
        except OSError:
            data = b""
        self.ended = not data
        self._unpacker.feed(data)
        return list(self._unpacker)

    def say(self, *words: str) -> None:
        """Tell the creator; it may be dead."""
        with suppress(OSError):
            self._socket.send(msgpack.packb(words), socket.MSG_NOSIGNAL)

    def close(self) -> None:
        self._socket.close()


class Attendance:
    """One pool, from the attendant's side.

    Args:
        settings: what its creator settled.
        lifeline: the way to the creator.
        load: makes the table of handlers.

    Raises:
        BootFailure: the folder cannot be had, or the handlers cannot be loaded.
    """

    def __init__(self, settings: PoolSettings, lifeline: Lifeline, load: Load) -> None:
        self._settings = settings
        self._lifeline = lifeline
        self._ready = False
        self._up: set[str] = set()
        self._draining = False
        self._creator = _watch_parent()
        self._lock = take_folder(settings.folder)
        self._board_fd = os.memfd_create("layby-board", os.MFD_CLOEXEC)
        os.ftruncate(self._board_fd, LoadBoard.size(settings.slots))
        self._board = LoadBoard(mmap.mmap(self._board_fd, LoadBoard.size(settings.slots)), settings.slots)
        self._handlers, self._awaits = _load(load, settings)
        self._tree = self._plant()

    def _plant(self) -> ProcessTree:
        settings = self._settings
        station = executing.Station(settings, self._board, self._handlers, self._awaits)
        role = Role(
            WORKER,
            settings.workers,
            lambda child: executing.work(child, station),
            first_slot=0,
            executes=True,
            max_count=settings.most_workers,
        )
        guests = range(settings.most_workers, settings.slots)
        return ProcessTree(
            [role],
            policy=_RESTARTS,
            title=settings.title,
            drain_s=settings.drain_s,
            on_event=self._on_event,
            on_tell=lambda peer, topic, body: None,
            prepare=self._release_in_child,
            signals={signal.SIGINT: lambda: None},
            stop_signals=[signal.SIGTERM],
            door=Door(_listen(settings), guests, settings, self._board_fd),
        )

    def run(self) -> int:
        """Serve until the end; the exit code."""
        self._tree.add_reader(self._lifeline.fileno(), self._on_lifeline)
        if self._creator is not None:
            self._tree.add_reader(self._creator, self._on_creator_dead)
        settings = self._settings
        self._tree.oversee(
            WORKER,
            self._board,
            limits=settings.limits,
            idle_s=settings.idle_s,
            memory_limit_bytes=settings.memory_limit_bytes,
        )
        # What is loaded by now lives as long as the pool; out of the collector's sight it stays shared. Not collected
        # before: that takes 5 ms of the start, and loading leaves next to no garbage.
        gc.freeze()
        gc.enable()
        return self._tree.run()

    def close(self) -> None:
        """Remove what has a name."""
        os.close(self._lock)
        remove_folder(self._settings.folder)

    # What ends it.

    def _on_lifeline(self) -> None:
        for word in self._lifeline.read():
            match word:
                case ["drain", float(within_s)]:
                    self._draining = True
                    self._tree.drain(within_s)
                case _:
                    log.error("the pool's creator said %r", word)
        if self._lifeline.ended:
            self._tree.remove_reader(self._lifeline.fileno())
            self._drain()

    def _on_creator_dead(self) -> None:
        assert self._creator is not None
        self._tree.remove_reader(self._creator)
        self._drain()

    def _drain(self) -> None:
        if not self._draining:
            self._draining = True
            self._tree.drain(self._settings.drain_s)

    # What happens to processes.

    def _on_event(self, event: Event) -> None:
        match event:
            case Ready(peer):
                self._count(peer)
            case Died(peer, slot, _, status):
                log.debug("%s ended: %s", peer, status)
                self._board.clear_slot(slot)
                inbox_path(self._settings.folder, peer).unlink(missing_ok=True)
            case GaveUp(_, reason):
                self._give_up(reason)
            case Restarting(peer, _, after_s):
                log.debug("%s starts in %.1f s", peer, after_s)
            case Started() | Retiring() | Draining() | Stopped():
                pass

    def _count(self, peer: Peer) -> None:
        if self._ready or not peer.name.startswith(WORKER):
            return
        self._up.add(peer.name)
        if len(self._up) == self._settings.workers:
            self._ready = True
            self._lifeline.say("ready")

    def _give_up(self, reason: str) -> None:
        if not self._ready:
            self._lifeline.say("failed", reason)
        else:
            log.critical("the pool %r gives up: %s", self._settings.title, reason)

    def _release_in_child(self, child: Child) -> None:
        """Close, in a new worker, what the attendant has open for itself."""
        self._lifeline.close()
        os.close(self._lock)
        if self._creator is not None:
            os.close(self._creator)


def _load(load: Load, settings: PoolSettings) -> executing.Handlers:
    try:
        return load(settings)
    except Exception as error:
        raise BootFailure(f"handlers: {error}") from error


def _listen(settings: PoolSettings) -> socket.socket:
    path = settings.folder / SOCKET
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(os.fspath(path))
    path.chmod(0o600)
    listener.listen(_BACKLOG)
    return listener


def _watch_parent() -> int | None:
    """A descriptor that is readable once the creator is dead; None where the system has no such thing."""
    parent = os.getppid()
    try:
        pidfd = os.pidfd_open(parent)
    except (AttributeError, OSError):
        return None
    if os.getppid() != parent:  # it died meanwhile, and the pid may be another's; the lifeline says so too
        os.close(pidfd)
        return None
    return pidfd


def main(fd: int, load: Load | None = None) -> int:
    """Be an attendant. ``fd`` is the lifeline; ``load`` makes the table of handlers, `workers.calls.load` unless given.

    Returns:
        The exit code, an `ExitCode`.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    lifeline = Lifeline(socket.socket(fileno=fd))
    settings = lifeline.read_settings()
    if settings is None:
        return ExitCode.STOPPED
    try:
        attendance = Attendance(settings, lifeline, load or executing.load_calls)
    except BootFailure as failure:
        lifeline.say("failed", str(failure))
        return ExitCode.BOOT_FAILED
    try:
        return attendance.run()
    finally:
        attendance.close()


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
