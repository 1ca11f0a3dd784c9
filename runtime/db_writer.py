"""Rows that go to a database without anybody waiting for it.

A process puts rows into a writer; batches of them are jobs for the workers, one at a time for each writer, so they
arrive in the order in which they were put in. A batch that failed is tried again, also one whose worker died in the
middle of it, which may have been written: rows arrive at least once. What is left at the end of a drain is written by
the process itself, as its last deed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, assert_never

import msgpack

from runtime.clock import monotonic_now
from runtime.db import TIMEOUT_S, Database, DatabaseError, RowsRefused
from runtime.roles import WRITE_ROWS
from runtime.row_queue import RowQueue
from workers.jobs import Cancelled, Failed, Job, Outcome, Rejected, Returned, TimedOut, WorkerLost

if TYPE_CHECKING:
    from sqlalchemy import Connection, Table

    from runtime.process import Process
    from workers.worker import Running

log = logging.getLogger("layby.db")

_JOB_TIMEOUT_S: Final = 6 * TIMEOUT_S
"""Longer than the database's own limits let a batch take: an attempt that was given up must not be running still."""
_COMPLAIN_EVERY: Final = 20
"""Of the attempts that fail in a row, the first and each so many-th is logged."""


@dataclass(frozen=True, slots=True)
class Sink:
    """Where rows go.

    Args:
        name: unique in the server, e.g. ``acc``.
        database: which database.
        write: puts rows into it, in a transaction; they are as msgpack brings them back. It runs in another process
            than the one that put them in.
    """

    name: str
    database: Database
    write: Callable[[Connection, list[Any]], None]


_sinks: dict[str, Sink] = {}


def declare_sink(sink: Sink) -> Sink:
    """Make a sink known. In the attendant, before any fork, so that every process knows it."""
    _sinks[sink.name] = sink
    return sink


def table_sink(name: str, database: Database, table: Table) -> Sink:
    """Declare a sink that inserts its rows, which are dictionaries by column, into a table."""

    def write(connection: Connection, rows: list[Any]) -> None:
        connection.execute(table.insert(), rows)

    return declare_sink(Sink(name, database, write))


def write_rows(payload: bytes, running: Running) -> bytes:
    """The job: write a batch, ``[sink's name, rows]``.

    Gives how many of the rows the database will never take; or the text of why nothing was written, where another
    attempt may succeed. That is to be expected of a database, and so it is an answer and no exception.
    """
    name, rows = msgpack.unpackb(payload)
    try:
        found: int | str = _write(_sinks[name], rows)
    except DatabaseError as error:
        found = str(error)
    return bytes(msgpack.packb(found))


def _write(sink: Sink, rows: list[Any]) -> int:
    try:
        with sink.database.begin() as connection:
            sink.write(connection, rows)
    except RowsRefused as error:
        if len(rows) > 1:
            return sum([_write(sink, [row]) for row in rows])
        log.error("%s: a row is lost: %s", sink.name, error)
        return 1
    return 0


class DbWriter:
    """One process's queue of rows for one sink.

    Args:
        process: where it lives; the process waits for it in a drain and closes it in the end.
        sink: where the rows go.
        on_written: told how many rows have just been written.
        batch, limit: as in `RowQueue`.
    """

    def __init__(
        self,
        process: Process,
        sink: Sink,
        *,
        on_written: Callable[[int], None] | None = None,
        batch: int = 200,
        limit: int = 100_000,
    ) -> None:
        self.queue = RowQueue(batch, limit)
        self._process = process
        self._sink = sink
        self._on_written = on_written
        self._timer: asyncio.TimerHandle | None = None
        self._soon = False
        process.trailing.append(self)

    def put(self, row: Any) -> bool:
        """Queue a row; False when it was refused, because too many wait.

        Args:
            row: anything that msgpack can carry; a dictionary by column for `table_sink`.
        """
        if not self.queue.add(row):
            if self.queue.refused % 1000 == 1:
                log.error("%s: %d rows lost, %d wait", self._sink.name, self.queue.refused, len(self.queue))
            return False
        if not self._soon and self._timer is None:
            # In the next turn: what one turn puts in is written together.
            self._soon = True
            self._process.loop.call_soon(self._start)
        return True

    def pending(self) -> int:
        """Rows that are not known to be written."""
        return len(self.queue)

    def close(self) -> None:
        """Write what is left, here and now. The loop does not run any more, and neither do the workers, for us."""
        self.queue.start_over()  # what was under way may have been written; at least once is what is promised
        try:
            while rows := self.queue.take(monotonic_now()):
                self._written(_write(self._sink, rows))
        except DatabaseError as error:
            log.error("%s: %d rows lost: %s", self._sink.name, len(self.queue), error)

    def _start(self) -> None:
        self._soon, self._timer = False, None
        rows = self.queue.take(monotonic_now())
        if rows:
            self._process.node.submit(
                WRITE_ROWS,
                msgpack.packb([self._sink.name, rows]),
                label=f"write {self._sink.name}",
                timeout_s=_JOB_TIMEOUT_S,
                settled=self._settled,
            )

    def _settled(self, job: Job, outcome: Outcome) -> None:
        match outcome:
            case Returned(payload):
                found = msgpack.unpackb(payload)
                if isinstance(found, int):
                    self._written(found)
                else:
                    self._failed(found)
            case Failed() | WorkerLost() | TimedOut() | Cancelled() | Rejected():
                self._failed(why(outcome))
            case _:
                assert_never(outcome)
        due = self.queue.due()
        if due is not None and self._timer is None:
            self._timer = self._process.loop.call_later(max(0.0, due - monotonic_now()), self._start)

    def _written(self, lost: int) -> None:
        if self.queue.failures:
            log.warning("%s: the database takes rows again; %d wait", self._sink.name, len(self.queue))
        rows = self.queue.succeeded()
        if self._on_written is not None:
            self._on_written(rows - lost)

    def _failed(self, reason: str) -> None:
        pause_s = self.queue.failed(monotonic_now())
        if self.queue.failures % _COMPLAIN_EVERY == 1:
            log.error("%s: %d rows wait, next try in %.1f s: %s", self._sink.name, len(self.queue), pause_s, reason)


def why(outcome: Failed | WorkerLost | TimedOut | Cancelled | Rejected) -> str:
    """In a few words, why a job has no answer."""
    match outcome:
        case Failed(message=message):
            return message
        case WorkerLost(reason=reason):
            return f"its worker died ({reason})"
        case TimedOut(timeout_s):
            return f"no answer within {timeout_s:.0f} s"
        case Cancelled(reason) | Rejected(reason):
            return reason
        case _:
            assert_never(outcome)
