"""Nodes in one process, each with its own sockets, on plain asyncio and on uvloop and on a loop of one's own."""

from __future__ import annotations

import asyncio
import logging
import math
import mmap
import select
import stat
import time
from pathlib import Path

import msgpack
import pytest

from tests.workers.house import HANDLERS, SLOTS, House, Told, no_descriptor_free, open_files
from workers.channel import Transport, open_channel
from workers.jobs import Cancelled, Failed, Job, JobId, Kind, Outcome, Peer, Rejected, Returned, TimedOut, WorkerLost
from workers.loads import LoadBoard
from workers.node import Node
from workers.policy import Limits
from workers.wire import VERSION, Dispatch, Frame, decode, encode

# -- jobs -------------------------------------------------------------------------------------------------------------


def test_a_round_trip(house: House, pair: tuple[Node, Node]) -> None:
    sip, worker = pair
    outcome = house.run(sip.call("echo", b"hello", label="echo", timeout_s=5))
    assert isinstance(outcome, Returned)
    assert (outcome.payload, outcome.worker) == (b"echo hello", worker.me)
    assert 0.0 <= outcome.elapsed_s < 1.0
    assert (sip.counters["submitted"], sip.counters["returned"], worker.counters["executed"]) == (1, 1, 1)
    assert (sip.pending(), worker.pending(), sip.jobs()) == (0, 0, [])


def test_each_caller_gets_its_own_answer(house: House, pair: tuple[Node, Node]) -> None:
    sip, _ = pair
    told = Told()
    jobs = {told.submit(sip, "echo", b"%d" % number): b"echo %d" % number for number in range(2000)}
    house.until(lambda: len(told.outcomes) == 2000)
    assert {job: outcome.payload for job, outcome in told.outcomes.items()} == jobs
    sip._origin.check()


@pytest.mark.parametrize(
    ("handler", "payload", "kind", "message"),
    [
        ("boom", b"", "LookupError", "no such thing: x"),
        ("boom_later", b"", "ZeroDivisionError", "later"),
        ("text", b"", "TypeError", "the handler gave back str, not bytes"),
        ("text_later", b"", "TypeError", "the handler gave back str, not bytes"),
        ("nonsense", b"", "UnknownHandler", "nonsense"),
        ("big", b"200000", "ResultTooLarge", "200000 bytes"),
    ],
)
def test_failures_are_told(house: House, handler: str, payload: bytes, kind: str, message: str, caplog) -> None:
    limits = Limits(max_frame_bytes=100_000)
    sip, worker = house.add("sip-1", limits=limits), house.add("worker-1", executes=True, limits=limits)
    with caplog.at_level(logging.CRITICAL, "layby.workers"):
        outcome = house.run(sip.call(handler, payload, label=handler, timeout_s=5))
    assert isinstance(outcome, Failed)
    assert (outcome.kind, outcome.worker) == (kind, worker.me)
    assert outcome.message.startswith(message)
    assert len(outcome.message) <= 2048
    assert house.run(sip.call("echo", b"", label="echo", timeout_s=5)).payload == b"echo "


def test_a_handler_that_raises_is_logged(house: House, pair: tuple[Node, Node], caplog) -> None:
    house.run(pair[0].call("boom", b"", label="boom", timeout_s=5))
    failures = [(record.name, record.exc_info[0]) for record in caplog.records]
    assert failures == [("layby.workers.failures", LookupError)]


def test_frames_are_split_at_the_limit(house: House) -> None:
    limits = Limits(max_frame_bytes=10_000)
    sip, _ = house.add("sip-1", limits=limits), house.add("worker-1", executes=True, limits=limits)
    told = Told()
    for _ in range(20):
        told.submit(sip, "echo", bytes(3000))
    too_large = told.submit(sip, "echo", bytes(9_000))
    house.until(lambda: len(told.outcomes) == 21)
    assert isinstance(told.outcomes.pop(too_large), Rejected)
    assert all(outcome.payload == b"echo " + bytes(3000) for outcome in told.outcomes.values())


def test_a_job_can_be_ones_own(house: House) -> None:
    both = house.add("sip-1", executes=True)
    told = Told()
    for _ in range(50):
        told.submit(both, "echo", b"x")
    directed = told.submit(both, "later", b"0.01", to=both.me)
    house.until(lambda: len(told.outcomes) == 51)
    assert told.outcomes[directed].payload == b"later 0.01"
    assert {outcome.worker for outcome in told.outcomes.values()} == {both.me}


def test_processes_run_each_others_jobs_and_rather_than_their_own(house: House) -> None:
    one, two = house.add("sip-1", executes=True), house.add("sip-2", executes=True)
    for origin, other in ((one, two), (two, one)):
        house.run(origin.call("echo", b"x", label="echo", timeout_s=5))  # not known yet, and so taken for slow
        for _ in range(5):
            assert house.run(origin.call("echo", b"x", label="echo", timeout_s=5)).worker == other.me


def test_a_job_past_its_deadline_is_settled_while_the_worker_is_stuck(house: House) -> None:
    sip, worker = house.add("sip-1"), house.add("worker-1", executes=True, attach=False)
    told = Told()
    began_at = time.monotonic()
    job = told.submit(sip, "echo", b"x", timeout_s=0.05)
    house.until(lambda: told.outcomes)
    assert told.outcomes == {job: TimedOut(0.05)}
    assert 0.05 <= time.monotonic() - began_at < 0.5
    assert house.board.load(1).outstanding == 1, "its load stays until the worker answers"
    worker.attach(house.loop)
    house.until(lambda: sip.counters["late_answers"])
    assert house.board.load(1).outstanding == 0
    assert (sip.counters["timed_out"], worker.counters["executed"]) == (1, 0)


def test_no_time_at_all_is_the_next_turn(house: House, pair: tuple[Node, Node]) -> None:
    told = Told()
    job = told.submit(pair[0], "echo", timeout_s=0.0)
    house.until(lambda: told.outcomes)
    assert told.outcomes == {job: TimedOut(0.0)}


def test_a_queued_job_that_is_cancelled_never_runs(house: House) -> None:
    sip = house.add("sip-1")
    told = Told()
    job = told.submit(sip, "echo")
    assert sip.jobs()[0].state == "queued"
    assert sip.cancel(job, "asked") is True
    assert told.outcomes == {}, "never on the caller's stack"
    assert sip.cancel(job, "again") is False
    worker = house.add("worker-1", executes=True)
    assert isinstance(house.run(sip.call("echo", b"", label="echo", timeout_s=5)), Returned)
    assert told.outcomes == {job: Cancelled("asked")}
    assert worker.counters["executed"] == 1


def test_a_cancelled_handler_that_awaits_is_cancelled(house: House) -> None:
    ended = []

    async def patient(payload: bytes, running) -> bytes:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            ended.append(running.cancelled())
            raise
        return b""

    sip, worker = house.add("sip-1"), house.add("worker-1", executes=True, handlers={"patient": patient})
    told = Told()
    job = told.submit(sip, "patient")
    house.until(lambda: worker.counters["executed"])
    assert sip.jobs()[0].state == "sent"
    assert sip.cancel(job, "asked")
    house.until(lambda: sip.counters["late_answers"])
    assert told.outcomes == {job: Cancelled("asked")}
    assert ended == [True]
    assert worker.pending() == 0


def test_a_caller_that_is_cancelled_cancels_its_job(house: House, pair: tuple[Node, Node]) -> None:
    sip, worker = pair

    async def give_up() -> None:
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(sip.call("later", b"60", label="later", timeout_s=100), 0.05)

    house.run(give_up())
    house.until(lambda: sip.pending() == 0 and worker.pending() == 0)
    assert sip.counters["cancelled"] == 1


def test_the_queue_is_bounded(house: House) -> None:
    sip = house.add("sip-1", limits=Limits(max_queued=3))
    told = Told()
    jobs = [told.submit(sip, "echo") for _ in range(5)]
    house.until(lambda: told.outcomes)
    assert told.outcomes == {job: Rejected("queue is full") for job in jobs[3:]}
    assert house.board.waiting()[0] == 3


def test_priority_orders_those_that_wait(house: House) -> None:
    sip = house.add("sip-1", limits=Limits(max_outstanding=1))
    told = Told()
    jobs = [told.submit(sip, "echo", priority=priority) for priority in (0, 2, 1, 2)]
    house.add("worker-1", executes=True)
    house.until(lambda: len(told.outcomes) == 4)
    assert told.order == [jobs[1].serial, jobs[3].serial, jobs[2].serial, jobs[0].serial]


def test_bad_arguments_are_the_callers_fault(house: House) -> None:
    sip = house.add("sip-1")
    told = Told()
    for bad in ({"timeout_s": float("nan")}, {"timeout_s": float("inf")}, {"timeout_s": 1.0, "priority": 2**40}):
        with pytest.raises(ValueError, match="not a"):
            sip.submit("echo", b"", label="echo", settled=told, **bad)
    assert sip.pending() == 0


def test_names_that_cannot_be_spelled_do_no_harm(house: House, pair: tuple[Node, Node]) -> None:
    outcome = house.run(pair[0].call("caf\udce9", b"", label="\udce9" * 2000, timeout_s=5))
    assert (outcome.kind, outcome.message) == ("UnknownHandler", "caf\\udce9")


def test_a_caller_that_raises_harms_nobody(house: House, pair: tuple[Node, Node], caplog) -> None:
    sip, _ = pair

    def bad(job: Job, outcome: Outcome) -> None:
        raise RuntimeError("caller")

    told = Told()
    sip.submit("echo", b"", label="echo", timeout_s=5, settled=bad)
    good = told.submit(sip, "echo")
    house.until(lambda: told.outcomes)
    assert isinstance(told.outcomes[good], Returned)
    assert sip.counters["callback_errors"] == 1
    assert "raised when told of it" in caplog.text


def test_a_lost_job_is_settled_at_its_deadline_all_the_same(house: House, caplog) -> None:
    """Whatever the dispatcher forgets, `Suspensions` does not."""
    sip = house.add("sip-1")
    told = Told()
    job = told.submit(sip, "echo", timeout_s=0.02)
    sip._origin.hand_in(time.monotonic())
    [lane] = sip._origin._dispatcher._lanes.values()
    del lane.entries[job.serial]
    sip._origin._dispatcher._lanes.clear()
    sip._origin._dispatcher._waiting = 0
    house.until(lambda: told.outcomes)
    assert told.outcomes == {job: TimedOut(0.02)}
    assert sip.counters["lost_jobs"] == 1
    assert "was lost" in caplog.text


# -- who is there -----------------------------------------------------------------------------------------------------


def test_a_dead_workers_jobs_are_lost_or_run_elsewhere(house: House) -> None:
    sip, dying = house.add("sip-1"), house.add("worker-1", executes=True, attach=False)
    told = Told()
    lost, moved = told.submit(sip, "echo"), told.submit(sip, "echo", idempotent=True, to=None)
    house.until(lambda: dying.fileno() and house.board.load(1).outstanding == 1)
    sip.peer_down(dying.me)
    worker = house.add("worker-2", executes=True)
    house.until(lambda: len(told.outcomes) == 2)
    assert told.outcomes[lost] == WorkerLost(dying.me)
    assert told.outcomes[moved].worker == worker.me
    assert sip.peers() == {worker.me: (2, True)}


def test_words_of_the_dead_are_counted_and_ignored(house: House, pair: tuple[Node, Node]) -> None:
    sip, worker = pair
    told = Told()
    job = told.submit(sip, "later", b"0.05")
    house.until(lambda: worker.counters["executed"])
    sip.peer_down(worker.me, "signal 9")
    house.until(lambda: sip.counters["from_the_dead"])
    assert told.outcomes == {job: WorkerLost(worker.me, "signal 9")}
    assert worker.post(sip.me, "topic", b"late") is True
    count = sip.counters["from_the_dead"]
    house.until(lambda: sip.counters["from_the_dead"] > count)
    assert house.letters == []
    sip.peer_up(worker.me, 1, True)
    assert sip.peers() == {}, "the dead do not come back"


def test_a_dead_origins_jobs_are_dropped(house: House, pair: tuple[Node, Node]) -> None:
    sip, worker = pair
    told = Told()
    told.submit(sip, "later", b"60")
    house.until(lambda: worker.counters["executed"])
    worker.peer_down(sip.me)
    house.until(lambda: worker.pending() == 0)
    assert told.outcomes == {}


def test_the_next_life_replaces_the_last(house: House, pair: tuple[Node, Node]) -> None:
    sip, worker = pair
    told = Told()
    job = told.submit(sip, "later", b"60")
    house.until(lambda: worker.counters["executed"])
    sip.peer_up(Peer("worker-1", 2), 1, True)
    house.until(lambda: told.outcomes)
    assert told.outcomes == {job: WorkerLost(worker.me)}, "nobody said what it died of"
    assert sip.peers() == {Peer("worker-1", 2): (1, True)}


def test_an_origin_that_was_not_announced_yet_is_answered(house: House) -> None:
    sip = house.add("sip-1")
    worker = Node(
        Peer("worker-1", 1), 3, house.folder, house.board, executes=True, handlers=HANDLERS, transport=house.transport
    )
    house.nodes.append(worker)
    worker.attach(house.loop)
    sip.peer_up(worker.me, 3, True)
    assert house.run(sip.call("echo", b"x", label="echo", timeout_s=5)).payload == b"echo x"
    assert worker.peers() == {}


def test_an_unknown_peer_is_rejected_at_once(house: House, pair: tuple[Node, Node]) -> None:
    outcome = house.run(pair[0].call("echo", b"", label="echo", timeout_s=5, to=Peer("worker-9", 1)))
    assert outcome == Rejected("worker-9.1 is not there")


def test_what_strangers_send_is_counted_and_does_no_harm(house: House, pair: tuple[Node, Node], caplog) -> None:
    sip, worker = pair
    stranger = open_channel(house.transport, Peer("stranger", 1), house.folder, 10_000)
    stranger.connect(worker.me)
    version = bytes([VERSION])
    in_our_name = version + msgpack.packb(("worker-1", 1, [(6, "topic", b"forged")]))
    for data in (b"", b"nonsense", version + b"\xc1", version + msgpack.packb(("../x", 1, [(5,)])), in_our_name):
        stranger.send(worker.me, data)
    house.until(lambda: worker.counters["bad_frames"] == 5)
    stranger.close()
    assert house.letters == []
    assert isinstance(house.run(sip.call("echo", b"", label="echo", timeout_s=5)), Returned)


def test_a_job_that_comes_twice_runs_and_is_answered_once(house: House) -> None:
    worker, stranger = house.add("worker-1", executes=True), Peer("sip-9", 1)
    channel = open_channel(house.transport, stranger, house.folder, 10_000)
    channel.connect(worker.me)
    kind = Kind("echo", "echo")
    jobs = [Job(stranger, serial, kind, b"%d" % serial, time.monotonic() + 5) for serial in (1, 2)]
    channel.send(worker.me, encode(stranger, [Dispatch(jobs[:1], False), Dispatch(jobs, False), Dispatch(jobs, False)]))
    answers: list[tuple[int, bytes]] = []

    def answered() -> bool:
        while (data := channel.receive()) is not None:
            frame = decode(data, stranger, {}, 10_000)
            assert isinstance(frame, Frame)
            answers.extend((serial, outcome.payload) for word in frame.words for serial, outcome, _ in word.answers)
        return len(answers) >= 2 and not worker._has_more()

    house.until(answered)
    channel.close()
    assert answers == [(1, b"echo 1"), (2, b"echo 2")]
    assert (worker.counters["executed"], worker.pending()) == (2, 0)
    worker.peer_down(stranger)


def test_the_inbox_is_private(house: House, pair: tuple[Node, Node]) -> None:
    for path in house.folder.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("name", ["../x", "", "a.b"])
def test_a_name_is_part_of_a_path(house: House, name: str) -> None:
    with pytest.raises(ValueError, match="not a process name"):
        house.add(name)


# -- letters ----------------------------------------------------------------------------------------------------------


def test_letters_arrive_in_order(house: House, pair: tuple[Node, Node]) -> None:
    sip, worker = pair
    for number in range(300):
        assert sip.post(worker.me, "sip", b"%d" % number) is True
    assert sip.post(sip.me, "note", b"to myself") is True
    house.until(lambda: len(house.letters) == 301)
    assert [body for name, *_, body in house.letters if name == "worker-1"] == [b"%d" % number for number in range(300)]
    assert ("sip-1", "note", sip.me, b"to myself") in house.letters


def test_letters_that_cannot_be_sent(house: House, pair: tuple[Node, Node]) -> None:
    sip, worker = pair
    assert sip.post(Peer("nobody", 1), "sip", b"") is False
    assert sip.post(worker.me, "t" * 600, b"") is False
    assert sip.post(worker.me, "sip", bytes(17 * 1024 * 1024)) is False


# -- pausing ----------------------------------------------------------------------------------------------------------


def test_a_pause_holds_back_what_is_ordinary(house: House) -> None:
    one, two = house.add("sip-1", executes=True), house.add("sip-2", executes=True)
    told, through = Told(), Told()
    one.pause()
    assert house.board.load(0).paused
    held = [told.submit(one, "echo", to=two.me) for _ in range(3)]
    passed = through.submit(one, "echo", to=two.me, through_pause=True)
    two.post(one.me, "sip", b"letter")
    own = Told()
    ordinary = own.submit(two, "later", b"0")
    directed = house.run(two.call("echo", b"directed", label="echo", timeout_s=5, to=one.me))
    assert (directed.payload, directed.worker) == (b"echo directed", one.me)
    house.until(lambda: through.outcomes and own.outcomes)
    assert own.outcomes[ordinary].worker == two.me, "nobody sends ordinary jobs to a paused process"
    assert isinstance(through.outcomes[passed], Returned)
    assert (told.outcomes, house.letters) == ({}, [])
    assert one.pending() == 3
    one.pause()
    one.resume()
    house.run(asyncio.sleep(0))
    assert told.outcomes == {}, "pauses nest"
    one.resume()
    house.until(lambda: len(told.outcomes) == 3 and house.letters)
    assert told.order == [job.serial for job in held]
    assert not house.board.load(0).paused
    with pytest.raises(RuntimeError):
        one.resume()


@pytest.mark.parametrize("has_left", [False, True])
def test_jobs_for_a_worker_that_says_meanwhile_that_it_leaves_go_to_another(
    house: House, monkeypatch: pytest.MonkeyPatch, has_left: bool
) -> None:
    monkeypatch.setattr(
        "workers.origin._FRESH_S", 60.0
    )  # as if the origin were held up once it has looked at the board
    origin, leaving = house.add("origin"), house.add("leaving", executes=True)
    told = Told()
    told.submit(origin, "echo", b"before")
    house.until(lambda: told.outcomes)
    house.board.drain(1)
    house.board.pause(1, True)
    if has_left:
        house.board.clear_slot(1)
    jobs = [told.submit(origin, "echo", b"%d" % number) for number in range(10)]
    house.run(leaving.call("echo", b"", label="echo", timeout_s=5, to=origin.me))  # a turn of both, and more
    assert (house.board.load(1).outstanding, leaving.counters["executed"]) == (0, 1)
    assert origin.pending() == 10
    another = house.add("another", executes=True)
    house.until(lambda: len(told.outcomes) == 11)
    assert [(told.outcomes[job].payload, told.outcomes[job].worker) for job in jobs] == [
        (b"echo %d" % number, another.me) for number in range(10)
    ]


def test_an_ordinary_job_that_arrives_during_a_pause_runs_after_it(house: House) -> None:
    sip, worker = house.add("sip-1"), house.add("worker-1", executes=True, attach=False)
    told = Told()
    told.submit(sip, "echo")
    house.until(lambda: house.board.load(1).outstanding)
    worker.pause()
    worker.attach(house.loop)
    house.until(lambda: worker.pending())
    assert worker.counters["executed"] == 0
    worker.resume()
    house.until(lambda: told.outcomes)


def test_a_caller_may_block_in_a_nested_loop(house: House) -> None:
    """Park, be resumed, and from within the resumption wait for another job, all in one process."""
    sip = house.add("sip-1")
    house.add("worker-1", executes=True)
    nested_outcomes: list[Outcome] = []
    order: list[str] = []

    def block(job: Job, outcome: Outcome) -> None:
        order.append("resumed")
        sip.pause()
        poller = select.poll()
        poller.register(sip.fileno(), select.POLLIN)
        sip.submit(
            "nap",
            b"0.02",
            label="nap",
            timeout_s=5,
            settled=lambda _, outcome: nested_outcomes.append(outcome),
            through_pause=True,
        )
        limit = time.monotonic() + 5
        while not nested_outcomes and time.monotonic() < limit:
            worker_turns()
            deadline = sip.next_deadline()
            wait_s = 0.01 if deadline is None else max(0.0, min(0.01, deadline - time.monotonic()))
            poller.poll(wait_s * 1000)
            sip.on_readable(time.monotonic())
        order.append("nested")
        sip.resume()

    def worker_turns() -> None:
        worker = house.nodes[1]
        worker.on_readable(time.monotonic())

    others = Told()
    sip.submit("echo", b"first", label="echo", timeout_s=5, settled=block)
    for _ in range(5):
        others.submit(sip, "echo")
    house.until(lambda: len(others.outcomes) == 5)
    assert order == ["resumed", "nested"]
    assert isinstance(nested_outcomes[0], Returned)


# -- loops ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("transport", ["zmq", "unix"])
def test_a_loop_of_ones_own(tmp: Path, transport: Transport) -> None:
    """Nothing but poll(): the descriptor and the deadlines are enough."""
    memory = mmap.mmap(-1, LoadBoard.size(SLOTS))
    board = LoadBoard(memory, SLOTS)
    limits = Limits(turn_frames=1)
    more = {"limits": limits, "transport": transport}
    sip = Node(Peer("sip-1", 1), 0, tmp, board, executes=False, handlers={}, **more)
    worker = Node(Peer("worker-1", 1), 1, tmp, board, executes=True, handlers=HANDLERS, **more)
    sip.peer_up(worker.me, 1, True)
    worker.peer_up(sip.me, 0, False)
    told = Told()
    poller = select.poll()
    nodes = {node.fileno(): node for node in (sip, worker)}
    for fd in nodes:
        poller.register(fd, select.POLLIN)
    jobs = [told.submit(sip, "echo", b"%d" % number) for number in range(500)]
    never = told.submit(sip, "later", b"1", timeout_s=0.2)
    limit = time.monotonic() + 10
    while len(told.outcomes) < 501 and time.monotonic() < limit:
        deadlines = [deadline for node in nodes.values() if (deadline := node.next_deadline()) is not None]
        wait_s = max(0.0, min(deadlines, default=1.0) - time.monotonic())
        for fd, _ in poller.poll(wait_s * 1000):
            nodes[fd].on_readable(time.monotonic())
        for node in nodes.values():
            if (deadline := node.next_deadline()) is not None and deadline <= time.monotonic():
                node.on_deadline(time.monotonic())
    assert [told.outcomes[job].payload for job in jobs] == [b"echo %d" % number for number in range(500)]
    assert told.outcomes[never].kind == "RuntimeError", "there is no loop for what answers later"
    for node in nodes.values():
        node.close()
    board.close()
    memory.close()


@pytest.mark.parametrize("house", ["asyncio-unix", "uvloop-unix"], indirect=True)
def test_who_calls_while_no_descriptor_is_free_is_heard_once_there_is_one(house: House) -> None:
    """Nothing happens then that would have the node look again, but that it is due."""
    sip, worker = house.add("sip-1"), house.add("worker-1", executes=True, attach=False)
    tries: set[float] = set()

    async def main() -> Outcome:  # in one go, because uvloop opens something whenever it begins to run
        with no_descriptor_free():
            worker.attach(house.loop)
            call = asyncio.ensure_future(sip.call("echo", b"x", label="echo", timeout_s=5))
            async with asyncio.timeout(5):
                while len(tries) < 4:
                    await asyncio.sleep(0.001)
                    tries.add(worker._channel.due)
            assert (call.done(), worker.counters["executed"]) == (False, 0)
        return await call

    outcome = house.run(main())
    assert isinstance(outcome, Returned)
    assert outcome.payload == b"echo x"
    assert (len(tries - {math.inf}) >= 3, worker._channel.due) == (True, math.inf)


def test_more_peers_call_at_once_than_may_wait_to_be_accepted(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that were turned away say nothing more, and are heard all the same."""
    monkeypatch.setattr("workers.channel_unix._BACKLOG", 0)
    worker = house.add("worker-1", executes=True, attach=False)
    origins = [house.add(f"sip-{number}") for number in range(1, 5)]
    told = Told()
    jobs = [told.submit(origin, "echo", origin.me.name.encode(), to=worker.me) for origin in origins]
    house.until(lambda: house.board.load(0).outstanding == 4)
    worker.attach(house.loop)
    house.until(lambda: len(told.outcomes) == 4)
    assert {told.outcomes[job].payload for job in jobs} == {b"echo sip-%d" % number for number in range(1, 5)}
    house.until(lambda: {node._channel.due for node in house.nodes} == {math.inf})


def test_moving_between_loops(house: House, pair: tuple[Node, Node]) -> None:
    sip, worker = pair
    told = Told()
    for _ in range(20):
        told.submit(sip, "echo")
    nested = asyncio.new_event_loop()
    for node in pair:
        node.pause()
        node.attach(nested)
    inside = nested.run_until_complete(sip.call("echo", b"in", label="echo", timeout_s=5, to=worker.me))
    assert inside.payload == b"echo in"
    for node in pair:
        node.attach(house.loop)
        node.resume()
    nested.close()
    house.until(lambda: len(told.outcomes) == 20)


def test_a_keyboard_interrupt_is_not_swallowed(house: House) -> None:
    def interrupted(payload: bytes, running) -> bytes:
        raise KeyboardInterrupt

    sip = house.add("sip-1")
    worker = house.add("worker-1", executes=True, attach=False, handlers={"interrupted": interrupted})
    told = Told()
    job = told.submit(sip, "interrupted")
    house.until(lambda: house.board.load(1).outstanding == 1)

    def turn_until_interrupted() -> None:
        limit = time.monotonic() + 5
        while time.monotonic() < limit:
            worker.on_readable(time.monotonic())

    with pytest.raises(KeyboardInterrupt):
        turn_until_interrupted()
    house.until(lambda: told.outcomes)
    assert told.outcomes[job].kind == "KeyboardInterrupt"
    assert (worker.counters["executed"], house.board.done_by(1), house.board.running(1)) == (1, 1, False)
    assert worker.next_deadline() is None


# -- balance ----------------------------------------------------------------------------------------------------------


def test_jobs_go_to_the_worker_with_less_to_do(house: House) -> None:
    sip = house.add("sip-1")
    busy, free = house.add("worker-1", executes=True), house.add("worker-2", executes=True)
    house.board.occupy(5, 1, 3, 0.5)  # another origin's work
    house.run(asyncio.sleep(0.001))  # a look at the board is good for a tenth of that

    def runs_four() -> set[Peer]:
        return {house.run(sip.call("echo", b"", label="echo", timeout_s=5)).worker for _ in range(4)}

    assert runs_four() == {free.me}
    house.board.occupy(5, 1, 0, 0.0)
    assert runs_four() == {free.me}, "among equals it stays where it was"
    house.board.occupy(5, 2, 3, 0.5)
    house.run(asyncio.sleep(0.001))
    assert runs_four() == {busy.me}
    house.board.occupy(5, 2, 0, 0.0)


def test_an_idle_worker_nudges_those_who_wait(house: House) -> None:
    limits = Limits(retry_s=60.0)  # nobody but the worker will tell
    one, two = house.add("sip-1", limits=limits), house.add("sip-2", limits=limits)
    worker = house.add("worker-1", executes=True, attach=False)
    told = Told()
    told.submit(one, "nap", b"0.01")
    house.until(lambda: house.board.load(2).outstanding == 1)
    told_two = Told()
    told_two.submit(two, "nap", b"0.01")
    assert two.jobs()[0].state == "queued"
    assert house.board.waiting()[1] == 1
    worker.attach(house.loop)
    house.until(lambda: told.outcomes and told_two.outcomes)
    assert worker.counters["nudges"] >= 1


def test_jobs_that_wait_look_for_room_again_and_again(house: House) -> None:
    """Room is made by an origin that dies, say, and nobody tells."""
    sip = house.add("sip-1", limits=Limits(retry_s=0.002))
    house.board.occupy(5, 1, 3, 0.5)  # another origin's work, there before anybody looks
    house.add("worker-1", executes=True)
    told = Told()
    jobs = [told.submit(sip, "echo") for _ in range(3)]
    house.run(asyncio.sleep(0.05))
    assert told.outcomes == {}
    assert house.board.waiting()[0] == 3
    house.board.occupy(5, 1, 0, 0.0)
    house.until(lambda: len(told.outcomes) == 3, 1.0)
    assert told.order == [job.serial for job in jobs]


def test_many_awaiting_handlers_share_one_worker(house: House, pair: tuple[Node, Node]) -> None:
    sip, worker = pair
    assert isinstance(house.run(sip.call("later", b"0", label="later", timeout_s=5)), Returned)
    told = Told()
    began_at = time.monotonic()
    for _ in range(200):
        told.submit(sip, "later", b"0.2")
    house.until(lambda: worker.counters["executed"] == 201)
    assert house.board.waiting()[0] == 0
    quick = house.run(sip.call("echo", b"", label="echo", timeout_s=5))
    assert isinstance(quick, Returned), "awaiting jobs occupy nobody"
    house.until(lambda: len(told.outcomes) == 200)
    assert time.monotonic() - began_at < 2.0


# -- the end ----------------------------------------------------------------------------------------------------------


def test_draining_rejects_what_is_new_and_lets_the_rest_end(house: House, pair: tuple[Node, Node]) -> None:
    sip, worker = pair
    told = Told()
    old = told.submit(sip, "later", b"0.05")
    house.until(lambda: worker.counters["executed"])
    sip.drain("restarting")
    new = told.submit(sip, "echo")
    house.until(lambda: len(told.outcomes) == 2)
    assert told.outcomes[new] == Rejected("restarting")
    assert isinstance(told.outcomes[old], Returned)
    assert house.board.load(0).draining


def test_closing_an_origin_settles_everything_and_its_worker_is_told(house: House, pair: tuple[Node, Node]) -> None:
    sip, worker = pair
    told = Told()
    running = told.submit(sip, "later", b"60")
    house.until(lambda: worker.counters["executed"])
    held = told.submit(sip, "nap", b"60", to=worker.me, timeout_s=100)
    sip.cancel(held, "asked")
    sip.pause()
    sip.close()
    sip.close()
    assert told.outcomes == {running: Cancelled("shutdown"), held: Cancelled("asked")}
    house.until(lambda: worker.pending() == 0)
    with pytest.raises(RuntimeError):
        sip.submit("echo", b"", label="echo", timeout_s=1, settled=told)
    assert sip.post(worker.me, "t", b"") is False
    assert sip.next_deadline() is None


def test_a_caller_that_submits_again_at_the_end_is_rejected_once(house: House, pair: tuple[Node, Node], caplog) -> None:
    sip, _ = pair
    outcomes: list[Outcome] = []

    def again(job: Job, outcome: Outcome) -> None:
        outcomes.append(outcome)
        sip.submit("later", b"60", label="later", timeout_s=100, settled=again)

    sip.submit("later", b"60", label="later", timeout_s=100, settled=again)
    sip.close()
    assert outcomes == [Cancelled("shutdown"), Rejected("shutdown")]


def test_a_closing_worker_gives_back_what_it_has_not_begun(house: House) -> None:
    sip, closing = house.add("sip-1"), house.add("worker-1", executes=True)
    told = Told()
    awaiting = told.submit(sip, "later", b"60")
    house.until(lambda: closing.counters["executed"])
    closing.pause()
    unrun = told.submit(sip, "echo", label="fresh")
    house.board.pause(1, False)  # it was sent just before the others could see the pause
    sip._origin._loads_at = float("-inf")
    house.until(lambda: closing.pending() == 2)
    closing.close()
    house.until(lambda: awaiting in told.outcomes)
    assert told.outcomes == {awaiting: Cancelled("shutdown")}
    sip.peer_down(closing.me)
    worker = house.add("worker-2", executes=True)
    house.until(lambda: unrun in told.outcomes)
    assert told.outcomes[unrun].worker == worker.me


def test_a_job_is_its_origins_alone(house: House) -> None:
    one, two = house.add("sip-1"), house.add("sip-2")
    told = Told()
    job = told.submit(one, "echo")
    assert two.cancel(job, "not yours") is False
    assert [view.id for view in one.jobs()] == [job]
    assert two.jobs() == []


def test_what_is_said_to_a_closed_node_does_no_harm(house: House, pair: tuple[Node, Node]) -> None:
    sip, worker = pair
    sip.close()
    sip.peer_up(Peer("worker-2", 1), 4, True)
    sip.peer_down(worker.me)
    sip.pause()
    sip.resume()
    sip.on_readable(time.monotonic())
    assert sip.cancel(JobId(sip.me, 1), "asked") is False


def test_a_path_that_is_too_long_for_a_socket_leaves_nothing_open(house: House) -> None:
    before = open_files()
    folder = house.folder / ("x" * 120)
    folder.mkdir()
    with pytest.raises(OSError):  # noqa: PT011  (each transport has its own text)
        Node(Peer("sip-1", 1), 0, folder, house.board, executes=False, handlers={}, transport=house.transport)
    folder.rmdir()
    assert open_files() == before
