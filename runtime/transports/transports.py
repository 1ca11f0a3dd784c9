"""What puts a SIP process's messages on the network and takes them from it, whatever they travel over."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from runtime.clock import epoch_now
from runtime.context import Address
from runtime.handover import Marks
from runtime.settings import StreamSettings
from runtime.sip.ownership import Fingerprints
from runtime.sip_loop import SipLoop
from runtime.transports.base import Failed, ListenSocket, OnBroken, OnDisconnected, OnMessage
from runtime.transports.datagrams import Send, sending_to
from runtime.transports.streams import PeerRow, Post, Streams
from runtime.transports.udp import Datagrams


class Transports:
    """The transports of one process.

    Args:
        sockets: the server's listening sockets, by their index.
        loop: the process's.
        on_message: told of each message that comes in.
        on_broken: told of each stream on which nothing more can be read. What is sent to it meanwhile still goes out.
        settings: what connections are held to.
        slot: this process's, which is its row among the peers too.
        peers: who has a connection to whom, shared by all SIP processes.
        post: sends a letter to the process in a slot; its `on_letter` takes it up.
        marks: tells the other processes what this one is looking at.
        took: told how many datagrams were read.
        on_disconnected: told of each connection that has ended: the listening socket that it belonged to, and its peer.

    Attributes:
        datagrams: the reading of the UDP sockets, which is taken up and let go apart from the rest.
    """

    def __init__(
        self,
        sockets: Sequence[ListenSocket],
        loop: SipLoop,
        on_message: OnMessage,
        *,
        on_broken: OnBroken,
        settings: StreamSettings,
        slot: int,
        peers: Fingerprints,
        post: Post,
        marks: Marks,
        took: Callable[[int], None],
        on_disconnected: OnDisconnected | None = None,
    ) -> None:
        self.datagrams = Datagrams([one for one in sockets if not one.reliable], loop, on_message, marks, took)
        self._sends: dict[int, Send] = {one.index: sending_to(one.sock) for one in sockets if not one.reliable}
        self._streams = Streams(
            sockets,
            loop,
            settings,
            slot=slot,
            peers=peers,
            post=post,
            on_message=on_message,
            on_broken=on_broken,
            on_disconnected=on_disconnected,
        )

    def tell(self, on_message: OnMessage) -> None:
        """Tell somebody else of what comes in from now on."""
        self.datagrams.tell(on_message)
        self._streams.tell(on_message)

    def open(self) -> None:
        """Receive streams from now on."""
        self._streams.open()

    def close(self) -> None:
        """Receive no more and close every connection; the listening sockets stay open."""
        self.datagrams.close()
        self._streams.close()

    def send(
        self,
        socket: ListenSocket,
        data: bytes,
        to: Address,
        failed: Failed | None = None,
        otherwise: Address | None = None,
    ) -> bool:
        """Send a message.

        Over UDP it goes out at once. Over a stream it goes over an open connection to `to`, of this process or of
        another; else a new one is opened, and the message goes when that stands.

        Args:
            socket: what it is sent from.
            data: the message.
            to: where to; a numeric address.
            failed: called when it turns out later that it cannot be sent; see `Failed`. Never for UDP.
            otherwise: over a stream, where to open a connection to when there is none to `to`, or not any more: for a
                reply that is what `build.stream_reply_target` says. None for the same address.

        Returns:
            False when it cannot be sent; then `failed` is not called.
        """
        if socket.reliable:
            return self._streams.send(socket, data, to, failed, otherwise)
        return self._sends[socket.index](data, to)

    def on_letter(self, topic: str, body: bytes) -> bool:
        """A letter came from another process; False when it is not for the transports."""
        return self._streams.on_letter(topic, body)

    def persist(self, socket: ListenSocket, peer: Address, for_s: float) -> bool:
        """Keep a peer's connection open that long although nothing comes or goes.

        Args:
            socket: what it came in on.
            peer: its other end.
            for_s: seconds; less than the usual lifetime shortens nothing.

        Returns:
            False when this process has no such connection, as over UDP.
        """
        return socket.reliable and self._streams.persist(socket, peer, for_s)

    def peers(self) -> list[PeerRow]:
        """This process's connections, for `list_tcp_conns`."""
        return list(self._streams.rows(epoch_now()))
