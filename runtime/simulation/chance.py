"""Chance from a seed: the same draws on every machine and with every version of Python.

The generator is SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014). It is small, and
a stream can be split: what one part of a run draws changes nothing for the others, so a plan keeps its shape when a
part of it is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypeVar

_MASK: Final = 2**64 - 1
_STEP: Final = 0x9E3779B97F4A7C15
_T = TypeVar("_T")


class Chance:
    """A stream of draws.

    Args:
        seed: any integer; its lowest 64 bits count.
    """

    def __init__(self, seed: int) -> None:
        self._state = seed & _MASK

    def bits(self) -> int:
        """64 bits."""
        self._state = (self._state + _STEP) & _MASK
        return _mixed(self._state)

    def below(self, limit: int) -> int:
        """An integer of 0 up to but not including `limit`, which is at least 1."""
        return self.bits() % limit

    def between(self, least: float, most: float) -> float:
        """A number of `least` up to `most`."""
        return least + (most - least) * (self.bits() >> 11) / 2**53

    def happens(self, share: float) -> bool:
        """True in that share of the cases, 0.0 to 1.0."""
        return (self.bits() >> 11) / 2**53 < share

    def pick(self, items: Sequence[_T]) -> _T:
        """One of the items, of which there is at least one."""
        return items[self.below(len(items))]

    def split(self, number: int) -> Chance:
        """A stream of its own, by its number; it takes nothing from this one."""
        return Chance(_mixed(self._state ^ _mixed((number + 1) * _STEP & _MASK)))


def _mixed(bits: int) -> int:
    bits = ((bits ^ (bits >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    bits = ((bits ^ (bits >> 27)) * 0x94D049BB133111EB) & _MASK
    return bits ^ (bits >> 31)
