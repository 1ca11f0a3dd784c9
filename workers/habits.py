"""What jobs of each label usually take: learnt by each origin from the answers, and reckoned with before the next."""

from __future__ import annotations

import math

from msgspec import Struct

from workers.policy import Limits, slow_s

_NEW_WEIGHT = 0.2
"""Weight of the newest running time in a label's moving average."""

_LEAST_S = 10e-6
"""What running anything costs a worker; less is a handler that answers later and occupies nobody."""

_GRAIN = 2.0**20
"""Expected seconds are whole 2**-20ths (a microsecond), so that their sums are exact however often jobs come and go:
an empty worker reads as nothing, and equal workers as equal."""


class Usual(Struct, eq=False):
    """What jobs of one label usually take."""

    slow_s: float
    """What is more than this is slow."""
    expected_s: float
    """In whole grains; what is reckoned with."""
    usual_s: float | None = None
    slow: bool = False
    """Whether it is taken for slow, as what is not known yet is, too."""

    def learn(self, occupied_s: float) -> None:
        sample = 0.0 if occupied_s <= 0.0 else occupied_s if occupied_s > _LEAST_S else _LEAST_S
        if self.usual_s is None:
            self.usual_s = sample
            return
        self.usual_s += _NEW_WEIGHT * (sample - self.usual_s)
        if sample == 0.0 and self.usual_s < _LEAST_S:
            self.usual_s = 0.0  # a label that turned to answering later would otherwise never reach nothing

    def settle(self) -> None:
        """To be called after the last of some lessons."""
        if self.usual_s is not None:
            self.expected_s = whole_grains(self.usual_s)
        self.slow = self.expected_s > self.slow_s


def whole_grains(seconds: float) -> float:
    """So many seconds, rounded up to what is reckoned with."""
    return math.ceil(seconds * _GRAIN) / _GRAIN


class Habits:
    """The usual times of the labels that were seen last.

    Args:
        limits: how many labels are remembered, what an unknown one is expected to take, and what is slow.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._unknown_s = whole_grains(limits.unknown_s)
        self._usual: dict[str, Usual] = {}

    def of(self, label: str) -> Usual:
        """What jobs of that label usually take, to be taught and read."""
        usual = self._usual.get(label)
        if usual is None:
            if len(self._usual) >= self._limits.max_labels:
                del self._usual[next(iter(self._usual))]
            usual = self._usual[label] = Usual(slow_s(self._limits), self._unknown_s)
            usual.settle()
        return usual

    def expected_s(self, label: str) -> float:
        """How long a job of that label is expected to occupy its worker, in seconds."""
        usual = self._usual.get(label)
        return self._unknown_s if usual is None else usual.expected_s
