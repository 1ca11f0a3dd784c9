"""Records in a database: tables that are made, tables that are there, and what they do not take."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import msgpack
import pytest
from sqlalchemy import text

from runtime.acc.accounts import Account, Parties
from runtime.acc.recorder import Recorder, enter, put_away, record_accounts
from runtime.acc.records import Record, Subject, record_of, row_of
from runtime.db import Database, DatabaseError
from runtime.outbox import Outbox
from tests.postgres import locked
from workers.homes import try_lock

EXTRA = ("who", "note")


@pytest.fixture
def database(database_url: str):
    one = Database(database_url, timeout_s=0.5)
    yield one
    one.close()


@pytest.fixture
def box(tmp_path: Path):
    one = Outbox.in_folder(tmp_path / "box")
    yield one
    one.close()


def rows(database: Database, table: str = "acc") -> list[dict[str, Any]]:
    with database.begin(write=False) as connection:
        found = connection.execute(text(f"SELECT * FROM {table} ORDER BY 1")).mappings()
        return [{name: _plain(value) for name, value in row.items()} for row in found]


def _plain(value: Any) -> Any:
    """What SQLite has for a moment, whichever database it comes from."""
    return f"{value}.000000" if isinstance(value, datetime) else value


def execute(database: Database, statement: str) -> None:
    with database.begin() as connection:
        connection.execute(text(statement))


def record(call_id: str = "call", reason: str = "Busy", subject: Subject = Subject.MISSED) -> Record:
    parties = Parties("INVITE", "ft", "", call_id)
    return record_of(subject, parties, 486, reason, 105.5, "tt", Account(100.0, parties))


def put(box: Outbox, *records: Record, table: str = "acc", extra: Sequence[tuple[str, str]] = ()) -> None:
    for one in records:
        box.put(row_of(one, table, dict(extra)))


def test_a_table_is_made_with_the_columns_of_the_extra_fields(database, box) -> None:
    recorder = Recorder(database, {}, EXTRA)
    put(box, record(), extra=[("who", "bob's")])
    assert (recorder.flush([box]), recorder.flush([box]), len(box)) == (1, 0, 0)
    (row,) = rows(database)
    local = datetime.fromtimestamp
    assert row == {
        "id": 1,
        "method": "INVITE",
        "from_tag": "ft",
        "to_tag": "tt",
        "callid": "call",
        "sip_code": "486",
        "sip_reason": "Busy",
        "time": f"{local(105)}.000000",
        "duration": 0,
        "ms_duration": 0,
        "setuptime": 5,
        "created": f"{local(100)}.000000",
        "who": "bob's",
        "note": None,
    }


def test_columns_that_are_called_otherwise(database, box) -> None:
    put(box, record())
    Recorder(database, {"callid": "the_call", "time": "at"}, ()).flush([box])
    (row,) = rows(database)
    assert (row["the_call"], "callid" in row, "at" in row) == ("call", False, True)


def test_a_table_that_is_there_is_taken_as_it_is(database, box, caplog) -> None:
    execute(
        database,
        f"CREATE TABLE acc (id {'INTEGER' if database.kind == 'sqlite' else 'SERIAL'} PRIMARY KEY, method CHAR(16), "
        "from_tag CHAR(64), to_tag CHAR(64), callid CHAR(8), sip_code CHAR(3), sip_reason CHAR(4), "
        "time TIMESTAMP NOT NULL)",
    )
    put(box, record("a-long-call-id", "Busy Here"), extra=[("who", "bob")])
    Recorder(database, {}, ("who",)).flush([box])
    (row,) = rows(database)
    assert (row["callid"], row["sip_reason"], "who" in row) == ("a-long-c", "Busy", False)
    assert "table acc has no column who" in caplog.text


def test_a_record_that_the_table_refuses_keeps_no_other_out(database, box, caplog) -> None:
    lost: list[int] = []
    recorder = Recorder(database, {}, (), lost.append)
    recorder.prepare(["acc"])
    execute(database, "CREATE UNIQUE INDEX one_call ON acc (callid)")
    put(box, record("a"), record("b"), record("a"), record("c"))
    assert recorder.flush([box]) == 4
    assert ([row["callid"] for row in rows(database)], lost, len(box)) == (["a", "b", "c"], [1], 0)
    assert "a record is lost" in caplog.text


def test_a_table_that_cannot_be_had_keeps_no_other_out(database, box, tmp_path) -> None:
    execute(database, "CREATE VIEW bad AS SELECT 1 AS callid")
    put(box, record("a"), table="bad")
    put(box, record("b"))
    enter(Recorder(database, {}, ()), [box], tmp_path / "lock")
    assert b"bad" in record_accounts(b"", None)  # type: ignore[arg-type]
    assert ([row["callid"] for row in rows(database)], len(box)) == (["b"], 1)
    execute(database, "DROP VIEW bad")
    record_accounts(b"", None)  # type: ignore[arg-type]
    assert ([row["callid"] for row in rows(database, "bad")], len(box)) == (["a"], 0)


def test_much_that_cannot_be_written_keeps_nothing_out_that_came_later(database, box) -> None:
    execute(database, "CREATE VIEW bad AS SELECT 1 AS callid")
    put(box, *(record(str(number)) for number in range(1200)), table="bad")
    put(box, record("a"))
    with pytest.raises(DatabaseError, match="bad"):
        Recorder(database, {}, ()).flush([box])
    assert ([row["callid"] for row in rows(database)], len(box)) == (["a"], 1200)


def test_a_time_that_is_none_keeps_no_other_out(database, box, caplog) -> None:
    put(box, record("a"), record("b")._replace(time=1e15), record("c"))
    assert Recorder(database, {}, ()).flush([box]) == 3
    assert ([row["callid"] for row in rows(database)], len(box)) == (["a", "c"], 0)
    assert "a record is lost" in caplog.text


def test_two_jobs_do_not_write_the_same(database, box, tmp_path) -> None:
    put(box, record())
    enter(Recorder(database, {}, ()), [box], tmp_path / "lock")
    lock = try_lock(tmp_path / "lock")
    assert lock is not None
    assert b"has not ended" in record_accounts(b"", None)  # type: ignore[arg-type]
    assert len(box) == 1
    os.close(lock)
    for count in (1, 0):
        assert msgpack.unpackb(record_accounts(b"", None)) == count  # type: ignore[arg-type]


def test_the_end_writes_all_and_says_what_is_lost(database, database_url: str, box, caplog) -> None:
    put(box, *(record(str(number)) for number in range(1200)))
    put_away(Recorder(database, {}, ()), [box])
    assert (len(rows(database)), len(box)) == (1200, 0)
    put(box, record())
    with locked(database_url, "acc"):
        put_away(Recorder(database, {}, ()), [box])
    assert "1 records are lost" in caplog.text
