"""What the attendant sees on the board and in /proc, and what it asks the tree to do."""

from __future__ import annotations

import mmap
import os
from dataclasses import dataclass, field

from workers.elastic import ElasticPolicy
from workers.jobs import Peer
from workers.loads import LoadBoard
from workers.overseer import PAST_DEADLINE, Overseer, over_limit, resident_bytes
from workers.supervision import Life, SeatView
from workers.tree_events import Seat

SLOTS = 5
W1, W2 = Peer("worker-1", 1), Peer("worker-2", 1)


@dataclass
class Tree:
    """Keeps what it is asked for."""

    lives: dict[Peer, Life] = field(default_factory=lambda: {W1: Life.UP, W2: Life.VACANT})
    asked: list[tuple[object, ...]] = field(default_factory=list)
    looked: int = 0

    def views(self) -> list[SeatView]:
        self.looked += 1
        slots = {peer: slot for slot, peer in enumerate(self.lives)}
        return [
            SeatView(Seat(peer.name, "worker", slots[peer], True, slots[peer] > 0), peer, life)
            for peer, life in self.lives.items()
        ] + [SeatView(Seat("guest-1", "guest", 4, False), Peer("guest-1", 1), Life.UP)]

    def pid_of(self, peer: Peer) -> int | None:
        return os.getpid()

    def grow(self, role: str) -> None:
        self.asked.append(("grow", role))

    def retire(self, peer: Peer) -> None:
        self.asked.append(("retire", peer))

    def kill(self, peer: Peer, reason: str) -> None:
        self.asked.append(("kill", peer, reason))


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def watch(most: int = 1, memory_limit_bytes: int | None = None) -> tuple[Tree, LoadBoard, Clock, Overseer]:
    tree, clock = Tree(), Clock()
    board = LoadBoard(mmap.mmap(-1, LoadBoard.size(SLOTS)), SLOTS)
    overseer = Overseer(
        tree,
        "worker",
        1,
        most,
        board,
        policy=ElasticPolicy(),
        memory_limit_bytes=memory_limit_bytes,
        clock=clock,
    )
    return tree, board, clock, overseer


def test_a_worker_is_killed_when_it_is_time_and_not_before():
    tree, board, clock, overseer = watch()
    assert overseer.look() == 0.05
    board.kill_from(0, 100.5)
    assert (overseer.look(), tree.asked) == (0.02, [])
    clock.now = 100.5
    overseer.look()
    assert tree.asked == [("kill", W1, PAST_DEADLINE)]
    tree.asked.clear()
    board.kill_from(0, 0.0)
    assert (overseer.look(), tree.asked) == (0.05, [])


def test_what_stands_on_the_row_of_a_place_that_is_not_up_is_nothing():
    tree, board, clock, overseer = watch()
    board.kill_from(0, 1.0)
    for life in (Life.FORKING, Life.STARTING, Life.WAITING, Life.VACANT):
        tree.lives[W1] = life
        overseer.look()
    assert tree.asked == []
    tree.lives[W1] = Life.LEAVING
    overseer.look()
    assert tree.asked == [("kill", W1, PAST_DEADLINE)]
    assert clock.now == 100.0


def test_only_who_stays_too_large_in_one_job_is_killed():
    tree, board, clock, overseer = watch(memory_limit_bytes=1000)
    assert resident_bytes() > 1000
    for _ in range(3):
        clock.now += 1.0
        overseer.look()
    assert tree.asked == [], "between jobs it sees to that itself"
    board.progress(0, 100.0, running=True)
    clock.now += 1.0
    overseer.look()
    board.done(0, 100.0, 1)
    board.progress(0, 100.0, running=True)
    clock.now += 0.05
    overseer.look()
    assert tree.asked == [], "it was another job"
    clock.now += 0.05
    overseer.look()
    assert tree.asked == [("kill", W1, over_limit(1000))]


def test_nobody_is_measured_where_there_is_no_limit_or_there_is_room():
    for limit in (None, 2**50):
        tree, board, clock, overseer = watch(memory_limit_bytes=limit)
        board.progress(0, 100.0, running=True)
        for _ in range(4):
            clock.now += 1.0
            overseer.look()
        assert tree.asked == []


def test_while_nothing_waits_and_nobody_is_to_go_it_does_not_look_at_the_workers():
    tree, board, clock, overseer = watch(most=2)
    for _ in range(4):
        assert overseer.look() == 0.05
        clock.now += 0.05
    assert tree.looked == 1
    board.wait(4, 3)
    board.occupy(4, 0, 1, 0.002)
    assert (overseer.look(), tree.looked, tree.asked) == (0.02, 2, [])
    clock.now += 0.02
    overseer.look()
    assert (tree.looked, tree.asked) == (3, [("grow", "worker")])


def test_it_looks_more_often_while_a_worker_has_slow_jobs_and_grows_when_all_have():
    tree, board, _, overseer = watch(most=3)
    board.occupy(4, 0, 1, 0.004)
    assert (overseer.look(), overseer.look(), tree.looked, tree.asked) == (0.05, 0.05, 1, [])
    board.occupy(4, 0, 1, 0.005)
    assert (overseer.look(), tree.looked, tree.asked) == (0.02, 2, [("grow", "worker")])
    tree.asked.clear()
    tree.lives[W2] = Life.UP
    overseer.look()
    assert tree.asked == []
    board.occupy(4, 0, 0, 0.0)
    assert overseer.look() == 0.05


def test_it_grows_and_shrinks_by_what_the_board_says():
    tree, board, clock, overseer = watch(most=2)
    board.wait(4, 3)
    board.occupy(4, 0, 1, 0.002)
    assert overseer.look() == 0.02
    clock.now += 0.02
    overseer.look()
    assert tree.asked == [("grow", "worker")]
    tree.asked.clear()
    tree.lives[W2] = Life.UP
    board.wait(4, 0)
    board.occupy(4, 0, 0, 0.0)
    assert overseer.look() == 0.05
    clock.now += 9.0
    overseer.look()
    assert tree.asked == []
    clock.now += 1.1
    overseer.look()
    assert tree.asked == [("retire", W2)]


def test_a_pool_that_cannot_grow_is_not_counted():
    tree, board, clock, overseer = watch(most=1)
    board.wait(4, 3)
    board.occupy(4, 0, 1, 0.002)
    for _ in range(5):
        clock.now += 0.05
        assert overseer.look() == 0.05
    assert tree.asked == []
