"""Probing of SIP targets: a request to each of them every so often, and word to the owner of what it was answered.

The MI process keeps the time; SIP processes send, by turns, as they send any request of the server's own: the script's
local_route sees the probes. A target that does not answer costs a transaction and nothing else, so nothing waits
for it.
"""

from __future__ import annotations

import itertools
import logging
import secrets
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final, NamedTuple

import msgpack

from runtime.clock import monotonic_now
from runtime.errands import packed, sip_peers
from runtime.probe_schedule import Schedule
from runtime.recording import why
from runtime.roles import SEND_AND_WAIT
from runtime.sip.forward import MAX_FORWARDS
from runtime.sip.own_request import OwnRequest
from workers.jobs import Job, Outcome, Peer, Returned

if TYPE_CHECKING:
    from runtime.process import Process

log = logging.getLogger("layby.probing")

MOST_UNDER_WAY: Final = 400
"""Probes of one owner that wait for an answer at once, for each SIP process. Jobs of all kinds it may have 1,000
(`workers.policy.Limits`), and must go on taking others."""
_LOOK_EVERY_S: Final = 0.1
_GRACE_S: Final = 5.0
"""How much longer than the transaction the job that sends a probe may take."""


class Probe(NamedTuple):
    """What a target is sent.

    Args:
        uri: the Request-URI, and where it goes.
        method: e.g. ``OPTIONS``.
        from_: the URI in From.
        socket: the index of the socket to send from; None for the first that fits.
        max_forwards: Max-Forwards.
    """

    uri: str
    method: str = "OPTIONS"
    from_: str = "sip:prober@localhost"
    socket: int | None = None
    max_forwards: int = MAX_FORWARDS


class Prober:
    """Probes the targets of one owner, from when it is made to the end of the process. Belongs into the MI process.

    Args:
        process: where it runs.
        owner: whose targets they are, for `job_list` and the log, e.g. ``dispatcher``.
        interval_s: how often each target is probed. A probe is answered within that time, or counts as not answered.
        targets: the targets that are to be probed now, by a name that each keeps. Asked ten times a second, so it
            gives the very same mapping where nothing has changed, and a new one where something has.
        answered: told a target's name and the status that its probe ended with: 408 where nobody answered, 503 where
            it could not be sent. Which of them mean that the target is alive is the owner's to say. A probe that got
            lost with a process of the server is no answer, and nobody is told of it.
        timeout_s: how long an answer may take, where that is less than the interval.
    """

    def __init__(
        self,
        process: Process,
        owner: str,
        interval_s: float,
        targets: Callable[[], Mapping[str, Probe]],
        answered: Callable[[str, int], None],
        timeout_s: float = 30.0,
    ) -> None:
        self._process = process
        self._label = f"probe {owner}"
        self._timeout_s = min(timeout_s, interval_s)
        self._targets = targets
        self._answered = answered
        self._known: Mapping[str, Probe] = {}
        self._schedule = Schedule(interval_s)
        self._turns = itertools.count()
        process.loop.call_soon(self._look)

    def _look(self) -> None:
        if self._process.draining:
            return
        self._process.loop.call_later(_LOOK_EVERY_S, self._look)
        now, targets = monotonic_now(), self._targets()
        if targets is not self._known:
            self._known = targets
            self._schedule.want(targets, now)
        peers = sip_peers(self._process)
        if not peers:
            return  # they are being replaced; what is due stays so
        for key in self._schedule.due(now, MOST_UNDER_WAY * len(peers)):
            self._send(key, peers[next(self._turns) % len(peers)])

    def _send(self, key: str, peer: Peer) -> None:
        def settled(job: Job, outcome: Outcome) -> None:
            self._settled(key, outcome)

        self._process.node.submit(
            SEND_AND_WAIT,
            packed(self._request(self._known[key]), {}),
            label=self._label,
            timeout_s=self._timeout_s + _GRACE_S,
            settled=settled,
            to=peer,
        )

    def _request(self, probe: Probe) -> OwnRequest:
        return OwnRequest(
            probe.method,
            probe.uri,
            f"<{probe.from_}>;tag={secrets.token_hex(8)}",
            f"<{probe.uri}>",
            f"{secrets.token_hex(12)}@layby",
            1,
            socket=probe.socket,
            timeout_s=self._timeout_s,
            max_forwards=probe.max_forwards,
        )

    def _settled(self, key: str, outcome: Outcome) -> None:
        self._schedule.ended(key, monotonic_now())
        if not isinstance(outcome, Returned):
            log.info("%s: %s: %s", self._label, key, why(outcome))
        elif key in self._known:
            self._answered(key, int(msgpack.unpackb(outcome.payload)[0]))
