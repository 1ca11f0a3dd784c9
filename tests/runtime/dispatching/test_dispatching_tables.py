"""The table of a partition: older ones, renamed columns, and states that are written back."""

from __future__ import annotations

import logging
import sqlite3
from pathlib import Path

import msgpack
import pytest

from runtime.db import Database, DatabaseError
from runtime.dispatching import recorder
from runtime.dispatching.board import Board
from runtime.dispatching.destinations import State
from runtime.dispatching.partition import Partition
from runtime.dispatching.tables import DispatcherTable


def run(path: Path, *statements: str) -> list[tuple[object, ...]]:
    connection = sqlite3.connect(path)
    try:
        with connection:
            return [row for statement in statements for row in connection.execute(statement).fetchall()]
    finally:
        connection.close()


def test_a_table_that_lacks_columns_and_calls_others_otherwise_is_read(tmp_path: Path) -> None:
    path = tmp_path / "old.db"
    run(
        path,
        "CREATE TABLE old (grp INTEGER, uri TEXT, weight INTEGER)",
        "INSERT INTO old VALUES (2, 'sip:café.example.com', 7)",
    )
    table = DispatcherTable(Database(f"sqlite:{path}"), "old", {"setid": "grp", "destination": "uri", "state": ""})

    with table.rows() as rows:
        found = list(rows)

    assert found == [{"setid": 2, "destination": "sip:caf\xc3\xa9.example.com", "weight": 7}]
    table.database.close()


def test_a_table_that_is_not_there_cannot_be_read(tmp_path: Path) -> None:
    table = DispatcherTable(Database(f"sqlite:{tmp_path / 'empty.db'}"), "dispatcher", {})

    with pytest.raises(DatabaseError, match="there is no table dispatcher"), table.rows():
        pass
    table.database.close()


def loaded(partition: Partition, path: Path) -> None:
    run(path, *(f"INSERT INTO dispatcher (setid, destination) VALUES (1, 'sip:{name}')" for name in "abc"))
    assert partition.reload([], inherit=True).loaded == 3


def states(path: Path) -> list[tuple[object, ...]]:
    return run(path, "SELECT destination, state FROM dispatcher ORDER BY id")


def test_a_state_that_changed_waits_until_a_job_has_written_it(
    partition: Partition, board: Board, tmp_path: Path
) -> None:
    path = tmp_path / "sets.db"
    loaded(partition, path)
    recorder.enter([partition])
    assert not board.has_unsaved()

    partition.set_state(partition.generation().find(1, "sip:b"), State.PROBING, "test")

    assert board.has_unsaved()
    assert states(path) == [("sip:a", 0), ("sip:b", 0), ("sip:c", 0)]
    assert msgpack.unpackb(recorder.record_states(b"", None)) == 1  # type: ignore[arg-type]
    assert states(path) == [("sip:a", 0), ("sip:b", 2), ("sip:c", 0)]
    assert not board.has_unsaved()
    assert msgpack.unpackb(recorder.record_states(b"", None)) == 0  # type: ignore[arg-type]


def test_while_the_database_refuses_nothing_is_forgotten(
    partition: Partition, board: Board, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "sets.db"
    loaded(partition, path)
    recorder.enter([partition])
    partition.set_state(partition.generation().find(1, "sip:a"), State.INACTIVE, "test")
    run(path, "ALTER TABLE dispatcher RENAME TO away")

    assert "no table dispatcher" in str(msgpack.unpackb(recorder.record_states(b"", None)))  # type: ignore[arg-type]
    assert board.has_unsaved()
    with caplog.at_level(logging.ERROR, "layby.dispatcher"):
        recorder.put_away([partition])
    assert "states of destinations are lost" in caplog.text

    run(path, "ALTER TABLE away RENAME TO dispatcher")
    recorder.put_away([partition])
    assert states(path)[0] == ("sip:a", 1)
    assert not board.has_unsaved()


def test_of_many_bad_rows_some_are_told_and_the_others_counted(
    partition: Partition, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run(tmp_path / "sets.db", *["INSERT INTO dispatcher (destination) VALUES ('bad')"] * 25)

    with caplog.at_level(logging.ERROR, "layby.dispatcher"):
        assert len(partition.reload([], inherit=True).refused) == 25

    assert len(caplog.records) == 21
    assert caplog.messages[-1] == "partition default: skipped 5 rows more"
