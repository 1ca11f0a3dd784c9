"""The supervisor against a world of processes that start, speak, die and are killed, in any order and late."""

from __future__ import annotations

from hypothesis import event, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from workers.jobs import Peer
from workers.supervision import RestartPolicy, Supervisor, seats_of
from workers.tree_events import (
    Announce,
    Begin,
    Died,
    Drain,
    Draining,
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
    Signalled,
    Started,
    StopAsked,
    Stopped,
    Tick,
)

POLICY = RestartPolicy(backoff_s=1.0, backoff_max_s=4.0, lived_s=10.0, storm_deaths=4, storm_within_s=20.0, grace_s=2.0)
DRAIN_S = 6.0
STATUSES = st.sampled_from([Exited(0), Exited(1), Exited(3), Signalled(9, "SIGKILL")])


class World(RuleBasedStateMachine):
    """Plays the shell and all processes, and keeps its own account of both."""

    def __init__(self) -> None:
        super().__init__()
        self.seats = seats_of([("sip", 2, 0, False), ("worker", 2, 2, True)])
        self.supervisor = Supervisor(self.seats, POLICY, DRAIN_S)
        self.now = 100.0
        self.forking: list[Peer] = []
        self.alive: dict[Peer, str] = {}
        """Processes that exist: "starting" or "up"."""
        self.knows: dict[Peer, set[Peer]] = {}
        """What each living process has been told of the others."""
        self.told_to_drain: set[Peer] = set()
        self.condemned: set[Peer] = set()
        self.cleared: set[Peer] = set()
        """Lives whose death was reported, so that their rows are cleared."""
        self.born: list[Peer] = []
        self.deaths: list[tuple[float, str]] = []
        self.quick: dict[str, int] = {}
        self.ready_at: dict[Peer, float] = {}
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
                assert not any(peer.name in other.name for other in [*self.alive, *self.forking])
                assert self.drain_began is None, "starts somebody while it ends"
                self.born.append(peer)
                self.forking.append(peer)
            case Announce(to, PeerUp(peer, slot, executes)):
                assert self.alive[to] == self.alive[peer] == "up"
                assert to != peer
                assert peer not in self.knows[to]
                assert (slot, executes) == next((s.slot, s.executes) for s in self.seats if s.name == peer.name)
                self.knows[to].add(peer)
            case Announce(to, PeerDown(peer)):
                assert peer in self.cleared, "PeerDown before the rows were cleared"
                self.knows[to].remove(peer)
            case Announce(to, Drain(ends_at)):
                assert ends_at == self.now + DRAIN_S
                assert to not in self.told_to_drain
                self.told_to_drain.add(to)
            case Kill(peer):
                assert peer in self.alive or peer in self.forking
                assert self.hurried or self.now >= self.drain_began + DRAIN_S + POLICY.grace_s
                self.condemned.add(peer)
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
            case Died(peer, slot, _, _):
                assert slot == next(seat.slot for seat in self.seats if seat.name == peer.name)
                assert peer not in self.cleared
                self.cleared.add(peer)
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
                assert not self.alive
                assert not self.forking
                assert code is (self.reason or (ExitCode.KILLED if self.hurried else ExitCode.STOPPED))
                self.stopped = code

    # What the world does.

    @initialize(boots=st.sampled_from([True, True, True, False]))
    def begin(self, boots: bool) -> None:
        self.tell(Begin(self.now))
        assert self.forking == [Peer(seat.name, 1) for seat in self.seats]
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

    @precondition(lambda self: self.forking and max(peer.incarnation for peer in self.forking) > 1)
    @rule()
    def fork_fails(self) -> None:
        peer = next(peer for peer in self.forking if peer.incarnation > 1)
        self.forking.remove(peer)
        self.expect_after(peer, None)
        self.tell(ForkFailed(peer, "no memory", self.now))

    @precondition(lambda self: "starting" in self.alive.values())
    @rule(data=st.data())
    def get_ready(self, data: st.DataObject) -> None:
        self.say_ready(data.draw(st.sampled_from([peer for peer, state in self.alive.items() if state == "starting"])))

    @precondition(lambda self: "up" in self.alive.values())
    @rule(data=st.data(), status=STATUSES)
    def die_when_up(self, data: st.DataObject, status: Exited | Signalled) -> None:
        self.die(data.draw(st.sampled_from([peer for peer, state in self.alive.items() if state == "up"])), status)

    @precondition(lambda self: "starting" in self.alive.values())
    @rule(data=st.data(), status=STATUSES)
    def die_before_ready(self, data: st.DataObject, status: Exited | Signalled) -> None:
        starting = [peer for peer, state in self.alive.items() if state == "starting"]
        self.die(data.draw(st.sampled_from(starting)), status)

    @precondition(lambda self: self.condemned)
    @rule()
    def the_killed_die(self) -> None:
        for peer in [peer for peer in self.alive if peer in self.condemned]:
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
        role = peer.name.partition("-")[0]
        self.expected_reason, self.expected_delay_s = None, None
        if self.drain_began is not None:
            return
        if not was_up and (peer.incarnation == 1 or status == Exited(3)):
            self.expected_reason = ExitCode.BOOT_FAILED
            return
        self.deaths.append((self.now, role))
        recent = [at for at, whose in self.deaths if whose == role and at > self.now - POLICY.storm_within_s]
        if len(recent) > POLICY.storm_deaths:
            self.expected_reason = ExitCode.CRASH_STORM
            return
        if was_up and self.now - self.ready_at[peer] >= POLICY.lived_s:
            self.quick[peer.name] = 0
        quick = self.quick.get(peer.name, 0)
        self.expected_delay_s = min(2.0 ** (quick - 1), 4.0) if quick else 0.0
        self.quick[peer.name] = quick + 1

    @rule(seconds=st.sampled_from([0.25, 1.0, 3.0, 12.0, 25.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        self.tell(Tick(self.now))
        deadline = self.supervisor.next_deadline()
        assert deadline is None or deadline > self.now, "left undone what was due"

    @precondition(lambda self: len(self.born) > 7)
    @rule()
    def be_asked_to_stop(self) -> None:
        is_echo = self.now < self.asked_at + 0.05
        self.asked_at = self.now
        self.hurried = self.hurried or (self.drain_began is not None and not self.condemned and not is_echo)
        self.tell(StopAsked(self.now))

    @precondition(lambda self: self.cleared)
    @rule(data=st.data(), status=STATUSES)
    def late_words(self, data: st.DataObject, status: Exited | Signalled) -> None:
        peer = data.draw(st.sampled_from(sorted(self.cleared)))
        for stimulus in (
            SaidReady(peer, self.now),
            Ended(peer, status, self.now),
            Forked(peer, 7, self.now),
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
            here = {peer.name for peer in [*self.alive, *self.forking]}
            waiting = {view.seat.name for view in self.supervisor.views() if view.life.value == "waiting"}
            assert here | waiting == {seat.name for seat in self.seats}
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
        for peer in list(self.alive):
            assert peer in self.condemned
            self.die(peer, Signalled(9, "SIGKILL"))
        assert self.stopped is not None
        assert self.supervisor.exit_code is self.stopped


TestWorld = World.TestCase
TestWorld.settings = settings(max_examples=150, stateful_step_count=50, deadline=None)
