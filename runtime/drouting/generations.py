"""Which generation of each partition all processes use, and what becomes of the others.

A generation has a number, a folder and, while it is built, a lock that the kernel takes back when its builder dies. One
short transaction in the shared store makes it the one to use. A cell of shared memory then tells all processes to look
there: that is all that a look-up costs them where there is nothing new.

A folder that no partition uses and nobody has locked is a leftover: the one that was used before, or what a killed
builder had come to. Whoever loads next removes it.
"""

from __future__ import annotations

import contextlib
import logging
import mmap
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import lmdb
import msgspec

from runtime.drouting.generation import Builder, View
from runtime.drouting.states import States
from runtime.store import Store, StoreError
from workers.homes import try_lock

log = logging.getLogger("layby.drouting")

_LOCK: Final = ".lock"
_SERIAL: Final = b"serial"
_PARTITION: Final = b"p"
_TRIES: Final = 100
"""How often a generation may be gone before it is open. Each time another one has come."""


class Current(NamedTuple):
    """What all processes are to use of a partition.

    Args:
        number: of the generation.
        loaded_at: seconds of the epoch.
        epoch: since which generation changed states hold.
    """

    number: int
    loaded_at: float
    epoch: int


class Build(NamedTuple):
    """A generation that is being built.

    Args:
        number: grows with each one that is begun.
        path: its folder.
        builder: what it is filled with.
    """

    number: int
    path: Path
    builder: Builder


class Generations:
    """The generations, as this process sees them.

    Args:
        folder: where they are; made when it is not there.
        store: what all processes share.
        states: of the gateways and carriers.
        flips: the cell; shared by all processes.
    """

    def __init__(self, folder: Path, store: Store, states: States, flips: mmap.mmap) -> None:
        folder.mkdir(mode=0o700, exist_ok=True)
        self._folder = folder
        self._store = store
        self._table = store.table("drouting")
        self._states = states
        self._flips = memoryview(flips).cast("q")
        self._seen = self._flips[0]
        self._views: dict[str, View | None] = {}
        """What this process has open, by partition; None where nothing is loaded."""

    def view(self, partition: str) -> View | None:
        """The generation that is to be used now; None where nothing is loaded.

        Raises:
            StoreError: it cannot be opened.
        """
        if self._flips[0] != self._seen:
            self.catch_up()
        try:
            return self._views[partition]
        except KeyError:
            found = self._open(partition)
            self._keep(partition, found)
            return found

    def catch_up(self) -> None:
        """Let go of what is not to be used any more, and so of its memory."""
        self._seen = self._flips[0]
        with self._store.reading() as read:
            numbers = {name: self._number(read, name) for name in self._views}
        for name, number in numbers.items():
            view = self._views[name]
            if (None if view is None else view.number) != number:
                self._keep(name, None)
                del self._views[name]

    @contextlib.contextmanager
    def building(self) -> Iterator[Build]:
        """Begin a generation. What is not in use at the end of the block is removed.

        Raises:
            StoreError: there is no room.
        """
        self.sweep()
        number, lock = self._begin()
        try:
            builder = _builder(self._path(number))
            try:
                yield Build(number, self._path(number), builder)
            finally:
                builder.close()
        finally:
            os.close(lock)
            self.sweep()

    def take(self, partition: str, build: Build, now: float, *, inherit_state: bool) -> bool:
        """Have all processes use a finished generation.

        Args:
            now: seconds of the epoch.
            inherit_state: what was there before keeps the state that it has.

        Returns:
            False where the one that is used was begun later.

        Raises:
            StoreError: there is no room.
        """
        try:
            after = View(build.path, build.number, now, build.number)
        except lmdb.Error as error:
            raise StoreError(f"{build.path}: {error}") from error
        while True:
            self.catch_up()
            before = self.view(partition)
            with self._store.writing() as write:
                number = self._number(write, partition)
                if number is not None and number > build.number:
                    return False
                if (None if before is None else before.number) == number:
                    if before is not None and inherit_state:
                        after.epoch = before.epoch
                        self._states.inherit(write, partition, before, after)
                    current = Current(after.number, after.loaded_at, after.epoch)
                    write.put(_key(partition), msgspec.msgpack.encode(current), db=self._table)
                    break
            # Another generation has come since this process looked: its states are those to inherit.
        self._keep(partition, after)
        # After the transaction: who is told looks there at once.
        self._flips[0] = build.number
        try:
            self._states.tidy(partition, after)
        except StoreError as error:
            log.warning("changes of states that hold no more are kept until the next load: %s", error)
        return True

    def sweep(self) -> None:
        """Remove what nobody uses or builds."""
        try:
            found = self._leftovers()
        except StoreError as error:
            log.warning("old routing rules are kept until the next load: %s", error)
            return
        for path in found:
            shutil.rmtree(path, ignore_errors=True)

    def _keep(self, partition: str, view: View | None) -> None:
        before = self._views.get(partition)
        if before is not None:
            before.let_go()
        self._views[partition] = view

    def _open(self, partition: str) -> View | None:
        error: lmdb.Error | None = None
        for _ in range(_TRIES):
            with self._store.reading() as read:
                current = _unpacked(read.get(_key(partition), db=self._table))
            if current is None:
                return None
            try:
                return View(self._path(current.number), *current)
            except lmdb.Error as gone:
                error = gone  # it was removed just now, for there is a newer one
        raise StoreError(f"the routing rules of {partition} cannot be read: {error}")

    def _number(self, read: lmdb.Transaction, partition: str) -> int | None:
        current = _unpacked(read.get(_key(partition), db=self._table))
        return None if current is None else current.number

    def _leftovers(self) -> list[Path]:
        found = []
        # Nobody begins a generation, or takes one into use, while this is found out.
        with self._store.writing() as write:
            used = set(_numbers(write.cursor(self._table)))
            for path in self._folder.iterdir():
                if path.name.isdecimal() and int(path.name) not in used:
                    lock = try_lock(path / _LOCK)
                    if lock is not None:
                        os.close(lock)
                        found.append(path)
        return found

    def _begin(self) -> tuple[int, int]:
        """A number, and the descriptor that locks its folder."""
        lock = None
        try:
            # Nobody may take the folder for a leftover before it is locked.
            with self._store.writing() as write:
                number = int.from_bytes(bytes(write.get(_SERIAL, b"", self._table))) + 1
                write.put(_SERIAL, number.to_bytes(8), db=self._table)
                lock = _locked_folder(self._path(number))
        except BaseException:
            if lock is not None:
                os.close(lock)
            raise
        return number, lock

    def _path(self, number: int) -> Path:
        return self._folder / str(number)


def _locked_folder(path: Path) -> int:
    """Make a folder; the descriptor that locks it."""
    try:
        path.mkdir(mode=0o700)
    except OSError as error:
        raise StoreError(f"{path}: {error.strerror}") from error
    lock = try_lock(path / _LOCK)
    if lock is None:
        raise StoreError(f"{path} cannot be locked")
    return lock


def _builder(path: Path) -> Builder:
    try:
        return Builder(path)
    except lmdb.Error as error:
        raise StoreError(f"{path}: {error}") from error


def _key(partition: str) -> bytes:
    return _PARTITION + partition.encode("utf-8", "surrogateescape")


def _unpacked(packed: bytes | memoryview | None) -> Current | None:
    return None if packed is None else msgspec.msgpack.decode(packed, type=Current)


def _numbers(cursor: lmdb.Cursor) -> Iterator[int]:
    there = cursor.set_range(_PARTITION)
    while there and bytes(cursor.key()).startswith(_PARTITION):
        yield msgspec.msgpack.decode(cursor.value(), type=Current).number
        there = cursor.next()
