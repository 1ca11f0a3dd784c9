"""How records are spelt: in the log, as events, on their way to the database, and in a dialog."""

from __future__ import annotations

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.acc.accounts import Account, Backend, Parties
from runtime.acc.records import (
    CDR,
    Cdr,
    Record,
    Subject,
    cdr_of,
    commented,
    ended,
    event_of,
    log_line,
    packed_cdr,
    record_of,
    row_of,
)
from runtime.sip.dialog import Dialog
from runtime.sip.dialog_words import Leg

PARTIES = Parties("INVITE", "ft", "", "call", "ours")
LATIN1 = st.text(alphabet=st.characters(max_codepoint=255), max_size=300)


def answered(code: int = 200, reason: str = "OK") -> Record:
    return record_of(Subject.ANSWERED, PARTIES, code, reason, 100.9, "tt", Account(90.0, PARTIES, extra={"who": "bob"}))


def call(started: float = 103.5) -> Dialog:
    dialog = Dialog(7, "call", 100.9, 60, Leg("ft"), Leg("tt"))
    dialog.started = started
    return dialog


CDR_OF_CALL = Cdr([Backend.DB], "cdrs", 200, "OK", {"who": "bob"})


def test_a_transaction_in_the_log() -> None:
    assert log_line(answered(), {"name": "bob", "none": None, "n": 3}) == (
        "ACC: transaction answered: timestamp=100;method=INVITE;from_tag=ft;to_tag=tt;call_id=call;code=200;reason=OK;"
        "name=bob;none=;n=3"
    )


def test_a_missed_call_in_the_log() -> None:
    record = record_of(Subject.MISSED, PARTIES, 408, "Request Timeout", 100.9, "", Account(90.0, PARTIES))
    assert log_line(record, {}) == (
        "ACC: call missed: timestamp=100;method=INVITE;from_tag=ft;to_tag=;call_id=call;code=408;reason=Request Timeout"
    )


def test_a_call_in_the_log() -> None:
    assert log_line(ended(call(), CDR_OF_CALL, 107.75), {}) == (
        "ACC: call ended: created=100;call_start_time=103;duration=5;ms_duration=4250;setuptime=3;method=INVITE;"
        "from_tag=ft;to_tag=tt;call_id=call;code=200;reason=OK"
    )


def test_a_clock_that_was_set_back_makes_no_negative_call() -> None:
    record = ended(call(started=50.0), CDR_OF_CALL, 40.0)
    assert (record.ms, record.seconds, record.setup_s) == (0, 0, 0)


@given(LATIN1, LATIN1)
def test_no_value_forges_a_field(reason: str, extra: str) -> None:
    line = log_line(answered(486, reason), {"extra": extra})
    assert line.count(";") == 7


def test_events() -> None:
    name, named = event_of(answered(), {"party": "bob"})
    assert (name, list(named)) == (
        "E_ACC_EVENT",
        ["method", "from_tag", "to_tag", "callid", "sip_code", "sip_reason", "time", "party"],
    )
    assert event_of(answered(486), {})[0] == "E_ACC_MISSED_EVENT"
    assert event_of(commented(PARTIES, "no code", 1.0, {}), {})[0] == "E_ACC_MISSED_EVENT"
    name, named = event_of(ended(call(), CDR_OF_CALL, 107.75), {})
    assert (name, named["duration"], named["ms_duration"], named["created"]) == ("E_ACC_CDR", 5, 4250, 100)


def test_rows() -> None:
    assert msgpack.unpackb(row_of(answered(), "acc", {"who": "b\xc3\xb6b", "n": 1 << 70, "none": None})) == [
        "acc",
        {
            "method": "INVITE",
            "from_tag": "ft",
            "to_tag": "tt",
            "callid": "call",
            "sip_code": "200",
            "sip_reason": "OK",
            "time": 100.9,
        },
        {"who": "böb", "n": str(1 << 70), "none": None},
    ]
    values = msgpack.unpackb(row_of(ended(call(), CDR_OF_CALL, 107.75), "acc", {}))[1]
    times = {key: values[key] for key in ("time", "created", "setuptime", "duration", "ms_duration")}
    assert times == {"time": 103.5, "created": 100.9, "setuptime": 3, "duration": 5, "ms_duration": 4250}


@given(LATIN1, LATIN1)
def test_any_value_becomes_a_row_without_nul(reason: str, extra: str) -> None:
    packed = msgpack.unpackb(row_of(answered(486, reason), "acc", {"extra": extra}))
    assert "\0" not in packed[1]["sip_reason"] + packed[2]["extra"]


@pytest.mark.parametrize(
    ("comment", "code", "reason"),
    [
        ("404 Nobody home", 404, "Nobody home"),
        (" 404 ", 404, "Not Found"),
        ("Nobody home", 0, "Nobody home"),
        ("4040 x", 0, "4040 x"),
        ("²00 x", 0, "²00 x"),
        ("", 0, ""),
    ],
)
def test_comments(comment: str, code: int, reason: str) -> None:
    record = commented(PARTIES, comment, 1.0, {})
    assert (record.code, record.reason, record.subject) == (code, reason, Subject.REQUEST)


def test_texts_are_cut() -> None:
    long = "x" * 100_000
    record = record_of(Subject.ANSWERED, Parties("INVITE", long, "", long), 200, long, 1.0, long, Account(1.0, PARTIES))
    assert {len(text) for text in (record.from_tag, record.to_tag, record.call_id, record.reason)} == {255}


@given(LATIN1, st.dictionaries(LATIN1, LATIN1 | st.integers(-(2**62), 2**62), max_size=3))
def test_what_is_kept_in_a_dialog_comes_back(reason: str, extra: dict[str, str | int]) -> None:
    dialog = call()
    cdr = Cdr([Backend.LOG, Backend.DB], "cdrs", 200, reason, extra)
    dialog.values[CDR] = packed_cdr(cdr)
    dialog.values[CDR].encode("latin-1")  # as the database has it
    assert cdr_of(dialog) == cdr


@given(st.none() | st.integers() | LATIN1 | st.sampled_from(['["log"]', '[["log"],"",200,"OK",{}', "[[],1,2,3,{}]"]))
def test_what_a_script_has_put_there_is_nothing(found: str | int | None) -> None:
    dialog = call()
    if found is not None:
        dialog.values[CDR] = found
    assert cdr_of(dialog) is None
