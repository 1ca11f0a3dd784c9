"""How time recurrences are written.

As ``timezone|dtstart|dtend|duration|freq|until|interval|byday|bymonthday|byyearday|byweekno|bymonth|wkst``. What is
left out at the end needs no bars. The time zone may be left out with its bar where a dtstart follows, so that
``20240101T080000|20240101T180000||WEEKLY|||MO,TU,WE,TH,FR`` is read, too. Several are joined by ``&`` (all) or ``/``
(any), never both without parentheses between them; ``!`` turns one around, or what stands in parentheses.

A recurrence without an end lasts to the end of the smallest thing that it names: the day where it names days or is
daily, else the week, the month, or the year; one that does not recur lasts for ever.

Source: RFC 2445 4.3.10; OpenSIPS, module drouting (table dr_rules) and cfgutils (check_time_rec()).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from typing import Final, Protocol
from zoneinfo import ZoneInfo

from runtime.drouting.recurrence import Days, Freq, Nth, Recurrence

MAX_TEXT: Final = 1024
"""Characters of a whole expression."""
_MAX_DEPTH: Final = 16
"""Parentheses within each other."""
_MAX_DURATION: Final = timedelta(days=1500)
"""Of one that recurs: more than four years, so that each 29th of February reaches to the next."""
_FIRST: Final = datetime(1970, 1, 1)
_DAY: Final = timedelta(days=1)
_WEEKDAYS: Final = {name: day for day, name in enumerate(("MO", "TU", "WE", "TH", "FR", "SA", "SU"))}
_DATE_TIME: Final = re.compile(r"(\d{4})(\d\d)(\d\d)(?:T(\d\d)(\d\d)(\d\d)(Z?))?\Z", re.ASCII | re.IGNORECASE)
_DURATION: Final = re.compile(
    r"\+?P?(?:(\d{1,9})W)?(?:(\d{1,9})D)?(?:T?(?:(\d{1,9})H)?(?:(\d{1,9})M)?(?:(\d{1,9})S)?)?\Z",
    re.ASCII | re.IGNORECASE,
)
_BY_DAY: Final = re.compile(r"([+-]?\d{1,2})?([A-Z]{2})\Z", re.ASCII)
_SMALL: Final = re.compile(r"[+-]?\d{1,3}\Z", re.ASCII)
_POSIX_ZONE: Final = re.compile(r"[A-Z]{3,5}([+-])(\d{1,2})(?::(\d\d))?\Z", re.ASCII)
_ZONE_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_+-]*(?:/[A-Za-z0-9_+-]+){0,3}\Z", re.ASCII)
_TOKEN: Final = re.compile(r"\s*(?:([!&/()])|([^\s!&()|]*\|[^\s!&/()]*|[^\s!&()|]+))\s*", re.ASCII)
"""An operator, or a recurrence: a slash before its first bar is of the time zone's name."""


class Malformed(Exception):
    """It is no time recurrence; the text says why."""


class Moments(Protocol):
    """Some of all moments."""

    def hold(self, now: float) -> bool:
        """Whether `now`, in seconds of the epoch, is one of them."""


@dataclass(frozen=True, slots=True)
class _Not:
    one: Moments

    def hold(self, now: float) -> bool:
        return not self.one.hold(now)


@dataclass(frozen=True, slots=True)
class _Joined:
    ones: Sequence[Moments]
    all: bool

    def hold(self, now: float) -> bool:
        return all(one.hold(now) for one in self.ones) if self.all else any(one.hold(now) for one in self.ones)


def read_moments(text: str) -> Moments:
    """Read a time recurrence, or an expression of several.

    Raises:
        Malformed: it is none.
    """
    if len(text) > MAX_TEXT:
        raise Malformed(f"more than {MAX_TEXT} characters")
    tokens = list(_tokens(text.strip()))
    found, after = _expression(tokens, 0, 0)
    if after < len(tokens):
        raise Malformed(f"{tokens[after]!r} is in the wrong place")
    return found


def _tokens(text: str) -> Iterator[str]:
    at = 0
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None:
            raise Malformed(f"{text[at]!r} is in the wrong place")
        yield found[1] or found[2]
        at = found.end()


def _expression(tokens: Sequence[str], at: int, depth: int) -> tuple[Moments, int]:
    one, at = _operand(tokens, at, depth)
    ones, operator = [one], ""
    while at < len(tokens) and tokens[at] in "&/":
        if operator and tokens[at] != operator:
            raise Malformed("& and / need parentheses between them")
        operator = tokens[at]
        one, at = _operand(tokens, at + 1, depth)
        ones.append(one)
    return (_Joined(ones, operator == "&") if operator else one), at


def _operand(tokens: Sequence[str], at: int, depth: int) -> tuple[Moments, int]:
    inverted = False
    while at < len(tokens) and tokens[at] == "!":
        inverted, at = not inverted, at + 1
    if at == len(tokens) or tokens[at] in "&/)":
        raise Malformed("a time recurrence is missing")
    if tokens[at] == "(":
        if depth == _MAX_DEPTH:
            raise Malformed(f"more than {_MAX_DEPTH} parentheses within each other")
        one, at = _expression(tokens, at + 1, depth + 1)
        if at == len(tokens) or tokens[at] != ")":
            raise Malformed("a parenthesis is not closed")
    else:
        one = read_recurrence(tokens[at])
    return (_Not(one) if inverted else one), at + 1


def read_recurrence(text: str) -> Recurrence:
    """Read one time recurrence.

    Raises:
        Malformed: it is none.
    """
    fields = [one.strip() for one in text.split("|")]
    if _DATE_TIME.match(fields[0]):
        fields.insert(0, "")
    if len(fields) > len(_FIELDS):
        raise Malformed(f"more than {len(_FIELDS)} fields")
    values = dict(zip(_FIELDS, fields + [""] * (len(_FIELDS) - len(fields)), strict=True))
    zone = _zone(values["timezone"])
    start = _moment(values["dtstart"], zone) if values["dtstart"] else _FIRST
    lasts = _length(values, start, zone)
    if not values["freq"]:
        _refuse_without_freq(values)
        return Recurrence(start, lasts, zone)
    days = _days(values, start.date())
    if lasts is not None and lasts > _MAX_DURATION:
        raise Malformed(f"what recurs lasts {_MAX_DURATION.days} days at most")
    until = _moment(values["until"], zone, last=True) if values["until"] else datetime.max
    return Recurrence(start, lasts, zone, days, until, None if lasts is not None else _end(values, days))


_FIELDS: Final = (
    "timezone",
    "dtstart",
    "dtend",
    "duration",
    "freq",
    "until",
    "interval",
    "byday",
    "bymonthday",
    "byyearday",
    "byweekno",
    "bymonth",
    "wkst",
)


def _refuse_without_freq(values: dict[str, str]) -> None:
    for name in _FIELDS[_FIELDS.index("freq") + 1 :]:
        if values[name]:
            raise Malformed(f"{name} without freq")


def _zone(name: str) -> tzinfo | None:
    if not name:
        return None
    if name.upper() in ("UTC", "Z"):
        return UTC
    posix = _POSIX_ZONE.match(name)
    if posix is not None:
        # POSIX counts westwards: UTC+5 is five hours behind UTC.
        offset = timedelta(hours=int(posix[2]), minutes=int(posix[3] or 0))
        if offset >= _DAY:
            raise Malformed(f"time zone {name!r}: the offset is too large")
        return timezone(-offset if posix[1] == "+" else offset)
    try:
        if not _ZONE_NAME.match(name):
            raise ValueError(name)
        return ZoneInfo(name)
    except (ValueError, OSError, LookupError):
        raise Malformed(f"time zone {name[:40]!r} is not known") from None


def _moment(text: str, zone: tzinfo | None, *, last: bool = False) -> datetime:
    """A DATE-TIME by the wall clock of the zone; of a DATE its first second, or the last."""
    found = _DATE_TIME.match(text)
    if found is None:
        raise Malformed(f"{text[:40]!r} is no date such as 20240131T083000")
    year, month, day, hour, minute, second, utc = found.groups()
    try:
        moment = datetime(int(year), int(month), int(day))
        if hour is None:
            return moment + timedelta(hours=23, minutes=59, seconds=59) if last else moment
        if int(hour) > 24 or int(minute) > 59 or int(second) > 60:
            raise ValueError(text)
        moment += timedelta(hours=int(hour), minutes=int(minute), seconds=int(second))
        return moment.replace(tzinfo=UTC).astimezone(zone).replace(tzinfo=None) if utc else moment
    except (ValueError, OverflowError):
        raise Malformed(f"{text!r} is no date") from None


def _length(values: dict[str, str], start: datetime, zone: tzinfo | None) -> timedelta | None:
    """How long it lasts each time; None where nothing says so."""
    end = _moment(values["dtend"], zone) if values["dtend"] else None
    if values["duration"]:
        lasts = _duration(values["duration"])
        # For ever, where it does not recur: so older tables say it.
        return lasts or (None if not values["freq"] else timedelta(0))
    return None if end is None else max(end - start, timedelta(0))


def _duration(text: str) -> timedelta:
    found = _DURATION.match(text)
    if found is None or not any(found.groups()):
        raise Malformed(f"{text[:40]!r} is no duration such as PT8H30M")
    weeks, days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
    try:
        return timedelta(weeks=weeks, days=days, hours=hours, minutes=minutes, seconds=seconds)
    except OverflowError:
        raise Malformed(f"{text[:40]!r} is too long") from None


def _days(values: dict[str, str], first: date) -> Days:
    try:
        freq = Freq[values["freq"].upper()]
    except KeyError:
        raise Malformed(f"freq {values['freq'][:20]!r} is none of DAILY, WEEKLY, MONTHLY and YEARLY") from None
    weekdays, nths = _by_day(values["byday"], freq)
    days = Days(
        freq,
        first,
        _interval(values["interval"]),
        weekdays,
        nths,
        _numbers("bymonthday", values["bymonthday"], 31),
        _numbers("byyearday", values["byyearday"], 366),
        _numbers("byweekno", values["byweekno"], 53),
        _numbers("bymonth", values["bymonth"], 12, signed=False),
        _week_start(values["wkst"]),
    )
    return _as_first(days, first)


def _as_first(days: Days, first: date) -> Days:
    """Where nothing says on which day, it is the one that dtstart is (RFC 2445 4.3.10)."""
    if days.weekdays or days.nths or days.month_days or days.year_days or days.weeks:
        return days
    match days.freq:
        case Freq.DAILY:
            return days
        case Freq.WEEKLY:
            return replace(days, weekdays=frozenset([first.weekday()]))
        case Freq.MONTHLY:
            return replace(days, month_days=frozenset([first.day]))
        case Freq.YEARLY:
            months = days.months or frozenset([first.month])
            return replace(days, months=months, month_days=frozenset([first.day]))


def _by_day(text: str, freq: Freq) -> tuple[frozenset[int], frozenset[Nth]]:
    weekdays, nths = set(), set()
    for entry in _entries(text):
        found = _BY_DAY.match(entry.upper())
        if found is None or found[2] not in _WEEKDAYS:
            raise Malformed(f"byday: {entry[:20]!r} is no weekday such as MO or -1FR")
        n, weekday = int(found[1] or 0), _WEEKDAYS[found[2]]
        if n and freq in (Freq.MONTHLY, Freq.YEARLY):
            nths.add(Nth(n, weekday))
        else:
            weekdays.add(weekday)  # in a week or on a day there is only one of them
    return frozenset(weekdays), frozenset(nths)


def _numbers(name: str, text: str, most: int, *, signed: bool = True) -> frozenset[int]:
    numbers = set()
    for entry in _entries(text):
        number = int(entry) if _SMALL.match(entry) else 0
        if not 1 <= abs(number) <= most or (number < 0 and not signed):
            raise Malformed(f"{name}: {entry[:20]!r} is none of 1 to {most}{' or -1 and down' if signed else ''}")
        numbers.add(number)
    return frozenset(numbers)


def _entries(text: str) -> list[str]:
    return [entry.strip() for entry in text.split(",")] if text else []


def _interval(text: str) -> int:
    if not text:
        return 1
    if not (text.isascii() and text.isdecimal() and int(text[:6]) > 0 and len(text) < 6):
        raise Malformed(f"interval {text[:20]!r} is none of 1 to 99999")
    return int(text)


def _week_start(text: str) -> int:
    if text and text.upper() not in _WEEKDAYS:
        raise Malformed(f"wkst {text[:20]!r} is no weekday")
    return _WEEKDAYS[text.upper()] if text else 0


def _end(values: dict[str, str], days: Days) -> Callable[[datetime], datetime]:
    """When what has no end of its own ends: with the smallest thing that it names."""
    if days.freq is Freq.DAILY or values["byday"] or values["bymonthday"] or values["byyearday"]:
        return _end_of_day
    if days.freq is Freq.WEEKLY or values["byweekno"]:
        return lambda begun: _end_of_week(begun, days.week_start)
    return _end_of_month if days.freq is Freq.MONTHLY or values["bymonth"] else _end_of_year


def _end_of_day(begun: datetime) -> datetime:
    return _midnight(begun) + _DAY


def _end_of_week(begun: datetime, week_start: int) -> datetime:
    return _midnight(begun) + timedelta(days=7 - (begun.weekday() - week_start) % 7)


def _end_of_month(begun: datetime) -> datetime:
    return (_midnight(begun).replace(day=28) + timedelta(days=4)).replace(day=1)


def _end_of_year(begun: datetime) -> datetime:
    return datetime(begun.year + 1, 1, 1)


def _midnight(moment: datetime) -> datetime:
    return moment.replace(hour=0, minute=0, second=0, microsecond=0)
