"""A program's side of an embedded pool: to start one, and to join one.

Start (the program is never forked; an attendant is started by exec, and forks the workers)::

    attendant = start_attendant(PoolSettings(folder=fresh_folder(), workers=4, handlers=("myapp.jobs",)))
    attendant.wait_ready(10.0)                   # raises BootFailure with the pool's own words
    ...
    attendant.close(5.0)                         # drains, waits, then kills; nothing is left behind

Join, from this or any other process of the same user (the creator is a guest like all others)::

    membership = join(folder)                    # raises CannotJoin, NoSuchPool
    node = Node(membership.peer, membership.slot, folder, membership.board, executes=False, handlers={})
    membership.link.ready()                      # now the workers are told of us, and we of them
    # when membership.link is readable:
    for told in membership.link.receive():       # PeerUp, PeerDown, Drain, Tell, AttendantGone (Retire never to guests)
        ...
    node.close()
    membership.close()                           # the others hear PeerDown(peer, "it left")

The creator's own descriptor of the **lifeline** ends the pool: when it is closed, or the creator dies in any way, the
attendant drains for `PoolSettings.drain_s` seconds and ends. When the attendant dies the kernel kills the workers, and
every guest's link gives `AttendantGone`.

Everything here blocks for a few milliseconds up to its time limit; an asyncio program calls it in a thread.
"""

from __future__ import annotations

import mmap
import os
import select
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import msgpack
from msgspec import Struct
from msgspec.structs import replace

from workers.control import ControlLink
from workers.door import credentials
from workers.homes import SOCKET, fresh_folder, remove_folder
from workers.jobs import Peer
from workers.loads import LoadBoard
from workers.terms import (
    MAX_FOLDER_BYTES,
    MAX_WELCOME_BYTES,
    BootFailure,
    PoolSettings,
    Refused,
    Welcome,
    decode_greeting,
    pack_settings,
)

__all__ = [
    "AttendantProcess",
    "BootFailure",
    "CannotJoin",
    "Membership",
    "NoSuchPool",
    "PoolSettings",
    "fresh_folder",
    "join",
    "start_attendant",
]

_BOOTSTRAP: Final = (
    "import gc, sys; gc.disable(); sys.path[:] = {path!r}; from workers.attendant import main; sys.exit(main({fd}))"
)
"""Not ``-m``: the attendant must find this very package, wherever the program got it from. Collecting what is only just
being loaded finds nothing and takes time; it begins when all is."""

_GRACE_S: Final = 2.0
"""How much longer than its drain limit an attendant may take: its workers' last breath, and its own."""


class CannotJoin(Exception):
    """The pool cannot be joined; the text says why: it is full, shutting down, or another user's."""


class NoSuchPool(CannotJoin):
    """There is no pool in that folder, or not any more."""


# Starting.


class AttendantProcess:
    """The pool's attendant, as its creator has it. Methods may be called from any thread.

    Attributes:
        pid: of the attendant.
        folder: where the pool lives.
    """

    def __init__(self, process: subprocess.Popen[bytes], lifeline: socket.socket, folder: Path) -> None:
        self.pid = process.pid
        self.folder = folder
        self._process = process
        self._lifeline = lifeline
        self._unpacker = msgpack.Unpacker()
        self._lock = threading.Lock()
        self._creator = os.getpid()
        self._ready = False
        self._failure: str | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    @property
    def alive(self) -> bool:
        """Whether the attendant runs."""
        return self._process.poll() is None

    def wait_ready(self, timeout_s: float) -> None:
        """Wait until every worker is up. The pool can be joined then.

        Raises:
            BootFailure: the pool could not start, with its own words, e.g. "handlers: No module named 'myapp'"; or it
                took longer than ``timeout_s`` seconds. Close it in either case.
        """
        ends_at = time.monotonic() + timeout_s
        while not self._ready and self._failure is None:
            if not _wait_readable(self._lifeline, ends_at - time.monotonic()):
                raise BootFailure(f"the pool is not ready within {timeout_s:g} s")
            self._hear()
        if self._failure is not None:
            raise BootFailure(self._failure)

    def _hear(self) -> None:
        try:
            data = self._lifeline.recv(65_536)
        except OSError:
            data = b""
        if not data:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(_GRACE_S)
            code = self._process.returncode
            self._failure = f"the attendant ended (exit code {code}) before the pool was ready"
        self._unpacker.feed(data)
        for word in self._unpacker:
            match word:
                case ["ready"]:
                    self._ready = True
                case ["failed", str(reason)]:
                    self._failure = reason

    def close(self, timeout_s: float = 5.0) -> int:
        """End the pool: ask it to drain, wait, kill what is left, and remove its folder. Calling again does nothing.

        Args:
            timeout_s: how long what the pool has accepted may take; with 0.0 it is killed at once.

        Returns:
            The attendant's exit code; 0 for an orderly end.
        """
        with self._lock:
            if self._creator != os.getpid():  # a fork of the creator; the pool is not its to end
                self._lifeline.close()
                return 0
            if self._process.returncode is None:
                self._end(max(0.0, timeout_s))
            self._lifeline.close()
            remove_folder(self.folder)
            return self._process.returncode or 0

    def _end(self, timeout_s: float) -> None:
        if timeout_s > 0.0:
            with suppress(OSError):  # it is dead already
                self._lifeline.send(msgpack.packb(["drain", float(timeout_s)]), socket.MSG_NOSIGNAL)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout_s + _GRACE_S)
        self._process.kill()
        self._process.wait()


def start_attendant(settings: PoolSettings) -> AttendantProcess:
    """Start a pool: an attendant by exec, in a session of its own. Returns at once; see `AttendantProcess.wait_ready`.

    The pool's stdout and stderr are the program's own. Its folder is made if it is not there.

    Raises:
        ValueError: the settings cannot be.
        TypeError: an argument of the initialiser is nothing that msgpack can carry.
        OSError: the program cannot be started.
    """
    settings = replace(settings, folder=settings.folder.absolute(), sys_path=settings.sys_path or tuple(sys.path))
    settings.check()
    packed = msgpack.packb(pack_settings(settings))
    ours, theirs = socket.socketpair()
    try:
        program = _BOOTSTRAP.format(path=list(settings.sys_path), fd=theirs.fileno())
        process = subprocess.Popen(
            [sys.executable, "-c", program],
            stdin=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
            start_new_session=True,
        )
    except BaseException:
        ours.close()
        raise
    finally:
        theirs.close()
    with suppress(OSError):  # it died at once; `wait_ready` tells
        ours.sendall(packed)
    return AttendantProcess(process, ours, settings.folder)


# Joining.


class Membership(Struct, eq=False):
    """A guest's place in a pool.

    Args:
        peer: its name, unique for the life of the pool.
        slot: its row of the board.
        settings: what the pool was made with; without the initialiser's arguments.
        board: the load board, shared with all.
        link: its link to the attendant.
    """

    peer: Peer
    slot: int
    settings: PoolSettings
    board: LoadBoard
    link: ControlLink
    _memory: mmap.mmap

    def close(self) -> None:
        """Leave the pool, and let go of the board: close the node first. Calling again does nothing."""
        self.link.close()
        self.board.close()
        self._memory.close()


def join(folder: Path, timeout_s: float = 5.0) -> Membership:
    """Join the pool that lives in a folder.

    Args:
        folder: as the pool's creator has it.
        timeout_s: how long the attendant may take to answer.

    Raises:
        NoSuchPool: nobody listens there.
        CannotJoin: the pool is full, shutting down, another user's, or does not answer in time.
    """
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        sock.settimeout(timeout_s)
        _connect(sock, folder)
        return _enter(sock, folder)
    except BaseException:
        sock.close()
        raise


def _connect(sock: socket.socket, folder: Path) -> None:
    path = folder / SOCKET
    if len(os.fsencode(folder)) > MAX_FOLDER_BYTES:
        raise NoSuchPool(f"{folder}: no pool lives in so long a path (at most {MAX_FOLDER_BYTES} bytes)")
    try:
        sock.connect(os.fspath(path))
    except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError):
        raise NoSuchPool(f"{folder}: no pool runs here") from None
    except PermissionError:
        raise CannotJoin(f"{folder}: the pool belongs to another user") from None
    except TimeoutError:
        raise CannotJoin(f"{folder}: the pool does not answer") from None
    _, uid = credentials(sock)
    if uid != os.getuid():
        raise CannotJoin(f"{folder}: the pool belongs to another user")


def _enter(sock: socket.socket, folder: Path) -> Membership:
    try:
        frame, fds, _, _ = socket.recv_fds(sock, MAX_WELCOME_BYTES, 1, socket.MSG_CMSG_CLOEXEC)
    except TimeoutError:
        raise CannotJoin(f"{folder}: the pool does not answer") from None
    except OSError:
        raise NoSuchPool(f"{folder}: the pool has just ended") from None
    try:
        match decode_greeting(frame):
            case Welcome(peer, slot, settings) if fds:
                memory = mmap.mmap(fds[0], LoadBoard.size(settings.slots))
                sock.setblocking(False)
                return Membership(peer, slot, settings, LoadBoard(memory, settings.slots), ControlLink(sock), memory)
            case Refused(reason):
                raise CannotJoin(f"{folder}: {reason}")
            case _ if not frame:
                raise NoSuchPool(f"{folder}: the pool has just ended")
            case _:
                raise CannotJoin(f"{folder}: what listens there is no pool of this version")
    finally:
        for fd in fds:
            os.close(fd)


def _wait_readable(sock: socket.socket, timeout_s: float) -> bool:
    # poll, not select: the descriptor's number may be beyond select's 1,024.
    poller = select.poll()
    poller.register(sock, select.POLLIN)
    return bool(poller.poll(max(0.0, timeout_s) * 1000))
