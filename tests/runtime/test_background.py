"""Work in the background: at a low priority, in the caller's stead, and the caller is as it was."""

from __future__ import annotations

import contextvars
import os
import threading

import pytest

from runtime import background
from runtime.background import NICER, at_leisure, breathe, in_background

asked_by: contextvars.ContextVar[str] = contextvars.ContextVar("asked_by")


def nice() -> int:
    """This thread's nice value."""
    return os.getpriority(os.PRIO_PROCESS, 0)


def test_the_work_is_done_at_a_low_priority_and_its_caller_keeps_its_own() -> None:
    before = nice()
    assert in_background(nice) == min(before + NICER, 19)
    assert nice() == before
    assert threading.active_count() == 1


def test_it_sees_what_is_the_callers() -> None:
    asked_by.set("alice")
    assert in_background(asked_by.get) == "alice"


@pytest.mark.parametrize("error", [ValueError("no"), SystemExit(3), KeyboardInterrupt()])
def test_what_it_raises_is_the_callers(error: BaseException) -> None:
    def fail() -> None:
        raise error

    with pytest.raises(type(error)) as caught:
        in_background(fail)
    assert caught.value is error


def test_without_a_thread_to_be_had_it_is_done_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(background.threading.Thread, "start", refuse)
    assert in_background(lambda: 7) == 7


def policy() -> int:
    """By which rules the kernel gives this thread CPU time."""
    return os.sched_getscheduler(0)


def test_a_part_of_it_that_holds_no_lock_is_done_when_nobody_else_wants_the_cpu() -> None:
    def work() -> tuple[int, int, int]:
        return policy(), at_leisure(policy), policy()

    assert in_background(work) == (os.SCHED_OTHER, os.SCHED_IDLE, os.SCHED_OTHER)
    assert policy() == os.SCHED_OTHER


def test_outside_of_the_background_it_is_done_as_it_is() -> None:
    assert (at_leisure(policy), at_leisure(threading.get_ident)) == (os.SCHED_OTHER, threading.get_ident())


def test_it_pauses_there_for_as_long_as_it_went_on_and_nowhere_else(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(background.time, "sleep", pauses.append)

    def work() -> None:
        ends = background.time.monotonic() + 0.002
        while background.time.monotonic() < ends:
            pass
        breathe()

    work()
    in_background(work)
    assert pauses == []
    in_background(lambda: at_leisure(work))
    assert [0.002 <= pause <= 0.01 for pause in pauses] == [True]
