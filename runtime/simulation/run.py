"""What became of a run, as data."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from runtime.simulation.events import Event

if TYPE_CHECKING:
    from runtime.simulation.machine import Machine


class Exchange(Struct, frozen=True):
    """What became of one request of a caller.

    Args:
        finals: its final answers, each once.
        arrived: packets of it that came to the server.
        taken_by: the processes that have read one.
    """

    call_id: str
    method: str
    began_at_s: float
    finals: list[tuple[int, str]]
    arrived: int
    taken_by: list[str]
    cancelled: bool


class Run(Struct, frozen=True, tag=True):
    """A whole run."""

    events: list[Event]
    exchanges: list[Exchange]
    held: dict[str, str]
    answers: list[str]
    steps: int


class Failed(Struct, frozen=True, tag=True):
    """The simulation itself went wrong; ``why`` is for its authors."""

    why: str


def report(machine: Machine) -> Run:
    """A machine's run so far."""
    from runtime.simulation.clock import BOOT_S

    exchanges = [
        Exchange(
            call.call_id,
            call.method,
            round(call.request.began_at - BOOT_S, 9),
            call.request.finals,
            call.arrived,
            sorted(call.taken_by),
            call.cancel is not None,
        )
        for call in machine.side.calls
    ]
    return Run(machine.events, exchanges, machine.held, machine.answers, machine.steps)
