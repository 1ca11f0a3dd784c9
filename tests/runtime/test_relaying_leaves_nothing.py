"""What relaying leaves behind: nothing, though the garbage collector never runs.

The server's collector is frozen and mostly idle, so whatever refers to itself in a circle would stay for ever. Calls of
every kind go through a process whose timers are short; with the collector switched off, not one object of theirs may be
there in the end.
"""

from __future__ import annotations

import gc
import itertools
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from runtime.client_transactions import Leg
from runtime.context import Context
from runtime.relay import Relay
from runtime.runs import Parked
from runtime.server_transactions import Origin, _Kept
from runtime.sip.client_transaction import ClientTransaction
from runtime.sip.message import Reply, Request
from runtime.sip.response_context import ResponseContext
from runtime.sip.transaction import ServerTransaction
from runtime.uac import Sending
from tests.harness import wait_until
from tests.one_process import OneProcess, one_process
from tests.sip_peer import Peer, Received

pytestmark = pytest.mark.processes

KINDS = (
    Relay,
    Leg,
    Context,
    Request,
    Reply,
    ResponseContext,
    Sending,
    Parked,
    Origin,
    _Kept,
    ClientTransaction,
    ServerTransaction,
)
HEAD = """
modparam("tm", "T1_timer", 10)
modparam("tm", "T2_timer", 10)
modparam("tm", "T4_timer", 10)
modparam("tm", "fr_timeout", 1)
"""
ROUTES = """
route {
    $du = "sip:127.0.0.1:" + $hdr(X-Callee);
    switch ($rU) {
    case "fork":
        append_msg_branch("sip:second@127.0.0.1:$hdr(X-Callee)");
        break;
    case "dropped":
        append_msg_branch("sip:gone@127.0.0.1:$hdr(X-Callee)");
        t_on_branch("each");
        break;
    case "serial":
    case "late":
        t_on_failure("next");
        break;
    case "decide":
        t_on_failure("decide");
        break;
    case "parks":
        t_on_reply("parks");
        t_on_failure("parks");
        async(mi("bench_wait 1", $var(r)), go);
    case "nowhere":
        $du = "sip:127.0.0.1;transport=carrier-pigeon";
        break;
    case "own":
        t_new_request("MESSAGE", "sip:x@127.0.0.1:$hdr(X-Callee)", "sip:us@here", "sip:x@there", "text/plain hi");
        t_new_request("INVITE", "sip:x@127.0.0.1:$hdr(X-Callee)", "sip:us@here", "sip:x@there");
        t_new_request("ACK", "sip:x@127.0.0.1:$hdr(X-Callee)", "sip:us@here", "sip:x@there");
        t_new_request("INFO", "sip:x@127.0.0.1;transport=carrier-pigeon", "sip:us@here", "sip:x@there");
        sl_send_reply(200, "OK");
        exit;
    case "answered":
        t_newtran();
        t_reply(404, "Answered");
        break;
    case "hops":
        break;
    }
    if (!t_relay()) sl_send_reply(478, "Not relayed");
}
route[go] { t_relay(); }
branch_route[each] { if ($rU == "gone") drop; }
onreply_route[parks] { async(mi("bench_wait 1", $var(r)), nothing); }
route[nothing] { $var(x) = 1; }
failure_route[parks] { async(mi("bench_wait 1", $var(r)), again); }
route[again] {
    $ru = "sip:again@127.0.0.1";
    t_relay();
}
failure_route[next] {
    $ru = "sip:next@127.0.0.1";
    t_relay();
}
failure_route[decide] { t_reply(404, "Decided"); }
local_route { append_hf("X-Local: yes\\r\\n"); }
"""
ANSWERS: dict[str, list[int]] = {
    "busy": [180, 486],
    "serial": [486],
    "decide": [486],
    "parks": [183, 180, 503],
    "fork": [180],
    "second": [183, 200],
    "cancel": [180],
    "hasty": [100],
    "late": [],
    "silent": [],
}
"""By the user part of the Request-URI; all others answer 180 and 200."""


class Stuttering(Peer):
    """Says now and then what it says twice."""

    _said = itertools.count(1)

    def send(self, text: str, to: tuple[str, int] | None = None) -> None:
        super().send(text, to)
        if next(self._said) % 7 == 0:
            super().send(text, to)


class Callee(Stuttering):
    """Answers by itself, as `ANSWERS` says."""

    def __init__(self, server_port: int) -> None:
        super().__init__(server_port)
        self.ringing: dict[str, Received] = {}
        """INVITEs that had no final reply, by their branch."""

    def work(self) -> None:
        self.collect()
        for request in self.received:
            self.take(request)
        self.received.clear()

    def take(self, request: Received) -> None:
        if request.is_reply or request.method == "ACK":
            return
        if request.method == "CANCEL":
            self.reply(request, 200)
            if (invite := self.ringing.pop(request.branch, None)) is not None:
                self.reply(invite, 487)
            return
        user = request.ruri.partition(":")[2].partition("@")[0]
        statuses = ANSWERS.get(user, [180, 200])
        if request.method == "INVITE" and (not statuses or statuses[-1] < 200):
            self.ringing[request.branch] = request
        for status in statuses:
            self.reply(request, status)


class Caller(Stuttering):
    """Sends requests, and does what a caller does with the replies."""

    def __init__(self, server_port: int) -> None:
        super().__init__(server_port)
        self.open: dict[str, tuple[str, str]] = {}
        """What has no final reply: kind and text by Call-ID."""
        self.finals: Counter[tuple[str, int]] = Counter()

    def ask(self, kind: str, callee: Peer) -> None:
        method = "OPTIONS" if kind in ("own", "options", "flat") else "INVITE"
        text = self.request(method, f"sip:{kind}@127.0.0.1", extra=f"X-Callee: {callee.port}\r\n")
        if kind == "hops":
            text = text.replace("Max-Forwards: 70", "Max-Forwards: 0")
        self.open[Received(text, ("", 0)).call_id] = kind, text
        self.send(text)
        if kind == "hasty":
            self.cancel(text)

    def work(self) -> None:
        self.collect()
        for reply in self.received:
            if reply.call_id in self.open and reply.method != "CANCEL":
                self.take(reply, *self.open[reply.call_id])
        self.received.clear()

    def take(self, reply: Received, kind: str, text: str) -> None:
        if reply.status == 180 and kind == "cancel":
            self.cancel(text)
        if reply.status < 200:
            return
        del self.open[reply.call_id]
        self.finals[kind, reply.status] += 1
        if reply.method == "INVITE" and reply.status >= 300:
            self.ack(text, reply)
        elif reply.method == "INVITE":
            self.send(self.request("ACK", "sip:ack@127.0.0.1", call_id=reply.call_id, to_tag="x"))


@pytest.fixture
def server(tmp: Path) -> Iterator[OneProcess]:
    with one_process(tmp, ROUTES, HEAD) as one:
        yield one


def alive() -> Counter[str]:
    return Counter(type(one).__name__ for one in gc.get_objects() if isinstance(one, KINDS))


def test_a_thousand_calls_of_every_kind_leave_nothing_behind(server: OneProcess) -> None:
    caller, callee = Caller(server.sip_port), Callee(server.sip_port)
    quick = {
        "bob": 200,
        "busy": 486,
        "fork": 200,
        "dropped": 200,
        "serial": 200,
        "decide": 404,
        "cancel": 487,
        "hasty": 487,
        "parks": 200,
        "nowhere": 478,
        "own": 200,
        "options": 200,
        "answered": 404,
        "hops": 483,
    }
    slow = {"silent": 408, "late": 200}
    asks = [*slow] * 20 + list(itertools.islice(itertools.cycle(quick), 960))
    gc.collect()
    gc.disable()
    before = alive()
    try:
        for kind in asks:
            caller.ask(kind, callee)
            callee.work()
            caller.work()
            if len(caller.open) > 80:
                wait_until(_worked(caller, callee, 60), what="calls end")
        wait_until(_worked(caller, callee, 0), what="all calls end")
        ends = time.monotonic() + 4
        while alive() - before and time.monotonic() < ends:
            callee.collect(0.1)
            callee.work()
        left = alive() - before
    finally:
        gc.enable()
        caller.close()
        callee.close()
    assert left == Counter()
    assert {kind: status for kind, status in caller.finals} == quick | slow
    assert sum(caller.finals.values()) == 1000


def _worked(caller: Caller, callee: Callee, open_: int) -> Callable[[], bool]:
    def work() -> bool:
        callee.work()
        caller.work()
        return len(caller.open) <= open_

    return work
