"""What a simulated process has in place of the kernel: a clock, descriptors to wait for, sockets, and its links.

The numbers of its descriptors are beyond all real ones. Real ones may be registered, too, e.g. by asyncio for itself;
nothing ever comes on them.
"""

from __future__ import annotations

import math
import os
import select
import selectors
import socket
import struct
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, assert_never

import uvloop

from runtime.context import Address
from runtime.handover import Handover
from runtime.simulation.clock import CLOCK, EPOCH_S, put
from runtime.simulation.events import Event
from runtime.simulation.words import (
    CHANNEL,
    COMMANDS,
    CONTROL,
    HANDOVER,
    UDP,
    Command,
    Datagram,
    Frame,
    Handed,
    Line,
    Output,
    Said,
    SendDatagram,
    SendFrame,
    Told,
    Waits,
)
from workers import control, endpoint
from workers.channel import Transport
from workers.jobs import Peer

_FIRST: Final = 1 << 24
CHANNEL_FD, CONTROL_FD, COMMANDS_FD = _FIRST, _FIRST + 1, _FIRST + 2
_HANDOVER_FD: Final = _FIRST + 1000
_SOCKET_FD: Final = _FIRST + 2000
_MOST_TURNS: Final = 10_000
"""So often a process may look without waiting before time goes on all the same: it turns on the spot."""
_TURN_S: Final = 0.001
_TIMESPEC: Final = struct.Struct("@ll")


def _watch_of(fd: int) -> int:
    """Which of the things to wait for a descriptor is; 0 for none of the machine's."""
    if fd < _FIRST:
        return 0
    if fd >= _SOCKET_FD:
        return UDP
    return HANDOVER if fd >= _HANDOVER_FD else {CHANNEL_FD: CHANNEL, CONTROL_FD: CONTROL, COMMANDS_FD: COMMANDS}[fd]


class Kernel:
    """The machine as one process sees it. There is one in each process; `enter` gives it its line to the machine.

    Attributes:
        datagrams: what this process has been given of each listening socket, by its number.
        frames, told, commands: what has come for it.
        lying: whether datagrams lie in the listening sockets that nobody has read.
    """

    def __init__(self) -> None:
        self._line: Line | None = None
        self._outputs: list[Output] = []
        self._events: list[Event] = []
        self._turns = 0
        self.on_slept: Callable[[float], None] = lambda seconds: None
        self.datagrams: dict[int, deque[Datagram]] = {}
        self.frames: deque[bytes] = deque()
        self.frames_signalled = False
        self.told: deque[bytes] = deque()
        self.commands: deque[Command] = deque()
        self.lying = False
        self.handed: Callable[[], bool] = lambda: False

    def enter(self, line: Line) -> None:
        """After the fork: this is a process of the machine."""
        self._line = line
        CLOCK.sleep = self.sleep

    def put(self, output: Output) -> None:
        """Something leaves this process."""
        self._outputs.append(output)

    def note(self, event: Event) -> None:
        """Something happened."""
        self._events.append(event)

    def ready(self) -> int:
        """Of which there is something to read, of `UDP` to `COMMANDS`."""
        ready = CHANNEL if self.frames_signalled else 0
        if self.handed():
            ready |= HANDOVER
        if self.told:
            ready |= CONTROL
        if self.commands:
            ready |= COMMANDS
        return ready | UDP if any(self.datagrams.values()) else ready

    def wait(self, wake_at: float, watches: int) -> None:
        """Let the machine go on, and come back when something is there of what is watched, or it is time."""
        assert self._line is not None, "this is no process of a machine"
        outputs, self._outputs = self._outputs, []
        events, self._events = self._events, []
        self._turns = 0
        try:
            self._line.say(Waits(wake_at, watches, outputs, events))
        except OSError:
            os._exit(1)
        grant = self._line.hear_grant()
        if grant is None:
            os._exit(1)
        CLOCK.now = max(CLOCK.now, grant.now)
        self.lying = grant.lying
        for one in grant.inputs:
            match one:
                case Datagram():
                    self.datagrams[one.socket].append(one)
                case Frame(data):
                    self.frames.append(data)
                    self.frames_signalled = True
                case Told(data):
                    self.told.append(data)
                case Command():
                    self.commands.append(one)
                case _:
                    assert_never(one)

    def turn(self) -> None:
        """It looked, and does not wait."""
        self._turns += 1
        if self._turns > _MOST_TURNS:
            self.wait(CLOCK.now + _TURN_S, 0)

    def sleep(self, seconds: float) -> None:
        """As `time.sleep`: nothing ends it before its time."""
        ends = CLOCK.now + max(0.0, seconds)
        self.on_slept(seconds)
        while CLOCK.now < ends:
            self.wait(ends, 0)

    def die(self, kill: Callable[[], None]) -> None:
        """The process is killed here and now; what it has sent so far has left it."""
        assert self._line is not None, "this is no process of a machine"
        self._line.say(Waits(CLOCK.now, 0, self._outputs, self._events))
        kill()

    def flush(self) -> None:
        """The process ends: its last words."""
        self.wait(CLOCK.now, 0)


KERNEL: Final = Kernel()


class Epoll:
    """In place of `select.epoll`, and level-triggered as that is."""

    def __init__(self, sizehint: int = -1, flags: int = 0) -> None:
        self._watched: dict[int, int] = {}
        self._watches = 0

    def register(self, fd: int, eventmask: int = select.EPOLLIN) -> None:
        """As select.epoll."""
        self._watched[fd] = eventmask
        self._changed()

    def modify(self, fd: int, eventmask: int) -> None:
        """As select.epoll."""
        self._watched[fd] = eventmask
        self._changed()

    def unregister(self, fd: int) -> None:
        """As select.epoll."""
        del self._watched[fd]
        self._changed()

    def _changed(self) -> None:
        self._watches = 0
        self._fds = [fd for fd, mask in self._watched.items() if fd >= _FIRST and mask & select.EPOLLIN]
        for fd in self._fds:
            self._watches |= _watch_of(fd)

    def poll(self, timeout: float | None = None, maxevents: int = -1) -> list[tuple[int, int]]:
        """As select.epoll."""
        ready = self._ready()
        if ready or timeout == 0:
            KERNEL.turn()
            return ready
        ends = math.inf if timeout is None or timeout < 0 else CLOCK.now + timeout
        while not ready and ends > CLOCK.now:
            KERNEL.wait(ends, self._watches)
            ready = self._ready()
        return ready

    def _ready(self) -> list[tuple[int, int]]:
        ready = KERNEL.ready() & self._watches
        return [(fd, select.EPOLLIN) for fd in self._fds if _watch_of(fd) & ready] if ready else []

    def fileno(self) -> int:
        """As select.epoll."""
        return -1

    def close(self) -> None:
        """As select.epoll."""


class Poll:
    """In place of `select.poll`, for who looks whether datagrams lie there."""

    def __init__(self) -> None:
        self._fds: list[int] = []

    def register(self, fd: int, eventmask: int = select.POLLIN) -> None:
        """As select.poll."""
        self._fds.append(fd)

    def poll(self, timeout: float | None = None) -> list[tuple[int, int]]:
        """As select.poll, without ever waiting."""
        lying = KERNEL.lying or bool(KERNEL.ready() & UDP)
        return [(fd, select.POLLIN) for fd in self._fds if lying and _watch_of(fd) == UDP]


class UdpSocket:
    """In place of a listening socket that all SIP processes share.

    Args:
        index: its number among all.
    """

    def __init__(self, index: int) -> None:
        self._index = index
        KERNEL.datagrams[index] = deque()

    def fileno(self) -> int:
        """As socket.socket."""
        return _SOCKET_FD + self._index

    def recvmsg(self, size: int, ancillary: int = 0) -> tuple[bytes, list[tuple[int, int, bytes]], int, Any]:
        """As socket.socket; with the time when the datagram came."""
        lying = KERNEL.datagrams[self._index]
        if not lying:
            raise BlockingIOError
        one = lying.popleft()
        stamp_ns = round((EPOCH_S + one.received_at) * 1e9)
        stamp = _TIMESPEC.pack(stamp_ns // 1_000_000_000, stamp_ns % 1_000_000_000)
        return one.data[:size], [(socket.SOL_SOCKET, 0, stamp)], 0, (one.host, one.port)

    def sendto(self, data: bytes, to: tuple[str, int]) -> int:
        """As socket.socket."""
        KERNEL.put(SendDatagram(self._index, bytes(data), to[0], to[1]))
        return len(data)

    def close(self) -> None:
        """As socket.socket. What lies there is for the others."""


class SimulatedHandover(Handover):
    """The real one, over real sockets that never block; only waking its reader is the machine's business."""

    def enter(self, slot: int) -> None:
        super().enter(slot)
        KERNEL.handed = self.lies

    def send(self, slot: int, index: int, source: Address, data: bytes, hops: int = 1) -> bool:
        sent = super().send(slot, index, source, data, hops)
        KERNEL.put(Handed(slot))
        return sent

    def call(self, slot: int) -> None:
        super().call(slot)
        KERNEL.put(Handed(slot))

    def fileno(self, slot: int) -> int:
        return _HANDOVER_FD + slot


class SimulatedChannel:
    """See `workers.channel`."""

    def __init__(self, me: Peer, max_frame_bytes: int) -> None:
        self.due = math.inf
        self._peers: set[Peer] = set()
        self._max_frame_bytes = max_frame_bytes

    def fileno(self) -> int:
        """See `workers.channel.Channel`; readable once after something came, as a ZeroMQ socket's."""
        return CHANNEL_FD

    def receive(self) -> bytes | None:
        """See `workers.channel.Channel`."""
        KERNEL.frames_signalled = False
        return KERNEL.frames.popleft() if KERNEL.frames else None

    def connect(self, peer: Peer) -> None:
        """See `workers.channel.Channel`."""
        self._peers.add(peer)

    def disconnect(self, peer: Peer) -> None:
        """See `workers.channel.Channel`."""
        self._peers.remove(peer)

    def send(self, peer: Peer, frame: bytes) -> None:
        """See `workers.channel.Channel`."""
        assert peer in self._peers, peer
        if len(frame) <= self._max_frame_bytes:
            KERNEL.put(SendFrame(peer.name, peer.incarnation, frame))

    def close(self) -> None:
        """See `workers.channel.Channel`."""


class SimulatedLink(control.ControlLink):
    """A process's end of its link to the attendant, which here is the machine."""

    def __init__(self) -> None:
        self.malformed = 0

    @property
    def closed(self) -> bool:
        return False

    def fileno(self) -> int:
        return CONTROL_FD

    def receive(self) -> list[control.Told]:
        told: list[control.Told] = []
        while KERNEL.told:
            match control.decode(KERNEL.told.popleft()):
                case None | control.ReadySaid() | control.LastWords():
                    self.malformed += 1
                case word:
                    told.append(word)
        return told

    def ready(self) -> None:
        KERNEL.put(Said(control.encode(control.ReadySaid())))

    def last_words(self, reason: str) -> None:
        KERNEL.put(Said(control.encode(control.LastWords(reason))))

    def tell(self, topic: str, body: bytes) -> bool:
        KERNEL.put(Said(control.encode(control.Tell(topic, body))))
        return True

    def close(self) -> None:
        """It goes with its process."""


def install() -> None:
    """Put all this where the real things were, in an interpreter that only simulates; see `clock.install`."""
    import asyncio  # not before `select.epoll` is replaced

    put(select, "epoll", Epoll)
    put(select, "poll", Poll)
    put(selectors.EpollSelector, "_selector_cls", Epoll)
    put(uvloop, "new_event_loop", asyncio.SelectorEventLoop)
    put(endpoint, "open_channel", _open_channel)
    put(os, "setpriority", lambda which, who, priority: None)
    put(os, "sched_getaffinity", lambda pid: {0, 1})  # on every machine the same


def _open_channel(transport: Transport, me: Peer, folder: Path, max_frame_bytes: int) -> SimulatedChannel:
    return SimulatedChannel(me, max_frame_bytes)
