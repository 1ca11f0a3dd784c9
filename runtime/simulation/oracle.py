"""What must hold in every run, whatever went wrong in it; and where a run breaks it.

*A parked context resumes exactly once, in the process that parked it, with its own answer, by its deadline, and the
transaction behind it is answered* - unless the process died that had it, or the network took all that was said.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, pairwise
from math import inf
from typing import Final, Literal, TypeAlias

from msgspec import Struct

from runtime.simulation.events import (
    Blocked,
    Crashed,
    Event,
    JobBegan,
    JobEnded,
    Launched,
    Parked,
    Reported,
    Resumed,
    Stalled,
)
from runtime.simulation.peers import GIVES_UP_S
from runtime.simulation.plan import Plan, Stall

Rule: TypeAlias = Literal[
    "resumes",
    "resumes once",
    "resumes at home",
    "resumes afresh",
    "is itself",
    "has its own answer",
    "resumes in time",
    "hears of a loss",
    "hears of a CANCEL",
    "runs once",
    "is reported once",
    "is answered",
    "is answered once",
    "is let go",
    "stays alive",
]
"""What was broken: see `judge`."""

TOLERANCE_S: Final = 0.1
"""How much later than its deadline a context may be resumed by a process that was free to."""
HEARS_S: Final = 1.0
"""How long it may take until a context is resumed whose worker died, or whose caller gave up."""
REST_S: Final = 70.0
"""How long a run goes on after the last thing that happens in it until nothing may be held any more: see `Terms`."""
SEEN_S: Final = 0.05
"""How long after its death a process may still be taken for the one that has a request."""
KILLS: Final = frozenset({"kill", "killed by SIGKILL"})
"""Of what a process dies that the plan has killed."""
_STOPPED: Final = "exit code 0"
_PLANNED: Final = KILLS | {"killed by the attendant", _STOPPED}
_UNANSWERED: Final = frozenset({"ACK", ""})
"""What nobody answers."""


class Terms(Struct, frozen=True):
    """What a script has set for its server.

    Args:
        answered_s: how long after the last thing that happened the server may hold something, if all requests have
            their final answers.
        unanswered_s: if one has none, e.g. because a next hop rings for ever.
        cancel_resumes: whether a CANCEL resumes what is parked, and not the end of its job.
    """

    answered_s: float = REST_S
    unanswered_s: float = REST_S
    cancel_resumes: bool = True


USUAL: Final = Terms()


class Violation(Struct, frozen=True):
    """A run that breaks a rule.

    Args:
        rule: which.
        what: what happened, for people.
        at_s: when it was certain.
        process: where, if in one process.
        file, line: the statement of the script that parked; empty and 0 where there is none.
        job: the job that was waited for.
        call: the Call-ID.
    """

    rule: Rule
    what: str
    at_s: float
    process: str = ""
    file: str = ""
    line: int = 0
    job: str = ""
    call: str = ""


class Exchange(Struct, frozen=True):
    """What became of one request of a caller.

    Args:
        call_id, method: of the request.
        began_at_s: when it was sent first.
        finals: its final answers, each once: status and To tag.
        ended_at_s: when the last of them came; 0 where none did.
        arrived: packets of it that came to the server.
        lost: packets of it, and of its answers, that the network lost.
        taken: when processes have read one, and which, in their order.
        resend: whether it would have been sent again.
        cancel: the same of its CANCEL, if the caller gave up.
        answered_at_s: when the server sent a final answer last; 0 where it did not.
    """

    call_id: str
    method: str
    began_at_s: float
    finals: list[tuple[int, str]]
    ended_at_s: float
    arrived: int
    lost: int
    taken: list[tuple[float, str]]
    resend: bool
    cancel: Exchange | None = None
    answered_at_s: float = 0.0


class History:
    """The events of a run, sorted for the questions that are asked of them.

    Args:
        events: in their order.
    """

    def __init__(self, events: Iterable[Event]) -> None:
        self.parked: dict[str, Parked] = {}
        self.parked_again: list[Parked] = []
        """What was parked for a job for which something had been parked already."""
        self.resumed: dict[str, list[Resumed]] = defaultdict(list)
        self.launched: dict[str, Launched] = {}
        self.reported: dict[str, list[Reported]] = defaultdict(list)
        self.ended: dict[str, set[str]] = defaultdict(set)
        """What workers gave as the answers of each job."""
        self.begun: dict[str, list[JobBegan]] = defaultdict(list)
        self.died: dict[str, Crashed] = {}
        self.by_call: dict[str, Parked] = {}
        """The last parking of each call."""
        self._still: dict[str, list[tuple[float, float]]] = defaultdict(list)
        """From when to when each process could do nothing."""
        for event in events:
            self._take(event)

    def _take(self, event: Event) -> None:
        match event:
            case Parked():
                if event.job in self.parked:
                    self.parked_again.append(event)
                self.parked[event.job] = self.by_call[event.call] = event
            case Resumed():
                self.resumed[event.job].append(event)
            case JobBegan():
                self.begun[event.job].append(event)
            case JobEnded():
                self.ended[event.job].add(event.answer)
            case Launched():
                self.launched[event.job] = event
            case Reported():
                self.reported[event.job].append(event)
            case Crashed():
                self.died[event.process] = event
            case Stalled() | Blocked():
                self._still[event.process].append((event.at_s, event.at_s + event.for_s))
            case _:
                pass

    def still_s(self, process: str, from_s: float, to_s: float) -> float:
        """For how long at most a process could do nothing between two moments."""
        spans = ((max(from_s, begins), min(to_s, ends)) for begins, ends in self._still.get(process, ()))
        return sum(max(0.0, ends - begins) for begins, ends in spans)

    def gave(self, job: str, answer: str) -> bool:
        """Whether some worker gave that as the answer of a job."""
        return answer in self.ended.get(job, ())

    def any_died(self, from_s: float, to_s: float) -> bool:
        """Whether a process died between two moments."""
        return any(from_s <= died.at_s <= to_s for died in self.died.values())


def judge(
    plan: Plan,
    events: Iterable[Event],
    exchanges: Sequence[Exchange],
    held: dict[str, dict[str, int]],
    terms: Terms = USUAL,
) -> list[Violation]:
    """Hold a run against the rules.

    Args:
        plan: what was to happen.
        events: what happened.
        exchanges: what became of the callers' requests.
        held: what each process that lives held at the end.
        terms: what the script has set.
    """
    history = History(events)
    return [
        *_dead(history),
        *(found for parked in history.parked.values() for found in _parked(plan, history, parked)),
        *_mixed_up(history),
        *(found for begun in history.begun.values() for found in _begun(history, begun)),
        *(found for launched in history.launched.values() for found in _launched(plan, history, launched)),
        *(found for exchange in exchanges for found in _exchanged(plan, history, exchange)),
        *(found for exchange in exchanges for found in _cancelled(plan, history, exchange, terms)),
        *(_held(plan, held) if plan.until_s >= _rests_at_s(plan, history, exchanges, terms) else ()),
    ]


def _dead(history: History) -> Iterator[Violation]:
    for event in history.died.values():
        if event.why not in _PLANNED:
            yield Violation("stays alive", f"{event.process} died: {event.why}", event.at_s, event.process)


def _parked(plan: Plan, history: History, parked: Parked) -> Iterator[Violation]:
    resumed = history.resumed.get(parked.job, [])
    due_s = parked.at_s + parked.timeout_s
    if not resumed:
        if parked.process not in history.died and due_s + TOLERANCE_S < plan.until_s - history.still_s(
            parked.process, parked.at_s, plan.until_s
        ):
            text = f"parked at {parked.at_s:.6f} s for {parked.timeout_s:g} s, and never resumed"
            yield _about(parked, "resumes", text, due_s)
        return
    if len(resumed) > 1:
        text = f"resumed {len(resumed)} times: {', '.join(one.outcome for one in resumed)}"
        yield _about(parked, "resumes once", text, resumed[1].at_s)
    first = resumed[0]
    yield from _timely(history, parked, first)
    yield from _told_of_loss(history, parked, first)
    yield from _as_parked(parked, first)
    for job, answer in _answers(first):
        if not history.gave(job, answer):
            text = f"resumed with {answer!r}, which no worker gave as its answer"
            yield _about(parked, "has its own answer", text, first.at_s)


def _timely(history: History, parked: Parked, resumed: Resumed) -> Iterator[Violation]:
    due_s = parked.at_s + parked.timeout_s
    late_s = resumed.at_s - due_s - history.still_s(parked.process, parked.at_s, resumed.at_s)
    if late_s > TOLERANCE_S:
        yield _about(parked, "resumes in time", f"resumed {late_s:.3f} s after its deadline", resumed.at_s)
    early_s = due_s - resumed.at_s
    if resumed.outcome == "TimedOut" and early_s > TOLERANCE_S:
        yield _about(parked, "resumes in time", f"timed out {early_s:.3f} s before its deadline", resumed.at_s)


def _as_parked(parked: Parked, resumed: Resumed) -> Iterator[Violation]:
    if resumed.process != parked.process:
        text = f"parked in {parked.process}, resumed in {resumed.process}"
        yield _about(parked, "resumes at home", text, resumed.at_s)
    if resumed.nested:
        yield _about(parked, "resumes afresh", "resumed on the stack of a route that parks", resumed.at_s)
    if resumed.call != parked.call:
        text = f"a context of {resumed.call} was resumed with what one of {parked.call} waited for"
        yield _about(parked, "is itself", text, resumed.at_s)
    if resumed.changed:
        text = f"resumed with other values in {', '.join(resumed.changed)}"
        yield _about(parked, "is itself", text, resumed.at_s)


def _answers(told: Resumed | Reported) -> list[tuple[str, str]]:
    """What was told as the answers of jobs."""
    return [(told.job, told.answer), *told.others] if told.outcome == "Returned" else told.others


def _told_of_loss(history: History, parked: Parked, resumed: Resumed) -> Iterator[Violation]:
    if resumed.outcome == "WorkerLost" and not history.any_died(parked.at_s - SEEN_S, resumed.at_s):
        yield _about(parked, "hears of a loss", "told that its worker had died, and none had", resumed.at_s)
    last = history.begun[parked.job][-1] if parked.job in history.begun else None
    died = history.died.get(last.process) if last is not None and parked.job not in history.ended else None
    if died is None or died.at_s >= resumed.at_s:
        return
    waited_s = resumed.at_s - died.at_s - history.still_s(parked.process, died.at_s, resumed.at_s)
    if waited_s > HEARS_S:
        text = f"resumed {waited_s:.3f} s after {died.process} had died of which it waited for an answer"
        yield _about(parked, "hears of a loss", text, resumed.at_s)


def _about(parked: Parked, rule: Rule, text: str, at_s: float) -> Violation:
    return Violation(rule, text, at_s, parked.process, parked.file, parked.line, parked.job, parked.call)


def _mixed_up(history: History) -> Iterator[Violation]:
    for parked in history.parked_again:
        yield _about(parked, "resumes", "parked for a job for which another context waited", parked.at_s)
    for job, resumed in history.resumed.items():
        if job not in history.parked:
            text = "resumed without having been parked"
            yield Violation("resumes once", text, resumed[0].at_s, resumed[0].process, job=job)


def _begun(history: History, begun: Sequence[JobBegan]) -> Iterator[Violation]:
    """A job that was sent runs once, or again where its command may and the worker that had it is dead."""
    for before, again in pairwise(begun):
        died = history.died.get(before.process)
        if not again.idempotent or died is None or died.at_s > again.at_s:
            text = f"{again.what} was begun by {before.process}, and again by {again.process}"
            yield Violation("runs once", text, again.at_s, again.process, job=again.job)


def _launched(plan: Plan, history: History, launched: Launched) -> Iterator[Violation]:
    reported = history.reported.get(launched.job, [])
    due_s = launched.at_s + launched.timeout_s + TOLERANCE_S
    over = due_s + history.still_s(launched.process, launched.at_s, plan.until_s) < plan.until_s

    def about(rule: Rule, text: str, at_s: float) -> Violation:
        return Violation(rule, text, at_s, launched.process, launched.file, launched.line, launched.job)

    if len(reported) > 1 or (not reported and over and launched.process not in history.died):
        text = f"launched at {launched.at_s:.6f} s, and its outcome was told {len(reported)} times"
        yield about("is reported once", text, due_s)
    for told in reported:
        late_s = told.at_s - due_s - history.still_s(launched.process, launched.at_s, told.at_s)
        if late_s > 0:
            yield about("is reported once", f"its outcome was told {late_s:.3f} s after its deadline", told.at_s)
        for job, answer in _answers(told):
            if not history.gave(job, answer):
                text = f"{answer!r} was told of it, which no worker gave as its answer"
                yield about("has its own answer", text, told.at_s)


def _exchanged(plan: Plan, history: History, exchange: Exchange) -> Iterator[Violation]:
    if exchange.method in _UNANSWERED or exchange.began_at_s + GIVES_UP_S > plan.until_s:
        return
    parked = history.by_call.get(exchange.call_id)
    file, line = (parked.file, parked.line) if parked is not None else ("", 0)
    at_s = exchange.began_at_s + GIVES_UP_S
    about = f"{exchange.method} {exchange.call_id}"
    excused = not exchange.arrived or (exchange.lost and _sent_last(exchange)) or _died_with(history, exchange)
    if not exchange.finals and not excused:
        text = f"{about} has no final answer"
        yield Violation("is answered", text, at_s, file=file, line=line, call=exchange.call_id)
    # Several gateways may accept one call (RFC 3261 section 13.2.2.4), and who begins anew may answer anew.
    forked = all(status < 300 and tag.startswith("gw") for status, tag in exchange.finals)
    dead = {process for _, process in exchange.taken if process in history.died}
    if len(exchange.finals) > 1 + len(dead) and not forked:
        shown = ", ".join(f"{status} (To tag {tag})" for status, tag in exchange.finals)
        text = f"{about} has {len(exchange.finals)} final answers: {shown}"
        yield Violation("is answered once", text, at_s, file=file, line=line, call=exchange.call_id)


def _cancelled(plan: Plan, history: History, exchange: Exchange, terms: Terms) -> Iterator[Violation]:
    """What a CANCEL owes its caller that came while the request was parked (RFC 3261 section 9.2)."""
    cancel, parked = exchange.cancel, history.by_call.get(exchange.call_id)
    if cancel is None or parked is None or not cancel.taken or parked.process in history.died:
        return
    resumed = history.resumed.get(parked.job)
    taken_at_s = cancel.taken[0][0]
    if not resumed or not parked.at_s <= taken_at_s < resumed[0].at_s:
        return
    waited_s = resumed[0].at_s - taken_at_s - history.still_s(parked.process, taken_at_s, resumed[0].at_s)
    if terms.cancel_resumes and waited_s > HEARS_S and all(reader not in history.died for _, reader in cancel.taken):
        yield _about(parked, "hears of a CANCEL", f"resumed {waited_s:.3f} s after the CANCEL", resumed[0].at_s)
    yield from _exchanged(plan, history, cancel)


def _sent_last(exchange: Exchange) -> bool:
    """Whether one packet that is lost is enough: it is not sent again, or nothing of it came after it was answered."""
    return not exchange.resend or (bool(exchange.taken) and exchange.taken[-1][0] <= exchange.answered_at_s)


def _died_with(history: History, exchange: Exchange) -> bool:
    """Whether the process is dead that has the request: who read it first, and after the death of that one the next.

    What nobody has read is lost with a server that stopped.
    """
    if not exchange.taken:
        return any(died.why == _STOPPED and died.process.startswith("sip-") for died in history.died.values())
    owner, lost_at_s = "", -inf
    for at_s, process in exchange.taken:
        if at_s > lost_at_s + SEEN_S or not owner:
            owner = process
            lost_at_s = history.died[owner].at_s if owner in history.died else inf
    return lost_at_s < inf


def _rests_at_s(plan: Plan, history: History, exchanges: Sequence[Exchange], terms: Terms) -> float:
    """From when on nothing may be held any more."""
    items = (item.at_s + (item.for_s if isinstance(item, Stall) else 0.0) for item in plan.items)
    parked = (one.at_s + one.timeout_s for one in history.parked.values())
    launched = (one.at_s + one.timeout_s for one in history.launched.values())
    ends = (max(exchange.began_at_s, exchange.ended_at_s) for exchange in exchanges)
    unanswered = any(one.arrived and not one.finals and one.method not in _UNANSWERED for one in exchanges)
    last_s = max(chain(items, parked, launched, ends), default=0.0)
    return last_s + (terms.unanswered_s if unanswered else terms.answered_s)


def _held(plan: Plan, held: dict[str, dict[str, int]]) -> Iterator[Violation]:
    for process, things in held.items():
        left = ", ".join(f"{name}: {count}" for name, count in sorted(things.items()) if count)
        if left:
            yield Violation("is let go", f"{process} holds what nobody waits for: {left}", plan.until_s, process)
