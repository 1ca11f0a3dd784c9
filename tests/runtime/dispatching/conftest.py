"""A partition over a real database of each kind, as one process sees it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from runtime.db import Database
from runtime.dispatching.board import Board, Locks
from runtime.dispatching.partition import CHANGING, RELOADING, Partition, Shared
from runtime.dispatching.partitions import partitions_of
from runtime.dispatching.tables import DispatcherTable
from runtime.status_reports import StatusReports
from runtime.store import Store

Run = Callable[..., list[tuple[Any, ...]]]


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    made = Database(database_url)
    yield made
    made.close()


@pytest.fixture
def run(database: Database) -> Run:
    """Run SQL statements; the rows of the last one."""

    def run(*statements: str) -> list[tuple[Any, ...]]:
        with database.begin() as connection:
            done = [connection.exec_driver_sql(statement) for statement in statements]
            return [tuple(row) for row in done[-1]] if done[-1].returns_rows else []

    return run


@pytest.fixture
def board() -> Board:
    return Board(1)


@pytest.fixture
def partition(tmp_path: Path, board: Board, database: Database) -> Iterator[Partition]:
    """Its table is there, and empty."""
    table = DispatcherTable(database, "dispatcher", {})
    table.prepare()
    one = Partition(0, partitions_of({}, [])[0], table, 3, lambda _: None)
    store, locks = Store(tmp_path / "store"), Locks(tmp_path, (RELOADING, CHANGING))
    one.enter(Shared(board, store, locks, 0, StatusReports(store), lambda *_: None))
    yield one
    store.close()
    locks.close()
