"""What waits for a database is written by one job after the other, and tried again when that fails."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from types import SimpleNamespace

import msgpack
import pytest

from runtime.recording import (
    AT_ONCE,
    DATABASE,
    FIRST_RETRY_S,
    LAST_RETRY_S,
    Recorded,
    RecordingClock,
    retry_pause_s,
    why,
)
from runtime.status_reports import Part, StatusReports
from runtime.store import Store
from tests.workers.house import House
from workers.jobs import Cancelled, Failed, Peer, Rejected, TimedOut, WorkerLost

WRITE = "write"


@pytest.fixture
def loop():
    one = asyncio.new_event_loop()
    yield one
    one.close()


@pytest.fixture
def house(tmp, loop):
    one = House(tmp, loop, "unix")
    yield one
    one.close()


class Waiting:
    """So many things that wait, and what jobs say of each attempt to write them; in the end they are written."""

    def __init__(self, count: int, says: list[str]) -> None:
        self.count, self.says, self.attempts = count, says, 0

    def write(self, payload: bytes, running: object) -> bytes:
        self.attempts += 1
        if self.says:
            return bytes(msgpack.packb(self.says.pop(0)))
        written = min(self.count, AT_ONCE)
        self.count -= written
        return bytes(msgpack.packb(written))


@pytest.fixture
def status(tmp) -> Iterator[StatusReports]:
    store = Store(tmp / "store")
    yield StatusReports(store)
    store.close()


def begin(house: House, waiting: Waiting, status: StatusReports, *, draining: bool = False) -> None:
    node = house.add("mi-1", executes=True, handlers={WRITE: waiting.write})
    process = SimpleNamespace(node=node, loop=house.loop, draining=draining, status=status)
    recorded = Recorded(WRITE, "calls", logging.getLogger("layby.db"), lambda: bool(waiting.count))
    RecordingClock(process, recorded, period_s=0.001)


def test_all_is_written_as_soon_as_possible(house, status) -> None:
    waiting = Waiting(2 * AT_ONCE + 1, [])
    begin(house, waiting, status)
    house.until(lambda: not waiting.count)
    assert waiting.attempts == 3


def test_what_fails_is_tried_again_and_told(house, status, caplog) -> None:
    waiting = Waiting(1, ["it is away"])
    begin(house, waiting, status)
    house.until(lambda: not waiting.count)
    assert waiting.attempts == 2
    assert "calls wait for the database, next try in 0.2 s: it is away" in caplog.text
    house.until(lambda: "calls are written to the database again" in caplog.text)
    assert status.group(DATABASE) == [Part(DATABASE, "calls", 1, "written", 2)]
    assert [report.text for report in status.reports_of(DATABASE, "calls")] == [
        "not written: it is away",
        "written again",
    ]


def test_nothing_is_begun_in_a_drain(house, status) -> None:
    waiting = Waiting(1, [])
    begin(house, waiting, status, draining=True)
    turns = iter(range(5))
    house.until(lambda: next(turns, None) is None)
    assert waiting.attempts == 0


def test_pauses_grow_up_to_a_limit() -> None:
    pauses = [retry_pause_s(failures) for failures in range(30)]
    assert pauses[:3] == [FIRST_RETRY_S, 2 * FIRST_RETRY_S, 4 * FIRST_RETRY_S]
    assert pauses == sorted(pauses)
    assert pauses[-1] == LAST_RETRY_S


def test_why_there_is_no_answer() -> None:
    worker = Peer("worker-1", 1)
    outcomes = (
        Failed("LookupError", "no such thing", worker, 0.0),
        WorkerLost(worker, "signal 9"),
        TimedOut(30.0),
        Cancelled("not wanted"),
        Rejected("queues full"),
    )
    assert [why(outcome) for outcome in outcomes] == [
        "no such thing",
        "its worker died (signal 9)",
        "no answer within 30 s",
        "not wanted",
        "queues full",
    ]
