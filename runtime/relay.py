"""One relayed request: its branches, what comes back on them, and the script's words about it.

A shell around `runtime.sip.response_context`, which decides. Replies are dealt with one after the other: while a reply
is parked in a reply route, those behind it wait, so that they go upstream in the order in which they came.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Final, assert_never

from msgspec import Struct

from runtime.client_transactions import Leg
from runtime.context import Branch, Context, RouteType
from runtime.resolver import Found
from runtime.runs import Ended
from runtime.script.script import RouteCode, Routes
from runtime.sip.forward import Edit
from runtime.sip.locate import NotFound, Target
from runtime.sip.message import Reply, Request
from runtime.sip.reasons import reason_of
from runtime.sip.response_context import (
    Answer,
    Answered,
    AskScript,
    CancelBranch,
    Cancelled,
    Decided,
    Effect,
    Failed,
    Over,
    Replied,
    ResponseContext,
    Sent,
    Stimulus,
)
from runtime.sip.response_context import Relay as RelayUp

if TYPE_CHECKING:
    from runtime.proxy import Proxy

log = logging.getLogger("layby.sip")

GIVEN_UP: Final = -3
UNROUTABLE: Final = -1
_UNAVAILABLE: Final = 503
_DROPPED: Final = 500
_TERMINATED: Final = 487
_BAD_GATEWAY: Final = 502
MAX_BRANCHES: Final = 64
"""Of one request; a fork bomb ends here."""
MAX_QUEUED: Final = 64
"""Replies that wait behind a parked one. Beyond it those that come again are left out."""


class _Came(Struct):
    """A branch's last reply, as the script left it."""

    reply: Reply
    edits: Sequence[Edit] = ()
    body: bytes | None = None
    changed: tuple[int, str] | None = None

    @property
    def status(self) -> int:
        return self.changed[0] if self.changed else self.reply.status


class _Trying(Struct):
    """What is left to try of a branch whose next hop has several addresses (RFC 3263 4.3)."""

    context: Context
    targets: list[Target]
    attempt: int = 0


class Relay:
    """One request that this process relays.

    Args:
        proxy: what it is relayed by.
        context: the request's context, which the script may see again in its failure route.
        key: its server transaction's.

    Attributes:
        context: None once a final reply has gone upstream and no branch is left.
        legs: the branches' client transactions, None where there is none (yet, or any more).
        responses: what decides.
        script: the one that the request came under, whose routes see its replies.
    """

    __slots__ = (
        "_branch_reply_routes",
        "_came",
        "_cseq",
        "_emptying",
        "_failure_route",
        "_proxy",
        "_queue",
        "_reading",
        "_reply_route",
        "_starting",
        "_trying",
        "context",
        "key",
        "legs",
        "method",
        "responses",
        "script",
    )

    def __init__(self, proxy: Proxy, context: Context, key: str) -> None:
        message = context.message
        assert isinstance(message, Request), "only requests are relayed"
        assert context.script is not None, "what is relayed came under one"
        self._proxy = proxy
        self.context: Context | None = context
        self.key = key
        self.method = message.method
        self.script = context.script
        self.responses = ResponseContext(message.method == "INVITE", proxy.block_6xx)
        self.legs: list[Leg | None] = []
        self._reply_route: RouteCode | None = None
        self._branch_reply_routes: dict[int, RouteCode] = {}
        """By the branch's index: what its branch route has set for it alone."""
        self._failure_route: RouteCode | None = None
        self._came: dict[int, _Came] = {}
        self._trying: dict[int, _Trying] = {}
        self._queue: list[tuple[Leg, Reply]] = []
        self._reading = False
        self._emptying = False
        self._starting = False
        self._cseq: int | None = None
        """The number that replies get back, where the request is sent on with another."""

    # Sending on.

    def start(self, context: Context) -> int:
        """Relay to the context's Request-URI and to its further branches (`t_relay`).

        Returns:
            1; `GIVEN_UP` where the caller has given up or been answered; `UNROUTABLE` where no target can be reached.
        """
        if self.responses.final or self.responses.cancelled:
            return GIVEN_UP
        routes = self.script.routes
        on_branch = routes.branch.get(context.on_branch or "")
        if on_branch is None and not context.branches:
            return self._start_alone(context, routes)
        targets = self._targets(context, filtered=on_branch is None)
        if not targets or len(self.legs) + len(targets) > MAX_BRANCHES:
            return UNROUTABLE
        self._begin(context, routes)
        # The request's own context will do where it goes nowhere else (the flags tell) and no route will change it.
        own = on_branch is None and len(targets) == 1 and targets[0].flags is context.branch_flags
        branches = [context] if own else [context.for_branch(target) for target in targets]
        self._starting = True
        try:
            for branch in branches:
                branch.branch_index = self.responses.add()
                self.legs.append(None)
            for branch in branches:
                if self.responses.final:
                    break  # the route of the branch before has answered the request
                if on_branch is None:
                    self._go(branch, self._proxy.locate_nowait(branch))
                else:
                    branch.route = RouteType.BRANCH
                    self._proxy.run(branch, on_branch, self._branch_through)
        finally:
            self._starting = False
        return 1

    def _start_alone(self, context: Context, routes: Routes) -> int:
        """The usual request goes to one place, and no branch route changes it: its own context will do.

        By the other way it would take 3 µs more: it looks for the place twice, and makes lists of one.
        """
        found = self._proxy.locate_nowait(context)
        if len(self.legs) == MAX_BRANCHES or not self._proxy.is_within_reach(context, found):
            return UNROUTABLE
        self._begin(context, routes)
        context.branch_index = self.responses.add()
        self.legs.append(None)
        self._starting = True
        try:
            self._go(context, found)
        finally:
            self._starting = False
        return 1

    def _begin(self, context: Context, routes: Routes) -> None:
        self._take_arms(context, routes)
        self._proxy.tell_relaying(context)
        self._cseq = None if context.cseq is None else context.message.cseq_number

    def _take_arms(self, context: Context, routes: Routes) -> None:
        self._reply_route = routes.onreply.get(context.on_reply) if context.on_reply else None
        self._failure_route = routes.failure.get(context.on_failure) if context.on_failure else None

    def _targets(self, context: Context, filtered: bool) -> list[Branch]:
        """Where the request shall go. What is known to be unreachable may be left out: a branch route can change it."""
        appended, context.branches = context.branches, []
        # What it has is the context's own; by its flags it is known again.
        own = Branch(
            context.ruri,
            context.dst_uri,
            context.path,
            context.q,
            context.branch_flags,
            context.branch_attributes,
            context.send_socket,
        )
        targets = [own, *appended]
        if not filtered:
            return targets
        return [target for target in targets if self._proxy.may_reach(context, target.dst_uri or target.uri)]

    def _rearm(self, context: Context, branch: int | None = None) -> None:
        """Take what a branch route or a reply route has set: for failures of the request, for replies of its branch."""
        routes = self.script.routes
        if context.on_failure is not None:
            self._failure_route = routes.failure.get(context.on_failure)
        on_reply = None if context.on_reply is None else routes.onreply.get(context.on_reply)
        if on_reply is not None and branch is not None:
            self._branch_reply_routes[branch] = on_reply
        elif on_reply is not None:
            self._reply_route = on_reply

    def _branch_through(self, branch: Context, ended: Ended) -> None:
        self._rearm(branch, branch.branch_index)
        if ended is Ended.WELL:
            self._go(branch, self._proxy.locate_nowait(branch))
        else:
            self._fail(branch.branch_index, _DROPPED)

    def _go(self, branch: Context, found: Found | None) -> None:
        """Send a branch on to what was found, or as soon as that is."""
        if found is None:
            branch = branch.copy()  # the script that relays goes on meanwhile, and may change its own
            self._proxy.locate_later(branch, partial(self._located, branch))
        else:
            self._located(branch, found)

    def _located(self, branch: Context, found: Found) -> None:
        index = branch.branch_index
        if self.responses.status_of(index):
            return  # it was cancelled while its name was looked up
        if isinstance(found, NotFound):
            log.info("%s: %s", branch.dst_uri or branch.ruri, found.reason)
            self._fail(index, _UNAVAILABLE)
        else:
            if len(found) == 1:
                sent = self._send(index, branch, found[0], str(index))
            else:
                trying = self._trying[index] = _Trying(branch.copy(), list(found))
                sent = self._try(index, trying)
            if not sent:
                self._fail(index, _UNAVAILABLE)

    def _try(self, index: int, trying: _Trying) -> bool:
        """Send a branch to the next of its targets that there is a socket for; False where there is none."""
        while trying.targets:
            target = trying.targets.pop(0)
            suffix = f"{index}.{trying.attempt}" if trying.attempt else str(index)
            trying.attempt += 1
            if self._send(index, trying.context, target, suffix):
                return True
        return False

    def _send(self, index: int, context: Context, target: Target, suffix: str) -> bool:
        """Send a branch to a target; False where there is no socket for it."""
        leg = self._proxy.leg(context, self.key, suffix, target, self)
        if leg is None:
            return False
        leg.index = index
        self.legs[index] = leg
        self.responses.handle(Sent(index))
        self._proxy.await_reply(self.key, leg)
        self._proxy.clients.begin(leg)
        return True

    def _try_next(self, leg: Leg) -> bool:
        """Try another address of the same next hop; False where there is none, or no point in it."""
        trying = self._trying.get(leg.index)
        if trying is None or not trying.targets or self.responses.final:
            return False
        self._proxy.mark_failed(leg)
        return self._try(leg.index, trying)

    def _fail(self, index: int, status: int) -> None:
        if self._starting:  # the script that relays is still on the stack, and another must not run on top of it
            self._proxy.soon(lambda: self.handle(Failed(index, status)))
        else:
            self.handle(Failed(index, status))

    # What comes back.

    def on_reply(self, leg: Leg, reply: Reply) -> None:
        """See `Served`."""
        if reply.names.count("via") == 1 and "," not in reply.lines[reply.names.index("via")]:
            # Who sent it has lost the caller's Via: it is for nobody further up (16.7 step 3). What it refuses is known
            # all the same, and goes up as a reply of our own.
            if reply.status >= 200:
                self._fail(leg.index, reply.status if reply.status >= 300 else _BAD_GATEWAY)
            return
        if reply.status == _UNAVAILABLE and self._try_next(leg):
            return
        if not self._reading:
            self._read(leg, reply)
        elif len(self._queue) < MAX_QUEUED or not _comes_again(leg, reply):
            self._queue.append((leg, reply))

    def on_failed(self, leg: Leg, status: int) -> None:
        """See `Served`."""
        # Another address is for one that is not there, not for one that rings and is not answered (RFC 3263 4.3).
        if leg.was_replied or not self._try_next(leg):
            self._fail(leg.index, status)

    def on_gone(self, leg: Leg) -> None:
        """See `Served`."""
        if self.legs[leg.index] is leg:
            self.legs[leg.index] = None

    def _read(self, leg: Leg, reply: Reply) -> None:
        """Let the reply routes see a reply, and then deal with it."""
        general = self.script.routes.onreply.get("")
        of_branch = self._branch_reply_routes.get(leg.index) if self._branch_reply_routes else None
        routes = [route for route in (general, of_branch, self._reply_route) if route is not None]
        if not routes:
            self._read_through(leg, _Came(reply))
            return
        context = self._proxy.reply_context(leg, reply, self.context, self.script, self.key)
        self._reading = True
        self._run_reply_routes(leg, context, routes)

    def _run_reply_routes(self, leg: Leg, context: Context, routes: list[RouteCode]) -> None:
        def through(context: Context, ended: Ended) -> None:
            reply = context.message
            assert isinstance(reply, Reply), "a reply stays one"
            self._rearm(context)
            dropped = ended is Ended.DROPPED and reply.status < 200
            if len(routes) > 1 and not dropped:
                self._run_reply_routes(leg, context, routes[1:])
                return
            self._reading = False
            if not dropped:
                self._read_through(leg, _Came(reply, context.edits, context.body, context.new_status))
            self._read_queued()

        self._proxy.run(context, routes[0], through)

    def _read_queued(self) -> None:
        """Deal with the replies that waited, until one of them parks in its turn."""
        if self._emptying:
            return  # further up on this stack: one after the other, not one within the other
        self._emptying = True
        try:
            while self._queue and not self._reading:
                self._read(*self._queue.pop(0))
        finally:
            self._emptying = False

    def _read_through(self, leg: Leg, came: _Came) -> None:
        self._came[leg.index] = came
        self.handle(Replied(leg.index, came.status))
        if came.status >= 200 and self.legs[leg.index] not in (leg, None):
            # It is from an address that had been given up: the one that is being tried now is not wanted any more.
            self._cancel_branch(leg.index)
        if self.responses.final or came.status < 200:
            # A provisional reply has gone up; of the final ones the best may still be wanted.
            self._came.pop(leg.index, None)

    # Deciding.

    def cancel(self) -> None:
        """The request's CANCEL came."""
        self.handle(Cancelled())

    def cancel_some(self, index: int, which: str) -> None:
        """Cancel the branch with that index; where `which` has an ``a`` all branches, with an ``o`` all others.

        It is done in a turn of its own: what follows must not run on the stack of the script that asks.
        """
        for at in range(len(self.legs)):
            if "a" in which or (at != index) == ("o" in which):
                self._proxy.soon(partial(self._cancel_branch, at))

    def _cancel_branch(self, index: int) -> None:
        leg = self.legs[index]
        self._trying.pop(index, None)
        if leg is not None:
            self._proxy.clients.cancel(leg)
        else:
            self.handle(Failed(index, _TERMINATED))  # not sent yet, or over

    def answered(self, status: int) -> None:
        """The script gave a final reply itself."""
        self.handle(Answered(status))

    def handle(self, stimulus: Stimulus) -> None:
        """Let the response context decide, and do what it says."""
        for effect in self.responses.handle(stimulus):
            try:
                self._perform(effect)
            except Exception:
                # One step's trouble must not cost the caller his final reply, nor the branches their end.
                log.exception("relayed request %s: %s", self.key, type(effect).__name__)
                if isinstance(effect, RelayUp) and self.responses.final:
                    self._proxy.answer(self.key, 500, reason_of(500))

    def _perform(self, effect: Effect) -> None:
        match effect:
            case RelayUp(index):
                self._relay_up(index)
            case Answer(status):
                self._answer(status)
            case CancelBranch(index):
                self._cancel_branch(index)
            case AskScript(index, status):
                self._ask(index, status)
            case Over():
                self._came.clear()
                self._trying.clear()
                self.context = None
            case _:
                assert_never(effect)

    def _relay_up(self, index: int) -> None:
        came = self._came[index]
        status, changed = came.status, came.changed
        edits = came.edits
        if status in (401, 407):
            edits = [*edits, *self._other_challenges(index)]
        # A 503 says that a server is overloaded: upstream would take it for us (RFC 3261 16.7 step 6).
        if status == _UNAVAILABLE:
            changed = 500, "Server Internal Error"
        if self.context is not None:
            self._proxy.tell_relayed(self.context, came.reply, changed[0] if changed else status)
        self._proxy.send_up(self.key, came.reply, edits, came.body, changed, self._cseq)

    def _other_challenges(self, index: int) -> list[Edit]:
        """The challenges of the other branches, for one reply can carry them all (16.7 step 7)."""
        found: list[Edit] = []
        for other in self.responses.round_replies():
            came = self._came.get(other)
            if other == index or came is None or came.status not in (401, 407):
                continue
            for name in ("WWW-Authenticate", "Proxy-Authenticate"):
                found += [("append", f"{name}: {value}\r\n") for value in came.reply.fields(name)]
        return found

    def _answer(self, status: int) -> None:
        if self.context is not None:
            self._proxy.tell_answered(self.context, status)
        if not (status == 408 and self._proxy.is_too_late(self.key)):
            self._proxy.answer(self.key, status, reason_of(status))

    def _ask(self, index: int | None, status: int) -> None:
        route, self._failure_route = self._failure_route, None
        context = self.context
        came = None if index is None else self._came.get(index)
        if context is not None:
            self._proxy.tell_failed(context, came.reply if came else None, status)
        if route is None or context is None:
            self.handle(Decided())
            return
        # A copy: the request route may be parked, and goes on with what it had.
        context = self.context = context.copy()
        context.route = RouteType.FAILURE
        context.on_failure = None
        context.reply = came.reply if came else None
        context.reply_status = status
        context.branch_index = index or 0
        self._proxy.run(context, route, self._asked)

    def _asked(self, context: Context, ended: Ended) -> None:
        self.handle(Decided())


def _comes_again(leg: Leg, reply: Reply) -> bool:
    """Whether a reply may be left out: a provisional one tells no more than the next, and a 2xx to an INVITE is
    repeated until its ACK comes (RFC 3261 13.3.1.4). Any other comes up from its transaction once.
    """
    return reply.status < 200 or (reply.status < 300 and leg.method == "INVITE")
