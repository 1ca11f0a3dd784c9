"""The load board."""

from __future__ import annotations

import mmap
import os

import pytest

from workers.loads import LoadBoard
from workers.policy import Load


@pytest.fixture
def board():
    memory = mmap.mmap(-1, LoadBoard.size(4))
    board = LoadBoard(memory, 4)
    yield board
    board.close()
    memory.close()


def test_a_new_board_is_empty(board: LoadBoard) -> None:
    assert board.loads() == [Load(slot, 0, 0.0, 0.0) for slot in range(4)]
    assert board.waiting() == [0, 0, 0, 0]


def test_a_load_is_the_sum_over_the_origins(board: LoadBoard) -> None:
    board.occupy(0, 2, 3, 0.5)
    board.occupy(1, 2, 4, 0.25)
    assert board.load(2) == Load(2, 7, 0.75, 0.0)
    assert board.loads_of([2], besides=1)[2] == Load(2, 3, 0.5, 0.0)
    assert board.loads_of([2, 3], besides=0) == {2: Load(2, 4, 0.25, 0.0), 3: Load(3, 0, 0.0, 0.0)}
    assert board.load(0) == Load(0, 0, 0.0, 0.0)


def test_what_a_worker_tells(board: LoadBoard) -> None:
    board.progress(3, 10.0, running=True)
    assert (board.load(3), board.running(3), board.done_by(3)) == (Load(3, 0, 0.0, 10.0), True, 0)
    board.done(3, 11.0, 5)
    board.pause(3, True)
    assert (board.load(3), board.running(3), board.done_by(3)) == (Load(3, 0, 0.0, 11.0, paused=True), False, 5)
    board.pause(3, False)
    board.ran_quick(3, 12.0)
    board.drain(3)
    board.done(3, 13.0, 2)
    assert board.load(3) == Load(3, 0, 0.0, 13.0, draining=True, quick_at=12.0)
    assert board.done_by(3) == 7


def test_from_when_a_worker_is_to_be_killed(board: LoadBoard) -> None:
    board.kill_from(2, 12.5)
    assert [board.kill_at(slot) for slot in range(4)] == [0.0, 0.0, 12.5, 0.0]
    assert board.anybody_to_kill()
    assert board.load(2) == Load(2, 0, 0.0, 0.0), "nobody's choice is changed by it"
    board.kill_from(2, 0.0)
    assert board.kill_at(2) == 0.0
    assert not board.anybody_to_kill()


def test_how_many_wait_elsewhere(board: LoadBoard) -> None:
    for origin, jobs in ((0, 3), (1, 4), (3, 5)):
        board.wait(origin, jobs)
    assert [board.waiting_besides(origin) for origin in range(4)] == [9, 8, 12, 7]
    assert board.waiting() == [3, 4, 0, 5]


def test_clearing_a_dead_slot_leaves_what_the_living_wrote(board: LoadBoard) -> None:
    board.occupy(1, 2, 5, 0.5)
    board.occupy(2, 1, 6, 0.6)
    board.occupy(0, 2, 7, 0.7)
    board.wait(1, 9)
    board.wait(0, 8)
    for slot in (1, 2):
        board.progress(slot, 10.0)
    board.done(1, 10.0, 3)
    board.ran_quick(1, 10.0)
    board.kill_from(1, 11.0)
    board.pause(1, True)
    board.drain(1)
    board.clear_slot(1)
    assert board.load(2) == Load(2, 7, 0.7, 10.0)
    assert board.load(1) == Load(1, 6, 0.6, 0.0, paused=True)
    assert board.waiting() == [8, 0, 0, 0]
    assert (board.done_by(1), board.kill_at(1), board.running(1)) == (0, 0.0, False)


def test_who_takes_nothing_more_is_leaving(board: LoadBoard) -> None:
    board.enter(1, 7, 10.0)
    assert not board.is_leaving(1, 7)
    board.pause(1, True)
    assert not board.is_leaving(1, 7), "it stands still"
    board.drain(1)
    assert board.is_leaving(1, 7)
    board.clear_slot(1)
    assert board.is_leaving(1, 7)


def test_the_next_life_s_row_is_not_the_last_one_s(board: LoadBoard) -> None:
    board.enter(1, 7, 10.0)
    board.drain(1)
    board.clear_slot(1)
    board.enter(1, 8, 11.0)
    assert board.load(1) == Load(1, 0, 0.0, 11.0)
    assert not board.is_leaving(1, 8)
    assert board.is_leaving(1, 7)


def test_slots_have_bounds(board: LoadBoard) -> None:
    for slot in (-1, 4):
        with pytest.raises(IndexError):
            board.occupy(0, slot, 1, 1.0)
    with pytest.raises(ValueError, match="bytes"):
        LoadBoard(memoryview(bytearray(LoadBoard.size(3))), 4)


def test_another_process_sees_it(board: LoadBoard) -> None:
    pid = os.fork()
    if pid == 0:
        board.occupy(1, 0, 12, 1.5)
        os._exit(0)
    os.waitpid(pid, 0)
    assert board.load(0) == Load(0, 12, 1.5, 0.0)
