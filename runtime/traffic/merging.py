"""One load by several generators: how it is divided among them, and how what they tell becomes one story."""

from __future__ import annotations

from array import array
from collections import Counter
from dataclasses import fields, replace

from runtime.traffic.offer import Counts, Ended, Frame, Plan, Progress


def divided(plan: Plan, among: int) -> list[Plan]:
    """The plans of so many generators, which together offer what the plan says.

    Each sends every `among`-th request, as it were: their schedules lie in between each other by chance, since they
    do not start in the same microsecond.
    """
    if among == 1:
        return [plan]
    return [
        replace(plan, rate_per_s=plan.rate_per_s / among, seed=plan.seed + number, run=f"{plan.run}g{number}")
        for number in range(among)
    ]


class Merging:
    """Takes in what generators tell, and tells it as one.

    Args:
        among: how many there are.
    """

    def __init__(self, among: int) -> None:
        self._progress: list[Progress | None] = [None] * among
        self._ended: list[Ended] = []

    def take(self, generator: int, frame: Frame) -> Frame | None:
        """What one of them tells; the frame for all, which for an end is None until it is the last one's."""
        match frame:
            case Progress():
                self._progress[generator] = frame
                return self._all(frame)
            case Ended():
                self._ended.append(frame)
                return ended_together(self._ended) if len(self._ended) == len(self._progress) else None

    def _all(self, latest: Progress) -> Progress:
        known = [each for each in self._progress if each is not None]
        return Progress(
            elapsed_s=max(each.elapsed_s for each in known),
            sent=sum(each.sent for each in known),
            answered=sum(each.answered for each in known),
            retransmitted=sum(each.retransmitted for each in known),
            fast_s=latest.fast_s,
            slow_s=latest.slow_s,
        )


def ended_together(ends: list[Ended]) -> Ended:
    """The ends of several runs as one: numbers are added up, of times and lags the worst counts."""
    return Ended(
        counts=_counted([each.counts for each in ends]),
        lost=sum(each.lost for each in ends),
        window_s=max(each.window_s for each in ends),
        lag_p99_s=max(each.lag_p99_s for each in ends),
        lag_max_s=max(each.lag_max_s for each in ends),
        real_time=all(each.real_time for each in ends),
        send_errors=sum(each.send_errors for each in ends),
        waiting_slow=sum(each.waiting_slow for each in ends),
        lost_fast_s=array("d", [wait for each in ends for wait in each.lost_fast_s]),
        lost_slow_s=array("d", [wait for each in ends for wait in each.lost_slow_s]),
    )


def _counted(counts: list[Counts]) -> Counts:
    names = [field.name for field in fields(Counts) if field.name != "statuses"]
    statuses: Counter[int] = Counter()
    for each in counts:
        statuses.update(each.statuses)
    return Counts(**{name: sum(getattr(each, name) for each in counts) for name in names}, statuses=dict(statuses))
