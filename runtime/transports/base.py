"""Listening sockets, opened by the attendant and shared by all SIP processes; and what the kinds of transport share.

Every SIP process waits on the same sockets. Whichever is free takes the next datagram, or the next connection, one at a
time: a process that is blocked in a command holds nobody's datagram but the one it works on.
"""

from __future__ import annotations

import errno
import resource
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol, TypeAlias

from runtime.context import Address
from runtime.errors import SettingsError
from runtime.listen import Listen, parse_listen
from runtime.settings import StreamSettings
from runtime.sip.framing import Broken, Framed, Framer
from runtime.transports.datagrams import SO_TIMESTAMPNS

RECEIVE_BUFFER: Final = 4 << 20
"""Bytes that the kernel is asked to hold for a UDP socket while every process is busy; it may grant less."""
_PATIENCE_S: Final = 2.0
"""How long an address in use is tried again: the processes of a killed server take a moment to go."""
_OTHER_FILES: Final = 256
"""Open files of a process beside its connections."""


@dataclass(frozen=True, slots=True, eq=False)
class ListenSocket:
    """An open socket and the address that it was opened for.

    Attributes:
        index: its number among all; scripts and parked messages name it by that.
        reliable: whether it is a stream's.
    """

    index: int
    listen: Listen
    sock: socket.socket
    reliable: bool = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "reliable", self.listen.reliable)

    def close(self) -> None:
        """Close this process's copy; the others' stay open."""
        self.sock.close()


OnMessage: TypeAlias = Callable[[ListenSocket, bytes, Address], None]
"""Told of each message: where it came in, its bytes, who sent it."""
OnBroken: TypeAlias = Callable[[ListenSocket, Address, Broken], None]
"""Told of a stream that cannot be read any further. What is sent to it meanwhile still goes out, then it is closed."""
OnDisconnected: TypeAlias = Callable[[ListenSocket, Address], object]
"""Told of a connection that has ended: the listening socket that it belonged to, and its peer."""
Failed: TypeAlias = Callable[[], None]
"""Called when it turns out later that a message could not be sent: at most once, in a turn of the loop of its own."""


class Framing(Protocol):
    """What cuts one stream into messages."""

    @property
    def partial(self) -> bool:
        """Whether a message has begun and is not whole yet."""

    def feed(self, data: bytes) -> list[Framed]:
        """Take what was read; what became whole by it."""


@dataclass(frozen=True, slots=True)
class StreamKind:
    """What a protocol adds to TCP. All else is the same for all of them.

    Args:
        framing: makes what cuts a stream into messages, for each connection.
        wrap: given a connected socket and whether this side opened it, gives the one to read and write, e.g. one that
            encrypts, with the same descriptor. It must not block either: like a plain one it raises BlockingIOError
            instead. None to read and write the plain one.
        frame: what a message looks like on the stream; None for just as it is.
    """

    framing: Callable[[], Framing]
    wrap: Callable[[socket.socket, bool], socket.socket] | None = None
    frame: Callable[[bytes], bytes] | None = None


KINDS: Final[dict[str, StreamKind]] = {"tcp": StreamKind(Framer)}
"""By protocol. TLS has something to wrap, WebSocket something to frame."""


def open_sockets(addresses: Sequence[Listen], streams: StreamSettings) -> list[ListenSocket]:
    """Open every address.

    Raises:
        SettingsError: one of them cannot be had; says which and why.
    """
    opened: list[ListenSocket] = []
    try:
        for index, listen in enumerate(addresses):
            opened.append(ListenSocket(index, listen, _open(listen, streams)))
    except SettingsError:
        for one in opened:
            one.close()
        raise
    if any(one.reliable for one in opened):
        allow_files(streams.max_connections + _OTHER_FILES)
    return opened


def socket_index(sockets: Sequence[ListenSocket], text: str) -> int | None:
    """The index of the socket that is written ``PROTOCOL:HOST[:PORT]``; None where there is none of that address."""
    try:
        wanted = parse_listen(text)
    except SettingsError:
        return None
    place = wanted.protocol, wanted.host, wanted.port
    found = (one.index for one in sockets if (one.listen.protocol, one.listen.host, one.listen.port) == place)
    return next(found, None)


def _open(listen: Listen, streams: StreamSettings) -> socket.socket:
    patience_ends = time.monotonic() + _PATIENCE_S
    while True:
        kind = socket.SOCK_STREAM if listen.reliable else socket.SOCK_DGRAM
        sock = socket.socket(family_of(listen.host), kind)
        try:
            _bind(sock, listen, streams)
            return sock
        except OSError as error:
            sock.close()
            if error.errno != errno.EADDRINUSE or time.monotonic() > patience_ends:
                raise SettingsError(f"cannot listen on {listen}: {error.strerror}") from error
            time.sleep(0.05)


def _bind(sock: socket.socket, listen: Listen, streams: StreamSettings) -> None:
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    if listen.reliable:
        # Connections of a server that was here before may linger.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((listen.host, listen.port))
        sock.listen(streams.backlog)
    else:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        sock.bind((listen.host, listen.port))
    sock.setblocking(False)


def family_of(host: str) -> socket.AddressFamily:
    """The family of a numeric address."""
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def allow_files(wanted: int) -> None:
    """Let each process hold that many files, as far as the system lets us."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    granted = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < granted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (granted, hard))
