"""One process of the server: its loop, its place in the pool, and its word with the attendant."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import Any, Final, Protocol, TypeVar, assert_never

import msgpack
import uvloop
from msgspec.structs import replace

from mi_script.execute import Executor
from runtime import handlers
from runtime.clock import monotonic_now
from runtime.house import House
from runtime.modules.base import RuntimeModule
from runtime.roles import HANDLERS, STANDS_STILL
from runtime.status_reports import StatusReports
from runtime.steps import ServerStep
from runtime.store import Store
from workers.birth import Child
from workers.control import AttendantGone, Tell
from workers.handlers import load_handlers
from workers.jobs import Job, Peer
from workers.node import Node
from workers.policy import DEFAULT_LIMITS
from workers.steps import before
from workers.tree_events import Drain, PeerDown, PeerUp, Retire
from workers.worker import Running

log = logging.getLogger("layby.process")

_DRAINED: Final = "drained"
_DRAIN_CHECK_S: Final = 0.02
_LIMITS: Final = replace(DEFAULT_LIMITS, brief_s=0.0002)
"""Of jobs. What `uptime` takes is a tenth of what it takes to wake a worker for it, over ZeroMQ."""

_T = TypeVar("_T")


class Trailing(Protocol):
    """What a process has begun and must see to its end before it goes, e.g. rows on their way to a database."""

    def pending(self) -> int:
        """How much is left. A drain waits for it, up to its end."""

    def close(self) -> None:
        """The process ends: do the rest now, or say what is lost."""


class Process:
    """A process that executes jobs and has jobs executed. The kinds of processes build on it.

    Args:
        child: what the attendant gave at the fork.
        house: what all processes share.
    """

    loop: asyncio.AbstractEventLoop
    executes: bool = True
    """Whether it runs jobs that go to whichever process is least loaded."""

    def __init__(self, child: Child, house: House) -> None:
        self.child = child
        self.house = house
        self.peer: Peer = child.peer
        self.slot: int = child.slot
        self.draining = False
        self._drained: set[Peer] = set()
        self._said_drained = False
        self.drain_ends = float("inf")
        self.trailing: list[Trailing] = []
        self.letters: dict[str, Callable[[Peer, bytes], None]] = {}
        """Who reads letters, by topic."""
        self.on_timed_out: Callable[[Job, float], object] = lambda job, timeout_s: None
        """Told of each job of this process whose caller stops waiting, and after how many seconds."""
        self.ends: dict[str, str] = {}
        """Of what the last process of each name has died, for those that died."""
        self.questions: dict[str, Callable[[bytes], bytes]] = {STANDS_STILL: self._still_s}
        """Who answers other processes, by topic (`runtime.asking`)."""
        self._blocked = 0
        """How many routes of this process are stopped in `block_on` now."""
        self._blocked_at = 0.0
        """Since when the first of them is."""

    def run(self) -> int:  # model: stop
        """Live until the attendant says otherwise; the exit code."""
        self.loop = self.new_loop()
        asyncio.set_event_loop(self.loop)
        self.house.statistics.enter(self.slot)
        self.house.figures.enter(self.slot)
        self.store = Store(self.house.folder / "store")
        self.status = StatusReports(self.store)
        self.executor = Executor(self.house.registry, observer=self.house.figures, clock=monotonic_now)
        self.node = Node(
            self.peer,
            self.slot,
            self.house.folder,
            self.house.board,
            executes=self.executes,
            limits=_LIMITS,
            handlers=load_handlers(HANDLERS),
            on_letter=self.on_letter,
            on_timed_out=lambda job, timeout_s: self.on_timed_out(job, timeout_s),
            on_late=partial(self.house.statistics.count, "async:late_answers"),
            transport=self.house.settings.transport,
        )
        handlers.enter(self)
        self.attach(self.loop)
        for module in self._modules():
            module.enter(self)
        self.open()
        for module in self._modules():
            module.opened()
        self.child.control.ready()
        try:
            self.loop.run_forever()
        finally:
            self.close()
            for one in self.trailing:
                one.close()
            for module in self._modules():
                module.leave()
            self.node.close()
            self.store.close()
            self.loop.close()
        return 0

    def _modules(self) -> list[RuntimeModule]:
        return [module for module in self.house.program.modules.values() if isinstance(module, RuntimeModule)]

    @before(ServerStep.COMMAND_RUN)
    def execute(self, payload: bytes, running: Running) -> bytes | Awaitable[bytes]:
        """Run an MI command as a job."""
        return self.executor.run(payload, running)

    # What a kind of process adds.

    def stand_still(self) -> None:
        """A command is about to stop this process for longer than a message takes. Calls nest."""

    def move_again(self) -> None:
        """It has ended."""

    def new_loop(self) -> asyncio.AbstractEventLoop:
        """The loop that it lives in."""
        return uvloop.new_event_loop()

    def open(self) -> None:
        """Start what this kind of process does."""

    def close(self) -> None:
        """Stop it; the loop does not run any more."""

    def on_letter(self, topic: str, sender: Peer, body: bytes) -> None:  # model: hear_drained
        """A letter from another process."""
        if topic == _DRAINED:
            self._drained.add(sender)
        elif topic in self.letters:
            self.letters[topic](sender, body)

    def catch_up(self) -> int:
        """Take over the script that was published last, where it is newer; the generation of what runs then."""
        program, folder = self.house.program, self.house.folder
        if program.is_behind(folder):
            self.stand_still()
            try:
                program.catch_up(folder)
                self.on_reloaded()
            finally:
                self.move_again()
        return program.generation

    def on_reloaded(self) -> None:
        """The script has been replaced by a newer text."""

    def start_drain(self) -> None:
        """Take nothing new from outside from now on."""

    @property
    def is_blocked(self) -> bool:
        """Whether a route of this process is stopped in `block_on`, so that no traffic is read."""
        return self._blocked > 0

    def unfinished(self) -> int:
        """How much of what was accepted is still under way."""
        return self.node.pending() + self._blocked + sum([one.pending() for one in self.trailing])

    def give_up(self) -> None:
        """The time for draining is over: answer what is left."""

    def leave_traffic(self) -> None:
        """Close the listening sockets that the fork brought along: this kind of process does not read them."""
        for one in self.house.sockets:
            one.close()
        self.house.handover.close()

    # The loop.

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        """Let `loop` serve the inbox and the attendant's link."""
        self.node.attach(loop)
        loop.add_reader(self.child.control.fileno(), self._on_control)

    def detach(self, loop: asyncio.AbstractEventLoop) -> None:
        self.node.detach()
        loop.remove_reader(self.child.control.fileno())

    def block_on(self, work: Coroutine[Any, Any, _T], timeout_s: float) -> _T:  # model: stand_still, move_again
        """Wait for a coroutine on the caller's stack, and serve no traffic meanwhile.

        A loop of its own runs nested in this process's stopped one. It serves the inbox, so that other processes
        that wait in the same way can ask this one and nobody waits in a circle; settled contexts, handed-over
        messages and ordinary jobs are held back until the caller is done, for they must not run on its stack.

        Raises:
            TimeoutError: it took longer than `timeout_s` seconds.
        """
        outer = asyncio._get_running_loop()
        # A plain selector loop: libuv's would take over the signal wake-up of the outer one.
        try:
            nested = asyncio.SelectorEventLoop()
        except OSError:
            work.close()  # no descriptors left; nothing has changed
            raise
        if not self._blocked:
            self._blocked_at = monotonic_now()
        self._blocked += 1
        self.stand_still()
        self.node.pause()
        asyncio._set_running_loop(None)
        try:
            self.detach(self.loop)
            self.attach(nested)
            return nested.run_until_complete(asyncio.wait_for(work, timeout_s))
        finally:
            self.detach(nested)
            nested.close()
            asyncio._set_running_loop(outer)
            self.attach(self.loop)
            self.node.resume()
            self.move_again()
            self._blocked -= 1

    def _still_s(self, body: bytes) -> bytes:
        """For how many seconds this process has served no traffic, because a route waits in `block_on`; 0 if none."""
        return bytes(msgpack.packb(monotonic_now() - self._blocked_at if self._blocked else 0.0))

    def _on_control(self) -> None:
        for told in self.child.control.receive():
            match told:
                case PeerUp(peer, slot, executes):
                    self.node.peer_up(peer, slot, executes)
                    self.on_peer_up(peer, slot)
                    for module in self._modules():
                        module.on_peer_up(peer)
                    if self._said_drained:
                        self.node.post(peer, _DRAINED, b"")
                case PeerDown(peer, reason):  # model: hear_death, hear_end_of
                    self.ends[peer.name] = reason
                    self.node.peer_down(peer, reason)
                    self.on_peer_down(peer)
                    for module in self._modules():
                        module.on_peer_down(peer)
                case Drain(ends_at):
                    self._drain(ends_at)
                case Retire(ends_at):
                    self._retire(ends_at)
                case Tell():
                    pass
                case AttendantGone():
                    # The kernel ends its children with it; where it does not, nothing can be served without it.
                    os._exit(1)
                case _:
                    assert_never(told)

    def on_peer_up(self, peer: Peer, slot: int) -> None:
        """Another process is there and can be talked to."""

    def on_peer_down(self, peer: Peer) -> None:
        """Another process died."""

    def _retire(self, ends_at: float) -> None:  # model: begin_to_leave
        """Leave alone, because there is not enough to do: others send nothing more here, and what is here ends."""
        if not self.draining:
            self.draining = True
            self.drain_ends = ends_at
            self.node.drain("this process retires")
            self.house.board.pause(self.slot, True)  # nothing more is sent here, also by who has looked just before
            self._check_retired()

    def _check_retired(self) -> None:  # model: count_next
        if monotonic_now() >= self.drain_ends or not (
            self.unfinished() or self.house.board.load(self.slot).outstanding
        ):
            self.loop.stop()
        else:
            self.loop.call_later(_DRAIN_CHECK_S, self._check_retired)

    # Draining: everybody goes on serving the others until all have said that they want nothing any more.

    def _drain(self, ends_at: float) -> None:  # model: begin_to_drain
        if self.draining:
            return
        self.draining = True
        self.drain_ends = ends_at
        self.start_drain()
        self.loop.call_later(max(0.0, ends_at - monotonic_now()), self._drain_over)
        self._check_drained()

    def _check_drained(self) -> None:  # model: say_drained
        if not self._said_drained and not self.unfinished():
            self._said_drained = True
            self.node.drain("the server is shutting down")
            for peer in self.node.peers():
                self.node.post(peer, _DRAINED, b"")
        if self._said_drained and not self.node.pending() and self._drained.issuperset(self.node.peers()):
            self.loop.call_later(_DRAIN_CHECK_S, self.loop.stop)  # a turn more, for the last words to leave
        else:
            self.loop.call_later(_DRAIN_CHECK_S, self._check_drained)

    def _drain_over(self) -> None:
        self.loop.call_later(_DRAIN_CHECK_S, self.loop.stop)
        self.give_up()
