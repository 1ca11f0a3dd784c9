"""What must hold in every run, whatever went wrong in it; and where a run breaks it.

*A parked context resumes exactly once, in the process that parked it, with its own answer, by its deadline, and the
transaction behind it is answered* - unless the process died that had it, or the network took all that was said.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
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
from runtime.simulation.plan import Plan

Rule: TypeAlias = Literal[
    "resumes",
    "resumes once",
    "resumes at home",
    "has its own answer",
    "resumes in time",
    "hears of a loss",
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
"""How long it may take until a context is resumed whose worker died."""
REST_S: Final = 60.0
"""How long a run has to go on after the last thing that the plan does, and after the longest deadline, until nothing
may be held any more: transactions linger for 32 s and then some."""
GIVES_UP_S: Final = 32.0
KILLS: Final = frozenset({"kill", "killed by SIGKILL"})
"""Of what a process dies that the plan has killed."""
_PLANNED: Final = KILLS | {"killed by the attendant", "exit code 0"}


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
        arrived: packets of it that came to the server.
        lost: packets of it, and of its answers, that the network lost.
        taken_by: the processes that have read one.
        cancelled: whether the caller gave up.
        resend: whether it would have been sent again.
    """

    call_id: str
    method: str
    began_at_s: float
    finals: list[tuple[int, str]]
    arrived: int
    lost: int
    taken_by: list[str]
    cancelled: bool
    resend: bool


class History:
    """The events of a run, sorted for the questions that are asked of them.

    Args:
        events: in their order.
    """

    def __init__(self, events: Iterable[Event]) -> None:
        self.parked: dict[str, Parked] = {}
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
                self.parked[event.job] = event
                self.by_call[event.call] = event
            case Resumed():
                self.resumed[event.job].append(event)
            case Launched():
                self.launched[event.job] = event
            case Reported():
                self.reported[event.job].append(event)
            case JobBegan():
                self.begun[event.job].append(event)
            case JobEnded():
                self.ended[event.job].add(event.answer)
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


def judge(
    plan: Plan, events: Iterable[Event], exchanges: Iterable[Exchange], held: dict[str, dict[str, int]]
) -> list[Violation]:
    """Hold a run against the rules.

    Args:
        plan: what was to happen.
        events: what happened.
        exchanges: what became of the callers' requests.
        held: what each process that lives held at the end.
    """
    history = History(events)
    last_s = max((item.at_s for item in plan.items), default=0.0)
    return [
        *_dead(history),
        *(found for parked in history.parked.values() for found in _parked(plan, history, parked)),
        *_resumed_unparked(history),
        *(found for launched in history.launched.values() for found in _launched(plan, history, launched)),
        *(found for exchange in exchanges for found in _exchanged(plan, history, exchange)),
        *(_held(plan, held) if _is_at_rest(plan, history, last_s) else ()),
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
    if first.process != parked.process:
        yield _about(parked, "resumes at home", f"parked in {parked.process}, resumed in {first.process}", first.at_s)
    late_s = first.at_s - due_s - history.still_s(parked.process, parked.at_s, first.at_s)
    if late_s > TOLERANCE_S:
        yield _about(parked, "resumes in time", f"resumed {late_s:.3f} s after its deadline", first.at_s)
    yield from _told_of_loss(history, parked, first)
    if first.outcome == "Returned" and first.answer not in history.ended.get(parked.job, ()):
        text = f"resumed with {first.answer!r}, which no worker gave as its answer"
        yield _about(parked, "has its own answer", text, first.at_s)


def _told_of_loss(history: History, parked: Parked, resumed: Resumed) -> Iterator[Violation]:
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


def _resumed_unparked(history: History) -> Iterator[Violation]:
    for job, resumed in history.resumed.items():
        if job not in history.parked:
            text = "resumed without having been parked"
            yield Violation("resumes once", text, resumed[0].at_s, resumed[0].process, job=job)


def _launched(plan: Plan, history: History, launched: Launched) -> Iterator[Violation]:
    reported = history.reported.get(launched.job, [])
    due_s = launched.at_s + launched.timeout_s + TOLERANCE_S
    over = due_s + history.still_s(launched.process, launched.at_s, plan.until_s) < plan.until_s
    if len(reported) == 1 or (not reported and (launched.process in history.died or not over)):
        return
    text = f"launched at {launched.at_s:.6f} s, and its outcome was told {len(reported)} times"
    file, line = launched.file, launched.line
    yield Violation("is reported once", text, due_s, launched.process, file, line, launched.job)


def _exchanged(plan: Plan, history: History, exchange: Exchange) -> Iterator[Violation]:
    if exchange.method in ("ACK", "") or exchange.began_at_s + GIVES_UP_S > plan.until_s:
        return
    died = any(name in history.died for name in exchange.taken_by)
    parked = history.by_call.get(exchange.call_id)
    file, line = (parked.file, parked.line) if parked is not None else ("", 0)
    at_s = exchange.began_at_s + GIVES_UP_S
    about = f"{exchange.method} {exchange.call_id}"
    if not exchange.finals:
        # Without being sent again one lost packet is enough.
        excused = died or not exchange.arrived or (exchange.lost and not exchange.resend)
        if not excused:
            text = f"{about} has no final answer"
            yield Violation("is answered", text, at_s, file=file, line=line, call=exchange.call_id)
    # Several gateways may accept one call (RFC 3261 section 13.2.2.4).
    forked = all(status < 300 and tag.startswith("gw") for status, tag in exchange.finals)
    if len(exchange.finals) > 1 and not died and not forked:
        shown = ", ".join(f"{status} (To tag {tag})" for status, tag in exchange.finals)
        text = f"{about} has {len(exchange.finals)} final answers: {shown}"
        yield Violation("is answered once", text, at_s, file=file, line=line, call=exchange.call_id)


def _is_at_rest(plan: Plan, history: History, last_s: float) -> bool:
    deadlines = (parked.at_s + parked.timeout_s for parked in history.parked.values())
    return plan.until_s >= max(last_s, max(deadlines, default=0.0)) + REST_S


def _held(plan: Plan, held: dict[str, dict[str, int]]) -> Iterator[Violation]:
    for process, things in held.items():
        left = ", ".join(f"{name}: {count}" for name, count in sorted(things.items()) if count)
        if left:
            yield Violation("is let go", f"{process} holds what nobody waits for: {left}", plan.until_s, process)
