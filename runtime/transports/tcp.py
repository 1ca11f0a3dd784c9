"""One TCP connection of a SIP process, whoever opened it (RFC 3261 section 18).

It is a non-blocking socket with a reader, and a writer only while the kernel takes no more: an asyncio Protocol costs
the same per message (6.1 us against 6.0 with 50 connections), but uvloop sends only at the end of a turn, and a script
that answers and then blocks in a command must have answered before it blocks.
"""

from __future__ import annotations

import array
import asyncio
import enum
import errno
import fcntl
import os
import socket
import termios
from collections import deque
from contextlib import suppress
from typing import Final, NamedTuple, Protocol

from runtime.context import Address
from runtime.settings import StreamSettings
from runtime.sip.framing import Broken, Framed, Ping
from runtime.transports.base import KINDS, Failed, ListenSocket

READ_BYTES: Final = 32_768
"""Read in one turn of the loop, so that the other connections get theirs."""
MAX_UNSENT_BYTES: Final = 1 << 20
"""What waits for a peer that reads slowly, or for a connection to open. A peer that lets more come together is cut."""
HALF_OPEN_S: Final = 32.0
"""How long a peer that says nothing more is waited with for the answers it still has to get: 64*T1, as long as a
non-INVITE transaction lives."""
LINGER_S: Final = 2.0
"""How long a broken stream is read, and what is read thrown away, so that the peer gets the answer and not a reset."""
UNACKNOWLEDGED_MS: Final = 30_000
"""How long the kernel may be without a sign of a peer that it sends to."""
_FIRST_LOOK_S: Final = 0.01
_DOUBTFUL_S: Final = 0.2
"""How long before its peer's end a reply was sent that may not have arrived: the two may have crossed."""
_MOST_DOUBTFUL: Final = 8
_WAITS: Final = (BlockingIOError, InterruptedError)


class Outgoing(NamedTuple):
    """A message on its way out.

    Args:
        data: its bytes.
        failed: called where it cannot be sent.
        otherwise: where it goes by another connection when this one is gone; None for nowhere.
    """

    data: bytes
    failed: Failed | None = None
    otherwise: Address | None = None


class State(enum.IntEnum):
    """What becomes of a connection, as `list_tcp_conns` numbers it."""

    CLOSED = -2
    CLOSING = -1  # nothing can be read any more: what waits goes out, and that is the end
    OPEN = 0
    CONNECTING = 1
    HALF_OPEN = 2  # the peer says nothing more and may still read


class Sent(enum.Enum):
    """What became of a message that a connection was given."""

    TAKEN = "taken"
    REFUSED = "refused"  # too much waits already
    GONE = "gone"  # the connection turned out to be closed; nothing of the message was sent


class Owner(Protocol):
    """The process's connections, as one of them sees it."""

    loop: asyncio.AbstractEventLoop
    settings: StreamSettings

    def received(self, connection: Connection, message: bytes) -> None:
        """A message came."""

    def broke(self, connection: Connection, broken: Broken) -> None:
        """Nothing more can be read; the connection closes when this returns and what it sends is out."""

    def ended(self, connection: Connection, unsent: list[Outgoing], why: str) -> None:
        """The connection is closed; `unsent` could not be sent, as far as one can tell."""


class Connection:
    """See the module.

    Args:
        owner: told of everything.
        number: names it among all connections of the server.
        socket: the listening socket that it belongs to.
        sock: connected, or about to be.
        peer: the other end.
        opened: whether this side opened it.

    Attributes:
        was_up: whether there was a connection, and not only an attempt.
    """

    __slots__ = (
        "_awaited",
        "_fd",
        "_frame",
        "_framing",
        "_look",
        "_looks_again_s",
        "_loop",
        "_offset",
        "_out",
        "_owner",
        "_recent",
        "_sock",
        "_unconfirmed",
        "_unsent",
        "last_active",
        "lifetime_s",
        "number",
        "opened",
        "partial_since",
        "peer",
        "since",
        "socket",
        "state",
        "was_up",
    )

    def __init__(
        self, owner: Owner, number: int, socket: ListenSocket, sock: socket.socket, peer: Address, *, opened: bool
    ) -> None:
        self.number = number
        self.socket = socket
        self.peer = peer
        self.opened = opened
        self.state = State.CONNECTING if opened else State.OPEN
        self.was_up = not opened
        self.lifetime_s = owner.settings.lifetime_s
        self.last_active = owner.loop.time()
        self.partial_since = 0.0
        """When the message began that is not whole yet; 0 for none."""
        self.since = self.last_active
        """When its state began."""
        self._owner = owner
        self._loop = owner.loop
        kind = KINDS[socket.listen.protocol]
        self._framing = kind.framing()
        self._frame = kind.frame
        self._sock = sock
        self._fd = sock.fileno()
        self._out: deque[tuple[bytes, Outgoing | None]] = deque()
        """What the kernel has not taken yet, and which message it is. Only while a writer waits, or the connection is
        being opened."""
        self._offset = 0
        """How much of the first of them it has."""
        self._unsent = 0
        """Bytes in `_out`, without that."""
        self._awaited = 0
        """Requests that came and have no final reply, as far as the first bytes of messages tell."""
        self._unconfirmed: list[Outgoing] = []
        self._recent: deque[tuple[float, Outgoing]] = deque(maxlen=_MOST_DOUBTFUL)
        """The last final replies, with when they were sent."""
        """What was sent to a half-open peer, until its kernel has it: a peer that is gone altogether looks the same."""
        self._look: asyncio.TimerHandle | None = None
        self._looks_again_s = _FIRST_LOOK_S
        if opened:
            self._loop.add_writer(self._fd, self._on_connected)
            self._look = self._loop.call_later(owner.settings.connect_timeout_s, self.end, "it did not open in time")
        else:
            self._begin()

    # Opening.

    def _begin(self) -> None:
        wrap = KINDS[self.socket.listen.protocol].wrap
        if wrap is not None:
            self._sock = wrap(self._sock, self.opened)
        self._loop.add_reader(self._fd, self._on_readable)

    def _on_connected(self) -> None:
        problem = self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if problem:
            return self.end(os.strerror(problem))
        self._stop_looking()
        self.was_up = True
        self._become(State.OPEN)
        self._begin()
        self._loop.add_writer(self._fd, self._on_writable)
        return self._on_writable()

    def _become(self, state: State) -> None:
        self.state = state
        self.since = self._loop.time()

    # Reading.

    def _on_readable(self) -> None:
        try:
            data = self._sock.recv(READ_BYTES)
        except _WAITS:
            return
        except OSError as error:
            return self.end(error.strerror or type(error).__name__)
        if not data:
            return self._on_end_of_data()
        if self.state is not State.CLOSING:
            self._take(self._framing.feed(data))

    def _take(self, framed: list[Framed]) -> None:
        self.last_active = self._loop.time()
        if not self._framing.partial:
            self.partial_since = 0.0
        elif framed or not self.partial_since:
            self.partial_since = self.last_active
        pongs = b""
        for one in framed:
            match one:
                case bytes():
                    if not one.startswith((b"SIP/", b"ACK ")):
                        self._awaited += 1
                    self._owner.received(self, one)
                case Ping(answer):
                    pongs += answer
                case Broken():
                    self._owner.broke(self, one)
                    self.finish()
        if pongs and self.state is not State.CLOSING:
            self._put(pongs, None)

    def _on_end_of_data(self) -> None:
        """The peer sends nothing more. It may still read: whoever is owed an answer gets it (RFC 3261 18.2.2)."""
        self._loop.remove_reader(self._fd)
        if self.state is State.OPEN:
            self._become(State.HALF_OPEN)
            self.partial_since = 0.0
            self._unconfirmed += self._take_recent()
            self._look_soon()
            self._leave_half_open()
        else:
            self.end("the peer closed it")

    def _leave_half_open(self) -> None:
        if self.state is State.HALF_OPEN and not self._awaited and not self._out and not self._unconfirmed:
            self.end("the peer closed it")

    # Writing.

    def send(self, one: Outgoing) -> Sent:
        """Send a message, or keep it until the kernel takes it."""
        if self.state < State.OPEN:
            return Sent.GONE
        return self._put(self._frame(one.data) if self._frame else one.data, one)

    def _put(self, data: bytes, one: Outgoing | None) -> Sent:
        if self._out or self.state is State.CONNECTING:
            return self._keep(data, one)
        try:
            sent = self._sock.send(data)
        except _WAITS:
            sent = 0
        except OSError as error:
            self.end(error.strerror or type(error).__name__)
            return Sent.GONE
        if sent < len(data):
            self._offset = sent
            self._unsent = -sent
            self._loop.add_writer(self._fd, self._on_writable)
            return self._keep(data, one)
        self._on_sent(data, one)
        return Sent.TAKEN

    def _keep(self, data: bytes, one: Outgoing | None) -> Sent:
        if self._unsent + len(data) <= MAX_UNSENT_BYTES:
            self._unsent += len(data)
            self._out.append((data, one))
            return Sent.TAKEN
        if self.state is not State.CONNECTING:
            self.end("the peer reads too slowly", elsewhere=False)
        return Sent.REFUSED

    def _on_writable(self) -> None:
        while self._out:
            data, one = self._out[0]
            try:
                sent = self._sock.send(memoryview(data)[self._offset :])
            except _WAITS:
                return
            except OSError as error:
                return self.end(error.strerror or type(error).__name__)
            self._unsent -= sent
            self._offset += sent
            if self._offset < len(data):
                return
            self._out.popleft()
            self._offset = 0
            self._on_sent(data, one)
        self._loop.remove_writer(self._fd)
        if self.state is State.CLOSING:
            self._say_no_more()
        else:
            self._leave_half_open()

    def _on_sent(self, data: bytes, one: Outgoing | None) -> None:
        self.last_active = self._loop.time()
        if self._awaited and data.startswith(b"SIP/2.0 ") and data[8:9] >= b"2":
            self._awaited -= 1
        if one is None:
            return
        if self.state is State.HALF_OPEN:
            self._unconfirmed.append(one)
            self._look_soon()
        elif one.otherwise is not None and one.data[8:9] >= b"2":
            self._recent.append((self.last_active, one))

    def _take_recent(self) -> list[Outgoing]:
        """The replies that may have crossed the peer's end on the way."""
        since = self._loop.time() - _DOUBTFUL_S
        found = [one for sent_at, one in self._recent if sent_at >= since]
        self._recent.clear()
        return found

    def _look_soon(self) -> None:
        if self._unconfirmed and self._look is None:
            self._look = self._loop.call_later(self._looks_again_s, self._confirm)

    def _confirm(self) -> None:
        """See whether a half-open peer has what was sent to it; one that is gone has answered with a reset."""
        self._look = None
        problem = self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if problem:
            return self.end(os.strerror(problem))
        if _unacknowledged(self._sock):
            self._looks_again_s *= 2
            self._look = self._loop.call_later(self._looks_again_s, self._confirm)
            return None
        self._unconfirmed.clear()
        self._looks_again_s = _FIRST_LOOK_S
        return self._leave_half_open()

    # Ending.

    def finish(self) -> None:
        """Close it when what waits to be sent is out."""
        if self.state < State.OPEN:
            return
        self._become(State.CLOSING)
        if not self._out:
            self._say_no_more()

    def _say_no_more(self) -> None:
        with suppress(OSError):
            self._sock.shutdown(socket.SHUT_WR)

    def overdue(self, now: float) -> str | None:
        """Why it must not stay open any longer, or None."""
        settings = self._owner.settings
        if self.state is State.CLOSING:
            return "it was broken" if now - self.since > LINGER_S else None
        if self.state is State.HALF_OPEN and now - self.since > HALF_OPEN_S:
            return "the peer closed it"
        if self.partial_since and now - self.partial_since > settings.max_message_s:
            return "a message took too long to arrive"
        if self.state is not State.CONNECTING and now - self.last_active > self.lifetime_s:
            return "it was idle"
        return None

    def end(self, why: str, *, elsewhere: bool = True) -> None:
        """Close it now.

        Args:
            why: for the log.
            elsewhere: whether what could not be sent may go by another connection.
        """
        if self.state is State.CLOSED:
            return
        self._become(State.CLOSED)
        self._stop_looking()
        self._loop.remove_reader(self._fd)
        self._loop.remove_writer(self._fd)
        self._sock.close()
        unsent = [
            *self._unconfirmed,
            *(self._take_recent() if elsewhere else ()),
            *(one for _, one in self._out if one is not None),
        ]
        self._out.clear()
        self._unconfirmed.clear()
        self._owner.ended(self, unsent if elsewhere else [one._replace(otherwise=None) for one in unsent], why)

    def _stop_looking(self) -> None:
        if self._look is not None:
            self._look.cancel()
            self._look = None


def begin_to_connect(socket_: ListenSocket, to: Address, settings: StreamSettings) -> socket.socket:
    """A socket that is being connected, from the IP address of a listening one.

    Raises:
        OSError: the address is no numeric one of that family, or there is no way to it.
    """
    family = socket_.sock.family
    socket.inet_pton(family, to.host.partition("%")[0])  # a name would be looked up, and that blocks
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        tune(sock, settings)
        sock.bind((socket_.listen.host, 0))
        problem = sock.connect_ex((to.host, to.port))
        if problem not in (0, errno.EINPROGRESS):
            raise OSError(problem, os.strerror(problem))
    except OSError:
        sock.close()
        raise
    return sock


def tune(sock: socket.socket, settings: StreamSettings) -> None:
    """Set what every connection has set."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNACKNOWLEDGED_MS)
    if not settings.keepalive:
        return
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (
        (socket.TCP_KEEPIDLE, settings.keepidle_s),
        (socket.TCP_KEEPINTVL, settings.keepinterval_s),
        (socket.TCP_KEEPCNT, settings.keepcount),
    ):
        if value:
            sock.setsockopt(socket.IPPROTO_TCP, option, value)


def _unacknowledged(sock: socket.socket) -> int:
    """Bytes that the peer's kernel has not acknowledged."""
    count = array.array("i", [0])
    fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, count)
    return count[0]
