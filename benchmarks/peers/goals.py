"""What layby is to reach in each row, and whether it does.

A goal is held against what a peer does in the same run. OpenSIPS is in no Debian; where it is not there, and for peers
that are not, what was measured of them on another machine stands in for it: 2 cores, shared with the load, 4 SIP
processes, rates within 30 %. CPU times of that machine are first brought to this one, by what Kamailio needs on both.
The verdict says which it was.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

Figures = Mapping[str, float]
"""Of one server in one row, by name."""

RECORDED: Final[dict[str, dict[str, dict[str, float]]]] = {
    "options": {
        "opensips": {"cpu_s": 0.118},
        "kamailio-fm": {"cpu_s": 0.095},
        "kamailio": {"cpu_s": 0.26},
        "kamailio-python-fm": {"cpu_s": 0.117},
        "kamailio-python": {"cpu_s": 0.43},
    },
    "stateful": {
        "opensips": {"cpu_s": 0.41, "rate_per_s": 35_800},
        "kamailio-fm": {"cpu_s": 0.35},
        "kamailio": {"cpu_s": 0.73},
        "kamailio-python-fm": {"cpu_s": 0.47},
        "kamailio-python": {"cpu_s": 0.77},
        "sippy": {"cpu_s": 4.3},
    },
    "mi": {
        "opensips": {"cpu_s": 0.167, "rate_per_s": 74_600},
        "kamailio-fm": {"cpu_s": 0.112},
        "kamailio": {"cpu_s": 0.168},
    },
    "async": {"opensips": {"cpu_s": 1.41, "rate_per_s": 12_500, "p99_ms": 8.7}},
    "launch": {"opensips": {"cpu_s": 2.0, "rate_per_s": 8_900}},
    "slow": {
        "opensips": {"fast_p99_ms": 71.6, "slow_p99_ms": 139.0, "blocking_fast_p99_ms": 71.0},
        "kamailio": {"fast_p99_ms": 0.14, "slow_p99_ms": 113.0},
    },
    "calls-300": {
        "opensips": {"cpu_s": 0.45},
        "kamailio-fm": {"cpu_s": 0.40},
        "kamailio": {"cpu_s": 0.64},
        "kamailio-python-fm": {"cpu_s": 0.40},
        "kamailio-python": {"cpu_s": 0.94},
    },
    "calls-1000": {
        "opensips": {"cpu_s": 0.27},
        "kamailio-fm": {"cpu_s": 0.26},
        "kamailio": {"cpu_s": 0.55},
        "kamailio-python-fm": {"cpu_s": 0.27},
        "kamailio-python": {"cpu_s": 0.70},
    },
    "parked": {"opensips": {"bytes_each": 7_000}},
}
"""What was measured elsewhere, by row, server and figure."""

_YARDSTICKS: Final = ("kamailio-fm", "kamailio")
"""The first of them first, but for what has the allocator of the second."""


@dataclass(frozen=True, slots=True)
class Goal:
    """One thing to reach.

    Args:
        key: the figure that it is about.
        words: what is wanted.
        times: the figure is to be at most so many times what it is compared with; or at least, where more is better.
        peers: with whom it is compared, the first of them that was measured; with nobody, the server itself.
        other: with which figure; by default the same one.
        fixed: a number to compare with in place of any of these.
        more: whether more is better.
    """

    key: str
    words: str
    times: float = 1.0
    peers: tuple[str, ...] = ()
    other: str | None = None
    fixed: float | None = None
    more: bool = False


GOALS: Final[dict[str, tuple[Goal, ...]]] = {
    "options": (
        Goal("cpu_s", "CPU at most 2 times OpenSIPS's", 2.0, ("opensips",)),
        Goal("cpu_s", "CPU at most that of Kamailio with a Python script", peers=("kamailio-python",)),
    ),
    "stateful": (Goal("cpu_s", "CPU at most OpenSIPS's", peers=("opensips",)),),
    "mi": (Goal("cpu_s", "CPU at most 2 times OpenSIPS's", 2.0, ("opensips",)),),
    "async": (
        Goal("rate_per_s", "rate at least OpenSIPS's", peers=("opensips",), more=True),
        Goal("cpu_s", "CPU at most OpenSIPS's", peers=("opensips",)),
        Goal("p99_ms", "p99 at most OpenSIPS's", peers=("opensips",)),
    ),
    "launch": (
        Goal("rate_per_s", "rate at least OpenSIPS's", peers=("opensips",), more=True),
        Goal("cpu_s", "CPU at most OpenSIPS's", peers=("opensips",)),
    ),
    "slow": (
        Goal("fast_p99_ms", "fast p99 at most 1.5 times Kamailio's", 1.5, ("kamailio", "kamailio-fm")),
        Goal("fast_p99_ms", "fast p99 at most 1/100 of the blocking form's", 0.01, other="blocking_fast_p99_ms"),
        Goal("slow_p99_ms", "slow p99 at most 60 ms", fixed=60.0),
    ),
    "calls-300": (Goal("cpu_s", "CPU at most Kamailio's as installed", peers=("kamailio",)),),
    "calls-1000": (Goal("cpu_s", "CPU at most Kamailio's as installed", peers=("kamailio",)),),
    "order": (Goal("out_of_order", "never out of order", fixed=0.0),),
    "parked": (
        Goal("bytes_each", "under 2 KiB each beside the message", fixed=2_048.0),
        Goal("flatness", "resumed as fast when many are parked, within a fifth", fixed=0.8, more=True),
    ),
    "start": (Goal("start_s", "under 1 s", fixed=1.0),),
}


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a goal is met.

    Args:
        goal: which.
        value: what was measured.
        limit: what it was held against.
        source: where that is from.
    """

    goal: Goal
    value: float
    limit: float
    source: str

    @property
    def is_met(self) -> bool:
        """Whether it is."""
        return self.value >= self.limit if self.goal.more else self.value <= self.limit

    @property
    def factor(self) -> float:
        """How many times better it has to get; 1 and less when it is met."""
        above, below = (self.limit, self.value) if self.goal.more else (self.value, self.limit)
        if below:
            return above / below
        return math.inf if above else 1.0

    def words(self) -> str:
        """In a few words: met, or missed by how much."""
        if self.is_met:
            return "met"
        return "missed" if math.isinf(self.factor) else f"missed by {self.factor:.2f} times"


def judge(row: str, name: str, measured: Mapping[str, Figures]) -> list[Verdict | str]:
    """Hold a server's figures in one row against the goals.

    Args:
        row: which.
        name: the server.
        measured: the medians of all servers that could be measured.

    Returns:
        a verdict for each goal, or in words why there is none.
    """
    return [_judge(row, goal, name, measured) for goal in GOALS.get(row, ())]


def _judge(row: str, goal: Goal, name: str, measured: Mapping[str, Figures]) -> Verdict | str:
    mine = measured.get(name, {})
    if goal.key not in mine:
        return f"{goal.words}: not measured"
    if goal.fixed is not None:
        return Verdict(goal, mine[goal.key], goal.fixed, "")
    found = _reference(row, goal, mine, measured)
    if found is None:
        return f"{goal.words}: nothing to compare with"
    value, source = found
    return Verdict(goal, mine[goal.key], goal.times * value, source)


def _reference(row: str, goal: Goal, mine: Figures, measured: Mapping[str, Figures]) -> tuple[float, str] | None:
    key = goal.other or goal.key
    if not goal.peers:
        return (mine[key], "") if key in mine else None
    for peer in goal.peers:
        if key in measured.get(peer, {}):
            return measured[peer][key], f"{peer} in this run"
    return _elsewhere(row, goal.peers[0], key, measured)


def _elsewhere(row: str, peer: str, key: str, measured: Mapping[str, Figures]) -> tuple[float, str] | None:
    recorded = RECORDED.get(row, {}).get(peer, {}).get(key)
    if recorded is None:
        return None
    scale = _scale(row, peer, measured) if key == "cpu_s" else None
    if scale is None:
        return recorded, f"{peer} elsewhere"
    return recorded * scale[0], f"{peer} elsewhere, brought here by {scale[1]}"


def _scale(row: str, peer: str, measured: Mapping[str, Figures]) -> tuple[float, str] | None:
    as_installed = peer in ("kamailio", "kamailio-python")
    for name in reversed(_YARDSTICKS) if as_installed else _YARDSTICKS:
        here, there = measured.get(name, {}).get("cpu_s"), RECORDED.get(row, {}).get(name, {}).get("cpu_s")
        if here and there:
            return here / there, name
    return None
