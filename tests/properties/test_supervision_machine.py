"""The supervisor against a world of processes that start, speak, die and are killed, in any order and late."""

from __future__ import annotations

from hypothesis import event, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from workers.jobs import Peer
from workers.supervision import RestartPolicy, Supervisor, seats_of
from workers.tree_events import (
    Admit,
    Announce,
    Begin,
    Condemned,
    Died,
    Dismiss,
    Drain,
    Draining,
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
    Signalled,
    Started,
    StopAsked,
    Stopped,
    Tick,
)

POLICY = RestartPolicy(
    backoff_s=1.0, backoff_max_s=4.0, lived_s=10.0, storm_deaths=4, storm_within_s=20.0, grace_s=2.0, join_s=5.0
)
DRAIN_S = 6.0
STATUSES = st.sampled_from([Exited(0), Exited(1), Exited(3), Exited(6), Signalled(9, "SIGKILL")])
GUEST_SLOTS = (5, 6)


class World(RuleBasedStateMachine):
    """Plays the shell and all processes, and keeps its own account of both."""

    def __init__(self) -> None:
        super().__init__()
        self.seats = seats_of([("sip", 2, 2, 0, False), ("worker", 2, 3, 2, True)])
        self.supervisor = Supervisor(self.seats, POLICY, DRAIN_S, GUEST_SLOTS)
        self.now = 100.0
        self.forking: list[Peer] = []
        self.alive: dict[Peer, str] = {}
        """Processes that exist: "starting" or "up"."""
        self.knows: dict[Peer, set[Peer]] = {}
        """What each living process has been told of the others."""
        self.told_to_drain: set[Peer] = set()
        self.condemned: set[Peer] = set()
        self.guests: dict[Peer, int] = {}
        """Guests that were let in and are not gone, and their slots; `alive` tells what they have said."""
        self.guests_ever: set[Peer] = set()
        self.visits: list[object] = []
        """What was answered to those who asked to join."""
        self.let_in_at: dict[Peer, float] = {}
        self.retiring: dict[Peer, float] = {}
        """Who was told to retire, and until when it may take."""
        self.verdicts: dict[Peer, str] = {}
        """Who was condemned while it was up."""
        self.cleared: set[Peer] = set()
        """Lives whose death was reported, so that their rows are cleared."""
        self.born: list[Peer] = []
        self.deaths: list[tuple[float, str]] = []
        self.quick: dict[str, int] = {}
        self.ready_at: dict[Peer, float] = {}
        self.killing = False
        """Whether everybody who is left is killed."""
        self.hurried = False
        """Asked to stop while it drained already."""
        self.drain_began: float | None = None
        self.asked_at = float("-inf")
        self.reason: ExitCode | None = None
        self.stopped: ExitCode | None = None

    # Effects.

    def tell(self, stimulus: object) -> None:
        assert self.stopped is None or not self.supervisor.handle(stimulus), "acts after its end"
        for effect in self.supervisor.handle(stimulus):
            self.perform(effect)
        self.supervisor.check()

    def perform(self, effect: object) -> None:
        match effect:
            case Fork(seat, peer):
                assert seat in self.seats
                assert peer.name == seat.name
                lives = [other for other in self.born if other.name == peer.name]
                assert [life.incarnation for life in lives] == list(range(1, peer.incarnation))
                assert all(life in self.cleared for life in lives), "forked before the dead one's rows were cleared"
                assert not any(peer.name == other.name for other in [*self.alive, *self.forking])
                assert self.drain_began is None, "starts somebody while it ends"
                self.born.append(peer)
                self.forking.append(peer)
            case Announce(to, PeerUp(peer, slot, executes)):
                assert self.alive[to] == self.alive[peer] == "up"
                assert to != peer
                assert peer not in self.knows[to]
                assert (slot, executes) == self.place_of(peer)
                self.knows[to].add(peer)
            case Announce(to, PeerDown(peer, reason)):
                assert peer in self.cleared, "PeerDown before the rows were cleared"
                assert reason
                self.knows[to].remove(peer)
            case Announce(to, Retire(ends_at)):
                assert ends_at == self.now + DRAIN_S
                assert self.drain_began is None
                self.retiring[to] = ends_at
            case Announce(to, Drain(ends_at)):
                assert ends_at == self.now + DRAIN_S
                assert to not in self.told_to_drain
                self.told_to_drain.add(to)
            case Kill(peer):
                assert peer not in self.guests
                assert peer in self.alive or peer in self.forking
                outstayed = self.now >= self.retiring.get(peer, float("inf"))
                assert self.killing or outstayed or peer in self.verdicts
                self.condemned.add(peer)
            case Admit(_, peer, slot):
                assert peer not in self.guests_ever, "a guest's name came twice"
                assert slot in GUEST_SLOTS
                assert slot not in self.guests.values()
                self.guests[peer] = slot
                self.guests_ever.add(peer)
                self.alive[peer] = "starting"
                self.let_in_at[peer] = self.now
                self.visits.append(effect)
            case Refuse():
                assert len(self.guests) == len(GUEST_SLOTS) or self.drain_began is not None
                self.visits.append(effect)
            case Dismiss(peer):
                event("dismissed")
                assert self.drain_began is not None or self.now >= self.let_in_at[peer] + POLICY.join_s
                self.forget_guest(peer)
            case Report(told):
                self.hear(told)

    def hear(self, told: object) -> None:
        match told:
            case Started(peer, _, pid):
                assert self.alive[peer] == "starting"
                assert pid > 0
            case Ready(peer, _):
                self.alive[peer] = "up"
                self.knows[peer] = set()
            case Died(peer, slot, _, reason):
                assert slot == self.place_of(peer)[0]
                assert peer not in self.cleared
                assert reason == self.verdicts.get(peer, reason)
                self.cleared.add(peer)
            case Retiring(peer):
                event("retiring")
                assert self.alive[peer] == "up"
            case Restarting(peer, _, after_s):
                event(f"restart after {after_s:g} s")
                assert after_s == self.expected_delay_s
                assert Peer(peer.name, peer.incarnation - 1) in self.cleared
            case GaveUp(code, _):
                event(f"gave up: {code.name}")
                assert code is self.expected_reason
                self.reason = code
            case Draining(within_s):
                assert within_s == DRAIN_S
                self.drain_began = self.now
            case Stopped(code):
                event(f"stopped: {code.name}")
                assert not self.own()
                assert not self.forking
                assert not self.guests
                assert code is (self.reason or (ExitCode.KILLED if self.hurried else ExitCode.STOPPED))
                self.stopped = code

    def place_of(self, peer: Peer) -> tuple[int, bool]:
        if peer.name.startswith("guest-"):
            return GUEST_SLOTS[int(peer.name.partition("-")[2]) - 1], False
        return next((seat.slot, seat.executes) for seat in self.seats if seat.name == peer.name)

    def own(self, *states: str) -> list[Peer]:
        """The tree's own living processes."""
        return [
            peer
            for peer, state in self.alive.items()
            if peer not in self.guests_ever and (not states or state in states)
        ]

    def forget_guest(self, peer: Peer) -> None:
        del self.alive[peer]
        del self.guests[peer]
        self.knows.pop(peer, None)

    # What the world does.

    @initialize(boots=st.sampled_from([True, True, True, False]))
    def begin(self, boots: bool) -> None:
        self.tell(Begin(self.now))
        assert self.forking == [Peer(seat.name, 1) for seat in self.seats if not seat.spare]
        while boots and self.forking:  # else most runs would end as boot failures
            self.start(self.forking[0])
            self.say_ready(self.born[len(self.alive) - 1])

    def start(self, peer: Peer) -> None:
        self.forking.remove(peer)
        self.alive[peer] = "starting"
        self.tell(Forked(peer, 1000 + len(self.born), self.now))

    def say_ready(self, peer: Peer) -> None:
        self.ready_at[peer] = self.now
        self.tell(SaidReady(peer, self.now))
        assert self.alive[peer] == "up"

    @precondition(lambda self: self.forking)
    @rule(data=st.data())
    def fork(self, data: st.DataObject) -> None:
        self.start(data.draw(st.sampled_from(self.forking)))

    @precondition(lambda self: any(self.is_later(peer) for peer in self.forking))
    @rule()
    def fork_fails(self) -> None:
        peer = next(peer for peer in self.forking if self.is_later(peer))
        self.forking.remove(peer)
        self.expect_after(peer, None)
        self.tell(ForkFailed(peer, "no memory", self.now))

    def is_later(self, peer: Peer) -> bool:
        """Whether this life is none of those with which the tree begins."""
        return peer.incarnation > 1 or next(seat.spare for seat in self.seats if seat.name == peer.name)

    @precondition(lambda self: "starting" in self.alive.values())
    @rule(data=st.data())
    def get_ready(self, data: st.DataObject) -> None:
        self.say_ready(data.draw(st.sampled_from([peer for peer, state in self.alive.items() if state == "starting"])))

    @precondition(lambda self: self.own("up"))
    @rule(data=st.data(), status=STATUSES)
    def die_when_up(self, data: st.DataObject, status: Exited | Signalled) -> None:
        self.die(data.draw(st.sampled_from(self.own("up"))), status)

    @precondition(lambda self: self.own("starting"))
    @rule(data=st.data(), status=STATUSES)
    def die_before_ready(self, data: st.DataObject, status: Exited | Signalled) -> None:
        self.die(data.draw(st.sampled_from(self.own("starting"))), status)

    @precondition(lambda self: self.born)
    @rule()
    def grow(self) -> None:
        born = len(self.born)
        self.tell(GrowAsked("worker", self.now))
        assert len(self.born) - born <= 1
        assert len(self.born) == born or self.drain_began is None

    @precondition(lambda self: self.own("up"))
    @rule(data=st.data())
    def retire(self, data: st.DataObject) -> None:
        peer = data.draw(st.sampled_from(self.own("up")))
        before = dict(self.retiring)
        self.tell(RetireAsked(peer, self.now))
        spare = next(seat.spare for seat in self.seats if seat.name == peer.name)
        assert (peer in self.retiring) == (peer in before or (spare and self.drain_began is None))

    @precondition(lambda self: self.retiring)
    @rule(data=st.data(), status=STATUSES)
    def the_retired_leave(self, data: st.DataObject, status: Exited | Signalled) -> None:
        leaving = [peer for peer in self.retiring if peer in self.alive]
        if leaving:
            self.die(data.draw(st.sampled_from(leaving)), status)

    @precondition(lambda self: self.own("up"))
    @rule(data=st.data())
    def condemn(self, data: st.DataObject) -> None:
        peer = data.draw(st.sampled_from(self.own("up")))
        self.verdicts[peer] = "too fat"
        self.tell(Condemned(peer, "too fat", self.now))
        assert peer in self.condemned

    # Guests.

    @precondition(lambda self: self.born and self.stopped is None)
    @rule()
    def somebody_knocks(self) -> None:
        ticket = len(self.visits)
        self.tell(GuestCame(ticket, 4000 + ticket, self.now))
        assert [visit.ticket for visit in self.visits] == list(range(ticket + 1))

    @precondition(lambda self: self.guests)
    @rule(data=st.data())
    def a_guest_leaves(self, data: st.DataObject) -> None:
        peer = data.draw(st.sampled_from(sorted(self.guests)))
        self.forget_guest(peer)
        self.tell(GuestLeft(peer, "it left", self.now))
        assert peer in self.cleared

    @precondition(lambda self: self.condemned)
    @rule()
    def the_killed_die(self) -> None:
        for peer in [peer for peer in self.own() if peer in self.condemned]:
            self.die(peer, Signalled(9, "SIGKILL"))

    def die(self, peer: Peer, status: Exited | Signalled) -> None:
        self.expect_after(peer, status)
        del self.alive[peer]
        self.knows.pop(peer, None)
        self.tell(Ended(peer, status, self.now))
        assert peer in self.cleared

    def expect_after(self, peer: Peer, status: Exited | Signalled | None) -> None:
        """Work out, from the rules as they are written, what has to follow a death."""
        was_up = self.alive.get(peer) == "up"
        if was_up and self.now - self.ready_at[peer] >= POLICY.lived_s:
            self.quick[peer.name] = 0
        role = peer.name.partition("-")[0]
        self.expected_reason, self.expected_delay_s = None, None
        if self.drain_began is not None or peer in self.retiring:
            return
        if was_up and (peer in self.verdicts or status == Exited(6)):
            event("planned end")
            self.expected_delay_s = 0.0
            return
        if not was_up and (not self.is_later(peer) or status == Exited(3)):
            self.expected_reason = ExitCode.BOOT_FAILED
            return
        self.deaths.append((self.now, role))
        recent = [at for at, whose in self.deaths if whose == role and at > self.now - POLICY.storm_within_s]
        if len(recent) > POLICY.storm_deaths:
            self.expected_reason = ExitCode.CRASH_STORM
            return
        quick = self.quick.get(peer.name, 0)
        self.expected_delay_s = min(2.0 ** (quick - 1), 4.0) if quick else 0.0
        self.quick[peer.name] = quick + 1

    @rule(seconds=st.sampled_from([0.25, 1.0, 3.0, 12.0, 25.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        if self.drain_began is not None and self.now >= self.drain_began + DRAIN_S + POLICY.grace_s:
            self.killing = True
        self.tell(Tick(self.now))
        deadline = self.supervisor.next_deadline()
        assert deadline is None or deadline > self.now, "left undone what was due"

    @precondition(lambda self: len(self.born) > 7)
    @rule()
    def be_asked_to_stop(self) -> None:
        is_echo = self.now < self.asked_at + 0.05
        self.asked_at = self.now
        if self.drain_began is not None and not self.killing and not is_echo:
            self.hurried = self.killing = True
        self.tell(StopAsked(self.now))

    @precondition(lambda self: self.cleared)
    @rule(data=st.data(), status=STATUSES)
    def late_words(self, data: st.DataObject, status: Exited | Signalled) -> None:
        peer = data.draw(st.sampled_from(sorted(self.cleared)))
        for stimulus in (
            SaidReady(peer, self.now),
            Ended(peer, status, self.now),
            Forked(peer, 7, self.now),
            RetireAsked(peer, self.now),
            Condemned(peer, "late", self.now),
            GuestLeft(peer, "late", self.now),
            ForkFailed(peer, "late", self.now),
            SaidReady(Peer(peer.name, peer.incarnation + 1000), self.now),
        ):
            assert self.supervisor.handle(stimulus) == []

    # What always holds.

    @invariant()
    def who_is_up_knows_all_others_that_are(self) -> None:
        up = {peer for peer, state in self.alive.items() if state == "up"}
        assert all(self.knows[peer] == up - {peer} for peer in up)

    @invariant()
    def everybody_alive_is_told_to_drain(self) -> None:
        if self.drain_began is not None:
            assert set(self.alive) <= self.told_to_drain

    @invariant()
    def nobody_is_forgotten(self) -> None:
        if self.born and self.drain_began is None:
            here = {peer.name for peer in [*self.own(), *self.forking]}
            waiting = {view.seat.name for view in self.supervisor.views() if view.life.value == "waiting"}
            assert here | waiting >= {seat.name for seat in self.seats if not seat.spare}
            assert not here & waiting
            assert not waiting or self.supervisor.next_deadline() is not None

    def teardown(self) -> None:
        """Whatever happened, the tree can be brought to its end."""
        if not self.born or self.stopped is not None:
            return
        for _ in range(2):
            self.now += 0.1  # else the second would be an echo of the first
            self.be_asked_to_stop()
        while self.forking:
            self.start(self.forking[0])
        for peer in self.own():
            assert peer in self.condemned
            self.die(peer, Signalled(9, "SIGKILL"))
        assert self.stopped is not None
        assert self.supervisor.exit_code is self.stopped


TestWorld = World.TestCase
TestWorld.settings = settings(max_examples=150, stateful_step_count=50, deadline=None)
