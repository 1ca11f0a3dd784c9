"""What a supervisor is made of, how long it waits with a restart, and what it does before its beginning."""

from __future__ import annotations

import re
from fractions import Fraction

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from workers.jobs import Peer
from workers.supervision import Life, Phase, RestartPolicy, Supervisor, seats_of
from workers.tree_events import (
    Begin,
    Condemned,
    Ended,
    ExitCode,
    Exited,
    Forked,
    GrowAsked,
    GuestCame,
    Refuse,
    Report,
    RetireAsked,
    SaidReady,
    Seat,
    StopAsked,
    Stopped,
    Tick,
)

NUMBERS = st.integers(0, 4)
ROLES = st.lists(
    st.tuples(st.sampled_from(["sip", "worker", "mi"]), NUMBERS, NUMBERS, st.integers(0, 9), st.booleans()),
    max_size=4,
)


@given(
    st.integers(0, 60) | st.integers(0, 10**7), st.sampled_from([0.0, 0.125, 1.0, 3.0]), st.sampled_from([0.5, 64.0])
)
def test_each_wait_is_twice_the_one_before_up_to_the_limit(deaths: int, first_s: float, most_s: float) -> None:
    wanted = min(Fraction(first_s) * 2 ** min(deaths - 1, 99), Fraction(most_s)) if deaths else 0
    assert RestartPolicy(backoff_s=first_s, backoff_max_s=most_s).delay_s(deaths) == wanted


@given(ROLES)
def test_places_are_numbered_by_role_and_those_beyond_the_count_are_spare(roles: list) -> None:
    expected = []
    for name, count, most, first_slot, executes in roles:
        for number in range(1, most + 1):
            expected.append(Seat(f"{name}-{number}", name, first_slot + number - 1, executes, number > count))
    assert seats_of(roles) == expected


SEATS = st.builds(
    lambda name, slot: Seat(name, name.partition("-")[0], slot, False),
    st.sampled_from(["sip-1", "sip-2", "worker-1", "worker-2", "worker-3"]),
    st.integers(0, 9),
)


@given(st.lists(SEATS, max_size=4), st.lists(st.integers(0, 12), max_size=3))
def test_a_tree_has_somebody_and_nobody_shares_a_name_or_a_slot(seats: list[Seat], guests: list[int]) -> None:
    names, slots = [seat.name for seat in seats], [*[seat.slot for seat in seats], *guests]
    problem = None
    if not seats:
        problem = "a tree needs at least one process"
    elif len(set(names)) < len(names) or len(set(slots)) < len(slots):
        problem = "two processes share a name or a slot"
    event(problem or "a tree")
    if problem is not None:
        with pytest.raises(ValueError, match=f"^{problem}$"):
            Supervisor(seats, RestartPolicy(), 5.0, guests)
        return
    supervisor = Supervisor(seats, RestartPolicy(), 5.0, guests)
    supervisor.check()
    views = [(view.seat.name, view.seat.slot, view.peer, view.life) for view in supervisor.views()]
    guest_places = [(slot, f"guest-{number}") for number, slot in enumerate(guests, start=1)]
    everybody = [(seat.slot, seat.name) for seat in seats] + guest_places
    assert views == [(name, slot, Peer(name, 0), Life.VACANT) for slot, name in sorted(everybody)]
    assert (supervisor.phase, supervisor.exit_code, supervisor.next_deadline()) == (Phase.NEW, None, None)


FIRST = Peer("sip-1", 1)
WORDS = st.lists(
    st.sampled_from(
        [
            Tick(50.0),
            GrowAsked("worker", 1.0),
            GrowAsked("sip", 1.0),
            Forked(FIRST, 7, 1.0),
            Forked(Peer("sip-1", 0), 7, 1.0),
            SaidReady(FIRST, 1.0),
            SaidReady(Peer("sip-1", 0), 1.0),
            Ended(FIRST, Exited(0), 1.0),
            Ended(Peer("sip-1", 0), Exited(0), 1.0),
            RetireAsked(FIRST, 1.0),
            Condemned(FIRST, "too fat", 1.0),
        ]
    )
)


@given(WORDS, WORDS, st.integers(0, 9))
def test_before_its_beginning_and_after_its_end_a_tree_does_nothing(before: list, after: list, ticket: int) -> None:
    supervisor = Supervisor(seats_of([("sip", 1, 1, 0, False), ("worker", 0, 2, 1, True)]), RestartPolicy(), 5.0, [5])
    refused = [Refuse(ticket, "the pool is shutting down")]
    assert [supervisor.handle(word) for word in before] == [[]] * len(before)
    assert supervisor.handle(GuestCame(ticket, 7, 1.0)) == refused
    assert (supervisor.phase, supervisor.exit_code) == (Phase.NEW, None)
    supervisor.check()
    assert supervisor.handle(StopAsked(1.0)) == [Report(Stopped(ExitCode.STOPPED))]
    assert (supervisor.phase, supervisor.exit_code) == (Phase.DONE, ExitCode.STOPPED)
    assert [supervisor.handle(word) for word in after] == [[]] * len(after)
    assert supervisor.handle(GuestCame(ticket, 7, 1.0)) == refused
    assert supervisor.handle(Begin(2.0)) == []
    supervisor.check()


@given(st.text(max_size=9) | st.none() | st.integers())
def test_what_is_no_stimulus_fails_loudly(other: object) -> None:
    supervisor = Supervisor(seats_of([("sip", 1, 1, 0, False)]), RestartPolicy(), 5.0)
    with pytest.raises(AssertionError, match=f"got: {re.escape(repr(other))}$"):
        supervisor.handle(other)
