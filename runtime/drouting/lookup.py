"""The longest prefix of a number, and those above it, out of keys in their order.

All rules of one group and prefix are one entry. Its key is the group, as four bytes that sort like the numbers, and the
prefix. Its value starts with eight bytes that say which beginnings of its own prefix have entries of the same group:
bit n stands for the one of n characters.

The entry before or at a number is enough to find all that match: let P be a prefix of the number that has an entry.
P is not after the number, and what stands between the two begins with P. So P is the entry before or at the number, or
one of the beginnings that this entry lists. A look-up is one search in the tree and one read more for each match,
however many entries there are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Final, Protocol

import msgpack
import msgspec

from runtime.drouting.rules import MAX_PREFIX, Match, Rule
from runtime.drouting.timerec import Malformed, Moments, read_moments

MASK_BYTES: Final = 8
"""What stands before the rules in an entry."""
_GROUP_BYTES: Final = 4
_GROUP_BIAS: Final = 1 << 31
_KNOWN_TIMES: Final = 4096
"""Time recurrences that a process keeps read."""
_PACKER: Final = msgpack.Packer()
_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final = msgspec.msgpack.Decoder(list[Rule])


class Cursor(Protocol):
    """What is asked of an LMDB cursor."""

    def set_range(self, key: bytes, /) -> bool:
        """Go to the first entry at or after `key`."""

    def set_key(self, key: bytes, /) -> bool:
        """Go to the entry of `key`."""

    def prev(self) -> bool:
        """Go to the entry before."""

    def last(self) -> bool:
        """Go to the last entry."""

    def key(self) -> bytes:
        """Where it is."""

    def value(self) -> bytes:
        """What is there."""


def key_of(group: int, prefix: str) -> bytes:
    """The key of a group and prefix.

    Args:
        group: of 32 bits, signed.
        prefix: of ASCII characters; or a number, with any. What it has beyond `MAX_PREFIX` characters no entry has.
    """
    return (group + _GROUP_BIAS).to_bytes(_GROUP_BYTES) + prefix[:MAX_PREFIX].encode("utf-8", "surrogatepass")


def pack_rule(rule: Rule) -> bytes:
    """A rule as an entry has it."""
    return _ENCODER.encode(rule)


def entry(mask: bytes, packed: Sequence[bytes]) -> bytes:
    """The value of an entry.

    Args:
        mask: from `Above`.
        packed: its rules, each from `pack_rule`, the one to be tried first as the first.
    """
    header: bytes = _PACKER.pack_array_header(len(packed))
    return mask + header + b"".join(packed)


class Above:
    """Finds out which beginnings of a key have entries, from keys that come in their order."""

    def __init__(self) -> None:
        self._path: list[bytes] = []

    def mask(self, key: bytes) -> bytes:
        """The first bytes of the entry of `key`, which is after all keys before."""
        path = self._path
        while path and not key.startswith(path[-1]):
            path.pop()
        mask = sum([1 << (len(one) - _GROUP_BYTES) for one in path])
        path.append(key)
        return mask.to_bytes(MASK_BYTES)


def entries(cursor: Cursor, group: int, number: str) -> Iterator[tuple[str, bytes]]:
    """The entries whose prefixes a number begins with, the longest first: each prefix, and its packed rules.

    Others may move the cursor meanwhile.
    """
    if not -_GROUP_BIAS <= group < _GROUP_BIAS:
        return
    wanted = key_of(group, number)
    if not (cursor.key() == wanted or cursor.prev() if cursor.set_range(wanted) else cursor.last()):
        return
    key, packed = cursor.key(), cursor.value()
    if key[:_GROUP_BYTES] != wanted[:_GROUP_BYTES]:
        return
    mask = int.from_bytes(packed[:MASK_BYTES])
    if wanted.startswith(key):
        yield number[: len(key) - _GROUP_BYTES], packed[MASK_BYTES:]
    while mask:
        length = mask.bit_length() - 1
        mask ^= 1 << length
        above = key[: _GROUP_BYTES + length]
        if wanted.startswith(above) and cursor.set_key(above):
            yield number[:length], cursor.value()[MASK_BYTES:]


def find(cursor: Cursor, group: int, number: str, now: float) -> Iterator[Match]:
    """The rules for a number that are valid at `now`, the best first: by longest prefix, then by priority.

    Args:
        now: seconds of the epoch.
    """
    for prefix, packed in entries(cursor, group, number):
        for rule in _DECODER.decode(packed):
            if not rule.timerec or _is_valid(rule.timerec, now):
                yield Match(rule, prefix)


def _is_valid(timerec: str, now: float) -> bool:
    moments = _moments(timerec)
    return moments is not None and moments.hold(now)


@lru_cache(_KNOWN_TIMES)
def _moments(timerec: str) -> Moments | None:
    try:
        return read_moments(timerec)
    except Malformed:
        return None  # it was not when it was loaded: the time zone has gone from this machine
