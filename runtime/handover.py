"""How a SIP process gives a message that it read to the process whose it is.

One pair of Unix datagram sockets for each SIP process, made before the forks: everybody may send into it, its owner
reads. A message that was sent lies in the owner's socket when `send` returns, so what is sent first is there first.
Through ZeroMQ, which carries everything else, one such message costs four more wake-ups of threads and 0.1 to 0.2 ms,
in which the 200 that came behind a 180 overtakes it.

**Order.** Processes that read one socket side by side finish in any order: the process that read a 180 may still be
parsing it when another one, whose call it is, has read the 200. So each process says in shared memory when the kernel
received what it is looking at, until it has dealt with it or given it away (`Marks`). Before a reply is dealt with or
given away, those who look at something older are waited for: some microseconds, since they are about to be through.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import socket
import struct
import time
from typing import Final, NamedTuple

from mypy_extensions import mypyc_attr

from runtime.context import Address

PATIENCE_S: Final = 0.25
"""How long a process that does not get on is waited for. Where more processes want to run than there are processors it
may be out of turn for some tens of milliseconds: with 5 ms one reply in 500 was overtaken on a machine that had twice
as much to do as it could, with 30 ms one in 1,500. Who waits leaves it the processor. To serve on meanwhile and keep
the replies for later was tried: what is kept in one process then waits for what is kept in another, and on such a
machine replies lay there for seconds."""
_YIELDS: Final = 50
"""How often the processor is offered to others before this process sleeps instead."""
_NAP_S: Final = 0.0002
READING: Final = 1
BUFFER: Final = 1 << 20
"""Bytes that the kernel is asked to hold for a process that does not read; it may grant less."""
MAX_MESSAGE: Final = 65_536 + 512
_HEAD: Final = struct.Struct("!HHBB")
CALL: Final = b"r"
MOST_HOPS: Final = 2
"""So often a message is given at most, that none goes round in a circle. Twice is needed: a process may read what its
predecessor had been given, of a request that a third one has taken up since."""


class Given(NamedTuple):
    """A message that was given to a process.

    Args:
        listener: the listening socket that it came in on; -1 for a call to read, which says no more.
        source: where it came from.
        data: its bytes.
        hops: how often it has been given.
    """

    listener: int
    source: Address
    data: bytes
    hops: int


CALLED: Final = Given(-1, Address("", 0), b"", 0)


@mypyc_attr(allow_interpreted_subclasses=True)  # the simulated machine has one
class Handover:
    """The pairs of all SIP processes.

    Args:
        count: how many SIP processes there are.
    """

    def __init__(self, count: int) -> None:
        self._pairs = [socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM) for _ in range(count)]
        for out, inbox in self._pairs:
            out.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)
            out.setblocking(False)
            inbox.setblocking(False)
        self._count = count
        self._sent = memoryview(mmap.mmap(-1, count * count * 8)).cast("Q")
        """How many messages each process (row) has sent to each (column); each writes its own row."""
        self._me = 0
        self._taken = 0
        """How many of those sent to this process it has taken out, as far as it knows."""

    def enter(self, slot: int) -> None:
        """After the fork: this is the process in that slot."""
        self._me = slot

    def lies(self) -> bool:
        """Whether there is something for this process, as far as those who sent it have come.

        To ask costs a tenth of what finding nothing does.
        """
        return self._taken != self._sent_here()

    def _sent_here(self) -> int:
        return sum(self._sent[self._me :: self._count].tolist())

    def send(self, slot: int, index: int, source: Address, data: bytes, hops: int = 1) -> bool:
        """Give a message to the process in a slot.

        Args:
            slot: whose it is.
            index: the listening socket that it came in on.
            source: where it came from.
            data: the message.
            hops: how often it will then have been given.

        Returns:
            False when that process has let too much lie about: the message is not there.
        """
        host = source.host.encode("ascii", "replace")
        try:
            self._pairs[slot][0].send(_HEAD.pack(index, source.port, hops, len(host)) + host + data)
        except OSError:
            return False
        self._sent[self._me * self._count + slot] += 1
        return True

    def call(self, slot: int) -> None:
        """Ask the process in a slot to read the sockets. Where its socket is full it is not idle anyway."""
        with contextlib.suppress(OSError):
            self._pairs[slot][0].send(CALL)
            self._sent[self._me * self._count + slot] += 1

    def receive(self, slot: int) -> Given | None:
        """The next message that was given to the process in this slot."""
        sent = self._sent_here()
        try:
            packet = self._pairs[slot][1].recv(MAX_MESSAGE)
        except OSError:
            self._taken = sent
            return None
        self._taken += 1
        if packet == CALL:
            return CALLED
        index, port, hops, length = _HEAD.unpack_from(packet)
        start = _HEAD.size + length
        return Given(index, Address(packet[_HEAD.size : start].decode("ascii"), port), packet[start:], hops)

    def fileno(self, slot: int) -> int:
        """The descriptor that becomes readable when there is something for that slot."""
        return self._pairs[slot][1].fileno()

    def close(self) -> None:
        """Close this process's ends of all pairs."""
        for out, inbox in self._pairs:
            out.close()
            inbox.close()


class Marks:
    """What each SIP process is looking at: when the kernel received it.

    Each process writes its own cell, so nothing needs a lock: 0 while it looks at nothing, `READING` while it does not
    know yet, else nanoseconds. A process that was stopped or killed in between is waited for once, for `PATIENCE_S`.

    Args:
        count: how many SIP processes there are.
        slot: which of them this one is; every process makes its own object of the shared memory.
        memory: `count` cells of 8 bytes, zeroed, made before the forks.
    """

    __slots__ = ("_cells", "_given_up", "_others", "_slot")

    def __init__(self, memory: mmap.mmap, count: int, slot: int) -> None:
        self._cells = memoryview(memory).cast("q")
        self._slot = slot
        self._others = [other for other in range(count) if other != slot]
        self._given_up = [0] * count
        """What each one was looking at when it was last waited for in vain."""

    def cell(self) -> memoryview:
        """This process's own cell, for who writes it without a call of Python's for each message."""
        return self._cells[self._slot : self._slot + 1]

    def reading(self) -> None:
        """This process is about to read a datagram."""
        self._cells[self._slot] = READING

    def looking(self, received_ns: int) -> None:
        """It has read one that the kernel received then."""
        self._cells[self._slot] = received_ns

    def looks_at(self) -> int:
        """When the kernel received what this process looks at; 0 or `READING` where it does not look, or not know."""
        return self._cells[self._slot]

    def through(self) -> None:
        """It has dealt with it, or given it away, or there was none."""
        self._cells[self._slot] = 0

    def wait_for_older(self) -> None:
        """Wait until nobody looks at anything older than what this process looks at."""
        cells, given_up = self._cells, self._given_up
        mine = cells[self._slot]
        for other in self._others:
            theirs = cells[other]
            if theirs != given_up[other]:
                given_up[other] = 0  # it got on
                if 0 < theirs < mine:
                    self._wait(other, mine)

    def _wait(self, other: int, mine: int) -> None:
        cells = self._cells
        ends, yields = time.monotonic() + PATIENCE_S, 0
        while 0 < (theirs := cells[other]) < mine:
            if yields < _YIELDS:
                yields += 1
                os.sched_yield()
                continue
            time.sleep(_NAP_S)
            if time.monotonic() > ends:
                self._given_up[other] = theirs
                return
            os.sched_yield()

    @staticmethod
    def clear(memory: mmap.mmap, slot: int) -> None:
        """A process died (the attendant, before the replacement is forked)."""
        memoryview(memory).cast("q")[slot] = 0
