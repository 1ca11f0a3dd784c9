"""MI over HTTP: POST a JSON-RPC text to ``/mi``."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import web

from mi_script.service import Service
from mi_script.transports.paths import CannotListen

NAME: Final = "http"

_KEEPALIVE_S: Final = 15.0
_READ_S: Final = 10.0


class HttpTransport:
    """Listens for HTTP at a TCP address.

    Another path gets 404, another method 405, another Content-Type than application/json 415, an empty body 400,
    a body that is too long 413, and a notification 204.

    Args:
        host: the IP address to listen at.
        port: the TCP port; 0 takes any.
        service: answers the texts.
        root: the path, without slashes.
        drain_s: how long what runs may go on after `close()`, in seconds.
        max_connections: how many may be open at once; one more is closed as soon as it is made.
    """

    def __init__(
        self,
        host: str,
        port: int,
        service: Service,
        root: str = "mi",
        *,
        drain_s: float = 2.0,
        max_connections: int = 256,
    ) -> None:
        self.counters = {"requests": 0, "replies": 0, "dropped": 0, "errors": 0}
        """`requests` received; `replies` given, 204 included; `dropped` connections; `errors`: statuses from 400."""
        self.address: tuple[str, int] = (host, port)
        """Where it listens; after `start()` with the port that it got."""
        self._service = service
        self._root = root.strip("/")
        self._drain_s = drain_s
        self._max_connections = max_connections
        self._runner: web.AppRunner | None = None
        self._listener: asyncio.Server | None = None

    async def start(self) -> None:
        """Bind and listen, on the running loop.

        Raises:
            CannotListen: the address is taken, or cannot be had.
        """
        app = web.Application(client_max_size=self._service.max_bytes, middlewares=[self._counted()])
        app.router.add_post(f"/{self._root}", self._on_post)
        self._runner = web.AppRunner(
            app, access_log=None, keepalive_timeout=_KEEPALIVE_S, shutdown_timeout=self._drain_s
        )
        await self._runner.setup()
        host, port = self.address
        try:
            self._listener = await asyncio.get_running_loop().create_server(self._accept, host, port)
        except OSError as error:
            await self.close()
            raise CannotListen(f"cannot listen at TCP {host} port {port}: {error.strerror}") from error
        self.address = self._listener.sockets[0].getsockname()[:2]

    async def close(self) -> None:
        """Stop listening, let what runs end, close every connection."""
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    def _accept(self) -> asyncio.BaseProtocol:
        server = self._runner.server if self._runner else None
        if server is None or len(server.connections) >= self._max_connections:
            self.counters["dropped"] += 1
            return _TurnedAway()
        return server()

    async def _on_post(self, request: web.Request) -> web.Response:
        if request.content_type != "application/json":
            raise web.HTTPUnsupportedMediaType(text="Content-Type must be application/json\n")
        try:
            async with asyncio.timeout(_READ_S):
                text = await request.read()
        except TimeoutError:
            raise web.HTTPRequestTimeout from None
        if not text:
            raise web.HTTPBadRequest(text="no request\n")
        answer = await self._service.answer(text, NAME)
        if answer is None:
            return web.Response(status=204)
        return web.Response(body=answer, content_type="application/json")

    def _counted(self) -> Callable[..., Awaitable[web.StreamResponse]]:
        @web.middleware
        async def counted(
            request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
        ) -> web.StreamResponse:
            self.counters["requests"] += 1
            try:
                response = await handler(request)
            except web.HTTPException:
                self.counters["errors"] += 1
                raise
            self.counters["replies"] += 1
            return response

        return counted


class _TurnedAway(asyncio.Protocol):
    """A connection too many."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()
