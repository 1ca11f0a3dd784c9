"""What the attendant decides: who is restarted and when, and what ends the whole tree."""

from __future__ import annotations

import pytest

from workers.control import (
    MAX_BACKLOG_BYTES,
    MAX_FRAME_BYTES,
    AttendantGone,
    LastWords,
    ReadySaid,
    Tell,
    TooLong,
    decode,
    encode,
    pair,
)
from workers.jobs import Peer
from workers.supervision import Life, Phase, RestartPolicy, Supervisor, seats_of
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

SIP_1, SIP_2, WORKER_1 = (
    Seat("sip-1", "sip", 0, False),
    Seat("sip-2", "sip", 1, False),
    Seat("worker-1", "worker", 2, True),
)
KILLED = Signalled(9, "SIGKILL")
PIDS = {"sip-1": 101, "sip-2": 102, "worker-1": 103}


def peer(name: str, incarnation: int = 1) -> Peer:
    return Peer(name, incarnation)


def up_one(supervisor: Supervisor, who: Peer, now: float) -> None:
    supervisor.handle(Forked(who, PIDS[who.name], now))
    supervisor.handle(SaidReady(who, now))
    supervisor.check()


def running(policy: RestartPolicy | None = None, drain_s: float = 5.0) -> Supervisor:
    """Two SIP processes and a worker, all up at 0."""
    supervisor = Supervisor([SIP_1, SIP_2, WORKER_1], policy or RestartPolicy(), drain_s)
    supervisor.handle(Begin(0.0))
    for name in PIDS:
        up_one(supervisor, peer(name), 0.0)
    return supervisor


def lives(supervisor: Supervisor) -> dict[str, tuple[int, Life]]:
    return {view.seat.name: (view.peer.incarnation, view.life) for view in supervisor.views()}


def test_everybody_is_forked_in_order():
    supervisor = Supervisor([SIP_1, SIP_2, WORKER_1], RestartPolicy(), 5.0)
    assert (supervisor.phase, supervisor.next_deadline()) == (Phase.NEW, None)
    assert supervisor.handle(Begin(0.0)) == [
        Fork(SIP_1, peer("sip-1")),
        Fork(SIP_2, peer("sip-2")),
        Fork(WORKER_1, peer("worker-1")),
    ]
    supervisor.check()
    assert supervisor.handle(Forked(peer("sip-2"), 102, 0.0)) == [Report(Started(peer("sip-2"), 1, 102))]
    assert supervisor.handle(Begin(0.0)) == []


def test_a_process_is_announced_when_it_is_ready_and_told_of_those_that_are():
    supervisor = Supervisor([SIP_1, SIP_2, WORKER_1], RestartPolicy(), 5.0)
    supervisor.handle(Begin(0.0))
    for name, pid in PIDS.items():
        supervisor.handle(Forked(peer(name), pid, 0.0))
    assert supervisor.handle(SaidReady(peer("sip-1"), 0.1)) == [Report(Ready(peer("sip-1"), 0))]
    assert supervisor.handle(SaidReady(peer("worker-1"), 0.2)) == [
        Report(Ready(peer("worker-1"), 2)),
        Announce(peer("worker-1"), PeerUp(peer("sip-1"), 0, False)),
        Announce(peer("sip-1"), PeerUp(peer("worker-1"), 2, True)),
    ]
    assert supervisor.handle(SaidReady(peer("worker-1"), 0.3)) == []
    supervisor.check()


def test_one_crash_restarts_one_under_its_name_and_slot():
    supervisor = running()
    assert supervisor.handle(Ended(peer("sip-2"), KILLED, 1.0)) == [
        Report(Died(peer("sip-2"), 1, 102, "killed by SIGKILL")),
        Announce(peer("sip-1"), PeerDown(peer("sip-2"), "killed by SIGKILL")),
        Announce(peer("worker-1"), PeerDown(peer("sip-2"), "killed by SIGKILL")),
        Report(Restarting(peer("sip-2", 2), 1, 0.0)),
        Fork(SIP_2, peer("sip-2", 2)),
    ]
    supervisor.check()
    assert lives(supervisor) == {"sip-1": (1, Life.UP), "sip-2": (2, Life.FORKING), "worker-1": (1, Life.UP)}
    supervisor.handle(Forked(peer("sip-2", 2), 202, 1.0))
    assert supervisor.handle(SaidReady(peer("sip-2", 2), 1.1))[1:] == [
        Announce(peer("sip-2", 2), PeerUp(peer("sip-1"), 0, False)),
        Announce(peer("sip-2", 2), PeerUp(peer("worker-1"), 2, True)),
        Announce(peer("sip-1"), PeerUp(peer("sip-2", 2), 1, False)),
        Announce(peer("worker-1"), PeerUp(peer("sip-2", 2), 1, False)),
    ]


def test_the_owner_is_told_all_of_the_last_words_and_the_others_their_beginning():
    words = "x" * 300
    assert running().handle(Ended(peer("sip-2"), Exited(1), 1.0, words))[:2] == [
        Report(Died(peer("sip-2"), 1, 102, words)),
        Announce(peer("sip-1"), PeerDown(peer("sip-2"), "x" * 200)),
    ]


def test_an_uninvited_exit_is_a_crash_too():
    assert Fork(WORKER_1, peer("worker-1", 2)) in running().handle(Ended(peer("worker-1"), Exited(0), 1.0))


@pytest.mark.parametrize("stale", [peer("sip-2", 1), peer("sip-2", 3), peer("nobody")])
def test_words_about_other_lives_change_nothing(stale):
    supervisor = running()
    supervisor.handle(Ended(peer("sip-2"), KILLED, 1.0))
    before = supervisor.views()
    for stimulus in (
        Forked(stale, 7, 1.0),
        ForkFailed(stale, "no", 1.0),
        SaidReady(stale, 1.0),
        Ended(stale, KILLED, 1.0),
    ):
        assert supervisor.handle(stimulus) == []
    assert supervisor.views() == before
    supervisor.check()


def test_a_word_that_is_heard_twice_counts_once():
    supervisor = running()
    before = supervisor.views()
    for stimulus in (Forked(peer("sip-1"), 7, 1.0), SaidReady(peer("sip-1"), 1.0)):
        assert supervisor.handle(stimulus) == []
    assert supervisor.views() == before
    assert supervisor.handle(Ended(peer("sip-1"), KILLED, 2.0))[0] == Report(
        Died(peer("sip-1"), 0, 101, "killed by SIGKILL")
    )
    assert supervisor.handle(Ended(peer("sip-1"), KILLED, 2.0)) == []


def die_soon(supervisor: Supervisor, incarnation: int, now: float, lived_s: float = 0.0) -> float:
    """Let worker-1 come up at `now` and die `lived_s` later; the back-off that follows."""
    who = peer("worker-1", incarnation)
    if incarnation > 1:
        up_one(supervisor, who, now)
    effects = supervisor.handle(Ended(who, Exited(1), now + lived_s))
    (restarting,) = (e.event for e in effects if isinstance(e, Report) and isinstance(e.event, Restarting))
    return restarting.after_s


def test_a_place_may_fail_for_ever_without_waiting_longer_than_the_limit():
    assert RestartPolicy(backoff_max_s=5.0).delay_s(100_000) == 5.0


def test_the_back_off_doubles_up_to_its_limit_and_is_forgotten_after_a_long_life():
    supervisor = running(RestartPolicy(storm_deaths=100))
    now, delays = 0.0, []
    for incarnation in range(1, 10):
        delay_s = die_soon(supervisor, incarnation, now)
        delays.append(delay_s)
        if delay_s:
            assert supervisor.next_deadline() == now + delay_s
            assert supervisor.handle(Tick(now + delay_s * 0.9)) == []
            assert lives(supervisor)["worker-1"] == (incarnation, Life.WAITING)
            assert supervisor.handle(Tick(now + delay_s)) == [Fork(WORKER_1, peer("worker-1", incarnation + 1))]
        assert supervisor.next_deadline() is None
        now += delay_s
    assert delays == [0.0, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]
    assert die_soon(supervisor, 10, now, lived_s=10.0) == 0.0
    assert die_soon(supervisor, 11, now + 10.0, lived_s=9.9) == 0.1


@pytest.mark.parametrize("status", [Exited(3), Exited(1), Exited(0), KILLED])
def test_a_death_before_ready_in_the_first_life_ends_the_tree(status):
    supervisor = Supervisor([SIP_1, WORKER_1], RestartPolicy(), 5.0)
    supervisor.handle(Begin(0.0))
    up_one(supervisor, peer("sip-1"), 0.0)
    supervisor.handle(Forked(peer("worker-1"), 103, 0.0))
    assert supervisor.handle(Ended(peer("worker-1"), status, 0.5)) == [
        Report(Died(peer("worker-1"), 2, 103, str(status))),
        Report(GaveUp(ExitCode.BOOT_FAILED, f"worker-1.1 could not start: {status}")),
        Report(Draining(5.0)),
        Announce(peer("sip-1"), Drain(5.5)),
    ]
    supervisor.check()
    assert supervisor.handle(Ended(peer("sip-1"), Exited(0), 0.6))[-1] == Report(Stopped(ExitCode.BOOT_FAILED))
    assert supervisor.exit_code == 3


def test_in_a_later_life_only_exit_code_3_before_ready_is_a_boot_failure():
    for status, ends in ((Exited(1), False), (KILLED, False), (Exited(3), True)):
        supervisor = running()
        supervisor.handle(Ended(peer("sip-1"), KILLED, 1.0))
        supervisor.handle(Forked(peer("sip-1", 2), 201, 1.0))
        supervisor.handle(Ended(peer("sip-1", 2), status, 1.0))
        assert (supervisor.phase is Phase.DRAINING) == ends
    supervisor = running()
    supervisor.handle(Ended(peer("sip-1"), Exited(3), 1.0))  # after ready it is a crash like any other
    assert supervisor.phase is Phase.RUNNING


def test_a_fork_that_fails_is_a_death_before_ready():
    supervisor = Supervisor([SIP_1, SIP_2], RestartPolicy(), 5.0)
    supervisor.handle(Begin(0.0))
    died, gave_up, *_ = supervisor.handle(ForkFailed(peer("sip-1"), "no memory", 0.0))
    assert died == Report(Died(peer("sip-1"), 0, 0, "the fork failed: no memory"))
    assert isinstance(gave_up, Report)
    assert isinstance(gave_up.event, GaveUp)

    supervisor = running()
    supervisor.handle(Ended(peer("sip-1"), KILLED, 1.0))
    effects = supervisor.handle(ForkFailed(peer("sip-1", 2), "no memory", 1.0))
    assert effects[-1] == Report(Restarting(peer("sip-1", 3), 0, 0.1))
    supervisor.check()


def test_too_many_deaths_of_one_role_within_the_window_end_the_tree():
    supervisor = running(RestartPolicy(storm_deaths=2, storm_within_s=30.0, lived_s=0.0))
    for incarnation, now in ((1, 0.0), (2, 10.0)):
        assert die_soon(supervisor, incarnation, now) == 0.0
    assert die_soon(supervisor, 3, 30.0) == 0.0  # the first death has left the window
    up_one(supervisor, peer("worker-1", 4), 31.0)
    supervisor.handle(Ended(peer("sip-1"), KILLED, 31.0))  # of another role
    assert supervisor.phase is Phase.RUNNING
    effects = supervisor.handle(Ended(peer("worker-1", 4), Exited(1), 31.0))
    assert (
        Report(GaveUp(ExitCode.CRASH_STORM, "more than 2 deaths of worker in 30 s; the last: exit code 1")) in effects
    )
    assert not [effect for effect in effects if isinstance(effect, Fork)]
    supervisor.check()


def test_where_the_window_is_empty_no_number_of_deaths_is_a_storm():
    supervisor = running(RestartPolicy(storm_deaths=0, storm_within_s=0.0))
    assert [die_soon(supervisor, incarnation, 1.0, lived_s=10.0) for incarnation in (1, 2, 3)] == [0.0, 0.0, 0.0]
    assert supervisor.phase is Phase.RUNNING


def test_a_stop_drains_everybody_and_starts_nobody():
    supervisor = running()
    supervisor.handle(Ended(peer("sip-2"), KILLED, 1.0))
    supervisor.handle(ForkFailed(peer("sip-2", 2), "no memory", 1.0))
    assert lives(supervisor)["sip-2"] == (2, Life.WAITING)
    assert supervisor.handle(StopAsked(1.0)) == [
        Report(Draining(5.0)),
        Announce(peer("sip-1"), Drain(6.0)),
        Announce(peer("worker-1"), Drain(6.0)),
    ]
    supervisor.check()
    assert lives(supervisor)["sip-2"] == (2, Life.VACANT)
    assert supervisor.handle(Tick(1.5)) == []
    assert supervisor.handle(Ended(peer("worker-1"), Exited(0), 1.6)) == [
        Report(Died(peer("worker-1"), 2, 103, "exit code 0")),
        Announce(peer("sip-1"), PeerDown(peer("worker-1"), "exit code 0")),
    ]
    assert supervisor.exit_code is None
    assert supervisor.handle(Ended(peer("sip-1"), KILLED, 1.7)) == [
        Report(Died(peer("sip-1"), 0, 101, "killed by SIGKILL")),
        Report(Stopped(ExitCode.STOPPED)),
    ]
    supervisor.check()
    assert (supervisor.exit_code, supervisor.phase) == (0, Phase.DONE)
    for stimulus in (Begin(2.0), StopAsked(2.0), Tick(99.0), SaidReady(peer("sip-1"), 2.0)):
        assert supervisor.handle(stimulus) == []


def test_who_is_left_after_the_limit_and_the_grace_is_killed():
    supervisor = running(RestartPolicy(grace_s=1.0), drain_s=5.0)
    supervisor.handle(StopAsked(10.0))
    supervisor.handle(Ended(peer("sip-1"), Exited(0), 10.1))
    assert supervisor.next_deadline() == 16.0
    assert supervisor.handle(Tick(15.9)) == []
    assert supervisor.handle(Tick(16.0)) == [Kill(peer("sip-2")), Kill(peer("worker-1"))]
    supervisor.check()
    assert (supervisor.next_deadline(), supervisor.handle(Tick(17.0))) == (None, [])
    supervisor.handle(Ended(peer("sip-2"), KILLED, 17.0))
    supervisor.handle(Ended(peer("worker-1"), KILLED, 17.0))
    assert supervisor.exit_code == 0


def test_the_second_request_kills_at_once_and_the_third_adds_nothing():
    supervisor = running()
    supervisor.handle(StopAsked(1.0))
    assert supervisor.handle(StopAsked(1.04)) == []  # the same request, heard twice
    assert supervisor.handle(StopAsked(1.1)) == [Kill(peer("sip-1")), Kill(peer("sip-2")), Kill(peer("worker-1"))]
    assert supervisor.handle(StopAsked(1.2)) == []
    for name in PIDS:
        supervisor.handle(Ended(peer(name), KILLED, 1.3))
    assert supervisor.exit_code == ExitCode.KILLED


def test_a_request_so_soon_after_another_is_the_same_one_however_often_it_is_heard():
    supervisor = running(RestartPolicy(same_request_s=0.25))
    supervisor.handle(StopAsked(1.0))
    assert [supervisor.handle(StopAsked(now)) for now in (1.125, 1.25, 1.375)] == [[], [], []]
    assert supervisor.handle(StopAsked(1.625)) == [Kill(peer("sip-1")), Kill(peer("sip-2")), Kill(peer("worker-1"))]


def test_a_hurry_does_not_hide_why_the_tree_gave_up():
    supervisor = running(RestartPolicy(storm_deaths=0))
    supervisor.handle(Ended(peer("sip-1"), KILLED, 1.0))
    supervisor.handle(StopAsked(1.0))
    for name in ("sip-2", "worker-1"):
        supervisor.handle(Ended(peer(name), KILLED, 1.1))
    assert supervisor.exit_code == ExitCode.CRASH_STORM


def test_a_stop_before_the_beginning_begins_nothing():
    supervisor = Supervisor([SIP_1], RestartPolicy(), 5.0)
    assert supervisor.handle(StopAsked(0.0)) == [Report(Stopped(ExitCode.STOPPED))]
    assert supervisor.handle(Begin(0.0)) == []
    supervisor.check()


def test_what_is_no_stimulus_is_an_error_of_ours():
    supervisor = running()
    before = supervisor.views()
    with pytest.raises(AssertionError, match="got: 'begin'"):
        supervisor.handle("begin")
    assert supervisor.views() == before


def test_seats():
    assert seats_of([("sip", 2, 2, 0, False), ("worker", 1, 3, 2, True)]) == [SIP_1, SIP_2, WORKER_1, SPARE, SPARE_2]
    clash = "two processes share a name or a slot"
    for seats, why in (
        ([], "a tree needs at least one process"),
        ([SIP_1, SIP_1], clash),
        ([SIP_1, Seat("sip-1", "sip", 9, False)], clash),
        ([SIP_1, Seat("sip-9", "sip", 0, False)], clash),
    ):
        with pytest.raises(ValueError, match=f"^{why}$"):
            Supervisor(seats, RestartPolicy(), 5.0)
    with pytest.raises(ValueError, match=f"^{clash}$"):
        Supervisor([SIP_1], RestartPolicy(), 5.0, guest_slots=[0])


# Spare places.

SPARE = Seat("worker-2", "worker", 3, True, spare=True)
SPARE_2 = Seat("worker-3", "worker", 4, True, spare=True)
PIDS_2 = PIDS | {"worker-2": 104, "worker-3": 105}


def growing(policy: RestartPolicy | None = None) -> Supervisor:
    """A SIP process and a worker, up at 0, and room for two workers more."""
    supervisor = Supervisor([SIP_1, WORKER_1, SPARE, SPARE_2], policy or RestartPolicy(), 5.0)
    assert supervisor.handle(Begin(0.0)) == [Fork(SIP_1, peer("sip-1")), Fork(WORKER_1, peer("worker-1"))]
    up_one(supervisor, peer("sip-1"), 0.0)
    up_one(supervisor, peer("worker-1"), 0.0)
    return supervisor


def grown(policy: RestartPolicy | None = None) -> Supervisor:
    supervisor = growing(policy)
    supervisor.handle(GrowAsked("worker", 1.0))
    up_two(supervisor, peer("worker-2"), 1.0)
    return supervisor


def up_two(supervisor: Supervisor, who: Peer, now: float) -> None:
    supervisor.handle(Forked(who, PIDS_2[who.name], now))
    supervisor.handle(SaidReady(who, now))
    supervisor.check()


def test_a_tree_grows_into_its_spare_places_and_no_further():
    supervisor = growing()
    assert supervisor.handle(GrowAsked("sip", 1.0)) == []
    assert supervisor.handle(GrowAsked("nobody", 1.0)) == []
    assert supervisor.handle(GrowAsked("worker", 1.0)) == [Fork(SPARE, peer("worker-2"))]
    assert supervisor.handle(GrowAsked("worker", 1.0)) == [Fork(SPARE_2, peer("worker-3"))]
    assert supervisor.handle(GrowAsked("worker", 1.0)) == []
    supervisor.check()
    up_two(supervisor, peer("worker-2"), 1.1)
    supervisor.handle(StopAsked(2.0))
    supervisor.handle(Ended(peer("worker-2"), Exited(0), 2.1))
    assert supervisor.handle(GrowAsked("worker", 2.2)) == []


def test_one_that_is_not_needed_any_more_leaves_and_its_place_becomes_vacant():
    supervisor = grown()
    assert supervisor.handle(RetireAsked(peer("worker-1"), 2.0)) == []  # it is not spare
    assert supervisor.handle(RetireAsked(peer("worker-2"), 2.0)) == [
        Report(Retiring(peer("worker-2"), 3)),
        Announce(peer("worker-2"), Retire(7.0)),
    ]
    supervisor.check()
    assert supervisor.handle(RetireAsked(peer("worker-2"), 2.0)) == []
    assert supervisor.handle(Ended(peer("worker-2"), Exited(0), 3.0)) == [
        Report(Died(peer("worker-2"), 3, 104, "retired")),
        Announce(peer("sip-1"), PeerDown(peer("worker-2"), "retired")),
        Announce(peer("worker-1"), PeerDown(peer("worker-2"), "retired")),
    ]
    supervisor.check()
    assert (lives(supervisor)["worker-2"], supervisor.next_deadline()) == ((1, Life.VACANT), None)
    assert supervisor.handle(GrowAsked("worker", 4.0)) == [Fork(SPARE, peer("worker-2", 2))]


def test_one_that_does_not_leave_in_time_is_killed():
    supervisor = grown()
    supervisor.handle(RetireAsked(peer("worker-2"), 2.0))
    assert supervisor.next_deadline() == 7.0
    assert supervisor.handle(Tick(6.9)) == []
    assert supervisor.handle(Tick(7.0)) == [Kill(peer("worker-2"))]
    assert (supervisor.handle(Tick(7.1)), supervisor.next_deadline()) == ([], None)
    died, *_ = supervisor.handle(Ended(peer("worker-2"), KILLED, 7.2))
    assert died == Report(Died(peer("worker-2"), 3, 104, "killed by SIGKILL"))
    assert lives(supervisor)["worker-2"] == (1, Life.VACANT)


def test_a_drain_takes_over_from_a_retirement():
    supervisor = grown()
    supervisor.handle(RetireAsked(peer("worker-2"), 2.0))
    assert Announce(peer("worker-2"), Drain(8.0)) in supervisor.handle(StopAsked(3.0))
    assert supervisor.handle(Tick(7.5)) == []
    supervisor.check()
    supervisor.handle(StopAsked(7.6))
    assert supervisor.next_deadline() is None  # else the attendant would spin until the last one is reaped


def test_the_first_life_of_a_spare_place_is_no_boot():
    supervisor = growing()
    supervisor.handle(GrowAsked("worker", 1.0))
    supervisor.handle(Forked(peer("worker-2"), 104, 1.0))
    assert supervisor.handle(Ended(peer("worker-2"), Exited(1), 1.1))[-1] == Fork(SPARE, peer("worker-2", 2))
    assert supervisor.phase is Phase.RUNNING


def test_where_a_later_boot_failure_does_not_end_the_tree_it_is_tried_again_with_distance():
    supervisor = growing(RestartPolicy(boot_failure_ends=False, storm_deaths=3))
    supervisor.handle(GrowAsked("worker", 1.0))
    delays = []
    for life in range(1, 10):
        supervisor.handle(Forked(peer("worker-2", life), 104, 1.0))
        effects = supervisor.handle(Ended(peer("worker-2", life), Exited(3), 1.0, "no database"))
        delays += [e.event.after_s for e in effects if isinstance(e, Report) and isinstance(e.event, Restarting)]
        supervisor.handle(Tick(1.0 + delays[-1]))
    assert delays == [0.0, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]
    assert supervisor.phase is Phase.RUNNING


def test_boot_failures_are_a_storm_when_nobody_of_the_role_is_up():
    supervisor = growing(RestartPolicy(boot_failure_ends=False, storm_deaths=1, backoff_s=0.0))
    supervisor.handle(Ended(peer("worker-1"), KILLED, 1.0))
    supervisor.handle(Forked(peer("worker-1", 2), 203, 1.0))
    effects = supervisor.handle(Ended(peer("worker-1", 2), Exited(3), 1.0, "no database"))
    reason = "more than 1 deaths of worker in 30 s; the last: no database"
    assert Report(GaveUp(ExitCode.CRASH_STORM, reason)) in effects


def test_exit_code_3_after_ready_is_a_death_that_counts_though_others_of_the_role_are_up():
    supervisor = grown(RestartPolicy(boot_failure_ends=False, storm_deaths=0))
    assert supervisor.handle(Ended(peer("worker-2"), Exited(3), 2.0)) == [
        Report(Died(peer("worker-2"), 3, 104, "exit code 3")),
        Announce(peer("sip-1"), PeerDown(peer("worker-2"), "exit code 3")),
        Announce(peer("worker-1"), PeerDown(peer("worker-2"), "exit code 3")),
        Report(GaveUp(ExitCode.CRASH_STORM, "more than 0 deaths of worker in 30 s; the last: exit code 3")),
        Report(Draining(5.0)),
        Announce(peer("sip-1"), Drain(7.0)),
        Announce(peer("worker-1"), Drain(7.0)),
    ]


# Planned ends.


@pytest.mark.parametrize("condemned", [True, False])
def test_planned_ends_are_replaced_at_once_however_many_there_are(condemned):
    supervisor = running(RestartPolicy(storm_deaths=2))
    for life in range(1, 8):
        who = peer("worker-1", life)
        if condemned:
            assert supervisor.handle(Condemned(who, "too fat", 1.0)) == [Kill(who)]
            supervisor.check()
        words = "" if condemned else "it served its 10 jobs"
        reason = "too fat" if condemned else words
        assert supervisor.handle(Ended(who, KILLED if condemned else Exited(6), 1.0, words)) == [
            Report(Died(who, 2, 103, reason)),
            Announce(peer("sip-1"), PeerDown(who, reason)),
            Announce(peer("sip-2"), PeerDown(who, reason)),
            Report(Restarting(peer("worker-1", life + 1), 2, 0.0)),
            Fork(WORKER_1, peer("worker-1", life + 1)),
        ]
        up_one(supervisor, peer("worker-1", life + 1), 1.0)


@pytest.mark.parametrize("condemned_first", [True, False])
def test_one_that_is_retired_and_condemned_is_not_replaced_and_died_of_its_verdict(condemned_first):
    supervisor, who = grown(), peer("worker-2")
    stimuli = [Condemned(who, "too fat", 2.0), RetireAsked(who, 2.0)]
    for stimulus in stimuli if condemned_first else reversed(stimuli):
        supervisor.handle(stimulus)
        supervisor.check()
    assert supervisor.handle(Ended(who, KILLED, 2.1)) == [
        Report(Died(who, 3, 104, "too fat")),
        Announce(peer("sip-1"), PeerDown(who, "too fat")),
        Announce(peer("worker-1"), PeerDown(who, "too fat")),
    ]
    assert lives(supervisor)["worker-2"] == (1, Life.VACANT)


def test_one_that_is_condemned_for_no_reason_given_is_replaced_at_once_too():
    supervisor = running(RestartPolicy(storm_deaths=0))
    assert supervisor.handle(Condemned(peer("worker-1"), "", 1.0)) == [Kill(peer("worker-1"))]
    assert supervisor.handle(Ended(peer("worker-1"), KILLED, 1.0)) == [
        Report(Died(peer("worker-1"), 2, 103, "condemned")),
        Announce(peer("sip-1"), PeerDown(peer("worker-1"), "condemned")),
        Announce(peer("sip-2"), PeerDown(peer("worker-1"), "condemned")),
        Report(Restarting(peer("worker-1", 2), 2, 0.0)),
        Fork(WORKER_1, peer("worker-1", 2)),
    ]


def test_before_it_said_ready_no_end_is_planned():
    supervisor = running()
    supervisor.handle(Ended(peer("worker-1"), KILLED, 1.0))
    supervisor.handle(Forked(peer("worker-1", 2), 203, 1.0))
    assert supervisor.handle(Condemned(peer("worker-1", 2), "too fat", 1.0)) == []
    effects = supervisor.handle(Ended(peer("worker-1", 2), Exited(6), 1.0))
    assert effects == [
        Report(Died(peer("worker-1", 2), 2, 203, "exit code 6")),
        Report(Restarting(peer("worker-1", 3), 2, 0.1)),
    ]


def test_a_drain_may_be_given_its_own_limit():
    supervisor = running()
    assert Announce(peer("sip-1"), Drain(1.25)) in supervisor.handle(StopAsked(1.0, 0.25))
    assert supervisor.next_deadline() == 2.25


# Guests.


def visited(guests: int = 2) -> Supervisor:
    """A worker that is up, and places for guests."""
    supervisor = Supervisor([WORKER_1], RestartPolicy(), 5.0, range(10, 10 + guests))
    supervisor.handle(Begin(0.0))
    up_one(supervisor, peer("worker-1"), 0.0)
    return supervisor


def test_a_guest_is_announced_when_it_is_ready_and_taken_back_when_it_leaves():
    supervisor = visited()
    guest = peer("guest-1")
    assert supervisor.handle(GuestCame(7, 4321, 1.0)) == [Admit(7, guest, 10), Report(Started(guest, 10, 4321))]
    supervisor.check()
    assert supervisor.handle(SaidReady(guest, 1.1)) == [
        Report(Ready(guest, 10)),
        Announce(guest, PeerUp(peer("worker-1"), 2, True)),
        Announce(peer("worker-1"), PeerUp(guest, 10, False)),
    ]
    supervisor.check()
    assert supervisor.next_deadline() is None
    assert supervisor.handle(GuestLeft(guest, "it died", 2.0)) == [
        Report(Died(guest, 10, 4321, "it died")),
        Announce(peer("worker-1"), PeerDown(guest, "it died")),
    ]
    supervisor.check()
    assert supervisor.handle(GuestLeft(guest, "it died", 2.0)) == []
    assert supervisor.handle(GuestCame(8, 4321, 3.0))[0] == Admit(8, peer("guest-1", 2), 10)


def test_there_are_so_many_places_for_guests_and_no_more():
    supervisor = visited(guests=1)
    supervisor.handle(GuestCame(1, 1, 1.0))
    assert supervisor.handle(GuestCame(2, 1, 1.0)) == [Refuse(2, "the pool is full: 1 guests are the most")]
    supervisor.handle(StopAsked(1.0))
    assert supervisor.handle(GuestCame(3, 1, 1.0)) == [Refuse(3, "the pool is shutting down")]


def test_a_guest_that_does_not_say_ready_is_dismissed():
    supervisor = visited()
    supervisor.handle(GuestCame(1, 1, 1.0))
    assert supervisor.next_deadline() == 11.0
    assert supervisor.handle(Tick(10.9)) == []
    assert supervisor.handle(Tick(11.0)) == [
        Dismiss(peer("guest-1")),
        Report(Died(peer("guest-1"), 10, 1, "it did not say ready in time")),
    ]
    supervisor.check()
    assert supervisor.handle(SaidReady(peer("guest-1"), 11.1)) == []


def test_nobody_is_forked_into_a_place_for_guests_and_only_guests_leave_unreaped():
    supervisor = visited()
    before = supervisor.views()
    for stimulus in (GrowAsked("guest", 1.0), GuestLeft(peer("worker-1"), "it left", 1.0)):
        assert supervisor.handle(stimulus) == []
    assert supervisor.views() == before


def test_a_guest_is_neither_killed_nor_waited_for():
    supervisor = visited()
    supervisor.handle(GuestCame(1, 1, 1.0))
    supervisor.handle(SaidReady(peer("guest-1"), 1.0))
    supervisor.handle(GuestCame(2, 2, 1.0))
    for stimulus in (
        Condemned(peer("guest-1"), "no", 1.0),
        RetireAsked(peer("guest-1"), 1.0),
        Ended(peer("guest-1"), KILLED, 1.0),
        GrowAsked("guest", 1.0),
    ):
        assert supervisor.handle(stimulus) == []
    assert supervisor.handle(StopAsked(2.0)) == [
        Report(Draining(5.0)),
        Dismiss(peer("guest-2")),
        Report(Died(peer("guest-2"), 11, 2, "the pool is shutting down")),
        Announce(peer("worker-1"), Drain(7.0)),
        Announce(peer("guest-1"), Drain(7.0)),
    ]
    supervisor.check()
    assert supervisor.handle(Ended(peer("worker-1"), Exited(0), 3.0)) == [
        Report(Died(peer("worker-1"), 2, 103, "exit code 0")),
        Announce(peer("guest-1"), PeerDown(peer("worker-1"), "exit code 0")),
        Dismiss(peer("guest-1")),
        Report(Died(peer("guest-1"), 10, 1, "the pool has ended")),
        Report(Stopped(ExitCode.STOPPED)),
    ]
    supervisor.check()


# The link that carries it.

WORDS = [
    PeerUp(peer("sip-1", 3), 7, True),
    PeerDown(peer("ä"), "killed by SIGKILL"),
    Drain(0.5),
    Retire(1.5),
    Tell("topic", b"\0body"),
    ReadySaid(),
    LastWords("no licence"),
]


@pytest.mark.parametrize("word", WORDS)
def test_words_survive_the_wire(word):
    assert decode(encode(word)) == word


def test_a_reason_is_cut_to_its_limit():
    assert decode(encode(PeerDown(peer("a"), "x" * 300))) == PeerDown(peer("a"), "x" * 200)


@pytest.mark.parametrize(
    "frame", [b"", b"\xc1", b"\x91", b"\x90", b"\x91\xa2up", b"\x93\xa4tell\x01\x02", b"\xa5ready", b"\x91" * 2000]
)
def test_what_is_no_word_is_none(frame):
    assert decode(frame) is None


def test_a_link_carries_words_both_ways_and_ends():
    attendant, child = pair()
    assert (child.receive(), attendant.receive()) == ([], ([], False))
    for word in WORDS[:5]:
        assert attendant.send(encode(word))
    assert attendant.send(b"\xc1")
    assert attendant.send(encode(ReadySaid()))
    assert child.receive() == WORDS[:5]
    assert child.malformed == 2  # what is no word, and a word for the other side
    child.ready()
    assert child.tell("stat", b"1")
    child.last_words("x" * 10_000)
    assert attendant.receive() == ([ReadySaid(), Tell("stat", b"1"), LastWords("x" * 4096)], False)
    attendant.close()
    assert (child.closed, child.receive(), child.closed, child.receive()) == (False, [AttendantGone()], True, [])
    assert child.tell("to", b"nobody")
    child.close()


def test_the_end_comes_after_the_last_words():
    attendant, child = pair()
    child.tell("last", b"word")
    child.close()
    assert attendant.receive() == ([Tell("last", b"word")], True)
    assert attendant.send(b"to nobody")
    attendant.close()


def test_a_link_is_bounded_and_keeps_order():
    attendant, child = pair()
    body, sent = bytes(60_000), 0
    while attendant.send(encode(Tell(str(sent), body))):
        sent += 1
    assert attendant.wants_write
    assert MAX_BACKLOG_BYTES // 61_000 <= sent <= (MAX_BACKLOG_BYTES + 4_000_000) // 60_000
    heard = []
    while len(heard) < sent:
        heard += [word.topic for word in child.receive()]
        attendant.flush()
    assert heard == [str(number) for number in range(sent)]
    assert not attendant.wants_write
    while child.tell("never", body):
        sent += 1
        assert sent < 1000
    with pytest.raises(TooLong):
        child.tell("long", bytes(MAX_FRAME_BYTES))
    attendant.close()
    child.close()
