"""A partition over a real database, as one process sees it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.db import Database
from runtime.dispatching.board import Board, Locks
from runtime.dispatching.partition import CHANGING, RELOADING, Partition, Shared
from runtime.dispatching.partitions import partitions_of
from runtime.dispatching.tables import DispatcherTable
from runtime.status_reports import StatusReports
from runtime.store import Store


@pytest.fixture
def board() -> Board:
    return Board(1)


@pytest.fixture
def partition(tmp_path: Path, board: Board) -> Iterator[Partition]:
    """Its table is there, and empty."""
    table = DispatcherTable(Database(f"sqlite:{tmp_path / 'sets.db'}"), "dispatcher", {})
    table.prepare()
    one = Partition(0, partitions_of({}, [])[0], table, 3, lambda _: None)
    store, locks = Store(tmp_path / "store"), Locks(tmp_path, (RELOADING, CHANGING))
    one.enter(Shared(board, store, locks, 0, StatusReports(store), lambda *_: None))
    yield one
    store.close()
    locks.close()
    table.database.close()
