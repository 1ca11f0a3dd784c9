"""SIP traffic that reaches a script's routes, as a plan: what callers send when, and what next hops reply.

A plan is data, drawn from a seed before anything runs, so it can be written down, cut shorter and run again. Each call
of it is drawn from a stream of its own: leaving one out changes none of the others.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

from msgspec import Struct

from runtime.simulation.chance import Chance
from runtime.simulation.drafts import Draft, Surroundings
from runtime.simulation.events import Fault
from runtime.simulation.facts import Method, Routed, ToTag, WasCancelled
from runtime.simulation.fulfilling import drafted, exclude_each_other
from runtime.simulation.plan import Answer, Follow, Send
from runtime.simulation.wishes import Goal, Wishes

_AT_RANDOM: Final = 0.1
"""The share of the calls that aim at nothing."""
_CANCELLED: Final = 0.25
_COPIED: Final = 0.15
_RINGS: Final = 0.6
_SILENT: Final = 0.05
_SOONEST_S: Final = 0.0005
_LONG: Final = 0.4
_TALKS_S: Final = 10.0
"""How many of the calls last so much longer: there are then several at a time."""


class Within(Struct, frozen=True):
    """A request within the dialog that the call's first one made, so long after that was taken."""

    after_s: float
    draft: Draft


class Drawn(Struct, frozen=True):
    """What one caller does.

    Args:
        number: which call of the plan it is; the streams and names of everything in it come of that.
        at_s: when it sends its first request.
        draft: that request.
        cancel_after_s: when it gives up, counted from `at_s`; None for never.
        copies: when it sends the same request again although nothing is lost.
        answers: what next hops reply to each request that is not yet of a dialog, in the order in which they get them;
            the last one stands for all that come later. An empty one: nothing.
        follows: what it sends afterwards where the call was taken.
    """

    number: int
    at_s: float
    draft: Draft
    cancel_after_s: float | None = None
    copies: tuple[float, ...] = ()
    answers: tuple[tuple[Answer, ...], ...] = ()
    follows: tuple[Within, ...] = ()


def draw_traffic(
    wishes: Wishes, seed: int, count: int, within_s: float, around: Surroundings, faults: Collection[Fault] = ()
) -> list[Drawn]:
    """Draw a plan.

    Args:
        wishes: what `wishes_of` found in the script.
        seed: the same one gives the same plan.
        count: of how many calls.
        within_s: all of them begin within so many seconds.
        around: the addresses of the network.
        faults: with ``cancel`` callers give up, with ``duplicate`` they send again what was not lost.

    Returns:
        the calls, in the order of their times.
    """
    chance = Chance(seed)
    goals = [goal for goal in wishes.goals if not exclude_each_other(goal.facts)]
    first = chance.below(len(goals)) if goals else 0
    aims = [goals[(first + number) % len(goals)] if goals else None for number in range(count)]
    within = [goal for goal in goals if ToTag() in goal.facts or Routed() in goal.facts]
    drawing = _Drawing(within, around, faults)
    calls = [drawing.call(number, chance.split(number), aims[number], within_s) for number in range(count)]
    return sorted(calls, key=lambda call: (call.at_s, call.number))


def send_of(drawn: Drawn, around: Surroundings) -> Send:
    """What is drawn, as the simulated machine takes it: with its numbers and tags, which come of the call's own."""
    return Send(
        drawn.at_s,
        f"uac-{drawn.number}",
        request_text(drawn.draft, drawn.number, around),
        cancel_at_s=None if drawn.cancel_after_s is None else drawn.at_s + drawn.cancel_after_s,
        resend=drawn.draft.method != "ACK" and not drawn.draft.unreadable,
        answers=[list(answers) for answers in drawn.answers],
        follows=[
            Follow(one.after_s, one.draft.method, _header_text(one.draft), one.draft.body) for one in drawn.follows
        ],
        copies_at_s=[drawn.at_s + after_s for after_s in drawn.copies],
        host=drawn.draft.source,
    )


def call_id_of(number: int) -> str:
    """The Call-ID of a drawn call."""
    return f"call-{number}"


def request_text(draft: Draft, number: int, around: Surroundings) -> str:
    """A drafted request as it is sent, its bytes spelled as latin-1.

    Args:
        draft: what is in it.
        number: of the call; its branch, tag and Call-ID come of it.
        around: the addresses of the network.
    """
    server, source = around.server, f"{draft.source}:5060"
    # One that belongs to no dialog is routed only where somebody else comes after the server.
    beyond = "" if draft.tagged else f", <sip:{around.hop};lr>"
    route = f"Route: <sip:{server};lr>{beyond}\r\n" if draft.routed else ""
    contact = draft.contact or f"<sip:uac-{number}@{source}>"
    return (
        f"{draft.method} {draft.ruri} SIP/2.0\r\n"
        f"Via: SIP/2.0/UDP {source};branch=z9hG4bK-call-{number}\r\n"
        f"Max-Forwards: {draft.hops}\r\n{route}"
        f"From: <{draft.from_uri}>;tag=f{number}\r\n"
        f"To: <{draft.to_uri}>{f';tag=t{number}' if draft.tagged else ''}\r\n"
        f"Call-ID: {call_id_of(number)}\r\nCSeq: 1 {'OTHER' if draft.unreadable else draft.method}\r\n"
        f"Contact: {contact}\r\n{_header_text(draft)}"
        f"Content-Length: {len(draft.body)}\r\n\r\n{draft.body}"
    )


def _header_text(draft: Draft) -> str:
    lines = [f"{name}: {value}\r\n" for name, value in draft.headers]
    return "".join(lines) + (f"Content-Type: {draft.content_type}\r\n" if draft.content_type else "")


class _Drawing:
    def __init__(self, within: Sequence[Goal], around: Surroundings, faults: Collection[Fault]) -> None:
        self._within = within
        """Goals that a request within a dialog may reach."""
        self._around = around
        self._cancels = _CANCELLED if "cancel" in faults else 0.0
        self._copies = _COPIED if "duplicate" in faults else 0.0

    def call(self, number: int, chance: Chance, goal: Goal | None, within_s: float) -> Drawn:
        if chance.happens(_AT_RANDOM):
            goal = None
        draft = drafted(goal.facts if goal else (), chance, self._around)
        at_s = round(chance.between(0, within_s), 6)
        is_call = draft.method == "INVITE" and not draft.unreadable
        may_cancel = is_call and not (goal and WasCancelled(False) in goal.facts)
        cancels = draft.cancelled or (may_cancel and chance.happens(self._cancels))
        copies = (_sometime(chance, 0.4),) if draft.method != "ACK" and chance.happens(self._copies) else ()
        answers = tuple(_answers(draft, status, cancels, chance) for status in draft.statuses)
        return Drawn(
            number,
            at_s,
            draft,
            _sometime(chance, 2.0) if cancels else None,
            copies,
            answers,
            self._follows(draft, chance),
        )

    def _follows(self, draft: Draft, chance: Chance) -> tuple[Within, ...]:
        """What comes within the dialog of a call: now and then something that the script asks for, at last a BYE."""
        if draft.method != "INVITE" or draft.tagged:
            return ()
        found = []
        if self._within and chance.happens(0.5):
            inner = drafted(chance.pick(self._within).facts, chance, self._around)
            if inner.method not in ("ACK", "CANCEL", "BYE"):
                found.append(Within(_sometime(chance, 1.0), inner))
        bye = drafted((Method(frozenset(("BYE",))), ToTag()), chance, self._around)
        return (*found, Within(_sometime(chance, 2.0) + (_TALKS_S if chance.happens(_LONG) else 0.0), bye))


def _answers(draft: Draft, status: int, cancelled: bool, chance: Chance) -> tuple[Answer, ...]:
    if status == 408 or chance.happens(_SILENT):
        return ()
    rings = draft.method == "INVITE" and (cancelled or chance.happens(_RINGS))
    found = [Answer(_sometime(chance, 0.2), chance.pick((180, 183)))] if rings else []
    # A call that is given up is not taken before.
    return (*found, Answer(_sometime(chance, 0.5) + (5.0 if cancelled else 0.0), status))


def _sometime(chance: Chance, most_s: float) -> float:
    """A time as likely within each power of two: races lie within milliseconds, and deadlines within seconds."""
    powers = 0
    while _SOONEST_S * 2 ** (powers + 1) < most_s:
        powers += 1
    least_s = _SOONEST_S * 2 ** chance.below(powers + 1)
    return round(min(most_s, chance.between(least_s, 2 * least_s)), 6)
