"""Frames: what agrees with the format is read for what it says, and what differs anywhere is refused whole.

The format of version 2 stands here a second time, as data: of each record what may stand where, and what may not.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import msgpack
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from workers.jobs import Cancelled, Failed, Job, Kind, Peer, Returned, TimedOut, WorkerLost
from workers.wire import (
    MAX_MESSAGE,
    MAX_NAME,
    MAX_TEXT,
    MAX_TRACE,
    OVERHEAD_BYTES,
    PER_JOB_BYTES,
    Answers,
    Dispatch,
    Frame,
    Idle,
    Later,
    Letter,
    Malformed,
    Progress,
    Results,
    Withdraw,
    clean,
    decode,
    encode,
    is_name,
    size_of,
)

SIP, WORKER = Peer("sip-1", 3), Peer("worker-2", 7)
MOST = 1 << 24
LAST, WIDEST = 2**63 - 1, "\U0001f600"
NAN, INF = float("nan"), float("inf")
NOBODY: Mapping[tuple[str, int], Peer] = {}


class Part(NamedTuple):
    """What may stand in some neighbouring fields of a record, and what may not. Both give one value for each field."""

    good: st.SearchStrategy[Sequence[Any]]
    bad: st.SearchStrategy[Sequence[Any]]
    never: Sequence[Any] = ()
    """Of one field: all that `bad` may give."""


def field(good: st.SearchStrategy[Any], *bad: Any) -> Part:
    return Part(st.tuples(good), st.tuples(st.sampled_from(bad)), bad)


def text(limit: int) -> Part:
    full = st.sampled_from(["m" * limit, WIDEST * limit])
    return field(st.text("abc:é½", max_size=9) | full, "m" * (limit + 1), b"bytes", 7, None, ["m"])


SERIAL = field(st.integers(0, LAST) | st.sampled_from([0, LAST]), -1, LAST + 1, True, 1.0, "1", None, [1])
SECONDS = field(st.floats(0.0, 1e300) | st.sampled_from([0.0, 0.5, 1.5]), -0.5, NAN, INF, -INF, 1, True, "1", None)
FRACTION = field(st.floats(0.0, 1.0) | st.sampled_from([0.0, 1.0]), 1.0 + 2.0**-52, -0.5, NAN, INF, 1, True, None)
BYTES = field(st.binary(max_size=40) | st.just(b"x" * 700), "text", 7, None, [b"x"])
FLAGS = field(st.integers(0, 15), -1, 16, True, 1.0, None)
PRIORITY = field(st.integers(-(2**31), 2**31 - 1), 0.5, True, "1", None)
TEXT, MESSAGE, TRACE = text(MAX_TEXT), text(MAX_MESSAGE), text(MAX_TRACE)
NOT_READ = field(st.just(""))


def all_of(parts: Sequence[Part]) -> Part:
    """Parts in a row; what may not stand there is what is wrong in one of them."""
    good = [part.good for part in parts]
    readable = [index for index, part in enumerate(parts) if part is not NOT_READ]
    bad = [st.tuples(*good[:index], parts[index].bad, *good[index + 1 :]) for index in readable]
    return Part(st.tuples(*good).map(flat), st.one_of(bad).map(flat))


def flat(groups: Sequence[Sequence[Any]]) -> list[Any]:
    return [value for group in groups for value in group]


def columns(least: int) -> Part:
    """Serials, payloads and seconds: columns of one length, each of its own type."""
    cell = all_of([SERIAL, BYTES, SECONDS])
    rows = st.lists(cell.good, min_size=max(least, 1), max_size=9)
    good = (rows if least else rows | st.just([])).map(turned)

    @st.composite
    def spoilt(draw: st.DrawFn) -> list[Any]:
        table = draw(rows)
        found = turned(table)
        column = draw(st.integers(0, 2))
        match draw(st.sampled_from(["cell", "cell", "length", "type"])):
            case "cell":
                table[draw(st.integers(0, len(table) - 1))] = draw(cell.bad)
                return turned(table)
            case "length":
                found[column] = found[column] * 2 if draw(st.booleans()) else found[column][1:]
            case _:
                found[column] = draw(st.sampled_from([7, None, {}, "text", b"bytes"]))
        return found

    return Part(good, spoilt() if not least else spoilt() | st.just([[], [], []]))


def turned(table: Sequence[Sequence[Any]]) -> list[list[Any]]:
    return [[row[column] for row in table] for column in range(3)]


FAILED, TIMED_OUT, CANCELLED, GIVEN_BACK, RETURNED = range(1, 6)
OUTCOMES = {
    RETURNED: [NOT_READ, BYTES, NOT_READ, SECONDS],
    FAILED: [TEXT, MESSAGE, TRACE, SECONDS],
    TIMED_OUT: [NOT_READ, NOT_READ, NOT_READ, SECONDS],
    CANCELLED: [NOT_READ, TEXT, NOT_READ, field(st.just(0.0), NAN, -1.0, 0, None)],
    GIVEN_BACK: [NOT_READ, NOT_READ, NOT_READ, field(st.just(0.0), NAN, -1.0, 0, None)],
}
ANSWER = [
    all_of([SERIAL, field(st.just(code), 0, 6, True, float(code), "5", None), *parts, SECONDS])
    for code, parts in OUTCOMES.items()
]


def some_answers() -> Part:
    good = st.lists(st.sampled_from(ANSWER).flatmap(lambda one: one.good), max_size=6)
    wrong = st.one_of([one.bad for one in ANSWER]) | st.sampled_from([[], 7, None, [1] * 6, [1] * 8])
    spoilt = st.tuples(good, wrong, good).map(lambda found: [*found[0], found[1], *found[2]])
    return Part(st.tuples(good), st.tuples(spoilt | st.sampled_from([7, None, 0.5, "", b"", {}])))


DISPATCH, WITHDRAW, ANSWERS, LATER, IDLE, LETTER, RESULTS, PROGRESS = range(1, 9)
FORMAT = {
    DISPATCH: all_of([TEXT, TEXT, FLAGS, PRIORITY, columns(least=1)]),
    WITHDRAW: SERIAL,
    ANSWERS: some_answers(),
    LATER: SERIAL,
    IDLE: Part(st.just(()), st.nothing()),
    LETTER: all_of([TEXT, BYTES]),
    RESULTS: columns(least=0),
    PROGRESS: all_of([SERIAL, FRACTION, TEXT]),
}
RECORDS = st.sampled_from([ANSWERS, *FORMAT]).flatmap(lambda kind: FORMAT[kind].good.map(lambda found: [kind, *found]))
"""What may be written."""


@st.composite
def wrong_records(draw: st.DrawFn) -> Any:
    """What may not be: one field is wrong, missing or too many, or the record is none."""
    record = draw(RECORDS)
    match draw(st.sampled_from(["field", "field", "field", "field", "kind", "fewer", "more", "none"])):
        case "field":
            kind = draw(st.sampled_from([kind for kind in FORMAT if kind != IDLE]))
            return [kind, *draw(FORMAT[kind].bad)]
        case "kind":
            return [draw(st.sampled_from([0, 9, -1, True, 1.0, 2.0, "1", None, [1]])), *record[1:]]
        case "fewer":
            return record[:-1]
        case "more":
            return [*record, draw(st.sampled_from([0, 1, "", None]))]
        case _:
            return draw(st.sampled_from([7, None, "text", b"bytes", {}, {1: 2}, True]))


class Row(NamedTuple):
    """A record, or the part of one that has a field for each of its values."""

    parts: Sequence[Part]
    record: Callable[[list[Any]], list[Any]]


def answer_of(code: int) -> Callable[[list[Any]], list[Any]]:
    return lambda found: [ANSWERS, [[found[0], code, *found[1:]]]]


ROWS = [
    Row([TEXT, TEXT, FLAGS, PRIORITY], lambda found: [DISPATCH, *found, [1], [b""], [0.5]]),
    Row([SERIAL, BYTES, SECONDS], lambda found: [DISPATCH, "", "", 0, 0, *([value] for value in found)]),
    Row([SERIAL], lambda found: [WITHDRAW, *found]),
    *(Row([SERIAL, *parts, SECONDS], answer_of(code)) for code, parts in OUTCOMES.items()),
    Row([SERIAL], lambda found: [LATER, *found]),
    Row([TEXT, BYTES], lambda found: [LETTER, *found]),
    Row([SERIAL, BYTES, SECONDS], lambda found: [RESULTS, *([value] for value in found)]),
    Row(
        [SERIAL, BYTES, SECONDS],
        lambda found: [RESULTS, *([value, good] for value, good in zip(found, (1, b"", 0.5), strict=True))],
    ),
    Row([SERIAL, FRACTION, TEXT], lambda found: [PROGRESS, *found]),
]


def raw(*records: object, name: object = "sip-1", incarnation: object = 3) -> bytes:
    return b"\x02" + msgpack.packb((name, incarnation, records))


def meaning(record: Sequence[Any], receiver: Peer) -> Any:
    """What a record of the format says."""
    match list(record):
        case [1, handler, label, flags, priority, serials, payloads, deadlines]:
            bits = [flags >> bit & 1 == 1 for bit in range(4)]
            kind = Kind(handler, label, bits[0], priority, receiver if bits[1] else None, bits[3])
            rows = zip(serials, payloads, deadlines, strict=True)
            return Dispatch([Job(SIP, serial, kind, payload, ends_at) for serial, payload, ends_at in rows], bits[2])
        case [2, serial]:
            return Withdraw(serial)
        case [3, answers]:
            return Answers([(one[0], outcome(*one[1:6]), one[6]) for one in answers])
        case [4, serial]:
            return Later(serial)
        case [5]:
            return Idle()
        case [6, topic, body]:
            return Letter(topic, body)
        case [7, serials, payloads, took_s]:
            rows = zip(serials, payloads, took_s, strict=True)
            return Answers([(serial, Returned(payload, SIP, took), took) for serial, payload, took in rows])
        case [8, serial, fraction, says]:
            return Progress(serial, fraction, says)
    raise AssertionError(record)


def outcome(code: int, first: Any, second: Any, third: Any, took_s: float) -> Any:
    return {
        FAILED: lambda: Failed(first, second, SIP, took_s, third),
        TIMED_OUT: lambda: TimedOut(took_s),
        CANCELLED: lambda: Cancelled(second),
        GIVEN_BACK: lambda: None,
        RETURNED: lambda: Returned(second, SIP, took_s),
    }[code]()


REASONS = {"another version", "ValueError", "TypeError", "UnicodeDecodeError", "ExtraData", "FormatError", "StackError"}


def refused(data: bytes, known: Mapping[tuple[str, int], Peer] = NOBODY) -> bool:
    """Whether a frame is refused, and says of which sort its fault is, without a word of what stands in it."""
    found = decode(data, WORKER, known, MOST)
    assert isinstance(found, Frame | Malformed)
    if isinstance(found, Frame):
        return False
    assert found.reason in REASONS
    event(found.reason)
    return True


# -- what agrees with the format --------------------------------------------------------------------------------------


@given(st.lists(RECORDS, max_size=4), st.sampled_from([WORKER, Peer("worker-3", 1)]))
def test_a_frame_of_the_format_says_what_it_says(records: list[Any], receiver: Peer) -> None:
    """A directed job is directed at whoever receives it: no frame can direct anything elsewhere."""
    frame = decode(raw(*records), receiver, {}, MOST)
    assert frame == Frame(SIP, [meaning(record, receiver) for record in records])
    for word in frame.words:
        if isinstance(word, Dispatch):
            assert len({id(job.kind) for job in word.jobs}) == 1, "jobs of one record share their kind"
            assert all(job.origin is frame.sender for job in word.jobs)


@settings(max_examples=200)
@given(st.lists(RECORDS, max_size=4))
def test_what_a_frame_says_is_written_as_the_format_has_it(records: list[Any]) -> None:
    """Processes of two builds may meet in one pool: whoever changes what is written here counts the version up."""
    words = [Results(*record[1:]) if record[0] == RESULTS else meaning(record, WORKER) for record in records]
    assert encode(SIP, words) == raw(*records)


@given(st.text("abcXYZ_-09", min_size=1, max_size=MAX_NAME), st.integers(1, LAST) | st.sampled_from([1, LAST]))
def test_a_frame_is_of_its_sender(name: str, incarnation: int) -> None:
    sender = Peer(name, incarnation)
    data = encode(sender, [Idle()])
    frame = decode(data, WORKER, {}, MOST)
    assert frame == Frame(sender, [Idle()])
    known = {(name, incarnation): sender, ("else", 1): SIP}
    assert decode(data, WORKER, known, MOST).sender is sender, "one that is known is the same object"
    assert len(encode(sender, [])) <= OVERHEAD_BYTES


@given(st.lists(RECORDS, max_size=2), st.integers(-2, 2))
def test_a_frame_over_the_limit_is_not_looked_at(records: list[Any], more: int) -> None:
    data = raw(*records)
    assert (decode(data, WORKER, {}, len(data) + more) == Malformed("too large")) == (more < 0)


# -- what differs -----------------------------------------------------------------------------------------------------


@given(st.sampled_from(ROWS).flatmap(lambda row: st.tuples(st.just(row), all_of(row.parts).good)))
def test_no_field_takes_what_may_not_stand_there(found: tuple[Row, list[Any]]) -> None:
    row, values = found
    assert not refused(raw(row.record(values)))
    for index, part in enumerate(row.parts):
        for never in part.never:
            assert refused(raw(row.record([*values[:index], never, *values[index + 1 :]]))), (index, never)


@settings(max_examples=700)
@given(st.lists(RECORDS, max_size=2), wrong_records(), st.lists(RECORDS, max_size=2))
def test_a_frame_with_one_wrong_record_is_refused_whole(before: list[Any], wrong: Any, after: list[Any]) -> None:
    assert refused(raw(*before, wrong, *after))


@given(
    st.lists(RECORDS, max_size=1),
    st.sampled_from(["", "../etc", "a.b", "é", "sip 1", "sip-1\n", "n" * (MAX_NAME + 1), b"sip-1", 7, None, {}, ["n"]]),
    st.sampled_from([0, -1, LAST + 1, True, 1.0, "1", None, {}]),
)
def test_a_frame_of_nobody_is_refused(records: list[Any], name: object, incarnation: object) -> None:
    assert refused(raw(*records, name=name))
    assert refused(raw(*records, incarnation=incarnation))
    assert refused(raw(*records, incarnation=incarnation), {("sip-1", 1): SIP}), "nor is it taken for one that is known"
    assert not refused(raw(*records))


@given(st.sampled_from([7, None, True, 0.5, "", b"", {}, "text"]))
def test_what_is_no_list_of_records_is_refused(records: object) -> None:
    assert refused(b"\x02" + msgpack.packb(("sip-1", 3, records)))


@given(st.lists(RECORDS, max_size=2), st.integers(0, 255))
def test_another_version_is_not_read(records: list[Any], version: int) -> None:
    data = bytes([version]) + raw(*records)[1:]
    assert (decode(data, WORKER, {}, MOST) == Malformed("another version")) == (version != 2)
    assert decode(b"", WORKER, {}, MOST) == Malformed("another version")


@given(st.lists(RECORDS, max_size=2), st.integers(1, 9))
def test_a_frame_that_is_cut_or_goes_on_is_refused(records: list[Any], count: int) -> None:
    data = raw(*records)
    assert refused(data[:-count])
    assert refused(data + b"\x00" * count)


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=8) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=20,
)


@given(st.binary(max_size=300), JUNK, JUNK, JUNK)
def test_nothing_raises(data: bytes, name: object, incarnation: object, records: object) -> None:
    for frame in (
        b"\x02" + data,
        b"\x02" + b"\x91" * 5000,
        b"\x02" + msgpack.packb(name),
        b"\x02" + msgpack.packb((name, incarnation, records)),
        b"\x02" + msgpack.packb(("sip-1", 3, records)),
    ):
        refused(frame)


@given(st.lists(RECORDS, min_size=1, max_size=3), st.integers(0, 10_000), st.binary(min_size=1, max_size=4))
def test_no_damage_to_a_good_frame_raises(records: list[Any], at: int, damage: bytes) -> None:
    data = bytearray(raw(*records))
    at %= len(data)
    data[at : at + len(damage)] = damage
    refused(bytes(data))


@given(st.sampled_from(["a word", 7, None, ("Idle",), Peer("sip-1", 3)]))
def test_only_words_and_what_ends_a_job_are_written(other: Any) -> None:
    said = re.escape(repr(other))
    with pytest.raises(AssertionError, match=said):
        encode(SIP, [other])
    lost = WorkerLost(WORKER, "killed")
    with pytest.raises(AssertionError, match=re.escape(repr(lost))):
        encode(SIP, [Answers([(1, lost, 0.0)])])


# -- sizes ------------------------------------------------------------------------------------------------------------


WIDE = st.integers(0, MAX_TEXT).map(lambda count: WIDEST * count)
PAYLOADS = st.lists(st.integers(0, 2000).map(lambda count: b"x" * count), min_size=1, max_size=20)
LARGE_OUTCOMES = st.one_of(
    st.builds(Returned, st.integers(0, 9000).map(lambda count: b"x" * count), st.just(SIP), st.just(1e300)),
    st.builds(Failed, WIDE, WIDE.map(lambda wide: wide * 4), st.just(SIP), st.just(1e9), WIDE.map(lambda one: one * 9)),
    st.builds(Cancelled, WIDE),
    st.builds(TimedOut, st.just(1e300)),
    st.none(),
)
LARGE_WORDS = st.one_of(
    st.builds(lambda payloads: Results([LAST] * len(payloads), payloads, [1e300] * len(payloads)), PAYLOADS),
    st.lists(LARGE_OUTCOMES, max_size=4).map(lambda found: Answers([(LAST, one, 1e300) for one in found])),
    st.builds(Letter, WIDE, st.integers(0, 2000).map(lambda count: b"x" * count)),
    st.builds(Progress, st.just(LAST), st.just(1.0), WIDE),
    st.sampled_from([Idle(), Later(LAST), Withdraw(LAST)]),
)
"""Words whose texts and numbers take as many bytes as they can."""


def nbytes(word: Any) -> int:
    return len(encode(SIP, [word])) - len(encode(SIP, []))


def parts_of(word: Any) -> tuple[int, int]:
    """How many records are in a word, one in another; and how many jobs or results in columns."""
    match word:
        case Answers(answers):
            return len(answers) + 1, 0
        case Results(serials):
            return 1, len(serials)
        case Dispatch(jobs):
            return 1, len(jobs)
        case _:
            return 1, 0


@given(LARGE_WORDS)
def test_a_word_fits_in_the_size_that_is_told_and_that_is_near_the_real_one(word: Any) -> None:
    """What is told to be larger than it is may be refused, though there is room for it."""
    records, jobs = parts_of(word)
    assert nbytes(word) <= size_of(word) <= nbytes(word) + records * OVERHEAD_BYTES + jobs * PER_JOB_BYTES


@given(WIDE, WIDE, PAYLOADS, st.booleans())
def test_jobs_fit_in_the_size_that_is_told_whatever_they_are_called(
    handler: str, label: str, payloads: list[bytes], flag: bool
) -> None:
    def jobs(handler: str, label: str) -> Dispatch:
        kind = Kind(handler, label, flag, -(2**31), WORKER if flag else None, flag)
        return Dispatch([Job(SIP, LAST, kind, payload, 1e300) for payload in payloads], flag)

    word, widest = jobs(handler, label), jobs(WIDEST * MAX_TEXT, WIDEST * MAX_TEXT)
    assert nbytes(word) <= nbytes(widest) <= size_of(word)
    assert size_of(word) <= nbytes(widest) + OVERHEAD_BYTES + len(payloads) * PER_JOB_BYTES


# -- texts and names --------------------------------------------------------------------------------------------------


@given(
    st.text(st.characters(), max_size=40) | st.text("ab", max_size=40) | st.text("a\udce9\ud800", max_size=40),
    st.integers(1, 40),
)
def test_a_text_is_cut_only_beyond_its_limit_and_its_lone_surrogates_are_spelled_out(text: str, limit: int) -> None:
    kept = text if len(text) <= limit else text[: limit - 1] + "…"
    spelled = "".join(f"\\u{ord(one):04x}" if "\ud800" <= one <= "\udfff" else one for one in kept)
    assert clean(text, limit) == spelled[:limit]
    assert clean(text, limit).encode().decode() == clean(text, limit)
    event("cut" if len(text) > limit else "spelled out" if spelled != text else "as it was")


@given(st.text("abcXYZ_-09", max_size=MAX_NAME + 2), st.sampled_from(["", "", "", ".", "/", "é", " ", "\n", "\0"]))
def test_a_name_is_of_letters_and_digits_that_a_file_may_be_called_by(name: str, more: str) -> None:
    assert is_name(name + more) == (0 < len(name + more) <= MAX_NAME and not more)
