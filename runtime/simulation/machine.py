"""The simulated machine: real processes, one of which runs at a time, on a virtual clock and a virtual network.

Each process of the server is forked, as its attendant would do it, and runs the real shells and cores. It differs in
one thing: where it would wait for the kernel it tells the machine what it has done and what it waits for, and does
nothing until the machine lets it go on. So the machine decides who runs, when a packet arrives and how late it is. It
draws that from the seed of the plan, and nothing else in a run is left to chance. A process that crashes is killed by a
real SIGKILL, so that no `finally` of its runs and its shared memory stays as it left it.

Tried: all processes as greenlets of one interpreter. A fork gives each process its own copy of everything, and that
would all have to be copied by hand: modules' state, handlers, running loops, LMDB's environments. Waking a process
costs 13 us, a twentieth of what a parked request costs.
"""

from __future__ import annotations

import dataclasses
import heapq
import itertools
import json
import math
import mmap
import os
import random
import signal
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn, assert_never, cast

from msgspec.structs import replace

from runtime import roles
from runtime.attendant import Caretaker, furnish
from runtime.context import Address
from runtime.folder import RuntimeFolder
from runtime.house import House
from runtime.program import Program
from runtime.script.check import Checked
from runtime.settings import settle
from runtime.simulation import events
from runtime.simulation.clock import BOOT_S, CHANCE
from runtime.simulation.coverage import Watching, statements_of
from runtime.simulation.events import Event
from runtime.simulation.kernel import SimulatedHandover, UdpSocket
from runtime.simulation.network import Side
from runtime.simulation.oracle import Exchange, judge
from runtime.simulation.outside import copy_databases
from runtime.simulation.peers import Call
from runtime.simulation.plan import (
    Crash,
    CrashAt,
    CrashInJob,
    Item,
    Mi,
    Plan,
    Reload,
    Send,
    Shutdown,
    Stall,
)
from runtime.simulation.processes import HELD, Doom, live, spelled
from runtime.simulation.python_routes import readable_routes
from runtime.simulation.run import Run
from runtime.simulation.words import (
    CHANNEL,
    COMMANDS,
    CONTROL,
    HANDOVER,
    UDP,
    Answered,
    Command,
    Datagram,
    Frame,
    Grant,
    Handed,
    Input,
    Line,
    Output,
    Said,
    SendDatagram,
    SendFrame,
    Told,
    Waits,
    make_line,
)
from runtime.transports.base import ListenSocket
from workers import control
from workers.jobs import Peer
from workers.reaping import reap
from workers.supervision import RestartPolicy, Supervisor, seats_of
from workers.tree_events import (
    Admit,
    Announce,
    Begin,
    Dismiss,
    Effect,
    Ended,
    Fork,
    Forked,
    Kill,
    Refuse,
    Report,
    SaidReady,
    Seat,
    Status,
    Stimulus,
    StopAsked,
    Tick,
)
from workers.wire import Frame as WireFrame
from workers.wire import decode

if TYPE_CHECKING:
    from socket import socket

_BIRTH_S: Final = 0.005
"""From a fork to the first thing that the new process does."""
_AT_ONCE: Final = 4
"""Datagrams that a process finds in the socket when it is woken, at most."""
_ATTENDANT_PID: Final = 999
_ASKING_S: Final = 0.1
_IDLE_PART: Final = 0.5
"""Of those that are killed, so many are killed while they do nothing."""
_DOOMED_S: Final = 0.05
"""Who does nothing for so long is not waited for."""
_SEEN_S: Final = (0.001, 0.004)
"""How long it takes until the attendant sees that a process is dead."""
_HANDOVER_S: Final = 0.00002
_RELOAD: Final = b'{"jsonrpc":"2.0","id":1,"method":"reload_routes"}'


@dataclass(slots=True)
class _Frame:
    data: bytes
    number: int
    arrives_at: float
    lost: bool = False


@dataclass(eq=False, slots=True)
class _Process:
    peer: Peer
    slot: int
    pid: int
    real_pid: int
    line: Line
    inbox: list[Input] = field(default_factory=list)
    come: int = 0
    """What has come since it last ran, of `UDP` to `COMMANDS`."""
    watches: int = 0
    wake_at: float = math.inf
    turn: int = 0
    """Counts what it was granted, so that an older alarm is known."""
    stalled_until: float = 0.0
    busy_until: float = 0.0
    looks_at: float = 0.0
    """When it is considered again, because it was busy."""
    words: str = ""
    doomed: bool = False
    """It is killed in the midst of what it does next."""


class Machine:
    """One run. To be made in an interpreter of which nothing else is wanted, see `runtime.simulation`.

    Args:
        plan: what happens.
        folder: an empty one, for what the processes share.

    Attributes:
        now: CLOCK_MONOTONIC seconds.
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
        self.now = BOOT_S
        self.events: list[Event] = []
        self.held: dict[str, dict[str, int]] = {}
        self.answers: list[str] = []
        self.steps = 0
        self._random = random.Random(f"{plan.seed} machine")
        self._agenda: list[tuple[float, int, Callable[[float], None]]] = []
        self._serials = itertools.count()
        self._numbers = itertools.count(1)
        self._pids = itertools.count(_ATTENDANT_PID + 1)
        self._processes: dict[str, _Process] = {}
        self._lying: deque[tuple[Datagram, Call | None]] = deque()
        self._asked: dict[int, Peer] = {}
        self._frames: dict[tuple[Peer, Peer], deque[_Frame]] = {}
        self._told_at: dict[Peer, float] = {}
        self._deaths_in_jobs = 0
        self._dooms = Doom(item for item in plan.items if isinstance(item, CrashAt))
        self._ticks_at = math.inf
        self._feeding: deque[Stimulus] | None = None
        self._told = 0
        self._marks = memoryview(b"")
        program = Program.load(Path(plan.script), watch=self._watch if plan.watched else None)
        self._house = self._furnish(program, folder)
        self._caretaker = Caretaker(self._house, lambda pid: None)
        seats = seats_of(
            [
                (roles.SIP, plan.sip, plan.sip, 0, plan.workers == 0),
                (roles.WORKER, plan.workers, plan.workers, plan.sip, True),
                (roles.MI, 1, 1, plan.sip + plan.workers, False),
            ]
        )
        # Crashes of the plan are no storm.
        self._supervisor = Supervisor(seats, RestartPolicy(storm_deaths=1 << 30), self._house.settings.drain_s)
        self.side = Side(plan, self._random, self._later, self._arrive, self._note)

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
            mi_workers_max=self.plan.workers,
            folder=folder / "r",
        )
        # Streams are not simulated: who sends over one finds that it cannot.
        listen = tuple(one for one in settled.listen if not one.reliable)
        settings = dataclasses.replace(settled, listen=listen)
        sockets = [ListenSocket(index, one, cast("socket", UdpSocket(index))) for index, one in enumerate(listen)]
        house = furnish(program, settings, RuntimeFolder.make(settings.folder), sockets, ["layby"])
        house.handover = SimulatedHandover(self.plan.sip)
        house.attendant_pid = _ATTENDANT_PID
        return house

    # Running.

    def run(self) -> None:
        """Live through the whole plan."""
        self.start()
        self.finish(self.plan.until_s)

    def start(self) -> None:
        """Fork everybody, and have happen what the plan says."""
        self._feed(Begin(self.now))
        for item in self.plan.items:
            self.add(item)

    def finish(self, until_s: float) -> None:
        """Let time go on to the end of the run, and ask everybody what is left."""
        self.plan = replace(self.plan, until_s=until_s)
        self.advance(until_s)
        self._ask_held()

    def take_news(self) -> Run:
        """What has happened since this was last asked."""
        news = self.events[self._told :]
        self._told = len(self.events)
        return Run(news, self.exchanges(), self.held, self.answers, [], self._parkings(), self.steps)

    def report(self) -> Run:
        """The whole run, judged."""
        plan, events, exchanges = self.plan, self.events, self.exchanges()
        violations = judge(plan, events, exchanges, self.held)
        if plan.quiet:
            events, exchanges = [], []
        parkings, reached = self._parkings(), self._reached()
        return Run(events, exchanges, self.held, self.answers, violations, parkings, self.steps, reached)

    def _parkings(self) -> int:
        return sum(isinstance(event, events.Parked) for event in self.events)

    def exchanges(self) -> list[Exchange]:
        """What has become of the callers' requests."""
        return [
            Exchange(
                call.call_id,
                call.method,
                round(call.request.began_at - BOOT_S, 9),
                call.request.finals,
                call.arrived,
                call.lost,
                sorted(call.taken_by),
                call.cancel is not None,
                call.wanted.resend,
            )
            for call in self.side.calls
        ]

    def add(self, item: Item) -> None:
        """Have something happen; at once where its time is over."""
        self._later(BOOT_S + item.at_s, partial(self._happen, item))

    def advance(self, until_s: float) -> None:
        """Let time go on until so many seconds after the run began."""
        ends = BOOT_S + until_s
        while self._agenda and self._agenda[0][0] <= ends:
            at, _, act = heapq.heappop(self._agenda)
            self.now = max(self.now, at)
            act(self.now)
        self.now = max(self.now, ends)

    def _ask_held(self) -> None:
        self.held.clear()
        for process in list(self._processes.values()):
            self._asked[number := next(self._numbers)] = process.peer
            self._put(process, Command(number, HELD), COMMANDS)
        self.advance(self.at_s + _ASKING_S)

    def close(self) -> None:
        """Kill what is left, and let its folder go."""
        for process in list(self._processes.values()):
            os.kill(process.real_pid, signal.SIGKILL)
            reap(process.real_pid)
            process.line.close()
        self._processes.clear()

    @property
    def at_s(self) -> float:
        """Seconds since the run began."""
        return self.now - BOOT_S

    def _later(self, at: float, act: Callable[[float], None]) -> None:
        heapq.heappush(self._agenda, (max(at, self.now), next(self._serials), act))

    def _note(self, event: Event) -> None:
        self.events.append(event)

    # What the plan says.

    def _happen(self, item: Item, now: float) -> None:
        match item:
            case Send():
                self.side.begin(item, now)
            case Crash(_, name):
                self._doom(name)
            case CrashInJob():
                self._deaths_in_jobs += 1
            case CrashAt():
                pass  # whom it befalls knows of it
            case Stall(_, name, for_s):
                self._stall(name, for_s)
            case Reload(_, text):
                if text is not None and self.plan.text is not None:  # nobody's own file is written
                    Path(self.plan.script).write_bytes(text.encode("latin-1"))
                self._command(_RELOAD)
            case Mi(_, text):
                self._command(text.encode())
            case Shutdown():
                self._feed(StopAsked(now))
            case _:
                assert_never(item)

    def _command(self, text: bytes) -> None:
        process = self._processes.get(f"{roles.MI}-1")
        if process is not None:
            self._put(process, Command(next(self._numbers), text), COMMANDS)

    def _doom(self, name: str) -> None:
        """Kill a process: now, or in the midst of what it does next."""
        process = self._processes.get(name)
        if process is None:
            return
        if self._random.random() < _IDLE_PART:
            self._kill(process, "kill")
        else:
            process.doomed = True
            self._later(self.now + _DOOMED_S, lambda now: self._kill(process, "kill"))

    def _kill(self, process: _Process, why: str) -> None:
        if self._processes.get(process.peer.name) is not process:
            return
        os.kill(process.real_pid, signal.SIGKILL)
        self._lose_frames(process.peer)
        self._over(process, why)

    def _lose_frames(self, peer: Peer) -> None:
        """Of what the dead one has sent to each, some of the last frames have not left."""
        for (source, _), frames in self._frames.items():
            if source == peer and frames:
                for frame in list(frames)[self._random.randint(0, len(frames)) :]:
                    frame.lost = True

    def _stall(self, name: str, for_s: float) -> None:
        process = self._processes.get(name)
        if process is None:
            return
        process.stalled_until = max(process.stalled_until, self.now + for_s)
        self._note(events.Stalled(self._at(), spelled(process.peer), for_s))
        self._later(process.stalled_until, partial(self._go_on, process))

    def _go_on(self, process: _Process, now: float) -> None:
        if self._processes.get(process.peer.name) is process and now >= process.stalled_until:
            self._note(events.Continued(self._at(), spelled(process.peer)))
            self._consider(process)

    def _at(self) -> float:
        return round(self.now - BOOT_S, 9)

    # The attendant.

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
            self._later(due, self._tick)

    def _tick(self, now: float) -> None:
        self._ticks_at = math.inf
        self._feed(Tick(now))

    def _perform(self, effect: Effect) -> None:
        match effect:
            case Fork(seat, peer):
                self._fork(seat, peer)
            case Announce(to, word):
                self._tell(to, control.encode(word))
            case Kill(peer):
                process = self._processes.get(peer.name)
                if process is not None and process.peer == peer:
                    self._kill(process, "killed by the attendant")
            case Report(event):
                self._caretaker(event)
            case Admit() | Refuse() | Dismiss():
                pass  # a server has no guests
            case _:
                assert_never(effect)

    def _tell(self, to: Peer, data: bytes) -> None:
        at = max(self.now + self._random.uniform(*self.plan.network.told_s), self._told_at.get(to, 0.0))
        self._told_at[to] = at
        self._later(at, lambda now: self._put_to(to, Told(data), CONTROL))

    def _fork(self, seat: Seat, peer: Peer) -> None:
        ours, theirs = make_line()
        pid = next(self._pids)
        real_pid = os.fork()
        if not real_pid:
            ours.close()
            for other in self._processes.values():
                other.line.close()
            self._live(theirs, peer, seat, pid)
        theirs.close()
        process = _Process(peer, seat.slot, pid, real_pid, ours)
        self._processes[seat.name] = process
        self._note(events.Started(self._at(), spelled(peer)))
        begun = ours.hear_waits(self.plan.patience_s)
        assert begun is not None, "it has not even begun"
        self._feed(Forked(peer, pid, self.now))
        process.wake_at = self.now + _BIRTH_S
        self._arm(process)

    def _live(self, line: Line, peer: Peer, seat: Seat, pid: int) -> NoReturn:
        code = 1
        try:
            plan, house = self.plan, self._house
            code = live(line, peer, seat.slot, seat.role, house, pid, plan.seed, plan.everything, self._dooms)
        finally:
            os._exit(code & 0xFF)

    def _over(self, process: _Process, why: str) -> None:
        """A process has ended, or was killed."""
        status = reap(process.real_pid)
        process.line.close()
        del self._processes[process.peer.name]
        self._note(events.Crashed(self._at(), spelled(process.peer), why or process.words or str(status)))
        peer = process.peer
        self._later(self.now + self._random.uniform(*_SEEN_S), lambda now: self._ended(peer, status, process.words))

    def _ended(self, peer: Peer, status: Status, words: str) -> None:
        self._feed(Ended(peer, status, self.now, words))

    # Processes.

    def _put_to(self, to: Peer, word: Input, watch: int) -> None:
        process = self._processes.get(to.name)
        if process is not None and process.peer == to:
            self._put(process, word, watch)

    def _put(self, process: _Process, word: Input, watch: int) -> None:
        process.inbox.append(word)
        process.come |= watch
        self._consider(process)

    def _consider(self, process: _Process) -> None:
        """Let a process go on if there is a reason to."""
        if self._processes.get(process.peer.name) is not process or self.now < process.stalled_until:
            return
        if self.now < process.busy_until:
            if process.looks_at < process.busy_until:
                process.looks_at = process.busy_until
                self._later(process.busy_until, partial(self._look_again, process))
        elif process.come & process.watches or self.now >= process.wake_at:
            self._grant(process)
        elif self._lying and process.watches & UDP:
            self._give_datagrams(process)

    def _look_again(self, process: _Process, now: float) -> None:
        self._consider(process)

    def _arm(self, process: _Process) -> None:
        if process.wake_at < math.inf:
            self._later(process.wake_at, partial(self._alarm, process, process.turn))

    def _alarm(self, process: _Process, turn: int, now: float) -> None:
        if process.turn == turn:
            self._consider(process)

    def _grant(self, process: _Process) -> None:
        self.steps += 1
        inbox, process.inbox, process.come = process.inbox, [], 0
        process.turn += 1
        process.watches = 0  # until it says what it waits for now, it takes nothing
        waits = self._let_go_on(process, Grant(self.now, bool(self._lying), inbox))
        if waits is None:
            return
        dies = self._dies(process, waits)
        self.events += waits.events
        kept = self._random.randint(0, len(waits.outputs)) if dies else len(waits.outputs)
        for output in waits.outputs[:kept]:
            self._put_out(process, output)
        if dies:
            self._kill(process, "kill")
            return
        process.wake_at, process.watches = waits.wake_at, waits.watches
        process.busy_until = self.now + self._random.uniform(*self.plan.turn_s)
        self._arm(process)
        if self._lying and process.watches & UDP:
            self._consider(process)

    def _let_go_on(self, process: _Process, grant: Grant) -> Waits | None:
        """What it has done when it waits again; None where it does not live so long."""
        waits = None
        try:
            process.line.say(grant)
            waits = process.line.hear_waits(self.plan.patience_s)
        except TimeoutError:
            self._kill(process, f"busy for more than {self.plan.patience_s:g} s, on the real clock")
            return None
        except OSError:
            pass  # it ended in the midst of something
        if waits is None:
            self._over(process, "")
        return waits

    def _dies(self, process: _Process, waits: Waits) -> bool:
        works = roles.role_of(process.peer.name) == roles.WORKER
        if self._deaths_in_jobs and works and any(isinstance(event, events.JobBegan) for event in waits.events):
            self._deaths_in_jobs -= 1
            return True
        return process.doomed

    # What processes do.

    def _put_out(self, process: _Process, output: Output) -> None:
        match output:
            case SendDatagram(_, data, host, port):
                self.side.sent(spelled(process.peer), data, Address(host, port), self.now)
            case SendFrame(name, incarnation, data):
                self._send_frame(process.peer, Peer(name, incarnation), data)
            case Handed(slot):
                self._later(self.now + _HANDOVER_S, partial(self._wake_given, slot))
            case Said(data):
                self._hear(process, data)
            case Answered(number, text):
                peer = self._asked.pop(number, None)
                if peer is None:
                    self.answers.append(text.decode())
                else:
                    self.held[spelled(peer)] = json.loads(text)
            case _:
                assert_never(output)

    def _wake_given(self, slot: int, now: float) -> None:
        for process in list(self._processes.values()):
            if process.slot == slot:
                process.come |= HANDOVER
                self._consider(process)

    def _hear(self, process: _Process, data: bytes) -> None:
        match control.decode(data):
            case control.ReadySaid():
                # Not before this turn is over: it waits for nothing yet.
                peer = process.peer
                self._later(self.now, lambda now: self._feed(SaidReady(peer, now)))
            case control.LastWords(reason):
                process.words = reason
            case _:
                pass

    def _send_frame(self, source: Peer, to: Peer, data: bytes) -> None:
        way = self._frames.setdefault((source, to), deque())
        at = self.now + self._random.uniform(*self.plan.network.frame_s)
        frame = _Frame(data, next(self._numbers), max(at, way[-1].arrives_at if way else 0.0))
        way.append(frame)
        if self.plan.everything:
            self._note(events.FrameSent(self._at(), frame.number, spelled(source), spelled(to), _words_in(data, to)))
        self._later(frame.arrives_at, partial(self._frame_arrives, source, to, frame))

    def _frame_arrives(self, source: Peer, to: Peer, frame: _Frame, now: float) -> None:
        self._frames[source, to].popleft()
        process = self._processes.get(to.name)
        if frame.lost or process is None or process.peer != to:
            if self.plan.everything:
                self._note(events.FrameLost(self._at(), frame.number))
            return
        if self.plan.everything:
            self._note(events.FrameReceived(self._at(), frame.number, spelled(to)))
        self._put(process, Frame(frame.data), CHANNEL)

    # Datagrams.

    def _arrive(self, datagram: Datagram, call: Call | None) -> None:
        self._lying.append((datagram, call))
        readers = [one for one in self._processes.values() if one.watches & UDP and self.now >= one.stalled_until]
        if readers:
            self._consider(self._random.choice(readers))

    def _give_datagrams(self, process: _Process) -> None:
        for _ in range(min(len(self._lying), _AT_ONCE)):
            datagram, call = self._lying.popleft()
            if call is not None:
                call.taken_by.add(spelled(process.peer))
            process.inbox.append(datagram)
        self._grant(process)


def _words_in(data: bytes, to: Peer) -> str:
    match decode(data, to, {}, len(data)):
        case WireFrame(words=words):
            return ", ".join(type(word).__name__ for word in words)
        case _:
            return "malformed"
