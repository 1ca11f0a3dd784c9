"""MI over HTTP: POST a JSON-RPC text to ``/mi``. Beside it, pages that programs and people read with GET."""

from __future__ import annotations

import asyncio
import hmac
import logging
import socket
import ssl
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.web_protocol import RequestHandler

from mi_script.service import Service
from mi_script.transports.accepting import Acceptor
from mi_script.transports.counting import Counters, Tally
from mi_script.transports.paths import CannotListen

NAME: Final = "http"

log = logging.getLogger("layby.mi.http")


def _is_ours(record: logging.LogRecord) -> bool:
    """Whether it is no complaint about what a client has sent: he gets 400, and cannot fill the log."""
    return record.exc_info is None or not isinstance(record.exc_info[1], HttpProcessingError)


log.addFilter(_is_ours)

_SCHEME: Final = "bearer "
_Handler: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Body:
    """What a page gives: status, Content-Type and content."""

    status: int
    content_type: str
    content: bytes


@dataclass(frozen=True, slots=True)
class Page:
    """A path that is read with GET.

    Args:
        make: gives what it says now.
        public: whether it is read without the token.
    """

    make: Callable[[], Awaitable[Body]]
    public: bool = False


@dataclass(frozen=True, slots=True)
class Security:
    """Who may ask.

    Args:
        token: what ``Authorization: Bearer …`` must have, or None for no such header.
        tls: how connections are encrypted, and whether their clients must show a certificate; None for plain HTTP.
    """

    token: bytes | None = None
    tls: ssl.SSLContext | None = None


class HttpTransport:
    """Listens for HTTP at a TCP address.

    Another path gets 404, another method 405, a wrong or missing token 401, another Content-Type than application/json
    415, an empty body 400, a body that is too long 413, one that does not arrive in time 408, a notification 204, and
    after `drain()` any request 503.

    Args:
        host: the IP address to listen at.
        port: the TCP port; 0 takes any.
        service: answers the texts.
        root: the path, without slashes.
        pages: what else there is, by path without the slash before it.
        security: who may ask.
        counters: where to count `requests` received; `replies` given, 204 included; `dropped` connections; `errors`:
            statuses from 400.
        keepalive_s: how long a connection may lie idle, in seconds.
        request_s: how long a request may take to arrive, its head and then its body, in seconds; and a TLS handshake.
        reply_s: how long a client may take nothing of what it is sent, in seconds.
        drain_s: how long what runs may go on after `close()`, in seconds.
        max_connections: how many may be open at once, also those that have yet to shake hands; one more is closed as
            soon as it is made.
    """

    def __init__(
        self,
        host: str,
        port: int,
        service: Service,
        root: str = "mi",
        *,
        pages: Mapping[str, Page] | None = None,
        security: Security = Security(),
        counters: Counters | None = None,
        keepalive_s: float = 30.0,
        request_s: float = 10.0,
        reply_s: float = 30.0,
        drain_s: float = 2.0,
        max_connections: int = 256,
    ) -> None:
        self.counters = Tally() if counters is None else counters
        self.address: tuple[str, int] = (host, port)
        """Where it listens; after `start()` with the port that it got."""
        self._service = service
        self._root = root.strip("/")
        self._pages = dict(pages or {})
        self._security = security
        self._keepalive_s = keepalive_s
        self._request_s = request_s
        self._reply_s = reply_s
        self._drain_s = drain_s
        self._max_connections = max_connections
        self._runner: web.AppRunner | None = None
        self._acceptor: Acceptor | None = None
        self._heard: set[RequestHandler] = set()
        """Connections on which a whole request head has come."""
        self._silent: set[RequestHandler] = set()
        """Those on which none had come when they were looked at last."""
        self._look: asyncio.TimerHandle | None = None
        self._draining = False

    async def start(self) -> None:
        """Bind and listen, on the running loop.

        Raises:
            CannotListen: the address is taken, or cannot be had.
        """
        self._loop = asyncio.get_running_loop()
        app = web.Application(client_max_size=self._service.max_bytes, middlewares=[self._counted(), self._guarded()])
        app.router.add_post(f"/{self._root}", self._on_post)
        for path, page in self._pages.items():
            app.router.add_get(f"/{path}", _reader(page))
        self._runner = web.AppRunner(
            app, access_log=None, logger=log, keepalive_timeout=self._keepalive_s, shutdown_timeout=self._drain_s
        )
        await self._runner.setup()
        try:
            listening = _bound(*self.address, self._reply_s)
        except OSError as error:
            await self.close()
            host, port = self.address
            raise CannotListen(f"cannot listen at TCP {host} port {port}: {error.strerror}") from error
        self.address = listening.getsockname()[:2]
        self._acceptor = Acceptor(listening, self._accept, self._security.tls, self._request_s, self._drop)
        self._look = self._loop.call_later(self._request_s / 2, self._hang_up_on_the_silent)

    def drain(self) -> None:
        """Answer requests with 503 from now on. Pages are read until `close()`."""
        self._draining = True

    async def close(self) -> None:
        """Stop listening, let what runs end, close every connection."""
        if self._look is not None:
            self._look.cancel()
        if self._acceptor is not None:
            self._acceptor.close()
            self._acceptor = None
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    def _accept(self) -> asyncio.Protocol | None:
        server = self._runner.server if self._runner else None
        entering = self._acceptor.entering if self._acceptor else set()
        if server is None or len(entering.union(server.connections)) >= self._max_connections:
            self._drop()
            return None
        return server()

    def _drop(self) -> None:
        self.counters.count("dropped")

    def _hang_up_on_the_silent(self) -> None:
        # A head that comes byte by byte is bounded by nothing else, and a few hundred would keep everybody out.
        server = self._runner.server if self._runner else None
        if server is None:
            return
        there = set(server.connections)
        self._heard &= there
        for one in self._silent & (there - self._heard):
            if one.transport is not None:
                one.transport.abort()
                self._drop()
        self._silent = there - self._heard
        self._look = self._loop.call_later(self._request_s / 2, self._hang_up_on_the_silent)

    async def _on_post(self, request: web.Request) -> web.Response:
        if self._draining:
            raise web.HTTPServiceUnavailable(text="shutting down\n", headers={"Connection": "close"})
        if request.content_type != "application/json":
            raise web.HTTPUnsupportedMediaType(text="Content-Type must be application/json\n")
        try:
            async with asyncio.timeout(self._request_s):
                text = await request.read()
        except TimeoutError:
            raise web.HTTPRequestTimeout from None
        if not text:
            raise web.HTTPBadRequest(text="no request\n")
        answer = await self._service.answer(text, NAME)
        if answer is None:
            return web.Response(status=204)
        return web.Response(body=answer, content_type="application/json")

    def _guarded(self) -> Callable[..., Awaitable[web.StreamResponse]]:
        @web.middleware
        async def guarded(request: web.Request, handler: _Handler) -> web.StreamResponse:
            page = self._pages.get(request.path[1:])
            if not (page is not None and page.public) and not _has_token(request, self._security.token):
                challenge = {"WWW-Authenticate": 'Bearer realm="layby"'}
                raise web.HTTPUnauthorized(text="a token is needed\n", headers=challenge)
            return await handler(request)

        return guarded

    def _counted(self) -> Callable[..., Awaitable[web.StreamResponse]]:
        @web.middleware
        async def counted(request: web.Request, handler: _Handler) -> web.StreamResponse:
            self._heard.add(request.protocol)
            self.counters.count("requests")
            try:
                response = await handler(request)
            except web.HTTPException:
                self.counters.count("errors")
                raise
            self.counters.count("replies")
            return response

        return counted


def _bound(host: str, port: int, reply_s: float) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.create_server((host, port), family=family, backlog=128)
    # The connections that come of it have that too; nothing else ends one whose client does not read.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(reply_s * 1000))
    return listening


def _reader(page: Page) -> _Handler:
    async def read(request: web.Request) -> web.StreamResponse:
        body = await page.make()
        # Not the short argument: it would refuse a content type that has parameters.
        headers = {"Content-Type": body.content_type, "Cache-Control": "no-store"}
        return web.Response(status=body.status, body=body.content, headers=headers)

    return read


def _has_token(request: web.Request, token: bytes | None) -> bool:
    if token is None:
        return True
    given = request.headers.get("Authorization", "")
    is_bearer = given[: len(_SCHEME)].lower() == _SCHEME
    # Compared even where the scheme is another, in a time that says nothing of where they differ.
    same = hmac.compare_digest(given[len(_SCHEME) :].strip().encode("utf-8", "surrogateescape"), token)
    return is_bearer and same
