"""The runtime folder: where a server keeps its sockets and its store, and how the leftovers of a killed one go."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from runtime.settings import SettingsError, runtime_home
from workers.homes import try_lock

_LOCK: Final = ".layby-lock"
"""Its presence also tells a runtime folder from any other: only that is ever emptied or removed."""
MAX_PATH: Final = 80
"""Bytes. A Unix socket's whole path has at most 107, and the name of a process takes some."""


class RuntimeFolder:
    """A folder of mode 0700, locked for as long as this server lives.

    The lock is the kernel's: it goes with the process however that ends, so an unlocked folder is a leftover,
    and `sweep()` may remove it. No PID is ever read from a file and trusted.
    """

    def __init__(self, path: Path, lock: int, home: Path | None = None) -> None:
        self.path = path
        self._lock = lock
        self._home = home

    @classmethod
    def make(cls, path: Path | None = None) -> RuntimeFolder:
        """Make the folder (below `runtime_home()` when none is given) and remove those of killed servers.

        Raises:
            SettingsError: it cannot be made, belongs to somebody else, holds other people's files, or another
                server runs in it.
        """
        if path is not None:
            return cls._make(path)
        home = runtime_home()
        # Held while sweeping and making, or a server that starts at the same moment could take a folder that is made
        # and not yet locked for a leftover.
        with _locked(home):
            sweep(home)
            return cls._make(home / str(os.getpid()), home)

    @classmethod
    def _make(cls, path: Path, home: Path | None = None) -> RuntimeFolder:
        if len(os.fsencode(path)) > MAX_PATH:
            raise SettingsError(f"{path} is too long for Unix sockets in it; at most {MAX_PATH} bytes")
        if path.is_dir() and any(path.iterdir()) and not (path / _LOCK).exists():
            raise SettingsError(f"{path} has files in it and is no runtime folder; choose another")
        _private(path)
        # The children hold the lock as well, which a fork hands down: a server whose attendant was killed counts as
        # alive until its last process is gone.
        lock = try_lock(path / _LOCK)
        if lock is None:
            raise SettingsError(f"{path}: another server runs in this folder")
        for leftover in path.iterdir():
            if leftover.name != _LOCK:
                _remove(leftover)
        return cls(path, lock, home)

    def close(self) -> None:
        """Remove it with all that is in it, and the folder above when this was the last server of its user."""
        if self._home is None:
            shutil.rmtree(self.path, ignore_errors=True)
        else:
            with _locked(self._home):
                shutil.rmtree(self.path, ignore_errors=True)
                if [entry.name for entry in self._home.iterdir()] == [_LOCK]:
                    shutil.rmtree(self._home, ignore_errors=True)
        os.close(self._lock)


def sweep(home: Path) -> list[Path]:
    """Remove the folders below `home` that no living server holds; which they were."""
    removed = []
    for path in home.iterdir():
        if path.is_symlink() or not (path / _LOCK).exists():
            continue
        lock = try_lock(path / _LOCK)
        if lock is None:
            continue
        shutil.rmtree(path, ignore_errors=True)
        os.close(lock)
        removed.append(path)
    return removed


@contextlib.contextmanager
def _locked(home: Path) -> Iterator[None]:
    while True:
        _private(home)
        try:
            descriptor = os.open(home / _LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        except FileNotFoundError:
            continue  # the last server of this user has just removed it
        except OSError as error:
            raise SettingsError(f"{home / _LOCK}: {error.strerror}") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if _is_there(descriptor, home / _LOCK):
                yield
                return
        finally:
            os.close(descriptor)


def _is_there(descriptor: int, path: Path) -> bool:
    """Whether the open file still is the one of that name: it may have been removed while we waited for its lock."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _private(path: Path) -> None:
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = path.lstat()
    except OSError as error:
        raise SettingsError(f"{path}: {error.strerror}") from error
    if path.is_symlink() or status.st_uid != os.getuid():
        raise SettingsError(f"{path} belongs to somebody else; choose another runtime folder")
    path.chmod(0o700)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
