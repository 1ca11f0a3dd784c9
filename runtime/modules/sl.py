"""Module sl: replies without a transaction (RFC 3261 section 8.2.7)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runtime.context import Context, RouteType
from runtime.modules.base import RuntimeModule
from runtime.script.declare import Kind, Param, function

if TYPE_CHECKING:
    from runtime.sip_process import SipProcess


class Sl(RuntimeModule):
    """The module as a script loads it."""

    name = "sl"
    process: SipProcess

    @function("sl_send_reply", Param("code", Kind.INTEGER), Param("reason", Kind.STRING), routes=RouteType.ANSWERABLE)
    def sl_send_reply(self, c: Context, code: int, reason: str) -> int:
        """Reply and keep no state.

        A message that has a transaction by now (it was parked) is answered through that, so that its
        retransmissions get the same answer.
        """
        return self.process.send_reply(c, code, reason)

    @function("sl_reply_error", routes=RouteType.ANSWERABLE)
    def sl_reply_error(self, c: Context) -> int:
        """Reply 500 and keep no state."""
        return self.process.send_reply(c, 500, "Server Internal Error")
