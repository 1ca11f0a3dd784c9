"""Having written into a database what waits for it, by jobs, from one process: the same for all that is recorded."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, assert_never

import msgpack

from runtime.db import DatabaseError
from runtime.store import StoreError
from workers.jobs import Cancelled, Failed, Job, Outcome, Rejected, Returned, TimedOut, WorkerLost

if TYPE_CHECKING:
    from runtime.process import Process
    from runtime.status_reports import StatusReports

DATABASE: Final = "database"
"""The group of status reports that says whether what is recorded gets into the database."""
AT_ONCE: Final = 500
"""What one job writes at most."""
LOOK_EVERY_S: Final = 0.1
"""How late something may be noticed that is to go to the database at once."""
FIRST_RETRY_S: Final = 0.2
LAST_RETRY_S: Final = 10.0
_JOB_TIMEOUT_S: Final = 30.0
"""Longer than the database's own limits let a batch take: an attempt that was given up must not be running still."""
_COMPLAIN_EVERY: Final = 20
"""Of the attempts that fail in a row, the first and each so many-th is logged."""


def not_written(status: StatusReports, what: str, reason: str) -> None:
    """The database does not take what is recorded, for the first time since it did."""
    status.set_status(DATABASE, what, -1, reason)
    status.report(DATABASE, what, f"not written: {reason}")


def written_again(status: StatusReports, what: str) -> None:
    """The database takes it again."""
    status.set_status(DATABASE, what, 1, "written")
    status.report(DATABASE, what, "written again")


def retry_pause_s(failures: int) -> float:
    """How long to wait after so many failures in a row, not counting the one just seen, in seconds."""
    return min(LAST_RETRY_S, FIRST_RETRY_S * float(1 << min(failures, 10)))


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


def recorded(write: Callable[[], int]) -> bytes:
    """What the job of a `Recorded` gives: how much has been written, or the text of why it cannot be done."""
    try:
        found: int | str = write()
    except (DatabaseError, StoreError) as error:
        found = str(error)
    return bytes(msgpack.packb(found))


@dataclass(frozen=True, slots=True)
class Recorded:
    """What is recorded.

    Args:
        handler: the job. It takes nothing and gives, as msgpack, how much it has written, up to some `AT_ONCE` (with so
            much or more there may be more); or the text of why nothing was written, which is to be expected of a
            database and no exception.
        what: what it writes, in the plural, for the log.
        log: where failures are told.
        waits: whether there is something to write.
    """

    handler: str
    what: str
    log: logging.Logger
    waits: Callable[[], bool]


class RecordingClock:
    """Has what waits written, one job at a time. In the MI process.

    Args:
        process: where it runs.
        recording: what.
        period_s: how often it looks.
    """

    def __init__(self, process: Process, recording: Recorded, period_s: float = LOOK_EVERY_S) -> None:
        self._process = process
        self._recording = recording
        self._period_s = period_s
        self._failures = 0
        process.status.introduce(DATABASE, recording.what, 1, "written")
        process.loop.call_later(period_s, self._look)

    def _look(self) -> None:
        if self._process.draining or not self._recording.waits():
            self._again(self._period_s)
            return
        self._process.node.submit(
            self._recording.handler,
            b"",
            label=f"record {self._recording.what}",
            timeout_s=_JOB_TIMEOUT_S,
            settled=self._settled,
            idempotent=True,
        )

    def _again(self, after_s: float) -> None:
        self._process.loop.call_later(after_s, self._look)

    def _settled(self, job: Job, outcome: Outcome) -> None:
        found = msgpack.unpackb(outcome.payload) if isinstance(outcome, Returned) else why(outcome)
        if isinstance(found, str):
            self._failed(found)
            return
        if self._failures:
            self._recording.log.warning("%s are written to the database again", self._recording.what)
            written_again(self._process.status, self._recording.what)
        self._failures = 0
        self._again(0.0 if found >= AT_ONCE else self._period_s)

    def _failed(self, reason: str) -> None:
        pause_s = max(self._period_s, retry_pause_s(self._failures))
        if self._failures % _COMPLAIN_EVERY == 0:
            self._recording.log.error(
                "%s wait for the database, next try in %.1f s: %s", self._recording.what, pause_s, reason
            )
        if not self._failures:
            not_written(self._process.status, self._recording.what, reason)
        self._failures += 1
        self._again(pause_s)
