"""Every way of a response context, as far as a few words lead; and the best of any replies.

The state machine of the response context is led to each place that it can be in, and there through each thing that can
happen. It draws nothing, so that what is rare is met as surely as what is not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeAlias

from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.sip.response_context import (
    Answer,
    Answered,
    AskScript,
    Cancelled,
    Decided,
    Effect,
    Failed,
    Over,
    Relay,
    Replied,
    ResponseContext,
    Sent,
    Stimulus,
)
from tests.properties.test_response_context_machine import BETTER, Branch, Responses, best

FURTHEST = 4
"""Steps from the beginning. Two branches are there then, one of them sent, and a third may come."""
REFUSALS = [300, 600]

Step: TypeAlias = Callable[[Responses], None]


def steps(at: Responses) -> Iterator[Step]:
    """What can happen here."""
    for index, branch in enumerate(at.branches):
        yield lambda m, i=index: m.end(i, Failed(i, 408))
        if not branch.is_sent:
            yield lambda m, i=index: m.send(m.branches[i])
            continue
        for status in REFUSALS:
            yield lambda m, i=index, s=status: m.end(i, Replied(i, s))
        for status in (100, 180):
            yield lambda m, i=index, s=status: m.ring_at(i, s)
        yield lambda m, i=index: m.take_at(i, 200)
    yield Responses.cancel
    for status in (200, 300):
        yield lambda m, s=status: m.answer(s)
    yield Responses.decide if at.asked is not None else Responses.decide_unasked
    if at.wanted and len(at.branches) < 3:
        yield lambda m: m.add(1, 1)
        yield lambda m: m.add(1, 0)


def walked(invite: bool, block: bool, way: Iterable[Step]) -> Responses:
    machine = Responses()
    machine.relay(invite, block, 2, 1, REFUSALS)
    for step in way:
        step(machine)
    machine.agrees()
    machine.is_prompt()
    return machine


def place(at: Responses) -> tuple[object, ...]:
    """Where it is: two that are at one place go on alike."""
    branches = tuple((b.round, b.is_sent, b.end, b.from_network, b.cancels) for b in at.branches)
    return branches, at.wanted, at.is_cancelled, at.finals[:1], at.overs, at.asked and at.at(at.asked), at.asked_of


@settings(max_examples=4, deadline=None)
@given(invite=st.booleans(), block=st.booleans())
def test_it_does_right_at_each_place(invite: bool, block: bool) -> None:
    ways: list[tuple[Step, ...]] = [()]
    seen = {str(place(walked(invite, block, ())))}
    for way in ways:
        here = walked(invite, block, way)
        for step in steps(here):
            there = walked(invite, block, (*way, step))
            if len(way) < FURTHEST - 1 and (found := str(place(there))) not in seen:
                seen.add(found)
                ways.append((*way, step))
        here.finish()


ENDS = st.tuples(st.one_of(st.integers(300, 699), st.sampled_from([*BETTER, 408, 500, 503, 504, 600])), st.booleans())


@settings(max_examples=200)
@given(ends=st.lists(ENDS, min_size=1, max_size=4))
def test_the_best_that_was_said_goes_up(ends: list[tuple[int, bool]]) -> None:
    context = ResponseContext(True, block_6xx=False)
    told: list[Effect] = []
    for index, _ in enumerate(ends):
        assert context.add() == index
        assert context.handle(Sent(index)) == []
    for index, (status, from_network) in enumerate(ends):
        assert told == []
        told = context.handle(Replied(index, status) if from_network else Failed(index, status))
    branches = [Branch(0, end=status, from_network=from_network) for status, from_network in ends]
    chosen = best(branches)
    [asked] = told
    assert isinstance(asked, AskScript)
    assert asked.status == chosen.end
    up: Effect = Answer(chosen.end)
    if chosen.from_network:
        assert asked.branch is not None
        assert ends[asked.branch] == (chosen.end, True)
        up = Relay(asked.branch)
    else:
        assert asked.branch is None
    assert context.handle(Decided()) == [up, Over()]


@settings(max_examples=20)
@given(
    words=st.lists(st.sampled_from([Cancelled(), Decided()])), invite=st.booleans(), status=st.sampled_from([200, 487])
)
def test_without_a_branch_there_is_nothing_to_say_but_the_script_s_answer(
    words: list[Stimulus], invite: bool, status: int
) -> None:
    context = ResponseContext(invite)
    for word in words:
        assert context.handle(word) == []
    context.check()
    assert context.handle(Answered(status)) == [Over()]
    assert context.final == status
