"""Frames: what is written is read, and nothing else is."""

from __future__ import annotations

import msgpack
import pytest

from workers.jobs import Cancelled, Failed, Job, Kind, Peer, Returned, TimedOut, WorkerLost
from workers.wire import (
    MAX_MESSAGE,
    MAX_NAME,
    MAX_TEXT,
    MAX_TRACE,
    OVERHEAD_BYTES,
    PER_JOB_BYTES,
    VERSION,
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
PLAIN = Kind("pkg:fn", "dr_reload", idempotent=True, priority=-3)
DIRECTED = Kind("pkg:fn", "x", to=WORKER, kill=True)
MOST = 1 << 24

WORDS = [
    Dispatch([Job(SIP, 42, PLAIN, b"\x00payload", 12.5)], True),
    Dispatch([Job(SIP, 43, DIRECTED, b"", 0.0)], False),
    Dispatch([Job(SIP, serial, PLAIN, b"%d" % serial, serial / 4) for serial in range(50, 90)], True),
    Withdraw(42),
    Answers([(1, Returned(b"result", SIP, 0.25), 0.25)]),
    Answers([(2, Failed("KeyError", "'ünknown'", SIP, 0.5, "Traceback\n  …"), 0.5)]),
    Answers([(3, TimedOut(0.0), 0.0), (4, Cancelled("withdrawn"), 0.0), (5, None, 0.0)]),
    Later(42),
    Progress(42, 0.5, "rows ½"),
    Idle(),
    Letter("sip", b"body"),
]
LAST, WIDEST = 2**63 - 1, "\U0001f600"
LARGEST = [
    (
        Dispatch([Job(SIP, LAST, Kind(WIDEST * 512, WIDEST * 512, True, -(2**31)), b"x" * 300, 1e300)] * 16, True),
        OVERHEAD_BYTES + 16 * PER_JOB_BYTES,
    ),
    (
        Results([LAST] * 1000, [b"x" * number for number in range(1000)], [1e300] * 1000),
        OVERHEAD_BYTES + 1000 * PER_JOB_BYTES,
    ),
    (
        Answers([(LAST, Failed(WIDEST * 512, WIDEST * 2048, SIP, 1e9, WIDEST * 8192), 1e9)] * 3),
        4 * OVERHEAD_BYTES,
    ),
    (Answers([(LAST, Returned(b"x" * 100_000, SIP, 1e300), 1e300)]), 2 * OVERHEAD_BYTES),
    (Answers([(LAST, Cancelled(WIDEST * MAX_TEXT), 1e300)]), 2 * OVERHEAD_BYTES),
    (Progress(LAST, 1.0, WIDEST * MAX_TEXT), OVERHEAD_BYTES),
    (Letter(WIDEST * MAX_TEXT, b"x" * 1000), OVERHEAD_BYTES),
]
"""Words as large as they can be, and how much of the size that is told is not their texts and payloads."""

FORMAT = [
    (1, "pkg:fn", "dr_reload", 1 | 4, -3, [42], [b"\x00payload"], [12.5]),
    (1, "pkg:fn", "x", 2 | 8, 0, [43], [b""], [0.0]),
    (2, 42),
    (3, [(1, 5, "", b"result", "", 0.25, 0.25)]),
    (3, [(2, 1, "KeyError", "'ünknown'", "Traceback\n  …", 0.5, 0.5)]),
    (3, [(3, 2, "", "", "", 0.0, 0.0), (4, 3, "", "withdrawn", "", 0.0, 0.0), (5, 4, "", "", "", 0.0, 0.0)]),
    (4, 42),
    (8, 42, 0.5, "rows ½"),
    (5,),
    (6, "sip", b"body"),
    (7, [7, 9], [b"seven", b""], [0.25, 0.5]),
]


def raw(*records: object, name: object = "sip-1", incarnation: object = 3, version: int = VERSION) -> bytes:
    return bytes([version]) + msgpack.packb((name, incarnation, records))


def test_every_word_survives_the_wire() -> None:
    assert decode(encode(SIP, WORDS), WORKER, {}, MOST) == Frame(SIP, WORDS)


def test_the_format_of_version_2() -> None:
    """Processes of two builds may meet in one pool: whoever changes what is written here counts the version up."""
    words = [*WORDS[:2], *WORDS[3:], Results([7, 9], [b"seven", b""], [0.25, 0.5])]
    assert encode(SIP, words) == raw(*FORMAT, version=2)


def test_only_words_and_answers_are_written() -> None:
    with pytest.raises(AssertionError, match="'a word'"):
        encode(SIP, ["a word"])
    with pytest.raises(AssertionError, match="WorkerLost"):
        encode(SIP, [Answers([(1, WorkerLost(WORKER), 0.0)])])


def test_a_known_sender_is_the_same_object() -> None:
    frame = decode(encode(Peer("sip-1", 3), [Idle()]), WORKER, {("sip-1", 3): SIP}, MOST)
    assert isinstance(frame, Frame)
    assert frame.sender is SIP


def test_results_are_read_as_answers() -> None:
    """How long a blocking handler ran is how long it kept the worker from others."""
    results = Results([7, 9], [b"seven", b""], [0.25, 0.5])
    assert decode(encode(SIP, [results]), WORKER, {}, MOST) == Frame(
        SIP, [Answers([(7, Returned(b"seven", SIP, 0.25), 0.25), (9, Returned(b"", SIP, 0.5), 0.5)])]
    )
    alone = Results([7], [b"seven"], [0.25])
    assert decode(encode(SIP, [alone]), WORKER, {}, MOST) == Frame(
        SIP, [Answers([(7, Returned(b"seven", SIP, 0.25), 0.25)])]
    )


def test_a_directed_job_is_directed_at_its_receiver() -> None:
    """The name is not in the frame, so that no frame can direct anything elsewhere."""
    there = Peer("worker-3", 1)
    frame = decode(encode(SIP, [WORDS[1]]), there, {}, MOST)
    assert isinstance(frame, Frame)
    assert [job.kind.to for job in frame.words[0].jobs] == [there]


def test_jobs_of_one_record_share_their_kind() -> None:
    frame = decode(encode(SIP, [WORDS[2]]), WORKER, {}, MOST)
    assert isinstance(frame, Frame)
    assert len({id(job.kind) for job in frame.words[0].jobs}) == 1


@pytest.mark.parametrize("word", WORDS + [word for word, _ in LARGEST], ids=lambda word: type(word).__name__)
def test_a_word_fits_in_the_size_that_is_told(word) -> None:
    assert len(encode(SIP, [word])) <= OVERHEAD_BYTES + size_of(word)
    assert isinstance(decode(encode(SIP, [word]), WORKER, {}, MOST), Frame)


@pytest.mark.parametrize(("word", "spare"), LARGEST)
def test_the_size_that_is_told_is_near_the_real_one(word, spare: int) -> None:
    """What is told to be larger than it is may be refused, though there is room for it."""
    nbytes = len(encode(SIP, [word])) - len(encode(SIP, []))
    assert nbytes <= size_of(word) <= nbytes + spare


def test_the_head_of_a_frame_fits_in_the_overhead() -> None:
    sender = Peer("n" * MAX_NAME, LAST)
    data = encode(sender, [])
    assert len(data) <= OVERHEAD_BYTES
    assert decode(data, WORKER, {}, MOST) == Frame(sender, [])


def dispatch(**column: object) -> bytes:
    """A record of one job, with some of it replaced."""
    fields = {"handler": "h", "label": "l", "flags": 0, "priority": 0, "serials": [42], "payloads": [b"p"]}
    return raw((1, *{**fields, "deadlines": [1.0], **column}.values()))


def results(serials: object = (1,), payloads: object = (b"",), elapsed_s: object = (0.0,)) -> bytes:
    return raw((7, serials, payloads, elapsed_s))


def answer(
    serial: object = 1,
    code: object = 5,
    first: object = "",
    second: object = b"",
    third: object = "",
    elapsed_s: object = 0.0,
    occupied_s: object = 0.0,
) -> bytes:
    return raw((3, [(serial, code, first, second, third, elapsed_s, occupied_s)]))


def test_the_helpers_write_what_is_read() -> None:
    for good in (dispatch(), dispatch(flags=15), results(), answer(), raw((8, 1, 0.5, "rows"))):
        assert isinstance(decode(good, WORKER, {}, MOST), Frame)


NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "another version"),
        (b"\x01" + encode(SIP, [])[1:], "another version"),
        (encode(SIP, WORDS)[:-1], "ValueError"),
        (encode(SIP, WORDS) + b"\x00", "ExtraData"),
        (b"\x02\xc1", "FormatError"),
        (b"\x02" + b"\x91" * 5000, "StackError"),
        (b"\x02\xdd\xff\xff\xff\xff", "ValueError"),
        (raw(name="../etc"), "ValueError"),
        (raw(name=""), "ValueError"),
        (raw(name=b"sip-1"), "ValueError"),
        (raw(name={}), "TypeError"),
        (raw(incarnation=0), "ValueError"),
        (raw(incarnation=True), "ValueError"),
        (raw(incarnation=2**63), "ValueError"),
        (raw(7), "ValueError"),
        (raw(()), "ValueError"),
        (raw((99,)), "ValueError"),
        (raw((5, 1)), "ValueError"),
        (raw((True, 1)), "ValueError"),
        (raw((2, -1)), "ValueError"),
        (raw((2, 1.0)), "ValueError"),
        (raw((2, 1, 1)), "ValueError"),
        (raw((1, "h", "l", 0, 0, [42], [b"p"])), "ValueError"),
        (dispatch(handler=7), "ValueError"),
        (dispatch(handler="h" * 513), "ValueError"),
        (dispatch(label=b"l"), "ValueError"),
        (dispatch(flags=16), "ValueError"),
        (dispatch(flags=-1), "ValueError"),
        (dispatch(flags=True), "ValueError"),
        (dispatch(priority=0.5), "ValueError"),
        (dispatch(serials=[], payloads=[], deadlines=[]), "ValueError"),
        (dispatch(serials=[1, 2]), "ValueError"),
        (dispatch(payloads=[b"p", b"q"]), "ValueError"),
        (dispatch(deadlines=[]), "ValueError"),
        (dispatch(serials=42), "ValueError"),
        (dispatch(serials=b"x"), "ValueError"),
        (dispatch(payloads={"p": 1}), "ValueError"),
        (dispatch(serials=[-1]), "ValueError"),
        (dispatch(serials=[2**63]), "ValueError"),
        (dispatch(serials=[1.0]), "ValueError"),
        (dispatch(serials=[True]), "ValueError"),
        (dispatch(payloads=["text"]), "ValueError"),
        (dispatch(deadlines=[NAN]), "ValueError"),
        (dispatch(serials=[1, 2], payloads=[b"", b""], deadlines=[1.0, NAN]), "ValueError"),
        (dispatch(serials=[1, 2], payloads=[b"", b""], deadlines=[NAN, 1.0]), "ValueError"),
        (dispatch(serials=[1, 2**63], payloads=[b"", b""], deadlines=[1.0, 1.0]), "ValueError"),
        (dispatch(serials=[1, 2], payloads=[b"", "t"], deadlines=[1.0, 1.0]), "ValueError"),
        (dispatch(serials=[1, 2], payloads=[b"", b""], deadlines=[1.0, 1]), "ValueError"),
        (dispatch(deadlines=[INF]), "ValueError"),
        (dispatch(deadlines=[-INF]), "ValueError"),
        (dispatch(deadlines=[-1.0]), "ValueError"),
        (results(serials=[1, 2]), "ValueError"),
        (results(serials=[-1]), "ValueError"),
        (results(payloads=["text"]), "ValueError"),
        (results(elapsed_s=[NAN]), "ValueError"),
        (results(elapsed_s=[-1.0]), "ValueError"),
        (raw((7, [1], [b""])), "ValueError"),
        (raw((3, 1)), "ValueError"),
        (raw((3, {})), "ValueError"),
        (raw((3, [7])), "TypeError"),
        (raw((3, [(1, 5, "", b"", 0.0, 0.0)])), "ValueError"),
        (answer(code=9), "ValueError"),
        (answer(code=True), "ValueError"),
        (answer(code="5"), "ValueError"),
        (answer(serial=-1), "ValueError"),
        (answer(second="text"), "ValueError"),
        (answer(elapsed_s=-1.0), "ValueError"),
        (answer(occupied_s=NAN), "ValueError"),
        (answer(occupied_s=INF), "ValueError"),
        (answer(code=1, first="K", second="m" * (MAX_MESSAGE + 1)), "ValueError"),
        (answer(code=1, first="K", second="m", third="t" * (MAX_TRACE + 1)), "ValueError"),
        (answer(code=1, first=b"K", second="m"), "ValueError"),
        (answer(code=3, second=b"reason"), "ValueError"),
        (raw((8, 1, NAN, "")), "ValueError"),
        (raw((8, 1, -0.5, "")), "ValueError"),
        (raw((8, 1, 1.001, "")), "ValueError"),
        (raw((8, 1, 1, "")), "ValueError"),
        (raw((8, 1, 0.5, b"")), "ValueError"),
        (raw((8, -1, 0.5, "")), "ValueError"),
        (raw((6, "topic", "text")), "ValueError"),
    ],
)
def test_a_frame_that_is_wrong_anywhere_is_refused_whole(data: bytes, reason: str) -> None:
    assert decode(data, WORKER, {}, MOST) == Malformed(reason)


def test_a_frame_over_the_limit_is_not_looked_at() -> None:
    data = encode(SIP, [Letter("t", b"x" * 100)])
    assert isinstance(decode(data, WORKER, {}, len(data)), Frame)
    assert decode(data, WORKER, {}, len(data) - 1) == Malformed("too large")


def test_lone_surrogates_are_spelled_out() -> None:
    assert clean("caf\udce9") == "caf\\udce9"


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [("12345678", "12345678"), ("123456789", "1234567…"), ("éééééééé", "éééééééé"), ("ééééééééé", "ééééééé…")],
)
def test_a_text_is_cut_only_beyond_its_limit_and_shows_it(text: str, cleaned: str) -> None:
    assert clean(text, 8) == cleaned


@pytest.mark.parametrize(
    ("name", "good"),
    [
        ("sip-1", True),
        ("n" * MAX_NAME, True),
        ("n" * (MAX_NAME + 1), False),
        ("sip-1\n", False),
        ("a.b", False),
        ("a/b", False),
        ("", False),
        ("é", False),
    ],
)
def test_names(name: str, good: bool) -> None:
    assert is_name(name) is good
