"""What the attendant decides: who is restarted and when, and what ends the whole tree."""

from __future__ import annotations

import pytest

from workers.control import (
    MAX_BACKLOG_BYTES,
    MAX_FRAME_BYTES,
    AttendantGone,
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
        Announce(peer("sip-1"), PeerDown(peer("sip-2"))),
        Announce(peer("worker-1"), PeerDown(peer("sip-2"))),
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


def die_soon(supervisor: Supervisor, incarnation: int, now: float, lived_s: float = 0.0) -> float:
    """Let worker-1 come up at `now` and die `lived_s` later; the back-off that follows."""
    who = peer("worker-1", incarnation)
    if incarnation > 1:
        up_one(supervisor, who, now)
    effects = supervisor.handle(Ended(who, Exited(1), now + lived_s))
    (restarting,) = (e.event for e in effects if isinstance(e, Report) and isinstance(e.event, Restarting))
    return restarting.after_s


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
    assert Report(GaveUp(ExitCode.CRASH_STORM, "more than 2 deaths of worker in 30 s")) in effects
    assert not [effect for effect in effects if isinstance(effect, Fork)]
    supervisor.check()


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
        Announce(peer("sip-1"), PeerDown(peer("worker-1"))),
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


def test_seats():
    assert seats_of([("sip", 2, 0, False), ("worker", 1, 2, True)]) == [SIP_1, SIP_2, WORKER_1]
    for seats in ([], [SIP_1, SIP_1], [SIP_1, Seat("sip-9", "sip", 0, False)]):
        with pytest.raises(ValueError, match="process"):
            Supervisor(seats, RestartPolicy(), 5.0)


# The link that carries it.

WORDS = [PeerUp(peer("sip-1", 3), 7, True), PeerDown(peer("ä")), Drain(0.5), Tell("topic", b"\0body"), ReadySaid()]


@pytest.mark.parametrize("word", WORDS)
def test_words_survive_the_wire(word):
    assert decode(encode(word)) == word


@pytest.mark.parametrize(
    "frame", [b"", b"\xc1", b"\x91", b"\x90", b"\x91\xa2up", b"\x93\xa4tell\x01\x02", b"\xa5ready", b"\x91" * 2000]
)
def test_what_is_no_word_is_none(frame):
    assert decode(frame) is None


def test_a_link_carries_words_both_ways_and_ends():
    attendant, child = pair()
    assert (child.receive(), attendant.receive()) == ([], ([], False))
    for word in WORDS[:4]:
        assert attendant.send(encode(word))
    assert attendant.send(b"\xc1")
    assert attendant.send(encode(ReadySaid()))
    assert child.receive() == WORDS[:4]
    assert child.malformed == 2  # what is no word, and a word for the other side
    child.ready()
    assert child.tell("stat", b"1")
    assert attendant.receive() == ([ReadySaid(), Tell("stat", b"1")], False)
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
