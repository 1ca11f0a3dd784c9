"""Module tm: transactions and relaying (RFC 3261 sections 16 and 17)."""

from __future__ import annotations

import logging
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from runtime.context import Context, RouteType, Value
from runtime.modules.tm_commands import TmCommands
from runtime.script.changes import integer_of
from runtime.script.declare import Kind, Module, Param, Parameter, function, ignored, variable
from runtime.settings import SettingsError
from runtime.sip.message import Request
from runtime.sip.own_request import OwnRequest
from runtime.sip.transaction_words import Timers

if TYPE_CHECKING:
    from runtime.relay import Relay
    from runtime.sip_process import SipProcess

log = logging.getLogger("layby.sip")


@dataclass(frozen=True, slots=True)
class TmSettings:
    """What the module's parameters say, for the transactions of a process."""

    timers: Timers
    fr_timeout_s: float
    fr_inv_timeout_s: float
    block_6xx: bool
    reply_avps: bool


def tm_settings(module: Module | None) -> TmSettings:
    """The settings of the module as it is loaded, or the defaults."""
    found = Tm().settings if module is None else module.settings
    return TmSettings(
        timers=Timers(found["T1_timer"] / 1000, found["T2_timer"] / 1000, found["T4_timer"] / 1000),
        fr_timeout_s=float(found["fr_timeout"]),
        fr_inv_timeout_s=float(found["fr_inv_timeout"]),
        block_6xx=not found["disable_6xx_block"],
        reply_avps=bool(found["onreply_avp_mode"]),
    )


class Tm(TmCommands):
    """The module as a script loads it."""

    name = "tm"
    process: SipProcess
    parameters = (
        Parameter(
            "fr_timeout", int, 30, doc="Seconds that the first reply, and any but an INVITE's final one, may take."
        ),
        Parameter("fr_inv_timeout", int, 120, doc="Seconds that the final reply to an INVITE may take after a first."),
        Parameter("T1_timer", int, 500, doc="Milliseconds: T1 of RFC 3261, the first wait before a copy is sent."),
        Parameter("T2_timer", int, 4000, doc="Milliseconds: T2, the longest wait between two copies."),
        Parameter("T4_timer", int, 5000, doc="Milliseconds: T4, how long a message may stay in the network."),
        Parameter("disable_6xx_block", int, 0, doc="1 lets other branches go on after a 6xx."),
        Parameter("onreply_avp_mode", int, 0, doc="1 lets reply routes see and change the transaction's AVPs."),
        ignored("wt_timer", int, 5, "how long transactions linger follows from T1, T2 and T4."),
        ignored("delete_timer", int, 2, "a transaction is freed when its last timer ends."),
        ignored("noisy_ctimer", int, 1, "a time-out is always answered."),
        ignored("restart_fr_on_each_reply", int, 1, "each provisional reply but 100 restarts Timer C."),
        ignored("auto_100trying", int, 1, "100 goes out where nothing else does within 200 ms."),
        ignored("ruri_matching", int, 1, "requests are matched as RFC 3261 17.2.3 says."),
        ignored("via1_matching", int, 1, "requests are matched as RFC 3261 17.2.3 says."),
        ignored("pass_provisional_replies", int, 0, "provisional replies are passed on."),
        ignored("syn_branch", int, 1, "a branch is made from its transaction's fingerprint."),
        ignored("enable_stats", int, 1, "statistics are always on."),
        ignored("minor_branch_flag", str, "", "no branch is less than another."),
        ignored("timer_partitions", int, 1, "each process has timers of its own."),
        ignored("unix_tx_timeout", int, 2, "nothing is written to Unix sockets."),
    )

    def __init__(self, settings: dict[str, Any] | None = None) -> None:
        super().__init__(settings)
        for name, least in (
            ("fr_timeout", 1),
            ("fr_inv_timeout", 1),
            ("T1_timer", 10),
            ("T2_timer", 10),
            ("T4_timer", 0),
        ):
            if not least <= int(self.settings[name]) <= 86_400_000:
                raise SettingsError(f'modparam("tm", "{name}", …) must be at least {least}', name)

    # Transactions

    @function("t_newtran", routes=RouteType.REQUEST)
    def t_newtran(self, c: Context) -> int:
        """Make a transaction of the request. Ends the script (0) when it is a copy of one that is known."""
        return 1 if self.process.new_transaction(c) else 0

    @function("t_reply", Param("code", Kind.INTEGER), Param("reason", Kind.STRING), routes=RouteType.RELAYING)
    def t_reply(self, c: Context, code: int, reason: str) -> int:
        """Reply through the request's transaction; -1 when it has none."""
        return self.process.reply(c, code, reason)

    @function(
        "t_reply_with_body",
        Param("code", Kind.INTEGER),
        Param("reason", Kind.STRING),
        Param("body", Kind.STRING),
        routes=RouteType.RELAYING,
    )
    def t_reply_with_body(self, c: Context, code: int, reason: str, body: str) -> int:
        """As `t_reply`, with a body; its Content-Type is to be given by `append_to_reply()` before."""
        return self.process.reply(c, code, reason, body.encode("latin-1", "replace"))

    @function("t_flush_flags", routes=RouteType.REQUEST | RouteType.BRANCH)
    def t_flush_flags(self, c: Context) -> int:
        """Nothing: here a transaction has the flags of its request at any time."""
        return 1

    @function(
        "t_relay",
        Param("flags", Kind.STRING, optional=True),
        Param("outbound_proxy", Kind.STRING, optional=True),
        routes=RouteType.RELAYING,
    )
    def t_relay(self, c: Context, flags: str | None, outbound_proxy: str | None) -> int:
        """Relay the request to its Request-URI, or `$du`, and to its further branches, through a transaction.

        `flags` have no effect: what cannot be relayed is left to the script. `outbound_proxy` is a next hop for this
        time. Gives 1; -1 when nothing can be reached; -3 when the caller has given up or been answered. Ends the
        script (0) when the request is a copy of one that is known.
        """
        if outbound_proxy:
            kept, c.dst_uri = c.dst_uri, _next_hop(outbound_proxy)
            try:
                return self.process.relay(c)
            finally:
                c.dst_uri = kept
        return self.process.relay(c)

    @function("t_check_trans", routes=RouteType.REQUEST | RouteType.BRANCH)
    def t_check_trans(self, c: Context) -> int:
        """Whether the request belongs to a transaction; ends the script (0) for a copy of one that is known."""
        return self.process.check_transaction(c)

    @function("t_local_replied", Param("which", Kind.STRING), routes=RouteType.PASSING)
    def t_local_replied(self, c: Context, which: str) -> int:
        """Whether the reply that led here was of our own making; with `which` ``all``, whether every one so far was."""
        if c.route is not RouteType.FAILURE or c.reply is not None:
            return -1
        relay = self._relay_of(c)
        return -1 if which.lower() == "all" and relay is not None and relay.responses.has_replies else 1

    @function(
        "t_new_request",
        Param("method", Kind.STRING),
        Param("ruri", Kind.STRING),
        Param("from", Kind.STRING),
        Param("to", Kind.STRING),
        Param("body", Kind.STRING, optional=True),
        Param("ctx", Kind.STRING, optional=True),
    )
    def t_new_request(
        self, c: Context, method: str, ruri: str, sender: str, to: str, body: str | None, ctx: str | None
    ) -> int:
        """Send a request of our own, out of any dialog; the local_route sees it before it goes.

        `from` and `to` are a URI, with a display name before it where there is one. `body` starts with its content type
        and a space. Gives 1 once it is under way, -1 where it is no request. `ctx` is what `$avp(uac_ctx)` says in the
        local route. What comes back is seen by the routes that the local route arms with `t_on_reply()` and
        `t_on_failure()`, and by no other. It may be called in any route: for a timer route or the startup route, which
        have no sockets, a SIP process sends it.
        """
        content_type, _, content = (body or "").partition(" ")
        headers = [f"Content-Type: {content_type}"] if content else []
        wanted = OwnRequest(
            method,
            ruri,
            f"{_party(sender)};tag={secrets.token_hex(8)}",
            _party(to),
            f"{secrets.token_hex(12)}@layby",
            1,
            headers=headers,
            body=content.encode("latin-1", "replace"),
        )
        avps: dict[str, list[Value]] = {} if ctx is None else {"uac_ctx": [ctx]}
        try:
            self.process.start_request(wanted, avps)
        except ValueError as error:
            log.warning("t_new_request: %s", error)
            return -1
        return 1

    # Arms

    @function("t_on_failure", Param("route", Kind.STRING), routes=RouteType.MESSAGE)
    def t_on_failure(self, c: Context, route: str) -> int:
        """Run that failure_route when no branch takes the request.

        Armed in a local route it hears of a request of our own that was refused or not answered; nothing can be sent
        there.
        """
        return self._arm(c, "on_failure", route, "failure")

    @function("t_on_reply", Param("route", Kind.STRING), routes=RouteType.MESSAGE)
    def t_on_reply(self, c: Context, route: str) -> int:
        """Run that onreply_route for each reply to the request; from a branch route, for those to its branch.

        Where there are both, that of the branch runs first. Armed in a local route it sees the replies to a request of
        our own.
        """
        return self._arm(c, "on_reply", route, "onreply")

    @function("t_on_branch", Param("route", Kind.STRING), routes=RouteType.PASSING)
    def t_on_branch(self, c: Context, route: str) -> int:
        """Run that branch_route for each branch before it is sent."""
        return self._arm(c, "on_branch", route, "branch")

    def _arm(self, c: Context, field: str, route: str, kind: str) -> int:
        assert c.script is not None, "a route of some script is running"
        known = getattr(c.script.routes, kind)
        if route and route not in known:
            return -1
        setattr(c, field, route or None)
        return 1

    # Questions

    @function("t_check_status", Param("pattern", Kind.REGEX), routes=RouteType.PASSING)
    def t_check_status(self, c: Context, pattern: Any) -> int:
        """Whether the status of the reply that led here matches a regular expression, e.g. ``"(487)|(408)"``."""
        return 1 if pattern.search(str(self._status(c))) else -1

    @function("t_was_cancelled", routes=RouteType.PASSING)
    def t_was_cancelled(self, c: Context) -> int:
        """Whether the CANCEL of the request has come."""
        return 1 if c.transaction is not None and self.process.transactions.is_cancelled(c.transaction) else -1

    @function("t_cancel_branch", Param("flags", Kind.STRING, optional=True), routes=RouteType.ONREPLY)
    def t_cancel_branch(self, c: Context, flags: str | None) -> int:
        """In a reply route, cancel this branch; with ``a`` all branches, with ``o`` all others."""
        return self.process.cancel_branches(c, flags or "")

    @function("t_any_timeout", routes=RouteType.RELAYING)
    def t_any_timeout(self, c: Context) -> int:
        """Whether some branch ended without a final reply in time."""
        return 1 if 408 in self._statuses(c) else -1

    @function("t_any_replied", routes=RouteType.RELAYING)
    def t_any_replied(self, c: Context) -> int:
        """Whether some branch has had a final reply."""
        relay = self._relay_of(c)
        return 1 if relay is not None and relay.responses.round_replies() else -1

    @variable("T_reply_code")
    def reply_code(self, c: Context, inner: str) -> Value:
        """The status of the reply that led here; in a request route, of the last final reply that was sent."""
        return self._status(c)

    @variable("T_branch_idx")
    def branch_index(self, c: Context, inner: str) -> Value:
        """Which branch a branch route or a reply route is about."""
        return c.branch_index

    @variable("T_branch_last_reply_code")
    def branch_last_reply_code(self, c: Context, inner: str) -> Value:
        """In a reply route the status of the reply at hand; with an index in brackets, that branch's final status.

        0 while it has none; NULL where there is no such branch.
        """
        relay = self._relay_of(c)
        index = integer_of(inner) if inner else c.branch_index
        if relay is None or index is None or not 0 <= index < len(relay.responses):
            return None
        return c.reply_status if index == c.branch_index and c.reply_status else relay.responses.status_of(index)

    @variable("T_ruri")
    def transaction_uri(self, c: Context, inner: str) -> Value:
        """In a reply route, the Request-URI that the branch was sent with."""
        relay = self._relay_of(c)
        leg = relay.legs[c.branch_index] if relay is not None and c.branch_index < len(relay.legs) else None
        return c.ruri or None if leg is None else leg.sent.ruri

    @variable("T_fr_timeout", setter="set_fr_timeout")
    def fr_timeout(self, c: Context, inner: str) -> Value:
        """Seconds that the first reply may take, for what is relayed from now on."""
        return int(c.fr_timeout_s or self.settings["fr_timeout"])

    def set_fr_timeout(self, c: Context, inner: str, value: Value) -> None:
        """Assign `$T_fr_timeout`; NULL gives the parameter back."""
        c.fr_timeout_s = _seconds(value)

    @variable("T_fr_inv_timeout", setter="set_fr_inv_timeout")
    def fr_inv_timeout(self, c: Context, inner: str) -> Value:
        """Seconds that the final reply to an INVITE may take after a first, for what is relayed from now on."""
        return int(c.fr_inv_timeout_s or self.settings["fr_inv_timeout"])

    def set_fr_inv_timeout(self, c: Context, inner: str, value: Value) -> None:
        """Assign `$T_fr_inv_timeout`; NULL gives the parameter back."""
        c.fr_inv_timeout_s = _seconds(value)

    @variable("T_id")
    def transaction_id(self, c: Context, inner: str) -> Value:
        """A name for the transaction; NULL without one."""
        return c.transaction

    def _relay_of(self, c: Context) -> Relay | None:
        return None if c.transaction is None else self.process.proxy.relays.get(c.transaction)

    def _status(self, c: Context) -> int:
        if c.reply_status:
            return c.reply_status
        if not isinstance(c.message, Request):
            return c.message.status
        return self.process.transactions.last_status(c.transaction) if c.transaction else 0

    def _statuses(self, c: Context) -> list[int]:
        relay = self._relay_of(c)
        return [] if relay is None else [relay.responses.status_of(index) for index in range(len(relay.responses))]


def _seconds(value: Value) -> float | None:
    if value is None:
        return None
    if isinstance(value, int) and value > 0:
        return float(value)
    raise ValueError("a time-out is a number of seconds above 0")


def _party(text: str) -> str:
    """``uri`` or ``name uri`` as a name-addr."""
    name, _, uri = text.strip().rpartition(" ")
    return f"{name} <{uri.strip('<>')}>".lstrip()


def _next_hop(text: str) -> str:
    """``udp:host:port`` as OpenSIPS writes an outbound proxy, or a URI as it is."""
    protocol, colon, rest = text.partition(":")
    if colon and protocol.lower() in ("udp", "tcp"):
        return f"sip:{rest};transport={protocol.lower()}"
    return text
