"""Frames between processes: a version byte, then msgpack of ``[name, incarnation, [record, …]]``.

One frame carries everything that one process has to say to another in one turn of its loop. The sender stands in the
frame once; a job's origin is the sender of its Dispatch and a result's worker the sender of its Answer, so that no
frame can speak for somebody else. Nothing in a frame is evaluated, and a frame that is wrong anywhere is refused whole.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, assert_never

import msgpack

from workers.jobs import Cancelled, Failed, Job, JobId, Peer, Returned, TimedOut

VERSION = 1
_VERSION_BYTE = bytes([VERSION])

OVERHEAD_BYTES = 256
"""More than a frame's head, or any one record, takes besides its texts and its payload."""

MAX_NAME = 64
"""The longest process name, in characters."""

MAX_TEXT = 512
"""The longest handler, label, topic, exception name or reason, in characters; longer ones are not sent."""

MAX_MESSAGE = 2048
"""The longest error message, in characters."""

_NAME = re.compile(rf"[A-Za-z0-9_-]{{1,{MAX_NAME}}}")
_DISPATCH, _WITHDRAW, _ANSWER, _LATER, _IDLE, _LETTER = 1, 2, 3, 4, 5, 6
_RETURNED, _FAILED, _TIMED_OUT, _CANCELLED, _GIVEN_BACK = 0, 1, 2, 3, 4
_IDEMPOTENT, _DIRECTED, _WEIGHED = 1, 2, 4
_MOST = 2**63


@dataclass(frozen=True, slots=True)
class Dispatch:
    """Run this. ``weighed``: say so (`Later`) if the handler turns out to answer later."""

    job: Job
    weighed: bool


@dataclass(frozen=True, slots=True)
class Withdraw:
    """Nobody waits for the receiver's job of that serial any more."""

    serial: int


@dataclass(frozen=True, slots=True)
class Answer:
    """The one answer to a Dispatch; ``outcome`` None gives the job back unrun. Times in seconds."""

    serial: int
    outcome: Returned | Failed | TimedOut | Cancelled | None
    occupied_s: float


@dataclass(frozen=True, slots=True)
class Later:
    """The job has begun and occupies nobody until its Answer."""

    serial: int


@dataclass(frozen=True, slots=True)
class Idle:
    """The sender has nothing to do."""


@dataclass(frozen=True, slots=True)
class Letter:
    """Something for the floors above."""

    topic: str
    body: bytes


Word: TypeAlias = Dispatch | Withdraw | Answer | Later | Idle | Letter


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame that was understood."""

    sender: Peer
    words: list[Word]


@dataclass(frozen=True, slots=True)
class Malformed:
    """A frame that was not, and why."""

    reason: str


def is_name(name: str) -> bool:
    """Whether a process may be called so: the name is a part of a file name."""
    return _NAME.fullmatch(name) is not None


def clean(text: str, limit: int = MAX_TEXT) -> str:
    """Make a text fit to be sent: bounded, and without lone surrogates."""
    if len(text) > limit:
        text = text[: limit - 1] + "…"
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode("utf-8")[:limit]


def size_of(word: Word) -> int:
    """A number of bytes that the word certainly fits in."""
    match word:
        case Answer():
            return _outcome_size(word.outcome)
        case Dispatch():
            job = word.job
            return OVERHEAD_BYTES + len(job.payload) + 4 * (len(job.handler) + len(job.label))
        case Letter():
            return OVERHEAD_BYTES + len(word.body) + 4 * len(word.topic)
        case _:
            return OVERHEAD_BYTES


def _outcome_size(outcome: Returned | Failed | TimedOut | Cancelled | None) -> int:
    match outcome:
        case Returned():
            return OVERHEAD_BYTES + len(outcome.payload)
        case Failed():
            return OVERHEAD_BYTES + 4 * (len(outcome.kind) + len(outcome.message))
        case Cancelled():
            return OVERHEAD_BYTES + 4 * len(outcome.reason)
        case _:
            return OVERHEAD_BYTES


def encode(sender: Peer, words: Sequence[Word]) -> bytes:
    """Write one frame."""
    packed: bytes = msgpack.packb((sender.name, sender.incarnation, [_record(word) for word in words]))
    return _VERSION_BYTE + packed


def _record(word: Word) -> tuple[Any, ...]:
    match word:
        case Answer(serial, outcome, occupied_s):
            return (_ANSWER, serial, *_outcome_record(outcome), occupied_s)
        case Dispatch(job, weighed):
            directed = _DIRECTED if job.to is not None else 0
            flags = (_IDEMPOTENT if job.idempotent else 0) | directed | (_WEIGHED if weighed else 0)
            return (_DISPATCH, job.id.serial, job.handler, job.label, job.payload, job.deadline, flags, job.priority)
        case Withdraw(serial):
            return (_WITHDRAW, serial)
        case Later(serial):
            return (_LATER, serial)
        case Idle():
            return (_IDLE,)
        case Letter(topic, body):
            return (_LETTER, topic, body)
        case _:
            assert_never(word)


def _outcome_record(outcome: Returned | Failed | TimedOut | Cancelled | None) -> tuple[int, str, str | bytes, float]:
    match outcome:
        case Returned(payload, _, elapsed_s):
            return (_RETURNED, "", payload, elapsed_s)
        case Failed(kind, message, _, elapsed_s):
            return (_FAILED, kind, message, elapsed_s)
        case TimedOut(timeout_s):
            return (_TIMED_OUT, "", "", timeout_s)
        case Cancelled(reason):
            return (_CANCELLED, "", reason, 0.0)
        case None:
            return (_GIVEN_BACK, "", "", 0.0)
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
        sender = known.get((name, incarnation)) or _peer(name, incarnation)
        return Frame(sender, [_word(record, sender, receiver) for record in records])
    except (ValueError, TypeError, KeyError, RecursionError, msgpack.UnpackException) as problem:
        # Not the problem's text: it can quote the frame.
        return Malformed(type(problem).__name__)


def _peer(name: Any, incarnation: Any) -> Peer:
    if not (type(name) is str and is_name(name) and type(incarnation) is int and 0 < incarnation < _MOST):
        raise ValueError
    return Peer(name, incarnation)


def _word(record: Any, sender: Peer, receiver: Peer) -> Word:
    # Every branch unpacks exactly its fields; a wrong number is a ValueError. bool and int are told apart by type().
    kind = record[0] if type(record) is tuple and record else None
    if type(kind) is not int:
        raise ValueError
    if kind == _ANSWER:
        _, serial, code, first, second, elapsed_s, occupied_s = record
        _numbers(serial, elapsed_s, occupied_s)
        return Answer(serial, _outcome(code, first, second, elapsed_s, sender), occupied_s)
    if kind == _DISPATCH:
        return _dispatch(record, sender, receiver)
    if kind == _WITHDRAW:
        _, serial = record
        _numbers(serial)
        return Withdraw(serial)
    if kind == _LATER:
        _, serial = record
        _numbers(serial)
        return Later(serial)
    if kind == _LETTER:
        _, topic, body = record
        return Letter(_text(topic), _bytes(body))
    if kind == _IDLE and len(record) == 1:
        return Idle()
    raise ValueError


def _dispatch(record: tuple[Any, ...], sender: Peer, receiver: Peer) -> Dispatch:
    _, serial, handler, label, payload, deadline, flags, priority = record
    _numbers(serial, deadline)
    if not (type(flags) is int and 0 <= flags <= 7 and type(priority) is int):
        raise ValueError
    job = Job(
        JobId(sender, serial),
        _text(handler),
        _text(label),
        _bytes(payload),
        deadline,
        flags & _IDEMPOTENT != 0,
        priority,
        receiver if flags & _DIRECTED else None,
    )
    return Dispatch(job, flags & _WEIGHED != 0)


def _outcome(
    code: Any, first: Any, second: Any, elapsed_s: float, sender: Peer
) -> Returned | Failed | TimedOut | Cancelled | None:
    if type(code) is not int:
        raise ValueError
    if code == _RETURNED:
        return Returned(_bytes(second), sender, elapsed_s)
    if code == _FAILED:
        return Failed(_text(first), _text(second, MAX_MESSAGE), sender, elapsed_s)
    if code == _TIMED_OUT:
        return TimedOut(elapsed_s)
    if code == _CANCELLED:
        return Cancelled(_text(second))
    if code == _GIVEN_BACK:
        return None
    raise ValueError


def _numbers(serial: Any, *seconds: Any) -> None:
    if not (type(serial) is int and 0 <= serial < _MOST):
        raise ValueError
    for value in seconds:
        if not (type(value) is float and 0.0 <= value < math.inf):
            raise ValueError


def _text(value: Any, limit: int = MAX_TEXT) -> str:
    if type(value) is str and len(value) <= limit:
        return value
    raise ValueError


def _bytes(value: Any) -> bytes:
    if type(value) is bytes:
        return value
    raise ValueError
