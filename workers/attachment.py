"""Something that works in turns, living in an asyncio loop: one reader, one ``call_soon``, one timer.

ZeroMQ's descriptor is edge-triggered and is signalled only when an empty inbox gets something, so a turn that leaves
work behind asks for another one itself. (``zmq.asyncio`` does the same with a Future per message, and reaches an
eighth of the rate.)
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from typing import Final

from workers.node import AT_ONCE
from workers.spinning import Spin

_LONG_S: Final = 0.001
"""What takes longer has run a job that others noticed."""


class Attachment:
    """The bond between a node and the loop that it lives in.

    Args:
        fd: the descriptor that is readable when there is something to do.
        on_readable: called with the time (CLOCK_MONOTONIC seconds) when the descriptor is.
        turn: called with the time when it was asked for by `wake` or by ``next_deadline``.
        next_deadline: when to call ``turn`` without the descriptor; `AT_ONCE` when there is more to do,
            else None.
        spin_s: how long the loop is kept from sleeping after a turn, while ``expects`` says that something is to come.
        expects: whether something is to come.
    """

    def __init__(
        self,
        fd: int,
        on_readable: Callable[[float], None],
        turn: Callable[[float], None],
        next_deadline: Callable[[], float | None],
        spin_s: float = 0.0,
        expects: Callable[[], bool] = lambda: False,
    ) -> None:
        self._fd = fd
        self._on_readable = on_readable
        self._turn = turn
        self._own_deadline = self._next_deadline = next_deadline
        self._spin = Spin(spin_s)
        self._expects = expects if spin_s else lambda: False
        self._spins_until = 0.0
        self._awake: asyncio.Handle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._soon: asyncio.Handle | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = math.inf

    def attach(self, loop: asyncio.AbstractEventLoop, next_deadline: Callable[[], float | None] | None = None) -> None:
        """Leave the loop that we live in, if any, and live in this one, with another ``next_deadline`` if given."""
        self.detach()
        self._loop = loop
        self._next_deadline = next_deadline or self._own_deadline
        loop.add_reader(self._fd, self._on_fd)
        self.wake()

    def detach(self) -> None:
        """Leave the loop."""
        loop, self._loop = self._loop, None
        if loop is None:
            return
        if not loop.is_closed():
            loop.remove_reader(self._fd)
        for handle in (self._soon, self._timer, self._awake):
            if handle is not None:
                handle.cancel()
        self._soon, self._timer, self._timer_at, self._awake = None, None, math.inf, None

    def wake(self) -> None:
        """Ask for a turn soon; many wishes make one turn. Without a loop, ``next_deadline`` has to say so."""
        if self._loop is not None and self._soon is None:
            self._soon = self._loop.call_soon(self._on_soon)

    def _on_fd(self) -> None:
        if self._awake is not None:
            self._spin.found()
        self._take_turn(self._on_readable)

    def _on_soon(self) -> None:
        self._soon = None
        self._take_turn(self._turn)

    def _on_others(self) -> None:
        """What the loop has found meanwhile is in its list now, and goes before the next turn."""
        assert self._loop is not None, "detached from its loop it would not be called"
        self._soon = self._loop.call_soon(self._on_soon)

    def _on_timer(self) -> None:
        self._timer, self._timer_at = None, math.inf
        self._take_turn(self._turn)

    def _take_turn(self, turn: Callable[[float], None]) -> None:
        began_at = time.monotonic()
        try:
            turn(began_at)
        finally:
            self._rearm(began_at)

    def _keep_awake(self) -> None:
        """Be called in every turn of the loop for a while, so that it looks at the descriptor and does not sleep."""
        self._awake = None
        now = time.monotonic()
        if self._loop is not None and now < self._spins_until and self._spin.give_way(now):
            self._awake = self._loop.call_soon(self._keep_awake)

    def _rearm(self, began_at: float) -> None:
        """See that the next turn comes when it is due.

        Args:
            began_at: when the turn that is over began (CLOCK_MONOTONIC seconds). After a long one the loop does first
                what has come meanwhile: what is asked for with `call_soon` it does before, and so one slow job followed
                the other while the word lay there that the server ends.
        """
        if self._loop is None:
            return
        if self._expects():
            now = time.monotonic()
            self._spins_until = self._spin.until(now)
            if self._awake is None and self._spins_until > now:
                self._awake = self._loop.call_soon(self._keep_awake)
        deadline = self._next_deadline()
        if deadline == AT_ONCE and time.monotonic() - began_at > _LONG_S:
            if self._soon is not None:
                self._soon.cancel()
            self._soon = self._loop.call_soon(self._on_others)
        elif deadline == AT_ONCE:
            self.wake()
        elif deadline is not None and deadline < self._timer_at:
            # A timer that comes too early only looks again, so a later deadline needs no new one.
            if self._timer is not None:
                self._timer.cancel()
            # Up to the next millisecond, which is what uvloop counts in: no turning on the spot before the deadline.
            delay_s = math.ceil(max(0.0, deadline - time.monotonic()) * 1000) / 1000
            self._timer, self._timer_at = self._loop.call_later(delay_s, self._on_timer), deadline
