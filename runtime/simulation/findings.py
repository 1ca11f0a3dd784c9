"""What is wrong with a script: findings, each with the place in the script and the plan that shows it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, Literal, TypeAlias

import msgspec
from msgspec import Struct

from runtime.script import tree
from runtime.script.check import shown
from runtime.script.problems import Place
from runtime.simulation.diagram import call_id_in
from runtime.simulation.events import (
    AvpChanged,
    Blocked,
    Event,
    PacketReceived,
    PacketSent,
    Parked,
    Replied,
    ScriptFailed,
    SharedChanged,
    Unanswered,
)
from runtime.simulation.fulfilling import exclude_each_other
from runtime.simulation.oracle import Rule, Violation
from runtime.simulation.plan import Plan
from runtime.simulation.wishes import Wishes

Kind: TypeAlias = Literal[
    "never-resumed",
    "resumed-twice",
    "resumed-elsewhere",
    "resumed-nested",
    "context-changed",
    "wrong-answer",
    "resumed-late",
    "lost-job",
    "lost-cancel",
    "run-twice",
    "misreported",
    "never-answered",
    "answered-twice",
    "left-over",
    "process-died",
    "avp-changed",
    "shared-changed",
    "blocks",
    "statement-failed",
    "unreachable",
]
"""What is wrong:

- ``never-resumed``, ``resumed-twice``, ``resumed-elsewhere``, ``resumed-nested``, ``context-changed``,
  ``wrong-answer``, ``resumed-late``: a parked context;
- ``lost-job``: a worker died with a job, and who waited for it was not told soon;
- ``lost-cancel``: a caller gave up while its request was parked, and the script was not told soon;
- ``run-twice``: a job ran twice, which its command does not allow;
- ``misreported``: the outcome of a launched job was told never, or twice;
- ``never-answered``, ``answered-twice``: the transaction of a request;
- ``left-over``: something is still held when all is over: a job that was lost, a transaction, a context;
- ``process-died``: by itself, and not by a fault;
- ``avp-changed``: an AVP of a parked context got another value meanwhile;
- ``shared-changed``: a `$shv` that the script has written for a message was another when it read it again, after the
  message was parked;
- ``blocks``: a statement keeps its process from everything else for longer than it may;
- ``statement-failed``: a statement raised;
- ``unreachable``: no message can ever come there.
"""

GATEWAY: Final = "gw"
"""What events call everybody whom the server sends requests to."""
_KINDS: Final[Mapping[Rule, Kind]] = {
    "resumes": "never-resumed",
    "resumes once": "resumed-twice",
    "resumes at home": "resumed-elsewhere",
    "resumes afresh": "resumed-nested",
    "is itself": "context-changed",
    "has its own answer": "wrong-answer",
    "resumes in time": "resumed-late",
    "hears of a loss": "lost-job",
    "hears of a CANCEL": "lost-cancel",
    "runs once": "run-twice",
    "is reported once": "misreported",
    "is answered": "never-answered",
    "is answered once": "answered-twice",
    "is let go": "left-over",
    "stays alive": "process-died",
}


FORMAT: Final = 2
"""Of the files that findings are kept in: it grows whenever an older layby would read something else out of one, a plan
included, than was meant."""


class Finding(Struct, frozen=True):
    """Something that is wrong.

    Args:
        kind: what.
        file, line: the statement of the script that is nearest to it; empty and 0 where nothing in it is.
        text: what happened, for people.
        at_s: when in the run, in seconds since it began.
        call: the Call-ID of the call that it happened to; empty for none.
        seed: of the run.
        plan: the run's; None where it was seen without running anything.
        block_s: for how long a statement might keep its process from everything else.
        script: the file that the server was started with, of which `file` may be a part.
        script_hash: of what it said when this was found, see `verifying.hash_of`.
        format: of the file that it is kept in.
    """

    kind: Kind
    file: str
    line: int
    text: str
    at_s: float = 0.0
    call: str = ""
    seed: int = 0
    plan: Plan | None = None
    block_s: float = 0.0
    script: str = ""
    script_hash: str = ""
    format: int = FORMAT

    @property
    def key(self) -> tuple[str, str, int]:
        """Two findings with the same one are told once."""
        return self.kind, self.file, self.line

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}: " if self.file else ""
        return f"{where}{self.kind}: {self.text}"


class NoFinding(ValueError):
    """A text is no finding; the text of this says why."""


class _Head(Struct):
    format: int = 0


_HEAD: msgspec.json.Decoder[_Head] = msgspec.json.Decoder(_Head)
_DECODER: msgspec.json.Decoder[Finding] = msgspec.json.Decoder(Finding)


def json_of(finding: Finding) -> bytes:
    """A finding as JSON."""
    return msgspec.json.format(msgspec.json.encode(finding), indent=1)


def finding_of(text: bytes) -> Finding:
    """Read back what `json_of` wrote. Raises NoFinding."""
    try:
        found = _HEAD.decode(text).format
        if found != FORMAT:
            which = f"of format {found}" if found else "of no format that it names"
            raise NoFinding(f"it is {which}, and this version of layby reads format {FORMAT}: verify the script again")
        return _DECODER.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise NoFinding(str(error)) from error


def found_in(plan: Plan, events: Sequence[Event], violations: Iterable[Violation], block_s: float) -> list[Finding]:
    """What a run shows, each kind and place once.

    Args:
        plan: of the run.
        events: what happened.
        violations: the rules that it broke.
        block_s: for how long a statement may keep its process from everything else.
    """
    parked = {event.job: event for event in events if isinstance(event, Parked)}
    found: dict[tuple[str, str, int], Finding] = {}
    for finding in (*_violated(events, violations), *_happened(events, parked, block_s)):
        found.setdefault(finding.key, msgspec.structs.replace(finding, seed=plan.seed, plan=plan, block_s=block_s))
    return list(found.values())


def _violated(events: Sequence[Event], violations: Iterable[Violation]) -> Iterator[Finding]:
    seen = _Seen(events)
    for one in violations:
        match one.rule:
            # A script may pass over what it does not like, and so may a next hop. Where the server waited for the
            # script, the event says at which statement it was left.
            case "is answered" if not one.file or one.call in seen.forgotten | seen.sent_on:
                continue
            # To a script that makes no transaction, each copy of a request is one of its own.
            case "is answered once" if one.call in seen.stateless and one.call in seen.copied:
                continue
        file, line = (one.file, one.line) if one.file else seen.replied.get(one.call, ("", 0))
        yield Finding(_KINDS[one.rule], file, line, one.what, one.at_s, one.call)


class _Seen:
    """What became of requests, by their Call-IDs."""

    def __init__(self, events: Iterable[Event]) -> None:
        self.forgotten: set[str] = set()
        self.sent_on: set[str] = set()
        self.stateless: set[str] = set()
        """Those that were answered without a transaction."""
        self.copied: set[str] = set()
        """Those of which more than one copy came."""
        self.replied: dict[str, tuple[str, int]] = {}
        """Where they were answered last."""
        self._sent: dict[int, PacketSent] = {}
        self._received: set[str] = set()
        for event in events:
            self._take(event)

    def _take(self, event: Event) -> None:
        match event:
            case Unanswered():
                self.forgotten.add(event.call)
            case Replied():
                self.replied[event.call] = event.file, event.line
                if event.stateless:
                    self.stateless.add(event.call)
            case PacketSent():
                self._sent[event.packet] = event
                if event.to == GATEWAY and not event.data.startswith(("ACK ", "CANCEL ", "SIP/2.0 ")):
                    self.sent_on.add(call_id_in(event.data))
            case PacketReceived(packet=packet, to="sip") if packet in self._sent:
                data = self._sent[packet].data
                if data in self._received:
                    self.copied.add(call_id_in(data))
                self._received.add(data)
            case _:
                pass


def _happened(events: Iterable[Event], parked: Mapping[str, Parked], block_s: float) -> Iterator[Finding]:
    by_call = {event.call: (event.file, event.line) for event in parked.values()}
    for event in events:
        match event:
            case Blocked() if event.for_s > block_s:
                text = f"keeps {event.process} from everything else for {event.for_s * 1000:.0f} ms"
                yield Finding("blocks", event.file, event.line, text, event.at_s)
            case ScriptFailed():
                yield Finding("statement-failed", event.file, event.line, event.what, event.at_s)
            case Unanswered(relayed=False):
                file, line = (event.file, event.line) if event.file else by_call.get(event.call, ("", 0))
                text = f"the script has never answered {event.call}; the server did at last"
                yield Finding("never-answered", file, line, text, event.at_s, event.call)
            case AvpChanged() if (was := parked.get(event.job)) is not None:
                text = f"$avp({event.name}) got another value while the message was parked"
                yield Finding("avp-changed", was.file, was.line, text, event.at_s, was.call)
            case SharedChanged():
                text = (
                    f"{event.name} is not what line {event.written_line} made it for this message: somebody else has "
                    f"changed it while the message was parked in line {event.parked_line}"
                )
                yield Finding("shared-changed", event.file, event.line, text, event.at_s, event.call)
            case _:
                pass


def unreachable(routes: Sequence[tree.Route], wishes: Wishes) -> list[Finding]:
    """The routes, and stretches of routes, that no message can ever reach.

    Args:
        routes: the script's.
        wishes: what `wishes_of` found in them.
    """
    if not wishes.complete:
        return []
    can, cannot = set[Place](), dict[Place, Place]()
    for goal in wishes.goals:
        if exclude_each_other(goal.facts):
            cannot.setdefault(goal.place, goal.route)
        else:
            can |= {goal.place, goal.route}
    entered = {goal.route for goal in wishes.goals}
    found = []
    for route in routes:
        if route.place not in entered and route.body:
            found.append(_unreachable(route.place, f"nothing calls {shown(route)}"))
        elif route.place not in can and route.body:
            found.append(_unreachable(route.place, f"{shown(route)}: what its callers test excludes each other"))
    found += [
        _unreachable(place, "no message gets here: what is tested on the way excludes each other")
        for place, route in cannot.items()
        if place not in can and route in can
    ]
    return found


def _unreachable(place: Place, text: str) -> Finding:
    return Finding("unreachable", place.file, place.line, text)
