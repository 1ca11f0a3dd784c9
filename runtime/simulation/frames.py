"""Frames between the processes of a simulated machine: late as the plan says, in their order, lost with who dies."""

from __future__ import annotations

import itertools
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

from runtime.simulation import events
from runtime.simulation.agenda import Agenda
from runtime.simulation.events import Event
from runtime.simulation.plan import Plan
from runtime.simulation.turns import Living, Turns
from runtime.simulation.words import CHANNEL, Frame
from workers.jobs import Peer
from workers.wire import Frame as WireFrame
from workers.wire import decode


@dataclass(slots=True)
class _Frame:
    data: bytes
    number: int
    arrives_at: float
    lost: bool = False


_Way: TypeAlias = deque[_Frame]


class Frames:
    """All that is under way.

    Args:
        plan: how late they are.
        chance: the run's.
        agenda: the run's.
        turns: to whom they come.
        note: told of what happens.
    """

    def __init__(
        self, plan: Plan, chance: random.Random, agenda: Agenda, turns: Turns, note: Callable[[Event], None]
    ) -> None:
        self._least_s, self._most_s = plan.network.frame_s
        self._everything = plan.everything
        self._random = chance
        self._agenda = agenda
        self._turns = turns
        self._note = note
        self._numbers = itertools.count(1)
        self._ways: dict[tuple[str, str, int], _Way] = {}
        """By who sends, and the name and the incarnation of the other."""

    def send(self, source: Living, name: str, incarnation: int, data: bytes) -> None:
        """A process sends another one a frame."""
        way = self._ways.setdefault((source.spelled, name, incarnation), deque())
        arrives_at = self._agenda.now + self._random.uniform(self._least_s, self._most_s)
        if way:
            arrives_at = max(arrives_at, way[-1].arrives_at)
        frame = _Frame(data, next(self._numbers), arrives_at)
        way.append(frame)
        if self._everything:
            to = Peer(name, incarnation)
            what = _words_in(data, to)
            self._note(events.FrameSent(self._agenda.at_s, frame.number, source.spelled, f"{name}.{incarnation}", what))
        self._agenda.later(arrives_at, partial(self._arrive, way, name, incarnation))

    def lose(self, source: Living) -> None:
        """A process was killed: of what it has sent to each, some of the last frames have not left."""
        for (sender, _, _), way in self._ways.items():
            if sender == source.spelled and way:
                for frame in list(way)[self._random.randint(0, len(way)) :]:
                    frame.lost = True

    def _arrive(self, way: _Way, name: str, incarnation: int, now: float) -> None:
        frame = way.popleft()
        process = self._turns.find(name, incarnation)
        if frame.lost or process is None:
            if self._everything:
                self._note(events.FrameLost(self._agenda.at_s, frame.number))
            return
        if self._everything:
            self._note(events.FrameReceived(self._agenda.at_s, frame.number, process.spelled))
        self._turns.put(process, Frame(frame.data), CHANNEL)


def _words_in(data: bytes, to: Peer) -> str:
    match decode(data, to, {}, len(data)):
        case WireFrame(words=words):
            return ", ".join(type(word).__name__ for word in words)
        case _:
            return "malformed"
