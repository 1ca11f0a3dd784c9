"""The folder that a pool lives in: a lock, a listening socket, and the inboxes of its processes.

The lock is the kernel's: it goes with the attendant however that ends, so a folder whose lock is free is a leftover.
No pid is ever read from a file and trusted.
"""

from __future__ import annotations

import fcntl
import os
import stat
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

from workers.terms import MAX_FOLDER_BYTES, BootFailure

SOCKET: Final = "pool.sock"
"""Where guests knock."""

_LOCK: Final = "pool.lock"
"""Its presence also tells a pool's folder from any other: only that is ever removed."""

_PREFIX: Final = "layby-pool-"

_UNBORN_S: Final = 60.0
"""A fresh folder without a lock belongs to a pool that is just starting; after so long its start has failed."""


def fresh_folder() -> Path:
    """Make a new folder for a pool, below $XDG_RUNTIME_DIR or /tmp, and remove those of pools that were killed.

    Raises:
        OSError: it cannot be made.
    """
    import tempfile  # here, because the attendant has no use for all that it imports

    home = _home()
    sweep(home)
    return Path(tempfile.mkdtemp(prefix=_PREFIX, dir=home))


def _home() -> Path:
    home = os.environ.get("XDG_RUNTIME_DIR", "")
    longest = len(os.fsencode(home)) + len(_PREFIX) + 16
    if home and longest <= MAX_FOLDER_BYTES and os.access(home, os.W_OK | os.X_OK):
        return Path(home)
    return Path("/tmp")


def sweep(home: Path) -> None:
    """Remove what killed pools of this user have left below `home`."""
    for path in home.glob(_PREFIX + "*"):
        try:
            status = path.lstat()
        except FileNotFoundError:
            continue
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid():
            continue
        if (path / _LOCK).exists():
            remove_folder(path)
        elif status.st_mtime < time.time() - _UNBORN_S:
            _remove(path)


def remove_folder(folder: Path) -> bool:
    """Remove a pool's folder; False where a pool lives in it, or none ever did. An empty one goes too."""
    if not (folder / _LOCK).exists():
        try:
            folder.rmdir()
        except OSError:
            return False
        return True
    lock = try_lock(folder / _LOCK)
    if lock is None:
        return False
    _remove(folder)
    os.close(lock)
    return True


def take_folder(folder: Path) -> int:
    """Make a folder ours, and empty it of what a killed pool has left.

    Returns:
        The descriptor that holds its lock.

    Raises:
        BootFailure: it cannot be had; the text says why.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = folder.lstat()
    except OSError as error:
        raise BootFailure(f"{folder}: {error.strerror}") from error
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid():
        raise BootFailure(f"{folder} is no folder of this user; choose another")
    if any(entry.name != _LOCK for entry in folder.iterdir()) and not (folder / _LOCK).exists():
        raise BootFailure(f"{folder} has files in it and is no pool's folder; choose another")
    folder.chmod(0o700)
    lock = try_lock(folder / _LOCK)
    if lock is None:
        raise BootFailure(f"{folder}: another pool runs in this folder")
    _empty(folder)
    return lock


def _empty(folder: Path) -> None:
    """Remove all but the lock. A pool makes no folders in its own."""
    for leftover in folder.iterdir():
        if leftover.name != _LOCK:
            with suppress(OSError):
                leftover.unlink()


def _remove(folder: Path) -> None:
    with suppress(OSError):
        _empty(folder)
        (folder / _LOCK).unlink(missing_ok=True)  # last, for without it nobody would know what this is
        folder.rmdir()


def try_lock(path: Path) -> int | None:
    """Lock a file, making it if it is not there, without waiting.

    Returns:
        The descriptor that holds the lock; None where somebody else does, or the file cannot be had. It is not
        inherited over exec, but over fork.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor
