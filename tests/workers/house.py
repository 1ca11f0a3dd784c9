"""Some nodes in one process that know each other, and what is kept of what their callers are told."""

from __future__ import annotations

import asyncio
import mmap
import os
import resource
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from msgspec.structs import replace

from workers.channel import Transport
from workers.jobs import Job, JobId, Outcome, Peer
from workers.loads import LoadBoard
from workers.node import Node

SLOTS = 6


def echo(payload: bytes, running) -> bytes:
    return b"echo " + payload


async def later(payload: bytes, running) -> bytes:
    await asyncio.sleep(float(payload))
    return b"later " + payload


def boom(payload: bytes, running) -> bytes:
    raise LookupError("no such thing: " + "x" * 5000)


async def boom_later(payload: bytes, running) -> bytes:
    await asyncio.sleep(0)
    raise ZeroDivisionError("later")


def text(payload: bytes, running) -> str:
    return "not bytes"


async def text_later(payload: bytes, running) -> str:
    return "not bytes"


def big(payload: bytes, running) -> bytes:
    return bytes(int(payload))


def nap(payload: bytes, running) -> bytes:
    time.sleep(float(payload))
    return b"rested"


HANDLERS = {handler.__name__: handler for handler in (echo, later, boom, boom_later, text, text_later, big, nap)}


class House:
    """Some nodes that know each other, and the loop that they live in."""

    def __init__(self, folder: Path, loop: asyncio.AbstractEventLoop, transport: Transport) -> None:
        self.folder, self.loop, self.transport = folder, loop, transport
        self.memory = mmap.mmap(-1, LoadBoard.size(SLOTS))
        self.board = LoadBoard(self.memory, SLOTS)
        self.nodes: list[Node] = []
        self.letters: list[tuple[str, str, Peer, bytes]] = []

    def add(self, name: str, *, executes: bool = False, attach: bool = True, incarnation: int = 1, **more) -> Node:
        slot = len(self.nodes)
        node = Node(
            Peer(name, incarnation),
            slot,
            self.folder,
            self.board,
            executes=executes,
            handlers={**HANDLERS, **more.pop("handlers", {})},
            on_letter=lambda topic, sender, body: self.letters.append((name, topic, sender, body)),
            transport=self.transport,
            **more,
        )
        for other in self.nodes:
            other.peer_up(node.me, slot, executes)
            node.peer_up(other.me, self.nodes.index(other), other._executes)
        self.nodes.append(node)
        if attach:
            node.attach(self.loop)
        return node

    def run(self, coroutine, limit_s: float = 10.0):
        return self.loop.run_until_complete(asyncio.wait_for(coroutine, limit_s))

    def until(self, condition: Callable[[], object], limit_s: float = 5.0) -> None:
        async def wait() -> None:
            while not condition():
                await asyncio.sleep(0.001)

        self.run(wait(), limit_s)

    def close(self) -> None:
        for node in self.nodes:
            node.close()
        assert self.board.loads() == [replace(load, outstanding=0, expected_s=0.0) for load in self.board.loads()]
        self.board.close()
        self.memory.close()


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


@contextmanager
def no_descriptor_free() -> Iterator[None]:
    """Meanwhile this process is at its limit of descriptors; those below the lowest free one are in use."""
    lowest_free = os.open("/dev/null", os.O_RDONLY)
    os.close(lowest_free)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


class Told:
    """Keeps what callers are told by the job's name, and notes whether that was on the stack of the submission."""

    def __init__(self) -> None:
        self.jobs: dict[JobId, Job] = {}
        self.outcomes: dict[JobId, Outcome] = {}
        self.order: list[int] = []
        self.busy = False

    def __call__(self, job: Job, outcome: Outcome) -> None:
        assert not self.busy, "told on the stack that submitted it"
        assert job.id not in self.outcomes, "told twice"
        assert self.jobs.get(job.id, job) is job, "told of another job than was handed in"
        self.outcomes[job.id] = outcome
        self.order.append(job.serial)

    def submit(self, node: Node, handler: str, payload: bytes = b"", *, timeout_s: float = 5.0, **more) -> JobId:
        self.busy = True
        more.setdefault("label", handler)
        job = node.submit(handler, payload, timeout_s=timeout_s, settled=self, **more)
        self.busy = False
        assert job.id not in self.outcomes
        self.jobs[job.id] = job
        return job.id
