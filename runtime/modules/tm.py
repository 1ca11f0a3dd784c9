"""Module tm: transactions (RFC 3261 section 17)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runtime.context import Context, RouteType
from runtime.modules.base import RuntimeModule
from runtime.script.declare import Kind, Param, function

if TYPE_CHECKING:
    from runtime.sip_process import SipProcess


class Tm(RuntimeModule):
    """The module as a script loads it."""

    name = "tm"
    process: SipProcess

    @function("t_newtran", routes=RouteType.REQUEST)
    def t_newtran(self, c: Context) -> int:
        """Make a transaction of the request. Ends the script (0) when it is a copy of one that is known."""
        return 1 if self.process.new_transaction(c) else 0

    @function("t_reply", Param("code", Kind.INTEGER), Param("reason", Kind.STRING))
    def t_reply(self, c: Context, code: int, reason: str) -> int:
        """Reply through the request's transaction; -1 when it has none."""
        return self.process.reply(c, code, reason)
