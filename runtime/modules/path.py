"""Module path: staying in the path of what is sent to a registered contact (RFC 3327).

A proxy between a phone and its registrar adds itself to the REGISTER's Path; the registrar sends requests for the
phone along that path. With the address that the phone was heard from in it, the proxy finds its way back through a NAT.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote, unquote

from runtime.context import Context, RouteType
from runtime.listen import bracketed
from runtime.modules.base import RuntimeModule
from runtime.modules.rr import Rr
from runtime.script.declare import Kind, Param, Parameter, function
from runtime.sip.own import OwnAddresses
from runtime.sip.routing import as_loose_router, own_uri, protocol_of, route_param, user_part
from runtime.sip.uri import parse_uri

if TYPE_CHECKING:
    from runtime.house import House


class Path(RuntimeModule):
    """The module as a script loads it."""

    name = "path"
    parameters = (
        Parameter("use_received", int, 0, doc="Whether `received` of our own Route value becomes the next hop."),
        Parameter(
            "enable_double_path", int, 1, doc="Whether there are two Path values where a request changes sockets."
        ),
    )
    own: OwnAddresses

    def furnish(self, house: House) -> None:
        super().furnish(house)
        self.own = house.own
        if self.settings["use_received"]:
            rr = house.program.modules.get("rr")
            if not isinstance(rr, Rr):
                raise ValueError("use_received needs the module rr")
            rr.on_loose_route.append(use_received)

    @function("add_path", Param("user", Kind.STRING, optional=True), routes=RouteType.REQUEST)
    def add_path(self, c: Context, user: str | None) -> int:
        """Add this server to the request's Path."""
        return self._add(c, user or "", "")

    @function("add_path_received", Param("user", Kind.STRING, optional=True), routes=RouteType.REQUEST)
    def add_path_received(self, c: Context, user: str | None) -> int:
        """Add this server to the request's Path, with the address that the request came from."""
        if c.source is None:
            return -1
        protocol = self.own.sockets[c.socket].protocol
        source = f"sip:{bracketed(c.source.host)}:{c.source.port}"
        if protocol != "udp":
            source += f";transport={protocol}"
        return self._add(c, user or "", f";received={quote(source, ':[]')}")

    def _add(self, c: Context, user: str, params: str) -> int:
        inbound = self.own.sockets[c.socket]
        outbound = self.own.sockets[self._outbound(c)]
        user = user_part(user)
        uris = [own_uri(outbound, user)]
        if self.settings["enable_double_path"]:
            uris.append(own_uri(inbound, user))
        c.edits.append(("insert", f"Path: {', '.join(as_loose_router(uris, params))}\r\n"))
        return 1

    def _outbound(self, c: Context) -> int:
        """The socket that the request will leave by, as far as can be told before its next hop is looked up."""
        if c.send_socket is not None:
            return c.send_socket
        uri = parse_uri(c.dst_uri or c.ruri)
        if uri is None:
            return c.socket
        return self.own.socket_towards(uri.host, protocol_of(uri) or "udp", c.socket)


def use_received(c: Context) -> None:
    """Send a request to where the contact was heard from, if our own Route value tells."""
    received = unquote(route_param(c.own_route, "received") or "", "latin-1")
    if parse_uri(received) is not None:
        c.dst_uri = received
