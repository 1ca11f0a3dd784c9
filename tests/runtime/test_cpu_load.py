"""How busy processes are, from what they were seen to have had."""

from __future__ import annotations

import os

from hypothesis import given
from hypothesis import strategies as st

from runtime.clock import monotonic_now
from runtime.cpu_board import Board
from runtime.cpu_load import Load, Meter, Seen
from runtime.memory import available, cpu_s_of, is_stopped, memory_of, peak_of


def test_the_share_of_the_last_second_minute_and_ten_minutes() -> None:
    meter, cpu_s = Meter(1), 0.0
    for second in range(700):
        cpu_s += 0.5 if second >= 630 else 0.0
        [load] = meter.add(float(second), [Seen(10, cpu_s)])
    assert load == Load(50, 50, round(100 * 35 / 600))


def test_nothing_is_known_at_first_and_what_was_had_before_does_not_count() -> None:
    meter = Meter(2)
    assert meter.add(5.0, [Seen(10, 100.0), Seen(0, 0.0)]) == [Load(), Load()]
    assert meter.add(6.0, [Seen(10, 101.0), Seen(0, 0.0)]) == [Load(100, 100, 100), Load()]


def test_a_process_that_is_replaced_goes_on_with_its_predecessor_s_account() -> None:
    meter = Meter(1)
    meter.add(0.0, [Seen(10, 100.0)])
    meter.add(1.0, [Seen(10, 101.0)])
    assert meter.add(2.0, [Seen(0, 0.0)]) == [Load(0, 50, 50)]
    assert meter.add(3.0, [Seen(11, 0.5)]) == [Load(50, 50, 50)]


@given(st.lists(st.tuples(st.floats(0.01, 3.0), st.integers(0, 3), st.floats(0.0, 1.0)), min_size=1, max_size=50))
def test_nobody_has_more_than_the_time_that_passes(steps: list[tuple[float, int, float]]) -> None:
    meter, now, pid, cpu_s = Meter(1), 0.0, 0, 0.0
    for passed_s, new_pid, share in steps:
        now, cpu_s = now + passed_s, (cpu_s if new_pid == pid else 0.0) + passed_s * share
        pid = new_pid
        [load] = meter.add(now, [Seen(pid, cpu_s)])
        assert all(0 <= value <= 100 for value in load)


def test_the_board_gives_back_what_was_written() -> None:
    board = Board(3)
    assert board.read(2) == Load()
    board.write([Load(1, 2, 3), Load(4, 5, 6), Load(7, 8, 9)])
    assert [board.read(slot) for slot in range(3)] == [Load(1, 2, 3), Load(4, 5, 6), Load(7, 8, 9)]


def test_what_the_kernel_says_of_a_process() -> None:
    me, nobody = os.getpid(), -1
    found = memory_of(me)
    assert found is not None
    assert found.rss == found.private + found.shared >= found.pss > 0
    assert peak_of(me) >= found.rss > 0
    before, ends = cpu_s_of(me), monotonic_now() + 5
    while cpu_s_of(me) == before:
        assert monotonic_now() < ends
    assert (memory_of(nobody), peak_of(nobody), cpu_s_of(nobody)) == (None, 0, 0.0)
    assert available() > 0
    assert not is_stopped(me)
    assert not is_stopped(nobody)
