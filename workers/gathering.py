"""Several jobs and one wait: the outcomes come together, in the order of the asking."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeAlias

from msgspec import Struct

from workers.jobs import Job, Kind, Outcome
from workers.node import Node

GatheredAll: TypeAlias = Callable[[list[Job], list[Outcome]], None]
"""Told once, from a later turn of the loop, how each of the jobs ended."""


class Wanted(Struct, frozen=True):
    """One of the jobs to submit; the kind comes from `Node.kind`."""

    kind: Kind
    payload: bytes


def gather(
    node: Node, wanted: Sequence[Wanted], timeout_s: float, settled: GatheredAll, *, through_pause: bool = False
) -> list[Job]:
    """Submit jobs that run at the same time, as far as there are workers, and be told once when all have ended.

    One that fails stops no other; whoever no longer wants any of them cancels each.

    Args:
        node: whose jobs they are.
        wanted: the jobs, at least one.
        timeout_s: after how many seconds each of them is TimedOut.
        settled: told all outcomes, in the order of ``wanted``.
        through_pause: tell it even while the node is paused.

    Returns:
        The jobs, in the order of ``wanted``.

    Raises:
        ValueError: nothing is wanted, or the time limit is not finite.
        RuntimeError: the node is closed.
    """
    if not wanted:
        raise ValueError("nothing to wait for")
    jobs: list[Job] = []
    outcomes: dict[int, Outcome] = {}

    def one_settled(index: int, _: Job, outcome: Outcome) -> None:
        outcomes[index] = outcome
        if len(outcomes) == len(wanted):
            settled(jobs, [outcomes[place] for place in range(len(wanted))])

    for index, one in enumerate(wanted):
        told = partial(one_settled, index)
        jobs.append(node.submit_kind(one.kind, one.payload, timeout_s, told, through_pause))
    return jobs
