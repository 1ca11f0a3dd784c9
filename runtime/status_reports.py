"""What the parts of the server say of themselves: whether each is ready, and what has happened to it lately.

A part is named by a group, ``drouting``, and an identifier in it, a partition, or ``main`` where there is only one. It
has a status (positive where it is ready) with a text, and its last reports. All processes share them, and whichever
process does a part's work speaks for it.
"""

from __future__ import annotations

import contextlib
import logging
import struct
from collections.abc import Callable, Iterator
from itertools import groupby
from typing import TYPE_CHECKING, Final, NamedTuple

import msgpack

from runtime.clock import epoch_now
from runtime.store import Store, StoreError

if TYPE_CHECKING:
    import lmdb

log = logging.getLogger("layby.status")

MAIN: Final = "main"
"""The identifier of a group that needs no other."""
MAX_REPORTS: Final = 200
"""Kept of one identifier; an older one goes with each new one."""
MAX_TEXT: Final = 2000
"""Characters of a report, or of a status's details."""
MAX_PARTS: Final = 1000
_MAX_NAME: Final = 100
_EMPTY, _LOADS, _READY, _RELOADS = -2, -1, 1, 2
"""OpenSIPS's statuses of tables: nothing there, first loading, loaded, loading anew."""
_SERIAL: Final = struct.Struct(">Q")


class Part(NamedTuple):
    """A part of the server.

    Args:
        group, identifier: its names. They are told apart without regard to case.
        status: positive where it is ready, negative where it is not, never 0.
        details: a text to it, for people; empty for none.
        reports: how many it has made since the start.
    """

    group: str
    identifier: str
    status: int
    details: str
    reports: int = 0

    @property
    def is_ready(self) -> bool:
        return self.status > 0


class Report(NamedTuple):
    """One report: when, in seconds of the epoch, and what."""

    at: int
    text: str


Changed = Callable[[Part, int], object]


class StatusReports:
    """The parts of the server, as this process sees them.

    What cannot be kept is logged and lost: no part fails because it cannot say how it is.

    Args:
        store: this process's own.

    Attributes:
        on_changed: told of each change of a status that this process makes, with the status of before; -1 for a part
            that is new.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._parts = store.table("status")
        self._reports = store.table("status_reports")
        self.on_changed: Changed = lambda part, before: None

    # For those who speak.

    def set_status(self, group: str, identifier: str, status: int, details: str = "") -> None:
        """Say whether a part is ready. A part is made by the first word about it.

        Args:
            group, identifier: which; ``main`` for a group that has only one.
            status: positive where it is ready, negative where it is not; 0 is taken for 1.
            details: a text for people.
        """
        found = self._change(group, identifier, lambda part: part._replace(status=status or 1, details=_clean(details)))
        if found is not None and found[0].status != found[1].status:
            before, after = found
            self.on_changed(after, before.status)

    def introduce(self, group: str, identifier: str, status: int, details: str = "") -> None:
        """Say what is true of a part at the start; it is left alone where something was said of it already."""
        if self.part(group, identifier) is None:
            self.set_status(group, identifier, status, details)

    def report(self, group: str, identifier: str, text: str) -> None:
        """Put down what has happened to a part, or what it has done."""
        self._change(group, identifier, lambda part: part._replace(reports=part.reports + 1), text)

    @contextlib.contextmanager
    def loading(self, group: str, identifier: str, *, anew: bool) -> Iterator[Callable[[str], None]]:
        """Tell how it goes with what a part reads from a database in the block.

        Args:
            anew: whether it goes on by what it had, while that is read and where that fails.

        Yields:
            what is to be told in the end of what was read.
        """

        def tell(status: int, text: str) -> None:
            self.set_status(group, identifier, status, text)
            self.report(group, identifier, text)

        tell(_RELOADS if anew else _LOADS, "being read")
        try:
            yield lambda text: tell(_READY, text)
        except Exception as error:
            if anew:
                tell(_READY, f"what was there before is in use, nothing new was loaded: {error}")
            else:
                tell(_EMPTY, f"nothing was loaded: {error}")
            raise

    # For those who ask.

    def groups(self) -> dict[str, list[Part]]:
        """All parts, by group."""
        with self._store.reading() as read:
            parts = [Part(*msgpack.unpackb(packed)) for _, packed in read.cursor(self._parts)]
        return {found[0].group: found for _, one in groupby(parts, _group_of) if (found := list(one))}

    def group(self, group: str) -> list[Part]:
        """The parts of a group; empty where there is none."""
        with self._store.reading() as read:
            found = _from(read.cursor(self._parts), _bytes(group) + b"\0")
            return [Part(*msgpack.unpackb(packed)) for _, packed in found]

    def part(self, group: str, identifier: str) -> Part | None:
        """One part, or None."""
        with self._store.reading() as read:
            packed = read.get(_key(group, identifier), db=self._parts)
        return None if packed is None else Part(*msgpack.unpackb(packed))

    def reports_of(self, group: str, identifier: str) -> list[Report]:
        """A part's last reports, oldest first."""
        with self._store.reading() as read:
            found = _from(read.cursor(self._reports), _key(group, identifier) + b"\0")
            return [Report(*msgpack.unpackb(packed)) for _, packed in found]

    # Writing.

    def _change(
        self, group: str, identifier: str, change: Callable[[Part], Part], text: str = ""
    ) -> tuple[Part, Part] | None:
        """Change a part in one transaction; gives how it was and how it is, or None where it could not be kept."""
        key = _key(group, identifier)
        try:
            with self._store.writing() as write:
                packed = write.get(key, db=self._parts)
                if packed is None and write.stat(self._parts)["entries"] >= MAX_PARTS:
                    raise StoreError(f"more than {MAX_PARTS} parts have a status")
                before = (
                    Part(_clean(group), _clean(identifier), 1, "") if packed is None else Part(*msgpack.unpackb(packed))
                )
                after = change(before)
                write.put(key, msgpack.packb(after), db=self._parts)
                if after.reports != before.reports:
                    self._put_down(write, key, after.reports, _clean(text))
        except StoreError as error:
            log.error("status of %s/%s: %s", group, identifier, error)
            return None
        return (before._replace(status=-1) if packed is None else before), after

    def _put_down(self, write: lmdb.Transaction, key: bytes, serial: int, text: str) -> None:
        write.put(_report(key, serial), msgpack.packb([int(epoch_now()), text]), db=self._reports)
        if serial > MAX_REPORTS:
            write.delete(_report(key, serial - MAX_REPORTS), db=self._reports)


def _group_of(part: Part) -> str:
    return part.group.lower()


def _clean(text: str) -> str:
    """What can be kept and shown, whatever came from outside."""
    return text[:MAX_TEXT].encode("utf-8", "replace").decode()


def _bytes(name: str) -> bytes:
    return name.lower().replace("\0", "").encode("utf-8", "replace")[:_MAX_NAME]


def _key(group: str, identifier: str) -> bytes:
    return _bytes(group) + b"\0" + _bytes(identifier)


def _report(key: bytes, serial: int) -> bytes:
    return key + b"\0" + _SERIAL.pack(serial)


def _from(cursor: lmdb.Cursor, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The rows whose keys begin like that."""
    if cursor.set_range(prefix):
        for key, packed in cursor:
            if not bytes(key).startswith(prefix):
                return
            yield bytes(key), bytes(packed)
