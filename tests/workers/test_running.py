"""What a handler is told while it runs, what it may say, and what is said of it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence

import pytest

from tests.workers.house import House, Told
from workers.channel import open_channel
from workers.jobs import Cancelled, Failed, Job, JobId, Kind, Outcome, Peer, Rejected, Returned, TimedOut
from workers.node import Node
from workers.policy import Limits, Room, least_expected
from workers.wire import MAX_TEXT, MAX_TRACE, Answers, Dispatch, Frame, Idle, Progress, decode, encode
from workers.worker import Running


class Heard(Told):
    """What was told of one job, in its order."""

    def __init__(self) -> None:
        super().__init__()
        self.story: list[tuple[float, str] | Outcome] = []

    def __call__(self, job: Job, outcome: Outcome) -> None:
        super().__call__(job, outcome)
        self.story.append(outcome)

    def on_progress(self, fraction: float, text: str) -> None:
        assert not self.busy, "told on the stack that submitted it"
        self.story.append((fraction, text))

    def ask(self, node: Node, handler: str, payload: bytes = b"", **more) -> JobId:
        return self.submit(node, handler, payload, on_progress=self.on_progress, **more)


def add(house: House, *handlers: Callable, limits: Limits = Limits(), **more) -> tuple[Node, Node]:  # noqa: B008
    """An origin, and a worker that knows these handlers."""
    by_name = {handler.__name__: handler for handler in handlers}
    sip = house.add("sip-1", limits=limits)
    return sip, house.add("worker-1", executes=True, limits=limits, handlers=by_name, **more)


# -- progress ---------------------------------------------------------------------------------------------------------


def steps(payload: bytes, running: Running) -> bytes:
    for step in range(10):
        running.progress(step / 10, f"step {step}")
    running.progress(1.0, "done")
    return b"result"


async def steps_later(payload: bytes, running: Running) -> bytes:
    for step in range(10):
        running.progress(step / 10, f"step {step}")
        await asyncio.sleep(0)
    running.progress(1.0, "done")
    return b"result"


@pytest.mark.parametrize("handler", [steps, steps_later])
def test_progress_is_told_in_its_order_and_before_the_outcome(house: House, handler: Callable) -> None:
    sip, _ = add(house, handler, limits=Limits(progress_s=0.0))
    heard = Heard()
    heard.ask(sip, handler.__name__)
    house.until(lambda: heard.outcomes)
    *told, outcome = heard.story
    assert told == [*[(step / 10, f"step {step}") for step in range(10)], (1.0, "done")]
    assert isinstance(outcome, Returned)
    assert outcome.payload == b"result"


def test_what_is_told_too_often_is_left_out_but_never_the_last(house: House) -> None:
    sip, _ = add(house, steps, limits=Limits(progress_s=1.0))
    heard = Heard()
    heard.ask(sip, "steps")
    house.until(lambda: heard.outcomes)
    assert heard.story[:-1] == [(0.0, "step 0"), (1.0, "done")]


def test_each_job_tells_for_itself(house: House) -> None:
    sip, _ = add(house, steps, limits=Limits(progress_s=1.0))
    all_heard = [Heard() for _ in range(20)]
    for heard in all_heard:
        heard.ask(sip, "steps")
    house.until(lambda: all(heard.outcomes for heard in all_heard))
    assert all(heard.story[:-1] == [(0.0, "step 0"), (1.0, "done")] for heard in all_heard)


def test_progress_arrives_while_the_handler_still_runs(house: House) -> None:
    """It goes at once, and not with the answer."""
    seen: list[object] = []

    def slow(payload: bytes, running: Running) -> bytes:
        running.progress(0.5, "half")
        ends_at = time.monotonic() + 5
        while not heard.story and time.monotonic() < ends_at:
            sip.on_readable(time.monotonic())
        seen.extend(heard.story)
        return b""

    sip, _ = add(house, slow)
    heard = Heard()
    heard.ask(sip, "slow")
    house.until(lambda: heard.outcomes)
    assert seen == [(0.5, "half")]


@pytest.mark.parametrize(
    ("fraction", "text", "told"),
    [
        (-1.0, "", (0.0, "")),
        (7, "x", (1.0, "x")),
        (float("inf"), "x", (1.0, "x")),
        (True, "caf\udce9", (1.0, "caf\\udce9")),
        (0.5, "y" * 1000, (0.5, "y" * (MAX_TEXT - 1) + "…")),
    ],
)
def test_progress_is_made_fit_to_be_sent(house: House, fraction: float, text: str, told: tuple[float, str]) -> None:
    def one(payload: bytes, running: Running) -> bytes:
        running.progress(fraction, text)
        return b""

    sip, worker = add(house, one)
    heard = Heard()
    heard.ask(sip, "one")
    house.until(lambda: heard.outcomes)
    assert heard.story[:-1] == [told]
    assert (sip.counters["bad_frames"], worker.counters["bad_frames"]) == (0, 0)


def test_progress_of_no_number_is_the_handlers_fault(house: House, caplog) -> None:
    def nan(payload: bytes, running: Running) -> bytes:
        running.progress(float("nan"))
        return b""

    sip, _ = add(house, nan)
    with caplog.at_level(logging.CRITICAL, "layby.workers"):
        outcome = house.run(sip.call("nan", b"", label="nan", timeout_s=5))
    assert isinstance(outcome, Failed)
    assert (outcome.kind, outcome.message) == ("ValueError", "progress of NaN")


def test_a_job_of_ones_own_tells_its_progress_too(house: House) -> None:
    both = house.add("sip-1", executes=True, handlers={"steps": steps}, limits=Limits(progress_s=1.0))
    heard = Heard()
    heard.ask(both, "steps")
    house.until(lambda: heard.outcomes)
    assert heard.story[:-1] == [(0.0, "step 0"), (1.0, "done")]


def test_who_does_not_ask_for_progress_gets_none(house: House) -> None:
    sip, _ = add(house, steps)
    assert isinstance(house.run(sip.call("steps", b"", label="steps", timeout_s=5)), Returned)
    assert sip.counters["callback_errors"] == 0


def test_a_caller_that_raises_at_progress_is_told_the_outcome_all_the_same(house: House, caplog) -> None:
    def bad(fraction: float, text: str) -> None:
        raise RuntimeError("caller")

    sip, _ = add(house, steps, limits=Limits(progress_s=1.0))
    told = Told()
    job = told.submit(sip, "steps", on_progress=bad)
    house.until(lambda: told.outcomes)
    assert isinstance(told.outcomes[job], Returned)
    assert sip.counters["callback_errors"] == 2


def test_nothing_is_told_after_the_outcome(house: House) -> None:
    """The handler goes on telling, for it does not ask; and all of that arrives."""

    def deaf(payload: bytes, running: Running) -> bytes:
        running.progress(0.1)
        turn_until(lambda: heard.story)
        sip.cancel(job, "asked")
        turn_until(lambda: heard.outcomes)
        for _ in range(10):
            running.progress(0.2)
        running.progress(1.0)
        return b""

    def turn_until(condition: Callable[[], object]) -> None:
        ends_at = time.monotonic() + 5
        while not condition() and time.monotonic() < ends_at:
            sip.on_readable(time.monotonic())

    sip, _ = add(house, deaf, limits=Limits(progress_s=0.0))
    heard = Heard()
    job = heard.ask(sip, "deaf")
    house.until(lambda: sip.counters["late_answers"])
    assert heard.story == [(0.1, ""), Cancelled("asked")]
    assert sip.pending() == 0


def test_progress_is_heard_only_from_the_worker_that_holds_the_job(house: House) -> None:
    sip, holds = house.add("sip-1"), house.add("worker-1", executes=True)
    liar = house.add("worker-2")
    heard = Heard()
    job = heard.ask(sip, "later", b"60", to=holds.me)
    house.until(lambda: holds.counters["executed"])
    for serial in (job.serial, job.serial + 1):
        liar._endpoint.send(sip.me, Progress(serial, 0.5, "a lie"))
    liar.post(sip.me, "topic", b"after it")
    liar.on_readable(time.monotonic())
    house.until(lambda: house.letters)
    assert heard.story == []
    holds._endpoint.send(sip.me, Progress(job.serial, 0.5, "true"))
    holds.on_readable(time.monotonic())
    house.until(lambda: heard.story)
    assert heard.story == [(0.5, "true")]


def test_a_pause_holds_progress_back_in_its_place(house: House) -> None:
    sip, worker = add(house, steps, limits=Limits(progress_s=1.0))
    held, passed = Heard(), Heard()
    sip.pause()
    held.ask(sip, "steps", to=worker.me)
    assert sip.pending() == 1
    passed.ask(sip, "steps", to=worker.me, through_pause=True)
    house.until(lambda: passed.outcomes)
    assert len(passed.story) == 3
    assert held.story == []
    house.until(lambda: sip.counters["returned"] == 2)
    assert sip.pending() == 1, "what is said of it on the way is no caller of its own"
    sip.resume()
    house.until(lambda: held.outcomes)
    assert held.story[:-1] == [(0.0, "step 0"), (1.0, "done")]


# -- does anybody still wait? -----------------------------------------------------------------------------------------


def test_a_blocking_handler_sees_that_its_job_is_cancelled(house: House) -> None:
    """The origin cancels while the handler runs; the handler asks, and so its process's inbox is looked at."""
    seen: list[bool] = []

    def patient(payload: bytes, running: Running) -> bytes:
        seen.append(running.cancelled())
        sip.cancel(job, "asked")
        ends_at = time.monotonic() + 5
        while not (asked := running.cancelled()) and time.monotonic() < ends_at:
            sip.on_readable(time.monotonic())
        seen.append(asked)
        return b"for nobody"

    sip, worker = add(house, patient)
    told = Told()
    job = told.submit(sip, "patient")
    house.until(lambda: sip.counters["late_answers"])
    assert seen == [False, True]
    assert told.outcomes == {job: Cancelled("asked")}
    assert worker.pending() == 0
    assert house.board.load(1).outstanding == 0


def test_a_blocking_handler_sees_that_its_time_is_over(house: House) -> None:
    seen: list[tuple[bool, bool]] = []

    def patient(payload: bytes, running: Running) -> bytes:
        now = time.monotonic()
        seen.append((running.cancelled(), 0.0 < running.remaining_s(now) <= 0.03))
        ends_at = now + 5
        while not running.cancelled() and time.monotonic() < ends_at:
            pass
        now = time.monotonic()
        seen.append((running.cancelled(), -1.0 < running.remaining_s(now) <= 0.0))
        sip.on_deadline(now)
        return b""

    sip, _ = add(house, patient)
    told = Told()
    job = told.submit(sip, "patient", timeout_s=0.03)
    house.until(lambda: sip.counters["late_answers"])
    assert seen == [(False, True), (True, True)]
    assert told.outcomes == {job: TimedOut(0.03)}


def test_asking_begins_nothing_and_hears_what_was_withdrawn(house: House) -> None:
    """Jobs that arrive on a handler's stack wait for it, and one that is cancelled meanwhile never runs."""
    running_now: list[bytes] = []
    order: list[bytes] = []

    def alone(payload: bytes, running: Running) -> bytes:
        assert not running_now, "begun on another handler's stack"
        running_now.append(payload)
        order.append(payload)
        if payload == b"first":
            others.extend(told.submit(sip, "alone", name, to=worker.me) for name in (b"second", b"third"))
            turn_until(lambda: len(worker._worker) == 3, running)
            sip.cancel(others[0], "asked")
            turn_until(lambda: len(worker._worker) == 2, running)
        running_now.clear()
        return payload

    def turn_until(condition: Callable[[], object], running: Running) -> None:
        ends_at = time.monotonic() + 5
        while not condition() and time.monotonic() < ends_at:
            sip.on_readable(time.monotonic())
            assert not running.cancelled()
        assert condition()

    sip, worker = add(house, alone)
    told, others = Told(), []
    first = told.submit(sip, "alone", b"first")
    house.until(lambda: len(told.outcomes) == 3)
    assert order == [b"first", b"third"]
    assert told.outcomes[others[0]] == Cancelled("asked")
    assert told.outcomes[first].payload == b"first"


def test_what_is_left_in_the_inbox_after_asking_is_read_all_the_same(house: House) -> None:
    """Asking uses the descriptor's edge up, so a turn must follow that needs none."""
    asked: list[bool] = []

    def curious(payload: bytes, running: Running) -> bytes:
        for number in range(20):
            sip.post(worker.me, "topic", b"%d" % number)
            sip.on_readable(time.monotonic())
        time.sleep(0.02)  # they arrive
        asked.append(running.cancelled())
        return b""

    sip, worker = add(house, curious, limits=Limits(turn_frames=2))
    told = Told()
    told.submit(sip, "curious")
    house.until(lambda: len(house.letters) == 20)
    assert asked == [False]
    assert [body for *_, body in house.letters] == [b"%d" % number for number in range(20)]


def test_asking_after_the_process_was_closed_from_within(house: House) -> None:
    asked: list[bool] = []

    def closing(payload: bytes, running: Running) -> bytes:
        worker.close()
        asked.append(running.cancelled())
        running.progress(1.0, "to nobody")
        return b""

    sip, worker = add(house, closing)
    told = Told()
    job = told.submit(sip, "closing")
    house.until(lambda: told.outcomes)
    assert told.outcomes == {job: Cancelled("shutdown")}
    assert asked == [True]


def test_an_awaiting_handler_asks_without_looking_at_the_inbox(house: House) -> None:
    asked: list[bool] = []

    async def patient(payload: bytes, running: Running) -> bytes:
        asked.append(running.cancelled())
        try:
            await asyncio.sleep(60)
        finally:
            asked.append(running.cancelled())
        return b""

    sip, _ = add(house, patient)
    told = Told()
    job = told.submit(sip, "patient")
    house.until(lambda: asked)
    sip.cancel(job, "asked")
    house.until(lambda: sip.counters["late_answers"])
    assert asked == [False, True]


# -- the moment from which a worker is to be killed -------------------------------------------------------------------


def test_the_board_says_from_when_a_worker_is_to_be_killed_while_it_runs_such_a_job(house: House) -> None:
    seen: dict[str, tuple[float, float]] = {}

    def look(payload: bytes, running: Running) -> bytes:
        seen[payload.decode()] = (house.board.kill_at(1), running.job.deadline)
        if payload == b"raises":
            raise LookupError
        return b""

    async def look_later(payload: bytes, running: Running) -> bytes:
        seen["later"] = (house.board.kill_at(1), running.job.deadline)
        return b""

    sip, _ = add(house, look, look_later, limits=Limits(kill_grace_s=0.25))
    for handler, payload, kill in (
        ("look", b"returns", True),
        ("look", b"raises", True),
        ("look", b"is left", False),
        ("look_later", b"", True),
    ):
        told = Told()
        told.submit(sip, handler, payload, kill=kill, timeout_s=3.0)
        house.until(lambda told=told: told.outcomes)
        assert house.board.kill_at(1) == 0.0, "taken back when it ends"
    assert all(seen[name][0] == seen[name][1] + 0.25 for name in ("returns", "raises"))
    assert (seen["is left"][0], seen["later"][0]) == (0.0, 0.0), "an awaiting one keeps nobody from cancelling it"


def test_a_job_that_comes_too_late_is_no_reason_to_kill(house: House) -> None:
    sip, worker = house.add("sip-1"), house.add("worker-1", executes=True, attach=False)
    told = Told()
    told.submit(sip, "echo", timeout_s=0.01, kill=True)
    house.until(lambda: told.outcomes)
    worker.attach(house.loop)
    house.until(lambda: sip.counters["late_answers"])
    assert house.board.kill_at(1) == 0.0
    assert (worker.counters["executed"], house.board.done_by(1), house.board.running(1)) == (0, 0, False)
    assert house.board.load(1).quick_at == 0.0, "what never ran was no quick job"


def test_what_came_too_late_is_answered_and_not_run(house: House) -> None:
    worker, stranger = house.add("worker-1", executes=True), Peer("sip-9", 1)
    channel = open_channel(house.transport, stranger, house.folder, 10_000)
    channel.connect(worker.me)
    late = Job(stranger, 7, Kind("echo", "echo", kill=True), b"", time.monotonic() - 1.0)
    channel.send(worker.me, encode(stranger, [Dispatch([late], True)]))
    frames: list[bytes] = []

    def answered() -> bool:
        frames.extend(frame for frame in [channel.receive()] if frame is not None)
        return bool(frames)

    house.until(answered)
    channel.close()
    assert decode(frames[0], stranger, {}, 10_000) == Frame(worker.me, [Answers([(7, TimedOut(0.0), 0.0)])])
    assert (worker.counters["executed"], worker.pending()) == (0, 0)
    assert (house.board.done_by(0), house.board.running(0), house.board.kill_at(0)) == (0, False, 0.0)
    assert house.board.load(0).quick_at == 0.0
    worker.peer_down(stranger)


# -- failures ---------------------------------------------------------------------------------------------------------


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise RuntimeError


def test_a_failure_comes_with_its_traceback(house: House, caplog) -> None:
    def inner(payload: bytes) -> bytes:
        raise LookupError("no such thing")

    def outer(payload: bytes, running: Running) -> bytes:
        return inner(payload)

    async def later(payload: bytes, running: Running) -> bytes:
        await asyncio.sleep(0)
        return inner(payload)

    sip, worker = add(house, outer, later)
    with caplog.at_level(logging.CRITICAL, "layby.workers"):
        for handler in ("outer", "later"):
            failed = house.run(sip.call(handler, b"", label=handler, timeout_s=5))
            assert isinstance(failed, Failed)
            assert (failed.kind, failed.message, failed.worker) == ("LookupError", "no such thing", worker.me)
            assert failed.trace.startswith("Traceback (most recent call last):\n")
            assert failed.trace.endswith("LookupError: no such thing\n")
            assert f"in {handler}\n" in failed.trace
            assert "in inner\n" in failed.trace


def test_of_a_long_traceback_the_end_is_kept(house: House, caplog) -> None:
    def deep(payload: bytes, running: Running, left: int = 3) -> bytes:
        if not left:
            raise LookupError("é" * 20_000 + "the end")
        return deep(payload, running, left - 1)

    sip, _ = add(house, deep)
    with caplog.at_level(logging.CRITICAL, "layby.workers"):
        failed = house.run(sip.call("deep", b"", label="deep", timeout_s=5))
    assert len(failed.trace) == MAX_TRACE
    assert failed.trace[0] == "…"
    assert failed.trace.endswith("éthe end\n")


def test_a_failure_of_many_words_fits_in_the_smallest_frames(house: House, caplog) -> None:
    """One that does not would be dropped, and on a stream all that follows it."""

    def wordy(payload: bytes, running: Running) -> bytes:
        raise LookupError("\U0001f600" * 5000)

    sip, _ = add(house, wordy, limits=Limits(max_frame_bytes=10_000))
    with caplog.at_level(logging.CRITICAL, "layby.workers"):
        failed = house.run(sip.call("wordy", b"", label="wordy", timeout_s=5))
    assert isinstance(failed, Failed)
    assert (failed.kind, failed.message[:10]) == ("LookupError", "\U0001f600" * 10)
    assert house.run(sip.call("echo", b"x", label="echo", timeout_s=5)).payload == b"echo x"


def test_a_problem_without_words(house: House, caplog) -> None:
    def mute(payload: bytes, running: Running) -> bytes:
        raise Unspeakable

    sip, _ = add(house, mute)
    with caplog.at_level(logging.CRITICAL, "layby.workers"):
        failed = house.run(sip.call("mute", b"", label="mute", timeout_s=5))
    assert (failed.kind, failed.message) == ("Unspeakable", "(its text cannot be made)")
    assert "in mute\n" in failed.trace


# -- bounds and choices -----------------------------------------------------------------------------------------------


def test_the_whole_pools_queue_is_bounded(house: House) -> None:
    limits = Limits(max_queued=10, max_pool_queued=4)
    one, two = house.add("sip-1", limits=limits), house.add("sip-2", limits=limits)
    told, told_two = Told(), Told()
    for _ in range(3):
        told.submit(one, "echo")
    house.until(lambda: house.board.waiting()[0] == 3)
    jobs = [told_two.submit(two, "echo") for _ in range(3)]
    house.until(lambda: len(told_two.outcomes) == 2)
    assert told_two.outcomes == {job: Rejected("queue is full") for job in jobs[1:]}
    assert house.board.waiting()[:2] == [3, 1]
    worker = house.add("worker-1", executes=True)
    house.until(lambda: len(told.outcomes) == 3 and len(told_two.outcomes) == 3)
    assert worker.counters["executed"] == 4
    told_two.submit(two, "echo")
    house.until(lambda: len(told_two.outcomes) == 4)
    assert worker.counters["executed"] == 5


@pytest.mark.parametrize(("share", "sent"), [(None, 3), (0.0, 2), (0.67, 1)])
def test_slow_jobs_leave_a_share_of_the_workers_free(house: House, share: float | None, sent: int) -> None:
    limits = Limits(quick_share=share, budget_s=1e-7, patience_s=60.0, quick_memory_s=60.0)
    sip = house.add("sip-1", limits=limits)
    workers = [house.add(f"worker-{number}", executes=True) for number in (1, 2, 3)]
    house.run(sip.call("echo", b"", label="echo", timeout_s=5))  # with that budget, it is slow, and now known to be
    for worker in workers:
        worker.detach()
    house.board.ran_quick(1, time.monotonic())
    told = Told()
    for _ in range(4):
        told.submit(sip, "echo")
    house.until(lambda: house.board.waiting()[0])
    assert [house.board.load(slot).outstanding for slot in (1, 2, 3)].count(1) == sent
    assert house.board.waiting()[0] == 4 - sent
    for node in house.nodes[1:]:
        node.attach(house.loop)
    house.until(lambda: len(told.outcomes) == 4)


def test_a_policy_of_ones_own_places_the_jobs_of_a_turn_together(house: House) -> None:
    asked: list[int] = []

    def to_the_last(
        expected_s: float, count: int, rooms: Sequence[Room], limits: Limits, reserve: bool, favourite: int
    ) -> Sequence[int]:
        asked.append(count)
        shares = [0] * len(rooms)
        shares[-1] = count
        return shares

    sip = house.add("sip-1", policy=to_the_last, limits=Limits(unknown_s=1e-6))
    house.add("worker-1", executes=True)
    last = house.add("worker-2", executes=True)
    told = Told()
    for _ in range(50):
        told.submit(sip, "echo")
    house.until(lambda: len(told.outcomes) == 50)
    assert {outcome.worker for outcome in told.outcomes.values()} == {last.me}
    assert asked == [50]


def test_the_jobs_of_one_turn_travel_in_one_frame(house: House) -> None:
    """And those of one kind in one word; a frame is one wake-up of the worker."""
    limits = Limits(unknown_s=1e-6)
    sip, worker = house.add("sip-1", limits=limits), Peer("worker-1", 1)
    inbox = open_channel(house.transport, worker, house.folder, limits.max_frame_bytes)
    sip.peer_up(worker, 3, True)
    house.board.progress(3, time.monotonic())
    told = Told()
    jobs = [told.submit(sip, "echo", b"%d" % number, label=f"label-{number % 2}") for number in range(60)]
    frames: list[bytes] = []

    def received() -> bool:
        while (frame := inbox.receive()) is not None:
            frames.append(frame)
        return bool(frames)

    house.until(received)
    inbox.close()
    [data] = frames
    frame = decode(data, worker, {}, limits.max_frame_bytes)
    assert isinstance(frame, Frame)
    assert [type(word) for word in frame.words] == [Dispatch, Dispatch]
    for shift, word in enumerate(frame.words):
        assert [job.id for job in word.jobs] == jobs[shift::2]
        assert [job.payload for job in word.jobs] == [b"%d" % number for number in range(shift, 60, 2)]
    sip.peer_down(worker)


def test_nobody_is_nudged_while_nobody_waits(house: House) -> None:
    sip, worker = house.add("sip-1"), house.add("worker-1", executes=True)
    for _ in range(5):
        assert isinstance(house.run(sip.call("echo", b"", label="echo", timeout_s=5)), Returned)
    assert worker.counters["nudges"] == 0
    worker._endpoint.send(sip.me, Idle())  # one that comes although nobody waits changes nothing
    worker.on_readable(time.monotonic())
    assert isinstance(house.run(sip.call("echo", b"", label="echo", timeout_s=5)), Returned)


def test_the_default_policy_is_the_one_that_is_tested() -> None:
    assert Node.__init__.__kwdefaults__["policy"] is least_expected
