"""Which destination of a set is the next, and which ones follow it: OpenSIPS's algorithms. Chance is an argument."""

from __future__ import annotations

import itertools
import math
import zlib
from bisect import bisect_right
from collections.abc import Sequence
from typing import Final

from runtime.dispatching.destinations import State

_TRIES: Final = 8
"""How often a hash that meets a destination that is away is mixed anew, before all that are there draw lots."""
_MASK: Final = 0xFFFFFFFF
_STEP: Final = 0x9E3779B9


class Weights:
    """Shares of some destinations. Where all of them are 0 all are equal.

    Args:
        members: the destinations' places in their set.
        weights: of all in the set.
    """

    __slots__ = ("_members", "_shares", "_sums", "total")

    def __init__(self, members: Sequence[int], weights: Sequence[int]) -> None:
        shares = [weights[member] for member in members]
        if not any(shares):
            shares = [1] * len(shares)
        self._members = members
        self._shares = shares
        self._sums = list(itertools.accumulate(shares))
        self.total = self._sums[-1] if self._sums else 0

    def at(self, turn: int) -> int:
        """Who has the turn: each as many turns as its weight, one after the other, and then again. Not for nobody."""
        return self._members[bisect_right(self._sums, turn % self.total)]

    def nearest(self, seed: int) -> int:
        """Who draws the best lot, where each draws for itself: whoever else comes or goes, the others' lots stay.

        This is weighted rendezvous hashing. It looks at every member.
        """
        drawn = [
            (-math.log((_mixed(seed + member * _STEP) + 0.5) / (_MASK + 1)) / share, member)
            for member, share in zip(self._members, self._shares, strict=True)
            if share
        ]
        return min(drawn)[1]


class Chooser:
    """One set, as its destinations are at a moment.

    Args:
        weights: of each destination, in the set's order.
        states: of each.
        keep_last: whether the set's last destination is for when all others fail (flag ``d``).

    Attributes:
        active: the places of those that may be chosen, in order.
        last: the place of the one that comes after all others; None for none.
    """

    __slots__ = ("_all", "_of_active", "active", "last")

    def __init__(self, weights: Sequence[int], states: Sequence[int], *, keep_last: bool = False) -> None:
        members = range(len(weights))
        self.last: int | None = None
        if keep_last and len(members) > 1 and states[-1] == State.ACTIVE:
            self.last, members = len(weights) - 1, members[:-1]
        self.active = [member for member in members if states[member] == State.ACTIVE]
        if not self.active and self.last is not None:
            self.active, self.last = [self.last], None
        self._all = Weights(members, weights)
        self._of_active = Weights(self.active, weights)

    def by_hash(self, text: bytes) -> int:
        """Who belongs to a text: always the same, in every process, while it is there.

        When a destination goes away only what was its own goes elsewhere, spread over the others; when it comes back it
        has it again.
        """
        seed = zlib.crc32(text)
        for _ in range(_TRIES):
            found = self._all.at(_mixed(seed))
            if self._is_active(found):
                return found
            seed += _STEP
        return self._of_active.nearest(seed)

    def by_turn(self, turn: int) -> int:
        """Whose turn it is, of those that are there."""
        return self._of_active.at(turn)

    def by_chance(self, chance: float) -> int:
        """Who it is by lot; `chance` is from 0 to below 1."""
        return self._of_active.at(int(chance * self._of_active.total))

    def from_there(self, first: int, most: int) -> list[int]:
        """The first, those that follow it in the set's order and around, and the last; up to `most`."""
        at = bisect_right(self.active, first)
        return self._limited([first, *self.active[at:], *self.active[: max(0, at - 1)]], most)

    def by_load(self, loads: Sequence[int | None], most: int) -> list[int]:
        """Those that are there, the least loaded first, up to `most`.

        Args:
            loads: of each in `active`; None for one that is not to be used.
        """
        paired = [(load, member) for load, member in zip(loads, self.active, strict=True) if load is not None]
        return self._limited([member for _, member in sorted(paired)], most)

    def _limited(self, found: list[int], most: int) -> list[int]:
        return [*found, *([] if self.last is None else [self.last])][:most]

    def _is_active(self, member: int) -> bool:
        at = bisect_right(self.active, member)
        return at > 0 and self.active[at - 1] == member


def _mixed(value: int) -> int:
    """Each bit of a number of 32 bits made to depend on all others (the finalizer of MurmurHash3).

    CRCs alone would not do: what two texts with the same remainder become with another seed has the same remainder too.
    """
    value &= _MASK
    value = (value ^ value >> 16) * 0x85EBCA6B & _MASK
    value = (value ^ value >> 13) * 0xC2B2AE35 & _MASK
    return value ^ value >> 16
