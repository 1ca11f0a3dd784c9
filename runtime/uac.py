"""The user agent client of a SIP process: requests of our own, through the script's local_route and a transaction."""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import logging
from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Final

import msgpack

from runtime.client_transactions import NOBODY, Leg
from runtime.context import Context, RouteType, Value
from runtime.errands import read
from runtime.proxy import Proxy
from runtime.resolver import Found
from runtime.runs import Done, Ended, nothing_more
from runtime.script.script import RouteCode
from runtime.sip.locate import NotFound, Target
from runtime.sip.message import Reply, Request
from runtime.sip.own_request import OwnRequest, ack_of_success, built, next_hop
from runtime.sip.ownership import fingerprint
from runtime.sip.reasons import reason_of
from workers.worker import Running

if TYPE_CHECKING:
    from runtime.sip_process import SipProcess

log = logging.getLogger("layby.sip")

_TIMED_OUT: Final = 408
_UNREACHABLE: Final = 503
_REFUSED: Final = 500
_TERMINATED: Final = 487
_OWN_ROUTES_S: Final = 1.0
"""How much longer an answer from this very server is awaited: its routes may relay the request, wait just as long for
whom they relay it to, and have a failure route answer then."""


class UserAgentClient:
    """Sends requests of this process's own.

    Args:
        process: whose it is.
        proxy: what finds next hops and holds the client transactions.
    """

    def __init__(self, process: SipProcess, proxy: Proxy) -> None:
        self._process = process
        self._proxy = proxy
        self._serials = itertools.count(1)
        self._sendings: dict[str, Sending] = {}
        """Those without a final reply, by their key."""
        _here[:] = [self]

    def send(self, wanted: OwnRequest, done: Done, avps: dict[str, list[Value]] | None = None) -> Sending:
        """Send a request.

        Args:
            wanted: what to send.
            done: told how it ended, once, never before this returns.
            avps: what the local route finds as AVPs.

        Raises:
            ValueError: it is no request.
        """
        agent = self._process.house.settings.user_agent
        if agent is not None:
            wanted = dataclasses.replace(wanted, headers=[*wanted.headers, f"User-Agent: {agent}"])
        request = built(wanted)
        script = self._proxy.script
        context = Context(
            request,
            route=RouteType.LOCAL,
            ruri=request.ruri,
            dst_uri=wanted.dst_uri,
            avps=avps or {},
            variables=self._process.variables,
            documents=self._process.documents,
            send_socket=wanted.socket,
            dialog=wanted.dialog,
            max_forwards=request.max_forwards,
            script=script,
        )
        context.fr_timeout_s = context.fr_inv_timeout_s = wanted.timeout_s
        serial = next(self._serials)
        key = f"own {self._process.slot} {self._process.peer.incarnation} {serial}"
        sending = Sending(self._process, self._proxy, context, key, done)
        self._sendings[key] = sending
        sending.when_over = partial(self._sendings.pop, key)
        route = script.routes.local
        # In a turn of its own: who sends may stand on a script's stack.
        if route is None:
            self._process.soon(lambda: sending.locate(context, Ended.WELL))
        else:
            self._process.soon(lambda: self._proxy.run(context, route, sending.locate))
        return sending

    @property
    def under_way(self) -> int:
        """How many have no final reply yet."""
        return len(self._sendings)

    def sendings(self) -> Iterable[Sending]:
        """Those that have no final reply yet."""
        return self._sendings.values()


_here: list[UserAgentClient] = []


async def send_and_wait(payload: bytes, running: Running) -> bytes:
    """The job of a SIP process: send a request and wait for its end.

    Args:
        payload: as `runtime.errands.packed` gives it.
        running: the job.

    Returns:
        ``[status, reason, reply]`` as msgpack; the reply is its bytes, and empty where the status is of our own making.

    Raises:
        ValueError: it is no request.
    """
    ended: asyncio.Future[tuple[int, str, bytes]] = asyncio.get_running_loop().create_future()

    def done(status: int, reply: Reply | None) -> None:
        if not ended.done():  # the job may have been cancelled meanwhile
            ended.set_result((status, reason_of(status), b"") if reply is None else (status, reply.reason, reply.raw))

    wanted, avps = read(payload)
    _here[0].send(wanted, done, avps)
    return bytes(msgpack.packb(await ended))


class Sending:
    """One request of our own under way.

    The routes that the local route has armed see its replies, and that it failed. Nothing waits for them: there is
    nobody upstream whom their words could reach.

    Attributes:
        withholds_ack: the ACK of a 2xx waits for `acknowledge`.
    """

    __slots__ = (
        "_accepted",
        "_answer",
        "_cancelled",
        "_context",
        "_done",
        "_failure_route",
        "_finished",
        "_key",
        "_leg",
        "_process",
        "_proxy",
        "_published",
        "_reply_route",
        "_targets",
        "_tries",
        "when_over",
        "withholds_ack",
    )

    def __init__(self, process: SipProcess, proxy: Proxy, context: Context, key: str, done: Done) -> None:
        self._process = process
        self._proxy = proxy
        self._context = context
        self._key = key
        self._done = done
        self._finished = False
        self._cancelled = False
        self._published = False
        self._leg: Leg | None = None
        self._targets: list[Target] = []
        self._tries = 0
        self._reply_route: RouteCode | None = None
        self._failure_route: RouteCode | None = None
        self.when_over: Callable[[], object] = lambda: None
        self.withholds_ack = False
        self._accepted: tuple[Leg, Reply] | None = None
        """The 2xx whose ACK is withheld."""
        self._answer: tuple[bytes, str] = b"", ""

    @property
    def request(self) -> Request:
        """As the local route has seen it."""
        message = self._context.message
        assert isinstance(message, Request), "it was built as one"
        return message

    def cancel(self) -> None:
        """CANCEL it, where it is an INVITE that has no final reply yet. Before it is sent this keeps it from that."""
        if self._finished or self.request.method != "INVITE":
            return
        self._cancelled = True
        self._targets.clear()
        if self._leg is not None:
            self._proxy.clients.cancel(self._leg)

    def locate(self, context: Context, ended: Ended) -> None:
        """The local route is through: find out where the request goes."""
        assert context.script is not None, "it is sent under one"
        routes = context.script.routes
        self._reply_route = routes.onreply.get(context.on_reply) if context.on_reply else None
        self._failure_route = routes.failure.get(context.on_failure) if context.on_failure else None
        if ended is not Ended.WELL:
            self._finish(_REFUSED, None)
            return
        if context.dst_uri is None:
            hop = next_hop(self.request)
            context.dst_uri = None if hop == context.ruri else hop
        self._proxy.locate(context, self._located)

    def _located(self, found: Found) -> None:
        if isinstance(found, NotFound):
            log.info("%s: %s", self._context.dst_uri or self._context.ruri, found.reason)
            self._fail(_UNREACHABLE, None)
            return
        if self._cancelled:
            self._finish(_TERMINATED, None)
            return
        self._targets = list(found)
        if not self._try():
            self._fail(_UNREACHABLE, None)

    def _publish(self) -> None:
        """Let a reply that another process receives find its way here."""
        if not self._published:
            self._published = True
            self._process.house.fingerprints.add(self._process.slot, fingerprint(self._key))

    def _try(self) -> bool:
        """Send it to the next of its targets that there is a socket for; False where there is none."""
        while self._targets:
            target = self._targets.pop(0)
            self._tries += 1
            leg = self._proxy.leg(self._context, self._key, str(self._tries), target, self)
            if leg is not None:
                self._send(leg)
                return True
        return False

    def _send(self, leg: Leg) -> None:
        if leg.method == "ACK":  # of which nothing is kept: no reply comes, and so nothing would ever end it
            self._process.send(leg.socket, leg.data, leg.target)
            self._finish(200, None)
            return
        if self._process.house.own.is_own(leg.target.host, leg.target.port, leg.socket.listen.protocol):
            leg.fr_timeout_s += _OWN_ROUTES_S
            leg.fr_inv_timeout_s += _OWN_ROUTES_S
        self._leg = leg
        self._publish()
        self._process.count("tm:UAC_transactions")
        self._proxy.clients.begin(leg)

    # Served.

    def on_reply(self, leg: Leg, reply: Reply) -> None:
        """See `Served`."""
        if leg.method == "INVITE" and 200 <= reply.status < 300:
            if self.withholds_ack:
                self._accepted = leg, reply
            else:
                self._acknowledge(leg, reply)
            if self._leg is not None and self._leg is not leg:
                self._proxy.clients.cancel(self._leg)  # it is from an address that had been given up
        if self._reply_route is not None:
            context = self._proxy.reply_context(leg, reply, self._context, self._context.script)
            self._proxy.run(context, self._reply_route, nothing_more)
        if reply.status < 200 or (reply.status == _UNREACHABLE and self._try()):
            return
        if reply.status < 300:
            self._finish(reply.status, reply)
        else:
            self._fail(reply.status, reply)

    def on_failed(self, leg: Leg, status: int) -> None:
        """See `Served`."""
        if not leg.was_replied:
            self._proxy.mark_failed(leg)
            if self._try():
                return
        self._fail(status, None)

    def on_gone(self, leg: Leg) -> None:
        """See `Served`."""
        if leg is self._leg:
            self._process.house.fingerprints.remove(self._process.slot, fingerprint(self._key))
            self._leg = None
            self._fail(_TIMED_OUT, None)

    def acknowledge(self, body: bytes, body_type: str) -> None:
        """Send the ACK that was withheld.

        Args:
            body, body_type: the answer to the offer of the 2xx, and its Content-Type.
        """
        self.withholds_ack, self._answer = False, (body, body_type)
        if self._accepted is not None:
            self._acknowledge(*self._accepted)

    def _acknowledge(self, leg: Leg, reply: Reply) -> None:
        """ACK each 2xx, copies of it too (RFC 3261 13.2.2.4)."""
        try:
            request = built(ack_of_success(leg.sent, reply, *self._answer))
        except ValueError as error:
            log.info("a 2xx of %s:%d cannot be acknowledged: %s", leg.target.host, leg.target.port, error)
            return
        context = Context(request, route=RouteType.LOCAL, ruri=request.ruri, send_socket=leg.socket.index)
        hop = next_hop(request)
        context.dst_uri = None if hop == request.ruri else hop
        context.max_forwards = request.max_forwards

        def send(found: Found) -> None:
            ack = None if isinstance(found, NotFound) else self._proxy.leg(context, self._key, "ack", found[0], NOBODY)
            if ack is not None:
                self._process.send(ack.socket, ack.data, ack.target)

        self._proxy.locate(context, send)

    def _fail(self, status: int, reply: Reply | None) -> None:
        """It was refused, or nobody has answered it."""
        if self._finished:
            return
        if self._failure_route is not None:
            context = self._context.copy()
            context.route = RouteType.FAILURE
            context.reply, context.reply_status = reply, status
            self._proxy.run(context, self._failure_route, nothing_more)
        self._finish(status, reply)

    def _finish(self, status: int, reply: Reply | None) -> None:
        if self._finished:
            return
        self._finished = True
        self.when_over()
        self._done(status, reply)
