"""Files that a transport makes for its clients: taken over only when they are ours and idle, and removed again."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


class CannotListen(OSError):
    """A transport cannot be offered where the settings want it; the message says why."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A file of ours, known by its inode: what somebody else puts in its place is not ours to remove."""

    path: Path
    device: int
    inode: int

    def release(self) -> None:
        """Remove the file, if it still is the one that was made."""
        try:
            now = os.lstat(self.path)
        except OSError:
            return
        if (now.st_dev, now.st_ino) == (self.device, self.inode):
            self.path.unlink(missing_ok=True)


def make_fifo(path: Path, mode: int) -> tuple[int, Claim]:
    """Make a FIFO and open it for reading, without blocking.

    It is opened for writing too, so that a client that opens and closes it is not the end of its stream.

    Raises:
        CannotListen: something else is there, somebody else's FIFO is, or another process reads it.
    """
    _clear(path, stat.S_ISFIFO, "FIFO", _fifo_in_use)
    try:
        os.mkfifo(path, mode)
        fd = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise CannotListen(f"cannot make the FIFO {path}: {error.strerror}") from error
    os.fchmod(fd, mode)  # whatever the umask says
    return fd, _claim(path, os.fstat(fd))


def bind_unix(path: Path, mode: int) -> tuple[socket.socket, Claim]:
    """Make a Unix datagram socket at `path`, without blocking.

    Raises:
        CannotListen: something else is there, somebody else's socket is, or another process answers at it.
    """
    _clear(path, stat.S_ISSOCK, "socket", _socket_in_use)
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    # Made with the mode it shall have: a chmod afterwards would leave a moment in which anybody may write.
    umask = os.umask(~mode & 0o777)
    try:
        bound.bind(str(path))
        return bound, _claim(path, os.lstat(path))
    except OSError as error:
        bound.close()
        raise CannotListen(f"cannot make the socket {path}: {error.strerror or error}") from error
    finally:
        os.umask(umask)


def _clear(path: Path, is_kind: Callable[[int], bool], kind: str, in_use: Callable[[Path], bool]) -> None:
    try:
        there = os.lstat(path)
    except FileNotFoundError:
        return
    except OSError as error:
        raise CannotListen(f"cannot look at {path}: {error.strerror}") from error
    if not is_kind(there.st_mode):
        raise CannotListen(f"{path} is there and is no {kind}")
    if there.st_uid != os.geteuid():
        raise CannotListen(f"the {kind} {path} belongs to user {there.st_uid}")
    if in_use(path):
        raise CannotListen(f"another process listens at the {kind} {path}")
    path.unlink(missing_ok=True)


def _fifo_in_use(path: Path) -> bool:
    try:
        # Without a reader this fails with ENXIO.
        os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC))
    except OSError:
        return False
    return True


def _socket_in_use(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as probe:
        return probe.connect_ex(str(path)) == 0


def _claim(path: Path, made: os.stat_result) -> Claim:
    return Claim(path, made.st_dev, made.st_ino)
