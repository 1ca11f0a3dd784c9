"""All connections of a SIP process: accepted, opened, found again, and let go (RFC 3261 section 18).

Whoever accepts a connection owns it. Each process publishes the fingerprints of its peers' addresses in a table of its
own in shared memory. What another process has to say to such a peer is handed to the owner in a letter; what it
receives stays with it. After the owner's death its connections are gone, and new ones are accepted by the others.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Final, NamedTuple

import msgpack

from runtime.context import Address
from runtime.settings import StreamSettings
from runtime.sip.framing import Broken
from runtime.sip.ownership import Fingerprints, fingerprint
from runtime.transports.base import Failed, ListenSocket, OnBroken, OnDisconnected, OnMessage
from runtime.transports.tcp import Connection, Outgoing, Sent, State, begin_to_connect, tune

log = logging.getLogger("layby.transports")

Post = Callable[[int, str, bytes], bool]
"""Sends a letter to the process in a slot: topic and body; False when there is none."""

_SEND: Final = "stream"
_FAILED: Final = "stream-failed"
_SWEEP_S: Final = 0.5
_PAUSE_S: Final = 0.5
"""How long nothing is accepted after the system had no file or no memory for it."""
_COMPLAIN_S: Final = 10.0
"""How often it is said that there are too many: whoever makes them is not to fill the log as well."""
_HANDED_S: Final = 10.0
"""How much longer than a connection may take to open the failure of what was handed over is waited for."""
_NUMBER_BITS: Final = 40


class PeerRow(NamedTuple):
    """A connection, as `list_tcp_conns` shows it.

    Args:
        id: unique in the server.
        type: its protocol.
        state: see `State`.
        remote, local: ``host:port``.
        ends_at: when it ends if nothing comes or goes, in seconds of the epoch.
    """

    id: int
    type: str
    state: int
    remote: str
    local: str
    ends_at: float


class _Handed(NamedTuple):
    """What was handed to the owner of a connection, should it come to nothing."""

    failed: Failed
    until: float


def peers_slots(settings: StreamSettings) -> int:
    """Fingerprints per process, so that there is room for all connections in one."""
    return max(1024, 2 * settings.max_connections)


class Streams:
    """See the module.

    Args:
        sockets: all listening sockets, by their index.
        loop: the process's.
        settings: what connections are held to.
        slot: this process's row among the peers.
        peers: the shared table.
        post: sends letters.
        on_message, on_broken: told of what comes in.
        on_disconnected: told of each connection that has ended.
    """

    def __init__(
        self,
        sockets: Sequence[ListenSocket],
        loop: asyncio.AbstractEventLoop,
        settings: StreamSettings,
        *,
        slot: int,
        peers: Fingerprints,
        post: Post,
        on_message: OnMessage,
        on_broken: OnBroken,
        on_disconnected: OnDisconnected | None = None,
    ) -> None:
        self._on_disconnected = on_disconnected
        self.loop = loop
        self.settings = settings
        self._sockets = sockets
        self._listening = [one for one in sockets if one.reliable]
        self._kin = {
            one.index: [other.index for other in self._listening if _are_kin(one, other)] for one in self._listening
        }
        """The other sockets of the same protocol: a connection to one of them serves as well."""
        self._slot = slot
        self._peers = peers
        self._post = post
        self._on_message = on_message
        self._on_broken = on_broken
        self._numbers = itertools.count(1)
        self._connections: dict[tuple[int, str, int], Connection] = {}
        """By the listening socket's index, and the peer's host and port."""
        self._handed: dict[int, _Handed] = {}
        self._serials = itertools.count(time.monotonic_ns())
        """For what is handed over. No process of this slot before had them: answers to it may still come."""
        self._complain_at = 0.0
        self._sweeping: asyncio.TimerHandle | None = None
        self._is_open = False

    def tell(self, on_message: OnMessage) -> None:
        """Tell somebody else of each message from now on."""
        self._on_message = on_message

    def __len__(self) -> int:
        return len(self._connections)

    # Life.

    def open(self) -> None:
        """Accept from now on."""
        self._is_open = True
        for one in self._listening:
            self._accept_from(one)

    def close(self) -> None:
        """Accept no more, close every connection, and tell nobody."""
        self._is_open = False
        for one in self._listening:
            self.loop.remove_reader(one.sock.fileno())
        for connection in list(self._connections.values()):
            connection.end("this process ends")
        self._handed.clear()
        if self._sweeping is not None:
            self._sweeping.cancel()

    # Accepting.

    def _accept_from(self, one: ListenSocket) -> None:
        if self._is_open:
            self.loop.add_reader(one.sock.fileno(), self._accept, one)

    def _accept(self, one: ListenSocket) -> None:
        """Accept one connection, and leave the next one to whichever process is free then."""
        try:
            sock, address = one.sock.accept()
        except (BlockingIOError, InterruptedError, ConnectionError):
            return
        except OSError as error:
            log.error("%s: no connection can be accepted for now: %s", one.listen, error.strerror)
            self.loop.remove_reader(one.sock.fileno())
            self.loop.call_later(_PAUSE_S, self._accept_from, one)
            return
        peer = Address(address[0], address[1])
        if not self._has_room():
            sock.close()
            return
        try:
            sock.setblocking(False)
            tune(sock, self.settings)
        except OSError:
            sock.close()  # the peer is gone by now
            return
        self._add(Connection(self, self._number(), one, sock, peer, opened=False))

    def _has_room(self) -> bool:
        if sum(map(self._peers.count, range(self._peers.processes))) < self.settings.max_connections:
            return True
        silent = next((one for one in self._connections.values() if one.state is State.HALF_OPEN), None)
        if silent is not None:
            silent.end("its place is needed")
        elif self.loop.time() >= self._complain_at:
            self._complain_at = self.loop.time() + _COMPLAIN_S
            log.warning("there are %d connections: no more can be had", self.settings.max_connections)
        return silent is not None

    def _number(self) -> int:
        return self._slot << _NUMBER_BITS | next(self._numbers)

    def _add(self, connection: Connection) -> None:
        key = _key(connection.socket.index, connection.peer)
        before = self._connections.get(key)
        if before is not None:
            before.end("the peer has a new one")
        self._connections[key] = connection
        self._peers.add(self._slot, _peer_print(connection.socket, connection.peer))
        self._sweep_later()

    # What connections say.

    def received(self, connection: Connection, message: bytes) -> None:
        """A message came."""
        try:
            self._on_message(connection.socket, message, connection.peer)
        except Exception:
            # What came in the same read behind it is not to be lost with it.
            log.exception("a message from %s:%d", connection.peer.host, connection.peer.port)

    def broke(self, connection: Connection, broken: Broken) -> None:
        """Nothing more can be read."""
        try:
            self._on_broken(connection.socket, connection.peer, broken)
        except Exception:
            log.exception("a broken stream from %s:%d", connection.peer.host, connection.peer.port)

    def ended(self, connection: Connection, unsent: list[Outgoing], why: str) -> None:
        """The connection is closed."""
        peer = connection.peer
        log.debug("connection %d with %s:%d is closed: %s", connection.number, peer.host, peer.port, why)
        key = _key(connection.socket.index, peer)
        if self._connections.get(key) is connection:
            del self._connections[key]
        self._peers.remove(self._slot, _peer_print(connection.socket, peer))
        if self._on_disconnected is not None and connection.was_up:
            self._on_disconnected(connection.socket, peer)
        if self._is_open:
            for one in unsent:
                self.loop.call_soon(self._send_elsewhere, connection, one)

    def _send_elsewhere(self, connection: Connection, one: Outgoing) -> None:
        """What a connection could not send goes by another one where it may, else it has failed."""
        to = one.otherwise
        if to is not None and to != connection.peer and self.send(connection.socket, one.data, to, one.failed):
            return
        if one.failed is not None:
            one.failed()

    # Sending.

    def send(
        self,
        socket: ListenSocket,
        data: bytes,
        to: Address,
        failed: Failed | None = None,
        otherwise: Address | None = None,
    ) -> bool:
        """See `Transports.send`."""
        one = Outgoing(data, failed, otherwise)
        sent = self._send_here(socket, one, to)
        if sent is Sent.GONE and self._hand_over(socket, one, to):
            return True
        if sent is Sent.GONE:
            sent = self._send_anew(socket, one, to)
        return sent is Sent.TAKEN

    def _send_here(self, socket: ListenSocket, one: Outgoing, to: Address) -> Sent:
        """Send it over a connection of this process, if there is one."""
        connection = self._find(socket, to)
        if connection is None:
            return Sent.GONE
        if connection.state is State.HALF_OPEN and one.otherwise is None:
            # A request: nobody would answer it. A peer that opened the connection itself cannot be reached any more.
            if not connection.opened:
                return Sent.REFUSED
            connection.end("the peer closed it")
        return connection.send(one)

    def _find(self, socket: ListenSocket, to: Address) -> Connection | None:
        host, port = to.host, to.port
        found = self._connections.get((socket.index, host, port))
        if found is None:
            for index in self._kin[socket.index]:
                found = found or self._connections.get((index, host, port))
        return found

    def _send_anew(self, socket: ListenSocket, one: Outgoing, to: Address) -> Sent:
        """Send it over a new connection: to where it may go otherwise, if that is said, else to the same place."""
        if one.otherwise is not None and one.otherwise != to:
            taken = self.send(socket, one.data, one.otherwise, one.failed)
            return Sent.TAKEN if taken else Sent.REFUSED
        if not self._has_room():
            return Sent.REFUSED
        try:
            sock = begin_to_connect(socket, to, self.settings)
        except OSError as error:
            log.debug("no connection to %s:%d: %s", to.host, to.port, error)
            return Sent.REFUSED
        connection = Connection(self, self._number(), socket, sock, to, opened=True)
        self._add(connection)
        return connection.send(one)

    # Handing over.

    def _hand_over(self, socket: ListenSocket, one: Outgoing, to: Address) -> bool:
        """Give it to the process that has a connection to that peer."""
        owner = self._peers.find(_peer_print(socket, to), self._slot)
        if owner is None:
            return False
        serial = 0
        if one.failed is not None:
            serial = next(self._serials)
            self._handed[serial] = _Handed(one.failed, self.loop.time() + self.settings.connect_timeout_s + _HANDED_S)
            self._sweep_later()
        otherwise = None if one.otherwise is None else (one.otherwise.host, one.otherwise.port)
        body = msgpack.packb((self._slot, serial, socket.index, to.host, to.port, otherwise, one.data))
        if self._post(owner, _SEND, body):
            return True
        self._handed.pop(serial, None)
        return False

    def on_letter(self, topic: str, body: bytes) -> bool:
        """A letter came; False when it is not about connections."""
        if topic == _SEND:
            self._send_for(*msgpack.unpackb(body))
        elif topic == _FAILED:
            handed = self._handed.pop(msgpack.unpackb(body), None)
            if handed is not None:
                handed.failed()
        return topic in (_SEND, _FAILED)

    def _send_for(
        self, slot: int, serial: int, index: int, host: str, port: int, otherwise: tuple[str, int] | None, data: bytes
    ) -> None:
        """Send what another process has handed over. It goes no further, so that nothing goes round in a circle."""
        failed = partial(self._tell_failed, slot, serial) if serial else None
        one = Outgoing(data, failed, None if otherwise is None else Address(*otherwise))
        to = Address(host, port)
        sent = self._send_here(self._sockets[index], one, to)
        if sent is Sent.GONE:
            sent = self._send_anew(self._sockets[index], one, to)
        if sent is not Sent.TAKEN and failed is not None:
            failed()

    def _tell_failed(self, slot: int, serial: int) -> None:
        self._post(slot, _FAILED, msgpack.packb(serial))

    # Looking after them.

    def persist(self, socket: ListenSocket, peer: Address, for_s: float) -> bool:
        """Keep a peer's connection open that long although nothing comes or goes; False when it is not here."""
        connection = self._find(socket, peer)
        if connection is None:
            return False
        connection.lifetime_s = max(self.settings.lifetime_s, for_s)
        return True

    def rows(self, epoch: float) -> Iterator[PeerRow]:
        """This process's connections.

        Args:
            epoch: the time now, in seconds of the epoch.
        """
        now = self.loop.time()
        for one in self._connections.values():
            remote = f"{one.peer.host}:{one.peer.port}"
            listen = one.socket.listen
            ends_at = epoch + one.last_active + one.lifetime_s - now
            yield PeerRow(one.number, listen.protocol, one.state, remote, f"{listen.host}:{listen.port}", ends_at)

    def _sweep_later(self) -> None:
        if self._sweeping is None and self._is_open:
            self._sweeping = self.loop.call_later(_SWEEP_S, self._sweep)

    def _sweep(self) -> None:
        self._sweeping = None
        now = self.loop.time()
        for connection in list(self._connections.values()):
            if (why := connection.overdue(now)) is not None:
                connection.end(why)
        for serial in [serial for serial, handed in self._handed.items() if handed.until < now]:
            del self._handed[serial]
        if self._connections or self._handed:
            self._sweep_later()


def _are_kin(one: ListenSocket, other: ListenSocket) -> bool:
    return one is not other and one.listen.protocol == other.listen.protocol


def _key(index: int, peer: Address) -> tuple[int, str, int]:
    return index, peer.host, peer.port


def _peer_print(socket: ListenSocket, peer: Address) -> int:
    return fingerprint(f"{socket.listen.protocol} {peer.host} {peer.port}")
