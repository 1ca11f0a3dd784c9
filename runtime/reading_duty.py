"""One SIP process's part in reading the sockets: it reads, or rests until it is called or missed.

What to do is decided by `runtime.sip.reading`; here the sockets are taken up and let go, and others are called.
"""

from __future__ import annotations

import os
import select
from collections.abc import Callable
from typing import Final

from runtime.readers import Readers
from runtime.sip.reading import Pace, State, has_room, helper, may_rest, next_to_read, too_few
from runtime.sip_loop import SipLoop
from runtime.transports.udp import Datagrams

_LOOK_S: Final = 0.1
"""How often a process that reads asks itself whether it is one too many or too few."""
_WATCH_S: Final = 0.05
"""How often the first of those that rest looks whether what waits is read."""
_REST_S: Final = 0.2
"""How often the others do."""


class ReadingDuty:
    """The part of one process.

    Args:
        slot: this process's.
        readers: the table of all.
        loop: this process's.
        datagrams: its reading of the sockets.
        call: makes the process in a slot read; it need not be sure.
        least: how many processes shall read at least.
        on_busy: told at each look for which part of the time since the last one the process had something to do.
    """

    def __init__(
        self,
        slot: int,
        readers: Readers,
        loop: SipLoop,
        datagrams: Datagrams,
        call: Callable[[int], None],
        least: int = 1,
        on_busy: Callable[[float], None] = lambda busy: None,
    ) -> None:
        self._slot = slot
        self._readers = readers
        self._loop = loop
        self._datagrams = datagrams
        self._call = call
        self._least = least
        self._on_busy = on_busy
        self._processors = len(os.sched_getaffinity(0))
        self._still = 0
        self._pace = Pace()
        self._was_missed: int | None = None
        """How many messages had been taken when something was last seen to wait."""
        self._poll = select.poll()
        for fd in datagrams.filenos():
            self._poll.register(fd, select.POLLIN)

    def begin(self) -> None:
        """Come to life: read where nobody does."""
        self._readers.set(self._slot, State.RESTING)
        self._look()

    def read(self) -> None:
        """Read from now on."""
        if self._readers.state(self._slot) == State.RESTING:
            self._readers.set(self._slot, State.READING)
            self._datagrams.take_counts()
            self._pace.begin_anew()
            self._datagrams.open()

    def missed(self) -> None:
        """A process died: somebody has to read."""
        if too_few(self._readers.states(), self._least):
            self.read()

    def stand_still(self) -> None:
        """A command is about to stop this process: another one reads meanwhile. Calls nest."""
        self._still += 1
        if self._readers.state(self._slot) == State.READING:
            self._readers.set(self._slot, State.STILL)
            called = helper(self._readers.states(), self._slot)
            if called is not None:
                self._call(called)

    def move_again(self) -> None:
        """The command has ended."""
        self._still -= 1
        if not self._still and self._readers.state(self._slot) == State.STILL:
            self._readers.set(self._slot, State.READING)

    def close(self) -> None:
        """Read no more."""
        self._datagrams.close()

    def _look(self) -> None:
        busy = self._loop.busy_part()
        self._on_busy(busy)
        reading = self._readers.state(self._slot) == State.READING
        again_s = self._look_as_reader(busy) if reading else self._look_at_rest()
        self._loop.call_later(again_s, self._look)

    def _look_as_reader(self, busy: float) -> float:
        readers = self._readers
        taken, late = self._datagrams.take_counts()
        readers.set_busy(self._slot, busy)
        states = readers.states()
        self._pace.look(taken, late)
        if self._pace.is_behind(busy, has_room=has_room(states, self._processors)):
            self._pace.begin_anew()
            called = next_to_read(states)
            if called is not None:
                self._call(called)
        elif self._pace.is_calm and may_rest(states, readers.busy(), self._slot, self._least, self._processors):
            readers.set(self._slot, State.RESTING)
            self._datagrams.close()
            self._datagrams.drain()  # a datagram that woke this process alone wakes nobody else
        return _LOOK_S

    def _look_at_rest(self) -> float:
        states = self._readers.states()
        if too_few(states, self._least):
            self.read()
            return _LOOK_S
        if next_to_read(states) != self._slot:
            return _REST_S
        taken = self._readers.taken()
        waits = bool(self._poll.poll(0))
        if waits and self._was_missed == taken:
            self.read()
        self._was_missed = taken if waits else None
        return _WATCH_S
