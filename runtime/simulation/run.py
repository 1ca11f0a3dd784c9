"""What became of a run, as data."""

from __future__ import annotations

from typing import TypeAlias

import msgspec
from msgspec import Struct

from runtime.simulation.events import Event
from runtime.simulation.oracle import Exchange, Violation
from runtime.simulation.plan import Item, Plan


class Run(Struct, frozen=True, tag=True):
    """A run, up to where it is.

    Args:
        events: what happened; none where the plan wants no word of it.
        exchanges: what became of the callers' requests; likewise.
        held: what each process that lives holds, once the run is over.
        answers: the answers of the plan's MI commands, in the order in which they came.
        violations: the rules that it broke.
        parkings: how many contexts were parked.
        steps: how often a process was woken.
        reached: the numbers of the statements that were reached, where the plan wants to know; see `coverage`.
        faults: what went wrong on purpose, and how often.
    """

    events: list[Event]
    exchanges: list[Exchange]
    held: dict[str, dict[str, int]]
    answers: list[str]
    violations: list[Violation]
    parkings: int
    steps: int
    reached: list[int] = []
    faults: dict[str, int] = {}


class Failed(Struct, frozen=True, tag=True):
    """There is no run: the script cannot be loaded, or the simulation itself went wrong."""

    why: str


# What is asked of an interpreter that simulates.


class RunPlan(Struct, frozen=True, tag=True):
    """Run it from its beginning to its end."""

    plan: Plan


class Open(Struct, frozen=True, tag=True):
    """Begin a run, and wait for more: `Advance`, until `Finish`."""

    plan: Plan


class Advance(Struct, frozen=True, tag=True):
    """Let more happen, and time go on; the answer is what is new."""

    items: list[Item]
    until_s: float


class Finish(Struct, frozen=True, tag=True):
    """Let time go on to the end, and judge."""

    until_s: float


Order: TypeAlias = RunPlan | Open | Advance | Finish

_ENCODER = msgspec.json.Encoder()
_ORDERS: msgspec.json.Decoder[Order] = msgspec.json.Decoder(Order)
_OUTCOMES: msgspec.json.Decoder[Run | Failed] = msgspec.json.Decoder(Run | Failed)


def pack(word: Order | Run | Failed) -> bytes:
    """As one line, without its end."""
    return _ENCODER.encode(word)


def order_of(line: bytes) -> Order:
    """Read back what `pack` wrote."""
    return _ORDERS.decode(line)


def outcome_of(line: bytes) -> Run | Failed:
    """Read back what `pack` wrote."""
    return _OUTCOMES.decode(line)
