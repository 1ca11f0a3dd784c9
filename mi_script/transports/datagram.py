"""MI over datagrams, UDP or Unix: one JSON-RPC text each way, the answer to where the request came from."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from functools import partial
from pathlib import Path
from typing import Any, Final

from mi_script.service import Service
from mi_script.transports.counting import Counters, Tally
from mi_script.transports.crew import Crew
from mi_script.transports.paths import CannotListen, Claim, bind_unix

NAME: Final = "datagram"
MAX_REPLY_BYTES: Final = 65_507
"""The longest UDP payload over IPv4, in bytes."""

_RECEIVES_A_TURN: Final = 64


class DatagramTransport:
    """Listens at a UDP address or at a Unix datagram socket.

    Args:
        address: host (an IP address) and port, where port 0 takes any; or the path of a Unix socket.
        service: answers the texts.
        mode: the access mode of the Unix socket.
        counters: where to count `requests` received; `replies` handed to the kernel; `dropped` replies; `errors`: what
            was too long.
        max_reply: the longest answer, in bytes; a longer one becomes an error that says so.
        reply_s: how long a Unix client may leave its queue full, in seconds.
        drain_s: how long what runs may go on after `close()`, in seconds.
        most: how many requests may run at once.
    """

    def __init__(
        self,
        address: tuple[str, int] | Path | str,
        service: Service,
        *,
        mode: int = 0o600,
        counters: Counters | None = None,
        max_reply: int = MAX_REPLY_BYTES,
        reply_s: float = 1.0,
        drain_s: float = 2.0,
        most: int = 1000,
    ) -> None:
        self.counters = Tally() if counters is None else counters
        self.address: Any = address
        """Where it listens; after `start()` with the port that it got."""
        self._service = service
        self._mode = mode
        self._max_reply = max_reply
        self._reply_s = reply_s
        self._drain_s = drain_s
        self._crew = Crew(most, self._hold)
        self._socket: socket.socket | None = None
        self._claim: Claim | None = None
        self._closing = False
        self._buffer = bytearray(service.max_bytes + 1)

    async def start(self) -> None:
        """Bind and listen, on the running loop.

        Raises:
            CannotListen: the address or the path is taken, or cannot be had.
        """
        self._loop = asyncio.get_running_loop()
        if isinstance(self.address, tuple):
            self._socket = _bind_udp(*self.address)
            self.address = self._socket.getsockname()[:2]
        else:
            self._socket, self._claim = bind_unix(Path(self.address), self._mode)
        self._loop.add_reader(self._socket.fileno(), self._on_readable)

    async def close(self) -> None:
        """Remove the Unix socket, let what runs end, drop what takes too long."""
        if self._socket is None or self._closing:
            return
        self._closing = True
        if self._claim:
            self._claim.release()
        self._loop.remove_reader(self._socket.fileno())
        await self._crew.close(self._drain_s)
        self._socket.close()
        self._socket = None

    def _hold(self, full: bool) -> None:
        assert self._socket is not None
        if full:
            self._loop.remove_reader(self._socket.fileno())
        else:
            self._loop.add_reader(self._socket.fileno(), self._on_readable)

    def _on_readable(self) -> None:
        assert self._socket is not None
        for _ in range(_RECEIVES_A_TURN):
            try:
                size, _, flags, sender = self._socket.recvmsg_into([self._buffer])
            except BlockingIOError:
                return
            except OSError:
                continue  # an ICMP error that an earlier answer met
            self.counters.count("requests")
            # What does not fit is a byte longer than any text may be, and is answered as too long.
            if flags & socket.MSG_TRUNC:
                self.counters.count("errors")
            self._crew.take(partial(self._answer, bytes(self._buffer[:size]), sender))

    async def _answer(self, text: bytes, sender: Any) -> None:
        answer = await self._service.answer(text, NAME, max_reply=self._max_reply, strays=False)
        if answer is None:
            return
        try:
            async with asyncio.timeout(self._reply_s):
                await self._send(answer, sender)
        except (OSError, TimeoutError):
            self.counters.count("dropped")
        else:
            self.counters.count("replies")

    async def _send(self, answer: bytes, sender: Any) -> None:
        if not sender:
            raise OSError("a sender without an address")
        while self._socket is not None:
            try:
                self._socket.sendto(answer, sender)
                return
            except BlockingIOError:
                if self._claim and _sent_aside(answer, sender):
                    return
            # A full queue of a client does not show on our socket: there is nothing to wait for but time.
            await asyncio.sleep(_FULL_QUEUE_PAUSE_S)


_FULL_QUEUE_PAUSE_S: Final = 0.005


def _sent_aside(answer: bytes, sender: Any) -> bool:
    """Send from a socket of its own.

    What a Unix client has not read yet is charged to the socket that sent it, so one that does not read can use
    up the room of all. A client that is connected to us takes nothing from another socket, and has to wait.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as aside:
        try:
            aside.sendto(answer, sender)
        except (BlockingIOError, PermissionError):
            return False
    return True


def _bind_udp(host: str, port: int) -> socket.socket:
    try:
        family = socket.AF_INET6 if ipaddress.ip_address(host).version == 6 else socket.AF_INET
    except ValueError as error:
        raise CannotListen(f"{host} is no IP address") from error
    bound = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    try:
        bound.bind((host, port))
    except OSError as error:
        bound.close()
        raise CannotListen(f"cannot listen at UDP {host} port {port}: {error.strerror}") from error
    return bound
