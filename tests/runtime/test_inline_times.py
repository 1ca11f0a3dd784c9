"""Which commands are run while another process reads."""

from __future__ import annotations

from runtime.inline_times import LOST_CPU_S, MOST_COMMANDS, NOTICEABLE_S, InlineTimes

LONG_S, SHORT_S = 5 * NOTICEABLE_S, NOTICEABLE_S / 100


def after(*seconds: float) -> bool:
    times = InlineTimes()
    for took_s in seconds:
        times.ran("uptime", took_s)
    return times.holds_up("uptime")


def test_what_is_not_known_may_take_long() -> None:
    assert after()
    assert after(LONG_S)
    assert not after(SHORT_S)
    assert not after(NOTICEABLE_S)


def test_one_long_run_among_short_ones_may_have_lost_the_cpu_and_two_have_not() -> None:
    assert not after(SHORT_S, LONG_S)
    assert not after(SHORT_S, LONG_S, SHORT_S, LONG_S)
    assert not after(SHORT_S, LOST_CPU_S)
    assert after(SHORT_S, LONG_S, LONG_S)
    assert after(SHORT_S, 2 * LOST_CPU_S)


def test_a_long_time_fades() -> None:
    assert after(LONG_S, *[SHORT_S] * 14)
    assert not after(LONG_S, *[SHORT_S] * 16)
    assert after(LONG_S, *[SHORT_S] * 16, LONG_S, LONG_S, *[SHORT_S] * 14)


def test_there_is_an_end_to_what_is_kept() -> None:
    times = InlineTimes()
    for number in range(MOST_COMMANDS + 1):
        times.ran(f"unknown{number}", SHORT_S)
    assert [times.holds_up(f"unknown{number}") for number in (0, MOST_COMMANDS - 1, MOST_COMMANDS)] == [
        False,
        False,
        True,
    ]
