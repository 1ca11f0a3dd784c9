"""What a process writes down of itself, as data; and the bytes of it.

A recording is a head of fixed length and then records, each behind its length. Who writes counts a record only when it
is all there, so that of a process that was killed everything up to its last moment can be read.
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple, TypeAlias

import msgspec
from msgspec import Struct

MAGIC: Final = b"laybytr1"
COUNTS_AT: Final = len(MAGIC)
COUNTS: Final = struct.Struct("<QQQ")
"""Bytes of records, records, and records that found no room."""
_LENGTH: Final = struct.Struct("<H")
_WHO_AT: Final = COUNTS_AT + COUNTS.size
RECORDS_AT: Final = 512
MOST_TEXT: Final = 120
"""Characters of a text that is written down."""
_ENCODER: Final = msgspec.msgpack.Encoder()


class Who(Struct, frozen=True, array_like=True):
    """Whose recording it is.

    Args:
        order: the id of the order.
        name, incarnation, pid, slot: the process.
        title: its kind, as `ps` calls it.
        since_ns: when it began to write.
        born: whether that was its birth, so that nothing can have come before.
    """

    order: str
    name: str
    incarnation: int
    pid: int
    slot: int
    title: str
    since_ns: int
    born: bool = False

    @property
    def peer(self) -> str:
        """The process in this life, e.g. ``sip-1.1``."""
        return f"{self.name}.{self.incarnation}"


class _Record(Struct, frozen=True, array_like=True, tag=True):
    """All times are in nanoseconds: `at` of CLOCK_MONOTONIC, `took` from there."""


class Message(_Record, frozen=True, tag=1):
    """A message and all that it led to in this turn.

    Args:
        label: see `order.label_of`.
        call: its Call-ID, or what stands for it.
        waited: for how long it had lain in the socket; 0 where nobody knows.
        hops: how often it was handed over before.
    """

    at: int
    took: int
    label: str
    call: str
    waited: int = 0
    hops: int = 0


class Run(_Record, frozen=True, tag=2):
    """A run of a route, up to its end or its parking."""

    at: int
    took: int
    kind: str
    name: str
    ended: str


class Stretch(_Record, frozen=True, tag=3):
    """From the beginning of a statement to that of the next one.

    In a script in Python, what one statement calls: `called` is its name.
    """

    at: int
    took: int
    file: str
    line: int
    column: int
    called: str = ""


class Command(_Record, frozen=True, tag=4):
    """An MI command that was run here; `code` 0 for a result. `later`: it answered later, and others ran meanwhile."""

    at: int
    took: int
    name: str
    code: int
    later: bool = False


class Sent(_Record, frozen=True, tag=5):
    """A message that was sent; `label` as of a `Message`."""

    at: int
    took: int
    label: str


class Asked(_Record, frozen=True, tag=6):
    """A job was submitted."""

    at: int
    job: str
    label: str


class Parked(_Record, frozen=True, tag=7):
    """A context was put aside, to wait for that job, the first of several, or for a future of that name."""

    at: int
    job: str
    label: str
    file: str
    line: int


class Resumed(_Record, frozen=True, tag=8):
    """What came of jobs was heard, and what followed was run: a resume route, or a report.

    Args:
        jobs: which ones.
        outcomes: how each ended, in a word.
        workers: who ran each; empty where nobody did.
    """

    at: int
    took: int
    jobs: list[str]
    outcomes: list[str]
    workers: list[str]
    reports: bool = False


class Began(_Record, frozen=True, tag=9):
    """A job began to run here."""

    at: int
    job: str
    label: str


class Later(_Record, frozen=True, tag=10):
    """A job that began here goes on beside others."""

    at: int
    job: str


class Over(_Record, frozen=True, tag=11):
    """A job that began here has ended."""

    at: int
    job: str


class Reloaded(_Record, frozen=True, tag=12):
    """A newer script was looked for; `generation` is what runs now."""

    at: int
    took: int
    generation: int


class Died(_Record, frozen=True, tag=13):
    """Another process was heard to have ended."""

    at: int
    peer: str
    reason: str


class Ended(_Record, frozen=True, tag=14):
    """This process stopped writing, because it was told to or because it ends."""

    at: int


class Given(_Record, frozen=True, tag=15):
    """A message was given to another process; `label` and `call` as of a `Message`, `hops` as it has them there."""

    at: int
    label: str
    call: str
    hops: int


Record: TypeAlias = (
    Message
    | Run
    | Stretch
    | Command
    | Sent
    | Given
    | Asked
    | Parked
    | Resumed
    | Began
    | Later
    | Over
    | Reloaded
    | Died
    | Ended
)
_DECODER: Final = msgspec.msgpack.Decoder(Record)


class Recorded(NamedTuple):
    """One process's recording.

    Args:
        who: whose it is.
        records: in the order of their ends.
        dropped: how many more there would be, had there been room.
    """

    who: Who
    records: list[Record]
    dropped: int


def head_of(who: Who) -> bytes:
    """The beginning of a recording that has no records yet.

    Raises:
        ValueError: its texts are too long.
    """
    packed = _ENCODER.encode(who)
    head = MAGIC + COUNTS.pack(0, 0, 0) + _LENGTH.pack(len(packed)) + packed
    if len(head) > RECORDS_AT:
        raise ValueError("the name of the process is too long")
    return head.ljust(RECORDS_AT, b"\0")


def packed(record: Record) -> bytes:
    """A record, behind its length."""
    data = _ENCODER.encode(record)
    return _LENGTH.pack(len(data)) + data


def written(head: bytes) -> int:
    """How many bytes of a recording are written so far, by its first `RECORDS_AT`."""
    return RECORDS_AT + int(COUNTS.unpack_from(head, COUNTS_AT)[0]) if len(head) == RECORDS_AT else 0


def read_recording(data: bytes) -> Recorded:
    """Read a recording, as far as it was written.

    Raises:
        ValueError: it is none.
    """
    if len(data) < RECORDS_AT or not data.startswith(MAGIC):
        raise ValueError("not a recording")
    used, count, dropped = COUNTS.unpack_from(data, COUNTS_AT)
    (length,) = _LENGTH.unpack_from(data, _WHO_AT)
    try:
        start = _WHO_AT + _LENGTH.size
        who = msgspec.msgpack.decode(data[start : start + length], type=Who)
        records = _records(data, min(len(data), RECORDS_AT + used))
    except (msgspec.DecodeError, struct.error) as error:
        raise ValueError(f"not a recording: {error}") from None
    return Recorded(who, records, dropped + count - len(records))


def _records(data: bytes, end: int) -> list[Record]:
    found: list[Record] = []
    at = RECORDS_AT
    while at + _LENGTH.size <= end:
        (length,) = _LENGTH.unpack_from(data, at)
        at += _LENGTH.size
        if at + length > end:
            break
        found.append(_DECODER.decode(data[at : at + length]))
        at += length
    return found


def clean(text: str) -> str:
    """A text from outside, short and without what a terminal or a page would act on."""
    cut = text if len(text) <= MOST_TEXT else text[: MOST_TEXT - 1] + "…"
    return cut if cut.isprintable() else "".join(one if one.isprintable() else "\ufffd" for one in cut)
