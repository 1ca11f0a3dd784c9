"""Time recurrences: which days they begin on, and whether they hold at a moment.

All is reckoned in wall-clock time of the zone: 08:00 to 18:00 is ten hours by the clock on the days when it is changed,
too.

Source: RFC 2445 4.3.10 and 4.8.5.4; how they are written stands in `runtime.drouting.timerec`.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta, tzinfo
from typing import Final, NamedTuple

_DAY: Final = timedelta(days=1)


class Freq(enum.Enum):
    """How often it recurs."""

    DAILY = enum.auto()
    WEEKLY = enum.auto()
    MONTHLY = enum.auto()
    YEARLY = enum.auto()


class Nth(NamedTuple):
    """One of the weekdays of a month or year.

    Args:
        n: which one; negative ones are counted from the end.
        weekday: 0 is Monday.
    """

    n: int
    weekday: int


@dataclass(frozen=True, slots=True)
class Days:
    """The days on which it begins.

    Args:
        freq: how often.
        first: the day of dtstart.
        interval: every so many days, weeks, months or years.
        weekdays: on which weekdays; 0 is Monday.
        nths: on which of a month's or year's weekdays.
        month_days: on which days of a month; negative ones are counted from the end.
        year_days: on which days of a year, likewise.
        weeks: in which weeks of a year, likewise.
        months: in which months.
        week_start: the weekday that weeks begin with.

    Where a field is empty, it says nothing.
    """

    freq: Freq
    first: date
    interval: int = 1
    weekdays: frozenset[int] = frozenset()
    nths: frozenset[Nth] = frozenset()
    month_days: frozenset[int] = frozenset()
    year_days: frozenset[int] = frozenset()
    weeks: frozenset[int] = frozenset()
    months: frozenset[int] = frozenset()
    week_start: int = 0

    def __contains__(self, day: date) -> bool:
        return (
            self._in_interval(day)
            and (not self.months or day.month in self.months)
            and (not self.weeks or self._in_weeks(day))
            and (not self.year_days or _counted(self.year_days, day.timetuple().tm_yday, _days_of_year(day.year)))
            and (not self.month_days or _counted(self.month_days, day.day, _days_of_month(day)))
            and (not (self.weekdays or self.nths) or day.weekday() in self.weekdays or self._in_nths(day))
        )

    def _in_interval(self, day: date) -> bool:
        first = self.first
        match self.freq:
            case Freq.DAILY:
                apart = day.toordinal() - first.toordinal()
            case Freq.WEEKLY:
                apart = (self._week_of(day) - self._week_of(first)) // 7
            case Freq.MONTHLY:
                apart = (day.year - first.year) * 12 + day.month - first.month
            case Freq.YEARLY:
                apart = day.year - first.year
        return apart % self.interval == 0

    def _week_of(self, day: date) -> int:
        """The ordinal of the day that its week begins with."""
        return day.toordinal() - (day.weekday() - self.week_start) % 7

    def _in_weeks(self, day: date) -> bool:
        # A week is of the year that most of its days are in (RFC 2445 4.3.10, BYWEEKNO), so its fourth day tells.
        fourth = date.fromordinal(min(self._week_of(day) + 3, date.max.toordinal()))
        week = (fourth.timetuple().tm_yday - 1) // 7 + 1
        fourth_of_last = date(fourth.year, 12, 31 - (date(fourth.year, 12, 31).weekday() - self.week_start - 3) % 7)
        return _counted(self.weeks, week, (fourth_of_last.timetuple().tm_yday - 1) // 7 + 1)

    def _in_nths(self, day: date) -> bool:
        if not self.nths:
            return False
        of_month = self.freq is Freq.MONTHLY or bool(self.months)
        number = day.day if of_month else day.timetuple().tm_yday
        left = (_days_of_month(day) if of_month else _days_of_year(day.year)) - number
        weekday = day.weekday()
        return not self.nths.isdisjoint((Nth((number - 1) // 7 + 1, weekday), Nth(-(left // 7) - 1, weekday)))


def _counted(numbers: frozenset[int], number: int, of: int) -> bool:
    """Whether a number is among those, counted from the start, or with a minus from the end of `of`."""
    return number in numbers or number - of - 1 in numbers


def _days_of_year(year: int) -> int:
    return 366 if year % 4 == 0 and (year % 100 != 0 or year % 400 == 0) else 365


def _days_of_month(day: date) -> int:
    if day.month == 2:
        return _days_of_year(day.year) - 337
    return 30 if day.month in (4, 6, 9, 11) else 31


@dataclass(slots=True)
class Recurrence:
    """One time recurrence.

    Args:
        start: dtstart, by the wall clock of the zone.
        lasts: how long each time; None for as long as `end_of` says.
        zone: None for the machine's own.
        days: on which it begins; None where it does not recur.
        until: no later than which it begins, by the wall clock.
        end_of: where `lasts` is None, the end of the time that begins at a moment; None where there is none.
    """

    start: datetime
    lasts: timedelta | None
    zone: tzinfo | None = None
    days: Days | None = None
    until: datetime = datetime.max
    end_of: Callable[[datetime], datetime] | None = None
    _last: tuple[date, date | None] = field(default=(date.min, None), init=False, repr=False, compare=False)
    """The last answer of `_last_day`, and what for: the questions of one day have the same."""

    def hold(self, now: float) -> bool:
        """Whether it holds at `now`, in seconds of the epoch. The first question of a day takes longer."""
        there = datetime.fromtimestamp(now, self.zone).replace(tzinfo=None)
        if there < self.start:
            return False
        if self.days is None:
            return self._lasts_till(self.start, there)
        # The last time that it began decides: what began earlier also ends earlier.
        clock = self.start.time()
        day = self._last_day(there.date() if there.time() >= clock else (there - _DAY).date())
        return day is not None and self._lasts_till(datetime.combine(day, clock), there)

    def _lasts_till(self, begun: datetime, there: datetime) -> bool:
        if self.lasts is not None:
            return there - begun < self.lasts
        return self.end_of is None or there < self.end_of(begun)

    def _last_day(self, day: date) -> date | None:
        """The last day up to `day` on which it begins, of those that it may still last from."""
        if self._last[0] != day:
            earliest = max(self.start.toordinal(), day.toordinal() - self._reach())
            days = map(date.fromordinal, range(day.toordinal(), earliest - 1, -1))
            self._last = (day, next(filter(self._begins_on, days), None))
        return self._last[1]

    def _begins_on(self, day: date) -> bool:
        assert self.days is not None
        return datetime.combine(day, self.start.time()) <= self.until and day in self.days

    def _reach(self) -> int:
        """How many days it may last into."""
        return 366 if self.lasts is None else self.lasts.days + 1
