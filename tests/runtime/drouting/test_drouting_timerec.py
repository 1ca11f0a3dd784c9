"""How time recurrences are read, and when they hold."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from runtime.drouting.timerec import Malformed, read_moments

WORKDAYS = "20240101T080000|20240101T180000||WEEKLY|||MO,TU,WE,TH,FR"


def at(text: str, zone: str = "UTC") -> float:
    """Seconds of the epoch of e.g. ``2024-06-05 12:00``."""
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp()


def holds(timerec: str, *moments: str, zone: str = "UTC") -> list[bool]:
    one = read_moments(timerec)
    return [one.hold(at(moment, zone)) for moment in moments]


def test_one_that_does_not_recur_holds_from_its_start_up_to_its_end() -> None:
    span = "UTC|20240605T080000|20240605T180000"
    moments = ("2024-06-05 07:59:59", "2024-06-05 08:00", "2024-06-05 17:59:59", "2024-06-05 18:00")
    assert holds(span, *moments) == [False, True, True, False]


def test_without_an_end_it_holds_for_ever() -> None:
    assert holds("UTC|20240605T080000", "2024-06-05 07:59", "2024-06-05 08:00", "2094-01-01") == [False, True, True]
    assert holds("UTC|||", "1970-01-01", "2094-01-01") == [True, True]


def test_an_end_before_its_start_holds_never() -> None:
    assert holds("UTC|20240605T080000|20240605T080000", "2024-06-05 08:00") == [False]
    assert holds("UTC|20240605T080000|20230605T080000||DAILY", "2024-06-05 08:00") == [False]


@pytest.mark.parametrize(
    ("duration", "held"),
    [
        ("PT10H", "2024-06-05 17:59:59"),
        ("10H", "2024-06-05 17:59:59"),
        ("pt9h59m60s", "2024-06-05 17:59:59"),
        ("P1DT2H", "2024-06-06 09:59:59"),
        ("+P1W", "2024-06-12 07:59:59"),
        ("p30d", "2024-07-05 07:59:59"),
    ],
)
def test_durations(duration: str, held: str) -> None:
    one = read_moments(f"UTC|20240605T080000||{duration}")
    assert [one.hold(at(held)), one.hold(at(held) + 1)] == [True, False]


def test_working_days() -> None:
    # Monday, Friday, Saturday, and Monday at both ends of the day
    days = ("2024-06-03 12:00", "2024-06-07 12:00", "2024-06-08 12:00", "2024-06-03 07:59", "2024-06-03 18:00")
    assert holds(f"UTC|{WORKDAYS}", *days) == [True, True, False, False, False]


def test_over_midnight() -> None:
    nights = "UTC|20240601T220000|20240602T060000||DAILY"
    moments = ("2024-06-10 21:59", "2024-06-10 22:00", "2024-06-11 05:59", "2024-06-11 06:00")
    assert holds(nights, *moments) == [False, True, True, False]
    assert holds(nights, "2024-06-01 05:00") == [False]  # nothing began the night before the first


def test_what_lasts_longer_than_its_period_always_holds() -> None:
    assert holds("UTC|20200101T100000|20200103T090000||DAILY", "2024-06-05 09:30", "2024-06-05 23:00") == [True, True]


def test_a_day_that_only_some_years_have() -> None:
    leap = "UTC|20200229T000000|20200229T235959||YEARLY"
    assert holds(leap, "2024-02-29 12:00", "2025-02-28 12:00", "2025-03-01 12:00") == [True, False, False]
    assert holds("UTC|20200229T000000||P1400D|YEARLY", "2022-12-01", "2023-12-31") == [True, False]


@pytest.mark.parametrize(
    ("timerec", "held", "not_held"),
    [
        ("UTC|20200101T080000|||DAILY", "2024-06-05 23:59:59", "2024-06-06 07:59"),
        ("UTC|20200101T080000|||WEEKLY|||MO", "2024-06-03 23:59:59", "2024-06-04 00:00"),
        ("UTC|20200101T080000|||WEEKLY", "2024-06-09 23:59:59", "2024-06-10 00:00"),
        ("UTC|20200115T080000|||MONTHLY", "2024-06-30 23:59:59", "2024-07-01 00:00"),
        ("UTC|20200115T080000|||YEARLY", "2024-12-31 23:59:59", "2025-01-01 00:00"),
        ("UTC|20200101T000000|||YEARLY|||||||6", "2024-06-30 23:59:59", "2024-07-01 00:00"),
        ("UTC|20200101T000000|||YEARLY||||||23", "2024-06-09 23:59:59", "2024-06-10 00:00"),
    ],
)
def test_without_an_end_it_lasts_to_the_end_of_what_it_names(timerec: str, held: str, not_held: str) -> None:
    assert holds(timerec, held, not_held) == [True, False]


@pytest.mark.parametrize(
    ("rule", "held", "not_held"),
    [
        ("MONTHLY|||1MO", "2024-06-03", "2024-06-10"),
        ("MONTHLY|||-1FR", "2024-06-28", "2024-06-21"),
        ("MONTHLY||||-1", "2024-02-29", "2024-02-28"),
        ("YEARLY|||23FR", "2024-06-07", "2024-06-14"),
        ("YEARLY|||1MO||||6", "2024-06-03", "2024-01-01"),
        ("YEARLY|||||157", "2024-06-05", "2024-06-06"),
        ("YEARLY|||||-1", "2024-12-31", "2024-12-30"),
        ("YEARLY|||TH|||1", "2024-01-04", "2024-01-11"),
        ("YEARLY|||FR|||-1", "2021-01-01", "2022-01-07"),  # the 53rd week of 2020
        ("DAILY||2", "2020-01-03", "2020-01-04"),
        ("WEEKLY||2|WE", "2020-01-15", "2020-01-08"),
        ("MONTHLY||3", "2020-07-01", "2020-06-01"),
        ("YEARLY||4", "2024-01-01", "2023-01-01"),
        ("DAILY|20200110T000000", "2020-01-10", "2020-01-11"),
        ("DAILY|20200110", "2020-01-10", "2020-01-11"),
    ],
)
def test_on_which_days_it_begins(rule: str, held: str, not_held: str) -> None:
    assert holds(f"UTC|20200101T000000||P1D|{rule}", held, not_held) == [True, False]


def test_weeks_begin_on_the_day_that_it_says() -> None:
    # RFC 2445 4.3.10: the same rule with another WKST
    every_other = "UTC|19970805T090000||PT1H|WEEKLY||2|TU,SU|||||"
    assert holds(every_other + "MO", "1997-08-10 09:30", "1997-08-17 09:30") == [True, False]
    assert holds(every_other + "SU", "1997-08-10 09:30", "1997-08-17 09:30") == [False, True]


def test_it_is_reckoned_by_the_clock_of_its_zone() -> None:
    office = f"Europe/Berlin|{WORKDAYS}"
    summer, winter = ("2024-06-05 07:59", "2024-06-05 08:00"), ("2024-01-10 07:59", "2024-01-10 08:00")
    assert holds(office, *summer, *winter, zone="Europe/Berlin") == [False, True, False, True]
    assert holds(office, "2024-06-05 06:30", "2024-01-10 06:30", "2024-01-10 07:30") == [True, False, True]
    assert holds("UTC+5|20240605T080000|20240605T090000", "2024-06-05 13:30", "2024-06-05 03:30") == [True, False]
    assert holds("Europe/Berlin|20240605T080000Z|20240605T090000Z", "2024-06-05 08:30") == [True]


def test_without_a_zone_it_is_the_machines_own() -> None:
    one = read_moments("20240605T080000|20240605T180000")
    assert one.hold(datetime(2024, 6, 5, 8).timestamp())
    assert not one.hold(datetime(2024, 6, 5, 18).timestamp())
    assert read_moments("|20240605T080000|20240605T180000") == one


TRUE = "Europe/Berlin|20240101T000000"
FALSE = "Europe/Berlin|20990101T000000"


@pytest.mark.parametrize(
    ("expression", "held"),
    [
        (f"{TRUE}&{TRUE}", True),
        (f"{TRUE} & {FALSE}", False),
        (f"{FALSE}/{TRUE}", True),
        (f"{FALSE} / {FALSE} / {FALSE}", False),
        (f"({FALSE} / {TRUE}) & {TRUE}", True),
        (f"!({FALSE} / {TRUE}) & {TRUE}", False),
        (f"! ! {TRUE}", True),
        (f"{TRUE} & !({FALSE} & ({TRUE}/{FALSE}))", True),
    ],
)
def test_expressions(expression: str, held: bool) -> None:
    assert read_moments(expression).hold(at("2024-06-05")) is held


@pytest.mark.parametrize(
    ("timerec", "why"),
    [
        ("", "a time recurrence is missing"),
        ("20240230T080000", "is no date"),
        ("tomorrow|", "time zone 'tomorrow' is not known"),
        ("Europe/Atlantis|20240101T000000", "time zone 'Europe/Atlantis' is not known"),
        ("../../etc/passwd|20240101T000000", "in the wrong place|not known"),
        ("20240101T000000|10H|WEEKLY", "'10H' is no date"),
        ("20240101T000000||ten hours", "in the wrong place|is no duration"),
        ("20240101T000000||-PT8H", "is no duration"),
        ("20240101T000000||P", "is no duration"),
        ("20240101T000000||P999999999W", "too long"),
        ("20240101T000000||P1501D|YEARLY", "1500 days at most"),
        ("20240101T000000||PT8H|HOURLY", "is none of DAILY"),
        ("20240101T000000||PT8H|||2", "interval without freq"),
        ("20240101T000000||PT8H|DAILY||0", "interval '0'"),
        ("20240101T000000||PT8H|WEEKLY|||XX", "is no weekday"),
        ("20240101T000000||PT8H|MONTHLY||||32", "none of 1 to 31 or -1 and down"),
        ("20240101T000000||PT8H|YEARLY||||||54", "none of 1 to 53"),
        ("20240101T000000||PT8H|YEARLY|||||||-1", "none of 1 to 12"),
        ("20240101T000000||PT8H|YEARLY||||||||MO|", "more than 13 fields"),
        (f"{TRUE} & {TRUE} / {TRUE}", "need parentheses"),
        (f"{TRUE} &", "is missing"),
        (f"& {TRUE}", "is missing"),
        (f"({TRUE}", "not closed"),
        (f"{TRUE})", "wrong place"),
        (f"{TRUE} {TRUE}", "wrong place"),
        ("(" * 17 + TRUE + ")" * 17, "more than 16 parentheses"),
        ("(" * 1025, "more than 1024"),
    ],
)
def test_what_is_none_is_refused_with_the_reason(timerec: str, why: str) -> None:
    with pytest.raises(Malformed, match=why):
        read_moments(timerec)


def test_the_same_answer_whatever_was_asked_before() -> None:
    kept = read_moments("UTC|20240101T080000||PT20H|WEEKLY|||MO,TH")
    moments = [datetime(2024, 6, day, hour, tzinfo=UTC).timestamp() for day in (3, 5, 4, 3) for hour in (20, 2, 9)]
    assert [kept.hold(one) for one in moments] == [
        read_moments("UTC|20240101T080000||PT20H|WEEKLY|||MO,TH").hold(one) for one in moments
    ]
