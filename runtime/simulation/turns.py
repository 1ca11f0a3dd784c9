"""Whose turn it is in a simulated machine: its processes, what has come for each, and when it goes on.

A process gets a turn when something has come that it waits for, or when its time has come, unless it is stopped or
still busy with the turn before. It runs until it waits again, and says then what it has done meanwhile.
"""

from __future__ import annotations

import math
import os
import random
import signal
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final, Protocol

from runtime import roles
from runtime.simulation import events
from runtime.simulation.agenda import Agenda
from runtime.simulation.events import Event
from runtime.simulation.peers import Outgoing
from runtime.simulation.plan import Plan
from runtime.simulation.words import HANDOVER, UDP, Datagram, Grant, Input, Line, Output, Waits
from workers.jobs import Peer
from workers.reaping import reap
from workers.tree_events import Status

_AT_ONCE: Final = 4
"""Datagrams that a process finds in the socket when it is woken, at most."""
_IDLE_PART: Final = 0.5
"""Of those that are killed, so many are killed while they do nothing."""
_DOOMED_S: Final = 0.05
"""Who does nothing for so long is not waited for."""


@dataclass(eq=False, slots=True)
class Living:
    """A process that lives.

    Args:
        peer, slot: who it is.
        real_pid: the kernel's number of it.
        line: to it.
        spelled: its name in events.
        wake_at: when it goes on although nothing comes.
    """

    peer: Peer
    slot: int
    real_pid: int
    line: Line
    spelled: str
    wake_at: float
    inbox: list[Input] = field(default_factory=list)
    come: int = 0
    """What has come since it last ran, of `UDP` to `COMMANDS`."""
    watches: int = 0
    armed_at: float = math.inf
    """When the agenda thinks of it next because its time may have come."""
    stalled_until: float = 0.0
    busy_until: float = 0.0
    looks_at: float = 0.0
    """When it is considered again, because it was busy."""
    words: str = ""
    """Its last words."""
    doomed: bool = False
    """It is killed in the midst of what it does next."""
    dead: bool = False


class TookTurn(Protocol):
    """Told what a process did in its turn."""

    def __call__(self, process: Living, outputs: Sequence[Output]) -> None: ...


class Over(Protocol):
    """Told that a process is dead: of what, and whether it was killed here."""

    def __call__(self, process: Living, status: Status, why: str, killed: bool) -> None: ...


class Turns:
    """The processes of a run.

    Args:
        plan: how long they are busy, and how long one is waited for.
        chance: the run's.
        agenda: the run's.
        took_turn: told what a process did.
        over: told of each that is dead.
        note: told of what happens.

    Attributes:
        steps: how many turns there were.
    """

    def __init__(
        self,
        plan: Plan,
        chance: random.Random,
        agenda: Agenda,
        took_turn: TookTurn,
        over: Over,
        note: Callable[[list[Event]], None],
    ) -> None:
        self.steps = 0
        self._patience_s = plan.patience_s
        self._least_s, self._most_s = plan.turn_s
        self._random = chance
        self._agenda = agenda
        self._took_turn = took_turn
        self._on_over = over
        self._note = note
        self._living: dict[str, Living] = {}
        self._lying: deque[tuple[Datagram, Outgoing | None]] = deque()
        self._deaths_in_jobs = 0

    # Who lives.

    def add(self, process: Living) -> None:
        """One more, in the place of a dead one of that name if there was one."""
        self._living[process.peer.name] = process
        self._arm(process)

    def named(self, name: str) -> Living | None:
        """The one of that name."""
        return self._living.get(name)

    def find(self, name: str, incarnation: int) -> Living | None:
        """The one of that name, if it is that incarnation."""
        process = self._living.get(name)
        return process if process is not None and process.peer.incarnation == incarnation else None

    def living(self) -> list[Living]:
        """All of them."""
        return list(self._living.values())

    def forget(self) -> None:
        """In a fork: the others are the machine's business."""
        for process in self._living.values():
            process.line.close()

    # What comes.

    def put(self, process: Living, word: Input, watch: int) -> None:
        """Something has come for a process, which takes it if it waits for it, of `UDP` to `COMMANDS`."""
        process.inbox.append(word)
        process.come |= watch
        self.consider(process)

    def call(self, slot: int) -> None:
        """Something was given to the process in a slot, past the machine."""
        for process in self.living():
            if process.slot == slot:
                process.come |= HANDOVER
                self.consider(process)

    def arrive(self, datagram: Datagram, one: Outgoing | None) -> None:
        """A datagram lies in the sockets that the processes share, of a request of a caller if one is given."""
        self._lying.append((datagram, one))
        now = self._agenda.now
        readers = [one for one in self._living.values() if one.watches & UDP and now >= one.stalled_until]
        if readers:
            self.consider(self._random.choice(readers))

    # Faults.

    def stall(self, name: str, for_s: float) -> None:
        """A process stops for a while."""
        process = self._living.get(name)
        if process is None:
            return
        process.stalled_until = max(process.stalled_until, self._agenda.now + for_s)
        self._note([events.Stalled(self._agenda.at_s, process.spelled, for_s)])
        self._agenda.later(process.stalled_until, partial(self._go_on, process))

    def _go_on(self, process: Living, now: float) -> None:
        if not process.dead and now >= process.stalled_until:
            self._note([events.Continued(self._agenda.at_s, process.spelled)])
            self.consider(process)

    def doom(self, name: str) -> None:
        """Kill a process: now, or in the midst of what it does next."""
        process = self._living.get(name)
        if process is None:
            return
        if self._random.random() < _IDLE_PART:
            self.kill(process, "kill")
        else:
            process.doomed = True
            self._agenda.later(self._agenda.now + _DOOMED_S, lambda now: self.kill(process, "kill"))

    def doom_next_job(self) -> None:
        """The next job that a worker begins kills it."""
        self._deaths_in_jobs += 1

    def kill(self, process: Living, why: str) -> None:
        """Kill a process, if it still lives."""
        if not process.dead:
            os.kill(process.real_pid, signal.SIGKILL)
            self._end(process, why, killed=True)

    def close(self) -> None:
        """Kill all that are left."""
        for process in self.living():
            os.kill(process.real_pid, signal.SIGKILL)
            reap(process.real_pid)
            process.line.close()
        self._living.clear()

    def _end(self, process: Living, why: str, *, killed: bool) -> None:
        status = reap(process.real_pid)
        process.line.close()
        process.dead = True
        del self._living[process.peer.name]
        self._on_over(process, status, why, killed)

    # Turns.

    def consider(self, process: Living) -> None:
        """Let a process go on if there is a reason to."""
        now = self._agenda.now
        if process.dead or now < process.stalled_until:
            return
        if now < process.busy_until:
            if process.looks_at < process.busy_until:
                process.looks_at = process.busy_until
                self._agenda.later(process.busy_until, partial(self._look_again, process))
        elif process.come & process.watches or now >= process.wake_at:
            self._grant(process)
        elif self._lying and process.watches & UDP:
            self._give_datagrams(process)

    def _look_again(self, process: Living, now: float) -> None:
        self.consider(process)

    def _arm(self, process: Living) -> None:
        # A later time needs no entry of its own: the earlier one only looks again.
        if process.wake_at < process.armed_at:
            process.armed_at = process.wake_at
            self._agenda.later(process.wake_at, partial(self._alarm, process))

    def _alarm(self, process: Living, now: float) -> None:
        if process.dead or now < process.armed_at:
            return
        process.armed_at = math.inf
        if now >= process.wake_at:
            self.consider(process)
        # Who could not be woken is stopped or busy, and is considered when that is over.
        if process.wake_at > now:
            self._arm(process)

    def _give_datagrams(self, process: Living) -> None:
        for _ in range(min(len(self._lying), _AT_ONCE)):
            datagram, one = self._lying.popleft()
            if one is not None:
                one.taken.append((self._agenda.at_s, process.spelled))
            process.inbox.append(datagram)
        self._grant(process)

    def _grant(self, process: Living) -> None:
        self.steps += 1
        now = self._agenda.now
        inbox, process.inbox, process.come = process.inbox, [], 0
        process.watches = 0  # until it says what it waits for now, it takes nothing
        waits = self._let_go_on(process, Grant(now, bool(self._lying), inbox))
        if waits is None:
            return
        if waits.events:
            self._note(waits.events)
        if self._dies(process, waits):
            self._took_turn(process, waits.outputs[: self._random.randint(0, len(waits.outputs))])
            self.kill(process, "kill")
            return
        if waits.outputs:
            self._took_turn(process, waits.outputs)
        process.wake_at, process.watches = waits.wake_at, waits.watches
        process.busy_until = now + self._random.uniform(self._least_s, self._most_s)
        self._arm(process)
        if self._lying and process.watches & UDP:
            self.consider(process)

    def _let_go_on(self, process: Living, grant: Grant) -> Waits | None:
        """What it has done when it waits again; None where it does not live so long."""
        waits = None
        try:
            process.line.say(grant)
            waits = process.line.hear_waits()
        except TimeoutError:
            self.kill(process, f"busy for more than {self._patience_s:g} s, on the real clock")
            return None
        except OSError:
            pass  # it ended in the midst of something
        if waits is None:
            self._end(process, "", killed=False)
        return waits

    def _dies(self, process: Living, waits: Waits) -> bool:
        if self._deaths_in_jobs and roles.role_of(process.peer.name) == roles.WORKER:
            began = any(isinstance(event, events.JobBegan) for event in waits.events)
            self._deaths_in_jobs -= began
            return began or process.doomed
        return process.doomed
