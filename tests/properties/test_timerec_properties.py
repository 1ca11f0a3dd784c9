"""Time recurrences against the rules of dateutil, and against what nobody would write."""

from __future__ import annotations

import bisect
import contextlib
import datetime as datetime_module
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from dateutil import rrule
from hypothesis import event, given, settings
from hypothesis import strategies as st

from runtime.drouting.timerec import Malformed, read_moments

WEEKDAYS = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")
FREQS = {"DAILY": rrule.DAILY, "WEEKLY": rrule.WEEKLY, "MONTHLY": rrule.MONTHLY, "YEARLY": rrule.YEARLY}
STARTS = st.datetimes(datetime(2022, 1, 1), datetime(2024, 12, 31)).map(lambda one: one.replace(microsecond=0))
LAST = datetime(2025, 3, 1)


class Calendar:
    """The module datetime, for dateutil, with an end that is not eight thousand years away."""

    MAXYEAR = LAST.year

    def __getattr__(self, name: str) -> Any:
        return getattr(datetime_module, name)


@pytest.fixture(autouse=True, scope="module")
def soon_over() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rrule, "datetime", Calendar())
        yield


def signed(most: int) -> st.SearchStrategy[int]:
    return st.integers(1, most) | st.integers(-most, -1)


@st.composite
def recurrences(draw: st.DrawFn) -> tuple[str, rrule.rrule, timedelta]:
    """A time recurrence as it is written, the rule that dateutil has for it, and how long it lasts."""
    freq, start = draw(st.sampled_from(sorted(FREQS))), draw(STARTS)
    interval = draw(st.sampled_from([1, 1, 1, 2, 3, 7]))
    lasts = timedelta(seconds=draw(st.integers(1, 86400 * 9)))
    until = draw(st.none() | STARTS)
    rules: dict[str, list[int]] = {}
    for name, numbers in (
        ("bymonthday", signed(31)),
        ("byyearday", signed(366)),
        ("byweekno", st.integers(1, 53) | st.integers(-9, -1)),
        ("bymonth", st.integers(1, 12)),
    ):
        if draw(st.integers(0, 3)) == 0:
            rules[name] = draw(st.lists(numbers, min_size=1, max_size=12, unique=True))
    # dateutil asks for both where plain weekdays and those of a number stand together; RFC 2445 for either
    days = draw(st.lists(st.sampled_from(WEEKDAYS), max_size=4, unique=True))
    numbered = freq in ("MONTHLY", "YEARLY") and draw(st.booleans())
    nth = [draw(signed(5)) if numbered else 0 for _ in days]
    week_start = draw(st.sampled_from(WEEKDAYS))
    rule = rrule.rrule(
        FREQS[freq],
        dtstart=start,
        interval=interval,
        until=until,
        wkst=WEEKDAYS.index(week_start),
        byweekday=[rrule.weekday(WEEKDAYS.index(day), n or None) for day, n in zip(days, nth, strict=True)] or None,
        **rules,
    )
    fields = [
        "UTC",
        f"{start:%Y%m%dT%H%M%S}",
        "",
        f"PT{int(lasts.total_seconds())}S",
        freq,
        f"{until:%Y%m%dT%H%M%S}" if until else "",
        str(interval),
        ",".join(f"{n or ''}{day}" for day, n in zip(days, nth, strict=True)),
        *(",".join(map(str, rules.get(name, []))) for name in ("bymonthday", "byyearday", "byweekno", "bymonth")),
        week_start,
    ]
    return "|".join(fields), rule, lasts


@settings(max_examples=150)
@given(recurrences(), st.data())
def test_it_holds_when_dateutil_has_something_that_still_lasts(
    drawn: tuple[str, rrule.rrule, timedelta], data: st.DataObject
) -> None:
    text, rule, lasts = drawn
    moments = read_moments(text)
    begun = rule.between(datetime.min, LAST)
    event(f"it begins: {bool(begun)}")
    # When something begins or ends is where it goes wrong.
    near = data.draw(st.sampled_from(begun)) if begun else LAST - timedelta(days=90)
    second = timedelta(seconds=1)
    for moment in (near, near - second, near + lasts, near + lasts - second, data.draw(STARTS)):
        at = bisect.bisect_right(begun, moment)
        expected = at > 0 and moment - begun[at - 1] < lasts
        event(f"it holds: {expected}")
        assert moments.hold(moment.replace(tzinfo=UTC).timestamp()) is expected, (text, moment)


@given(
    st.text(alphabet="UTC|0123456789TZPHDWEKLY,MOFR+-!&/() ", max_size=120)
    | st.text(max_size=60)
    | st.lists(st.sampled_from(["20240101T000000", "|", "DAILY", "!", "&", "/", "(", ")", "PT1H", " "])).map("".join)
)
def test_whatever_is_written_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(Malformed):
        read_moments(text).hold(1_700_000_000.0)
