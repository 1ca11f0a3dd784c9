"""The connection to one subscriber that events are streamed to, in the MI process: performs what its `Stream` says.

A non-blocking socket with a reader, and a writer only while the kernel takes no more: so it is known of each event
whether the kernel has it.
"""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from typing import Final, assert_never

from runtime.clock import monotonic_now
from runtime.streaming import Answers, Close, Effect, Ended, Item, Open, State, Stream, Terms, Write

_READ_BYTES: Final = 65_536
_AT_ONCE: Final = 100
"""Events written in one turn of the loop, so that others get theirs."""
_WAITS: Final = (BlockingIOError, InterruptedError)


class Line:
    """See the module.

    Args:
        loop: the process's.
        host, port: whom to connect to; a name is looked up each time.
        terms: what holds for all streams.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, host: str, port: int, terms: Terms) -> None:
        self._loop = loop
        self._host, self._port = host, port
        self._terms = terms
        self._stream = Stream(terms)
        self._todo: deque[Effect] = deque()
        self._performing = False
        self._socket: socket.socket | None = None
        self._opening: asyncio.Task[None] | None = None
        self._unsent = memoryview(b"")
        self._left = 0
        """How many may be written in this turn."""
        self._answers = Answers()
        self._timer: asyncio.TimerHandle | None = None

    def offer(self, item: Item) -> None:
        """There is something to say. Never raises; `item.done` is told what became of it, now or later."""
        if not self._stream.pending() and self._has_ended():
            self._broke()  # the kernel would take the event, and lose it
        self._perform(self._stream.offer(item))

    def pending(self) -> int:
        """How many items have not ended."""
        return self._stream.pending()

    def is_up(self) -> bool:
        """Whether there is a connection, or may be one in a moment."""
        return self._stream.state in (State.UP, State.OPENING)

    def close(self) -> None:
        """It is over: what has not ended is lost. Also once the loop has stopped, which then runs a last turn."""
        opening = self._opening
        self._perform(self._stream.close())
        if self._timer is not None:
            self._timer.cancel()
        if opening is not None and not self._loop.is_running():
            with suppress(asyncio.CancelledError):
                self._loop.run_until_complete(opening)

    # Effects.

    def _perform(self, effects: Iterable[Effect]) -> None:
        self._todo += effects
        if self._performing:
            return  # called by what an effect has led to: the one below goes on with it
        self._performing, self._left = True, _AT_ONCE
        try:
            # All of them in this turn: whatever happens next must not meet a connection that they were not said of.
            while self._todo:
                self._do(self._todo.popleft())
        finally:
            self._performing = False
        self._set_timer()

    def _do(self, effect: Effect) -> None:
        match effect:
            case Open():
                self._opening = self._loop.create_task(self._open())
            case Write(data):
                self._unsent = memoryview(data)
                self._send()
            case Close():
                self._drop()
            case Ended(item, arrived):
                item.done(arrived)
            case _:
                assert_never(effect)

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        due = self._stream.next_due()
        if due is not None:
            self._timer = self._loop.call_later(max(0.0, due - monotonic_now()), self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self._perform(self._stream.due(monotonic_now()))

    # The connection.

    async def _open(self) -> None:
        try:
            opened = await self._connected()
        except (OSError, UnicodeError):
            self._opening = None
            self._perform(self._stream.broke(monotonic_now()))
            return
        self._opening, self._socket, self._answers = None, opened, Answers()
        self._loop.add_reader(opened.fileno(), self._on_readable)
        self._perform(self._stream.opened(monotonic_now()))

    async def _connected(self) -> socket.socket:
        found = await self._loop.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
        family, kind, protocol, _, address = found[0]
        one = socket.socket(family, kind | socket.SOCK_NONBLOCK, protocol)
        try:
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await self._loop.sock_connect(one, address)
        except BaseException:
            one.close()
            raise
        return one

    def _send(self) -> None:
        """Send what is left, and say when all of it is out; in a later turn where this one has had its share."""
        assert self._socket is not None, "there is a connection when something is written"
        try:
            sent = self._socket.send(self._unsent)
        except _WAITS:
            sent = 0
        except OSError:
            self._broke()
            return
        self._unsent = self._unsent[sent:]
        self._left -= 1
        if self._unsent or not self._left:
            self._loop.add_writer(self._socket.fileno(), self._on_writable)
        else:
            self._perform(self._stream.wrote(monotonic_now()))

    def _on_writable(self) -> None:
        if self._socket is not None:
            self._loop.remove_writer(self._socket.fileno())
            self._left = _AT_ONCE
            self._send()

    def _on_readable(self) -> None:
        if self._socket is None:
            return
        try:
            data = self._socket.recv(_READ_BYTES)
        except _WAITS:
            return
        except OSError:
            data = b""
        answers = self._answers.feed(data) if data and self._terms.answers else []
        if not data or answers is None:
            self._broke()
            return
        for serial, arrived in answers:
            self._perform(self._stream.answered(serial, arrived, monotonic_now()))

    def _has_ended(self) -> bool:
        """Whether the subscriber has closed the connection, and this process has just not come to see it yet."""
        if self._socket is None:
            return False
        try:
            return not self._socket.recv(1, socket.MSG_PEEK)
        except _WAITS:
            return False
        except OSError:
            return True

    def _broke(self) -> None:
        self._drop()
        self._perform(self._stream.broke(monotonic_now()))

    def _drop(self) -> None:
        if self._opening is not None:
            self._opening.cancel()
            self._opening = None
        if self._socket is not None:
            self._loop.remove_reader(self._socket.fileno())
            self._loop.remove_writer(self._socket.fileno())
            self._socket.close()
            self._socket = None
        self._unsent = memoryview(b"")
