"""Nodes in real processes: what a round trip, a death, and a close leave behind."""

from __future__ import annotations

import asyncio
import contextlib
import json
import mmap
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import uvloop

from workers.channel import Transport
from workers.jobs import Cancelled, Job, Outcome, Peer, Returned, TimedOut, WorkerLost
from workers.loads import LoadBoard
from workers.node import Node

pytestmark = pytest.mark.processes

SLOTS = 8


def echo(payload: bytes, running) -> bytes:
    return b"echo " + payload


def nap(payload: bytes, running) -> bytes:
    time.sleep(float(payload))
    return b"rested"


async def later(payload: bytes, running) -> bytes:
    await asyncio.sleep(float(payload))
    return b"later"


def pid(payload: bytes, running) -> bytes:
    return b"%d" % os.getpid()


def patient(payload: bytes, running) -> bytes:
    """Works until nobody waits any more, and then some, so that it can be seen to have stopped."""
    ends_at = time.monotonic() + float(payload)
    running.progress(0.0, "begun")
    while not running.cancelled() and time.monotonic() < ends_at:
        time.sleep(0.001)
    return b"cancelled" if running.cancelled() else b"not cancelled"


def steps(payload: bytes, running) -> bytes:
    for step in range(5):
        running.progress(step / 4, "step")
        time.sleep(0.02)
    return b"done"


HANDLERS = {handler.__name__: handler for handler in (echo, nap, later, pid, patient, steps)}


@dataclass
class Child:
    peer: Peer
    slot: int
    pid: int
    control: socket.socket
    executes: bool

    def tell(self, what: str, *more: object) -> None:
        self.control.send(json.dumps([what, *more]).encode())

    def hear(self, limit_s: float = 10.0) -> object:
        self.control.settimeout(limit_s)
        return json.loads(self.control.recv(65536))


class ChildMain:
    """What a forked process does: it lives in its loop and does what its control socket says."""

    def __init__(
        self,
        peer: Peer,
        slot: int,
        folder: Path,
        board: LoadBoard,
        control: socket.socket,
        executes: bool,
        transport: Transport,
    ):
        self.control = control
        self.control.setblocking(False)
        self.files_before = open_files()
        self.loop = uvloop.new_event_loop()
        self.letters: list[str] = []
        self.node = Node(
            peer,
            slot,
            folder,
            board,
            executes=executes,
            handlers=HANDLERS,
            on_letter=lambda t, p, b: self.letters.append(t),
            transport=transport,
        )
        self.node.attach(self.loop)
        self.loop.add_reader(control, self.listen)
        self.say("ready")

    def say(self, *what: object) -> None:
        self.control.send(json.dumps(what).encode())

    def listen(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while data := self.control.recv(65536):
                self.obey(*json.loads(data))

    def obey(self, what: str, *more) -> None:
        match what, more:
            case "up", (name, incarnation, slot, executes):
                self.node.peer_up(Peer(name, incarnation), slot, executes)
            case "down", (name, incarnation):
                self.node.peer_down(Peer(name, incarnation), "killed")
            case "load", (count,):
                self.load(count)
            case "pause", ():
                self.node.pause()
                self.say("paused")
            case "resume", ():
                self.node.resume()
                self.say("resumed")
            case "letters", ():
                self.say(self.letters)
            case "close", ():
                self.loop.stop()

    def load(self, count: int) -> None:
        """Submit many jobs and say how they ended, each checked against its own payload."""
        ended: dict[str, int] = {}

        def settled(job: Job, outcome: Outcome) -> None:
            own = isinstance(outcome, Returned) and outcome.payload == b"echo %d" % (job.serial - 1)
            kind = "own" if own else type(outcome).__name__
            ended[kind] = ended.get(kind, 0) + 1
            if sum(ended.values()) == count:
                self.say(ended)

        for number in range(count):
            self.node.submit("echo", b"%d" % number, label="echo", timeout_s=20, settled=settled)

    def run(self) -> None:
        self.loop.run_forever()
        self.node.close()
        self.loop.remove_reader(self.control)
        self.loop.close()
        self.say({"left": sorted(set(open_files()) - set(self.files_before)), "counters": self.node.counters})


def open_files() -> list[str]:
    found = []
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            found.append(f"{name} {os.readlink(f'/proc/self/fd/{name}')}")
    return [file for file in found if "/proc/" not in file]


class Attendant:
    """Forks, announces and reaps; and has a node of its own for the test to submit from."""

    def __init__(self, folder: Path, transport: Transport) -> None:
        self.folder, self.transport = folder, transport
        self.memory = mmap.mmap(-1, LoadBoard.size(SLOTS))
        self.board = LoadBoard(self.memory, SLOTS)
        self.children: list[Child] = []
        self.loop = uvloop.new_event_loop()
        self.node: Node | None = None

    def fork(self, name: str, slot: int, *, executes: bool, incarnation: int = 1) -> Child:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        peer = Peer(name, incarnation)
        number = os.fork()
        if number == 0:
            status = 1
            try:
                ours.close()
                ChildMain(peer, slot, self.folder, self.board, theirs, executes, self.transport).run()
                status = 0
            finally:
                os._exit(status)
        theirs.close()
        child = Child(peer, slot, number, ours, executes)
        assert child.hear() == ["ready"]
        for other in self.children:
            other.tell("up", peer.name, peer.incarnation, slot, executes)
            child.tell("up", other.peer.name, other.peer.incarnation, other.slot, other.executes)
        self.children.append(child)
        if self.node is not None:
            child.tell("up", self.node.me.name, 1, 0, False)
            self.node.peer_up(peer, slot, executes)
        return child

    def join(self) -> Node:
        """Our own node. Children that are forked later inherit its files, and use none of them."""
        me = Peer("sip-1", 1)
        self.node = Node(me, 0, self.folder, self.board, executes=False, handlers={}, transport=self.transport)
        for child in self.children:
            self.node.peer_up(child.peer, child.slot, child.executes)
            child.tell("up", "sip-1", 1, 0, False)
        self.node.attach(self.loop)
        return self.node

    def reap(self, child: Child) -> int:
        _, status = os.waitpid(child.pid, 0)
        child.control.close()
        self.children.remove(child)
        return os.waitstatus_to_exitcode(status)

    def kill(self, child: Child) -> None:
        os.kill(child.pid, signal.SIGKILL)
        assert self.reap(child) == -signal.SIGKILL
        self.board.clear_slot(child.slot)
        for other in self.children:
            other.tell("down", child.peer.name, child.peer.incarnation)
        if self.node is not None:
            self.node.peer_down(child.peer, "killed")

    def end(self, child: Child) -> dict:
        child.tell("close")
        told = child.hear()[0]
        assert self.reap(child) == 0
        assert told["left"] == [], "open files are left behind"
        return told["counters"]

    def until(self, condition: Callable[[], object], limit_s: float = 10.0) -> None:
        async def wait() -> None:
            while not condition():
                await asyncio.sleep(0.001)

        self.loop.run_until_complete(asyncio.wait_for(wait(), limit_s))

    def run(self, coroutine):
        return self.loop.run_until_complete(asyncio.wait_for(coroutine, 10))

    def call(self, handler: str, payload: bytes = b"", **more) -> Outcome:
        more.setdefault("label", handler)
        more.setdefault("timeout_s", 5)
        return self.run(self.node.call(handler, payload, **more))

    def close(self) -> None:
        if self.node is not None:
            self.node.close()
        for child in list(self.children):
            self.end(child)
        self.loop.close()
        assert all(load.outstanding == 0 and load.expected_s == 0.0 for load in self.board.loads())
        self.board.close()
        self.memory.close()


@pytest.fixture(params=["zmq", "unix"])
def attendant(request, tmp: Path) -> Iterator[Attendant]:
    uvloop.new_event_loop().close()  # libuv opens a pipe with its first loop, and keeps it
    before = open_files()
    attendant = Attendant(tmp, request.param)
    try:
        yield attendant
        attendant.close()
    finally:
        for child in attendant.children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child.pid, signal.SIGKILL)
            os.waitpid(child.pid, 0)
            child.control.close()
    assert sorted(open_files()) == sorted(before)


def told() -> tuple[dict[Job, Outcome], Callable[[Job, Outcome], None]]:
    outcomes: dict[Job, Outcome] = {}

    def settled(job: Job, outcome: Outcome) -> None:
        assert job not in outcomes, "told twice"
        outcomes[job] = outcome

    return outcomes, settled


def test_a_round_trip_and_nothing_left_behind(attendant: Attendant, tmp: Path) -> None:
    worker = attendant.fork("worker-1", 1, executes=True)
    attendant.join()
    outcome = attendant.call("pid")
    assert (outcome.payload, outcome.worker) == (b"%d" % worker.pid, worker.peer)
    assert sorted(path.name for path in tmp.iterdir()) == ["sip-1.1", "worker-1.1"]
    counters = attendant.end(worker)
    assert (counters["executed"], counters["bad_frames"]) == (1, 0)
    assert [path.name for path in tmp.iterdir()] == ["sip-1.1"]
    attendant.node.close()
    assert list(tmp.iterdir()) == []


def test_two_origins_share_two_workers(attendant: Attendant) -> None:
    """Each gets every answer, and each its own; both workers work."""
    workers = [attendant.fork(f"worker-{number}", number, executes=True) for number in (1, 2)]
    origins = [attendant.fork(f"sip-{number}", number, executes=False) for number in (3, 4)]
    for origin in origins:
        origin.tell("load", 3000)
    for origin in origins:
        assert origin.hear() == [{"own": 3000}]
    counters = [attendant.end(worker) for worker in workers]
    assert sum(counter["executed"] for counter in counters) == 6000
    assert all(counter["executed"] > 500 for counter in counters)
    attendant.end(origins[0])
    attendant.end(origins[1])


def test_processes_run_each_others_jobs(attendant: Attendant) -> None:
    """No workers of their own: every origin executes too."""
    origins = [attendant.fork(f"sip-{number}", number, executes=True) for number in (2, 3, 4)]
    for origin in origins:
        origin.tell("load", 1000)
    for origin in origins:
        assert origin.hear() == [{"own": 1000}]
    assert sum(attendant.end(origin)["executed"] for origin in origins) == 3000


def test_a_worker_killed_in_mid_job(attendant: Attendant) -> None:
    """What it had is lost, or runs elsewhere where it may; what waited runs on its replacement."""
    worker = attendant.fork("worker-1", 1, executes=True)
    node = attendant.join()
    outcomes, settled = told()
    attendant.call("echo")
    lost = node.submit("nap", b"60", label="nap", timeout_s=90, settled=settled, to=worker.peer)
    again = node.submit("echo", b"again", label="echo", timeout_s=20, settled=settled, idempotent=True)
    waiting = node.submit("echo", b"waited", label="unseen", timeout_s=20, settled=settled)
    attendant.until(lambda: attendant.board.running(1))
    began_at = time.monotonic()
    attendant.kill(worker)
    attendant.until(lambda: lost in outcomes)
    assert time.monotonic() - began_at < 1.0
    assert outcomes == {lost: WorkerLost(worker.peer, "killed")}
    replacement = attendant.fork("worker-1", 1, executes=True, incarnation=2)
    attendant.until(lambda: len(outcomes) == 3)
    assert outcomes[again].payload == b"echo again"
    assert outcomes[waiting].payload == b"echo waited"
    assert outcomes[again].worker == replacement.peer
    assert attendant.board.load(1).outstanding == 0


def test_killing_workers_under_load_loses_no_caller(attendant: Attendant) -> None:
    """Every accepted job is told exactly once, whatever dies; idempotent ones all come back."""
    workers = {number: attendant.fork(f"worker-{number}", number, executes=True) for number in (1, 2, 3)}
    node = attendant.join()
    outcomes, settled = told()
    for round_ in range(6):
        jobs = [
            node.submit("echo", b"%d" % number, label="echo", timeout_s=20, settled=settled, idempotent=number % 2 == 0)
            for number in range(500)
        ]
        attendant.run(asyncio.sleep(0.001 * round_))
        slot = 1 + round_ % 3
        victim = workers[slot]
        attendant.kill(victim)
        workers[slot] = attendant.fork(victim.peer.name, slot, executes=True, incarnation=victim.peer.incarnation + 1)
        attendant.until(lambda jobs=jobs: all(job in outcomes for job in jobs))
        for number, job in enumerate(jobs):
            outcome = outcomes[job]
            if isinstance(outcome, Returned):
                assert outcome.payload == b"echo %d" % number
            else:
                assert outcome == WorkerLost(victim.peer, "killed")
                assert number % 2, "an idempotent job is not lost with its first worker"
    node._origin.check()
    attendant.until(lambda: all(load.outstanding == 0 for load in attendant.board.loads()))


def test_a_stopped_worker_holds_nobody_past_the_deadline(attendant: Attendant) -> None:
    worker = attendant.fork("worker-1", 1, executes=True)
    node = attendant.join()
    attendant.call("echo")
    os.kill(worker.pid, signal.SIGSTOP)
    try:
        began_at = time.monotonic()
        outcome = attendant.call("echo", timeout_s=0.1)
        assert outcome == TimedOut(0.1)
        assert 0.1 <= time.monotonic() - began_at < 1.0
        assert attendant.board.load(1).outstanding == 1
    finally:
        os.kill(worker.pid, signal.SIGCONT)
    attendant.until(lambda: node.counters["late_answers"] == 1)
    assert attendant.board.load(1).outstanding == 0
    assert isinstance(attendant.call("echo"), Returned)


def test_a_blocking_handler_is_abandoned_and_an_awaiting_one_cancelled(attendant: Attendant) -> None:
    attendant.fork("worker-1", 1, executes=True)
    node = attendant.join()
    outcomes, settled = told()
    awaiting = node.submit("later", b"60", label="later", timeout_s=90, settled=settled)
    attendant.until(lambda: attendant.board.done_by(1) == 1)
    blocking = node.submit("nap", b"1", label="nap", timeout_s=90, settled=settled)
    attendant.until(lambda: attendant.board.running(1))
    began_at = time.monotonic()
    assert node.cancel(awaiting.id, "asked")
    assert node.cancel(blocking.id, "asked")
    attendant.until(lambda: len(outcomes) == 2)
    assert time.monotonic() - began_at < 0.9
    assert outcomes == {awaiting: Cancelled("asked"), blocking: Cancelled("asked")}
    attendant.until(lambda: node.counters["late_answers"] == 2)
    assert attendant.board.load(1).outstanding == 0


def test_a_finished_answer_does_not_wait_for_the_next_handler(attendant: Attendant) -> None:
    worker = attendant.fork("worker-1", 1, executes=True)
    node = attendant.join()
    attendant.call("echo")
    attendant.call("nap", b"0.001")
    outcomes, settled = told()
    for handler, payload in (("echo", b"x"), ("nap", b"1")):
        node.submit(handler, payload, label=handler, timeout_s=5, settled=settled, to=worker.peer)
    attendant.until(lambda: outcomes)
    assert len(outcomes) == 1
    attendant.until(lambda: len(outcomes) == 2)


def test_a_paused_process_answers_what_is_directed_at_it(attendant: Attendant) -> None:
    paused = attendant.fork("sip-2", 2, executes=True)
    node = attendant.join()
    paused.tell("pause")
    assert paused.hear() == ["paused"]
    assert attendant.call("pid", to=paused.peer).payload == b"%d" % paused.pid
    outcomes, settled = told()
    ordinary = node.submit("pid", b"", label="pid", timeout_s=5, settled=settled)
    assert node.post(paused.peer, "sip", b"letter")
    assert attendant.call("pid", to=paused.peer).payload == b"%d" % paused.pid
    paused.tell("letters")
    assert paused.hear() == [[]]
    assert outcomes == {}
    paused.tell("resume")
    assert paused.hear() == ["resumed"]
    attendant.until(lambda: ordinary in outcomes)
    paused.tell("letters")
    assert paused.hear() == [["sip"]]


def test_a_worker_that_closes_with_work_in_hand_tells_so(attendant: Attendant) -> None:
    worker = attendant.fork("worker-1", 1, executes=True)
    node = attendant.join()
    outcomes, settled = told()
    awaiting = node.submit("later", b"60", label="later", timeout_s=90, settled=settled)
    attendant.until(lambda: attendant.board.done_by(1) == 1)
    attendant.end(worker)
    attendant.until(lambda: outcomes)
    assert outcomes == {awaiting: Cancelled("shutdown")}


def test_progress_is_streamed(attendant: Attendant) -> None:
    attendant.fork("worker-1", 1, executes=True)
    node = attendant.join()
    outcomes, settled = told()
    heard: list[tuple[float, bool]] = []
    node.submit(
        "steps",
        b"",
        label="steps",
        timeout_s=5,
        settled=settled,
        on_progress=lambda fraction, text: heard.append((fraction, bool(outcomes))),
    )
    attendant.until(lambda: outcomes)
    assert heard == [(0.0, False), (0.25, False), (0.5, False), (0.75, False), (1.0, False)]


def test_a_blocking_handler_that_asks_stops_when_its_job_is_cancelled(attendant: Attendant) -> None:
    attendant.fork("worker-1", 1, executes=True)
    node = attendant.join()
    attendant.call("echo")
    outcomes, settled = told()
    heard: list[str] = []
    job = node.submit(
        "patient",
        b"30",
        label="patient",
        timeout_s=60,
        settled=settled,
        on_progress=lambda fraction, text: heard.append(text),
    )
    attendant.until(lambda: heard)
    began_at = time.monotonic()
    assert node.cancel(job.id, "asked")
    attendant.until(lambda: node.counters["late_answers"] == 1)
    assert time.monotonic() - began_at < 0.5, "it stopped at once, and not after half a minute"
    assert outcomes == {job: Cancelled("asked")}
    assert attendant.board.load(1).outstanding == 0
    assert isinstance(attendant.call("echo"), Returned)


def test_the_attendant_can_see_which_worker_is_to_be_killed(attendant: Attendant) -> None:
    """A job past its deadline with kill: the board says from when, until whoever looks kills; others are not harmed."""
    worker = attendant.fork("worker-1", 1, executes=True)
    node = attendant.join()
    outcomes, settled = told()
    job = node.submit("nap", b"60", label="nap", timeout_s=0.1, settled=settled, kill=True)
    attendant.until(lambda: attendant.board.kill_at(1))
    assert attendant.board.kill_at(1) == job.deadline + 0.1
    attendant.until(lambda: outcomes)
    assert outcomes == {job: TimedOut(0.1)}
    attendant.until(lambda: time.monotonic() >= attendant.board.kill_at(1) > 0.0)
    attendant.kill(worker)
    assert attendant.board.kill_at(1) == 0.0
    assert attendant.board.load(1).outstanding == 0
    attendant.fork("worker-1", 1, executes=True, incarnation=2)
    assert isinstance(attendant.call("echo"), Returned)


def test_large_payloads_there_and_back(attendant: Attendant) -> None:
    """Many times what a socket holds, in both directions at once."""
    attendant.fork("worker-1", 1, executes=True)
    node = attendant.join()
    outcomes, settled = told()
    jobs = [
        node.submit("echo", bytes([number]) * 4_000_000, label="echo", timeout_s=20, settled=settled)
        for number in range(8)
    ]
    attendant.until(lambda: len(outcomes) == 8, 20)
    assert [outcomes[job].payload for job in jobs] == [b"echo " + bytes([number]) * 4_000_000 for number in range(8)]
