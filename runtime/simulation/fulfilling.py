"""A request of which facts hold: made of ordinary parts, changed where a fact asks for something else."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Final, assert_never

from msgspec.structs import replace

from runtime.script.patterns import cached_pattern
from runtime.simulation.chance import Chance
from runtime.simulation.drafts import Draft, Surroundings, bare, reading, with_header, written
from runtime.simulation.facts import (
    Came,
    Fact,
    Facts,
    HasBody,
    HasHeader,
    HopsLeft,
    Method,
    Ours,
    Read,
    Reads,
    Routed,
    Status,
    ToTag,
    Unreadable,
    Waited,
    WasCancelled,
    Wrote,
)
from runtime.simulation.matching import text_like, text_unlike
from runtime.sip.fields import is_token

METHODS: Final = (
    "INVITE",
    "OPTIONS",
    "REGISTER",
    "MESSAGE",
    "SUBSCRIBE",
    "INFO",
    "PUBLISH",
    "NOTIFY",
    "UPDATE",
)
"""What callers send by themselves. ACK, BYE and CANCEL belong to a call that is there, or are asked for by a fact."""
_USERS: Final = ("alice", "bob", "carol", "100", "4912345678", "+15551234567")
_OF_THE_SCRIPT: Final = 0.4
"""The share of the requests whose user, or source, is a text that stands somewhere in the script."""
_BUSY: Final = 0.4
"""The share of the requests that come from one and the same user: some things need several calls of one caller."""
_OUT_OF_REACH: Final = 0.03
"""The share of the requests that cannot be sent on: nothing but UDP is carried."""
_WRONG: Final = 0.1
"""The share of the REGISTERs that are refused: `*` stands for all contacts only where they expire at once."""
_ELSEWHERE: Final = "192.0.2.77"
_PASSES: Final = 3
_FIELDS: Final = 3
"""Of how many fields a text is made at least that the script cuts into some."""
_STATUSES: Final = (200, 200, 200, 404, 408, 480, 486, 500, 503, 603)


def drafted(facts: Facts, chance: Chance, around: Surroundings) -> Draft:
    """A request of which the facts hold, as far as one can be found."""
    draft = _ordinary(facts, chance, around)
    for _ in range(_PASSES):
        missed = [fact for fact in facts if not holds(fact, draft)]
        if not missed:
            break
        for fact in missed:
            draft = _towards(fact, draft, chance)
    return draft


def exclude_each_other(facts: Facts) -> bool:
    """Whether it is certain that the facts hold of no request together."""
    methods: frozenset[str] | None = None
    for fact in facts:
        if isinstance(fact, Method) and fact.holds:
            methods = fact.names if methods is None else methods & fact.names
    if methods is not None:
        refused = frozenset().union(*(fact.names for fact in facts if isinstance(fact, Method) and not fact.holds))
        if not methods - refused:
            return True
    if ToTag(True) in facts and ToTag(False) in facts:
        return True
    return _readings_exclude(facts)


def _readings_exclude(facts: Facts) -> bool:
    """Two values that one variable would have to have, or one that it may not have."""
    wanted: dict[Read, str | None] = {}
    refused: set[tuple[Read, str | None]] = set()
    for fact in facts:
        if not isinstance(fact, Reads) or fact.read.number or isinstance(fact.value, int) or fact.read.variable == "si":
            continue
        value = None if fact.value is None else fact.value.lower()
        if (fact.operator == "==") is fact.holds and fact.operator in ("==", "!="):
            if wanted.setdefault(fact.read, value) != value:
                return True
        elif fact.operator in ("==", "!="):
            refused.add((fact.read, value))
    return any(one in refused for one in wanted.items())


def _ordinary(facts: Facts, chance: Chance, around: Surroundings) -> Draft:
    method = chance.pick(_allowed(facts))
    host = around.hop if chance.happens(0.8) else around.server
    user = chance.pick(around.users) if around.users and chance.happens(_OF_THE_SCRIPT) else chance.pick(_USERS)
    user = _USERS[0] if method == "REGISTER" and chance.happens(_BUSY) else user
    knows = around.sources and chance.happens(_OF_THE_SCRIPT)
    source = chance.pick(around.sources) if knows else around.source
    ruri = f"sip:{user}@{host}" if method != "REGISTER" else f"sip:{around.server.partition(':')[0]}"
    ruri += ";transport=tcp" if chance.happens(_OUT_OF_REACH) else ""
    body, content_type = ("v=0\r\n", "application/sdp") if method == "INVITE" else ("", "")
    return Draft(
        method,
        ruri,
        f"sip:{_USERS[0] if chance.happens(_BUSY) else chance.pick(_USERS)}@{source}",
        f"sip:{user}@{host}",
        source,
        headers=(("user-agent", "simulated"),) if chance.happens(0.5) else (),
        body=body,
        content_type=content_type,
        tagged=method in ("BYE", "ACK"),
        contact="*" if method == "REGISTER" and chance.happens(_WRONG) else "",
        home=around.server.rpartition(":")[0],
        statuses=_statuses(facts, chance),
    )


def _allowed(facts: Facts) -> list[str]:
    """The methods that the facts leave; all of them when they leave none."""
    wanted = [fact.names for fact in facts if isinstance(fact, Method) and fact.holds]
    refused = frozenset().union(*(fact.names for fact in facts if isinstance(fact, Method) and not fact.holds))
    found = sorted(frozenset.intersection(*wanted)) if wanted else list(METHODS)
    # The first three are the usual ones, and so are drawn more often.
    weighed = [*found, *(name for name in found if name in METHODS[:3])]
    return [name for name in weighed if name not in refused and is_token(name)] or list(METHODS)


# Whether a fact holds


def holds(fact: Fact, draft: Draft) -> bool:
    """Whether a fact holds of a request as it is drafted."""
    match fact:
        case Method():
            return (draft.method in fact.names) is fact.holds
        case ToTag():
            return draft.tagged is fact.holds
        case Routed():
            return draft.routed is fact.holds
        case HasHeader():
            return any(name == fact.name for name, _ in draft.headers) is fact.holds
        case HasBody():
            return bool(draft.body) is fact.holds
        case HopsLeft():
            return (draft.hops > 0) is fact.holds
        case Status():
            return any(_matches(fact, status) for status in draft.statuses)
        case WasCancelled():
            return draft.cancelled is fact.holds
        case Unreadable():
            return draft.unreadable is fact.holds
        case Ours():
            return (reading(draft, fact.variable) == draft.home) is fact.holds
        case Waited():
            return fact.holds or draft.loses
        case Came():
            return fact.how != "failure" or draft.cancelled or any(status >= 300 for status in draft.statuses)
        case Reads():
            return _compares(fact, fact.read.of(reading(draft, fact.read.variable))) is fact.holds
        case Wrote():
            return True
        case _:
            assert_never(fact)


def _compares(fact: Reads, value: str | None) -> bool:
    wanted = fact.value
    if wanted is None:
        return (value is None) is (fact.operator == "==")
    if value is None:
        return fact.operator in ("!=", "!~")
    if isinstance(wanted, int) or fact.read.number:
        return _compares_numbers(fact.operator, _integer(value), _integer(str(wanted)))
    match fact.operator:
        case "==" | "!=":
            return (value.lower() == wanted.lower()) is (fact.operator == "==")
        case "=~" | "!~":
            pattern = cached_pattern(wanted)
            return pattern is not None and bool(pattern.search(value)) is (fact.operator == "=~")
        case _:
            return False


def _compares_numbers(operator: str, one: int | None, two: int | None) -> bool:
    if one is None or two is None:
        return operator == "!="
    return _COMPARE[operator](one, two) if operator in _COMPARE else False


def _integer(text: str) -> int | None:
    found = re.match(r"-?[0-9]{1,18}", text)
    return int(found[0]) if found else None


_COMPARE: Final[Mapping[str, Callable[[int, int], bool]]] = {
    "==": lambda one, two: one == two,
    "!=": lambda one, two: one != two,
    "<": lambda one, two: one < two,
    ">": lambda one, two: one > two,
    "<=": lambda one, two: one <= two,
    ">=": lambda one, two: one >= two,
}


# Towards a fact


def _towards(fact: Fact, draft: Draft, chance: Chance) -> Draft:
    """The request changed so that the fact holds, where that can be had."""
    match fact:
        case Method():
            return replace(draft, method=chance.pick(_allowed((fact,))))
        case ToTag():
            return replace(draft, tagged=fact.holds)
        case Routed():
            return replace(draft, routed=fact.holds, tagged=draft.tagged or fact.holds)
        case HasHeader():
            return with_header(draft, fact.name, "1" if fact.holds else None) or draft
        case HasBody():
            return replace(draft, body="v=0\r\n", content_type="application/sdp") if fact.holds else bare(draft)
        case HopsLeft():
            return replace(draft, hops=70 if fact.holds else 0)
        case WasCancelled():
            return replace(draft, cancelled=fact.holds)
        case Unreadable():
            return replace(draft, unreadable=fact.holds)
        case Ours():
            return written(draft, fact.variable, draft.home if fact.holds else _ELSEWHERE) or draft
        case Waited():
            return replace(draft, loses=draft.loses or not fact.holds)
        case Reads():
            value = _value(fact, chance)
            if value is None and fact.value is not None:
                return draft
            return written(draft, fact.read.variable, _whole(fact.read, draft, value, chance)) or draft
        case Status() | Came() | Wrote():
            return draft  # what next hops reply has been drawn for all facts together
        case _:
            assert_never(fact)


def _statuses(facts: Facts, chance: Chance) -> tuple[int, ...]:
    """What each next hop in turn replies: the facts behind one reply are of the next."""
    replies: list[list[Fact]] = []
    for fact in facts:
        if isinstance(fact, Came):
            replies.append([fact])
        elif isinstance(fact, Status) and replies:
            replies[-1].append(fact)
    return tuple(_status(reply, chance) for reply in replies) or (chance.pick(_STATUSES),)


def _status(facts: Sequence[Fact], chance: Chance) -> int:
    """A final status of which all the facts hold, where there is one."""
    wanted = [fact for fact in facts if isinstance(fact, Status)]
    texts = [text_like(fact.pattern, chance) for fact in wanted if fact.holds for _ in range(_PASSES)]
    found = [int(text) for text in texts if text and re.fullmatch("[2-6][0-9][0-9]", text)]
    failed = Came("failure") in facts
    fit = [one for one in (*found, *_STATUSES) if all(_matches(fact, one) for fact in wanted) and one >= 300 * failed]
    return chance.pick(fit or _STATUSES)


def _matches(fact: Status, status: int) -> bool:
    pattern = cached_pattern(fact.pattern)
    return pattern is None or bool(pattern.search(str(status))) is fact.holds


def _whole(read: Read, draft: Draft, value: str | None, chance: Chance) -> str | None:
    """The text in which that is the field that is read; fields that are not there yet are numbers."""
    if read.field is None or value is None:
        return value
    at, separator = read.field
    fields = (reading(draft, read.variable) or "").split(separator)
    fields += [str(10 + chance.below(50)) for _ in range(max(at + 1, _FIELDS) - len(fields))]
    return separator.join([*fields[:at], value, *fields[at + 1 :]])


def _value(fact: Reads, chance: Chance) -> str | None:
    """A value that the comparison is to be true of, or not; None for NULL, or where none is found."""
    wanted, operator, is_true = fact.value, fact.operator, fact.holds
    if wanted is None:
        return None if (operator == "==") is is_true else "1"
    if operator in ("==", "!="):
        return str(wanted) if (operator == "==") is is_true else text_unlike(f"^{re.escape(str(wanted))}$", chance)
    if operator in ("=~", "!~"):
        like = (operator == "=~") is is_true
        return text_like(str(wanted), chance) if like else text_unlike(str(wanted), chance)
    number = _integer(str(wanted))
    if number is None:
        return None
    tried = (number - 1, number, number + 1)
    return next((str(one) for one in tried if _compares_numbers(operator, one, number) is is_true), None)
