"""The table of a partition: older ones, renamed columns, and states that are written back."""

from __future__ import annotations

import logging

import msgpack
import pytest

from runtime.db import Database, DatabaseError
from runtime.dispatching import recorder
from runtime.dispatching.board import Board
from runtime.dispatching.destinations import State
from runtime.dispatching.partition import Partition
from runtime.dispatching.tables import DispatcherTable
from tests.runtime.dispatching.conftest import Run


def test_a_table_that_lacks_columns_and_calls_others_otherwise_is_read(database: Database, run: Run) -> None:
    run(
        "CREATE TABLE old (grp INTEGER, uri VARCHAR(192), weight INTEGER)",
        "INSERT INTO old VALUES (2, 'sip:café.example.com', 7)",
    )
    table = DispatcherTable(database, "old", {"setid": "grp", "destination": "uri", "state": ""})

    with table.rows() as rows:
        found = list(rows)

    assert found == [{"setid": 2, "destination": "sip:caf\xc3\xa9.example.com", "weight": 7}]


def test_a_table_that_is_not_there_cannot_be_read(database: Database) -> None:
    table = DispatcherTable(database, "dispatcher", {})

    with pytest.raises(DatabaseError, match="there is no table dispatcher"), table.rows():
        pass


def test_all_that_a_row_says_is_read(partition: Partition, run: Run) -> None:
    run(
        "INSERT INTO dispatcher (setid, destination, state, weight, priority, probe_mode, attrs, description) VALUES "
        "(7, 'sip:192.0.2.7:5080', 2, '50', 3, 1, 'max=10', 'the newest')"
    )

    partition.reload([], inherit=True)

    (one,) = partition.generation().sets[7]
    assert one[1:6] == ("sip:192.0.2.7:5080", State.PROBING, 50, 3, "max=10")
    assert (one.probe_mode, one.description) == (1, "the newest")


def loaded(partition: Partition, run: Run) -> None:
    run(*(f"INSERT INTO dispatcher (setid, destination) VALUES (1, 'sip:{name}')" for name in "abc"))
    assert partition.reload([], inherit=True).loaded == 3


def states(run: Run) -> list[tuple[object, ...]]:
    return run("SELECT destination, state FROM dispatcher ORDER BY id")


def record() -> int | str:
    answer: int | str = msgpack.unpackb(recorder.record_states(b"", None))  # type: ignore[arg-type]
    return answer


def test_a_state_that_changed_waits_until_a_job_has_written_it(partition: Partition, board: Board, run: Run) -> None:
    loaded(partition, run)
    recorder.enter([partition])
    assert not board.has_unsaved()

    partition.set_state(partition.generation().find(1, "sip:b"), State.PROBING, "test")

    assert board.has_unsaved()
    assert states(run) == [("sip:a", 0), ("sip:b", 0), ("sip:c", 0)]
    assert record() == 1
    assert states(run) == [("sip:a", 0), ("sip:b", 2), ("sip:c", 0)]
    assert not board.has_unsaved()
    assert record() == 0


def test_while_the_database_refuses_nothing_is_forgotten(
    partition: Partition, board: Board, run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    loaded(partition, run)
    recorder.enter([partition])
    partition.set_state(partition.generation().find(1, "sip:a"), State.INACTIVE, "test")
    run("ALTER TABLE dispatcher RENAME TO away")

    assert "no table dispatcher" in str(record())
    assert board.has_unsaved()
    with caplog.at_level(logging.ERROR, "layby.dispatcher"):
        recorder.put_away([partition])
    assert "states of destinations are lost" in caplog.text

    run("ALTER TABLE away RENAME TO dispatcher")
    recorder.put_away([partition])
    assert states(run)[0] == ("sip:a", 1)
    assert not board.has_unsaved()


def test_of_many_bad_rows_some_are_told_and_the_others_counted(
    partition: Partition, run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    run(*["INSERT INTO dispatcher (destination) VALUES ('bad')"] * 25)

    with caplog.at_level(logging.ERROR, "layby.dispatcher"):
        assert len(partition.reload([], inherit=True).refused) == 25

    assert len(caplog.records) == 21
    assert caplog.messages[-1] == "partition default: skipped 5 rows more"


def test_a_destination_that_goes_takes_the_state_with_it_that_the_database_had_not_got(
    partition: Partition, run: Run, board: Board
) -> None:
    loaded(partition, run)
    gone = partition.generation().find(1, "sip:b")
    partition.set_state(gone, State.INACTIVE, "test")
    run("DELETE FROM dispatcher WHERE destination = 'sip:b'")

    partition.reload([], inherit=True)
    assert not board.has_unsaved()

    partition.set_state(gone, State.ACTIVE, "who looked before the load")
    assert not board.has_unsaved()


def test_a_reload_without_inheritance_loses_no_state_that_is_still_to_be_saved(partition: Partition, run: Run) -> None:
    loaded(partition, run)
    partition.set_state(partition.generation().find(1, "sip:b"), State.INACTIVE, "test")

    partition.reload([], inherit=False)

    assert partition.states(partition.generation().destinations) == [0, 1, 0]
    assert states(run) == [("sip:a", 0), ("sip:b", 1), ("sip:c", 0)]
