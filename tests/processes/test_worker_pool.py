"""A pool as its user has it, with real processes, in asyncio and without."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import os
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import uvloop

from tests.processes import pool_jobs
from workers import (
    AsyncPool,
    BadHandlers,
    Cancelled,
    Failed,
    JobCancelled,
    JobFailed,
    JobHandle,
    JobLost,
    JobRejected,
    JobTimedOut,
    NoSuchJob,
    NotEncodable,
    PoolBroken,
    Rejected,
    RemoteTraceback,
    Returned,
    SyncPool,
    TimedOut,
    WorkerLost,
    WorkerPool,
    WrongProcess,
)

pytestmark = pytest.mark.processes

JOBS = "tests.processes.pool_jobs"

uvloop.new_event_loop().close()  # it keeps a descriptor from its first use on


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """No descriptor, no thread, no folder."""
    files, threads = len(os.listdir("/proc/self/fd")), threading.active_count()
    yield
    until(lambda: len(os.listdir("/proc/self/fd")) <= files and threading.active_count() <= threads)


def until(condition: Callable[[], object], limit_s: float = 5.0) -> None:
    ends_at = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < ends_at, "it does not come to pass"
        time.sleep(0.002)


async def until_async(condition: Callable[[], object], limit_s: float = 5.0) -> None:
    async with asyncio.timeout(limit_s):
        while not condition():
            await asyncio.sleep(0.002)


def in_loop(main: Callable[[AsyncPool], object], loop: str = "asyncio", **options) -> Path:
    """Run a coroutine function with a pool, and give the pool's folder, which is gone by then."""

    async def whole() -> Path:
        async with asyncio.timeout(30), WorkerPool(**{"workers": 2, "handlers": JOBS, **options}) as pool:
            await main(pool)
            return pool.address

    with asyncio.Runner(loop_factory=uvloop.new_event_loop if loop == "uvloop" else None) as runner:
        folder = runner.run(whole())
    assert not folder.exists()
    return folder


@contextlib.contextmanager
def pool_of(**options) -> Iterator[SyncPool]:
    with WorkerPool(**{"workers": 2, "handlers": JOBS, **options}) as pool:
        yield pool
        folder = pool.address
    assert not folder.exists()


@pytest.fixture(scope="module")
def shared() -> Iterator[SyncPool]:
    with WorkerPool(workers=2, handlers=JOBS) as pool:
        for _ in range(20):
            pool.call("nap", 0.001)  # by now both workers are connected, as descriptors are counted below
        yield pool


# -- one job, in a loop -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@pytest.mark.parametrize("transport", ["unix", "zmq"])
def test_a_job_and_every_way_in_which_it_can_end(loop: str, transport: str) -> None:
    async def main(pool: AsyncPool) -> None:
        assert await pool.submit("add", 1, b=2) == 3
        assert await pool.submit_call("ping", ["h"], {"timeout_s": 9.0}, timeout_s=5.0) == ["h", 9.0]
        assert await pool.submit("later", 0.01) == 0.01
        with pytest.raises(KeyError) as raised:
            await pool.submit("boom", "KeyError", "k")
        assert raised.value.args == ("k",)
        assert isinstance(raised.value.__cause__, RemoteTraceback)
        assert 'raise {"KeyError"' in str(raised.value.__cause__)
        with pytest.raises(JobFailed, match=r"^Odd: strange$"):
            await pool.submit("boom", "Odd", "strange")
        with pytest.raises(JobFailed, match="Odd: later"):
            await pool.submit("later_boom")
        with pytest.raises(FileNotFoundError) as missing:
            await pool.submit("missing", "/no/such")
        assert (missing.value.errno, missing.value.filename) == (2, "/no/such")
        with pytest.raises(JobTimedOut) as late:
            await pool.submit("nap", 0.2, timeout_s=0.05)
        assert isinstance(late.value, TimeoutError)
        with pytest.raises(JobLost, match="may have run in part") as lost:
            await pool.submit("die")
        assert isinstance(lost.value, concurrent.futures.BrokenExecutor)
        assert await pool.submit("add", 1) == 2, "the pool goes on"

    in_loop(main, loop, transport=transport)


def test_outcomes_are_values() -> None:
    async def main(pool: AsyncPool) -> None:
        handles = [
            pool.submit("add", 1),
            pool.submit("boom", "Odd", "x"),
            pool.submit("nap", 0.2, timeout_s=0.05),
            pool.submit("die"),
        ]
        outcomes = [await handle.outcome() for handle in handles]
        assert [type(outcome) for outcome in outcomes] == [Returned, Failed, TimedOut, WorkerLost]
        assert [handle.done() for handle in handles] == [True] * 4
        assert handles[0].result() == 2
        assert handles[0].exception() is None
        assert isinstance(handles[1].exception(), JobFailed)

    in_loop(main, workers=3)


def test_what_is_wrong_with_a_submission_is_raised_at_once() -> None:
    async def main(pool: AsyncPool) -> None:
        with pytest.raises(NoSuchJob, match="no handler 'ad'"):
            pool.submit("ad")
        with pytest.raises(NotEncodable, match="argument 'value' \\(set\\)"):
            pool.submit("echo", value={1})
        with pytest.raises(ValueError, match="not a time limit"):
            pool.submit("echo", 1, timeout_s=float("nan"))
        with pytest.raises(ValueError, match="not a priority"):
            pool.submit("echo", 1, priority=2**40)
        with pytest.raises(ValueError, match="on_timeout"):
            pool.submit("echo", 1, on_timeout="explode")
        with pytest.raises(JobRejected, match="too large"):
            await pool.submit("echo", bytes(32 * 1024 * 1024))
        with pytest.raises(TypeError, match="missing 1 required"):
            await pool.submit("add")
        with pytest.raises(NotEncodable, match="the result \\(set\\)"):
            await pool.submit("give_set")

    in_loop(main)


def test_progress_is_streamed() -> None:
    async def main(pool: AsyncPool) -> None:
        told: list[tuple[float, str]] = []
        handle = pool.submit("steps", 4, on_progress=lambda fraction, text: told.append((fraction, text)))
        seen = [news async for news in handle.progress()]
        assert await handle == 4
        assert seen[-1] == (1.0, "step 4")
        assert seen == sorted(seen)
        assert len(seen) >= 2
        assert told == seen

    in_loop(main)


def test_a_handler_sees_its_deadline_and_its_name() -> None:
    async def main(pool: AsyncPool) -> None:
        assert 4.0 < await pool.submit("deadline", timeout_s=5.0) <= 5.0
        assert await pool.submit("deadline") == float("inf")
        handle = pool.submit("my_id")
        assert await handle == handle.id
        with pytest.raises(JobTimedOut):
            await pool.submit("impatient")

    in_loop(main)


def test_the_pool_has_a_default_deadline() -> None:
    async def main(pool: AsyncPool) -> None:
        with pytest.raises(JobTimedOut, match=r"no answer within 0\.0[45]"):
            await pool.submit("nap", 0.3)
        assert await pool.submit("nap", 0.1, timeout_s=1.0) == 0.1

    in_loop(main, timeout_s=0.05)


def test_a_job_is_cancelled_wherever_it_is(tmp_path: Path) -> None:
    async def main(pool: AsyncPool) -> None:
        running = pool.submit("busy_into", str(tmp_path / "busy"), 10.0)
        await until_async((tmp_path / "busy").exists)
        waiting, answers_later = pool.submit("nap", 5.0), pool.submit("add", 1)
        assert waiting.cancel()
        assert pool.cancel(running, "enough")
        assert not pool.cancel(running)
        with pytest.raises(JobCancelled, match="enough"):
            await running
        await until_async(lambda: (tmp_path / "busy").read_text() == "cancelled")
        assert isinstance(await waiting.outcome(), Cancelled)
        assert await answers_later == 2

    in_loop(main, workers=1)


def test_a_cancelled_task_cancels_its_job(tmp_path: Path) -> None:
    async def main(pool: AsyncPool) -> None:
        handle = pool.submit("busy_into", str(tmp_path / "busy"), 10.0)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(handle, 0.1)
        assert isinstance(await handle.outcome(), Cancelled)
        # A second one that waits keeps it alive.
        kept = pool.submit("nap", 0.2)
        first, second = asyncio.ensure_future(kept.outcome()), asyncio.ensure_future(kept.outcome())
        await asyncio.sleep(0.01)
        first.cancel()
        assert isinstance(await second, Returned)

    in_loop(main)


def test_nobody_who_asks_is_told_by_the_log(caplog) -> None:
    async def main(pool: AsyncPool) -> None:
        pool.submit("boom", "Odd", "unheard")
        await until_async(lambda: pool.stats().pending == 0)

    in_loop(main)
    assert re.search("nobody asked how job .* ended: Odd: unheard", caplog.text)


# -- many jobs --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("in_flight", [1, 7, 1000])
def test_a_stream_keeps_the_order_and_its_bound(in_flight: int) -> None:
    async def main(pool: AsyncPool) -> None:
        taken = 0

        def items() -> Iterator[int]:
            nonlocal taken
            for item in range(3000):
                taken += 1
                yield item

        given = 0
        async for value in pool.map("square", items(), in_flight=in_flight):
            assert value == given * given
            given += 1
            assert taken - given < 2 * in_flight + 1
        assert given == 3000
        assert sorted([v async for v in pool.map("echo", range(500), ordered=False)]) == list(range(500))
        assert [v async for v in pool.map("echo", [])] == []
        assert [v async for v in pool.map("add", [(1, 2), {"a": 5}], unpack=True)] == [3, 6]

    in_loop(main)


def test_a_stream_from_an_asynchronous_source() -> None:
    async def source():
        for item in range(300):
            if item % 50 == 0:
                await asyncio.sleep(0.005)
            yield item

    async def broken():
        yield 1
        raise LookupError("the source is dry")

    async def main(pool: AsyncPool) -> None:
        assert [value async for value in pool.map("echo", source(), in_flight=10)] == list(range(300))
        found = {value async for value in pool.map("echo", source(), in_flight=10, ordered=False)}
        assert found == set(range(300))
        with pytest.raises(LookupError, match="dry"):
            _ = [value async for value in pool.map("echo", broken())]

    in_loop(main)


@pytest.mark.parametrize("ordered", [True, False])
def test_a_stream_ends_with_the_first_failure_and_cancels_the_rest(ordered: bool) -> None:
    async def main(pool: AsyncPool) -> None:
        with pytest.raises(ZeroDivisionError):
            async for _ in pool.map(pool_jobs.inverse, [1, 2, 0, *range(3, 500)], in_flight=50, ordered=ordered):
                pass
        await until_async(lambda: pool.stats().pending == 0)
        kinds = [type(o) async for o in pool.map(pool_jobs.inverse, [1, 0, 2], return_outcomes=True)]
        assert kinds == [Returned, Failed, Returned]
        async for _ in pool.map("nap", [0.0] + [1.0] * 100, in_flight=100):
            break
        await until_async(lambda: pool.stats().pending == 0)

    in_loop(main, allow_imports=True)


def test_gather_and_as_completed() -> None:
    async def main(pool: AsyncPool) -> None:
        calls = [("add", {"a": 1}), ("add", [1, 2]), ("add", [1], {"b": 5}), "nothing"]
        assert await pool.gather(calls, timeout_s=5.0) == [2, 3, 6, None]
        assert await pool.gather([]) == []
        began_at = time.monotonic()
        with pytest.raises(KeyError):
            await pool.gather([("nap", [2.0]), ("boom", ["KeyError", "k"])])
        assert time.monotonic() - began_at < 1.0
        outcomes = await pool.gather([("nap", [2.0]), "nothing"], timeout_s=0.1, return_outcomes=True)
        assert [type(outcome) for outcome in outcomes] == [TimedOut, Returned]
        with pytest.raises(TypeError, match="not a call"):
            await pool.gather([("add", 1)])
        slow, quick = pool.submit("later", 0.2), pool.submit("later", 0.01)
        assert [handle async for handle in pool.as_completed([slow, quick])] == [quick, slow]
        assert [handle.result() async for handle in pool.as_completed([("add", [1])])] == [2]

    in_loop(main)


# -- backpressure and loss --------------------------------------------------------------------------------------------


def test_one_too_many_is_rejected_at_once_and_who_waits_gets_in() -> None:
    async def main(pool: AsyncPool) -> None:
        handles = [pool.submit("nap", 0.05) for _ in range(8)]
        kinds = [type(await handle.outcome()) for handle in handles]
        assert kinds.count(Returned) in (3, 4), "three wait; one may have begun before they came"
        assert kinds.count(Rejected) == 8 - kinds.count(Returned)
        waited = await asyncio.gather(*(pool.submit_wait("nap", 0.01) for _ in range(20)))
        assert [await handle for handle in waited] == [0.01] * 20

    in_loop(main, workers=1, max_queued=3)


def test_an_idempotent_job_runs_once_more(tmp_path: Path) -> None:
    async def main(pool: AsyncPool) -> None:
        assert await pool.submit("die_once", str(tmp_path / "mark")) == "second time"

    in_loop(main)


def test_a_worker_that_dies_takes_one_job_with_it() -> None:
    async def main(pool: AsyncPool) -> None:
        pids = {await pool.submit("pid") for _ in range(20)}
        outcomes = [pool.submit("nap", 0.02) for _ in range(50)]
        await asyncio.sleep(0.05)
        os.kill(pids.pop(), signal.SIGKILL)
        kinds = [type(await handle.outcome()) for handle in outcomes]
        assert kinds.count(WorkerLost) <= 1
        assert kinds.count(Returned) == 50 - kinds.count(WorkerLost)

    in_loop(main)


@pytest.mark.parametrize("form", ["async", "sync"])
def test_when_the_attendant_dies_everything_ends_at_once(form: str) -> None:
    async def in_a_loop(pool: AsyncPool) -> None:
        attendant = await pool.submit("ppid")
        handles = [pool.submit("nap", 20.0) for _ in range(5)]
        waiting = asyncio.ensure_future(pool.submit_wait("nap", 20.0))
        await asyncio.sleep(0.05)
        os.kill(attendant, signal.SIGKILL)
        for handle in handles:
            with pytest.raises((JobLost, PoolBroken), match="attendant died"):
                await handle
        with pytest.raises((JobLost, PoolBroken)):
            await (await waiting)
        with pytest.raises(PoolBroken, match="make or join another"):
            pool.submit("add", 1)

    def without(pool: SyncPool) -> None:
        attendant = pool.call("ppid")
        futures = [pool.submit("nap", 20.0) for _ in range(5)]
        threading.Timer(0.1, os.kill, [attendant, signal.SIGKILL]).start()
        with pytest.raises((JobLost, PoolBroken), match="attendant died"):
            pool.call("nap", 20.0)
        for future in futures:
            with pytest.raises((JobLost, PoolBroken), match="attendant died"):
                future.result(5.0)
        with pytest.raises(PoolBroken, match="make or join another"):
            pool.call("add", 1)

    began_at = time.monotonic()
    if form == "async":
        in_loop(in_a_loop, workers=3)
    else:
        with pool_of(workers=2) as pool:
            without(pool)
    assert time.monotonic() - began_at < 10.0


def test_a_killed_job_and_an_abandoned_one() -> None:
    async def main(pool: AsyncPool) -> None:
        before = await pool.submit("pid")
        with pytest.raises(JobTimedOut):
            await pool.submit("nap", 10.0, timeout_s=0.1, on_timeout="kill")
        assert await pool.submit("pid", timeout_s=5.0) != before, "another worker has taken its place"

    in_loop(main, workers=1, kill_grace_s=0.05)


# -- the beginning and the end ----------------------------------------------------------------------------------------


def test_leaving_waits_for_what_was_accepted_and_an_exception_does_not() -> None:
    async def patient() -> None:
        async with WorkerPool(workers=1, handlers=JOBS) as pool:
            handles = [pool.submit("nap", 0.05) for _ in range(4)]
        assert [handle.result() for handle in handles] == [0.05] * 4
        with pytest.raises(PoolBroken):
            pool.submit("add", 1)

    async def hasty() -> None:
        handle: JobHandle | None = None
        with contextlib.suppress(LookupError):
            async with WorkerPool(workers=1, handlers=JOBS) as pool:
                handle = pool.submit("nap", 20.0)
                raise LookupError
        assert handle is not None
        with pytest.raises((JobCancelled, PoolBroken)):
            handle.result()

    asyncio.run(asyncio.wait_for(patient(), 10.0))
    began_at = time.monotonic()
    asyncio.run(asyncio.wait_for(hasty(), 10.0))
    assert time.monotonic() - began_at < 3.0


def test_handlers_that_cannot_be_imported_fail_the_start_with_their_words() -> None:
    with pytest.raises(BadHandlers, match="No module named 'no_such_module'"), WorkerPool(handlers="no_such_module"):
        pass
    with pytest.raises(PoolBroken, match="no database"), WorkerPool(handlers=JOBS, initializer=pool_jobs.greet_badly):
        pass


def test_an_initialiser_runs_in_every_worker() -> None:
    with pool_of(initializer=pool_jobs.greet, initargs=["hello"]) as pool:
        assert {pool.call("greeting") for _ in range(50)} == {"hello"}


def test_workers_are_replaced_after_so_many_jobs() -> None:
    with pool_of(workers=1, max_jobs_per_worker=5) as pool:
        pids: set[int] = set()
        until(lambda: pids.add(pool.call("pid", timeout_s=5.0)) or len(pids) >= 3)


def test_a_pool_is_entered_once() -> None:
    pool = WorkerPool(workers=1, handlers=JOBS)
    with pool as entered:
        assert entered.call("add", 1) == 2
    with pytest.raises(RuntimeError, match="make another one"), pool:
        pass


def test_a_forked_child_is_told_what_to_do(shared: SyncPool) -> None:
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            shared.call("add", 1)
        except WrongProcess as error:
            os.write(writing, str(error).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as answers:
        text = answers.read()
    os.waitpid(pid, 0)
    assert "forked" in text
    assert f"Client({str(shared.address)!r})" in text
    assert shared.call("add", 1) == 2


# -- without a loop ---------------------------------------------------------------------------------------------------


def test_calls_and_futures(shared: SyncPool) -> None:
    assert shared.call("add", 1, b=2) == 3
    future = shared.submit("add", 5)
    assert (future.result(5.0), future.done(), type(future.outcome())) == (6, True, Returned)
    with pytest.raises(JobTimedOut):
        shared.call("nap", 0.2, timeout_s=0.05)
    with pytest.raises(KeyError):
        shared.submit("boom", "KeyError", "k").result()
    slow = shared.submit("nap", 5.0)
    assert shared.cancel(slow)
    with pytest.raises(concurrent.futures.CancelledError):
        slow.result()
    assert isinstance(slow.outcome(5.0), Cancelled)
    news = list(shared.submit("steps", 4).progress())
    assert news[-1] == (1.0, "step 4")
    assert list(shared.map("square", range(1000), in_flight=50)) == [n * n for n in range(1000)]
    assert shared.gather([("add", [1]), "nothing"]) == [2, None]
    assert shared.gather([]) == []
    with pytest.raises(KeyError):
        shared.gather(["nothing", ("boom", ["KeyError", "k"])])
    quick = shared.submit("later", 0.01)
    late = shared.submit("later", 0.2)
    assert list(shared.as_completed([late, quick])) == [quick, late]
    assert concurrent.futures.wait([shared.submit("add", 1)], 5.0).not_done == set()


def test_many_threads_at_once(shared: SyncPool) -> None:
    def one(thread: int) -> int:
        total = 0
        for number in range(100):
            total += (
                shared.call("add", thread, number) if number % 2 else shared.submit("add", thread, number).result(9)
            )
        return total

    with concurrent.futures.ThreadPoolExecutor(8) as threads:
        assert list(threads.map(one, range(8))) == [thread * 100 + 4950 for thread in range(8)]


def test_a_callback_may_submit(shared: SyncPool) -> None:
    done = threading.Event()
    answers: list[int] = []

    def second(future) -> None:
        answers.append(future.result())
        done.set()

    def first(future) -> None:
        shared.submit("add", future.result()).add_done_callback(second)

    shared.submit("add", 1).add_done_callback(first)
    assert done.wait(5.0)
    assert answers == [3]


def test_room_is_waited_for_without_a_loop() -> None:
    with pool_of(workers=1, max_queued=2) as pool:
        kinds = [type(f.outcome(5.0)) for f in [pool.submit("nap", 0.02) for _ in range(10)]]
        assert Rejected in kinds
        futures = [pool.submit_wait("nap", 0.01) for _ in range(10)]
        assert [future.result(5.0) for future in futures] == [0.01] * 10
        for _ in range(3):
            pool.submit("nap", 0.2)
        with pytest.raises(TimeoutError, match="no room"):
            pool.submit_wait("nap", 0.2, wait_s=0.05)


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Where tests run in the background SIGINT may be ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_ctrl_c_ends_a_call_and_not_the_pool() -> None:
    with pool_of(workers=1) as pool:
        threading.Timer(0.2, os.kill, [os.getpid(), signal.SIGINT]).start()
        began_at = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            pool.call("later", 20.0)
        assert time.monotonic() - began_at < 5.0
        assert pool.call("add", 1, timeout_s=5.0) == 2


def test_statistics(shared: SyncPool) -> None:
    before = shared.stats()
    assert [worker.name for worker in before.workers] == ["worker-1", "worker-2"]
    pids = {worker.pid for worker in before.workers}
    for _ in range(3):
        assert shared.call("pid") in pids
    after = shared.stats()
    assert after.counters["returned"] - before.counters["returned"] == 3
    assert (after.pending, after.waiting) == (0, 0)


# -- pickle -----------------------------------------------------------------------------------------------------------


def test_with_pickle_objects_and_exceptions_travel() -> None:
    async def main(pool: AsyncPool) -> None:
        assert await pool.submit("echo", {1, 2}) == {1, 2}
        assert await pool.submit("echo", (1, 2)) == (1, 2)
        with pytest.raises(pool_jobs.Odd) as odd:
            await pool.submit("boom", "Odd", {"some": ("thing",)})
        assert odd.value.args == ({"some": ("thing",)},)
        assert "Traceback" in str(odd.value.__cause__)
        with pytest.raises(JobFailed, match="Awkward: 1 and 2"):
            await pool.submit("boom", "Awkward", 1, 2)
        with pytest.raises(pool_jobs.Odd):
            await pool.submit("later_boom")
        outcome = await pool.submit("boom", "Odd", "x").outcome()
        assert isinstance(outcome, Failed)
        assert (outcome.kind, outcome.message) == ("Odd", "x")
        with pytest.raises(pool_jobs.Odd):
            await pool.gather([("boom", ["Odd", "x"])])

    in_loop(main, codec="pickle")
