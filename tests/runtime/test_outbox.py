"""Rows on their way to a database: their order, how many may wait, and what a killed process leaves."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import lmdb
import pytest

from runtime.outbox import Outbox


@pytest.fixture
def box(tmp_path: Path):
    one = Outbox.in_folder(tmp_path / "box")
    yield one
    one.close()


def test_rows_stay_in_order_until_they_are_removed(box: Outbox) -> None:
    for row in (b"a", b"b", b"c"):
        box.put(row)
    first = box.take(2)
    assert ([row for _, row in first], len(box)) == ([b"a", b"b"], 3)
    assert [row for _, row in box.take(10, after=first[0][0])] == [b"b", b"c"]
    assert box.take(10, after=box.take(10)[-1][0]) == []
    box.remove([key for key, _ in first])
    box.put(b"d")
    assert ([row for _, row in box.take(10)], len(box)) == ([b"c", b"d"], 2)


def test_there_is_room_for_so_many(tmp_path: Path) -> None:
    environment = lmdb.open(str(tmp_path), max_dbs=1)
    box, refused = Outbox(environment, b"rows", limit=2), []
    box.on_refused = lambda: refused.append("one")
    for row in (b"a", b"b", b"c"):
        box.put(row)
    assert ([row for _, row in box.take(10)], refused) == ([b"a", b"b"], ["one"])
    environment.close()


def test_what_the_memory_does_not_hold_is_refused(tmp_path: Path) -> None:
    box, refused = Outbox.in_folder(tmp_path / "box", size=1 << 16), []
    box.on_refused = lambda: refused.append("one")
    for _ in range(20):
        box.put(b"x" * 8000)
    assert 0 < len(box) < 20
    assert len(refused) == 20 - len(box)
    box.close()


def test_what_has_filled_the_memory_can_be_removed(tmp_path: Path) -> None:
    box, refused = Outbox.in_folder(tmp_path / "box", size=4 << 20), []
    box.on_refused = lambda: refused.append("one")
    while not refused:
        box.put(b"x" * 1500)
    box.remove([key for key, _ in box.take(500)])
    left = box.take(len(box))
    box.remove([key for key, _ in left])
    assert (len(left) > 400, len(box)) == (True, 0)
    box.close()


def test_a_row_that_is_part_of_another_change_goes_with_it(tmp_path: Path) -> None:
    environment = lmdb.open(str(tmp_path), max_dbs=1)
    box = Outbox(environment, b"rows")
    with environment.begin(write=True) as write:
        box.put_in(write, b"7", b"given up")
        write.abort()
    assert len(box) == 0
    with environment.begin(write=True) as write:
        box.put_in(write, b"7", b"kept")
    assert box.take(1) == [(b"7", b"kept")]
    environment.close()


def test_a_killed_process_leaves_what_it_has_put_in(tmp_path: Path) -> None:
    child = os.fork()
    if not child:
        Outbox.in_folder(tmp_path / "box").put(b"last words")
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    box = Outbox.in_folder(tmp_path / "box")
    assert [row for _, row in box.take(10)] == [b"last words"]
    box.free_readers()
    box.close()
