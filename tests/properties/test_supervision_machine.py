"""The supervisor against a world of processes that start, speak, die and are killed, in any order and late.

The limits are such that time, which passes in quarters of a second, often meets them exactly.
"""

from __future__ import annotations

from hypothesis import event, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from msgspec.structs import replace

from workers.jobs import Peer
from workers.supervision import Phase, RestartPolicy, SeatView, Supervisor, seats_of
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
    Seat,
    Signalled,
    Started,
    StopAsked,
    Stopped,
    Tick,
)

POLICY = RestartPolicy(
    backoff_s=1.0,
    backoff_max_s=4.0,
    lived_s=4.0,
    storm_within_s=12.0,
    same_request_s=0.25,
    grace_s=1.0,
    join_s=4.0,
)
DRAIN_S = 3.0
STATUSES = st.sampled_from([Exited(0), Exited(1), Exited(3), Exited(6), Signalled(9, "SIGKILL")])
WORDS = st.sampled_from(["", "", "it served its 10 jobs", "x" * 200 + "and what nobody else is told"])
GUEST_SLOTS = (6, 7)


class World(RuleBasedStateMachine):
    """Plays the shell and all processes, and keeps its own account of both."""

    def __init__(self) -> None:
        super().__init__()
        self.seats = seats_of([("sip", 2, 2, 0, False), ("worker", 2, 4, 2, True)])
        self.now = 100.0
        self.forking: list[Peer] = []
        self.alive: dict[Peer, str] = {}
        """Processes that exist: "starting" or "up"."""
        self.pids: dict[Peer, int] = {}
        self.knows: dict[Peer, set[Peer]] = {}
        """What each living process has been told of the others."""
        self.told_to_drain: set[Peer] = set()
        self.condemned: set[Peer] = set()
        self.guests: dict[Peer, int] = {}
        """Guests that were let in and are not gone, and their slots; `alive` tells what they have said."""
        self.guests_ever: list[Peer] = []
        self.visits: list[object] = []
        """What was answered to those who asked to join."""
        self.let_in_at: dict[Peer, float] = {}
        self.retiring: dict[Peer, float] = {}
        """Who was told to retire, and until when it may take."""
        self.outstayed: set[Peer] = set()
        """Who did not leave by then, and was killed."""
        self.verdicts: dict[Peer, str] = {}
        """Who was condemned while it was up."""
        self.why: dict[Peer, str] = {}
        """What has to be told of an end that is just coming."""
        self.cleared: dict[Peer, str] = {}
        """Lives whose death was reported, so that their rows are cleared, and why they ended."""
        self.due: dict[str, float] = {}
        """When the next life of a place is to begin."""
        self.born: list[Peer] = []
        self.deaths: list[tuple[float, str]] = []
        self.quick: dict[str, int] = {}
        self.ready_at: dict[Peer, float] = {}
        self.killing = False
        """Whether everybody who is left is killed."""
        self.hurried = False
        """Asked to stop while it drained already."""
        self.drain_ends: float | None = None
        self.drain_s = DRAIN_S
        """How long the drain may take that would begin now."""
        self.asked_at = float("-inf")
        self.expected_end: tuple[ExitCode, str] | None = None
        self.reason: ExitCode | None = None
        self.stopped: ExitCode | None = None

    @property
    def draining(self) -> bool:
        return self.drain_ends is not None

    # Effects.

    def tell(self, stimulus: object) -> None:
        assert self.stopped is None or not self.supervisor.handle(stimulus), "acts after its end"
        for effect in self.supervisor.handle(stimulus):
            self.perform(effect)
        self.supervisor.check()
        assert not self.why, "an end that nobody was told of"

    def perform(self, effect: object) -> None:
        match effect:
            case Fork(seat, peer):
                assert seat in self.seats
                assert peer.name == seat.name
                lives = [other for other in self.born if other.name == peer.name]
                assert [life.incarnation for life in lives] == list(range(1, peer.incarnation))
                assert all(life in self.cleared for life in lives), "forked before the dead one's rows were cleared"
                assert not any(peer.name == other.name for other in [*self.alive, *self.forking])
                assert not self.draining, "starts somebody while it ends"
                assert self.due.pop(peer.name, self.now) <= self.now, "too soon"
                self.born.append(peer)
                self.forking.append(peer)
            case Announce(to, PeerUp(peer, slot, executes)):
                assert self.alive[to] == self.alive[peer] == "up"
                assert to != peer
                assert peer not in self.knows[to]
                assert (slot, executes) == self.place_of(peer)
                self.knows[to].add(peer)
            case Announce(to, PeerDown(peer, reason)):
                assert reason == self.cleared[peer][:200], "before the rows were cleared, or for another reason"
                self.knows[to].remove(peer)
            case Announce(to, Retire(ends_at)):
                assert ends_at == self.now + DRAIN_S
                assert not self.draining
                self.retiring[to] = ends_at
            case Announce(to, Drain(ends_at)):
                assert ends_at == self.drain_ends
                assert to not in self.told_to_drain
                self.told_to_drain.add(to)
            case Kill(peer):
                assert peer not in self.guests
                assert peer in self.alive or peer in self.forking
                if self.now >= self.retiring.get(peer, float("inf")):
                    self.outstayed.add(peer)
                else:
                    assert self.killing or peer in self.verdicts
                self.condemned.add(peer)
            case Admit(ticket, peer, slot):
                assert peer not in self.guests_ever, "a guest's name came twice"
                assert slot == self.place_of(peer)[0]
                assert slot not in self.guests.values()
                self.guests[peer] = slot
                self.guests_ever.append(peer)
                self.alive[peer], self.pids[peer] = "starting", 4000 + ticket
                self.let_in_at[peer] = self.now
                self.visits.append(effect)
            case Refuse(_, reason):
                assert len(self.guests) == len(GUEST_SLOTS) or self.draining
                full = f"the pool is full: {len(GUEST_SLOTS)} guests are the most"
                assert reason == ("the pool is shutting down" if self.draining else full)
                self.visits.append(effect)
            case Dismiss(peer):
                self.dismiss(peer)
            case Report(told):
                self.hear(told)
            case _:
                raise AssertionError(effect)

    def dismiss(self, peer: Peer) -> None:
        if self.alive[peer] == "up":
            assert self.draining
            assert not self.own()
            assert not self.forking
            self.why[peer] = "the pool has ended"
        elif self.draining:
            self.why[peer] = "the pool is shutting down"
        else:
            assert self.now >= self.let_in_at[peer] + POLICY.join_s
            self.why[peer] = "it did not say ready in time"
        event("dismissed: " + self.why[peer])
        self.forget_guest(peer)

    def hear(self, told: object) -> None:
        match told:
            case Started(peer, slot, pid):
                assert self.alive[peer] == "starting"
                assert (slot, pid) == (self.place_of(peer)[0], self.pids[peer])
            case Ready(peer, slot):
                assert slot == self.place_of(peer)[0]
                self.alive[peer] = "up"
                self.knows[peer] = set()
            case Died(peer, slot, pid, reason):
                assert (slot, pid) == (self.place_of(peer)[0], self.pids.get(peer, 0))
                assert peer not in self.cleared
                assert reason == self.why.pop(peer)
                self.cleared[peer] = reason
            case Retiring(peer, slot):
                event("retiring")
                assert slot == self.place_of(peer)[0]
                assert self.alive[peer] == "up"
            case Restarting(peer, slot, after_s):
                event(f"restart after {after_s:g} s")
                assert slot == self.place_of(peer)[0]
                assert after_s == self.expected_delay_s
                assert Peer(peer.name, peer.incarnation - 1) in self.cleared
                self.due[peer.name] = self.now + after_s
            case GaveUp(code, reason):
                event(f"gave up: {code.name}")
                assert (code, reason) == self.expected_end
                self.reason, self.drain_s = code, DRAIN_S
            case Draining(within_s):
                assert within_s == self.drain_s
                self.drain_ends = self.now + within_s
                self.due.clear()
            case Stopped(code):
                event(f"stopped: {code.name}")
                assert not self.own()
                assert not self.forking
                assert not self.guests
                assert code is (self.reason or (ExitCode.KILLED if self.hurried else ExitCode.STOPPED))
                self.stopped = code
            case _:
                raise AssertionError(told)

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

    @initialize(
        boots=st.sampled_from([True, True, True, False]),
        grown=st.integers(0, 2),
        storm=st.sampled_from([2, 4]),
        boot_failure_ends=st.booleans(),
    )
    def begin(self, boots: bool, grown: int, storm: int, boot_failure_ends: bool) -> None:
        self.policy = replace(POLICY, storm_deaths=storm, boot_failure_ends=boot_failure_ends)
        self.supervisor = Supervisor(self.seats, self.policy, DRAIN_S, GUEST_SLOTS)
        assert (self.supervisor.phase, self.supervisor.next_deadline()) == (Phase.NEW, None)
        self.tell(Begin(self.now))
        assert self.forking == [Peer(seat.name, 1) for seat in self.seats if not seat.spare]
        self.tell(Begin(self.now))
        assert len(self.forking) == 4, "it begins once"
        while boots and self.forking:  # else most runs would end as boot failures
            self.start(self.forking[0])
            self.say_ready(self.born[len(self.alive) - 1])
        for _ in range(grown if boots else 0):
            self.grow("worker")
            self.start(self.forking[0])
            self.say_ready(self.born[-1])

    def start(self, peer: Peer) -> None:
        self.forking.remove(peer)
        self.alive[peer], self.pids[peer] = "starting", len(self.pids) + 1
        self.tell(Forked(peer, self.pids[peer], self.now))

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
        self.why[peer] = "the fork failed: no memory"
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
    @rule(data=st.data(), status=STATUSES, words=WORDS)
    def die_when_up(self, data: st.DataObject, status: Exited | Signalled, words: str) -> None:
        self.die(data.draw(st.sampled_from(self.own("up"))), status, words)

    @precondition(lambda self: self.own("up"))
    @rule(data=st.data(), seconds=st.sampled_from([1.0, 4.0, 12.0]), quick_deaths=st.integers(0, 2))
    def live_so_long_and_die(self, data: st.DataObject, seconds: float, quick_deaths: int) -> None:
        name = data.draw(st.sampled_from(self.own("up"))).name
        for lived_s in [0.0] * quick_deaths + [seconds]:
            for peer in [peer for peer in self.forking if peer.name == name]:
                self.start(peer)
                self.say_ready(peer)
            if lived_s:
                self.time_passes(lived_s)
            for peer in [peer for peer in self.own("up") if peer.name == name]:
                self.die(peer, Exited(1))

    @precondition(lambda self: self.own("starting"))
    @rule(data=st.data(), status=STATUSES, words=WORDS)
    def die_before_ready(self, data: st.DataObject, status: Exited | Signalled, words: str) -> None:
        self.die(data.draw(st.sampled_from(self.own("starting"))), status, words)

    @precondition(lambda self: self.born)
    @rule(role=st.sampled_from(["worker", "worker", "sip", "guest", "nobody"]))
    def grow(self, role: str) -> None:
        vacant = [seat for seat in self.seats if seat.role == role and seat.spare and self.life_of(seat) == "vacant"]
        lives = {seat.name: sum(peer.name == seat.name for peer in self.born) for seat in self.seats}
        born = list(self.born)
        self.tell(GrowAsked(role, self.now))
        grown = [Peer(seat.name, lives[seat.name] + 1) for seat in vacant[:1]]
        assert self.born == born + ([] if self.draining else grown)

    @precondition(lambda self: self.alive)
    @rule(data=st.data())
    def retire(self, data: st.DataObject) -> None:
        peer = data.draw(st.sampled_from(list(self.alive)))
        before = dict(self.retiring)
        self.tell(RetireAsked(peer, self.now))
        spare = any(seat.spare for seat in self.seats if seat.name == peer.name)
        may = spare and self.alive[peer] == "up" and not self.draining
        assert (peer in self.retiring) == (peer in before or may)
        assert peer not in before or self.retiring == before, "told twice"

    @precondition(lambda self: self.retiring)
    @rule(data=st.data(), status=STATUSES)
    def the_retired_leave(self, data: st.DataObject, status: Exited | Signalled) -> None:
        leaving = [peer for peer in self.retiring if peer in self.alive]
        if leaving:
            self.die(data.draw(st.sampled_from(leaving)), status)

    @precondition(lambda self: self.alive)
    @rule(data=st.data(), reason=st.sampled_from(["too fat", "too fat", ""]))
    def condemn(self, data: st.DataObject, reason: str) -> None:
        peer = data.draw(st.sampled_from(list(self.alive)))
        may = peer in self.own("up")
        if may:
            self.verdicts[peer] = reason or "condemned"
        before = set(self.condemned)
        self.condemned.discard(peer)
        self.tell(Condemned(peer, reason, self.now))
        assert (peer in self.condemned) == may
        self.condemned |= before

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
        self.why[peer] = "it left"
        self.tell(GuestLeft(peer, "it left", self.now))
        assert peer in self.cleared

    @precondition(lambda self: self.condemned)
    @rule()
    def the_killed_die(self) -> None:
        for peer in [peer for peer in self.own() if peer in self.condemned]:
            self.die(peer, Signalled(9, "SIGKILL"))

    def die(self, peer: Peer, status: Exited | Signalled, words: str = "") -> None:
        self.expect_after(peer, status, words)
        del self.alive[peer]
        self.knows.pop(peer, None)
        self.tell(Ended(peer, status, self.now, words))
        assert peer in self.cleared

    def expect_after(self, peer: Peer, status: Exited | Signalled | None, words: str = "") -> None:
        """Work out, from the rules as they are written, what has to follow a death."""
        was_up = self.alive.get(peer) == "up"
        text = self.why.get(peer) or words or str(status)
        retired = peer in self.retiring and status == Exited(0)
        self.why[peer] = self.verdicts.get(peer) or ("retired" if retired else text)
        if was_up and self.now - self.ready_at[peer] >= POLICY.lived_s:
            self.quick[peer.name] = 0
        role = peer.name.partition("-")[0]
        self.expected_end, self.expected_delay_s = None, None
        if self.draining or peer in self.retiring:
            return
        if was_up and (peer in self.verdicts or status == Exited(6)):
            event("planned end")
            self.expected_delay_s = 0.0
            return
        could_not_start = not was_up and status == Exited(3)
        if not was_up and (not self.is_later(peer) or (could_not_start and self.policy.boot_failure_ends)):
            self.expected_end = ExitCode.BOOT_FAILED, f"{peer.name}.{peer.incarnation} could not start: {text}"
            return
        others_work = any(other != peer and other.name.startswith(role) for other in self.own("up"))
        if could_not_start and others_work:
            event("a boot failure that is borne")
        elif self.is_storm(role):
            many = f"more than {self.policy.storm_deaths} deaths of {role} in 12 s"
            self.expected_end = ExitCode.CRASH_STORM, f"{many}; the last: {text}"
            return
        quick = self.quick.get(peer.name, 0)
        self.expected_delay_s = min(2.0 ** (quick - 1), 4.0) if quick else 0.0
        self.quick[peer.name] = quick + 1

    def is_storm(self, role: str) -> bool:
        self.deaths.append((self.now, role))
        recent = [at for at, whose in self.deaths if whose == role and at > self.now - POLICY.storm_within_s]
        return len(recent) > self.policy.storm_deaths

    @rule(seconds=st.sampled_from([0.25, 1.0, 3.0, 4.0, 12.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        if self.drain_ends is not None and self.now >= self.drain_ends + POLICY.grace_s:
            self.killing = True
        self.tell(Tick(self.now))

    @precondition(lambda self: len(self.born) > 5)
    @rule(within_s=st.sampled_from([None, None, 0.25, 12.0]))
    def be_asked_to_stop(self, within_s: float | None) -> None:
        is_echo = self.now < self.asked_at + POLICY.same_request_s
        self.asked_at = self.now
        if self.draining and not self.killing and not is_echo:
            self.hurried = self.killing = True
        self.drain_s = DRAIN_S if within_s is None else within_s
        self.tell(StopAsked(self.now, within_s))

    @precondition(lambda self: self.cleared)
    @rule(data=st.data(), status=STATUSES)
    def late_words(self, data: st.DataObject, status: Exited | Signalled) -> None:
        gone = data.draw(st.sampled_from(sorted(self.cleared)))
        for peer in (gone, Peer(gone.name, gone.incarnation + 1000), Peer("nobody", 1)):
            self.say_nothing_to(
                SaidReady(peer, self.now),
                Ended(peer, status, self.now),
                Forked(peer, 7, self.now),
                RetireAsked(peer, self.now),
                Condemned(peer, "late", self.now),
                GuestLeft(peer, "late", self.now),
                ForkFailed(peer, "late", self.now),
            )

    @precondition(lambda self: self.alive)
    @rule(data=st.data())
    def words_that_come_twice_or_are_not_of_such_a_process(self, data: st.DataObject) -> None:
        peer = data.draw(st.sampled_from(list(self.alive)))
        self.say_nothing_to(Forked(peer, 7, self.now))
        if self.alive[peer] == "up":
            self.say_nothing_to(SaidReady(peer, self.now))
        if peer in self.guests:
            self.say_nothing_to(Ended(peer, Exited(0), self.now), ForkFailed(peer, "no", self.now))
        else:
            self.say_nothing_to(GuestLeft(peer, "it left", self.now))

    def say_nothing_to(self, *stimuli: object) -> None:
        for stimulus in stimuli:
            assert self.supervisor.handle(stimulus) == []
        self.supervisor.check()

    # What always holds.

    @invariant()
    def who_is_up_knows_all_others_that_are(self) -> None:
        up = {peer for peer, state in self.alive.items() if state == "up"}
        assert all(self.knows[peer] == up - {peer} for peer in up)

    @invariant()
    def everybody_alive_is_told_to_drain(self) -> None:
        if self.draining:
            assert set(self.alive) | set(self.forking) <= self.told_to_drain

    @invariant()
    def nobody_is_forgotten(self) -> None:
        if self.born and not self.draining:
            here = {peer.name for peer in [*self.own(), *self.forking]}
            assert here | set(self.due) >= {seat.name for seat in self.seats if not seat.spare}
            assert not here & set(self.due)

    @invariant()
    def what_is_shown_is_true(self) -> None:
        guests = [Seat(f"guest-{number}", "guest", slot, False) for number, slot in enumerate(GUEST_SLOTS, start=1)]
        lives = [peer.name for peer in [*self.born, *self.guests_ever]]
        views = [(seat, Peer(seat.name, lives.count(seat.name)), self.life_of(seat)) for seat in [*self.seats, *guests]]
        assert [(view.seat, view.peer, view.life.value) for view in self.supervisor.views()] == views
        assert all(isinstance(view, SeatView) for view in self.supervisor.views())
        assert self.supervisor.phase.value == (
            "done"
            if self.stopped is not None
            else "killing"
            if self.killing
            else "draining"
            if self.draining
            else "running"
        )
        assert self.supervisor.exit_code is self.stopped

    def life_of(self, seat: Seat) -> str:
        if any(peer.name == seat.name for peer in self.forking):
            return "forking"
        for peer, state in self.alive.items():
            if peer.name == seat.name:
                return "leaving" if peer in self.retiring else state
        return "waiting" if seat.name in self.due else "vacant"

    @invariant()
    def it_knows_when_it_has_something_to_do(self) -> None:
        if self.stopped is not None or self.killing:
            moments = []
        elif self.drain_ends is not None:
            moments = [self.drain_ends + POLICY.grace_s]
        else:
            leave = [at for peer, at in self.retiring.items() if peer in self.alive and peer not in self.outstayed]
            joins = [self.let_in_at[peer] + POLICY.join_s for peer in self.guests if self.alive[peer] == "starting"]
            moments = [*self.due.values(), *leave, *joins]
        assert self.supervisor.next_deadline() == min(moments, default=None)
        assert all(moment > self.now for moment in moments), "left undone what was due"

    def teardown(self) -> None:
        """Whatever happened, the tree can be brought to its end."""
        if not self.born or self.stopped is not None or self.why:
            return
        for _ in range(2):
            self.now += 1.0  # else the second would be an echo of the first
            self.be_asked_to_stop(None)
        while self.forking:
            self.start(self.forking[0])
        for peer in self.own():
            assert peer in self.condemned
            self.die(peer, Signalled(9, "SIGKILL"))
        assert self.stopped is not None
        assert self.supervisor.exit_code is self.stopped


TestWorld = World.TestCase
TestWorld.settings = settings(max_examples=400, stateful_step_count=50, deadline=None)
