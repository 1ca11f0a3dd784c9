"""Module signaling: replies through the transaction where there is one, and without state where there is none."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runtime.context import Context, RouteType
from runtime.modules.base import RuntimeModule
from runtime.script.declare import Kind, Param, function

if TYPE_CHECKING:
    from runtime.sip_process import SipProcess


class Signaling(RuntimeModule):
    """The module as a script loads it."""

    name = "signaling"
    process: SipProcess

    @function("send_reply", Param("code", Kind.INTEGER), Param("reason", Kind.STRING), routes=RouteType.ANSWERABLE)
    def send_reply(self, c: Context, code: int, reason: str) -> int:
        """Reply in the way that fits the message's state."""
        return self.process.send_reply(c, code, reason)
