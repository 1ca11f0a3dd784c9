"""The attendant of a simulated machine: the decisions of `workers.supervision`, and what they lead to in the machine.

It forks processes and hears of their deaths as `workers.tree` does it, in virtual time, and its words take a while. The
shared memory is kept by the real `Caretaker`, and the number of workers by the real `Overseer`.
"""

from __future__ import annotations

import itertools
import os
import random
from collections import deque
from collections.abc import Callable
from functools import partial
from math import inf
from typing import Final, NoReturn, assert_never

from runtime import roles
from runtime.attendant import Caretaker
from runtime.house import House
from runtime.simulation import events
from runtime.simulation.agenda import Agenda
from runtime.simulation.birth import Doom, live
from runtime.simulation.events import Event
from runtime.simulation.plan import CrashAt, Plan
from runtime.simulation.processes import spelled
from runtime.simulation.turns import Living, Turns
from runtime.simulation.words import CONTROL, Line, Told, make_line
from workers import control
from workers.elastic import ElasticPolicy
from workers.jobs import Peer
from workers.overseer import Overseer
from workers.policy import DEFAULT_LIMITS
from workers.supervision import RestartPolicy, SeatView, Supervisor, seats_of
from workers.tree_events import (
    Admit,
    Announce,
    Begin,
    Condemned,
    Dismiss,
    Effect,
    Ended,
    Fork,
    Forked,
    GrowAsked,
    Kill,
    Refuse,
    Report,
    RetireAsked,
    SaidReady,
    Seat,
    Status,
    Stimulus,
    StopAsked,
    Tick,
)

ATTENDANT_PID: Final = 999
_BIRTH_S: Final = 0.005
"""From a fork to the first thing that the new process does."""
_SEEN_S: Final = (0.001, 0.004)
"""How long it takes until it sees that a process is dead."""


class Attendant:
    """See the module.

    Args:
        plan: how many processes there are, and how long words take.
        house: what they share.
        chance: the run's.
        agenda: the run's.
        turns: where new processes go.
        note: told of what happens.
    """

    def __init__(
        self,
        plan: Plan,
        house: House,
        chance: random.Random,
        agenda: Agenda,
        turns: Turns,
        note: Callable[[Event], None],
    ) -> None:
        self._plan = plan
        self._house = house
        self._random = chance
        self._agenda = agenda
        self._turns = turns
        self._note = note
        self._pids = itertools.count(ATTENDANT_PID + 1)
        self._caretaker = Caretaker(house, lambda pid: None)
        most = house.settings.mi_workers_max
        seats = seats_of(
            [
                (roles.SIP, plan.sip, plan.sip, 0, plan.workers == 0),
                (roles.WORKER, plan.workers, most, plan.sip, True),
                (roles.MI, 1, 1, plan.sip + most, False),
            ]
        )
        self._elastic = most > plan.workers
        # Else crashes of the plan are no storm.
        policy = RestartPolicy() if plan.storms else RestartPolicy(storm_deaths=1 << 30)
        self._supervisor = Supervisor(seats, policy, house.settings.drain_s)
        elastic = ElasticPolicy(quick_share=DEFAULT_LIMITS.quick_share)
        self._overseer = Overseer(
            self, roles.WORKER, plan.workers, most, house.board, policy=elastic, clock=lambda: agenda.now
        )
        self._dooms = Doom(item for item in plan.items if isinstance(item, CrashAt))
        self._told_at: dict[Peer, float] = {}
        self._ticks_at = inf
        self._feeding: deque[Stimulus] | None = None

    def begin(self) -> None:
        """Fork everybody."""
        self._feed(Begin(self._agenda.now))
        if self._elastic:
            self._look(self._agenda.now)

    def _look(self, now: float) -> None:
        self._agenda.later(now + self._overseer.look(), self._look)

    def stop(self) -> None:
        """The server is told to stop."""
        self._feed(StopAsked(self._agenda.now))

    # What its overseer asks of it: see `workers.overseer.Tree`.

    def views(self) -> list[SeatView]:
        """Every place as the supervisor has it."""
        return self._supervisor.views()

    def pid_of(self, peer: Peer) -> int | None:
        """Nobody measures how much memory a process of the machine uses."""
        return None

    def grow(self, role: str) -> None:
        """Start one more."""
        self._feed(GrowAsked(role, self._agenda.now))

    def retire(self, peer: Peer) -> None:
        """Have a process finish and leave."""
        self._feed(RetireAsked(peer, self._agenda.now))

    def kill(self, peer: Peer, reason: str) -> None:
        """Kill a process, which is no crash of its own."""
        self._feed(Condemned(peer, reason, self._agenda.now))

    # What processes say, and how they end.

    def hear(self, process: Living, data: bytes) -> None:
        """A process says something, in its turn."""
        match control.decode(data):
            case control.ReadySaid():
                # Not before that turn is over: it waits for nothing yet.
                self._agenda.later(self._agenda.now, lambda now: self._feed(SaidReady(process.peer, now)))
            case control.LastWords(reason):
                process.words = reason
            case _:
                pass

    def lose(self, process: Living, status: Status) -> None:
        """A process is dead, which is seen a moment later."""
        seen_at = self._agenda.now + self._random.uniform(*_SEEN_S)
        self._agenda.later(seen_at, lambda now: self._feed(Ended(process.peer, status, now, process.words)))

    def _feed(self, stimulus: Stimulus) -> None:
        if self._feeding is not None:
            self._feeding.append(stimulus)
            return
        self._feeding = deque([stimulus])
        while self._feeding:
            for effect in self._supervisor.handle(self._feeding.popleft()):
                self._perform(effect)
        self._feeding = None
        due = self._supervisor.next_deadline()
        if due is not None and due < self._ticks_at:
            self._ticks_at = due
            self._agenda.later(due, self._tick)

    def _tick(self, now: float) -> None:
        self._ticks_at = inf
        self._feed(Tick(now))

    def _perform(self, effect: Effect) -> None:
        match effect:
            case Fork(seat, peer):
                self._fork(seat, peer)
            case Announce(to, word):
                self._tell(to, control.encode(word))
            case Kill(peer):
                process = self._turns.find(peer.name, peer.incarnation)
                if process is not None:
                    self._turns.kill(process, "killed by the attendant")
            case Report(event):
                self._caretaker(event)
            case Admit() | Refuse() | Dismiss():
                pass  # a server has no guests
            case _:
                assert_never(effect)

    def _tell(self, to: Peer, data: bytes) -> None:
        at = max(self._agenda.now + self._random.uniform(*self._plan.network.told_s), self._told_at.get(to, 0.0))
        self._told_at[to] = at
        self._agenda.later(at, partial(self._told, to, Told(data)))

    def _told(self, to: Peer, word: Told, now: float) -> None:
        process = self._turns.find(to.name, to.incarnation)
        if process is not None:
            self._turns.put(process, word, CONTROL)

    def _fork(self, seat: Seat, peer: Peer) -> None:
        ours, theirs = make_line(self._plan.patience_s)
        pid = next(self._pids)
        real_pid = os.fork()
        if not real_pid:
            ours.close()
            self._turns.forget()
            self._live(theirs, peer, seat, pid)
        theirs.close()
        self._note(events.Started(self._agenda.at_s, spelled(peer)))
        assert ours.hear_waits() is not None, "it has not even begun"
        self._feed(Forked(peer, pid, self._agenda.now))
        self._turns.add(Living(peer, seat.slot, real_pid, ours, spelled(peer), self._agenda.now + _BIRTH_S))

    def _live(self, line: Line, peer: Peer, seat: Seat, pid: int) -> NoReturn:
        code = 1
        try:
            plan = self._plan
            code = live(line, peer, seat.slot, seat.role, self._house, pid, plan.seed, plan.everything, self._dooms)
        finally:
            os._exit(code & 0xFF)
