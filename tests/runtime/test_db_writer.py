"""Rows on their way to a database: their order, what is tried again, what is lost and says so."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Column, Integer, MetaData, String, Table, select

from runtime.db import Database
from runtime.db_writer import DbWriter, table_sink, write_rows
from runtime.roles import WRITE_ROWS
from runtime.row_queue import FIRST_RETRY_S, LAST_RETRY_S, RowQueue, retry_pause_s
from tests.workers.house import House

METADATA = MetaData()
CALLS = Table("calls", METADATA, Column("id", Integer, primary_key=True), Column("name", String(20), nullable=False))


# The queue.


def test_a_batch_stays_at_the_head_until_it_is_written() -> None:
    queue = RowQueue(batch=2)
    assert (queue.take(0.0), queue.due()) == ([], None)
    assert [queue.add(row) for row in "abc"] == [True] * 3
    assert queue.due() == 0.0
    assert queue.take(0.0) == ["a", "b"]
    assert (queue.take(0.0), queue.due(), len(queue)) == ([], None, 3)
    pause_s = queue.failed(now=10.0)
    assert (pause_s, queue.due(), queue.take(10.0)) == (FIRST_RETRY_S, 10.0 + FIRST_RETRY_S, [])
    assert queue.take(10.0 + FIRST_RETRY_S) == ["a", "b"]
    assert (queue.succeeded(), len(queue), queue.written) == (2, 1, 2)
    assert queue.take(10.0 + FIRST_RETRY_S) == ["c"]


def test_pauses_grow_up_to_a_limit() -> None:
    pauses = [retry_pause_s(failures) for failures in range(30)]
    assert pauses[:3] == [FIRST_RETRY_S, 2 * FIRST_RETRY_S, 4 * FIRST_RETRY_S]
    assert pauses == sorted(pauses)
    assert pauses[-1] == LAST_RETRY_S


@given(st.lists(st.sampled_from(["add", "take", "succeeded", "failed", "wait", "start_over"]), max_size=80))
def test_what_is_written_is_what_was_added_in_order(steps: list[str]) -> None:
    queue, now, added, written, refused = RowQueue(batch=3, limit=7), 0.0, 0, [], 0
    under_way: list[int] = []
    for step in steps:
        match step:
            case "add" if queue.add(added + refused):
                added += 1
            case "add":
                refused += 1
            case "take" if rows := queue.take(now):
                under_way = rows
            case "succeeded" if under_way:
                assert queue.succeeded() == len(under_way)
                written += under_way
                under_way = []
            case "failed" if under_way:
                assert queue.failed(now) > 0
                under_way = []
            case "wait":
                now += LAST_RETRY_S
            case "start_over":
                queue.start_over()
                under_way = []
        queue.check()
        assert (len(queue), queue.refused, queue.written) == (added - len(written), refused, len(written))
        assert written == sorted(written)


# The writer, in a process that runs its own jobs.


@pytest.fixture
def house(tmp, loop):
    one = House(tmp, loop, "unix")
    yield one
    one.close()


@pytest.fixture
def loop():
    one = asyncio.new_event_loop()
    yield one
    one.close()


@pytest.fixture
def process(house: House, loop):
    node = house.add("sip-1", executes=True, handlers={WRITE_ROWS: write_rows})
    return SimpleNamespace(node=node, loop=loop, trailing=[])


@pytest.fixture
def database(tmp_path):
    one = Database(f"sqlite:{tmp_path}/calls.db", timeout_s=0.1)
    yield one
    one.close()


def names(database: Database) -> list[str]:
    with database.begin(write=False) as connection:
        return list(connection.execute(select(CALLS.c.name).order_by(CALLS.c.id)).scalars())


def test_rows_arrive_in_order_and_are_counted(house: House, process, database) -> None:
    database.create_tables(METADATA)
    counts: list[int] = []
    writer = DbWriter(process, table_sink("calls", database, CALLS), on_written=counts.append, batch=7)
    assert all(writer.put({"name": str(number)}) for number in range(50))
    assert (process.trailing, writer.pending()) == ([writer], 50)
    house.until(lambda: writer.pending() == 0)
    assert names(database) == [str(number) for number in range(50)]
    assert sum(counts) == 50
    assert max(counts) == 7


def test_rows_wait_for_the_database_and_are_written_once_it_is_there(house: House, process, database, caplog) -> None:
    writer = DbWriter(process, table_sink("calls", database, CALLS))
    writer.put({"name": "early"})
    house.until(lambda: writer.queue.failures == 1)
    database.create_tables(METADATA)
    writer.put({"name": "late"})
    house.until(lambda: writer.pending() == 0)
    assert names(database) == ["early", "late"]
    assert "no such table" in caplog.text


def test_a_row_that_the_database_never_takes_does_not_hold_up_the_others(house, process, database, caplog) -> None:
    database.create_tables(METADATA)
    counts: list[int] = []
    writer = DbWriter(process, table_sink("calls", database, CALLS), on_written=counts.append)
    for name in ("a", None, "b"):
        writer.put({"name": name})
    house.until(lambda: writer.pending() == 0)
    assert (names(database), counts) == (["a", "b"], [2])
    assert "a row is lost" in caplog.text


def test_what_does_not_fit_is_refused(process, database, caplog) -> None:
    writer = DbWriter(process, table_sink("calls", database, CALLS), limit=2)
    assert [writer.put({"name": name}) for name in "abc"] == [True, True, False]
    assert "1 rows lost" in caplog.text


def test_the_end_writes_what_is_left(process, database) -> None:
    database.create_tables(METADATA)
    writer = DbWriter(process, table_sink("calls", database, CALLS), batch=2)
    for name in "abcde":
        writer.put({"name": name})
    assert names(database) == []
    writer.close()
    assert (names(database), writer.pending()) == (list("abcde"), 0)


def test_the_end_says_what_is_lost(process, database, caplog) -> None:
    writer = DbWriter(process, table_sink("calls", database, CALLS))
    writer.put({"name": "a"})
    writer.close()
    assert "1 rows lost" in caplog.text
