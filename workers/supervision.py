"""Who is to run, and what follows when somebody dies: the attendant's decisions, without a process or a clock.

Every process has a **place**: a name and a slot that outlive it. A crash gives the place a new incarnation, after a
back-off where deaths follow each other quickly; nobody else is touched. Two kinds of death end the whole tree instead:

=================  ====================================================================================================
boot failure       a process dies before it said ready, either with exit code 3 or in the first life of its place. It
                   will do so again, and restarting it for ever would only hide a bad configuration.
crash storm        one role dies more often than the policy allows within its window.
=================  ====================================================================================================

The states of a place, and what moves it from one to the next::

    VACANT --Fork--> FORKING --Forked--> STARTING --SaidReady--> UP
      ^                 |                    |                    |
      |                 +----- ForkFailed, Ended (any state) -----+
      +---(tree ends)---+
      ^                 v
      +---(tree ends)-- WAITING --Tick(due)--> FORKING, incarnation + 1

The states of the tree: NEW, RUNNING, DRAINING (asked to stop, or giving up), KILLING (time is up, or asked twice)
and DONE.

**Announcements.** A process is announced when it said ready, because only then is its inbox bound: it is told of all
that are up, and they of it. One that is down is taken back from exactly those that were told. So what a process that
is up knows is, at any moment, the set of all others that are up.

**Order at a death**: report ``Died`` (the owner clears what the dead one left in shared memory), then ``PeerDown`` to
the others, then report ``Restarting``, and only then ``Fork``. Whoever performs the effects in their order keeps it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from math import inf
from typing import Final, assert_never

from workers.jobs import Peer
from workers.tree_events import (
    Announce,
    Begin,
    Died,
    Drain,
    Draining,
    Effect,
    Ended,
    ExitCode,
    Exited,
    Fork,
    Forked,
    ForkFailed,
    GaveUp,
    Kill,
    PeerDown,
    PeerUp,
    Ready,
    Report,
    Restarting,
    SaidReady,
    Seat,
    Started,
    Status,
    Stimulus,
    StopAsked,
    Stopped,
    Tick,
)


@dataclass(frozen=True, slots=True)
class RestartPolicy:
    """When to restart, how soon, and when to give up.

    Args:
        backoff_s: the wait before the second restart of a place in a row; the first one does not wait.
        backoff_max_s: each further wait is twice the one before, up to this.
        lived_s: a process that was up for so long has left its predecessors' failures behind.
        storm_deaths: more deaths than this of one role within `storm_within_s` end the tree.
        same_request_s: a request to stop so soon after another is the same one: `timeout` and some process managers
            signal a process and then its group.
        grace_s: how long after the drain limit a process may take for its last breath before it is killed.
    """

    backoff_s: float = 0.1
    backoff_max_s: float = 5.0
    lived_s: float = 10.0
    storm_deaths: int = 10
    storm_within_s: float = 30.0
    same_request_s: float = 0.05
    grace_s: float = 1.0

    def delay_s(self, quick_deaths: int) -> float:
        """Seconds to wait when `quick_deaths` lives in a row were short before the one that just ended."""
        if quick_deaths == 0:
            return 0.0
        # The exponent is bounded because 2.0**1024 raises.
        return float(min(self.backoff_s * 2.0 ** min(quick_deaths - 1, 64), self.backoff_max_s))


class Life(Enum):
    """Where a place is in its life; the values are what `ps` shows."""

    VACANT = "vacant"
    FORKING = "forking"
    STARTING = "starting"
    UP = "up"
    WAITING = "waiting"


_LIVING: Final = frozenset({Life.FORKING, Life.STARTING, Life.UP})


class Phase(Enum):
    NEW = "new"
    RUNNING = "running"
    DRAINING = "draining"
    KILLING = "killing"
    DONE = "done"


@dataclass(frozen=True, slots=True)
class SeatView:
    """A place as it is now, for `ps`. ``peer`` is the last life that it had, or has."""

    seat: Seat
    peer: Peer
    life: Life


@dataclass(slots=True, eq=False)
class _Place:
    seat: Seat
    incarnation: int = 0
    """Counts lives from 1; grows by one at each fork and never shrinks."""
    life: Life = Life.VACANT
    pid: int = 0
    up_at: float = inf
    """When it said ready; inf unless UP."""
    due: float = inf
    """When to fork the next life; inf unless WAITING."""
    quick_deaths: int = 0
    """Lives in a row, up to the last one, that were over before `lived_s`."""
    known: set[Peer] = field(default_factory=set)
    """Who it was told is up; empty unless UP."""

    @property
    def peer(self) -> Peer:
        return Peer(self.seat.name, self.incarnation)

    @property
    def next_peer(self) -> Peer:
        return Peer(self.seat.name, self.incarnation + 1)


class Supervisor:
    """The supervision of one tree of processes.

    Args:
        seats: who is to run. Names and slots are unique.
        policy: when to restart and when to give up.
        drain_s: how long processes may take to finish once the tree is asked to stop.

    Raises:
        ValueError: no seats, or two with one name or one slot.
    """

    def __init__(self, seats: Sequence[Seat], policy: RestartPolicy, drain_s: float) -> None:
        if not seats:
            raise ValueError("a tree needs at least one process")
        if len({seat.name for seat in seats}) < len(seats) or len({seat.slot for seat in seats}) < len(seats):
            raise ValueError("two processes share a name or a slot")
        self._policy = policy
        self._drain_s = drain_s
        self._places = {seat.name: _Place(seat) for seat in seats}
        self._deaths: dict[str, deque[float]] = {seat.role: deque() for seat in seats}
        """When processes of each role died, within the last storm window; at most storm_deaths + 1 of them."""
        self._phase = Phase.NEW
        self._drain_ends = inf
        """When the drain limit is reached; inf unless DRAINING or KILLING."""
        self._asked_at = -inf
        """When the tree was last asked to stop."""
        self._code = ExitCode.STOPPED

    @property
    def phase(self) -> Phase:
        return self._phase

    @property
    def exit_code(self) -> ExitCode | None:
        """What to leave with, once nobody is left; None before."""
        return self._code if self._phase is Phase.DONE else None

    def views(self) -> list[SeatView]:
        """Every place as it is now, in slot order."""
        places = sorted(self._places.values(), key=lambda place: place.seat.slot)
        return [SeatView(place.seat, place.peer, place.life) for place in places]

    def next_deadline(self) -> float | None:
        """When the next `Tick` has something to do; None while only processes can move things on."""
        if self._phase is Phase.DRAINING:
            return self._drain_ends + self._policy.grace_s
        due = min(place.due for place in self._places.values())
        return None if due == inf else due

    def handle(self, stimulus: Stimulus) -> list[Effect]:
        """Take in what happened; returns what to do about it, in this order.

        Words from or about a life that is over, or that never was, change nothing.
        """
        match stimulus:
            case Begin(now):
                return self._begin(now)
            case Forked(peer, pid, _):
                return self._forked(peer, pid)
            case ForkFailed(peer, reason, now):
                return self._ended(peer, f"the fork failed: {reason}", None, now)
            case SaidReady(peer, now):
                return self._said_ready(peer, now)
            case Ended(peer, status, now):
                return self._ended(peer, str(status), status, now)
            case StopAsked(now):
                return self._stop_asked(now)
            case Tick(now):
                return self._tick(now)
            case _:
                assert_never(stimulus)

    def check(self) -> None:
        """Assert every invariant of this machine."""
        up = {place.peer for place in self._places.values() if place.life is Life.UP}
        for place in self._places.values():
            assert (place.due < inf) == (place.life is Life.WAITING), place
            assert (place.up_at < inf) == (place.life is Life.UP), place
            assert (place.pid > 0) == (place.life in {Life.STARTING, Life.UP}), place
            assert place.life is not Life.WAITING or self._phase is Phase.RUNNING, place
            assert place.life is not Life.VACANT or self._phase is not Phase.RUNNING, place
            assert place.known == (up - {place.peer} if place.life is Life.UP else set()), place
            assert place.incarnation >= 1 or self._phase in {Phase.NEW, Phase.DONE}, place
        assert (self._drain_ends < inf) == (self._phase in {Phase.DRAINING, Phase.KILLING}), self._phase
        assert self._phase in {Phase.NEW, Phase.RUNNING, Phase.DONE} or self._living(), "nobody to wait for"
        assert self._phase not in {Phase.NEW, Phase.DONE} or not self._living(), "somebody is left"
        assert self._code is ExitCode.STOPPED or self._phase not in {Phase.NEW, Phase.RUNNING}, self._code
        assert all(len(deaths) <= self._policy.storm_deaths + 1 for deaths in self._deaths.values())

    # Births.

    def _begin(self, now: float) -> list[Effect]:
        if self._phase is not Phase.NEW:
            return []
        self._phase = Phase.RUNNING
        return [self._fork(place) for place in self._places.values()]

    def _fork(self, place: _Place) -> Effect:
        place.incarnation += 1
        place.life, place.due = Life.FORKING, inf
        return Fork(place.seat, place.peer)

    def _forked(self, peer: Peer, pid: int) -> list[Effect]:
        place = self._living_place(peer)
        if place is None or place.life is not Life.FORKING:
            return []
        place.life, place.pid = Life.STARTING, pid
        return [Report(Started(peer, place.seat.slot, pid))]

    def _said_ready(self, peer: Peer, now: float) -> list[Effect]:
        place = self._living_place(peer)
        if place is None or place.life is not Life.STARTING:
            return []
        others = self._up()
        place.life, place.up_at, place.known = Life.UP, now, {other.peer for other in others}
        effects: list[Effect] = [Report(Ready(peer, place.seat.slot))]
        effects += [Announce(peer, _up(other)) for other in others]
        for other in others:
            other.known.add(peer)
            effects.append(Announce(other.peer, _up(place)))
        return effects

    # Deaths.

    def _ended(self, peer: Peer, text: str, status: Status | None, now: float) -> list[Effect]:
        place = self._living_place(peer)
        if place is None:
            return []
        was_up, lived_s = place.life is Life.UP, now - place.up_at
        effects: list[Effect] = [Report(Died(peer, place.seat.slot, place.pid, text))]
        place.life, place.pid, place.up_at = Life.VACANT, 0, inf
        place.known.clear()
        if was_up:
            for other in self._up():
                other.known.discard(peer)
                effects.append(Announce(other.peer, PeerDown(peer)))
        if self._phase is not Phase.RUNNING:
            return effects + self._finish_if_empty()
        place.quick_deaths = 0 if was_up and lived_s >= self._policy.lived_s else place.quick_deaths
        return effects + self._after_loss(place, text, was_up, status, now)

    def _after_loss(self, place: _Place, text: str, was_up: bool, status: Status | None, now: float) -> list[Effect]:
        if not was_up and (place.incarnation == 1 or status == Exited(ExitCode.BOOT_FAILED)):
            reason = f"{place.peer} could not start: {text}"
            return self._give_up(ExitCode.BOOT_FAILED, reason, now)
        if self._storms(place.seat.role, now):
            policy = self._policy
            reason = f"more than {policy.storm_deaths} deaths of {place.seat.role} in {policy.storm_within_s:g} s"
            return self._give_up(ExitCode.CRASH_STORM, reason, now)
        delay_s = self._policy.delay_s(place.quick_deaths)
        place.quick_deaths += 1
        place.life, place.due = Life.WAITING, now + delay_s
        effects: list[Effect] = [Report(Restarting(place.next_peer, place.seat.slot, delay_s))]
        return effects + self._fork_due(now)

    def _storms(self, role: str, now: float) -> bool:
        deaths = self._deaths[role]
        deaths.append(now)
        while deaths and deaths[0] <= now - self._policy.storm_within_s:
            deaths.popleft()
        return len(deaths) > self._policy.storm_deaths

    def _fork_due(self, now: float) -> list[Effect]:
        return [self._fork(place) for place in self._places.values() if place.due <= now]

    # The end.

    def _stop_asked(self, now: float) -> list[Effect]:
        is_echo = now < self._asked_at + self._policy.same_request_s
        self._asked_at = now
        if is_echo:
            return []
        match self._phase:
            case Phase.NEW:
                return self._finish_if_empty()
            case Phase.RUNNING:
                return self._drain(ExitCode.STOPPED, now)
            case Phase.DRAINING:
                # Why a tree gave up says more than that somebody was in a hurry.
                self._code = ExitCode.KILLED if self._code is ExitCode.STOPPED else self._code
                return self._kill()
            case Phase.KILLING | Phase.DONE:
                return []
            case _:
                assert_never(self._phase)

    def _give_up(self, code: ExitCode, reason: str, now: float) -> list[Effect]:
        return [Report(GaveUp(code, reason)), *self._drain(code, now)]

    def _drain(self, code: ExitCode, now: float) -> list[Effect]:
        self._phase, self._code, self._drain_ends = Phase.DRAINING, code, now + self._drain_s
        for place in self._places.values():
            if place.life is Life.WAITING:
                place.life, place.due = Life.VACANT, inf
        effects: list[Effect] = [Report(Draining(self._drain_s))]
        effects += [Announce(place.peer, Drain(self._drain_ends)) for place in self._living()]
        return effects + self._finish_if_empty()

    def _tick(self, now: float) -> list[Effect]:
        if self._phase is Phase.RUNNING:
            return self._fork_due(now)
        if self._phase is Phase.DRAINING and now >= self._drain_ends + self._policy.grace_s:
            return self._kill()
        return []

    def _kill(self) -> list[Effect]:
        self._phase = Phase.KILLING
        return [Kill(place.peer) for place in self._living()]

    def _finish_if_empty(self) -> list[Effect]:
        if self._living():
            return []
        self._phase, self._drain_ends = Phase.DONE, inf
        return [Report(Stopped(self._code))]

    # Who is where.

    def _living_place(self, peer: Peer) -> _Place | None:
        place = self._places.get(peer.name)
        alive = place is not None and place.incarnation == peer.incarnation and place.life in _LIVING
        return place if alive else None

    def _living(self) -> list[_Place]:
        return [place for place in self._places.values() if place.life in _LIVING]

    def _up(self) -> list[_Place]:
        return [place for place in self._places.values() if place.life is Life.UP]


def _up(place: _Place) -> PeerUp:
    return PeerUp(place.peer, place.seat.slot, place.seat.executes)


def seats_of(roles: Iterable[tuple[str, int, int, bool]]) -> list[Seat]:
    """Number the places of roles given as (name, count, first slot, executes): ``sip-1``, ``sip-2`` …"""
    return [
        Seat(f"{name}-{index + 1}", name, first_slot + index, executes)
        for name, count, first_slot, executes in roles
        for index in range(count)
    ]
