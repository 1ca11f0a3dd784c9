"""Frames between processes: a version byte, then msgpack of ``[name, incarnation, [record, …]]``.

One frame carries everything that one process has to say to another in one turn of its loop. The sender stands in the
frame once; a job's origin is the sender of its Dispatch and a result's worker the sender of its Answers, so that no
frame can speak for somebody else. Nothing in a frame is evaluated, and a frame that is wrong anywhere is refused whole.

Jobs of one kind travel in one record, and so do results that came one after the other: what they have in common
stands there once and the rest in columns, which are written, read and checked at C's speed.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias, assert_never

import msgpack
from msgspec import Struct

from workers.jobs import Cancelled, Failed, Job, Kind, Peer, Returned, TimedOut
from workers.stimuli import Answer

VERSION = 2
_VERSION_BYTE = bytes([VERSION])

OVERHEAD_BYTES = 256
"""More than a frame's head, or any one record, takes besides its texts and its payload."""

PER_JOB_BYTES = 40
"""More than a job or a result takes in a record besides its payload."""

MAX_NAME = 64
"""The longest process name, in characters."""

MAX_TEXT = 512
"""The longest handler, label, topic, exception name or reason, in characters; longer ones are not sent."""

MAX_MESSAGE = 2048
"""The longest error message, in characters."""

MAX_TRACE = 8192
"""The longest traceback, in characters."""

_NAME = re.compile(rf"[A-Za-z0-9_-]{{1,{MAX_NAME}}}")
_DISPATCH, _WITHDRAW, _ANSWER, _LATER, _IDLE, _LETTER, _RESULTS, _PROGRESS = range(1, 9)
_FAILED, _TIMED_OUT, _CANCELLED, _GIVEN_BACK, _RETURNED = range(1, 6)
_IDEMPOTENT, _DIRECTED, _WEIGHED, _KILL = 1, 2, 4, 8
_MOST = 2**63


class Dispatch(Struct, frozen=True):
    """Run these, which are of one kind. ``weighed``: say so (`Later`) if they turn out to answer later."""

    jobs: Sequence[Job]
    weighed: bool


class Withdraw(Struct, frozen=True):
    """Nobody waits for the receiver's job of that serial any more."""

    serial: int


class Results(Struct, frozen=True):
    """Blocking handlers returned; how long each ran is how long it kept the worker from others, in seconds."""

    serials: list[int]
    payloads: list[bytes]
    elapsed_s: list[float]


class Answers(Struct, frozen=True):
    """Answers to Dispatches, as the dispatcher takes them."""

    answers: Sequence[Answer]


class Later(Struct, frozen=True):
    """The job has begun and occupies nobody until its answer."""

    serial: int


class Progress(Struct, frozen=True):
    """The job is so far: a fraction of 0 to 1, and what the handler says of it."""

    serial: int
    fraction: float
    text: str


class Idle(Struct, frozen=True):
    """The sender has nothing to do."""


class Letter(Struct, frozen=True):
    """Something for the floors above."""

    topic: str
    body: bytes


Word: TypeAlias = Dispatch | Withdraw | Results | Answers | Later | Progress | Idle | Letter


class Frame(Struct, frozen=True):
    """A frame that was understood. Results are read as Answers."""

    sender: Peer
    words: list[Word]


class Malformed(Struct, frozen=True):
    """A frame that was not, and why."""

    reason: str


def is_name(name: str) -> bool:
    """Whether a process may be called so: the name is a part of a file name."""
    return _NAME.fullmatch(name) is not None


def clean(text: str, limit: int = MAX_TEXT) -> str:
    """Make a text fit to be sent: bounded, and without lone surrogates."""
    if len(text) > limit:
        text = text[: limit - 1] + "…"
    return text if text.isascii() else text.encode(errors="backslashreplace").decode()[:limit]


def size_of(word: Word) -> int:
    """A number of bytes that the word certainly fits in."""
    match word:
        case Results():
            return OVERHEAD_BYTES + sum(map(len, word.payloads)) + PER_JOB_BYTES * len(word.serials)
        case Dispatch():
            payloads = sum([len(job.payload) for job in word.jobs])
            return OVERHEAD_BYTES + payloads + PER_JOB_BYTES * len(word.jobs) + 8 * MAX_TEXT
        case Answers():
            return OVERHEAD_BYTES + sum(_outcome_size(outcome) for _, outcome, _ in word.answers)
        case Letter():
            return OVERHEAD_BYTES + len(word.body) + 4 * len(word.topic)
        case Progress():
            return OVERHEAD_BYTES + 4 * len(word.text)
        case _:
            return OVERHEAD_BYTES


def _outcome_size(outcome: Returned | Failed | TimedOut | Cancelled | None) -> int:
    match outcome:
        case Returned():
            return OVERHEAD_BYTES + len(outcome.payload)
        case Failed():
            return OVERHEAD_BYTES + 4 * (len(outcome.kind) + len(outcome.message) + len(outcome.trace))
        case Cancelled():
            return OVERHEAD_BYTES + 4 * len(outcome.reason)
        case _:
            return OVERHEAD_BYTES


def encode(sender: Peer, words: Iterable[Word]) -> bytes:
    """Write one frame."""
    packed: bytes = msgpack.packb((sender.name, sender.incarnation, [_record(word) for word in words]))
    return _VERSION_BYTE + packed


def _record(word: Word) -> tuple[Any, ...]:
    match word:
        case Results():
            return (_RESULTS, word.serials, word.payloads, word.elapsed_s)
        case Dispatch():
            return _dispatch_record(word)
        case Answers(answers):
            records = [(serial, *_outcome_record(outcome), occupied_s) for serial, outcome, occupied_s in answers]
            return (_ANSWER, records)
        case Withdraw(serial):
            return (_WITHDRAW, serial)
        case Later(serial):
            return (_LATER, serial)
        case Progress(serial, fraction, text):
            return (_PROGRESS, serial, fraction, text)
        case Idle():
            return (_IDLE,)
        case Letter(topic, body):
            return (_LETTER, topic, body)
        case _:
            assert_never(word)


def _dispatch_record(word: Dispatch) -> tuple[Any, ...]:
    kind = word.jobs[0].kind
    flags = (_IDEMPOTENT if kind.idempotent else 0) | (_WEIGHED if word.weighed else 0) | (_KILL if kind.kill else 0)
    flags |= _DIRECTED if kind.to is not None else 0
    serials = [job.serial for job in word.jobs]
    payloads = [job.payload for job in word.jobs]
    deadlines = [job.deadline for job in word.jobs]
    return (_DISPATCH, kind.handler, kind.label, flags, kind.priority, serials, payloads, deadlines)


def _outcome_record(
    outcome: Returned | Failed | TimedOut | Cancelled | None,
) -> tuple[int, str, str | bytes, str, float]:
    match outcome:
        case Returned(payload, _, elapsed_s):
            return (_RETURNED, "", payload, "", elapsed_s)
        case Failed(kind, message, _, elapsed_s, trace):
            return (_FAILED, kind, message, trace, elapsed_s)
        case TimedOut(timeout_s):
            return (_TIMED_OUT, "", "", "", timeout_s)
        case Cancelled(reason):
            return (_CANCELLED, "", reason, "", 0.0)
        case None:
            return (_GIVEN_BACK, "", "", "", 0.0)
        case _:
            assert_never(outcome)


def decode(data: bytes, receiver: Peer, known: Mapping[tuple[str, int], Peer], max_bytes: int) -> Frame | Malformed:
    """Read one frame; never raises, whatever the bytes are.

    Args:
        data: the frame.
        receiver: this process, to which directed jobs are directed.
        known: peers by name and incarnation, so that one peer is one object (comparing these is then free).
        max_bytes: the largest frame that is read at all.
    """
    if len(data) > max_bytes:
        return Malformed("too large")
    if data[:1] != _VERSION_BYTE:
        return Malformed("another version")
    try:
        name, incarnation, records = msgpack.unpackb(memoryview(data)[1:], use_list=False)
        if type(incarnation) is not int:  # 1.0 and True would be found among the known as 1
            raise ValueError
        sender = known.get((name, incarnation)) or _peer(name, incarnation)
        return Frame(sender, [_word(record, sender, receiver) for record in _list(records)])
    except (ValueError, TypeError, KeyError, RecursionError, msgpack.UnpackException) as problem:
        # Not the problem's text: it can quote the frame.
        return Malformed(type(problem).__name__)


def _peer(name: Any, incarnation: int) -> Peer:
    if not (type(name) is str and is_name(name) and 0 < incarnation < _MOST):
        raise ValueError
    return Peer(name, incarnation)


def _word(record: Any, sender: Peer, receiver: Peer) -> Word:
    # Every branch unpacks exactly its fields; a wrong number is a ValueError. bool and int are told apart by type().
    kind = record[0] if type(record) is tuple and record else None
    if type(kind) is not int:
        raise ValueError
    if kind == _RESULTS:
        _, serials, payloads, elapsed_s = record
        _columns(serials, payloads, elapsed_s)
        if len(serials) == 1:
            return Answers([(serials[0], Returned(payloads[0], sender, elapsed_s[0]), elapsed_s[0])])
        return Answers(
            [
                (serial, Returned(payload, sender, took_s), took_s)
                for serial, payload, took_s in zip(serials, payloads, elapsed_s, strict=True)
            ]
        )
    if kind == _DISPATCH:
        return _dispatch(record, sender, receiver)
    if kind == _ANSWER:
        _, answers = record
        return Answers([_answer(answer, sender) for answer in _list(answers)])
    if kind == _WITHDRAW:
        _, serial = record
        _numbers(serial)
        return Withdraw(serial)
    if kind == _LATER:
        _, serial = record
        _numbers(serial)
        return Later(serial)
    if kind == _PROGRESS:
        _, serial, fraction, text = record
        _numbers(serial, fraction)
        if fraction > 1.0:
            raise ValueError
        return Progress(serial, fraction, _text(text))
    if kind == _LETTER:
        _, topic, body = record
        return Letter(_text(topic), _bytes(body))
    if kind == _IDLE and len(record) == 1:
        return Idle()
    raise ValueError


def _dispatch(record: tuple[Any, ...], sender: Peer, receiver: Peer) -> Dispatch:
    _, handler, label, flags, priority, serials, payloads, deadlines = record
    _columns(serials, payloads, deadlines)
    if not (serials and type(flags) is int and 0 <= flags <= 15 and type(priority) is int):
        raise ValueError
    kind = Kind(
        _text(handler),
        _text(label),
        flags & _IDEMPOTENT != 0,
        priority,
        receiver if flags & _DIRECTED else None,
        flags & _KILL != 0,
    )
    jobs = [
        Job(sender, serial, kind, payload, deadline)
        for serial, payload, deadline in zip(serials, payloads, deadlines, strict=True)
    ]
    return Dispatch(jobs, flags & _WEIGHED != 0)


def _columns(serials: Any, payloads: Any, seconds: Any) -> None:
    """Refuse columns that are not of one length, or hold anything of another type or out of range."""
    if not (type(serials) is type(payloads) is type(seconds) is tuple):
        raise ValueError
    if not len(serials) == len(payloads) == len(seconds):
        raise ValueError
    if len(serials) == 1:  # the common case when there is little to do
        _numbers(serials[0], seconds[0])
        _bytes(payloads[0])
        return
    if not serials:
        return
    if not (set(map(type, serials)) == {int} and set(map(type, payloads)) == {bytes}):
        raise ValueError
    if not (min(serials) >= 0 and max(serials) < _MOST and set(map(type, seconds)) == {float}):
        raise ValueError
    # A sum, because min() and max() do not see a NaN.
    if not (min(seconds) >= 0.0 and math.isfinite(sum(seconds))):
        raise ValueError


def _answer(answer: Any, sender: Peer) -> Answer:
    serial, code, first, second, third, elapsed_s, occupied_s = answer
    _numbers(serial, elapsed_s, occupied_s)
    return (serial, _outcome(code, first, second, third, elapsed_s, sender), occupied_s)


def _outcome(
    code: Any, first: Any, second: Any, third: Any, elapsed_s: float, sender: Peer
) -> Returned | Failed | TimedOut | Cancelled | None:
    if type(code) is not int:
        raise ValueError
    if code == _RETURNED:
        return Returned(_bytes(second), sender, elapsed_s)
    if code == _FAILED:
        return Failed(_text(first), _text(second, MAX_MESSAGE), sender, elapsed_s, _text(third, MAX_TRACE))
    if code == _TIMED_OUT:
        return TimedOut(elapsed_s)
    if code == _CANCELLED:
        return Cancelled(_text(second))
    if code == _GIVEN_BACK:
        return None
    raise ValueError


def _numbers(serial: Any, seconds: Any = 0.0, more_seconds: Any = 0.0) -> None:
    if not (type(serial) is int and 0 <= serial < _MOST):
        raise ValueError
    if not (type(seconds) is type(more_seconds) is float):
        raise ValueError
    if not (0.0 <= seconds < math.inf and 0.0 <= more_seconds < math.inf):
        raise ValueError


def _text(value: Any, limit: int = MAX_TEXT) -> str:
    if type(value) is str and len(value) <= limit:
        return value
    raise ValueError


def _list(value: Any) -> tuple[Any, ...]:
    # Anything else that is empty could be gone through, too.
    if type(value) is tuple:
        return value
    raise ValueError


def _bytes(value: Any) -> bytes:
    if type(value) is bytes:
        return value
    raise ValueError
