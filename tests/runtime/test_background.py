"""Work in the background: at a low priority, in the caller's stead, and the caller is as it was."""

from __future__ import annotations

import contextvars
import os
import threading

import pytest

from runtime import background
from runtime.background import NICER, in_background

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
