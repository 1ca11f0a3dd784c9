"""Module rr: staying in the path of a dialog, and following that path (RFC 3261 16.4, 16.6, 16.12).

`record_route` only notes what is wanted: which address to write is known when the next hop is.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from runtime.context import Context, RecordRoute, RouteType, Value
from runtime.modules.base import RuntimeModule
from runtime.script.declare import Kind, Param, Parameter, function, ignored, variable
from runtime.script.uris import parts_of
from runtime.sip.message import Request
from runtime.sip.own import OwnAddresses
from runtime.sip.routing import (
    Routed,
    are_params,
    from_tag_param,
    is_preset,
    is_upstream,
    loose_route,
    params_text,
    protocol_of,
    user_part,
)
from runtime.sip.uri import parse_uri

if TYPE_CHECKING:
    from runtime.house import House

MAX_PARAMS_CHARS: Final = 2048
"""Of all parameters together: they come back in a line that may have 8,192 characters, of which we are not alone."""


class Rr(RuntimeModule):
    """The module as a script loads it.

    Attributes:
        own: this server's addresses.
        on_loose_route: called with the context whenever a Route value of ours was taken off, when the context says
            already where the request goes. That value is the sender's word: check what it says. It may also stand in
            a request that has no To tag.
    """

    name = "rr"
    parameters = (
        Parameter("append_fromtag", int, 1, doc="Whether Record-Route gets the From tag, which is_direction needs."),
        Parameter(
            "enable_double_rr", int, 1, doc="Whether there are two Record-Routes where a request changes sockets."
        ),
        Parameter("add_username", int, 0, doc="Whether Record-Route gets the Request-URI's user."),
        ignored("enable_socket_mismatch_warning", int, 1, "nothing is warned of."),
    )
    own: OwnAddresses

    def __init__(self, settings: dict[str, Any] | None = None) -> None:
        super().__init__(settings)
        self.on_loose_route: list[Callable[[Context], None]] = []

    def furnish(self, house: House) -> None:
        super().furnish(house)
        self.own = house.own

    # Following the path

    @function("loose_route", routes=RouteType.REQUEST)
    def loose_route(self, c: Context) -> int:
        """Send a request where its Route says.

        1 when Route says where the request goes next, or said so until here (within a dialog). -1 without Route, with
        one that cannot be read, and for a request that starts something when no Route is left but the one that named
        this server: the script decides.
        """
        if not isinstance(c.message, Request):
            return -1
        routes = c.message.all("route") if c.routes is None else c.routes
        found = loose_route(c.ruri, routes, self.own.is_own)
        if not isinstance(found, Routed):
            return -1
        says_where = found.routes or found.ruri != c.ruri or c.message.to.tag
        c.ruri, c.dst_uri, c.routes = found.ruri, found.dst_uri, found.routes
        if found.own:
            c.own_route = params_text(found.own[0])
            self._choose_socket(c, found.own)
            for hook in self.on_loose_route:
                hook(c)
        return 1 if says_where else -1

    def _choose_socket(self, c: Context, own: tuple[str, ...]) -> None:
        """Of a pair the second value names the socket that the dialog was set up on, on the way out."""
        outer = parse_uri(own[1]) if len(own) > 1 else None
        if outer is not None:
            c.send_socket = self.own.socket_of(outer.host, outer.port, protocol_of(outer))

    @function("check_route_param", Param("pattern", Kind.REGEX), routes=RouteType.REQUEST)
    def check_route_param(self, c: Context, pattern: re.Pattern[str]) -> int:
        """Whether the parameters of our own Route value match; each has its semicolon before it."""
        return 1 if c.own_route and pattern.search(f";{c.own_route}") else -1

    @function("is_direction", Param("direction", Kind.STRING), routes=RouteType.REQUEST)
    def is_direction(self, c: Context, direction: str) -> int:
        """Whether the request goes that way: ``downstream`` from the caller to the callee, or ``upstream``."""
        going = "upstream" if is_upstream(c.own_route, c.message.from_.tag) else "downstream"
        return 1 if direction.lower() == going else -1

    @variable("rr_params")
    def rr_params(self, c: Context, inner: str) -> Value:
        """The parameters of our own Route value; NULL before loose_route() has found one."""
        return c.own_route or None

    # Staying in the path

    @function("record_route", Param("params", Kind.STRING, optional=True), routes=RouteType.BUILDING)
    def record_route(self, c: Context, params: str | None) -> int:
        """Stay in the path of the dialog; -1 when that was asked for before, or the parameters are none."""
        return self._record(c, params or "")

    @function(
        "record_route_preset",
        Param("address", Kind.STRING),
        Param("inbound", Kind.STRING, optional=True),
        routes=RouteType.BUILDING,
    )
    def record_route_preset(self, c: Context, address: str, inbound: str | None) -> int:
        """Stay in the path under another address: ``host:port``, with parameters if need be.

        With two the first is for where the request goes, the second for where it came from.
        """
        if not is_preset(address) or (inbound is not None and not is_preset(inbound)):
            return -1
        return self._record(c, "", address, inbound)

    @function("add_rr_param", Param("params", Kind.STRING), routes=RouteType.BUILDING)
    def add_rr_param(self, c: Context, params: str) -> int:
        """Add ``;name=value`` to our Record-Route, before or after record_route()."""
        so_far = c.rr_params if c.record_route is None else c.record_route.params
        if not params or not are_params(params) or len(so_far) + len(params) > MAX_PARAMS_CHARS:
            return -1
        if c.record_route is None:
            c.rr_params += params
        else:
            c.record_route = dataclasses.replace(c.record_route, params=so_far + params)
        return 1

    def _record(self, c: Context, params: str, preset: str | None = None, inbound: str | None = None) -> int:
        if c.record_route is not None or not isinstance(c.message, Request) or not are_params(params):
            return -1
        tag = from_tag_param(c.message.from_.tag) if self.settings["append_fromtag"] else ""
        if len(tag) + len(params) + len(c.rr_params) > MAX_PARAMS_CHARS:
            return -1
        user = ""
        if self.settings["add_username"]:
            user = user_part(parts_of(c.message.ruri).user or parts_of(c.ruri).user or "")
        c.record_route = RecordRoute(
            f"{tag}{params}{c.rr_params}", preset, inbound, user, bool(self.settings["enable_double_rr"])
        )
        return 1
