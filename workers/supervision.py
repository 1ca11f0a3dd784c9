"""Who is to run, and what follows when somebody dies: the attendant's decisions, without a process or a clock.

Every process has a **place**: a name and a slot that outlive it. A crash gives the place a new incarnation, after a
back-off where deaths follow each other quickly; nobody else is touched. Two kinds of death end the whole tree instead:

=================  ====================================================================================================
boot failure       a process dies before it said ready in the first life of its place, or, where the policy says so,
                   with exit code 3 in a later one. It will do so again, and restarting it for ever would only hide a
                   bad configuration.
crash storm        one role dies more often than the policy allows within its window.
=================  ====================================================================================================

And some ends are **planned**; they are no crashes, count in no storm and know no back-off:

=================  ====================================================================================================
spent              it left with exit code 6 (so many jobs, or so much memory, and no more): replaced at once.
condemned          the owner had it killed, e.g. for a job past its deadline: replaced at once.
retired            it stood in a spare place and was not needed any more: the place becomes vacant.
=================  ====================================================================================================

Before it said ready nothing is planned: a process that is spent or condemned then would be so again, for ever.

The states of a place, and what moves it from one to the next::

    VACANT --Fork--> FORKING --Forked--> STARTING --SaidReady--> UP --RetireAsked--> LEAVING
      ^                 |                    |                   |                      |
      |                 +----- ForkFailed, Ended (any of these) -+                      |
      +---(tree ends)---+                                                               |
      +---------------------------------- Ended, killed at its limit -------------------+
      ^                 v
      +---(tree ends)-- WAITING --Tick(due)--> FORKING, incarnation + 1

The states of the tree: NEW, RUNNING, DRAINING (asked to stop, or giving up), KILLING (time is up, or asked twice)
and DONE.

**Spare places** are vacant at first. `GrowAsked` fills one; from then on it is a place like any other, except that
its first life is no boot: the tree works already.

**Guests** are processes that nobody forked here. Theirs are places too, with growing incarnations, so that a guest's
name never comes twice; their states are VACANT, STARTING (let in, and given `join_s` to say ready) and UP. A guest is
announced like any other process, but it is neither restarted nor killed, and nobody waits for one: a tree is DONE
when its own processes are gone.

**Announcements.** A process is announced when it said ready, because only then is its inbox bound: it is told of all
that are up, and they of it. One that is down is taken back from exactly those that were told. So what a process that
is up knows is, at any moment, the set of all others that are up; one that is leaving still counts as up.

**Order at a death**: report ``Died`` (the owner clears what the dead one left in shared memory), then ``PeerDown`` to
the others, then report ``Restarting``, and only then ``Fork``. Whoever performs the effects in their order keeps it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from enum import Enum
from math import inf
from typing import Final, assert_never

from msgspec import Struct, field

from workers.jobs import Peer
from workers.tree_events import (
    GUEST,
    MAX_REASON,
    Admit,
    Announce,
    Begin,
    Condemned,
    Died,
    Dismiss,
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
    GrowAsked,
    GuestCame,
    GuestLeft,
    Kill,
    PeerDown,
    PeerUp,
    Ready,
    Refuse,
    Report,
    Restarting,
    Retire,
    RetireAsked,
    Retiring,
    SaidReady,
    Seat,
    Started,
    Status,
    Stimulus,
    StopAsked,
    Stopped,
    Tick,
)


class RestartPolicy(Struct, frozen=True):
    """When to restart, how soon, and when to give up.

    Args:
        backoff_s: the wait before the second restart of a place in a row; the first one does not wait.
        backoff_max_s: each further wait is twice the one before, up to this.
        lived_s: a process that was up for so long has left its predecessors' failures behind.
        storm_deaths: more deaths than this of one role within `storm_within_s` end the tree.
        same_request_s: a request to stop so soon after another is the same one: `timeout` and some process managers
            signal a process and then its group.
        grace_s: how long after the drain limit a process may take for its last breath before it is killed.
        boot_failure_ends: whether exit code 3 before ready ends the tree in later lives too. Where it does not, such a
            life is tried again after a back-off, and counts for a storm only while nobody else of its role is up: what
            works shall not die of a database that is away for a minute.
        join_s: how long a guest that was let in may take to say ready.
    """

    backoff_s: float = 0.1
    backoff_max_s: float = 5.0
    lived_s: float = 10.0
    storm_deaths: int = 10
    storm_within_s: float = 30.0
    same_request_s: float = 0.05
    grace_s: float = 1.0
    boot_failure_ends: bool = True
    join_s: float = 10.0

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
    LEAVING = "leaving"
    WAITING = "waiting"


RETIRED: Final = "retired"
"""The reason that is told of one that was not needed any more."""

CONDEMNED: Final = "condemned"
"""The reason that is told of one that was condemned for none that was given."""

_LIVING: Final = frozenset({Life.FORKING, Life.STARTING, Life.UP, Life.LEAVING})
_ANNOUNCED: Final = frozenset({Life.UP, Life.LEAVING})


class Phase(Enum):
    NEW = "new"
    RUNNING = "running"
    DRAINING = "draining"
    KILLING = "killing"
    DONE = "done"


class SeatView(Struct, frozen=True):
    """A place as it is now, for `ps`. ``peer`` is the last life that it had, or has."""

    seat: Seat
    peer: Peer
    life: Life


class _Place(Struct, eq=False):
    seat: Seat
    incarnation: int = 0
    """Counts lives from 1; grows by one at each fork and never shrinks."""
    life: Life = Life.VACANT
    pid: int = 0
    up_at: float = inf
    """When it said ready; inf unless UP or LEAVING."""
    due: float = inf
    """When to fork the next life; inf unless WAITING."""
    limit_at: float = inf
    """When patience ends with one that is LEAVING, or with a guest that is STARTING; inf for all others."""
    verdict: str = ""
    """Why its end is planned; empty unless it is UP and condemned, or LEAVING."""
    quick_deaths: int = 0
    """Lives in a row, up to the last one, that were over before `lived_s`."""
    known: set[Peer] = field(default_factory=set)
    """Who it was told is up; empty unless UP or LEAVING."""

    @property
    def peer(self) -> Peer:
        return Peer(self.seat.name, self.incarnation)

    @property
    def is_guest(self) -> bool:
        return self.seat.role == GUEST

    @property
    def next_peer(self) -> Peer:
        return Peer(self.seat.name, self.incarnation + 1)


class Supervisor:
    """The supervision of one tree of processes.

    Args:
        seats: who is to run. Names and slots are unique.
        policy: when to restart and when to give up.
        drain_s: how long processes may take to finish once the tree is asked to stop, and one that is retired.
        guest_slots: the slots that processes from outside may take; each is a guest's place.

    Raises:
        ValueError: no seats, or two with one name or one slot.
    """

    def __init__(
        self, seats: Sequence[Seat], policy: RestartPolicy, drain_s: float, guest_slots: Sequence[int] = ()
    ) -> None:
        if not seats:
            raise ValueError("a tree needs at least one process")
        guests = [Seat(f"{GUEST}-{index + 1}", GUEST, slot, False) for index, slot in enumerate(guest_slots)]
        seats = [*seats, *guests]
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
        due = min(min(place.due, place.limit_at) for place in self._places.values())
        return None if due == inf else due

    def handle(self, stimulus: Stimulus) -> list[Effect]:
        """Take in what happened; returns what to do about it, in this order.

        Words from or about a life that is over, or that never was, change nothing.
        """
        match stimulus:
            case Begin(_):
                return self._begin()
            case Forked(peer, pid, _):
                return self._forked(peer, pid)
            case ForkFailed(peer, reason, now):
                return self._ended(peer, f"the fork failed: {reason}", None, now)
            case SaidReady(peer, now):  # model: come_up
                return self._said_ready(peer, now)
            case Ended(peer, status, now, words):  # model: bury, bury_for_good
                return self._ended(peer, words or str(status), status, now)
            case StopAsked(now, within_s):  # model: stop_all
                return self._stop_asked(now, self._drain_s if within_s is None else within_s)
            case GrowAsked(role, _):
                return self._grow(role)
            case RetireAsked(peer, now):  # model: end_or_retire
                return self._retire(peer, now)
            case Condemned(peer, reason, _):
                return self._condemn(peer, reason)
            case GuestCame(ticket, pid, now):
                return self._guest_came(ticket, pid, now)
            case GuestLeft(peer, reason, _):
                return self._guest_left(peer, reason)
            case Tick(now):
                return self._tick(now)
            case _:
                assert_never(stimulus)

    def check(self) -> None:
        """Assert every invariant of this machine."""
        up = {place.peer for place in self._up()}
        for place in self._places.values():
            is_up, optional = place.life in _ANNOUNCED, place.is_guest or place.seat.spare
            assert (place.due < inf) == (place.life is Life.WAITING), place
            assert (place.up_at < inf) == is_up, place
            assert (place.pid > 0) == (is_up or place.life is Life.STARTING), place
            assert place.limit_at == inf or place.life is Life.LEAVING or place.is_guest, place
            assert place.limit_at == inf or place.life is not Life.UP, place
            assert not place.verdict or is_up, place
            assert place.verdict or place.life is not Life.LEAVING, place
            assert place.seat.spare or place.life is not Life.LEAVING, place
            assert not place.is_guest or place.life in {Life.VACANT, Life.STARTING, Life.UP}, place
            assert place.life is not Life.WAITING or self._phase is Phase.RUNNING, place
            assert place.life is not Life.VACANT or optional or self._phase is not Phase.RUNNING, place
            assert place.life is Life.VACANT or self._phase not in {Phase.NEW, Phase.DONE}, place
            assert place.known == (up - {place.peer} if is_up else set()), place
            assert place.incarnation >= 1 or optional or self._phase in {Phase.NEW, Phase.DONE}, place
        assert (self._drain_ends < inf) == (self._phase in {Phase.DRAINING, Phase.KILLING}), self._phase
        assert self._phase in {Phase.NEW, Phase.RUNNING, Phase.DONE} or self._living(), self._phase
        assert self._code is ExitCode.STOPPED or self._phase not in {Phase.NEW, Phase.RUNNING}, self._code
        # One death more than that ends the tree, and then nobody counts any more.
        most = self._policy.storm_deaths + (self._phase is not Phase.RUNNING)
        assert all(len(deaths) <= most for deaths in self._deaths.values()), self._deaths

    # Births.

    def _begin(self) -> list[Effect]:
        if self._phase is not Phase.NEW:
            return []
        self._phase = Phase.RUNNING
        return [self._fork(place) for place in self._places.values() if not (place.seat.spare or place.is_guest)]

    def _grow(self, role: str) -> list[Effect]:
        if self._phase is not Phase.RUNNING:
            return []
        vacant = [place for place in self._places.values() if place.seat.role == role and place.life is Life.VACANT]
        return [self._fork(place) for place in vacant[:1] if place.seat.spare]

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
        place.life, place.up_at, place.limit_at = Life.UP, now, inf
        place.known = {other.peer for other in others}
        effects: list[Effect] = [Report(Ready(peer, place.seat.slot))]
        effects += [Announce(peer, _up(other)) for other in others]
        for other in others:
            other.known.add(peer)
            effects.append(Announce(other.peer, _up(place)))
        return effects

    # Planned ends.

    def _retire(self, peer: Peer, now: float) -> list[Effect]:
        place = self._living_place(peer)
        if place is None or place.life is not Life.UP or not place.seat.spare or self._phase is not Phase.RUNNING:
            return []
        # One that was condemned before dies of that, and that is what is told.
        place.life, place.verdict, place.limit_at = Life.LEAVING, place.verdict or RETIRED, now + self._drain_s
        return [Report(Retiring(peer, place.seat.slot)), Announce(peer, Retire(place.limit_at))]

    def _condemn(self, peer: Peer, reason: str) -> list[Effect]:
        place = self._living_place(peer)
        if place is None or place.life not in _ANNOUNCED or place.is_guest:
            return []
        # Without a verdict the kill would count as a crash, and no life may end for no reason.
        place.verdict = reason or CONDEMNED
        return [Kill(peer)]

    # Guests.

    def _guest_came(self, ticket: int, pid: int, now: float) -> list[Effect]:
        if self._phase is not Phase.RUNNING:
            return [Refuse(ticket, "the pool is shutting down")]
        guests = [place for place in self._places.values() if place.is_guest]
        place = next((place for place in guests if place.life is Life.VACANT), None)
        if place is None:
            return [Refuse(ticket, f"the pool is full: {len(guests)} guests are the most")]
        place.incarnation += 1
        place.life, place.pid, place.limit_at = Life.STARTING, pid, now + self._policy.join_s
        slot = place.seat.slot
        return [Admit(ticket, place.peer, slot), Report(Started(place.peer, slot, pid))]

    def _guest_left(self, peer: Peer, reason: str) -> list[Effect]:
        place = self._living_place(peer)
        return self._vacate(place, reason) if place is not None and place.is_guest else []

    # Deaths.

    def _ended(self, peer: Peer, text: str, status: Status | None, now: float) -> list[Effect]:
        place = self._living_place(peer)
        if place is None or place.is_guest:
            return []
        was_up, lived_s, verdict, retired = (
            place.up_at < inf,
            now - place.up_at,
            place.verdict,
            place.life is Life.LEAVING,
        )
        planned = was_up and (bool(verdict) or status == Exited(ExitCode.SPENT))
        effects = self._vacate(place, _why(verdict, text, status))
        if self._phase is not Phase.RUNNING:
            return effects + self._finish_if_empty()
        if lived_s >= self._policy.lived_s:  # -inf where it was not up
            place.quick_deaths = 0
        if retired:
            return effects
        if planned:
            return effects + self._restart(place, 0.0, now)
        return effects + self._after_crash(place, text, was_up, status, now)

    def _vacate(self, place: _Place, reason: str) -> list[Effect]:  # model: bury_and_fork
        """Write a life off, and tell all who know of it."""
        peer = place.peer
        effects: list[Effect] = [Report(Died(peer, place.seat.slot, place.pid, reason))]
        place.life, place.pid, place.up_at, place.limit_at, place.verdict = Life.VACANT, 0, inf, inf, ""
        place.known.clear()
        for other in self._up():
            if peer in other.known:
                other.known.discard(peer)
                effects.append(Announce(other.peer, PeerDown(peer, reason[:MAX_REASON])))
        return effects

    def _after_crash(self, place: _Place, text: str, was_up: bool, status: Status | None, now: float) -> list[Effect]:
        policy, role, could_not_start = self._policy, place.seat.role, status == Exited(ExitCode.BOOT_FAILED)
        is_boot = place.incarnation == 1 and not place.seat.spare
        if not was_up and (is_boot or (could_not_start and policy.boot_failure_ends)):
            return self._give_up(ExitCode.BOOT_FAILED, f"{place.peer} could not start: {text}", now)
        is_borne = not was_up and could_not_start and any(other.seat.role == role for other in self._up())
        if not is_borne and self._storms(role, now):
            reason = f"more than {policy.storm_deaths} deaths of {role} in {policy.storm_within_s:g} s"
            return self._give_up(ExitCode.CRASH_STORM, f"{reason}; the last: {text}", now)
        delay_s = policy.delay_s(place.quick_deaths)
        place.quick_deaths += 1
        return self._restart(place, delay_s, now)

    def _restart(self, place: _Place, delay_s: float, now: float) -> list[Effect]:  # model: bury_and_fork
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

    def _stop_asked(self, now: float, within_s: float) -> list[Effect]:
        is_echo = now < self._asked_at + self._policy.same_request_s
        self._asked_at = now
        if is_echo:
            return []
        match self._phase:
            case Phase.NEW:
                return self._finish_if_empty()
            case Phase.RUNNING:
                return self._drain(ExitCode.STOPPED, now, within_s)
            case Phase.DRAINING:
                # Why a tree gave up says more than that somebody was in a hurry.
                self._code = ExitCode.KILLED if self._code is ExitCode.STOPPED else self._code
                return self._kill()
            case Phase.KILLING | Phase.DONE:
                return []
            case _:
                assert_never(self._phase)

    def _give_up(self, code: ExitCode, reason: str, now: float) -> list[Effect]:
        return [Report(GaveUp(code, reason)), *self._drain(code, now, self._drain_s)]

    def _drain(self, code: ExitCode, now: float, within_s: float) -> list[Effect]:
        self._phase, self._code, self._drain_ends = Phase.DRAINING, code, now + within_s
        effects: list[Effect] = [Report(Draining(within_s))]
        for place in self._places.values():
            # Who is leaving has until the end of the drain; a guest that has not come up by now never will.
            place.limit_at = inf
            if place.life is Life.WAITING:
                place.life, place.due = Life.VACANT, inf
            elif place.is_guest and place.life is Life.STARTING:
                effects += self._dismiss(place, "the pool is shutting down")
        effects += [Announce(place.peer, Drain(self._drain_ends)) for place in self._living() + self._guests_up()]
        return effects + self._finish_if_empty()

    def _dismiss(self, guest: _Place, reason: str) -> list[Effect]:
        return [Dismiss(guest.peer), *self._vacate(guest, reason)]

    def _tick(self, now: float) -> list[Effect]:
        if self._phase is Phase.RUNNING:
            return self._fork_due(now) + self._end_patience(now)
        if self._phase is Phase.DRAINING and now >= self._drain_ends + self._policy.grace_s:
            return self._kill()
        return []

    def _end_patience(self, now: float) -> list[Effect]:
        effects: list[Effect] = []
        for place in [place for place in self._places.values() if place.limit_at <= now]:
            place.limit_at = inf
            if place.is_guest:
                effects += self._dismiss(place, "it did not say ready in time")
            else:
                effects.append(Kill(place.peer))
        return effects

    def _kill(self) -> list[Effect]:
        self._phase = Phase.KILLING
        return [Kill(place.peer) for place in self._living()]

    def _finish_if_empty(self) -> list[Effect]:
        if self._living():
            return []
        effects: list[Effect] = []
        for guest in self._guests_up():
            effects += self._dismiss(guest, "the pool has ended")
        self._phase, self._drain_ends = Phase.DONE, inf
        return [*effects, Report(Stopped(self._code))]

    # Who is where.

    def _living_place(self, peer: Peer) -> _Place | None:
        place = self._places.get(peer.name)
        alive = place is not None and place.incarnation == peer.incarnation and place.life in _LIVING
        return place if alive else None

    def _living(self) -> list[_Place]:
        """The tree's own processes."""
        return [place for place in self._places.values() if place.life in _LIVING and not place.is_guest]

    def _guests_up(self) -> list[_Place]:
        return [place for place in self._up() if place.is_guest]

    def _up(self) -> list[_Place]:
        return [place for place in self._places.values() if place.life in _ANNOUNCED]


def _why(verdict: str, text: str, status: Status | None) -> str:
    """What to say of an end. One that was retired and crashed on its way out has crashed."""
    if verdict == RETIRED and status != Exited(ExitCode.STOPPED):
        return text
    return verdict or text


def _up(place: _Place) -> PeerUp:
    return PeerUp(place.peer, place.seat.slot, place.seat.executes)


def seats_of(roles: Iterable[tuple[str, int, int, int, bool]]) -> list[Seat]:
    """Number the places of roles given as (name, count, most, first slot, executes): ``sip-1``, ``sip-2`` …

    Those beyond ``count`` are spare.
    """
    return [
        Seat(f"{name}-{index + 1}", name, first_slot + index, executes, index >= count)
        for name, count, most, first_slot, executes in roles
        for index in range(most)
    ]
