"""What becomes of every request of the soak, and whether a process that died accounts for what went wrong: no I/O here.

A request is **settled** when it had its final answer, or cannot get one any more. What is not as it should be is a
violation, unless a death explains it, and that is judged as strictly as it can be known:

* *No final answer.* A client sends again for 32 s, until something comes. So a death explains it only where the
  request was **held**: a provisional reply, or the callee's copy of the INVITE, named the process that had it, and each
  such process died between the first sending and the time at which the client would have given up. One that nobody
  held had some ten copies, and has no excuse.
* *Two different final answers.* Only where the process that gave the first one was dead when the second one came.
* *A final answer that is no 200.* For an INVITE, where its holder died; for others never.
* *A command that ended badly.* Only with -500, "its worker died": one that may not be run twice where a worker died
  while the request was under way or just before, one that may where two did.
* *A command that ran twice.* Where it may not, only if the process for which it ran before was dead then. Twice for one
  process is never explained.
* *A launch without its report.* Where the process that launched it died within the time that it had for it. A report
  that came twice from one process is never explained; that several processes launched it, only if all of them but one
  have died.
* *An ACK that never came.* Where the INVITE's holder died, or a SIP process did within a second of an ACK's sending.

A stop explains nothing: what was stopped goes on.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple, TypeAlias

from sip_ends import GIVEN_UP_S

from soak_load.stamps import Stamp

Role: TypeAlias = Literal["sip", "worker", "mi"]

PATIENCE_S: Final = 5.0
"""So long an answer may still be on its way from elsewhere, after the death of the process that held the request."""
REPORT_S: Final = 15.0
"""A launch has 10 s by default; its report comes at the end of them at the latest, if not for a stop or a queue."""
NOTICED_S: Final = 2.1
"""A job may be sent to a worker that is dead until that is known: at once, if not for a stop, which lasts up to 2 s."""
_KEPT_S: Final = 40.0
"""So long a settled request is remembered, for what comes late: longer than any transaction lives."""
_MOST_SHOWN: Final = 50
IDEMPOTENT: Final = frozenset({"waits", "launches", "inline", "reply"})
"""The kinds whose command may be run a second time."""


class Death(NamedTuple):
    """A process that was killed at that moment."""

    pid: int
    name: str
    role: Role
    at: float


class Reply(NamedTuple):
    """A final reply, so far as two of them can differ."""

    status: int
    tag: str
    stamps: tuple[Stamp, ...]


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is not as it should be.

    Args:
        what: the kind of violation, or of what a death explains.
        text: in detail.
        token: the request's Call-ID; empty where it is of none.
        at: when it was found, monotonic seconds.
        diary: what happened to the request, in order.
    """

    what: str
    text: str
    token: str
    at: float
    diary: tuple[str, ...] = ()


@dataclass(slots=True)
class Request:
    """One request, from its first sending on. Times are monotonic seconds, 0 for what has not happened.

    Args:
        token: its Call-ID.
        method, kind: what it is, and what the script does with it.
        sent: when it was sent first.
        holders: PIDs that are known to have had it in their hands, the last one last.
        waiting: whether the client sends it no more, because something provisional has come.
        final, answered: the first final reply, and when it came.
        answered_by: the process that gave it.
        acked, last_ack: of an INVITE, whether the ACK has reached the callee, and when one was sent last.
        ran: PIDs of the processes for which its command ran.
        reports: of a launch, by PID how often it was reported.
        settled: when nothing more was waited for.
    """

    token: str
    method: str
    kind: str
    sent: float
    holders: list[int] = field(default_factory=list)
    waiting: bool = False
    final: Reply | None = None
    answered: float = 0.0
    answered_by: int = 0
    acked: bool = False
    last_ack: float = 0.0
    ran: list[int] = field(default_factory=list)
    reports: Counter[int] = field(default_factory=Counter)
    settled: float = 0.0
    diary: list[str] = field(default_factory=list)

    def note(self, at: float, text: str) -> None:
        """Put something into its diary."""
        if len(self.diary) < _MOST_SHOWN:
            self.diary.append(f"{at - self.sent:+.3f} {text}")

    @property
    def complete(self) -> bool:
        """Whether it has all that it is to have."""
        if self.final is None:
            return False
        if self.method == "INVITE" and self.final.status < 300:
            return self.acked
        return self.kind != "launches" or bool(self.reports)


class Ledger:
    """All requests that are under way or were lately, what was found, and the deaths that explain it.

    Args:
        runner: the role of those that run the commands.
    """

    def __init__(self, runner: Role = "worker") -> None:
        self._runner = runner
        self.counts: Counter[str] = Counter()
        """How many were begun, answered and explained, in all and by method and kind."""
        self.violations: list[Finding] = []
        self.explained: list[Finding] = []
        self.latencies: list[float] = []
        """Seconds from the first sending to the final answer of requests that are not INVITEs; whoever reads clears."""
        self._requests: dict[tuple[str, str], Request] = {}
        self._unsettled: dict[tuple[str, str], Request] = {}
        self._settled: deque[tuple[str, str]] = deque()
        self._deaths: list[Death] = []

    # What happens.

    def sent(self, token: str, method: str, kind: str, now: float) -> None:
        """A request goes out for the first time."""
        request = Request(token, method, kind, now)
        self._requests[token, method] = self._unsettled[token, method] = request
        self.counts["begun"] += 1
        self.counts[f"begun {method} {kind}"] += 1

    def died(self, death: Death) -> None:
        """A process was killed."""
        self._deaths.append(death)

    def held(self, token: str, method: str, pid: int, at: float, *, waiting: bool) -> None:
        """Somebody has it: a provisional reply (`waiting`: the client stops sending), or the callee's copy, says so."""
        request = self._requests.get((token, method))
        if request is None:
            return
        if pid and pid not in request.holders:
            request.holders.append(pid)
            request.note(at, f"held by {pid}")
        request.waiting = request.waiting or waiting

    def replied(self, token: str, method: str, reply: Reply, pid: int, at: float) -> None:
        """A final reply has come to the client, from that process where it says so."""
        request = self._requests.get((token, method))
        if request is None:
            self._violate("late", f"{reply.status} to {method} {token} after it was forgotten", token, at, ())
            return
        if request.final is None:
            self._first(request, reply, pid, at)
        elif reply == request.final:
            self.counts["copies of answers"] += 1
        else:
            self._second(request, reply, pid, at)

    def _first(self, request: Request, reply: Reply, pid: int, at: float) -> None:
        request.final, request.answered, request.answered_by = reply, at, pid
        request.note(at, f"{reply.status} from {pid or 'somebody'}")
        self.counts["answered"] += 1
        if request.method != "INVITE":
            self.latencies.append(at - request.sent)
        if reply.status != 200:
            excused = request.method == "INVITE" and self._holders_died(request)
            self._judge(excused, "refused", f"{request.method} was answered {reply.status}", request, at)
        for stamp in reply.stamps:
            self.stamped(request.token, request.method, stamp, at)
        self._settle_if_complete(request, at)

    def _second(self, request: Request, reply: Reply, pid: int, at: float) -> None:
        request.note(at, f"another answer: {reply.status} from {pid or 'somebody'}")
        excused = self._died_between(request.answered_by, request.sent, at)
        text = f"{request.method} was answered {request.final} and {reply}"
        self._judge(excused, "two answers", text, request, at)

    def stamped(self, token: str, method: str, stamp: Stamp, at: float) -> None:
        """A stamp was seen, in a reply or in what was relayed."""
        request = self._requests.get((token, method))
        if request is None:
            return
        for fault in stamp.faults(token):
            self._judge(False, "mixed up", f"{method} {fault}", request, at)
        if stamp.rc < 0:
            self._command_failed(request, stamp.rc, stamp.answer, at)

    def _command_failed(self, request: Request, rc: int, why: str, at: float) -> None:
        needed = 2 if request.kind in IDEMPOTENT else 1
        excused = rc == -500 and self._deaths_of(self._runner, request.sent - NOTICED_S, at) >= needed
        self._judge(excused, "command failed", f"{rc}: {why}", request, at)

    def acknowledging(self, token: str, at: float) -> None:
        """The client sends an ACK of a 2xx."""
        if request := self._requests.get((token, "INVITE")):
            request.last_ack = at

    def acked(self, token: str, at: float) -> None:
        """The ACK has reached the callee."""
        request = self._requests.get((token, "INVITE"))
        if request is not None and not request.acked:
            request.acked = True
            request.note(at, "acknowledged")
            self._settle_if_complete(request, at)

    def ran(self, token: str, pid: int, origin: int, at: float) -> None:
        """A command that may not be run twice has begun to run in `pid`, for the process `origin`."""
        request = self._requests.get((token, "OPTIONS")) or self._requests.get((token, "INVITE"))
        if request is None:
            return
        request.note(at, f"its command runs in {pid} for {origin}")
        if request.ran:
            dead = all(self._died_between(one, request.sent, at) for one in request.ran)
            text = f"the command of {request.method} ran for {request.ran} and {origin}"
            self._judge(dead and origin not in request.ran, "ran again", text, request, at)
        request.ran.append(origin)

    def reported(self, token: str, pid: int, rc: int, at: float) -> None:
        """The report route of a launch has run in that process."""
        request = self._requests.get((token, "OPTIONS"))
        if request is None:
            self._violate("late", f"a report of {token} after it was forgotten", token, at, ())
            return
        request.reports[pid] += 1
        request.note(at, f"reported by {pid} with {rc}")
        if request.reports[pid] > 1:
            self._judge(False, "reported again", f"{pid} reported it {request.reports[pid]} times", request, at)
        if rc < 0:
            self._command_failed(request, rc, "as the report says", at)
        self._settle_if_complete(request, at)

    def misplaced(self, token: str, fault: str, at: float) -> None:
        """The report of a launch is not that of the process, or of the script, that launched."""
        request = self._requests.get((token, "OPTIONS"))
        if request is not None:
            self._judge(False, "mixed up", f"it {fault}", request, at)

    # What is made of it.

    def turn(self, now: float) -> None:
        """Settle what cannot come any more, and forget what has been settled long enough."""
        for request in [one for one in self._unsettled.values() if self._is_over(one, now)]:
            self._settle(request, now)
        while self._settled and now - self._requests[self._settled[0]].settled > _KEPT_S:
            self._forget(self._requests.pop(self._settled.popleft()), now)

    @property
    def open(self) -> int:
        """How many are waited for."""
        return len(self._unsettled)

    def _is_over(self, request: Request, now: float) -> bool:
        if request.final is None:
            lost_at = self._lost_at(request)
            return now > request.sent + GIVEN_UP_S + PATIENCE_S or (request.waiting and now > lost_at + PATIENCE_S)
        if request.kind == "launches":
            return now > request.answered + REPORT_S + PATIENCE_S or self._launcher_died(request, now - PATIENCE_S)
        return now > request.answered + GIVEN_UP_S + PATIENCE_S

    def _lost_at(self, request: Request) -> float:
        """When the last of its holders died; infinity while one lives, or where nobody is known to have had it."""
        died = {death.pid: death.at for death in self._deaths if death.at >= request.sent}
        times = [died.get(pid, float("inf")) for pid in request.holders]
        return max(times, default=float("inf"))

    def _settle_if_complete(self, request: Request, at: float) -> None:
        if request.complete and not request.settled:
            self._close(request, at)

    def _settle(self, request: Request, now: float) -> None:
        self._close(request, now)
        if request.final is None:
            self._judge(self._holders_died(request), "no answer", f"{request.method} has no final answer", request, now)
        elif request.method == "INVITE" and request.final.status < 300:
            near = request.last_ack - 1.0, request.last_ack + 1.0
            excused = self._holders_died(request) or self._deaths_of("sip", *near) > 0
            self._judge(excused, "no ACK", "no ACK of the 200 has reached the callee", request, now)
        elif request.kind == "launches" and not request.reports:
            excused = self._launcher_died(request, request.answered + REPORT_S)
            self._judge(excused, "no report", "the launch was never reported", request, now)

    def _close(self, request: Request, at: float) -> None:
        request.settled = at
        key = request.token, request.method
        del self._unsettled[key]
        self._settled.append(key)

    def _forget(self, request: Request, now: float) -> None:
        """Nothing more can come: at most one of those that launched it lives."""
        launchers = {*request.reports, request.answered_by} if request.reports else set()
        living = [pid for pid in launchers if not self._died_between(pid, request.sent, now)]
        if len(living) > 1:
            self._judge(False, "reported by another", f"{living} live, and each launched it", request, now)

    def _holders_died(self, request: Request) -> bool:
        """All of them: one that took the request up after another's death has no excuse while it lives."""
        begin, end = request.sent, request.sent + GIVEN_UP_S + PATIENCE_S
        return bool(request.holders) and all(self._died_between(pid, begin, end) for pid in request.holders)

    def _launcher_died(self, request: Request, until: float) -> bool:
        return self._died_between(request.answered_by, request.sent, until)

    def _died_between(self, pid: int, begin: float, end: float) -> bool:
        return any(death.pid == pid and begin <= death.at <= end for death in reversed(self._deaths))

    def _deaths_of(self, role: Role, begin: float, end: float) -> int:
        return sum(death.role == role and begin <= death.at <= end for death in self._deaths)

    def _judge(self, excused: bool, what: str, text: str, request: Request, at: float) -> None:
        about = [f"{death.name} (PID {death.pid}) was killed" for death in self._deaths if at - 40 < death.at <= at]
        diary = (f"{request.method} {request.kind}, sent at {request.sent:.3f}", *request.diary, *about[-5:])
        if excused:
            self.counts[f"explained: {what}"] += 1
            _keep(self.explained, Finding(what, text, request.token, at, diary))
        else:
            self._violate(what, text, request.token, at, diary)

    def _violate(self, what: str, text: str, token: str, at: float, diary: tuple[str, ...]) -> None:
        self.counts[f"violation: {what}"] += 1
        _keep(self.violations, Finding(what, text, token, at, diary))

    def check(self) -> None:
        """Assert that each request is waited for, or remembered as settled, once."""
        assert len(self._requests) == len(self._unsettled) + len(self._settled)
        assert all(not request.settled for request in self._unsettled.values())


def _keep(findings: list[Finding], one: Finding) -> None:
    if len(findings) < _MOST_SHOWN:
        findings.append(one)
