"""TCP connections as they are accepted: no more than there is room for, those included that have yet to shake hands.

An asyncio server asks for a protocol for each connection and then waits for its TLS handshake, whatever the protocol:
one turned away there keeps its file descriptor until it has shaken hands, and a few thousand that never do are all
that the process may have.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from typing import Final

_ACCEPTS_A_TURN: Final = 32
_PAUSE_S: Final = 0.5
"""How long nobody is accepted where the process may open no more files."""


class Acceptor:
    """Accepts from a listening socket until `close()`. To be made on the running loop.

    Args:
        listening: it; closed with this.
        protocol: gives the protocol of one more connection, or None where there is no room for it.
        tls: how connections are encrypted; None for plain TCP.
        handshake_s: how long that may take to begin, in seconds.
        failed: called for each connection that could not be begun.

    Attributes:
        entering: the protocols of connections that shake hands.
    """

    def __init__(
        self,
        listening: socket.socket,
        protocol: Callable[[], asyncio.Protocol | None],
        tls: ssl.SSLContext | None,
        handshake_s: float,
        failed: Callable[[], object],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._listening = listening
        self._protocol = protocol
        self._tls = tls
        self._handshake_s = None if tls is None else handshake_s
        self._failed = failed
        self._tasks: set[asyncio.Task[None]] = set()
        self._pause: asyncio.TimerHandle | None = None
        self.entering: set[asyncio.Protocol] = set()
        listening.setblocking(False)
        self._accept_from_now_on()

    def close(self) -> None:
        """Listen no more; who shakes hands is let go."""
        if self._pause is not None:
            self._pause.cancel()
        self._loop.remove_reader(self._listening.fileno())
        self._listening.close()
        for task in self._tasks:
            task.cancel()

    def _accept_from_now_on(self) -> None:
        self._loop.add_reader(self._listening.fileno(), self._on_acceptable)

    def _on_acceptable(self) -> None:
        for _ in range(_ACCEPTS_A_TURN):
            try:
                one, _ = self._listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError:
                self._loop.remove_reader(self._listening.fileno())
                self._pause = self._loop.call_later(_PAUSE_S, self._accept_from_now_on)
                return
            self._let_in(one)

    def _let_in(self, one: socket.socket) -> None:
        protocol = self._protocol()
        if protocol is None:
            one.close()
            return
        one.setblocking(False)
        self.entering.add(protocol)
        task = self._loop.create_task(self._begin(one, protocol))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _begin(self, one: socket.socket, protocol: asyncio.Protocol) -> None:
        try:
            await self._loop.connect_accepted_socket(
                lambda: protocol, one, ssl=self._tls, ssl_handshake_timeout=self._handshake_s
            )
        except OSError:
            self._failed()
        finally:
            self.entering.discard(protocol)
