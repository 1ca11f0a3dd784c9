"""Short turns on the CPU: asked for by a thread, for itself; nothing breaks where the kernel knows none."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

import pytest

from runtime import short_turns
from runtime.short_turns import TURN_S, Turns, take_short_turns
from tests.cpu_turns import turn_s

T = TypeVar("T")

knows_turns = pytest.mark.skipif(turn_s() is None, reason="this kernel does not tell how long turns are")


def in_thread(work: Callable[[], T]) -> T:
    """In a thread of its own, for what it asks for stays with it."""
    done: Future[T] = Future()
    thread = threading.Thread(target=lambda: done.set_result(work()))
    thread.start()
    thread.join()
    return done.result()


@knows_turns
def test_its_turns_are_short_and_those_of_others_as_before() -> None:
    before = turn_s()

    assert in_thread(lambda: (take_short_turns(), turn_s())) == (True, TURN_S)
    assert turn_s() == before


@knows_turns
def test_what_it_starts_has_short_turns_too() -> None:
    assert in_thread(lambda: (take_short_turns(), in_thread(turn_s))) == (True, TURN_S)


def test_its_priority_stays_as_it_is() -> None:
    def work() -> int:
        os.setpriority(os.PRIO_PROCESS, 0, os.getpriority(os.PRIO_PROCESS, 0) + 3)
        take_short_turns()
        return os.getpriority(os.PRIO_PROCESS, 0)

    assert in_thread(work) == os.getpriority(os.PRIO_PROCESS, 0) + 3


def test_who_gets_cpu_time_by_other_rules_keeps_them() -> None:
    def work() -> tuple[bool, int]:
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
        return take_short_turns(), os.sched_getscheduler(0)

    assert in_thread(work) == (False, os.SCHED_IDLE)


@knows_turns
def test_a_length_that_the_kernel_does_not_give_is_made_one_that_it_does() -> None:
    assert in_thread(lambda: (take_short_turns(1e-6), turn_s())) == (True, TURN_S)


def test_a_machine_whose_call_is_not_known_goes_on_without(monkeypatch: pytest.MonkeyPatch) -> None:
    before = turn_s()
    with monkeypatch.context() as patch:
        patch.setattr(short_turns.platform, "machine", lambda: "pdp11")
        assert not take_short_turns()
    assert turn_s() == before


def policies(*looks: tuple[float, int]) -> list[int]:
    """By which rules a thread gets CPU time after each look: how busy it was, and how many answers it had in 0.1 s."""

    def work() -> list[int]:
        turns, found, answers = Turns(), [], 0
        turns.look(0.0, 0, 100.0)
        for number, (busy, more) in enumerate(looks, start=1):
            answers += more
            turns.look(busy, answers, 100.0 + number / 10)
            found.append(os.sched_getscheduler(0))
        return found

    return in_thread(work)


@knows_turns
def test_while_answers_throng_it_takes_the_cpu_from_nobody() -> None:
    looks = [(0.3, 199), (0.29, 201), (0.3, 201), (0.1, 126), (0.1, 124), (0.3, 199)]
    short, long = os.SCHED_OTHER, os.SCHED_BATCH
    assert policies(*looks) == [short, short, long, long, short, short]


@knows_turns
def test_its_turns_are_short_again_afterwards() -> None:
    def work() -> tuple[float | None, float | None]:
        turns = Turns()
        turns.look(1.0, 0, 100.0)
        turns.look(1.0, 1000, 100.1)
        while_many = turn_s()
        turns.look(0.0, 1000, 100.2)
        return while_many, turn_s()

    while_many, after = in_thread(work)
    assert while_many != TURN_S
    assert after == TURN_S


def test_who_gets_cpu_time_by_other_rules_keeps_them_whatever_throngs() -> None:
    def work() -> int:
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
        Turns().look(1.0, 1_000_000, 100.0)
        return os.sched_getscheduler(0)

    assert in_thread(work) == os.SCHED_IDLE
