"""What is to be recorded: the order that all processes follow, and which calls it means.

Calls are chosen by their Call-ID and not one message by one: every process comes to the same choice without a word, so
that of a chosen call everything is there, its replies, its BYE and what another process does for it, and of any other
nothing. Which ones it hits is mixed with a number of the order's own, so that no caller knows beforehand.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable
from typing import Final

import msgspec
from msgspec import Struct

MOST_BYTES: Final = 16 << 20
"""Of one process's recording of a running server: all of it is taken at once, by each process."""
LEAST_BYTES: Final = 64 << 10
LONGEST_S: Final = 3600.0
"""For how long a running server may be recorded."""
ALL: Final = 1 << 32
_HEADER: Final = b"\r\nCall-ID:"
_HEADER_LENGTH: Final = len(_HEADER)
_HEAD_ENDS: Final = b"\r\n\r\n"
_SPELT: Final = re.compile(rb"\r\n(?:call-id|i)[ \t]*:([^\r\n]*)", re.IGNORECASE)
_CSEQ: Final = re.compile(rb"\r\ncseq[ \t]*:[ \t]*[0-9]+[ \t]+([!-~]{1,32})", re.IGNORECASE)
_METHOD: Final = re.compile(rb"[A-Za-z0-9.!%*_+`'~-]{1,32}")


class Order(Struct, frozen=True):
    """What is to be recorded.

    Args:
        id: tells it from any other.
        began_ns, ends_ns: from when to when, in nanoseconds of CLOCK_MONOTONIC, which all processes share.
        epoch_ns: the time of day at `began_ns`.
        chosen: how many of 2^32 calls are recorded.
        seed: which ones, 32 bits.
        least_ns: a statement that takes less is left out.
        call_ids: whether Call-IDs are written down; else a number stands for each.
        bytes: the most that one process writes.
    """

    id: str
    began_ns: int
    ends_ns: int
    epoch_ns: int
    chosen: int = ALL
    seed: int = 0
    least_ns: int = 50_000
    call_ids: bool = False
    bytes: int = 4 << 20


def pack_order(order: Order) -> bytes:
    """As it lies in a file."""
    return msgspec.json.encode(order)


def read_order(data: bytes) -> Order:
    """Read it back.

    Raises:
        ValueError: it is none.
    """
    try:
        return msgspec.json.decode(data, type=Order)
    except msgspec.DecodeError as error:
        raise ValueError(f"not an order: {error}") from None


def chosen_of(share: float) -> int:
    """How many of 2^32 calls a share of 0 to 1 is."""
    return round(min(1.0, max(0.0, share)) * ALL)


def call_of(data: bytes) -> bytes:
    """The Call-ID of a message, by a look at its bytes; empty where it has none.

    Good enough to choose by, before anything is parsed: half a microsecond where the header is spelt as usual.
    """
    at = data.find(_HEADER)
    if at >= 0 and data.find(_HEAD_ENDS, 0, at) < 0:
        at += _HEADER_LENGTH
        return data[at : data.find(b"\r\n", at)].strip()
    return _unusual_call_of(data)


def _unusual_call_of(data: bytes) -> bytes:
    end = data.find(_HEAD_ENDS)
    found = _SPELT.search(data, 0, end + 2) if end >= 0 else _SPELT.search(data)
    return found[1].strip() if found else b""


def number_of(call_id: bytes, seed: int) -> int:
    """A call's number of 32 bits: whether it is chosen, and what stands for it where it is not to be named."""
    return zlib.crc32(call_id, seed)


def chooser(order: Order) -> Callable[[bytes], bool]:
    """Tells of a message, by its bytes, whether its call is chosen."""
    chosen, seed = order.chosen, order.seed
    if chosen >= ALL:
        return lambda data: True
    return lambda data: zlib.crc32(call_of(data), seed) < chosen


def label_of(data: bytes) -> str:
    """What a message is called: `INVITE`, `180 INVITE`; `?` for what is no message."""
    if data.startswith(b"SIP/2.0 "):
        status, method = data[8:11], _CSEQ.search(data)
        if not status.isdigit():
            return "?"
        return f"{status.decode()} {method[1].decode()}" if method else status.decode()
    found = _METHOD.match(data)
    return found[0].decode() if found and data[found.end() : found.end() + 1] == b" " else "?"
