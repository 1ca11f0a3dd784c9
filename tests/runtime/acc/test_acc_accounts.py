"""What is recorded of a transaction, as the script says it."""

from __future__ import annotations

import pytest

from runtime.acc.accounts import (
    MAX_EXTRA_CHARS,
    NOTHING,
    Account,
    Backend,
    Extra,
    Parties,
    Wants,
    backends_of,
    chosen,
    extras_of,
    put_extra,
    wants_of,
)

LOG, DB, EVI = Backend.LOG, Backend.DB, Backend.EVI


def account(text: str, flags: str = "", method: str = "INVITE") -> Account:
    one = Account(1.0, Parties(method, "a", "", "c", "ours"))
    backends, wants = backends_of(text), wants_of(flags)
    assert backends is not None
    assert wants is not None
    one.ask(backends, wants)
    return one


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("log", (LOG,)),
        ("log|db", (LOG, DB)),
        (" DB | evi |", (DB, EVI)),
        ("", None),
        ("aaa", None),
        ("log|aaa", None),
        ("log,db", None),
    ],
)
def test_types(text: str, found: tuple[Backend, ...] | None) -> None:
    assert backends_of(text) == found


@pytest.mark.parametrize(
    ("text", "found"),
    [("", NOTHING), ("cdr", Wants.CDR), ("missed | failed", Wants.MISSED | Wants.FAILED), ("answered", None)],
)
def test_flags(text: str, found: Wants | None) -> None:
    assert wants_of(text) == found


def test_each_answer_once_and_no_refusal_after_it() -> None:
    one = account("log|db", "failed")
    assert (one.answered("x"), one.answered("x"), one.answered("y")) == ([LOG, DB], [], [LOG, DB])
    assert one.refused() == []


def test_a_refusal_once_and_only_where_failures_are_recorded() -> None:
    one = account("log", "failed")
    one.ask((DB,), NOTHING)
    assert (one.refused(), one.refused()) == ([LOG], [])


def test_answers_have_an_end() -> None:
    one = account("log")
    assert sum([bool(one.answered(str(number))) for number in range(1000)]) == 64


def test_where_a_call_is_recorded_its_answer_is_not() -> None:
    one = account("log", "cdr")
    one.ask((DB,), NOTHING)
    assert (one.early(), one.answered("x"), one.where(Wants.CDR)) == ([DB], [DB], [LOG])


def test_a_missed_call_is_recorded_once_for_each_time_that_it_was_asked_for() -> None:
    one = account("log|db", "missed")
    assert (one.missed(), one.missed()) == ([LOG, DB], [])
    one.ask((DB,), Wants.MISSED)
    assert one.missed() == [DB]
    assert one.answered("x") == [LOG, DB]


def test_only_an_invite_is_missed() -> None:
    assert account("log", "missed", method="BYE").missed() == []


def test_what_is_dropped() -> None:
    one = account("log|db|evi", "cdr|missed|failed")
    one.drop((LOG,))
    one.drop((DB,), Wants.CDR | Wants.FAILED)
    assert one.wants == {
        DB: Wants.ANSWERED | Wants.MISSED,
        EVI: Wants.ANSWERED | Wants.CDR | Wants.MISSED | Wants.FAILED,
    }
    one.drop(None, Wants.MISSED)
    assert one.missed() == []
    one.drop(None)
    assert one.wants == {}


def test_the_last_table_that_was_named_is_taken() -> None:
    one = account("db")
    one.ask((DB,), NOTHING, "calls")
    one.ask((DB,), NOTHING)
    assert one.table == "calls"


def test_extra_fields() -> None:
    found = extras_of(["log: a -> My a; b", "db:a->col_a;", " evi : c ; log : d"])
    assert found == {
        LOG: [Extra("a", "My a"), Extra("b", "b"), Extra("d", "d")],
        DB: [Extra("a", "col_a")],
        EVI: [Extra("c", "c")],
    }
    assert chosen(found[LOG], {"a": "x", "c": 3}) == {"My a": "x", "b": None, "d": None}


@pytest.mark.parametrize("text", ["a->b", "aaa: a", "log: ->x", "log: a->", "log: a; xx: b"])
def test_extra_fields_that_are_none(text: str) -> None:
    with pytest.raises(ValueError, match="is not written as"):
        extras_of([text])


def test_an_extra_value_is_cut_and_taken_away() -> None:
    values: dict[str, str | int] = {}
    put_extra(values, "a", "x" * 100_000)
    put_extra(values, "b", 7)
    assert (len(str(values["a"])), values["b"]) == (MAX_EXTRA_CHARS, 7)
    put_extra(values, "a", None)
    put_extra(values, "c", None)
    assert values == {"b": 7}
