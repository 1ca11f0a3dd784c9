"""The simulated machine: real processes, one of which runs at a time, on a virtual clock and a virtual network.

Each process of the server is forked, as its attendant would do it, and runs the real shells and cores. It differs in
one thing: where it would wait for the kernel it tells the machine what it has done and what it waits for, and does
nothing until the machine lets it go on. So the machine decides who runs, when a packet arrives and how late it is. It
draws that from the seed of the plan, and nothing else in a run is left to chance. A process that crashes is killed by a
real SIGKILL, so that no `finally` of its runs and its shared memory stays as it left it.

Here are a run's beginning and end, what its plan wants, and what processes do to the world. Its time is in `agenda`,
its processes in `turns`, who starts them in `attending`, what they send each other in `frames`, and everybody outside
in `network`.

Tried: all processes as greenlets of one interpreter. A fork gives each process its own copy of everything, and that
would all have to be copied by hand: modules' state, handlers, running loops, LMDB's environments. Waking a process
costs 13 us, a twentieth of what a parked request costs.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import mmap
import os
import random
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, assert_never, cast

from msgspec.structs import replace

from runtime import roles
from runtime.attendant import furnish
from runtime.context import Address
from runtime.folder import RuntimeFolder
from runtime.house import House
from runtime.modules.tm import tm_settings
from runtime.program import Program
from runtime.script.check import Checked
from runtime.settings import settle
from runtime.simulation import events
from runtime.simulation.agenda import Agenda
from runtime.simulation.attending import ATTENDANT_PID, Attendant
from runtime.simulation.clock import BOOT_S, CHANCE
from runtime.simulation.coverage import Watching, statements_of
from runtime.simulation.events import Event
from runtime.simulation.frames import Frames
from runtime.simulation.kernel import SimulatedHandover, UdpSocket
from runtime.simulation.network import Side
from runtime.simulation.oracle import KILLS, Exchange, Terms, judge
from runtime.simulation.outside import copy_databases
from runtime.simulation.peers import Call, Outgoing
from runtime.simulation.plan import Crash, CrashAt, CrashInJob, Item, Mi, Plan, Reload, Send, Shutdown, Stall
from runtime.simulation.processes import HELD
from runtime.simulation.python_routes import readable_routes
from runtime.simulation.run import Run
from runtime.simulation.turns import Living, Turns
from runtime.simulation.words import COMMANDS, Answered, Command, Handed, Output, Said, SendDatagram, SendFrame
from runtime.transports.base import ListenSocket
from workers.tree_events import Status

if TYPE_CHECKING:
    from socket import socket

_ASKING_S: Final = 0.1
_SLACK_S: Final = 1.0
_HANDOVER_S: Final = 0.00002
_RELOAD: Final = b'{"jsonrpc":"2.0","id":1,"method":"reload_routes"}'


class Machine:
    """One run. To be made in an interpreter of which nothing else is wanted, see `runtime.simulation`.

    Args:
        plan: what happens.
        folder: an empty one, for what the processes share.

    Attributes:
        events: what has happened.
        side: the other side of the network, with what became of the requests.
        held: what each process that lives held when it was last asked.
        answers: the answers of the plan's MI commands, in the order in which they came.
    """

    def __init__(self, plan: Plan, folder: Path) -> None:
        CHANCE.seed(f"{plan.seed} attendant")
        copy_databases(folder)
        if plan.text is not None:
            # Where it is run from, the names of files in events say nothing of this machine.
            os.chdir(folder)
            Path(plan.script).write_bytes(plan.text.encode("latin-1"))
        self.plan = plan
        self.events: list[Event] = []
        self.held: dict[str, dict[str, int]] = {}
        self.answers: list[str] = []
        self._numbers = itertools.count(1)
        self._asked: dict[int, str] = {}
        self._told = 0
        self._marks = memoryview(b"")
        program = Program.load(Path(plan.script), watch=self._watch if plan.watched else None)
        self._terms = _terms_of(program)
        house = self._furnish(program, folder)
        chance, note = random.Random(f"{plan.seed} machine"), self.events.append
        self._agenda = Agenda()
        self._turns = Turns(plan, chance, self._agenda, self._took_turn, self._over, self.events.extend)
        self._frames = Frames(plan, chance, self._agenda, self._turns, note)
        self._attendant = Attendant(plan, house, chance, self._agenda, self._turns, note)
        self.side = Side(plan, chance, self._agenda.later, self._turns.arrive, note)

    def _watch(self, checked: Checked) -> Watching:
        """What is marked in memory that all processes share."""
        statements = statements_of(readable_routes(checked))
        self._marks = memoryview(mmap.mmap(-1, max(1, len(statements))))
        return Watching(self._marks, statements)

    def _reached(self) -> list[int]:
        """The numbers of the statements of the script that were reached, see `coverage`; empty where nobody watches."""
        return [number for number, mark in enumerate(self._marks) if mark]

    def _furnish(self, program: Program, folder: Path) -> House:
        settled = settle(
            program.checked.globals,
            program.checked.sockets,
            udp_workers=self.plan.sip,
            mi_workers=self.plan.workers,
            mi_workers_max=max(self.plan.workers, self.plan.workers_max),
            folder=folder / "r",
        )
        # Streams are not simulated: who sends over one finds that it cannot.
        listen = tuple(one for one in settled.listen if not one.reliable)
        settings = dataclasses.replace(settled, listen=listen)
        sockets = [ListenSocket(index, one, cast("socket", UdpSocket(index))) for index, one in enumerate(listen)]
        house = furnish(program, settings, RuntimeFolder.make(settings.folder), sockets, ["layby"])
        house.handover = SimulatedHandover(self.plan.sip)
        house.attendant_pid = ATTENDANT_PID
        return house

    # Running.

    def run(self) -> None:
        """Live through the whole plan."""
        self.start()
        self.finish(self.plan.until_s)

    def start(self) -> None:
        """Fork everybody, and have happen what the plan says."""
        self._attendant.begin()
        for item in self.plan.items:
            self.add(item)

    def add(self, item: Item) -> None:
        """Have something happen; at once where its time is over."""
        self._agenda.later(BOOT_S + item.at_s, partial(self._happen, item))

    def advance(self, until_s: float) -> None:
        """Let time go on until so many seconds after the run began."""
        self._agenda.advance(until_s)

    def finish(self, until_s: float) -> None:
        """Let time go on to the end of the run, and ask everybody what is left."""
        self.plan = replace(self.plan, until_s=until_s)
        self.advance(until_s)
        self._ask_held()

    def _ask_held(self) -> None:
        self.held.clear()
        for process in self._turns.living():
            self._asked[number := next(self._numbers)] = process.spelled
            self._turns.put(process, Command(number, HELD), COMMANDS)
        self.advance(self._agenda.at_s + _ASKING_S)

    def close(self) -> None:
        """Kill what is left, and let its folder go."""
        self._turns.close()

    # What is told of it.

    def take_news(self) -> Run:
        """What has happened since this was last asked."""
        news = self.events[self._told :]
        self._told = len(self.events)
        return Run(news, self.exchanges(), self.held, self.answers, [], self._parkings(), self._turns.steps)

    def report(self) -> Run:
        """The whole run, judged."""
        plan, events, exchanges = self.plan, self.events, self.exchanges()
        violations = judge(plan, events, exchanges, self.held, self._terms)
        if plan.quiet:
            events, exchanges = [], []
        parkings, steps, reached, faults = self._parkings(), self._turns.steps, self._reached(), self._faults()
        return Run(events, exchanges, self.held, self.answers, violations, parkings, steps, reached, faults)

    def _parkings(self) -> int:
        return sum(isinstance(event, events.Parked) for event in self.events)

    def _faults(self) -> dict[str, int]:
        killed = sum(isinstance(event, events.Crashed) and event.why in KILLS for event in self.events)
        seen = Counter(map(type, self.events))
        return {
            "processes killed": killed,
            "processes stopped": seen[events.Stalled],
            "scripts taken over": seen[events.Reloaded],
            "calls given up": sum(call.cancel is not None for call in self.side.calls),
            **self.side.faults,
        }

    def exchanges(self) -> list[Exchange]:
        """What has become of the callers' requests."""
        return [_exchange_of(call) for call in self.side.calls]

    # What the plan says.

    def _happen(self, item: Item, now: float) -> None:
        match item:
            case Send():
                self.side.begin(item, now)
            case Crash(_, name):
                self._turns.doom(name)
            case CrashInJob():
                self._turns.doom_next_job()
            case CrashAt():
                pass  # whom it befalls knows of it
            case Stall(_, name, for_s):
                self._turns.stall(name, for_s)
            case Reload(_, text):
                if text is not None and self.plan.text is not None:  # nobody's own file is written
                    Path(self.plan.script).write_bytes(text.encode("latin-1"))
                self._command(_RELOAD)
            case Mi(_, text):
                self._command(text.encode())
            case Shutdown():
                self._attendant.stop()
            case _:
                assert_never(item)

    def _command(self, text: bytes) -> None:
        process = self._turns.named(f"{roles.MI}-1")
        if process is not None:
            self._turns.put(process, Command(next(self._numbers), text), COMMANDS)

    # What processes do.

    def _took_turn(self, process: Living, outputs: Sequence[Output]) -> None:
        for output in outputs:
            match output:
                case SendDatagram():
                    to = Address(output.host, output.port)
                    self.side.sent(process.spelled, output.data, to, self._agenda.now)
                case SendFrame():
                    self._frames.send(process, output.name, output.incarnation, output.data)
                case Handed(slot):
                    self._agenda.later(self._agenda.now + _HANDOVER_S, partial(self._wake_given, slot))
                case Said(data):
                    self._attendant.hear(process, data)
                case Answered(number, text):
                    self._hear_answer(number, text)
                case _:
                    assert_never(output)

    def _wake_given(self, slot: int, now: float) -> None:
        self._turns.call(slot)

    def _hear_answer(self, number: int, text: bytes) -> None:
        asked = self._asked.pop(number, None)
        if asked is None:
            self.answers.append(text.decode())
        else:
            self.held[asked] = json.loads(text)

    def _over(self, process: Living, status: Status, why: str, killed: bool) -> None:
        if killed:
            self._frames.lose(process)
        why = why or process.words or str(status)
        self.events.append(events.Crashed(self._agenda.at_s, process.spelled, why))
        self._attendant.lose(process, status)


def _terms_of(program: Program) -> Terms:
    tm, mi = tm_settings(program.modules.get("tm")), program.modules.get("mi_script")
    lingers_s = tm.timers.patience_s + tm.timers.t4_s + _SLACK_S
    # Whoever rings for ever is given up and CANCELed, and may be silent then as well.
    rings_s = tm.fr_timeout_s + tm.fr_inv_timeout_s + tm.timers.patience_s
    return Terms(
        max(tm.fr_timeout_s, tm.timers.patience_s) + lingers_s,
        max(tm.timers.unanswered_s, rings_s) + lingers_s,
        mi is None or mi.settings["on_cancel"] != "wait",
    )


def _exchange_of(call: Call) -> Exchange:
    cancel = None if call.cancel is None else _became_of(call, "CANCEL", call.cancel, True, None)
    return _became_of(call, call.method, call.request, call.wanted.resend, cancel)


def _became_of(call: Call, method: str, one: Outgoing, resend: bool, cancel: Exchange | None) -> Exchange:
    began_at_s, ended_at_s, answered_at_s = (
        round(at - BOOT_S, 9) if at else 0.0 for at in (one.began_at, one.ended_at, one.answered_at)
    )
    return Exchange(
        call.call_id,
        method,
        began_at_s,
        one.finals,
        ended_at_s,
        one.arrived,
        one.lost,
        one.taken,
        resend,
        cancel,
        answered_at_s,
    )
