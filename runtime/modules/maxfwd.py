"""Module maxfwd: the limit on a request's hops (RFC 3261 16.3 step 3, 16.6 step 3)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from runtime.context import Context, RouteType
from runtime.modules.base import RuntimeModule
from runtime.script.declare import Kind, Param, Parameter, function

if TYPE_CHECKING:
    from runtime.house import House

MAX_LIMIT: Final = 256


class Maxfwd(RuntimeModule):
    """The module as a script loads it."""

    name = "maxfwd"
    parameters = (
        Parameter(
            "max_limit", int, MAX_LIMIT, doc="The highest Max-Forwards that a request is sent on with, 1 to 256."
        ),
    )

    def furnish(self, house: House) -> None:
        super().furnish(house)
        if not 1 <= self.settings["max_limit"] <= MAX_LIMIT:
            raise ValueError(f"max_limit is {self.settings['max_limit']}; it must be 1 to {MAX_LIMIT}")

    @function("mf_process_maxfwd_header", Param("max_value", Kind.INTEGER), routes=RouteType.REQUEST)
    def mf_process_maxfwd_header(self, c: Context, max_value: int) -> int:
        """Take one off Max-Forwards.

        1 when that was done, 2 when there was none and the request is sent on with `max_value`, -1 when nothing was
        left (answer 483), -2 when the header is no number.
        """
        if not 1 <= max_value <= MAX_LIMIT:
            return -2
        hops = _received(c)
        if hops is None:
            c.max_forwards = max_value
            return 2
        if hops <= 0:
            return -1 if hops == 0 else -2
        c.max_forwards = min(hops - 1, self.settings["max_limit"])
        return 1

    @function("is_maxfwd_lt", Param("max_value", Kind.INTEGER), routes=RouteType.BUILDING)
    def is_maxfwd_lt(self, c: Context, max_value: int) -> int:
        """Whether Max-Forwards, as it will be sent, is below a value; -2 without one, -3 when it is no number."""
        hops = _received(c) if c.max_forwards is None else c.max_forwards
        if hops is None:
            return -2
        if hops < 0:
            return -3
        return 1 if hops < max_value else -1


def _received(c: Context) -> int | None:
    """Max-Forwards as it came; None without, -1 when it is no number."""
    hops = c.message.max_forwards
    if hops is None and "max-forwards" in c.message.names:
        return -1
    return hops
